"""SAR-W-SimMIM: an encoder learns backscatter by filling in what is hidden of it, without labels.

SimMIM (arXiv 2111.09886) hides random units of an image and predicts their pixels with a linear head. SAR-W weights
each pixel's error by how dark it is (arXiv 2503.01181, 2603.15119).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from . import __version__
from .artifacts import atomic_path, make_folder, stage_dir
from .checkpoints import load_encoder, load_weights, save_encoder, save_weights
from .config import PretrainConfig, settings_for_key
from .dataset import PatchDataset, Statistics, encode_db, open_dataset
from .encoders import SwinEncoder, destandardize, draw_masks, linear_power, standardize, token_to_pixel_mask
from .errors import Alos2TutError
from .training import (
    Batch,
    History,
    Training,
    count_parameters,
    derived_seed,
    finish,
    fit,
    flip,
    number_of_steps,
    rank_and_world,
    ratio_over_processes,
    reuse,
    wait_for_all,
)

Loss = Literal["l1", "mse", "huber"]
Normaliser = Literal["count", "weights"]

_ERRORS: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}

#: Patches of the validation list whose reconstruction is kept for the figure.
EXAMPLES = 4


class SimMIM(nn.Module):
    """An encoder and the linear head that predicts pixels: 1×1 convolution, then pixel shuffle.

    Args:
        encoder: its stride is the factor of the shuffle.
    """

    def __init__(self, encoder: SwinEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Sequential(
            nn.Conv2d(encoder.dim, encoder.stride**2 * encoder.in_channels, kernel_size=1),
            nn.PixelShuffle(encoder.stride),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Standardised dB (B, C, H, W) and a token mask (B, H/patch, W/patch) → predicted standardised dB."""
        prediction: Tensor = self.decoder(self.encoder(x, mask))
        return prediction


def sar_weights(power: Tensor, valid: Tensor, scale: float = 1.0) -> Tensor:
    """The weight of each pixel's error: exp(scale · (1 − x̃)), x̃ the linear power scaled to 0…1 in its image.

    The weight runs from 1 at the brightest pixel of an image to e^scale at its darkest. Where all valid pixels are
    equal, x̃ is 0: nothing there is brighter than anything else.

    Args:
        power: (B, C, H, W) linear power; each image and channel is scaled by its own extremes.
        valid: (B, C, H, W) bool; other pixels count for no extreme and get weight 0.
        scale: the exponent's factor; 1 as published.

    Returns:
        (B, C, H, W) float32.
    """
    power = power.to(torch.float32)
    low = torch.where(valid, power, torch.inf).amin(dim=(-2, -1), keepdim=True)
    high = torch.where(valid, power, -torch.inf).amax(dim=(-2, -1), keepdim=True)
    span = high - low
    # no valid pixel makes the span −∞, equal pixels make it 0; both divide by 1 instead
    scaled = (power - low) / torch.where(span > 0, span, 1.0)
    return torch.where(valid, torch.exp(scale * (1 - scaled)), 0.0)


def sar_weights_db(patches_db: NDArray[np.floating[Any]], scale: float = 1.0) -> NDArray[np.float32]:
    """:func:`sar_weights` of patches in dB (…, H, W), NaN where there is no data; for figures."""
    db = torch.from_numpy(np.asarray(patches_db, dtype=np.float32)).reshape(-1, 1, *np.shape(patches_db)[-2:])
    valid = ~torch.isnan(db)
    weights: NDArray[np.float32] = sar_weights(torch.pow(10.0, db / 10), valid, scale).numpy()
    return weights.reshape(np.shape(patches_db))


