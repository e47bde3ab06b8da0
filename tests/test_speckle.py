"""Known answers of speckle statistics, from theory and from a real ocean."""

import warnings

import numpy as np
import pytest
import rasterio
from scipy import integrate, ndimage

from alos2tut import Alos2TutError, open_product, speckle

LOOKS = [pytest.param(looks, id=f"{looks} looks") for looks in (1, 2, 4, 7)]


def gamma_speckle(looks: float, size: int = 200_000) -> np.ndarray:
    return np.random.default_rng(7).gamma(looks, 1 / looks, size)


@pytest.mark.parametrize("looks", LOOKS)
def test_estimators_find_the_looks_of_gamma_speckle(looks):
    power = 0.02 * gamma_speckle(looks)
    assert speckle.enl_moments(power) == pytest.approx(looks, rel=0.02)
    assert speckle.enl_log_moments(power) == pytest.approx(looks, rel=0.02)
    assert speckle.coefficient_of_variation(power) == pytest.approx(looks**-0.5, rel=0.01)
    assert speckle.expected_cv(looks) == pytest.approx(looks**-0.5)


def test_amplitude_of_one_look_varies_by_the_rayleigh_figure():
    assert speckle.coefficient_of_variation(np.sqrt(gamma_speckle(1))) == pytest.approx(0.5227, abs=0.003)


@pytest.mark.parametrize(
    ("looks", "bias", "spread"),
    [
        pytest.param(1, -2.51, 5.57, id="1 look"),
        pytest.param(2, -1.17, 3.49, id="2 looks"),
        pytest.param(4, -0.57, 2.31, id="4 looks"),
        pytest.param(7, -0.32, 1.70, id="7 looks"),
    ],
)
def test_decibels_of_speckle_are_biased_and_spread_as_published(looks, bias, spread):
    assert speckle.db_bias(looks) == pytest.approx(bias, abs=0.005)
    assert speckle.db_spread(looks) == pytest.approx(spread, abs=0.005)
    db = 10 * np.log10(gamma_speckle(looks))
    assert (db.mean(), db.std()) == pytest.approx((bias, spread), abs=0.03)


def test_texture_adds_to_the_variation_as_the_product_model_says():
    random = np.random.default_rng(3)
    power = gamma_speckle(3, 10**6) * random.gamma(4, 1 / 4, 10**6)
    expected = (1 + 1 / 3) * (1 + 1 / 4) - 1
    assert expected == pytest.approx(0.667, abs=1e-3)
    assert speckle.expected_cv(3, 4) ** 2 == pytest.approx(expected)
    assert speckle.coefficient_of_variation(power) ** 2 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("looks", LOOKS)
def test_gamma_density_is_a_density_with_the_right_moments(looks):
    def moment(order):
        return integrate.quad(lambda p: p**order * speckle.gamma_density(p, looks, mean=0.3), 0, 20)[0]

    assert (moment(0), moment(1)) == pytest.approx((1, 0.3), rel=1e-5)
    assert moment(2) - moment(1) ** 2 == pytest.approx(0.3**2 / looks, rel=1e-4)


def test_autocorrelation_knows_rows_from_columns():
    noise = np.random.default_rng(5).standard_normal((400, 400))
    smooth = noise[:, 1:] + noise[:, :-1]
    along_x, along_y = speckle.autocorrelation(smooth, max_lag=3)
    assert along_x == pytest.approx([1, 0.5, 0, 0], abs=0.015)
    assert along_y == pytest.approx([1, 0, 0, 0], abs=0.015)


def test_autocorrelation_leaves_missing_pixels_out():
    noise = np.random.default_rng(5).standard_normal((300, 300))
    smooth = noise[:, 1:] + noise[:, :-1]
    smooth[:100] = np.nan
    assert speckle.autocorrelation(smooth, max_lag=1)[0] == pytest.approx([1, 0.5], abs=0.02)


def test_missing_and_zero_power_count_for_nothing():
    power = gamma_speckle(3, 5000)
    with_holes = np.concatenate([power, np.full(500, np.nan), np.zeros(500)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert speckle.enl_log_moments(with_holes) == pytest.approx(speckle.enl_log_moments(power))


@pytest.mark.parametrize(
    ("power", "message"),
    [
        pytest.param(np.array([1.0, -1.0, 2.0]), "negative", id="negative"),
        pytest.param(np.array([1j, 2j]), "complex", id="complex"),
        pytest.param(np.full(5, np.nan), "fewer than two", id="all missing"),
        pytest.param(np.array([]), "fewer than two", id="empty"),
        pytest.param(np.array([1.0]), "fewer than two", id="one pixel"),
    ],
)
@pytest.mark.parametrize(
    "estimate",
    [
        pytest.param(speckle.enl_moments, id="moments"),
        pytest.param(speckle.enl_log_moments, id="log-moments"),
        pytest.param(speckle.coefficient_of_variation, id="variation"),
    ],
)
def test_power_that_says_nothing_is_refused(estimate, power, message):
    with pytest.raises(Alos2TutError, match=message):
        estimate(power)


def test_a_lag_beyond_the_image_is_refused():
    with pytest.raises(Alos2TutError, match="max_lag"):
        speckle.autocorrelation(np.ones((5, 50)), max_lag=5)


def test_real_ocean_has_the_looks_and_correlation_that_were_measured(mosaic):
    power = open_product(mosaic).read_power(polarization="HH").astype(float)
    with rasterio.open(mosaic / "crop_N23W161_20_mask_F02DAR.tif") as layer:
        ocean = (layer.read(1) == 50) & np.isfinite(power)
    # windows that reach the shore would bring surf into the mean
    open_sea = ndimage.uniform_filter(ocean.astype(float), 31) > 1 - 1e-6
    mean = ndimage.uniform_filter(np.where(np.isfinite(power), power, 0), 31)
    detrended = np.where(open_sea, power / mean, np.nan)
    assert speckle.enl_moments(detrended) == pytest.approx(6.1, abs=0.1)
    assert speckle.enl_log_moments(detrended) == pytest.approx(6.8, abs=0.1)
    along_x, along_y = speckle.autocorrelation(detrended, max_lag=1)
    assert (along_x[1], along_y[1]) == pytest.approx((0.64, 0.19), abs=0.01)
