"""The figures of scores: how good, how sure, how robust, who is taken for whom, and what one channel cannot tell.

Each is drawn from the content of ``report.json`` or from plain data. Colours are those of :mod:`alos2tut.plotting`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ... import plotting
from ...core.tables import Interval
from ...dataset.legend import IGNORE
from ...dataset.store import PatchDataset
from ...evaluation.ground import interval_notes, interval_unit
from ...evaluation.report import headline_lines
from ...evaluation.robustness import Robustness
from ...metrics import too_few
from ...plotting import BLUE, GREY, ORANGE, SKY, VERMILION
from ...pretraining.reconstruction import local_mean_db
from .pretraining import darkest_first

_COLORS = (BLUE, ORANGE)
_MARKS = ("o", "s")

Image = NDArray[np.floating[Any]]


def class_scores(report: Mapping[str, Any]) -> Figure:
    """IoU of every class, mIoU and accuracy of each model and of the floor; below the differences, with intervals.

    A model's scores that stand alone have their own intervals over ground. Of several, the differences have them: what
    makes ground easy or hard for both cancels out there. Absent classes stay empty and are named.
    """
    names, differences = report["classes"], _named_differences(report)
    drawn = plotting.drawable(names)
    models = [report["models"][role] for role in ("segmenter", "baseline", "floor") if role in report["models"]]
    rows, has_floor = 2 if differences else 1, "floor" in report["models"]
    fig, axes = plt.subplots(rows, 1, figsize=(9.6, 1.6 + 2.5 * rows), sharex=True, squeeze=False)
    places = np.array([*range(len(names)), len(names) + 0.5, len(names) + 1.5])
    (ax, below), intervals = (axes[0, 0], axes[-1, 0]), models[0]["intervals"]
    width, colors = 0.76 / max(len(models), 2), [*_COLORS[: len(models) - has_floor], GREY]
    for offset, (scores, color) in enumerate(zip(models, colors, strict=False)):
        of_classes = [scores["per_class"][name]["iou"] for name in names]
        values = np.array([*of_classes, scores["miou"], scores["pixel_accuracy"]], dtype=float)
        x = places + width * (offset - (len(models) - 1) / 2)
        name = f"{scores['initialisation']} initialisation" if "initialisation" in scores else "floor"
        label = f"{name}: mIoU {Interval.of(scores['miou'], None).to_text()}"
        ax.bar(x, values, width=0.95 * width, color=color, label=label)
        if not differences:
            bounds = [*(intervals["per_class"][name] for name in names), intervals["miou"], intervals["pixel_accuracy"]]
            plotting.error_bars(ax, x, values, bounds, "none", ecolor="0.25", linewidth=1)
        for place in x[values < 0.01]:
            plotting.note(ax, "0", (place, 0), color=color, ha="center")
    for offset, (name, difference) in enumerate(differences.items()):
        gains = [*(difference["per_class"][name] for name in names), difference["miou"], difference["pixel_accuracy"]]
        x = places + 0.2 * (offset - (len(differences) - 1) / 2)
        _differences(below, x, gains, _MARKS[offset], ("0.25", "0.6")[offset], label=name)
    if differences:
        below.set_ylabel("difference of\nIoU, accuracy")
        below.legend()
    absent = models[0]["absent"]
    ticks = [f"{text}\n(absent)" if name in absent else text for name, text in zip(names, drawn, strict=True)]
    below.set_xticks(places, [*ticks, "mIoU", "accuracy"], rotation=25, ha="right")
    ax.set(ylabel=f"IoU, accuracy\non the {report['split']} list", ylim=(0, 1))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 1.18), ncols=len(models))
    alone = {"in_one_block": plotting.drawable(intervals["in_one_block"])}
    plotting.footnote(fig, *interval_notes(intervals | alone, "bars with caps", interval_unit(report)))
    if lines := plotting.drawable(headline_lines(report)):
        text = "\n".join(textwrap.fill(line, 120, subsequent_indent="  ") for line in lines)
        fig.suptitle(text, x=0.01, ha="left", fontsize=plotting.SMALL, color=VERMILION)
        fig.set_figheight(fig.get_figheight() + 0.15 * len(text.splitlines()))
    return fig


def _named_differences(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A report's differences, by what is subtracted from what."""
    found, start = {}, {role: scores.get("initialisation") for role, scores in report["models"].items()}
    if report["difference"] is not None:
        is_start = start["segmenter"] != start["baseline"]
        pair = (start["segmenter"], start["baseline"]) if is_start else ("segmenter", "baseline")
        found["{} minus {}".format(*pair)] = report["difference"]
    if above := report.get("above_floor", {}).get("segmenter"):
        found[f"{start['segmenter'] if len(found) else 'segmenter'} minus floor"] = above
    return found


