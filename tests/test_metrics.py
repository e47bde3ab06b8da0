"""Scores from counts: boundaries by brute force, water, intervals that cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.legend import legend_names, load_legend
from alos2tut.metrics import (
    bootstrap_intervals,
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


def simulated_blocks(random, blocks):
    """Confusion matrices of blocks that differ in size, in their classes and in how hard they are."""
    matrices = np.empty((blocks, 3, 3), np.int64)
    for matrix in matrices:
        shares = random.dirichlet([2, 2, 2]) * random.integers(200, 2000)
        right = random.beta(6, 3)
        chances = np.full((3, 3), (1 - right) / 2) + np.eye(3) * (right - (1 - right) / 2)
        matrix[:] = [random.multinomial(int(n), p) for n, p in zip(shares, chances, strict=True)]
    return matrices


def test_intervals_cover_the_score_of_all_ground():
    """95 % intervals from 40 blocks hold what endless ground scores in about 95 of 100 surveys."""
    random = np.random.default_rng(1)
    truth = scores_from_confusion(simulated_blocks(random, 20_000).sum(axis=0))
    surveys, covered = 200, dict.fromkeys(("miou", "macc", "pixel_accuracy", "iou"), 0)
    for seed in range(surveys):
        found = bootstrap_intervals(simulated_blocks(random, 40), draws=300, seed=seed)
        intervals = {**{name: found[name] for name in covered if name != "iou"}, "iou": found["per_class"][0]}
        values = {**truth, "iou": truth["per_class"][0]["iou"]}
        for name, (low, high) in intervals.items():
            covered[name] += low <= values[name] <= high
    # three standard errors of a count of 200 around 93 %, which percentiles of so few blocks reach
    assert all(0.875 * surveys <= count <= 0.985 * surveys for count in covered.values()), covered


def test_intervals_are_of_resampled_blocks():
    matrices = np.array([[[8, 2], [1, 9]], [[1, 3], [0, 0]], [[0, 0], [0, 0]]])
    found = bootstrap_intervals(matrices, draws=2000, seed=3)
    # the empty block is passed over; the outcomes are: one of the two blocks twice, or both
    outcomes = [scores_from_confusion(m)["miou"] for m in (2 * matrices[0], matrices.sum(axis=0), 2 * matrices[1])]
    assert found["blocks"] == 2 and found["miou"] == pytest.approx([min(outcomes), max(outcomes)])
    # where the second class has no pixel it is left out: IoU of the first class alone
    assert outcomes[2] == 1 / 4
    # the second class lies in one block only
    assert found["per_class"][0] is not None and found["per_class"][1] is None
    many = simulated_blocks(np.random.default_rng(0), 20)
    again, other = (bootstrap_intervals(many, seed=seed) for seed in (3, 4))
    assert bootstrap_intervals(many, seed=3) == again != other


@pytest.mark.parametrize("blocks", [0, 1])
def test_fewer_than_two_blocks_have_no_interval(blocks):
    found = bootstrap_intervals(np.ones((blocks, 2, 2), np.int64))
    assert found["miou"] is None and found["per_class"] == [None, None] and found["blocks"] == blocks
    assert "fewer than two blocks" in found["refused"]
