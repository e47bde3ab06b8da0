"""What windows of several sizes around a pixel hold: mean and variation of power, all that is known of even ground."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import Alos2TutError

#: sides in pixels of the windows that the floor is made of (:mod:`alos2tut.evaluation.forest`), and that a segmenter
#: may use beside its encoder
WINDOWS_PX = (3, 5, 9, 17, 33)
#: a coefficient of variation below this is that of one pixel, or of rounding
_LEAST_CV = 1e-3
#: a power below this has no logarithm in float32
_TINY = torch.finfo(torch.float32).tiny


def window_statistics(power: Tensor, valid: Tensor, windows_px: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean power and its variation in square windows around each pixel, over the pixels that count.

    Cumulative sums in float64 along the rows, then along the columns: the cost does not grow with the window.

    Args:
        power: (B, C, H, W) linear; where ``valid`` is False it may be anything.
        valid: (B, C, H, W) bool, True where a pixel counts. Nothing lies beyond the image's edge.
        windows_px: sides of the K windows, odd.

    Returns:
        Three of (B, C, K, H, W) float32. Mean power in dB; the logarithm of the coefficient of variation of power, at
        least log 0.001; and the share of the window's area, side², that counted. Where none did all are 0.

    Raises:
        Alos2TutError: a window without a pixel in its middle.
    """
    if wrong := [side for side in windows_px if side < 1 or side % 2 == 0]:
        raise Alos2TutError(f"windows of {wrong[0]} px have no pixel in their middle", remedy="Take odd sides.")
    known = torch.where(valid, power, 0.0).to(torch.float64)
    moments = torch.stack([valid.to(torch.float64), known, known.square()])
    along_rows = moments.cumsum(-1)
    sums = torch.stack([_between(_between(along_rows, side, -1).cumsum(-2), side, -2) for side in windows_px], dim=3)
    count, total, squares = sums
    # half a pixel is rounding
    has_any, area = count > 0.5, torch.tensor([float(side**2) for side in windows_px], device=power.device)
    mean = total / count.clamp(min=1)
    squared_cv = squares / count.clamp(min=1) / mean.square().clamp(min=_TINY**2) - 1
    mean_db = 10 * torch.log10(mean.to(torch.float32).clamp(min=_TINY))
    log_cv = torch.log(squared_cv.to(torch.float32).clamp(min=_LEAST_CV**2)) / 2
    share = count.to(torch.float32) / area.view(-1, 1, 1)
    return torch.where(has_any, mean_db, 0.0), torch.where(has_any, log_cv, 0.0), share


def _between(cumulative: Tensor, side: int, axis: int) -> Tensor:
    """Sums over windows of so many pixels along an axis, from sums of all pixels up to and with each."""
    n, half = cumulative.shape[axis], side // 2
    before, after = list(cumulative.shape), list(cumulative.shape)
    before[axis], after[axis] = half + 1, half
    last = cumulative.narrow(axis, n - 1, 1).expand(after)
    ends = torch.cat([cumulative.new_zeros(before), cumulative, last], dim=axis)
    return ends.narrow(axis, side, n) - ends.narrow(axis, 0, n)
