"""Reading a packed patch dataset: rows, labels, statistics and the order of batches. NumPy only.

A dataset is a folder with ``dataset.json``, four lists (``pretrain.csv``, ``train.csv``, ``val.csv``, ``test.csv``) and
three stores of patches: ``pretrain`` (which holds the training ground, so the ``train`` list points into it), ``val``
and ``test``. A store is a pair of memory-mapped arrays, ``<store>_db.npy`` (int16 hundredths of dB, N × C × H × W) and
``<store>_labels.npy`` (uint8 class indices, N × H × W). :func:`alos2tut.build_dataset` writes it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .artifacts import read_json, sha256_file
from .errors import Alos2TutError, closest
from .legend import Legend

SCHEMA = "alos2tut-dataset-1"
SPLITS = ("pretrain", "train", "val", "test")

#: The store each list points into.
STORE_OF = {"pretrain": "pretrain", "train": "pretrain", "val": "val", "test": "test"}

#: Value of a pixel without data in a store.
NO_DATA = -32768

#: Steps of a store per dB.
STEPS_PER_DB = 100.0

#: Pixel sizes that differ by at most this share count as equal: degrees change their length with latitude.
SPACING_TOLERANCE = 0.05


def encode_db(backscatter_db: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Backscatter in dB as int16 hundredths of dB; NaN becomes :data:`NO_DATA`.

    The step of 0.01 dB is a thousandth of the spread of one-look speckle.
    """
    steps = np.clip(np.rint(backscatter_db * STEPS_PER_DB), NO_DATA + 1, -(NO_DATA + 1))
    return np.where(np.isnan(steps), NO_DATA, steps).astype(np.int16)


def decode_db(rows: NDArray[np.int16]) -> NDArray[np.float32]:
    """The inverse of :func:`encode_db`: float32 dB, NaN where there is no data."""
    return np.where(rows == NO_DATA, np.float32(np.nan), rows.astype(np.float32) / np.float32(STEPS_PER_DB))


def same_spacing(one: ArrayLike, other: ArrayLike) -> bool:
    """Whether two pixel sizes are equal to within :data:`SPACING_TOLERANCE`.

    Args:
        one: metres, one number or (rows, columns).
        other: the same; the order of the two makes no difference.
    """
    a, b = (np.broadcast_to(np.asarray(spacing, dtype=np.float64), (2,)) for spacing in (one, other))
    return bool((np.abs(a - b) <= SPACING_TOLERANCE * np.minimum(a, b)).all())


