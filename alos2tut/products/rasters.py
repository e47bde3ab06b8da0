"""Rasters by GDAL: bands of GeoTIFFs, ENVI rasters and checked mosaics in, Cloud-Optimized GeoTIFFs out.

Files come from anywhere: what a raster and its overviews claim of their size is checked before they are read, and what
merely lies beside a TIFF (overviews, world files, ``.aux.xml``) does not count, unless it says where no data is. GDAL
passes over four things: all statements of no data but one, the orientation of a TIFF, pixels that a cut file lacks (it
may read zeros), and a disk that is full when a file is closed, which is why what was written is read back.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product as product_of
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import ArrayLike, DTypeLike, NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.shutil import copy as copy_raster
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window

from ..core.artifacts import atomic_path
from ..core.errors import Alos2TutError, closest, quoted
from .sources import FileSource

#: longitude and latitude in degrees, in this order
LONLAT = CRS.from_epsg(4326)

#: pixels along a side, several times those of any product
LARGEST_SIDE = 2**17
#: unpacked bytes of one strip or tile, which is read whole; also of those that GDAL may keep
_LARGEST_BLOCK = 2**28
#: unpacked bytes per byte of the file; deflate reaches 1,032
_LARGEST_RATIO = 1_100
#: strips or tiles of a file; tags of a directory, which is libtiff's own limit; halvings of the largest side
_MOST_BLOCKS, _MOST_TAGS, _MOST_OVERVIEWS = 2**22, 4096, 17
#: what GDAL and rasterio raise where a file or disk is not as it should be: ValueError for coordinate systems and
#: texts, SystemError where GDAL gives no reason
_GDAL_ERRORS = (RasterioError, CPLE_BaseError, ValueError, SystemError)
#: GDAL keeps what it read in less memory unless the user says how much
_GDAL_OPTIONS = {} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": _LARGEST_BLOCK}

#: how GeoTIFFs are packed that are written
COMPRESSIONS = ("deflate", "zstd", "none")

#: formats that are read, by GDAL's names
READ_DRIVERS = ("GTiff", "ENVI", "HFA", "PNG", "BMP")

#: types of pixels that NumPy does not know
_READ_AS = {"complex_int16": "complex64"}

# TIFF 6.0, section 2; BigTIFF is the same with wider numbers
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS, _COMPRESSION, _ORIENTATION, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT = 258, 259, 274, 278, 322, 323
_STRIP_STARTS, _STRIP_SIZES, _TILE_STARTS, _TILE_SIZES, _SAMPLES, _PLANAR = 273, 279, 324, 325, 277, 284
_TAGS = {_BITS, _COMPRESSION, _ORIENTATION, _STRIP_ROWS, _TILE_WIDTH, _TILE_HEIGHT}
_TAGS |= {_STRIP_STARTS, _STRIP_SIZES, _TILE_STARTS, _TILE_SIZES, _SAMPLES, _PLANAR}
#: field types that hold whole numbers; none of these tags is negative
_WHOLE_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 6: "u1", 8: "u2", 9: "u4", 13: "u4", 16: "u8", 17: "u8", 18: "u8"}
#: whether (rows, columns) are stored the other way round, by orientation
_FLIPS = {1: (False, False), 3: (True, True), 4: (True, False)}

_Tags = Mapping[int, NDArray[np.uint64]]


@dataclass(frozen=True)
class RasterBand:
    """One band of a GeoTIFF, ENVI raster or mosaic, upright; it holds no handle and travels between processes.

    Attributes:
        source: the file; of an ENVI raster the one with the pixels.
        shape: rows and columns.
        dtype: of the pixels as they are read; complex64 also stands for complex whole numbers.
        transform: from (column, row) of the upright band to its CRS; None without georeference. The tags of a TIFF
            place its pixels as they are stored (GeoTIFF 1.0, 2.5.1), so that each keeps its place when it is turned.
        crs: the geographic or projected coordinate system; None where none is stated.
        no_data: the value that the file says stands for no data; pixels of this value are read as they are, complex
            ones as ``fill``, as no amplitude tells them.
        alphas: numbers of the bands that say where there is data.
        has_mask: whether the file holds a mask.
        masks: other rasters of the same pixels, and the values in them that say that there is no data.
        fill: what is read where opacity or a mask says that there is no data.
        flip: whether the file stores the rows from the bottom, and the columns from the right.
        driver: GDAL's name of the format.
        number: of the band in the file.
        description: what the file calls the band.
        scaling: by what numbers are to be multiplied, and what is to be added then, as the file says.
        mosaic: the text of a mosaic that was checked, which is opened in place of the file.
    """

    source: FileSource
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    transform: Affine | None = None
    crs: CRS | None = None
    no_data: float | None = None
    flip: tuple[bool, bool] = (False, False)
    driver: str = "GTiff"
    alphas: tuple[int, ...] = ()
    has_mask: bool = False
    masks: tuple[tuple[RasterBand, tuple[int, ...]], ...] = ()
    fill: float = 0
    number: int = 1
    description: str = ""
    scaling: tuple[float, float] = (1.0, 0.0)
    mosaic: str | None = field(default=None, repr=False)

    @classmethod
    def open(cls, source: FileSource, dtypes: Collection[str], *args: Any, **options: Any) -> RasterBand:
        """Look at a raster of one band without reading its pixels; arguments and errors as of :meth:`open_all`.

        Raises:
            Alos2TutError: more than one band beside those of opacity.
        """
        return cls.open_all(source, dtypes, *args, is_one=True, **options)[0]

    @classmethod
    def open_all(
        cls,
        source: FileSource,
        dtypes: Collection[str],
        mask: FileSource | None = None,
        fill: float | None = None,
        no_data: float | None = None,
        *,
        is_one: bool = False,
        mosaic: str | None = None,
    ) -> tuple[RasterBand, ...]:
        """Look at a raster without reading its pixels: all its bands but those of opacity.

        Args:
            source: a TIFF or BigTIFF, or the raw file of an ENVI raster whose ``.hdr`` lies beside it.
            dtypes: the names of the types of pixels that will do, as ``"uint16"``.
            mask: the ``.msk`` beside it, if there is one.
            fill: what to read where a mask says that there is no data; None: NaN, or 0 of other types than floats.
            no_data: the value that stands for no data if the raster itself names none.
            is_one: whether it may have no more than one.
            mosaic: the text of the mosaic that ``source`` is, whose sources were checked; ``source.size`` is then that
                of all of them.

        Raises:
            Alos2TutError: no such raster, another number of bands, another type, an orientation other than 1, 3 and 4,
                a truncated file, sizes that cannot be, a mask of another size, or a georeference in which pixels have
                no area.
        """
        tags = None if mosaic else _first_directory(source)
        driver = "VRT" if mosaic else "ENVI" if tags is None else "GTiff"
        with _closing(_opened(source, driver, mosaic)) as raster, _gdal(source.where, "cannot be read as a raster"):
            shape, stored = raster.shape, raster.dtypes[0]
            read_as = _READ_AS.get(stored, stored)
            alphas = alpha_bands(raster)
            numbers = [n for n in range(1, raster.count + 1) if n not in alphas]
            is_odd = 1 in alphas or {*raster.dtypes} - {stored} - {raster.dtypes[n - 1] for n in alphas}
            if (is_one and len(numbers) != 1) or is_odd or not {stored, read_as} & set(dtypes):
                one = "one " if is_one else ""
                problem = f"holds {raster.count} band(s) of {stored}, not {one}of {' or '.join(sorted(dtypes))}"
                raise Alos2TutError(problem, where=source.where)
            dtype = np.dtype(read_as)
            check_sizes(source, shape, raster.block_shapes[0], dtype.itemsize)
            if mosaic:
                end = 0
            elif tags is None:
                stored_bytes = raster.count * math.prod(shape) * dtype.itemsize
                end = int(raster.tags(ns="ENVI").get("header_offset", 0)) + stored_bytes
            else:
                end = int(_block_ends(source, tags, shape).max())
            if end > source.size:
                problem = f"is truncated: {end - source.size:,} of {end:,} bytes are missing"
                raise Alos2TutError(problem, where=source.where, remedy="Download it again.")
            orientation = int((tags or {}).get(_ORIENTATION, [1])[0])
            if orientation not in _FLIPS:
                problem = f"its Orientation (TIFF tag {_ORIENTATION}) is {orientation}; 1, 3 and 4 are read"
                raise Alos2TutError(problem, where=source.where)
            flip = _FLIPS[orientation]
            transform, crs = _upright(source, raster.transform, shape, flip), raster.crs
            # a local system says nothing of the place on Earth
            crs = crs if crs is not None and (crs.is_geographic or crs.is_projected) else None
            has_mask = has_mask_band(raster)
            if fill is None:
                fill = math.nan if dtype.kind == "f" else 0
            common = cls(source, shape, dtype, transform, crs, None, flip, driver, alphas, has_mask, fill=fill)
            bands = tuple(
                replace(
                    common,
                    no_data=no_data if raster.nodatavals[n - 1] is None else raster.nodatavals[n - 1],
                    number=n,
                    description=raster.descriptions[n - 1] or "",
                    scaling=(raster.scales[n - 1], raster.offsets[n - 1]),
                    mosaic=mosaic,
                )
                for n in numbers
            )
        hidden = None if mask is None else cls.open(mask, ["uint8"])
        return bands if hidden is None else tuple(band.hidden_by(hidden, (0,)) for band in bands)

    def hidden_by(self, mask: RasterBand, values: tuple[int, ...]) -> RasterBand:
        """The band without data where another raster of the same pixels has one of these values."""
        if mask.shape != self.shape:
            raise Alos2TutError(
                f"is {mask.shape}, and masks {self.source.name} of {self.shape}", where=mask.source.where
            )
        return replace(self, masks=(*self.masks, (mask, values)))

    @property
    def bare(self) -> RasterBand:
        """The band with all that is stored, whatever masks say."""
        return replace(self, alphas=(), has_mask=False, masks=(), no_data=None)

    @property
    def statements(self) -> list[str]:
        """What says where there is no data, in words."""
        tag = [f"its no-data tag ({self.no_data:g})"] if self.no_data is not None else []
        own = ["its alpha band"] * bool(self.alphas) + ["its mask band"] * self.has_mask
        return tag + own + [f"the mask {mask.source.name}" for mask, _ in self.masks]

    def blocks(self, *others: RasterBand) -> Iterator[list[NDArray[Any]]]:
        """Of this band and of others of its shape the blocks of :func:`spread_blocks`."""
        for rows, cols in spread_blocks(self.shape):
            yield [np.concatenate(list(band.strips(rows, cols, 512))) for band in (self, *others)]

    def contradicted(self, no_data: Collection[int]) -> float:
        """Share of pixels, of some blocks, whose number is data, and of which tag or mask says that there is none.

        Quality codes, which are masks of other values than 0, contradict nothing.
        """
        by_quality = tuple((mask, tuple(value for value in values if value)) for mask, values in self.masks)
        found = [0, 0]
        for shown, stored in self.blocks(replace(self.bare, masks=by_quality)) if self.statements else ():
            is_hidden = (np.isnan(shown) if math.isnan(self.fill) else shown == self.fill) | (stored == self.no_data)
            hidden = stored[is_hidden]
            is_data = ~np.isin(hidden, [self.fill, *no_data]) & ~np.isnan(hidden)
            found = [found[0] + int(np.count_nonzero(is_data)), found[1] + stored.size]
        return found[0] / max(found[1], 1)

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """The pixels of a window inside the raster, from top to bottom in pieces of at most ``step`` rows.

        Yields:
            Arrays (n, columns) of ``dtype`` in native byte order, upright, each a new one. The file is open meanwhile.

        Raises:
            Alos2TutError: pixels that cannot be read. Damage inside compressed pixels shows only where the compression
                notices it.
        """
        height, width = self.shape
        left = width - cols.stop if self.flip[1] else cols.start
        masks = [(mask.strips(rows, cols, step), values) for mask, values in self.masks]
        with self._reopened() as raster:
            for first in range(rows.start, rows.stop, step):
                last = min(first + step, rows.stop)
                top = height - last if self.flip[0] else first
                with _gdal(self.source.where, "pixels cannot be read", "Download it again."):
                    pixels = self._read(raster, window=Window(left, top, cols.stop - cols.start, last - first))
                yield self._masked(pixels, [(next(strips), values) for strips, values in masks])

    def thumbnail(self, most_px: int) -> NDArray[Any]:
        """The whole band at no more than ``most_px`` pixels a side: some of its pixels, or those of its overviews.

        Raises:
            Alos2TutError: as :meth:`strips`; or overviews of sizes that cannot be.
        """
        step = -(-max(self.shape) // most_px)
        if self.driver != "GTiff":
            # GDAL would take overviews of any format from a file beside it
            rows, cols = (slice(0, side) for side in self.shape)
            return np.concatenate([strip[:1, ::step] for strip in self.strips(rows, cols, step)])
        masks = [(mask.thumbnail(most_px), values) for mask, values in self.masks]
        shape = tuple(-(-side // step) for side in self.shape)
        with self._reopened() as raster:
            with _gdal(self.source.where, "its overviews cannot be read"):
                count = len(raster.overviews(1))
            if count > _MOST_OVERVIEWS:
                raise Alos2TutError(f"claims {count:,} overviews", where=self.source.where)
            for level in range(count):
                with _closing(_opened(self.source, self.driver, overview_level=level)) as overview:
                    itemsize = np.dtype(_READ_AS.get(overview.dtypes[0], overview.dtypes[0])).itemsize
                    check_sizes(self.source, overview.shape, overview.block_shapes[0], itemsize, "its overview ")
            with _gdal(self.source.where, "pixels cannot be read"):
                pixels = self._read(raster, out_shape=shape)
        return self._masked(pixels, masks)

    @contextmanager
    def _reopened(self) -> Iterator[Any]:
        with _closing(_opened(self.source, self.driver, self.mosaic)) as raster:
            if raster.shape != self.shape:
                raise Alos2TutError("has changed since it was opened", where=self.source.where)
            yield raster

    def _read(self, raster: Any, **part: Any) -> NDArray[Any]:
        """Pixels as they are stored, filled where the file's mask or opacity says that there is no data."""
        pixels: NDArray[Any] = raster.read(self.number, **part)
        masks = hiding_masks(raster, self.alphas, self.has_mask, self.number, **part)
        if self.dtype.kind == "c" and self.no_data is not None:
            masks.append(pixels == self.no_data)
        if masks:
            pixels[np.logical_or.reduce(masks)] = self.fill
        return pixels

    def _masked(self, pixels: NDArray[Any], masks: Iterable[tuple[NDArray[Any], tuple[int, ...]]]) -> NDArray[Any]:
        """Stored pixels upright, filled where other rasters say that there is no data."""
        across = np.s_[:: -1 if self.flip[0] else 1, :: -1 if self.flip[1] else 1]
        upright = np.ascontiguousarray(pixels[across])
        for mask, values in masks:
            for value in values:
                np.copyto(upright, upright.dtype.type(self.fill), where=mask == value)
        return upright


