"""What pretraining is worth: the same fine-tuning from several starts, over label budgets and seeds.

Everything but the encoder's first weights is equal within a seed: patches, batches, flips, the decoder's first weights.
So starts are compared pair by pair, seed by seed; a seed changes all of these at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifacts import make_folder, read_json, stage_dir, write_json
from ..core.errors import Alos2TutError
from ..core.version import __version__
from ..dataset.store import open_dataset
from ..metrics import t_interval
from ..networks.weights import load_encoder
from ..segmentation.config import FinetuneConfig
from ..segmentation.stage import finetune
from .config import EvaluateConfig
from .report import evaluate

COMPARISON_SCHEMA = "alos2tut-comparison-1"

#: what is compared of each report
SCORES = ("miou", "macc", "pixel_accuracy")


def compare(
    config: FinetuneConfig,
    inits: Mapping[str, str | Path | None],
    *,
    budgets: Sequence[int | None] = (None,),
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 32,
) -> Path:
    """Fine-tune from each start, with each budget and seed, and score each result once on the ``test`` list.

    Runs that are there are reused, so a comparison may grow, and one that was stopped goes on.

    Args:
        config: the fine-tuning; its ``init``, ``budget`` and ``seed`` are replaced.
        inits: encoder files or pretraining folders by name; None: random weights, of the architecture of the first
            file. The first name is what the others are compared with.
        budgets: numbers of labelled patches; None: all there are.
        seeds: of all that is random; two at least give intervals.
        batch_size: patches per forward pass when scoring.

    Returns:
        The folder ``<work_dir>/compare-<hash>`` with ``comparison.json``: for each start and budget the ``runs``
        (scores by seed), ``mean`` and 95 % ``interval`` over seeds (Student's t; null for one seed), ``difference`` to
        the first start, seed by seed, with its interval, and ``same_as``: how many labels the first start would need
        for the same mean mIoU (null where its curve does not reach there).

    Raises:
        Alos2TutError: nothing to compare, or what :func:`alos2tut.finetune` and :func:`alos2tut.evaluate` refuse.
    """
    if not inits or not budgets or not seeds:
        raise Alos2TutError("needs at least one start, one budget and one seed", where="compare")
    patches = len(open_dataset(config.dataset).split("train"))
    asked = [patches if budget is None else budget for budget in budgets]
    if len(set(seeds)) < len(seeds) or len(set(asked)) < len(asked):
        raise Alos2TutError(f"a seed or budget is given twice: {list(seeds)}, {asked}", where="compare")
    if max(asked) > patches:
        raise Alos2TutError(f"a budget of {max(asked)} patches, of which there are {patches}", where="compare")
    files = [path for path in inits.values() if path is not None]
    if files:
        config = dataclasses.replace(config, encoder=load_encoder(files[0]).config)
    starts = {name: None if path is None else str(path) for name, path in inits.items()}
    runs = [
        _run(dataclasses.replace(config, init=path, budget=budget, seed=seed), name, batch_size)
        for seed in seeds
        for budget in budgets
        for name, path in starts.items()
    ]
    content = {
        "schema": COMPARISON_SCHEMA,
        "package": f"alos2tut {__version__}",
        "first": next(iter(inits)),
        "seeds": list(seeds),
        "patches": patches,
        "classes": open_dataset(config.dataset).legend.names,
        "simulated": open_dataset(config.dataset).simulated,
        "starts": compared(runs, list(inits), asked),
    }
    reports = {f"{run['start']}-{run['budget']}-{run['seed']}": run["report"] for run in runs}
    target = stage_dir(config.work_dir, "compare", {"inits": list(inits)}, reports)
    make_folder(target)
    write_json(target / "comparison.json", content)
    return target


def _run(config: FinetuneConfig, name: str, batch_size: int) -> dict[str, Any]:
    """One fine-tuning and its scores on the test list."""
    stage = finetune(config)
    made = read_json(stage / "run.json")
    settings = EvaluateConfig(
        dataset=config.dataset,
        segmenter=str(stage),
        work_dir=config.work_dir,
        batch_size=batch_size,
        allow_other_signal=config.allow_other_signal,
    )
    path = evaluate(settings) / "report.json"
    scores = read_json(path)["models"]["segmenter"]
    return {
        "start": name,
        "budget": made["patches"],
        "seed": config.seed,
        "report": path.parent.name,
        **{score: scores[score] for score in SCORES},
        "iou": {land_class: values["iou"] for land_class, values in scores["per_class"].items()},
    }


def compared(runs: Sequence[Mapping[str, Any]], names: Sequence[str], budgets: Sequence[int]) -> list[dict[str, Any]]:
    """Runs as one entry for each start and budget: see :func:`compare`.

    Args:
        runs: with ``start``, ``budget``, ``seed``, the scores and ``iou`` by class.
        names: of the starts, the one to compare with first.
        budgets: numbers of patches.
    """
    by_place = {
        (name, budget): [run for run in runs if (run["start"], run["budget"]) == (name, budget)]
        for name in names
        for budget in budgets
    }
    curve = [(budget, _mean([run["miou"] for run in by_place[names[0], budget]])) for budget in sorted(budgets)]
    entries = []
    for (name, budget), mine in by_place.items():
        first = {run["seed"]: run for run in by_place[names[0], budget]}
        mean = _mean([run["miou"] for run in mine])
        differences = {
            score: _difference([(run[score], first[run["seed"]][score]) for run in mine]) for score in SCORES
        }
        by_class = {land_class: _class_difference(mine, first, land_class) for land_class in mine[0]["iou"]}
        entries.append(
            {
                "start": name,
                "budget": budget,
                "runs": [{key: run[key] for key in ("seed", *SCORES, "iou", "report")} for run in mine],
                "mean": {score: _mean([run[score] for run in mine]) for score in SCORES},
                "interval": {score: t_interval([run[score] for run in mine]) for score in SCORES},
                "difference": differences,
                "iou_difference": by_class,
                "same_as": None if mean is None else labels_for(mean, curve),
            }
        )
    return entries


def labels_for(score: float, curve: Sequence[tuple[int, float | None]]) -> float | None:
    """How many labels reach a score: along a curve of (labels, score), straight in the logarithm of the labels.

    Returns:
        The number; null where the curve does not reach the score, or is above it from the beginning.
    """
    known = [(budget, value) for budget, value in curve if value is not None]
    for (few, low), (many, high) in pairwise(known):
        if low <= score <= high:
            part = (score - low) / (high - low) if high > low else 0.0
            return float(few * (many / few) ** part)
    return None


def _class_difference(
    mine: Sequence[Mapping[str, Any]], first: Mapping[int, Mapping[str, Any]], land_class: str
) -> dict[str, Any]:
    return _difference([(run["iou"][land_class], first[run["seed"]]["iou"][land_class]) for run in mine])


def _difference(pairs: Sequence[tuple[float | None, float | None]]) -> dict[str, Any]:
    differences = [one - other for one, other in pairs if one is not None and other is not None]
    return {"mean": _mean(differences), "interval": t_interval(differences)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean_of(known) if known else None


def _mean_of(values: Sequence[float]) -> float:
    return float(np.mean(values))


def comparison_table(content: Mapping[str, Any]) -> str:
    """A comparison's mIoU as lines of text: mean and interval, difference to the first start, and labels worth."""
    score, seeds = "miou", len(content["seeds"])
    lines = [
        f"{'start':<22}{'labels':>7}{'mIoU':>8}  {'95 % interval':<17}{'difference':>11}  {'95 % interval':<18}worth"
    ]
    for entry in content["starts"]:
        start, budget, worth = entry["start"], entry["budget"], entry["same_as"]
        line = f"{start:<22}{budget:>7}{_told(entry['mean'][score]):>8}  {_range(entry['interval'][score], seeds):<17}"
        if start != content["first"]:
            gain = entry["difference"][score]
            line += f"{_told(gain['mean'], '+'):>11}  {_range(gain['interval'], seeds, '+'):<18}"
            line += "" if worth is None else f"{worth:.0f} labels"
        lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def _told(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.3f}"


def _range(bounds: Sequence[float] | None, seeds: int, sign: str = "") -> str:
    if bounds is None:
        return "one seed" if seeds == 1 else "–"
    return f"[{bounds[0]:{sign}.3f}, {bounds[1]:{sign}.3f}]"


def read_comparison(folder: str | Path) -> dict[str, Any]:
    """The content of ``comparison.json`` in a comparison's folder.

    Raises:
        Alos2TutError: there is none, or one of another schema.
    """
    path = Path(folder) / "comparison.json"
    content: dict[str, Any] = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != COMPARISON_SCHEMA:
        raise Alos2TutError(f"is not of the schema {COMPARISON_SCHEMA}", where=path, remedy="Compare anew.")
    return content
