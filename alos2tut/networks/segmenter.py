"""A segmenter: an encoder with its decoder, and what belongs to using it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..dataset.encoding import Statistics
from ..dataset.legend import Legend
from .decoders import DECODERS
from .encoders import Encoder


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
    ) -> None:
        super().__init__()
        self.encoder, self.legend, self.statistics, self.signal = encoder, legend, statistics, signal
        self.header: dict[str, Any] = {}
        self.decoder_kind = decoder
        self.decoder = DECODERS[decoder](encoder, len(legend), width, dropout)

    @property
    def image_px(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.encoder.image_px

    def forward(self, x: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) → logits (B, classes, H, W)."""
        logits: Tensor = self.decoder(self.decoder.maps(self.encoder, x), x)
        return logits

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
