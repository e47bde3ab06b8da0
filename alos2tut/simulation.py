"""A simulated Japan-like scene, delivered as JAXA would: a Level 2.1 CEOS product and a land-cover label tile.

Everything is seeded. Land cover is a function of ground position, evaluated at each grid's own pixel centres, so image
and labels agree. Backscatter is σ0 · T · S plus noise: class mean, gamma texture T, and one-look speckle S. The priors
are in ``surfaces.yaml``; they are assumptions, and so is everything that is learned from this scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window
from scipy import ndimage, stats

from . import radiometry
from .artifacts import atomic_path, make_folder, write_json
from .ceos_writer import ProductDescription, write_ceos_product
from .errors import Alos2TutError
from .legend import load_legend
from .progress import progress_bar

RECIPE = "japansim-thin-2"
SPACING_M = 2.5
#: label tiles: 1° × 1° of 12000² pixels, as JAXA's HRLULC
LABEL_PIXELS_PER_DEGREE = 12000
#: ground position of the scene's south-west corner, UTM 54 north: Sagami Bay's latitude
_UTM_ZONE = 54
_UTM = CRS.from_epsg(32600 + _UTM_ZONE)
_WEST_M, _SOUTH_M = 350_000.0, 3_905_000.0
_STRIP = 512
_MARGIN_M = 600.0
_LABEL_MARGIN_M = 50.0
_INCIDENCE_DEG, _OFF_NADIR_DEG, _HEADING_DEG = 36.3, 32.4, 190.0
#: direction of the right-looking radar's view, 90° right of the heading, counted from east towards north
_LOOK_RAD = math.radians(90 - (_HEADING_DEG + 90))

FloatArray: TypeAlias = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Priors:
    """The table in ``surfaces.yaml``; arrays are indexed by surface."""

    names: list[str]
    codes: NDArray[np.uint8]
    sigma0_db: NDArray[np.float64]
    texture_order: list[float | None]
    parcel_db: NDArray[np.float64]
    noise_floor_db: float
    speckle_field_correlation: float
    texture_length_m: float
    building_orientation_db: float
    paddy_resonance_db: float


@cache
def load_priors() -> Priors:
    """The simulator's assumptions, from ``surfaces.yaml``."""
    content = yaml.safe_load(files("alos2tut").joinpath("surfaces.yaml").read_text(encoding="utf-8"))
    rows = content.pop("surfaces")
    return Priors(
        names=[row["name"] for row in rows],
        codes=np.array([row["code"] for row in rows], dtype=np.uint8),
        sigma0_db=np.array([row["sigma0_db"] for row in rows]),
        texture_order=[row["texture_order"] for row in rows],
        parcel_db=np.array([row["parcel_db"] for row in rows]),
        **content,
    )


