"""Where a CEOS image lies on the map and under which angle it is seen: by its leader, its lines and ``summary.txt``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from .. import geometry
from ..core.errors import Alos2TutError, quoted, warn
from .ceos import ImageFile
from .metadata import MapGrid
from .rasters import LONLAT, reprojected
from .reading import SlantRangeIncidence
from .sources import FileSource

#: below and above a satellite's nominal height over a sphere: for the shape of the Earth and of the orbit
_HEIGHTS_M = (-68_000.0, 72_000.0)


#: an image a quarter of its side, and of this at most, from where the leader puts it is another scene's
_OTHER_SCENE_M = 20_000


#: what GDAL takes for the name of a file, or of a page to ask for, is none
_CRS_TEXT = re.compile(r"\s*([A-Za-z]{2,}:(?!//)|\+|[A-Za-z_]+\s*[\[(]|\{)")


def parsed_crs(crs: str | int | CRS, where: str | Path) -> CRS:
    """A coordinate system that the user named.

    Raises:
        Alos2TutError: one that PROJ does not know, or that says nothing of the place on Earth.
    """
    if isinstance(crs, str) and not _CRS_TEXT.match(crs):
        problem = f"crs={quoted(crs)} is no coordinate system: neither a code, nor PROJ text, WKT or PROJJSON"
        raise Alos2TutError(problem, where=where, remedy="Write it as EPSG:32654.")
    try:
        system = CRS.from_user_input(crs)
    except (CRSError, ValueError, TypeError) as error:
        raise Alos2TutError(f"crs={crs!r} is no coordinate system ({error})", where=where) from None
    if not (system.is_geographic or system.is_projected):
        raise Alos2TutError(f"crs={crs!r} is no coordinate system of a map", where=where)
    return system


def utm_crs(zone: int, south: bool) -> CRS:
    """UTM on WGS 84."""
    return CRS.from_epsg((32700 if south else 32600) + zone)


def ceos_grid(
    projection: Mapping[str, Any], image: ImageFile, leader: FileSource, summary: Mapping[str, str], crs: CRS | None
) -> tuple[MapGrid, list[str]]:
    """The map grid, from the leader's corners; where it lacks them, from the lines' latitudes and longitudes."""
    if crs is not None:
        system = crs
        if projection.get("projection") == "UTM-PROJECTION" and utm(projection, leader) != crs:
            warn(f"{leader.where}: states {utm(projection, leader).to_string()}, is placed by {crs.to_string()}")
    elif projection:
        system = utm(projection, leader)
    else:
        places, problem = line_places(image), "has no map projection record, and summary.txt states no UTM zone"
        zone = summary.get("Pds_UTM_ZoneNo", "") if places else ""
        system = _utm_zone(zone, places is not None and places["top_left"][1] < 0, leader, problem)
    corners: Any = {
        corner: (projection.get(f"{corner}_easting_km"), projection.get(f"{corner}_northing_km"))
        for corner in geometry.CORNERS
    }
    spacing: Any = (projection.get("line_spacing_m"), projection.get("pixel_spacing_m"))
    if projection:
        if any(value is None for corner in corners.values() for value in corner) or not all(spacing):
            raise Alos2TutError("the map projection record lacks corners or spacing", where=leader.where)
        corners = {name: (1000 * x, 1000 * y) for name, (x, y) in corners.items()}
        grid = MapGrid(system, _checked_affine(corners, image, spacing, leader))
        return grid, []
    by_lines = _corners_by_lines(image, system)
    if by_lines is None:
        raise Alos2TutError(
            "neither the leader's map projection record nor the lines of the image say where the product lies",
            where=leader.where,
            remedy="Download the product again; `alos2tut verify` tells what is missing.",
        )
    transform, _ = geometry.affine_from_corners(by_lines, image.shape)
    return MapGrid(system, transform), ["leader: map projection record (placed by the lines' latitudes and longitudes)"]


def utm(projection: Mapping[str, Any], leader: FileSource) -> CRS:
    """UTM, north or south by the false northing; WGS 84 stands for JAXA's GRS 80 frame."""
    name, zone = projection.get("projection"), str(projection.get("utm_zone"))
    problem = f"map projection '{name}' (zone {zone}) is absent or not UTM"
    is_south = (projection.get("false_northing_m") or 0) > 0
    return _utm_zone(zone if name == "UTM-PROJECTION" else "", is_south, leader, problem)


def _utm_zone(zone: str, is_south: bool, leader: FileSource, problem: str) -> CRS:
    if not zone.isdigit() or not 1 <= int(zone) <= 60:
        raise Alos2TutError(
            problem,
            where=leader.where,
            remedy="Give the coordinate system: open_product(path, crs='EPSG:…'), or --crs on the command line.",
        )
    return utm_crs(int(zone), is_south)


