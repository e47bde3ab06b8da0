"""SAR-W: how much each pixel's error counts in pretraining, by how dark the pixel is in its patch.

The weight is exp(s · (1 − x̃)), with x̃ the pixel's linear power scaled to 0…1 within its patch (arXiv 2503.01181 for
SAR-W-MixMAE; assumed the same for SAR-W-SimMIM of arXiv 2603.15119): ``sar`` between the patch's extremes, as
published, where one strong scatterer takes all of the range and all other weights are nearly e^s; ``sar_percentile``
between two percentiles, what lies outside counting as at the end; ``sar_ecdf`` by rank, as the share that is darker.

Of several polarisations each has weights by its own power (``per_channel``), or all have those of the mean of their
powers (``shared_avg``): the two ways of the authors' ``sarwmix/weighting.py`` (acaglayan/SAR-W-MixMAE @ 8c33c891).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import WEIGHT_PERCENTILES

Weighting = Literal["sar", "sar_percentile", "sar_ecdf"]
Channels = Literal["per_channel", "shared_avg"]


def sar_weights(
    power: Tensor,
    valid: Tensor,
    scale: float = 1.0,
    weighting: Weighting = "sar",
    percentiles: tuple[float, float] = WEIGHT_PERCENTILES,
    channels: Channels = "per_channel",
) -> Tensor:
    """The weight of each pixel's error: from 1 at the brightest pixels of an image to e^scale at its darkest.

    Where all valid pixels are equal, x̃ is 0: nothing there is brighter than anything else.

    Args:
        power: (B, C, H, W) linear power; each image is scaled by itself.
        valid: (B, C, H, W) bool; other pixels count for no extreme, percentile or rank and get weight 0.
        scale: the exponent's factor; 1 as published.
        weighting: how x̃ is scaled; see the module.
        percentiles: of ``sar_percentile``, 0…100.
        channels: whether each channel is scaled by itself or their mean is; see the module.

    Returns:
        (B, C, H, W) float32 (float64 if ``power`` is).
    """
    if power.dtype != torch.float64:
        power = power.to(torch.float32)
    if channels == "shared_avg":
        mean, everywhere = power.mean(dim=1, keepdim=True), valid.all(dim=1, keepdim=True)
        return torch.where(valid, sar_weights(mean, everywhere, scale, weighting, percentiles), 0.0)
    if weighting == "sar_ecdf":
        scaled = _share_darker(power, valid)
    elif weighting == "sar_percentile":
        scaled = _between(power, *_percentiles(power, valid, percentiles)).clamp(0, 1)
    else:
        low = torch.where(valid, power, torch.inf).amin(dim=(-2, -1), keepdim=True)
        high = torch.where(valid, power, -torch.inf).amax(dim=(-2, -1), keepdim=True)
        scaled = _between(power, low, high)
    return torch.where(valid, torch.exp(scale * (1 - scaled)), 0.0)


def _between(power: Tensor, low: Tensor, high: Tensor) -> Tensor:
    span = high - low
    # no valid pixel makes the span −∞ or NaN, equal pixels make it 0; all divide by 1 instead
    return (power - low) / torch.where(span > 0, span, 1.0)


def _sorted_valid(power: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Valid powers of each image and channel, rising, then infinities, (B, C, H·W); and their number, (B, C, 1)."""
    values = torch.where(valid, power, torch.inf).flatten(-2)
    return values.sort(dim=-1).values, valid.flatten(-2).sum(dim=-1, keepdim=True)


def _percentiles(power: Tensor, valid: Tensor, percentiles: tuple[float, float]) -> list[Tensor]:
    """Percentiles over the valid pixels, linear between neighbours, (B, C, 1, 1) each. (torch's has a size limit.)"""
    values, count = _sorted_valid(power, valid)
    found = []
    for percentile in percentiles:
        place = (count - 1).clamp(min=0) * (percentile / 100)
        below = place.floor().to(torch.int64)
        above = (below + 1).minimum((count - 1).clamp(min=0))
        low, high = values.gather(-1, below), values.gather(-1, above)
        found.append(torch.lerp(low, high, (place - below).to(low.dtype)).unsqueeze(-1))
    return found


def _share_darker(power: Tensor, valid: Tensor) -> Tensor:
    """The share of an image's other valid pixels that are darker than each pixel, (B, C, H, W)."""
    values, count = _sorted_valid(power, valid)
    darker = torch.searchsorted(values, power.flatten(-2).contiguous())
    return (darker / (count - 1).clamp(min=1)).to(power.dtype).view_as(power)


def sar_weights_db(
    patches_db: NDArray[np.floating[Any]],
    scale: float = 1.0,
    weighting: Weighting = "sar",
    percentiles: tuple[float, float] = WEIGHT_PERCENTILES,
) -> NDArray[np.float32]:
    """:func:`sar_weights` of patches in dB (…, H, W), NaN where there is no data; for figures."""
    db = torch.from_numpy(np.asarray(patches_db, dtype=np.float32)).reshape(-1, 1, *np.shape(patches_db)[-2:])
    weights = sar_weights(torch.pow(10.0, db / 10), ~torch.isnan(db), scale, weighting, percentiles)
    array: NDArray[np.float32] = weights.numpy()
    return array.reshape(np.shape(patches_db))
