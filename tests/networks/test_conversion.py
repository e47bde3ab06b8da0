"""Checkpoints of others, in and out: what a plain network in the published names computes, and what is refused."""

import re
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import (
    CLOSE,
    CONFIG,
    SWIN,
    THREE,
    PlainSegmenter,
    agree,
    full_checkpoint,
    images,
    prefixed,
    randomised,
    saved,
    segmenter,
    swin,
    vit,
    without,
)

from alos2tut.cli import main
from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.legend import load_legend
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.conversion import AUTHORS_STATISTICS, convert_checkpoint
from alos2tut.networks.pickles import read_checkpoint
from alos2tut.networks.published import published_tensors
from alos2tut.networks.weights import load_encoder, load_segmenter, read_header

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
        ({**THREE, "signal": {"quantity": "power"}}, "signal: quantity='power': .*'beta0' or 'relative'"),
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


# --- the commands ----------------------------------------------------------------------------------------------------


def test_the_commands(tmp_path, out, capsys):
    path = saved(tmp_path / "swin.pth", {"model": swin(channels=2, absolute_position=False).state_dict(), "epoch": 1})
    options = ["--mean-db", "-9.5", "-15", "--std-db", "5", "6", "--polarizations", "HH", "HV", "--spacing-m", "10"]
    assert (
        main(["convert-weights", str(path), str(out), *options, "--image-px", "64", "64", "--attribution", "JAXA"]) == 0
    )
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
        assert main(["convert-weights", str(path), str(out), *wrong]) == 2
        assert message in capsys.readouterr().err
