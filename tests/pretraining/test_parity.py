"""The package's networks and losses against an independent implementation in plain PyTorch, on random weights."""

import pytest
import torch
from support import plain_models as plain
from support.plain_models import TOLERANCE, copied, plain_name, randomised

from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder, build_encoder
from alos2tut.pretraining.masks import token_to_pixel_mask
from alos2tut.pretraining.simmim import SimMIM, masked_loss
from alos2tut.pretraining.weighting import sar_weights

SWIN = EncoderConfig(patch_size=2, embed_dim=16, depths=(2, 2, 3, 2), num_heads=(2, 4, 4, 8), window_size=4)
VIT = EncoderConfig(
    kind="vit",
    patch_size=8,
    embed_dim=32,
    depths=(3,),
    num_heads=(4,),
    position="none",
    shared_relative_position=True,
    layer_scale=0.1,
)


def changed(config, **values):
    return EncoderConfig(**{**config.__dict__, **values})


def weights_of(encoder):
    return {plain_name(name): p.detach() for name, p in encoder.named_parameters()}


def pair(config, image_px, channels):
    encoder = randomised(build_encoder(config, image_px, channels))
    shape = {"image_px": image_px, "in_channels": channels, "patch_size": config.patch_size}
    if isinstance(encoder, SwinEncoder):
        names = ("embed_dim", "depths", "num_heads", "window_size")
        sizes = {name: getattr(config, name) for name in names}
        network = plain.PlainSwin(**shape, **sizes, absolute_position=config.position == "learned")
    else:
        options = {
            "absolute_position": config.position == "learned",
            "relative_position": config.shared_relative_position,
        }
        width = {"embed_dim": config.embed_dim, "depth": config.depths[0], "num_heads": config.num_heads[0]}
        network = plain.PlainViT(**shape, **width, **options)
    return encoder, copied(weights_of(encoder), network)


def images(encoder, n=2):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, encoder.in_channels, *encoder.image_px, generator=generator, dtype=torch.float64)
    mask = torch.rand(n, *encoder.grid, generator=generator) < 0.6
    return x, mask


CASES = [
    pytest.param(SWIN, (64, 64), 1, id="swin"),
    pytest.param(changed(SWIN, position="none"), (64, 64), 1, id="swin without position"),
    pytest.param(SWIN, (32, 96), 2, id="swin of a rectangle, two channels"),
    pytest.param(changed(SWIN, window_size=8), (32, 32), 1, id="swin, windows larger than the last maps"),
    pytest.param(VIT, (32, 32), 1, id="vit with shared relative bias"),
    pytest.param(changed(VIT, position="learned"), (24, 40), 2, id="vit with both positions, a rectangle"),
    pytest.param(
        changed(VIT, position="learned", shared_relative_position=False), (32, 32), 1, id="vit with positions"
    ),
]


@pytest.mark.parametrize(("config", "image_px", "channels"), CASES)
def test_features_are_those_of_the_plain_network(config, image_px, channels):
    encoder, network = pair(config, image_px, channels)
    x, mask = images(encoder)
    with torch.no_grad():
        for hidden in (None, mask):
            ours, theirs = encoder(x, mask=hidden), network(x, hidden)
            assert ours.shape == (2, encoder.dim, *(side // encoder.stride for side in image_px))
            assert 0.1 < theirs.std() < 10
            torch.testing.assert_close(ours, theirs, **TOLERANCE)
        if isinstance(encoder, SwinEncoder):
            for ours, theirs in zip(encoder.features(x), network.stage_outputs(x), strict=True):
                torch.testing.assert_close(ours, theirs, **TOLERANCE)


@pytest.mark.parametrize(("config", "image_px", "channels"), [CASES[0], CASES[2], CASES[5]])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_the_plain_network(config, image_px, channels, checkpointing):
    encoder, network = pair(config, image_px, channels)
    encoder.gradient_checkpointing = checkpointing
    ours = randomised(SimMIM(encoder.train()), seed=1)
    encoder.train()
    theirs = plain.PlainSimMIM(copied(weights_of(encoder), network), encoder.stride, channels).double()
    theirs.decoder.load_state_dict(ours.decoder.state_dict())
    target, mask = images(encoder)
    generator = torch.Generator().manual_seed(7)
    power = torch.rand(target.shape, generator=generator, dtype=torch.float64)
    valid = torch.rand(target.shape, generator=generator) < 0.9
    pixels = token_to_pixel_mask(mask, config.patch_size)
    assert torch.equal(pixels, plain.to_pixels(mask, config.patch_size))

    weights = sar_weights(power, valid)
    torch.testing.assert_close(weights, plain.sar_weight(power, valid), **TOLERANCE)
    loss = masked_loss(ours(target, mask), target, pixels, weights, valid)
    expected = plain.simmim_loss(theirs(target, mask), target, pixels, plain.sar_weight(power, valid), valid)
    torch.testing.assert_close(loss, expected, **TOLERANCE)
    loss.backward()
    expected.backward()
    gradients = {f"encoder.{plain_name(n)}": p.grad for n, p in encoder.named_parameters()}
    gradients |= {f"decoder.{n}": p.grad for n, p in ours.decoder.named_parameters()}
    for name, parameter in theirs.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(gradients[name].reshape(parameter.shape), parameter.grad, **TOLERANCE)
