"""From products and a label map to a packed dataset of patches.

Per product: calibrate, average looks in power, take dB, cut the non-overlapping grid, warp the labels by nearest
neighbour, merge their codes to classes. Then over all products: deal ground blocks to the splits, count, write.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window

from . import __version__
from .artifacts import atomic_path, fingerprint, make_folder, sha256_file, stage_dir, write_json
from .config import DatasetConfig, settings_for_key
from .dataset import NO_DATA, SCHEMA, SPLITS, STEPS_PER_DB, STORE_OF, encode_db, same_spacing
from .errors import Alos2TutError, Alos2TutWarning
from .legend import IGNORE, Legend, load_legend
from .opening import open_product
from .products import Product
from .progress import progress_bar

#: the authors' twelve columns, in their order (arXiv 2603.15119), then ours
AUTHORS_COLUMNS = ["Year", "Month", "Day", "FolderPath", "FileName", "MinLon", "MinLat", "MaxLon", "MaxLat"]
AUTHORS_COLUMNS += ["Latitude", "Longitude", "Category"]
OUR_COLUMNS = ["Row", "Product", "PatchRow", "PatchCol", "Block", "ValidFraction", "LabelledFraction"]
_LONLAT = CRS.from_epsg(4326)
_NO_LABEL = -1
#: rows of labels that are looked up at once
_STRIP = 256
_DRAWS = 400
_METRES_PER_DEGREE = 111_320.0


@dataclass
class _Patch:
    """One patch on its way into a list."""

    record: dict[str, Any]
    #: left, bottom, right, top in degrees
    box: tuple[float, float, float, float]
    #: ground block, on a grid that is the same for all products
    block: tuple[int, int]
    #: pixels per class
    counts: NDArray[np.int64]
    labelled_fraction: float


def build_dataset(config: DatasetConfig, *, progress: bool | None = None) -> Path:
    """Build a packed dataset, or reuse the one that these settings and inputs made before.

    Args:
        config: products, labels, legend and settings; see :class:`alos2tut.config.DatasetConfig`. One polarisation is
            read from all products: the one named, else the first product's choice.
        progress: show bars; None: only where someone watches.

    Returns:
        The folder ``<work_dir>/dataset-<hash>``: stores, lists, ``dataset.json``.

    Raises:
        Alos2TutError: no products or labels given, products that differ in polarisation, quantity or pixel size,
            labels that do not cover them, codes outside the legend, no patch left after filtering, a split left
            empty, or, with ``require_all_classes``, a class missing from a split.
    """
    for name in ("products", "labels"):
        if not getattr(config, name):
            raise Alos2TutError(f"no {name} given", where="dataset settings", remedy=f"Set {name}=[…].")
    products = [open_product(path, crs=config.crs) for path in config.products]
    legend = load_legend(config.legend)
    # written out, so that it counts in the artifact's key and holds for every product
    polarization = products[0].choose_polarization(config.polarization)
    config = replace(config, labels=label_files(config.labels), polarization=polarization)
    _check_alike(products, config)
    _check_ground(products, config.labels)
    made_from = {f"product {i}": p.fingerprint for i, p in enumerate(products)}
    made_from |= {f"label {i}": _label_fingerprint(path) for i, path in enumerate(config.labels)}
    target = stage_dir(config.work_dir, "dataset", settings_for_key(config) | {"legend": legend.to_dict()}, made_from)
    if (target / "dataset.json").is_file():
        print(f"reusing {target}")
        return target
    make_folder(target.parent)
    with atomic_path(target) as folder:
        folder.mkdir()
        scratch_db, scratch_labels = folder / "scratch_db", folder / "scratch_labels"
        with open(scratch_db, "wb") as db_file, open(scratch_labels, "wb") as label_file:
            patches = [
                patch
                for product in products
                for patch in _cut_product(product, config, legend, db_file, label_file, progress)
            ]
        lists = _deal(patches, config, legend)
        shape = (len(patches), 1, config.patch_px, config.patch_px)
        stores = _write_stores(folder, lists, scratch_db, scratch_labels, shape)
        scratch_db.unlink()
        scratch_labels.unlink()
        for split in SPLITS:
            _write_list(folder / f"{split}.csv", patches, lists[split], stores[STORE_OF[split]])
        content = _describe(folder, config, products, legend, made_from)
        content["splits"] = {split: _summary(patches, lists[split], legend) for split in SPLITS}
        content["class_weights"] = _class_weights(content["splits"]["train"]["class_pixels"])
        write_json(folder / "dataset.json", content)
    return target


def label_files(paths: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Label rasters by name: files as they are given, and for each folder all ``*.tif`` in it, sorted.

    Raises:
        Alos2TutError: a folder without any.
    """
    files: list[str] = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        found = [str(file) for file in sorted(Path(path).glob("*.tif"))] if Path(path).is_dir() else [str(path)]
        if not found:
            raise Alos2TutError("the folder holds no label raster (*.tif)", where=path)
        files += found
    return tuple(files)


