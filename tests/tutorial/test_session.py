"""The guard at the head of every notebook: parameters it knows, values that mean something."""

import dataclasses
import shutil
import sys
import types
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from support.packed import write_packed_dataset

from alos2tut import Alos2TutError, load_config, open_dataset, pretrain
from alos2tut.core.artifacts import read_json
from alos2tut.core.errors import warn
from alos2tut.networks import bundle
from alos2tut.tutorial import session as notebook
from alos2tut.tutorial.session import Tutorial, start, tutorial_from

PARAMETERS = """# Parameters: change these, or give them to papermill
from typing import Optional

profile: str = "quick"
work_dir: Optional[str] = None
seed: int = 0
devices: Optional[int] = None
overrides: str = ""
figure_width = 8
compare: bool = True
"""


@pytest.fixture
def run_cells(monkeypatch):
    """Run cells as a kernel would, and then the guard."""

    def run(*cells: str, history: bool = True) -> Tutorial:
        names: dict[str, object] = {"In": ["", *cells] if history else [""]}
        for cell in cells:
            exec(cell, names)
        shell = types.SimpleNamespace(user_ns=names)
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
        return start()

    return run


SEED_4 = PARAMETERS.replace("seed: int = 0", "seed: int = 4")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param([PARAMETERS], {}, id="the notebook's"),
        pytest.param(
            [PARAMETERS, "# Parameters\nseed = 5\nwork_dir = 'w'\n"], {"seed": 5, "work_dir": "w"}, id="papermill's"
        ),
        pytest.param([PARAMETERS, "# Parameters\nwork_dir = 2023\n"], {"work_dir": "2023"}, id="a number for a text"),
        pytest.param([PARAMETERS, "# Parameters\nseed = '5'\n"], {"seed": 5}, id="a text for a number"),
        pytest.param([PARAMETERS, "# Parameters\nfigure_width = 4\n"], {}, id="of this notebook alone"),
        pytest.param([PARAMETERS, "sede = 5\n# Parameters\n"], {}, id="a cell of the reader's own"),
        pytest.param([PARAMETERS, "# Parameters\nsede = 5\n", SEED_4], {"seed": 4}, id="the last run counts"),
    ],
)
def test_parameters_make_a_tutorial(run_cells, cells, expected):
    assert run_cells(*cells) == Tutorial(**expected)


def test_a_runner_without_history_is_served(run_cells):
    assert run_cells(SEED_4, history=False) == Tutorial(seed=4)


def test_warnings_of_ours_are_notes_among_the_results(run_cells, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run_cells(PARAMETERS)
        warn("the scene has two towns")
        warnings.warn("of another library", stacklevel=1)
    out, err = capsys.readouterr()
    assert out == "Note: the scene has two towns\n" and "UserWarning: of another library" in err


def test_what_is_no_parameter_is_refused(run_cells, monkeypatch):
    with pytest.raises(Alos2TutError, match=r"unknown parameter 'sede'.*'seed'.*overrides"):
        run_cells(PARAMETERS, "# Parameters\nsede = 5\n")
    with pytest.raises(Alos2TutError, match=r"no parameters cell.*in order"):
        run_cells("x = 1")
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    with pytest.raises(Alos2TutError, match="no parameters cell"):
        start()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param({"profile": "quik"}, "unknown profile 'quik'.*'quick'", id="profile"),
        pytest.param({"profile": None}, "profile=None is not a text", id="no profile"),
        pytest.param({"overrides": "pretrain.stesp=20"}, "unknown key 'stesp'.*'steps'", id="key"),
        pytest.param({"overrides": "stesp=20"}, "overrides", id="stage"),
        pytest.param({"overrides": 20}, "overrides", id="no text"),
        pytest.param({"overrides": "map.overlap_px=-1"}, "overlap_px=-1", id="a stage of a later notebook"),
        pytest.param({"seed": -1}, "seed=-1", id="seed"),
        pytest.param({"seed": "many"}, "seed='many'", id="no number"),
        pytest.param({"devices": 0}, "devices=0", id="devices"),
        pytest.param({"product": "p"}, "'labels'", id="a product without labels"),
        pytest.param({"labels": "l"}, "'product'", id="labels without a product"),
        *(
            pytest.param({name: ""}, f"{name}: is empty", id=f"empty {name}")
            for name in ("product", "legend", "work_dir")
        ),
    ],
)
def test_a_parameter_that_means_nothing_is_refused_at_once(parameters, message):
    with pytest.raises(Alos2TutError, match=message):
        tutorial_from(parameters)


def test_given_paths_and_choices_reach_their_stages():
    tutorial = Tutorial(product="p", labels="l", legend="water_land", work_dir="w", devices=2, profile="laptop")
    assert tutorial.product_path == Path("p") and tutorial.label_paths == (str(Path("l").absolute()),)
    assert tutorial.config("dataset").legend == "water_land" and tutorial.folder == Path("w")
    assert tutorial.config("finetune").devices == 2 and tutorial.config("map").work_dir == "w"


def test_results_lie_beside_the_notebooks_or_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path(notebook.__file__).resolve().parents[2]
    assert Tutorial().folder == (root if (root / "notebooks").is_dir() else tmp_path) / "work"


def test_the_simulated_product_is_made_once(tmp_path, capsys):
    tutorial = Tutorial(work_dir=str(tmp_path), overrides="simulate.size_px=[96, 128]")
    assert tutorial.opened.shape == (96, 128) and tutorial.opened.simulated
    [labels] = tutorial.label_paths
    assert Path(labels).name == "LC_N35E139.tif" and "reusing" not in capsys.readouterr().out
    again = dataclasses.replace(tutorial)
    assert again.product_path == tutorial.product_path and "reusing" in capsys.readouterr().out
    assert dataclasses.replace(tutorial, seed=1).product_path != tutorial.product_path


