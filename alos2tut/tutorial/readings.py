"""What came of a prediction: lines of text that notebooks print below a figure, made of the numbers that it shows.

Each compares what was found with what the notebook said before, so that no sentence depends on how a run went. A
difference agrees with a prediction, or speaks against it, only where its 95 % interval does not hold zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.tables import NOTHING, Interval
from ..dataset.legend import IGNORE
from ..evaluation.robustness import KINDS, Robustness
from ..metrics import classes_named, water_classes
from ..networks.bundle import Published
from ..plotting import read_metrics
from ..pretraining.probing import RANDOM, RAW, Probe
from ..pretraining.reconstruction import HiddenPixels, means_by_group
from .figures.pretraining import error_of_copying
from .map_view import TOWN, MapView, agreement_by_confidence

#: dB by which a pixel stands out from its surroundings where it is called a fade or a flash
_STANDS_OUT_DB = 3.0


def verdict(gain: Interval, expected: int = 1) -> str:
    """Whether a difference has the sign (1 or −1) that was expected of it."""
    if gain.value is None:
        return "cannot be said here"
    if gain.low is None or gain.high is None:
        return "undecided: there is no interval"
    if gain.low <= 0 <= gain.high:
        return "undecided: the interval contains 0"
    return "as predicted" if (gain.low > 0) == (expected > 0) else "against the prediction"


def _told(what: str, gain: Interval, expected: int = 1, unit: str = "") -> str:
    return f"{what}: {gain.to_text(signed=True)}{unit}: {verdict(gain, expected)}"


# --- notebook 3 ------------------------------------------------------------------------------------------------------


def training(runs: Mapping[str, str | Path]) -> str:
    """By how much the error at hidden pixels fell in pretrainings: mean of the first and of the last tenth of steps."""
    lines = []
    for name, folder in runs.items():
        errors = read_metrics(folder)["mae_db"]
        errors = errors[np.isfinite(errors)]
        tenth = max(1, len(errors) // 10)
        first, last = float(errors[:tenth].mean()), float(errors[-tenth:].mean())
        agrees = "as predicted, it fell" if last < first else "against the prediction, it did not fall"
        lines.append(f"{name}: {first:.2f} dB in the first tenth of the steps, {last:.2f} dB in the last: {agrees}")
    return "\n".join(lines)


def class_weights(order: Sequence[str], weights: Mapping[str, NDArray[np.float64]]) -> str:
    """Whether dark classes gain by weights and bright ones lose.

    Args:
        order: classes, darkest first.
        weights: by way of scaling the weight of each class over the mean one, (classes, 3) in that order: mean and
            interval.
    """
    lines = []
    for name, means in weights.items():
        ends = {of: means[at] for of, at in (("darkest", 0), ("brightest", -1))}
        (dark, *dark_ends), (bright, *bright_ends) = (end.tolist() for end in ends.values())
        gains = (
            Interval.of(dark - 1, _known([end - 1 for end in dark_ends])),
            Interval.of(bright - 1, _known([end - 1 for end in bright_ends])),
        )
        told = verdict(gains[0], 1), verdict(gains[1], -1)
        lines.append(f"{name}: {order[0]} × {dark:.3f} ({told[0]}), {order[-1]} × {bright:.3f} ({told[1]})")
    return "\n".join(lines)


def _known(ends: Sequence[float]) -> Sequence[float] | None:
    return ends if np.isfinite(ends).all() else None


def reconstructions(folder: str | Path) -> str:
    """How a pretraining's last guesses compare with copying what is visible, patch by patch."""
    with np.load(Path(folder) / "reconstructions.npz") as file:
        kept = dict(file)
    given, mask, errors = kept["input_db"], kept["mask"], kept["error_db"]
    if "window_px" in kept or given.shape[1] > 1 or not len(errors):
        return "Copying predicts pixels of one channel, so it cannot be compared with what this run predicts."
    copied = [error_of_copying(patch[0], hidden) for patch, hidden in zip(given, mask, strict=True)]
    better = int((errors[-1] < copied).sum())
    return (
        f"after the last step the error is below that of copying in {better} of {len(copied)} patches: "
        f"{errors[-1].mean():.2f} dB against {np.mean(copied):.2f} dB on average"
    )


