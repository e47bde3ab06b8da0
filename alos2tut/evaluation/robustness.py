"""How much of a segmenter's score survives when its input gets worse: noisier, coarser, brighter or darker.

Whoever maps with a network meets scenes of fewer looks, of another resolution, of another calibration than it was
trained on. Here patches of a list are changed in one way at a time and scored against the same labels. Pixels without
data stay without; all averaging is of power.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError
from ..core.public import public
from ..dataset.encoding import decode_db, encode_db
from ..dataset.store import PatchDataset, Split, open_dataset
from ..metrics import COVERS, LEVEL, BlockScore, block_counts, block_scores
from ..networks.inference import confusion_matrices
from ..networks.segmenter import Segmenter
from ..networks.weights import weights_path
from ..radiometry import to_db, to_power
from .ground import ground_blocks
from .report import check_fit, fitting_segmenter

#: the ways of changing patches, each with the value at which it changes nothing
KINDS: dict[str, float | None] = {"added_looks": None, "multilook": 1, "gain_db": 0}

_Power = NDArray[np.float64]
#: from a patch's power (C, H, W), NaN without data, and its random numbers to its changed power
_Change = Callable[[_Power, np.random.Generator], _Power]


@dataclass(frozen=True)
class Trial:
    """The score of patches that were changed in one way."""

    #: of :data:`KINDS`
    kind: str
    #: looks of the added speckle (None: none is added), pixels averaged along a side, or dB
    value: float | None
    #: None where nothing is labelled
    miou: float | None
    #: of mIoU over blocks of ground; None with fewer than three
    interval: list[float] | None
    #: mIoU minus that of the unchanged patches, ``value`` and ``interval``: of the difference itself, as the blocks are
    #: the same
    change: dict[str, Any]
    #: mIoU as what differences to other models' trials on the same blocks are made of
    score: BlockScore = field(repr=False, compare=False)


@dataclass(frozen=True)
class Robustness:
    """What :func:`robustness` found."""

    dataset: str
    simulated: bool
    split: str
    #: how many were scored, and in how many labelled blocks of ground
    patches: int
    blocks: int
    #: of the intervals
    level: float
    #: of :data:`alos2tut.core.tables.SOURCES`: what the intervals cover
    covers: tuple[str, ...]
    #: of the noise
    seed: int
    #: kind by kind, in the order in which they were asked for
    trials: tuple[Trial, ...]

    def curve(self, kind: str) -> list[Trial]:
        """The trials of one of :data:`KINDS`."""
        return [trial for trial in self.trials if trial.kind == kind]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        plain = [{key: value for key, value in vars(trial).items() if key != "score"} for trial in self.trials]
        return {**vars(self), "covers": list(self.covers), "trials": plain}


@public
def robustness(
    segmenter: Segmenter | str | Path,
    dataset: PatchDataset | str | Path,
    *,
    split: str = "val",
    added_looks: Sequence[float | None] = (None, 8, 4, 2, 1),
    multilook: Sequence[int] = (1, 2, 4),
    gains_db: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
    patches: int = 500,
    batch_size: int = 16,
    seed: int = 0,
    allow_other_signal: bool = False,
) -> Robustness:
    """Score a segmenter on patches that are changed in one way at a time.

    - ``added_looks``: power is multiplied by gamma noise of mean 1 and L looks, drawn for each pixel alone (None: by
      none). Ground of L₀ looks has L' then, by its variance: 1/L' = 1/L₀ + 1/L + 1/(L₀·L), since the relative variances
      of independent factors join to (1 + 1/L₀)(1 + 1/L) − 1. Speckle of a product is correlated, this is not.
    - ``multilook``: power is averaged over n × n pixels and each mean written back to all of them: what pixels n times
      as large show, enlarged.
    - ``gain_db``: all dB are shifted, as by another calibration.

    Args:
        segmenter: a loaded one, which stays on its device, or its file or folder, which goes to a GPU if there is one.
        dataset: an open dataset, or its folder.
        split: the list to score on. Not ``test`` while anything is still to be chosen: that list is scored once.
        added_looks, multilook, gains_db: values of the trials, of each kind.
        patches: at most so many, evenly from the list.
        batch_size: patches at work at once.
        seed: of the noise, which for a given patch depends on nothing else.
        allow_other_signal: warn, instead of refusing, when the segmenter was trained on another quantity, polarisation
            or pixel size.

    Returns:
        mIoU, and its difference to that of the unchanged patches, of each trial, with 95 % intervals over blocks of
        ground (:func:`alos2tut.metrics.block_scores`), which do not cover other trainings; nothing is written.

    Raises:
        Alos2TutError: as :func:`alos2tut.evaluate`; looks that are not above 0, an n below 1, no patch to score.
    """
    dataset = dataset if isinstance(dataset, PatchDataset) else open_dataset(dataset)
    values: dict[str, Sequence[float | None]] = dict(zip(KINDS, (added_looks, multilook, gains_db), strict=True))
    _check(values, {"patches": patches, "batch_size": batch_size})
    if isinstance(segmenter, Segmenter):
        check_fit(segmenter, dataset, "the segmenter", allow_other_signal)
    else:
        segmenter = fitting_segmenter(weights_path(segmenter, "segmenter"), dataset, allow_other_signal)
    scored = dataset.split(split)
    if not len(scored):
        raise Alos2TutError("holds no patch to score", where=f"the list '{split}'")
    chosen = scored.evenly(patches)
    scored = dataclasses.replace(scored, rows=scored.rows[chosen], table=[scored.table[int(row)] for row in chosen])
    blocks = ground_blocks(scored)
    counts = block_counts(confusion_matrices(segmenter, scored, batch_size, blocks))
    found: dict[tuple[str, float] | None, BlockScore] = {None: block_scores(counts)["miou"]}
    trials = []
    for kind, value in [(kind, value) for kind, of_kind in values.items() for value in of_kind]:
        changed = None if value is None or value == KINDS[kind] else (kind, value)  # nothing changes but once
        if changed is not None and changed not in found:
            change = partial(_changed, scored, _change(*changed), seed)
            matrices = confusion_matrices(segmenter, scored, batch_size, blocks, change)
            found[changed] = block_scores(block_counts(matrices))["miou"]
        score = found[changed]
        trials.append(Trial(kind, value, score.value, score.interval, score.minus(found[None]), score))
    facts = dataset.path.name, dataset.simulated, split, len(scored), len(counts), LEVEL, COVERS, seed
    return Robustness(*facts, tuple(trials))


def add_speckle(power: _Power, looks: float, random: np.random.Generator) -> _Power:
    """Power of any shape times gamma noise of mean 1 and variance 1/looks, independent from pixel to pixel."""
    return np.multiply(power, random.gamma(looks, 1 / looks, power.shape))


def coarsen(power: _Power, factor: int) -> _Power:
    """Power (C, H, W), each pixel with data (not NaN) as the mean of its block of factor × factor."""
    height, width = power.shape[1:]
    rows, cols = np.arange(0, height, factor), np.arange(0, width, factor)

    def sums(of: NDArray[Any]) -> _Power:
        blocks = np.add.reduceat(np.add.reduceat(of.astype(np.float64), rows, axis=1), cols, axis=2)
        return blocks.repeat(factor, axis=1).repeat(factor, axis=2)[:, :height, :width]

    known = np.isfinite(power)
    return np.where(known, sums(np.where(known, power, 0)) / np.maximum(sums(known), 1), np.nan)


def _change(kind: str, value: float) -> _Change:
    if kind == "added_looks":
        return lambda power, random: add_speckle(power, value, random)
    if kind == "multilook":
        return lambda power, _: coarsen(power, int(value))
    return lambda power, _: power * 10 ** (value / 10)


def _changed(
    split: Split, change: _Change, seed: int, rows: NDArray[np.int16], positions: NDArray[np.int64]
) -> NDArray[np.int16]:
    """Stored patches (B, C, H, W) after a change; random numbers belong to a patch's place in its store."""
    power = to_power(decode_db(rows))
    own = (np.random.default_rng([seed, int(split.rows[position])]) for position in positions)
    return encode_db(to_db(np.stack([change(patch, random) for patch, random in zip(power, own, strict=True)])))


def _check(values: dict[str, Sequence[float | None]], sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise Alos2TutError(f"{name}={size} is not at least 1", where=name)
    fits: dict[str, tuple[str, Callable[[float], bool]]] = {
        "added_looks": ("finite numbers above 0, or None", lambda looks: 0 < looks < np.inf),
        "multilook": ("whole numbers from 1", lambda factor: factor >= 1 and factor % 1 == 0),
        "gain_db": ("finite numbers", lambda gain: bool(np.isfinite(gain))),
    }
    for kind, (wanted, fit) in fits.items():
        if not all(value == KINDS[kind] or (value is not None and fit(value)) for value in values[kind]):
            raise Alos2TutError(f"must be {wanted}, not {list(values[kind])}", where=kind)
