"""What ``run_all.py --check`` calls a failure, on made-up results."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

SCRIPT = Path(__file__).resolve().parents[2] / "notebooks" / "run_all.py"

#: forty steps of a loss that falls by a third
FALLING = np.linspace(0.9, 0.6, 40)
#: a quarter of the pixels in each of four classes, most of them right
MATRIX = (np.eye(4, dtype=int) * 80 + 5).tolist()
GOOD = {"miou": 0.6, "pixel_accuracy": 0.8, "confusion_matrix": MATRIX}
#: of two classes; saying one of them everywhere has an mIoU of a quarter
TWO = {"miou": 0.3, "confusion_matrix": [[50, 0], [0, 50]]}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("run_all", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_results(
    folder: Path, *, losses=FALLING, objective="simmim", scores=GOOD, agreement=GOOD, shares=(0.4, 0.3, 0.2, 0.1)
) -> Path:
    """Results of a run: a training of each kind, a report, a map."""
    for stage in ("pretrain-1", "finetune-1", "evaluate-1", "map-1"):
        (folder / stage).mkdir()
    (folder / "pretrain-1" / "run.json").write_text(json.dumps({"objective": {"name": objective}}))
    (folder / "finetune-1" / "run.json").write_text("{}")
    steps = [f"{step},{loss}" for step, loss in enumerate(losses, 1)]
    (folder / "pretrain-1" / "metrics.csv").write_text("\n".join(["step,loss", *steps]) + "\n")
    steps = [f"{step},{loss},0.5" for step, loss in enumerate(FALLING, 1)]
    (folder / "finetune-1" / "metrics.csv").write_text("\n".join(["step,loss,val_miou", *steps]) + "\n")
    intervals = {"intervals": {"miou": [0.5, 0.7]}}
    report = {"models": {"segmenter": scores | intervals, "baseline": GOOD | intervals, "floor": GOOD | intervals}}
    report |= {"difference": {"miou": {"value": 0.01, "interval": [-0.02, 0.04]}}, "simulated": True}
    report |= {"above_floor": {"segmenter": {"miou": {"value": -0.05, "interval": [-0.08, -0.02]}}}}
    (folder / "evaluate-1" / "report.json").write_text(json.dumps(report))
    (folder / "map-1" / "landcover_agreement.json").write_text(json.dumps(agreement))
    values = np.append(np.repeat(np.arange(len(shares)), np.rint(np.array(shares) * 1000).astype(int)), [255] * 24)
    grid = {"transform": rasterio.Affine(5, 0, 0, 0, -5, 0), "crs": "EPSG:32654"}
    with rasterio.open(folder / "map-1" / "landcover.tif", "w", driver="GTiff", dtype="uint8", count=1, width=32,
                       height=32, **grid) as raster:  # fmt: skip
        raster.write(values.reshape(32, 32).astype(np.uint8), 1)
    return folder


@pytest.mark.parametrize("results", [{}, {"objective": "mixmae", "losses": np.linspace(2.55, 2.52, 40)}])
def test_good_results_pass(script, tmp_path, results):
    assert list(script.check(write_results(tmp_path, **results))) == []


@pytest.mark.parametrize(
    ("results", "said"),
    [
        pytest.param({"shares": (1.0,)}, "landcover.tif: the map is (nearly) constant", id="constant map"),
        pytest.param({"shares": (0.95, 0.03, 0.02)}, "the map is (nearly) constant", id="nearly constant map"),
        pytest.param({"shares": (0.5, 0.5)}, "the map is (nearly) constant", id="map of two classes"),
        pytest.param({"losses": FALLING[::-1]}, "pretrain-1: the loss went from", id="rising loss"),
        pytest.param({"losses": [0.7] * 40}, "the loss went from 0.7 to 0.7", id="loss that stays"),
        pytest.param({"losses": [0.9] * 39 + [float("nan")]}, "to nan", id="loss that is no number"),
        pytest.param({"losses": np.linspace(0.9, 0.85, 40)}, "should fall by over 10%", id="loss that hardly falls"),
        pytest.param({"losses": [2.5] * 40, "objective": "mixmae"}, "should fall by over 0%", id="MixMAE"),
        pytest.param({"scores": GOOD | {"miou": 0.05}}, "report.json, segmenter: miou is 0.05, not", id="bad"),
        pytest.param({"scores": GOOD | TWO}, "miou is 0.3; the commonest class everywhere would have 0.25", id="guess"),
        pytest.param({"scores": GOOD | {"miou": 0.99}}, "report.json, segmenter: miou is 0.99, not", id="too good"),
        pytest.param({"scores": GOOD | {"miou": None}}, "miou is None", id="no score"),
        pytest.param({"agreement": GOOD | {"pixel_accuracy": 0.3}}, "agreement.json: pixel_accuracy is 0.3", id="map"),
    ],
)
def test_results_that_show_no_learning_fail(script, tmp_path, results, said):
    failures = list(script.check(write_results(tmp_path, **results)))
    assert failures and said in "\n".join(failures)


def test_results_that_are_not_there_fail(script, tmp_path):
    missing = "\n".join(script.check(tmp_path))
    assert all(f"no {name}" in missing for name in ("pretrain-", "finetune-", "evaluate-", "map-"))


def test_a_failed_check_is_the_exit_status(script, tmp_path, monkeypatch, capsys):
    write_results(tmp_path, shares=(1.0,))
    monkeypatch.setattr(script, "run", lambda *_: 1.0)
    words = ["run_all.py", "--work-dir", str(tmp_path)]
    for arguments, status in [(words, 0), ([*words, "--check"], 1)]:
        monkeypatch.setattr(script.sys, "argv", arguments)
        assert script.main() == status
    said = capsys.readouterr()
    assert "check failed: " in said.err and "03_pretrain … about 2 min on two idle cores\n04_finetune" in said.out
    assert (
        "mIoU of notebook 05's networks on simulated ground, with 95 % intervals over blocks of ground (not over "
        "trainings)\n"
        "pretrained encoder     0.600 [0.500, 0.700]\n"
        "random encoder         0.600 [0.500, 0.700]\n"
        "floor (random forest)  0.600 [0.500, 0.700]\n"
        "The pretrained encoder is not clearly better or worse (+0.010 [-0.020, +0.040]) than the random one, "
        "and worse (-0.050 [-0.080, -0.020]) than the floor.\n"
    ) in said.out


def test_weights_are_told_apart(script, tmp_path, capsys):
    for stage, facts in {
        "pretrain-1/encoder": {"objective": {"name": "simmim", "weighting": "sar"}},
        "finetune-1/segmenter": {"init": "file", "patches": 16},
        "finetune-2/segmenter": {"init": "random", "patches": 664},
    }.items():
        path = tmp_path / f"{stage}.safetensors"
        path.parent.mkdir()
        path.touch()
        path.with_name("run.json").write_text(json.dumps(facts))
    script.print_summary(tmp_path, {})
    said = capsys.readouterr().out
    for told in ("encoder (simmim, weighting sar)", "segmenter (pretrained start, 16 labels)"):
        assert told in said
    assert re.search(
        r"^segmenter \(random start, 664 labels\) +/.*/finetune-2/segmenter.safetensors$", said, re.MULTILINE
    )


def test_the_summary_holds_scores_by_labels_of_the_newest_comparison(script, tmp_path, capsys):
    def entry(miou, budget, **more):
        return {"mean": {"miou": miou}, "budget": budget, **more}

    starts = [entry(0.25, 16, start="random"), entry(None, 300, start="random"), entry(0.5, 16, start="longer run")]
    content = {"seeds": [0], "floor": [entry(0.3, 16), entry(0.4, 300)], "starts": starts}
    for number, seeds in enumerate([[0, 1], [0]]):
        (tmp_path / f"compare-{number}").mkdir()
        path = tmp_path / f"compare-{number}" / "comparison.json"
        path.write_text(json.dumps(content | {"seeds": seeds}))
        os.utime(path, (number, number))
    script.print_summary(tmp_path, {})
    told = """
