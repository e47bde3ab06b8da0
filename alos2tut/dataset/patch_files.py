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
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, BinaryIO, Literal, TypeAlias

import numpy as np
import yaml
from affine import Affine
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, Field
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from ..core.artifacts import atomic_path, make_folder, read_json, sha256_file, write_json
from ..core.config import from_dict
from ..core.errors import Alos2TutError, warn
from ..core.progress import progress_bar
from ..core.tables import read_table
from ..core.version import __version__
from ..products.metadata import POLARIZATIONS, MapGrid
from ..products.rasters import LONLAT, RasterBand, reprojected
from ..products.sources import FileSource
from .balance import histogram
from .encoding import NO_DATA, STEPS_PER_DB, encode_db, same_spacing, step_sums
from .labels import LabelMap, label_files
from .legend import IGNORE, Legend, load_legend
from .splits import away_from, check_ground, enclosing_boxes, ground_blocks
from .store import (
    AUTHORS_COLUMNS,
    OUR_COLUMNS,
    SCHEMA,
    SPLITS,
    STORE_OF,
    STORES,
    PatchDataset,
    Polarization,
    Quantity,
    describe_content,
    open_dataset,
    our_columns,
)

PATCHES_SCHEMA = "alos2tut-patches-1"
_LABEL_SUFFIX = "_label.tif"
_CORNERS = ("MinLon", "MinLat", "MaxLon", "MaxLat")
#: lists give four decimals; the place of a patch may differ from its file's by so much, about 20 m
_BOX_TOLERANCE_DEG = 2e-4
#: grids that differ by less than this share of a pixel are one
_SAME_GRID_PX = 0.01
#: side of the ground blocks that are noted where nothing says what it was
_BLOCK_M = 10_000.0
_LARGEST_DB = (-(NO_DATA + 1)) / STEPS_PER_DB
_NAME = re.compile(r"(.+)_(\d+)_(\d+)")

_Record: TypeAlias = dict[str, str]
#: the lines of a list, each with its place for messages
_Table: TypeAlias = list[tuple[_Record, str]]


# --- out


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
    folder = Path(folder)
    _check_empty(folder)
    if dataset.channels != 1:
        raise Alos2TutError(f"has {dataset.channels} channels; patch files hold one", where=dataset.path)
    make_folder(folder.parent)
    with atomic_path(folder) as target:
        target.mkdir()
        for store in STORES:
            _export_store(dataset, store, target, progress)
        for name in SPLITS:
            _write_table(target / f"{name}.csv", AUTHORS_COLUMNS, dataset.split(name).table)
        legend = yaml.safe_dump(dataset.legend.to_dict(), allow_unicode=True, sort_keys=False)
        (target / "legend.yaml").write_text(legend, encoding="utf-8")
        write_json(target / "patches.json", _description(dataset))
    return folder


def _check_empty(folder: Path) -> None:
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise Alos2TutError("exists and is not empty", where=folder, remedy="Name another folder, or remove it.")


def _description(dataset: PatchDataset) -> dict[str, Any]:
    """What patches alone do not say."""
    content = dataset.content
    kept = ("quantity", "polarizations", "spacing_m", "statistics", "settings", "patch_px")
    return {
        "schema": PATCHES_SCHEMA,
        "version": __version__,
        "legend": dataset.legend.to_dict(),
        "simulated": dataset.simulated,
        **{key: content[key] for key in kept},
    }


def _export_store(dataset: PatchDataset, store: str, target: Path, progress: bool | None) -> None:
    """The patches of one store, each once however many lists name it."""
    grids, written = _grids(dataset), set()
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
        crs, transform = _place(grids, record, where=dataset.path)
        make_folder(path.parent)
        tags = {"SCALE": "dB", "QUANTITY": dataset.signal["quantity"], "PRODUCT": record["Product"]}
        tags["SOURCE"] = "simulated" if dataset.simulated else "ALOS-2 PALSAR-2, (c) JAXA"
        path.write_bytes(_geotiff(part.db(index)[0], crs, transform, tags, no_data=np.nan, predictor=3))
        labels = _geotiff(part.gather([index])[1][0], crs, transform, {}, no_data=IGNORE, legend=dataset.legend)
        _label_path(path).write_bytes(labels)


def _grids(dataset: PatchDataset) -> dict[str, tuple[CRS, Affine]]:
    """Coordinate system and transform of each product's pixels after looks."""
    looks = Affine.scale(dataset.content["settings"].get("looks", 1))
    products = dataset.content.get("products", ())
    return {p["name"]: (CRS.from_string(p["crs"]), Affine(*p["transform"]) * looks) for p in products}


