"""Known answers of the laws of speckle, and of speckle drawn by them."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from alos2tut import Alos2TutError, speckle

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
LOOKS = [1, 2, 4, 7]


def gamma_speckle(looks: float) -> np.ndarray:
    return np.random.default_rng(7).gamma(looks, 1 / looks, 200_000)


@pytest.mark.parametrize("looks", LOOKS)
def test_speckle_varies_by_one_over_the_root_of_its_looks(looks):
    power = 0.02 * gamma_speckle(looks)
    assert speckle.coefficient_of_variation(power) == pytest.approx(looks**-0.5, rel=0.01)
    assert speckle.expected_cv(looks) == pytest.approx(looks**-0.5)
    assert speckle.expected_cv(looks, math.inf) == pytest.approx(looks**-0.5)


@pytest.mark.parametrize(
    ("looks", "bias", "spread"), [(1, -2.51, 5.57), (2, -1.17, 3.49), (4, -0.57, 2.31), (7, -0.32, 1.70)]
)
def test_decibels_of_speckle_are_biased_and_spread_as_published(looks, bias, spread):
    assert speckle.db_bias(looks) == pytest.approx(bias, abs=0.005)
    assert speckle.db_spread(looks) == pytest.approx(spread, abs=0.005)
    db = 10 * np.log10(gamma_speckle(looks))
    assert (db.mean(), db.std()) == pytest.approx((bias, spread), abs=0.03)


@pytest.mark.parametrize("looks", LOOKS)
def test_gamma_density_is_a_density_with_the_right_moments(looks):
    def moment(order):
        return integrate.quad(lambda p: p**order * speckle.gamma_density(p, looks, mean=0.3), 0, 20)[0]

    assert (moment(0), moment(1)) == pytest.approx((1, 0.3), rel=1e-5)
    assert moment(2) - moment(1) ** 2 == pytest.approx(0.3**2 / looks, rel=1e-4)


K_LAWS = [(1, 4), (3, 4), (4, 4), (1, 0.7), (2.5, 49.9), (2.5, 52.6), (300, 5), (3, 1e3), (3, 1e6), (3, 9e7)]


@pytest.mark.parametrize(("looks", "order"), K_LAWS)
def test_k_density_is_a_density_with_the_right_moments(looks, order):
    def moment(n):
        return integrate.quad(
            lambda u: math.exp(u * (n + 1)) * speckle.k_density(math.exp(u), looks, order, mean=0.3),
            -60,
            8,
            limit=400,
            points=[math.log(0.3)],
        )[0]

    mean, mean_square = moment(1), moment(2)
    assert (moment(0), mean) == pytest.approx((1, 0.3), rel=1e-7)
    assert mean_square / mean**2 - 1 == pytest.approx(speckle.expected_cv(looks, order) ** 2, rel=1e-6)


@pytest.mark.parametrize(("looks", "order"), [(3, 4), (1, 30), (2, 49), (3, 60), (2, 300)])
def test_k_density_is_gamma_speckle_averaged_over_gamma_texture(looks, order):
    # the middle of each of many equally probable parts of the texture's law
    texture = stats.gamma.ppf((np.arange(400_000) + 0.5) / 400_000, order, scale=1 / order)
    for power in (0.03, 0.5, 1, 4):
        expected = stats.gamma.pdf(power, looks, scale=texture / looks).mean()
        assert speckle.k_density(power, looks, order) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("order", [1e7, 1e8, 1e12, math.inf])
def test_k_density_of_hardly_any_texture_is_the_gamma_law(order):
    power = np.geomspace(1e-12, 5, 50)
    np.testing.assert_allclose(speckle.k_density(power, 3, order), speckle.gamma_density(power, 3), rtol=1e-4)


def test_k_density_at_the_ends_of_its_range():
    # at one look, zero power has the density ν / (ν − 1)
    found = speckle.k_density([0, 1e-300, -1, np.nan, np.inf, 1e200], 1, 4)
    np.testing.assert_allclose(found, [4 / 3, 4 / 3, 0, np.nan, 0, 0], rtol=1e-9)
    assert speckle.k_density(np.zeros((2, 3)), 3, 3) == pytest.approx(np.zeros((2, 3)))
    # density falls with I^(L − 1), here also where the Bessel function itself is beyond a float
    small = speckle.k_density([1e-40, 1e-20], 2, 45)
    assert small[1] / small[0] == pytest.approx(1e20, rel=1e-9)


@pytest.mark.parametrize(
    ("looks", "correlation", "second"), [(1, 0, 0), (2.5, 0, 0), (1, 0.44, 0.0267), (3, 0.1, 0.0007), (2, 0.5, 0.0625)]
)
def test_drawn_speckle_has_the_law_and_the_correlation_asked_for(looks, correlation, second):
    power = speckle.draw_speckle((600, 700), looks, seed=4, correlation=correlation)
    assert power.shape == (600, 700)
    assert power.mean() == pytest.approx(1, abs=0.01)
    assert power.var() == pytest.approx(1 / looks, rel=0.02)
    # pixels three apart are independent, so that the law can be tested on them
    assert stats.kstest(power[::3, ::3].ravel(), stats.gamma(looks, scale=1 / looks).cdf).pvalue > 0.01
    for along in speckle.autocorrelation(power, 4):
        assert along == pytest.approx([1, correlation, second, 0, 0], abs=0.012)
    diagonal = np.corrcoef(power[1:, 1:].ravel(), power[:-1, :-1].ravel())[0, 1]
    assert diagonal == pytest.approx(correlation**2, abs=0.012)


def test_equal_seeds_draw_equal_speckle():
    draws = [speckle.draw_speckle((5, 6), 2, seed, correlation=0.3) for seed in (1, 1, 2)]
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).all()


def test_hardly_any_correlation_is_drawn_as_such():
    power = speckle.draw_speckle((300, 300), 1, 2, correlation=1e-20)
    assert power.var() == pytest.approx(1, abs=0.03) and power.mean() == pytest.approx(1, abs=0.02)
    assert speckle.autocorrelation(power, 1)[0][1] == pytest.approx(0, abs=0.015)


@pytest.mark.parametrize(
    ("where", "function", "arguments", "options"),
    [
        ("looks", speckle.db_bias, (0,), {}),
        ("looks", speckle.db_spread, (-1,), {}),
        ("looks", speckle.expected_cv, (math.nan,), {}),
        ("looks", speckle.gamma_density, (1, math.inf), {}),
        ("looks", speckle.k_density, (1, "3", 4), {}),
        ("order", speckle.k_density, (1, 3, 0), {}),
        ("order", speckle.k_density, (1, 3, math.nan), {}),
        ("order", speckle.expected_cv, (3, -4), {}),
        ("mean", speckle.gamma_density, (1, 3), {"mean": 0}),
        ("mean", speckle.k_density, (1, 3, 4), {"mean": math.inf}),
        ("seed", speckle.draw_speckle, ((3, 3), 1, -1), {}),
        ("shape", speckle.draw_speckle, ((-1, 3), 1, 1), {}),
        ("shape", speckle.draw_speckle, (9, 1, 1), {}),
        ("looks", speckle.draw_speckle, ((3, 3), 0, 1), {}),
        ("looks", speckle.draw_speckle, ((3, 3), 1e9, 1), {"correlation": 0.1}),
        ("looks", speckle.draw_speckle, ((3, 3), 2.5, 1), {"correlation": 0.1}),
        ("correlation", speckle.draw_speckle, ((3, 3), 1, 1), {"correlation": "0.1"}),
        ("correlation", speckle.draw_speckle, ((3, 3), 1, 1), {"correlation": 0.6}),
        ("correlation", speckle.draw_speckle, ((3, 3), 1, 1), {"correlation": -0.1}),
    ],
)
def test_what_cannot_be_is_refused_by_name(where, function, arguments, options):
    with pytest.raises(Alos2TutError) as refusal:
        function(*arguments, **options)
    assert refusal.value.where == where
