"""What a CEOS product is made of: leader, lines and summary.txt, where they are absent, odd or at odds."""

import math
import re
import shutil
import struct
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.ceos import source_of
from support.packagings import (
    UTM20S,
    change_summary,
    image_of,
    leader_of,
    without_records,
    write_field,
    zero_in_lines,
)
from support.products import UTM54, amplitudes, complex_numbers, write_ceos

from alos2tut import Alos2TutError, Alos2TutWarning, load_config, map_scene, open_product
from alos2tut.dataset.archive import open_archive
from alos2tut.products import ceos, ceos_layout

# --- metadata


def test_metadata_of_a_leader(packaged):
    product = open_product(packaged("CEOS 1.5 G"))
    assert (product.quantity, product.calibration_factor_db, product.calibration_source) == (
        "sigma0",
        -83.0,
        "leader file",
    )
    assert (product.incidence_deg, product.looks, product.resolution_m) == (36.3, (1.0, 1.0), (3.0, 3.0))
    assert (product.beam, product.software, product.simulated) == ("F7", "002.012", False)
    assert product.off_nadir_deg == product.to_dict()["off_nadir_deg"] == 32.4
    assert product.gaps == product.notes == () and product.no_data_dn == (0,)


def test_the_off_nadir_angle_is_the_leaders_else_that_of_the_summary(copied):
    folder = copied("CEOS 1.5 G")
    change_summary(folder, Img_OffNadirAngle="33.9")
    assert open_product(folder).off_nadir_deg == 32.4
    write_field(leader_of(folder), "dataset_summary", "off_nadir_deg", "")
    assert open_product(folder).off_nadir_deg == 33.9
    (folder / "summary.txt").unlink()
    assert open_product(folder).off_nadir_deg is None


@pytest.mark.parametrize("packaging", ["CEOS 2.1", "GeoTIFF 2.1"])
def test_summary_tells_times(copied, packaged, packaging):
    folder = copied(packaging)
    shutil.copyfile(packaged("CEOS 2.1") / "summary.txt", folder / "summary.txt")
    change_summary(
        folder,
        Img_SceneCenterDateTime="20181018 03:04:05.123",
        Img_SceneStartDateTime="20181018 03:04:00.000",
        Img_SceneEndDateTime="20181018 03:04:10.250",
        Odi_SiteDateTime="PROCESS:JAPAN-JAXA-ALOS2-EICS  20181120 070809",
    )
    product = open_product(folder)
    assert (product.started, product.acquired, product.ended, product.processed) == (
        "2018-10-18T03:04:00.000Z",
        "2018-10-18T03:04:05.123Z",
        "2018-10-18T03:04:10.250Z",
        "2018-11-20T07:08:09Z",
    )


CORNERS = {
    "LeftTop": (139.1, 35.9),
    "RightTop": (139.9, 36.1),
    "RightBottom": (140.0, 35.2),
    "LeftBottom": (139.2, 35.0),
}


@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 2.1", "GeoTIFF 2.1"])
@pytest.mark.parametrize("sign", [1, -1], ids=["north east", "south west"])
def test_the_footprint_goes_around_the_corners_of_summary(copied, packaged, packaging, sign):
    folder = copied(packaging)
    if packaging != "CEOS 1.1":
        shutil.copyfile(packaged("CEOS 2.1") / "summary.txt", folder / "summary.txt")
    for corner, (longitude, latitude) in CORNERS.items():
        place = {"Longitude": f"{sign * longitude}", "Latitude": f"{sign * latitude}"}
        change_summary(folder, **{f"Img_ImageScene{corner}{axis}": value for axis, value in place.items()})
    assert open_product(folder).footprint == tuple((sign * x, sign * y) for x, y in CORNERS.values())


@pytest.mark.parametrize("value", [None, "", "north", "nan", "200.0"])
def test_a_footprint_that_lacks_a_number_is_none(copied, value):
    folder = copied("CEOS 2.1")
    change_summary(folder, Img_ImageSceneLeftTopLatitude=value)
    by_lines = open_product(folder).footprint
    assert by_lines[0] == pytest.approx((139.3515, 35.2323), abs=1e-3) and len(by_lines) == 4


