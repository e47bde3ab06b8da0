"""Reading products: real files, simulated ones against GDAL, windows and looks, damaged files."""

import json
import random
import shutil
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import TIFF_NAME, write_geotiff
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window

from alos2tut import Alos2TutError, Alos2TutWarning, Product, ceos, open_product, products

UTM54 = rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)


def image_of(folder: Path) -> Path:
    return next(folder.glob("IMG-*"))


def leader_of(folder: Path) -> Path:
    return next(folder.glob("LED-*"))


def read_by_gdal(path: Path) -> tuple[np.ndarray, list]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            assert source.driver == "SAR_CEOS"
            return source.read(1), source.gcps[0]


@pytest.fixture(scope="session")
def small(small_scene) -> Product:
    return open_product(small_scene)


@pytest.fixture
def copy(small_scene, tmp_path) -> Path:
    """A copy of the small product, to be damaged."""
    return shutil.copytree(small_scene, tmp_path / "product", ignore=shutil.ignore_patterns("labels"))


def write_field(path: Path, kind: str, name: str, text: str) -> None:
    """Put a text into a field of a record, right-justified, wherever the record lies in the file."""
    codes, layout, _ = ceos.RECORDS[kind]
    data = bytearray(path.read_bytes())
    position = 0
    while tuple(data[position + 4 : position + 8]) != codes:
        position += struct.unpack_from(">I", data, position + 8)[0]
    start, form = layout[name]
    width = int(form[1:].split(".")[0])
    at = position + start - 1
    data[at : at + width] = text.rjust(width).encode("ascii")
    path.write_bytes(data)


# --- real files


def test_real_leader_says_where_the_product_lies(level15):
    projection = ceos.read_leader(leader_of(level15))["map_projection"]
    image = ceos.ImageFile(image_of(level15), lines=13161, pixels=12870, record_bytes=0, prefix_bytes=0, software=None)
    crs = products._ceos_crs(projection, leader_of(level15))
    transform = products._ceos_transform(projection, image, leader_of(level15))
    assert crs.to_epsg() == 32720
    assert (transform.a, transform.b, transform.d, transform.e) == pytest.approx((6.25, 0, 0, -6.25), abs=1e-6)
    # corners are the centres of the corner pixels
    assert transform * (0.5, 0.5) == pytest.approx((510_879.0839, 8_819_462.993))
    assert transform * (12869.5, 13160.5) == pytest.approx((591_310.3339, 8_737_212.993))
    lon_lat = reproject_points(crs, "EPSG:4326", *zip(transform * (0.5, 0.5), strict=True))
    assert np.ravel(lon_lat) == pytest.approx((-62.9005207, -10.6794393), abs=1e-6)


def test_real_leader_says_how_the_product_was_made(level15):
    leader = ceos.read_leader(leader_of(level15))
    assert leader["radiometric"]["calibration_factor_db"] == -83.0
    assert (leader["map_projection"]["lines"], leader["map_projection"]["pixels"]) == (13161, 12870)
    scene = leader["dataset_summary"]
    assert (scene["incidence_deg"], scene["azimuth_looks"], scene["range_looks"]) == (40.573, 2.0, 1.0)
    assert (scene["scene_id"], scene["level"], scene["orbit_direction"]) == ("ALOS2015976960-140909", "1.5", "ASCEND")


def test_real_summary_is_read(level15):
    summary = ceos.read_summary(level15 / "summary.txt")
    assert (summary["Pdi_NoOfPixels_0"], summary["Pdi_NoOfLines_0"]) == ("12870", "13161")
    assert summary["Lbi_ProcessLevel"] == "1.5"


def test_real_image_without_its_lines_is_truncated(level15):
    with pytest.raises(Alos2TutError, match="truncated") as refused:
        open_product(level15)
    missing = 720 + 13161 * 25932 - image_of(level15).stat().st_size
    assert f"{missing} of {720 + 13161 * 25932} bytes" in str(refused.value)
    assert "IMG-HH-ALOS2015976960" in str(refused.value) and "again" in str(refused.value)


