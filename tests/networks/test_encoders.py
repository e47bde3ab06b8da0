"""The encoder, its masks and its parameter groups."""

import math

import pytest
import torch

from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import NO_DATA, Statistics, decode_db
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder, destandardize, linear_power, parameter_groups, standardize
from alos2tut.pretraining.masks import draw_masks
from alos2tut.pretraining.simmim import SimMIM

TINY = EncoderConfig(patch_size=2, embed_dim=24, depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16), window_size=4)


@pytest.fixture
def encoder() -> SwinEncoder:
    torch.manual_seed(0)
    return SwinEncoder(TINY, (32, 32)).eval()


def test_mask_token_is_small_and_not_zero(encoder):
    assert 0.005 < encoder.mask_token.std() < 0.04


@pytest.mark.parametrize(
    ("changes", "image_px", "named"),
    [
        ({}, (40, 32), "multiples of 16"),
        ({}, (8, 8), "multiples of 16"),
        ({"num_heads": (5, 4, 8, 16)}, (32, 32), "5 heads"),
    ],
)
def test_impossible_architectures(changes, image_px, named):
    with pytest.raises(Alos2TutError, match=named):
        SwinEncoder(EncoderConfig(**{**TINY.__dict__, **changes}), image_px)


def test_wrong_input_size(encoder):
    with pytest.raises(Alos2TutError, match=r"\(1, 32, 32\), not \(1, 64, 64\)"):
        encoder(torch.zeros(1, 1, 64, 64))


def test_masks_count_units_and_repeat():
    masks = draw_masks(50, (32, 48), 8, 2, 0.6, torch.Generator().manual_seed(0))
    assert masks.shape == (50, 16, 24) and masks.dtype == torch.bool
    units = masks.view(50, 4, 4, 6, 4)
    assert (units == units[:, :, :1, :, :1]).all()
    assert (units[:, :, 0, :, 0].sum(dim=(1, 2)) == math.ceil(0.6 * 24)).all()
    assert len({tuple(m.flatten().tolist()) for m in masks}) == 50
    share = units[:, :, 0, :, 0].float().mean(dim=0)
    assert share.min() > 0.3 and share.max() < 0.9


def test_masks_are_those_of_the_generator():
    draws = [draw_masks(3, (32, 32), 8, 2, 0.5, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_standardize_and_back():
    rows = torch.tensor([[[[-1000, NO_DATA], [200, -32767]]]], dtype=torch.int16)
    statistics = Statistics((-10.0,), (4.0,))
    x, valid = standardize(rows, statistics)
    assert valid.tolist() == [[[[True, False], [True, True]]]]
    assert x[0, 0, 0].tolist() == [0.0, 0.0] and x[0, 0, 1, 0] == 3.0
    torch.testing.assert_close(destandardize(x, statistics)[valid], torch.from_numpy(decode_db(rows.numpy()))[valid])
    power = linear_power(rows)
    torch.testing.assert_close(power[0, 0, 0], torch.tensor([0.1, 0.0]))


def test_statistics_of_another_number_of_channels():
    with pytest.raises(Alos2TutError, match="2 channels"):
        standardize(torch.zeros(1, 1, 2, 2, dtype=torch.int16), Statistics((0.0, 0.0), (1.0, 1.0)))


def _by_name(model, groups):
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: group for group in groups for p in group["params"]}


def test_what_does_not_decay():
    model = SimMIM(SwinEncoder(TINY, (32, 32)))
    groups = _by_name(model, parameter_groups(model, 0.05))
    assert groups.keys() == dict(model.named_parameters()).keys()
    without = {name for name, group in groups.items() if group["weight_decay"] == 0}
    expected = {
        name
        for name, p in model.named_parameters()
        if p.ndim == 1 or "bias" in name or name in ("encoder.position", "encoder.mask_token")
    }
    assert without == expected
    assert {group["lr_scale"] for group in groups.values()} == {1.0}


def test_layer_decay_by_depth():
    model = SimMIM(SwinEncoder(TINY, (32, 32)))
    scale = {name: g["lr_scale"] for name, g in _by_name(model, parameter_groups(model, 0.05, 0.5)).items()}
    for name, halvings in {
        "encoder.mask_token": 9,
        "encoder.position": 9,
        "encoder.swin.patch_embed.proj.weight": 9,
        "encoder.swin.layers.0.blocks.0.attn.qkv.weight": 8,
        "encoder.swin.layers.0.blocks.1.attn.qkv.weight": 7,
        "encoder.swin.layers.1.downsample.reduction.weight": 7,
        "encoder.swin.layers.1.blocks.0.norm1.bias": 6,
        "encoder.swin.layers.3.blocks.1.mlp.fc2.weight": 1,
        "encoder.swin.norm.weight": 0,
        "decoder.0.weight": 0,
    }.items():
        assert scale[name] == 0.5**halvings, name
    slower = _by_name(model, parameter_groups(model, 0.05, 0.5, encoder_lr=0.3))
    for name, group in slower.items():
        assert group["lr_scale"] == scale[name] * (0.3 if name.startswith("encoder.") else 1), name
    alone = parameter_groups(model.encoder, 0.05, 0.5)
    assert _by_name(model.encoder, alone)["position"]["lr_scale"] == 0.5**9
