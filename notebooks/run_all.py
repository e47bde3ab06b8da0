"""Run the five notebooks headless and say where everything lies.

``make tutorial`` calls this. Each notebook is executed by papermill with the same parameters; what one makes, the next
finds. Executed notebooks go to ``<work-dir>/notebooks``. With ``--check``, results that cannot come of training are an
error: a loss that did not fall, a map of one class, scores outside what speckle and a simulated ground allow.

On a terminal a line shows which notebook and stage is at work, how far, and for how long yet.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import papermill
import rasterio
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm
from traitlets.config import Config

from alos2tut.core.artifacts import make_folder
from alos2tut.core.errors import Alos2TutError, system_errors_named
from alos2tut.core.tables import Interval, table

HERE = Path(__file__).resolve().parent
#: the notebooks, and how many seconds each once took in the profile `quick` on two cores: only their ratios matter
SECONDS = {
    "01_read_and_inspect": 30,
    "02_build_dataset": 21,
    "03_pretrain": 123,
    "04_finetune": 73,
    "05_evaluate_and_map": 42,
}
NAMES = tuple(SECONDS)


class Watch(threading.Thread):
    """A line on the terminal that says, each second, what a notebook is at; nothing where nobody looks.

    Args:
        name: the notebook's.
        names: of all that are to run.
        seconds: what those before it took.
        work_dir: where stages leave their results.
    """

    def __init__(self, name: str, names: tuple[str, ...], seconds: dict[str, float], work_dir: Path) -> None:
        super().__init__(daemon=True)
        self.name_of, self.names, self.work_dir = name, names, work_dir
        self.begun, self.since = time.monotonic(), time.time()
        #: seconds that all take for each that they once took; None while none has ended
        self.pace = sum(seconds.values()) / sum(SECONDS[done] for done in seconds) if seconds else None
        #: what the notebook's cells print
        self.said = io.StringIO()
        self._is_over = threading.Event()

    def __enter__(self) -> Watch:
        if sys.stdout.isatty():
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Draw the line until the notebook ends; it leaves no trace."""
        with tqdm(bar_format="{desc}", leave=False, file=sys.stdout, dynamic_ncols=True) as line:
            while not self._is_over.wait(1):
                line.set_description_str(self.to_text())

    def to_text(self) -> str:
        """The notebook, its stage, the step, and the minutes so far and to come."""
        elapsed, at = time.monotonic() - self.begun, self.names.index(self.name_of)
        told = [f"{at + 1}/{len(self.names)} {self.name_of}", self.stage(), f"{elapsed / 60:.1f} min"]
        if self.pace is not None:
            later = sum(SECONDS[name] for name in self.names[at + 1 :])
            left = max(SECONDS[self.name_of] * self.pace - elapsed, 0) + later * self.pace
            told.append(f"about {left / 60:.0f} min left")
        return ", ".join(filter(None, told))

    def stage(self) -> str:
        """The stage that wrote last, since this notebook began, and the step of a training that is at work."""
        with suppress(FileNotFoundError):  # a folder may just be renamed
            written = {path: path.stat().st_mtime for name in ("", "metrics.csv") for path in self._paths(name)}
            newest = max(written, key=lambda path: written[path], default=None)
            if newest is None or written[newest] < self.since:
                return ""
            folder = newest if newest.is_dir() else newest.parent
            stage, metrics = folder.name.partition("-")[0], folder / "metrics.csv"
            if not metrics.is_file() or (folder / "run.json").is_file():
                return stage
            step = metrics.read_text(encoding="utf-8").splitlines()[-1].partition(",")[0]
            steps = re.findall(rf"^{stage}: (\d+) steps", self.said.getvalue(), re.MULTILINE)
            return f"{stage}, step {step}" + (f" of {steps[-1]}" if steps else "") if step.isdigit() else stage
        return ""

    def _paths(self, name: str) -> Iterator[Path]:
        return self.work_dir.glob(f"*-*/{name}")


