"""Label rasters on the grid of a product: every pixel gets the label pixel in which its centre lies, exactly.

PROJ needs half a microsecond per point, minutes for the pixels of a product. So the grid is worked on piece by piece:
where a piece lies in a label raster is a polynomial through a few points, whose error other points tell. Only pixels
whose place is nearer to the edge of a label pixel than that error are looked up by their own coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine, TransformNotInvertibleError
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..core.artifacts import fingerprint, matches
from ..core.errors import Alos2TutError
from ..products.product import Product
from ..products.rasters import reprojected
from .legend import IGNORE, UNKNOWN, Legend

Floats = NDArray[np.floating[Any]]

#: code of pixels on which no raster lies
NO_LABEL = -1
_DTYPES = ("uint8", "int8", "uint16", "int16")
#: rows and columns of a piece: its arrays stay in the processor's cache
_PIECE_PX = (256, 1024)
#: pieces of fewer pixels are not worth a polynomial
_SMALL_PX = 1024
#: label pixels that are read at once; also what float32 can number
_WINDOW_PX = 2**22
#: terms of the polynomials along an axis
_TERMS = 4
#: a polynomial that is further off, in label pixels, is not used
_TIGHT = 0.1
#: what the error at the checked points is multiplied with, which lie where it is expected to be largest
_SAFETY = 4
#: more than rounding makes of 180 degrees
_HAIR = 1e-9
#: rounding of float32
_EPSILON = 2.0**-24

# a piece spans −1…1 along each axis; where its polynomial is fitted, and where it is checked
_NODES = np.cos((2 * np.arange(_TERMS) + 1) * np.pi / (2 * _TERMS))
_CHECKS = np.cos(np.arange(_TERMS + 1) * np.pi / _TERMS)
_FIT = np.linalg.inv(chebvander(_NODES, _TERMS - 1))
_CHECK = chebvander(_CHECKS, _TERMS - 1)
_PROBES = np.concatenate([np.array(np.meshgrid(u, u, indexing="ij")).reshape(2, -1) for u in (_NODES, _CHECKS)], axis=1)


def label_files(paths: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Label rasters by name.

    Args:
        paths: files, in the order in which they are given; folders, of which all ``*.tif`` are, sorted; patterns, as
            :func:`alos2tut.core.artifacts.matches` takes them.

    Returns:
        Absolute paths, which also hold in another working directory.

    Raises:
        Alos2TutError: a folder without any, a pattern that nothing matches, an empty path.
    """
    given = [paths] if isinstance(paths, (str, Path)) else paths
    return tuple(file for text in given for path in matches(text) for file in _files_of(Path(path).absolute()))


def _files_of(path: Path) -> list[str]:
    """The label rasters of a folder, or the path itself if it is none."""
    found = sorted(path.glob("*.tif")) if path.is_dir() else [path]
    if not found:
        raise Alos2TutError("the folder holds no label raster (*.tif)", where=path)
    return [str(file) for file in found]


def label_fingerprint(path: str | Path) -> str:
    """A hash that changes when a label raster does; what is none is refused, as in :class:`LabelMap`."""
    _header(str(path), [])
    return fingerprint(path)


def warp_labels(
    labels: Sequence[str | Path], crs: CRS, transform: Affine, shape: tuple[int, int], legend: Legend | None = None
) -> NDArray[np.int32]:
    """Raw label codes on a grid: see :meth:`LabelMap.codes_on`."""
    with LabelMap(labels, legend) as label_map:
        return label_map.codes_on(crs, transform, shape)


def label_classes(product: Product, labels: Sequence[str | Path], legend: Legend, looks: int = 1) -> NDArray[np.uint8]:
    """Class indices on the grid of a whole product at so many looks, (⌈rows/looks⌉, ⌈columns/looks⌉) uint8."""
    shape = (math.ceil(product.shape[0] / looks), math.ceil(product.shape[1] / looks))
    with LabelMap(labels, legend) as label_map:
        return label_map.classes_on(product.crs, product.transform * Affine.scale(looks), shape)


