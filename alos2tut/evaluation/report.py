"""Scores on ground that training never saw."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ..core.artifacts import read_json, stage_dir, write_json
from ..core.cache import content_hash
from ..core.config import settings_for_key
from ..core.environment import process_number
from ..core.errors import Alos2TutError, Alos2TutWarning, warn
from ..core.parallel import alone_in
from ..core.public import public
from ..core.tables import SOURCES, Interval, table
from ..core.version import __version__
from ..dataset.store import PatchDataset, Split, open_dataset
from ..headlines import Headline, few_patches, of_lists, of_scores
from ..metrics import (
    BOUNDARY_PX,
    COVERS,
    LEVEL,
    block_counts,
    block_scores,
    boundary_counts,
    boundary_scores,
    water_classes,
    water_matrices,
    water_scores,
)
from ..networks.distributed import rank_and_world, wait_for_all
from ..networks.encoders import standardize
from ..networks.inference import confusion_counts, device_of, evaluating, load_on_best_device, scored_batches, summed
from ..networks.segmenter import Segmenter
from ..networks.weights import check_signal, weights_path
from ..segmentation.budgets import budgeted_patches
from ..segmentation.config import FinetuneConfig
from .calibration import BINS, fit_temperature, labelled_logits, reliability, reliability_counts
from .config import EvaluateConfig
from .forest import baseline
from .ground import MEANS, block_unit, ground_blocks, interval_notes, interval_unit, named_scores, scores_by_block

#: of ``report.json``; ``report_schema.json`` beside this module is what it must look like (JSON Schema 2020-12)
REPORT_SCHEMA = "alos2tut-report-4"


@public
def evaluate(config: EvaluateConfig, products: Sequence[Any] = ()) -> Path:
    """Score a segmenter, and a baseline beside it, on one split of a dataset.

    All scores come from counts of pixels. Processes that ``torchrun`` started share the patches and sum their counts,
    so the report is the same for any number of them (on a CPU, with the same number of threads). It holds, for each
    model:

    - its ``headlines`` (:mod:`alos2tut.headlines`): classes that are never predicted, a prediction that is nearly
      constant, scores that are not above those of the most frequent class, or of the floor;
    - the confusion matrix, mIoU, mAcc, pixel accuracy and the scores of every class; null where no pixel is labelled
      (:func:`alos2tut.metrics.scores_from_confusion`);
    - 95 % intervals over blocks of ground (:func:`alos2tut.metrics.block_intervals`), which cover neither another
      training nor other training patches; and, block by block, the pixels of each class that they come from;
    - how well boundaries lie, at a tolerance of 2 pixels (:func:`alos2tut.metrics.boundary_scores`);
    - water against the rest, where the legend has water (:func:`alos2tut.metrics.water_classes`);
    - the reliability curve and its error, as it is and with a temperature that is fitted on the list ``val``
      (:mod:`alos2tut.evaluation.calibration`). Where ``val`` itself is scored, the latter flatters.

    With a baseline, it holds the segmenter's score minus the baseline's, of mIoU, mAcc, accuracy and the IoU of every
    class, with intervals of their own: both are scored on the same blocks.

    Beside them stands the floor (:func:`alos2tut.evaluation.baseline`), a random forest that gets the patches that the
    segmenter was trained on, and the difference to it. Where the segmenter was trained on another dataset, the forest
    grows on the whole list ``train`` of this one, which ``same_patches`` says; there is no floor where that list, or
    ``val``, has no label.

    Args:
        config: dataset, segmenter, baseline, split; see :class:`alos2tut.evaluation.config.EvaluateConfig`.
        products: those that the dataset was built of, open: the floor's windows then reach beyond the patch.

    Returns:
        The folder ``<work_dir>/evaluate-<hash>`` with ``report.json``.

    Raises:
        Alos2TutError: before anything is scored, a missing file, or a segmenter of another legend, signal or patch size
            than the dataset's; a label that is no class; another process that scores the same.
    """
    dataset = open_dataset(config.dataset)
    named = {"segmenter": config.segmenter} | ({"baseline": config.baseline} if config.baseline else {})
    files = {role: weights_path(path, "segmenter") for role, path in named.items()}
    with _one_group():
        models = {role: fitting_segmenter(path, dataset, config.allow_other_signal) for role, path in files.items()}
        made_from = {"dataset": dataset.fingerprint} | {role: content_hash(path) for role, path in files.items()}
        if config.floor:
            prints = sorted(product.placed_fingerprint for product in products)
            made_from |= {f"product {number}": product for number, product in enumerate(prints)}
        target = stage_dir(config.work_dir, "evaluate", settings_for_key(config), made_from)
        is_first = rank_and_world()[0] == 0
        if _is_current(target / "report.json"):
            if is_first:
                print(f"reusing {target}")
            return target
        with alone_in(target):
            report = _described(config, dataset) | {"made_from": made_from}
            # what is said of the list, then of the models
            report["headlines"] = [headline | {"model": None} for headline in _list_headlines(dataset, config.split)]
            report["models"] = {role: _scored(segmenter, dataset, config) for role, segmenter in models.items()}
            if is_first:
                _compare(report, models, dataset, config, products)
                write_json(target / "report.json", report)
            wait_for_all()
    return target


def _compare(
    report: dict[str, Any],
    models: Mapping[str, Segmenter],
    dataset: PatchDataset,
    config: EvaluateConfig,
    products: Sequence[Any],
) -> None:
    """Add to a report the floor, the differences to it and between models, and the headlines of each model."""
    scored, names = report["models"], dataset.legend.names
    report["difference"] = _difference(scored["segmenter"], scored["baseline"], names) if config.baseline else None
    drawn = {role: _drawn(segmenter, dataset) for role, segmenter in models.items()}
    floor = _floor(drawn["segmenter"], dataset, config, products) if config.floor else None
    # of another budget than the segmenter the floor of the baseline is another one
    alike = [role for role in models if floor and np.array_equal(drawn[role][0], drawn["segmenter"][0])]
    report["above_floor"] = {role: _difference(scored[role], floor, names) for role in alike if floor}
    for role, scores in scored.items():
        matrix, counts = (np.array(scores[key], dtype=np.int64) for key in ("confusion_matrix", "by_block"))
        its = np.array(floor["by_block"], dtype=np.int64) if floor and role in alike else None
        report["headlines"] += [headline | {"model": role} for headline in of_scores(matrix, names, counts, its)]
    if floor:
        scored["floor"] = floor


def _drawn(segmenter: Segmenter, dataset: PatchDataset) -> tuple[NDArray[np.int64], int | None]:
    """Positions in the list ``train`` that a segmenter was trained on, and with which seed; of another dataset all."""
    provenance = segmenter.header.get("provenance", {})
    if provenance.get("made_from", {}).get("dataset") != dataset.fingerprint:
        return np.arange(len(dataset.split("train"))), None
    said = provenance.get("settings", {})
    trained = FinetuneConfig(**{name: said[name] for name in ("budget", "budget_draw", "seed") if name in said})
    return budgeted_patches(trained, dataset), trained.seed


def _floor(
    drawn: tuple[NDArray[np.int64], int | None], dataset: PatchDataset, config: EvaluateConfig, products: Sequence[Any]
) -> dict[str, Any] | None:
    """What a report says of the floor on these patches; None where there is nothing to grow or choose it on."""
    if not all(any(dataset.content["splits"][name]["class_pixels"].values()) for name in ("train", "val")):
        return None
    chosen, seed = drawn
    own_seed = config.seed if seed is None else seed
    floor = baseline(
        dataset, products, split=config.split, chosen=chosen, seed=own_seed, work_dir=config.work_dir, progress=False
    )
    content, water = floor.to_dict(), water_classes(dataset.legend.names)
    facts = {name: content[name] for name in ("trees", "windows_px", "on_products", "min_leaf", "weighting", "seed")}
    return {
        **named_scores(floor.matrices, dataset.legend.names),
        "water": water_scores(floor.matrices.sum(axis=0), water) | _water_by_block(floor.matrices, water)
        if water
        else None,
        "grown": facts | {"patches": len(chosen), "same_patches": seed is not None},
    }


def floor_note(floor: Mapping[str, Any]) -> str:
    """What a report's floor is, as a line of text."""
    grown, sides = floor["grown"], floor["grown"]["windows_px"]
    whose = (
        "that the segmenter was trained on" if grown["same_patches"] else "of this dataset, not those of the segmenter"
    )
    reach = "computed on the products" if grown["on_products"] else "cut at the patch"
    return (
        f"floor: a random forest of {grown['trees']} trees on power in windows of {sides[0]} to {sides[-1]} px, "
        f"{reach}, grown on the patches {whose}"
    )