def fades_and_flashes(runs: Mapping[str, HiddenPixels]) -> str:
    """Of two runs the first one's error minus the other's, at pixels far below and far above their surroundings."""
    (first, one), (second, other) = runs.items()
    contrast, gain = one.truth_db - one.around_db, np.abs(one.error_db) - np.abs(other.error_db)
    group = np.select([contrast < -_STANDS_OUT_DB, contrast > _STANDS_OUT_DB], [0, 1], default=-1)
    found = means_by_group(gain, group, 2, one.patch)
    lines = [f"error of '{first}' minus that of '{second}' at pixels that stand out by over {_STANDS_OUT_DB:g} dB"]
    for what, expected, (mean, *ends) in zip(("fades", "flashes"), (-1, 1), found.tolist(), strict=True):
        lines.append(_told(f"  {what}", Interval.of(mean, _known(ends)), expected, " dB"))
    return "\n".join(lines)


def probed(judged: Probe) -> str:
    """How many of the probes show an encoder above, or below, the two baselines."""
    lines = []
    for name in (method for method in judged.methods if method not in (RANDOM, RAW)):
        for baseline in (RANDOM, RAW):
            gains = [
                judged.score(name, task.name, kind).minus(judged.score(baseline, task.name, kind))
                for task, kind in judged.judgements
            ]
            above, below = (sum(gain.low is not None and test(gain) for gain in gains) for test in (_above, _below))
            rest = len(gains) - above - below
            lines.append(f"{name} against {baseline}: better in {above}, worse in {below}, undecided in {rest} probes")
    return "\n".join(lines) or "nothing was judged"


def _above(gain: Interval) -> bool:
    return gain.low is not None and gain.low > 0


def _below(gain: Interval) -> bool:
    return gain.high is not None and gain.high < 0


def published(results: Sequence[Published], method: str, minus: str) -> str:
    """A difference of the longer run by number of labels; what was predicted is that it is above zero."""
    names = {"sar_w": "SAR-W-SimMIM", "simmim": "SimMIM"} | {one.method: one.name for one in results}
    gains = sorted((one for one in results if (one.method, one.minus) == (method, minus)), key=lambda one: one.labels)
    lines = [_told(f"  {one.labels} labels, {one.runs} training{'s' * (one.runs > 1)}", one.miou) for one in gains]
    title = f"longer run, simulated: mIoU of '{names.get(method, method)}' minus '{names.get(minus, minus)}'"
    return "\n".join([title, *lines] if lines else [f"{title}: the benchmark has no such runs yet"])


# --- notebook 4 ------------------------------------------------------------------------------------------------------


def validated(runs: Mapping[str, str | Path]) -> str:
    """Validation mIoU of fine-tunings, at the first and at the last validation."""
    lines = []
    for name, folder in runs.items():
        scores = read_metrics(folder)["val_miou"]
        scores = scores[np.isfinite(scores)]
        lines.append(f"{name}: mIoU {scores[0]:.3f} at the first validation, {scores[-1]:.3f} at the last")
    return "\n".join([*lines, "One seed each: which is ahead here may be chance."])


def compared(content: Mapping[str, Any]) -> str:
    """What pretraining adds with few and with many labels, and whether a start is above the floor."""
    budgets = sorted({entry["budget"] for entry in content["starts"]})
    lines = []
    for entry in content["starts"]:
        if entry["budget"] not in (budgets[0], budgets[-1]):
            continue
        where = f"{entry['start']}, {entry['budget']} labels"
        gains = {"floor": entry["above_floor"]} if entry.get("above_floor") else {}
        if entry["start"] != content["first"]:
            gains = {content["first"]: entry["difference"]} | gains
        for other, gain in gains.items():
            # over seeds where there are several: these cover the draw of patches, which varies most
            found = gain["miou"]
            ends, over = (found["interval"], "seeds") if found["interval"] else (found["ground"], "ground")
            lines.append(_told(f"{where}, minus {other} (over {over})", Interval.of(found["mean"], ends)))
    one = ["One seed: another training may differ by more than these intervals over ground."]
    return "\n".join([*lines, *(one if len(content["seeds"]) == 1 else [])])


