"""The published names and shapes; the way back to files of others."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support import plain_models as plain
from support.checkpoints import CLOSE, CONFIG, SWIN, images, prefixed, saved, segmenter, swin, vit

from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.legend import load_legend
from alos2tut.networks import conversion
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.conversion import AUTHORS_DATA, AUTHORS_STATISTICS, convert_checkpoint
from alos2tut.networks.encoders import SwinEncoder, build_encoder
from alos2tut.networks.published import export_checkpoint, published_tensors
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import load_segmenter, read_header, save_encoder, save_segmenter


def golden_encoder(width=128):
    """The published encoder's names and shapes; of another width alike."""
    yield "absolute_pos_embed", (1, 4096, width)
    yield "mask_token", (1, 1, width)
    yield "patch_embed.proj.weight", (width, 1, 4, 4)
    yield from ((f"patch_embed.{name}", (width,)) for name in ("proj.bias", "norm.weight", "norm.bias"))
    for i, depth in enumerate((2, 2, 18, 2)):
        d, heads, windows = width * 2**i, 4 * 2**i, 64 // 4**i
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}."
            for norm in ("norm1", "norm2"):
                yield from ((f"{block}{norm}.{name}", (d,)) for name in ("weight", "bias"))
            yield f"{block}attn.relative_position_bias_table", (225, heads)
            yield f"{block}attn.relative_position_index", (64, 64)
            for name, rows, columns in [
                ("attn.qkv", 3 * d, d),
                ("attn.proj", d, d),
                ("mlp.fc1", 4 * d, d),
                ("mlp.fc2", d, 4 * d),
            ]:
                yield from ((f"{block}{name}.weight", (rows, columns)), (f"{block}{name}.bias", (rows,)))
            if j % 2 and i < 3:
                yield f"{block}attn_mask", (windows, 64, 64)
        if i < 3:
            yield from ((f"layers.{i}.downsample.norm.{name}", (4 * d,)) for name in ("weight", "bias"))
            yield f"layers.{i}.downsample.reduction.weight", (2 * d, 4 * d)
    yield from ((f"norm.{name}", (8 * width,)) for name in ("weight", "bias"))


def golden_decoder():
    """The published decoder's names and shapes."""
    convolutions = {f"decoder.PPMHead.psp_modules.ppm_modules.{i}.1": (256, 1024, 1, 1) for i in range(4)}
    convolutions |= {"decoder.PPMHead.final.0": (256, 2048, 1, 1), "decoder.conv_x1": (256, 256, 1, 1)}
    for number, channels in [(1, 1024), (2, 512), (3, 256)]:
        convolutions[f"decoder.Conv_fuse{number}.0"] = (256, channels, 1, 1)
        convolutions[f"decoder.Conv_fuse{number}_.0"] = (256, 256, 1, 1)
    convolutions |= {"decoder.fuse_all.0": (256, 1024, 1, 1), "prog_head.cls_seg": (9, 256, 3, 3)}
    convolutions |= {f"prog_head.up{i}.1": (256, 256, 3, 3) for i in (1, 2)}
    for name, shape in convolutions.items():
        yield from ((f"decoder.{name}.weight", shape), (f"decoder.{name}.bias", shape[:1]))
        stem, _, number = name.rpartition(".")
        if number in ("0", "1"):
            norm = f"decoder.{stem}.{int(number) + 1}"
            yield from ((f"{norm}.weight", (256,)), (f"{norm}.bias", (256,)))


def test_published_names_and_shapes_one_by_one():
    with torch.device("meta"):
        encoder = SwinEncoder(EncoderConfig(), (256, 256))
        network = Segmenter(encoder, load_legend("japan_9"), AUTHORS_STATISTICS, {})
    expected = dict(golden_encoder())
    shapes = {name: tuple(tensor.shape) for name, tensor in published_tensors(encoder).items()}
    assert len(expected) == 364 and shapes == expected
    del expected["mask_token"]
    decoder = dict(golden_decoder())
    assert len(decoder) == 60
    shapes = {name: tuple(tensor.shape) for name, tensor in published_tensors(network).items()}
    assert shapes == prefixed(expected, "encoder.") | decoder
    assert (encoder.config, encoder.image_px, encoder.in_channels) == conversion.AUTHORS_ENCODER


@pytest.mark.parametrize("width", [16, pytest.param(128, marks=pytest.mark.soak)])
def test_the_published_sizes(tmp_path, out, width, monkeypatch):
    """A file as large as the published one, and one of an eighth of its width, of half precision to be quick."""
    if width < 128:
        monkeypatch.setattr(conversion, "AUTHORS_ENCODER", (EncoderConfig(embed_dim=width), (256, 256), 1))
    made = {"relative_position_index": lambda _: plain.relative_index(8, 8), "attn_mask": torch.zeros}
    state = {
        name: made.get(name.rpartition(".")[2], lambda shape: torch.full(shape, 0.5, dtype=torch.float16))(shape)
        for name, shape in golden_encoder(width)
    }
    report = convert_checkpoint(saved(tmp_path / "sar_w_simim_encoder.pth", state), out)
    assert (report.encoder, report.image_px, report.in_channels) == (EncoderConfig(embed_dim=width), (256, 256), 1)
    assert len(report.loaded) + len(report.dropped) == 364 and len(report.dropped) == 24 + 11
    header = read_header(out)
    assert header["attribution"] == AUTHORS_DATA and "JAXA-AIST" in report.to_text()
    assert all(len(line) < 250 for line in report.to_text().splitlines())