mIoU by number of labelled patches, one training each
                          16    300
floor (random forest)  0.300  0.400
random                 0.250      –
longer run             0.500      –
"""
    said = capsys.readouterr().out
    assert told in said and "mean of" not in said
    assert "mean of 2 trainings" in script.few_labels_in_words(content | {"seeds": [0, 1]})


def test_some_notebooks_run(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "run", lambda *_: 60.0)
    monkeypatch.setattr("sys.argv", ["run_all.py", "--work-dir", str(tmp_path), "--only", "05", "02"])
    assert script.main() == 0
    said = capsys.readouterr().out
    assert (
        re.match("02_build_dataset … .*\n05_evaluate_and_map … ", said) and "together                      2.0" in said
    )


def test_a_line_tells_what_is_at_work_and_for_how_long_yet(script, tmp_path):
    names = script.NAMES
    watch = script.Watch(names[2], names, {names[0]: 140.0, names[1]: 100.0}, tmp_path)
    assert watch.to_text() == "3/5 03_pretrain, 0.0 min, about 19 min left"
    watch.since -= 5
    (tmp_path / "pretrain-1").mkdir()
    (tmp_path / "pretrain-1" / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.4\n")
    watch.said.write("pretrain: 300 steps\n")
    assert watch.to_text() == "3/5 03_pretrain, pretrain, step 2 of 300, 0.0 min, about 19 min left"
    (tmp_path / "pretrain-1" / "run.json").touch()
    assert watch.stage() == "pretrain"
    # nobody looks, so nothing is drawn
    with watch:
        assert not watch.is_alive()


def test_a_work_folder_that_cannot_be_is_told_in_one_line(script, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["run_all.py", "--work-dir", str(tmp_path / "file")])
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    assert script.main() == 2
    assert "file/notebooks: the folder cannot be made (Not a directory)" in capsys.readouterr().err
    assert "MPLBACKEND" not in os.environ
