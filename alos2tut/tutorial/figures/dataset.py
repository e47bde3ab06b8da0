"""The figures of notebook 2: which ground there is, how it becomes patches, how even they are, and who sees which.

Each is drawn from plain data. Colours are those of :mod:`alos2tut.plotting`.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
from affine import Affine
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from rasterio.windows import Window as RasterWindow
from scipy.sparse.csgraph import connected_components
from scipy.special import entr

from ... import geometry, plotting
from ...core.tables import coverage
from ...dataset import splits
from ...dataset.archive import Archive
from ...dataset.encoding import NO_DATA, decode_db
from ...dataset.labels import EQUAL_SIZE, LabelMap, Placement, frame_of, label_pixels, open_label_raster
from ...dataset.legend import IGNORE, Legend
from ...dataset.selection import STATUSES, Choice
from ...dataset.store import PatchDataset, Split
from ...dataset.survey import PatchTable
from ...plotting import BLUE, GREEN, GREY, NO_DATA_COLOR, NO_LABEL_COLOR, ORANGE, SKY, SMALL, VERMILION, Window
from ...products.product import Product
from ...products.rasters import LONLAT, reprojected
from ..leakage import COVERS, SCHEMES, Leakage

#: mean and spread that the paper states for its autumn 2022 dataset of Japan (arXiv 2603.15119), dB
PAPER_STATISTICS_DB = (-10.4327, 5.8041)
#: colours and hatches of what was dropped, so that they differ in print, too
_DROPPED = ((VERMILION, "///"), (ORANGE, "\\\\\\"), (SKY, "..."), ("#CC79A7", "xxx"), (GREY, "---"))
#: colours and marks of what is compared
_SERIES = ((GREY, "o"), (BLUE, "s"), (ORANGE, "^"), (VERMILION, "D"), (GREEN, "v"))
#: what held-out lists are called, and their colours
_HELD_OUT = {"val": ("validation", ORANGE), "test": ("test", BLUE)}
#: more names than that hide the map; so many days have colours of their own, a colour bar names as many
_MOST_NAMES, _MOST_DAYS = 20, 5
_DAYS = (BLUE, ORANGE, GREEN, "#CC79A7", SKY)
_DASHED = (0, (2, 1.5))

Box = tuple[float, float, float, float]


def footprints(archive: Archive, used: Archive | None = None, labels: Sequence[str | Path] = ()) -> Figure:
    """Where products lie in longitude and latitude, with close-ups where they are small; and outlines of label rasters.

    Colours tell the day; grey is unknown. Dashed are those that a filter has not left in ``used`` (None: all are used).
    Products whose place on Earth nobody states are shown by their size.
    """
    if not any(entry.info["footprint_lonlat"] for entry in archive.entries):
        return _sizes(archive)
    entries = [entry for entry in archive.entries if entry.info["footprint_lonlat"]]
    kept = {entry.path for entry in (used or archive).entries}
    corners = [np.array(entry.info["footprint_lonlat"]) for entry in entries]
    boxes = [*(splits.enclosing_boxes([outline])[0] for outline in corners), *map(_lonlat_box, labels)]
    # beside one another, whichever side of the antimeridian they lie on
    middles = geometry.together([(west + east) / 2 for west, _, east, _ in boxes])
    for outline, middle in zip(corners, middles, strict=False):
        outline[:, 0] = geometry.beside(outline[:, 0], middle)
    all_boxes = np.array(boxes)
    all_boxes[:, ::2] += (middles - all_boxes[:, ::2].mean(axis=1))[:, None]
    groups = _neighbours(all_boxes[: len(entries)])
    side_deg = (all_boxes[:, 2:].max(axis=0) - all_boxes[:, :2].min(axis=0)).max()
    is_small = side_deg > 5 * max(np.ptp(outline, axis=0).max() for outline in corners)
    letters = "AB"[: len(groups)] if is_small else ""
    size, widths = ((10.4, 6.0), (1.6, 1)) if letters else ((7.6, 5.6), None)
    panels = ";".join(f"0{letter}" for letter in letters) or "0"
    fig, axes = plt.subplot_mosaic(panels, figsize=size, width_ratios=widths)
    overview, close_ups = axes["0"], [axes[letter] for letter in letters]
    for (west, south, east, north), path in zip(all_boxes[len(entries) :].tolist(), labels, strict=True):
        plotting.outline(overview, (west, east, south, north), edgecolor="0.5", linewidth=1.2, zorder=0.5)
        plotting.note(overview, Path(path).stem, (west, north), (3, -3), va="top", fontsize=SMALL, color="0.4")
    outlines, days = _footprint_colors(overview, [entry.info["acquired"] or "" for entry in entries])
    is_used = [entry.path in kept for entry in entries]
    for ax, members in ((overview, range(len(entries))), *zip(close_ups, groups, strict=False)):
        for place, i in enumerate(members):
            # what lies upon the same ground stays visible at the edge
            width = 1.6 + 3 * sum(np.array_equal(corners[i], corners[j]) for j in list(members)[place + 1 :])
            face = (*outlines[i], 0.15) if is_used[i] else "none"
            style: dict[str, Any] = {"linewidth": width, "linestyle": "-" if is_used[i] else _DASHED}
            ax.add_patch(Polygon(corners[i], facecolor=face, edgecolor=outlines[i], **style))
        lonlat_axes(ax)
        if len(members) <= _MOST_NAMES and (ax is not overview or not close_ups):
            names = [entries[i].info["scene_id"] or entries[i].name for i in members]
            _name_footprints(ax, names, [corners[i] for i in members])
    for letter, ax, members in zip(letters, close_ups, groups, strict=False):
        ax.set_title(letter, loc="left", weight="bold")
        ax.margins(0.12)
        place = corners[members[0]].mean(axis=0)
        overview.plot(*place, "o", markersize=13, markerfacecolor="none", color="black")
        plotting.note(overview, letter, place, (8, 6), weight="bold")
    for ax in (overview, *close_ups):
        _zone_borders(ax)
    keys = [*days, *([Patch(facecolor="none", edgecolor="0.5", label="label raster")] if labels else [])]
    if not all(is_used):
        keys.append(Line2D([], [], color="0.2", linestyle=_DASHED, label="left out by the filter"))
    if keys:
        fig.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 4))
    return fig


def _sizes(archive: Archive) -> Figure:
    """Products on no map, each in a frame of its own, one behind the other."""
    shapes = [entry.grid[2] for entry in archive.entries]
    fig, ax = plt.subplots(figsize=(5.2, 5.2 * max(h for h, _ in shapes) / max(w for _, w in shapes) + 0.6))
    for entry, (height, width) in zip(archive.entries, shapes, strict=True):
        plotting.outline(ax, (0, width, height, 0), edgecolor=GREY, linewidth=1.6)
        plotting.note(ax, entry.name, (width, height), (-4, 4), ha="right", fontsize=SMALL)
    ax.set(aspect="equal", xlabel="column (px)", ylabel="row (px)", title="no place on Earth is stated")
    ax.margins(0.04)
    ax.invert_yaxis()
    return fig


def _lonlat_box(raster: str | Path) -> Box:
    with open_label_raster(str(raster)) as source:
        west, south, east, north = transform_bounds(source.crs, LONLAT, *source.bounds)
    return west, south, east + 360 * (east < west), north


def _neighbours(boxes: NDArray[np.float64]) -> list[list[int]]:
    """Groups of boxes that meet, directly or by way of others, largest first."""
    west, south, east, north = np.transpose(boxes)
    meets = (west[:, None] <= east) & (west <= east[:, None]) & (south[:, None] <= north) & (south <= north[:, None])
    n, group = connected_components(meets)
    return sorted((np.flatnonzero(group == number).tolist() for number in range(n)), key=len, reverse=True)


def _footprint_colors(ax: Axes, acquired: Sequence[str]) -> tuple[list[tuple[float, float, float]], list[Artist]]:
    """A colour for each product by its day, and the keys of few days; a bar beside the axes explains many."""
    days = [date.fromisoformat(text[:10]).toordinal() if len(text) >= 10 else None for text in acquired]
    known = sorted({day for day in days if day is not None})
    if len(known) <= _MOST_DAYS:
        colors: Mapping[int | None, Any] = dict(zip(known, _DAYS, strict=False))
        names = [f"acquired {date.fromordinal(day).isoformat()}" for day in known]
        keys: list[Artist] = [Line2D([], [], color=color, linewidth=3, label=name)
                              for name, color in zip(names, colors.values(), strict=True)]  # fmt: skip
        return [to_rgb(colors.get(day, GREY)) for day in days], keys
    # the lightest colours of all would not be seen on white
    scale = ScalarMappable(
        Normalize(known[0], known[-1]), ListedColormap(plt.get_cmap("viridis")(np.linspace(0, 0.85, 256)))
    )
    bar = plotting.color_bar(scale, ax, "day of acquisition")
    ticks = np.linspace(known[0], known[-1], _MOST_DAYS).tolist()
    bar.set_ticks(ticks, labels=[date.fromordinal(round(day)).isoformat() for day in ticks])
    bar.minorticks_off()
    return [to_rgb(GREY if day is None else cast(Any, scale).to_rgba(day)) for day in days], []


def _name_footprints(ax: Axes, names: Sequence[str], corners: Sequence[NDArray[np.float64]]) -> None:
    """Names in the middle of the footprints; those of the same ground below one another."""
    stacks: dict[tuple[float, float], list[str]] = {}
    for name, outline in zip(names, corners, strict=True):
        longitude, latitude = outline.mean(axis=0).round(3).tolist()
        stacks.setdefault((longitude, latitude), []).append(name)
    for place, stack in stacks.items():
        ax.annotate(
            "\n".join(stack), place, ha="center", va="center", fontsize=SMALL, path_effects=plotting.halo("white")
        )


def _zone_borders(ax: Axes) -> None:
    """The meridians at which one UTM zone ends and the next begins."""
    low, high = ax.get_xlim()
    for meridian in range(6 * math.ceil(low / 6), math.floor(high) + 1, 6):
        ax.axvline(meridian, color=VERMILION, linewidth=1.1, linestyle=":", zorder=0.6)
        west = (meridian + 180) // 6
        name = f"UTM zone {(west - 1) % 60 + 1} | {west % 60 + 1}"
        style: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "color": VERMILION, "fontsize": SMALL}
        plotting.note(ax, name, (meridian, 1), ha="center", **style)


def lonlat_axes(ax: Axes) -> None:
    """Axes of longitude and latitude in degrees, a degree of each as long as on the ground."""
    ax.autoscale_view()
    ax.margins(0.04)
    ax.set_aspect(1 / math.cos(math.radians(float(np.mean(ax.get_ylim())))))
    ax.xaxis.set_major_formatter(plotting.LongitudeFormatter())
    ax.ticklabel_format(useOffset=False)
    ax.locator_params(nbins=5)
    ax.tick_params(axis="x", rotation=30)
    ax.set(xlabel="longitude (°)", ylabel="latitude (°)")


def image_and_labels(product: Product, classes: NDArray[np.uint8], legend: Legend) -> Figure:
    """The product beside its label map; ``classes`` covers the whole product on any coarser grid."""
    looks = max(1, round(product.shape[0] / classes.shape[0]))
    # no screen shows more
    looks *= max(1, math.ceil(max(classes.shape) / 900))
    (legend_name,) = plotting.drawable([legend.name])
    fig, axes = plt.subplots(1, 2, figsize=(10.8, 10.8 / 2.3 * product.shape[0] / product.shape[1] + 1.4), sharey=True)
    plotting.draw_backscatter(axes[0], product, looks)
    axes[0].set_title(plotting.product_title(product))
    plotting.draw_land_cover(axes[1], classes, legend, plotting.extent_of(product))
    plotting.map_axes(axes[1], product, label_y=False)
    axes[1].set_title(f"labels: legend '{legend_name}'")
    plotting.class_key(fig, legend)
    return fig


def mixed_window(classes: NDArray[np.uint8]) -> Window:
    """The square of 30 pixels, less where the map is smaller, in which most classes have a fair share of the pixels.

    Args:
        classes: (H, W) class indices.
    """
    side = min(30, *classes.shape)
    return plotting.best_window(
        classes, (side, side), lambda part: entr(np.bincount(part[part != IGNORE]) / part.size).sum()
    )


def warp_close_up(
    product: Product,
    labels: Sequence[str | Path],
    legend: Legend,
    window: Window,
    looks: int,
    placement: Placement = EQUAL_SIZE,
) -> Figure:
    """How labels come to pixels: each takes the class of the label pixel in which its centre lies.

    Args:
        product: the product.
        labels: label rasters, in any coordinate system; those that lie elsewhere do no harm.
        legend: their legend.
        window: row, column, height and width in pixels after looks; some 30 a side can be told apart.
        looks: pixels of the product along a side of one pixel.
        placement: of label rasters on a product that lies on no map.
    """
    row, col, height, width = window
    crs, transform = frame_of(product)
    grid = transform * Affine.scale(looks) * Affine.translation(col, row)
    with LabelMap(labels, legend, placement) as rasters:
        touching = rasters.touching(crs, transform, product.shape)
        classes = rasters.classes_on(crs, grid, (height, width))
    found = [_label_pixels(Path(path), legend, crs, grid, (height, width), placement) for path in touching]
    found.append((np.empty((0, 4, 2)), np.empty(0, np.uint8)))
    corners, of_class = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # of two rasters on one grid the first one counts
    outlines, places = np.unique(corners.round(6), axis=0, return_index=True)
    of_class = of_class[places]
    db = product.read_db(tuple(part * looks for part in window), looks=looks)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.8, 10.8 / 2.3 * height / width + 1.4), sharey=True)
    extent = (0, width, height, 0)
    plotting.color_bar(plotting.draw_grey(left, db, extent), left, plotting.db_label(product.quantity))
    colors = np.vstack([plotting.class_colors(legend), to_rgb(NO_LABEL_COLOR)])
    fill = colors[np.where(of_class == IGNORE, len(legend), of_class)]
    left.add_collection(
        PolyCollection(list(outlines), facecolors=np.c_[fill, np.full(len(fill), 0.45)], edgecolors="none")
    )
    plotting.draw_land_cover(right, classes, legend, extent)
    cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for ax in (left, right):
        ax.add_collection(PolyCollection(list(outlines), facecolors="none", edgecolors="black", linewidths=0.7))
        ax.plot(cols.ravel(), rows.ravel(), "o", color="white", markersize=2.6, markeredgecolor="black",
                markeredgewidth=0.4)  # fmt: skip
        ax.set(xlim=(0, width), ylim=(height, 0), xlabel=f"column, from {col}")
    left.set_ylabel(f"row, from {row}")
    left.set_title("image pixels (centres dotted)\nunder label pixels (outlined)")
    right.set_title("labels of the image's pixels,\nby nearest neighbour")
    plotting.class_key(fig, legend)
    return fig


def _label_pixels(
    path: Path, legend: Legend, crs: CRS | None, grid: Affine, shape: tuple[int, int], placement: Placement
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Label pixels that touch a grid: their corners in its columns and rows, (n, 4, 2), and their classes, (n,)."""
    height, width = shape
    edge = [(x, y) for x in np.linspace(0, width, 9) for y in np.linspace(0, height, 9)]
    with open_label_raster(str(path)) as raster:
        to_raster = placement.to_pixels(raster.shape) if crs is None else ~raster.transform
        inside = np.array([grid * point for point in edge])
        if crs is not None:
            inside = reprojected(inside, crs, raster.crs)
            if raster.crs.is_geographic:
                inside[:, 0] = geometry.beside(inside[:, 0], (raster.bounds.left + raster.bounds.right) / 2)
        cols, rows = to_raster * (inside[:, 0], inside[:, 1])
        first = np.maximum(np.floor([rows.min(), cols.min()]).astype(int), 0)
        last = np.minimum(np.ceil([rows.max(), cols.max()]).astype(int), raster.shape)
        size = last - first
        if (size <= 0).any():
            return np.empty((0, 4, 2)), np.empty(0, np.uint8)
        classes = label_pixels(str(path), RasterWindow(first[1], first[0], size[1], size[0]), legend)
        pixels = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij"), axis=-1).reshape(-1, 1, 2)
        corners = (pixels + first + np.array([(0, 0), (0, 1), (1, 1), (1, 0)])).reshape(-1, 2)
        places = np.stack(~to_raster * (corners[:, 1].astype(float), corners[:, 0].astype(float)), axis=1)
        if crs is not None:
            places = reprojected(places, raster.crs, crs)
            if crs.is_geographic:
                places[:, 0] = geometry.beside(places[:, 0], (grid * (width / 2, height / 2))[0])
    x, y = ~grid * (places[:, 0], places[:, 1])
    return np.stack([x, y], axis=1).reshape(-1, 4, 2), classes.ravel()


