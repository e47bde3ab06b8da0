"""Scores from counts: boundaries by brute force, water, intervals that cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from interval_coverage import WORLDS, coverage
from scipy.stats import t as student_t

from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.legend import legend_names, load_legend
from alos2tut.metrics import (
    BlockScore,
    block_counts,
    block_intervals,
    block_scores,
    boundary_counts,
    boundary_scores,
    scores_from_confusion,
    water_classes,
    water_scores,
)

IMAGES = arrays(np.uint8, (2, 5, 6), elements=st.sampled_from([0, 1, 2]))
LABELS = arrays(np.uint8, (2, 5, 6), elements=st.sampled_from([0, 1, 2, 255]))


def test_scores_by_hand():
    scores = scores_from_confusion(np.array([[6, 2], [1, 1]]))
    assert scores["miou"] == pytest.approx((6 / 9 + 1 / 4) / 2)
    assert scores["macc"] == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert scores["pixel_accuracy"] == 0.7 and scores["pixels"] == 10
    first = scores["per_class"][0]
    assert (first["precision"], first["recall"], first["f1"], first["pixels"]) == (6 / 7, 6 / 8, 12 / 15, 8)


def test_absent_class_is_left_out_and_named():
    scores = scores_from_confusion(np.array([[5, 1, 0], [0, 0, 0], [0, 0, 4]]))
    assert scores["absent"] == [1]
    assert scores["miou"] == pytest.approx((5 / 6 + 1) / 2)
    assert scores["per_class"][1] == {"iou": None, "precision": None, "recall": None, "f1": None, "pixels": 0}
    assert scores["macc"] == pytest.approx((5 / 6 + 1) / 2)
    scores = scores_from_confusion(np.zeros((2, 2), dtype=np.int64))
    assert scores["miou"] is None and scores["pixel_accuracy"] is None and scores["absent"] == [0, 1]


@pytest.mark.parametrize("matrix", [np.zeros((2, 3), dtype=int), np.zeros((2, 2))])
def test_no_confusion_matrix(matrix):
    with pytest.raises(Alos2TutError, match="square"):
        scores_from_confusion(matrix)


def pixels_on_boundary(image, index):
    """The definition, pixel by pixel: of this class, beside a labelled pixel of another one."""
    found = set()
    for b, row, col in np.argwhere(image == index):
        for near in [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]:
            inside = 0 <= near[0] < image.shape[1] and 0 <= near[1] < image.shape[2]
            if inside and image[b, near[0], near[1]] not in (index, 255):
                found.add((int(b), int(row), int(col)))
    return found


def near(pixels, others):
    return {p for p in pixels if any(p[0] == o[0] and np.hypot(p[1] - o[1], p[2] - o[2]) <= 2 for o in others)}


@given(LABELS, IMAGES)
def test_boundary_counts_by_brute_force(reference, predicted):
    counts = boundary_counts(reference, predicted, 4)
    seen = np.where(reference == 255, 255, predicted)
    for index in range(4):
        guess, truth = pixels_on_boundary(seen, index), pixels_on_boundary(reference, index)
        expected = [len(guess), len(near(guess, truth)), len(truth), len(near(truth, guess))]
        assert counts[index].tolist() == expected


@pytest.mark.parametrize(("shift", "f1"), [(0, 1.0), (2, 1.0), (-2, 1.0), (3, 0.0)])
def test_a_boundary_may_lie_two_pixels_aside(shift, f1):
    reference, predicted = (np.tile(np.arange(20) >= col, (1, 8, 1)).astype(np.uint8) for col in (8, 8 + shift))
    assert boundary_scores(boundary_counts(reference, predicted, 2))["f1"] == f1


def test_boundary_scores_by_hand():
    scores = boundary_scores(np.array([[10, 5, 8, 6], [0, 0, 4, 0], [7, 0, 0, 0]]))
    assert scores["per_class"][0] == {"precision": 0.5, "recall": 0.75, "f1": pytest.approx(2 * 0.5 * 0.75 / 1.25)}
    assert scores["per_class"][1] == {"precision": None, "recall": 0.0, "f1": 0.0}
    assert scores["per_class"][2] == {"precision": None, "recall": None, "f1": None}
    assert scores["f1"] == pytest.approx(0.6 / 2)


def test_water_classes_of_our_legends():
    found = {name: load_legend(name).names for name in legend_names()}
    water = {name: [names[index] for index in water_classes(names)] for name, names in found.items()}
    assert water.pop("worldcover") == ["permanent water bodies"]
    assert all(classes == ["water"] for classes in water.values()), water
    assert water_classes(["Salt water", "wetland", "fresh water", "no water", "Non-Water", "waterfall"]) == [0, 2]


def test_water_scores_merge_its_classes():
    matrix = np.array([[5, 1, 2], [3, 4, 0], [1, 1, 9]])
    scores = water_scores(matrix, [0, 1])
    right, missed, wrong = 5 + 1 + 3 + 4, 2, 2
    assert scores["iou"] == right / (right + missed + wrong) and scores["pixels"] == right + missed
    assert scores["precision"] == right / (right + wrong) and scores["recall"] == right / (right + missed)
    assert scores["f1"] == 2 * right / (2 * right + missed + wrong)
    assert water_scores(np.array([[0, 0], [1, 5]]), [0])["iou"] is None


@pytest.mark.parametrize("blocks", [3, 6, 10, 20])
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_hold_the_score_of_all_ground(world, blocks):
    """At least 90 of 100, of scores and of differences, less three standard errors of a count of 200."""
    held = coverage(world, blocks, 200)
    assert len(held) == 6 and min(held.values()) > 0.9 - 3 * np.sqrt(0.9 * 0.1 / 200), held
    # and no wider than they need be, to be told from those that hold everything
    assert held["accuracy"] < 1


def test_equal_blocks_are_the_linearised_ratio():
    """Of blocks of equal size and classes: SE² = B/(B − 1)·Σd², Student's t of B − 1 on the logit scale; by hand."""
    right = np.array([[60, 30], [70, 35], [50, 20], [66, 38]])
    matrices = np.array([[[a, 80 - a], [40 - b, b]] for a, b in right])
    # all pixels are 120 in each block, so that accuracy's parts are equal
    accuracy = right.sum() / 480
    pulls = (right.sum(axis=1) - accuracy * 120) / 480
    error = np.sqrt(4 / 3 * (pulls**2).sum())
    half = student_t.ppf(0.975, 3) * error / (accuracy * (1 - accuracy))
    expected = [1 / (1 + np.exp(-(np.log(accuracy / (1 - accuracy)) + side * half))) for side in (-1, 1)]
    assert block_intervals(matrices)["pixel_accuracy"] == pytest.approx(expected)
    recall = right.sum(axis=0) / [320, 160]
    pulls = ((right - recall * [80, 40]) / [320, 160]).mean(axis=1)
    score = block_scores(block_counts(matrices))["macc"]
    assert (score.value, score.freedom) == (pytest.approx(recall.mean()), pytest.approx(3))
    assert (score.pulls**2).sum() == pytest.approx(4 / 3 * (pulls**2).sum())