def run(name: str, out_dir: Path, parameters: dict[str, str], said: io.StringIO) -> float:
    """Execute one notebook, and keep what its cells print; returns seconds."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alos2tut-") as sockets:
        # kernels talk over private socket files where the system has them, not over TCP, of which they would warn
        private = {"transport": "ipc", "ip": str(Path(sockets) / "kernel")} if os.name == "posix" else {}
        papermill.execute_notebook(
            HERE / f"{name}.ipynb",
            out_dir / f"{name}.ipynb",
            parameters=parameters,
            cwd=HERE,
            kernel_name="python3",
            progress_bar=False,
            stdout_file=said,
            # a kernel that is told to end may log the interrupt as an error; what a cell raises comes all the same
            config=Config({"KernelManager": private, "NotebookClient": {"extra_arguments": ["--log-level=CRITICAL"]}}),
        )
    point_to_docs(out_dir / f"{name}.ipynb")
    return time.monotonic() - begun


def expected(name: str, options: argparse.Namespace) -> str:
    """How long a notebook took once, where that says how long it will take: of the simulated scene of `quick`."""
    if options.profile != "quick" or options.p or sys.stdout.isatty():
        return ""
    return f" about {max(round(SECONDS[name] / 60), 1)} min on two idle cores"


def point_to_docs(notebook: Path) -> None:
    """Let an executed notebook's links to the documentation lead there from where it lies."""
    with suppress(ValueError):  # no relative path leads to another drive
        docs = Path(os.path.relpath(HERE.parent / "docs", notebook.parent)).as_posix()
        text = notebook.read_text(encoding="utf-8").replace("](../docs/", f"]({docs}/")
        notebook.write_text(text, encoding="utf-8")


def seen_from_here(name: str, value: str) -> str:
    """A parameter's value; one that is a path from where the command was typed, absolute: kernels work elsewhere."""
    # an empty one is not this folder
    is_path = name in ("product", "labels", "legend") and value.strip() and Path(value).exists()
    is_path = is_path and (name != "legend" or Path(value).is_file())
    return str(Path(value).resolve()) if is_path else value