def test_real_product_is_read_with_the_lines_it_should_have(level15, tmp_path):
    """The real headers around a sparse file of the stated size: what the reader makes of JAXA's own records."""
    folder = shutil.copytree(level15, tmp_path / "product", copy_function=shutil.copyfile)
    for image in folder.glob("IMG-*"):
        with open(image, "r+b") as handle:
            handle.truncate(720 + 13161 * 25932)
    product = open_product(folder)
    assert (product.shape, product.polarizations, product.crs.to_epsg()) == ((13161, 12870), ("HH", "HV"), 32720)
    assert product.spacing_m == pytest.approx((6.25, 6.25))
    assert product.calibration_factor_db == -83.0 and product.calibration_source == "leader file"
    assert (product.acquired, product.orbit_direction) == ("2014-09-09T04:33:47.052Z", "ascending")
    assert not product.simulated and product.gaps == ()
    assert np.isnan(product.read_db((13000, 12000, 20, 30), polarization="HV")).all()


def test_real_mosaic_is_what_jaxa_says(mosaic):
    product = open_product(mosaic)
    assert (product.shape, product.quantity, product.polarizations) == ((520, 660), "gamma0", ("HH", "HV"))
    assert product.no_data_dn == (0, 1) and product.crs.to_epsg() == 4326
    assert product.calibration_factor_db == -83.0
    # 0.8 seconds of arc at 22° north, by the ellipsoid's radii there
    assert product.spacing_m == pytest.approx((24.607, 22.938), abs=0.002)


@pytest.mark.parametrize(
    "window",
    [
        pytest.param(None, id="all"),
        pytest.param((0, 0, 1, 1), id="first pixel"),
        pytest.param((519, 659, 1, 1), id="last pixel"),
        pytest.param((13, 470, 77, 190), id="to the right edge"),
        pytest.param(Window(100, 200, 50, 30), id="a rasterio window"),
    ],
)
def test_windows_of_the_real_mosaic_equal_rasterios(mosaic, window):
    area = Window(window[1], window[0], window[3], window[2]) if isinstance(window, tuple) else window
    for polarization in ("HH", "HV"):
        with rasterio.open(mosaic / f"crop_N23W161_20_sl_{polarization}_F02DAR.tif") as image:
            expected = image.read(1, window=area).astype(float)
        expected[expected <= 1] = np.nan
        dn = open_product(mosaic).read_dn(window, polarization=polarization)
        np.testing.assert_array_equal(dn, expected)
        db = open_product(mosaic).read_db(window, polarization=polarization)
        np.testing.assert_allclose(db, 20 * np.log10(expected) - 83, atol=1e-4)


def test_a_file_of_the_real_mosaic_opens_all_of_it(mosaic):
    assert open_product(mosaic / "crop_N23W161_20_mask_F02DAR.tif").polarizations == ("HH", "HV")


# --- CEOS


def test_simulated_pixels_equal_gdals_everywhere(small_scene, small):
    dn, _ = read_by_gdal(image_of(small_scene))
    assert dn.shape == small.shape == (512, 640)
    np.testing.assert_array_equal(np.nan_to_num(small.read_dn()), dn)


def test_gdals_ground_control_points_agree_with_our_affine(small_scene, small):
    _, points = read_by_gdal(image_of(small_scene))
    assert len(points) == 15
    x_m, y_m = reproject_points("EPSG:4326", small.crs, [p.x for p in points], [p.y for p in points])
    cols, rows = ~small.transform * (np.array(x_m), np.array(y_m))
    assert np.abs(cols - [p.col for p in points]).max() < 1
    assert np.abs(rows - [p.row for p in points]).max() < 1


def test_metadata_of_the_simulated_product(small):
    assert (small.crs.to_epsg(), small.spacing_m, small.quantity) == (32654, (2.5, 2.5), "sigma0")
    assert (small.calibration_factor_db, small.calibration_source) == (-83.0, "leader file")
    assert (small.level, small.mode, small.look_side, small.orbit_direction) == ("2.1", "UBS", "right", "descending")
    assert small.simulated and small.incidence_deg == 36.3 and small.gaps == ()
    left, bottom, right, top = small.bounds
    assert (right - left, top - bottom) == (1600, 1280)


