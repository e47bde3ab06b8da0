"""The five notebooks, run once as a user runs them; every test here reads what that run left."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pytest
import rasterio
from support.notebooks import ROOT, main_report, one, run_all

from alos2tut import load_encoder, load_legend, load_segmenter, open_dataset

NAMES = ["01_read_and_inspect", "02_build_dataset", "03_pretrain", "04_finetune", "05_evaluate_and_map"]
#: how they are run: in CI (`.ci/run`) as `make tutorial` does, and then it is asked whether anything was learned
PROFILE = os.environ.get("TUTORIAL_PROFILE", "smoke")


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of results, and what the run printed; a path with a space, another working directory."""
    base = tmp_path_factory.mktemp("a tutorial")
    # some of the profile's steps show that something is learned
    checked = ["--check", "-p", "overrides", "pretrain.steps=60; finetune.steps=60"]
    return base / "work", run_all(base / "work", base, "--profile", PROFILE, *([] if PROFILE == "smoke" else checked))


@dataclass(frozen=True)
class Again:
    """What came of running executed notebooks once more."""

    before: dict[Path, int | bytes]
    after: dict[Path, int | bytes]
    status: int
    said: str


#: the tag of cells whose output is compared, and notebooks that have some; the last asks for all but comparisons
MARK = "nbval-check-output"
AGAIN = ["01_read_and_inspect", "02_build_dataset", "05_evaluate_and_map"]
#: what is drawn anew beside a map that is there
REDRAWN = {"landcover_preview.png", "landcover_difference.tif"}


def stage_files(work: Path) -> dict[Path, int | bytes]:
    """When each file in the folders of stages was written; of JSON, which may be written anew, what it holds."""
    files = [path for path in work.glob("*-*/**/*") if path.is_file() and path.name not in REDRAWN]
    return {path: path.read_bytes() if path.suffix == ".json" else path.stat().st_mtime_ns for path in files}


