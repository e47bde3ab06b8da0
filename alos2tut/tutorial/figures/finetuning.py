"""The figures of notebook 4: the network, how training goes, what labels buy from each start, where models are wrong.

Each is drawn from plain data. Colours are those of :mod:`alos2tut.plotting`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from ... import plotting
from ...configs import describe_settings
from ...dataset.legend import IGNORE, Legend
from ...dataset.store import Split
from ...evaluation.comparison import interval_notes
from ...networks.bundle import Published
from ...plotting import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION
from ...segmentation.config import FinetuneConfig
from .pretraining import setting_text

#: how intervals over seeds, and over ground, are drawn
_SHOWN = ("bars with caps: ", "pale bars: ")
_STYLES = ((ORANGE, "s"), (BLUE, "o"), (GREEN, "^"), (VERMILION, "D"))


def network_diagram(segmenter: Any) -> Figure:
    """What an image goes through in a :class:`alos2tut.networks.segmenter.Segmenter`, with the size of every map."""
    import torch

    encoder, decoder = segmenter.encoder, segmenter.decoder
    channels, (height, width) = encoder.in_channels, encoder.image_px
    with torch.inference_mode():
        x = torch.zeros(1, channels, height, width)
        maps, beside = segmenter.seen(x)
    # a head on single pixels leaves the deepest map alone
    read = maps[:3] if decoder.by_pixel else maps
    fig, ax = plt.subplots(figsize=(10.4, 3.9))
    ax.set(xlim=(0, 104), ylim=(0, 39))
    ax.axis("off")
    _box(ax, (0, 24, 16, 10), f"image\n{channels} × {height} × {width}\nstandardised dB", GREY)
    arrow: dict[str, Any] = {"arrowprops": {"arrowstyle": "->", "color": "0.3"}}
    for index, level in enumerate(maps):
        left = 21 + 17 * index
        _box(ax, (left, 24, 13, 10), f"stage {index + 1}\n{_size(level)}", BLUE)
        ax.annotate("", (left, 29), (left - 4 if index else 16, 29), **arrow)
        if index < len(read):
            ax.annotate("", (left + 6.5, 12), (left + 6.5, 24), **arrow)
    _box(ax, (21, 2, 64, 10), f"decoder '{segmenter.decoder_kind}'\nlogits of {len(segmenter.legend)} classes", ORANGE)
    if decoder.by_pixel:
        windows = f"mean and variation\nof power in windows\n{beside.shape[1]} × {height} × {width}"
        _box(ax, (0, 2, 16, 10), windows, SKY)
        ax.annotate("", (8, 12), (8, 24), **arrow)
        ax.annotate("", (21, 7), (16, 7), **arrow)
    elif segmenter.decoder_kind == "refined":
        ax.annotate("", (21, 7), (8, 24), **arrow)
    _box(ax, (90, 2, 14, 10), f"land cover\n{height} × {width}", GREEN)
    ax.annotate("", (90, 7), (85, 7), **arrow)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (encoder, decoder)]
    for name, size, height_at in zip(("encoder", "decoder"), sizes, (35.5, 13.2), strict=True):
        ax.text(21 if name == "encoder" else 85, height_at, f"{name}: {size:,} parameters", fontsize=9.5,
                ha="left" if name == "encoder" else "right")  # fmt: skip
    return fig


def _box(ax: Axes, place: tuple[float, float, float, float], text: str, color: str) -> None:
    left, bottom, width, height = place
    style: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=1", "facecolor": color, "alpha": 0.25}
    ax.add_patch(FancyBboxPatch((left, bottom), width, height, edgecolor="none", **style))
    ax.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=9)


def _size(level: Any) -> str:
    channels, height, width = level.shape[1:]
    return f"{channels} maps\nof {height} × {width}"


def parameters_table(segmenter: Any, mode: str) -> str:
    """How many parameters each part of a segmenter has, and how many of them learn in a ``mode``, in Markdown."""
    sizes: dict[str, list[int]] = {}
    for name, parameter in segmenter.named_parameters():
        part = sizes.setdefault(_part_of(name), [0, 0])
        # neither takes part in segmentation
        idle = name.startswith("encoder.") and (mode != "full" or re.search(r"mask_token|^encoder\.\w+\.norm\.", name))
        part[0] += parameter.numel()
        part[1] += 0 if idle else parameter.numel()
    rows = [("part", "parameters", "trained here"), ("---", "---:", "---:")]
    rows += [(part, f"{all_of:,}", f"{learning:,}") for part, (all_of, learning) in sizes.items()]
    totals = [f"**{sum(of[at] for of in sizes.values()):,}**" for at in (0, 1)]
    rows.append(("**in all**", totals[0], totals[1]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


#: settings that notebook 4 shows
_SHOWN_SETTINGS = (
    "mode", "decoder", "decoder_width", "dropout", "loss", "class_weighting", "loss_pixels", "mirror", "batch_size",
    "epochs", "base_lr", "warmup_fraction", "layer_decay", "weight_decay", "drop_path", "validate_every",
)  # fmt: skip


def settings_table(paper: FinetuneConfig, here: FinetuneConfig) -> str:
    """Settings as a table in Markdown: in the profile ``paper``, used here, and what each means."""
    meanings = {name: meaning for name, _, meaning, _ in describe_settings("finetune")}
    rows = [("setting", "profile `paper`", "here", "meaning"), ("---",) * 4]
    for name in _SHOWN_SETTINGS:
        meaning = " ".join(meanings[name].split()).replace("|", r"\|").replace("``", "`")
        rows.append((f"`{name}`", setting_text(paper, name), setting_text(here, name), meaning))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _part_of(name: str) -> str:
    if name.startswith("decoder."):
        return f"decoder, `{name.split('.')[1]}`"
    if stage := re.search(r"\.layers\.(\d+)\.", name):
        return f"encoder, stage {int(stage[1]) + 1}"
    return "encoder, blocks" if ".blocks." in name else "encoder, embedding and last norm"


def published_curve(results: Sequence[Published]) -> Figure:
    """The longer run's mIoU over labelled patches by method, and the chosen pretraining's differences to the others."""
    scores = [one for one in results if one.minus is None]
    gains = [one for one in results if one.minus is not None and one.method == "chosen"]
    if not scores:
        return plotting.words_only("the benchmark of the longer run has no results yet")
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.8, 4.2), width_ratios=(1.25, 1))
    methods = dict.fromkeys(one.method for one in scores)
    styles = dict(zip(methods, ((GREY, "x"), *_STYLES, (SKY, "v"), ("k", "P")), strict=False))
    names = {one.method: one.name for one in scores}
    places = {labels: place for place, labels in enumerate(sorted({one.labels for one in scores}))}
    for ax, drawn, of in ((left, scores, "method"), (right, gains, "minus")):
        groups = dict.fromkeys(getattr(one, of) for one in drawn)
        for group, shift in zip(groups, np.linspace(-0.15, 0.15, max(len(groups), 2)), strict=False):
            mine = sorted((one for one in drawn if getattr(one, of) == group), key=lambda one: one.labels)
            color, mark = styles.get(group, ("0.25", "D"))
            miou = [one.miou for one in mine]
            ends = [None if one.low is None else (one.low, one.high) for one in miou]
            style = {"color": color, "markersize": 5, "label": names.get(group, group)}
            x = [places[one.labels] + shift for one in mine]
            plotting.error_bars(ax, x, [one.value for one in miou], ends, f"{mark}-", **style)
        shown = sorted({one.labels for one in drawn})
        ax.set_xticks([places[labels] for labels in shown], [str(labels) for labels in shown])
        ax.set(xlabel="labelled patches (simulated)")
        ax.set_xlim(places[shown[0]] - 0.6, places[shown[-1]] + 0.6)
    left.set(ylabel="mIoU on test ground (simulated)")
    right.axhline(0, color="k", linewidth=0.8, linestyle="--")
    right.set(ylabel=f"mIoU of '{names.get('chosen', 'chosen')}' minus")
    left.legend(fontsize=plotting.SMALL)
    right.legend(fontsize=plotting.SMALL)
    runs = sorted({one.runs for one in scores})
    spread = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
    covers = "95 % intervals; left over draws of training patches and first weights, right over these and test ground"
    plotting.footnote(fig, f"longer run on simulated scenes, {spread} trainings for each point", covers)
    return fig


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

    Left, dots are means over seeds, small marks the runs, crosses are the floor's; of several seeds lines join them.
    Beside it differences have
    two 95 % intervals, each of the difference itself: bars with caps over seeds (none for one), and pale ones over
    ground.
    """
    floor = sorted(comparison.get("floor", []), key=lambda entry: int(entry["budget"]))
    panels = 3 if floor else 2
    fig, axes = plt.subplots(1, panels, figsize=(min(5.2 * panels, 10.8), 3.8))
    left, right, above = axes[0], axes[1], axes[-1]
    names = list(dict.fromkeys(entry["start"] for entry in comparison["starts"]))
    shifts = np.exp(np.linspace(-0.04, 0.04, len(names)))
    for name, (color, mark), shift in zip(names, _STYLES, shifts, strict=False):
        entries = sorted((e for e in comparison["starts"] if e["start"] == name), key=lambda e: int(e["budget"]))
        budgets = np.array([entry["budget"] for entry in entries]) * shift
        # of one seed a line between two points would look like a trend
        line = f"{mark}-" if len(comparison["seeds"]) > 1 else mark
        style: dict[str, Any] = {"fmt": line, "color": color, "markersize": 5, "label": name}
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
        line = "x:" if len(comparison["seeds"]) > 1 else "x"
        left.plot([entry["budget"] for entry in floor], heights, line, color=GREY, markersize=6, label="floor")
        above.axhline(0, color="k", linewidth=0.8, linestyle="--")
        above.set(ylabel="mIoU minus that of the floor")
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
    fig, axes = plt.subplots(1, len(shown), figsize=(5.4 * len(shown), 3.8), sharey=True, squeeze=False)
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
    side = min(2.1, plotting.WIDEST / columns)
    shape = (side * columns, 1.03 * side * len(indices) + 0.7)
    fig, axes = plt.subplots(len(indices), columns, figsize=shape, squeeze=False)
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
            marked.set_xlabel(f"{wrong.sum() / max(known.sum(), 1):.1%} wrong")
        plotting.bare(*axis_row)
    titles = [plotting.patch_title(fig, signal, limits), "label"]
    for name in predicted:
        titles += [name, "errors"]
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
    frozen = "" if config.mode == "full" else "\nif the encoder is trained; here it is frozen"
    left.set(xlabel=f"share of the learning rate (layer decay {config.layer_decay:g}){frozen}")
    right.barh(names, np.array(sizes) / 1e6, color=GREY)
    right.set(xlabel="parameters at this rate (millions)")
    return fig
