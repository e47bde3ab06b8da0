"""The worked example of the published encoder: the script end to end on a stand-in for it, and what its page says."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.stand_in import write_stand_in

from alos2tut import load_config, open_dataset
from alos2tut.cli import parse
from alos2tut.core.artifacts import read_json
from alos2tut.downloads.manifest import find_entry
from alos2tut.networks.conversion import AUTHORS_DATA, AUTHORS_STATISTICS
from alos2tut.networks.weights import read_header

DOCS = Path(__file__).resolve().parents[1] / "docs"
SCRIPT, PAGE = DOCS / "published_weights.py", DOCS / "published_weights.md"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("published_weights", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module", params=[16, pytest.param(128, marks=pytest.mark.soak)])
def width(request) -> int:
    """Of the encoder's first stage: an eighth of the published one's, and its own."""
    return request.param


@pytest.fixture(scope="module")
def done(tmp_path_factory, width) -> tuple[Path, str, str]:
    """The folder of a run without a product, of one step, and what it said."""
    folder = tmp_path_factory.mktemp("published") / "with a space"
    folder.mkdir()
    weights = write_stand_in(folder / "random_numbers.pth", width)
    words = [sys.executable, str(SCRIPT), "--weights", weights.name, "--work-dir", "work"]
    words += ["--steps", "1", "--batch-size", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment, timeout=600)
    assert run.returncode == 0, run.stderr
    weights.unlink()
    return folder / "work", run.stdout, run.stderr


def blocks(language: str) -> list[str]:
    """The page's blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def place(done: tuple[Path, str, str], role: str) -> Path:
    """Where the script says that something lies."""
    return done[0].parent / re.search(rf"^{role} +(.*?)(?:  .*)?$", done[1], re.M)[1]


def test_a_run_says_what_is_made_up_and_where_everything_lies(done, width):
    work, out, err = done
    assert "NO PRODUCT GIVEN" in out and "SIMULATED" in out.splitlines()[-1]
    for role in ("encoder", "features", "dataset", "segmenter"):
        assert place(done, role).exists() and work in place(done, role).parents
    assert "standardised by the weights' own mean -10.43 and spread 5.80 dB" in err
    features = np.load(work / "published" / "features.npy")
    assert features.shape == (8 * width, 8, 8) and features.dtype == np.float32
    # the last norm's, over channels
    assert np.isfinite(features).all() and np.allclose(features.mean(axis=0), 0, atol=1e-3)
    assert features.std(axis=(1, 2)).max() > 0


def test_headers_tell_the_authors_statistics_and_what_is_simulated(done, width):
    encoder, segmenter = read_header(place(done, "encoder")), read_header(place(done, "segmenter"))
    for header in (encoder, segmenter):
        assert header["statistics"] == AUTHORS_STATISTICS.to_dict()
        assert header["image_px"] == [256, 256] and header["signal"]["spacing_m"] == [5.0, 5.0]
    # the file is taken for what it looks like; the product is simulated
    whose = AUTHORS_DATA if width == 128 else "not stated (weights of random_numbers.pth)"
    assert (encoder["simulated"], encoder["attribution"]) == (False, whose)
    assert (segmenter["simulated"], segmenter["attribution"]) == (True, f"{whose}; simulated")


def test_the_fine_tuning_started_from_them_on_the_dataset(done):
    dataset = open_dataset(place(done, "dataset"))
    assert dataset.patch_px == 256 and all(len(dataset.split(name)) for name in ("pretrain", "train", "val", "test"))
    run = read_json(place(done, "segmenter").with_name("run.json"))
    assert run["init"] == "file" and run["last_step"] == 1 and run["made_from"]["dataset"] == dataset.fingerprint
    assert run["statistics"] == AUTHORS_STATISTICS.to_dict() != dataset.statistics.to_dict()


def test_other_data_are_refused(script, done, small_scene):
    path = done[0] / "published" / "encoder.safetensors"
    product, encoder = script.open_product(small_scene), script.load_encoder(path)
    # 512 × 640 pixels are just enough, in the middle or at a corner
    for corner in (None, (0, 128)):
        assert script.read_patch(product, encoder, corner, path).shape == (256, 256)
    signal = encoder.signal
    for key, value in {"quantity": "gamma0", "spacing_m": [3.0, 3.0]}.items():
        encoder.signal = signal | {key: value}
        with pytest.raises(script.Alos2TutError, match=key):
            script.read_patch(product, encoder, None, path)


def test_what_cannot_be_is_refused(script, capsys, tmp_path, small_scene):
    missing = ["--weights", str(tmp_path / "none.pth"), "--work-dir", str(tmp_path)]
    assert script.main(missing) == 2 and "no such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main([str(small_scene), *missing])
    assert "need each other" in capsys.readouterr().err


def test_commands_on_the_page_are_real(script):
    seen = set()
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    for program, *words in (shlex.split(line, comments=True) for line in lines):
        if program == "alos2tut":
            options = parse(words)
            seen.add(words[0])
            if hasattr(options, "stage"):
                load_config(options.stage, options.profile, overrides=options.overrides)
        elif program == "python":
            assert DOCS.parent / words[0] == SCRIPT
            options = script.parser().parse_args(words[1:])
            assert (options.product is None) == (options.labels is None)
        else:
            assert program == "mkdir"
    assert {
        "fetch",
        "convert-weights",
        "info",
        "build-dataset",
        "probe",
        "finetune",
        "compare",
        "evaluate",
        "map",
    } <= seen


def test_what_the_page_names_is_there():
    text, entry = PAGE.read_text(encoding="utf-8"), find_entry("sar_w_simmim_weights")
    assert f"data/{entry.name}/{entry.files[0].name}" in text
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert links and all((DOCS / link).exists() for link in links)


def test_python_of_the_page_runs(done, width, small_scene, tmp_path, monkeypatch):
    (tmp_path / "work").symlink_to(done[0])
    (tmp_path / "PRODUCT").symlink_to(small_scene)
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    names: dict = {}
    exec(code, names)
    assert names["features"].shape == (1, 8 * width, 8, 8)
    shapes = [tuple(level.shape[1:]) for level in names["maps"]]
    assert shapes == [(2 * width, 32, 32), (4 * width, 16, 16), (8 * width, 8, 8), (8 * width, 8, 8)]