def warp_labels(
    labels: Sequence[str | Path], crs: CRS, transform: Affine, shape: tuple[int, int], legend: Legend | None = None
) -> NDArray[np.int32]:
    """Raw label codes on a grid, by nearest neighbour and exact coordinates.

    Args:
        labels: single-band integer rasters in any CRS; where several overlap the first one counts.
        crs: of the grid.
        transform: of the grid.
        shape: rows and columns of the grid.
        legend: codes that it does not know are refused; None: any code will do.

    Returns:
        int32 codes, −1 where no raster lies.

    Raises:
        Alos2TutError: a raster that cannot be opened, has no CRS, several bands, no small integers, or codes outside
            the legend.
    """
    codes = np.full(shape, _NO_LABEL, dtype=np.int32)
    for path in labels:
        with _open_labels(path) as source:
            for first in range(0, shape[0], _STRIP):
                frame = transform * Affine.translation(0, first)
                taken = _fill_from(source, crs, frame, codes[first : first + _STRIP])
                if legend is not None:
                    legend.to_classes(taken, where=path)
    return codes


def _fill_from(source: Any, crs: CRS, transform: Affine, codes: NDArray[np.int32]) -> NDArray[np.integer[Any]]:
    """Give pixels without a code that of the raster's pixel in which their centre lies; returns the codes given.

    Coordinates are those of every single centre: GDAL's warper interpolates between some, which is a few hundredths
    of a label pixel off (and rasterio does not hand it a tolerance of zero).
    """
    cols, rows = np.meshgrid(np.arange(codes.shape[1]) + 0.5, np.arange(codes.shape[0]) + 0.5)
    places = _places_in(source, crs, transform, cols.ravel(), rows.ravel())
    cols, rows = (np.floor(values).reshape(codes.shape) for values in places)
    inside = (codes == _NO_LABEL) & (rows >= 0) & (rows < source.height) & (cols >= 0) & (cols < source.width)
    if not inside.any():
        return np.empty(0, dtype=codes.dtype)
    row, col = rows[inside].astype(int), cols[inside].astype(int)
    top, left = int(row.min()), int(col.min())
    window = Window(left, top, int(col.max()) - left + 1, int(row.max()) - top + 1)
    try:
        values = source.read(1, window=window)
    except RasterioError as error:
        raise Alos2TutError(f"the label raster cannot be read ({error})", where=source.name) from None
    taken: NDArray[np.integer[Any]] = values[row - top, col - left]
    codes[inside] = taken
    return taken


