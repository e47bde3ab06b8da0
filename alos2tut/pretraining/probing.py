"""How good a representation is, in under a minute: small classifiers on frozen features, beside two baselines.

Nothing is fine-tuned. Features are computed once; a linear classifier and the nearest neighbours then tell how much of
the land cover lies open in them. Random weights of the same architecture, and two hand-made numbers, show what needs
no learning: learned features are worth something where they beat both.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import avg_pool2d, layer_norm

from ..core.errors import Alos2TutError, quoted
from ..core.parallel import cores
from ..core.progress import progress_bar
from ..core.public import public
from ..core.tables import Interval, coverage, table
from ..dataset.balance import FEW_PATCHES
from ..dataset.encoding import NO_DATA
from ..dataset.legend import IGNORE
from ..dataset.store import PatchDataset, Split, open_dataset
from ..metrics import t_interval
from ..networks.bundle import HUB_FILE
from ..networks.encoders import Encoder, SwinEncoder, build_encoder, linear_power, standardize
from ..networks.inference import best_device, device_of
from ..networks.passes import pass_size, passes
from ..networks.weights import check_signal, load_encoder, settle_statistics, weights_path

#: the baselines' names
RANDOM, RAW = "random features", "raw statistics"

#: what is judged: the class of a place, by a probe
JUDGEMENTS = (("patch", "k-NN"), ("patch", "linear"), ("cell", "linear"))

#: A place counts if this share of it has both data and a label.
LEAST_SHARE = 0.5
#: Cells kept for each patch that a seed trains on, on average: they bound memory however fine the cells are.
CELLS_PER_PATCH = 16
#: Draws of training patches, at most.
_MOST_SEEDS = 10_000
#: Neighbours that vote, at most.
NEIGHBOURS = 20
#: C of the logistic regression times the number of features: between halves of simulated training lists, scores of all
#: methods were flat around it.
LINEAR_C = 10.0

Whole = NDArray[np.int64]
#: stored patches (B, C, H, W) int16 and sides of places in pixels → for each side (B, places of a patch, D) float32
Features = Callable[[Tensor, Sequence[int]], list[Tensor]]


# --- what is found ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Places of one size, each to be given its majority class."""

    name: str
    #: side of a place in pixels
    side_px: int
    #: its (rows, columns) in metres; None: not known
    size_m: tuple[float, float] | None
    #: places that seeds train on: the fewest and the most
    train: tuple[int, int]
    #: places of ``val`` that are scored on, by class; classes without one are not named
    val: dict[str, int]
    #: patches of ``val`` of the classes that are left out of the mean, for they have fewer than three
    few: dict[str, int]
    #: share of places left out, for too few labels or data, of the patches looked at: by list
    left_out: dict[str, float]
    #: why this cannot be judged; None where it is
    refused: str | None

    @property
    def size(self) -> str:
        """How large a place is: in metres, or in pixels where these are of no known size."""
        return f"{self.side_px} px" if self.size_m is None else f"{' × '.join(f'{side:g}' for side in self.size_m)} m"

    @property
    def chance(self) -> float | None:
        """The best balanced accuracy that guesses can expect which do not look: one over the classes of ``val``."""
        return 1 / len(self.val) if self.val else None

    def to_text(self) -> str:
        """What is asked, of how many places; or why it is not."""
        start = f"{self.name}: the majority class of {self.size}"
        start += "" if self.size_m is None else f" ({self.side_px} px)"
        if self.refused is not None:
            return "; ".join([f"{start} is not judged: {self.refused}", *([self.few_to_text()] if self.few else [])])
        trained = "–".join(map(str, sorted(set(self.train))))
        counts = ", ".join(f"{name} {count}" for name, count in self.val.items())
        shares = ", ".join(f"{share:.0%} of '{name}'" for name, share in self.left_out.items())
        lines = [
            f"{start}; trained on {trained}, scored on {sum(self.val.values())}:",
            f"  {counts};",
            f"  left out for few labels or data: {shares}",
            *([f"  {self.few_to_text()}"] if self.few else []),
        ]
        return "\n".join(lines)

    def few_to_text(self) -> str:
        """Which classes are left out of the mean, and why."""
        patches = ", ".join(f"{name} {count}" for name, count in self.few.items())
        return f"not in the mean, for fewer than {FEW_PATCHES} patches of 'val': {patches}"


