"""Pretraining: an encoder learns backscatter by filling in what is hidden of it, without labels.

What is hidden, and how the guess is judged, is the objective's: :mod:`alos2tut.pretraining.simmim` (SAR-W-SimMIM) and
:mod:`alos2tut.pretraining.mixmae` (SAR-W-MixMAE).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..core.artifacts import read_json
from ..core.config import from_dict
from ..core.errors import Alos2TutError
from ..core.parallel import alone_in
from ..core.public import public
from ..core.tables import count_text, duration_text
from ..dataset.encoding import Statistics
from ..networks.distributed import rank_and_world, ratios_over_processes, wait_for_all
from ..networks.encoders import Encoder
from ..networks.weights import load_encoder, load_weights, save_encoder, save_weights
from ..training.batches import Batch, batch_generator, derived_seed, draw_speckle, flip, speckled, to_device
from ..training.callbacks import STOPPED, History, checkpoints_in
from ..training.loop import check_processes, fit
from ..training.module import Training, learning_rate, number_of_steps
from ..training.run import Run, count_parameters
from .config import PretrainConfig
from .mixmae import MixMAE
from .reconstruction import Snapshots
from .simmim import Loss, Objective, SimMIM
from .targets import target_share


def build_objective(config: PretrainConfig, encoder: Encoder) -> Objective:
    """The objective that the settings name, around an encoder, with random weights of its own.

    Raises:
        Alos2TutError: an encoder that the objective cannot train, or a decoder whose heads do not divide its width.
    """
    if config.objective == "simmim":
        return SimMIM(encoder, config.target)
    return MixMAE(encoder, config.decoder_width, config.decoder_depth, config.decoder_heads)


def losses(
    network: Objective, rows: Tensor, mask: Tensor, loss: Loss, statistics: Statistics, shown: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one batch, right over any number of processes; arguments as of :meth:`Objective.parts`.

    Returns:
        The loss to differentiate; and, of the whole batch, its ``loss`` and ``mae_db``.
    """
    differentiable, reported = ratios_over_processes(network.parts(rows, mask, loss, statistics, shown))
    return differentiable["loss"], reported


class Pretraining(Training):
    """What Lightning trains: an objective, on the list ``pretrain``."""

    config: PretrainConfig
    network: Objective
    reported = ("loss", "mae_db")

    def __init__(self, network: Objective, config: PretrainConfig, steps: int) -> None:
        super().__init__(network, config, "pretrain", steps, labelled=False, paired=isinstance(network, MixMAE))
        assert network.encoder.statistics is not None
        self.statistics, self.judge = network.encoder.statistics, Loss.of(config)

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """See :meth:`Training.losses`."""
        config, rows = self.config, flip(batch.rows, flips)
        # drawn for the whole micro-batch, then this process's share of it
        mask = self.network.draw_masks(config.batch_size, config.mask_unit_px, config.mask_ratio, generator)
        shown = None if config.input_looks is None else self._with_speckle(rows, batch, config.input_looks)
        mask = to_device(mask[batch.positions], rows.device)
        return losses(self.network, rows, mask, self.judge, self.statistics, shown)

    def _with_speckle(self, rows: Tensor, batch: Batch, looks: float) -> Tensor:
        """A batch's rows with speckle of so many looks more: drawn for all processes, of which this takes its share."""
        generator = batch_generator(self.config.seed, batch.micro_batch, "speckle", rows.device)
        speckle = draw_speckle((self.config.batch_size, *rows.shape[1:]), looks, generator)
        return speckled(rows, speckle[batch.positions])


# --- the stage -------------------------------------------------------------------------------------------------------


