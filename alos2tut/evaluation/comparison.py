"""What pretraining is worth: the same fine-tuning from several starts, over label budgets and seeds.

Everything but the encoder's first weights is equal within a seed: patches, batches, flips, the decoder's first weights.
So starts are compared pair by pair, seed by seed; a seed changes all of these at once.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..core.artifacts import make_folder, read_json, stage_dir, write_json
from ..core.errors import Alos2TutError
from ..core.parallel import as_completed, cores, process_pool
from ..core.progress import progress_bar
from ..core.public import public
from ..core.tables import Interval, coverage, table
from ..core.version import __version__
from ..dataset.store import open_dataset
from ..headlines import of_runs, warn_of_lists
from ..metrics import COVERS, LEVEL, BlockScore, mean_of_known, t_interval, too_few
from ..networks.weights import load_encoder
from ..segmentation.budgets import budgeted_patches
from ..segmentation.config import FinetuneConfig
from ..segmentation.stage import finetune, list_headlines
from ..training.run import Run
from .config import CompareConfig, EvaluateConfig
from .forest import baseline
from .ground import MEANS, scores_by_block
from .report import evaluate, floor_note

COMPARISON_SCHEMA = "alos2tut-comparison-3"

#: what intervals over seeds cover, as :data:`alos2tut.core.tables.SOURCES` has it, where patches are drawn for a budget
#: and where all are taken; those over blocks of ground cover what a report's do
DRAWN, ALL_TAKEN = ("seeds", "training draws"), ("seeds",)


@public
def compare(
    finetuning: FinetuneConfig, config: CompareConfig, products: Sequence[Any] = (), executor: Executor | None = None
) -> Path:
    """Fine-tune from each start, with each budget and seed, and score each result once on the ``test`` list.

    Runs that are there are reused, so a comparison may grow, and one that was stopped goes on. On a CPU each run
    computes on one thread, whoever does it: their number changes the last bits of a result and stands in no key, and
    so the number of workers changes nothing. (A run that :func:`alos2tut.finetune` made before, on as many threads as
    it had, is reused.)

    Args:
        finetuning: its ``init``, ``budget`` and ``seed`` are replaced; results go to its ``work_dir``.
        config: starts, budgets and seeds.
        products: those that the dataset was built of, open: the floor's windows then reach beyond the patch.
        executor: who trains, grows floors and scores, in processes; None: ``config.workers`` processes of our own, or
            this one, if it is one of several that train together.

    Returns:
        The folder ``<work_dir>/compare-<hash>`` with ``comparison.json``: for each start and budget the ``runs``
        (scores by seed), ``mean``, ``difference`` to the first start, seed by seed, ``iou_difference``, alike by class,
        and ``same_as``: how many labels the first start would need for the same mean mIoU (null where its curve does
        not reach there). Means and differences have two 95 % intervals: ``interval`` over seeds (Student's t; null for
        one seed), which covers what ``covers`` says; and ``ground`` over the blocks of the test list, on which all are
        scored (null with fewer than three), which covers other ground and no other training. ``headlines`` are those of
        all runs (:mod:`alos2tut.headlines`); those of the lists are also warned of, once. ``floor`` has, by
        budget, what the random forest of :func:`alos2tut.evaluation.baseline` reaches on the same patches, seed by
        seed, and each entry of a start ``above_floor``, its difference to that.

    Raises:
        Alos2TutError: a budget twice, or of more patches than there are; threads to train on; what
            :func:`alos2tut.finetune` and :func:`alos2tut.evaluate` refuse, with the run; a process that ends before its
            work does. What is done by then stays, and the same call goes on.
    """
    if isinstance(executor, ThreadPoolExecutor):
        problem = "threads share their process's random numbers, so that no training would repeat"
        raise Alos2TutError(problem, where="executor", remedy="Give one of processes, or set workers.")
    dataset, seeds = open_dataset(finetuning.dataset), range(config.seed, config.seed + config.seeds)
    patches = len(dataset.split("train"))
    budgets = [patches if budget == "all" else budget for budget in config.budgets]
    if len(set(budgets)) < len(budgets):
        raise Alos2TutError(f"a budget is given twice: {budgets}", where="compare")
    if max(budgets) > patches:
        raise Alos2TutError(f"a budget of {max(budgets)} patches, of which there are {patches}", where="compare")
    if file := next(filter(None, config.starts.values()), None):
        finetuning = dataclasses.replace(finetuning, encoder=load_encoder(file).config)
    names, settings = list(config.starts), list[tuple[str, FinetuneConfig]]()
    for seed, budget, (name, path) in itertools.product(seeds, config.budgets, config.starts.items()):
        own: dict[str, Any] = {"init": path, "budget": None if budget == "all" else budget, "seed": seed}
        settings.append((name, dataclasses.replace(finetuning, **own)))
    # once for all runs, and before the first one
    of_lists = [[h for h in list_headlines(one, dataset) if h["code"] != "uncommon"] for _, one in settings]
    warn_of_lists(of_runs(of_lists))
    runs = _runs(settings, config, products, executor)
    headlines = of_runs([[*known, *run["headlines"]] for known, run in zip(of_lists, runs, strict=True)])
    content = {
        "schema": COMPARISON_SCHEMA,
        "package": f"alos2tut {__version__}",
        "first": names[0],
        "seeds": list(seeds),
        "patches": patches,
        "classes": dataset.legend.names,
        "simulated": dataset.simulated,
        "headlines": headlines,
        "blocks": runs[0]["intervals"]["blocks"],
        "in_one_block": runs[0]["intervals"]["in_one_block"],
        "refused": runs[0]["intervals"]["refused"],
        "starts": compared(runs, names, budgets, patches),
        "floor": [
            {"budget": budget, **_summary(floors)}
            for budget in budgets
            if (floors := [run["floor"] for run in runs if (run["start"], run["budget"]) == (names[0], budget)])[0]
        ],
    }
    reports = {f"{run['start']}-{run['budget']}-{run['seed']}": run["report"] for run in runs}
    target = stage_dir(finetuning.work_dir, "compare", {"inits": names}, reports)
    make_folder(target)
    write_json(target / "comparison.json", content)
    return target


def fitting_budgets(config: CompareConfig, dataset: str | Path) -> CompareConfig:
    """A profile's comparison without the budgets for which a dataset has too few patches."""
    patches = len(open_dataset(dataset).split("train"))
    fitting = [budget for budget in config.budgets if budget == "all" or budget < patches]
    return dataclasses.replace(config, budgets=tuple(fitting or ["all"]))


