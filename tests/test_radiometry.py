"""Known answers of radiometry: calibration, decibels, looks."""

import tracemalloc
import warnings

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from alos2tut import Alos2TutError, radiometry


@pytest.mark.parametrize(
    ("dn", "db"),
    [
        pytest.param(1, -83.0, id="smallest number"),
        pytest.param(10, -63.0, id="ten times the amplitude is 20 dB"),
        pytest.param(65535, 20 * np.log10(65535) - 83, id="largest number"),
    ],
)
def test_amplitude_numbers_become_power_by_their_square(dn, db):
    assert radiometry.to_db(radiometry.dn_to_power(dn)) == pytest.approx(db, abs=1e-9)


def test_another_calibration_factor_shifts_by_its_difference():
    power = radiometry.dn_to_power([3.0, 900.0], calibration_factor_db=-79.0)
    assert radiometry.to_db(power / radiometry.dn_to_power([3.0, 900.0])) == pytest.approx([4.0, 4.0])


def test_every_digital_number_survives_the_way_to_power_and_back():
    dn = np.arange(65536)
    assert np.array_equal(np.rint(radiometry.power_to_dn(radiometry.dn_to_power(dn))), dn)


def test_decibels_of_odd_power_say_so_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        db = radiometry.to_db([0.0, -1.0, np.nan, 1.0])
    assert db[0] == -np.inf and np.isnan(db[1:3]).all() and db[3] == 0


def test_gamma0_is_sigma0_over_the_cosine_of_incidence():
    assert radiometry.sigma0_to_gamma0(1.0, 60.0) == pytest.approx(2.0)
    assert radiometry.gamma0_to_sigma0(radiometry.sigma0_to_gamma0(0.3, 36.3), 36.3) == pytest.approx(0.3)


def test_looks_average_power_and_not_decibels():
    power = radiometry.to_power(np.array([[0.0, -20.0], [0.0, -20.0]]))
    assert radiometry.to_db(radiometry.multilook(power, 2))[0, 0] == pytest.approx(10 * np.log10(0.505), abs=1e-5)


def test_partial_blocks_average_what_they_have():
    power = np.arange(15.0).reshape(3, 5)
    expected = [[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2], [10.5, 12.5, 14]]
    assert radiometry.multilook(power, 2) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    ("missing", "valid"),
    [
        pytest.param(1, True, id="one of four missing"),
        pytest.param(2, True, id="half missing"),
        pytest.param(3, False, id="three of four missing"),
    ],
)
def test_a_block_counts_if_half_of_it_has_data(missing, valid):
    power = np.full(4, 7.0)
    power[:missing] = np.nan
    assert np.isfinite(radiometry.multilook(power.reshape(2, 2), 2)[0, 0]) == valid


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    rows=st.integers(1, 16),
    cols=st.integers(1, 16),
    data=st.data(),
)
def test_looks_equal_a_plain_loop_over_blocks(height, width, rows, cols, data):
    seed = data.draw(st.integers(0, 2**20))
    random = np.random.default_rng(seed)
    power = random.exponential(size=(height, width))
    power[random.random(power.shape) < 0.4] = np.nan
    looked = radiometry.multilook(power, (rows, cols))
    for i, top in enumerate(range(0, height, rows)):
        for j, left in enumerate(range(0, width, cols)):
            block = power[top : top + rows, left : left + cols]
            have = np.isfinite(block)
            expected = block[have].mean() if 2 * have.sum() >= block.size else np.nan
            assert looked[i, j] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert looked.shape == (-(-height // rows), -(-width // cols))


def test_looks_need_little_more_than_one_copy():
    power = np.ones((1000, 1000))
    tracemalloc.start()
    try:
        radiometry.multilook(power, 4)
        # the numbers once more, without those missing, and their mask
        assert tracemalloc.get_traced_memory()[1] < 12 * power.size
    finally:
        tracemalloc.stop()


def test_one_look_far_larger_than_the_image_costs_nothing():
    assert radiometry.multilook(np.full((3, 4), 2.0), 10**9) == pytest.approx(np.array([[2.0]]))


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(0, id="zero"),
        pytest.param(-2, id="negative"),
        pytest.param(2.5, id="a fraction"),
        pytest.param("2", id="text"),
        pytest.param(None, id="none"),
        pytest.param((2, 2, 2), id="three numbers"),
        pytest.param((1, 0), id="a pair with zero"),
        pytest.param(True, id="yes"),
        pytest.param((2, False), id="a pair with no"),
    ],
)
def test_looks_that_are_no_whole_numbers_are_refused(looks):
    with pytest.raises(Alos2TutError, match="looks"):
        radiometry.look_pair(looks)


