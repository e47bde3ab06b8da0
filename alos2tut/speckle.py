"""Speckle: how strong it is, how sure one can be of that, and how far neighbours share it. NumPy and SciPy.

Multilooked speckle of L looks on homogeneous ground is a gamma variable of mean 1 and variance 1/L; in texture, the
product model adds a second gamma variable of order ν (K distribution).

Power is linear, never dB. NaN and infinite numbers are missing data everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, optimize, special, stats

from .errors import Alos2TutError, closest
from .radiometry import is_count, to_db

FloatArray = NDArray[np.floating[Any]]
EnlMethod = Literal["moments", "log-moments", "maximum likelihood"]

#: dB per unit of natural logarithm
_DB_PER_NEPER = 10 / math.log(10)
#: Between these numbers of looks ENL is sought; beyond the larger one, power cannot be told from a constant.
_FEWEST_LOOKS, _MOST_LOOKS = 1e-4, 1e8
#: Terms of the series for the error of ENL: at one look the rest is below a hundredth of the whole, and counts only
#: where the correlation of power exceeds 0.95.
_LAGUERRE_TERMS = 100
#: From this order of texture on, the K law differs from the gamma law by less than rounding does.
_LARGEST_TEXTURE_ORDER = 1e8
#: A correlation counts as measured if it exceeds so many standard deviations of that of independent pixels.
_NOISE_LEVEL = 2.0
#: Blocks along a side of a window in which homogeneous ground is sought; the next window is two blocks further.
_BLOCKS, _BLOCKS_PER_STEP = 8, 2
#: Share of pixels equal to their right and their lower neighbour above which a window is no speckle but filled in.
_LARGEST_FLAT_SHARE = 0.1
#: Standard deviations by which CV² may exceed the scene's smallest. The smallest of some thousand windows lies 3.5
#: below their mean, so that 7 reach as far above it: pure speckle stays, whatever CV² a window of it happens to have.
_CV_TOLERANCE = 7.0


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated, with its confidence interval.

    Attributes:
        value: the number.
        low: lower end of the interval.
        high: upper end.
        confidence: probability that such an interval holds the true number, for example 0.95.
        samples: what it was estimated from: pixels with data.
        effective_samples: the number of independent samples that these are worth.
    """

    value: float
    low: float
    high: float
    confidence: float
    samples: int
    effective_samples: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({100 * self.confidence:g} %: {self.low:.2f} to {self.high:.2f})"


# --- laws -------------------------------------------------------------------------------------------------------------


def expected_cv(looks: float, texture_order: float | None = None) -> float:
    """Coefficient of variation of the product model: CV² = (1 + 1/L)(1 + 1/ν) − 1; without texture 1/√L.

    Source: Oliver and Quegan (2004).

    Args:
        looks: equivalent number of looks L.
        texture_order: ν of gamma-distributed texture; None or infinite: no texture.

    Raises:
        Alos2TutError: looks or an order that are not above zero.
    """
    texture = 1.0 if texture_order is None else 1 + 1 / _checked_order(texture_order)
    return math.sqrt((1 + 1 / check_looks(looks)) * texture - 1)


def db_bias(looks: float) -> float:
    """What averaging dB instead of power loses, in dB: 10·log10(e)·(ψ(L) − ln L); −2.51 dB at one look.

    It is the mean of the logarithm of a gamma variable (Oliver and Quegan 2004).

    Raises:
        Alos2TutError: looks that are not a finite number above zero.
    """
    looks = check_looks(looks)
    return float(_DB_PER_NEPER * (special.digamma(looks) - math.log(looks)))


def db_spread(looks: float) -> float:
    """Standard deviation of speckle in dB: 10·log10(e)·√ψ'(L); 5.57 dB at one look, whatever the brightness.

    It is that of the logarithm of a gamma variable (Oliver and Quegan 2004).

    Raises:
        Alos2TutError: looks that are not a finite number above zero.
    """
    return float(_DB_PER_NEPER * math.sqrt(special.polygamma(1, check_looks(looks))))


def gamma_density(power: ArrayLike, looks: float, mean: float = 1.0) -> NDArray[np.float64]:
    """Probability density of the power of L-look speckle on homogeneous ground (Goodman 2007).

    Args:
        power: linear power, any shape; NaN gives NaN, negative power 0.
        looks: equivalent number of looks L.
        mean: mean power.

    Returns:
        Density per unit of power, in the shape of ``power``.

    Raises:
        Alos2TutError: looks or a mean that are not finite numbers above zero.
    """
    density: NDArray[np.float64] = stats.gamma.pdf(power, check_looks(looks), scale=_checked_mean(mean) / looks)
    return density


