"""What a pretrained network makes of hidden pixels: pictures over training, and errors by ground and brightness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.artifacts import atomic_path
from ..core.errors import Alos2TutError
from ..dataset.encoding import encode_db
from ..dataset.store import PatchDataset, Split
from ..metrics import FEWEST_BLOCKS, mean_of_ratios
from ..networks.encoders import destandardize, standardize
from ..networks.inference import device_of, evaluating
from ..radiometry import to_db, to_power
from ..speckle.statistics import local_moments
from ..training.batches import derived_seed
from ..training.callbacks import StepCallback
from ..training.module import Training
from .config import PretrainConfig
from .masks import token_to_pixel_mask
from .simmim import Objective
from .targets import WINDOWS_PX, ask, maps_of

#: Patches of the validation list whose reconstruction is kept over training.
EXAMPLES = 4

#: Patches through the network at once, for pictures and errors.
_BATCH_SIZE = 16


# --- one network, some patches ---------------------------------------------------------------------------------------


def draw_mask(network: Objective, n: int, unit_px: int, ratio: float, seed: int = 0) -> NDArray[np.bool_]:
    """Masks for :func:`reconstruct`, (n, H/patch, W/patch), True where hidden; the same for the same seed."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "examples"))
    # two at least, for objectives that mix
    masks: NDArray[np.bool_] = network.draw_masks(max(n, 2), unit_px, ratio, generator)[:n].numpy()
    return masks


def mask_pixels(mask: NDArray[np.bool_], patch_size: int) -> NDArray[np.bool_]:
    """Masks of tokens (n, H/patch, W/patch) by pixel, (n, H, W)."""
    pixels: NDArray[np.bool_] = token_to_pixel_mask(torch.from_numpy(mask), patch_size)[:, 0].numpy()
    return pixels


