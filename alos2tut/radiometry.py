"""What a SAR number means: digital numbers, power, decibels, noise, angles, looks.

Averaging is done in power, never in dB. Everything here is NumPy only. Masked numbers are missing and become NaN.

References:
    JAXA: ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product format description; calibration results of PALSAR-2.
    Raney, Freeman, Hawkins, Bamler: A plea for radar brightness. IGARSS, 1994.
    Small: Flattening gamma: radiometric terrain correction for SAR imagery. IEEE Transactions on Geoscience and Remote
        Sensing 49(8), 2011.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .core.errors import Alos2TutError
from .core.validation import FloatArray, as_numbers, as_real, look_pair

#: Calibration factor of PALSAR-2 Level 1.5, 2.1, 2.2 and mosaic products: σ0 [dB] = 10·log10⟨DN²⟩ − 83.0
#: (JAXA, ALOS-2/PALSAR-2 calibration results; leader file, radiometric record, bytes 21–36).
CALIBRATION_FACTOR_DB = -83.0
#: ScanSAR beam W2, products ordered before 2016-09-28 07:00 UT (JAXA, calibration results of PALSAR-2).
OLD_W2_FACTOR_DB = -79.0
#: What is added for complex Level 1.1 numbers: σ0 [dB] = 10·log10⟨I² + Q²⟩ − 83.0 − 32.0 (the same source).
SLC_OFFSET_DB = -32.0
#: The largest amplitude that 16 bits hold; whatever was brighter was written as this number.
SATURATED_DN = 65535
#: Blocks of at most so many pixels are summed in float32, whose error then stays below 1e-6
_MOST_SUMMED_IN_FLOAT32 = 16
#: Linear power that is worked with, −180 to +180 dB: float32 holds the square of any such number
LEAST_POWER, LARGEST_POWER = 1e-18, 1e18


def to_db(power: ArrayLike) -> FloatArray:
    """10·log10(power); zero becomes −inf, negative, masked and missing power NaN, silently.

    Raises:
        Alos2TutError: complex power, or no numbers.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.multiply(10, np.log10(as_real(power, "power")))


def to_power(db: ArrayLike) -> FloatArray:
    """10^(dB / 10), float64."""
    return np.power(10.0, as_real(db, "db").astype(np.float64) / 10)


def dn_to_power(dn: ArrayLike, calibration_factor_db: float = CALIBRATION_FACTOR_DB) -> FloatArray:
    """Calibrated backscatter (linear) of digital numbers: |DN|² · 10^(CF/10) (JAXA product format description).

    Args:
        dn: amplitudes, or complex numbers I + iQ, of which |DN|² = I² + Q².
        calibration_factor_db: CF; for complex Level 1.1 numbers the factor of their file plus ``SLC_OFFSET_DB``.

    Returns:
        float64 in the shape of ``dn``.

    Raises:
        Alos2TutError: no numbers.
    """
    numbers = as_numbers(dn, "dn")
    power: FloatArray = np.square(numbers.real, dtype=np.float64)
    if np.iscomplexobj(numbers):
        power = power + np.square(numbers.imag, dtype=np.float64)
    return np.multiply(power, 10 ** (calibration_factor_db / 10))


