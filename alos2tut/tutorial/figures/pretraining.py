"""The figures of notebook 3: what is hidden, what the weight does, how training goes, and what was learned.

Each is drawn from plain data. Colours are those of :mod:`alos2tut.plotting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, median_filter

from ... import plotting
from ...core.tables import Interval, coverage
from ...dataset.legend import IGNORE
from ...dataset.store import PatchDataset, Split
from ...metrics import COVERS
from ...plotting import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION
from ...pretraining.config import PretrainConfig
from ...pretraining.masks import draw_masks
from ...pretraining.mixmae import from_units, to_units, unit_statistics
from ...pretraining.probing import RANDOM, RAW, Probe
from ...pretraining.reconstruction import HiddenPixels, means_by_group
from ...pretraining.weighting import Weighting, sar_weights_db
from ...segmentation.config import FinetuneConfig

#: the ways to scale power, their names, colours and marks
WEIGHTINGS: dict[Weighting, tuple[str, str, str]] = {
    "sar": ("extremes (published)", ORANGE, "o"),
    "sar_percentile": ("percentiles 1–99", BLUE, "s"),
    "sar_ecdf": ("ranks", GREEN, "^"),
}
_OVER_PATCHES = f"95 % intervals over patches {coverage(COVERS)}; neighbours are alike, so rather too narrow"
_RUN_STYLES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"))
#: patches that are looked at for numbers
_LOOKED_AT = 64

Image = NDArray[np.floating[Any]]


def calmest_and_brightest(split: Split) -> list[int]:
    """Of 64 of a list's patches, evenly taken, those whose brightest pixel stands out least and most."""
    index = split.evenly(_LOOKED_AT)
    peaks = [np.nanmax(db) - np.nanmedian(db) for db in (split.db(int(i))[0] for i in index)]
    return [int(index[np.argmin(peaks)]), int(index[np.argmax(peaks)])]


def random_mask(side: int, unit_px: int, ratio: float, seed: int = 0) -> NDArray[np.bool_]:
    """A mask by pixel, (side, side), True where hidden."""
    generator = torch.Generator().manual_seed(seed)
    return np.asarray(draw_masks(1, (side, side), unit_px, 1, ratio, generator)[0])


def copied_from_neighbours(patch_db: Image, mask: NDArray[np.bool_]) -> Image:
    """What needs no learning: every hidden pixel takes the value of the nearest visible one; then a 7 × 7 median."""
    unknown = mask | np.isnan(patch_db)
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return np.asarray(median_filter(patch_db[tuple(nearest)], 7))


