"""A training as a stage: what it starts from, the folder that is named by that, and the results it leaves there."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from ..core.artifacts import read_json, sha256_file, stage_dir, write_json
from ..core.cache import content_hash
from ..core.config import settings_for_key
from ..core.environment import process_number
from ..core.errors import Alos2TutError
from ..core.version import __version__
from ..dataset.store import PatchDataset, open_dataset
from ..networks.distributed import rank_and_world
from ..networks.encoders import Encoder, build_encoder
from ..networks.weights import check_signal, extend_channels, load_encoder, settle_statistics, weights_path
from .batches import derived_seed
from .callbacks import checkpoints_in
from .config import TrainingConfig

Config = TypeVar("Config", bound=TrainingConfig)


@dataclass(frozen=True)
class Run(Generic[Config]):
    """A training that is settled and not yet begun."""

    stage: str
    config: Config
    dataset: PatchDataset
    #: what to start from, with the statistics that its input is standardised by
    encoder: Encoder
    #: what decides the result; its architecture is the encoder's
    settings: dict[str, Any]
    #: fingerprints of the inputs, by role
    made_from: dict[str, str]

    @classmethod
    def of(cls, stage: str, config: Config) -> Run[Config]:
        """Open what the settings name.

        Raises:
            Alos2TutError: a dataset that is none, or batches of which no machine like this holds one; and as
                :func:`initial_encoder`.
        """
        dataset = open_dataset(config.dataset)
        _check_memory(config, dataset)
        encoder = initial_encoder(config, dataset)
        settings = {**settings_for_key(config), "encoder": dataclasses.asdict(encoder.config)}
        init = {} if config.init is None else {"init": content_hash(weights_path(config.init, "encoder"))}
        return cls(stage, config, dataset, encoder, settings, {"dataset": dataset.fingerprint} | init)

    @property
    def folder(self) -> Path:
        """Where the results lie; it need not be there yet."""
        return stage_dir(self.config.work_dir, self.stage, self.settings, self.made_from)

    @property
    def provenance(self) -> dict[str, Any]:
        """What weights are made from, for their header."""
        return {"stage": self.stage, "made_from": self.made_from, "settings": self.settings}

    def is_complete(self, quiet: bool = False) -> bool:
        """Whether the folder has a ``run.json`` and what that names; unless ``quiet``, says that it is reused if so.

        Raises:
            Alos2TutError: a file that ``run.json`` names is missing or another one.
        """
        folder = self.folder
        if not (folder / "run.json").is_file():
            return False
        files = read_json(folder / "run.json").get("files", {})
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            problem = f"lacks {', '.join(missing)}"
            raise Alos2TutError(problem, where=folder, remedy="Remove the folder to make it anew.")
        for name, sha256 in files.items() if process_number("LOCAL_RANK") == 0 else ():
            if content_hash(folder / name) != sha256:
                problem, remedy = "was changed since the training", "Restore it, or remove the folder to make it anew."
                raise Alos2TutError(problem, where=folder / name, remedy=remedy)
        if rank_and_world()[0] == 0 and not quiet:
            print(f"reusing {folder}", flush=True)
        return True

    def finish(self, network: Any, content: dict[str, Any], files: tuple[str, ...]) -> None:
        """Write ``run.json``, the last file of a complete stage, with the hashes of the others; drop the checkpoints.

        Args:
            network: what was trained: a module with ``encoder`` and ``decoder``.
            content: what came out; nothing that another run of the same would not repeat.
            files: names of the results.
        """
        folder, encoder = self.folder, network.encoder
        facts = {
            **self.provenance,
            "package": f"alos2tut {__version__}",
            "statistics": encoder.statistics.to_dict(),
            "signal": self.dataset.signal,
            "parameters": {"encoder": count_parameters(encoder), "decoder": count_parameters(network.decoder)},
            "files": {name: sha256_file(folder / name) for name in sorted(files)},
        }
        write_json(folder / "run.json", facts | content)
        (folder / "failed.json").unlink(missing_ok=True)
        _drop_checkpoints(folder)


def _drop_checkpoints(folder: Path) -> None:
    """Remove what is only there to go on from."""
    for path in checkpoints_in(folder / "checkpoints"):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # something else lies there, or nothing ever did
        (folder / "checkpoints").rmdir()


def _check_memory(config: TrainingConfig, dataset: PatchDataset) -> None:
    """Refuse a batch that cannot be held: where memory is lent beyond what there is, the system would end us."""
    samples = -(-config.batch_size // rank_and_world()[1])
    # a pixel as it is stored, in dB and standardised; what networks make of it takes more
    needed = samples * dataset.channels * dataset.patch_px**2 * 10
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > there:
        problem = f"{samples:,} patches at once take {needed / 2**30:,.0f} GiB at least; there are {there / 2**30:,.0f}"
        raise Alos2TutError(problem, where="batch_size", remedy="Lower it; accumulate makes up for that.")


def initial_encoder(config: TrainingConfig, dataset: PatchDataset) -> Encoder:
    """The encoder that a training starts from: that of the file ``init``, or a random one.

    Returns:
        The encoder with the statistics that its input is standardised by: the file's, or the dataset's, where there is
        no file or ``config.statistics`` is "own".

    Raises:
        Alos2TutError: an architecture that does not fit the patches; a file that is broken, or was trained on patches
            of another size or on another signal; or "own" statistics that nothing calls for.
    """
    image_px = (dataset.patch_px, dataset.patch_px)
    if config.init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(config.seed, "init"))
            encoder = build_encoder(config.encoder, image_px, dataset.channels, config.drop_path)
        encoder.statistics, encoder.signal = dataset.statistics, dataset.signal
        return encoder
    path = weights_path(config.init, "encoder")
    encoder = load_encoder(path, drop_path=config.drop_path)
    assert encoder.statistics is not None and encoder.signal is not None
    if config.allow_other_signal and encoder.in_channels == 1 < dataset.channels:
        extend_channels(encoder, dataset.signal["polarizations"], dataset.statistics, path)
    check_signal(encoder.signal, dataset.signal, path, allow_other=config.allow_other_signal)
    if encoder.image_px != image_px:
        raise Alos2TutError(
            f"was trained on patches of {encoder.image_px[0]} × {encoder.image_px[1]} px, the dataset's are "
            f"{image_px[0]} × {image_px[1]}",
            where=path,
            remedy="Build the dataset with that patch_px, or pretrain on these patches.",
        )
    settle_statistics(encoder, dataset.signal, dataset.statistics, path, config.statistics)
    return encoder


def count_parameters(module: nn.Module) -> int:
    """Numbers in a module's parameters, frozen ones among them."""
    return sum(parameter.numel() for parameter in module.parameters())
