"""The figures of scores and comparisons show what they are given."""

import json

import numpy as np
import pytest
import torch
from matplotlib.container import ErrorbarContainer
from support.figures import texts

from alos2tut import load_config, open_dataset
from alos2tut.core.tables import Interval
from alos2tut.evaluation.comparison import compared
from alos2tut.evaluation.config import EvaluateConfig
from alos2tut.evaluation.report import class_probabilities, evaluate, predict_patches
from alos2tut.evaluation.robustness import robustness
from alos2tut.metrics import block_counts, block_intervals, block_scores
from alos2tut.networks.bundle import Published
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
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert ticks == [*report["classes"], "mIoU", "accuracy"]
    assert "no intervals: fewer than 3 blocks of ground have a label: 1" in texts(figure)
    above, below = figure.axes
    named = [text.get_text() for text in above.get_legend().get_texts()]
    assert len(named) == 3 and named[-1].startswith("floor: mIoU 0.")
    subtracted = [text.get_text() for text in below.get_legend().get_texts()]
    assert subtracted == ["segmenter minus baseline", "random minus floor"]
    evaluation_figures.confusion(report)


def test_of_two_models_the_difference_has_the_interval(report):
    """One model's scores have intervals; of two, the difference below them has, and says what it covers."""
    matrices = np.random.default_rng(0).integers(1, 99, (2, 4, 3, 3))
    names, scores = report["classes"], [block_scores(block_counts(of_model)) for of_model in matrices]
    intervals = block_intervals(matrices[0])
    intervals |= {"per_class": dict(zip(names, intervals["per_class"], strict=True)), "in_one_block": ["class 1"]}
    gains = {name: scores[0][name].minus(scores[1][name]) for name in ("miou", "macc", "pixel_accuracy")}
    gains["per_class"] = {
        name: one.minus(other) for name, one, other in zip(names, *(s["per_class"] for s in scores), strict=True)
    }
    model = report["models"]["segmenter"] | {"intervals": intervals}
    two = report | {"models": {"segmenter": model, "baseline": model}, "difference": gains, "above_floor": {}}
    above, below = evaluation_figures.class_scores(two).axes
    assert not any(isinstance(drawn, ErrorbarContainer) for drawn in above.containers)
    (drawn,) = below.containers
    ends = np.array([segment[:, 1] for segment in drawn.lines[2][0].get_segments()])
    expected = [*gains["per_class"].values(), gains["miou"], gains["pixel_accuracy"]]
    np.testing.assert_allclose(ends, [gain["interval"] for gain in expected])
    alone = evaluation_figures.class_scores({**two, "models": {"segmenter": model}, "difference": None})
    (drawn,) = (d for d in alone.axes[0].containers if isinstance(d, ErrorbarContainer))
    ends = np.array([segment[:, 1] for segment in drawn.lines[2][0].get_segments()])
    assert len(ends) == 5 and (np.diff(ends) > 0).all()
    (note,) = (text for text in texts(alone) if "intervals" in text)
    assert "over 4 blocks of ground; they cover ground, not seeds or training draws" in note and "class 1" in note


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
    assert [label.get_text() for label in curves.axes[6].get_xticklabels()] == ["none", "1"]
    assert len(evaluation_figures.robustness_curves({"one": found}).axes) == 6
    for ax, change in zip(curves.axes[3:6], ("added_looks", "multilook", "gain_db"), strict=True):
        expected = [trial.change["value"] for trial in found.curve(change)]
        np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), expected)
    assert all((ax.containers[0].lines[0].get_ydata() == 0).all() for ax in curves.axes[6:])
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
    figure = widgets.explore_threshold(probabilities, dataset, "val", [0, 2]).f(
        land_class="class 1", threshold=0.3, patch=2
    )
    backscatter, middle, right = figure.axes[:3]
    np.testing.assert_array_equal(backscatter.images[0].get_array(), split.db(2)[0])
    np.testing.assert_array_equal(middle.images[0].get_array(), probabilities[1, 1])
    right_said = ((probabilities[:, 1] >= 0.3) & (labels == 1)).sum()
    assert right.lines[1].get_xdata()[0] == pytest.approx(right_said / (labels == 1).sum())


def _runs(start, gain):
    return [
        {"start": start, "budget": budget, "seed": seed, "miou": 0.2 + gain + budget / 1000 + 0.01 * seed, "macc": 0.3,
         "pixel_accuracy": 0.5, "iou": {"water": 0.5 + gain, "towns": None}, "report": "r",
         "on_ground": block_scores(np.array([[[50 + b, 0], [100, 0], [100, 0]] for b in range(3)]))}
        for budget in (10, 100) for seed in (0, 1)
    ]  # fmt: skip