def patch_grid(product: Product, choice: Choice, looks: int) -> Figure:
    """The patches of an archive's first product, of so many looks, by what becomes of them."""
    shrink = max(1, math.ceil(max(product.shape) / 800))
    fig, ax = plt.subplots(figsize=(8.2, 8.2 * product.shape[0] / product.shape[1] * 0.86 + 0.6))
    plotting.draw_backscatter(ax, product, shrink)
    table, keys = choice.table, []
    for status, ((color, hatch), name) in enumerate(zip(((GREEN, None), *_DROPPED), STATUSES, strict=True)):
        members = (table.product == 0) & (choice.status == status)
        # of overlapping patches some show what is not used
        here = np.flatnonzero(members & (_side_by_side(table) | (hatch is None)))
        places = np.stack([table.row[here], table.col[here]], axis=1) * looks
        side = table.patch_px * looks
        boxes = [_corners(*plotting.extent_of(product, (row, col, side, side))) for row, col in places.tolist()]
        face = "none" if hatch is None else (*to_rgb(color), 0.25)
        style: dict[str, Any] = {"edgecolor": color, "facecolor": face, "hatch": hatch}
        # kept ones last, so that their outlines are whole
        ax.add_collection(PolyCollection(boxes, **style, linewidth=1.1, zorder=3 if hatch is None else 2))
        if boxes:
            keys.append(Patch(**style, label=f"{name}: {np.count_nonzero(members)}"))
    fig.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 3))
    return fig


