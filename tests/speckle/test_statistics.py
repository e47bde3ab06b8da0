"""Known answers of speckle statistics, from theory, from simulated speckle, from a real ocean and real fields."""

import math
from itertools import product

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, special, stats
from support.memory import peak_below
from support.products import real_data
from support.properties import examples

from alos2tut import Alos2TutError, open_product, radiometry, speckle
from alos2tut.speckle import statistics

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
METHODS = ["moments", "log-moments", "maximum likelihood"]
ESTIMATORS = [speckle.enl_moments, speckle.enl_log_moments, speckle.enl_maximum_likelihood]


def gamma_speckle(looks: float, size: int | tuple[int, int] = 200_000) -> np.ndarray:
    return np.random.default_rng(7).gamma(looks, 1 / looks, size)


# --- looks


@pytest.mark.parametrize("looks", [0.3, 1, 2, 4, 7, 50])
@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_estimators_find_the_looks_of_gamma_speckle(estimate, looks):
    assert estimate(0.02 * gamma_speckle(looks)) == pytest.approx(looks, rel=0.02)


@pytest.mark.parametrize("looks", [0.05, 0.5, 1, 30, 1e4, 1e6])
def test_estimators_solve_their_equations_at_any_looks(looks):
    # two values of log power that have just the variance, or the deficit, of the law
    half = math.sqrt(special.polygamma(1, looks) / 2)
    assert speckle.enl_log_moments(np.exp([-half, half])) == pytest.approx(looks, rel=1e-5)
    deficit = math.log(looks) - special.digamma(looks)
    step = np.arccosh(math.exp(deficit))
    assert speckle.enl_maximum_likelihood(3 * np.exp([-step, step])) == pytest.approx(looks, rel=1e-5)


@given(
    factor=st.floats(1e-8, 1e8),
    shape=st.sampled_from([(400,), (20, 20), (1, 400), (4, 10, 10)]),
    method=st.sampled_from(METHODS),
)
@examples(40)
def test_enl_depends_neither_on_the_unit_nor_on_the_shape(factor, shape, method):
    power = gamma_speckle(3, 400)
    expected = speckle.enl(power, method).value
    assert speckle.enl(factor * power.reshape(shape), method).value == pytest.approx(expected, rel=1e-9)


def test_estimates_of_texture_lie_in_the_known_order():
    # texture spreads power more than the logarithm of power
    power = gamma_speckle(3) * np.random.default_rng(1).gamma(4, 1 / 4, 200_000)
    moments, likelihood, log_moments = (speckle.enl(power, m).value for m in (METHODS[0], METHODS[2], METHODS[1]))
    assert moments < likelihood < log_moments < 3


@pytest.mark.parametrize("correlation", [0, 0.2, 0.44])
@pytest.mark.parametrize("looks", [1, 3])
def test_intervals_hold_the_truth_as_often_as_they_say(looks, correlation):
    fields = [speckle.draw_speckle((32, 32), looks, seed, correlation=correlation) for seed in range(300)]
    for method in METHODS:
        estimates = [speckle.enl(field, method) for field in fields]
        # 95 % within three standard deviations of a share counted in 300
        assert np.mean([e.low <= looks <= e.high for e in estimates]) == pytest.approx(0.95, abs=0.038)
        # what the width says about the scatter is true, too
        log_width = np.mean([math.log(e.high / e.low) for e in estimates]) / (2 * stats.norm.ppf(0.975))
        assert np.std(np.log([e.value for e in estimates])) == pytest.approx(log_width, rel=0.12)


@pytest.mark.parametrize("method", METHODS)
def test_variance_of_an_enl_is_the_sum_over_its_laguerre_terms(method):
    # the closed form of the variance against the series that tells how it decorrelates; both orders of magnitude
    looks, k = 2.5, np.arange(2.0, 20_000)
    norms = np.exp(special.gammaln(looks + k) - special.gammaln(looks) - special.gammaln(k + 1))
    amplitude, factor = {
        "moments": ((k == 2).astype(float), (looks * (looks + 1)) ** 2),
        "log-moments": (2 * (special.digamma(k) + np.euler_gamma) / k, special.polygamma(2, looks) ** -2.0),
        "maximum likelihood": (1 / k, (special.polygamma(1, looks) - 1 / looks) ** -2.0),
    }[method]
    variance = statistics._ENL_ESTIMATORS[method].variance(looks)
    assert np.sum(amplitude**2 / norms) * factor == pytest.approx(variance, rel=1e-3)
    shared = statistics._shared_error(statistics._ENL_ESTIMATORS[method], looks, np.array([0.0, 0.5, 1.0]))
    expected = [np.sum(amplitude**2 / norms * rho**k) / np.sum(amplitude**2 / norms) for rho in (0, 0.5, 1)]
    assert shared == pytest.approx(expected, abs=1e-3)