def confusion(report: Mapping[str, Any]) -> Figure:
    """Where the pixels of each reference class went, in percent of its row."""
    names = plotting.drawable(report["classes"])
    counts = np.array(report["models"]["segmenter"]["confusion_matrix"], dtype=float)
    with np.errstate(invalid="ignore"):
        percent = 100 * counts / counts.sum(axis=1, keepdims=True)
    side = 2.6 + 0.55 * len(names)
    fig, ax = plt.subplots(figsize=(side + 0.8, side))
    image = ax.imshow(percent, cmap="cividis", vmin=0, vmax=100)
    for row, col in np.ndindex(percent.shape):
        if percent[row, col] >= 0.5:
            color = "white" if percent[row, col] < 55 else "black"
            ax.text(
                col, row, f"{percent[row, col]:.0f}", ha="center", va="center", color=color, fontsize=plotting.SMALL
            )
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="reference")
    plotting.color_bar(image, ax, "pixels of the reference class (%)")
    return fig


def largest_confusions(report: Mapping[str, Any]) -> str:
    """The confusion matrix read aloud: the six largest shares of a reference class that were called another."""
    names, counts = report["classes"], np.array(report["models"]["segmenter"]["confusion_matrix"], dtype=float)
    rows = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    np.fill_diagonal(share, 0)
    order = np.argsort(share, axis=None, kind="stable")[::-1][:6]
    lines = []
    for row, col in zip(*np.unravel_index(order, share.shape), strict=True):
        if share[row, col] > 0:
            lines.append(f"of {names[row] + ',':<13} {share[row, col]:4.0%} was called {names[col]}")
    return "\n".join(lines) or "nothing was confused"


def reliability_curves(report: Mapping[str, Any]) -> Figure:
    """How often the segmenter is right against how sure it is, as it is and with its temperature; and the pixels.

    A calibrated model lies on the diagonal; below it, it is too sure.
    """
    calibration = report["models"]["segmenter"]["calibration"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9))
    curves = {"as it is": calibration["as_it_is"]}
    if (temperature := calibration["temperature"]) is not None:
        name = f"temperature {temperature['value']:.2f} (from {temperature['fitted_on']})"
        curves[name] = calibration["with_temperature"]
    for (name, curve), color, mark in zip(curves.items(), _COLORS, _MARKS, strict=False):
        bins = [b for b in curve["bins"] if b["pixels"]]
        text = f"{name}, ECE {Interval.of(curve['ece'], None).to_text()}"
        sure, right_share = ([b[key] for b in bins] for key in ("confidence", "accuracy"))
        left.plot(sure, right_share, f"{mark}-", color=color, markersize=4, label=text)
        middles = [(b["low"] + b["high"]) / 2 for b in curve["bins"]]
        pixels = np.array([b["pixels"] for b in curve["bins"]])
        right.plot(middles, 100 * pixels / max(pixels.sum(), 1), f"{mark}-", color=color, markersize=4)
    left.plot([0, 1], [0, 1], color="k", linewidth=0.8, linestyle="--")
    left.set(xlabel="confidence: largest probability", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    left.legend(loc="upper left", fontsize=9)
    right.set(xlabel="confidence", ylabel="pixels (%)", xlim=(0, 1))
    return fig


def class_threshold(
    probability: Image, labels: NDArray[np.uint8], db: Image, name: str, index: int, threshold: float, quantity: str
) -> Figure:
    """One class as a yes or no: where its probability exceeds a threshold, and what precision and recall that gives.

    Args:
        probability: (n, H, W) of the class.
        labels: (n, H, W) class indices.
        db: (H, W) of the first patch, of this ``quantity``.
        name: of the class.
        index: of the class.
        threshold: in 0…1.
        quantity: as a product states it.
    """
    (name,), known = plotting.drawable([name]), labels != IGNORE
    truth, given = (labels == index)[known], probability[known]
    thresholds = np.linspace(0.02, 0.98, 49)
    precision, recall = np.transpose([_precision_recall(given >= t, truth) for t in thresholds])
    here = _precision_recall(given >= threshold, truth)
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10.8, 3.7))
    limits = plotting.grey_limits(db)
    plotting.draw_grey(left, db, limits=limits)
    for there, color in ((labels[0] == index, SKY), (probability[0] >= threshold, VERMILION)):
        if there.any() and not there.all():
            left.contour(there, [0.5], colors=[color], linewidths=1.6)
    left.set(xticks=[], yticks=[], title=plotting.grey_range(quantity, limits))
    left.set_xlabel(f"blue: labelled as {name}\nred: probability ≥ {threshold:.2f}")
    shown = middle.imshow(probability[0], cmap="viridis", vmin=0, vmax=1)
    middle.set(xticks=[], yticks=[])
    plotting.color_bar(shown, middle, f"probability of {name}")
    right.plot(recall, precision, color=BLUE)
    right.plot(here[1], here[0], "o", color=VERMILION, label=f"threshold {threshold:.2f}")
    right.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), title=f"{len(labels)} patches")
    right.legend(loc="lower left")
    return fig


