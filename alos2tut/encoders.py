"""The encoder: timm's Swin transformer with what masked pretraining adds to it.

Also here: the masks, the way from stored integers to network input, and the groups of parameters that an optimiser
treats alike.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from .config import EncoderConfig
from .dataset import NO_DATA, STEPS_PER_DB, Statistics
from .errors import Alos2TutError


class SwinEncoder(nn.Module):
    """A Swin v1 transformer (arXiv 2103.14030) with a mask token and an absolute position embedding.

    Args:
        config: the architecture.
        image_px: (height, width) of its input; a Swin with position embedding has one size.
        in_channels: polarisations.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.

    Attributes:
        stride: pixels of the input per pixel of the deepest features.
        dim: channels of the deepest features.
        statistics, signal, header: what came with the weights, if they were loaded from a file
            (:func:`alos2tut.load_encoder`).

    Raises:
        Alos2TutError: a size that the patches and the three halvings do not divide, or widths that the attention heads
            do not divide.
    """

    def __init__(
        self, config: EncoderConfig, image_px: tuple[int, int], in_channels: int = 1, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.config, self.image_px, self.in_channels = config, (int(image_px[0]), int(image_px[1])), in_channels
        self.stride, self.dim = config.patch_size * 8, config.embed_dim * 8
        self.statistics: Statistics | None = None
        self.signal: dict[str, Any] | None = None
        self.header: dict[str, Any] = {}
        _check_architecture(config, self.image_px, self.stride)
        self.swin = SwinTransformer(
            img_size=self.image_px,
            patch_size=config.patch_size,
            in_chans=in_channels,
            num_classes=0,
            global_pool="",
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=config.window_size,
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=drop_path,
        )
        rows, cols = (side // config.patch_size for side in self.image_px)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(config.embed_dim), std=0.02))
        self.position = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, rows, cols, config.embed_dim), std=0.02))
            if config.absolute_position
            else None
        )

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens that enter the first stage, (B, H/patch, W/patch, embed_dim); see :meth:`forward`."""
        if x.shape[1:] != (self.in_channels, *self.image_px):
            raise Alos2TutError(
                f"the encoder takes images of {(self.in_channels, *self.image_px)}, not {tuple(x.shape[1:])}",
                remedy="Cut patches of the size it was trained at.",
            )
        tokens: Tensor = self.swin.patch_embed(x)
        if mask is not None:
            # before the position is added: a masked token must still know where it is
            tokens = torch.where(mask.unsqueeze(-1), self.mask_token.to(tokens.dtype), tokens)
        return tokens if self.position is None else tokens + self.position

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The deepest features, normalised.

        Args:
            x: (B, C, H, W) standardised dB.
            mask: (B, H/patch, W/patch) bool, True where a token is hidden; None hides nothing.

        Returns:
            (B, dim, H/stride, W/stride).
        """
        tokens: Tensor = self.swin.norm(self.swin.layers(self.embed(x, mask)))
        return tokens.permute(0, 3, 1, 2).contiguous()

    def features(self, x: Tensor) -> list[Tensor]:
        """What segmentation reads: each stage's output after its patch merging, without the final norm.

        Args:
            x: (B, C, H, W) standardised dB.

        Returns:
            Four maps, finest first: widths 2, 4, 8, 8 × embed_dim at strides 2, 4, 8, 8 × patch_size.
        """
        tokens = self.embed(x)
        stages: Any = self.swin.layers
        maps = []
        for index, stage in enumerate(stages):
            tokens = stage.blocks(tokens)
            if index + 1 < len(stages):
                # timm counts a merging to the stage it leads to
                tokens = stages[index + 1].downsample(tokens)
            maps.append(tokens.permute(0, 3, 1, 2).contiguous())
        return maps


def _check_architecture(config: EncoderConfig, image_px: tuple[int, int], stride: int) -> None:
    if any(side < stride or side % stride for side in image_px):
        raise Alos2TutError(
            f"images of {image_px[0]} × {image_px[1]} px do not divide into {stride} px, eight patches",
            where="encoder.patch_size",
            remedy=f"patch_size={config.patch_size} wants sides that are multiples of {stride}.",
        )
    for stage, heads in enumerate(config.num_heads):
        if heads < 1 or config.embed_dim * 2**stage % heads:
            raise Alos2TutError(
                f"{heads} heads do not divide the {config.embed_dim * 2**stage} channels of stage {stage}",
                where="encoder.num_heads",
            )
    if min(config.depths) < 1:
        raise Alos2TutError(f"every stage needs a block, not {config.depths}", where="encoder.depths")


def standardize(rows: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Stored integers as network input.

    Args:
        rows: (B, C, H, W) int16 hundredths of dB, :data:`~alos2tut.dataset.NO_DATA` where there is none.
        statistics: mean and spread by channel, those of the encoder.

    Returns:
        (B, C, H, W) float32 standardised dB, 0 (the mean) where there is no data; and (B, C, H, W) bool, True where
        there is.
    """
    mean, std = (_by_channel(values, rows) for values in (statistics.mean_db, statistics.std_db))
    valid = rows != NO_DATA
    standardized = (rows.to(torch.float32) / STEPS_PER_DB - mean) / std
    return torch.where(valid, standardized, 0.0), valid


