"""Label rasters that are bare arrays: NumPy's ``.npy`` and MATLAB's ``.mat``. Numbers are read, objects never."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from ..core.errors import Alos2TutError, quoted

ARRAY_ENDS = (".npy", ".mat")
#: of an array that is read as a whole, and of all that a compressed file of MATLAB unfolds to
_MOST_BYTES = 2**30
#: MATLAB's names of what is a number
_NUMBERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)} | {"double", "single", "logical"}
#: after the header of a MATLAB 5 file; type of an element that is compressed, and bytes that are unfolded at once
_HEADER_BYTES, _COMPRESSED, _STEP = 128, 15, 2**20


@dataclass(frozen=True)
class ArrayRaster:
    """An array (rows, columns) as far as it is used like a dataset of rasterio: one band on no map, no data nowhere."""

    array: NDArray[Any]

    crs: ClassVar[None] = None
    nodata: ClassVar[None] = None
    count: ClassVar[int] = 1
    transform: ClassVar[Affine] = Affine.identity()
    colorinterp: ClassVar[tuple[ColorInterp]] = (ColorInterp.gray,)
    mask_flag_enums: ClassVar[tuple[list[MaskFlags]]] = ([MaskFlags.all_valid],)

    def __enter__(self) -> ArrayRaster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the file is no longer open, or mapped as long as the array is used."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.array.shape
        return height, width

    @property
    def dtypes(self) -> tuple[str]:
        """Name of the type, in whatever byte order."""
        return (self.array.dtype.name,)

    def read(self, band: int, *, window: Window) -> NDArray[Any]:
        """A window of the only band, in native byte order."""
        rows, cols = window.toslices()
        return np.ascontiguousarray(self.array[rows, cols], self.array.dtype.newbyteorder("="))


def open_array(path: str) -> ArrayRaster:
    """Open a label raster of these types.

    Raises:
        Alos2TutError: a file that is damaged, holds objects, is too large, or holds no array of two dimensions, or
            several.
    """
    try:
        array = _mapped(path) if path.lower().endswith(".npy") else _loaded(path)
    except Alos2TutError:
        raise
    except Exception as error:  # whatever SciPy and NumPy meet in a damaged file
        raise Alos2TutError(f"is damaged, or no array ({type(error).__name__}: {error})", where=path) from None
    if array.ndim != 2 or not array.size:
        raise Alos2TutError(f"holds an array of {array.shape}, not rows and columns of codes", where=path)
    return ArrayRaster(array.view(np.uint8) if array.dtype == np.bool_ else array)


def _mapped(path: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap):
        raise Alos2TutError("holds several arrays, not one of codes", where=path)
    return array


def _loaded(path: str) -> NDArray[Any]:
    # half a second, for those who need it
    from scipy.io import loadmat, whosmat

    with open(path, "rb") as file:
        start = file.read(_HEADER_BYTES)
        if start.startswith((b"MATLAB 7.3", b"\x89HDF")):
            raise Alos2TutError(
                "is HDF5, as MATLAB 7.3 writes it",
                where=path,
                remedy="Save it as an older one (save('labels.mat', 'NAME', '-v7')), or the array as .npy.",
            )
        unfolded = sum(_unfolded_bytes(file, start)) if start.startswith(b"MATLAB 5") else 0
    if max(unfolded, Path(path).stat().st_size) > _MOST_BYTES:
        raise Alos2TutError(f"holds more than {_MOST_BYTES / 2**30:g} GiB", where=path, remedy="Save it as .npy.")
    held = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    maps = [name for name, (shape, kind) in held.items() if len(shape) == 2 and min(shape) > 1 and kind in _NUMBERS]
    if len(maps) != 1:
        told = ", ".join(f"{name} ({' × '.join(map(str, shape))} {kind})" for name, (shape, kind) in held.items())
        raise Alos2TutError(
            f"holds {len(maps)} variables that are rows and columns of numbers, not one: {quoted(told or 'nothing')}",
            where=path,
            remedy="Save that of the labels alone.",
        )
    if 8 * math.prod(held[maps[0]][0]) > _MOST_BYTES:
        raise Alos2TutError(f"holds more than {_MOST_BYTES / 2**30:g} GiB", where=path, remedy="Save it as .npy.")
    array: NDArray[Any] = loadmat(path, variable_names=maps)[maps[0]]
    return array


def _unfolded_bytes(file: BinaryIO, start: bytes) -> Iterator[int]:
    """Bytes of each compressed element of a MATLAB 5 file, until they are too many (MAT-File Format, data elements)."""
    order = ">" if start[-2:] == b"MI" else "<"
    while len(tag := file.read(8)) == 8:
        kind, size = struct.unpack(f"{order}II", tag)
        if kind != _COMPRESSED:
            file.seek(size, 1)
            continue
        unfolding, content, total = zlib.decompressobj(), file.read(size), 0
        while content and total <= _MOST_BYTES:
            total += len(unfolding.decompress(content, _STEP))
            content = unfolding.unconsumed_tail
        yield total
        if total > _MOST_BYTES:
            return
