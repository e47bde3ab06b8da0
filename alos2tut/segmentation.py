"""Fine-tuning: an encoder and a decoder that name the land cover of every pixel.

The decoder is the one of arXiv 2603.15119: pooled context of the deepest features (PPM, arXiv 1612.01105), a pyramid
that carries it to finer ones (FPN, arXiv 1612.03144), and a head that enlarges step by step.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from . import __version__
from .artifacts import make_folder, stage_dir
from .checkpoints import save_segmenter
from .config import FinetuneConfig, settings_for_key
from .dataset import PatchDataset, Split, Statistics, open_dataset
from .encoders import Encoder, SwinEncoder, standardize
from .errors import Alos2TutError
from .legend import IGNORE, Legend
from .scores import scores_from_confusion
from .training import (
    Batch,
    History,
    StepCallback,
    Training,
    check_processes,
    count_parameters,
    derived_seed,
    finish,
    fit,
    flip,
    initial_encoder,
    made_from,
    number_of_steps,
    rank_and_world,
    ratios_over_processes,
    reuse,
    wait_for_all,
)

_POOL_BINS = (1, 2, 3, 6)


def _norm(width: int) -> list[nn.Module]:
    """GroupNorm of 16 groups as published, or fewer so that a group keeps 8 channels, and GELU.

    On the 1×1 map of the coarsest pooling a group of one channel would be normalised to nothing.
    """
    return [nn.GroupNorm(math.gcd(16, width, max(1, width // 8)), width), nn.GELU()]


def _block(channels: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=1), *_norm(width), nn.Dropout(dropout))


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def _twice(x: Tensor) -> Tensor:
    return _resize(x, (2 * x.shape[-2], 2 * x.shape[-1]))


class PyramidPooling(nn.Module):
    """The deepest features beside their maxima over 1, 2², 3² and 6² parts of the image, fused to ``width``."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveMaxPool2d(bins), nn.Conv2d(channels, width, kernel_size=1), *_norm(width))
            for bins in _POOL_BINS
        )
        self.fuse = _block(channels + len(_POOL_BINS) * width, width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) → (B, width, h, w)."""
        size = (x.shape[-2], x.shape[-1])
        fused: Tensor = self.fuse(torch.cat([x, *(_resize(branch(x), size) for branch in self.branches)], dim=1))
        return fused


class Decoder(nn.Module):
    """From the encoder's four maps to logits of the image's size.

    Args:
        channels: of the four maps, finest first.
        classes: of the legend.
        patch_size: of the encoder: the finest fused map has one pixel per patch.
        width: channels throughout.
        dropout: rate in the fusing blocks.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, patch_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.context = PyramidPooling(channels[3], width, dropout)
        self.widen = nn.Conv2d(width, width, kernel_size=1)
        self.laterals = nn.ModuleList(_block(channels[level], width, dropout) for level in (2, 1, 0))
        self.merges = nn.ModuleList(_block(width, width, dropout) for _ in range(3))
        self.fuse = _block(4 * width, width, dropout)
        #: enlargement of each of the head's two convolutions: ×2 while the patch is not undone
        self.factors = tuple(2 if patch_size >= size else 1 for size in (2, 4))
        self.head = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, kernel_size=3, padding=1), *_norm(width)) for _ in self.factors
        )
        self.classify = nn.Conv2d(width, classes, kernel_size=3, padding=1)

    def forward(self, maps: list[Tensor], image_px: tuple[int, int]) -> Tensor:
        """Four maps, finest first → (B, classes, *image_px) logits."""
        x = self.context(maps[3])
        levels = [x]
        for index, (lateral, merge) in enumerate(zip(self.laterals, self.merges, strict=True)):
            x = _twice(x)
            if index == 0:
                x = self.widen(x)
            x = merge(x + _twice(lateral(maps[2 - index])))
            levels.append(x)
        finest = (x.shape[-2], x.shape[-1])
        x = self.fuse(torch.cat([_resize(level, finest) for level in levels], dim=1))
        for factor, convolution in zip(self.factors, self.head, strict=True):
            x = convolution(_twice(x) if factor == 2 else x)
        # a patch of 4 px or less is undone by now; other sizes by one last step
        return _resize(self.classify(x), image_px)