def destandardize(x: Tensor, statistics: Statistics) -> Tensor:
    """Standardised values (B, C, H, W) back in dB."""
    return x * _by_channel(statistics.std_db, x) + _by_channel(statistics.mean_db, x)


def linear_power(rows: Tensor) -> Tensor:
    """Stored integers (hundredths of dB) as linear power, float32; 0 where there is no data."""
    power = torch.pow(10.0, rows.to(torch.float32) / (10 * STEPS_PER_DB))
    return torch.where(rows != NO_DATA, power, 0.0)


def _by_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    if len(values) != like.shape[1]:
        raise Alos2TutError(f"statistics of {len(values)} channels do not fit images of {like.shape[1]}")
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1)


def draw_masks(
    n: int, image_px: tuple[int, int], unit_px: int, patch_size: int, ratio: float, generator: torch.Generator
) -> Tensor:
    """Masks of random square units, each image its own (SimMIM, arXiv 2111.09886).

    Args:
        n: number of images.
        image_px: (height, width).
        unit_px: side of a unit: hidden whole or not at all.
        patch_size: side of a token's patch.
        ratio: share of units to hide, rounded up.
        generator: on the CPU, so that masks do not depend on the device.

    Returns:
        (n, H/patch, W/patch) bool, True where hidden.

    Raises:
        Alos2TutError: units that do not consist of patches or do not tile the image.
    """
    if unit_px % patch_size:
        raise Alos2TutError(
            f"a mask unit of {unit_px} px is no multiple of the patch size {patch_size}", where="mask_unit_px"
        )
    if any(side % unit_px for side in image_px):
        raise Alos2TutError(
            f"mask units of {unit_px} px do not tile images of {image_px[0]} × {image_px[1]} px", where="mask_unit_px"
        )
    rows, cols = (side // unit_px for side in image_px)
    hidden = math.ceil(ratio * rows * cols)
    # the ranks of random numbers are a random permutation
    ranks = torch.rand(n, rows * cols, generator=generator).argsort(dim=1).argsort(dim=1)
    tokens = unit_px // patch_size
    units = (ranks < hidden).view(n, rows, cols)
    return units.repeat_interleave(tokens, dim=1).repeat_interleave(tokens, dim=2)


def token_to_pixel_mask(mask: Tensor, patch_size: int) -> Tensor:
    """A mask of tokens (B, H/patch, W/patch) as one of pixels, (B, 1, H, W)."""
    return mask.repeat_interleave(patch_size, dim=1).repeat_interleave(patch_size, dim=2).unsqueeze(1)


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, by weight decay and learning rate.

    Vectors, biases, position tables and the mask token do not decay. With ``layer_decay`` the learning rate shrinks
    by that factor with every block towards the input; what is not in the encoder's blocks (its last norm, a decoder)
    has the full rate.

    Args:
        model: the module to train, with its :class:`SwinEncoder` as ``.encoder``, or an encoder itself.
        weight_decay: for what decays.
        layer_decay: factor per block; 1 gives every parameter the full rate.

    Returns:
        Groups with ``params``, ``weight_decay`` and ``lr_scale``, the factor that
        :func:`alos2tut.training.set_learning_rate` applies at every step. Frozen parameters are in none.
    """
    encoder = model if isinstance(model, SwinEncoder) else model.encoder
    assert isinstance(encoder, SwinEncoder)
    prefix = "" if encoder is model else "encoder."
    blocks = sum(encoder.config.depths)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        inside = name.removeprefix(prefix) if name.startswith(prefix) else None
        depth = blocks + 1 if inside is None else _depth(inside, encoder.config.depths)
        decays = parameter.ndim > 1 and not name.endswith(("bias", "relative_position_bias_table", "position"))
        group = groups.setdefault(
            (depth, decays),
            {
                "params": [],
                "weight_decay": weight_decay if decays else 0.0,
                "lr_scale": layer_decay ** (blocks + 1 - depth),
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _depth(name: str, depths: tuple[int, ...]) -> int:
    """Blocks up to and including this parameter of an encoder: 0 for the embedding, one more than all after them."""
    if block := re.match(r"swin\.layers\.(\d+)\.blocks\.(\d+)\.", name):
        return sum(depths[: int(block[1])]) + int(block[2]) + 1
    if merging := re.match(r"swin\.layers\.(\d+)\.downsample\.", name):
        return sum(depths[: int(merging[1])])
    return sum(depths) + 1 if name.startswith("swin.norm.") else 0
