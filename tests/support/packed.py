"""Small packed datasets written without rasterio, as a machine that only trains may lack it."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np


def write_packed_dataset(
    path: Path,
    *,
    patch_px: int = 32,
    n: int = 12,
    n_held_out: int = 4,
    seed: int = 0,
    classes: int = 3,
    **changes: Any,
) -> Path:
    """A small dataset in the packed form: bright, medium and dark ground with speckle, some missing pixels.

    ``changes`` are other fields of ``dataset.json``; of ``splits`` also in part. Each further one of ``polarizations``
    is 7 dB darker, with speckle of its own.
    """
    names = changes.get("polarizations", ["HH"])
    random = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for store, count in [("pretrain", n), ("val", n_held_out), ("test", n_held_out)]:
        coarse = random.integers(0, classes, (count, patch_px // 8, patch_px // 8))
        labels = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
        db = -4 - 6 * labels.astype(float) + 10 * np.log10(random.gamma(3, 1 / 3, labels.shape))
        further = [-7.0 * k + 10 * np.log10(np.random.default_rng([seed, k, count]).gamma(3, 1 / 3, labels.shape))
                   for k in range(1, len(names))]  # fmt: skip
        rows = np.stack([np.rint(of * 100).astype(np.int16) for of in (db, *(db + one for one in further))], axis=1)
        rows[:, :, :3, :5] = -32768
        labels[:, :3, :5] = 255
        np.save(path / f"{store}_db.npy", rows)
        np.save(path / f"{store}_labels.npy", labels)
    lists = [("pretrain", n, 0.0), ("train", n - 2, 0.0), ("val", n_held_out, 1.0), ("test", n_held_out, 2.0)]
    for name, count, south in lists:
        with open(path / f"{name}.csv", "w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["Year", "Row", "West", "South", "East", "North"])
            writer.writerows([[2022, row, row / 10, south, row / 10 + 0.1, south + 0.1] for row in range(count)])
    legend = {
        "name": "toy",
        "source": "made up",
        "classes": [{"name": f"class {c}", "color": [c, 0, 0], "codes": [c + 1]} for c in range(classes)],
        "ignored": [0],
    }
    legend = changes.get("legend", legend)
    classes_named = [land_class["name"] for land_class in legend["classes"]]
    counted = {}
    for name, count, _ in lists:
        labels = np.load(path / f"{'pretrain' if name == 'train' else name}_labels.npy")[:count]
        pixels = np.bincount(labels.ravel(), minlength=256)[: len(classes_named)]
        counted[name] = {"patches": count, "class_pixels": dict(zip(classes_named, map(int, pixels), strict=True))}
    given = changes.pop("splits", {})
    content = {
        "schema": "alos2tut-dataset-2",
        "legend": legend,
        "splits": {name: facts | given.get(name, {}) for name, facts in counted.items()},
        "statistics": {"mean_db": [-11.0 - 7 * k for k in range(len(names))], "std_db": [6.0] * len(names)},
        "patch_px": patch_px,
        "polarizations": ["HH"],
        "quantity": "sigma0",
        "spacing_m": [5.0, 5.0],
        "class_weights": [1 / classes] * classes,
        "settings": {"buffer_m": 1000.0},
        "files": file_facts(path),
        **changes,
    }
    (path / "dataset.json").write_text(json.dumps(content, sort_keys=True))
    return path


def file_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """Bytes and hash of each file, as ``dataset.json`` states them."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "dataset.json"}
    return {name: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for name, b in contents.items()}


def restate_files(path: Path) -> None:
    """State in ``dataset.json`` what has become of the other files."""
    content = json.loads((path / "dataset.json").read_text()) | {"files": file_facts(path)}
    (path / "dataset.json").write_text(json.dumps(content))


def write_blocks(path: Path, blocks: int = 3, **changes: Any) -> Path:
    """A packed dataset of odd lists, whose held-out patches lie in blocks of ground by turns."""
    write_packed_dataset(path, n_held_out=5, **changes)
    for name in ("val", "test"):
        lines = (path / f"{name}.csv").read_text().splitlines()
        named = [f"{line},{'Block' if i == 0 else f'{i % blocks}_7'}" for i, line in enumerate(lines)]
        (path / f"{name}.csv").write_text("\n".join(named) + "\n")
    restate_files(path)
    return path