def main() -> int:
    """Run all, then print the summary; what cannot be is told in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="quick", help="quick, laptop or paper (smoke: for tests)")
    parser.add_argument("--work-dir", type=Path, default=HERE.parent / "work", help="where results live")
    parser.add_argument("--only", nargs="+", choices=[name[:2] for name in NAMES], metavar="NN", help="some: 01 … 05")
    parser.add_argument("--check", action="store_true", help="fail when results show that nothing was learned")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter")
    options = parser.parse_args()
    try:
        with system_errors_named():
            return run_all(options)
    except Alos2TutError as error:
        print(error, file=sys.stderr)
        return 2


def run_all(options: argparse.Namespace) -> int:
    """Run all that is asked for; returns the exit status."""
    # kernels choose how figures get into their notebooks
    os.environ.pop("MPLBACKEND", None)
    # kernels must find this environment's interpreter, wherever the command was typed
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    work_dir = options.work_dir.resolve()
    out_dir = work_dir / "notebooks"
    make_folder(out_dir)
    shutil.copytree(HERE / "figures", out_dir / "figures", dirs_exist_ok=True)
    parameters = {
        "profile": options.profile,
        "work_dir": str(work_dir),
        **{name: seen_from_here(name, value) for name, value in options.p},
    }
    seconds: dict[str, float] = {}
    names = tuple(name for name in NAMES if name[:2] in (options.only or name))
    for name in names:
        print(f"{name} …{expected(name, options)}", flush=True)
        try:
            with Watch(name, names, seconds, work_dir) as watch:
                seconds[name] = run(name, out_dir, parameters, watch.said)
        except PapermillExecutionError as error:
            print(f"{name} stopped. {error.ename}: {error.evalue}", file=sys.stderr)
            print(f"Where, shows {out_dir / name}.ipynb", file=sys.stderr)
            return 1
    (out_dir / "times.json").write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")
    print_summary(work_dir, seconds)
    failures = list(check(work_dir)) if options.check else []
    for failure in failures:
        print(f"check failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


#: The least share by which a loss falls, from the first tenth of its steps to the last. MixMAE's is in each unit's own
#: scale, of which speckle leaves little to learn
LOSS_FALLS_BY = {"simmim": 0.1, "mixmae": 0.0, "finetune": 0.15}
#: The least and the largest scores, of both networks on the test list and of the map against all labels
SCORES = {"miou": (0.15, 0.9), "pixel_accuracy": (0.5, 0.97)}
#: How many times better than the answer "the commonest class everywhere" a network's mIoU is
ABOVE_CONSTANT = 1.5
#: The largest share of one class in the map, and how many classes have at least a hundredth of it
LARGEST_SHARE, CLASSES_MAPPED = 0.9, 3


def check(work_dir: Path) -> Iterator[str]:
    """What is wrong with the results of a run in the profile ``quick`` or a larger one; nothing, if all is well.

    How much was learned is not asked: only that something was, and that scores are such as speckle leaves possible.
    """
    yield from losses_that_did_not_fall(work_dir)
    yield from scores_out_of_range(work_dir)
    yield from maps_of_one_class(work_dir)


def losses_that_did_not_fall(work_dir: Path) -> Iterator[str]:
    """Trainings that learned nothing."""
    for stage in ("pretrain", "finetune"):
        runs = sorted(work_dir.glob(f"{stage}-*/run.json"))
        if not runs:
            yield f"no {stage}-*/run.json in {work_dir}"
        for path in runs:
            share = LOSS_FALLS_BY[json.loads(path.read_bytes()).get("objective", {}).get("name", stage)]
            with open(path.with_name("metrics.csv"), newline="", encoding="utf-8") as file:
                losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
            tenth = max(1, len(losses) // 10)
            first, last = losses[:tenth].mean(), losses[-tenth:].mean()
            if not last < (1 - share) * first:
                yield f"{path.parent}: the loss went from {first:.4g} to {last:.4g}; it should fall by over {share:.0%}"


def scores_out_of_range(work_dir: Path) -> Iterator[str]:
    """Scores of the two networks side by side, and of the map, that are too bad or too good."""
    judged = [
        (f"{path}, {name}", scores)
        for path, report in reports_of_both(work_dir)
        for name, scores in report["models"].items()
    ]
    if not judged:
        yield f"no evaluate-*/report.json of two models in {work_dir}"
    for where, scores in judged:
        reference = np.array(scores["confusion_matrix"]).sum(axis=1)
        constant = reference.max() / reference.sum() / np.count_nonzero(reference)
        if not (scores["miou"] or 0) > ABOVE_CONSTANT * constant:
            yield f"{where}: miou is {scores['miou']}; the commonest class everywhere would have {constant:.3f}"
    judged += [(str(path), json.loads(path.read_bytes())) for path in work_dir.glob("map-*/landcover_agreement.json")]
    for where, scores in judged:
        for name, (low, high) in SCORES.items():
            if not low <= (scores[name] or 0) <= high:
                yield f"{where}: {name} is {scores[name]}, not between {low} and {high}"


def maps_of_one_class(work_dir: Path) -> Iterator[str]:
    """Maps that hold hardly more than one class."""
    maps = sorted(work_dir.glob("map-*/landcover.tif"))
    if not maps:
        yield f"no map-*/landcover.tif in {work_dir}"
    for path in maps:
        with rasterio.open(path) as raster:
            counts = np.bincount(raster.read(1).ravel(), minlength=256)[:255]  # 255: no data
        shares = counts / max(1, counts.sum())
        if shares.max() > LARGEST_SHARE or np.count_nonzero(shares >= 0.01) < CLASSES_MAPPED:
            largest = {index: round(float(shares[index]), 3) for index in np.argsort(-shares)[:CLASSES_MAPPED].tolist()}
            yield f"{path}: the map is (nearly) constant; its largest shares by class index: {largest}"


def print_summary(work_dir: Path, seconds: dict[str, float]) -> None:
    """Times, then the results by kind, newest first where there are several."""
    print("\nnotebook                  minutes")
    for name, value in seconds.items():
        print(f"{name:<24} {value / 60:8.1f}")
    print(f"{'together':<24} {sum(seconds.values()) / 60:8.1f}\n")
    reports = reports_of_both(work_dir)
    for path, report in reports:
        # the folder may hold those of other profiles
        where = f"{path.parent}:\n" if len(reports) > 1 else ""
        print(f"{where}{scores_in_words(report)}\n")
    if compared := newest_first(work_dir, "compare-*/comparison.json"):
        print(f"{few_labels_in_words(json.loads(compared[0].read_bytes()))}\n")
    kinds = {
        "executed notebooks": "notebooks/*.ipynb",
        "figures": "figures/*.png",
        "encoder": "pretrain-*/encoder.safetensors",
        "segmenter": "finetune-*/segmenter.safetensors",
        "report": "evaluate-*/report.json",
        "map": "map-*/landcover.tif",
        "preview": "map-*/landcover_preview.png",
    }
    for kind, pattern in kinds.items():
        found = newest_first(work_dir, pattern)
        where = found[0].parent if len(found) > 1 and kind in ("executed notebooks", "figures") else None
        if kind == "report":  # a comparison leaves one for each of its networks
            found = [path for path, _ in reports] or found
        for path in [where] if where else found:
            print(f"{kind + made_how(path):<42} {path}")
    if (first := work_dir / "figures" / "05_map.png").is_file():
        print(f"\nTo look at first: {first}")


def newest_first(work_dir: Path, pattern: str) -> list[Path]:
    """Results of one kind."""
    return sorted(work_dir.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)


def made_how(path: Path) -> str:
    """What tells weights from others of their kind: a pretraining's objective, a fine-tuning's start and labels."""
    run = path.with_name("run.json")
    if path.suffix != ".safetensors" or not run.is_file():
        return ""
    facts = json.loads(run.read_bytes())
    if "objective" in facts:
        return f" ({facts['objective']['name']}, weighting {facts['objective']['weighting']})"
    if "init" not in facts:
        return ""
    start = "pretrained" if facts["init"] == "file" else facts["init"]
    return f" ({start} start, {facts.get('patches')} labels)"


def reports_of_both(work_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Reports that score both starts side by side, newest first; comparisons leave others, of one model each."""
    reports = [(path, json.loads(path.read_bytes())) for path in newest_first(work_dir, "evaluate-*/report.json")]
    return [(path, report) for path, report in reports if "baseline" in report["models"]]


