"""From an encoder's maps to classes: the paper's decoder, a refined one, and a linear probe.

``paper``
    arXiv 2603.15119, to the layer: pooled context of the deepest map (PPM, arXiv 1612.01105), a pyramid that carries it
    to finer ones (FPN, arXiv 1612.03144), and a head that enlarges step by step. The authors' weights load into it.
``refined``
    ours, after ideas of its sister paper (arXiv 2601.15705): maps *before* merging, so that the finest has one pixel
    per patch; 3×3 convolutions that join neighbours; and a branch that looks at the image itself, for borders.
``linear``
    one linear map of all four maps side by side: what the encoder's features tell without further thought.
``pixel``
    ours: a small perceptron that names each pixel by itself, from the three finest maps there and from mean and
    variation of power in windows around it, which are all that the floor knows
    (:mod:`alos2tut.evaluation.forest`). Without neighbours a training step may take few pixels of many patches.

All are given four maps, finest first; :attr:`Decoder.merged` says where from.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import Alos2TutError
from .encoders import Encoder, SwinEncoder, VisionTransformerEncoder
from .multiscale import WINDOWS_PX

_POOL_BINS = (1, 2, 3, 6)


class Decoder(nn.Module):
    """Four maps of an encoder, and the image, to logits of the image's size.

    Args:
        encoder: whose maps are read; it is not part of the decoder.
        classes: of the legend.
        width: channels throughout (``linear`` has none).
        dropout: rate in the fusing blocks.

    Raises:
        Alos2TutError: an encoder whose maps make no pyramid.
    """

    #: whether maps are read after patch merging (strides 2, 4, 8, 8 × patch) or before (1, 2, 4, 8 × patch)
    merged: bool = False
    #: whether a ViT's maps, all of one size, have to become a pyramid first
    needs_pyramid: bool = True
    #: whether it names pixels one by one, and is given window statistics in place of the image
    #: (:meth:`alos2tut.networks.segmenter.Segmenter.image_statistics`)
    by_pixel: bool = False
    #: two convolutions before the last one
    head: nn.ModuleList
    #: the last convolution, or what ends in it
    classify: nn.Module

    def __init__(self, encoder: Encoder, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        is_flat = isinstance(encoder, VisionTransformerEncoder)
        self.pyramid = ViTPyramid(encoder, self.merged) if is_flat and self.needs_pyramid else None
        factors = (1,) * 4 if is_flat else (2, 4, 8, 8) if self.merged else (1, 2, 4, 8)
        #: of the four maps
        self.channels = [encoder.config.embed_dim * factor for factor in factors]
        #: enlargement by each of the head's two convolutions: ×2 while the patch is not undone
        self.factors = [2 if encoder.config.patch_size // (4 if is_flat else 1) >= size else 1 for size in (2, 4)]

    def maps(self, encoder: Encoder, x: Tensor) -> list[Tensor]:
        """The four maps of an image (B, C, H, W), finest first, as the encoder gives them."""
        if isinstance(encoder, SwinEncoder):
            return encoder.features(x, merged=self.merged)
        assert isinstance(encoder, VisionTransformerEncoder)
        levels: list[Tensor] = encoder.features(x)
        return levels

    def arranged(self, maps: list[Tensor]) -> list[Tensor]:
        """Those maps as a pyramid, which is learned where a ViT's have to become one."""
        pyramid: list[Tensor] = maps if self.pyramid is None else self.pyramid(maps)
        return pyramid

    def _enlarged(self, level: Tensor) -> Tensor:
        """A fused map through the head's convolutions."""
        for factor, convolution in zip(self.factors, self.head, strict=True):
            level = convolution(_twice(level) if factor == 2 else level)
        return level

    def forward(self, maps: list[Tensor], x: Tensor) -> Tensor:
        """Four maps, finest first, and the image (B, C, H, W) → (B, classes, H, W) logits."""
        raise NotImplementedError


