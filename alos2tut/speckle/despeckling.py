"""Speckle filters, and how to tell a good one. NumPy and SciPy.

Every filter takes ``(power, looks, window=7)``, linear power (H, W) and the looks of its speckle, and gives an image of
the same shape. They share one notation (Lopes, Touzi and Nezry 1990): m and Ci are mean and coefficient of variation
in the window around a pixel I, and Cu = 1/√L is the Ci of speckle alone. Where Ci is near Cu the ground is even and m
is the best answer; the more Ci exceeds Cu, the more there is to lose by averaging.

Zero, NaN, infinite and masked numbers are missing data (:func:`~alos2tut.radiometry.real_power`). Windows are cut at
the image's edge and leave missing pixels out; a missing pixel stays missing and does no harm around itself.

References:
    Lee: Digital image enhancement and noise filtering by use of local statistics. IEEE Transactions on Pattern Analysis
        and Machine Intelligence 2(2), 1980.
    Lee: Refined filtering of image noise using local statistics. Computer Graphics and Image Processing 15, 1981.
    Frost, Stiles, Shanmugan, Holtzman: A model for radar images and its application to adaptive digital filtering of
        multiplicative noise. IEEE Transactions on Pattern Analysis and Machine Intelligence 4(2), 1982.
    Kuan, Sawchuk, Strand, Chavel: Adaptive noise smoothing filter for images with signal-dependent noise. IEEE
        Transactions on Pattern Analysis and Machine Intelligence 7(2), 1985.
    Lopes, Touzi, Nezry: Adaptive speckle filters and scene heterogeneity. IEEE Transactions on Geoscience and Remote
        Sensing 28(6), 1990.
    Lopes, Nezry, Touzi, Laur: Maximum a posteriori speckle filtering and first order texture models in SAR images.
        IGARSS, 1990.
    Lopes, Nezry, Touzi, Laur: Structure detection and statistical adaptive speckle filtering in SAR images.
        International Journal of Remote Sensing 14(9), 1993.
    Sattar, Floreby, Salomonsson, Lövström: Image enhancement based on a nonlinear multiscale method. IEEE Transactions
        on Image Processing 6(6), 1997.
    Oliver, Quegan: Understanding synthetic aperture radar images. SciTech, 2004.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce, wraps
from itertools import accumulate, groupby, pairwise, product
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..core.errors import Alos2TutError
from ..core.validation import FloatArray, check_positive, check_window, is_count
from ..radiometry import multilook, power_image, to_db
from .statistics import enl_moments, local_moments

#: K of the Frost filter: weights fall to 1/e within 1/(K·Ci²) pixels, within one in speckle of one look; 1 to 2 is
#: usual (assumption)
FROST_DAMPING = 1.0
#: Images are filtered in tiles of about so many pixels a side, so that what is worked on fits into a core's cache
TILE_PX = 128
#: Ways, as (down, right), in which power may change across an edge; of equals the first counts
DIRECTIONS = ((1, 1), (1, -1), (0, 1), (1, 0))
#: Of fewer differences of blocks the median has a standard error above 16 % (derived here)
LEAST_DIFFERENCES = 50
#: Median of the absolute difference of two standard normal numbers: √2 · 0.6745
MEDIAN_NORMAL_DIFFERENCE = 0.9539


class Filter(Protocol):
    """What all filters look like from outside."""

    def __call__(self, power: FloatArray, looks: float, window: int = 7) -> FloatArray:
        """Filter linear power (H, W) that has speckle of so many looks."""


def _in_tiles(filter_tile: Filter) -> Filter:
    """Make a filter that checks its input and goes through an image in tiles, float64 and NaN where missing.

    Tiles overlap by half a window, so that the result is the same to the last bit however an image is cut.
    """

    @wraps(filter_tile)
    def filter_image(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
        image, looks = power_image(power), check_positive(looks)
        check_window(window, image.shape)
        filtered = np.empty_like(image)
        for pieces in product(*(_pieces(side, window) for side in image.shape)):
            tile, with_margin, without = zip(*pieces, strict=True)
            filtered[tile] = filter_tile(image[with_margin].astype(np.float64), looks, window)[without]
        return filtered

    return filter_image


def _pieces(side: int, window: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cut a side into pieces, none smaller than a window: (piece, piece with margin, where the piece is in that)."""
    count, margin = max(side // max(TILE_PX, window), 1), window // 2
    for first, end in pairwise(side * k // count for k in range(count + 1)):
        start = max(first - margin, 0)
        yield slice(first, end), slice(start, end + margin), slice(first - start, end - start)


@_in_tiles
def boxcar(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
    """The plain mean in the window: the most smoothing on even ground, and the most blurring elsewhere.

    Args:
        power: linear power (H, W); zero, NaN, infinite and masked: no data.
        looks: number of looks; does not matter here.
        window: side of the square window in pixels, odd, 3 or more.

    Returns:
        (H, W) of the input's float type, NaN where it has no data.

    Raises:
        Alos2TutError: power as :func:`~alos2tut.radiometry.power_image` refuses it (negative, complex, no image), looks
            not above 0, or a window that does not fit.
    """
    return local_moments(power, window)[0]


@_in_tiles
def lee(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
    """Lee's filter: m + w·(I − m) with w = 1 − Cu²/Ci², at least 0 (Lee 1980, as Lopes, Touzi and Nezry 1990 put it).

    Arguments, result and errors as for :func:`boxcar`.
    """
    mean, ci2 = _local_statistics(power, window)
    return mean + _share_of_ground(ci2, looks) * (power - mean)


@_in_tiles
def kuan(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
    """Kuan's filter: m + w·(I − m) with w = (1 − Cu²/Ci²) / (1 + Cu²), at least 0 (Kuan et al. 1985).

    The linear function of I with the least mean square error, for any law of the ground. Arguments, result and errors
    as for :func:`boxcar`.
    """
    return _linear_estimate(power, *_local_statistics(power, window), looks)


@_in_tiles
def frost(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
    """Frost's filter: a mean with weights exp(−K·Ci²·d) at a distance of d pixels (Frost et al. 1982).

    d is Euclidean and K is ``FROST_DAMPING``. The number of looks does not matter: K stands in its place. Arguments,
    result and errors as for :func:`boxcar`.
    """
    reach, damping = window // 2, FROST_DAMPING * _local_statistics(power, window)[1]
    known, values = _with_margin(power, reach)
    weights, total = np.zeros_like(power), np.zeros_like(power)
    steps = range(-reach, reach + 1)
    by_distance = sorted((math.hypot(down, right), (down, right)) for down, right in product(steps, repeat=2))
    # pixels of one distance share their weight
    for distance, ring in groupby(by_distance, itemgetter(0)):
        weight, places = np.exp(-distance * damping), [place for _, place in ring]
        weights += weight * reduce(np.add, (_shifted(known, down, right, reach) for down, right in places))
        total += weight * reduce(np.add, (_shifted(values, down, right, reach) for down, right in places))
    return np.divide(total, weights, out=np.full_like(power, np.nan), where=np.isfinite(power))


@_in_tiles
def gamma_map(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
    """The Gamma-MAP filter: the most probable ground if ground and speckle are gamma variables.

    m where Ci ≤ Cu; I, taken for a target, where Ci ≥ √2·Cu; between, with α = (1 + Cu²) / (Ci² − Cu²) and
    b = α − L − 1, it is (b·m + √(b²m² + 4αL·I·m)) / 2α (Lopes, Nezry, Touzi and Laur 1990; the threshold for targets:
    1993). Arguments, result and errors as for :func:`boxcar`.
    """
    mean, ci2 = _local_statistics(power, window)
    cu2 = 1 / looks
    filtered = np.where(ci2 > cu2, power, mean)
    between = (ci2 > cu2) & (ci2 < 2 * cu2)
    i, m = power[between], mean[between]
    alpha = (1 + cu2) / (ci2[between] - cu2)
    b = alpha - looks - 1
    filtered[between] = (b * m + np.sqrt((b * m) ** 2 + 4 * alpha * looks * i * m)) / (2 * alpha)
    return filtered


@_in_tiles
def refined_lee(power: FloatArray, looks: float, window: int = 7) -> FloatArray:
    """Lee's refined filter: as :func:`kuan`, with the statistics of that half of the window that shares I's side.

    Nine overlapping sub-windows (3 × 3 pixels, two apart, in a window of 7) show by their means in which of four
    directions power changes most, and which of the two sides is nearer to the middle (Lee 1981). Other windows are
    divided in the same proportion: ⌊(window − 1) / 3⌋ pixels apart (derived here). Where neither side is nearer, the
    whole window counts.

    Where one of two sub-windows that face each other has no data, as at the image's edge, the pair shows no change of
    power and its direction is not chosen; where all four pairs are like that, the whole window counts (our choice).

    Arguments, result and errors as for :func:`boxcar`, but the window is at least 5.
    """
    if window < 5:
        problem = f"a window of {window} pixels has no room for nine sub-windows"
        raise Alos2TutError(problem, where="window", remedy="Take 5 or more.")
    reach = window // 2
    known, values = _with_margin(power, reach)
    side = _nearer_side(known, values, window)
    counts = _sums_of_side(known, side, window)
    counts[counts == 0] = np.nan
    mean = _sums_of_side(values, side, window) / counts
    ci2 = np.maximum(_sums_of_side(values**2, side, window) / counts / mean**2 - 1, 0)
    return _linear_estimate(power, mean, ci2, looks)


#: All filters by the names that figures and tables give them
FILTERS: Mapping[str, Filter] = {
    "boxcar": boxcar,
    "Lee": lee,
    "refined Lee": refined_lee,
    "Gamma-MAP": gamma_map,
    "Kuan": kuan,
    "Frost": frost,
}


@dataclass(frozen=True)
class Quality:
    """How well a filter did; its text is one line. NaN stands for what could not be told.

    Args:
        ratio_mean: of the ratio image; 1 is best, else the filter shifts brightness.
        ratio_variance: of the ratio image; ``ideal_variance`` is best, less means that speckle was left in.
        structure: what :func:`structure` finds in the ratio image; 1 is best, more means that ground was taken out.
        enl: equivalent number of looks of the filtered image in the even area, by moments.
        edge_preservation: as of :func:`edge_preservation`, against the reference; 1 is best.
        mean_kept: mean of the filtered image over mean of the unfiltered one; 1 is best.
        ideal_variance: 1 / looks.
    """

    ratio_mean: float
    ratio_variance: float
    structure: float
    enl: float
    edge_preservation: float
    mean_kept: float
    ideal_variance: float

    def __str__(self) -> str:
        return (
            f"ratio mean {self.ratio_mean:.3f}, variance {self.ratio_variance:.3f} (best {self.ideal_variance:.3f}), "
            f"structure {self.structure:5.2f}; looks {self.enl:6.1f}; edges {self.edge_preservation:5.2f}; "
            f"mean kept {self.mean_kept:.3f}"
        )


def assess(
    power: ArrayLike,
    filtered: ArrayLike,
    looks: float,
    *,
    reference: ArrayLike | None = None,
    area: tuple[int, int, int, int] | None = None,
    window: int = 7,
) -> Quality:
    """Judge a filter by what it took out, and by what it left.

    The ratio image of a perfect filter is pure speckle, of mean 1, of variance 1/L and without a trace of the ground
    (Oliver and Quegan 2004). Judge by all figures together: an image that was not filtered keeps every edge, too.

    Args:
        power: linear power before filtering (H, W).
        filtered: the same after it.
        looks: number of looks of the speckle in ``power``.
        reference: the truth (H, W), where it is known; NaN edge preservation without it.
        area: (row, column, height, width) of even ground in which to count looks; NaN looks without it.
        window: side of the filter's window, which sets the scale at which structure is sought.

    Returns:
        A figure is NaN, too, where no pixel says anything about it. Looks are infinite where nothing varies.

    Raises:
        Alos2TutError: images of unequal shapes or as the filters refuse them, looks not above 0, a window that is not
            odd or does not fit, or an area that does not lie in the image.
    """
    before, after = _images_of_one_shape(power=power, filtered=filtered)
    looks = check_positive(looks)
    ratio = ratio_image(before, after)
    shared = np.isfinite(before) & np.isfinite(after)
    return Quality(
        ratio_mean=_mean(ratio),
        ratio_variance=_mean(np.square(ratio - _mean(ratio), dtype=np.float64)),
        structure=structure(ratio, window),
        enl=math.nan if area is None else _looks_in(after, area),
        edge_preservation=math.nan if reference is None else edge_preservation(after, reference),
        mean_kept=_quotient(_mean(after[shared]), _mean(before[shared])),
        ideal_variance=1 / looks,
    )


def ratio_image(power: ArrayLike, filtered: ArrayLike) -> FloatArray:
    """What a filter took out: linear power (H, W) before over that after filtering, pure speckle at best.

    Returns:
        (H, W) float, NaN where either has no data.

    Raises:
        Alos2TutError: images of unequal shapes or as the filters refuse them.
    """
    return np.divide(*_images_of_one_shape(power=power, filtered=filtered))


def structure(ratio: ArrayLike, window: int = 7) -> float:
    """How much more the local means of a ratio image vary than its speckle explains; 1: no trace of the ground.

    The variance of the logarithm of the means of small blocks, over the variance that the typical (median) difference
    of two of them shows (derived here). Speckle, correlated or not, is the same everywhere and makes both alike.
    Smeared edges and whole fields are only somewhere: they add to the variance and hardly to the median, as does a
    filter that smooths in some places only. Blocks are half a window wide, as the band that a smeared edge leaves on
    either side; the two of a difference have one between them, so that they share no speckle.

    Args:
        ratio: (H, W), NaN where missing; a block counts if at least half of its pixels have data.
        window: side of the filter's window in pixels, odd, 3 or more.

    Returns:
        1 for pure speckle (1.02 at one look), with a standard deviation of 0.02 in an image of 256 × 256 pixels and a
        window of 7 (measured on 100 simulated fields each of 1 and 4 looks). NaN where fewer than
        ``LEAST_DIFFERENCES`` blocks have a neighbour with data, or if most blocks do not differ at all.

    Raises:
        Alos2TutError: an image as the filters refuse it, or a window that is not odd or does not fit.
    """
    image = power_image(ratio)
    check_window(window, image.shape)
    block = max(window // 2, 2)
    height, width = (side // block * block for side in image.shape)
    means = to_db(multilook(image[:height, :width], block))
    differences = np.concatenate([(means[2:] - means[:-2]).ravel(), (means[:, 2:] - means[:, :-2]).ravel()])
    differences = np.abs(differences[np.isfinite(differences)])
    if differences.size < LEAST_DIFFERENCES:
        return math.nan
    speckle = (np.median(differences) / MEDIAN_NORMAL_DIFFERENCE) ** 2
    return _quotient(float(np.nanvar(means)), float(speckle))


def edge_preservation(filtered: ArrayLike, reference: ArrayLike) -> float:
    """How well edges agree with the truth: correlation β of the two images' Laplacians (Sattar et al. 1997).

    Of power in dB, so that each edge counts by its contrast; in linear power the brightest targets would decide alone
    (our choice).

    Args:
        filtered: linear power after filtering (H, W).
        reference: the truth (H, W).

    Returns:
        1 at best; NaN where one of the images has no edges. Pixels beside missing ones do not count.

    Raises:
        Alos2TutError: images of unequal shapes or as the filters refuse them.
    """
    images = _images_of_one_shape(filtered=filtered, reference=reference)
    first, second = (ndimage.laplace(to_db(image.astype(np.float64)), mode="nearest") for image in images)
    usable = np.isfinite(first) & np.isfinite(second)
    first, second = (edges[usable] - _mean(edges[usable]) for edges in (first, second))
    return _quotient(float(first @ second), math.sqrt(float(first @ first) * float(second @ second)))


def _local_statistics(power: FloatArray, window: int) -> tuple[FloatArray, FloatArray]:
    """m and Ci² around every pixel."""
    mean, variance = local_moments(power, window)
    return mean, np.divide(variance, mean**2)


def _share_of_ground(ci2: FloatArray, looks: float) -> FloatArray:
    """1 − Cu²/Ci², at least 0: how much of the variance is more than speckle."""
    share = np.zeros_like(ci2)
    np.divide(ci2 - 1 / looks, ci2, out=share, where=ci2 > 1 / looks)
    return share


def _linear_estimate(power: FloatArray, mean: FloatArray, ci2: FloatArray, looks: float) -> FloatArray:
    """Linear estimate of least mean square error under multiplicative speckle (Kuan et al. 1985, Lee 1981)."""
    filtered: FloatArray = mean + _share_of_ground(ci2, looks) / (1 + 1 / looks) * (power - mean)
    return filtered


def _with_margin(power: FloatArray, reach: int) -> tuple[FloatArray, FloatArray]:
    """(1 where there is data, power or 0), each with a margin of zeros."""
    known = np.isfinite(power)
    return np.pad(known.astype(np.float64), reach), np.pad(np.where(known, power, 0.0), reach)


def _shifted(padded: NDArray[Any], down: int, right: int, reach: int) -> NDArray[Any]:
    """What lies so many pixels below and to the right of each pixel, of an image with a margin of ``reach``."""
    height, width = padded.shape[0] - 2 * reach, padded.shape[1] - 2 * reach
    return padded[reach + down :, reach + right :][:height, :width]


def _nearer_side(known: FloatArray, values: FloatArray, window: int) -> NDArray[np.int8]:
    """On which side of an edge each pixel lies: 3·down + right of the direction into it, 0 where none is nearer."""
    apart = (window - 1) // 3
    size = window - 2 * apart
    counts, sums = _box_sums(known, size), _box_sums(values, size)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    middle = _shifted(means, 0, 0, apart)
    # by how much each sub-window differs from the middle one; NaN where it has no data
    change = {
        (down, right): _shifted(means, down * apart, right * apart, apart) - middle
        for down, right in product((-1, 0, 1), repeat=2)
    }
    rise = {(down, right): change[down, right] - change[-down, -right] for down, right in DIRECTIONS}
    seen = {direction: np.nan_to_num(by) for direction, by in rise.items()}
    side, steepest = np.zeros(middle.shape, dtype=np.int8), np.zeros(middle.shape)
    for down, right in DIRECTIONS:
        slope = np.abs(sum(np.sign(down * y + right * x) * seen[y, x] for y, x in DIRECTIONS))
        ahead, behind = np.abs(change[down, right]), np.abs(change[-down, -right])
        nearer = (ahead < behind).astype(np.int8) - (behind < ahead).astype(np.int8)
        chosen = (slope > steepest) & np.isfinite(rise[down, right])
        side = np.where(chosen, nearer * np.int8(3 * down + right), side)
        steepest = np.where(chosen, slope, steepest)
    return side


def _box_sums(padded: FloatArray, size: int) -> FloatArray:
    """Sums of ``size`` × ``size`` pixels, wherever they fit."""
    by_rows = reduce(np.add, (padded[row : len(padded) - size + 1 + row] for row in range(size)))
    return reduce(np.add, (by_rows[:, col : by_rows.shape[1] - size + 1 + col] for col in range(size)))


def _sums_of_side(padded: FloatArray, side: NDArray[np.int8], window: int) -> FloatArray:
    """Sums over the half window, with the line through the middle, on the side given for each pixel."""
    height, width = side.shape
    reach = window // 2
    columns = [padded[:, first : first + width] for first in range(window)]
    # a row of a half window is a run of pixels that begins at the window's left or right end
    from_left, from_right = list(accumulate(columns, np.add)), list(accumulate(columns[::-1], np.add))
    sums = np.zeros(side.shape)
    for down, right in product((-1, 0, 1), repeat=2):
        runs = from_right if right > 0 else from_left
        total = np.zeros(side.shape)
        for row in range(-reach, reach + 1):
            length = reach + 1 + down * row if right else window * (down * row >= 0)
            if length:
                total += runs[length - 1][reach + row : reach + row + height]
        sums += total * (side == 3 * down + right)
    return sums


def _images_of_one_shape(**images: ArrayLike) -> list[FloatArray]:
    """Two images of power by their names; those of unequal shapes are refused."""
    one, other = map(power_image, images.values())
    if one.shape != other.shape:
        raise Alos2TutError(f"unequal shapes {one.shape} and {other.shape}", where=" and ".join(images))
    return [one, other]


def _mean(values: FloatArray) -> float:
    """Mean of what is finite; NaN of nothing."""
    values = values[np.isfinite(values)]
    return float(values.mean(dtype=np.float64)) if values.size else math.nan


def _quotient(of: float, by: float) -> float:
    return of / by if by > 0 else math.nan


def _looks_in(image: FloatArray, area: tuple[int, int, int, int]) -> float:
    """Equivalent number of looks in (row, column, height, width) of an image; infinite if nothing varies."""
    is_area = isinstance(area, (tuple, list)) and len(area) == 4 and all(map(is_count, area, (0, 0, 1, 1)))
    if not (is_area and area[0] + area[2] <= image.shape[0] and area[1] + area[3] <= image.shape[1]):
        problem = f"area={area!r} does not lie in an image of {image.shape[0]} × {image.shape[1]}"
        raise Alos2TutError(problem, where="area", remedy="Give (row, column, height, width) in whole pixels.")
    row, col, height, width = area
    values = image[row : row + height, col : col + width]
    values = values[np.isfinite(values)]
    if values.size < 2:
        return math.nan
    return enl_moments(values) if values.max() > values.min() else math.inf