def _place(grids: Mapping[str, tuple[CRS, Affine]], record: Mapping[str, str], *, where: Path) -> tuple[CRS, Affine]:
    name = record["Product"]
    if name not in grids:
        raise Alos2TutError(f"a list names the product '{name}', which dataset.json does not describe", where=where)
    crs, transform = grids[name]
    return crs, transform * Affine.translation(int(record["PatchCol"]), int(record["PatchRow"]))


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


@dataclass(frozen=True)
class _Patch:
    """A patch file that a list names.

    Attributes:
        record: the first list's line.
        where: that list and the row, for messages.
        band: its pixels.
        crs, transform: its place.
        box_deg: (4,) west, south, east, north.
        label: the label file beside it, if there is one.
    """

    record: _Record
    where: str
    band: RasterBand
    crs: CRS
    transform: Affine
    box_deg: NDArray[np.float64]
    label: RasterBand | None

    @property
    def side(self) -> int:
        """Pixels."""
        return self.band.shape[0]


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
    folder, out = Path(folder), Path(out)
    _check_empty(out)
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
    content = {
        "schema": SCHEMA,
        "version": __version__,
        "imported": {"lists": names, "on_overlap": on_overlap, "settings": settings},
        "settings": {"looks": 1, "block_m": described.settings.block_m, "buffer_m": buffer_m},
        "made_from": {f"list {name}": sha256_file(folder / file) for name, file in names.items()},
        "labels": [Path(file).name for file in files],
        "quantity": quantity or described.quantity,
        "polarizations": list(stated or [_polarization_of(found)]),
        "simulated": described.simulated,
        "spacing_m": _stated_spacing(described.spacing_m, next(iter(found.values())), folder),
    }
    make_folder(out.parent)
    with atomic_path(out) as target, LabelMap(files, known) as rasters:
        target.mkdir()
        _pack(target, content, apart, found, known, rasters, progress)
        # what cannot be opened is not left
        open_dataset(target)
    return out


_Distance = Annotated[float, Field(ge=0, lt=2e7)]


class _Arguments(BaseModel):
    """What :func:`import_patches` may be asked."""

    lists: dict[Literal["pretrain", "train", "val", "test"], Any]
    quantity: Quantity | None
    polarization: Polarization | None
    buffer_m: _Distance | None
    on_overlap: Literal["raise", "drop"]


class _Settings(BaseModel):
    buffer_m: _Distance = 0.0
    block_m: Annotated[float, Field(ge=1, lt=2e7)] = _BLOCK_M


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


def _read_list(path: Path) -> _Table:
    if not path.is_file():
        raise Alos2TutError("there is no such list", where=path, remedy="Name the files of the lists: lists={…}.")
    records = read_table(path, AUTHORS_COLUMNS)
    if not records:
        raise Alos2TutError("the list is empty", where=path)
    # the header does not count here
    table = [
        ({column: record[column] for column in AUTHORS_COLUMNS}, f"{path}, row {number - 1}")
        for number, record in records
    ]
    for record, where in table:
        _check_record(record, where)
    return table


def _check_record(record: _Record, where: str) -> None:
    for column in (*_CORNERS, "Latitude", "Longitude", "Category"):
        try:
            value = float(record[column])
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise Alos2TutError(f"{column} is no number: {record[column]!r}", where=where)
    if not record["FileName"]:
        raise Alos2TutError("names no file", where=where)


def _inside(record: Mapping[str, str], *, where: str) -> PurePosixPath:
    """The patch's path within its folder; one that leads out of it is refused."""
    path = PurePosixPath(record["FolderPath"].replace("\\", "/")) / record["FileName"]
    if path.is_absolute() or ".." in path.parts or PurePosixPath(record["FileName"]).name != record["FileName"]:
        raise Alos2TutError(f"the path '{path}' leads elsewhere", where=where)
    return path


# --- patches


def _open_patches(folder: Path, tables: Mapping[str, _Table], progress: bool | None) -> dict[str, _Patch]:
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
    if band.shape[0] != band.shape[1]:
        raise Alos2TutError(f"a patch is square, this one has {band.shape[0]} × {band.shape[1]} pixels", where=path)
    side = band.shape[0]
    corners = reprojected(
        [band.transform * corner for corner in ((0, side), (side, 0), (0, 0), (side, side))], band.crs, LONLAT
    )
    stated = [float(record[column]) for column in _CORNERS]
    if not np.allclose(corners[:2].ravel(), stated, rtol=0, atol=_BOX_TOLERANCE_DEG):
        place = ", ".join(f"{value:.4f}" for value in corners[:2].ravel())
        raise Alos2TutError(
            f"{record['FileName']} lies at {place}, and the list says {stated}",
            where=where,
            remedy="MinLon, MinLat, MaxLon, MaxLat are the lower left and the upper right corner of the patch.",
        )
    label = _band(_label_path(path), ("uint8",), where) if _label_path(path).is_file() else None
    if label is not None and not _same_grid(label, band):
        raise Alos2TutError("the labels do not lie on the pixels of their patch", where=label.source.where)
    [box] = enclosing_boxes(corners[None])
    return _Patch(record, where, band, band.crs, band.transform, box, label)


