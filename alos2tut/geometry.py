"""Where pixels lie and how they are seen: corners to an affine, places on the Earth, slant range to incidence angle.

NumPy only.
"""

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


#: semi-major axis in metres and squared eccentricity of the WGS 84 ellipsoid
_A_M, _E2 = 6378137.0, 0.00669437999014


def metres_per_degree(latitude_deg: float) -> tuple[float, float]:
    """Length in metres of a degree of latitude and of longitude on the WGS 84 ellipsoid."""
    phi = math.radians(latitude_deg)
    w = math.sqrt(1 - _E2 * math.sin(phi) ** 2)
    return math.radians(_A_M * (1 - _E2) / w**3), math.radians(_A_M * math.cos(phi) / w)


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
    """These (longitude, latitude) in degrees, (n, 2), longitudes from −180 to 180; none of them if one cannot be."""
    given = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    # maps may count longitudes from 0 to 360; NaN is refused, too
    is_there = (np.abs(given) <= (360, 90)).all()
    return tuple(zip(beside(given[:, 0], 0).tolist(), given[:, 1].tolist(), strict=True)) if is_there else ()


def wrapped(longitude_deg: ArrayLike) -> NDArray[np.float64]:
    """Longitudes as they are told, from −180 to less than 180; those that lie there keep their last bit."""
    given = np.asarray(longitude_deg, dtype=np.float64)
    turned: NDArray[np.float64] = given - 360 * np.floor((given + 180) / 360)
    return turned


def beside(longitude_deg: ArrayLike, reference_deg: ArrayLike) -> NDArray[np.float64]:
    """Longitudes moved by whole turns to within half a turn of others, so that they can be compared and averaged."""
    given, reference = (np.asarray(angles, dtype=np.float64) for angles in (longitude_deg, reference_deg))
    moved: NDArray[np.float64] = given - 360 * np.round((given - reference) / 360)
    return moved


def together(longitude_deg: ArrayLike) -> NDArray[np.float64]:
    """Longitudes moved by whole turns so that they span as few degrees as can be, from −180 to 180 on.

    Args:
        longitude_deg: (n,) in degrees; at least one.

    Returns:
        (n,); across the antimeridian they reach beyond 180.
    """
    given = np.asarray(longitude_deg, dtype=np.float64)
    around = np.sort(wrapped(given))
    # what lies opposite to the middle of the widest gap is in the middle
    gaps = np.diff(around, prepend=around[-1] - 360)
    widest = gaps.argmax()
    return beside(given, around[widest] + (360 - gaps[widest]) / 2)


def middle(places_deg: ArrayLike) -> tuple[float, float]:
    """Mean longitude, from −180 to less than 180, and latitude of places near to one another, (n, 2)."""
    longitude, latitude = np.transpose(places_deg)
    return float(wrapped(together(longitude).mean())), float(latitude.mean())


def on_ellipsoid(places_deg: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places at height 0 on the WGS 84 ellipsoid, in geocentric coordinates.

    Args:
        places_deg: (…, 2) longitude and latitude in degrees.

    Returns:
        (…, 3) in metres; and the unit vectors to the east and to the north there, (…, 2, 3).
    """
    lam, phi = np.moveaxis(np.radians(places_deg), -1, 0)
    (sin_lam, cos_lam), (sin_phi, cos_phi) = ((np.sin(angle), np.cos(angle)) for angle in (lam, phi))
    radius = _A_M / np.sqrt(1 - _E2 * sin_phi**2)
    point = np.stack([radius * cos_phi * cos_lam, radius * cos_phi * sin_lam, (1 - _E2) * radius * sin_phi], axis=-1)
    east, north = (-sin_lam, cos_lam, 0 * lam), (-sin_phi * cos_lam, -sin_phi * sin_lam, cos_phi)
    return point, np.stack([np.stack(east, axis=-1), np.stack(north, axis=-1)], axis=-2)


def seen_from(
    center_m: NDArray[np.float64], axes: NDArray[np.float64], points_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points on a plane on which distance and direction from a centre are those on the ground (azimuthal equidistant).

    Args:
        center_m, axes: (n, 3) and (n, 2, 3) from :func:`on_ellipsoid`.
        points_m: (n, k, 3).

    Returns:
        (n, k, 2) metres to the east and to the north. Of two points within d of the centre the distance is off by at
        most d² / (6 R²) of itself, R the Earth's radius: 4 · 10⁻⁷ at 10 km.
    """
    away = points_m - center_m[:, None]
    plane = (away[:, :, None] * axes[:, None]).sum(axis=-1)
    chord = np.sqrt((away**2).sum(axis=-1))
    arc = 2 * EARTH_RADIUS_M * np.arcsin(np.minimum(chord / (2 * EARTH_RADIUS_M), 1))
    stretched: NDArray[np.float64] = plane * (arc / np.maximum(np.hypot(*np.moveaxis(plane, -1, 0)), 1e-9))[..., None]
    return stretched


def come_within(one: NDArray[np.float64], other: NDArray[np.float64], reach_m: float) -> NDArray[np.bool_]:
    """Which pairs of convex polygons are nearer to one another than a distance.

    Args:
        one: (n, k, 2) corners in order around each.
        other: (n, m, 2).
        reach_m: below 0: those that overlap by more than that in every direction.

    Returns:
        (n,).
    """
    # disjoint convex polygons lie on the two sides of a side of one of them; the farthest such side tells how far
    apart = np.full(len(one), -np.inf)
    for corners in (one, other):
        side = np.roll(corners, -1, axis=1) - corners
        normal = np.stack([side[..., 1], -side[..., 0]], axis=-1) / np.hypot(side[..., 0], side[..., 1])[..., None]
        a, b = (normal @ polygon.swapaxes(1, 2) for polygon in (one, other))
        gap = np.maximum(b.min(axis=2) - a.max(axis=2), a.min(axis=2) - b.max(axis=2))
        apart = np.maximum(apart, gap.max(axis=1))
    near: NDArray[np.bool_] = apart < reach_m
    # nearest may be two corners, which are further from one another than from any side
    unsure = np.flatnonzero(near & (apart > 0))
    near[unsure] = _corner_to_side(one[unsure], other[unsure]) < reach_m
    return near


def _corner_to_side(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest distance between a corner of one polygon and a side of the other, either way, (n,)."""
    nearest = np.full(len(one), np.inf)
    for corners, polygon in ((one, other), (other, one)):
        side = np.roll(polygon, -1, axis=1) - polygon
        from_start = corners[:, :, None] - polygon[:, None]
        share = (from_start * side[:, None]).sum(axis=-1) / (side**2).sum(axis=-1)[:, None]
        rest = from_start - np.clip(share, 0, 1)[..., None] * side[:, None]
        nearest = np.minimum(nearest, np.sqrt((rest**2).sum(axis=-1)).min(axis=(1, 2)))
    return nearest


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
