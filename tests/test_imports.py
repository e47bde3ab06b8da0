"""What is imported when: reading loads no torch, training no rasterio, ``import alos2tut`` next to nothing."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import alos2tut

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(alos2tut.__file__).parent
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))

#: Both ways begin alike; each step notes which of these packages are loaded by then.
BEGIN = """
import contextlib, io, json, os, sys
HEAVY = ("numpy", "scipy", "pydantic", "yaml", "requests", "pooch", "rasterio", "matplotlib", "sklearn", "torch")
loaded = {}

def now(step):
    loaded[step] = [name for name in HEAVY if name in sys.modules]

def command(*words):
    from alos2tut.cli import main
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
    assert not status, (words, status)
    return out.getvalue()

import alos2tut
now("import")
spin, names, version = os.environ["GOMP_SPINCOUNT"], dir(alos2tut), alos2tut.__version__
now("names")
"""

#: From ``import alos2tut`` to a dataset; takes a product and a packed dataset.
READ = """
assert command("--version") == f"alos2tut {version}\\n"
command("--help")
now("--help")
import alos2tut.downloads.manifest
now("manifest")
assert "window_size" in command("pretrain", "--help")
now("pretrain --help")
import alos2tut.downloads.fetching
now("fetching")
alos2tut.open_dataset(sys.argv[2]).split("train").gather([0])
now("open_dataset")
assert callable(alos2tut.speckle.enl) and callable(alos2tut.areas.homogeneous_areas)
now("speckle")
alos2tut.open_product(sys.argv[1]).read_db((0, 0, 50, 50))
command("info", sys.argv[1])
command("verify", sys.argv[1])
assert callable(alos2tut.build_dataset) and callable(alos2tut.products.verify_product)
now("products")
"""

#: Both trainings, scores and robustness; takes a packed dataset and a folder for results.
TRAIN = """
encoder = {"patch_size": 2, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 4}
common = {"dataset": sys.argv[1], "work_dir": sys.argv[2], "steps": 1, "batch_size": 2}
folder = alos2tut.pretrain(alos2tut.load_config("pretrain", "smoke", encoder=encoder, mask_unit_px=8, **common))
tuned = alos2tut.finetune(alos2tut.load_config("finetune", "smoke", init=folder, **common))
scored = {"dataset": sys.argv[1], "segmenter": tuned, "work_dir": sys.argv[2], "floor": False}
config = alos2tut.load_config("evaluate", "smoke", **scored)
assert alos2tut.evaluate(config).is_dir()
assert callable(alos2tut.robustness.robustness)
now("training")
"""

END = "print(json.dumps({'loaded': loaded, 'spin': spin, 'names': names}))"


def facts_of(program: str, *arguments: object, **environment: str) -> dict:
    """What a fresh interpreter tells; it says nothing else that concerns nobody."""
    words = [sys.executable, "-c", BEGIN + program + END, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def reading(small_scene: Path, packed_dataset: Path) -> dict:
    return facts_of(READ, small_scene, packed_dataset)


@pytest.fixture(scope="module")
def training(packed_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    return facts_of(TRAIN, packed_dataset, tmp_path_factory.mktemp("work"), GOMP_SPINCOUNT="7")


def names_in(stub: Path) -> list[str]:
    """The names that the stub of a package makes public."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return [name.asname for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names]


@pytest.mark.parametrize(
    ("step", "absent"),
    [
        ("import", {"numpy", "pydantic", "yaml"}),
        ("names", {"numpy", "pydantic", "yaml"}),
        ("--help", {"numpy", "scipy", "pydantic", "yaml", "rasterio"}),
        ("manifest", {"scipy", "rasterio", "requests", "pooch"}),
        ("pretrain --help", {"scipy", "rasterio"}),
        ("fetching", {"scipy", "rasterio"}),
        ("open_dataset", {"rasterio"}),
        ("speckle", {"rasterio"}),
        ("products", {"torch", "sklearn", "matplotlib"}),
    ],
)
def test_reading_loads_no_more_than_it_needs(reading, step, absent):
    """What a step does not load, those before it did not load either."""
    assert absent.isdisjoint(reading["loaded"][step])


def test_training_loads_no_rasterio(training):
    loaded = training["loaded"]["training"]
    assert "torch" in loaded and {"rasterio", "sklearn"}.isdisjoint(loaded)


def test_the_directory_lists_the_public_names_and_nothing_else(reading):
    assert reading["names"] == dir(alos2tut) == sorted(names_in(PACKAGE / "__init__.pyi"))


def test_waiting_threads_leave_the_cores_to_others_unless_told_otherwise(reading, training):
    assert (reading["spin"], training["spin"]) == ("3000", "7")


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: str(path.parent.relative_to(PACKAGE)))
def test_every_name_of_a_stub_is_there(stub):
    package = importlib.import_module(".".join(["alos2tut", *stub.parent.relative_to(PACKAGE).parts]))
    names = names_in(stub)
    assert names and sorted(package.__all__) == sorted(names)
    assert [name for name in names if not hasattr(package, name)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/library.md", "docs/maps.md", "docs/published_weights.md"])
def test_examples_import_what_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        imports = [node for node in ast.parse(block).body if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), page, "exec"), {})


def test_editors_follow_an_editable_installation():
    """It is a folder on the path, not a hook that only an interpreter follows."""
    # what setuptools leaves for an editable installation: not from metadata, which a checkout has beside it, too
    links = [*Path(sysconfig.get_path("purelib")).glob("__editable__*alos2tut*")]
    if not links:
        pytest.skip("alos2tut is installed as a copy")
    [link] = links
    assert link.suffix == ".pth"
    assert (Path(link.read_text(encoding="utf-8").strip()) / "alos2tut" / "__init__.pyi").is_file()


def test_an_editor_finds_the_function_behind_a_lazy_name(tmp_path):
    jedi = pytest.importorskip("jedi")
    script = jedi.Script(
        "import alos2tut\nalos2tut.open_product",
        path=tmp_path / "elsewhere.py",
        project=jedi.Project(tmp_path),
        environment=jedi.InterpreterEnvironment(),
    )
    [found] = script.goto(2, 12, follow_imports=True)
    assert found.type == "function" and found.module_name == "alos2tut.products.opening"
