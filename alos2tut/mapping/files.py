"""Land-cover maps as files: what they say of themselves, and how they lie on the ground. No torch, no matplotlib."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError

from .. import geometry
from ..core.errors import Alos2TutError
from ..dataset.legend import IGNORE, Legend
from ..products.metadata import ImageGrid, MapGrid
from ..products.rasters import LONLAT, RasterBand, open_raster, reprojected
from ..products.sources import FileSource

_CLASS_TAG = re.compile(r"CLASS_(\d{1,3})")
#: tag of a map that is nearly constant, which says so
HEADLINE = "HEADLINE"
#: rows of a strip, which is what is read at once
STRIP_ROWS = 256


def map_file(out_path: str | Path, name: str) -> Path:
    """Where a map's other files lie: ``<stem>_<name>`` beside it.

    The name is "probability", "entropy", "difference" (rasters), "agreement", "stac" (JSON), "preview" (PNG), or
    "classes", which is the map itself. Others prescribe what "categories" (GDAL) and "style" (QGIS) are called.
    """
    path = Path(out_path)
    if name == "classes":
        return path
    if name in ("categories", "style"):
        return path.with_name(f"{path.name}.aux.xml") if name == "categories" else path.with_suffix(".qml")
    suffix = {"agreement": ".json", "stac": ".json", "preview": ".png"}.get(name, path.suffix or ".tif")
    return path.with_name(f"{path.stem}_{name}{suffix}")


def place_of(grid: MapGrid | ImageGrid) -> dict[str, Any]:
    """What :func:`.write_cog` is told of a grid: that of an image leaves no trace but its tags."""
    return {"crs": grid.crs, "transform": grid.transform if isinstance(grid, MapGrid) else None}


def label_frame(grid: MapGrid | ImageGrid, shape: tuple[int, int]) -> tuple[CRS | None, Affine, tuple[int, int]]:
    """Coordinate system, transform and rows and columns by which label rasters are found for a map of this shape.

    On no map that is the image itself, whose pixels the labels share.
    """
    if isinstance(grid, ImageGrid):
        return None, Affine.identity(), grid.shape
    return grid.crs, grid.transform, shape


@dataclass(frozen=True)
class MapFile:
    """A raster that :func:`alos2tut.map_scene` or :func:`.map_agreement` wrote; pixels are unread."""

    path: Path
    #: pixels, uint8
    band: RasterBand
    grid: MapGrid | ImageGrid
    #: what it says of itself
    tags: Mapping[str, str]
    #: from values to (red, green, blue, opacity), 0 to 255; empty where there is no colour table
    colors: Mapping[int, tuple[int, int, int, int]]
    #: what a number is to be multiplied by
    scale: float
    #: what the band is, in words; may be empty
    description: str

    @classmethod
    def open(cls, path: str | Path) -> MapFile:
        """Look at a map, without reading its pixels; refuse what is no raster of one uint8 band with a place."""
        path = Path(path)
        if not path.is_file():
            raise Alos2TutError("there is no such map", where=path)
        band = RasterBand.open(FileSource(path.name, path, path.stat().st_size), ["uint8"], fill=IGNORE)
        try:
            # as where pixels are read: what lies beside a TIFF says nothing
            with open_raster(path.absolute(), ["GTiff"], beside=False) as raster:
                tags, scale, description = raster.tags(), raster.scales[0], raster.descriptions[0] or ""
                colors = raster.colormap(1) if raster.colorinterp[0].name == "palette" else {}
        except (RasterioError, CPLE_BaseError, ValueError) as error:
            raise Alos2TutError(f"cannot be read as a map ({error})", where=path) from None
        if band.crs is None or band.transform is None:
            return cls(path, band, ImageGrid.from_tags(tags, path), tags, colors, float(scale), description)
        return cls(path, band, MapGrid(band.crs, band.transform), tags, colors, float(scale), description)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.band.shape

    @property
    def names(self) -> dict[int, str]:
        """What values mean, as the tags say: class indices, in maps of differences also that map and labels agree."""
        found = {match[1]: name for tag, name in self.tags.items() if (match := _CLASS_TAG.fullmatch(tag))}
        return {int(index): found[index] for index in sorted(found, key=int)}

    def check_legend(self, legend: Legend) -> None:
        """Refuse a map whose classes have other names than those of a legend, another order, or none."""
        # GDAL takes spaces off the ends of tags
        if self.names != {index: name.strip() for index, name in enumerate(legend.names)}:
            stated = ", ".join(self.names.values()) or "not told"
            raise Alos2TutError(
                f"its classes are {stated}; those of the legend '{legend.name}' are {', '.join(legend.names)}",
                where=self.path,
                remedy="Use the legend that the segmenter was trained with.",
            )

    def class_strips(self, classes: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Indices of so many classes, or 255, in strips (rows, columns) from top to bottom, each with its first row."""
        rows, cols = (slice(0, side) for side in self.shape)
        for number, strip in enumerate(self.band.strips(rows, cols, STRIP_ROWS)):
            strange = strip[(strip >= classes) & (strip != IGNORE)]
            if strange.size:
                problem = f"holds the value {strange[0]}, which is none of its {classes} classes"
                raise Alos2TutError(problem, where=self.path)
            yield number * STRIP_ROWS, strip


@dataclass(frozen=True)
class Orientation:
    """How the pixels of a grid lie on the ground around one of its places."""

    #: length of a pixel, (rows, columns): metres on the ground, or whatever ``unit`` says
    spacing_m: tuple[float, float]
    #: of north in a picture of the grid, clockwise from its upper edge; None where the grid leads to no place on Earth
    north_deg: float | None
    #: "m", or "px" where nobody knows how long pixels are
    unit: str = "m"


def orientation(grid: MapGrid | ImageGrid, row: float, col: float) -> Orientation:
    """How a grid lies around (row, column), by the longitudes and latitudes of the neighbouring pixels.

    Unlike the unit of a projection this also holds where that does not keep lengths, as in Web Mercator.
    """
    if isinstance(grid, ImageGrid):
        return Orientation(grid.pixel_m, None) if grid.pixel_m else Orientation((1.0, 1.0), None, "px")
    around = [grid.transform * place for place in ((col - 1, row), (col + 1, row), (col, row - 1), (col, row + 1))]
    lonlat = reprojected(around, grid.crs, LONLAT)
    north_m, east_m = geometry.metres_per_degree(float(lonlat[:, 1].mean())) if np.isfinite(lonlat).all() else (0, 0)
    steps = (lonlat[1::2] - lonlat[::2]) / 2
    # across the antimeridian longitudes jump by 360 degrees
    steps[:, 0] -= 180 * np.rint(steps[:, 0] / 180)
    # metres to the east and to the north (rows) for one column to the right and one row down (columns)
    per_pixel = (steps * (east_m, north_m)).T
    if not np.isfinite(per_pixel).all() or not np.linalg.det(per_pixel):
        return Orientation(grid.spacing_m((round(2 * row), round(2 * col))), None)
    across_m, down_m = (float(length) for length in np.hypot(*per_pixel))
    cols, rows = np.linalg.solve(per_pixel, (0.0, 1.0))
    return Orientation((down_m, across_m), math.degrees(math.atan2(cols * across_m, -rows * down_m)))


#: row, column, height and width in pixels of a map
PixelWindow: TypeAlias = tuple[int, int, int, int]
