"""From an archive of products and label maps to a packed dataset of patches.

First every patch is looked at (:mod:`.survey`). On that survey it is decided which are kept, sampled and dealt
to which list; only then are pixels cut, each into its place in the stores. Both passes go product by product, on any
executor; neither the number of workers nor an interruption changes a byte of the result.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform as reproject_points

from ..core.artifacts import make_folder, read_json, stage_dir, write_json
from ..core.config import settings_for_key
from ..core.errors import Alos2TutError, warn
from ..core.parallel import as_completed, cores, partial_path, process_pool, resumable_folder
from ..core.progress import progress_bar
from ..core.version import __version__
from ..products.rasters import LONLAT
from . import balance, splits
from .archive import Archive, LeftOut, count_reasons, open_archive
from .config import DatasetConfig
from .encoding import encode_db, step_sums
from .labels import LabelMap, label_files, label_fingerprint
from .legend import IGNORE, Legend, load_legend
from .selection import _KEPT, _PLACES, _STORES, FATES, Choice, _report_absent, choose
from .store import (
    AUTHORS_COLUMNS,
    BOX_COLUMNS,
    OUR_COLUMNS,
    SCHEMA,
    SPLITS,
    begin_array,
    describe_content,
    open_dataset,
)
from .survey import PatchGrid, PatchTable, ProductJob, survey_product

# --- which patches


# --- the whole


def build_dataset(config: DatasetConfig, *, executor: Executor | None = None, progress: bool | None = None) -> Path:
    """Build a packed dataset, or reuse the one that these settings and inputs made before.

    An interrupted run leaves ``<target>.partial``; the same call goes on from there and does no finished product again.
    What was seen of each product stays in ``<work_dir>/surveys`` and serves other settings, too.

    Args:
        config: products, labels, legend and settings; see :class:`.DatasetConfig`. One polarisation is
            read from all products: the one named, else the first product's choice.
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
    with _planned(config, executor, progress) as (plan, workers):
        plan, table = _surveyed(plan, workers)
        _report_left_out(plan.archive)
        if _is_built(plan.target):
            # a run that was killed at the very end leaves an empty shell
            shutil.rmtree(plan.partial, ignore_errors=True)
            print(f"reusing {plan.target}")
            return plan.target
        choice = choose(table, plan.config, plan.legend)
        _report_absent(choice, plan.config)
        if without := _without_patches(plan, choice):
            warn(f"no patch is kept of {_few(tuple(one['product'] for one in without))}; dataset.json says why")
        with resumable_folder(plan.target, _digest(choice), ("cut", "dataset")):
            # somebody else may have been building it until now
            if not _is_built(plan.target):
                _cut(plan, choice, workers)
                _finish(plan, choice)
    return plan.target


def survey_dataset(
    config: DatasetConfig, *, executor: Executor | None = None, progress: bool | None = None
) -> tuple[Archive, PatchTable]:
    """Look at every patch that a dataset could be made of, without cutting any.

    Args:
        config, executor, progress: as for :func:`build_dataset`.

    Returns:
        The products, and the patches of all of them; :func:`choose` says what becomes of these.
    """
    with _planned(config, executor, progress) as (plan, workers):
        plan, table = _surveyed(plan, workers)
    return plan.archive, table


def _is_built(target: Path) -> bool:
    """Whether a whole dataset lies there; what is none, or a damaged one, is in the way."""
    if not target.exists():
        return False
    try:
        dataset = open_dataset(target)
        lost = [name for name in dataset.files if not (target / name).is_file()]
        if lost:
            raise Alos2TutError(f"it lacks {', '.join(lost)}")
    except Alos2TutError as error:
        raise Alos2TutError(
            f"is in the way, and no whole dataset: {error.problem}", where=target, remedy="Remove it; it is built anew."
        ) from None
    return True


