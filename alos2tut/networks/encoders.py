"""The encoders: timm's Swin transformer and plain ViT, with what masked pretraining adds to them.

Also here: the way from stored integers to network input, and the groups of parameters that an optimiser treats alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from timm.models.beit import Beit
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.errors import Alos2TutError
from ..dataset.encoding import NO_DATA, STEPS_PER_DB, Statistics
from .config import EncoderConfig


class Encoder(nn.Module):
    """What the encoders share: standardised dB in, of which tokens may be hidden; a map of features out.

    Args:
        config: the architecture.
        image_px: (height, width) of its input; positions are learned for one size.
        in_channels: polarisations.
        stride: pixels of the input per pixel of the deepest features.
        dim: channels of the deepest features.
    """

    def __init__(
        self, config: EncoderConfig, image_px: tuple[int, int], in_channels: int, stride: int, dim: int
    ) -> None:
        super().__init__()
        self.config, self.image_px, self.in_channels = config, (int(image_px[0]), int(image_px[1])), in_channels
        self.stride, self.dim = stride, dim
        #: compute activations twice instead of keeping them
        self.gradient_checkpointing = False
        # what came with the weights, if they are a file's (alos2tut.load_encoder)
        self.statistics: Statistics | None = None
        self.signal: dict[str, Any] | None = None
        #: the data's own took the place of the file's: see alos2tut.networks.weights.settle_statistics
        self.has_own_statistics = False
        #: the polarisation that it read before it read several: see alos2tut.networks.weights.extend_channels
        self.extended_from: str | None = None
        self.header: dict[str, Any] = {}
        if any(side < stride or side % stride for side in self.image_px):
            made_of = "eight patches" if config.kind == "swin" else "one patch"
            raise Alos2TutError(
                f"images of {self.image_px[0]} × {self.image_px[1]} px do not divide into {stride} px, {made_of}",
                where="encoder.patch_size",
                remedy=f"patch_size={config.patch_size} wants sides that are multiples of {stride}.",
            )
        for stage, heads in enumerate(config.num_heads):
            if (width := config.embed_dim * 2**stage) % heads:
                problem = f"{heads} heads do not divide the {width} channels of stage {stage}"
                raise Alos2TutError(problem, where="encoder.num_heads")
        #: takes a hidden token's place, (embed_dim,)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(config.embed_dim), std=0.02))

    def __repr__(self) -> str:
        config, (height, width) = self.config, self.image_px
        signal = self.signal or {}
        read = f", {signal['quantity']} {'+'.join(signal['polarizations'])}" if signal else ""
        return (
            f"<{type(self).__name__} {config.embed_dim} × {list(config.depths)}, patches of {config.patch_size} px: "
            f"{self.in_channels} × {height} × {width} px{read} to {self.dim} features>"
        )

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of tokens, which masks have, too."""
        return self.image_px[0] // self.config.patch_size, self.image_px[1] // self.config.patch_size

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The deepest features, normalised.

        Args:
            x: (B, C, H, W) standardised dB.
            mask: (B, H/patch, W/patch) bool, True where a token is hidden; None hides nothing.

        Returns:
            (B, dim, H/stride, W/stride).

        Raises:
            Alos2TutError: an image or a mask of another size.
        """
        raise NotImplementedError

    @property
    def last_norm(self) -> nn.Module:
        """The norm of the final features, which the maps for segmentation do without."""
        norm: nn.Module = getattr(self, self.config.kind).norm
        return norm

    def depth_of(self, name: str) -> int:
        """Blocks up to and including this parameter: 0 for the embedding, one more than all for what comes after."""
        depths = self.config.depths
        if block := re.match(r"\w+\.(?:layers\.(\d+)\.)?blocks\.(\d+)\.", name):
            return sum(depths[: int(block[1] or 0)]) + int(block[2]) + 1
        if merging := re.match(r"swin\.layers\.(\d+)\.downsample\.", name):
            return sum(depths[: int(merging[1])])
        return sum(depths) + 1 if re.match(r"\w+\.norm\.", name) else 0

    def _check_input(self, x: Tensor, mask: Tensor | None) -> None:
        if x.shape[1:] != (self.in_channels, *self.image_px):
            raise Alos2TutError(
                f"the encoder takes images of {(self.in_channels, *self.image_px)}, not {tuple(x.shape[1:])}",
                remedy="Cut patches of the size it was trained at.",
            )
        if mask is not None and (mask.shape != (len(x), *self.grid) or mask.dtype != torch.bool):
            raise Alos2TutError(f"the mask is {mask.dtype} {tuple(mask.shape)}, not bool {(len(x), *self.grid)}")

    def _hide(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Put the mask token in place of hidden ones: before a position is added, so that each knows where it is."""
        return torch.where(mask.unsqueeze(-1), self.mask_token.to(tokens.dtype), tokens)

    def run_block(self, block: Callable[..., Tensor], tokens: Tensor, *args: Any) -> Tensor:
        """A block's output, with its activations kept or, with gradient checkpointing, computed again later."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            output: Tensor = checkpoint(block, tokens, *args, use_reentrant=False)
            return output
        return block(tokens, *args)


class SwinEncoder(Encoder):
    """A Swin v1 transformer (arXiv 2103.14030) with a mask token and, by choice, a position embedding.

    The embedding is learned, as SimMIM's, or fixed (:func:`sincos_positions`), as MixMAE's.

    Maps smaller than a window are one window. Maps that windows do not tile are padded as timm does it, after the
    shift (Microsoft's code for detection pads before it): none of the published sizes is.

    Args:
        config, image_px, in_channels: see :class:`Encoder`.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.

    Raises:
        Alos2TutError: a size that the patches and the three halvings do not divide, or widths that the attention heads
            do not divide.
    """

    def __init__(
        self, config: EncoderConfig, image_px: tuple[int, int], in_channels: int = 1, drop_path: float = 0.0
    ) -> None:
        super().__init__(config, image_px, in_channels, stride=config.patch_size * 8, dim=config.embed_dim * 8)
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
        if not config.shifted:
            stages: Any = self.swin.layers
            for block in (block for stage in stages for block in stage.blocks):
                block.shift_size, block.attn_mask = (0, 0), None
        if config.position == "sincos":
            self.register_buffer("position", sincos_positions(self.grid, config.embed_dim), persistent=False)
        else:
            learned = nn.init.trunc_normal_(torch.empty(1, *self.grid, config.embed_dim), std=0.02)
            self.position = nn.Parameter(learned) if config.position == "learned" else None

    def embed(self, x: Tensor, mask: Tensor | None = None, *, mix: Tensor | None = None) -> Tensor:
        """Tokens that enter the first stage, (B, H/patch, W/patch, embed_dim).

        Args:
            x, mask: see :meth:`forward`.
            mix: (H/patch, W/patch) bool: there, tokens are those of the batch reversed (MixMAE).
        """
        self._check_input(x, mask)
        tokens: Tensor = self.swin.patch_embed(x)
        if mask is not None:
            tokens = self._hide(tokens, mask)
        if mix is not None:
            tokens = torch.where(mix.unsqueeze(-1), tokens.flip(0), tokens)
        return tokens if self.position is None else tokens + self.position

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`Encoder.forward`."""
        swin: Any = self.swin
        tokens = self.embed(x, mask)
        for stage in swin.layers:
            tokens = self._blocks(stage, stage.downsample(tokens))
        features: Tensor = swin.norm(tokens)
        return features.permute(0, 3, 1, 2).contiguous()

    def features(self, x: Tensor, *, merged: bool = True) -> list[Tensor]:
        """What segmentation reads: each stage's output, without the final norm.

        Args:
            x: (B, C, H, W) standardised dB.
            merged: after the stage's patch merging, as published; else before it.

        Returns:
            Four maps, finest first: (2, 4, 8, 8) times embed_dim wide, at strides alike times patch_size; before
            merging (1, 2, 4, 8).
        """
        tokens = self.embed(x)
        stages: Any = self.swin.layers
        maps = []
        for index, stage in enumerate(stages):
            tokens = self._blocks(stage, tokens)
            # timm counts a merging to the stage it leads to
            after = stages[index + 1].downsample(tokens) if index + 1 < len(stages) else tokens
            maps.append((after if merged else tokens).permute(0, 3, 1, 2).contiguous())
            tokens = after
        return maps

    def _blocks(self, stage: Any, tokens: Tensor) -> Tensor:
        for block in stage.blocks:
            tokens = self.run_block(block, tokens)
        return tokens


class VisionTransformerEncoder(Encoder):
    """A plain ViT as SimMIM trains it: class token, no key bias, layer scale, positions absolute or relative or both.

    timm's ``Beit`` (arXiv 2106.08254) is that network; the class token takes part in attention and is dropped in the
    end.

    Args:
        config, image_px, in_channels, drop_path: see :class:`SwinEncoder`.

    Raises:
        Alos2TutError: a size that the patches do not divide, or a width that the attention heads do not divide.
    """

    def __init__(
        self, config: EncoderConfig, image_px: tuple[int, int], in_channels: int = 1, drop_path: float = 0.0
    ) -> None:
        super().__init__(config, image_px, in_channels, stride=config.patch_size, dim=config.embed_dim)
        self.vit = Beit(
            img_size=self.image_px,
            patch_size=config.patch_size,
            in_chans=in_channels,
            num_classes=0,
            global_pool="",
            embed_dim=config.embed_dim,
            depth=config.depths[0],
            num_heads=config.num_heads[0],
            mlp_ratio=config.mlp_ratio,
            drop_path_rate=drop_path,
            init_values=config.layer_scale,
            use_abs_pos_emb=config.position == "learned",
            use_shared_rel_pos_bias=config.shared_relative_position,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`Encoder.forward`."""
        vit: Any = self.vit
        return self._map_of(vit.norm(self._tokens_after_blocks(x, mask)[-1]))

    def features(self, x: Tensor) -> list[Tensor]:
        """What segmentation reads: the tokens after each quarter of the blocks, without the final norm.

        Standardised dB (B, C, H, W) become four maps (B, dim, H/patch, W/patch), from shallow to deep.
        """
        after, depth = self._tokens_after_blocks(x, None), self.config.depths[0]
        return [self._map_of(after[math.ceil(depth * quarter / 4) - 1]) for quarter in (1, 2, 3, 4)]

    def _tokens_after_blocks(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Tokens (B, 1 + N, dim), class token first, after each block."""
        self._check_input(x, mask)
        vit: Any = self.vit
        tokens: Tensor = vit.patch_embed(x)
        if mask is not None:
            tokens = self._hide(tokens, mask.flatten(1))
        tokens = torch.cat([vit.cls_token.to(tokens.dtype).expand(len(x), -1, -1), tokens], dim=1)
        if vit.pos_embed is not None:
            tokens = tokens + vit.pos_embed
        bias = vit.rel_pos_bias() if vit.rel_pos_bias is not None else None
        after = []
        for block in vit.blocks:
            tokens = self.run_block(block, tokens, bias)
            after.append(tokens)
        return after

    def _map_of(self, tokens: Tensor) -> Tensor:
        """Tokens as a map (B, dim, H/patch, W/patch), without the class token."""
        return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), self.dim, *self.grid)


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """The fixed position embedding of MAE (arXiv 2111.06377), as its code has it.

    The first half of the channels tells the column, the second the row; each half is sin(p·ω), then cos(p·ω), with
    ω = 10000^(−i / (width / 4)), i from 0.

    Returns:
        (1, rows, columns, width) of torch's default type.

    Raises:
        Alos2TutError: a width that 4 does not divide.
    """
    if width % 4:
        raise Alos2TutError(f"fixed positions want a width that 4 divides, not {width}", where="embed_dim")
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, cols = (torch.outer(torch.arange(side, dtype=torch.float64), omega) for side in grid)
    waves = [torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (rows, cols)]
    of_row, of_col = waves[0][:, None].expand(*grid, -1), waves[1][None].expand(*grid, -1)
    return torch.cat([of_col, of_row], dim=-1)[None].to(torch.get_default_dtype())


