"""What the files of Levels 1.1, 1.5, 2.1 and 3.1 say of each other, as CEOS or as GeoTIFF: a function per subject."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS

from ... import geometry, radiometry
from ...core.errors import Alos2TutError
from .. import ceos, ceos_layout
from ..georeference import line_places, utm
from ..names import LOOK_SIDES, ORBITS, Found, number
from ..open_ceos import is_w2_before_correction, stated_spacing_m
from ..product import Product
from ..rasters import LONLAT, RasterBand, reprojected
from ..satellites import ALOS2
from .case import Case, Image, Lines, common, read_bands, run, tried
from .checks import (
    Check,
    alike,
    all_there,
    compared,
    corner_centres,
    judged,
    numbers,
    six_numbers,
    table,
    time_of,
    unreadable,
)

#: classes of files in a volume directory, and how these files are named
_FILE_CLASSES = {"SARL": "LED", "IMOP": "IMG", "SART": "TRL"}
#: what reads the files beside images, and the record that says of each by which software it was made
_READERS = {"LED": ceos.read_leader, "VOL": ceos.read_volume, "TRL": ceos.read_trailer}
_DESCRIPTORS = {"LED": "leader_descriptor", "VOL": "volume_descriptor", "TRL": "trailer_descriptor"}
_SUMMARY_CORNERS = ("LeftTop", "RightTop", "RightBottom", "LeftBottom")
_SAMPLES = ("uint16", "complex64", "complex_int16", "complex128")


def checks_of(found: Found, product: Product | None, crs: CRS | None) -> tuple[str, list[Check]]:
    """What kind of product it is, and all checks of it; the product as it opens, if it does, and the user's system."""
    problems: list[Check] = []
    images = [match for match in found.matches.values() if match["kind"] == "IMG" and match["pol"]]
    is_tiff = bool(images) and all(match["suffix"] for match in images)
    is_tiff |= found.named is not None and found.named["suffix"] is not None
    files = [match for match in images if bool(match["suffix"]) == is_tiff]
    text = found.summary.name if found.summary else "summary.txt"
    summary = tried(found.folder, text, ceos.read_summary, problems) or {}
    records: dict[str, Mapping[str, Any]] = {}
    for kind, reader in () if is_tiff else _READERS.items():
        records |= tried(found.folder, f"{kind}-{found.identity}", reader, problems) or {}
    bands = read_bands(found, {match["pol"]: match[0] for match in files if is_tiff}, _SAMPLES, problems)
    seen = [Image.read(found.folder, match, problems) for match in files if not is_tiff]
    case = Case(found, bands, summary, product=product, crs=crs, images=seen, records=records)
    special = (_tiff_files,) if is_tiff else (_image_files, _view, _radiometry, _records)
    title = f"{'GeoTIFF' if is_tiff else 'CEOS'}, Level {case.product_id.get('level', 'unknown')}"
    return title, [*problems, *run((_files, _identity, _times, _place, *special), case)]


def _all_of(fields: Mapping[str, Any], *names: str) -> tuple[Any, ...] | None:
    values = tuple(fields.get(name) for name in names)
    return None if None in values else values


# --- names, identity, times


def _files(case: Case) -> Iterator[Check]:
    listed = [name for key, name in case.summary.items() if re.fullmatch(r"Pdi_L\d\dProductFileName\d+", key)]
    # users rename .tif to .tiff
    present = {re.sub(r"(?i)\.tiff?$", "", name) for name in case.found.folder}
    yield all_there("summary.txt", listed, [n for n in listed if re.sub(r"(?i)\.tiff?$", "", n) not in present])
    if "volume_descriptor" in case.records:
        kinds = Counter(match["kind"] for match in case.found.matches.values() if not match["suffix"])
        pointers = tuple(len(case.pointers(file_class)) for file_class in _FILE_CLASSES)
        both = {"volume directory": pointers, "present": tuple(kinds[kind] for kind in _FILE_CLASSES.values())}
        yield compared("files", "LED, IMG, TRL", both)


