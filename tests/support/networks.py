"""Networks so small that they train in a second, and their trainings."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from alos2tut.configs import load_config
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.store import PatchDataset
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.networks.segmenter import Segmenter

#: a Swin for patches of 32 px, in the form of settings
TINY: dict[str, Any] = {
    "patch_size": 2,
    "embed_dim": 24,
    "depths": (1, 1, 1, 1),
    "num_heads": (2, 4, 8, 16),
    "window_size": 4,
}
#: one that MixMAE trains
MIXED = {**TINY, "shifted": False, "position": "sincos"}
STATISTICS = Statistics((-11.0,), (6.0,))
SIGNAL = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}


def tiny_segmenter(dataset: PatchDataset) -> Segmenter:
    """An untrained network for a packed dataset, the same each time."""
    torch.manual_seed(0)
    encoder = SwinEncoder(EncoderConfig(**TINY), (32, 32))
    return Segmenter(encoder, dataset.legend, dataset.statistics, dataset.signal, width=16)


#: what trainings of the tests stand on, whatever the profile takes: small batches, published decoder and
#: loss, one learning rate
PLAIN = {
    "pretrain": {"batch_size": 8},
    "finetune": {"batch_size": 4, "decoder": "paper", "decoder_width": 16, "dropout": 0.1, "loss_pixels": None,
                 "loss": "dice_focal", "class_weighting": "frequency", "lr": 2e-3, "encoder_lr": 1.0, "mode": "full",
                 "mirror": True},
}  # fmt: skip


def training(stage: str, dataset: Path, work: Path, **values: Any) -> Any:
    """Settings of a training of a tiny network."""
    unit = {"mask_unit_px": 8} if stage == "pretrain" and values.get("objective") != "mixmae" else {}
    return load_config(
        stage, "quick", dataset=dataset, work_dir=work, **{"encoder": TINY, **unit, **PLAIN[stage], **values}
    )


def metrics(folder: Path) -> list[dict[str, str]]:
    """The rows that a training left."""
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def losses_of(folder: Path) -> list[float]:
    """The loss of each row."""
    return [float(row["loss"]) for row in metrics(folder)]
