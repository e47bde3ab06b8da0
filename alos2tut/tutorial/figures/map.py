"""The figures of maps: a map alone, beside what it was made from, how sure it is, and where it differs from labels.

They are drawn in pixels of the map, as large as they are on the ground, with a scale bar and an arrow to true north;
hatched is where there is nothing. Classes have the colours of :func:`.class_colors`, confidence has ``cividis``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ... import plotting
from ...core.errors import Alos2TutError, closest
from ...dataset.legend import IGNORE, Legend
from ...headlines import of_map
from ...mapping.files import Orientation, PixelWindow, orientation
from ...mapping.preview import TRANSPARENT, cividis, draw_frame, no_data_key
from ...plotting import BLUE, ORANGE, VERMILION
from ..map_view import MapView, agreement_by_confidence

#: pixels of a panel along its longer side; no screen shows more
_PANEL_PX, _SMALL_PANEL_PX = 900, 500
#: the same for two layers on one picture, which is drawn while somebody waits: a pixel for each of the page's
_SWIPED_PX = 600
#: bins of confidence with fewer pixels say nothing
_FEW_PIXELS = 50
#: inches: what a colour bar and its label take
_BAR_INCHES = 1.0
_LABELS, _MAP, _CONFIDENCE = "labels", "map", "confidence"
_CONFIDENCE_LABEL = "confidence: probability of the mapped class"
_AGREES_COLOR = "#e1e1e1"
_NO_DATA_LABEL = "no data or label"


def layers(view: MapView) -> tuple[str, ...]:
    """What a view can show, in the order of reading: "σ⁰" (or another quantity), "labels", "map" and "confidence"."""
    there = {_LABELS: view.labels is not None, _MAP: True, _CONFIDENCE: view.confidence is not None}
    return (plotting.symbol(view.product.quantity), *(name for name, has in there.items() if has))


def map_and_labels(view: MapView, outlined: Sequence[PixelWindow]) -> Figure:
    """Backscatter, labels (where there are any) and map of the same ground side by side.

    Args:
        view: the map.
        outlined: patches of the test list.
    """
    shown = [name for name in layers(view) if name != _CONFIDENCE]
    return _rows(view, {"": view.window(None)}, shown, outlined, most_px=_PANEL_PX, width=4.4)


def zooms(view: MapView, windows: Mapping[str, PixelWindow], outlined: Sequence[PixelWindow]) -> Figure:
    """Some places closer: a row for each, with backscatter, labels, map and confidence, those that the view has.

    All rows have one grey scale, or one stretch of their colours (:func:`.draw_patch`), so that their brightness can be
    compared.

    Args:
        view: the map.
        windows: by name, in pixels of the map.
        outlined: patches of the test list.

    Raises:
        Alos2TutError: no window, or one that is empty or reaches outside the map.
    """
    if not windows:
        raise Alos2TutError("there is no place to show", where="windows")
    parts = {name: view.window(window) for name, window in windows.items()}
    return _rows(view, parts, layers(view), outlined, most_px=_SMALL_PANEL_PX, width=3.0)


def _rows(
    view: MapView,
    parts: Mapping[str, PixelWindow],
    shown: Sequence[str],
    outlined: Sequence[PixelWindow],
    *,
    most_px: int,
    width: float,
) -> Figure:
    """Windows of a map, a row for each with a panel for each layer, of so many pixels and inches at most."""
    numbers = [view.backscatter_db(part, most_px)[0].reshape(len(view.polarizations), -1) for part in parts.values()]
    limits = plotting.patch_limits(np.concatenate(numbers, axis=1)[np.newaxis])
    more = 0.4 * any(parts) + _BAR_INCHES * (_CONFIDENCE in shown)
    width = min(width, (plotting.WIDEST - more) / len(shown))
    widest = max(parts.values(), key=lambda part: part[2] / part[3])
    width, height = _panels_size(widest, _orientation(view, widest), (len(parts), len(shown)), width)
    size = (width + more, height)
    fig, axes = plt.subplots(len(parts), len(shown), figsize=size, layout="constrained", squeeze=False)
    drawn = []
    for row, (name, part) in zip(axes, parts.items(), strict=True):
        for ax, layer in zip(row, shown, strict=True):
            drawn.append(_Panel.draw(ax, view, layer, part, most_px, limits))
            draw_frame(ax, part, _orientation(view, part), with_scale=ax is row[0])
            _outline(ax, outlined)
        row[0].set_ylabel(name, fontsize="large")
    for panel in drawn[: len(shown)]:
        panel.ax.set_title(panel.title)
    fig.suptitle(_title(view), fontsize="medium")
    if _CONFIDENCE in shown:
        plotting.color_bar(drawn[-1].image, axes[:, -1], _CONFIDENCE_LABEL)
    _key(fig, view.legend, drawn, outlined)
    return fig


def swipe(view: MapView, left: str, right: str, position: float, window: PixelWindow | None = None) -> Figure:
    """One picture of two layers: left of an upright line the one, right of it the other.

    Args:
        view: the map.
        left: one of :func:`layers`.
        right: one of :func:`layers`.
        position: of the line, from 0 (left edge) to 1 (right edge).
        window: what is shown, in pixels of the map; None: all of it.

    Raises:
        Alos2TutError: a layer that the view does not have, a position outside 0…1, a window that is empty or reaches
            outside the map.
    """
    for name in (left, right):
        if name not in layers(view):
            raise Alos2TutError(f"the view has no layer '{name}'", where="view", remedy=closest(name, layers(view)))
    if not 0 <= position <= 1:
        raise Alos2TutError(f"position={position!r} is not in 0…1", where="swipe")
    part = view.window(window)
    (row, col, height, width), lies = part, _orientation(view, part)
    wide, tall = _panels_size(part, lies, (1, 1), 6.2)
    size = (wide + _BAR_INCHES * (_CONFIDENCE in (left, right)), tall)
    fig, ax = plt.subplots(figsize=size, layout="constrained")
    line = col + position * width
    drawn = []
    for layer, start, stop in ((left, col, line), (right, line, col + width)):
        drawn.append(_Panel.draw(ax, view, layer, part, _SWIPED_PX).between(start, stop))
        # blocks of pixels need not end at the line
        drawn[-1].image.set_clip_path(Rectangle((start, row), stop - start, height, transform=ax.transData))
    draw_frame(ax, part, lies)
    ax.axvline(line, color="black", linewidth=3.2)
    ax.axvline(line, color="white", linewidth=1.4)
    ax.set_title(f"◂ {drawn[0].title}", loc="left")
    ax.set_title(f"{drawn[1].title} ▸", loc="right")
    for panel in [panel for panel in drawn if panel.layer == _CONFIDENCE][:1]:
        plotting.color_bar(panel.image, ax, _CONFIDENCE_LABEL)
    _key(fig, view.legend, drawn, ())
    return fig


def confidence(view: MapView, tested: Sequence[PixelWindow]) -> Figure:
    """How sure the map is, where it differs from the labels, and how often it agrees with them by how sure it is.

    The curves tell patches of the test list from all other ground, most of which is training ground: there a network
    agrees with what it was shown. On the diagonal confidence is what it says.

    Args:
        view: the map, with confidence and labels.
        tested: patches of the test list, in pixels of the map.

    Raises:
        Alos2TutError: a view without confidence or labels.
    """
    by_place = agreement_by_confidence(view, tested)
    part = view.window(None)
    lies = _orientation(view, part)
    width, height = _panels_size(part, lies, (1, 3), (plotting.WIDEST - 0.6) / 3)
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(width + 0.6, max(height, 4.4)), layout="constrained",
                                              gridspec_kw={"wspace": 0.05})  # fmt: skip
    sure = _Panel.draw(left, view, _CONFIDENCE, part, _PANEL_PX)
    plotting.color_bar(sure.image, left, _CONFIDENCE_LABEL, "bottom")
    left.set_title("confidence")
    differs = _draw_differences(middle, view, part)
    middle.set_title("map and labels")
    for ax in (left, middle):
        draw_frame(ax, part, lies, with_scale=ax is left)
        _outline(ax, tested)
    for ax in (left, middle, right):
        ax.set_anchor("N")
    handles: list[Artist] = plotting.color_keys([("agree", _AGREES_COLOR), ("differ", VERMILION)])
    handles += [no_data_key(_NO_DATA_LABEL)] * differs + [_outline_key()] * bool(tested)
    middle.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False,
                  fontsize=plotting.SMALL)  # fmt: skip
    names = ("test patches", "other ground, mostly training" if tested else "all ground")
    for name, found, color, mark in zip(names, by_place, (BLUE, ORANGE), "os", strict=True):
        enough = found.pixels >= _FEW_PIXELS
        if enough.any():
            share = found.agreeing[enough] / found.pixels[enough]
            right.plot(found.confidence[enough], share, f"{mark}-", color=color, markersize=5, label=name)
    right.plot([0, 1], [0, 1], color="k", linewidth=0.8, linestyle="--", label="calibrated")
    right.set(xlabel="confidence (mean in bins of 0.1)", ylabel="share that agrees with the labels",
              xlim=(0, 1), ylim=(0, 1), aspect="equal", title="agreement by confidence")  # fmt: skip
    right.legend(loc="upper left", frameon=False, fontsize=plotting.SMALL)
    fig.suptitle(_title(view), fontsize="medium")
    return fig


def _draw_differences(ax: Axes, view: MapView, whole: PixelWindow) -> bool:
    """Where map and labels differ; whether there is ground on which they cannot be compared."""
    (mapped, extent), (label, _) = (_sampled(layer, whole, _PANEL_PX) for layer in (view.classes, view.labels))
    colors = np.array([to_rgba(_AGREES_COLOR), to_rgba(VERMILION), TRANSPARENT])
    unknown = (mapped == IGNORE) | (label == IGNORE)
    ax.imshow(colors[np.where(unknown, 2, mapped != label)], extent=extent, interpolation="nearest")
    return bool(unknown.any())


@dataclass(frozen=True)
class _Panel:
    """A layer of a map in its axes."""

    ax: Axes
    layer: str
    image: AxesImage
    #: the class indices that are drawn; None: the layer has no classes
    classes: NDArray[np.uint8] | None
    title: str
    #: whether anything is missing of what has no classes
    has_gaps: bool = False

    @classmethod
    def draw(cls, ax: Axes, view: MapView, layer: str, window: PixelWindow, most_px: int, limits: Any = None) -> _Panel:
        """Draw a layer of a window, in some ``most_px`` pixels a side; ``limits`` as of :func:`.patch_limits`."""
        title, classes, style = layer, None, dict[str, Any]()
        if layer in (_LABELS, _MAP):
            classes, extent = _sampled(view.classes if layer == _MAP else view.labels, window, most_px)
            values = classes
            style = plotting.class_pixels(classes, plotting.class_colors(view.legend), TRANSPARENT)
        elif layer == _CONFIDENCE:
            values, extent = _sampled(view.confidence, window, most_px)
            style = {"cmap": cividis(), "vmin": 0, "vmax": 1}
        else:
            values, extent = view.backscatter_db(window, most_px)
            limits = limits or plotting.patch_limits(values[np.newaxis])
            signal = {"quantity": view.product.quantity, "polarizations": view.polarizations}
            title, style = (
                plotting.patch_range(signal, limits),
                {"cmap": colormaps["gray"].with_extremes(bad=TRANSPARENT)},
            )
            if len(values) == 1:
                values, style = values[0], style | limits[0]
                title = f"{view.polarizations[0]} {title}" if len(view.product.polarizations) > 1 else title
        has_gaps = bool(np.isnan(values).any())
        if values.ndim == 3:
            values = plotting.patch_colors(values, limits, TRANSPARENT)
            title = title.replace(", ", ",\n")
        shown: dict[str, Any] = {"X": values, "interpolation": "nearest", **style}
        image = ax.imshow(**shown, extent=extent)
        return cls(ax, layer, image, classes, title, has_gaps)

    def between(self, start: float, stop: float) -> _Panel:
        """The panel, as if only the classes between two columns of the map were drawn."""
        if self.classes is None:
            return self
        left, right, *_ = self.image.get_extent()
        edges = np.linspace(left, right, self.classes.shape[1] + 1)
        return replace(self, classes=self.classes[:, (edges[1:] > start) & (edges[:-1] < stop)])


def _sampled(layer: NDArray[Any] | None, window: PixelWindow, most_px: int) -> tuple[NDArray[Any], Any]:
    """The middle ones of squares of pixels, as many as make ``most_px`` of a window, and where the squares lie."""
    assert layer is not None  # or it were no layer of the view
    row, col, height, width = window
    step = math.ceil(max(height, width) / most_px)
    rows, cols = (np.arange(-(-size // step)) * step for size in (height, width))
    # the last square may be cut by the window's edge
    middle = np.ix_(*(row_or_col + np.minimum(starts + step // 2, size - 1)
                      for row_or_col, starts, size in ((row, rows, height), (col, cols, width))))  # fmt: skip
    return layer[middle], (col, col + len(cols) * step, row + len(rows) * step, row)


def _orientation(view: MapView, window: PixelWindow) -> Orientation:
    row, col, height, width = window
    return orientation(view.grid, row + height / 2, col + width / 2)


def _panels_size(window: PixelWindow, lies: Orientation, panels: tuple[int, int], width: float) -> tuple[float, float]:
    """Width and height in inches of a figure whose panels are so wide, or less where the window is tall."""
    ratio = window[2] * lies.spacing_m[0] / (window[3] * lies.spacing_m[1])
    width = max(width * min(1, 1.6 / ratio), width / 2)
    return panels[1] * width, panels[0] * (min(width * ratio, 1.6 * width) + 0.5) + 1.1


def _outline(ax: Axes, windows: Sequence[PixelWindow]) -> None:
    """Round what patches of the test list cover: black lines with white edges, to be seen on water, too."""
    sides = Counter[frozenset[tuple[int, int]]]()
    for row, col, height, width in windows:
        corners = ((col, row), (col + width, row), (col + width, row + height), (col, row + height))
        sides.update(frozenset(side) for side in pairwise((*corners, corners[0])))
    # a side that two patches have in common is inside
    outer = [sorted(side) for side, times in sides.items() if times == 1]
    for color, thick in (("white", 2.6), ("black", 1.1)):
        lines = LineCollection(outer, colors=color, linewidths=thick, capstyle="projecting")
        ax.add_collection(lines, autolim=False)


def _title(view: MapView) -> str:
    """What was mapped; before it, if the map is nearly constant, that it is."""
    pixels = np.bincount(view.classes.ravel(), minlength=256)[: len(view.legend)]
    headlines = plotting.drawable(f"! {headline['text']}" for headline in of_map(pixels, view.legend.names))
    return "\n".join([*headlines, plotting.product_title(view.product)])


def _outline_key() -> Line2D:
    return Line2D([], [], linestyle="none", marker="s", markersize=8, markerfacecolor="none", markeredgecolor="black",
                  label="test patches")  # fmt: skip


def _key(fig: Figure, legend: Legend, panels: Sequence[_Panel], outlined: Sequence[PixelWindow]) -> None:
    """Below a figure: the classes that occur in it, and what else is drawn."""
    drawn = [np.unique(panel.classes) for panel in panels if panel.classes is not None]
    values = set() if not drawn else set(np.concatenate(drawn).tolist())
    handles = plotting.class_keys(sorted(values - {IGNORE}), legend.names, plotting.class_colors(legend))
    if IGNORE in values or any(panel.has_gaps for panel in panels):
        handles.append(no_data_key(_NO_DATA_LABEL))
    handles += [_outline_key()] * bool(outlined)
    if handles:
        columns = min(len(handles), max(2, int(fig.get_figwidth() / 1.9)))
        fig.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