def _band(path: Path, dtypes: tuple[str, ...], where: str) -> RasterBand:
    if not path.is_file():
        raise Alos2TutError(f"there is no file {path}", where=where)
    return RasterBand.open(FileSource(path.name, path, path.stat().st_size), dtypes)


def _same_grid(one: RasterBand, other: RasterBand) -> bool:
    if one.shape != other.shape or one.crs != other.crs or one.transform is None or other.transform is None:
        return False
    return _is_same_transform(one.transform, other.transform, one.shape[0])


def _is_same_transform(one: Affine, other: Affine, side: int) -> bool:
    corners = ((0, 0), (side, 0), (0, side))
    moved = [np.subtract(~one * (other * corner), corner) for corner in corners]
    return bool(np.abs(moved).max() < _SAME_GRID_PX)


def _check_alike(patch: _Patch, first: _Patch) -> None:
    if patch.side != first.side:
        raise Alos2TutError(
            f"has {patch.side} pixels a side, the first patch {first.side}", where=patch.band.source.where
        )
    here, there = _spacing_m(patch), _spacing_m(first)
    if not same_spacing(here, there):
        problem = f"has pixels of {here[0]:.4g} × {here[1]:.4g} m, the first patch of {there[0]:.4g} × {there[1]:.4g} m"
        raise Alos2TutError(problem, where=patch.band.source.where)


def _spacing_m(patch: _Patch) -> tuple[float, float]:
    """Metres per pixel, (rows, columns)."""
    return MapGrid(patch.crs, patch.transform).spacing_m(patch.band.shape)


def _stated_spacing(stated: list[float] | None, first: _Patch, folder: Path) -> list[float]:
    """Pixel size for ``dataset.json``: that of ``patches.json`` where there is one, as degrees differ in length."""
    found = [round(metres, 3) for metres in _spacing_m(first)]
    if stated is not None and not same_spacing(stated, found):
        raise Alos2TutError(f"says pixels of {stated} m, and patches have {found} m", where=folder / "patches.json")
    return stated or found


def _apart(
    tables: Mapping[str, _Table], found: Mapping[str, _Patch], buffer_m: float, on_overlap: str, folder: Path
) -> dict[str, list[_Record]]:
    """The lines of each list, of which held-out ground is in no other."""
    lists = {split: [record for record, _ in table] for split, table in tables.items()}
    boxes = {split: np.array([found[r["FileName"]].box_deg for r in records]) for split, records in lists.items()}
    if on_overlap == "raise":
        try:
            check_ground(boxes, buffer_m, where=str(folder))
        except Alos2TutError as error:
            remedy = "Scores on such lists would be too good. Let training give way: on_overlap='drop'."
            raise Alos2TutError(error.problem, where=error.where, remedy=remedy) from None
        return lists
    for split, others in (("val", ("test",)), ("pretrain", ("val", "test")), ("train", ("val", "test"))):
        far = away_from(boxes[split], np.concatenate([boxes[other] for other in others]), buffer_m)
        if not far.all():
            warn(f"{(~far).sum()} of {len(far)} patches of '{split}' lie too near to held-out ground and are dropped")
        lists[split] = [record for record, is_far in zip(lists[split], far, strict=True) if is_far]
        boxes[split] = boxes[split][far]
        if not lists[split]:
            raise Alos2TutError(f"nothing is left of the list '{split}'", where=folder)
    return lists


# --- the packed dataset


