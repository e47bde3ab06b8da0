"""The figures of products and curves, and what the figures of all notebooks share; each has its units.

Backscatter is shown in grey, quantities in ``viridis`` and ``cividis`` (safe for colour-blind readers), land cover in
colours of its own that colour-blind readers tell apart (:func:`class_colors`), splits and models in Okabe and Ito's
palette.
"""

from __future__ import annotations

import contextlib
import math
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import product as combinations
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager, patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import ScalarFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from . import geometry
from .core.errors import warn
from .dataset.legend import Legend, load_legend
from .products.product import Product

#: Okabe and Ito's colours, told apart by colour-blind readers
BLUE, ORANGE, GREEN, VERMILION, SKY, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#999999"
#: pixels without data, and without a label
NO_DATA_COLOR, NO_LABEL_COLOR = "#f2e6d0", "#bfbfbf"
#: the drawn colours of legends whose stored ones some readers cannot tell apart, by legend and class. Among the first
#: nine classes, and among the others, which are hatched, any two are 10 apart by CIEDE2000 at least, to normal sight,
#: protanopes and deuteranopes (Machado, Oliveira and Fernandes 2009, severity 1)
PALETTES: dict[str, dict[str, str]] = {
    "japan_9": {
        "water": "#0a1478",
        "built-up": "#e3170a",
        "cropland": "#e6b88f",
        "grassland": "#f7eb5c",
        "forest": "#1b8d56",
        "bare": "#5e3d28",
        "solar panel": "#9f419c",
        "wetland": "#49bbe1",
        "greenhouse": "#ffffff",
    },
    "japan_14": {
        "water": "#09149b",
        "built-up": "#d11212",
        "paddy field": "#209fe0",
        "cropland": "#f5b27a",
        "grassland": "#f7fb58",
        "deciduous broad-leaved": "#34b515",
        "deciduous needle-leaved": "#9becbc",
        "evergreen broad-leaved": "#348e4e",
        "evergreen needle-leaved": "#143d22",
        "bare": "#634c2a",
        "bamboo": "#d7ec2c",
        "solar panel": "#b24bbc",
        "wetland": "#117e81",
        "greenhouse": "#ffffff",
    },
    "worldcover": {
        "tree cover": "#006400",
        "shrubland": "#e08a1e",
        "grassland": "#ffff4c",
        "cropland": "#f096ff",
        "built-up": "#c8002d",
        "bare / sparse vegetation": "#8c6f57",
        "snow and ice": "#f5f5f5",
        "permanent water bodies": "#0064c8",
        "herbaceous wetland": "#1a98a6",
        "mangroves": "#00a85f",
        "moss and lichen": "#fae6a0",
    },
    "airsar_flevoland": {"peas": "#46a078", "buildings": "#7a0f50"},
}
#: classes from this index on are hatched: no more colours than that can be told apart
_PLAIN_CLASSES = 9
#: a hatched picture has so many pixels along its longer side at least, and so many stripes
_HATCHED_PX, _STRIPES = 400, 40
#: figures are shown in notebooks and on pages so many inches wide at most, at 96 pixels an inch
SHOWN_INCHES = 9.6
#: points of small letters: 8 are left of them in the widest figures, of :data:`WIDEST` inches, as they are shown
SMALL, WIDEST = 9, 10.8
_STYLE: dict[Any, Any] = {
    "figure.dpi": 96,
    "savefig.dpi": 192,
    "savefig.bbox": "tight",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    "figure.constrained_layout.use": True,
}

#: row, column, height and width in pixels
Window: TypeAlias = tuple[int, int, int, int]
#: on which side of images a colour bar stands
Side: TypeAlias = Literal["right", "left", "bottom"]


def use_style() -> None:
    """Sizes and colours shared by all figures; in notebooks they are drawn for screens of fine pixels."""
    plt.rcParams.update(_STYLE)
    if _in_notebook():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")  # type: ignore[no-untyped-call]


