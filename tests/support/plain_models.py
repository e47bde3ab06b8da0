"""The published networks and losses once more, in plain PyTorch: what the package's own are compared with.

Written from the papers (Swin: arXiv 2103.14030; SimMIM: 2111.09886; BEiT: 2106.08254; MixMAE: 2205.13137; SAR-W-MixMAE:
2503.01181), for reading rather than for speed; nothing here imports the package or a library of networks. Everything
works in float32 and in float64. Shapes are named B batch, C channels, H and W rows and columns, N tokens, D features.
Masks are boolean and true where a token or a pixel is hidden.
"""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Size = tuple[int, int]


# What all networks share


def attend(qkv: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of (..., N, 3D) to (..., N, D).

    The 3D features hold queries, keys, values, in that order, each head after head. `bias` is added to the scores and
    broadcasts to (..., heads, N, N), queries before keys.
    """
    query, key, value = qkv.unflatten(-1, (3, heads, -1)).movedim(-3, 0).transpose(-2, -3)
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ value).transpose(-2, -3).flatten(-2)


def relative_index(rows: int, columns: int) -> Tensor:
    """(N, N) places in a table of offsets: query's minus key's row, then column, each counted from its least value."""
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    down = row[:, None] - row[None, :] + rows - 1
    right = column[:, None] - column[None, :] + columns - 1
    return down * (2 * columns - 1) + right


def initialise(module: nn.Module) -> None:
    """Draw linear weights from a normal distribution of standard deviation 0.02 (cut at 2), set their biases to 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def small(*shape: int) -> nn.Parameter:
    """A parameter drawn from a normal distribution of standard deviation 0.02 (cut at 2)."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


class PlainMlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, ratio: float):
        super().__init__()
        self.fc1 = nn.Linear(width, int(width * ratio))
        self.fc2 = nn.Linear(int(width * ratio), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class PlainPatchEmbed(nn.Module):
    """(B, C, H, W) to (B, H/p, W/p, D): one linear map of every patch, in Swin with a LayerNorm after it."""

    def __init__(self, in_channels: int, patch_size: int, width: int, norm: bool):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch_size, patch_size)
        if norm:
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x).permute(0, 2, 3, 1)
        return self.norm(x) if hasattr(self, "norm") else x


def token_grid(image_px: Size, unit: int) -> Size:
    """How many units of `unit` pixels an image holds down and across; they have to fit without rest."""
    if image_px[0] % unit or image_px[1] % unit:
        raise ValueError(f"an image of {image_px} pixels isn't made of whole units of {unit}")
    return image_px[0] // unit, image_px[1] // unit


# Swin, in Microsoft's names


def into_windows(x: Tensor, window: Size) -> Tensor:
    """(B, H, W, D) to (B, windows row by row, tokens of a window row by row, D)."""
    x = x.unflatten(1, (-1, window[0])).unflatten(3, (-1, window[1]))  # B, down, rows, across, columns, D
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(x: Tensor, window: Size, size: Size) -> Tensor:
    """Invert `into_windows`: `size` is H, W."""
    x = x.unflatten(2, window).unflatten(1, (size[0] // window[0], size[1] // window[1]))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def padded(x: Tensor, size: Size, value: float = 0) -> Tensor:
    """(B, H, W, D) grown to `size` below and on the right."""
    return nn.functional.pad(x, (0, 0, 0, size[1] - x.shape[2], 0, size[0] - x.shape[1]), value=value)


def shift_mask(size: Size, window: Size, shift: Size) -> Tensor:
    """(windows, N, N) added to the scores: 0 between tokens that are neighbours in the image, -100 between others.

    After the shift the last window down (or across) holds tokens from the image's end, then tokens from its beginning.
    """
    regions = []
    for length, side, step in zip(size, window, shift, strict=True):
        place = torch.arange(length)
        region = (place >= length - side).long() + (place >= length - step).long()
        regions.append(region if step else torch.zeros_like(place))
    region = 3 * regions[0][:, None] + regions[1][None, :]
    token = into_windows(region[None, :, :, None], window)[0, :, :, 0]
    return -100.0 * (token[:, :, None] != token[:, None, :]).to(torch.get_default_dtype())


class PlainWindowAttention(nn.Module):
    """Attention within windows, with a learned bias per head and offset."""

    def __init__(self, width: int, heads: int, window: Size):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = small((2 * window[0] - 1) * (2 * window[1] - 1), heads)
        self.register_buffer("relative_position_index", relative_index(*window))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend within (B, windows, N, D); `mask` broadcasts to (B, windows, N, N) and is added to the scores."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            bias = bias + mask.to(bias.dtype).unsqueeze(-3)
        return self.proj(attend(self.qkv(x), self.heads, bias))


class PlainSwinBlock(nn.Module):
    """Window attention and an MLP, each behind a LayerNorm and added to its input.

    Window and shift are settled side by side: a side of the resolution that isn't larger than the window gets a window
    of its own length and no shift, the other side keeps both. On squares this is Microsoft's rule; on rectangles theirs
    would shrink the window on both sides and shift on neither, so that rows longer than a window never mixed.

    A resolution that the window doesn't divide is padded below and on the right, with zeros after the first norm, and
    then shifted. As in the published code, tokens attend to that padding (as qkv's bias) where no mask forbids it.
    """

    def __init__(self, width: int, heads: int, resolution: Size, window: int, shifted: bool, mlp_ratio: float):
        super().__init__()
        self.window = (min(window, resolution[0]), min(window, resolution[1]))
        self.shift = tuple(window // 2 if shifted and side > window else 0 for side in resolution)
        self.size = tuple(-(-side // step) * step for side, step in zip(resolution, self.window, strict=True))
        self.norm1 = nn.LayerNorm(width)
        self.attn = PlainWindowAttention(width, heads, self.window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = PlainMlp(width, mlp_ratio)
        mask = shift_mask(self.size, self.window, self.shift) if any(self.shift) else None
        self.register_buffer("attn_mask", mask)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Process (B, H, W, D).

        With `hidden` (H, W), which is for blocks without shift, hidden tokens attend to hidden ones only and visible
        tokens to visible ones only; padding then is a third kind.
        """
        mask = self.attn_mask
        if hidden is not None:
            kind = into_windows(padded(hidden.long()[None, :, :, None], self.size, 2), self.window)[..., 0]
            mask = torch.zeros_like(kind[..., None] * kind[..., None, :], dtype=x.dtype)
            mask = mask.masked_fill(kind[..., None] != kind[..., None, :], -math.inf)
        windows = padded(self.norm1(x), self.size).roll((-self.shift[0], -self.shift[1]), (1, 2))
        windows = self.attn(into_windows(windows, self.window), mask)
        attended = from_windows(windows, self.window, self.size).roll(self.shift, (1, 2))
        x = x + attended[:, : x.shape[1], : x.shape[2]]
        return x + self.mlp(self.norm2(x))


class PlainMerging(nn.Module):
    """Four neighbours (upper left, lower left, upper right, lower right) become one token of twice the width."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[:, :, 0::2], x[:, :, 1::2]
        return self.reduction(self.norm(torch.cat([left[:, 0::2], left[:, 1::2], right[:, 0::2], right[:, 1::2]], -1)))


class PlainStage(nn.Module):
    """Blocks of one resolution, in Swin every second one shifted; then, but for the last stage, a merging."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        resolution: Size,
        window: int,
        mlp_ratio: float,
        merge: bool,
        shift: bool,
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            PlainSwinBlock(width, heads, resolution, window, shift and i % 2 == 1, mlp_ratio) for i in range(depth)
        )
        if merge:
            self.downsample = PlainMerging(width)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, hidden)
        return self.downsample(x) if hasattr(self, "downsample") else x


