"""What others' frameworks take: an encoder as timm's feature extractors are, patches as torchgeo's samples are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..dataset.store import Split
from .encoders import Encoder, SwinEncoder


class FeatureExtractor(nn.Module):
    """An encoder as ``timm.create_model(…, features_only=True)`` gives one, for decoders and detectors of others.

    ``feature_info.channels()`` and ``feature_info.reduction()`` tell how wide the maps are, and how many pixels of the
    image make one of theirs. A Swin's are those before patch merging, as in timm; a ViT's four, after each quarter of
    its blocks, are all of one size.

    Args:
        encoder: standardised dB in; its weights are shared, not copied.
        out_indices: which of the four maps, finest first.
    """

    def __init__(self, encoder: Encoder, out_indices: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.encoder = encoder
        config, is_swin = encoder.config, isinstance(encoder, SwinEncoder)
        factors = [2**stage if is_swin else 1 for stage in range(4)]
        info = [
            {"num_chs": config.embed_dim * n, "reduction": config.patch_size * n, "module": f"stage.{stage}"}
            for stage, n in enumerate(factors)
        ]
        self.feature_info = FeatureInfo(info, tuple(out_indices))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Standardised dB (B, C, H, W) → maps (B, channels, H/reduction, W/reduction)."""
        encoder: Any = self.encoder
        maps = encoder.features(x, merged=False) if isinstance(encoder, SwinEncoder) else encoder.features(x)
        return [maps[index] for index in self.feature_info.out_indices]


class PatchSamples(Dataset[dict[str, Any]]):
    """A list of patches as torchgeo's datasets give samples, for its transforms and trainers.

    A sample holds ``image`` (C, H, W) float32, standardised dB; ``mask`` (H, W) int64, 255 where nothing counts; and,
    where patches lie on a map, ``bounds`` (left, bottom, right, top) float64 in ``crs``, a text.

    Args:
        split: of :meth:`alos2tut.dataset.PatchDataset.split`.
    """

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, mask = self.split[index]
        sample: dict[str, Any] = {"image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}
        if (place := self.split.bounds(index)) is not None:
            sample |= {"bounds": torch.tensor(place[0], dtype=torch.float64), "crs": place[1]}
        return sample
