"""Runs of the benchmark: the frozen ground they stand on, what each does, and how workers share them.

A run is a *spec*, a dict of plain values that decides its result; what comes out is one JSON file that holds both.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from difficulty import SmallUNet
from torch import Tensor, nn

from alos2tut import (
    build_dataset,
    evaluate,
    finetune,
    load_config,
    open_dataset,
    open_product,
    pretrain,
    probe,
    simulate_product,
)
from alos2tut.core.artifacts import atomic_path, make_folder, read_json, read_yaml, write_json
from alos2tut.core.cache import content_hash
from alos2tut.core.errors import Alos2TutError
from alos2tut.core.parallel import alone_in, folder_lock
from alos2tut.dataset.balance import tempered_weights
from alos2tut.dataset.legend import IGNORE
from alos2tut.dataset.store import PatchDataset
from alos2tut.evaluation import forest
from alos2tut.evaluation.report import ground_blocks
from alos2tut.metrics import block_counts, block_scores, scores_from_confusion
from alos2tut.networks.encoders import standardize
from alos2tut.networks.inference import confusion_matrices, confusion_matrix
from alos2tut.networks.weights import save_encoder
from alos2tut.products.given import Given
from alos2tut.segmentation.stage import budgeted_patches
from alos2tut.training.run import initial_encoder

HERE = Path(__file__).parent
SETTINGS = HERE / "evidence.yaml"
#: what follows in the settings is written by :func:`freeze`
_MARK = "# --- frozen: written by `python benchmarks/evidence.py freeze`; what hashes to something else is refused\n"
#: seconds to wait for runs that others are at
_PATIENCE = 5.0

Spec = dict[str, Any]
Run = dict[str, Any]


@cache
def bench() -> dict[str, Any]:
    """The content of ``evidence.yaml``."""
    content: dict[str, Any] = read_yaml(SETTINGS)
    return content


@dataclass(frozen=True)
class Place:
    """Where things lie: stages' results, simulated scenes, one JSON file for each run, and fetched scenes."""

    work: Path
    scenes: Path
    runs: Path
    data: Path = Path("data")

    def result(self, spec: Spec) -> Path:
        """The JSON file of a run."""
        return self.runs / spec["group"] / f"{spec['name']}.json"

    def encoder(self, spec: Spec) -> Path:
        """A file that says in which folder a pretraining lies."""
        return self.work / "encoders" / f"{spec['name']}.json"


# --- the ground, which does not change -------------------------------------------------------------------------------


def scene(name: str, place: Place) -> Path:
    """The folder of a scene, which is simulated if it is missing, and must be the one that was frozen."""
    folder, facts = place.scenes / name, bench()["scenes"][name]
    with folder_lock(place.work / "locks" / name, wait=True):
        if not folder.exists():
            make_folder(folder.parent)
            simulate_product(
                folder, facts["seed"], facts["size_px"], season=facts["season"], corner=tuple(facts["corner"])
            )
    check_frozen("scenes", name, scene_hashes(folder), folder)
    return folder


def scene_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of a scene's image and of its label tiles, by their names."""
    files = [*sorted(folder.glob("IMG-*")), *sorted(folder.glob("labels/*.tif"))]
    return {file.name: content_hash(file) for file in files}


def real_datasets() -> dict[str, dict[str, Any]]:
    """Settings of the datasets of real scenes by their names: the folds of each scene, and the whole of it."""
    real, found = bench()["real"], {}
    for name, one in real["scenes"].items():
        folds = {f"fold{fold}": real["fold"] | {"fold": fold} for fold in range(real["fold"]["folds"])}
        for part, lists in {**folds, "whole": real["whole"]}.items():
            found[f"{name}_{part}"] = real["settings"] | one | lists
    return found


def dataset_settings(name: str, place: Place) -> dict[str, Any]:
    """Settings of a dataset, with the paths of its products and labels, which are there."""
    if name not in (real := real_datasets()):
        settings = {**bench()["datasets"]["settings"], **bench()["datasets"][name]}
        folders = [scene(one, place) for one in settings.pop("scenes")]
        return settings | {"products": folders, "labels": [folder / "labels" for folder in folders]}
    settings = dict(real[name])
    files = {key: place.data / settings.pop(key) for key in ("product", "labels")}
    for path in files.values():
        if not path.exists():
            remedy = f"alos2tut fetch {path.relative_to(place.data).parts[0]}; --data names the folder it lies in."
            raise Alos2TutError("is missing", where=path, remedy=remedy)
    return settings | {"products": [files["product"]], "labels": [files["labels"]]}


