"""Known answers of radiometry: calibration, decibels, looks."""

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from support.memory import peak_below
from support.properties import examples

from alos2tut import Alos2TutError, radiometry
from alos2tut.core import validation

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # affine 3 would like @ for *
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


def test_amplitude_numbers_become_power_by_their_square():
    assert f"{radiometry.to_db(radiometry.dn_to_power(1)):.1f}" == "-83.0"
    assert radiometry.to_db(radiometry.dn_to_power([10, 65535])) == pytest.approx([-63, 20 * np.log10(65535) - 83])
    power = radiometry.dn_to_power([3.0, 900.0], calibration_factor_db=-79.0)
    assert radiometry.to_db(power / radiometry.dn_to_power([3.0, 900.0])) == pytest.approx([4.0, 4.0])


def test_every_digital_number_survives_the_way_to_power_and_back():
    dn = np.arange(65536)
    assert np.array_equal(np.rint(radiometry.power_to_dn(radiometry.dn_to_power(dn))), dn)
    assert np.isnan(radiometry.power_to_dn(-1.0))


def test_decibels_of_odd_power_say_so_without_a_warning():
    db = radiometry.to_db([0.0, -1.0, np.nan, 1.0])
    assert db[0] == -np.inf and np.isnan(db[1:3]).all() and db[3] == 0


def test_gamma0_and_beta0_are_sigma0_over_the_cosine_and_the_sine_of_incidence():
    assert radiometry.sigma0_to_gamma0(1.0, 60.0) == pytest.approx(2.0)
    assert radiometry.gamma0_to_sigma0(2.0, 60.0) == pytest.approx(1.0)
    assert radiometry.sigma0_to_beta0(0.5, 30.0) == pytest.approx(1.0)
    assert radiometry.beta0_to_sigma0(1.0, 30.0) == pytest.approx(0.5)
    power = np.ones(3, dtype=np.float32)
    assert radiometry.sigma0_to_gamma0(power, 40.0).dtype == radiometry.sigma0_to_beta0(power, 40.0).dtype == np.float64
    assert radiometry.subtract_noise(power, -20.0).dtype == np.float64


def test_looks_average_power_and_not_decibels():
    power = radiometry.to_power(np.array([[0.0, -20.0], [0.0, -20.0]]))
    assert radiometry.to_db(radiometry.multilook(power, 2))[0, 0] == pytest.approx(10 * np.log10(0.505), abs=1e-5)


def test_partial_blocks_average_what_they_have_if_that_is_half():
    power = np.arange(15.0).reshape(3, 5)
    expected = [[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2], [10.5, 12.5, 14]]
    assert radiometry.multilook(power, 2) == pytest.approx(np.array(expected))
    power[0, :2] = power[0, 2:4] = power[1, 2] = np.nan
    expected[0][:2] = (5 + 6) / 2, np.nan
    assert radiometry.multilook(power, 2) == pytest.approx(np.array(expected), nan_ok=True)


@examples(60)
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
    # the numbers once more, without those missing, and their mask
    with peak_below(12 * power.size):
        radiometry.multilook(power, 4)
    # a look far larger than the image costs nothing
    assert radiometry.multilook(np.full((3, 4), 2.0), 10**9) == pytest.approx(np.array([[2.0]]))


@pytest.mark.parametrize("looks", [0, -2, 2.5, "2", None, (2, 2, 2), (1, 0), True, (2, False)])
def test_looks_that_are_no_whole_numbers_are_refused(looks):
    with pytest.raises(Alos2TutError, match="looks"):
        validation.look_pair(looks)


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
    found, looked = (radiometry.mean_square(z, looks) for looks in ((1, 1), (2, 2)))
    # 1e60 goes into no float32
    np.testing.assert_allclose(found, [[25, np.nan, 36, 64], [np.nan, np.nan, np.nan, 1e-6]], rtol=1e-6)
    np.testing.assert_allclose(looked, [[np.nan, (36 + 64 + 1e-6) / 3]], rtol=1e-6)


