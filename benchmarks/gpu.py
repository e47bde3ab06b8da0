"""Check and measure, on one GPU and in under seven minutes, what the package's own tests cannot on a CPU.

``python benchmarks/gpu.py --out FOLDER`` runs part after part, each of which writes ``FOLDER/PART.json`` as it ends;
what is there already is not run again. ``--dry-run`` goes the same way on a CPU in seconds, with tiny networks and
without compiling. Patches are simulated: neither data nor rasterio is needed; of other packages these are: affine,
lazy_loader, lightning, numpy, pydantic, pyyaml, safetensors, scipy, timm, torch and tqdm.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

# where this is imported from elsewhere, and for what writes patches
sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from steps import PlainPatches, PlainTraining, operations_per_patch, settings, synchronize, train
from support.packed import write_packed_dataset

from alos2tut.core.artifacts import make_folder, read_json, write_json
from alos2tut.core.errors import Alos2TutError
from alos2tut.core.version import __version__
from alos2tut.dataset.legend import Legend
from alos2tut.dataset.store import PatchDataset, open_dataset
from alos2tut.networks.encoders import build_encoder, standardize
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.tiling import TileGrid
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.simmim import Loss
from alos2tut.pretraining.stage import build_objective, losses
from alos2tut.training.run import initial_encoder

#: no part begins later
MOST_MINUTES = 7.0
#: by how much of a loss of eager float32 those of other ways may differ, over the first steps: bfloat16 keeps 8 bits,
#: so numbers are off by up to 0.4 %; compiling only changes the order of sums
BOUNDS = {"bf16": 0.02, "compiled": 0.002, "bf16, compiled": 0.02}
#: by how much a probability may differ from the CPU's: convolutions of a GPU round to 10 bits (TF32)
PROBABILITY_BOUND = 0.01

Result = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """How large all is."""

    device: str
    patch_px: int
    patches: int
    batch: int
    #: what is measured, and a smaller one whose losses are compared, as each way of it is compiled
    encoder: str | dict[str, Any]
    compared: dict[str, Any]
    #: steps or passes, after those that warm up
    rounds: int
    warm_up: int
    #: processes that load the plain training's patches
    workers: int
    map_px: int
    #: channels of the segmenter's decoder
    width: int
    is_compiled: bool

    def config(self, dataset: PatchDataset, encoder: str | dict[str, Any], **changes: Any) -> PretrainConfig:
        """Settings of a training on this device."""
        steps = self.warm_up + self.rounds
        return settings(dataset.path, encoder, self.batch, steps, accelerator=self.device, **changes)


SMALL = {"embed_dim": 96, "depths": [2, 2, 2, 2], "num_heads": [3, 6, 12, 24]}
TINY = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "window_size": 4}
FULL = Scale("cuda", 256, 256, 64, "paper", SMALL, 20, 5, 8, 4096, 256, True)
DRY = Scale("cpu", 64, 8, 2, TINY, TINY, 1, 1, 0, 96, 8, False)


# --- parts


def in_turn(steps: dict[str, Callable[[], object]], scale: Scale) -> dict[str, list[float]]:
    """Seconds of each step, taken in turn, without those of the warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(scale.warm_up + scale.rounds):
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            synchronize()
            seconds[name].append(time.perf_counter() - begun)
    return {name: times[scale.warm_up :] for name, times in seconds.items()}


def ratio(above: Any, below: Any) -> list[float]:
    """Median, smallest and largest of the ratios of two lists of times."""
    ratios = np.array(above) / np.array(below)
    return [round(float(of(ratios)), 4) for of in (np.median, np.min, np.max)]


class _Losses(nn.Module):
    """A network whose output is its loss, as processes that share a batch need it."""

    def __init__(self, network: Any, dataset: PatchDataset, config: PretrainConfig) -> None:
        super().__init__()
        self.network, self.judge, self.statistics = network, Loss.of(config), dataset.statistics

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        return losses(self.network, rows, mask, self.judge, self.statistics)[0]


