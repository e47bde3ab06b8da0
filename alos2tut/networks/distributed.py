"""What several processes of one training or scoring know of each other, and sum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.environment import process_number


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, as ``torchrun`` sets them; (0, 1) without it."""
    return process_number("RANK"), process_number("WORLD_SIZE", 1)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def wait_for_all() -> None:
    """Return when every process has come here; at once if there is only this one."""
    if _distributed():
        dist.barrier()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient; the tensor itself if there is only this one."""
    if not _distributed():
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def ratios_over_processes(
    parts: Mapping[str, tuple[Tensor, Tensor]], at_least: float = 0.0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Losses that are ratios of sums, right over any number of processes.

    Processes hold unequal numbers of valid pixels, so a mean of their ratios is not the ratio of the whole batch.

    Args:
        parts: this process's sum of errors, with gradient, and its count, by name.
        at_least: the smallest value to divide by, where all counts together may be 0.

    Returns:
        The values to differentiate (gradients are averaged over processes afterwards, which a factor undoes) and the
        whole batch's, detached; by name.
    """
    world = dist.get_world_size() if _distributed() else 1
    totals = sum_over_processes(torch.stack([torch.stack([part.detach() for part in pair]) for pair in parts.values()]))
    counts = dict(zip(parts, totals[:, 1].clamp(min=at_least), strict=True))
    differentiable = {name: numerator * world / counts[name] for name, (numerator, _) in parts.items()}
    return differentiable, {name: total / counts[name] for name, total in zip(parts, totals[:, 0], strict=True)}