def test_weights_go_before_averaging():
    dn, weight = np.array([[10, 20], [0, 40]], dtype=np.uint16), np.array([[1, 2], [100, 0.5]], dtype=np.float32)
    found = radiometry.mean_square(dn, (2, 2), weight=weight)
    assert found == pytest.approx(np.array([[(100 + 800 + 800) / 3]]))
    # a pixel whose weight is not known counts as missing
    weight[0] = np.nan, np.inf
    assert np.isnan(radiometry.mean_square(dn, (2, 2), weight=weight)).all()
    np.testing.assert_array_equal(radiometry.mean_square(dn, (1, 1), weight=weight), [[np.nan, np.nan], [np.nan, 800]])


def test_what_is_squared_stays_as_it_is():
    dn, z = np.array([[3, 0]], dtype=np.uint16), np.array([[3j, 0]], dtype=np.complex64)
    for numbers in (dn, z):
        before = numbers.copy()
        radiometry.mean_square(numbers, (1, 2), weight=np.full((1, 2), 2.0))
        assert numbers.tobytes() == before.tobytes()


# --- angles, noise, range


def test_complex_numbers_become_power_by_their_squared_modulus():
    z = np.array([3 + 4j, -2j, 0, complex(np.nan, 1)], dtype=np.complex64)
    factor = radiometry.CALIBRATION_FACTOR_DB + radiometry.SLC_OFFSET_DB
    power = radiometry.dn_to_power(z, factor)
    assert power.dtype == np.float64
    assert power == pytest.approx(np.array([25, 4, 0, np.nan]) * 10**-11.5, nan_ok=True)


def test_squares_of_the_largest_numbers_do_not_overflow():
    dn = np.array([65535], dtype=np.uint16)
    for numbers in (dn, dn.astype(">u2"), dn.astype(np.float32)):
        assert radiometry.to_db(radiometry.dn_to_power(numbers)) == pytest.approx([13.33], abs=0.005)
    assert radiometry.dn_to_power(np.complex64(3e30)) == pytest.approx(9e60 * 10**-8.3)


@pytest.mark.parametrize(
    ("convert", "at_zero"),
    [
        (radiometry.sigma0_to_gamma0, 2.0),
        (radiometry.gamma0_to_sigma0, 2.0),
        (radiometry.sigma0_to_beta0, np.nan),
        (radiometry.beta0_to_sigma0, np.nan),
    ],
)
def test_angles_from_where_no_echo_returns_give_no_number(convert, at_zero):
    found = convert(2.0, [0, -1e-6, 90, 90.001, 180, 400, -40, np.nan, np.inf])
    almost = convert(2.0, 89.999)
    single = convert(np.ones(3, dtype=np.float32), np.float32([30, 95, 40]))
    assert found[0] == pytest.approx(at_zero, nan_ok=True)
    assert np.isnan(found[1:]).all() and np.isfinite(almost)
    assert single.dtype == np.float32 and np.isnan(single).tolist() == [False, True, False]


def test_thermal_noise_makes_dark_ground_too_bright():
    assert radiometry.noise_bias_db(-24, -26) == pytest.approx(2.12, abs=0.005)
    assert radiometry.noise_bias_db([-26, 0, -100], -26) == pytest.approx([3.01, 0.011, 74], abs=0.005)


def test_power_without_noise_is_unbiased_though_partly_negative():
    draw = np.random.default_rng(3)
    floor, ground = 10**-2.6, 10**-2.4
    power = draw.exponential(ground + floor, 400_000)
    found = radiometry.subtract_noise(power, -26)
    assert found.mean() == pytest.approx(ground, rel=0.01)
    assert found.var() == pytest.approx(power.var())
    assert (found < 0).mean() == pytest.approx(1 - np.exp(-floor / (ground + floor)), abs=0.003)
    assert (np.isnan(radiometry.to_db(found)) == (found < 0)).all()


