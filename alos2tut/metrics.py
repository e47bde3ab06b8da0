"""Scores of a classification, from counts of pixels that add up over patches and processes. NumPy and SciPy only.

Intervals come from blocks of ground: neighbouring pixels, and neighbouring patches, are no independent witnesses, and
an interval that took them for such would be far too narrow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .core.errors import Alos2TutError
from .dataset.legend import IGNORE

#: pixels by which a predicted boundary may lie beside that of the reference
BOUNDARY_PX = 2
#: how often an interval should hold the truth
LEVEL = 0.95
#: of :data:`alos2tut.core.tables.SOURCES`: what intervals over blocks of ground cover
COVERS = ("ground",)
#: from fewer blocks of ground there is no interval
FEWEST_BLOCKS = 3
#: a block that holds a larger share is as good as the only one: of 1000 intervals 500 hold the truth at 0.996
MOST_IN_ONE_BLOCK = 0.95


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
        "miou": mean_of_known(scores["iou"] for scores in per_class),
        "macc": mean_of_known(scores["recall"] for scores in per_class),
        "pixel_accuracy": _ratio(right.sum(), matrix.sum()),
        "absent": np.flatnonzero(reference == 0).tolist(),
        "pixels": int(matrix.sum()),
        "per_class": per_class,
    }


def confusion_of_pixels(
    reference: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Counts of pixels by class of the reference (rows) and of the prediction (columns).

    Args:
        reference, predicted: (n,) indices of classes.
        shape: rows and columns: how many classes each of them has.
    """
    cells = reference.astype(np.int64) * shape[1] + predicted
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


def water_classes(names: Sequence[str]) -> list[int]:
    """Indices of the classes that are water: "permanent water bodies", but neither "not water" nor "wetland"."""
    return classes_named(names, {"water"})


def classes_named(names: Sequence[str], words: Set[str]) -> list[int]:
    """Indices of the classes whose name has one of some lower-case words, and neither "no", "not" nor "non"."""
    found = [set(re.findall(r"[a-z]+", name.lower())) for name in names]
    return [index for index, of in enumerate(found) if of & words and not of & {"no", "not", "non"}]


def water_scores(matrix: NDArray[np.int64], water: Sequence[int]) -> dict[str, Any]:
    """``iou``, ``precision``, ``recall``, ``f1`` and ``pixels`` of water, all its classes as one, against the rest.

    Args:
        matrix: (classes, classes) counts of pixels; rows are the reference, columns the prediction.
        water: indices of its classes, as :func:`water_classes` gives them.
    """
    scores: dict[str, Any] = scores_from_confusion(water_matrices(matrix, water))["per_class"][0]
    return scores


def water_matrices(matrices: NDArray[np.int64], water: Sequence[int]) -> NDArray[np.int64]:
    """Counts (…, classes, classes) as those (…, 2, 2) of water, all its classes as one, and the rest."""
    is_water = np.isin(np.arange(matrices.shape[-1]), water)
    merge = np.stack([is_water, ~is_water]).astype(np.int64)
    merged: NDArray[np.int64] = merge @ matrices @ merge.T
    return merged


