"""The CEOS files: every field against real headers, reading against plain NumPy, writing against other readers."""

import datetime as dt
import math
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError
from rasterio.warp import transform as reproject_points
from scipy.interpolate import CubicHermiteSpline
from support.properties import examples

from alos2tut import Alos2TutError, geometry
from alos2tut.products import ceos, ceos_layout
from alos2tut.products.sources import FileSource, find_files
from alos2tut.simulation import ceos_writer
from alos2tut.simulation.ceos_writer import ProductDescription, write_ceos_product

SCENE = "ALOS2015976960-140909"
LENGTHS = {
    "leader_descriptor": 720,
    "dataset_summary": 4096,
    "map_projection": 1620,
    "platform": 4680,
    "attitude": 16384,
    "radiometric": 9860,
    "quality": 1620,
    "facility_1": 325_000,
    "facility_2": 511_000,
    "facility_3": 3072,
    "facility_4": 728_000,
    "facility_5": 5000,
}


def source_of(path: Path) -> FileSource:
    return FileSource(path.name, path, path.stat().st_size)


def real(level15: Path, start: str) -> FileSource:
    return next(source for name, source in find_files(level15).folders[""].items() if name.startswith(start))


def walked(data: bytes) -> list[tuple[tuple[int, ...], bytes]]:
    """Codes and bytes of all records, walked without the code under test."""
    records = []
    while data:
        _, *codes, length = struct.unpack_from(">IBBBBI", data)
        records.append((tuple(codes), data[:length]))
        data = data[length:]
    return records


def layout_of(kind: str) -> ceos_layout.Layout:
    """All fields of a record, those too that only the writer knows."""
    return {**ceos_layout.RECORDS[kind].layout, **ceos_writer.written_layout(kind)}


def all_fields(source: FileSource, first: str = "leader_descriptor") -> dict[str, dict]:
    """What the records of a leader or a volume directory say in all these fields."""
    found = {}
    for kind, record in ceos.walk_records(source, first):
        name = f"file_pointer_{len(found)}" if kind == "file_pointer" else kind
        found[name] = ceos_layout.unpack(record, layout_of(kind))
    return found


def full_prefix(code: str) -> np.dtype:
    """The prefix of a line with all these fields."""
    return ceos_layout.prefix_dtype(code, ceos_writer.written_layout(f"line {code}"))


def all_prefixes(source: FileSource) -> np.ndarray:
    """What all lines of an image say in all these fields."""
    image = ceos.ImageFile.open(source)
    dtype, data = full_prefix(image.sample_code), source.path.read_bytes()
    return np.ndarray((image.lines,), dtype, data, ceos_layout.DESCRIPTOR_BYTES, (image.record_bytes,))


# --- real headers


@pytest.mark.parametrize("polarization", ["HH", "HV"])
def test_real_image_descriptor(level15, polarization):
    data = real(level15, f"IMG-{polarization}").read(0, 720)
    assert ceos_layout.unpack(data, layout_of("image_descriptor")) == {
        "standard": "A   CEOS-SAR     A A",
        "software": "002.012",
        "file_number": 1,
        "file_name": "AL2 SARCIMOP",
        "formats": "FSEQ       1   4FTYP       5   4FLGT       9   4",
        "line_records": 13161,
        "record_bytes": 25932,
        "bits_per_sample": 16,
        "samples_per_group": 1,
        "bytes_per_group": 2,
        "channels": 1,
        "lines": 13161,
        "left_border": 0,
        "pixels": 12870,
        "right_border": 0,
        "top_border": 0,
        "bottom_border": 0,
        "interleaving": "BSQ",
        "records_per_line": 1,
        "channel_records_per_line": 1,
        "prefix_bytes": 192,
        "data_bytes": 25740,
        "suffix_bytes": 0,
        "locators": "13 4PB  49 2PB  45 4PB  21 4PB  29 4PB" + " " * 34 + "97 4PB",
        "sample_format": "UNSIGNED INTEGER*2",
        "sample_code": "IU2",
        "left_fill_bits": 0,
        "right_fill_bits": 0,
        "maximum": 65535,
        "bursts": None,
        "lines_per_burst": None,
        "burst_overlap_lines": None,
    }


def test_real_image_without_lines_is_truncated(level15):
    with pytest.raises(Alos2TutError, match=r"IMG-HH.*truncated: 341291052 of 341291772 .*13161 lines × 25932"):
        ceos.ImageFile.open(real(level15, "IMG-HH"))


def test_real_leader_records_in_walking_order(level15):
    source = real(level15, "LED")
    records = walked(source.path.read_bytes())
    assert [len(record) for _, record in records] == list(LENGTHS.values())
    assert [codes for codes, _ in records] == [ceos_layout.RECORDS[name].codes for name in LENGTHS]
    assert [codes[1] for codes, _ in records] == [192, 10, 20, 30, 40, 50, 60, *[200] * 5]
    assert {name: ceos_layout.RECORDS[name].length for name in LENGTHS} == LENGTHS
    assert list(ceos.read_leader(source)) == list(LENGTHS)
    met = list(ceos.walk_records(source, "leader_descriptor"))
    assert [(name, len(record)) for name, record in met] == list(LENGTHS.items())
    assert [record for _, record in met] == [record for _, record in records]


def test_real_leader_descriptor_counts(level15):
    fields = all_fields(real(level15, "LED"))["leader_descriptor"]
    assert fields["software"] == "002.012" and fields["file_name"] == "AL2 SARCSARL"
    for name, length in list(LENGTHS.items())[1:]:
        assert (fields[f"{name}_count"], fields[f"{name}_bytes"]) == (1, length), name


DATASET_SUMMARY = {
    "sequence": 1,
    "scene_id": SCENE,
    "center_time": "20140909043347052",
    "center_latitude_deg": -11.0510316,
    "center_longitude_deg": -62.5322403,
    "heading_deg": -12.513874,
    "ellipsoid": "GRS80",
    "semi_major_km": 6378.137,
    "semi_minor_km": 6356.7523141,
    "earth_mass_1e24_kg": 5.974,
    "gravitation_1e14_m3_s2": 3.986005,
    "j2_j3_j4": (0.1082629, -2.54e-05, -1.62e-05),
    "center_line": 6580,
    "center_pixel": 6435,
    "channels": 4,
    "mission": "ALOS2",
    "sensor": "ALOS2 -L -0315-",
    "orbit": 1597,
    "nadir_latitude_deg": -11.959,
    "nadir_longitude_deg": -66.835,
    "platform_heading_deg": -109.521,
    "clock_angle_deg": 90.0,
    "incidence_deg": 40.573,
    "wavelength_m": 0.2424525,
    "motion_compensation": "00",
    "pulse_code": "LINEAR FM CHIRP",
    "pulse_amplitude": (0.0, 807336240000.0, 0.0, 0.0, 0.0),
    "chirp_extraction": 2,
    "sampling_mhz": 34.9305319,
    "range_gate_us": 95.274816,
    "pulse_width_us": 30.842168,
    "base_band_conversion": "YES",
    "range_compressed": "YES",
    "gain_like_db": 86.42,
    "gain_cross_db": 86.31,
    "quantization_bits": 8,
    "quantization": "UNIFORM I,Q",
    "bias_i_q": (0.0889612, 0.0045645),
    "gain_imbalance": 0.0116231,
    "boresight_deg": (0.12, 0.12),
    "echo_tracker": "OFF",
    "prf_mhz": 2122318.448518,
    "beam_width_elevation_deg": 4.95909,
    "beam_width_azimuth_deg": 1.27,
    "satellite_time_code": 0,
    "satellite_clock": "20121231 23:59:59.000",
    "clock_increment_ns": 1_000_000_000,
    "facility": "EICS",
    "processing_system": "EICS",
    "processing_version": "002.012",
    "level": "1.5",
    "product_type": "STANDARD GEOCODED IMAGE",
    "azimuth_looks": 2.0,
    "range_looks": 1.0,
    "azimuth_look_bandwidth_hz": 1355.932914,
    # the number of kHz is 24,900; a thousand times too much is what the file says
    "range_look_bandwidth_khz": 24_900_000.0,
    "azimuth_bandwidth_hz": 1355.932914,
    "range_bandwidth_khz": 24_900.0,
    "azimuth_weighting": 1,
    "range_weighting": 1,
    "data_source": "ONLINE",
    "range_resolution_m": 8.2004161,
    "azimuth_resolution_m": 9.4979547,
    "along_track_doppler_hz": (0.0, 0.0, 0.0),
    "cross_track_doppler_hz": (0.0, 0.0, 0.0),
    "orbit_direction": "ASCEND",
    "along_track_doppler_rate": (0.0, 0.0, 0.0),
    "cross_track_doppler_rate": (0.0, 0.0, 0.0),
    "line_content": "OTHER",
    "clutter_lock": "NO",
    "auto_focus": "NO",
    "line_spacing_m": 6.25,
    "pixel_spacing_m": 6.25,
    "range_compression": "EXTRACTED CHIRP",
    "doppler_hz": (-18.5767897, -0.0243354),
    "calibration_data": 0,
    "calibration_lines": (0, 0, 0, 0),
    "prf_switched": 0,
    "prf_switch_line": 1,
    "beam_direction_deg": 0.0,
    "yaw_steering": 0,
    "off_nadir_deg": 36.6481913,
    "beam": 7,
    "incidence_polynomial": (0.0,) * 6,
    "annotations": 0,
}


