"""One ALOS-2 product: what it is, where it lies, and its pixels on request, calibrated.

:func:`alos2tut.open_product` makes a :class:`Product` of whatever JAXA delivers. Nothing here knows the packaging:
pixels come from bands, each of which reads strips of lines.
"""

from __future__ import annotations

import base64
import html
import math
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from .. import geometry, radiometry
from ..core import validation
from ..core.artifacts import fingerprint
from ..core.errors import Alos2TutError, closest, warn
from ..core.progress import progress_bar
from .rasters import LONLAT, RasterBand, reprojected, write_cog

if TYPE_CHECKING:
    import xarray

POLARIZATIONS = ("HH", "HV", "VH", "VV")
#: what pixels can be read as: dB and power are calibrated, DN (amplitude) is as delivered
SCALES = ("db", "power", "dn")
WindowLike: TypeAlias = Window | tuple[int, int, int, int]
FloatArray: TypeAlias = NDArray[np.float32]
#: factors of the pixels at these rows and columns, (rows, columns)
Weigh: TypeAlias = Callable[[slice, slice], FloatArray]
T = TypeVar("T")

#: pixels along a side of a block at most: a row of blocks is held in memory
MOST_LOOKS = 1024
#: full-resolution pixels that are worked on at once: few enough to stay in a core's cache
_STRIP_PX = 2**18
#: pixels of a block that :meth:`Product.blocks` gives, unless its rows are asked for
_BLOCK_PX = 2**22
#: rows per block of a GeoTIFF that is written
_COG_ROWS = 512
#: pixels between those at which incidence is computed
_NODE_PX = 64
#: units of layers that are more than a factor
_DEGREE, _DAYS = "degree", "days since 2014-05-24"
#: from this local incidence angle on a slope is not seen by the radar
_GRAZING_DEG = 90


class Band(Protocol):
    """Pixels of one image file."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, byte order included."""

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """A window in strips of at most ``step`` rows; each may lie in a buffer that the next one overwrites."""


