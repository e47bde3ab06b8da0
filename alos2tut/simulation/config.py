"""Settings of the simulated product."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..core.config import PathText, settings

_Longitude = Annotated[float, Field(ge=-180, le=180)]
_Latitude = Annotated[float, Field(ge=-80, le=84)]


@settings
class SimulateConfig:
    """The simulated product: see :func:`alos2tut.simulate_product`."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Equal seeds give equal results."""
    size_px: int | tuple[int, int] = 4096
    """Rows and columns at 2.5 m (one number: a square)."""
    season: Literal["autumn", "winter", "spring", "summer"] = "autumn"
    """When the scene is seen; the ground is the same."""
    corner: tuple[_Longitude, _Latitude] | None = None
    """Longitude and latitude of its south-west corner; None: by Sagami Bay."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