def test_real_dataset_summary(level15):
    assert all_fields(real(level15, "LED"))["dataset_summary"] == DATASET_SUMMARY


MAP_PROJECTION = {
    "descriptor": "GEOCODED",
    "pixels": 12870,
    "lines": 13161,
    "line_spacing_m": 6.25,
    "pixel_spacing_m": 6.25,
    "inclination_deg": 0.0,
    "ascending_node_deg": 0.0,
    "center_radius_m": 6377357.8140469,
    "platform_altitude_m": 636806.5747639,
    "ground_speed_m_s": 6933.2203806,
    "platform_heading_deg": -90.0168509,
    "ellipsoid": "GRS80",
    "semi_major_m": 6378137.0,
    "semi_minor_m": 6356752.3141,
    "datum_shift": (0.0,) * 7,
    "projection": "UTM-PROJECTION",
    "projection_name": "UNIVERSAL TRANSVERSE MERCATOR",
    "utm_zone": "20",
    "false_easting_m": 500_000.0,
    "false_northing_m": 10_000_000.0,
    "projection_longitude_deg": -62.5322403,
    "projection_latitude_deg": -11.0510316,
    "scale_factor": 0.9996,
    "top_left_northing_km": 8819.462993,
    "top_left_easting_km": 510.8790839,
    "top_right_northing_km": 8819.462993,
    "top_right_easting_km": 591.3103339,
    "bottom_right_northing_km": 8737.212993,
    "bottom_right_easting_km": 591.3103339,
    "bottom_left_northing_km": 8737.212993,
    "bottom_left_easting_km": 510.8790839,
    "top_left_latitude_deg": -10.6794393,
    "top_left_longitude_deg": -62.9005207,
    "top_right_latitude_deg": -10.6783401,
    "top_right_longitude_deg": -62.1650802,
    "bottom_right_latitude_deg": -11.4221274,
    "bottom_right_longitude_deg": -62.1629744,
    "bottom_left_latitude_deg": -11.4233051,
    "bottom_left_longitude_deg": -62.9002697,
}


def test_real_map_projection(level15):
    found = all_fields(real(level15, "LED"))["map_projection"]
    assert {name: found[name] for name in found if not name.startswith("coefficients")} == MAP_PROJECTION


#: line and pixel of the corners, from 1 on
CORNER_PIXELS = {
    "top_left": (1, 1),
    "top_right": (1, 12870),
    "bottom_right": (13161, 12870),
    "bottom_left": (13161, 1),
}


def test_real_corners_are_pixel_centres(level15):
    found = all_fields(real(level15, "LED"))["map_projection"]
    east = found["top_right_easting_km"] - found["top_left_easting_km"]
    south = found["top_left_northing_km"] - found["bottom_left_northing_km"]
    assert 1000 * east / found["pixel_spacing_m"] == pytest.approx(found["pixels"] - 1, abs=1e-3)
    assert 1000 * south / found["line_spacing_m"] == pytest.approx(found["lines"] - 1, abs=1e-3)
    utm = CRS.from_epsg(32720)
    for corner in CORNER_PIXELS:
        x, y = 1000 * found[f"{corner}_easting_km"], 1000 * found[f"{corner}_northing_km"]
        [longitude], [latitude] = reproject_points(utm, CRS.from_epsg(4326), [x], [y])
        assert longitude == pytest.approx(found[f"{corner}_longitude_deg"], abs=2e-7)
        assert latitude == pytest.approx(found[f"{corner}_latitude_deg"], abs=2e-7)


def bilinear(coefficients: tuple[float, ...], u: float, v: float) -> tuple[float, float]:
    terms = np.array([1, u, v, u * v])
    return float(terms @ coefficients[:4]), float(terms @ coefficients[4:])


@pytest.mark.parametrize("corner", CORNER_PIXELS)
def test_real_bilinear_coefficients_reproduce_the_corners(level15, corner):
    found = all_fields(real(level15, "LED"))["map_projection"]
    place = (found[f"{corner}_longitude_deg"], found[f"{corner}_latitude_deg"])
    assert bilinear(found["coefficients_a"], *CORNER_PIXELS[corner]) == pytest.approx(place, abs=1e-6)
    assert bilinear(found["coefficients_b"], *place) == pytest.approx(CORNER_PIXELS[corner], abs=5e-3)


