"""How pixels are read: strip by strip, averaged over blocks of looks, scaled; layers and angles likewise.

A band gives strips of lines, whatever the packaging; a :class:`PixelReader` makes arrays or blocks of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from rasterio.windows import Window

from .. import geometry, radiometry
from ..core.errors import Alos2TutError, closest
from .ceos import ImageFile

WindowLike: TypeAlias = Window | tuple[int, int, int, int]
FloatArray: TypeAlias = NDArray[np.float32]
#: factors of the pixels at these rows and columns, in strips of so many rows at most
Weigh: TypeAlias = Callable[[slice, slice, int], Iterator[FloatArray]]
#: writes what ⟨DN²⟩ means into another array of its shape
Finish: TypeAlias = Callable[[FloatArray, FloatArray], object]
T = TypeVar("T")

#: what pixels can be read as: dB and power are calibrated, DN (amplitude) is as delivered
SCALES = ("db", "power", "dn")
#: full-resolution pixels that are worked on at once: few enough to stay in a core's cache
_STRIP_PX = 2**18
#: pixels of a block, unless its rows are asked for
_BLOCK_PX = 2**22
#: blocks that are made at the same time
_THREADS = 2
#: pixels between those at which incidence is computed
_NODE_PX = 64
#: units of layers that are more than a factor
DEGREE, DAYS = "degree", "days since 2014-05-24"
#: from this local incidence angle on a slope is not seen by the radar
_GRAZING_DEG = 90


class Band(Protocol):
    """Pixels of one image file."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, byte order included."""

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """A window in strips of at most ``step`` rows; each may lie in a buffer that the next one overwrites."""