@cache
def dataset(name: str, place: Place) -> Path:
    """The folder of a dataset, built or found, which must be the one that was frozen."""
    config = load_config("dataset", "paper", work_dir=place.work, workers=1, **dataset_settings(name, place))
    with folder_lock(place.work / "locks" / f"dataset-{name}", wait=True):
        folder = build_dataset(config)
    data = open_dataset(folder)
    check_frozen("datasets", name, files_hash(data), folder)
    return folder


def files_hash(data: PatchDataset) -> str:
    """Of pixels and lists alone: a fingerprint also knows the package's version, and the products' bytes."""
    _ = data.fingerprint  # which is given only where the stores are those that were built
    return hashlib.sha256(json.dumps(data.files, sort_keys=True).encode()).hexdigest()


def products(name: str, place: Place) -> list[Any]:
    """What a dataset was built of, open."""
    settings = dataset_settings(name, place)
    given = {field.name: settings[field.name] for field in fields(Given) if field.name in settings}
    return [open_product(path, **given) for path in settings["products"]]


def floor_hash() -> str:
    """Of what the floor is: windows, trees, what is chosen on validation and how, and the pixels it grows on."""
    sampling = forest.PIXELS, forest.PIXELS_OF_A_TREE, forest.TREES_TO_CHOOSE
    definition = [forest.WINDOWS_PX, forest.TREES, forest.LEAVES, forest.WEIGHTINGS, *sampling]
    return hashlib.sha256(json.dumps(definition).encode()).hexdigest()


_freezing: dict[str, dict[str, Any]] | None = None


def check_frozen(kind: str, name: str, found: Any, where: object) -> None:
    """Refuse what hashes to something else than was frozen; while freezing, write down what is new.

    Raises:
        Alos2TutError: another hash, or none that was frozen.
    """
    frozen = (bench().get("frozen") or {}).get(kind, {})
    if name not in frozen:
        if _freezing is None:
            remedy = "Freeze it first: python benchmarks/evidence.py freeze"
            raise Alos2TutError(f"{name} is not frozen ({kind})", where=SETTINGS, remedy=remedy)
        _freezing.setdefault(kind, {})[name] = found
    elif frozen[name] != found:
        raise Alos2TutError(
            f"{name} ({kind}) is not what was frozen: it hashes to {found}, frozen is {frozen[name]}",
            where=str(where),
            remedy="Remove it, so that it is made anew; on ground of your own raise `benchmark` and freeze that.",
        )


def freeze(place: Place, names: Sequence[str]) -> list[str]:
    """Hash scenes and datasets, making what is missing, and write down those that are not yet frozen.

    Args:
        place: where they lie.
        names: of the datasets.

    Returns:
        What was written down.
    """
    global _freezing
    _freezing = {}
    try:
        for name in names:
            dataset(name, place)
        check_frozen("floor", "definition", floor_hash(), forest.__file__)
        new = _freezing
    finally:
        _freezing = None
    if not new:
        return []
    # what another process has frozen meanwhile stays
    bench.cache_clear()
    old = bench().get("frozen") or {}
    lines = ["frozen:"]
    for kind in ("scenes", "datasets", "floor"):
        found = {**old.get(kind, {}), **new.get(kind, {})}
        lines += [f"  {kind}:", *(f"    {name}: {json.dumps(found[name])}" for name in sorted(found))]
    with atomic_path(SETTINGS) as temporary:
        text = SETTINGS.read_text("utf-8").partition(_MARK)[0].rstrip("\n")
        temporary.write_text(f"{text}\n\n{_MARK}" + "\n".join(lines) + "\n", "utf-8")
    bench.cache_clear()
    return [f"{kind} {name}" for kind, found in new.items() for name in found]


# --- which runs there are to do --------------------------------------------------------------------------------------


