"""What scores on a list of patches are over: its blocks of ground; and scores with the names of classes.

Networks and the floor are scored by the same functions, so that their scores can be subtracted block by block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.tables import coverage
from ..dataset.store import PatchDataset, Split
from ..metrics import COVERS, LEVEL, block_counts, block_intervals, block_scores, scores_from_confusion

#: the scores of all classes together that have an interval
MEANS = ("miou", "macc", "pixel_accuracy")
#: what intervals are over on a map
_BLOCK = "block of ground"


def ground_blocks(split: Split) -> NDArray[np.int64]:
    """The block of ground that each patch of a list lies in, (n,) from 0; a list that names none is one block."""
    return np.unique([record.get("Block", "") for record in split.table], return_inverse=True)[1].astype(np.int64)


def block_unit(dataset: PatchDataset) -> str:
    """What intervals are over, in words: on no map blocks of pixels."""
    block_px = dataset.content["settings"].get("block_px")
    return _BLOCK if block_px is None else f"block of {block_px} px"


def interval_unit(report: Mapping[str, Any]) -> str:
    """What a report says that its intervals are over, as :func:`block_unit` has it."""
    unit: str = report.get("intervals", {}).get("unit", _BLOCK)
    return unit


def named_scores(matrices: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any]:
    """Scores and their intervals from confusion matrices by block (blocks, C, C), with the classes' names."""
    matrix, intervals = matrices.sum(axis=0), block_intervals(matrices)
    scores = scores_from_confusion(matrix)
    intervals["per_class"] = dict(zip(names, intervals["per_class"], strict=True))
    intervals["in_one_block"] = [names[index] for index in intervals["in_one_block"]]
    return {
        **scores,
        "absent": [names[index] for index in scores["absent"]],
        "per_class": dict(zip(names, scores["per_class"], strict=True)),
        "intervals": intervals,
        "confusion_matrix": matrix.tolist(),
        "by_block": block_counts(matrices).tolist(),
    }


def scores_by_block(scores: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """What :func:`alos2tut.metrics.block_scores` makes of one of a report's models, or of its water."""
    return block_scores(np.array(scores["by_block"], dtype=np.int64).reshape(-1, 3, classes))


def interval_notes(intervals: Mapping[str, Any], shown: str = "in brackets", unit: str = _BLOCK) -> list[str]:
    """What a model's intervals are over and cover, or why there are none; and the classes that have none of their own.

    All models of a report are scored on the same list, so that this is the same for all.

    Args:
        intervals: those of one of a report's models.
        shown: where they are.
        unit: as :func:`block_unit` gives it.
    """
    if intervals["refused"]:
        return [f"no intervals: {intervals['refused']}"]
    alone = ", ".join(intervals["in_one_block"])
    blocks = f"{intervals['blocks']} {unit.replace('block', 'blocks', 1)}"
    return [
        f"{shown}: {100 * LEVEL:.0f} % intervals over {blocks}; they {coverage(COVERS)}",
        *([f"in a single block, so without an interval: {alone}"] if alone else []),
    ]