class ViTPyramid(nn.Module):
    """Four maps of a plain ViT, all at its patch size, at the strides of a Swin whose patch is a quarter of it.

    As ViTDet (arXiv 2203.16527) and BEiT do: transposed convolutions enlarge, maxima shrink, to strides 1/2, 1, 2, 2 ×
    patch (``merged``), else 1/4, 1/2, 1, 2.

    Raises:
        Alos2TutError: an odd number of tokens along a side, which cannot be halved.
    """

    def __init__(self, encoder: Encoder, merged: bool) -> None:
        super().__init__()
        if any(side % 2 for side in encoder.grid):
            raise Alos2TutError(
                f"{encoder.grid[0]} × {encoder.grid[1]} tokens of a ViT cannot be halved, as the decoder wants it",
                where="encoder.patch_size",
                remedy="Take patches whose sides are multiples of twice the patch size.",
            )
        dim = encoder.dim

        def twice() -> nn.Module:
            return nn.ConvTranspose2d(dim, dim, kernel_size=2, stride=2)

        half, same = nn.MaxPool2d(2), nn.Identity()
        if merged:
            self.levels = nn.ModuleList([twice(), same, half, half])
        else:
            finest = nn.Sequential(twice(), nn.GroupNorm(1, dim), nn.GELU(), twice())
            self.levels = nn.ModuleList([finest, twice(), same, half])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Four maps (B, dim, h, w) → four at falling resolution."""
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


# --- the paper's -----------------------------------------------------------------------------------------------------


def _norm(width: int) -> list[nn.Module]:
    """GroupNorm of 16 groups as published, or fewer so that a group keeps 8 channels, and GELU.

    On the 1×1 map of the coarsest pooling a group of one channel would be normalised to nothing.
    """
    return [nn.GroupNorm(math.gcd(16, width, max(1, width // 8)), width), nn.GELU()]


def _block(channels: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=1), *_norm(width), nn.Dropout(dropout))


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _twice(x: Tensor) -> Tensor:
    return _resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))


class PyramidPooling(nn.Module):
    """The deepest map beside its maxima over 1, 2², 3² and 6² parts of the image, fused to ``width``."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveMaxPool2d(bins), nn.Conv2d(channels, width, kernel_size=1), *_norm(width))
            for bins in _POOL_BINS
        )
        self.fuse = _block(channels + len(_POOL_BINS) * width, width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) → (B, width, h, w)."""
        pooled = [_resize(branch(x), x.shape[-2:]) for branch in self.branches]
        fused: Tensor = self.fuse(torch.cat([x, *pooled], dim=1))
        return fused


class PaperDecoder(Decoder):
    """The decoder of arXiv 2603.15119; see the module."""

    merged = True

    def __init__(self, encoder: Encoder, classes: int, width: int, dropout: float) -> None:
        super().__init__(encoder, classes, width, dropout)
        self.context = PyramidPooling(self.channels[3], width, dropout)
        self.widen = nn.Conv2d(width, width, kernel_size=1)
        self.laterals = nn.ModuleList(_block(self.channels[level], width, dropout) for level in (2, 1, 0))
        self.merges = nn.ModuleList(_block(width, width, dropout) for _ in range(3))
        self.fuse = _block(4 * width, width, dropout)
        self.head = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, kernel_size=3, padding=1), *_norm(width)) for _ in self.factors
        )
        self.classify = nn.Conv2d(width, classes, kernel_size=3, padding=1)

    def forward(self, maps: list[Tensor], x: Tensor) -> Tensor:
        """See :meth:`Decoder.forward`; the image is only asked for its size."""
        level = self.context(maps[3])
        levels = [level]
        for index, (lateral, merge) in enumerate(zip(self.laterals, self.merges, strict=True)):
            level = _twice(level)
            if index == 0:
                level = self.widen(level)
            level = merge(level + _twice(lateral(maps[2 - index])))
            levels.append(level)
        level = self._enlarged(self.fuse(torch.cat([_resize(each, level.shape[-2:]) for each in levels], dim=1)))
        # a patch of 4 px or less is undone by now; other sizes by one last step
        return _resize(self.classify(level), x.shape[-2:])


# --- ours ------------------------------------------------------------------------------------------------------------


def _join(channels: int, width: int) -> nn.Sequential:
    """A 3×3 convolution, which joins neighbours; the norm has shares of the channels, as in the paper's blocks."""
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False), *_norm(width))