def quartic(coefficients: tuple[float, ...], u: float, v: float) -> float:
    return sum(c * u ** (4 - i // 5) * v ** (4 - i % 5) for i, c in enumerate(coefficients))


@pytest.mark.parametrize("corner", CORNER_PIXELS)
def test_real_facility_polynomials_reproduce_the_corners(level15, corner):
    """In the fifth facility record pixels are counted from 0, but from 1 in its ten terms."""
    leader = all_fields(real(level15, "LED"))
    found, projection = leader["facility_5"], leader["map_projection"]
    latitude, longitude = projection[f"{corner}_latitude_deg"], projection[f"{corner}_longitude_deg"]
    line, pixel = (n - 1 for n in CORNER_PIXELS[corner])
    from_origin = (pixel - found["origin_pixel"], line - found["origin_line"])
    assert quartic(found["latitude_coefficients"], *from_origin) == pytest.approx(latitude, abs=1e-6)
    assert quartic(found["longitude_coefficients"], *from_origin) == pytest.approx(longitude, abs=1e-6)
    from_origin = (latitude - found["origin_latitude_deg"], longitude - found["origin_longitude_deg"])
    assert quartic(found["pixel_coefficients"], *from_origin) == pytest.approx(pixel, abs=2e-3)
    assert quartic(found["line_coefficients"], *from_origin) == pytest.approx(line, abs=2e-3)
    phi, lam = latitude, longitude
    terms = [1, phi, lam, phi * lam, phi**2, lam**2, phi**2 * lam, phi * lam**2, phi**3, lam**3]
    assert np.dot(terms, found["pixel_terms"]) == pytest.approx(pixel + 1, abs=0.02)
    assert np.dot(terms, found["line_terms"]) == pytest.approx(line + 1, abs=0.02)
    assert (found["origin_pixel"], found["origin_line"], found["lost_lines"]) == (6435, 6580, (0, 0))


def test_real_calibration_and_quality(level15):
    leader = all_fields(real(level15, "LED"))
    assert leader["radiometric"] == {
        "sequence": 1,
        "channels": 1,
        "calibration_factor_db": -83.0,
        "distortion_transmitted": (1, 0, 0, 0, 0, 0, 1, 0),
        "distortion_received": (1, 0, 0, 0, 0, 0, 1, 0),
    }
    assert leader["quality"] == {
        "sequence": 1,
        "channels": 4,
        "islr_db": -10.16,
        "pslr_db": -13.26,
        "azimuth_ambiguity_db": 24.4,
        "range_ambiguity_db": 32.7,
        "noise_db": -32.1,
        "slant_range_resolution_m": 5.333657,
        "azimuth_resolution_m": 9.4979547,
    }
    slant = DATASET_SUMMARY["range_resolution_m"] * math.sin(math.radians(DATASET_SUMMARY["incidence_deg"]))
    assert leader["quality"]["slant_range_resolution_m"] == pytest.approx(slant, abs=1e-3)
    assert leader["attitude"]["points"] == 22
    assert [leader[f"facility_{n}"]["sequence"] for n in range(1, 6)] == [1, 2, 3, 4, 5]


def test_real_orbit_agrees_with_the_other_records(level15):
    """State vectors, times, places and angles are in three records; physics ties them together."""
    leader = all_fields(real(level15, "LED"))
    orbit, scene, projection = leader["platform"], leader["dataset_summary"], leader["map_projection"]
    assert (orbit["year"], orbit["month"], orbit["day"], orbit["day_of_year"]) == (2014, 9, 9, 252)
    assert (orbit["points"], orbit["second_of_day"], orbit["interval_s"]) == (28, 15600.0, 60.0)
    assert (orbit["orbit_quality"], orbit["reference"], orbit["leap_second"]) == ("2", "ECR", 0)
    assert (orbit["position_error_m"], orbit["velocity_error_m_s"]) == ((100.0,) * 3, (0.3,) * 3)
    states = np.reshape(orbit["states"], (28, 6))
    times = orbit["second_of_day"] + orbit["interval_s"] * np.arange(28)
    path = CubicHermiteSpline(times, states[:, :3], states[:, 3:])
    at, velocity = path(4 * 3600 + 33 * 60 + 47.052), path.derivative()(4 * 3600 + 33 * 60 + 47.052)
    assert at == pytest.approx(orbit["position_m"], abs=5)
    assert velocity == pytest.approx(orbit["velocity_m_s"], abs=0.1)
    phi, lam = math.radians(scene["center_latitude_deg"]), math.radians(scene["center_longitude_deg"])
    up = np.array([math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)])
    flattening = 1 - (scene["semi_minor_km"] / scene["semi_major_km"]) ** 2
    center = 1e3 * scene["semi_major_km"] / math.sqrt(1 - flattening * math.sin(phi) ** 2) * up
    center *= [1, 1, 1 - flattening]
    assert np.linalg.norm(center) == pytest.approx(projection["center_radius_m"], abs=1)
    sight = at - center
    distance = np.linalg.norm(sight)
    # the scene's centre is seen at right angles to the flight, at its incidence angle
    assert abs(sight @ velocity) / distance < 1
    assert np.degrees(np.arccos(sight @ up / distance)) == pytest.approx(scene["incidence_deg"], abs=0.1)
    assert np.degrees(np.arctan2(at[1], at[0])) == pytest.approx(scene["nadir_longitude_deg"], abs=1e-3)
    # the vertical below the satellite: the ellipsoid flattens the less the higher one is
    flattening *= projection["semi_major_m"] / (projection["semi_major_m"] + projection["platform_altitude_m"])
    geodetic = np.degrees(np.arctan2(at[2], (1 - flattening) * np.hypot(at[0], at[1])))
    assert geodetic == pytest.approx(scene["nadir_latitude_deg"], abs=1e-3)


def test_real_volume_directory(level15):
    source = real(level15, "VOL")
    assert [(codes, len(record)) for codes, record in walked(source.path.read_bytes())] == [
        ((192, 192, 18, 18), 360),
        *[((219, 192, 18, 18), 360)] * 4,
        ((18, 192, 18, 18), 360),
    ]
    found = all_fields(source, "volume_descriptor")
    assert (
        list(found)
        == list(ceos.read_volume(source))
        == ["volume_descriptor", *(f"file_pointer_{n}" for n in range(1, 5)), "text"]
    )
    volume = found["volume_descriptor"]
    assert (volume["created_date"], volume["created_time"]) == ("20150320", "08095250")
    assert (volume["software"], volume["agency"], volume["facility"]) == ("002.012", "JAXA", "EICS")
    assert (volume["pointers"], volume["texts"], volume["volumes"]) == (4, 1, (1, 1, 1, 1))
    pointers = [found[f"file_pointer_{n}"] for n in range(1, 5)]
    assert [p["class_code"] for p in pointers] == ["SARL", "IMOP", "IMOP", "SART"]
    assert [p["records"] for p in pointers] == [12, 13162, 13162, 2]
    assert [p["longest_bytes"] for p in pointers] == [728_000, 25_932, 25_932, 1_321_776]
    assert {(p["first_bytes"], p["data_code"], p["length_code"]) for p in pointers} == {(720, "MBAA", "VARE")}
    assert found["text"] == {
        "code": "A",
        "product": "PRODUCT:FBDR1.5GUA",
        "process": "PROCESS:JAPAN-JAXA-ALOS2-EICS  20150320 080952",
        "tape": "TAPE ID:",
        "scene": f"ORBIT :{SCENE}",
        "location": "FRAME CENTRE: N-011.05  E-062.53",
    }


def test_real_trailer(level15):
    source = real(level15, "TRL")
    fields = ceos.read_trailer(source)["trailer_descriptor"]
    assert (fields["images"], fields["image_bytes"]) == (1, 1_321_776)
    assert (fields["image_columns"], fields["image_rows"], fields["image_sample_bytes"]) == (804, 822, 2)
    assert source.size == 720 + 804 * 822 * 2


def test_real_summary(level15):
    found = ceos.read_summary(real(level15, "summary.txt"))
    assert len(found) == 62
    assert found["Scs_SceneID"] == SCENE and found["Pds_UTM_ZoneNo"] == "20" and found["Pdi_NoOfLines_0"] == "13161"
    assert found["Odi_SiteDateTime"] == "PROCESS:JAPAN-JAXA-ALOS2-EICS  20150320 080952"
    assert found["Img_ImageSceneLeftTopLatitude"] == "-10.812" and found["Ach_PRF_Check"] == ""


#: parts of real records, 1-based and inclusive, that fields cannot give back: what is not read, and NAN
NOT_GIVEN_BACK = {
    "image_descriptor": [(297, 400)],
    "leader_descriptor": [(241, 252), (265, 420)],
    "trailer_descriptor": [(181, 490)],
    "map_projection": [(125, 140), (477, 480)],
    "attitude": [(17, 16384)],
    **{f"facility_{n}": [(17, LENGTHS[f"facility_{n}"])] for n in range(1, 5)},
}


@pytest.mark.parametrize("file", ["VOL", "LED", "IMG-HH", "IMG-HV", "TRL"])
def test_real_records_are_written_as_they_were_read(level15, file):
    """Every byte of the real headers that no field gives is listed: no field is forgotten, shifted or cut."""
    data = real(level15, file).path.read_bytes()
    names = {record.codes: name for name, record in ceos_layout.RECORDS.items()}
    for number, (codes, record) in enumerate(walked(data[:720] if file == "TRL" else data), start=1):
        name = names[codes]
        if name.startswith("facility_"):
            name = f"facility_{number - 7}"
        fields = ceos_layout.unpack(record, layout_of(name))
        again = bytearray(ceos_writer.pack(name, number, fields, length=len(record)))
        for start, end in NOT_GIVEN_BACK.get(name, ()):
            again[start - 1 : end] = record[start - 1 : end]
        assert bytes(again) == record, name


# --- products to read, and to try other readers on

RANDOM = np.random.default_rng(7)
NORTH_UP = Affine(2.5, 0, 510_000, 0, -2.5, 8_819_000)
ROTATED = Affine.translation(510_000, 8_819_000) * Affine.rotation(12) * Affine.scale(2.5, -2.5)


def describe(product_id: str = "UBSR1.5GUA", shape: tuple[int, int] = (40, 30), **changes) -> ProductDescription:
    values = {
        "scene_id": SCENE,
        "product_id": product_id,
        "shape": shape,
        "spacing_m": (2.5, 2.5),
        "center_time": dt.datetime(2014, 9, 9, 4, 33, 47, 52_000),
        "incidence_deg": 40.573,
        "heading_deg": -12.5,
        "off_nadir_deg": 36.6,
    }
    if product_id[4:7] == "1.1":
        values |= {"center": (-11.05, -62.53)}
    else:
        values |= {"transform": NORTH_UP, "utm_zone": 20, "south": True}
    return ProductDescription(**values | changes)


def pixels_for(description: ProductDescription) -> np.ndarray:
    if description.is_slc:
        parts = RANDOM.standard_normal((2, *description.shape))
        return (parts[0] + 1j * parts[1]).astype(np.complex64)
    return RANDOM.integers(0, 65536, description.shape).astype(np.uint16)


def write(folder: Path, description: ProductDescription, *polarizations: str) -> dict[str, np.ndarray]:
    images = {pol: pixels_for(description) for pol in polarizations or ("HH",)}
    write_ceos_product(folder, description, {pol: [dn[:7], dn[7:8], dn[8:]] for pol, dn in images.items()})
    return images


def file_in(folder: Path, start: str) -> FileSource:
    return source_of(next(path for path in sorted(folder.iterdir()) if path.name.startswith(start)))


def packings(path: Path) -> list[FileSource]:
    """The file as it is, and inside zips: stored at an odd place, and deflated."""
    sources = [source_of(path)]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        archive = path.with_name(f"{path.name}.{method}.zip")
        with zipfile.ZipFile(archive, "w", method) as target:
            target.writestr("odd.txt", b"x" * 11)
            target.write(path, f"inner/{path.name}")
        sources.append(find_files(archive).folders["inner"][path.name])
    assert [source.container for source in sources] == [None, "zip", None]
    return sources


def patched(path: Path, start: int, text: bytes) -> FileSource:
    """The file with other bytes at a place, 1-based."""
    data = bytearray(path.read_bytes())
    data[start - 1 : start - 1 + len(text)] = text
    path.write_bytes(data)
    return source_of(path)


# --- pixels


@st.composite
def windows(draw) -> tuple[tuple[int, int], slice, slice, int]:
    # the wide ones have more bytes of pixels than of prefix, so that whole lines are read
    shape = draw(st.integers(1, 60)), draw(st.one_of(st.integers(1, 70), st.integers(150, 400)))
    rows, cols = (sorted((draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1)))) for n in shape)
    return shape, slice(rows[0], rows[1] + 1), slice(cols[0], cols[1] + 1), draw(st.integers(1, 70))


