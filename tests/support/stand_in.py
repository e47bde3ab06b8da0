"""Random numbers in the place of the weights that the paper's authors published."""

from __future__ import annotations

from pathlib import Path

import torch

from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import build_encoder
from alos2tut.networks.published import published_tensors


def write_stand_in(path: Path, seed: int = 0) -> Path:
    """Write about 350 MB of random numbers in the shapes and under the names of the authors' encoder file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(published_tensors(build_encoder(EncoderConfig(), (256, 256))), path)
    return path