@dataclass(frozen=True)
class _Row:
    """What a store got of a patch.

    Attributes:
        row: its row in the store.
        valid, labelled: shares of the pixels.
        counts: (C,) pixels of each class.
        sums: of its steps, for the statistics.
    """

    row: int
    valid: float
    labelled: float
    counts: NDArray[np.int64]
    sums: tuple[int, int, int]


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
    kept = {name: found[name] for members in stores.values() for name in members}
    labelled = {name for split in ("train", "val", "test") for name in names[split]}
    rows: dict[str, _Row] = {}
    for store, members in stores.items():
        work = progress_bar(members, f"reading {store}", "patch", show=progress)
        pixels = ((name, *_read_patch(kept[name], legend, rasters, name in labelled)) for name in work)
        shape = (len(members), *kept[members[0]].band.shape)
        rows |= _write_store(target, store, shape, pixels, len(legend))
    products, places = _products(kept)
    boxes = np.array([patch.box_deg for patch in kept.values()])
    blocks = ground_blocks(boxes, content["settings"]["block_m"])
    ours = {
        name: {
            **places[name],
            **our_columns(rows[name].row, block, rows[name].valid, rows[name].labelled, box),
        }
        for name, box, block in zip(kept, boxes, blocks, strict=True)
    }
    for split, records in lists.items():
        table = [record | ours[record["FileName"]] for record in records]
        _write_table(target / f"{split}.csv", AUTHORS_COLUMNS + OUR_COLUMNS, table)
    content["made_from"]["patches"] = _digest(kept.values())
    content["products"] = products
    content |= _described(target, names, rows, legend, next(iter(kept.values())))
    write_json(target / "dataset.json", content)


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
    classes = _labels(patch, legend, rasters)
    if is_labelled and patch.label is None and (classes == IGNORE).all():
        raise Alos2TutError(
            f"no label is known for {patch.record['FileName']}",
            where=patch.where,
            remedy="Give label rasters of its ground (labels=…), or put label files beside the patches.",
        )
    return encode_db(values), np.where(np.isnan(values), np.uint8(IGNORE), classes)


def _labels(patch: _Patch, legend: Legend, rasters: LabelMap) -> NDArray[np.uint8]:
    if patch.label is None:
        return rasters.classes_on(patch.crs, patch.transform, patch.band.shape)
    classes: NDArray[np.uint8] = _pixels(patch.label)
    wrong = classes[(classes >= len(legend)) & (classes != IGNORE)]
    if wrong.size:
        raise Alos2TutError(
            f"holds class {wrong[0]}, and the last one of the legend '{legend.name}' is {len(legend) - 1}",
            where=patch.label.source.where,
            remedy="Label files hold class indices, not raw codes. Name their legend: legend=….",
        )
    return classes


def _pixels(band: RasterBand) -> NDArray[Any]:
    [values] = band.strips(slice(0, band.shape[0]), slice(0, band.shape[1]), band.shape[0])
    return values


def _begin_array(file: BinaryIO, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """The head of a file in NumPy's format, whose numbers come next."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _write_store(
    target: Path,
    store: str,
    shape: tuple[int, int, int],
    pixels: Iterable[tuple[str, NDArray[np.int16], NDArray[np.uint8]]],
    classes: int,
) -> dict[str, _Row]:
    """The two arrays of a store, patch by patch."""
    rows = {}
    with open(target / f"{store}_db.npy", "wb") as db_file, open(target / f"{store}_labels.npy", "wb") as label_file:
        _begin_array(db_file, np.int16, (shape[0], 1, *shape[1:]))
        _begin_array(label_file, np.uint8, shape)
        for row, (name, steps, labels) in enumerate(pixels):
            db_file.write(steps.tobytes())
            label_file.write(labels.tobytes())
            counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:classes]
            valid, labelled = ((array != none).mean() for array, none in ((steps, NO_DATA), (labels, IGNORE)))
            rows[name] = _Row(row, float(valid), float(labelled), counts, step_sums(steps))
    return rows


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
        if patch.crs != first.crs or not _is_same_transform(grid, origin, patch.side):
            name, row, col = stem, "0", "0"
            products[name] = (patch, patch.transform)
        places[file_name] = {"Product": name, "PatchRow": row, "PatchCol": col}
    described = [
        {
            "name": name,
            "crs": patch.crs.to_string(),
            "transform": list(origin)[:6],
            "spacing_m": list(_spacing_m(patch)),
            "acquired": "-".join(filter(None, (patch.record[part] for part in ("Year", "Month", "Day")))) or None,
        }
        for name, (patch, origin) in products.items()
    ]
    return described, places


def _digest(patches: Iterable[_Patch]) -> str:
    """One hash of all files of patches and labels."""
    digest = hashlib.sha256()
    for patch in patches:
        for band in filter(None, (patch.band, patch.label)):
            digest.update(f"{band.source.name}:{sha256_file(band.source.path)};".encode())
    return digest.hexdigest()


def _described(
    target: Path, names: Mapping[str, list[str]], rows: Mapping[str, _Row], legend: Legend, first: _Patch
) -> dict[str, Any]:
    """What ``dataset.json`` says of signal, classes and files."""
    pixels = {split: np.sum([rows[name].counts for name in members], axis=0) for split, members in names.items()}
    patches = {split: len(members) for split, members in names.items()}
    sums = [sum(column) for column in zip(*(rows[name].sums for name in names["pretrain"]), strict=True)]
    classes = histogram(np.array([row.counts for row in rows.values()]), legend.names)
    return {
        "patch_px": first.side,
        "balance": {"before": classes, "after": classes, "dropped": {}},
        **describe_content(target, legend, patches, pixels, [sums]),
    }