@pytest.mark.parametrize("kind", ["IMG", "LED", "VOL", "TRL"])
def test_any_file_of_a_product_opens_it(small_scene, small, kind):
    product = open_product(next(small_scene.glob(f"{kind}-*")))
    assert (product.shape, product.name) == (small.shape, small.name)


def test_metadata_are_json_and_show_in_a_notebook(small):
    content = json.loads(json.dumps(small.to_dict(), allow_nan=False))
    assert content["shape"] == [512, 640] and content["crs"] == "EPSG:32654"
    assert small.scene_id in small._repr_html_() and "2.1" in repr(small)


def test_southern_products_have_their_false_northing(copy):
    write_field(leader_of(copy), "map_projection", "false_northing_m", "10000000.0")
    assert open_product(copy).crs.to_epsg() == 32754


def test_a_missing_calibration_factor_is_assumed_and_said(copy):
    write_field(leader_of(copy), "radiometric", "calibration_factor_db", "")
    product = open_product(copy)
    assert product.calibration_factor_db == -83.0
    assert product.calibration_source.startswith("assumed") and "leader: radiometric record" in product.gaps


def test_another_calibration_factor_is_used(copy, small):
    write_field(leader_of(copy), "radiometric", "calibration_factor_db", "-79.0000000")
    np.testing.assert_allclose(open_product(copy).read_db(), small.read_db() + 4, atol=1e-4)


def test_a_rotated_product_gets_a_rotated_affine(copy):
    projection = ceos.read_leader(leader_of(copy))["map_projection"]
    x0, y0 = projection["top_left_easting_km"], projection["top_left_northing_km"]
    for corner, (row, col) in {"top_right": (0, 639), "bottom_left": (511, 0)}.items():
        angle, metres = np.deg2rad(10), 0.0025
        x = x0 + metres * (col * np.cos(angle) - row * np.sin(angle))
        y = y0 - metres * (col * np.sin(angle) + row * np.cos(angle))
        write_field(leader_of(copy), "map_projection", f"{corner}_easting_km", f"{x:.7f}")
        write_field(leader_of(copy), "map_projection", f"{corner}_northing_km", f"{y:.7f}")
    product = open_product(copy)
    assert product.spacing_m == pytest.approx((2.5, 2.5), abs=1e-5)
    assert product.transform * (0.5, 0.5) == pytest.approx((1000 * x0, 1000 * y0))
    assert product.transform.d == pytest.approx(-2.5 * np.sin(np.deg2rad(10)), abs=1e-5)


# --- GeoTIFF


@pytest.fixture(scope="session")
def tiff(small_scene, small, tmp_path_factory) -> Path:
    """The simulated product as a lone GeoTIFF."""
    dn, _ = read_by_gdal(image_of(small_scene))
    return write_geotiff(tmp_path_factory.mktemp("tiff") / TIFF_NAME, dn, small.transform)


@pytest.mark.parametrize("name", [TIFF_NAME, TIFF_NAME + "f"], ids=["tif", "tiff"])
@pytest.mark.parametrize("by_folder", [True, False], ids=["by folder", "by file"])
def test_a_lone_geotiff_is_a_product(tiff, small, tmp_path, name, by_folder):
    path = Path(shutil.copyfile(tiff, tmp_path / name))
    product = open_product(tmp_path if by_folder else path)
    assert (product.kind, product.level, product.shape) == ("GeoTIFF", "2.1", (512, 640))
    assert (product.crs, product.transform) == (small.crs, small.transform)
    assert product.calibration_factor_db == -83.0 and product.calibration_source.startswith("assumed")
    assert "calibration factor" in product.gaps and product.acquired == "2018-10-18"
    np.testing.assert_array_equal(product.read_db((3, 5, 100, 200), looks=2), small.read_db((3, 5, 100, 200), looks=2))