@public
def pretrain(config: PretrainConfig) -> Path:
    """Pretrain an encoder on a dataset's ``pretrain`` list; labels are not used.

    An interrupted run continues where its last checkpoint was written; a complete one is reused.

    Args:
        config: the settings; ``dataset`` and ``work_dir`` say where from and where to. ``init`` names weights to go on
            from (their architecture is used, and their statistics unless ``statistics`` is "own"), else the encoder
            starts at random.

    Returns:
        The stage folder, with ``encoder.safetensors``, ``decoder.safetensors``, ``reconstructions.npz`` (see
        :class:`alos2tut.pretraining.reconstruction.Snapshots`), ``metrics.csv`` and ``run.json``.

    Raises:
        Alos2TutError: settings, weights or devices that do not fit, a loss or gradient that becomes no number, or
            another process that trains the same.
        Stopped: it was told to stop before the last step (SIGTERM, SIGUSR1, ``stop_after_minutes``); all is saved.
    """
    run = Run.of("pretrain", config)
    folder = run.folder
    if run.is_complete():
        return folder
    check_processes(config)
    network, steps = _prepared(run)
    with alone_in(folder):
        # somebody else may have been training it until now
        if rank_and_world()[1] == 1 and run.is_complete():
            return folder
        history = History(folder / "metrics.csv", every=max(1, steps // 2000), reported=Pretraining.reported)
        snapshots = Snapshots(run.dataset.split("val"), config, steps)
        fit(Pretraining(network, config, steps), folder, "pretrain", callbacks=(snapshots, history))
        if rank_and_world()[0] == 0:
            _write_results(run, network.cpu().eval(), history, snapshots)
        wait_for_all()
    return folder


def _prepared(run: Run[PretrainConfig]) -> tuple[Objective, int]:
    """The network to train and its optimiser steps; what does not fit is refused before anything is written."""
    config, patches = run.config, len(run.dataset.split("pretrain"))
    with torch.random.fork_rng(devices=[]):
        # the head's own seed: it starts equal whatever the encoder starts from
        torch.manual_seed(derived_seed(config.seed, "init", 1))
        network = build_objective(config, run.encoder)
    network.draw_masks(config.batch_size, config.mask_unit_px, config.mask_ratio, torch.Generator())
    for side, share in _target_share(network, config):
        if not share:
            problem = f"no window of {side} px lies whole in what units of {config.mask_unit_px} px hide"
            remedy = "Enlarge mask_unit_px or mask_ratio, or take another target."
            raise Alos2TutError(problem, where="target", remedy=remedy)
    if patches < 1:
        where = run.dataset.path / "pretrain.csv"
        raise Alos2TutError("the list of patches is empty", where=where, remedy="Build it of more ground.")
    return network.train(), number_of_steps(config, patches)


def _target_share(network: Objective, config: PretrainConfig) -> Iterable[tuple[int, float]]:
    share = target_share(config.target, network.encoder.image_px, config.mask_unit_px, config.mask_ratio)
    return share.items()


def _write_results(run: Run[PretrainConfig], network: Objective, history: History, snapshots: Snapshots) -> None:
    encoder, folder, objective = network.encoder, run.folder, objective_of(run.config)
    assert encoder.statistics is not None
    save_encoder(
        folder / "encoder.safetensors",
        encoder,
        statistics=encoder.statistics,
        signal=run.dataset.signal,
        objective=objective,
        provenance=run.provenance,
        simulated=run.dataset.simulated,
        sensors=run.dataset.sensors,
    )
    decoder = {"objective": objective, "provenance": run.provenance}
    save_weights(folder / "decoder.safetensors", network.decoder, f"{objective['name']}-decoder", decoder)
    snapshots.save(folder / "reconstructions.npz", network)
    final: dict[str, Any] = {"final_loss": history.last("loss"), "final_mae_db": history.last("mae_db")}
    if run.config.target != "pixels":
        final["target_share"] = {f"{side} px": round(share, 6) for side, share in _target_share(network, run.config)}
    files = ("encoder.safetensors", "decoder.safetensors", "reconstructions.npz", "metrics.csv")
    run.finish(network, {"objective": objective, **final}, files)


def objective_of(config: PretrainConfig) -> dict[str, Any]:
    """What a pretraining asks of the network, as the header of its weights tells it."""
    names = ["mask_unit_px", "mask_ratio", "loss", "normaliser", "weighting"]
    if config.weighting != "none":
        names.append("weight_scale")
    if config.weighting == "sar_percentile":
        names.append("weight_percentiles")
    defaults = {"weight_channels": "per_channel", "target": "pixels", "input_looks": None}
    names += [name for name, default in defaults.items() if getattr(config, name) != default]
    if config.objective == "mixmae":
        names += ["decoder_width", "decoder_depth", "decoder_heads"]
    return {"name": config.objective, **{name: getattr(config, name) for name in names}}


def load_pretraining(stage: str | Path) -> Objective:
    """The pretrained network, encoder and head, of a complete stage folder; in evaluation mode.

    Raises:
        Alos2TutError: no complete stage there, or broken weights.
    """
    stage = Path(stage)
    if not (stage / "run.json").is_file():
        raise Alos2TutError("is no complete pretraining", where=stage, remedy="Run pretrain again: it continues.")
    encoder = load_encoder(stage / "encoder.safetensors")
    values = {"objective" if name == "name" else name: value for name, value in encoder.header["objective"].items()}
    network = build_objective(from_dict(PretrainConfig, values, where=stage / "encoder.safetensors"), encoder)
    load_weights(stage / "decoder.safetensors", network.decoder, f"{values['objective']}-decoder")
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
            "steps": f"{self.steps:,} of {self.samples_per_step} patches: {epochs:.4g} times the "
            f"{self.patches:,} patches",
            "learning rate": f"{self.learning_rate:.3g} at most",
            "parameters": f"{self.encoder_parameters / 1e6:.2f} million, and {self.decoder_parameters / 1e6:.2f} to "
            "predict pixels",
            "operations": f"{count_text(self.operations_per_sample)} per patch, {count_text(self.operations)} in all: "
            f"{duration_text(self.operations / 1e14)} at 100 TFLOP/s",
        }
        return "\n".join(f"{name:<14} {line}" for name, line in lines.items())


@public
def plan_pretraining(config: PretrainConfig) -> PretrainPlan:
    """Check a pretraining's settings against its dataset and count what it would take; nothing is trained or written.

    Raises:
        Alos2TutError: whatever :func:`pretrain` would refuse before it starts.
    """
    run = Run.of("pretrain", config)
    check_processes(config)
    network, steps = _prepared(run)
    return PretrainPlan(
        folder=run.folder,
        state=_state_of(run.folder, steps),
        patches=len(run.dataset.split("pretrain")),
        samples_per_step=config.batch_size * config.accumulate,
        steps=steps,
        learning_rate=max(learning_rate(config, step, steps) for step in {0, round(config.warmup_fraction * steps)}),
        encoder_parameters=count_parameters(run.encoder),
        decoder_parameters=count_parameters(network.decoder),
        operations_per_sample=count_operations(network),
    )


def _state_of(stage: Path, steps: int) -> str:
    if (stage / "run.json").is_file():
        return "complete"
    kept = checkpoints_in(stage / "checkpoints")
    done = f"{int(kept[-1].stem.removeprefix('step-'))} of {steps} steps are done" if kept else "new"
    if (stage / STOPPED).is_file():
        return f"{done}; stopped: {read_json(stage / STOPPED).get('reason')}"
    return done


def count_operations(network: Objective) -> float:
    """Floating-point operations of one sample, forward and backward; none is carried out.

    Matrix products and convolutions are counted (a multiplication and an addition are two); norms and activations,
    a few per cent of the time on a GPU, are not.
    """
    encoder = network.encoder
    shadow = copy.deepcopy(network).to("meta").train()
    # two samples: MixMAE mixes them
    x = torch.zeros(2, encoder.in_channels, *encoder.image_px, device="meta")
    mask = torch.zeros(2, *encoder.grid, dtype=torch.bool, device="meta")
    with FlopCounterMode(display=False) as counter:
        shadow(x, mask).sum().backward()
    return float(counter.get_total_flops()) / len(x)
