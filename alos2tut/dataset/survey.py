"""What lies where: every patch of a product's grid, with its ground, its share of data and its classes; no pixel kept.

A survey is small (some hundred bytes for a patch of 200 kB) and complete: which patches are kept, sampled and assigned
to which list is decided on it, before any patch is cut.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points

from .. import geometry
from ..core.artifacts import atomic_path
from ..core.errors import Alos2TutError
from ..core.progress import progress_bar
from ..products.metadata import named_polarizations
from ..products.product import Product
from ..products.rasters import LONLAT
from . import splits
from .archive import Entry
from .config import DatasetConfig, Frame
from .labels import LabelMap, Placement, frame_of
from .legend import IGNORE, Legend

#: what masks call ground that shows up elsewhere, or not at all
_DISPLACED = ("layover", "shadow")
#: what is the same for all patches of a table
_OF_ALL = ("patch_px", "frame")


@dataclass(frozen=True)
class PatchTable:
    """Patches, one per place of each array.

    Attributes:
        product: (N,) int32, position of the product in its archive.
        row, col: (N,) int32, upper left pixel in the product's grid after looks.
        corners: (N, 4, 2) float64, upper left, upper right, lower right, lower left: longitude and latitude, rounded as
            lists hold them; of images on no map column and row, in pixels after looks.
        valid: (N,) float32, share of pixels with data in all channels that are not in layover or shadow.
        counts: (N, C) int32, labelled pixels with data of each class.
        patch_px: side of all patches.
        frame: what corners are places of.
    """

    product: NDArray[np.int32]
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    corners: NDArray[np.float64]
    valid: NDArray[np.float32]
    counts: NDArray[np.int32]
    patch_px: int
    frame: Frame = "map"

    def __len__(self) -> int:
        return len(self.product)

    @property
    def labelled(self) -> NDArray[np.float64]:
        """Share of the pixels that are labelled, (N,)."""
        return np.asarray(self.counts.sum(axis=1) / self.patch_px**2)

    @property
    def ground(self) -> NDArray[np.float64]:
        """The ground of each patch, as :mod:`.splits` compares it."""
        if self.frame == "map":
            return self.corners
        return np.column_stack([self.product, self.corners[:, 0], self.corners[:, 2]])

    def take(self, where: Any) -> PatchTable:
        """Some of the patches, by a mask or by their places."""
        return replace(self, **{name: array[where] for name, array in self._arrays().items()})

    def span(self, number: int) -> tuple[int, int]:
        """Where the patches of a product begin and end."""
        first, last = np.searchsorted(self.product, (number, number + 1))
        return int(first), int(last)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OF_ALL}

    @classmethod
    def concatenate(cls, tables: Sequence[PatchTable]) -> PatchTable:
        """One table of several, of one patch size."""
        columns = {name: np.concatenate([t._arrays()[name] for t in tables]) for name in tables[0]._arrays()}
        return cls(**columns, patch_px=tables[0].patch_px, frame=tables[0].frame)

    def save(self, path: Path) -> None:
        """Write the table, whole or not at all."""
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            of_all = {name: getattr(self, name) for name in _OF_ALL}
            np.savez_compressed(file, allow_pickle=False, **of_all, **self._arrays())

    @classmethod
    def load(cls, path: Path) -> PatchTable:
        """Read what :meth:`save` wrote.

        Raises:
            Alos2TutError: a damaged file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = {field.name: file[field.name] for field in fields(cls)}
        except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise Alos2TutError(f"is damaged ({error})", where=path, remedy="Remove it; it is made anew.") from None
        return cls(**columns | {"patch_px": int(columns["patch_px"]), "frame": str(columns["frame"])})


@dataclass(frozen=True)
class ProductJob:
    """One product and all that a worker must know of it; plain data, which travels to other processes."""

    #: position of the product in its archive
    number: int
    entry: Entry
    labels: tuple[str, ...]
    config: DatasetConfig
    legend: Legend
    #: look at every so many pixels only, a divisor of the patch size
    step: int = 1
    progress: bool | None = None

    def label_map(self) -> LabelMap:
        """The labels of the product."""
        return LabelMap(self.labels, self.legend, placement_of(self.config))


def placement_of(config: DatasetConfig) -> Placement:
    """Where label rasters lie on products that lie on no map, by the settings of a dataset."""
    return Placement(config.label_offset, config.label_flip)


