"""Writing CEOS files: what other readers make of them, and whether all records agree with each other."""

import datetime as dt
import math
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from support.ceos import (
    NORTH_UP,
    ROTATED,
    SCENE,
    all_fields,
    all_prefixes,
    bilinear,
    describe,
    file_in,
    full_prefix,
    pixels_for,
    quartic,
    real,
    walked,
    write,
)

from alos2tut import Alos2TutError, geometry
from alos2tut.products import ceos
from alos2tut.products.satellites import ALOS2
from alos2tut.simulation import ceos_writer
from alos2tut.simulation.ceos_writer import write_ceos_product

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
    assert ceos_writer._descriptor(description, "TRL", {"images": 0}) == trailer


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
    fields = ceos.read_image_descriptor(ours.source)
    bursts = tuple(fields[name] for name in ("bursts", "lines_per_burst", "burst_overlap_lines"))
    assert bursts == changes.get("bursts", (None, None, None))
    prefixes = ours.prefixes(np.arange(40))
    pieces = [np.array(piece) for piece in ours.strips(slice(0, 40), slice(0, 30), 9)]
    assert np.array_equal(np.concatenate(pieces), image)
    # that reader takes angles for unsigned, so that the south is 4,294.967296° off; ours are signed
    latitude = theirs["latitude_of_first_pixel"].values
    signed = np.where(latitude > 180, latitude - 2**32 * 1e-6, latitude)
    assert (latitude > 180).all() == (description.center[0] < 0)
    assert prefixes["latitudes"][:, 0] * 1e-6 == pytest.approx(signed, abs=1e-9)
    is_slc = "1.1" in product_id
    ranges = prefixes["slant_range_m"] if is_slc else prefixes["slant_range_m"][:, 0]
    name = "slant_range_to_first_data_sample" if is_slc else "slant_range_to_first_pixel"
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
    "latitudes": [f"latitude_of_{p}_pixel" for p in ("first", "center", "last")],
    "longitudes": [f"longitude_of_{p}_pixel" for p in ("first", "center", "last")],
}