def _places_in(
    source: Any, crs: CRS, transform: Affine, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows in a raster of points that are given by column and row of a grid."""
    x, y = transform * (cols, rows)
    if source.crs != crs:
        x, y = (np.array(values) for values in reproject_points(crs, source.crs, x, y))
    found: tuple[NDArray[np.float64], NDArray[np.float64]] = ~source.transform * (x, y)
    return found


def label_classes(product: Product, labels: Sequence[str | Path], legend: Legend, looks: int = 1) -> NDArray[np.uint8]:
    """Class indices on the grid of a whole product at so many looks, (⌈rows/looks⌉, ⌈columns/looks⌉) uint8."""
    shape = (math.ceil(product.shape[0] / looks), math.ceil(product.shape[1] / looks))
    codes = warp_labels(labels, product.crs, product.transform * Affine.scale(looks), shape, legend)
    return legend.to_classes(codes)


def _open_labels(path: str | Path) -> Any:
    try:
        source = rasterio.open(path)
    except RasterioError as error:
        raise Alos2TutError(f"the label raster cannot be opened ({error})", where=path) from None
    if source.crs is None:
        raise Alos2TutError("the label raster states no coordinate system", where=path)
    if source.count != 1:
        raise Alos2TutError(
            f"the label raster has {source.count} bands, not one of codes", where=path, remedy="Extract that band."
        )
    if source.dtypes[0] not in ("uint8", "int8", "uint16", "int16"):
        raise Alos2TutError(f"the label raster holds {source.dtypes[0]}, not small integer codes", where=path)
    return source


def _label_fingerprint(path: str | Path) -> str:
    _open_labels(path).close()
    return fingerprint(path)


def _check_alike(products: list[Product], config: DatasetConfig) -> None:
    """All patches of a dataset have one polarisation, one quantity and one pixel size."""
    first = products[0]
    for product in products:
        if config.polarization not in product.polarizations:
            raise Alos2TutError(
                f"holds {', '.join(product.polarizations)}, but {config.polarization} is read from the first product, "
                f"{first.name}",
                where=product.path,
                remedy="Name a polarisation that all products hold (polarization=…), or leave this one out.",
            )
        if product.quantity != first.quantity:
            raise Alos2TutError(f"is {product.quantity}, the first product is {first.quantity}", where=product.path)
        if not same_spacing(product.spacing_m, first.spacing_m):
            raise Alos2TutError(
                f"has pixels of {product.spacing_m} m, the first product of {first.spacing_m} m", where=product.path
            )
        if min(product.shape) // config.looks < config.patch_px:
            raise Alos2TutError(
                f"{product.shape[0]} × {product.shape[1]} pixels at {config.looks} looks hold no patch of "
                f"{config.patch_px} px",
                where=product.path,
                remedy="Choose a smaller patch_px or fewer looks.",
            )


def _check_ground(products: list[Product], labels: Sequence[str]) -> None:
    """Some label raster may cover some of each product: told by outlines, before any pixel is read."""
    for product in products:
        for path in labels:
            with _open_labels(path) as source:
                if _may_cover(source, product):
                    break
        else:
            raise _elsewhere(product, labels)


def _may_cover(source: Any, product: Product) -> bool:
    """Whether the product's outline, in the raster's pixels, reaches into the raster; yes, where that is unclear."""
    along, start, end = np.linspace(0, 1, 33), np.zeros(33), np.ones(33)
    cols = np.concatenate([along, along, start, end]) * product.shape[1]
    rows = np.concatenate([start, end, along, along]) * product.shape[0]
    cols, rows = _places_in(source, product.crs, product.transform, cols, rows)
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return True
    across = cols.max() > 0 and cols.min() < source.width
    return bool(across and rows.max() > 0 and rows.min() < source.height)


def _elsewhere(product: Product, labels: Sequence[str]) -> Alos2TutError:
    return Alos2TutError(
        f"does not overlap the product {product.name}",
        where=", ".join(labels),
        remedy="Give the label tiles of the product's ground; `info` prints its bounds.",
    )


def _cut_product(
    product: Product,
    config: DatasetConfig,
    legend: Legend,
    db_file: BinaryIO,
    label_file: BinaryIO,
    progress: bool | None,
) -> Iterator[_Patch]:
    """The kept patches of one product, row of patches by row; pixels go to the scratch files in that order."""
    n, looks = config.patch_px, config.looks
    transform = product.transform * Affine.scale(looks)
    rows, cols = (size // looks // n for size in product.shape)
    covered = False
    for row in progress_bar(range(rows), product.image_name(config.polarization), "row", show=progress):
        window = (row * n * looks, 0, n * looks, cols * n * looks)
        db = product.read_db(window, polarization=config.polarization, looks=looks)
        frame = transform * Affine.translation(0, row * n)
        codes = warp_labels(config.labels, product.crs, frame, db.shape, legend)
        covered |= bool((codes != _NO_LABEL).any())
        classes = legend.to_classes(codes)
        classes[np.isnan(db)] = IGNORE
        for col in range(cols):
            part = (slice(None), slice(col * n, (col + 1) * n))
            patch = _describe_patch(product, config, legend, (row, col), db[part], codes[part], classes[part])
            if patch is not None:
                db_file.write(encode_db(db[part]).tobytes())
                label_file.write(np.ascontiguousarray(classes[part]).tobytes())
                yield patch
    if not covered:
        raise _elsewhere(product, config.labels)


def _describe_patch(
    product: Product,
    config: DatasetConfig,
    legend: Legend,
    place: tuple[int, int],
    db: NDArray[np.float32],
    codes: NDArray[np.int32],
    classes: NDArray[np.uint8],
) -> _Patch | None:
    """The patch's list entry, or None if it is not worth keeping."""
    n = config.patch_px
    valid = float(np.isfinite(db).mean())
    counts = np.bincount(classes[classes != IGNORE], minlength=len(legend))
    for name, share in config.max_class_share.items():
        if name not in legend.names:
            raise Alos2TutError(f"max_class_share names '{name}', which is no class", where=f"legend '{legend.name}'")
        if counts[legend.names.index(name)] > share * n * n:
            return None
    if valid < config.min_valid_fraction:
        return None
    row, col = place[0] * n, place[1] * n
    transform = product.transform * Affine.scale(config.looks) * Affine.translation(col, row)
    # the four corners and the pixel nearest the centre
    points = [transform * point for point in ((0, 0), (n, 0), (0, n), (n, n), (n // 2 + 0.5, n // 2 + 0.5))]
    longitude, latitude = reproject_points(product.crs, _LONLAT, *zip(*points, strict=True))
    box = (min(longitude[:4]), min(latitude[:4]), max(longitude[:4]), max(latitude[:4]))
    # a lattice in degrees is the same for every product and UTM zone; rows of blocks set the width of a degree
    block_deg = config.block_m / _METRES_PER_DEGREE
    block_row = math.floor((box[1] + box[3]) / 2 / block_deg)
    width_deg = block_deg / max(math.cos(math.radians((block_row + 0.5) * block_deg)), 0.01)
    block = (block_row, math.floor((box[0] + box[2]) / 2 / width_deg))
    year, month, day = _date(product)
    image_name = product.image_name(config.polarization)
    record = {
        "Year": year,
        "Month": month,
        "Day": day,
        "FolderPath": "/".join(part for part in (year, month, day) if part),
        "FileName": f"{image_name}_{row}_{col}.tif",
        # the authors give the lower left and the upper right corner of the square
        "MinLon": f"{longitude[2]:.4f}",
        "MinLat": f"{latitude[2]:.4f}",
        "MaxLon": f"{longitude[1]:.4f}",
        "MaxLat": f"{latitude[1]:.4f}",
        "Latitude": f"{latitude[4]:.4f}",
        "Longitude": f"{longitude[4]:.4f}",
        "Category": max(int(codes[n // 2, n // 2]), 0),
        "Product": image_name,
        "PatchRow": row,
        "PatchCol": col,
        "Block": f"{block[0]}_{block[1]}",
        "ValidFraction": f"{valid:.4f}",
        "LabelledFraction": f"{counts.sum() / (n * n):.4f}",
    }
    return _Patch(record, box, block, counts, float(counts.sum() / (n * n)))


def _date(product: Product) -> tuple[str, str, str]:
    """Year, month and day of acquisition, as far as the product states them."""
    parts = (product.acquired or "")[:10].split("-")
    year, month, day = (*parts, "", "")[:3]
    return year, month, day


def _deal(patches: list[_Patch], config: DatasetConfig, legend: Legend) -> dict[str, list[int]]:
    """Whole ground blocks to validation, test and training ground; then the buffer between them.

    Blocks are drawn at random many times and the draw is kept whose splits come nearest to the wanted sizes and to the
    class shares of the whole.
    """
    if not patches:
        raise Alos2TutError(
            "no patch is left after filtering",
            where="dataset settings",
            remedy="Lower min_valid_fraction or patch_px, or relax max_class_share.",
        )
    blocks = sorted({patch.block for patch in patches})
    members = {block: [i for i, patch in enumerate(patches) if patch.block == block] for block in blocks}
    if len(blocks) < 3:
        raise Alos2TutError(
            f"{len(patches)} patches lie in {len(blocks)} ground block(s); three splits need at least 3",
            where="block_m",
            remedy=f"Choose a smaller block_m than {config.block_m:g}.",
        )
    role = _best_draw(np.array([len(members[b]) for b in blocks]), _block_counts(patches, blocks, members), config)
    ground = {
        name: [i for block, r in zip(blocks, role, strict=True) if r == code for i in members[block]]
        for code, name in enumerate(("pretrain", "val", "test"))
    }
    ground["val"] = _away_from(ground["val"], ground["test"], patches, config.buffer_m)
    ground["pretrain"] = _away_from(ground["pretrain"], ground["val"] + ground["test"], patches, config.buffer_m)
    enough = config.min_labelled_fraction
    lists = {name: [i for i in ground[name] if patches[i].labelled_fraction >= enough] for name in ("val", "test")}
    lists["train"] = [i for i in ground["pretrain"] if patches[i].labelled_fraction >= enough]
    lists["pretrain"] = ground["pretrain"]
    _check_lists(lists, patches, config, legend)
    return lists


def _block_counts(
    patches: list[_Patch], blocks: list[tuple[int, int]], members: dict[tuple[int, int], list[int]]
) -> NDArray[np.float64]:
    return np.array([sum(patches[i].counts for i in members[block]) for block in blocks], dtype=np.float64)


def _best_draw(sizes: NDArray[np.int64], counts: NDArray[np.float64], config: DatasetConfig) -> NDArray[np.int64]:
    """Roles of blocks (0 training, 1 val, 2 test) from the best of many seeded draws."""
    rng = np.random.default_rng([config.seed, 11])
    wanted = np.array([1 - config.val_fraction - config.test_fraction, config.val_fraction, config.test_fraction])
    if wanted[0] <= 0:
        raise Alos2TutError("val_fraction + test_fraction leave nothing to train on", where="dataset settings")
    class_totals = np.maximum(counts.sum(axis=0), 1)
    best, best_cost = np.zeros(len(sizes), dtype=np.int64), math.inf
    for _ in range(_DRAWS):
        order = rng.permutation(len(sizes))
        share = np.cumsum(sizes[order]) / sizes.sum()
        n_val = max(1, int((share <= wanted[1]).sum()))
        n_test = max(1, int((share <= wanted[1] + wanted[2]).sum()) - n_val)
        role = np.zeros(len(sizes), dtype=np.int64)
        role[order[:n_val]], role[order[n_val : n_val + n_test]] = 1, 2
        got = np.array([sizes[role == r].sum() for r in range(3)]) / sizes.sum()
        by_class = np.array([counts[role == r].sum(axis=0) for r in range(3)]) / class_totals
        # logarithms, so that a class nearly missing from a split weighs as much as one that fills it
        ratios = np.log((by_class[:, counts.sum(axis=0) > 0] + 0.01) / (wanted[:, None] + 0.01))
        uneven = np.abs(ratios).mean() if ratios.size else 0.0
        cost = np.abs(got - wanted).sum() + uneven
        if cost < best_cost:
            best, best_cost = role, cost
    return best


def _away_from(candidates: list[int], others: list[int], patches: list[_Patch], buffer_m: float) -> list[int]:
    """Those candidates whose ground stays further than ``buffer_m`` from the ground of the others."""
    if not others:
        return candidates
    boxes = np.array([patches[i].box for i in others])
    kept = []
    for i in candidates:
        left, bottom, right, top = patches[i].box
        margin_lat = buffer_m / _METRES_PER_DEGREE
        margin_lon = margin_lat / max(math.cos(math.radians((bottom + top) / 2)), 0.01)
        # touching edges are no overlap; a billionth of a degree is rounding
        apart = (boxes[:, 2] <= left - margin_lon + 1e-9) | (boxes[:, 0] >= right + margin_lon - 1e-9)
        apart |= (boxes[:, 3] <= bottom - margin_lat + 1e-9) | (boxes[:, 1] >= top + margin_lat - 1e-9)
        if apart.all():
            kept.append(i)
    return kept


def _check_lists(lists: dict[str, list[int]], patches: list[_Patch], config: DatasetConfig, legend: Legend) -> None:
    for split in SPLITS:
        if not lists[split]:
            raise Alos2TutError(
                f"the list '{split}' is empty after splitting {len(patches)} patches",
                where="dataset settings",
                remedy="Choose a smaller block_m, buffer_m or min_labelled_fraction, or give more products.",
            )
    for split in ("train", "val", "test"):
        counts = sum(patches[i].counts for i in lists[split])
        absent = [name for name, count in zip(legend.names, np.atleast_1d(counts), strict=True) if count == 0]
        if absent:
            message = f"the list '{split}' has no pixel of: {', '.join(absent)}"
            if config.require_all_classes:
                raise Alos2TutError(message, where="dataset settings", remedy="Give more ground or another seed.")
            effect = "never learned" if split == "train" else "left out of its mIoU"
            # the warning is about the call of build_dataset
            warnings.warn(f"{message} ({effect})", Alos2TutWarning, stacklevel=4)


def _write_stores(
    folder: Path, lists: dict[str, list[int]], scratch_db: Path, scratch_labels: Path, shape: tuple[int, int, int, int]
) -> dict[str, dict[int, int]]:
    """The arrays of the three stores; returns for each the row that every patch got."""
    db = np.memmap(scratch_db, dtype=np.int16, mode="r", shape=shape)
    labels = np.memmap(scratch_labels, dtype=np.uint8, mode="r", shape=(shape[0], *shape[2:]))
    rows = {}
    for store in ("pretrain", "val", "test"):
        order = sorted(lists[store])
        rows[store] = {patch: row for row, patch in enumerate(order)}
        for source, name in ((db, f"{store}_db.npy"), (labels, f"{store}_labels.npy")):
            target = np.lib.format.open_memmap(
                folder / name, mode="w+", dtype=source.dtype, shape=(len(order), *source.shape[1:])
            )
            for patch, row in rows[store].items():
                target[row] = source[patch]
            target.flush()
    return rows


def _write_list(path: Path, patches: list[_Patch], members: list[int], rows: dict[int, int]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, AUTHORS_COLUMNS + OUR_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(patches[i].record | {"Row": rows[i]} for i in members)


def _describe(
    folder: Path, config: DatasetConfig, products: list[Product], legend: Legend, made_from: dict[str, str]
) -> dict[str, Any]:
    """What ``dataset.json`` says about origin, signal and files; no times, hosts or absolute paths."""
    first = products[0]
    mean_db, std_db = _statistics(folder / "pretrain_db.npy")
    return {
        "schema": SCHEMA,
        "version": __version__,
        "settings": settings_for_key(config) | {"legend": legend.name},
        "made_from": made_from,
        "products": [{key: value for key, value in p.to_dict().items() if key != "path"} for p in products],
        "labels": [Path(path).name for path in config.labels],
        "legend": legend.to_dict(),
        "quantity": first.quantity,
        "polarizations": [config.polarization],
        "simulated": any(product.simulated for product in products),
        "spacing_m": [round(config.looks * spacing, 3) for spacing in first.spacing_m],
        "patch_px": config.patch_px,
        "statistics": {"mean_db": [mean_db], "std_db": [std_db]},
        "files": {file.name: sha256_file(file) for file in sorted(folder.iterdir()) if file.suffix in (".npy", ".csv")},
    }


def _statistics(store: Path) -> tuple[float, float]:
    """Mean and spread of dB over the valid pixels of a store, patch by patch."""
    count, total, squares = 0, 0.0, 0.0
    for patch in np.load(store, mmap_mode="r"):
        steps = patch[patch != NO_DATA].astype(np.float64) / STEPS_PER_DB
        count, total, squares = count + steps.size, total + steps.sum(), squares + (steps**2).sum()
    mean = total / count
    return round(mean, 4), round(math.sqrt(max(squares / count - mean**2, 1e-12)), 4)


def _summary(patches: list[_Patch], members: list[int], legend: Legend) -> dict[str, Any]:
    counts = np.sum([patches[i].counts for i in members], axis=0)
    return {"patches": len(members), "class_pixels": dict(zip(legend.names, counts.tolist(), strict=True))}


def _class_weights(class_pixels: dict[str, int]) -> list[float]:
    """(1 − f) / (C − 1) for pixel shares f: the rule that the published weights fit (they sum to one)."""
    counts = np.array(list(class_pixels.values()), dtype=np.float64)
    weights = (1 - counts / counts.sum()) / max(len(counts) - 1, 1)
    return [round(float(weight), 8) for weight in weights]