def _is_current(path: Path) -> bool:
    """Whether a report is there, and of this schema: others are made anew."""
    try:
        report = read_json(path) if path.is_file() else None
    except Alos2TutError:
        return False
    return isinstance(report, dict) and report.get("schema") == REPORT_SCHEMA


@public
def report_text(report: Mapping[str, Any]) -> str:
    """The means of a report, a line for each model and one for their difference, and what their intervals cover.

    Raises:
        Alos2TutError: a report of another schema.
    """
    if report.get("schema", REPORT_SCHEMA) != REPORT_SCHEMA:
        raise Alos2TutError(f"is not of the schema {REPORT_SCHEMA}", where="report", remedy="Evaluate anew.")
    models, difference = report["models"], report["difference"]
    rows = []
    for role in (role for role in ("segmenter", "baseline") if role in models):
        scores, intervals = models[role], models[role]["intervals"]
        means = [Interval.of(scores[name], intervals[name], COVERS).to_text() for name in MEANS]
        boundary, absent = Interval(scores["boundary_f1"]).to_text(), ", ".join(scores["absent"]) or "none"
        rows.append([role, scores["initialisation"], *means, boundary, absent])
    header = ["model", "initialisation", "mIoU", "mAcc", "pixel accuracy", "boundary F1", "absent classes"]
    if difference:
        gains = [
            Interval.of(gain["value"], gain["interval"], COVERS).to_text(signed=True)
            for gain in map(difference.__getitem__, MEANS)
        ]
        rows.append(["difference", "", *gains, "", ""])
    notes = interval_notes(models["segmenter"]["intervals"], unit=interval_unit(report))
    if floor := models.get("floor"):
        means = [Interval.of(floor[name], floor["intervals"][name], COVERS).to_text() for name in MEANS]
        rows.append(["floor", "", *means, "", ", ".join(floor["absent"]) or "none"])
        for role in (role for role in ("segmenter", "baseline") if role in report["above_floor"]):
            above = report["above_floor"][role]
            gains = [
                Interval.of(above[name]["value"], above[name]["interval"], COVERS).to_text(signed=True)
                for name in MEANS
            ]
            rows.append([f"{role} − floor", "", *gains, "", ""])
        notes.append(floor_note(floor))
    return "\n".join([*headline_lines(report), table(rows, header), *notes])