def test_sixteen_bits_reach_over_96_decibels():
    assert radiometry.dn_range_db() == pytest.approx((-83.0, 13.33), abs=0.005)
    assert radiometry.dn_range_db(-79) == pytest.approx((-79.0, 17.33), abs=0.005)
    ends = radiometry.dn_to_power([1, radiometry.SATURATED_DN])
    assert radiometry.to_db(ends) == pytest.approx(radiometry.dn_range_db())


@pytest.mark.parametrize(
    ("dn", "options", "share"),
    [
        (np.array([[0, 65535], [7, 9]], dtype=np.uint16), {}, 1 / 3),
        (np.array([0, 65535, 7, 9, 1], dtype=">u2"), {"no_data": (0, 1)}, 1 / 3),
        (np.array([np.nan, 65535, 65534]), {}, 1 / 2),
        (np.ma.array([65535, 65535, 7], mask=[True, False, False]), {}, 1 / 2),
        (np.array([65535, 65535, 4]), {"no_data": (0, 65535)}, 0),
        (np.zeros((2, 2), dtype=np.uint16), {}, np.nan),
        (np.array([]), {}, np.nan),
    ],
)
def test_the_share_of_saturated_pixels_counts_pixels_with_data(dn, options, share):
    assert radiometry.saturated_share(dn, **options) == pytest.approx(share, nan_ok=True)


# --- what counts as a number


MASKED = np.ma.masked_equal(np.array([[4, 9], [16, 25]], dtype=np.uint16), 9)


@pytest.mark.parametrize(
    "convert",
    [
        radiometry.to_db,
        radiometry.to_power,
        radiometry.dn_to_power,
        radiometry.power_to_dn,
        lambda power: radiometry.sigma0_to_gamma0(power, 40.0),
        lambda angle: radiometry.sigma0_to_beta0(1.0, angle),
        lambda power: radiometry.subtract_noise(power, -20.0),
        lambda db: radiometry.noise_bias_db(db, -20.0),
        lambda power: radiometry.multilook(power, 1),
        lambda dn: radiometry.mean_square(dn, (1, 1)),
        radiometry.real_power,
        radiometry.power_image,
    ],
)
def test_masked_numbers_become_nan(convert):
    found, plain = convert(MASKED), convert(MASKED.data)
    assert not isinstance(found, np.ma.MaskedArray)
    assert np.isnan(found).tolist() == [[False, True], [False, False]]
    np.testing.assert_array_equal(found[~MASKED.mask], plain[~MASKED.mask])
    with pytest.raises(Alos2TutError, match="unequal lengths"):
        convert([[1, 2], [3]])
    with pytest.raises(Alos2TutError, match="not numbers"):
        convert([["1", "2"]])


def test_power_of_speckle_is_positive_or_missing():
    given_power = [0, 1e-19, 1e-18, 2, 1e18, np.inf, np.nan]
    np.testing.assert_array_equal(radiometry.real_power(given_power), [np.nan, np.nan, 1e-18, 2, 1e18, np.nan, np.nan])
    whole = np.ones((2, 3), dtype=np.float32)
    assert radiometry.power_image(whole) is whole
    assert radiometry.real_power(np.array([3, 0], dtype=np.uint8)).dtype == np.float32
    for power, message in ([1e19], "exceeds"), ([-1.0, np.inf], "negative"), ([-np.inf, 1], "negative"), (1j, "compl"):
        with pytest.raises(Alos2TutError, match=message):
            radiometry.real_power(power)


def test_zero_and_negative_power_count_in_averages_and_infinite_power_is_missing():
    assert radiometry.multilook([[0.0, 4.0], [-1.0, 1.0]], 2) == pytest.approx(np.array([[1.0]]))
    power = np.array([[np.inf, 1.0], [-np.inf, 3.0]])
    np.testing.assert_array_equal(radiometry.multilook(power, 1), [[np.nan, 1], [np.nan, 3]])
    np.testing.assert_array_equal(radiometry.multilook(power, 2), [[2]])


