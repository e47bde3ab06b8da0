"""Scores on a split: what fits, what is refused, and where the network runs."""

import dataclasses
import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.networks import tiny_segmenter
from support.packed import restate_files, write_blocks, write_packed_dataset
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from alos2tut import map_scene
from alos2tut.cli import main
from alos2tut.configs import load_config
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning
from alos2tut.core.parallel import folder_lock
from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation.config import EvaluateConfig
from alos2tut.evaluation.forest import baseline
from alos2tut.evaluation.report import evaluate, predict_patches, report_text
from alos2tut.networks import inference
from alos2tut.networks.encoders import standardize
from alos2tut.networks.inference import best_device
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import load_segmenter, read_weights, save_segmenter
from alos2tut.segmentation.budgets import budgeted_patches
from alos2tut.segmentation.config import FinetuneConfig


@pytest.fixture
def trained(packed_dataset, tmp_path):
    """The folder of a fine-tuning, as far as evaluation needs it."""
    segmenter, folder = tiny_segmenter(open_dataset(packed_dataset)), tmp_path / "finetune"
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


def read_report(folder) -> dict:
    """A report, after a look at its form."""
    report = json.loads((folder / "report.json").read_text())
    schema = json.loads(files("alos2tut").joinpath("evaluation/report_schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(report, schema, jsonschema.Draft202012Validator)
    return report


def test_a_segmenter_is_scored_by_its_file_or_folder(packed_dataset, trained, tmp_path):
    folder = evaluate(settings(packed_dataset, trained, tmp_path))
    by_file = settings(packed_dataset, trained / "segmenter.safetensors", tmp_path, baseline=trained)
    report = read_report(evaluate(by_file))
    assert report["models"]["segmenter"] == report["models"]["baseline"] == read_report(folder)["models"]["segmenter"]


@pytest.mark.parametrize("found", ["", "[]", '{"schema": "alos2tut-report-3", "models": {}}'])
def test_a_report_of_another_schema_is_made_anew(packed_dataset, trained, tmp_path, found, capsys):
    folder = evaluate(settings(packed_dataset, trained, tmp_path))
    before = (folder / "report.json").read_bytes()
    (folder / "report.json").write_text(found)
    assert evaluate(settings(packed_dataset, trained, tmp_path)) == folder
    assert (folder / "report.json").read_bytes() == before and "reusing" not in capsys.readouterr().out
    with pytest.raises(Alos2TutError, match="is not of the schema alos2tut-report-4"):
        report_text(json.loads(before) | {"schema": "alos2tut-report-3"})


def test_two_scorings_of_the_same_are_one(packed_dataset, trained, tmp_path):
    folder = evaluate(settings(packed_dataset, trained, tmp_path))
    assert [path.name for path in folder.iterdir()] == ["report.json"]
    (folder / "report.json").unlink()
    with folder_lock(folder), pytest.raises(Alos2TutError, match="another process is working here"):
        evaluate(settings(packed_dataset, trained, tmp_path))


def test_a_list_without_labels_has_no_scores(trained, tmp_path, capsys):
    dataset = write_packed_dataset(tmp_path / "dataset")
    np.save(dataset / "test_labels.npy", np.full((4, 32, 32), 255, dtype=np.uint8))
    restate_files(dataset)
    command = ["evaluate", str(dataset), str(trained), "--work-dir", str(tmp_path), "--no-floor"]
    assert main([*command, "--baseline", str(trained)]) == 0
    assert capsys.readouterr().out.splitlines()[3].split() == ["difference", "–", "–", "–"]
    assert main(command) == 0
    _, line, refused, folder = capsys.readouterr().out.splitlines()
    assert line.split() == ["segmenter", "random", *"––––", "class", "0,", "class", "1,", "class", "2"]
    assert refused == "no intervals: fewer than 3 blocks of ground have a label: 0"
    model = read_report(Path(folder))["models"]["segmenter"]
    assert model["miou"] is None and model["boundary_f1"] is None
    # validation has labels, the list that is scored has none
    assert model["calibration"]["with_temperature"]["ece"] is None and model["calibration"]["temperature"]["value"] > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"legend": classes(codes=[2, 7])}, r"class 1 as the codes 2, the dataset as 2 \+ 7"),
        ({"classes": 2}, "class 2 as the codes 3, the dataset as nothing"),
    ],
)
def test_classes_of_other_codes_are_refused(trained, tmp_path, changed, message):
    dataset = write_packed_dataset(tmp_path / "dataset", **changed)
    with pytest.raises(Alos2TutError, match=message):
        evaluate(settings(dataset, trained, tmp_path))


