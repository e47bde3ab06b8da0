"""Datasets as one GeoTIFF per patch, in the layout of the paper's authors: out of a packed dataset, and into one.

::

    <folder>/2022/11/19/IMG-HH-…_12032_7680.tif         float32 dB, NaN without data, with its place on the map
                        IMG-HH-…_12032_7680_label.tif   uint8 class indices with the legend's colours, 255 without label
             pretrain.csv  train.csv  val.csv  test.csv  the authors' twelve columns, in their order
             legend.yaml  patches.json                   what the dataset was

The authors' own folders have no labels, ``legend.yaml`` and ``patches.json``: these are given to
:func:`import_patches`. Decibels go through a packed dataset as hundredths, so nothing moves by more than 0.005 dB, and
what was exported comes back bit by bit.
"""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import yaml
from affine import Affine
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from ..core.artifacts import atomic_path, check_vacant, make_folder, named_path, read_json, sha256_file, write_json
from ..core.config import PathText, from_dict
from ..core.errors import Alos2TutError, warn
from ..core.progress import progress_bar
from ..core.public import public
from ..core.tables import read_table
from ..core.version import __version__
from ..geometry import beside
from ..products.georeference import parsed_crs
from ..products.metadata import POLARIZATIONS, MapGrid, data_source
from ..products.rasters import LONLAT, RasterBand, reprojected
from ..products.satellites import ALOS2
from ..products.sources import FileSource
from .balance import histogram
from .encoding import NO_DATA, STEPS_PER_DB, encode_db, same_spacing, step_sums
from .labels import LabelMap, label_files, warn_of_lost_labels
from .legend import IGNORE, Legend, load_legend
from .splits import CORNER_DECIMALS, away_from, check_ground, ground_blocks
from .store import (
    AUTHORS_COLUMNS,
    OUR_COLUMNS,
    SPLITS,
    STORE_OF,
    STORES,
    PatchDataset,
    Polarization,
    Quantity,
    describe_content,
    framed,
    open_dataset,
    our_columns,
    sealed,
)

PATCHES_SCHEMA = "alos2tut-patches-1"
_LABEL_SUFFIX = "_label.tif"
_CORNERS = ("MinLon", "MinLat", "MaxLon", "MaxLat")
#: lists give four decimals; the place of a patch may differ from its file's by so much, about 20 m
_BOX_TOLERANCE_DEG = 2e-4
#: grids that differ by less than this share of a pixel are one
_SAME_GRID_PX = 0.01
_LARGEST_DB = (-(NO_DATA + 1)) / STEPS_PER_DB
_NAME = re.compile(r"(.+)_(\d+)_(\d+)")

_Record: TypeAlias = dict[str, str]
#: the lines of each list, with their places for messages
_Tables: TypeAlias = dict[str, list[tuple[_Record, str]]]


# --- out


@public
def export_patches(dataset: PatchDataset | str | Path, folder: str | Path, *, progress: bool | None = None) -> Path:
    """Write a dataset as one GeoTIFF per patch, with its labels beside it; whole or not at all.

    Args:
        dataset: a dataset, or its folder.
        folder: one that does not exist yet or is empty.
        progress: show a bar; None: only where someone watches.

    Returns:
        ``folder``.

    Raises:
        Alos2TutError: a folder that holds something, a dataset of several channels, patches of one name or of a product
            that ``dataset.json`` does not describe, a disk that is full.
    """
    dataset = dataset if isinstance(dataset, PatchDataset) else open_dataset(dataset)
    folder = named_path(folder, "folder")
    check_vacant(folder)
    if dataset.frame != "map":
        raise Alos2TutError(
            "its patches lie on no map, and patch files have a place on one",
            where=dataset.path,
            remedy="Read it with open_dataset.",
        )
    if dataset.channels != 1:
        problem = f"has {dataset.channels} channels; patch files, as the authors have them, hold one"
        remedy = "Build a dataset of each polarisation to export, or read this one with open_dataset."
        raise Alos2TutError(problem, where=dataset.path, remedy=remedy)
    make_folder(folder.parent)
    with atomic_path(folder) as target:
        target.mkdir()
        for store in STORES:
            _export_store(dataset, store, target, progress)
        for name in SPLITS:
            _write_table(target / f"{name}.csv", AUTHORS_COLUMNS, dataset.split(name).table)
        legend = yaml.safe_dump(dataset.legend.to_dict(), allow_unicode=True, sort_keys=False)
        (target / "legend.yaml").write_text(legend, encoding="utf-8")
        kept = ("quantity", "polarizations", "spacing_m", "statistics", "settings", "patch_px")
        told = {"schema": PATCHES_SCHEMA, "version": __version__, "legend": dataset.legend.to_dict()}
        told |= {"simulated": dataset.simulated} | {key: dataset.content[key] for key in kept}
        write_json(target / "patches.json", told)
    return folder