def mask_explorer(patches_db: Image, quantity: str) -> Figure:
    """The first of patches (n, H, W) under masks of several units and ratios, and how far copying goes, over all."""
    patch, side, ratios = patches_db[0], patches_db.shape[-1], (0.3, 0.6, 0.9)
    units_px = [unit for unit in (8, 16, 32) if side % unit == 0 and (side // unit) ** 2 >= 16]
    rows, cols = len(units_px), len(ratios)
    fig = plt.figure(figsize=(10.8, 1.1 + 2.05 * rows))
    grid = fig.add_gridspec(1, 2, width_ratios=(2.15 * cols, 5.6))
    panels, plot = fig.add_subfigure(grid[0]), fig.add_subfigure(grid[1])
    limits = plotting.grey_limits(patch)
    axes = panels.subplots(rows, cols, squeeze=False)
    for axis_row, unit in zip(axes, units_px, strict=True):
        axis_row[0].set_ylabel(f"unit {unit} px")
        for ax, ratio in zip(axis_row, ratios, strict=True):
            image = plotting.draw_grey(ax, np.where(random_mask(side, unit, ratio), np.nan, patch), limits=limits)
    plotting.bare(*axes.flat)
    for ax, ratio in zip(axes[0], ratios, strict=True):
        ax.set_title(f"{ratio:.0%} hidden")
    plotting.color_bar(image, axes, plotting.db_label(quantity), "bottom")
    _draw_copying(plot.subplots(), patches_db, units_px)
    return fig


def _draw_copying(ax: Axes, patches_db: Image, units_px: Sequence[int]) -> None:
    ratios = np.arange(0.1, 0.95, 0.1)
    for unit, color, mark in zip(units_px, (SKY, BLUE, VERMILION, GREEN), "osD^", strict=False):
        errors = []
        for ratio in ratios:
            masks = [random_mask(patches_db.shape[-1], unit, float(ratio), seed) for seed in range(len(patches_db))]
            pairs = list(zip(patches_db, masks, strict=True))
            errors.append(np.nanmean(np.concatenate([np.abs(copied_from_neighbours(p, m) - p)[m] for p, m in pairs])))
        ax.plot(100 * ratios, errors, f"{mark}-", color=color, label=f"unit {unit} px")
    speckle = np.nanmean([np.abs(median_filter(p, 7) - p) for p in patches_db])
    ax.axhline(speckle, color="k", linestyle="--", linewidth=0.8, label="nothing hidden: 7 × 7 median")
    ax.set(xlabel="share that is hidden (%)", ylabel="mean error at hidden pixels (dB)")
    ax.set_title(f"copying the nearest visible pixels\n({len(patches_db)} patches)")
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower right")


def one_mask(patch_db: Image, mask: NDArray[np.bool_], quantity: str) -> Figure:
    """A patch (H, W), what a mask leaves of it, and what copying the visible neighbours makes of that."""
    limits = plotting.grey_limits(patch_db)
    copied = copied_from_neighbours(patch_db, mask)
    fig, axes = plt.subplots(1, 3, figsize=(10.6, 3.7))
    pictures = {
        "patch": patch_db,
        f"seen: {mask.mean():.0%} hidden": np.where(mask, np.nan, patch_db),
        f"copied: {error_of_copying(patch_db, mask):.2f} dB off": np.where(mask, copied, patch_db),
    }
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        image = plotting.draw_grey(ax, picture, limits=limits)
        ax.set(xticks=[], yticks=[], title=title)
    plotting.color_bar(image, axes, plotting.db_label(quantity))
    return fig


def _draw_weight(ax: Axes, weight: Image, patch_db: Image, scale: float) -> AxesImage:
    """Weights (H, W) of a patch, nothing where it has no data."""
    weight = np.where(np.isnan(patch_db), np.nan, weight)
    return ax.imshow(weight, cmap="cividis", vmin=1, vmax=math.exp(scale))


def weight_maps(patches_db: Image, quantity: str, scale: float = 1.0) -> Figure:
    """Patches (n, H, W), and the weight of each pixel by each way of scaling power."""
    n = len(patches_db)
    fig, axes = plt.subplots(n, 4, figsize=(10.8, 3.0 * n + 0.3), squeeze=False)
    limits = plotting.grey_limits(patches_db)
    for row, patch_db in zip(axes, patches_db, strict=True):
        image = plotting.draw_grey(row[0], patch_db, limits=limits)
        for ax, weighting in zip(row[1:], WEIGHTINGS, strict=True):
            weight = sar_weights_db(patch_db, scale, weighting)
            shown, known = _draw_weight(ax, weight, patch_db, scale), weight[~np.isnan(patch_db)]
            ax.set_xlabel(f"median {np.median(known):.2f}, spread {np.std(known):.2f}")
    for ax, title in zip(axes[0], ["patch", *(name for name, *_ in WEIGHTINGS.values())], strict=True):
        ax.set_title(title)
    plotting.bare(*axes.flat)
    plotting.color_bar(image, axes[:, 0], plotting.db_label(quantity), "left")
    plotting.color_bar(shown, axes[:, 1:], "weight")
    return fig


def one_weight(patch_db: Image, weighting: Weighting, scale: float, quantity: str) -> Figure:
    """A patch (H, W), the weights of its pixels, and weight against brightness."""
    weight = sar_weights_db(patch_db, scale, weighting)
    fig, axes = plt.subplots(1, 3, figsize=(10.8, 3.5))
    image, shown = plotting.draw_grey(axes[0], patch_db), _draw_weight(axes[1], weight, patch_db, scale)
    axes[2].plot(patch_db.ravel(), weight.ravel(), ".", markersize=1.5, color=BLUE, rasterized=True)
    axes[2].set(xlabel=plotting.db_label(quantity), ylim=(0.98, 1.02 * math.exp(scale)))
    for ax, title in zip(axes, ["patch", WEIGHTINGS[weighting][0], "weight against brightness"], strict=True):
        ax.set_title(title)
    plotting.bare(*axes[:2])
    plotting.color_bar(image, axes[0], plotting.db_label(quantity))
    plotting.color_bar(shown, axes[1], "weight")
    return fig


def growing_target(patch_db: Image, scale: float = 1.0) -> Figure:
    """What one bright pixel in a patch (H, W), best a calm one, does to the weights of all others, by each scaling."""
    middle = patch_db.shape[0] // 2, patch_db.shape[1] // 2
    lowest = float(np.nanmax(patch_db))
    peaks = np.linspace(lowest, lowest + 30, 16)
    fig, (left, *maps) = plt.subplots(1, 4, figsize=(10.8, 3.4), width_ratios=(1.7, 1, 1, 1))
    for ax, (weighting, (name, color, mark)) in zip(maps, WEIGHTINGS.items(), strict=True):
        medians = []
        for peak in peaks:
            with_target = patch_db.copy()
            with_target[middle] = peak
            weight = sar_weights_db(with_target, scale, weighting)
            medians.append(np.median(weight[np.isfinite(patch_db)]))
        left.plot(peaks - np.nanmedian(patch_db), medians, f"{mark}-", color=color, markersize=4, label=name)
        shown = _draw_weight(ax, weight, patch_db, scale)
        ax.set(xticks=[], yticks=[], title=name)
    maps[1].set_xlabel("weights with the brightest target, which is at the centre")
    left.axhline(math.exp(scale), color="k", linewidth=0.8, linestyle="--")
    left.set(xlabel="target above the median (dB)", ylabel="weight of the median pixel")
    left.set_ylim(1, 1.04 * math.exp(scale))
    left.legend(loc="lower right")
    plotting.color_bar(shown, maps, "weight")
    return fig


def weight_by_class(dataset: PatchDataset, scale: float = 1.0) -> Figure:
    """How much a class's pixels count against the average pixel, by each way of scaling power; 1 is no weighting.

    Dots are means over at most 64 validation patches, bars their 95 % intervals over patches
    (:func:`alos2tut.pretraining.reconstruction.means_by_group`).
    """
    medians_db, weights = weights_of_classes(dataset, scale)
    names = plotting.drawable(medians_db)
    order = range(len(names))
    fig, ax = plt.subplots(figsize=(10.6, 3.6))
    for shift, (name, color, mark) in zip((-0.2, 0.0, 0.2), WEIGHTINGS.values(), strict=True):
        _dots(ax, np.arange(len(order)) + shift, weights[name], color, mark, name)
    ax.axhline(1, color="k", linewidth=0.8, linestyle="--")
    medians = [f"{db:.0f} dB".replace("-", "−") for db in medians_db.values()]
    ticks = [f"{name}\n{median}" for name, median in zip(names, medians, strict=True)]
    ax.set_xticks(order, ticks)
    ax.set(ylabel="weight over the mean weight", xlabel="class and its median, darkest first")
    ax.legend(ncols=3, loc="upper right")
    plotting.footnote(fig, _OVER_PATCHES)
    return fig


def weights_of_classes(
    dataset: PatchDataset, scale: float = 1.0
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """What :func:`weight_by_class` shows: by class, darkest first, the median dB; by way of scaling the weights.

    Weights are (classes, 3): the mean over the mean weight of all pixels, and the ends of its interval.
    """
    names, part = dataset.legend.names, dataset.split("val")
    index = part.evenly(_LOOKED_AT)
    db, labels = np.stack([part.db(int(i))[0] for i in index]), part.gather(index)[1]
    patch = np.broadcast_to(np.arange(len(index))[:, None, None], db.shape)
    there = np.isfinite(db) & (labels != IGNORE)
    order = darkest_first(db[there], labels[there], len(names))
    found = {}
    for weighting, (name, *_) in WEIGHTINGS.items():
        weight = sar_weights_db(db, scale, weighting)[there]
        means = means_by_group(weight / weight.mean(), labels[there].astype(int), len(names), patch[there])
        found[name] = means[order]
    return {names[i]: float(np.median(db[there & (labels == i)])) for i in order}, found


def _dots(ax: Axes, x: NDArray[Any], means: NDArray[np.float64], color: str, mark: str, label: str) -> None:
    """Means (n, 3) with their intervals."""
    plotting.error_bars(ax, x, means[:, 0], means[:, 1:], mark, color=color, markersize=5, linewidth=1.2, label=label)


def one_step(target_db: Image, mask: NDArray[np.bool_], guess_db: Image, weight: Image, quantity: str) -> Figure:
    """A training step of a patch (H, W): seen (``mask`` is True where hidden), guessed, the error, and it weighted."""
    error = np.where(mask, np.abs(guess_db - target_db), np.nan)
    limits = plotting.grey_limits(target_db)
    top = float(np.nanpercentile(error * weight, 99))
    fig, axes = plt.subplots(1, 4, figsize=(10.8, 3.5))
    plotting.draw_grey(axes[0], np.where(mask, np.nan, target_db), limits=limits)
    image = plotting.draw_grey(axes[1], guess_db, limits=limits)
    axes[2].imshow(error, cmap="viridis", vmin=0, vmax=top)
    shown = axes[3].imshow(error * weight, cmap="viridis", vmin=0, vmax=top)
    titles = ["what the network sees", "what it predicts at first", "error where hidden", "error × SAR weight"]
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xticks=[], yticks=[], title=title)
    plotting.color_bar(image, axes[:2], plotting.db_label(quantity))
    plotting.color_bar(shown, axes[2:], "|error| (dB), × weight")
    return fig


def two_objectives(
    patches_db: Image, hidden: NDArray[np.bool_], mixed: NDArray[np.bool_], unit_px: int, quantity: str
) -> Figure:
    """What SimMIM and MixMAE give the network of the first of two patches, and what they ask of it.

    Args:
        patches_db: (2, H, W), the second to be mixed with the first.
        hidden: (H, W), True where SimMIM hides the first.
        mixed: (H, W), True where MixMAE puts the second.
        unit_px: side of MixMAE's units.
        quantity: of the patches.
    """
    first, second = patches_db
    x = torch.from_numpy(np.nan_to_num(first, nan=float(np.nanmean(first))))[None, None]
    units = to_units(x, unit_px)
    mean, spread = unit_statistics(units, torch.ones((), dtype=torch.bool))
    grid = (first.shape[0] // unit_px, first.shape[1] // unit_px)
    normalised = from_units((units - mean) / spread, unit_px, grid)[0, 0].numpy()
    limits = plotting.grey_limits(patches_db)
    fig, axes = plt.subplots(2, 3, figsize=(10.4, 6.6))
    pictures = {
        "a patch": first,
        "SimMIM: what the network gets": np.where(hidden, np.nan, first),
        "SimMIM: what it has to predict": np.where(hidden, first, np.nan),
        "another patch": second,
        "MixMAE: what the network gets": np.where(mixed, second, first),
    }
    for ax, (title, picture) in zip(axes.flat, pictures.items(), strict=False):
        image = plotting.draw_grey(ax, picture, limits=limits)
        ax.set_title(title)
    shown = axes[1, 2].imshow(normalised, cmap="cividis", vmin=-2.5, vmax=2.5)
    axes[1, 2].set_title("MixMAE: what it has to predict")
    plotting.bare(*axes.flat)
    plotting.color_bar(image, axes[:, :2], plotting.db_label(quantity), "left")
    plotting.color_bar(shown, axes[1, 2], "standard deviations of the unit")
    return fig


def training_curves(runs: Mapping[str, str | Path], clip_norm: float) -> Figure:
    """The loss of the first run; the unweighted error of all, which compares them; gradient norm and learning rate."""
    fig, axes = plt.subplots(1, 4, figsize=(10.8, 3.1))
    tables = {name: plotting.read_metrics(folder) for name, folder in runs.items()}
    first = next(iter(tables))
    _curve(axes[0], tables[first], "loss", BLUE, first)
    axes[0].set(ylabel="loss", title=f"loss, {first}")
    for (name, table), (color, _) in zip(tables.items(), _RUN_STYLES, strict=False):
        _curve(axes[1], table, "mae_db", color, name)
        axes[2].plot(table["step"], plotting.smooth(table["grad_norm"]), color=color, linewidth=1)
    axes[1].set(ylabel="mean |error| (dB)", title="error at hidden pixels, unweighted")
    axes[1].legend(fontsize=9)
    axes[2].axhline(clip_norm, color="k", linestyle="--", linewidth=0.8)
    plotting.note(axes[2], "clipped above", (0, clip_norm), (2, 3), fontsize=plotting.SMALL)
    axes[2].set(ylabel="norm of the gradient", title="gradient, running mean", ylim=(0, 1.15 * clip_norm))
    axes[3].plot(tables[first]["step"], 1000 * tables[first]["lr"], color=VERMILION)
    axes[3].set(ylabel="learning rate ($10^{-3}$)", title="warm-up, then in steps")
    for ax in axes:
        ax.set_xlabel("optimiser step")
        ax.title.set_fontsize(9.5)
    return fig


def _curve(ax: Axes, table: NDArray[Any], column: str, color: str, name: str) -> None:
    ax.plot(table["step"], table[column], color=color, linewidth=0.5, alpha=0.4)
    ax.plot(table["step"], plotting.smooth(table[column]), color=color, label=name)


def reconstructions(folder: str | Path, signal: Mapping[str, Any]) -> Figure:
    """Patches that pretraining never saw: given, seen, and what the network made of the hidden part as it learned.

    Several polarisations are drawn in colour; copying is judged on the first, where pixels are what was asked. Where
    means in windows were, these are drawn; of log ratios there is nothing to draw.
    """
    with np.load(Path(folder) / "reconstructions.npz") as file:
        kept = dict(file)
    given, mask = kept["input_db"][:3], kept["mask"][:3]
    steps, guessed, errors = (kept[name][-5:] for name in ("step", "reconstruction_db", "error_db"))
    columns = 2 + len(steps)
    side = min(1.95, plotting.WIDEST / columns)
    shape = (side * columns, 1.1 * side * len(given) + 0.5)
    fig, axes = plt.subplots(len(given), columns, figsize=shape, squeeze=False)
    limits = plotting.patch_limits(given)
    for i, row in enumerate(axes):
        pictures = [given[i], np.where(mask[i], np.nan, given[i])]
        pictures += [np.where(mask[i], guess[i], given[i]) for guess in guessed]
        for ax, picture in zip(row, pictures, strict=True):
            plotting.draw_patch(ax, picture, limits)
        plotting.bare(*row)
        if "window_px" not in kept:
            row[1].set_xlabel(f"copying: {error_of_copying(given[i, 0], mask[i]):.2f} dB")
        for ax, error in zip(row[2:], errors[:, i], strict=True):
            ax.set_xlabel(f"error {error:.2f} dB")
    titles = [plotting.patch_title(fig, signal, limits), "seen", *(f"after step {step}" for step in steps)]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9.5)
    return fig


def error_of_copying(patch_db: Image, mask: NDArray[np.bool_]) -> float:
    """Mean absolute error in dB of :func:`copied_from_neighbours` at what is hidden."""
    return float(np.nanmean(np.abs(copied_from_neighbours(patch_db, mask) - patch_db)[mask]))


def errors_compared(runs: Mapping[str, HiddenPixels], names: Sequence[str]) -> Figure:
    """Errors at the same hidden pixels of two runs: by class, and by how a pixel stands out from its surroundings.

    Left: mean absolute error and mean error (guess minus truth) by class. Right: by the pixel's contrast to the mean
    power of 7 × 7 pixels around it, the absolute error, and the first run's minus the second's. Bars are 95 % intervals
    over patches, of one pair of runs: other seeds would add to them.
    """
    names, (first, second) = plotting.drawable(names), runs.values()
    order = darkest_first(first.truth_db, first.label, len(names))
    fig, ((top, right), (bottom, low)) = plt.subplots(2, 2, figsize=(10.8, 6.6), width_ratios=(1.25, 1))
    for (name, run), (color, mark), shift in zip(runs.items(), _RUN_STYLES, (-0.12, 0.12), strict=False):
        for ax, values in ((top, np.abs(run.error_db)), (bottom, run.error_db)):
            means = means_by_group(values, run.label.astype(int), len(names), run.patch)
            _dots(ax, np.arange(len(order)) + shift, means[order], color, mark, name)
        _errors_by_contrast(right, run, np.abs(run.error_db), shift, (color, mark, name))
    difference = np.abs(first.error_db) - np.abs(second.error_db)
    _errors_by_contrast(low, first, difference, 0, (VERMILION, "D", ""))
    for ax, text in [(top, "mean |error| (dB)"), (bottom, "mean error: guess − truth (dB)")]:
        ax.set_xticks(range(len(order)), [names[i] for i in order], rotation=20, ha="right")
        ax.set(ylabel=text, xlabel="class, darkest first")
    for ax in (bottom, low):
        ax.axhline(0, color="k", linewidth=0.8, linestyle="--")
    right.set(ylabel="mean |error| (dB)", title="by how a pixel stands out from its surroundings")
    right.set_xlabel("pixel against its surroundings (dB)")
    top.set_title("by class")
    low.set(ylabel=f"|error|: {' minus '.join(runs)} (dB)", xlabel="pixel against its surroundings (dB)")
    low.yaxis.label.set_fontsize(9)
    top.legend(loc="upper center", ncols=2)
    top.margins(y=0.25)
    top.set_ylim(bottom=0)
    plotting.footnote(fig, _OVER_PATCHES)
    return fig


def darkest_first(db: Image, label: NDArray[np.uint8], classes: int) -> list[int]:
    """Classes that pixels (n,) have, by the medians of their dB."""
    medians = {i: float(np.median(db[label == i])) for i in range(classes) if (label == i).any()}
    return sorted(medians, key=medians.__getitem__)


def _errors_by_contrast(ax: Axes, run: HiddenPixels, values: Image, shift: float, style: tuple[str, str, str]) -> None:
    """Means in steps of 2 dB of contrast, where there are a hundred pixels."""
    edges = np.arange(-17.0, 12.0, 2.0)
    step = np.digitize(run.truth_db - run.around_db, edges) - 1
    centres = edges[:-1] + 1
    counts = np.bincount(step[(step >= 0) & (step < len(centres))], minlength=len(centres))
    enough = np.flatnonzero(counts >= 100)
    means = means_by_group(values, step, len(centres), run.patch)
    _dots(ax, centres[enough] + 2 * shift, means[enough], *style)


def errors_table(runs: Mapping[str, HiddenPixels]) -> str:
    """Mean absolute error of each run, and the difference of the first two pixel by pixel, with 95 % intervals."""

    def line(name: str, values: Image, patch: NDArray[Any]) -> str:
        mean, *ends = means_by_group(values, np.zeros(len(values), int), 1, patch)[0].tolist()
        return f"{name:<28}  {Interval.of(mean, None if math.isnan(ends[0]) else ends, COVERS).to_text()}"

    lines = [f"{'mean |error| (dB)':<28}  {_OVER_PATCHES}"]
    lines += [line(name, np.abs(run.error_db), run.patch) for name, run in runs.items()]
    (first, one), (second, other) = list(runs.items())[:2]
    lines.append(line(f"{first} minus {second}", np.abs(one.error_db) - np.abs(other.error_db), one.patch))
    return "\n".join(lines)


def probe_scores(probe: Probe) -> Figure:
    """Balanced accuracy of every method, a panel for each task and probe, with 95 % intervals and each seed's score.

    Below, what an encoder has more than the baselines, and than the first encoder, with intervals of their own: seeds
    share what is learned from, so that two intervals that overlap above may still belong to a clear difference.
    """
    judged, methods = probe.judgements, probe.methods
    if not judged:
        lines = [(f"{task.name}: {task.refused}", task.few_to_text() if task.few else "") for task in probe.tasks]
        reasons = "\n".join(plotting.drawable(line for pair in lines for line in pair if line))
        return plotting.words_only(f"nothing can be judged\n{reasons}")
    heights = len(methods), len(probe.compared)
    few = {task.name: zip(plotting.drawable(task.few), task.few.values(), strict=True) for task in probe.tasks}
    shape = (min(4.1 * len(judged), plotting.WIDEST), 2.8 + 0.4 * sum(heights))
    fig, axes = plt.subplots(2, len(judged), figsize=shape, sharey="row", squeeze=False, height_ratios=heights)
    for ax, below, (task, kind) in zip(*axes, judged, strict=True):
        for row, method in enumerate(methods):
            score = probe.score(method, task.name, kind)
            color = {RANDOM: GREY, RAW: ORANGE}.get(method, BLUE)
            ax.plot(score.by_seed, np.full(len(score.by_seed), row + 0.25), "|", color=color, markersize=7)
            low, high = score.interval.low, score.interval.high
            ends = None if low is None or high is None else [[score.mean - low], [high - score.mean]]
            ax.errorbar(score.mean, row, xerr=ends, fmt="o", color=color, capsize=4)
        ax.axvline(task.chance, color=VERMILION, linestyle="--", linewidth=1)
        style: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "color": VERMILION, "va": "top"}
        plotting.note(ax, "chance", (task.chance, 1), (3, -2), fontsize=plotting.SMALL, **style)
        ax.set(title=f"{task.name} of {task.size}:\n{kind} probe", xlabel="balanced accuracy on 'val'", xlim=(0, 1))
        ax.set(yticks=range(len(methods)), yticklabels=methods, ylim=(len(methods) - 0.4, -0.6))
        ax.grid(axis="x", alpha=0.3)
        for row, pair in enumerate(probe.compared):
            one, other = (probe.score(method, task.name, kind) for method in pair)
            gain = one.minus(other)
            plotting.error_bars(below, [gain.value], [row], [None], "o", color="0.25")
            if gain.low is not None:
                below.plot([gain.low, gain.high], [row, row], "|-", color="0.25", markersize=7)
        below.axvline(0, color="k", linewidth=0.8, linestyle="--")
        below.set(yticks=range(heights[1]), yticklabels=[f"{one} minus {other}" for one, other in probe.compared])
        below.set(xlabel="difference", ylim=(heights[1] - 0.4, -0.6))
    named = (replace(task, few=dict(few[task.name])) for task in probe.tasks)
    plotting.footnote(
        fig, *probe.covers.splitlines(), *(f"{task.name}: {task.few_to_text()}" for task in named if task.few)
    )
    return fig


#: settings, what is published of them (arXiv 2603.15119 and its authors' code), and why ours differ where they do
_PUBLISHED: tuple[tuple[str, str, str], ...] = (
    ("encoder", "Swin-B, window 8, position embedding, 256 px", ""),
    ("mask_unit_px", "16", ""),
    ("mask_ratio", "0.6", ""),
    ("loss", "l1", ""),
    ("weighting", "sar (code, YAML and README leave it off)", "the method's point: on unless told otherwise"),
    ("weight_scale", "1 (of SAR-W-MixMAE)", "not stated for SimMIM: same authors, same name"),
    ("normaliser", "not stated", "count: weight 1 then is SimMIM to the bit"),
    ("batch_size", "8 GPUs × 256", "counted over all processes"),
    ("epochs", "800", ""),
    ("base_lr", "1e-4 per 512 samples", "small profiles state lr itself"),
    ("warmup_fraction", "40 of 800 epochs", ""),
    ("warmup_lr", "5e-7", ""),
    ("lr_drops", "× 0.1 at 700 of 800 epochs", ""),
    ("weight_decay", "0.05, none on 1-D, biases, tables, mask token", ""),
    ("betas", "0.9, 0.999", ""),
    ("clip_norm", "5", ""),
    ("drop_path", "0", ""),
    ("precision", "mixed, float16", "bfloat16 needs no loss scaling"),
)


def settings_table(paper: PretrainConfig, here: PretrainConfig) -> str:
    """Every setting as a table in Markdown: published, in the profile ``paper``, used here, and why they differ."""
    rows = [("setting", "published", "profile `paper`", "here", "why, where ours differs"), ("---",) * 5]
    for name, published, why in _PUBLISHED:
        rows.append((f"`{name}`", published, setting_text(paper, name), setting_text(here, name), why))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def setting_text(config: PretrainConfig | FinetuneConfig, name: str) -> str:
    """A setting's value as a table shows it: steps or a plain learning rate where the profile states these."""
    value = getattr(config, name)
    if name == "encoder":
        kind = f"width {value.embed_dim}, depths {'-'.join(map(str, value.depths))}"
        return f"{value.kind}, {kind}" + (f", window {value.window_size}" if value.kind == "swin" else "")
    if name == "base_lr" and config.lr is not None:
        return f"lr {config.lr:g}"
    if name == "epochs" and config.steps is not None:
        return f"{config.steps} steps"
    values = value if isinstance(value, tuple) else (value,)
    return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