def test_colours_may_differ_and_names_with_a_warning(trained, tmp_path, recwarn):
    evaluate(settings(write_packed_dataset(tmp_path / "a", legend=classes(color=[9, 9, 9])), trained, tmp_path))
    assert not recwarn.list
    dataset = write_packed_dataset(tmp_path / "b", legend=classes(name="rice"))
    with pytest.warns(Alos2TutWarning, match="'rice'.*codes are the same"):
        report = read_report(evaluate(settings(dataset, trained, tmp_path)))
    # the report calls them as the dataset does
    model = report["models"]["segmenter"]
    assert model["per_class"].keys() == model["intervals"]["per_class"].keys() == set(report["classes"])


def test_another_signal_is_refused_unless_allowed(trained, tmp_path):
    config = settings(write_packed_dataset(tmp_path / "dataset", quantity="gamma0"), trained, tmp_path)
    with pytest.raises(Alos2TutError, match=r"quantity sigma0, the data have gamma0.*allow_other_signal"):
        evaluate(config)
    with pytest.warns(Alos2TutWarning, match="quantity sigma0, the data have gamma0"):
        evaluate(dataclasses.replace(config, allow_other_signal=True))


def test_a_report_agrees_with_other_ways_to_count(trained, tmp_path):
    """Pixel by pixel, and by torchmetrics, which comes with Lightning."""
    dataset = write_blocks(tmp_path / "dataset", legend=classes(name="inland water"))
    with pytest.warns(Alos2TutWarning, match="inland water"):
        report = read_report(evaluate(settings(dataset, trained, tmp_path, batch_size=2)))
    model, split = report["models"]["segmenter"], open_dataset(dataset).split("test")
    segmenter = load_segmenter(trained)
    rows, labels = split.gather([0, 1, 2, 3, 4])
    logits = segmenter(standardize(torch.from_numpy(rows), segmenter.statistics)[0]).detach()
    truth = torch.from_numpy(labels).long()
    counted = multiclass_confusion_matrix(logits, truth, 3, ignore_index=255)
    assert counted.tolist() == model["confusion_matrix"] and (counted.sum(0) > 0).sum() > 1
    error = multiclass_calibration_error(logits.softmax(1), truth, 3, n_bins=15, ignore_index=255)
    assert model["calibration"]["as_it_is"]["ece"] == pytest.approx(float(error), abs=1e-5)
    assert report["split"] == "test" and report["patches"] == 5 and report["boundary_tolerance_px"] == 2
    assert report["water_classes"] == ["inland water"]
    assert model["water"]["iou"] == pytest.approx(model["per_class"]["inland water"]["iou"])
    assert model["water"]["interval"] == pytest.approx(model["intervals"]["per_class"]["inland water"])
    assert model["intervals"]["blocks"] == 3
    low, high = model["intervals"]["miou"]
    assert low <= model["miou"] <= high and low < high
    right, reference, predicted = np.sum(model["by_block"], axis=0)
    assert right.tolist() == counted.diag().tolist() and len(model["by_block"]) == 3
    assert (reference.tolist(), predicted.tolist()) == (counted.sum(1).tolist(), counted.sum(0).tolist())