def test_a_geotiff_without_crs_asks_for_it(tmp_path):
    path = write_geotiff(tmp_path / TIFF_NAME, np.ones((20, 30)), UTM54, crs=None)
    with pytest.raises(Alos2TutError, match=r"crs='EPSG:32654'") as refused:
        open_product(path)
    assert TIFF_NAME in str(refused.value)
    assert open_product(path, crs="EPSG:32653").crs.to_epsg() == 32653


def test_a_given_crs_replaces_a_wrong_one(tiff):
    assert open_product(tiff, crs="EPSG:32653").crs.to_epsg() == 32653


def test_a_crs_that_is_none_is_refused(tiff):
    with pytest.raises(Alos2TutError, match="no coordinate system"):
        open_product(tiff, crs="EPSG:1")


def test_a_geotiff_without_georeference_is_refused(tmp_path):
    path = write_geotiff(tmp_path / TIFF_NAME, np.ones((20, 30)), rasterio.Affine.identity())
    with pytest.raises(Alos2TutError, match="no georeference"):
        open_product(path)


def test_a_geotiff_of_another_type_is_refused(tmp_path):
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 8, "width": 8}
    with rasterio.open(tmp_path / TIFF_NAME, "w", **profile, crs="EPSG:32654", transform=UTM54) as raster:
        raster.write(np.ones((8, 8), np.float32), 1)
    with pytest.raises(Alos2TutError, match="float32"):
        open_product(tmp_path)


@pytest.mark.parametrize("kept", [0, 100, 5000], ids=["empty", "header only", "half"])
def test_a_cut_geotiff_is_refused(tiff, tmp_path, kept):
    (tmp_path / TIFF_NAME).write_bytes(tiff.read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match=TIFF_NAME):
        open_product(tmp_path).read_dn()


def second_image(first: Path, dn_of: str = "HV") -> Path:
    """The same image once more, under the name of another polarisation."""
    return Path(shutil.copyfile(first, first.with_name(first.name.replace("-HH-", f"-{dn_of}-"))))


# --- which file opens what


@pytest.mark.parametrize("kind", ["CEOS", "GeoTIFF"])
def test_an_image_file_makes_its_polarisation_the_default(copy, tiff, tmp_path, kind):
    first = image_of(copy) if kind == "CEOS" else Path(shutil.copyfile(tiff, tmp_path / TIFF_NAME))
    other = second_image(first)
    by_file, by_folder = open_product(other), open_product(first.parent)
    assert by_file.kind == kind and by_file.polarizations == by_folder.polarizations == ("HH", "HV")
    assert (by_file.choose_polarization(), by_folder.choose_polarization()) == ("HV", "HH")
    assert by_file.choose_polarization("HH") == "HH" and open_product(first).choose_polarization() == "HH"
    assert by_file.name.startswith("IMG-HV-ALOS2") and by_file.image_name("HH") == by_folder.name


def test_a_mosaics_image_makes_its_polarisation_the_default(tmp_path):
    for polarization, value in [("HH", 100), ("HV", 50)]:
        degrees = rasterio.Affine(0.0002, 0, -161, 0, -0.0002, 23)
        name = f"N23W161_20_sl_{polarization}_F02DAR.tif"
        write_geotiff(tmp_path / name, np.full((20, 30), value), degrees, crs="EPSG:4326")
    by_file, by_folder = open_product(tmp_path / "N23W161_20_sl_HV_F02DAR.tif"), open_product(tmp_path)
    assert (by_file.read_dn()[0, 0], by_folder.read_dn()[0, 0], by_file.read_dn(polarization="HH")[0, 0]) == (
        50,
        100,
        100,
    )
    assert (by_file.name, by_folder.name) == ("N23W161_20_HV", "N23W161_20_HH")


@pytest.mark.parametrize("name", ["summary.txt", "BRS-HH-{id}.jpg", "{scene}_UBSR2.1GUD.kml"])
def test_what_comes_with_a_product_stands_for_its_folder(copy, small, tmp_path, name):
    identity = image_of(copy).name.removeprefix("IMG-HH-")
    companion = copy / name.format(id=identity, scene=small.scene_id)
    companion.touch()
    assert open_product(companion).name == small.name
    alone = Path(shutil.copyfile(companion, tmp_path / companion.name))
    with pytest.raises(Alos2TutError, match="no ALOS-2 product"):
        open_product(alone)


