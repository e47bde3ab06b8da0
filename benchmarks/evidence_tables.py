"""What the runs of the benchmark say, from their JSON files alone: intervals, tables and curves of ``docs/results.md``.

The primary comparison is measured with a number of first weights (*seeds*) crossed with a number of drawn training
lists (*draws*), once in each cell. See :func:`crossed` for what its mean is worth.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from evidence_runs import Run, bench
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from alos2tut.core.artifacts import atomic_path, read_json, read_text
from alos2tut.core.errors import Alos2TutError
from alos2tut.core.tables import Interval
from alos2tut.evaluation.comparison import labels_for
from alos2tut.metrics import LEVEL, BlockScore, block_scores

#: Okabe & Ito's colours, which are told apart with any colour vision, and the marks of the curves
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A")
MARKS = "osD^vP*X<>"
_LARGEST_PAGE = 2**20


# --- what a mean is worth --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A mean with its variance and the degrees of freedom of that; without a variance nothing is known of it."""

    value: float
    variance: float | None = None
    freedom: float = 0.0

    def interval(self) -> list[float] | None:
        """The 95 % interval by Student's t."""
        if self.variance is None:
            return None
        half = float(stdtrit(self.freedom, (1 + LEVEL) / 2)) * math.sqrt(self.variance)
        return [self.value - half, self.value + half]

    def p_value(self) -> float | None:
        """Of the mean being zero, two-sided."""
        if not self.variance:
            return None
        return float(2 * stdtr(self.freedom, -abs(self.value) / math.sqrt(self.variance)))

    def with_error_of(self, other: Estimate) -> Estimate:
        """The same mean with another, independent source of error: variances add up (Satterthwaite's freedom)."""
        if self.variance is None or other.variance is None:
            return Estimate(self.value)
        return Estimate(self.value, *_sum_of([(self.variance, self.freedom), (other.variance, other.freedom)]))

    def to_text(self, *, signed: bool = True) -> str:
        """Mean and interval, as people read them."""
        return Interval.of(self.value, self.interval()).to_text(signed=signed)


def _sum_of(parts: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Variance and degrees of freedom of a sum of mean squares (Satterthwaite, Biometrics Bulletin 2, 1946)."""
    parts = [part for part in parts if part[0]]
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / freedom for variance, freedom in parts)
    return total, (total**2 / spread if spread else math.inf)


def one_way(values: Sequence[float]) -> Estimate:
    """The mean of independent values."""
    n, mean = len(values), float(np.mean(values))
    return Estimate(mean, float(np.var(values, ddof=1)) / n, n - 1) if n > 1 else Estimate(mean)


def crossed(values: NDArray[np.float64]) -> Estimate:
    """The mean of a table y_sd = μ + a_s + b_d + e_sd, both of whose margins are random: seeds (rows) and draws.

    Var(ȳ) = σ²_a / s + σ²_b / d + σ²_e / sd, estimated by the mean squares of the two-way analysis without replication:
    (MS_a + MS_b − MS_e) / sd (Searle, Casella & McCulloch, Variance Components, 1992, section 4.3), where a component
    that comes out negative counts as zero. Its degrees of freedom are Satterthwaite's, of the mean squares that it is
    made of. ``tests/test_evidence.py`` measures how often the interval holds μ.

    Args:
        values: (seeds, draws). With one row or one column: the mean of independent values.
    """
    if min(values.shape) < 2:
        return one_way(values.ravel().tolist())
    *components, error = _mean_squares(values)
    kept = [component for component in components if component[0] > error[0]]
    # the sum counts the error once for each component: with both it is subtracted once, with none added
    kept += [(-error[0], error[1])] if len(kept) == 2 else [] if kept else [error]
    total, freedom = _sum_of(kept)
    return Estimate(float(values.mean()), total / values.size, freedom)


def error_of_seeds(values: NDArray[np.float64]) -> Estimate:
    """What the seeds of such a table add to the error of its mean: σ²_a / s of :func:`crossed`; of one seed nothing."""
    seeds, draws = values.shape
    if seeds < 2:
        return Estimate(0.0, 0.0)
    if draws < 2:  # all that seeds differ by
        return replace(one_way(values.ravel().tolist()), value=0.0)
    of_seeds, _, error = _mean_squares(values)
    total, freedom = _sum_of([of_seeds, (-error[0], error[1])] if of_seeds[0] > error[0] else [])
    return Estimate(0.0, total / values.size, freedom)


def _mean_squares(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Mean squares of rows, of columns and of the rest of a table, each with its degrees of freedom."""
    rows, cols = values.shape
    mean, of_rows, of_cols = values.mean(), values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    sums = (
        (cols * np.sum((of_rows - mean) ** 2), rows - 1),
        (rows * np.sum((of_cols - mean) ** 2), cols - 1),
        (np.sum((values - of_rows - of_cols + mean) ** 2), (rows - 1) * (cols - 1)),
    )
    return [(float(total) / freedom, freedom) for total, freedom in sums]


def over_ground(score: BlockScore, other: BlockScore | None = None) -> Estimate:
    """A score's error over blocks of ground, or that of its difference to another's on the same blocks."""
    if score.value is None or score.pulls is None:
        raise Alos2TutError("there are too few blocks of ground for an interval", where="by_block")
    if other is None:
        return Estimate(score.value, float(np.sum(score.pulls**2)), score.freedom)
    assert other.value is not None and other.pulls is not None
    variance = float(np.sum((score.pulls - other.pulls) ** 2))
    return Estimate(score.value - other.value, variance, min(score.freedom, other.freedom))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values of a family, corrected for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted((value, index) for index, value in enumerate(values) if value is not None)
    found: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (value, index) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * value))
        found[index] = least
    return found