@examples(40)
@given(window=windows(), is_slc=st.booleans(), extra=st.integers(0, 9), suffix=st.integers(0, 9))
def test_strips_are_what_numpy_reads(tmp_path_factory, window, is_slc, extra, suffix):
    shape, rows, cols, step = window
    code, kind = ("C*8", ">c8") if is_slc else ("IU2", ">u2")
    prefix = ceos_layout.PREFIX_BYTES[code] + extra
    record_bytes = prefix + np.dtype(kind).itemsize * shape[1] + suffix
    body = RANDOM.integers(0, 256, (shape[0], record_bytes)).astype(np.uint8)
    wanted = np.frombuffer(body[:, prefix : record_bytes - suffix].tobytes(), kind).reshape(shape)[rows, cols]
    sizes = {"lines": shape[0], "pixels": shape[1], "record_bytes": record_bytes, "prefix_bytes": prefix}
    sizes |= {"suffix_bytes": suffix, "sample_code": code}
    path = tmp_path_factory.mktemp("strips") / "IMG"
    path.write_bytes(ceos_writer.pack("image_descriptor", 1, sizes) + body.tobytes())
    for source in packings(path):
        image = ceos.ImageFile.open(source)
        assert (image.shape, image.dtype) == (shape, np.dtype(kind))
        pieces = [piece.copy() for piece in image.strips(rows, cols, step)]
        assert {piece.dtype for piece in pieces} == {np.dtype(kind)}
        assert [len(piece) for piece in pieces[:-1]] == [step] * (len(pieces) - 1)
        assert b"".join(piece.tobytes() for piece in pieces) == wanted.tobytes()


@pytest.mark.parametrize(
    "window",
    [
        pytest.param((slice(0, 41), slice(0, 30), 5), id="below"),
        pytest.param((slice(0, 40), slice(0, 31), 5), id="right"),
        pytest.param((slice(-1, 40), slice(0, 30), 5), id="above"),
        pytest.param((slice(3, 3), slice(0, 30), 5), id="empty"),
        pytest.param((slice(0, 40, 2), slice(0, 30), 5), id="every second"),
        pytest.param((slice(0, 40), slice(0, 30), 0), id="no step"),
    ],
)
def test_windows_outside_are_refused_at_once(tmp_path, window):
    write(tmp_path, describe())
    with pytest.raises(ValueError, match=r"is no part of|less than 1"):
        ceos.ImageFile.open(file_in(tmp_path, "IMG")).strips(*window)


CUT_WHILE_READ = """
import os, sys
from pathlib import Path
from alos2tut import Alos2TutError
from alos2tut.products import ceos
from alos2tut.products.sources import FileSource

path = Path(sys.argv[1])
image = ceos.ImageFile.open(FileSource(path.name, path, path.stat().st_size))
strips = image.strips(slice(0, 400), slice(0, 3), 100)
first = next(strips).copy()
os.truncate(path, 20_000)
for read in (lambda: next(strips), lambda: image.prefixes([399])):
    try:
        read()
    except Alos2TutError as error:
        print(error)
print(first.sum())
"""


