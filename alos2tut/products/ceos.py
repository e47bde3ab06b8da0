"""The CEOS files of ALOS-2 products: the layout once, as tables, and how they are read.

A CEOS file is a sequence of records, each with a 12-byte header that states its length. Numbers in the ASCII records
are right-justified text. Positions are 1-based, as in JAXA's "ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product
format description" (rev. F). Those of the volume, leader and trailer files and of the image descriptor were checked on
a real Level 1.5 product; those of the line prefixes are as described there, no real line was at hand.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError
from .sources import FileSource

#: field → (first byte, format). Formats: A text, I whole number, F and E number (fixed or scientific when written),
#: with width and decimals; C complex, two numbers of that width. A count before them makes a tuple: "6E20.13".
Layout = Mapping[str, tuple[int, str]]

HEADER = struct.Struct(">IBBBBI")
DESCRIPTOR_BYTES = 720
#: a real leader has 1.6 MB, in a dozen records
LARGEST_LEADER_BYTES = 64 * 2**20
_MOST_RECORDS = 1000
_LARGEST_SUMMARY_BYTES = 2**20
#: whole lines that are taken at once where only a part of each is wanted
_CHUNK_BYTES = 4 * 2**20


class Record(NamedTuple):
    """A kind of record: subtype 1, type, subtype 2 and 3 of its header, its fields, and its usual length in bytes."""

    codes: tuple[int, int, int, int]
    layout: Layout
    length: int


_DESCRIPTOR: Layout = {
    "standard": (17, "A12"),
    "software": (33, "A12"),
    "file_number": (45, "I4"),
    "file_name": (49, "A16"),
    "formats": (65, "A48"),
}
IMAGE_DESCRIPTOR: Layout = {
    **_DESCRIPTOR,
    "line_records": (181, "I6"),
    "record_bytes": (187, "I6"),
    "bits_per_sample": (217, "I4"),
    "samples_per_group": (221, "I4"),
    "bytes_per_group": (225, "I4"),
    "channels": (233, "I4"),
    "lines": (237, "I8"),
    "left_border": (245, "I4"),
    "pixels": (249, "I8"),
    "right_border": (257, "I4"),
    "top_border": (261, "I4"),
    "bottom_border": (265, "I4"),
    "interleaving": (269, "A4"),
    "records_per_line": (273, "I2"),
    "channel_records_per_line": (275, "I2"),
    "prefix_bytes": (277, "I4"),
    "data_bytes": (281, "I8"),
    "suffix_bytes": (289, "I4"),
    "locators": (297, "A104"),
    "sample_format": (401, "A28"),
    "sample_code": (429, "A4"),
    "left_fill_bits": (433, "I4"),
    "right_fill_bits": (437, "I4"),
    "maximum": (441, "I8"),
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
    **_DESCRIPTOR,
    **{f"{name}_count": (start, "I6") for name, start in COUNTED.items()},
    **{f"{name}_bytes": (start + 6, "I8" if start > 400 else "I6") for name, start in COUNTED.items()},
}
TRAILER_DESCRIPTOR: Layout = {
    **_DESCRIPTOR,
    "images": (491, "I6"),
    # of the first low-resolution image, which follows the descriptor without a header
    "image_bytes": (497, "I8"),
    "image_columns": (505, "I6"),
    "image_rows": (511, "I6"),
    "image_sample_bytes": (517, "I6"),
}
DATASET_SUMMARY: Layout = {
    "sequence": (13, "I4"),
    "scene_id": (21, "A32"),
    "center_time": (69, "A32"),
    "center_latitude_deg": (117, "F16.7"),
    "center_longitude_deg": (133, "F16.7"),
    "heading_deg": (149, "F16.7"),
    "ellipsoid": (165, "A16"),
    "semi_major_km": (181, "F16.7"),
    "semi_minor_km": (197, "F16.7"),
    "earth_mass_1e24_kg": (213, "F16.7"),
    "gravitation_1e14_m3_s2": (229, "F16.7"),
    "j2_j3_j4": (245, "3F16.7"),
    "center_line": (325, "I8"),
    "center_pixel": (333, "I8"),
    "channels": (389, "I4"),
    "mission": (397, "A16"),
    "sensor": (413, "A32"),
    "orbit": (445, "I8"),
    "nadir_latitude_deg": (453, "F8.3"),
    "nadir_longitude_deg": (461, "F8.3"),
    "platform_heading_deg": (469, "F8.3"),
    # direction of view against that of flight: 90 looks right
    "clock_angle_deg": (477, "F8.3"),
    "incidence_deg": (485, "F8.3"),
    "wavelength_m": (501, "F16.7"),
    "motion_compensation": (517, "A2"),
    "pulse_code": (519, "A16"),
    "pulse_amplitude": (535, "5E16.7"),
    "pulse_phase": (615, "5E16.7"),
    "chirp_extraction": (695, "I8"),
    "sampling_mhz": (711, "F16.7"),
    "range_gate_us": (727, "F16.7"),
    "pulse_width_us": (743, "F16.7"),
    "base_band_conversion": (759, "A4"),
    "range_compressed": (763, "A4"),
    "gain_like_db": (767, "F16.7"),
    "gain_cross_db": (783, "F16.7"),
    "quantization_bits": (799, "I8"),
    "quantization": (807, "A12"),
    "bias_i_q": (819, "2F16.7"),
    "gain_imbalance": (851, "F16.7"),
    "boresight_deg": (899, "2F16.7"),
    "echo_tracker": (931, "A4"),
    "prf_mhz": (935, "F16.7"),
    "beam_width_elevation_deg": (951, "F16.7"),
    "beam_width_azimuth_deg": (967, "F16.7"),
    "satellite_time_code": (983, "I16"),
    "satellite_clock": (999, "A32"),
    "clock_increment_ns": (1031, "I16"),
    "facility": (1047, "A16"),
    "processing_system": (1063, "A8"),
    "processing_version": (1071, "A8"),
    "level": (1095, "A16"),
    "product_type": (1111, "A32"),
    "algorithm": (1143, "A32"),
    "azimuth_looks": (1175, "F16.7"),
    "range_looks": (1191, "F16.7"),
    "azimuth_look_bandwidth_hz": (1207, "F16.7"),
    "range_look_bandwidth_khz": (1223, "F16.7"),
    "azimuth_bandwidth_hz": (1239, "F16.7"),
    "range_bandwidth_khz": (1255, "F16.7"),
    "azimuth_weighting": (1271, "A32"),
    "range_weighting": (1303, "A32"),
    "data_source": (1335, "A16"),
    "range_resolution_m": (1351, "F16.7"),
    "azimuth_resolution_m": (1367, "F16.7"),
    "along_track_doppler_hz": (1415, "3F16.7"),
    "cross_track_doppler_hz": (1479, "3F16.7"),
    "pixel_time_direction": (1527, "A8"),
    "orbit_direction": (1535, "A8"),
    "along_track_doppler_rate": (1543, "3F16.7"),
    "cross_track_doppler_rate": (1607, "3F16.7"),
    "line_content": (1671, "A8"),
    "clutter_lock": (1679, "A4"),
    "auto_focus": (1683, "A4"),
    "line_spacing_m": (1687, "F16.7"),
    "pixel_spacing_m": (1703, "F16.7"),
    "range_compression": (1719, "A16"),
    "doppler_hz": (1735, "2F16.7"),
    "calibration_data": (1767, "I4"),
    "calibration_lines": (1771, "4I8"),
    "prf_switched": (1803, "I4"),
    "prf_switch_line": (1807, "I8"),
    "beam_direction_deg": (1815, "F16.7"),
    "yaw_steering": (1831, "I4"),
    "parameter_table": (1835, "I4"),
    "off_nadir_deg": (1839, "F16.7"),
    "beam": (1855, "I4"),
    # incidence in radians: a0 + a1 R + … + a5 R⁵, slant range R in km; all zero in the Level 1.5 product at hand
    "incidence_polynomial": (1887, "6E20.13"),
    "annotations": (2007, "I8"),
}
MAP_PROJECTION: Layout = {
    "descriptor": (29, "A32"),
    "pixels": (61, "I16"),
    "lines": (77, "I16"),
    "line_spacing_m": (93, "F16.7"),
    "pixel_spacing_m": (109, "F16.7"),
    "orientation_deg": (125, "F16.7"),
    "inclination_deg": (141, "F16.7"),
    "ascending_node_deg": (157, "F16.7"),
    # described as the platform's distance from the Earth's centre; in the real product it is that of the scene's centre
    "center_radius_m": (173, "F16.7"),
    "platform_altitude_m": (189, "F16.7"),
    "ground_speed_m_s": (205, "F16.7"),
    "platform_heading_deg": (221, "F16.7"),
    "ellipsoid": (237, "A32"),
    "semi_major_m": (269, "F16.7"),
    "semi_minor_m": (285, "F16.7"),
    "datum_shift": (301, "7F16.7"),
    "projection": (413, "A32"),
    "projection_name": (445, "A32"),
    "utm_zone": (477, "A4"),
    "false_easting_m": (481, "F16.5"),
    "false_northing_m": (497, "F16.5"),
    "projection_longitude_deg": (513, "F16.7"),
    "projection_latitude_deg": (529, "F16.7"),
    "scale_factor": (577, "F16.7"),
    **{
        # corners are the centres of the corner pixels, in the order TL, TR, BR, BL
        f"{corner}_{axis}": (start + 32 * i + 16 * j, "F16.7")
        for start, axes in ((945, ("northing_km", "easting_km")), (1073, ("latitude_deg", "longitude_deg")))
        for i, corner in enumerate(("top_left", "top_right", "bottom_right", "bottom_left"))
        for j, axis in enumerate(axes)
    },
    # A11…A14: longitude, A21…A24: latitude in degrees = A1 + A2 R + A3 C + A4 R C of line R and pixel C, from 1 on
    "coefficients_a": (1265, "8E20.10"),
    # B11…B14: line, B21…B24: pixel = B1 + B2 longitude + B3 latitude + B4 longitude latitude
    "coefficients_b": (1425, "8E20.10"),
}
PLATFORM: Layout = {
    "orbit_quality": (13, "A32"),
    "position_m": (45, "3F16.7"),
    "velocity_m_s": (93, "3F16.7"),
    "points": (141, "I4"),
    "year": (145, "I4"),
    "month": (149, "I4"),
    "day": (153, "I4"),
    "day_of_year": (157, "I4"),
    "second_of_day": (161, "E22.15"),
    "interval_s": (183, "E22.15"),
    "reference": (205, "A64"),
    "position_error_m": (291, "3F16.7"),
    "velocity_error_m_s": (339, "3F16.7"),
    # x, y, z and their velocities at 28 times, Earth-fixed
    "states": (387, "168E22.15"),
    "leap_second": (4101, "I1"),
}
#: then 120 bytes for each point: day, millisecond, and three flags and angles, twice
ATTITUDE: Layout = {"points": (13, "I4")}
RADIOMETRIC: Layout = {
    "sequence": (13, "I4"),
    "channels": (17, "I4"),
    "calibration_factor_db": (21, "F16.7"),
    # polarimetric distortion on transmission (Dt) and reception (Dr): 11, 12, 21, 22
    "distortion_transmitted": (37, "4C16.7"),
    "distortion_received": (165, "4C16.7"),
}
QUALITY: Layout = {
    "sequence": (13, "I4"),
    "channels": (27, "I4"),
    "islr_db": (31, "F16.7"),
    "pslr_db": (47, "F16.7"),
    "azimuth_ambiguity_db": (63, "F16.7"),
    "range_ambiguity_db": (79, "F16.7"),
    # described as signal to noise; −32.1 in the real product looks like the noise floor
    "noise_db": (95, "F16.7"),
    "slant_range_resolution_m": (127, "F16.7"),
    "azimuth_resolution_m": (143, "F16.7"),
}
FACILITY: Layout = {"sequence": (13, "I4")}
#: the fifth facility record: polynomials between pixel and ground
FACILITY_5: Layout = {
    "sequence": (13, "I4"),
    # of latitude φ and longitude λ: 1, φ, λ, φλ, φ², λ², φ²λ, φλ², φ³, λ³
    "pixel_terms": (17, "10E20.10"),
    "line_terms": (217, "10E20.10"),
    "calibration_data": (417, "I4"),
    "calibration_lines": (421, "4I8"),
    "prf_switched": (453, "I4"),
    "prf_switch_line": (457, "I8"),
    "lost_lines": (473, "2I8"),
    # in degrees, of l and p, line and pixel less their origins: p⁴l⁴, p⁴l³, …, p⁴, p³l⁴, …, l, 1
    "latitude_coefficients": (1025, "25E20.10"),
    "longitude_coefficients": (1525, "25E20.10"),
    "origin_pixel": (2025, "E20.10"),
    "origin_line": (2045, "E20.10"),
    # of degrees of latitude φ and longitude λ less their origins: φ⁴λ⁴, φ⁴λ³, …, λ, 1
    "pixel_coefficients": (2065, "25E20.10"),
    "line_coefficients": (2565, "25E20.10"),
    "origin_latitude_deg": (3065, "E20.10"),
    "origin_longitude_deg": (3085, "E20.10"),
}
VOLUME_DESCRIPTOR: Layout = {
    "standard": (17, "A12"),
    "software": (33, "A12"),
    "physical_volume": (45, "A16"),
    "volume_id": (61, "A16"),
    "volume_set": (77, "A16"),
    "volumes": (93, "4I2"),
    "file_number": (101, "I4"),
    "volume_in_set": (105, "I4"),
    "volume_in_physical": (109, "I4"),
    # when the product was processed: yyyymmdd, hhmmsscc
    "created_date": (113, "A8"),
    "created_time": (121, "A8"),
    "country": (129, "A12"),
    "agency": (141, "A8"),
    "facility": (149, "A12"),
    "pointers": (161, "I4"),
    "texts": (165, "I4"),
}
FILE_POINTER: Layout = {
    "file_number": (17, "I4"),
    "file_name": (21, "A16"),
    "file_class": (37, "A28"),
    "class_code": (65, "A4"),
    "data_type": (69, "A28"),
    "data_code": (97, "A4"),
    "records": (101, "I8"),
    "first_bytes": (109, "I8"),
    "longest_bytes": (117, "I8"),
    "length_type": (125, "A12"),
    "length_code": (137, "A4"),
    "volumes": (141, "2I2"),
    "first_record": (145, "I8"),
    "last_record": (153, "I8"),
}
TEXT: Layout = {
    "product": (17, "A40"),
    "process": (57, "A60"),
    "tape": (117, "A40"),
    "scene": (157, "A40"),
    "location": (197, "A40"),
}

_FACILITY_CODES = (18, 200, 18, 70)
RECORDS: dict[str, Record] = {
    "image_descriptor": Record((50, 192, 18, 18), IMAGE_DESCRIPTOR, DESCRIPTOR_BYTES),
    "leader_descriptor": Record((11, 192, 18, 18), LEADER_DESCRIPTOR, DESCRIPTOR_BYTES),
    "trailer_descriptor": Record((63, 192, 18, 18), TRAILER_DESCRIPTOR, DESCRIPTOR_BYTES),
    "volume_descriptor": Record((192, 192, 18, 18), VOLUME_DESCRIPTOR, 360),
    "file_pointer": Record((219, 192, 18, 18), FILE_POINTER, 360),
    "text": Record((18, 192, 18, 18), TEXT, 360),
    "dataset_summary": Record((18, 10, 18, 20), DATASET_SUMMARY, 4096),
    "map_projection": Record((18, 20, 18, 20), MAP_PROJECTION, 1620),
    "platform": Record((18, 30, 18, 20), PLATFORM, 4680),
    "attitude": Record((18, 40, 18, 20), ATTITUDE, 16384),
    "radiometric": Record((18, 50, 18, 20), RADIOMETRIC, 9860),
    "quality": Record((18, 60, 18, 20), QUALITY, 1620),
    "facility_1": Record(_FACILITY_CODES, FACILITY, 325000),
    "facility_2": Record(_FACILITY_CODES, FACILITY, 511000),
    "facility_3": Record(_FACILITY_CODES, FACILITY, 3072),
    "facility_4": Record(_FACILITY_CODES, FACILITY, 728000),
    "facility_5": Record(_FACILITY_CODES, FACILITY_5, 5000),
}

#: header types of the lines of an image, and the fields before their pixels, by the pixels' type; numbers are
#: big-endian. Angles and positions in millionths of a degree are signed: south and west are negative.
LINE_CODES = {"IU2": (50, 11, 18, 20), "C*8": (50, 10, 18, 20)}
_COMMON_PREFIX: dict[str, tuple[int, str]] = {
    "sequence": (1, ">u4"),
    "type": (5, "4u1"),
    "length": (9, ">u4"),
    "line": (13, ">u4"),
    "index": (17, ">u4"),
    "left_fill": (21, ">u4"),
    "data_pixels": (25, ">u4"),
    "right_fill": (29, ">u4"),
    "update_flag": (33, ">u4"),
    "year": (37, ">u4"),
    "day_of_year": (41, ">u4"),
    "millisecond": (45, ">u4"),
    "channel": (49, ">u2"),
    "band": (51, ">u2"),
    # 0 horizontal, 1 vertical
    "transmitted": (53, ">u2"),
    "received": (55, ">u2"),
    "prf_mhz": (57, ">u4"),
    "scan": (61, ">u4"),
}
#: Level 1.5 and 2.1; three values belong to the first, middle and last pixel
_AMPLITUDE_PREFIX: dict[str, tuple[int, str]] = {
    "slant_range_m": (65, "3>u4"),
    "doppler_mhz": (77, "3>i4"),
    "fm_rate_hz_ms": (89, "3>i4"),
    "look_angle": (101, ">i4"),
    "squint_angle": (105, ">i4"),
    "geographic_update_flag": (129, ">u4"),
    "latitudes": (133, "3>i4"),
    "longitudes": (145, "3>i4"),
    "northing_first_m": (157, ">i4"),
    "northing_last_m": (165, ">i4"),
    "easting_first_m": (169, ">i4"),
    "easting_last_m": (177, ">i4"),
    "heading": (181, ">i4"),
}
#: Level 1.1
_COMPLEX_PREFIX: dict[str, tuple[int, str]] = {
    "range_compressed": (65, ">u2"),
    "chirp_type": (67, ">u2"),
    "chirp_length_ns": (69, ">u4"),
    "chirp_coefficients": (73, "3>i4"),
    "microsecond": (85, ">u8"),
    "gain_db": (93, ">u4"),
    "invalid": (97, ">u4"),
    "elevation_angles": (101, "2>i4"),
    "squint_angles": (109, "2>i4"),
    "slant_range_m": (117, ">u4"),
    "window_ns": (121, ">u4"),
    "platform_update_flag": (129, ">u4"),
    "platform_latitude": (133, ">i4"),
    "platform_longitude": (137, ">i4"),
    "platform_altitude_m": (141, ">i4"),
    "ground_speed_cm_s": (145, ">i4"),
    "velocity_cm_s": (149, "3>i4"),
    "acceleration_cm_s2": (161, "3>i4"),
    "track_angle": (173, ">i4"),
    "true_track_angle": (177, ">i4"),
    "attitude": (181, "3>i4"),
    "latitudes": (193, "3>i4"),
    "longitudes": (205, "3>i4"),
    "burst": (217, ">u4"),
    "line_in_burst": (221, ">u4"),
    "frame": (285, ">u4"),
}
#: bytes before the pixels of a line, by the pixels' type
PREFIX_BYTES = {"IU2": 192, "C*8": 544}
#: pixels as they lie in the file
SAMPLE_DTYPES: dict[str, np.dtype[Any]] = {"IU2": np.dtype(">u2"), "C*8": np.dtype(">c8")}


def prefix_dtype(sample_code: str) -> np.dtype[Any]:
    """The prefix of a line, big-endian as it lies in the file, as a NumPy structure.

    Args:
        sample_code: ``IU2`` (Level 1.5, 2.1) or ``C*8`` (Level 1.1).
    """
    fields = {**_COMMON_PREFIX, **(_AMPLITUDE_PREFIX if sample_code == "IU2" else _COMPLEX_PREFIX)}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for _, form in fields.values()],
            "offsets": [start - 1 for start, _ in fields.values()],
            "itemsize": PREFIX_BYTES[sample_code],
        }
    )


_FORM = re.compile(r"(?P<number>\d*)(?P<kind>[AIFEC])(?P<width>\d+)(?:\.(?P<decimals>\d+))?")
# Python's int() and float() also take underscores, "nan" and the like, which are no numbers here
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([ED][+-]?\d+)?", re.IGNORECASE)


class Form(NamedTuple):
    """A field's format: how many values, their kind (one of AIFEC), width in bytes, and decimals when written."""

    number: int
    kind: str
    width: int
    decimals: int | None
    is_tuple: bool

    @property
    def total_bytes(self) -> int:
        """Bytes of the whole field."""
        return self.number * self.width * (2 if self.kind == "C" else 1)


