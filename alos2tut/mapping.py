"""Maps of whole products: land cover, and how sure of it a segmenter is, at any size.

Rows of tiles are the unit of work. What each of them finishes is kept beside the map until all are done, so that a
stopped run goes on where it was; any run of rows comes out the same to the last bit as in one go
(:mod:`alos2tut.tiling`), so that processes and devices can share them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import queue
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from math import ceil, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from . import __version__
from .artifacts import atomic_path, read_json, write_json
from .dataset import NO_DATA, encode_db
from .encoders import standardize
from .errors import Alos2TutError, warn
from .inference import device_of, evaluating, load_on_best_device
from .legend import IGNORE
from .map_files import MapFile, map_file
from .matching import MatchedProduct, match, sliding
from .opening import open_product
from .parallel import as_done, cores, only_one, process_pool
from .products import Product
from .progress import progress_bar
from .radiometry import is_count
from .rasters import write_cog
from .tiling import TileGrid, blended_rows

if TYPE_CHECKING:
    from .segmentation import Segmenter

#: probability and entropy are stored in steps of 1/250
STEPS = 250
#: rows of tiles that a worker is given at once, if there are as many: each run costs the row above it once more
_MOST_ROWS = 16
#: what is written, and what the band of each file is
_BANDS = {
    "classes": "land-cover class",
    "probability": "probability of the mapped class",
    "entropy": "entropy of the class probabilities over its largest value, ln(classes)",
}

Layers = dict[str, NDArray[np.uint8]]


def map_scene(
    product: Product | str | Path,
    segmenter: Segmenter | str | Path,
    out_path: str | Path,
    *,
    overlap_px: int | None = None,
    batch_size: int = 8,
    polarization: str | None = None,
    probability: bool = False,
    entropy: bool = False,
    flips: bool = False,
    convert: bool = False,
    allow_other_signal: bool = False,
    labels: str | Path | Sequence[str | Path] = (),
    preview: bool = True,
    overwrite: bool = False,
    workers: int = 1,
    devices: Sequence[str] = (),
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Path:
    """Map a whole product to a Cloud-Optimized GeoTIFF of class indices.

    Tiles of the segmenter's own size lie on a fixed grid and overlap; their class probabilities are blended with
    weights that sum to one, so no seam shows. Memory holds one row of tiles, however large the product is.

    A run that is stopped leaves ``<out_path>.partial``; the same call goes on from there, and the map is the same as in
    one go, bit for bit on a device of the same kind with as many threads. A map that is there already and was made of
    the same product, segmenter and settings is left as it is.

    Args:
        product: a product, or the path of one; not in slant range.
        segmenter: a loaded segmenter, which stays on its device unless ``devices`` are named, or its file or folder,
            which goes to a GPU if there is one. Anything will do that maps standardised dB (B, 1, H, W) to logits
            (B, classes, H, W) and has ``image_px``, ``statistics``, ``legend`` and ``signal``; a module is in
            evaluation mode meanwhile, anything else is always mapped from the beginning.
        out_path: the GeoTIFF to write (whole or not at all); it has the legend's colour table, 255 for no data, the
            class names and what it was made from as tags, and overviews. Other files are named like it:
            :func:`map_file`.
        overlap_px: pixels that neighbouring tiles share; None: a quarter of the tile.
        batch_size: tiles per forward pass at most; rows of tiles are divided evenly.
        polarization: the channel to read; None: the one the segmenter was trained on.
        probability: write the probability of the mapped class, too: uint8 in steps of 1/250, 255 for no data.
        entropy: write the entropy of the class probabilities, from 0 (sure) to 1 (all alike), in the same way.
        flips: average over the tile and its three mirror images, which takes four times as long.
        convert: where the product is of another quantity than the segmenter was trained on, convert it by incidence
            angles; where no number of looks leads to the pixel size trained on, average power over areas.
        allow_other_signal: warn, instead of refusing, when the segmenter was trained on another quantity or
            polarisation, and read the product as it is.
        labels: label rasters to compare with; the agreement goes to ``<stem>_agreement.json``, where they differ to
            ``<stem>_difference.tif`` (:func:`alos2tut.agreement.map_agreement`).
        preview: draw ``<stem>_preview.png`` with legend, scale bar and north.
        overwrite: replace an older map that was made of something else.
        workers: processes to share the work; each gets its part of the cores.
        devices: torch's names of devices that share the work, as "cuda:0" and "cuda:1".
        executor: who does the work instead, as Dask's or MPI's; the segmenter is best given by its file then, which
            each process loads once.
        progress: show a bar; None: only where someone watches.

    Returns:
        ``out_path``.

    Raises:
        Alos2TutError: another quantity, polarisation or pixel size than the segmenter was trained on, an overlap as
            large as the tile, an ``out_path`` that is a folder or a file of the product, that holds something else, or
            whose folder is missing, labels that do not lie there, damaged pixels, a full disk, or a segmenter that
            gives no numbers.
    """
    out_path = Path(out_path)
    product = product if isinstance(product, Product) else open_product(product)
    names = ("classes",) + ("probability",) * probability + ("entropy",) * entropy
    check_out_path(out_path, product)
    if preview and find_spec("matplotlib") is None:
        remedy = 'Install it (pip install "alos2tut[notebooks]"), or do without (preview).'
        raise Alos2TutError("a preview needs matplotlib, which is not installed", where="preview", remedy=remedy)
    model = load_on_best_device(segmenter) if isinstance(segmenter, (str, Path)) else segmenter
    source = match(product, model, polarization=polarization, convert=convert, allow_other_signal=allow_other_signal)
    plan = _planned(source, model, overlap_px, batch_size, flips, names)
    label_map = _checked_labels(labels, plan, model)
    made_from = _made_from(plan, model)
    files = {name: map_file(out_path, name) for name in names}
    if all(_is_made_from(path, made_from) for path in files.values()):
        print(f"reusing {out_path}")
    else:
        if not overwrite:
            _check_nothing_is_lost(files, made_from)
        with (
            evaluating(model),
            _team(plan, segmenter, model, workers=workers, devices=devices, executor=executor) as team,
            _kept_rows(out_path, plan, made_from) as kept,
        ):
            _map_missing(team, kept, progress)
            _assemble(kept, files, model, made_from)
    if label_map:
        from .agreement import map_agreement

        report = map_agreement(out_path, label_map, model.legend, map_file(out_path, "difference"), progress=progress)
        write_json(map_file(out_path, "agreement"), report)
    if preview:
        from .map_figures import preview as draw

        with atomic_path(map_file(out_path, "preview")) as temporary:
            draw(out_path).savefig(temporary, format="png", dpi=150)
    return out_path


def check_out_path(out_path: Path, product: Product) -> None:
    """Refuse, before any work, a place where the map cannot or must not go."""
    if out_path.is_dir():
        raise Alos2TutError("is a folder", where=out_path, remedy="Name the file to write, as in map.tif.")
    if not out_path.parent.is_dir():
        raise Alos2TutError("the folder does not exist", where=out_path.parent, remedy="Create it first.")
    for name in (*_BANDS, "difference", "agreement", "preview"):
        product.check_target(map_file(out_path, name))


# --- what is to be done -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """One map on its way; it travels between processes."""

    source: MatchedProduct
    grid: TileGrid
    batch_size: int
    flips: bool
    names: tuple[str, ...]
    classes: int
    #: of torch in each worker; None: as it is
    threads: int | None = None


def _planned(
    source: MatchedProduct,
    model: Any,
    overlap_px: int | None,
    batch_size: int,
    flips: bool,
    names: tuple[str, ...],
) -> _Plan:
    tile = model.image_px
    overlap_px = min(tile) // 4 if overlap_px is None else overlap_px
    if not is_count(overlap_px, 0) or overlap_px >= min(tile):
        raise Alos2TutError(f"overlap_px={overlap_px} is not in 0…{min(tile) - 1}", where="overlap_px")
    if not is_count(batch_size):
        raise Alos2TutError(f"batch_size={batch_size} is not at least 1", where="batch_size")
    return _Plan(source, TileGrid(source.shape, tile, overlap_px), batch_size, flips, names, len(model.legend))


def _checked_labels(labels: str | Path | Sequence[str | Path], plan: _Plan, model: Any) -> tuple[str, ...]:
    """Label rasters that may lie on the map; refused at once if there are none, since mapping takes long."""
    from .labels import LabelMap, label_files

    paths = label_files(labels)
    if not paths:
        return ()
    source = plan.source
    with LabelMap(paths, model.legend) as label_map:
        touching = label_map.touching(source.product.crs, source.transform, source.shape)
    if not touching:
        raise Alos2TutError("no label raster touches the product", where=", ".join(paths))
    return touching


def _made_from(plan: _Plan, model: Any) -> dict[str, Any] | None:
    """What decides a map: product, segmenter and settings; None where a segmenter has no weights to tell it by."""
    if not isinstance(model, nn.Module):
        return None
    source: Any = plan.source
    return {
        "product": source.product.fingerprint,
        "segmenter": _weights_hash(model),
        "polarization": source.polarization,
        "quantity": source.quantity,
        "crs": source.product.crs.to_string(),
        "transform": list(source.transform)[:6],
        "overlap_px": plan.grid.overlap_px,
        "batch": plan.grid.batch(plan.batch_size),
        "flips": plan.flips,
    }


def _weights_hash(model: nn.Module) -> str:
    """A hash of weights, and of what else decides a segmenter's answers."""
    told: Any = model
    architecture = getattr(getattr(model, "encoder", None), "config", None), getattr(model, "decoder_kind", None)
    signal = json.dumps(told.signal, sort_keys=True)
    digest = hashlib.sha256(repr((architecture, told.statistics, told.legend, told.image_px, signal)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.view(torch.uint8).numpy().data if array.dim() else repr(array.item()).encode())
    return digest.hexdigest()


def _is_made_from(path: Path, made_from: dict[str, Any] | None) -> bool:
    """Whether a raster is there, and says that it was made from the same."""
    if made_from is None:
        return False
    try:
        return bool(json.loads(MapFile.open(path).tags["MADE_FROM"]) == made_from)
    except (Alos2TutError, KeyError, json.JSONDecodeError):
        return False


def _check_nothing_is_lost(files: dict[str, Path], made_from: dict[str, Any] | None) -> None:
    """Refuse to replace anything but a raster that was made from the same."""
    for path in files.values():
        if path.exists() and not _is_made_from(path, made_from):
            problem = "exists, and was not made of this product and segmenter in this way"
            raise Alos2TutError(problem, where=path, remedy="Name another file, or replace it (overwrite).")


# --- rows of tiles ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def _mapped_rows(plan: _Plan, model: Any, rows: tuple[int, int]) -> Iterator[tuple[int, Layers]]:
    """A run of rows of tiles (first, last exclusive), and what the image rows that each finishes show.

    ``model`` is in evaluation mode.
    """

    def predict(tiles: Tensor) -> Tensor:
        x, _ = standardize(tiles, model.statistics)
        mirrored: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3)) if plan.flips else ((),)
        shares = [_probabilities(model, x.flip(axes), plan.classes).flip(axes) for axes in mirrored]
        return shares[0] if len(shares) == 1 else torch.stack(shares).mean(dim=0)

    first = plan.grid.reaching(rows[0])
    finished = blended_rows(
        predict,
        _stored_rows(plan, first),
        plan.grid,
        rows,
        classes=plan.classes,
        batch_size=plan.batch_size,
        device=device_of(model),
    )
    for row, probability, valid in finished:
        yield row, _layers(plan, probability, valid)