def test_a_file_that_is_cut_while_it_is_read_is_an_error_not_the_end_of_the_process(tmp_path):
    """The system ends a process that reads a memory map where its file has gone."""
    images = write(tmp_path, describe(shape=(400, 300)))
    path = file_in(tmp_path, "IMG").path
    done = subprocess.run([sys.executable, "-c", CUT_WHILE_READ, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    *errors, total = done.stdout.splitlines()
    assert len(errors) == 2 and all(f"{path.name}: is truncated" in error for error in errors)
    assert int(total) == images["HH"][:100, :3].sum()


def test_a_step_beyond_the_image_costs_nothing(tmp_path):
    image = write(tmp_path, describe())["HH"]
    for source in packings(file_in(tmp_path, "IMG").path):
        for cols in (slice(0, 30), slice(3, 5)):
            [piece] = ceos.ImageFile.open(source).strips(slice(0, 40), cols, 10**15)
            assert np.array_equal(piece, image[:, cols])


def peak_bytes(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """16 MB of pixels."""
    folder = tmp_path_factory.mktemp("large")
    description = describe(shape=(2000, 4000))
    strips = (np.full((100, 4000), n, dtype=np.uint16) for n in range(20))

    def work():
        write_ceos_product(folder, description, {"HH": strips})

    # the leader has 1.6 MB
    assert peak_bytes(work) < 10e6
    return file_in(folder, "IMG").path


def test_lines_of_little_but_filling_cost_no_more_than_their_pixels(tmp_path):
    sizes = {"lines": 200, "pixels": 1, "record_bytes": 999_999, "prefix_bytes": 192, "sample_code": "IU2"}
    path = tmp_path / "IMG"
    path.write_bytes(ceos_writer.pack("image_descriptor", 1, sizes))
    with open(path, "r+b") as handle:
        handle.truncate(720 + 200 * 999_999)
    image = ceos.ImageFile.open(source_of(path))
    assert peak_bytes(lambda: list(image.strips(slice(0, 200), slice(0, 1), 200))) < 1e6


@pytest.mark.parametrize("packing", [0, 1, 2], ids=["plain", "stored", "deflated"])
@pytest.mark.parametrize(
    ("cols", "step", "limit"),
    [
        pytest.param(slice(0, 4000), 100, 4e6, id="whole lines"),
        # two thousand whole lines would be 16 MB
        pytest.param(slice(7, 17), 2000, 7e6, id="a narrow window"),
    ],
)
def test_memory_holds_a_piece_not_the_image(large, packing, cols, step, limit):
    image = ceos.ImageFile.open(packings(large)[packing])

    def work():
        for first, piece in zip(range(0, 2000, step), image.strips(slice(0, 2000), cols, step), strict=True):
            assert piece[0, 0] == first // 100 and piece[-1, -1] == (first + step - 1) // 100

    assert peak_bytes(work) < limit


def test_a_file_that_shrinks_after_it_was_opened_is_an_error(tmp_path):
    write(tmp_path, describe())
    source = file_in(tmp_path, "IMG")
    image = ceos.ImageFile.open(source)
    with open(source.path, "r+b") as handle:
        # the pixels of the last line, and the end of its prefix
        handle.truncate(source.size - 70)
    for cols in (slice(0, 30), slice(0, 2)):
        with pytest.raises(Alos2TutError, match=r"IMG-HH.*truncated"):
            list(image.strips(slice(0, 40), cols, 10))
    with pytest.raises(Alos2TutError, match=r"IMG-HH.*truncated"):
        image.prefixes([39])


# --- sizes that lie


@pytest.mark.parametrize(
    ("start", "text", "problem"),
    [
        pytest.param(237, b"       0", "descriptor's lines is missing or not positive", id="no lines"),
        pytest.param(237, b"      -5", "descriptor's lines is missing or not positive", id="negative lines"),
        pytest.param(237, b"    4O  ", "descriptor's lines is missing", id="letter in lines"),
        pytest.param(237, b"99999999", r"truncated: .* bytes are missing \(99999999 lines ×", id="too many lines"),
        pytest.param(249, b"       0", "descriptor's pixels is missing or not positive", id="no pixels"),
        pytest.param(249, b"        ", "descriptor's pixels is missing", id="blank pixels"),
        pytest.param(249, b"99999999", "descriptor's data_bytes is 60, but its 99999999 pixels", id="too many pixels"),
        pytest.param(249, b"      31", "descriptor's data_bytes is 60, but its 31 pixels", id="one pixel too many"),
        pytest.param(281, b"        ", None, id="data bytes not stated"),
        pytest.param(187, b"999999", r"truncated: .* \(40 lines × 999999 bytes", id="long lines"),
        pytest.param(187, b"   251", "descriptor's record_bytes is 251; a line cannot hold 192", id="short lines"),
        pytest.param(187, b"    -1", "descriptor's record_bytes is missing or not positive", id="negative line length"),
        pytest.param(277, b" 191", "descriptor's prefix_bytes is 191, a line's prefix has 192", id="short prefix"),
        pytest.param(277, b" 193", "descriptor's record_bytes is 252; a line cannot hold 193", id="long prefix"),
        pytest.param(289, b"   1", "descriptor's record_bytes is 252; a line cannot", id="suffix beyond the line"),
        pytest.param(289, b"  -1", "descriptor's suffix_bytes is -1", id="negative suffix"),
        pytest.param(429, b"C*8 ", "prefix_bytes is 192, a line's prefix has 544", id="complex of amplitude size"),
        pytest.param(429, b"C*4 ", r"descriptor's sample_code is C\*4, neither IU2", id="another sample type"),
        pytest.param(429, b"    ", "descriptor's sample_code is None", id="no sample type"),
        pytest.param(5, b"\x0b", "does not begin with a CEOS image descriptor", id="a leader's header"),
    ],
)
def test_sizes_that_lie_are_refused_before_anything_is_loaded(tmp_path, start, text, problem):
    write(tmp_path, describe())
    source = patched(file_in(tmp_path, "IMG").path, start, text)
    if problem is None:
        assert ceos.ImageFile.open(source).shape == (40, 30)
        return

    def work():
        with pytest.raises(Alos2TutError, match=problem) as caught:
            ceos.ImageFile.open(source)
        assert str(caught.value).startswith(str(source.path))

    assert peak_bytes(work) < 1e6


@pytest.mark.parametrize("kept", [0, 5, 719])
def test_images_without_a_descriptor_are_refused(tmp_path, kept):
    path = tmp_path / "IMG"
    path.write_bytes(ceos_writer.pack("image_descriptor", 1, {})[:kept])
    for read in (ceos.ImageFile.open, ceos.read_image_descriptor):
        with pytest.raises(Alos2TutError, match="does not begin with a CEOS image descriptor"):
            read(source_of(path))


def test_bytes_after_the_last_line_do_not_matter(tmp_path):
    image = write(tmp_path, describe())["HH"]
    path = file_in(tmp_path, "IMG").path
    path.write_bytes(path.read_bytes() + b"tail")
    [piece] = ceos.ImageFile.open(source_of(path)).strips(slice(0, 40), slice(0, 30), 40)
    assert np.array_equal(piece, image)


# --- prefixes


@pytest.mark.parametrize("product_id", ["UBSR1.5GUA", "UBSR1.1__A"])
def test_prefixes_are_the_same_in_all_packings_and_orders(tmp_path, product_id):
    write(tmp_path, describe(product_id))
    rows = [0, 39, 3, 3, 17]
    found = [ceos.ImageFile.open(source).prefixes(rows) for source in packings(file_in(tmp_path, "IMG").path)]
    assert found[0]["line"].tolist() == [1, 40, 4, 4, 18]
    assert found[0]["sequence"].tolist() == [2, 41, 5, 5, 19]
    assert all(found[0].dtype[name].isnative for name in found[0].dtype.names)
    for other in found[1:]:
        assert other.tobytes() == found[0].tobytes()
    image = ceos.ImageFile.open(file_in(tmp_path, "IMG"))
    assert len(image.prefixes([])) == 0
    for outside in ([40], [-1, 3]):
        with pytest.raises(ValueError, match="reach outside"):
            image.prefixes(outside)


# --- leaders that are not as expected


@pytest.fixture
def leader(tmp_path) -> FileSource:
    write(tmp_path, describe())
    return file_in(tmp_path, "LED")


def rewritten(leader: FileSource, records: list[bytes]) -> FileSource:
    leader.path.write_bytes(b"".join(records))
    return source_of(leader.path)


def test_records_are_found_wherever_they_lie(leader):
    whole = ceos.read_leader(leader)
    descriptor, *records = [record for _, record in walked(leader.path.read_bytes())]
    unknown = struct.pack(">IBBBBI", 2, 18, 51, 18, 20, 500) + b"7" * 488
    shuffled = [unknown, *reversed(records), unknown]
    assert ceos.read_leader(rewritten(leader, [descriptor, *shuffled])) == whole


def test_absent_records_are_left_out(leader):
    whole = ceos.read_leader(leader)
    records = [record for codes, record in walked(leader.path.read_bytes()) if codes[1] != 20]
    found = ceos.read_leader(rewritten(leader, records))
    assert found == {name: fields for name, fields in whole.items() if name != "map_projection"}
    assert found["radiometric"]["calibration_factor_db"] == -83


def test_the_first_of_two_records_counts(leader):
    records = [record for _, record in walked(leader.path.read_bytes())]
    second = ceos_writer.pack("radiometric", 99, {"calibration_factor_db": -12.0})
    assert ceos.read_leader(rewritten(leader, [*records, second]))["radiometric"]["calibration_factor_db"] == -83


def test_level_11_has_no_map_projection(tmp_path):
    write(tmp_path, describe("UBSR1.1__A"))
    source = file_in(tmp_path, "LED")
    found = ceos.read_leader(source)
    assert list(found) == [name for name in LENGTHS if name != "map_projection"]
    descriptor = found["leader_descriptor"]
    assert (descriptor["map_projection_count"], descriptor["map_projection_bytes"]) == (0, 0)
    files = [file_in(tmp_path, kind).read(48, 16) for kind in ("LED", "IMG")]
    assert files == [b"AL2 SARBSARL    ", b"AL2 SARBIMOP    "]
    # the factor lies 1,620 bytes earlier than in Level 1.5
    assert source.read(27_500 - 1620 + 20, 16) == b"     -83.0000000"


@pytest.mark.parametrize("number", [b"   6", b"   0", b"    ", b"five"])
def test_facility_records_of_no_known_number_are_skipped(leader, number):
    whole = ceos.read_leader(leader)
    records = [record for _, record in walked(leader.path.read_bytes())]
    records[-1] = records[-1][:12] + number + records[-1][16:]
    del whole["facility_5"]
    assert ceos.read_leader(rewritten(leader, records)) == whole


def test_records_shorter_than_their_fields_give_none(leader):
    records = [record for _, record in walked(leader.path.read_bytes())]
    cut = bytearray(records[2][:500])
    cut[8:12] = struct.pack(">I", 500)
    found = ceos.read_leader(rewritten(leader, [*records[:2], bytes(cut), *records[3:]]))["map_projection"]
    assert found["utm_zone"] == "20" and found["false_northing_m"] is None and found["coefficients_a"] is None


@pytest.mark.parametrize("kept", [1, 11, 12, 719, 721, 731, 4815, 40_000])
def test_truncated_leaders_are_refused(leader, kept):
    leader.path.write_bytes(leader.path.read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match=r"LED-.*(truncated|does not begin)"):
        ceos.read_leader(source_of(leader.path))


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 5, 0, 11, 4097, 4095])
def test_record_lengths_that_lie_are_refused(leader, length):
    source = patched(leader.path, 720 + 9, struct.pack(">I", length))

    problem = f"damaged.*byte 720 states a length of {length} bytes" if length < 12 else "truncated"

    def work():
        with pytest.raises(Alos2TutError, match=f"LED-.*{problem}"):
            ceos.read_leader(source)

    assert peak_bytes(work) < 8e6


def test_a_leader_of_nothing_but_headers_is_refused(leader):
    records = [record for _, record in walked(leader.path.read_bytes())]
    many = struct.pack(">IBBBBI", 2, 18, 51, 18, 20, 12) * 5000
    with pytest.raises(Alos2TutError, match="more than 1000 records"):
        ceos.read_leader(rewritten(leader, [*records, many]))


def test_a_huge_leader_is_refused_unread(leader):
    with open(leader.path, "r+b") as handle:
        handle.truncate(64 * 2**20 + 1)

    def work():
        for read in (ceos.read_leader, ceos.read_volume):
            with pytest.raises(Alos2TutError, match=r"LED-.*67,108,865 bytes"):
                read(source_of(leader.path))

    assert peak_bytes(work) < 1e6


@pytest.mark.parametrize("read", [ceos.read_leader, ceos.read_volume, ceos.read_trailer, ceos.read_image_descriptor])
def test_other_files_are_refused(tmp_path, read):
    path = tmp_path / "LED-x"
    for content in (b"", b"\x89PNG" + bytes(2000), bytes(5)):
        path.write_bytes(content)
        with pytest.raises(Alos2TutError, match="LED-x: does not begin"):
            read(source_of(path))


def test_a_trailer_without_its_image_is_truncated(tmp_path):
    path = tmp_path / "TRL"
    path.write_bytes(ceos_writer.pack("trailer_descriptor", 1, {"images": 1, "image_bytes": 1000}) + bytes(999))
    with pytest.raises(Alos2TutError, match=r"TRL: is truncated: 1 of 1720 bytes"):
        ceos.read_trailer(source_of(path))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("    -83.0000000 ", -83.0, id="as JAXA writes"),
        pytest.param("-8.3E+01", -83.0, id="scientific"),
        pytest.param("-8.3D+01", -83.0, id="Fortran"),
        pytest.param("-83", -83.0, id="whole"),
        pytest.param("", None, id="blank"),
        pytest.param("\0" * 16, None, id="zero bytes"),
        pytest.param("NAN", None, id="not a number"),
        pytest.param("inf", None, id="infinite"),
        pytest.param("1E999", None, id="too large"),
        pytest.param("8_3", None, id="underscore"),
        pytest.param("-83.O", None, id="letter"),
        pytest.param("****************", None, id="overflow"),
    ],
)
def test_numbers_that_are_none_are_none(leader, text, value):
    position = leader.path.read_bytes().index(b"     -83.0000000") + 1
    found = ceos.read_leader(patched(leader.path, position, text.encode().ljust(16)))
    assert found["radiometric"]["calibration_factor_db"] == value


