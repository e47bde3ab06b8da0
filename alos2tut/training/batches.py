"""The endless, seeded stream of batches, and what is drawn at random for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..dataset.encoding import NO_DATA, STEPS_PER_DB
from ..dataset.store import Split, batch_indices, open_dataset

#: One sample of the endless stream: micro-batch, position in it, index in the list.
Sample = tuple[int, int, int]

#: Keeps the draws of different purposes apart.
PURPOSES = {
    "init": 0,
    "network": 1,
    "augmentation": 2,
    "examples": 3,
    "budget": 4,
    "speckle": 6,
    "pixels": 7,
}


class Batch(NamedTuple):
    """One process's share of a micro-batch."""

    micro_batch: int
    #: (B,) int64 positions in the whole micro-batch; NumPy, so that they stay where random numbers are drawn
    positions: NDArray[np.int64]
    #: (B, C, H, W) int16 hundredths of dB
    rows: Tensor
    #: (B, H, W) uint8 class indices; empty where nobody asks for them
    labels: Tensor
    #: (B,) int64 positions in the list
    places: NDArray[np.int64]


def derived_seed(seed: int, purpose: str, *keys: int) -> int:
    """A seed for one purpose (of :data:`PURPOSES`) and place, unrelated to those of all others."""
    state = np.random.SeedSequence([seed, PURPOSES[purpose], *keys]).generate_state(2, np.uint32)
    return int(state[0]) << 31 ^ int(state[1])


def batch_generator(
    seed: int, micro_batch: int, purpose: str = "augmentation", device: torch.device | str = "cpu"
) -> torch.Generator:
    """The generator of a whole micro-batch: of its flips, then its masks, or of another of :data:`PURPOSES`."""
    return torch.Generator(device).manual_seed(derived_seed(seed, purpose, micro_batch))


def draw_flips(n: int, generator: torch.Generator) -> Tensor:
    """For each of n images whether to mirror it left to right and top to bottom, (n, 2) bool."""
    return torch.rand(n, 2, generator=generator) < 0.5


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror each image (B, …, H, W) as :func:`draw_flips` says; labels and images alike."""
    flips = to_device(flips, images.device)
    for column, axis in [(0, -1), (1, -2)]:
        chosen = flips[:, column].view(-1, *[1] * (images.ndim - 1))
        images = torch.where(chosen, images.flip(axis), images)
    return images


def draw_pixels(n: int, of_each: int, pixels: int, generator: torch.Generator) -> Tensor:
    """Places among so many pixels, so many of each of n images, some perhaps twice: (n, of_each) int64."""
    return torch.randint(pixels, (n, of_each), generator=generator)


def draw_speckle(shape: tuple[int, ...], looks: float, generator: torch.Generator) -> Tensor:
    """Gamma noise of mean 1 and variance 1/looks, float32 on the generator's device: speckle of so many looks."""
    order = torch.full(shape, looks, dtype=torch.float32, device=generator.device)
    # what torch.distributions.Gamma draws with, which takes no generator
    return torch._standard_gamma(order, generator=generator) / looks


def speckled(rows: Tensor, speckle: Tensor) -> Tensor:
    """Stored rows whose power is multiplied by speckle, which adds it in dB: float32 of the same hundredths.

    Args:
        rows: (B, C, H, W) int16 hundredths of dB; pixels without data stay so.
        speckle: (B, C, H, W) as of :func:`draw_speckle`.
    """
    # few looks may give a power of nothing
    noise_db = 10 * torch.log10(speckle.clamp(min=torch.finfo(torch.float32).tiny))
    noisy = (rows.to(torch.float32) + STEPS_PER_DB * noise_db).clamp(min=NO_DATA + 1)
    return torch.where(rows != NO_DATA, noisy, float(NO_DATA))


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """What was drawn on the CPU on the device, without making a GPU wait for it."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


class EndlessBatches(Sampler[list[Sample]]):
    """The micro-batches of one process, without end.

    Args:
        n: samples in the list, one at least.
        batch_size: samples per micro-batch, over all processes: for each of them one at least, or a pair.
        seed: decides the order.
        first: gives the number of the micro-batch to start at, asked when iteration starts (only then does a resumed
            run know it).
        rank, world: this process and the number of processes; each takes a contiguous slice.
        paired: keep the i-th sample and the i-th from the end in one process, which then takes two slices.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        first: Callable[[], int],
        rank: int = 0,
        world: int = 1,
        paired: bool = False,
    ) -> None:
        self.n, self.batch_size, self.seed, self.first = n, batch_size, seed, first
        if paired:
            half = np.array_split(np.arange((batch_size + 1) // 2), world)[rank]
            self.positions = np.unique([half, batch_size - 1 - half])
        else:
            self.positions = np.array_split(np.arange(batch_size), world)[rank]

    def __iter__(self) -> Iterator[list[Sample]]:
        micro_batch = self.first()
        while True:
            indices = batch_indices(self.n, self.batch_size, self.seed, micro_batch)
            yield [(micro_batch, int(place), int(indices[place])) for place in self.positions]
            micro_batch += 1


class PatchRows(Dataset[Batch]):
    """Gathers stored rows and, if ``labelled``, labels; the arithmetic is left to the device.

    Args:
        dataset, split: the folder and its list.
        chosen: positions in the list that count; None: all.
    """

    def __init__(
        self, dataset: str | Path, split: str, labelled: bool = True, chosen: NDArray[np.int64] | None = None
    ) -> None:
        self.dataset, self.name, self.labelled, self.chosen = Path(dataset), split, labelled, chosen

    @cached_property
    def split(self) -> Split:
        """The list and its mapped arrays, opened once in each worker."""
        return open_dataset(self.dataset).split(self.name)

    def __getstate__(self) -> dict[str, Any]:
        # mapped arrays would be pickled whole
        return {key: value for key, value in self.__dict__.items() if key != "split"}

    def __len__(self) -> int:
        return len(self.split) if self.chosen is None else len(self.chosen)

    def places(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions in the list of samples 0…len − 1."""
        return indices if self.chosen is None else self.chosen[indices]

    def __getitems__(self, samples: list[Sample]) -> Batch:
        """One batch for the samples that :class:`EndlessBatches` yields."""
        indices = self.places(np.array([index for _, _, index in samples]))
        positions = np.array([position for _, position, _ in samples])
        if self.labelled:
            rows, labels = self.split.gather(indices)
        else:
            rows, labels = self.split.gather_rows(indices), np.empty(0, np.uint8)
        return Batch(samples[0][0], positions, torch.from_numpy(rows), torch.from_numpy(labels), indices)
