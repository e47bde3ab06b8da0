"""What both trainings share: the stream of batches, randomness, the learning rate, resuming, progress.

Everything random in a training step is a function of the seed, the micro-batch's number and the sample's place in it,
drawn for the whole batch and sliced by process. So a run that was killed anywhere continues to the same bits (on a
CPU, with the same number of threads), whatever the number of loader workers.

Words: a *micro-batch* is what passes through the network at once, over all processes together; ``accumulate``
micro-batches make one optimiser *step*.
"""

from __future__ import annotations

import csv
import importlib.util
import logging
import math
import os
import re
import signal
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ..core.artifacts import atomic_path, read_json, sha256_file, write_json
from ..core.config import FinetuneConfig, PretrainConfig
from ..core.errors import Alos2TutError, Alos2TutWarning, Stopped
from ..core.progress import is_interactive
from ..dataset.store import PatchDataset, Split, batch_indices, open_dataset
from ..networks.distributed import rank_and_world, sum_over_processes, wait_for_all
from ..networks.encoders import Encoder, build_encoder, parameter_groups
from ..networks.weights import check_signal, load_encoder, report_statistics, weights_path

#: One sample of the endless stream: micro-batch, position in it, index in the list.
Sample = tuple[int, int, int]

#: Keeps the draws of different purposes apart.
PURPOSES = {"init": 0, "network": 1, "augmentation": 2, "examples": 3, "budget": 4}

_KEPT_CHECKPOINTS = 2

#: Optimiser steps on a GPU after which losses are looked at: reading them makes the GPU wait.
_STEPS_BETWEEN_LOOKS = 16

#: The file in a stage's folder that says where a training was told to stop; gone when it goes on.
STOPPED = "stopped.json"

#: Patches that a message names.
_NAMED_PATCHES = 8


class Batch(NamedTuple):
    """One process's share of a micro-batch."""

    micro_batch: int
    #: (B,) int64 positions in the whole micro-batch; NumPy, so that they stay where random numbers are drawn
    positions: NDArray[np.int64]
    #: (B, C, H, W) int16 hundredths of dB
    rows: Tensor
    #: (B, H, W) uint8 class indices; empty where nobody asks for them
    labels: Tensor


# --- processes -------------------------------------------------------------------------------------------------------


# --- randomness ------------------------------------------------------------------------------------------------------


def derived_seed(seed: int, purpose: str, *keys: int) -> int:
    """A seed for one purpose (of :data:`PURPOSES`) and place, unrelated to those of all others."""
    state = np.random.SeedSequence([seed, PURPOSES[purpose], *keys]).generate_state(2, np.uint32)
    return int(state[0]) << 31 ^ int(state[1])


def batch_generator(seed: int, micro_batch: int) -> torch.Generator:
    """The CPU generator from which a whole micro-batch's flips, then its masks, are drawn."""
    return torch.Generator().manual_seed(derived_seed(seed, "augmentation", micro_batch))


def draw_flips(n: int, generator: torch.Generator) -> Tensor:
    """For each of n images whether to mirror it left to right and top to bottom, (n, 2) bool."""
    return torch.rand(n, 2, generator=generator) < 0.5


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror each image (B, …, H, W) as :func:`draw_flips` says; labels and images alike."""
    flips = to_device(flips, images.device)
    for column, axis in [(0, -1), (1, -2)]:
        chosen = flips[:, column].view(-1, *[1] * (images.ndim - 1))
        images = torch.where(chosen, images.flip(axis), images)
    return images


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """What was drawn on the CPU on the device, without making a GPU wait for it."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


# --- data ------------------------------------------------------------------------------------------------------------


