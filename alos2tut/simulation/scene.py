"""A simulated Japan-like scene, delivered as JAXA would: a Level 2.1 CEOS product and a land-cover label tile.

Land cover is a function of ground position (:mod:`.landcover`), evaluated at each grid's own pixel centres, so image
and labels agree. Backscatter is σ0 · T · S plus noise: the mean σ0 of a surface at its angles, gamma texture T, and
one-look speckle S. The priors are in ``surfaces.yaml``; most are assumptions.

The recipe is frozen as :data:`RECIPE`: whatever changes a pixel or a label, in the code or in the table, needs a new
version, since results were measured on this one. On another machine a few pixels may differ by one DN.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window

from .. import geometry, radiometry
from ..core.artifacts import atomic_path, check_vacant, make_folder, named_path, write_json
from ..core.errors import Alos2TutError
from ..core.parallel import map_in_order
from ..core.progress import progress_bar
from ..core.public import public
from ..core.validation import is_count
from ..dataset.legend import load_legend
from ..products.georeference import utm_crs
from ..products.rasters import LONLAT
from .backscatter import HEADING_DEG, INCIDENCE_DEG, OFF_NADIR_DEG, SPACING_M, Noise, from_db, mean_db
from .ceos_description import ProductDescription
from .ceos_writer import write_ceos_product
from .landcover import Ground, LandCover
from .priors import SEASONS, Priors, asked_shares, load_priors, prior
from .terrain import in_swath

#: names the priors and the recipe together
RECIPE = "japansim-v1"
#: a little beyond the scene, whose outermost pixels lie in label pixels centred outside
_LABEL_MARGIN_M = 50.0
#: lines that are written at once, columns that are worked on at once
_STRIP, _BLOCK = 256, 1024
_STRIPS_AHEAD = 8

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Floats: TypeAlias = NDArray[np.float32]


@public
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
    out_dir = named_path(out_dir, "out_dir")
    scene = _checked_scene(seed, size_px, season, corner)
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise Alos2TutError(f"executor={executor!r} takes no work", where="executor", remedy="Give a pool, or None.")
    check_vacant(out_dir)
    make_folder(out_dir.parent)
    with atomic_path(out_dir) as folder:
        folder.mkdir()
        (folder / "labels").mkdir()
        strips = _Strips(scene, executor, progress)
        write_ceos_product(folder, scene.description, {"HH": strips})
        label_files = _write_labels(folder / "labels", scene)
        write_json(folder / "simulation.json", {**scene.describe(strips), "label_files": label_files})
    return out_dir


def _checked_scene(seed: Any, size_px: Any, season: str, corner: Any) -> Scene:
    sides = tuple(size_px) if isinstance(size_px, (tuple, list)) else (size_px, size_px)
    if len(sides) != 2 or not all(is_count(side, 64) and side <= 40_000 for side in sides):
        raise Alos2TutError(f"size_px={size_px!r} is not one or two whole numbers in 64…40000", where="size_px")
    if not is_count(seed, 0) or seed >= 2**32:
        raise Alos2TutError(f"seed={seed!r} is not a whole number in 0…2³² − 1", where="seed")
    if season not in SEASONS:
        raise Alos2TutError(f"season={season!r} is none of {', '.join(SEASONS)}", where="season")
    height, width = map(int, sides)
    scene = Scene(int(seed), height, width, season, _checked_place(corner))
    if np.ptp(scene.frame_deg(0)[0]) > 180:
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


# --- the scene and its pixels


@dataclass(frozen=True)
class Place:
    """Where a scene lies, by default the table's place: its UTM zone, and its south-west corner in metres there."""

    utm_zone: int = prior("scene", "utm_zone")
    south: bool = False
    west_m: float = prior("scene", "corner_m")[0]
    south_m: float = prior("scene", "corner_m")[1]

    @property
    def utm(self) -> CRS:
        """The map."""
        return utm_crs(self.utm_zone, self.south)

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
    """One simulated product: seed, pixels of 2.5 m, season and place, and what follows from them."""

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
            incidence_deg=INCIDENCE_DEG,
            heading_deg=HEADING_DEG,
            off_nadir_deg=OFF_NADIR_DEG,
            transform=self.transform,
            utm_zone=self.place.utm_zone,
            south=self.place.south,
            simulated=True,
            fields={"quality": {"noise_db": self.priors.noise_floor_db}},
        )

    def has_data(self, rows: slice, cols: slice) -> NDArray[np.bool_]:
        """The swath is slanted against the map grid: two thin corners have no data."""
        down = (np.arange(rows.start, rows.stop) + 0.5)[:, None] / self.height
        across = (np.arange(cols.start, cols.stop) + 0.5)[None, :] / self.width
        return in_swath(down, across)

    def ground(self, rows: slice, cols: slice) -> Ground:
        """What lies at the centres of these pixels."""
        x_m = (np.arange(cols.start, cols.stop) + 0.5) * SPACING_M
        y_m = (self.height - np.arange(rows.start, rows.stop) - 0.5) * SPACING_M
        return self.land_cover.surfaces(*np.meshgrid(x_m, y_m))

    def mean_power(self, ground: Ground, rows: slice, cols: slice) -> Floats:
        """Expected linear power of these pixels: σ0 at their angles and the noise floor."""
        incidence = _incidence_rad(self, rows, cols)
        floor = from_db(np.float32(self.priors.noise_floor_db))
        return np.asarray(from_db(mean_db(ground, incidence, self.priors)) + floor, dtype=np.float32)

    def digital_numbers(
        self, rows: slice, cols: slice
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.int64]]:
        """Pixels of any block, the surfaces under them, and how many were too low and too high for 16 bits."""
        ground = self.ground(rows, cols)
        noise = Noise(self.seed, rows, cols)
        floor = from_db(np.float32(self.priors.noise_floor_db))
        # thermal noise is as Gaussian as the speckled field, and went through the same window: they share one draw
        power = self.mean_power(ground, rows, cols) - floor
        power *= noise.texture(ground.surface, self.priors)
        power += floor
        power *= noise.speckle()
        dn = np.rint(radiometry.power_to_dn(power))
        valid = self.has_data(rows, cols)
        clipped = np.array([np.count_nonzero(beyond & valid) for beyond in (dn < 1, dn > radiometry.SATURATED_DN)])
        numbers = np.where(valid, np.clip(dn, 1, radiometry.SATURATED_DN), 0).astype(np.uint16)
        return numbers, np.where(valid, ground.surface, 255).astype(np.uint8), clipped

    def describe(self, strips: _Strips) -> dict[str, Any]:
        """What ``simulation.json`` says."""
        shares = strips.surfaces / max(strips.surfaces.sum(), 1)
        obtained = np.bincount(self.priors.codes, weights=shares, minlength=15)
        corner = self.place.lonlat(self.place.west_m, self.place.south_m)
        return {
            "simulated": True,
            "recipe": RECIPE,
            "seed": self.seed,
            "season": self.season,
            "size_px": [self.height, self.width],
            "place": {**asdict(self.place), "corner_deg": [round(float(angle), 9) for angle in corner]},
            "noise_floor_db": self.priors.noise_floor_db,
            "clipped_pixels": dict(zip(("low", "high"), strips.clipped.tolist(), strict=True)),
            "surface_shares": dict(zip(self.priors.names, np.round(shares, 5).tolist(), strict=True)),
            "code_shares": {
                str(code): {"asked": round(asked, 5), "obtained": round(float(obtained[code]), 5)}
                for code, asked in asked_shares().items()
            },
        }