def test_both_formats_of_a_product_in_one_folder_are_told_apart(copy, tiff):
    ceos_image = image_of(copy)
    both = Path(shutil.copyfile(tiff, copy / f"{ceos_image.name}.tif"))
    named = [ceos_image, leader_of(copy), copy / "summary.txt", copy, both]
    assert [open_product(path).kind for path in named] == 4 * ["CEOS"] + ["GeoTIFF"]
    assert open_product(both).files == (both,)


def test_a_simulated_product_says_so_without_its_summary(copy):
    (copy / "summary.txt").unlink()
    assert open_product(copy).simulated
    write_field(image_of(copy), "image_descriptor", "software", "SIGMA SAR")
    assert not open_product(copy).simulated


# --- windows and looks


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Product:
    """A GeoTIFF of 9 million pixels whose sides no looks divide, with gaps and the largest numbers."""
    draw = np.random.default_rng(3)
    dn = draw.integers(0, 65536, (3001, 3011), dtype=np.uint16)
    dn[draw.random(dn.shape) < 0.4] = 0
    dn[:, :300] = 0
    folder = tmp_path_factory.mktemp("uneven")
    return open_product(write_geotiff(folder / TIFF_NAME, dn, UTM54))


@pytest.mark.parametrize("looks", [(1, 1), (2, 2), (3, 7), (1, 6), (50, 1)])
@pytest.mark.parametrize("strip_px", [1, 100_000], ids=["strips of one block", "strips of many"])
def test_strips_change_no_bit(uneven, monkeypatch, looks, strip_px):
    window = (13, 17, 400, 2000)
    monkeypatch.setattr(products, "_STRIP_PX", 10**9)
    whole = [read(window, looks=looks) for read in (uneven.read_dn, uneven.read_power, uneven.read_db)]
    monkeypatch.setattr(products, "_STRIP_PX", strip_px)
    parts = [read(window, looks=looks) for read in (uneven.read_dn, uneven.read_power, uneven.read_db)]
    assert [part.tobytes() for part in parts] == [part.tobytes() for part in whole]


