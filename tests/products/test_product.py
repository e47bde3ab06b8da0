"""Pixels of products: against GDAL and known numbers, windows, looks, conversions, layers, exports, pictures."""

import base64
import dataclasses
import io
import os
import re
import shutil
import struct
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window
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
from support.properties import examples

from alos2tut import Alos2TutError, Alos2TutWarning, Product, open_product
from alos2tut.products import reading
from alos2tut.products.ceos import ImageFile
from alos2tut.products.metadata import MapGrid
from alos2tut.products.quicklook import quicklook_png

#: pixels of 100 m, so that incidence varies by more than a degree
COARSE = rasterio.Affine(100, 0, 350_000, 0, -100, 3_900_000)
EARTH_M = 6_371_000.0
UTM_CRS = rasterio.crs.CRS.from_epsg(32654)


def image_of(folder: Path) -> Path:
    return next(folder.glob("IMG-*"))


def read_by_gdal(path: Path) -> tuple[np.ndarray, list]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            assert source.driver == "SAR_CEOS"
            return source.read(1), source.gcps[0]


def with_gaps(dn: np.ndarray) -> np.ndarray:
    return np.where(dn == 0, np.float32(np.nan), dn.astype(np.float32))


@pytest.fixture(scope="session")
def small(small_scene) -> Product:
    """The simulated product of 512 × 640 pixels."""
    return open_product(small_scene)


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Product:
    """A CEOS product of Level 2.1, 48 × 40 pixels of known numbers."""
    return open_product(write_ceos(tmp_path_factory.mktemp("plain") / "product", {"HH": amplitudes()}))


@pytest.fixture(scope="session")
def slc(tmp_path_factory) -> Product:
    """A CEOS product of Level 1.1 with zeros and numbers that are not finite, two polarisations."""
    first = complex_numbers()
    first[3, 4], first[5, 6], first[7, 8], first[9, 10] = 0, np.nan, complex(np.inf, 1), complex(1, -np.inf)
    images = {"HH": first, "HV": complex_numbers(seed=1)}
    return open_product(write_ceos(tmp_path_factory.mktemp("slc") / "product", images, "UBDR1.1__D"))


# --- numbers


def test_amplitudes_are_read_as_they_were_written(plain):
    np.testing.assert_array_equal(plain.read_dn(), with_gaps(amplitudes()))
    expected = with_gaps(amplitudes()).astype(float) ** 2 * 10**-8.3
    np.testing.assert_allclose(plain.read_power(), expected, rtol=1e-6)
    np.testing.assert_allclose(plain.read_db(), 10 * np.log10(expected), atol=5e-5)


def test_complex_numbers_are_read_bit_for_bit(slc):
    expected = complex_numbers()
    expected[3, 4], expected[5, 6], expected[7, 8], expected[9, 10] = 0, np.nan, complex(np.inf, 1), complex(1, -np.inf)
    numbers = slc.read_slc()
    assert numbers.dtype == np.complex64 and numbers.tobytes() == expected.tobytes()
    assert slc.read_slc((2, 3, 10, 20), polarization="HV").tobytes() == complex_numbers(seed=1)[2:12, 3:23].tobytes()


