"""What is known of a product: identity, place, times, view, calibration; not its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from affine import Affine
from rasterio.crs import CRS

from .. import geometry
from ..core.errors import Alos2TutError, closest
from .rasters import LONLAT, reprojected
from .reading import Band, Layer, SlantRangeIncidence
from .satellites import owner_of

POLARIZATIONS = ("HH", "HV", "VH", "VV")
#: backscatter per area of ground, across the beam or along the slant range; or of no known reference
QUANTITIES = ("sigma0", "gamma0", "beta0", "relative")
#: tags of a raster that lies on no map, as :attr:`ImageGrid.tags` writes them
_FRAME, _IMAGE_SHAPE, _IMAGE_PIXELS, _SPACING = "FRAME", "IMAGE_SHAPE", "IMAGE_PIXELS", "SPACING_M"
IMAGE_TAGS = (_FRAME, _IMAGE_SHAPE, _IMAGE_PIXELS, _SPACING)


def named_polarizations(text: str) -> tuple[str, ...]:
    """The polarisations that a setting names, as ``HH`` or ``HH,HV``, in its order, which is that of channels.

    Raises:
        Alos2TutError: an unknown name, or one that is named twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in POLARIZATIONS:
            raise Alos2TutError(
                f"unknown polarisation '{name}'", where="polarization", remedy=closest(name, POLARIZATIONS)
            )
        if names.count(name) > 1:
            raise Alos2TutError(f"'{text}' names {name} twice", where="polarization", remedy="Name each one once.")
    return names