@dataclass(frozen=True)
class _Plan:
    """One dataset on its way: inputs that were opened and checked, and where it will lie.

    Attributes:
        config: settings, with polarisation and label files written out.
        legend: of the labels.
        archive: products that were opened.
        labels: rasters that may cover each of them.
        label_hashes: fingerprints of all these rasters, in their order.
        progress: show bars.
    """

    config: DatasetConfig
    legend: Legend
    archive: Archive
    labels: tuple[tuple[str, ...], ...]
    label_hashes: Mapping[str, str]
    progress: bool | None

    @cached_property
    def made_from(self) -> dict[str, str]:
        """Fingerprints of products and labels, by role, and what was left out."""
        made_from = {f"product {i}": entry.fingerprint for i, entry in enumerate(self.archive.entries)}
        made_from |= {f"label {i}": found for i, found in enumerate(self.label_hashes.values())}
        if self.archive.left_out:
            told = json.dumps(self.left_out)
            made_from["left out"] = hashlib.sha256(told.encode()).hexdigest()
        return made_from

    @property
    def left_out(self) -> list[dict[str, str]]:
        """Products that are not used, and why, without their folders."""
        return [{"product": Path(one.path).name, "why": one.why, "reason": one.reason} for one in self.archive.left_out]

    @cached_property
    def target(self) -> Path:
        """The dataset's folder."""
        settings = settings_for_key(self.config) | {"legend": self.legend.to_dict()}
        return stage_dir(Path(self.config.work_dir).absolute(), "dataset", settings, self.made_from)

    @property
    def partial(self) -> Path:
        """Where the work is done; its folder ``dataset`` takes the target's place in the end."""
        return partial_path(self.target)

    @property
    def stores(self) -> Path:
        """The dataset on its way."""
        return self.partial / "dataset"

    def survey_file(self, job: ProductJob) -> Path:
        """Where a product's survey is kept: for all datasets that agree in what it depends on."""
        settings = {name: getattr(self.config, name) for name in ("looks", "patch_px", "polarization")}
        made_from = {"product": job.entry.fingerprint}
        made_from |= {f"label {i}": self.label_hashes[path] for i, path in enumerate(job.labels)}
        folder = Path(self.config.work_dir).absolute() / "surveys"
        key = stage_dir(folder, "survey", settings | {"legend": self.legend.to_dict()}, made_from)
        return key.with_name(f"{key.name}.npz")

    @property
    def workers(self) -> int:
        """Processes to start."""
        return min(self.config.workers or cores(), len(self.archive.entries))

    def jobs(self, step: int = 1) -> Iterator[ProductJob]:
        """The products, each with what must be known of it."""
        # bars of several workers would write over each other
        shown = self.progress if self.workers == 1 else False
        # thousands of paths need not travel with every product
        config = replace(self.config, products=(), labels=())
        for i, (entry, files) in enumerate(zip(self.archive.entries, self.labels, strict=True)):
            yield ProductJob(i, entry, files, config, self.legend, step, shown)


@contextmanager
def _planned(
    config: DatasetConfig, executor: Executor | None, progress: bool | None
) -> Iterator[tuple[_Plan, Executor | None]]:
    """A plan, and who works on it."""
    plan = _plan(config, progress)
    with process_pool(plan.workers if executor is None else 1) as pool:
        yield plan, executor or pool


def _plan(config: DatasetConfig, progress: bool | None) -> _Plan:
    for name in ("products", "labels"):
        if not getattr(config, name):
            raise Alos2TutError(f"no {name} given", where="dataset settings", remedy=f"Set {name}=[…].")
    legend = load_legend(config.legend)
    # a name that is no class is told before an archive is looked at
    none = np.zeros((0, len(legend)), np.int64)
    balance.exceeds_share(none, config.max_class_share, legend.names, config.patch_px)
    archive = open_archive(config, progress=progress)
    _check_names(archive)
    files = label_files(config.labels)
    archive, labels = _with_labels(archive, files, config)
    touched = set(itertools.chain(*labels))
    hashes = {file: label_fingerprint(file) for file in files if file in touched}
    config = replace(config, labels=tuple(hashes), polarization=archive.polarization)
    return _Plan(config, legend, archive, labels, hashes, progress)


