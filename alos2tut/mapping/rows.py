"""Rows of tiles of one map: worked on by whoever shares the work, and kept on the disk until all are done.

What a row of tiles finishes is kept in a file of its own, so that a stopped run goes on where it was. Any run of rows
comes out the same to the last bit as in one go (:mod:`alos2tut.networks.tiling`), so that processes and devices can
share them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from math import ceil, log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from ..core.artifacts import atomic_path
from ..core.errors import Alos2TutError
from ..core.parallel import as_completed, cores, resumable_folder
from ..core.progress import progress_bar
from ..core.public import public
from ..core.version import __version__
from ..dataset.encoding import NO_DATA, encode_db
from ..dataset.legend import IGNORE
from ..networks.inference import device_of, load_on_best_device
from ..networks.segmenter import Segmenter
from ..networks.tiling import TileGrid, blended_rows, tile_probabilities
from .matching import MatchedProduct, sliding

#: probability and entropy are stored in steps of 1/250
STEPS = 250
#: rows of tiles that a worker is given at once, at most, since each run costs the row above it once more; fewer where
#: nobody knows how many workers there are
_MOST_ROWS, _FEW_ROWS = 16, 4


@dataclass(frozen=True)
class MapPlan:
    """One map on its way; it travels between processes."""

    source: MatchedProduct
    grid: TileGrid
    batch_size: int
    flips: bool
    names: tuple[str, ...]
    classes: int


def weights_hash(model: Segmenter) -> str:
    """A hash of weights, and of what else decides a segmenter's answers."""
    architecture = model.encoder.config, model.decoder_kind, model.image_px
    signal = json.dumps(model.signal, sort_keys=True)
    digest = hashlib.sha256(repr((architecture, model.statistics, model.legend, signal)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.view(torch.uint8).numpy().data if array.dim() else repr(array.item()).encode())
    return digest.hexdigest()


@torch.inference_mode()
def _mapped_rows(
    plan: MapPlan, model: Any, rows: tuple[int, int]
) -> Iterator[tuple[int, dict[str, NDArray[np.uint8]]]]:
    """A run of rows of tiles (first, last exclusive), and what the image rows that each finishes show."""
    first = plan.grid.reaching(rows[0])
    finished = blended_rows(
        partial(tile_probabilities, model, flips=plan.flips),
        _stored_rows(plan, first),
        plan.grid,
        rows,
        classes=plan.classes,
        batch_size=plan.batch_size,
        device=device_of(model),
        # of others nobody knows whether they keep something between calls
        side_by_side=type(model) is Segmenter,
    )
    # whatever happens, the threads of its passes end here
    with closing(finished):
        for row, probability, valid in finished:
            yield row, _layers(plan, probability, valid)


def _stored_rows(plan: MapPlan, first: int) -> Iterator[NDArray[np.int16]]:
    """dB (channels, rows, columns) as networks are given it, of each row of tiles from ``first`` on."""
    grid, height = plan.grid, plan.grid.tile_px[0]
    origin = grid.tops[first]
    blocks = plan.source.db_from(origin, max(1, height - grid.overlap_px))
    for db in sliding(blocks, ((top - origin, top - origin + height) for top in grid.tops[first:])):
        # outside the product there is no data
        stored = np.full((len(db), height, grid.padded_width), NO_DATA, dtype=np.int16)
        stored[:, : db.shape[1], : db.shape[2]] = encode_db(db)
        yield stored


def _layers(plan: MapPlan, probability: Tensor, valid: NDArray[np.bool_]) -> dict[str, NDArray[np.uint8]]:
    """Class, confidence and entropy (rows, columns) uint8 of probabilities (classes, rows, columns)."""
    most, classes = probability.max(dim=0)
    if not bool(torch.isfinite(most).all()):
        raise Alos2TutError("gives NaN or infinity", where="segmenter", remedy="Its training broke down: repeat it.")
    layers = {"classes": classes}
    if "probability" in plan.names:
        layers["probability"] = (most * STEPS).round().clamp(0, STEPS)
    if "entropy" in plan.names:
        # at most ln(classes); one class alone has none
        share = torch.special.entr(probability).sum(dim=0) / (log(plan.classes) or 1.0)
        layers["entropy"] = (share * STEPS).round().clamp(0, STEPS)
    found = {name: values.to(torch.uint8).cpu().numpy() for name, values in layers.items()}
    return {name: np.where(valid, values, np.uint8(IGNORE)) for name, values in found.items()}


class DeviceExecutor(ThreadPoolExecutor):
    """Threads that share a map, each with a copy of the network on a device of its own.

    Args:
        devices: torch's names of them, as "cuda:0" and "cuda:1".

    Raises:
        Alos2TutError: a device that torch does not know, or cannot use.
    """

    @public
    def __init__(self, devices: str | Sequence[str]) -> None:
        self._free: queue.SimpleQueue[torch.device] = queue.SimpleQueue()
        names = (devices,) if isinstance(devices, str) else devices
        if not names:
            raise Alos2TutError("names none", where="devices", remedy="Give one, as 'cuda:0'.")
        for name in names:
            with _usable(name):
                self._free.put(torch.empty(0, device=torch.device(name)).device)
        super().__init__(len(names), initializer=self._take_device)

    def _take_device(self) -> None:
        _THREAD.device = self._free.get()


#: of a thread of :class:`DeviceExecutor`: its device, the network that it was given last, and the copy there
_THREAD = threading.local()


@contextmanager
def _usable(device: object) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise Alos2TutError(f"{str(device)!r} cannot be used ({reason})", where="devices") from None


def _on_own_device(model: Any) -> Any:
    """A network as this thread uses it: on the thread's device, if it has one."""
    device = getattr(_THREAD, "device", None)
    if device is None:
        return model
    if not isinstance(model, nn.Module):
        raise Alos2TutError("is no torch module, which could be copied to devices", where="segmenter")
    if getattr(_THREAD, "original", None) is not model:
        with _usable(device):
            _THREAD.copy, _THREAD.original = copy.deepcopy(model).to(device), model
    return _THREAD.copy


def map_missing(kept: KeptRows, segmenter: Any, model: Any, executor: Executor | None, progress: bool | None) -> None:
    """Map the rows of tiles that are not kept yet; arguments are those of :func:`alos2tut.map_scene`.

    ``model`` is the segmenter in evaluation mode, which other processes load for themselves if a path was given.
    """
    missing, count = kept.missing(), len(kept.plan.grid.tops)
    if 0 < len(missing) < count:
        print(f"going on: {count - len(missing)} of {count} rows of tiles are done")
    # whatever happens, what has not begun is given up at once
    with closing(_finished(kept, segmenter, model, executor, missing)) as finished:
        for _ in progress_bar(finished, "mapping", "row of tiles", total=len(missing), show=progress):
            pass


def _finished(
    kept: KeptRows, segmenter: Any, model: Any, executor: Executor | None, missing: Sequence[int]
) -> Generator[int]:
    """Rows of tiles as they are mapped and kept."""
    # unbroken runs of rows
    firsts = [row for row in missing if row - 1 not in missing]
    lasts = [row + 1 for row in missing if row + 1 not in missing]
    runs = list(zip(firsts, lasts, strict=True))
    if executor is None:
        for rows in runs:
            yield from _keep(kept, model, rows)
        return
    size = getattr(executor, "_max_workers", None)
    most = _FEW_ROWS if size is None else min(_MOST_ROWS, ceil(len(missing) / size))
    parts = [(row, min(row + most, last)) for first, last in runs for row in range(first, last, most)]
    # threads of this process need nothing to be loaded, processes of this machine share its cores
    by_file = isinstance(segmenter, (str, Path)) and not isinstance(executor, ThreadPoolExecutor)
    threads = max(1, cores() // size) if size is not None and isinstance(executor, ProcessPoolExecutor) else None
    job = _Job(kept, Path(segmenter).absolute() if by_file else model, threads)
    try:
        for _, done in as_completed(executor, job, parts):
            yield from done
    except Exception as error:
        # pickling fails with errors of many kinds, and an executor that was shut down with a plain RuntimeError
        reason = str(error)
        if not isinstance(error, BrokenExecutor) and "pickle" not in reason and "after shutdown" not in reason:
            raise
        remedy = "Give the segmenter by its file; see that workers can start, and have memory."
        raise Alos2TutError(f"the work cannot be handed over ({reason})", where="executor", remedy=remedy) from error


def _keep(kept: KeptRows, model: Any, rows: tuple[int, int]) -> Iterator[int]:
    """Map a run of rows, and keep each as it is finished, while the next one is at work."""
    kept_row: Future[int] | None = None
    # not map_in_order: when mapping stops, what is mapped must not be given up
    with ThreadPoolExecutor(1) as disk:
        for row, layers in _mapped_rows(kept.plan, model, rows):
            if kept_row is not None:
                yield kept_row.result()
            kept_row = disk.submit(kept.write, row, layers)
    if kept_row is not None:
        yield kept_row.result()


@dataclass(frozen=True)
class _Job:
    """A run of rows by a worker, which is given a segmenter, or the path of one that is as it was when we read it."""

    kept: KeptRows
    segmenter: Any
    #: of torch; None: as it is
    threads: int | None

    def __call__(self, rows: tuple[int, int]) -> list[int]:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        model = self.segmenter
        if isinstance(model, Path) and self.kept.made_from:
            model = _loaded(model, self.kept.made_from["segmenter"])
        return list(_keep(self.kept, _on_own_device(model), rows))


@lru_cache(maxsize=1)
def _loaded(path: Path, wanted: str) -> Any:
    model = load_on_best_device(path)
    if weights_hash(model) != wanted:
        raise Alos2TutError("has changed since mapping began", where=path, remedy="Map again.")
    return model


@dataclass(frozen=True)
class KeptRows:
    """What each row of tiles finished, file by file in a folder beside the map; it travels between processes."""

    folder: Path
    plan: MapPlan
    made_from: dict[str, Any] | None

    def _path(self, row: int) -> Path:
        return self.folder / f"row-{row:05d}.npz"

    def missing(self) -> list[int]:
        """Rows of tiles that are yet to be mapped; damaged files count as missing."""
        return [row for row in range(len(self.plan.grid.tops)) if not self._is_whole(row)]

    def _is_whole(self, row: int) -> bool:
        first, last = self.plan.grid.finished(row)
        shape = last - first, self.plan.grid.shape[1]
        try:
            return all(self._read(row, name).shape == shape for name in self.plan.names)
        except Exception:
            # zip, zlib and NumPy complain of damaged bytes in a dozen ways
            return False

    def _read(self, row: int, name: str) -> NDArray[np.uint8]:
        with np.load(self._path(row), allow_pickle=False) as layers:
            layer: NDArray[np.uint8] = layers[name]
        return layer

    def write(self, row: int, layers: dict[str, NDArray[np.uint8]]) -> int:
        """Keep what a row of tiles finished; returns the row."""
        with atomic_path(self._path(row)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **layers)
        return row

    def layer(self, name: str) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """A whole layer from top to bottom."""
        for row, top in enumerate(self.plan.grid.tops):
            values = self._read(row, name)
            yield Window(0, top, values.shape[1], values.shape[0]), values


@contextmanager
def kept_rows(out_path: Path, plan: MapPlan, made_from: dict[str, Any] | None) -> Iterator[KeptRows]:
    """What is kept in the folder ``<out_path>.partial``."""
    wanted = made_from and {"made_from": made_from, "names": list(plan.names), "version": __version__}
    with resumable_folder(out_path.absolute(), wanted, ["row-*.npz"]) as folder:
        yield KeptRows(folder, plan, made_from)
