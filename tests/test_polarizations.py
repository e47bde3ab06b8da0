"""Several polarisations at once, in every stage after the dataset: channels, weights, order, what one extends to."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from support.datasets import build
from support.figures import texts
from support.networks import MIXED, STATISTICS, TINY, losses_of, training
from support.packed import write_packed_dataset
from support.products import real_data

from alos2tut import evaluate, load_config
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning, Stopped
from alos2tut.dataset.encoding import NO_DATA, Statistics
from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation.robustness import robustness
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import build_encoder, linear_power, standardize
from alos2tut.networks.weights import extend_channels, load_encoder, load_segmenter
from alos2tut.pretraining.mixmae import MixMAE
from alos2tut.pretraining.probing import probe
from alos2tut.pretraining.simmim import Loss, SimMIM
from alos2tut.pretraining.stage import load_pretraining, pretrain
from alos2tut.pretraining.weighting import sar_weights
from alos2tut.segmentation.stage import finetune
from alos2tut.tutorial.figures import dataset as dataset_figures
from alos2tut.tutorial.figures import finetuning as finetuning_figures
from alos2tut.tutorial.figures import pretraining as pretraining_figures

CHANNELS = {2: ["HH", "HV"], 3: ["HH", "HV", "VV"]}
OBJECTIVES = {"simmim": {}, "mixmae": {"objective": "mixmae", "encoder": MIXED}}


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> dict[int, Path]:
    """Packed datasets of one, two and three channels, of the same ground."""
    folder = tmp_path_factory.mktemp("channels")
    given = {1: ["HH"], **CHANNELS}
    return {n: write_packed_dataset(folder / f"of_{n}", polarizations=names) for n, names in given.items()}


# --- weights


@pytest.mark.parametrize("weighting", ["sar", "sar_percentile", "sar_ecdf"])
@pytest.mark.parametrize("channels", ["per_channel", "shared_avg"])
def test_weights_of_channels_are_their_own_or_those_of_the_mean_power(weighting, channels):
    random = np.random.default_rng(0)
    db = -10 - 5 * np.arange(3)[:, None, None] + 10 * np.log10(random.gamma(2, 0.5, (2, 3, 8, 8)))
    valid = np.broadcast_to(random.random((2, 1, 8, 8)) > 0.2, db.shape)
    given = torch.from_numpy(10 ** (db / 10)), torch.from_numpy(valid.copy())
    found = sar_weights(*given, 1.5, weighting, (10, 90), channels).numpy()
    for image in range(2):
        power = 10 ** (db[image] / 10)
        if channels == "shared_avg":
            power = np.repeat(power.mean(axis=0, keepdims=True), 3, axis=0)
        for channel in range(3):
            there = valid[image, channel]
            values = power[channel][there]
            if weighting == "sar_ecdf":
                scaled = (values[:, None] > values).sum(axis=1) / (len(values) - 1)
            else:
                low, high = np.percentile(values, (0, 100) if weighting == "sar" else (10, 90))
                scaled = np.clip((values - low) / (high - low), 0, 1)
            np.testing.assert_allclose(found[image, channel][there], np.exp(1.5 * (1 - scaled)), rtol=1e-6)
            assert (found[image, channel][~there] == 0).all()


def test_settings_of_one_channel_are_keyed_as_ever_and_shared_weights_differ():
    config = load_config("pretrain")
    assert config.weight_channels == "per_channel" and "weight_channels" in config.KEYED_IF_SET
    assert {"statistics"} <= config.KEYED_IF_SET
    assert Loss.of(replace(config, weight_channels="shared_avg")).channels == "shared_avg"


# --- equal channels


def _stored(count: int, side: int = 32) -> torch.Tensor:
    """Stored patches (4, count, H, W) whose channels are equal, with a hole."""
    db = -10 + 10 * np.log10(np.random.default_rng(1).gamma(3, 1 / 3, (4, 1, side, side)))
    rows = np.rint(100 * db).astype(np.int16).repeat(count, axis=1)
    rows[:, :, 3:6, 10:20] = NO_DATA
    return torch.from_numpy(rows)


def _encoder(settings: dict[str, object], count: int) -> torch.nn.Module:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(**settings), (32, 32))
    encoder.statistics, encoder.signal = STATISTICS, {"polarizations": ["HH"]}
    if count > 1:
        equal = Statistics(STATISTICS.mean_db * count, STATISTICS.std_db * count)
        with pytest.warns(Alos2TutWarning, match="was trained on HH alone"):
            extend_channels(encoder, CHANNELS[count], equal, "here")
    return encoder


@pytest.mark.parametrize("count", CHANNELS)
@pytest.mark.parametrize("settings", [TINY, {**TINY, "kind": "vit", "depths": (2,), "num_heads": (4,)}])
def test_equal_channels_give_the_tokens_of_one(settings, count):
    one, several = _encoder(settings, 1), _encoder(settings, count)
    assert several.in_channels == count and several.extended_from == "HH" and one.extended_from is None
    x, wide = (standardize(_stored(n), e.statistics)[0] for n, e in ((1, one), (count, several)))
    torch.testing.assert_close(several.eval()(wide), one.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", CHANNELS)
@pytest.mark.parametrize("channels", ["per_channel", "shared_avg"])
@pytest.mark.parametrize("normaliser", ["count", "weights"])
def test_simmims_loss_of_equal_channels_is_that_of_one(count, channels, normaliser):
    found = []
    for n in (1, count):
        torch.manual_seed(2)
        network = SimMIM(_encoder(TINY, n)).eval()
        torch.manual_seed(3)
        kernel = torch.randn(network.encoder.stride**2, network.encoder.dim, 1, 1) / 10
        network.decoder[0].weight.data = kernel.repeat(n, 1, 1, 1)
        network.decoder[0].bias.data = torch.zeros(len(kernel) * n)
        mask = network.draw_masks(4, 8, 0.6, torch.Generator().manual_seed(0))
        assert mask.shape == (4, 16, 16)  # one for all channels of an image
        parts = network.parts(_stored(n), mask, Loss("l1", normaliser, channels=channels), network.encoder.statistics)
        found.append({name: (above / below).item() for name, (above, below) in parts.items()})
    assert found[0].keys() == found[1].keys() == {"loss", "mae_db"}
    for name, value in found[0].items():
        assert found[1][name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("count", CHANNELS)
def test_mixmaes_loss_of_equal_channels_is_that_of_one_but_for_the_samples_count(count):
    """A unit's variance is divided by its values less one, which are so many times as many."""
    found = []
    for n in (1, count):
        network = MixMAE(_encoder(MIXED, n), 16, 1, 2).eval()
        torch.manual_seed(3)
        kernel, bias = torch.randn(network.encoder.stride**2, 16) / 10, torch.zeros(network.encoder.stride**2)
        network.decoder.predict.weight.data = kernel.repeat_interleave(n, dim=0)  # channels last
        network.decoder.predict.bias.data = bias.repeat_interleave(n)
        torch.manual_seed(4)
        for parameter in (*network.decoder.blocks.parameters(), *network.decoder.embed.parameters()):
            parameter.data = torch.randn_like(parameter) / 10
        network.decoder.mask_token.data = torch.ones_like(network.decoder.mask_token)
        mask = network.draw_masks(4, network.unit_px, 0.5, torch.Generator().manual_seed(0))
        above, below = network.parts(_stored(n), mask, Loss("mse"), network.encoder.statistics)["loss"]
        found.append((above / below).item())
    assert found[1] == pytest.approx(found[0], rel=5 / network.unit_px**2)