def class_balance(histograms: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Figure:
    """Shares of the classes under several choices of patches: of the pixels, and of the patches by commonest class.

    Choices are named, and as :func:`.histogram` makes them; the first one orders the classes.
    """
    names = list(next(iter(histograms.values()))["pixels"])
    drawn = plotting.drawable(names)
    panels = {"pixels": "labelled pixels", "majority": "patches, by their commonest class"}
    # ends of the two axes would touch
    apart = ConstrainedLayoutEngine(wspace=0.06)
    fig, axes = plt.subplots(1, 2, figsize=(10.8, 0.46 * len(names) + 1.9), sharey=True, layout=apart)
    counts = {key: [[found[key][name] for name in names] for found in histograms.values()] for key in panels}
    order = np.argsort(counts["pixels"][0], kind="stable")
    for ax, (key, what) in zip(axes, panels.items(), strict=True):
        _share_dots(ax, [_percent(values)[order] for values in counts[key]], _SERIES)
        ax.axvline(100 / len(names), color="0.6", linewidth=0.9, linestyle=":", zorder=1)
        ax.set_xlabel(f"share of {what} (%)")
    style = {"xycoords": axes[0].get_xaxis_transform(), "fontsize": SMALL, "color": "0.4"}
    plotting.note(axes[0], "if all were alike", (100 / len(names), 0), (-4, 5), ha="right", **style)
    axes[0].set_yticks(range(len(names)), [drawn[i] for i in order])
    labels = [f"{name} ({sum(found['majority'].values()):,} patches)" for name, found in histograms.items()]
    fig.legend(handles=_dot_keys(labels, _SERIES), loc="outside lower center", ncols=min(len(labels), 3))
    return fig


def class_shares(dataset: PatchDataset) -> Figure:
    """Shares of the classes in each labelled list, in percent of the labelled pixels."""
    names = dataset.legend.names
    drawn = plotting.drawable(names)
    counts = {split: dataset.content["splits"][split]["class_pixels"] for split in ("train", "val", "test")}
    shares = [_percent([found[name] for name in names]) for found in counts.values()]
    order = np.argsort(shares[0], kind="stable")
    styles = [(GREY, "o"), (_HELD_OUT["val"][1], "^"), (_HELD_OUT["test"][1], "s")]
    fig, ax = plt.subplots(figsize=(8.2, 0.42 * len(names) + 1.4))
    _share_dots(ax, [values[order] for values in shares], styles)
    ax.set_yticks(range(len(names)), [drawn[i] for i in order])
    ax.set_xlabel("share of labelled pixels (%)")
    fig.legend(handles=_dot_keys(counts, styles), loc="outside lower center", ncols=len(shares))
    return fig


def _dot_keys(names: Iterable[str], styles: Sequence[tuple[str, str]]) -> list[Line2D]:
    return [
        Line2D([], [], linestyle="", color=color, marker=mark, label=name)
        for name, (color, mark) in zip(names, styles, strict=False)
    ]


def _share_dots(ax: Axes, shares: Sequence[NDArray[np.float64]], styles: Sequence[tuple[str, str]]) -> None:
    """Shares in percent on a logarithmic axis, a row for each class; what is absent lies on the left edge, at 0."""
    together = np.array(shares)
    least = 10.0 ** (math.floor(math.log10(together[together > 0].min(initial=10))) - 1)
    rows = np.arange(together.shape[1])
    shift = 0.5 / len(shares)
    for i, (values, (color, mark)) in enumerate(zip(shares, styles, strict=False)):
        places = rows + shift * ((len(shares) - 1) / 2 - i)
        face = [color if value > 0 else "white" for value in values]
        ax.scatter(np.maximum(values, least), places, marker=mark, c=face, edgecolors=color, s=34, zorder=3,
                   clip_on=False)  # fmt: skip
    ax.hlines(rows[:-1] + 0.5, least, 100, color="0.93", linewidth=0.8)
    decades = [10.0**power for power in range(round(math.log10(least)), 3)]
    ax.set(xscale="log", xlim=(least, 100), ylim=(-0.6, len(rows) - 0.4))
    ax.set_xticks(decades, ["0", *(f"{decade:g}" for decade in decades[1:])])
    ax.grid(axis="x", color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)


def _percent(counts: Sequence[int]) -> NDArray[np.float64]:
    return 100 * np.array(counts, dtype=np.float64) / max(sum(counts), 1)


def statistics(dataset: PatchDataset) -> Figure:
    """What values 200 pretraining patches hold, as a whole and by class, with the mean and spread that input gets.

    Of several polarisations that is the first.
    """
    split = dataset.split("pretrain")
    drawn = np.random.default_rng(0).permutation(len(split))[:200]
    steps, labels = split.gather(np.sort(drawn))
    known = steps[:, 0] != NO_DATA
    db, labels = decode_db(steps[:, 0][known]), labels[known]
    mean, std = dataset.statistics.mean_db[0], dataset.statistics.std_db[0]
    names = plotting.drawable(dataset.legend.names)
    bins = np.arange(math.floor(np.percentile(db, 0.1)), math.ceil(np.percentile(db, 99.9)) + 0.5, 0.5)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.8, 3.8), sharex=True)
    left.hist(db, bins, weights=np.full(db.size, 200 / db.size), color=SKY)
    left.axvspan(mean - std, mean + std, color=BLUE, alpha=0.14, linewidth=0)
    left.axvline(mean, color=BLUE, label=f"this dataset: {mean:.2f} ± {std:.2f} dB".replace("-", "−"))
    paper = f"the paper's: {PAPER_STATISTICS_DB[0]:.2f} ± {PAPER_STATISTICS_DB[1]:.2f} dB".replace("-", "−")
    # of relative power there is no level to hold against a published one
    lines = ((-1, ":"), (0, "--"), (1, ":")) if dataset.signal["quantity"] != "relative" else ()
    for place, line in lines:
        left.axvline(PAPER_STATISTICS_DB[0] + place * PAPER_STATISTICS_DB[1], color=VERMILION, linestyle=line,
                     linewidth=1.1, label=paper if place == 0 else None)  # fmt: skip
    left.set(ylabel="pixels (% per dB)")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, 1.28))
    for index, (name, color) in enumerate(zip(names, plotting.class_colors(dataset.legend), strict=True)):
        values = db[labels == index]
        if values.size:
            density = np.histogram(values, bins)[0] * 200 / values.size
            style = {"color": color, "linewidth": 1.8, "path_effects": plotting.halo("0.35")}
            right.plot(bins[:-1] + 0.25, density, label=name, **style)
    right.set(ylabel="pixels of the class (% per dB)")
    right.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    for ax in (left, right):
        ax.set(xlabel=plotting.first_channel_label(dataset.signal), ylim=(0, None))
    return fig