@dataclass(frozen=True)
class Layer:
    """A raster that is delivered beside the images; its values are ``scale`` × number, days, or codes."""

    band: Band = field(repr=False)
    unit: str
    scale: float = 1.0
    no_data: tuple[float, ...] = ()
    #: what a number means, where it is a code
    meaning: Mapping[int, str] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of :meth:`values`: that of the codes, datetime64[D], or float32."""
        if self.unit == "code":
            return self.band.dtype
        return np.dtype("datetime64[D]" if self.unit == DAYS else np.float32)

    def values(self, stored: NDArray[Any]) -> NDArray[Any]:
        """What the numbers mean: codes as they are, NaN or NaT where there is no data, or no radar sees a slope."""
        if self.unit == "code":
            return stored
        missing = np.isin(stored, self.no_data)
        if self.unit == DAYS:
            days = np.datetime64("2014-05-24") + stored.astype("timedelta64[D]")
            return np.where(missing, np.datetime64("NaT"), days)
        values = (stored * self.scale).astype(np.float32)
        if self.unit == DEGREE:
            missing |= values >= _GRAZING_DEG
        values[missing] = np.nan
        return values

    def to_dict(self) -> dict[str, Any]:
        """Unit and meaning as plain values."""
        return {"unit": self.unit, **({"meaning": dict(self.meaning)} if self.meaning else {})}


@dataclass(frozen=True)
class SlantRangeIncidence:
    """Incidence angle on a smooth Earth from the slant ranges that the lines state (no terrain)."""

    image: ImageFile = field(repr=False)
    range_spacing_m: float | None
    #: the radar's distance from the Earth's centre
    radius_m: float

    def degrees(self, rows: slice, cols: slice) -> FloatArray:
        """Degrees, (rows, columns); at every 64th pixel and linear between: off by 4e-5° for pixels of 25 m."""
        nodes = np.append(np.arange(cols.start, cols.stop - 1, _NODE_PX), cols.stop - 1)
        ranges_m = self.image.slant_range_m(rows, nodes, self.range_spacing_m)
        angles = geometry.incidence_by_slant_range_deg(ranges_m, self.radius_m)
        if len(nodes) == 1:
            return angles.astype(np.float32)
        position = np.arange(cols.start, cols.stop)
        left = np.minimum((position - cols.start) // _NODE_PX, len(nodes) - 2)
        share = ((position - nodes[left]) / (nodes[left + 1] - nodes[left])).astype(np.float32)
        rise = np.diff(angles, axis=1).astype(np.float32)
        degrees: FloatArray = angles.astype(np.float32)[:, left] + rise[:, left] * share
        return degrees

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[FloatArray]:
        """Degrees of a window in strips of at most ``step`` rows."""
        for first in range(rows.start, rows.stop, step):
            yield self.degrees(slice(first, min(first + step, rows.stop)), cols)


@dataclass(frozen=True)
class PixelReader:
    """What is to be read of a band: a window of whole look blocks, averaged in power, weighted and scaled."""

    band: Band
    rows: slice
    cols: slice
    #: pixels of a block, (rows, columns)
    looks: tuple[int, int]
    #: digital numbers that stand for no data
    no_data: tuple[int, ...]
    weigh: Weigh | None
    finish: Finish

    @property
    def shape(self) -> tuple[int, int]:
        """Of the result, (rows, columns)."""
        return -(-_length(self.rows) // self.looks[0]), -(-_length(self.cols) // self.looks[1])

    def whole(self) -> FloatArray:
        """All of it, float32, NaN where there is no data."""
        result, first = np.empty(self.shape, dtype=np.float32), 0
        for strip in self._mean_squares():
            self.finish(strip, result[first : first + len(strip)])
            first += len(strip)
        return result

    def blocks(self, rows: int | None = None) -> Iterator[tuple[Window, FloatArray]]:
        """So many rows after the other (None: about four million pixels): where they lie in the result, and values."""
        count = rows or max(_BLOCK_PX // self.shape[1], 1)
        return _in_turn(partial(self._block, first, count) for first in range(0, self.shape[0], count))

    def _block(self, first: int, rows: int) -> tuple[Window, FloatArray]:
        """So many rows of the result, or what is left of it, from one on."""
        part = range(self.rows.start, self.rows.stop)[first * self.looks[0] : (first + rows) * self.looks[0]]
        values = replace(self, rows=slice(part.start, part.stop)).whole()
        return Window(0, first, self.shape[1], len(values)), values

    def _mean_squares(self) -> Iterator[FloatArray]:
        """⟨DN²⟩, each pixel times its weight, in strips of look blocks; how they are cut changes no bit."""
        width = _length(self.cols)
        step = max(_STRIP_PX // (self.looks[0] * width), 1)
        scratch = np.empty((min(step * self.looks[0], _length(self.rows)), width), dtype=np.float32)
        part = (self.rows, self.cols, step * self.looks[0])
        weights = repeat(None) if self.weigh is None else self.weigh(*part)
        for strip in self.band.strips(*part):
            yield radiometry.mean_square(
                strip, self.looks, no_data=self.no_data, weight=next(weights), scratch=scratch[: len(strip)]
            )


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _in_turn(tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What tasks give, in their order: while one result is waited for or worked on, threads make the next ones."""
    coming: deque[Future[T]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for task in tasks:
            coming.append(threads.submit(task))
            if len(coming) == _THREADS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def finisher(scale: str, factor_db: float) -> Finish:
    """What turns ⟨DN²⟩ into amplitude, power or dB by a calibration factor.

    Raises:
        Alos2TutError: a scale that is none of :data:`SCALES`.
    """
    factor = np.float32(factor_db)

    def to_power(mean_square: FloatArray, out: FloatArray) -> None:
        np.multiply(mean_square, radiometry.to_power(factor).astype(np.float32), out=out)

    def to_db(mean_square: FloatArray, out: FloatArray) -> None:
        with np.errstate(divide="ignore"):
            np.log10(mean_square, out=out)
        np.multiply(out, np.float32(10), out=out)
        np.add(out, factor, out=out)

    known = {"db": to_db, "power": to_power, "dn": lambda mean_square, out: np.sqrt(mean_square, out=out)}
    if not isinstance(scale, str) or scale not in known:
        raise Alos2TutError(f"unknown scale '{scale}'", where="scale", remedy=closest(str(scale), SCALES))
    return known[scale]


def read_strips(
    source: Band | SlantRangeIncidence,
    area: tuple[slice, slice],
    dtype: DTypeLike,
    convert: Callable[[NDArray[Any]], NDArray[Any]] = np.asarray,
) -> NDArray[Any]:
    """Rows and columns of a source as one array of ``dtype``, converted strip by strip."""
    rows, cols = area
    result, filled = np.empty((_length(rows), _length(cols)), dtype), 0
    for strip in source.strips(rows, cols, max(_STRIP_PX // _length(cols), 1)):
        result[filled : filled + len(strip)] = convert(strip)
        filled += len(strip)
    return result


def window_slices(
    window: WindowLike | None, shape: tuple[int, int], looks: tuple[int, int], *, where: Path
) -> tuple[slice, slice]:
    """A window grown to whole look blocks, as row and column slices.

    Raises:
        Alos2TutError: a window that is empty, not in whole pixels, or reaches outside of so many rows and columns.
    """
    if window is None:
        return slice(0, shape[0]), slice(0, shape[1])
    given: Any = window
    if isinstance(window, Window):
        given = (window.row_off, window.col_off, window.height, window.width)
    try:
        row, col, height, width = (int(n) for n in given)
        whole = (row, col, height, width) == tuple(given)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise Alos2TutError(f"window {given} is not (row, col, height, width) in whole pixels", where=where)
    inside = row >= 0 and col >= 0 and row + height <= shape[0] and col + width <= shape[1]
    if not inside or height < 1 or width < 1:
        raise Alos2TutError(
            f"window (row {row}, col {col}, height {height}, width {width}) is empty or reaches outside the "
            f"product of {shape[0]} × {shape[1]} pixels",
            where=where,
        )
    rows, cols = (
        slice(start // n * n, min(-(-(start + length) // n) * n, size))
        for start, length, n, size in zip((row, col), (height, width), looks, shape, strict=True)
    )
    return rows, cols
