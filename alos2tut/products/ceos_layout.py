"""Records of JAXA's CEOS files, field by field."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

#: field → (first byte, format). Formats: A text, I whole number, F and E number (fixed or scientific when written),
#: with width and decimals; C complex, two numbers of that width. A count before them makes a tuple: "6E20.13".
Layout = Mapping[str, tuple[int, str]]


HEADER = struct.Struct(">IBBBBI")


DESCRIPTOR_BYTES = 720


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