AMPLITUDE_NAMES = {
    "slant_range_m": [f"slant_range_to_{p}_pixel" for p in ("first", "mid", "last")],
    "look_angle": "look_angle_of_nadir",
    "geographic_update_flag": "geographic_reference_parameter_update_flag",
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

    line = bytearray(i % 251 for i in range(ALOS2.prefix_bytes(code)))
    line[8:12] = struct.pack(">I", len(line))
    line[36:48] = struct.pack(">III", 2014, 252, 16_427_052)
    if code == "C*8":
        line[84:92] = struct.pack(">Q", 16_427_052_123)
    theirs = (signal_data_record if code == "C*8" else processed_data_record).parse(bytes(line))
    [ours] = np.frombuffer(bytes(line), full_prefix(code), count=1)
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
            assert np.frombuffer(bytes(without), full_prefix(code), count=1)[0][name] == 0
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


# --- what is written: whether it agrees with itself


def test_polynomials_do_not_jump_at_the_antimeridian(tmp_path):
    (x,), (y,) = reproject_points("EPSG:4326", "EPSG:32760", [180.0], [-16.5])
    grid = Affine(100, 0, round(x) - 10_000, 0, -100, round(y) + 15_000)
    description = describe(
        "UBSR2.1GUD", shape=(301, 201), transform=grid, spacing_m=(100, 100), utm_zone=60, south=True
    )
    write(tmp_path, description)
    leader, image = all_fields(file_in(tmp_path, "LED")), ceos.ImageFile.open(file_in(tmp_path, "IMG"))
    facility, projection = leader["facility_5"], leader["map_projection"]
    stated = image.prefixes(np.array([0, 150, 300]))["longitudes"] * 1e-6
    assert stated.min() < -179.9 and stated.max() > 179.9
    for i, row in enumerate((0, 150, 300)):
        for j, col in enumerate((0, 100, 200)):
            place = col - facility["origin_pixel"], row - facility["origin_line"]
            for longitude in (
                quartic(facility["longitude_coefficients"], *place),
                bilinear(projection["coefficients_a"], row + 1, col + 1)[0],
            ):
                assert geometry.beside(longitude, stated[i, j]) == pytest.approx(stated[i, j], abs=1e-4)


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
            if "1.1" in product_id:
                continue
            projection = leader["map_projection"]
            assert bilinear(projection["coefficients_a"], row + 1, col + 1) == pytest.approx(
                (longitude, latitude), abs=2e-6
            )
            assert bilinear(projection["coefficients_b"], longitude, latitude) == pytest.approx(
                (row + 1, col + 1), abs=0.1
            )
    center_m = float(prefixes["slant_range_m"][1] + 250 if "1.1" in product_id else prefixes["slant_range_m"][1, 1])
    assert center_m == pytest.approx(760_000, abs=1)
    radius_m = geometry.satellite_radius_m(center_m, scene["incidence_deg"])
    platform = leader["platform"]
    states = np.reshape(platform["states"], (28, 6))
    assert np.linalg.norm(states[:, :3], axis=1) == pytest.approx(radius_m, abs=2)
    # where the satellite is, how far away and on which side, and where it flies to
    phi, lam = np.radians((scene["center_latitude_deg"], scene["center_longitude_deg"]))
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    north = (np.array([0, 0, 1]) - np.sin(phi) * up) / np.cos(phi)
    east = np.cross(north, up)
    away = np.array(platform["position_m"]) - geometry.EARTH_RADIUS_M * up
    assert np.linalg.norm(away) == pytest.approx(760_000, abs=1)
    flown = np.array(platform["velocity_m_s"])
    assert np.degrees(np.arctan2(flown @ east, flown @ north)) % 360 == pytest.approx(heading % 360, abs=1e-6)
    seen = np.degrees(np.arctan2(-away @ east, -away @ north))
    assert (seen - heading) % 360 == pytest.approx(scene["clock_angle_deg"] % 360, abs=1e-6)
    assert scene["clock_angle_deg"] == (-90 if product_id[3] == "L" else 90)


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
    lines = ceos.ImageFile.open(file_in(tmp_path, "IMG")).prefixes([0, 200, 400])
    first, middle, last = lines["slant_range_m"][:, 1].astype(int)
    assert (first + last) / 2 == pytest.approx(middle, abs=20)
    # lines follow each other at the speed at which the point of view moves over the ground
    first, middle, last = lines["millisecond"].astype(int)
    assert 40_000_000 / (last - first) == pytest.approx(6870, abs=60) and abs(middle - 16_427_052) <= 1


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
    texts = [
        ceos.read_image_descriptor(file_in(tmp_path, "IMG"))["software"],
        ceos.read_leader(file_in(tmp_path, "LED"))["leader_descriptor"]["software"],
        all_fields(file_in(tmp_path, "LED"))["dataset_summary"]["product_type"],
        ceos.read_volume(file_in(tmp_path, "VOL"))["volume_descriptor"]["software"],
        ceos.read_trailer(file_in(tmp_path, "TRL"))["trailer_descriptor"]["software"],
        ceos.read_summary(file_in(tmp_path, "summary"))["Odi_SiteDateTime"],
    ]
    assert all("SIMULAT" in text for text in texts)
    for path in tmp_path.iterdir():
        assert b"JAXA" not in path.read_bytes() and b"EICS" not in path.read_bytes(), path.name


STRIPS = {
    "29": [np.zeros((40, 29), np.uint16)],
    "int16": [np.zeros((40, 30), np.int16)],
    "complex64": [np.zeros((40, 30), np.complex64)],
    "at line 30": [np.zeros((30, 30), np.uint16)] * 2,
    "30 lines together, not 40": [np.zeros((30, 30), np.uint16)],
    r"\(30,\)": [np.zeros(30, np.uint16)],
}


@pytest.mark.parametrize(("problem", "strips"), STRIPS.items(), ids=STRIPS)
def test_strips_that_do_not_fit_are_refused(tmp_path, problem, strips):
    with pytest.raises(ValueError, match=problem):
        write_ceos_product(tmp_path, describe(), {"HH": strips})


def test_values_that_do_not_fit_their_field_are_refused():
    with pytest.raises(ValueError, match="does not fit orbit"):
        ceos_writer.pack("dataset_summary", 2, {"orbit": 123_456_789})
    with pytest.raises(ValueError, match="does not fit j2_j3_j4"):
        ceos_writer.pack("dataset_summary", 2, {"j2_j3_j4": (1.0, 2.0)})


def test_times_of_other_zones_are_written_in_utc(tmp_path):
    """What is no time is refused, and no image of an unfinished product stays."""
    japan = dt.datetime(2014, 9, 9, 13, 33, 47, 52_000, dt.timezone(dt.timedelta(hours=9)))
    for name, time in (("aware", japan), ("naive", dt.datetime(2014, 9, 9, 4, 33, 47, 52_000))):
        write_ceos_product(tmp_path / name, describe(center_time=time, processed=time), {})
    files = {path.name: path.read_bytes() for path in (tmp_path / "aware").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "naive").iterdir()}
    for time in ("2014-09-09", 5, None):
        with pytest.raises(Alos2TutError, match="center_time"):
            describe(center_time=time)
    with pytest.raises(ValueError, match="lines"):
        write_ceos_product(
            tmp_path / "half", describe(), {"HH": [np.zeros((40, 30), np.uint16)], "HV": [np.zeros((3, 30), np.uint16)]}
        )
    assert not list((tmp_path / "half").iterdir())
