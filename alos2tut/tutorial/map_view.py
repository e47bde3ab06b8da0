"""A map beside what it was made from, ready to be looked at; and where looking is worth while. NumPy, no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..core.errors import Alos2TutError
from ..core.validation import is_count
from ..dataset.labels import EQUAL_SIZE, LabelMap, Placement, frame_of, label_files
from ..dataset.legend import IGNORE, Legend
from ..mapping.files import MapFile, PixelWindow, label_frame, map_file
from ..metrics import classes_named, water_classes
from ..products.metadata import ImageGrid, MapGrid
from ..products.product import Product

#: left, right, bottom, top in columns and rows of a map, as matplotlib has it
Extent: TypeAlias = tuple[float, float, float, float]

#: bins of confidence, of equal width
BINS = 10
#: by how much, in pixels, the grids of a map and its product may disagree
_SLACK_PX = 0.01
#: rows that are worked on at once
_ROWS = 1024


@dataclass(frozen=True, eq=False)
class MapView:
    """A land-cover map beside its product and labels, all on the map's grid.

    Attributes:
        product: what was mapped.
        legend: the map's classes.
        classes: the map, uint8 (H, W): 0…classes−1, or :data:`alos2tut.dataset.legend.IGNORE`.
        confidence: probability of the mapped class, float32 (H, W) in 0…1, NaN without data; None if it was not kept.
        labels: as ``classes``; None if there are none on this ground.
        grid: where pixels lie; ``grid.transform`` leads from (column, row) to the CRS, or to the product's pixels.
        polarizations: the channels that were mapped.
    """

    product: Product
    legend: Legend = field(repr=False)
    classes: NDArray[np.uint8] = field(repr=False)
    confidence: NDArray[np.float32] | None = field(repr=False)
    labels: NDArray[np.uint8] | None = field(repr=False)
    grid: MapGrid | ImageGrid
    polarizations: tuple[str, ...]
    # what was read of the product: pictures of one place are drawn again and again
    _read: dict[tuple[Any, ...], tuple[NDArray[np.float32], Extent]] = field(
        default_factory=dict, init=False, repr=False
    )

    @classmethod
    def open(
        cls,
        map_path: str | Path,
        product: Product,
        label_paths: str | Path | Sequence[str | Path],
        legend: Legend,
        placement: Placement = EQUAL_SIZE,
    ) -> Self:
        """Read a map, and what belongs to it, into memory: 6 bytes per pixel.

        Args:
            map_path: a map as :func:`alos2tut.map_scene` writes it; its confidence is read from
                ``<stem>_probability.tif`` beside it, if that is there.
            product: what was mapped.
            label_paths: label rasters in any coordinate system; none of them, ``()``: a view without labels.
            legend: the map's, which makes classes of the labels' codes.
            placement: where labels lie on an image that lies on no map.

        Raises:
            Alos2TutError: a file that cannot be read, a map that has other classes than the legend or lies on another
                grid than the product, a probability that belongs to another map, labels that
                :class:`alos2tut.dataset.labels.LabelMap` refuses.
        """
        source = MapFile.open(map_path)
        source.check_legend(legend)
        _check_grid(source, product)
        classes = np.concatenate([strip for _, strip in source.class_strips(len(legend))])
        labels = None
        if paths := label_files(label_paths):
            with LabelMap(paths, legend, placement) as label_map:
                label_map.touching(*label_frame(source.grid, source.shape))
                labels = label_map.classes_on(source.grid.crs, source.grid.transform, source.shape)
            labels = labels if (labels != IGNORE).any() else None
        first = next(
            (name for name in product.polarizations if product.image_name(name) == source.tags.get("PRODUCT")),
            product.choose_polarization(),
        )
        mapped = product.choose_polarizations(source.tags.get("POLARIZATIONS", first))
        return cls(product, legend, classes, _confidence(source), labels, source.grid, mapped)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        height, width = self.classes.shape
        return height, width

    @property
    def mapped_labels(self) -> NDArray[np.uint8]:
        """The labels where the map has a class, uint8 (H, W), to choose :func:`places` by; without labels the map."""
        if self.labels is None:
            return self.classes
        return np.where(self.classes == IGNORE, np.uint8(IGNORE), self.labels)

    @property
    def pixels(self) -> tuple[float, float]:
        """Pixels of the product along a side of one of the map, (rows, columns)."""
        across = ~frame_of(self.product)[1] * self.grid.transform
        return across.e, across.a

    def window(self, window: PixelWindow | None) -> PixelWindow:
        """A window of the map; None: the whole.

        Raises:
            Alos2TutError: one that is empty or reaches outside.
        """
        if window is None:
            return (0, 0, *self.shape)
        row, col, height, width = (int(part) for part in window)
        if min(row, col) < 0 or min(height, width) < 1 or row + height > self.shape[0] or col + width > self.shape[1]:
            problem = f"(row {row}, column {col}, {height} × {width}) does not lie in the map of {self.shape} pixels"
            raise Alos2TutError(problem, where="window")
        return row, col, height, width

    def backscatter_db(self, window: PixelWindow, most_px: int) -> tuple[NDArray[np.float32], Extent]:
        """Backscatter of a window of the map, averaged in power to about ``most_px`` pixels a side.

        Returns:
            dB by channel, float32 (C, H, W), NaN without data, and where it lies: its blocks may reach over the window.

        Raises:
            Alos2TutError: damaged pixels.
        """
        key = (window, most_px)
        if key not in self._read:
            step = math.ceil(max(window[2:]) / most_px)
            sides = zip(window[:2], window[2:], self.pixels, self.product.shape, strict=True)
            (rows, cols), looks = zip(*(_whole_blocks(*side, step) for side in sides), strict=True)
            part = (rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
            db = np.stack([self.product.read_db(part, polarization=pol, looks=looks) for pol in self.polarizations])
            # a block that the product's edge cuts is drawn whole
            first = np.array((rows.start, cols.start))
            last = first + np.multiply(db.shape[1:], looks)
            (top, left), (bottom, right) = first / self.pixels, last / self.pixels
            self._read[key] = db, (float(left), float(right), float(bottom), float(top))
        return self._read[key]


def _whole_blocks(start: int, size: int, ratio: float, most: int, step: int) -> tuple[slice, int]:
    """Rows or columns of a product that a window of its map needs, in whole blocks from its corner; looks of a block.

    ``ratio`` is pixels of the product, which has ``most``, to one of the map; ``step`` of the latter make a block.
    """
    looks = max(1, round(step * ratio))
    first = math.floor(start * ratio + _SLACK_PX) // looks
    end = -(-math.ceil((start + size) * ratio - _SLACK_PX) // looks)
    return slice(first * looks, min(end * looks, most)), looks


def _check_grid(source: MapFile, product: Product) -> None:
    """Refuse a map that is not one of the product: its pixels begin at the product's corner and cover all of it."""
    crs, transform = frame_of(product)
    if source.grid.crs == crs:
        across = ~transform * source.grid.transform
        ratios = np.array((across.e, across.a))
        corner = np.array((across.f, across.c)) / np.maximum(ratios, 1)
        skew = np.array((across.b, across.d)) * source.shape
        # in pixels of the product, whose edge may cut the last ones of the map
        rest = np.array(source.shape) * ratios - product.shape
        fits = (ratios > 0) & (np.abs([corner, skew]) < _SLACK_PX) & (rest > -_SLACK_PX * ratios) & (rest < ratios)
        if fits.all():
            return
    raise Alos2TutError(
        f"does not lie on the grid of the product {product.name}",
        where=source.path,
        remedy="Give the product that was mapped.",
    )