def test_a_class_that_blocks_lack_stays_in_the_mean():
    """A map that never says the second class: its IoU is 0 on any ground, so that mIoU is about a half at most."""
    matrices = np.array([[[980, 0], [20 * has, 0]] for has in (1, 0, 0, 1, 0, 1)])
    found = block_intervals(matrices)
    assert found["miou"][1] < 0.51 and found["miou"][0] < scores_from_confusion(matrices.sum(axis=0))["miou"]
    assert found["per_class"][1] == [0, 0] and found["in_one_block"] == []
    perfect = block_intervals(matrices * np.eye(2, dtype=np.int64))
    assert perfect["miou"] == perfect["pixel_accuracy"] == [1, 1] and perfect["per_class"][1] is None


def test_a_class_in_one_block_is_named_and_empty_blocks_count_for_none():
    matrices = np.array([[[8, 2, 0], [1, 9, 0], [0, 0, 0]]] * 2 + [[[0] * 3] * 3, [[6, 3, 1], [2, 1, 0], [0, 1, 4]]])
    found = block_intervals(matrices)
    assert found["blocks"] == 3 and found["in_one_block"] == [2] and found["refused"] is None
    assert found["per_class"][2] is None and None not in found["per_class"][:2]
    assert block_intervals(np.pad(matrices, ((0, 0), (0, 1), (0, 1))))["per_class"][3] is None
    # one large block among small ones tells hardly more than one
    assert block_scores(block_counts(matrices * [[[100]], [[1]], [[1]], [[1]]]))["miou"].freedom == 1