@cache
def parse_form(form: str) -> Form:
    """A format of a :data:`Layout` taken apart."""
    match = _FORM.fullmatch(form)
    if match is None:
        raise ValueError(f"{form!r} is no format of a field")
    number, decimals = match["number"], match["decimals"]
    return Form(
        number=int(number or 1),
        kind=match["kind"],
        width=int(match["width"]),
        decimals=int(decimals) if decimals else None,
        is_tuple=bool(number),
    )


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
        size = form.total_bytes // form.number
        found = tuple(_converted(raw[i * size : (i + 1) * size], form) for i in range(form.number))
        values[name] = found[0] if not form.is_tuple else None if None in found else found
    return values


def _converted(raw: bytes, form: Form) -> Any:
    if form.kind == "C":
        real, imaginary = (_converted(part, form._replace(kind="F")) for part in (raw[: form.width], raw[form.width :]))
        return None if real is None or imaginary is None else complex(real, imaginary)
    text = raw.decode("ascii", errors="replace").strip(" \0\t\r\n")
    if form.kind == "A":
        return text or None
    if form.kind == "I":
        return int(text) if _WHOLE.fullmatch(text) else None
    value = float(text.upper().replace("D", "E")) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def read_leader(source: FileSource) -> dict[str, dict[str, Any]]:
    """The records of a leader file that we know, by their names in :data:`RECORDS`; absent ones are left out.

    Records are found by walking their headers, never at fixed places: their number varies between levels. Facility
    records tell by their sequence number which they are. Of several records of one kind the first counts.

    Raises:
        Alos2TutError: a file that is no leader, larger than 64 MiB, or with a record that does not fit into it.
    """
    return _known_records(source, "leader_descriptor")


