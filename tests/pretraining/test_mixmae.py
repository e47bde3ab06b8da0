"""SAR-W-MixMAE against an independent implementation in plain PyTorch, and what it must never mix up."""

import numpy as np
import pytest
import torch
from support import plain_models as plain
from support.networks import MIXED, losses_of, training
from support.plain_models import TOLERANCE, copied, randomised

from alos2tut.configs import load_config
from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.store import open_dataset
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.pretraining.mixmae import MixMAE, from_units, to_units, unit_statistics
from alos2tut.pretraining.reconstruction import draw_mask, reconstruct
from alos2tut.pretraining.simmim import Loss
from alos2tut.pretraining.stage import load_pretraining, losses, pretrain
from alos2tut.pretraining.weighting import sar_weights

SWIN = EncoderConfig(
    patch_size=2,
    embed_dim=16,
    depths=(2, 1, 2, 1),
    num_heads=(2, 4, 4, 8),
    window_size=4,
    shifted=False,
    position="sincos",
)


def weights_of(ours):
    names = {"embed": "decoder_embed", "blocks": "decoder_blocks", "norm": "decoder_norm", "predict": "decoder_pred"}
    weights = {plain.plain_name(name): p for name, p in ours.encoder.named_parameters()}
    # SimMIM's token has no place in MixMAE
    del weights["mask_token"]
    for name, parameter in ours.decoder.named_parameters():
        first, _, rest = name.partition(".")
        weights[f"{names[first]}.{rest}" if first in names else first] = parameter
    return weights


def pair(image_px=(64, 64), channels=1, config=SWIN):
    """Ours and the plain one, with equal weights, in float64."""
    ours = randomised(MixMAE(SwinEncoder(config, image_px, channels), width=24, depth=2, heads=4))
    sizes = {name: getattr(config, name) for name in ("patch_size", "embed_dim", "depths", "num_heads")}
    decoder = {"decoder_width": 24, "decoder_depth": 2, "decoder_heads": 4}
    theirs = plain.PlainMixMAE(image_px, channels, **sizes, window_size=config.window_size, **decoder)
    return ours, copied({name: p.detach() for name, p in weights_of(ours).items()}, theirs)


def images(n, image_px, channels=1):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, channels, *image_px, generator=generator, dtype=torch.float64)


def mask_of(ours, n, ratio=0.5, seed=0):
    return ours.draw_masks(n, ours.unit_px, ratio, torch.Generator().manual_seed(seed))


CASES = [
    pytest.param(4, (64, 64), 1, SWIN, id="square"),
    pytest.param(3, (32, 96), 2, SWIN, id="odd batch, a rectangle, two channels"),
    pytest.param(2, (48, 48), 1, SWIN, id="windows that do not fit"),
]