def _confidence(source: MapFile) -> NDArray[np.float32] | None:
    """What lies beside a map as the probability of its classes."""
    path = map_file(source.path, "probability")
    if not path.exists():
        return None
    found = MapFile.open(path)
    ours, theirs = ((file.shape, file.grid, file.tags.get("MADE_FROM")) for file in (source, found))
    if ours != theirs:
        remedy = "Map again with the probability, or remove that file."
        raise Alos2TutError(f"belongs to another map than {source.path.name}", where=path, remedy=remedy)
    values = np.arange(256, dtype=np.float32) * np.float32(found.scale)
    values[IGNORE] = np.nan
    confidence = np.empty(found.shape, dtype=np.float32)
    rows, cols = (slice(0, side) for side in found.shape)
    for number, strip in enumerate(found.band.strips(rows, cols, _ROWS)):
        values.take(strip, out=confidence[number * _ROWS : number * _ROWS + len(strip)])
    return confidence


@dataclass(frozen=True)
class AgreementByConfidence:
    """How often a map agrees with the labels, by how sure it is; the share in a bin is ``agreeing / pixels``.

    Attributes:
        pixels: counts by bin of confidence, int64 (:data:`BINS`,).
        agreeing: those of them where map and label are of one class.
        confidence: means of the bins, NaN for empty ones.
    """

    pixels: NDArray[np.int64]
    agreeing: NDArray[np.int64]
    confidence: NDArray[np.float64]


