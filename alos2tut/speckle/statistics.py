"""Speckle: how strong it is, how sure one can be of that, and how far neighbours share it. NumPy and SciPy.

Power is linear, never dB. Zero, NaN, infinite and masked numbers are missing data everywhere.

References:
    Kibble: A two-variate gamma type distribution. Sankhyā 5, 1941.
    Nicolas: Introduction aux statistiques de deuxième espèce. Traitement du Signal 19(3), 2002.
    Oliver, Quegan: Understanding synthetic aperture radar images. SciTech, 2004.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage, optimize, special, stats

from ..core.errors import Alos2TutError, closest
from ..core.validation import FloatArray, as_real, check_positive, check_window, is_count, is_number
from ..radiometry import power_image, real_power, to_db

EnlMethod = Literal["moments", "log-moments", "maximum likelihood"]

#: Between these numbers of looks ENL is sought; beyond the larger one, power cannot be told from a constant.
_FEWEST_LOOKS, _MOST_LOOKS = 1e-4, 1e8
#: Terms of the series for what two pixels share of an error of ENL; at a correlation up to 0.95 the rest is nothing.
_LAGUERRE_TERMS = 100
#: A correlation counts as measured if it exceeds so many standard deviations of that of independent pixels.
_NOISE_LEVEL = 2.0
#: Speckle is sought in common with neighbours up to so many pixels away.
_MOST_LAGS = 64
#: Images are worked on in strips of so many rows, so that what is added to them in memory is little.
_STRIP_ROWS = 256


@dataclass(frozen=True)
class Estimate:
    """A number that was estimated, with its confidence interval.

    Attributes:
        value: the number.
        low, high: ends of the interval.
        confidence: probability that such an interval holds the true number, for example 0.95.
        samples: pixels with data that it was estimated from.
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


def coefficient_of_variation(power: ArrayLike) -> float:
    """Standard deviation over mean of power; 1/√L for pure speckle of L looks, more where there is texture.

    Args:
        power: linear power of any shape; missing pixels are left out.

    Raises:
        Alos2TutError: fewer than two pixels with data, or power as :func:`~alos2tut.radiometry.real_power` refuses it.
    """
    return float(_relative_to_mean(power).std(ddof=1))


def enl_moments(power: ArrayLike) -> float:
    """Equivalent number of looks, mean² / variance of power over homogeneous ground.

    Any real variation of the ground makes it too low. Arguments and errors as for :func:`coefficient_of_variation`;
    power that does not vary is refused, too.
    """
    variance = float(_relative_to_mean(power).var(ddof=1))
    if variance * _MOST_LOOKS < 1:
        raise _does_not_vary()
    return 1 / variance


def enl_log_moments(power: ArrayLike) -> float:
    """Equivalent number of looks from the variance of log power: ψ'(L) = var(ln I) (Nicolas 2002).

    Arguments and errors as for :func:`enl_moments`.
    """
    variance = float(np.log(_relative_to_mean(power)).var(ddof=1))
    return _solve_for_looks(lambda looks: _polygamma(1, looks), variance)