def test_a_block_that_holds_nearly_all_is_no_sample():
    """Of so uneven blocks half of the intervals would miss the truth: of all, or of a class."""
    matrix = np.array([[8, 2], [1, 9]])
    found = block_intervals(matrix * np.array([1000, 1, 1, 1])[:, None, None])
    assert [found[name] for name in ("miou", "macc", "pixel_accuracy")] == [None] * 3
    assert found["per_class"] == [None, None] and found["in_one_block"] == [0, 1]
    assert found["refused"] == "of 4 blocks of ground one holds 99.7 % of the labelled pixels"
    of_class = block_intervals(np.stack([matrix * [[1], [1000]]] + [matrix * [[5000], [1]]] * 3))
    assert of_class["in_one_block"] == [1] and of_class["per_class"][1] is None and of_class["miou"] is not None
    assert block_intervals(matrix * np.array([20, 1, 1, 1])[:, None, None])["refused"] is None


def test_a_mean_whose_errors_all_lie_in_one_block_has_no_interval():
    matrices = np.zeros((4, 3, 3), np.int64)
    matrices[:, 0, 0], matrices[0, 1, 0], matrices[0, 2, 1:] = 90, 20, 5
    found = block_intervals(matrices)
    assert found["macc"] is None and found["pixel_accuracy"] is not None and found["in_one_block"] == [1, 2]


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_fewer_than_three_blocks_have_no_interval(blocks):
    found = block_intervals(np.ones((blocks, 2, 2), np.int64))
    assert [found[name] for name in ("miou", "macc", "pixel_accuracy")] == [None] * 3
    assert found["per_class"] == [None, None] and found["blocks"] == blocks
    assert "fewer than 3 blocks" in found["refused"]


def test_a_difference_is_that_of_the_same_blocks():
    """Blocks are hard for both alike: each score alone is unsure, the difference is not."""
    right = np.array([20, 45, 70, 95, 60])
    one, other = (np.array([[[r + gain, 100 - r - gain], [30, 70]] for r in right]) for gain in (4, 0))
    mine, its = (block_scores(block_counts(matrices)) for matrices in (one, other))
    for name, value in (("pixel_accuracy", 0.02), ("macc", 0.02)):
        difference = mine[name].minus(its[name])
        assert difference == {"value": pytest.approx(value), "interval": pytest.approx([value, value])}
        assert its[name].interval[1] - its[name].interval[0] > 0.2
    low, high = mine["miou"].minus(its["miou"])["interval"]
    assert 0 < low < mine["miou"].value - its["miou"].value < high
    reverse = its["miou"].minus(mine["miou"])["interval"]
    assert reverse == pytest.approx([-high, -low])
    both = BlockScore.mean([mine["miou"], its["miou"]])
    assert both.value == pytest.approx((mine["miou"].value + its["miou"].value) / 2) and both.interval
    none = BlockScore(None, None, 0.0)
    assert both.minus(none) == {"value": None, "interval": None} and BlockScore.mean([none]).interval is None
    assert BlockScore.mean([mine["miou"], none]).value == mine["miou"].value