def swin_stages(
    grid: Size,
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window: int,
    mlp_ratio: float,
    shift: bool,
) -> nn.ModuleList:
    """All stages: each but the first has half the resolution and twice the width of the one before."""
    stages = nn.ModuleList()
    for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        resolution, merge = (grid[0] // 2**i, grid[1] // 2**i), i < len(depths) - 1
        stages.append(PlainStage(embed_dim * 2**i, depth, heads, resolution, window, mlp_ratio, merge, shift))
    return stages


class PlainSwin(nn.Module):
    """Swin (version 1) with SimMIM's mask token and, if asked for, a learned absolute position embedding."""

    def __init__(
        self,
        image_px: Size,
        in_channels: int,
        patch_size: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float = 4,
        absolute_position: bool = True,
    ):
        super().__init__()
        self.stride = patch_size * 2 ** (len(depths) - 1)
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        token_grid(image_px, self.stride)  # whole units at the last stage, so that every merging is of four
        grid = token_grid(image_px, patch_size)
        self.mask_token = small(1, 1, embed_dim)
        self.absolute_pos_embed = small(1, grid[0] * grid[1], embed_dim) if absolute_position else None
        self.patch_embed = PlainPatchEmbed(in_channels, patch_size, embed_dim, norm=True)
        self.layers = swin_stages(grid, embed_dim, depths, num_heads, window_size, mlp_ratio, shift=True)
        self.norm = nn.LayerNorm(self.num_features)
        initialise(self)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, H/p, W/p, D): hidden tokens are replaced first, then the positions are added."""
        x = self.patch_embed(x)
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_token, x)
        if self.absolute_pos_embed is not None:
            x = x + self.absolute_pos_embed.unflatten(1, x.shape[1:3])
        return x

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, D, H/stride, W/stride); `mask` (B, H/p, W/p)."""
        return self.norm(self.stage_outputs(x, mask)[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def stage_outputs(self, x: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Every stage's map (B, D, H, W) after its merging; without the last norm."""
        x, maps = self.embed(x, mask), []
        for layer in self.layers:
            x = layer(x)
            maps.append(x.permute(0, 3, 1, 2))
        return maps


# The ViT of BEiT and SimMIM


class PlainRelativePosition(nn.Module):
    """One learned bias per head and offset, shared by all blocks; the table's last three rows are the class token's.

    They are, in this order: class token to another token, another token to the class token, class token to itself.
    """

    def __init__(self, grid: Size, heads: int):
        super().__init__()
        count = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
        self.relative_position_bias_table = small(count, heads)
        index = torch.full((grid[0] * grid[1] + 1,) * 2, count - 1)
        index[1:, 1:] = relative_index(*grid)
        index[0, 1:] = count - 3
        index[1:, 0] = count - 2
        self.register_buffer("relative_position_index", index)

    def forward(self) -> Tensor:
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)


class PlainBeitAttention(nn.Module):
    """Attention whose queries and values have a bias and whose keys have none."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        shared = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return self.proj(attend(self.qkv(x) + shared, self.heads, bias))


class PlainBeitBlock(nn.Module):
    """Attention and MLP behind a LayerNorm each, scaled feature by feature and added to their input."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, layer_scale: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = PlainBeitAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = PlainMlp(width, mlp_ratio)
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale))
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        x = x + self.gamma_1 * self.attn(self.norm1(x), bias)
        return x + self.gamma_2 * self.mlp(self.norm2(x))