@pytest.mark.parametrize(("level", "first_byte"), [("1.1", 193), ("2.1", 133)])
def test_without_summary_the_footprint_is_that_of_the_lines(tmp_path, level, first_byte):
    if level == "1.1":
        folder = write_ceos(tmp_path, {"HH": complex_numbers()}, "UBSR1.1__D", center=(-8.5, -62.1))
    else:
        folder = write_ceos(tmp_path, {"HH": amplitudes()}, transform=UTM20S, utm_zone=20, south=True)
    (folder / "summary.txt").unlink()
    data = image_of(folder).read_bytes()
    length = struct.unpack_from(">I", data, 720 + 8)[0]
    places = []
    # JAXA: latitudes of first, middle, last pixel, then longitudes, in millionths of a degree
    for line, pixel in ((0, 0), (0, 2), (47, 2), (47, 0)):
        six = struct.unpack_from(">6i", data, 720 + line * length + first_byte - 1)
        places.append((six[3 + pixel] / 1e6, six[pixel] / 1e6))
    footprint = open_product(folder).footprint
    np.testing.assert_allclose(footprint, places)
    assert all(-65 < x < -61 and -10 < y < -8 for x, y in footprint)


def test_a_footprint_that_nobody_states_is_that_of_the_raster(packaged):
    product = open_product(packaged("GeoTIFF 2.1"))
    xs, ys = rasterio.warp.transform("EPSG:4326", "EPSG:32654", *zip(*product.footprint, strict=True))
    expected = [(350_000, 3_900_000), (350_100, 3_900_000), (350_100, 3_899_880), (350_000, 3_899_880)]
    np.testing.assert_allclose(np.transpose([xs, ys]), expected, atol=0.01)


def test_a_simulated_product_says_so_without_its_summary(small_scene, tmp_path):
    folder = Path(shutil.copytree(small_scene, tmp_path / "product", ignore=shutil.ignore_patterns("labels")))
    (folder / "summary.txt").unlink()
    assert open_product(folder).simulated
    write_field(image_of(folder), "image_descriptor", "software", "SIGMA SAR")
    assert not open_product(folder).simulated


def test_real_product_is_read_with_the_lines_it_should_have(level15, tmp_path):
    """The real headers around a sparse file of the stated size: what the reader makes of JAXA's own records."""
    folder = shutil.copytree(level15, tmp_path / "product", copy_function=shutil.copyfile)
    for image in folder.glob("IMG-*"):
        with open(image, "r+b") as handle:
            handle.truncate(720 + 13161 * 25932)
    product = open_product(folder)
    assert (product.shape, product.polarizations, product.crs.to_epsg()) == ((13161, 12870), ("HH", "HV"), 32720)
    # corners are the centres of the corner pixels
    assert product.transform * (0.5, 0.5) == pytest.approx((510_879.0839, 8_819_462.993))
    assert product.transform * (12869.5, 13160.5) == pytest.approx((591_310.3339, 8_737_212.993))
    assert (product.calibration_factor_db, product.calibration_source) == (-83.0, "leader file")
    assert (product.incidence_deg, product.looks, product.resolution_m) == (40.573, (2.0, 1.0), (9.4979547, 8.2004161))
    assert (product.orbit, product.frame, product.orbit_direction, product.beam) == (1597, 6960, "ascending", "F7")
    # the leader's digits; summary.txt has 36.6
    assert product.off_nadir_deg == 36.6481913
    assert (product.acquired, product.started) == ("2014-09-09T04:33:47.052Z", "2014-09-09T04:33:42.052Z")
    assert product.processed == "2015-03-20T08:09:52Z" and not product.simulated and product.gaps == ()
    assert product.footprint[0] == pytest.approx((-62.756, -10.679), abs=0.2) and product.footprint[2][1] < -11
    assert np.isnan(product.read_db((13000, 12000, 20, 30), polarization="HV")).all()


# --- calibration