def test_what_two_pixels_share_has_the_closed_form_of_one_look():
    likelihood, log_moments = (statistics._ENL_ESTIMATORS[name] for name in ("maximum likelihood", "log-moments"))
    for estimator, looks in product((likelihood, log_moments), (0.5, 1, 3)):
        # pixels that are the same share all, however slowly the series converges
        assert statistics._shared_error(estimator, looks, np.ones(1)) == [1]
    # the norms of one look are 1, so that the series is the dilogarithm without its first term
    rho = np.array([-0.3, 0.2, 0.6, 0.9])
    expected = (special.spence(1 - rho) - rho) / (math.pi**2 / 6 - 1)
    assert statistics._shared_error(likelihood, 1, rho) == pytest.approx(expected, abs=1e-6)


def test_an_estimate_says_itself_and_its_interval():
    estimate = speckle.Estimate(6.1, 5.824, 6.406, 0.95, 100, 50.0)
    assert str(estimate) == "6.10 (95 %: 5.82 to 6.41)"
    assert str(speckle.Estimate(math.inf, 30, math.inf, 0.9, 9, 9.0)) == "inf (90 %: 30.00 to inf)"


def test_an_interval_follows_from_confidence_and_samples():
    power = gamma_speckle(3, (40, 50))
    power[:3, 5:9] = np.nan
    wide, narrow = speckle.enl(power, confidence=0.99), speckle.enl(power, confidence=0.5)
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high
    assert (wide.confidence, wide.samples) == (0.99, 2000 - 12)
    quarter = speckle.enl(power, effective_samples=500)
    assert quarter.effective_samples == 500
    spread = math.sqrt(1 / (special.polygamma(1, quarter.value) - 1 / quarter.value) / 500) / quarter.value
    assert (quarter.low, quarter.high) == pytest.approx(quarter.value * np.exp([-1.96473 * spread, 1.96473 * spread]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pixels", [4, 9, 25])
def test_intervals_of_few_pixels_are_wide_enough(method, pixels):
    draws = np.random.default_rng(pixels).gamma(2, 1 / 2, (600, pixels))
    estimates = [speckle.enl(power, method) for power in draws]
    assert np.mean([e.low <= 2 <= e.high for e in estimates]) == pytest.approx(0.955, abs=0.035)


def test_an_interval_without_end_is_no_failure():
    estimate = speckle.enl([1.0, 2.0], confidence=0.999999)
    assert (estimate.low, estimate.high) == (0, math.inf)


def test_zero_masked_and_missing_pixels_are_the_same_everywhere():
    power = speckle.draw_speckle((64, 70), 2, 8, correlation=0.3)
    hole = np.random.default_rng(1).random(power.shape) < 0.2
    missing, masked = np.where(hole, np.nan, power), np.ma.array(power, mask=hole)
    for measure in (
        *(lambda p, method=method: speckle.enl(p, method).value for method in METHODS),
        speckle.coefficient_of_variation,
        speckle.effective_samples,
        speckle.autocorrelation,
        lambda p: speckle.local_moments(p, 5),
        lambda p: speckle.texture_order(p, 2, window=16).value,
        speckle.error_share_below_median,
    ):
        for same in (masked, *(np.where(hole, fill, power) for fill in (0, np.inf, 1e-30))):
            np.testing.assert_array_equal(measure(same), measure(missing))
    # missing pixels are not counted
    assert speckle.enl(missing) == speckle.enl(masked) and speckle.enl(missing).samples == np.count_nonzero(~hole)


def test_what_counts_as_power_is_bounded():
    # so that squares overflow nowhere
    for factor in (1e-15, 1e15):
        power = (factor * speckle.draw_speckle((40, 40), 3, 1)).astype(np.float32)
        assert speckle.enl(power).value == pytest.approx(3, abs=0.3)
        assert all(np.isfinite(moment).all() for moment in speckle.local_moments(power, 5))
    for factor, message in ((1e200, "exceeds 1e"), (1e-200, "fewer than two")):
        with pytest.raises(Alos2TutError, match=message):
            speckle.enl(factor * speckle.draw_speckle((40, 40), 3, 1))


MEASURES = [*ESTIMATORS, speckle.enl, speckle.effective_samples, speckle.error_share_below_median]


@pytest.mark.parametrize(
    ("power", "message"),
    [
        ([1.0, -1.0, 2.0], "negative"),
        ([1.0, -np.inf, 2.0], "negative"),
        ([1j, 2j], "complex"),
        (["1", "2"], "not numbers"),
        ([np.nan, np.nan, 0.0], "fewer than two"),
        ([], "fewer than two"),
        ([1.0], "fewer than two"),
        ([[1.0, 2.0], [3.0]], "unequal lengths"),
    ],
)
@pytest.mark.parametrize("measure", [*MEASURES, speckle.coefficient_of_variation])
def test_power_that_says_nothing_is_refused(measure, power, message):
    with pytest.raises(Alos2TutError, match=message):
        measure(power)


@pytest.mark.parametrize("value", [0.1, 1.0, 3e-8, 7e12])
@pytest.mark.parametrize("measure", [*MEASURES, lambda power: speckle.autocorrelation(power, 1)])
def test_power_that_does_not_vary_is_refused(measure, value):
    with pytest.raises(Alos2TutError, match="does not vary"):
        measure(np.full((6, 7), value))


IMAGE = np.random.default_rng(0).gamma(3, 1 / 3, (64, 64))


@pytest.mark.parametrize(
    ("where", "function", "arguments", "options"),
    [
        ("method", speckle.enl, (IMAGE, "likelihood"), {}),
        ("method", speckle.enl, (IMAGE, ["moments"]), {}),
        ("confidence", speckle.enl, (IMAGE,), {"confidence": 1.0}),
        ("confidence", speckle.enl, (IMAGE,), {"confidence": 95}),
        ("effective_samples", speckle.enl, (IMAGE,), {"effective_samples": 0}),
        ("effective_samples", speckle.enl, (IMAGE,), {"effective_samples": 4097}),
        ("effective_samples", speckle.enl, (IMAGE,), {"effective_samples": math.nan}),
        ("effective_samples", speckle.enl, (IMAGE,), {"effective_samples": "9"}),
        ("of", speckle.effective_samples, (IMAGE, "median"), {}),
        ("of", speckle.effective_samples, (IMAGE, ["mean"]), {}),
        ("max_lag", speckle.autocorrelation, (IMAGE[:5], 5), {}),
        ("max_lag", speckle.autocorrelation, (IMAGE, -1), {}),
        ("max_lag", speckle.autocorrelation, (IMAGE, 1.5), {}),
        ("max_lag", speckle.autocorrelation, (np.ones((99, 99)), 65), {}),
        ("power", speckle.autocorrelation, (IMAGE[0],), {}),
        ("power", speckle.autocorrelation, (IMAGE[:0],), {}),
        ("power", speckle.autocorrelation, (IMAGE - 1,), {}),
        ("power", speckle.autocorrelation, (IMAGE * 1j,), {}),
        ("power", speckle.autocorrelation, (IMAGE * np.nan,), {}),
        ("window", speckle.local_moments, (IMAGE, 4), {}),
        ("window", speckle.local_moments, (IMAGE, 1), {}),
        ("window", speckle.local_moments, (IMAGE, 3.0), {}),
        ("window", speckle.local_moments, (IMAGE, 65), {}),
        ("power", speckle.local_moments, (IMAGE[None], 3), {}),
        ("window", speckle.texture_order, (IMAGE, 3), {"window": 3}),
        ("window", speckle.texture_order, (IMAGE, 3), {"window": 40}),
        ("window", speckle.texture_order, (IMAGE, 3), {"window": 10**12}),
        ("window", speckle.texture_order, (IMAGE * np.nan, 3), {"window": 8}),
        ("looks", speckle.texture_order, (IMAGE, 0), {"window": 8}),
        ("confidence", speckle.texture_order, (IMAGE, 3), {"window": 8, "confidence": 0}),
        ("weights", speckle.error_share_below_median, (IMAGE, IMAGE * 1j), {}),
        ("weights", speckle.error_share_below_median, (IMAGE, IMAGE[0]), {}),
        ("weights", speckle.error_share_below_median, (IMAGE, -IMAGE), {}),
        ("weights", speckle.error_share_below_median, (IMAGE, 0 * IMAGE), {}),
    ],
)
def test_what_cannot_be_is_refused_by_name(where, function, arguments, options):
    with pytest.raises(Alos2TutError) as refusal:
        function(*arguments, **options)
    assert refusal.value.where == where


# --- what neighbours share


def test_autocorrelation_knows_rows_from_columns():
    noise = np.random.default_rng(5).exponential(size=(400, 400))
    along_x, along_y = speckle.autocorrelation(noise[:, 1:] + noise[:, :-1], max_lag=3)
    assert along_x == pytest.approx([1, 0.5, 0, 0], abs=0.015)
    assert along_y == pytest.approx([1, 0, 0, 0], abs=0.015)


def test_autocorrelation_equals_a_plain_loop_over_pairs():
    draw = np.random.default_rng(5)
    power = draw.exponential(size=(9, 11))
    power[draw.random(power.shape) < 0.3] = np.nan
    power[0, 0] = np.inf
    known = power[np.isfinite(power)]
    for lag in range(5):
        pairs = [
            (power[i, j] - known.mean()) * (power[i, j + lag] - known.mean())
            for i in range(9)
            for j in range(11 - lag)
            if np.isfinite(power[i, j]) and np.isfinite(power[i, j + lag])
        ]
        found = speckle.autocorrelation(power, max_lag=4), speckle.autocorrelation(power.T, max_lag=4)
        assert (found[0][0][lag], found[1][1][lag]) == pytest.approx([np.mean(pairs) / known.var()] * 2)


def test_a_lag_without_pairs_is_nan():
    power = np.full((6, 9), np.nan)
    power[1:3, ::4] = [[1, 2, 3], [3, 5, 4]]
    along_x, along_y = speckle.autocorrelation(power, max_lag=4)
    assert np.isnan(along_x[1:4]).all() and np.isfinite(along_x[[0, 4]]).all()
    assert np.isnan(along_y[2:]).all() and np.isfinite(along_y[:2]).all()


def true_inflation(correlation, size, exponent):
    """Σ n(h) ρ(h)^exponent / n of drawn speckle, from its kernel."""
    field = math.sqrt(correlation)
    side = (1 - math.sqrt(1 - 2 * field**2)) / (2 * field)
    lags = [1, field**2, (side**2 / (1 + 2 * side**2)) ** 2]
    return sum((2 - (k == 0)) * (size - k) / size * rho**exponent for k, rho in enumerate(lags)) ** 2


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("correlation", [0.2, 0.44])
def test_effective_samples_are_those_that_theory_gives(size, correlation):
    fields = [speckle.draw_speckle((size, size), 1, seed, correlation=correlation) for seed in range(40)]
    for of, exponent, most in (("mean", 1, 0.1), ("spread", 2, 0.05)):
        found = np.mean([speckle.effective_samples(field, of) for field in fields])
        assert found == pytest.approx(size**2 / true_inflation(correlation, size, exponent), rel=most)


def test_independent_pixels_are_worth_themselves():
    for seed in range(20):
        power = speckle.draw_speckle((50, 60), 3, seed)
        assert 0.9 * 3000 <= speckle.effective_samples(power) <= 3000
        assert 0.99 * 3000 <= speckle.effective_samples(power, "spread") <= 3000
    line = speckle.draw_speckle((100, 100), 1, 0, correlation=0.44)
    assert speckle.effective_samples(line.ravel()) == line.size


def test_neither_a_slant_nor_missing_pixels_change_what_neighbours_share():
    even = speckle.draw_speckle((128, 128), 3, 3, correlation=0.3)
    slant = even * np.linspace(0.7, 1.3, 128)[:, None] * np.linspace(0.8, 1.2, 128)
    for of in ("mean", "spread"):
        assert speckle.effective_samples(slant, of) == pytest.approx(speckle.effective_samples(even, of), rel=0.15)
    holed = even.copy()
    holed[np.random.default_rng(0).random(even.shape) < 0.5] = np.nan
    holed[:40, :60] = np.nan
    pixels = np.isfinite(holed).sum()
    # half of the neighbours are gone, and with them half of what is shared
    full = true_inflation(0.3, 128, 2) - 1
    assert pixels / speckle.effective_samples(holed, "spread") - 1 == pytest.approx(full / 2, rel=0.2)


def test_large_images_are_measured_in_strips():
    # more rows than a strip, and not a multiple of it; against a plain way
    power = speckle.draw_speckle((700, 90), 2, 3, correlation=0.4)
    power[300:310, 5:50] = np.nan
    usable = ~np.isnan(power)
    rest = statistics._about_its_plane(power, usable)
    rows, cols = np.nonzero(usable)
    basis = np.stack([np.ones(rows.size), rows, cols], axis=1)
    plane = basis @ np.linalg.lstsq(basis, power[usable], rcond=None)[0]
    np.testing.assert_allclose(rest[usable], power[usable] - plane, atol=1e-9)
    correlation, pairs = statistics._correlation_by_lag(rest, usable)
    assert correlation.shape == pairs.shape == (129, 91)
    framed, known = (np.pad(image, 64) for image in (rest, usable))
    for lag in ((0, 0), (1, 0), (0, 3), (-2, 1), (64, -45), (5, 45)):
        down, right = lag
        both = known & np.roll(known, lag, (0, 1))
        expected = np.mean((framed * np.roll(framed, lag, (0, 1)))[both]) / rest[usable].var()
        assert pairs[64 + down, 45 + right] == both.sum()
        assert correlation[64 + down, 45 + right] == pytest.approx(expected, abs=1e-9)


def test_moments_do_not_depend_on_strips(monkeypatch):
    power = speckle.draw_speckle((100, 30), 1, 4)
    power[37, 8:20] = np.nan
    whole = speckle.local_moments(power, 9)
    monkeypatch.setattr(statistics, "_STRIP_ROWS", 7)
    for cut, at_once in zip(speckle.local_moments(power, 9), whole, strict=True):
        np.testing.assert_array_equal(cut, at_once)


@pytest.mark.parametrize(
    "measure", [speckle.effective_samples, speckle.autocorrelation, lambda power: speckle.local_moments(power, 7)]
)
def test_memory_stays_a_few_times_that_of_the_image(measure):
    power = speckle.draw_speckle((2000, 500), 1, 0)
    with peak_below(4.5 * power.nbytes):
        measure(power)


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2, 2), (1, 40), (40, 1), (3, 3)])
def test_small_images_have_effective_samples(shape):
    power = np.random.default_rng(2).exponential(size=shape)
    ramp = 1 + np.arange(power.size).reshape(shape)
    assert speckle.effective_samples(ramp) == ramp.size
    if power.size <= 4:
        # too few to tell any correlation from noise
        assert speckle.effective_samples(power) == power.size
    assert 0 < speckle.effective_samples(power) <= power.size
    assert 0 < speckle.effective_samples(power, "spread") <= power.size


