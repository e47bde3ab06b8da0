"""What a SAR number means: digital numbers, power, decibels, looks.

Averaging is done in power, never in dB. Everything here is NumPy only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import Alos2TutError

#: Calibration factor of PALSAR-2 Level 1.5, 2.1, 2.2 and mosaic products: σ0 [dB] = 10·log10⟨DN²⟩ − 83.0
#: (JAXA, ALOS-2/PALSAR-2 calibration results; leader file, radiometric record, bytes 21–36).
CALIBRATION_FACTOR_DB = -83.0


def to_db(power: ArrayLike) -> NDArray[np.floating[Any]]:
    """10·log10(power); zero becomes −inf, negative power and NaN become NaN, silently."""
    power = np.asarray(power)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: NDArray[np.floating[Any]] = 10 * np.log10(power)
    return result


def to_power(db: ArrayLike) -> NDArray[np.floating[Any]]:
    """10^(dB / 10)."""
    exponent = np.asarray(db, dtype=np.float64) / 10
    power: NDArray[np.float64] = np.power(10.0, exponent)
    return power


def dn_to_power(dn: ArrayLike, calibration_factor_db: float = CALIBRATION_FACTOR_DB) -> NDArray[np.floating[Any]]:
    """Calibrated backscatter (linear) of amplitude numbers: DN² · 10^(CF/10) (JAXA product format description)."""
    dn = np.asarray(dn, dtype=np.float64)
    power: NDArray[np.float64] = dn * dn * 10 ** (calibration_factor_db / 10)
    return power


def power_to_dn(power: ArrayLike, calibration_factor_db: float = CALIBRATION_FACTOR_DB) -> NDArray[np.floating[Any]]:
    """The inverse of :func:`dn_to_power`, not rounded."""
    return np.sqrt(np.asarray(power, dtype=np.float64) * 10 ** (-calibration_factor_db / 10))


def sigma0_to_gamma0(power: ArrayLike, incidence_deg: ArrayLike) -> NDArray[np.floating[Any]]:
    """γ0 = σ0 / cos θ, in linear power."""
    return np.asarray(power) / np.cos(np.deg2rad(incidence_deg))


def gamma0_to_sigma0(power: ArrayLike, incidence_deg: ArrayLike) -> NDArray[np.floating[Any]]:
    """σ0 = γ0 · cos θ, in linear power."""
    return np.asarray(power) * np.cos(np.deg2rad(incidence_deg))


def multilook(power: NDArray[np.floating[Any]], looks: int | tuple[int, int]) -> NDArray[np.float32]:
    """Average power over blocks of pixels; a block counts if at least half of its pixels have data.

    Blocks start at the first pixel; a partial block at the far edge averages what it has.

    Args:
        power: linear power (H, W), NaN where there is no data.
        looks: pixels per block, one number or (rows, columns).

    Returns:
        float32 (⌈H/rows⌉, ⌈W/columns⌉), NaN where fewer than half of a block's pixels have data.
    """
    rows, cols = look_pair(looks)
    if (rows, cols) == (1, 1):
        return power.astype(np.float32)
    valid = np.isfinite(power)
    return block_means(np.where(valid, power, 0.0), valid, (rows, cols))


def block_means(values: NDArray[Any], valid: NDArray[np.bool_], looks: tuple[int, int]) -> NDArray[np.float32]:
    """What :func:`multilook` does, for numbers of any type that come with a mask.

    Args:
        values: (H, W), 0 where not valid; whole numbers are summed exactly.
        valid: (H, W), where there is data.
        looks: (rows, columns) per block.

    Returns:
        As for :func:`multilook`.
    """
    # a block larger than the image averages all of it; its size is no reason to pad
    rows, cols = (min(n, max(size, 1)) for n, size in zip(looks, values.shape, strict=True))
    counts = _block_sum(valid, rows, cols)
    sizes = np.outer(_block_lengths(values.shape[0], rows), _block_lengths(values.shape[1], cols))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * counts >= sizes, _block_sum(values, rows, cols) / counts, np.nan).astype(np.float32)


def look_pair(looks: int | tuple[int, int]) -> tuple[int, int]:
    """Looks as (rows, columns).

    Raises:
        Alos2TutError: anything but one or two whole numbers of at least 1.
    """
    pair = tuple(looks) if isinstance(looks, (tuple, list)) else (looks, looks)
    if len(pair) != 2 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in pair):
        raise Alos2TutError(f"looks={looks!r} is not a whole number of at least 1, or a pair of them", where="looks")
    return int(pair[0]), int(pair[1])


def _block_lengths(size: int, n: int) -> NDArray[np.int64]:
    """Pixels of each block of ``n`` along an axis of ``size``; the last one may be cut."""
    return np.minimum(n, size - np.arange(0, size, n))


def _block_sum(values: NDArray[Any], rows: int, cols: int) -> NDArray[np.float64]:
    height, width = values.shape
    if height % rows or width % cols:
        values = np.pad(values, ((0, -height % rows), (0, -width % cols)))
    blocks = values.reshape(values.shape[0] // rows, rows, values.shape[1] // cols, cols)
    return np.asarray(blocks.sum(axis=(1, 3), dtype=np.float64))