@dataclass(frozen=True)
class PatchGrid:
    """The patches of a product, from its upper left corner on; partial ones at the edges are left out.

    Sizes and places are in pixels after looks. ``polarizations`` are the channels of a patch, ``stride_px`` the step
    from one patch to the next; None: they lie side by side.
    """

    product: Product
    patch_px: int
    looks: int
    polarizations: tuple[str, ...]
    stride_px: int | None = None

    @classmethod
    def of(cls, job: ProductJob) -> PatchGrid:
        """The grid of a product by the settings of a dataset."""
        config = job.config
        channels = named_polarizations(config.polarization or "HH")
        return cls(job.entry.open(), config.patch_px, config.looks, channels, config.stride_px)

    @property
    def starts(self) -> tuple[range, range]:
        """First rows, and first columns, of the patches."""
        step = self.stride_px or self.patch_px
        rows, cols = (range(0, size // self.looks - self.patch_px + 1, step) for size in self.product.shape)
        return rows, cols

    @property
    def width(self) -> slice:
        """The columns of a whole row of patches."""
        return slice(0, self.starts[1][-1] + self.patch_px)

    def window(self, row: int, cols: slice) -> tuple[int, int, int, int]:
        """A part of the row of patches that begins in ``row``, in pixels of the product: row, column, height, width."""
        parts = row, cols.start, self.patch_px, cols.stop - cols.start
        top, left, height, width = (part * self.looks for part in parts)
        return top, left, height, width

    def seen(self, window: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        """Pixels after looks that have data in all channels, and whose ground the radar saw where the map has it."""
        seen = ~self.displaced(window)
        for name in self.polarizations:
            seen &= np.isfinite(self.product.read_power(window, polarization=name, looks=self.looks))
        return seen

    def read_db(self, window: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """Backscatter of the channels after looks, (C, rows, columns), NaN in all where one has no data."""
        channels = [self.product.read_db(window, polarization=name, looks=self.looks) for name in self.polarizations]
        db = np.stack(channels)
        db[:, np.isnan(db).any(axis=0)] = np.nan
        return db

    def displaced(self, window: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        """Pixels after looks of which the product's mask calls at least half layover or shadow; none without a mask."""
        rows, cols = (side // self.looks for side in window[2:])
        mask = self.product.layers.get("mask")
        if mask is None:
            return np.zeros((rows, cols), np.bool_)
        codes = [code for code, meaning in mask.meaning.items() if meaning in _DISPLACED]
        found = np.isin(self.product.read_layer("mask", window), codes)
        return np.asarray(found.reshape(rows, self.looks, cols, self.looks).mean(axis=(1, 3)) >= 0.5)

    @property
    def crs(self) -> CRS | None:
        """The coordinate system of the product's map; None: it lies on none."""
        return frame_of(self.product)[0]

    @property
    def transform(self) -> Affine:
        """From (column, row) in pixels after looks to the product's map, or to its own columns and rows."""
        return frame_of(self.product)[1] * Affine.scale(self.looks)

    def classes(self, labels: LabelMap, row: int, cols: slice, step: int = 1) -> NDArray[np.uint8]:
        """Classes of some patches of a row, of every so many pixels; of a pixel the same whichever are asked for."""
        shape, offset = (self.patch_px // step, (cols.stop - cols.start) // step), (row // step, cols.start // step)
        return labels.classes_on(self.crs, self.transform * Affine.scale(step), shape, offset=offset)

    def corners(self, row: int) -> NDArray[np.float64]:
        """Corners of a row of patches, (n, 4, 2), as :class:`PatchTable` has them."""
        side = float(self.patch_px)
        around = np.array([(0, 0), (side, 0), (side, side), (0, side)])
        corners: NDArray[np.float64] = np.array([(col, row) for col in self.starts[1]])[:, None] + around
        if self.crs is not None:
            places = reproject_points(self.crs, LONLAT, *(self.transform * tuple(corners.reshape(-1, 2).T)))
            corners = np.transpose(places).reshape(-1, 4, 2)
            # of maps that count longitudes beyond 180, too
            corners[..., 0] = geometry.beside(corners[..., 0], 0)
        return corners.round(splits.CORNER_DECIMALS)


def survey_product(job: ProductJob) -> PatchTable:
    """Look at every patch of a product's grid.

    Args:
        job: the product; with a ``step`` above 1 shares and counts are estimates from every so many pixels.

    Returns:
        All patches of the grid, row by row, also those without data.

    Raises:
        Alos2TutError: a product or label raster that cannot be read, or codes that the legend does not know.
    """
    grid = PatchGrid.of(job)
    with job.label_map() as labels:
        rows = progress_bar(grid.starts[0], f"looking at {job.entry.name}", "row", show=job.progress)
        return PatchTable.concatenate([_survey_row(job, grid, labels, row) for row in rows])


def _survey_row(job: ProductJob, grid: PatchGrid, labels: LabelMap, row: int) -> PatchTable:
    starts, n, step = np.array(grid.starts[1]), grid.patch_px, job.step
    top, left, height, width = grid.window(row, grid.width)
    if step == 1:
        seen = grid.seen((top, left, height, width))
    else:
        lines = range(top + step // 2 * grid.looks, top + height, step * grid.looks)
        every = [grid.seen((line, left, grid.looks, width)) for line in lines]
        seen = np.concatenate(every)[:, step // 2 :: step]
    classes = grid.classes(labels, row, grid.width, step)
    classes[~seen] = IGNORE
    counts, valid = np.empty((len(starts), len(job.legend)), np.int32), np.empty(len(starts), np.float32)
    for place, start in enumerate(starts // step):
        part = (slice(None), slice(start, start + n // step))
        counts[place] = np.bincount(classes[part].ravel(), minlength=256)[: len(job.legend)] * step**2
        valid[place] = seen[part].mean()
    return PatchTable(
        product=np.full(len(starts), job.number, np.int32),
        row=np.full(len(starts), row, np.int32),
        col=starts.astype(np.int32),
        corners=grid.corners(row),
        valid=valid,
        counts=counts,
        patch_px=n,
        frame="map" if grid.crs is not None else "image",
    )
