"""Writing CEOS products in JAXA's form, strip by strip.

The layout is that of :mod:`alos2tut.products.ceos_layout`, and ``ceos_records.yaml`` for what only is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import geometry
from ..core.artifacts import atomic_path, read_yaml
from ..products import ceos, ceos_layout
from ..products.sources import FileSource
from ..radiometry import CALIBRATION_FACTOR_DB
from .ceos_description import Floats, ProductDescription

#: lines that are put together at once
_CHUNK_LINES = 256
_WAVELENGTH_M = 0.2424525
_LIGHT_M_S = 299_792_458
#: in azimuth, and on the ground in range
_RESOLUTION_M = 3.0
_STATES, _STATE_INTERVAL_S, _ATTITUDE_POINTS = 28, 60.0, 22
#: how VOL calls the kinds of files, and their code
_FILE_KINDS = {
    "LED": ("SARLEADER FILE", "SARL"),
    "IMG": ("IMAGERY OPTIONS FILE", "IMOP"),
    "TRL": ("SARTRAILER FILE", "SART"),
}
_CORNER_NAMES = dict(zip(geometry.CORNERS, ("LeftTop", "RightTop", "RightBottom", "LeftBottom"), strict=True))


def write_ceos_product(
    folder: str | Path, description: ProductDescription, images: Mapping[str, Iterable[NDArray[Any]]]
) -> list[Path]:
    """Write VOL, LED, IMG, TRL and ``summary.txt`` of a product.

    Args:
        folder: made where it is missing; files of the same name are replaced. VOL and ``summary.txt`` list all images
            of the product that are there by then.
        description: what the product says about itself.
        images: by polarisation, its pixels (uint16) in strips of whole lines from the top, written as they come.

    Returns:
        The files: VOL, LED, all IMG, TRL, ``summary.txt``.

    Raises:
        ValueError: strips of another width, type or number of lines than described.
        Alos2TutError: the files cannot be written. No image is left of a product that could not be finished.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    leader = _leader(description, len(images))
    # all images take their names, or none does
    with ExitStack() as stack:
        for polarization, strips in images.items():
            path = stack.enter_context(atomic_path(folder / description.image_name(polarization)))
            _write_image(path, description, polarization, strips)
    written = sorted(folder.glob(f"IMG-??-{description.identity}*"))
    paths = {kind: folder / f"{kind}-{description.identity}" for kind in ("VOL", "LED", "TRL")}
    paths["LED"].write_bytes(b"".join(leader))
    paths["TRL"].write_bytes(_descriptor(description, "TRL", {"images": 0}))
    paths["VOL"].write_bytes(_volume(description, leader, written))
    ordered = [paths["VOL"], paths["LED"], *written, paths["TRL"]]
    summary = folder / "summary.txt"
    summary.write_text(_summary_text(description, ordered, written), encoding="ascii", newline="\n")
    return [*ordered, summary]


@cache
def _written() -> dict[str, dict[str, list[Any]]]:
    table: dict[str, dict[str, list[Any]]] = read_yaml(resources.files(__package__).joinpath("ceos_records.yaml"))
    return table


def written_layout(kind: str) -> ceos_layout.Layout:
    """The fields of a record, or of the prefix of a line, that are written beside those that are read."""
    return {name: (start, form) for name, (start, form, *_) in _written().get(kind, {}).items()}


def _constants(kind: str) -> dict[str, Any]:
    return {name: field[2] for name, field in _written().get(kind, {}).items() if len(field) > 2}


def pack(kind: str, sequence: int, values: Mapping[str, Any], *, length: int | None = None) -> bytes:
    """A record of :data:`.RECORDS` with these fields and its constants; all else, and what is None, is blank.

    Raises:
        ValueError: a value that does not fit its field.
    """
    record_kind = ceos_layout.RECORDS[kind]
    layout = {**record_kind.layout, **written_layout(kind)}
    length = length or record_kind.length
    record = bytearray(b" " * length)
    record[:12] = ceos_layout.HEADER.pack(sequence, *record_kind.codes, length)
    for name, value in (_constants(kind) | dict(values)).items():
        if value is None:
            continue
        start, text = layout[name]
        form = ceos_layout.parse_form(text)
        parts = value if isinstance(value, (tuple, list)) else [value] * form.number
        field = "".join(_field(part, form) for part in parts)
        if len(field) != form.total_bytes:
            raise ValueError(f"{value!r} does not fit {name} ({text})")
        record[start - 1 : start - 1 + len(field)] = field.encode("ascii")
    return bytes(record)


