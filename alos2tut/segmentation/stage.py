"""Fine-tuning: an encoder and a decoder (:mod:`alos2tut.networks.decoders`) that name the land cover of every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.artifacts import read_json
from ..core.errors import Alos2TutError
from ..core.parallel import alone_in
from ..core.public import public
from ..dataset.balance import class_weights, tempered_weights
from ..dataset.store import PatchDataset, Split
from ..headlines import Headline, few_patches, of_lists, of_scores, warn_of_lists
from ..metrics import scores_from_confusion
from ..networks.distributed import rank_and_world, wait_for_all
from ..networks.encoders import Encoder, standardize
from ..networks.inference import confusion_matrix
from ..networks.segmenter import Segmenter
from ..networks.weights import save_segmenter
from ..training.batches import Batch, batch_generator, derived_seed, draw_pixels, flip, to_device
from ..training.callbacks import History, StepCallback
from ..training.loop import check_processes, fit
from ..training.module import Training, number_of_steps
from ..training.run import Run
from .budgets import budgeted_patches, training_pixels
from .config import FinetuneConfig
from .frozen import FrozenMaps
from .losses import segmentation_losses


class _Finetuning(Training):
    config: FinetuneConfig
    network: Segmenter
    class_weights: Tensor

    def __init__(
        self, network: Segmenter, config: FinetuneConfig, class_weights: Tensor, steps: int, chosen: NDArray[np.int64]
    ) -> None:
        rates: dict[str, Any] = {"layer_decay": config.layer_decay, "encoder_lr": config.encoder_lr}
        super().__init__(network, config, "train", steps, chosen=chosen, **rates)
        self.register_buffer("class_weights", class_weights, persistent=False)
        # the encoder's last stage feeds a map that the decoder `pixel` does not read, and learns nothing from it
        self.skips_weights = network.decoder.by_pixel and config.mode == "full"
        #: what the decoder is given of a frozen encoder, kept from step to step
        self.frozen = FrozenMaps.of(network, config, len(chosen))

    def losses(self, batch: Batch, flips: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        network, pixels = self.network, None
        flips = flips & self.config.mirror
        labels = flip(batch.labels, flips)
        if self.frozen is not None:
            maps, beside = self.frozen.seen(network, batch, flips)
        else:
            maps, beside = network.seen(standardize(flip(batch.rows, flips), network.statistics)[0])
        if self.config.loss_pixels is not None:
            pixels = self._drawn_pixels(batch)
            labels = labels.flatten(1).gather(1, pixels).unsqueeze(-1)
        logits = network.decode(maps, beside, pixels)
        with torch.autocast(logits.device.type, enabled=False):
            loss, reported = segmentation_losses(logits, labels, self.class_weights, self.config)
        return loss, {"loss": reported}

    def _drawn_pixels(self, batch: Batch) -> Tensor:
        """Places in each patch that count in this step, (B, ``loss_pixels``)."""
        assert self.config.loss_pixels is not None
        generator = batch_generator(self.config.seed, batch.micro_batch, "pixels")
        of_each, of_all = self.config.loss_pixels, batch.labels[0].numel()
        drawn = draw_pixels(self.config.batch_size, of_each, of_all, generator)
        return to_device(drawn[batch.positions], batch.labels.device)


class Validation(StepCallback):
    """Scores the validation list every so many steps and at the end, and keeps the weights that did best.

    The best weights travel in the resume checkpoints, so a resumed run chooses among the same.

    Args:
        split: the validation list.
        history: gets the scores as ``val_miou``.
        config: ``validate_every`` steps there is a validation; ``patience`` of them in a row without better weights
            end the training.
    """

    def __init__(self, split: Split, history: History, config: FinetuneConfig) -> None:
        self.split, self.history, self.every, self.patience = split, history, config.validate_every, config.patience
        self.batch_size = -(-config.batch_size // rank_and_world()[1])
        self.best: dict[str, Any] = {"step": 0, "miou": -1.0, "weights": {}, "confusion": []}

    def on_step(self, trainer: Any, module: Training, step: int) -> None:
        """Score, and remember the weights if they are the best so far."""
        if step % self.every and step != module.steps:
            return
        assert isinstance(module, _Finetuning)
        segmenter = module.network
        matrix = confusion_matrix(segmenter, self.split, self.batch_size)
        miou = scores_from_confusion(matrix)["miou"]
        self.history.note(val_miou=miou)
        if miou > self.best["miou"]:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in segmenter.state_dict().items()}
            self.best = {"step": step, "miou": miou, "weights": weights, "confusion": matrix.tolist()}
        elif self.patience is not None and step - self.best["step"] >= self.patience * self.every:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """For the resume checkpoint."""
        return self.best

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the resume checkpoint."""
        self.best = state_dict


