"""A simulated Japan-like scene, delivered as JAXA would: a Level 2.1 CEOS product and a land-cover label tile.

Everything is seeded. Land cover is a function of ground position (:mod:`.landcover`), evaluated at each grid's
own pixel centres, so image and labels agree. Backscatter is σ0 · T · S plus noise: the mean σ0 of a surface at its
angles, gamma texture T, and one-look speckle S whose correlation follows from resolution, spacing and spectral window.
Random fields are drawn tile by tile of the pixel grid from counters, so no pixel depends on how the work was cut. The
priors are in ``surfaces.yaml``; most are assumptions, and so is everything that is learned from this scene.

The recipe is frozen as :data:`RECIPE`: whatever changes a pixel or a label, in the code or in the table, needs a new
version, since results were measured on this one. It is never tuned to flatter a method.

One machine with one set of libraries makes equal bytes of equal arguments. Elsewhere a few pixels may differ by one DN,
and hardly any by its surface: exponentials and transforms are rounded differently. What comes out of a fit is rounded
to fixed digits, so that no variant of a linear algebra library reaches the pixels.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from datetime import datetime, time
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window
from scipy import ndimage, optimize, stats

from .. import geometry, radiometry
from ..core.artifacts import atomic_path, make_folder, write_json
from ..core.errors import Alos2TutError
from ..core.parallel import map_in_order
from ..core.progress import progress_bar
from ..dataset.legend import load_legend
from ..products.rasters import LONLAT
from . import landcover
from .ceos_writer import ProductDescription, write_ceos_product
from .landcover import Ground, LandCover

#: names the priors and the recipe together
RECIPE = "japansim-v1"
SEASONS = ("autumn", "winter", "spring", "summer")
SPACING_M = 2.5
#: label tiles: 1° × 1° of 12000² pixels, as JAXA's HRLULC
LABEL_PIXELS_PER_DEGREE = 12000
_LABEL_MARGIN_M = 50.0
_INCIDENCE_DEG, _OFF_NADIR_DEG, _HEADING_DEG = (
    float(landcover.prior("scene", name)) for name in ("incidence_deg", "off_nadir_deg", "heading_deg")
)
#: direction of the right-looking radar's view, 90° right of the heading, counted from east towards north
_LOOK_RAD = math.radians(90 - (_HEADING_DEG + 90))
#: lines that are written at once, columns that are worked on at once, side of a tile of random numbers
_STRIP, _BLOCK, _TILE = 256, 1024, 128
#: streams of random numbers: two parts of the speckle field, and the texture's
_SPECKLE, _TEXTURE = (101, 102), 103
#: pixels around a block that its filters reach; half the length of the speckle's filter
_HALO, _REACH = 8, 7
_STRIPS_AHEAD = 8

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Floats: TypeAlias = NDArray[np.float32]


# --- priors


@dataclass(frozen=True)
class Priors:
    """The table in ``surfaces.yaml`` for one season; arrays are indexed by surface.

    Attributes:
        names, codes: of the surfaces; label codes.
        sigma0_db: mean σ0 (HH) at the scene's centre.
        texture_order: ν of the gamma texture; infinite: none.
        texture_length_m: where the correlation of the texture's Gaussian field has fallen to 1/e; 0: no texture.
        parcel_db: spread between parcels, stands, houses.
        incidence_power: n of σ0 ∝ cosⁿθ.
        row_resonance_db: what paddies gain whose rows resonate.
        date: when such a scene is seen.
        radar: the scalars of the table's section of this name.
    """

    names: tuple[str, ...]
    codes: NDArray[np.uint8]
    sigma0_db: Floats
    texture_order: Floats
    texture_length_m: Floats
    parcel_db: Floats
    incidence_power: Floats
    row_resonance_db: float
    date: datetime
    radar: dict[str, float]

    @property
    def noise_floor_db(self) -> float:
        """Noise-equivalent σ0."""
        return self.radar["noise_floor_db"]

    def number(self, name: str) -> int:
        """The surface of this name."""
        return self.names.index(name)


def load_priors(season: str = "autumn") -> Priors:
    """The simulator's assumptions, from ``surfaces.yaml``.

    Raises:
        Alos2TutError: an unknown season.
    """
    if not isinstance(season, str) or season not in SEASONS:
        raise Alos2TutError(f"season={season!r} is none of {', '.join(SEASONS)}", where="season")
    return _priors(season)


@cache
def _priors(season: str) -> Priors:
    table = landcover.load_table()
    rows, at_season = table["surfaces"], table["seasons"][season]

    def column(name: str, missing: float) -> Floats:
        return np.array([missing if row[name] is None else row[name] for row in rows], dtype=np.float32)

    offset = [at_season["offset_db"].get(row["name"], 0.0) for row in rows]
    return Priors(
        names=landcover.surface_names(),
        codes=landcover.surface_codes(),
        sigma0_db=column("sigma0_db", np.nan) + np.array(offset, dtype=np.float32),
        texture_order=column("texture_order", np.inf),
        texture_length_m=column("texture_length_m", 0.0),
        parcel_db=column("parcel_db", 0.0),
        incidence_power=column("incidence_power", 0.0),
        row_resonance_db=float(at_season["row_resonance_db"]),
        date=datetime.combine(at_season["date"], time.fromisoformat(landcover.prior("scene", "seen_utc"))),
        radar={name: float(entry["value"]) for name, entry in table["radar"].items()},
    )


# --- speckle from resolution, spacing and window


def bandwidth(resolution_m: float, pedestal: float) -> float:
    """Cycles per metre of a spectrum whose impulse response is so wide at half its power.

    Args:
        resolution_m: that width.
        pedestal: p of the spectral weight p + (1 − p)·cos(2πf/B), |f| < B/2; 1 is none, 0.54 Hamming's.

    Returns:
        B. Without a window it is 0.886 / resolution (derived here by root finding on the transform of the weight).
    """

    def above_half(product: float) -> float:
        amplitude = _transform(np.array([product / 2, 0.0]), (pedestal, (1 - pedestal) / 2))
        return float((amplitude[0] / amplitude[1]) ** 2 - 0.5)

    return float(optimize.brentq(above_half, 0.5, 2.5)) / resolution_m


def _transform(product: FloatArray, cosines: tuple[float, ...]) -> NDArray[np.float64]:
    """Transform of c₀ + 2·Σ cₖ·cos(2πkf/B) over its band, where ``product`` is B times the distance."""
    shifts = range(1 - len(cosines), len(cosines))
    return np.asarray(sum(cosines[abs(k)] * np.sinc(product - k) for k in shifts))


def speckle_correlation(distance_m: FloatArray, resolution_m: float, pedestal: float) -> NDArray[np.float64]:
    """Correlation of the complex speckle field between points so far apart along one axis.

    Of fully developed speckle it is the transform of the squared spectral weight (Wiener and Khinchin); intensities
    correlate by its square (Goodman 1975).

    Args:
        distance_m: any shape.
        resolution_m, pedestal: see :func:`bandwidth`.
    """
    p, q = pedestal, 1 - pedestal
    squared = (p * p + q * q / 2, p * q, q * q / 4)
    product = bandwidth(resolution_m, pedestal) * np.append(np.ravel(distance_m), 0.0)
    values = _transform(product, squared)
    return np.reshape(values[:-1] / values[-1], np.shape(distance_m))


def speckle_taps(resolution_m: float, spacing_m: float, pedestal: float, reach: int = _REACH) -> Floats:
    """A filter that gives white noise the correlation of the speckle field sampled at a spacing.

    The root of the squared weight's spectrum, folded at the sampling rate, gives the endless filter; it is cut at
    ``reach``, and the taps that are left are fitted to the first lags by least squares (derived here).

    Returns:
        (2 · reach + 1,), symmetric, of power 1; rounded to six decimals.
    """
    lags = np.arange(-128, 128)
    correlation = speckle_correlation(lags * spacing_m, resolution_m, pedestal)
    spectrum = np.fft.fft(np.fft.ifftshift(correlation)).real
    start = np.fft.ifft(np.sqrt(np.maximum(spectrum, 0))).real[: reach + 1]
    wanted = correlation[128 : 128 + reach]

    def whole(half: FloatArray) -> NDArray[np.float64]:
        return np.concatenate([half[:0:-1], half])

    def error(half: FloatArray) -> NDArray[np.float64]:
        taps = whole(half)
        return np.asarray(np.correlate(taps, taps, "full")[2 * reach : 3 * reach] - wanted)

    taps = whole(optimize.least_squares(error, start).x)
    return np.asarray(np.round(taps / np.sqrt(np.sum(taps**2)), 6), dtype=np.float32)


def simulate_product(
    out_dir: str | Path,
    seed: int = 0,
    size_px: int | tuple[int, int] = 4096,
    *,
    season: str = "autumn",
    corner: tuple[float, float] | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Path:
    """Write a simulated Level 2.1 product (UTM, 2.5 m, HH) and its label tile(s).

    Args:
        out_dir: a folder that does not exist yet or is empty; it becomes the product's folder (VOL, LED, IMG-HH, TRL,
            ``summary.txt``), with ``labels/LC_N35E139.tif`` (and neighbours where the scene reaches them) and
            ``simulation.json`` (recipe, seed, season, place, shares asked and obtained, clipped pixels).
        seed: 0…2³² − 1; equal arguments give equal bytes on one machine with one set of libraries.
        size_px: rows and columns; one number for a square. The shares of land cover that the table asks for hold from
            about 1600 on; a smaller scene shows less of them.
        season: ``autumn``, ``winter``, ``spring`` or ``summer``. The ground is the same, its backscatter is not.
        corner: longitude and latitude in degrees of the scene's south-west corner; the UTM zone follows from it, and it
            is moved to the next multiple of 2.5 m. None: the table's place. Elsewhere, a seed shows the same ground.
        executor: who works on the strips; None: this thread. It changes no byte.
        progress: show a bar; None: only where someone watches.

    Returns:
        ``out_dir``.

    Raises:
        Alos2TutError: a size outside 64…40000, a seed outside 0…2³² − 1, an unknown season, a corner beyond ±180° or
            −80…84° or from where the scene crosses 180°, an executor that takes no work, or a folder that holds
            something.
    """
    out_dir = Path(out_dir)
    scene = _checked_scene(seed, size_px, season, _checked_place(corner))
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise Alos2TutError(f"executor={executor!r} takes no work", where="executor", remedy="Give a pool, or None.")
    if out_dir.is_file() or (out_dir.is_dir() and any(out_dir.iterdir())):
        raise Alos2TutError("exists and is not empty", where=out_dir, remedy="Name another folder, or remove it.")
    make_folder(out_dir.parent)
    with atomic_path(out_dir) as folder:
        folder.mkdir()
        (folder / "labels").mkdir()
        strips = _Strips(scene, executor, progress)
        write_ceos_product(folder, scene.description, {"HH": strips})
        label_files = _write_labels(folder / "labels", scene)
        write_json(folder / "simulation.json", {**scene.describe(strips), "label_files": label_files})
    return out_dir


def _checked_scene(seed: Any, size_px: Any, season: Any, place: Place) -> Scene:
    given = size_px if isinstance(size_px, (tuple, list)) else (size_px, size_px)
    sides = [_whole(side, 64, 40_000) for side in given]
    if len(sides) != 2 or None in sides:
        raise Alos2TutError(f"size_px={size_px!r} is not one or two whole numbers in 64…40000", where="size_px")
    number = _whole(seed, 0, 2**32 - 1)
    if number is None:
        raise Alos2TutError(f"seed={seed!r} is not a whole number in 0…2³² − 1", where="seed")
    load_priors(season)
    height, width = (side for side in sides if side is not None)
    scene = Scene(number, height, width, season, place)
    longitude, _ = scene.frame_deg(0)
    if np.ptp(longitude) > 180:
        raise Alos2TutError("the scene crosses 180° east", where="corner", remedy="Move it away from there.")
    return scene


def _checked_place(corner: Any) -> Place:
    """The place whose south-west corner lies at this longitude and latitude."""
    if corner is None:
        return Place()
    try:
        longitude, latitude = (float(part) for part in corner)
    except (TypeError, ValueError):
        longitude = latitude = math.nan
    if not (-180 <= longitude <= 180 and -80 <= latitude <= 84):
        raise Alos2TutError(
            f"corner={corner!r} is not a longitude in −180…180 and a latitude in −80…84",
            where="corner",
            remedy="Give degrees of the scene's south-west corner, as (139.34, 35.27).",
        )
    zone, south = min(int((longitude + 180) // 6) + 1, 60), latitude < 0
    [x_m], [y_m] = reproject_points(LONLAT, Place(zone, south).utm, [longitude], [latitude])
    return Place(zone, south, *(SPACING_M * round(side / SPACING_M) for side in (x_m, y_m)))


def _whole(value: Any, low: int, high: int) -> int | None:
    """The value as a whole number in a range (Python's or NumPy's, no truth value); None if it is none."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if low <= number <= high else None


