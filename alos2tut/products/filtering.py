"""Speckle filters on products larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rasterio.windows import Window

from .. import radiometry
from ..core.errors import Alos2TutError, closest
from ..core.validation import check_positive, check_window
from ..speckle.despeckling import FILTERS
from .reading import FloatArray, PixelReader

if TYPE_CHECKING:
    from .product import Product


def nominal_looks(product: Product, looks: tuple[int, int]) -> float:
    """Looks of the speckle where so many are averaged, as the product states its own.

    Neighbouring pixels share speckle, so that there are fewer in truth: :func:`alos2tut.speckle.enl` measures them.

    Raises:
        Alos2TutError: the product states none.
    """
    if product.looks is None:
        raise Alos2TutError("states no looks", where=product.path, remedy="Say how many its speckle has (enl).")
    return math.prod(product.looks) * math.prod(looks)


def filtered_blocks(
    power: PixelReader, name: str, looks: float, window: int, scale: str, rows: int
) -> Iterator[tuple[Window, FloatArray]]:
    """What a filter makes of power, in blocks of rows, the same to the last bit as of all of it at once.

    Args:
        power: what is read, as power.
        name: of :data:`.FILTERS`.
        looks: of the speckle.
        window: side of the filter's window in pixels of the result.
        scale: of the blocks, "db" or "power".
        rows: of a block.

    Raises:
        Alos2TutError: an unknown filter; amplitudes asked for; a window that is not odd or does not fit.
    """
    if name not in FILTERS:
        raise Alos2TutError(f"unknown filter '{name}'", where="despeckle", remedy=closest(name, FILTERS))
    if scale == "dn":
        raise Alos2TutError("filters work on power", where="scale", remedy="Write db or power.")
    (height, width), step = power.shape, power.looks[0]
    try:
        check_window(window, (height, width))
    except Alos2TutError as error:
        problem = error.problem.replace("window=", "filter_px=")
        raise Alos2TutError(problem, where="filter_px", remedy=error.remedy) from None
    check_positive(looks, "enl")

    def block(top: int) -> tuple[Window, FloatArray]:
        bottom = min(top + rows, height)
        # what the filter looks at around the block, and no less than its window
        first = max(min(top, height - window) - window // 2, 0)
        last = min(max(bottom, window) + window // 2, height)
        lines = slice(power.rows.start + first * step, min(power.rows.start + last * step, power.rows.stop))
        values = FILTERS[name](replace(power, rows=lines).whole(), looks, window)[top - first : bottom - first]
        return Window(0, top, width, bottom - top), radiometry.to_db(values) if scale == "db" else values

    return map(block, range(0, height, rows))
