"""Where in an image to look: even ground, on which ENL can be measured, and kinds of ground. NumPy and SciPy.

Power is linear, never dB. Zero, NaN, infinite and masked numbers are missing data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import Alos2TutError
from ..core.validation import FloatArray, check_fits, is_count
from ..radiometry import power_image
from .statistics import coefficient_of_variation, effective_samples

#: Blocks along a side of a window in which homogeneous ground is sought; the next window is two blocks further.
_BLOCKS, _BLOCKS_PER_STEP = 8, 2
#: Share of pixels equal to their right and their lower neighbour above which a window is no speckle but filled in.
_LARGEST_FLAT_SHARE = 0.1
#: Share of pixels that equal the window's largest, or its smallest, above which it is cut off, as saturated ground is.
_LARGEST_SHARE_AT_END = 0.01
#: Up to this CV², power cannot be told from a constant: ENL is not sought either.
_LEAST_SQUARED_CV = 1e-8
#: Standard deviations that CV² of pure speckle spans: 3.5 on either side of its mean, of some thousand windows.
_CV_TOLERANCE = 7.0
#: Blocks whose CV² is below that of the calmest tenth of all windows by this factor were smoothed or filled in, and a
#: window may hold so many; of 16 pixels of speckle, 2 blocks in 100,000 are as calm (simulated).
_CALMER_THAN_SPECKLE, _LARGEST_FILLED_SHARE = 8.0, 0.05
#: A grid with more windows is not worth ranking.
_MOST_WINDOWS = 100_000
#: Images are worked on in strips of about so many rows, so that what is added to them in memory is little.
_STRIP_ROWS = 256


@dataclass(frozen=True)
class Area:
    """A window of an image, from its first row and column on; mean and CV are of its pixels' linear power."""

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
    64 × 64 has an ENL by moments that is 11 % too high at one look. So CV only sorts out: windows stay whose CV²
    exceeds the smallest by no more than chance explains, seven standard deviations. Of these, the most even are those
    whose 8 × 8 blocks differ least in their means, in proportion to the variance of their pixels, which slopes, edges
    and coarse texture raise and speckle does not. ENL by moments there is off by −0.1 ± 0.3 %, and by 2.5 ± 0.4 % where
    neighbours correlate by 0.44 (the first window of 100 simulated fields each, of one look).

    An image without even ground gives its least uneven windows, with no sign of it: compare their ENL with what is
    known of the product. Windows in which anything is missing are not chosen, nor those where more than 1 % of the
    pixels equal the largest or the smallest, as in ground that is saturated or censored, more than a tenth their right
    and lower neighbours, as in padding, or more than 5 % of the blocks are eight times calmer in CV² than the calmest
    tenth of all windows, as in ground that was interpolated.

    Args:
        power: linear power (H, W).
        size: side of the windows in pixels: a multiple of 8, at least 16. They lie a quarter of it apart.
        count: how many windows to find.

    Returns:
        From 1 to ``count`` windows, fewer if there are no more; the most even first, none overlapping another.

    Raises:
        Alos2TutError: no window to choose; a size or a count that cannot be; power as
            :func:`~alos2tut.radiometry.power_image` refuses it.
    """
    values = power_image(power)
    if not is_count(count):
        raise Alos2TutError(f"count={count!r} is not a whole number of at least 1", where="count")
    if not is_count(size, 2 * _BLOCKS) or size % _BLOCKS:
        raise Alos2TutError(f"size={size!r} is not a multiple of {_BLOCKS}, at least {2 * _BLOCKS}", where="size")
    check_fits(size, values.shape, where="size")
    block = size // _BLOCKS
    squared_cv, unevenness = _evenness_of_windows(values, block)
    if not np.isfinite(squared_cv).any():
        problem = f"no window of {size} × {size} pixels has speckle and nothing missing"
        remedy = "Take a smaller size, or ground with data that is not saturated."
        raise Alos2TutError(problem, where="size", remedy=remedy)

    def area(place: tuple[Any, ...]) -> Area:
        row, col = (int(i) * block * _BLOCKS_PER_STEP for i in place)
        return _area(values, row, col, size)

    calmest = np.unravel_index(np.argmin(squared_cv), squared_cv.shape)
    least = squared_cv[calmest]
    samples = effective_samples(area(calmest).of(values), of="spread")
    # the relative standard deviation of CV² of so many samples of pure speckle: the propagated fourth moment of the
    # gamma law (derived here)
    spread = np.sqrt(2 * (1 + least) / samples)
    possible = squared_cv <= least * (1 + _CV_TOLERANCE * spread)
    free = np.ones_like(possible)
    found: list[Area] = []
    reach = _BLOCKS // _BLOCKS_PER_STEP - 1
    by_evenness = np.argsort(np.where(possible, unevenness, np.inf), axis=None)[: np.count_nonzero(possible)]
    for place in zip(*np.unravel_index(by_evenness, possible.shape), strict=True):
        if free[place]:
            found.append(area(place))
            free[tuple(slice(max(i - reach, 0), i + reach + 1) for i in place)] = False
        if len(found) == count:
            break
    return found


def areas_by_variation(power: ArrayLike, size: int) -> list[Area]:
    """The windows of a grid over an image, the lowest CV first: from speckle alone to towns and edges.

    This is for looking at kinds of ground. Where ENL is to be measured, :func:`homogeneous_areas` chooses better.

    Args:
        power: linear power (H, W).
        size: side of the windows in pixels, and their distance.

    Returns:
        All windows in which nothing is missing.

    Raises:
        Alos2TutError: no such window, or more than 100,000 in the grid; a size that does not fit; power as
            :func:`~alos2tut.radiometry.power_image` refuses it.
    """
    values = power_image(power)
    if not is_count(size, 2) or size > min(values.shape):
        raise Alos2TutError(f"size={size!r} is not a whole number from 2 to {min(values.shape)}", where="size")
    places = [range(0, n - size + 1, size) for n in values.shape]
    if math.prod(map(len, places)) > _MOST_WINDOWS:
        raise Alos2TutError(f"more than {_MOST_WINDOWS} windows", where="size", remedy="Take a larger size.")
    areas = [
        _area(values, row, col, size)
        for row, col in product(*places)
        if not np.isnan(values[row : row + size, col : col + size]).any()
    ]
    if not areas:
        problem = f"no window of {size} × {size} pixels has data everywhere"
        raise Alos2TutError(problem, where="size", remedy="Take a smaller size.")
    return sorted(areas, key=lambda area: area.cv)


def _area(values: FloatArray, row: int, col: int, size: int) -> Area:
    pixels = values[row : row + size, col : col + size]
    return Area(row, col, size, size, float(pixels.mean(dtype=np.float64)), coefficient_of_variation(pixels))


def _evenness_of_windows(values: FloatArray, block: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """CV² of the pixels of each window, and that of its blocks' means over it; infinite where it cannot be used."""
    mean, mean_square, flat, *ends = _averages_of_blocks(values, block)
    squared_mean = _window_averages(mean) ** 2
    variance = _window_averages(mean_square) - squared_mean
    is_whole = (_share_at_end(*ends[:2]) <= _LARGEST_SHARE_AT_END) & (_share_at_end(*ends[2:]) <= _LARGEST_SHARE_AT_END)
    with np.errstate(invalid="ignore"):
        usable = (
            (variance > _LEAST_SQUARED_CV * squared_mean) & (_window_averages(flat) <= _LARGEST_FLAT_SHARE) & is_whole
        )
    infinite = np.full_like(variance, np.inf)
    squared_cv = np.divide(variance, squared_mean, out=infinite.copy(), where=usable)
    if usable.any():
        least = np.quantile(squared_cv[usable], 0.1) / _CALMER_THAN_SPECKLE
        filled = mean_square < (1 + least) * mean**2
        usable &= _window_averages(filled) <= _LARGEST_FILLED_SHARE
        squared_cv[~usable] = np.inf
    variance_of_blocks = _window_averages(mean**2) - squared_mean
    return squared_cv, np.divide(variance_of_blocks, variance, out=infinite, where=usable)


