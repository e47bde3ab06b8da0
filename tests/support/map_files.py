"""Small maps as ``map_scene`` leaves them, and questions to their pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle
from rasterio.windows import Window

from alos2tut.dataset.legend import LandClass, Legend
from alos2tut.products.rasters import write_cog

Affine = rasterio.Affine
#: on the central meridian of zone 54, where true north is grid north
MIDDLE = Affine(5, 0, 500_000, 0, -5, 3_900_000)
LEGEND = Legend(
    "toy",
    "made up",
    tuple(LandClass(name, (40 * i, 20 + i, 200), (i + 1,)) for i, name in enumerate(("water", "field", "town"))),
    (0,),
)


def write_raster(
    path: Path,
    values: Any,
    *,
    transform: Any = MIDDLE,
    crs: Any = "EPSG:32654",
    legend: Legend = LEGEND,
    tags: Any = None,
    **own: Any,
) -> Path:
    """A raster as ``map_scene`` leaves it."""
    values = np.asarray(values, dtype=np.uint8)
    told = {f"CLASS_{i}": name for i, name in enumerate(legend.names)}
    told |= {"PRODUCT": "IMG-HH-made-up", "ACQUIRED": "2020-01-02T03:04:05Z", "SIMULATED": "no"}
    told |= {"SOURCE": "ALOS-2 PALSAR-2, (c) JAXA"} | (tags or {})
    own = {"colormap": legend.colormap(), "resampling": "mode", "description": "land-cover class"} | own
    place = {"crs": crs, "transform": transform, "no_data": 255}
    window = Window(0, 0, values.shape[1], values.shape[0])
    return write_cog(path, [(window, values)], shape=values.shape, dtype="uint8", tags=told, **place, **own)


def write_share(path: Path, values: Any, **own: Any) -> Path:
    """A raster of probability or entropy."""
    told = {"colormap": None, "scale": 1 / 250, "resampling": "average", "description": "probability"}
    return write_raster(path, values, **told | own)


def bar_px(ax: Axes) -> tuple[float, str]:
    """Length of the scale bar, and what it says."""
    halves = [patch for patch in ax.findobj(Rectangle) if patch.get_gid() == "scale bar"]
    text = next(text.get_text() for text in ax.texts if text.get_text().endswith("m"))
    assert len(halves) == 2 and halves[0].get_x() + halves[0].get_width() == halves[1].get_x()
    return sum(half.get_width() for half in halves), text


def arrow_deg(ax: Axes) -> float:
    """Where the arrow on the screen points to, clockwise from up."""
    (arrow,) = [patch for patch in ax.findobj(Polygon) if patch.get_gid() == "north"]
    tip, _, notch, *_ = arrow.get_transform().transform(arrow.get_xy())
    return math.degrees(math.atan2(*(tip - notch)))
