"""Small packed datasets that are built, and what is asked of them: :mod:`support.packed` writes others directly."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.warp import transform as reproject_points
from support.products import TIFF_NAME, write_geotiff

from alos2tut import Alos2TutWarning, build_dataset, load_config, open_product
from alos2tut.dataset.store import PatchDataset

#: that :func:`build` adds
SETTINGS = {"patch_px": 32, "block_m": 640, "buffer_m": 0, "min_valid_fraction": 0.5, "min_labelled_fraction": 0.95}
#: of an archive of small products
SMALL = {"block_m": 320, "patch_px": 16, "crs": "EPSG:32654"}


def build(**settings: object) -> Path:
    """Build with the quick profile, these settings, and no reminders of absent classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        return build_dataset(load_config("dataset", **{**SETTINGS, **settings}))


def labels_of(scene: Path) -> Path:
    """The label tile of a simulated product."""
    return scene / "labels" / "LC_N35E139.tif"


def shifted_copy(scene: Path, folder: Path) -> Path:
    """The same ground a second time, as a GeoTIFF whose grid starts 21 rows and 37 columns further in."""
    product = open_product(scene)
    dn = np.nan_to_num(product.read_dn())[21:, 37:]
    return write_geotiff(folder / TIFF_NAME, dn, product.transform * rasterio.Affine.translation(37, 21))


def codes_over(scene: Path, codes: np.ndarray, path: Path, *, half: bool = False, **options: object) -> Path:
    """A label raster over the whole product, or its left half."""
    product = open_product(scene)
    width = product.shape[1] / (2 if half else 1)
    scale = rasterio.Affine.scale(width / codes.shape[1], product.shape[0] / codes.shape[0])
    return write_geotiff(path, codes, product.transform * scale, **options)


def rows_of(dataset: PatchDataset, split: str) -> list[dict[str, str]]:
    """A list as any reader of CSV finds it."""
    return list(csv.DictReader((dataset.path / f"{split}.csv").read_text().splitlines()))


def content_of(folder: Path) -> dict[str, bytes]:
    """Bytes of each file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def boxes_m(dataset: PatchDataset, split: str, *products: Path, crs: str = "EPSG:32654") -> np.ndarray:
    """Left, bottom, right, top in metres around every patch, from its place in its product; on one grid for all."""
    opened = {product.name: product for product in map(open_product, products)}
    boxes = []
    for record in rows_of(dataset, split):
        product, n = opened[record["Product"]], 2 * dataset.patch_px
        row, col = 2 * int(record["PatchRow"]), 2 * int(record["PatchCol"])
        corners = [product.transform * p for p in ((col, row), (col + n, row), (col, row + n), (col + n, row + n))]
        x, y = reproject_points(product.crs, crs, *zip(*corners, strict=True))
        boxes.append((min(x), min(y), max(x), max(y)))
    return np.array(boxes)


def smallest_gap_m(one: np.ndarray, other: np.ndarray) -> float:
    """Smallest distance between boxes of two lists; negative where they overlap."""
    gaps = np.maximum(one[:, None, :2] - other[None, :, 2:], other[None, :, :2] - one[:, None, 2:])
    distance = np.hypot(*np.moveaxis(np.maximum(gaps, 0), -1, 0))
    return float(np.where(gaps.max(axis=-1) < 0, gaps.max(axis=-1), distance).min())