@pytest.mark.parametrize("looks", [1, 6])
def test_power_is_accurate_to_a_millionth(uneven, looks):
    dn = uneven.read_dn((0, 600, 60, 60)).astype(float)
    blocks = dn.reshape(60 // looks, looks, 60 // looks, looks) ** 2
    count = np.isfinite(blocks).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        mean = np.where(2 * count >= looks**2, np.nansum(blocks, axis=(1, 3)) / count, np.nan)
    np.testing.assert_allclose(uneven.read_power((0, 600, 60, 60), looks=looks), mean * 10**-8.3, rtol=1e-6)


@pytest.mark.parametrize(("looks", "bytes_per_px"), [(1, 10), (2, 6), (6, 4)])
@pytest.mark.parametrize("kind", ["dn", "power", "db"])
def test_reading_takes_little_more_memory_than_its_result(uneven, looks, bytes_per_px, kind):
    tracemalloc.start()
    try:
        getattr(uneven, f"read_{kind}")(looks=looks)
        assert tracemalloc.get_traced_memory()[1] < bytes_per_px * 3001 * 3011
    finally:
        tracemalloc.stop()


@settings(deadline=None, max_examples=80)
@given(data=st.data(), rows=st.integers(1, 9), cols=st.integers(1, 9))
def test_a_window_with_looks_is_a_part_of_the_whole(small, data, rows, cols):
    row, col = data.draw(st.integers(0, 511)), data.draw(st.integers(0, 639))
    height, width = data.draw(st.integers(1, min(60, 512 - row))), data.draw(st.integers(1, min(60, 640 - col)))
    part = small.read_power((row, col, height, width), looks=(rows, cols))
    whole = multilooked(small, rows, cols)
    expected = whole[row // rows : -(-(row + height) // rows), col // cols : -(-(col + width) // cols)]
    np.testing.assert_allclose(part, expected, rtol=1e-5)


_whole: dict[tuple[int, int], np.ndarray] = {}


def multilooked(product: Product, rows: int, cols: int) -> np.ndarray:
    """The whole product by looks, in plain terms: means of DN² over blocks from the corner, half of them valid."""
    if (rows, cols) not in _whole:
        dn = product.read_dn().astype(float)
        starts = np.arange(0, dn.shape[0], rows), np.arange(0, dn.shape[1], cols)

        def blocks(values):
            return np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)

        count, size = blocks(np.isfinite(dn).astype(float)), blocks(np.ones(dn.shape))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = blocks(np.nan_to_num(dn) ** 2) / count * 10**-8.3
        _whole[rows, cols] = np.where(2 * count >= size, mean, np.nan)
    return _whole[rows, cols]


def test_results_are_float32_and_missing_where_the_swath_ends(small):
    for values in (small.read_dn(), small.read_power(), small.read_db(), small.read_dn(looks=3)):
        assert values.dtype == np.float32 and np.isnan(values[0, 0]) and np.isfinite(values).mean() > 0.9


def test_digital_numbers_of_looks_are_the_root_of_mean_power(small):
    np.testing.assert_allclose(small.read_dn(looks=4) ** 2 * 10**-8.3, small.read_power(looks=4), rtol=1e-5)


@pytest.mark.parametrize(
    "window",
    [
        pytest.param((-1, 0, 5, 5), id="above"),
        pytest.param((0, -1, 5, 5), id="to the left"),
        pytest.param((510, 0, 5, 5), id="below"),
        pytest.param((0, 636, 5, 5), id="to the right"),
        pytest.param((0, 0, 0, 5), id="no rows"),
        pytest.param((0, 0, 5, -1), id="negative width"),
        pytest.param((0.5, 0, 5, 5), id="half a pixel"),
        pytest.param((0, 0, float("nan"), 5), id="not a number"),
        pytest.param((0, 0, float("inf"), 5), id="infinite"),
        pytest.param((0, 0, 5), id="three numbers"),
        pytest.param(("a", 0, 5, 5), id="text"),
        pytest.param(7, id="one number"),
        pytest.param(Window(0, 0, 641, 5), id="a rasterio window"),
    ],
)
@pytest.mark.parametrize("looks", [1, 4], ids=["one look", "four looks"])
def test_windows_outside_are_refused(small, window, looks):
    with pytest.raises(Alos2TutError, match="window"):
        small.read_db(window, looks=looks)


def test_looks_far_larger_than_the_product_cost_nothing(small):
    tracemalloc.start()
    try:
        assert small.read_power((0, 0, 9, 9), looks=10**6).shape == (1, 1)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_another_quantity_is_converted_by_the_scene_centre_and_warned_of(small):
    window = (100, 100, 20, 20)
    with pytest.warns(Alos2TutWarning, match=r"36\.30°.*0\.12 dB"):
        gamma0 = small.read_db(window, quantity="gamma0")
    offset = -10 * np.log10(np.cos(np.deg2rad(36.3)))
    np.testing.assert_allclose(gamma0, small.read_db(window) + offset, atol=1e-4)


def test_the_products_own_quantity_needs_no_warning(small):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small.read_db((100, 100, 5, 5), quantity="sigma0")


def test_an_unknown_quantity_is_refused(small):
    with pytest.raises(Alos2TutError, match=r"quantity.*beta0.*gamma0"):
        small.read_db((0, 0, 5, 5), quantity="beta0")


def test_a_conversion_without_incidence_is_refused(tiff):
    with pytest.raises(Alos2TutError, match="no incidence"):
        open_product(tiff).read_db((0, 0, 5, 5), quantity="gamma0")


def test_an_unknown_polarisation_is_refused_with_those_there_are(small):
    with pytest.raises(Alos2TutError, match=r"'HV'.*It holds HH"):
        small.read_db(polarization="HV")


# --- bad input


def test_a_missing_leader_is_named(copy):
    name = leader_of(copy).name
    leader_of(copy).unlink()
    with pytest.raises(Alos2TutError, match=rf"{name}.*missing.*again"):
        open_product(copy)


def test_a_product_without_an_image_is_refused(copy):
    image_of(copy).unlink()
    with pytest.raises(Alos2TutError, match="no image"):
        open_product(copy)


@pytest.mark.parametrize("cut", [1, 1472, 100_000], ids=["one byte", "one line", "many lines"])
def test_a_short_image_states_the_missing_bytes(copy, cut):
    data = image_of(copy).read_bytes()
    image_of(copy).write_bytes(data[:-cut])
    with pytest.raises(Alos2TutError, match=f"{cut} of {len(data)} bytes are missing"):
        open_product(copy)


@pytest.mark.parametrize("kept", [0, 8, 700, 3000, 10_000], ids=["empty", "8", "700", "3000", "10000"])
def test_a_short_leader_is_refused(copy, kept):
    leader_of(copy).write_bytes(leader_of(copy).read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match="LED-"):
        open_product(copy)


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
def test_a_map_projection_that_cannot_be_is_refused(copy, field, text, message):
    write_field(leader_of(copy), "map_projection", field, text)
    with pytest.raises(Alos2TutError, match=rf"LED-.*{message}"):
        open_product(copy)


@pytest.mark.parametrize("factor", ["1e300", "830.0", "-8300.0"])
def test_a_calibration_factor_that_cannot_be_is_refused(copy, factor):
    write_field(leader_of(copy), "radiometric", "calibration_factor_db", factor)
    with pytest.raises(Alos2TutError, match=r"LED-.*calibration factor"):
        open_product(copy)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        pytest.param("lines", "99999999", "truncated", id="too many lines"),
        pytest.param("lines", "-5", "lines", id="negative lines"),
        pytest.param("pixels", "99999999", "cannot hold", id="too many pixels"),
        pytest.param("pixels", "", "pixels", id="no pixels"),
        pytest.param("record_bytes", "0", "record_bytes", id="no bytes"),
        pytest.param("prefix_bytes", "12", "prefix", id="a prefix too short"),
        pytest.param("sample_code", "C*8", "C\\*8", id="complex samples"),
    ],
)
def test_an_image_descriptor_that_cannot_be_is_refused(copy, field, text, message):
    write_field(image_of(copy), "image_descriptor", field, text)
    with pytest.raises(Alos2TutError, match=rf"IMG-HH.*{message}"):
        open_product(copy)


