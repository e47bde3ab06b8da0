"""Where pixels lie and how they are seen: corners to an affine, slant range to incidence angle. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

#: corners in the order of JAXA's map projection record
CORNERS = ("top_left", "top_right", "bottom_right", "bottom_left")
#: mean radius; the incidence angle by slant range hardly depends on it (0.01° for 10 km)
EARTH_RADIUS_M = 6_371_000.0
#: nominal height of ALOS-2
ORBIT_HEIGHT_M = 628_000.0


def metres_per_degree(latitude_deg: float) -> tuple[float, float]:
    """Length in metres of a degree of latitude and of longitude on the WGS 84 ellipsoid."""
    a, e2 = 6378137.0, 0.00669437999014
    phi = math.radians(latitude_deg)
    w = math.sqrt(1 - e2 * math.sin(phi) ** 2)
    return math.radians(a * (1 - e2) / w**3), math.radians(a * math.cos(phi) / w)


def affine_from_corners(corners: Mapping[str, tuple[float, float]], shape: tuple[int, int]) -> tuple[Affine, float]:
    """The affine of an image whose corner pixels' centres are known, by least squares.

    Args:
        corners: (x, y) of the centre of each corner pixel, by the names in :data:`CORNERS`.
        shape: rows and columns; at least two of each.

    Returns:
        The transform from (column, row), pixel corners, to (x, y); and the largest distance between a given corner
        and where the transform puts it, in the unit of x and y.
    """
    height, width = shape
    tl, tr, br, bl = (np.array(corners[name], dtype=np.float64) for name in CORNERS)
    # of a rectangle of points the least squares are these means, and what should be zero is
    per_col = ((tr - tl) + (br - bl)) / (2 * (width - 1))
    per_row = ((bl - tl) + (br - tr)) / (2 * (height - 1))
    origin = (tl + tr + br + bl) / 4 - per_col * (width / 2) - per_row * (height / 2)
    (a, d), (b, e), (c, f) = per_col.tolist(), per_row.tolist(), origin.tolist()
    transform = Affine(a, b, c, d, e, f)
    return transform, max(math.dist(transform * place, corners[name]) for name, place in corner_places(shape).items())


def corner_places(shape: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """(column, row) of the centres of the corner pixels of an image of that many rows and columns."""
    right, bottom = shape[1] - 0.5, shape[0] - 0.5
    return dict(zip(CORNERS, ((0.5, 0.5), (right, 0.5), (right, bottom), (0.5, bottom)), strict=True))


def on_earth(places: ArrayLike) -> tuple[tuple[float, float], ...]:
    """These (longitude, latitude) in degrees, (n, 2); none of them if one cannot be."""
    given = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    # NaN is refused, too
    is_there = (np.abs(given) <= (180, 90)).all()
    return tuple((float(x), float(y)) for x, y in given) if is_there else ()


def satellite_radius_m(slant_range_m: float, incidence_deg: float) -> float:
    """Distance of the radar from the Earth's centre, by the law of cosines on a sphere.

    Args:
        slant_range_m: distance from the radar to a point on the ground.
        incidence_deg: angle there between the line of sight and the vertical.
    """
    cos = math.cos(math.radians(incidence_deg))
    return math.sqrt(EARTH_RADIUS_M**2 + slant_range_m**2 + 2 * EARTH_RADIUS_M * slant_range_m * cos)


def incidence_by_slant_range_deg(slant_range_m: ArrayLike, radius_m: float) -> NDArray[np.floating[Any]]:
    """Incidence angle on a smooth Earth of points at these distances from a radar.

    Args:
        slant_range_m: any shape, in metres.
        radius_m: the radar's distance from the Earth's centre, as of :func:`satellite_radius_m`.

    Returns:
        Degrees; NaN where no point of the sphere is so far.
    """
    distance = np.asarray(slant_range_m, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        cos = (radius_m**2 - EARTH_RADIUS_M**2 - distance**2) / (2 * EARTH_RADIUS_M * distance)
        angle: NDArray[np.float64] = np.rad2deg(np.arccos(cos))
    return angle


def along_line(ends: NDArray[Any], cols: ArrayLike, width: int) -> NDArray[np.float64]:
    """Values between those at the first, the middle and the last pixel of a line, by a parabola.

    Args:
        ends: (lines, 3), at pixels 0, (width − 1) / 2 and width − 1.
        cols: (columns,) pixel numbers.
        width: pixels of a line.

    Returns:
        (lines, columns).
    """
    first, middle, last = (np.asarray(ends, dtype=np.float64)[:, i, None] for i in range(3))
    t = np.asarray(cols, dtype=np.float64)[None, :] / max(width - 1, 1)
    values: NDArray[np.float64] = first * (1 - t) * (1 - 2 * t) + middle * 4 * t * (1 - t) + last * t * (2 * t - 1)
    return values