def k_density(power: ArrayLike, looks: float, order: float, mean: float = 1.0) -> NDArray[np.float64]:
    """Probability density of the power of L-look speckle on gamma-distributed texture: the K distribution.

    p(I) = 2 (Lν/μ)^((L+ν)/2) I^((L+ν)/2 − 1) K_{ν−L}(2√(LνI/μ)) / (Γ(L) Γ(ν)), with mean μ and
    CV² = (1 + 1/L)(1 + 1/ν) − 1 (Jakeman and Pusey 1976; Oliver and Quegan 2004). It is worked out in logarithms. From
    an order of 1e8 on it is the gamma law.

    Args:
        power: linear power, any shape; NaN gives NaN, negative power 0. Zero stands for the smallest positive number.
        looks: equivalent number of looks L.
        order: ν of the texture; infinite: no texture.
        mean: mean power μ.

    Returns:
        Density per unit of power, in the shape of ``power``.

    Raises:
        Alos2TutError: looks, an order or a mean that are not above zero.
    """
    looks, order, mean = check_looks(looks), _checked_order(order), _checked_mean(mean)
    if order > _LARGEST_TEXTURE_ORDER:
        return gamma_density(power, looks, mean)
    relative = np.asarray(power, dtype=np.float64) / mean
    log_power = np.log(np.clip(relative, np.finfo(np.float64).tiny, 1e300))
    half = (looks + order) / 2
    log_density = (
        math.log(2)
        + half * math.log(looks * order)
        + (half - 1) * log_power
        - special.gammaln(looks)
        - special.gammaln(order)
        + _log_bessel_k(order - looks, 2 * math.sqrt(looks * order) * np.exp(log_power / 2))
    )
    return np.where(relative < 0, 0.0, np.exp(log_density) / mean)


