"""What a frozen encoder makes of patches, computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks.encoders import standardize
from ..networks.segmenter import Segmenter
from ..training.batches import Batch, flip
from .config import FinetuneConfig

#: maps are kept while all of a run's fit in; else each step computes its own
_MOST_BYTES = 2 * 2**30
#: a patch as it is, and mirrored
_MIRRORED = torch.tensor([[False, False], [True, False], [False, True], [True, True]])


class FrozenMaps:
    """The maps of each training patch, and of its mirror images if they are asked for, kept after the first time.

    All of a patch are computed together, whatever batch it is first met in: a run that was resumed sees the same to the
    last bit.
    """

    def __init__(self, mirror: bool) -> None:
        self._mirrored = _MIRRORED if mirror else _MIRRORED[:1]
        self._kept: dict[int, list[Tensor]] = {}

    @classmethod
    def of(cls, network: Segmenter, config: FinetuneConfig, patches: int) -> FrozenMaps | None:
        """Such a store for a training; None if its encoder learns, or its patches are too many."""
        if any(parameter.requires_grad for parameter in network.encoder.parameters()):
            return None
        with torch.no_grad():
            maps, beside = network.seen(torch.zeros(1, network.encoder.in_channels, *network.image_px))
        of_one = sum(each.nbytes for each in (*maps, beside))
        store = cls(config.mirror)
        return store if len(store._mirrored) * patches * of_one <= _MOST_BYTES else None

    def seen(self, network: Segmenter, batch: Batch, flips: Tensor) -> tuple[list[Tensor], Tensor]:
        """What :meth:`Segmenter.seen` gives of a batch, each patch mirrored as ``flips`` (B, 2) says."""
        which = (flips.to(torch.int64) @ torch.tensor([1, 2])).tolist()
        chosen = []
        for at, (place, mirrored) in enumerate(zip(batch.places.tolist(), which, strict=True)):
            if place not in self._kept:
                rows = flip(batch.rows[at : at + 1].expand(len(self._mirrored), -1, -1, -1), self._mirrored)
                with torch.no_grad():
                    maps, beside = network.seen(standardize(rows, network.statistics)[0])
                self._kept[place] = [*maps, beside]
            chosen.append([each[mirrored] for each in self._kept[place]])
        *stacked, beside = (torch.stack(each) for each in zip(*chosen, strict=True))
        return stacked, beside
