"""Weights as a folder for a model hub: what is in it, that it loads as it was, and what is refused."""

import json
import shutil

import pytest
import torch
import yaml
from support.networks import SIGNAL, STATISTICS, TINY

from alos2tut import Alos2TutError, cli, export_hub, load_encoder, load_legend, load_segmenter
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import build_encoder
from alos2tut.networks.header import read_header
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import save_encoder, save_segmenter, save_weights
from alos2tut.pretraining.probing import name_encoders
from alos2tut.results import describe


@pytest.fixture
def stage(tmp_path):
    """A folder as of a pretraining on real data."""
    folder = tmp_path / "pretrain-1"
    folder.mkdir()
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(**TINY), (32, 32))
    about = {"statistics": STATISTICS, "signal": SIGNAL, "objective": {"name": "simmim"}, "provenance": {"a": 1}}
    save_encoder(folder / "encoder.safetensors", encoder, simulated=False, **about)
    return folder


def front(folder):
    """What a hub reads of the page, and the page."""
    _, head, page = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), page


def test_an_encoder_s_folder_gives_equal_outputs_and_says_what_it_is(stage, tmp_path, capsys):
    hub = tmp_path / "sar encoder"
    assert cli.main(["export-hub", str(stage), str(hub), "--license", "cc-by-4.0"]) == 0
    assert capsys.readouterr().out == f"{hub}\n"
    assert sorted(path.name for path in hub.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (hub / "model.safetensors").read_bytes() == (stage / "encoder.safetensors").read_bytes()
    assert json.loads((hub / "config.json").read_text()) == read_header(stage / "encoder.safetensors")
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(load_encoder(hub)(x), load_encoder(stage)(x))
    head, page = front(hub)
    assert head["license"] == "cc-by-4.0" and head["pipeline_tag"] == "image-feature-extraction"
    assert head["library_name"] == "alos2tut" and "masked-image-modeling" in head["tags"]
    for told in ("# sar encoder", "PALSAR-2 data (c) JAXA", "Name them", "sigma0 in dB, HH", "-11.00 ± 6.00 dB"):
        assert told in page
    assert "imulated" not in page and "load_encoder" in page
    # wherever weights are named
    assert name_encoders([hub]) == {"sar encoder": str(hub)} and describe(hub)[0]["kind"] == "encoder"
    again = export_hub(hub, tmp_path / "again", license="mit")
    assert (again / "model.safetensors").read_bytes() == (hub / "model.safetensors").read_bytes()


def test_a_segmenter_s_folder_names_classes_and_what_they_are_taken_from(stage, tmp_path):
    torch.manual_seed(0)
    encoder = load_encoder(stage)
    segmenter = Segmenter(encoder, load_legend("japan_9"), STATISTICS, SIGNAL, width=16).eval()
    save_segmenter(stage / "segmenter.safetensors", segmenter, provenance={}, simulated=True)
    hub = export_hub(stage, tmp_path / "hub", license="other")
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(load_segmenter(hub)(x), segmenter(x))
    head, page = front(hub)
    assert head["pipeline_tag"] == "image-segmentation"
    # it started from an encoder of real data
    for told in ("greenhouse", "JAXA HRLULC", "Simulated scenes are not real ground", "Name them", "predict(db)"):
        assert told in page
    with pytest.raises(Alos2TutError, match="of the kind 'segmenter', not 'encoder'"):
        load_encoder(hub)


def test_a_training_that_has_both_keeps_its_own_names(stage):
    shutil.copy(stage / "encoder.safetensors", stage / "model.safetensors")
    (stage / "encoder.safetensors").write_bytes(b"")
    with pytest.raises(Alos2TutError, match=r"encoder\.safetensors: is cut off"):
        load_encoder(stage)


def test_texts_of_a_stranger_s_file_stay_texts(stage, tmp_path):
    file = stage / "encoder.safetensors"
    header = read_header(file) | {"attribution": "x\n---\n# title\n<script>a</script>|[b](c)\x1b[2J"}
    network = load_encoder(file)
    save_weights(file, network, "encoder", header)
    _, page = front(export_hub(file, tmp_path / "hub", license="mit"))
    assert "<script>" not in page and "\n# title" not in page and "[b]" not in page and "\x1b" not in page


@pytest.mark.parametrize("spoil", ["kind", "license", "folder", "weights", "missing"])
def test_what_cannot_be_is_refused_and_nothing_is_left(stage, tmp_path, spoil):
    file, hub, license = stage / "encoder.safetensors", tmp_path / "hub", "mit"
    told = {"kind": "kind 'simmim-decoder'", "license": "license: 'MIT License' is no licence", "folder": "not empty",
            "weights": "the file has 2 entries", "missing": "no such file"}[spoil]  # fmt: skip
    if spoil == "kind":
        save_weights(file, torch.nn.Linear(2, 2), "simmim-decoder", {})
    elif spoil == "license":
        license = "MIT License"
    elif spoil == "folder":
        hub = stage
    elif spoil == "weights":
        save_weights(file, torch.nn.Linear(2, 2), "encoder", read_header(file))
    else:
        file.unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Alos2TutError, match=told):
        export_hub(stage, hub, license=license)
    assert sorted(tmp_path.rglob("*")) == before