def _check_names(archive: Archive) -> None:
    """Patches are named by their product: no two may have one name."""
    seen: dict[str, str] = {}
    for entry in archive.entries:
        if entry.name in seen:
            raise Alos2TutError(
                f"is called {entry.name}, as is {seen[entry.name]}: their patches would have the same names",
                where=entry.path,
                remedy="Leave one of the two out.",
            )
        seen[entry.name] = entry.path


def _with_labels(
    archive: Archive, files: tuple[str, ...], config: DatasetConfig
) -> tuple[Archive, tuple[tuple[str, ...], ...]]:
    """The products on whose ground some label raster may lie, and for each of them these rasters."""
    entries, labels, without = [], [], []
    label_map = LabelMap(files)
    for entry in archive.entries:
        found = label_map.touching(*entry.grid)
        if found:
            entries.append(entry)
            labels.append(found)
        elif config.on_error == "skip":
            without.append(LeftOut(entry.path, "unreadable", "no label raster covers it"))
        else:
            raise Alos2TutError(
                f"does not overlap the product {entry.name}",
                where=_few(files),
                remedy="Give the label tiles of the product's ground; `info` prints its bounds.",
            )
    if not entries:
        raise Alos2TutError("do not overlap any product", where=_few(files), remedy="Give the tiles of their ground.")
    return replace(archive, entries=tuple(entries), left_out=archive.left_out + tuple(without)), tuple(labels)


def _few(files: tuple[str, ...]) -> str:
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _report_left_out(archive: Archive) -> None:
    """Say what of an archive is not used."""
    if archive.left_out:
        count = len(archive.left_out) + len(archive.entries)
        warn(f"{len(archive.left_out)} of {count} products are left out: {count_reasons(archive.left_out)}")


# --- the survey


def _surveyed(plan: _Plan, workers: Executor | None, step: int | None = None) -> tuple[_Plan, PatchTable]:
    """The patches of all products, and the plan without those products that cannot be read, where that is allowed.

    With a ``step`` only every so many pixels are looked at, and nothing is kept.
    """
    if step is None:
        make_folder(Path(plan.config.work_dir).absolute() / "surveys")
    tasks = ((job, plan.survey_file(job) if step is None else None) for job in plan.jobs(step or 1))
    count = len(plan.archive.entries)
    found = as_completed(workers, _survey_one, tasks)
    results: list[PatchTable | LeftOut | None] = [None] * count
    many = plan.progress if count > 1 else False
    for (job, _), result in progress_bar(found, "looking at products", "product", total=count, show=many):
        results[job.number] = result
    read = [number for number, result in enumerate(results) if isinstance(result, PatchTable)]
    tables = [result for result in results if isinstance(result, PatchTable)]
    unreadable = tuple(result for result in results if isinstance(result, LeftOut))
    if not tables:
        raise Alos2TutError("no product could be read", where=unreadable[0].path, remedy=unreadable[0].reason)
    entries = tuple(plan.archive.entries[number] for number in read)
    archive = replace(plan.archive, entries=entries, left_out=plan.archive.left_out + unreadable)
    plan = replace(plan, archive=archive, labels=tuple(plan.labels[number] for number in read))
    table = PatchTable.concatenate([table.of_product(number) for number, table in enumerate(tables)])
    _report_unlabelled(plan, table)
    return plan, table


def _report_unlabelled(plan: _Plan, table: PatchTable) -> None:
    """Name products that lie within the bounds of label rasters, and have no label."""
    labelled = np.unique(table.product[table.counts.any(axis=1)])
    names = [entry.name for number, entry in enumerate(plan.archive.entries) if number not in labelled]
    if names:
        warn(f"no pixel of {_few(tuple(names))} has a label; they can only be pretrained on")