def read_volume(source: FileSource) -> dict[str, dict[str, Any]]:
    """The records of a volume directory: ``volume_descriptor``, ``file_pointer_1`` …, ``text``.

    Raises:
        Alos2TutError: as :func:`read_leader`.
    """
    return _known_records(source, "volume_descriptor")


def read_trailer(source: FileSource) -> dict[str, dict[str, Any]]:
    """The trailer's descriptor, as ``trailer_descriptor``; what follows it are small images without headers.

    Raises:
        Alos2TutError: no trailer, or fewer bytes than its first image needs.
    """
    fields = unpack(_descriptor(source, "trailer_descriptor", "trailer"), TRAILER_DESCRIPTOR)
    if fields["images"] and fields["image_bytes"]:
        _check_length(source, DESCRIPTOR_BYTES + fields["image_bytes"], "its first image")
    return {"trailer_descriptor": fields}


def read_image_descriptor(source: FileSource) -> dict[str, Any]:
    """The fields of an image file's descriptor alone, unchecked; the lines may be missing.

    Raises:
        Alos2TutError: no CEOS image file.
    """
    return unpack(_descriptor(source, "image_descriptor", "image"), IMAGE_DESCRIPTOR)


def read_summary(source: FileSource) -> dict[str, str]:
    """``summary.txt``: lines of the form ``Key="value"``.

    Raises:
        Alos2TutError: more than 1 MiB; a real one has 2 kB.
    """
    text = source.read_all(limit=_LARGEST_SUMMARY_BYTES).decode("utf-8-sig", errors="replace")
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip().strip('"') for key, equals, value in pairs if equals}


