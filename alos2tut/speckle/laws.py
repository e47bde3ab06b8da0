"""Laws of speckle: densities of its power, its spread in power and in dB; and speckle drawn by them. NumPy and SciPy.

Multilooked speckle of L looks on homogeneous ground is a gamma variable of mean 1 and variance 1/L; in texture, the
product model adds a second gamma variable of order ν (K distribution). Power is linear, never dB.

References:
    Jakeman, Pusey: A model for non-Rayleigh sea echo. IEEE Transactions on Antennas and Propagation 24(6), 1976.
    Oliver, Quegan: Understanding synthetic aperture radar images. SciTech, 2004.
    Goodman: Speckle phenomena in optics. Roberts, 2007.
    DLMF: NIST Digital library of mathematical functions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special, stats

from ..core.errors import Alos2TutError
from ..core.validation import check_positive, is_count, is_number

#: dB per unit of natural logarithm
_DB_PER_NEPER = 10 / math.log(10)
#: From this order of texture on, the K law differs from the gamma law by less than rounding does.
_LARGEST_TEXTURE_ORDER = 1e8
#: Correlated speckle is drawn look by look; more are not worth the time.
_MOST_DRAWN_LOOKS = 1000


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
    return math.sqrt((1 + 1 / check_positive(looks)) * texture - 1)


def _checked_order(order: float) -> float:
    if not (is_number(order) and order > 0):
        raise Alos2TutError(f"a texture order of {order!r} is not above 0", where="order")
    return float(order)


def db_bias(looks: float) -> float:
    """What averaging dB instead of power loses, in dB: 10·log10(e)·(ψ(L) − ln L); −2.51 dB at one look.

    It is the mean of the logarithm of a gamma variable (Oliver and Quegan 2004). Looks must be finite and above zero.
    """
    looks = check_positive(looks)
    return float(_DB_PER_NEPER * (special.digamma(looks) - math.log(looks)))


def db_spread(looks: float) -> float:
    """Standard deviation of speckle in dB: 10·log10(e)·√ψ'(L); 5.57 dB at one look, whatever the brightness.

    It is that of the logarithm of a gamma variable (Oliver and Quegan 2004). Looks must be finite and above zero.
    """
    return float(_DB_PER_NEPER * math.sqrt(special.polygamma(1, check_positive(looks))))


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
    density: NDArray[np.float64] = stats.gamma.pdf(
        power, check_positive(looks), scale=check_positive(mean, "mean") / looks
    )
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
    looks, order, mean = check_positive(looks), _checked_order(order), check_positive(mean, "mean")
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
    """ln K of real order for z > 0.

    Where K is too large for a float, it is the leading term for small z (DLMF 10.30.2), times what Debye's expansion to
    first order says of the way from there to z (10.41.4): right in the limit of either, and to 1e-7 between.
    """
    order = max(abs(order), np.finfo(np.float64).tiny)
    radius = np.hypot(order, z)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        leading = special.gammaln(order) - math.log(2) + order * np.log(2 / z)
        rise = order * np.log((1 + radius / order) / 2) + order - radius - np.log(radius / order) / 2
        rise += (5 * (order / radius) ** 2 - 3) / (24 * radius) - 1 / (12 * order)
        scaled = special.kve(order, z)
        return np.asarray(np.where(np.isfinite(scaled), np.log(scaled) - z, leading + rise))


def draw_speckle(shape: tuple[int, int], looks: float, seed: int, *, correlation: float = 0.0) -> NDArray[np.float64]:
    """Simulated speckle: gamma-distributed power of mean 1 and variance 1/looks.

    Correlated speckle of L whole looks is made as nature does it: the mean of L intensities |z|² of complex Gaussian
    fields, each smoothed by the kernel (a, 1, a) along both axes. The correlation of intensity is the squared one of
    the field (Goodman 2007): (2a / (1 + 2a²))² = ``correlation`` at lag 1, (a² / (1 + 2a²))² at lag 2, the square
    of ``correlation`` at the diagonal neighbour, and nothing further away (derived here).

    Args:
        shape: (rows, columns).
        looks: equivalent number of looks, any positive number; where speckle is to be correlated, whole and at most
            1000.
        seed: equal seeds give equal speckle; a whole number of at least 0.
        correlation: of intensity between direct neighbours along rows and columns, 0 to 0.5.

    Returns:
        (H, W) float64.

    Raises:
        Alos2TutError: a shape, looks, a seed or a correlation other than these.
    """
    looks = check_positive(looks)
    if not (isinstance(shape, tuple) and len(shape) == 2 and all(map(is_count, shape))):
        raise Alos2TutError(f"shape={shape!r} is not (rows, columns)", where="shape")
    if not is_count(seed, 0):
        raise Alos2TutError(f"seed={seed!r} is not a whole number of at least 0", where="seed")
    if not (is_number(correlation) and 0 <= correlation <= 0.5):
        raise Alos2TutError(f"correlation={correlation!r} is not between 0 and 0.5", where="correlation")
    random = np.random.default_rng(seed)
    if correlation == 0:
        return np.asarray(random.gamma(looks, 1 / looks, shape))
    if looks != round(looks) or looks > _MOST_DRAWN_LOOKS:
        raise Alos2TutError(
            f"correlated speckle of {looks} looks cannot be drawn",
            where="looks",
            remedy=f"Take a whole number up to {_MOST_DRAWN_LOOKS}.",
        )
    power = np.zeros(shape)
    for _ in range(2 * int(looks)):
        power += _smooth_field(random, shape, math.sqrt(correlation)) ** 2
    return power / (2 * looks)


def _smooth_field(random: np.random.Generator, shape: tuple[int, int], correlation: float) -> NDArray[np.float64]:
    """A real Gaussian field of mean 0, variance 1 and this correlation between direct neighbours (at most √½)."""
    # 2a / (1 + 2a²) = correlation, solved for the smaller a, without a difference of nearly equal numbers
    side = correlation / (1 + math.sqrt(max(1 - 2 * correlation**2, 0)))
    kernel = np.array([side, 1, side]) / math.sqrt(1 + 2 * side**2)
    field = random.standard_normal((shape[0] + 2, shape[1] + 2))
    for axis in (0, 1):
        field = ndimage.correlate1d(field, kernel, axis=axis)
    return field[1:-1, 1:-1]