def class_amounts(split: Split, classes: int) -> NDArray[np.int64]:
    """Pixels of each class in each patch of a list, (classes, patches)."""
    counts = [np.bincount(split.gather([i])[1].ravel(), minlength=256)[:classes] for i in range(len(split))]
    return np.stack(counts, axis=1).astype(np.int64)


def class_gallery(dataset: PatchDataset, split: str = "train") -> Figure:
    """For each class the patch of a list that has most of it: backscatter above label."""
    part = dataset.split(split)
    amounts = class_amounts(part, len(dataset.legend))
    found = [(index, int(of_class.argmax())) for index, of_class in enumerate(amounts) if of_class.any()]
    names = plotting.drawable(dataset.legend.names)
    fig, axes = plt.subplots(2, len(found), figsize=(min(max(1.42 * len(found), 4.2), 10.4) + 0.4, 3.5), squeeze=False)
    limits = plotting.patch_limits(np.stack([part.db(patch) for _, patch in found]))
    for (top, bottom), (index, patch) in zip(axes.T, found, strict=True):
        plotting.draw_patch(top, part.db(patch), limits)
        plotting.draw_land_cover(bottom, part.gather([patch])[1][0], dataset.legend, None)
        share = amounts[index, patch] / dataset.patch_px**2
        top.set_title(textwrap.fill(names[index], 12), fontsize=9.5)
        bottom.set_xlabel(f"{share:.0%}" if share >= 0.01 else f"{share:.1%}", fontsize=9)
    plotting.bare(*axes.flat)
    axes[0, 0].set_ylabel(plotting.patch_title(fig, dataset.signal, limits), fontsize=9)
    axes[1, 0].set_ylabel("label,\nand its share", fontsize=9)
    plotting.class_key(fig, dataset.legend)
    return fig


