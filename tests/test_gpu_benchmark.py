"""The benchmark of a GPU goes through on a CPU, and without what a machine with one may lack."""

import json
import re
from pathlib import Path

import gpu
import pytest
import torch

from alos2tut import Alos2TutError


def test_every_part_goes_through_on_a_cpu(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path), "--dry-run"]) == 0, capsys.readouterr().out
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert found.keys() == {"nccl", "mapping", "precision", "throughput"}
    assert all(part["on"].startswith("CPU, dry run") and "error" not in part for part in found.values())
    assert found["nccl"]["backend"] == "gloo" and found["nccl"]["gradient_difference"] == 0
    assert found["mapping"]["probability_difference"] == 0 and found["mapping"]["same_class"] == 1
    differences = found["precision"]["differences"]
    # nothing is compiled; half precision shows
    assert differences["compiled"] == 0 < differences["bf16"] <= found["precision"]["bounds"]["bf16"]
    assert found["throughput"].keys() >= {"plain float32 / ours", "plain bf16 / ours", "plain bf16, compiled / ours"}


def test_a_part_that_fails_is_told_and_run_again(tmp_path, monkeypatch, capsys):
    def broken(dataset, scale):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu, "PARTS", {"mapping": broken})
    assert gpu.main(["--out", str(tmp_path), "--dry-run"]) == 1
    assert "out of memory" in json.loads((tmp_path / "mapping.json").read_text())["error"]
    monkeypatch.setattr(gpu, "PARTS", {"mapping": lambda dataset, scale: {"passes": True}})
    assert gpu.main(["--out", str(tmp_path), "--dry-run"]) == 0
    assert gpu.main(["--out", str(tmp_path), "--dry-run"]) == 0
    assert "mapping: done before" in capsys.readouterr().out


def test_without_a_gpu_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Alos2TutError, match="there is no GPU that torch can use") as error:
        gpu.main(["--out", str(tmp_path)])
    assert "--dry-run" in error.value.remedy and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["benchmarks/gpu.py", "benchmarks/steps.py", "tests/support/packed.py"])
def test_it_needs_no_rasterio(name):
    code = (Path(__file__).resolve().parents[1] / name).read_text()
    assert not re.search(r"^ *(import|from) (rasterio|measure|support\.(?!packed|plain_models))", code, re.MULTILINE)
