"""A trained network at work: the device it runs on, and the mode it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from ..dataset.legend import IGNORE
from ..dataset.store import Split
from .distributed import rank_and_world, sum_over_processes
from .encoders import standardize
from .passes import pass_size, passes
from .segmenter import Segmenter
from .weights import load_segmenter


def best_device() -> torch.device:
    """A CUDA GPU if there is one, else the CPU.

    Apple's GPUs are passed over: torch pools on them only what the parts divide, and the decoder asks for thirds.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_on_best_device(path: str | Path) -> Segmenter:
    """A segmenter from its file, on a GPU if there is one; raises as :func:`alos2tut.load_segmenter`."""
    return load_segmenter(path).to(best_device())


def device_of(network: Any) -> torch.device:
    """Where a network's weights lie; whatever else is called like one works on the CPU."""
    parameters: Any = getattr(network, "parameters", tuple)()
    return next((p.device for p in parameters), torch.device("cpu"))


@contextmanager
def evaluating(network: Any) -> Iterator[None]:
    """Evaluation mode for a while, in which dropout does nothing; then every part is as it was."""
    modes = {part: part.training for part in network.modules()} if isinstance(network, nn.Module) else {}
    for part in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


#: from stored patches (B, C, H, W) int16 and their positions in a list (B,) to other patches, alike
Change = Callable[[NDArray[np.int16], NDArray[np.int64]], NDArray[np.int16]]


def scored_batches(
    segmenter: Segmenter, split: Split, batch_size: int, change: Change | None = None
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """A list through a segmenter in evaluation mode, pass by pass; of several processes, each takes its share.

    Whole passes are shared out and none is filled up: every patch is seen once, in the same company, and so to
    the same last bit, however many processes there are.

    Args:
        segmenter, split: any device; any list.
        batch_size: patches at work at once, which on a CPU several passes share out (:mod:`.passes`).
        change: what to do to stored patches before; None: nothing.

    Yields:
        Positions in the list (B,), labels (B, H, W) int64 and logits (B, classes, H, W) float32, these two on the
        segmenter's device.

    Raises:
        Alos2TutError: a label that is the index of no class.
    """
    device = device_of(segmenter)
    size = pass_size(batch_size, device)
    # processes without a process group cannot sum: each then goes through the whole list
    rank, world = rank_and_world() if dist.is_available() and dist.is_initialized() else (0, 1)

    def scored(start: int) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        positions = np.arange(start, min(start + size, len(split)))
        split.check_labels(len(segmenter.legend), positions)
        rows, labels = split.gather(positions)
        stored = torch.from_numpy(rows if change is None else change(rows, positions))
        x, _ = standardize(stored.to(device), segmenter.statistics)
        return positions, torch.from_numpy(labels).to(device, torch.int64), segmenter(x).to(torch.float32)

    with evaluating(segmenter):
        yield from passes(scored, range(rank * size, len(split), world * size), device)


def confusion_counts(labels: Tensor, predicted: Tensor, groups: NDArray[np.int64], size: tuple[int, int]) -> Tensor:
    """Confusion matrices of a batch, one for each group of patches.

    Args:
        labels: (B, H, W) int64, 255 where nothing counts.
        predicted: (B, H, W) int64.
        groups: (B,) the group of each patch, from 0.
        size: numbers of groups and of classes.

    Returns:
        (groups, classes, classes) int64 pixels: rows are the reference, columns the prediction.
    """
    of_groups, classes = size
    group = torch.from_numpy(groups).to(labels.device).view(-1, 1, 1)
    cells = ((group * classes + labels) * classes + predicted)[labels != IGNORE]
    return torch.bincount(cells, minlength=of_groups * classes**2).view(of_groups, classes, classes)


def confusion_matrices(
    segmenter: Segmenter, split: Split, batch_size: int, groups: NDArray[np.int64], change: Change | None = None
) -> NDArray[np.int64]:
    """Confusion matrices as of :func:`confusion_counts`, of a whole list and summed over all processes.

    Args:
        segmenter, split, batch_size, change: as for :func:`scored_batches`.
        groups: (patches of the list,) the group of each, from 0.
    """
    size = int(groups.max(initial=0)) + 1, len(segmenter.legend)
    total = torch.zeros((size[0], size[1], size[1]), dtype=torch.int64, device=device_of(segmenter))
    for positions, labels, logits in scored_batches(segmenter, split, batch_size, change):
        total += confusion_counts(labels, logits.argmax(dim=1), groups[positions], size)
    return summed(total)


def confusion_matrix(segmenter: Segmenter, split: Split, batch_size: int) -> NDArray[np.int64]:
    """One matrix (classes, classes) of a whole list; see :func:`confusion_matrices`."""
    one_group = np.zeros(len(split), dtype=np.int64)
    matrix: NDArray[np.int64] = confusion_matrices(segmenter, split, batch_size, one_group)[0]
    return matrix


def summed(counts: Tensor) -> NDArray[Any]:
    """Counts of this process as those of all together."""
    array: NDArray[Any] = sum_over_processes(counts).cpu().numpy()
    return array
