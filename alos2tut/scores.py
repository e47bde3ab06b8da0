"""Scores of a classification, from one confusion matrix. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import Alos2TutError


def scores_from_confusion(matrix: NDArray[np.int64]) -> dict[str, Any]:
    """The scores of land-cover mapping; a ratio that is 0/0 is None.

    A class without a single reference pixel has no IoU: it is left out of every mean and named under ``absent``
    (taking it as 0, or as 1, would let the split decide the score).

    Args:
        matrix: (classes, classes) counts of pixels; rows are the reference, columns the prediction.

    Returns:
        ``miou`` and ``macc`` (means over the classes present in the reference), ``pixel_accuracy``, ``absent``
        (indices), ``pixels``, and ``per_class``: a list of ``iou``, ``precision``, ``recall``, ``f1``, ``pixels``
        (of the reference) in index order.

    Raises:
        Alos2TutError: the matrix is not square, or holds no counts.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.issubdtype(matrix.dtype, np.integer):
        raise Alos2TutError(f"a confusion matrix is square and holds counts, not {matrix.dtype} {matrix.shape}")
    right, reference, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    present = reference > 0
    per_class = [
        {
            "iou": _ratio(r, n + p - r) if n else None,
            "precision": _ratio(r, p) if n else None,
            "recall": _ratio(r, n),
            "f1": _ratio(2 * r, n + p) if n else None,
            "pixels": int(n),
        }
        for r, n, p in zip(right, reference, predicted, strict=True)
    ]
    return {
        "miou": _mean([scores["iou"] for scores in per_class]),
        "macc": _mean([scores["recall"] for scores in per_class]),
        "pixel_accuracy": _ratio(right.sum(), matrix.sum()),
        "absent": [int(index) for index in np.flatnonzero(~present)],
        "pixels": int(matrix.sum()),
        "per_class": per_class,
    }


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
