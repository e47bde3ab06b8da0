"""A product as a segmenter knows images: of the quantity, polarisation and pixel size that it was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from .. import radiometry
from ..core.errors import Alos2TutError, warn
from ..dataset.encoding import same_spacing
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
    polarization: str
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
    def transform(self) -> Affine:
        """From (column, row), pixel corners, to coordinates in the product's CRS."""
        return self.product.transform * Affine.scale(self.pixels[1], self.pixels[0])

    def db_from(self, first: int, rows: int) -> Iterator[FloatArray]:
        """dB from a row of ours down to the last one, in blocks of about so many rows, NaN where there is no data.

        A pixel comes out the same to the bit in whatever block it lies.
        """
        if not all(float(n).is_integer() for n in self.pixels):
            yield from self._resampled_from(first)
            return
        down, across = map(int, self.pixels)
        yield from self._blocks("db", first * down, looks=(down, across), rows=rows)

    def _blocks(self, unit: Literal["db", "power"], top: int, **given: Any) -> Iterator[FloatArray]:
        """Blocks of the product from one of its rows on."""
        window = (top, 0, self.product.shape[0] - top, self.product.shape[1])
        own: dict[str, Any] = {"window": window, "polarization": self.polarization, "quantity": self.quantity}
        return (block for _, block in self.product.blocks(unit, **own, **given))

    def _resampled_from(self, first: int) -> Iterator[FloatArray]:
        """As :meth:`db_from`, by areas; rows are worked on in groups that lie the same wherever reading begins."""
        (height, width), (down, across) = self.product.shape, self.pixels
        group = int(min(max(_GROUP_PX // (down * width), 1), _GROUP_ROWS))
        starts = range(first // group * group, self.shape[0], group)
        edges = [np.minimum(np.arange(s, min(s + group, self.shape[0]) + 1) * down, height) for s in starts]
        cols = np.minimum(np.arange(self.shape[1] + 1) * across, width)
        top = int(edges[0][0])
        blocks = self._blocks("power", top, rows=max(1, math.ceil(group * down)))
        spans = [(int(e[0]) - top, math.ceil(e[-1]) - top) for e in edges]
        for start, e, power in zip(starts, edges, sliding(blocks, spans), strict=True):
            db = radiometry.to_db(radiometry.area_means(power, e - int(e[0]), cols)).astype(np.float32)
            yield db[max(first - start, 0) :]


def sliding(blocks: Iterable[NDArray[Any]], spans: Iterable[tuple[int, int]]) -> Iterator[NDArray[Any]]:
    """Windows of what blocks of rows make up together; only one window and one block are in memory.

    Windows are spans of rows (first, last exclusive), neither of which falls from one to the next; what lies below the
    last block is left out.
    """
    source, top, kept = iter(blocks), 0, None
    for first, last in spans:
        parts = [] if kept is None else [kept[first - top :]]
        end = top + (0 if kept is None else len(kept))
        while end < last and (block := next(source, None)) is not None:
            parts.append(block[max(first - end, 0) :])
            end += len(block)
        kept, top = parts[0] if len(parts) == 1 else np.concatenate(parts), first
        yield kept[: last - first]


def match(product: Product, segmenter: Any, config: MapConfig) -> MatchedProduct:
    """What of a product is read for a segmenter, and how.

    Args:
        product: what is to be mapped.
        segmenter: has ``signal``: quantity, polarizations and spacing_m of what it was trained on.
        config: ``polarization``, ``convert`` and ``allow_other_signal`` are what counts.

    Raises:
        Alos2TutError: another quantity or pixel size and not ``convert``, another polarisation and not
            ``allow_other_signal``, slant range, no such polarisation, no incidence angle to convert by, a segmenter of
            several polarisations, or more pixels than anybody can mean.
    """
    signal = segmenter.signal
    if len(signal["polarizations"]) != 1:
        channels = ", ".join(signal["polarizations"])
        raise Alos2TutError(f"the segmenter reads {channels} at once, a map is made of one", where="segmenter")
    trained, polarization = signal["polarizations"][0], config.polarization
    quantity = signal["quantity"] if config.convert and product.is_converted(signal["quantity"]) else product.quantity
    if polarization is None:
        is_other = config.allow_other_signal and trained not in product.polarizations
        polarization = product.choose_polarization(None if is_other else trained)
    problems = []
    if quantity != signal["quantity"]:
        problems.append(f"is {quantity}, the segmenter was trained on {signal['quantity']}")
    if polarization != trained:
        problems.append(f"polarisation {polarization} is asked for, the segmenter was trained on {trained}")
    if problems and not config.allow_other_signal:
        remedy = "Train on data like these; or convert a quantity (convert); or take it as it is (allow_other_signal)."
        raise Alos2TutError("; ".join(problems), where=product.path, remedy=remedy)
    for problem in problems:
        warn(f"{product.path}: {problem}.")
    pixels = _matching_pixels(product, signal["spacing_m"], config.convert)
    return MatchedProduct(product, product.choose_polarization(polarization), quantity, pixels)


def _matching_pixels(product: Product, spacing_m: Any, convert: bool) -> tuple[float, float]:
    """Pixels of the product along a side of the segmenter's; looks where there are any."""
    wanted = np.broadcast_to(np.asarray(spacing_m, dtype=float), (2,))
    # an error in slant range, where pixels have no size on a map
    spacing = np.asarray(product.spacing_m if product.crs else ())
    looks = np.maximum(1, np.rint(wanted / spacing))
    if same_spacing(spacing * looks, wanted):
        return int(looks[0]), int(looks[1])
    sizes = "has pixels of {:.4g} × {:.4g} m, the segmenter's are {:.4g} × {:.4g} m".format(*spacing, *wanted)
    if not convert:
        remedy = "Train on such pixels, or let them be averaged over areas (convert)."
        raise Alos2TutError(f"{sizes}; no number of looks leads there", where=product.path, remedy=remedy)
    pixels = wanted / spacing
    if max(np.asarray(product.shape) / pixels) > _LARGEST_SIDE:
        raise Alos2TutError(f"{sizes}: the map would have more than {_LARGEST_SIDE:,} along a side", where=product.path)
    if min(pixels) < 1:
        warn(f"{product.path}: {sizes}; the map has smaller pixels than the image, and no more detail.")
    return float(pixels[0]), float(pixels[1])
