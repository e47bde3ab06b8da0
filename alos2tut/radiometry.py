"""What a SAR number means: digital numbers, power, decibels, looks.

Averaging is done in power, never in dB. Everything here is NumPy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import Alos2TutError

#: Calibration factor of PALSAR-2 Level 1.5, 2.1, 2.2 and mosaic products: σ0 [dB] = 10·log10⟨DN²⟩ − 83.0
#: (JAXA, ALOS-2/PALSAR-2 calibration results; leader file, radiometric record, bytes 21–36).
CALIBRATION_FACTOR_DB = -83.0
#: ScanSAR beam W2, products ordered before 2016-09-28 07:00 UT (JAXA, calibration results of PALSAR-2).
OLD_W2_FACTOR_DB = -79.0
#: What is added for complex Level 1.1 numbers: σ0 [dB] = 10·log10⟨I² + Q²⟩ − 83.0 − 32.0 (the same source).
SLC_OFFSET_DB = -32.0
#: Blocks of at most so many pixels are summed in float32, whose error then stays below 1e-6
MOST_SUMMED_IN_FLOAT32 = 16


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


def mean_square(
    dn: NDArray[Any],
    looks: tuple[int, int],
    *,
    no_data: Sequence[int] = (0,),
    weight: NDArray[Any] | None = None,
    scratch: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """⟨DN²⟩ over blocks of pixels, the quantity that calibration turns into backscatter.

    Args:
        dn: amplitudes (H, W) of any byte order, or complex numbers, of which |DN|² is meant.
        looks: (rows, columns) per block, as for :func:`multilook`.
        no_data: amplitudes that stand for "no data"; of complex numbers, zero and what is not finite.
        weight: (H, W), multiplied into DN² before averaging; a pixel where it is not finite counts as missing.
        scratch: (H, W), overwritten; saves the time of asking for memory. The result may be a view of it.

    Returns:
        As for :func:`multilook`.
    """
    return block_means(*_squares(dn, no_data, weight, scratch), looks)


class BlockRow:
    """:func:`mean_square` of one row of blocks that is too large for memory: its lines come in pieces.

    Lines are added in their order, as :func:`mean_square` does, so that the result is the same to the last bit however
    they are cut.

    Args:
        looks: (rows, columns) per block; more than ``MOST_SUMMED_IN_FLOAT32`` pixels.
    """

    def __init__(self, looks: tuple[int, int]):
        self._looks, self._lines = looks, 0
        self._sums, self._counts = np.zeros(0), np.zeros(0)

    def add(
        self,
        dn: NDArray[Any],
        *,
        no_data: Sequence[int] = (0,),
        weight: NDArray[Any] | None = None,
        scratch: NDArray[np.float32] | None = None,
    ) -> None:
        """Add the next lines, at least one; arguments as for :func:`mean_square`."""
        square, valid = _squares(dn, no_data, weight, scratch)
        if not self._lines:
            self._sums, self._counts = np.zeros((2, dn.shape[1]))
        for line in square:
            self._sums += line
        self._counts += len(square) if valid is None else np.count_nonzero(valid, axis=0)
        self._lines += len(square)

    def means(self) -> NDArray[np.float32]:
        """float32 (1, ⌈W/columns⌉), as of :func:`multilook`, of the lines added so far, which are the block's."""
        shape = self._lines, len(self._sums)
        cols = min(self._looks[1], shape[1])
        sums, counts = (_sums_of_neighbours(of[:, None], cols, np.float64).T for of in (self._sums, self._counts))
        return _means(sums, counts, _block_sizes(shape, (self._lines, cols)))


