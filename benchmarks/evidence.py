"""What holds of "pretraining saves labels": a recipe, pretrainings, the final comparison, simulated; then real ground.

``evidence.yaml`` beside this file says which ground, settings and runs. Each run leaves one JSON file in
``docs/results/runs``; one that is there is not done again, and a run that was killed anywhere goes on. Workers, of
however many calls on however many machines that share the folders, each take the next run of the plan that is free.

==================  ====================================================================================================
``freeze``          hashes scenes and datasets, made where they are missing, and the floor; what is frozen stays so
``search``          configurations of fine-tuning for each start on validation ground: all of them at a third of the
                    steps (a schedule of their own), then the best of them at all
``pretraining``     named pretrainings, judged on validation ground by the probe and by fine-tuning
``final``           methods by labels and draws, scored once on the test list, in the order of what matters
``science``         a part of ``final`` that takes hours, not days: ``make bench-science``
``real``            starts by labels and draws on folds of two AIRSAR scenes, where nothing is chosen; ``alos2tut fetch
                    airsar_sanfrancisco`` and ``alos2tut fetch airsar_flevoland`` bring them
``tables``          tables and curves of ``docs/results.md``, made of the JSON files alone
==================  ====================================================================================================

``python benchmarks/evidence.py GROUP --workers 2``; ``--only 'chosen_*_64_*'`` does some, pretrainings too that other
runs start from (``pretraining --only 'simmim_seed*'``); ``--list`` tells what is left. Each worker computes on one
thread.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    # Frozen ground hashes alike on all x86-64 only if NumPy, which is loaded below, has no AVX-512: its logarithms and
    # exponentials differ there by a last bit. Its releases name these features differently, and skip names of others.
    os.environ["NPY_DISABLE_CPU_FEATURES"] = (
        "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    )

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from fnmatch import fnmatchcase
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from evidence_runs import HERE, Place, Spec, bench, freeze, is_done, open_runs, real_datasets, work

from alos2tut.core.artifacts import read_json
from alos2tut.core.errors import Alos2TutError, Alos2TutWarning
from alos2tut.core.parallel import process_pool

RESULTS = HERE.parent / "docs" / "results"
#: of `make bench-science`
SCIENCE_METHODS, SCIENCE_LABELS, SCIENCE_DRAWS = ("floor", "random", "simmim", "chosen"), (16, 64), 5


# --- plans: the runs of a group, in the order in which they are wanted -----------------------------------------------


def spec_of(group: str, name: str, **values: Any) -> Spec:
    """What decides the result of a run; ``name`` gets the version of its group's recipe."""
    version = bench()["recipe"][group]
    spec = {"group": group, "name": f"{name}_r{version}", "benchmark": bench()["benchmark"], "recipe": version}
    return spec | {"level": "standard", "start": None, "test": None} | values


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, of which later ones replace earlier ones; an encoder's key by key."""
    found: dict[str, Any] = {}
    for one in settings:
        encoder = {**found.get("encoder", {}), **one.get("encoder", {})}
        found |= one
        found |= {"encoder": encoder} if encoder else {}
    return found


def pretraining(name: str, seed: int, level: str = "standard") -> Spec:
    """The run of a named pretraining."""
    settings = pretraining_settings(name)
    ground = settings.pop("dataset", "pool")
    where = {"train": ground if level == "standard" else "shifted", "level": level}
    shown = name if level == "standard" else f"{name}_{level}"
    facts: dict[str, Any] = {"kind": "pretrain", "method": name, "seed": seed, "settings": settings}
    return spec_of("pretraining", f"{shown}_seed{seed}", **facts, **where)


def pretraining_settings(name: str) -> dict[str, Any]:
    """Settings of a named pretraining, and the ``dataset`` where it has one of its own."""
    if name not in bench()["pretrainings"]:
        raise Alos2TutError(f"'{name}' is none of the pretrainings", where="evidence.yaml")
    return merged(bench()["pretrain"], bench()["pretrainings"][name])


