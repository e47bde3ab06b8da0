"""The figures of notebook 4: how training goes, what labels buy from each start, and where models are wrong.

Each is drawn from plain data. Colours are those of :mod:`alos2tut.plotting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from ... import plotting
from ...dataset.legend import IGNORE, Legend
from ...dataset.store import Split
from ...evaluation.comparison import interval_notes
from ...plotting import BLUE, GREEN, GREY, ORANGE, VERMILION

#: how intervals over seeds, and over ground, are drawn
_SHOWN = ("bars with caps: ", "pale bars: ")
_STYLES = ((ORANGE, "s"), (BLUE, "o"), (GREEN, "^"), (VERMILION, "D"))


def validation_curves(folders: Mapping[str, str | Path]) -> Figure:
    """Training loss and validation mIoU of several runs."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.2))
    for (name, folder), color, mark in zip(folders.items(), (BLUE, ORANGE, GREEN, VERMILION), "osD^", strict=False):
        table = plotting.read_metrics(folder)
        left.plot(table["step"], plotting.smooth(table["loss"]), color=color, label=name)
        scored = np.isfinite(table["val_miou"])
        right.plot(table["step"][scored], table["val_miou"][scored], f"{mark}-", color=color, label=name)
    left.set(xlabel="optimiser step", ylabel="training loss (running mean)")
    right.set(xlabel="optimiser step", ylabel="validation mIoU")
    right.margins(y=0.1)
    right.set_ylim(bottom=0)
    left.legend()
    return fig


def label_efficiency(comparison: Mapping[str, Any]) -> Figure:
    """mIoU on the test list over labelled patches, from each start; and differences to the first start and the floor.

    Left, dots are means over seeds, small marks the runs, the dotted line is the floor's. Beside it differences have
    two 95 % intervals, each of the difference itself: bars with caps over seeds (none for one), and pale ones over
    ground.
    """
    floor = sorted(comparison.get("floor", []), key=lambda entry: int(entry["budget"]))
    panels = 3 if floor else 2
    fig, axes = plt.subplots(1, panels, figsize=(5.6 * panels, 3.8))
    left, right, above = axes[0], axes[1], axes[-1]
    names = list(dict.fromkeys(entry["start"] for entry in comparison["starts"]))
    shifts = np.exp(np.linspace(-0.04, 0.04, len(names)))
    for name, (color, mark), shift in zip(names, _STYLES, shifts, strict=False):
        entries = sorted((e for e in comparison["starts"] if e["start"] == name), key=lambda e: int(e["budget"]))
        budgets = np.array([entry["budget"] for entry in entries]) * shift
        style: dict[str, Any] = {"fmt": f"{mark}-", "color": color, "markersize": 5, "label": name}
        left.errorbar(budgets, np.array([entry["mean"]["miou"] for entry in entries], dtype=float), **style)
        for budget, entry in zip(budgets, entries, strict=True):
            runs = [run["miou"] for run in entry["runs"]]
            left.plot([budget] * len(runs), runs, "_", color=color, markersize=9, alpha=0.6)
        if floor:
            _gains(above, budgets, [entry["above_floor"]["miou"] for entry in entries], **style)
        if name != comparison["first"]:
            _gains(right, budgets, [entry["difference"]["miou"] for entry in entries], **style)
    if floor:
        heights = [entry["mean"]["miou"] for entry in floor]
        left.plot([entry["budget"] for entry in floor], heights, "x:", color=GREY, markersize=6, label="floor")
        above.axhline(0, color="k", linewidth=0.8, linestyle="--")
        above.set(ylabel="mIoU minus the floor's")
    right.axhline(0, color="k", linewidth=0.8, linestyle="--")
    left.margins(y=0.1)
    left.set(ylabel="mIoU on the test list")
    left.set_ylim(bottom=0)
    right.set(ylabel=f"mIoU minus that of '{comparison['first']}'")
    for ax in axes:
        ticks = sorted({entry["budget"] for entry in comparison["starts"]})
        ax.set(xscale="log", xlabel="labelled patches")
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.minorticks_off()
        ax.xaxis.set_major_formatter(ScalarFormatter())
    left.legend()  # for both: on the right it would lie on the intervals
    _footnote(fig, comparison)
    return fig


def _footnote(fig: Figure, comparison: Mapping[str, Any]) -> None:
    alone = {"in_one_block": plotting.drawable(comparison["in_one_block"])}
    plotting.footnote(fig, *interval_notes({**comparison, **alone}, _SHOWN))


def _gains(ax: Axes, places: Any, gains: Sequence[Mapping[str, Any]], **style: Any) -> None:
    """Differences with their intervals over seeds, and over ground as pale bars behind."""
    means = [gain["mean"] for gain in gains]
    behind = {"ecolor": style["color"], "elinewidth": 6, "alpha": 0.3, "capsize": 0}
    plotting.error_bars(ax, places, means, [gain["ground"] for gain in gains], "none", **behind)
    plotting.error_bars(ax, places, means, [gain["interval"] for gain in gains], **style)