def _identity(case: Case) -> Iterator[Check]:
    name, parts, scene, summary = case.found.any_match, case.product_id, case.scene, case.summary
    text = {key: str(value or "").rpartition(":")[2] or None for key, value in case.record("text").items()}
    image = next((image for image in case.images if image.lines is not None), None)
    channels = image.common("channel") if image else None
    frame = image.common("frame") if image and image.fields["sample_code"] == "C*8" else None
    scene_id = scene.get("scene_id")
    if not case.found.satellite.is_checked:  # the form of ids inside its files is not known
        scene_id, frame, text = None, None, {}
        summary = {key: value for key, value in summary.items() if key == "Lbi_ProcessLevel"}
    orbit, mode = parts.get("orbit_number"), parts.get("mode", "")
    direction, clock = scene.get("orbit_direction"), scene.get("clock_angle_deg")
    direction = direction and ORBITS.get(direction[0], direction)
    side = ("right" if 0 < clock % 360 < 180 else "left") if clock else None
    sources = ("name", "leader", "summary.txt", "volume directory", "lines")
    rows: dict[str, tuple[Any, ...]] = {
        "scene": (name["scene"], scene_id, summary.get("Scs_SceneID"), text.get("scene")),
        "product id": (name["product"], None, summary.get("Pds_ProductID"), text.get("product")),
        "level": (parts.get("level"), scene.get("level"), summary.get("Lbi_ProcessLevel")),
        "orbit number": (int(orbit) if orbit else None, scene.get("orbit")),
        "orbit direction": (ORBITS.get(parts.get("orbit", "")), direction),
        "look side": (LOOK_SIDES.get(parts.get("look", "")), side),
        "mode's polarisations": ({"S": 1, "D": 2, "Q": 4}.get(mode[2:]), None, None, None, channels),
        "frame": (int(parts.get("frame", 0)) or None, None, None, None, frame),
    }
    yield from table("identity", sources, rows)


def _times(case: Case) -> Iterator[Check]:
    start, center, end = (time_of(case.summary.get(f"Img_Scene{name}DateTime")) for name in ("Start", "Center", "End"))
    leader, observed = time_of(case.scene.get("center_time")), time_of(case.summary.get("Lbi_ObservationDate"))
    both = {"leader": leader, "summary.txt": center}
    days = {"name": time_of(f"20{case.product_id.get('date', '')}"), **both, "summary.txt, observation": observed}
    yield compared("time", "day", {source: time and time.date() for source, time in days.items()})
    apart = abs((leader - center).total_seconds()) if leader and center else None
    note = "" if apart is None else f"{apart:.3f} s apart, 0.002 s allowed"
    yield judged("time", "centre", None if apart is None else apart <= 0.002, both, note)
    known = [time for time in (start, center, end) if time]
    in_order = known == sorted(known) if len(known) > 1 else None
    yield judged("time", "start, centre, end", in_order, {"start": start, "centre": center, "end": end})
    allowed = timedelta(seconds=1)
    for image in case.images:
        if image.lines is not None and image.stated("year") is not None:
            times = [_line_time(line) for line in image.lines.headers]
            is_good = None
            if start and end:
                is_good = all(time is not None and start - allowed <= time <= end + allowed for time in times)
            scene = f"{start} … {end}" if start and end else None
            values = {"lines": f"{times[0]} … {times[-1]}", "summary.txt": scene}
            yield judged("time", f"lines of {image.label}", is_good, values, "1 s allowed")


def _line_time(line: Any) -> datetime | None:
    year, day, millisecond = (int(line[name]) for name in ("year", "day_of_year", "millisecond"))
    try:
        return datetime(year, 1, 1) + timedelta(days=day - 1, milliseconds=millisecond)
    except (ValueError, OverflowError):
        return None


# --- image files


def _image_files(case: Case) -> Iterator[Check]:
    pointers = case.pointers("IMOP")
    for index, image in enumerate(case.images):
        # the volume directory lists images in the order of their names, and does not name them
        pointer = pointers[index] if len(pointers) == len(case.images) else {}
        yield from _sizes(case, image, pointer)
        if image.lines is not None:
            yield from _line_headers(image, image.lines)


