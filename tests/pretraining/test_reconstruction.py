"""What a network makes of hidden pixels, and its errors."""

import numpy as np
import pytest
import torch
from scipy.stats import t as student_t
from support import networks
from support.packed import write_packed_dataset

from alos2tut.configs import load_config
from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.store import open_dataset
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.pretraining.mixmae import MixMAE
from alos2tut.pretraining.reconstruction import (
    draw_mask,
    hidden_pixels,
    local_mean_db,
    mask_pixels,
    means_by_group,
    reconstruct,
)
from alos2tut.pretraining.simmim import SimMIM

TINY = EncoderConfig(**networks.TINY)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = SimMIM(SwinEncoder(TINY, (32, 32))).eval()
    network.encoder.statistics = networks.STATISTICS
    return network


def test_reconstruction_in_parts_is_that_of_each_patch(network):
    """More patches than pass through the network at once; missing pixels are the mean to it."""
    db = np.random.default_rng(0).normal(-11, 6, (19, 1, 32, 32)).astype(np.float32).round(2)
    db[3, 0, :5] = np.nan
    mask = draw_mask(network, 19, 8, 0.6)
    whole = reconstruct(network, db, mask)
    assert whole.shape == db.shape and whole.dtype == np.float32 and np.isfinite(whole).all()
    x = torch.from_numpy(np.nan_to_num((db[3:4] + 11) / 6))
    with torch.no_grad():
        alone = network(x, torch.from_numpy(mask[3:4])).numpy() * 6 - 11
    np.testing.assert_allclose(whole[3:4], alone, atol=1e-4)


def test_hidden_pixels_do_not_tell_the_network_anything(network):
    db = np.random.default_rng(0).normal(-11, 6, (2, 1, 32, 32)).astype(np.float32)
    mask = draw_mask(network, 2, 8, 0.6)
    other = np.where(mask_pixels(mask, 2)[:, None], 20.0, db)
    np.testing.assert_array_equal(reconstruct(network, db, mask), reconstruct(network, other, mask))


def test_missing_pixels_leave_a_units_mean_and_spread():
    """MixMAE is told each unit's own scale: that of the pixels that are there."""
    torch.manual_seed(0)
    config = EncoderConfig(**networks.MIXED)
    mixmae = MixMAE(SwinEncoder(config, (32, 32)), width=16, depth=1, heads=2).eval()
    mixmae.encoder.statistics = networks.STATISTICS
    db = np.full((2, 1, 32, 32), -3.0, np.float32)
    db[:, :, :12] = np.nan
    guessed = reconstruct(mixmae, db, draw_mask(mixmae, 2, 16, 0.5))
    np.testing.assert_allclose(guessed[:, :, :16], -3.0, atol=0.5)


def test_surroundings_are_means_of_power():
    db = np.full((9, 9), -10.0, np.float32)
    db[4, 4] = 10 * np.log10(50 * 0.1 - 49 * 0.1 + 4.9)  # makes the mean of 7 × 7 pixels 0.2
    np.testing.assert_allclose(local_mean_db(db)[4, 4], 10 * np.log10((48 * 0.1 + 10 ** (db[4, 4] / 10)) / 49), 1e-5)
    holes = db.copy()
    holes[0] = np.nan
    assert local_mean_db(holes)[4, 4] == local_mean_db(db)[4, 4]
    around = local_mean_db(np.where(db == db[4, 4], np.nan, db))
    assert np.isnan(around[4, 4]) and np.isnan(around).sum() == 1
    np.testing.assert_allclose(around[~np.isnan(around)], -10, atol=1e-4)


def test_hidden_pixels_are_those_with_data(network, packed_dataset):
    dataset = open_dataset(packed_dataset)
    config = load_config("pretrain", mask_unit_px=8)
    pixels = hidden_pixels(network, dataset, config)
    mask = mask_pixels(draw_mask(network, 4, 8, 0.6), 2)
    db = np.stack([dataset.split("val").db(i)[0] for i in range(4)])
    shown = mask & ~np.isnan(db)
    assert len(pixels.patch) == shown.sum() and set(pixels.patch) == {0, 1, 2, 3}
    np.testing.assert_array_equal(pixels.truth_db, db[shown])
    np.testing.assert_array_equal(pixels.label, dataset.split("val").gather(range(4))[1][shown])
    guess = reconstruct(network, db[:, None], draw_mask(network, 4, 8, 0.6))[:, 0]
    np.testing.assert_array_equal(pixels.error_db, guess[shown] - db[shown])


def test_an_empty_list_has_no_hidden_pixels(network, tmp_path):
    dataset = open_dataset(write_packed_dataset(tmp_path / "dataset", n_held_out=0))
    with pytest.raises(Alos2TutError, match=r"val\.csv: the list is empty"):
        hidden_pixels(network, dataset, load_config("pretrain", mask_unit_px=8))


def test_means_by_group():
    values = np.array([1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 5.0])
    group, patch = np.array([0, 0, 0, 1, 1, 1, 9]), np.array([0, 1, 2, 0, 0, 1, 1])
    means = means_by_group(values, group, 3, patch)
    assert means[:2, 0].tolist() == [3.0, 20.0] and np.isnan(means[2]).all()
    half = student_t.ppf(0.975, 2) * 2 / np.sqrt(3)  # one pixel of each patch: the interval of a mean of three
    assert means[0, 1:] == pytest.approx([3 - half, 3 + half])
    assert np.isnan(means[1, 1:]).all()  # two patches alone say nothing of others


def test_intervals_hold_the_truth():
    """Patches of different level, 40 pixels each: intervals that took pixels for independent would be far too short."""
    random, held = np.random.default_rng(1), 0
    for _ in range(200):
        patch = np.repeat(np.arange(30), 40)
        values = random.normal(size=30)[patch] + random.normal(size=patch.size)
        _, low, high = means_by_group(values, np.zeros(patch.size, int), 1, patch)[0]
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.99