W2 = {"images": {"HH": amplitudes((4, 5)), "HV": amplitudes((4, 5))}, "beam": 2, "processed": datetime(2015, 3, 4)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"processed": datetime(2016, 9, 28, 6, 59, 59)}, -79, id="the last second"),
        pytest.param({"processed": datetime(2016, 9, 28, 7)}, -83, id="ordered since then"),
        pytest.param({"beam": 3}, -83, id="another beam"),
        pytest.param({"product_id": "WWDR1.5GUD"}, -79, id="the other ScanSAR mode of the beam"),
        pytest.param({"product_id": "UBDR1.5GUD"}, -83, id="another mode"),
        pytest.param({"calibration_factor_db": -79.0}, -79, id="a leader that says so itself"),
        pytest.param({"calibration_factor_db": -81.5}, -81.5, id="a leader that says something else"),
        pytest.param({"product_id": "WBDR1.1__D", "images": {"HH": complex_numbers((4, 5))}}, -111, id="Level 1.1"),
    ],
)
def test_old_scansar_of_beam_w2_has_its_own_factor(tmp_path, changes, expected):
    described = {"product_id": "WBDR1.5GUD", **W2, **changes}
    product = open_product(write_ceos(tmp_path, **described))
    assert product.calibration_factor_db == expected
    is_exception = expected in (-79, -111) and "calibration_factor_db" not in changes
    assert ("W2" in product.calibration_source) == is_exception == any("W2" in note for note in product.notes)


@pytest.mark.parametrize(("factor", "is_odd"), [(-83.0, False), (-79.0, False), (-81.5, True)])
def test_the_factor_of_the_leader_is_used_and_told_if_it_was_never_published(copied, packaged, factor, is_odd):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", f"{factor:.7f}")
    product = open_product(folder)
    assert (product.calibration_factor_db, product.calibration_source) == (factor, "leader file")
    assert bool(product.notes) == is_odd
    np.testing.assert_allclose(product.read_db(), open_product(packaged("CEOS 2.1")).read_db() + factor + 83, atol=1e-4)


@pytest.mark.parametrize(("packaging", "expected"), [("CEOS 2.1", -83.0), ("CEOS 1.1", -115.0)])
def test_a_missing_factor_is_assumed_and_said(copied, packaging, expected):
    folder = copied(packaging)
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", "")
    product = open_product(folder)
    assert product.calibration_factor_db == expected
    assert product.calibration_source.startswith("assumed") and "leader: radiometric record" in product.gaps
    assert any("assumed" in note for note in product.notes)


@pytest.mark.parametrize("factor", ["1e300", "830.0", "-8300.0"])
def test_a_calibration_factor_that_cannot_be_is_refused(copied, factor):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", factor)
    with pytest.raises(Alos2TutError, match=r"LED-.*calibration factor"):
        open_product(folder)


# --- records that are absent


@pytest.mark.parametrize(
    ("record", "gaps"),
    [
        pytest.param("dataset_summary", ("leader: scene incidence", "leader: looks"), id="dataset summary"),
        pytest.param("radiometric", ("leader: radiometric record",), id="radiometric"),
        pytest.param("platform", (), id="platform"),
        pytest.param("attitude", (), id="attitude"),
        pytest.param("quality", (), id="quality"),
        pytest.param("facility_5", (), id="facilities"),
    ],
)
@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 2.1"])
def test_a_record_that_is_absent_is_a_gap(copied, packaged, packaging, record, gaps):
    folder = copied(packaging)
    without_records(leader_of(folder), record)
    product, whole = open_product(folder), open_product(packaged(packaging))
    assert product.gaps == gaps and (product.grid, product.footprint) == (whole.grid, whole.footprint)
    np.testing.assert_array_equal(product.read_db(), whole.read_db())


def test_without_a_dataset_summary_nothing_is_guessed(copied):
    folder = copied("CEOS 1.1")
    without_records(leader_of(folder), "dataset_summary")
    product = open_product(folder)
    assert product.incidence_deg is product.incidence_source is product.looks is product.beam is None
    assert product.resolution_m is product.stated_spacing_m is None
    with pytest.raises(Alos2TutError, match="no incidence angle"):
        product.read_incidence()