def _sizes(case: Case, image: Image, pointer: Mapping[str, Any]) -> Iterator[Check]:
    subject, fields, level = f"image {image.label}", image.fields, case.product_id.get("level")
    lines, pixels, record_bytes, prefix = map(fields.get, ("lines", "pixels", "record_bytes", "prefix_bytes"))
    code, usual_code = fields.get("sample_code"), "C*8" if level == "1.1" else "IU2"
    expected, needed, of_pixels, note = None, None, None, ""
    if lines is not None and record_bytes is not None:
        expected = ceos_layout.DESCRIPTOR_BYTES + lines * record_bytes
        missing = expected - image.source.size
        note = f"{abs(missing):,} bytes {'are missing' if missing > 0 else 'too many'}" if missing else ""
    yield compared(subject, "file size", {"descriptor": expected, "file": image.source.size}, note=note)
    if code in ceos_layout.SAMPLE_DTYPES and pixels is not None and prefix is not None:
        of_pixels = ceos_layout.SAMPLE_DTYPES[code].itemsize * pixels
        needed = prefix + of_pixels + (fields["suffix_bytes"] or 0)
    read, longest = image.lines, pointer.get("longest_bytes")
    last = int(read.headers["line"][-1]) if read is not None and read.rows[-1] + 1 == lines else None
    # short lines: the longest record is the descriptor itself
    longest = None if longest == ceos_layout.DESCRIPTOR_BYTES else longest
    # scans have their own sizes in summary.txt, counted from 0
    scan = int(image.match["scan"][1]) - 1 if image.match["scan"] else 0
    shape = [number(case.summary.get(f"Pdi_NoOf{name}_{scan}")) for name in ("Lines", "Pixels")]
    sources = ("descriptor", "lines", "map projection", "summary.txt", "volume directory", f"expected of Level {level}")
    rows: dict[str, tuple[Any, ...]] = {
        "lines": (lines, last, case.projection.get("lines"), shape[0], (pointer.get("records") or 1) - 1 or None),
        # stated once more in the descriptor
        "records of lines": (fields.get("line_records"), None, None, None, None, lines),
        "pixels": (pixels, _pixels(image), case.projection.get("pixels"), shape[1]),
        "bytes of a line": (record_bytes, image.common("length"), None, None, longest, needed),
        "bytes of pixels": (fields.get("data_bytes"), None, None, None, None, of_pixels),
        "bytes before pixels": (prefix, None, None, None, None, case.found.satellite.prefix_bytes(usual_code)),
        "sample type": (code, None, None, None, None, usual_code),
    }
    yield from table(subject, sources, rows)


def _pixels(image: Image) -> Any:
    """Pixels by the lines; it was not seen whether those that fill a line count as data."""
    data = image.stated("data_pixels")
    if data is None or image.lines is None:
        return None
    whole = sum(image.lines.headers[name].astype(np.int64) for name in ("left_fill", "data_pixels", "right_fill"))
    return common(np.where(data == image.fields["pixels"], data, whole))


def _line_headers(image: Image, read: Lines) -> Iterator[Check]:
    subject, lines = f"image {image.label}", read.headers
    # the descriptor is record 1
    for name, what, first in (("line", "line numbers", 1), ("sequence", "record numbers", 2)):
        stated, expected = lines[name].astype(np.int64), read.rows + first
        wrong = np.flatnonzero(stated != expected)
        values = {"lines": f"{stated[0]} … {stated[-1]}", "expected": f"{expected[0]} … {expected[-1]}"}
        note = f"{len(lines)} lines were looked at"
        if wrong.size:
            note += f", {wrong.size} differ, the first of them says {stated[wrong[0]]}, not {expected[wrong[0]]}"
        yield judged(subject, what, not wrong.size, values, note)
    codes = [tuple(row) for row in np.unique(lines["type"], axis=0).tolist()]
    expected_codes = ceos_layout.LINE_CODES[read.file.sample_code]
    yield judged(subject, "record type", codes == [expected_codes], {"lines": codes[0], "expected": expected_codes})
    pairs = np.unique(np.stack([lines["transmitted"], lines["received"]], axis=1), axis=0)
    letters = ["".join("HV"[n] if n < 2 else "?" for n in pair) for pair in pairs.tolist()]
    yield compared(subject, "polarisation", {"name": image.match["pol"], "lines": ", ".join(letters)})
    if image.match["scan"]:
        yield compared(subject, "scan", {"name": int(image.match["scan"][1]), "lines": image.common("scan")})
    try:
        odd = read.file.oddities(np.arange(read.file.lines))
        odd.pop("pixels of lines", None)  # the check of pixels tells that
        found = {"lines": "; ".join(odd.values()) or f"all {read.file.lines:,}"}
        yield judged(subject, "valid lines and pixels", not odd, found)
    except Alos2TutError as error:
        yield unreadable(subject, "valid lines and pixels", error)