class _Task(NamedTuple):
    """A part of a comparison that waits for no other one, by a name for people."""

    name: str
    work: Callable[[], Any]


def _runs(
    settings: Sequence[tuple[str, FinetuneConfig]],
    comparing: CompareConfig,
    products: Sequence[Any],
    executor: Executor | None,
) -> list[dict[str, Any]]:
    """All fine-tunings with their scores, as :func:`_scored` gives them: first what waits for nothing, then scores."""
    budgets = [f"{'all' if one.budget is None else one.budget} labels, seed {one.seed}" for _, one in settings]
    named = [f"{name}, {budget}" for (name, _), budget in zip(settings, budgets, strict=True)]
    folders = [Run.of("finetune", one).folder for _, one in settings]
    # two names may mean the same run, which two processes may not make at once
    configs = {folder: (name, one) for folder, name, (_, one) in zip(folders, named, settings, strict=True)}
    parts = [_Task(name, partial(finetune, one, quiet=True)) for name, one in configs.values()]
    floors = {budget: one for budget, (_, one) in zip(budgets, settings, strict=True) if comparing.floor}
    parts += [_Task(f"floor, {budget}", partial(_floor, one, products)) for budget, one in floors.items()]
    missing = sum(not (folder / "run.json").is_file() for folder in configs)
    with process_pool(min(missing, _workers(settings[0][1], comparing)) if executor is None else 1) as pool:
        _done(parts, executor or pool, "comparing")
        scoring = [
            _Task(name, partial(_scored, one, folder, comparing, products)) for folder, (name, one) in configs.items()
        ]
        scored = dict(zip(configs, _done(scoring, executor or pool, "scoring"), strict=True))
    return [scored[folder] | {"start": start} for folder, (start, _) in zip(folders, settings, strict=True)]


def _workers(config: FinetuneConfig, comparing: CompareConfig) -> int:
    """Processes to start: one where several train together, and for one GPU."""
    if config.devices > 1:
        return 1
    on_gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    return comparing.workers or (1 if on_gpu else cores())


