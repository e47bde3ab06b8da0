"""Label rasters on the grid of a product: every pixel gets the label pixel in which its centre lies, exactly.

An image on no map has labels in its own frame: rasters without a coordinate system, of its rows and columns or placed
on them (:class:`Placement`).

PROJ needs half a microsecond per point, minutes for the pixels of a product. So the grid is worked on piece by piece:
where a piece lies in a label raster is a polynomial through a few points, whose error other points tell. Only pixels
whose place is nearer to the edge of a label pixel than that error are looked up by their own coordinates. (GDAL's
warper with a tolerance as small gives the same and takes fifteen times as long.)
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, Self
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine, TransformNotInvertibleError
from numpy.polynomial.chebyshev import chebvander
from numpy.typing import ArrayLike, NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from ..core.artifacts import matches
from ..core.cache import fingerprint
from ..core.errors import Alos2TutError, warn
from ..core.public import public
from ..products.archives import container_of
from ..products.mosaics import checked_mosaic, is_mosaic
from ..products.names import ARCHIVE_ENDS, label_rasters
from ..products.product import Product
from ..products.rasters import alpha_bands, has_mask_band, hiding_masks, open_raster, reprojected
from ..products.sources import find_file, find_files
from .label_arrays import ARRAY_ENDS, open_array
from .legend import IGNORE, UNKNOWN, Legend

Floats = NDArray[np.floating[Any]]
#: whole rows and columns of a raster, (2, …)
Cells = NDArray[np.int32]
#: codes of label pixels, and where the raster says that there are none; None: nowhere
_Codes = tuple[NDArray[np.integer[Any]], NDArray[np.bool_] | None]

#: code of points on which no raster lies, or where the one that does says by tag or mask that it has no data
NO_LABEL = -1
#: types of codes, and wider ones that may hold codes
_DTYPES = ("uint8", "int8", "uint16", "int16")
_WIDE_DTYPES = ("int32", "uint32", "int64", "uint64", "float32", "float64")
#: rows and columns of a piece: its arrays stay in the processor's cache
_PIECE_PX = (128, 1024)
#: pieces of fewer pixels are not worth a polynomial
_SMALL_PX = 1024
#: label pixels that are read at once, and of one raster those that are counted
_WINDOW_PX = 2**22
_COUNTED_PX = 2**28
#: label pixels below a pixel of a grid; points along the sides of a grid by which it is judged
_MOST_COVERED, _OUTLINE_POINTS = 50_000, 17
#: terms of the polynomials along an axis
_TERMS = 4
#: a polynomial that is further off, in label pixels, is not used
_TIGHT = 0.1
#: what the error at the checked points is multiplied with, which lie where it is expected to be largest
_SAFETY = 4
#: beyond the last row and column of any raster
_FAR = 2**31 - 1
#: rounding of float32
_EPSILON = 2.0**-24

# a piece spans −1…1 along each axis; where its polynomial is fitted, and where it is checked
_NODES = np.cos((2 * np.arange(_TERMS) + 1) * np.pi / (2 * _TERMS))
_CHECKS = np.cos(np.arange(_TERMS + 1) * np.pi / _TERMS)
_FIT = np.linalg.inv(chebvander(_NODES, _TERMS - 1))
_CHECK = chebvander(_CHECKS, _TERMS - 1)
_PROBES = np.concatenate([np.array(np.meshgrid(u, u, indexing="ij")).reshape(2, -1) for u in (_NODES, _CHECKS)], axis=1)


@public
def label_files(paths: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """Label rasters by name.

    Args:
        paths: rasters, in the order in which they are given; folders and archives (zip, tar, tar.gz), of which all
            rasters are, sorted, or of a folder that holds none those in its archives; files and folders inside
            archives; patterns, as :func:`alos2tut.core.artifacts.matches` takes them, of which what lies beside rasters
            (``.hdr``, ``.xml``, ``.txt`` …) is left out.

    Returns:
        Absolute paths, which also hold in another working directory; of rasters in archives such as ``a.zip/b.tif``.

    Raises:
        Alos2TutError: a folder, archive or pattern without any, an empty path, an archive that is not safe to read.
    """
    files: dict[str, None] = {}
    for text in [paths] if isinstance(paths, (str, Path)) else paths:
        found = matches(text)
        is_pattern = found != [str(Path(text))]
        rasters = [raster for match in found for raster in _rasters_of(Path(match).absolute(), is_pattern)]
        if not rasters:
            raise Alos2TutError("the pattern matches no label raster", where=text)
        files |= dict.fromkeys(rasters)
    return tuple(files)


def _rasters_of(path: Path, is_pattern: bool) -> list[str]:
    """The rasters that one path names; none only where a pattern led to it."""
    on_disk = next(place for place in (path, *path.parents) if place.exists())
    if on_disk == path and path.is_file() and container_of(path) is None:
        # of whatever kind, if a header lay beside it
        return [str(path)] if not is_pattern or label_rasters([path.name, f"{path.name}.hdr"]) else []
    # what is not there is told when it is opened
    if not on_disk.is_file() and on_disk != path:
        return [str(path)]
    delivery = find_files(path)
    if delivery.named is not None:
        return [str(path)]
    found = [
        str((delivery.archive or path) / folder / name)
        for folder, files in delivery.folders.items()
        for name in label_rasters(files)
    ]
    if not found and delivery.archive is None:
        archives = [name for name in delivery.folders[""] if name.lower().endswith(ARCHIVE_ENDS)]
        found = [raster for name in archives for raster in _rasters_of(path / name, is_pattern)]
    if not found and not is_pattern:
        raise Alos2TutError(
            f"the {'archive' if delivery.archive else 'folder'} holds no label raster (GeoTIFF, or ENVI with its .hdr)",
            where=path,
        )
    return found


def label_fingerprint(path: str | Path) -> str:
    """A hash that changes when a label raster does, or a mask beside it, a tile of it (VRT), or its archive.

    What is no label raster is refused, as in :class:`LabelMap`.
    """
    _header(str(path))
    on_disk = next(place for place in (Path(path).absolute(), *Path(path).absolute().parents) if place.exists())
    return fingerprint(*(_files_of(on_disk) if on_disk == Path(path).absolute() else {on_disk}))


def _files_of(path: Path) -> set[Path]:
    """A raster that is no mosaic, with what lies beside it and counts; a mosaic with all that its parts are made of."""
    if is_mosaic(path):
        parts = (Path(part.text or "") for part in checked_mosaic(path).iter("SourceFilename"))
        return {path}.union(*map(_files_of, parts))
    if path.name.lower().endswith(ARRAY_ENDS):
        return {path}
    with open_raster(path) as source:
        used = {Path(file).absolute() for file in source.files if not file.endswith(".ovr")}
    return set(filter(Path.is_file, used))


@dataclass(frozen=True)
class Placement:
    """Where a label raster lies on an image that lies on no map.

    Attributes:
        offset: row and column of the image on which the raster's first pixel lies, once it is turned as ``flip`` says;
            None: the two are of equal size.
        flip: the raster's rows are reversed, its columns, or both.
    """

    offset: tuple[int, int] | None = None
    flip: Literal["rows", "cols", "both"] | None = None

    def to_pixels(self, shape: tuple[int, int]) -> Affine:
        """From columns and rows of the image to those of a raster of so many rows and columns."""
        row, col = self.offset or (0, 0)
        up, left = (self.flip in (axis, "both") for axis in ("rows", "cols"))
        turned = Affine(-1 if left else 1, 0, shape[1] * left, 0, -1 if up else 1, shape[0] * up)
        return turned * Affine.translation(-col, -row)


EQUAL_SIZE = Placement()


def label_classes(
    product: Product,
    labels: Sequence[str | Path],
    legend: Legend,
    looks: int = 1,
    placement: Placement = EQUAL_SIZE,
) -> NDArray[np.uint8]:
    """Class indices on the grid of a whole product at so many looks, (⌈rows/looks⌉, ⌈columns/looks⌉) uint8."""
    shape = (math.ceil(product.shape[0] / looks), math.ceil(product.shape[1] / looks))
    crs, transform = frame_of(product)
    with LabelMap(labels, legend, placement) as label_map:
        label_map.touching(crs, transform, product.shape)
        return label_map.classes_on(crs, transform * Affine.scale(looks), shape)


def frame_of(product: Product) -> tuple[CRS | None, Affine]:
    """Coordinate system and transform of a product's pixels; on no map none, and columns and rows themselves."""
    return (None, Affine.identity()) if product.grid is None else (product.crs, product.transform)