@lru_cache(maxsize=2)
def _land_cover(seed: int, height_m: float, width_m: float) -> LandCover:
    return LandCover(seed, height_m, width_m)


class _Strips:
    """The digital numbers of a scene, strip by strip; counts surfaces and clipped pixels on the way."""

    def __init__(self, scene: Scene, executor: Executor | None, progress: bool | None):
        self._scene, self._executor, self._progress = scene, executor, progress
        self.surfaces = np.zeros(len(scene.priors.names), dtype=np.int64)
        self.clipped = np.zeros(2, dtype=np.int64)

    def __iter__(self) -> Iterator[NDArray[np.uint16]]:
        starts = progress_bar(range(0, self._scene.height, _STRIP), "simulating", "strip", show=self._progress)
        # threads that start together would each build the ground
        _ = self._scene.land_cover
        made = map_in_order(self._executor, partial(_make_strip, self._scene), starts, ahead=_STRIPS_AHEAD)
        for numbers, surfaces, clipped in made:
            self.surfaces += surfaces
            self.clipped += clipped
            yield numbers


def _make_strip(scene: Scene, first: int) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]]:
    """A strip of lines: its pixels, pixels per surface, pixels clipped."""
    rows = slice(first, min(first + _STRIP, scene.height))
    numbers = np.empty((rows.stop - first, scene.width), np.uint16)
    surfaces, clipped = np.zeros(len(scene.priors.names), np.int64), np.zeros(2, np.int64)
    for col in range(0, scene.width, _BLOCK):
        cols = slice(col, min(col + _BLOCK, scene.width))
        numbers[:, cols], surface, beyond = scene.digital_numbers(rows, cols)
        surfaces += np.bincount(surface.ravel(), minlength=256)[: surfaces.size]
        clipped += beyond
    return numbers, surfaces, clipped