def show_file(figure: Figure, path: Path) -> None:
    """In a notebook show the file that a figure was saved as, so that it is not drawn again; elsewhere do nothing."""
    if _in_notebook():
        from IPython.display import Image, display

        plt.close(figure)
        display(Image(path, retina=True))  # type: ignore[no-untyped-call]


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def symbol(quantity: str) -> str:
    """How a quantity is written: σ⁰, γ⁰, β⁰ or relative power."""
    return {"sigma0": "σ⁰", "gamma0": "γ⁰", "beta0": "β⁰", "relative": "relative power"}[quantity]


def db_label(quantity: str) -> str:
    """The label of an axis or a colour bar: a quantity in decibels."""
    return f"{symbol(quantity)} (dB)"


def first_channel_label(signal: Mapping[str, Any]) -> str:
    """As :func:`db_label`, with the polarisation of the first channel where a ``signal`` has several."""
    names = signal["polarizations"]
    return f"{names[0]} {db_label(signal['quantity'])}" if len(names) > 1 else db_label(signal["quantity"])


def quicklook(product: Product, boxes: Mapping[str, Window]) -> Figure:
    """The whole product in dB, multilooked in power to at most 900 pixels a side, with boxes (pixel windows) on it."""
    looks = max(1, math.ceil(max(product.shape) / 900))
    fig, ax = plt.subplots(figsize=(8.2, 8.2 * product.shape[0] / product.shape[1] * 0.86 + 0.4))
    draw_backscatter(ax, product, looks)
    for name, window in boxes.items():
        left, _, _, top = extent_of(product, window)
        outline(ax, extent_of(product, window), edgecolor=ORANGE, linewidth=2)
        note(ax, name, (left, top), (2, 5), color=ORANGE, weight="bold", path_effects=halo("black"))
    spacing = product.spacing_m[0]
    of = "pixels of unknown size" if math.isnan(spacing) else f"{spacing:.3g} m"
    ax.set_title(f"{product_title(product)}, {looks} × {looks} looks of {of}")
    return fig


def read_metrics(folder: str | Path) -> NDArray[Any]:
    """``metrics.csv`` of a training as a structured array (n,) of columns by name; empty cells are NaN."""
    return np.atleast_1d(np.genfromtxt(Path(folder) / "metrics.csv", delimiter=",", names=True))


def draw_backscatter(ax: Axes, product: Product, looks: int) -> None:
    """A whole product in dB on a map, with its colour bar."""
    image = draw_grey(ax, product.read_db(looks=looks), extent_of(product))
    color_bar(image, ax, db_label(product.quantity))
    map_axes(ax, product)


def color_bar(image: ScalarMappable, axes: Axes | Iterable[Axes], label: str, location: Side = "right") -> Colorbar:
    """A colour bar with quantity and unit, exactly as long as the image or the images beside which it stands."""
    beside = [axes] if isinstance(axes, Axes) else list(np.ravel(np.asarray(axes, dtype=object)))
    figure = beside[0].figure
    bar = figure.colorbar(image, ax=beside, label=label, location=location, pad=0.02)

    def place(bar_axes: Axes, renderer: object) -> Bbox:
        # each layout gives the bar its usual proportions again
        bar_axes.set_box_aspect(None)
        box = Bbox.union([ax.get_position() for ax in beside])
        inches = np.array([figure.bbox.width, figure.bbox.height]) / figure.dpi
        (gap_x, gap_y), (thick_x, thick_y) = 0.08 / inches, 0.14 / inches
        if location == "bottom":
            below = [part.get_tightbbox() for part in beside]
            bottom = min(part.y0 for part in below if part) - figure.bbox.y0
            return Bbox.from_bounds(box.x0, bottom / figure.bbox.height - gap_y - thick_y, box.width, thick_y)
        left = box.x1 + gap_x if location == "right" else box.x0 - gap_x - thick_x
        return Bbox.from_bounds(left, box.y0, thick_x, box.height)

    bar.ax.set_axes_locator(cast(Any, place))
    return bar