def _done(tasks: Sequence[_Task], executor: Executor | None, label: str) -> list[Any]:
    """What tasks come to, in their order."""
    found = dict[str, Any]()
    work = as_completed(executor, _on_one_thread, tasks)
    try:
        for task, result in progress_bar(work, label, "run", total=len(tasks)):
            found[task.name] = result
    except BrokenExecutor as error:
        left = "; ".join(task.name for task in tasks if task.name not in found)
        problem = f"a process ended before its work did, or could not start; not done: {left}"
        remedy = "What is done stays done: compare again to go on, with fewer workers if memory is short."
        raise Alos2TutError(problem, where="executor", remedy=remedy) from error
    return [found[task.name] for task in tasks]


def _on_one_thread(task: _Task) -> Any:
    """A task's result, which is the same wherever it is done; an error says whose it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return task.work()
    except Alos2TutError as error:
        problem = error.problem if error.where is None else f"{error.where}: {error.problem}"
        raise Alos2TutError(problem, where=task.name, remedy=error.remedy) from error
    finally:
        torch.set_num_threads(threads)


def _floor(config: FinetuneConfig, products: Sequence[Any]) -> None:
    """Grow the floor of a run's patches, which its report then finds."""
    chosen = budgeted_patches(config, open_dataset(config.dataset))
    baseline(config.dataset, products, chosen=chosen, seed=config.seed, work_dir=config.work_dir, progress=False)


def _scored(config: FinetuneConfig, stage: Path, comparing: CompareConfig, products: Sequence[Any]) -> dict[str, Any]:
    """A fine-tuning's scores on the test list."""
    made = read_json(stage / "run.json")
    settings = EvaluateConfig(
        dataset=config.dataset,
        segmenter=str(stage),
        work_dir=config.work_dir,
        batch_size=comparing.score_batch_size,
        floor=comparing.floor,
        allow_other_signal=config.allow_other_signal,
    )
    path = evaluate(settings, products) / "report.json"
    report = read_json(path)
    scores, floor = report["models"]["segmenter"], report["models"].get("floor")
    return {
        "headlines": report.get("headlines", []),
        "budget": made["patches"],
        "seed": config.seed,
        "report": path.parent.name,
        "intervals": scores["intervals"],
        **_scores(scores, report["classes"]),
        "floor": floor and {"seed": config.seed, "grown": floor["grown"], **_scores(floor, report["classes"])},
    }


def _scores(scores: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Of one of a report's models what runs are compared by."""
    return {
        **{score: scores[score] for score in MEANS},
        "on_ground": scores_by_block(scores, len(classes)),
        # in the legend's order, which is that of the blocks' counts; a file's keys are sorted
        "iou": {land_class: scores["per_class"][land_class]["iou"] for land_class in classes},
    }


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs, their mean, and its intervals over seeds and over ground."""
    own = _on_ground(runs)
    return {
        "runs": [{key: run[key] for key in ("seed", *MEANS, "iou", "report", "grown") if key in run} for run in runs],
        "mean": {score: mean_of_known(run[score] for run in runs) for score in MEANS},
        "interval": {score: t_interval([run[score] for run in runs]) for score in MEANS},
        "ground": {score: own[score].interval for score in MEANS},
    }


def compared(
    runs: Sequence[Mapping[str, Any]], names: Sequence[str], budgets: Sequence[int], patches: int
) -> list[dict[str, Any]]:
    """Runs, as :func:`_scored` gives them, as one entry for each start (the one to compare with first) and budget.

    Of the ``patches`` there are, a budget may take all; then seeds draw none.
    """
    by_place = {
        place: [run for run in runs if (run["start"], run["budget"]) == place]
        for place in itertools.product(names, budgets)
    }
    curve = [(budget, mean_of_known(run["miou"] for run in by_place[names[0], budget])) for budget in sorted(budgets)]
    entries = []
    for (name, budget), mine in by_place.items():
        first = {run["seed"]: run for run in by_place[names[0], budget]}
        pairs = [(run, first[run["seed"]]) for run in mine]
        summary = _summary(mine)
        of_classes = {
            land_class: [(a["iou"][land_class], b["iou"][land_class]) for a, b in pairs]
            for land_class in mine[0]["iou"]
        }
        own, its = _on_ground(mine), _on_ground([first[run["seed"]] for run in mine])
        floors = [run["floor"] for run in mine if run.get("floor")]
        above = _differences(zip(mine, floors, strict=True), own, _on_ground(floors)) if floors else None
        entries.append(
            {
                "start": name,
                "budget": budget,
                "covers": DRAWN if budget < patches else ALL_TAKEN,
                **summary,
                "difference": _differences(pairs, own, its),
                "above_floor": above,
                "iou_difference": {
                    land_class: _difference(of, own["per_class"][index], its["per_class"][index])
                    for index, (land_class, of) in enumerate(of_classes.items())
                },
                "same_as": labels_for(score, curve) if (score := summary["mean"]["miou"]) is not None else None,
            }
        )
    return entries


def labels_for(score: float, curve: Sequence[tuple[int, float | None]]) -> float | None:
    """How many labels reach a score along a curve of (labels, score), straight in the logarithm of the labels.

    None where the curve does not reach the score, or is above it from the beginning.
    """
    known = [(budget, value) for budget, value in curve if value is not None]
    for (few, low), (many, high) in itertools.pairwise(known):
        if low <= score <= high:
            part = (score - low) / (high - low) if high > low else 0.0
            return float(few * (many / few) ** part)
    return None


def _on_ground(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over runs of their scores on blocks of ground, which are the same."""
    scores = [run["on_ground"] for run in runs]
    classes = zip(*(score["per_class"] for score in scores), strict=True)
    means = {name: BlockScore.mean([score[name] for score in scores]) for name in MEANS}
    return means | {"per_class": [BlockScore.mean(of_class) for of_class in classes]}


def _differences(
    pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], own: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, Any]:
    """Of all means the differences of runs to others, pair by pair."""
    both = list(pairs)
    return {score: _difference([(a[score], b[score]) for a, b in both], own[score], other[score]) for score in MEANS}