@lru_cache(maxsize=2)
def _incidence_polynomial(scene: Scene) -> tuple[float, ...]:
    """Incidence in radians as c₀ + c₁x + c₂y + c₃x² + c₄xy + c₅y², x and y from 0 to 1 across columns and rows."""
    y, x = (part.ravel() for part in np.mgrid[0:1:9j, 0:1:9j])
    place = scene.description
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


# --- labels


def _write_labels(folder: Path, scene: Scene) -> list[str]:
    """Label tiles in JAXA's form (1°, 1/12000°, named by the south-west corner); no data beyond the scene."""
    longitude, latitude = scene.frame_deg(0)
    names = []
    for south in range(math.floor(latitude.min()), math.ceil(latitude.max())):
        for west in range(math.floor(longitude.min()), math.ceil(longitude.max())):
            name = f"LC_{'S' if south < 0 else 'N'}{abs(south):02d}{'W' if west < 0 else 'E'}{abs(west):03d}.tif"
            _write_label_tile(folder / name, south, west, scene)
            names.append(f"labels/{name}")
    return names


def _write_label_tile(path: Path, south: int, west: int, scene: Scene) -> None:
    n = 12_000
    transform = Affine(1 / n, 0, west, 0, -1 / n, south + 1)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": n, "width": n, "nodata": 255}
    profile |= {"crs": LONLAT, "transform": transform, "compress": "deflate", "sparse_ok": True}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=512, blockysize=512) as tile:
        tile.write_colormap(1, {code: (*c.color, 255) for c in load_legend("japan_14").classes for code in c.codes})
        tile.update_tags(SIMULATED="yes", RECIPE=RECIPE, SEED=scene.seed)
        for window in _label_windows(scene, transform, n):
            cols = np.arange(window.col_off, window.col_off + window.width) + 0.5
            rows = np.arange(window.row_off, window.row_off + window.height)[:, None] + 0.5
            x_m, y_m = scene.place.on_ground(*np.broadcast_arrays(*(transform * (cols[None, :], rows))))
            codes = scene.priors.codes[scene.land_cover.surfaces(x_m, y_m).surface]
            low, high_x, high_y = -_LABEL_MARGIN_M, scene.width * SPACING_M, scene.height * SPACING_M
            outside = (x_m < low) | (y_m < low) | (x_m > high_x - low) | (y_m > high_y - low)
            tile.write(np.where(outside, 255, codes).astype(np.uint8), 1, window=window)


def _label_windows(scene: Scene, transform: Affine, n: int) -> Iterator[Window]:
    """The blocks of the tile that the scene touches."""
    cols, rows = ~transform * scene.frame_deg(_LABEL_MARGIN_M)
    for row in range(max(0, int(rows.min()) // 512 * 512), min(n, int(rows.max()) + 1), 512):
        for col in range(max(0, int(cols.min()) // 512 * 512), min(n, int(cols.max()) + 1), 512):
            yield Window(col, row, min(512, n - col), min(512, n - row))
