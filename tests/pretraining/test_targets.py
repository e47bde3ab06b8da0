"""What is asked of hidden ground: windows' statistics and gradients, the likelihood of power, and a noisier input."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import gamma
from support.networks import MIXED, TINY, losses_of, training

from alos2tut.core.config import settings_for_key
from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import NO_DATA, Statistics
from alos2tut.dataset.store import open_dataset
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder, standardize
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.masks import draw_masks, token_to_pixel_mask
from alos2tut.pretraining.reconstruction import asked_db, draw_mask, hidden_pixels, reconstruct
from alos2tut.pretraining.simmim import Loss, SimMIM, gamma_error, masked_loss
from alos2tut.pretraining.stage import load_pretraining, losses, objective_of, pretrain
from alos2tut.pretraining.targets import WINDOWS_PX, ask, log_ratio_db, maps_of, target_share
from alos2tut.training.batches import batch_generator, draw_speckle, speckled
from alos2tut.tutorial.figures import pretraining as figures

TWO = Statistics((-11.0, -18.0), (6.0, 5.0))
WINDOWED = ["multiscale", "log_ratio"]


@pytest.fixture
def batch():
    """An image of two channels, of which a part is hidden and another has no data."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(-2500, 500, (1, 2, 32, 32), generator=generator, dtype=torch.int16)
    rows[0, 0, 9:11, 12] = NO_DATA
    mask = draw_masks(1, (32, 32), 16, 2, 0.6, generator)
    return rows, token_to_pixel_mask(mask, 2)


# --- targets


@pytest.mark.parametrize("target", WINDOWED)
def test_targets_by_hand(batch, target):
    """Window by window, in NumPy's float64."""
    rows, hidden = batch
    asked = ask(target, rows, hidden, TWO)
    maps, windows = maps_of(target), WINDOWS_PX[target]
    assert asked.values.shape == asked.counted.shape == (1, 2 * maps, 32, 32)
    db = np.where(rows.numpy() == NO_DATA, np.nan, rows.numpy() / 100)
    counted = 0
    for b, c, k, row, col in np.ndindex(1, 2, len(windows), 32, 32):
        half = windows[k] // 2
        place = (slice(max(row - half, 0), row + half + 1), slice(max(col - half, 0), col + half + 1))
        window = 10 ** (db[b, c][place] / 10)
        whole = window.shape == (windows[k],) * 2 and hidden[b, 0][place].all() and not np.isnan(window).any()
        found = [asked.values[b, c * maps + k + shift, row, col].item() for shift in (0, len(windows))]
        assert [bool(asked.counted[b, c * maps + k + shift, row, col]) for shift in (0, len(windows))] == [whole] * 2
        if not whole:
            continue
        counted += 1
        if target == "multiscale":
            expected = [(10 * np.log10(window.mean()) - TWO.mean_db[c]) / TWO.std_db[c]]
            expected += [(np.log(window.std() / window.mean()) + 0.4) / 0.4]
        else:
            halves = [(window[:, half + 1 :], window[:, :half]), (window[half + 1 :], window[:half])]
            expected = [10 * np.log10(one.mean() / other.mean()) / 2.5 for one, other in halves]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert counted > 500