def _share_at_end(largest: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Which share of a window's pixels equals its largest, from the largest of its blocks and their shares of it."""
    tops, shares = _windows(largest), _windows(share)
    top = tops.max(axis=(2, 3))
    # block by block: all windows at once would take many times the memory of the image
    parts = (np.where(tops[:, :, i, j] == top, shares[:, :, i, j], 0) for i, j in np.ndindex(_BLOCKS, _BLOCKS))
    return np.asarray(sum(parts) / _BLOCKS**2)


def _averages_of_blocks(values: FloatArray, block: int) -> NDArray[np.float64]:
    """Of blocks, (7, rows, cols); NaN where any is missing.

    These are mean, mean square, flat share, the largest and its share, the smallest with the other sign and its share.
    """
    rows, cols = (n // block for n in values.shape)
    strip = max(_STRIP_ROWS // block, 1)
    found = np.empty((7, rows, cols))
    for first in range(0, rows, strip):
        some = min(strip, rows - first)
        # one row more, for the lower neighbours
        pixels = values[first * block : (first + some) * block + 1].astype(np.float64)
        # equal to their right and lower neighbours, as in padding, saturation and ground that was filled
        flat = np.zeros(pixels.shape, dtype=np.bool_)
        corner = pixels[:-1, :-1]
        flat[:-1, :-1] = (corner == pixels[:-1, 1:]) & (corner == pixels[1:, :-1])

        def blocks(image: NDArray[Any], some: int = some) -> NDArray[Any]:
            return image[: some * block, : cols * block].reshape(some, block, cols, block)

        of_pixels = [blocks(image).mean(axis=(1, 3)) for image in (pixels, pixels**2, flat)]
        for signed in (blocks(pixels), -blocks(pixels)):
            top = signed.max(axis=(1, 3))
            of_pixels += [top, (signed == top[:, None, :, None]).mean(axis=(1, 3))]
        found[:, first : first + some] = of_pixels
    return found


def _window_averages(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_windows(blocks).mean(axis=(2, 3)))


def _windows(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Windows of 8 × 8 blocks, two blocks apart, (rows, cols, 8, 8); a view."""
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (_BLOCKS, _BLOCKS))
    return windows[::_BLOCKS_PER_STEP, ::_BLOCKS_PER_STEP]