def test_a_difference_has_an_interval_of_its_own(trained, tmp_path):
    """That of the scores, whoever reads them off; and none to itself."""
    dataset, other = write_blocks(tmp_path / "dataset", blocks=4, legend=classes(name="water")), tmp_path / "other"
    other.mkdir()
    torch.manual_seed(5)
    segmenter = tiny_segmenter(open_dataset(dataset))
    for weights in segmenter.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    save_segmenter(other / "segmenter.safetensors", segmenter, provenance={"made_from": {}}, simulated=True)
    with pytest.warns(Alos2TutWarning, match="'water'"):
        report = read_report(evaluate(settings(dataset, trained, tmp_path, baseline=other)))
    one, two = (report["models"][role] for role in ("segmenter", "baseline"))
    found = report["difference"]
    for name in ("miou", "macc", "pixel_accuracy"):
        assert found[name]["value"] == pytest.approx(one[name] - two[name]) != 0
        low, high = found[name]["interval"]
        assert low < found[name]["value"] < high
    assert found["water"]["interval"] == pytest.approx(found["per_class"]["water"]["interval"])
    for name, iou in found["per_class"].items():
        assert iou["value"] == pytest.approx(one["per_class"][name]["iou"] - two["per_class"][name]["iou"])
    assert report["intervals"] == {"unit": "block of ground", "level": 0.95, "covers": ["ground"],
                                   "leaves_out": ["seeds", "training draws"]}  # fmt: skip
    lines = [line for line in report_text(report).splitlines() if not line.startswith("!")]
    assert lines[3].startswith("difference") and f"{found['miou']['value']:+.3f} [" in lines[3]
    assert [line.split("  ")[0] for line in lines[4:7]] == ["floor", "segmenter − floor", "baseline − floor"]
    assert "95 % intervals over 4 blocks of ground; they cover ground, not seeds or training draws" in lines[7]
    assert lines[-1].startswith("floor: a random forest of 4 trees") and "cut at the patch" in lines[-1]
    dataset = write_blocks(tmp_path / "dry")
    same = read_report(evaluate(settings(dataset, trained, tmp_path, baseline=trained)))["difference"]
    assert same["miou"] == {"value": 0, "interval": [0, 0]} and same["water"] is None
    assert read_report(evaluate(settings(dataset, trained, tmp_path)))["difference"] is None


def test_resamples_are_asked_for_no_more():
    with pytest.raises(Alos2TutError, match="draws"):
        load_config("evaluate", "quick", draws=200)


def test_a_report_as_text_names_what_is_missing():
    def model(initialisation, **changes):
        none = {"miou": None, "macc": None, "pixel_accuracy": None, "refused": "too few blocks"}
        scores = {"miou": 0.5, "macc": 0.25, "pixel_accuracy": 1.0, "boundary_f1": None, "absent": []}
        return scores | {"initialisation": initialisation, "intervals": none} | changes

    known = {"miou": [0.4, 0.6], "macc": None, "pixel_accuracy": [1.0, 1.0], "refused": None}
    known |= {"blocks": 7, "in_one_block": ["town", "rice"]}
    models = {"baseline": model("random"), "segmenter": model("pretrained", intervals=known, absent=["water", "town"])}
    report = {"models": models, "difference": None}
    assert [" ".join(line.split()) for line in report_text(report).splitlines()[1:]] == [
        "segmenter pretrained 0.500 [0.400, 0.600] 0.250 1.000 [1.000, 1.000] – water, town",
        "baseline random 0.500 0.250 1.000 – none",
        "in brackets: 95 % intervals over 7 blocks of ground; they cover ground, not seeds or training draws",
        "in a single block, so without an interval: town, rice",
    ]
    report["models"]["segmenter"]["intervals"] = models["baseline"]["intervals"]
    assert report_text(report).splitlines()[3:] == ["no intervals: too few blocks"]


def test_the_floor_gets_the_patches_of_the_segmenter(packed_dataset, tmp_path):
    dataset = open_dataset(packed_dataset)
    segmenter, kept = tiny_segmenter(dataset), {"budget": 4, "seed": 3}
    scored = {}
    for name, ground in (("same", dataset.fingerprint), ("other", "0" * 64)):
        provenance = {"made_from": {"dataset": ground}, "settings": kept}
        save_segmenter(tmp_path / f"{name}.safetensors", segmenter, provenance=provenance, simulated=True)
        config = settings(packed_dataset, tmp_path / f"{name}.safetensors", tmp_path)
        report = scored[name] = read_report(evaluate(config))
        assert report["above_floor"].keys() == {"segmenter"}
        gain = report["above_floor"]["segmenter"]["miou"]["value"]
        models = report["models"]
        assert gain == pytest.approx(models["segmenter"]["miou"] - models["floor"]["miou"])
        assert models["floor"]["pixels"] == models["segmenter"]["pixels"]
    grown = {name: report["models"]["floor"]["grown"] for name, report in scored.items()}
    assert [(one["patches"], one["seed"], one["same_patches"]) for one in grown.values()] == [
        (4, 3, True),
        (10, 0, False),
    ]
    drawn = budgeted_patches(FinetuneConfig(**kept), dataset)
    floor = baseline(dataset, chosen=drawn, seed=3)
    assert floor.to_dict()["confusion_matrix"] == scored["same"]["models"]["floor"]["confusion_matrix"]
    assert "grown on the patches that the segmenter was trained on" in report_text(scored["same"])
    assert "patches of this dataset, not those of the segmenter" in report_text(scored["other"])
    without = read_report(evaluate(dataclasses.replace(config, floor=False)))
    assert "floor" not in without["models"] and without["above_floor"] == {}