@examples(150)
@given(data=st.data())
def test_damaged_leaders_give_errors_or_fields(leader, data):
    whole = bytearray(leader.path.read_bytes()[:38_980])
    try:
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(0, len(whole) - 5))
            whole[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
        copy = leader.path.with_name("LED-copy")
        copy.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        ceos.read_leader(source_of(copy))
    except Alos2TutError as error:
        assert "LED-copy" in str(error)


# --- summary.txt


def test_summaries_are_read_as_users_have_them(tmp_path):
    path = tmp_path / "summary.txt"
    path.write_bytes(b'\xef\xbb\xbfScs_SceneID="A=B"\r\n Pds_X = "1"\r\nno pair\r\nBare=2\n\xff\xfe="x"\n')
    found = ceos.read_summary(source_of(path))
    assert (found["Scs_SceneID"], found["Pds_X"], found["Bare"]) == ("A=B", "1", "2")
    assert len(found) == 4


def test_a_huge_summary_is_refused(tmp_path):
    path = tmp_path / "summary.txt"
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(Alos2TutError, match=r"summary.txt: has 1,048,577 bytes"):
        ceos.read_summary(source_of(path))


# --- what is written: against JAXA's


def test_written_descriptors_are_jaxas_byte_for_byte(level15):
    """Written for the real product's sizes; only what is different there may differ."""
    description = describe("FBDR1.5GUA", shape=(13161, 12870))
    image = ceos_writer._image_descriptor(description)
    assert image == real(level15, "IMG-HH").path.read_bytes()
    leader = ceos_writer._leader(description, 2)
    assert leader[0] == real(level15, "LED").read(0, 720)
    trailer = bytearray(real(level15, "TRL").read(0, 720))
    trailer[490:522] = b"     0".ljust(32)
    assert ceos_writer._trailer(description) == trailer


def test_written_leader_has_jaxas_records(level15, tmp_path):
    write(tmp_path, describe())
    ours, theirs = (walked(source.path.read_bytes()) for source in (file_in(tmp_path, "LED"), real(level15, "LED")))
    assert [(codes, len(record)) for codes, record in ours] == [(codes, len(record)) for codes, record in theirs]
    assert [record[:4] for _, record in ours] == [record[:4] for _, record in theirs]
    for name in ("dataset_summary", "map_projection", "platform", "radiometric", "quality", "facility_5"):
        stated = [all_fields(source)[name] for source in (file_in(tmp_path, "LED"), real(level15, "LED"))]
        missing = {key for key, value in stated[1].items() if value is not None and stated[0][key] is None}
        assert missing - {"scale_factor"} == set(), name


# --- what is written: against other readers


def open_with_xarray(folder: Path):
    ceos_alos2 = pytest.importorskip("ceos_alos2", reason="xarray-ceos-alos2 is not installed (extra 'dev')")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ceos_alos2.open_alos2(str(folder))


@pytest.mark.parametrize(
    ("product_id", "changes", "group"),
    [
        pytest.param("UBSR1.1__A", {}, "HH", id="1.1 stripmap, south"),
        pytest.param("UBSR1.1__D", {"center": (35.0, 139.0), "heading_deg": 190.0}, "HH", id="1.1 stripmap, north"),
        pytest.param("WBDR1.1__D", {"scan": ("F", 3)}, "HH_scan3", id="1.1 ScanSAR, full aperture"),
        pytest.param("WBDR1.1__D", {"scan": ("B", 1), "bursts": (4, 10, 2)}, "HH_scan1", id="1.1 ScanSAR, SPECAN"),
        pytest.param("UBSR1.5GUA", {}, "HH", id="1.5 G, south"),
        pytest.param("UBSR1.5GUD", {"south": False, "utm_zone": 54, "simulated": True}, "HH", id="1.5 G, north"),
        pytest.param("FBDR1.5RUA", {"transform": ROTATED}, "HH", id="1.5 R, south"),
        pytest.param("FBDR1.5RUD", {"transform": ROTATED, "south": False}, "HH", id="1.5 R, north"),
    ],
)
def test_xarray_ceos_alos2_reads_the_same(tmp_path, product_id, changes, group):
    description = describe(product_id, calibration_factor_db=-79.5, **changes)
    [image] = write(tmp_path, description).values()
    tree = open_with_xarray(tmp_path)
    assert tree["metadata/radiometric_data"]["calibration_factor"].item() == -79.5
    theirs = tree[f"imagery/{group}"]
    assert theirs["data"].dtype == image.dtype and np.array_equal(theirs["data"].values, image)
    assert np.array_equal(theirs["rows"].values, np.arange(1, 41))
    ours = ceos.ImageFile.open(file_in(tmp_path, "IMG"))
    assert ours.bursts == changes.get("bursts")
    prefixes = ours.prefixes(np.arange(40))
    pieces = [np.array(piece) for piece in ours.strips(slice(0, 40), slice(0, 30), 9)]
    assert np.array_equal(np.concatenate(pieces), image)
    # that reader takes angles for unsigned, so that the south is 4,294.967296° off; ours are signed
    latitude = theirs["latitude_of_first_pixel"].values
    signed = np.where(latitude > 180, latitude - 2**32 * 1e-6, latitude)
    assert (latitude > 180).all() == (description.scene.center[0] < 0)
    assert prefixes["latitudes"][:, 0] * 1e-6 == pytest.approx(signed, abs=1e-9)
    ranges = prefixes["slant_range_m"] if description.is_slc else prefixes["slant_range_m"][:, 0]
    name = "slant_range_to_first_data_sample" if description.is_slc else "slant_range_to_first_pixel"
    assert ranges.tolist() == theirs[name].values.tolist()
    midnight = np.datetime64("2014-09-09")
    assert (theirs["sensor_acquisition_date"].values - midnight == prefixes["millisecond"].astype("m8[ms]")).all()


#: our names of prefix fields, and those of the same bytes in xarray-ceos-alos2
COMMON_NAMES = {
    "line": "sar_image_data_line_number",
    "index": "sar_image_data_record_index",
    "left_fill": "actual_count_of_left_fill_pixels",
    "data_pixels": "actual_count_of_data_pixels",
    "right_fill": "actual_count_of_right_fill_pixels",
    "update_flag": "sensor_parameters_update_flag",
    "channel": "sar_channel_id",
    "transmitted": "transmitted_pulse_polarization",
    "received": "received_pulse_polarization",
    "prf_mhz": "prf",
    "scan": "scan_id",
}
AMPLITUDE_NAMES = {
    "slant_range_m": [f"slant_range_to_{p}_pixel" for p in ("first", "mid", "last")],
    "look_angle": "look_angle_of_nadir",
    "geographic_update_flag": "geographic_reference_parameter_update_flag",
    "latitudes": [f"latitude_of_{p}_pixel" for p in ("first", "center", "last")],
    "longitudes": [f"longitude_of_{p}_pixel" for p in ("first", "center", "last")],
    "northing_first_m": "northing_of_first_pixel",
    "northing_last_m": "northing_of_last_pixel",
    "easting_first_m": "easting_of_first_pixel",
    "easting_last_m": "easting_of_last_pixel",
    "heading": "line_heading",
}
COMPLEX_NAMES = {
    "platform_update_flag": "platform_position_parameters_update_flag",
    "slant_range_m": "slant_range_to_first_data_sample",
    "window_ns": "data_record_window_position",
    "platform_latitude": "platform_latitude",
    "platform_longitude": "platform_longitude",
    "platform_altitude_m": "platform_altitude",
    "ground_speed_cm_s": "platform_ground_speed",
    "true_track_angle": "platform_true_track_angle",
    "latitudes": [f"latitude_of_{p}_pixel" for p in ("first", "center", "last")],
    "longitudes": [f"longitude_of_{p}_pixel" for p in ("first", "center", "last")],
    "burst": "burst_number",
    "line_in_burst": "line_number_in_this_burst",
    "frame": "alos2_frame_number",
}


@pytest.mark.parametrize(("code", "names"), [("IU2", AMPLITUDE_NAMES), ("C*8", COMPLEX_NAMES)])
def test_prefix_fields_lie_where_another_reader_has_them(code, names):
    """No real line was at hand: that two readings of JAXA's description agree is the best there is."""
    pytest.importorskip("ceos_alos2", reason="xarray-ceos-alos2 is not installed (extra 'dev')")
    from ceos_alos2.sar_image.processed_data import processed_data_record
    from ceos_alos2.sar_image.signal_data import signal_data_record

    line = bytearray(i % 251 for i in range(ceos_layout.PREFIX_BYTES[code]))
    line[8:12] = struct.pack(">I", len(line))
    line[36:48] = struct.pack(">III", 2014, 252, 16_427_052)
    if code == "C*8":
        line[84:92] = struct.pack(">Q", 16_427_052_123)
    theirs = (signal_data_record if code == "C*8" else processed_data_record).parse(bytes(line))
    [ours] = np.frombuffer(bytes(line), full_prefix(code))
    assert (ours["year"], ours["day_of_year"], ours["millisecond"]) == (2014, 252, 16_427_052)
    assert theirs.sensor_acquisition_date == dt.datetime(2014, 9, 9, 4, 33, 47, 52_000)
    if code == "C*8":
        assert theirs.sensor_acquisition_date_microseconds == dt.datetime(2014, 9, 9, 4, 33, 47, 52_123)
        assert ours["microsecond"] == 16_427_052_123
        for axis, their in enumerate("xyz"):
            assert int(ours["velocity_cm_s"][axis]) % 2**32 == theirs.platform_velocity[their][0]
        # flags: they tell zero from the rest only
        for name, other, place in (
            ("range_compressed", "onboard_range_compressed_flag", slice(64, 66)),
            ("invalid", "invalid_line_flag", slice(96, 100)),
        ):
            assert theirs[other]
            without = line.copy()
            without[place] = bytes(place.stop - place.start)
            assert not signal_data_record.parse(bytes(without))[other]
            assert np.frombuffer(bytes(without), full_prefix(code))[0][name] == 0
    for name, other in (COMMON_NAMES | names).items():
        expected = []
        for key in [other] if isinstance(other, str) else other:
            value = theirs[key]
            value = value[0] if isinstance(value, tuple) else value
            # they scale angles to degrees
            expected.append(int(value) if not isinstance(value, float) else value)
        for mine, their in zip(np.atleast_1d(ours[name]).tolist(), expected, strict=True):
            scaled = their if isinstance(their, int) else round(their * 1e6)
            assert mine % 2**32 == scaled, name


@pytest.mark.parametrize("product_id", ["UBSR1.5GUA", "UBSR1.5RUA", "UBSR2.1GUA", "HBQR2.1GUD"])
@pytest.mark.parametrize("south", [True, False], ids=["south", "north"])
def test_gdal_reads_the_same(tmp_path, product_id, south):
    transform = ROTATED if product_id[7] == "R" else NORTH_UP
    description = describe(product_id, shape=(47, 32), south=south, transform=transform)
    images = write(tmp_path, description, "HH", "VV")
    to_degrees = (CRS.from_epsg(32720 if south else 32620), CRS.from_epsg(4326))
    for polarization, image in images.items():
        with rasterio.open(file_in(tmp_path, f"IMG-{polarization}").path) as raster:
            assert raster.driver == "SAR_CEOS" and np.array_equal(raster.read(1), image)
            points = raster.gcps[0]
        assert len(points) == 15
        for point in points:
            x, y = transform * (point.col, point.row)
            [longitude], [latitude] = reproject_points(*to_degrees, [x], [y])
            # the columns are pixel corners plus a half, the lines' places are kept to a millionth of a degree
            assert (point.x, point.y) == pytest.approx((longitude, latitude), abs=2e-6)


def test_gdal_does_not_read_level_11_yet(tmp_path):
    """From GDAL 3.13 on it may; then this test should compare pixels."""
    image = write(tmp_path, describe("UBSR1.1__A"))["HH"]
    try:
        with rasterio.open(file_in(tmp_path, "IMG").path) as raster:
            assert np.array_equal(raster.read(1), image)
    except RasterioIOError:
        assert tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 13)