class PlainViT(nn.Module):
    """SimMIM's ViT: a class token before the others, a shared relative position bias, layer scale.

    BEiT's division of the initial weights by the root of the depth is left out: it matters to training only.
    """

    def __init__(
        self,
        image_px: Size,
        in_channels: int,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4,
        absolute_position: bool = False,
        relative_position: bool = True,
        layer_scale: float = 0.1,
    ):
        super().__init__()
        self.stride, self.num_features = patch_size, embed_dim
        grid = token_grid(image_px, patch_size)
        self.cls_token = small(1, 1, embed_dim)
        self.mask_token = small(1, 1, embed_dim)
        self.pos_embed = small(1, grid[0] * grid[1] + 1, embed_dim) if absolute_position else None
        self.patch_embed = PlainPatchEmbed(in_channels, patch_size, embed_dim, norm=False)
        self.rel_pos_bias = PlainRelativePosition(grid, num_heads) if relative_position else None
        self.blocks = nn.ModuleList(PlainBeitBlock(embed_dim, num_heads, mlp_ratio, layer_scale) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        initialise(self)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to (B, D, H/p, W/p), without the class token; `mask` (B, H/p, W/p)."""
        x = self.patch_embed(x)
        grid = x.shape[1:3]
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_token, x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], 1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        bias = self.rel_pos_bias() if self.rel_pos_bias is not None else None
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)[:, 1:].unflatten(1, grid).permute(0, 3, 1, 2)


# SimMIM, with SAR-W-SimMIM's weight


class PlainSimMIM(nn.Module):
    """An encoder and SimMIM's decoder: one linear map from a feature vector to all the pixels it stands for."""

    def __init__(self, encoder: nn.Module, stride: int, in_channels: int):
        super().__init__()
        self.encoder = encoder
        pixels = nn.Conv2d(encoder.num_features, stride**2 * in_channels, 1)
        self.decoder = nn.Sequential(pixels, nn.PixelShuffle(stride))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from itself without the tokens of `mask` (B, H/p, W/p)."""
        return self.decoder(self.encoder(x, mask))


def to_pixels(mask: Tensor, factor: int) -> Tensor:
    """(B, H, W) to (B, 1, factor H, factor W): each token's value for all of its pixels."""
    return mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)[:, None]


