"""SAR-W-MixMAE (arXiv 2503.01181, after MixMAE, arXiv 2205.13137): two images mixed into one, both to be told apart.

Where SimMIM puts one learned token, MixMAE puts the tokens of another image: nothing that passes through the encoder is
empty. The mask is one for the whole batch, in units of the encoder's final stride. Image i keeps its visible units and
gets, at the masked ones, those of image B − 1 − i; in every window a token attends to tokens of its own image only. A
small transformer then tells, for each image, the units that the mixture lacks. Each unit's pixels, of all channels
together as the authors have it, are normalised by their own mean and spread, and every pixel's squared error has its
SAR weight. (The authors' README speaks of weights of tokens; their code multiplies pixel by pixel, and so does this.)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import window_partition, window_reverse
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..core.errors import Alos2TutError
from ..dataset.encoding import Statistics
from ..networks.encoders import Encoder, SwinEncoder, by_channel, sincos_positions, standardize
from .simmim import Loss, Objective, Parts


class MixMAE(Objective):
    """A Swin without shifted windows that reads mixtures, and the decoder that takes them apart.

    Args:
        encoder: a Swin with ``shifted=false``; as published its position embedding is ``sincos``.
        width, depth, heads: the decoder's channels, blocks and attention heads.

    Raises:
        Alos2TutError: another encoder, or heads that do not divide the width.
    """

    encoder: SwinEncoder

    def __init__(self, encoder: Encoder, width: int = 512, depth: int = 8, heads: int = 16) -> None:
        if not isinstance(encoder, SwinEncoder) or encoder.config.shifted:
            raise Alos2TutError(
                "MixMAE wants a Swin whose windows are not shifted",
                where="encoder.shifted",
                remedy="Set encoder.shifted=false and encoder.position=sincos, or encoder=paper_mixmae.",
            )
        if width % heads:
            raise Alos2TutError(f"{heads} heads do not divide the decoder's width {width}", where="decoder_heads")
        super().__init__(encoder)
        self.unit_px = encoder.stride
        encoder.mask_token.requires_grad_(False)  # SimMIM's; here another image takes its place
        self.decoder = Decoder(encoder, width, depth, heads)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) and the batch's mask (B, H/patch, W/patch) → units (B, N, values).

        A unit's values are its pixels row by row, channels last, in its own normalised scale. All units of all images
        are told: the masked ones of image i by its own mixture, the others by that of image B − 1 − i.
        """
        step = self.unit_px // self.encoder.config.patch_size
        units: Tensor = self.decoder(self._encode(x, mask[0]), mask[0, ::step, ::step])
        return units

    def draw_masks(self, n: int, unit_px: int, ratio: float, generator: torch.Generator) -> Tensor:
        """See :meth:`Objective.draw_masks`: one mask for all; ⌊ratio · units⌋ are masked."""
        rows, cols = (side // self.unit_px for side in self.encoder.image_px)
        masked = int(ratio * rows * cols)
        if unit_px != self.unit_px:
            problem = f"MixMAE masks units of the encoder's final stride, {self.unit_px} px, not {unit_px}"
            raise Alos2TutError(problem, where="mask_unit_px")
        if not 0 < masked < rows * cols:
            raise Alos2TutError(
                f"a ratio of {ratio} masks {masked} of {rows * cols} units of {unit_px} px; MixMAE needs both kinds",
                where="mask_ratio",
                remedy="Change it, or take larger patches.",
            )
        if n < 2:
            raise Alos2TutError("MixMAE mixes two images: a batch of 1 has no other", where="batch_size")
        order = torch.rand(rows * cols, generator=generator).argsort()
        units = torch.zeros(rows * cols, dtype=torch.bool).scatter_(0, order[:masked], True).view(rows, cols)
        tokens = self.unit_px // self.encoder.config.patch_size
        return units.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1).expand(n, -1, -1)

    def parts(
        self, rows: Tensor, mask: Tensor, loss: Loss, statistics: Statistics, shown: Tensor | None = None
    ) -> dict[str, Parts]:
        """See :meth:`Objective.parts`: all units count; ``mae_db`` is given each unit's true mean and spread."""
        x, valid = standardize(rows, statistics)
        prediction = self(x if shown is None else standardize(shown, statistics)[0], mask)
        with torch.autocast(rows.device.type, enabled=False):
            weights = loss.weights(rows, valid)
            std_db = by_channel(statistics.std_db, rows).expand_as(x)
            values, known, std_db = (to_units(part, self.unit_px) for part in (x, valid, std_db))
            of_pixels = None if weights is None else to_units(weights, self.unit_px)
            mean, spread = unit_statistics(values, known)
            target = (values - mean) / spread
            error_db = (prediction.detach().to(target.dtype) - target).abs() * spread * std_db
            return {
                "loss": loss.sums(prediction, target, known, of_pixels),
                "mae_db": (torch.where(known, error_db, 0.0).sum(), known.sum().to(target.dtype)),
            }

    def reconstruct(self, x: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`Objective.reconstruct`; each unit is given its true mean and spread, which the loss leaves out."""
        mean, spread = unit_statistics(to_units(x, self.unit_px), to_units(valid, self.unit_px))
        grid = (x.shape[-2] // self.unit_px, x.shape[-1] // self.unit_px)
        return from_units(self(x, mask) * spread + mean, self.unit_px, grid)

    def _encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features of the mixtures, (B, rows of units, columns, dim)."""
        encoder, swin = self.encoder, self.encoder.swin
        tokens = encoder.embed(x, mix=mask)
        stages: Any = swin.layers
        for index, stage in enumerate(stages):
            tokens = stage.downsample(tokens)
            hidden = mask[:: 2**index, :: 2**index]
            for block in stage.blocks:
                apart = kept_apart(hidden, block.window_size)
                tokens = encoder.run_block(partial(attend_with, block), tokens, apart)
        features: Tensor = swin.norm(tokens)
        return features


def kept_apart(hidden: Tensor, window: tuple[int, int]) -> Tensor:
    """What is added to attention so that tokens see only their own image, (windows, N, N): 0, or −∞.

    Args:
        hidden: (H, W) bool, True where tokens are the other image's. Beyond, where windows do not fit, is a third kind.
        window: (rows, columns).
    """
    pad = (0, -hidden.shape[1] % window[1], 0, -hidden.shape[0] % window[0])
    kind = F.pad(hidden.to(torch.float32)[None, None], pad, value=2.0)
    kind = window_partition(kind.permute(0, 2, 3, 1), window).flatten(1)
    different = kind.unsqueeze(1) != kind.unsqueeze(2)
    return torch.zeros_like(different, dtype=torch.float32).masked_fill_(different, -torch.inf)


def attend_with(block: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    """timm's Swin block, without a shift, under an attention mask of its own: (B, H, W, C) → the same."""
    height, width, channels = tokens.shape[1:]
    window = block.window_size
    pad = (0, 0, 0, -width % window[1], 0, -height % window[0])
    normed = F.pad(block.norm1(tokens), pad)
    windows = window_partition(normed, window).view(-1, window[0] * window[1], channels)
    attended = block.attn(windows, mask=mask.to(windows.dtype)).view(-1, *window, channels)
    merged = window_reverse(attended, window, normed.shape[1], normed.shape[2])[:, :height, :width]
    tokens = tokens + block.drop_path1(merged)
    mixed: Tensor = tokens + block.drop_path2(block.mlp(block.norm2(tokens)))
    return mixed


class Decoder(nn.Module):
    """From the features of mixtures to the units of both images; the arguments are those of :class:`MixMAE`."""

    position: Tensor

    def __init__(self, encoder: SwinEncoder, width: int, depth: int, heads: int) -> None:
        super().__init__()
        grid = (encoder.image_px[0] // encoder.stride, encoder.image_px[1] // encoder.stride)
        self.embed = nn.Linear(encoder.dim, width)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, 1, width), std=0.02))
        self.register_buffer("position", sincos_positions(grid, width), persistent=False)
        self.blocks = nn.ModuleList(
            # torch's norm, whose eps is the published one
            Block(width, heads, mlp_ratio=encoder.config.mlp_ratio, qkv_bias=True, norm_layer=nn.LayerNorm)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, encoder.stride**2 * encoder.in_channels)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, masked: Tensor) -> Tensor:
        """Features (B, rows, columns, dim) and the units' mask (rows, columns) → (B, N, values).

        Two copies of each mixture: one lacks the masked units and tells those of image i; the other has only them, and
        tells the visible units of image B − 1 − i, whose they are.
        """
        tokens = self.embed(features)
        token = self.mask_token.to(tokens.dtype)
        masked = masked.unsqueeze(-1)
        copies = torch.cat([torch.where(masked, token, tokens), torch.where(masked, tokens, token)])
        units = (copies + self.position).flatten(1, 2)
        for block in self.blocks:
            units = block(units)
        own, other = self.predict(self.norm(units)).chunk(2)
        return torch.where(masked.flatten()[:, None], own, other.flip(0))


