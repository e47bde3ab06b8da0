"""What Lightning trains: a network, its batches, its optimiser and learning rate."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..networks.distributed import sum_over_processes
from ..networks.encoders import parameter_groups
from .batches import Batch, EndlessBatches, PatchRows, batch_generator, derived_seed, draw_flips
from .config import TrainingConfig


def number_of_steps(config: TrainingConfig, n: int) -> int:
    """Optimiser steps: as configured, else what the epochs over n samples take, rounded up."""
    return config.steps or max(1, math.ceil(config.epochs * n / (config.batch_size * config.accumulate)))


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The learning rate of an optimiser step, counted from 0.

    A linear warm-up, then for pretraining constant with drops to a tenth, for fine-tuning a cosine. ``base_lr``,
    ``warmup_lr`` and ``min_lr`` are for 512 samples per step and scale with their number (the linear rule of arXiv
    1706.02677); where ``lr`` is given, it and the other two are taken as they are.
    """
    warmup = round(config.warmup_fraction * steps)
    if step >= warmup:
        return config.falling_lr(step, warmup, steps)
    start = min(config.warmup_lr * config.lr_scale, config.peak_lr)
    return start + (config.peak_lr - start) * step / warmup


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
        layer_decay: by which factor each layer further from the output learns slower.
        encoder_lr: a factor on the encoder's learning rates.
    """

    #: what :meth:`losses` reports
    reported: tuple[str, ...] = ("loss",)
    #: whether in some steps weights that are to be trained have no part in the loss
    skips_weights: bool = False

    def __init__(
        self,
        network: nn.Module,
        config: TrainingConfig,
        split: str,
        steps: int,
        *,
        labelled: bool = True,
        paired: bool = False,
        chosen: NDArray[np.int64] | None = None,
        layer_decay: float = 1.0,
        encoder_lr: float = 1.0,
    ) -> None:
        super().__init__()
        self.network, self.config, self.steps, self.paired = network, config, steps, paired
        self.layer_decay, self.encoder_lr = layer_decay, encoder_lr
        self.rows = PatchRows(config.dataset, split, labelled, chosen)
        #: of the last step, before it was clipped
        self.grad_norm: Tensor = torch.zeros(())
        #: set by a signal or the clock, to end training after the current step
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
        groups = parameter_groups(self.network, self.config.weight_decay, self.layer_decay, self.encoder_lr)
        return torch.optim.AdamW(groups, betas=self.config.betas, eps=1e-8, fused=True)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set this step's learning rate, which needs no scheduler's state to be right after resuming."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(self.config, self.global_step, self.steps) * group["lr_scale"]

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
            collate_fn=_whole,
            num_workers=self.config.loader_workers,
            pin_memory=torch.cuda.is_available(),
        )


def _whole(batch: Any) -> Any:
    """A batch that was gathered as one."""
    return batch
