"""The tutorial on real labelled radar: what the manifest's command asks for, by functions and with few steps."""

import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy.io import loadmat
from support.notebooks import ROOT

from alos2tut import evaluate, finetune, load_config, pretrain
from alos2tut.core.artifacts import read_json
from alos2tut.dataset.encoding import decode_db
from alos2tut.dataset.legend import IGNORE
from alos2tut.downloads.manifest import load_manifest
from alos2tut.tutorial.session import Tutorial

#: what is left of the training, for the path and not for the scores
SHORT = "pretrain.steps=4; finetune.steps=4; finetune.validate_every=2"
SCENES = ("airsar_sanfrancisco", "airsar_flevoland")


def as_documented(name: str, folder: Path) -> dict[str, str]:
    """The parameters of the command that is shown once a data set is fetched."""
    words = shlex.split(load_manifest()[name].tutorial.replace("{path}", str(folder / name)))
    assert words[:2] == ["python", "notebooks/run_all.py"] and words[2::3] == ["-p"] * (len(words) // 3)
    return dict(zip(words[3::3], words[4::3], strict=True))


def test_the_page_on_own_data_shows_the_command_that_fetch_prints():
    text = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    block = text.split("<!-- own-data-call -->")[1].split("```")[1].replace("\\\n", " ")
    shown = block[block.index("python notebooks") :]
    documented = load_manifest()["airsar_sanfrancisco"].tutorial.replace("{path}", "data/airsar_sanfrancisco")
    assert shlex.split(shown) == shlex.split(documented)


@pytest.fixture(scope="module")
def walk(airsar: Path, tmp_path_factory: pytest.TempPathFactory):
    @cache
    def begin(name: str) -> Tutorial:
        given = as_documented(name, airsar)
        given["overrides"] += f"; {SHORT}"
        return Tutorial(profile="smoke", work_dir=str(tmp_path_factory.mktemp(name)), **given)

    return begin


@pytest.mark.parametrize("name", SCENES)
def test_patches_are_the_images_pixels_and_their_labels(walk, airsar, name):
    """By an independent way to both: read whole, cut by hand."""
    tutorial = walk(name)
    dataset = tutorial.dataset
    if name == "airsar_flevoland":
        t = {key: np.fromfile(airsar / name / "T3" / f"{key}.bin", "<f4").reshape(750, 1024).astype(float)
             for key in ("T11", "T22", "T12_real")}  # fmt: skip
        db = 10 * np.log10((t["T11"] + t["T22"]) / 2 + t["T12_real"])
        codes = loadmat(airsar / name / "Flevoland_gt.mat")["gt"]
        index = np.where((codes == 0) | (codes > 13), IGNORE, codes.astype(int) - 1)
    else:
        with rasterio.open(airsar / name / "HV.tif") as image, rasterio.open(tutorial.labels) as labels:
            db, codes = image.read(1), labels.read(1)
        index = np.where(codes == 0, IGNORE, codes.astype(int) - 1)
    assert (dataset.frame, dataset.patch_px, dataset.simulated) == ("image", 64, False)
    assert dataset.signal["quantity"] == "relative" and dataset.signal["spacing_m"] is None
    for split in map(dataset.split, ("pretrain", "train", "test")):
        for row in (0, len(split) - 1):
            rows, labels = split.gather([row])
            record = split.table[row]
            top, left = (int(float(record[key])) for key in ("North", "West"))
            window = np.s_[top : top + 64, left : left + 64]
            np.testing.assert_allclose(decode_db(rows[0, 0]), db[window], atol=0.006)
            np.testing.assert_array_equal(labels[0], index[window])


def test_every_class_of_san_francisco_is_in_every_list(walk):
    splits = walk("airsar_sanfrancisco").dataset.content["splits"]
    for name in ("train", "val", "test"):
        assert all(splits[name]["class_pixels"].values()), name


def test_the_stages_run_and_the_report_says_what_it_is_about(walk):
    """Of Flevoland: all notebooks run on the other scene."""
    tutorial = walk("airsar_flevoland")
    dataset = tutorial.dataset_path
    encoder = pretrain(load_config("pretrain", "smoke", dataset=dataset, **tutorial.given("pretrain")))
    starts = {"segmenter": {"init": encoder}, "baseline": {"encoder": tutorial.config("pretrain").encoder}}
    made = {
        role: finetune(load_config("finetune", "smoke", dataset=dataset, **start, **tutorial.given("finetune")))
        for role, start in starts.items()
    }
    settings = load_config("evaluate", "smoke", dataset=dataset, **made, **tutorial.given("evaluate"))
    report = read_json(evaluate(settings, tutorial.products) / "report.json")
    assert report["classes"] == tutorial.dataset.legend.names and not report["simulated"]
    assert report["models"].keys() == {"segmenter", "baseline", "floor"}
    for model in report["models"].values():
        pixels = np.array(model["confusion_matrix"]).sum()
        assert pixels == sum(tutorial.dataset.content["splits"]["test"]["class_pixels"].values())