# --- stages


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("count", CHANNELS)
def test_a_pretraining_of_several_channels(packed, tmp_path, objective, count):
    given = {"steps": 3, "batch_size": 4, **OBJECTIVES[objective]}
    folder = pretrain(training("pretrain", packed[count], tmp_path, **given))
    encoder = load_encoder(folder)
    assert encoder.in_channels == count and encoder.signal["polarizations"] == CHANNELS[count]
    assert len(encoder.statistics.mean_db) == count and "weight_channels" not in encoder.header["objective"]
    assert np.isfinite(losses_of(folder)).all()
    with np.load(folder / "reconstructions.npz") as kept:
        assert kept["reconstruction_db"].shape[2] == count and np.isfinite(kept["error_db"]).all()
    assert load_pretraining(folder).encoder.in_channels == count
    shared = training("pretrain", packed[count], tmp_path, weight_channels="shared_avg", **given)
    other = pretrain(shared)
    assert other != folder and losses_of(other)[0] != losses_of(folder)[0]
    assert load_encoder(other).header["objective"]["weight_channels"] == "shared_avg"
    assert load_pretraining(other).encoder.in_channels == count


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_stopped_pretraining_of_two_channels_ends_with_the_bits_of_one_that_was_not(packed, tmp_path, objective):
    given = {"steps": 3, "batch_size": 4, "checkpoint_every": 1, "drop_path": 0.3, **OBJECTIVES[objective]}
    straight = pretrain(training("pretrain", packed[2], tmp_path / "straight", **given))
    config = training("pretrain", packed[2], tmp_path / "stopped", **given)
    with pytest.raises(Stopped):
        pretrain(replace(config, stop_after_minutes=1e-9))
    resumed = pretrain(config)
    for name in ("encoder.safetensors", "decoder.safetensors", "metrics.csv", "run.json"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes(), name


@pytest.mark.parametrize("count", CHANNELS)
def test_segmentation_of_several_channels_is_trained_scored_and_probed(packed, tmp_path, count):
    encoder = pretrain(training("pretrain", packed[count], tmp_path, steps=1, batch_size=4))
    given = {"steps": 3, "batch_size": 3, "validate_every": 3, "decoder_width": 16}
    folder = finetune(training("finetune", packed[count], tmp_path, init=encoder, **given), quiet=True)
    segmenter = load_segmenter(folder)
    assert segmenter.encoder.in_channels == count and segmenter.signal["polarizations"] == CHANNELS[count]
    report = evaluate(load_config("evaluate", dataset=packed[count], segmenter=folder, work_dir=tmp_path))
    assert json.loads((report / "report.json").read_text())["models"]["segmenter"]["miou"] > 0
    found = probe(packed[count], encoder, seeds=1, patches=8)
    assert found.scores and all(0 <= score.mean <= 1 for score in found.scores)
    trials = robustness(folder, packed[count], added_looks=(2,), multilook=(2,), gains_db=(3,)).trials
    assert all(np.isfinite(trial.miou) for trial in trials)


# --- one channel, and another order


def test_one_channel_is_extended_only_when_asked_and_the_header_says_so(packed, tmp_path):
    start = pretrain(training("pretrain", packed[1], tmp_path, steps=1, batch_size=4))
    given = {"steps": 1, "batch_size": 3, "decoder_width": 16, "init": start}
    with pytest.raises(Alos2TutError, match=r"trained on polarizations \['HH'\], the data have \['HH', 'HV'\]"):
        finetune(training("finetune", packed[2], tmp_path, **given), quiet=True)
    config = training("finetune", packed[2], tmp_path, allow_other_signal=True, mode="frozen", **given)
    with pytest.warns(Alos2TutWarning, match="was trained on HH alone.*divided by 2; the statistics of HV are the"):
        segmenter = load_segmenter(finetune(config, quiet=True))
    one, several = load_encoder(start), segmenter.encoder
    assert segmenter.header["extended_from"] == "HH" and "extended_from" not in one.header
    name = "swin.patch_embed.proj.weight"
    old, new = one.state_dict()[name], several.state_dict()[name]
    assert torch.equal(new, torch.cat([old / 2, old / 2], dim=1))
    own = open_dataset(packed[2]).statistics
    assert segmenter.statistics.mean_db == (one.statistics.mean_db[0], own.mean_db[1])
    rest = {key: value for key, value in one.state_dict().items() if key != name}
    assert all(torch.equal(value, several.state_dict()[key]) for key, value in rest.items())


def test_an_extended_encoder_may_take_the_datasets_own_statistics(tmp_path):
    dataset = write_packed_dataset(tmp_path / "data", polarizations=["HH", "HV"],
                                   statistics={"mean_db": [-3.0, -20.0], "std_db": [5.0, 4.0]})  # fmt: skip
    alone = write_packed_dataset(tmp_path / "alone")
    start = pretrain(training("pretrain", alone, tmp_path, steps=1, batch_size=4))
    config = training("pretrain", dataset, tmp_path, steps=1, batch_size=4, init=start, allow_other_signal=True)
    for statistics, mean_db in (("own", (-3.0, -20.0)), ("encoder", (-11.0, -20.0))):
        with pytest.warns(Alos2TutWarning, match="was trained on HH alone"):
            encoder = load_encoder(pretrain(replace(config, statistics=statistics)))
        assert encoder.statistics.mean_db == mean_db and encoder.header["extended_from"] == "HH"


@pytest.mark.parametrize("allow", [False, True])
def test_channels_in_another_order_are_refused_even_where_other_signals_are_allowed(packed, tmp_path, allow):
    swapped = write_packed_dataset(tmp_path / "swapped", polarizations=["HV", "HH"])
    start = pretrain(training("pretrain", packed[2], tmp_path, steps=1, batch_size=4))
    config = training("finetune", swapped, tmp_path, init=start, allow_other_signal=allow)
    with pytest.raises(Alos2TutError, match=r"Channels have an order: build the dataset with polarization=HH,HV"):
        finetune(config, quiet=True)


def test_a_dataset_that_names_a_polarisation_twice_is_refused(tmp_path):
    with pytest.raises(Alos2TutError, match="'polarizations' has 2 values, where there should be 1"):
        open_dataset(write_packed_dataset(tmp_path / "twice", polarizations=["HH", "HH"]))


def test_linear_power_and_missing_pixels_are_of_each_channel():
    rows = torch.tensor([[[[-1000, NO_DATA]], [[0, 1000]]]], dtype=torch.int16)
    torch.testing.assert_close(linear_power(rows), torch.tensor([[[[0.1, 0.0]], [[1.0, 10.0]]]]))
    x, valid = standardize(rows, Statistics((-10.0, 0.0), (5.0, 2.0)))
    assert x.tolist() == [[[[0.0, 0.0]], [[0.0, 5.0]]]] and valid.tolist() == [[[[True, False]], [[True, True]]]]


@pytest.mark.parametrize("count", CHANNELS)
def test_figures_of_several_channels_say_what_their_colours_are(packed, tmp_path, count):
    dataset = open_dataset(packed[count])
    folder = pretrain(training("pretrain", packed[count], tmp_path, steps=1, batch_size=4))
    split = dataset.split("val")
    said = {"one": split.gather([0, 1])[1]}
    for figure, expected in (
        (pretraining_figures.reconstructions(folder, dataset.signal), "blue"),
        (finetuning_figures.errors_shown(split, [0, 1], said, dataset.legend, dataset.signal), "blue"),
        (dataset_figures.class_gallery(dataset), "blue"),
        (dataset_figures.statistics(dataset), "HH σ⁰"),
        (dataset_figures.patch_and_labels(dataset, "val", 0), "HH σ⁰"),
    ):
        assert any(expected in text for text in texts(figure))
        plt.close(figure)


# --- real channels


def test_flevolands_three_powers_from_its_matrix_to_a_report(tmp_path):
    """AIRSAR's unfiltered T3: HH, HV, VV by the formula of its README; a pixel where one is not positive is in none."""
    source = real_data("airsar_flevoland_1989")
    given = {"looks": 1, "patch_px": 64, "block_px": 128, "buffer_px": 16, "min_labelled_fraction": 0.1}
    dataset = open_dataset(
        build(
            products=source / "T3",
            labels=source / "Flevoland_gt.mat",
            legend="airsar_flevoland_13",
            quantity="relative",
            polarization="HH,HV,VV",
            work_dir=tmp_path,
            workers=1,
            **given,
        )
    )
    signal = {"quantity": "relative", "polarizations": ["HH", "HV", "VV"], "spacing_m": None, "looks": 1}
    assert dataset.signal == signal
    t11, t22, t33, t12 = (
        np.fromfile(source / "T3" / f"{name}.bin", "<f4").reshape(750, 1024).astype(float)
        for name in ("T11", "T22", "T33", "T12_real")
    )
    power = np.stack([(t11 + t22) / 2 + t12, t33 / 2, (t11 + t22) / 2 - t12])
    is_known = (power > 0).all(axis=0)
    assert np.count_nonzero(power[1] == 0) == 2882 and np.count_nonzero(power[1] < 0) == 33
    sums, missing = np.zeros((3, 3)), 0
    for store in ("pretrain", "val", "test"):
        part = dataset.split(store)
        for index in range(len(part)):
            row, col = (int(part.table[index][name]) for name in ("PatchRow", "PatchCol"))
            here = np.s_[row : row + 64, col : col + 64]
            db, known = part.db(index), is_known[here]
            expected = 10 * np.log10(power[(slice(None), *here)], where=known, out=np.full((3, 64, 64), np.nan))
            np.testing.assert_allclose(db, expected, atol=0.0051)
            missing += np.count_nonzero(~known)
            if store == "pretrain":
                values = db[:, known].astype(float)
                sums += np.array([[known.sum()] * 3, values.sum(axis=1), (values**2).sum(axis=1)]).T
    mean = sums[:, 1] / sums[:, 0]
    np.testing.assert_allclose(dataset.statistics.mean_db, mean, atol=2e-3)
    np.testing.assert_allclose(dataset.statistics.std_db, np.sqrt(sums[:, 2] / sums[:, 0] - mean**2), atol=2e-3)
    assert missing > 0
    settings = {"encoder": {**TINY, "patch_size": 4}, "batch_size": 8}
    start = pretrain(training("pretrain", dataset.path, tmp_path, steps=2, mask_unit_px=8, **settings))
    # nobody says that two unknown pixel sizes are one
    given = {
        "steps": 3,
        "validate_every": 3,
        "decoder_width": 16,
        "init": start,
        "allow_other_signal": True,
        **settings,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        folder = finetune(training("finetune", dataset.path, tmp_path, **given), quiet=True)
        scored = {"dataset": dataset.path, "segmenter": folder, "work_dir": tmp_path, "allow_other_signal": True}
        report = evaluate(load_config("evaluate", **scored))
    model = json.loads((report / "report.json").read_text())["models"]["segmenter"]
    assert 0 < model["miou"] < 1 and len(model["confusion_matrix"]) == 13