@dataclass(frozen=True)
class Score:
    """Balanced accuracy of a method, by seed."""

    method: str
    task: str
    probe: str
    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.by_seed))

    @property
    def interval(self) -> Interval:
        """The mean with its 95 % interval by Student's t, which one seed has not."""
        return Interval.of(self.mean, t_interval(self.by_seed), self.covers)

    @property
    def covers(self) -> tuple[str, ...]:
        """What the interval covers, of :data:`alos2tut.core.tables.SOURCES`: random features have other weights."""
        return ("seeds", "training draws") if self.method == RANDOM else ("training draws",)

    def minus(self, other: Score) -> Interval:
        """The mean difference to another method, seed by seed, with its own interval by Student's t."""
        differences = np.subtract(self.by_seed, other.by_seed).tolist()
        covers = self.covers if RANDOM not in (self.method, other.method) else ("seeds", "training draws")
        return Interval.of(float(np.mean(differences)), t_interval(differences, least=-1), covers)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return asdict(self) | {
            "mean": self.mean,
            "low": self.interval.low,
            "high": self.interval.high,
            "covers": self.covers,
        }

    def to_text(self) -> str:
        """Mean and interval."""
        return self.interval.to_text()


@dataclass(frozen=True)
class Probe:
    """What :func:`probe` found."""

    dataset: str
    simulated: bool
    seeds: tuple[int, ...]
    tasks: tuple[Task, ...]
    scores: tuple[Score, ...]

    @property
    def methods(self) -> list[str]:
        """The encoders as they were given, then the baselines."""
        return list(dict.fromkeys(score.method for score in self.scores))

    @property
    def compared(self) -> list[tuple[str, str]]:
        """Methods whose difference is told: each encoder with the baselines, and with the first encoder."""
        encoders = [method for method in self.methods if method not in (RANDOM, RAW)]
        pairs = [(name, baseline) for name in encoders for baseline in (RANDOM, RAW)]
        return pairs + [(name, encoders[0]) for name in encoders[1:]]

    @property
    def judgements(self) -> list[tuple[Task, str]]:
        """What was judged: tasks, each with its probe."""
        tasks = {task.name: task for task in self.tasks if task.refused is None}
        return [(tasks[task], kind) for task, kind in JUDGEMENTS if task in tasks]

    @property
    def covers(self) -> str:
        """What the intervals tell, and what they do not."""
        if len(self.seeds) < 2:
            return "One seed: no interval. How far the scores depend on the patches trained on is not known."
        return (
            f"95 % intervals over {len(self.seeds)} seeds, which differ in the patches that probes learn from. They\n"
            f"{coverage(['training draws'])}: 'val' is the same for all, and another pretraining is not tried.\n"
            "Of random features they cover seeds, too: the weights differ."
        )

    def score(self, method: str, task: str, probe: str) -> Score:
        """One of the scores; KeyError if there is none."""
        return {(score.method, score.task, score.probe): score for score in self.scores}[method, task, probe]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        tasks = [asdict(task) | {"chance": task.chance} for task in self.tasks]
        scores = [score.to_dict() for score in self.scores]
        return {**asdict(self), "tasks": tasks, "scores": scores, "differences": self._differences()}

    def _differences(self) -> list[dict[str, Any]]:
        return [
            {"method": one, "minus": other, "task": task.name, "probe": kind}
            | asdict(self.score(one, task.name, kind).minus(self.score(other, task.name, kind)))
            for one, other in self.compared
            for task, kind in self.judgements
        ]

    def reading(self) -> str:
        """The differences to the baselines read aloud: how many lie above zero, below it, or hold it."""
        lines = []
        for baseline in (RANDOM, RAW) if self.judgements else ():
            gains = [found for found in self._differences() if found["minus"] == baseline]
            above = sum(gain["low"] is not None and gain["low"] > 0 for gain in gains)
            below = sum(gain["high"] is not None and gain["high"] < 0 for gain in gains)
            rest = len(gains) - above - below
            told = f"better in {above}, worse in {below}, not told apart in {rest} of {len(gains)} comparisons"
            lines.append(f"encoders against {baseline}: {told}")
        return "\n".join(lines)

    def to_text(self) -> str:
        """A table of the scores, and what they mean."""
        judged = [(task.name, kind) for task, kind in self.judgements]
        rows = [[name, *(self.score(name, *judgement).to_text() for judgement in judged)] for name in self.methods]
        rows += [["chance", *(f"{task.chance:.3f}" for task, _ in self.judgements)]]
        for one, other in self.compared:
            gains = (self.score(one, *judgement).minus(self.score(other, *judgement)) for judgement in judged)
            rows.append([f"{one} minus {other}", *(gain.to_text(signed=True) for gain in gains)])
        title = f"balanced accuracy on 'val' of {self.dataset}{' (simulated data)' if self.simulated else ''}"
        tasks = [task.to_text() for task in self.tasks]
        if not judged:
            return "\n".join([title, "", *tasks, "Nothing can be judged: label more ground."])
        scores = table(rows, ["", *(f"{task}, {kind}" for task, kind in judged)])
        return "\n".join([title, "", scores, "", *tasks, self.covers])