# --- moments and texture


@examples(40)
@given(
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    window=st.sampled_from([3, 5, 7]),
    missing=st.sampled_from([0, 0.3, 0.9, 1]),
    dtype=st.sampled_from([np.float32, np.float64, np.uint16]),
    seed=st.integers(0, 2**20),
)
def test_local_moments_equal_a_plain_loop_over_windows(height, width, window, missing, dtype, seed):
    draw = np.random.default_rng(seed)
    power = (100 * draw.exponential(size=(height, width))).astype(dtype)
    if dtype != np.uint16:
        power[draw.random(power.shape) < missing] = np.nan
        power[0, 0] = np.inf
    if window > min(power.shape):
        return
    mean, variance = speckle.local_moments(power, window)
    assert mean.dtype == variance.dtype == (np.float64 if dtype == np.float64 else np.float32)
    half = window // 2
    for i in range(height):
        for j in range(width):
            around = power[max(i - half, 0) : i + half + 1, max(j - half, 0) : j + half + 1].astype(float)
            have = around[np.isfinite(around) & (around > 0)]
            known = np.isfinite(power[i, j]) and power[i, j] > 0
            expected = (have.mean(), have.var()) if known else (np.nan, np.nan)
            assert (mean[i, j], variance[i, j]) == pytest.approx(expected, rel=1e-5, abs=1e-9, nan_ok=True)