def is_done(spec: Spec, place: Place) -> bool:
    """Whether a run's JSON file is there.

    Raises:
        Alos2TutError: it is of other settings: those of ``evidence.yaml`` were changed, and the recipe's version not.
    """
    path = place.result(spec)
    if not path.is_file():
        return False
    if read_json(path)["spec"] != plain(spec):
        problem = "is of other settings than evidence.yaml, which states the same version"
        raise Alos2TutError(problem, where=path, remedy=f"Raise recipe.{spec['group']} (or benchmark) there.")
    return True


def plain(spec: Spec) -> Spec:
    """A spec as JSON gives it back."""
    found: Spec = json.loads(json.dumps(spec))
    return found


def encoder_folder(start: Spec, place: Place) -> Path | None:
    """Where a pretraining lies on this machine; None if it does not."""
    path = place.encoder(start)
    if not path.is_file():
        return None
    content = read_json(path)
    folder = place.work / content["folder"]
    return folder if content["spec"] == plain(start) and (folder / "run.json").is_file() else None


def open_runs(specs: Sequence[Spec], place: Place) -> Iterator[Spec]:
    """What is left to do, in order; before a run the pretraining that it starts from, if that is missing here."""
    needed = set()
    for spec in specs:
        if is_done(spec, place):
            continue
        if not is_ready(spec, place) and spec["start"]["name"] not in needed:
            needed.add(spec["start"]["name"])
            yield spec["start"]
        yield spec


def is_ready(spec: Spec, place: Place) -> bool:
    """Whether what a run starts from is there."""
    start = spec.get("start")
    return start is None or start["kind"] != "pretrain" or encoder_folder(start, place) is not None


def work(plan: Callable[[], Sequence[Spec]], place: Place, do: Callable[[Spec, Place], Run] | None = None) -> list[str]:
    """Do what is left of a plan, run by run in its order, beside other workers that do the same.

    A run that somebody else is at is passed over; one that fails is told, and not tried again here.

    Args:
        plan: gives all runs; it is asked again after each one, since what came out may call for others.
        place: where things lie.
        do: does a run and gives its results; None: :func:`results`.

    Returns:
        The names of the runs that failed.
    """
    torch.set_num_threads(1)
    failed: list[str] = []
    while True:
        waits = False
        for spec in open_runs(plan(), place):
            if spec["name"] in failed or (spec.get("start") or {}).get("name") in failed:
                continue
            if not is_ready(spec, place):
                waits = True
                continue
            with ExitStack() as stack:
                try:
                    stack.enter_context(alone_in(place.work / "queue" / spec["name"]))
                except Alos2TutError:
                    waits = True
                    continue
                # somebody may have finished it meanwhile; a pretraining that is done elsewhere may be needed here
                if spec["kind"] == "pretrain" or not is_done(spec, place):
                    try:
                        _do(spec, place, do or results)
                    except Alos2TutError as error:
                        print(f"{spec['name']} FAILED: {error}", file=sys.stderr, flush=True)
                        failed.append(spec["name"])
            break
        else:
            if not waits:
                return failed
            time.sleep(_PATIENCE)


def _do(spec: Spec, place: Place, do: Callable[[Spec, Place], Run]) -> None:
    """Do one run and write its file."""
    mark = place.work / "queue" / spec["name"] / "begun"
    resumed = mark.exists()
    mark.touch()
    began, cpu = time.perf_counter(), time.process_time()
    found = do(spec, place)
    spent = time.process_time() - cpu
    path = place.result(spec)
    make_folder(path.parent)
    command = f"python benchmarks/evidence.py {spec['group']} --only {spec['name']}"
    facts = {"command": command, "commit": commit(), "machine": machine(), "cpu_s": round(spent, 1), "resumed": resumed}
    if not path.exists():
        write_run(path, {"spec": spec, **facts, **found})
    mark.unlink()
    shown = " ".join(f"{key} {found[key]:.4f}" for key in ("miou", "val_miou", "final_loss") if key in found)
    print(
        f"{time.strftime('%H:%M')} {spec['group']} {spec['name']} {shown} ({time.perf_counter() - began:.0f} s)",
        flush=True,
    )