@dataclass(frozen=True)
class MapGrid:
    """Where pixels lie on a map: pixel corners (column, row) → ``transform`` → coordinates in ``crs``."""

    crs: CRS
    transform: Affine

    def spacing_m(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Pixel spacing in metres, (rows, columns); where the unit is degrees, in the middle of so many pixels."""
        t = self.transform
        dx, dy = math.hypot(t.a, t.d), math.hypot(t.b, t.e)
        if not self.crs.is_geographic:
            metres = self.crs.linear_units_factor[1] if self.crs.is_projected else 1.0
            return dy * metres, dx * metres
        latitude = (t * (shape[1] / 2, shape[0] / 2))[1]
        per_degree = geometry.metres_per_degree(latitude)
        return dy * per_degree[0], dx * per_degree[1]


@dataclass(frozen=True)
class ImageGrid:
    """Where pixels lie in an image that lies on no map: coordinates are columns and rows of the image.

    Attributes:
        shape: rows and columns of the image.
        pixels: of the image along a side of one of ours, (rows, columns).
        pixel_m: metres of one of ours, (rows, columns); None where nobody knows.
    """

    shape: tuple[int, int]
    pixels: tuple[float, float]
    pixel_m: tuple[float, float] | None

    @property
    def crs(self) -> None:
        """There is none."""
        return None

    @property
    def transform(self) -> Affine:
        """From (column, row), pixel corners, to column and row of the image."""
        return Affine.scale(self.pixels[1], self.pixels[0])

    def spacing_m(self, _shape: tuple[int, int]) -> tuple[float, float]:
        """As :meth:`MapGrid.spacing_m`; NaN where nobody knows."""
        return self.pixel_m or (math.nan, math.nan)

    @property
    def tags(self) -> dict[str, str]:
        """What a raster on this grid says of it, since a TIFF without a coordinate system cannot."""
        return {
            _FRAME: "image",
            _IMAGE_SHAPE: _by(self.shape),
            _IMAGE_PIXELS: _by(self.pixels),
            _SPACING: _by(self.pixel_m) if self.pixel_m else "unknown",
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], where: Path) -> ImageGrid:
        """The grid that :attr:`tags` tell of.

        Raises:
            Alos2TutError: tags that tell of none.
        """
        try:
            spacing = None if tags[_SPACING] == "unknown" else _sides(tags[_SPACING])
            rows, cols = _sides(tags[_IMAGE_SHAPE])
            return cls((int(rows), int(cols)), _sides(tags[_IMAGE_PIXELS]), spacing)
        except (KeyError, ValueError, OverflowError):
            raise Alos2TutError("has no place on Earth: it is no map", where=where) from None


def _by(sides: tuple[float, float]) -> str:
    return " x ".join(repr(float(side)).removesuffix(".0") for side in sides)


def _sides(text: str) -> tuple[float, float]:
    rows, cols = map(float, text.split(" x "))
    if not 0 < min(rows, cols) <= max(rows, cols) < math.inf:
        raise ValueError(text)
    return rows, cols


def data_source(sensor: str | None, simulated: bool) -> str:
    """What :attr:`.Metadata.source` says."""
    if simulated:
        return "simulated"
    return ", ".join(text for text in (sensor, owner_of(sensor)) if text) or "unknown sensor"


@dataclass(frozen=True, repr=False, eq=False)
class Metadata:
    """What is known of a product; :class:`.Product` explains the attributes."""

    path: Path
    kind: str
    level: str
    shape: tuple[int, int]
    grid: MapGrid | None
    polarizations: tuple[str, ...]
    quantity: str
    calibration_factor_db: float
    calibration_source: str
    files: tuple[Path, ...]
    bands: Mapping[str, Band] = field(repr=False)
    layers: Mapping[str, Layer] = field(default_factory=dict)
    no_data_dn: tuple[int, ...] = (0,)
    default_polarization: str | None = None
    scene_id: str | None = None
    product_id: str | None = None
    mode: str | None = None
    beam: str | None = None
    look_side: str | None = None
    orbit_direction: str | None = None
    orbit: int | None = None
    frame: int | None = None
    scan: int | None = None
    scans: tuple[int, ...] = ()
    acquired: str | None = None
    started: str | None = None
    ended: str | None = None
    processed: str | None = None
    incidence_deg: float | None = None
    off_nadir_deg: float | None = None
    slant_range_incidence: SlantRangeIncidence | None = field(default=None, repr=False)
    looks: tuple[float, float] | None = None
    resolution_m: tuple[float, float] | None = None
    noise_floor_db: Mapping[str, float] = field(default_factory=dict)
    stated_spacing_m: tuple[float, float] | None = None
    stated_footprint: tuple[tuple[float, float], ...] = ()
    software: str | None = None
    simulated: bool = False
    sensor: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    gaps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()

    def check_one_scene(self) -> None:
        """Refuse to make anything of files that belong to different scenes; to open them warns.

        Raises:
            Alos2TutError: it tells which statements contradict each other.
        """
        if self.contradictions:
            problem = f"its files belong to different scenes: {'; '.join(self.contradictions)}"
            raise Alos2TutError(
                problem, where=self.path, remedy="Download it again, whole; `alos2tut verify` shows more."
            )

    # --- place

    @property
    def coordinate_frame(self) -> Literal["map", "image"]:
        """Whether pixels lie on a map, or have no place but their own rows and columns."""
        return "image" if self.grid is None else "map"

    @property
    def crs(self) -> CRS:
        """The coordinate system of the map grid; an error in slant range."""
        return self._map_grid().crs

    @property
    def transform(self) -> Affine:
        """From (column, row), pixel corners, to map coordinates; an error in slant range."""
        return self._map_grid().transform

    def _map_grid(self) -> MapGrid:
        if self.grid is None:
            problem, remedy = "states no map", "Project it with SAR software first."
            if self.level != "image":
                problem = f"lies in slant range (Level {self.level})"
                remedy = "Order the scene as Level 2.1, or project it with SAR software first."
            raise Alos2TutError(f"{problem}: its pixels have no place on a map", where=self.path, remedy=remedy)
        return self.grid

    @property
    def spacing_m(self) -> tuple[float, float]:
        """Pixel spacing in metres, (rows, columns), also where the map's unit is another.

        For geographic coordinates at the centre of the product; in slant range along track × slant range.
        """
        if self.grid is None:
            return self.stated_spacing_m or (math.nan, math.nan)
        return self._map_grid().spacing_m(self.shape)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of all four corners, in the product's CRS."""
        xs, ys = zip(*self._corners(), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def _corners(self) -> list[tuple[float, float]]:
        """Outer corners of the raster in its CRS: top left, top right, bottom right, bottom left."""
        height, width = self.shape
        return [self.transform * corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]

    @property
    def footprint(self) -> tuple[tuple[float, float], ...]:
        """Corners of the imaged ground as (longitude, latitude), in order around it.

        As the product states them; where it does not, those of the raster, whose margins may hold no data. Empty
        in slant range without stated corners, or where the coordinate system leads to no place on Earth.
        """
        if self.stated_footprint or self.grid is None:
            return self.stated_footprint
        return geometry.on_earth(reprojected(self._corners(), self.crs, LONLAT))

    @property
    def incidence_source(self) -> str | None:
        """Where :meth:`read_incidence` takes angles from; "scene centre" if only that one angle is known."""
        if "local_incidence" in self.layers:
            return "delivered layer (local, with terrain)"
        if self.slant_range_incidence is not None:
            return "slant range of the lines (smooth Earth)"
        return None if self.incidence_deg is None else "scene centre"

    @property
    def conversion_source(self) -> str | None:
        """What turns σ⁰ and γ⁰ into each other, in words; None if nothing does."""
        if "gamma0_to_sigma0" in self.layers:
            return "delivered factor of each pixel (with terrain)"
        return None if self.incidence_source is None else f"incidence: {self.incidence_source}"

    # --- what it is

    @property
    def name(self) -> str:
        """The name of the image that is read when no polarisation is named."""
        return self.image_name()

    def image_name(self, polarization: str | None = None) -> str:
        """What the image of a polarisation is called, and patches of it begin with.

        As JAXA has it: ``IMG-HV-<scene>-<product>``, with ``-F1`` for a scan, or ``<scene>_<product>_HV_SLP`` for
        Level 2.2. Shorter than that ``N23W161_20_HV`` for a tile of the mosaic, ``N23W161_20_forest`` for one of the
        forest map. Other images have their file's or folder's name, and the polarisation: ``scene_VV``; ``HV.tif`` has
        that of its folder.
        """
        polarization = self.choose_polarization(polarization) if self.polarizations else next(iter(self.layers), "")
        if self.product_id and self.level == "2.2":
            return f"{self.scene_id}_{self.product_id}_{polarization}_SLP"
        if self.product_id:
            return f"IMG-{polarization}-{self.scene_id}-{self.product_id}"
        path = self.path.absolute()
        # a file that is called by its polarisation alone is one of its folder
        stem = self.scene_id or (path.parent.name if path.stem in POLARIZATIONS else path.stem)
        return stem if stem.endswith(f"_{polarization}") else f"{stem}_{polarization}"

    def choose_polarization(self, wanted: str | None = None) -> str:
        """The polarisation that is read: ``wanted``, or which one it is where none is named.

        That of the image file by which the product was opened, else the only one, else HH, else VV, else the first
        of ``polarizations``.

        Raises:
            Alos2TutError: one that the product does not hold.
        """
        if wanted is None and self.default_polarization is not None:
            return self.default_polarization
        if not self.polarizations:
            raise Alos2TutError("holds no backscatter images", where=self.path, remedy=self._layer_advice())
        if wanted is None:
            return next((name for name in ("HH", "VV") if name in self.polarizations), self.polarizations[0])
        if wanted not in self.polarizations:
            raise Alos2TutError(
                f"has no polarisation '{wanted}'", where=self.path, remedy=f"It holds {', '.join(self.polarizations)}."
            )
        return wanted

    def choose_polarizations(self, wanted: str | None = None) -> tuple[str, ...]:
        """The polarisations that are read together, in the order in which ``wanted`` names them, as "HH,HV".

        Raises:
            Alos2TutError: as :func:`named_polarizations` and :meth:`choose_polarization`.
        """
        names = (None,) if wanted is None else named_polarizations(wanted)
        return tuple(map(self.choose_polarization, names))

    def _layer_advice(self, wanted: str = "") -> str:
        if not self.layers:
            return "It comes without layers."
        return closest(wanted, self.layers) if wanted else f"It holds the layers {', '.join(self.layers)}."

    def to_dict(self) -> dict[str, Any]:
        """Everything known about the product as plain values, ready for JSON; None for what is not known.

        That is also quantity and calibration of a product that holds no images.
        """
        calibration = ("quantity", "calibration_factor_db", "calibration_source")
        plain: tuple[str, ...] = ("kind", "level", *calibration, "scene_id", "product_id")
        plain += ("mode", "beam", "look_side", "orbit_direction", "orbit", "frame", "scan", "acquired", "started")
        plain += ("ended", "processed", "incidence_deg", "incidence_source", "off_nadir_deg", "software", "simulated")
        plain += ("sensor",)
        lists = ("shape", "polarizations", "looks", "resolution_m", "no_data_dn", "scans", "gaps", "notes")
        grid: dict[str, Any] = {"crs": None, "transform": None, "bounds": None}
        if self.grid is not None:
            grid = {"crs": self.crs.to_string(), "transform": list(self.transform)[:6], "bounds": list(self.bounds)}
        return {
            "path": str(self.path),
            **{name: getattr(self, name) for name in plain},
            **({} if self.polarizations else dict.fromkeys(calibration)),
            **{name: None if (value := getattr(self, name)) is None else list(value) for name in lists},
            "spacing_m": None if math.isnan(self.spacing_m[0]) else list(self.spacing_m),
            **grid,
            "footprint_lonlat": [list(corner) for corner in self.footprint],
            "noise_floor_db": dict(self.noise_floor_db),
            "layers": {name: layer.to_dict() for name, layer in self.layers.items()},
            "files": [file.name for file in self.files],
        }

    @property
    def source(self) -> str:
        """Whose pixels they are, as files made of them say: "simulated", or the sensor, with JAXA's right to its."""
        return data_source(self.sensor, self.simulated)

    def __repr__(self) -> str:
        rows, cols = self.shape
        place = "no map" if self.grid is None else self.crs.to_string()
        dy, dx = self.spacing_m
        spacing = "" if math.isnan(dy) else f" of {dy:.4g} × {dx:.4g} m"
        return (
            f"<Product {self.name}: {self.kind}, level {self.level}, {'+'.join(self.polarizations) or 'no images'}, "
            f"{rows} × {cols} px{spacing}, {place}>"
        )

    # --- other quantities

    def is_converted(self, quantity: str | None) -> bool:
        """Whether reading this quantity converts: it is another than the product's (None: its own).

        Raises:
            Alos2TutError: no quantity, or one to which no incidence angle leads.
        """
        if quantity is None or quantity == self.quantity:
            return False
        self.choose_polarization()  # without images there is nothing to convert
        if quantity not in QUANTITIES:
            raise Alos2TutError(
                f"unknown quantity '{quantity}'", where="quantity", remedy=closest(quantity, QUANTITIES)
            )
        if not {quantity, self.quantity} <= {"sigma0", "gamma0"}:
            raise Alos2TutError(
                f"cannot turn {self.quantity} into {quantity}: only sigma0 and gamma0 are turned into each other",
                where=self.path,
                remedy=f"Read {self.quantity}.",
            )
        if self.conversion_source is None:
            raise Alos2TutError(
                f"cannot turn {self.quantity} into {quantity}: no incidence angle is known",
                where=self.path,
                remedy=f"Read {self.quantity}.",
            )
        return True

    def describe_conversion(self) -> str:
        """What another quantity is made from, and how far that is off where one angle stands for all."""
        text = f"from {self.quantity} by {self.conversion_source}"
        if self.incidence_source != "scene centre":
            return text
        error_db = self._error_of_one_angle_db()
        size = f"about ±{max(error_db, 0.01):.2f} dB at the edges of the swath"
        return f"{text} {self.incidence_deg:.2f}°, off by {'an unknown amount' if math.isnan(error_db) else size}"

    def _error_of_one_angle_db(self) -> float:
        """How much cos θ changes from the scene's centre to its edges on flat ground, in dB, to first order.

        Half the width w is seen under an angle of w · cos θ / R, R the slant range. NaN for a single scan of ScanSAR,
        which is not at the scene's centre.
        """
        if self.scan is not None or self.incidence_deg is None:
            return math.nan
        theta, half_m = math.radians(self.incidence_deg), self.shape[1] * self.spacing_m[1] / 2
        if self.grid is None:
            half_m /= math.sin(theta)
        slant_range_m = geometry.ORBIT_HEIGHT_M / math.cos(theta)
        return 10 / math.log(10) * math.tan(theta) * half_m * math.cos(theta) / slant_range_m