def _survey_one(task: tuple[ProductJob, Path | None]) -> PatchTable | LeftOut:
    """A product's survey, made or found; or, where products may be skipped, why it cannot be made."""
    job, kept = task
    if kept is not None and kept.is_file():
        with suppress(Alos2TutError):  # one that is damaged is made anew
            return PatchTable.load(kept)
    try:
        table = survey_product(job)
    except Alos2TutError as error:
        # labels that cannot be read, or do not fit the legend, are no fault of the product
        if job.config.on_error == "raise" or str(error.where) in job.labels:
            raise
        return LeftOut.of(job.entry.path, error)
    if kept is not None:
        table.save(kept)
    return table


# --- pixels


@dataclass(frozen=True)
class _CutJob:
    """The patches to cut from one product, in the order of its grid.

    Attributes:
        product: the product.
        folder: that holds the stores.
        row, col: upper left pixels.
        ground: whose ground each is, which says the store.
        place: row in that store.
        in_train: whether the list ``train`` names it, too.
        point: class of the sampled point; −1: the centre is named.
        counts: (n, C) pixels of each class.
        valid: share of pixels with data.
    """

    product: ProductJob
    folder: Path
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    ground: NDArray[np.int8]
    place: NDArray[np.int64]
    in_train: NDArray[np.bool_]
    point: NDArray[np.int16]
    counts: NDArray[np.int32]
    valid: NDArray[np.float32]

    @property
    def done(self) -> Path:
        """The file that says what was cut; it is there only when all pixels are on the disk."""
        return self.folder.parent / "cut" / f"{self.product.number:06d}.json"


def _cut(plan: _Plan, choice: Choice, workers: Executor | None) -> None:
    """Cut the pixels of all products that were not cut before into stores that are laid out beforehand."""
    _lay_out(plan, choice)
    count = len(plan.archive.entries)
    many = plan.progress if count > 1 else False
    for _ in progress_bar(
        as_completed(workers, _cut_product, _cut_jobs(plan, choice)), "cutting", "product", show=many
    ):
        pass


def _cut_jobs(plan: _Plan, choice: Choice) -> Iterator[_CutJob]:
    """What is left to cut, product by product."""
    table = choice.table
    place = np.full(len(table), -1, np.int64)
    for store in _STORES.values():
        place[choice.lists[store]] = np.arange(len(choice.lists[store]))
    for job in plan.jobs():
        first, last = np.searchsorted(table.product, (job.number, job.number + 1))
        here = first + np.flatnonzero(place[first:last] >= 0)
        part, ground = table.take(here), choice.ground[here]
        in_train = choice.enough_labels[here] & (ground == splits.PRETRAIN)
        cut = _CutJob(
            job, plan.stores, part.row, part.col, ground, place[here], in_train, choice.point[here], part.counts,
            part.valid,
        )  # fmt: skip
        if len(here) and not cut.done.is_file():
            yield cut