def _field(value: Any, form: ceos_layout.Form) -> str:
    if form.kind == "A":
        return f"{value:<{form.width}}"
    return f"{value:>{form.width}}" if form.kind == "I" else f"{value:>{form.width}.{form.decimals}{form.kind}}"


# --- images


def _write_image(
    path: Path, description: ProductDescription, polarization: str, strips: Iterable[NDArray[Any]]
) -> None:
    lines, pixels = description.shape
    dtype = _record_dtype(description)
    records = np.zeros(min(_CHUNK_LINES, lines), dtype)
    wanted = ceos_layout.SAMPLE_DTYPES[description.sample_code].newbyteorder("=")
    first = 0
    with open(path, "wb") as image:
        image.write(_image_descriptor(description))
        for strip in strips:
            if strip.ndim != 2 or strip.shape[1] != pixels or strip.dtype != wanted or first + len(strip) > lines:
                raise ValueError(
                    f"{path.name}: a strip of {strip.shape} {strip.dtype} at line {first} is not part of {lines} × "
                    f"{pixels} {wanted}"
                )
            for start in range(0, len(strip), len(records)):
                part = strip[start : start + len(records)]
                chunk = records[: len(part)]
                _fill_prefixes(chunk, description, polarization, np.arange(first, first + len(part)))
                chunk["samples"] = part
                image.write(chunk.view(np.uint8).data)
                first += len(part)
    if first != lines:
        raise ValueError(f"{path.name}: strips have {first} lines together, not {lines}")


def _record_dtype(description: ProductDescription) -> np.dtype[Any]:
    """One line: its prefix, then the pixels as ``samples``."""
    code = description.sample_code
    prefix = ceos_layout.prefix_dtype(code, written_layout(f"line {code}"))
    fields = {name: (form, offset) for name, (form, offset, *_) in (prefix.fields or {}).items()}
    fields["samples"] = (np.dtype((ceos_layout.SAMPLE_DTYPES[code], description.shape[1:])), description.prefix_bytes)
    names, formats, offsets = list(fields), *zip(*fields.values(), strict=True)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": description.record_bytes})


def _fill_prefixes(
    records: NDArray[Any], description: ProductDescription, polarization: str, rows: NDArray[np.int64]
) -> None:
    pixels = description.shape[1]
    # the centre may lie between two pixels
    latitudes, longitudes = description.places(rows[:, None], [0, (pixels - 1) / 2, pixels - 1])
    midnight = datetime.combine(description.center_time.date(), datetime.min.time())
    of_day = np.rint(1e6 * ((description.center_time - midnight).total_seconds() + description.seconds(rows)))
    values: dict[str, Any] = {
        # the descriptor is record 1
        "sequence": rows + 2,
        "type": ceos_layout.LINE_CODES[description.sample_code],
        "length": description.record_bytes,
        "line": rows + 1,
        "data_pixels": pixels,
        "year": description.center_time.year,
        "day_of_year": description.center_time.timetuple().tm_yday,
        "millisecond": of_day // 1000,
        "channel": {"S": 1, "D": 2, "Q": 4}.get(description.product_id[2], 1),
        "transmitted": "HV".index(polarization[0]),
        "received": "HV".index(polarization[1]),
        "latitudes": np.rint(1e6 * latitudes),
        "longitudes": np.rint(1e6 * longitudes),
        **_constants(f"line {description.sample_code}"),
        **description.line_values(rows),
    }
    for name, value in values.items():
        records[name] = value


def _image_descriptor(description: ProductDescription) -> bytes:
    lines, pixels = description.shape
    sample_bytes = ceos_layout.SAMPLE_DTYPES[description.sample_code].itemsize
    values = {
        "line_records": lines,
        "record_bytes": description.record_bytes,
        "bits_per_sample": 16,
        "samples_per_group": 1,
        "bytes_per_group": sample_bytes,
        "lines": lines,
        "pixels": pixels,
        "prefix_bytes": description.prefix_bytes,
        "data_bytes": sample_bytes * pixels,
        "suffix_bytes": 0,
        "sample_format": "UNSIGNED INTEGER*2",
        "sample_code": description.sample_code,
        "maximum": 65535,
    }
    return _descriptor(description, "IMG", values)