def patch_and_labels(dataset: PatchDataset, split: str, index: int) -> Figure:
    """One patch of a list beside its labels, in metres if those are known, with its name and its commonest classes."""
    part = dataset.split(split)
    db, labels = part.db(index)[0], part.gather([index])[1][0]
    sides = dataset.signal["spacing_m"] or (1.0, 1.0)
    unit = "metres" if dataset.signal["spacing_m"] else "pixels"
    extent = (0, sides[1] * db.shape[1], sides[0] * db.shape[0], 0)
    names = plotting.drawable(dataset.legend.names)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.4, 5.0), sharey=True)
    image = plotting.draw_grey(left, db, extent)
    plotting.color_bar(image, left, plotting.first_channel_label(dataset.signal))
    plotting.draw_land_cover(right, labels, dataset.legend, extent)
    shares = np.bincount(labels.ravel(), minlength=256)[: len(dataset.legend)] / labels.size
    commonest = [i for i in np.argsort(-shares, kind="stable")[:3] if shares[i] > 0]
    right.set_title(", ".join(f"{names[i]} {shares[i]:.0%}" for i in commonest) or "no labels")
    left.set(title=part.table[index].get("FileName") or f"{split} {index}", xlabel=unit, ylabel=unit)
    left.title.set_fontsize(SMALL)
    right.set_xlabel(unit)
    for ax in (left, right):
        ax.locator_params(nbins=5)
    plotting.class_key(fig, dataset.legend)
    return fig


