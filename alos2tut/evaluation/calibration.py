"""Whether a network is as sure as it is right: reliability, and the temperature that mends it.

A network that says "80 %" of many pixels should be right about 80 % of them. Trained networks are often surer than
that; dividing their logits by one number, the temperature, mends most of it and changes no class (Guo et al. 2017,
arXiv 1706.04599). It is fitted on validation ground, never on what is scored in the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..dataset.legend import IGNORE
from ..dataset.store import Split
from ..networks.inference import device_of, scored_batches, summed
from ..networks.segmenter import Segmenter

#: equal-width bins of confidence
BINS = 15
#: labelled pixels, at most, that a temperature is fitted to
PIXELS = 200_000
#: between these the temperature is sought: beyond them a network is as good as sure, or as undecided
LOWEST, HIGHEST = 0.05, 20.0
#: confidence is summed in whole steps, which add up to the same in any order
_STEPS = 2**24


def reliability_counts(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Counts of a batch by confidence, the probability of the class that the network names.

    Args:
        logits: (B, classes, H, W).
        labels: (B, H, W) int64, 255 where nothing counts.
        temperature: what logits are divided by.

    Returns:
        (3, bins) int64, by bins [i/15, (i+1)/15): labelled pixels, those that are right, and the sum of confidence in
        steps of 2⁻²⁴.
    """
    known = labels != IGNORE
    confidence = (logits / temperature).softmax(dim=1).amax(dim=1)[known]
    right = (logits.argmax(dim=1) == labels)[known]
    steps = (confidence.to(torch.float64) * _STEPS).round().to(torch.int64)
    place = (BINS * steps // _STEPS).clamp(max=BINS - 1)
    sums = torch.zeros(BINS, dtype=torch.int64, device=steps.device).scatter_add(0, place, steps)
    return torch.stack([torch.bincount(place, minlength=BINS), torch.bincount(place[right], minlength=BINS), sums])


def reliability(counts: NDArray[np.int64]) -> dict[str, Any]:
    """The reliability curve and its one number.

    Args:
        counts: (3, bins) as :func:`reliability_counts` gives them, summed.

    Returns:
        ``ece``, the expected calibration error Σ n/N · |accuracy − confidence| over the bins (arXiv 1706.04599, eq. 3),
        None without pixels; and ``bins``: a list of ``low``, ``high``, ``pixels``, and the mean ``confidence`` and
        ``accuracy`` of these, None where there are none.
    """
    pixels, right, confidence = counts[0], counts[1], counts[2] / _STEPS
    bins = [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "pixels": int(n),
            "confidence": float(confidence[index] / n) if n else None,
            "accuracy": float(right[index] / n) if n else None,
        }
        for index, n in enumerate(pixels)
    ]
    total = pixels.sum()
    return {"ece": float(np.abs(right - confidence).sum() / total) if total else None, "bins": bins}


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by, and what it was fitted to."""

    value: float
    #: labelled pixels it was fitted to
    pixels: int
    #: whether the best one lies outside :data:`LOWEST` … :data:`HIGHEST`, so that the nearer end was taken
    at_limit: bool


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> Temperature | None:
    """The temperature of least negative log-likelihood; None without pixels.

    With z the logits and β = 1/T, the likelihood's slope along β is the mean of Σ p(β)·z − z_true, which rises with β:
    it has one zero, which is sought in log T between the ends of the range.

    Args:
        logits: (n, classes).
        labels: (n,) class indices.
    """
    from scipy.optimize import brentq

    if not len(labels):
        return None
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    true = z[np.arange(len(z)), labels].mean()

    def slope(log_t: float) -> float:
        p = np.exp(z / math.exp(log_t))
        return float(((p * z).sum(axis=1) / p.sum(axis=1)).mean() - true)

    low, high = math.log(LOWEST), math.log(HIGHEST)
    if slope(high) > 0 or slope(low) <= 0:
        return Temperature(HIGHEST if slope(high) > 0 else LOWEST, len(labels), at_limit=True)
    return Temperature(math.exp(brentq(slope, low, high, xtol=1e-15, rtol=1e-15)), len(labels), at_limit=False)


def labelled_logits(
    segmenter: Segmenter, split: Split, batch_size: int, *, most: int = PIXELS, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits and labels of some labelled pixels, one of each of equal parts of a list; of all processes together.

    Args:
        segmenter, split, batch_size: as for :func:`alos2tut.networks.inference.scored_batches`.
        most: pixels; all, if there are no more.
        seed: of the draws.

    Returns:
        (n, classes) float32 and (n,) int64.
    """
    # labelled pixels before each patch
    before = np.concatenate([[0], np.cumsum([np.count_nonzero(split.labels[row] != IGNORE) for row in split.rows])])
    total = int(before[-1])
    ends = np.arange(min(most, total) + 1) * total // max(1, min(most, total))
    drawn = np.random.default_rng(seed).integers(ends[:-1], ends[1:])
    device = device_of(segmenter)
    logits = torch.zeros((len(drawn), len(segmenter.legend)), device=device)
    labels = torch.zeros(len(drawn), dtype=torch.int64, device=device)
    for positions, truth, output in scored_batches(segmenter, split, batch_size):
        first, last = before[positions[0]], before[positions[-1] + 1]
        here = slice(*np.searchsorted(drawn, [first, last]))
        patch, row, col = (truth != IGNORE).nonzero()[torch.from_numpy(drawn[here] - first).to(device)].unbind(1)
        logits[here], labels[here] = output[patch, :, row, col], truth[patch, row, col]
    return summed(logits), summed(labels)