@pytest.mark.parametrize("packaging", ["CEOS 1.5 G", "CEOS 1.5 R", "CEOS 2.1", "CEOS 2.1 south west"])
def test_without_a_map_projection_lines_and_summary_place_the_product(copied, packaged, packaging):
    folder = copied(packaging)
    without_records(leader_of(folder), "map_projection")
    product, whole = open_product(folder), open_product(packaged(packaging))
    assert product.crs == whole.crs
    assert any("map projection record" in gap and "lines" in gap for gap in product.gaps)
    for corner in ((0, 0), (40, 0), (40, 48), (0, 48)):
        # lines are in millionths of a degree, 0.1 m
        assert math.dist(product.transform * corner, whole.transform * corner) < 0.5


def test_a_product_whose_place_nobody_states_asks_for_its_crs(copied, packaged):
    folder = copied("CEOS 2.1")
    without_records(leader_of(folder), "map_projection")
    (folder / "summary.txt").unlink()
    with pytest.raises(Alos2TutError, match=r"LED-.*no map projection record.*crs='EPSG"):
        open_product(folder)
    given = open_product(folder, crs="EPSG:32654")
    assert math.dist(given.transform * (0, 0), (350_000, 3_900_000)) < 0.5


def test_a_product_that_nothing_places_is_refused(copied):
    folder = copied("CEOS 2.1")
    without_records(leader_of(folder), "map_projection")
    zero_in_lines(image_of(folder), first_byte=133, count=24)
    with pytest.raises(Alos2TutError, match=r"LED-.*neither .* nor the lines.*say where"):
        open_product(folder, crs="EPSG:32654")


def test_lines_that_state_no_place_leave_the_leader_alone(copied):
    folder = copied("CEOS 2.1")
    zero_in_lines(image_of(folder), first_byte=133, count=24)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        transform = open_product(folder).transform
    assert tuple(transform) == pytest.approx(tuple(UTM54), abs=1e-3)


def test_a_leader_and_lines_that_disagree_are_warned_of(copied):
    folder = copied("CEOS 2.1")
    projection = ceos.read_leader(source_of(leader_of(folder)))["map_projection"]
    for corner in ("top_left", "top_right", "bottom_right", "bottom_left"):
        moved = projection[f"{corner}_easting_km"] + 3
        write_field(leader_of(folder), "map_projection", f"{corner}_easting_km", f"{moved:.7f}")
    with pytest.warns(Alos2TutWarning, match="3000 m apart.*the leader is believed"):
        product = open_product(folder)
    assert product.transform * (0, 0) == pytest.approx((353_000, 3_900_000))
    with pytest.raises(Alos2TutError, match=r"different scenes: the lines of IMG-HH.* 3\.0 km from where the leader"):
        product.check_one_scene()


@pytest.mark.parametrize(
    ("record", "field", "value", "message"),
    [
        ("dataset_summary", "scene_id", "ALOS2015976960-140909", "scene ALOS2015976960-140909 in the leader"),
        ("dataset_summary", "center_time", "20140909043347052", "acquired 2014-09-09 by the leader"),
        ("summary", "Img_SceneCenterDateTime", "20140909 04:33:47.052", r"acquired 2014-09-09 by summary\.txt"),
    ],
)
def test_files_of_different_scenes_are_opened_and_not_used(copied, tmp_path, record, field, value, message):
    folder = copied("CEOS 2.1")
    if record == "summary":
        text = re.sub(rf'{field}="[^"]*"', f'{field}="{value}"', (folder / "summary.txt").read_text())
        (folder / "summary.txt").write_text(text)
        assert value in text
    else:
        write_field(leader_of(folder), record, field, value)
    with pytest.warns(Alos2TutWarning, match=f"files and names disagree .*{message}"):
        product = open_product(folder)
    refusal = f"its files belong to different scenes: {message}"
    config = load_config("dataset", products=str(folder), labels="l", patch_px=8, looks=1)
    with pytest.warns(Alos2TutWarning), pytest.raises(Alos2TutError, match=refusal):
        open_archive(config)
    with pytest.raises(Alos2TutError, match=refusal):
        map_scene(product, "segmenter", tmp_path / "m.tif", load_config("map", preview=False))


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param((0, 0, 0), id="none"),
        pytest.param((1000, 1000, 1000), id="far below any orbit"),
        pytest.param((2**32 - 1,) * 3, id="beyond the Moon"),
        pytest.param((760_000, 760_000, 7_600_000), id="one beyond the horizon"),
        pytest.param((600_000, 760_000, 760_100), id="one nearer than the ground below"),
    ],
)
def test_slant_ranges_that_cannot_be_leave_the_scene_centre(copied, ranges):
    folder = copied("CEOS 2.1")
    data = bytearray(image_of(folder).read_bytes())
    for line in range(720, len(data), 192 + 2 * 40):
        struct.pack_into(">3I", data, line + 64, *ranges)
    image_of(folder).write_bytes(data)
    assert open_product(folder).incidence_source == "scene centre"