class LabelMap:
    """Label rasters as one map, which any grid can be laid upon; files stay open until the block is left.

    Each pixel gets the code of the label pixel in which its centre lies, by the centre's own coordinates (GDAL's warper
    interpolates between some, which is a few hundredths of a label pixel off). Where PROJ knows no place, no label is.

    Args:
        paths: rasters of one band of whole numbers, or arrays of NumPy (``.npy``) or MATLAB (``.mat``); in any CRS,
            turned in any way, with longitudes that are counted from −180 or from 0 or reach beyond 180; where several
            lie, the first one counts that has a class there. Where a raster's no-data tag, mask band (also in a
            ``.msk`` beside it), alpha band or NaN says that there is none, there is none, whatever the code.
        legend: what makes classes of codes; codes that it does not know are refused.
        placement: where rasters without CRS lie on a grid that has none either. A point on the border of label pixels,
            as the middle of an even number of looks is, lies in the one of the larger row and column of the image.

    Raises:
        Alos2TutError: when it is used: a raster that cannot be opened or read, of several bands, not of small integers,
            with a CRS for a grid without one or the other way round, with a georeference that is none, or with codes
            outside the legend where the grid lies.
    """

    def __init__(self, paths: Sequence[str | Path], legend: Legend, placement: Placement = EQUAL_SIZE):
        self.paths = tuple(dict.fromkeys(map(str, paths)))
        self.legend, self.placement = legend, placement
        self._rasters: list[_Raster] | None = None
        self._open: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for source in self._open.values():
            source.close()
        self._open.clear()

    def _headers(self, crs: CRS | None) -> list[_Raster]:
        """What the rasters say of themselves, if they lie in the frame that is asked for; each file is opened once."""
        if self._rasters is None:
            self._rasters = [_header(path, self.placement) for path in self.paths]
        for raster in self._rasters:
            if (raster.crs is None) != (crs is None):
                states, lies = ("no", "on a map") if raster.crs is None else ("a", "on no map")
                raise Alos2TutError(
                    f"the label raster states {states} coordinate system, and the image lies {lies}",
                    where=raster.path,
                    remedy="Give labels in the frame of the image; crs=… places an image that states no map on one.",
                )
        return self._rasters

    def touching(self, crs: CRS | None, transform: Affine, shape: tuple[int, int]) -> tuple[str, ...]:
        """Find those rasters that may cover some of a grid, by their outlines; none is missed.

        Raises:
            Alos2TutError: the grid of a whole image on no map, and a raster of another size whose place is not given,
                or lies beside it.
        """
        grid, rasters = _Grid(crs, transform, shape), self._headers(crs)
        for raster in rasters if crs is None else ():
            sizes = "the label raster has {} × {} pixels, the image {} × {}".format(*raster.shape, *shape)
            if self.placement.offset is None and raster.shape != shape:
                remedy = "Say with label_offset=(row, col) where on the image the label raster's first pixel lies."
                raise Alos2TutError(sizes, where=raster.path, remedy=remedy)
            if not grid.may_touch(raster):
                problem = f"{sizes}: at label_offset={self.placement.offset} it lies beside it"
                raise Alos2TutError(problem, where=raster.path)
        return tuple(raster.path for raster in rasters if grid.may_touch(raster))

    def classes_on(
        self, crs: CRS | None, transform: Affine, shape: tuple[int, int], *, offset: tuple[int, int] = (0, 0)
    ) -> NDArray[np.uint8]:
        """Class indices on a grid, or on a window of one; the same for every window in which a pixel lies.

        Args:
            crs: of the grid; None: an image on no map.
            transform: of the grid's columns and rows to the ground, or to the image's.
            shape: rows and columns that are asked for.
            offset: row and column on the grid of the first pixel. A grid of a shifted transform is not quite the same:
                rounding may move centres across the borders of label pixels.

        Returns:
            uint8 of that shape: 0…classes−1, or :data:`alos2tut.dataset.legend.IGNORE`.
        """
        classes = np.full(shape, IGNORE, dtype=np.uint8)
        grid = _Grid(crs, transform, shape, offset)
        rasters = [raster for raster in self._headers(crs) if grid.may_touch(raster)]
        # within one environment rasterio need not make one for each call
        with rasterio.Env():
            for rows, cols in _pieces(shape) if rasters else ():
                self._fill(classes[rows, cols], partial(_cells, grid, rows, cols), rasters)
        return classes

    def codes_at(self, crs: CRS | None, x: ArrayLike, y: ArrayLike) -> NDArray[np.int32]:
        """Raw codes at points of the ground, int32 (n,); :data:`NO_LABEL` where no raster lies.

        At ``transform * (column + 0.5, row + 0.5)`` they are those of the pixels of that grid, to the last border.

        Args:
            crs: of the points; None: columns and rows of an image on no map.
            x: their coordinates, (n,).
            y: their coordinates, (n,).
        """
        points = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        codes = np.full(points[0].shape, NO_LABEL, dtype=np.int32)
        if codes.size:
            self._fill(codes, lambda raster: raster.cells(*_ground(*points, crs, raster.crs)), self._headers(crs))
        return codes

    def _fill(self, part: NDArray[Any], cells: Callable[[_Raster], Cells | None], rasters: list[_Raster]) -> None:
        """Fill a piece with classes where it is uint8, else with codes; ``cells`` tells where it lies in a raster."""
        missing = np.ones(part.shape, np.bool_)
        for raster in rasters:
            found = cells(raster)
            if found is None:
                continue
            use: Any = raster.holds(found) & missing
            if not use.any():
                continue
            if use.all():  # a view of all is quicker than a choice of all
                use = ...
            codes, hidden = self._codes(raster, *found[:, use])
            classes = _classes(self.legend, codes)
            if hidden is not None:
                hidden &= classes != IGNORE
                classes[hidden] = IGNORE
                codes = codes if part.dtype == np.uint8 else np.where(hidden, NO_LABEL, codes.astype(np.int32))
            if (unknown := classes == UNKNOWN).any():
                # says which
                self.legend.to_classes(codes[unknown], where=raster.path)
            taken, labelled = classes if part.dtype == np.uint8 else codes, classes != IGNORE
            # where there is no label, the next raster may know more; of codes that are none the first one stays
            part[use] = taken if labelled.all() else np.where(labelled | (part[use] == NO_LABEL), taken, part[use])
            missing[use] = ~labelled
            if not missing.any():
                return

    def _codes(self, raster: _Raster, rows: Cells, cols: Cells) -> _Codes:
        """The codes of label pixels that are given by their rows and columns in a raster."""
        top, left = rows.min(), cols.min()
        height, width = int(rows.max() - top) + 1, int(cols.max() - left) + 1
        if height * width > _WINDOW_PX and rows.size > 1:
            halves = zip(np.array_split(rows.ravel(), 2), np.array_split(cols.ravel(), 2), strict=True)
            parts = [self._codes(raster, *half) for half in halves]
            codes = np.concatenate([found for found, _ in parts]).reshape(rows.shape)
            if all(flags is None for _, flags in parts):
                return codes, None
            every = [np.zeros(found.shape, np.bool_) if flags is None else flags for found, flags in parts]
            return codes, np.concatenate(every).reshape(rows.shape)
        if raster.path not in self._open:
            self._open[raster.path] = open_label_raster(raster.path)
        codes, hidden = _read(self._open[raster.path], raster.path, Window(int(left), int(top), width, height))
        index = rows - top
        index *= width
        index += cols
        index -= left
        return codes.take(index), None if hidden is None else hidden.take(index)