def test_power_of_complex_numbers_is_their_square_by_115_db(slc):
    numbers = complex_numbers(seed=1).astype(np.complex128)
    power = slc.read_power(polarization="HV")
    np.testing.assert_allclose(power, np.abs(numbers) ** 2 * 10**-11.5, rtol=1e-6)
    np.testing.assert_allclose(slc.read_db(polarization="HV"), 20 * np.log10(np.abs(numbers)) - 115, atol=1e-4)
    np.testing.assert_allclose(slc.read_dn(polarization="HV"), np.abs(numbers), rtol=1e-6)
    blocks = (np.abs(numbers) ** 2).reshape(12, 4, 8, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(slc.read_power(polarization="HV", looks=(4, 5)), blocks * 10**-11.5, rtol=1e-5)


@pytest.mark.parametrize("read", ["read_dn", "read_power", "read_db"])
def test_zeros_and_what_is_not_finite_are_no_data(slc, read):
    missing = np.zeros((48, 40), dtype=bool)
    missing[[3, 5, 7, 9], [4, 6, 8, 10]] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = getattr(slc, read)()
    np.testing.assert_array_equal(np.isnan(pixels), missing)


def test_amplitudes_are_no_complex_numbers(plain):
    with pytest.raises(Alos2TutError, match=r"2\.1 holds amplitudes.*read_dn"):
        plain.read_slc()


def test_a_geotiff_of_level_11_gives_the_same_complex_numbers(tmp_path):
    path = tmp_path / TIFF_NAME.replace("2.1GUD", "1.1__D")
    product = open_product(write_geotiff(path, complex_numbers(), None, None, dtype="complex64"))
    assert product.read_slc().tobytes() == complex_numbers().tobytes()
    np.testing.assert_allclose(product.read_power(), np.abs(complex_numbers()) ** 2 * 10**-11.5, rtol=1e-5)


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


@pytest.mark.parametrize("looks", [(1, 1), (2, 2), (3, 7), (1, 6), (50, 1), (70, 33), (1024, 1024)])
@pytest.mark.parametrize("strip_px", [1, 100_000], ids=["strips of one block", "strips of many"])
def test_strips_change_no_bit(uneven, monkeypatch, looks, strip_px):
    window = (13, 17, 400, 2000)
    monkeypatch.setattr(reading, "_STRIP_PX", 10**9)
    whole = [read(window, looks=looks) for read in (uneven.read_dn, uneven.read_power, uneven.read_db)]
    monkeypatch.setattr(reading, "_STRIP_PX", strip_px)
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


@examples(80)
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


@pytest.mark.parametrize("looks", [1025, (1, 10**9)])
@pytest.mark.parametrize("read", ["read_dn", "read_db", "blocks", "to_xarray"])
def test_more_looks_than_memory_should_hold_are_refused(small, read, looks):
    with pytest.raises(Alos2TutError, match=r"looks: .* is more than 1024.*radiometry\.multilook"):
        getattr(small, read)(looks=looks)


def test_a_conversion_does_not_depend_on_strips(coarse, monkeypatch):
    whole = coarse.read_power(quantity="gamma0", looks=(30, 50))
    monkeypatch.setattr(reading, "_STRIP_PX", 1)
    np.testing.assert_array_equal(coarse.read_power(quantity="gamma0", looks=(30, 50)), whole)


def test_looks_far_larger_than_the_product_cost_nothing(small):
    tracemalloc.start()
    try:
        assert small.read_power((0, 0, 9, 9), looks=1024).shape == (1, 1)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scale", ["read_dn", "blocks", "to_cog"])
def test_an_unknown_polarisation_is_refused_with_those_there_are(small, tmp_path, scale):
    read = {"read_dn": small.read_dn, "blocks": small.blocks,
            "to_cog": lambda **o: small.to_cog(tmp_path / "x.tif", **o)}[scale]  # fmt: skip
    with pytest.raises(Alos2TutError, match=r"'HV'.*It holds HH"):
        read(polarization="HV")


# --- incidence and conversion


def incidence(range_m: np.ndarray, center_m: float, center_deg: float) -> np.ndarray:
    """Degrees by plane vectors: the radar above the Earth's circle, and the point on it that is so far away."""
    theta = np.radians(center_deg)
    height = np.hypot(center_m * np.sin(theta), EARTH_M + center_m * np.cos(theta))
    psi = np.arccos((height**2 + EARTH_M**2 - range_m**2) / (2 * height * EARTH_M))
    up = np.stack([np.sin(psi), np.cos(psi)])
    sight = np.array([0, height]).reshape(2, *(1,) * range_m.ndim) - EARTH_M * up
    return np.degrees(np.arccos((sight * up).sum(axis=0) / range_m))


def stated_ranges(image: Path) -> np.ndarray:
    """Slant ranges of the first, middle and last pixel of every line of Level 1.5 and 2.1, as JAXA places them."""
    data = image.read_bytes()
    length = struct.unpack_from(">I", data, 720 + 8)[0]
    return np.array([struct.unpack_from(">3I", data, at + 64) for at in range(720, len(data), length)], dtype=float)


def range_per_pixel(image: Path, width: int) -> np.ndarray:
    ends = [0, (width - 1) / 2, width - 1]
    return np.stack([np.polyval(np.polyfit(ends, line, 2), np.arange(width)) for line in stated_ranges(image)])


@pytest.fixture(scope="session")
def coarse(tmp_path_factory) -> Product:
    """40 × 150 pixels of 100 m, dark and bright in turns of 37 or 38 columns."""
    dn = np.where(np.arange(150) % 75 < 37, 100, 3000) * np.ones((40, 1), dtype=int)
    dn[:8, :20] = 0
    folder = tmp_path_factory.mktemp("coarse") / "product"
    return open_product(write_ceos(folder, {"HH": dn.astype(np.uint16)}, "WBDR1.5GUD", transform=COARSE))


def coarse_incidence(coarse: Product) -> np.ndarray:
    ranges = range_per_pixel(image_of(coarse.path), 150)
    return incidence(ranges, ranges[20, 74:76].mean(), 36.3)


def test_incidence_by_slant_range_is_that_of_a_sphere(coarse):
    found, expected = coarse.read_incidence(), coarse_incidence(coarse)
    assert found.dtype == np.float32 and np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_incidence_of_level_11_is_that_of_a_sphere(tmp_path):
    folder = write_ceos(tmp_path, {"HH": complex_numbers((30, 300))}, "UBSR1.1__D", spacing_m=(3.0, 20.0))
    product = open_product(folder)
    ranges = 760_000 + 20.0 * (np.arange(300) - 299 / 2) * np.ones((30, 1))
    expected = incidence(ranges, 760_000, 36.3)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(product.read_incidence(), expected, atol=2e-3)


def test_incidence_between_the_pixels_where_it_is_computed_is_close(tmp_path):
    """At 64 pixels of 2.5 m a straight line is as good as the angles themselves."""
    folder = write_ceos(tmp_path, {"HH": amplitudes((3, 600))})
    ranges = range_per_pixel(image_of(folder), 600)
    expected = incidence(ranges, ranges[1, 299:301].mean(), 36.3)
    np.testing.assert_allclose(open_product(folder).read_incidence(), expected, atol=2e-5)


@pytest.mark.parametrize("window", [(3, 5, 20, 140), (39, 149, 1, 1), (0, 64, 2, 1), (7, 10, 1, 65), (7, 10, 1, 66)])
def test_incidence_of_a_window_is_a_part_of_the_whole(coarse, window):
    row, col, height, width = window
    part = coarse.read_incidence(window)
    np.testing.assert_allclose(part, coarse.read_incidence()[row : row + height, col : col + width], atol=1e-3)


def test_sigma0_becomes_gamma0_pixel_by_pixel(coarse):
    expected = with_gaps(read_by_gdal(image_of(coarse.path))[0]).astype(float) ** 2 * 10**-8.3
    expected /= np.cos(np.radians(coarse_incidence(coarse)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(coarse.read_power(quantity="gamma0"), expected, rtol=1e-4)
        np.testing.assert_allclose(coarse.read_db(quantity="gamma0"), 10 * np.log10(expected), atol=1e-3)


def test_conversion_goes_before_averaging(coarse):
    dn2 = with_gaps(read_by_gdal(image_of(coarse.path))[0]).astype(float) ** 2
    gamma0 = (dn2 / np.cos(np.radians(coarse_incidence(coarse)))).reshape(10, 4, 2, 75)
    expected = np.nanmean(gamma0, axis=(1, 3)) * 10**-8.3
    found = coarse.read_power(quantity="gamma0", looks=(4, 75))
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    # the blocks' mean angle would give another number
    angles = coarse_incidence(coarse).reshape(10, 4, 2, 75).mean(axis=(1, 3))
    averaged = np.nanmean(dn2.reshape(10, 4, 2, 75), axis=(1, 3)) / np.cos(np.radians(angles)) * 10**-8.3
    assert (np.abs(averaged / expected - 1) > 1e-3).all()


@pytest.mark.parametrize("looks", [1, (3, 7)])
def test_a_converted_window_is_a_part_of_the_whole(coarse, looks):
    rows, cols = (looks, looks) if looks == 1 else looks
    part = coarse.read_power((12, 14, 9, 21), looks=looks, quantity="gamma0")
    whole = coarse.read_power(looks=looks, quantity="gamma0")
    expected = whole[12 // rows : -(-21 // rows), 14 // cols : -(-35 // cols)]
    np.testing.assert_allclose(part, expected, rtol=1e-5)


@pytest.fixture(scope="session")
def centered(tmp_path_factory) -> Product:
    """The product of known numbers, whose lines state no slant range."""
    folder = write_ceos(tmp_path_factory.mktemp("centered") / "product", {"HH": amplitudes()})
    data = bytearray(image_of(folder).read_bytes())
    for line in range(720, len(data), 192 + 2 * 40):
        data[line + 64 : line + 76] = bytes(12)
    image_of(folder).write_bytes(data)
    return open_product(folder)


@pytest.mark.parametrize("looks", [1, 3])
def test_without_slant_ranges_the_scene_centre_converts_with_a_warning(centered, looks):
    assert centered.incidence_source == "scene centre"
    with pytest.warns(Alos2TutWarning, match=r"gamma0 from sigma0 .*scene centre 36\.30°.*±0\.01 dB"):
        gamma0 = centered.read_db(quantity="gamma0", looks=looks)
    offset = -10 * np.log10(np.cos(np.deg2rad(36.3)))
    np.testing.assert_allclose(gamma0, centered.read_db(looks=looks) + offset, atol=1e-4)
    with pytest.raises(Alos2TutError, match=r"no incidence angle per pixel.*only 36\.30° at the scene's centre"):
        centered.read_incidence()


@pytest.mark.parametrize(
    ("width", "incidence_deg", "error"),
    [
        pytest.param(28_000, 40.6, "±0.12 dB", id="70 km"),
        pytest.param(140_000, 40.6, "±0.60 dB", id="350 km, as of ScanSAR"),
        pytest.param(28_000, 25.0, "±0.09 dB", id="steep"),
    ],
)
def test_the_error_of_one_angle_is_that_of_the_products_width(centered, width, incidence_deg, error):
    product = dataclasses.replace(centered, shape=(48, width), incidence_deg=incidence_deg)
    told = (
        f"from sigma0 by incidence: scene centre {incidence_deg:.2f}°, off by about {error} at the edges of the swath"
    )
    assert product.conversion_told() == told
    # to first order it is the change of the cosine
    slant = 628e3 / np.cos(np.radians(incidence_deg))
    edge = np.radians(incidence_deg) + 2.5 * width / 2 * np.cos(np.radians(incidence_deg)) / slant
    change = 10 * np.log10(np.cos(np.radians(incidence_deg)) / np.cos(edge))
    assert float(error[1:5]) == pytest.approx(change, rel=0.25)


def test_the_error_of_one_angle_in_slant_range_is_that_of_the_ground(slc):
    one_angle = dataclasses.replace(slc, slant_range_incidence=None, shape=(48, 10_000), incidence_deg=36.3)
    ground = one_angle.spacing_m[1] / np.sin(np.radians(36.3))
    on_a_map = dataclasses.replace(one_angle, grid=MapGrid(UTM_CRS, rasterio.Affine.scale(ground)))
    assert one_angle.conversion_told() == on_a_map.conversion_told() and "0.00" not in one_angle.conversion_told()
    unknown = dataclasses.replace(one_angle, stated_spacing_m=None)
    assert "off by an unknown amount" in unknown.conversion_told()


def test_the_error_of_one_angle_is_unknown_for_a_scan(centered):
    told = dataclasses.replace(centered, scan=3).conversion_told()
    assert told.endswith("scene centre 36.30°, off by an unknown amount")


@pytest.mark.parametrize("read", ["read_power", "read_db", "blocks", "to_cog", "to_xarray"])
def test_a_warning_comes_once_and_names_the_line_that_asked(centered, tmp_path, read):
    if read == "to_xarray":
        pytest.importorskip("xarray")
    path = [tmp_path / "x.tif"] if read == "to_cog" else []
    with pytest.warns(Alos2TutWarning, match="gamma0 from sigma0") as warned:
        result = getattr(centered, read)(*path, quantity="gamma0")
    # xarray and rasterio have warnings of their own
    assert [w.filename for w in warned if w.category is Alos2TutWarning] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if read == "blocks":
            assert len(list(result)) == 1
        elif read == "to_xarray":
            np.testing.assert_allclose(result["HH"].values, centered.read_db() + 0.937, atol=1e-3)


def test_blocks_refuse_at_the_call(tmp_path):
    product = open_product(write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54))
    with pytest.raises(Alos2TutError, match="no incidence"):
        product.blocks(quantity="gamma0")


def test_the_products_own_quantity_needs_no_warning(centered):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert centered.read_db(quantity="sigma0").tobytes() == centered.read_db().tobytes()


def test_an_unknown_quantity_is_refused(small):
    with pytest.raises(Alos2TutError, match=r"quantity.*beta0.*gamma0"):
        small.read_db((0, 0, 5, 5), quantity="beta0")


def test_a_conversion_without_incidence_is_refused(tmp_path):
    product = open_product(write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54))
    with pytest.raises(Alos2TutError, match=r"cannot turn sigma0 into gamma0.*no incidence.*Read sigma0"):
        product.read_db((0, 0, 5, 5), quantity="gamma0")


def test_gamma0_of_the_real_mosaic_becomes_sigma0_by_its_local_incidence(mosaic):
    window = (13, 470, 77, 190)
    product = open_product(mosaic)
    bands = {}
    for name in ("sl_HV", "linci"):
        with rasterio.open(mosaic / f"crop_N23W161_20_{name}_F02DAR.tif") as band:
            bands[name] = band.read(1).astype(float)[13:90, 470:660]
    expected = bands["sl_HV"] ** 2 * 10**-8.3 * np.cos(np.radians(bands["linci"]))
    expected[bands["sl_HV"] <= 1] = np.nan
    assert np.isfinite(expected).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = product.read_power(window, polarization="HV", quantity="sigma0")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gamma0_of_level_22_becomes_sigma0_before_averaging(tmp_path):
    draw = np.random.default_rng(5)
    dn, angle = draw.integers(1, 5000, (48, 40)), draw.integers(1500, 7500, (48, 40))
    name = f"{SCENE_ID}_WBDR2.2GUD"
    write_geotiff(tmp_path / f"{name}_HH_SLP.tif", dn, UTM54)
    write_geotiff(tmp_path / f"{name}_LIN.tif", angle, UTM54)
    power = dn**2 * 10**-8.3 * np.cos(np.radians(0.01 * angle))
    found = open_product(tmp_path).read_power(quantity="sigma0", looks=(6, 5))
    np.testing.assert_allclose(found, power.reshape(8, 6, 8, 5).mean(axis=(1, 3)), rtol=1e-5)


def test_slopes_turned_away_from_the_radar_have_no_other_quantity(tmp_path):
    name = f"{SCENE_ID}_WBDR2.2GUD"
    write_geotiff(tmp_path / f"{name}_HH_SLP.tif", np.full((1, 4), 100), UTM54)
    write_geotiff(tmp_path / f"{name}_LIN.tif", np.array([[8999, 9000, 9500, 65535]]), UTM54)
    product = open_product(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        found = product.read_db(quantity="sigma0")
    np.testing.assert_array_equal(np.isnan(found), [[False, True, True, True]])
    assert np.isfinite(product.read_db()).all()
    for angles in (product.read_layer("local_incidence"), product.read_incidence()):
        np.testing.assert_array_equal(angles, np.float32([[89.99, np.nan, np.nan, np.nan]]))


def test_pixels_whose_angle_is_missing_do_not_count(tmp_path):
    dn, angle = np.full((4, 8), 100), np.full((4, 8), 6000)
    # one of four, three of four
    angle[0, 0] = angle[0, 4] = angle[0, 5] = angle[1, 4] = 0
    name = f"{SCENE_ID}_WBDR2.2GUD"
    write_geotiff(tmp_path / f"{name}_HH_SLP.tif", dn, UTM54)
    write_geotiff(tmp_path / f"{name}_LIN.tif", angle, UTM54)
    product = open_product(tmp_path)
    np.testing.assert_array_equal(np.isnan(product.read_power(quantity="sigma0")), angle == 0)
    blocks = product.read_power(quantity="sigma0", looks=2)
    np.testing.assert_array_equal(np.isnan(blocks), [[False, False, True, False], 4 * [False]])
    np.testing.assert_allclose(blocks[0, 0], 1e4 * 10**-8.3 * 0.5, rtol=1e-5)


# --- layers


def test_layers_of_the_real_mosaic(mosaic):
    product = open_product(mosaic)
    assert product.incidence_source == "delivered layer (local, with terrain)"
    bands = {}
    for name in ("sl_HH", "linci", "mask", "date"):
        with rasterio.open(mosaic / f"crop_N23W161_20_{name}_F02DAR.tif") as band:
            bands[name] = band.read(1)
    missing = bands["sl_HH"] == 1
    assert 10_000 < missing.sum() < 50_000
    angles = product.read_layer("local_incidence")
    np.testing.assert_array_equal(angles, np.where(missing, np.nan, bands["linci"]))
    assert angles.dtype == np.float32
    np.testing.assert_array_equal(product.read_incidence(), angles)
    mask = product.read_layer("mask")
    np.testing.assert_array_equal(mask, bands["mask"])
    assert {product.layers["mask"].meaning[code] for code in np.unique(mask)} == {
        "no data", "ocean and water", "shadow", "land",
    }  # fmt: skip
    dates = product.read_layer("date")
    assert dates.dtype == "datetime64[D]"
    np.testing.assert_array_equal(np.isnat(dates), missing)
    assert set(dates[~missing]) == {np.datetime64("2020-09-09")}


def test_a_window_of_a_layer_is_a_part_of_it(mosaic):
    product = open_product(mosaic)
    for name in product.layers:
        part, whole = product.read_layer(name, (13, 470, 77, 190)), product.read_layer(name)
        np.testing.assert_array_equal(part, whole[13:90, 470:660])


def test_layers_and_no_data_of_the_real_level_22():
    from support.products import real_data

    folder = real_data("palsar2_l22_scansar")
    product, window = open_product(folder), (9000, 200, 400, 1500)
    with rasterio.open(folder / "ALOS2437590500-220630_WWDR2.2GUA_LIN.tif") as band:
        angle = band.read(1, window=Window(200, 9000, 1500, 400))
    mask = product.read_layer("mask", window)
    assert set(np.unique(mask)) == {0, 4} and product.layers["mask"].meaning[4] == "ocean and water"
    found = product.read_layer("local_incidence", window)
    assert angle.max() == 65535  # no angle
    np.testing.assert_allclose(found, np.where((angle == 0) | (angle >= 9000), np.nan, 0.01 * angle), rtol=1e-6)
    # DN 0 is no data, exactly where the mask says so
    np.testing.assert_array_equal(np.isnan(product.read_dn(window)), mask == 0)
    assert np.nanmax(product.read_db(window)) == pytest.approx(20 * np.log10(65535) - 83, abs=1e-4)


def test_layers_take_little_more_memory_than_their_result(tmp_path):
    shape, name = (2000, 2000), f"{SCENE_ID}_WBDR2.2GUD"
    for layer, value, dtype in [("HH_SLP", 100, "uint16"), ("LIN", 3000, "uint16"), ("MSK", 1, "uint8")]:
        write_geotiff(tmp_path / f"{name}_{layer}.tif", np.full(shape, value), UTM54, dtype=dtype)
    level22 = open_product(tmp_path)
    level21 = open_product(write_ceos(tmp_path / "ceos", {"HH": np.ones(shape, dtype=np.uint16)}))
    for read, bytes_per_px in [
        (lambda: level22.read_layer("local_incidence"), 4),
        (level22.read_incidence, 4),
        (lambda: level22.read_layer("mask"), 1),
        (level21.read_incidence, 4),
    ]:
        tracemalloc.start()
        try:
            assert read().nbytes == bytes_per_px * 4e6
            # and a strip, whose numbers are worked on in double precision
            assert tracemalloc.get_traced_memory()[1] < bytes_per_px * 4e6 + 7e6
        finally:
            tracemalloc.stop()


def test_an_unknown_layer_is_refused_with_those_there_are(mosaic, plain):
    with pytest.raises(Alos2TutError, match=r"no layer 'masks'.*'mask'"):
        open_product(mosaic).read_layer("masks")
    with pytest.raises(Alos2TutError, match=r"no layer 'mask'.*without layers"):
        plain.read_layer("mask")
    with pytest.raises(Alos2TutError, match="no layer"):
        open_product(mosaic).read_layer(["mask"])


# --- blocks


@pytest.mark.parametrize("rows", [None, 1, 7, 20, 1000])
@pytest.mark.parametrize("looks", [1, 2, (3, 7), (50, 1)])
@pytest.mark.parametrize("scale", ["db", "power", "dn"])
def test_blocks_tile_the_result_and_change_no_bit(plain, scale, looks, rows):
    window = (5, 7, 40, 30)
    whole = getattr(plain, f"read_{scale}")(window, looks=looks)
    # all are kept until the last has come
    blocks = list(plain.blocks(scale, window=window, looks=looks, rows=rows))
    place = 0
    for area, values in blocks:
        assert (area.col_off, area.row_off, area.width, area.height) == (0, place, *values.shape[::-1])
        assert values.dtype == np.float32 and (rows is None or len(values) <= rows)
        place += len(values)
    assert np.concatenate([values for _, values in blocks]).tobytes() == whole.tobytes()
    assert rows is None or len(blocks) == -(-len(whole) // rows)


def test_blocks_of_many_strips_change_no_bit(uneven, monkeypatch):
    monkeypatch.setattr(reading, "_STRIP_PX", 20_000)
    blocks = list(uneven.blocks(looks=3, rows=64))
    assert [len(values) for _, values in blocks] == [64] * 15 + [41]
    assert np.concatenate([values for _, values in blocks]).tobytes() == uneven.read_db(looks=3).tobytes()


def test_converted_blocks_equal_what_is_read(coarse):
    blocks = [values for _, values in coarse.blocks("power", quantity="gamma0", looks=2, rows=6)]
    np.testing.assert_array_equal(np.concatenate(blocks), coarse.read_power(quantity="gamma0", looks=2))


def test_blocks_take_the_memory_of_one(uneven):
    tracemalloc.start()
    try:
        for _ in uneven.blocks("power", rows=100):
            pass
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rows", [0, -3, 2.5, "4", True])
def test_rows_of_a_block_are_a_whole_number(plain, rows):
    with pytest.raises(Alos2TutError, match="rows="):
        plain.blocks(rows=rows)


def test_whole_numbers_of_numpy_are_rows(plain):
    assert [len(values) for _, values in plain.blocks(rows=np.int64(20))] == [20, 20, 8]


def test_a_block_is_no_larger_than_the_result(plain):
    ((area, values),) = plain.blocks(rows=10**10, looks=2)
    assert (area.height, area.width) == values.shape == (24, 20)
    np.testing.assert_array_equal(values, plain.read_db(looks=2))


@pytest.mark.parametrize("read", ["blocks", "to_cog"])
def test_an_unknown_scale_is_refused(plain, tmp_path, read):
    with pytest.raises(Alos2TutError, match=r"unknown scale 'decibel'.*Known: db, dn, power"):
        plain.blocks("decibel") if read == "blocks" else plain.to_cog(tmp_path / "x.tif", scale="decibel")


def test_a_scale_is_a_text(plain):
    with pytest.raises(Alos2TutError, match=r"unknown scale '\['db'\]'"):
        plain.blocks(["db"])


def test_digital_numbers_are_not_converted(plain, tmp_path):
    with pytest.raises(Alos2TutError, match=r"quantity.*not converted"):
        plain.to_cog(tmp_path / "x.tif", scale="dn", quantity="gamma0")
    assert not list(tmp_path.iterdir())


# --- Cloud-Optimized GeoTIFFs


@pytest.mark.parametrize("scale", ["db", "power", "dn"])
def test_a_cog_has_the_pixels_and_their_place(plain, tmp_path, scale):
    path = plain.to_cog(tmp_path / "x.tif", scale=scale)
    with rasterio.open(path) as cog:
        assert cog.read(1).tobytes() == getattr(plain, f"read_{scale}")().tobytes()
        assert (cog.crs, cog.dtypes, cog.count) == (plain.crs, ("float32",), 1) and np.isnan(cog.nodata)
        assert tuple(cog.transform) == pytest.approx(tuple(UTM54), abs=1e-3)


def test_a_cog_of_a_window_by_looks_lies_in_its_place(plain, tmp_path):
    window, looks = (5, 7, 30, 20), (3, 2)
    path = plain.to_cog(tmp_path / "x.tif", window=window, looks=looks)
    with rasterio.open(path) as cog:
        assert cog.read(1).tobytes() == plain.read_db(window, looks=looks).tobytes()
        # the window grown to whole blocks begins in row 3, column 6
        assert cog.transform * (0, 0) == pytest.approx((350_000 + 6 * 2.5, 3_900_000 - 3 * 2.5), abs=1e-3)
        assert cog.res == pytest.approx((5.0, 7.5), abs=1e-4) and cog.shape == (11, 11)


def test_a_cog_of_a_rotated_product_is_rotated(tmp_path):
    transform = UTM54 * rasterio.Affine.rotation(10)
    product = open_product(write_ceos(tmp_path / "p", {"HH": amplitudes()}, "UBSR1.5RUD", transform=transform))
    with rasterio.open(product.to_cog(tmp_path / "x.tif")) as cog:
        assert tuple(cog.transform) == pytest.approx(tuple(transform), abs=1e-3)


def test_the_tags_of_a_cog_say_what_its_numbers_are(coarse, tmp_path):
    with rasterio.open(coarse.to_cog(tmp_path / "x.tif", scale="power", looks=(2, 1), quantity="gamma0")) as cog:
        tags = cog.tags()
    expected = {
        "PRODUCT": f"IMG-HH-{SCENE_ID}-WBDR1.5GUD",
        "POLARIZATION": "HH",
        "SCALE": "linear power",
        "QUANTITY": "gamma0",
        "CALIBRATION": "-83 dB (leader file)",
        "CONVERSION": "from sigma0 by incidence: slant range of the lines (smooth Earth)",
        "LOOKS": "2 x 1",
        "ACQUIRED": "2018-10-18T03:04:05.000Z",
        "SOURCE": "ALOS-2 PALSAR-2, (c) JAXA",
    }
    assert {key: tags.get(key) for key in expected} == expected


def test_a_cog_says_how_far_a_conversion_by_one_angle_is_off(centered, tmp_path):
    with pytest.warns(Alos2TutWarning, match="scene centre") as warned:
        path = centered.to_cog(tmp_path / "x.tif", quantity="gamma0")
    with rasterio.open(path) as cog:
        told = cog.tags()["CONVERSION"]
    assert told == centered.conversion_told() and "off by about ±0.01 dB" in told
    assert f"gamma0 {told}" in [str(warning.message) for warning in warned]


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        pytest.param({}, {"SCALE": "dB", "QUANTITY": "sigma0"}, {"CONVERSION"}, id="own quantity"),
        pytest.param({"quantity": "sigma0"}, {"QUANTITY": "sigma0"}, {"CONVERSION"}, id="own quantity by name"),
        pytest.param(
            {"scale": "dn"}, {"SCALE": "amplitude, not calibrated"}, {"QUANTITY", "CALIBRATION"}, id="digital numbers"
        ),
    ],
)
def test_tags_of_a_cog_say_no_more_than_is_so(plain, tmp_path, options, there, absent):
    with rasterio.open(plain.to_cog(tmp_path / "x.tif", **options)) as cog:
        tags = cog.tags()
    assert {key: tags[key] for key in there} == there and not absent & set(tags)


def test_a_cog_of_a_simulated_product_says_so(small, tmp_path):
    with rasterio.open(small.to_cog(tmp_path / "x.tif", window=(0, 0, 9, 9))) as cog:
        assert cog.tags()["SOURCE"] == "simulated"


@pytest.mark.parametrize(
    ("options", "compression", "levels"),
    [
        pytest.param({}, "DEFLATE", [2], id="as it is"),
        pytest.param({"compress": "lzw"}, "LZW", [2], id="another compression"),
        pytest.param({"compress": None}, None, [2], id="no compression"),
        pytest.param({"overviews": False}, "DEFLATE", [], id="no overviews"),
    ],
)
def test_compression_and_overviews_of_a_cog(small, tmp_path, options, compression, levels):
    with rasterio.open(small.to_cog(tmp_path / "x.tif", **options)) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == compression
        assert cog.overviews(1) == levels and cog.read(1).tobytes() == small.read_db().tobytes()
        assert ("COG" in cog.tags(ns="IMAGE_STRUCTURE").get("LAYOUT", "")) == bool(levels)


def test_a_file_of_the_product_is_not_overwritten(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    product = open_product(folder)
    for file in product.files:
        with pytest.raises(Alos2TutError, match=rf"{re.escape(file.name)}.*of the product itself"):
            product.to_cog(folder / ".." / "product" / file.name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "name", [f"VOL-{SCENE_ID}-UBSR2.1GUD", "summary.txt", f"IMG-HV-{SCENE_ID}-UBSR2.1GUD", f"{SCENE_ID}.tif".lower()]
)
def test_nothing_is_written_that_looks_like_a_file_of_the_delivery(tmp_path, name):
    from alos2tut.mapping.scene import check_out_path

    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    product = open_product(image_of(folder))
    assert product.owns(folder / name) and not product.owns(tmp_path / name)
    for write in (product.to_cog, lambda path: check_out_path(path, product)):
        with pytest.raises(Alos2TutError, match=rf"{re.escape(name)}.*of the product itself.*another folder"):
            write(folder / name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_relative_paths_are_owned_from_wherever_they_are_named(tmp_path, monkeypatch):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    monkeypatch.chdir(tmp_path)
    product = open_product("product")
    names = (image_of(folder).name, f"VOL-{SCENE_ID}-UBSR2.1GUD")
    assert all(product.owns(f"product/{name}") and not product.owns(name) for name in names)
    monkeypatch.chdir(folder)
    assert all(product.owns(name) and product.owns(f"../product/{name}") for name in names)
    assert not product.owns("map.tif") and not product.owns(".") and not product.owns("..")


def test_a_link_to_where_a_file_of_the_delivery_would_lie_is_owned(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    (tmp_path / "map.tif").symlink_to(folder / f"IMG-HV-{SCENE_ID}-UBSR2.1GUD")
    assert open_product(folder).owns(tmp_path / "map.tif")


def test_files_behind_links_are_not_overwritten(tmp_path):
    folder = write_ceos(tmp_path / "store", {"HH": amplitudes()})
    links = tmp_path / "links"
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    product = open_product(links)
    for place in (folder, links):
        assert product.owns(place / f"VOL-{SCENE_ID}-UBSR2.1GUD") and product.owns(place / f"{SCENE_ID}.tif")
    assert not product.owns(links / "map.tif")


def test_other_names_are_free_beside_a_product(tmp_path):
    product = open_product(write_ceos(tmp_path, {"HH": amplitudes()}))
    assert product.to_cog(tmp_path / "sigma0.tif").is_file()


@pytest.mark.parametrize("archive", ARCHIVES)
def test_beside_an_archive_names_are_free(plain, tmp_path, archive):
    path = archived(plain.path, tmp_path / archive)
    product = open_product(path)
    assert product.owns(path) and not product.owns(tmp_path / f"{SCENE_ID}.tif")


def test_an_archive_is_not_overwritten_by_its_product(tmp_path):
    path = archived(write_ceos(tmp_path / "product", {"HH": amplitudes()}), tmp_path / "stored.zip")
    with pytest.raises(Alos2TutError, match="of the product itself"):
        open_product(path).to_cog(path)


def test_slant_range_is_no_map(slc, tmp_path):
    with pytest.raises(Alos2TutError, match="slant range"):
        slc.to_cog(tmp_path / "x.tif")
    assert not list(tmp_path.iterdir())


def test_an_older_file_stays_if_writing_fails(tmp_path, monkeypatch):
    product = open_product(write_ceos(tmp_path / "product", {"HH": amplitudes((1100, 40))}))
    target = tmp_path / "x.tif"
    target.write_bytes(b"older")
    data = image_of(product.path).read_bytes()
    image_of(product.path).write_bytes(data[: len(data) // 2])
    with pytest.raises(Alos2TutError, match="truncated"):
        product.to_cog(target)
    assert target.read_bytes() == b"older" and sorted(p.name for p in tmp_path.iterdir()) == ["product", "x.tif"]


def test_a_cog_needs_a_folder(plain, tmp_path):
    with pytest.raises(Alos2TutError, match="does not exist"):
        plain.to_cog(tmp_path / "nowhere" / "x.tif")


# --- pictures


def picture_in(text: str) -> tuple[str, bytes]:
    """Kind and content of the one picture in a piece of HTML."""
    ((kind, content),) = re.findall(r"<img [^>]*src='data:([^;]+);base64,([^']+)'", text)
    return kind, base64.b64decode(content)


def no_pixels(*_: object) -> None:
    raise AssertionError("pixels are read")


@pytest.mark.parametrize("shape", [(48, 40), (40, 700), (700, 40), (1, 5)])
def test_a_picture_has_the_products_proportions(tmp_path, shape):
    dn = np.tile(np.linspace(100, 60_000, shape[1]).astype(np.uint16), (shape[0], 1))
    product = open_product(write_geotiff(tmp_path / TIFF_NAME, dn, UTM54))
    kind, content = picture_in(product._repr_html_())
    assert kind == "image/png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(io.BytesIO(content)) as picture:
            grey = picture.read(1).astype(int)
    scale = max(1, -(-max(shape) // 320))
    assert grey.shape == (-(-shape[0] // scale), -(-shape[1] // scale))
    # brighter to the right, nothing missing
    assert (np.diff(grey, axis=1) >= 0).all() and grey.min() == 1 and grey.max() == 255


def test_what_is_missing_is_darkest_in_a_picture(plain, slc):
    for product, missing in ((plain, amplitudes() == 0), (slc, ~np.isfinite(slc.read_db()))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(io.BytesIO(quicklook_png(product))) as picture:
                np.testing.assert_array_equal(picture.read(1) == 0, missing)


def test_texts_of_files_are_escaped(tmp_path):
    folder = write_ceos(tmp_path, {"HH": amplitudes()}, software="<b>&'\"x</b>")
    text = open_product(folder)._repr_html_()
    assert "<b>" not in text and "&lt;b&gt;&amp;&#x27;&quot;x&lt;/b&gt;" in text


@pytest.mark.parametrize("kind", ["CEOS", "GeoTIFF"])
def test_a_product_whose_pixels_are_damaged_still_shows(tmp_path, kind):
    if kind == "CEOS":
        path = image_of(write_ceos(tmp_path, {"HH": amplitudes()}))
    else:
        path = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54, compress="deflate")
    product = open_product(tmp_path)
    path.write_bytes(path.read_bytes()[:900])
    text = product._repr_html_()
    assert "<img" not in text and path.name in text and SCENE_ID in text and "<table>" in text


@pytest.mark.parametrize("archive", ARCHIVES)
def test_a_picture_is_drawn_of_what_lies_in_an_archive(plain, tmp_path, archive):
    product = open_product(archived(plain.path, tmp_path / archive))
    assert picture_in(product._repr_html_()) == picture_in(plain._repr_html_())


def test_opening_and_describing_read_no_pixels(plain, monkeypatch):
    monkeypatch.setattr(ImageFile, "strips", no_pixels)
    product = open_product(plain.path)
    assert product.to_dict() and repr(product) and product.footprint and product.fingerprint


# --- what it is


@pytest.mark.parametrize(
    ("held", "named", "chosen"),
    [
        pytest.param(("HH", "HV", "VH", "VV"), None, "HH", id="HH"),
        pytest.param(("VH", "VV"), None, "VV", id="VV before VH"),
        pytest.param(("HV", "VH"), None, "HV", id="the first"),
        pytest.param(("HV",), None, "HV", id="the only one"),
        pytest.param(("HH", "HV"), "HV", "HV", id="the image that was opened"),
    ],
)
def test_a_polarisation_is_chosen_where_none_is_named(plain, held, named, chosen):
    product = dataclasses.replace(plain, polarizations=held, default_polarization=named)
    assert product.choose_polarization() == chosen and f"IMG-{chosen}-" in product.name


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:2263", 1200 / 3937), ("EPSG:32654", 1.0)])
def test_spacing_is_in_metres_whatever_the_unit_of_the_map(plain, crs, metres):
    grid = MapGrid(rasterio.crs.CRS.from_user_input(crs), rasterio.Affine(10, 0, 9e5, 0, -20, 2e5))
    assert dataclasses.replace(plain, grid=grid).spacing_m == pytest.approx((20 * metres, 10 * metres))


def test_a_fingerprint_is_of_the_files_that_are_named(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    product = open_product(folder)
    before = product.fingerprint
    for name in ("VOL", "TRL"):
        (path,) = folder.glob(f"{name}-*")
        path.write_bytes(path.read_bytes() + b"x")
    assert product.fingerprint == before and not {"VOL", "TRL"} & {file.name[:3] for file in product.files}
    image_of(folder).write_bytes(image_of(folder).read_bytes() + b"x")
    assert product.fingerprint != before


def test_a_fingerprint_of_moved_files_says_what_is_missing(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    product = open_product(folder)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(Alos2TutError, match=r"-UBSR2\.1GUD: cannot be read \(No such file.*moved"):
        _ = product.fingerprint


def test_a_footprint_in_slant_range_is_what_is_stated(slc):
    assert len(slc.footprint) == 4 and dataclasses.replace(slc, stated_footprint=()).footprint == ()


def test_a_product_without_images_has_no_quantity(plain):
    calibration = {"quantity", "calibration_factor_db", "calibration_source"}
    assert None not in [plain.to_dict()[name] for name in calibration]
    product = dataclasses.replace(plain, polarizations=(), quantity="")
    assert {product.to_dict()[name] for name in calibration} == {None}
    assert "quantity" not in product._repr_html_() and isinstance(product.calibration_factor_db, float)
    with pytest.raises(Alos2TutError, match="holds no backscatter images"):
        product.is_converted("gamma0")


def test_help_explains_every_field():
    told = Product.__doc__ or ""
    explained = re.findall(r"^        (\w+): ", told.partition("Attributes:")[2], re.MULTILINE)
    assert sorted(explained) == sorted(field.name for field in dataclasses.fields(Product))


def test_products_go_into_sets(plain):
    again = open_product(plain.path)
    assert {plain, plain, again} == {plain, again} and len({plain, again}) == 2 and plain != again


def test_blocks_that_nobody_wants_end_their_thread(small):
    before = threading.active_count()
    blocks = small.blocks(rows=10)
    next(blocks)
    assert threading.active_count() == before + 1
    blocks.close()
    assert threading.active_count() == before


def test_a_file_that_ends_between_blocks_is_told(small_scene, tmp_path):
    folder = shutil.copytree(small_scene, tmp_path / "product")
    blocks = open_product(folder).blocks(rows=10)
    next(blocks)
    image = next(folder.glob("IMG-*"))
    os.truncate(image, 100_000)
    with pytest.raises(Alos2TutError, match=rf"{image.name}.*truncated"):
        list(blocks)