# --- probing ---------------------------------------------------------------------------------------------------------


@public
def probe(
    dataset: PatchDataset | str | Path,
    encoders: Mapping[str, Encoder | str | Path] | Sequence[str | Path] | str | Path,
    *,
    seeds: int | Sequence[int] = 5,
    patches: int = 500,
    allow_other_signal: bool = False,
    statistics: Literal["encoder", "own"] = "encoder",
    batch_size: int = 32,
) -> Probe:
    """Judge encoders by linear and k-NN probes on their frozen features.

    Two tasks: the majority class of each *patch*, from the mean of its features, and that of each *cell*, one pixel of
    the coarsest of all features (finer ones are averaged to it, so that all face the same cells). Of a Swin the
    features are the maps of all stages before merging, each normalised, side by side; of a ViT the final ones. A
    majority is of the pixels with both data and label; a tie goes to the first class, and a place of which less than
    half has both is left out. Beside the encoders stand *random features* (the first encoder's architecture with
    random weights, others for each seed) and *raw statistics* (mean power in dB, and power's coefficient of variation).

    Probes learn from ``train``: each seed from at most ``patches``, and at most half, of its patches, and at most 16
    times as many cells; all methods from the same. They are scored on at most ``patches`` of ``val``, the same for
    all, by balanced accuracy: the mean recall of the classes that three of these patches hold, at least; the others are
    named. ``test`` is not read: it scores, once, the network that is chosen in the end (:func:`alos2tut.evaluate`), and
    would flatter it if it had helped to choose.

    Features are standardised by their mean and spread in training. *linear* is logistic regression with balanced
    classes and the penalty |w|²/2 at C = 10 / (number of features), chosen on nothing. *k-NN* asks as many neighbours
    as the root of the number of training places, at most 20, by cosine; of the few raw numbers by distance.

    Args:
        dataset: an open dataset, or its folder.
        encoders: by name; or paths of ``encoder.safetensors`` or their pretrainings' folders, also as ``NAME=PATH``.
        seeds: how many, or which.
        patches: at most so many of each list.
        allow_other_signal: warn, instead of refusing, when an encoder was trained on another quantity, polarisation or
            pixel size.
        statistics: standardise by those of each encoder; or, of relative power or another polarisation than the
            encoder's, by the dataset's "own".
        batch_size: patches at work at once, on a GPU if there is one.

    Returns:
        The scores; nothing is written. Equal arguments give equal scores on one machine. A task that cannot be judged
        (too few labels, a single class) has none, and says why.

    Raises:
        Alos2TutError: a file that is missing or none of ours, an encoder without statistics or for other patches,
            names that are given twice, "own" statistics that nothing calls for, or no seed.
    """
    dataset = dataset if isinstance(dataset, PatchDataset) else open_dataset(dataset)
    fitting = _fitting_encoders(dataset, encoders, allow_other_signal, statistics)
    seeds = _checked(seeds, patches, batch_size)
    exam = _Exam(dataset, fitting, seeds, patches, batch_size)
    by_seed: dict[tuple[str, str, str], list[float]] = {}
    sources, total = (_sources(fitting, seeds) if exam.judgements else ()), len(fitting) + len(seeds) + 1
    for method, own_seeds, features in progress_bar(sources, "probing", "set of features", total=total):
        for task, kind, score in exam.scores(features, own_seeds, by_angle=method != RAW):
            by_seed.setdefault((method, task, kind), []).append(score)
    scores = tuple(Score(*key, tuple(values)) for key, values in by_seed.items())
    return Probe(dataset.path.name, dataset.simulated, seeds, exam.tasks, scores)


