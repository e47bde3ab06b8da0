"""Reliability with known answers, and a temperature that is found again."""

import numpy as np
import pytest
import torch
from support.networks import tiny_segmenter
from support.packed import write_packed_dataset

from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation.calibration import (
    BINS,
    HIGHEST,
    LOWEST,
    fit_temperature,
    labelled_logits,
    reliability,
    reliability_counts,
)
from alos2tut.networks.inference import scored_batches


def drawn(temperature, n=60_000, classes=4, seed=0):
    """Logits of a network that is right as often as it says once they are divided by this temperature."""
    random = np.random.default_rng(seed)
    z = random.normal(scale=2, size=(n, classes))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(max=classes - 1)
    return (z * temperature).astype(np.float32), labels.astype(np.int64)


def test_reliability_by_hand():
    """Two classes; confidences 0.9 (three pixels, two right), 0.55 (one, right), and an ignored pixel."""
    p = torch.tensor([0.9, 0.1, 0.9, 0.55, 0.99])
    logits = torch.stack([p.log(), (1 - p).log()])[None, :, None]
    labels = torch.tensor([0, 1, 1, 0, 255])[None, None]
    found = reliability(reliability_counts(logits, labels).numpy())
    filled = {index: of for index, of in enumerate(found["bins"]) if of["pixels"]}
    assert list(filled) == [8, 13] and len(found["bins"]) == BINS  # [8/15, 9/15) holds 0.55, [13/15, 14/15) 0.9
    assert filled[13]["pixels"] == 3 and filled[13]["accuracy"] == pytest.approx(2 / 3)
    assert filled[13]["confidence"] == pytest.approx(0.9) and filled[8]["confidence"] == pytest.approx(0.55)
    assert found["ece"] == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * (1 - 0.55))


def test_without_pixels_and_with_certainty():
    found = reliability(reliability_counts(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1), 255)).numpy())
    assert found["ece"] is None and {of["accuracy"] for of in found["bins"]} == {None}
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) is None
    # and certainty falls into the last bin
    counts = reliability_counts(torch.tensor([1000.0, 0.0]).view(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    assert counts[:, -1].tolist() == [1, 1, 2**24]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature):
    logits, labels = drawn(temperature)
    found = fit_temperature(logits, labels)
    assert found.value == pytest.approx(temperature, rel=0.03) and not found.at_limit and found.pixels == 60_000
    images = torch.from_numpy(logits).T[None, :, None], torch.from_numpy(labels)[None, None]
    before, after = (reliability(reliability_counts(*images, t).numpy())["ece"] for t in (1.0, found.value))
    assert after < 0.01 and (temperature == 1.0 or before > 0.05)


def test_it_is_where_the_likelihood_is_greatest():
    logits, labels = drawn(1.7, n=500)
    found = fit_temperature(logits, labels).value

    def nll(t):
        return torch.nn.functional.cross_entropy(torch.from_numpy(logits).double() / t, torch.from_numpy(labels)).item()

    assert nll(found) <= min(nll(found * 0.99), nll(found * 1.01))


@pytest.mark.parametrize(("sign", "limit"), [(1, LOWEST), (-1, HIGHEST)])
def test_always_right_or_always_wrong_stays_in_range(sign, limit):
    found = fit_temperature(np.array([[sign * 3.0, 0.0]] * 9), np.zeros(9, np.int64))
    assert (found.value, found.at_limit) == (limit, True)


def test_pixels_come_evenly_from_the_whole_list(tmp_path):
    dataset = open_dataset(write_packed_dataset(tmp_path / "dataset", n_held_out=5))
    segmenter = tiny_segmenter(dataset)
    split = dataset.split("val")
    batches = [(truth, output) for _, truth, output in scored_batches(segmenter, split, 2)]
    truth, output = (torch.cat(parts) for parts in zip(*batches, strict=True))
    every = output.movedim(1, -1)[truth != 255], truth[truth != 255]
    logits, labels = labelled_logits(segmenter, split, 2)
    assert np.array_equal(logits, every[0]) and np.array_equal(labels, every[1])
    some, of_them = labelled_logits(segmenter, split, 2, most=100)
    places = [int(np.flatnonzero((logits == row).all(axis=1))[0]) for row in some]
    part = len(labels) / 100
    assert all(int(i * part) <= place <= (i + 1) * part for i, place in enumerate(places))
    assert np.array_equal(of_them, labels[places]) and len({place % 32 for place in places}) > 16
