"""Checkpoints of others, in and out: what a plain network in the published names computes, and what is refused."""

import argparse
import io
import json
import pickle
import re
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import plain_models as plain
from torch import nn

from alos2tut.cli import main
from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.legend import load_legend
from alos2tut.networks import conversion
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.conversion import AUTHORS_DATA, AUTHORS_STATISTICS, convert_checkpoint
from alos2tut.networks.encoders import SwinEncoder, build_encoder
from alos2tut.networks.pickles import read_checkpoint
from alos2tut.networks.published import export_checkpoint, published_tensors
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import load_encoder, load_segmenter, read_header, save_encoder, save_segmenter

SWIN = {"patch_size": 4, "embed_dim": 16, "depths": (2, 2, 3, 2), "num_heads": (2, 4, 4, 8), "window_size": 4}
CONFIG = EncoderConfig(**SWIN)
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
THREE = {
    "statistics": Statistics((-9.0, -15.0, -8.0), (5.0, 6.0, 5.0)),
    "signal": {"polarizations": ["HH", "HV", "VV"], "spacing_m": [10.0, 10.0]},
}


# --- a plain segmenter in the published names ------------------------------------------------------------------------


def twice(x):
    return nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def conv_block(channels, width, kernel=1, *, dropout=True):
    parts = [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.GroupNorm(16, width), nn.GELU()]
    return nn.Sequential(*parts, *([nn.Dropout(0.5)] if dropout else []))


class PlainPooling(nn.Module):
    """Maxima over 1, 2², 3² and 6² parts beside the map itself."""

    def __init__(self, channels, width):
        super().__init__()
        self.psp_modules = nn.Module()
        self.psp_modules.ppm_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveMaxPool2d(bins), *conv_block(channels, width, dropout=False))
            for bins in (1, 2, 3, 6)
        )
        self.final = conv_block(channels + 4 * width, width)

    def forward(self, x):
        pooled = [part(x) for part in self.psp_modules.ppm_modules]
        size = {"size": x.shape[2:], "mode": "bilinear", "align_corners": True}
        return self.final(torch.cat([x, *(nn.functional.interpolate(part, **size) for part in pooled)], 1))


class PlainPyramid(nn.Module):
    """From the deepest map to the finest, and all of them together."""

    def __init__(self, channels, width):
        super().__init__()
        self.PPMHead = PlainPooling(channels[3], width)
        self.conv_x1 = nn.Conv2d(width, width, 1)
        self.Conv_fuse1, self.Conv_fuse1_ = conv_block(channels[2], width), conv_block(width, width)
        self.Conv_fuse2, self.Conv_fuse2_ = conv_block(channels[1], width), conv_block(width, width)
        self.Conv_fuse3, self.Conv_fuse3_ = conv_block(channels[0], width), conv_block(width, width)
        self.fuse_all = conv_block(4 * width, width)

    def forward(self, maps):
        deepest = self.PPMHead(maps[3])
        first = self.Conv_fuse1_(self.conv_x1(twice(deepest)) + twice(self.Conv_fuse1(maps[2])))
        second = self.Conv_fuse2_(twice(first) + twice(self.Conv_fuse2(maps[1])))
        third = self.Conv_fuse3_(twice(second) + twice(self.Conv_fuse3(maps[0])))
        size = {"size": third.shape[2:], "mode": "bilinear", "align_corners": True}
        levels = [nn.functional.interpolate(level, **size) for level in (deepest, first, second)]
        return self.fuse_all(torch.cat([*levels, third], 1))


class PlainHead(nn.Module):
    """Twice enlarged and convolved, then classes."""

    def __init__(self, width, classes):
        super().__init__()
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.up1 = nn.Sequential(up, *conv_block(width, width, 3, dropout=False))
        self.up2 = nn.Sequential(up, *conv_block(width, width, 3, dropout=False))
        self.cls_seg = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, x):
        return self.cls_seg(self.up2(self.up1(x)))


