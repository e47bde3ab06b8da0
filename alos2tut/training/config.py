"""Settings that both trainings share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..core.config import Count, LaterPathText, PathText, Rate, Seed, Workers, settings
from ..networks.config import EncoderConfig

_Beta = Annotated[float, Field(ge=0, lt=1)]


@settings
class TrainingConfig:
    """What both trainings share."""

    #: what counts for an artifact's key only where it is not the default: keys are older than these settings
    KEYED_IF_SET: ClassVar[frozenset[str]] = frozenset({"statistics"})

    dataset: LaterPathText = ""
    """The dataset's folder."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
    seed: Seed = 0
    """Equal seeds give equal results."""
    encoder: EncoderConfig = Field(default_factory=EncoderConfig)
    """Architecture; keys as encoder.depths=[2,2,6,2]."""
    batch_size: Count = 2048
    """Samples per micro-batch over all devices together."""
    accumulate: Count = 1
    """Micro-batches per optimiser step."""
    epochs: float = Field(default=800.0, gt=0, le=1e6)
    """Passes over the list."""
    steps: Count | None = None
    """Optimiser steps; None: from the epochs."""
    base_lr: Rate = 1e-4
    """Learning rate for 512 samples per optimiser step; scaled by samples / 512."""
    lr: Rate | None = None
    """The learning rate itself; overrides ``base_lr`` and its scaling."""
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    warmup_lr: float = Field(default=5e-7, ge=0, le=1000)
    """Learning rate at the first step."""
    weight_decay: float = Field(default=0.05, ge=0, le=1000)
    """AdamW's; not on biases, norms, position tables and the mask token."""
    betas: tuple[_Beta, _Beta] = (0.9, 0.999)
    """AdamW's, each at least 0 and below 1."""
    clip_norm: float = Field(default=5.0, gt=0, allow_inf_nan=True)
    """Largest norm of the gradient; ``.inf``: any."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Rate of stochastic depth."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Auto: bf16 on a GPU that has it, else float32."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """What to train on; auto: a GPU if there is one."""
    devices: Count = 1
    """Processes or GPUs to train on."""
    loader_workers: Workers = 0
    """Processes that read patches; 0 is fastest from a local disk."""
    checkpoint_every: Count = 500
    """A resume checkpoint every so many optimiser steps."""
    stop_after_minutes: float | None = Field(default=None, gt=0, le=1e7)
    """Stop cleanly, with a resume checkpoint, after so long: before a scheduler's time is over."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third more time."""
    compile: bool = False
    """Compile the network (torch.compile): faster on a GPU after some minutes of compiling."""
    init: PathText | None = None
    """An ``encoder.safetensors``, or its pretraining's folder, or ``bundled`` (it came with the package), to start from
    (its architecture is used, and as a rule its ``statistics``); None: random initialisation."""
    allow_other_signal: bool = False
    """Warn, instead of stopping, when ``init`` was trained on another quantity, polarisation or pixel size; an encoder
    of one channel is extended to those of the dataset, if it has several."""
    statistics: Literal["encoder", "own"] = "encoder"
    """Input is standardised by the statistics that travel with ``init``; ``own``, for relative power or another
    polarisation than that of ``init``: by those of the dataset's list ``pretrain``."""

    @property
    def shares(self) -> int:
        """In how many parts, at most, processes can share a micro-batch."""
        return self.batch_size

    @property
    def lr_scale(self) -> float:
        """What learning rates for 512 samples per step are multiplied by (the linear rule of arXiv 1706.02677)."""
        return 1.0 if self.lr else self.batch_size * self.accumulate / 512

    @property
    def peak_lr(self) -> float:
        """The highest learning rate."""
        return self.lr or self.base_lr * self.lr_scale

    def falling_lr(self, step: int, warmup: int, steps: int) -> float:
        """The learning rate of a step after the warm-up; of step 0…steps − 1 the first ``warmup`` are that."""
        raise NotImplementedError