def search_plan(runs: Place) -> list[Spec]:
    """All configurations of each start at a third of the steps; where these are there, the best at all; all labels."""
    search, plan = bench()["search"], []
    starts = search["starts"].items()
    for start, name in starts:
        begin = None if name is None else pretraining(name, 0)
        by_config: dict[str, list[Spec]] = {}
        for config, changed in search["configurations"].items():
            settings = merged(bench()["finetune"], changed)
            by_config[config] = [_search_run(start, begin, config, settings, "third", d) for d in search["draws"]]
        plan += [spec for specs in zip(*by_config.values(), strict=True) for spec in specs]
        if all(is_done(spec, runs) for specs in by_config.values() for spec in specs):
            means = {
                config: float(np.mean([read_json(runs.result(spec))["val_miou"] for spec in specs]))
                for config, specs in by_config.items()
            }
            better = sorted(means, key=lambda config: -means[config])[: search["kept"]]
            for config in better:
                settings = merged(bench()["finetune"], search["configurations"][config])
                plan += [_search_run(start, begin, config, settings, "whole", d) for d in search["draws"]]
    for d, (config, changed), (start, name) in product(search["draws"], search["all_labels"].items(), starts):
        begin = None if name is None else pretraining(name, 0)
        plan.append(_search_run(start, begin, config, merged(bench()["finetune"], changed), "all", d))
    return plan


def _search_run(start: str, begin: Spec | None, config: str, settings: dict[str, Any], rung: str, draw: int) -> Spec:
    if rung == "third":
        shorter = {key: max(1, round(settings[key] / 3)) for key in ("steps", "validate_every")}
        settings = settings | shorter
    facts = {"kind": "finetune", "method": start, "config": config, "rung": rung, "train": "dev", "start": begin}
    labels = "all" if rung == "all" else bench()["search"]["labels"]
    facts |= {"labels": labels, "draw": draw, "settings": settings}
    return spec_of("search", f"{start}_{config}_{rung}_draw{draw}", **facts)


def pretraining_plan(runs: Place) -> list[Spec]:
    """Each named pretraining, then its fine-tunings on validation ground; first a random start's."""
    judged, plan = bench()["pretraining"], list[Spec]()
    settings = merged(bench()["finetune"], judged["settings"])
    for name in (None, *bench()["pretrainings"]):
        start = None if name is None else pretraining(name, 0)
        plan += [] if start is None else [start]
        facts = {"kind": "finetune", "method": name or "none", "train": "dev", "start": start, "settings": settings}
        plan += [
            spec_of("pretraining", f"{name or 'none'}_dev_draw{draw}", labels=judged["labels"], draw=draw, **facts)
            for draw in judged["draws"]
        ]
    return plan


def final_plan(runs: Place) -> list[Spec]:
    """The primary comparison seed by seed, then 16 and all labels, then the rest."""
    final = bench()["final"]
    draws, seeds, primary = final["draws"], range(final["seeds"]), final["primary"]["labels"]
    plan = []
    for seed in seeds:
        for draw in range(draws[primary]):
            plan += [] if seed else [final_run("floor", primary, draw)]
            plan += [final_run(method, primary, draw, seed) for method in ("random", "chosen")]
    few, most = min(labels for labels in draws if labels != "all"), "all"
    main = ("floor", "random", "chosen")
    for labels in (few, most, *(labels for labels in draws if labels not in (few, most, primary))):
        first = (*main, "ceiling") if labels == most else main
        plan += [final_run(method, labels, draw) for draw in range(draws[labels]) for method in first]
    ordered = (primary, *(labels for labels in draws if labels != primary))
    others = [name for name in final["others"] if name != final["chosen"]]
    cells = [(m, seed, draw) for m in others for seed in range(seeds_of(m)) for draw in range(draws[primary])]
    plan += [final_run(m, primary, draw, seed) for m, seed, draw in cells]
    plan += [final_run(m, labels, draw) for labels in ordered[1:] for m in others for draw in range(draws[labels])]
    for labels in ordered:
        plan += [final_run(m, labels, d, None, "shifted") for m in final["shifted"] for d in range(draws[labels])]
    return list({spec["name"]: spec for spec in plan}.values())