# --- what is written: whether it agrees with itself


@pytest.mark.parametrize("product_id", ["UBSR1.1__A", "UBSL1.1__D", "UBSR1.5GUA", "UBSR1.5RUA", "UBSL2.1GUD"])
def test_places_and_ranges_agree_in_all_records(tmp_path, product_id):
    transform = None if "1.1" in product_id else ROTATED if product_id[7] == "R" else NORTH_UP
    heading = 192.0 if product_id[9] == "D" else -12.0
    description = describe(product_id, shape=(301, 201), transform=transform, heading_deg=heading, spacing_m=(2.5, 2.5))
    write(tmp_path, description)
    leader, image = all_fields(file_in(tmp_path, "LED")), ceos.ImageFile.open(file_in(tmp_path, "IMG"))
    scene, facility = leader["dataset_summary"], leader["facility_5"]
    rows = np.array([0, 150, 300])
    prefixes = image.prefixes(rows)
    middle = prefixes["latitudes"][1, 1] * 1e-6, prefixes["longitudes"][1, 1] * 1e-6
    assert middle == pytest.approx((scene["center_latitude_deg"], scene["center_longitude_deg"]), abs=1e-6)
    for i, row in enumerate(rows):
        for j, col in enumerate((0, 100, 200)):
            latitude, longitude = prefixes["latitudes"][i, j] * 1e-6, prefixes["longitudes"][i, j] * 1e-6
            place = col - facility["origin_pixel"], row - facility["origin_line"]
            assert quartic(facility["latitude_coefficients"], *place) == pytest.approx(latitude, abs=1e-6)
            assert quartic(facility["longitude_coefficients"], *place) == pytest.approx(longitude, abs=1e-6)
            place = latitude - facility["origin_latitude_deg"], longitude - facility["origin_longitude_deg"]
            assert quartic(facility["pixel_coefficients"], *place) == pytest.approx(col, abs=0.1)
            assert quartic(facility["line_coefficients"], *place) == pytest.approx(row, abs=0.1)
            if description.is_slc:
                continue
            projection = leader["map_projection"]
            assert bilinear(projection["coefficients_a"], row + 1, col + 1) == pytest.approx(
                (longitude, latitude), abs=2e-6
            )
            assert bilinear(projection["coefficients_b"], longitude, latitude) == pytest.approx(
                (row + 1, col + 1), abs=0.1
            )
    center_m = float(prefixes["slant_range_m"][1] + 250 if description.is_slc else prefixes["slant_range_m"][1, 1])
    assert center_m == pytest.approx(760_000, abs=1)
    radius_m = geometry.satellite_radius_m(center_m, scene["incidence_deg"])
    states = np.reshape(leader["platform"]["states"], (28, 6))
    assert np.linalg.norm(states[:, :3], axis=1) == pytest.approx(radius_m, abs=2)