def test_no_floor_grows_where_nothing_is_labelled(trained, tmp_path):
    none = {"class_pixels": {"class 0": 0, "class 1": 0, "class 2": 0}}
    dataset = write_packed_dataset(tmp_path / "dataset", splits={"train": none})
    with pytest.warns(Alos2TutWarning, match="'train' has no pixel"):
        report = read_report(evaluate(settings(dataset, trained, tmp_path)))
    assert report["models"].keys() == {"segmenter"} and report["above_floor"] == {}


def test_the_temperature_comes_from_validation(trained, tmp_path):
    """Other labels of the test list change its scores, and not the temperature."""
    dataset = write_blocks(tmp_path / "dataset")
    first = read_report(evaluate(settings(dataset, trained, tmp_path / "first")))["models"]["segmenter"]
    labels = np.load(dataset / "test_labels.npy")
    np.save(dataset / "test_labels.npy", np.where(labels == 255, 255, 2 - labels).astype(np.uint8))
    restate_files(dataset)
    second = read_report(evaluate(settings(dataset, trained, tmp_path / "second")))["models"]["segmenter"]
    assert first["miou"] != second["miou"]
    assert first["calibration"]["temperature"] == second["calibration"]["temperature"]
    assert first["calibration"]["temperature"]["fitted_on"] == "val"


def test_a_class_that_training_never_saw_is_named(trained, tmp_path):
    unseen = {"class_pixels": {"class 0": 5, "class 1": 0, "class 2": 5}}
    dataset = write_packed_dataset(tmp_path / "dataset", splits={"train": unseen})
    with pytest.warns(Alos2TutWarning, match="'train' has no pixel of class 1, which 'test' has"):
        assert read_report(evaluate(settings(dataset, trained, tmp_path)))["unseen"] == ["class 1"]


def test_files_that_are_no_such_segmenter_are_refused(packed_dataset, trained, tmp_path):
    whole = trained / "segmenter.safetensors"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(Alos2TutError, match=r"cut\.safetensors: is cut off"):
        evaluate(settings(packed_dataset, cut, tmp_path))
    header, tensors = read_weights(whole, "segmenter")
    header["encoder"]["depths"] = [1, 1, 2, 1]
    other = tmp_path / "other.safetensors"
    save_file(tensors, other, metadata={"alos2tut": json.dumps(header)})
    with pytest.raises(Alos2TutError, match=r"other\.safetensors: lacks the weights '"):
        evaluate(settings(packed_dataset, whole, tmp_path, baseline=other))
    assert not list(tmp_path.glob("evaluate-*"))


@pytest.mark.parametrize("store", ["test", "val"])
def test_a_missing_store_is_told_before_the_work_begins(trained, tmp_path, monkeypatch, store):
    dataset = write_packed_dataset(tmp_path / "dataset")
    (dataset / f"{store}_labels.npy").unlink()
    monkeypatch.setattr(Segmenter, "forward", lambda *_: pytest.fail("has begun"))
    with pytest.raises(Alos2TutError, match=f"{store}_labels.npy"):
        evaluate(settings(dataset, trained, tmp_path))


def test_labels_of_no_class_are_refused(trained, tmp_path):
    dataset = write_packed_dataset(tmp_path / "dataset")
    np.save(dataset / "test_labels.npy", np.full((4, 32, 32), 7, dtype=np.uint8))
    restate_files(dataset)
    problem = "list 'test': the patch .* has the label 7, which is no class: the legend has 3"
    with pytest.raises(Alos2TutError, match=problem):
        evaluate(settings(dataset, trained, tmp_path))


def test_a_gpu_is_used_if_there_is_one(trained, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device().type == "cpu"


@pytest.mark.parametrize("work", ["evaluate", "map"])
def test_a_segmenter_from_a_file_goes_to_the_best_device(
    packed_dataset, small_scene, trained, tmp_path, monkeypatch, work
):
    monkeypatch.setattr(inference, "best_device", lambda: "the best")
    monkeypatch.setattr(Segmenter, "to", lambda _, device: pytest.fail(f"goes to {device}"))
    with pytest.raises(pytest.fail.Exception, match="goes to the best"):
        if work == "map":
            map_scene(small_scene, trained, tmp_path / "map.tif")
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