@dataclass(frozen=True)
class Statistics:
    """Mean and spread of backscatter in dB by channel: what network input is standardised by.

    The one place where dB are averaged: this describes network input, not the ground.
    """

    mean_db: tuple[float, ...]
    std_db: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain content for JSON."""
        return {"mean_db": list(self.mean_db), "std_db": list(self.std_db)}

    @classmethod
    def from_dict(cls, content: Any, *, where: str | Path) -> Statistics:
        """From plain content; numbers that cannot standardise anything are refused."""
        try:
            mean, std = (tuple(float(v) for v in content[key]) for key in ("mean_db", "std_db"))
        except (KeyError, TypeError, ValueError):
            raise Alos2TutError("statistics need lists 'mean_db' and 'std_db'", where=where) from None
        if not mean or len(mean) != len(std) or not np.isfinite(mean + std).all() or min(std) <= 0:
            raise Alos2TutError(f"statistics are not usable: mean {mean}, spread {std} dB", where=where)
        return cls(mean, std)


@dataclass(frozen=True)
class Split:
    """One list of patches and the arrays its rows lie in."""

    name: str
    #: (N, C, H, W) int16 hundredths of dB, memory-mapped
    patches: NDArray[np.int16]
    #: (N, H, W) uint8 class indices, memory-mapped
    labels: NDArray[np.uint8]
    #: (n,) int64: the rows of the arrays that this list names
    rows: NDArray[np.int64]
    #: the list itself, one dict of texts per patch
    table: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: NDArray[np.integer[Any]] | list[int]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Patches and labels by their position in the list: (B, C, H, W) int16 and (B, H, W) uint8."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return self.patches[rows], self.labels[rows]

    def db(self, index: int) -> NDArray[np.float32]:
        """One patch in dB, (C, H, W) float32, NaN without data."""
        return decode_db(self.patches[self.rows[index]])


class PatchDataset:
    """A packed dataset that was opened with :func:`open_dataset`; arrays are mapped, not loaded."""

    def __init__(self, path: Path, content: dict[str, Any]):
        self.path, self.content = path, content
        try:
            self.legend = Legend.from_dict(content["legend"], where=path / "dataset.json")
            self.statistics = Statistics.from_dict(content["statistics"], where=path / "dataset.json")
            self.patch_px = int(content["patch_px"])
            self.channels = len(content["polarizations"])
            #: what training needs to agree on: quantity, polarisations and pixel size
            self.signal: dict[str, Any] = {k: content[k] for k in ("quantity", "polarizations", "spacing_m")}
            #: some or all of the pixels are simulated
            self.simulated = bool(content.get("simulated", False))
            self.class_weights = np.array(content["class_weights"], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise Alos2TutError(
                f"lacks or breaks the field {error}", where=path / "dataset.json", remedy="Build the dataset anew."
            ) from None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ``dataset.json``, which holds the hashes of all other files: the dataset's identity."""
        return sha256_file(self.path / "dataset.json")

    def split(self, name: str) -> Split:
        """One of :data:`SPLITS`.

        Raises:
            Alos2TutError: an unknown split, a missing or cut file, a list that names rows that are not there.
        """
        if name not in SPLITS:
            raise Alos2TutError(f"unknown split '{name}'", where=self.path, remedy=closest(name, SPLITS))
        store = STORE_OF[name]
        patches = self._array(f"{store}_db.npy", np.dtype(np.int16), 4)
        labels = self._array(f"{store}_labels.npy", np.dtype(np.uint8), 3)
        table = _read_list(self.path / f"{name}.csv")
        try:
            rows = np.array([int(record["Row"]) for record in table], dtype=np.int64)
        except (KeyError, ValueError, TypeError):
            raise Alos2TutError("the column 'Row' is missing or broken", where=self.path / f"{name}.csv") from None
        if len(rows) and (rows.min() < 0 or rows.max() >= len(patches)):
            raise Alos2TutError(
                f"names row {rows.max()} of {len(patches)}", where=self.path / f"{name}.csv", remedy="Build it anew."
            )
        return Split(name, patches, labels, rows, table)

    def _array(self, name: str, dtype: np.dtype[Any], ndim: int) -> NDArray[Any]:
        path = self.path / name
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise Alos2TutError(f"cannot be mapped ({error})", where=path, remedy="Build the dataset anew.") from None
        if array.dtype != dtype or array.ndim != ndim or array.shape[-1] != self.patch_px:
            raise Alos2TutError(
                f"holds {array.dtype} {array.shape}, not {dtype} patches of {self.patch_px} px", where=path
            )
        mapped: NDArray[Any] = array
        return mapped


def open_dataset(path: str | Path) -> PatchDataset:
    """Open a dataset folder.

    Raises:
        Alos2TutError: no dataset there, or one of another schema.
    """
    path = Path(path)
    if not (path / "dataset.json").is_file():
        raise Alos2TutError("is no dataset: it has no dataset.json", where=path, remedy="Make one: build-dataset.")
    content = read_json(path / "dataset.json")
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise Alos2TutError(f"is not of the schema {SCHEMA}", where=path / "dataset.json", remedy="Build it anew.")
    return PatchDataset(path, content)


def _read_list(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Alos2TutError(f"the list cannot be read ({error})", where=path) from None


def batch_indices(n: int, batch_size: int, seed: int, micro_batch: int) -> NDArray[np.int64]:
    """The samples of one micro-batch of an endless, shuffled stream.

    The stream is a permutation of all samples, then another, and so on; the answer depends on nothing but the
    arguments, so a run can start again at any micro-batch.

    Args:
        n: number of samples.
        batch_size: samples per micro-batch, over all processes.
        seed: the run's seed.
        micro_batch: which one, from 0.

    Returns:
        (batch_size,) int64 positions in the list.
    """
    positions = np.arange(micro_batch * batch_size, (micro_batch + 1) * batch_size)
    epochs, places = np.divmod(positions, n)
    indices = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = np.random.default_rng([seed, int(epoch)]).permutation(n)[places[here]]
    return indices