def seeds_of(method: str) -> int:
    """How many first weights a method of the final comparison is run with."""
    final = bench()["final"]
    of = final if method in ("random", "chosen") else final["others"].get(method) or {}
    return int(of.get("seeds", 1))


def final_run(method: str, labels: int | str, draw: int, seed: int | None = None, level: str = "standard") -> Spec:
    """One run of the final comparison; where seeds are not crossed with draws they take turns."""
    final = bench()["final"]
    seed = draw % seeds_of(method) if seed is None else seed
    kind, start, named = "finetune", None, "pretrained"
    if method in ("floor", "unet"):
        kind, named = method, method
    elif method == "random":
        start = {"kind": "random", "name": f"random_seed{seed}_b{bench()['benchmark']}", "seed": seed}
        named = "random"
    else:
        name = final["chosen"] if method in ("chosen", "ceiling") else method
        named = "ceiling" if method == "ceiling" else named
        start = pretraining(name, seed, level)
    settings = recipe(named, labels)
    settings = merged(bench()["finetune"], settings) if kind == "finetune" else settings
    facts = {"kind": kind, "method": method, "level": level, "labels": labels, "draw": draw, "seed": seed}
    facts |= {"train": "label", "test": "test", "start": start, "settings": settings}
    shown = f"{method}_{level}_{labels}_draw{draw}" + (f"_seed{seed}" if kind != "floor" else "")
    return spec_of("final", shown, **facts)


def recipe(name: str, labels: int | str) -> dict[str, Any]:
    """What a recipe of the final comparison changes for a number of labels."""
    settings = dict(bench()["final"]["recipes"].get(name) or {})
    return settings | (settings.pop("by_labels", None) or {}).get(labels, {})


def science_plan(runs: Place) -> list[Spec]:
    """The part of the final comparison that `make bench-science` does."""
    return [
        final_run(method, labels, draw, 0)
        for draw in range(SCIENCE_DRAWS)
        for labels in SCIENCE_LABELS
        for method in SCIENCE_METHODS
    ]


def real_plan(runs: Place) -> list[Spec]:
    """Floor, no pretraining and that of simulated ground; then longer, of the other scene, and of the fold's own."""
    real = bench()["real"]
    return [
        real_run(method, scene, labels, draw, fold)
        for methods in (("floor", "random", "simulation"), ("longer",), ("other",), ("own",))
        for scene, one in real["draws"].items()
        for labels, draws in one.items()
        for draw in range(draws)
        for fold in range(real["fold"]["folds"])
        for method in methods
    ]


def real_run(method: str, scene: str, labels: int | str, draw: int, fold: int) -> Spec:
    """One run on a fold of a real scene; all recipes are those of the final comparison."""
    real, ground = bench()["real"], f"{scene}_fold{fold}"
    name, seed = (real["pretraining"][key] for key in ("name", "seed"))
    starts: dict[str, Callable[[], Spec]] = {
        "simulation": lambda: pretraining(name, seed),
        "longer": lambda: pretraining(real["longer"], seed),
        "other": lambda: real_pretraining(f"{next(one for one in real['scenes'] if one != scene)}_whole"),
        "own": lambda: real_pretraining(ground),
    }
    settings: dict[str, Any] = {}
    if method != "floor":
        # other channels and scales: the mean and spread of dB are those of the fold's own training blocks, for all
        found = recipe("random" if method == "random" else "pretrained", real["recipe_of"][labels])
        settings = merged(bench()["finetune"], found, {"statistics": "own"})
    facts = {"kind": "floor" if method == "floor" else "finetune", "method": method, "level": "real"}
    facts |= {"scene": scene, "fold": fold, "labels": labels, "draw": draw, "train": ground, "test": ground}
    facts |= {"seed": seed if method in starts else 0, "start": starts[method]() if method in starts else None}
    return spec_of("real", f"{scene}_{method}_{labels}_draw{draw}_fold{fold}", **facts, settings=settings)