class PlainSegmenter(nn.Module):
    """The encoder's maps, the pyramid and the head."""

    def __init__(self, encoder, width, classes):
        super().__init__()
        self.encoder, self.decoder = encoder, nn.Module()
        features = encoder.num_features
        self.decoder.decoder = PlainPyramid((features // 4, features // 2, features, features), width)
        self.decoder.prog_head = PlainHead(width, classes)

    def forward(self, x):
        return self.decoder.prog_head(self.decoder.decoder(self.encoder.stage_outputs(x)))


# --- networks and files ----------------------------------------------------------------------------------------------


def randomised(network):
    return plain.randomised(network).float()


def swin(image_px=(64, 64), channels=1, **changes):
    return randomised(plain.PlainSwin(image_px, channels, **(SWIN | changes)))


def vit(image_px=(32, 32), channels=1, **changes):
    return randomised(plain.PlainViT(image_px, channels, **(VIT | changes)))


def segmenter(classes=9, width=128):
    return randomised(PlainSegmenter(swin(), width, classes))


def without(state, *endings):
    return {key: value for key, value in state.items() if not key.endswith(endings)}


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


@pytest.fixture
def yacs(monkeypatch):
    """A module as the one that SimMIM's settings are of, to write with; it is gone when the file is read."""
    module = types.ModuleType("yacs.config")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    yield module
    monkeypatch.undo()


def full_checkpoint(network, config_class):
    """All that a SimMIM training keeps, after one step."""
    model = plain.PlainSimMIM(network, network.stride, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    config = config_class({"MODEL": config_class({"TYPE": "swin"})})
    config.__dict__["__immutable__"], config.__dict__["__deprecated_keys__"] = True, {"OLD"}
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"base_values": [1e-4]},
        "max_accuracy": np.float64(0.5),
        "epoch": 799,
        "config": config,
        "args": argparse.Namespace(batch_size=256),
    }


def images(network, image_px, n=2):
    channels = network.patch_embed.proj.in_channels
    return torch.randn(n, channels, *image_px, generator=torch.Generator().manual_seed(5))


def agree(path, network, image_px):
    """The converted encoder computes what the plain network does, with and without hidden tokens."""
    encoder = load_encoder(path)
    x = images(network, image_px)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), network(x), **CLOSE)
        if encoder.mask_token.any():
            hidden = torch.rand(len(x), *encoder.grid, generator=torch.Generator().manual_seed(1)) < 0.6
            torch.testing.assert_close(encoder(x, mask=hidden), network(x, hidden), **CLOSE)
    return encoder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.safetensors"


# --- parity ----------------------------------------------------------------------------------------------------------


def test_microsofts_classifier(tmp_path, out):
    network = swin(channels=3, absolute_position=False, mlp_ratio=3)
    head = {"head.weight": torch.zeros(10, 128), "head.bias": torch.zeros(10)}
    path = saved(tmp_path / "swin.pth", {"model": without(network.state_dict(), "mask_token") | head})
    report = convert_checkpoint(path, out, attribution="ImageNet", **THREE)
    encoder = agree(out, network, (64, 64))
    assert encoder.config == EncoderConfig(**SWIN, mlp_ratio=3.0, position="none")
    assert (encoder.image_px, encoder.in_channels) == ((64, 64), 3) and not encoder.mask_token.any()
    assert encoder.statistics == THREE["statistics"]
    assert encoder.signal == {"quantity": "sigma0", **THREE["signal"]}
    assert encoder.header["objective"] == {"name": "classification"}
    assert (encoder.header["attribution"], encoder.header["simulated"]) == ("ImageNet", False)
    assert report.kind == "Swin with a classification head" and list(report.missing) == ["mask_token"]
    assert report.dropped["head.weight"] == "head of another task"
    assert report.dropped["layers.0.blocks.1.attn_mask"] == "buffer, computed anew"
    assert not report.changed and set(report.loaded) | set(report.dropped) == set(read_checkpoint(path)["model"])
    groups = r"^dropped: \d+ entries \(layers\.0\S+, layers\.0\S+, layers\.0\S+, …\): buffer, computed anew$"
    assert re.search(groups, report.to_text(), re.M)


