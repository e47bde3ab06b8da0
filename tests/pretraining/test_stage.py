"""SAR-W-SimMIM: weights, loss, and the stage."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.networks import TINY, losses_of, training
from support.packed import restate_files, write_packed_dataset

from alos2tut.configs import load_config
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning
from alos2tut.dataset.encoding import NO_DATA, Statistics
from alos2tut.dataset.store import open_dataset
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder, build_encoder, standardize
from alos2tut.networks.weights import load_encoder
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.masks import draw_masks
from alos2tut.pretraining.reconstruction import draw_mask, mask_pixels, reconstruct
from alos2tut.pretraining.simmim import Loss, SimMIM, masked_loss
from alos2tut.pretraining.stage import count_operations, load_pretraining, losses, plan_pretraining, pretrain


def _settings(dataset, work, **values):
    return training("pretrain", dataset, work, **{"steps": 3, "batch_size": 3, **values})


def test_weighting_is_on_by_default():
    """The headline of the method: nobody should have to ask for it."""
    assert PretrainConfig().weighting == "sar"
    for profile in ("quick", "laptop", "paper"):
        config = load_config("pretrain", profile)
        assert (config.weighting, config.weight_scale, config.normaliser, config.loss) == ("sar", 1.0, "count", "l1")


# --- loss


def test_a_loss_is_as_the_settings_say():
    values = {"loss": "huber", "normaliser": "weights", "weighting": "sar_percentile"}
    config = PretrainConfig(weight_scale=1.5, weight_percentiles=(2, 90), **values)
    assert Loss.of(config) == Loss("huber", "weights", "sar_percentile", 1.5, (2, 90))
    assert Loss.of(PretrainConfig(objective="mixmae")).kind == "mse"


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 4, 1, 8, 8, generator=generator)
    pixel_mask = torch.rand(4, 1, 8, 8, generator=generator) < 0.6
    valid = torch.rand(4, 1, 8, 8, generator=generator) < 0.9
    return prediction, target, pixel_mask, valid


@pytest.mark.parametrize("kind", ["l1", "mse", "huber"])
@pytest.mark.parametrize("normaliser", ["count", "weights"])
def test_weight_one_changes_no_bit(images, kind, normaliser):
    prediction, target, pixel_mask, valid = images
    ones = torch.ones_like(target)
    weighted = masked_loss(prediction, target, pixel_mask, ones, valid, kind, normaliser)
    assert torch.equal(weighted, masked_loss(prediction, target, pixel_mask, None, valid, kind, normaliser))


def test_loss_by_hand(images):
    prediction, target, pixel_mask, valid = (t.numpy() for t in images)
    weights = np.random.default_rng(0).random(target.shape, dtype=np.float32)
    here = pixel_mask & valid
    for kind, error in [
        ("l1", np.abs(prediction - target)),
        ("mse", (prediction - target) ** 2),
        ("huber", np.where((e := np.abs(prediction - target)) < 1, e**2 / 2, e - 0.5)),
    ]:
        args = (*images[:3], torch.from_numpy(weights), images[3], kind)
        assert float(masked_loss(*args, "count")) == pytest.approx((error * weights)[here].sum() / here.sum(), rel=1e-5)
        assert float(masked_loss(*args, "weights")) == pytest.approx(
            (error * weights)[here].sum() / weights[here].sum(), rel=1e-5
        )


def test_pixels_without_data_or_not_hidden_do_not_matter(images):
    prediction, target, pixel_mask, valid = images
    weights = torch.ones_like(target)
    expected = masked_loss(prediction, target, pixel_mask, weights, valid)
    for elsewhere in (~valid, ~pixel_mask):
        for value in (1e6, math.nan):
            spoiled = torch.where(elsewhere, value, prediction)
            assert torch.equal(masked_loss(spoiled, target, pixel_mask, weights, valid), expected)
    fewer = valid.clone()
    fewer[0] = False
    assert not torch.equal(masked_loss(prediction, target, pixel_mask, weights, fewer), expected)


def test_nothing_to_predict_is_zero(images):
    prediction, target, pixel_mask, valid = images
    assert masked_loss(prediction, target, pixel_mask, None, torch.zeros_like(valid)) == 0


def test_loss_of_a_batch_by_hand():
    """From stored integers to the loss, written out again with NumPy."""
    torch.manual_seed(0)
    network = SimMIM(SwinEncoder(EncoderConfig(**TINY), (32, 32))).eval()
    rows = torch.randint(-2500, 500, (2, 1, 32, 32), dtype=torch.int16)
    rows[0, 0, :7, :9] = NO_DATA
    mask = draw_masks(2, (32, 32), 8, 2, 0.6, torch.Generator().manual_seed(3))
    statistics = Statistics((-10.0,), (5.0,))
    loss, reported = losses(network, rows, mask, Loss(scale=1.5), statistics)

    db = np.where(rows.numpy() == NO_DATA, np.nan, rows.numpy() / 100)
    x = (db + 10) / 5
    predicted = network(torch.from_numpy(np.nan_to_num(x)).float(), mask).detach().numpy()
    total, count = 0.0, 0
    for b in range(2):
        power = 10 ** (db[b, 0] / 10)
        scaled = (power - np.nanmin(power)) / (np.nanmax(power) - np.nanmin(power))
        hidden = np.kron(mask[b].numpy(), np.ones((2, 2), dtype=bool)) & ~np.isnan(power)
        total += (np.exp(1.5 * (1 - scaled)) * np.abs(predicted[b, 0] - x[b, 0]))[hidden].sum()
        count += hidden.sum()
    assert loss.item() == pytest.approx(total / count, rel=1e-4)
    assert torch.equal(loss.detach(), reported["loss"])
    error = np.abs(predicted - x)[np.kron(mask.numpy(), np.ones((1, 2, 2), dtype=bool))[:, None] & ~np.isnan(x)]
    assert reported["mae_db"].item() == pytest.approx(5 * error.mean(), rel=1e-4)

    plain = losses(network, rows, mask, Loss(weighting="none"), statistics)[0]
    assert plain < loss


def test_pixel_shuffle_puts_pixels_where_they_belong():
    network = SimMIM(SwinEncoder(EncoderConfig(**TINY), (32, 48)))
    x, mask = torch.zeros(1, 1, 32, 48), torch.zeros(1, 16, 24, dtype=torch.bool)
    assert network(x, mask).shape == x.shape
    convolved = network.decoder[0](network.encoder(x, mask))
    assert network(x, mask)[0, 0, 16 + 3, 32 + 5] == convolved[0, 3 * 16 + 5, 1, 2]


# --- the stage


@pytest.fixture(scope="module")
def finished(packed_dataset, tmp_path_factory):
    return pretrain(_settings(packed_dataset, tmp_path_factory.mktemp("work"), steps=12, lr=2e-3))


def test_pretrain_leaves_its_results(finished, packed_dataset):
    run = json.loads((finished / "run.json").read_text())
    assert finished.name.startswith("pretrain-")
    assert set(run["files"]) == {"encoder.safetensors", "decoder.safetensors", "reconstructions.npz", "metrics.csv"}
    lines = (finished / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,loss,mae_db,lr,grad_norm" and len(lines) == 13
    assert float(lines[-1].split(",")[1]) == run["final_loss"] < float(lines[1].split(",")[1])
    encoder = load_encoder(finished / "encoder.safetensors")
    assert encoder.statistics == open_dataset(packed_dataset).statistics
    assert not any(p.name == "checkpoints" for p in finished.iterdir())


def test_reconstructions_over_training(finished):
    """At the end, half-way, a quarter of the way …; the last is what the network left behind makes again."""
    with np.load(finished / "reconstructions.npz") as kept:
        kept = dict(kept)
    assert kept["step"].tolist() == [1, 2, 3, 6, 12]
    assert kept["input_db"].shape == (4, 1, 32, 32) and kept["reconstruction_db"].shape == (5, 4, 1, 32, 32)
    network = load_pretraining(finished)
    mask = draw_mask(network, 4, 8, 0.6)
    assert (mask_pixels(mask, 2) == kept["mask"]).all()
    assert (np.kron(mask, np.ones((1, 2, 2), dtype=bool)) == kept["mask"]).all()
    np.testing.assert_array_equal(reconstruct(network, kept["input_db"], mask), kept["reconstruction_db"][-1])
    here = kept["mask"][0] & ~np.isnan(kept["input_db"][0, 0])
    for guess, error in zip(kept["reconstruction_db"], kept["error_db"], strict=True):
        assert error[0] == pytest.approx(np.abs(guess[0, 0] - kept["input_db"][0, 0])[here].mean(), rel=1e-5)
    assert kept["error_db"][-1].mean() < kept["error_db"][0].mean()


def test_equal_settings_make_equal_files(finished, packed_dataset, tmp_path):
    again = pretrain(_settings(packed_dataset, tmp_path, steps=12, lr=2e-3))
    assert again.name == finished.name
    for name in ("run.json", "encoder.safetensors", "reconstructions.npz", "metrics.csv"):
        assert (again / name).read_bytes() == (finished / name).read_bytes(), name
    assert str(tmp_path) not in (again / "run.json").read_text()


def test_complete_pretraining_is_reused_and_a_torn_one_refused(packed_dataset, tmp_path, capsys):
    config = _settings(packed_dataset, tmp_path, steps=1)
    stage = pretrain(config)
    capsys.readouterr()
    assert pretrain(replace(config, devices=1, loader_workers=0)) == stage
    assert capsys.readouterr().out == f"reusing {stage}\n"
    assert pretrain(replace(config, weighting="none")) != stage
    weights = bytearray((stage / "encoder.safetensors").read_bytes())
    weights[-1] ^= 1
    (stage / "encoder.safetensors").write_bytes(weights)
    with pytest.raises(Alos2TutError, match=r"encoder\.safetensors: was changed since the training"):
        pretrain(config)
    (stage / "encoder.safetensors").unlink()
    with pytest.raises(Alos2TutError, match=r"lacks encoder\.safetensors"):
        pretrain(config)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"mask_unit_px": 3}, "mask_unit_px"),
        ({"mask_unit_px": 12}, "mask_unit_px"),
        ({"encoder": {**TINY, "patch_size": 8}, "mask_unit_px": 8}, "multiples of 64"),
        ({"mask_unit_px": 16, "mask_ratio": 0.9}, "hides all 4 units"),
        ({"accelerator": "cuda"}, "no GPU that torch can use"),
        ({"devices": 2}, r"torchrun --standalone --nproc-per-node=2 -m alos2tut …$"),
    ],
)
def test_settings_that_do_not_fit(packed_dataset, tmp_path, values, named):
    with pytest.raises(Alos2TutError, match=named):
        pretrain(_settings(packed_dataset, tmp_path, **values))


VIT = {"kind": "vit", "patch_size": 8, "embed_dim": 16, "depths": [2], "num_heads": [2], "position": "learned"}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"encoder": VIT, "mask_unit_px": 8}, id="vit"),
        pytest.param({"weighting": "sar_percentile"}, id="percentiles"),
        pytest.param({"weighting": "sar_ecdf", "normaliser": "weights", "loss": "huber"}, id="ranks"),
        pytest.param({"weighting": "none", "loss": "mse"}, id="plain"),
    ],
)
def test_other_encoders_and_weightings_train_and_come_back(values, packed_dataset, tmp_path):
    config = _settings(packed_dataset, tmp_path, steps=8, lr=2e-3, **values)
    stage = pretrain(config)
    network = load_pretraining(stage)
    told = network.encoder.header["objective"]
    assert {name: told[name] for name in ("weighting", "loss", "normaliser")} == {
        name: getattr(config, name) for name in ("weighting", "loss", "normaliser")
    }
    assert ("weight_percentiles" in told) == (config.weighting == "sar_percentile")
    rows = open_dataset(packed_dataset).split("val").gather_rows([0, 1])
    features = network.encoder(standardize(torch.from_numpy(rows), network.encoder.statistics)[0])
    assert features.shape == (2, network.encoder.dim, *(32 // network.encoder.stride,) * 2)
    first, *_, last = losses_of(stage)
    assert last < first


def test_gradient_checkpointing_changes_no_bit(packed_dataset, tmp_path):
    plain = pretrain(_settings(packed_dataset, tmp_path / "plain", drop_path=0.3))
    saving = pretrain(_settings(packed_dataset, tmp_path / "saving", drop_path=0.3, gradient_checkpointing=True))
    assert saving.name == plain.name  # how, not what
    assert (saving / "encoder.safetensors").read_bytes() == (plain / "encoder.safetensors").read_bytes()


@pytest.mark.soak
def test_compiled_learns_the_same(packed_dataset, tmp_path):
    plain = pretrain(_settings(packed_dataset, tmp_path / "plain"))
    compiled = pretrain(_settings(packed_dataset, tmp_path / "compiled", compile=True))
    assert losses_of(plain) == pytest.approx(losses_of(compiled), rel=1e-4)
    assert load_pretraining(compiled).encoder.config == load_pretraining(plain).encoder.config


def test_going_on_from_other_weights(finished, packed_dataset, tmp_path):
    """Architecture and statistics are the file's; the first step starts where those weights ended."""
    other = write_packed_dataset(tmp_path / "other", seed=1, statistics={"mean_db": [-9.0], "std_db": [5.0]})
    with pytest.warns(Alos2TutWarning, match="weights' own mean") as warned:
        stage = pretrain(_settings(other, tmp_path, init=str(finished), encoder={**TINY, "depths": [1, 1, 2, 1]}))
    assert len(warned) == 1
    encoder = load_encoder(stage)
    assert encoder.statistics == Statistics((-11.0,), (6.0,)) and encoder.config.depths == (1, 1, 1, 1)
    run = json.loads((stage / "run.json").read_text())
    assert set(run["made_from"]) == {"dataset", "init"} and run["settings"]["encoder"]["depths"] == [1, 1, 1, 1]
    assert losses_of(stage)[0] < losses_of(finished)[0]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"quantity": "gamma0"}, r"quantity sigma0, the data have gamma0.*allow_other_signal"),
        ({"polarizations": ["HV"]}, "polarizations"),
        ({"spacing_m": [10.0, 10.0]}, "spacing_m"),
        ({"patch_px": 64}, r"patches of 32 × 32 px, the dataset's are 64 × 64"),
    ],
)
def test_weights_that_do_not_fit_the_data(changes, named, finished, tmp_path):
    dataset = write_packed_dataset(tmp_path / "dataset", **changes)
    with pytest.raises(Alos2TutError, match=named):
        pretrain(_settings(dataset, tmp_path / "work", init=str(finished)))
    assert not (tmp_path / "work").exists()