def _precision_recall(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[float, float]:
    right = float((said & truth).sum())
    return (right / said.sum() if said.any() else np.nan), (right / truth.sum() if truth.any() else np.nan)


def robustness_curves(found: Mapping[str, Robustness]) -> Figure:
    """mIoU of models on patches that were changed, by more speckle, coarser pixels, another gain; and what that costs.

    Below each other: mIoU; mIoU minus that of the unchanged patches; and, of two models, the first one's mIoU minus the
    other's. Differences have their own intervals over the blocks of ground, which are the same.
    """
    panels = {
        "added_looks": "looks of the added speckle",
        "multilook": "side of averaged squares (pixels)",
        "gain_db": "gain offset (dB)",
    }
    first, *others = found.values()
    rows = ["mIoU", "mIoU minus that\nof unchanged patches"]
    rows += [" minus\n".join(found)] if len(others) == 1 else []
    fig, axes = plt.subplots(len(rows), 3, figsize=(10.8, 0.8 + 2.3 * len(rows)), sharex="col", sharey="row")
    for column, (kind, text) in zip(axes.T, panels.items(), strict=True):
        for shift, (name, result), color, mark in zip((-0.06, 0.06), found.items(), _COLORS, _MARKS, strict=False):
            trials = result.curve(kind)
            place = np.arange(len(trials)) + shift
            values = np.array([trial.miou for trial in trials], dtype=float)
            column[0].plot(place, values, f"{mark}-", color=color, label=name)
            _differences(column[1], place, [trial.change for trial in trials], f"{mark}-", color)
        ticks = ["none" if trial.value is None else f"{trial.value:g}".replace("-", "−") for trial in first.curve(kind)]
        for other in others if len(rows) > 2 else []:
            pairs = zip(first.curve(kind), other.curve(kind), strict=True)
            gains = [one.score.minus(two.score) for one, two in pairs]
            _differences(column[2], np.arange(len(ticks)), gains, "D-", "0.25")
        column[-1].set_xticks(range(len(ticks)), ticks)
        column[-1].set_xlabel(text)
    for ax, text in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(text)
    axes[0, 0].set_ylim(0, None)
    axes[0, -1].legend(title=f"{first.split} list")
    intervals = {"blocks": first.blocks, "in_one_block": (), "refused": too_few(first.blocks)}
    plotting.footnote(fig, *interval_notes(intervals, "bars with caps"))
    return fig


def _differences(ax: Axes, places: Any, found: Sequence[Mapping[str, Any]], fmt: str, color: str, **style: Any) -> None:
    """Differences (``value``, ``interval``) beside the line of none."""
    values, intervals = ([difference[key] for difference in found] for key in ("value", "interval"))
    plotting.error_bars(ax, places, values, intervals, fmt, color=color, markersize=5, linewidth=1.2, **style)
    ax.axhline(0, color="k", linewidth=0.8, linestyle="--")
    low, high = ax.get_ylim()
    if high - low < 1e-9:  # nothing but rounding
        ax.set_ylim(-0.05, 0.05)


def class_overlap(dataset: PatchDataset) -> Figure:
    """What single-polarisation SAR has to tell classes by: brightness, and unevenness.

    Left: local mean power (7 × 7 pixels) of each class in dB. Right: the pixel's deviation from it, whose spread is
    speckle plus texture. Boxes hold half of the pixels, lines 90 %. At most 64 validation patches are looked at.
    """
    names = plotting.drawable(dataset.legend.names)
    db, around, labels = _looked_at(dataset)
    there = np.isfinite(db) & (labels != IGNORE)
    order = darkest_first(around[there], labels[there], len(names))
    colors = plotting.class_colors(dataset.legend)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.8, 0.36 * len(order) + 1.3), sharey=True)
    for ax, values in ((left, around), (right, db - around)):
        for place, i in enumerate(order):
            low, first, middle, third, high = np.percentile(values[there & (labels == i)], [5, 25, 50, 75, 95])
            ax.plot([low, high], [place, place], color="0.4", linewidth=1)
            ax.barh(place, third - first, left=first, height=0.62, color=colors[i], edgecolor="0.3", linewidth=0.6)
            ax.plot([middle, middle], [place - 0.31, place + 0.31], color="k", linewidth=1.4)
    left.set_yticks(range(len(order)), [names[i] for i in order])
    left.set(xlabel=f"local mean {plotting.first_channel_label(dataset.signal)}")
    right.set(xlabel="pixel above its local mean (dB)")
    return fig


def brightness_of_classes(dataset: PatchDataset) -> dict[str, float]:
    """The middle lines of :func:`class_overlap`'s left panel: median local mean of each class in dB, darkest first."""
    _, around, labels = _looked_at(dataset)
    there = np.isfinite(around) & (labels != IGNORE)
    order = darkest_first(around[there], labels[there], len(dataset.legend))
    return {dataset.legend.names[i]: float(np.median(around[there & (labels == i)])) for i in order}


def _looked_at(dataset: PatchDataset) -> tuple[Image, Image, NDArray[np.uint8]]:
    """Of at most 64 validation patches dB of the first channel, its local mean, and labels, (n, H, W)."""
    part = dataset.split("val")
    index = part.evenly(64)
    db, labels = np.stack([part.db(int(i))[0] for i in index]), part.gather(index)[1]
    return db, np.stack([local_mean_db(patch) for patch in db]), labels