def _squares(
    dn: NDArray[Any], no_data: Sequence[int], weight: NDArray[Any] | None, scratch: NDArray[np.float32] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """DN², weighted, 0 where it is missing; and where it is not, or None for everywhere."""
    is_complex = np.iscomplexobj(dn)
    square = np.empty(dn.shape, dtype=np.float32) if scratch is None else scratch
    square[...] = _squared_moduli(dn) if is_complex else dn
    valid = np.isfinite(square) & (square != 0) if is_complex else _with_data(dn, no_data)
    if not is_complex:
        np.multiply(square, square, out=square)
    if weight is not None:
        square *= weight
        known = np.isfinite(weight)
        if not known.all():
            valid = known if valid is None else valid & known
    if valid is not None:
        square[~valid] = 0
    return square, valid


def _squared_moduli(z: NDArray[Any]) -> NDArray[np.float32]:
    parts = z.astype(np.complex64).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.multiply(parts, parts, out=parts)
        moduli: NDArray[np.float32] = parts[:, 0::2] + parts[:, 1::2]
    return moduli


def _with_data(dn: NDArray[Any], no_data: Sequence[int]) -> NDArray[np.bool_] | None:
    """Where amplitudes are none of the no-data values; None if everywhere, which zero alone lets us see quickly."""
    # zero is zero in any byte order, and a minimum in the machine's own is several times faster than comparing
    if tuple(no_data) == (0,) and dn.dtype.kind == "u" and dn.view(dn.dtype.newbyteorder("=")).min() > 0:
        return None
    valid: NDArray[np.bool_] = dn != no_data[0]
    for value in no_data[1:]:
        valid &= dn != value
    return valid


def block_means(values: NDArray[Any], valid: NDArray[np.bool_] | None, looks: tuple[int, int]) -> NDArray[np.float32]:
    """What :func:`multilook` does, for numbers that come with a mask.

    The result does not depend on how an image is cut into strips of whole blocks, to the last bit.

    Args:
        values: (H, W), 0 where not valid.
        valid: (H, W), where there is data; None: everywhere.
        looks: (rows, columns) per block.

    Returns:
        As for :func:`multilook`.
    """
    # a block larger than the image averages all of it; its size is no reason to work more
    rows, cols = (min(n, max(size, 1)) for n, size in zip(looks, values.shape, strict=True))
    if (rows, cols) == (1, 1):
        same = values.astype(np.float32, copy=False)
        return same if valid is None else np.where(valid, same, np.float32(np.nan))
    dtype = np.float32 if looks[0] * looks[1] <= MOST_SUMMED_IN_FLOAT32 else np.float64
    sums = _block_sums(values, rows, cols, dtype)
    sizes = _block_sizes(values.shape, (rows, cols)).astype(dtype)
    if valid is None:
        np.divide(sums, sizes, out=sums)
        means: NDArray[np.float32] = sums.astype(np.float32, copy=False)
        return means
    return _means(sums, _block_sums(valid, rows, cols, dtype), sizes)


def _means(sums: NDArray[Any], counts: NDArray[Any], sizes: NDArray[Any]) -> NDArray[np.float32]:
    """Means over blocks of which at least half has data, NaN of others."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(2 * counts >= sizes, sums / counts, np.nan).astype(np.float32)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 1; True is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def look_pair(looks: int | tuple[int, int]) -> tuple[int, int]:
    """Looks as (rows, columns).

    Raises:
        Alos2TutError: anything but one or two whole numbers of at least 1.
    """
    pair = tuple(looks) if isinstance(looks, (tuple, list)) else (looks, looks)
    if len(pair) != 2 or not all(map(is_count, pair)):
        raise Alos2TutError(f"looks={looks!r} is not a whole number of at least 1, or a pair of them", where="looks")
    return int(pair[0]), int(pair[1])


def _block_sizes(shape: tuple[int, ...], looks: tuple[int, int]) -> NDArray[np.int64]:
    """Pixels of each block: one number, unless the last ones of a row or column are cut."""
    if all(size % n == 0 for size, n in zip(shape, looks, strict=True)):
        return np.array(looks[0] * looks[1])
    lengths = [np.minimum(n, size - np.arange(0, size, n)) for size, n in zip(shape, looks, strict=True)]
    return np.asarray(np.outer(*lengths))


def _block_sums(values: NDArray[Any], rows: int, cols: int, dtype: Any) -> NDArray[Any]:
    """Sums over blocks, rows first: in strips of an image that stay in a core's cache, passes are cheap."""
    by_rows = _sums_of_neighbours(values, rows, dtype)
    return _sums_of_neighbours(by_rows.T, cols, dtype).T


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