def masked_sums(
    prediction: Tensor,
    target: Tensor,
    pixel_mask: Tensor,
    weights: Tensor | None,
    valid: Tensor,
    kind: Loss = "l1",
    normaliser: Normaliser = "count",
) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of :func:`masked_loss`, to be summed over processes first."""
    counted = pixel_mask & valid
    error = _ERRORS[kind](prediction.to(torch.float32), target, reduction="none")
    weighted = error if weights is None else error * weights
    # where, not a product: what lies at pixels without data must not matter even if it is no number
    numerator = torch.where(counted, weighted, 0.0).sum()
    if normaliser == "weights" and weights is not None:
        amount = torch.where(counted, weights, 0.0).sum()
    else:
        amount = counted.sum().to(torch.float32)
    channels = target.shape[1]
    return numerator, (amount / channels + 1e-5) * channels


def masked_loss(
    prediction: Tensor,
    target: Tensor,
    pixel_mask: Tensor,
    weights: Tensor | None,
    valid: Tensor,
    kind: Loss = "l1",
    normaliser: Normaliser = "count",
) -> Tensor:
    """The reconstruction error over pixels that are hidden and have data.

    Args:
        prediction: (B, C, H, W) standardised dB.
        target: the same of the image.
        pixel_mask: (B, 1, H, W) bool, True where hidden.
        weights: (B, C, H, W) of :func:`sar_weights`; None weighs all alike (plain SimMIM).
        valid: (B, C, H, W) bool, True where there is data.
        kind: of the error by pixel.
        normaliser: divide by the ``count`` of those pixels and channels, so that weights of 1 change nothing, or by
            the sum of their ``weights``.

    Returns:
        A scalar; 0 if there is no such pixel.
    """
    numerator, denominator = masked_sums(prediction, target, pixel_mask, weights, valid, kind, normaliser)
    return numerator / denominator


class _Pretraining(Training):
    config: PretrainConfig
    network: SimMIM

    def __init__(self, network: SimMIM, config: PretrainConfig, statistics: Statistics, steps: int) -> None:
        super().__init__(network, config, "pretrain", steps)
        self.statistics = statistics

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        # drawn for the whole micro-batch, then this process's share of it
        mask = _masks(self.config, self.network.encoder, self.config.batch_size, generator)[batch.positions.cpu()]
        rows = flip(batch.rows, flips)
        return simmim_losses(self.network, rows, mask.to(rows.device), self.config, self.statistics)


def simmim_losses(
    network: SimMIM, rows: Tensor, mask: Tensor, config: PretrainConfig, statistics: Statistics
) -> tuple[Tensor, Tensor]:
    """The loss of one batch, to differentiate and to report.

    Args:
        network: predicts.
        rows: (B, C, H, W) int16 hundredths of dB.
        mask: (B, H/patch, W/patch) bool, True where hidden.
        config: says which loss, and whether and how it is weighted.
        statistics: what ``rows`` are standardised by.
    """
    target, valid = standardize(rows, statistics)
    prediction = network(target, mask)
    with torch.autocast(rows.device.type, enabled=False):
        weights = sar_weights(linear_power(rows), valid, config.weight_scale) if config.weighting == "sar" else None
        pixel_mask = token_to_pixel_mask(mask, network.encoder.config.patch_size)
        sums = masked_sums(prediction, target, pixel_mask, weights, valid, config.loss, config.normaliser)
        return ratio_over_processes(*sums)


def _masks(config: PretrainConfig, encoder: SwinEncoder, n: int, generator: torch.Generator) -> Tensor:
    patch_size = encoder.config.patch_size
    return draw_masks(n, encoder.image_px, config.mask_unit_px, patch_size, config.mask_ratio, generator)


def pretrain(config: PretrainConfig) -> Path:
    """Pretrain an encoder on a dataset's ``pretrain`` list; labels are not used.

    An interrupted run continues where its last checkpoint was written; a complete one is reused.

    Args:
        config: the settings; ``dataset`` and ``work_dir`` say where from and where to.

    Returns:
        The stage folder, with ``encoder.safetensors``, ``decoder.safetensors``, ``reconstructions.npz`` (see
        :func:`save_reconstructions`), ``metrics.csv`` and ``run.json``.

    Raises:
        Alos2TutError: settings that do not fit the dataset, or a loss that becomes no number.
    """
    dataset = open_dataset(config.dataset)
    settings = settings_for_key(config)
    stage = stage_dir(config.work_dir, "pretrain", settings, {"dataset": dataset.fingerprint})
    if reuse(stage):
        return stage
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "init"))
        image_px = (dataset.patch_px, dataset.patch_px)
        network = SimMIM(SwinEncoder(config.encoder, image_px, dataset.channels, config.drop_path))
    _masks(config, network.encoder, 1, torch.Generator())  # units that do not fit: say so before anything is written
    steps = number_of_steps(config, len(dataset.split("pretrain")))
    make_folder(stage)
    history = History(stage / "metrics.csv", every=max(1, steps // 2000))
    fit(_Pretraining(network, config, dataset.statistics, steps), stage, "pretrain", callbacks=(history,))
    if rank_and_world()[0] == 0:
        _write_results(stage, network.cpu().eval(), config, dataset, settings, history.loss)
    wait_for_all()
    return stage


def _write_results(
    stage: Path, network: SimMIM, config: PretrainConfig, dataset: PatchDataset, settings: dict[str, Any], loss: float
) -> None:
    provenance = {"stage": "pretrain", "dataset": dataset.fingerprint, "settings": settings}
    encoder, statistics = network.encoder, dataset.statistics
    save_encoder(
        stage / "encoder.safetensors",
        encoder,
        statistics=statistics,
        signal=dataset.signal,
        provenance=provenance,
        simulated=dataset.simulated,
    )
    save_weights(stage / "decoder.safetensors", network.decoder, "simmim-decoder", {"provenance": provenance})
    encoder.statistics = statistics
    save_reconstructions(stage / "reconstructions.npz", network, dataset, config)
    content = {
        "stage": "pretrain",
        "package": f"alos2tut {__version__}",
        "settings": settings,
        "dataset": dataset.fingerprint,
        "statistics": statistics.to_dict(),
        "signal": dataset.signal,
        "parameters": {"encoder": count_parameters(encoder), "decoder": count_parameters(network.decoder)},
        "final_loss": loss,
    }
    finish(stage, content, ("encoder.safetensors", "decoder.safetensors", "reconstructions.npz", "metrics.csv"))


def load_pretraining(stage: str | Path) -> SimMIM:
    """The pretrained network, encoder and head, of a complete stage folder; in evaluation mode.

    Raises:
        Alos2TutError: no complete stage there, or broken weights.
    """
    stage = Path(stage)
    if not (stage / "run.json").is_file():
        raise Alos2TutError("is no complete pretraining", where=stage, remedy="Run pretrain again: it continues.")
    network = SimMIM(load_encoder(stage / "encoder.safetensors"))
    load_weights(stage / "decoder.safetensors", network.decoder, "simmim-decoder")
    return network.eval()


@torch.no_grad()
def reconstruct(
    model: SimMIM | str | Path, patches_db: NDArray[np.floating[Any]], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """What the network makes of patches of which a part is hidden.

    Args:
        model: a network whose encoder has statistics, or a pretraining's stage folder.
        patches_db: (B, C, H, W) dB, NaN where there is no data.
        mask: (B, H/patch, W/patch), True where hidden.

    Returns:
        (B, C, H, W) dB, everywhere; only what was hidden is a prediction that training asked for.
    """
    network = model if isinstance(model, SimMIM) else load_pretraining(model)
    statistics = network.encoder.statistics
    if statistics is None:
        raise Alos2TutError("the encoder has no statistics to standardise by", remedy="Load it: load_pretraining.")
    x, _ = standardize(torch.from_numpy(encode_db(patches_db)), statistics)
    prediction = destandardize(network(x, torch.from_numpy(np.asarray(mask, dtype=bool))), statistics)
    return prediction.numpy().astype(np.float32)


def draw_mask(network: SimMIM, n: int, unit_px: int, ratio: float, seed: int = 0) -> NDArray[np.bool_]:
    """Masks for :func:`reconstruct`, (n, H/patch, W/patch); the same for the same seed."""
    encoder = network.encoder
    generator = torch.Generator().manual_seed(derived_seed(seed, "examples"))
    masks: NDArray[np.bool_] = draw_masks(
        n, encoder.image_px, unit_px, encoder.config.patch_size, ratio, generator
    ).numpy()
    return masks


def pixel_masks(network: SimMIM, n: int, unit_px: int, ratio: float, seed: int = 0) -> NDArray[np.bool_]:
    """The masks of :func:`draw_mask` by pixel, (n, H, W)."""
    masks = torch.from_numpy(draw_mask(network, n, unit_px, ratio, seed))
    pixels: NDArray[np.bool_] = token_to_pixel_mask(masks, network.encoder.config.patch_size)[:, 0].numpy()
    return pixels


def save_reconstructions(path: str | Path, network: SimMIM, dataset: PatchDataset, config: PretrainConfig) -> None:
    """Reconstruct a few fixed patches of the validation list, for a figure.

    The file holds ``index`` (n,) in the list, ``input_db`` and ``reconstruction_db`` (n, C, H, W), ``mask``
    (n, H, W) True where hidden, and ``loss_db`` (n,): mean absolute error in dB over what was hidden and has data.
    """
    split = dataset.split("val")
    index = np.unique(np.linspace(0, len(split) - 1, min(EXAMPLES, len(split))).round().astype(int))
    patches = np.stack([split.db(int(i)) for i in index]) if len(index) else np.empty((0, 1, 1, 1), np.float32)
    mask = draw_mask(network, len(index), config.mask_unit_px, config.mask_ratio, config.seed)
    prediction = reconstruct(network, patches, mask) if len(index) else patches
    pixels = token_to_pixel_mask(torch.from_numpy(mask), network.encoder.config.patch_size).numpy()
    error = np.abs(prediction - patches)
    counted = pixels & ~np.isnan(patches)
    count = np.maximum(counted.sum(axis=(1, 2, 3)), 1)
    loss = np.where(counted, error, 0).sum(axis=(1, 2, 3)) / count
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, index=index, input_db=patches, reconstruction_db=prediction, mask=pixels[:, 0], loss_db=loss)
