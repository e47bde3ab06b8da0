"""Finding and opening products: every packaging, names, archives, scans, and what is refused."""

import json
import math
import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.archives import write_zip
from support.packagings import DEGREES, LEVEL22, PACKAGINGS, UTM20S, contents, image_of, leader_of, opened
from support.products import (
    ARCHIVES,
    SCENE_ID,
    TIFF_NAME,
    UTM54,
    amplitudes,
    archived,
    complex_numbers,
    write_ceos,
    write_geotiff,
)

from alos2tut import Alos2TutError, Alos2TutWarning, Product, open_product, verify_product


def told(product: Product) -> dict:
    """What is known of a product, but for where it lies."""
    return {key: value for key, value in product.to_dict().items() if key not in ("path", "files")}


# --- packagings


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_product_in_an_archive_is_the_one_of_its_folder(packaged, packaging, archive, tmp_path):
    folder = packaged(packaging)
    inside = opened(archived(folder, tmp_path / archive, inner="delivery/product"))
    outside = opened(folder)
    assert told(inside) == told(outside)
    for name, pixels in contents(outside).items():
        np.testing.assert_array_equal(contents(inside)[name], pixels, err_msg=name)


@pytest.mark.parametrize("inner", ["", "delivery/product"], ids=["at the top", "in a folder"])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_a_path_into_an_archive_opens_its_file(packaged, archive, inner, tmp_path):
    folder = packaged("CEOS 1.5 G")
    place = archived(folder, tmp_path / archive, inner) / inner
    named = open_product(place / image_of(folder, "HV").name)
    assert (named.choose_polarization(), open_product(place).choose_polarization()) == ("HV", "HH")
    np.testing.assert_array_equal(named.read_dn(), np.where(amplitudes(seed=1), amplitudes(seed=1), np.nan))


@pytest.mark.parametrize("archive", ARCHIVES)
def test_an_archive_is_the_file_of_its_product(packaged, archive, tmp_path):
    path = archived(packaged("CEOS 2.1"), tmp_path / archive)
    product = open_product(path / image_of(packaged("CEOS 2.1")).name)
    assert product.files == (path,)
    assert re.fullmatch("[0-9a-f]{64}", product.fingerprint)
    assert product.fingerprint != open_product(packaged("CEOS 2.1")).fingerprint


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_everything_known_is_ready_for_json_and_shows(packaged, packaging):
    product = opened(packaged(packaging))
    content = json.loads(json.dumps(product.to_dict(), allow_nan=False))
    assert content["shape"] == list(product.shape) and content["level"] == product.level
    assert product.name in repr(product) and product.name in product._repr_html_()
    assert "e+0" not in product._repr_html_().partition("<table>")[2]  # coordinates in metres


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_product_travels_between_processes(packaged, packaging):
    product = opened(packaged(packaging))
    copy = pickle.loads(pickle.dumps(product))
    assert copy.to_dict() == product.to_dict()
    for name, pixels in contents(product).items():
        np.testing.assert_array_equal(contents(copy)[name], pixels)


@pytest.mark.parametrize(
    ("packaging", "crs", "transform", "spacing"),
    [
        pytest.param("CEOS 1.5 G", 32654, UTM54, (2.5, 2.5), id="geocoded"),
        pytest.param("CEOS 1.5 R", 32654, UTM54 * rasterio.Affine.rotation(10), (2.5, 2.5), id="rotated"),
        pytest.param("CEOS 2.1 south west", 32720, UTM20S, (2.5, 2.5), id="southern hemisphere"),
        pytest.param("GeoTIFF 2.1", 32654, UTM54, (2.5, 2.5), id="GeoTIFF"),
        pytest.param("2.2", 32654, UTM54, (2.5, 2.5), id="Level 2.2"),
        # 0.72" at 22.1° north, by the ellipsoid's radii there
        pytest.param("mosaic", 4326, DEGREES, (22.1465, 20.6393), id="mosaic"),
    ],
)
def test_products_lie_where_they_say(packaged, packaging, crs, transform, spacing):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        product = open_product(packaged(packaging))
    assert product.crs.to_epsg() == crs
    assert tuple(product.transform)[:6] == pytest.approx(tuple(transform)[:6], abs=1e-3)
    assert product.spacing_m == pytest.approx(spacing, abs=1e-3)
    corners = [transform * (x, y) for x in (0, product.shape[1]) for y in (0, product.shape[0])]
    xs, ys = zip(*corners, strict=True)
    assert product.bounds == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=1e-3)


@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 1.1 ScanSAR", "GeoTIFF 1.1"])
@pytest.mark.parametrize("place", ["crs", "transform", "bounds"])
def test_slant_range_has_no_place_on_a_map(packaged, packaging, place):
    with pytest.raises(Alos2TutError, match=r"slant range.*no place on a map.*2\.1"):
        getattr(opened(packaged(packaging)), place)


