"""What fine-tuning minimises: Dice and focal loss as published, or cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dataset.legend import IGNORE
from ..networks.distributed import ratios_over_processes
from .config import FinetuneConfig


def dice_focal_sums(
    logits: Tensor, labels: Tensor, class_weights: Tensor, config: FinetuneConfig
) -> dict[str, tuple[Tensor, Tensor]]:
    """Numerators and denominators of the ``dice`` and ``focal`` (arXiv 1708.02002) losses.

    Dice: 1 − 2·overlap / (probability + reference) for each class present in an image, averaged over those, then over
    the images that have a label. Focal: −α·(1 − p)^γ·log p of the true class, averaged over labelled pixels, with
    α = class weight × ``alpha_scale``.
    """
    labelled, index, log_p, log_p_true = _log_probabilities(logits, labels)
    p_true = log_p_true.exp()
    alpha = class_weights.to(log_p)[index] * config.alpha_scale
    focal = -alpha * (1 - p_true).clamp(min=0) ** config.focal_gamma * log_p_true

    def by_class(pixels: Tensor) -> Tensor:
        """Sums (B, classes) of pixels (B, H, W) by their label."""
        zeros = torch.zeros(log_p.shape[:2], device=log_p.device)
        return zeros.scatter_add(1, index.flatten(1), torch.where(labelled, pixels, 0.0).flatten(1))

    reference = by_class(torch.ones_like(p_true))
    predicted = (log_p.exp() * labelled.unsqueeze(1)).sum(dim=(2, 3))
    present = reference > 0
    dice = torch.where(present, 1 - 2 * by_class(p_true) / (predicted + reference).clamp(min=1), 0.0)
    by_image = dice.sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return {
        "dice": (by_image.sum(), present.any(dim=1).sum().to(torch.float32)),
        "focal": (torch.where(labelled, focal, 0.0).sum(), labelled.sum().to(torch.float32)),
    }


def cross_entropy_sums(logits: Tensor, labels: Tensor, class_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of the cross-entropy: −w·log p of the true class over labelled pixels; Σ w."""
    labelled, index, _, log_p_true = _log_probabilities(logits, labels)
    weight = torch.where(labelled, class_weights.to(log_p_true)[index], 0.0)
    return -(weight * log_p_true).sum(), weight.sum()


def _log_probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where there are labels, their classes (elsewhere 0), and in float32 log p of all classes and of the true one."""
    labelled = labels != IGNORE
    index = torch.where(labelled, labels, 0).to(torch.int64)
    log_p = F.log_softmax(logits.to(torch.float32), dim=1)
    return labelled, index, log_p, log_p.gather(1, index.unsqueeze(1)).squeeze(1)


def segmentation_losses(
    logits: Tensor, labels: Tensor, class_weights: Tensor, config: FinetuneConfig
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, right over any number of processes.

    Args:
        logits: (B, classes, H, W).
        labels: (B, H, W) class indices, 255 where nothing counts.
        class_weights: (classes,).
        config: ``loss``, ``dice_share``, ``focal_gamma`` and ``alpha_scale``.

    Returns:
        Two scalars, 0 if no pixel is labelled: to differentiate, and of the whole batch, detached.
    """
    if config.loss == "cross_entropy":
        parts = {"cross_entropy": cross_entropy_sums(logits, labels, class_weights)}
        differentiable, reported = ratios_over_processes(parts, at_least=1e-6)
        return differentiable["cross_entropy"], reported["cross_entropy"]
    # nothing labelled in the batch: 0 / 1, not 0 / 0
    both = ratios_over_processes(dice_focal_sums(logits, labels, class_weights, config), at_least=1.0)
    loss, whole = (config.dice_share * parts["dice"] + (1 - config.dice_share) * parts["focal"] for parts in both)
    return loss, whole