def test_moments_are_exact_where_differences_are_small():
    # sums of float32 squares would lose this variance altogether
    power = (1e4 + np.indices((20, 20)).sum(axis=0) % 2).astype(np.float32)
    assert speckle.local_moments(power, 3)[1][5:-5, 5:-5] == pytest.approx(20 / 81, rel=1e-5)
    assert (speckle.local_moments(np.full((9, 9), 0.1), 3)[1] == 0).all()


def test_texture_adds_to_the_variation_as_the_product_model_says():
    power = gamma_speckle(3, (1000, 1000)) * np.random.default_rng(3).gamma(4, 1 / 4, (1000, 1000))
    assert speckle.expected_cv(3, 4) ** 2 == pytest.approx((1 + 1 / 3) * (1 + 1 / 4) - 1)
    assert speckle.coefficient_of_variation(power) == pytest.approx(speckle.expected_cv(3, 4), rel=0.01)
    found = speckle.texture_order(power, 3, window=50)
    assert found.low < 4 < found.high and found.high - found.low < 0.2
    assert (found.samples, found.effective_samples) == (10**6, 400)


def texture_of_blocks(order, side, size=768, seed=0):
    blocks = np.random.default_rng(seed).gamma(order, 1 / order, (size // side, size // side))
    return blocks.repeat(side, axis=0).repeat(side, axis=1)


def test_texture_coarser_than_a_pixel_counts_if_finer_than_the_window():
    speckled = speckle.draw_speckle((768, 768), 3, 1)
    found = speckle.texture_order(speckled * texture_of_blocks(4, 4), 3, window=96)
    assert found.low < 4 < found.high and found.high - found.low < 0.5
    # what is as large as the window is the level of the ground, not its texture
    assert speckle.texture_order(speckled * texture_of_blocks(4, 48), 3, window=48).high > 100


def test_smooth_texture_under_correlated_speckle_is_found():
    field = ndimage.gaussian_filter(np.random.default_rng(8).standard_normal((1000, 1000)), 1.5)
    texture = stats.gamma.ppf(stats.norm.cdf(field / field.std()), 5, scale=1 / 5)
    power = texture * speckle.draw_speckle((1000, 1000), 1, 9, correlation=0.3)
    found = speckle.texture_order(power, 1, window=50)
    assert found.value == pytest.approx(5, rel=0.08)


def textured(side, looks, seed, correlation=0.0):
    """Speckle on texture of the order 4."""
    texture = np.random.default_rng(seed).gamma(4, 1 / 4, (side, side))
    return texture * speckle.draw_speckle((side, side), looks, 1000 + seed, correlation=correlation)


def test_the_interval_of_a_texture_holds_the_truth_as_often_as_it_says():
    found = [speckle.texture_order(textured(160, 3, seed), 3, window=16) for seed in range(150)]
    assert 0.89 <= np.mean([e.low <= 4 <= e.high for e in found]) <= 0.99


@pytest.mark.parametrize("correlation", [0, 0.44])
def test_the_order_of_a_texture_is_right_in_many_windows_too(correlation):
    # intervals are so narrow here that a bias of four percent would miss the truth
    found = [speckle.texture_order(textured(1024, 1, seed, correlation), 1, window=16) for seed in range(8)]
    assert np.mean([e.high - e.low for e in found]) < 0.25
    assert sum(e.low <= 4 <= e.high for e in found) >= 6
    assert np.mean([e.value for e in found]) == pytest.approx(4, abs=0.07)


def test_levels_that_differ_between_windows_do_not_bias_an_order():
    levels = np.random.default_rng(2).lognormal(0, 1, (32, 32)).repeat(16, axis=0).repeat(16, axis=1)
    found = [speckle.texture_order(levels * textured(512, 3, seed), 3, window=16).value for seed in range(6)]
    assert np.mean(found) == pytest.approx(4, abs=0.15)


def test_the_level_of_the_ground_is_no_texture():
    levels = np.geomspace(0.01, 1, 10).repeat(50)[:, None]
    even = speckle.draw_speckle((500, 500), 3, 2)
    found, plain = (speckle.texture_order(power, 3, window=25) for power in (levels * even, even))
    assert found.value == pytest.approx(plain.value)
    assert found.low > 50


def test_ground_that_varies_less_than_speckle_has_no_texture():
    found = speckle.texture_order(speckle.draw_speckle((256, 256), 8, 3), 4, window=16)
    assert (found.value, found.low, found.high) == (math.inf, math.inf, math.inf)


def test_windows_with_too_few_pixels_are_left_out():
    power = speckle.draw_speckle((96, 100), 3, 3) * texture_of_blocks(4, 2, 128)[:96, :100]
    expected = speckle.texture_order(power[32:, :96], 3, window=16)
    power[:32] = np.nan
    power[:32:16, :5] = 0.7
    assert speckle.texture_order(power, 3, window=16) == expected
    assert (expected.samples, expected.effective_samples) == (64 * 96, 24)


# --- where an absolute error comes from


@pytest.mark.parametrize(("looks", "plain", "weighted"), [(1, 0.61, 0.65), (2.5, 0.57, 0.63)])
def test_most_of_the_error_of_speckle_lies_on_its_dark_side(looks, plain, weighted):
    found = []
    for seed in range(40):
        power = speckle.draw_speckle((256, 256), looks, seed)
        scaled = (power - power.min()) / np.ptp(power)
        found.append([speckle.error_share_below_median(power, w) for w in (None, np.exp(1 - scaled))])
    assert np.mean(found, axis=0) == pytest.approx([plain, weighted], abs=0.006)


def test_shares_of_the_error_by_hand():
    power = 10 ** (np.array([-30.0, 0.0, 10.0]) / 10)
    assert speckle.error_share_below_median(power) == pytest.approx(30 / 40)
    assert speckle.error_share_below_median(power, [1, 5, 9]) == pytest.approx(30 / 120)
    holed = np.append(power, [np.nan, 0, 7])
    assert speckle.error_share_below_median(holed, [1, 5, 9, 1, 1, np.nan]) == pytest.approx(30 / 120)


# --- real radar


def test_real_ocean_has_the_looks_and_correlation_that_were_measured(mosaic):
    power = open_product(mosaic).read_power(polarization="HH").astype(float)
    with rasterio.open(mosaic / "crop_N23W161_20_mask_F02DAR.tif") as layer:
        ocean = (layer.read(1) == 50) & np.isfinite(power)
        land = layer.read(1) == 255
    assert radiometry.to_db([power[ocean].mean(), power[land].mean()]) == pytest.approx([-18.1, -7.9], abs=0.01)
    # windows that reach the shore would bring surf into the mean
    open_sea = ndimage.uniform_filter(ocean.astype(float), 31) > 1 - 1e-6
    mean = ndimage.uniform_filter(np.where(np.isfinite(power), power, 0), 31)
    detrended = np.where(open_sea, power / mean, np.nan)
    assert speckle.enl_moments(detrended) == pytest.approx(6.1, abs=0.1)
    assert speckle.enl_log_moments(detrended) == pytest.approx(6.8, abs=0.1)
    along_x, along_y = speckle.autocorrelation(detrended, max_lag=1)
    assert (along_x[1], along_y[1]) == pytest.approx((0.64, 0.19), abs=0.01)
    for method, looks in zip(METHODS, (6.04, 6.75, 6.53), strict=True):
        known = speckle.enl(detrended, method)
        naive = speckle.enl(detrended, method, effective_samples=known.samples)
        assert known.value == pytest.approx(looks, abs=0.03)
        assert known.effective_samples < known.samples / 1.9
        assert known.low < naive.low < naive.high < known.high
    assert speckle.effective_samples(detrended) == pytest.approx(known.samples / 7.6, rel=0.1)


def test_real_single_look_fields_have_one_look():
    h5py = pytest.importorskip("h5py")
    with h5py.File(real_data("uavsar_lband_slc") / "winnipeg.h5") as file:
        power = radiometry.dn_to_power(file["science/LSAR/SLC/swaths/frequencyA/HH"][:], 0)
    blocks = [power[i : i + 10, j : j + 10] for i in range(0, 250, 10) for j in range(0, 250, 10)]
    enl = [speckle.enl_moments(block) * 100 / 99 for block in blocks]  # by population variance
    assert np.percentile(enl, [10, 50, 90]) == pytest.approx([0.60, 0.98, 1.26], abs=0.01)
    # fields of different crops in one window are no single speckle any more
    assert speckle.enl(power).high < 0.8