def test_a_swin_without_position_takes_images_of_another_size(tmp_path, out):
    network = swin(absolute_position=False, image_px=(64, 64))
    path = saved(tmp_path / "swin.pth", network.state_dict())
    convert_checkpoint(path, out, image_px=(96, 64))
    larger = swin(absolute_position=False, image_px=(128, 128))
    convert_checkpoint(path, out, image_px=128)
    same = without(network.state_dict(), "attn_mask", "relative_position_index")
    # the last map is one window, of another size there
    with pytest.raises(RuntimeError, match=r"layers\.3\.blocks\.0.*relative_position_bias_table"):
        larger.load_state_dict(same, strict=False)
    tables = {k: t for k, t in load_file(out).items() if "layers.3" in k and k.endswith("table")}
    same |= {key.removeprefix("swin."): table for key, table in tables.items()}
    larger.load_state_dict(same, strict=False)
    agree(out, larger, (128, 128))


@pytest.mark.parametrize(
    "form", ["bare", "encoder", "model", "module", "backbone", "safetensors", "legacy", "flat", "misnamed"]
)
def test_the_authors_encoder_in_many_forms(tmp_path, out, form):
    network = swin()
    state, path = network.state_dict(), tmp_path / "encoder.pth"
    forms = {
        "encoder": prefixed(state, "encoder."),
        "model": {"model": state, "epoch": 3},
        "module": {"state_dict": prefixed(state, "module.encoder.")},
        "backbone": {"state_dict": {"model": prefixed(state, "model.backbone.")}},
        "flat": {**state, "epoch": 3},
    }
    if form == "misnamed":
        path = saved(tmp_path / "encoder.safetensors", state)
    elif form == "safetensors":
        path = tmp_path / "encoder.safetensors"
        save_file(state, path)
    else:
        saved(path, forms.get(form, state), _use_new_zipfile_serialization=form != "legacy")
    report = convert_checkpoint(path, out)
    assert report.encoder == CONFIG and not report.missing and not report.changed
    encoder = agree(out, network, (64, 64))
    assert (encoder.statistics, encoder.header["objective"]) == (AUTHORS_STATISTICS, {"name": "simmim"})
    assert encoder.header["provenance"]["made_from"] == {"init": report.sha256}
    for key, tensor in published_tensors(encoder).items():
        assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_whole_simmim_checkpoint_of_a_swin(tmp_path, out, yacs, form):
    network = swin()
    content = full_checkpoint(network, yacs.CfgNode)
    path = saved(tmp_path / "ckpt_epoch_799.pth", content, _use_new_zipfile_serialization=form == "zip")
    sys.modules.pop("yacs.config")
    report = convert_checkpoint(path, out)
    agree(out, network, (64, 64))
    assert report.kind == "Swin with SimMIM's decoder" and not report.missing
    assert report.dropped["optimizer"] == "state of the training" and report.dropped["config"] == "no weights"
    assert report.dropped["decoder.0.weight"] == "SimMIM's decoder of pixels"
    assert report.dropped["max_accuracy"] == report.dropped["args"] == "no weights"
    assert set(read_checkpoint(path)) == {key for key in report.dropped if "." not in key} | {"model"}
    assert "yacs.config" not in sys.modules


@pytest.mark.parametrize(
    ("options", "image_px", "config"),
    [
        ({}, (32, 32), {"position": "none", "shared_relative_position": True}),
        ({"absolute_position": True}, (24, 40), {"position": "learned", "shared_relative_position": True}),
        ({"absolute_position": True, "relative_position": False}, (32, 32), {"position": "learned"}),
    ],
)
def test_a_whole_simmim_checkpoint_of_a_vit(tmp_path, out, yacs, options, image_px, config):
    network = vit(image_px, **options)
    path = saved(tmp_path / "vit.pth", full_checkpoint(network, yacs.CfgNode))
    sys.modules.pop("yacs.config")
    if "shared_relative_position" not in config:
        with pytest.raises(Alos2TutError, match=r"attention heads. Give --num-heads"):
            convert_checkpoint(path, out)
    square = image_px[0] == image_px[1]
    if not square:
        with pytest.raises(Alos2TutError, match=r"Give --image-px HEIGHT WIDTH"):
            convert_checkpoint(path, out)
    heads = None if "shared_relative_position" in config else 4
    report = convert_checkpoint(path, out, image_px=None if square else image_px, num_heads=heads)
    assert report.kind == "ViT with SimMIM's decoder"
    assert (report.image_px, report.encoder.layer_scale) == (image_px, 0.1)
    assert {name: getattr(report.encoder, name) for name in config} == config
    encoder = agree(out, network, image_px)
    for key, tensor in published_tensors(encoder).items():
        assert torch.equal(tensor, network.state_dict()[key]), key