def test_spacing_in_slant_range_is_along_track_by_slant_range_if_it_is_known(packaged):
    assert open_product(packaged("CEOS 1.1")).spacing_m == (2.1, 1.43)
    unknown = opened(packaged("GeoTIFF 1.1"))
    assert all(map(math.isnan, unknown.spacing_m)) and unknown.footprint == ()


# --- names


NAMES = {
    f"{SCENE_ID}-UBSR2.1GUD": ("2.1", "UBS", "right", "descending", 23775, 2900, "2018-10-18"),
    "ALOS2014555550-140830-FBDL1.5RUA": ("1.5", "FBD", "left", "ascending", 1455, 5550, "2014-08-30"),
    "ALOS2000017190-240229-HBQR1.5GPD": ("1.5", "HBQ", "right", "descending", 1, 7190, "2024-02-29"),
    "ALOS2437590500-220630-WWDR1.5GUA": ("1.5", "WWD", "right", "ascending", 43759, 500, "2022-06-30"),
    "ALOS2437590500-220630-SBSR2.1GUA": ("2.1", "SBS", "right", "ascending", 43759, 500, "2022-06-30"),
}


@pytest.mark.parametrize(("name", "fields"), NAMES.items(), ids=NAMES)
def test_a_name_says_mode_side_orbit_frame_and_day(tmp_path, name, fields):
    product = open_product(write_geotiff(tmp_path / f"IMG-HV-{name}.tif", amplitudes(), UTM54))
    found = (product.level, product.mode, product.look_side, product.orbit_direction, product.orbit, product.frame)
    assert (*found, product.acquired) == fields
    assert (product.polarizations, product.name) == (("HV",), f"IMG-HV-{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(f"IMG-HH-{SCENE_ID}-XBSR2.1GUD", r"'XBSR2\.1GUD' cannot be read", id="unknown mode"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSX2.1GUD", r"'UBSX2\.1GUD' cannot be read", id="neither left nor right"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSR2.1GUX", r"'UBSR2\.1GUX' cannot be read", id="unknown orbit"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSR1.0__D", r"is of level 1\.0.*are read", id="raw data"),
        pytest.param(f"IMG-HH-{SCENE_ID}-WWDR2.2GUA", r"is of level 2\.2.*are read", id="Level 2.2 under another name"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSR2.1GU", "no ALOS-2 product", id="too short"),
        pytest.param(f"IMG-HX-{SCENE_ID}-UBSR2.1GUD", "no ALOS-2 product", id="unknown polarisation"),
        pytest.param("N23W161_20_sl_VX_F02DAR.tif", "no ALOS-2 product", id="mosaic of no polarisation"),
    ],
)
def test_other_names_are_refused(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(Alos2TutError, match=message) as refused:
        open_product(tmp_path)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIF"])
@pytest.mark.parametrize("by_folder", [True, False], ids=["by folder", "by file"])
def test_a_lone_geotiff_is_a_product(tmp_path, suffix, by_folder):
    path = write_geotiff(tmp_path / TIFF_NAME.replace(".tif", suffix), amplitudes(), UTM54)
    product = open_product(tmp_path if by_folder else path)
    assert (product.kind, product.level, product.shape, product.transform) == ("GeoTIFF", "2.1", (48, 40), UTM54)
    np.testing.assert_array_equal(product.read_dn(), np.where(amplitudes(), amplitudes(), np.nan))


# --- which file opens what


@pytest.mark.parametrize("kind", ["IMG", "LED", "VOL", "TRL"])
def test_any_file_of_a_product_opens_it(packaged, kind):
    folder = packaged("CEOS 2.1")
    product = open_product(next(folder.glob(f"{kind}-*")))
    assert (product.shape, product.name) == ((48, 40), f"IMG-HH-{SCENE_ID}-UBSR2.1GUD")


@pytest.mark.parametrize(
    ("packaging", "file", "other"),
    [
        pytest.param("CEOS 1.5 G", f"IMG-HV-{SCENE_ID}-FBDR1.5GUA", "LED-*", id="CEOS"),
        pytest.param("2.2", f"{LEVEL22}_HV_SLP.tif", "*_MSK.tif", id="Level 2.2"),
        pytest.param("mosaic", "N23W161_20_sl_HV_F02DAR.tif", "*_mask_*", id="mosaic"),
    ],
)
def test_an_image_file_makes_its_polarisation_the_default(packaged, packaging, file, other):
    folder = packaged(packaging)
    by_file, by_other = open_product(folder / file), open_product(next(folder.glob(other)))
    assert by_file.polarizations == by_other.polarizations == ("HH", "HV")
    assert (by_file.choose_polarization(), by_other.choose_polarization()) == ("HV", "HH")
    assert by_file.choose_polarization("HH") == "HH" and "HV" in by_file.name and "HH" in by_other.name
    np.testing.assert_array_equal(by_file.read_dn(), by_other.read_dn(polarization="HV"))


def test_tiles_of_the_mosaic_are_called_by_place_and_year(packaged):
    assert open_product(packaged("mosaic")).image_name("HV") == "N23W161_20_HV"
    assert open_product(packaged("forest map")).name == "S16W150_15_forest"


@pytest.mark.parametrize("name", ["summary.txt", f"BRS-HH-{SCENE_ID}-UBSR2.1GUD.jpg", f"{SCENE_ID}_UBSR2.1GUD.kml"])
def test_what_comes_with_a_product_stands_for_its_folder(copied, tmp_path, name):
    companion = copied("CEOS 2.1") / name
    companion.touch()
    assert open_product(companion).name == f"IMG-HH-{SCENE_ID}-UBSR2.1GUD"
    alone = Path(shutil.copyfile(companion, tmp_path / companion.name))
    with pytest.raises(Alos2TutError, match="no ALOS-2 product"):
        open_product(alone)


def test_both_formats_of_a_product_in_one_folder_are_told_apart(copied):
    folder = copied("CEOS 2.1")
    both = write_geotiff(folder / TIFF_NAME, amplitudes(seed=7), UTM54)
    named = [folder / TIFF_NAME.removesuffix(".tif"), leader_of(folder), folder / "summary.txt", folder, both]
    assert [open_product(path).kind for path in named] == 4 * ["CEOS"] + ["GeoTIFF"]
    # summary.txt tells of both
    assert open_product(both).files == (both, folder / "summary.txt")
    assert open_product(both).acquired == open_product(folder).acquired
    assert open_product(both).read_dn()[0, 0] == amplitudes(seed=7)[0, 0]


def test_two_products_in_one_folder_are_named(copied):
    folder = copied("CEOS 2.1")
    other = write_geotiff(folder / "IMG-HH-ALOS2000017190-240229-HBQR1.5GUD.tif", amplitudes(), UTM54)
    with pytest.raises(Alos2TutError, match=r"holds 2 products.*ALOS2000017190.*ALOS2237752900.*Name a file"):
        open_product(folder)
    assert open_product(other).kind == "GeoTIFF"
    assert open_product(leader_of(folder)).kind == "CEOS"


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("frames", [(7191, 7192), (7192, 7192)], ids=["two scenes", "one name in two folders"])
def test_two_products_in_an_archive_are_named_with_their_folders(tmp_path, archive, frames):
    for n, frame in enumerate(frames, start=1):
        name = f"IMG-HH-ALOS200001{frame}-240229-HBQR1.5GUD.tif"
        write_geotiff(tmp_path / f"both/part{n}" / name, amplitudes(), UTM54)
    path = archived(tmp_path / "both", tmp_path / archive)
    with pytest.raises(Alos2TutError, match=r"holds 2 products: part1/ALOS200001719\S*, part2/ALOS2000017192"):
        open_product(path)
    assert open_product(path / "part2").frame == 7192


def test_a_folder_above_a_product_names_the_folders_in_it(copied, tmp_path):
    copied("CEOS 2.1")
    with pytest.raises(Alos2TutError, match=r"no ALOS-2 product.*Look into product"):
        open_product(tmp_path)


@pytest.mark.parametrize(
    ("name", "satellite"),
    [
        ("AP_27616_FBD_F0680_RT1.dem.tif", "an ALOS PALSAR product"),
        ("N36E138_10_sl_HH", "an ALOS PALSAR product"),
        ("S1A_IW_GRDH_1SDV_20150309T173017.zip", "a Sentinel-1 product"),
        ("NISAR_L2_PR_GCOV_001.h5", "a NISAR product"),
    ],
)
def test_products_of_other_satellites_are_called_what_they_are(tmp_path, name, satellite):
    folder = tmp_path / "x"
    folder.mkdir()
    if name.endswith(".zip"):
        write_zip(folder / name, {"beach.jpg": b""})
    else:
        (folder / name).write_bytes(b"")
        write_zip(tmp_path / "packed.zip", {f"x/{name}": b""})
    for path in [folder / name, *([] if name.endswith(".zip") else [folder, tmp_path / "packed.zip"])]:
        for use in open_product, verify_product:
            with pytest.raises(Alos2TutError, match=f"is {satellite}, which is not read"):
                use(path)


# --- scans


def test_a_folder_of_scans_opens_the_first_and_says_so(packaged):
    with pytest.warns(Alos2TutWarning, match="scan 1 of 1, 2") as caught:
        product = open_product(packaged("CEOS 1.1 ScanSAR"))
    assert caught[0].filename == __file__
    assert (product.scan, product.scans, product.shape) == (1, (1, 2), (48, 40))


@pytest.mark.parametrize("by", ["scan=", "file"])
def test_another_scan_is_opened_by_number_or_file(packaged, by):
    folder = packaged("CEOS 1.1 ScanSAR")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if by == "file":
            product = open_product(folder / f"IMG-HV-{SCENE_ID}-WBDR1.1__D-F2")
        else:
            product = open_product(folder, scan=2)
    assert (product.scan, product.shape, product.polarizations) == (2, (60, 24), ("HH", "HV"))
    np.testing.assert_array_equal(product.read_slc(polarization="HV"), complex_numbers((60, 24), seed=21))


def test_images_of_a_scan_are_called_as_their_files(packaged):
    folder = packaged("CEOS 1.1 ScanSAR")
    names = [opened(folder, scan=scan).image_name(pol) for pol in ("HH", "HV") for scan in (1, 2)]
    assert names == sorted(path.name for path in folder.glob("IMG-*"))


@pytest.mark.parametrize(
    ("packaging", "told"),
    [
        pytest.param("CEOS 1.1 ScanSAR", "Scans: 1, 2", id="another number"),
        pytest.param("CEOS 1.1", "no scans", id="stripmap"),
        pytest.param("CEOS 2.1", "no scans", id="Level 2.1"),
        pytest.param("mosaic", "only Level 1.1 has scans", id="mosaic"),
    ],
)
def test_a_scan_that_is_not_there_is_refused(packaged, packaging, told):
    with pytest.raises(Alos2TutError, match=rf"scan.*3.*{told}|scan=3.*{told}"):
        open_product(packaged(packaging), scan=3)


def test_level_31_is_opened_as_15_and_warned_of(packaged):
    folder = packaged("CEOS 3.1")
    with pytest.warns(Alos2TutWarning, match=r"3\.1.*dynamic range") as caught:
        product = open_product(folder)
    assert caught[0].filename == __file__
    assert product.level == "3.1" and "dynamic range" in product.notes[0]
    np.testing.assert_array_equal(product.read_db(), opened(packaged("CEOS 2.1")).read_db())


# --- bad input


@pytest.mark.parametrize("name", ["", "notes.txt", "IMG-HH-wrong.tif"], ids=["empty", "text", "another name"])
def test_a_folder_without_a_product_is_refused(tmp_path, name):
    if name:
        (tmp_path / name).write_text("hello")
    with pytest.raises(Alos2TutError, match=r"no ALOS-2 product.*Expected IMG-HH"):
        open_product(tmp_path)
    with pytest.raises(Alos2TutError, match="no such file or folder"):
        open_product(tmp_path / "nothing")


def test_scans_of_both_methods_are_told_apart(tmp_path):
    for method, rows in [("F", 48), ("B", 20)]:
        write_ceos(tmp_path, {"HH": complex_numbers((rows, 40))}, "WBDR1.1__D", scan=(method, 1))
    for method, rows in [("F", 48), ("B", 20)]:
        product = open_product(next(tmp_path.glob(f"IMG-*-{method}1")))
        assert (product.shape[0], product.image_name()[-2:]) == (rows, f"{method}1")
    with pytest.raises(Alos2TutError, match=r"one scan twice: B1 and F1.*Name the file"):
        open_product(tmp_path, scan=1)


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        pytest.param("", {}, "is empty", id="empty"),
        pytest.param("delivery.tar.xz", {}, r"no zip, tar or tar\.gz.*Unpack it", id="another archive"),
        pytest.param(TIFF_NAME, {"scan": True}, "scan=True is not a whole number", id="a scan that is no number"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, monkeypatch, path, options, told):
    monkeypatch.chdir(tmp_path)
    write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54)
    (tmp_path / "delivery.tar.xz").write_bytes(b"x" * 100)
    with pytest.raises(Alos2TutError, match=told):
        open_product(path, **options)


def test_footprint_and_times_of_a_scan_are_its_own(packaged):
    one, two = (open_product(packaged("CEOS 1.1 ScanSAR"), scan=scan) for scan in (1, 2))
    assert one.footprint != two.footprint and one.started is None and one.ended is None


def test_a_renamed_file_is_told_how_it_should_be_called(tmp_path):
    path = write_geotiff(tmp_path / TIFF_NAME.replace(".tif", " (1).tif"), amplitudes(), UTM54)
    with pytest.raises(Alos2TutError, match=rf"Rename it to {TIFF_NAME}\."):
        open_product(path)


def test_an_archive_in_an_archive_is_to_be_unpacked(packaged, tmp_path):
    inner = archived(packaged("CEOS 2.1"), tmp_path / "stored.zip")
    outer = archived(inner.parent, tmp_path / "plain.tar")
    with pytest.raises(Alos2TutError, match=r"Unpack plain\.tar: archives in archives are not read"):
        open_product(outer / "stored.zip")