def test_real_ocean_and_land_have_the_levels_that_were_measured(mosaic):
    with rasterio.open(mosaic / "crop_N23W161_20_sl_HH_F02DAR.tif") as image:
        power = radiometry.dn_to_power(image.read(1))
    with rasterio.open(mosaic / "crop_N23W161_20_mask_F02DAR.tif") as layer:
        mask = layer.read(1)
    assert radiometry.to_db(power[mask == 50].mean()) == pytest.approx(-18.10, abs=0.01)
    assert radiometry.to_db(power[mask == 255].mean()) == pytest.approx(-7.90, abs=0.01)


# --- squares of what a file holds


@pytest.mark.parametrize("dtype", [">u2", "<u2", "u2"])
@pytest.mark.parametrize("no_data", [(0,), (0, 1), (0, 7, 65535)])
def test_mean_squares_leave_out_the_numbers_for_no_data(dtype, no_data):
    dn = np.random.default_rng(1).choice([0, 1, 7, 1000, 65535], (6, 8)).astype(dtype)
    expected = np.where(np.isin(dn, no_data), np.nan, dn.astype(float) ** 2)
    np.testing.assert_allclose(radiometry.mean_square(dn, (1, 1), no_data=no_data), expected, rtol=1e-6)
    blocks = radiometry.multilook(expected, (2, 4))
    np.testing.assert_allclose(radiometry.mean_square(dn, (2, 4), no_data=no_data), blocks, rtol=1e-6)


@pytest.mark.parametrize("dtype", [">c8", "<c8"])
def test_mean_squares_of_complex_numbers_are_of_their_moduli(dtype):
    z = np.array([[3 + 4j, 0, 6j, -8], [complex(np.nan, 1), complex(1, np.inf), 1e30, 1e-3]]).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = radiometry.mean_square(z, (1, 1))
        looked = radiometry.mean_square(z, (2, 2))
    # 1e60 goes into no float32
    np.testing.assert_allclose(found, [[25, np.nan, 36, 64], [np.nan, np.nan, np.nan, 1e-6]], rtol=1e-6)
    np.testing.assert_allclose(looked, [[np.nan, (36 + 64 + 1e-6) / 3]], rtol=1e-6)


def test_a_part_of_every_line_of_complex_numbers_is_squared():
    z = np.arange(60).reshape(6, 10) * (1 - 1j)
    part = z.astype(">c8")[:, 3:8]
    np.testing.assert_allclose(radiometry.mean_square(part + 0, (1, 1)), radiometry.mean_square(part, (1, 1)))
    np.testing.assert_allclose(radiometry.mean_square(part, (1, 1)), 2.0 * np.arange(60).reshape(6, 10)[:, 3:8] ** 2)


def test_weights_go_before_averaging():
    dn, weight = np.array([[10, 20], [0, 40]], dtype=np.uint16), np.array([[1, 2], [100, 0.5]], dtype=np.float32)
    found = radiometry.mean_square(dn, (2, 2), weight=weight)
    assert found == pytest.approx(np.array([[(100 + 800 + 800) / 3]]))


def test_what_is_squared_stays_as_it_is():
    dn, z = np.array([[3, 0]], dtype=np.uint16), np.array([[3j, 0]], dtype=np.complex64)
    for numbers in (dn, z):
        before = numbers.copy()
        radiometry.mean_square(numbers, (1, 2), weight=np.full((1, 2), 2.0))
        assert numbers.tobytes() == before.tobytes()


@pytest.mark.parametrize("looks", [(50, 1), (40, 7), (1000, 1000)])
@pytest.mark.parametrize("kind", ["u2", ">u2", ">c8"])
@pytest.mark.parametrize("missing", [0, 0.4, 0.99])
def test_a_row_of_blocks_in_pieces_changes_no_bit(looks, kind, missing):
    draw = np.random.default_rng(4)
    dn = draw.integers(1, 65536, (min(looks[0], 60), 33)).astype(kind)
    dn[draw.random(dn.shape) < missing] = 0
    weight = draw.random(dn.shape, dtype=np.float32)
    if missing:
        weight[::3, ::5] = np.nan
    for weights in (None, weight):
        expected = radiometry.mean_square(dn, looks, weight=weights)
        for cuts in ([], [1, 17, 33], [16, 32], range(1, len(dn))):
            row = radiometry.BlockRow(looks)
            for piece in np.split(np.arange(len(dn)), cuts):
                row.add(dn[piece], weight=None if weights is None else weights[piece])
            assert row.means().tobytes() == expected.tobytes()
