"""Settings of a dataset."""

from __future__ import annotations

from datetime import date
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ..core.config import CText, PathText, PathTexts, Seed, Workers, settings

#: there is no more ground than half-way around the Earth
_HALF_AROUND_M = 20_000_000

#: no raster has more rows or columns
_MOST_PX = 2**31 - 1
_TEST_FRACTION = 0.15

#: what places are told in: coordinates of a map, or columns and rows of an image that lies on none
Frame: TypeAlias = Literal["map", "image"]

_Place = Annotated[int, Field(ge=-_MOST_PX, le=_MOST_PX)]
_Metres = Annotated[float, Field(gt=0, le=1e6)]
_Degrees = Annotated[float, Field(ge=0, le=90)]


@settings
class DatasetConfig:
    """From products and a label map to patches: see :func:`alos2tut.build_dataset`."""

    #: what counts for a dataset's key only where it is set: keys are older than these settings
    KEYED_IF_SET: ClassVar[frozenset[str]] = frozenset(
        {"scale", "quantity", "sensor", "spacing_m", "no_data"}
        | {"block_px", "buffer_px", "label_offset", "label_flip", "folds", "fold", "stride_px"}
    )

    products: PathTexts = ()
    """Products: folders, their files, archives or GeoTIFFs; patterns such as ``archive/*/``; CSV tables of paths."""
    labels: PathTexts = ()
    """Label rasters (any CRS) that cover the products; folders, archives or patterns of them. Of products on no map
    (slant range, bare arrays) one raster each, in their order, of equal size; also ``.npy`` and ``.mat``."""
    label_offset: tuple[_Place, _Place] | None = None
    """On no map: row and column of the product on which the label raster's first pixel lies; None: equal sizes."""
    label_flip: Literal["rows", "cols", "both"] | None = None
    """On no map: the label raster's rows are reversed, its columns, or both."""
    legend: PathText = "japan_9"
    """A legend that comes with the package, or a YAML file."""
    work_dir: PathText = "work"
    """Folder that holds the results of all stages."""
    crs: CText | None = None
    """Coordinate system of the products, in place of one that a file lacks or states wrongly: ``EPSG:32654``."""
    scale: CText | None = None
    """Of calibrated images, where their files do not say what their numbers are: power, amplitude or db."""
    quantity: CText | None = None
    """Of calibrated images: sigma0, gamma0, beta0, or relative where the calibration is not known."""
    sensor: CText | None = None
    """Who took calibrated images, in words."""
    spacing_m: tuple[_Metres, _Metres] | None = None
    """Pixel spacing of images on no map, in metres: ``[rows, columns]``."""
    no_data: float | None = None
    """The number that stands for no data in calibrated images, where no tag says it."""
    polarization: CText | None = None
    """Channel to read, or several as ``HH,HV``, in that order; products without them are left out. None: the first
    one's only channel, else HH."""
    orbit_direction: Literal["ascending", "descending"] | None = None
    """Leave out products of the other direction, or of none that is known."""
    look_side: Literal["right", "left"] | None = None
    """Leave out products that look to the other side."""
    mode: CText | None = None
    """Leave out products of another observation mode: JAXA's code, as ``UBS``."""
    beam: CText | None = None
    """Leave out products of another beam: JAXA's name, as ``U2-8``."""
    off_nadir_deg: tuple[_Degrees, _Degrees] | None = None
    """Leave out products whose off-nadir angle lies outside, in degrees: ``[28, 35]``."""
    season: Literal["winter", "spring", "summer", "autumn"] | None = None
    """Leave out products of other months; spring is March to May, and so on."""
    dates: tuple[date, date] | None = None
    """Leave out products acquired before the first day or after the second: ``[2022-10-01, 2022-11-30]``."""
    area: tuple[float, float, float, float] | None = None
    """Leave out products that do not touch this box: west, south, east, north in degrees."""
    on_error: Literal["raise", "skip"] = "raise"
    """What to do with a product that cannot be opened or looked at: stop, or leave it out and say so."""
    workers: Workers = 0
    """Processes that work on products; 0: as many as there are cores, at most one per product."""
    looks: int = Field(default=2, ge=1, le=64)
    """Looks averaged in power: 2 makes 5 m pixels of the 2.5 m of Level 2.1."""
    patch_px: int = Field(default=256, ge=8, le=4096)
    """Side of a patch, in pixels after looks."""
    stride_px: int | None = Field(default=None, ge=1, le=4096)
    """Pixels from one patch to the next; below ``patch_px`` those to train on overlap, of which small scenes, and
    ground between that held out, so give more. Patches held out never overlap. None: ``patch_px``."""
    min_valid_fraction: float = Field(default=0.9, gt=0, le=1)
    """Patches with less valid ground than this are dropped."""
    min_labelled_fraction: float = Field(default=0.5, ge=0, le=1)
    """Patches of the labelled lists need at least this share of labelled pixels."""
    max_class_share: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Drop patches in which a class has more than this share of the pixels, for example ``{forest: 0.9}``."""
    points: int | None = Field(default=None, ge=1, le=2**53)
    """Keep only patches that contain one of so many points, which are drawn class by class; None: keep all."""
    temperature: float = Field(default=1.0, ge=1, allow_inf_nan=True)
    """Points per class follow the classes' shares to the power 1/temperature: 1 as they are, ``.inf`` all alike."""
    block_m: float = Field(default=10_000.0, ge=1, le=_HALF_AROUND_M)
    """Side of the ground blocks that are assigned to the splits; of products on no map ``block_px`` is."""
    buffer_m: float = Field(default=1_000.0, ge=0, le=_HALF_AROUND_M)
    """Ground within this distance of validation or test ground is in no other list; see ``buffer_px``, too."""
    block_px: int | None = Field(default=None, ge=1, le=_MOST_PX)
    """On no map: side of the blocks in pixels after looks; None: two patches."""
    buffer_px: int | None = Field(default=None, ge=0, le=_MOST_PX)
    """On no map: width of the buffer in pixels after looks; None: a quarter of a patch."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """Cross-validation: so many parts of the ground, each the test ground of one dataset, by ``fold``."""
    fold: int | None = Field(default=None, ge=0, lt=100)
    """Number, from 0, of the part that is tested on; validation is ``val_fraction`` of the others."""
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the patches for validation."""
    test_fraction: float = Field(default=_TEST_FRACTION, gt=0, lt=1)
    """Share of the patches for the final test; not with ``folds``."""
    require_all_classes: bool = False
    """Stop, instead of warning, when a split lacks a class."""
    seed: Seed = 0
    """Equal seeds give equal results."""

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if (self.folds is None) != (self.fold is None):
            raise ValueError("folds and fold are set together: how many parts there are, and which is tested on")
        if self.folds is not None and self.fold is not None:
            if self.fold >= self.folds:
                raise ValueError(f"fold={self.fold} is none of folds={self.folds}, which are numbered from 0")
            if self.test_fraction != _TEST_FRACTION:
                raise ValueError(f"test_fraction says nothing beside folds={self.folds}: leave it out")
        return self

    @model_validator(mode="after")
    def _check_stride(self) -> Self:
        if self.stride_px is not None and self.patch_px % self.stride_px:
            raise ValueError(f"stride_px={self.stride_px} does not divide patch_px={self.patch_px}")
        return self

    def blocks(self, frame: Frame) -> tuple[float, float]:
        """Side of the blocks of ground and width of the buffer: on a map in metres, else in pixels after looks."""
        if frame == "map":
            return self.block_m, self.buffer_m
        block_px = 2 * self.patch_px if self.block_px is None else self.block_px
        return block_px, self.patch_px // 4 if self.buffer_px is None else self.buffer_px
