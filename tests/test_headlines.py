"""What is said first: classes that cannot be learned, and predictions that say nothing."""

import json
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from support.networks import tiny_segmenter, training
from support.packed import restate_files, write_blocks, write_packed_dataset

from alos2tut import Alos2TutWarning, finetune
from alos2tut.cli import main
from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation.comparison import compare, comparison_table, read_comparison
from alos2tut.evaluation.config import CompareConfig
from alos2tut.evaluation.report import report_text
from alos2tut.headlines import few_patches, in_words, of_lists, of_map, of_runs, of_scores
from alos2tut.metrics import block_counts, block_scores
from alos2tut.networks.weights import save_segmenter
from alos2tut.segmentation.stage import _show_headlines, list_headlines
from alos2tut.tutorial.figures.evaluation import class_scores

NAMES = ["water", "land", "town"]


def codes(headlines):
    return [headline["code"] for headline in headlines]


def test_lists_name_what_they_hardly_have():
    pixels = {
        "train": {"a": 99_000, "b": 900, "c": 99, "d": 0, "e": 1},
        "val": {"a": 5, "b": 5, "c": 0, "d": 0, "e": 5},
    }
    found = of_lists(pixels, {"train": {"c": 2}, "val": {"b": 1, "c": 2}})
    assert [(headline["code"], headline["classes"]) for headline in found] == [
        ("absent", ["d", "c"]), ("few-patches", ["c", "b"]), ("rare", ["c", "e"]), ("uncommon", ["b"])
    ]  # fmt: skip
    assert in_words(found[:3]) == (
        "without a pixel: d (train, val), c (val); in fewer than 3 patches: c (2 of train, 2 of val), b (1 of val); "
        "below 0.1 % of the training pixels: c (0.099 %), e (0.001 %)"
    )
    assert of_lists({"train": {"a": 5, "b": 5}}, {}) == []


def test_patches_are_looked_at_only_where_a_class_may_be_in_few(tmp_path, monkeypatch):
    folder = write_packed_dataset(tmp_path / "dataset")
    labels = np.load(folder / "pretrain_labels.npy")
    labels[:] = 0
    labels[[1, 4], 20:] = 1  # large, and yet in two patches
    labels[[0, 1, 2, 3, 4, 9], 15, 15] = 2  # in six
    np.save(folder / "pretrain_labels.npy", labels)
    restate_files(folder)
    split, everywhere = open_dataset(folder).split("train"), np.arange(10)
    pixels = {"class 0": 9000, "class 1": 2 * 12 * 32, "class 2": 6}
    assert few_patches(split, list(pixels), pixels, everywhere) == {"class 1": 2}
    assert few_patches(split, list(pixels), pixels | {"class 2": 2}, everywhere[2:4]) == {"class 2": 2}
    monkeypatch.setattr(np, "bincount", lambda *_, **__: 1 / 0)
    assert few_patches(split, list(pixels), dict.fromkeys(pixels, 2 * 32 * 32 + 1), everywhere) == {}


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        # healthy; as rare as land is, it is found
        ([[900, 10], [5, 85]], []),
        # all water, of a reference that is hardly anything else
        ([[9910, 0], [90, 0]], ["never-predicted", "not-above-most-frequent"]),
        # all water, of a reference that is not
        ([[800, 0], [200, 0]], ["never-predicted", "constant", "not-above-most-frequent"]),
        # nearly so, and above in both scores
        ([[800, 0], [195, 5]], ["constant"]),
        # one of the scores above is enough
        ([[700, 100], [100, 100]], []),
        # worse than naming the commonest
        ([[500, 300], [200, 0]], ["not-above-most-frequent"]),
        # nothing to be better than
        ([[5, 5], [0, 0]], []),
        # all land, where all is water
        ([[0, 5], [0, 0]], ["never-predicted", "constant"]),
        ([[0, 0], [0, 0]], []),
    ],
)  # fmt: skip
def test_headlines_of_scores(matrix, expected):
    assert codes(of_scores(np.array(matrix), NAMES[:2])) == expected


def test_headlines_show_headlines_classes_and_numbers():
    found = of_scores(np.array([[9910, 0, 0], [80, 0, 0], [10, 0, 0]]), NAMES)
    assert found[0]["classes"] == ["land", "town"]
    assert in_words(found) == (
        "never predicted: land (80 reference pixels), town (10 reference pixels); not better than the most frequent "
        "class everywhere (water): pixel accuracy 0.991 against 0.991, mIoU 0.330 against 0.330"
    )
    (constant,) = of_scores(np.array([[800, 0], [195, 5]]), NAMES)
    assert constant["text"] == "99.5 % of the prediction is water, which is 80.0 % of the reference"


