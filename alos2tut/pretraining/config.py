"""Settings of pretraining."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ..core.config import settings
from ..training.config import TrainingConfig

#: stands for what is published of the chosen objective, and is replaced by it
_AS_PUBLISHED: Any = None


#: what the weighting ``sar_percentile`` scales between, unless told otherwise
WEIGHT_PERCENTILES = (1.0, 99.0)


_Share = Annotated[float, Field(gt=0, lt=1)]
_Percentile = Annotated[float, Field(ge=0, le=100)]


@settings
class PretrainConfig(TrainingConfig):
    """SAR-W-SimMIM: see :func:`alos2tut.pretrain`."""

    KEYED_IF_SET: ClassVar[frozenset[str]] = TrainingConfig.KEYED_IF_SET | {"weight_channels", "target", "input_looks"}

    objective: Literal["simmim", "mixmae"] = "simmim"
    """What is asked of the network: SimMIM, or MixMAE (for a Swin with shifted=false)."""
    target: Literal["pixels", "multiscale", "log_ratio"] = "pixels"
    """What is predicted of hidden ground: its ``pixels``, as published; ``multiscale``: mean power and its variation in
    windows of 3, 5 and 9 px; ``log_ratio``: gradients of power over 5, 9 and 13 px. The last two with SimMIM only."""
    input_looks: float | None = Field(default=None, ge=0.1, le=1e6)
    """The network sees images with gamma speckle of so many looks more than they have, and is asked about the images as
    they are; None: it sees these."""
    mask_unit_px: int = Field(default=_AS_PUBLISHED, ge=1, le=4096)
    """Side of the square units that are masked together; as published: SimMIM 16, MixMAE the encoder's stride."""
    mask_ratio: float = Field(default=_AS_PUBLISHED, gt=0, lt=1)
    """Share of the units that is masked; as published: SimMIM 0.6, MixMAE 0.5."""
    weighting: Literal["sar", "sar_percentile", "sar_ecdf", "none"] = "sar"
    """``sar``: weights fall with the pixel's power, scaled between its patch's extremes, as published;
    ``sar_percentile``: between percentiles, ``sar_ecdf``: by its rank, which no single strong scatterer upsets;
    ``none``: plain SimMIM."""
    weight_scale: float = Field(default=1.0, gt=0, le=50)
    """S in the weight exp(s · (1 − x))."""
    weight_percentiles: tuple[_Percentile, _Percentile] = WEIGHT_PERCENTILES
    """What ``sar_percentile`` scales between; power outside counts as at the end."""
    weight_channels: Literal["per_channel", "shared_avg"] = "per_channel"
    """Of several polarisations each is weighted by its own power; ``shared_avg``: all by the mean of their powers."""
    normaliser: Literal["count", "weights"] = "count"
    """Divide the weighted error by the count of masked pixels, or by the sum of their weights."""
    loss: Literal["l1", "mse", "huber", "gamma"] = Field(default=_AS_PUBLISHED)
    """Error of a masked pixel; as published: SimMIM l1 in standardised dB, MixMAE mse in its unit's own scale.
    ``gamma``: how unlikely its power is where the prediction is the mean of speckled power; SimMIM's pixels only."""
    decoder_width: int = Field(default=512, ge=4, le=2**14)
    """MixMAE: channels of the decoder."""
    decoder_depth: int = Field(default=8, ge=1, le=256)
    """MixMAE: blocks of the decoder."""
    decoder_heads: int = Field(default=16, ge=1, le=1024)
    """MixMAE: attention heads of the decoder."""
    lr_drops: tuple[_Share, ...] = (0.875,)
    """The learning rate falls to a tenth after each of these shares of the steps, which rise."""
    snapshots: int = Field(default=6, ge=1, le=20)
    """How often the reconstruction of fixed patches is kept: at the end, half-way, a quarter of the way …"""

    @model_validator(mode="after")
    def _complete(self) -> PretrainConfig:
        """Fill in what each objective has of its own."""
        stride = self.encoder.patch_size * (8 if self.encoder.kind == "swin" else 1)
        published = {
            "simmim": {"mask_unit_px": 16, "mask_ratio": 0.6, "loss": "l1"},
            "mixmae": {"mask_unit_px": stride, "mask_ratio": 0.5, "loss": "mse"},
        }
        for name, value in published[self.objective].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        return self

    @model_validator(mode="after")
    def _rising(self) -> PretrainConfig:
        if self.weight_percentiles[0] >= self.weight_percentiles[1]:
            raise ValueError(f"weight_percentiles fall: {self.weight_percentiles}")
        if any(drop >= later for drop, later in pairwise(self.lr_drops)):
            raise ValueError(f"lr_drops do not rise: {self.lr_drops}")
        return self

    @model_validator(mode="after")
    def _fitting(self) -> PretrainConfig:
        asked = f"objective={self.objective}, target={self.target}"
        if self.objective == "mixmae" and self.target != "pixels":
            raise ValueError(f"{asked}: MixMAE predicts pixels; the other targets are SimMIM's")
        if self.loss == "gamma" and (self.objective, self.target) != ("simmim", "pixels"):
            raise ValueError(f"loss=gamma, {asked}: the likelihood is one of pixels' power, which SimMIM predicts")
        return self

    @property
    def shares(self) -> int:
        """In how many parts, at most, processes can share a micro-batch: MixMAE keeps pairs together."""
        return (self.batch_size + 1) // 2 if self.objective == "mixmae" else self.batch_size

    def falling_lr(self, step: int, warmup: int, steps: int) -> float:
        """Constant, with drops to a tenth."""
        return float(self.peak_lr * 0.1 ** sum(step >= drop * steps for drop in self.lr_drops))