def _checked_affine(
    corners: Mapping[str, tuple[float, float]], image: ImageFile, spacing: tuple[float, float], leader: FileSource
) -> Affine:
    """The affine by the corner pixels' centres, so that rotated products come out right, too."""
    if not all(abs(value) < 1e9 for corner in corners.values() for value in corner):
        raise Alos2TutError("corners of the map projection, and so the spacing, cannot be", where=leader.where)
    if min(image.shape) < 2:  # one line or column has no direction of its own: north is up
        (x, y), (dy, dx) = corners["top_left"], spacing
        return Affine(dx, 0.0, x - dx / 2, 0.0, -dy, y + dy / 2)
    transform, residual = geometry.affine_from_corners(corners, image.shape)
    found = (math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d))
    for name, by_corners, stated in zip(("line", "pixel"), found, spacing, strict=True):
        if not abs(by_corners - stated) <= 0.01 * stated:  # so that NaN is refused, too
            raise Alos2TutError(
                f"corners give a {name} spacing of {by_corners:.4g} m, the record states {stated:.4g} m",
                where=leader.where,
            )
    if residual > max(spacing):
        raise Alos2TutError(
            f"corners of the map projection miss a parallelogram by {residual:.4g} m, more than a pixel",
            where=leader.where,
        )
    return transform


def line_places(image: ImageFile) -> dict[str, tuple[float, float]] | None:
    """(longitude, latitude) of the corner pixels as the first and last line state them, if they do."""
    first, last = image.prefixes([0, image.lines - 1])
    places = {}
    for corner, (line, end) in zip(geometry.CORNERS, ((first, 0), (first, 2), (last, 2), (last, 0)), strict=True):
        place = (1e-6 * float(line["longitudes"][end]), 1e-6 * float(line["latitudes"][end]))
        if place == (0.0, 0.0) or abs(place[0]) > 180 or abs(place[1]) > 90:
            return None
        places[corner] = place
    return places


def _corners_by_lines(image: ImageFile, crs: CRS) -> dict[str, tuple[float, float]] | None:
    places = line_places(image)
    if places is None or min(image.shape) < 2:
        return None
    corners = reprojected(list(places.values()), LONLAT, crs)
    if not np.isfinite(corners).all():
        return None
    return {name: (float(x), float(y)) for name, (x, y) in zip(places, corners, strict=True)}


def placed_elsewhere(grid: MapGrid, image: ImageFile) -> list[str]:
    """Leader and lines both say where the image lies: a warning where they differ, words if that is far."""
    by_lines = _corners_by_lines(image, grid.crs)
    if by_lines is None:
        return []
    places = geometry.corner_places(image.shape)
    apart = max(math.dist(by_lines[corner], grid.transform * place) for corner, place in places.items())
    t = grid.transform
    limit = max(100.0, 5 * math.hypot(t.a, t.d))
    if apart > limit:
        warn(
            f"{image.source.where}: the leader and the lines place corners {apart:.0f} m apart; the leader is "
            "believed. `alos2tut verify` shows both."
        )
    sides = (math.hypot(t.a, t.d) * image.shape[1], math.hypot(t.b, t.e) * image.shape[0])
    if apart <= max(limit, min(*sides, _OTHER_SCENE_M) / 4):
        return []
    return [f"the lines of {image.source.name} place its corners {apart / 1000:,.1f} km from where the leader does"]


def slant_range_incidence(
    image: ImageFile,
    incidence_deg: float | None,
    range_spacing_m: float | None,
    orbit_height_m: float = geometry.ORBIT_HEIGHT_M,
    *,
    is_one_of_scans: bool,
) -> SlantRangeIncidence | None:
    """Incidence from the lines' slant ranges; None where the files do not state enough of it, or what cannot be.

    Args:
        image: whose lines state slant ranges.
        incidence_deg: at the centre of the scene.
        range_spacing_m: of Level 1.1.
        orbit_height_m: nominal, of the satellite.
        is_one_of_scans: whether the image is one of several scans. The scene's centre is not that of the scan then, and
            the height of the satellite counts, which lines of Level 1.1 state.
    """
    is_slc = image.sample_code == "C*8"
    if is_slc and not range_spacing_m:
        return None
    middle, ends = image.lines // 2, np.array([0, (image.pixels - 1) / 2, image.pixels - 1])
    center_m = float(image.slant_range_m(slice(middle, middle + 1), ends, range_spacing_m)[0, 1])
    if is_slc and is_one_of_scans:
        radius_m = geometry.EARTH_RADIUS_M + float(image.prefixes([middle])["platform_altitude_m"][0])
    elif incidence_deg and 0 < incidence_deg < 89 and center_m > 0:
        radius_m = geometry.satellite_radius_m(center_m, incidence_deg)
    else:
        return None
    if not _HEIGHTS_M[0] < radius_m - geometry.EARTH_RADIUS_M - orbit_height_m < _HEIGHTS_M[1]:
        return None
    corners = [image.slant_range_m(slice(row, row + 1), ends, range_spacing_m) for row in (0, image.lines - 1)]
    angles = geometry.incidence_by_slant_range_deg(np.concatenate(corners), radius_m)
    return SlantRangeIncidence(image, range_spacing_m, radius_m) if ((angles > 5) & (angles < 80)).all() else None