def real_pretraining(ground: str) -> Spec:
    """The pretraining that simulated ground is seen with, on the list ``pretrain`` of a real dataset."""
    name, seed = (bench()["real"]["pretraining"][key] for key in ("name", "seed"))
    settings = pretraining_settings(name)
    settings.pop("dataset", None)
    facts = {"kind": "pretrain", "method": name, "seed": seed, "level": "real", "train": ground, "settings": settings}
    return spec_of("real", f"{ground}_{name}_seed{seed}", **facts)


PLANS: dict[str, Callable[[Place], list[Spec]]] = {
    "search": search_plan,
    "pretraining": pretraining_plan,
    "final": final_plan,
    "science": science_plan,
    "real": real_plan,
}


def plan(group: str, only: Sequence[str], place: Place) -> list[Spec]:
    """The runs of a group whose name, with or without its version, fits one of some patterns; all without any.

    With patterns the group's pretrainings, too, that runs of any group start from.
    """
    names = {spec["name"]: spec for spec in PLANS[group](place)}
    if only:
        starts = [spec["start"] for plan in (final_plan, real_plan) for spec in plan(place) if spec["start"]]
        names |= {one["name"]: one for one in starts if one["kind"] == "pretrain" and one["group"] == group}
    fits = {name for name in names for one in only if fnmatchcase(name, one) or fnmatchcase(name, f"{one}_r[0-9]*")}
    return [spec for name, spec in names.items() if not only or name in fits]


def worker(group: str, only: Sequence[str], place: Place) -> list[str]:
    """What one process does; the names of the runs that failed."""
    warnings.simplefilter("ignore", Alos2TutWarning)
    return work(partial(plan, group, only, place), place)


def main() -> int:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", choices=["freeze", *PLANS, "tables"])
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="names of runs (freeze: of datasets)")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--work", type=Path, default=Path("work/evidence"), help="folder of the stages' results")
    parser.add_argument("--scenes", type=Path, help="folder of the scenes; left out: `scenes` in that folder")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of fetched scenes")
    parser.add_argument("--runs", type=Path, default=RESULTS / "runs", help="folder of the JSON files")
    parser.add_argument("--page", type=Path, default=RESULTS.with_suffix(".md"), help="what tables are written into")
    parser.add_argument("--list", action="store_true", help="tell what is left to do, and do nothing")
    options = parser.parse_args()
    folders = options.work, options.scenes or options.work / "scenes", options.runs, options.data
    place = Place(*(path.absolute() for path in folders))
    if options.group == "tables":
        from evidence_tables import write_page

        write_page(place.runs, options.page)
        return 0
    if options.group == "freeze":
        known = [*(name for name in bench()["datasets"] if name != "settings"), *real_datasets()]
        chosen = [n for n in known if not options.only or any(fnmatchcase(n, one) for one in options.only)]
        print("\n".join(freeze(place, chosen)) or "all of it was frozen")
        return 0
    if options.list:
        left = [spec["name"] for spec in open_runs(plan(options.group, options.only, place), place)]
        print("\n".join([*left, f"{len(left)} runs are left"]))
        return 0
    with process_pool(options.workers) as pool:
        if pool is None:
            failed = worker(options.group, options.only, place)
        else:
            jobs = [pool.submit(worker, options.group, options.only, place) for _ in range(options.workers)]
            wait(jobs)
            failed = [name for job in jobs for name in job.result()]
    if options.group == "science":
        from evidence_tables import final_tables, load

        print("\n\n".join(final_tables(load(place.runs, "final")[0]).values()))
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Alos2TutError as error:
        sys.exit(str(error))
