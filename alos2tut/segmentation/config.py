"""Settings of fine-tuning."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ..core.config import Count, Rate, settings
from ..training.config import TrainingConfig


@settings
class FinetuneConfig(TrainingConfig):
    """Land-cover segmentation: see :func:`alos2tut.finetune`."""

    KEYED_IF_SET: ClassVar[frozenset[str]] = TrainingConfig.KEYED_IF_SET | {
        *("encoder_lr", "budget_draw", "loss_pixels", "mirror"),
    }

    mode: Literal["full", "frozen", "linear_probe"] = "full"
    """Train all; or the decoder alone; or, on the frozen encoder, one linear map."""
    decoder: Literal["paper", "refined", "linear", "pixel"] = "paper"
    """``paper``: the published decoder; ``refined``: ours after it; ``linear``: one linear map (``linear_probe`` takes
    it); ``pixel``: our small perceptron, which classifies each pixel by itself, from the encoder's maps and from mean
    and variation of power in windows of 3 to 33 px, as the floor has them."""
    decoder_width: int = Field(default=256, ge=8, le=2**14)
    """Channels of the decoder."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Rate in the decoder's fusing blocks."""
    budget: Count | None = None
    """Train on so many patches of the list only, drawn by ``seed``: a larger budget holds a smaller one; None: all."""
    budget_draw: Literal["random", "covering"] = "random"
    """Draw them at random; or so that every class is on one of them, which takes an oracle that has seen all labels."""
    loss: Literal["dice_focal", "cross_entropy"] = "dice_focal"
    """The published mixture, or weighted cross-entropy."""
    dice_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the Dice loss; the rest is focal loss."""
    focal_gamma: float = Field(default=2.0, ge=0, le=100)
    """Focal loss's exponent."""
    loss_pixels: Count | None = None
    """Number of pixels of each patch that count in the loss, drawn anew in each step; None: all. The decoder ``pixel``
    computes no others, so that a step can take many patches."""
    alpha_scale: float = Field(default=0.5, gt=0, le=1000)
    """Focal class weights are the class weights times this."""
    class_weighting: Literal["frequency", "tempered", "none"] = "frequency"
    """Class weights from frequencies f: (1 − f) / (C − 1) as published; f to the power −``temper``; or equal."""
    temper: float = Field(default=0.5, ge=0, le=1)
    """Exponent of ``tempered``: 0 weights all pixels equally, 1 gives every class the same total weight."""
    layer_decay: float = Field(default=0.8, gt=0, le=1)
    """Each layer further from the decoder has a learning rate that is lower by this factor."""
    encoder_lr: float = Field(default=1.0, gt=0, le=1000)
    """A factor on the encoder's learning rates, beside that of ``layer_decay``."""
    mirror: bool = True
    """Mirror half of the patches left to right, and half top to bottom. A mirrored radar image is lit from the other
    side, and a frozen encoder has other features for it."""
    batch_size: Count = 256
    """Samples per micro-batch over all devices together."""
    epochs: float = Field(default=100.0, gt=0, le=1e6)
    """Passes over the list."""
    base_lr: Rate = 1.25e-4
    """Learning rate for 512 samples per optimiser step; scaled by samples / 512."""
    min_lr: float = Field(default=2.5e-7, ge=0, le=1000)
    """Learning rate at the end of the cosine."""
    warmup_fraction: float = Field(default=0.2, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Rate of stochastic depth."""
    validate_every: Count = 500
    """Validation, and the choice of the best weights, every so many optimiser steps."""
    patience: Count | None = None
    """Stop when so many validations in a row found no better weights; None: never before the last step."""

    @model_validator(mode="after")
    def _probe_is_linear(self) -> FinetuneConfig:
        if self.mode == "linear_probe":
            object.__setattr__(self, "decoder", "linear")
        return self

    def falling_lr(self, step: int, warmup: int, steps: int) -> float:
        """A cosine down to ``min_lr``."""
        peak = self.peak_lr
        end = min(self.min_lr * self.lr_scale, peak)
        return end + (peak - end) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2