def _export_store(dataset: PatchDataset, store: str, target: Path, progress: bool | None) -> None:
    """The patches of one store, each once however many lists name it."""
    looks, where = Affine.scale(dataset.content["settings"].get("looks", 1)), dataset.path / "dataset.json"
    # coordinate system and transform of each product's pixels after looks
    grids = {
        product["name"]: (parsed_crs(product["crs"], where), Affine(*product["transform"]) * looks)
        for product in dataset.content.get("products", ())
    }
    sensors = {product["name"]: product.get("sensor", ALOS2.sensor) for product in dataset.content.get("products", ())}
    written = set()
    lists = [dataset.split(name) for name in SPLITS if STORE_OF[name] == store]
    work = [(part, index) for part in lists for index in range(len(part))]
    for part, index in progress_bar(work, f"writing {store}", "patch", show=progress):
        record, row = part.table[index], int(part.rows[index])
        if row in written:
            continue
        written.add(row)
        path = target / _inside(record, where=f"{dataset.path / part.name}.csv, row {index + 1}")
        if path.exists():
            raise Alos2TutError(f"two patches are named {record['FileName']}", where=dataset.path)
        name = record["Product"]
        if name not in grids:
            problem = f"a list names the product '{name}', which dataset.json does not describe"
            raise Alos2TutError(problem, where=dataset.path)
        crs, transform = grids[name]
        transform = transform * Affine.translation(int(record["PatchCol"]), int(record["PatchRow"]))
        make_folder(path.parent)
        tags = {"SCALE": "dB", "QUANTITY": dataset.signal["quantity"], "PRODUCT": name}
        tags["SOURCE"] = data_source(sensors[name], dataset.simulated)
        path.write_bytes(_geotiff(part.db(index)[0], crs, transform, tags, no_data=np.nan, predictor=3))
        labels = _geotiff(part.gather([index])[1][0], crs, transform, {}, no_data=IGNORE, legend=dataset.legend)
        _label_path(path).write_bytes(labels)


def _geotiff(
    pixels: NDArray[Any],
    crs: CRS,
    transform: Affine,
    tags: Mapping[str, str],
    *,
    no_data: float,
    predictor: int = 1,
    legend: Legend | None = None,
) -> bytes:
    """A GeoTIFF of one band. It is made in memory, as GDAL passes over a disk that is full."""
    profile = {"driver": "GTiff", "count": 1, "height": pixels.shape[0], "width": pixels.shape[1]}
    profile |= {"dtype": pixels.dtype.name, "crs": crs, "transform": transform, "nodata": no_data}
    with MemoryFile() as file:
        with file.open(**profile, compress="deflate", predictor=predictor) as raster:
            raster.write(pixels, 1)
            raster.update_tags(**tags)
            if legend is not None:
                raster.write_colormap(1, legend.colormap())
        content: bytes = file.read()
    return content


def _label_path(patch: Path) -> Path:
    return patch.with_name(patch.stem + _LABEL_SUFFIX)