def _descriptor(source: FileSource, kind: str, what: str) -> bytes:
    head = source.read(0, DESCRIPTOR_BYTES)
    if len(head) < DESCRIPTOR_BYTES or tuple(head[4:8]) != RECORDS[kind].codes:
        raise Alos2TutError(f"does not begin with a CEOS {what} descriptor", where=source.where)
    return head


def _known_records(source: FileSource, first: str) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    for name, record in walk_records(source, first):
        if name is None:
            continue
        fields = unpack(record, RECORDS[name].layout)
        if name == "file_pointer":
            name = f"file_pointer_{sum(known.startswith('file_pointer_') for known in records) + 1}"
        records.setdefault(name, fields)
    return records


def walk_records(source: FileSource, first: str) -> Iterator[tuple[str | None, bytes]]:
    """All records of a leader file or a volume directory, in their order.

    Args:
        source: the file.
        first: the kind of record it must begin with, ``leader_descriptor`` or ``volume_descriptor``.

    Yields:
        The record's name in :data:`RECORDS`, None if it is not there, and its bytes, header included.

    Raises:
        Alos2TutError: a file that begins otherwise, is larger than 64 MiB, has more than 1000 records, or one that
            does not fit into it.
    """
    data = source.read_all(limit=LARGEST_LEADER_BYTES)
    if len(data) < HEADER.size or tuple(data[4:8]) != RECORDS[first].codes:
        what = first.removesuffix("_descriptor")
        raise Alos2TutError(f"does not begin like a CEOS {what} file", where=source.where)
    position = count = 0
    while position < len(data):
        left = len(data) - position
        _, *codes, length = HEADER.unpack_from(data, position) if left >= HEADER.size else (0, 0, 0, 0, 0, HEADER.size)
        count += 1
        problem = None
        if count > _MOST_RECORDS:
            problem = f"is damaged: it has more than {_MOST_RECORDS} records"
        elif length < HEADER.size:
            problem = f"is damaged: the record at byte {position} states a length of {length} bytes"
        elif length > left:
            problem = f"is truncated: the record at byte {position} states {length} bytes, {left} are left"
        if problem:
            raise Alos2TutError(problem, where=source.where, remedy="Download the product again.")
        record = data[position : position + length]
        yield _name_of(tuple(codes), record), record
        position += length


