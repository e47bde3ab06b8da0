"""Window statistics: those of SciPy's filters, and facts that hold of any."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from alos2tut.core.errors import Alos2TutError
from alos2tut.evaluation.forest import multiscale_statistics
from alos2tut.networks.multiscale import WINDOWS_PX, window_statistics


def _power(seed=0):
    random = np.random.default_rng(seed)
    # from −25 dB to +5 dB
    power = random.gamma(2, 0.5, (2, 3, 40, 37)) * 10 ** random.uniform(-2.5, 0.5, (2, 3, 40, 37))
    power[random.random(power.shape) < 0.2] = np.nan
    power[0, 1, :12, :15] = np.nan
    return power


def _filtered(power):
    """Mean and variation of an image (C, H, W) by moving averages of SciPy, window by window, (H, W, n)."""
    known = np.isfinite(power)
    filled = np.where(known, power, 0.0)
    columns = []
    for channel, valid in zip(filled, known.astype(np.float64), strict=True):
        for side in WINDOWS_PX:
            share, mean, square = (
                uniform_filter(of, side, mode="constant") for of in (valid, channel, channel * channel)
            )
            # a share below that of half a pixel is rounding
            has_any = share > 0.5 / side**2
            mean, square = (np.divide(of, share, out=np.zeros_like(of), where=has_any) for of in (mean, square))
            cv = np.sqrt(np.maximum(square - mean**2, 0)) / np.maximum(mean, np.finfo(np.float32).tiny)
            mean_db = 10 * np.log10(np.maximum(mean, np.finfo(np.float32).tiny))
            columns += [np.where(has_any, of, 0) for of in (mean_db, np.log(np.maximum(cv, 1e-3)))]
    return np.stack(columns, axis=-1).astype(np.float32)


def test_they_are_those_of_moving_averages_and_the_floors():
    power = _power()
    given = torch.from_numpy(power)
    mean_db, log_cv, _ = window_statistics(given, given.isfinite(), WINDOWS_PX)
    assert mean_db.shape == log_cv.shape == (2, 3, 5, 40, 37) and mean_db.dtype == log_cv.dtype == torch.float32
    for image, db, cv in zip(power, mean_db, log_cv, strict=True):
        ours = torch.stack([db, cv], dim=2).permute(3, 4, 0, 1, 2).flatten(2)
        torch.testing.assert_close(ours, torch.from_numpy(_filtered(image)), rtol=1e-5, atol=1e-4)
        assert torch.equal(ours, torch.from_numpy(multiscale_statistics(image)))


def test_the_share_is_that_of_the_windows_area():
    valid = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    valid[0, 0, 4, 4] = False
    power = torch.where(valid, 0.1, math.nan)
    mean_db, log_cv, share = window_statistics(power, valid, (1, 3, 5))
    # in the middle the one pixel is missing; at a corner what lies beyond the edge is, too
    torch.testing.assert_close(share[0, 0, :, 4, 4], torch.tensor([0, 8 / 9, 24 / 25]))
    torch.testing.assert_close(share[0, 0, :, 0, 0], torch.tensor([1, 4 / 9, 9 / 25]))
    torch.testing.assert_close(mean_db[0, 0, :, 4, 4], torch.tensor([0.0, -10, -10]))
    torch.testing.assert_close(log_cv[0, 0, :, 4, 4], torch.tensor([0, math.log(1e-3), math.log(1e-3)]))


def test_what_does_not_count_may_be_anything():
    power = torch.from_numpy(np.nan_to_num(_power(1), nan=0.0))
    valid = torch.rand(power.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    spoiled = torch.where(valid, power, math.inf)
    for one, other in zip(*(window_statistics(each, valid, (3, 9)) for each in (power, spoiled)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("side", [0, 4])
def test_a_window_has_a_middle(side):
    with pytest.raises(Alos2TutError, match=f"windows of {side} px"):
        window_statistics(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.bool), (3, side))