class LabelMap:
    """Label rasters as one map, which any grid can be laid upon; files stay open until the block is left.

    Each pixel gets the code of the label pixel in which its centre lies, by the centre's own coordinates (GDAL's warper
    interpolates between some, which is a few hundredths of a label pixel off). Where PROJ knows no place, no label is.

    Args:
        paths: single-band rasters of small integers, in any CRS, turned in any way; where several lie, the first one
            counts that tells a class there (without a legend: anything but its "no data").
        legend: what makes classes of codes; codes that it does not know are refused. None: any code will do.

    Raises:
        Alos2TutError: when it is used: a raster that cannot be opened or read, without CRS, of several bands, not of
            small integers, with a georeference that is none, or with codes outside the legend where the grid lies.
    """

    def __init__(self, paths: Sequence[str | Path], legend: Legend | None = None):
        self.paths = tuple(dict.fromkeys(str(path) for path in paths))
        self.legend = legend
        self._rasters: list[_Raster] | None = None
        self._open: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for source in self._open.values():
            source.close()
        self._open.clear()

    def _headers(self) -> list[_Raster]:
        """What the rasters say of themselves; each file is opened once."""
        if self._rasters is None:
            systems: list[CRS] = []
            self._rasters = [_header(path, systems) for path in self.paths]
        return self._rasters

    def touching(self, crs: CRS, transform: Affine, shape: tuple[int, int]) -> tuple[str, ...]:
        """Those rasters that may cover some of a grid, told by outlines; none is missed."""
        grid = _Grid(crs, transform, shape)
        return tuple(raster.path for raster in self._headers() if grid.may_touch(raster))

    def classes_on(
        self, crs: CRS, transform: Affine, shape: tuple[int, int], *, offset: tuple[int, int] = (0, 0)
    ) -> NDArray[np.uint8]:
        """Class indices on a grid, or on a window of one; the same for every window in which a pixel lies.

        Args:
            crs: of the grid.
            transform: of the grid's columns and rows to the ground.
            shape: rows and columns that are asked for.
            offset: row and column on the grid of the first pixel. A grid of a shifted transform is not quite the same:
                rounding may move centres across the borders of label pixels.

        Returns:
            uint8 of that shape: 0…classes−1, or :data:`alos2tut.dataset.legend.IGNORE`.

        Raises:
            Alos2TutError: see the class; or it has no legend.
        """
        if self.legend is None:
            raise Alos2TutError("without a legend codes make no classes", where=", ".join(self.paths))
        classes = np.full(shape, IGNORE, dtype=np.uint8)
        self._fill(classes, _Grid(crs, transform, shape, offset))
        return classes

    def codes_on(
        self, crs: CRS, transform: Affine, shape: tuple[int, int], *, offset: tuple[int, int] = (0, 0)
    ) -> NDArray[np.int32]:
        """Raw codes on a grid, int32, :data:`NO_LABEL` where no raster lies; otherwise as :meth:`classes_on`."""
        codes = np.full(shape, NO_LABEL, dtype=np.int32)
        self._fill(codes, _Grid(crs, transform, shape, offset))
        return codes

    def codes_at(self, crs: CRS, x: ArrayLike, y: ArrayLike) -> NDArray[np.int32]:
        """Raw codes at points of the ground, int32 (n,); otherwise as :meth:`codes_on`.

        At ``transform * (column + 0.5, row + 0.5)`` they are those of the pixels of that grid, to the last border.

        Args:
            crs: of the points.
            x: their coordinates, (n,).
            y: their coordinates, (n,).
        """
        points = _Points(crs, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        codes = np.full(points.shape, NO_LABEL, dtype=np.int32)
        if codes.size:
            self._fill_piece(codes, points, self._headers())
        return codes

    def _fill(self, labels: NDArray[Any], grid: _Grid) -> None:
        rasters = [raster for raster in self._headers() if grid.may_touch(raster)]
        # within one environment rasterio need not make one for each call
        with rasterio.Env():
            for piece in _pieces(grid) if rasters else ():
                self._fill_piece(labels, piece, rasters)

    def _fill_piece(self, labels: NDArray[Any], piece: _Piece | _Points, rasters: list[_Raster]) -> None:
        part, missing = labels[piece.place], None
        for raster in rasters:
            found = _cells(piece, raster)
            if isinstance(found, _TooRough):
                # starting anew gives the same to pixels that have their label already
                for smaller in piece.divided():
                    self._fill_piece(labels, smaller, rasters)
                return
            if found is None:
                continue
            use = _both(found.inside, missing)
            taken, told = self._taken(raster, found, part.dtype, use)
            # where nothing is told, the next raster may know more; of codes that tell nothing the first one stays
            settled = _both(use, told)
            if settled is None:
                part[...] = taken
                return
            write = settled if told is None else settled | (part == NO_LABEL) & (True if use is None else use)
            part[write] = taken[write]
            missing = ~settled if missing is None else missing & ~settled
            if not missing.any():
                return

    def _taken(
        self, raster: _Raster, cells: _Cells, dtype: np.dtype[Any], use: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """What a raster says of each pixel of a piece: classes where uint8 is asked for, else codes.

        Only those of use (None: all) must be known to the legend. The second answer is where it tells a class, or
        without a legend anything but its "no data"; None: everywhere.
        """
        codes = self._read(raster, cells.window)
        index = cells.index()
        if self.legend is None:
            taken = codes.take(index)
            return taken, None if raster.no_data is None else taken != raster.no_data
        # a window has fewer pixels than the piece it is for
        classes = _table(self.legend, codes.dtype).take(codes.view(f"u{codes.itemsize}"))
        if (classes == UNKNOWN).any():
            taken = codes.take(index)
            self.legend.to_classes(taken if use is None else taken[use], where=raster.path)
        told = classes != IGNORE
        return (classes if dtype == np.uint8 else codes).take(index), None if told.all() else told.take(index)

    def _read(self, raster: _Raster, window: Window) -> NDArray[np.integer[Any]]:
        if raster.path not in self._open:
            self._open[raster.path] = _opened(raster.path)
        try:
            codes: NDArray[np.integer[Any]] = self._open[raster.path].read(1, window=window)
        except (RasterioError, CPLE_BaseError) as error:
            raise Alos2TutError(f"the label raster cannot be read ({error})", where=raster.path) from None
        return codes


def _both(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Where both are true; None is true everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


@cache
def _table(legend: Legend, dtype: DTypeLike) -> NDArray[np.uint8]:
    return legend.table(dtype)


# --- label rasters


@dataclass(frozen=True)
class _Raster:
    """What a label raster says of itself."""

    path: str
    #: one object for all rasters of a map that have equal ones
    crs: CRS
    #: from the ground to columns and rows
    to_pixels: Affine
    shape: tuple[int, int]
    no_data: float | None
    #: x is a longitude, which jumps at the antimeridian
    in_degrees: bool

    def places(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Rows and columns of points in its coordinate system."""
        cols, rows = self.to_pixels * (x, y)
        return rows, cols


def _header(path: str, systems: list[CRS]) -> _Raster:
    """Check a label raster; its CRS joins those that are known, if none of them equals it."""
    with _opened(path) as source:
        if source.crs is None:
            raise Alos2TutError("the label raster states no coordinate system", where=path)
        if source.count != 1:
            raise Alos2TutError(
                f"the label raster has {source.count} bands, not one of codes", where=path, remedy="Extract that band."
            )
        if source.dtypes[0] not in _DTYPES:
            raise Alos2TutError(f"the label raster holds {source.dtypes[0]}, not small integer codes", where=path)
        crs = next((system for system in systems if system == source.crs), source.crs)
        if crs is source.crs:
            systems.append(crs)
        try:
            return _Raster(path, crs, ~source.transform, source.shape, source.nodata, crs.is_geographic)
        except TransformNotInvertibleError:
            raise Alos2TutError("the label raster's pixels have no extent on the ground", where=path) from None


def _opened(path: str) -> Any:
    # a pipe or a device would be read for ever
    if not Path(path).is_file():
        raise Alos2TutError("the label raster cannot be opened (there is no such file)", where=path)
    try:
        return rasterio.open(path)
    except (RasterioError, CPLE_BaseError) as error:
        raise Alos2TutError(f"the label raster cannot be opened ({error})", where=path) from None


# --- grids and their pieces


@dataclass(frozen=True)
class _Grid:
    """The grid that wants labels, or a window of it, from whose first pixel rows and columns count."""

    crs: CRS
    transform: Affine
    shape: tuple[int, int]
    #: row and column of that pixel on the grid
    offset: tuple[int, int] = (0, 0)
    _same: dict[int, bool] = field(default_factory=dict)
    _outlines: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    def ground(self, crs: CRS, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        """x and y in a coordinate system of points that are given by row and column; NaN where there is no place."""
        # from the whole grid's rows and columns, which are exact: centres are then the same in all windows
        x, y = self.transform * (cols + self.offset[1], rows + self.offset[0])
        if id(crs) not in self._same:
            self._same[id(crs)] = self.crs == crs
        return _ground(x, y, self.crs, None if self._same[id(crs)] else crs)

    def may_touch(self, raster: _Raster) -> bool:
        """Whether the grid, in the raster's pixels, reaches into the raster; yes, where that is unclear."""
        if id(raster.crs) not in self._outlines:
            along = np.linspace(0, 1, 17)
            rows, cols = np.meshgrid(along * self.shape[0], along * self.shape[1], indexing="ij")
            self._outlines[id(raster.crs)] = self.ground(raster.crs, rows.ravel(), cols.ravel())
        for places, size in zip(raster.places(*self._outlines[id(raster.crs)]), raster.shape, strict=True):
            low, high = places.min(), places.max()
            # lines between the points may bulge
            slack = 0.02 * (high - low) + 1
            if high + slack < 0 or low - slack > size:
                return False
        return True


def _ground(x: Floats, y: Floats, source: CRS, target: CRS | None) -> tuple[Floats, Floats]:
    """x and y in another coordinate system; None: in the same."""
    if target is None:
        return x, y
    points = _reprojected(np.stack([x, y], axis=-1), source, target)
    return points[:, 0], points[:, 1]


def _reprojected(points: Floats, source: CRS, target: CRS) -> Floats:
    """As :func:`alos2tut.products.rasters.reprojected`, but a point without a place leaves the others theirs."""
    found = reprojected(points, source, target)
    if len(points) > 1 and np.isnan(found).all():
        halves = (points[: len(points) // 2], points[len(points) // 2 :])
        return np.concatenate([_reprojected(half, source, target) for half in halves])
    return found


@dataclass(frozen=True)
class _Piece:
    """A rectangle of a grid."""

    grid: _Grid
    rows: slice
    cols: slice
    _surfaces: dict[int, _Surface] = field(default_factory=dict)

    @property
    def place(self) -> tuple[slice, slice]:
        """Where it lies in arrays of the grid."""
        return self.rows, self.cols

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start

    def surface(self, crs: CRS) -> _Surface:
        """Where the piece lies in a coordinate system."""
        if id(crs) not in self._surfaces:
            half = np.array([_half(size) for size in self.shape])[:, None]
            middle = np.array([[self.rows.start + self.rows.stop], [self.cols.start + self.cols.stop]]) / 2
            self._surfaces[id(crs)] = _Surface.through(*self.grid.ground(crs, *(middle + half * _PROBES)))
        return self._surfaces[id(crs)]

    def centres(self, crs: CRS, flat: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """x and y of the centres of pixels that are given by their number in the piece."""
        rows, cols = np.divmod(flat, self.shape[1])
        return self.grid.ground(crs, rows + (self.rows.start + 0.5), cols + (self.cols.start + 0.5))

    def divided(self) -> Iterator[_Piece]:
        """Its quarters."""
        for rows in _halves(self.rows):
            for cols in _halves(self.cols):
                yield _Piece(self.grid, rows, cols)


@dataclass(frozen=True)
class _Points:
    """Points of the ground that lie anywhere; what a piece needs for being looked up one by one."""

    crs: CRS
    x: Floats
    y: Floats
    start: int = 0

    @property
    def place(self) -> slice:
        return slice(self.start, self.start + len(self.x))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape

    def centres(self, crs: CRS, flat: NDArray[np.intp]) -> tuple[Floats, Floats]:
        return _ground(self.x[flat], self.y[flat], self.crs, None if self.crs == crs else crs)

    def divided(self) -> Iterator[_Points]:
        """Its halves."""
        for half in _halves(slice(0, len(self.x))):
            yield _Points(self.crs, self.x[half], self.y[half], self.start + half.start)


def _half(size: int) -> float:
    """From the middle of a piece to its outermost centres, in pixels."""
    return max((size - 1) / 2, 0.5)


def _halves(part: slice) -> list[slice]:
    middle = (part.start + part.stop) // 2
    return [half for half in (slice(part.start, middle), slice(middle, part.stop)) if half.stop > half.start]


def _pieces(grid: _Grid) -> Iterator[_Piece]:
    height, width = grid.shape
    for top in range(0, height, _PIECE_PX[0]):
        for left in range(0, width, _PIECE_PX[1]):
            bottom, right = min(top + _PIECE_PX[0], height), min(left + _PIECE_PX[1], width)
            yield _Piece(grid, slice(top, bottom), slice(left, right))


@dataclass(frozen=True)
class _Surface:
    """x and y over a piece as sums of Chebyshev polynomials."""

    #: (x or y, along rows, along columns)
    terms: NDArray[np.float64]
    #: of x and y: how far off the polynomials are
    error: NDArray[np.float64]
    #: whether any place is known
    exists: bool

    @classmethod
    def through(cls, x: Floats, y: Floats) -> _Surface:
        points = np.stack([x, y])
        nodes = points[:, : _TERMS**2].reshape(2, _TERMS, _TERMS)
        terms = _FIT @ nodes @ _FIT.T
        error = np.abs((_CHECK @ terms @ _CHECK.T).reshape(2, -1) - points[:, _TERMS**2 :]).max(axis=1)
        return cls(terms, error, bool(np.isfinite(points).any()))

    def meets(self, x: float) -> bool:
        """Whether x reaches this value, or its negative, somewhere in the piece."""
        return bool(np.abs(self.terms[0]).sum() + self.error[0] > x - _HAIR)

    def in_pixels(self, raster: _Raster) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same for rows and columns of a raster: terms, and the margin within which they hold."""
        a, b, c, d, e, f = raster.to_pixels[:6]
        turn = np.array([[d, e], [a, b]])
        terms = np.tensordot(turn, self.terms, axes=1)
        terms[:, 0, 0] += f, c
        return terms, _SAFETY * np.abs(turn) @ self.error


@cache
def _waves(size: int) -> NDArray[np.float64]:
    """The polynomials at the centres of so many pixels, (size, terms)."""
    return chebvander((np.arange(size) - (size - 1) / 2) / _half(size), _TERMS - 1)


# --- which label pixel a pixel lies in


@dataclass(frozen=True)
class _Cells:
    """Rows and columns, within a window of a label raster, of the pixels of a piece."""

    rows: Floats
    cols: Floats
    window: Window
    #: which pixels lie in the raster at all; None: all of them
    inside: NDArray[np.bool_] | None

    def index(self) -> NDArray[np.intp]:
        """The place of each pixel's label in the flat window."""
        flat = self.rows * self.rows.dtype.type(self.window.width)
        flat += self.cols
        return flat.astype(np.intp)


class _TooRough:
    """Says that a piece must be divided before it can be worked on."""


def _cells(piece: _Piece | _Points, raster: _Raster) -> _Cells | _TooRough | None:
    """Where the pixels of a piece lie in a raster; None: outside it."""
    if isinstance(piece, _Points) or math.prod(piece.shape) <= _SMALL_PX:
        return _cells_one_by_one(piece, raster)
    surface = piece.surface(raster.crs)
    if not surface.exists:
        return None
    terms, margin = surface.in_pixels(raster)
    middle = terms[:, 0, 0]
    # no sum of Chebyshev polynomials is further from its constant than this
    reach = np.abs(terms).sum(axis=(1, 2)) - np.abs(middle)
    margin = margin + 8 * _EPSILON * (2 * reach + 2)
    if not np.isfinite(reach + margin).all() or (raster.in_degrees and surface.meets(180)):
        return _TooRough()
    first = np.floor(middle - reach - margin).astype(np.int64)
    last = np.floor(middle + reach + margin).astype(np.int64)
    start, stop = np.maximum(first, 0), np.minimum(last + 1, raster.shape)
    if (start >= stop).any():
        return None
    if margin.max() > _TIGHT or math.prod((last + 1 - first).tolist()) > _WINDOW_PX:
        return _TooRough()
    terms[:, 0, 0] -= start
    rows_cols = _evaluated(piece, raster, terms, float(margin.max()), start)
    if rows_cols is None:
        return _TooRough()
    window = Window(int(start[1]), int(start[0]), *(stop - start)[::-1].tolist())
    whole = bool((start == first).all() and (stop == last + 1).all())
    return _Cells(*rows_cols, window, None if whole else _inside(*rows_cols, stop - start))


def _evaluated(
    piece: _Piece, raster: _Raster, terms: NDArray[np.float64], margin: float, start: NDArray[np.int64]
) -> tuple[Floats, Floats] | None:
    """Whole rows and columns from ``start`` on, float32; None: they cannot be told."""
    height, width = piece.shape
    # rounding to the nearest integer is quicker than down
    terms[:, 0, 0] -= 0.5
    down, across = (_waves(height) @ terms).astype(np.float32), _waves(width).T.astype(np.float32)
    rows, cols = down @ across
    whole_rows, whole_cols = np.rint(rows), np.rint(cols)
    for exact, whole in ((rows, whole_rows), (cols, whole_cols)):
        exact -= whole
        np.abs(exact, out=exact)
    near = np.flatnonzero(np.maximum(rows, cols, out=rows) > 0.5 - margin)
    if near.size:
        places = raster.places(*piece.centres(raster.crs, near))
        if not np.isfinite(places).all():
            return None
        for whole, place, origin in zip((whole_rows, whole_cols), places, start, strict=True):
            whole.reshape(-1)[near] = np.floor(place) - origin
    return whole_rows, whole_cols


def _inside(rows: Floats, cols: Floats, shape: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pixels lie in a window; the others are moved there."""
    inside: NDArray[np.bool_] = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    rows[~inside] = cols[~inside] = 0
    return inside


def _cells_one_by_one(piece: _Piece | _Points, raster: _Raster) -> _Cells | _TooRough | None:
    """As :func:`_cells`, by the coordinates of every pixel."""
    places = raster.places(*piece.centres(raster.crs, np.arange(math.prod(piece.shape))))
    rows, cols = (np.floor(place).reshape(piece.shape) for place in places)
    inside = _inside(rows, cols, np.array(raster.shape))
    if not inside.any():
        return None
    top, left = (int(place[inside].min()) for place in (rows, cols))
    height, width = (int(place[inside].max()) + 1 - start for place, start in ((rows, top), (cols, left)))
    if height * width > _WINDOW_PX and inside.size > 1:
        return _TooRough()
    for place, start in ((rows, top), (cols, left)):
        place -= start
        place[~inside] = 0
    return _Cells(rows, cols, Window(left, top, width, height), inside)