def boundary_counts(reference: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels on the boundaries of each class, and how many of them lie where the other image has that boundary, too.

    A pixel is on its class's boundary if one of its four neighbours in the patch is labelled and of another class; what
    the reference ignores is so in both images. Two boundaries meet where pixels are at most :data:`BOUNDARY_PX` apart.

    Args:
        reference: (B, H, W) class indices, 255 where nothing counts.
        predicted: (B, H, W) class indices.
        classes: their number.

    Returns:
        (classes, 4): pixels on predicted boundaries, and those of them near the reference's; and the other way round.
    """
    predicted = np.where(reference == IGNORE, np.uint8(IGNORE), predicted)
    edges = _edges(predicted), _edges(reference)
    counts = np.zeros((classes, 4), dtype=np.int64)
    for index in np.union1d(predicted[edges[0]], reference[edges[1]]):
        guess, truth = edges[0] & (predicted == index), edges[1] & (reference == index)
        found = guess, guess & _near(truth), truth, truth & _near(guess)
        counts[index] = [np.count_nonzero(pixels) for pixels in found]
    return counts


def _edges(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a labelled pixel (B, H, W) has a labelled neighbour of another class."""
    edges = np.zeros(classes.shape, dtype=np.bool_)
    for axis in (1, 2):
        ahead, behind = ([slice(None)] * 3 for _ in range(2))
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        here, there = classes[tuple(ahead)], classes[tuple(behind)]
        differ = (here != there) & (here != IGNORE) & (there != IGNORE)
        edges[tuple(ahead)] |= differ
        edges[tuple(behind)] |= differ
    return edges


def _near(pixels: NDArray[np.bool_]) -> Any:
    """Where one of these pixels (B, H, W) is at most :data:`BOUNDARY_PX` away, in its own patch."""
    from scipy.ndimage import binary_dilation

    offsets = np.arange(-BOUNDARY_PX, BOUNDARY_PX + 1)
    return binary_dilation(pixels, np.hypot(offsets[:, None], offsets)[None] <= BOUNDARY_PX)


def boundary_scores(counts: NDArray[np.int64]) -> dict[str, Any]:
    """How well boundaries lie, from pooled counts; the BF score of Csurka et al. (BMVC 2013), which averages images.

    Args:
        counts: (classes, 4) as :func:`boundary_counts` gives them, summed over patches.

    Returns:
        ``f1``, the mean over the classes that have a boundary in the reference, and ``per_class``: a list of
        ``precision`` and ``recall`` (shares of near pixels) and ``f1`` = 2pr/(p + r), None where the reference has no
        boundary. A class without a predicted boundary has no precision, and F1 = 0.
    """
    per_class = []
    for guess, guess_near, truth, truth_near in counts.tolist():
        precision, recall = _ratio(guess_near, guess), _ratio(truth_near, truth)
        both = (precision or 0) + (recall or 0)
        f1 = 2 * (precision or 0) * (recall or 0) / both if both else 0.0
        found = {"precision": precision, "recall": recall, "f1": f1}
        per_class.append(found if truth else dict.fromkeys(found))
    return {"f1": mean_of_known(scores["f1"] for scores in per_class), "per_class": per_class}


@dataclass(frozen=True, eq=False)
class BlockScore:
    """A score on all ground, and what each block of ground adds to its error.

    Scores are ratios of sums over blocks, or means of such. To first order the error of one is the sum of what its
    blocks contribute, which are independent of each other (the linearised ratio: Cochran, Sampling Techniques, 1977,
    ch. 6). What a large block contributes is too small, as it draws the ratio to its own: it is divided by the root of
    what share of the score is elsewhere (HC2: MacKinnon & White, J. Econometrics 29, 1985).

    Attributes:
        value: None where it is 0/0.
        pulls: (blocks,) those contributions; None where there can be no interval.
        freedom: degrees of freedom of their sum of squares.
    """

    value: float | None
    pulls: NDArray[np.float64] | None
    freedom: float

    @property
    def half_width(self) -> float | None:
        """Of the 95 % interval by Student's t, on the score's own scale; or None."""
        if self.pulls is None:
            return None
        return _student(self.freedom) * float(np.sqrt(np.sum(self.pulls**2)))

    @property
    def interval(self) -> list[float] | None:
        """The 95 % interval [low, high] of a share, over other ground; or None.

        By Student's t on the logit scale, so that its ends lie between 0 and 1. Where the score is 0 or 1, all blocks
        agree, and the interval has no width; that is no proof that other ground would.
        """
        from scipy.special import expit, logit

        half = self.half_width
        if self.value is None or half is None:
            return None
        slope = self.value * (1 - self.value)
        if slope <= 0:
            return [self.value, self.value]
        ends = expit(logit(self.value) + np.array([-half, half]) / slope)
        return [float(end) for end in ends]

    def minus(self, other: BlockScore) -> dict[str, Any]:
        """The difference to another's score on the same blocks: ``value``, and ``interval`` by Student's t, or None.

        What makes a block easy or hard for both cancels out, which the two intervals side by side do not show.
        """
        if self.value is None or other.value is None:
            return {"value": None, "interval": None}
        value, ends = self.value - other.value, None
        if self.pulls is not None and other.pulls is not None:
            freedom = min(self.freedom, other.freedom)
            half = BlockScore(value, self.pulls - other.pulls, freedom).half_width or 0.0
            ends = [max(value - half, -1.0), min(value + half, 1.0)]
        return {"value": value, "interval": ends}

    @classmethod
    def mean(cls, scores: Sequence[BlockScore]) -> BlockScore:
        """The mean of scores on the same blocks, without those that are None."""
        known = [score for score in scores if score.value is not None]
        pulls = [score.pulls for score in known if score.pulls is not None]
        together = np.mean(pulls, axis=0) if pulls and len(pulls) == len(known) else None
        freedom = min((score.freedom for score in known), default=0.0)
        return cls(mean_of_known(score.value for score in known), together, freedom)


def block_counts(matrices: NDArray[np.int64]) -> NDArray[np.int64]:
    """What :func:`block_scores` needs of confusion matrices (blocks, classes, classes); blocks without any go.

    Returns:
        (blocks, 3, classes): pixels that are right, those of the reference, and those predicted.
    """
    matrices = matrices[matrices.any(axis=(1, 2))]
    right = np.diagonal(matrices, axis1=1, axis2=2)
    return np.stack([right, matrices.sum(axis=2), matrices.sum(axis=1)], axis=1)


def block_scores(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Scores as :func:`scores_from_confusion` has them, with what their intervals over ground need.

    Means are over the classes that have reference pixels in the whole list, whichever of them a block has. There is no
    interval from fewer than :data:`FEWEST_BLOCKS` blocks, nor where one holds more than :data:`MOST_IN_ONE_BLOCK` of
    the pixels: of all, or of a class, which then has none of its own. Degrees of freedom are one less than the number
    of equal blocks that would tell as much, (Σn)²/Σn² of the reference pixels n (of the class, where it is of one):
    blocks − 1 where they are equal, and at least 1.

    Intervals tell what other ground of the same kind would change: neither another training nor other training patches.
    ``benchmarks/interval_coverage.py`` measures how often they hold the truth.

    Args:
        counts: (blocks, 3, classes) as :func:`block_counts` gives them.

    Returns:
        ``miou``, ``macc`` and ``pixel_accuracy``: :class:`BlockScore`; ``per_class``: a list of those of IoU.
    """
    right, reference, predicted = np.moveaxis(np.asarray(counts, dtype=np.float64), 1, 0)
    union, labelled = reference + predicted - right, reference.sum(axis=1)
    present = np.flatnonzero(reference.sum(axis=0))
    accuracy, none = (right.sum(axis=1)[:, None], labelled[:, None]), BlockScore(None, None, 0.0)
    of_class = {i: mean_of_ratios(right[:, [i]], union[:, [i]], reference[:, i]) for i in present.tolist()}
    return {
        "miou": mean_of_ratios(right[:, present], union[:, present], labelled),
        "macc": mean_of_ratios(right[:, present], reference[:, present], labelled),
        "pixel_accuracy": mean_of_ratios(*accuracy, labelled) if present.size else none,
        "per_class": [of_class.get(index, none) for index in range(reference.shape[1])],
    }


def mean_of_ratios(
    part: NDArray[np.float64], whole: NDArray[np.float64], witnesses: NDArray[np.float64], fewest: int = 2
) -> BlockScore:
    """The mean of n ratios of sums over blocks, with what its interval needs.

    Args:
        part: (blocks, n) what is summed.
        whole: (blocks, n) what its sums are divided by: more than 0 in all.
        witnesses: (blocks,) how much of what is judged each block holds.
        fewest: of so many blocks that hold any, and of :data:`FEWEST_BLOCKS` in all, there is an interval, unless one
            has nearly all.
    """
    total = whole.sum(axis=0)
    ratios, elsewhere = part.sum(axis=0) / total, 1 - whole / total
    pulls = (part - ratios * whole) / total
    pulls = np.divide(pulls, np.sqrt(elsewhere), out=np.zeros_like(pulls), where=elsewhere > 0)
    sure = ratios.size and len(part) >= FEWEST_BLOCKS and np.count_nonzero(witnesses) >= fewest
    sure = sure and witnesses.max() <= MOST_IN_ONE_BLOCK * witnesses.sum()
    # what lies in one block adds nothing, which is not to be taken for no error at all
    sure = sure and (pulls.any() or elsewhere.all() or not 0 < ratios.mean() < 1)
    freedom = max(witnesses.sum() ** 2 / (witnesses**2).sum() - 1, 1.0) if witnesses.any() else 0.0
    return BlockScore(mean_of_known(ratios), pulls.mean(axis=1) if sure else None, freedom)


def block_intervals(matrices: NDArray[np.int64]) -> dict[str, Any]:
    """95 % intervals of the scores over blocks of ground: :func:`block_scores` says how, and what they cover.

    Args:
        matrices: (blocks, classes, classes) counts of pixels; blocks without any are passed over.

    Returns:
        ``miou``, ``macc`` and ``pixel_accuracy``: [low, high], or None; ``per_class``: a list of those of IoU;
        ``blocks``, how many have a label; ``in_one_block``, the indices of the classes that (nearly) lie in one; and
        ``refused``, why there is no interval at all, None where there are.
    """
    counts = block_counts(matrices)
    scores, reference = block_scores(counts), counts[:, 1]
    return {
        **{name: scores[name].interval for name in ("miou", "macc", "pixel_accuracy")},
        "per_class": [score.interval for score in scores["per_class"]],
        "blocks": len(counts),
        "in_one_block": np.flatnonzero(_share_of_largest(reference) > MOST_IN_ONE_BLOCK).tolist(),
        "refused": too_few(len(counts), float(_share_of_largest(reference.sum(axis=1)))),
    }


def _share_of_largest(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """What share of the pixels, (blocks, …), lies in the block that has most; 0 without any."""
    shares: NDArray[np.float64] = pixels.max(axis=0, initial=0) / np.maximum(pixels.sum(axis=0), 1)
    return shares


def too_few(blocks: int, largest: float = 0.0) -> str | None:
    """Why there is no interval from so many labelled blocks of ground, the largest with that share; or None."""
    if blocks < FEWEST_BLOCKS:
        return f"fewer than {FEWEST_BLOCKS} blocks of ground have a label: {blocks}"
    if largest > MOST_IN_ONE_BLOCK:
        return f"of {blocks} blocks of ground one holds {100 * largest:.1f} % of the labelled pixels"
    return None


def t_interval(values: Sequence[float | None], *, least: float = 0.0) -> list[float] | None:
    """The 95 % interval of a mean by Student's t: what other seeds would give; None for fewer than two values.

    Args:
        values: scores, which lie between 0 and 1; their means can be nowhere else.
        least: −1 for differences of scores.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    half = _student(len(known) - 1) * float(np.std(known, ddof=1)) / math.sqrt(len(known))
    mean = float(np.mean(known))
    return [max(mean - half, least), min(mean + half, 1.0)]


def _student(freedom: float) -> float:
    """Student's t that bounds :data:`LEVEL` of its probability on both sides."""
    from scipy.special import stdtrit  # trainings need no interval, and need not wait for SciPy

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None if all are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