@pytest.mark.parametrize("target", WINDOWED)
def test_no_answer_is_given_away(batch, target):
    """What is visible changes no target that counts."""
    rows, hidden = batch
    asked, other = (ask(target, of, hidden, TWO) for of in (rows, torch.where(hidden, rows, rows // 2)))
    assert torch.equal(asked.counted, other.counted) and torch.equal(asked.values, other.values)
    assert not torch.equal(ask(target, torch.where(hidden, rows // 2, rows), hidden, TWO).values, asked.values)


def test_gradients_are_the_same_on_bright_and_dark_ground():
    power = torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(1)) + 0.1
    inside = (..., slice(4, -4), slice(4, -4))
    found = log_ratio_db(power, 9)
    torch.testing.assert_close(log_ratio_db(1000 * power, 9)[inside], found[inside], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_ratio_db(power.flip(-1), 9).flip(-1)[inside], -found[inside], rtol=1e-4, atol=1e-4)
    assert log_ratio_db(torch.tensor([1.0] * 6 + [10.0] * 6).expand(1, 1, 12, 12), 5)[0, 0, 5, 5] > 5


def test_pixels_are_the_standardised_image(batch):
    rows, hidden = batch
    asked = ask("pixels", rows, hidden, TWO)
    values, valid = standardize(rows, TWO)
    assert torch.equal(asked.values, values) and torch.equal(asked.counted, hidden & valid)
    assert asked.unit_db.flatten().tolist() == [6, 5] and maps_of("pixels") == 1


@pytest.mark.parametrize("target", ["pixels", *WINDOWED])
@pytest.mark.parametrize(("image_px", "unit"), [((64, 32), 8), ((64, 64), 16)])
def test_the_share_that_counts_is_that_of_drawn_masks(target, image_px, unit):
    hidden = token_to_pixel_mask(draw_masks(200, image_px, unit, 1, 0.6, torch.Generator().manual_seed(0)), 1)
    counted = ask(
        target, torch.full(hidden.shape, -900, dtype=torch.int16), hidden, Statistics((-9.0,), (5.0,))
    ).counted
    expected = target_share(target, image_px, unit, 0.6)
    assert list(expected) == list(WINDOWS_PX[target])
    for k, share in enumerate(expected.values()):
        assert counted[:, k].sum() / hidden.sum() == pytest.approx(share, abs=0.02)
    if target == "pixels":
        assert expected == {1: pytest.approx(1, abs=1e-12)}


# --- the loss


def test_gamma_is_the_likelihood_of_multilook_power():
    """Differences of the negative log-density of 3 looks, as SciPy has it, over looks."""
    power, means = 0.7, np.array([0.2, 0.7, 1.9])
    density = -gamma.logpdf(power, a=3, scale=means / 3) / 3
    found = gamma_error(torch.from_numpy(10 * np.log10(power / means))).numpy()
    np.testing.assert_allclose(found - found[1], density - density[1], atol=1e-12)
    assert found[1] == pytest.approx(0, abs=1e-12) and (found >= 0).all()


def test_the_best_guess_under_gamma_is_the_mean_of_power():
    """In physical dB: with another spread to standardise by, the best guess is the same ground."""
    power = np.random.default_rng(0).gamma(1, 1.0, (1, 1, 64, 64))
    everywhere = torch.ones(power.shape, dtype=torch.bool)
    for std in (2.0, 6.0):
        target = torch.from_numpy(10 * np.log10(power) / std)
        guess = torch.zeros((), dtype=torch.float64, requires_grad=True)
        guess_at = 10 * math.log10(power.mean()) / std + guess
        loss = masked_loss(guess_at.expand(target.shape), target, everywhere, None, everywhere, "gamma", unit_db=std)
        loss.backward()
        assert guess.grad.item() == pytest.approx(0, abs=1e-9)


# --- a noisier input


def test_the_network_sees_what_is_shown_and_is_asked_about_what_is():
    torch.manual_seed(0)
    network = SimMIM(SwinEncoder(EncoderConfig(**TINY), (32, 32))).eval()
    rows = torch.randint(-2500, 500, (2, 1, 32, 32), dtype=torch.int16)
    shown = speckled(rows, draw_speckle(tuple(rows.shape), 1, batch_generator(0, 0, "speckle")))
    mask = draw_masks(2, (32, 32), 8, 2, 0.6, torch.Generator())
    statistics = Statistics((-10.0,), (5.0,))
    hidden = token_to_pixel_mask(mask, 2)
    guess, truth = network(standardize(shown, statistics)[0], mask), standardize(rows, statistics)[0]
    loss, _ = losses(network, rows, mask, Loss(weighting="none"), statistics, shown)
    assert loss.item() == pytest.approx((guess - truth).abs()[hidden].mean().item(), rel=1e-4)


# --- settings and the stage


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"objective": "mixmae", "target": "multiscale"}, "objective=mixmae, target=multiscale"),
        ({"objective": "mixmae", "loss": "gamma"}, "loss=gamma, objective=mixmae"),
        ({"target": "log_ratio", "loss": "gamma"}, "loss=gamma, objective=simmim, target=log_ratio"),
        ({"input_looks": 0}, "input_looks"),
    ],
)
def test_settings_that_do_not_go_together(values, named):
    with pytest.raises(Alos2TutError, match=named):
        PretrainConfig(**values)


def test_windows_larger_than_what_is_hidden_are_refused(packed_dataset, tmp_path):
    values = {"target": "log_ratio", "mask_unit_px": 8, "mask_ratio": 0.1}
    with pytest.raises(Alos2TutError, match="no window of 9 px lies whole in what units of 8 px hide"):
        pretrain(training("pretrain", packed_dataset, tmp_path, **values))


def test_where_nothing_is_set_nothing_is_told():
    """Keys and headers are older than these settings."""
    told = {"target", "input_looks"}
    for config in (PretrainConfig(), PretrainConfig(objective="mixmae")):
        assert not told & settings_for_key(config).keys() and not told & objective_of(config).keys()
    config = PretrainConfig(target="multiscale", input_looks=3)
    assert told < settings_for_key(config).keys() and told < objective_of(config).keys()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"target": "multiscale", "weighting": "sar_ecdf", "normaliser": "weights"}, id="multiscale"),
        pytest.param({"target": "log_ratio", "loss": "huber"}, id="log_ratio"),
        pytest.param({"loss": "gamma"}, id="gamma"),
        pytest.param({"input_looks": 1.0}, id="noisier"),
        pytest.param({"input_looks": 1.0, "objective": "mixmae", "encoder": MIXED, "batch_size": 4}, id="mixed"),
    ],
)
def test_targets_train_and_come_back(values, packed_dataset, tmp_path):
    unit = {} if "objective" in values else {"mask_unit_px": 16}
    config = training("pretrain", packed_dataset, tmp_path, **{"batch_size": 3, "steps": 8, "lr": 2e-3} | unit | values)
    stage = pretrain(config)
    first, *later = losses_of(stage)
    assert min(later) < first
    run, target = json.loads((stage / "run.json").read_text()), config.target
    shares = {f"{side} px": pytest.approx(s, abs=1e-6) for side, s in target_share(target, (32, 32), 16, 0.6).items()}
    assert run.get("target_share") == (None if target == "pixels" else shares)
    network, dataset = load_pretraining(stage), open_dataset(packed_dataset)
    assert network.target == target
    with np.load(stage / "reconstructions.npz") as file:
        kept = dict(file)
    figures.plt.close(figures.reconstructions(stage, dataset.signal))
    if target == "log_ratio":
        assert kept["step"].size == 0
        with pytest.raises(Alos2TutError, match="log ratios says how backscatter changes"):
            hidden_pixels(network, dataset, config)
        return
    mask = draw_mask(network, 4, config.mask_unit_px, config.mask_ratio)
    asked = asked_db(network, kept["input_db"], mask)
    np.testing.assert_array_equal(reconstruct(network, kept["input_db"], mask), kept["reconstruction_db"][-1])
    assert kept["error_db"][-1, 0] == pytest.approx(np.nanmean(np.abs(kept["reconstruction_db"][-1] - asked)[0]))
    assert ("window_px" in kept) == (target == "multiscale")
    hidden = hidden_pixels(network, dataset, replace(config, seed=0))
    assert len(hidden.error_db) == np.isfinite(asked).sum()


def test_means_of_windows_are_what_a_reconstruction_is_held_against(packed_dataset):
    dataset = open_dataset(packed_dataset)
    network = SimMIM(SwinEncoder(EncoderConfig(**TINY), (32, 32)), "multiscale")
    network.encoder.statistics = dataset.statistics
    given = np.stack([dataset.split("val").db(i) for i in range(2)])
    asked = asked_db(network, given, draw_mask(network, 2, 16, 0.6))
    image, _, row, col = np.argwhere(np.isfinite(asked))[0]
    window = 10 ** (given[image, 0, row - 1 : row + 2, col - 1 : col + 2] / 10)
    assert window.size == 9 and asked[image, 0, row, col] == pytest.approx(10 * np.log10(window.mean()), abs=1e-3)