class EndlessBatches(Sampler[list[Sample]]):
    """The micro-batches of one process, without end.

    Args:
        n: samples in the list.
        batch_size: samples per micro-batch, over all processes.
        seed: decides the order.
        first: gives the number of the micro-batch to start at, asked when iteration starts (only then does a resumed
            run know it).
        rank, world: this process and the number of processes; each takes a contiguous slice.
        paired: keep the i-th sample and the i-th from the end in one process, which then takes two slices.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        first: Callable[[], int],
        rank: int = 0,
        world: int = 1,
        paired: bool = False,
    ) -> None:
        if n < 1:
            raise Alos2TutError("the list of patches to train on is empty", remedy="Build the dataset of more ground.")
        if ((batch_size + 1) // 2 if paired else batch_size) < world:
            raise Alos2TutError(f"a batch of {batch_size} cannot be shared by {world} processes", where="batch_size")
        self.n, self.batch_size, self.seed, self.first = n, batch_size, seed, first
        if paired:
            half = np.array_split(np.arange((batch_size + 1) // 2), world)[rank]
            self.positions = np.unique([half, batch_size - 1 - half])
        else:
            self.positions = np.array_split(np.arange(batch_size), world)[rank]

    def __iter__(self) -> Iterator[list[Sample]]:
        micro_batch = self.first()
        while True:
            indices = batch_indices(self.n, self.batch_size, self.seed, micro_batch)
            yield [(micro_batch, int(place), int(indices[place])) for place in self.positions]
            micro_batch += 1


class PatchRows(Dataset[Batch]):
    """Gathers stored rows and, if asked to, labels; the arithmetic is left to the device.

    Args:
        dataset: its folder.
        split: the list.
        labelled: whether labels are needed.
        chosen: positions in the list that count; None: all.
    """

    def __init__(
        self, dataset: str | Path, split: str, labelled: bool = True, chosen: NDArray[np.int64] | None = None
    ) -> None:
        self.dataset, self.name, self.labelled, self.chosen = Path(dataset), split, labelled, chosen

    @cached_property
    def split(self) -> Split:
        """The list and its mapped arrays, opened once in each worker."""
        return open_dataset(self.dataset).split(self.name)

    def __getstate__(self) -> dict[str, Any]:
        # mapped arrays would be pickled whole
        return {key: value for key, value in self.__dict__.items() if key != "split"}

    def __len__(self) -> int:
        return len(self.split) if self.chosen is None else len(self.chosen)

    def places(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions in the list of samples 0…len − 1."""
        return indices if self.chosen is None else self.chosen[indices]

    def __getitems__(self, samples: list[Sample]) -> Batch:
        """One batch for the samples that :class:`EndlessBatches` yields."""
        indices = self.places(np.array([index for _, _, index in samples]))
        positions = np.array([position for _, position, _ in samples])
        if self.labelled:
            rows, labels = self.split.gather(indices)
        else:
            rows, labels = self.split.gather_rows(indices), np.empty(0, np.uint8)
        return Batch(samples[0][0], positions, torch.from_numpy(rows), torch.from_numpy(labels))


def _as_it_is(batch: Any) -> Any:
    return batch


# --- learning rate ---------------------------------------------------------------------------------------------------


def number_of_steps(config: PretrainConfig | FinetuneConfig, n: int) -> int:
    """Optimiser steps: as configured, else what the epochs over n samples take, rounded up."""
    return config.steps or max(1, math.ceil(config.epochs * n / (config.batch_size * config.accumulate)))


def learning_rate(config: PretrainConfig | FinetuneConfig, step: int, steps: int) -> float:
    """The learning rate of one optimiser step.

    A linear warm-up, then for pretraining constant with drops to a tenth, for fine-tuning a cosine. ``base_lr``,
    ``warmup_lr`` and ``min_lr`` are for 512 samples per step and scale with their number (the linear rule of arXiv
    1706.02677); where ``lr`` is given, it and the other two are taken as they are.

    Args:
        config: the settings.
        step: from 0.
        steps: their number.
    """
    scale = 1.0 if config.lr else config.batch_size * config.accumulate / 512
    peak = config.lr or config.base_lr * scale
    warmup = round(config.warmup_fraction * steps)
    if step < warmup:
        start = min(config.warmup_lr * scale, peak)
        return start + (peak - start) * step / warmup
    if isinstance(config, PretrainConfig):
        return float(peak * 0.1 ** sum(step >= drop * steps for drop in config.lr_drops))
    end = min(config.min_lr * scale, peak)
    return end + (peak - end) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its learning rate: this one times the group's ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