def _difference(
    pairs: Sequence[tuple[float | None, float | None]], own: BlockScore, first: BlockScore
) -> dict[str, Any]:
    """The mean difference with its intervals over seeds and over ground."""
    differences = [one - other for one, other in pairs if one is not None and other is not None]
    ground = own.minus(first)["interval"]
    return {"mean": mean_of_known(differences), "interval": t_interval(differences, least=-1), "ground": ground}


@public
def comparison_table(content: Mapping[str, Any]) -> str:
    """A comparison's mIoU as lines of text: mean, differences to first start and floor, labels worth."""
    rows, first, floor = [], content["first"], content.get("floor", [])
    header = ["start", "labels", "mIoU", f"minus {first}", "the same, over ground", "worth"]
    header += ["minus floor", "the same, over ground"] if floor else []
    for entry in content["starts"]:
        mean = Interval.of(entry["mean"]["miou"], entry["interval"]["miou"], entry["covers"])
        row = [entry["start"], entry["budget"], mean.to_text()]
        if entry["start"] != first:
            worth = entry["same_as"]
            row += [*_gain_texts(entry, "difference"), "" if worth is None else f"{worth:.0f} labels"]
        row = [*row, "", "", ""][:6]
        rows.append(row + (_gain_texts(entry, "above_floor") if floor else []))
    for entry in floor:
        mean = Interval.of(entry["mean"]["miou"], entry["interval"]["miou"])
        rows.append(["floor", entry["budget"], mean.to_text(), *[""] * (len(header) - 3)])
    return "\n".join(
        [
            *(f"! {headline['text']}" for headline in content.get("headlines", [])),
            table(rows, header, "<><"),
            *interval_notes(content),
            *([floor_note(floor[0]["runs"][0])] if floor else []),
        ]
    )


def _gain_texts(entry: Mapping[str, Any], name: str) -> list[str]:
    """A difference of mIoU with its interval over seeds, and with that over ground."""
    gain = entry[name]["miou"]
    pairs = ("interval", entry["covers"]), ("ground", COVERS)
    return [Interval.of(gain["mean"], gain[over], covers).to_text(signed=True) for over, covers in pairs]


def interval_notes(content: Mapping[str, Any], shown: tuple[str, str] = ("", "")) -> list[str]:
    """What the 95 % intervals of a comparison cover, over seeds and over ground, and how they are ``shown``."""
    seeds, blocks = len(content["seeds"]), content["blocks"]
    over_seeds, few = "one seed: no intervals over seeds", content.get("refused", too_few(blocks))
    if seeds > 1:
        over_seeds = f"{shown[0]}{100 * LEVEL:.0f} % intervals over {seeds} seeds; they {coverage(DRAWN)}"
        over_seeds += " (where all patches are taken: seeds alone)"
    if few:
        return [over_seeds, f"no intervals over ground: {few}"]
    over_ground = f"{shown[1]}{100 * LEVEL:.0f} % intervals over {blocks} blocks of ground; they {coverage(COVERS)}"
    alone = ", ".join(content["in_one_block"])
    return [over_seeds, over_ground, *([f"in a single block, so without one over ground: {alone}"] if alone else [])]


@public
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