def nccl(dataset: PatchDataset, scale: Scale) -> Result:
    """A group of one process, by NCCL (on a CPU by gloo): gradients as without it, and what it costs."""
    config = scale.config(dataset, scale.compared)
    alone = _Losses(build_objective(config, initial_encoder(config, dataset)), dataset, config).to(scale.device)
    rows = torch.from_numpy(dataset.split("pretrain").gather_rows(range(scale.batch))).to(scale.device)
    generator = torch.Generator().manual_seed(0)
    mask = alone.network.draw_masks(scale.batch, config.mask_unit_px, config.mask_ratio, generator).to(scale.device)
    alone(rows, mask).backward()
    gradients = {name: p.grad.clone() for name, p in alone.named_parameters() if p.grad is not None}
    backend = "nccl" if scale.device == "cuda" else "gloo"
    # of one process, which needs no port
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        devices = [0] if scale.device == "cuda" else None
        grouped = nn.parallel.DistributedDataParallel(copy.deepcopy(alone), devices, gradient_as_bucket_view=True)
        grouped.zero_grad()
        grouped(rows, mask).backward()
        shared = {name.removeprefix("module."): p.grad for name, p in grouped.named_parameters()}
        scales = {name: float(g.abs().max()) or 1.0 for name, g in gradients.items()}
        difference = max(float((shared[name] - g).abs().max()) / scales[name] for name, g in gradients.items())
        times = in_turn({"alone": lambda: alone(rows, mask).backward(),
                         "group": lambda: grouped(rows, mask).backward()}, scale)  # fmt: skip
    finally:
        dist.destroy_process_group()
    passes = {"backend": backend, "gradient_difference": difference, "passes": difference <= 1e-3}
    return {**passes, "group / alone": ratio(times["group"], times["alone"])}