def draw_grey(
    ax: Axes, db: NDArray[np.floating[Any]], extent: Any = None, limits: Mapping[str, float] | None = None
) -> AxesImage:
    """An image (H, W) in grey, as a rule in dB; ``limits`` are as of :func:`grey_limits`, None: the image's own."""
    grey = plt.get_cmap("gray").with_extremes(bad=NO_DATA_COLOR)
    return ax.imshow(db, cmap=grey, extent=extent, **(limits or grey_limits(db)))


def draw_patch(
    ax: Axes, db: NDArray[np.floating[Any]], limits: Sequence[Mapping[str, float]], extent: Any = None
) -> AxesImage:
    """A patch (C, H, W) in dB: one channel in grey, several in colour.

    The first channel is red, the second green, and blue the last of three or more, or of two their ratio: HH, HV and
    HH/HV. The stretch is linear in dB, for each colour from the 1st to the 99th percentile of all patches that are
    drawn together (``limits`` of :func:`patch_limits`, which :func:`patch_range` puts into words). Red-green-blind
    readers tell these colours badly: what a figure must show by them is to be said, or shown by channel in grey.
    """
    bands = _bands(db)
    if len(bands) == 1:
        return draw_grey(ax, bands[0], extent, limits[0])
    return ax.imshow(patch_colors(db, limits, to_rgba(NO_DATA_COLOR)), extent=extent)


def patch_colors(
    db: NDArray[np.floating[Any]], limits: Sequence[Mapping[str, float]], no_data: tuple[float, float, float, float]
) -> NDArray[np.floating[Any]]:
    """Red, green, blue and opacity (H, W, 4) by which :func:`draw_patch` shows several channels (C, H, W) in dB."""
    spans = zip(_bands(db), limits, strict=True)
    shown = [((band - of["vmin"]) / (of["vmax"] - of["vmin"])).clip(0, 1) for band, of in spans]
    colors = np.stack([*shown, np.ones_like(shown[0])], axis=-1)
    colors[np.isnan(colors).any(axis=-1)] = no_data
    return colors


def _bands(db: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """What is drawn of channels (C, …) in dB: the one, or red, green and blue."""
    if len(db) == 2:
        return np.stack([*db, db[0] - db[1]])
    return db if len(db) == 1 else np.stack([db[0], db[1], db[-1]])


@cache
def _palettes() -> list[dict[tuple[str, tuple[int, ...]], Any]]:
    """The drawn colours of each palette by class: its name and stored colour."""
    legends = [(load_legend(name), drawn) for name, drawn in PALETTES.items()]
    return [{(c.name, c.color): drawn.get(c.name, np.divide(c.color, 255)) for c in legend.classes}
            for legend, drawn in legends]  # fmt: skip


def class_colors(legend: Legend) -> NDArray[np.float64]:
    """The colours in which classes are drawn, (classes, 3) in 0…1.

    They are those of :data:`PALETTES` where all classes have the names and the stored colours of such a legend, and
    else the stored ones.
    """
    classes = [(c.name, c.color) for c in legend.classes]
    for palette in _palettes():
        if all(known in palette for known in classes):
            return np.array([to_rgb(palette[known]) for known in classes])
    return legend.colors / 255


def class_pixels(classes: NDArray[np.uint8], colors: NDArray[np.float64], nothing: Any) -> dict[str, Any]:
    """What ``imshow`` takes to draw class indices (H, W) in these colours, ``nothing`` where there is none."""
    style = {"cmap": ListedColormap(class_table(colors, nothing)), "vmin": -0.5, "vmax": 511.5}
    return {"X": hatched(classes, len(colors)), **style, "interpolation": "nearest"}


def hatched(classes: NDArray[np.uint8], n: int) -> NDArray[np.int16]:
    """Class indices (H, W) to be looked up in :func:`class_table`: where one of ``n`` classes has a stripe, 256 more.

    A picture with stripes has so many pixels that they are to be seen, a whole number of times as many as before.
    """
    indices = classes.astype(np.int16)
    if not ((classes >= _PLAIN_CLASSES) & (classes < n)).any():
        return indices
    finer = math.ceil(_HATCHED_PX / max(indices.shape))
    indices = indices.repeat(finer, axis=0).repeat(finer, axis=1)
    rows, cols = np.ogrid[: indices.shape[0], : indices.shape[1]]
    period = max(indices.shape) // _STRIPES
    has_stripe = (indices >= _PLAIN_CLASSES) & (indices < n) & ((rows + cols) % period < period / 4)
    return np.where(has_stripe, indices + np.int16(256), indices)


def class_table(colors: NDArray[np.float64], nothing: Any) -> NDArray[np.float64]:
    """Red, green, blue and opacity (512, 4) of what :func:`hatched` returns."""
    table = np.tile(to_rgba(nothing), (512, 1))
    for index, color in enumerate(colors):
        table[index], table[256 + index] = to_rgba(color), to_rgba(_stripe(color))
    return table


def _stripe(color: Any) -> Any:
    """The colour of stripes on a colour: black on light ones, white on dark ones."""
    return "black" if np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)) > 0.4 else "white"