def class_gains(content: Mapping[str, Any]) -> str:
    """Whether built-up ground gains more from pretraining than water does, with the fewest labels."""
    names, budget = content["classes"], min(entry["budget"] for entry in content["starts"])
    towns, waters = classes_named(names, TOWN), water_classes(names)
    if not (towns and waters):
        return "This legend has no class of built-up ground, or none of water: the prediction cannot be checked here."
    lines = []
    for entry in content["starts"]:
        if entry["start"] == content["first"] or entry["budget"] != budget:
            continue
        town, water = (entry["iou_difference"][names[of[0]]] for of in (towns, waters))
        texts = [Interval.of(gain["mean"], gain["interval"] or gain["ground"]) for gain in (town, water)]
        if any(gain.value is None for gain in texts):
            lines.append(f"{entry['start']}: one of the two classes has no test pixels")
            continue
        agrees = "the order that was predicted" if texts[0].value > texts[1].value else "the reverse order"  # type: ignore[operator]
        one = "; one seed, so this may be chance" if len(content["seeds"]) == 1 else ""
        gained = (
            f"{names[towns[0]]} {texts[0].to_text(signed=True)}, {names[waters[0]]} {texts[1].to_text(signed=True)}"
        )
        lines.append(f"{entry['start']}, {budget} labels: {gained}: {agrees}{one}")
    return "\n".join(lines)


# --- notebook 5 ------------------------------------------------------------------------------------------------------


def scored(report: Mapping[str, Any]) -> str:
    """Whether the pretrained network is better than the other start, and both than the floor."""
    lines, models = [], report["models"]
    if gain := report["difference"]:
        pair = " minus ".join(models[role]["initialisation"] for role in ("segmenter", "baseline"))
        lines.append(_told(pair, Interval.of(gain["miou"]["value"], gain["miou"]["interval"])))
    for role, gain in report.get("above_floor", {}).items():
        what = f"{models[role]['initialisation']} minus floor"
        lines.append(_told(what, Interval.of(gain["miou"]["value"], gain["miou"]["interval"])))
    never = [name for name, of in models["segmenter"]["per_class"].items() if of["pixels"] and not of["iou"]]
    lines.append(f"classes that are never found: {', '.join(never) or 'none'}")
    return "\n".join(lines)


def confused_by_brightness(report: Mapping[str, Any], medians_db: Mapping[str, float]) -> str:
    """For how many classes the one they are most often taken for is also their nearest in brightness."""
    names, counts = report["classes"], np.array(report["models"]["segmenter"]["confusion_matrix"], dtype=float)
    np.fill_diagonal(counts, 0)
    agreeing, others = list[str](), list[str]()
    for index, name in enumerate(names):
        if name not in medians_db or not counts[index].any() or len(medians_db) < 2:
            continue
        distance = {other: abs(medians_db[name] - db) for other, db in medians_db.items() if other != name}
        taken_for = names[int(counts[index].argmax())]
        nearest = min(distance, key=distance.__getitem__)
        (agreeing if taken_for == nearest else others).append(f"{name} for {taken_for}")
    total = len(agreeing) + len(others)
    return (
        f"most often taken for the class that is nearest in brightness: {len(agreeing)} of {total} classes"
        f" ({', '.join(agreeing) or NOTHING});\nfor another: {', '.join(others) or NOTHING}"
    )


def calibrated(report: Mapping[str, Any]) -> str:
    """Whether the network is overconfident, and whether the temperature from validation helps on the test list."""
    of = report["models"]["segmenter"]["calibration"]
    bins = [one for one in of["as_it_is"]["bins"] if one["pixels"]]
    pixels = np.array([one["pixels"] for one in bins], dtype=float)
    sure, right = (np.array([one[key] for one in bins], dtype=float) for key in ("confidence", "accuracy"))
    mean_sure, mean_right = (float((values * pixels).sum() / pixels.sum()) for values in (sure, right))
    how = "overconfident" if mean_sure > mean_right else "underconfident"
    lines = [f"mean confidence {mean_sure:.1%}, share that is right {mean_right:.1%}: {how}"]
    if of["temperature"] is not None:
        before, after = of["as_it_is"]["ece"], of["with_temperature"]["ece"]
        helped = "as predicted, it helps" if after < before else "against the prediction, it does not help"
        lines.append(f"ECE {before:.3f} as it is, {after:.3f} with the temperature: {helped}")
    return "\n".join(lines)


