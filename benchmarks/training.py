"""Measure training: pretraining's step against the same in plain PyTorch, its wait for data, its memory; and shares.

``measure.py`` calls this. Ours is the real training: after each of its steps a callback takes one of the plain training
and times both, so the two run in turn on equal patches, in batches of one size, with the same threads. The plain one is
what a user of the published code writes: a GeoTIFF per patch, weights and masks made in the loader, a plain loop.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from alos2tut import load_config, load_legend, open_dataset
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.store import PatchDataset
from alos2tut.networks.encoders import build_encoder
from alos2tut.networks.segmenter import Segmenter

# where this is imported from elsewhere, and for the plain networks
sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from measure import SIGNAL, in_new_process, print_ratio, read_file, write_patch_files
from steps import PlainPatches, bare_step, faster_plain_training, operations_per_patch, settings, train
from support.packed import write_packed_dataset

PATCH_PX, PATCHES = 256, 256
ROUNDS, WARM_UP = 10, 2
NAMES = {"tiny": "Swin-T", "paper": "Swin-B"}
MIXMAE_ENCODER = {"shifted": False, "position": "sincos"}


def write_patches(folder: Path) -> tuple[PatchDataset, list[Path]]:
    """A dataset of speckle, some pixels of it missing, in the packed form and as a GeoTIFF per patch; written once."""
    path, files = folder / "packed", folder / "patch files"
    if not path.exists():
        write_packed_dataset(path, patch_px=PATCH_PX, n=PATCHES, n_held_out=1)
        write_patch_files(open_dataset(path), files)
    return open_dataset(path), [files / f"{i}.tif" for i in range(PATCHES)]


# --- measurements


def measure_pretraining(folder: Path) -> None:
    """Steps on the CPU, ours and the plain ones, and our wait for data."""
    dataset, files = write_patches(folder)
    for encoder, batch_size in (("tiny", 4), ("paper", 2)):
        config = settings(dataset.path, encoder, batch_size, WARM_UP + ROUNDS, accelerator="cpu")
        read = partial(lambda files, number: read_file(files[number]), files)
        plain = faster_plain_training(PlainPatches(PATCHES, read, dataset.statistics, config), config, PATCH_PX)
        ours, theirs, waits = train(config, plain.step, WARM_UP).times()
        name = f"{NAMES[encoder]}, {batch_size} patches"
        print_ratio(f"{name}: a plain step / ours (at least 0.95)", (theirs / ours).tolist())
        print_ratio(f"{name}: % of our step until its batch is there (at most 2)", (100 * waits / ours).tolist())
        print(f"{name}: {np.median(ours):.2f} s, plain {np.median(theirs):.2f} s with {plain.workers} loader workers")


TRAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from training import train_alone
before = peak_mb()
print(json.dumps({"seconds": train_alone(*json.loads(sys.argv[2])), "before_mb": before, "peak_mb": peak_mb()}))
"""


def train_alone(dataset: str, batch_size: int, checkpointing: bool) -> float:
    """Seconds per step of Swin-B on two threads."""
    torch.set_num_threads(2)
    config = settings(Path(dataset), "paper", batch_size, 3, accelerator="cpu", gradient_checkpointing=checkpointing)
    return statistics.median(train(config, warm_up=1).times()[0])


def measure_pretraining_memory(folder: Path) -> None:
    """Time and memory of processes that train Swin-B on the CPU; and the published run's operations."""
    dataset, _ = write_patches(folder)
    print("Swin-B on the CPU, each in a new process    s per step   s per patch   peak GB")
    for checkpointing in (False, True):
        for batch_size in (1, 2, 4):
            run = in_new_process(
                TRAIN, Path(__file__).resolve().parent, json.dumps([str(dataset.path), batch_size, checkpointing])
            )
            name = f"batch {batch_size}{', gradient checkpointing' if checkpointing else ''}"
            seconds, peak = run["seconds"], run["peak_mb"] / 1e3
            print(f"{name:<44}{seconds:10.2f} {seconds / batch_size:13.2f} {peak:9.2f}", flush=True)
    print_published_run()


def print_published_run(patches: int = 100_000, gpus: int = 8, rate: float = 400e12, used: float = 0.4) -> None:
    """Multiply what the published pretraining would take: no measurement."""
    config = load_config("pretrain", "paper")
    one = operations_per_patch(config, PATCH_PX)
    operations = one * patches * config.epochs
    print(
        f"by arithmetic, not measured: {config.epochs:g} epochs of {patches:,} patches are {operations:.3g} operations "
        f"({one:.3g} each);\n{gpus} GPUs of {rate / 1e12:g} TFLOP/s, if {used:.0%} of that is used, "
        f"take {operations / gpus / rate / used / 3600:.1f} hours"
    )


def measure_objectives(folder: Path) -> None:
    """Steps of SAR-W-MixMAE against those of SAR-W-SimMIM, of one encoder but for its windows and positions."""
    dataset, _ = write_patches(folder)
    unshifted = dataclasses.asdict(load_config("pretrain", encoder="tiny").encoder) | MIXMAE_ENCODER
    simmim = settings(dataset.path, "tiny", 4, WARM_UP + ROUNDS, accelerator="cpu")
    mixmae = settings(dataset.path, unshifted, 4, WARM_UP + ROUNDS, accelerator="cpu", objective="mixmae")
    ours, theirs, _ = train(simmim, bare_step(mixmae, dataset), WARM_UP).times()
    print_ratio("Swin-T, 4 patches: a MixMAE step / a SimMIM step", (theirs / ours).tolist())


def measure_decoders(folder: Path) -> None:
    """The decoder's share of a segmenter's forward and backward pass."""
    for profile, encoder, side, batch_size in (("quick", None, 64, 8), ("paper", "tiny", 256, 2)):
        config = load_config("finetune", profile, encoder=encoder)
        for kind in ("paper", "refined"):
            network = Segmenter(
                build_encoder(config.encoder, (side, side)),
                load_legend("japan_9"),
                Statistics((-11.0,), (5.0,)),
                SIGNAL,
                decoder=kind,
                width=config.decoder_width,
            )
            x, shares = torch.randn(batch_size, 1, side, side), []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                maps = network.decoder.arranged(network.decoder.maps(network.encoder, x))
                encoded = time.perf_counter()
                network.decoder([each.detach().requires_grad_() for each in maps], x).sum().backward()
                decoded = time.perf_counter()
                torch.autograd.backward(maps, [torch.ones_like(each) for each in maps])
                ended = time.perf_counter()
                shares.append(100 * (decoded - encoded) / (ended - begun))
            name = f"profile {profile}, {side} px, decoder {kind} of width {config.decoder_width}"
            print_ratio(f"{name}: % of forward and backward", shares[1:])


MEASUREMENTS = {
    "objectives": measure_objectives,
    "decoders": measure_decoders,
    "pretraining": measure_pretraining,
    "pretraining_memory": measure_pretraining_memory,
}