# --- what training starts from --------------------------------------------------------------------------------------


def initial_encoder(config: PretrainConfig | FinetuneConfig, dataset: PatchDataset) -> Encoder:
    """The encoder that a training starts from: that of the file ``init``, or a random one.

    Returns:
        The encoder with the statistics that its input is standardised by: the file's, or the dataset's.

    Raises:
        Alos2TutError: an architecture that does not fit the patches; a file that is broken, or was trained on patches
            of another size or on another signal.
    """
    image_px = (dataset.patch_px, dataset.patch_px)
    if config.init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(config.seed, "init"))
            encoder = build_encoder(config.encoder, image_px, dataset.channels, config.drop_path)
        encoder.statistics, encoder.signal = dataset.statistics, dataset.signal
        return encoder
    path = weights_path(config.init, "encoder")
    encoder = load_encoder(path, drop_path=config.drop_path)
    assert encoder.statistics is not None and encoder.signal is not None
    check_signal(encoder.signal, dataset.signal, path, allow_other=config.allow_other_signal)
    if encoder.image_px != image_px:
        raise Alos2TutError(
            f"was trained on patches of {encoder.image_px[0]} × {encoder.image_px[1]} px, the dataset's are "
            f"{image_px[0]} × {image_px[1]}",
            where=path,
            remedy="Build the dataset with that patch_px, or pretrain on these patches.",
        )
    report_statistics(encoder.statistics, dataset.statistics, path)
    return encoder


def made_from(config: PretrainConfig | FinetuneConfig, dataset: PatchDataset) -> dict[str, str]:
    """Fingerprints of what a training is made from, by role."""
    init = {} if config.init is None else {"init": sha256_file(weights_path(config.init, "encoder"))}
    return {"dataset": dataset.fingerprint} | init


# --- the module ------------------------------------------------------------------------------------------------------