def agreement_by_confidence(
    view: MapView, tested: Sequence[PixelWindow]
) -> tuple[AgreementByConfidence, AgreementByConfidence]:
    """Agreement of a map with its labels in bins of confidence: in ``tested`` windows, and on all other ground.

    Args:
        view: has confidence and labels.
        tested: windows, as the patches of a test list; they may overlap and reach outside.

    Raises:
        Alos2TutError: a view without confidence or labels.
    """
    if view.confidence is None or view.labels is None:
        missing, remedy = ("labels", "Give the label rasters.")
        if view.confidence is None:
            missing, remedy = ("confidence", "Map with the probability (probability=True).")
        raise Alos2TutError(f"the view has no {missing}", where="view", remedy=remedy)
    in_test = np.zeros(view.shape, dtype=np.bool_)
    for row, col, height, width in tested:
        in_test[max(row, 0) : max(row + height, 0), max(col, 0) : max(col + width, 0)] = True
    sums = np.zeros((3, 2 * BINS))
    for first in range(0, view.shape[0], _ROWS):
        rows = slice(first, first + _ROWS)
        mapped, label, sure = view.classes[rows], view.labels[rows], view.confidence[rows]
        there = (mapped != IGNORE) & (label != IGNORE) & np.isfinite(sure)
        # 1 belongs to the last bin
        bins = np.minimum((sure[there] * BINS).astype(np.intp), BINS - 1)
        key = bins + BINS * ~in_test[rows][there]
        for total, weights in zip(sums, (None, mapped[there] == label[there], sure[there]), strict=True):
            total += np.bincount(key, weights, minlength=2 * BINS)
    parts = []
    for part in (slice(None, BINS), slice(BINS, None)):
        pixels, agreeing, confidence = sums[:, part]
        mean = np.divide(confidence, pixels, out=np.full(BINS, np.nan), where=pixels > 0)
        parts.append(AgreementByConfidence(pixels.astype(np.int64), agreeing.astype(np.int64), mean))
    return parts[0], parts[1]


#: words in the names of classes that are built up, and that are cropland
TOWN = {"built", "urban", "town", "towns", "city", "settlement", "settlements", "residential", "buildings"}
_CROPS = {"cropland", "croplands", "crop", "crops", "paddy", "field", "fields", "farmland", "agriculture"}
#: shares of a window that are called something at least, and that have data
_LEAST_SHARE, _LEAST_DATA = 0.1, 0.9
#: places that are sought; blocks along a side of a window, and pixels that are looked at
_PLACES, _BLOCKS, _SAMPLES = 3, 8, 64


def places(labels: NDArray[np.uint8], legend: Legend, side_px: int) -> dict[str, PixelWindow]:
    """Telling places of a map, by its labels (or, without any, by the map itself).

    These are "coast" (the most even mix of water and other classes), "town" (most of what is built up) and "plain"
    (most cropland, paddy included), where the legend has such classes and they have a tenth of some place; if that
    makes fewer than three, "open water" and places named after other classes join, those with most ground first.

    Args:
        labels: (H, W) class indices.
        legend: what they mean.
        side_px: of the squares, in pixels; less where the map is smaller.

    Returns:
        Windows by name, none twice, each with labels on nine tenths of it; empty where nothing is labelled.

    Raises:
        Alos2TutError: a side that is no whole number of at least 1.
    """
    if not is_count(side_px):
        raise Alos2TutError(f"side_px={side_px!r} is not a whole number of at least 1", where="places")
    side = min(int(side_px), *labels.shape)
    # shares of some thousand pixels of a window are exact enough
    every = max(1, side // _SAMPLES)
    block = max(1, side // every // _BLOCKS)
    step, along = block * every, side // every // block
    sampled = labels[every // 2 :: every, every // 2 :: every]
    rows, cols = (size // block for size in sampled.shape)
    sampled = sampled[: rows * block, : cols * block]

    def share(classes: Iterable[int]) -> NDArray[np.float64]:
        """Share of some classes in the windows that begin at the corners of blocks."""
        is_wanted = np.isin(np.arange(256), list(classes))[sampled]
        # rows first: whole rows are added up fastest
        sums = is_wanted.reshape(rows, block, -1).sum(axis=1, dtype=np.int32).reshape(rows, cols, block).sum(axis=2)
        return np.asarray(sliding_window_view(sums, (along, along)).sum(axis=(2, 3)) / (along * block) ** 2)

    names = legend.names
    water, town, crops = water_classes(names), classes_named(names, TOWN), classes_named(names, _CROPS)
    counts = np.bincount(sampled.reshape(-1), minlength=256)
    others = {"open water": water} | {name: [i] for i, name in enumerate(names) if i not in {*water, *town, *crops}}
    wanted = {"coast": water, "town": town, "plain": crops}
    wanted |= {name: others[name] for name in sorted(others, key=lambda name: -counts[others[name]].sum())}
    known, found = share(range(len(names))), dict[str, PixelWindow]()
    is_free = known >= _LEAST_DATA
    for name, classes in wanted.items():
        if len(found) == _PLACES:
            break
        score = share(classes)
        if name == "coast":
            score = np.minimum(score, known - score)
        score[~is_free] = -1
        row, col = (int(place) for place in np.unravel_index(score.argmax(), score.shape))
        if score[row, col] >= _LEAST_SHARE:
            # a side that is no multiple of blocks might reach over the edge
            found[name] = (min(row * step, labels.shape[0] - side), min(col * step, labels.shape[1] - side), side, side)
            # what overlaps by more than a quarter is the same place
            near = math.ceil(0.75 * side / step)
            is_free[max(row - near + 1, 0) : row + near, max(col - near + 1, 0) : col + near] = False
    return found
