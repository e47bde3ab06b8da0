"""Whether a dataset is what was built: every file's bytes, and every count that can be taken anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifacts import named_path, sha256_file
from ..core.errors import Alos2TutError
from ..core.progress import progress_bar
from ..core.public import public
from ..products.verify.checks import Check, compared, unreadable
from ..products.verify.report import Report
from .balance import class_weights
from .encoding import Statistics, step_sums
from .legend import IGNORE
from .store import SPLITS, PatchDataset, open_dataset, read_description, sealed

#: patches that are looked at together
_CHUNK = 256


@public
def verify_dataset(path: str | Path, *, progress: bool | None = None) -> Report:
    """Check all hashes and counts of a dataset.

    Args:
        path: the dataset's folder.
        progress: show bars; None: only where someone watches.

    Returns:
        A report, in which what was cut, edited or lost "differs" or is "unreadable".

    Raises:
        Alos2TutError: no ``dataset.json`` there, or one that lacks what must be compared: see
            :func:`alos2tut.dataset.store.read_description`.
    """
    path = named_path(path, "dataset")
    content = read_description(path)
    stated, seals = content["files"], {"dataset.json": content.get("seal"), "its content": sealed(content)["seal"]}
    checks = [compared("files", "seal of dataset.json", seals)] if seals["dataset.json"] else []
    checks += [
        _file_check(path, name, stated[name]) for name in progress_bar(sorted(stated), "hashing", "file", show=progress)
    ]
    try:
        checks += _content_checks(open_dataset(path), progress)
    except Alos2TutError as error:
        checks.append(unreadable("content", "open_dataset", error))
    # a name that the builder gave tells nothing of its user
    name = path.resolve().name
    return Report.of(name if re.fullmatch("dataset-[0-9a-f]{12}", name) else "dataset", "packed dataset", checks, path)


def _file_check(folder: Path, name: str, stated: dict[str, Any]) -> Check:
    """Size and hash of a file against what ``dataset.json`` says."""
    try:
        found = {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
    except OSError as error:
        return unreadable("files", name, Alos2TutError(f"cannot be read ({error.strerror})"))
    values = {"dataset.json": {key: stated[key] for key in found}, "file": found}
    texts = {source: f"{value['bytes']} bytes, {value['sha256'][:12]}…" for source, value in values.items()}
    return Check("files", name, "agrees" if found == values["dataset.json"] else "differs", texts)


def _content_checks(dataset: PatchDataset, progress: bool | None) -> Iterator[Check]:
    names = dataset.legend.names
    for name in SPLITS:
        # refuses stores whose channels, sizes or numbers of patches are not those that are stated
        split, subject = dataset.split(name), f"list '{name}'"
        stated = dataset.content["splits"][name]
        yield compared(subject, "patches", {"dataset.json": stated["patches"], "list": len(split)})
        yield compared(
            subject, "rows of the store, once each", {"list": len(split), "rows": len(np.unique(split.rows))}
        )
        counts, sums = np.zeros(256, np.int64), np.zeros((dataset.channels, 3), dtype=object)
        chunks = range(0, len(split), _CHUNK)
        for first in progress_bar(chunks, f"counting {name}", "chunk", show=progress):
            steps, labels = split.gather(np.arange(first, min(first + _CHUNK, len(split))))
            counts += np.bincount(labels.ravel(), minlength=256)
            sums += np.array([step_sums(channel) for channel in steps.swapaxes(0, 1)], dtype=object)
        beyond = int(counts[len(names) : IGNORE].sum())
        yield compared(subject, "pixels of no class of the legend", {"expected": 0, "store": beyond})
        for index, land_class in enumerate(names):
            values = {"dataset.json": stated["class_pixels"][land_class], "store": int(counts[index])}
            yield compared(subject, f"pixels of {land_class}", values)
        if name == "pretrain":
            found = Statistics.from_sums(sums.tolist(), where=dataset.path)
            for field in ("mean_db", "std_db"):
                both = {"dataset.json": getattr(dataset.statistics, field), "store": getattr(found, field)}
                yield compared("statistics", field, both, within=1e-4, unit="dB")
        if name == "train":
            weights = {"dataset.json": dataset.class_weights, "store": class_weights(counts[: len(names)])}
            yield compared("statistics", "class weights", weights, within=1e-6)