def enl_maximum_likelihood(power: ArrayLike) -> float:
    """Equivalent number of looks that makes a gamma law most likely: ln L − ψ(L) = ln⟨I⟩ − ⟨ln I⟩.

    Of many pixels it scatters least of the three estimators (Oliver and Quegan 2004). Of few independent pixels, N, it
    is too high by about a factor of 1 + 3/N. Arguments and errors as for :func:`enl_moments`.
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
    """An estimator of ENL, and what decides its error in many pixels of speckle of L looks.

    Attributes:
        estimate: the estimator.
        variance: its variance times the number of independent pixels, by L.
        amplitudes: what the k-th Laguerre polynomial of the gamma law adds to its error, by L and k ≥ 2. The first has
            no part, because the estimator does not depend on scale.
    """

    estimate: Callable[[ArrayLike], float]
    variance: Callable[[float], float]
    amplitudes: Callable[[float, NDArray[np.float64]], NDArray[np.float64]]


def _polygamma(order: int, looks: float) -> float:
    return float(special.polygamma(order, looks))


# Variances: moments and log-moments by propagating the fourth (log-)moment of the gamma law, maximum likelihood by its
# Fisher information with the mean unknown. Amplitudes: the means of I², (ln I − ψ)² and ln I times the k-th polynomial,
# the latter two from derivatives of E[I^s L_k] = (−s)_k Γ(L + s) / (k! Γ(L)) at s = 0. (All derived here.)
_ENL_ESTIMATORS: Mapping[str, _EnlEstimator] = {
    "moments": _EnlEstimator(
        enl_moments, lambda looks: 2 * looks * (looks + 1), lambda looks, k: looks * (looks + 1) * (k == 2)
    ),
    "log-moments": _EnlEstimator(
        enl_log_moments,
        lambda looks: (_polygamma(3, looks) + 2 * _polygamma(1, looks) ** 2) / _polygamma(2, looks) ** 2,
        lambda looks, k: 2 * (special.digamma(k) + np.euler_gamma) / (k * _polygamma(2, looks)),
    ),
    "maximum likelihood": _EnlEstimator(
        enl_maximum_likelihood,
        lambda looks: 1 / (_polygamma(1, looks) - 1 / looks),
        lambda looks, k: 1 / (k * (_polygamma(1, looks) - 1 / looks)),
    ),
}


def _shared_error(estimator: _EnlEstimator, looks: float, correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of the errors that two pixels contribute to an ENL, from the correlation of their power.

    The k-th Laguerre polynomials of two pixels correlate as the k-th power of their power does (Kibble 1941).
    """
    k = np.arange(2.0, _LAGUERRE_TERMS + 1)
    norms = np.exp(special.gammaln(looks + k) - special.gammaln(looks) - special.gammaln(k + 1))
    shares = estimator.amplitudes(looks, k) ** 2 / norms / estimator.variance(looks)
    # the series gives nearly all of it where pixels differ, and converges slowly where they are the same
    return np.where(correlation < 1, correlation[:, None] ** k @ shares, 1.0)


def enl(
    power: ArrayLike,
    method: EnlMethod = "maximum likelihood",
    *,
    confidence: float = 0.95,
    effective_samples: float | None = None,
) -> Estimate:
    """Equivalent number of looks of homogeneous ground, with a confidence interval that knows neighbours share speckle.

    The interval is that of ln L by Student's t with N − 1 degrees of freedom, so it stays positive. The variance of L
    is that of N independent pixels (moments 2L(L + 1)/N; maximum likelihood 1/(N (ψ'(L) − 1/L)); log-moments
    (ψ‴ + 2ψ'²)/(ψ″² N)), with the effective number of samples for N, the method's own (that of moments is the "spread"
    of :func:`effective_samples`). It tells how far chance may have led, not what uneven ground has added.

    Give areas worth 50 samples or more: 4 make L itself too high by a third to six tenths, 9 by a tenth to a quarter.

    Args:
        power: linear power of homogeneous ground, (H, W) or any shape; missing pixels are left out.
        method: "moments", "log-moments" or "maximum likelihood".
        confidence: of the interval, between 0 and 1.
        effective_samples: number of independent pixels, from 2 to that of all; None: measured, which needs an image.
            Pixels of another shape count as independent.

    Raises:
        Alos2TutError: as of :func:`enl_moments`; an unknown method; a confidence or a number of samples that cannot be.
    """
    if method not in list(_ENL_ESTIMATORS):
        raise Alos2TutError(f"unknown method {method!r}", where="method", remedy=closest(str(method), _ENL_ESTIMATORS))
    probability = _upper_quantile(confidence)
    estimator = _ENL_ESTIMATORS[method]
    looks, pixels = estimator.estimate(power), int(np.isfinite(real_power(power)).sum())
    samples = effective_samples
    if samples is None:
        samples = _independent_pixels(power, lambda correlation: _shared_error(estimator, looks, correlation))
    if not (is_number(samples) and 2 <= samples <= pixels):
        raise Alos2TutError(f"{samples!r} is not between 2 and the {pixels} pixels", where="effective_samples")
    spread = math.sqrt(estimator.variance(looks) / samples) / looks
    with np.errstate(over="ignore"):
        factor = float(np.exp(stats.t.ppf(probability, samples - 1) * spread))
    return Estimate(looks, looks / factor, looks * factor, confidence, pixels, float(samples))