def _tiff_files(case: Case) -> Iterator[Check]:
    turned = {(False, False): "1 (top left)", (True, True): "3 (bottom right)", (True, False): "4 (bottom left)"}
    stated = numbers(*(case.summary.get(f"Pdi_NoOf{name}_0") for name in ("Lines", "Pixels")))
    for label, band in case.bands.items():
        subject, systems = f"image {label}", {"CRS": band.crs, "given": case.crs}
        known = [system for system in systems.values() if system is not None]
        yield compared(subject, "lines, pixels", {"GeoTIFF": band.shape, "summary.txt": stated})
        is_placed = all(system == known[0] for system in known) if known and band.transform is not None else None
        values = {source: system and system.to_string() for source, system in systems.items()}
        yield judged(subject, "georeference", is_placed, values | {"transform": six_numbers(band)})
        yield judged(subject, "orientation", True, {"TIFF tag 274": turned[band.flip]})
    yield from alike(case.bands)


# --- place


def _place(case: Case) -> Iterator[Check]:
    """Where the product lies. Corners are the centres of the corner pixels TL, TR, BR, BL: longitude, latitude."""
    record, summary, raster = case.projection, case.summary, case.raster
    yield from _zones(case, raster)
    crs = _system(case, raster)
    metres = _corners(record, "easting_km", "northing_km")
    corners = corner_centres(raster) if raster is not None else None if metres is None else 1000 * metres
    shape = (record.get("lines") or 0, record.get("pixels") or 0) if raster is None else raster.shape
    by_map, middle = None, None
    if crs is not None and corners is not None:
        # NaN where the projection has no such points
        points = np.round(reprojected(np.vstack([corners, corners.mean(axis=0)]), crs, LONLAT), 7)
        by_map, middle = points[:4], points[4:]
    by_record = _corners(record, "longitude_deg", "latitude_deg")
    frame = [_summary_place(summary, f"FrameScene{corner}") for corner in _SUMMARY_CORNERS]
    by_summary = np.array(frame) if all(frame) else None
    if raster is None:
        yield _same_place("map corners", {"metres": by_map, "degrees": by_record}, within=1e-5)
        yield _coefficients(record, by_record)
    places = {"leader": by_record, "GeoTIFF": None if raster is None else by_map, "summary.txt": by_summary}
    yield _same_place("corners", places | {"lines": _lines_corners(case)}, within=1e-3)
    by_leader = _all_of(case.scene, "center_longitude_deg", "center_latitude_deg")
    centers = {"leader": by_leader, "corners": middle, "summary.txt": _summary_place(summary, "FrameSceneCenter")}
    yield _same_place("centre", centers, within=1e-3)
    yield from _spacings(case, corners, shape)
    yield from _image_corners(case, by_leader)


def _same_place(name: str, values: Mapping[str, ArrayLike | None], within: float) -> Check:
    """Whether places, longitude and latitude in degrees, are the same; longitudes count modulo 360."""
    known = {source: np.array(value, dtype=np.float64) for source, value in values.items() if value is not None}
    reference = next(iter(known.values())).flat[0] if known else 0.0
    for value in known.values():
        value[..., 0] = geometry.beside(value[..., 0], reference)
    return compared("place", name, {source: known.get(source) for source in values}, within=within, unit="°")


def _summary_place(summary: Mapping[str, str], name: str) -> tuple[float, ...] | None:
    return numbers(*(summary.get(f"Img_{name}{axis}itude") for axis in ("Long", "Lat")))