def test_better_is_by_more_than_the_interval():
    unsure = np.array([[[390, 10], [50, 50]], [[290, 110], [0, 0]], [[100, 20], [20, 180]]])
    matrix, counts = unsure.sum(axis=0), block_counts(unsure)
    (found,) = of_scores(matrix, NAMES, counts)
    assert found["text"].startswith("not better by more than its interval than the most frequent class everywhere")
    # of the difference on the same blocks, not of the score
    frequent = np.array([[[400, 0], [100, 0]], [[400, 0], [0, 0]], [[120, 0], [200, 0]]])
    gain = block_scores(counts)["miou"].minus(block_scores(block_counts(frequent))["miou"])
    low, high = gain["interval"]
    assert f"mIoU 0.655 against 0.377 ({gain['value']:+.3f} [{low:+.3f}, {high:+.3f}])" in found["text"]
    sure = np.array([[[390, 10], [50, 50]]] * 3)
    assert of_scores(sure.sum(axis=0), NAMES, block_counts(sure)) == of_scores(matrix, NAMES) == []


def test_the_floor_is_beaten_in_miou_by_more_than_the_interval():
    sure = np.array([[[390, 10], [50, 50]], [[380, 20], [40, 60]], [[390, 10], [45, 55]]])
    better = np.array([[[390, 10], [5, 95]]] * 3)
    assert of_scores(better.sum(axis=0), NAMES, block_counts(better), block_counts(sure)) == []
    (found,) = of_scores(sure.sum(axis=0), NAMES, block_counts(sure), block_counts(better))
    assert found["code"] == "not-above-floor" and found["text"].startswith("not better than the floor, a random forest")
    # by no more than the interval; and by a value without one
    near = sure + np.array([[[0, 0], [-3, 3]], [[0, 0], [2, -2]], [[0, 0], [-1, 1]]])
    (found,) = of_scores(near.sum(axis=0), NAMES, block_counts(near), block_counts(sure))
    assert found["text"].startswith("not better by more than its interval than the floor")
    assert of_scores(near.sum(axis=0), NAMES, None, block_counts(sure.sum(axis=0)[None])) == []
    of_itself = of_scores(near.sum(axis=0), NAMES, None, block_counts(near.sum(axis=0)[None]))
    assert codes(of_itself) == ["not-above-floor"] and "mIoU" in of_itself[0]["text"]


def test_maps_of_one_class():
    assert of_map(np.array([989, 11, 0]), NAMES) == of_map(np.zeros(3, int), NAMES) == []
    (found,) = of_map(np.array([2, 99_995, 3]), NAMES)
    assert found == {"code": "constant", "classes": ["land"], "text": "99.9 % of the map is land"}


def test_headlines_of_runs_are_counted():
    one, other = of_map(np.array([1, 0, 0]), NAMES), of_map(np.array([0, 0, 1]), NAMES)
    (found,) = of_runs([one, [], other, other])
    assert found["runs"] == 3 and found["text"] == "nearly all of one class, in 3 of 4 runs: water (in 1), town (in 2)"


# --- stages

SETTINGS = {"steps": 2, "batch_size": 3, "validate_every": 2, "decoder_width": 16}


@pytest.fixture(scope="module")
def lopsided(tmp_path_factory):
    """A dataset whose third class has two pixels in train and in test, in a patch each, and none in val."""
    folder = write_blocks(tmp_path_factory.mktemp("lopsided") / "dataset", blocks=4, n=30)
    content = json.loads((folder / "dataset.json").read_text())
    for store in ("pretrain", "val", "test"):
        labels = np.load(folder / f"{store}_labels.npy")
        labels[labels == 2] = 0
        labels[[0, 4], 9, 9] = 0 if store == "val" else 2
        np.save(folder / f"{store}_labels.npy", labels)
        of_list = content["splits"]["train" if store == "pretrain" else store]
        pixels = np.bincount(labels[: of_list["patches"]].ravel(), minlength=3).tolist()
        of_list["class_pixels"] = {f"class {index}": pixels[index] for index in range(3)}
    (folder / "dataset.json").write_text(json.dumps(content))
    restate_files(folder)
    restate_files(folder)
    return folder


