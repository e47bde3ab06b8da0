"""A picture of a map that stands alone: classes, legend, scale bar, true north."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle
from matplotlib.transforms import Affine2D, Affine2DBase, ScaledTranslation, Transform, blended_transform_factory
from numpy.typing import NDArray

from ..core.errors import Alos2TutError
from ..core.validation import is_count
from ..dataset.legend import IGNORE, LandClass, Legend
from ..plotting import SMALL, class_colors, class_keys, class_table, color_bar, color_keys, drawable, hatched
from .files import HEADLINE, MapFile, Orientation, PixelWindow, orientation

#: share of a picture's width that a scale bar has at most
_BAR_SHARE = 0.3
#: height over width of what is narrow
_NARROW = 4
#: inches: the longer side of a map drawn alone, its distance to the figure's edge, the height of an entry of its key
_PREVIEW_INCHES, _MARGIN_INCHES, _KEY_INCHES = 7.0, 0.1, 0.2
#: red, green, blue and opacity of what is not drawn
TRANSPARENT = (0.0, 0.0, 0.0, 0.0)


def preview(map_path: str | Path, *, max_px: int = 1600) -> Figure:
    """A picture of a map that stands alone: classes, legend, scale, north and where it is from.

    All of it is taken from the file: its tags, colour table and scale. The figure is not one of pyplot: a notebook
    shows it only where it is asked for, and threads may draw.

    Args:
        map_path: any raster that :func:`alos2tut.map_scene` or :func:`alos2tut.mapping.agreement.map_agreement` wrote.
        max_px: pixels of the drawn map along its longer side at most; it is taken from the overviews.

    Raises:
        Alos2TutError: a file that cannot be read, or has neither colours nor a scale; ``max_px`` that is no whole
            number of at least 1.
    """
    if not is_count(max_px):
        raise Alos2TutError(f"max_px={max_px!r} is not a whole number of at least 1", where="preview")
    source = MapFile.open(map_path)
    if not source.colors and source.scale == 1:
        raise Alos2TutError("has neither a colour table nor a scale: it is no map of this package", where=map_path)
    pixels = source.band.thumbnail(int(max_px))
    handles, footnote = [], _preview_footnote(source)
    if source.colors:
        values = [value for value in np.unique(pixels).tolist() if value != IGNORE and value in source.colors]
        legend, names = _legend_of(source), source.names
        of_classes = [value for value in values if value < len(legend)]
        others = [(names.get(v, f"value {v}"), np.array(source.colors[v]) / 255) for v in values[len(of_classes) :]]
        handles = [*class_keys(of_classes, legend.names, class_colors(legend)), *color_keys(others)]
    if (pixels == IGNORE).any():
        nothing = source.tags.get("NO_DATA", "no data")
        handles += [no_data_key(nothing)] if source.colors else []
        footnote += "" if source.colors else f"  ·  hatched: {nothing}"
    fig = _preview_figure(source, pixels, handles)
    inches = fig.get_figwidth()
    # the layout gives titles their height, but no width
    title = "\n".join(textwrap.fill(line, int(inches * 10)) for line in _preview_title(source))
    fig.suptitle(title, x=_MARGIN_INCHES / inches, ha="left", fontsize=11)
    footnote = textwrap.fill(footnote, int(inches * 13))
    fig.supxlabel(footnote, x=_MARGIN_INCHES / inches, ha="left", fontsize=SMALL, color="0.35")
    return fig


def _preview_figure(source: MapFile, pixels: NDArray[np.uint8], handles: Sequence[Artist]) -> Figure:
    """The map with its key, or, where there is none, with a colour bar, in a figure that has room for both."""
    height, width = source.shape
    lies = orientation(source.grid, height / 2, width / 2)
    inches = np.array(source.shape) * lies.spacing_m
    tall, wide = np.maximum(inches * _PREVIEW_INCHES / inches.max(), (2.6, 3.6)).tolist()
    columns = math.ceil(len(handles) * _KEY_INCHES / tall)
    key = columns * (0.65 + 0.078 * max([len(str(handle.get_label())) for handle in handles], default=0))
    # above and below are title, scale bar and footnote
    size, dpi = (wide + (key or 1.4), tall + 1.4), max(150, math.ceil(max(pixels.shape) / _PREVIEW_INCHES))
    fig = Figure(figsize=size, dpi=dpi, layout="constrained")
    fig.get_layout_engine().set(w_pad=_MARGIN_INCHES, h_pad=_MARGIN_INCHES)  # type: ignore[union-attr, call-arg]
    ax = fig.add_subplot(anchor="NW")
    _draw_raster(ax, source, pixels)
    draw_frame(ax, (0, 0, height, width), lies)
    if handles:
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False,
                  fontsize=9, ncols=columns)  # fmt: skip
    return fig


def _draw_raster(ax: Axes, source: MapFile, pixels: NDArray[np.uint8]) -> None:
    """The pixels of a whole map in its colours; without any as numbers, with a colour bar."""
    extent = (0, source.shape[1], source.shape[0], 0)
    if source.colors:
        legend = _legend_of(source)
        table = class_table(class_colors(legend), TRANSPARENT)
        for value in set(source.colors) - {*range(len(legend)), IGNORE}:
            table[value] = np.array(source.colors[value]) / 255
        colors = (255 * table).round().astype(np.uint8)
        ax.imshow(colors[hatched(pixels, len(legend))], extent=extent, interpolation="nearest")
        return
    values = np.where(pixels == IGNORE, np.nan, pixels * source.scale)
    image = ax.imshow(values, cmap=cividis(), vmin=0, vmax=1, extent=extent, interpolation="nearest")
    bar = color_bar(image, ax, textwrap.fill(source.description, 42))
    bar.ax.yaxis.label.set_fontsize(SMALL)
    bar.ax.tick_params(labelsize=SMALL)


def _legend_of(source: MapFile) -> Legend:
    """The classes of a map by its names and colours: those without a gap from 0 on."""
    names = [name for place, (value, name) in enumerate(source.names.items()) if place == value in source.colors]
    return Legend("", "", tuple(LandClass(name, source.colors[i][:3], ()) for i, name in enumerate(names)), ())


def _preview_title(source: MapFile) -> list[str]:
    """What is wrong with it, what is shown, and of which product and day, in one to three lines."""
    what = source.description or "land-cover class"
    origin = [source.tags.get("PRODUCT", "unknown"), source.tags.get("ACQUIRED", "unknown")[:10]]
    known = ", ".join(text for text in origin if text != "unknown")
    headlines = drawable(f"! {source.tags[tag]}" for tag in (HEADLINE,) if tag in source.tags)
    return [*headlines, what[:1].upper() + what[1:], *([known] if known else [])]


def _preview_footnote(source: MapFile) -> str:
    """Where the data are from, whether they are simulated, and the grid."""
    tags, parts = source.tags, []
    if tags.get("SIMULATED") == "yes":
        parts.append("simulated data")
    elif credit := tags.get("SOURCE"):
        parts.append(credit.replace("(c)", "©"))
    if tags.get("TRAINED_ON_SIMULATED") == "yes" and tags.get("SIMULATED") != "yes":
        parts.append("network trained on simulated data")
    down, across = (f"{side:.3g}" for side in source.grid.spacing_m(source.shape))
    crs = source.grid.crs
    if crs is None:
        parts.append("on no map")
    else:
        parts.append(crs.to_string() if crs.to_epsg() is not None else "own coordinate system")
    if down == "nan":
        return "  ·  ".join([*parts, "pixels of unknown size"])
    parts.append(f"pixels of {down} m" if down == across else f"pixels of {down} m × {across} m (rows × columns)")
    return "  ·  ".join(parts)


def round_length_m(width_m: float) -> float:
    """The longest of 1, 2, 5, 10, 20, … metres (or their decimal parts) that a scale bar may have on so wide a map."""
    most = _BAR_SHARE * width_m
    decade = 10.0 ** math.floor(math.log10(most))
    # rounding must not make a whole number miss itself
    return max(n * decade for n in (1, 2, 5, 10) if n * decade <= most * (1 + 1e-9))


def draw_frame(ax: Axes, window: PixelWindow, lies: Orientation, *, with_scale: bool = True) -> None:
    """Limits and proportions of a window; hatched where nothing is drawn; no ticks; below it scale bar and north."""
    row, col, height, width = window
    ax.set(xlim=(col, col + width), ylim=(row + height, row), xticks=[], yticks=[])
    ax.set_aspect(lies.spacing_m[0] / lies.spacing_m[1])
    ax.patch.set(facecolor="white", hatch="/////", edgecolor="0.8", linewidth=0)
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=0.6, color="0.3")
    if not with_scale:
        return
    length_m = round_length_m(width * lies.spacing_m[1])
    is_far = length_m >= 1000 and lies.unit == "m"
    text = f"{length_m / 1000:,.10g} km" if is_far else f"{length_m:.10g} {lies.unit}"
    _draw_bar(ax, col, length_m / lies.spacing_m[1], text)
    if lies.north_deg is not None:
        # below a narrow map there is no room beside the bar
        is_narrow = height * lies.spacing_m[0] > _NARROW * width * lies.spacing_m[1]
        _draw_north(ax, lies.north_deg, below_points=40 if is_narrow else 22)


def _points_from(ax: Axes, corner: tuple[float, float]) -> Transform:
    """From points of 1/72 inch, counted from a corner of the axes, to the screen."""
    figure, axes_to_screen = cast(Figure, ax.figure), cast(Affine2DBase, ax.transAxes)
    points: Transform = Affine2D().scale(1 / 72) + figure.dpi_scale_trans
    return points + ScaledTranslation(*corner, axes_to_screen)


def _draw_bar(ax: Axes, start_px: float, length_px: float, text: str) -> None:
    """A scale bar, half black and half white, that begins below the lower left corner."""
    place = blended_transform_factory(ax.transData, _points_from(ax, (0, 0)))
    for part, color in enumerate(("black", "white")):
        half = Rectangle((start_px + part * length_px / 2, -10), length_px / 2, 4, transform=place, clip_on=False,
                         facecolor=color, edgecolor="black", linewidth=0.8, gid="scale bar")  # fmt: skip
        ax.add_artist(half)
    ax.annotate(text, (start_px + length_px, -8), (4, 0), xycoords=place, textcoords="offset points", va="center",
                fontsize=SMALL, annotation_clip=False)  # fmt: skip


def _draw_north(ax: Axes, north_deg: float, below_points: float) -> None:
    """An arrow to north below the lower right corner."""
    turn = Affine2D().rotate_deg(-north_deg) + Affine2D().translate(-12, -below_points)
    place = turn + _points_from(ax, (1, 0))
    outline = [(0, 8), (4.5, -8), (0, -4.5), (-4.5, -8)]
    ax.add_artist(Polygon(outline, transform=place, clip_on=False, facecolor="black", linewidth=0, gid="north"))
    ax.text(0, 13, "N", transform=place, ha="center", va="center", fontsize=SMALL, clip_on=False)


def no_data_key(text: str) -> Patch:
    """Legend entry of what is hatched."""
    return Patch(facecolor="white", hatch="/////", edgecolor="0.8", linewidth=0.5, label=text)


def cividis() -> Any:
    """The colours of confidence; nothing where there is none."""
    return colormaps["cividis"].with_extremes(bad=TRANSPARENT)
