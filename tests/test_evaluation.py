"""Scores on a split: what fits, what is refused, and where the network runs."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from conftest import write_packed_dataset

from alos2tut import evaluation
from alos2tut.checkpoints import save_segmenter
from alos2tut.cli import main
from alos2tut.config import EncoderConfig, EvaluateConfig
from alos2tut.dataset import open_dataset
from alos2tut.encoders import SwinEncoder
from alos2tut.errors import Alos2TutError, Alos2TutWarning
from alos2tut.evaluation import best_device, evaluate, predict_patches
from alos2tut.segmentation import Segmenter

TINY = EncoderConfig(patch_size=2, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(2, 4, 8, 16), window_size=4)


@pytest.fixture
def trained(packed_dataset, tmp_path):
    """The folder of a fine-tuning, as far as evaluation needs it."""
    dataset = open_dataset(packed_dataset)
    torch.manual_seed(0)
    segmenter = Segmenter(SwinEncoder(TINY, (32, 32)), dataset.legend, dataset.statistics, dataset.signal, width=16)
    folder = tmp_path / "finetune"
    folder.mkdir()
    save_segmenter(folder / "segmenter.safetensors", segmenter, provenance={"made_from": {}}, simulated=True)
    return folder


def settings(dataset, segmenter, work, **values) -> EvaluateConfig:
    return EvaluateConfig(dataset=dataset, segmenter=segmenter, work_dir=work, **values)


def classes(**of_the_second) -> dict:
    """The legend of the packed dataset, its second class changed."""
    content = [{"name": f"class {c}", "color": [c, 0, 0], "codes": [c + 1]} for c in range(3)]
    content[1] |= of_the_second
    return {"name": "toy", "source": "made up", "classes": content, "ignored": [0]}


def test_a_segmenter_is_scored_by_its_file_or_folder(packed_dataset, trained, tmp_path):
    folder = evaluate(settings(packed_dataset, trained, tmp_path))
    by_file = settings(packed_dataset, trained / "segmenter.safetensors", tmp_path, baseline=trained)
    report = json.loads((evaluate(by_file) / "report.json").read_text())
    assert report["models"]["segmenter"] == report["models"]["baseline"]
    assert json.loads((folder / "report.json").read_text())["models"]["segmenter"] == report["models"]["segmenter"]


def test_a_list_without_labels_has_no_scores(trained, tmp_path, capsys):
    dataset = write_packed_dataset(tmp_path / "dataset")
    np.save(dataset / "test_labels.npy", np.full((4, 32, 32), 255, dtype=np.uint8))
    assert main(["evaluate", str(dataset), str(trained), "--work-dir", str(tmp_path)]) == 0
    line, folder = capsys.readouterr().out.splitlines()
    assert line.startswith("segmenter (random): miou –, macc –, pixel_accuracy – (absent: class 0,")
    with open(f"{folder}/report.json") as file:
        assert json.load(file)["models"]["segmenter"]["miou"] is None


@pytest.mark.parametrize(
    "changed", [pytest.param({"codes": [2, 7]}, id="merged"), pytest.param({"codes": [9]}, id="other code")]
)
def test_classes_of_other_codes_are_refused(trained, tmp_path, changed):
    dataset = write_packed_dataset(tmp_path / "dataset", legend=classes(**changed))
    with pytest.raises(Alos2TutError, match=r"class 1 as the codes 2, the dataset as (2 \+ 7|9)"):
        evaluate(settings(dataset, trained, tmp_path))


def test_another_number_of_classes_is_refused(trained, tmp_path):
    dataset = write_packed_dataset(tmp_path / "dataset", classes=2)
    with pytest.raises(Alos2TutError, match="class 2 as the codes 3, the dataset as nothing"):
        evaluate(settings(dataset, trained, tmp_path))


def test_colours_may_differ_and_names_with_a_warning(trained, tmp_path, recwarn):
    evaluate(settings(write_packed_dataset(tmp_path / "a", legend=classes(color=[9, 9, 9])), trained, tmp_path))
    assert not recwarn.list
    dataset = write_packed_dataset(tmp_path / "b", legend=classes(name="rice"))
    with pytest.warns(Alos2TutWarning, match="'rice'.*codes are the same"):
        evaluate(settings(dataset, trained, tmp_path))


def test_another_signal_is_refused_unless_allowed(trained, tmp_path):
    config = settings(write_packed_dataset(tmp_path / "dataset", quantity="gamma0"), trained, tmp_path)
    with pytest.raises(Alos2TutError, match=r"quantity sigma0, the data have gamma0.*allow_other_signal"):
        evaluate(config)
    with pytest.warns(Alos2TutWarning, match="quantity sigma0, the data have gamma0"):
        evaluate(dataclasses.replace(config, allow_other_signal=True))


# --- where the network runs


def test_a_gpu_is_used_if_there_is_one(trained, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device().type == "cpu"


@pytest.mark.parametrize("work", ["evaluate", "map"])
def test_a_segmenter_from_a_file_goes_to_the_best_device(
    packed_dataset, small_scene, trained, tmp_path, monkeypatch, work
):
    class Moved(Exception):
        pass

    def to(module, device):
        raise Moved(device)

    monkeypatch.setattr(evaluation, "best_device", lambda: "the best")
    monkeypatch.setattr(Segmenter, "to", to)
    with pytest.raises(Moved, match="the best"):
        if work == "map":
            evaluation.map_scene(small_scene, trained, tmp_path / "map.tif")
        else:
            evaluate(settings(packed_dataset, trained, tmp_path))


def test_patches_go_to_the_segmenters_device_in_evaluation_mode(packed_dataset):
    dataset = open_dataset(packed_dataset)

    class Elsewhere(torch.nn.Module):
        statistics = dataset.statistics

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, device="meta"))
            self.frozen = torch.nn.Dropout().eval()

        def forward(self, x):
            assert x.device.type == "meta" and not self.training
            return torch.zeros(len(x), 3, 32, 32)

    model = Elsewhere().train()
    model.frozen.eval()
    assert predict_patches(model, dataset.split("val"), [0, 2]).shape == (2, 32, 32)
    assert model.training and not model.frozen.training
