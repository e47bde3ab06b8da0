"""What SimMIM is asked about hidden ground: its pixels, as published, or what of them depends less on speckle.

``multiscale`` asks for mean power and its variation in windows around each pixel. ``log_ratio`` asks for the ratio of
mean powers of a window's halves, right over left and lower over upper: a gradient that is the same on bright and dark
ground, where speckle is a factor (the edge detector of Touzi et al. 1988, doi 10.1109/36.7708); several scales of it
are what SAR-JEPA (arXiv 2311.15153) and SARATR-X (arXiv 2405.09365) predict. A window that reaches visible ground would
give its answer away: a target counts only where all pixels of its window are hidden and have data.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ..dataset.encoding import NO_DATA, Statistics
from ..networks.encoders import by_channel, linear_power, standardize
from ..networks.multiscale import window_statistics

Target = Literal["pixels", "multiscale", "log_ratio"]

#: Sides of windows in pixels. Of the pixels that units of 16 px hide, 60 % of a patch of 128 px, a window of 9 px lies
#: around 55 % and one of 13 px around 35 % (:func:`target_share`); SARATR-X's largest, 17 px, would around 16 %.
WINDOWS_PX: dict[Target, tuple[int, ...]] = {"pixels": (1,), "multiscale": (3, 5, 9), "log_ratio": (5, 9, 13)}
#: What makes all maps spread alike. Over the list ``pretrain`` of a simulated scene (seed 7, 64-px patches) the spreads
#: of means are 0.83, 0.79 and 0.75 of the pixels'; log CV is −0.57 ± 0.35, −0.39 ± 0.31 and −0.26 ± 0.31; log ratios
#: are 0 ± 2.3, 1.9 and 1.9 dB. So all maps have spreads of 0.75 to 0.93.
_LOG_CV_MEAN, _LOG_CV_SPREAD, _LOG_RATIO_SPREAD_DB = -0.4, 0.4, 2.5


class Asked(NamedTuple):
    """A batch's targets: M = C · :func:`maps_of` maps, channel by channel."""

    #: (B, M, H, W) float32, standardised
    values: Tensor
    #: (B, M, H, W) bool, True where they count
    counted: Tensor
    #: (1, M, 1, 1) float32, dB of a value's 1; 0: a map that is not in dB
    unit_db: Tensor


def maps_of(target: Target) -> int:
    """Maps that a target has of each channel: of windows two (mean and variation, or two directions), else one."""
    return 1 if target == "pixels" else 2 * len(WINDOWS_PX[target])


def ask(target: Target, rows: Tensor, hidden: Tensor, statistics: Statistics) -> Asked:
    """The targets of a batch.

    The maps of a channel are, by target: its pixels in dB, standardised by ``statistics``; the windows' mean powers in
    dB, standardised alike, then the logarithms of power's coefficients of variation; the windows' log ratios right over
    left, then those lower over upper.

    Args:
        target: what is asked.
        rows: (B, C, H, W) int16 hundredths of dB.
        hidden: (B, 1, H, W) bool, True where hidden.
        statistics: mean and spread of dB by channel.
    """
    std_db = by_channel(statistics.std_db, rows)
    if target == "pixels":
        values, valid = standardize(rows, statistics)
        return Asked(values, hidden & valid, std_db)
    known = hidden & (rows != NO_DATA)
    power = torch.where(known, linear_power(rows), 0.0)
    mean_db, log_cv, share = window_statistics(power, known, WINDOWS_PX[target])
    if target == "multiscale":
        mean = (mean_db - by_channel(statistics.mean_db, rows).unsqueeze(2)) / std_db.unsqueeze(2)
        maps = torch.cat([mean, (log_cv - _LOG_CV_MEAN) / _LOG_CV_SPREAD], dim=2)
        unit_db = torch.stack([std_db, torch.zeros_like(std_db)], dim=2).repeat_interleave(mean.shape[2], dim=2)
    else:
        across = [log_ratio_db(power, side) for side in WINDOWS_PX[target]]
        down = [log_ratio_db(power.transpose(-1, -2), side).transpose(-1, -2) for side in WINDOWS_PX[target]]
        maps = torch.stack(across + down, dim=2) / _LOG_RATIO_SPREAD_DB
        unit_db = torch.full_like(maps[:1, :, :, :1, :1], _LOG_RATIO_SPREAD_DB)
    whole = (share == 1).repeat(1, 1, 2, 1, 1)
    return Asked(torch.where(whole, maps, 0.0).flatten(1, 2), whole.flatten(1, 2), unit_db.flatten(1, 2))


def log_ratio_db(power: Tensor, side: int) -> Tensor:
    """Mean power of the right half of a window over that of its left half, in dB; the middle column is in neither.

    Args:
        power: (B, C, H, W) linear; beyond the image it is 0.
        side: of the window, odd.

    Returns:
        (B, C, H, W), of no meaning where a half has no power or reaches beyond the image.
    """
    half, width = side // 2, power.shape[-1]
    means = avg_pool2d(pad(power, (half,) * 4), (side, half), stride=1).clamp(min=torch.finfo(torch.float32).tiny)
    left, right = means[..., :width], means[..., half + 1 :]
    return 10 * torch.log10(right / left)


def target_share(target: Target, image_px: tuple[int, int], unit_px: int, ratio: float) -> dict[int, float]:
    """The share of hidden pixels that a target counts at, by the side of its window in pixels; exact, over all masks.

    A window that touches k of n units, of which m are hidden, is hidden with probability m (m − 1) … / n (n − 1) …, k
    factors each; a window that reaches beyond the image never counts. Of ground without data nothing is known here.

    Args:
        target: what is asked.
        image_px: (height, width) of the images.
        unit_px, ratio: see :func:`.draw_masks`.
    """
    units = image_px[0] // unit_px * (image_px[1] // unit_px)
    count, shares = math.ceil(ratio * units), {}
    for side in WINDOWS_PX[target]:
        half = side // 2
        # how many windows that fit into the image touch how many rows of units, and how many columns
        rows, cols = (
            Counter((p + half) // unit_px - (p - half) // unit_px + 1 for p in range(half, length - half))
            for length in image_px
        )
        touched = [(r * c, rows[r] * cols[c]) for r in rows for c in cols]
        hidden = sum(n * math.prod(max(count - i, 0) / (units - i) for i in range(k)) for k, n in touched)
        shares[side] = hidden / (image_px[0] * image_px[1] * count / units)
    return shares
