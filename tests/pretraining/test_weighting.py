"""SAR-W: the weights of pixels, with each way of scaling power."""

import math

import numpy as np
import pytest
import torch

from alos2tut.pretraining.weighting import sar_weights, sar_weights_db


def test_sar_weights_by_hand():
    power = torch.tensor([[[[1.0, 3.0], [5.0, 100.0]]]])
    valid = torch.tensor([[[[True, True], [True, False]]]])
    weights = sar_weights(power, valid, 2.0)
    expected = torch.tensor([[[[math.exp(2), math.exp(1)], [1.0, 0.0]]]])
    torch.testing.assert_close(weights, expected)
    assert weights.dtype == torch.float32


def test_sar_weights_are_of_each_image_alone():
    power = torch.rand(3, 1, 8, 8)
    valid = torch.ones_like(power, dtype=torch.bool)
    together = sar_weights(power, valid)
    alone = torch.cat([sar_weights(power[i : i + 1], valid[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)
    torch.testing.assert_close(sar_weights(1000 * power, valid), together)
    assert together.amin() == 1 and together.amax() == pytest.approx(math.e)


def test_sar_weights_of_decibels():
    db = np.array([[[0.0, 10.0], [np.nan, 7.0]]])
    expected = [[math.e, 1.0], [0.0, math.exp(1 - (10**0.7 - 1) / 9)]]
    np.testing.assert_allclose(sar_weights_db(db)[0], expected, rtol=1e-5)


def test_sar_weights_stay_in_float32():
    power = torch.rand(1, 1, 4, 4, dtype=torch.float16)
    assert sar_weights(power, torch.ones_like(power, dtype=torch.bool)).dtype == torch.float32


# --- robust ways of scaling


def _random(shape=(2, 1, 16, 16), missing=0.2):
    generator = torch.Generator().manual_seed(0)
    power = torch.rand(shape, generator=generator) ** 3
    return power, torch.rand(shape, generator=generator) >= missing


@pytest.mark.parametrize("percentiles", [(1, 99), (0, 100), (25, 60.5)])
def test_percentiles_are_numpys(percentiles):
    power, valid = _random()
    weights = sar_weights(power, valid, 1.5, "sar_percentile", percentiles).numpy()
    for image, there, weight in zip(power.numpy(), valid.numpy(), weights, strict=True):
        low, high = np.percentile(image[there], percentiles)
        scaled = np.clip((image - low) / (high - low), 0, 1)
        np.testing.assert_allclose(weight[there], np.exp(1.5 * (1 - scaled))[there], rtol=1e-5)
        assert (weight[~there] == 0).all()


def test_ranks_by_counting():
    power, valid = _random((1, 2, 5, 6))
    power[0, 0, 0, :3] = power[0, 0, 1, 1]  # ties
    weights = sar_weights(power, valid, 1.0, "sar_ecdf")
    for c in range(2):
        values = power[0, c][valid[0, c]]
        for row, col in valid[0, c].nonzero():
            share = (values < power[0, c, row, col]).sum() / (len(values) - 1)
            assert weights[0, c, row, col] == pytest.approx(math.exp(1 - share), rel=1e-6)
    assert (weights[~valid] == 0).all()


@pytest.mark.parametrize("weighting", ["sar", "sar_percentile", "sar_ecdf"])
def test_weights_of_constant_single_and_missing_pixels(weighting):
    constant = torch.full((1, 1, 4, 4), 0.3)
    there = torch.ones_like(constant, dtype=torch.bool)
    assert torch.allclose(sar_weights(constant, there, 1.0, weighting), torch.tensor(math.e))
    assert (sar_weights(constant, ~there, 1.0, weighting) == 0).all()
    alone = ~there
    alone[0, 0, 2, 1] = True
    weights = sar_weights(constant, alone, 1.0, weighting)
    assert weights[0, 0, 2, 1] == pytest.approx(math.e) and (weights[~alone] == 0).all()


@pytest.mark.parametrize("weighting", ["sar", "sar_percentile", "sar_ecdf"])
def test_what_is_missing_does_not_matter(weighting):
    power, valid = _random()
    expected = sar_weights(power, valid, 1.0, weighting)
    for value in (0.0, 1e9, math.nan, math.inf):
        assert torch.equal(sar_weights(torch.where(valid, power, value), valid, 1.0, weighting), expected)


def test_one_strong_scatterer_upsets_the_extremes_only():
    """The published weight is nearly e everywhere beside a strong target; percentiles and ranks hardly move."""
    power, valid = _random((1, 1, 64, 64), missing=0)
    bright = power.clone()
    bright[0, 0, 5, 5] = 1000.0
    others = torch.ones_like(valid)
    others[0, 0, 5, 5] = False
    moved = {
        weighting: (sar_weights(bright, valid, 1.0, weighting) - sar_weights(power, valid, 1.0, weighting))[others]
        for weighting in ("sar", "sar_percentile", "sar_ecdf")
    }
    assert sar_weights(bright, valid)[others].min() > 0.99 * math.e
    assert moved["sar"].abs().max() > 1
    assert moved["sar_percentile"].abs().max() < 0.02 and moved["sar_ecdf"].abs().max() < 0.001
