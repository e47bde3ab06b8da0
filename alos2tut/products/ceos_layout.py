"""Records of JAXA's CEOS files, field by field: what is read of them. What else is written stands with the writer."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..geometry import CORNERS

#: field → (first byte, format). Formats: A text, I whole number, F and E number (fixed or scientific when written),
#: with width and decimals. A count before them makes a tuple: "6E20.13".
Layout = Mapping[str, tuple[int, str]]

HEADER = struct.Struct(">IBBBBI")
DESCRIPTOR_BYTES = 720


class Record(NamedTuple):
    """A kind of record: subtype 1, type, subtype 2 and 3 of its header, its fields, and its usual length in bytes."""

    codes: tuple[int, int, int, int]
    layout: Layout
    length: int


_SOFTWARE = {"software": (33, "A12")}

IMAGE_DESCRIPTOR: Layout = {
    **_SOFTWARE,
    "line_records": (181, "I6"),
    "record_bytes": (187, "I6"),
    "lines": (237, "I8"),
    "pixels": (249, "I8"),
    "prefix_bytes": (277, "I4"),
    "data_bytes": (281, "I8"),
    "suffix_bytes": (289, "I4"),
    "sample_code": (429, "A4"),
    # Level 1.1 of ScanSAR, processed by SPECAN
    "bursts": (449, "I4"),
    "lines_per_burst": (453, "I4"),
    "burst_overlap_lines": (457, "I4"),
}

#: records that a leader's descriptor counts, in the order of the file, and where it does
COUNTED = {
    "dataset_summary": 181,
    "map_projection": 193,
    "platform": 205,
    "attitude": 217,
    "radiometric": 229,
    "quality": 253,
    **{f"facility_{n}": 421 + 14 * (n - 1) for n in range(1, 6)},
}

LEADER_DESCRIPTOR: Layout = {
    **_SOFTWARE,
    **{f"{name}_count": (start, "I6") for name, start in COUNTED.items()},
    **{f"{name}_bytes": (start + 6, "I8" if start > 400 else "I6") for name, start in COUNTED.items()},
}

TRAILER_DESCRIPTOR: Layout = {
    **_SOFTWARE,
    "images": (491, "I6"),
    # of the first low-resolution image, which follows the descriptor without a header
    "image_bytes": (497, "I8"),
    "image_columns": (505, "I6"),
    "image_rows": (511, "I6"),
    "image_sample_bytes": (517, "I6"),
}

DATASET_SUMMARY: Layout = {
    "scene_id": (21, "A32"),
    "center_time": (69, "A32"),
    "center_latitude_deg": (117, "F16.7"),
    "center_longitude_deg": (133, "F16.7"),
    "orbit": (445, "I8"),
    # direction of view against that of flight: 90 looks right
    "clock_angle_deg": (477, "F8.3"),
    "incidence_deg": (485, "F8.3"),
    "mission": (397, "A16"),
    "wavelength_m": (501, "F16.7"),
    # of echoes; half the light's way in between is the spacing of samples in range
    "sampling_mhz": (711, "F16.7"),
    "level": (1095, "A16"),
    "azimuth_looks": (1175, "F16.7"),
    "range_looks": (1191, "F16.7"),
    "range_resolution_m": (1351, "F16.7"),
    "azimuth_resolution_m": (1367, "F16.7"),
    "orbit_direction": (1535, "A8"),
    # at Level 1.1 in range, then in azimuth: JAXA's sample ALOS2403684200-200620 states 1.4304222 and 2.1960598
    # (GDAL, autotest/gdrivers/sar_ceos.py), and 1.4304222 m are its samples' spacing
    "line_spacing_m": (1687, "F16.7"),
    "pixel_spacing_m": (1703, "F16.7"),
    "off_nadir_deg": (1839, "F16.7"),
    "beam": (1855, "I4"),
    # incidence in radians: a0 + a1 R + … + a5 R⁵, slant range R in km; all zero in the Level 1.5 product at hand
    "incidence_polynomial": (1887, "6E20.13"),
}

MAP_PROJECTION: Layout = {
    "pixels": (61, "I16"),
    "lines": (77, "I16"),
    "line_spacing_m": (93, "F16.7"),
    "pixel_spacing_m": (109, "F16.7"),
    "platform_altitude_m": (189, "F16.7"),
    "projection": (413, "A32"),
    "utm_zone": (477, "A4"),
    "false_northing_m": (497, "F16.5"),
    **{
        # corners are the centres of the corner pixels, in the order TL, TR, BR, BL
        f"{corner}_{axis}": (start + 32 * i + 16 * j, "F16.7")
        for start, axes in ((945, ("northing_km", "easting_km")), (1073, ("latitude_deg", "longitude_deg")))
        for i, corner in enumerate(CORNERS)
        for j, axis in enumerate(axes)
    },
    # A11…A14: longitude, A21…A24: latitude in degrees = A1 + A2 R + A3 C + A4 R C of line R and pixel C, from 1 on
    "coefficients_a": (1265, "8E20.10"),
}

VOLUME_DESCRIPTOR: Layout = {
    **_SOFTWARE,
    # when the product was processed: yyyymmdd, hhmmsscc
    "created_date": (113, "A8"),
    "created_time": (121, "A8"),
}

FILE_POINTER: Layout = {"class_code": (65, "A4"), "records": (101, "I8"), "longest_bytes": (117, "I8")}

FACILITY: Layout = {"sequence": (13, "I4")}
_FACILITY_CODES = (18, 200, 18, 70)

RECORDS: dict[str, Record] = {
    "image_descriptor": Record((50, 192, 18, 18), IMAGE_DESCRIPTOR, DESCRIPTOR_BYTES),
    "leader_descriptor": Record((11, 192, 18, 18), LEADER_DESCRIPTOR, DESCRIPTOR_BYTES),
    "trailer_descriptor": Record((63, 192, 18, 18), TRAILER_DESCRIPTOR, DESCRIPTOR_BYTES),
    "volume_descriptor": Record((192, 192, 18, 18), VOLUME_DESCRIPTOR, 360),
    "file_pointer": Record((219, 192, 18, 18), FILE_POINTER, 360),
    "text": Record((18, 192, 18, 18), {"product": (17, "A40"), "scene": (157, "A40")}, 360),
    "dataset_summary": Record((18, 10, 18, 20), DATASET_SUMMARY, 4096),
    "map_projection": Record((18, 20, 18, 20), MAP_PROJECTION, 1620),
    "platform": Record((18, 30, 18, 20), {}, 4680),
    "attitude": Record((18, 40, 18, 20), {}, 16384),
    "radiometric": Record((18, 50, 18, 20), {"calibration_factor_db": (21, "F16.7")}, 9860),
    "quality": Record((18, 60, 18, 20), {}, 1620),
    "facility_1": Record(_FACILITY_CODES, FACILITY, 325000),
    "facility_2": Record(_FACILITY_CODES, FACILITY, 511000),
    "facility_3": Record(_FACILITY_CODES, FACILITY, 3072),
    "facility_4": Record(_FACILITY_CODES, FACILITY, 728000),
    "facility_5": Record(_FACILITY_CODES, FACILITY, 5000),
}

#: header types of the lines of an image, and the fields before their pixels, by the pixels' type; numbers are
#: big-endian. Angles and positions in millionths of a degree are signed: south and west are negative.
LINE_CODES = {"IU2": (50, 11, 18, 20), "C*8": (50, 10, 18, 20)}

_COMMON_PREFIX: Layout = {
    "sequence": (1, ">u4"),
    "type": (5, "4u1"),
    "length": (9, ">u4"),
    "line": (13, ">u4"),
    "left_fill": (21, ">u4"),
    "data_pixels": (25, ">u4"),
    "right_fill": (29, ">u4"),
    "year": (37, ">u4"),
    "day_of_year": (41, ">u4"),
    "millisecond": (45, ">u4"),
    "channel": (49, ">u2"),
    # 0 horizontal, 1 vertical
    "transmitted": (53, ">u2"),
    "received": (55, ">u2"),
    "scan": (61, ">u4"),
}

#: of Levels 1.5 and 2.1, whose three values belong to the first, middle and last pixel, and of Level 1.1
PREFIXES: dict[str, Layout] = {
    "IU2": {**_COMMON_PREFIX, "slant_range_m": (65, "3>u4"), "latitudes": (133, "3>i4"), "longitudes": (145, "3>i4")},
    "C*8": {
        **_COMMON_PREFIX,
        "invalid": (97, ">u4"),
        "slant_range_m": (117, ">u4"),
        "platform_altitude_m": (141, ">i4"),
        "latitudes": (193, "3>i4"),
        "longitudes": (205, "3>i4"),
        "frame": (285, ">u4"),
    },
}

#: bytes before the pixels of a line that are read, by the pixels' type: all there are of Levels 1.5 and 2.1, and those
#: that all satellites have of Level 1.1 (see :mod:`.satellites`)
PREFIX_BYTES = {"IU2": 192, "C*8": 412}

#: pixels as they lie in the file
SAMPLE_DTYPES: dict[str, np.dtype[Any]] = {"IU2": np.dtype(">u2"), "C*8": np.dtype(">c8")}


def prefix_dtype(sample_code: str, more: Layout | None = None) -> np.dtype[Any]:
    """The prefix of a line, big-endian as it lies in the file, as a NumPy structure.

    Args:
        sample_code: ``IU2`` (Level 1.5, 2.1) or ``C*8`` (Level 1.1).
        more: fields beside those that are read.
    """
    fields = {**PREFIXES[sample_code], **(more or {})}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for _, form in fields.values()],
            "offsets": [start - 1 for start, _ in fields.values()],
            "itemsize": PREFIX_BYTES[sample_code],
        }
    )


_FORM = re.compile(r"(?P<number>\d*)(?P<kind>[AIFE])(?P<width>\d+)(?:\.(?P<decimals>\d+))?")

# Python's int() and float() also take underscores, "nan" and the like, which are no numbers here
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([ED][+-]?\d+)?", re.IGNORECASE)


class Form(NamedTuple):
    """A field's format: how many values, their kind (one of AIFE), width in bytes, and decimals when written."""

    number: int
    kind: str
    width: int
    decimals: int | None
    is_tuple: bool

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole field."""
        return self.number * self.width


@cache
def parse_form(form: str) -> Form:
    """A format of a :data:`Layout` taken apart."""
    match = _FORM.fullmatch(form)
    if match is None:
        raise ValueError(f"{form!r} is no format of a field")
    number, kind, width, decimals = match.groups()
    return Form(int(number or 1), kind, int(width), int(decimals) if decimals else None, is_tuple=bool(number))


def unpack(record: bytes, layout: Layout) -> dict[str, Any]:
    """Fields of an ASCII record; a blank, cut or unreadable one is None, so is a tuple that holds one.

    Args:
        record: the record's bytes, header included.
        layout: the record's fields.
    """
    values: dict[str, Any] = {}
    for name, (start, text) in layout.items():
        form = parse_form(text)
        raw = record[start - 1 : start - 1 + form.total_bytes]
        if len(raw) < form.total_bytes:
            values[name] = None  # half a number is another number
            continue
        found = tuple(_converted(raw[i : i + form.width], form.kind) for i in range(0, len(raw), form.width))
        values[name] = found[0] if not form.is_tuple else None if None in found else found
    return values


def _converted(raw: bytes, kind: str) -> Any:
    text = raw.decode("ascii", errors="replace").strip(" \0\t\r\n")
    if kind == "A":
        return text or None
    if kind == "I":
        return int(text) if _WHOLE.fullmatch(text) else None
    value = float(text.upper().replace("D", "E")) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None
