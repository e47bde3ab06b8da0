"""A segmenter: an encoder with its decoder, and what belongs to using it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..dataset.encoding import Statistics
from ..dataset.legend import Legend
from .decoders import DECODERS
from .encoders import Encoder, by_channel, destandardize
from .multiscale import WINDOWS_PX, window_statistics

#: what the logarithm of the coefficient of variation is standardised by: log 1/√3, of three looks on even ground, and
#: about what one look, or nine, are away from that; windows that are more even than the last one says count as it
_LOG_CV_MEAN, _LOG_CV_STD, _LEAST_VARIATION = -0.55, 0.55, -3.0
#: channels of the head that names classes by these statistics
_HEAD_WIDTH = 64


class Segmenter(nn.Module):
    """An encoder with its decoder, and what belongs to using it.

    Args:
        encoder: reads standardised dB.
        legend: names the classes.
        statistics: what its input is standardised by.
        signal: quantity, polarizations and spacing_m of what it is trained on.
        decoder: ``paper``, ``refined`` or ``linear``; see :mod:`alos2tut.networks.decoders`.
        width: the decoder's channels.
        dropout: the decoder's rate.
        decoder_statistics: whether what the decoder says is added to what a small head makes of
            :meth:`image_statistics`, pixel by pixel: the floor's numbers are then there from the first step, and the
            decoder, which starts silent, learns what they leave.
    """

    def __init__(
        self,
        encoder: Encoder,
        legend: Legend,
        statistics: Statistics,
        signal: dict[str, Any],
        *,
        decoder: str = "paper",
        width: int = 256,
        dropout: float = 0.5,
        decoder_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.legend, self.statistics, self.signal = encoder, legend, statistics, signal
        self.header: dict[str, Any] = {}
        self.decoder_kind, self.decoder_statistics = decoder, decoder_statistics
        self.decoder = DECODERS[decoder](encoder, len(legend), width, dropout)
        self.statistics_head: nn.Module | None = None
        if decoder_statistics:
            self.decoder.start_silent()
            self.statistics_head = nn.Sequential(
                nn.Conv2d(2 * len(WINDOWS_PX) * encoder.in_channels, _HEAD_WIDTH, kernel_size=1),
                nn.GELU(),
                nn.Conv2d(_HEAD_WIDTH, _HEAD_WIDTH, kernel_size=1),
                nn.GELU(),
                nn.Conv2d(_HEAD_WIDTH, len(legend), kernel_size=1),
            )

    @property
    def image_px(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.encoder.image_px

    def forward(self, x: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) → logits (B, classes, H, W)."""
        logits: Tensor = self.decoder(self.decoder.maps(self.encoder, x), x)
        return logits if self.statistics_head is None else logits + self.statistics_head(self.image_statistics(x))

    def image_statistics(self, x: Tensor) -> Tensor:
        """Mean power and its variation in windows of ``WINDOWS_PX`` around each pixel, as a network takes them.

        Computed from what the network is given, so that they need no file, no list and no other input on a map. There
        it is not known where data are missing: such a pixel, which standardising made the mean, counts as that. The
        windows end at the image's edge.

        Args:
            x: (B, C, H, W) standardised dB.

        Returns:
            (B, C · 2 · windows, H, W) float32: mean power in dB, standardised as the input is; and the logarithm of
            the coefficient of variation, by fixed numbers.
        """
        power = torch.pow(10.0, destandardize(x.to(torch.float32), self.statistics) / 10)
        mean_db, log_cv, _ = window_statistics(power, torch.ones_like(power, dtype=torch.bool), WINDOWS_PX)
        mean, std = (by_channel(values, x).unsqueeze(2) for values in (self.statistics.mean_db, self.statistics.std_db))
        variation = ((log_cv - _LOG_CV_MEAN) / _LOG_CV_STD).clamp(min=_LEAST_VARIATION)
        return torch.cat([(mean_db - mean) / std, variation], dim=2).flatten(1, 2)

    def freeze(self) -> None:
        """Let the encoder be as it is: no gradient, and no stochastic depth."""
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Segmenter:
        """Training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self