def _probabilities(model: Any, x: Tensor, classes: int) -> Tensor:
    logits = model(x)
    if logits.shape != (len(x), classes, *x.shape[2:]):
        problem = f"makes {tuple(logits.shape)} of {tuple(x.shape)}, not logits of {classes} classes for every pixel"
        raise Alos2TutError(problem, where="segmenter")
    probabilities: Tensor = logits.float().softmax(dim=1)
    return probabilities


def _stored_rows(plan: _Plan, first: int) -> Iterator[NDArray[np.int16]]:
    """dB as networks are given it, of each row of tiles from ``first`` on, without data outside the product."""
    grid, height = plan.grid, plan.grid.tile_px[0]
    origin = grid.tops[first]
    blocks = plan.source.db_from(origin, max(1, height - grid.overlap_px))
    for db in sliding(blocks, ((top - origin, top - origin + height) for top in grid.tops[first:])):
        stored = np.full((height, grid.padded_width), NO_DATA, dtype=np.int16)
        stored[: db.shape[0], : db.shape[1]] = encode_db(db)
        yield stored


def _layers(plan: _Plan, probability: Tensor, valid: NDArray[np.bool_]) -> Layers:
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


# --- who does it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Team:
    """Those who map; without an executor this thread does."""

    plan: _Plan
    executor: Executor | None
    #: runs of rows at once
    size: int
    #: a run of rows by whoever is free; it travels to processes
    run: Callable[[tuple[int, int]], Sequence[tuple[int, Layers]]]
    model: Any

    def mapped(self, missing: Sequence[int]) -> Iterator[tuple[int, Layers]]:
        """Rows of tiles as they are finished."""
        runs = _runs(missing)
        if self.executor is None:
            for rows in runs:
                yield from _mapped_rows(self.plan, self.model, rows)
            return
        most = min(_MOST_ROWS, ceil(len(missing) / self.size))
        parts = [(row, min(row + most, last)) for first, last in runs for row in range(first, last, most)]
        for _, done in as_done(self.executor, self.run, parts):
            yield from done


