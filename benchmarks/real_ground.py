"""What a network from a random start, and the floor beside it, reach on real labelled L-band.

Two AIRSAR scenes, all labels, folds by blocks of ground: ``alos2tut fetch airsar_sanfrancisco`` and ``alos2tut fetch
airsar_flevoland`` bring them. Each fold's test ground is scored by what was trained, and standardised, on the others;
the counts of all folds together make the score. Intervals over blocks of ground cover neither other trainings nor other
scenes; those over seeds are of whole trainings on the same ground. Nothing was chosen on test ground:
the recipe of the networks was chosen by validation on fold 0 of San Francisco, among those of :data:`TRIED`.

``python benchmarks/real_ground.py --data data --out work/real_ground`` does what is missing of all runs, writes one
JSON file for each, and prints the table; ``--choose`` shows what the choice of the recipe was made on. A training takes
about 75 seconds of one core, a forest 105.

mIoU of one seed on all folds together, with its 95 % interval over blocks of ground; the networks' means over three
seeds (San Francisco) or two are 0.404, 0.100 and 0.220:

====================  ======================  ======================  ===================
scene                 network                 forest                  most frequent class
====================  ======================  ======================  ===================
San Francisco, HV     0.401 [0.357, 0.446]    0.498 [0.458, 0.539]    0.091
Flevoland, HH         0.100 [0.065, 0.151]    0.239 [0.196, 0.288]    0.009
Flevoland, HH+HV+VV   0.207 [0.145, 0.285]    0.488 [0.417, 0.559]    0.009
====================  ======================  ======================  ===================

The forest is above the network everywhere: 300 steps from a random start, chosen on San Francisco, are few for 13
crops.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product as product_of
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alos2tut import build_dataset, evaluate, finetune, load_config, open_dataset, open_product
from alos2tut.core.artifacts import read_json, write_json
from alos2tut.core.errors import Alos2TutWarning
from alos2tut.core.tables import Interval, table
from alos2tut.evaluation.forest import baseline
from alos2tut.metrics import COVERS, block_counts, block_scores, t_interval

FOLDS, SEEDS = 4, (0, 1, 2)
NETWORK, FOREST, FREQUENT = METHODS = ("network", "forest", "most frequent class")
#: pixels of a patch, of a block of ground, and between test ground and all other
GROUND: dict[str, Any] = {"patch_px": 64, "looks": 1, "block_px": 128, "buffer_px": 16, "min_labelled_fraction": 0.1}
#: patches to train on overlap, since between blocks of two patches few others are left; a pixel without HV is missing
#: in all channels, which is to cost no patch, so that the sets of channels are scored on the same ground
GROUND |= {"stride_px": 16, "min_valid_fraction": 0.5, "val_fraction": 0.2}
TRAINING: dict[str, Any] = {"batch_size": 8, "validate_every": 100}
#: recipes, of which the first is used
TRIED: dict[str, dict[str, Any]] = {
    "cross-entropy, refined decoder, 300 steps": {
        "loss": "cross_entropy", "class_weighting": "tempered", "decoder": "refined", "steps": 300},
    "cross-entropy, refined decoder, 600 steps": {
        "loss": "cross_entropy", "class_weighting": "tempered", "decoder": "refined", "steps": 600},
    "published loss and decoder, 600 steps": {"steps": 600},
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One scene as one set of channels, and what its files do not say."""

    product: str
    labels: str
    legend: str
    given: dict[str, Any]

    def opened(self, data: Path) -> Any:
        """The product."""
        return open_product(data / self.product, **self.given)

    def dataset(self, data: Path, out: Path, fold: int) -> Path:
        """The dataset of one fold, built or found."""
        place = {"products": [str(data / self.product)], "labels": [str(data / self.labels)], "work_dir": str(out)}
        config = load_config("dataset", **place, **GROUND, **self.given, legend=self.legend, folds=FOLDS, fold=fold)
        return build_dataset(config)


_FLEVOLAND = "airsar_flevoland/T3", "airsar_flevoland/Flevoland_gt.mat", "airsar_flevoland_13"
_AIRSAR = {"quantity": "relative", "sensor": "AIRSAR"}
SCENES = {
    "San Francisco HV": Scene(
        "airsar_sanfrancisco/HV.tif",
        "airsar_sanfrancisco/SF-AIRSAR-label2d.png",
        "airsar_sanfrancisco",
        _AIRSAR | {"scale": "db", "polarization": "HV"},
    ),
    "Flevoland HH": Scene(*_FLEVOLAND, _AIRSAR | {"polarization": "HH"}),
    "Flevoland HH+HV+VV": Scene(*_FLEVOLAND, _AIRSAR | {"polarization": "HH,HV,VV"}),
}


def network_scores(folder: Path, out: Path, seed: int, recipe: dict[str, Any]) -> dict[str, Any]:
    """A network from a random start, trained and scored once on the test list."""
    trained = finetune(load_config("finetune", dataset=str(folder), seed=seed, work_dir=str(out), **TRAINING, **recipe))
    # their pixel size is not known, and so matches only if that is said; it is the same image
    place = {"dataset": str(folder), "segmenter": str(trained), "work_dir": str(out)}
    config = load_config("evaluate", **place, allow_other_signal=True, floor=False)
    scores = read_json(evaluate(config) / "report.json")["models"]["segmenter"]
    return {"by_block": scores["by_block"], "best_step": read_json(trained / "run.json")["best_step"]}