@pytest.mark.parametrize("shape", [(4,), (0, 3), (3, 0), (2, 2, 2), ()])
@pytest.mark.parametrize(
    "average",
    [
        lambda image: radiometry.multilook(image, 2),
        lambda image: radiometry.mean_square(image, (2, 2)),
        radiometry.power_image,
    ],
)
def test_what_is_no_image_is_refused(average, shape):
    with pytest.raises(Alos2TutError, match="rows, columns"):
        average(np.ones(shape))


def test_complex_power_is_refused():
    for convert in (radiometry.to_db, radiometry.power_to_dn, lambda power: radiometry.multilook(power, 2)):
        with pytest.raises(Alos2TutError, match="squared magnitude"):
            convert(np.ones((2, 2)) * 1j)
    with pytest.raises(Alos2TutError, match="complex"):
        radiometry.saturated_share(np.array([65535 + 0j]))


def test_mean_squares_take_any_order_of_memory_and_any_list_for_no_data():
    z = np.asfortranarray(np.arange(12).reshape(3, 4) * (1 + 1j), dtype=np.complex64)
    np.testing.assert_array_equal(radiometry.mean_square(z, 2), radiometry.mean_square(np.ascontiguousarray(z), 2))
    dn = np.array([[0, 3], [4, 0]], dtype=np.uint16)
    assert radiometry.mean_square(dn, (2, 2), no_data=()) == pytest.approx(np.array([[25 / 4]]))
    as_floats = np.array([[np.nan, 3], [4, 0]])
    assert radiometry.mean_square(as_floats, [2, 2]) == pytest.approx(np.array([[25 / 2]]))


# --- means over areas


@pytest.mark.parametrize("looks", [(1, 1), (2, 3), (5, 4)])
def test_means_over_areas_of_whole_pixels_are_those_of_looks(looks):
    power = np.random.default_rng(0).gamma(2, size=(23, 31)).astype(np.float32)
    power[np.random.default_rng(1).random(power.shape) < 0.3] = np.nan
    rows, cols = (
        np.append(np.arange(0, size, n), size).astype(float) for size, n in zip(power.shape, looks, strict=True)
    )
    np.testing.assert_allclose(radiometry.area_means(power, rows, cols), radiometry.multilook(power, looks), rtol=1e-6)


def test_means_over_areas_count_pixels_that_are_cut_by_their_share():
    power = np.array([[1.0, 2.0, 6.0], [3.0, np.nan, 4.0]])
    # one and a half pixels a side; what is missing counts for nothing
    found = radiometry.area_means(power, np.array([0, 1.5, 2.0]), np.array([0, 1.5, 3.0]))
    first = (1 * 1 + 0.5 * 2 + 0.5 * 3) / (1 + 0.5 + 0.5)
    second = (0.5 * 2 + 6 + 0.5 * 4) / (0.5 + 1 + 0.5)
    np.testing.assert_allclose(found, [[first, second], [3.0, 4.0]], rtol=1e-6)


def test_areas_smaller_than_pixels_take_their_values():
    power = np.array([[1.0, 9.0]])
    np.testing.assert_allclose(
        radiometry.area_means(power, np.array([0, 0.5, 1]), np.array([0, 0.75, 1.5, 2])),
        [[1, (0.25 + 0.5 * 9) / 0.75, 9]] * 2,
    )


def test_an_area_of_which_less_than_half_is_known_is_unknown():
    power = np.array([[1.0, np.nan, 5.0, np.nan]])
    # known are 1 of 1.8 pixels, 0.4 of 0.6, and 0.6 of 1.6
    found = radiometry.area_means(power, np.array([0.0, 1.0]), np.array([0, 1.8, 2.4, 4.0]))
    np.testing.assert_allclose(found, [[1.0, 5.0, np.nan]], rtol=1e-6)