class LandCover:
    """Surfaces as a function of ground position, from a seed.

    Smooth random fields (elevation, wetness, town density, …) are sampled every 50 m and interpolated; parcels, town
    blocks and single buildings are cells of rotated grids whose properties are hashes of the cell's number. Shares of
    the scene are set by quantiles of the fields, so every seed has sea, plain and hills.
    """

    _GRID_M = 50.0
    #: shares of the scene that lie below sea level, and below the foot of the hills
    _SEA, _PLAIN = 0.08, 0.50
    #: correlation lengths of the fields
    _FIELDS_M: ClassVar = {
        "relief": 1600.0,
        "ridges": 450.0,
        "river": 1700.0,
        "wetness": 500.0,
        "town": 700.0,
        "greenhouse": 350.0,
        "solar": 250.0,
        "pasture": 420.0,
        "bare": 300.0,
        "lake": 350.0,
        "forest": 380.0,
        "bamboo": 200.0,
    }

    def __init__(self, seed: int, height_m: float, width_m: float):
        self._seed = seed
        shape = tuple(int((side + 2 * _MARGIN_M) / self._GRID_M) + 2 for side in (height_m, width_m))
        self._fields = {
            name: self._smooth_field(index, shape, length)
            for index, (name, length) in enumerate(self._FIELDS_M.items())
        }
        rows, cols = np.indices(shape)
        northward, westward = rows / shape[0], 1 - cols / shape[1]
        elevation = northward + 0.7 * westward + 0.22 * self._fields.pop("relief") + 0.06 * self._fields.pop("ridges")
        self._fields["elevation"] = _ranks(elevation)
        river = self._fields.pop("river")
        slope = np.hypot(*np.gradient(river, self._GRID_M))
        self._fields["river_m"] = np.abs(river) / np.maximum(slope, 1e-5)
        for name in ("wetness", "town", "greenhouse", "solar", "pasture", "bare", "lake", "forest", "bamboo"):
            self._fields[name] = _ranks(self._fields[name])

    def _smooth_field(self, stream: int, shape: tuple[int, ...], length_m: float) -> NDArray[np.float64]:
        pad = math.ceil(3 * length_m / self._GRID_M)
        noise = np.random.default_rng([self._seed, 1, stream]).standard_normal([n + 2 * pad for n in shape])
        smooth = ndimage.gaussian_filter(noise, length_m / self._GRID_M)[pad:-pad, pad:-pad]
        return np.asarray((smooth - smooth.mean()) / smooth.std())

    def _at(self, name: str, x_m: FloatArray, y_m: FloatArray) -> NDArray[np.float32]:
        """A field at ground positions, bilinearly."""
        coordinates = [(y_m + _MARGIN_M) / self._GRID_M, (x_m + _MARGIN_M) / self._GRID_M]
        values: NDArray[np.float32] = ndimage.map_coordinates(
            self._fields[name], coordinates, output=np.float32, order=1, mode="nearest"
        )
        return values

    def surfaces(self, x_m: FloatArray, y_m: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What lies at ground positions.

        Args:
            x_m: metres east of the scene's south-west corner, any shape.
            y_m: metres north of it.

        Returns:
            The surface's index in ``surfaces.yaml`` (uint8), and the mean backscatter in dB there (float32) with its
            differences between parcels, row directions, building orientations and point targets.
        """
        priors = load_priors()
        index = {name: i for i, name in enumerate(priors.names)}
        at = {name: self._at(name, x_m, y_m) for name in ("elevation", "river_m", "wetness", "town")}
        surface = np.full(x_m.shape, index["grassland"], dtype=np.uint8)
        offset_db = np.zeros(x_m.shape, dtype=np.float32)
        plain = (at["elevation"] >= self._SEA) & (at["elevation"] < self._PLAIN)
        hills = at["elevation"] >= self._PLAIN
        if plain.any():
            surface[plain], offset_db[plain] = self._plain(x_m[plain], y_m[plain], index, priors)
        if hills.any():
            surface[hills] = self._hills(x_m[hills], y_m[hills], at["elevation"][hills], index)
        shore = at["elevation"] < self._SEA + 0.012
        surface[shore] = index["bare"]
        low = (at["elevation"] >= self._SEA) & (at["elevation"] < 0.30) & (at["wetness"] > 0.82) & (at["town"] < 0.6)
        surface[low] = index["wetland"]
        # rivers are 70 m wide in the plain and narrow to streams, which are not drawn, in the hills
        half_width_m = 35 * np.clip((0.85 - at["elevation"]) / (0.85 - self._PLAIN), 0, 1)
        river = (at["river_m"] < half_width_m) & (half_width_m > 8)
        surface[river] = index["inland water"]
        surface[at["elevation"] < self._SEA] = index["sea"]
        offset_db[low | river | shore] = 0
        return surface, (priors.sigma0_db[surface] + offset_db).astype(np.float32)

    def _plain(
        self, x_m: FloatArray, y_m: FloatArray, index: dict[str, int], priors: Priors
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Fields, towns, greenhouses and solar farms; districts of 1.5 km share one orientation."""
        # the border between districts wanders, so it is no visible square
        wander = 1500 * (self._at("town", x_m, y_m) - 0.5)
        district = (np.floor((x_m + wander) / 1500), np.floor((y_m + wander * np.sin(x_m / 700)) / 1500))
        angle = (_hashed(*district, salt=1) - 0.5) * math.pi
        along, across = x_m * np.cos(angle) + y_m * np.sin(angle), y_m * np.cos(angle) - x_m * np.sin(angle)

        def at_center(name: str, cell: tuple[FloatArray, FloatArray], size: tuple[float, float]) -> FloatArray:
            u, v = (cell[0] + 0.5) * size[0], (cell[1] + 0.5) * size[1]
            return self._at(name, u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle))

        # consolidated paddies are 100 × 30 m; the town's blocks 80 × 60 m
        field_size, block_size = (100.0, 30.0), (80.0, 60.0)
        parcel = (np.floor(along / field_size[0]), np.floor(across / field_size[1]))
        block = (np.floor(along / block_size[0]), np.floor(across / block_size[1]))
        draw, level = _hashed(*parcel, salt=2), _hashed(*parcel, salt=3) - 0.5
        wet = at_center("wetness", parcel, field_size)
        surface = np.where(draw < 0.25 + 0.55 * wet, index["paddy"], index["cropland"])
        surface[draw > 0.90] = index["grassland"]
        surface[(at_center("greenhouse", parcel, field_size) > 0.94) & (draw < 0.7)] = index["greenhouse"]
        surface[at_center("solar", parcel, field_size) > 0.992] = index["solar panel"]
        town = at_center("town", block, block_size) > 0.62
        u, v = along - block[0] * block_size[0], across - block[1] * block_size[1]
        park = _hashed(*block, salt=4) < 0.06
        surface[town] = np.where((u < 8) | (v < 7), index["street"], index["buildings"])[town]
        surface[town & park] = index["grassland"]

        offset_db = 2 * math.sqrt(3) * level * priors.parcel_db[surface]
        # walls that face the radar, along either axis of the town, make corners with the ground; oblique ones do not
        offset_db += np.where(
            surface == index["buildings"], priors.building_orientation_db * np.cos(4 * (angle - _LOOK_RAD)), 0
        )
        # rows are planted along the field; those at right angles to the view add up in phase (Bragg)
        resonant = (surface == index["paddy"]) & (np.abs(np.cos(angle - _LOOK_RAD)) < 0.2)
        offset_db += np.where(resonant, priors.paddy_resonance_db, 0)
        corner = (np.floor(along / 15), np.floor(across / 15))
        bright = (np.abs(along / 15 % 1 - 0.5) < 0.1) & (np.abs(across / 15 % 1 - 0.5) < 0.1)
        bright &= (surface == index["buildings"]) & (_hashed(*corner, salt=5) < 0.15)
        return surface.astype(np.uint8), (offset_db + np.where(bright, 14.0, 0.0)).astype(np.float32)

    def _hills(
        self, x_m: FloatArray, y_m: FloatArray, elevation: FloatArray, index: dict[str, int]
    ) -> NDArray[np.uint8]:
        """Forest by elevation and stand, bamboo along the foot, pastures, slides, reservoirs and hill-top panels."""
        stand = self._at("forest", x_m, y_m)
        surface = np.where(stand > 0.45, index["evergreen needle-leaf"], index["deciduous broad-leaf"])
        surface[(elevation < 0.68) & (stand < 0.30)] = index["evergreen broad-leaf"]
        surface[(elevation > 0.93) & (stand < 0.40)] = index["deciduous needle-leaf"]
        surface[(elevation < 0.60) & (self._at("bamboo", x_m, y_m) > 0.88)] = index["bamboo"]
        surface[(self._at("pasture", x_m, y_m) > 0.90)] = index["grassland"]
        surface[self._at("bare", x_m, y_m) > 0.972] = index["bare"]
        surface[self._at("solar", x_m, y_m) > 0.994] = index["solar panel"]
        surface[self._at("lake", x_m, y_m) > 0.985] = index["inland water"]
        return surface.astype(np.uint8)