@pytest.mark.parametrize(("n", "image_px", "channels", "config"), CASES)
def test_loss_reconstruction_and_gradients_are_those_of_the_plain_network(n, image_px, channels, config):
    ours, theirs = pair(image_px, channels, config)
    x, mask = images(n, image_px, channels), mask_of(ours, n)
    generator = torch.Generator().manual_seed(3)
    power = torch.rand(x.shape, generator=generator, dtype=torch.float64)
    valid = torch.rand(x.shape, generator=generator) < 0.9
    weights = sar_weights(power, valid)
    units = mask[0, :: ours.unit_px // 2, :: ours.unit_px // 2]

    predicted, known = ours(x, mask), to_units(valid, ours.unit_px)
    mean, spread = unit_statistics(to_units(x, ours.unit_px), known)
    target = (to_units(x, ours.unit_px) - mean) / spread
    numerator, count = Loss("mse").sums(predicted, target, known, to_units(weights, ours.unit_px))
    loss = numerator / count
    expected, pictures = theirs(x, units, plain.sar_weight(power, valid), valid)
    torch.testing.assert_close(loss, expected, **TOLERANCE)
    grid = tuple(side // ours.unit_px for side in image_px)
    torch.testing.assert_close(from_units(predicted, ours.unit_px, grid), pictures, **TOLERANCE)
    loss.backward()
    expected.backward()
    gradients = {name: p.grad for name, p in weights_of(ours).items()}
    for name, parameter in theirs.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(gradients[name].reshape(parameter.shape), parameter.grad, **TOLERANCE)
    assert not ours.encoder.mask_token.requires_grad


def test_gradient_checkpointing_changes_no_bit():
    losses_, gradients = [], []
    for checkpointing in (False, True):
        ours, _ = pair()
        ours.train()
        ours.encoder.gradient_checkpointing = checkpointing
        loss = ours(images(4, (64, 64)), mask_of(ours, 4)).square().mean()
        loss.backward()
        losses_.append(loss.detach())
        gradients.append(ours.encoder.swin.patch_embed.proj.weight.grad)
    assert torch.equal(*losses_) and torch.equal(*gradients)


def test_no_unit_is_told_from_its_own_pixels():
    """Whatever a unit of image i is told by lacks it: changing the unit's pixels changes nothing of what is said."""
    ours, _ = pair()
    x, mask = images(4, (64, 64)), mask_of(ours, 4)
    with torch.no_grad():
        before = ours(x, mask)
        for unit in (0, 5, 15):
            changed = x.clone()
            row, col = divmod(unit, 4)
            changed[1, :, 16 * row : 16 * row + 16, 16 * col : 16 * col + 16] += 1
            after = ours(changed, mask)
            assert torch.equal(after[1, unit], before[1, unit])
            assert not torch.equal(after[1], before[1])


def test_an_image_is_told_from_itself_alone():
    """Though it is mixed with image 2: neither attention nor the decoder lets one of them see the other."""
    ours, _ = pair()
    x, mask = images(4, (64, 64)), mask_of(ours, 4)
    changed = x.clone()
    changed[1] += torch.randn(64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        before, after = ours(x, mask), ours(changed, mask)
    assert torch.equal(before[[0, 2, 3]], after[[0, 2, 3]])
    assert not torch.equal(before[1], after[1])


def test_statistics_of_units_by_hand():
    values = torch.tensor([[[1.0, 2.0, 6.0, 100.0]]], dtype=torch.float64)
    known = torch.tensor([[[True, True, True, False]]])
    mean, spread = unit_statistics(values, known)
    assert mean.item() == 3.0 and spread.item() == pytest.approx(np.sqrt(7 + 1e-6))
    _, nothing = unit_statistics(values, torch.zeros_like(known))
    assert torch.isfinite(nothing).all()


def test_masks_are_one_for_the_batch():
    ours, _ = pair((64, 96))
    mask = mask_of(ours, 3, ratio=0.55)
    assert mask.shape == (3, 32, 48) and (mask == mask[:1]).all()
    units = mask[0].view(4, 8, 6, 8)
    assert (units == units[:, :1, :, :1]).all()
    assert units[:, 0, :, 0].sum() == 13  # of 24: rounded down
    assert not torch.equal(mask, mask_of(ours, 3, ratio=0.55, seed=1))


def test_a_batch_from_stored_integers_with_missing_pixels():
    ours, theirs = pair((64, 64))
    ours, theirs = ours.float(), theirs.float()
    rows = torch.from_numpy(np.random.default_rng(0).integers(-2500, 500, (2, 1, 64, 64)).astype(np.int16))
    rows[0, 0, :20, :7] = -32768
    mask, statistics = mask_of(ours, 2), Statistics((-10.0,), (5.8,))
    loss, reported = losses(ours, rows, mask, Loss("mse"), statistics)
    valid, db = rows != -32768, rows.float() / 100
    x = torch.where(valid, (db + 10.0) / 5.8, 0.0)
    weights = plain.sar_weight(torch.where(valid, 10 ** (db / 10), 0.0), valid)
    expected, pictures = theirs(x, mask[0, ::8, ::8], weights, valid)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    target = from_units(plain.normalised_units(to_units(x, 16), to_units(valid, 16)), 16, (4, 4))
    spread = from_units(unit_statistics(to_units(x, 16), to_units(valid, 16))[1].expand(-1, -1, 256), 16, (4, 4))
    error_db = ((pictures - target).abs() * spread * 5.8)[valid].mean()
    assert reported["mae_db"].item() == pytest.approx(error_db.item(), rel=1e-4)


def test_defaults_are_the_published_ones():
    config = load_config("pretrain", "paper", objective="mixmae", encoder="paper_mixmae")
    assert (config.mask_unit_px, config.mask_ratio, config.loss, config.weighting) == (32, 0.5, "mse", "sar")
    assert (config.decoder_width, config.decoder_depth, config.decoder_heads) == (512, 8, 16)
    assert (config.encoder.position, config.encoder.shifted, config.encoder.window_size) == ("sincos", False, 8)
    simmim = load_config("pretrain", "paper")
    assert (simmim.mask_unit_px, simmim.mask_ratio, simmim.loss) == (16, 0.6, "l1")


# --- the stage


def settings(dataset, work, **values):
    values = {"steps": 12, "batch_size": 4, "encoder": MIXED, "objective": "mixmae", "decoder_width": 16, **values}
    return training("pretrain", dataset, work, **values)


def test_mixmae_pretrains_and_comes_back(packed_dataset, tmp_path):
    stage = pretrain(settings(packed_dataset, tmp_path, lr=3e-3))
    network = load_pretraining(stage)
    assert isinstance(network, MixMAE)
    assert network.encoder.header["objective"] == {
        "name": "mixmae",
        "mask_unit_px": 16,
        "mask_ratio": 0.5,
        "loss": "mse",
        "normaliser": "count",
        "weighting": "sar",
        "weight_scale": 1.0,
        "decoder_width": 16,
        "decoder_depth": 2,
        "decoder_heads": 4,
    }
    with np.load(stage / "reconstructions.npz") as kept:
        mask = draw_mask(network, 4, 16, 0.5)
        np.testing.assert_array_equal(reconstruct(network, kept["input_db"], mask), kept["reconstruction_db"][-1])
    first, *_, last = losses_of(stage)
    assert last < first
    # and serves as any other encoder does
    rows = open_dataset(packed_dataset).split("val").gather_rows([0])
    assert network.encoder(torch.from_numpy(rows).float() / 600).shape == (1, 192, 2, 2)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"batch_size": 1}, "batch_size: MixMAE mixes two images"),
        ({"mask_unit_px": 8}, "mask_unit_px: MixMAE masks units of the encoder's final stride, 16 px, not 8"),
        ({"mask_ratio": 0.1}, "mask_ratio: a ratio of 0.1 masks 0 of 4 units"),
        ({"encoder": {**MIXED, "shifted": True}}, r"encoder\.shifted: .*not shifted.*encoder=paper_mixmae"),
        ({"encoder": {**MIXED, "embed_dim": 18, "num_heads": [2, 2, 2, 2]}}, "a width that 4 divides, not 18"),
        ({"decoder_heads": 5}, "decoder_heads: 5 heads do not divide"),
    ],
)
def test_settings_that_do_not_fit(packed_dataset, tmp_path, values, named):
    with pytest.raises(Alos2TutError, match=named):
        pretrain(settings(packed_dataset, tmp_path, **values))
    assert not list(tmp_path.iterdir())
