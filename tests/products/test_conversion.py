"""Incidence angles, and σ0 and γ0 made of each other by them."""

import dataclasses
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.packagings import image_of
from support.products import (
    SCENE_ID,
    TIFF_NAME,
    UTM54,
    amplitudes,
    complex_numbers,
    read_by_gdal,
    with_gaps,
    write_ceos,
    write_geotiff,
)

from alos2tut import Alos2TutError, Alos2TutWarning, Product, open_product
from alos2tut.products import reading
from alos2tut.products.metadata import MapGrid

EARTH_M = 6_371_000.0


UTM_CRS = rasterio.crs.CRS.from_epsg(32654)


def test_a_conversion_does_not_depend_on_strips(coarse, monkeypatch):
    whole = coarse.read_power(quantity="gamma0", looks=(30, 50))
    monkeypatch.setattr(reading, "_STRIP_PX", 1)
    np.testing.assert_array_equal(coarse.read_power(quantity="gamma0", looks=(30, 50)), whole)


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
    assert product.describe_conversion() == told
    # to first order it is the change of the cosine
    slant = 628e3 / np.cos(np.radians(incidence_deg))
    edge = np.radians(incidence_deg) + 2.5 * width / 2 * np.cos(np.radians(incidence_deg)) / slant
    change = 10 * np.log10(np.cos(np.radians(incidence_deg)) / np.cos(edge))
    assert float(error[1:5]) == pytest.approx(change, rel=0.25)


def test_the_error_of_one_angle_in_slant_range_is_that_of_the_ground(slc):
    one_angle = dataclasses.replace(slc, slant_range_incidence=None, shape=(48, 10_000), incidence_deg=36.3)
    ground = one_angle.spacing_m[1] / np.sin(np.radians(36.3))
    on_a_map = dataclasses.replace(one_angle, grid=MapGrid(UTM_CRS, rasterio.Affine.scale(ground)))
    assert (
        one_angle.describe_conversion() == on_a_map.describe_conversion()
        and "0.00" not in one_angle.describe_conversion()
    )
    for unknown in ({"stated_spacing_m": None}, {"scan": 3}):
        assert "off by an unknown amount" in dataclasses.replace(one_angle, **unknown).describe_conversion()


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
            np.testing.assert_allclose(10 * np.log10(result["HH"]), centered.read_db() + 0.937, atol=1e-3)


def test_the_products_own_quantity_needs_no_warning(centered):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert centered.read_db(quantity="sigma0").tobytes() == centered.read_db().tobytes()


def test_an_unknown_quantity_is_refused(small):
    with pytest.raises(Alos2TutError, match=r"quantity.*beta.*beta0.*gamma0"):
        small.read_db((0, 0, 5, 5), quantity="beta")


@pytest.mark.parametrize(("own", "asked"), [("sigma0", "beta0"), ("sigma0", "relative"), ("beta0", "gamma0")])
def test_beta0_and_relative_power_are_never_converted(small, own, asked):
    product = dataclasses.replace(small, quantity=own)
    with pytest.raises(Alos2TutError, match=f"cannot turn {own} into {asked}"):
        product.read_db((0, 0, 5, 5), quantity=asked)
    assert product.read_db((0, 0, 5, 5), quantity=own).shape == (5, 5)


def test_a_conversion_without_incidence_is_refused(tmp_path):
    product = open_product(write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54))
    # also before the first block is asked for
    for read in (product.read_db, product.blocks):
        with pytest.raises(Alos2TutError, match=r"cannot turn sigma0 into gamma0.*no incidence.*Read sigma0"):
            read(quantity="gamma0")


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


def level22(folder: Path, dn: np.ndarray, angle: np.ndarray) -> Product:
    """γ0 with local incidence in hundredths of a degree."""
    for layer, values in (("HH_SLP", dn), ("LIN", angle)):
        write_geotiff(folder / f"{SCENE_ID}_WBDR2.2GUD_{layer}.tif", values, UTM54)
    return open_product(folder)


def test_gamma0_of_level_22_becomes_sigma0_before_averaging(tmp_path):
    draw = np.random.default_rng(5)
    dn, angle = draw.integers(1, 5000, (48, 40)), draw.integers(1500, 7500, (48, 40))
    power = dn**2 * 10**-8.3 * np.cos(np.radians(0.01 * angle))
    found = level22(tmp_path, dn, angle).read_power(quantity="sigma0", looks=(6, 5))
    np.testing.assert_allclose(found, power.reshape(8, 6, 8, 5).mean(axis=(1, 3)), rtol=1e-5)


def test_slopes_turned_away_from_the_radar_have_no_other_quantity(tmp_path):
    product = level22(tmp_path, np.full((1, 4), 100), np.array([[8999, 9000, 9500, 65535]]))
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
    product = level22(tmp_path, dn, angle)
    np.testing.assert_array_equal(np.isnan(product.read_power(quantity="sigma0")), angle == 0)
    blocks = product.read_power(quantity="sigma0", looks=2)
    np.testing.assert_array_equal(np.isnan(blocks), [[False, False, True, False], 4 * [False]])
    np.testing.assert_allclose(blocks[0, 0], 1e4 * 10**-8.3 * 0.5, rtol=1e-5)