@pytest.mark.parametrize(
    ("network", "layout", "suffix"),
    [("swin", "microsoft", ".pth"), ("vit", "microsoft", ".safetensors"), ("swin", "authors", ".pth")],
)
def test_an_encoder_goes_round_exactly(tmp_path, out, network, layout, suffix):
    original = {"swin": swin, "vit": vit}[network]()
    state = original.state_dict()
    convert_checkpoint(saved(tmp_path / "in.pth", {"model": state}), out)
    exported = export_checkpoint(out, tmp_path / f"exported{suffix}", layout)
    content = load_file(exported) if suffix == ".safetensors" else torch.load(exported, weights_only=True)
    if (layout, suffix) == ("microsoft", ".pth"):
        assert list(content) == ["model"]
        content = content["model"]
    assert content.keys() == state.keys()
    for key, tensor in state.items():
        assert tensor.dtype == content[key].dtype and torch.equal(tensor, content[key]), key
    with pytest.raises(Alos2TutError, match="would overwrite what it is made from"):
        export_checkpoint(out, out)
    again = tmp_path / "again.safetensors"
    convert_checkpoint(exported, again)
    first, second = load_file(out), load_file(again)
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_segmenter_goes_round_exactly(tmp_path, out):
    torch.manual_seed(0)
    legend, signal = load_legend("japan_9"), {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}
    original = Segmenter(SwinEncoder(CONFIG, (64, 64)), legend, AUTHORS_STATISTICS, signal, width=128).eval()
    save_segmenter(tmp_path / "segmenter.safetensors", original, provenance={}, simulated=True)
    exported = export_checkpoint(tmp_path, tmp_path / "out.pth", "authors")
    content = torch.load(exported, weights_only=True)
    network = segmenter()
    network.load_state_dict(content | {"encoder.mask_token": network.encoder.mask_token})
    report = convert_checkpoint(exported, out, simulated=True)
    first, second = load_file(tmp_path / "segmenter.safetensors"), load_file(out)
    assert first.keys() == second.keys() and list(report.missing) == ["encoder.mask_token"]
    assert all(torch.equal(first[key], second[key]) for key in first if key != "encoder.mask_token")
    x = images(network.encoder, (64, 64))
    with torch.no_grad():
        torch.testing.assert_close(network(x), load_segmenter(out)(x), **CLOSE)
        assert torch.equal(original(x), load_segmenter(out)(x))
    assert read_header(out)["simulated"] is True
    export_checkpoint(out, tmp_path / "o.safetensors", "authors")
    length = int.from_bytes((tmp_path / "o.safetensors").read_bytes()[:8], "little")
    header = json.loads((tmp_path / "o.safetensors").read_bytes()[8 : 8 + length])
    assert header["__metadata__"] == {"format": "pt", "attribution": "simulated", "simulated": "true"}
    with pytest.raises(Alos2TutError, match="know no segmentation decoder"):
        export_checkpoint(out, tmp_path / "o.pth", "microsoft")
    other = Segmenter(original.encoder, legend, AUTHORS_STATISTICS, signal, decoder="linear")
    save_segmenter(out, other, provenance={}, simulated=True)
    with pytest.raises(Alos2TutError, match="not for 'linear' behind a swin"):
        export_checkpoint(out, tmp_path / "o.pth", "authors")


@pytest.mark.parametrize(
    ("changes", "image_px", "message"),
    [
        ({"shifted": False}, (64, 64), "not shifted"),
        ({"position": "sincos"}, (64, 64), "positions fixed"),
        ({"window_size": 3}, (64, 64), "do not tile stage 0's map of 16 × 16"),
        ({}, (64, 96), "stage 2's map of 4 × 6"),
    ],
)
def test_exports_that_would_compute_otherwise_are_refused(tmp_path, out, changes, image_px, message):
    encoder = build_encoder(EncoderConfig(**SWIN | changes), image_px)
    signal = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}
    given = {"statistics": AUTHORS_STATISTICS, "signal": signal, "objective": {}, "provenance": {}, "simulated": True}
    save_encoder(out, encoder, **given)
    with pytest.raises(Alos2TutError, match=message):
        export_checkpoint(out, tmp_path / "o.pth")
    for target, layout, refused in [("o.pth", "timm", "unknown layout 'timm'"), ("o.bin", "authors", "not named")]:
        with pytest.raises(Alos2TutError, match=refused):
            export_checkpoint(out, tmp_path / target, layout)
    assert not (tmp_path / "o.pth").exists()