@pytest.fixture(scope="session")
def again(tutorial: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Again:
    """By nbval, which runs cells again and compares what the marked ones print; the last notebook whole."""
    work, _ = tutorial
    folder, before = tmp_path_factory.mktemp("checked"), stage_files(work)
    copies = [folder / f"{name}.ipynb" for name in AGAIN]
    for copy in copies:
        notebook = nbformat.read(work / "notebooks" / copy.name, as_version=4)
        if copy.stem != AGAIN[-1]:
            marked = [at for at, cell in enumerate(notebook.cells) if MARK in cell.metadata.get("tags", [])]
            notebook.cells = notebook.cells[: marked[-1] + 1]
        nbformat.write(notebook, copy)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-v", "-p", "no:cacheprovider", *copies]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Again(before, stage_files(work), done.returncode, done.stdout + done.stderr)


def outputs(path: Path) -> list[nbformat.NotebookNode]:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_ran_without_warning_and_drew(tutorial: tuple[Path, str], name: str) -> None:
    produced = outputs(tutorial[0] / "notebooks" / f"{name}.ipynb")
    assert not [o for o in produced if o.output_type == "error"]
    said = "".join(o.text for o in produced if o.output_type == "stream" and o.name == "stderr")
    assert said == ""
    assert sum("image/png" in o.get("data", {}) for o in produced) >= 2
    assert list((tutorial[0] / "figures").glob(f"{name[:2]}_*.png"))


@pytest.mark.parametrize("name", NAMES)
def test_notebook_takes_at_most_two_minutes_worth_of_noting(tutorial: tuple[Path, str], name: str) -> None:
    """Wall time is reported, not asserted: a busy machine is no bug."""
    seconds = json.loads((tutorial[0] / "notebooks" / "times.json").read_text())[name]
    assert seconds > 0
    if seconds > 120:
        warnings.warn(f"{name} took {seconds:.0f} s", stacklevel=1)


def test_the_run_says_where_everything_lies(tutorial: tuple[Path, str]) -> None:
    work, said = tutorial
    for kind in ("executed notebooks", "figures", "encoder", "segmenter", "report", "map"):
        path = Path(re.search(rf"^{kind}[^/]* (/.+)$", said, flags=re.MULTILINE)[1])
        assert path.exists() and work in path.parents
    assert all(re.search(rf"^{name} +\d+\.\d", said, flags=re.MULTILINE) for name in NAMES)


def test_artifacts_agree_with_each_other(tutorial: tuple[Path, str]) -> None:
    work = tutorial[0]
    dataset = open_dataset(one(work, "dataset-*"))
    encoders = [load_encoder(path) for path in work.glob("pretrain-*/encoder.safetensors")]
    assert all(encoder.statistics == dataset.statistics for encoder in encoders)
    told = [(e.header["objective"]["name"], e.header["objective"]["weighting"]) for e in encoders]
    assert sorted(told) == [("mixmae", "sar"), ("simmim", "none"), ("simmim", "sar")]
    report = main_report(work)
    assert report["made_from"]["dataset"] == dataset.fingerprint
    assert {report["models"][role]["initialisation"] for role in ("segmenter", "baseline")} == {"pretrained", "random"}
    assert report["models"]["floor"]["grown"]["on_products"] and report["models"]["floor"]["grown"]["same_patches"]
    segmenters = [load_segmenter(path) for path in work.glob("finetune-*/segmenter.safetensors")]
    assert all(segmenter.legend.names == dataset.legend.names for segmenter in segmenters)
    # statistics travel with an encoder: two were trained from the one that comes with the package, one for each budget
    others = [segmenter.statistics for segmenter in segmenters if segmenter.statistics != dataset.statistics]
    assert others == [load_encoder("bundled").statistics] * 2


def test_map_is_georeferenced_and_coloured(tutorial: tuple[Path, str]) -> None:
    work = tutorial[0]
    dataset = open_dataset(one(work, "dataset-*"))
    product = dataset.content["products"][0]
    with rasterio.open(one(work, "map-*/landcover.tif")) as raster:
        assert raster.crs.to_string() == product["crs"]
        assert raster.shape == tuple(n // 2 for n in product["shape"])
        assert raster.res == (5.0, 5.0)
        assert tuple(raster.bounds) == tuple(product["bounds"])
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        colors, legend = raster.colormap(1), load_legend("japan_9")
        assert all(colors[i][:3] == c.color for i, c in enumerate(legend.classes))
        values = np.unique(raster.read(1))
    assert set(values) <= {*range(len(legend)), 255} and 255 in values


def test_the_map_comes_with_its_confidence_its_labels_and_a_picture(tutorial: tuple[Path, str]) -> None:
    folder = one(tutorial[0], "map-*")
    beside = {"agreement.json", "difference.tif", "entropy.tif", "preview.png", "probability.tif", "stac.json"}
    names = {"landcover.tif", "landcover.tif.aux.xml", "landcover.qml", *(f"landcover_{name}" for name in beside)}
    assert {path.name for path in folder.iterdir()} == names
    report = json.loads((folder / "landcover_agreement.json").read_text())
    counts = np.array(report["confusion_matrix"])
    assert report["pixel_accuracy"] == np.trace(counts) / counts.sum() and report["simulated"]


def test_a_second_run_reuses_everything(again: Again) -> None:
    stages = {path.parent.name.partition("-")[0] for path in again.before}
    assert stages >= {"simulate", "dataset", "pretrain", "finetune", "compare", "evaluate", "map"}
    assert again.status == 0, again.said[-4000:]
    assert again.after == again.before


@pytest.mark.parametrize("name", AGAIN)
def test_cells_run_again_and_marked_ones_print_the_same(again: Again, name: str) -> None:
    cells = re.findall(rf"^{name}::ipynb::Cell \d+ (\w+)", again.said, flags=re.MULTILINE)
    assert len(cells) > 5 and set(cells) == {"PASSED"}


def test_cells_are_marked_for_comparison() -> None:
    texts = {name: (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8") for name in NAMES}
    assert [name for name, text in texts.items() if MARK in text] == AGAIN


def test_an_unknown_parameter_stops_the_notebook(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "notebooks" / "run_all.py"), "--work-dir", str(tmp_path), "-p", "sed", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown parameter 'sed'" in done.stderr and "'seed'" in done.stderr
    assert "Traceback" not in done.stderr