def sar_weight(power: Tensor, valid: Tensor, scale: float = 1) -> Tensor:
    """exp(scale · (1 − x)), with x the linear power (B, C, H, W) brought to [0, 1] per image and channel.

    `valid` broadcasts to the power. Pixels without data weigh 0 and leave minimum and maximum alone. Where all pixels
    are equal x is 0, so that all weigh exp(scale).
    """
    valid = valid.expand_as(power)
    low = torch.where(valid, power, math.inf).amin((2, 3), keepdim=True)
    high = torch.where(valid, power, -math.inf).amax((2, 3), keepdim=True)
    span = torch.where(high > low, high - low, 1)
    weight = torch.exp(scale * (1 - (power - low) / span))
    return torch.where(valid, weight, 0)


def simmim_loss(
    prediction: Tensor, target: Tensor, pixel_mask: Tensor, weights: Tensor | None, valid: Tensor | None
) -> Tensor:
    """Sum of the absolute errors (times the weights) over masked pixels with data, by (their count + 1e-5) and by C.

    The count is of pixels, not of values: values by C. `pixel_mask`, `weights` and `valid` broadcast to (B, C, H, W).
    What the target holds where it isn't counted, even NaN, has no influence.
    """
    counted = pixel_mask.expand_as(target)
    if valid is not None:
        counted = counted & valid
    error = (prediction - torch.where(counted, target, 0)).abs()
    if weights is not None:
        error = error * torch.where(counted, weights, 0)
    channels = target.shape[1]
    count = counted.sum().to(error.dtype) / channels
    return torch.where(counted, error, 0).sum() / ((count + 1e-5) * channels)


# SAR-W-MixMAE


def sincos_positions(grid: Size, width: int) -> Tensor:
    """(1, H, W, width): MAE's fixed position embedding.

    The first half of the features tells the column, the second half the row. Each half, of d = width / 2 features, is
    sin(p·ω) for ω = 1 / 10000^(i / (d / 2)), i = 0 … d / 2 − 1, followed by cos(p·ω), with p = 0, 1, 2, … from the
    upper left. Computed in float64, then rounded to torch's default type.
    """
    if width % 4:
        raise ValueError(f"positions need a width that 4 divides, not {width}")
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def along(length: int) -> Tensor:
        angle = torch.arange(length, dtype=torch.float64)[:, None] * omega
        return torch.cat([angle.sin(), angle.cos()], 1)

    column = along(grid[1])[None, :].expand(*grid, -1)
    row = along(grid[0])[:, None].expand(*grid, -1)
    return torch.cat([column, row], -1)[None].to(torch.get_default_dtype())


def to_units(x: Tensor, unit: int) -> Tensor:
    """(B, C, H, W) to (B, units row by row, values): in a unit row by row, column by column, then the channels."""
    x = x.unflatten(3, (-1, unit)).unflatten(2, (-1, unit))  # B, C, down, rows, across, columns
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def from_units(x: Tensor, unit: int, grid: Size) -> Tensor:
    """Invert `to_units`: `grid` is the number of units down and across."""
    x = x.unflatten(2, (unit, unit, -1)).unflatten(1, grid)  # B, down, across, rows, columns, C
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def normalised_units(units: Tensor, valid: Tensor, eps: float = 1e-6) -> Tensor:
    """(B, N, values): every unit less its mean, by the root of (its variance + eps); both of the values with data.

    The variance's divisor is the count less one, as in MAE's code. Values without data become 0.
    """
    count = valid.sum(-1, keepdim=True)
    mean = torch.where(valid, units, 0).sum(-1, keepdim=True) / count.clamp(min=1)
    departure = torch.where(valid, units - mean, 0)
    variance = departure.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return departure / (variance + eps).sqrt()