def build_encoder(
    config: EncoderConfig, image_px: tuple[int, int], in_channels: int = 1, drop_path: float = 0.0
) -> Encoder:
    """An encoder of the kind that its settings name, with random weights; see :class:`SwinEncoder` for the rest."""
    kinds = {"swin": SwinEncoder, "vit": VisionTransformerEncoder}
    return kinds[config.kind](config, image_px, in_channels, drop_path)


def standardize(rows: Tensor, statistics: Statistics) -> tuple[Tensor, Tensor]:
    """Stored integers as network input.

    Args:
        rows: (B, C, H, W) int16 hundredths of dB, :data:`~alos2tut.dataset.encoding.NO_DATA` where there is none.
        statistics: mean and spread by channel, those of the encoder.

    Returns:
        (B, C, H, W) float32 standardised dB, 0 (the mean) where there is no data; and (B, C, H, W) bool, True where
        there is.
    """
    mean, std = (by_channel(values, rows) for values in (statistics.mean_db, statistics.std_db))
    valid = rows != NO_DATA
    standardized = (rows.to(torch.float32) / STEPS_PER_DB - mean) / std
    return torch.where(valid, standardized, 0.0), valid


def destandardize(x: Tensor, statistics: Statistics) -> Tensor:
    """Standardised values (B, C, H, W) back in dB."""
    return x * by_channel(statistics.std_db, x) + by_channel(statistics.mean_db, x)


