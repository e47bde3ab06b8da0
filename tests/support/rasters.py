"""Rasters of known numbers that tests write, and read whole."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from alos2tut.products.rasters import RasterBand
from alos2tut.products.sources import FileSource

FRAME = rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)


SHAPE = (70, 90)


NAME = "IMG-HH.tif"


BASICS = {"crs": rasterio.CRS.from_epsg(32654), "transform": FRAME, "no_data": 0, "tags": {}}


def source(path: Path) -> FileSource:
    return FileSource(path.name, path, path.stat().st_size)


def write_tiff(path: Path, pixels: np.ndarray, **options) -> FileSource:
    """A TIFF by rasterio; it has no Orientation tag."""
    profile = {"count": 1, "height": pixels.shape[0], "width": pixels.shape[1], "dtype": pixels.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        frame = {"crs": "EPSG:32654", "transform": FRAME}
        with rasterio.open(path, "w", **{"driver": "GTiff", **profile, **frame, **options}) as raster:
            raster.write(pixels, 1)
    return source(path)


def numbered(shape: tuple[int, int] = SHAPE, dtype: str = "uint16") -> np.ndarray:
    """Pixels of which no two are alike."""
    numbers = np.arange(1, shape[0] * shape[1] + 1).reshape(shape)
    return (numbers * (1 - 2j) if "complex" in dtype else numbers).astype(dtype)


def whole(band: RasterBand, step: int = 16) -> np.ndarray:
    rows, cols = (slice(0, size) for size in band.shape)
    return np.concatenate(list(band.strips(rows, cols, step)))


def in_blocks(pixels: np.ndarray, rows: int, cols: int | None = None):
    """Blocks of so many rows and columns, the last ones smaller."""
    height, width = pixels.shape
    for row, col in itertools.product(range(0, height, rows), range(0, width, cols or width)):
        part = pixels[row : row + rows, col : col + (cols or width)]
        yield Window(col, row, part.shape[1], part.shape[0]), part