def headline_lines(report: Mapping[str, Any]) -> list[str]:
    """What a report says first (:mod:`alos2tut.headlines`), a line for each headline with its model."""

    def whose(role: str | None) -> str:
        start = report["models"].get(role, {}).get("initialisation")
        return f"{role} ({start} initialisation)" if start else role or report["split"]

    return [f"! {whose(headline.get('model'))}: {headline['text']}" for headline in report.get("headlines", [])]


@contextmanager
def _one_group() -> Iterator[None]:
    """The processes that ``torchrun`` started as one group, of which the first one warns; alone, nothing changes."""
    rank, world = rank_and_world()
    with warnings.catch_warnings():
        if rank > 0:
            warnings.simplefilter("ignore", Alos2TutWarning)
        if world == 1 or dist.is_initialized():
            yield
            return
        if torch.cuda.is_available():
            torch.cuda.set_device(process_number("LOCAL_RANK", rank) % torch.cuda.device_count())
        # counts are few: this way of summing them needs no GPU, nor one for each process
        dist.init_process_group("gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()


def _described(config: EvaluateConfig, dataset: PatchDataset) -> dict[str, Any]:
    """What a report says beside the scores; warns of classes that training never saw."""
    names, split = dataset.legend.names, dataset.split(config.split)
    trained, scored = (dataset.content["splits"][name]["class_pixels"] for name in ("train", split.name))
    unseen = [name for name in names if scored[name] and not trained[name]]
    if unseen:
        warn(f"{dataset.path}: the list 'train' has no pixel of {', '.join(unseen)}, which '{split.name}' has.")
    return {
        "schema": REPORT_SCHEMA,
        "version": __version__,
        "settings": settings_for_key(config),
        "split": split.name,
        "patches": len(split),
        "classes": names,
        "unseen": unseen,
        "water_classes": [names[index] for index in water_classes(names)],
        "simulated": dataset.simulated,
        "boundary_tolerance_px": BOUNDARY_PX,
        "intervals": {
            "unit": block_unit(dataset),
            "level": LEVEL,
            "covers": list(COVERS),
            "leaves_out": [source for source in SOURCES if source not in COVERS],
        },
    }


def _list_headlines(dataset: PatchDataset, name: str) -> list[Headline]:
    """Headlines of the classes that the scored list hardly has; those that it lacks stand in ``absent``."""
    split, pixels = dataset.split(name), dataset.content["splits"][name]["class_pixels"]
    return of_lists({}, {name: few_patches(split, dataset.legend.names, pixels, np.arange(len(split)))})


def _scored(segmenter: Segmenter, dataset: PatchDataset, config: EvaluateConfig) -> dict[str, Any]:
    """Everything a report says of one model."""
    val = dataset.split("val")
    temperature = fit_temperature(*labelled_logits(segmenter, val, config.batch_size, seed=config.seed))
    tried = [1.0] if temperature is None else [1.0, temperature.value]
    matrices, boundaries, confidences = _counted(segmenter, dataset.split(config.split), config.batch_size, tried)
    scores, edges = named_scores(matrices, dataset.legend.names), boundary_scores(boundaries)
    for of_class, boundary in zip(scores["per_class"].values(), edges["per_class"], strict=True):
        of_class["boundary"] = boundary
    water, curves = water_classes(dataset.legend.names), [reliability(counts) for counts in confidences]
    is_pretrained = "init" in segmenter.header.get("provenance", {}).get("made_from", {})
    return {
        **scores,
        "initialisation": "pretrained" if is_pretrained else "random",
        "boundary_f1": edges["f1"],
        "water": water_scores(matrices.sum(axis=0), water) | _water_by_block(matrices, water) if water else None,
        "calibration": {
            "temperature": None if temperature is None else {**asdict(temperature), "fitted_on": val.name},
            "as_it_is": curves[0],
            "with_temperature": None if temperature is None else curves[1],
        },
    }


def _water_by_block(matrices: NDArray[np.int64], water: Sequence[int]) -> dict[str, Any]:
    """The interval of water's IoU, and what it comes from."""
    counts = block_counts(water_matrices(matrices, water))
    return {"interval": block_scores(counts)["per_class"][0].interval, "by_block": counts.tolist()}


def _difference(first: Mapping[str, Any], second: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """One model's scores minus another's, each with its interval over the blocks that both are scored on."""
    one, other = (scores_by_block(scores, len(names)) for scores in (first, second))
    pairs = zip(names, one["per_class"], other["per_class"], strict=True)
    both = [scores["water"] for scores in (first, second) if scores["water"] is not None]
    water = [scores_by_block(scores, 2)["per_class"][0] for scores in both]
    return {
        **{name: one[name].minus(other[name]) for name in MEANS},
        "per_class": {name: mine.minus(its) for name, mine, its in pairs},
        "water": water[0].minus(water[1]) if water else None,
    }


def _counted(
    segmenter: Segmenter, split: Split, batch_size: int, temperatures: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of a whole list, and of all processes: confusion matrices by block, boundary pixels, pixels by confidence."""
    blocks, device = ground_blocks(split), device_of(segmenter)
    size = int(blocks.max(initial=0)) + 1, len(segmenter.legend)
    matrices = torch.zeros((size[0], size[1], size[1]), dtype=torch.int64, device=device)
    confidences = torch.zeros((len(temperatures), 3, BINS), dtype=torch.int64, device=device)
    boundaries = np.zeros((size[1], 4), dtype=np.int64)
    for positions, labels, logits in scored_batches(segmenter, split, batch_size):
        predicted = logits.argmax(dim=1)
        matrices += confusion_counts(labels, predicted, blocks[positions], size)
        confidences += torch.stack([reliability_counts(logits, labels, t) for t in temperatures])
        reference, guess = (classes.to(torch.uint8).cpu().numpy() for classes in (labels, predicted))
        boundaries += boundary_counts(reference, guess, size[1])
    return summed(matrices), summed(torch.from_numpy(boundaries).to(device)), summed(confidences)


def fitting_segmenter(path: Path, dataset: PatchDataset, allow_other_signal: bool) -> Segmenter:
    """A segmenter from its file, on a GPU if there is one, if it reads this dataset's patches and knows its classes."""
    segmenter = load_on_best_device(path)
    check_fit(segmenter, dataset, path, allow_other_signal)
    return segmenter


def check_fit(segmenter: Segmenter, dataset: PatchDataset, where: str | Path, allow_other_signal: bool) -> None:
    """Refuse a segmenter, from ``where``, that does not read this dataset's patches, or does not know its classes."""
    check_signal(segmenter.signal, dataset.signal, where, allow_other=allow_other_signal)
    known, legend = segmenter.legend, dataset.legend
    known.check_same(legend, where)
    if known.names != legend.names:
        warn(f"{where}: calls the classes {known.names}, the dataset {legend.names}; their codes are the same.")
    if segmenter.image_px != (dataset.patch_px, dataset.patch_px):
        raise Alos2TutError(f"reads {segmenter.image_px} px, the patches have {dataset.patch_px} px", where=where)


def predict_patches(segmenter: Segmenter, split: Split, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Class indices (n, H, W) that a segmenter, on whatever device it is, gives a few patches of a list."""
    return _logits(segmenter, split, indices).argmax(dim=1).cpu().numpy().astype(np.uint8)


def class_probabilities(segmenter: Segmenter, split: Split, indices: Sequence[int]) -> NDArray[np.float32]:
    """Class probabilities (n, classes, H, W), alike."""
    probabilities: NDArray[np.float32] = _logits(segmenter, split, indices).float().softmax(dim=1).cpu().numpy()
    return probabilities


@torch.inference_mode()
def _logits(segmenter: Segmenter, split: Split, indices: Sequence[int]) -> torch.Tensor:
    rows = torch.from_numpy(split.gather_rows(list(indices)))
    x, _ = standardize(rows.to(device_of(segmenter)), segmenter.statistics)
    with evaluating(segmenter):
        logits: torch.Tensor = segmenter(x)
    return logits