def test_an_override_goes_before_a_shared_parameter_and_the_profile():
    overrides = "pretrain.seed=5; finetune.devices=1; dataset.legend=japan_14; finetune.lr=1e-5"
    tutorial = Tutorial(seed=3, devices=2, overrides=overrides)
    assert [tutorial.config(stage).seed for stage in ("simulate", "dataset", "pretrain")] == [3, 3, 5]
    assert [tutorial.config(stage).devices for stage in ("pretrain", "finetune")] == [2, 1]
    assert tutorial.config("dataset").legend == "japan_14" and tutorial.config("finetune").lr == 1e-5
    assert Tutorial(devices=None).config("pretrain").devices == 1


def test_several_devices_train_under_torchrun(packed_dataset, tmp_path, capsys):
    """Two processes from a notebook: the same call, the same folder, about the same losses."""
    encoder = {"patch_size": 2, "embed_dim": 16, "num_heads": [1, 1, 2, 2], "depths": [1, 1, 1, 1], "window_size": 4}
    settings = {
        "dataset": packed_dataset,
        "steps": 3,
        "batch_size": 4,
        "mask_unit_px": 8,
        "lr": 1e-3,
        "encoder": encoder,
    }
    losses = []
    for devices in (1, 2):
        config = load_config("pretrain", "quick", work_dir=tmp_path / str(devices), devices=devices, **settings)
        losses.append(read_json(notebook.on_devices(pretrain)(config) / "run.json")["final_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert "pretrain: 3 steps" in capsys.readouterr().out


def test_a_failing_launch_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    config = load_config("pretrain", "quick", dataset=tmp_path / "nothing", devices=2)
    with pytest.raises(Alos2TutError, match="failed with status"):
        notebook._launch("pretrain", config)


@pytest.mark.parametrize(("stage", "profile"), [("pretrain", "paper"), ("finetune", "paper"), ("pretrain", "quick")])
def test_a_launch_hands_over_all_settings(stage, profile, tmp_path, monkeypatch):
    """Also those that are None, which no settings file can tell: the defaults have to be the profile paper's."""
    config = load_config(stage, profile, dataset=tmp_path, devices=2)

    def launched(words, **_):
        options = dict(pairwise(words))
        assert load_config(stage, options["--profile"], file=options["--config"]) == config
        raise InterruptedError

    monkeypatch.setattr(notebook.subprocess, "Popen", launched)
    with pytest.raises(InterruptedError):
        notebook._launch(stage, config)


def test_several_products_are_an_archive_of_which_the_first_is_shown(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.zip").touch()
    tutorial = Tutorial(product=str(tmp_path / "*.zip"), labels="l")
    assert tutorial.archive_paths == (str(tmp_path / "a.zip"), str(tmp_path / "b.zip"))
    assert tutorial.product_path == tmp_path / "a.zip" and tutorial.archive_labels == tutorial.label_paths


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Tutorial)])
def test_parameters_of_other_types_are_refused_by_name(name, run_cells):
    given = [2.5, float("nan"), True, [], ["a"], {}, b"a", *([1] if name == "profile" else [])]
    for value in [*given, *(["abc", "1.5"] if name in ("seed", "devices") else [])]:
        with pytest.raises(Alos2TutError, match=name):
            Tutorial(**{name: value})
    if name in ("profile", "seed", "overrides"):
        with pytest.raises(Alos2TutError, match=name):
            Tutorial(**{name: None})
    assert Tutorial(work_dir=Path("w"), legend=None).work_dir == "w"


def test_parameters_of_one_notebook_are_checked_by_their_annotation(run_cells):
    with pytest.raises(Alos2TutError, match="compare='no' is not True or False"):
        run_cells(PARAMETERS, "# Parameters\ncompare = 'no'\n")


def test_the_longer_run_is_named_or_left_out_with_a_reason(tmp_path, monkeypatch, capsys):
    tutorial = Tutorial(work_dir=str(tmp_path / "work"))
    vars(tutorial)["dataset"] = open_dataset(write_packed_dataset(tmp_path / "dataset", patch_px=64))
    if bundle.is_installed():
        assert tutorial.longer_run() == "bundled"
        assert "on simulated scenes only" in capsys.readouterr().out
        assert tutorial.longer_run("segmenter") is None
        assert "does not fit these data and is left out: it knows class" in capsys.readouterr().out
        vars(tutorial)["dataset"] = open_dataset(write_packed_dataset(tmp_path / "small", patch_px=32))
        assert tutorial.longer_run() is None
        assert "it reads patches of (64, 64) px, these have (32, 32)" in capsys.readouterr().out
    monkeypatch.setattr(bundle, "FOLDER", tmp_path / "nothing")
    assert tutorial.longer_run() is None and tutorial.published() == []
    assert "no weights of the longer run" in capsys.readouterr().out


def test_settings_are_those_of_the_stage_and_of_the_data(packed_dataset):
    tutorial = Tutorial(work_dir="w", seed=3, overrides="map.batch_size=2")
    vars(tutorial)["dataset"] = open_dataset(packed_dataset)
    assert tutorial.given("pretrain") == {"work_dir": "w", "overrides": [], "seed": 3}
    assert tutorial.given("map") == {"work_dir": "w", "overrides": ["batch_size=2"]}
    vars(tutorial)["allowed"] = {"allow_other_signal": True}  # of pixels of unknown size
    assert tutorial.given("evaluate") == {"work_dir": "w", "overrides": [], "seed": 3, "allow_other_signal": True}
    assert "allow_other_signal" not in tutorial.given("pretrain")
