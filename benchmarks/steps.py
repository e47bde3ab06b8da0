"""Steps of pretraining, ours and those of a plain training in PyTorch, taken in turn; without rasterio.

The plain one is what a user of the published code writes: weights and masks made in the loader, a plain loop.
"""

from __future__ import annotations

import io
import math
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

from alos2tut.configs import load_config
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.store import PatchDataset, open_dataset
from alos2tut.networks.encoders import build_encoder
from alos2tut.pretraining.config import PretrainConfig
from alos2tut.pretraining.simmim import Loss
from alos2tut.pretraining.stage import Pretraining, build_objective, count_operations, losses
from alos2tut.training.callbacks import History, StepCallback
from alos2tut.training.loop import fit
from alos2tut.training.module import learning_rate
from alos2tut.training.run import initial_encoder

# for the plain networks
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support.plain_models import PlainSimMIM, PlainSwin, simmim_loss, to_pixels

# --- the plain training


class PlainPatches(Dataset[tuple[NDArray[Any], ...]]):
    """Patches made ready one by one: flipped, standardised, weighted, masked.

    Args:
        n: how many there are.
        read: gives dB (H, W) float32 by number, NaN without data.
        statistics, config: what they are standardised by, and how they are masked.
    """

    def __init__(
        self, n: int, read: Callable[[int], NDArray[np.float32]], statistics: Statistics, config: PretrainConfig
    ) -> None:
        self.n, self.read, self.config = n, read, config
        self.mean, self.std = statistics.mean_db[0], statistics.std_db[0]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[NDArray[Any], ...]:
        """Standardised dB, weight and whether there is data, (1, H, W) each; the mask of tokens."""
        db, random = self.read(index), np.random.default_rng()
        for axis in (0, 1):
            if random.random() < 0.5:
                db = np.flip(db, axis)
        valid, power = ~np.isnan(db), 10 ** (db / 10)
        low, high = np.nanmin(power), np.nanmax(power)
        weight = np.where(valid, np.exp(1 - (power - low) / (high - low)), 0)
        x = np.where(valid, (db - self.mean) / self.std, 0)
        return x[None], weight[None], valid[None], self._mask(len(db), random)

    def _mask(self, side_px: int, random: np.random.Generator) -> NDArray[np.bool_]:
        unit, tokens = self.config.mask_unit_px, self.config.mask_unit_px // self.config.encoder.patch_size
        side = side_px // unit
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
        self,
        patches: PlainPatches,
        config: PretrainConfig,
        workers: int,
        image_px: int,
        device: str = "cpu",
        half: bool = False,
        compiled: bool = False,
    ) -> None:
        self.config, self.workers, self.device, self.half = config, workers, torch.device(device), half
        sizes = ("patch_size", "embed_dim", "depths", "num_heads", "window_size", "mlp_ratio")
        encoder = PlainSwin((image_px, image_px), 1, **{name: getattr(config.encoder, name) for name in sizes})
        self.network = PlainSimMIM(encoder, encoder.stride, 1).to(device).train()
        if compiled:
            self.network.compile()
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


def faster_plain_training(patches: PlainPatches, config: PretrainConfig, image_px: int) -> PlainTraining:
    """The plain training that loads in its own process, or in a second one, whichever is faster alone."""
    trainings = [PlainTraining(patches, config, workers, image_px) for workers in (0, 1)]
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
        losses: of our steps; filled when the training is done.
    """

    def __init__(self, other: Callable[[], object], warm_up: int) -> None:
        self.other, self.warm_up = other, warm_up
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.waits: list[float] = []
        self.losses: list[float] = []

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


def train(config: PretrainConfig, other: Callable[[], object] = lambda: None, warm_up: int = 0) -> Pairs:
    """Pretrain ``config.steps`` steps, as :func:`alos2tut.pretrain` does but without results."""
    stage, pairs = Path(tempfile.mkdtemp(dir=config.work_dir)), Pairs(other, warm_up)
    torch.manual_seed(config.seed)  # of the head
    network = build_objective(config, initial_encoder(config, open_dataset(config.dataset))).train()
    training = Pretraining(network, config, config.steps)
    history = History(stage / "metrics.csv", reported=training.reported)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # the progress
        fit(training, stage, "pretrain", callbacks=(history, pairs))
    pairs.losses = [row["loss"] for row in history.rows]
    return pairs


def settings(
    dataset: Path, encoder: str | dict[str, Any], batch_size: int, steps: int, **changes: Any
) -> PretrainConfig:
    """The paper's settings of a short training, results beside the dataset."""
    places = {"dataset": str(dataset), "work_dir": str(dataset.parent)}
    return load_config(
        "pretrain", "paper", encoder=encoder, batch_size=batch_size, steps=steps, **places, **{"seed": 0, **changes}
    )


def operations_per_patch(config: PretrainConfig, image_px: int) -> float:
    """Floating-point operations of one patch, forward and backward."""
    with torch.device("meta"):
        return count_operations(build_objective(config, build_encoder(config.encoder, (image_px, image_px))))


def bare_step(config: PretrainConfig, dataset: PatchDataset, device: str = "cpu") -> Callable[[], float]:
    """A step of an objective on the same patches each time, without a loop around it; gives the loss."""
    torch.manual_seed(config.seed)
    network = build_objective(config, initial_encoder(config, dataset)).train().to(device)
    optimizer = Pretraining(network, config, config.steps or 1).configure_optimizers()
    rows = torch.from_numpy(dataset.split("pretrain").gather_rows(range(config.batch_size))).to(device)
    generator = torch.Generator().manual_seed(config.seed)

    def step() -> float:
        mask = network.draw_masks(config.batch_size, config.mask_unit_px, config.mask_ratio, generator)
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=config.precision == "bf16-mixed"):
            loss, _ = losses(network, rows, mask.to(device), Loss.of(config), dataset.statistics)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        return loss.item()

    return step