def split_map(choice: Choice, block: float, names: Sequence[str]) -> Figure:
    """Whose ground it is: patches by list, blocks of ground outlined; of the first three named products.

    ``block`` is a block's side: metres on a map, else pixels after looks.
    """
    numbers = np.unique(choice.table.product)[:3]
    fig, axes = plt.subplots(1, len(numbers), figsize=(6.8 if len(numbers) == 1 else 3.6 * len(numbers), 4.8),
                             squeeze=False)  # fmt: skip
    in_buffer = STATUSES.index("in the buffer")
    kinds: dict[str, tuple[NDArray[np.int64], dict[str, Any]]] = {
        what: (choice.lists[name], {"facecolor": color, "edgecolor": "white"})
        for name, (what, color) in (("pretrain", ("pretraining and training", GREY)), *_HELD_OUT.items())
    }
    hatched = {"facecolor": "white", "edgecolor": "0.8", "hatch": "////"}
    kinds["in the buffer"] = (np.flatnonzero(choice.status == in_buffer), hatched)
    others = (choice.status != STATUSES.index("kept")) & (choice.status != in_buffer)
    kinds["dropped"] = (np.flatnonzero(others), {"facecolor": NO_DATA_COLOR, "edgecolor": "white"})
    outlines = choice.table.corners.copy()
    is_map, on_grid = choice.table.frame == "map", _side_by_side(choice.table)
    # of overlapping patches these show what is not used, and those in use lie on them
    layers = dict.fromkeys(kinds, 3) | {"pretraining and training": 2, "in the buffer": 1, "dropped": 1}
    if is_map:
        outlines[..., 0] = geometry.together(outlines[..., 0].ravel()).reshape(-1, 4)
    for ax, number in zip(axes[0], numbers.tolist(), strict=True):
        for what, (members, style) in kinds.items():
            here = members[(choice.table.product[members] == number) & (on_grid[members] | (layers[what] > 1))]
            ax.add_collection(PolyCollection(outlines[here], **style, linewidth=0.5, zorder=layers[what]))
        borders = _block_borders(choice.table, outlines, number, block)
        ax.add_collection(LineCollection(borders, color="black", linewidth=1.3, zorder=4))
        lonlat_axes(ax) if is_map else _pixel_axes(ax)
        ax.set_title(names[number], fontsize=SMALL)
        if ax is not axes[0, 0]:
            ax.set_ylabel("")
    keys: list[Artist] = [Patch(**style | {"edgecolor": "0.6"}, label=f"{what}: {len(members)}")
                          for what, (members, style) in kinds.items() if len(members)]  # fmt: skip
    keys.append(Line2D([], [], color="black", linewidth=1.3, label="ground blocks"))
    fig.legend(handles=keys, loc="outside lower center", ncols=2 if len(numbers) == 1 else 3)
    return fig