# --- runs ------------------------------------------------------------------------------------------------------------


def load(folder: Path, group: str) -> tuple[list[Run], list[Run]]:
    """The runs of a group that are of the present version of benchmark and recipe, and those that are of others."""
    asked = {"benchmark": bench()["benchmark"], "recipe": bench()["recipe"][group]}
    found: tuple[list[Run], list[Run]] = [], []
    for path in sorted((folder / group).glob("*.json")):
        run = read_json(path)
        found[any(run["spec"][key] != value for key, value in asked.items())].append(run)
    return found


class Scores:
    """mIoU of the final runs by method, level and labels, on the same blocks of ground."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.by_place: dict[tuple[str, str, Any], dict[tuple[int, int], BlockScore]] = {}
        self.all_patches = max((run["patches"] for run in runs if "patches" in run), default=0)
        for run in runs:
            spec = run["spec"]
            place = spec["method"], spec["level"], spec["labels"]
            score = block_scores(np.array(run["by_block"], dtype=np.int64))["miou"]
            self.by_place.setdefault(place, {})[spec["seed"], spec["draw"]] = score

    def labels(self) -> list[Any]:
        """Numbers of labelled patches, from few to all."""
        return sorted({labels for _, _, labels in self.by_place}, key=_few_first)

    def patches(self, labels: Any) -> int:
        """Labelled patches as a number; 0 where it is not known."""
        return self.all_patches if labels == "all" else int(labels)

    def methods(self, level: str) -> list[str]:
        """Methods in the order in which the settings name them."""
        known = ["floor", "unet", "random", "chosen", *bench()["final"]["others"], "ceiling"]
        there = {method for method, of, _ in self.by_place if of == level}
        return [method for method in dict.fromkeys(known) if method in there]

    def of(self, method: str, labels: Any, level: str = "standard") -> dict[tuple[int, int], BlockScore]:
        """Scores by (seed, draw); those without a pretraining stand on one level only."""
        found = self.by_place.get((method, level, labels), {})
        return found or (self.by_place.get((method, "standard", labels), {}) if not_pretrained(method) else {})

    def mean(self, method: str, labels: Any, level: str = "standard") -> Estimate | None:
        """The mean with its error over seeds and draws."""
        found = self.of(method, labels, level)
        return estimate({key: _value(score) for key, score in found.items()}) if found else None

    def difference(
        self, method: str, other: str, labels: Any, level: str = "standard"
    ) -> tuple[Estimate, Estimate] | None:
        """A method minus another on the draws that both have: its error over seeds and draws, and over ground."""
        mine, its = self.of(method, labels, level), self.of(other, labels, level)
        draws = {draw for _, draw in mine} & {draw for _, draw in its}
        mine, its = ({key: score for key, score in of.items() if key[1] in draws} for of in (mine, its))
        if not draws:
            return None
        unmatched = None
        if set(mine) == set(its):
            values = {key: _value(mine[key]) - _value(its[key]) for key in mine}
        else:  # not the same seeds: each of mine against the mean of its
            means = {draw: _of_draw(its, draw) for draw in draws}
            values = {key: _value(score) - means[key[1]] for key, score in mine.items()}
            unmatched = _crossed_table({key: _value(score) for key, score in its.items()})
        # on ground every draw weighs alike, as above
        one, two = (BlockScore.mean([_mean_of_draw(of, draw) for draw in sorted(draws)]) for of in (mine, its))
        found = estimate(values)
        return found if unmatched is None else found.with_error_of(error_of_seeds(unmatched)), over_ground(one, two)


def _few_first(labels: Any) -> float:
    return math.inf if labels == "all" else float(labels)


def not_pretrained(method: str) -> bool:
    """Whether nothing is pretrained, so that the level of that does not matter."""
    return method in ("floor", "unet", "random", "ceiling")


def _value(score: BlockScore) -> float:
    assert score.value is not None
    return score.value


def _mean_of_draw(scores: Mapping[tuple[int, int], BlockScore], draw: int) -> BlockScore:
    return BlockScore.mean([score for (_, own), score in scores.items() if own == draw])


def _of_draw(scores: Mapping[tuple[int, int], BlockScore], draw: int) -> float:
    return _value(_mean_of_draw(scores, draw))


def estimate(values: Mapping[tuple[int, int], float]) -> Estimate:
    """The mean of values by (seed, draw): crossed where each seed has each draw, else of draws as independent."""
    found = _crossed_table(values)
    if found is not None:
        return crossed(found)
    draws = sorted({draw for _, draw in values})
    by_draw = [np.mean([value for (_, own), value in values.items() if own == draw]) for draw in draws]
    return one_way([float(value) for value in by_draw])


def _crossed_table(values: Mapping[tuple[int, int], float]) -> NDArray[np.float64] | None:
    """Values by (seed, draw) as a table (seeds, draws); None where not each seed has each draw."""
    seeds, draws = (sorted({key[axis] for key in values}) for axis in (0, 1))
    if len(values) < len(seeds) * len(draws):
        return None
    return np.array([[values[seed, draw] for draw in draws] for seed in seeds])


# --- tables ----------------------------------------------------------------------------------------------------------


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; what is None shows as a dash."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join("–" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def final_tables(runs: Sequence[Run]) -> dict[str, str]:
    """The parts of the page that come from the final runs."""
    scores = Scores(runs)
    tables = {"primary": primary_text(scores), "scores": score_table(scores), "differences": difference_table(scores)}
    return tables | {"pairs": pair_table(scores)}


def primary_text(scores: Scores) -> str:
    """The comparison that was named beforehand."""
    labels, level = (bench()["final"]["primary"][key] for key in ("labels", "level"))
    found = scores.difference("chosen", "random", labels, level)
    if found is None:
        return "The primary comparison has not been run."
    trained, ground = found
    seeds, draws = (len({key[axis] for key in scores.of("chosen", labels, level)}) for axis in (0, 1))
    blocks = len(next(iter(scores.of("chosen", labels, level).values())).pulls)  # type: ignore[arg-type]
    both = trained.with_error_of(ground)
    rows = [
        [f"{seeds} seeds × {draws} draws of training patches", trained.to_text()],
        [f"{blocks} blocks of test ground", ground.to_text()],
        ["both together", both.to_text()],
    ]
    name = f"{bench()['final']['chosen']} − random start, {labels} labels, {level} level: mIoU {trained.value:+.3f}"
    return "\n\n".join([f"**{name}**", markdown(["95 % interval over", "difference of mIoU"], rows)])


def score_table(scores: Scores) -> str:
    """mIoU of every method, level and number of labels, with intervals over seeds and draws, and (runs)."""
    rows = []
    for level in ("standard", "shifted"):
        for method in scores.methods(level):
            cells: list[Any] = []
            for labels in scores.labels():
                mean = scores.mean(method, labels, level) if scores.by_place.get((method, level, labels)) else None
                runs = len(scores.of(method, labels, level))
                cells.append(mean and f"{mean.to_text(signed=False)} ({runs})")
            rows.append([_shown(method), level, *cells])
    return markdown(["start", "level", *(f"{labels} labels" for labels in scores.labels())], rows)


def _shown(method: str) -> str:
    return f"chosen ({bench()['final']['chosen']})" if method == "chosen" else method


def difference_table(scores: Scores) -> str:
    """Every method against the random start and the floor; p-values of all but the primary are corrected together."""
    primary = ("chosen", bench()["final"]["primary"]["level"], bench()["final"]["primary"]["labels"])
    rows, p_values = list[list[Any]](), list[float | None]()
    for level in ("standard", "shifted"):
        for labels, method in itertools.product(scores.labels(), scores.methods(level)):
            found = scores.difference(method, "random", labels, level)
            if method in ("random", "ceiling") or found is None:
                continue
            gain, is_primary = found[0].with_error_of(found[1]), (method, level, labels) == primary
            p_values.append(None if is_primary else gain.p_value())
            row = [_shown(method), level, labels, gain.to_text(), "primary" if is_primary else None]
            rows.append([*row, *beside_floor(scores, method, labels, level), worth(scores, method, labels, level)])
    for row, p_value in zip(rows, holm(p_values), strict=True):
        row[4] = row[4] or _p_text(p_value)
    header = ["start", "level", "labels", "minus random", "p (Holm)", "minus floor", "of the way from floor to ceiling"]
    return markdown([*header, "labels that a random start needs for as much"], rows)


def pair_table(scores: Scores) -> str:
    """Pretrainings against each other, with the labels of the primary comparison."""
    labels, rows = bench()["final"]["primary"]["labels"], []
    for one, other in bench()["final"]["pairs"]:
        if found := scores.difference(one, other, labels):
            rows.append([f"{_shown(one)} − {_shown(other)}", over_all(*found).to_text()])
    return markdown(["pretrainings", f"difference of mIoU, {labels} labels"], rows)


def _p_text(value: float | None) -> str | None:
    return value if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def beside_floor(scores: Scores, method: str, labels: Any, level: str) -> tuple[str | None, str | None]:
    """A method minus the floor with as many labels, and its share of the way from there to the ceiling."""
    found = None if method == "floor" else scores.difference(method, "floor", labels, level)
    if found is None:
        return None, None
    gain, top, floor = found[0].with_error_of(found[1]), scores.mean("ceiling", "all"), scores.mean("floor", labels)
    share = f"{gain.value / (top.value - floor.value):.0%}" if top and floor and top.value > floor.value else None
    return gain.to_text(), share


def worth(scores: Scores, method: str, labels: Any, level: str) -> str | None:
    """With how many labels a random start is as good; None where its curve does not reach there."""
    mean = scores.mean(method, labels, level)
    curve = [
        (n, own.value) for of in scores.labels() if (n := scores.patches(of)) and (own := scores.mean("random", of))
    ]
    found = None if mean is None else labels_for(mean.value, curve)
    return found and f"{found:.0f}"


def search_table(runs: Sequence[Run]) -> str:
    """Configurations of fine-tuning by version and start, the best first; ``rung``: a third of the steps, or all."""
    found: dict[tuple[int, str, str, str], list[Run]] = {}
    for run in runs:
        place = (run["spec"][key] for key in ("recipe", "method", "rung", "config"))
        found.setdefault(tuple(place), []).append(run)
    rows = []
    for (version, start, rung, config), mine in found.items():
        mine = sorted(mine, key=lambda run: run["spec"]["draw"])
        mean, steps = float(np.mean([run["val_miou"] for run in mine])), mine[0]["spec"]["settings"]["steps"]
        values = ", ".join(f"{run['val_miou']:.3f}" for run in mine)
        best = ", ".join(str(run["best_step"]) for run in mine)
        labels = mine[0]["spec"]["labels"]
        rows.append([version, start, labels, config, rung, steps, f"{mean:.3f}", values, best])
    order = {"whole": 0, "third": 1, "all": 2}
    rows.sort(key=lambda row: (row[0], row[1], order[row[4]], -float(row[6])))
    header = ["version", "start", "labels", "configuration", "rung", "steps", "mIoU on val", "by draw", "best step"]
    return markdown(header, rows)


def pretraining_table(runs: Sequence[Run]) -> str:
    """Pretrainings on validation ground: loss, probe and fine-tuning, and what they cost."""
    rows = []
    names = dict.fromkeys(run["spec"]["method"] for run in runs if run["spec"]["level"] == "standard")
    for name in names:
        made = next((r for r in runs if r["spec"]["kind"] == "pretrain" and r["spec"]["method"] == name), None)
        tuned = sorted(
            (r["spec"]["draw"], r["val_miou"])
            for r in runs
            if r["spec"]["kind"] == "finetune" and r["spec"]["method"] == name
        )
        probe = _probe(made["probe"] if made else {}, name)
        settings = made and made["spec"]["settings"]
        rows.append(
            [
                name,
                settings and made["spec"]["train"],
                settings and settings["steps"],
                made and f"{'> ' * made['resumed']}{made['cpu_s'] / 60:.0f}",  # only the rest was timed
                made and f"{made['final_loss']:.4f}",
                *probe,
                f"{np.mean([value for _, value in tuned]):.3f}" if tuned else None,
                ", ".join(f"{value:.3f}" for _, value in tuned) or None,
            ]
        )
    judged = [run["probe"] for run in runs if run["spec"]["kind"] == "pretrain" and "probe" in run]
    for name in ("random features", "raw statistics") if judged else ():
        rows.append([name, *[None] * 4, *_probe(judged[-1], name), None, None])
    header = ["pretraining", "pool", "steps", "minutes of a core", "final loss", "probe: patch, k-NN", "patch, linear"]
    return markdown([*header, "cell, linear", "mIoU on val, fine-tuned", "by draw"], rows)


def _probe(scores: Mapping[str, Sequence[float]], name: str) -> list[str | None]:
    """Of a method, the mean over draws for each way of probing."""
    asked = [f"{name} {task}" for task in ("patch k-NN", "patch linear", "cell linear")]
    return [f"{np.mean(scores[one]):.3f}" if one in scores else None for one in asked]


#: starts on real ground, in words
_REAL_STARTS = {
    "floor": "floor",
    "random": "random",
    "simulation": "pretrained on simulated ground",
    "longer": "… for 16 times the steps",
    "other": "pretrained on the other scene",
    "own": "pretrained on the fold's own training blocks",
}
_BESIDE = ("random", "floor")


def real_table(runs: Sequence[Run]) -> str:
    """Starts on real scenes: mIoU of all folds together, and differences to the random start and to the floor."""
    pooled = whole_scenes(runs)
    scores, rows = Scores(pooled), list[list[Any]]()
    for scene, labels in (
        (scene, labels) for scene, of in bench()["real"]["draws"].items() for labels in sorted(of, key=_few_first)
    ):
        for method, shown in _REAL_STARTS.items():
            if (mean := scores.mean(method, labels, scene)) is None:
                continue
            mine = list(scores.of(method, labels, scene).values())
            found: list[Any] = [(mean, over_ground(BlockScore.mean(mine)))]
            found += [method != other and scores.difference(method, other, labels, scene) for other in _BESIDE]
            texts = [over_all(*one).to_text(signed=one is not found[0]) if one else None for one in found]
            rows.append([scene, labels, shown, len(mine), *texts])
    table = markdown(["scene", "labels", "start", "draws", "mIoU", *(f"minus {other}" for other in _BESIDE)], rows)
    folds = bench()["real"]["fold"]["folds"]
    left = sum(run["spec"]["kind"] != "pretrain" for run in runs) - folds * len(pooled)
    return f"{table}\n\nRuns of draws whose folds are not all there: {left}." if left else table


def over_all(trained: Estimate, ground: Estimate) -> Estimate:
    """A mean with its error over draws and ground; of one draw over ground alone."""
    return ground if trained.variance is None else trained.with_error_of(ground)


def whole_scenes(runs: Sequence[Run]) -> list[Run]:
    """The runs of all folds of a scene as one, on the blocks of all; ``level`` is the scene."""
    folds: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted((run for run in runs if run["spec"]["kind"] != "pretrain"), key=lambda run: run["spec"]["fold"]):
        spec = run["spec"]
        folds.setdefault(tuple(spec[key] for key in ("method", "scene", "labels", "seed", "draw")), []).append(run)
    return [
        {
            "spec": mine[0]["spec"] | {"level": mine[0]["spec"]["scene"]},
            "by_block": [b for one in mine for b in one["by_block"]],
        }
        for mine in folds.values()
        if len(mine) == bench()["real"]["fold"]["folds"]
    ]


def curves(scores: Scores, path: Path) -> None:
    """mIoU by labelled patches, a curve for each method of the standard level, with intervals over seeds and draws."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"font.size": 9})
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    places = {labels: place for place, labels in enumerate(scores.labels())}
    methods = [method for method in scores.methods("standard") if method != "ceiling"]
    for index, method in enumerate(methods):
        known = [(labels, mean) for labels in places if (mean := scores.mean(method, labels))]
        x = [places[labels] + 0.03 * (index - len(methods) / 2) for labels, _ in known]
        ends = [mean.interval() or [mean.value] * 2 for _, mean in known]
        y = [mean.value for _, mean in known]
        bars = [[max(value - low, 0) for value, (low, _) in zip(y, ends, strict=True)],
                [max(high - value, 0) for value, (_, high) in zip(y, ends, strict=True)]]  # fmt: skip
        style = {"marker": MARKS[index % len(MARKS)], "color": COLOURS[index % len(COLOURS)], "capsize": 2}
        axes.errorbar(x, y, bars, label=_shown(method), linewidth=1.2, markersize=4, elinewidth=0.8, **style)
    if top := scores.mean("ceiling", "all"):
        axes.axhline(top.value, color="0.5", linestyle="--", linewidth=1, label="ceiling: all labels, long")
    axes.set_xticks(list(places.values()), [str(labels) for labels in places])
    axes.set_xlabel("labelled patches of 320 m")
    axes.set_ylabel("mIoU on test ground (simulated)")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(axis="y", linewidth=0.4)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})
    pyplot.close(figure)