# --- the scene and its pixels


@dataclass(frozen=True)
class Place:
    """Where a scene lies; by default the table's place.

    Attributes:
        utm_zone, south: of its map.
        west_m, south_m: easting and northing of its south-west corner.
    """

    utm_zone: int = landcover.prior("scene", "utm_zone")
    south: bool = False
    west_m: float = landcover.prior("scene", "corner_m")[0]
    south_m: float = landcover.prior("scene", "corner_m")[1]

    @property
    def utm(self) -> CRS:
        """The map."""
        return CRS.from_epsg((32700 if self.south else 32600) + self.utm_zone)

    def lonlat(self, x_m: Any, y_m: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude in degrees of eastings and northings; they broadcast."""
        x_m, y_m = np.broadcast_arrays(x_m, y_m)
        longitude, latitude = reproject_points(self.utm, LONLAT, x_m.ravel(), y_m.ravel())
        return np.reshape(longitude, x_m.shape), np.reshape(latitude, x_m.shape)

    def on_ground(self, longitude: FloatArray, latitude: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Metres east and north of the south-west corner, of places in degrees."""
        x_m, y_m = reproject_points(LONLAT, self.utm, longitude.ravel(), latitude.ravel())
        return np.reshape(x_m, longitude.shape) - self.west_m, np.reshape(y_m, longitude.shape) - self.south_m


@dataclass(frozen=True)
class Scene:
    """One simulated product: its frame and identity.

    Attributes:
        seed: of everything random.
        height, width: pixels of 2.5 m.
        season: see :func:`simulate_product`.
        place: where it lies.
    """

    seed: int
    height: int
    width: int
    season: str = "autumn"
    place: Place = Place()

    @property
    def identity(self) -> str:
        """What the names of the product's files share.

        The orbit counts seeds, from 90000, where no real one lies yet; what else tells scenes apart is in the frame:
        two that differ in size or place, or in their seeds by multiples of 10000, share it once in 10000 times.
        """
        rest = f"{self.seed // 10000} {self.height} {self.width} {self.place}"
        frame = int.from_bytes(hashlib.sha256(rest.encode()).digest()[:8], "big") % 10000
        return f"ALOS2{90000 + self.seed % 10000:05d}{frame:04d}-{self.priors.date:%y%m%d}-UBSR2.1GUD"

    @property
    def priors(self) -> Priors:
        """The table for the scene's season."""
        return load_priors(self.season)

    @property
    def transform(self) -> Affine:
        """From (column, row), pixel corners, to UTM metres."""
        top_m = self.place.south_m + self.height * SPACING_M
        return Affine(SPACING_M, 0, self.place.west_m, 0, -SPACING_M, top_m)

    def frame_deg(self, margin_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitudes and latitudes along the scene's sides, so many metres outside."""
        margin = margin_m / SPACING_M
        along = np.linspace(0, 1, 9)
        cols, rows = (-margin + along * (side + 2 * margin) for side in (self.width, self.height))
        ends = np.zeros(9)
        x = np.r_[cols, cols, ends + cols[0], ends + cols[-1]]
        y = np.r_[ends + rows[0], ends + rows[-1], rows, rows]
        return self.place.lonlat(*(self.transform * (x, y)))

    @property
    def land_cover(self) -> LandCover:
        """The ground."""
        return _land_cover(self.seed, self.height * SPACING_M, self.width * SPACING_M)

    @property
    def description(self) -> ProductDescription:
        """The scene as a product of Level 2.1."""
        scene_id, _, product_id = self.identity.rpartition("-")
        return ProductDescription(
            scene_id=scene_id,
            product_id=product_id,
            shape=(self.height, self.width),
            spacing_m=(SPACING_M, SPACING_M),
            center_time=self.priors.date,
            incidence_deg=_INCIDENCE_DEG,
            heading_deg=_HEADING_DEG,
            off_nadir_deg=_OFF_NADIR_DEG,
            transform=self.transform,
            utm_zone=self.place.utm_zone,
            south=self.place.south,
            noise_db=self.priors.noise_floor_db,
            simulated=True,
        )

    def has_data(self, rows: slice, cols: slice) -> NDArray[np.bool_]:
        """The swath is slanted against the map grid: two thin corners have no data."""
        down = (np.arange(rows.start, rows.stop) + 0.5)[:, None] / self.height
        across = (np.arange(cols.start, cols.stop) + 0.5)[None, :] / self.width
        return landcover.in_swath(down, across)

    def ground(self, rows: slice, cols: slice) -> Ground:
        """What lies at the centres of these pixels."""
        x_m = (np.arange(cols.start, cols.stop) + 0.5) * SPACING_M
        y_m = (self.height - np.arange(rows.start, rows.stop) - 0.5) * SPACING_M
        return self.land_cover.surfaces(*np.meshgrid(x_m, y_m))

    def mean_power(self, ground: Ground, rows: slice, cols: slice) -> Floats:
        """Expected linear power of these pixels: σ0 at their angles and the noise floor."""
        incidence = _incidence_rad(self, rows, cols)
        floor = _power(np.float32(self.priors.noise_floor_db))
        return np.asarray(_power(mean_db(ground, incidence, self.priors)) + floor, dtype=np.float32)

    def digital_numbers(self, rows: slice, cols: slice) -> tuple[NDArray[np.uint16], NDArray[np.uint8], Clipped]:
        """Pixels of a block, the surfaces under them, and how many did not fit 16 bits.

        Args:
            rows, cols: any block of the scene; its pixels do not depend on how blocks are cut.
        """
        ground = self.ground(rows, cols)
        noise = _Noise(self.seed, rows, cols)
        floor = _power(np.float32(self.priors.noise_floor_db))
        # thermal noise is as Gaussian as the speckled field, and went through the same window: they share one draw
        power = self.mean_power(ground, rows, cols) - floor
        power *= noise.texture(ground.surface, self.priors)
        power += floor
        power *= noise.speckle(self.priors)
        dn = np.rint(radiometry.power_to_dn(power))
        valid = self.has_data(rows, cols)
        clipped = Clipped(
            int(np.count_nonzero((dn < 1) & valid)), int(np.count_nonzero((dn > radiometry.SATURATED_DN) & valid))
        )
        numbers = np.where(valid, np.clip(dn, 1, radiometry.SATURATED_DN), 0).astype(np.uint16)
        return numbers, np.where(valid, ground.surface, 255).astype(np.uint8), clipped

    def _corner_deg(self) -> list[float]:
        longitude, latitude = self.place.lonlat(self.place.west_m, self.place.south_m)
        return [round(float(longitude), 9), round(float(latitude), 9)]

    def describe(self, strips: _Strips) -> dict[str, Any]:
        """What ``simulation.json`` says."""
        shares = strips.surfaces / max(strips.surfaces.sum(), 1)
        obtained = np.bincount(self.priors.codes, weights=shares, minlength=15)
        return {
            "simulated": True,
            "recipe": RECIPE,
            "seed": self.seed,
            "season": self.season,
            "size_px": [self.height, self.width],
            "place": {**asdict(self.place), "corner_deg": self._corner_deg()},
            "noise_floor_db": self.priors.noise_floor_db,
            "clipped_pixels": {"low": strips.clipped.low, "high": strips.clipped.high},
            "surface_shares": dict(zip(self.priors.names, np.round(shares, 5).tolist(), strict=True)),
            "code_shares": {
                str(code): {"asked": round(asked, 5), "obtained": round(float(obtained[code]), 5)}
                for code, asked in landcover.asked_shares().items()
            },
        }


@dataclass(frozen=True)
class Clipped:
    """Pixels with data that no 16-bit number fits."""

    low: int = 0
    high: int = 0

    def __add__(self, other: Clipped) -> Clipped:
        return Clipped(self.low + other.low, self.high + other.high)


@lru_cache(maxsize=2)
def _land_cover(seed: int, height_m: float, width_m: float) -> LandCover:
    return LandCover(seed, height_m, width_m)


class _Strips:
    """The digital numbers of a scene, strip by strip; counts surfaces and clipped pixels on the way."""

    def __init__(self, scene: Scene, executor: Executor | None, progress: bool | None):
        self._scene, self._executor, self._progress = scene, executor, progress
        self.surfaces = np.zeros(len(scene.priors.names), dtype=np.int64)
        self.clipped = Clipped()

    def __iter__(self) -> Iterator[NDArray[np.uint16]]:
        for numbers, surfaces, clipped in self._made():
            self.surfaces += surfaces
            self.clipped += clipped
            yield numbers

    def _made(self) -> Iterator[_Strip]:
        starts = progress_bar(range(0, self._scene.height, _STRIP), "simulating", "strip", show=self._progress)
        # threads that start together would each build the ground
        _ = self._scene.land_cover
        return map_in_order(self._executor, partial(_make_strip, self._scene), starts, ahead=_STRIPS_AHEAD)


_Strip: TypeAlias = tuple[NDArray[np.uint16], NDArray[np.int64], Clipped]


def _make_strip(scene: Scene, first: int) -> _Strip:
    """A strip of lines: its pixels, pixels per surface, pixels clipped."""
    rows = slice(first, min(first + _STRIP, scene.height))
    numbers = np.empty((rows.stop - first, scene.width), np.uint16)
    surfaces, clipped = np.zeros(len(scene.priors.names), np.int64), Clipped()
    for col in range(0, scene.width, _BLOCK):
        cols = slice(col, min(col + _BLOCK, scene.width))
        numbers[:, cols], surface, beyond = scene.digital_numbers(rows, cols)
        surfaces += np.bincount(surface.ravel(), minlength=256)[: surfaces.size]
        clipped += beyond
    return numbers, surfaces, clipped


# --- mean backscatter


def mean_db(ground: Ground, incidence_rad: Floats, priors: Priors) -> Floats:
    """Mean σ0 in dB of a surface at its place: level of its parcel, incidence, slope, rows and walls.

    Args:
        ground: what lies there.
        incidence_rad: incidence angle on level ground, in the shape of the ground's fields.
        priors: the table.

    Returns:
        dB, in the shape of the ground's fields.
    """
    surface = ground.surface
    db = priors.sigma0_db[surface] + priors.parcel_db[surface] * ground.level - _parcel_bias_db(priors)[surface]
    cosine = np.cos(incidence_rad) / math.cos(math.radians(_INCIDENCE_DEG))
    db += priors.incidence_power[surface] * (10 * np.log10(cosine))
    db += _slope_gain_db(ground, incidence_rad, priors)
    paddies, walls = (np.nonzero(surface == priors.number(name)) for name in ("paddy", "wall"))
    db[paddies] += _row_gain_db(ground.direction_rad[paddies], incidence_rad[paddies], priors)
    db[walls] += _wall_gain_db(ground.direction_rad[walls], priors)
    return np.asarray(db, dtype=np.float32)


def _parcel_bias_db(priors: Priors) -> Floats:
    """What parcels that spread evenly in dB add to the mean power: sinh(a)/a with a = √3 · s · ln 10 / 10.

    Derived here from the uniform law of the levels; of levels with a normal law it is so up to the second order.
    """
    a = np.maximum(math.sqrt(3) * math.log(10) / 10 * priors.parcel_db, 1e-3)
    return np.asarray(10 * np.log10(np.sinh(a) / a), dtype=np.float32)


def _slope_gain_db(ground: Ground, incidence_rad: Floats, priors: Priors) -> Floats:
    """Slopes towards the radar are brighter: more ground falls into the same stretch of range.

    The table's levels hold for hills as a whole, so the power mean over all aspects is taken off the gain.
    """
    rise = ground.rise_east * np.float32(math.cos(_LOOK_RAD)) + ground.rise_north * np.float32(math.sin(_LOOK_RAD))
    most_db = priors.radar["slope_gain_db"]
    usual = np.interp(np.hypot(ground.rise_east, ground.rise_north), _STEEPNESS, _aspect_mean_db(most_db))
    return np.asarray(_gain_of_rise_db(rise, incidence_rad, most_db) - usual, dtype=np.float32)


def _gain_of_rise_db(rise: FloatArray, incidence_rad: Any, most_db: float) -> FloatArray:
    """What a rise along the view adds to level ground's σ0.

    With γ0 constant, σ0 per area of the level Earth is γ0 · sin θ / tan θ_local; over level ground that is
    tan θ / tan θ_local (after Ulander 1996, for slopes along the view). Level 2.1 is put in its place with an elevation
    model, as here, but keeps this brightness. Layover and shadow are not modelled; the gain is limited instead.
    """
    local = np.clip(incidence_rad - np.arctan(rise), np.float32(0.05), np.float32(1.45))
    return np.asarray(np.clip(10 * np.log10(np.tan(incidence_rad) / np.tan(local)), -most_db, most_db))


#: metres per metre at which the mean over aspects is tabled
_STEEPNESS = np.linspace(0, 2, 201)


@cache
def _aspect_mean_db(most_db: float) -> FloatArray:
    """Power mean of the gain of slopes that fall in all directions alike, at the scene's centre (derived here)."""
    aspect_rad = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    rise = _STEEPNESS[:, None] * np.cos(aspect_rad)
    gain_db = _gain_of_rise_db(rise, math.radians(_INCIDENCE_DEG), most_db)
    return np.asarray(10 * np.log10(np.mean(10 ** (gain_db / 10), axis=1)))


def _row_gain_db(rows_rad: Floats, incidence_rad: Floats, priors: Priors) -> Floats:
    """Rows of rice echo in phase where their distance d, seen along the view, is half a wavelength: Bragg.

    The condition is 2 · d · sin θ · |cos ψ| = λ, with ψ between the view and the direction across the rows. A cell of
    the resolution r holds r/d rows, so the peak in sin θ · |cos ψ| is λ / (2r) wide (derived here).
    """
    radar = priors.radar
    across = np.abs(np.sin(rows_rad - np.float32(_LOOK_RAD)))
    resonant = radar["wavelength_m"] / (2 * radar["paddy_row_m"])
    width = radar["wavelength_m"] / (2 * radar["resolution_m"])
    away = (np.sin(incidence_rad) * across - resonant) / width
    return np.asarray(priors.row_resonance_db * np.exp(-(away**2)), dtype=np.float32)


def _wall_gain_db(normal_rad: Floats, priors: Priors) -> Floats:
    """Walls that face the radar form corners with the ground; those that face away stand in their house's shadow."""
    radar = priors.radar
    turned = np.remainder(normal_rad - np.float32(_LOOK_RAD), np.float32(2 * math.pi)) - np.float32(math.pi)
    gain = radar["double_bounce_db"] * np.exp(-((turned / math.radians(radar["double_bounce_width_deg"])) ** 2))
    return np.asarray(np.where(np.abs(turned) < math.pi / 2, gain, radar["shadow_db"]), dtype=np.float32)


@lru_cache(maxsize=2)
def _incidence_polynomial(scene: Scene) -> tuple[float, ...]:
    """Incidence in radians as c₀ + c₁x + c₂y + c₃x² + c₄xy + c₅y², x and y from 0 to 1 across columns and rows."""
    y, x = (part.ravel() for part in np.mgrid[0:1:9j, 0:1:9j])
    place = scene.description.scene
    ranges = place.slant_ranges(y * (scene.height - 1), x * (scene.width - 1))
    incidence = np.radians(geometry.incidence_by_slant_range_deg(ranges, place.radius_m))
    terms = np.column_stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    return tuple(round(float(c), 6) for c in np.linalg.lstsq(terms, incidence, rcond=None)[0])


def _incidence_rad(scene: Scene, rows: slice, cols: slice) -> Floats:
    """Incidence angle on a level Earth, by the geometry that the product's leader tells."""
    c = _incidence_polynomial(scene)
    y = np.arange(rows.start, rows.stop)[:, None] / max(scene.height - 1, 1)
    x = np.arange(cols.start, cols.stop)[None, :] / max(scene.width - 1, 1)
    return np.asarray(c[0] + c[1] * x + c[2] * y + c[3] * x * x + c[4] * x * y + c[5] * y * y, dtype=np.float32)


def _power(db: Any) -> Any:
    """10^(dB/10) in single precision."""
    return np.exp(db * np.float32(math.log(10) / 10))


# --- texture and speckle


class _Noise:
    """Random fields of a block of pixels, cut from fields that cover the plane."""

    def __init__(self, seed: int, rows: slice, cols: slice):
        self._seed, self._rows, self._cols = seed, rows, cols

    def speckle(self, priors: Priors) -> Floats:
        """|z|² of a complex normal field: one look, mean 1, neighbours correlate by resolution and window."""
        taps = _taps(priors.radar["resolution_m"], priors.radar["window_pedestal"])
        parts = []
        for stream in _SPECKLE:
            part = self._white(stream)
            for axis in (0, 1):
                part = ndimage.convolve1d(part, taps, axis=axis)
            parts.append(self._core(part) ** 2)
        return np.asarray((parts[0] + parts[1]) / 2, dtype=np.float32)

    def texture(self, surface: NDArray[np.uint8], priors: Priors) -> Floats:
        """Gamma texture of mean 1: a correlated normal field, mapped to each surface's law.

        Surfaces of another correlation length have another field of the same white noise.
        """
        length_m = priors.texture_length_m[surface]
        white = self._white(_TEXTURE)
        level = np.zeros(surface.shape, dtype=np.uint16)
        for length in np.unique(length_m[length_m > 0]):
            # a filter of width s leaves a correlation of exp(−(d/2s)²)
            sigma = float(length) / 2 / SPACING_M
            normal = self._core(ndimage.gaussian_filter(white, sigma)) / _gaussian_gain(sigma)
            level = np.where(length_m == length, _quantised(normal), level)
        return _texture_table(priors.texture_order.tobytes())[surface, level]

    def _core(self, padded: Floats) -> Floats:
        return padded[_HALO:-_HALO, _HALO:-_HALO]

    def _white(self, stream: int) -> Floats:
        """White noise of the block with a halo, put together from tiles."""
        (top, bottom), (left, right) = ((part.start - _HALO, part.stop + _HALO) for part in (self._rows, self._cols))
        noise = np.empty((bottom - top, right - left), np.float32)
        for row in range(top // _TILE, -(-bottom // _TILE)):
            for col in range(left // _TILE, -(-right // _TILE)):
                y, x = row * _TILE, col * _TILE
                rows, cols = slice(max(y, top), min(y + _TILE, bottom)), slice(max(x, left), min(x + _TILE, right))
                tile = _white_tile(self._seed, stream, row, col)
                noise[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = tile[
                    rows.start - y : rows.stop - y, cols.start - x : cols.stop - x
                ]
        return noise


@lru_cache(maxsize=256)
def _white_tile(seed: int, stream: int, row: int, col: int) -> Floats:
    """Standard normal numbers of a tile of the pixel grid; neighbouring blocks ask for it again."""
    return landcover.generator(seed, stream, (row, col)).standard_normal((_TILE, _TILE), dtype=np.float32)


@cache
def _taps(resolution_m: float, pedestal: float) -> Floats:
    return speckle_taps(resolution_m, SPACING_M, pedestal)


@cache
def _gaussian_gain(sigma: float) -> np.float32:
    """Spread that a Gaussian filter along both axes leaves of white noise."""
    impulse = np.zeros(2 * _HALO + 1)
    impulse[_HALO] = 1
    return np.float32(np.sum(ndimage.gaussian_filter1d(impulse, sigma) ** 2))


_LEVELS, _LARGEST = 4096, 5.5


def _quantised(normal: Floats) -> NDArray[np.uint16]:
    """Standard normal numbers as steps of the texture's table."""
    step = np.float32((_LEVELS - 1) / (2 * _LARGEST))
    return np.asarray(np.rint((np.clip(normal, -_LARGEST, _LARGEST) + np.float32(_LARGEST)) * step), dtype=np.uint16)


@cache
def _texture_table(orders: bytes) -> Floats:
    """Gamma deviates of mean 1 for each surface and step of a standard normal number; 1 where there is no texture."""
    probability = stats.norm.cdf(np.linspace(-_LARGEST, _LARGEST, _LEVELS))
    order = np.frombuffer(orders, dtype=np.float32)
    table = np.ones((order.size, _LEVELS), dtype=np.float32)
    for row, nu in zip(table, order, strict=True):
        if np.isfinite(nu):
            row[:] = stats.gamma.ppf(probability, nu, scale=1 / nu)
    return table


# --- labels


def _write_labels(folder: Path, scene: Scene) -> list[str]:
    """Label tiles in JAXA's form (1°, 1/12000°, named by the south-west corner); no data beyond the scene."""
    longitude, latitude = scene.frame_deg(0)
    west, east = math.floor(longitude.min()), math.ceil(longitude.max())
    south, north = math.floor(latitude.min()), math.ceil(latitude.max())
    land = scene.land_cover
    names = []
    for tile_south in range(south, north):
        for tile_west in range(west, east):
            names.append(f"labels/{label_tile_name(tile_south, tile_west)}")
            _write_label_tile(folder.parent / names[-1], tile_south, tile_west, scene, land)
    return names


def label_tile_name(south: int, west: int) -> str:
    """JAXA's name of the tile whose south-west corner lies at these degrees: ``LC_N35E139.tif``."""
    return f"LC_{'S' if south < 0 else 'N'}{abs(south):02d}{'W' if west < 0 else 'E'}{abs(west):03d}.tif"


def _write_label_tile(path: Path, south: int, west: int, scene: Scene, land: LandCover) -> None:
    n = LABEL_PIXELS_PER_DEGREE
    transform = Affine(1 / n, 0, west, 0, -1 / n, south + 1)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": n, "width": n, "nodata": 255}
    profile |= {"crs": LONLAT, "transform": transform, "compress": "deflate", "sparse_ok": True}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=512, blockysize=512) as tile:
        tile.write_colormap(1, _label_colors())
        tile.update_tags(SIMULATED="yes", RECIPE=RECIPE, SEED=scene.seed)
        for window in _label_windows(scene, transform, n):
            cols = np.arange(window.col_off, window.col_off + window.width) + 0.5
            rows = np.arange(window.row_off, window.row_off + window.height)[:, None] + 0.5
            x_m, y_m = scene.place.on_ground(*np.broadcast_arrays(*(transform * (cols[None, :], rows))))
            codes = scene.priors.codes[land.surfaces(x_m, y_m).surface]
            # a little beyond the scene, whose outermost pixels lie in label pixels centred outside
            low, high_x, high_y = -_LABEL_MARGIN_M, scene.width * SPACING_M, scene.height * SPACING_M
            outside = (x_m < low) | (y_m < low) | (x_m > high_x - low) | (y_m > high_y - low)
            tile.write(np.where(outside, 255, codes).astype(np.uint8), 1, window=window)


def _label_windows(scene: Scene, transform: Affine, n: int) -> Iterator[Window]:
    """The blocks of the tile that the scene touches."""
    cols, rows = ~transform * scene.frame_deg(_LABEL_MARGIN_M)
    for row in range(max(0, int(rows.min()) // 512 * 512), min(n, int(rows.max()) + 1), 512):
        for col in range(max(0, int(cols.min()) // 512 * 512), min(n, int(cols.max()) + 1), 512):
            yield Window(col, row, min(512, n - col), min(512, n - row))


def _label_colors() -> dict[int, tuple[int, int, int, int]]:
    return {code: (*c.color, 255) for c in load_legend("japan_14").classes for code in c.codes}