def test_a_rectangle_is_told(tmp_path, out):
    network = swin((64, 96))
    path = saved(tmp_path / "encoder.pth", network.state_dict())
    with pytest.raises(Alos2TutError, match=r"384 patches per image, which are no square. Give --image-px HEIGHT"):
        convert_checkpoint(path, out)
    with pytest.raises(Alos2TutError, match=r"'absolute_pos_embed' is for 384 patches"):
        convert_checkpoint(path, out, image_px=64)
    assert convert_checkpoint(path, out, image_px=(64, 96)).encoder == CONFIG
    agree(out, network, (64, 96))


def test_an_encoder_whose_windows_are_not_shifted(tmp_path, out):
    network = swin()
    for stage in network.layers:
        for block in stage.blocks:
            block.shift, block.attn_mask = (0, 0), None
    path = saved(tmp_path / "encoder.pth", network.state_dict())
    report = convert_checkpoint(path, out)
    assert not report.encoder.shifted and "not shifted" in report.to_text()
    agree(out, network, (64, 64))
    # weights alone, without any buffer, are Swin's
    saved(path, without(network.state_dict(), "relative_position_index"))
    report = convert_checkpoint(path, out)
    assert report.encoder.shifted and any("windows shifted" in line for line in report.assumed)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_segmenter(tmp_path, out, prefix):
    network = segmenter()
    path = saved(tmp_path / "best.pth", {"model": prefixed(without(network.state_dict(), "mask_token"), prefix)})
    report = convert_checkpoint(path, out)
    ours = load_segmenter(out)
    x = images(network.encoder, (64, 64))
    with torch.no_grad():
        expected = network(x)
        assert expected.shape == (2, 9, 64, 64) and expected.std() > 0.01
        torch.testing.assert_close(ours(x), expected, **CLOSE)
    assert report.kind == "Swin with the authors' segmentation decoder" and report.classes == 9
    assert ours.legend == load_legend("japan_9") and "our reading" in report.to_text()
    assert list(report.missing) == [f"{prefix}encoder.mask_token"]
    for key, tensor in published_tensors(ours).items():
        assert torch.equal(tensor, network.state_dict()[key]), key


# --- windows, types, options -----------------------------------------------------------------------------------------


def test_another_window_interpolates_the_tables_and_nothing_else(tmp_path, out):
    network = swin((128, 128))
    path = saved(tmp_path / "encoder.pth", network.state_dict())
    report = convert_checkpoint(path, out, window_size=8)
    assert report.encoder == EncoderConfig(**SWIN | {"window_size": 8})
    # the last stage's maps of 4 × 4 tokens are one window, as before
    how = "interpolated (bicubic) from windows of 4 to 8 × 8 tokens"
    assert len(report.changed) == 7 and set(report.changed.values()) == {how}
    own, state = published_tensors(load_encoder(out)), network.state_dict()
    for key in report.loaded:
        assert torch.equal(own[key], state[key]) != (key in report.changed), key
    table = own["layers.0.blocks.0.attn.relative_position_bias_table"].reshape(15, 15, 2)
    before = state["layers.0.blocks.0.attn.relative_position_bias_table"].reshape(7, 7, 2)
    torch.testing.assert_close(table[7, 7], before[3, 3])
    # the same window again changes no bit
    assert not convert_checkpoint(path, out, window_size=4).changed


def test_half_precision_becomes_float32(tmp_path, out):
    network = swin()
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    report = convert_checkpoint(saved(tmp_path / "half.pth", state), out)
    assert set(report.changed) == set(report.loaded) and report.changed["mask_token"] == "float16 made float32"
    for name, tensor in load_file(out).items():
        assert tensor.dtype == torch.float32, name


def test_parts_of_one_block_of_memory(tmp_path, out):
    network = swin()
    flat, state, start = torch.cat([p.detach().flatten() for p in network.parameters()]), network.state_dict(), 0
    for name, parameter in network.named_parameters():
        state[name] = flat[start : start + parameter.numel()].reshape(parameter.shape)
        start += parameter.numel()
    convert_checkpoint(saved(tmp_path / "flat.pth", state), out)
    agree(out, network, (64, 64))