# --- the page --------------------------------------------------------------------------------------------------------


def write_page(runs: Path, page: Path) -> None:
    """Write what the runs say between the markers of a page, and the curves beside it.

    A part stands between ``<!-- evidence:NAME -->`` and ``<!-- /evidence:NAME -->``, with NAME of: primary, scores,
    differences, pairs, search, before (searches of earlier versions), pretraining, real, runs.

    Raises:
        Alos2TutError: the page is missing, or lacks a marker.
    """
    found = {group: load(runs, group) for group in ("final", "search", "pretraining", "real")}
    final, search, judged, real = (mine for mine, _ in found.values())
    parts = {"search": search_table(search), "pretraining": pretraining_table(judged), "real": real_table(real)}
    parts |= final_tables(final) | {"before": search_table(found["search"][1])}
    for part, group in {"scores": "final", "pretraining": "pretraining", "real": "real"}.items():
        if others := len(found[group][1]):
            parts[part] += f"\n\nResults of other versions that are left out: {others}."
    parts["runs"] = machines([run for both in found.values() for of in both for run in of])
    write_parts(page, "evidence", parts)
    if final:
        curves(Scores(final), page.with_name(f"{page.stem}_curves.png"))


def write_parts(page: Path, of: str, parts: Mapping[str, str]) -> None:
    """Write each part of a page between its markers ``<!-- of:NAME -->`` and ``<!-- /of:NAME -->``.

    Raises:
        Alos2TutError: the page is missing, or lacks a marker.
    """
    text = read_text(page, "Markdown", _LARGEST_PAGE)
    for name, part in parts.items():
        begin, end = f"<!-- {of}:{name} -->", f"<!-- /{of}:{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise Alos2TutError(f"lacks the markers of '{name}': {begin} and {end}", where=page)
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{part}\n{end}{rest.partition(end)[2]}"
    with atomic_path(page) as temporary:
        temporary.write_text(text, "utf-8")


def machines(runs: Sequence[Run]) -> str:
    """On what the runs were done, and what they took."""
    found: dict[tuple[str, ...], list[float]] = {}
    for run in runs:
        machine = run["machine"]
        kind = machine.get("gpu", machine["cpu"]), re.sub(r"\+.*", "", machine["torch"]), run["commit"]
        found.setdefault(kind, []).append(run["cpu_s"])
    rows = [[*kind, len(spent), f"{sum(spent) / 3600:.1f}"] for kind, spent in sorted(found.items())]
    return markdown(["machine", "torch", "commit", "runs", "hours of a core"], rows)