def power_to_dn(power: ArrayLike, calibration_factor_db: float = CALIBRATION_FACTOR_DB) -> FloatArray:
    """The inverse of :func:`dn_to_power`, float64, not rounded; negative power becomes NaN, silently."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(as_real(power, "power").astype(np.float64) * 10 ** (-calibration_factor_db / 10))


def dn_range_db(calibration_factor_db: float = CALIBRATION_FACTOR_DB) -> tuple[float, float]:
    """The lowest and the highest backscatter that 16-bit amplitudes can hold, DN 1 and 65535: −83.0 and +13.33 dB."""
    return calibration_factor_db, calibration_factor_db + 20 * math.log10(SATURATED_DN)


def saturated_share(dn: ArrayLike, *, no_data: Sequence[int] = (0,)) -> float:
    """The share of the pixels with data that hold the largest number: what is there may be brighter than it says.

    Args:
        dn: 16-bit amplitudes; as floats, NaN is no data, too.
        no_data: amplitudes that stand for "no data".

    Returns:
        0 to 1; NaN if there is no data at all.

    Raises:
        Alos2TutError: complex numbers, which have no largest amplitude, or no numbers.
    """
    numbers = as_numbers(dn, "dn")
    if np.iscomplexobj(numbers):
        raise Alos2TutError("are complex", where="dn", remedy="Only amplitudes of 16 bits saturate at 65535.")
    with_data = ~np.isin(numbers, no_data) & ~np.isnan(numbers)
    pixels = np.count_nonzero(with_data)
    return np.count_nonzero((numbers == SATURATED_DN) & with_data) / pixels if pixels else math.nan


def sigma0_to_gamma0(power: ArrayLike, incidence_deg: ArrayLike) -> FloatArray:
    """γ0 = σ0 / cos θ, in linear power (Small 2011).

    Args:
        power: σ0, linear.
        incidence_deg: incidence angle θ on the ellipsoid, from 0 on and below 90; elsewhere the result is NaN.

    Returns:
        float64; float32 where both are float32 arrays. So it is for all conversions between σ0, γ0 and β0.
    """
    return np.divide(as_real(power, "power"), np.cos(_radians(incidence_deg)))


def gamma0_to_sigma0(power: ArrayLike, incidence_deg: ArrayLike) -> FloatArray:
    """σ0 = γ0 · cos θ, in linear power; arguments as for :func:`sigma0_to_gamma0`."""
    return np.multiply(as_real(power, "power"), np.cos(_radians(incidence_deg)))


def sigma0_to_beta0(power: ArrayLike, incidence_deg: ArrayLike) -> FloatArray:
    """β0 = σ0 / sin θ, in linear power: radar brightness, per area in the slant-range plane (Raney et al. 1994).

    σ0 and γ0 refer to the ellipsoid, as in products that were calibrated without a terrain model (Small 2011). β0 needs
    no angle, so that one found by the angle with which σ0 was made is right on any slope.

    Args:
        power: σ0, linear.
        incidence_deg: incidence angle θ on the ellipsoid, above 0 and below 90; elsewhere the result is NaN.
    """
    return np.divide(as_real(power, "power"), _sine(incidence_deg))


def beta0_to_sigma0(power: ArrayLike, incidence_deg: ArrayLike) -> FloatArray:
    """σ0 = β0 · sin θ, in linear power; arguments as for :func:`sigma0_to_beta0`."""
    return np.multiply(as_real(power, "power"), _sine(incidence_deg))


def _sine(incidence_deg: ArrayLike) -> FloatArray:
    sine = np.sin(_radians(incidence_deg))
    return np.asarray(np.where(sine > 0, sine, sine.dtype.type(np.nan)))


def _radians(incidence_deg: ArrayLike) -> FloatArray:
    """An incidence angle in radians; NaN where it is not in [0, 90) degrees, from where no echo returns."""
    degrees = as_real(incidence_deg, "incidence_deg")
    return np.asarray(np.where((degrees >= 0) & (degrees < 90), np.deg2rad(degrees), degrees.dtype.type(np.nan)))


def noise_bias_db(sigma0_db: ArrayLike, noise_floor_db: ArrayLike) -> FloatArray:
    """How many dB too bright ground reads, because the radar's thermal noise adds to its echo: in power, σ0 + NESZ.

    Ground of −24 dB over a floor of −26 dB reads 2.1 dB too bright (derived here).

    Args:
        sigma0_db: backscatter of the ground without noise.
        noise_floor_db: noise-equivalent σ0 (NESZ).
    """
    excess = as_real(noise_floor_db, "noise_floor_db").astype(np.float64) - as_real(sigma0_db, "sigma0_db")
    return to_db(1 + to_power(excess))


def subtract_noise(power: ArrayLike, noise_floor_db: ArrayLike) -> FloatArray:
    """Power without the mean power of thermal noise: unbiased on average, as noisy as before.

    Speckle takes single pixels of dark ground below the floor: they become negative and stay so, for cutting them off
    would make every average too bright. So average first; what is still negative then is NaN in dB.

    Args:
        power: linear power that contains noise.
        noise_floor_db: noise-equivalent σ0 (NESZ), of the same quantity as ``power``.

    Returns:
        float64.
    """
    return np.subtract(as_real(power, "power"), to_power(noise_floor_db))


def multilook(power: ArrayLike, looks: int | Sequence[int]) -> NDArray[np.float32]:
    """Average power over blocks of pixels; a block counts if at least half of its pixels have data.

    A partial block at the far edge averages what it has. Zero and negative numbers count as they are, so that power
    without its noise stays unbiased.

    Args:
        power: linear power (H, W), not finite where there is no data.
        looks: pixels per block, one number or (rows, columns).

    Returns:
        float32 (⌈H/rows⌉, ⌈W/columns⌉), NaN where fewer than half of a block's pixels have data.

    Raises:
        Alos2TutError: no image of real numbers, or looks as :func:`~alos2tut.core.validation.look_pair` refuses them.
    """
    pair = look_pair(looks)
    values = _image(as_real(power, "power"), "power")
    valid = np.isfinite(values)
    return _block_means(np.where(valid, values, 0.0), valid, pair)


def area_means(power: FloatArray, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float32]:
    """Average power over rectangles whose edges may cut pixels, each of which counts by the area that is covered.

    This is :func:`multilook` to a pixel size that is no multiple of the product's. Rectangles smaller than pixels take
    the pixels' values.

    Args:
        power: linear power (H, W), not finite where there is no data.
        rows, cols: edges of the rectangles (n + 1,) and (m + 1,), rising, in pixels from the image's first edge.

    Returns:
        float32 (n, m), NaN where less than half of a rectangle's area has data.
    """
    valid = np.isfinite(power)
    sums, areas = (
        _sums_between(_sums_between(of, rows).T, cols).T for of in (np.where(valid, power, 0.0), valid.astype(float))
    )
    whole = np.outer(np.diff(rows), np.diff(cols))
    with np.errstate(invalid="ignore", divide="ignore"):
        # a hair less than half is rounding
        return np.where(areas >= (0.5 - 1e-6) * whole, sums / areas, np.nan).astype(np.float32)


def _sums_between(values: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of rows between edges, rows that an edge cuts by their share; float64 (edges − 1, columns)."""
    whole = np.minimum(edges.astype(np.int64), len(values) - 1)
    share = edges - whole
    below = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, dtype=np.float64, out=below[1:])
    return np.diff(below[whole] + share[:, None] * values[whole], axis=0)


