"""The figures of scores and comparisons show what they are given."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from support.figures import texts

from alos2tut import open_dataset
from alos2tut.evaluation.comparison import compared
from alos2tut.evaluation.config import EvaluateConfig
from alos2tut.evaluation.report import class_probabilities, evaluate, predict_patches
from alos2tut.evaluation.robustness import robustness
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import save_segmenter
from alos2tut.segmentation.config import FinetuneConfig
from alos2tut.tutorial import widgets
from alos2tut.tutorial.figures import evaluation as evaluation_figures
from alos2tut.tutorial.figures import finetuning as comparison_figures

TINY = EncoderConfig(patch_size=2, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(2, 4, 8, 16), window_size=4)


@pytest.fixture(scope="module")
def segmenter(packed_dataset):
    dataset = open_dataset(packed_dataset)
    torch.manual_seed(0)
    encoder = SwinEncoder(TINY, (32, 32))
    return Segmenter(encoder, dataset.legend, dataset.statistics, dataset.signal, width=16).eval()


@pytest.fixture(scope="module")
def report(packed_dataset, segmenter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    save_segmenter(folder / "segmenter.safetensors", segmenter, provenance={"made_from": {}}, simulated=True)
    settings = EvaluateConfig(dataset=packed_dataset, segmenter=folder, baseline=folder, work_dir=folder)
    return json.loads((evaluate(settings) / "report.json").read_text())


def test_scores_and_confusions(report):
    figure = evaluation_figures.class_scores(report)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == report["classes"]
    evaluation_figures.confusion(report)


def test_the_matrix_is_read_aloud():
    matrix = [[8, 2, 0], [0, 4, 6], [0, 0, 0]]
    content = {"classes": ["water", "crops", "towns"], "models": {"segmenter": {"confusion_matrix": matrix}}}
    lines = [" ".join(line.split()) for line in evaluation_figures.largest_confusions(content).splitlines()]
    assert lines == ["of crops, 60% was called towns", "of water, 20% was called crops"]
    content["models"]["segmenter"]["confusion_matrix"] = np.eye(3, dtype=int).tolist()
    assert evaluation_figures.largest_confusions(content) == "nothing was confused"


def test_reliability_robustness_and_overlap(report, packed_dataset, segmenter):
    figure = evaluation_figures.reliability_curves(report)
    assert any("ECE" in text for text in texts(figure))
    found = robustness(segmenter, packed_dataset, added_looks=(None, 1), multilook=(1, 2), gains_db=(0, 3))
    curves = evaluation_figures.robustness_curves({"one": found, "other": found})
    assert [label.get_text() for label in curves.axes[0].get_xticklabels()] == ["none", "1"]
    overlap = evaluation_figures.class_overlap(open_dataset(packed_dataset))
    assert [label.get_text() for label in overlap.axes[0].get_yticklabels()] == ["class 2", "class 1", "class 0"]


def test_a_class_by_threshold(packed_dataset, segmenter, watched):
    dataset = open_dataset(packed_dataset)
    split, labels = dataset.split("val"), dataset.split("val").gather([0, 2])[1]
    probabilities = class_probabilities(segmenter, split, [0, 2])
    assert probabilities.shape == (2, 3, 32, 32) and np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    truth = (labels == 1).astype(float)
    figure = evaluation_figures.class_threshold(truth, labels, split.db(0)[0], "class 1", 1, 0.5, "sigma0")
    assert figure.axes[2].lines[1].get_xydata().tolist() == [[1.0, 1.0]]  # of a class that is known
    widgets.explore_threshold(probabilities, dataset, "val", [0, 2]).f(land_class="class 1", threshold=0.3, patch=2)
    backscatter, middle, right = plt.gcf().axes[:3]
    np.testing.assert_array_equal(backscatter.images[0].get_array(), split.db(2)[0])
    np.testing.assert_array_equal(middle.images[0].get_array(), probabilities[1, 1])
    right_said = ((probabilities[:, 1] >= 0.3) & (labels == 1)).sum()
    assert right.lines[1].get_xdata()[0] == pytest.approx(right_said / (labels == 1).sum())


def _runs(start, gain):
    return [
        {"start": start, "budget": budget, "seed": seed, "miou": 0.2 + gain + budget / 1000 + 0.01 * seed, "macc": 0.3,
         "pixel_accuracy": 0.5, "iou": {"water": 0.5 + gain, "towns": None}, "report": "r",
         "by_block": [[[50 + b, 0], [100, 0], [100, 0]] for b in range(3)]}
        for budget in (10, 100) for seed in (0, 1)
    ]  # fmt: skip


def test_comparisons_are_drawn_by_start_and_budget():
    entries = compared(_runs("random", 0.0) + _runs("mim", 0.05), ["random", "mim"], [10, 100], 100)
    content = {"first": "random", "starts": entries, "classes": ["water", "towns"], "seeds": [0, 1], "blocks": 3}
    figure = comparison_figures.label_efficiency(content)
    gains = next(c for c in figure.axes[1].containers if c.get_label() == "mim")
    np.testing.assert_allclose(gains.lines[0].get_ydata(), 0.05)
    by_class = comparison_figures.class_gains(content)
    assert [ax.get_title() for ax in by_class.axes] == ["10 labelled patches", "100 labelled patches"]


def test_learning_rates_by_layer(segmenter):
    figure = comparison_figures.learning_rates(segmenter, FinetuneConfig(layer_decay=0.5))
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][::5] == ["embedding", "decoder"]


def test_errors_are_marked_where_they_are(packed_dataset, segmenter):
    dataset = open_dataset(packed_dataset)
    split, indices = dataset.split("val"), [0, 1]
    said = predict_patches(segmenter, split, indices)
    figure = comparison_figures.errors_shown(split, indices, {"one": said}, dataset.legend, "sigma0")
    labels = split.gather(indices)[1]
    wrong = figure.axes[3].images[1].get_array()[..., 3] > 0
    np.testing.assert_array_equal(wrong, (labels[0] != 255) & (said[0] != labels[0]))