def _lay_out(plan: _Plan, choice: Choice) -> None:
    """Stores of the right size without content; what an earlier run cut of the same choice stays."""
    side = plan.config.patch_px
    arrays: dict[Path, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for store in _STORES.values():
        count = len(choice.lists[store])
        arrays[plan.stores / f"{store}_db.npy"] = (np.dtype(np.int16), (count, 1, side, side))
        arrays[plan.stores / f"{store}_labels.npy"] = (np.dtype(np.uint8), (count, side, side))
    if all(_has_size(path, *array) for path, array in arrays.items()):
        return
    for name in ("cut", "dataset"):
        shutil.rmtree(plan.partial / name, ignore_errors=True)
    needed = sum(math.prod(shape) * dtype.itemsize for dtype, shape in arrays.values())
    free = shutil.disk_usage(plan.partial).free
    if needed > free:
        raise Alos2TutError(
            f"the patches need {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left",
            where=plan.config.work_dir,
            remedy="Make room, name another work_dir, or keep fewer patches (points, max_class_share).",
        )
    for name in ("cut", "dataset"):
        make_folder(plan.partial / name)
    for path, (dtype, shape) in arrays.items():
        _empty_array(path, dtype, shape)


def _digest(choice: Choice) -> str:
    """A hash of which patches lie where."""
    digest = hashlib.sha256()
    for array in (choice.table.product, choice.table.row, choice.table.col, choice.fate, choice.ground, choice.point):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _has_size(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether a store's file is as large as its array."""
    head = io.BytesIO()
    begin_array(head, dtype, shape)
    return path.is_file() and path.stat().st_size == head.tell() + math.prod(shape) * dtype.itemsize


def _patch_bytes(config: DatasetConfig) -> int:
    """Of a patch and its labels in a store."""
    return 3 * config.patch_px**2


def _empty_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """A store's file whose numbers are yet to be written."""
    with _writing(path), open(path, "wb") as file:
        begin_array(file, dtype, shape)
        file.truncate(file.tell() + math.prod(shape) * dtype.itemsize)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the system says against writing, in our words."""
    try:
        yield
    except OSError as error:
        raise Alos2TutError(
            f"could not be written ({error.strerror or error})",
            where=path,
            remedy="Check the free disk space and the permissions; the same call then goes on where it stopped.",
        ) from error


def _cut_product(job: _CutJob) -> None:
    """Write a product's patches into their places, then what the lists say of them."""
    grid = PatchGrid.of(job.product.entry.open(), job.product.config)
    texts = {split: io.StringIO() for split in SPLITS}
    writers = {split: csv.DictWriter(text, AUTHORS_COLUMNS + OUR_COLUMNS, lineterminator="\n")
               for split, text in texts.items()}  # fmt: skip
    sums = np.zeros(3, dtype=object)
    with LabelMap(job.product.labels, job.product.legend) as labels, ExitStack() as files:
        stores = _Stores(job, files)
        rows = progress_bar(np.unique(job.row), f"cutting {job.product.entry.name}", "row", show=job.product.progress)
        for row in rows:
            picks = np.flatnonzero(job.row == row)
            records = _cut_row(job, grid, labels, picks, stores, sums)
            for pick, record in zip(picks, records, strict=True):
                store = _STORES[int(job.ground[pick])]
                for split in (store, "train") if job.in_train[pick] else (store,):
                    writers[split].writerow(record)
        stores.flush()
    # only now, when the pixels are on the disk
    write_json(job.done, {"sums": sums.tolist(), "lists": {split: text.getvalue() for split, text in texts.items()}})


class _Stores:
    """The stores, open for one product's patches."""

    def __init__(self, job: _CutJob, files: ExitStack):
        self._job = job
        self._open: dict[str, list[tuple[Path, BinaryIO, int]]] = {}
        for name in sorted({_STORES[int(code)] for code in job.ground}):
            self._open[name] = []
            for path in (job.folder / f"{name}_{kind}.npy" for kind in ("db", "labels")):
                file = files.enter_context(open(path, "r+b"))  # noqa: SIM115 (the stack closes it)
                self._open[name].append((path, file, _skip_header(file)))

    def write(self, pick: int, steps: NDArray[np.int16], classes: NDArray[np.uint8]) -> None:
        """One patch and its labels, into their places."""
        contents = (steps.tobytes(), classes.tobytes())
        store = self._open[_STORES[int(self._job.ground[pick])]]
        for (path, file, start), content in zip(store, contents, strict=True):
            with _writing(path):
                file.seek(start + int(self._job.place[pick]) * len(content))
                file.write(content)

    def flush(self) -> None:
        """Push everything to the disk."""
        for path, file, _ in itertools.chain(*self._open.values()):
            with _writing(path):
                file.flush()
                os.fsync(file.fileno())


def _skip_header(file: BinaryIO) -> int:
    """Where the numbers of a file in NumPy's format begin."""
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return file.tell()


def _cut_row(
    job: _CutJob, grid: PatchGrid, labels: LabelMap, picks: NDArray[np.int64], stores: _Stores, sums: NDArray[Any]
) -> list[dict[str, Any]]:
    """Cut some patches of one row of the grid; returns their records and adds to the sums of pretraining's pixels."""
    n, config = grid.patch_px, job.product.config
    row = int(job.row[picks[0]]) // n
    cols = slice(int(job.col[picks].min()) // n, int(job.col[picks].max()) // n + 1)
    window = grid.window(row, cols)
    db = grid.product.read_db(window, polarization=config.polarization, looks=config.looks)
    classes = grid.classes(labels, row, cols)
    classes[np.isnan(db) | grid.displaced(window)] = IGNORE
    points = np.empty((len(picks), 2), np.int64)
    for i, pick in enumerate(picks):
        left = int(job.col[pick]) - cols.start * n
        part = (slice(None), slice(left, left + n))
        _check_unchanged(job, pick, classes[part])
        steps = encode_db(db[part])
        stores.write(pick, steps, classes[part])
        if job.ground[pick] == splits.PRETRAIN:
            sums += step_sums(steps)
        points[i] = np.add(_point(job, pick, classes[part]), (job.row[pick], job.col[pick]))
    return _records(job, grid, labels, picks, points)


def _check_unchanged(job: _CutJob, pick: int, classes: NDArray[np.uint8]) -> None:
    """What was chosen by its classes must still have them."""
    counts = np.bincount(classes.ravel(), minlength=IGNORE + 1)[: job.counts.shape[1]]
    if (counts != job.counts[pick]).any():
        raise Alos2TutError(
            "or a label raster of its ground was changed after it was looked at",
            where=job.product.entry.path,
            remedy="Let nobody write to the inputs, and build anew.",
        )


def _point(job: _CutJob, pick: int, classes: NDArray[np.uint8]) -> tuple[int, int]:
    """Row and column of a patch's sampled point, a pixel of its class; without one, of the pixel nearest the centre."""
    n = len(classes)
    if job.point[pick] < 0:
        return n // 2, n // 2
    pixels = np.flatnonzero(classes == job.point[pick])
    place = (job.product.number, int(job.row[pick]), int(job.col[pick]))
    row, col = divmod(int(np.random.default_rng([job.product.config.seed, _PLACES, *place]).choice(pixels)), n)
    return row, col


def _records(
    job: _CutJob,
    grid: PatchGrid,
    labels: LabelMap,
    picks: NDArray[np.int64],
    points: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """List entries of some patches of one row of the grid; ``points`` are rows and columns after looks."""
    product, config, n = grid.product, job.product.config, grid.patch_px
    east, north = grid.transform * (points[:, 1] + 0.5, points[:, 0] + 0.5)
    codes = labels.codes_at(product.crs, east, north)
    longitude, latitude = reproject_points(product.crs, LONLAT, east, north)
    row, cols = int(job.row[picks[0]]) // n, slice(0, grid.shape[1])
    corners = grid.corners_deg(row, cols)
    boxes = splits.enclosing_boxes(corners)
    blocks = splits.ground_blocks(boxes, config.block_m)
    image_name = product.image_name(config.polarization)
    year, month, day = _date(product.acquired)
    records = []
    for i, pick in enumerate(picks):
        col = int(job.col[pick]) // n
        # the authors give the lower left and the upper right corner of the square
        _, upper_right, lower_left, _ = corners[col]
        records.append(
            {
                "Year": year,
                "Month": month,
                "Day": day,
                "FolderPath": "/".join(part for part in (year, month, day) if part),
                "FileName": f"{image_name}_{job.row[pick]}_{job.col[pick]}.tif",
                "MinLon": f"{lower_left[0]:.4f}",
                "MinLat": f"{lower_left[1]:.4f}",
                "MaxLon": f"{upper_right[0]:.4f}",
                "MaxLat": f"{upper_right[1]:.4f}",
                "Latitude": f"{latitude[i]:.4f}",
                "Longitude": f"{longitude[i]:.4f}",
                "Category": int(codes[i]),
                "Row": int(job.place[pick]),
                "Product": image_name,
                "PatchRow": int(job.row[pick]),
                "PatchCol": int(job.col[pick]),
                "Block": "{}_{}".format(*blocks[col]),
                "ValidFraction": f"{job.valid[pick]:.4f}",
                "LabelledFraction": f"{job.counts[pick].sum() / n**2:.4f}",
                **{side: f"{value:.7f}" for side, value in zip(BOX_COLUMNS, boxes[col], strict=True)},
            }
        )
    return records


def _date(acquired: str | None) -> tuple[str, str, str]:
    """Year, month and day, as far as they are known."""
    year, month, day = (*(acquired or "")[:10].split("-"), "", "")[:3]
    return year, month, day


# --- the end


def _finish(plan: _Plan, choice: Choice) -> None:
    """Lists and description; then, if what was built opens, it takes its place."""
    sums = _write_lists(plan)
    write_json(plan.stores / "dataset.json", _describe(plan, choice, sums))
    # proves the ground of the lists as they are written
    open_dataset(plan.stores)
    with _writing(plan.target):
        os.replace(plan.stores, plan.target)


def _write_lists(plan: _Plan) -> list[int]:
    """The lists, put together product by product; returns the sums of all pretraining's pixels."""
    sums = np.zeros(3, dtype=object)
    with ExitStack() as stack:
        files = {plan.stores / f"{split}.csv": split for split in SPLITS}
        opened = {split: stack.enter_context(open(path, "wb")) for path, split in files.items()}
        for path, split in files.items():
            with _writing(path):
                opened[split].write((",".join(AUTHORS_COLUMNS + OUR_COLUMNS) + "\n").encode())
        for part in _parts(plan.partial / "cut"):
            sums += part["sums"]
            for path, split in files.items():
                with _writing(path):
                    opened[split].write(part["lists"][split].encode())
        for path, split in files.items():
            with _writing(path):
                opened[split].flush()
                os.fsync(opened[split].fileno())
    return sums.tolist()


def _parts(folder: Path) -> Iterator[dict[str, Any]]:
    """What was cut of each product; a damaged file is removed, so that its product is cut again."""
    for path in sorted(folder.glob("*.json")):
        try:
            part = read_json(path)
            if set(part["lists"]) == set(SPLITS) and len(part["sums"]) == 3:
                yield part
                continue
        except (Alos2TutError, LookupError, TypeError):
            pass
        path.unlink()
        raise Alos2TutError("was damaged and is removed", where=path, remedy="The same call cuts that product again.")


def _describe(plan: _Plan, choice: Choice, sums: list[int]) -> dict[str, Any]:
    """What ``dataset.json`` says of origin, signal and files; no times of the run, hosts or absolute paths."""
    config, entries = plan.config, plan.archive.entries
    used = [entries[i] for i in np.unique(choice.table.product[choice.fate == _KEPT])]
    first = entries[0].info
    patches = {split: len(choice.lists[split]) for split in SPLITS}
    class_pixels = {split: choice.class_pixels(split) for split in SPLITS}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "settings": settings_for_key(config) | {"legend": plan.legend.name},
        "made_from": plan.made_from,
        "products": [entry.info | {"name": entry.name} for entry in used],
        "labels": [Path(path).name for path in config.labels],
        "quantity": first["quantity"],
        "polarizations": [config.polarization],
        "simulated": any(entry.info["simulated"] for entry in used),
        "spacing_m": [round(config.looks * spacing, 3) for spacing in first["spacing_m"]],
        "patch_px": config.patch_px,
        "balance": choice.balance(),
        "left_out": plan.left_out + _without_patches(plan, choice),
        **describe_content(plan.stores, plan.legend, patches, class_pixels, [sums]),
    }


def _without_patches(plan: _Plan, choice: Choice) -> list[dict[str, str]]:
    """Products of which no patch is in any list, and what became of most of theirs."""
    told = []
    for number, entry in enumerate(plan.archive.entries):
        first, last = np.searchsorted(choice.table.product, (number, number + 1))
        fates = np.bincount(choice.fate[first:last], minlength=len(FATES))
        if not fates[_KEPT]:
            reason = f"no patch is kept; most: {FATES[int(fates.argmax())]}"
            told.append({"product": Path(entry.path).name, "why": "no patch", "reason": reason})
    return told


# --- what it would be