class PlainAttention(nn.Module):
    """Attention among all tokens."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attend(self.qkv(x), self.heads))


class PlainViTBlock(nn.Module):
    """Attention and MLP, each behind a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = PlainAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = PlainMlp(width, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PlainMixMAE(nn.Module):
    """Two images mixed into one, encoded together but apart, and both reconstructed where the mixture lacks them.

    Image i keeps its visible units and gets, at the masked ones, those of image B − 1 − i. All stages have a learned
    relative position bias, as Swin has, but no shift. The positions are fixed and not in the state dictionary.
    """

    def __init__(
        self,
        image_px: Size,
        in_channels: int,
        patch_size: int,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window_size: int,
        mlp_ratio: float = 4,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ):
        super().__init__()
        self.stride = patch_size * 2 ** (len(depths) - 1)
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        self.grid, grid = token_grid(image_px, self.stride), token_grid(image_px, patch_size)
        self.patch_embed = PlainPatchEmbed(in_channels, patch_size, embed_dim, norm=True)
        self.register_buffer("absolute_pos_embed", sincos_positions(grid, embed_dim), persistent=False)
        self.layers = swin_stages(grid, embed_dim, depths, num_heads, window_size, mlp_ratio, shift=False)
        self.norm = nn.LayerNorm(self.num_features)
        self.decoder_embed = nn.Linear(self.num_features, decoder_width)
        self.mask_token = small(1, 1, decoder_width)
        self.register_buffer("decoder_pos_embed", sincos_positions(self.grid, decoder_width), persistent=False)
        self.decoder_blocks = nn.ModuleList(
            PlainViTBlock(decoder_width, decoder_heads, mlp_ratio) for _ in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_width)
        self.decoder_pred = nn.Linear(decoder_width, self.stride**2 * in_channels)
        initialise(self)

    def encode(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, C, H, W) and mask (H/stride, W/stride) to the mixtures' features (B, H/stride, W/stride, D)."""
        x = self.patch_embed(x)
        hidden = to_pixels(mask[None], x.shape[1] // mask.shape[0])[0, 0]
        x = torch.where(hidden[..., None], x.flip(0), x) + self.absolute_pos_embed
        for i, layer in enumerate(self.layers):
            x = layer(x, hidden[:: 2**i, :: 2**i])
        return self.norm(x)

    def decode(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features to reconstructed units (B, N, values).

        One copy of a mixture lacks the masked units: it tells them of image i. The other lacks the visible units: it
        has only those of image B − 1 − i, of which it tells the visible ones.
        """
        features = self.decoder_embed(features)
        hidden = mask[..., None]
        first = torch.where(hidden, self.mask_token, features)
        second = torch.where(hidden, features, self.mask_token)
        x = (torch.cat([first, second]) + self.decoder_pos_embed).flatten(1, 2)
        for block in self.decoder_blocks:
            x = block(x)
        first, second = self.decoder_pred(self.decoder_norm(x)).chunk(2)
        return torch.where(mask.flatten()[:, None], first, second.flip(0))

    def forward(
        self, x: Tensor, mask: Tensor, weights: Tensor | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Loss, and reconstruction (B, C, H, W) in the units' own normalised values.

        The loss is the mean of weight × squared error over all values of all units. `mask` (H/stride, W/stride) holds
        for the whole batch; `weights` and `valid` broadcast to x. Pixels without data leave the units' means and
        variances, the error and the count; the encoder sees what x holds there, which must be finite.
        """
        valid = torch.ones_like(x, dtype=torch.bool) if valid is None else valid.expand_as(x)
        known = to_units(valid, self.stride)
        target = normalised_units(to_units(x, self.stride), known)
        units = self.decode(self.encode(x, mask), mask)
        error = torch.where(known, (units - target).square(), 0)
        if weights is not None:
            error = error * torch.where(known, to_units(weights.expand_as(x), self.stride), 0)
        return error.sum() / known.sum().clamp(min=1), from_units(units, self.stride, self.grid)


#: of what double precision may differ
TOLERANCE = {"rtol": 0.0, "atol": 1e-12}


def plain_name(name: str) -> str:
    """The published name of a parameter of the package's encoders."""
    if name == "position":
        return "absolute_pos_embed"
    name = re.sub(r"^(swin|vit)\.", "", name)
    # timm counts a merging to the stage it leads to, Microsoft to the one it comes from
    return re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name)


def copied(weights: dict[str, Tensor], network: nn.Module) -> nn.Module:
    """The plain network with these weights, in float64: every one has its place, and no place is left."""
    own = dict(network.double().eval().named_parameters())
    assert weights.keys() == own.keys()
    with torch.no_grad():
        for name, parameter in own.items():
            assert weights[name].numel() == parameter.numel(), name
            parameter.copy_(weights[name].reshape(parameter.shape))
    return network


def randomised(module, seed=0):
    """All parameters drawn anew, so that no zero or one hides a mistake; float64, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            fan = math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 2.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / fan)
    return module