MIX = {"objective": "mixmae", "encoder": {**TINY, "shifted": False}, "mask_unit_px": 16, "batch_size": 4}


@pytest.mark.parametrize(
    ("world", "values", "named"),
    [
        ("4", {}, "a batch of 3 cannot be shared by 4 processes"),
        ("3", MIX, "a batch of 4 cannot be shared by 3 processes, since MixMAE keeps pairs"),
    ],
)
def test_more_processes_than_a_batch_has_samples(world, values, named, packed_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(Alos2TutError, match=named):
        pretrain(_settings(packed_dataset, tmp_path, **values))


def test_more_processes_than_gpus(packed_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(Alos2TutError, match="3 processes on this machine, which has 2 GPUs"):
        pretrain(_settings(packed_dataset, tmp_path))


# --- before it starts


def test_a_plan_counts_and_writes_nothing(packed_dataset, tmp_path):
    config = replace(_settings(packed_dataset, tmp_path, epochs=7, accumulate=2, lr=1e-3), steps=None)
    plan = plan_pretraining(config)
    assert not list(tmp_path.iterdir())
    assert (plan.steps, plan.samples_per_step, plan.patches, plan.state) == (14, 6, 12, "new")
    assert plan.learning_rate == pytest.approx(1e-3)
    assert plan.operations == plan.operations_per_sample * 6 * 14
    first, *_ = plan.to_text().splitlines()
    assert re.fullmatch(r"folder +(.+)", first)[1] == str(plan.folder)  # scripts read it
    network = SimMIM(SwinEncoder(EncoderConfig(**TINY), (32, 32)))
    assert (plan.encoder_parameters, plan.decoder_parameters) == tuple(
        sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder)
    )
    assert pretrain(config) == plan.folder and plan_pretraining(config).state == "complete"


def test_operations_of_a_swin_by_hand():
    """As its paper counts them: 12·n·d² + 2·M²·n·d a block, 2·n·d² a merging; backward takes twice as many."""
    with torch.device("meta"):
        network = SimMIM(SwinEncoder(EncoderConfig(embed_dim=16, depths=(1, 2, 1, 1)), (128, 128)))
    sizes = [(1024 // 4**i, 16 * 2**i, depth) for i, depth in enumerate((1, 2, 1, 1))]
    embedding = 1024 * 16 * 16
    blocks = sum(depth * (12 * n * d * d + 2 * min(64, n) * n * d) for n, d, depth in sizes)
    merging = sum(2 * n * d * d for n, d, _ in sizes[:3])
    forward = embedding + blocks + merging + 16 * 128 * 32**2
    # no gradient of the image is asked for: the patch embedding's backward is one product, not two
    assert count_operations(network) == pytest.approx(2 * (3 * forward - embedding), rel=0.01)


@pytest.mark.soak
def test_operations_of_the_published_encoder():
    """About three times two times the 20 billion multiply-adds that Swin-B is known to take at 256²."""
    with torch.device("meta"):
        network = SimMIM(SwinEncoder(EncoderConfig(), (256, 256)))
    assert count_operations(network) == pytest.approx(6 * 20.2e9, rel=0.02)


def test_operations_by_hand():
    """A ViT of one block: products of tokens with weights, and of tokens with tokens; backward takes twice as many."""
    config = EncoderConfig(kind="vit", patch_size=8, embed_dim=16, depths=(1,), num_heads=(2,), position="none")
    with torch.device("meta"):
        network = SimMIM(build_encoder(config, (32, 32)))
    tokens, d = 17, 16
    forward = 16 * d * 64 + tokens * (3 * d * d + d * d + 8 * d * d) + 2 * tokens * tokens * d + 16 * d * 64
    # no gradient of the image is asked for: the patch embedding's backward is one product, not two
    assert count_operations(network) == pytest.approx(2 * (3 * forward - 16 * d * 64), rel=0.01)


def test_no_patches(tmp_path):
    dataset = write_packed_dataset(tmp_path / "dataset")
    (dataset / "pretrain.csv").write_text("Year,Row,West,South,East,North\n")
    restate_files(dataset)
    with pytest.raises(Alos2TutError, match="empty"):
        pretrain(_settings(dataset, tmp_path))


def test_no_pretraining_there(tmp_path):
    with pytest.raises(Alos2TutError, match="no complete pretraining"):
        load_pretraining(tmp_path)
    network = SimMIM(SwinEncoder(EncoderConfig(**TINY), (32, 32)))
    with pytest.raises(Alos2TutError, match="no statistics"):
        reconstruct(network, np.zeros((1, 1, 32, 32)), np.zeros((1, 16, 16), dtype=bool))
