"""The commands: complete help, quick start, one line and status 2 for what is refused."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning

from alos2tut import Alos2TutError, open_dataset, open_product
from alos2tut.cli import main, parse
from alos2tut.configs import describe_settings, load_config
from alos2tut.networks.weights import save_weights
from alos2tut.radiometry import to_db
from alos2tut.speckle.despeckling import lee

COMMANDS = [
    "info",
    "verify",
    "cog",
    "despeckle",
    "quicklook",
    "fetch",
    "cache",
    "simulate",
    "build-dataset",
    "export-patches",
    "import-patches",
]
COMMANDS += ["pretrain", "probe", "finetune", "compare", "evaluate", "baseline", "map"]
COMMANDS += ["convert-weights", "export-weights", "export-hub", "completion"]
#: the stages whose settings a command takes, and those settings that it leaves out or takes without a flag
STAGES = {
    "simulate": (["simulate"], {"work_dir"}),
    "build-dataset": (["dataset"], {"products"}),
    "pretrain": (["pretrain"], {"dataset"}),
    "finetune": (["finetune"], {"dataset"}),
    "compare": (["finetune", "compare"], {"dataset", "init", "budget", "starts"}),
    "evaluate": (["evaluate"], {"dataset", "segmenter"}),
    "map": (["map"], {"work_dir"}),
}
#: beside settings, what the help of a command must tell
TOLD = {
    "probe": ("--seeds", "--patches", "--allow-other-signal", "balanced accuracy"),
    "compare": ("--start", "--budgets", "--seeds", "the first is the reference"),
    "evaluate": ("--baseline", "torchrun"),
    "baseline": ("--product", "--scale", "--split", "--on", "random forest", "found again"),
    "convert-weights": (
        "--image-px",
        "--mean-db",
        "--polarizations",
        "--drop-unknown",
        "Nothing in the checkpoint is run",
    ),
    "export-weights": ("--layout", "authors"),
}


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys, *arguments: object) -> str:
    """The one line that a refused command prints."""
    status, _, err = run(capsys, *arguments)
    assert status == 2 and err.startswith("alos2tut: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_lists_everything_it_takes(capsys, command):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: alos2tut {command}")
    stages, without = STAGES.get(command, ([], set()))
    described = [setting for stage in stages for setting in describe_settings(stage) if setting[0] not in without]
    for key, *_ in described:
        assert re.search(rf"^  (--{key.replace('_', '-')}(,| )|{re.escape(key)}$)", text, re.M), key
    # the seed of a comparison is told as that of its trainings
    meanings = {key: meaning for key, _, meaning, _ in reversed(described)}.values()
    assert all("".join(meaning.replace("``", "").split()) in "".join(text.split()) for meaning in meanings)
    if stages:
        assert all(option in text for option in ("--profile", "--config", "--set"))
    assert all(told in " ".join(text.split()) for told in TOLD.get(command, ()))


def test_every_help_ends_with_an_example_that_can_be_given(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        [example] = re.findall(r"\n\nexample:\n  alos2tut (.+)\n$", text)
        assert example.startswith(command)
        options = parse(shlex.split(example))
        assert options.json is False
        if hasattr(options, "stage"):
            assert text.index("common settings:") < text.index("further settings:")


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert re.findall(r"^ {4}([\w-]+)(?= |$)", text, re.M) == COMMANDS


def test_commands_of_the_pages_are_real():
    root = Path(__file__).resolve().parents[1]
    text = "\n".join(path.read_text(encoding="utf-8") for path in [root / "README.md", *(root / "docs").glob("*.md")])
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^(?:.* -m )?alos2tut (.*)", text, re.M)]
    assert len(lines) > 15
    for words in lines:
        # what follows is another program's, or a file
        options = parse([*itertools.takewhile(lambda word: word not in ("|", ">"), words)])
        if hasattr(options, "stage"):
            load_config(options.stage, options.profile, overrides=options.overrides)


def test_the_module_and_the_script_are_the_same_program():
    outputs = {
        subprocess.run([*program, "--version"], capture_output=True, text=True, check=True).stdout
        for program in ([sys.executable, "-m", "alos2tut"], [str(Path(sys.executable).parent / "alos2tut")])
    }
    assert len(outputs) == 1 and outputs.pop().startswith("alos2tut ")


def test_from_simulation_to_dataset(capsys, tmp_path):
    scene, work = tmp_path / "scene", tmp_path / "work"
    assert run(capsys, "simulate", scene, "--seed", 2, "--size-px", 800, 640)[:2] == (0, f"{scene}\n")
    settings = ["--set", "patch_px=16", "--set", "block_m=320", "--set", "buffer_m=0", "--work-dir", work]
    build = ["build-dataset", scene, "--labels", scene / "labels" / "LC_N35E139.tif", *settings]
    status, out, err = run(capsys, *build)
    folder = Path(out.strip())
    assert status == 0 and folder.parent == work and len(open_dataset(folder).split("train")) > 20
    # what the user should know is said in one line each, without a place in the source
    assert all(line.startswith("alos2tut: note: ") for line in err.splitlines())
    # the output is the folder, so that a script can take it, also the second time
    status, out, err = run(capsys, *build)
    assert status == 0 and out == f"{folder}\n" and f"reusing {folder}" in err
    assert json.loads(run(capsys, "info", folder, "--json")[1])["patch_px"] == 16


def test_a_seed_given_in_any_way_is_used(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("alos2tut.dataset.builder.build_dataset", lambda config: seen.append(config))
    (tmp_path / "settings.yaml").write_text("seed: 7\nwork_dir: there\n")
    command = ["build-dataset", "p", "--labels", "l"]
    main(command)
    main([*command, "--set", "seed=5", "--set", "work_dir=here"])
    main([*command, "--config", str(tmp_path / "settings.yaml")])
    main([*command, "--config", str(tmp_path / "settings.yaml"), "--seed", "9", "--work-dir", "elsewhere"])
    expected = [(0, "work"), (5, "here"), (7, "there"), (9, "elsewhere")]
    assert [(config.seed, config.work_dir) for config in seen] == expected


@pytest.mark.parametrize(
    ("words", "function", "expected"),
    [
        pytest.param(
            "pretrain d --batch-size 4 --betas 0.9 0.95 --compile --set encoder.depths=[1,1,1,1]",
            "pretraining.stage.pretrain",
            ("dataset=d", "batch_size=4", "betas=[0.9, 0.95]", "compile=true", "encoder.depths=[1,1,1,1]"),
            id="numbers, several and switches",
        ),
        pytest.param(
            "finetune d --init 1e5 --no-compile --patience 3 --set patience=null --lr 1e-4",
            "segmentation.stage.finetune",
            ("dataset=d", "init='1e5'", "patience=3", "lr=1.0e-4"),
            id="texts, and options before --set",
        ),
        pytest.param(
            "build-dataset a b --labels l --area 139 35 140.5 36 --dates 2022-10-01 2022-11-30",
            "dataset.builder.build_dataset",
            ("products=[a, b]", "labels=[l]", "area=[139, 35, 140.5, 36]", "dates=[2022-10-01, 2022-11-30]"),
            id="places and days",
        ),
    ],
)
def test_options_say_what_set_says(monkeypatch, words, function, expected):
    seen = []
    monkeypatch.setattr(f"alos2tut.{function}", seen.append)
    main(words.split())
    assert seen == [load_config(STAGES[words.split()[0]][0][0], overrides=expected)]


def test_bad_input_is_refused_in_one_line(capsys, tmp_path, small_scene):
    (tmp_path / "broken.yaml").write_text("a: [\n")
    labels = ["--labels", small_scene / "labels" / "LC_N35E139.tif", "--work-dir", tmp_path / "work"]
    build = ["build-dataset", small_scene, *labels]
    assert "no such file" in refused(capsys, "info", tmp_path / "nothing")
    assert "no ALOS-2 product" in refused(capsys, "info", tmp_path)
    assert "--size-px" in refused(capsys, "simulate", tmp_path / "out", "--size-px", 64, 64, 64)
    assert "--size-px=(10, 10) is not" in refused(capsys, "simulate", tmp_path / "out", "--size-px", 10)
    assert "'patch_px'" in refused(capsys, *build, "--set", "patch=5")
    assert "'quick'" in refused(capsys, *build, "--profile", "quik")
    assert "not valid YAML" in refused(capsys, *build, "--config", tmp_path / "broken.yaml")
    assert "'japan_9'" in refused(capsys, *build, "--legend", "japan9")
    assert "no dataset" in refused(capsys, "pretrain", tmp_path)
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused(capsys, *build, "--work-dir", tmp_path / "file", "--set", "patch_px=16")
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ([], "required: COMMAND"),
        (["inof"], "unknown command 'inof'. Did you mean 'info'? Known: baseline, "),
        (["info"], "required: PATH"),
        (["info", "x", "--jso"], "unknown argument '--jso'. Did you mean '--json'? Known: "),
        (["map", "p", "s", "o", "--batchsize=4"], "Did you mean '--batch-size'?"),
        (["evaluate", "d", "s", "--baseline", ""], "argument --baseline: is empty"),
        (["build-dataset", "p", " ", "--labels", "l"], "argument PRODUCT: is empty"),
        (["import-patches", "f", "o", "--labels", "l", "\t"], "argument --labels: is empty"),
        (["convert-weights", "in", "out", "--legend="], "argument --legend: is empty"),
        (["info", ""], "argument PATH: is empty"),
    ],
)
def test_a_command_that_is_none_shows_the_usage_and_what_may_be_meant(capsys, arguments, advice):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    err = capsys.readouterr().err
    assert stopped.value.code == 2 and "usage: alos2tut" in err and advice in err


@pytest.mark.parametrize(
    ("command", "error", "expected"),
    [
        ("map", {"problem": "exists", "where": "m.tif", "remedy": "Replace it (overwrite)."}, "(--overwrite)"),
        ("map", {"problem": "needs matplotlib", "where": "preview", "remedy": "Or not (preview)."}, "--no-preview: n"),
        ("map", {"problem": "overlap_px=9 is not", "where": "overlap_px"}, "--overlap-px: --overlap-px=9 is"),
        ("map", {"problem": "a (preview, flips, other)"}, "a (--no-preview, --flips, other)"),
        ("map", {"problem": "unknown key 'batch_size'", "where": "my labels"}, "my labels: unknown key 'batch_size'"),
        ("verify", {"problem": "labels=5 and --crs=3", "where": "crs"}, "--crs: labels=5 and --crs=3"),
    ],
)
def test_errors_name_flags(capsys, monkeypatch, command, error, expected):
    for function in ("opening.open_product", "verify.report.verify_product"):
        monkeypatch.setattr(f"alos2tut.products.{function}", raises(Alos2TutError(**error)))
    assert expected in refused(capsys, command, "p", *["s", "o"] * (command == "map"))


@pytest.mark.parametrize(
    "start, says",
    [
        ("pretrained=", "'pretrained=' names no weights"),
        ("pretrained= ", "'pretrained=' names no weights"),
        ("=encoder", "'=encoder' has no name"),
    ],
)
def test_a_start_without_weights_is_not_taken_for_random_ones(capsys, start, says):
    assert says in refused(capsys, "compare", "d", "--start", "random", "--start", start)


def test_who_shares_a_map_is_said_in_one_way(capsys):
    for given in (["--workers", 0], ["--workers", "9" * 400], ["--workers", 2, "--devices", "cpu"]):
        assert "--workers: is a number from 1 to 4096, and excludes" in refused(capsys, "map", *"pso", *given)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("buffered", [True, False])
def test_an_output_that_takes_nothing_is_told_and_one_that_was_closed_is_not(small_scene, buffered):
    def run_into(output, *arguments: object) -> tuple[int, str]:
        command = [sys.executable, "-m", "alos2tut", *map(str, arguments)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)
        return done.returncode, done.stderr

    with open("/dev/full", "w") as full:
        status, err = run_into(full, "info", small_scene)
    assert status == 2 and err.startswith("alos2tut: standard output: No space left") and err.count("\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    # what was all done but for its output is done
    assert run_into(writer, "info", small_scene) == (0 if buffered else 141, "")
    os.close(writer)


def test_whatever_the_system_refuses_is_told_in_one_line(capsys, monkeypatch):
    for error, message in [
        (PermissionError(13, "Permission denied", "/there"), "/there: Permission denied. Check the permissions"),
        (MemoryError(), "the memory does not suffice"),
    ]:
        monkeypatch.setattr("alos2tut.simulation.scene.simulate_product", raises(error))
        assert message in refused(capsys, "simulate", "out")


def test_commands_draw_into_files_whatever_else_is_asked_for(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    seen = []
    monkeypatch.setattr("alos2tut.pretraining.stage.pretrain", lambda _: seen.append(os.environ["MPLBACKEND"]))
    main(["pretrain", "d"])
    assert seen == ["agg"]


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "utf-8"])
def test_an_output_of_few_characters_gets_escapes(encoding, small_scene, tmp_path):
    (tmp_path / "scène").symlink_to(small_scene)

    def run_there(*arguments: str) -> str:
        command = [sys.executable, "-m", "alos2tut", *arguments]
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        done = subprocess.run(command, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode(encoding)

    sign = "©" if encoding == "utf-8" else r"\xa9"
    assert f"attribution: {sign} JAXA" in run_there("fetch", "--list", "jaxa_l15_fuji")
    assert json.loads(run_there("fetch", "--list", "--json", "jaxa_l15_fuji"))[0]["attribution"] == "© JAXA"
    run_there("pretrain", "--help")
    run_there("verify", str(tmp_path / "scène"))
    assert json.loads(run_there("info", "--json", str(tmp_path / "scène")))["shape"] == [512, 640]


def test_an_interrupt_is_no_traceback(capsys, monkeypatch, tmp_path):
    for function in ("simulation.scene.simulate_product", "pretraining.stage.pretrain"):
        monkeypatch.setattr(f"alos2tut.{function}", raises(KeyboardInterrupt()))
    for command, again in {"simulate": "starts anew", "pretrain": "continues from its last checkpoint"}.items():
        status, _, err = run(capsys, command, tmp_path / "out")
        assert status == 130 and err.count("\n") == 1 and again in err


#: Commands, each without one package; what was loaded for one is there for the next, so torch is missing first.
WITHOUT = """
import json, sys
from alos2tut.cli import main
for missing, *command in json.loads(sys.argv[1]):
    sys.modules[missing] = None
    print(main(command), flush=True)
    del sys.modules[missing]
