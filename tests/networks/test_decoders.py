"""Decoders: any encoder, any size, any number of classes; and what each reads."""

import numpy as np
import pytest
import torch

from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.legend import Legend
from alos2tut.evaluation.forest import multiscale_statistics
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.decoders import DECODERS
from alos2tut.networks.encoders import build_encoder, parameter_groups
from alos2tut.networks.segmenter import Segmenter

SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (2, 2, 4, 4), "window_size": 4}
VIT = {"kind": "vit", "embed_dim": 16, "depths": (5,), "num_heads": (2,), "position": "learned"}


def segmenter_of(decoder, config, image_px, channels=1, classes=5):
    colors = [{"name": str(c), "color": [0, 0, 0], "codes": [c]} for c in range(classes)]
    legend = Legend.from_dict({"name": "x", "classes": colors}, where="x")
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(**config), image_px, channels)
    mean_db, std_db = (-11.0, -18.0)[:channels], (6.0, 4.0)[:channels]
    return Segmenter(encoder, legend, Statistics(mean_db, std_db), {}, decoder=decoder, width=16, dropout=0.0)


CASES = [
    pytest.param({**SWIN, "patch_size": 1}, (16, 16), 1, id="patch 1"),
    pytest.param({**SWIN, "patch_size": 2}, (16, 48), 2, id="patch 2, a rectangle, two channels"),
    pytest.param({**SWIN, "patch_size": 4}, (64, 32), 1, id="patch 4, a rectangle"),
    pytest.param({**SWIN, "patch_size": 8}, (64, 64), 1, id="patch 8"),
    pytest.param({**VIT, "patch_size": 16}, (64, 96), 1, id="vit, patch 16"),
    pytest.param({**VIT, "patch_size": 8}, (32, 32), 1, id="vit, patch 8"),
    pytest.param({**VIT, "patch_size": 2}, (16, 16), 1, id="vit, patch 2"),
]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("config", "image_px", "channels"), CASES)
def test_logits_have_the_images_size_and_every_parameter_learns(decoder, config, image_px, channels):
    """Also where the deepest map is one pixel, smaller than every pooling bin."""
    segmenter = segmenter_of(decoder, config, image_px, channels)
    segmenter.encoder.mask_token.requires_grad_(False)
    segmenter.encoder.last_norm.requires_grad_(False)
    logits = segmenter(torch.randn(2, channels, *image_px, generator=torch.Generator().manual_seed(1)))
    assert logits.shape == (2, 5, *image_px)
    logits.square().mean().backward()
    unused = [name for name, p in segmenter.named_parameters() if p.requires_grad and p.grad is None]
    # the map that the decoder `pixel` does not read
    last = ("encoder.swin.layers.3.", f"encoder.vit.blocks.{sum(segmenter.encoder.config.depths) - 1}.")
    assert not [name for name in unused if decoder != "pixel" or not name.startswith(last)]
    grouped = {id(p) for group in parameter_groups(segmenter, 0.05, 0.8) for p in group["params"]}
    assert grouped == {id(p) for p in segmenter.parameters() if p.requires_grad}


def test_statistics_beside_the_image_are_the_floors():
    """Of power; standardised by numbers of their own, and bounded on ground that is too even to be real."""
    segmenter = segmenter_of("pixel", {**SWIN, "patch_size": 2}, (48, 32), 2)
    x = torch.randn(2, 2, 48, 32, generator=torch.Generator().manual_seed(0))
    x[1] = 0.0
    found = segmenter.image_statistics(x)
    assert found.shape == (2, 20, 48, 32) and found.dtype == torch.float32
    db = x.double().numpy() * np.array([6.0, 4.0])[:, None, None] + np.array([-11.0, -18.0])[:, None, None]
    floor = multiscale_statistics(10 ** (db[0] / 10)).reshape(48, 32, 2, 5, 2).transpose(2, 4, 3, 0, 1)
    mean_db = (floor[:, 0] - np.array([-11.0, -18.0])[:, None, None, None]) / np.array([6, 4])[:, None, None, None]
    wanted = np.concatenate([mean_db, np.maximum((floor[:, 1] + 0.55) / 0.55, -3)], axis=1).reshape(20, 48, 32)
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-4, atol=1e-4)
    # the mean everywhere, as where data are missing
    assert found[1].abs().unique().round(decimals=4).tolist() == [0, 3]


