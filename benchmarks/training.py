"""Measure training: pretraining's step against the same in plain PyTorch, its wait for data, its memory; and shares.

``measure.py`` calls this. Ours is the real training: after each of its steps a callback takes one of the plain training
and times both, so the two run in turn on equal patches, in batches of one size, with the same threads. The plain one is
what a user of the published code writes: a GeoTIFF per patch, weights and masks made in the loader, a plain loop.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from alos2tut import load_config, load_legend, open_dataset
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.store import PatchDataset
from alos2tut.networks.encoders import build_encoder
from alos2tut.networks.segmenter import Segmenter
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.simmim import Loss, SimMIM
from alos2tut.pretraining.stage import Pretraining, build_objective, count_operations, losses
from alos2tut.training.callbacks import History, StepCallback
from alos2tut.training.loop import fit
from alos2tut.training.module import learning_rate
from alos2tut.training.run import initial_encoder

# where this is imported from elsewhere, and for the plain networks
sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from measure import SIGNAL, in_new_process, print_ratio, read_file, write_patch_files
from support.packed import write_packed_dataset
from support.plain_models import PlainSimMIM, PlainSwin, simmim_loss, to_pixels

PATCH_PX, PATCHES = 256, 256
ROUNDS, WARM_UP = 10, 2
GPU_ROUNDS, GPU_WARM_UP = 20, 5
NAMES = {"tiny": "Swin-T", "paper": "Swin-B"}
MIXMAE_ENCODER = {"shifted": False, "position": "sincos"}


# --- the plain training


class PatchFiles(Dataset[tuple[NDArray[Any], ...]]):
    """Patches from a GeoTIFF each, made ready one by one: flipped, standardised, weighted, masked."""

    def __init__(self, files: list[Path], statistics: Statistics, config: PretrainConfig) -> None:
        self.files, self.mean, self.std, self.config = files, statistics.mean_db[0], statistics.std_db[0], config

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        """Standardised dB, weight and whether there is data, (1, H, W) each; the mask of tokens."""
        db, random = read_file(self.files[index]), np.random.default_rng()
        for axis in (0, 1):
            if random.random() < 0.5:
                db = np.flip(db, axis)
        valid, power = ~np.isnan(db), 10 ** (db / 10)
        low, high = np.nanmin(power), np.nanmax(power)
        weight = np.where(valid, np.exp(1 - (power - low) / (high - low)), 0)
        x = np.where(valid, (db - self.mean) / self.std, 0)
        return x[None], weight[None], valid[None], self._mask(random)

    def _mask(self, random: np.random.Generator) -> NDArray[np.bool_]:
        unit, tokens = self.config.mask_unit_px, self.config.mask_unit_px // self.config.encoder.patch_size
        side = PATCH_PX // unit
        hidden = np.zeros(side**2, bool)
        hidden[random.permutation(side**2)[: math.ceil(self.config.mask_ratio * side**2)]] = True
        return hidden.reshape(side, side).repeat(tokens, 0).repeat(tokens, 1)


def plain_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters in two groups: vectors, biases, position tables and the mask token do not decay."""
    kept = ("bias", "relative_position_bias_table", "absolute_pos_embed", "mask_token")
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        groups[parameter.ndim > 1 and not name.endswith(kept)].append(parameter)
    return [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]


class PlainTraining:
    """The plain network, its loader and its optimiser, step by step."""

    def __init__(
        self, patches: PatchFiles, config: PretrainConfig, workers: int, device: str = "cpu", half: bool = False
    ) -> None:
        self.config, self.workers, self.device, self.half = config, workers, torch.device(device), half
        sizes = ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")
        encoder = PlainSwin((PATCH_PX, PATCH_PX), 1, **{name: getattr(config.encoder, name) for name in sizes})
        self.network = PlainSimMIM(encoder, encoder.stride, 1).to(device).train()
        groups = plain_groups(self.network, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=learning_rate(config, 0, 1), betas=config.betas)
        # drawn without end, so that no epoch's end makes it wait for its workers
        sampler = RandomSampler(patches, replacement=True, num_samples=10**7)
        options = {"batch_size": config.batch_size, "num_workers": workers, "pin_memory": device != "cpu"}
        self.batches = iter(DataLoader(patches, sampler=sampler, **options))

    def step(self) -> None:
        """One step."""
        x, weight, valid, mask = (part.to(self.device, non_blocking=True) for part in next(self.batches))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            prediction = self.network(x, mask)
        pixel_mask = to_pixels(mask, self.config.encoder.patch_size)
        loss = simmim_loss(prediction.float(), x, pixel_mask, weight, valid)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        loss.item()  # for the log


def faster_plain_training(patches: PatchFiles, config: PretrainConfig) -> PlainTraining:
    """The plain training that loads in its own process, or in a second one, whichever is faster alone."""
    trainings = [PlainTraining(patches, config, workers) for workers in (0, 1)]
    best = []
    for training in trainings:
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            training.step()
            times.append(time.perf_counter() - begun)
        best.append(min(times))
    return trainings[int(np.argmin(best))]


# --- ours