@pytest.mark.parametrize("name", ["", "notes.txt", "IMG-HH-wrong.tif"], ids=["empty", "text", "another name"])
def test_a_folder_without_a_product_is_refused(tmp_path, name):
    if name:
        (tmp_path / name).write_text("hello")
    with pytest.raises(Alos2TutError, match=r"no ALOS-2 product.*Expected IMG-HH"):
        open_product(tmp_path)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(Alos2TutError, match="no such file or folder"):
        open_product(tmp_path / "nothing")


def test_two_products_in_one_folder_are_named(tiff, copy):
    shutil.copyfile(tiff, copy / TIFF_NAME)
    with pytest.raises(Alos2TutError, match=r"holds 2 products.*ALOS2237752900.*Name a file"):
        open_product(copy)
    assert open_product(copy / TIFF_NAME).kind == "GeoTIFF"
    assert open_product(image_of_scene(copy)).kind == "CEOS"


def image_of_scene(folder: Path) -> Path:
    return next(p for p in folder.glob("IMG-*") if p.suffix != ".tif")


@pytest.mark.parametrize("level", ["UBSL1.1__A", "WWDR2.2GUA"])
def test_other_levels_are_refused(tmp_path, level):
    (tmp_path / f"IMG-HH-ALOS2237752900-181018-{level}").write_bytes(b"")
    with pytest.raises(Alos2TutError, match=r"level (1\.1|2\.2).*are read"):
        open_product(tmp_path)