@pytest.mark.parametrize("product_id", ["UBSR1.1__A", "UBSL1.1__A", "UBSR1.1__D"])
def test_slant_range_geometry(tmp_path, product_id):
    heading = 192.0 if product_id[9] == "D" else -12.0
    description = describe(product_id, shape=(401, 301), heading_deg=heading, spacing_m=(2.0, 1.5))
    write(tmp_path, description)
    prefixes = all_prefixes(file_in(tmp_path, "IMG"))[[0, 200, 400]]
    north_m, east_m = (
        (prefixes[name] * 1e-6 - center) * 111_194.9 * scale
        for name, center, scale in (("latitudes", -11.05, 1), ("longitudes", -62.53, math.cos(math.radians(11.05))))
    )
    # along the flight: 400 lines of 2 m; across it: 300 pixels of 1.5 m in slant range
    flown = np.array([north_m[2, 1] - north_m[0, 1], east_m[2, 1] - east_m[0, 1]])
    assert np.hypot(*flown) == pytest.approx(800, rel=2e-3)
    assert np.degrees(np.arctan2(flown[1], flown[0])) % 360 == pytest.approx(heading % 360, abs=0.3)
    seen = np.array([north_m[1, 2] - north_m[1, 0], east_m[1, 2] - east_m[1, 0]])
    assert np.hypot(*seen) == pytest.approx(450 / math.sin(math.radians(40.573)), rel=2e-3)
    side = -90 if product_id[3] == "L" else 90
    assert np.degrees(np.arctan2(seen[1], seen[0])) % 360 == pytest.approx((heading + side) % 360, abs=0.3)
    scene = ceos.read_leader(file_in(tmp_path, "LED"))["dataset_summary"]
    assert scene["clock_angle_deg"] == side
    # the satellite stands on the other side, at its distance
    platform = prefixes["platform_longitude"][1] * 1e-6 + 62.53
    assert (platform > 0) == (seen[1] < 0)
    ranges_m = prefixes["slant_range_m"][1] + 1.5 * np.arange(301)
    by_polynomial = np.polynomial.Polynomial(scene["incidence_polynomial"])(ranges_m / 1000)
    by_sphere = geometry.incidence_by_slant_range_deg(ranges_m, geometry.satellite_radius_m(760_000, 40.573))
    assert np.degrees(by_polynomial) == pytest.approx(by_sphere, abs=1e-3)
    # lines follow each other at the speed at which the point of view moves over the ground
    microseconds = prefixes["microsecond"].astype(float)
    assert 800 / (microseconds[2] - microseconds[0]) * 1e6 == pytest.approx(6870, abs=60)
    assert microseconds[1] == pytest.approx(16_427_052_000, abs=1)
    assert prefixes["millisecond"].tolist() == (prefixes["microsecond"] // 1000).tolist()


def test_maps_state_ranges_that_grow_away_from_the_satellite(tmp_path):
    """Ascending and looking right, a north-up map's west is near; descending, its east is."""
    for orbit, heading, sign in (("A", -12.0, 1), ("D", 192.0, -1)):
        folder = tmp_path / orbit
        write(folder, describe(f"UBSR2.1GU{orbit}", shape=(20, 1000), heading_deg=heading))
        near, middle, far = ceos.ImageFile.open(file_in(folder, "IMG")).prefixes([10])["slant_range_m"][0].astype(int)
        expected = sign * 999 * 2.5 * math.cos(math.radians(12)) * math.sin(math.radians(40.573))
        assert far - near == pytest.approx(expected, rel=0.02)
        assert middle == pytest.approx((near + far) / 2, abs=2)


def test_ranges_of_a_tall_map_follow_the_turning_satellite(tmp_path):
    """40 km along the flight: one that stood still would be 290 m farther from the ends than from the middle."""
    tall = NORTH_UP * Affine.scale(40)
    description = describe("WBDR2.1GUA", shape=(401, 10), spacing_m=(100.0, 100.0), transform=tall, heading_deg=-12.0)
    write(tmp_path, description)
    first, middle, last = ceos.ImageFile.open(file_in(tmp_path, "IMG")).prefixes([0, 200, 400])["slant_range_m"][:, 1]
    assert (int(first) + int(last)) / 2 == pytest.approx(int(middle), abs=20)


@pytest.mark.parametrize("south", [True, False])
def test_the_map_projection_says_where_the_map_lies(tmp_path, south):
    write(tmp_path, describe("UBSR2.1RUA", south=south, transform=ROTATED, utm_zone=7))
    found = all_fields(file_in(tmp_path, "LED"))["map_projection"]
    assert (found["projection"], found["utm_zone"]) == ("UTM-PROJECTION", "7")
    assert (found["false_easting_m"], found["false_northing_m"]) == (500_000, 10_000_000 if south else 0)
    assert (found["lines"], found["pixels"], found["descriptor"]) == (40, 30, "GEOREFERENCE")
    corners = {
        corner: (1000 * found[f"{corner}_easting_km"], 1000 * found[f"{corner}_northing_km"])
        for corner in geometry.CORNERS
    }
    transform, residual = geometry.affine_from_corners(corners, (40, 30))
    assert transform.almost_equals(ROTATED, 1e-4) and residual < 1e-3
    line = all_prefixes(file_in(tmp_path, "IMG"))[39]
    ends = [ROTATED * (col + 0.5, 39.5) for col in (0, 29)]
    assert [line["easting_first_m"], line["easting_last_m"]] == [round(x) for x, _ in ends]
    assert [line["northing_first_m"], line["northing_last_m"]] == [round(y) for _, y in ends]
    assert (line["look_angle"], line["heading"]) == (36_600_000, -12_500_000)
    assert (line["type"].tolist(), line["length"], line["data_pixels"]) == ([50, 11, 18, 20], 252, 30)


def test_scans_of_one_product_share_a_folder(tmp_path):
    shapes = {1: (30, 20), 2: (40, 25)}
    images = {}
    for scan, shape in shapes.items():
        images[scan] = write(tmp_path, describe("WBDR1.1__D", shape=shape, scan=("F", scan)), "HH", "HV")
    summary = ceos.read_summary(file_in(tmp_path, "summary"))
    names = [summary[f"Pdi_L11ProductFileName{n:02d}"] for n in range(1, 8)]
    assert summary["Pdi_CntOfL11ProductFileName"] == "7" and all((tmp_path / name).is_file() for name in names)
    assert [summary[f"Pdi_NoOf{what}_{n}"] for n in (0, 1) for what in ("Lines", "Pixels")] == ["30", "20", "40", "25"]
    volume = all_fields(file_in(tmp_path, "VOL"), "volume_descriptor")
    pointers = [volume[f"file_pointer_{n}"] for n in range(1, volume["volume_descriptor"]["pointers"] + 1)]
    assert [p["class_code"] for p in pointers] == ["SARL", *["IMOP"] * 4, "SART"]
    assert [p["records"] for p in pointers[1:5]] == [31, 41, 31, 41]
    tree = open_with_xarray(tmp_path)
    for scan, polarization in ((1, "HH"), (2, "HH"), (1, "HV"), (2, "HV")):
        assert np.array_equal(tree[f"imagery/{polarization}_scan{scan}"]["data"].values, images[scan][polarization])


def test_bursts_are_numbered(tmp_path):
    write(tmp_path, describe("WBDR1.1__D", scan=("B", 2), bursts=(4, 10, 2)))
    prefixes = all_prefixes(file_in(tmp_path, "IMG"))[[0, 9, 10, 39]]
    assert prefixes["burst"].tolist() == [1, 1, 2, 4] and prefixes["line_in_burst"].tolist() == [1, 10, 1, 10]
    assert set(prefixes["scan"].tolist()) == {2} and set(prefixes["frame"].tolist()) == {6960}


def test_polarisations_and_files_are_named(tmp_path):
    description = describe("HBQR2.1GUA")
    images = {pol: iter([pixels_for(description)]) for pol in ("HV", "VV")}
    paths = write_ceos_product(tmp_path, description, images)
    identity = f"{SCENE}-HBQR2.1GUA"
    assert [path.name for path in paths] == [
        *(f"{kind}-{identity}" for kind in ("VOL", "LED", "IMG-HV", "IMG-VV", "TRL")),
        "summary.txt",
    ]
    for polarization, codes in (("HV", (0, 1)), ("VV", (1, 1))):
        prefix = ceos.ImageFile.open(file_in(tmp_path, f"IMG-{polarization}")).prefixes([5])[0]
        assert (prefix["transmitted"], prefix["received"], prefix["channel"]) == (*codes, 4)


def test_simulated_products_say_so_and_name_no_facility_of_jaxa(tmp_path):
    write(tmp_path, describe(simulated=True))
    told = [
        ceos.read_image_descriptor(file_in(tmp_path, "IMG"))["software"],
        ceos.read_leader(file_in(tmp_path, "LED"))["leader_descriptor"]["software"],
        all_fields(file_in(tmp_path, "LED"))["dataset_summary"]["product_type"],
        ceos.read_volume(file_in(tmp_path, "VOL"))["volume_descriptor"]["software"],
        ceos.read_trailer(file_in(tmp_path, "TRL"))["trailer_descriptor"]["software"],
        ceos.read_summary(file_in(tmp_path, "summary"))["Odi_SiteDateTime"],
    ]
    assert all("SIMULAT" in text for text in told)
    for path in tmp_path.iterdir():
        assert b"JAXA" not in path.read_bytes() and b"EICS" not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("strips", "problem"),
    [
        pytest.param([np.zeros((40, 29), np.uint16)], "29", id="too narrow"),
        pytest.param([np.zeros((40, 30), np.int16)], "int16", id="another type"),
        pytest.param([np.zeros((40, 30), np.complex64)], "complex64", id="complex"),
        pytest.param([np.zeros((30, 30), np.uint16)] * 2, r"at line 30", id="too many lines"),
        pytest.param([np.zeros((30, 30), np.uint16)], "30 lines together, not 40", id="too few lines"),
        pytest.param([np.zeros(30, np.uint16)], r"\(30,\)", id="no strip"),
    ],
)
def test_strips_that_do_not_fit_are_refused(tmp_path, strips, problem):
    with pytest.raises(ValueError, match=problem):
        write_ceos_product(tmp_path, describe(), {"HH": strips})


def test_descriptions_that_contradict_themselves_are_refused():
    for product_id, changes in (("UBSR1.1__A", {"center": None}), ("UBSR2.1GUA", {"utm_zone": None})):
        with pytest.raises(ValueError, match="has a centre"):
            describe(product_id, **changes)


def test_values_that_do_not_fit_their_field_are_refused():
    with pytest.raises(ValueError, match="does not fit orbit"):
        ceos_writer.pack("dataset_summary", 2, {"orbit": 123_456_789})
    with pytest.raises(ValueError, match="does not fit j2_j3_j4"):
        ceos_writer.pack("dataset_summary", 2, {"j2_j3_j4": (1.0, 2.0)})