def mean_square(
    dn: ArrayLike,
    looks: int | Sequence[int],
    *,
    no_data: Sequence[int] = (0,),
    weight: NDArray[Any] | None = None,
    scratch: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """⟨DN²⟩ over blocks of pixels, the quantity that calibration turns into backscatter.

    Args:
        dn: amplitudes (H, W) of any byte order, or complex numbers, of which |DN|² is meant.
        looks: pixels per block, as for :func:`multilook`.
        no_data: amplitudes that stand for "no data", as NaN and masked ones do anyway; of complex numbers, zero and
            what is not finite do.
        weight: (H, W), multiplied into DN² before averaging; a pixel where it is not finite counts as missing.
        scratch: (H, W), overwritten; saves the time of asking for memory. The result may be a view of it.

    Returns:
        As for :func:`multilook`.

    Raises:
        Alos2TutError: as of :func:`multilook`.
    """
    pair, numbers = look_pair(looks), _image(as_numbers(dn, "dn"), "dn")
    square = np.empty(numbers.shape, dtype=np.float32) if scratch is None else scratch
    if np.iscomplexobj(numbers):
        square[...] = _squared_moduli(numbers)
        valid: NDArray[np.bool_] | None = np.isfinite(square) & (square != 0)
    else:
        square[...] = numbers
        np.multiply(square, square, out=square)
        valid = _with_data(numbers, no_data)
    if weight is not None:
        square *= weight
        known = np.isfinite(weight)
        if not known.all():
            valid = known if valid is None else valid & known
    if valid is not None:
        square[~valid] = 0
    return _block_means(square, valid, pair)


def _squared_moduli(z: NDArray[Any]) -> NDArray[np.float32]:
    parts = z.astype(np.complex64, order="C").view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(parts, parts, out=parts)
        return np.asarray(parts[:, 0::2] + parts[:, 1::2])


def _with_data(dn: NDArray[Any], no_data: Sequence[int]) -> NDArray[np.bool_] | None:
    """Where amplitudes are none of the no-data values; None if everywhere, which zero alone lets us see quickly."""
    # zero is zero in any byte order, and a minimum in the machine's own is several times faster than comparing
    if tuple(no_data) == (0,) and dn.dtype.kind == "u" and dn.view(dn.dtype.newbyteorder("=")).min() > 0:
        return None
    valid: NDArray[np.bool_] = np.isfinite(dn)
    for value in no_data:
        valid &= dn != value
    return valid


def _block_means(values: NDArray[Any], valid: NDArray[np.bool_] | None, looks: tuple[int, int]) -> NDArray[np.float32]:
    """What :func:`multilook` does, for numbers that are 0 where not valid (None: they are so everywhere).

    The result does not depend on how an image is cut into strips of whole blocks, to the last bit.
    """
    # a block larger than the image averages all of it; its size is no reason to work more
    rows, cols = map(min, looks, values.shape)
    if (rows, cols) == (1, 1):
        same = values.astype(np.float32, copy=False)
        return same if valid is None else np.where(valid, same, np.float32(np.nan))
    dtype = np.float32 if looks[0] * looks[1] <= _MOST_SUMMED_IN_FLOAT32 else np.float64
    sums = _block_sums(values, rows, cols, dtype)
    sizes = _block_sizes(values.shape, (rows, cols)).astype(dtype)
    if valid is None:
        return np.asarray(np.divide(sums, sizes, out=sums).astype(np.float32, copy=False))
    counts = _block_sums(valid, rows, cols, dtype)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * counts >= sizes, sums / counts, np.nan).astype(np.float32)