def _name_of(codes: tuple[int, ...], record: bytes) -> str | None:
    if codes == _FACILITY_CODES:
        name = f"facility_{unpack(record, FACILITY)['sequence']}"
        return name if name in RECORDS else None
    return next((name for name, known in RECORDS.items() if known.codes == codes), None)


def _check_length(source: FileSource, expected: int, needed_by: str) -> None:
    if source.size < expected:
        raise Alos2TutError(
            f"is truncated: {expected - source.size} of {expected} bytes are missing ({needed_by})",
            where=source.where,
            remedy="Download the product again.",
        )


@dataclass(frozen=True)
class ImageFile:
    """A CEOS image file whose sizes were checked; pixels stay on disk until they are asked for.

    ``sample_code`` is ``IU2`` (16-bit amplitudes: Levels 1.5, 2.1) or ``C*8`` (complex numbers: Level 1.1). ``bursts``
    is (number of bursts, lines per burst, lines of overlap) of a ScanSAR image by SPECAN, where stated.
    """

    source: FileSource
    lines: int
    pixels: int
    record_bytes: int
    prefix_bytes: int
    suffix_bytes: int
    sample_code: str
    software: str | None
    bursts: tuple[int, int, int] | None = None

    @classmethod
    def open(cls, source: FileSource) -> ImageFile:
        """Read and check the descriptor.

        Raises:
            Alos2TutError: no image descriptor, another sample type, sizes that contradict each other, or fewer bytes
                than the descriptor promises.
        """
        fields = read_image_descriptor(source)
        if fields["sample_code"] not in SAMPLE_DTYPES:
            raise Alos2TutError(
                f"the descriptor's sample_code is {fields['sample_code']}, neither IU2 (16-bit amplitudes) nor C*8 "
                "(complex numbers)",
                where=source.where,
            )
        sizes = {name: fields[name] for name in ("lines", "pixels", "record_bytes", "prefix_bytes")}
        missing = [name for name, value in sizes.items() if not value or value < 0]
        if missing:
            raise Alos2TutError(f"the descriptor's {missing[0]} is missing or not positive", where=source.where)
        bursts = (fields["bursts"], fields["lines_per_burst"], fields["burst_overlap_lines"])
        image = cls(
            source,
            **sizes,
            suffix_bytes=fields["suffix_bytes"] or 0,
            sample_code=fields["sample_code"],
            software=fields["software"],
            bursts=None if None in bursts or bursts[0] < 1 else bursts,
        )
        image._check_sizes(fields["data_bytes"])
        return image

    def _check_sizes(self, data_bytes: int | None) -> None:
        least = PREFIX_BYTES[self.sample_code]
        needed = self.dtype.itemsize * self.pixels
        if self.prefix_bytes < least:
            problem = f"the descriptor's prefix_bytes is {self.prefix_bytes}, a line's prefix has {least}"
        elif self.suffix_bytes < 0:
            problem = f"the descriptor's suffix_bytes is {self.suffix_bytes}"
        elif data_bytes is not None and data_bytes < needed:
            problem = f"the descriptor's data_bytes is {data_bytes}, but its {self.pixels} pixels need {needed}"
        elif self.record_bytes < self.prefix_bytes + needed + self.suffix_bytes:
            problem = (
                f"the descriptor's record_bytes is {self.record_bytes}; a line cannot hold {self.prefix_bytes} + "
                f"{self.dtype.itemsize} × {self.pixels} bytes"
            )
        else:
            expected = DESCRIPTOR_BYTES + self.lines * self.record_bytes
            _check_length(self.source, expected, f"{self.lines} lines × {self.record_bytes} bytes after the descriptor")
            return
        raise Alos2TutError(problem, where=self.source.where)

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and pixels."""
        return self.lines, self.pixels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a pixel as it lies in the file: big-endian, ``>u2`` or ``>c8``."""
        return SAMPLE_DTYPES[self.sample_code]

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """The pixels of a window in consecutive pieces of ``step`` lines; the last one may be shorter.

        Each piece may be a view of a buffer that the next one overwrites: be done with it, or copy it. Memory holds
        one piece, or twice as much.

        Args:
            rows: lines, from 0 on; within the image.
            cols: pixels, likewise.
            step: lines in a piece, at least 1.

        Yields:
            (lines, pixels) of :attr:`dtype`: big-endian.

        Raises:
            Alos2TutError: the file cannot be read, or it ends early.
            ValueError: a window that is empty or reaches outside, or a step below 1.
        """
        for part, size in ((rows, self.lines), (cols, self.pixels)):
            if part.step not in (None, 1) or not 0 <= part.start < part.stop <= size:
                raise ValueError(f"{part} is no part of 0…{size}")
        if step < 1:
            raise ValueError(f"step={step} is less than 1")
        if 2 * (cols.stop - cols.start) * self.dtype.itemsize >= self.record_bytes:
            return self._streamed(rows, cols, step)
        return self._streamed_narrow(rows, cols, step) if self.source.packed else self._gathered(rows, cols, step)

    def _gathered(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """What is wanted of each line. A memory map is little faster, but a file cut meanwhile ends the process."""
        step = min(step, rows.stop - rows.start)
        pixels = np.empty((step, cols.stop - cols.start), dtype=self.dtype)
        start = DESCRIPTOR_BYTES + self.prefix_bytes + cols.start * self.dtype.itemsize
        with self.source.stream() as stream:
            for first in range(rows.start, rows.stop, step):
                lines = np.arange(first, min(first + step, rows.stop))
                stream.read_rows(pixels[: len(lines)].view(np.uint8), start + lines * self.record_bytes)
                yield pixels[: len(lines)]

    def _streamed(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        step = min(step, rows.stop - rows.start)
        buffer = np.empty((step, self.record_bytes), dtype=np.uint8)
        strides = (self.record_bytes, self.dtype.itemsize)
        pixels: NDArray[Any] = np.ndarray((step, self.pixels), self.dtype, buffer, self.prefix_bytes, strides)
        with self.source.stream(DESCRIPTOR_BYTES + rows.start * self.record_bytes) as stream:
            for first in range(rows.start, rows.stop, step):
                count = min(step, rows.stop - first)
                stream.readinto(buffer[:count])
                yield pixels[:count, cols]

    def _streamed_narrow(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """A packed file must be unpacked whole up to the window; of its lines only the window is kept."""
        piece = np.empty((min(step, rows.stop - rows.start), cols.stop - cols.start), dtype=self.dtype)
        lines = self._streamed(rows, cols, max(_CHUNK_BYTES // self.record_bytes, 1))
        filled = 0
        for some in lines:
            while len(some):
                taken = some[: len(piece) - filled]
                piece[filled : filled + len(taken)] = taken
                filled, some = filled + len(taken), some[len(taken) :]
                if filled == len(piece):
                    yield piece
                    filled = 0
        if filled:
            yield piece[:filled]

    def prefixes(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]:
        """What stands before the pixels of these lines.

        Args:
            rows: line numbers from 0 on, in any order.

        Returns:
            A structured array, one element per line, in native byte order. Its fields are those of
            :func:`prefix_dtype`; ``latitudes``, ``longitudes`` and other angles in millionths of a degree.

        Raises:
            Alos2TutError: the file cannot be read, or it ends early.
            ValueError: a line outside the image.
        """
        wanted, places = np.unique(np.asarray(rows, dtype=np.int64), return_inverse=True)
        if wanted.size and (wanted[0] < 0 or wanted[-1] >= self.lines):
            raise ValueError(f"lines {wanted[0]}…{wanted[-1]} reach outside 0…{self.lines - 1}")
        dtype = prefix_dtype(self.sample_code)
        raw = np.empty((len(wanted), dtype.itemsize), dtype=np.uint8)
        starts = DESCRIPTOR_BYTES + wanted * self.record_bytes
        with self.source.stream() as stream:
            stream.read_rows(raw, starts)
        found = raw[places].reshape(-1).view(dtype)
        native = np.empty(found.shape, [(name, dtype[name].newbyteorder("=")) for name in dtype.names or ()])
        for name in dtype.names or ():
            native[name] = found[name]
        return native