def simulate_product(
    out_dir: str | Path, seed: int = 0, size_px: int | tuple[int, int] = 4096, *, progress: bool | None = None
) -> Path:
    """Write a simulated Level 2.1 product (UTM, 2.5 m, HH) and its label tile(s).

    Args:
        out_dir: a folder that does not exist yet or is empty; it becomes the product's folder (VOL, LED, IMG-HH, TRL,
            ``summary.txt``), with ``labels/LC_N35E139.tif`` (and neighbours where the scene reaches them) and
            ``simulation.json`` (recipe, seed, shares, clipped pixels).
        seed: equal seeds and sizes give equal bytes.
        size_px: rows and columns; one number for a square.
        progress: show a bar; None: only where someone watches.

    Returns:
        ``out_dir``.

    Raises:
        Alos2TutError: a size outside 64…40000, a negative seed, or a folder that holds something.
    """
    out_dir = Path(out_dir)
    sides = tuple(size_px) if isinstance(size_px, (tuple, list)) else (size_px, size_px)
    if len(sides) != 2 or not all(isinstance(n, int) and 64 <= n <= 40_000 for n in sides):
        raise Alos2TutError(f"size_px={size_px!r} is not one or two whole numbers in 64…40000", where="size_px")
    height, width = sides
    if not isinstance(seed, int) or seed < 0:
        raise Alos2TutError(f"seed={seed!r} is not a whole number of at least 0", where="seed")
    if out_dir.is_file() or (out_dir.is_dir() and any(out_dir.iterdir())):
        raise Alos2TutError("exists and is not empty", where=out_dir, remedy="Name another folder, or remove it.")
    make_folder(out_dir.parent)
    scene = _Scene(seed, height, width)
    with atomic_path(out_dir) as folder:
        folder.mkdir()
        (folder / "labels").mkdir()
        strips = _Strips(scene, progress)
        write_ceos_product(folder, _describe(scene), {"HH": strips})
        label_files = _write_labels(folder / "labels", scene)
        write_json(folder / "simulation.json", {**scene.describe(strips.counts()), "label_files": label_files})
    return out_dir