def _corners(left: float, right: float, bottom: float, top: float) -> list[tuple[float, float]]:
    """The corners of a box, in order around it."""
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def _pixel_axes(ax: Axes) -> None:
    """Axes of columns and rows after looks, from the upper left corner."""
    ax.autoscale_view()
    ax.margins(0.02)
    ax.invert_yaxis()
    ax.set(aspect="equal", xlabel="column (after looks)", ylabel="row (after looks)")


def _side_by_side(table: PatchTable) -> NDArray[np.bool_]:
    """Which patches lie side by side from the product's corner on, (N,): all, unless a stride makes them overlap."""
    on_grid: NDArray[np.bool_] = (table.row % table.patch_px == 0) & (table.col % table.patch_px == 0)
    return on_grid


def _block_borders(
    table: PatchTable, outlines: NDArray[np.float64], number: int, block: float
) -> list[NDArray[np.float64]]:
    """Sides between neighbouring patches of a product that lie in different blocks of ground, (2, 2) in their frame."""
    of_product = np.flatnonzero((table.product == number) & _side_by_side(table))
    shape = (int(table.row[of_product].max()) // table.patch_px + 1, -1)
    corners = outlines[of_product].reshape(*shape, 4, 2)
    blocks = splits.ground_blocks(table.ground[of_product], block)
    blocks = blocks.reshape(*shape, blocks.shape[-1])
    right, below = ((np.diff(blocks, axis=axis) != 0).any(axis=2) for axis in (1, 0))
    return [*corners[:, :-1][right][:, 1:3], *corners[:-1][below][:, 2:]]


def leakage(result: Leakage) -> Figure:
    """Scores of one learner on the same pixels after three ways to deal the data, and what each pretends to gain.

    Where nothing was measured, it says why.
    """
    names = {"ground": "blocks of ground", "patches": "patches at random", "pixels": "pixels at random"}
    colors = {"ground": BLUE, "patches": ORANGE, "pixels": VERMILION}
    if result.refused:
        return plotting.words_only(result.to_text())
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.7), width_ratios=(1.15, 1))
    scores = np.array([result.miou[scheme] for scheme in SCHEMES])
    left.plot(range(len(SCHEMES)), scores, color="0.8", linewidth=0.8, zorder=1)
    for place, scheme in enumerate(SCHEMES):
        left.plot(np.full(scores.shape[1], place), scores[place], "o", color=colors[scheme], alpha=0.75, markersize=6)
        left.hlines(scores[place].mean(), place - 0.18, place + 0.18, color="black", linewidth=2)
    left.set_xticks(range(len(SCHEMES)), [names[scheme] for scheme in SCHEMES])
    left.set(ylabel="mIoU on the same test pixels", ylim=(0, None), xlim=(-0.5, len(SCHEMES) - 0.5))
    left.set_title(f"{scores.shape[1]} draws of test ground (lines), and their means (bars)")
    marks = {"miou": ("mIoU", "o", 0.1), "accuracy": ("pixel accuracy", "s", -0.1)}
    for place, scheme in enumerate(SCHEMES[:0:-1]):
        for score, (_, mark, shift) in marks.items():
            mean, low, high = (100 * value for value in result.gain(scheme, score))
            style = {"color": colors[scheme], "markerfacecolor": colors[scheme] if score == "miou" else "white"}
            right.errorbar(mean, place + shift, xerr=[[mean - low], [high - mean]], fmt=mark, capsize=4, **style)
            text = f"{mean:+.1f}".replace("-", "−")
            plotting.note(right, text, (high, place + shift), (7, 0), va="center", fontsize=9)
    right.axvline(0, color="0.4", linewidth=0.9)
    right.set_yticks(range(len(SCHEMES) - 1), [names[scheme] for scheme in SCHEMES[:0:-1]])
    right.set(xlabel="gain over blocks of ground (points)", ylim=(-0.5, len(SCHEMES) - 1.5))
    right.margins(x=0.15)
    keys = _dot_keys([name for name, *_ in marks.values()], [("0.3", mark) for _, mark, _ in marks.values()])
    keys[1].set_markerfacecolor("white")
    right.legend(handles=keys, loc="upper right")
    drawn = f"95 % intervals over {scores.shape[1]} draws of held-out blocks {coverage(COVERS)}: all are of one scene"
    plotting.footnote(fig, drawn)
    return fig