def draw_land_cover(ax: Axes, classes: NDArray[np.uint8], legend: Legend, extent: Any) -> None:
    """Class indices (H, W) in their colours (:func:`class_colors`), grey where there is none."""
    step = max(1, max(classes.shape) // 1000)  # no screen shows more, and a whole scene has a billion pixels
    ax.imshow(**class_pixels(classes[::step, ::step], class_colors(legend), NO_LABEL_COLOR), extent=extent)


def class_key(fig: Figure, legend: Legend) -> None:
    """The colours of the classes, below a figure."""
    keys = class_keys(range(len(legend)), legend.names, class_colors(legend))
    keys += color_keys([("no data or label", NO_LABEL_COLOR)])
    # rows of equal length
    fig.legend(handles=keys, loc="outside lower center", ncols=math.ceil(len(keys) / math.ceil(len(keys) / 5)))


def class_keys(indices: Iterable[int], names: Sequence[str], colors: NDArray[np.float64]) -> list[Artist]:
    """Legend entries of classes, hatched as :func:`class_pixels` draws them."""
    keys = []
    for index, key in zip(indices, color_keys((names[i], colors[i]) for i in indices), strict=True):
        if index >= _PLAIN_CLASSES:
            key.set(hatch="////", edgecolor=_stripe(colors[index]), linewidth=0)
        keys.append(key)
    return keys


def color_keys(entries: Iterable[tuple[str, Any]]) -> list[Artist]:
    """Legend entries of names and their colours."""
    entries = list(entries)
    names = drawable(name for name, _ in entries)
    return [
        Patch(facecolor=color, edgecolor="grey", linewidth=0.5, label=name)
        for name, (_, color) in zip(names, entries, strict=True)
    ]


def drawable(names: Iterable[str]) -> list[str]:
    """Names, as of classes, in any script, as a figure is to draw them; to be called before its axes are made.

    A dollar sign begins no formula. Where the fonts in use lack a character, installed ones that have it are added to
    ``rcParams["font.family"]``; what none has becomes a box, and one warning says so.
    """
    names = list(names)
    lacking = {character for name in names for character in name if not character.isspace()}
    for family in plt.rcParams["font.family"]:
        lacking -= _characters(font_manager.findfont(font_manager.FontProperties(family=[family])))
    families, lacking = _fonts_with(lacking)
    if families:
        plt.rcParams["font.family"] = [*plt.rcParams["font.family"], *families]
    boxed = [name for name in names if lacking & set(name)]
    if boxed:
        scripts = sorted({unicodedata.name(character, "UNKNOWN").split()[0].title() for character in lacking})
        warn(
            f"no font here has the characters ({', '.join(scripts)}) of {', '.join(boxed)}: boxes are drawn for them. "
            "Install one that has, as those of Noto, or give the classes other names in the legend."
        )
    return ["".join("□" if c in lacking else c for c in name).replace("$", r"\$") for name in names]


def _fonts_with(lacking: set[str]) -> tuple[list[str], set[str]]:
    """Families of installed fonts that have these characters, upright ones first; and those that none has."""
    families, known = list[str](), font_manager.fontManager.ttflist
    for is_listed in (True, False):
        if not is_listed and lacking:
            # matplotlib's list may be older than a font
            for path in set(font_manager.findSystemFonts()) - {font.fname for font in known}:
                with contextlib.suppress(OSError, RuntimeError, ValueError):
                    font_manager.fontManager.addfont(path)
        for font in sorted(known, key=lambda f: (f.style != "normal", f.weight != 400, "Sans" not in f.name, f.name)):
            # matplotlib's last resort has a sign for each script, and none for a character
            if lacking and not font.name.startswith("Last Resort") and lacking & _characters(font.fname):
                families, lacking = [*families, font.name], lacking - _characters(font.fname)
    return families, lacking


@cache
def _characters(path: str) -> frozenset[str]:
    """What a font has signs for; nothing, if it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def extent_of(product: Product, window: Window | None = None) -> tuple[float, float, float, float]:
    """Left, right, bottom, top in the units of :func:`map_axes`."""
    row, col, height, width = (0, 0, *product.shape) if window is None else window
    if product.grid is None:
        return col, col + width, row + height, row
    scale = 1 if product.crs.is_geographic else 1000
    (left, top), (right, bottom) = (product.transform * corner for corner in ((col, row), (col + width, row + height)))
    return left / scale, right / scale, bottom / scale, top / scale


class LongitudeFormatter(ScalarFormatter):
    """Longitudes from −180 to 180 at ticks that may lie beyond, where a map reaches across the antimeridian."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text of a tick."""
        return super().__call__(float(geometry.beside(x, 0)), pos)


def map_axes(ax: Axes, product: Product, *, label_y: bool = True) -> None:
    """Label axes by what the product's grid is in: kilometres or degrees; on no map pixels, in slant range if known."""
    labels = ("easting (km)", "northing (km)")
    if product.grid is None:
        is_slant = product.slant_range_incidence is not None
        labels = ("slant range (pixel)", "azimuth (line)") if is_slant else ("column (px)", "row (px)")
    elif product.crs.is_geographic:
        labels = ("longitude (°)", "latitude (°)")
        ax.xaxis.set_major_formatter(LongitudeFormatter())
        ax.set_aspect(product.spacing_m[0] / product.spacing_m[1] * abs(product.transform.a / product.transform.e))
    ax.set_xlabel(labels[0])
    if label_y:
        ax.set_ylabel(labels[1])
    ax.ticklabel_format(useOffset=False)
    ax.locator_params(nbins=5)


def bare(*axes: Axes) -> None:
    """Axes of pictures, without ticks."""
    for ax in axes:
        ax.set(xticks=[], yticks=[])


def outline(ax: Axes, extent: tuple[float, float, float, float], **style: Any) -> None:
    """A rectangle of left, right, bottom, top, unfilled."""
    left, right, bottom, top = extent
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **style))


