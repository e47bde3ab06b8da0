"""A dataset on its way: its inputs opened and checked, where it will lie, and what was seen of every product."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifacts import make_folder, stage_dir
from ..core.config import settings_for_key
from ..core.errors import Alos2TutError, warn
from ..core.parallel import as_completed, cores, partial_path, process_pool
from ..core.progress import progress_bar
from . import balance
from .archive import Archive, Excluded, open_archive
from .config import DatasetConfig, Frame
from .labels import LabelMap, label_files, label_fingerprint, warn_of_lost_labels
from .legend import Legend, load_legend
from .survey import PatchTable, ProductJob, placement_of, survey_product


def survey_dataset(
    config: DatasetConfig, *, executor: Executor | None = None, progress: bool | None = None
) -> tuple[Archive, PatchTable]:
    """Look at every patch that a dataset could be made of, without cutting any.

    Args:
        config, executor, progress: as for :func:`build_dataset`.

    Returns:
        The products, and the patches of all of them; :func:`choose` says what becomes of these.
    """
    with planned(config, executor, progress) as (plan, workers):
        plan, table = surveyed(plan, workers)
    return plan.archive, table


@dataclass(frozen=True)
class Plan:
    """One dataset on its way: inputs that were opened and checked, and where it will lie."""

    #: with polarisation and label files written out
    config: DatasetConfig
    legend: Legend
    archive: Archive
    #: rasters that may cover each product
    labels: tuple[tuple[str, ...], ...]
    #: fingerprints of all these rasters, in their order
    label_hashes: Mapping[str, str]
    progress: bool | None

    @cached_property
    def made_from(self) -> dict[str, str]:
        """Fingerprints of products and labels, by role, and what was left out."""
        made_from = {f"product {i}": entry.fingerprint for i, entry in enumerate(self.archive.entries)}
        made_from |= {f"label {i}": found for i, found in enumerate(self.label_hashes.values())}
        if self.archive.excluded:
            made_from["left out"] = hashlib.sha256(json.dumps(self.excluded).encode()).hexdigest()
        return made_from

    @property
    def excluded(self) -> list[dict[str, str]]:
        """Products that are not used, and why, without their folders."""
        return [{"product": Path(one.path).name, "why": one.why, "reason": one.reason} for one in self.archive.excluded]

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
        placed = {name: getattr(self.config, name) for name in ("label_offset", "label_flip", "stride_px")}
        settings |= {name: value for name, value in placed.items() if value is not None}
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
def planned(
    config: DatasetConfig, executor: Executor | None, progress: bool | None
) -> Iterator[tuple[Plan, Executor | None]]:
    """A plan, and who works on it."""
    plan = _plan(config, progress)
    with process_pool(plan.workers if executor is None else 1) as pool:
        yield plan, executor or pool


def _plan(config: DatasetConfig, progress: bool | None) -> Plan:
    if not config.labels:
        raise Alos2TutError("no labels given", where="dataset settings", remedy="Set labels=[…].")
    legend = load_legend(config.legend)
    # a name that is no class is refused before an archive is looked at
    none = np.zeros((0, len(legend)), np.int64)
    balance.exceeds_share(none, config.max_class_share, legend.names, config.patch_px)
    archive = open_archive(config, progress=progress)
    seen: dict[str, str] = {}
    for entry in archive.entries:
        if entry.name in seen:
            raise Alos2TutError(
                f"is called {entry.name}, as is {seen[entry.name]}: their patches would have the same names",
                where=entry.path,
                remedy="Leave one of the two out.",
            )
        seen[entry.name] = entry.path
    config = _in_frame(config, archive.frame)
    files = label_files(config.labels)
    archive, labels = _with_labels(archive, files, config, legend)
    touched = set(itertools.chain(*labels))
    hashes = {file: label_fingerprint(file) for file in files if file in touched}
    warn_of_lost_labels(tuple(hashes), legend)
    config = replace(config, labels=tuple(hashes), polarization=",".join(archive.polarizations))
    return Plan(config, legend, archive, labels, hashes, progress)


def _with_labels(
    archive: Archive, files: tuple[str, ...], config: DatasetConfig, legend: Legend
) -> tuple[Archive, tuple[tuple[str, ...], ...]]:
    """The products on whose ground some label raster may lie, and for each of them these rasters."""
    entries, labels, without = [], [], []
    is_image = archive.frame == "image"
    if is_image and len(files) != len(archive.entries):
        raise Alos2TutError(
            f"{len(files)} label rasters for {len(archive.entries)} products on no map",
            where=few(files),
            remedy="Give one for each product that is used, in the order of the products.",
        )
    placement = placement_of(config)
    label_map = LabelMap(files, legend, placement)
    for number, entry in enumerate(archive.entries):
        # on no map nothing but their order tells which belongs to which
        own = LabelMap(files[number : number + 1], legend, placement) if is_image else label_map
        found = own.touching(*entry.grid)
        if found:
            entries.append(entry)
            labels.append(found)
        elif config.on_error == "skip":
            without.append(Excluded(entry.path, "unreadable", "no label raster covers it"))
        else:
            raise Alos2TutError(
                f"does not overlap the product {entry.name}",
                where=few(files),
                remedy="Give the label tiles of the product's ground; `info` prints its bounds.",
            )
    if not entries:
        raise Alos2TutError("do not overlap any product", where=few(files), remedy="Give the tiles of their ground.")
    return replace(archive, entries=tuple(entries), excluded=archive.excluded + tuple(without)), tuple(labels)


def _in_frame(config: DatasetConfig, frame: Frame) -> DatasetConfig:
    """The settings with sizes in pixels written out for images on no map; on a map such settings are refused."""
    if frame == "map":
        for name in ("block_px", "buffer_px", "label_offset", "label_flip"):
            if getattr(config, name) is not None:
                remedy = "Leave it out: blocks are in metres (block_m, buffer_m), and labels have their own place."
                raise Alos2TutError("is for products on no map, and these lie on one", where=name, remedy=remedy)
        return config
    in_px: dict[str, Any] = dict(zip(("block_px", "buffer_px"), config.blocks(frame), strict=True))
    for name, value in in_px.items():
        in_metres = name.replace("_px", "_m")
        if getattr(config, name) is None and getattr(config, in_metres) != getattr(DatasetConfig(), in_metres):
            warn(f"{in_metres} says nothing of products on no map: {name}={value} is taken; set that instead")
    return replace(config, **in_px)


def few(files: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def surveyed(plan: Plan, workers: Executor | None, step: int | None = None) -> tuple[Plan, PatchTable]:
    """The patches of all products, and the plan without those products that cannot be read, where that is allowed.

    With a ``step`` only every so many pixels are looked at, and nothing is kept.
    """
    if step is None:
        make_folder(Path(plan.config.work_dir).absolute() / "surveys")
    tasks = ((job, plan.survey_file(job) if step is None else None) for job in plan.jobs(step or 1))
    count = len(plan.archive.entries)
    found = as_completed(workers, _survey_one, tasks)
    many = plan.progress if count > 1 else False
    bar = progress_bar(found, "looking at products", "product", total=count, show=many)
    results = sorted(((job.number, result) for (job, _), result in bar), key=lambda pair: pair[0])
    read = {number: result for number, result in results if isinstance(result, PatchTable)}
    unreadable = tuple(result for _, result in results if isinstance(result, Excluded))
    if not read:
        raise Alos2TutError("no product could be read", where=unreadable[0].path, remedy=unreadable[0].reason)
    entries = tuple(plan.archive.entries[number] for number in read)
    archive = replace(plan.archive, entries=entries, excluded=plan.archive.excluded + unreadable)
    plan = replace(plan, archive=archive, labels=tuple(plan.labels[number] for number in read))
    tables = list(read.values())
    table = PatchTable.concatenate(tables)
    table = replace(table, product=np.repeat(np.arange(len(tables), dtype=np.int32), list(map(len, tables))))
    # these lie within the bounds of label rasters
    labelled = np.unique(table.product[table.counts.any(axis=1)])
    names = [entry.name for number, entry in enumerate(entries) if number not in labelled]
    if names:
        warn(f"no pixel of {few(tuple(names))} has a label; they can only be pretrained on")
    return plan, table


def _survey_one(task: tuple[ProductJob, Path | None]) -> PatchTable | Excluded:
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
        return Excluded.of(job.entry.path, error)
    if kept is not None:
        table.save(kept)
    return table