def spread_blocks(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """At most nine blocks of 512² pixels, spread evenly over so many rows and columns."""
    starts = (np.unique(np.linspace(0, max(side - 512, 0), min(-(-side // 512), 3)).astype(int)) for side in shape)
    for row, col in product_of(*starts):
        yield slice(row, min(row + 512, shape[0])), slice(col, min(col + 512, shape[1]))


def has_mask_band(raster: Any) -> bool:
    """Whether a dataset of rasterio has a mask of its own, be it of all its bands or of the first alone."""
    return not {MaskFlags.all_valid, MaskFlags.alpha, MaskFlags.nodata} & {*raster.mask_flag_enums[0]}


def alpha_bands(raster: Any) -> tuple[int, ...]:
    """Numbers of a dataset's bands that say where the others hold."""
    return tuple(number for number, kind in enumerate(raster.colorinterp, 1) if kind == ColorInterp.alpha)


def hiding_masks(
    raster: Any, alphas: Iterable[int], has_mask: bool, number: int = 1, **part: Any
) -> list[NDArray[np.bool_]]:
    """Where bands of opacity and a dataset's own mask say that a band has no data; GDAL's own mask heeds but one."""
    masks = [raster.read(alpha, **part) == 0 for alpha in alphas]
    return [*masks, raster.read_masks(number, **part) == 0] if has_mask else masks


def reprojected(points: ArrayLike, source: CRS, target: CRS) -> NDArray[np.float64]:
    """Points (n, 2) of one coordinate system in another; NaN where they have no place there, or PROJ knows no way."""
    given = np.asarray(points, dtype=np.float64)
    try:
        found = np.array(reproject_points(source, target, *given.T), dtype=np.float64).T
    except CPLE_BaseError:
        return np.full(given.shape, np.nan)
    return np.where(np.isfinite(found), found, np.nan)


def write_cog(
    path: str | Path,
    blocks: Iterable[tuple[Window, NDArray[Any]]],
    *,
    shape: tuple[int, int],
    dtype: DTypeLike,
    crs: CRS | None,
    transform: Affine | None,
    no_data: float | None,
    tags: Mapping[str, str],
    colormap: Mapping[int, tuple[int, ...]] | None = None,
    scale: float = 1.0,
    description: str | None = None,
    resampling: str = "average",
    compress: bool | str = "deflate",
    overviews: bool = True,
) -> Path:
    """Write one band as a Cloud-Optimized GeoTIFF in tiles of 512², whole or not at all.

    It is packed and read back by all cores, or by so many threads as the environment's ``GDAL_NUM_THREADS`` says, which
    changes no byte. Meanwhile all its pixels lie beside it unpacked, too.

    Args:
        path: the file to write; an older one stays until the new one is complete.
        blocks: windows that do not overlap, and their pixels; only one is in memory. Rows of full width from top to
            bottom are fastest. Where there is none, the raster has ``no_data``, or 0.
        shape: rows and columns.
        dtype: of the file; blocks may be of a type that goes into it without loss.
        crs: the coordinate system, or None.
        transform: from (column, row) to it, or None.
        no_data: the value that stands for no data, or None.
        tags: what the file says about itself.
        colormap: colours (red, green, blue, opacity; 0 to 255) of the values of a uint8 band.
        scale: what a number is to be multiplied by, as the file then says.
        description: what the band is, in words.
        resampling: how overviews are made: GDAL's "average", "mode", "nearest", ….
        compress: one of :data:`COMPRESSIONS`, or False for the last; floats after GDAL's predictor of floats. Programs
            built before about 2018 cannot read "zstd", which unpacks faster.
        overviews: False: a plain tiled GeoTIFF, for which nothing else lies on the disk meanwhile.

    Returns:
        ``path``.

    Raises:
        Alos2TutError: before any block is asked for: the folder is missing, ``path`` is a folder, not UTF-8 or has
            another suffix than ``.tif`` and ``.tiff``, an unknown compression; later: the disk is full or fails. What
            ``blocks`` raises passes through.
        ValueError: a block that does not fit its window or ``dtype``.
    """
    if Path(path).is_dir():
        raise Alos2TutError("is a folder", where=path, remedy="Name a file to write.")
    _check_name(path, path)
    if Path(path).suffix:
        check_tif_name(path)
    dtype = np.dtype(dtype)
    threads = {"num_threads": os.environ.get("GDAL_NUM_THREADS", "ALL_CPUS")}
    packing = threads | _packing(compress, dtype) | {"bigtiff": "if_safer"}
    profile = {"driver": "GTiff", "count": 1, "height": shape[0], "width": shape[1], "dtype": dtype.name}
    profile |= {"crs": crs, "transform": transform, "nodata": no_data}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512}
    # what is soon copied is not packed
    profile |= {"bigtiff": "if_safer"} if overviews else packing
    writing = partial(_gdal, path, "could not be written", "Check the free disk space and the permissions.")
    written: list[tuple[Window, int]] = []
    with atomic_path(path) as temporary:
        scratch = temporary.with_name(f"{temporary.name}.scratch") if overviews else temporary
        with writing():
            raster = _Writer(scratch, "w", **profile)
        with _closing(raster):
            with writing():
                _describe(raster, tags, colormap, scale, description)
            for window, pixels in blocks:
                if pixels.shape != (window.height, window.width) or not np.can_cast(pixels.dtype, dtype):
                    raise ValueError(f"{pixels.shape} {pixels.dtype} does not go into {window} of {dtype}")
                pixels = np.ascontiguousarray(pixels, dtype)
                with writing():
                    raster.write(pixels, 1, window=window)
                written.append((window, crc32(pixels.data)))
        if overviews:
            with writing():
                copy_raster(
                    scratch, temporary, driver="COG", blocksize=512, overview_resampling=resampling.upper(), **packing
                )
            scratch.unlink()
        with writing(), open_raster(temporary, ["GTiff"], beside=False, **threads) as raster:
            # when the disk is full GDAL leaves out what it kept until the file was closed, and says nothing
            if any(crc32(raster.read(1, window=window).data) != checksum for window, checksum in written):
                raise RasterioError("the disk does not hold what was written to it")
    return Path(path)


def _packing(compress: bool | str, dtype: np.dtype[Any]) -> dict[str, Any]:
    """GDAL's options for a compression; a predictor makes neither classes nor complex numbers smaller."""
    name = compress if isinstance(compress, str) else COMPRESSIONS[0 if compress else -1]
    if name not in COMPRESSIONS:
        raise Alos2TutError(
            f"unknown compression {quoted(name)}", where="compress", remedy=closest(str(name), COMPRESSIONS)
        )
    return {"compress": name} | ({"predictor": 3} if dtype.kind == "f" and name != "none" else {})


def check_tif_name(path: str | Path, more: str = "") -> None:
    """Refuse to write a GeoTIFF under the name of a picture or of something else, which no program would open.

    Args:
        path: the file to write.
        more: about the right name.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        remedy = f"Name it {path.with_suffix('.tif').name}{more}."
        raise Alos2TutError("is no name of a GeoTIFF, which is what is written", where=path, remedy=remedy)


def _describe(
    raster: _Writer,
    tags: Mapping[str, str],
    colormap: Mapping[int, tuple[int, ...]] | None,
    scale: float,
    description: str | None,
) -> None:
    """Write what a raster says of itself and of its band."""
    raster.update_tags(**tags)
    if colormap is not None:
        raster.write_colormap(1, colormap)
    if scale != 1:
        raster.scales = (scale,)
    if description is not None:
        raster.set_band_description(1, description)


def _check_name(name: str | Path, where: str | Path) -> None:
    try:
        str(name).encode()
    except UnicodeEncodeError:
        problem = "its path is not UTF-8, the only one that GDAL knows"
        raise Alos2TutError(problem, where=where, remedy="Rename the file or the folder.") from None


@contextmanager
def _gdal(where: str | Path, problem: str, remedy: str | None = None) -> Iterator[None]:
    """GDAL with our options, whose complaints become an error of ours.

    It is entered for single calls, not around a ``yield``: rasterio's environments must be left in reverse order.
    """
    with rasterio.Env(**_GDAL_OPTIONS):
        try:
            yield
        except _GDAL_ERRORS as error:
            raise Alos2TutError(f"{problem} ({error.__cause__ or error})", where=where, remedy=remedy) from None


def _opened(source: FileSource, driver: str, mosaic: str | None = None, **options: Any) -> Any:
    """The raster as a dataset of rasterio, to be closed by the caller."""
    path = mosaic or source.gdal_path
    problem = "cannot be opened" if driver == "GTiff" else "is no TIFF, and no ENVI raster with its .hdr beside it"
    if not mosaic:
        _check_name(path, source.where)
    with _gdal(source.where, problem):
        return open_raster(path, [driver], beside=driver != "GTiff", **options)


def open_raster(path: str | Path, drivers: Sequence[str] = READ_DRIVERS, *, beside: bool = True, **options: Any) -> Any:
    """A raster as a dataset of rasterio, to be closed by the caller: all rasters are opened here.

    Args:
        path: an absolute path, one of GDAL's virtual paths into an archive on the disk, or the text of a mosaic.
        drivers: GDAL's names of the formats that it may have. By others a text file can make it ask a network address,
            or run code.
        beside: whether masks, overviews and texts that lie beside the file count.
        options: further ones of GDAL.

    Raises:
        rasterio.errors.RasterioError: no such raster.
        Alos2TutError: overviews or masks that are no TIFF, or would be fetched from elsewhere.
    """
    if beside and str(path)[:1] != "<":
        _check_beside(str(path))
    # GDAL looks at this when it opens a dataset; it is said in both cases, as what the main thread sets is seen by
    # those threads that set nothing
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE" if beside else "EMPTY_DIR"):
        raster = _Reader(path, driver=list(drivers), **options)
        if elsewhere := raster.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
            raster.close()
            raise Alos2TutError(f"wants its overviews read from {quoted(elsewhere)}", where=path)
        return raster


def _check_beside(path: str) -> None:
    """Refuse masks and overviews beside a raster that are no TIFF: GDAL would open any format there."""
    is_virtual = path.startswith("/vsi")
    for file in (f"{path}{end}" for end in (".msk", ".MSK", ".ovr", ".OVR")):
        if not is_virtual and not os.path.lexists(file):
            continue
        try:
            if not is_virtual and not Path(file).is_file():
                raise RasterioError("a device or a pipe would be read for ever")
            open_raster(file, ["GTiff"], beside=False).close()
        except RasterioError as error:
            if not (is_virtual and "does not exist" in str(error)):
                problem = f"lies beside a raster, and is no TIFF ({error})"
                raise Alos2TutError(problem, where=file, remedy="Remove it.") from None


@contextmanager
def _closing(raster: Any) -> Iterator[Any]:
    """Close a dataset at the end; outside an environment GDAL would print what it meets meanwhile."""
    try:
        yield raster
    finally:
        with rasterio.Env(**_GDAL_OPTIONS):
            raster.close()


class _Silent:
    """A dataset of rasterio that does not warn of a missing georeference, which is for the caller to judge.

    Filters of warnings belong to the whole process: threads that change them and put them back leave them changed.
    """

    def _has_gcps_or_rpcs(self) -> bool:
        # what rasterio asks before it warns, and for nothing else
        return True


class _Reader(_Silent, DatasetReader):  # type: ignore[misc]
    pass


class _Writer(_Silent, DatasetWriter):  # type: ignore[misc]
    pass


def _upright(source: FileSource, transform: Affine, shape: tuple[int, int], flip: tuple[bool, bool]) -> Affine | None:
    """The transform of the band after it is turned; None for GDAL's sign of no georeference."""
    if transform.is_identity:
        return None
    if not all(map(math.isfinite, transform)) or not transform.determinant:
        raise Alos2TutError(f"its georeference {tuple(transform)[:6]} gives pixels no area", where=source.where)
    rows = Affine(1, 0, 0, 0, -1, shape[0]) if flip[0] else Affine.identity()
    cols = Affine(-1, 0, shape[1], 0, 1, 0) if flip[1] else Affine.identity()
    return transform * rows * cols


def check_sizes(
    source: FileSource, shape: tuple[int, int], block: tuple[int, int], itemsize: int, part: str = ""
) -> None:
    """Refuse what would only fill memory, or what a file of these bytes cannot hold."""
    claimed, block_bytes = math.prod(shape) * itemsize, math.prod(block) * itemsize
    problem = None
    if max(shape) > LARGEST_SIDE:
        problem = f"more than {LARGEST_SIDE:,} along a side"
    elif claimed > _LARGEST_RATIO * source.size:
        problem = f"which are {claimed:,} bytes, in a file of {source.size:,} bytes"
    elif block_bytes > _LARGEST_BLOCK:
        problem = f"in blocks of {block_bytes:,} bytes, of which each is read whole"
    if problem:
        raise Alos2TutError(f"{part}claims {shape[0]:,} × {shape[1]:,} pixels, {problem}", where=source.where)


def is_tiff(path: str | Path) -> bool:
    """Whether a file is a TIFF, by how it begins."""
    with open(path, "rb") as file:
        return file.read(4) in _TIFF_STARTS


def _first_directory(source: FileSource) -> _Tags | None:
    """Those tags of a TIFF's first directory that are named above; None for what is no TIFF."""
    begin = source.read(0, 4)
    if begin not in _TIFF_STARTS:
        return None
    order, is_big = "<" if begin[:1] == b"I" else ">", 43 in begin[2:]

    def fetch(start: int, length: int) -> bytes:
        if start + length > source.size:
            raise _damaged(source, f"its directory reaches to byte {start + length:,} of {source.size:,}")
        return source.read(start, length)

    codes = ("Q", "Q", "HHQ8s") if is_big else ("I", "H", "HHI4s")
    place, number, entry = (struct.Struct(order + code) for code in codes)
    (first,) = place.unpack(fetch(place.size, place.size))
    (entries,) = number.unpack(fetch(first, number.size))
    if not 0 < entries <= _MOST_TAGS:
        raise _damaged(source, f"its directory claims {entries:,} tags")
    tags: dict[int, NDArray[np.uint64]] = {}
    for tag, kind, count, value in entry.iter_unpack(fetch(first + number.size, entries * entry.size)):
        if tag not in _TAGS or kind not in _WHOLE_NUMBERS or not count:
            continue
        if count > _MOST_BLOCKS:
            raise _damaged(source, f"its TIFF tag {tag} claims {count:,} values")
        dtype = np.dtype(order + _WHOLE_NUMBERS[kind])
        size = count * dtype.itemsize
        inside = value if size <= len(value) else fetch(place.unpack(value)[0], size)
        # of a tag that is there twice libtiff takes the first, too
        tags.setdefault(tag, np.frombuffer(inside[:size], dtype).astype(np.uint64))
    return tags


def _damaged(source: FileSource, problem: str) -> Alos2TutError:
    return Alos2TutError(f"is no whole TIFF: {problem}", where=source.where, remedy="Download it again.")


def _block_ends(source: FileSource, tags: _Tags, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Where the strips or tiles of a TIFF end in the file; 0 for those that are left out because they are empty.

    The length of uncompressed ones follows from the shape, whatever the file states.
    """
    height, width = shape
    is_tiled = _TILE_WIDTH in tags and _TILE_HEIGHT in tags
    tall = max(1, int(tags.get(_TILE_HEIGHT if is_tiled else _STRIP_ROWS, [height])[0]))
    wide = max(1, int(tags[_TILE_WIDTH][0])) if is_tiled else width
    samples = max(1, int(tags.get(_SAMPLES, [1])[0]))
    # separate planes of pixels, or the samples of a pixel together
    planes, together = (samples, 1) if int(tags.get(_PLANAR, [1])[0]) == 2 else (1, samples)
    per_plane = -(-height // tall) * -(-width // wide)
    count = planes * per_plane
    nothing = np.zeros(0, np.uint64)
    starts = tags.get(_TILE_STARTS, tags.get(_STRIP_STARTS, nothing))[:count]
    sizes = tags.get(_TILE_SIZES, tags.get(_STRIP_SIZES, nothing))[:count]
    if len(starts) < count or 0 < len(sizes) < count:
        least = min(len(starts), len(sizes) or count)
        raise _damaged(source, f"it tells where {least:,} of its {count:,} strips or tiles lie")
    lengths = sizes.astype(np.float64) if len(sizes) else np.ones(count)
    is_empty = (starts == 0) | (lengths == 0)
    if _COMPRESSION not in tags or tags[_COMPRESSION][0] == 1:
        row_bytes = -(-wide * together * int(tags.get(_BITS, [1])[0]) // 8)
        lengths[:] = tall * row_bytes
        if not is_tiled:
            lengths[per_plane - 1 :: per_plane] = (height - (per_plane - 1) * tall) * row_bytes
    # floats: exact for any file, and no overflow for any number that is stated
    return np.where(is_empty, 0.0, starts + lengths)
