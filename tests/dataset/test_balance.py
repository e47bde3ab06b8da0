"""How common classes are, and the sampling that evens them out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alos2tut import Alos2TutError
from alos2tut.dataset.balance import (
    class_chances,
    class_weights,
    exceeds_share,
    histogram,
    points_per_class,
    sample_patches,
)

some_pixels = st.lists(st.integers(0, 10**12), min_size=1, max_size=12).filter(any)
temperatures = st.floats(1, 100) | st.just(math.inf)


# --- chances of classes


def test_chances_are_shares_to_the_power_of_one_over_the_temperature():
    pixels = [900, 90, 10, 0]
    np.testing.assert_allclose(class_chances(pixels, 1), [0.9, 0.09, 0.01, 0])
    roots = np.array([math.sqrt(0.9), 0.3, 0.1, 0])
    np.testing.assert_allclose(class_chances(pixels, 2), roots / roots.sum())
    np.testing.assert_allclose(class_chances(pixels, math.inf), [1 / 3, 1 / 3, 1 / 3, 0])


@given(some_pixels, temperatures, temperatures)
def test_chances_even_out_as_the_temperature_rises(pixels, one, other):
    cool, warm = (class_chances(pixels, temperature) for temperature in sorted((one, other)))
    there = np.array(pixels) > 0
    for chances in (cool, warm):
        assert chances.sum() == pytest.approx(1) and (chances[there] > 0).all() and not chances[~there].any()
        # a commoner class never has the smaller chance
        assert (np.diff(chances[np.argsort(pixels)]) >= -1e-12).all()
    assert warm.max() <= cool.max() + 1e-9 and warm[there].min() >= cool[there].min() - 1e-9


@given(some_pixels, st.integers(1, 10**6), temperatures)
def test_points_of_the_classes_sum_to_all_and_are_their_due_within_one(pixels, points, temperature):
    dealt = points_per_class(pixels, points, temperature)
    due = points * class_chances(pixels, temperature)
    assert dealt.sum() == points and (np.abs(dealt - due) < 1 + 1e-6).all()
    assert not dealt[np.array(pixels) == 0].any()


def test_points_left_over_go_to_the_largest_remainders():
    # 10 × (0.46, 0.27, 0.27) is 4.6, 2.7, 2.7
    assert points_per_class([46, 27, 27], 10, 1).tolist() == [4, 3, 3]
    assert points_per_class([1, 1, 1], 2, 1).tolist() == [1, 1, 0]


# --- patches with a point


def some_counts(n: int = 400, seed: int = 0) -> np.ndarray:
    """Pixels of four classes: one in all patches, one in a tenth, one in a few, one nowhere."""
    random = np.random.default_rng(seed)
    counts = np.zeros((n, 4), dtype=np.int64)
    counts[:, 0] = random.integers(500, 1000, n)
    counts[: n // 10, 1] = random.integers(1, 400, n // 10)
    counts[n // 2 : n // 2 + 4, 2] = [1, 10, 100, 1000]
    return counts


@given(st.integers(0, 1000), st.integers(1, 3000), temperatures)
def test_a_patch_bears_a_class_that_it_holds(seed, points, temperature):
    counts = some_counts()
    chosen = sample_patches(counts, points, temperature, seed)
    hit = np.flatnonzero(chosen >= 0)
    assert chosen.dtype == np.int16 and chosen.min() >= -1 and 1 <= len(hit) <= points
    assert (counts[hit, chosen[hit]] > 0).all()
    np.testing.assert_array_equal(chosen, sample_patches(counts, points, temperature, seed))


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.uint16])
def test_the_type_of_the_counts_makes_no_difference(dtype):
    counts = some_counts(3000)
    np.testing.assert_array_equal(sample_patches(counts.astype(dtype), 500, 2, 0), sample_patches(counts, 500, 2, 0))
    assert histogram(counts.astype(dtype), "abcd") == histogram(counts, "abcd")


def test_patches_are_hit_in_proportion_to_their_pixels_of_the_class():
    counts = some_counts()
    points, draws = 30, 600
    hit = np.mean([sample_patches(counts[:, :1], points, 1, seed) >= 0 for seed in range(draws)], axis=0)
    share = counts[:, 0] / counts[:, 0].sum()
    expected = 1 - (1 - share) ** points
    spread = np.sqrt(expected * (1 - expected) / draws)
    assert np.abs((hit - expected) / spread).max() < 4.5
    # seeds differ, else all were hit always or never
    assert hit.sum() == pytest.approx(expected.sum(), rel=0.01)
    # larger patches more often: not all alike
    assert np.corrcoef(hit, share)[0, 1] > 0.5


def test_of_several_points_a_patch_bears_the_rarest_class():
    counts = np.array([[1000, 50, 5]])
    assert sample_patches(counts, 300, math.inf, 0).tolist() == [2]
    assert sample_patches(counts[:, ::-1], 300, math.inf, 0).tolist() == [0]
    # rare over all patches, not in this one
    assert sample_patches(np.array([[5, 50], [5000, 0]]), 1000, math.inf, 0).tolist() == [1, 0]
    assert sample_patches(np.array([[7, 7]]), 100, 1, 0).tolist() == [1]


def test_more_points_than_pixels_take_every_patch():
    counts = np.array([[2, 0], [1, 1], [0, 3]])
    assert sample_patches(counts, 10**9, 1, 0).tolist() == [0, 0, 1]


@pytest.mark.parametrize("call", [lambda c: sample_patches(c, 5, 1, 0), lambda c: class_weights(c.sum(axis=0))])
def test_without_labels_there_is_nothing_to_go_by(call):
    with pytest.raises(Alos2TutError, match="no patch has a labelled pixel"):
        call(np.zeros((7, 3), dtype=np.int64))


# --- caps, histograms, weights


def test_patches_with_too_much_of_a_class_are_told():
    counts = np.array([[51, 49], [50, 50], [0, 100], [0, 0]])
    assert exceeds_share(counts, {"forest": 0.5}, ["forest", "water"], 10).tolist() == [True, False, False, False]
    both = exceeds_share(counts, {"forest": 0.5, "water": 0.9}, ["forest", "water"], 10)
    assert both.tolist() == [True, False, True, False]
    assert not exceeds_share(counts, {}, ["forest", "water"], 10).any()
    # of all pixels, not of the labelled ones
    assert exceeds_share(np.array([[40, 0]]), {"forest": 0.5}, ["forest", "water"], 10).tolist() == [False]


def test_a_cap_on_what_is_no_class_is_refused():
    with pytest.raises(Alos2TutError, match=r"max_class_share: 'forrest'.*'forest'"):
        exceeds_share(np.ones((2, 2), dtype=np.int64), {"forrest": 0.5}, ["forest", "water"], 10)


def test_histograms_count_pixels_patches_and_majorities():
    counts = np.array([[5, 5, 0], [1, 9, 0], [0, 0, 0], [0, 3, 0]])
    found = histogram(counts, ("a", "b", "c"))
    assert found == {
        "pixels": {"a": 6, "b": 17, "c": 0},
        "patches": {"a": 2, "b": 3, "c": 0},
        "majority": {"a": 1, "b": 2, "c": 0},
    }
    assert all(type(number) is int for column in found.values() for number in column.values())
    assert histogram(counts[:0], "abc")["majority"] == {"a": 0, "b": 0, "c": 0}


@given(some_pixels.filter(lambda pixels: len(pixels) > 1))
def test_class_weights_are_the_published_rule(pixels):
    weights = class_weights(pixels)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, (1 - np.array(pixels) / sum(pixels)) / (len(pixels) - 1))