@pytest.mark.parametrize(
    ("file", "message"), [(leader_of, "LED-ALOS2.*missing.*again"), (image_of, "no image file IMG-HH-ALOS2.*again")]
)
def test_a_missing_file_is_named(copied, file, message):
    folder = copied("CEOS 2.1")
    file(folder).unlink()
    with pytest.raises(Alos2TutError, match=message):
        open_product(folder)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        pytest.param("projection", "MERCATOR", "not UTM", id="another projection"),
        pytest.param("utm_zone", "99", "zone", id="a zone beyond 60"),
        pytest.param("utm_zone", "0", "zone", id="zone zero"),
        pytest.param("top_left_easting_km", "", "corners", id="no corner"),
        pytest.param("top_left_easting_km", "0.0", "spacing", id="a corner elsewhere"),
        pytest.param("top_left_easting_km", "1e307", "spacing", id="a corner beyond numbers"),
        pytest.param("line_spacing_m", "-2.5", "spacing", id="negative spacing"),
    ],
)
def test_a_map_projection_that_cannot_be_is_refused(copied, field, text, message):
    leader = leader_of(copied("CEOS 2.1"))
    write_field(leader, "map_projection", field, text)
    with pytest.raises(Alos2TutError, match=rf"LED-.*{message}"):
        open_product(leader)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        pytest.param("UBSR1.1__D", "UBSR2.1GUD", id="complex numbers called 2.1"),
        pytest.param("UBSR2.1GUD", "UBSR1.1__D", id="amplitudes called 1.1"),
    ],
)
def test_samples_of_another_level_are_refused(tmp_path, written, named):
    pixels = complex_numbers() if "1.1" in written else amplitudes()
    folder = write_ceos(tmp_path, {"HH": pixels}, written)
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace(written, named)))
    with pytest.raises(Alos2TutError, match=r"IMG-HH.*samples of type .*file's name"):
        open_product(folder)


def test_images_of_two_sizes_are_refused(copied):
    folder = copied("CEOS 1.5 G")
    write_field(image_of(folder, "HV"), "image_descriptor", "lines", "40")
    with pytest.raises(Alos2TutError, match=r"IMG-HV.*40 × 40"):
        open_product(folder)


# --- what names claim and what files say


def test_angles_of_a_scan_do_not_hang_on_the_centre_of_the_scene(tmp_path):
    """The leader's angle is that of the scene's centre, which lies in another scan: the height of the orbit counts."""
    write_ceos(tmp_path, {"HH": complex_numbers()}, "WBDR1.1__D", scan=("F", 1), incidence_deg=28.5)
    near = open_product(tmp_path).read_incidence((24, 20, 1, 1))[0, 0]
    write_field(leader_of(tmp_path), "dataset_summary", "incidence_deg", "40.000")
    product = open_product(tmp_path)
    assert product.read_incidence((24, 20, 1, 1))[0, 0] == near == pytest.approx(28.5, abs=0.05)