def note(ax: Axes, text: str, place: tuple[Any, Any], offset: tuple[float, float] = (0, 2), **style: Any) -> None:
    """A text that many points beside a place of the axes."""
    ax.annotate(text, place, offset, textcoords="offset points", **style)


def halo(color: str, width: float = 3) -> list[Any]:
    """A rim around texts and lines, to be seen on any ground."""
    return [patheffects.withStroke(linewidth=width, foreground=color)]


def error_bars(ax: Axes, x: Any, values: Any, intervals: Any, fmt: str, **style: Any) -> None:
    """Values and their intervals (low, high) of as many; of either, None is not drawn."""
    means = np.array([np.nan if value is None else value for value in values])
    bounds = [(mean, mean) if bar is None else bar for mean, bar in zip(means, intervals, strict=True)]
    ax.errorbar(x, means, np.abs(np.transpose(bounds) - means), fmt=fmt, **{"capsize": 2} | style)


def words_only(text: str) -> Figure:
    """In place of a figure that cannot be drawn: why."""
    fig, ax = plt.subplots(figsize=(7, 1.6))
    ax.text(0.5, 0.5, "\n".join(textwrap.fill(line, 80) for line in text.splitlines()), ha="center", va="center")
    ax.axis("off")
    return fig


def footnote(fig: Figure, *lines: str) -> None:
    """What the marks of a figure cover, in small letters below it."""
    fig.supxlabel("\n".join(lines), fontsize=SMALL, color="0.35")


