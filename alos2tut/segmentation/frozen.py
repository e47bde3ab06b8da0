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
#: patches that are computed together: always so many, since their number can change a sum's last bit
_TOGETHER = 8
#: a patch as it is, and mirrored
_MIRRORED = torch.tensor([[False, False], [True, False], [False, True], [True, True]])


class FrozenMaps:
    """The maps of each training patch, and of its mirror images if they are asked for, kept after the first time.

    They are computed so many patches at a time, whatever batch these are first met in: a run that was resumed sees the
    same to the last bit.
    """

    def __init__(self, mirror: bool) -> None:
        self._mirrored = _MIRRORED if mirror else _MIRRORED[:1]
        #: of each place in the list, and each mirror image
        self._kept: dict[int, list[list[Tensor]]] = {}

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
        places = batch.places.tolist()
        new = list({place: at for at, place in enumerate(places) if place not in self._kept}.values())
        for first in range(0, len(new), _TOGETHER):
            met = new[first : first + _TOGETHER]
            rows = batch.rows[met + met[-1:] * (_TOGETHER - len(met))]
            for mirrored in self._mirrored:
                with torch.no_grad():
                    x = standardize(flip(rows, mirrored.expand(len(rows), 2)), network.statistics)[0]
                    maps, beside = network.seen(x)
                for row, at in enumerate(met):
                    self._kept.setdefault(places[at], []).append([each[row].clone() for each in (*maps, beside)])
        chosen = [self._kept[place][mirrored] for place, mirrored in zip(places, which, strict=True)]
        *stacked, beside = (torch.stack(each) for each in zip(*chosen, strict=True))
        return stacked, beside