def write_run(path: Path, content: Run) -> None:
    """A line of JSON for each entry, which keeps the files small and their differences readable."""
    lines = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in content.items()]
    with atomic_path(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


@cache
def commit() -> str:
    """What the code is: the commit, and whether files that git knows were changed since."""

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "..", ":(exclude)../docs/results")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+changes" if changed else "")


@cache
def machine() -> dict[str, Any]:
    """The class of this machine, without its name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {"threads": 1, "cpu": (models or [platform.machine()])[0], "torch": torch.__version__, **gpu}


# --- what each kind of run does --------------------------------------------------------------------------------------


def results(spec: Spec, place: Place) -> Run:
    """What comes out of a run, by its kind."""
    return {"pretrain": _pretrained, "finetune": _finetuned, "floor": _floor, "unet": _unet}[spec["kind"]](spec, place)


def _pretrained(spec: Spec, place: Place) -> Run:
    """A pretraining, and, if it is one on simulated ground, how the probe on validation ground judges its encoder."""
    signal = {"dataset": dataset(spec["train"], place), "work_dir": place.work, "seed": spec["seed"]}
    folder = pretrain(load_config("pretrain", "paper", **signal, **spec["settings"]))
    made = read_json(folder / "run.json")
    found = {"stage": folder.name} | {key: value for key, value in made.items() if isinstance(value, (int, float))}
    if spec["level"] != "real":
        judged = probe(dataset("dev", place), {spec["method"]: folder}, **_signal(spec))
        scores = {f"{one.method} {one.task} {one.probe}": [round(s, 4) for s in one.by_seed] for one in judged.scores}
        found |= {"probe": scores}
    make_folder(place.encoder(spec).parent)
    write_json(place.encoder(spec), {"spec": spec, "folder": folder.name})
    return found


def _signal(spec: Spec) -> dict[str, bool]:
    """Whether data may differ from what an encoder saw: by design, or as nobody knows the size of real pixels."""
    return {"allow_other_signal": True} if spec["level"] != "standard" else {}


def _finetuned(spec: Spec, place: Place) -> Run:
    """A fine-tuning, judged on the validation list it was trained beside, or once on another dataset's test list."""
    config = _finetuning(spec, place)
    folder = finetune(config, quiet=True)
    made = read_json(folder / "run.json")
    val = read_csv(folder / "metrics.csv", "val_miou")
    found = {"stage": folder.name, "patches": made["patches"], "val_miou": made["val"]["miou"]}
    found |= {"best_step": made["best_step"], "by_step": val}
    if spec["test"] is not None:
        place_of = {"dataset": dataset(spec["test"], place), "segmenter": folder, "work_dir": place.work}
        # the floor has runs of its own
        scored = evaluate(load_config("evaluate", "paper", **place_of, **_signal(spec), floor=False))
        scores = read_json(scored / "report.json")["models"]["segmenter"]
        found |= {"miou": scores["miou"], "by_block": scores["by_block"]}
        shutil.rmtree(scored)
    # hundreds of them fill a disk; those of the first draw are kept to be looked at
    if spec["draw"]:
        shutil.rmtree(folder)
    return found


def _finetuning(spec: Spec, place: Place) -> Any:
    """The settings of a fine-tuning; its ``seed`` is the draw."""
    where = {"dataset": dataset(spec["train"], place), "work_dir": place.work, "init": _init(spec, place)}
    drawn = {"seed": spec["draw"], "budget": None if spec["labels"] == "all" else spec["labels"]}
    return load_config("finetune", "paper", **where, **drawn, **_signal(spec), **spec["settings"])


def _init(spec: Spec, place: Place) -> Path | None:
    """The encoder to start from; a random one of a seed is written, so that it can be crossed with draws."""
    start = spec.get("start")
    if start is None or start["kind"] == "pretrain":
        return None if start is None else encoder_folder(start, place)
    folder = place.work / "encoders" / start["name"]
    with folder_lock(place.work / "locks" / start["name"], wait=True):
        if not (folder / "encoder.safetensors").is_file():
            make_folder(folder)
            path = dataset(spec["train"], place)
            data = open_dataset(path)
            config = load_config("finetune", "paper", dataset=path, seed=start["seed"], **bench()["finetune"])
            encoder = initial_encoder(config, data)
            assert encoder.statistics is not None
            save_encoder(
                folder / "encoder.safetensors",
                encoder,
                statistics=encoder.statistics,
                signal=data.signal,
                objective={"name": "none"},
                provenance={"stage": "random", "seed": start["seed"]},
                simulated=True,
            )
    return folder / "encoder.safetensors"


