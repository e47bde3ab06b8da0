"""Reading pixels: numbers, windows, looks, layers and blocks."""

import os
import shutil
import threading
import warnings

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window
from support.memory import peak_below
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
from support.properties import examples

from alos2tut import Alos2TutError, Product, open_product
from alos2tut.products import reading

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
    with peak_below(bytes_per_px * 3001 * 3011):
        getattr(uneven, f"read_{kind}")(looks=looks)


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


def test_looks_far_larger_than_the_product_cost_nothing(small):
    with peak_below(100e6):
        assert small.read_power((0, 0, 9, 9), looks=1024).shape == (1, 1)


@pytest.mark.parametrize("scale", ["read_dn", "blocks", "to_cog"])
def test_an_unknown_polarisation_is_refused_with_those_there_are(small, tmp_path, scale):
    read = {"read_dn": small.read_dn, "blocks": small.blocks,
            "to_cog": lambda **o: small.to_cog(tmp_path / "x.tif", **o)}[scale]  # fmt: skip
    with pytest.raises(Alos2TutError, match=r"'HV'.*It holds HH"):
        read(polarization="HV")


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


def test_invalid_pixels_of_the_real_level_22_are_no_data_and_layover_and_shadow_are_data():
    from support.products import real_data

    product = open_product(real_data("palsar2_l22_scansar"))
    mask = product.read_layer("mask")
    assert [int((mask == code).sum()) for code in (2, 3, 5)] == [36, 187, 1622]
    for row in np.unique(np.flatnonzero((mask == 5).any(axis=1)) // 512):
        here = (int(row) * 512, 0, min(512, product.shape[0] - int(row) * 512), product.shape[1])
        part = mask[here[0] : here[0] + here[2]]
        np.testing.assert_array_equal(np.isnan(product.read_db(here)), np.isin(part, (0, 5)))


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
        # and a strip, whose numbers are worked on in double precision
        with peak_below(bytes_per_px * 4e6 + 7e6):
            assert read().nbytes == bytes_per_px * 4e6


def test_layers_and_numbers_that_are_not_there_are_refused(mosaic, plain):
    for product, name, message in [
        (open_product(mosaic), "masks", r"no layer 'masks'.*'mask'"),
        (open_product(mosaic), ["mask"], "is not a text"),
        (plain, "mask", r"no layer 'mask'.*without layers"),
    ]:
        with pytest.raises(Alos2TutError, match=message):
            product.read_layer(name)
    with pytest.raises(Alos2TutError, match=r"2\.1 holds amplitudes.*read_dn"):
        plain.read_slc()


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
    with peak_below(12e6):
        for _ in uneven.blocks("power", rows=100):
            pass


@pytest.mark.parametrize("rows", [0, -3, 2.5, "4", True])
def test_rows_of_a_block_are_a_whole_number(plain, rows):
    with pytest.raises(Alos2TutError, match="rows="):
        plain.blocks(rows=rows)


def test_a_block_is_no_larger_than_the_result(plain):
    assert [len(values) for _, values in plain.blocks(rows=np.int64(20))] == [20, 20, 8]
    ((area, values),) = plain.blocks(rows=10**10, looks=2)
    assert (area.height, area.width) == values.shape == (24, 20)
    np.testing.assert_array_equal(values, plain.read_db(looks=2))


@pytest.mark.parametrize(
    ("scale", "message"), [("decibel", "unknown scale 'decibel'.*Known: db, dn, power"), (["db"], "is not a text")]
)
def test_an_unknown_scale_is_refused(plain, tmp_path, scale, message):
    for use in (lambda: plain.blocks(scale), lambda: plain.to_cog(tmp_path / "x.tif", scale=scale)):
        with pytest.raises(Alos2TutError, match=message):
            use()


def test_digital_numbers_are_not_converted(plain, tmp_path):
    with pytest.raises(Alos2TutError, match=r"quantity.*not converted"):
        plain.to_cog(tmp_path / "x.tif", scale="dn", quantity="gamma0")
    assert not list(tmp_path.iterdir())


def test_blocks_that_nobody_wants_end_their_threads(small):
    before = threading.active_count()
    blocks = small.blocks(rows=10)
    next(blocks)
    assert before < threading.active_count() <= before + 2  # a thread that is done takes the next block, too
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