def test_an_orbit_that_cannot_be_gives_no_angles(copied):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "dataset_summary", "incidence_deg", "20.000")
    assert open_product(folder).incidence_source == "scene centre"


def test_an_image_that_is_listed_and_not_here_is_told(tmp_path):
    folder = write_ceos(tmp_path, {"HH": amplitudes(), "HV": amplitudes(seed=1)}, "FBDR2.1GUD")
    image_of(folder).unlink()
    with pytest.warns(Alos2TutWarning, match="images of HH, which summary.txt lists, are not here"):
        product = open_product(folder)
    assert "image HH" in product.gaps and product.polarizations == ("HV",)


def test_a_renamed_image_is_told(copied):
    folder = copied("CEOS 2.1")
    (folder / "summary.txt").unlink()
    image_of(folder).rename(folder / image_of(folder).name.replace("-HH-", "-HV-"))
    with pytest.warns(Alos2TutWarning, match=r"polarisation HH in the first line, HV by name"):
        open_product(folder)


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        pytest.param("scene_id", "ALOS2999992900-181018", "scene ALOS2999992900-181018", id="scene"),
        pytest.param("level", "1.5", "level 1.5 in the leader, 2.1 by name", id="level"),
        pytest.param("orbit_direction", "ASCEND", "orbit direction A", id="orbit direction"),
    ],
)
def test_a_leader_of_another_product_is_told(copied, field, text, told):
    folder = copied("CEOS 2.1")
    _, form = ceos_layout.DATASET_SUMMARY[field]
    write_field(leader_of(folder), "dataset_summary", field, text.ljust(ceos_layout.parse_form(form).width))
    with pytest.warns(Alos2TutWarning, match=told):
        open_product(folder)


@pytest.mark.parametrize("packaging", ["CEOS 2.1", "GeoTIFF 2.1"])
@pytest.mark.parametrize("key", ["Scs_SceneID", "Pds_ProductID"])
def test_a_summary_of_another_product_is_not_used_and_told(copied, packaged, packaging, key):
    folder = copied(packaging)
    (folder / "summary.txt").write_bytes((packaged("CEOS 2.1") / "summary.txt").read_bytes())
    change_summary(folder, **{key: "ALOS2999992900-181018" if key == "Scs_SceneID" else "FBDR1.5GUA"})
    product = open_product(folder)
    assert "summary.txt" in product.gaps and "another product" in product.notes[0] and product.started is None
    assert "summary.txt" not in [file.name for file in product.files]


def test_a_summary_that_cannot_be_read_is_a_gap(copied):
    folder = copied("CEOS 2.1")
    (folder / "summary.txt").write_bytes(b"x" * (2 * 2**20))
    product = open_product(folder)
    assert "summary.txt" in product.gaps and product.shape == (48, 40)


def test_without_summary_leader_and_volume_tell_the_times(copied, packaged):
    folder = copied("CEOS 2.1")
    (folder / "summary.txt").unlink()
    product, whole = open_product(folder), open_product(packaged("CEOS 2.1"))
    assert product.acquired == whole.acquired and product.acquired.startswith("2018-10-18T03:04:05")
    assert product.processed[:19] == whole.processed[:19]


def test_beam_w2_of_unknown_time_is_told(tmp_path):
    folder = write_ceos(tmp_path, {"HH": amplitudes()}, "WBDR2.1GUD", beam=2)
    for name in ("summary.txt", next(folder.glob("VOL-*")).name):
        (folder / name).unlink()
    product = open_product(folder)
    assert product.calibration_factor_db == -83 and "−79 dB" in product.notes[0]


@pytest.mark.parametrize("shape", [(1, 40), (48, 1), (1, 1)])
def test_a_single_line_or_column_has_its_place(tmp_path, shape):
    product = open_product(write_ceos(tmp_path, {"HH": np.full(shape, 9, dtype=np.uint16)}))
    assert tuple(product.transform)[:6] == pytest.approx(tuple(UTM54)[:6], abs=1e-6)
    assert product.read_dn().shape == shape