def read_csv(path: Path, column: str) -> list[list[float]]:
    """[step, value] where a column of a training's metrics has one."""
    header, *lines = (line.split(",") for line in path.read_text("utf-8").splitlines())
    at, of = header.index("step"), header.index(column)
    return [[int(line[at]), round(float(line[of]), 4)] for line in lines if line[of]]


def _budget(spec: Spec, data: PatchDataset) -> Any:
    """Positions in the list ``train`` that every method gets for this draw."""
    drawn = {"seed": spec["draw"], "budget": None if spec["labels"] == "all" else spec["labels"]}
    return budgeted_patches(load_config("finetune", "paper", dataset=data.path, **drawn), data)


def _floor(spec: Spec, place: Place) -> Run:
    """The floor, grown on the patches that the networks get."""
    train, test = (open_dataset(dataset(spec[role], place)) for role in ("train", "test"))
    check_frozen("floor", "definition", floor_hash(), forest.__file__)
    found = forest.baseline(
        train,
        [one for name in dict.fromkeys((spec["train"], spec["test"])) for one in products(name, place)],
        on=test,
        chosen=_budget(spec, train),
        seed=spec["draw"],
    )
    counts = block_counts(found.matrices)
    settings = {"min_leaf": found.min_leaf, "weighting": found.weighting}
    return {"miou": block_scores(counts)["miou"].value, "by_block": counts.tolist(), **settings}


# --- a small U-Net from scratch, the second yardstick


class _UNet(nn.Module):
    """The U-Net of ``difficulty.py`` with what scoring asks of a segmenter."""

    def __init__(self, data: PatchDataset) -> None:
        super().__init__()
        self.legend, self.statistics = data.legend, data.statistics
        self.network = SmallUNet(len(data.legend))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised dB (B, 1, H, W) → (B, classes, H, W)."""
        scores: Tensor = self.network(x)
        return scores


def _unet(spec: Spec, place: Place) -> Run:
    """Trained with tempered cross-entropy, flips and quarter turns; the weights are those that validated best."""
    data, test = (open_dataset(dataset(spec[role], place)) for role in ("train", "test"))
    asked, split, chosen = spec["settings"], data.split("train"), _budget(spec, data)
    torch.manual_seed(spec["seed"])
    network, rng = _UNet(data), np.random.default_rng([spec["draw"], spec["seed"]])
    counts = np.bincount(split.labels[split.rows[chosen]].ravel(), minlength=256)[: len(data.legend)]
    weights = torch.from_numpy(tempered_weights(counts, asked["temper"])).float()
    optimizer = torch.optim.AdamW(network.parameters(), lr=asked["lr"], weight_decay=asked["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, asked["lr"], total_steps=asked["steps"])
    best: tuple[float, int, Mapping[str, Tensor]] = (-1.0, 0, {})
    for step in range(1, asked["steps"] + 1):
        rows, labels = split.gather(rng.choice(chosen, asked["batch_size"]))
        turn, turns = int(rng.integers(4)), (-2, -1)
        x, _ = standardize(torch.from_numpy(np.rot90(rows, turn, turns).copy()), network.statistics)
        truth = torch.from_numpy(np.rot90(labels, turn, turns).copy()).long()
        if rng.integers(2):
            x, truth = x.flip(-1), truth.flip(-1)
        loss = nn.functional.cross_entropy(network(x), truth, weights, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % asked["validate_every"] == 0 or step == asked["steps"]:
            miou = scores_from_confusion(confusion_matrix(network, data.split("val"), 16))["miou"]
            if miou > best[0]:
                best = miou, step, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(best[2])
    scored = test.split("test")
    found = block_counts(confusion_matrices(network, scored, 16, ground_blocks(scored)))
    return {
        "miou": block_scores(found)["miou"].value,
        "by_block": found.tolist(),
        "val_miou": best[0],
        "best_step": best[1],
    }
