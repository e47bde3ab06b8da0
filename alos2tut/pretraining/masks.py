"""Which tokens are hidden: random units of a fixed share, as SimMIM and MixMAE take them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.errors import Alos2TutError


def draw_masks(
    n: int, image_px: tuple[int, int], unit_px: int, patch_size: int, ratio: float, generator: torch.Generator
) -> Tensor:
    """Masks of random square units, each image its own (SimMIM, arXiv 2111.09886).

    Args:
        n, image_px: number and (height, width) of the images.
        unit_px: side of a unit: hidden whole or not at all.
        patch_size: side of a token's patch.
        ratio: share of units to hide, rounded up.
        generator: on the CPU, so that masks do not depend on the device.

    Returns:
        (n, H/patch, W/patch) bool, True where hidden.

    Raises:
        Alos2TutError: units that do not consist of patches, do not tile the image, or would all be hidden.
    """
    if unit_px % patch_size:
        problem = f"a mask unit of {unit_px} px is no multiple of the patch size {patch_size}"
        raise Alos2TutError(problem, where="mask_unit_px")
    if any(side % unit_px for side in image_px):
        problem = f"mask units of {unit_px} px do not tile images of {image_px[0]} × {image_px[1]} px"
        raise Alos2TutError(problem, where="mask_unit_px")
    rows, cols = (side // unit_px for side in image_px)
    count = math.ceil(ratio * rows * cols)
    if count == rows * cols:
        raise Alos2TutError(
            f"a ratio of {ratio} hides all {count} units of {unit_px} px, and leaves nothing to guess from",
            where="mask_ratio",
            remedy="Lower it, or make the units smaller.",
        )
    hidden = torch.rand(n, rows * cols, generator=generator).argsort(dim=1)[:, :count]
    units = torch.zeros(n, rows * cols, dtype=torch.bool).scatter_(1, hidden, True).view(n, rows, cols)
    tokens = unit_px // patch_size
    return units.repeat_interleave(tokens, dim=1).repeat_interleave(tokens, dim=2)


def token_to_pixel_mask(mask: Tensor, patch_size: int) -> Tensor:
    """A mask of tokens (B, H/patch, W/patch) as one of pixels, (B, 1, H, W)."""
    return mask.repeat_interleave(patch_size, dim=1).repeat_interleave(patch_size, dim=2).unsqueeze(1)