def forest_scores(folder: Path, product: Any, seed: int) -> dict[str, Any]:
    """The floor on the same patches."""
    found = baseline(folder, [product], seed=seed)
    settings = {"min_leaf": found.min_leaf, "weighting": found.weighting}
    return {"by_block": block_counts(found.matrices).tolist(), **settings}


def most_frequent_scores(folder: Path) -> dict[str, Any]:
    """What naming the class that is most frequent in the training list has."""
    dataset = open_dataset(folder)
    pixels = list(dataset.content["splits"]["train"]["class_pixels"].values())
    split, named = dataset.split("test"), int(np.argmax(pixels))
    counts = []
    for block in sorted({record["Block"] for record in split.table}):
        rows = [row for row, record in zip(split.rows, split.table, strict=True) if record["Block"] == block]
        reference = np.bincount(split.labels[rows].ravel(), minlength=256)[: len(pixels)]
        here = np.arange(len(pixels)) == named
        counts.append([(reference * here).tolist(), reference.tolist(), (here * reference.sum()).tolist()])
    return {"by_block": counts}


def run(data: Path, out: Path, seeds: Sequence[int], methods: Sequence[str]) -> Iterator[str]:
    """What is missing, seed by seed, so that every scene has its first numbers early; yields what was done."""
    (out / "runs").mkdir(parents=True, exist_ok=True)
    for seed, name, fold in product_of(seeds, SCENES, range(FOLDS)):
        for method in methods:
            path = out / "runs" / f"{name} {method} fold {fold} seed {seed}.json".replace(" ", "_")
            # which class is most frequent no seed changes
            if not path.exists() and (method != FREQUENT or seed == SEEDS[0]):
                folder = SCENES[name].dataset(data, out, fold)
                began = time.process_time()
                found = scores(method, SCENES[name], data, folder, out, seed)
                lists = {split: len(table) for split, table in open_dataset(folder).tables.items()}
                facts = {"scene": name, "method": method, "fold": fold, "seed": seed, "patches": lists}
                write_json(path, facts | found | {"cpu_s": round(time.process_time() - began, 1)})
                yield path.stem


def scores(method: str, scene: Scene, data: Path, folder: Path, out: Path, seed: int) -> dict[str, Any]:
    """Counts by block of ground of one of :data:`METHODS` on a dataset's test list."""
    if method == FREQUENT:
        return most_frequent_scores(folder)
    if method == FOREST:
        return forest_scores(folder, scene.opened(data), seed)
    return network_scores(folder, out, seed, next(iter(TRIED.values())))


def pooled(runs: list[dict[str, Any]]) -> NDArray[np.int64]:
    """The counts of all folds of one seed, by block."""
    return np.concatenate([np.array(run["by_block"], dtype=np.int64) for run in runs])


def results(out: Path) -> str:
    """The table of all that is there; folds that are missing are told."""
    runs = [read_json(path) for path in sorted((out / "runs").glob("*.json"))]
    rows = []
    for name in SCENES:
        for method in METHODS:
            mine = [run for run in runs if (run["scene"], run["method"]) == (name, method)]
            seeds = [s for s in SEEDS if sum(run["seed"] == s for run in mine) == FOLDS]
            if not seeds:
                rows.append([name, method, f"{len(mine)} runs", "", "", "", ""])
                continue
            scored = [block_scores(pooled([run for run in mine if run["seed"] == seed])) for seed in seeds]
            values = [score["miou"].value for score in scored]
            first = scored[0]["miou"]
            accuracy = float(np.mean([score["pixel_accuracy"].value for score in scored]))
            rows.append(
                [
                    name,
                    method,
                    str(len(seeds)),
                    f"{np.mean(values):.3f}",
                    Interval.of(first.value, first.interval, COVERS).to_text(),
                    " to ".join(f"{end:.3f}" for end in t_interval(values) or ()),
                    f"{accuracy:.3f}",
                ]
            )
    header = ["scene", "method", "seeds", "mIoU", "of the first seed, over blocks", "over seeds", "accuracy"]
    return table(rows, header)


def choose(data: Path, out: Path) -> str:
    """mIoU on validation ground of fold 0 of San Francisco by recipe and step."""
    folder, lines = SCENES["San Francisco HV"].dataset(data, out, 0), []
    for name, recipe in TRIED.items():
        trained = finetune(load_config("finetune", dataset=str(folder), work_dir=str(out), **TRAINING, **recipe))
        with open(trained / "metrics.csv", newline="") as file:
            scored = [(line["step"], float(line["val_miou"])) for line in csv.DictReader(file) if line["val_miou"]]
        lines.append([name, ", ".join(f"{miou:.3f} at {step}" for step, miou in scored)])
    return table(lines, ["recipe", "mIoU on validation"])


def main() -> None:
    """Do what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the fetched scenes")
    parser.add_argument("--out", type=Path, default=Path("work/real_ground"), help="datasets, trainings and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--choose", action="store_true", help="show validation of the recipes that were tried")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", Alos2TutWarning)
    if options.choose:
        print(choose(options.data, options.out))
        return
    for done in run(options.data, options.out, options.seeds, options.methods):
        print(done, flush=True)
    print(results(options.out))


if __name__ == "__main__":
    main()