def test_comparisons_are_drawn_by_start_and_budget():
    entries = compared(_runs("random", 0.0) + _runs("mim", 0.05), ["random", "mim"], [10, 100], 100)
    content = {
        "first": "random",
        "starts": entries,
        "classes": ["water", "towns"],
        "seeds": [0, 1],
        "blocks": 3,
        "in_one_block": ["towns"],
    }
    figure = comparison_figures.label_efficiency(content)
    assert any("pale bars: 95 % intervals over 3 blocks of ground; they cover ground" in t for t in texts(figure))
    gains = next(c for c in figure.axes[1].containers if c.get_label() == "mim")
    np.testing.assert_allclose(gains.lines[0].get_ydata(), 0.05)
    by_class = comparison_figures.class_gains(content)
    assert [ax.get_title() for ax in by_class.axes] == ["10 labelled patches", "100 labelled patches"]


def test_the_network_is_drawn_and_its_parameters_are_counted(segmenter):
    shown = " ".join(texts(comparison_figures.network_diagram(segmenter)))
    assert "1 × 32 × 32" in shown and "24 maps\nof 16 × 16" not in shown and "decoder 'paper'" in shown
    by_pixel = Segmenter(segmenter.encoder, segmenter.legend, segmenter.statistics, segmenter.signal, decoder="pixel")
    shown = " ".join(texts(comparison_figures.network_diagram(by_pixel.eval())))
    assert "24 maps\nof 16 × 16" in shown and "10 × 32 × 32" in shown
    rows = [row.strip("|").split("|") for row in comparison_figures.parameters_table(segmenter, "frozen").splitlines()]
    counts = [[int(cell.strip(" *").replace(",", "")) for cell in row[1:]] for row in rows[2:]]
    assert counts[-1][0] == sum(p.numel() for p in segmenter.parameters()) == sum(row[0] for row in counts[:-1])
    assert counts[-1][1] == sum(p.numel() for p in segmenter.decoder.parameters())
    quick = load_config("finetune", "quick")
    table = comparison_figures.settings_table(load_config("finetune", "paper"), quick)
    assert "| `mode` | full | frozen |" in table and f"| {quick.steps} steps |" in table


def test_published_results_are_drawn_with_their_intervals():
    about = {"name": "a start", "labels": 64, "runs": 3}
    results = [
        Published(method="random", minus=None, miou=Interval(0.4, 0.38, 0.42), **about),
        Published(method="chosen", minus=None, miou=Interval(0.5), **about),
        Published(method="chosen", minus="random", miou=Interval(0.1, 0.05, 0.15), **about),
    ]
    figure = comparison_figures.published_curve(results)
    assert any("longer run on simulated scenes, 3 trainings" in text for text in texts(figure))
    (gain,) = (c for c in figure.axes[1].containers if isinstance(c, ErrorbarContainer))
    (bar,) = gain.lines[2][0].get_segments()
    np.testing.assert_allclose(bar[:, 1], [0.05, 0.15])
    assert any("no results yet" in text for text in texts(comparison_figures.published_curve([])))


def test_learning_rates_by_layer(segmenter):
    figure = comparison_figures.learning_rates(segmenter, FinetuneConfig(layer_decay=0.5))
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][::5] == ["embedding", "decoder"]
    assert "frozen" not in figure.axes[0].get_xlabel()
    still = comparison_figures.learning_rates(segmenter, FinetuneConfig(layer_decay=0.5, mode="frozen"))
    assert "here it is frozen" in still.axes[0].get_xlabel()


def test_errors_are_marked_where_they_are(packed_dataset, segmenter):
    dataset = open_dataset(packed_dataset)
    split, indices = dataset.split("val"), [0, 1]
    said = predict_patches(segmenter, split, indices)
    figure = comparison_figures.errors_shown(split, indices, {"one": said}, dataset.legend, dataset.signal)
    labels = split.gather(indices)[1]
    wrong = figure.axes[3].images[1].get_array()[..., 3] > 0
    np.testing.assert_array_equal(wrong, (labels[0] != 255) & (said[0] != labels[0]))
    assert figure.axes[3].get_xlabel() == f"{wrong.sum() / (labels[0] != 255).sum():.1%} wrong"
    other = ((labels + 1) % len(dataset.legend)).astype(np.uint8)
    figure = comparison_figures.errors_shown(split, indices, {"none": other}, dataset.legend, dataset.signal)
    assert figure.axes[3].get_xlabel() == "100.0% wrong"