def scores_in_words(report: dict[str, Any]) -> str:
    """The mIoU of both starts beside the floor, and in a line what it means."""
    names = {"segmenter": "pretrained encoder", "baseline": "random encoder", "floor": "floor (random forest)"}
    found = {role: report["models"][role] for role in names if role in report["models"]}
    scores = [Interval.of(each["miou"], each["intervals"]["miou"]).to_text() for each in found.values()]
    rows = table(zip((names[role] for role in found), scores, strict=True))
    meant = f"The pretrained encoder is {_compared(report['difference']['miou'])} than the random one"
    if above := report.get("above_floor", {}).get("segmenter"):
        meant += f", and {_compared(above['miou'])} than the floor"
    ground = "simulated ground" if report["simulated"] else "the test list"
    title = (
        f"mIoU of notebook 05's networks on {ground}, with 95 % intervals over blocks of ground (not over trainings)"
    )
    return f"{title}\n{rows}\n{meant}."


def few_labels_in_words(content: dict[str, Any]) -> str:
    """The mIoU of each start, and of the floor, by number of labelled patches."""
    entries = [{"start": "floor (random forest)", **entry} for entry in content.get("floor") or []] + content["starts"]
    budgets = sorted({entry["budget"] for entry in entries})
    scores = {(entry["start"], entry["budget"]): entry["mean"]["miou"] for entry in entries}
    rows = [
        (start, *(Interval(scores.get((start, budget))).to_text() for budget in budgets))
        for start in dict.fromkeys(entry["start"] for entry in entries)
    ]
    trainings = f"mean of {len(content['seeds'])} trainings" if len(content["seeds"]) > 1 else "one training each"
    by_labels = table(rows, ["", *budgets], "<" + ">" * len(budgets))
    more = "What pretraining is worth, over many trainings on other ground: docs/results.md"
    return f"mIoU by number of labelled patches, {trainings}\n{by_labels}\n{more}"


def _compared(difference: dict[str, Any]) -> str:
    """Which of two is better, as far as the interval tells, and by how much."""
    text = Interval.of(difference["value"], difference["interval"]).to_text(signed=True)
    low, high = difference["interval"] or (-1, 1)
    return f"{'better' if low > 0 else 'worse' if high < 0 else 'not clearly better or worse'} ({text})"


if __name__ == "__main__":
    sys.exit(main())
