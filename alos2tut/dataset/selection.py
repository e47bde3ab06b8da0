"""Which of the surveyed patches are kept, sampled, and assigned to which list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..core.errors import Alos2TutError, warn
from . import balance, splits
from .config import DatasetConfig
from .legend import Legend
from .store import SPLITS, STORES
from .survey import PatchTable

#: what becomes of a patch; the place in this list is its number
STATUSES = ("kept", "too little data", "too much of a class", "no sampled point", "in the buffer", "too few labels")
KEPT, _NO_DATA, _CLASS, _POINT, _BUFFER, _LABELS = range(len(STATUSES))


@dataclass(frozen=True)
class Choice:
    """What becomes of each patch of a survey.

    Attributes:
        table: the survey.
        status: (N,) uint8, number in :data:`STATUSES`.
        ground: (N,) int8, whose ground it is: ``splits.PRETRAIN``, ``VAL`` or ``TEST``; meaningless if it is not kept.
        point: (N,) int16, class of the sampled point in it; −1: none.
        enough_labels: (N,) bool, whether it may be in a labelled list.
        names: of the classes.
    """

    table: PatchTable
    status: NDArray[np.uint8]
    ground: NDArray[np.int8]
    point: NDArray[np.int16]
    enough_labels: NDArray[np.bool_]
    names: tuple[str, ...]

    def take(self, where: Any) -> Choice:
        """Some of the patches, by a mask or by their places."""
        columns = {name: getattr(self, name)[where] for name in ("status", "ground", "point", "enough_labels")}
        return replace(self, table=self.table.take(where), **columns)

    def splits_of(self, place: int) -> tuple[str, ...]:
        """The lists that a kept patch is in."""
        store = STORES[self.ground[place]]
        return (store, "train") if store == "pretrain" and self.enough_labels[place] else (store,)

    @cached_property
    def lists(self) -> dict[str, NDArray[np.int64]]:
        """The patches of each list by their place in the survey, in its order."""
        kept = self.status == KEPT
        lists = {name: np.flatnonzero(kept & (self.ground == code)) for code, name in enumerate(STORES)}
        return lists | {"train": lists["pretrain"][self.enough_labels[lists["pretrain"]]]}

    def class_pixels(self, split: str) -> NDArray[np.int64]:
        """Labelled pixels of each class in a list, (C,)."""
        return np.asarray(self.table.counts[self.lists[split]].sum(axis=0))

    def balance(self) -> dict[str, Any]:
        """Classes before and after caps and sampling, and how many patches were dropped for which reason."""
        before = self.status != _NO_DATA
        after = before & (self.status != _CLASS) & (self.status != _POINT)
        dropped = np.bincount(self.status, minlength=len(STATUSES)).tolist()
        return {
            "before": balance.histogram(self.table.counts[before], self.names),
            "after": balance.histogram(self.table.counts[after], self.names),
            "dropped": dict(zip(STATUSES[1:], dropped[1:], strict=True)),
        }


def choose(table: PatchTable, config: DatasetConfig, legend: Legend) -> Choice:
    """Decide what becomes of every patch: enough data, caps, sampled points, then ground is assigned to lists.

    Raises:
        Alos2TutError: nothing is left, the ground cannot be divided, or a list stays empty.
    """
    status, point = _sampled(table, config, legend)
    left = np.flatnonzero(status == KEPT)
    if not len(left):
        raise Alos2TutError(
            f"no patch is left after filtering {len(table)}",
            where="dataset settings",
            remedy="Lower min_valid_fraction or patch_px, or relax max_class_share.",
        )
    block, buffer = config.blocks(table.frame)
    ground = np.full(len(table), splits.BUFFER, np.int8)
    ground[left] = splits.assign_splits(
        table.ground[left],
        table.counts[left],
        block=block,
        buffer=buffer,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
        folds=config.folds,
        fold=config.fold or 0,
        apart=None if config.stride_px in (None, config.patch_px) else _Apart(table.take(left)),
    )
    status[left[ground[left] == splits.BUFFER]] = _BUFFER
    enough_labels = table.labelled >= config.min_labelled_fraction
    status[(status == KEPT) & (ground != splits.PRETRAIN) & ~enough_labels] = _LABELS
    choice = Choice(table, status, ground, point, enough_labels, tuple(legend.names))
    unit = "m" if table.frame == "map" else "px"
    for split in SPLITS:
        if not len(choice.lists[split]):
            raise Alos2TutError(
                f"the list '{split}' is empty after splitting {len(left)} patches",
                where="dataset settings",
                remedy=f"Choose a smaller block_{unit}, buffer_{unit} or min_labelled_fraction, or give more products.",
            )
    return choice


@dataclass(frozen=True)
class _Apart:
    """Which of overlapping patches may be held out together, so that no pixel is scored twice."""

    table: PatchTable

    def __call__(self, places: NDArray[np.int64], role: int) -> NDArray[np.bool_]:
        """Those that lie side by side from the product's corner on; for validation also others, where these leave room.

        All folds so test on the same patches.
        """
        n = self.table.patch_px
        product, row, col = (of[places].tolist() for of in (self.table.product, self.table.row, self.table.col))
        on_grid = np.array([r % n == 0 and c % n == 0 for r, c in zip(row, col, strict=True)], dtype=np.bool_)
        if role == splits.TEST:
            return on_grid
        # first rows and columns of what stays, by the cells of the side of a patch that they lie in
        taken: dict[tuple[int, int, int], tuple[int, int]] = {}
        stays = np.zeros(len(places), np.bool_)
        for place in np.argsort(~on_grid, kind="stable").tolist():
            key = product[place], row[place] // n, col[place] // n
            around = [taken.get((key[0], key[1] + i, key[2] + j)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            if all(max(abs(t[0] - row[place]), abs(t[1] - col[place])) >= n for t in around if t):
                taken[key], stays[place] = (row[place], col[place]), True
        return stays


def _sampled(table: PatchTable, config: DatasetConfig, legend: Legend) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Status of patches without enough data, over the caps or without a point; and the class of each one's point."""
    status, point = np.full(len(table), KEPT, np.uint8), np.full(len(table), -1, np.int16)
    status[balance.exceeds_share(table.counts, config.max_class_share, legend.names, config.patch_px)] = _CLASS
    status[table.valid < config.min_valid_fraction] = _NO_DATA
    left = np.flatnonzero(status == KEPT)
    if config.points is not None and len(left):
        point[left] = balance.sample_patches(table.counts[left], config.points, config.temperature, config.seed)
        status[left[point[left] < 0]] = _POINT
    return status, point