def _write_table(path: Path, columns: Sequence[str], records: Sequence[Mapping[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


# --- in


@dataclass
class _Patch:
    """A patch file that a list names, and what the stores got of it."""

    #: the first list's line, and its place for messages
    record: _Record
    where: str
    band: RasterBand
    crs: CRS
    transform: Affine
    #: (4, 2) longitude and latitude of the corners, as :class:`.PatchTable` has them
    corners_deg: NDArray[np.float64]
    #: the label file beside it
    label: RasterBand | None
    #: in its store
    row: int = -1
    #: shares of the pixels
    valid: float = 0.0
    labelled: float = 0.0
    #: pixels whose class the label file itself calls no data
    lost: int = 0
    #: (C,) pixels of each class
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    #: of its steps, for the statistics
    sums: tuple[int, int, int] = (0, 0, 0)

    @property
    def spacing_m(self) -> tuple[float, float]:
        """Metres per pixel, (rows, columns)."""
        return MapGrid(self.crs, self.transform).spacing_m(self.band.shape)


@public
def import_patches(
    folder: str | Path,
    out: str | Path,
    *,
    lists: Mapping[str, str] | None = None,
    labels: str | Path | Sequence[str | Path] = (),
    legend: str | Path | None = None,
    quantity: str | None = None,
    polarization: str | None = None,
    buffer_m: float | None = None,
    on_overlap: Literal["raise", "drop"] = "raise",
    progress: bool | None = None,
) -> Path:
    """Read a folder of patch files, ours or the authors', into a packed dataset; whole or not at all.

    Statistics are those of the list ``pretrain``, class weights those of ``train``. What ``patches.json`` says holds
    unless it is said otherwise here.

    Args:
        folder: holds the patches at ``<FolderPath>/<FileName>`` of the lists, and the lists.
        out: the dataset's folder: one that does not exist yet or is empty.
        lists: file names of the lists ``pretrain``, ``train``, ``val`` and ``test``, if they are not ``<list>.csv``.
        labels: label rasters, folders of them or patterns, for patches that have no label file beside them.
        legend: of the labels: a name or a file; None: ``legend.yaml`` of the folder, else ``japan_9``.
        quantity: of the values, ``sigma0`` or ``gamma0``; None: that of ``patches.json``, else ``sigma0``.
        polarization: None: that of ``patches.json``, else that of the file names.
        buffer_m: ground within this distance of validation or test ground may be in no other list; None: that of
            ``patches.json``, else 0.
        on_overlap: what to do with lists that break that rule: stop, or drop patches from ``pretrain`` and ``train``
            that lie too near to the other two, and from ``val`` those too near to ``test``.
        progress: show bars; None: only where someone watches.

    Returns:
        ``out``, for :func:`alos2tut.open_dataset`.

    Raises:
        Alos2TutError: lists that cannot be read, lack a column or name what is not there; patches of another type,
            size, pixel size or place than stated, or with infinite values; labels that do not fit; ground that is in
            two lists.
    """
    folder, out = named_path(folder, "folder"), named_path(out, "out")
    check_vacant(out)
    given = {"quantity": quantity, "polarization": polarization, "buffer_m": buffer_m, "on_overlap": on_overlap}
    from_dict(_Arguments, given | {"lists": lists or {}}, where="import_patches")
    described, settings = _read_description(folder)
    own = folder / "legend.yaml"
    known = load_legend(legend if legend is not None else own if own.is_file() else "japan_9")
    names = {name: str((lists or {}).get(name, f"{name}.csv")) for name in SPLITS}
    tables = {name: _read_list(folder / file) for name, file in names.items()}
    found = _open_patches(folder, tables, progress)
    buffer_m = float(described.settings.buffer_m if buffer_m is None else buffer_m)
    apart = _apart(tables, found, buffer_m, on_overlap, folder)
    files = label_files(labels)
    stated: Sequence[str] | None = [polarization] if polarization else described.polarizations
    spacing_m = [round(metres, 3) for metres in next(iter(found.values())).spacing_m]
    if described.spacing_m is not None and not same_spacing(described.spacing_m, spacing_m):
        problem = f"says pixels of {described.spacing_m} m, and patches have {spacing_m} m"
        raise Alos2TutError(problem, where=folder / "patches.json")
    signal: dict[str, Any] = {
        "quantity": quantity or described.quantity,
        "polarizations": list(stated or [_polarization_of(found)]),
    }
    content = {
        **framed("map", signal["quantity"], signal["polarizations"]),
        "version": __version__,
        "imported": {"lists": names, "on_overlap": on_overlap, "settings": settings},
        "settings": {"looks": 1, "block_m": described.settings.block_m, "buffer_m": buffer_m},
        "made_from": {f"list {name}": sha256_file(folder / file) for name, file in names.items()},
        "labels": [Path(file).name for file in files],
        **signal,
        "simulated": described.simulated,
        # of degrees the length differs
        "spacing_m": described.spacing_m or spacing_m,
    }
    make_folder(out.parent)
    warn_of_lost_labels(files, known)
    with atomic_path(out) as target, LabelMap(files, known) as rasters:
        target.mkdir()
        _pack(target, content, apart, found, known, rasters, progress)
        # what cannot be opened is not left
        open_dataset(target)
    return out


_Distance = Annotated[float, Field(ge=0, lt=2e7)]


class _Arguments(BaseModel):
    """What :func:`import_patches` may be asked."""

    lists: dict[Literal["pretrain", "train", "val", "test"], PathText]
    quantity: Quantity | None
    polarization: Polarization | None
    buffer_m: _Distance | None
    on_overlap: Literal["raise", "drop"]


class _Settings(BaseModel):
    buffer_m: _Distance = 0.0
    block_m: Annotated[float, Field(ge=1, lt=2e7)] = 10_000.0


class _Description(BaseModel):
    """What is read from ``patches.json``, and what holds where it does not say."""

    settings: _Settings = _Settings()
    quantity: Quantity = "sigma0"
    polarizations: Annotated[list[Polarization], Field(min_length=1, max_length=1)] | None = None
    spacing_m: Annotated[list[Annotated[float, Field(gt=0, lt=1e6)]], Field(min_length=2, max_length=2)] | None = None
    simulated: bool = False


def _read_description(folder: Path) -> tuple[_Description, dict[str, Any]]:
    """What ``patches.json`` says, and all of its settings."""
    path = folder / "patches.json"
    if not path.is_file():
        return _Description(), {}
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != PATCHES_SCHEMA:
        raise Alos2TutError(f"is not of the schema {PATCHES_SCHEMA}", where=path)
    return from_dict(_Description, content, where=path), content.get("settings", {})


def _polarization_of(names: Iterable[str]) -> str:
    found = {name.split("-")[1] for name in names if name.startswith("IMG-")} & set(POLARIZATIONS)
    if len(found) != 1:
        problem = f"file names tell of {' and '.join(sorted(found)) or 'no polarisation'}"
        raise Alos2TutError(problem, where="polarization", remedy="Say which it is: polarization='HH'.")
    return found.pop()


# --- lists


def _read_list(path: Path) -> list[tuple[_Record, str]]:
    if not path.is_file():
        raise Alos2TutError("there is no such list", where=path, remedy="Name the files of the lists: lists={…}.")
    # the header does not count here
    table = [
        ({column: record[column] for column in AUTHORS_COLUMNS}, f"{path}, row {number - 1}")
        for number, record in read_table(path, AUTHORS_COLUMNS)
    ]
    if not table:
        raise Alos2TutError("the list is empty", where=path)
    for record, where in table:
        for column in (*_CORNERS, "Latitude", "Longitude", "Category"):
            try:
                is_finite = math.isfinite(float(record[column]))
            except ValueError:
                is_finite = False
            if not is_finite:
                raise Alos2TutError(f"{column} is no number: {record[column]!r}", where=where)
        if not record["FileName"]:
            raise Alos2TutError("names no file", where=where)
    return table


def _inside(record: Mapping[str, str], *, where: str) -> PurePosixPath:
    """The patch's path within its folder; one that leads out of it is refused."""
    path = PurePosixPath(record["FolderPath"].replace("\\", "/")) / record["FileName"]
    if path.is_absolute() or ".." in path.parts or PurePosixPath(record["FileName"]).name != record["FileName"]:
        raise Alos2TutError(f"the path '{path}' leads elsewhere", where=where)
    return path


# --- patches


def _open_patches(folder: Path, tables: _Tables, progress: bool | None) -> dict[str, _Patch]:
    """All patches that the lists name, by file name; pixels are not read yet."""
    found: dict[str, _Patch] = {}
    for split, table in tables.items():
        named = set()
        for record, where in progress_bar(table, f"looking at {split}", "patch", show=progress):
            name = record["FileName"]
            first = found.get(name)
            if name in named or (first and record["FolderPath"] != first.record["FolderPath"]):
                raise Alos2TutError(f"two patches are named {name}", where=where)
            named.add(name)
            if first is None:
                found[name] = _open_patch(folder, record, where)
                _check_alike(found[name], next(iter(found.values())))
            elif any(float(record[corner]) != float(first.record[corner]) for corner in _CORNERS):
                raise Alos2TutError(f"puts {name} on other ground than {first.where}", where=where)
    return found


def _open_patch(folder: Path, record: dict[str, str], where: str) -> _Patch:
    path = folder / _inside(record, where=where)
    band = _band(path, ("float32", "float64"), where)
    if band.crs is None or band.transform is None:
        raise Alos2TutError("the patch states no place on a map", where=path)
    side = band.shape[0]
    if side != band.shape[1]:
        raise Alos2TutError(f"a patch is square, this one has {side} × {band.shape[1]} pixels", where=path)
    points = [band.transform * corner for corner in ((0, 0), (side, 0), (side, side), (0, side))]
    corners = reprojected(points, band.crs, LONLAT)
    corners = np.stack([beside(corners[:, 0], 0), corners[:, 1]], axis=1).round(CORNER_DECIMALS)
    stated, lies_at = [float(record[column]) for column in _CORNERS], corners[[3, 1]].ravel()
    apart = np.subtract(lies_at, stated)
    apart[::2] = beside(apart[::2], 0)
    if not (np.abs(apart) <= _BOX_TOLERANCE_DEG).all():
        place = ", ".join(f"{value:.4f}" for value in lies_at)
        raise Alos2TutError(
            f"{record['FileName']} lies at {place}, and the list says {stated}",
            where=where,
            remedy="MinLon, MinLat, MaxLon, MaxLat are the lower left and the upper right corner of the patch.",
        )
    label = _band(_label_path(path), ("uint8",), where, IGNORE) if _label_path(path).is_file() else None
    if label is not None and not (
        label.shape == band.shape
        and label.transform is not None
        and _is_same_grid((label.crs, label.transform), (band.crs, band.transform), side)
    ):
        raise Alos2TutError("the labels do not lie on the pixels of their patch", where=label.source.where)
    return _Patch(record, where, band, band.crs, band.transform, corners, label)


def _band(path: Path, dtypes: tuple[str, ...], where: str, fill: float | None = None) -> RasterBand:
    if not path.is_file():
        raise Alos2TutError(f"there is no file {path}", where=where)
    sources = [FileSource(p.name, p, p.stat().st_size) for p in (path, Path(f"{path}.msk")) if p.is_file()]
    return RasterBand.open(sources[0], dtypes, sources[-1] if sources[1:] else None, fill)


def _is_same_grid(one: tuple[CRS | None, Affine], other: tuple[CRS | None, Affine], side: int) -> bool:
    """Whether two grids, by coordinate system and transform, place the pixels of a patch alike."""
    moved = [np.subtract(~one[1] * (other[1] * corner), corner) for corner in ((0, 0), (side, 0), (0, side))]
    return one[0] == other[0] and bool(np.abs(moved).max() < _SAME_GRID_PX)


def _check_alike(patch: _Patch, first: _Patch) -> None:
    where, side, here, there = patch.band.source.where, patch.band.shape[0], patch.spacing_m, first.spacing_m
    if side != first.band.shape[0]:
        raise Alos2TutError(f"has {side} pixels a side, the first patch {first.band.shape[0]}", where=where)
    if not same_spacing(here, there):
        problem = f"has pixels of {here[0]:.4g} × {here[1]:.4g} m, the first patch of {there[0]:.4g} × {there[1]:.4g} m"
        raise Alos2TutError(problem, where=where)


def _apart(
    tables: _Tables, found: Mapping[str, _Patch], buffer_m: float, on_overlap: str, folder: Path
) -> dict[str, list[_Record]]:
    """The lines of each list, of which held-out ground is in no other."""
    lists = {split: [record for record, _ in table] for split, table in tables.items()}
    ground = {split: np.array([found[r["FileName"]].corners_deg for r in records]) for split, records in lists.items()}
    if on_overlap == "raise":
        try:
            check_ground(ground, buffer_m, where=str(folder))
        except Alos2TutError as error:
            remedy = "Scores on such lists would be too good. Let training give way: on_overlap='drop'."
            raise Alos2TutError(error.problem, where=error.where, remedy=remedy) from None
        return lists
    for split, others in (("val", ("test",)), ("pretrain", ("val", "test")), ("train", ("val", "test"))):
        far = away_from(ground[split], np.concatenate([ground[other] for other in others]), buffer_m)
        if not far.all():
            warn(f"{(~far).sum()} of {len(far)} patches of '{split}' lie too near to held-out ground and are dropped")
        lists[split] = [record for record, is_far in zip(lists[split], far, strict=True) if is_far]
        ground[split] = ground[split][far]
        if not lists[split]:
            raise Alos2TutError(f"nothing is left of the list '{split}'", where=folder)
    return lists


# --- the packed dataset


def _pack(
    target: Path,
    content: dict[str, Any],
    lists: Mapping[str, list[_Record]],
    found: Mapping[str, _Patch],
    legend: Legend,
    rasters: LabelMap,
    progress: bool | None,
) -> None:
    """Write stores, lists and ``dataset.json``."""
    names = {split: [record["FileName"] for record in records] for split, records in lists.items()}
    # training patches that are not pretrained on come last
    extra = sorted(set(names["train"]) - set(names["pretrain"]), key=names["train"].index)
    stores = {"pretrain": names["pretrain"] + extra, "val": names["val"], "test": names["test"]}
    labelled = {name for split in ("train", "val", "test") for name in names[split]}
    kept = {name: found[name] for members in stores.values() for name in members}
    for store, members in stores.items():
        count, side = len(members), kept[members[0]].band.shape[0]
        stem, head = target / store, {"fortran_order": False}
        with open(f"{stem}_db.npy", "wb") as db_file, open(f"{stem}_labels.npy", "wb") as label_file:
            write_array_header_1_0(db_file, head | {"descr": "<i2", "shape": (count, 1, side, side)})
            write_array_header_1_0(label_file, head | {"descr": "|u1", "shape": (count, side, side)})
            for row, name in enumerate(progress_bar(members, f"reading {store}", "patch", show=progress)):
                patch = kept[name]
                steps, classes = _read_patch(patch, legend, rasters, name in labelled)
                db_file.write(steps.tobytes())
                label_file.write(classes.tobytes())
                patch.row, patch.sums = row, step_sums(steps)
                patch.valid, patch.labelled = float((steps != NO_DATA).mean()), float((classes != IGNORE).mean())
                patch.counts = np.bincount(classes.ravel(), minlength=IGNORE + 1)[: len(legend)]
    if lost := sum(patch.lost for patch in kept.values()):
        files, share = sum(patch.lost > 0 for patch in kept.values()), lost / (len(kept) * side**2)
        problem = f"tags or masks of {files:,} label files call {lost:,} pixels ({100 * share:.2g} %) no data"
        warn(f"{problem}, which hold classes of the legend '{legend.name}'. They count as none.")
    products, places = _products(kept)
    blocks = ground_blocks(np.array([patch.corners_deg for patch in kept.values()]), content["settings"]["block_m"])
    ours = {
        name: places[name] | our_columns(patch.row, block, patch.valid, patch.labelled, patch.corners_deg)
        for (name, patch), block in zip(kept.items(), blocks, strict=True)
    }
    for split, records in lists.items():
        table = [record | ours[record["FileName"]] for record in records]
        _write_table(target / f"{split}.csv", AUTHORS_COLUMNS + OUR_COLUMNS, table)
    digest = hashlib.sha256()
    for band in (band for patch in kept.values() for band in (patch.band, patch.label) if band is not None):
        digest.update(f"{band.source.name}:{sha256_file(band.source.path)};".encode())
    content["made_from"]["patches"] = digest.hexdigest()
    common = histogram(np.array([patch.counts for patch in kept.values()]), legend.names)
    content |= {
        "products": products,
        "patch_px": next(iter(kept.values())).band.shape[0],
        "balance": {"before": common, "after": common, "dropped": {}},
    }
    pixels = {split: np.sum([kept[name].counts for name in members], axis=0) for split, members in names.items()}
    sums = [sum(column) for column in zip(*(kept[name].sums for name in names["pretrain"]), strict=True)]
    counts = {split: len(members) for split, members in names.items()}
    write_json(target / "dataset.json", sealed(content | describe_content(target, legend, counts, pixels, [sums])))


def _read_patch(
    patch: _Patch, legend: Legend, rasters: LabelMap, is_labelled: bool
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Pixels and labels of one patch as the stores hold them."""
    values, where = _pixels(patch.band), patch.band.source.where
    if patch.band.no_data is not None:
        values = np.where(values == values.dtype.type(patch.band.no_data), np.nan, values)
    known = values[~np.isnan(values)]
    if not known.size:
        raise Alos2TutError("the patch holds no data", where=where)
    if np.abs(known).max() > _LARGEST_DB:
        worst = known[np.abs(known).argmax()]
        remedy = "Patches hold decibels, and NaN or the file's own no-data value where nothing is known."
        raise Alos2TutError(f"holds {worst:g}, which cannot be decibels", where=where, remedy=remedy)
    if patch.label is None:
        classes = rasters.classes_on(patch.crs, patch.transform, patch.band.shape)
    else:
        stored = _pixels(patch.label.bare)
        classes = np.where(stored == patch.label.no_data, np.uint8(IGNORE), _pixels(patch.label))
        patch.lost = int(np.count_nonzero((classes == IGNORE) & (stored < len(legend))))
        wrong = classes[(classes >= len(legend)) & (classes != IGNORE)]
        if wrong.size:
            raise Alos2TutError(
                f"holds class {wrong[0]}, and the last one of the legend '{legend.name}' is {len(legend) - 1}",
                where=patch.label.source.where,
                remedy="Label files hold class indices, not raw codes. Name their legend: legend=….",
            )
    if is_labelled and patch.label is None and (classes == IGNORE).all():
        raise Alos2TutError(
            f"no label is known for {patch.record['FileName']}",
            where=patch.where,
            remedy="Give label rasters of its ground (labels=…), or put label files beside the patches.",
        )
    return encode_db(values), np.where(np.isnan(values), np.uint8(IGNORE), classes)


def _pixels(band: RasterBand) -> NDArray[Any]:
    [values] = band.strips(slice(0, band.shape[0]), slice(0, band.shape[1]), band.shape[0])
    return values


def _products(kept: Mapping[str, _Patch]) -> tuple[list[dict[str, Any]], dict[str, _Record]]:
    """The products that the patches are of, as their names and places tell; and each patch's place in its product.

    A patch that does not lie where its name says, on the grid of the first patch of that product, is a product of its
    own.
    """
    products: dict[str, tuple[_Patch, Affine]] = {}
    places: dict[str, _Record] = {}
    for file_name, patch in kept.items():
        stem = Path(file_name).stem
        name, row, col = found.groups() if (found := _NAME.fullmatch(stem)) else (stem, "0", "0")
        origin = patch.transform * Affine.translation(-int(col), -int(row))
        first, grid = products.setdefault(name, (patch, origin))
        if not _is_same_grid((first.crs, grid), (patch.crs, origin), patch.band.shape[0]):
            name, row, col = stem, "0", "0"
            products[name] = (patch, patch.transform)
        places[file_name] = {"Product": name, "PatchRow": row, "PatchCol": col}
    described = [
        {
            "name": name,
            "crs": patch.crs.to_string(),
            "transform": list(origin)[:6],
            "spacing_m": list(patch.spacing_m),
            "acquired": "-".join(filter(None, (patch.record[part] for part in ("Year", "Month", "Day")))) or None,
        }
        for name, (patch, origin) in products.items()
    ]
    return described, places
