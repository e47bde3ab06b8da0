"""Whether a dataset is what was built: every file's bytes, and every count that can be taken anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .artifacts import read_json, sha256_file
from .balance import class_weights
from .checks import Check, compared, unreadable
from .dataset import SPLITS, PatchDataset, Statistics, open_dataset, step_sums
from .errors import Alos2TutError
from .legend import IGNORE
from .progress import progress_bar
from .verification import Report

#: patches that are looked at together
_CHUNK = 256


def verify_dataset(path: str | Path, *, progress: bool | None = None) -> Report:
    """Check all hashes and counts of a dataset.

    Args:
        path: the dataset's folder.
        progress: show bars; None: only where someone watches.

    Returns:
        A report, in which what was cut, edited or lost "differs" or is "unreadable".

    Raises:
        Alos2TutError: no ``dataset.json`` there, or one that is no JSON.
    """
    path = Path(path)
    content = read_json(path / "dataset.json")
    stated = content.get("files") if isinstance(content, dict) else None
    if not isinstance(stated, dict):
        raise Alos2TutError("lists no files", where=path / "dataset.json", remedy="Build the dataset anew.")
    checks = [
        _file_check(path, name, stated[name]) for name in progress_bar(sorted(stated), "hashing", "file", show=progress)
    ]
    try:
        checks += _content_checks(open_dataset(path), progress)
    except Alos2TutError as error:
        checks.append(unreadable("content", "open_dataset", error))
    return Report(path.resolve().name, "packed dataset", tuple(checks))


def _file_check(folder: Path, name: str, stated: Any) -> Check:
    """Size and hash of a file against what ``dataset.json`` says."""
    try:
        file = folder / Path(name).name
        found = {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
    except OSError as error:
        return unreadable("files", name, Alos2TutError(f"cannot be read ({error.strerror})"))
    told = stated if isinstance(stated, dict) else {}
    values = {"dataset.json": told, "file": found}
    texts = {
        source: f"{value.get('bytes')} bytes, {str(value.get('sha256'))[:12]}…" for source, value in values.items()
    }
    return Check("files", name, "agrees" if found == told else "differs", texts)


def _content_checks(dataset: PatchDataset, progress: bool | None) -> Iterator[Check]:
    content, names = dataset.content, dataset.legend.names
    for name in SPLITS:
        split, subject = dataset.split(name), f"list '{name}'"
        stated = content.get("splits", {}).get(name, {})
        yield compared(subject, "patches", {"dataset.json": stated.get("patches"), "list": len(split)})
        yield compared(
            subject, "rows of the store, once each", {"list": len(split), "rows": len(np.unique(split.rows))}
        )
        counts, sums = np.zeros(256, np.int64), np.zeros(3, dtype=object)
        chunks = range(0, len(split), _CHUNK)
        for first in progress_bar(chunks, f"counting {name}", "chunk", show=progress):
            steps, labels = split.gather(np.arange(first, min(first + _CHUNK, len(split))))
            counts += np.bincount(labels.ravel(), minlength=256)
            sums += step_sums(steps)
        beyond = int(counts[len(names) : IGNORE].sum())
        yield compared(subject, "pixels of no class of the legend", {"expected": 0, "store": beyond})
        pixels = stated.get("class_pixels", {})
        for index, land_class in enumerate(names):
            values = {"dataset.json": pixels.get(land_class), "store": int(counts[index])}
            yield compared(subject, f"pixels of {land_class}", values)
        if name == "pretrain":
            found = Statistics.from_sums([tuple(sums)], where=dataset.path)
            for field in ("mean_db", "std_db"):
                values = {"dataset.json": getattr(dataset.statistics, field)[0], "store": getattr(found, field)[0]}
                yield compared("statistics", field, values, within=1e-4, unit="dB")
        if name == "train":
            values = {"dataset.json": dataset.class_weights, "store": class_weights(counts[: len(names)])}
            yield compared("statistics", "class weights", values, within=1e-6)
