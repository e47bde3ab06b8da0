"""Packaging: pins, the two commands, and what a clone of the repository carries."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import alos2tut
from alos2tut.configs import profile_names

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ["01_read_and_inspect", "02_build_dataset", "03_pretrain", "04_finetune", "05_evaluate_and_map"]
# torch asks for these itself, on Linux only
LEFT_TO_TORCH = re.compile(r"nvidia-|cuda-|triton")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(text) for group in [PROJECT["dependencies"], *EXTRAS.values()] for text in group]
#: packages that `make site` and `make test-browser` install beside the others
LATER = {Requirement(text).name for extra in ("docs", "browser") for text in EXTRAS[extra]}
#: what is written for readers
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    *(f"notebooks/{name}.ipynb" for name in NOTEBOOKS),
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def markdown(page: str) -> str:
    """A page's text; of a notebook that of its Markdown cells."""
    if not page.endswith(".ipynb"):
        return read(page)
    cells = json.loads(read(page))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def pins() -> list[Requirement]:
    lines = (line.strip() for line in read("constraints.txt").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned_versions() -> dict[str, str]:
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins()}


# --- pins


def test_pins_are_exact_and_named_once():
    names = [canonicalize_name(pin.name) for pin in pins()]
    assert sorted(names) == sorted(set(names))
    for pin in pins():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), f"{pin}: not an exact public version"
    assert not [name for name in names if LEFT_TO_TORCH.match(name)]


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda r: r.name)
def test_direct_dependency_has_a_pin_that_satisfies_it(requirement):
    version = pinned_versions().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in constraints.txt"
    assert requirement.specifier.contains(version), f"constraints.txt has {version}, pyproject.toml asks {requirement}"


def test_everything_installed_with_the_package_is_pinned():
    pinned, seen = pinned_versions(), set()
    installed = {canonicalize_name(one.name) for one in metadata.distributions()}
    there = [r for r in DIRECT if r.name not in LATER or canonicalize_name(r.name) in installed]
    waiting = [(r.name, frozenset(r.extras)) for r in there]
    while waiting:
        name, extras = waiting.pop()
        name = canonicalize_name(name)
        if (name, extras) in seen or LEFT_TO_TORCH.match(name):
            continue
        seen.add((name, extras))
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting.append((needed.name, frozenset(needed.extras)))
    assert sorted({name for name, _ in seen} - pinned.keys()) == []


# --- conda


def test_conda_environment_is_the_same_environment():
    environment = yaml.safe_load(read("environment.yml"))
    *conda, pip = environment["dependencies"]
    python = next(SpecifierSet(entry.removeprefix("python")) for entry in conda if entry.startswith("python"))
    wanted = SpecifierSet(PROJECT["requires-python"])
    versions = [f"3.{minor}" for minor in range(8, 30)]
    assert "pip" in conda
    assert list(python.filter(versions)), "no Python is left"
    assert set(python.filter(versions)) <= set(wanted.filter(versions))
    assert next(iter(python.filter(versions))) == next(iter(wanted.filter(versions)))
    assert "-c constraints.txt" in pip["pip"]
    editable = [entry for entry in pip["pip"] if entry.startswith("-e ")]
    assert len(pip["pip"]) == 2 and len(editable) == 1
    assert editable[0].removeprefix("-e ") in read("Makefile"), "make installs something else"
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", editable[0])
    assert extras and set(extras[1].split(",")) == EXTRAS.keys() - {"docs", "browser"}


# --- make: a stand-in for Python records what would be installed

FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit "${FAKE_TOO_OLD:-0}" ;;
    "-m venv --clear .venv") rm -rf .venv && mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo venv >> log ;;
    "-m pip --version") ;;
    "-m pip install "*) printf 'install' >> log; printf ' <%s>' "$@" >> log; echo >> log; exit "${FAKE_PIP:-0}" ;;
    *) echo "run $*" >> log ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path / "a clone, with spaces"
    folder.mkdir()
    for name in ["Makefile", "pyproject.toml", "constraints.txt"]:
        shutil.copy(ROOT / name, folder)
    fake = tmp_path / "fake python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)

    def make(*args: str, folder: Path = folder, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        command = ["make", "--no-print-directory", "-C", str(folder), f"PYTHON={fake}", *args]
        return subprocess.run(command, env=clean | env, cwd=tmp_path, capture_output=True, text=True)

    make.folder = folder
    return make


def log(folder: Path) -> list[str]:
    path = folder / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_make_lists_its_targets(clone):
    listed = clone().stdout
    for target in ["tutorial", "test", "lab", "lint", "soak", "bench", "site", "pages", "clean"]:
        assert f"make {target} " in listed
    assert log(clone.folder) == []


def test_make_installs_once_and_again_when_the_requirements_changed(clone):
    assert clone("test", "PIP_ARGS=--extra one").returncode == 0
    first = log(clone.folder)
    assert [line.split()[0] for line in first] == ["venv", "install", "run"]
    assert "<--extra> <one> <-c> <constraints.txt> <-e> <.[train,notebooks,xarray,nisar,dev]>" in first[1]
    assert clone("test").returncode == 0
    assert log(clone.folder) == ["run -m pytest -n auto --dist loadfile --no-loadscope-reorder"]
    stamp = clone.folder / ".venv" / ".installed"
    os.utime(stamp, (1, 1))
    assert clone("tutorial").returncode == 0
    assert [line.split()[0] for line in log(clone.folder)] == ["install", "run"]


def test_an_interrupted_install_is_taken_up_again(clone):
    assert clone("venv", FAKE_PIP="1").returncode != 0
    assert not (clone.folder / ".venv" / ".installed").exists()
    log(clone.folder)
    assert clone("venv").returncode == 0
    assert [line.split()[0] for line in log(clone.folder)] == ["install"]
    os.utime(clone.folder / ".venv" / ".installed", (1, 1))
    assert clone("venv", FAKE_PIP="1").returncode != 0
    assert not (clone.folder / ".venv" / ".installed").exists()


def test_a_moved_clone_gets_a_new_environment(clone):
    clone("venv")
    moved = clone.folder.rename(clone.folder.with_name("moved"))
    log(moved)
    assert clone("venv", folder=moved).returncode == 0
    assert [line.split()[0] for line in log(moved)] == ["venv", "install"]


def test_an_old_python_is_named(clone):
    result = clone("venv", FAKE_TOO_OLD="1")
    assert result.returncode != 0
    assert "3.11" in result.stderr and "fake python" in result.stderr
    assert log(clone.folder) == []


def test_make_clean_keeps_the_environment(clone):
    clone("venv")
    for name in ["work", "notebooks/work", "alos2tut/__pycache__", ".venv/lib/__pycache__"]:
        (clone.folder / name).mkdir(parents=True)
    assert clone("clean").returncode == 0
    assert not any((clone.folder / n).exists() for n in ["work", "notebooks/work", "alos2tut/__pycache__"])
    assert (clone.folder / ".venv/lib/__pycache__").exists()


# --- the repository


def repository_texts() -> dict[str, str]:
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = {}
    for name in sorted(set(filter(None, names))):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in content:
            texts[name] = content.decode("utf-8")
    return texts


def test_no_registry_is_written_anywhere():
    # joined here, so that this file does not hold them
    hosts = [("pypi", "org"), ("pypi", "python", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org")]
    hosts += [("conda", "anaconda", "org"), ("repo", "anaconda", "com"), ("conda", "io")]
    patterns = [r"\.".join(host) for host in hosts]
    patterns += [r"https?://\S*/" + "simple" + r"\b", r"https?://\S*\." + "whl", r"index-url[ =]+https?:"]
    registry = re.compile("|".join(patterns), re.IGNORECASE)
    found = {name: match[0] for name, text in repository_texts().items() if (match := registry.search(text))}
    assert found == {}


def test_readme_tells_how_to_set_up():
    readme = read("README.md")
    for text in ["make tutorial", "make test", "PIP_INDEX_URL", "PIP_ARGS", "constraints.txt", "environment.yml"]:
        assert text in readme
    for name in NOTEBOOKS:
        assert name in readme
    for profile in profile_names():
        assert f"`{profile}`" in readme


def test_readme_is_one_screen():
    assert len(read("README.md").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", markdown(page))
    # the API is written when the site is built
    links = [link for link in links if not link.startswith("api/")]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_of_a_page_has_a_text_alternative(page):
    assert [link for alt, link in re.findall(r"!\[([^\]]*)\]\(([^)]+)", markdown(page)) if not alt.strip()] == []


def texts_of_the_code() -> str:
    """Every text in the package, a line each, with … for what is filled in; and the Makefile, which has some, too."""
    texts = []
    for path in (ROOT / "alos2tut").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "".join(
                        getattr(part, "value", "") if isinstance(part, ast.Constant) else "…" for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join([*texts, read("Makefile")])


def test_troubleshooting_quotes_messages_as_the_code_has_them():
    quoted, texts = re.findall(r"\*\*`(.+?)`\.?\*\*", read("docs/troubleshooting.md")), texts_of_the_code()
    assert len(quoted) > 25
    assert [
        text for text in quoted if not re.search(".*".join(map(re.escape, text.strip("…").split("…"))), texts)
    ] == []


def test_pages_fetch_what_the_manifest_has():
    text = "\n".join(map(read, PAGES))
    named = set(re.findall(r"^alos2tut fetch (?:--list )?(\w+)", text, re.M))
    known = {entry["name"] for entry in yaml.safe_load(read("data_manifest.yaml"))["datasets"]}
    assert named and named <= known


@pytest.mark.parametrize(
    "name", [".pre-commit-config.yaml", *(p.relative_to(ROOT) for p in ROOT.glob(".github/*/*.yml"))]
)
def test_what_a_host_of_repositories_reads_is_yaml(name):
    assert isinstance(yaml.safe_load(read(str(name))), dict)


def test_issue_templates_ask_for_the_report_of_verify():
    templates = list(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))
    assert templates and all("alos2tut verify" in path.read_text(encoding="utf-8") for path in templates)


def test_the_notebooks_are_the_five():
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_committed_without_outputs(name):
    notebook = json.loads(read(f"notebooks/{name}.ipynb"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None, (
            f"run {name} elsewhere: it holds outputs"
        )


def test_citation_names_the_software_and_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "references"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (alos2tut.__version__, PROJECT["license"])
    (paper,) = citation["references"]
    assert {"type", "title", "authors", "year", "url"} <= paper.keys()
    assert paper["url"] == PROJECT["urls"]["Paper"]


def test_no_symbolic_link_stays_in_the_tree():
    """A checkout on Windows turns one into a line of text."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-s"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []


# --- the installed package

#: stands in for weights, which a checkout need not have
BUNDLED = "alos2tut/bundled/stand-in.safetensors"


def built(source: Path, out: Path, kind: str) -> Path:
    """What pip or ``build`` would build of a source tree: a ``wheel`` or an ``sdist``."""
    out.mkdir()
    code = f"from setuptools.build_meta import build_{kind}; build_{kind}({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files in a wheel, built of an sdist of a tree in which an older build left a module."""
    folder = tmp_path_factory.mktemp("a wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "alos2tut", source / "alos2tut", ignore=ignored)
    for name in ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "data_manifest.yaml"]:
        shutil.copy(ROOT / name, source)
    (source / BUNDLED).parent.mkdir(exist_ok=True)
    (source / BUNDLED).write_bytes(b"weights")
    with tarfile.open(built(source, folder / "sdist", "sdist")) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [unpacked] = (folder / "unpacked").iterdir()
    left = unpacked / "build" / "lib" / "alos2tut" / "of_an_older_version.py"
    left.parent.mkdir(parents=True)
    left.touch()
    with zipfile.ZipFile(built(unpacked, folder / "wheel", "wheel")) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_a_wheel_carries_the_package_as_it_is_and_the_data_manifest(wheel):
    kinds = (".py", ".pyi", ".yaml", ".json", ".typed", ".safetensors")
    files = [path for path in (ROOT / "alos2tut").rglob("*") if path.suffix in kinds]
    expected = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files}
    assert {"py.typed", "__init__.pyi", "profiles.yaml"} <= {Path(name).name for name in expected}
    expected[BUNDLED] = b"weights"
    expected["alos2tut/downloads/data_manifest.yaml"] = (ROOT / "data_manifest.yaml").read_bytes()
    carried = {name: content for name, content in wheel.items() if not re.match(r"alos2tut-[^/]+\.dist-info/", name)}
    assert carried == expected


def test_a_wheel_bears_the_version_that_the_package_states(wheel):
    assert f"alos2tut-{alos2tut.__version__}.dist-info/METADATA" in wheel


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_finds_all_that_it_imports(path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(path), run_name="imported")