class SlantRanges(Protocol):
    """Distance from radar to ground, as the lines of an image state it."""

    def slant_range_m(self, rows: slice, cols: NDArray[np.int64]) -> NDArray[np.float64]:
        """Metres at these column numbers of consecutive lines, (rows, columns)."""


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
class Layer:
    """A raster that is delivered beside the images; its values are ``scale`` × number + ``offset``."""

    band: Band = field(repr=False)
    unit: str
    scale: float = 1.0
    no_data: tuple[int, ...] = ()
    #: what a number means, where it is a code
    meaning: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SlantRangeIncidence:
    """Incidence angle on a smooth Earth from the slant ranges that the lines state (no terrain)."""

    ranges: SlantRanges = field(repr=False)
    #: the radar's distance from the Earth's centre
    radius_m: float

    def degrees(self, rows: slice, cols: slice) -> FloatArray:
        """Degrees, (rows, columns); at every 64th pixel and linear between: off by 4e-5° for pixels of 25 m."""
        nodes = np.append(np.arange(cols.start, cols.stop - 1, _NODE_PX), cols.stop - 1)
        angles = geometry.incidence_by_slant_range_deg(self.ranges.slant_range_m(rows, nodes), self.radius_m)
        if len(nodes) == 1:
            return angles.astype(np.float32)
        position = np.arange(cols.start, cols.stop)
        left = np.minimum((position - cols.start) // _NODE_PX, len(nodes) - 2)
        share = ((position - nodes[left]) / (nodes[left + 1] - nodes[left])).astype(np.float32)
        rise = np.diff(angles, axis=1).astype(np.float32)
        degrees: FloatArray = angles.astype(np.float32)[:, left] + rise[:, left] * share
        return degrees


@dataclass(frozen=True, repr=False, eq=False)
class Product:
    """One ALOS-2 product, as :func:`alos2tut.open_product` found it; equal to itself only, and hashable.

    Attributes:
        path: what was opened, as it was named: a folder, a file or an archive.
        kind: product and packaging in words.
        level: "1.1", "1.5", "2.1", "2.2", "3.1" or "mosaic".
        shape: pixels, (rows, columns).
        grid: where pixels lie on a map; None in slant range (Level 1.1).
        polarizations: of the images, as "HH"; empty where the product holds none.
        quantity: "sigma0" or "gamma0", which the calibration gives; an empty text where the product holds no images.
        calibration_factor_db: dB, added to 10·log10⟨DN²⟩ to give ``quantity``; without images it means nothing.
        calibration_source: where that factor is from, in words.
        files: the files that pixels and their meaning come from, as absolute paths, or the archive they lie in.
        bands: the images by polarisation, from which the ``read_…`` methods take pixels.
        layers: rasters that are delivered beside the images, by name, with unit and meaning.
        no_data_dn: digital numbers that stand for no data.
        default_polarization: that of the image file by which the product was opened, if it was.
        scene_id: JAXA's name of the scene, or of the tile of a mosaic.
        product_id: JAXA's name of the processing, as "UBSR2.1GUD".
        mode: JAXA's code of the observation mode, as "UBS" or "WBD".
        beam: JAXA's name of the beam, as "W3" or "F2-6".
        look_side: "right" or "left".
        orbit_direction: "ascending" or "descending".
        orbit: number of the orbit.
        frame: number of the frame along the orbit.
        scan: number of the ScanSAR scan that is read (Level 1.1); None where an image is the whole swath.
        scans: numbers of all scans that are delivered.
        acquired: ISO 8601, UTC: the centre of the scene; of a mosaic a day or a year; of Level 2.2 the middle of the
            acquisition.
        started: ISO 8601, UTC: the acquisition's beginning.
        ended: ISO 8601, UTC: the acquisition's end.
        processed: ISO 8601: when the product was made.
        incidence_deg: degrees, at the centre of the scene, also of a scan that lies elsewhere in it.
        off_nadir_deg: degrees from straight down, at the radar, of the beam; None where no file states it.
        slant_range_incidence: degrees per pixel on a smooth Earth, where the lines state slant ranges.
        looks: of the processing, (azimuth, range). The argument ``looks`` of the readers is (rows, columns) instead,
            which on a map whose north is up are not azimuth and range.
        resolution_m: metres, (azimuth, range).
        noise_floor_db: noise-equivalent σ0 in dB by polarisation, also where ``quantity`` is "gamma0".
        stated_spacing_m: metres in slant range, (along track, slant range).
        stated_footprint: corners (longitude, latitude) in degrees that the product states, in order around it.
        software: what made the product, with its version.
        simulated: whether the pixels are made up.
        browse_jpeg: gives the quick-look that is delivered, as JPEG.
        gaps: what the files do not say, in words.
        notes: what was assumed or is out of the ordinary, in words.
    """

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
    browse_jpeg: Callable[[], bytes] | None = field(default=None, repr=False)
    gaps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    # --- place

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
            raise Alos2TutError(
                f"lies in slant range (Level {self.level}): its pixels have no place on a map",
                where=self.path,
                remedy="Order the scene as Level 2.1, or project it with SAR software first.",
            )
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

    # --- what it is

    @property
    def name(self) -> str:
        """The name of the image that is read when no polarisation is named."""
        return self.image_name()

    @property
    def fingerprint(self) -> str:
        """A hash of ``files``: those that pixels and their meaning come from, or the archive they lie in.

        Of a folder of CEOS files that is without the volume directory and the trailer. See
        :func:`alos2tut.core.artifacts.fingerprint`.

        Raises:
            Alos2TutError: a file that is no longer there, or cannot be read.
        """
        try:
            return fingerprint(*self.files)
        except OSError as error:
            raise Alos2TutError(
                f"cannot be read ({error.strerror or error})",
                where=error.filename or self.path,
                remedy="If the product was moved, open it where it lies now.",
            ) from error

    def owns(self, path: str | Path) -> bool:
        """Whether a path is, or looks like, a file of the delivery, so that nothing may be written there.

        That is one of ``files``, and in a folder that holds any of them whatever has the scene's identity in its
        name, and ``summary.txt``. The file need not exist. Beside an archive only the archive itself counts.
        """
        path = Path(path).absolute()
        places = {path.parent.resolve() / path.name, path.resolve()}
        files = {place for file in self.files for place in (file.parent.resolve() / file.name, file.resolve())}
        if not places.isdisjoint(files):
            return True
        sources = (getattr(band, "source", None) for band in self._all_bands())
        if any(getattr(source, "member", None) for source in sources):
            return False
        folders = {file.parent for file in files}
        return any(place.parent in folders and self._is_named_so(place.name) for place in places)

    def _is_named_so(self, name: str) -> bool:
        # to some file systems names that differ in case are one
        name, scene = name.lower(), (self.scene_id or "").lower()
        return name == "summary.txt" or (bool(scene) and scene in name)

    def check_target(self, path: str | Path) -> None:
        """Refuse to write where a file of the product lies, or one of its name could.

        Raises:
            Alos2TutError: a path that the product :meth:`owns`.
        """
        if self.owns(path):
            raise Alos2TutError(
                "is a file of the product itself, or is named like one beside it",
                where=path,
                remedy="Name another file, or one in another folder.",
            )

    def _all_bands(self) -> tuple[Band, ...]:
        return (*self.bands.values(), *(layer.band for layer in self.layers.values()))

    def image_name(self, polarization: str | None = None) -> str:
        """What the image of a polarisation is called, and patches of it begin with.

        As JAXA has it: ``IMG-HV-<scene>-<product>``, with ``-F1`` for a scan, or ``<scene>_<product>_HV_SLP`` for
        Level 2.2. Shorter than that ``N23W161_20_HV`` for a tile of the mosaic, ``N23W161_20_forest`` for one of the
        forest map.
        """
        polarization = self.choose_polarization(polarization) if self.polarizations else next(iter(self.layers), "")
        if self.product_id and self.level == "2.2":
            return f"{self.scene_id}_{self.product_id}_{polarization}_SLP"
        if self.product_id:
            return f"IMG-{polarization}-{self.scene_id}-{self.product_id}"
        return f"{self.scene_id or self.path.name}_{polarization}"

    def to_dict(self) -> dict[str, Any]:
        """Everything known about the product as plain values, ready for JSON; None for what is not known.

        That is also quantity and calibration of a product that holds no images.
        """
        calibration = ("quantity", "calibration_factor_db", "calibration_source")
        plain: tuple[str, ...] = ("kind", "level", *calibration, "scene_id", "product_id")
        plain += ("mode", "beam", "look_side", "orbit_direction", "orbit", "frame", "scan", "acquired", "started")
        plain += ("ended", "processed", "incidence_deg", "incidence_source", "off_nadir_deg", "software", "simulated")
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
            "layers": {name: _layer_told(layer) for name, layer in self.layers.items()},
            "files": [file.name for file in self.files],
        }

    def __repr__(self) -> str:
        rows, cols = self.shape
        place = "slant range" if self.grid is None else self.crs.to_string()
        dy, dx = self.spacing_m
        spacing = "" if math.isnan(dy) else f" of {dy:.4g} × {dx:.4g} m"
        return (
            f"<Product {self.name}: {self.kind}, level {self.level}, {'+'.join(self.polarizations) or 'no images'}, "
            f"{rows} × {cols} px{spacing}, {place}>"
        )

    def _repr_html_(self) -> str:
        lines = (
            f"<tr><td style='text-align:left'>{html.escape(key)}</td>"
            f"<td style='text-align:left'>{html.escape(_shown(value))}</td></tr>"
            for key, value in self.to_dict().items()
            if key not in ("path", "files") and value not in (None, [], {})
        )
        table = f"<table><caption>{html.escape(self.name)}</caption>{''.join(lines)}</table>"
        try:
            picture = self._quicklook_html()
        except Alos2TutError as error:  # what is known of a damaged product still shows
            picture = f"<p>{html.escape(str(error))}</p>"
        return f"<div style='display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start'>{picture}{table}</div>"

    def _quicklook_html(self) -> str:
        if self.polarizations:
            mime, picture = "image/png", quicklook_png(self)
        elif self.browse_jpeg is not None:
            mime, picture = "image/jpeg", self.browse_jpeg()
        else:
            return ""
        told = html.escape(f"Quick-look of {self.name}")
        return f"<img alt='{told}' width='320' src='data:{mime};base64,{base64.b64encode(picture).decode()}'>"

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
            raise Alos2TutError("holds no backscatter images", where=self.path, remedy=self._layers_told())
        if wanted is None:
            return next((name for name in ("HH", "VV") if name in self.polarizations), self.polarizations[0])
        if wanted not in self.polarizations:
            raise Alos2TutError(
                f"has no polarisation '{wanted}'",
                where=self.path,
                remedy=f"It holds {', '.join(self.polarizations)}.",
            )
        return wanted

    # --- pixels

    def read_dn(
        self, window: WindowLike | None = None, *, polarization: str | None = None, looks: int | tuple[int, int] = 1
    ) -> FloatArray:
        """Digital numbers, amplitudes of complex ones; with looks, the root of the mean of DN² (averaged in power).

        Args:
            window: a rasterio ``Window`` or ``(row, col, height, width)`` in full-resolution pixels; None: all.
            polarization: one of ``polarizations``; None: see :meth:`choose_polarization`.
            looks: pixels per block, one number or (rows, columns), at most 1024. Blocks are anchored at the product's
                corner, and every block that the window touches is averaged whole; a block that the product's edge
                cuts averages what it has.

        Returns:
            float32 (rows, columns), NaN where there is no data (where less than half of a block has data).

        Raises:
            Alos2TutError: an unknown polarisation, a window that is empty or reaches outside the product, more looks
                than 1024, damaged pixels.
        """
        return self._read("dn", window, polarization, looks, None)

    def read_power(
        self,
        window: WindowLike | None = None,
        *,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
    ) -> FloatArray:
        """Calibrated linear power; arguments as for :meth:`read_dn`.

        ``quantity`` "sigma0" or "gamma0" other than the product's own converts pixel by pixel (γ0 = σ0 / cos θ) by
        :meth:`read_incidence`. Where only the angle at the scene's centre is known, that is used; a warning says how
        far that is off at the edges of the swath (0.12 dB for one of 70 km at 40.6°).
        """
        self.warn_of_conversion(quantity)
        return self._read("power", window, polarization, looks, quantity)

    def read_db(
        self,
        window: WindowLike | None = None,
        *,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
    ) -> FloatArray:
        """Calibrated backscatter in dB; arguments as for :meth:`read_power`."""
        self.warn_of_conversion(quantity)
        return self._read("db", window, polarization, looks, quantity)

    def blocks(
        self,
        scale: str = "db",
        *,
        window: WindowLike | None = None,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
        rows: int | None = None,
    ) -> Iterator[tuple[Window, FloatArray]]:
        """The pixels from top to bottom in blocks of whole rows, for work on products larger than memory.

        A second thread makes the next block while one is worked on. Arguments are checked, and warnings given, at the
        call; pixels are read when blocks are asked for.

        Args:
            scale: "db", "power" or "dn".
            window: as for :meth:`read_dn`, like ``polarization``, ``looks`` and ``quantity``.
            rows: rows of the result per block; None: as many as make about four million pixels.

        Yields:
            Where the block lies in the result (a rasterio ``Window``, ready for writing), and its values, float32.

        Raises:
            Alos2TutError: an unknown scale, rows that are no whole number of at least 1; otherwise as :meth:`read_dn`.
        """
        area, pair = self._area(window, looks)
        height, width = (-(-(side.stop - side.start) // n) for side, n in zip(area, pair, strict=True))
        rows = max(_BLOCK_PX // width, 1) if rows is None else rows
        if not validation.is_count(rows):
            raise Alos2TutError(f"rows={rows!r} is not a whole number of at least 1", where="blocks")
        rows = min(int(rows), height)
        if scale == "dn" and quantity not in (None, self.quantity):
            raise Alos2TutError("digital numbers are not converted", where="quantity", remedy="Use db or power.")
        band, finish = self.bands[self.choose_polarization(polarization)], self._finish(scale)
        weigh = self._conversion(quantity)
        self.warn_of_conversion(quantity)
        strips = self._mean_squares(band, area, pair, weigh, rows if rows < height else None)
        return _one_ahead(_gathered(strips, finish, (rows, width)))

    def read_slc(self, window: WindowLike | None = None, *, polarization: str | None = None) -> NDArray[np.complex64]:
        """Complex numbers of a Level 1.1 product, complex64 (rows, columns), as delivered (not calibrated).

        Raises:
            Alos2TutError: a product of amplitudes; otherwise as :meth:`read_dn`.
        """
        band = self.bands[self.choose_polarization(polarization)]
        if band.dtype.kind != "c":
            raise Alos2TutError(
                f"Level {self.level} holds amplitudes, not complex numbers", where=self.path, remedy="Use read_dn."
            )
        (rows, cols), _ = self._area(window, 1)
        step = _strip_rows(cols)
        result = np.empty((rows.stop - rows.start, cols.stop - cols.start), dtype=np.complex64)
        for index, strip in enumerate(band.strips(rows, cols, step)):
            result[index * step : (index + 1) * step] = strip
        return result

    def read_layer(self, name: str, window: WindowLike | None = None) -> NDArray[Any]:
        """A raster that is delivered beside the images, one of ``layers``.

        Args:
            name: "local_incidence" (float32 degrees, NaN without data and from 90° on, where the radar does not
                see the ground), "mask" or "forest" (uint8 codes, explained by ``layers[name].meaning``), or "date"
                (datetime64[D] of acquisition, NaT without data).
            window: as for :meth:`read_dn`.

        Raises:
            Alos2TutError: a layer that the product does not hold; a window outside.
        """
        if not isinstance(name, str) or name not in self.layers:
            raise Alos2TutError(f"has no layer '{name}'", where=self.path, remedy=self._layers_told(str(name)))
        layer = self.layers[name]
        (rows, cols), _ = self._area(window, 1)
        result = np.empty((rows.stop - rows.start, cols.stop - cols.start), dtype=_layer_dtype(layer))
        filled = 0
        for strip in layer.band.strips(rows, cols, _strip_rows(cols)):
            result[filled : filled + len(strip)] = _layer_values(layer, strip)
            filled += len(strip)
        return result

    def read_incidence(self, window: WindowLike | None = None) -> FloatArray:
        """Incidence angle in degrees, float32 (rows, columns): the delivered local one, else that of a smooth Earth.

        The second kind comes from the slant ranges that the lines state, and knows no terrain. ``incidence_source``
        says which one it is.

        Raises:
            Alos2TutError: neither is there; a window outside.
        """
        if "local_incidence" in self.layers:
            return self.read_layer("local_incidence", window)
        if self.slant_range_incidence is None:
            only = "" if self.incidence_deg is None else f" (only {self.incidence_deg:.2f}° at the scene's centre)"
            raise Alos2TutError(f"no incidence angle per pixel is delivered or derivable{only}", where=self.path)
        (rows, cols), _ = self._area(window, 1)
        result = np.empty((rows.stop - rows.start, cols.stop - cols.start), dtype=np.float32)
        step = _strip_rows(cols)
        for first in range(rows.start, rows.stop, step):
            strip = slice(first, min(first + step, rows.stop))
            result[first - rows.start : strip.stop - rows.start] = self.slant_range_incidence.degrees(strip, cols)
        return result

    def _read(
        self,
        scale: str,
        window: WindowLike | None,
        polarization: str | None,
        looks: int | tuple[int, int],
        quantity: str | None,
    ) -> FloatArray:
        """What the public readers give, without their warnings."""
        area, pair = self._area(window, looks)
        band, weigh = self.bands[self.choose_polarization(polarization)], self._conversion(quantity)
        height, width = (-(-(side.stop - side.start) // n) for side, n in zip(area, pair, strict=True))
        result = np.empty((height, width), dtype=np.float32)
        finish, first = self._finish(scale), 0
        for strip in self._mean_squares(band, area, pair, weigh):
            finish(strip, result[first : first + len(strip)])
            first += len(strip)
        return result

    def _finish(self, scale: str) -> Callable[[FloatArray, FloatArray], object]:
        """What turns ⟨DN²⟩ into amplitude, power or dB, into a given array."""
        factor_db = np.float32(self.calibration_factor_db)

        def to_power(mean_square: FloatArray, out: FloatArray) -> None:
            np.multiply(mean_square, radiometry.to_power(factor_db).astype(np.float32), out=out)

        def to_db(mean_square: FloatArray, out: FloatArray) -> None:
            with np.errstate(divide="ignore"):
                np.log10(mean_square, out=out)
            np.multiply(out, np.float32(10), out=out)
            np.add(out, factor_db, out=out)

        known = {"db": to_db, "power": to_power, "dn": lambda mean_square, out: np.sqrt(mean_square, out=out)}
        if not isinstance(scale, str) or scale not in known:
            raise Alos2TutError(f"unknown scale '{scale}'", where="scale", remedy=closest(str(scale), SCALES))
        return known[scale]

    def _mean_squares(
        self,
        band: Band,
        area: tuple[slice, slice],
        looks: tuple[int, int],
        weigh: Weigh | None,
        most: int | None = None,
    ) -> Iterator[FloatArray]:
        """⟨DN²⟩ of a band, each pixel times its weight, in strips of a few rows of look blocks.

        With ``most`` no strip crosses a multiple of so many rows of the result. How strips are cut changes no bit.
        """
        rows, cols = area
        width = cols.stop - cols.start
        step = max(_STRIP_PX // (looks[0] * width), 1)
        if most is not None:
            # the largest divisor of a block's rows that is small enough
            step = next(n for n in range(min(step, most), 0, -1) if most % n == 0)
        first = rows.start
        scratch = np.empty((min(step * looks[0], rows.stop - rows.start), width), dtype=np.float32)
        for strip in band.strips(rows, cols, step * looks[0]):
            lines = slice(first, first + len(strip))
            yield radiometry.mean_square(
                strip,
                looks,
                no_data=self.no_data_dn,
                weight=None if weigh is None else weigh(lines, cols),
                scratch=scratch[: len(strip)],
            )
            first = lines.stop

    def _conversion(self, quantity: str | None) -> Weigh | None:
        """Factors by which power becomes another quantity, per pixel; None where it is the product's own."""
        if not self.is_converted(quantity):
            return None
        # neither kind of angle reaches 90°, where one quantity is no multiple of the other
        convert = radiometry.sigma0_to_gamma0 if quantity == "gamma0" else radiometry.gamma0_to_sigma0

        def weigh(rows: slice, cols: slice) -> FloatArray:
            angle: Any = self.incidence_deg
            if self.incidence_source != "scene centre":
                angle = self.read_incidence((rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start))
            return np.asarray(convert(1.0, angle), dtype=np.float32)

        return weigh

    def is_converted(self, quantity: str | None) -> bool:
        """Whether reading this quantity converts: it is another than the product's (None: its own).

        Raises:
            Alos2TutError: no quantity, or one to which no incidence angle leads.
        """
        if quantity is None or quantity == self.quantity:
            return False
        self.choose_polarization()  # without images there is nothing to convert
        if quantity not in ("sigma0", "gamma0"):
            raise Alos2TutError(f"unknown quantity '{quantity}'", where="quantity", remedy="Known: gamma0, sigma0.")
        if self.incidence_source is None:
            raise Alos2TutError(
                f"cannot turn {self.quantity} into {quantity}: no incidence angle is known",
                where=self.path,
                remedy=f"Read {self.quantity}.",
            )
        return True

    def warn_of_conversion(self, quantity: str | None) -> None:
        """Warn if reading this quantity converts by one angle for all pixels; errors as of :meth:`is_converted`."""
        if self.is_converted(quantity) and self.incidence_source == "scene centre":
            warn(f"{quantity} {self.conversion_told()}")

    def conversion_told(self) -> str:
        """What another quantity is made from, and how far that is off where one angle stands for all."""
        told = f"from {self.quantity} by incidence: {self.incidence_source}"
        if self.incidence_source != "scene centre":
            return told
        error_db = self._error_of_one_angle_db()
        size = f"about ±{max(error_db, 0.01):.2f} dB at the edges of the swath"
        return f"{told} {self.incidence_deg:.2f}°, off by {'an unknown amount' if math.isnan(error_db) else size}"

    def _error_of_one_angle_db(self) -> float:
        """How much the cosine of the incidence changes from the scene's centre to its edges; NaN if that is unknown.

        On flat ground, to first order: half the width w is seen under an angle of w · cos θ / R, R the slant range.
        A single scan of ScanSAR does not lie at the scene's centre.
        """
        if self.scan is not None:
            return math.nan
        theta = math.radians(self.incidence_deg or math.nan)
        half_m = self.shape[1] * self.spacing_m[1] / 2
        if self.grid is None:
            half_m /= math.sin(theta)
        slant_range_m = geometry.ORBIT_HEIGHT_M / math.cos(theta)
        return 10 / math.log(10) * math.tan(theta) * half_m * math.cos(theta) / slant_range_m

    def _area(
        self, window: WindowLike | None, looks: int | tuple[int, int]
    ) -> tuple[tuple[slice, slice], tuple[int, int]]:
        """The window grown to whole look blocks, as row and column slices, and the looks."""
        pair = validation.look_pair(looks, most=MOST_LOOKS)
        rows, cols = (
            slice(start // n * n, min(-(-stop // n) * n, size))
            for (start, stop), n, size in zip(self._extent(window), pair, self.shape, strict=True)
        )
        return (rows, cols), pair

    def _extent(self, window: WindowLike | None) -> tuple[tuple[int, int], tuple[int, int]]:
        if window is None:
            return (0, self.shape[0]), (0, self.shape[1])
        given: Any = window
        if isinstance(window, Window):
            given = (window.row_off, window.col_off, window.height, window.width)
        try:
            row, col, height, width = (int(n) for n in given)
            whole = (row, col, height, width) == tuple(given)
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise Alos2TutError(f"window {given} is not (row, col, height, width) in whole pixels", where=self.path)
        inside = row >= 0 and col >= 0 and row + height <= self.shape[0] and col + width <= self.shape[1]
        if not inside or height < 1 or width < 1:
            raise Alos2TutError(
                f"window (row {row}, col {col}, height {height}, width {width}) is empty or reaches outside the "
                f"product of {self.shape[0]} × {self.shape[1]} pixels",
                where=self.path,
            )
        return (row, row + height), (col, col + width)

    def _layers_told(self, wanted: str = "") -> str:
        if not self.layers:
            return "It comes without layers."
        return closest(wanted, self.layers) if wanted else f"It holds the layers {', '.join(self.layers)}."

    # --- other people's containers

    def to_cog(
        self,
        path: str | Path,
        *,
        scale: str = "db",
        window: WindowLike | None = None,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
        compress: str | None = "deflate",
        overviews: bool = True,
        progress: bool | None = None,
    ) -> Path:
        """Write one polarisation as a Cloud-Optimized GeoTIFF, float32 with NaN for no data, block by block.

        Args:
            path: the file to write, whole or not at all.
            scale: "db", "power" or "dn".
            window: as for :meth:`read_dn`, like ``polarization``, ``looks`` and ``quantity``.
            compress: "deflate", "lzw", "zstd" or None.
            overviews: False: a plain tiled GeoTIFF, which is written once instead of twice. Overviews are averaged
                in the scale that is written; for exact ones write power.
            progress: show a bar; None: only where someone watches.

        Returns:
            ``path``.

        Raises:
            Alos2TutError: a product in slant range, an unknown argument, a path that cannot be written or that the
                product :meth:`owns`.
        """
        self.check_target(path)
        (rows, cols), pair = self._area(window, looks)
        shape = (-(-(rows.stop - rows.start) // pair[0]), -(-(cols.stop - cols.start) // pair[1]))
        blocks = self.blocks(
            scale, window=window, polarization=polarization, looks=pair, quantity=quantity, rows=_COG_ROWS
        )
        return write_cog(
            path,
            progress_bar(blocks, "writing", "block", total=-(-shape[0] // _COG_ROWS), show=progress),
            shape=shape,
            dtype="float32",
            crs=self.crs,
            transform=self.transform * Affine.translation(cols.start, rows.start) * Affine.scale(pair[1], pair[0]),
            no_data=math.nan,
            tags=self._tags(scale, self.choose_polarization(polarization), quantity, pair),
            compress=compress,
            overviews=overviews,
        )

    def _tags(self, scale: str, polarization: str, quantity: str | None, looks: tuple[int, int]) -> dict[str, str]:
        """What a user of exported pixels has to know."""
        tags = {
            "PRODUCT": self.image_name(polarization),
            "POLARIZATION": polarization,
            "SCALE": {"db": "dB", "power": "linear power", "dn": "amplitude, not calibrated"}[scale],
            "LOOKS": f"{looks[0]} x {looks[1]}",
            "ACQUIRED": self.acquired or "unknown",
            "SOURCE": "simulated" if self.simulated else "ALOS-2 PALSAR-2, (c) JAXA",
        }
        if scale != "dn":
            tags["QUANTITY"] = quantity or self.quantity
            tags["CALIBRATION"] = f"{self.calibration_factor_db:g} dB ({self.calibration_source})"
        if quantity not in (None, self.quantity) and scale != "dn":
            tags["CONVERSION"] = self.conversion_told()
        return tags

    def to_xarray(
        self, *, scale: str = "db", looks: int | tuple[int, int] = 1, quantity: str | None = None
    ) -> xarray.Dataset:
        """The product as an xarray Dataset, one variable per polarisation; pixels are read when they are used.

        Args:
            scale: "db", "power" or "dn"; "slc" for the complex numbers of Level 1.1.
            looks: as for :meth:`read_dn`.
            quantity: as for :meth:`read_power`.

        Returns:
            Variables named HH, HV, … over (y, x), coordinates of pixel centres, ``spatial_ref`` with the CRS (CF
            conventions, as rioxarray reads it); over (row, col) in slant range. Layers are variables of their own
            name, read as by :meth:`read_layer`, unless pixels are averaged, which codes cannot be. Attributes are
            what :meth:`to_dict` says but for ``transform``, which ``spatial_ref`` has: texts and numbers as they
            are, yes and no as 1 and 0, lists and mappings as JSON, ``mode`` as ``observation_mode``, and nothing of
            what is not known. A converted variable says so in ``conversion``. So every engine of netCDF can write
            it, but for the complex numbers of "slc", which few can.

        Raises:
            Alos2TutError: xarray is not installed; an unknown argument; a quantity to which no angle leads.
        """
        from .xarrays import to_dataset

        return to_dataset(self, scale, validation.look_pair(looks, most=MOST_LOOKS), quantity)


def _gathered(
    strips: Iterator[FloatArray], finish: Callable[[FloatArray, FloatArray], object], shape: tuple[int, int]
) -> Generator[tuple[Window, FloatArray], None, None]:
    """Finished strips put together to blocks of that shape; the last one may be lower. No strip crosses two blocks."""
    rows, width = shape
    block: FloatArray | None = None
    filled = first = 0
    for strip in strips:
        if block is None:
            block = np.empty(shape, dtype=np.float32)
        finish(strip, block[filled : filled + len(strip)])
        filled += len(strip)
        if filled == rows:
            yield Window(0, first, width, filled), block
            first, filled, block = first + filled, 0, None
    if block is not None:
        yield Window(0, first, width, filled), block[:filled]


def _one_ahead(items: Generator[T, None, None]) -> Iterator[T]:
    """The items in their order; a second thread makes each while the one before it is worked on."""
    end = object()
    with ThreadPoolExecutor(1) as second:
        try:
            coming = second.submit(next, items, end)
            while (item := coming.result()) is not end:
                coming = second.submit(next, items, end)
                yield cast(T, item)
        finally:
            # whoever stops early leaves a file open in the second thread
            second.submit(items.close)


def quicklook_png(product: Product, max_px: int = 320) -> bytes:
    """A small grey picture of a product as PNG, from some of its pixels: dB, black where there is no data."""
    band = product.bands[product.choose_polarization()]
    if isinstance(band, RasterBand):
        mean_square = radiometry.mean_square(band.thumbnail(max_px), (1, 1), no_data=product.no_data_dn)
    else:
        mean_square = _sampled(band, product, -(-max(product.shape) // max_px))
    db = radiometry.to_db(mean_square)
    known = db[np.isfinite(db)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
    grey = np.where(np.isfinite(db), 1 + 254 * np.clip((db - low) / max(high - low, 1e-6), 0, 1), 0).astype(np.uint8)
    profile: dict[str, Any] = {"driver": "PNG", "dtype": "uint8", "count": 1}
    with rasterio.MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile, height=grey.shape[0], width=grey.shape[1]) as picture:
            picture.write(grey, 1)
        return bytes(memory.read())


def _sampled(band: Band, product: Product, looks: int) -> FloatArray:
    """⟨DN²⟩ of the first lines of every block of so many looks; all of them would take as long as reading it all."""
    (height, width), means = product.shape, []
    for first in range(0, height, looks):
        lines = min(looks, 4, height - first)
        strip = next(iter(band.strips(slice(first, first + lines), slice(0, width), lines)))
        means.append(radiometry.mean_square(strip, (lines, looks), no_data=product.no_data_dn)[0])
    return np.stack(means)


def _strip_rows(cols: slice) -> int:
    """Rows of a strip that stays in a core's cache."""
    width: int = cols.stop - cols.start
    return max(_STRIP_PX // width, 1)


def _layer_dtype(layer: Layer) -> np.dtype[Any]:
    if layer.unit == "code":
        return layer.band.dtype
    return np.dtype("datetime64[D]" if layer.unit == _DAYS else np.float32)


def _layer_values(layer: Layer, stored: NDArray[Any]) -> NDArray[Any]:
    """What the numbers of a layer mean."""
    if layer.unit == "code":
        return stored
    missing = np.isin(stored, layer.no_data)
    if layer.unit == _DAYS:
        days = np.datetime64("2014-05-24") + stored.astype("timedelta64[D]")
        return np.where(missing, np.datetime64("NaT"), days)
    values = (stored * layer.scale).astype(np.float32)
    if layer.unit == _DEGREE:
        missing |= values >= _GRAZING_DEG
    values[missing] = np.nan
    return values


def _layer_told(layer: Layer) -> dict[str, Any]:
    return {"unit": layer.unit, **({"meaning": dict(layer.meaning)} if layer.meaning else {})}


def _shown(value: Any) -> str:
    """A value of :meth:`Product.to_dict` as a reader likes it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    return ", ".join(_shown(v) for v in value) if isinstance(value, list) else str(value)
