"""SAR-W-SimMIM: an encoder learns backscatter by filling in what is hidden of it, without labels.

SimMIM (arXiv 2111.09886) hides random units of an image and predicts their pixels with a linear head. SAR-W weights
each pixel's error by how dark it is (arXiv 2503.01181, 2603.15119; see :mod:`alos2tut.weighting`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from . import __version__
from .artifacts import make_folder, read_json, stage_dir
from .checkpoints import load_encoder, load_weights, save_encoder, save_weights
from .config import PretrainConfig, settings_for_key
from .dataset import PatchDataset, Statistics, open_dataset
from .encoders import (
    Encoder,
    build_encoder,
    check_mask_unit,
    draw_masks,
    linear_power,
    standardize,
    token_to_pixel_mask,
)
from .errors import Alos2TutError
from .reconstruction import Snapshots
from .training import (
    STOPPED,
    Batch,
    History,
    Training,
    check_processes,
    checkpoints_in,
    count_parameters,
    derived_seed,
    finish,
    fit,
    flip,
    initial_encoder,
    learning_rate,
    made_from,
    number_of_steps,
    rank_and_world,
    ratios_over_processes,
    reuse,
    to_device,
    wait_for_all,
)
from .weighting import sar_weights

Loss = Literal["l1", "mse", "huber"]
Normaliser = Literal["count", "weights"]

_ERRORS: dict[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}


class SimMIM(nn.Module):
    """An encoder and the linear head that predicts pixels: 1×1 convolution, then pixel shuffle.

    Args:
        encoder: its stride is the factor of the shuffle.
    """

    def __init__(self, encoder: Encoder) -> None:
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
    # half precision ends here
    error = _ERRORS[kind](prediction.to(target.dtype), target, reduction="none")
    weighted = error if weights is None else error * weights
    # where, not a product: what lies at pixels without data must not matter even if it is no number
    numerator = torch.where(counted, weighted, 0.0).sum()
    if normaliser == "weights" and weights is not None:
        amount = torch.where(counted, weights, 0.0).sum()
    else:
        amount = counted.sum().to(target.dtype)
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
        target: the same of the image, in the precision to calculate in.
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


def simmim_losses(
    network: SimMIM, rows: Tensor, mask: Tensor, config: PretrainConfig, statistics: Statistics
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch, right over any number of processes.

    Args:
        network: predicts.
        rows: (B, C, H, W) int16 hundredths of dB; this process's share of the batch.
        mask: (B, H/patch, W/patch) bool, True where hidden.
        config: says which loss, and whether and how it is weighted.
        statistics: what ``rows`` are standardised by.

    Returns:
        The loss to differentiate; and, of the whole batch, its ``loss`` and ``mae_db``, the mean absolute error in dB
        over what was hidden, which has no weights and compares runs that differ in them.
    """
    target, valid = standardize(rows, statistics)
    prediction = network(target, mask)
    with torch.autocast(rows.device.type, enabled=False):
        weights = None
        if config.weighting != "none":
            power = linear_power(rows)
            weights = sar_weights(power, valid, config.weight_scale, config.weighting, config.weight_percentiles)
        pixel_mask = token_to_pixel_mask(mask, network.encoder.config.patch_size)
        std_db = torch.tensor(statistics.std_db, device=rows.device).view(1, -1, 1, 1)
        parts = {
            "loss": masked_sums(prediction, target, pixel_mask, weights, valid, config.loss, config.normaliser),
            "mae_db": masked_sums(prediction.detach() * std_db, target * std_db, pixel_mask, None, valid),
        }
        differentiable, reported = ratios_over_processes(parts)
        return differentiable["loss"], reported


class _Pretraining(Training):
    config: PretrainConfig
    network: SimMIM
    reported = ("loss", "mae_db")

    def __init__(self, network: SimMIM, config: PretrainConfig, steps: int) -> None:
        super().__init__(network, config, "pretrain", steps, labelled=False)
        assert network.encoder.statistics is not None
        self.statistics = network.encoder.statistics

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        # drawn for the whole micro-batch, then this process's share of it
        mask = _masks(self.config, self.network.encoder, self.config.batch_size, generator)[batch.positions]
        rows = flip(batch.rows, flips)
        return simmim_losses(self.network, rows, to_device(mask, rows.device), self.config, self.statistics)