def robust(found: Mapping[str, Robustness]) -> str:
    """What the worst of each kind of change costs each model."""
    words = {
        "added_looks": "added {}-look speckle",
        "multilook": "pixels of {0} × {0}",
        "gain_db": "a gain of {} dB",
    }
    lines = []
    for name, result in found.items():
        for kind in KINDS:
            trials = [trial for trial in result.curve(kind) if trial.change["value"] is not None]
            if len(trials) > 1:
                worst = min(trials, key=lambda trial: trial.change["value"])
                value = "–" if worst.value is None else f"{worst.value:g}".replace("-", "−")
                gain = Interval.of(worst.change["value"], worst.change["interval"])
                lines.append(_told(f"{name}, at worst {words[kind].format(value)}", gain, -1))
    return "\n".join(lines)


def mapped(agreement: Mapping[str, Any]) -> str:
    """Of a map's classes those that are found best and worst, by the share of their labelled pixels."""
    found = {name: of["recall"] for name, of in agreement["per_class"].items() if of["recall"] is not None}
    order = sorted(found, key=lambda name: -found[name])
    few = max(1, min(3, len(order) // 2))
    ends = order[:few], order[::-1][:few]
    best, worst = (", ".join(f"{name} {found[name]:.0%}" for name in some) for some in ends)
    share = f"{agreement['pixel_accuracy']:.1%} of {agreement['pixels']['compared']:,} pixels agree with the labels"
    return f"{share}\nfound best: {best}; worst: {worst}"


def looked_closer(view: MapView, windows: Mapping[str, tuple[int, int, int, int]]) -> str:
    """Of places of a map how much agrees with the labels there, and what is most often mistaken for what."""
    if view.labels is None:
        return "There are no labels on this ground to compare with."
    names, lines = view.legend.names, []
    for place, (row, col, height, width) in windows.items():
        part = np.s_[row : row + height, col : col + width]
        label, said = view.labels[part], view.classes[part]
        known = (label != IGNORE) & (said != IGNORE)
        counts = np.zeros((len(names), len(names)))
        np.add.at(counts, (label[known], said[known]), 1)
        agreeing = counts.trace() / max(1, counts.sum())
        np.fill_diagonal(counts, 0)
        truth, taken_for = np.unravel_index(counts.argmax(), counts.shape)
        most = f"; most often {names[truth]} is mapped as {names[taken_for]}" if counts.any() else ""
        lines.append(f"{place}: {agreeing:.0%} agree{most}")
    return "\n".join(lines)


def confident(view: MapView, tested: Sequence[tuple[int, int, int, int]]) -> str:
    """Whether a map is right more often where it is sure, and whether more so on ground that was not tested."""
    if view.labels is None or view.confidence is None:
        return "Without labels and confidence this cannot be said."
    lines, rates = [], []
    for where, found in zip(("test patches", "other ground"), agreement_by_confidence(view, tested), strict=True):
        total = int(found.pixels.sum())
        rates.append(float(found.agreeing.sum() / total) if total else None)
        if not total:
            lines.append(f"{where}: no labelled pixels")
            continue
        mean = float(np.nansum(found.confidence * found.pixels) / total)
        surer = found.confidence >= mean
        counts = [(int(found.agreeing[part].sum()), int(found.pixels[part].sum())) for part in (surer, ~surer)]
        if not all(pixels for _, pixels in counts):
            lines.append(f"{where}: confidence is the same everywhere")
            continue
        sure, doubtful = (right / pixels for right, pixels in counts)
        agrees = "as predicted" if sure > doubtful else "against the prediction"
        split = f"right where confidence is above its mean of {mean:.0%}"
        lines.append(f"{where}: {sure:.0%} {split}, {doubtful:.0%} where it is below: {agrees}")
    if None not in rates:
        better = "the map looks better there" if rates[1] > rates[0] else "the map does not look better there"  # type: ignore[operator]
        lines.append(f"in all {rates[0]:.1%} agree in test patches, {rates[1]:.1%} on other ground: {better}")
    return "\n".join(lines)