# --- units -----------------------------------------------------------------------------------------------------------


def to_units(images: Tensor, unit_px: int) -> Tensor:
    """(B, C, H, W) → (B, N, unit · unit · C): units row by row; in each, pixels row by row, channels last."""
    batch, channels, height, width = images.shape
    split = images.reshape(batch, channels, height // unit_px, unit_px, width // unit_px, unit_px)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, unit_px * unit_px * channels)


def from_units(units: Tensor, unit_px: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of :func:`to_units`; ``grid`` is the number of rows and columns of units."""
    split = units.reshape(len(units), *grid, unit_px, unit_px, -1)
    images = split.permute(0, 5, 1, 3, 2, 4)
    return images.reshape(len(units), -1, grid[0] * unit_px, grid[1] * unit_px)


def unit_statistics(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and root of variance + 10⁻⁶, of each unit's known values, (B, N, 1) each.

    The variance is that of a sample (divided by the count less one), as in MAE's and the authors' code.
    """
    known = known.expand_as(values)
    count = known.sum(dim=-1, keepdim=True)
    mean = torch.where(known, values, 0.0).sum(dim=-1, keepdim=True) / count.clamp(min=1)
    squares = torch.where(known, values - mean, 0.0).square().sum(dim=-1, keepdim=True)
    return mean, (squares / (count - 1).clamp(min=1) + 1e-6).sqrt()
