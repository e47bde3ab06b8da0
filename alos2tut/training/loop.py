"""The loop that both trainings run in.

Everything random in a training step is a function of the seed, the micro-batch's number and the sample's place in it,
drawn for the whole batch and sliced by process. So a run that was killed anywhere continues to the same bits (on a
CPU, with the same number of threads). A *micro-batch* is what passes through the network at once, over all processes
together; ``accumulate`` of them make one optimiser *step*.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from ..core.environment import process_number
from ..core.errors import Alos2TutError, system_error
from ..core.parallel import cores
from ..networks.distributed import rank_and_world
from ..networks.inference import best_device
from ..networks.pickles import unpickling_reason
from .callbacks import Checkpoints, Progress, latest_checkpoint
from .config import TrainingConfig
from .module import Training

#: what a resume checkpoint has beside our weights
_LIGHTNING_KEEPS = {"epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks", "optimizer_states"}


def fit(
    training: Training, stage: Path, label: str, *, callbacks: tuple[lightning.Callback, ...], quiet: bool = False
) -> None:
    """Train to the last step, from the newest whole resume checkpoint in the stage folder if there is one.

    Args:
        training: what to train.
        stage: the stage's folder, made if missing; checkpoints and TensorBoard files go there.
        label: the stage's word, for the progress bar.
        callbacks: what else happens at each step, in this order, before a checkpoint is written.
        quiet: show no progress.

    Raises:
        Alos2TutError: a loss or gradient that is no number; a checkpoint of another network.
        Stopped: it was told to stop before the last step, and wrote a checkpoint.
        KeyboardInterrupt: the user stopped it; running again continues.
    """
    config = training.config
    # no more threads than there are cores for this process; fewer, if the user asked for fewer
    if torch.get_num_threads() > cores():
        torch.set_num_threads(cores())
    training.network.encoder.gradient_checkpointing = config.gradient_checkpointing  # type: ignore[union-attr]
    if config.compile:
        training.network.compile()
    precision: Any = config.precision
    if precision == "auto":
        # where it pays: on GPUs that compute in bfloat16; float16 needs its scaler, which resuming would have to trust
        has_bfloat16 = _accelerator(config) == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if has_bfloat16 else "32-true"
    checkpoint = latest_checkpoint(stage / "checkpoints")
    if checkpoint is not None:
        _check_checkpoint(checkpoint, training)
    with _quiet():
        trainer = lightning.Trainer(
            **_processes(config, training.skips_weights),
            precision=precision,
            max_steps=training.steps,
            accumulate_grad_batches=config.accumulate,
            callbacks=[
                *callbacks,
                Checkpoints(stage, config.checkpoint_every, config.stop_after_minutes),
                *([] if quiet else [Progress(label, training.steps)]),
            ],
            logger=find_spec("tensorboard") is not None and TensorBoardLogger(stage, name="", version="tensorboard"),
            limit_val_batches=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=stage,
        )
        with _interruptible(), torch.random.fork_rng(devices=[]):
            try:
                trainer.fit(training, ckpt_path=checkpoint, weights_only=True)
            except OSError as error:  # of TensorBoard's, which has no name for its file
                then, where = "Running it again goes on.", error.filename or stage / "tensorboard"
                raise system_error(error, where, "could not be written", then) from error


def check_processes(config: TrainingConfig) -> None:
    """Refuse, before anything is made, processes and devices that are not there.

    Raises:
        Alos2TutError: ``devices`` above 1 without ``torchrun``, no GPU, fewer GPUs than processes, or more processes
            than samples in a batch.
    """
    _, world = rank_and_world()
    if world == 1 and config.devices > 1:
        raise Alos2TutError(
            f"devices={config.devices}, but only this process runs",
            where="devices",
            remedy=f"Start it with: torchrun --standalone --nproc-per-node={config.devices} -m alos2tut …",
        )
    if config.shares < world:
        raise Alos2TutError(
            f"a batch of {config.batch_size} cannot be shared by {world} processes"
            + (", since MixMAE keeps pairs together" if config.shares < config.batch_size else ""),
            where="batch_size",
            remedy="It counts the samples of all processes together.",
        )
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise Alos2TutError("there is no GPU that torch can use", where="accelerator", remedy="Set accelerator=cpu.")
    if _accelerator(config) == "cuda" and _local_processes() > torch.cuda.device_count():
        raise Alos2TutError(
            f"{_local_processes()} processes on this machine, which has {torch.cuda.device_count()} GPUs",
            where="devices",
            remedy="Start one process per GPU, or set accelerator=cpu.",
        )


def _accelerator(config: TrainingConfig) -> str:
    return best_device().type if config.accelerator == "auto" else config.accelerator


def _local_processes() -> int:
    """Processes on this machine."""
    return process_number("LOCAL_WORLD_SIZE", rank_and_world()[1])


def _processes(config: TrainingConfig, skips_weights: bool) -> dict[str, Any]:
    """Lightning's words for the processes that ``torchrun`` started, or for this one."""
    _, world = rank_and_world()
    local = _local_processes()
    words: dict[str, Any] = {"accelerator": _accelerator(config), "devices": local, "num_nodes": world // local}
    # named, since Lightning would take a Slurm allocation for its own, and requeue it
    if world == 1:
        return words | {"plugins": [LightningEnvironment()]}
    strategy = DDPStrategy(gradient_as_bucket_view=True, find_unused_parameters=skips_weights)
    return words | {"plugins": [TorchElasticEnvironment()], "strategy": strategy}


def _check_checkpoint(path: Path, training: Training) -> None:
    """Refuse a resume checkpoint whose weights are not of this network: somebody put it there."""
    try:
        state = torch.load(path, map_location="meta", weights_only=True, mmap=True)
        kept = {name: tuple(tensor.shape) for name, tensor in state["state_dict"].items()}
        if lacking := _LIGHTNING_KEEPS - state.keys():
            raise KeyError(min(lacking))
    except Exception as error:  # of what somebody put there, any may come
        raise Alos2TutError(
            f"is damaged, or no resume checkpoint of this package ({unpickling_reason(error)}); nothing in it was run",
            where=path,
            remedy="Remove it: training goes on from the one before it, or starts anew.",
        ) from None
    own = {name: tuple(tensor.shape) for name, tensor in training.state_dict().items()}
    if kept != own:
        differing = sorted(name for name in kept.keys() | own.keys() if kept.get(name) != own.get(name))[0]
        raise Alos2TutError(
            f"is a checkpoint of another architecture: '{differing}' is {kept.get(differing, 'missing')} there, "
            f"{own.get(differing, 'missing')} here",
            where=path,
            remedy="Remove the folder of checkpoints to start anew.",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's hints, which do not apply here, out of a reader's notebook; real warnings still come."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    harmless = [
        r".*does not have many workers.*",  # gathering mapped rows is faster without
        r".*isinstance\(treespec, LeafSpec\).*",  # between Lightning and torch
        r".*module\(s\) in eval mode at the start.*",  # a frozen encoder is meant to be
        r".*Grad strides do not match bucket view strides.*",  # of 1 × 1 convolutions, whose strides say nothing
        r".*find_unused_parameters=True was specified.*",  # for a while all are used
        r".*The `srun` command is available.*",  # a scheduler's command on the path is no mistake
    ]
    # TensorBoard writes in a thread, whose error comes to us when it is given the next row
    hook = threading.excepthook
    threading.excepthook = lambda args: None if isinstance(args.exc_value, OSError) else hook(args)
    try:
        with warnings.catch_warnings():
            for message in harmless:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)
        threading.excepthook = hook


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ends the whole process on Ctrl-C, and ignores the next one; a notebook wants the exception."""
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