def _descriptor(description: ProductDescription, file: str, values: Mapping[str, Any]) -> bytes:
    """The first record of LED, IMG or TRL."""
    kind = {"LED": "leader_descriptor", "IMG": "image_descriptor", "TRL": "trailer_descriptor"}[file]
    own = {"software": description.maker[0], "file_name": _file_name(description, file)}
    return _packed(description, kind, 1, own | dict(values))


def _packed(description: ProductDescription, kind: str, number: int, values: Mapping[str, Any]) -> bytes:
    """A record in which the description's own fields stand over derived ones."""
    return pack(kind, number, {**values, **description.fields.get(kind, {})})


def _file_name(description: ProductDescription, kind: str) -> str:
    """What LED, IMG and TRL call themselves: B stands for Level 1.1, C for amplitudes."""
    return f"AL2 SAR{'B' if description.level == '1.1' else 'C'}{_FILE_KINDS[kind][1]}"


# --- leader, trailer, volume directory


def _leader(description: ProductDescription, channels: int) -> list[bytes]:
    """The leader's records in JAXA's order, of its lengths."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "dataset_summary": lambda: _dataset_summary(description, channels),
        "map_projection": lambda: _map_projection(description),
        "platform": lambda: _platform(description),
        "attitude": lambda: _attitude(description),
        "radiometric": lambda: {"calibration_factor_db": CALIBRATION_FACTOR_DB},
        "quality": lambda: {
            "channels": channels,
            "noise_db": -30.0,
            "slant_range_resolution_m": _slant_resolution_m(description),
            "azimuth_resolution_m": _RESOLUTION_M,
        },
        "facility_5": lambda: _facility_5(description),
    }
    records: list[bytes] = []
    counts: dict[str, int] = {}
    for name in ceos_layout.COUNTED:
        count = int(name in description.leader_records)
        counts |= {f"{name}_count": count, f"{name}_bytes": count * ceos_layout.RECORDS[name].length}
        if count:
            values = makers[name]() if name in makers else {"sequence": int(name[-1])}
            records.append(_packed(description, name, len(records) + 2, values))
    return [_descriptor(description, "LED", counts), *records]


def _dataset_summary(description: ProductDescription, channels: int) -> dict[str, Any]:
    bandwidth_mhz = _LIGHT_M_S / 2e6 / _slant_resolution_m(description)
    line_bandwidth_hz = description.ground_speed_m_s / _RESOLUTION_M
    software, facility = description.maker
    nadir = description.axes[0]
    return {
        "scene_id": description.scene_id,
        "center_time": f"{description.center_time:%Y%m%d%H%M%S}{description.center_time.microsecond // 1000:03d}",
        "center_latitude_deg": description.center[0],
        "center_longitude_deg": description.center[1],
        "heading_deg": description.heading_deg,
        "center_line": description.shape[0] // 2,
        "center_pixel": description.shape[1] // 2,
        "channels": channels,
        "orbit": int(description.scene_id[5:10]),
        "nadir_latitude_deg": math.degrees(math.asin(nadir[2])),
        "nadir_longitude_deg": math.degrees(math.atan2(nadir[1], nadir[0])),
        "platform_heading_deg": description.heading_deg,
        "clock_angle_deg": -90.0 if description.product_id[3] == "L" else 90.0,
        "incidence_deg": description.incidence_deg,
        "wavelength_m": _WAVELENGTH_M,
        "sampling_mhz": 1.2 * bandwidth_mhz,
        "facility": facility,
        "processing_system": facility[:8],
        "processing_version": software[:8],
        "level": description.level,
        "product_type": f"{'SIMULATED' if description.simulated else 'STANDARD'} {_option(description)} IMAGE",
        "azimuth_looks": 1.0,
        "range_looks": 1.0,
        "azimuth_look_bandwidth_hz": line_bandwidth_hz,
        "range_look_bandwidth_khz": 1e3 * bandwidth_mhz,
        "azimuth_bandwidth_hz": line_bandwidth_hz,
        "range_bandwidth_khz": 1e3 * bandwidth_mhz,
        "range_resolution_m": _RESOLUTION_M,
        "azimuth_resolution_m": _RESOLUTION_M,
        "orbit_direction": "ASCEND" if description.product_id[9] == "A" else "DESCEND",
        "line_spacing_m": description.spacing_m[0],
        "pixel_spacing_m": description.spacing_m[1],
        "off_nadir_deg": description.off_nadir_deg,
        "beam": 7,
        # as in the real product
        "incidence_polynomial": (0.0,) * 6,
    }


def _option(description: ProductDescription) -> str:
    return "GEOREFERENCE" if description.product_id[7] == "R" else "GEOCODED"


def _map_projection(description: ProductDescription) -> dict[str, Any]:
    lines, pixels = description.shape
    values: dict[str, Any] = {
        "descriptor": _option(description),
        "pixels": pixels,
        "lines": lines,
        "line_spacing_m": description.spacing_m[0],
        "pixel_spacing_m": description.spacing_m[1],
        "center_radius_m": geometry.EARTH_RADIUS_M,
        "platform_altitude_m": description.radius_m - geometry.EARTH_RADIUS_M,
        "ground_speed_m_s": description.ground_speed_m_s,
        "platform_heading_deg": description.heading_deg,
        "projection": "UTM-PROJECTION",
        "utm_zone": f"{description.utm_zone:>4}",
        "false_northing_m": 10_000_000.0 if description.south else 0.0,
        "projection_longitude_deg": description.center[1],
        "projection_latitude_deg": description.center[0],
    }
    corners = description.corners()
    rows, cols = np.array(list(corners.values())).T
    latitudes, longitudes = description.places(rows, cols)
    eastings, northings = description.map_points(rows, cols)
    for i, corner in enumerate(corners):
        values[f"{corner}_northing_km"], values[f"{corner}_easting_km"] = northings[i] / 1000, eastings[i] / 1000
        values[f"{corner}_latitude_deg"], values[f"{corner}_longitude_deg"] = latitudes[i], longitudes[i]
    # polynomials do not jump at 180°
    longitudes = geometry.together(longitudes)
    pixel, place = (rows + 1.0, cols + 1.0), (longitudes, latitudes)
    values["coefficients_a"] = (*_bilinear(*pixel, longitudes), *_bilinear(*pixel, latitudes))
    values["coefficients_b"] = (*_bilinear(*place, pixel[0]), *_bilinear(*place, pixel[1]))
    return values


def _bilinear(u: Floats, v: Floats, values: Floats) -> tuple[float, ...]:
    """Coefficients of 1, u, v, uv that give these values, by least squares."""
    # degrees in a small scene hardly differ: fitted from its centre, in its own extent
    center = [float((x.min() + x.max()) / 2) for x in (u, v)]
    extent = [max(float(np.ptp(x)), 1e-9) for x in (u, v)]
    s, t = (u - center[0]) / extent[0], (v - center[1]) / extent[1]
    terms = np.stack([np.ones_like(s), s, t, s * t], axis=-1)
    constant, by_s, by_t, by_both = np.linalg.lstsq(terms, values, rcond=None)[0].tolist()
    both = by_both / (extent[0] * extent[1])
    by_u, by_v = by_s / extent[0] - both * center[1], by_t / extent[1] - both * center[0]
    return constant - by_u * center[0] - by_v * center[1] - both * center[0] * center[1], by_u, by_v, both


def _platform(description: ProductDescription) -> dict[str, Any]:
    center = description.center_time
    # whole minutes, with the scene in the middle
    start = (center - timedelta(seconds=_STATES / 2 * _STATE_INTERVAL_S)).replace(second=0, microsecond=0)
    seconds = (start - center).total_seconds() + _STATE_INTERVAL_S * np.arange(_STATES)
    positions, velocities = description.satellite(seconds)
    position, velocity = description.satellite(0.0)
    return {
        "position_m": tuple(position.tolist()),
        "velocity_m_s": tuple(velocity.tolist()),
        "points": _STATES,
        "year": start.year,
        "month": start.month,
        "day": start.day,
        "day_of_year": start.timetuple().tm_yday,
        "second_of_day": (start - datetime.combine(start.date(), datetime.min.time())).total_seconds(),
        "interval_s": _STATE_INTERVAL_S,
        "states": tuple(np.concatenate([positions, velocities], axis=1).ravel().tolist()),
    }


def _attitude(description: ProductDescription) -> dict[str, Any]:
    """Level flight: all angles and rates are 0, a point per second."""
    first = description.center_time - timedelta(seconds=_ATTITUDE_POINTS // 2)
    points = []
    for n in range(_ATTITUDE_POINTS):
        time = first + timedelta(seconds=n)
        of_day = time - datetime.combine(time.date(), datetime.min.time())
        angles = "   0" * 3 + f"{0.0:14.6E}" * 3
        points.append(f"{time.timetuple().tm_yday:4d}{of_day // timedelta(milliseconds=1):8d}{angles}{angles}")
    return {"points": _ATTITUDE_POINTS, "angles": "".join(points)}


def _slant_resolution_m(description: ProductDescription) -> float:
    return _RESOLUTION_M * math.sin(math.radians(description.incidence_deg))


def _facility_5(description: ProductDescription) -> dict[str, Any]:
    """Polynomials between pixels, counted from 0, and latitude and longitude."""
    lines, pixels = description.shape
    rows, cols = (grid.ravel() for grid in np.meshgrid(*(np.linspace(0, n - 1, 9) for n in (lines, pixels))))
    latitudes, longitudes = description.places(rows, cols)
    origin = (pixels // 2, lines // 2)
    center = tuple(float(angle) for angle in description.places(origin[1], origin[0]))
    longitudes = geometry.beside(longitudes, center[1])
    p, l_ = cols - origin[0], rows - origin[1]
    phi, lam = latitudes - center[0], longitudes - center[1]
    return {
        "sequence": 5,
        # pixels counted from 1
        "pixel_terms": (*_bilinear(latitudes, longitudes, cols + 1), *(0.0,) * 6),
        "line_terms": (*_bilinear(latitudes, longitudes, rows + 1), *(0.0,) * 6),
        "latitude_coefficients": _quartic(p, l_, latitudes),
        "longitude_coefficients": _quartic(p, l_, longitudes),
        "origin_pixel": float(origin[0]),
        "origin_line": float(origin[1]),
        "pixel_coefficients": _quartic(phi, lam, cols),
        "line_coefficients": _quartic(phi, lam, rows),
        "origin_latitude_deg": center[0],
        "origin_longitude_deg": center[1],
    }


def _quartic(u: Floats, v: Floats, values: Floats) -> tuple[float, ...]:
    """Coefficients of u⁴v⁴, u⁴v³, …, u⁴, u³v⁴, …, v, 1 by least squares."""
    scales = [max(float(np.abs(x).max()), 1e-12) for x in (u, v)]
    powers = [(i, j) for i in range(4, -1, -1) for j in range(4, -1, -1)]
    terms = np.stack([(u / scales[0]) ** i * (v / scales[1]) ** j for i, j in powers], axis=-1)
    solution = np.linalg.lstsq(terms, values, rcond=None)[0]
    return tuple(c / (scales[0] ** i * scales[1] ** j) for c, (i, j) in zip(solution.tolist(), powers, strict=True))


def _volume(description: ProductDescription, leader: list[bytes], images: list[Path]) -> bytes:
    software, facility = description.maker
    processed = description.processed or description.center_time
    files = [(1, "LED", len(leader), max(map(len, leader)))]
    for path in images:
        fields = _read_descriptor(path)
        files.append((2, "IMG", fields["lines"] + 1, max(fields["record_bytes"], ceos_layout.DESCRIPTOR_BYTES)))
    files.append((3, "TRL", 1, ceos_layout.DESCRIPTOR_BYTES))
    volume = {
        "software": software,
        "physical_volume": facility,
        "volume_id": f"AL2SAR{processed:%Y%m%d}",
        "created_date": f"{processed:%Y%m%d}",
        "created_time": f"{processed:%H%M%S}00",
        "agency": "ALOS2TUT" if description.simulated else "JAXA",
        "facility": facility,
        "pointers": len(files),
    }
    records = [pack("volume_descriptor", 1, volume)]
    for number, (file_number, kind, count, longest) in enumerate(files, start=2):
        file_class, code = _FILE_KINDS[kind]
        pointer = {
            "file_number": file_number,
            "file_name": _file_name(description, kind),
            "file_class": file_class,
            "class_code": code,
            "records": count,
            "longest_bytes": longest,
            "last_record": count,
        }
        records.append(pack("file_pointer", number, pointer))
    latitude, longitude = description.center
    text = {
        "product": f"PRODUCT:{description.product_id}",
        "process": _process_text(description),
        "scene": f"ORBIT :{description.scene_id}",
        "location": f"FRAME CENTRE: N{latitude:+08.3f}  E{longitude:+08.2f}",
    }
    return b"".join([*records, pack("text", len(records) + 1, text)])


def _process_text(description: ProductDescription) -> str:
    processed = description.processed or description.center_time
    maker = "ALOS2TUT-SIMULATION" if description.simulated else f"JAPAN-JAXA-ALOS2-{description.facility}"
    return f"PROCESS:{maker}  {processed:%Y%m%d %H%M%S}"


def _read_descriptor(path: Path) -> dict[str, Any]:
    return ceos.read_image_descriptor(FileSource(path.name, path, path.stat().st_size))


def _summary_text(description: ProductDescription, files: list[Path], images: list[Path]) -> str:
    """``summary.txt`` in JAXA's order; of a simulated product it names no facility of JAXA."""
    level = description.level.replace(".", "")
    seconds = description.seconds(np.array([0, description.shape[0] - 1]))
    times = [description.center_time + timedelta(seconds=s) for s in (0.0, *seconds.tolist())]
    entries: dict[str, Any] = {
        "Odi_SceneId": "SIMULATED" if description.simulated else "SARD000000000000-00000-000-000",
        "Odi_SiteDateTime": _process_text(description),
        "Scs_SceneID": description.scene_id,
        "Scs_SceneShift": 0,
        "Pds_ProductID": description.product_id,
        "Pds_ResamplingMethod": "NN",
        "Pds_UTM_ZoneNo": description.utm_zone,
        "Pds_MapDirection": "MapNorth" if description.product_id[7] == "G" else "OrbitNorth",
        "Pds_PixelSpacing": f"{description.spacing_m[1]:.6f}",
        "Pds_OrbitDataPrecision": "Precision",
        "Pds_AttitudeDataPrecision": "Onboard",
    }
    for name, time in zip(("Center", "Start", "End"), times, strict=True):
        entries[f"Img_Scene{name}DateTime"] = f"{time:%Y%m%d %H:%M:%S}.{time.microsecond // 1000:03d}"
    points = {"Center": ((description.shape[0] - 1) / 2, (description.shape[1] - 1) / 2)}
    points |= {_CORNER_NAMES[corner]: place for corner, place in description.corners().items()}
    order = ("Center", "LeftTop", "RightTop", "LeftBottom", "RightBottom")
    for kind in ("Image", "Frame"):
        for name in order:
            latitude, longitude = (float(angle) for angle in description.places(*points[name]))
            entries[f"Img_{kind}Scene{name}Latitude"] = f"{latitude:.3f}"
            entries[f"Img_{kind}Scene{name}Longitude"] = f"{longitude:.3f}"
    entries["Img_OffNadirAngle"] = f"{description.off_nadir_deg:.1f}"
    entries["Pdi_ProductDataSize"] = f"{sum(path.stat().st_size for path in files) / 2**20:.1f}"
    entries[f"Pdi_CntOfL{level}ProductFileName"] = len(files)
    entries |= {f"Pdi_L{level}ProductFileName{i:02d}": path.name for i, path in enumerate(files, start=1)}
    entries["Pdi_BitPixel"] = 16
    # scans differ in size, polarisations do not
    scans = {path.name.partition(description.identity)[2]: _read_descriptor(path) for path in images}
    for i, fields in enumerate(scans.values()):
        entries |= {f"Pdi_NoOfPixels_{i}": fields["pixels"], f"Pdi_NoOfLines_{i}": fields["lines"]}
    entries |= {"Pdi_ProductFormat": "CEOS", "Lbi_Satellite": "ALOS2", "Lbi_Sensor": "SAR"}
    entries["Lbi_ProcessLevel"] = description.level
    if not description.simulated:
        entries["Lbi_ProcessFacility"] = description.facility
    entries["Lbi_ObservationDate"] = f"{description.center_time:%Y%m%d}"
    entries |= description.fields.get("summary", {})
    return "".join(f'{key}="{value}"\n' for key, value in entries.items() if value is not None)