def _runs(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Rising numbers as (first, last exclusive) of each unbroken run."""
    firsts = [row for i, row in enumerate(rows) if i == 0 or rows[i - 1] != row - 1]
    lasts = [row + 1 for i, row in enumerate(rows) if i + 1 == len(rows) or rows[i + 1] != row + 1]
    return list(zip(firsts, lasts, strict=True))


@contextmanager
def _team(
    plan: _Plan, given: Any, model: Any, *, workers: int, devices: Sequence[str], executor: Executor | None
) -> Iterator[_Team]:
    """Those who map; processes and threads that are started for it end with the block."""
    if not is_count(workers):
        raise Alos2TutError(f"workers={workers} is not at least 1", where="workers")
    if sum((workers > 1, bool(devices), executor is not None)) > 1:
        raise Alos2TutError("workers, devices and an executor exclude each other", where="map_scene")
    if devices:
        with _on_devices(plan, model, devices) as team:
            yield team
        return
    threads = max(1, cores() // workers) if workers > 1 else None
    with process_pool(workers) if executor is None else nullcontext(executor) as pool:
        size = getattr(pool, "_max_workers", 1)
        job = _Job(replace(plan, threads=threads), str(given) if isinstance(given, (str, Path)) else model)
        yield _Team(plan, pool, size, job, model)


@contextmanager
def _on_devices(plan: _Plan, model: Any, names: Sequence[str]) -> Iterator[_Team]:
    """A copy of the network on each device, and a thread for each."""
    if not isinstance(model, nn.Module):
        raise Alos2TutError("is no torch module, which could be copied to devices", where="segmenter")
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for name in names:
        try:
            free.put(copy.deepcopy(model).to(torch.device(name)))
        except (RuntimeError, AssertionError) as error:
            told = str(error).splitlines()[0]
            raise Alos2TutError(f"'{name}' cannot be used ({told})", where="devices") from None

    def run(rows: tuple[int, int]) -> list[tuple[int, Layers]]:
        own = free.get()
        try:
            return list(_mapped_rows(plan, own, rows))
        finally:
            free.put(own)

    with ThreadPoolExecutor(len(names)) as pool:
        yield _Team(plan, pool, len(names), run, model)


@dataclass(frozen=True)
class _Job:
    """A run of rows in another process, which is given a segmenter's file, or the segmenter itself."""

    plan: _Plan
    segmenter: Any

    def __call__(self, rows: tuple[int, int]) -> list[tuple[int, Layers]]:
        if self.plan.threads is not None:
            torch.set_num_threads(self.plan.threads)
        model = _loaded(self.segmenter) if isinstance(self.segmenter, str) else self.segmenter
        return list(_mapped_rows(self.plan, model, rows))


@lru_cache(maxsize=1)
def _loaded(path: str) -> Any:
    return load_on_best_device(path)


# --- what is kept until all is done -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _KeptRows:
    """What each row of tiles finished, file by file in a folder beside the map."""

    folder: Path
    plan: _Plan

    def path(self, row: int) -> Path:
        """The file of a row of tiles."""
        return self.folder / f"row-{row:05d}.npz"

    def missing(self) -> list[int]:
        """Rows of tiles that are yet to be mapped; damaged files count as missing."""
        return [row for row in range(len(self.plan.grid.tops)) if not self._is_whole(row)]

    def _is_whole(self, row: int) -> bool:
        try:
            return all(self.read(row, name).shape == self._shape(row) for name in self.plan.names)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return False

    def _shape(self, row: int) -> tuple[int, int]:
        first, last = self.plan.grid.finished(row)
        return last - first, self.plan.grid.shape[1]

    def read(self, row: int, name: str) -> NDArray[np.uint8]:
        """A layer of what a row of tiles finished."""
        with np.load(self.path(row), allow_pickle=False) as layers:
            layer: NDArray[np.uint8] = layers[name]
        return layer

    def write(self, row: int, layers: Layers) -> None:
        """Keep what a row of tiles finished."""
        with atomic_path(self.path(row)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **layers)

    def layer(self, name: str) -> Iterator[tuple[Window, NDArray[np.uint8]]]:
        """A whole layer from top to bottom."""
        for row, top in enumerate(self.plan.grid.tops):
            values = self.read(row, name)
            yield Window(0, top, values.shape[1], values.shape[0]), values


@contextmanager
def _kept_rows(out_path: Path, plan: _Plan, made_from: dict[str, Any] | None) -> Iterator[_KeptRows]:
    """The folder ``<out_path>.partial``: emptied first if it is of another map, removed when all went well."""
    folder = out_path.with_name(f"{out_path.name}.partial")
    with only_one(folder):
        mark, wanted = folder / "map.json", {"made_from": made_from, "names": list(plan.names), "version": __version__}
        if made_from is None or not _is_marked(mark, wanted):
            for path in [mark, *folder.glob("row-*.npz")]:
                path.unlink(missing_ok=True)
            write_json(mark, wanted)
        yield _KeptRows(folder, plan)
        shutil.rmtree(folder, ignore_errors=True)


def _is_marked(mark: Path, wanted: dict[str, Any]) -> bool:
    try:
        return bool(read_json(mark) == wanted)
    except (Alos2TutError, OSError):
        return False


def _map_missing(team: _Team, kept: _KeptRows, progress: bool | None) -> None:
    """Map what is not there yet."""
    missing = kept.missing()
    count = len(team.plan.grid.tops)
    if 0 < len(missing) < count:
        print(f"going on: {count - len(missing)} of {count} rows of tiles are done")
    bar = progress_bar(team.mapped(missing), "mapping", "row of tiles", total=len(missing), show=progress)
    for row, layers in bar:
        kept.write(row, layers)


def _assemble(kept: _KeptRows, files: dict[str, Path], model: Any, made_from: dict[str, Any] | None) -> None:
    """Write the rasters; the map itself last, so that where it is new, so are the others."""
    source = kept.plan.source
    if all((layer == IGNORE).all() for _, layer in kept.layer("classes")):
        warn(f"{source.product.path}: holds no data, and so does the map.")
    for name in reversed(kept.plan.names):
        own: dict[str, Any] = {"scale": 1 / STEPS, "resampling": "average"}
        if name == "classes":
            own = {"colormap": model.legend.colormap(), "resampling": "mode"}
        write_cog(
            files[name],
            kept.layer(name),
            shape=source.shape,
            dtype="uint8",
            crs=source.product.crs,
            transform=source.transform,
            no_data=IGNORE,
            tags=_tags(source, model, made_from),
            description=_BANDS[name],
            **own,
        )


def _tags(source: MatchedProduct, model: Any, made_from: dict[str, Any] | None) -> dict[str, str]:
    """What the rasters say of themselves."""
    names = {f"CLASS_{index}": name for index, name in enumerate(model.legend.names)}
    product, header = source.product, getattr(model, "header", {})
    return names | {
        "PRODUCT": product.image_name(source.polarization),
        "ACQUIRED": product.acquired or "unknown",
        "LEGEND": model.legend.name,
        "SIGNAL": json.dumps(model.signal),
        "MADE_FROM": json.dumps(made_from),
        "SOFTWARE": f"alos2tut {__version__}",
        "SIMULATED": "yes" if product.simulated else "no",
        "TRAINED_ON_SIMULATED": "yes" if header.get("simulated") else "no" if "simulated" in header else "unknown",
        "SOURCE": "simulated" if product.simulated else "ALOS-2 PALSAR-2, (c) JAXA",
    }
