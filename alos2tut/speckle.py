"""Speckle: how strong it is, and how far neighbours share it. NumPy and SciPy.

Multilooked speckle of L looks on homogeneous ground is a gamma variable of mean 1 and variance 1/L; in texture, the
product model adds a second gamma variable of order ν (K distribution).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from .errors import Alos2TutError

FloatArray = NDArray[np.floating[Any]]


def enl_moments(power: FloatArray) -> float:
    """Equivalent number of looks, mean² / variance of power over homogeneous ground; NaN are left out.

    Any real variation of the ground makes it too low.
    """
    values = _positive(power)
    return float(values.mean() ** 2 / values.var(ddof=1))


def enl_log_moments(power: FloatArray) -> float:
    """Equivalent number of looks from the variance of log power: ψ'(L) = var(ln I) (Nicolas 2002).

    Zero power has no logarithm and is left out.
    """
    variance = float(np.log(_positive(power)).var(ddof=1))
    return float(optimize.brentq(lambda looks: special.polygamma(1, looks) - variance, 1e-3, 1e6))


def coefficient_of_variation(power: FloatArray) -> float:
    """Standard deviation over mean of power; 1/√L for pure speckle of L looks, more where there is texture."""
    values = _positive(power)
    return float(values.std(ddof=1) / values.mean())


def expected_cv(looks: float, texture_order: float | None = None) -> float:
    """CV of the product model: CV² = (1 + 1/L)(1 + 1/ν) − 1; without texture 1/√L."""
    texture = 1.0 if texture_order is None else 1 + 1 / texture_order
    return float(np.sqrt((1 + 1 / looks) * texture - 1))


def db_bias(looks: float) -> float:
    """What averaging dB instead of power loses, in dB: 10·log10(e)·(ψ(L) − ln L); −2.51 dB at one look."""
    return float(10 / np.log(10) * (special.digamma(looks) - np.log(looks)))


def db_spread(looks: float) -> float:
    """Standard deviation of speckle in dB: 10·log10(e)·√ψ'(L); 5.57 dB at one look, whatever the brightness."""
    return float(10 / np.log(10) * np.sqrt(special.polygamma(1, looks)))


def gamma_density(power: FloatArray, looks: float, mean: float = 1.0) -> NDArray[np.float64]:
    """Probability density of the power of L-look speckle around a mean."""
    density: NDArray[np.float64] = stats.gamma.pdf(power, looks, scale=mean / looks)
    return density


def autocorrelation(power: FloatArray, max_lag: int = 5) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlation of power between neighbours, along columns (x) and along rows (y), at lags 0…``max_lag``.

    Args:
        power: (H, W); pairs in which either pixel is NaN are left out.
        max_lag: largest distance in pixels.

    Raises:
        Alos2TutError: an image not larger than ``max_lag``.
    """
    if min(power.shape) <= max_lag:
        raise Alos2TutError(f"an image of {power.shape} pixels has no pairs {max_lag} apart", where="max_lag")
    centred = power - np.nanmean(power)
    variance = np.nanmean(centred**2)

    def along(image: FloatArray) -> NDArray[np.float64]:
        pairs = [(image[:, : image.shape[1] - lag] * image[:, lag:]) for lag in range(max_lag + 1)]
        return np.array([np.nanmean(product) / variance for product in pairs], dtype=np.float64)

    return along(centred), along(centred.T)


def homogeneous_window(power: FloatArray, size: int) -> tuple[int, int, int, int]:
    """The most even ground: the ``size`` × ``size`` window, on a grid of half that, with the lowest CV.

    Choosing the lowest makes ENL measured there a little too high; for a careful figure, choose ground by eye.

    Returns:
        (row, col, height, width).

    Raises:
        Alos2TutError: an image smaller than the window, or no window wholly with data.
    """
    best, place = np.inf, None
    for row in range(0, power.shape[0] - size + 1, max(size // 2, 1)):
        for col in range(0, power.shape[1] - size + 1, max(size // 2, 1)):
            part = power[row : row + size, col : col + size]
            if np.isfinite(part).all() and part.mean() > 0 and part.std() / part.mean() < best:
                best, place = part.std() / part.mean(), (row, col, size, size)
    if place is None:
        raise Alos2TutError(f"no window of {size} × {size} pixels lies wholly on data", where="size")
    return place


def _positive(power: FloatArray) -> NDArray[np.float64]:
    """The usable values: finite and above zero.

    Raises:
        Alos2TutError: complex or negative values, or fewer than two usable ones.
    """
    if np.iscomplexobj(power):
        raise Alos2TutError("is complex", where="power", remedy="Give its squared magnitude.")
    values = np.asarray(power, dtype=np.float64)
    values = values[np.isfinite(values)]
    if (values < 0).any():
        raise Alos2TutError("is negative somewhere", where="power", remedy="Give linear power, not dB.")
    values = values[values > 0]
    if values.size < 2:
        raise Alos2TutError("has fewer than two pixels with data", where="power")
    return values