def heard(call):
    """What it returns, and the warnings of ours on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if issubclass(w.category, Alos2TutWarning)]


def headlines_of(stage, name="run.json"):
    return json.loads((stage / name).read_text())["headlines"]


def test_fine_tuning_warns_before_and_show_headliness_after_also_when_it_is_reused(lopsided, tmp_path, capsys):
    # hardly trained: no better than the most frequent class
    config = training("finetune", lopsided, tmp_path, **SETTINGS | {"lr": 1e-6})
    stage, (told,) = heard(lambda: finetune(config))
    kept = headlines_of(stage)
    assert codes(kept)[:3] == ["absent", "few-patches", "rare"] and codes(kept[3:])[-1] == "not-above-most-frequent"
    assert told.startswith(f"{stage.name}: classes that can hardly be learned or scored: {in_words(kept[:3])}. Merge")
    assert "without a pixel: class 2 (val); in fewer than 3 patches: class 2 (2 of train); below 0.1 % of" in told
    last = [f"! val: {headline['text']}" for headline in kept[3:]]
    assert capsys.readouterr().out.splitlines()[-len(last) :] == last
    assert heard(lambda: finetune(config)) == (stage, [told])
    assert capsys.readouterr().out.splitlines() == [f"reusing {stage}", *last]
    assert heard(lambda: finetune(config, quiet=True)) == (stage, [])
    assert capsys.readouterr().out == ""


def test_the_patches_that_a_budget_draws_are_those_that_count(packed_dataset, tmp_path, capsys):
    everything, two = (
        list_headlines(training("finetune", packed_dataset, tmp_path, budget=budget), open_dataset(packed_dataset))
        for budget in (None, 2)
    )
    assert everything == [] and codes(two) == ["few-patches"]
    assert two[0]["classes"] == [f"class {i}" for i in range(3)] and "class 1 (2 of train)" in two[0]["text"]


def test_what_is_uncommon_is_one_line_and_no_warning(tmp_path, capsys):
    uncommon = {"code": "uncommon", "classes": ["a"], "text": "below 1 %: a"}
    assert heard(lambda: _show_headlines([uncommon], tmp_path)) == (None, [])
    assert capsys.readouterr().out == "! classes: below 1 %: a\n"


def test_a_comparison_says_for_all_runs_what_each_would(lopsided, tmp_path):
    config = CompareConfig(budgets=(5, "all"), seeds=2, workers=1)
    folder, told = heard(lambda: compare(training("finetune", lopsided, tmp_path, **SETTINGS), config))
    content = read_comparison(folder)
    assert told[0].startswith(
        "classes that can hardly be learned or scored: without a pixel, in 4 of 4 runs: class 2; in fewer"
    )
    assert len(told) == 1 and told[0].endswith("a larger budget.")
    found = {headline["code"]: headline for headline in content["headlines"]}
    assert found["absent"]["runs"] == found["few-patches"]["runs"] == 4
    assert comparison_table(content).startswith(
        "! without a pixel, in 4 of 4 runs: class 2\n! in fewer than 3 patches, in 4 of 4 runs: class 2"
    )


@pytest.fixture
def constant(lopsided, tmp_path):
    """The folder of a segmenter that says the first class, whatever it is shown."""
    segmenter = tiny_segmenter(open_dataset(lopsided))
    for name, weights in segmenter.decoder.named_parameters():
        torch.nn.init.zeros_(weights)
        if name.endswith("bias") and weights.shape == (3,):
            weights.data[0] = 1
    save_segmenter(tmp_path / "segmenter.safetensors", segmenter, provenance={"made_from": {}}, simulated=True)
    return tmp_path


def test_a_report_begins_with_its_headlines(lopsided, constant, tmp_path, capsys):
    assert main(["evaluate", str(lopsided), str(constant), "--work-dir", str(tmp_path / "work")]) == 0
    *lines, folder = capsys.readouterr().out.splitlines()
    found = headlines_of(Path(folder), "report.json")
    assert [(headline["code"], headline["model"]) for headline in found] == [
        ("few-patches", None), ("never-predicted", "segmenter"), ("constant", "segmenter"),
        ("not-above-most-frequent", "segmenter"), ("not-above-floor", "segmenter"),
    ]  # fmt: skip
    assert found[1]["classes"] == ["class 1", "class 2"]
    # the report's tables and figures call models by what they began with
    whose = {None: "test", "segmenter": "segmenter (random initialisation)"}
    assert lines[:5] == [f"! {whose[headline['model']]}: {headline['text']}" for headline in found]
    assert lines[0] == "! test: in fewer than 3 patches: class 2 (2 of test)" and lines[5].startswith("model ")
    report = json.loads((Path(folder) / "report.json").read_text())
    figure = class_scores(report)
    title = figure.get_suptitle()
    assert title.startswith("! test: in fewer than 3 patches")
    assert f"! {whose['segmenter']}: never predicted: class 1 (" in title
    plt.close(figure)
    del report["headlines"]
    assert class_scores(report).get_suptitle() == "" and report_text(report).startswith("model ")
    plt.close("all")