class Training(lightning.LightningModule):
    """What Lightning trains: a network, its batches and its optimiser. Subclasses say what the loss is.

    Args:
        network: the module to train; its encoder is ``network.encoder``.
        config: the settings.
        split: the list to train on.
        steps: optimiser steps.
        labelled: whether labels are needed.
        paired: whether the i-th sample of a batch and the i-th from its end belong together.
        chosen: positions in the list to train on; None: all.

    Attributes:
        grad_norm: norm of the last step's gradient before it was clipped.
        stop_reason: set from outside (by a signal, or the clock) to end training after the current step.
    """

    #: what :meth:`losses` reports
    reported: tuple[str, ...] = ("loss",)

    def __init__(
        self,
        network: nn.Module,
        config: PretrainConfig | FinetuneConfig,
        split: str,
        steps: int,
        *,
        labelled: bool = True,
        paired: bool = False,
        chosen: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.config, self.steps, self.paired = network, config, steps, paired
        self.rows = PatchRows(config.dataset, split, labelled, chosen)
        self.grad_norm: Tensor = torch.zeros(())
        self.stop_reason: str | None = None

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch to differentiate, and what to report of the whole micro-batch over all processes.

        Args:
            batch: on the device.
            flips: (B, 2) bool, this process's share.
            generator: whose next draws are this micro-batch's masks, for all processes together.
        """
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One micro-batch."""
        torch.manual_seed(derived_seed(self.config.seed, "network", batch.micro_batch, self.global_rank))
        generator = batch_generator(self.config.seed, batch.micro_batch)
        flips = draw_flips(self.config.batch_size, generator)[batch.positions]
        loss, reported = self.losses(batch, flips, generator)
        # one process that is told to stop stops all, after the same step
        stop = sum_over_processes(torch.full((), float(self.stop_reason is not None), device=self.device))
        return {"loss": loss, "reported": reported, "stop": stop, "micro_batch": batch.micro_batch}

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and remember what it was."""
        clip = self.config.clip_norm
        self.grad_norm = nn.utils.clip_grad_norm_((p for p in self.parameters() if p.grad is not None), clip).detach()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with our parameter groups."""
        config = self.config
        layer_decay = config.layer_decay if isinstance(config, FinetuneConfig) else 1.0
        groups = parameter_groups(self.network, config.weight_decay, layer_decay)
        optimizer = torch.optim.AdamW(groups, lr=1.0, betas=config.betas, eps=1e-8)
        set_learning_rate(optimizer, learning_rate(config, 0, self.steps))
        return optimizer

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set this step's learning rate, which needs no scheduler's state to be right after resuming."""
        set_learning_rate(self.trainer.optimizers[0], learning_rate(self.config, self.global_step, self.steps))

    def train_dataloader(self) -> DataLoader[Batch]:
        """The endless stream, from where a resumed run stopped."""
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        sampler = EndlessBatches(
            len(self.rows),
            self.config.batch_size,
            self.config.seed,
            lambda: progress.current.ready,
            self.trainer.global_rank,
            self.trainer.world_size,
            self.paired,
        )
        return DataLoader(
            self.rows,
            batch_sampler=sampler,
            collate_fn=_as_it_is,
            num_workers=self.config.loader_workers,
            pin_memory=torch.cuda.is_available(),
        )


# --- callbacks -------------------------------------------------------------------------------------------------------


class StepCallback(lightning.Callback):
    """Acts when an optimiser step is complete, which with accumulation is not after every batch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Lightning's hook, after every micro-batch."""
        self.on_batch(pl_module, outputs)
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step(trainer, pl_module, trainer.global_step)

    def on_batch(self, module: Training, outputs: dict[str, Tensor]) -> None:
        """After every micro-batch."""

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """After optimiser step number ``step``, from 1."""


class History(StepCallback):
    """Loss, learning rate and gradient by step: in memory, in ``metrics.csv``, in TensorBoard.

    The history travels in the resume checkpoints, so that ``metrics.csv`` has no gaps and no doubles.

    Args:
        path: the CSV file; columns ``step``, what the training reports, ``lr``, ``grad_norm`` and the extra ones.
        every: steps between rows; what is reported is the mean since the last row, the other columns are the step's.
        reported: names of what the training reports.
        extra: names of further columns, filled by :meth:`note`.
    """

    def __init__(
        self, path: Path, every: int = 1, reported: tuple[str, ...] = ("loss",), extra: tuple[str, ...] = ()
    ) -> None:
        self.path, self.every, self.columns = path, every, ("step", *reported, "lr", "grad_norm", *extra)
        self.rows: list[dict[str, float]] = []
        self._since: dict[str, list[Tensor | float]] = {name: [] for name in reported}
        self._noted: dict[str, float] = {}

    def note(self, **values: float) -> None:
        """Values for the extra columns of the current step, from a callback before this one."""
        self._noted.update(values)

    def last(self, name: str) -> float:
        """A column's value in the last row."""
        return self.rows[-1][name] if self.rows else math.nan

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Write anew what the resume checkpoint knew; later rows of a killed run go."""
        if trainer.is_global_zero:
            with open(self.path, "w", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, self.columns)
                writer.writeheader()
                writer.writerows(self.rows)

    def on_batch(self, module: Training, outputs: dict[str, Any]) -> None:
        """Collect what is reported; numbers stay on the device until a row is due."""
        for name, values in self._since.items():
            values.append(outputs["reported"][name])

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Write a row."""
        if step % self.every and step != module.steps and not self._noted:
            return
        means = {name: sum(map(float, values)) / len(values) for name, values in self._since.items()}
        lr = learning_rate(module.config, step - 1, module.steps)
        row = {"step": step, **means, "lr": lr, "grad_norm": float(module.grad_norm), **self._noted}
        self._since, self._noted = {name: [] for name in self._since}, {}
        self.rows.append(row)
        if trainer.is_global_zero:
            with open(self.path, "a", newline="", encoding="utf-8") as handle:
                csv.DictWriter(handle, self.columns).writerow(row)
            if trainer.logger is not None:
                trainer.logger.log_metrics({key: row[key] for key in row if key != "step"}, step=step)

    def state_dict(self) -> dict[str, Any]:
        """For the resume checkpoint."""
        return {"rows": self.rows, "since": {name: list(map(float, values)) for name, values in self._since.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the resume checkpoint."""
        self.rows, self._since = list(state_dict["rows"]), {n: list(v) for n, v in state_dict["since"].items()}


class Checkpoints(StepCallback):
    """Resume checkpoints, whole or not at all, the last two kept; and the ends of a training that is not complete.

    It stops at a loss or a gradient that is no number, before that could reach a checkpoint, and cleanly, with a
    checkpoint, when it is told to: by SIGTERM, by SIGUSR1, or by the clock.

    Args:
        stage: the stage's folder; checkpoints go to ``checkpoints`` in there.
        every: optimiser steps between them.
        minutes: stop after so long; None: never.
    """

    def __init__(self, stage: Path, every: int, minutes: float | None = None) -> None:
        self.stage, self.folder, self.every, self.minutes = stage, stage / "checkpoints", every, minutes
        self._deadline = math.inf
        self._current = _Step(0, [], [], [], torch.zeros(()))
        self._unseen: list[_Step] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Listen to signals (Lightning puts back what was there before) and start the clock."""
        if trainer.is_global_zero:
            (self.stage / STOPPED).unlink(missing_ok=True)
        if self.minutes is not None:
            self._deadline = time.monotonic() + 60 * self.minutes
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
                signal.signal(number, lambda number, _: setattr(pl_module, "stop_reason", signal.Signals(number).name))

    def on_batch(self, module: Training, outputs: dict[str, Any]) -> None:
        """Keep what is to be looked at."""
        if time.monotonic() > self._deadline:
            module.stop_reason = f"stop_after_minutes={self.minutes:g}"
        self._current.micro_batches.append(int(outputs["micro_batch"]))
        self._current.losses.append(outputs["reported"]["loss"])
        self._current.stops.append(outputs["stop"])

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Look; then write a checkpoint if one is due, or stop."""
        # with float16 a gradient may overflow, which its scaler mends by leaving out the step
        norm = torch.zeros(()) if trainer.precision == "16-mixed" else module.grad_norm
        self._unseen.append(self._current._replace(number=step, grad_norm=norm))
        self._current = _Step(0, [], [], [], torch.zeros(()))
        due = step % self.every == 0
        # one that just found its end early is not to go on from here, and gets no checkpoint either
        ends = step == module.steps or trainer.should_stop
        if module.device.type == "cpu" or due or step % _STEPS_BETWEEN_LOOKS == 0 or ends:
            # alone, there is nobody to agree with
            asked_to_stop = self._look(module) or (trainer.world_size == 1 and module.stop_reason is not None)
            if not ends and (due or asked_to_stop):
                self._save(trainer, step)
                if asked_to_stop:
                    self._stop(trainer, module, step)

    def _look(self, module: Training) -> bool:
        """Whether somebody asked to stop; raises if a loss or a gradient is no number."""
        unseen, self._unseen = self._unseen, []
        for step in unseen:
            for name, values in {"loss": step.losses, "gradient": [step.grad_norm]}.items():
                for value in map(float, values):
                    if not math.isfinite(value):
                        self._fail(module, name, value, step)
        return any(float(stop) > 0 for step in unseen for stop in step.stops)

    def _fail(self, module: Training, name: str, value: float, step: _Step) -> None:
        rows, config = module.rows, module.config
        batches = (rows.places(batch_indices(len(rows), config.batch_size, config.seed, m)) for m in step.micro_batches)
        patches = [rows.split.table[int(i)].get("FileName", f"row {i}") for batch in batches for i in batch]
        kept = checkpoints_in(self.folder)
        checkpoint = kept[-1].name if kept else "none"
        facts = {"step": step.number, name: repr(value), "patches": patches, "last_checkpoint": checkpoint}
        if rank_and_world()[0] == 0:
            write_json(self.stage / "failed.json", facts)
        more = f" and {len(patches) - _NAMED_PATCHES} more" if len(patches) > _NAMED_PATCHES else ""
        raise Alos2TutError(
            f"the {name} became {value} at step {step.number}, of the patches {', '.join(patches[:_NAMED_PATCHES])}"
            f"{more} (all are in failed.json); the last good checkpoint: {checkpoint}",
            where=self.stage,
            remedy="Lower the learning rate, or look at these patches; running again goes on from that checkpoint.",
        )

    def _save(self, trainer: lightning.Trainer, step: int) -> None:
        """Write a checkpoint, remove the one before the last."""
        target = self.folder / f"step-{step:07d}.ckpt"
        if not trainer.is_global_zero:
            trainer.save_checkpoint(target)  # collects what this process contributes; writes nothing
            return
        self.folder.mkdir(exist_ok=True)
        with atomic_path(target) as temporary:
            trainer.save_checkpoint(temporary)
        for old in checkpoints_in(self.folder)[:-_KEPT_CHECKPOINTS]:
            old.unlink()

    def _stop(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        reason = module.stop_reason or "another process was told to stop"
        if trainer.is_global_zero:
            write_json(self.stage / STOPPED, {"step": step, "steps": module.steps, "reason": reason})
        wait_for_all()  # torchrun ends everybody when the first one leaves
        raise Stopped(f"{self.stage}: stopped after step {step} of {module.steps} ({reason}); run again to go on")


class _Step(NamedTuple):
    """What is to be looked at of one optimiser step."""

    number: int
    micro_batches: list[int]
    losses: list[Tensor]
    stops: list[Tensor]
    grad_norm: Tensor


def checkpoints_in(folder: Path) -> list[Path]:
    """Resume checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d{7,}\.ckpt", p.name))


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest resume checkpoint whose bytes are whole; damaged ones are reported and passed over.

    The checksums inside the file are verified, since torch itself loads a file with flipped bits without a word.
    """
    for path in reversed(checkpoints_in(folder)):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            damaged = str(error)
        if damaged is None:
            return path
        warnings.warn(
            f"{path}: the resume checkpoint is damaged ({damaged}); the one before it is used.",
            Alos2TutWarning,
            stacklevel=2,
        )
    return None


class Progress(StepCallback):
    """A bar for a person who watches, few lines for a log: the first, the last, and at most one a minute."""

    def __init__(self, label: str, steps: int) -> None:
        self.label, self.steps = label, steps
        self._bar: Any = None
        self._loss: Tensor = torch.tensor(math.nan)
        self._next_line = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Show where training starts."""
        if not trainer.is_global_zero:
            return
        done = trainer.global_step
        if is_interactive():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.steps, initial=done, desc=self.label, unit="step", dynamic_ncols=True)
        else:
            print(f"{self.label}: {self.steps} steps" + (f", resumed after {done}" if done else ""), flush=True)
            self._next_line = time.monotonic() + 60

    def on_batch(self, module: Training, outputs: dict[str, Any]) -> None:
        """Keep the loss to show; reading it waits for the device, so that is left for later."""
        self._loss = outputs["reported"]["loss"]

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Move the bar, or print a line when it is time."""
        if not trainer.is_global_zero:
            return
        is_time = step >= self.steps or time.monotonic() >= self._next_line
        if self._bar is not None:
            if is_time:
                self._bar.set_postfix(loss=f"{float(self._loss):.4f}", refresh=False)
                self._next_line = time.monotonic() + 1
            self._bar.update()
        elif is_time:
            print(f"{self.label}: step {step} of {self.steps}, loss {float(self._loss):.4f}", flush=True)
            self._next_line = time.monotonic() + 60

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the bar."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


# --- running ---------------------------------------------------------------------------------------------------------


def fit(training: Training, stage: Path, label: str, *, callbacks: tuple[lightning.Callback, ...]) -> None:
    """Train to the last step, from the newest whole resume checkpoint in the stage folder if there is one.

    Args:
        training: what to train.
        stage: the stage's folder, made if missing; checkpoints and TensorBoard files go there.
        label: the stage's word, for the progress bar.
        callbacks: what else happens at each step, in this order, before a checkpoint is written.

    Raises:
        Alos2TutError: a loss or gradient that is no number; a checkpoint of another network; processes or devices that
            are not there.
        Stopped: it was told to stop before the last step, and wrote a checkpoint.
        KeyboardInterrupt: the user stopped it; running again continues.
    """
    config = training.config
    limit_threads()
    training.network.encoder.gradient_checkpointing = config.gradient_checkpointing  # type: ignore[union-attr]
    if config.compile:
        training.network.compile()
    checkpoint = latest_checkpoint(stage / "checkpoints")
    if checkpoint is not None:
        _check_checkpoint(checkpoint, training)
    with _quiet():
        trainer = lightning.Trainer(
            **_processes(config),
            precision=_precision(config),
            max_steps=training.steps,
            accumulate_grad_batches=config.accumulate,
            callbacks=[
                *callbacks,
                Checkpoints(stage, config.checkpoint_every, config.stop_after_minutes),
                Progress(label, training.steps),
            ],
            logger=_tensorboard(stage),
            limit_val_batches=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=stage,
        )
        with _interruptible(), torch.random.fork_rng(devices=[]):
            trainer.fit(training, ckpt_path=checkpoint, weights_only=True)


def limit_threads() -> None:
    """Use no more threads than there are cores for this process; fewer, if the user asked for fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def check_processes(config: PretrainConfig | FinetuneConfig) -> None:
    """Refuse, before anything is made, processes and devices that are not there.

    Raises:
        Alos2TutError: ``devices`` above 1 without ``torchrun``, no GPU, fewer GPUs than processes, or more processes
            than samples in a batch.
    """
    _, world = rank_and_world()
    if world == 1 and config.devices > 1:
        raise Alos2TutError(
            f"devices={config.devices}, but only this process runs",
            where="devices",
            remedy=f"Start it with: torchrun --standalone --nproc-per-node={config.devices} -m alos2tut …",
        )
    pairs = isinstance(config, PretrainConfig) and config.objective == "mixmae"
    shares = (config.batch_size + 1) // 2 if pairs else config.batch_size
    if shares < world:
        raise Alos2TutError(
            f"a batch of {config.batch_size} cannot be shared by {world} processes"
            + (", since MixMAE keeps pairs together" if pairs else ""),
            where="batch_size",
            remedy="It counts the samples of all processes together.",
        )
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise Alos2TutError("there is no GPU that torch can use", where="accelerator", remedy="Set accelerator=cpu.")
    if _accelerator(config) == "cuda" and _local_processes() > torch.cuda.device_count():
        raise Alos2TutError(
            f"{_local_processes()} processes on this machine, which has {torch.cuda.device_count()} GPUs",
            where="devices",
            remedy="Start one process per GPU, or set accelerator=cpu.",
        )


def _accelerator(config: PretrainConfig | FinetuneConfig) -> str:
    """Apple's GPUs are passed over, as in scoring: torch pools on them only what the parts divide."""
    if config.accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.accelerator


def _local_processes() -> int:
    """Processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", rank_and_world()[1]))


def _processes(config: PretrainConfig | FinetuneConfig) -> dict[str, Any]:
    """Lightning's words for the processes that ``torchrun`` started, or for this one."""
    check_processes(config)
    _, world = rank_and_world()
    local = _local_processes()
    words: dict[str, Any] = {"accelerator": _accelerator(config), "devices": local, "num_nodes": world // local}
    # named, since Lightning would take a Slurm allocation for its own, and requeue it
    if world == 1:
        return words | {"plugins": [LightningEnvironment()]}
    return words | {"plugins": [TorchElasticEnvironment()], "strategy": DDPStrategy(gradient_as_bucket_view=True)}


def _precision(config: PretrainConfig | FinetuneConfig) -> Any:
    if config.precision != "auto":
        return config.precision
    # where it pays: on GPUs that compute in bfloat16; float16 needs its scaler, which resuming would have to trust
    return "bf16-mixed" if _accelerator(config) == "cuda" and torch.cuda.is_bf16_supported() else "32-true"


def _check_checkpoint(path: Path, training: Training) -> None:
    """Refuse a resume checkpoint whose weights are not of this network: somebody put it there."""
    state = torch.load(path, map_location="meta", weights_only=True, mmap=True)
    kept = {name: tuple(tensor.shape) for name, tensor in state.get("state_dict", {}).items()}
    own = {name: tuple(tensor.shape) for name, tensor in training.state_dict().items()}
    if kept != own:
        differing = sorted(name for name in kept.keys() | own.keys() if kept.get(name) != own.get(name))[0]
        raise Alos2TutError(
            f"is a checkpoint of another architecture: '{differing}' is {kept.get(differing, 'missing')} there, "
            f"{own.get(differing, 'missing')} here",
            where=path,
            remedy="Remove the folder of checkpoints to start anew.",
        )


def _tensorboard(stage: Path) -> TensorBoardLogger | bool:
    if importlib.util.find_spec("tensorboard") is None:
        return False
    return TensorBoardLogger(stage, name="", version="tensorboard")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's hints, which do not apply here, out of a reader's notebook; real warnings still come."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    harmless = [
        r".*does not have many workers.*",  # gathering mapped rows is faster without
        r".*isinstance\(treespec, LeafSpec\).*",  # between Lightning and torch
        r".*module\(s\) in eval mode at the start.*",  # a frozen encoder is meant to be
        r".*Grad strides do not match bucket view strides.*",  # of 1 × 1 convolutions, whose strides say nothing
        r".*The `srun` command is available.*",  # a scheduler's command on the path is no mistake
    ]
    try:
        with warnings.catch_warnings():
            for message in harmless:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ends the whole process on Ctrl-C, and ignores the next one; a notebook wants the exception."""
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None


# --- the stage's folder ----------------------------------------------------------------------------------------------


def reuse(stage: Path) -> bool:
    """Whether this stage folder is complete (it has a ``run.json`` and what that names); says so if it is."""
    if not (stage / "run.json").is_file():
        return False
    missing = [name for name in read_json(stage / "run.json").get("files", {}) if not (stage / name).is_file()]
    if missing:
        raise Alos2TutError(f"lacks {', '.join(missing)}", where=stage, remedy="Remove the folder to make it anew.")
    if rank_and_world()[0] == 0:
        print(f"reusing {stage}", flush=True)
    return True


def finish(stage: Path, content: dict[str, Any], files: tuple[str, ...]) -> None:
    """Write ``run.json``, the last file of a complete stage, with the hashes of the others; drop the checkpoints.

    Args:
        stage: the stage's folder.
        content: what made it and what came out; nothing that another run of the same would not repeat.
        files: names of the results.
    """
    write_json(stage / "run.json", {**content, "files": {name: sha256_file(stage / name) for name in sorted(files)}})
    folder = stage / "checkpoints"
    (stage / "failed.json").unlink(missing_ok=True)
    for path in checkpoints_in(folder):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def count_parameters(module: nn.Module) -> int:
    """Numbers in a module's parameters, frozen ones among them."""
    return sum(parameter.numel() for parameter in module.parameters())
