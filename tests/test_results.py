"""``info`` of what the stages leave behind, and of what is none of it."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.map_files import write_raster
from support.products import write_geotiff

from alos2tut import Alos2TutError, cli, open_product
from alos2tut.core.artifacts import write_json
from alos2tut.results import describe

SCORES = {"miou": 0.5, "intervals": {"miou": [0.4, 0.6]}}
RESULTS = {
    "pretrain/run.json": {"stage": "pretrain", "last_step": 5, "settings": {"x": "y" * 200}},
    "finetune/run.json": {"stage": "finetune", "headlines": [{"text": "never predicted: water"}]},
    "evaluate/report.json": {"split": "test", "models": {"segmenter": SCORES}, "headlines": []},
    "compare/comparison.json": {"schema": 1, "first": "random"},
    "floor/floor.json": {"miou": 0.5, "trees": 300},
    "patches/patches.json": {"legend": "japan_9"},
    "map.tif.partial/plan.json": {"rows": 5},
    "failed/failed.json": {"step": 7, "loss": "nan"},
    "labels/map_agreement.json": {"map": "map.tif"},
}


@pytest.fixture
def work(tmp_path):
    for name, content in RESULTS.items():
        (tmp_path / name).parent.mkdir()
        write_json(tmp_path / name, content)
    for name in ("stopped/checkpoints/step-0000007.ckpt", "theirs.pth"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"")
    lines = [
        f"- {{name: {name}, color: [{code}, 0, 0], codes: [{code}]}}" for code, name in ((1, "water"), (2, "land"))
    ]
    (tmp_path / "legend.yaml").write_text("\n".join(["name: mine", "source: me", "classes:", *lines]))
    (tmp_path / "settings.yaml").write_text("steps: 5\nlr: 0.1\n")
    (tmp_path / "map").mkdir()
    tags = {"CLASS_0": "water", "SOFTWARE": "alos2tut 0.1.0", "HEADLINE": "99 % water"}
    write_raster(tmp_path / "map" / "landcover.tif", np.zeros((8, 9), np.uint8), tags=tags)
    write_geotiff(tmp_path / "other.tif", np.zeros((8, 9)), None, dtype="uint8")
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.writestr("beach.jpg", b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "val.csv").write_text("DirName,FileName\na,b\na,c\n")
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n2,1\n3,1")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "work" / "pretrain-0123456789ab").mkdir(parents=True)
    (tmp_path / "other.yaml").write_text("x: 1")
    (tmp_path / "empty.yaml").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("pretrain", ["a pretraining", "last_step"]),
        ("pretrain/run.json", ["a pretraining"]),
        ("finetune", ["a fine-tuning", "! 1", "never predicted: water"]),
        ("evaluate", ["an evaluation", "0.500 [0.400, 0.600]"]),
        ("evaluate/report.json", ["an evaluation"]),
        ("compare", ["a comparison", "random"]),
        ("floor", ["a floor", "300"]),
        ("patches", ["patches", "japan_9"]),
        ("stopped", ["has not come to its end", "step-0000007"]),
        ("stopped/checkpoints/step-0000007.ckpt", ["checkpoint to resume from"]),
        ("theirs.pth", ["PyTorch checkpoint", "alos2tut convert-weights"]),
        ("legend.yaml", ["a legend", "water, land"]),
        ("settings.yaml", ["settings of pretrain or finetune"]),
        ("map", ["a map", "landcover.tif", "99 % water"]),
        ("map/landcover.tif", ["a map", "8 × 9"]),
        ("map.tif.partial", ["unfinished", "plan.json"]),
        ("failed", ["a training that failed", "nan"]),
        ("val.csv", ["a list of patches", "2"]),
        ("metrics.csv", ["what a training recorded", "3", "step, loss"]),
        ("work", ["a folder of results", "pretrain-0123456789ab"]),
        ("labels/map_agreement.json", ["a comparison of a map with labels", "map.tif"]),
    ],
)
def test_results_are_told_by_path(work, path, told, capsys):
    assert cli.main(["info", str(work / path)]) == 0
    text = capsys.readouterr().out
    assert all(words in text for words in told), text
    assert cli.main(["info", str(work / path), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (
        told[0] in content["is"]
        and (RESULTS.get(path) or RESULTS.get(f"{path}/run.json") or {}).items() <= content.items()
    )


@pytest.mark.parametrize(
    "content",
    [
        {"headlines": 5},
        {"headlines": ["a"]},
        {"headlines": [{"txt": 1}]},
        {"models": {"a": {"miou": None}}},
        {"models": {"a": {"miou": 0.5, "intervals": 3}}},
        {"classes": 3},
        {"models": {"a": {"miou": "0.5", "intervals": {}}}},
    ],
)
def test_a_report_of_another_form_is_refused(tmp_path, content):
    write_json(tmp_path / "report.json", content)
    with pytest.raises(Alos2TutError, match=r"is no whole report \(.*\)\. Make it anew"):
        describe(tmp_path)


@pytest.mark.parametrize("path", ["other.tif", "holiday.zip", "notes.txt", "other.csv", "other.yaml", "empty.yaml"])
def test_what_is_none_of_these_is_told_so(work, path):
    with pytest.raises(Alos2TutError, match=r"is nothing that is known here.*no ALOS-2 product") as error:
        describe(work / path)
    # what lies beside it may be anything
    assert "Look into" not in str(error.value)


def test_numbers_that_are_not_calibrated_are_told_so(small_scene, tmp_path):
    open_product(small_scene).to_cog(tmp_path / "dn.tif", scale="dn", window=(0, 0, 32, 32))
    with pytest.raises(Alos2TutError, match=r"as delivered, which are not calibrated\. Write it as db or power"):
        describe(tmp_path / "dn.tif")


def test_a_folder_above_names_what_is_in_it(work):
    with pytest.raises(Alos2TutError, match=r"Look into .*holiday\.zip"):
        describe(work)


def test_of_a_truncated_product_all_that_its_files_say_is_told(small_scene, tmp_path, capsys):
    scene = shutil.copytree(small_scene, tmp_path / "scene")
    [image] = scene.glob("IMG-*")
    os.truncate(image, image.stat().st_size // 2)
    assert cli.main(["info", str(scene)]) == 2
    out, err = capsys.readouterr()
    assert "is truncated" in err and err.count("\n") == 1
    assert re.search(r"^is +a product that does not open \(CEOS, Level 2\.1\)$", out, re.M)
    assert re.search(r"^calibration factor in dB +-83$", out, re.M) and re.search(
        r"^! file size +\d+, or \d+$", out, re.M
    )
    assert cli.main(["info", str(scene), "--json"]) == 2
    assert "truncated" in json.loads(capsys.readouterr().out)["damage"]
    # what the user said of a whole product is to blame alone
    assert cli.main(["info", str(small_scene), "--crs", "nonsense"]) == 2
    assert capsys.readouterr().out == ""


def test_results_are_told_without_torch_and_without_what_else_they_do_not_need(work):
    save_file({"w": np.zeros(1)}, work / "w.safetensors", {"alos2tut": '{"format": 1, "kind": "encoder"}'})
    light = ("w.safetensors", "pretrain", "evaluate", "compare")
    code = "import sys; from alos2tut import cli\n"
    code += f"n = {len(light)}; assert not any(cli.main(['info', x]) for x in sys.argv[1:n+1])\n"
    code += "assert not {'torch', 'scipy', 'pydantic', 'rasterio', 'tqdm'} & set(sys.modules)\n"
    code += "assert not any(cli.main(['info', x]) for x in sys.argv[n+1:]); assert 'torch' not in sys.modules"
    paths = [str(work / name) for name in (*light, "map", "theirs.pth", "settings.yaml")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
