"""Random numbers in the place of the weights that the paper's authors published."""

from __future__ import annotations

from pathlib import Path

import torch

from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import build_encoder
from alos2tut.networks.published import published_tensors


def write_stand_in(path: Path, embed_dim: int = 128, seed: int = 0) -> Path:
    """Write random numbers under the names of the authors' encoder file; in its own width they take 350 MB."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.save(published_tensors(build_encoder(EncoderConfig(embed_dim=embed_dim), (256, 256))), path)
    return path
