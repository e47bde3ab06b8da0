"""What is known of simulated scenes without their files."""

import functools
import json
from pathlib import Path

import numpy as np

from alos2tut.simulation import landcover


@functools.cache
def surfaces_of(scene: Path) -> np.ndarray:
    """The surface at every pixel's centre, from the ground's own description."""
    facts = json.loads((scene / "simulation.json").read_text())
    height, width = facts["size_px"]
    x_m = np.broadcast_to((np.arange(width) + 0.5) * 2.5, (height, width))
    y_m = np.broadcast_to(((height - np.arange(height)) - 0.5)[:, None] * 2.5, (height, width))
    return landcover.LandCover(facts["seed"], height * 2.5, width * 2.5).surfaces(x_m, y_m).surface