def _log_bessel_k(order: float, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln K of real order for z > 0, also where K itself is too large or too small for a float.

    Where √(order² + z²) is at least 50: the uniform expansion by Debye to third order, good to 2e-8 there (DLMF
    10.41.4). Below: SciPy's scaled function, or, where even that is too large, the leading term for small z (10.30.2).
    """
    order = abs(order)
    radius = np.hypot(order, z)
    q = (order / radius) ** 2
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        series = (
            1
            - (3 - 5 * q) / (24 * radius)
            + (81 - 462 * q + 385 * q**2) / (1152 * radius**2)
            - (30375 - 369603 * q + 765765 * q**2 - 425425 * q**3) / (414720 * radius**3)
        )
        uniform = np.log(np.pi / (2 * radius)) / 2 - radius - order * np.log(z / (order + radius)) + np.log(series)
        scaled = special.kve(order, z)
        leading = special.gammaln(order) - math.log(2) + order * np.log(2 / z)
        below = np.where(np.isinf(scaled), leading, np.log(scaled) - z)
    return np.asarray(np.where(radius >= 50, uniform, below))


# --- looks ------------------------------------------------------------------------------------------------------------


def coefficient_of_variation(power: ArrayLike) -> float:
    """Standard deviation over mean of power; 1/√L for pure speckle of L looks, more where there is texture.

    Args:
        power: linear power of any shape; missing and zero power are left out.

    Raises:
        Alos2TutError: complex or negative power, or fewer than two usable pixels.
    """
    values = _positive(power)
    return float(values.std(ddof=1) / values.mean())


def enl_moments(power: ArrayLike) -> float:
    """Equivalent number of looks, mean² / variance of power over homogeneous ground.

    Any real variation of the ground makes it too low.

    Args:
        power: linear power of any shape; missing and zero power are left out.

    Raises:
        Alos2TutError: complex or negative power, fewer than two usable pixels, or power that does not vary.
    """
    variance = float(_relative_to_mean(power).var(ddof=1))
    if variance * _MOST_LOOKS < 1:
        raise _does_not_vary()
    return 1 / variance


def enl_log_moments(power: ArrayLike) -> float:
    """Equivalent number of looks from the variance of log power: ψ'(L) = var(ln I) (Nicolas 2002).

    Args:
        power: linear power of any shape; missing and zero power are left out, for zero has no logarithm.

    Raises:
        Alos2TutError: as of :func:`enl_moments`.
    """
    variance = float(np.log(_relative_to_mean(power)).var(ddof=1))
    return _solve_for_looks(lambda looks: float(special.polygamma(1, looks)), variance)


def enl_maximum_likelihood(power: ArrayLike) -> float:
    """Equivalent number of looks that makes a gamma law most likely: ln L − ψ(L) = ln⟨I⟩ − ⟨ln I⟩.

    It compares the arithmetic with the geometric mean, and scatters least of the three estimators
    (Oliver and Quegan 2004).

    Args:
        power: linear power of any shape; missing and zero power are left out, for zero has no logarithm.

    Raises:
        Alos2TutError: as of :func:`enl_moments`.
    """
    deficit = -float(np.log(_relative_to_mean(power)).mean())
    return _solve_for_looks(lambda looks: math.log(looks) - float(special.digamma(looks)), deficit)


def _solve_for_looks(law: Callable[[float], float], measured: float) -> float:
    """The L at which a law that falls with L gives what was measured."""
    if measured <= law(_MOST_LOOKS):
        raise _does_not_vary()
    bracket = math.log(_FEWEST_LOOKS), math.log(_MOST_LOOKS)
    return math.exp(optimize.brentq(lambda log_looks: law(math.exp(log_looks)) - measured, *bracket, xtol=1e-13))


class _EnlEstimator(NamedTuple):
    """An estimator of ENL, and what decides its error in many pixels of speckle.

    Attributes:
        estimate: the estimator.
        variance: its variance times the number of independent pixels, by L.
        amplitudes: how strongly the k-th Laguerre polynomial of the gamma law moves it, by k ≥ 2, up to a factor. The
            first has no part, because the estimator does not depend on scale.
    """

    estimate: Callable[[ArrayLike], float]
    variance: Callable[[float], float]
    amplitudes: Callable[[NDArray[np.float64]], NDArray[Any]]


def _log_moments_variance(looks: float) -> float:
    first, second, third = (float(special.polygamma(n, looks)) for n in (1, 2, 3))
    return (third + 2 * first**2) / second**2


# Variances: moments and log-moments by propagating the fourth (log-)moment of the gamma law, maximum likelihood by its
# Fisher information with the mean unknown. Amplitudes: the means of I², (ln I − ψ)² and ln I times the k-th polynomial,
# the latter two from derivatives of E[I^s L_k] = (−s)_k Γ(L + s) / (k! Γ(L)) at s = 0; H are the harmonic numbers.
# (All derived here.)
_ENL_ESTIMATORS: Mapping[str, _EnlEstimator] = {
    "moments": _EnlEstimator(enl_moments, lambda looks: 2 * looks * (looks + 1), lambda k: k == 2),
    "log-moments": _EnlEstimator(
        enl_log_moments, _log_moments_variance, lambda k: (special.digamma(k) + np.euler_gamma) / k
    ),
    "maximum likelihood": _EnlEstimator(
        enl_maximum_likelihood, lambda looks: 1 / (float(special.polygamma(1, looks)) - 1 / looks), lambda k: 1 / k
    ),
}


def _shared_error(estimator: _EnlEstimator, looks: float, correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of the errors that two pixels contribute to an ENL, from the correlation of their power.

    In fully developed speckle the k-th Laguerre polynomials of two pixels correlate as the k-th power of that of their
    power (the bivariate gamma law of Kibble 1941).
    """
    k = np.arange(2.0, _LAGUERRE_TERMS + 1)
    norms = np.exp(special.gammaln(looks + k) - special.gammaln(looks) - special.gammaln(k + 1))
    shares = estimator.amplitudes(k) ** 2 / norms
    return np.asarray(correlation[:, None] ** k @ (shares / shares.sum()))


def enl(
    power: ArrayLike,
    method: EnlMethod = "maximum likelihood",
    *,
    confidence: float = 0.95,
    effective_samples: float | None = None,
) -> Estimate:
    """Equivalent number of looks of homogeneous ground, with a confidence interval that knows neighbours share speckle.

    The interval is that of a normal ln L, so it stays positive. The variance of L is that of N independent pixels
    (moments 2L(L + 1)/N; maximum likelihood 1/(N (ψ'(L) − 1/L)); log-moments (ψ‴ + 2ψ'²)/(ψ″² N)), with the effective
    number of samples for N. That number is the method's own: what neighbours share counts most for moments, less for
    the other two (see :func:`effective_samples`, whose "spread" is for moments). The interval tells how far chance may
    have led, not what uneven ground has added.

    Args:
        power: linear power of homogeneous ground, (H, W) or any shape; missing and zero power are left out.
        method: "moments", "log-moments" or "maximum likelihood".
        confidence: of the interval, between 0 and 1.
        effective_samples: number of independent pixels; None: measured, which needs an image. Pixels of another shape
            count as independent.

    Raises:
        Alos2TutError: as of :func:`enl_moments`; an unknown method; a confidence or a number of samples that cannot be.
    """
    if method not in _ENL_ESTIMATORS:
        raise Alos2TutError(f"unknown method {method!r}", where="method", remedy=closest(method, _ENL_ESTIMATORS))
    quantile = stats.norm.ppf((1 + _checked_confidence(confidence)) / 2)
    estimator = _ENL_ESTIMATORS[method]
    looks, pixels = estimator.estimate(power), int(_positive(power).size)
    samples = effective_samples
    if samples is None:
        samples = _independent_pixels(power, lambda correlation: _shared_error(estimator, looks, correlation))
    if not 0 < samples <= pixels:
        raise Alos2TutError(f"{samples} is not between 0 and the {pixels} pixels", where="effective_samples")
    factor = math.exp(quantile * math.sqrt(estimator.variance(looks) / samples) / looks)
    return Estimate(looks, looks / factor, looks * factor, confidence, pixels, float(samples))


# --- what neighbours share --------------------------------------------------------------------------------------------


def autocorrelation(power: ArrayLike, max_lag: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of power between neighbours, along columns (x) and along rows (y), at lags 0…``max_lag``.

    Args:
        power: linear power (H, W); pairs in which either pixel is missing are left out.
        max_lag: largest distance in pixels.

    Returns:
        Two arrays of ``max_lag`` + 1 numbers, the first 1; NaN where no pair is so far apart.

    Raises:
        Alos2TutError: an image not larger than ``max_lag``, without two pixels of data or that does not vary, or power
            as :func:`power_image` refuses it.
    """
    values = power_image(power)
    if not (max_lag == 0 or is_count(max_lag)):
        raise Alos2TutError(f"max_lag={max_lag!r} is not a whole number of at least 0", where="max_lag")
    if min(values.shape) <= max_lag:
        raise Alos2TutError(f"an image of {values.shape} pixels has no pairs {max_lag} apart", where="max_lag")
    valid = np.isfinite(values)
    known = _varying(values[valid])
    centred = np.zeros(values.shape)
    centred[valid] = known - known.mean()
    variance = np.mean(centred[valid] ** 2)

    def along(image: FloatArray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        ends = [(slice(0, image.shape[1] - lag), slice(lag, None)) for lag in range(max_lag + 1)]
        sums = np.array([np.sum(image[:, near] * image[:, far]) for near, far in ends])
        pairs = np.array([np.count_nonzero(valid[:, near] & valid[:, far]) for near, far in ends])
        return np.where(pairs > 0, sums / np.maximum(pairs, 1) / variance, np.nan)

    return along(centred, valid), along(centred.T, valid.T)


def effective_samples(power: ArrayLike, of: Literal["mean", "spread"] = "mean") -> float:
    """How many independent pixels the pixels of homogeneous ground are worth.

    Pixels that share speckle tell less than their number. With the correlation ρ(h) of power between pixels h apart and
    n(h) pairs of them among n pixels, the variance of a mean is Σ n(h) ρ(h) / n times that of independent pixels. An
    estimate of the spread, like ENL or CV, does not depend on scale, so that its error has no part in the first
    Laguerre polynomial of the gamma law; in fully developed speckle the k-th one decorrelates as ρ^k (the bivariate
    gamma law of Kibble 1941). Hence the variance of ENL by moments and of CV grows by Σ n(h) ρ(h)² / n, and that of
    other estimators by a little less (derived here).

    ρ is measured in two dimensions, about the plane that fits the image best, so that a slant of the ground does not
    count as correlation. The sums run over the lags that hang together with lag 0 and whose correlation exceeds twice
    1/√n(h), its noise between independent pixels; the rest is lost in noise and counts as nothing. In simulated speckle
    of 32 × 32 pixels this makes the number 5 to 7 % too large for means, 0 to 2 % for the spread.

    Args:
        power: linear power (H, W) of homogeneous ground; missing and zero power are left out. Numbers of any other
            shape have no geometry and are taken as independent.
        of: "mean": for the error of a mean; "spread": for that of CV and of ENL by moments.

    Returns:
        Above 0, at most the number of usable pixels.

    Raises:
        Alos2TutError: complex or negative power, fewer than two usable pixels, power that does not vary, or another
            word for ``of``.
    """
    exponents = {"mean": 1, "spread": 2}
    if of not in exponents:
        raise Alos2TutError(f"unknown quantity {of!r}", where="of", remedy=closest(of, exponents))
    return _independent_pixels(power, lambda correlation: correlation ** exponents[of])


def _independent_pixels(power: ArrayLike, shared: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """The number of usable pixels over Σ n(h) shared(ρ(h)) / n."""
    values = _real_power(power)
    usable = np.isfinite(values) & (values > 0)
    known = _varying(values[usable])
    pixels = known.size
    if values.ndim != 2:
        return float(pixels)
    centred = _about_its_plane(values, usable)
    # three pixels lie on a plane, and so does a bare ramp: what rounding leaves of them has no correlation to speak of
    if centred.std() <= 1e-9 * known.std():
        return float(pixels)
    correlation, pairs = _correlation_by_lag(centred, usable)
    no_lag = tuple(n // 2 for n in pairs.shape)
    above_noise = correlation * np.sqrt(pairs) > _NOISE_LEVEL
    above_noise[no_lag] = True  # also in a handful of pixels
    regions = ndimage.label(above_noise)[0]
    measured = regions == regions[no_lag]
    inflation = float(np.sum(pairs[measured] * shared(correlation[measured]))) / pixels
    return float(pixels / max(inflation, 1))


def _about_its_plane(values: FloatArray, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What the usable pixels differ by from the plane that fits them best; 0 elsewhere."""
    known = values[usable].astype(np.float64)
    places = [axis - axis.mean() for axis in np.nonzero(usable)]
    basis = np.stack([np.ones(known.size), *places])
    # least squares of the normal equations: a single row or column leaves a slope open, and that one becomes 0
    plane = np.linalg.lstsq(basis @ basis.T, basis @ known, rcond=None)[0]
    rest = np.zeros(values.shape)
    rest[usable] = known - plane @ basis
    return rest


def _correlation_by_lag(
    centred: NDArray[np.float64], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation and number of pairs at all lags up to half the image, (2·⌊H/2⌋ + 1, 2·⌊W/2⌋ + 1), lag 0 central."""
    reach = [n // 2 for n in centred.shape]
    shape = [fft.next_fast_len(n + r, real=True) for n, r in zip(centred.shape, reach, strict=True)]

    def sums_of_products(image: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = fft.irfft2(np.abs(fft.rfft2(image, shape)) ** 2, shape)
        return np.asarray(np.roll(sums, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1])

    products, pairs = sums_of_products(centred), np.rint(sums_of_products(usable.astype(np.float64)))
    covariance = products / np.maximum(pairs, 1)
    # few pairs can by chance agree better than each pixel with itself
    return np.minimum(covariance / covariance[tuple(reach)], 1), pairs


# --- texture ----------------------------------------------------------------------------------------------------------


def texture_order(power: ArrayLike, looks: float, *, window: int, confidence: float = 0.95) -> Estimate:
    """Order ν of the texture of ground, from how much more than speckle its power varies.

    Solves CV² = (1 + 1/L)(1 + 1/ν) − 1 (Oliver and Quegan 2004) for the mean CV² of windows that do not overlap. The
    mean of each window is taken as the level of its ground, so ν belongs to scales from one pixel to the window, and
    nothing larger counts. Averaging pixels beforehand raises the lower scale and, where texture is shorter, hides it;
    ``looks`` must be the ENL of the power *as given here*. A window takes its mean from its own pixels, which makes CV²
    too small by about one part in the number of independent samples that it holds: take windows several times wider
    than what neighbours share.

    The interval follows from the scatter of CV² between windows (Student's t), so it knows of correlated speckle and
    texture, but not of an error in ``looks``.

    Args:
        power: linear power (H, W) of one kind of ground; missing and zero power are left out, and with them windows of
            which less than half is left. Windows start at the first pixel; what remains at the far edges is not used.
        looks: equivalent number of looks of this power.
        window: side of the windows in pixels, at least 3.
        confidence: of the interval, between 0 and 1.

    Returns:
        ν; infinite where CV² does not exceed that of speckle. ``effective_samples`` is the number of windows.

    Raises:
        Alos2TutError: fewer than two windows with data, and power, looks, a window or a confidence that cannot be.
    """
    speckle, values = 1 + 1 / check_looks(looks), power_image(power)
    quantile = (1 + _checked_confidence(confidence)) / 2
    if not is_count(window) or window < 3:
        raise Alos2TutError(f"window={window!r} is not a whole number of at least 3", where="window")
    squared_cv, pixels = _squared_cv_of_windows(values, window)
    windows = squared_cv.size
    if windows < 2:
        raise Alos2TutError(
            f"fewer than two windows of {window} × {window} pixels have data",
            where="window",
            remedy="Give a larger image or a smaller window.",
        )
    mean, half = squared_cv.mean(), stats.t.ppf(quantile, windows - 1) * squared_cv.std(ddof=1) / math.sqrt(windows)

    def order(squared_cv: float) -> float:
        excess = (1 + squared_cv) / speckle - 1
        return float(1 / excess) if excess > 0 else math.inf

    return Estimate(order(mean), order(mean + half), order(mean - half), confidence, pixels, float(windows))


def _squared_cv_of_windows(values: FloatArray, window: int) -> tuple[NDArray[np.float64], int]:
    """CV² of each window of which at least half can be used, and the number of pixels in these windows."""
    rows, cols = (n // window for n in values.shape)
    blocks = values[: rows * window, : cols * window].reshape(rows, window, cols, window).swapaxes(1, 2)
    pixels = blocks.reshape(rows * cols, window * window).astype(np.float64)
    usable = np.isfinite(pixels) & (pixels > 0)
    enough = 2 * np.count_nonzero(usable, axis=1) >= window * window
    pixels, usable = pixels[enough], usable[enough]
    counts = np.count_nonzero(usable, axis=1)
    means = np.sum(pixels, axis=1, where=usable) / counts
    deviations = np.where(usable, pixels / means[:, None] - 1, 0)
    return np.sum(deviations**2, axis=1) / (counts - 1), int(counts.sum())


def local_moments(power: ArrayLike, window: int) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of power around every pixel.

    Windows are cut at the image's edge and leave missing pixels out: they average what they have. A pixel that is
    itself missing stays so. Sums are made in float64 and of each window alone, so that one very bright target does no
    harm beyond its own windows. A variance within the rounding error of its window counts as zero.

    Args:
        power: linear power (H, W); NaN and infinite: no data.
        window: side of the square window in pixels, odd, at least 3, not larger than the image in either direction.

    Returns:
        (mean, population variance), each (H, W) of the input's float type, NaN where the pixel has no data.

    Raises:
        Alos2TutError: a window that is none of these, or power as :func:`power_image` refuses it.
    """
    values = power_image(power)
    check_window(window, values.shape)
    valid = np.isfinite(values)
    complete = bool(valid.all())
    known = values if complete else np.where(valid, values, 0)
    counts = _counts_in_windows(None if complete else valid, values.shape, window)
    mean = _sums_in_windows(known, window)
    mean /= counts
    variance = _sums_in_windows(np.square(known, dtype=np.float64), window)
    variance /= counts
    # what rounding leaves of a difference of two nearly equal numbers
    least = 4 * np.finfo(np.float64).eps * variance
    variance -= mean * mean
    variance[variance <= least] = 0
    for moment in (mean, variance):
        moment[~valid] = np.nan
    return mean.astype(values.dtype, copy=False), variance.astype(values.dtype, copy=False)


def _sums_in_windows(values: NDArray[Any], window: int) -> NDArray[np.float64]:
    """float64 sums around every pixel; beyond the edge there is nothing."""
    # not a running sum: after a bright target it would drag the rounding error of that target along
    ones = np.ones(window)
    by_rows = ndimage.correlate1d(values, ones, axis=0, output=np.float64, mode="constant")
    sums: NDArray[np.float64] = ndimage.correlate1d(by_rows, ones, axis=1, output=by_rows, mode="constant")
    return sums


def _counts_in_windows(valid: NDArray[np.bool_] | None, shape: tuple[int, ...], window: int) -> NDArray[np.float64]:
    """Pixels with data around every pixel, at least 1; None: all have."""
    if valid is not None:
        return np.maximum(_sums_in_windows(valid.astype(np.float32), window), 1)
    rows, cols = (ndimage.correlate1d(np.ones(n), np.ones(window), mode="constant") for n in shape)
    return np.asarray(np.outer(rows, cols))


# --- even ground ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Area:
    """A window of an image.

    Attributes:
        row: first row.
        col: first column.
        height: rows.
        width: columns.
        mean_power: mean linear power of its pixels.
        cv: coefficient of variation of their power.
    """

    row: int
    col: int
    height: int
    width: int
    mean_power: float
    cv: float

    @property
    def window(self) -> tuple[int, int, int, int]:
        """(row, col, height, width), as products take it."""
        return self.row, self.col, self.height, self.width

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """The window cut out of an image (H, W), as a view of it."""
        return image[self.row : self.row + self.height, self.col : self.col + self.width]


def homogeneous_areas(power: ArrayLike, size: int, count: int = 1) -> list[Area]:
    """The most even ground of an image: where ENL can be measured.

    To take the lowest CV would be to choose by speckle: of 1024 × 1024 pixels of pure speckle, the calmest window of
    64 × 64 has an ENL by moments that is 11 % too high at one look and 9 % at three, or 16 and 13 % where neighbours
    correlate by 0.44. So CV only sorts out: windows stay whose CV² exceeds the smallest by no more than chance
    explains, seven standard deviations. Of these, the most even are those whose 8 × 8 blocks differ least in their
    means, in proportion to the variance of their pixels. Slopes, edges and coarse texture raise that proportion; how
    strong the speckle of a window happens to be does not enter. ENL by moments there is too high by 0.1 ± 0.3 % at one
    and at three looks, and by 2.7 ± 0.4 and 1.4 ± 0.3 % with the correlation; by maximum likelihood by 0.0, 0.0, 1.2
    and 0.9 ± 0.3 % (means of 100 simulated fields each).

    Windows in which anything is missing or zero are not chosen, nor those where more than a tenth of the pixels equal
    their right and lower neighbours: padding, saturation, ground filled in with one value.

    Args:
        power: linear power (H, W).
        size: side of the windows in pixels: a multiple of 8, at least 16. They lie a quarter of it apart.
        count: how many windows to find.

    Returns:
        At most ``count`` windows, fewer if there are no more; the most even first, none overlapping another.

    Raises:
        Alos2TutError: no window to choose; a size or a count that cannot be; power as :func:`power_image` refuses it.
    """
    values = power_image(power)
    if not is_count(count):
        raise Alos2TutError(f"count={count!r} is not a whole number of at least 1", where="count")
    block = _block_side(size, values.shape)
    squared_cv, unevenness = _evenness_of_windows(values, block)
    step = block * _BLOCKS_PER_STEP

    def area(place: tuple[Any, ...]) -> Area:
        return _area(values, int(place[0]) * step, int(place[1]) * step, size)

    if not np.isfinite(squared_cv).any():
        raise Alos2TutError(
            f"no window of {size} × {size} pixels has speckle and nothing missing",
            where="size",
            remedy="Take a smaller size, or ground with data.",
        )
    calmest = np.unravel_index(np.argmin(squared_cv), squared_cv.shape)
    spread = _spread_of_squared_cv(area(calmest).of(values))
    unevenness[squared_cv > squared_cv[calmest] * (1 + _CV_TOLERANCE * spread)] = np.inf
    found: list[Area] = []
    reach = _BLOCKS // _BLOCKS_PER_STEP - 1
    while len(found) < count and np.isfinite(unevenness).any():
        place = np.unravel_index(np.argmin(unevenness), unevenness.shape)
        found.append(area(place))
        unevenness[tuple(slice(max(i - reach, 0), i + reach + 1) for i in place)] = np.inf
    return found


def areas_by_variation(power: ArrayLike, size: int) -> list[Area]:
    """The windows of a grid over an image, the lowest CV first: from speckle alone to towns and edges.

    This is for looking at kinds of ground. Where ENL is to be measured, :func:`homogeneous_areas` chooses better.

    Args:
        power: linear power (H, W).
        size: side of the windows in pixels, and their distance.

    Returns:
        All windows in which nothing is missing or zero.

    Raises:
        Alos2TutError: no such window; a size that does not fit; power as :func:`power_image` refuses it.
    """
    values = power_image(power)
    if not is_count(size) or not 2 <= size <= min(values.shape):
        raise Alos2TutError(f"size={size!r} is not a whole number from 2 to {min(values.shape)}", where="size")
    places = itertools.product(*(range(0, n - size + 1, size) for n in values.shape))
    whole = [(row, col) for row, col in places if (values[row : row + size, col : col + size] > 0).all()]
    if not whole:
        raise Alos2TutError(
            f"no window of {size} × {size} pixels has data everywhere", where="size", remedy="Take a smaller size."
        )
    return sorted((_area(values, row, col, size) for row, col in whole), key=lambda area: area.cv)


def _area(values: FloatArray, row: int, col: int, size: int) -> Area:
    pixels = values[row : row + size, col : col + size]
    return Area(row, col, size, size, float(pixels.mean(dtype=np.float64)), coefficient_of_variation(pixels))


def _block_side(size: int, shape: tuple[int, ...]) -> int:
    if not is_count(size) or size % _BLOCKS or size < 2 * _BLOCKS:
        raise Alos2TutError(f"size={size!r} is not a multiple of {_BLOCKS}, at least {2 * _BLOCKS}", where="size")
    if size > min(shape):
        raise Alos2TutError(
            f"a window of {size} pixels is larger than the image of {shape[0]} × {shape[1]}",
            where="size",
            remedy="Take a smaller one.",
        )
    return size // _BLOCKS


def _evenness_of_windows(values: FloatArray, block: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """CV² of the pixels of each window, and that of its blocks' means over it; infinite where it cannot be used."""
    usable = np.isfinite(values) & (values > 0)
    known = np.where(usable, values, 0).astype(np.float64, copy=False)
    means = _block_averages(known, block)
    mean = _window_averages(means)
    usable_windows = (_window_averages(_block_averages(usable, block)) == 1) & (
        _window_averages(_block_averages(_equal_to_neighbours(known), block)) <= _LARGEST_FLAT_SHARE
    )
    variance = _window_averages(_block_averages(known**2, block)) - mean**2
    variance_of_blocks = _window_averages(means**2) - mean**2
    with np.errstate(invalid="ignore", divide="ignore"):
        squared_cv, unevenness = variance / mean**2, variance_of_blocks / variance
    return np.where(usable_windows, squared_cv, np.inf), np.where(usable_windows, unevenness, np.inf)


def _equal_to_neighbours(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a pixel equals its right and its lower neighbour, as in padding, saturation and ground that was filled."""
    equal = np.zeros(values.shape, dtype=np.bool_)
    corner = values[:-1, :-1]
    equal[:-1, :-1] = (corner == values[:-1, 1:]) & (corner == values[1:, :-1])
    return equal


def _block_averages(values: NDArray[Any], block: int) -> NDArray[np.float64]:
    """Means over blocks of ``block`` × ``block`` pixels; what is left over at the far edges is dropped."""
    rows, cols = (n // block for n in values.shape)
    blocks = values[: rows * block, : cols * block].reshape(rows, block, cols, block)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64))


def _window_averages(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over windows of 8 × 8 blocks, two blocks apart."""
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (_BLOCKS, _BLOCKS))
    return np.asarray(windows[::_BLOCKS_PER_STEP, ::_BLOCKS_PER_STEP].mean(axis=(2, 3)))


def _spread_of_squared_cv(power: FloatArray) -> float:
    """Relative standard deviation of CV² measured in such an area, were it pure speckle: √(2 (1 + CV²) / n)."""
    return math.sqrt(2 * (1 + coefficient_of_variation(power) ** 2) / effective_samples(power, of="spread"))


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_speckle(shape: tuple[int, int], looks: float, seed: int, *, correlation: float = 0.0) -> NDArray[np.float64]:
    """Simulated speckle: gamma-distributed power of mean 1 and variance 1/looks.

    Independent speckle is drawn from its law. Correlated speckle of L whole looks is made as nature does it: the mean
    of L intensities |z|² of complex Gaussian fields, each smoothed by the kernel (a, 1, a) along both axes. The
    correlation of intensity is the squared one of the field (Goodman 2007), so that lag 1 has
    (2a / (1 + 2a²))² = ``correlation``, lag 2 has (a² / (1 + 2a²))² (0.027 where lag 1 has 0.44; at most 0.0625), the
    diagonal neighbour has ``correlation``², and nothing is shared further away (derived here).

    Args:
        shape: (rows, columns).
        looks: equivalent number of looks, any positive number; whole where speckle is to be correlated.
        seed: equal seeds give equal speckle.
        correlation: of intensity between direct neighbours along rows and columns, 0 to 0.5.

    Returns:
        (H, W) float64.

    Raises:
        Alos2TutError: looks or a correlation other than these.
    """
    looks = check_looks(looks)
    if not 0 <= correlation <= 0.5:
        raise Alos2TutError(f"correlation={correlation!r} is not between 0 and 0.5", where="correlation")
    random = np.random.default_rng(seed)
    if correlation == 0:
        return np.asarray(random.gamma(looks, 1 / looks, shape))
    if looks != round(looks):
        raise Alos2TutError(
            f"correlated speckle of {looks} looks cannot be drawn", where="looks", remedy="Take a whole number."
        )
    power = np.zeros(shape)
    for _ in range(2 * int(looks)):
        power += _smooth_field(random, shape, math.sqrt(correlation)) ** 2
    return power / (2 * looks)


def _smooth_field(random: np.random.Generator, shape: tuple[int, int], correlation: float) -> NDArray[np.float64]:
    """A real Gaussian field of mean 0, variance 1 and this correlation between direct neighbours (at most √½)."""
    # 2a / (1 + 2a²) = correlation, solved for the smaller a
    side = (1 - math.sqrt(max(1 - 2 * correlation**2, 0))) / (2 * correlation)
    kernel = np.array([side, 1, side]) / math.sqrt(1 + 2 * side**2)
    field = random.standard_normal((shape[0] + 2, shape[1] + 2))
    for axis in (0, 1):
        field = ndimage.correlate1d(field, kernel, axis=axis)
    return field[1:-1, 1:-1]


# --- where an absolute error comes from -------------------------------------------------------------------------------


def error_share_below_median(power: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The share of the absolute dB error around the best constant guess that falls on pixels darker than that guess.

    The guess that makes the sum of absolute errors least is the median. Half of the pixels lie below it, but speckle in
    dB has its long tail on the dark side: below lie 61 % of the error at one look and 57 % at 2.5 (by integration;
    60.9 and 57.1). Weights that grow with darkness add to that. The guess stays the unweighted median, so that the
    same pixels are compared with and without weights.

    Args:
        power: linear power of any shape; missing and zero power are left out.
        weights: of each pixel's error, in the shape of ``power``, not negative; NaN leaves a pixel out.

    Returns:
        Between 0 and 1.

    Raises:
        Alos2TutError: complex or negative power, fewer than two usable pixels, power that does not vary, weights of
            another shape, negative, or nowhere above zero.
    """
    values = _real_power(power)
    weight = np.ones(values.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != values.shape:
        raise Alos2TutError(f"are of shape {weight.shape}, power of {values.shape}", where="weights")
    if (weight < 0).any():
        raise Alos2TutError("are negative somewhere", where="weights")
    usable = np.isfinite(values) & (values > 0) & np.isfinite(weight)
    db = to_db(_varying(values[usable]))
    deviation = db - np.median(db)
    error = weight[usable] * np.abs(deviation)
    if not error.sum() > 0:
        raise Alos2TutError("leave no error to share", where="weights")
    return float(error[deviation < 0].sum() / error.sum())


# --- checks -----------------------------------------------------------------------------------------------------------


def power_image(power: ArrayLike) -> FloatArray:
    """A power image, checked: (H, W), float, not negative, NaN wherever there is no finite number.

    Args:
        power: linear power (H, W), real; integers become floats.

    Returns:
        (H, W) of the same float type, at least float32; a copy only where something had to change.

    Raises:
        Alos2TutError: not two-dimensional, not real numbers, or negative somewhere.
    """
    values = _real_power(power)
    if values.ndim != 2:
        raise Alos2TutError(
            f"has {values.ndim} dimensions, not 2", where="power", remedy="Give one image of (rows, columns)."
        )
    return values


def _real_power(power: ArrayLike) -> FloatArray:
    """Power of any shape as floats, NaN wherever it is not finite; complex, negative and no numbers are refused."""
    values = np.asarray(power)
    if np.iscomplexobj(values):
        raise Alos2TutError("is complex", where="power", remedy="Give its squared magnitude.")
    if values.dtype.kind not in "fiu":
        raise Alos2TutError(f"holds {values.dtype}, not numbers", where="power", remedy="Give linear power.")
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    if (values < 0).any():
        raise Alos2TutError("is negative somewhere", where="power", remedy="Give linear power, not dB.")
    infinite = np.isinf(values)
    return np.where(infinite, values.dtype.type(np.nan), values) if infinite.any() else values


def check_looks(looks: float) -> float:
    """A number of looks, checked.

    Raises:
        Alos2TutError: not a finite number above zero.
    """
    if not (_is_number(looks) and 0 < looks < math.inf):
        raise Alos2TutError(f"looks={looks!r} is not a finite number above 0", where="looks")
    return float(looks)


def check_window(window: int, shape: tuple[int, ...]) -> None:
    """Whether a window has a centre and fits into an image.

    Raises:
        Alos2TutError: not an odd whole number of at least 3, or larger than the image in either direction.
    """
    if not is_count(window) or window < 3 or window % 2 == 0:
        raise Alos2TutError(f"window={window!r} is not an odd whole number of at least 3", where="window")
    if window > min(shape):
        raise Alos2TutError(
            f"a window of {window} pixels is larger than the image of {shape[0]} × {shape[1]}",
            where="window",
            remedy="Take a smaller one.",
        )


def _checked_order(order: float) -> float:
    if not (_is_number(order) and order > 0):
        raise Alos2TutError(f"a texture order of {order!r} is not above 0", where="order")
    return float(order)


def _checked_mean(mean: float) -> float:
    if not (_is_number(mean) and 0 < mean < math.inf):
        raise Alos2TutError(f"mean={mean!r} is not a finite number above 0", where="mean")
    return float(mean)


def _checked_confidence(confidence: float) -> float:
    if not (_is_number(confidence) and 0 < confidence < 1):
        raise Alos2TutError(f"confidence={confidence!r} is not between 0 and 1", where="confidence")
    return float(confidence)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _positive(power: ArrayLike) -> NDArray[np.float64]:
    """The usable values, float64 (N,): finite and above zero.

    Raises:
        Alos2TutError: complex or negative values, or fewer than two usable ones.
    """
    values = _real_power(power)
    return _at_least_two(values[np.isfinite(values) & (values > 0)])


def _at_least_two(values: FloatArray) -> NDArray[np.float64]:
    if values.size < 2:
        raise Alos2TutError("has fewer than two pixels with data", where="power")
    return values.astype(np.float64)


def _varying(values: FloatArray) -> NDArray[np.float64]:
    """Values (N,) as float64; fewer than two, or all the same, are refused."""
    known = _at_least_two(values)
    if known.min() == known.max():
        raise _does_not_vary()
    return known


def _relative_to_mean(power: ArrayLike) -> NDArray[np.float64]:
    values = _positive(power)
    return np.asarray(values / values.mean())


def _does_not_vary() -> Alos2TutError:
    return Alos2TutError(
        "does not vary", where="power", remedy="Give pixels with speckle, not an area that was filled with one value."
    )