def mapping(dataset: PatchDataset, scale: Scale) -> Result:
    """Tiles of an array through a segmenter: probabilities as on a CPU, and the time of the bare network's passes."""
    config = scale.config(dataset, scale.encoder)
    side, random = scale.patch_px, np.random.default_rng(0)
    torch.manual_seed(0)
    encoder, legend = build_encoder(config.encoder, (side, side)), Legend.from_dict(dataset.content["legend"], where="")
    segmenter = Segmenter(encoder, legend, dataset.statistics, dataset.signal, width=scale.width).eval()
    small = (-11 + 5 * random.standard_normal((side * 3 // 2, side * 3 // 2))).astype(np.float32)
    small[:5, :9] = np.nan
    classes, on_cpu = segmenter.predict(small, probabilities=True)
    other, on_device = segmenter.to(scale.device).predict(small, probabilities=True)
    difference = float(np.nanmax(np.abs(on_cpu - on_device)))
    image = np.tile(small, (math.ceil(scale.map_px / len(small)),) * 2)[: scale.map_px, : scale.map_px]
    grid = TileGrid.of(image.shape, (side, side), None)
    batch = torch.zeros(grid.batch(8), 1, side, side, dtype=torch.int16, device=scale.device)
    passes = len(grid.tops) * math.ceil(len(grid.lefts) / len(batch))

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(passes):
                segmenter(standardize(batch, segmenter.statistics)[0])

    few = dataclasses.replace(scale, rounds=min(3, scale.rounds), warm_up=1)
    times = in_turn({"predict": lambda: segmenter.predict(image), "bare": bare}, few)
    return {
        "probability_difference": difference,
        "same_class": float((classes == other).mean()),
        "passes": difference <= PROBABILITY_BOUND,
        "predict / bare passes": ratio(times["predict"], times["bare"]),
        "million_px_per_s": image.size / statistics.median(times["predict"]) / 1e6,
    }


def precision(dataset: PatchDataset, scale: Scale) -> Result:
    """Losses of the first steps, in bfloat16 and compiled, against eager float32 of the same batches and masks."""
    ways = {
        "eager": {"precision": "32-true"},
        "bf16": {"precision": "bf16-mixed"},
        "compiled": {"precision": "32-true", "compile": True},
        "bf16, compiled": {"precision": "bf16-mixed", "compile": True},
    }
    found = {name: train(scale.config(dataset, scale.compared, **way)).losses for name, way in ways.items()}
    eager = np.array(found["eager"])
    differences = {name: float(np.max(np.abs(np.array(found[name]) / eager - 1))) for name in BOUNDS}
    passes = all(differences[name] <= bound for name, bound in BOUNDS.items())
    return {"differences": differences, "bounds": BOUNDS, "passes": passes, "losses": found}


def throughput(dataset: PatchDataset, scale: Scale) -> Result:
    """Our training, compiled and in bfloat16, beside plain ones: each step of ours is followed by one of theirs."""
    changes = {"compile": True, "precision": "bf16-mixed" if scale.device == "cuda" else "32-true"}
    config, split = scale.config(dataset, scale.encoder, **changes), dataset.split("pretrain")
    patches = PlainPatches(len(split), lambda number: split.db(number)[0], dataset.statistics, config)
    halves = {"plain float32": (False, False), "plain bf16": (True, False), "plain bf16, compiled": (True, True)}
    theirs: dict[str, list[float]] = {name: [] for name in halves}
    plain = {
        name: PlainTraining(patches, config, scale.workers, scale.patch_px, scale.device, *how)
        for name, how in halves.items()
    }

    def others() -> None:
        for name, training in plain.items():
            begun = time.perf_counter()
            training.step()
            synchronize()
            theirs[name].append(time.perf_counter() - begun)

    ours, _, waits = train(config, others, scale.warm_up).times()
    operations = scale.batch * operations_per_patch(config, scale.patch_px)
    rate = matrix_product_rate(scale)
    return {
        **{f"{name} / ours": ratio(times[scale.warm_up :], ours) for name, times in theirs.items()},
        "patches_per_s": scale.batch / float(np.median(ours)),
        "plain_patches_per_s": {
            name: scale.batch / statistics.median(of[scale.warm_up :]) for name, of in theirs.items()
        },
        "share_of_step_waiting": ratio(waits, ours),
        "flop_per_s": operations / float(np.median(ours)),
        "matrix_product_flop_per_s": rate,
        "share_of_matrix_products": operations / float(np.median(ours)) / rate,
    }


def matrix_product_rate(scale: Scale) -> float:
    """Operations per second of products of square matrices in bfloat16."""
    side, times = (8192, 50) if scale.device == "cuda" else (64, 2)
    a, b = (torch.randn(side, side, device=scale.device, dtype=torch.bfloat16) for _ in range(2))
    few = dataclasses.replace(scale, rounds=1, warm_up=1)
    [seconds] = in_turn({"products": lambda: [a @ b for _ in range(times)]}, few)["products"]
    return times * 2 * side**3 / seconds


#: the quickest first, so that a machine that is taken away leaves most
PARTS = {part.__name__: part for part in (nccl, mapping, precision, throughput)}


# --- all of them


def run(part: str, dataset: PatchDataset, scale: Scale) -> Result:
    """What a part finds, or the error that ended it; with what it ran on, its seconds and the GPU's memory."""
    is_gpu, begun = scale.device == "cuda", time.perf_counter()
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        result = PARTS[part](dataset, scale)
    except Exception:  # of a machine that nobody has seen; the other parts are run all the same
        result = {"error": traceback.format_exc(), "passes": False}
    if is_gpu:
        result["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.empty_cache()
    torch._dynamo.reset()
    return {**result, "on": device_name(scale), "torch": torch.__version__, "package": __version__,
            "seconds": time.perf_counter() - begun}  # fmt: skip


def device_name(scale: Scale) -> str:
    """What a part ran on."""
    return torch.cuda.get_device_name() if scale.device == "cuda" else "CPU, dry run: no measurement"


def main(words: list[str] | None = None) -> int:
    """Run the parts that have not been run; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--dry-run", action="store_true", help="on a CPU, in seconds, to see that all goes")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    args = parser.parse_args(words)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    if not args.dry_run and not torch.cuda.is_available():
        remedy = "Run it on a machine with one, and PyTorch for its CUDA; --dry-run goes through all of it on a CPU."
        raise Alos2TutError("there is no GPU that torch can use", where="benchmarks/gpu.py", remedy=remedy)
    scale, begun, failed = DRY if args.dry_run else FULL, time.monotonic(), []
    torch._dynamo.config.disable = not scale.is_compiled
    make_folder(args.out)
    with tempfile.TemporaryDirectory() as folder:
        path = write_packed_dataset(Path(folder) / "packed", patch_px=scale.patch_px, n=scale.patches, n_held_out=1)
        dataset = open_dataset(path)
        for part in args.parts or PARTS:
            told = args.out / f"{part}.json"
            before = read_json(told) if told.exists() else {"error": "never run"}
            if "error" not in before and before.get("on") == device_name(scale):
                print(f"{part}: done before, see {told}")
                continue
            if (minutes := (time.monotonic() - begun) / 60) > MOST_MINUTES:
                print(f"{part}: left out after {minutes:.1f} minutes; the same call goes on with it")
                continue
            result = run(part, dataset, scale)
            write_json(told, result)
            failed += [part] * (not result.get("passes", True))
            print(f"{part}: {result}", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Alos2TutError as error:
        sys.exit(str(error))
