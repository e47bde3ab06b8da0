"""The weights that come with the package: how they are put there, what the word stands for, and what is refused."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import bundle
import evidence
import evidence_runs
import numpy as np
import pytest
import torch
from support.networks import SIGNAL, STATISTICS
from support.packed import write_blocks

from alos2tut import cli, load_config, load_encoder, load_segmenter, open_dataset, pretrain
from alos2tut.core.artifacts import read_json, sha256_file, write_json
from alos2tut.core.errors import Alos2TutError, Stopped
from alos2tut.evaluation import comparison
from alos2tut.networks import bundle as bundled
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import build_encoder
from alos2tut.networks.published import export_checkpoint
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import read_header, save_encoder, save_segmenter, weights_path
from alos2tut.pretraining.probing import name_encoders
from alos2tut.results import describe
from alos2tut.training.callbacks import History
from alos2tut.training.run import Run

LOSSES = [0.9 - step / 100 for step in range(1, 26)]


# --- the machinery, with weights that nobody trained, in trainings' folders as the recipe would leave them


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return write_blocks(tmp_path_factory.mktemp("ground") / "dataset", patch_px=64)


def freeze(patch, ground):
    """As if the recipe's data were that small dataset."""
    settings, kept = copy.deepcopy(bundle.bench()), evidence_runs.files_hash(open_dataset(ground))
    settings["frozen"]["datasets"] = dict.fromkeys(settings["frozen"]["datasets"], kept)
    patch.setattr(bundle, "bench", lambda: settings)


@pytest.fixture(scope="module")
def stages(tmp_path_factory, ground):
    folder, recipe, data = tmp_path_factory.mktemp("stages"), bundle.recipe(), open_dataset(ground)
    legend = data.legend
    shutil.copytree(ground, folder / "dataset-ground")
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(**recipe["settings"]["encoder"]["encoder"]), (64, 64))
    made_from = {kind: {"dataset": data.fingerprint} for kind in bundled.KINDS}
    whose = {
        kind: {"provenance": {"made_from": made_from[kind], "settings": recipe["settings"][kind]}, "simulated": True}
        for kind in bundled.KINDS
    }
    files = {kind: folder / kind / f"{kind}.safetensors" for kind in bundled.KINDS}
    for file in files.values():
        file.parent.mkdir()
    about = {"statistics": STATISTICS, "signal": SIGNAL, "objective": {"name": "simmim"}}
    save_encoder(files["encoder"], encoder, **about, **whose["encoder"])
    made_from["segmenter"]["init"] = sha256_file(files["encoder"])
    segmenter = Segmenter(encoder, legend, STATISTICS, SIGNAL, decoder="refined", width=16, dropout=0.1)
    save_segmenter(files["segmenter"], segmenter, **whose["segmenter"])
    rows = ["step,loss", *(f"{step},{loss}" for step, loss in enumerate(LOSSES, 1))]
    (folder / "encoder" / "metrics.csv").write_text("\n".join(rows) + "\n")
    for file in files.values():
        write_json(file.parent / "run.json", {"files": {file.name: sha256_file(file)}})
    return {kind: file.parent for kind, file in files.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory, stages, ground):
    target = tmp_path_factory.mktemp("package") / "bundled"
    with pytest.MonkeyPatch.context() as patch:
        freeze(patch, ground)
        bundle.write_bundle(stages, ground, target, final_runs())
    return target


def final_runs():
    """As of the benchmark: the share of three classes' pixels that is right is 0.3 at the floor, 0.4 and 0.5."""
    rng, runs = np.random.default_rng(0), []
    for method, share in {"floor": 0.3, "random": 0.4, "chosen": 0.5}.items():
        for draw in range(3):
            reference = rng.integers(800, 1200, (12, 3))
            hits = (reference * (share + 0.02 * rng.normal(size=(12, 3)))).astype(int)
            spec = evidence.final_run(method, 64, draw, 0)
            runs.append({"spec": spec, "by_block": np.stack([hits, reference, reference], axis=1).tolist()})
    return runs


@pytest.fixture
def folder(written, ground, tmp_path, monkeypatch):
    """A copy that a test may spoil, in the place of the package's."""
    freeze(monkeypatch, ground)
    monkeypatch.setattr(bundled, "FOLDER", shutil.copytree(written, tmp_path / "package" / "bundled"))
    monkeypatch.chdir(tmp_path)
    return bundled.FOLDER