def _image_corners(case: Case, by_leader: tuple[Any, ...] | None) -> Iterator[Check]:
    """The summary's corners of the image, which lies turned in the frame: against each other, centres and frame."""

    def corners_of(what: str) -> NDArray[np.float64] | None:
        places = [_summary_place(case.summary, f"{what}Scene{corner}") for corner in _SUMMARY_CORNERS]
        return np.array(places) if all(places) else None

    image, frame = corners_of("Image"), corners_of("Frame")
    if image is None:
        return
    centers = {
        f"summary.txt, {name}": _summary_place(case.summary, f"{name}SceneCenter") for name in ("Image", "Frame")
    }
    for places in (image, frame) if frame is not None else (image,):
        places[:, 0] = geometry.beside(places[:, 0], image[0, 0])
    centers |= {"leader": by_leader, "corners": image.mean(axis=0)}
    near = {
        name: None if place is None else (float(geometry.beside(place[0], image[0, 0])), place[1])
        for name, place in centers.items()
    }
    # so much is left to the curvature of a swath of 350 km, and to rounding
    within = max(0.05 * float(np.ptp(image, axis=0).max()), 0.01)
    yield compared("place", "centre of the image", near, within=within, unit="°")
    diagonals = {"LeftTop, RightBottom": image[[0, 2]].mean(axis=0), "RightTop, LeftBottom": image[[1, 3]].mean(axis=0)}
    yield compared("place", "middle of the image's diagonals", diagonals, within=within, unit="°")
    bounds = {
        name: None if places is None else np.concatenate([places.min(axis=0), places.max(axis=0)])
        for name, places in (("image", image), ("frame", frame))
    }
    yield compared("place", "bounds of image and frame", bounds, within=within, unit="°")