def name_encoders(paths: Sequence[str | Path]) -> dict[str, str | Path]:
    """Paths, some of them as ``NAME=PATH``, by name; else a pretraining's folder, or a file, is called as it is.

    Raises:
        Alos2TutError: a name that is given twice.
    """
    named: dict[str, str | Path] = {}
    for text in paths:
        name, equals, path = str(text).partition("=")
        if not equals or Path(text).exists():
            file = weights_path(text, "encoder")
            is_named = file.name not in ("encoder.safetensors", HUB_FILE)
            name, path = file.stem if is_named else file.absolute().parent.name, str(text)
        if not str(path).strip():
            raise Alos2TutError(f"'{text}' names no weights", where="encoders", remedy="Name them: NAME=PATH.")
        if name in named:
            raise Alos2TutError(f"two encoders are called '{name}'", where=path, remedy="Name them: NAME=PATH.")
        named[name] = path
    return named


def _fitting_encoders(
    dataset: PatchDataset,
    encoders: Mapping[str, Encoder | str | Path] | Sequence[str | Path] | str | Path,
    allow_other_signal: bool,
    statistics: Literal["encoder", "own"],
) -> dict[str, Encoder]:
    """The encoders by name, in evaluation mode, if they take the dataset's patches."""
    if not isinstance(encoders, Mapping):
        encoders = name_encoders([encoders] if isinstance(encoders, (str, Path)) else encoders)
    if not encoders:
        raise Alos2TutError("no encoder is given", where="encoders")
    fitting = {}
    for name, given in encoders.items():
        if name in ("", RANDOM, RAW):
            raise Alos2TutError(f"an encoder cannot be called '{name}'", where="encoders", remedy="Name it: NAME=PATH.")
        where = name if isinstance(given, Encoder) else weights_path(given, "encoder")
        encoder = copy.deepcopy(given) if isinstance(given, Encoder) else load_encoder(given)
        if encoder.statistics is None or encoder.signal is None:
            problem = "has no statistics to standardise by, or no signal"
            raise Alos2TutError(problem, where=where, remedy="load_encoder does.")
        check_signal(encoder.signal, dataset.signal, where, allow_other=allow_other_signal)
        shape, reads = (dataset.channels, dataset.patch_px, dataset.patch_px), (encoder.in_channels, *encoder.image_px)
        if reads != shape:
            raise Alos2TutError(f"reads (channels, rows, columns) {reads}, the patches have {shape}", where=where)
        settle_statistics(encoder, dataset.signal, dataset.statistics, where, statistics)
        fitting[name] = encoder.to(best_device()).eval()
    return fitting


def _checked(seeds: int | Sequence[int], patches: int, batch_size: int) -> tuple[int, ...]:
    """The seeds one by one."""
    if isinstance(seeds, int) and seeds > _MOST_SEEDS:
        raise Alos2TutError(f"of {quoted(seeds)} draws {_MOST_SEEDS:,} would be enough", where="seeds")
    seeds = tuple(range(seeds) if isinstance(seeds, int) else seeds)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise Alos2TutError(f"seeds are different whole numbers from 0, at least one, not {list(seeds)}", where="seeds")
    for name, value in (("patches", patches), ("batch_size", batch_size)):
        if value < 1:
            raise Alos2TutError(f"{name}={value} is not at least 1", where=name)
    return seeds