def class_gains(comparison: Mapping[str, Any]) -> Figure:
    """IoU of every class minus that of the first start, by start, for the smallest and the largest budget.

    Intervals are as in :func:`label_efficiency`; a class that lies in one block of the test list has none over ground.
    """
    names = [name for name in dict.fromkeys(e["start"] for e in comparison["starts"]) if name != comparison["first"]]
    budgets = sorted({entry["budget"] for entry in comparison["starts"]})
    shown = [budgets[0], budgets[-1]] if len(budgets) > 1 else budgets
    classes = comparison["classes"]
    drawn = plotting.drawable(classes)
    fig, axes = plt.subplots(1, len(shown), figsize=(6.0 * len(shown), 3.8), sharey=True, squeeze=False)
    for ax, budget in zip(axes[0], shown, strict=True):
        for name, (color, mark), shift in zip(names, _STYLES[1:], np.linspace(-0.15, 0.15, len(names)), strict=False):
            entry = next(e for e in comparison["starts"] if (e["start"], e["budget"]) == (name, budget))
            gains = [entry["iou_difference"][c] for c in classes]
            place = np.arange(len(classes)) + (shift if len(names) > 1 else 0)
            _gains(ax, place, gains, fmt=mark, color=color, label=name)
        ax.axhline(0, color="k", linewidth=0.8, linestyle="--")
        ax.set_xticks(range(len(classes)), drawn, rotation=30, ha="right")
        ax.set_title(f"{budget} labelled patches")
    axes[0, 0].set_ylabel(f"IoU minus that of '{comparison['first']}'")
    axes[0, 0].legend()
    _footnote(fig, comparison)
    return fig


def errors_shown(
    split: Split,
    indices: Sequence[int],
    predicted: Mapping[str, NDArray[np.uint8]],
    legend: Legend,
    signal: Mapping[str, Any],
) -> Figure:
    """Patches, labels, what each model says, and where it errs.

    ``predicted`` holds (n, H, W) classes by model; several polarisations are drawn in colour.
    """
    labels = split.gather(list(indices))[1]
    columns = 2 + 2 * len(predicted)
    fig, axes = plt.subplots(len(indices), columns, figsize=(2.1 * columns, 2.15 * len(indices) + 0.7), squeeze=False)
    limits = plotting.patch_limits(np.stack([split.db(int(i)) for i in indices]))
    for row, (axis_row, index) in enumerate(zip(axes, indices, strict=True)):
        backscatter, known = split.db(int(index)), labels[row] != IGNORE
        plotting.draw_patch(axis_row[0], backscatter, limits)
        plotting.draw_land_cover(axis_row[1], labels[row], legend, None)
        for place, classes in enumerate(predicted.values()):
            wrong = known & (classes[row] != labels[row])
            said, marked = axis_row[2 + 2 * place : 4 + 2 * place]
            plotting.draw_land_cover(said, np.where(known, classes[row], IGNORE), legend, None)
            plotting.draw_patch(marked, backscatter, limits)
            overlay = np.zeros((*wrong.shape, 4))
            overlay[wrong] = (0.835, 0.369, 0.0, 0.75)  # vermilion
            marked.imshow(overlay)
            marked.set_xlabel(f"{wrong.sum() / max(known.sum(), 1):.0%} wrong")
        plotting.bare(*axis_row)
    titles = [plotting.patch_title(fig, signal, limits), "label"]
    for name in predicted:
        titles += [name, "where wrong"]
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9.5)
    plotting.class_key(fig, legend)
    return fig


def learning_rates(segmenter: Any, config: Any) -> Figure:
    """Which share of the learning rate each layer gets, from the image to the classes; and how many parameters it has.

    Of a :class:`alos2tut.networks.segmenter.Segmenter`, by :class:`alos2tut.segmentation.config.FinetuneConfig`.
    """
    from ...networks.encoders import parameter_groups

    groups = parameter_groups(segmenter, config.weight_decay, config.layer_decay)
    rates = sorted({group["lr_scale"] for group in groups})
    sizes = [sum(p.numel() for g in groups if g["lr_scale"] == rate for p in g["params"]) for rate in rates]
    names = ["embedding", *(f"block {i + 1}" for i in range(len(rates) - 2)), "decoder"][-len(rates) :]
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.2), sharey=True)
    left.barh(names, rates, color=BLUE)
    frozen = "" if config.mode == "full" else "\nwhere the encoder learns: here it is frozen"
    left.set(xlabel=f"share of the learning rate (layer decay {config.layer_decay:g}){frozen}")
    right.barh(names, np.array(sizes) / 1e6, color=GREY)
    right.set(xlabel="parameters that learn at it (millions)")
    return fig