def _block_sizes(shape: tuple[int, ...], looks: tuple[int, int]) -> NDArray[np.int64]:
    """Pixels of each block: one number, unless the last ones of a row or column are cut."""
    if shape[0] % looks[0] == shape[1] % looks[1] == 0:
        return np.array(looks[0] * looks[1])
    lengths = [np.minimum(n, size - np.arange(0, size, n)) for size, n in zip(shape, looks, strict=True)]
    return np.asarray(np.outer(*lengths))


def _block_sums(values: NDArray[Any], rows: int, cols: int, dtype: Any) -> NDArray[Any]:
    """Sums over blocks, rows first: in strips of an image that stay in a core's cache, passes are cheap."""
    return _sums_of_neighbours(_sums_of_neighbours(values, rows, dtype).T, cols, dtype).T


def _sums_of_neighbours(values: NDArray[Any], n: int, dtype: Any) -> NDArray[Any]:
    """Sums of every ``n`` rows; of fewer at the end. The first of each n, then the second, …, so nothing is padded."""
    if n == 1:
        return values.astype(dtype, copy=False)
    first, second = values[0::n], values[1::n]
    sums = np.empty_like(first, dtype=dtype)
    np.add(first[: len(second)], second, out=sums[: len(second)], dtype=dtype)
    sums[len(second) :] = first[len(second) :]
    for k in range(2, n):
        part = values[k::n]
        sums[: len(part)] += part
    return sums


def real_power(power: ArrayLike) -> FloatArray:
    """Linear power as statistics of speckle take it: positive, or NaN where there is no data.

    Zero is no data: PALSAR-2 writes DN 0 where there is none, and an echo is at least 1. Nor are NaN, infinite and
    masked numbers, and those below ``LEAST_POWER``, with which others fill.

    Args:
        power: linear power of any shape, real; integers become floats.

    Returns:
        The same float type, at least float32; a copy only where something had to change.

    Raises:
        Alos2TutError: negative somewhere or finite and above ``LARGEST_POWER``, and what :func:`as_real` refuses.
    """
    values = as_real(power, "power")
    known = (values >= LEAST_POWER) & (values <= LARGEST_POWER)
    if known.all():
        return values
    if (values < 0).any():
        raise Alos2TutError("is negative somewhere", where="power", remedy="Give linear power, not dB.")
    if ((values > LARGEST_POWER) & (values < np.inf)).any():
        raise Alos2TutError(f"exceeds {LARGEST_POWER:g}", where="power", remedy="Give linear power, as of σ0 or DN².")
    return np.where(known, values, values.dtype.type(np.nan))


def power_image(power: ArrayLike) -> FloatArray:
    """What :func:`real_power` does, for one image (H, W).

    Raises:
        Alos2TutError: not two-dimensional or without pixels, and what :func:`real_power` refuses.
    """
    return _image(real_power(power), "power")


def _image(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.ndim != 2 or not values.size:
        problem = f"is of shape {values.shape}, not (rows, columns)"
        raise Alos2TutError(problem, where=where, remedy="Give one image with pixels.")
    return values