def autocorrelation(power: ArrayLike, max_lag: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of power between neighbours, along columns (x) and along rows (y), at lags 0…``max_lag``.

    It is about the mean of the image, so that slants and fields of the ground count, too.

    Args:
        power: linear power (H, W); pairs in which either pixel is missing are left out.
        max_lag: largest distance in pixels, at most 64.

    Returns:
        Two arrays of ``max_lag`` + 1 numbers, the first 1; NaN where no pair is so far apart.

    Raises:
        Alos2TutError: an image not larger than ``max_lag``, without two pixels of data or that does not vary, or power
            as :func:`~alos2tut.radiometry.power_image` refuses it.
    """
    values = power_image(power)
    if not is_count(max_lag, 0) or max_lag > _MOST_LAGS:
        raise Alos2TutError(f"max_lag={max_lag!r} is not a whole number from 0 to {_MOST_LAGS}", where="max_lag")
    if min(values.shape) <= max_lag:
        raise Alos2TutError(f"an image of {values.shape} pixels has no pairs {max_lag} apart", where="max_lag")
    valid = ~np.isnan(values)
    known = _varying(values[valid])
    known -= known.mean()
    variance, centred = known @ known / known.size, np.zeros(values.shape)
    centred[valid] = known

    def along_first_axis(image: FloatArray, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
        found = np.full(max_lag + 1, np.nan)
        for lag in range(max_lag + 1):
            near, far = slice(0, len(image) - lag), slice(lag, None)
            pairs = np.count_nonzero(valid[near] & valid[far])
            if pairs:
                found[lag] = np.einsum("ij,ij->", image[near], image[far]) / pairs / variance
        return found

    return along_first_axis(centred.T, valid.T), along_first_axis(centred, valid)


def effective_samples(power: ArrayLike, of: Literal["mean", "spread"] = "mean") -> float:
    """How many independent pixels the pixels of homogeneous ground are worth.

    Pixels that share speckle tell less than their number. With the correlation ρ(h) of power between pixels h apart and
    n(h) pairs of them among n pixels, the variance of a mean is Σ n(h) ρ(h) / n times that of independent pixels. An
    estimate of the spread, like ENL or CV, does not depend on scale, so that its error has no part in the first
    Laguerre polynomial of the gamma law; in fully developed speckle the k-th one decorrelates as ρ^k (the bivariate
    gamma law of Kibble 1941). Hence the variance of ENL by moments and of CV grows by Σ n(h) ρ(h)² / n, and that of
    other estimators by a little less (derived here).

    ρ is measured in two dimensions, about the plane that fits the image best. The sums run over the lags that hang
    together with lag 0 and whose correlation exceeds twice 1/√n(h), its noise between independent pixels; the rest, and
    what lies more than 64 pixels away, counts as nothing. In 32 × 32 pixels drawn by
    :func:`~alos2tut.speckle.laws.draw_speckle` this makes the number 5 to 7 % too large for means, 0 to 2 % for the
    spread.

    Args:
        power: linear power (H, W) of homogeneous ground; missing pixels are left out. Numbers of any other shape have
            no geometry and are taken as independent.
        of: "mean": for the error of a mean; "spread": for that of CV and of ENL by moments.

    Returns:
        From 2 to the number of pixels with data.

    Raises:
        Alos2TutError: another word for ``of``, or power as :func:`enl_moments` refuses it.
    """
    exponents = {"mean": 1, "spread": 2}
    if of not in list(exponents):
        raise Alos2TutError(f"unknown quantity {of!r}", where="of", remedy=closest(str(of), exponents))
    return _independent_pixels(power, lambda correlation: correlation ** exponents[of])


def _independent_pixels(power: ArrayLike, shared: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> float:
    """The number of pixels with data over Σ n(h) shared(ρ(h)) / n."""
    values = real_power(power)
    usable = ~np.isnan(values)
    known = _varying(values[usable])
    pixels, spread = known.size, known.std()
    del known  # as large as the image
    if values.ndim != 2:
        return float(pixels)
    centred = _about_its_plane(values, usable)
    # three pixels lie on a plane, and so does a bare ramp: what rounding leaves of them has no correlation to speak of
    if centred.std() <= 1e-9 * spread:
        return float(pixels)
    correlation, pairs = _correlation_by_lag(centred, usable)
    no_lag = tuple(n // 2 for n in pairs.shape)
    above_noise = correlation * np.sqrt(pairs) > _NOISE_LEVEL
    above_noise[no_lag] = True  # also in a handful of pixels
    regions = ndimage.label(above_noise)[0]
    measured = regions == regions[no_lag]
    inflation = float(np.sum(pairs[measured] * shared(correlation[measured]))) / pixels
    return max(float(pixels / max(inflation, 1)), 2.0)


def _about_its_plane(values: FloatArray, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What the usable pixels differ by from the plane that fits them best; 0 elsewhere."""
    rest = np.where(usable, values, 0).astype(np.float64, copy=False)
    in_rows, in_cols = usable.sum(axis=1), usable.sum(axis=0)
    pixels = in_rows.sum()
    y, x = (np.arange(n.size) - np.arange(n.size) @ n / pixels for n in (in_rows, in_cols))
    xy = y @ (usable @ x)
    products = np.array([[pixels, 0, 0], [0, y**2 @ in_rows, xy], [0, xy, x**2 @ in_cols]])
    # least squares of the normal equations: a single row or column leaves a slope open, and that one becomes 0
    sums = [rest.sum(), y @ rest.sum(axis=1), rest.sum(axis=0) @ x]
    level, down, right = np.linalg.lstsq(products, sums, rcond=None)[0]
    rest -= (level + down * y)[:, None]
    rest -= right * x
    rest[~usable] = 0
    return rest


def _correlation_by_lag(
    centred: NDArray[np.float64], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation and number of pairs by lag, up to half the image and to ``_MOST_LAGS`` both ways; lag 0 central."""
    down, right = (min(n // 2, _MOST_LAGS) for n in centred.shape)
    strip = min(_STRIP_ROWS, len(centred))
    shape = [fft.next_fast_len(n, real=True) for n in (strip + down, centred.shape[1] + right)]

    def sums_of_products(image: NDArray[Any]) -> NDArray[np.float64]:
        spectrum: Any = 0
        for top in range(0, len(image), strip):
            with_those_below = image[top : top + strip + down].astype(np.float64, copy=False)
            spectrum += np.conj(fft.rfft2(with_those_below[:strip], shape)) * fft.rfft2(with_those_below, shape)
        lower = np.roll(fft.irfft2(spectrum, shape), right, axis=1)[: down + 1, : 2 * right + 1]
        return np.concatenate([lower[:0:-1, ::-1], lower])  # two pixels are a pair in either order

    products, pairs = sums_of_products(centred), np.rint(sums_of_products(usable))
    covariance = products / np.maximum(pairs, 1)
    # few pairs can by chance agree better than each pixel with itself
    return np.minimum(covariance / covariance[down, right], 1), pairs


def texture_order(power: ArrayLike, looks: float, *, window: int, confidence: float = 0.95) -> Estimate:
    """Order ν of the texture of ground, from how much more than speckle its power varies.

    Solves 1 + CV² = (1 + 1/L)(1 + 1/ν) (Oliver and Quegan 2004) for 1 + CV² = ⟨I²⟩ / ⟨I⟩². The squared level ⟨I⟩² of
    each window is the mean product of pixels that lie more than a quarter of it apart: the square of a window's mean
    would contain the window's own chance, and more of it the more neighbours share (derived here). So ν belongs to
    scales from one pixel to the window. Take windows at least four times as wide as what neighbours share, whether
    speckle or texture; else the order found is too large. Averaging pixels beforehand hides shorter texture.

    Both means are taken over all windows, each in proportion to the level around it. The interval follows from their
    scatter (of a ratio of means, with Student's t): it knows of correlated speckle, not of an error in ``looks``.

    Args:
        power: linear power (H, W) of one kind of ground; missing pixels are left out, and with them windows of which
            less than half is left. Windows start at the first pixel; what remains at the far edges is not used.
        looks: equivalent number of looks of this power, as given here.
        window: side of the windows in pixels, at least 4.
        confidence: of the interval, between 0 and 1.

    Returns:
        ν; infinite where power does not vary more than speckle. ``effective_samples`` is the number of windows.

    Raises:
        Alos2TutError: fewer than two windows with data, and power, looks, a window or a confidence that cannot be.
    """
    speckle, values = 1 + 1 / check_positive(looks), power_image(power)
    probability = _upper_quantile(confidence)
    if not is_count(window, 4):
        raise Alos2TutError(f"window={window!r} is not a whole number of at least 4", where="window")
    mean_square, squared_level, pixels = _moments_of_windows(values, window)
    windows = mean_square.size
    if windows < 2:
        problem = f"fewer than two windows of {window} × {window} pixels have data"
        raise Alos2TutError(problem, where="window", remedy="Give a larger image or a smaller window.")
    ratio = mean_square.mean() / squared_level.mean()
    scatter = (mean_square - ratio * squared_level).std(ddof=1) / squared_level.mean()
    half = stats.t.ppf(probability, windows - 1) * scatter / math.sqrt(windows)

    def order(ratio: float) -> float:
        return float(1 / (ratio / speckle - 1)) if ratio > speckle else math.inf

    return Estimate(order(ratio), order(ratio + half), order(ratio - half), confidence, pixels, float(windows))


def _moments_of_windows(values: FloatArray, window: int) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Mean square and squared level of windows of which half has data, and the number of pixels in these windows.

    Both are in units of the squared mean of a window and its neighbours: its own is large where its mean square is.
    """
    rows, cols = (n // window for n in values.shape)
    if rows * cols == 0:
        return np.empty(0), np.empty(0), 0
    values = values[: rows * window, : cols * window]
    usable = ~np.isnan(values)
    known = np.where(usable, values, 0)

    def by_block(image: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the 4 × 4 blocks of each window, (rows, cols, 16)."""
        for axis, count in enumerate((rows, cols)):
            starts = np.add.outer(np.arange(count) * window, np.arange(4) * window // 4).ravel()
            image = np.add.reduceat(image, starts, axis=axis, dtype=np.float64)
        return image.reshape(rows, 4, cols, 4).swapaxes(1, 2).reshape(rows, cols, 16)

    places = np.divmod(np.arange(16), 4)
    apart = np.maximum(*(np.abs(np.subtract.outer(place, place)) for place in places)) > 1
    counts, sums = by_block(usable), by_block(known)
    pixels, total = counts.sum(axis=2), sums.sum(axis=2)
    enough = 2 * pixels >= window * window
    level = _sums_in_windows(total * enough, 3)[enough] / _sums_in_windows(pixels * enough, 3)[enough]
    mean_square = by_block(np.square(known, dtype=np.float64)).sum(axis=2)[enough] / pixels[enough]
    over_pairs = (np.einsum("ni,ij,nj->n", of[enough], apart, of[enough]) for of in (sums, counts))
    squared_level: NDArray[np.float64] = np.divide(*over_pairs)
    return mean_square / level**2, squared_level / level**2, int(pixels[enough].sum())


def local_moments(power: ArrayLike, window: int) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of power around every pixel.

    Windows are cut at the image's edge and leave missing pixels out. Each is summed alone, in float64, so that a bright
    target does no harm beyond its own windows. A variance within the rounding error of its window counts as zero.

    Args:
        power: linear power (H, W).
        window: side of the square window in pixels, odd, at least 3, not larger than the image in either direction.

    Returns:
        (mean, population variance), each (H, W) of the input's float type, NaN where the pixel has no data.

    Raises:
        Alos2TutError: a window that is none of these, or power as :func:`~alos2tut.radiometry.power_image` refuses it.
    """
    values = power_image(power)
    check_window(window, values.shape)
    mean, variance = np.empty_like(values), np.empty_like(values)
    for top in range(0, len(values), _STRIP_ROWS):
        first, end = max(top - window // 2, 0), top + _STRIP_ROWS
        moments = _moments_around(values[first : end + window // 2], window)
        for whole, part in zip((mean, variance), moments, strict=True):
            whole[top:end] = part[top - first :][:_STRIP_ROWS]
    return mean, variance


def _moments_around(values: FloatArray, window: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What :func:`local_moments` does, in float64 and all at once."""
    missing = np.isnan(values)
    known = np.where(missing, 0, values)
    counts = np.maximum(_sums_in_windows(~missing, window), 1)
    mean = _sums_in_windows(known, window) / counts
    mean_square = _sums_in_windows(np.square(known, dtype=np.float64), window) / counts
    variance = mean_square - mean * mean
    # what rounding leaves of a difference of two nearly equal numbers
    variance[variance <= 4 * np.finfo(np.float64).eps * mean_square] = 0
    mean[missing] = variance[missing] = np.nan
    return mean, variance


def _sums_in_windows(values: NDArray[Any], window: int) -> NDArray[np.float64]:
    """float64 sums around every pixel; beyond the edge there is nothing."""
    # not a running sum: after a bright target it would drag the rounding error of that target along
    ones, sums = np.ones(window), np.empty(values.shape)
    ndimage.correlate1d(values, ones, axis=0, output=sums, mode="constant")
    ndimage.correlate1d(sums, ones, axis=1, output=sums, mode="constant")
    return sums


def error_share_below_median(power: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The share of the absolute dB error around the best constant guess that falls on pixels darker than that guess.

    That guess is the median, with or without weights. Half of the pixels lie below it, but speckle in dB has its long
    tail on the dark side: below lie 61 % of the error at one look and 57 % at 2.5 (by integration; 60.9 and 57.1).

    Args:
        power: linear power of any shape; missing pixels are left out.
        weights: of each pixel's error, in the shape of ``power``, not negative; NaN leaves a pixel out.

    Returns:
        Between 0 and 1.

    Raises:
        Alos2TutError: power as :func:`enl_moments` refuses it; weights of another shape, negative, or nowhere above
            zero.
    """
    values = real_power(power)
    weight = np.ones(values.shape) if weights is None else as_real(weights, "weights")
    if weight.shape != values.shape:
        raise Alos2TutError(f"are of shape {weight.shape}, power of {values.shape}", where="weights")
    if (weight < 0).any():
        raise Alos2TutError("are negative somewhere", where="weights")
    usable = ~np.isnan(values) & np.isfinite(weight)
    db = to_db(_varying(values[usable]))
    deviation = db - np.median(db)
    error = weight[usable] * np.abs(deviation)
    if not error.sum() > 0:
        raise Alos2TutError("leave no error to share", where="weights")
    return float(error[deviation < 0].sum() / error.sum())


def _upper_quantile(confidence: float) -> float:
    """The probability below the upper end of an interval."""
    if not (is_number(confidence) and 0 < confidence < 1):
        raise Alos2TutError(f"confidence={confidence!r} is not between 0 and 1", where="confidence")
    return (1 + float(confidence)) / 2


def _known(values: FloatArray) -> NDArray[np.float64]:
    """The pixels with data, (N,) as float64; fewer than two are refused."""
    known = values[~np.isnan(values)].astype(np.float64)
    if known.size < 2:
        raise Alos2TutError("has fewer than two pixels with data", where="power")
    return known


def _varying(values: FloatArray) -> NDArray[np.float64]:
    """What :func:`_known` gives; pixels that are all the same are refused."""
    known = _known(values)
    if known.min() == known.max():
        raise _does_not_vary()
    return known


def _relative_to_mean(power: ArrayLike) -> NDArray[np.float64]:
    known = _known(real_power(power))
    return np.asarray(known / known.mean())


def _does_not_vary() -> Alos2TutError:
    remedy = "Give pixels with speckle, not an area that was filled with one value."
    return Alos2TutError("does not vary", where="power", remedy=remedy)