class Segmenter(nn.Module):
    """An encoder with its decoder, and what belongs to using it.

    Args:
        encoder: reads standardised dB.
        legend: names the classes.
        statistics: what its input is standardised by.
        signal: quantity, polarizations and spacing_m of what it is trained on.
        width: the decoder's channels.
        dropout: the decoder's rate.
    """

    def __init__(
        self,
        encoder: SwinEncoder,
        legend: Legend,
        statistics: Statistics,
        signal: dict[str, Any],
        *,
        width: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder, self.legend, self.statistics, self.signal = encoder, legend, statistics, signal
        self.header: dict[str, Any] = {}
        channels = tuple(encoder.config.embed_dim * factor for factor in (2, 4, 8, 8))
        self.decoder = Decoder(channels, len(legend), encoder.config.patch_size, width, dropout)

    @property
    def image_px(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.encoder.image_px

    def forward(self, x: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) → logits (B, classes, H, W)."""
        logits: Tensor = self.decoder(self.encoder.features(x), self.image_px)
        return logits


def dice_focal_sums(
    logits: Tensor, labels: Tensor, class_weights: Tensor, config: FinetuneConfig
) -> dict[str, tuple[Tensor, Tensor]]:
    """Numerators and denominators of the ``dice`` and ``focal`` parts of :func:`dice_focal`."""
    logits = logits.to(torch.float32)
    labelled = labels != IGNORE
    index = torch.where(labelled, labels, 0).to(torch.int64)
    log_p = F.log_softmax(logits, dim=1)
    log_p_true = log_p.gather(1, index.unsqueeze(1)).squeeze(1)
    p_true = log_p_true.exp()
    alpha = class_weights.to(logits)[index] * config.alpha_scale
    focal = -alpha * (1 - p_true).clamp(min=0) ** config.focal_gamma * log_p_true

    def by_class(pixels: Tensor) -> Tensor:
        """Sums (B, classes) of pixels (B, H, W) by their label."""
        zeros = torch.zeros(logits.shape[:2], device=logits.device)
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


def _dice_focal(logits: Tensor, labels: Tensor, class_weights: Tensor, config: FinetuneConfig) -> tuple[Tensor, Tensor]:
    # nothing labelled in the batch: 0 / 1, not 0 / 0
    both = ratios_over_processes(dice_focal_sums(logits, labels, class_weights, config), at_least=1.0)
    differentiable, reported = (
        config.dice_share * parts["dice"] + (1 - config.dice_share) * parts["focal"] for parts in both
    )
    return differentiable, reported


def dice_focal(logits: Tensor, labels: Tensor, class_weights: Tensor, config: FinetuneConfig) -> Tensor:
    """The loss of fine-tuning: ``dice_share`` of Dice, the rest focal (arXiv 1708.02002).

    Dice: 1 − 2·overlap / (probability + reference) for each class present in an image, averaged over those, then over
    the images that have a label. Focal: −α·(1 − p)^γ·log p of the true class, averaged over labelled pixels, with
    α = class weight × ``alpha_scale``.

    Args:
        logits: (B, classes, H, W).
        labels: (B, H, W) class indices, 255 where nothing counts.
        class_weights: (classes,).
        config: ``dice_share``, ``focal_gamma`` and ``alpha_scale``.

    Returns:
        A scalar; 0 if no pixel is labelled.
    """
    return _dice_focal(logits, labels, class_weights, config)[0]


class _Finetuning(Training):
    config: FinetuneConfig
    network: Segmenter
    class_weights: Tensor

    def __init__(self, network: Segmenter, config: FinetuneConfig, class_weights: Tensor, steps: int) -> None:
        super().__init__(network, config, "train", steps)
        self.register_buffer("class_weights", class_weights, persistent=False)

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x, _ = standardize(flip(batch.rows, flips), self.network.statistics)
        logits = self.network(x)
        with torch.autocast(x.device.type, enabled=False):
            loss, reported = _dice_focal(logits, flip(batch.labels, flips), self.class_weights, self.config)
        return loss, {"loss": reported}


@torch.no_grad()
def confusion_matrix(segmenter: Segmenter, split: Split, batch_size: int) -> NDArray[np.int64]:
    """One confusion matrix of a whole list; with several processes each takes its share, and all counts are summed.

    Returns:
        (classes, classes) pixels: rows are the reference, columns the prediction.
    """
    device = next(segmenter.parameters()).device
    counts = MulticlassConfusionMatrix(len(segmenter.legend), ignore_index=IGNORE, validate_args=False).to(device)
    # a scoring that torchrun started without a process group cannot sum: each process then counts the whole list
    rank, world = rank_and_world() if dist.is_available() and dist.is_initialized() else (0, 1)
    mine = np.arange(len(split))[rank::world]
    counts.update(torch.zeros(1, device=device), torch.full((1,), IGNORE, device=device))  # a share may be empty
    training = segmenter.training
    segmenter.eval()
    for start in range(0, len(mine), batch_size):
        rows, labels = split.gather(mine[start : start + batch_size])
        x, _ = standardize(torch.from_numpy(rows).to(device), segmenter.statistics)
        counts.update(segmenter(x).argmax(dim=1), torch.from_numpy(labels).to(device, torch.int64))
    segmenter.train(training)
    matrix: NDArray[np.int64] = counts.compute().cpu().numpy().astype(np.int64)
    return matrix


class Validation(StepCallback):
    """Scores the validation list every so many steps and at the end, and keeps the weights that did best.

    The best weights travel in the resume checkpoints, so a resumed run chooses among the same.
    """

    def __init__(self, split: Split, history: History, every: int, batch_size: int) -> None:
        self.split, self.history, self.every, self.batch_size = split, history, every, batch_size
        self.best: dict[str, Any] = {"step": 0, "miou": -1.0, "weights": {}, "confusion": []}

    def on_step(self, trainer: Any, module: Training, step: int) -> None:
        """Score, and remember the weights if they are the best so far."""
        if step % self.every and step != module.steps:
            return
        segmenter = module.network
        assert isinstance(segmenter, Segmenter)
        matrix = confusion_matrix(segmenter, self.split, self.batch_size)
        miou = scores_from_confusion(matrix)["miou"]
        self.history.note(val_miou=miou)
        if miou > self.best["miou"]:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in segmenter.state_dict().items()}
            self.best = {"step": step, "miou": miou, "weights": weights, "confusion": matrix.tolist()}

    def state_dict(self) -> dict[str, Any]:
        """For the resume checkpoint."""
        return self.best

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the resume checkpoint."""
        self.best = state_dict


def finetune(config: FinetuneConfig) -> Path:
    """Train a segmenter on a dataset's ``train`` list; keep the weights with the best mIoU on ``val``.

    The ``test`` list is not touched. An interrupted run continues where its last checkpoint was written; a complete one
    is reused.

    Args:
        config: the settings; ``init`` names pretrained weights (its architecture and statistics are used), else the
            encoder starts at random with ``config.encoder`` and the dataset's statistics.

    Returns:
        The stage folder, with ``segmenter.safetensors``, ``metrics.csv`` (with ``val_miou`` at validation steps) and
        ``run.json``.

    Raises:
        Alos2TutError: settings or weights that do not fit the dataset, no labelled pixel to validate on, or a loss
            or gradient that becomes no number.
        Stopped: it was told to stop before the last step (SIGTERM, SIGUSR1, ``stop_after_minutes``); all is saved.
    """
    dataset = open_dataset(config.dataset)
    encoder = initial_encoder(config, dataset)
    settings = {**settings_for_key(config), "encoder": dataclasses.asdict(encoder.config)}
    inputs = made_from(config, dataset)
    stage = stage_dir(config.work_dir, "finetune", settings, inputs)
    if reuse(stage):
        return stage
    check_processes(config)
    network = _initial_segmenter(config, dataset, encoder)
    validation_split = dataset.split("val")
    if not (validation_split.labels[validation_split.rows] != IGNORE).any():
        raise Alos2TutError("the validation list has no labelled pixel", where=dataset.path / "val.csv")
    steps = number_of_steps(config, len(dataset.split("train")))
    make_folder(stage)
    history = History(stage / "metrics.csv", every=max(1, steps // 2000), extra=("val_miou",))
    _, world = rank_and_world()
    validation = Validation(validation_split, history, config.validate_every, -(-config.batch_size // world))
    training = _Finetuning(network, config, torch.from_numpy(dataset.class_weights), steps)
    fit(training, stage, "finetune", callbacks=(validation, history))
    if rank_and_world()[0] == 0:
        _write_results(stage, network, validation.best, dataset, settings, inputs, history.last("loss"))
    wait_for_all()
    return stage


def _initial_segmenter(config: FinetuneConfig, dataset: PatchDataset, encoder: Encoder) -> Segmenter:
    assert encoder.statistics is not None
    if not isinstance(encoder, SwinEncoder):
        raise Alos2TutError(
            "a plain ViT has no finer maps, which the decoder reads",
            where="encoder.kind",
            remedy="Fine-tune a Swin.",
        )
    # neither takes part in segmentation: nothing is masked, and the features are read before the last norm
    encoder.mask_token.requires_grad_(False)
    encoder.swin.norm.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        # the decoder's own seed: it starts equal whether the encoder is pretrained or random
        torch.manual_seed(derived_seed(config.seed, "init", 1))
        network = Segmenter(
            encoder,
            dataset.legend,
            encoder.statistics,
            dataset.signal,
            width=config.decoder_width,
            dropout=config.dropout,
        )
    return network.train()


def _write_results(
    stage: Path,
    network: Segmenter,
    best: dict[str, Any],
    dataset: PatchDataset,
    settings: dict[str, Any],
    inputs: dict[str, str],
    loss: float,
) -> None:
    network.load_state_dict(best["weights"])
    network.eval()
    provenance = {"stage": "finetune", "made_from": inputs, "settings": settings, "step": best["step"]}
    save_segmenter(stage / "segmenter.safetensors", network, provenance=provenance, simulated=dataset.simulated)
    content = {
        "stage": "finetune",
        "package": f"alos2tut {__version__}",
        "settings": settings,
        "made_from": inputs,
        "init": "file" if "init" in inputs else "random",
        "statistics": network.statistics.to_dict(),
        "signal": dataset.signal,
        "classes": dataset.legend.names,
        "parameters": {"encoder": count_parameters(network.encoder), "decoder": count_parameters(network.decoder)},
        "final_loss": loss,
        "best_step": best["step"],
        "val": scores_from_confusion(np.array(best["confusion"], dtype=np.int64)),
    }
    finish(stage, content, ("segmenter.safetensors", "metrics.csv"))