"""


def test_what_is_not_installed_is_named_with_its_extra():
    commands = [
        line.split() for line in ("torch pretrain d", "torch map p s o", "sklearn probe d e", "lightning finetune d")
    ]
    done = subprocess.run([sys.executable, "-c", WITHOUT, json.dumps(commands)], capture_output=True, text=True)
    expected = 'alos2tut: this command needs {}, which is not installed: pip install "alos2tut[train]"'
    assert done.stdout.split() == ["2"] * 4
    assert done.stderr.splitlines() == [expected.format(missing) for missing, *_ in commands]


def raises(error):
    def function(*_, **__):
        raise error

    return function


def test_a_missing_module_of_another_kind_is_a_bug(monkeypatch):
    fails = raises(ModuleNotFoundError("no", name="alos2tut.misspelt"))
    monkeypatch.setattr("alos2tut.simulation.scene.simulate_product", fails)
    with pytest.raises(ModuleNotFoundError):
        main(["simulate", "out"])


def test_of_several_processes_the_first_prints(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("alos2tut.pretraining.stage.pretrain", lambda config: "the folder")
    for rank, out in [("0", "the folder\n"), ("1", "")]:
        monkeypatch.setenv("RANK", rank)
        assert run(capsys, "pretrain", tmp_path)[:2] == (0, out)
    monkeypatch.setenv("RANK", "x")
    assert "RANK: the environment variable is 'x'" in refused(capsys, "pretrain", tmp_path)


def test_info_prints_the_metadata_of_products_and_weights(capsys, small_scene, tmp_path):
    status, out, _ = run(capsys, "info", small_scene, "--json")
    assert status == 0 and json.loads(out)["shape"] == [512, 640] and json.loads(out)["crs"] == "EPSG:32654"
    assert re.search(r"^calibration_factor_db +-83\.0$", run(capsys, "info", small_scene)[1], re.M)
    path = tmp_path / "some.safetensors"
    save_weights(path, torch.nn.Linear(1, 1), "simmim-decoder", {"simulated": True})
    out = run(capsys, "info", path)[1]
    assert re.search(r"^kind +simmim-decoder$", out, re.M) and re.search(r"^simulated +true$", out, re.M)
    path.write_bytes(b"cut")
    assert "no safetensors file" in refused(capsys, "info", path)


def test_a_coordinate_system_and_a_channel_may_be_named(capsys, monkeypatch, small_scene):
    assert json.loads(run(capsys, "info", small_scene, "--json", "--crs", "EPSG:32653")[1])["crs"] == "EPSG:32653"
    seen = []
    monkeypatch.setattr("alos2tut.dataset.builder.build_dataset", seen.append)
    run(capsys, "build-dataset", "p", "--labels", "l", "--crs", "EPSG:32653", "--polarization", "HV")
    assert (seen[0].crs, seen[0].polarization) == ("EPSG:32653", "HV")
    monkeypatch.setattr(
        "alos2tut.mapping.scene.map_scene", lambda product, *given, **_: seen.append((product, given[2]))
    )
    run(capsys, "map", small_scene, "s", "o", "--crs", "EPSG:32653", "--allow-other-signal")
    product, config = seen[1]
    assert product.crs.to_epsg() == 32653 and config.allow_other_signal


def test_a_product_becomes_a_geotiff_and_a_picture(capsys, small_scene, tmp_path):
    product, out = open_product(small_scene), tmp_path / "o.tif"
    assert run(capsys, "cog", small_scene, out, "--looks", 2, "--as", "power", "--no-overviews") == (0, f"{out}\n", "")
    with rasterio.open(out) as raster:
        assert np.array_equal(raster.read(1), product.read_power(looks=2), equal_nan=True) and not raster.overviews(1)
    again = ("--overwrite", "--json")
    assert json.loads(run(capsys, "despeckle", small_scene, out, "--filter", "Lee", *again)[1]) == {"path": str(out)}
    with rasterio.open(out) as raster:
        assert np.array_equal(raster.read(1), to_db(lee(product.read_power(), 1)), equal_nan=True)
        assert raster.tags()["SPECKLE_FILTER"] == "Lee, window 7 pixels, 1 looks"
    picture = tmp_path / "o.png"
    assert run(capsys, "quicklook", small_scene, picture, "--max-px", 100)[:2] == (0, f"{picture}\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        width = max(rasterio.open(picture).shape)
    assert 90 < width <= 100
    for command, there in (("cog", out), ("despeckle", out), ("quicklook", picture)):
        before = there.read_bytes()
        said = refused(capsys, command, small_scene, there)
        assert f"{there}: exists. " in said and "(--overwrite)" in said and there.read_bytes() == before
    assert "Name it o.png" in refused(capsys, "quicklook", small_scene, out, "--overwrite")
    assert "Name it o.tif" in refused(capsys, "cog", small_scene, picture, "--overwrite")
    new = tmp_path / "new.tif"
    assert "'refined Lee'" in refused(capsys, "despeckle", small_scene, new, "--filter", "refined-Lee")
    assert "--filter-px" in refused(capsys, "despeckle", small_scene, new, "--filter-px", 4)
    assert "--enl" in refused(capsys, "despeckle", small_scene, new, "--enl", 0)
    assert "--as" in refused(capsys, "cog", small_scene, new, "--as", "decibel")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shells_complete_commands_and_options(capsys, shell):
    script = run(capsys, "completion", shell)[1]
    assert all(word in script for word in ("build-dataset", "quicklook", "gradient-checkpointing", "filter-px"))


def test_results_are_json_where_that_is_asked_for(capsys, monkeypatch, packed_dataset, tmp_path):
    build = ["build-dataset", "p", "--labels", "l", "--json"]
    monkeypatch.setattr("alos2tut.dataset.builder.build_dataset", lambda config: Path("there"))
    assert json.loads(run(capsys, *build)[1]) == {"path": "there"}
    plan = json.loads(run(capsys, "pretrain", packed_dataset, "--profile", "smoke", "--dry-run", "--json")[1])
    assert plan["steps"] == 16 and plan["operations"] > plan["operations_per_sample"] > 0
    assert json.loads(run(capsys, "cache", "--json")[1])["freed_bytes"] is None


def test_the_output_is_the_result_alone_whatever_is_said_on_the_way(capsys, monkeypatch, packed_dataset):
    monkeypatch.setattr("alos2tut.pretraining.stage.pretrain", lambda config: print("reusing it") or Path("there"))
    assert run(capsys, "pretrain", packed_dataset) == (0, "there\n", "reusing it\n")
    assert json.loads(run(capsys, "pretrain", packed_dataset, "--json")[1]) == {"path": "there"}


def test_the_floor_of_a_dataset_is_told(capsys, monkeypatch, small_scene, packed_dataset, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("alos2tut.evaluation.forest.TREES", 3)
    monkeypatch.setattr("alos2tut.evaluation.forest.TREES_TO_CHOOSE", 2)
    status, out, _ = run(capsys, "baseline", packed_dataset, "--split", "val", "--seed", 4)
    assert status == 0 and out.startswith("mIoU ") and "cut at the patch" in out and "of the list 'val'" in out
    found = json.loads(run(capsys, "baseline", packed_dataset, "--json")[1])
    assert found["split"] == "test" and found["seed"] == 0 and 0 <= found["miou"] <= 1
    assert len(list(tmp_path.glob("work/floor-*/floor.json"))) == 2
    assert "not among the products given" in refused(capsys, "baseline", packed_dataset, "--product", small_scene)
    seen = []
    monkeypatch.setattr("alos2tut.products.opening.open_product", lambda path, **given: seen.append((path, given)))
    monkeypatch.setattr("alos2tut.evaluation.forest.baseline", raises(Alos2TutError("done")))
    refused(capsys, "baseline", "d", "--product", "a", "b", "--scale", "db", "--spacing-m", 3)
    assert [(path, given["scale"], given["spacing_m"]) for path, given in seen] == [(n, "db", (3, 3)) for n in "ab"]


def test_map_says_how_far_map_and_labels_agree(capsys, monkeypatch, small_scene, tmp_path):
    seen = []

    def mapped(product, segmenter, out, config, executor):
        seen.append((config, type(executor).__name__, getattr(executor, "_max_workers", None)))
        found = {"pixel_accuracy": 0.75, "pixels": {"compared": 12_345}, "reading": "No test score."}
        (tmp_path / "m_agreement.json").write_text(json.dumps(found))
        return Path(out)

    monkeypatch.setattr("alos2tut.mapping.scene.map_scene", mapped)
    command = ["map", small_scene, "s", tmp_path / "m.tif"]
    status, out, _ = run(capsys, *command, "--labels", "a.tif", "b.tif", "--probability", "--no-preview")
    lines = ["agrees with the labels on 75.0% of 12,345 pixels", "No test score."]
    assert status == 0 and out.splitlines()[:2] == lines
    run(capsys, *command, "--workers", "3")
    run(capsys, *command, "--devices", "cpu", "cpu")
    given, plain = {"labels": ["a.tif", "b.tif"], "probability": True, "preview": False}, load_config("map")
    shared = [(plain, "ProcessPoolExecutor", 3), (plain, "DeviceExecutor", 2)]
    assert seen == [(load_config("map", **given), "NoneType", None), *shared]
