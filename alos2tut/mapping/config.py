"""Settings of maps."""

from __future__ import annotations

from pydantic import Field
from pydantic.dataclasses import dataclass

from ..core.config import CHECKED, PathText


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class MapConfig:
    """A whole product to a map: see :func:`alos2tut.map_scene`."""

    overlap_px: int | None = Field(default=None, ge=0)
    """Pixels that neighbouring tiles share; None: a quarter of the tile."""
    batch_size: int = Field(default=8, ge=1)
    """Tiles, at most, per forward pass."""
    flips: bool = False
    """Average over each tile and its three mirror images."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
