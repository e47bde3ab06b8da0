"""Put a pretraining and the segmenter made of it into the package, as the weights that ``bundled`` stands for.

``python benchmarks/bundle.py PRETRAINING_FOLDER SEGMENTER_FOLDER``: both are checked to be what ``bundle`` in
``evidence.yaml`` names, cast to half precision and scored on a small scene of their own; then ``alos2tut/bundled`` is
replaced, whole or not at all, and gets the scores of the final comparison from ``docs/results/runs`` (or ``--runs``).
Raise ``BUNDLE_VERSION`` in ``alos2tut/networks/bundle.py`` if weights were released.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence import RESULTS, final_run
from evidence_runs import Run, Spec, bench, files_hash, plain, read_csv
from evidence_tables import Estimate, Scores, load, over_all

from alos2tut import build_dataset, evaluate, load_config, load_encoder, load_segmenter, open_dataset, simulate_product
from alos2tut.core.artifacts import atomic_path, read_json, sha256_file, write_json
from alos2tut.core.config import settings_for_key
from alos2tut.core.errors import Alos2TutError
from alos2tut.core.version import __version__
from alos2tut.networks import bundle
from alos2tut.networks.weights import read_header, save_encoder, save_segmenter

#: bytes of both files together, and rows of the pretraining's history that are recorded
MOST_BYTES, LOSSES = 12_000_000, 20
#: methods of the final comparison whose scores go with the weights, in words, and what is subtracted from which
_NAMES = {
    "floor": "floor: random forest",
    "random": "random start",
    "chosen": "chosen pretraining",
    "simmim": "SimMIM",
    "sar_w": "SAR-W-SimMIM",
    "multiscale": "SimMIM of window statistics",
    "multiscale_32000": "window statistics, 32,000 steps",
    "ceiling": "ceiling: all labels, long",
}
_SHOWN = ("floor", "random", "simmim", "sar_w", "chosen", "multiscale_32000", "ceiling")
_SUBTRACTED = {
    "chosen": ("random", "floor"),
    "simmim": ("random",),
    "sar_w": ("random", "simmim"),
    "multiscale_32000": ("random", "floor"),
}


def run_spec() -> Spec:
    """The run of the final comparison that the segmenter is; its ``start`` is the pretraining."""
    spec = final_run(**bench()["bundle"]["run"])
    if (spec.get("start") or {}).get("kind") != "pretrain":
        raise Alos2TutError("bundle.run starts from no pretraining", where="evidence.yaml")
    return spec


def recipe() -> dict[str, dict[str, Any]]:
    """What ``evidence.yaml`` says of the weights: settings by stage, as headers have them, and hashes of the data."""
    spec, frozen, known = run_spec(), bench()["frozen"]["datasets"], bench()["datasets"]
    drawn = {"seed": spec["draw"], "budget": None if spec["labels"] == "all" else spec["labels"]}
    trained = {"encoder": ({"seed": spec["start"]["seed"]}, spec["start"]), "segmenter": (drawn, spec)}
    stages = {
        kind: plain(settings_for_key(load_config(one["kind"], "paper", **given, **one["settings"])))
        for kind, (given, one) in trained.items()
    }
    stages["segmenter"]["encoder"] = stages["encoder"]["encoder"]
    data = {"encoder": spec["start"]["train"], "segmenter": spec["train"]}
    datasets = {name: {**known["settings"], **known[name]} for name in data.values()}
    scenes = {name: bench()["scenes"][name] for one in datasets.values() for name in one["scenes"]}
    return {
        "settings": {"simulation": scenes, "dataset": datasets, **stages, "held_out": bench()["bundle"]},
        "data": {kind: frozen[name] for kind, name in data.items()},
    }


def hash_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, in hex."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def held_out(folder: Path) -> Path:
    """The dataset of the small scene that the weights are scored on, simulated and built in an empty folder."""
    asked, settings = bench()["bundle"], bench()["datasets"]["settings"]
    seen = {name: tuple(value) if isinstance(value, list) else value for name, value in asked["scene"].items()}
    scene = simulate_product(folder / "scene", **seen)
    where = {"products": [scene], "labels": [scene / "labels"], "work_dir": folder, "workers": 1}
    return build_dataset(load_config("dataset", "paper", **where, **settings | asked["dataset"]))


def write_bundle(stages: Mapping[str, Path], ground: Path, target: Path, runs: Sequence[Run] = ()) -> dict[str, Any]:
    """Cast, score, and write a folder as :mod:`alos2tut.networks.bundle` reads it, whole or not at all.

    Args:
        stages: folders of the complete trainings ``encoder`` and ``segmenter``.
        ground: the dataset of :func:`held_out`.
        target: the folder to write; an older one is replaced.
        runs: of the final comparison, whose scores go with the weights.

    Returns:
        The content of its ``bundle.json``.

    Raises:
        Alos2TutError: trainings of another recipe, or of other data than the frozen, or that do not belong together or
            were changed since; or more than 12 MB.
    """
    files = {kind: checked(kind, stage) for kind, stage in stages.items()}
    made_from = {kind: sha256_file(file) for kind, file in files.items()}
    encoder, segmenter = load_encoder(files["encoder"]), load_segmenter(files["segmenter"])
    if segmenter.header["provenance"]["made_from"].get("init") != made_from["encoder"]:
        raise Alos2TutError("was not trained on from that pretraining", where=files["segmenter"])
    with atomic_path(target) as folder:
        folder.mkdir()
        facts = {"simulated": True, "half": True, "provenance": encoder.header["provenance"]}
        facts |= {"statistics": encoder.statistics, "signal": encoder.signal, "objective": encoder.header["objective"]}
        save_encoder(folder / "encoder.safetensors", encoder, **facts)
        of_segmenter = segmenter.header["provenance"]
        save_segmenter(folder / "segmenter.safetensors", segmenter, provenance=of_segmenter, simulated=True, half=True)
        written = [folder / f"{kind}.safetensors" for kind in bundle.KINDS]
        if (size := sum(file.stat().st_size for file in written)) > MOST_BYTES:
            raise Alos2TutError(f"both files take {size:,} bytes, of at most {MOST_BYTES:,}", where=target)
        known = recipe()["settings"]
        content = {
            "bundle": bundle.BUNDLE_VERSION,
            "package": f"alos2tut {__version__}",
            "about": "trained on simulated scenes only",
            "recipe": "benchmarks/evidence.yaml",
            **in_words(known),
            "settings": {name: hash_of(settings) for name, settings in known.items()},
            "data": recipe()["data"],
            "made_from": made_from,
            "fingerprints": {
                "encoder": encoder.header["provenance"]["made_from"]["dataset"],
                "segmenter": segmenter.header["provenance"]["made_from"]["dataset"],
            },
            "files": {file.name: sha256_file(file) for file in written},
            "first_losses": read_csv(stages["encoder"] / "metrics.csv", "loss")[:LOSSES],
            **score(folder / "segmenter.safetensors", ground),
            "results": published(Scores(runs)),
        }
        write_json(folder / "bundle.json", content)
        # only an empty folder can be replaced; killed between these two, there is none
        shutil.rmtree(target, ignore_errors=True)
    return content


def checked(kind: str, stage: Path) -> Path:
    """The weights of a stage folder, if they are of the recipe and its data and nobody changed them."""
    file, run = stage / f"{kind}.safetensors", read_json(stage / "run.json")
    if sha256_file(file) != run["files"].get(file.name):
        raise Alos2TutError("was changed since the training", where=file)
    provenance, wanted = read_header(file)["provenance"], recipe()
    found, settings = provenance["settings"], wanted["settings"][kind]
    if differing := sorted(name for name in found.keys() | settings.keys() if found.get(name) != settings.get(name)):
        problem = f"is of other settings than evidence.yaml: {', '.join(differing)}"
        raise Alos2TutError(problem, where=file, remedy="Name its run there (bundle.run), or train what is named.")
    # weights know a fingerprint, which is of one version of the package; what was frozen outlives versions
    beside = (open_dataset(folder) for folder in sorted(stage.absolute().parent.glob("dataset-*")))
    data = next((one for one in beside if one.fingerprint == provenance["made_from"]["dataset"]), None)
    if data is None or files_hash(data) != wanted["data"][kind]:
        problem = "was trained on other data than evidence.yaml has frozen, or on some that do not lie beside it"
        raise Alos2TutError(problem, where=file)
    return file


def in_words(known: Mapping[str, Any]) -> dict[str, str]:
    """The recipe in a sentence for each of its parts."""
    spec, encoder, segmenter = run_spec(), known["encoder"], known["segmenter"]
    scenes, datasets = known["simulation"], known["dataset"]
    labels = "all labelled patches" if spec["labels"] == "all" else f"{spec['labels']} labelled patches"
    seeds = ", ".join(str(one["seed"]) for one in scenes.values())
    return {
        "simulation": f"scenes {', '.join(scenes)}, of the seeds {seeds}",
        "dataset": "; ".join(f"{name}: {one['patch_px']} px of {one['looks']} looks" for name, one in datasets.items()),
        "encoder": f"{spec['start']['method']}: {encoder['steps']} steps of {encoder['batch_size']} patches of "
        f"{spec['start']['train']}, seed {encoder['seed']}",
        "segmenter": f"decoder {segmenter['decoder']} of width {segmenter['decoder_width']}: at most "
        f"{segmenter['steps']} steps of {segmenter['batch_size']} patches, {labels} of {spec['train']}",
    }


def published(scores: Scores) -> list[dict[str, Any]]:
    """Scores and differences of the standard level, as :func:`alos2tut.networks.bundle.published_results` reads them.

    A score's interval is over seeds and draws, a difference's also over ground.
    """
    names = _NAMES | {"chosen": _NAMES.get(bench()["final"]["chosen"], bench()["final"]["chosen"])}
    found = []
    for method, labels in itertools.product(_SHOWN, scores.labels()):
        runs = len(scores.of(method, labels))
        asked = {"method": method, "name": names[method], "labels": scores.patches(labels), "runs": runs}
        if mean := scores.mean(method, labels):
            found.append(asked | {"minus": None, **ends(mean)})
        for other in _SUBTRACTED.get(method, ()):
            if pair := scores.difference(method, other, labels):
                found.append(asked | {"minus": other, **ends(over_all(*pair))})
    return found


def ends(estimate: Estimate) -> dict[str, float | None]:
    """A mean with the ends of its interval, if it has one."""
    low, high = estimate.interval() or (None, None)
    return {"miou": estimate.value, "low": low, "high": high}


def score(segmenter: Path, ground: Path) -> dict[str, Any]:
    """The mIoU on all of the list ``test`` of the held-out scene, with its interval over blocks of ground."""
    with tempfile.TemporaryDirectory() as work:
        report = evaluate(
            load_config("evaluate", "paper", dataset=ground, segmenter=segmenter, work_dir=work, floor=False)
        )
        found = read_json(report / "report.json")
    scores, asked = found["models"]["segmenter"], bench()["bundle"]
    return {
        "held_out_miou": scores["miou"],
        "held_out_interval": scores["intervals"]["miou"],
        "held_out": {
            "scene": asked["scene"],
            "dataset": {**bench()["datasets"]["settings"], **asked["dataset"]},
            "fingerprint": open_dataset(ground).fingerprint,
            "patches": found["patches"],
        },
    }


def main() -> int:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path, metavar="PRETRAINING_FOLDER")
    parser.add_argument("segmenter", type=Path, metavar="SEGMENTER_FOLDER")
    parser.add_argument("--runs", type=Path, default=RESULTS / "runs", help="folder of the benchmark's JSON files")
    options = parser.parse_args()
    runs, _ = load(options.runs, "final")
    with tempfile.TemporaryDirectory() as work:
        stages = {"encoder": options.encoder, "segmenter": options.segmenter}
        content = write_bundle(stages, held_out(Path(work)), bundle.FOLDER, runs)
    print(json.dumps(content, indent=2))
    sizes = {file.name: file.stat().st_size for file in sorted(bundle.FOLDER.iterdir())}
    print(f"{bundle.FOLDER}: {', '.join(f'{name} {size / 1e6:.2f} MB' for name, size in sizes.items())}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Alos2TutError as error:
        sys.exit(str(error))
