"""Tiles of an image: where they lie, and how what a network says of each becomes one image without seams.

Tiles of the size that a network was trained at lie on a fixed grid and overlap. Their class probabilities are blended
with weights that sum to one at every pixel. Rows of tiles are added from top to bottom, so that any run of rows comes
out the same to the last bit as if the image had been worked on from its first row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import Alos2TutError
from ..dataset.encoding import NO_DATA
from .encoders import standardize
from .passes import pass_size, passes


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """First pixels of tiles that cover ``size`` pixels; the last tile ends at the edge."""
    if size <= tile:
        return [0]
    return [*range(0, size - tile, tile - overlap), size - tile]


def tile_weights(size: int, tile: int, overlap: int) -> NDArray[np.float32]:
    """Weights (tiles, tile) along one axis: ramps over the overlap, normalised to sum to one at every pixel."""
    starts = tile_starts(size, tile, overlap)
    position = np.arange(tile)
    ramp = np.minimum(np.minimum(position, position[::-1]) + 1, overlap + 1).astype(np.float64)
    total = np.zeros(max(size, tile))
    for start in starts:
        total[start : start + tile] += ramp
    return np.stack([ramp / total[start : start + tile] for start in starts]).astype(np.float32)


@dataclass(frozen=True)
class TileGrid:
    """Where tiles lie on an image; ``of`` checks how much they share."""

    #: rows and columns of the image
    shape: tuple[int, int]
    #: rows and columns of a tile
    tile_px: tuple[int, int]
    #: pixels that neighbours share, at least
    overlap_px: int

    @classmethod
    def of(cls, shape: tuple[int, int], tile_px: tuple[int, int], overlap_px: int | None = None) -> TileGrid:
        """A grid whose neighbours share so many pixels; None: a quarter of a tile.

        Raises:
            Alos2TutError: more than seven eighths of a tile: there would hardly be an end of tiles.
        """
        side = min(tile_px)
        grid = cls(shape, tile_px, side // 4 if overlap_px is None else overlap_px)
        most = side - math.ceil(side / 8)
        if not 0 <= grid.overlap_px <= most:
            problem = f"overlap_px={overlap_px} is not in 0…{most}, seven eighths of a tile"
            if 0 <= grid.overlap_px < side:
                problem += f": it would take {len(grid.tops) * len(grid.lefts):,} tiles"
            remedy = f"A quarter of the tile, {side // 4}, is plenty."
            raise Alos2TutError(problem, where="overlap_px", remedy=remedy)
        return grid

    @cached_property
    def tops(self) -> list[int]:
        """First image row of each row of tiles."""
        return tile_starts(self.shape[0], self.tile_px[0], self.overlap_px)

    @cached_property
    def lefts(self) -> list[int]:
        """First image column of each column of tiles."""
        return tile_starts(self.shape[1], self.tile_px[1], self.overlap_px)

    @property
    def padded_width(self) -> int:
        """Columns of the image, or of one tile, if that is wider."""
        return max(self.shape[1], self.tile_px[1])

    def finished(self, row: int) -> tuple[int, int]:
        """First and last (exclusive) image row that no later row of tiles reaches, but this one does."""
        return self.tops[row], self.tops[row + 1] if row + 1 < len(self.tops) else self.shape[0]

    def reaching(self, row: int) -> int:
        """The first row of tiles that has a part in the image rows that this one finishes."""
        return next(i for i, top in enumerate(self.tops) if top + self.tile_px[0] > self.tops[row])

    def batch(self, most: int) -> int:
        """Tiles per forward pass, at most so many: one number, by which each row of tiles is divided evenly."""
        tiles = len(self.lefts)
        return math.ceil(tiles / math.ceil(tiles / most))


def blended_rows(
    predict: Callable[[Tensor], Tensor],
    tile_rows: Iterable[NDArray[np.int16]],
    grid: TileGrid,
    rows: tuple[int, int],
    *,
    classes: int,
    batch_size: int,
    device: torch.device,
    side_by_side: bool = True,
) -> Generator[tuple[int, Tensor, NDArray[np.bool_]]]:
    """Class probabilities of whole image rows, as they are finished from top to bottom.

    Every forward pass has the same shape (another one may change the last bits); tiles without any data are left out.
    On a CPU several passes share out a batch (:mod:`.passes`).

    Args:
        predict: from tiles (batch, channels, height, width) int16, :data:`.NO_DATA` where there is none, to
            probabilities (batch, classes, height, width) float32, both on ``device``.
        tile_rows: stored dB (channels, tile height, ``grid.padded_width``) of each row of tiles from
            ``grid.reaching(rows[0])`` on, NO_DATA outside the image, and in all channels where one has no data.
        grid, classes, batch_size, device: what there is to do, by how many at most, and where.
        rows: first and last (exclusive) row of tiles whose image rows are wanted.
        side_by_side: whether ``predict`` may be called from several threads at once.

    Yields:
        The row of tiles; probabilities (classes, image rows, image columns) on ``device``, which the next step
        overwrites; and where there is data, bool (image rows, image columns).
    """
    height, width = grid.tile_px
    down, across = (
        torch.from_numpy(tile_weights(size, tile, grid.overlap_px)).to(device)
        for size, tile in zip(grid.shape, grid.tile_px, strict=True)
    )
    total = torch.zeros((classes, height, grid.padded_width), device=device)
    at_once = grid.batch(pass_size(batch_size, device))
    numbered = zip(range(grid.reaching(rows[0]), rows[1]), tile_rows, strict=False)
    batches = (batch for row, steps in numbered for batch in _batches(row, steps, grid, at_once, device))
    for batch, probabilities in passes(partial(_seen, predict), batches, device, side_by_side=side_by_side):
        for number, probability in zip(batch.numbers, probabilities, strict=False):
            part = slice(grid.lefts[number], grid.lefts[number] + width)
            total[:, :, part].addcmul_(probability, down[batch.row][:, None] * across[number])
        if batch.valid is None:
            continue
        top, end = grid.finished(batch.row)
        done = end - top
        if batch.row >= rows[0]:
            yield batch.row, total[:, :done, : grid.shape[1]], batch.valid[:done, : grid.shape[1]]
        # the rows below stay and are added to by the next row of tiles
        total[:, : height - done] = total[:, done:].clone()
        total[:, height - done :] = 0


@dataclass(frozen=True)
class _Batch:
    row: int
    #: columns of tiles that have data, and what is stored of them, filled up to the one shape of all batches
    numbers: list[int]
    tiles: Tensor
    #: where a row of tiles has data; None: it has more batches
    valid: NDArray[np.bool_] | None


def _batches(row: int, steps: NDArray[np.int16], grid: TileGrid, size: int, device: torch.device) -> Iterator[_Batch]:
    """A row of tiles by so many; one batch without tiles where there is no data."""
    width, valid = grid.tile_px[1], steps[0] != NO_DATA
    stored = torch.from_numpy(steps).to(device)
    chosen = [i for i, left in enumerate(grid.lefts) if valid[:, left : left + width].any()]
    for start in range(0, max(1, len(chosen)), size):
        numbers = chosen[start : start + size]
        tiles = torch.full((size, *steps.shape[:2], width), NO_DATA, dtype=torch.int16, device=device)
        for place, number in enumerate(numbers):
            tiles[place] = stored[..., grid.lefts[number] : grid.lefts[number] + width]
        yield _Batch(row, numbers, tiles, valid if start + size >= len(chosen) else None)


def _seen(predict: Callable[[Tensor], Tensor], batch: _Batch) -> tuple[_Batch, Tensor]:
    return batch, predict(batch.tiles) if batch.numbers else batch.tiles


def tile_probabilities(segmenter: Any, tiles: Tensor, *, flips: bool = False) -> Tensor:
    """Class probabilities (B, classes, H, W) float32 of stored tiles (B, C, H, W) int16, on their device.

    Args:
        segmenter: maps standardised dB to logits, and has ``statistics`` and ``legend``.
        tiles: hundredths of dB, :data:`.NO_DATA` where there is none.
        flips: average those of the four mirrored ways to look at a tile.

    Raises:
        Alos2TutError: a segmenter that cannot work on such tiles, or gives no logits of its classes.
    """
    x, _ = standardize(tiles, segmenter.statistics)
    mirrored: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3)) if flips else ((),)
    shares = [_probabilities(segmenter, x.flip(axes)).flip(axes) for axes in mirrored]
    return shares[0] if len(shares) == 1 else torch.stack(shares).mean(dim=0)


def _probabilities(model: Any, x: Tensor) -> Tensor:
    classes = len(model.legend)
    try:
        logits: Tensor = model(x)
    except RuntimeError as error:
        problem = f"cannot work on tiles {tuple(x.shape)} on {x.device} ({str(error).splitlines()[0]})"
        remedy = "If memory is short, take a smaller batch_size."
        raise Alos2TutError(problem, where="segmenter", remedy=remedy) from error
    if logits.shape != (len(x), classes, *x.shape[2:]):
        problem = f"makes {tuple(logits.shape)} of {tuple(x.shape)}, not logits of {classes} classes for every pixel"
        raise Alos2TutError(problem, where="segmenter")
    return logits.float().softmax(dim=1)