def _masks(config: PretrainConfig, encoder: Encoder, n: int, generator: torch.Generator) -> Tensor:
    patch_size = encoder.config.patch_size
    return draw_masks(n, encoder.image_px, config.mask_unit_px, patch_size, config.mask_ratio, generator)


# --- the stage -------------------------------------------------------------------------------------------------------


def pretrain(config: PretrainConfig) -> Path:
    """Pretrain an encoder on a dataset's ``pretrain`` list; labels are not used.

    An interrupted run continues where its last checkpoint was written; a complete one is reused.

    Args:
        config: the settings; ``dataset`` and ``work_dir`` say where from and where to. ``init`` names weights to go on
            from (their architecture and statistics are used), else the encoder starts at random.

    Returns:
        The stage folder, with ``encoder.safetensors``, ``decoder.safetensors``, ``reconstructions.npz`` (see
        :class:`alos2tut.reconstruction.Snapshots`), ``metrics.csv`` and ``run.json``.

    Raises:
        Alos2TutError: settings, weights or devices that do not fit, or a loss or gradient that becomes no number.
        Stopped: it was told to stop before the last step (SIGTERM, SIGUSR1, ``stop_after_minutes``); all is saved.
    """
    dataset = open_dataset(config.dataset)
    encoder = initial_encoder(config, dataset)
    settings, inputs, stage = _identity(config, dataset, encoder)
    if reuse(stage):
        return stage
    check_processes(config)
    _check_masking(config, encoder)
    steps = _number_of_steps(config, dataset)
    network = _network(config, encoder)
    make_folder(stage)
    history = History(stage / "metrics.csv", every=max(1, steps // 2000), reported=_Pretraining.reported)
    snapshots = Snapshots(dataset.split("val"), config, steps)
    fit(_Pretraining(network, config, steps), stage, "pretrain", callbacks=(snapshots, history))
    if rank_and_world()[0] == 0:
        _write_results(stage, network.cpu().eval(), config, dataset, settings, inputs, history, snapshots)
    wait_for_all()
    return stage


def _identity(
    config: PretrainConfig, dataset: PatchDataset, encoder: Encoder
) -> tuple[dict[str, Any], dict[str, str], Path]:
    """What decides the result: settings and inputs; and the folder that is named by them."""
    settings = {**settings_for_key(config), "encoder": dataclasses.asdict(encoder.config)}
    inputs = made_from(config, dataset)
    return settings, inputs, stage_dir(config.work_dir, "pretrain", settings, inputs)


def _check_masking(config: PretrainConfig, encoder: Encoder) -> None:
    check_mask_unit(encoder.image_px, config.mask_unit_px, encoder.config.patch_size, config.mask_ratio)


def _number_of_steps(config: PretrainConfig, dataset: PatchDataset) -> int:
    n = len(dataset.split("pretrain"))
    if n < 1:
        raise Alos2TutError(
            "the list of patches is empty", where=dataset.path / "pretrain.csv", remedy="Build it of more ground."
        )
    return number_of_steps(config, n)


def _network(config: PretrainConfig, encoder: Encoder) -> SimMIM:
    with torch.random.fork_rng(devices=[]):
        # the head's own seed: it starts equal whatever the encoder starts from
        torch.manual_seed(derived_seed(config.seed, "init", 1))
        return SimMIM(encoder)


def _write_results(
    stage: Path,
    network: SimMIM,
    config: PretrainConfig,
    dataset: PatchDataset,
    settings: dict[str, Any],
    inputs: dict[str, str],
    history: History,
    snapshots: Snapshots,
) -> None:
    encoder = network.encoder
    assert encoder.statistics is not None
    provenance = {"stage": "pretrain", "made_from": inputs, "settings": settings}
    save_encoder(
        stage / "encoder.safetensors",
        encoder,
        statistics=encoder.statistics,
        signal=dataset.signal,
        objective=objective_of(config),
        provenance=provenance,
        simulated=dataset.simulated,
    )
    save_weights(stage / "decoder.safetensors", network.decoder, "simmim-decoder", {"provenance": provenance})
    snapshots.save(stage / "reconstructions.npz", encoder)
    content = {
        "stage": "pretrain",
        "package": f"alos2tut {__version__}",
        "settings": settings,
        "made_from": inputs,
        "objective": objective_of(config),
        "statistics": encoder.statistics.to_dict(),
        "signal": dataset.signal,
        "parameters": {"encoder": count_parameters(encoder), "decoder": count_parameters(network.decoder)},
        "final_loss": history.last("loss"),
        "final_mae_db": history.last("mae_db"),
    }
    finish(stage, content, ("encoder.safetensors", "decoder.safetensors", "reconstructions.npz", "metrics.csv"))


def objective_of(config: PretrainConfig) -> dict[str, Any]:
    """What a pretraining asks of the network, as the header of its weights tells it."""
    names = ["mask_unit_px", "mask_ratio", "loss", "normaliser", "weighting"]
    if config.weighting != "none":
        names.append("weight_scale")
    if config.weighting == "sar_percentile":
        names.append("weight_percentiles")
    return {"name": "simmim", **{name: getattr(config, name) for name in names}}


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


# --- before it starts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PretrainPlan:
    """What a pretraining would be: see :func:`plan_pretraining`."""

    folder: Path
    #: ``new``, ``complete``, or how far it came
    state: str
    patches: int
    #: samples per optimiser step, over all processes
    samples_per_step: int
    steps: int
    #: highest learning rate
    learning_rate: float
    encoder_parameters: int
    decoder_parameters: int
    #: floating-point operations of one sample, forward and backward (a multiplication and an addition count two)
    operations_per_sample: float

    @property
    def operations(self) -> float:
        """Floating-point operations of the whole training."""
        return self.operations_per_sample * self.samples_per_step * self.steps

    def to_text(self) -> str:
        """A line for each fact; the first names the folder."""
        epochs = self.steps * self.samples_per_step / self.patches
        lines = {
            "folder": self.folder,
            "state": self.state,
            "steps": f"{self.steps} of {self.samples_per_step} patches: {epochs:.4g} times the {self.patches} patches",
            "learning rate": f"{self.learning_rate:.3g} at most",
            "parameters": f"{self.encoder_parameters / 1e6:.2f} million, and {self.decoder_parameters / 1e6:.2f} to "
            "predict pixels",
            "operations": f"{self.operations_per_sample:.3g} per patch, {self.operations:.3g} in all: "
            f"{self.operations / 1e14 / 3600:.3g} hours at 100 TFLOP/s",
        }
        return "\n".join(f"{name:<14} {line}" for name, line in lines.items())


def plan_pretraining(config: PretrainConfig) -> PretrainPlan:
    """Check a pretraining's settings against its dataset and count what it would take; nothing is trained or written.

    Raises:
        Alos2TutError: whatever :func:`pretrain` would refuse before it starts.
    """
    dataset = open_dataset(config.dataset)
    encoder = initial_encoder(config, dataset)
    _, _, stage = _identity(config, dataset, encoder)
    check_processes(config)
    _check_masking(config, encoder)
    steps = _number_of_steps(config, dataset)
    decoder = SimMIM(encoder).decoder
    return PretrainPlan(
        folder=stage,
        state=_state_of(stage, steps),
        patches=len(dataset.split("pretrain")),
        samples_per_step=config.batch_size * config.accumulate,
        steps=steps,
        learning_rate=max(learning_rate(config, step, steps) for step in {0, round(config.warmup_fraction * steps)}),
        encoder_parameters=count_parameters(encoder),
        decoder_parameters=count_parameters(decoder),
        operations_per_sample=count_operations(encoder),
    )


def _state_of(stage: Path, steps: int) -> str:
    if (stage / "run.json").is_file():
        return "complete"
    kept = checkpoints_in(stage / "checkpoints")
    done = f"{int(kept[-1].stem.removeprefix('step-'))} of {steps} steps are done" if kept else "new"
    if (stage / STOPPED).is_file():
        return f"{done}; stopped: {read_json(stage / STOPPED).get('reason')}"
    return done


def count_operations(encoder: Encoder) -> float:
    """Floating-point operations of one sample through SimMIM, forward and backward; none is carried out.

    Matrix products and convolutions are counted (a multiplication and an addition are two); norms and activations,
    a few per cent of the time on a GPU, are not.
    """
    with torch.device("meta"):
        network = SimMIM(build_encoder(encoder.config, encoder.image_px, encoder.in_channels)).train()
        x = torch.zeros(1, encoder.in_channels, *encoder.image_px)
        mask = torch.zeros(1, *encoder.grid, dtype=torch.bool)
        with FlopCounterMode(display=False) as counter:
            network(x, mask).sum().backward()
    return float(counter.get_total_flops())
