"""What is printed below figures says what the numbers say: agreement, contradiction, or neither."""

import numpy as np
import pytest

from alos2tut.core.tables import Interval
from alos2tut.dataset.legend import load_legend
from alos2tut.evaluation.comparison import compared
from alos2tut.metrics import block_scores
from alos2tut.networks.bundle import Published
from alos2tut.pretraining.reconstruction import HiddenPixels
from alos2tut.tutorial import readings
from alos2tut.tutorial.map_view import MapView


@pytest.mark.parametrize(
    ("gain", "expected", "told"),
    [
        (Interval(0.1, 0.05, 0.15), 1, "as predicted"),
        (Interval(0.1, 0.05, 0.15), -1, "against the prediction"),
        (Interval(-0.1, -0.2, -0.05), 1, "against the prediction"),
        (Interval(-0.1, -0.2, -0.05), -1, "as predicted"),
        (Interval(0.1, -0.05, 0.25), 1, "undecided: the interval contains 0"),
        (Interval(0.1), 1, "undecided: there is no interval"),
        (Interval(None), 1, "cannot be said here"),
    ],
)
def test_a_difference_agrees_only_where_its_interval_leaves_zero_out(gain, expected, told):
    assert readings.verdict(gain, expected) == told


def metrics(folder, header, *rows):
    folder.mkdir()
    (folder / "metrics.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_trainings_are_read_from_their_histories(tmp_path):
    falls = metrics(tmp_path / "a", "step,mae_db", *(f"{step},{6 - step / 10}" for step in range(1, 21)))
    rises = metrics(tmp_path / "b", "step,mae_db", *(f"{step},{6 + step / 10}" for step in range(1, 21)))
    first, second = readings.training({"falls": falls, "rises": rises}).splitlines()
    assert first == "falls: 5.85 dB in the first tenth of the steps, 4.05 dB in the last: as predicted, it fell"
    assert second.endswith("against the prediction, it did not fall")
    scored = metrics(tmp_path / "c", "step,val_miou", "1,", "2,0.25", "3,", "4,0.375")
    assert "one: mIoU 0.250 at the first validation, 0.375 at the last" in readings.validated({"one": scored})


def test_weights_of_the_darkest_and_the_brightest_class():
    means = np.array([[1.2, 1.1, 1.3], [1.0, 0.9, 1.1], [1.1, 1.05, 1.15]])
    lines = readings.class_weights(["water", "land", "town"], {"ranks": means, "none": np.full((3, 3), np.nan)})
    assert lines.splitlines()[0] == "ranks: water × 1.200 (as predicted), town × 1.100 (against the prediction)"


def test_fades_and_flashes_are_told_apart():
    random = np.random.default_rng(0)
    patch, label = random.integers(0, 20, 4000).astype(np.int32), np.zeros(4000, np.uint8)
    truth, around = random.normal(-10, 5, 4000).astype(np.float32), np.full(4000, -10, np.float32)
    guesses = {"dark": np.full(4000, -10.2, np.float32), "bright": np.full(4000, -9.8, np.float32)}
    runs = {name: HiddenPixels(patch, label, truth, around, guess) for name, guess in guesses.items()}
    _, fades, flashes = readings.fades_and_flashes(runs).splitlines()
    assert fades.startswith("  fades: -0.4") and fades.endswith("as predicted")
    assert flashes.startswith("  flashes: +0.4") and flashes.endswith("as predicted")
    reverse = readings.fades_and_flashes(dict(reversed(runs.items()))).splitlines()
    assert all(line.endswith("against the prediction") for line in reverse[1:])


def test_published_differences_by_labels():
    about = {"method": "chosen", "name": "a pretraining", "runs": 5}
    results = [
        Published(minus="random", labels=64, miou=Interval(0.02, 0.01, 0.03), **about),
        Published(minus="random", labels=16, miou=Interval(0.02, -0.01, 0.05), **about),
        Published("random", "random start", None, 64, Interval(0.4), 5),
    ]
    title, few, more = readings.published(results, "chosen", "random").splitlines()
    assert title == "longer run, simulated: mIoU of 'a pretraining' minus 'random start'"
    assert few.strip() == "16 labels, 5 trainings: +0.020 [-0.010, +0.050]: undecided: the interval contains 0"
    assert more.endswith("+0.020 [+0.010, +0.030]: as predicted")
    assert readings.published([], "sar_w", "simmim").endswith("no such runs yet")


def content(gains, classes=("water", "built-up"), seeds=(0,)):
    runs = [
        {"start": start, "budget": budget, "seed": seed, "miou": 0.3 + gain, "macc": 0.3, "pixel_accuracy": 0.5,
         "iou": dict(zip(classes, (0.5 + gain, 0.5 + 2 * gain), strict=True)), "report": "r",
         "on_ground": block_scores(np.array([[[50 + b, 40], [100, 90], [100, 80]] for b in range(3)]))}
        for start, gain in gains.items() for budget in (10, 100) for seed in seeds
    ]  # fmt: skip
    found = {"first": "random", "starts": compared(runs, list(gains), [10, 100], 100)}
    return found | {"classes": list(classes), "seeds": list(seeds), "blocks": 3, "in_one_block": []}


def test_comparisons_and_the_order_of_two_classes():
    lines = readings.compared(content({"random": 0.0, "pretrained": 0.1}, seeds=(0, 1, 2))).splitlines()
    assert lines[0] == "pretrained, 10 labels, minus random (over seeds): +0.100 [+0.100, +0.100]: as predicted"
    assert len(lines) == 2 and lines[1].startswith("pretrained, 100 labels")
    assert "(over ground)" in readings.compared(content({"random": 0.0, "pretrained": 0.1}))
    assert "the order that was predicted; one seed" in readings.class_gains(content({"random": 0, "pretrained": 0.1}))
    assert "the reverse order" in readings.class_gains(content({"random": 0, "pretrained": -0.1}, seeds=(0, 1)))
    assert "cannot be checked" in readings.class_gains(content({"random": 0}, ("forest", "crops")))


def test_reports_are_read_against_what_was_predicted():
    def gain(value):
        return {"miou": {"value": value, "interval": [value - 0.01, value + 0.01]}}

    bins = [{"pixels": 90, "confidence": 0.9, "accuracy": 0.7}, {"pixels": 10, "confidence": 0.5, "accuracy": 0.5}]
    report = {
        "classes": ["water", "land", "town"],
        "difference": gain(0.05),
        "above_floor": {"segmenter": gain(-0.05), "baseline": gain(-0.1)},
        "models": {
            "segmenter": {
                "initialisation": "pretrained",
                "per_class": {"water": {"pixels": 9, "iou": 0.5}, "land": {"pixels": 9, "iou": 0.0}},
                "confusion_matrix": [[9, 1, 0], [0, 5, 4], [6, 0, 1]],
                "calibration": {
                    "as_it_is": {"bins": bins, "ece": 0.2},
                    "with_temperature": {"bins": bins, "ece": 0.1},
                    "temperature": {"value": 2.0},
                },
            },
            "baseline": {"initialisation": "random"},
        },
    }
    better, above, other, never = readings.scored(report).splitlines()
    assert better.startswith("pretrained minus random: +0.050") and better.endswith("as predicted")
    assert above.endswith("against the prediction") and other.startswith("random minus floor")
    assert never == "classes that are never found: land"
    sure, helped = readings.calibrated(report).splitlines()
    assert sure == "mean confidence 86.0%, share that is right 68.0%: overconfident"
    assert helped.endswith("as predicted, it helps")
    said = readings.confused_by_brightness(report, {"water": -20.0, "land": -12.0, "town": -8.0})
    assert "2 of 3 classes (water for land, land for town)" in said and said.endswith("for another: town for water")


def test_maps_are_read_by_class_place_and_confidence():
    of = {"pixel_accuracy": 0.5, "pixels": {"compared": 1000}}
    recalls = {"water": 0.9, "land": 0.2, "town": None}
    agreement = of | {"per_class": {name: {"recall": recall} for name, recall in recalls.items()}}
    assert readings.mapped(agreement).splitlines()[1] == "found best: water 90%; worst: land 20%"
    labels = np.zeros((8, 8), np.uint8)
    classes = labels.copy()
    classes[:, 4:] = 1
    sure = np.where(classes == 0, 0.95, 0.3).astype(np.float32)
    view = MapView(None, load_legend("water_land"), classes, sure, labels, None, ("HH",))
    names = view.legend.names
    told = readings.looked_closer(view, {"left": (0, 0, 8, 4), "right": (0, 4, 8, 4)}).splitlines()
    assert told == ["left: 100% agree", f"right: 0% agree; most often {names[0]} is mapped as {names[1]}"]
    tested, other, both = readings.confident(view, [(0, 0, 8, 4), (0, 4, 4, 4)]).splitlines()
    assert tested.startswith("test patches: 100% right where confidence is above its mean of 73%, 0% where")
    assert tested.endswith("below: as predicted") and other == "other ground: confidence is the same everywhere"
    assert both.endswith("66.7% agree in test patches, 0.0% on other ground: the map does not look better there")