def grey_limits(db: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Limits of the grey scale: most of the values, in whole dB."""
    values = db[np.isfinite(db)]
    low, high = np.percentile(values, [1, 99]) if values.size else (-25.0, 0.0)
    # two whole numbers that differ, of equal values, too
    return {"vmin": math.floor(low), "vmax": max(math.ceil(high), math.floor(low) + 1)}


def patch_limits(patches_db: NDArray[np.floating[Any]]) -> list[dict[str, Any]]:
    """Of patches (n, C, H, W) drawn together the limits of grey, or of red, green and blue: see :func:`draw_patch`."""
    return [grey_limits(band) for band in _bands(np.moveaxis(patches_db, 1, 0))]


def patch_range(signal: Mapping[str, Any], limits: Sequence[dict[str, Any]]) -> str:
    """What the greys or colours of :func:`draw_patch` mean, in words, for data of a ``signal``."""
    if len(limits) == 1:
        return grey_range(signal["quantity"], limits[0])
    names = signal["polarizations"]
    shown = [names[0], names[1], names[-1] if len(names) > 2 else f"{names[0]}/{names[1]}"]
    colors = zip(("red", "green", "blue"), shown, limits, strict=True)
    texts = [f"{color} {name} {of['vmin']:.0f} to {of['vmax']:.0f}" for color, name, of in colors]
    return f"{symbol(signal['quantity'])}: {', '.join(texts)} dB".replace("-", "−")


def patch_title(fig: Figure, signal: Mapping[str, Any], limits: Sequence[dict[str, Any]]) -> str:
    """A label for patches: what their greys mean; of colours, which take more words, the figure's title says it."""
    meaning = patch_range(signal, limits)
    if len(limits) > 1:
        fig.suptitle(meaning, fontsize=9.5)
    return "patch" if len(limits) > 1 else meaning.replace(", ", "\n")


def grey_range(quantity: str, limits: dict[str, Any]) -> str:
    """The grey scale in words, for panels without a colour bar."""
    return f"{symbol(quantity)}, {limits['vmin']:.0f} to {limits['vmax']:.0f} dB".replace("-", "−")


def best_window(image: NDArray[Any], shape: tuple[int, int], score: Callable[[NDArray[Any]], Any]) -> Window:
    """The window of this shape, on a lattice of half of it, whose part of the image (H, W) has the highest score."""
    starts = [range(0, size - side + 1, max(side // 2, 1)) for size, side in zip(image.shape, shape, strict=True)]
    windows = [(row, col, *shape) for row, col in combinations(*starts)]
    return max(windows, key=lambda w: score(image[w[0] : w[0] + w[2], w[1] : w[1] + w[3]]))


def smooth(values: NDArray[np.float64], width: int = 15) -> NDArray[np.float64]:
    """Mean of each value and its neighbours, fewer at the ends."""
    kernel = np.ones(min(width, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def product_title(product: Product) -> str:
    """A product in a title: its scene and polarisations, and whether it is simulated."""
    scene = product.scene_id or product.path.name
    return f"{'simulated ' if product.simulated else ''}{scene}, {'+'.join(product.polarizations)}"