@dataclass(frozen=True)
class _Scene:
    """Frame and identity of one simulated product."""

    seed: int
    height: int
    width: int

    @property
    def identity(self) -> str:
        return f"ALOS2{90000 + self.seed % 10000:05d}2890-221119-UBSR2.1GUD"

    @property
    def north_m(self) -> float:
        return _SOUTH_M + self.height * SPACING_M

    @property
    def transform(self) -> Affine:
        return Affine(SPACING_M, 0, _WEST_M, 0, -SPACING_M, self.north_m)

    def land_cover(self) -> LandCover:
        return LandCover(self.seed, self.height * SPACING_M, self.width * SPACING_M)

    def has_data(self, first_row: int, rows: int) -> NDArray[np.bool_]:
        """The swath is slanted against the map grid: two thin corners have no data."""
        down = (np.arange(first_row, first_row + rows) + 0.5)[:, None] / self.height
        across = (np.arange(self.width) + 0.5)[None, :] / self.width
        return np.asarray((across > 0.04 * (1 - 2 * down)) & (across < 1 - 0.04 * (2 * down - 1)))

    def describe(self, counts: dict[str, Any]) -> dict[str, Any]:
        return {
            "simulated": True,
            "recipe": RECIPE,
            "seed": self.seed,
            "size_px": [self.height, self.width],
            "noise_floor_db": load_priors().noise_floor_db,
            **counts,
        }


def _describe(scene: _Scene) -> ProductDescription:
    """The scene as a product of Level 2.1."""
    scene_id, _, product_id = scene.identity.rpartition("-")
    return ProductDescription(
        scene_id=scene_id,
        product_id=product_id,
        shape=(scene.height, scene.width),
        spacing_m=(SPACING_M, SPACING_M),
        center_time=datetime(2022, 11, 19, 2, 43),
        incidence_deg=_INCIDENCE_DEG,
        heading_deg=_HEADING_DEG,
        off_nadir_deg=_OFF_NADIR_DEG,
        transform=scene.transform,
        utm_zone=_UTM_ZONE,
        noise_db=load_priors().noise_floor_db,
        simulated=True,
    )


class _Strips:
    """The digital numbers of a scene, strip by strip; counts surfaces and clipped pixels on the way."""

    def __init__(self, scene: _Scene, progress: bool | None):
        self._scene, self._progress = scene, progress
        self._surfaces = np.zeros(len(load_priors().names), dtype=np.int64)
        self._clipped = {"low": 0, "high": 0}

    def counts(self) -> dict[str, Any]:
        """Shares of surfaces, and pixels that no 16-bit number fits."""
        shares = np.round(self._surfaces / self._surfaces.sum(), 5).tolist()
        return {
            "clipped_pixels": self._clipped,
            "surface_shares": dict(zip(load_priors().names, shares, strict=True)),
        }

    def __iter__(self) -> Iterator[NDArray[np.uint16]]:
        scene = self._scene
        land, backscatter = scene.land_cover(), _Backscatter(scene)
        strips = range(0, scene.height, _STRIP)
        for first in progress_bar(strips, "simulating", "strip", show=self._progress):
            rows = min(_STRIP, scene.height - first)
            x_m = np.broadcast_to((np.arange(scene.width) + 0.5) * SPACING_M, (rows, scene.width))
            y_m = np.broadcast_to(
                ((scene.height - first - np.arange(rows)) - 0.5)[:, None] * SPACING_M, (rows, scene.width)
            )
            surface, mean_db = land.surfaces(x_m, y_m)
            power = backscatter.power(first, surface, mean_db)
            dn = np.rint(radiometry.power_to_dn(power))
            has_data = scene.has_data(first, rows)
            self._clipped["low"] += int(np.count_nonzero((dn < 1) & has_data))
            self._clipped["high"] += int(np.count_nonzero((dn > 65535) & has_data))
            self._surfaces += np.bincount(surface[has_data], minlength=len(self._surfaces))
            yield np.where(has_data, np.clip(dn, 1, 65535), 0).astype(np.uint16)