@public
def finetune(config: FinetuneConfig, *, quiet: bool = False) -> Path:
    """Train a segmenter on a dataset's ``train`` list; keep the weights with the best mIoU on ``val``.

    The ``test`` list is not touched. An interrupted run continues where its last checkpoint was written; a complete one
    is reused.

    Args:
        config: the settings; ``init`` names pretrained weights (its architecture is used, and its statistics unless
            ``statistics`` is "own"), else the encoder starts at random with ``config.encoder`` and the
            dataset's statistics.
        quiet: tell no headline and no reuse, and show no progress.

    Returns:
        The stage folder, with ``segmenter.safetensors``, ``metrics.csv`` (with ``val_miou`` at validation steps) and
        ``run.json``, whose ``headlines`` (:mod:`alos2tut.headlines`) are also told: before training a warning of
        classes that can hardly be learned or scored, after it a line for what is wrong with the prediction of ``val``.

    Raises:
        Alos2TutError: settings or weights that do not fit the dataset, a label that is no class, no labelled pixel to
            validate on, too little memory, a loss or gradient that becomes no number, or another process that trains
            the same.
        Stopped: it was told to stop before the last step (SIGTERM, SIGUSR1, ``stop_after_minutes``); all is saved.
    """
    run = Run.of("finetune", config)
    dataset, folder = run.dataset, run.folder
    quiet = quiet or rank_and_world()[0] > 0
    if run.is_complete(quiet):
        if not quiet:
            _show_headlines(read_json(folder / "run.json").get("headlines", []), folder)
        return folder
    check_processes(config)
    network = _initial_segmenter(config, dataset, run.encoder)
    validation_split = dataset.split("val")
    if not validation_split.check_labels(len(dataset.legend)):
        raise Alos2TutError("the validation list has no labelled pixel", where=dataset.path / "val.csv")
    chosen = budgeted_patches(config, dataset)
    dataset.split("train").check_labels(len(dataset.legend), chosen)
    weights = training_class_weights(config, dataset, chosen)
    before = list_headlines(config, dataset)
    if not quiet:
        _show_headlines(before, folder)
    steps = number_of_steps(config, len(chosen))
    with alone_in(folder):
        # somebody else may have been training it until now
        if rank_and_world()[1] == 1 and run.is_complete(quiet):
            return folder
        history = History(folder / "metrics.csv", every=max(1, steps // 2000), extra=("val_miou",))
        validation = Validation(validation_split, history, config)
        training = _Finetuning(network, config, torch.from_numpy(weights), steps, chosen)
        fit(training, folder, "finetune", callbacks=(validation, history), quiet=quiet)
        if rank_and_world()[0] == 0:
            facts = {"patches": len(chosen), "class_weights": [round(float(weight), 8) for weight in weights]}
            facts |= {"last_step": int(history.last("step")), "final_loss": history.last("loss")}
            after = of_scores(np.array(validation.best["confusion"], dtype=np.int64), dataset.legend.names)
            facts["headlines"] = [*before, *after]
            _write_results(run, network, validation.best, facts)
            if not quiet:
                _show_headlines(after, folder)
        wait_for_all()
    return folder


def training_class_weights(
    config: FinetuneConfig, dataset: PatchDataset, chosen: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Weights of the classes (C,), from the labels that training sees and no others.

    Raises:
        Alos2TutError: none of these patches has a labelled pixel.
    """
    counts = np.array(list(training_pixels(config, dataset, chosen).values()), dtype=np.int64)
    if not counts.any():
        raise Alos2TutError(f"none of {len(chosen)} patches has a label", where=dataset.path / "train.csv")
    if config.class_weighting == "frequency" and np.count_nonzero(counts) > 1:
        weights = class_weights(counts)  # which gives a class that is alone no weight at all
    elif config.class_weighting == "tempered":
        weights = tempered_weights(counts, config.temper)
    else:
        weights = np.ones(len(counts))
    return weights.astype(np.float32)


def list_headlines(config: FinetuneConfig, dataset: PatchDataset) -> list[Headline]:
    """Headlines of the patches that are drawn, and of the lists held out, of which ``test`` is not opened."""
    chosen = budgeted_patches(config, dataset)
    pixels = {name: dataset.content["splits"][name]["class_pixels"] for name in ("train", "val", "test")}
    pixels["train"] = training_pixels(config, dataset, chosen)
    val, names = dataset.split("val"), dataset.legend.names
    patches = {
        split.name: few_patches(split, names, pixels[split.name], positions)
        for split, positions in ((dataset.split("train"), chosen), (val, np.arange(len(val))))
    }
    return of_lists(pixels, patches)


def _show_headlines(headlines: list[Headline], folder: Path) -> None:
    """Warn of classes that lists hardly have; print the other headlines, of classes that are uncommon and of scores."""
    for headline in warn_of_lists(headlines, f"{folder.name}: "):
        print(f"! {'classes' if headline['code'] == 'uncommon' else 'val'}: {headline['text']}", flush=True)


def _initial_segmenter(config: FinetuneConfig, dataset: PatchDataset, encoder: Encoder) -> Segmenter:
    assert encoder.statistics is not None
    # neither takes part in segmentation: nothing is masked, and the maps are read before the last norm
    encoder.mask_token.requires_grad_(False)
    encoder.last_norm.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        # the decoder's own seed: it starts equal whether the encoder is pretrained or random
        torch.manual_seed(derived_seed(config.seed, "init", 1))
        decoder: dict[str, Any] = {"decoder": config.decoder, "width": config.decoder_width, "dropout": config.dropout}
        network = Segmenter(encoder, dataset.legend, encoder.statistics, dataset.signal, **decoder)
    if config.mode != "full":
        network.freeze()
    return network.train()


def _write_results(run: Run[FinetuneConfig], network: Segmenter, best: dict[str, Any], facts: dict[str, Any]) -> None:
    network.load_state_dict(best["weights"])
    network.eval()
    whose: dict[str, Any] = {"simulated": run.dataset.simulated, "sensors": run.dataset.sensors}
    provenance = {**run.provenance, "step": best["step"]}
    save_segmenter(run.folder / "segmenter.safetensors", network, provenance=provenance, **whose)
    content = {
        **facts,
        "init": "file" if "init" in run.made_from else "random",
        "classes": run.dataset.legend.names,
        "best_step": best["step"],
        "val": scores_from_confusion(np.array(best["confusion"], dtype=np.int64)),
    }
    run.finish(network, content, ("segmenter.safetensors", "metrics.csv"))