def linear_power(rows: Tensor) -> Tensor:
    """Stored integers (hundredths of dB) as linear power, float32; 0 where there is no data."""
    power = torch.pow(10.0, rows.to(torch.float32) / (10 * STEPS_PER_DB))
    return torch.where(rows != NO_DATA, power, 0.0)


def by_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    """One number for each channel of images (B, C, H, W), as (1, C, 1, 1) float32 beside them."""
    if len(values) != like.shape[1]:
        raise Alos2TutError(f"statistics of {len(values)} channels do not fit images of {like.shape[1]}")
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1)


#: names of parameters that do not decay though they are no vectors: tables of positions, and single tokens
_UNDECAYED = ("bias", "relative_position_bias_table", "position", "pos_embed", "cls_token", "mask_token")


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float = 1.0, encoder_lr: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, by weight decay and learning rate; frozen parameters are in none.

    Vectors, biases, position tables and the mask token do not decay. With ``layer_decay`` the learning rate shrinks
    by that factor with every block towards the input; what is not in the encoder's blocks (its last norm, a decoder)
    has the full rate. All rates of the encoder are multiplied by ``encoder_lr``.

    Args:
        model: the module to train, with its :class:`Encoder` as ``.encoder``, or an encoder itself.

    Returns:
        Groups with ``params``, ``weight_decay`` and ``lr_scale``, the factor that
        :class:`alos2tut.training.module.Training` applies at every step.
    """
    encoder = model if isinstance(model, Encoder) else model.encoder
    assert isinstance(encoder, Encoder)
    prefix = "" if encoder is model else "encoder."
    blocks = sum(encoder.config.depths)
    groups: dict[tuple[int, bool, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_encoders = name.startswith(prefix)
        depth = encoder.depth_of(name.removeprefix(prefix)) if is_encoders else blocks + 1
        scale = layer_decay ** (blocks + 1 - depth) * (encoder_lr if is_encoders else 1.0)
        decays = parameter.ndim > 1 and not name.endswith(_UNDECAYED)
        kept = {"weight_decay": weight_decay if decays else 0.0, "lr_scale": scale}
        groups.setdefault((depth, decays, scale), {"params": [], **kept})["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]
