"""What happens at each step: history, resume checkpoints, progress."""

from __future__ import annotations

import csv
import math
import re
import signal
import threading
import time
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..core.artifacts import atomic_path, write_json
from ..core.errors import Alos2TutError, Stopped, system_errors_named, warn
from ..core.progress import is_interactive
from ..dataset.store import batch_indices
from ..networks.distributed import rank_and_world, wait_for_all
from .module import Training, learning_rate

_KEPT_CHECKPOINTS = 2
#: Optimiser steps on a GPU after which losses are looked at: reading them makes the GPU wait.
_STEPS_BETWEEN_LOOKS = 16
#: The file in a stage's folder that says where a training was told to stop; gone when it goes on.
STOPPED = "stopped.json"
#: Patches that a message names.
_NAMED_PATCHES = 8


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
            with self._writing(), open(self.path, "w", newline="", encoding="utf-8") as handle:
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
            with self._writing(), open(self.path, "a", newline="", encoding="utf-8") as handle:
                csv.DictWriter(handle, self.columns).writerow(row)
            if trainer.logger is not None:
                with self._writing(trainer.logger.log_dir or ""):
                    trainer.logger.log_metrics({key: row[key] for key in row if key != "step"}, step=step)

    def _writing(self, where: str = "") -> AbstractContextManager[None]:
        return system_errors_named(where or self.path, "could not be written", "Running it again goes on.")

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
        stage: the stage's folder; checkpoints go to ``checkpoints`` in there, every so many optimiser steps.
        minutes: stop after so long; None: never.
    """

    def __init__(self, stage: Path, every: int, minutes: float | None = None) -> None:
        self.stage, self.folder, self.every, self.minutes = stage, stage / "checkpoints", every, minutes
        self._deadline = math.inf
        #: what the micro-batches of this step gave; and of steps not looked at: number, the same, norm of the gradient
        self._outputs: list[dict[str, Any]] = []
        self._unseen: list[tuple[int, list[dict[str, Any]], Tensor]] = []

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
        self._outputs.append(outputs)

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Look; then write a checkpoint if one is due, or stop."""
        # with float16 a gradient may overflow, which its scaler mends by leaving out the step
        norm = torch.zeros(()) if trainer.precision == "16-mixed" else module.grad_norm
        self._unseen.append((step, self._outputs, norm))
        self._outputs = []
        due = step % self.every == 0
        # one that just found its end early is not to go on from here, and gets no checkpoint either
        ends = step == module.steps or trainer.should_stop
        if module.device.type == "cpu" or due or step % _STEPS_BETWEEN_LOOKS == 0 or ends:
            # alone, there is nobody to agree with
            asked_to_stop = self._look(module) or (trainer.world_size == 1 and module.stop_reason is not None)
            if ends or not (due or asked_to_stop):
                return
            self._save(trainer, step)
            if asked_to_stop:
                reason = module.stop_reason or "another process was told to stop"
                if trainer.is_global_zero:
                    write_json(self.stage / STOPPED, {"step": step, "steps": module.steps, "reason": reason})
                wait_for_all()  # torchrun ends everybody when the first one leaves
                raise Stopped(
                    f"{self.stage}: stopped after step {step} of {module.steps} ({reason}); run again to go on"
                )

    def _look(self, module: Training) -> bool:
        """Whether somebody asked to stop; raises if a loss or a gradient is no number."""
        unseen, self._unseen = self._unseen, []
        for step, outputs, norm in unseen:
            found = [("loss", output["reported"]["loss"]) for output in outputs] + [("gradient", norm)]
            for name, value in found:
                if not math.isfinite(float(value)):
                    self._fail(module, name, float(value), step, [int(output["micro_batch"]) for output in outputs])
        return any(float(output["stop"]) > 0 for _, outputs, _ in unseen for output in outputs)

    def _fail(self, module: Training, name: str, value: float, step: int, micro_batches: list[int]) -> None:
        rows, config = module.rows, module.config
        batches = (rows.places(batch_indices(len(rows), config.batch_size, config.seed, m)) for m in micro_batches)
        patches = [rows.split.table[int(i)].get("FileName", f"row {i}") for batch in batches for i in batch]
        kept = checkpoints_in(self.folder)
        checkpoint = kept[-1].name if kept else "none"
        facts = {"step": step, name: repr(value), "patches": patches, "last_checkpoint": checkpoint}
        if rank_and_world()[0] == 0:
            write_json(self.stage / "failed.json", facts)
        more = f" and {len(patches) - _NAMED_PATCHES} more" if len(patches) > _NAMED_PATCHES else ""
        raise Alos2TutError(
            f"the {name} became {value} at step {step}, of the patches {', '.join(patches[:_NAMED_PATCHES])}"
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
                # torch compresses nothing, and little may claim to be much
                packed = [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
                damaged = next(iter(packed), None) or archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
            damaged = str(error)
        if damaged is None:
            return path
        warn(f"{path}: the resume checkpoint is damaged ({damaged}); the one before it is used.")
    return None


class Progress(StepCallback):
    """A bar for a person who watches, few lines for a log: the first, the last, and at most one a minute.

    Lightning's own bar counts micro-batches of an epoch that has no end here, and writes nothing for a log.
    """

    def __init__(self, label: str, steps: int) -> None:
        self.label, self.steps = label, steps
        self._loss: Tensor = torch.tensor(math.nan)
        self._bar = tqdm(disable=True)
        self._next = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Show where training starts."""
        done, watched = trainer.global_step, is_interactive()
        if trainer.is_global_zero and not watched:
            print(f"{self.label}: {self.steps} steps" + (f", resumed after {done}" if done else ""), flush=True)
            self._next = time.monotonic() + 60
        self._bar = tqdm(
            total=self.steps,
            initial=done,
            desc=self.label,
            unit="step",
            dynamic_ncols=True,
            disable=not (trainer.is_global_zero and watched),
        )

    def on_batch(self, module: Training, outputs: dict[str, Any]) -> None:
        """Keep the loss to show; reading it waits for the device, so that is left for later."""
        self._loss = outputs["reported"]["loss"]

    def on_step(self, trainer: lightning.Trainer, module: Training, step: int) -> None:
        """Move the bar, or print a line when it is time."""
        if not trainer.is_global_zero:
            return
        is_time = step >= self.steps or time.monotonic() >= self._next
        if self._bar.disable and is_time:
            print(f"{self.label}: step {step} of {self.steps}, loss {float(self._loss):.4f}", flush=True)
            self._next = time.monotonic() + 60
        elif is_time:
            self._bar.set_postfix(loss=f"{float(self._loss):.4f}", refresh=False)
            self._next = time.monotonic() + 1
        self._bar.update()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the bar."""
        self._bar.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the bar."""
        self._bar.close()