def test_images_of_two_sizes_are_refused(copy):
    second = copy / image_of(copy).name.replace("-HH-", "-HV-")
    shutil.copyfile(image_of(copy), second)
    write_field(second, "image_descriptor", "lines", "500")
    with pytest.raises(Alos2TutError, match="500 × 640"):
        open_product(copy)


def mutate(folder: Path, draw: random.Random) -> None:
    """Damage one to four places of the files that are read."""
    for _ in range(draw.randint(1, 4)):
        file = draw.choice([image_of(folder), leader_of(folder), leader_of(folder), folder / "summary.txt"])
        data = bytearray(file.read_bytes())
        head = 720 if file.name.startswith("IMG") else len(data)
        kind = draw.choice(["flip", "digit", "field", "field", "field", "truncate", "grow"])
        place = draw.randrange(max(min(head, len(data)), 1))
        if kind == "truncate":
            data = data[: draw.choice([0, place, len(data) - draw.randint(1, 3000)])]
        elif kind == "grow":
            data += bytes(draw.randint(1, 3000))
        elif kind == "field" and not file.name.endswith("txt") and head <= len(data):
            _mutate_field(data, file, draw)
        elif data:
            data[place] = draw.randrange(256) if kind == "flip" else ord(draw.choice("0123456789 -.eE+"))
        file.write_bytes(data)


def _mutate_field(data: bytearray, file: Path, draw: random.Random) -> None:
    kind = "image_descriptor" if file.name.startswith("IMG") else draw.choice(["map_projection", "radiometric"])
    kind = draw.choice([kind, kind, "leader_descriptor"]) if kind != "image_descriptor" else kind
    start, form = draw.choice(list(ceos.RECORDS[kind][1].values()))
    base = {"image_descriptor": 0, "leader_descriptor": 0, "map_projection": 4816, "radiometric": 27500}[kind]
    width = int(form[1:].split(".")[0])
    values = ["", "0", "-1", "1", "9" * width, "nan", "inf", "1e308", "-1e308", "1e-300", "1_0", "12", "61", "*" * 9]
    at = base + start - 1
    if at + width <= len(data):
        data[at : at + width] = draw.choice(values)[:width].rjust(width).encode("ascii")


def open_damaged(small_scene: Path, folder: Path, cases: int, seed: int) -> dict[str, int]:
    """Open damaged products: each is a product whose pixels can be read, or is refused by our own error."""
    files = {p.name: p.read_bytes() for p in small_scene.iterdir() if p.is_file() and p.name != "simulation.json"}
    files = {n: b[: 720 + 40 * 1472] if n.startswith("IMG") else b for n, b in files.items()}
    outcomes = {"read": 0, "refused": 0}
    for case in range(cases):
        for name, content in files.items():
            (folder / name).write_bytes(content)
        write_field(image_of(folder), "image_descriptor", "lines", "40")
        for corner in ("bottom_left", "bottom_right"):
            _move_up(leader_of(folder), corner)
        mutate(folder, random.Random(f"{seed}-{case}"))
        outcomes[_outcome(folder)] += 1
    return outcomes


def _move_up(leader: Path, corner: str) -> None:
    """The product cut to 40 lines: its lower corners lie 472 lines higher."""
    north = ceos.read_leader(leader)["map_projection"][f"{corner}_northing_km"]
    write_field(leader, "map_projection", f"{corner}_northing_km", f"{north + 472 * 0.0025:.7f}")


def _outcome(folder: Path) -> str:
    try:
        product = open_product(folder)
        json.dumps(product.to_dict(), allow_nan=False)
        assert product.read_db(looks=2).size <= 40 * 640
    except Alos2TutError:
        return "refused"
    return "read"


def test_damaged_products_are_read_or_refused(small_scene, tmp_path):
    tracemalloc.start()
    try:
        outcomes = open_damaged(small_scene, tmp_path, cases=300, seed=1)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    # damage that matters and damage that does not both occur
    assert outcomes["read"] > 30 and outcomes["refused"] > 30


@pytest.mark.soak
def test_many_damaged_products_are_read_or_refused(small_scene, tmp_path):
    open_damaged(small_scene, tmp_path, cases=10_000, seed=2)
