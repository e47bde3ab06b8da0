"""What lies at a path, for ``alos2tut info``: a product, or what a stage left behind.

Nothing here imports torch; what reads a kind of file is imported where one lies there.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .core.artifacts import read_json, read_yaml
from .core.errors import Alos2TutError, system_errors_named
from .core.tables import Interval, facts
from .networks.bundle import BUNDLED, HUB_FILE, read_bundle

#: what a stage leaves in its folder, and what that makes the folder
_REPORTS = {
    "run.json": "a training",
    "report.json": "an evaluation",
    "comparison.json": "a comparison",
    "floor.json": "a floor",
    "patches.json": "patches, a file each",
    "agreement.json": "a comparison of a map with labels",
    "failed.json": "a training that failed",
    "stopped.json": "a training that was stopped",
}
#: characters of an entry that is shown, and not only named
_SHORT = 160
#: characters of a table's first line
_LONGEST_LINE = 10_000
#: how a stage's folder in a folder of results is called: see :func:`alos2tut.core.artifacts.stage_dir`
_STAGE_FOLDER = re.compile(r"([a-z_]+)-[0-9a-f]{12}")
_KINDS = "a product, dataset, training, evaluation, comparison, floor, map, weights, checkpoint, legend or settings"


def describe(path: str | Path, given: Callable[[], dict[str, Any]] = dict) -> tuple[dict[str, Any], str]:
    """All that is known of a product or of a result; and the same as people read it.

    Args:
        path: its file or folder; the word ``bundled`` stands for the weights that come with the package.
        given: called for a product: what is said of it, by the names of :func:`alos2tut.open_product`.

    Returns:
        Of what is no product or dataset ``is`` says what it is; of a product that does not open ``damage`` says why.

    Raises:
        Alos2TutError: it is none of these, or damaged.
    """
    if str(path) == BUNDLED:
        content = {"is": "the weights that come with the package", **read_bundle()}
        return content, facts(_shortened(content))
    path = Path(path)
    if (path / "dataset.json").is_file() or path.name == "dataset.json":
        from .dataset.store import open_dataset

        dataset = open_dataset(path if path.is_dir() else path.parent)
        return dataset.content, dataset.describe()
    for known in (_report, _weights, _checkpoint, _settings, _rows, _map):
        if found := known(path):
            content = {"is": found[0], **found[1]}
            try:
                return content, facts(_shortened(content))
            except (TypeError, KeyError, ValueError, AttributeError) as error:
                problem = f"is no whole report ({type(error).__name__}: {error})"
                raise Alos2TutError(problem, where=path, remedy="Make it anew.") from None
    content = _product(path, given())
    return content, facts(content)


def _product(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What is known of a product; of one that does not open ``damage`` says why."""
    from .products.opening import open_product

    try:
        return open_product(path, **given).to_dict()
    except Alos2TutError as error:
        if error.problem.startswith("is no ALOS-2 product"):
            if found := _work(path):
                return {"is": found[0], **found[1]}
            problem = f"is nothing that is known here ({_KINDS}); {error.problem.removeprefix('is ')}"
            raise Alos2TutError(problem, where=path, remedy=error.remedy) from None
        if content := _damaged(path, given, error):
            return content
        raise


def _damaged(path: Path, given: dict[str, Any], error: Alos2TutError) -> dict[str, Any] | None:
    """What the files of a product that does not open say all the same; None where they are not to blame."""
    from .products.verify.report import verify_product

    try:
        report = verify_product(path, **given)
    except Alos2TutError:
        return None
    if all(check.verdict != "unreadable" for check in report.checks):
        return None
    said = {
        ("! " if check.verdict == "differs" else "") + check.name: ", or ".join(dict.fromkeys(check.values.values()))
        for check in report.checks
        if check.values and check.name != "open_product"
    }
    return {"is": f"a product that does not open ({report.kind})", "damage": str(error), **said}


def _shortened(content: Mapping[str, Any]) -> dict[str, Any]:
    """Entries that fit on a line; a report's headlines and scores in words."""
    short = {name: value for name, value in content.items() if len(json.dumps(value, default=str)) <= _SHORT}
    if classes := [one["name"] for one in content.get("classes") or [] if isinstance(one, dict)]:
        short["classes"] = ", ".join(classes)
    short.pop("headlines", None)
    for number, headline in enumerate(content.get("headlines") or [], 1):
        short[f"! {number}"] = headline["text"]
    if isinstance(models := content.get("models"), dict):
        short |= {
            f"mIoU of {role}": Interval.of(scores["miou"], scores["intervals"].get("miou")).to_text()
            for role, scores in models.items()
        }
    return short


