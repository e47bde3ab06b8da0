"""What pretraining asks of a network: SimMIM, and what it shares with MixMAE (:mod:`alos2tut.pretraining.mixmae`).

SimMIM (arXiv 2111.09886) hides random units of an image and predicts their pixels with a linear head. SAR-W weights
each pixel's error by how dark it is (arXiv 2503.01181, 2603.15119; see :mod:`alos2tut.pretraining.weighting`).
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..dataset.encoding import Statistics
from ..networks.encoders import Encoder, by_channel, linear_power, standardize
from .config import WEIGHT_PERCENTILES, PretrainConfig
from .masks import draw_masks, token_to_pixel_mask
from .weighting import Channels, Weighting, sar_weights

#: numerator and denominator of a loss, to be summed over processes before dividing
Parts = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Loss:
    """How a guess is judged, pixel by pixel."""

    #: the error of a pixel
    kind: Literal["l1", "mse", "huber"] = "l1"
    #: divide by the count of pixels and channels, so that weights of 1 change nothing, or by the sum of their weights
    normaliser: Literal["count", "weights"] = "count"
    #: this and the next three: see :func:`.sar_weights`; ``none`` weighs all alike
    weighting: Weighting | Literal["none"] = "sar"
    scale: float = 1.0
    percentiles: tuple[float, float] = WEIGHT_PERCENTILES
    channels: Channels = "per_channel"

    @classmethod
    def of(cls, config: PretrainConfig) -> Loss:
        """As the settings say."""
        how = config.weighting, config.weight_scale, config.weight_percentiles, config.weight_channels
        return cls(config.loss, config.normaliser, *how)

    def weights(self, rows: Tensor, valid: Tensor) -> Tensor | None:
        """The weight of each pixel's error, (B, C, H, W), from stored integers alike; None: all alike."""
        if self.weighting == "none":
            return None
        return sar_weights(linear_power(rows), valid, self.scale, self.weighting, self.percentiles, self.channels)

    def sums(self, prediction: Tensor, target: Tensor, counted: Tensor, weights: Tensor | None) -> Parts:
        """The sum of weighted errors over values that count, and their number or the sum of their weights.

        Args:
            prediction, target: of one shape; the target in the precision to calculate in.
            counted: bool, of that shape.
            weights: of that shape; None weighs all alike.
        """
        # half precision ends here
        by_pixel: Any = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}[self.kind]
        error = by_pixel(prediction.to(target.dtype), target, reduction="none")
        weighted = error if weights is None else error * weights
        if self.normaliser == "weights" and weights is not None:
            amount = torch.where(counted, weights, 0.0).sum()
        else:
            amount = counted.sum().to(target.dtype)
        # where, not a product: what lies at pixels without data must not matter even if it is no number
        return torch.where(counted, weighted, 0.0).sum(), amount


class Objective(nn.Module):
    """An encoder with the head that reconstructs, and the loss that compares; subclasses say how."""

    #: the head, whose weights are kept beside the encoder's
    decoder: nn.Module

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def draw_masks(self, n: int, unit_px: int, ratio: float, generator: torch.Generator) -> Tensor:
        """Masks for n images, (n, H/patch, W/patch) bool, True where hidden.

        Raises:
            Alos2TutError: a unit or ratio that does not fit the encoder, or n.
        """

    @abstractmethod
    def parts(self, rows: Tensor, mask: Tensor, loss: Loss, statistics: Statistics) -> dict[str, Parts]:
        """What a batch adds to the loss.

        Args:
            rows: (B, C, H, W) int16 hundredths of dB; this process's share of the batch.
            mask: of :meth:`draw_masks`.
            loss: judges.
            statistics: what ``rows`` are standardised by.

        Returns:
            Numerators, with gradient, and denominators of the ``loss``, and of ``mae_db``: the mean absolute error in
            dB over what counts, which has no weights and compares runs that differ in them.
        """

    @abstractmethod
    def reconstruct(self, x: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """What the network makes of images of which a part is hidden, (B, C, H, W) standardised dB.

        Args:
            x: of that shape, 0 where there is no data.
            mask: of :meth:`draw_masks`.
            valid: (B, C, H, W) bool, True where there is data.
        """


class SimMIM(Objective):
    """SimMIM: a linear head on the encoder predicts pixels: a 1×1 convolution, then a pixel shuffle by its stride."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.dim, encoder.stride**2 * encoder.in_channels, kernel_size=1),
            nn.PixelShuffle(encoder.stride),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) and a token mask (B, H/patch, W/patch) → predicted standardised dB."""
        prediction: Tensor = self.decoder(self.encoder(x, mask))
        return prediction

    def draw_masks(self, n: int, unit_px: int, ratio: float, generator: torch.Generator) -> Tensor:
        """See :meth:`Objective.draw_masks`: each image its own mask."""
        return draw_masks(n, self.encoder.image_px, unit_px, self.encoder.config.patch_size, ratio, generator)

    def parts(self, rows: Tensor, mask: Tensor, loss: Loss, statistics: Statistics) -> dict[str, Parts]:
        """See :meth:`Objective.parts`: what is hidden counts."""
        target, valid = standardize(rows, statistics)
        prediction = self(target, mask)
        with torch.autocast(rows.device.type, enabled=False):
            weights = loss.weights(rows, valid)
            pixels = token_to_pixel_mask(mask, self.encoder.config.patch_size)
            std_db = by_channel(statistics.std_db, rows)
            return {
                "loss": _masked_sums(prediction, target, pixels & valid, weights, loss),
                "mae_db": _masked_sums(prediction.detach() * std_db, target * std_db, pixels & valid, None, Loss()),
            }

    def reconstruct(self, x: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`Objective.reconstruct`; only what was hidden is a prediction that training asked for."""
        prediction: Tensor = self(x, mask)
        return prediction


def _masked_sums(prediction: Tensor, target: Tensor, counted: Tensor, weights: Tensor | None, loss: Loss) -> Parts:
    """As :meth:`Loss.sums`; the published code counts pixels, not values, and never divides by 0."""
    numerator, amount = loss.sums(prediction, target, counted, weights)
    channels = target.shape[1]
    return numerator, (amount / channels + 1e-5) * channels


def masked_loss(
    prediction: Tensor,
    target: Tensor,
    pixel_mask: Tensor,
    weights: Tensor | None,
    valid: Tensor,
    kind: Literal["l1", "mse", "huber"] = "l1",
    normaliser: Literal["count", "weights"] = "count",
) -> Tensor:
    """The reconstruction error over pixels that are hidden and have data: a scalar, 0 if there is none.

    Args:
        prediction, target: (B, C, H, W) standardised dB, the target in the precision to calculate in.
        pixel_mask: (B, 1, H, W) bool, True where hidden.
        weights: (B, C, H, W) of :func:`sar_weights`; None weighs all alike (plain SimMIM).
        valid: (B, C, H, W) bool, True where there is data.
        kind, normaliser: see :class:`Loss`.
    """
    loss = Loss(kind, normaliser)
    numerator, denominator = _masked_sums(prediction, target, pixel_mask & valid, weights, loss)
    return numerator / denominator