@torch.no_grad()
def reconstruct(
    network: Objective, patches_db: NDArray[np.floating[Any]], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """What the network, on whatever device it is, makes of patches of which a part is hidden, (n, C, H, W) dB.

    Args:
        network: its encoder has statistics. MixMAE mixes the patches with each other, the first with the last.
        patches_db: (n, C, H, W) dB, NaN where there is no data.
        mask: (n, H/patch, W/patch), True where hidden.

    Raises:
        Alos2TutError: an encoder without statistics; patches or masks of another size.
    """
    encoder = network.encoder
    if encoder.statistics is None:
        raise Alos2TutError("the encoder has no statistics to standardise by", remedy="Load it: load_pretraining.")
    predicted, device = np.empty(np.shape(patches_db), np.float32), device_of(encoder)
    for first in range(0, len(predicted), _BATCH_SIZE):
        part = slice(first, first + _BATCH_SIZE)
        x, valid = standardize(torch.from_numpy(encode_db(patches_db[part])).to(device), encoder.statistics)
        hidden = torch.from_numpy(np.asarray(mask[part], dtype=bool)).to(device)
        predicted[part] = destandardize(network.reconstruct(x, hidden, valid).float(), encoder.statistics).cpu().numpy()
    return predicted


def asked_db(
    network: Objective, patches_db: NDArray[np.floating[Any]], mask: NDArray[np.bool_]
) -> NDArray[np.floating[Any]]:
    """What :func:`reconstruct` is to be held against, (n, C, H, W) dB, NaN where nothing is asked.

    That are the hidden pixels; or, where windows are predicted, the mean power of the smallest around each, where all
    of it is hidden and has data.
    """
    target, statistics, patch_size = network.target, network.encoder.statistics, network.encoder.config.patch_size
    assert statistics is not None
    hidden = token_to_pixel_mask(torch.from_numpy(mask), patch_size)
    asked = ask(target, torch.from_numpy(encode_db(patches_db)), hidden, statistics)
    values, counted = (of[:, :: maps_of(target)] for of in asked[:2])
    db = patches_db if target == "pixels" else destandardize(values, statistics).numpy()
    return np.where(counted.numpy(), db, np.float32(np.nan))


# --- pictures over training ------------------------------------------------------------------------------------------


class Snapshots(StepCallback):
    """Keeps what the network makes of a few fixed patches at the end of training, half-way, a quarter of the way …

    The pictures travel in the resume checkpoints, so a resumed run has them all. Of log ratios there are none.

    Args:
        split: the list to take the patches from: one that training never sees.
        config, steps: how often, how much is hidden; optimiser steps.
    """

    def __init__(self, split: Split, config: PretrainConfig, steps: int) -> None:
        self.config = config
        pictures = 0 if config.target == "log_ratio" else config.snapshots
        self.due = {math.ceil(steps / 2**times) for times in range(pictures)}
        self.index = split.evenly(EXAMPLES)
        rows = split.gather_rows(self.index)
        self.patches_db = np.stack([split.db(int(i)) for i in self.index]) if len(rows) else rows.astype(np.float32)
        self.pictures: dict[int, Tensor] = {}

    def on_step(self, trainer: Any, module: Training, step: int) -> None:
        """Reconstruct, if it is time."""
        if step not in self.due or not trainer.is_global_zero or not len(self.index):
            return
        network: Any = module.network
        mask = self._mask(network)
        with evaluating(network):
            self.pictures[step] = torch.from_numpy(reconstruct(network, self.patches_db, mask))

    def _mask(self, network: Objective) -> NDArray[np.bool_]:
        config = self.config
        return draw_mask(network, len(self.index), config.mask_unit_px, config.mask_ratio, config.seed)

    def save(self, path: str | Path, network: Objective) -> None:
        """Write what was kept.

        The file holds ``index`` (n,) in the list, ``step`` (T,), ``input_db`` (n, C, H, W), ``reconstruction_db``
        (T, n, C, H, W), ``mask`` (n, H, W) True where hidden, and ``error_db`` (T, n): mean absolute error in dB over
        what was asked (:func:`asked_db`). Where that are means in windows, ``window_px`` is their side.
        """
        given, mask = self.patches_db, self._mask(network)
        asked = asked_db(network, given, mask)
        steps = sorted(self.pictures)
        guessed = np.stack([self.pictures[step].numpy() for step in steps]) if steps else given[None][:0]
        counted = ~np.isnan(asked)
        errors = np.where(counted, np.abs(guessed - asked), 0).sum(axis=(2, 3, 4))
        content = {
            "index": self.index,
            "step": np.array(steps, dtype=np.int64),
            "input_db": given,
            "reconstruction_db": guessed,
            "mask": mask_pixels(mask, network.encoder.config.patch_size),
            "error_db": errors / np.maximum(counted.sum(axis=(1, 2, 3)), 1),
        }
        if network.target == "multiscale":
            content["window_px"] = np.int64(WINDOWS_PX[network.target][0])
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, **content)

    def state_dict(self) -> dict[str, Any]:
        """For the resume checkpoint."""
        return {"pictures": self.pictures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the resume checkpoint."""
        self.pictures = dict(state_dict["pictures"])


# --- errors ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HiddenPixels:
    """Hidden pixels with data of many patches, and what a network made of them; all arrays are (pixels,)."""

    #: number of the patch
    patch: NDArray[np.int32]
    #: class index, 255 where there is no label
    label: NDArray[np.uint8]
    #: what was hidden, in dB: see :func:`asked_db`
    truth_db: NDArray[np.float32]
    #: its surroundings: mean power of 7 × 7 pixels, in dB
    around_db: NDArray[np.float32]
    #: what the network said, in dB
    guess_db: NDArray[np.float32]

    @property
    def error_db(self) -> NDArray[np.float32]:
        """Guess minus truth, in dB."""
        return self.guess_db - self.truth_db


def means_by_group(
    values: NDArray[np.floating[Any]],
    group: NDArray[np.integer[Any]],
    groups: int,
    patch: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Means by group with 95 % intervals over patches: see :func:`alos2tut.metrics.mean_of_ratios`.

    Intervals cover other ground as far as patches are independent: those beside each other are not, so that they are
    rather too narrow. They cover no other training.

    Args:
        values: (pixels,) to average.
        group: (pixels,) number of each pixel's group; others than 0…groups−1 are left out.
        groups: how many there are.
        patch: (pixels,) number of each pixel's patch.

    Returns:
        (groups, 3): mean, lower and upper bound; NaN where there is no pixel, bounds also of fewer than three patches.
    """
    patches = int(patch.max(initial=0)) + 1
    inside = (group >= 0) & (group < groups)
    cell = patch[inside].astype(np.int64) * groups + group[inside]
    count, total = (
        np.bincount(cell, weights, patches * groups).reshape(patches, groups).astype(np.float64)
        for weights in (None, values[inside].astype(np.float64))
    )
    found = np.full((groups, 3), np.nan)
    for i in np.flatnonzero(count.sum(axis=0)):
        score = mean_of_ratios(total[:, [i]], count[:, [i]], count[:, i], FEWEST_BLOCKS)
        half = np.nan if score.half_width is None else score.half_width
        found[i] = total[:, i].sum() / count[:, i].sum() + np.array([0, -half, half])
    return found


def hidden_pixels(
    network: Objective,
    dataset: PatchDataset,
    config: PretrainConfig,
) -> HiddenPixels:
    """Hide parts of 64 patches of ``val``, let the network guess, and keep both, pixel by pixel, of the first channel.

    Equal arguments hide equal pixels, so two networks' errors can be compared pixel by pixel.

    Args:
        network: guesses.
        dataset: holds the patches; of fewer, all are taken.
        config: says how much is hidden.

    Raises:
        Alos2TutError: an empty list, patches that do not fit the network, or one that predicts log ratios.
    """
    part = dataset.split("val")
    if not len(part):
        raise Alos2TutError("the list is empty", where=dataset.path / "val.csv")
    index = part.evenly(64)
    labels = part.gather(index)[1]
    given = np.stack([part.db(int(i)) for i in index])
    mask = draw_mask(network, len(index), config.mask_unit_px, config.mask_ratio)
    guess, truth = reconstruct(network, given, mask)[:, 0], asked_db(network, given, mask)[:, 0]
    shown = ~np.isnan(truth)
    number = np.broadcast_to(np.arange(len(index), dtype=np.int32)[:, None, None], truth.shape)
    around = np.stack([local_mean_db(patch) for patch in given[:, 0]])
    return HiddenPixels(number[shown], labels[shown], truth[shown], around[shown], guess[shown])


def local_mean_db(db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean power of the 7 × 7 pixels around each that have data, in dB; (H, W), NaN where there is none."""
    mean: NDArray[np.float32] = to_db(local_moments(to_power(db), 7)[0]).astype(np.float32)
    return mean