class _Backscatter:
    """Power from surfaces: texture and speckle drawn per strip of lines, so any reading order gives equal bytes."""

    _HALO = 32

    def __init__(self, scene: _Scene):
        self._scene, self._priors = scene, load_priors()
        self._noise = lru_cache(maxsize=8)(self._draw_strip)
        grid = np.linspace(-5.5, 5.5, 2048)
        self._grid = grid
        self._texture_tables = [
            None if order is None else stats.gamma.ppf(stats.norm.cdf(grid), order, scale=1 / order)
            for order in self._priors.texture_order
        ]

    def power(self, first: int, surface: NDArray[np.uint8], mean_db: FloatArray) -> NDArray[np.float64]:
        """Linear power of lines ``first``…: (σ0 · T + noise floor) · S, with exponential (one-look) speckle S."""
        rows = len(surface)
        mean = radiometry.to_power(mean_db)
        field = self._texture_field(first, rows)
        for index, table in enumerate(self._texture_tables):
            here = surface == index
            if table is not None and here.any():
                mean[here] *= np.interp(field[here], self._grid, table)
        # thermal noise is as Gaussian as the speckled field, so both share one complex normal draw
        return np.asarray((mean + radiometry.to_power(self._priors.noise_floor_db)) * self._speckle(first, rows))

    def _texture_field(self, first: int, rows: int) -> FloatArray:
        """Correlated standard normal field that the gamma texture is made from."""
        sigma = self._priors.texture_length_m / SPACING_M
        impulse = np.zeros(2 * self._HALO + 1)
        impulse[self._HALO] = 1
        gain = np.sum(ndimage.gaussian_filter1d(impulse, sigma) ** 2)
        noise = ndimage.gaussian_filter(self._rows(2, first, rows), sigma)
        field: FloatArray = self._core(noise) / gain
        return field

    def _speckle(self, first: int, rows: int) -> FloatArray:
        """|z|² of a complex normal field whose neighbours correlate as stated in the priors."""
        wanted = self._priors.speckle_field_correlation
        # for taps (a, 1, a) the correlation at lag 1 is 2a / (1 + 2a²)
        a = (1 - math.sqrt(1 - 2 * wanted**2)) / (2 * wanted)
        taps = np.array([a, 1, a]) / math.sqrt(1 + 2 * a**2)
        parts = []
        for stream in (3, 4):
            noise = self._rows(stream, first, rows)
            for axis in (0, 1):
                noise = ndimage.convolve1d(noise, taps, axis=axis)
            parts.append(self._core(noise))
        speckle: FloatArray = (parts[0] ** 2 + parts[1] ** 2) / 2
        return speckle

    def _core(self, padded: FloatArray) -> FloatArray:
        core: FloatArray = padded[self._HALO : -self._HALO, self._HALO : -self._HALO]
        return core

    def _rows(self, stream: int, first: int, rows: int) -> NDArray[np.float32]:
        """White noise of these lines with a halo all around."""
        top, bottom = first - self._HALO, first + rows + self._HALO
        strips = range(top // _STRIP, -(-bottom // _STRIP))
        noise = np.concatenate([self._noise(stream, strip) for strip in strips])
        return noise[top - strips.start * _STRIP : bottom - strips.start * _STRIP]

    def _draw_strip(self, stream: int, strip: int) -> NDArray[np.float32]:
        # strips above the scene have negative numbers; seeds may not
        rng = np.random.default_rng([self._scene.seed, stream, strip + 1])
        return rng.standard_normal((_STRIP, self._scene.width + 2 * self._HALO), dtype=np.float32)


def _lonlat(x_m: Any, y_m: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x_m, y_m = np.broadcast_arrays(x_m, y_m)
    longitude, latitude = reproject_points(_UTM, CRS.from_epsg(4326), x_m.ravel(), y_m.ravel())
    return np.reshape(longitude, x_m.shape), np.reshape(latitude, x_m.shape)


def _write_labels(folder: Path, scene: _Scene) -> list[str]:
    """Label tiles in JAXA's form (1°, 1/12000°, named by the south-west corner); no data beyond the scene."""
    longitude, latitude = _lonlat(
        *(scene.transform * (np.array([0, scene.width, 0, scene.width]), np.array([0, 0, scene.height, scene.height])))
    )
    west, east = math.floor(longitude.min()), math.ceil(longitude.max())
    south, north = math.floor(latitude.min()), math.ceil(latitude.max())
    land = scene.land_cover()
    names = []
    for tile_south in range(south, north):
        for tile_west in range(west, east):
            names.append(f"labels/LC_N{tile_south:02d}E{tile_west:03d}.tif")
            _write_label_tile(folder.parent / names[-1], tile_south, tile_west, scene, land)
    return names


def _write_label_tile(path: Path, south: int, west: int, scene: _Scene, land: LandCover) -> None:
    n = LABEL_PIXELS_PER_DEGREE
    transform = Affine(1 / n, 0, west, 0, -1 / n, south + 1)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": n, "width": n, "nodata": 255}
    profile |= {"crs": CRS.from_epsg(4326), "transform": transform, "compress": "deflate", "sparse_ok": True}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=512, blockysize=512) as tile:
        tile.write_colormap(1, _label_colors())
        tile.update_tags(SIMULATED="yes", RECIPE=RECIPE, SEED=scene.seed)
        for window in _label_windows(scene, transform, n):
            cols = np.arange(window.col_off, window.col_off + window.width) + 0.5
            rows = np.arange(window.row_off, window.row_off + window.height)[:, None] + 0.5
            longitude, latitude = np.broadcast_arrays(*(transform * (cols[None, :], rows)))
            x_m, y_m = reproject_points(CRS.from_epsg(4326), _UTM, longitude.ravel(), latitude.ravel())
            x_m = np.reshape(x_m, longitude.shape) - _WEST_M
            y_m = np.reshape(y_m, longitude.shape) - _SOUTH_M
            codes = load_priors().codes[land.surfaces(x_m, y_m)[0]]
            # a little beyond the scene, whose outermost pixels lie in label pixels centred outside
            low, high_x, high_y = -_LABEL_MARGIN_M, scene.width * SPACING_M, scene.height * SPACING_M
            outside = (x_m < low) | (y_m < low) | (x_m > high_x - low) | (y_m > high_y - low)
            tile.write(np.where(outside, 255, codes).astype(np.uint8), 1, window=window)


def _label_windows(scene: _Scene, transform: Affine, n: int) -> Iterator[Window]:
    """The blocks of the tile that the scene touches."""
    margin = _LABEL_MARGIN_M / SPACING_M
    corners_x = np.array([-margin, scene.width + margin] * 2)
    corners_y = np.repeat([-margin, scene.height + margin], 2)
    longitude, latitude = _lonlat(*(scene.transform * (corners_x, corners_y)))
    cols, rows = ~transform * (longitude, latitude)
    for row in range(max(0, int(rows.min()) // 512 * 512), min(n, int(rows.max()) + 1), 512):
        for col in range(max(0, int(cols.min()) // 512 * 512), min(n, int(cols.max()) + 1), 512):
            yield Window(col, row, min(512, n - col), min(512, n - row))


def _label_colors() -> dict[int, tuple[int, int, int, int]]:
    return {code: (*c.color, 255) for c in load_legend("japan_14").classes for code in c.codes}


def _ranks(field: FloatArray) -> NDArray[np.float64]:
    """Values as their rank from 0 to 1, so that a threshold is a share of the scene."""
    order: Callable[[FloatArray], NDArray[np.float64]] = stats.rankdata
    return order(field).reshape(field.shape) / field.size


def _hashed(i: FloatArray, j: FloatArray, *, salt: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each cell: a mix of its indices, the same on every machine (splitmix64's finaliser)."""
    with np.errstate(over="ignore"):
        key = i.astype(np.int64).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        key ^= j.astype(np.int64).astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F) + np.uint64(salt)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
        key ^= key >> np.uint64(31)
    return (key >> np.uint64(11)).astype(np.float64) * 2.0**-53