def test_what_is_assumed_is_said_and_can_be_given(tmp_path, out):
    path = saved(tmp_path / "encoder.pth", swin().state_dict())
    assumed = " ".join(convert_checkpoint(path, out).assumed)
    assert all(word in assumed for word in ("-10.4327 ± 5.8041 dB", "sigma0", "['HH']", "[5.0, 5.0]", "whose data"))
    assert read_header(out)["attribution"] == "not stated (weights of encoder.pth)"
    given = {
        "statistics": Statistics((-9.0,), (5.0,)),
        "signal": {"quantity": "gamma0", "polarizations": ("HV",), "spacing_m": (25.0, 25.0)},
        "simulated": True,
    }
    assert convert_checkpoint(path, out, **given).assumed == []
    header = read_header(out)
    assert (header["simulated"], header["attribution"]) == (True, "simulated")
    assert header["signal"] == {"quantity": "gamma0", "polarizations": ["HV"], "spacing_m": [25.0, 25.0]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "encoder.pth: statistics missing: .* 3 channels .* Give --mean-db and --std-db"),
        ({**THREE, "statistics": AUTHORS_STATISTICS}, "has 3 input channel.s., the statistics 1"),
        ({**THREE, "signal": {}}, r"polarizations are \['HH'\]. Give --polarizations"),
        ({**THREE, "signal": {"quantity": "beta0"}}, "signal: quantity='beta0': .*'sigma0' or 'gamma0'"),
        ({**THREE, "signal": {"polarizations": ["HH", "HV", "XX"]}}, "polarizations.2='XX': .* 'VH' or 'VV'"),
        ({**THREE, "signal": THREE["signal"] | {"spacing_m": [0.0, 5.0]}}, r"spacing_m.0=0\.0: .*than 0"),
        ({**THREE, "signal": {"pixel": 5}}, "signal: unknown key 'pixel'.*Known: polarizations, quantity, spacing_m"),
        ({**THREE, "num_heads": 2}, "is a Swin, whose tables tell the heads"),
        ({**THREE, "image_px": 60}, "60 × 60 px"),
    ],
)
def test_options_that_are_missing_or_do_not_fit(tmp_path, out, options, message):
    path = saved(tmp_path / "encoder.pth", swin(channels=3).state_dict())
    with pytest.raises(Alos2TutError, match=message):
        convert_checkpoint(path, out, **options)
    assert not out.exists()


def test_the_size_of_images_must_be_known(tmp_path, out):
    path = saved(tmp_path / "swin.pth", without(swin(absolute_position=False).state_dict(), "attn_mask"))
    with pytest.raises(Alos2TutError, match=r"size of its images. Give it: --image-px 256"):
        convert_checkpoint(path, out)
    assert convert_checkpoint(path, out, image_px=64).image_px == (64, 64)
    with pytest.raises(Alos2TutError, match=r"Give --legend"):
        convert_checkpoint(saved(tmp_path / "s.pth", segmenter(classes=2).state_dict()), out)
    assert convert_checkpoint(tmp_path / "s.pth", out, legend="water_land").classes == 2
    with pytest.raises(Alos2TutError, match=r"has 2 classes, the legend 'japan_9' has 9"):
        convert_checkpoint(tmp_path / "s.pth", out, legend="japan_9")


# --- what is refused -------------------------------------------------------------------------------------------------