def _zones(case: Case, raster: RasterBand | None) -> Iterator[Check]:
    epsg = (raster.crs.to_epsg() or 0) if raster is not None and raster.crs is not None else 0
    zones = {"leader": case.projection.get("utm_zone"), "summary.txt": case.summary.get("Pds_UTM_ZoneNo")}
    zones = {name: zone.lstrip("0") if zone else None for name, zone in zones.items()}
    yield compared("place", "UTM zone", zones | {"GeoTIFF": f"{epsg % 100}" if epsg // 100 in (326, 327) else None})
    north, image = case.projection.get("false_northing_m"), next(iter(case.images), None)
    latitudes, center = image.stated("latitudes") if image else None, _summary_place(case.summary, "ImageSceneCenter")
    signs = {
        "false northing": None if north is None else -north,
        "leader": case.scene.get("center_latitude_deg"),
        "summary.txt": center[1] if center else None,
        "lines": None if latitudes is None else latitudes[len(latitudes) // 2, 1],
        "GeoTIFF": {326: 1, 327: -1}.get(epsg // 100),
    }
    sides = {name: None if value is None else "south" if value < 0 else "north" for name, value in signs.items()}
    yield compared("place", "hemisphere", sides)


def _system(case: Case, raster: RasterBand | None) -> CRS | None:
    """The coordinate system of the map corners: as given, else the GeoTIFF's, else the leader's UTM zone."""
    leader = case.file("LED")
    if case.crs is not None or raster is not None or leader is None:
        return case.crs or (raster and raster.crs)
    try:
        return utm(case.projection, leader)
    except Alos2TutError:
        return None


def _corners(record: Mapping[str, Any], x: str, y: str) -> NDArray[np.float64] | None:
    """Two fields of each corner of the map, (4, 2)."""
    points = [_all_of(record, f"{corner}_{x}", f"{corner}_{y}") for corner in geometry.CORNERS]
    return np.array(points) if all(points) else None


def _lines_corners(case: Case) -> NDArray[np.float64] | None:
    """Of the first and last line of a map-projected image that is all there; NaN where they cannot be."""
    for image in case.images:
        if image.lines is None or image.stated("latitudes") is None or image.stated("longitudes") is None:
            continue
        if image.lines.file.sample_code == "IU2" and image.lines.file.lines == image.fields["lines"]:
            places = line_places(image.lines.file)
            return np.full((4, 2), np.nan) if places is None else np.array(list(places.values()))
    return None


def _coefficients(record: Mapping[str, Any], corners: NDArray[np.float64] | None) -> Check:
    """Whether the record's polynomial puts the corner pixels where the record says they are."""
    a, lines, pixels = record.get("coefficients_a"), record.get("lines"), record.get("pixels")
    by_polynomial = None
    if a is not None and any(a) and lines and pixels:
        r, c = np.array([(1, 1), (1, pixels), (lines, pixels), (lines, 1)], dtype=np.float64).T
        by_polynomial = np.round(np.stack([np.ones(4), r, c, r * c], axis=1) @ np.reshape(a, (2, 4)).T, 7)
    return _same_place("A11…A24", {"degrees": corners, "polynomial": by_polynomial}, within=1e-5)


def _spacings(case: Case, corners: NDArray[np.float64] | None, shape: tuple[int, int]) -> Iterator[Check]:
    names, stated = ("line_spacing_m", "pixel_spacing_m"), number(case.summary.get("Pds_PixelSpacing"))
    values = {"leader": _all_of(case.scene, *names), "map projection": _all_of(case.projection, *names)}
    values |= {"summary.txt": (stated, stated) if stated else None}
    if corners is not None and min(shape) > 1:
        sides = np.linalg.norm(corners[[3, 1]] - corners[0], axis=1) / (np.array(shape) - 1)
        values |= {"corners": tuple(sides.tolist())}
        misfit, limit = float(np.linalg.norm(corners[0] - corners[1] + corners[2] - corners[3])), float(sides.max())
        texts = {"corners": f"misfit {misfit:.3g} m", "a pixel": f"{limit:.3g} m"}
        yield judged("place", "parallelogram", misfit <= limit, texts, "to within a pixel")
    yield compared("place", "spacing of lines, pixels", values, within=0.005, unit=" m")


# --- slant ranges and angles


def _view(case: Case) -> Iterator[Check]:
    incidence, off_nadir = case.scene.get("incidence_deg") or None, case.scene.get("off_nadir_deg") or None
    by_off_nadir = None
    if off_nadir is not None:
        sine = math.sin(math.radians(off_nadir))
        sine *= 1 + case.found.satellite.orbit_height_m / geometry.EARTH_RADIUS_M
        by_off_nadir = math.degrees(math.asin(sine)) if abs(sine) < 1 else math.nan
    stated = {"leader": off_nadir, "summary.txt": number(case.summary.get("Img_OffNadirAngle"))}
    yield compared("view", "off-nadir angle", stated, within=0.06, unit="°")
    angles = {"leader": incidence, "off-nadir angle": by_off_nadir}
    yield compared("view", "incidence, off-nadir angle", angles, within=1.5, unit="°", note="on a sphere")
    for image in case.images:
        # the middle of a scan is not that of the scene
        yield from _ranges(case, image, None if image.match["scan"] else incidence)


def _ranges(case: Case, image: Image, incidence: float | None) -> Iterator[Check]:
    ranges, name = _slant_ranges(case, image), f"slant ranges of {image.label}"
    if ranges is None:
        yield judged("view", name, None, {})
        return
    steps, middle = np.diff(ranges, axis=1), ranges[len(ranges) // 2]
    is_good = bool((steps > 0).all() or (steps < 0).all()) and ranges.min() > 500_000 and ranges.max() < 1_500_000
    yield judged("view", name, is_good, {"lines": middle}, "500…1500 km, all rising or all falling, in m")
    stated_m, nominal_m = case.projection.get("platform_altitude_m") or 0.0, case.found.satellite.orbit_height_m
    height_m = stated_m if nominal_m / 2 < stated_m < 2 * nominal_m else nominal_m
    by_range = float(geometry.incidence_by_slant_range_deg(middle[1], geometry.EARTH_RADIUS_M + height_m))
    polynomial = case.scene.get("incidence_polynomial") or (0.0,)
    by_polynomial = math.degrees(np.polynomial.polynomial.polyval(middle[1] / 1000, polynomial))
    angles = {"leader": incidence, "slant range": by_range, "θ(R)": by_polynomial if any(polynomial) else None}
    note = f"sphere, orbit {height_m / 1000:.0f} km high"
    yield compared("view", f"incidence, {name}", angles, within=2.5, unit="°", note=note)
    if any(polynomial):
        yield compared("view", f"θ(R), {name}", angles | {"slant range": None}, within=0.2, unit="°")


def _slant_ranges(case: Case, image: Image) -> NDArray[np.float64] | None:
    """Metres at the first, middle and last pixel of the lines (lines, 3)."""
    lines, (_, spacing) = image.lines, stated_spacing_m(case.scene, case.product_id.get("level", ""))
    if lines is None or image.stated("slant_range_m") is None or (lines.file.sample_code == "C*8" and not spacing):
        return None
    places = np.array([0, 0.5, 1]) * (lines.file.pixels - 1)
    return np.concatenate(
        [lines.file.slant_range_m(slice(row, row + 1), places, spacing) for row in lines.rows.tolist()]
    )


# --- radiometry and records


def _radiometry(case: Case) -> Iterator[Check]:
    yield _factor(case)
    versions = {kind: case.record(name).get("software") for kind, name in _DESCRIPTORS.items()}
    versions |= {f"IMG {image.label}": image.fields.get("software") for image in case.images}
    yield compared("radiometry", "software version", versions)
    # the middle of the band: 1236.5, 1257.5 and 1278.5 MHz
    wavelength = {"leader": case.scene.get("wavelength_m"), "L-band": 0.2385}
    yield compared("radiometry", "wavelength", wavelength, within=0.005, unit=" m")
    looks, is_slc = _all_of(case.scene, "azimuth_looks", "range_looks"), case.product_id.get("level") == "1.1"
    is_good = None if looks is None else looks == (1, 1) if is_slc else min(looks) >= 1
    rule = "1, 1 at Level 1.1" if is_slc else "1 or more"
    yield judged("radiometry", "looks in azimuth, range", is_good, {"leader": looks}, f"expected: {rule}")


def _factor(case: Case) -> Check:
    """The leader's factor against JAXA's, which for beam W2 changed; its old products say −83 dB all the same."""
    factor, product = case.record("radiometric").get("calibration_factor_db"), case.product
    mode, processed = case.product_id.get("mode", ""), product.processed if product else None
    # where no file says when it was processed, it may be an old one
    is_old = is_w2_before_correction(mode, case.scene.get("beam"), processed or "0000")
    satellite, used, note = case.found.satellite, None, ""
    usual = factor if factor in satellite.factors_db and satellite is not ALOS2 else satellite.factors_db[0]
    right = radiometry.OLD_W2_FACTOR_DB if is_old and satellite is ALOS2 else usual
    if product is not None:
        used = product.calibration_factor_db - (radiometry.SLC_OFFSET_DB if product.level == "1.1" else 0.0)
        note = f"open_product: {product.calibration_source}"
    is_right = factor in (right, usual) and (used in (None, right) or (processed is None and used == usual))
    # what was assumed for want of a factor confirms none
    values = {"leader": factor, "JAXA's publication": right, "open_product": None if factor is None else used}
    return judged("radiometry", "calibration factor in dB", None if factor is None else is_right, values, note)


def _records(case: Case) -> Iterator[Check]:
    """How many records of which length leader and trailer state, and have."""
    source, descriptor = case.file("LED"), case.record("leader_descriptor")
    if source is not None and descriptor:
        met = [(name, len(record)) for name, record in ceos.walk_records(source, "leader_descriptor")]
        wrong, total = [], 0
        for kind in ceos_layout.COUNTED:
            count, length = descriptor[f"{kind}_count"] or 0, descriptor[f"{kind}_bytes"]
            lengths = [n for name, n in met if name == kind]
            total += count
            if lengths != [length] * count:
                wrong.append(f"{kind}: {count} of {length} bytes stated, {lengths or 'none'} met")
        both = {"descriptor": total, "met": len(met) - 1}
        yield judged("records", "records of the leader", not wrong, both, "; ".join(wrong))
        stated = next((_all_of(pointer, "records", "longest_bytes") for pointer in case.pointers("SARL")), None)
        pairs = {"volume directory": stated, "met": (len(met), max(length for _, length in met))}
        yield compared("records", "number and longest of the leader", pairs)
    source, fields = case.file("TRL"), case.record("trailer_descriptor")
    if source is not None and fields.get("images") == 1:
        parts = _all_of(fields, "image_columns", "image_rows", "image_sample_bytes")
        values = {"descriptor": fields["image_bytes"], "columns × rows × bytes": parts and math.prod(parts)}
        values["file"] = source.size - ceos_layout.DESCRIPTOR_BYTES
        yield compared("records", "bytes of the trailer's image", values)
