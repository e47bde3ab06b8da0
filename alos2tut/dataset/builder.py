"""From an archive of products and label maps to a packed dataset of patches.

First every patch is looked at (:mod:`.survey`). On that survey it is decided which are kept, sampled and assigned
to which list (:mod:`.selection`); only then are pixels cut, each into its place in the stores. Both passes go product
by product, on any executor; neither the number of workers nor an interruption changes a byte of the result.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform as reproject_points

from .. import geometry
from ..core.artifacts import make_folder, read_json, write_json
from ..core.config import settings_for_key
from ..core.errors import Alos2TutError, system_errors_named, warn
from ..core.parallel import as_completed, resumable_folder
from ..core.progress import progress_bar
from ..core.public import public
from ..core.tables import bytes_text
from ..core.version import __version__
from ..products.rasters import LONLAT
from . import splits
from .archive import count_reasons
from .config import DatasetConfig
from .encoding import encode_db, step_sums
from .labels import LabelMap
from .legend import IGNORE
from .plan import Plan, few, planned, surveyed
from .selection import KEPT, STATUSES, Choice, choose, report_absent
from .store import (
    AUTHORS_COLUMNS,
    OUR_COLUMNS,
    SPLITS,
    STORES,
    describe_content,
    framed,
    mapped_array,
    open_dataset,
    our_columns,
    sealed,
)
from .survey import PatchGrid, ProductJob

#: stream of the random numbers by which points are placed
_PLACES = 22


@public
def build_dataset(config: DatasetConfig, *, executor: Executor | None = None, progress: bool | None = None) -> Path:
    """Build a packed dataset, or reuse the one that these settings and inputs made before.

    An interrupted run leaves ``<target>.partial``; the same call goes on from there and does no finished product again.
    What was seen of each product stays in ``<work_dir>/surveys`` and serves other settings, too.

    Args:
        config: products, labels, legend and settings; see :class:`.DatasetConfig`. The same polarisations are
            read from all products: those named, else the first product's choice. Of several, patches are named by the
            image of the first, and a pixel has data where all have.
        executor: who works on the products; None: ``config.workers`` processes of our own. It changes no byte.
        progress: show bars; None: only where someone watches.

    Returns:
        The folder ``<work_dir>/dataset-<hash>``: stores, lists, ``dataset.json``.

    Raises:
        Alos2TutError: no products or labels given, products that differ in polarisation, quantity or pixel size,
            labels that do not cover them, codes outside the legend, no patch left after filtering, a split left
            empty, too little room on the disk, a folder in the way, or, with ``require_all_classes``, a class missing
            from a split.
    """
    with planned(config, executor, progress) as (plan, workers):
        plan, table = surveyed(plan, workers)
        if excluded := plan.archive.excluded:
            count = len(excluded) + len(plan.archive.entries)
            warn(f"{len(excluded)} of {count} products are left out: {count_reasons(excluded)}")
        if _is_built(plan.target):
            # a run that was killed at the very end leaves an empty shell
            shutil.rmtree(plan.partial, ignore_errors=True)
            print(f"reusing {plan.target}")
            return plan.target
        choice = choose(table, plan.config, plan.legend)
        report_absent(choice, plan.config)
        if without := _without_patches(plan, choice):
            warn(f"no patch is kept of {few(tuple(one['product'] for one in without))}; dataset.json says why")
        with resumable_folder(plan.target, _digest(choice), ("cut", "dataset")):
            # somebody else may have been building it until now
            if not _is_built(plan.target):
                _cut(plan, choice, workers)
                _finish(plan, choice)
    return plan.target


def _is_built(target: Path) -> bool:
    """Whether a whole dataset lies there; what is none, or a damaged one, is in the way."""
    if not target.exists():
        return False
    try:
        dataset = open_dataset(target)
        lost = [name for name in dataset.files if not (target / name).is_file()]
        if lost:
            raise Alos2TutError(f"it lacks {', '.join(lost)}")
        if dataset.content.get("seal") not in (None, sealed(dataset.content)["seal"]):
            raise Alos2TutError("its dataset.json was changed")
        _ = dataset.fingerprint
    except Alos2TutError as error:
        raise Alos2TutError(
            f"is in the way, and no whole dataset: {error.problem}", where=target, remedy="Remove it; it is built anew."
        ) from None
    return True


# --- pixels


@dataclass(frozen=True)
class _CutJob:
    """The patches to cut from one product, in the order of its grid, and what was chosen for them."""

    product: ProductJob
    folder: Path
    patches: Choice
    #: (n,) row in the store of each
    place: NDArray[np.int64]

    @property
    def done(self) -> Path:
        """The file that says what was cut; it is there only when all pixels are on the disk."""
        return self.folder.parent / "cut" / f"{self.product.number:06d}.json"

    @cached_property
    def first_byte(self) -> dict[str, int]:
        """Where the numbers of each store begin in its file; looked up once for all patches of the product."""
        return {path.name: mapped_array(path).offset for path in self.folder.glob("*.npy")}


def _cut(plan: Plan, choice: Choice, workers: Executor | None) -> None:
    """Cut the pixels of all products that were not cut before into stores that are laid out beforehand."""
    _lay_out(plan, choice)
    cuts = as_completed(workers, _cut_product, _cut_jobs(plan, choice))
    for _ in progress_bar(cuts, "cutting", "product", show=plan.progress if len(plan.archive.entries) > 1 else False):
        pass


def _cut_jobs(plan: Plan, choice: Choice) -> Iterator[_CutJob]:
    """What is left to cut, product by product."""
    place = np.full(len(choice.table), -1, np.int64)
    for store in STORES:
        place[choice.lists[store]] = np.arange(len(choice.lists[store]))
    for product in plan.jobs():
        first, last = choice.table.span(product.number)
        here = first + np.flatnonzero(place[first:last] >= 0)
        job = _CutJob(product, plan.stores, choice.take(here), place[here])
        if len(here) and not job.done.is_file():
            yield job


def _lay_out(plan: Plan, choice: Choice) -> None:
    """Stores of the right size without content; what an earlier run cut of the same choice stays."""
    side = plan.config.patch_px
    arrays: dict[Path, tuple[str, tuple[int, ...]]] = {}
    for store in STORES:
        count = len(choice.lists[store])
        arrays[plan.stores / f"{store}_db.npy"] = ("<i2", (count, len(plan.archive.polarizations), side, side))
        arrays[plan.stores / f"{store}_labels.npy"] = ("|u1", (count, side, side))
    if all(_is_laid_out(path, *array) for path, array in arrays.items()):
        return
    for name in ("cut", "dataset"):
        shutil.rmtree(plan.partial / name, ignore_errors=True)
    needed = patch_bytes(plan) * sum(len(choice.lists[store]) for store in STORES)
    free = shutil.disk_usage(plan.partial).free
    if needed > free:
        raise Alos2TutError(
            f"the patches need {bytes_text(needed)} and the disk has {bytes_text(free)} left",
            where=plan.config.work_dir,
            remedy="Make room, name another work_dir, or keep fewer patches (points, max_class_share).",
        )
    for name in ("cut", "dataset"):
        make_folder(plan.partial / name)
    for path, (dtype, shape) in arrays.items():
        _lay_out_array(path, dtype, shape)


def _lay_out_array(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """A file in NumPy's format whose numbers are yet to be written."""
    with _writing(path):
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _is_laid_out(path: Path, dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether a file holds such an array, to its last byte."""
    try:
        array = mapped_array(path)
    except Alos2TutError:
        return False
    end = array.offset + math.prod(shape) * np.dtype(dtype).itemsize
    return array.dtype == dtype and array.shape == shape and path.stat().st_size == end


def patch_bytes(plan: Plan) -> int:
    """Bytes that a patch and its labels take in a store."""
    return (2 * len(plan.archive.polarizations) + 1) * plan.config.patch_px**2


def _writing(path: Path) -> AbstractContextManager[None]:
    """What the system says against writing, in our words."""
    return system_errors_named(path, "could not be written", "The same call then goes on where it stopped.")


def _cut_product(job: _CutJob) -> None:
    """Write a product's patches into their places, then what the lists say of them."""
    grid = PatchGrid.of(job.product)
    texts = {split: io.StringIO() for split in SPLITS}
    writers = {split: csv.DictWriter(text, AUTHORS_COLUMNS + OUR_COLUMNS, lineterminator="\n")
               for split, text in texts.items()}  # fmt: skip
    sums = np.zeros((len(grid.polarizations), 3), dtype=object)
    all_rows = job.patches.table.row
    label = f"cutting {job.product.entry.name}"
    with job.product.label_map() as labels:
        for row in progress_bar(np.unique(all_rows), label, "row", show=job.product.progress):
            picks = np.flatnonzero(all_rows == row)
            records = _cut_row(job, grid, labels, picks, sums)
            for pick, record in zip(picks, records, strict=True):
                for split in job.patches.splits_of(int(pick)):
                    writers[split].writerow(record)
    for path in (
        job.folder / f"{STORES[c]}_{kind}.npy" for c in np.unique(job.patches.ground) for kind in ("db", "labels")
    ):
        with _writing(path), open(path, "r+b") as file:
            os.fsync(file.fileno())
    # only now, when the pixels are on the disk
    write_json(job.done, {"sums": sums.tolist(), "lists": {split: text.getvalue() for split, text in texts.items()}})


def _write_patch(job: _CutJob, pick: int, steps: NDArray[np.int16], classes: NDArray[np.uint8]) -> None:
    """Write a patch and its labels into their places; a mapped file would crash its writer on a full disk."""
    store = STORES[job.patches.ground[pick]]
    for kind, content in ("db", steps.tobytes()), ("labels", classes.tobytes()):
        path = job.folder / f"{store}_{kind}.npy"
        with _writing(path), open(path, "r+b") as file:
            file.seek(job.first_byte[path.name] + int(job.place[pick]) * len(content))
            file.write(content)


def _cut_row(
    job: _CutJob, grid: PatchGrid, labels: LabelMap, picks: NDArray[np.intp], sums: NDArray[Any]
) -> list[dict[str, Any]]:
    """Cut some patches of one row of the grid; returns their records and adds to the sums of pretraining's pixels."""
    n, table = grid.patch_px, job.patches.table
    row, cols = int(table.row[picks[0]]), slice(int(table.col[picks].min()), int(table.col[picks].max()) + n)
    window = grid.window(row, cols)
    db = grid.read_db(window)
    classes = grid.classes(labels, row, cols)
    classes[np.isnan(db[0]) | grid.displaced(window)] = IGNORE
    points = np.empty((len(picks), 2), np.int64)
    for i, pick in enumerate(picks):
        left = int(table.col[pick]) - cols.start
        part = (..., slice(left, left + n))
        if (np.bincount(classes[part].ravel(), minlength=256)[: table.counts.shape[1]] != table.counts[pick]).any():
            raise Alos2TutError(
                "or a label raster of its ground was changed after it was looked at",
                where=job.product.entry.path,
                remedy="Let nobody write to the inputs, and build anew.",
            )
        steps = encode_db(db[part])
        _write_patch(job, int(pick), steps, classes[part])
        if job.patches.ground[pick] == splits.PRETRAIN:
            sums += np.array(list(map(step_sums, steps)), dtype=object)
        points[i] = np.add(_point(job, pick, classes[part]), (table.row[pick], table.col[pick]))
    return _records(job, grid, labels, picks, points)


def _point(job: _CutJob, pick: int, classes: NDArray[np.uint8]) -> tuple[int, int]:
    """Row and column of a patch's sampled point, a pixel of its class; without one, of the pixel nearest the centre."""
    n, table = len(classes), job.patches.table
    if job.patches.point[pick] < 0:
        return n // 2, n // 2
    pixels = np.flatnonzero(classes == job.patches.point[pick])
    place = (job.product.number, int(table.row[pick]), int(table.col[pick]))
    row, col = divmod(int(np.random.default_rng([job.product.config.seed, _PLACES, *place]).choice(pixels)), n)
    return row, col


def _records(
    job: _CutJob, grid: PatchGrid, labels: LabelMap, picks: NDArray[np.intp], points: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """List entries of some patches of one row of the grid; ``points`` are rows and columns after looks."""
    product, config, table, n = grid.product, job.product.config, job.patches.table, grid.patch_px
    east, north = grid.transform * (points[:, 1] + 0.5, points[:, 0] + 0.5)
    codes = labels.codes_at(grid.crs, east, north)
    lonlat = _lonlat_columns(grid, table.corners[picks], east, north)
    blocks = splits.ground_blocks(table.ground[picks], config.blocks(table.frame)[0])
    image_name = product.image_name(grid.polarizations[0])
    # as far as they are known
    year, month, day = (*(product.acquired or "")[:10].split("-"), "", "")[:3]
    records = []
    for i, pick in enumerate(picks):
        row, col, labelled = int(table.row[pick]), int(table.col[pick]), table.counts[pick].sum() / n**2
        records.append(
            {
                "Year": year,
                "Month": month,
                "Day": day,
                "FolderPath": "/".join(part for part in (year, month, day) if part),
                "FileName": f"{image_name}_{row}_{col}.tif",
                **lonlat[i],
                "Category": int(codes[i]),
                "Product": image_name,
                "PatchRow": row,
                "PatchCol": col,
                **our_columns(
                    job.place[pick], blocks[i], table.valid[pick], labelled, table.corners[pick], table.frame
                ),
            }
        )
    return records


def _lonlat_columns(
    grid: PatchGrid, corners: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> list[dict[str, str]]:
    """Longitudes and latitudes as the authors give them, of patches and of a point in each; empty on no map."""
    names = ("MinLon", "MinLat", "MaxLon", "MaxLat", "Latitude", "Longitude")
    if grid.crs is None:
        return [dict.fromkeys(names, "")] * len(x)
    longitude, latitude = reproject_points(grid.crs, LONLAT, x, y)
    # the authors give the lower left and the upper right corner of the square
    columns = (*corners[:, 3].T, *corners[:, 1].T, latitude, geometry.beside(longitude, 0))
    return [{name: f"{place:.4f}" for name, place in zip(names, of, strict=True)} for of in zip(*columns, strict=True)]


# --- the end


def _finish(plan: Plan, choice: Choice) -> None:
    """Lists and description; then, if what was built opens, it takes its place."""
    sums = _write_lists(plan)
    write_json(plan.stores / "dataset.json", sealed(_describe(plan, choice, sums)))
    # proves the ground of the lists as they are written
    open_dataset(plan.stores)
    with _writing(plan.target):
        os.replace(plan.stores, plan.target)


def _write_lists(plan: Plan) -> list[list[int]]:
    """The lists, put together product by product; returns the sums of all pretraining's pixels by channel."""
    sums = np.zeros((len(plan.archive.polarizations), 3), dtype=object)
    with ExitStack() as stack, _writing(plan.stores):
        files = {split: stack.enter_context(open(plan.stores / f"{split}.csv", "wb")) for split in SPLITS}
        for file in files.values():
            file.write((",".join(AUTHORS_COLUMNS + OUR_COLUMNS) + "\n").encode())
        for part in _parts(plan.partial / "cut", sums.shape):
            sums += np.array(part["sums"], dtype=object)
            for split, file in files.items():
                file.write(part["lists"][split].encode())
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    return sums.tolist()


def _parts(folder: Path, shape: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """What was cut of each product; a damaged file is removed, so that its product is cut again."""
    for path in sorted(folder.glob("*.json")):
        try:
            part = read_json(path)
            if set(part["lists"]) == set(SPLITS) and np.shape(part["sums"]) == shape:
                yield part
                continue
        except (Alos2TutError, LookupError, TypeError, ValueError):
            pass
        path.unlink()
        raise Alos2TutError("was damaged and is removed", where=path, remedy="The same call cuts that product again.")


def _describe(plan: Plan, choice: Choice, sums: list[list[int]]) -> dict[str, Any]:
    """What ``dataset.json`` says of origin, signal and files; no times of the run, hosts or absolute paths."""
    config, entries = plan.config, plan.archive.entries
    used = [entries[i] for i in np.unique(choice.table.product[choice.status == KEPT])]
    first, spacing_m = entries[0].info, entries[0].info["spacing_m"]
    patches = {split: len(choice.lists[split]) for split in SPLITS}
    polarizations = list(plan.archive.polarizations)
    class_pixels = {split: choice.class_pixels(split) for split in SPLITS}
    return {
        **framed(choice.table.frame, first["quantity"], polarizations),
        "version": __version__,
        "settings": settings_for_key(config) | {"legend": plan.legend.name},
        "made_from": plan.made_from,
        "products": [entry.info | {"name": entry.name} for entry in used],
        "labels": [Path(path).name for path in config.labels],
        "quantity": first["quantity"],
        "polarizations": polarizations,
        "simulated": any(entry.info["simulated"] for entry in used),
        "spacing_m": spacing_m and [round(config.looks * spacing, 3) for spacing in spacing_m],
        "patch_px": config.patch_px,
        "balance": choice.balance(),
        "left_out": plan.excluded + _without_patches(plan, choice),
        **describe_content(plan.stores, plan.legend, patches, class_pixels, sums),
    }


def _without_patches(plan: Plan, choice: Choice) -> list[dict[str, str]]:
    """Products of which no patch is in any list, and what became of most of theirs."""
    without = []
    for number, entry in enumerate(plan.archive.entries):
        statuses = np.bincount(choice.status[slice(*choice.table.span(number))], minlength=len(STATUSES))
        if not statuses[KEPT]:
            reason = f"no patch is kept; most: {STATUSES[int(statuses.argmax())]}"
            without.append({"product": Path(entry.path).name, "why": "no patch", "reason": reason})
    return without


def _digest(choice: Choice) -> str:
    """A hash of which patches lie where."""
    digest = hashlib.sha256()
    for array in (choice.table.product, choice.table.row, choice.table.col, choice.status, choice.ground, choice.point):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