class Hostile:
    """Makes a file when a careless reader opens it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_names_code_is_refused_by_that_name(tmp_path, out, form):
    proof, path = tmp_path / "proof", tmp_path / "hostile.pth"
    content = {"model": swin().state_dict(), "config": Hostile(proof)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({"model": Hostile(proof)}))
    else:
        saved(path, content, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(Alos2TutError, match=r"hostile\.pth: names the Python code 'posix\.system'.*nothing was run"):
        convert_checkpoint(path, out)
    assert not proof.exists() and not out.exists()
    if form != "pickle":
        # it is a real one
        torch.load(path, weights_only=False)
        assert proof.exists()


@pytest.mark.parametrize("thing", [eval, types.SimpleNamespace(a=1), re.compile("a"), np.arange(3)])
def test_other_code_is_refused_too(tmp_path, out, thing):
    with pytest.raises(Alos2TutError, match=r"names the Python code"):
        convert_checkpoint(saved(tmp_path / "x.pth", {"model": swin().state_dict(), "x": thing}), out)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_cut_file(tmp_path, out, share, legacy):
    path = saved(tmp_path / "cut.pth", swin().state_dict(), _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(Alos2TutError, match=r"cut\.pth: is (cut off|no checkpoint)"):
        convert_checkpoint(path, out)
    assert not out.exists()


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "is no checkpoint.*it begins with b'version h'"),
        (b"\x80\x02}q\x00.", "is cut off, damaged or no checkpoint"),
        (b"\x10\0\0\0\0\0\0\0{broken", "is cut off, damaged or no checkpoint"),
        (zipped("program/data.pkl", "program/constants.pkl"), r"is a program \(TorchScript"),
        (zipped("IMG-HH"), r"is a ZIP archive .* has no data\.pkl"),
    ],
    ids=["LFS", "pickle", "safetensors", "program", "archive"],
)
def test_no_checkpoint(tmp_path, out, content, message):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(Alos2TutError, match=rf"x\.pth: {message}"):
        convert_checkpoint(tmp_path / "x.pth", out)


def test_other_things_than_checkpoints(tmp_path, out):
    with pytest.raises(Alos2TutError, match="is a folder"):
        convert_checkpoint(tmp_path, out)
    with pytest.raises(Alos2TutError, match=r"nothing\.pth: there is no such file"):
        convert_checkpoint(tmp_path / "nothing.pth", out)
    two = {f"{x}.{k}": v for k, v in swin().state_dict().items() for x in "ab"}
    for content, message in [
        ([torch.zeros(2)], "holds a list"),
        ({"model": {"conv.weight": torch.zeros(2)}}, r"lacks 'patch_embed\.proj\.weight'"),
        ({"a": swin().state_dict(), "b": {}}, r"lacks 'patch_embed\.proj\.weight'"),
        ({"model": two}, r"has 2 encoders \('a\.', 'b\."),
    ]:
        with pytest.raises(Alos2TutError, match=message):
            convert_checkpoint(saved(tmp_path / "x.pth", content), out)
    convert_checkpoint(saved(tmp_path / "x.pth", swin().state_dict()), out)
    with pytest.raises(Alos2TutError, match="is a file of this package"):
        convert_checkpoint(out, tmp_path / "again.safetensors")
    with pytest.raises(Alos2TutError, match=r"not named \*\.safetensors"):
        convert_checkpoint(tmp_path / "x.pth", tmp_path / "out.pth")
    save_file(swin().state_dict(), out)
    with pytest.raises(Alos2TutError, match="would overwrite what it is made from"):
        convert_checkpoint(out, out)


def test_a_compressed_archive_is_read(tmp_path, out):
    network = swin()
    path = saved(tmp_path / "x.pth", network.state_dict())
    with zipfile.ZipFile(path) as stored, zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    convert_checkpoint(tmp_path / "y.pth", out)
    agree(out, network, (64, 64))


TABLE = "layers.2.blocks.0.attn.relative_position_bias_table"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm.weight": None}, r"lacks 'norm\.weight'\. It is cut"),
        ({"layers.1.blocks.1.mlp.fc1.bias": None, "norm.bias": None}, r"fc1\.bias' and 1 more"),
        ({"layers.2.blocks.1.": None}, "has 2 blocks in stage 2, but none with the number 1"),
        ({"layers.3.": None}, "depths"),
        ({"surplus.weight": torch.zeros(1)}, r"not known here: 'surplus\.weight'.*--drop-unknown"),
        ({"norm.weight": torch.ones(5)}, r"'norm\.weight' is \(5,\), not \(128,\)"),
        ({"norm.weight": torch.full((128,), torch.nan)}, r"'norm\.weight' holds NaN or infinity"),
        ({"norm.weight": torch.ones(128, dtype=torch.int64)}, r"'norm\.weight' holds torch\.int64, no plain real"),
        ({"norm.weight": torch.ones(128).to_sparse()}, r"'norm\.weight' holds"),
        ({"norm.weight": 3}, r"lacks 'norm\.weight'"),
        ({TABLE: torch.zeros(100, 4)}, rf"'{TABLE}' has 100 rows, which no window explains"),
        ({TABLE: torch.zeros(49)}, rf"'{TABLE}' is \(49,\), which no known architecture explains"),
        ({TABLE: torch.zeros(49, 5)}, "5 heads do not divide"),
        ({"patch_embed.proj.weight": torch.zeros(16, 1, 4, 2)}, "patches of 4 × 2 px, no squares"),
        ({"absolute_pos_embed": torch.zeros(1, 250, 16)}, "250 patches per image, which are no square"),
        ({"absolute_pos_embed": torch.zeros(1, 1024, 16)}, f"layers.3.blocks.0.attn.{TABLE[-28:]}' has 9 rows"),
        ({f"{TABLE[:-10]}index": torch.zeros(16, 16, dtype=torch.int64)}, r"position_index' orders the biases"),
        ({"blocks.0.weight": torch.zeros(1)}, r"not known here: 'blocks\.0\.weight'"),
    ],
)
def test_damage_is_named(tmp_path, out, changes, message):
    state = swin().state_dict()
    for name, value in changes.items():
        state = {key: kept for key, kept in state.items() if not key.startswith(name)}
        state |= {} if value is None else {name: value}
    with pytest.raises(Alos2TutError, match=r"damaged\.pth.*" + message):
        convert_checkpoint(saved(tmp_path / "damaged.pth", {"model": state}), out)
    assert not out.exists()


def test_unknown_entries_can_be_dropped(tmp_path, out):
    network = swin()
    content = {"model": network.state_dict() | {"surplus": torch.zeros(1)}, "model_ema": {"x": torch.zeros(1)}}
    path = saved(tmp_path / "x.pth", content)
    with pytest.raises(Alos2TutError, match="'model_ema'"):
        convert_checkpoint(path, out)
    report = convert_checkpoint(path, out, strict=False)
    assert report.dropped["surplus"] == report.dropped["model_ema"] == "not known here"
    agree(out, network, (64, 64))


def test_a_decoder_that_ours_would_not_compute_alike_is_refused(tmp_path, out):
    with pytest.raises(Alos2TutError, match=r"normalised in 4 groups here, in the authors' code in 16"):
        convert_checkpoint(saved(tmp_path / "x.pth", segmenter(width=32).state_dict()), out)
    state = segmenter().state_dict()
    del state["decoder.prog_head.up2.1.bias"]
    with pytest.raises(Alos2TutError, match=r"lacks 'decoder\.prog_head\.up2\.1\.bias'"):
        convert_checkpoint(saved(tmp_path / "x.pth", state), out)
    other = randomised(PlainSegmenter(swin((32, 32), patch_size=2), 128, 9))
    with pytest.raises(Alos2TutError, match=r"patches of 4 px, these have 2"):
        convert_checkpoint(saved(tmp_path / "x.pth", other.state_dict()), out)


# --- out, and in again -----------------------------------------------------------------------------------------------


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


# --- the commands ----------------------------------------------------------------------------------------------------


def test_the_commands(tmp_path, out, capsys):
    path = saved(tmp_path / "swin.pth", {"model": swin(channels=2, absolute_position=False).state_dict(), "epoch": 1})
    options = ["--mean-db", "-9.5", "-15", "--std-db", "5", "6", "--polarizations", "HH", "HV", "--spacing-m", "10"]
    assert main(["convert", str(path), str(out), *options, "--image-px", "64", "64", "--attribution", "JAXA"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("swin.pth: Swin encoder alone\nencoder: swin, patch 4, width 16, depths 2-2-3-2")
    assert "dropped: 1 entry (epoch): no weights\n" in text and "assumed: quantity sigma0, the authors'" in text
    encoder = load_encoder(out)
    assert encoder.statistics == Statistics((-9.5, -15.0), (5.0, 6.0)) and encoder.header["attribution"] == "JAXA"
    assert encoder.signal == {"quantity": "sigma0", "polarizations": ["HH", "HV"], "spacing_m": [10.0, 10.0]}
    assert main(["export-weights", str(out), str(tmp_path / "o.pth"), "--layout", "authors"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'o.pth'}\n"
    for wrong, message in [
        (["--mean-db", "1"], "--mean-db and --std-db: need each other"),
        ([*options, "--image-px", "1", "2", "3"], "--image-px: takes one number or two"),
        ([], "statistics missing"),
    ]:
        assert main(["convert", str(path), str(out), *wrong]) == 2
        assert message in capsys.readouterr().err