# --- places and their classes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ground:
    """Some patches of a list, and the class of every place in them."""

    split: Split
    #: (n,) their positions in the list
    index: Whole
    #: side of a place in pixels, by task
    sides: dict[str, int]
    #: (n, places of a patch) class, or −1 where a place is left out, by task
    classes: dict[str, Whole]

    @classmethod
    def of(cls, dataset: PatchDataset, name: str, index: Whole, sides: dict[str, int]) -> _Ground:
        """These patches of the list of that name."""
        split, classes = dataset.split(name), len(dataset.legend)
        found = {task: [np.empty((0, (dataset.patch_px // side) ** 2), np.int64)] for task, side in sides.items()}
        split.check_labels(classes, index)
        for first in range(0, len(index), 64):
            rows, labels = split.gather(index[first : first + 64])
            counted = np.where((rows != NO_DATA).all(axis=1), labels, IGNORE)
            for task, side in sides.items():
                found[task].append(majorities(counted, side, classes))
        return cls(split, index, sides, {task: np.concatenate(parts) for task, parts in found.items()})

    def draw(self, chosen: Whole, most_cells: int, seed: int) -> dict[str, Whole]:
        """Places that have a class, by task: of the chosen of our patches, and no more than ``most_cells``.

        Places are numbered over our patches, row by row in each.
        """
        random, places = np.random.default_rng([seed, 1]), {}
        for task, classes in self.classes.items():
            patch, place = np.nonzero(classes[chosen] >= 0)
            found = chosen[patch] * classes.shape[1] + place
            few = found if len(found) <= most_cells else random.choice(found, most_cells, replace=False)
            places[task] = np.sort(few)
        return places

    def classes_of(self, task: str, places: Whole) -> Whole:
        """Of places as :meth:`draw` numbers them."""
        return self.classes[task].ravel()[places]

    def compute(self, features: Features, wanted: dict[str, Whole], batch_size: int) -> dict[str, NDArray[np.float32]]:
        """Features (places, D) of the wanted places, which rise, by task; no others are kept."""
        per_patch = {task: self.classes[task].shape[1] for task in wanted}
        touched = np.unique(np.concatenate([places // per_patch[task] for task, places in wanted.items()]))
        device = best_device()
        size = pass_size(batch_size, device)

        def computed(first: int) -> tuple[Whole, list[Tensor]]:
            part = touched[first : first + size]
            rows = torch.from_numpy(self.split.gather_rows(self.index[part]))
            return part, features(rows, [self.sides[task] for task in wanted])

        kept: dict[str, list[NDArray[np.float32]]] = {task: [] for task in wanted}
        for part, found in passes(computed, range(0, len(touched), size), device):
            for (task, places), values in zip(wanted.items(), found, strict=True):
                patch, place = np.divmod(places, per_patch[task])
                here = (patch >= part[0]) & (patch <= part[-1])
                kept[task].append(values.numpy()[np.searchsorted(part, patch[here]), place[here]])
        return {task: np.concatenate(parts) for task, parts in kept.items()}


def draw_patches(n: int, most: int, seed: int) -> Whole:
    """Positions of a random half of a list's n patches, in order, and of no more than ``most``."""
    return np.sort(np.random.default_rng([seed, 0]).permutation(n)[: min(most, -(-n // 2))])


def majorities(labels: NDArray[np.uint8], side: int, classes: int) -> Whole:
    """The most frequent class in each square of ``side`` pixels; of several, the first.

    Args:
        labels: (n, H, W) indices of so many ``classes``; others, as 255, count for none.

    Returns:
        (n, H/side · W/side), −1 where less than half of the pixels have a class.
    """
    n, rows, cols = len(labels), labels.shape[1] // side, labels.shape[2] // side
    squares = labels.reshape(n, rows, side, cols, side).swapaxes(2, 3).reshape(n, rows * cols, side * side)
    counts = np.stack([(squares == index).sum(axis=2) for index in range(classes)], axis=2)
    return np.where(counts.sum(axis=2) >= LEAST_SHARE * side**2, counts.argmax(axis=2), -1)


# --- features --------------------------------------------------------------------------------------------------------


def encoder_features(encoder: Encoder, rows: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """The encoder's features, averaged over places; see :data:`Features`.

    Of a Swin these are the maps of all stages, each before it is merged and normalised over its channels
    (:func:`torch.nn.functional.layer_norm`), side by side; of a ViT the final features.
    """
    assert encoder.statistics is not None
    x, _ = standardize(rows.to(device_of(encoder)), encoder.statistics)
    if isinstance(encoder, SwinEncoder):
        unmerged = (of.float().movedim(1, -1) for of in encoder.features(x, merged=False))
        maps = [layer_norm(of, of.shape[-1:]).movedim(-1, 1) for of in unmerged]
    else:
        maps = [encoder(x).float()]
    strides = [x.shape[-1] // of.shape[-1] for of in maps]
    return [
        torch.cat([_by_place(of, side // stride) for of, stride in zip(maps, strides, strict=True)], dim=-1)
        for side in sides
    ]


def raw_statistics(rows: Tensor, sides: Sequence[int]) -> list[Tensor]:
    """Mean power in dB and power's coefficient of variation, of each polarisation; see :data:`Features`.

    Pixels without data are left out; where there are no others both are 0.
    """
    power, valid = linear_power(rows).double(), (rows != NO_DATA).double()
    found = []
    for side in sides:
        share, total, squares = (avg_pool2d(values, side) for values in (valid, power, power**2))
        known = share > 0
        mean = torch.where(known, total / share, 1.0)
        spread = torch.where(known, squares / share - mean**2, 0.0).clamp_min(0).sqrt()
        found.append(_by_place(torch.cat([10 * mean.log10(), spread / mean], dim=1).float()))
    return found


def _by_place(features: Tensor, side: int = 1) -> Tensor:
    """(B, D, rows, columns) → (B, places, D), means of so many rows and columns."""
    return avg_pool2d(features, side).flatten(2).transpose(1, 2).cpu()


def _random_encoder(like: Encoder, seed: int) -> Encoder:
    """The same architecture and statistics with random weights; torch's own random numbers go on as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(like.config, like.image_px, like.in_channels)
    encoder.statistics = like.statistics
    return encoder.to(device_of(like)).eval()


def _sources(encoders: dict[str, Encoder], seeds: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...], Features]]:
    """Methods, each with its features and the seeds that share them; encoders with random weights are made in time."""
    for name, encoder in encoders.items():
        yield name, seeds, partial(encoder_features, encoder)
    for seed in seeds:
        yield RANDOM, (seed,), partial(encoder_features, _random_encoder(next(iter(encoders.values())), seed))
    yield RAW, seeds, raw_statistics


# --- probes ----------------------------------------------------------------------------------------------------------


def predict(
    kind: str,
    known: NDArray[np.floating[Any]],
    labels: Whole,
    asked: NDArray[np.floating[Any]],
    *,
    by_angle: bool = True,
) -> Whole:
    """Classes (m,) by a probe.

    Args:
        kind: ``linear`` or ``k-NN``.
        known, labels: (n, D) features to learn from, and their classes (n,): two at least.
        asked: (m, D) features.
        by_angle: neighbours are near by cosine, else by distance.
    """
    model: Any = LogisticRegression(C=LINEAR_C / known.shape[1], class_weight="balanced", max_iter=1000)
    if kind == "k-NN":
        neighbours = min(NEIGHBOURS, math.isqrt(len(known)))
        model = KNeighborsClassifier(neighbours, metric="cosine" if by_angle else "euclidean")
    # small matrices: more threads would only wait for each other
    with threadpool_limits(1):
        fitted = make_pipeline(StandardScaler(), model).fit(known.astype(np.float64), labels)
        classes: Whole = fitted.predict(asked.astype(np.float64))
    return classes


def balanced_accuracy(truth: Whole, guess: Whole) -> float:
    """Mean recall of the classes that are in the truth."""
    return float(recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0.0))


class _Exam:
    """What every method faces: the same places to learn from, and to be scored on; and tasks, judged or not."""

    def __init__(
        self, dataset: PatchDataset, encoders: dict[str, Encoder], seeds: tuple[int, ...], patches: int, batch_size: int
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        sides = {"patch": dataset.patch_px, "cell": math.lcm(*(encoder.stride for encoder in encoders.values()))}
        parts = {seed: draw_patches(len(dataset.split("train")), patches, seed) for seed in seeds}
        self.training = _Ground.of(dataset, "train", np.unique(np.concatenate(list(parts.values()))), sides)
        self.held_out = _Ground.of(dataset, "val", dataset.split("val").evenly(patches), sides)
        cells, index = CELLS_PER_PATCH * patches, self.training.index
        self.drawn = {
            seed: self.training.draw(np.searchsorted(index, part), cells, seed) for seed, part in parts.items()
        }
        self.target = self.held_out.draw(np.arange(len(self.held_out.index)), cells, 0)
        self.few = {task: self._leave_out_few(task) for task in sides}
        self.tasks = tuple(self._task(name, side) for name, side in sides.items())
        judged = {task.name for task in self.tasks if task.refused is None}
        self.judgements = [(task, kind) for task, kind in JUDGEMENTS if task in judged]

    def _leave_out_few(self, task: str) -> dict[str, int]:
        """Take places of classes that lie in too few patches from those to be scored on; how many patches, by class."""
        places, classes = self.target[task], self.held_out.classes_of(task, self.target[task])
        patches = places // self.held_out.classes[task].shape[1]
        names = self.dataset.legend.names
        counts = np.array([len(np.unique(patches[classes == index])) for index in range(len(names))])
        self.target[task] = places[counts[classes] >= FEW_PATCHES]
        return {name: int(n) for name, n in zip(names, counts, strict=True) if n < FEW_PATCHES}

    def _task(self, name: str, side: int) -> Task:
        names, spacing_m = self.dataset.legend.names, self.dataset.signal["spacing_m"]
        scored = self.held_out.classes_of(name, self.target[name])
        learned = {seed: self.training.classes_of(name, places[name]) for seed, places in self.drawn.items()}
        reasons = [
            _refused("'val'", scored, names),
            *(_refused(f"'train' (seed {seed})", classes, names) for seed, classes in learned.items()),
        ]
        return Task(
            name,
            side,
            None if spacing_m is None else (side * spacing_m[0], side * spacing_m[1]),
            (min(map(len, learned.values())), max(map(len, learned.values()))),
            {names[index]: int(count) for index, count in zip(*np.unique(scored, return_counts=True), strict=True)},
            self.few[name],
            {
                part: float((ground.classes[name] < 0).mean()) if len(ground.index) else 0.0
                for part, ground in (("train", self.training), ("val", self.held_out))
            },
            next(filter(None, reasons), None),
        )

    def scores(self, features: Features, seeds: Sequence[int], by_angle: bool) -> Iterator[tuple[str, str, float]]:
        """Task, probe and balanced accuracy: for every judgement one of each of these seeds."""
        judged = dict.fromkeys(task for task, _ in self.judgements)
        wanted = {task: np.unique(np.concatenate([self.drawn[seed][task] for seed in seeds])) for task in judged}
        # convolutions of one kind, in float32, so that equal arguments give equal features
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            known = self.training.compute(features, wanted, self.batch_size)
            asked = self.held_out.compute(features, {task: self.target[task] for task in judged}, self.batch_size)

        def score(job: tuple[str, str, int]) -> tuple[str, str, float]:
            task, kind, seed = job
            places = self.drawn[seed][task]
            learned, labels = np.searchsorted(wanted[task], places), self.training.classes_of(task, places)
            guess = predict(kind, known[task][learned], labels, asked[task], by_angle=by_angle)
            return task, kind, balanced_accuracy(self.held_out.classes_of(task, self.target[task]), guess)

        # on one thread each, also those that end while others go on
        with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
            yield from pool.map(score, [(task, kind, seed) for task, kind in self.judgements for seed in seeds])


def _refused(where: str, classes: Whole, names: Sequence[str]) -> str | None:
    """Why places of these classes judge nothing."""
    found = np.unique(classes)
    if len(found) > 1:
        return None
    return f"{where} has a single class, {names[found[0]]}" if len(found) else f"{where} has no labelled place"
