"""Settings of maps."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ..core.config import Count, CText, PathText, PathTexts, settings

_Place = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_Metres = Annotated[float, Field(gt=0, le=1e6)]


@settings
class MapConfig:
    """A whole product to a map: see :func:`alos2tut.map_scene`."""

    #: what counts for an artifact's key only where it is not the default: keys are older than these settings
    KEYED_IF_SET: ClassVar[frozenset[str]] = frozenset(
        {"polarization", "convert", "label_offset", "label_flip", "scale", "quantity", "sensor", "spacing_m", "no_data"}
    )

    polarization: CText | None = None
    """Channel to read, or several as HH,HV; None: what the segmenter was trained on."""
    scale: CText | None = None
    """Of a calibrated image's numbers: power, amplitude or db. Where a product is given by its path, this and the next
    four tell what its files do not."""
    quantity: CText | None = None
    """Of a calibrated image: sigma0, gamma0, beta0 or relative."""
    sensor: CText | None = None
    """Who took a calibrated image, in words."""
    spacing_m: tuple[_Metres, _Metres] | None = None
    """Pixel size of an image on no map, metres: rows, columns."""
    no_data: float | None = None
    """Of a calibrated image: the number that stands for no data."""
    overlap_px: int | None = Field(default=None, ge=0, le=2**14)
    """Pixels that neighbouring tiles share; None: a quarter of the tile."""
    batch_size: Count = 8
    """Tiles at work at once; on a CPU several forward passes share them out, each of one at least."""
    flips: bool = False
    """Average over each tile and its three mirror images, which takes four times as long."""
    probability: bool = False
    """Write the probability of the mapped class, too: uint8 in steps of 1/250, 255 for no data."""
    entropy: bool = False
    """Write the entropy of the class probabilities, too, alike: from 0 (sure) to 1 (all alike)."""
    convert: bool = False
    """Convert another quantity than that trained on by incidence angles, and average power over areas where no number
    of looks leads to the pixel size trained on."""
    allow_other_signal: bool = False
    """Warn, instead of stopping, when the segmenter was trained on another quantity or polarisation, or when nobody
    knows a pixel size."""
    labels: PathTexts = ()
    """Label rasters to compare the map with, or folders of them."""
    label_offset: tuple[_Place, _Place] | None = None
    """On images that lie on no map: row and column of the label raster's first pixel; None: both are of one size."""
    label_flip: Literal["rows", "cols", "both"] | None = None
    """There, too: the label raster's rows are reversed, its columns, or both."""
    preview: bool = True
    """Draw a picture with legend, scale bar and north."""
    overwrite: bool = False
    """Replace files that are of something else; what belongs to an older map and is not asked for goes."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