def synchronize() -> None:
    """Wait for what a GPU was told to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Pairs(StepCallback):
    """Takes another training's step after each of ours.

    Attributes:
        ours: seconds of our steps: all of the training's loop, callbacks included.
        theirs: seconds of the other's.
        waits: seconds of ours from the end of a step until the next batch is on the device.
    """

    def __init__(self, other: Callable[[], None], warm_up: int) -> None:
        self.other, self.warm_up = other, warm_up
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.waits: list[float] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock."""
        self._begun = self._now()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The batch has come."""
        self.waits.append(self._now() - self._begun)

    def on_step(self, trainer: Any, module: Any, step: int) -> None:
        """Stop the clock, let the other one take its step, start the clock."""
        ended = self._now()
        self.ours.append(ended - self._begun)
        self.other()
        self._begun = self._now()
        self.theirs.append(self._begun - ended)

    def times(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Our seconds, theirs, and our waits, without those of the warm-up."""
        ours, theirs, waits = (np.array(times[self.warm_up :]) for times in (self.ours, self.theirs, self.waits))
        return ours, theirs, waits

    @staticmethod
    def _now() -> float:
        synchronize()
        return time.perf_counter()


def train(config: PretrainConfig, other: Callable[[], None] = lambda: None, warm_up: int = WARM_UP) -> Pairs:
    """Pretrain ``config.steps`` steps, as :func:`alos2tut.pretrain` does but without results."""
    stage, pairs = Path(tempfile.mkdtemp(dir=config.work_dir)), Pairs(other, warm_up)
    network = SimMIM(initial_encoder(config, open_dataset(config.dataset)))
    training = Pretraining(network, config, config.steps)
    history = History(stage / "metrics.csv", reported=training.reported)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # the progress
        fit(training, stage, "pretrain", callbacks=(history, pairs))
    return pairs


def settings(
    dataset: Path, encoder: str | dict[str, Any], batch_size: int, steps: int, **changes: Any
) -> PretrainConfig:
    """The paper's settings of a short training, results beside the dataset."""
    places = {"dataset": str(dataset), "work_dir": str(dataset.parent)}
    return load_config(
        "pretrain", "paper", encoder=encoder, batch_size=batch_size, steps=steps, **places, **{"seed": 0, **changes}
    )


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
        plain = faster_plain_training(PatchFiles(files, dataset.statistics, config), config)
        ours, theirs, waits = train(config, plain.step).times()
        name = f"{NAMES[encoder]}, {batch_size} patches"
        print_ratio(f"{name}: a plain step / ours (at least 0.95)", (theirs / ours).tolist())
        print_ratio(f"{name}: % of our step until its batch is there (at most 2)", (100 * waits / ours).tolist())
        print(f"{name}: {np.median(ours):.2f} s, plain {np.median(theirs):.2f} s with {plain.workers} loader workers")


def matrix_product_rate(side: int = 8192, times: int = 50) -> float:
    """Operations per second of the GPU's products of square matrices in bfloat16."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = math.inf
    for _ in range(2):  # the first warms up
        synchronize()
        begun = time.perf_counter()
        for _ in range(times):
            a @ b
        synchronize()
        seconds = time.perf_counter() - begun
    return times * 2 * side**3 / seconds


def measure_pretraining_on_gpu(folder: Path, batch_size: int = 64, workers: int = 8) -> None:
    """Steps of Swin-B on a GPU, ours compiled and in bfloat16: against plain ones, and the products it could do."""
    if not torch.cuda.is_available():
        print("pretraining on a GPU: there is none")
        return
    dataset, files = write_patches(folder)
    options = {"steps": GPU_WARM_UP + GPU_ROUNDS, "compile": True, "precision": "bf16-mixed", "accelerator": "cuda"}
    config = settings(dataset.path, "paper", batch_size, **options)
    patches, name = PatchFiles(files, dataset.statistics, config), f"Swin-B, {batch_size} patches"
    print(f"on one {torch.cuda.get_device_name()}:")
    for half, words in ((False, "float32 step / ours (at least 2)"), (True, "bfloat16 step / ours")):
        plain = PlainTraining(patches, config, workers, "cuda", half)
        ours, theirs, waits = train(config, plain.step, GPU_WARM_UP).times()
        print_ratio(f"{name}: a plain {words}", (theirs / ours).tolist())
    print_ratio(f"{name}: % of our step until its batch is there (at most 5)", (100 * waits / ours).tolist())
    rate, operations = matrix_product_rate(), batch_size * operations_per_patch(config)
    share = 100 * operations / ours / rate
    print_ratio(f"{name}: % of the rate of 8192 × 8192 products, {rate / 1e12:.0f} TFLOP/s", share.tolist())
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{name}: {batch_size / np.median(ours):.0f} patches per second; {peak:.1f} GiB at most, for both trainings")


def operations_per_patch(config: PretrainConfig) -> float:
    """Floating-point operations of one patch, forward and backward."""
    with torch.device("meta"):
        return count_operations(SimMIM(build_encoder(config.encoder, (PATCH_PX, PATCH_PX))))


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
    one = operations_per_patch(config)
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
    network = build_objective(mixmae, initial_encoder(mixmae, dataset)).train()
    training = Pretraining(network, mixmae, mixmae.steps)
    optimizer = training.configure_optimizers()
    rows = torch.from_numpy(dataset.split("pretrain").gather_rows(range(4)))

    def step() -> None:
        mask = network.draw_masks(4, mixmae.mask_unit_px, mixmae.mask_ratio, torch.Generator())
        loss, _ = losses(network, rows, mask, Loss.of(mixmae), dataset.statistics)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), mixmae.clip_norm)
        optimizer.step()

    ours, theirs, _ = train(simmim, step).times()
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
    "pretraining_gpu": measure_pretraining_on_gpu,
    "pretraining_memory": measure_pretraining_memory,
}
