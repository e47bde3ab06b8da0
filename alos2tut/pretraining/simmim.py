"""What pretraining asks of a network: SimMIM, and what it shares with MixMAE (:mod:`alos2tut.pretraining.mixmae`).

SimMIM (arXiv 2111.09886) hides random units of an image and predicts their pixels, or another target of
:mod:`alos2tut.pretraining.targets`, with a linear head. SAR-W weights each pixel's error by how dark it is (arXiv
2503.01181, 2603.15119; see :mod:`alos2tut.pretraining.weighting`).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import Alos2TutError
from ..dataset.encoding import NO_DATA, Statistics
from ..networks.encoders import Encoder, linear_power, standardize
from .config import WEIGHT_PERCENTILES, PretrainConfig
from .masks import draw_masks, token_to_pixel_mask
from .targets import Target, ask, maps_of
from .weighting import Channels, Weighting, sar_weights

#: how a value's error is measured
Kind = Literal["l1", "mse", "huber", "gamma"]
#: numerator and denominator of a loss, to be summed over processes before dividing
Parts = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Loss:
    """How a guess is judged, pixel by pixel."""

    #: the error of a pixel
    kind: Kind = "l1"
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

    def sums(
        self, prediction: Tensor, target: Tensor, counted: Tensor, weights: Tensor | None, unit_db: Tensor | float = 1.0
    ) -> Parts:
        """The sum of weighted errors over values that count, and their number or the sum of their weights.

        Args:
            prediction, target: of one shape; the target in the precision to calculate in.
            counted: bool, of that shape.
            weights: of that shape; None weighs all alike.
            unit_db: dB of a value's 1, which only ``gamma`` asks for.
        """
        # half precision ends here
        prediction = prediction.to(target.dtype)
        if self.kind == "gamma":
            error = gamma_error((target - prediction) * unit_db)
        else:
            by_pixel: Any = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}[self.kind]
            error = by_pixel(prediction, target, reduction="none")
        weighted = error if weights is None else error * weights
        if self.normaliser == "weights" and weights is not None:
            amount = torch.where(counted, weights, 0.0).sum()
        else:
            amount = counted.sum().to(target.dtype)
        # where, not a product: what lies at pixels without data must not matter even if it is no number
        return torch.where(counted, weighted, 0.0).sum(), amount


def gamma_error(above_db: Tensor) -> Tensor:
    """How unlikely power is so many dB above its predicted mean, against power at it: e^z − z − 1, z the log ratio.

    Power I of L looks with mean R has the density (L / R)^L I^(L − 1) e^(−L I / R) / Γ(L) (Goodman 2007, Speckle
    Phenomena in Optics, §3.3). With z = ln(I / R) its negative logarithm is L (e^z − z) and what does not depend on R;
    L only scales it, and is left out. Unlike L1 in dB it is the least where R is the mean of *power*.
    """
    z = above_db * (math.log(10) / 10)
    return torch.exp(z) - z - 1


class Objective(nn.Module):
    """An encoder with the head that reconstructs, and the loss that compares; subclasses say how."""

    #: the head, whose weights are kept beside the encoder's
    decoder: nn.Module
    #: what it predicts
    target: Target = "pixels"

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
    def parts(
        self, rows: Tensor, mask: Tensor, loss: Loss, statistics: Statistics, shown: Tensor | None = None
    ) -> dict[str, Parts]:
        """What a batch adds to the loss.

        Args:
            rows: (B, C, H, W) int16 hundredths of dB; this process's share of the batch.
            mask: of :meth:`draw_masks`.
            loss: judges.
            statistics: what ``rows`` are standardised by.
            shown: the images as the network sees them, such as with more speckle; None: as they are.

        Returns:
            Numerators, with gradient, and denominators of the ``loss``, and of ``mae_db``: the mean absolute error in
            dB over what counts, which has no weights and compares runs that differ in them, though not in targets; of
            several maps it is that of those in dB (mean powers, log ratios).
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
    """SimMIM: a linear head on the encoder predicts maps: a 1×1 convolution, then a pixel shuffle by its stride.

    Args:
        encoder: reads what is not hidden.
        target: what is predicted of each channel, a map or several.
    """

    def __init__(self, encoder: Encoder, target: Target = "pixels") -> None:
        super().__init__(encoder)
        self.target = target
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.dim, encoder.stride**2 * encoder.in_channels * maps_of(target), kernel_size=1),
            nn.PixelShuffle(encoder.stride),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) and a token mask (B, H/patch, W/patch) → predictions of :func:`.ask`'s maps."""
        prediction: Tensor = self.decoder(self.encoder(x, mask))
        return prediction

    def draw_masks(self, n: int, unit_px: int, ratio: float, generator: torch.Generator) -> Tensor:
        """See :meth:`Objective.draw_masks`: each image its own mask."""
        return draw_masks(n, self.encoder.image_px, unit_px, self.encoder.config.patch_size, ratio, generator)

    def parts(
        self, rows: Tensor, mask: Tensor, loss: Loss, statistics: Statistics, shown: Tensor | None = None
    ) -> dict[str, Parts]:
        """See :meth:`Objective.parts`: what is hidden counts; all maps of a pixel have its weight."""
        x, _ = standardize(rows if shown is None else shown, statistics)
        prediction = self(x, mask)
        with torch.autocast(rows.device.type, enabled=False):
            hidden = token_to_pixel_mask(mask, self.encoder.config.patch_size)
            values, counted, unit_db = ask(self.target, rows, hidden, statistics)
            weights = loss.weights(rows, rows != NO_DATA)
            if weights is not None:
                weights = weights.repeat_interleave(maps_of(self.target), dim=1)
            in_db = prediction.detach() * unit_db, values * unit_db, counted & (unit_db > 0)
            return {
                "loss": _masked_sums(prediction, values, counted, weights, loss, unit_db),
                "mae_db": _masked_sums(*in_db, None, Loss()),
            }

    def reconstruct(self, x: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`Objective.reconstruct`; only what was hidden is a prediction that training asked for.

        Of windows it is the mean power of the smallest.

        Raises:
            Alos2TutError: what is predicted is no backscatter.
        """
        if self.target == "log_ratio":
            problem = "a network that predicts log ratios says how backscatter changes, not what it is"
            raise Alos2TutError(problem, where="target", remedy="To see reconstructions, pretrain with another target.")
        prediction: Tensor = self(x, mask)[:, :: maps_of(self.target)]
        return prediction


def _masked_sums(
    prediction: Tensor,
    target: Tensor,
    counted: Tensor,
    weights: Tensor | None,
    loss: Loss,
    unit_db: Tensor | float = 1.0,
) -> Parts:
    """As :meth:`Loss.sums`; the published code counts pixels, not values, and never divides by 0."""
    numerator, amount = loss.sums(prediction, target, counted, weights, unit_db)
    channels = target.shape[1]
    return numerator, (amount / channels + 1e-5) * channels


def masked_loss(
    prediction: Tensor,
    target: Tensor,
    pixel_mask: Tensor,
    weights: Tensor | None,
    valid: Tensor,
    kind: Kind = "l1",
    normaliser: Literal["count", "weights"] = "count",
    unit_db: Tensor | float = 1.0,
) -> Tensor:
    """The reconstruction error over pixels that are hidden and have data: a scalar, 0 if there is none.

    Args:
        prediction, target: (B, C, H, W) standardised dB, the target in the precision to calculate in.
        pixel_mask: (B, 1, H, W) bool, True where hidden.
        weights: (B, C, H, W) of :func:`sar_weights`; None weighs all alike (plain SimMIM).
        valid: (B, C, H, W) bool, True where there is data.
        kind, normaliser: see :class:`Loss`.
        unit_db: standard deviation in dB, which ``gamma`` asks for.
    """
    loss = Loss(kind, normaliser)
    numerator, denominator = _masked_sums(prediction, target, pixel_mask & valid, weights, loss, unit_db)
    return numerator / denominator
