"""A trained network at work: the device it runs on, and the mode it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .weights import load_segmenter

if TYPE_CHECKING:
    from ..segmentation.stage import Segmenter


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
