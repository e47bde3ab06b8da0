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
import torch.distributed as dist
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from .artifacts import atomic_path, read_json, sha256_file, write_json
from .config import FinetuneConfig, PretrainConfig
from .dataset import Split, batch_indices, open_dataset
from .encoders import parameter_groups
from .errors import Alos2TutError, Alos2TutWarning
from .progress import is_interactive

#: One sample of the endless stream: micro-batch, position in it, index in the list.
Sample = tuple[int, int, int]

#: Keeps the draws of different purposes apart.
PURPOSES = {"init": 0, "network": 1, "augmentation": 2, "examples": 3}

_KEPT_CHECKPOINTS = 2


class Batch(NamedTuple):
    """One process's share of a micro-batch."""

    micro_batch: int
    #: (B,) int64 positions in the whole micro-batch
    positions: Tensor
    #: (B, C, H, W) int16 hundredths of dB
    rows: Tensor
    #: (B, H, W) uint8 class indices
    labels: Tensor


# --- processes -------------------------------------------------------------------------------------------------------


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, as ``torchrun`` sets them; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def wait_for_all() -> None:
    """Return when every process has come here; at once if there is only this one."""
    if _distributed():
        dist.barrier()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient; the tensor itself if there is only this one."""
    if not _distributed():
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def ratio_over_processes(numerator: Tensor, denominator: Tensor, at_least: float = 0.0) -> tuple[Tensor, Tensor]:
    """A loss that is a ratio of sums, right over any number of processes.

    Processes hold unequal numbers of valid pixels, so a mean of their ratios is not the ratio of the whole batch.

    Args:
        numerator: this process's sum of errors, with gradient.
        denominator: this process's count.
        at_least: the smallest value to divide by, where all counts together may be 0.

    Returns:
        The value to differentiate (gradients are averaged over processes afterwards, which the factor undoes) and the
        whole batch's loss, detached.
    """
    world = dist.get_world_size() if _distributed() else 1
    total = sum_over_processes(denominator).clamp(min=at_least)
    return numerator * world / total, sum_over_processes(numerator) / total


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
    for column, axis in [(0, -1), (1, -2)]:
        chosen = flips[:, column].to(images.device).view(-1, *[1] * (images.ndim - 1))
        images = torch.where(chosen, images.flip(axis), images)
    return images


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
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, first: Callable[[], int], rank: int = 0, world: int = 1
    ) -> None:
        if n < 1:
            raise Alos2TutError("the list of patches to train on is empty", remedy="Build the dataset of more ground.")
        if batch_size < world:
            raise Alos2TutError(f"a batch of {batch_size} cannot be shared by {world} processes", where="batch_size")
        self.n, self.batch_size, self.seed, self.first = n, batch_size, seed, first
        self.positions = np.array_split(np.arange(batch_size), world)[rank]

    def __iter__(self) -> Iterator[list[Sample]]:
        micro_batch = self.first()
        while True:
            indices = batch_indices(self.n, self.batch_size, self.seed, micro_batch)
            yield [(micro_batch, int(place), int(indices[place])) for place in self.positions]
            micro_batch += 1


class PatchRows(Dataset[Batch]):
    """Gathers stored rows and labels; the arithmetic is left to the device."""

    def __init__(self, dataset: str | Path, split: str) -> None:
        self.dataset, self.name = Path(dataset), split

    @cached_property
    def split(self) -> Split:
        """The list and its mapped arrays, opened once in each worker."""
        return open_dataset(self.dataset).split(self.name)

    def __getstate__(self) -> dict[str, Any]:
        # mapped arrays would be pickled whole
        return {key: value for key, value in self.__dict__.items() if key != "split"}

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, samples: list[Sample]) -> Batch:
        """One batch for the samples that :class:`EndlessBatches` yields."""
        rows, labels = self.split.gather([index for _, _, index in samples])
        positions = torch.tensor([position for _, position, _ in samples])
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


# --- the module ------------------------------------------------------------------------------------------------------


class Training(lightning.LightningModule):
    """What Lightning trains: a network, its batches and its optimiser. Subclasses say what the loss is.

    Args:
        network: the module to train; its encoder is ``network.encoder``.
        config: the settings.
        split: the list to train on.
        steps: optimiser steps.
    """

    def __init__(self, network: nn.Module, config: PretrainConfig | FinetuneConfig, split: str, steps: int) -> None:
        super().__init__()
        self.network, self.config, self.steps = network, config, steps
        self.rows = PatchRows(config.dataset, split)

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss of a batch: to differentiate, and detached for the whole micro-batch over all processes.

        Args:
            batch: on the device.
            flips: (B, 2) bool, this process's share.
            generator: whose next draws are this micro-batch's masks, for all processes together.
        """
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """One micro-batch."""
        torch.manual_seed(derived_seed(self.config.seed, "network", batch.micro_batch, self.global_rank))
        generator = batch_generator(self.config.seed, batch.micro_batch)
        flips = draw_flips(self.config.batch_size, generator)[batch.positions.cpu()]
        loss, reported = self.losses(batch, flips, generator)
        return {"loss": loss, "reported": reported}

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
    """Loss and learning rate by step: in memory, in ``metrics.csv``, in TensorBoard; stops at a loss that is no number.

    The history travels in the resume checkpoints, so that ``metrics.csv`` has no gaps and no doubles.

    Args:
        path: the CSV file, columns ``step,loss,lr`` and the extra ones.
        every: steps between rows; a row's loss is the mean since the last one.
        extra: names of further columns, filled by :meth:`note`.
    """

    def __init__(self, path: Path, every: int = 1, extra: tuple[str, ...] = ()) -> None:
        self.path, self.every, self.columns = path, every, ("step", "loss", "lr", *extra)
        self.rows: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._noted: dict[str, float] = {}

    def note(self, **values: float) -> None:
        """Values for the extra columns of the current step, from a callback before this one."""
        self._noted.update(values)

    @property
    def loss(self) -> float:
        """The last row's loss."""
        return self.rows[-1]["loss"] if self.rows else math.nan

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Write anew what the resume checkpoint knew; later rows of a killed run go."""
        if trainer.is_global_zero:
            with open(self.path, "w", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, self.columns)
                writer.writeheader()
                writer.writerows(self.rows)

    def on_batch(self, module: Training, outputs: dict[str, Tensor]) -> None:
        """Collect a loss, and stop if it is no number."""
        loss = float(outputs["reported"])
        if not math.isfinite(loss):
            raise Alos2TutError(
                f"the loss became {loss} at step {module.global_step}",
                where=self.path.parent,
                remedy="Lower the learning rate, or look for broken patches.",
            )
        self._losses.append(loss)

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Write a row."""
        if step % self.every and step != module.steps and not self._noted:
            return
        lr = learning_rate(module.config, step - 1, module.steps)
        row = {"step": step, "loss": sum(self._losses) / len(self._losses), "lr": lr, **self._noted}
        self._losses, self._noted = [], {}
        self.rows.append(row)
        if trainer.is_global_zero:
            with open(self.path, "a", newline="", encoding="utf-8") as handle:
                csv.DictWriter(handle, self.columns).writerow(row)
            if trainer.logger is not None:
                trainer.logger.log_metrics({key: row[key] for key in row if key != "step"}, step=step)

    def state_dict(self) -> dict[str, Any]:
        """For the resume checkpoint."""
        return {"rows": self.rows, "losses": self._losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the resume checkpoint."""
        self.rows, self._losses = list(state_dict["rows"]), list(state_dict["losses"])


class Checkpoints(StepCallback):
    """Resume checkpoints: written whole or not at all, the last two kept.

    Args:
        folder: where they go, made when needed.
        every: optimiser steps between them.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Write one, remove the one before the last."""
        if step % self.every or step >= module.steps:
            return
        target = self.folder / f"step-{step:07d}.ckpt"
        if not trainer.is_global_zero:
            trainer.save_checkpoint(target)  # collects what this process contributes; writes nothing
            return
        self.folder.mkdir(exist_ok=True)
        with atomic_path(target) as temporary:
            trainer.save_checkpoint(temporary)
        for old in checkpoints_in(self.folder)[:-_KEPT_CHECKPOINTS]:
            old.unlink()


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
        self._loss = math.nan
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

    def on_batch(self, module: Training, outputs: dict[str, Tensor]) -> None:
        """Keep the loss to show; reading it waits for the device."""
        self._loss = float(outputs["reported"])

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Move the bar, or print a line when it is time."""
        if not trainer.is_global_zero:
            return
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{self._loss:.4f}", refresh=False)
            self._bar.update()
        elif step >= self.steps or time.monotonic() >= self._next_line:
            print(f"{self.label}: step {step} of {self.steps}, loss {self._loss:.4f}", flush=True)
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
        Alos2TutError: a loss that is no number; ``devices`` above 1 without ``torchrun``.
        KeyboardInterrupt: the user stopped it; running again continues.
    """
    config = training.config
    limit_threads()
    with _quiet():
        trainer = lightning.Trainer(
            **_processes(config.devices),
            precision=_precision(config.precision),
            max_steps=training.steps,
            accumulate_grad_batches=config.accumulate,
            gradient_clip_val=config.clip_norm,
            callbacks=[
                *callbacks,
                Checkpoints(stage / "checkpoints", config.checkpoint_every),
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
        checkpoint = latest_checkpoint(stage / "checkpoints")
        with _interruptible(), torch.random.fork_rng(devices=[]):
            trainer.fit(training, ckpt_path=checkpoint, weights_only=True)


def limit_threads() -> None:
    """Use no more threads than there are cores for this process; fewer, if the user asked for fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def _processes(devices: int) -> dict[str, Any]:
    """Lightning's words for the processes that ``torchrun`` started, or for this one."""
    _, world = rank_and_world()
    if world == 1 and devices > 1:
        raise Alos2TutError(
            f"devices={devices}, but only this process runs",
            where="devices",
            remedy=f"Start it with: torchrun --standalone --nproc-per-node={devices} -m alos2tut …",
        )
    if world == 1:
        return {"accelerator": "auto", "devices": 1}
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    return {"accelerator": "auto", "devices": local, "num_nodes": world // local, "strategy": "ddp"}


def _precision(precision: str) -> Any:
    if precision != "auto":
        return precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


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
    for path in checkpoints_in(folder):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def count_parameters(module: nn.Module) -> int:
    """Numbers in a module's parameters, frozen ones among them."""
    return sum(parameter.numel() for parameter in module.parameters())