@pytest.mark.parametrize("config", [{**SWIN, "patch_size": 2}, {**VIT, "patch_size": 8}], ids=["swin", "vit"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_pixels_alone_are_named_as_among_all(decoder, config):
    segmenter = segmenter_of(decoder, config, (32, 48)).eval()
    x = torch.randn(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor([[0, 47, 31 * 48, 32 * 48 - 1, 700], [1, 50, 51, 51, 900]])
    alone, whole = segmenter(x, pixels), segmenter(x)
    assert alone.shape == (2, 5, 5, 1)
    for image in (0, 1):
        of_all = whole[image].flatten(1)[:, pixels[image]]
        torch.testing.assert_close(alone[image, :, :, 0], of_all, rtol=1e-4, atol=1e-5)


def test_the_pixel_decoder_is_one_perceptron_of_all_it_reads():
    """Mapping before enlarging is what one layer over enlarged, normalised maps and statistics side by side does."""
    segmenter = segmenter_of("pixel", {**SWIN, "patch_size": 2}, (32, 32)).eval()
    decoder = segmenter.decoder
    torch.nn.init.normal_(decoder.bias)
    maps, statistics = segmenter.seen(torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    normed = [(m - m.mean(1, keepdim=True)) / (m.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt() for m in maps[:3]]
    enlarged = [torch.nn.functional.interpolate(m, size=(32, 32), mode="bilinear") for m in normed]
    read = torch.cat([*enlarged, statistics], dim=1).movedim(1, -1)
    weight = torch.cat([each.weight for each in decoder.laterals], dim=1)
    wanted = decoder.classify(read @ weight.T + decoder.bias).movedim(-1, 1)
    torch.testing.assert_close(decoder(maps, statistics), wanted, rtol=1e-4, atol=1e-4)


def test_a_shift_of_the_image_shifts_the_borders():
    """The refined decoder's branch sees single pixels; the paper's decides on a grid of patches."""
    x = torch.zeros(1, 1, 64, 64)
    x[..., 31] = 5.0
    moved = x.roll(1, dims=-1)
    for decoder, sees in [("paper", False), ("refined", True)]:
        segmenter = segmenter_of(decoder, {**SWIN, "patch_size": 4}, (64, 64)).eval()
        segmenter.encoder.requires_grad_(False)
        if decoder == "refined":
            with torch.no_grad():
                branch = segmenter.decoder.detail
                assert not torch.equal(branch(x)[..., 29], branch(moved)[..., 29])
        assert hasattr(segmenter.decoder, "detail") is sees


def test_maps_before_and_after_merging():
    encoder = build_encoder(EncoderConfig(**SWIN, patch_size=2), (32, 32))
    x = torch.randn(1, 1, 32, 32)
    before, after = encoder.features(x, merged=False), encoder.features(x)
    assert [tuple(m.shape[1:]) for m in before] == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2)]
    assert [tuple(m.shape[1:]) for m in after] == [(32, 8, 8), (64, 4, 4), (128, 2, 2), (128, 2, 2)]
    assert torch.equal(before[3], after[3])
    merged = encoder.swin.layers[1].downsample(before[0].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(merged, after[0])


def test_maps_of_a_vit_are_those_after_each_quarter():
    encoder = build_encoder(EncoderConfig(**{**VIT, "depths": (8,)}, patch_size=8), (32, 32)).eval()
    x = torch.randn(1, 1, 32, 32)
    maps = encoder.features(x)
    assert [tuple(m.shape) for m in maps] == [(1, 16, 4, 4)] * 4
    torch.testing.assert_close(encoder.vit.norm(maps[3].flatten(2).transpose(1, 2)), encoder(x).flatten(2).mT)
    seen = []
    encoder.vit.blocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
    encoder.features(x)
    torch.testing.assert_close(seen[0][:, 1:].mT.reshape(1, 16, 4, 4), maps[0])


def test_a_vit_of_an_odd_number_of_tokens_makes_no_pyramid():
    encoder = build_encoder(EncoderConfig(**VIT, patch_size=8), (24, 32))
    with pytest.raises(Alos2TutError, match=r"encoder\.patch_size: 3 × 4 tokens of a ViT cannot be halved"):
        DECODERS["paper"](encoder, 3, width=16, dropout=0.0)


def test_a_linear_decoder_of_a_vit_is_no_more_than_that():
    encoder = build_encoder(EncoderConfig(**VIT, patch_size=8), (24, 32))
    decoder = DECODERS["linear"](encoder, 5, width=16, dropout=0.5)
    assert [name for name, _ in decoder.named_parameters()] == ["classify.weight", "classify.bias"]
    x = torch.randn(1, 1, 24, 32)
    assert decoder(decoder.maps(encoder, x), x).shape == (1, 5, 24, 32)


def test_a_linear_decoder_is_one_linear_map():
    encoder = build_encoder(EncoderConfig(**SWIN, patch_size=2), (16, 16))
    decoder = DECODERS["linear"](encoder, 5, width=16, dropout=0.5)
    assert sum(p.numel() for p in decoder.parameters()) == (16 + 32 + 64 + 128) * 5 + 5