_Found = tuple[str, dict[str, Any]] | None


def _report(path: Path) -> _Found:
    """A stage's folder, or the JSON file in it."""
    file = next((path / name for name in _REPORTS if (path / name).is_file()), path)
    name = "agreement.json" if file.name.endswith("_agreement.json") else file.name
    if name in _REPORTS and file.is_file():
        content = read_json(file)
        if not isinstance(content, dict):
            raise Alos2TutError(f"is no report of {_REPORTS[name]}", where=file)
        kind = {"pretrain": "a pretraining", "finetune": "a fine-tuning"}.get(str(content.get("stage")))
        return kind or _REPORTS[name], content
    if path.is_dir() and path.name.endswith(".partial"):
        return "unfinished work, with which the same command goes on", {"holds": sorted(p.name for p in path.iterdir())}
    if path.is_dir() and (steps := sorted((path / "checkpoints").glob("step-*.ckpt"))):
        return "a training that has not come to its end", {"checkpoints": [step.name for step in steps]}
    return None


def _weights(path: Path) -> _Found:
    """A file of weights, or a hub's folder of them."""
    path = path / HUB_FILE if (path / HUB_FILE).is_file() else path
    if path.suffix != ".safetensors":
        return None
    from .networks.header import read_header

    return "weights", read_header(path)


def _checkpoint(path: Path) -> _Found:
    """A file of ``torch.save``, which is not opened: only its training reads it."""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            is_torch = any(name.endswith("/data.pkl") for name in archive.namelist()[:100])
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return None
    is_ours = path.name.startswith("step-") and path.suffix == ".ckpt"
    kind = (
        "a training's checkpoint to resume from" if is_ours else "a PyTorch checkpoint, for `alos2tut convert-weights`"
    )
    return (kind, {"bytes": path.stat().st_size}) if is_torch else None


def _settings(path: Path) -> _Found:
    """A YAML file: a legend, or settings of a stage."""
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return None
    from .configs import STAGES, load_config
    from .dataset.legend import load_legend

    content = read_yaml(path)
    if isinstance(content, dict) and "classes" in content:
        return "a legend", load_legend(path).to_dict()

    def reads(stage: str) -> bool:
        try:
            load_config(stage, file=path)
        except Alos2TutError:
            return False
        return True

    stages = [stage for stage in STAGES if reads(stage)] if content and isinstance(content, dict) else []
    return (f"settings of {' or '.join(stages)}", {"settings": content}) if stages else None


def _rows(path: Path) -> _Found:
    """A table of a stage, by its first line: a list of patches, or what a training recorded."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return None
    with system_errors_named(path, "cannot be read"), open(path, encoding="utf-8-sig", errors="replace") as file:
        columns = file.readline(_LONGEST_LINE).rstrip("\n").split(",")
        kinds = {"FileName": "a list of patches, a row each", "step": "what a training recorded, a row for each step"}
        if not (kind := next((kinds[column] for column in columns if column in kinds), None)):
            return None
        rows, last = 0, "\n"
        for piece in iter(lambda: file.read(2**20), ""):
            rows, last = rows + piece.count("\n"), piece
    return kind, {"rows": rows + (not last.endswith("\n")), "columns": ", ".join(columns)}


def _work(path: Path) -> _Found:
    """A folder of results, by the names of the stages' folders in it."""
    found: dict[str, list[str]] = {}
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        if (named := _STAGE_FOLDER.fullmatch(entry.name)) and entry.is_dir():
            found.setdefault(named[1], []).append(entry.name)
    return ("a folder of results", found) if found else None


def _map(path: Path) -> _Found:
    """A map by the tags that it bears; or a folder with one."""
    if path.suffix.lower() not in (".tif", ".tiff") and not path.is_dir():
        return None
    files = sorted(path.glob("*.tif")) if path.is_dir() else [path]
    if not files:
        return None
    from .mapping.files import MapFile

    for file in files:
        try:
            found = MapFile.open(file)
        except Alos2TutError:
            continue
        if found.names and "alos2tut" in found.tags.get("SOFTWARE", ""):
            crs, size = found.grid.crs, f"{found.shape[0]} × {found.shape[1]}"
            place = {"pixels": size, "crs": crs and crs.to_string()}
            return "a map", {"file": file.name, "content": found.description, **place, **found.tags}
    return None
