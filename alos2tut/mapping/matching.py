"""A product as a segmenter knows images: of the quantity, polarisation and pixel size that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from .. import radiometry
from ..core.errors import Alos2TutError, warn
from ..dataset.encoding import same_spacing
from ..products.metadata import ImageGrid, MapGrid
from ..products.product import Product
from ..products.reading import FloatArray
from .config import MapConfig

#: pixels along a side, as many as a raster may have that this package reads
_LARGEST_SIDE = 2**17
#: rows of a map that are resampled at once, at most, and pixels of a product that are
_GROUP_ROWS, _GROUP_PX = 128, 2**22


@dataclass(frozen=True)
class MatchedProduct:
    """A product, read on the pixels that a segmenter knows."""

    product: Product
    #: channel by channel
    polarizations: tuple[str, ...]
    #: what is read, converted by incidence angles if it is not the product's own
    quantity: str
    #: pixels of the product along a side of one of ours, (rows, columns); whole numbers are looks
    pixels: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; a pixel that the product's edge cuts is one, too."""
        # what rounding adds to a whole number is no further pixel
        rows, cols = (
            max(1, math.ceil(size / n - 1e-9)) for size, n in zip(self.product.shape, self.pixels, strict=True)
        )
        return rows, cols

    @property
    def grid(self) -> MapGrid | ImageGrid:
        """Where our pixels lie: on the product's map, or in the product where it lies on none."""
        if self.product.grid is not None:
            transform = self.product.transform * Affine.scale(self.pixels[1], self.pixels[0])
            return MapGrid(self.product.crs, transform)
        down, across = (side * n for side, n in zip(self.product.spacing_m, self.pixels, strict=True))
        return ImageGrid(self.product.shape, self.pixels, None if math.isnan(down + across) else (down, across))

    def db_from(self, first: int, rows: int) -> Iterator[FloatArray]:
        """dB from a row of ours down to the last one, in blocks (channels, about so many rows, columns).

        NaN in all channels where one has no data. A pixel comes out the same to the bit in whatever block it lies.
        """
        for channels in zip(*(self._channel_from(name, first, rows) for name in self.polarizations), strict=True):
            db = np.stack(channels)
            db[:, np.isnan(db).any(axis=0)] = np.nan
            yield db

    def _channel_from(self, polarization: str, first: int, rows: int) -> Iterator[FloatArray]:
        if not all(float(n).is_integer() for n in self.pixels):
            return self._resampled_from(polarization, first)
        down, across = map(int, self.pixels)
        return self._blocks("db", polarization, first * down, looks=(down, across), rows=rows)

    def _blocks(self, unit: Literal["db", "power"], polarization: str, top: int, **given: Any) -> Iterator[FloatArray]:
        """Blocks of the product from one of its rows on."""
        window = (top, 0, self.product.shape[0] - top, self.product.shape[1])
        own: dict[str, Any] = {"window": window, "polarization": polarization, "quantity": self.quantity}
        return (block for _, block in self.product.blocks(unit, **own, **given))

    def _resampled_from(self, polarization: str, first: int) -> Iterator[FloatArray]:
        """A channel by areas; rows are worked on in groups that lie the same wherever reading begins."""
        (height, width), (down, across) = self.product.shape, self.pixels
        group = int(min(max(_GROUP_PX // (down * width), 1), _GROUP_ROWS))
        starts = range(first // group * group, self.shape[0], group)
        edges = [np.minimum(np.arange(s, min(s + group, self.shape[0]) + 1) * down, height) for s in starts]
        cols = np.minimum(np.arange(self.shape[1] + 1) * across, width)
        top = int(edges[0][0])
        blocks = self._blocks("power", polarization, top, rows=max(1, math.ceil(group * down)))
        spans = [(int(e[0]) - top, math.ceil(e[-1]) - top) for e in edges]
        for start, e, power in zip(starts, edges, sliding(blocks, spans), strict=True):
            db = radiometry.to_db(radiometry.area_means(power, e - int(e[0]), cols)).astype(np.float32)
            yield db[max(first - start, 0) :]


def sliding(blocks: Iterable[NDArray[Any]], spans: Iterable[tuple[int, int]]) -> Iterator[NDArray[Any]]:
    """Windows of what blocks (…, rows, columns) make up together; only one window and one block are in memory.

    Windows are spans of rows (first, last exclusive), neither of which falls from one to the next; what lies below the
    last block is left out.
    """
    source, top, kept = iter(blocks), 0, None
    for first, last in spans:
        parts = [] if kept is None else [kept[..., first - top :, :]]
        end = top + (0 if kept is None else kept.shape[-2])
        while end < last and (block := next(source, None)) is not None:
            parts.append(block[..., max(first - end, 0) :, :])
            end += block.shape[-2]
        kept, top = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-2), first
        yield kept[..., : last - first, :]


def match(product: Product, segmenter: Any, config: MapConfig) -> MatchedProduct:
    """What of a product is read for a segmenter, and how.

    Args:
        product: what is to be mapped.
        segmenter: has ``signal``: quantity, polarizations and spacing_m of what it was trained on.
        config: ``polarization``, ``convert`` and ``allow_other_signal`` are what counts.

    Raises:
        Alos2TutError: another quantity or pixel size and not ``convert``, another polarisation and not
            ``allow_other_signal``, another number of them, no such polarisation, no incidence angle to convert by, a
            pixel size that nobody knows and ``convert`` or not ``allow_other_signal``, or more pixels than anybody can
            mean.
    """
    signal = segmenter.signal
    trained = tuple(signal["polarizations"])
    quantity = signal["quantity"] if config.convert and product.is_converted(signal["quantity"]) else product.quantity
    wanted = config.polarization
    if wanted is None and not (config.allow_other_signal and set(trained) - set(product.polarizations)):
        wanted = ",".join(trained)
    polarizations = product.choose_polarizations(wanted)
    read, known = ", ".join(polarizations), ", ".join(trained)
    if len(polarizations) != len(trained):
        problem = f"{read} would be read, and the segmenter reads {known} at once"
        raise Alos2TutError(problem, where=product.path, remedy="Name as many (polarization), in its order.")
    problems = []
    if quantity != signal["quantity"]:
        problems.append(f"is {quantity}, the segmenter was trained on {signal['quantity']}")
    if polarizations != trained:
        problems.append(f"polarisation {read} is asked for, the segmenter was trained on {known}")
    if problems and not config.allow_other_signal:
        remedy = "Train on data like these; or convert a quantity (convert); or take it as it is (allow_other_signal)."
        raise Alos2TutError("; ".join(problems), where=product.path, remedy=remedy)
    for problem in problems:
        warn(f"{product.path}: {problem}.")
    is_known = signal["spacing_m"] is not None and not math.isnan(sum(product.spacing_m))
    pixels = (_matching_pixels if is_known else _unknown_pixels)(product, signal, config)
    return MatchedProduct(product, polarizations, quantity, pixels)


def _unknown_pixels(product: Product, signal: Mapping[str, Any], config: MapConfig) -> tuple[int, int]:
    """Looks as in training, where pixels of unknown size were trained on; else the product's own pixels."""
    whose = "the segmenter was trained on" if signal["spacing_m"] is None else "the image has"
    problem, looks = f"{whose} pixels of unknown size", int(signal.get("looks", 1))
    if config.convert or not config.allow_other_signal:
        remedy = "State it (spacing_m), or take pixels as they are (allow_other_signal)."
        problem += ", which nothing can be averaged to (convert)" if config.convert else ""
        raise Alos2TutError(problem, where=product.path, remedy=remedy)
    warn(f"{product.path}: {problem}: blocks of {looks} × {looks} of the image's are taken.")
    return looks, looks


def _matching_pixels(product: Product, signal: Mapping[str, Any], config: MapConfig) -> tuple[float, float]:
    """Pixels of the product along a side of the segmenter's; looks where there are any."""
    wanted = np.broadcast_to(np.asarray(signal["spacing_m"], dtype=float), (2,))
    spacing = np.asarray(product.spacing_m)
    looks = np.maximum(1, np.rint(wanted / spacing))
    if same_spacing(spacing * looks, wanted):
        return int(looks[0]), int(looks[1])
    sizes = "has pixels of {:.4g} × {:.4g} m, the segmenter's are {:.4g} × {:.4g} m".format(*spacing, *wanted)
    if not config.convert:
        remedy = "Train on such pixels, or let them be averaged over areas (convert)."
        raise Alos2TutError(f"{sizes}; no number of looks leads there", where=product.path, remedy=remedy)
    pixels = wanted / spacing
    if max(np.asarray(product.shape) / pixels) > _LARGEST_SIDE:
        raise Alos2TutError(f"{sizes}: the map would have more than {_LARGEST_SIDE:,} along a side", where=product.path)
    if min(pixels) < 1:
        warn(f"{product.path}: {sizes}; the map has smaller pixels than the image, and no more detail.")
    return float(pixels[0]), float(pixels[1])