def test_bundle_json_tells_what_the_files_are_and_where_they_come_from(folder, stages):
    content, recipe = read_json(folder / "bundle.json"), bundle.recipe()
    assert sorted(p.name for p in folder.iterdir()) == ["bundle.json", "encoder.safetensors", "segmenter.safetensors"]
    assert sum(p.stat().st_size for p in folder.iterdir()) < 12e6
    assert content["bundle"] == bundled.BUNDLE_VERSION and content["about"] == "trained on simulated scenes only"
    assert content["first_losses"] == [[step, pytest.approx(loss)] for step, loss in enumerate(LOSSES[:20], 1)]
    assert content["settings"].keys() == {"simulation", "dataset", "encoder", "segmenter", "held_out"}
    assert content["data"] == recipe["data"]
    for kind in bundled.KINDS:
        assert f"{recipe['settings'][kind]['steps']} steps" in content[kind]
    assert content["held_out"]["scene"]["size_px"] == [1280, 1536] and content["held_out"]["dataset"]["patch_px"] == 64
    low, high = content["held_out_interval"]
    assert low <= content["held_out_miou"] <= high and content["held_out"]["patches"] == 5
    for kind, stage in stages.items():
        assert content["made_from"][kind] == sha256_file(stage / f"{kind}.safetensors")
        header, original = (read_header(where / f"{kind}.safetensors") for where in (folder, stage))
        assert header == original | {"precision": "float16"}
        assert content["fingerprints"][kind] == header["provenance"]["made_from"]["dataset"]


def test_the_word_stands_for_the_files_wherever_weights_are_named(folder, stages, ground, monkeypatch):
    content = read_json(folder / "bundle.json")
    encoder, segmenter = load_encoder("bundled"), load_segmenter("bundled")
    original = load_encoder(stages["encoder"]).state_dict()
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, original[name], rtol=1e-3, atol=1e-4)
    assert encoder.image_px == segmenter.image_px == (64, 64)
    assert weights_path("bundled", "segmenter") == folder / "segmenter.safetensors"
    assert name_encoders(["bundled", "again=bundled"]) == {"bundled": "bundled", "again": "bundled"}
    training = load_config("finetune", "quick", dataset=ground, init="bundled")
    assert Run.of("finetune", training).made_from["init"] == content["files"]["encoder.safetensors"]
    assert bundle.score("bundled", ground)["held_out_miou"] == content["held_out_miou"]
    with pytest.raises(Alos2TutError, match=r"bundled/segmenter\.safetensors: the authors' names are for"):
        export_checkpoint("bundled", "theirs.pth", "authors")
    shown, text = describe("bundled")
    assert shown["files"] == content["files"] and "trained on simulated scenes only" in text
    compared = Mock(side_effect=Alos2TutError("seen"))
    monkeypatch.setattr(comparison, "compare", compared)
    cli.main(["compare", str(ground), "--start", "none", "--start", "bundled", "--budgets", "all"])
    assert compared.call_args.args[1].starts == {"none": None, "bundled": "bundled"}


def test_the_word_goes_before_a_folder_of_that_name_which_is_named_otherwise(folder, tmp_path):
    Path("bundled").mkdir()
    assert weights_path("bundled", "encoder") == folder / "encoder.safetensors"
    for named in ("./bundled", tmp_path / "bundled"):
        assert weights_path(named, "encoder").absolute() == tmp_path / "bundled" / "encoder.safetensors"


def test_the_scores_of_the_benchmark_go_with_the_weights(folder, stages, ground, tmp_path):
    found = {(one.method, one.minus): one for one in bundled.published_results()}
    assert found.keys() == {(m, None) for m in ("floor", "random", "chosen")} | {
        ("chosen", "random"), ("chosen", "floor")
    }  # fmt: skip
    assert found["chosen", None].name == "SimMIM of window statistics"
    for (method, minus), expected in {("floor", None): 0.3 / 1.7, ("chosen", "floor"): 0.5 / 1.5 - 0.3 / 1.7}.items():
        one = found[method, minus]
        assert (one.labels, one.runs) == (64, 3)
        assert one.miou.value == pytest.approx(expected, abs=0.02)
        assert one.miou.low < one.miou.value < one.miou.high
    with pytest.MonkeyPatch.context() as patch:
        freeze(patch, ground)
        bundle.write_bundle(stages, ground, tmp_path / "without")
        patch.setattr(bundled, "FOLDER", tmp_path / "without")
        assert bundled.published_results() == []


@pytest.mark.parametrize("changed", [{"miou": "0.4"}, {"labels": 0}, {"low": 0.9}, {"high": None}, {"name": None}])
def test_a_result_that_is_none_is_named(folder, changed):
    content = read_json(folder / "bundle.json")
    content["results"][0] |= changed
    write_json(folder / "bundle.json", content)
    with pytest.raises(Alos2TutError, match=r"bundle\.json: names a result that is none: .*floor"):
        bundled.published_results()


