"""A segmenter: an encoder with its decoder, and what belongs to using it."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..core.errors import Alos2TutError, warn
from ..core.public import public
from ..core.validation import is_count
from ..dataset.encoding import NO_DATA, Statistics, encode_db
from ..dataset.legend import IGNORE, Legend
from .decoders import DECODERS, at_pixels
from .encoders import Encoder, by_channel, destandardize
from .multiscale import WINDOWS_PX, window_statistics
from .tiling import TileGrid, blended_rows, tile_probabilities

#: what the logarithm of the coefficient of variation is standardised by: log 1/√3, of three looks on even ground, and
#: about what one look, or nine, are away from that; windows that are more even than the last one says count as it
_LOG_CV_MEAN, _LOG_CV_STD, _LEAST_VARIATION = -0.55, 0.55, -3.0
#: no backscatter is stronger or weaker than so many dB: a larger number is none
_MOST_DB = 200.0


class Segmenter(nn.Module):
    """An encoder with its decoder, and what belongs to using it.

    Args:
        encoder: reads standardised dB.
        legend: names the classes.
        statistics: what its input is standardised by.
        signal: quantity, polarizations and spacing_m of what it is trained on.
        decoder: ``paper``, ``refined``, ``linear`` or ``pixel``; see :mod:`alos2tut.networks.decoders`.
        width: the decoder's channels.
        dropout: the decoder's rate.
    """

    def __init__(
        self,
        encoder: Encoder,
        legend: Legend,
        statistics: Statistics,
        signal: dict[str, Any],
        *,
        decoder: str = "paper",
        width: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder, self.legend, self.statistics, self.signal = encoder, legend, statistics, signal
        self.header: dict[str, Any] = {}
        self.decoder_kind = decoder
        self.decoder = DECODERS[decoder](encoder, len(legend), width, dropout)

    @property
    def image_px(self) -> tuple[int, int]:
        """(height, width) of its input."""
        return self.encoder.image_px

    def forward(self, x: Tensor, pixels: Tensor | None = None) -> Tensor:
        """Logits of each class.

        Args:
            x: (B, C, H, W) standardised dB.
            pixels: (B, N) int64 places, row · W + column, that alone are asked for; None: all.

        Returns:
            (B, classes, H, W), or (B, classes, N, 1) of those pixels.
        """
        return self.decode(*self.seen(x), pixels)

    def seen(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the decoder is given of an image: the encoder's maps, and the image or its statistics."""
        return self.decoder.maps(self.encoder, x), self.image_statistics(x) if self.decoder.by_pixel else x

    def decode(self, maps: list[Tensor], beside: Tensor, pixels: Tensor | None = None) -> Tensor:
        """Logits, as of :meth:`forward`, of what was :meth:`seen`."""
        arranged = self.decoder.arranged(maps)
        if pixels is not None and self.decoder.by_pixel:
            logits: Tensor = self.decoder(arranged, beside, pixels)
            return logits
        logits = self.decoder(arranged, beside)
        return logits if pixels is None else at_pixels(logits, pixels)

    def image_statistics(self, x: Tensor) -> Tensor:
        """Mean power and its variation in windows of ``WINDOWS_PX`` around each pixel, as a network takes them.

        Computed from what the network is given, so that they need no file, no list and no other input on a map. There
        it is not known where data are missing: such a pixel, which standardising made the mean, counts as that. The
        windows end at the image's edge.

        Args:
            x: (B, C, H, W) standardised dB.

        Returns:
            (B, C · 2 · windows, H, W) float32: mean power in dB, standardised as the input is; and the logarithm of
            the coefficient of variation, by fixed numbers.
        """
        power = torch.pow(10.0, destandardize(x.to(torch.float32), self.statistics) / 10)
        mean_db, log_cv, _ = window_statistics(power, torch.ones_like(power, dtype=torch.bool), WINDOWS_PX)
        mean, std = (by_channel(values, x).unsqueeze(2) for values in (self.statistics.mean_db, self.statistics.std_db))
        variation = ((log_cv - _LOG_CV_MEAN) / _LOG_CV_STD).clamp(min=_LEAST_VARIATION)
        return torch.cat([(mean_db - mean) / std, variation], dim=2).flatten(1, 2)

    def freeze(self) -> None:
        """Let the encoder be as it is: no gradient, and no stochastic depth."""
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Segmenter:
        """Training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def __repr__(self) -> str:
        weights = sum(parameter.numel() for parameter in self.parameters()) / 1e6
        return (
            f"<Segmenter {self.legend.name} ({len(self.legend)} classes): {self.decoder_kind} decoder, "
            f"{weights:.1f} M weights, on {self.encoder!r}>"
        )

    @overload
    def predict(
        self,
        db: ArrayLike,
        *,
        probabilities: Literal[False] = ...,
        overlap_px: int | None = ...,
        batch_size: int = ...,
        flips: bool = ...,
    ) -> NDArray[np.uint8]: ...
    @overload
    def predict(
        self,
        db: ArrayLike,
        *,
        probabilities: Literal[True],
        overlap_px: int | None = ...,
        batch_size: int = ...,
        flips: bool = ...,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]: ...
    @public
    def predict(
        self,
        db: ArrayLike,
        *,
        probabilities: bool = False,
        overlap_px: int | None = None,
        batch_size: int = 8,
        flips: bool = False,
    ) -> Any:
        """Classes of an image of any size, as :func:`alos2tut.map_scene` would map it: by tiles that overlap.

        Nobody can see in an array what it is: its quantity, polarisations and pixel size must be those of ``signal``.

        Args:
            db: backscatter in dB, (H, W), or (C, H, W) of several channels; a pixel that is NaN or infinite in any
                channel has no data.
            probabilities: return the probability of each class, too.
            overlap_px: pixels that neighbouring tiles share; None: a quarter of a tile.
            batch_size: tiles at work at once; on a CPU several forward passes share them out, each of one at least.
            flips: average over the four mirrored ways to look at each tile.

        Returns:
            (H, W) uint8 class indices of ``legend``, 255 where there is no data; with ``probabilities`` also
            (classes, H, W) float32, which sum to 1, NaN where there is no data.

        Raises:
            Alos2TutError: an array of another form, without pixels, or of numbers that are no dB; a network that
                gives no numbers; an overlap of more than seven eighths of a tile.
        """
        from .inference import device_of, evaluating  # which loads segmenters

        if not is_count(batch_size):
            raise Alos2TutError(f"batch_size={batch_size!r} is not a whole number of at least 1", where="predict")
        steps = self._stored(db)
        grid = TileGrid.of((steps.shape[1], steps.shape[2]), self.image_px, overlap_px)
        height, known = grid.tile_px[0], steps[0] != NO_DATA
        padded = np.full((len(steps), max(grid.shape[0], height), grid.padded_width), NO_DATA, dtype=np.int16)
        padded[:, : grid.shape[0], : grid.shape[1]] = steps
        classes = np.full(grid.shape, IGNORE, dtype=np.uint8)
        shares = np.full((len(self.legend), *grid.shape) if probabilities else 0, np.nan, dtype=np.float32)
        with evaluating(self), torch.inference_mode():
            for row, share, _ in blended_rows(
                lambda tiles: tile_probabilities(self, tiles, flips=flips),
                (padded[:, top : top + height] for top in grid.tops),
                grid,
                (0, len(grid.tops)),
                classes=len(self.legend),
                batch_size=batch_size,
                device=device_of(self),
            ):
                lines = slice(*grid.finished(row))
                if not bool(torch.isfinite(share).all()):
                    remedy = "Its training broke down: repeat it."
                    raise Alos2TutError("gives NaN or infinity", where="segmenter", remedy=remedy)
                classes[lines] = share.argmax(dim=0).to(torch.uint8).cpu().numpy()
                if probabilities:
                    shares[:, lines] = share.cpu().numpy()
        classes[~known] = IGNORE
        if not probabilities:
            return classes
        shares[:, ~known] = np.nan
        return classes, shares

    def _stored(self, db: ArrayLike) -> NDArray[np.int16]:
        """An image (C, H, W) as it is stored, no data in all channels where one has none; what is no dB is refused."""
        values, channels = np.asarray(db), self.encoder.in_channels
        if values.dtype.kind not in "fiu" or not values.size:
            problem = f"an array {values.shape} of {values.dtype} holds no backscatter"
            raise Alos2TutError(problem, where="db", remedy="Give dB as product.read_db reads it.")
        image = values[None] if values.ndim == 2 else values
        if image.ndim != 3 or len(image) != channels:
            wanted = "(H, W) or (1, H, W)" if channels == 1 else f"({channels}, H, W)"
            names = ", ".join(self.signal["polarizations"])
            problem = f"an array {values.shape} is no image {wanted} of {names}"
            raise Alos2TutError(problem, where="db", remedy="Read the polarisations that the segmenter was trained on.")
        known = np.isfinite(image).all(axis=0)
        level = image[:, known]
        if level.size and (most := float(np.abs(level).max())) > _MOST_DB:
            problem = f"holds {most:g}, which is no backscatter in dB"
            remedy = "Of stored integers alos2tut.dataset.encoding.decode_db makes dB; mark missing pixels by NaN."
            raise Alos2TutError(problem, where="db", remedy=remedy)
        if level.size and level.min() >= 0 and max(self.statistics.mean_db) < 0:
            warn("db: no value is below 0 dB, as in linear power; the segmenter reads dB.")
        return encode_db(np.where(known, image, np.nan).astype(np.float32))