_table = cache(Legend.table)


def _classes(legend: Legend, codes: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """As :meth:`Legend.to_classes`, with :data:`UNKNOWN` for what that refuses."""
    return _table(legend, codes.dtype).take(codes.view(f"u{codes.itemsize}"))


# --- label rasters


@dataclass(frozen=True)
class _Raster:
    """What a label raster says of itself."""

    path: str
    crs: CRS | None
    #: from the ground, or from columns and rows of an image on no map, to columns and rows
    to_pixels: Affine
    shape: tuple[int, int]
    #: a whole turn in its unit of longitude, infinite if it has none, and half a turn to the west of its middle
    turn: float
    seam: float

    def beside(self, x: Floats) -> Floats:
        """Longitudes by whole turns to where it counts them, from 0 to 360 or beyond 180; other x as it is."""
        return x - self.turn * np.floor((x - self.seam) / self.turn) if math.isfinite(self.turn) else x

    def places(self, x: Floats, y: Floats) -> Floats:
        """Rows and columns, (2, n), of points in its coordinate system."""
        cols, rows = self.to_pixels * (self.beside(x), y)
        return np.stack([rows, cols])

    def cells(self, x: Floats, y: Floats) -> Cells:
        """The pixels, (2, n), in which points lie; those without a place lie in none."""
        if self.crs is None:
            # the middle of the image's pixel in which a point lies: of one on a border the same, however it is turned
            x, y = np.floor(x) + 0.5, np.floor(y) + 0.5
        places = np.floor(self.places(x, y))
        return np.where(np.isfinite(places), np.clip(places, -1, _FAR), -1).astype(np.int32)

    def holds(self, cells: Cells) -> NDArray[np.bool_]:
        """Which of its rows and columns (2, …) are there."""
        if all(along.min() >= 0 and along.max() < size for along, size in zip(cells, self.shape, strict=True)):
            return np.ones(cells.shape[1:], np.bool_)
        rows, cols = cells
        return np.asarray((rows >= 0) & (rows < self.shape[0]) & (cols >= 0) & (cols < self.shape[1]))


def _header(path: str, placement: Placement = EQUAL_SIZE) -> _Raster:
    """Check a label raster."""
    with open_label_raster(path) as source:
        if source.count - len(alphas := alpha_bands(source)) != 1 or 1 in alphas:
            problem = f"the label raster has {source.count} bands, not one of codes"
            raise Alos2TutError(problem, where=path, remedy="Extract that band.")
        if source.dtypes[0] not in _DTYPES + _WIDE_DTYPES:
            raise Alos2TutError(f"the label raster holds {source.dtypes[0]}, not codes", where=path)
        if source.crs is None:
            return _Raster(path, None, placement.to_pixels(source.shape), source.shape, math.inf, 0)
        turn = math.inf
        if source.crs.is_geographic:
            turn = round(2 * math.pi / source.crs.units_factor[1], 6)
        seam = (source.transform * (source.width / 2, source.height / 2))[0] - turn / 2
        try:
            return _Raster(path, source.crs, ~source.transform, source.shape, turn, seam)
        except TransformNotInvertibleError:
            raise Alos2TutError("the label raster's pixels have no extent on the ground", where=path) from None


def open_label_raster(path: str) -> Any:
    """A label raster, in a folder or an archive, as rasterio opens it; one that cannot be opened is told by name."""
    try:
        # neither a pipe nor a device, which would be read for ever
        if not Path(path).is_file():
            return open_raster(find_file(path).gdal_path)
        if path.lower().endswith(ARRAY_ENDS):
            return open_array(path)
        return open_raster(_with_masks(path), ["VRT"]) if is_mosaic(path) else open_raster(Path(path).absolute())
    except Alos2TutError as error:
        problem = f"the label raster cannot be opened ({error.problem})"
        raise Alos2TutError(problem, where=error.where or path, remedy=error.remedy) from None
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise Alos2TutError(f"the label raster cannot be opened ({error})", where=path) from None


def _read(source: Any, path: str, window: Window) -> _Codes:
    """Codes of a window of an open raster, of one of the small types, and where it says that there are none."""
    try:
        codes = source.read(1, window=window)
        masks = hiding_masks(source, alpha_bands(source), has_mask_band(source), window=window)
    except (RasterioError, CPLE_BaseError) as error:
        problem = f"the label raster cannot be read ({error.__cause__ or error})"
        raise Alos2TutError(problem, where=path) from None
    if source.nodata is not None:
        # in the codes' own type, which is compared fast; what is no number of it stands nowhere
        with np.errstate(invalid="ignore"):
            tag = np.asarray(source.nodata).astype(codes.dtype)
        if codes.dtype.kind == "f" or tag == source.nodata:
            masks.append(codes == tag)
    if codes.dtype.kind == "f":
        masks.append(np.isnan(codes))
    hidden = np.logical_or.reduce(masks) if len(masks) > 1 else masks[0] if masks else None
    hidden = None if hidden is None or not hidden.any() else hidden
    if codes.dtype.name in _WIDE_DTYPES:
        is_none = ~((codes == np.rint(codes)) & (codes >= -(2.0**15)) & (codes < 2.0**15))
        if (wrong := codes[is_none if hidden is None else is_none & ~hidden]).size:
            raise Alos2TutError(f"holds {wrong[0]:.10g}, which is no code (a small whole number)", where=path)
        codes = np.where(is_none, codes.dtype.type(0), codes).astype(np.int16)
        codes[is_none] = NO_LABEL
    return codes, hidden


def label_pixels(path: str, window: Window, legend: Legend) -> NDArray[np.uint8]:
    """Class indices of a window of a label raster, on its own pixels; errors as in :class:`LabelMap`."""
    with open_label_raster(path) as source:
        codes, hidden = _read(source, path, window)
    if hidden is not None:
        codes = np.where(hidden, NO_LABEL, codes.astype(np.int32))
    return legend.to_classes(codes, where=path)


def warn_of_lost_labels(paths: Sequence[str], legend: Legend) -> None:
    """Warn of each label raster that calls codes of the legend no data, or holds negative codes, with their shares.

    Both are no label. Of rasters above 2²⁸ pixels some rows are counted, evenly spread.
    """
    named = {code for land_class in legend.classes for code in land_class.codes}
    for path in paths:
        with open_label_raster(path) as source:
            is_signed, tag = not source.dtypes[0].startswith("u"), source.nodata
            told = [f"its no-data tag ({tag:g})"] if tag in named else []
            if alpha_bands(source):
                told.append("its alpha band")
            elif has_mask_band(source):
                told.append("its mask band")
            if is_signed or told:
                _count_lost(source, path, legend, " and ".join(told))


def _count_lost(source: Any, path: str, legend: Legend, told: str) -> None:
    """Count what :func:`warn_of_lost_labels` tells of one raster, and tell it."""
    height, width = source.shape
    step = max(_WINDOW_PX // width, 1)
    every = step * math.ceil(height * width / _COUNTED_PX)
    hidden_codes, negative, total = Counter[int](), Counter[int](), 0
    for first in range(0, height, every):
        window = Window(0, first, width, min(step, height - first))
        try:
            codes, hidden = _read(source, path, window)
        except Alos2TutError:  # what is wrong there is told where it is asked for
            continue
        total += codes.size
        if hidden is not None:
            hidden_codes.update(_counted(codes[hidden & (_classes(legend, codes) < UNKNOWN)]))
        negative.update(_counted(codes[(codes < 0) if hidden is None else (codes < 0) & ~hidden]))
    names = {code: land_class.name for land_class in legend.classes for code in land_class.codes}
    for counts, problem in (
        (hidden_codes, f"{told} and codes of the legend '{legend.name}' contradict each other"),
        (negative, "it holds negative codes, which are no labels"),
    ):
        if share := counts.total() / max(total, 1):
            most = [f"{names.get(code, '')} {code}".strip() for code, _ in counts.most_common(5)]
            few = f"{', '.join(most)}{', …' if len(counts) > 5 else ''}"
            warn(f"{path}: {problem}: {counts.total():,} pixels ({100 * share:.2g} %), {few}. They count as none.")


def _counted(codes: NDArray[np.integer[Any]]) -> dict[int, int]:
    return dict(zip(*(found.tolist() for found in np.unique(codes, return_counts=True)), strict=True))


def _with_masks(path: str) -> str:
    """A mosaic (VRT) that also heeds the no-data tags and masks of its tiles, which GDAL passes over: its text."""
    root = checked_mosaic(path)
    band = root.find("VRTRasterBand")
    if band is None or root.find("MaskBand") is not None:
        return ElementTree.tostring(root, "unicode")
    mask = ElementTree.SubElement(ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
    for source in (part for kind in ("SimpleSource", "ComplexSource") for part in band.iter(kind)):
        file = source.findtext("SourceFilename", "")
        # a mosaic within it: what its tiles say, and over that what it hides itself
        for text in (_with_masks(file), file) if is_mosaic(file) else (file,):
            tile = ElementTree.SubElement(mask, "ComplexSource")
            ElementTree.SubElement(tile, "SourceFilename", relativeToVRT="0").text = text
            ElementTree.SubElement(tile, "SourceBand").text = f"mask,{source.findtext('SourceBand', '1')}"
            tile.extend(part for part in source if part.tag in ("SrcRect", "DstRect"))
            if text == file and is_mosaic(file):
                ElementTree.SubElement(tile, "NODATA").text = "255"
    return ElementTree.tostring(root, "unicode")


# --- grids and their pieces


@dataclass(frozen=True)
class _Grid:
    """The grid that wants labels, or a window of it, from whose first pixel rows and columns count."""

    crs: CRS | None
    transform: Affine
    shape: tuple[int, int]
    #: row and column of that pixel on the grid
    offset: tuple[int, int] = (0, 0)

    def ground(self, crs: CRS | None, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        """x and y in a coordinate system of points that are given by row and column; NaN where there is no place."""
        # from the whole grid's rows and columns, which are exact: centres are then the same in all windows
        x, y = self.transform * (cols + self.offset[1], rows + self.offset[0])
        return _ground(x, y, self.crs, crs)

    def may_touch(self, raster: _Raster) -> bool:
        """Whether the grid, in the raster's pixels, reaches into the raster; yes, where that is unclear.

        A raster of which a pixel of the grid covers more than 50,000 is refused: all would be read, for few labels.
        """
        places = raster.places(*_outline(self, raster.crs))
        low, high = places.min(axis=1), places.max(axis=1)
        # lines between the points may bulge
        slack = 0.02 * (high - low) + 1
        if ((high + slack < 0) | (low - slack > raster.shape)).any():
            return False
        lattice = places.reshape(2, _OUTLINE_POINTS, _OUTLINE_POINTS)
        down, across = np.diff(lattice, axis=1)[:, :, 1:], np.diff(lattice, axis=2)[:, 1:]
        area = np.abs(down[0] * across[1] - down[1] * across[0]) * (_OUTLINE_POINTS - 1) ** 2 / math.prod(self.shape)
        # of some points there may be no place, and longitudes jump
        covered = float(np.median(area[np.isfinite(area)])) if np.isfinite(area).any() else 0
        if covered > _MOST_COVERED:
            problem = f"the label raster's pixels are so small that one of the grid covers {covered:,.0f} of them"
            remedy = "Make one of larger pixels: gdalwarp -r mode -tr SIZE SIZE IN OUT."
            raise Alos2TutError(problem, where=raster.path, remedy=remedy)
        return True


@lru_cache(maxsize=4)
def _outline(grid: _Grid, crs: CRS | None) -> tuple[Floats, Floats]:
    """Points all over a grid in another coordinate system, which is that of many rasters."""
    along = np.linspace(0, 1, _OUTLINE_POINTS)
    rows, cols = np.meshgrid(along * grid.shape[0], along * grid.shape[1], indexing="ij")
    return grid.ground(crs, rows.ravel(), cols.ravel())


def _ground(x: Floats, y: Floats, source: CRS | None, target: CRS | None) -> tuple[Floats, Floats]:
    """x and y in another coordinate system; a point without a place, NaN, leaves the others theirs."""
    if source == target:
        return x, y
    points = reprojected(np.stack([x, y], axis=-1), source, target)
    if len(points) > 1 and np.isnan(points).all():
        middle = len(points) // 2
        halves = (_ground(x[part], y[part], source, target) for part in (slice(0, middle), slice(middle, None)))
        points = np.concatenate([np.stack(half, axis=-1) for half in halves])
    return points[:, 0], points[:, 1]


def _pieces(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the pieces of a grid."""
    for top in range(0, shape[0], _PIECE_PX[0]):
        for left in range(0, shape[1], _PIECE_PX[1]):
            bottom, right = min(top + _PIECE_PX[0], shape[0]), min(left + _PIECE_PX[1], shape[1])
            yield slice(top, bottom), slice(left, right)


# --- which label pixel a pixel lies in


def _cells(grid: _Grid, rows: slice, cols: slice, raster: _Raster) -> Cells | None:
    """The pixels of a raster, (2, height, width), in which the centres of a piece of a grid lie; None: in none.

    They are the exact ones of every centre's own coordinates.
    """
    size = (rows.stop - rows.start, cols.stop - cols.start)
    # on no map the coordinates of every centre cost nothing
    if math.prod(size) <= _SMALL_PX or grid.crs is None:
        return _exact(grid, rows, cols, raster, np.arange(math.prod(size))).reshape(2, *size)
    half, middle = np.array([_half(n) for n in size]), np.array([rows.start + rows.stop, cols.start + cols.stop]) / 2
    x, y = grid.ground(raster.crs, *(middle[:, None] + half[:, None] * _PROBES))
    if np.isnan(x).all():
        return None
    terms, error = _fitted(raster.places(x, y))
    # no sum of Chebyshev polynomials is further from its constant than this
    reach = np.abs(terms).sum(axis=(1, 2)) - np.abs(terms[:, 0, 0])
    low, high = terms[:, 0, 0] - reach - error, terms[:, 0, 0] + reach + error
    margin = float((error + 8 * _EPSILON * (reach + 1)).max())
    # longitudes jump half a turn away from the raster's middle
    around = raster.beside(x) - raster.seam
    jumps = math.isfinite(raster.turn) and not np.ptp(around) < min(around.min(), raster.turn - around.max())
    if not jumps and ((high < 0) | (low > raster.shape)).any():
        return None
    # also where a place is not known
    if jumps or not margin <= _TIGHT:
        return _in_quarters(grid, rows, cols, raster)
    # float32 tells small numbers well, and rounding to the nearest integer is quicker than down
    start = np.floor(terms[:, 0, 0]).astype(np.int32)
    terms[:, 0, 0] -= start + 0.5
    places = (_waves(size[0]) @ terms).astype(np.float32) @ _waves(size[1]).T.astype(np.float32)
    whole = np.rint(places)
    places -= whole
    np.abs(places, out=places)
    near = np.flatnonzero(np.maximum(places[0], places[1], out=places[0]) > 0.5 - margin)
    cells = whole.astype(np.int32)
    cells += start[:, None, None]
    if near.size:
        cells.reshape(2, -1)[:, near] = _exact(grid, rows, cols, raster, near)
    return cells


def _exact(grid: _Grid, rows: slice, cols: slice, raster: _Raster, flat: NDArray[np.intp]) -> Cells:
    """As :func:`_cells`, (2, n), by the coordinates of centres that are given by their number in the piece."""
    down, across = np.divmod(flat, cols.stop - cols.start)
    return raster.cells(*grid.ground(raster.crs, down + (rows.start + 0.5), across + (cols.start + 0.5)))


def _in_quarters(grid: _Grid, rows: slice, cols: slice, raster: _Raster) -> Cells:
    """As :func:`_cells`, for a piece over which no polynomial is good enough."""
    height, width = rows.stop - rows.start, cols.stop - cols.start
    cells = np.full((2, height, width), -1, np.int32)
    for down, across in itertools.product(_halves(height), _halves(width)):
        part = slice(rows.start + down.start, rows.start + down.stop)
        found = _cells(grid, part, slice(cols.start + across.start, cols.start + across.stop), raster)
        if found is not None:
            cells[:, down, across] = found
    return cells


def _halves(size: int) -> list[slice]:
    return [slice(0, size // 2), slice(size // 2, size)] if size > 1 else [slice(0, size)]


def _half(size: int) -> float:
    """From the middle of a piece to its outermost centres, in pixels."""
    return max((size - 1) / 2, 0.5)


def _fitted(places: Floats) -> tuple[Floats, Floats]:
    """Rows and columns over a piece as sums of Chebyshev polynomials, (2, down, across), and how far off these are."""
    nodes = places[:, : _TERMS**2].reshape(2, _TERMS, _TERMS)
    terms = _FIT @ nodes @ _FIT.T
    error = np.abs((_CHECK @ terms @ _CHECK.T).reshape(2, -1) - places[:, _TERMS**2 :]).max(axis=1)
    return terms, _SAFETY * error


@cache
def _waves(size: int) -> NDArray[np.float64]:
    """The polynomials at the centres of so many pixels, (size, terms)."""
    return chebvander((np.arange(size) - (size - 1) / 2) / _half(size), _TERMS - 1)