def _flip(file):
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        ("encoder.safetensors", _flip, r"encoder\.safetensors: is damaged"),
        ("segmenter.safetensors", lambda file: file.write_bytes(file.read_bytes()[:-1]), r"segmenter.*: is damaged"),
        ("segmenter.safetensors", Path.unlink, r"segmenter\.safetensors: cannot be read"),
        (
            "bundle.json",
            lambda file: write_json(file, read_json(file) | {"bundle": 0}),
            r"bundle\.json: .* version 0 ",
        ),
        ("bundle.json", lambda file: file.write_text('{"bundle": 1}'), r"bundle\.json: describes no weights"),
        ("bundle.json", lambda file: file.write_text("[1]"), r"bundle\.json: describes no weights"),
        ("bundle.json", lambda file: file.write_text("{"), r"bundle\.json: is not valid JSON"),
        ("bundle.json", Path.unlink, r"bundle\.json: this installation has no bundled weights.*weights of your own"),
    ],
)
def test_damaged_weights_and_those_of_another_version_are_refused_by_name(folder, name, spoil, told):
    spoil(folder / name)
    for use in (load_encoder, load_segmenter, describe):
        with pytest.raises(Alos2TutError, match=told):
            use("bundled")


def test_only_trainings_of_the_recipe_become_the_package_s(folder, stages, ground, tmp_path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    pairs = {kind: shutil.copytree(stage, tmp_path / kind) for kind, stage in stages.items()}
    shutil.copytree(ground, tmp_path / "dataset-ground")
    encoder = pairs["encoder"] / "encoder.safetensors"

    def rewritten(**changes):
        loaded = load_encoder(stages["encoder"])
        provenance = loaded.header["provenance"] | changes
        about = {"statistics": STATISTICS, "signal": SIGNAL, "objective": {"name": "simmim"}, "simulated": True}
        save_encoder(encoder, loaded, provenance=provenance, **about)
        write_json(pairs["encoder"] / "run.json", {"files": {encoder.name: sha256_file(encoder)}})

    def refused(told):
        with pytest.raises(Alos2TutError, match=rf"\.safetensors: {told}"):
            bundle.write_bundle(pairs, ground, folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    settings = read_header(encoder)["provenance"]["settings"]
    _flip(encoder)
    refused("was changed since the training")
    rewritten(settings=settings | {"steps": 2001, "more": 1})
    refused("is of other settings than evidence.yaml: more, steps")
    rewritten(made_from={"dataset": "0"})
    refused("was trained on other data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "files_hash", lambda data: "0")
        rewritten()
        refused("was trained on other data")
    rewritten(more=1)
    refused("was not trained on from that pretraining")
    (folder / "left").touch()
    bundle.write_bundle(stages, ground, folder, final_runs())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


# --- the weights themselves

is_there = pytest.mark.skipif(
    not (bundled.FOLDER / "bundle.json").is_file(), reason="no weights were put into this checkout yet"
)


@is_there
def test_headers_are_those_of_the_recipe():
    content, recipe = bundled.read_bundle(), bundle.recipe()
    assert content["settings"] == {name: bundle.hash_of(settings) for name, settings in recipe["settings"].items()}
    assert content["data"] == recipe["data"]
    for kind in bundled.KINDS:
        header = read_header(weights_path("bundled", kind))
        assert header["simulated"] and header["precision"] == "float16"
        assert bundle.hash_of(header["provenance"]["settings"]) == content["settings"][kind]
        assert header["provenance"]["made_from"]["dataset"] == content["fingerprints"][kind]
    assert header["provenance"]["made_from"]["init"] == content["made_from"]["encoder"]
    assert sum(path.stat().st_size for path in bundled.FOLDER.iterdir()) < 12e6


@is_there
@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
def test_the_segmenter_reaches_what_was_recorded_on_the_held_out_scene(tmp_path):
    found = bundle.score("bundled", bundle.held_out(tmp_path))
    assert found["held_out_miou"] == pytest.approx(bundled.read_bundle()["held_out_miou"], abs=0.01)


@is_there
@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
def test_pretraining_begins_with_the_losses_that_were_recorded(tmp_path, monkeypatch):
    """On the large scenes of the benchmark, which are simulated here: half an hour."""
    losses, start = bundled.read_bundle()["first_losses"], bundle.run_spec()["start"]
    place, on_step = evidence_runs.Place(tmp_path, tmp_path / "scenes", tmp_path / "runs"), History.on_step

    def until_recorded(self, trainer, module, step):
        on_step(self, trainer, module, step)
        if step == losses[-1][0]:
            module.stop_reason = "the rest is not recorded"

    monkeypatch.setattr(History, "on_step", until_recorded)
    # made by the program, which computes as on the machine where they were frozen; found here
    command = [sys.executable, evidence.__file__, "freeze", "--only", start["train"], "--work", tmp_path]
    subprocess.run(command, check=True)
    where = {"dataset": evidence_runs.dataset(start["train"], place), "work_dir": tmp_path, "accelerator": "cpu"}
    with pytest.raises(Stopped):
        pretrain(load_config("pretrain", "paper", **where, seed=start["seed"], **start["settings"]))
    [folder] = tmp_path.glob("pretrain-*")
    found = evidence_runs.read_csv(folder / "metrics.csv", "loss")
    assert [step for step, _ in found] == [step for step, _ in losses]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in losses], abs=1e-3)
