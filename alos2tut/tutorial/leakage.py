"""What a careless random split pretends to gain, measured on a dataset's own patches. NumPy and scipy only.

Three schemes of dealing data to training and test are compared on the **same** test pixels:

- ``ground``: training patches lie outside the held-out blocks, further than the buffer from every held-out patch;
- ``patches``: training patches are drawn at random from all that are not test patches, their neighbours included;
- ``pixels``: training pixels are drawn at random from all patches, those of the test pixels included, as if windows
  overlapped.

Each scheme trains on equally many pixels. The learner, :data:`NEIGHBOURS` nearest neighbours on a pixel's surroundings
(:func:`pixel_features`), has a perfect memory and nothing to tune: what it gains from one scheme over another is gained
by remembering the place. How much a certain network gains depends on the network; the direction does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ..core.parallel import cores
from ..dataset.encoding import decode_db
from ..dataset.legend import IGNORE
from ..dataset.splits import away_from
from ..dataset.store import PatchDataset
from ..metrics import confusion_of_pixels, scores_from_confusion, t_interval

SCHEMES = ("ground", "patches", "pixels")
NEIGHBOURS = 5
#: of :data:`alos2tut.core.tables.SOURCES`: what intervals over repeats cover
COVERS = ("training draws",)
#: draws of held-out blocks
REPEATS = 8
#: pixels, a side of the squares over which backscatter is averaged; the patch itself is the last one
SCALES_PX = (3, 9, 27, 81)
#: pixels of a patch that may be learned from, and others that may be scored: fewer, for neighbours are alike
_LEARNED, _SCORED = 200, 50
#: share of the blocks that is held out; half of their patches are tested, the others are what a careless split learns
_HELD_OUT = 0.3

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Leakage:
    """Scores of one learner on the same test pixels after training sets that were dealt by :data:`SCHEMES`.

    Attributes:
        miou: by scheme, one mean IoU per repeat, of :data:`REPEATS`.
        accuracy: by scheme, the share of pixels that are right, one per repeat.
        refused: why nothing was measured, and what would help; None: it was.
    """

    miou: Mapping[str, tuple[float, ...]]
    accuracy: Mapping[str, tuple[float, ...]]
    refused: str | None = None

    def gain(self, scheme: str, score: str = "miou") -> tuple[float, float, float]:
        """What a scheme pretends to gain over ``ground``: the mean over repeats and its 95 % interval (Student's t).

        Repeats draw from the same patches: the interval covers :data:`COVERS`, of this scene, and no other ground. The
        learner has no seed.

        Args:
            scheme: ``patches`` or ``pixels``.
            score: ``miou`` or ``accuracy``.
        """
        scores = getattr(self, score)
        differences = np.subtract(scores[scheme], scores["ground"])
        low, high = t_interval(differences.tolist(), least=-1) or (math.nan, math.nan)
        return float(differences.mean()), low, high

    def to_text(self) -> str:
        """What each careless scheme pretends to gain in mIoU, or why nothing was measured."""
        if self.refused:
            return f"nothing was measured: {self.refused}"
        gains = {scheme: [100 * gain for gain in self.gain(scheme)] for scheme in SCHEMES[1:]}
        return "\n".join(
            f"{scheme} at random: {mean:+.1f} points of mIoU, 95 % interval {low:+.1f} to {high:+.1f}"
            for scheme, (mean, low, high) in gains.items()
        )


class _TooLittleGround(Exception):
    """Of which some is to be held out, and some to be left."""


def measure_leakage(dataset: PatchDataset, *, seed: int = 0) -> Leakage:
    """Train and test one learner on this dataset's labelled patches, dealt by each of the :data:`SCHEMES`.

    Args:
        dataset: its lists ``train``, ``val`` and ``test`` are taken together, whatever their split.
        seed: equal seeds give equal results.

    Returns:
        The scores; ``refused`` where too little ground would be left to learn from, or lies in too few blocks.
    """
    scores = []
    try:
        ground = _Ground.of(dataset)
        dealt = [ground.deal(np.random.default_rng([seed, repeat])) for repeat in range(REPEATS)]
    except _TooLittleGround as error:
        return Leakage({}, {}, str(error))
    for training, test in dealt:
        confusions = {s: _confusion(ground, train, test, len(dataset.legend)) for s, train in training.items()}
        scores.append({scheme: scores_from_confusion(counts) for scheme, counts in confusions.items()})
    miou, accuracy = (
        {scheme: tuple(of_repeat[scheme][key] for of_repeat in scores) for scheme in SCHEMES}
        for key in ("miou", "pixel_accuracy")
    )
    return Leakage(miou, accuracy)


def pixel_features(db: NDArray[np.floating[Any]]) -> FloatArray:
    """What is told of each pixel: means over squares of :data:`SCALES_PX` and over the patch, and their spread.

    Args:
        db: (H, W) in dB, NaN where there is no data.

    Returns:
        (H, W, 2 × scales + 2): for each scale, and for the patch, the mean power in dB and the coefficient of
        variation of power as a logarithm. Squares that reach over the edge of the patch see it mirrored, missing
        pixels count for nothing; NaN where a square holds none.
    """
    known = np.isfinite(db)
    power = np.where(known, 10 ** (np.nan_to_num(db) / 10), 0)
    parts = (known * 1.0, power, power**2)
    means = [[ndimage.uniform_filter(part, size, mode="reflect") for part in parts] for size in SCALES_PX]
    means.append([np.full(db.shape, part.mean()) for part in parts])
    features = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for share, first, second in means:
            # running sums leave specks of what has gone by
            has_any = share > 1e-9
            mean, square = (np.where(has_any, moment / share, np.nan) for moment in (first, second))
            variation = np.sqrt(np.maximum(square / mean**2 - 1, 1e-4))
            features += [10 * np.log10(mean), np.log(variation)]
    return np.stack(features, axis=-1)


@dataclass(frozen=True)
class _Ground:
    """All labelled patches of a dataset: where they lie, and what is known of a sample of their pixels."""

    #: (N, …) as :mod:`alos2tut.dataset.splits` compares it
    places: FloatArray
    #: (N,) number of each patch's ground block
    block: NDArray[np.int64]
    buffer: float
    #: of the sampled pixels: features, class, position of their patch, and whether they may be scored or learned from
    features: FloatArray
    classes: NDArray[np.uint8]
    patch: NDArray[np.int64]
    is_scored: NDArray[np.bool_]

    @classmethod
    def of(cls, dataset: PatchDataset) -> _Ground:
        records: list[dict[str, str]] = []
        samples: list[tuple[NDArray[Any], ...]] = []
        for split in map(dataset.split, ("train", "val", "test")):
            for index, record in enumerate(split.table):
                features, classes, is_scored = _sampled(*split.gather([index]), seed=len(records))
                samples.append((features, classes, np.full(len(classes), len(records)), is_scored))
                records.append(record)
        places = np.concatenate([dataset.ground(name) for name in ("train", "val", "test")])
        block = np.unique([record["Block"] for record in records], return_inverse=True)[1]
        if block.max() < 3:
            problem = f"labelled patches lie in {block.max() + 1} blocks of ground, and at least 4 are needed."
            raise _TooLittleGround(f"{problem} Build the dataset with smaller blocks.")
        features, *others = (np.concatenate(parts) for parts in zip(*samples, strict=True))
        # all scales count alike; turned to the axes along which they spread, which changes no distance, neighbours are
        # found in half the time
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        features @= np.linalg.eigh(np.cov(features, rowvar=False))[1][:, ::-1]
        return cls(places, block, float(dataset.buffer), features, *others)

    def deal(self, random: np.random.Generator) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
        """Pixels that each scheme learns from, and pixels that are scored."""
        blocks = random.permutation(self.block.max() + 1)
        held_out = np.isin(self.block, blocks[: max(1, round(_HELD_OUT * len(blocks)))])
        inside = random.permutation(np.flatnonzero(held_out))
        tested = inside[: max(1, len(inside) // 2)]
        far = np.flatnonzero(~held_out)
        far = far[away_from(self.places[far], self.places[held_out], self.buffer)]
        others = np.setdiff1d(np.arange(len(self.block)), tested)
        learned = {
            "ground": np.flatnonzero(np.isin(self.patch, far) & ~self.is_scored),
            "patches": np.flatnonzero(np.isin(self.patch, random.permutation(others)[: len(far)]) & ~self.is_scored),
            "pixels": np.flatnonzero(~self.is_scored),
        }
        count = min(map(len, learned.values()))
        if count < NEIGHBOURS:
            problem = "too little ground is left to learn from outside the held-out blocks and their buffer."
            raise _TooLittleGround(f"{problem} Build the dataset with smaller blocks, a smaller buffer or more ground.")
        test = np.flatnonzero(np.isin(self.patch, tested) & self.is_scored)
        # one after the other, pixels that are alike find in the cache what they are compared with
        test = test[cKDTree(self.features[test]).indices]
        return {scheme: random.permutation(pool)[:count] for scheme, pool in learned.items()}, test


def _sampled(rows: NDArray[np.int16], labels: NDArray[np.uint8], *, seed: int) -> tuple[NDArray[Any], ...]:
    """Features and classes of some labelled pixels of one patch, and which of them may be scored: every fifth."""
    labelled = np.flatnonzero(labels[0] != IGNORE)
    places = np.random.default_rng([seed, 17]).permutation(labelled)[: _LEARNED + _SCORED]
    found = pixel_features(decode_db(rows[0, 0])).reshape(labels[0].size, -1)[places]
    return found, labels[0].ravel()[places], np.arange(len(places)) % (1 + _LEARNED // _SCORED) == 0


def _confusion(ground: _Ground, train: NDArray[np.int64], test: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts of (label, prediction) by the commonest class of the nearest neighbours, of equals that of the nearest."""
    nearest = cKDTree(ground.features[train]).query(ground.features[test], NEIGHBOURS, workers=cores())[1]
    votes = np.zeros((len(test), classes))
    for rank in range(NEIGHBOURS):
        # a later neighbour's vote never outweighs an earlier one's, but two do
        votes[np.arange(len(test)), ground.classes[train][nearest[:, rank]]] += 1 - 0.01 * rank
    return confusion_of_pixels(ground.classes[test], votes.argmax(axis=1), (classes, classes))