class RefinedDecoder(Decoder):
    """Maps before merging, joined from coarse to fine, then enlarged beside a branch that sees the image; see above."""

    merged = False

    def __init__(self, encoder: Encoder, classes: int, width: int, dropout: float) -> None:
        super().__init__(encoder, classes, width, dropout)
        # the encoder's maps leave their blocks unnormalised, and each at a scale of its own
        self.norms = nn.ModuleList(nn.GroupNorm(1, n) for n in self.channels)
        self.context = PyramidPooling(self.channels[3], width, dropout)
        self.laterals = nn.ModuleList(nn.Conv2d(n, width, kernel_size=1) for n in self.channels[:3])
        self.joins = nn.ModuleList(_join(width, width) for _ in self.channels[:3])
        self.fuse = nn.Sequential(_join(4 * width, width), nn.Dropout2d(dropout / 5))
        detail = max(8, width // 8)
        self.detail = nn.Sequential(_join(encoder.in_channels, detail), _join(detail, detail))
        self.head = nn.ModuleList(_join(width, width) for _ in self.factors)
        self.classify = nn.Sequential(_join(width + detail, width), nn.Conv2d(width, classes, kernel_size=1))

    def forward(self, maps: list[Tensor], x: Tensor) -> Tensor:
        """See :meth:`Decoder.forward`."""
        maps = [norm(each) for norm, each in zip(self.norms, maps, strict=True)]
        level = self.context(maps[3])
        levels = [level]
        for lateral, join, each in zip(reversed(self.laterals), self.joins, reversed(maps[:3]), strict=True):
            level = join(_resize(level, each.shape[-2:]) + lateral(each))
            levels.append(level)
        level = self._enlarged(self.fuse(torch.cat([_resize(each, level.shape[-2:]) for each in levels], dim=1)))
        level = _resize(level, x.shape[-2:])
        logits: Tensor = self.classify(torch.cat([level, self.detail(x)], dim=1))
        return logits


class LinearDecoder(Decoder):
    """A linear map of the four maps, each normalised without weights, side by side at the finest one's size."""

    merged = False
    needs_pyramid = False  # it would learn, too

    def __init__(self, encoder: Encoder, classes: int, width: int, dropout: float) -> None:
        super().__init__(encoder, classes, width, dropout)
        self.norms = nn.ModuleList(nn.GroupNorm(1, n, affine=False) for n in self.channels)
        self.classify = nn.Conv2d(sum(self.channels), classes, kernel_size=1)

    def forward(self, maps: list[Tensor], x: Tensor) -> Tensor:
        """See :meth:`Decoder.forward`; the image is only asked for its size."""
        finest = maps[0].shape[-2:]
        normed = [_resize(norm(each), finest) for norm, each in zip(self.norms, maps, strict=True)]
        return _resize(self.classify(torch.cat(normed, dim=1)), x.shape[-2:])


class PixelDecoder(Decoder):
    """Each pixel by itself, from three maps and the statistics of windows; see the module.

    The deepest map is left out: of few labels it is learned by heart. Its first layer is a sum over what it reads, each
    mapped before it is enlarged, which comes to the same as after it and costs a fraction.
    """

    merged = False
    needs_pyramid = False
    by_pixel = True

    def __init__(self, encoder: Encoder, classes: int, width: int, dropout: float) -> None:
        super().__init__(encoder, classes, width, dropout)
        read = [*self.channels[:3], 2 * len(WINDOWS_PX) * encoder.in_channels]
        self.norms = nn.ModuleList(nn.LayerNorm(n, elementwise_affine=False) for n in read[:3])
        self.drop = nn.Dropout(dropout / 2)
        laterals, bound = [nn.Linear(n, width, bias=False) for n in read], sum(read) ** -0.5
        for lateral in laterals:
            nn.init.uniform_(lateral.weight, -bound, bound)  # as of one layer that reads all
        self.laterals = nn.ModuleList(laterals)
        self.bias = nn.Parameter(torch.zeros(width))
        hidden = [nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width), nn.GELU()]
        self.classify = nn.Sequential(*hidden, nn.Linear(width, classes))

    def forward(self, maps: list[Tensor], x: Tensor, pixels: Tensor | None = None) -> Tensor:
        """Four maps and window statistics (B, n, H, W) → logits.

        Args:
            maps, x: see above.
            pixels: (B, N) int64 places, row · W + column, that alone are named; None: all.

        Returns:
            (B, classes, H, W), or (B, classes, N, 1) of those pixels.
        """
        if pixels is None and len(x) > 1 and x.device.type == "cpu":
            # a cache holds all channels of one image: 2.7 times as fast as a batch of 32 (64 px, width 96)
            images = [slice(at, at + 1) for at in range(len(x))]
            return torch.cat([self([each[image] for each in maps], x[image]) for image in images])
        seen = [norm(each.movedim(1, -1)).movedim(-1, 1) for norm, each in zip(self.norms, maps, strict=False)]
        if pixels is not None:
            seen = [_between_pixels(each, pixels, x.shape[-2:]) for each in seen]
            x = at_pixels(x, pixels)
        hidden = self.bias
        for lateral, each in zip(self.laterals, (*seen, x), strict=True):
            looked = lateral(self.drop(each.movedim(1, -1))).movedim(-1, 1)
            if looked.shape[-2:] != x.shape[-2:]:
                looked = F.interpolate(looked, size=x.shape[-2:], mode="bilinear", align_corners=False)
            hidden = hidden + looked.movedim(1, -1)
        logits: Tensor = self.classify(hidden).movedim(-1, 1)
        return logits


def at_pixels(images: Tensor, pixels: Tensor) -> Tensor:
    """Images (B, C, H, W) at places (B, N) int64, row · W + column: (B, C, N, 1)."""
    return images.flatten(2).gather(2, pixels.unsqueeze(1).expand(-1, images.shape[1], -1)).unsqueeze(-1)


def _between_pixels(level: Tensor, pixels: Tensor, size: tuple[int, ...]) -> Tensor:
    """A map (B, C, h, w) at such places of an image of that size, between its values as when it is enlarged."""
    row, column = pixels // size[1], pixels % size[1]
    places = torch.stack([(2 * column + 1) / size[1] - 1, (2 * row + 1) / size[0] - 1], dim=-1).unsqueeze(2)
    # in half precision places would be pixels off
    return F.grid_sample(level.float(), places, padding_mode="border", align_corners=False)


#: the decoders by name
DECODERS: dict[str, type[Decoder]] = {
    "paper": PaperDecoder,
    "refined": RefinedDecoder,
    "linear": LinearDecoder,
    "pixel": PixelDecoder,
}