def report_absent(choice: Choice, config: DatasetConfig) -> None:
    """Warn of blocks that are single patches, and of classes that a list lacks or has in a patch or two.

    Raises:
        Alos2TutError: a class is lacking, and ``require_all_classes`` is set.
    """
    corners, unit = choice.table.corners[0], "px"
    if choice.table.frame == "map":
        corners, unit = geometry.on_ellipsoid(corners)[0], "m"
    side, block = float(np.linalg.norm(corners[1] - corners[0])), config.blocks(choice.table.frame)[0]
    if block < 0.9 * side:
        warn(
            f"block_{unit}={block:g} is below the patches' side of {side:.0f} {unit}: every patch is a block of its "
            "own, and intervals over blocks are too narrow. Choose several times the side"
        )
    for split in ("train", "val", "test"):
        absent = [name for name, n in zip(choice.names, choice.class_pixels(split), strict=True) if n == 0]
        if absent:
            message = f"the list '{split}' has no pixel of: {', '.join(absent)}"
            if config.require_all_classes:
                raise Alos2TutError(message, where="dataset settings", remedy="Give more ground or another seed.")
            effect = "never learned" if split == "train" else "left out of its mIoU"
            warn(f"{message} ({effect})")
        held = np.count_nonzero(choice.table.counts[choice.lists[split]], axis=0)
        few = [f"{name} ({n})" for name, n in zip(choice.names, held, strict=True) if 0 < n < balance.FEW_PATCHES]
        if few:
            warn(f"the list '{split}' has fewer than {balance.FEW_PATCHES} patches with: {', '.join(few)}")
