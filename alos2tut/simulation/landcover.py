"""The ground of the simulated scene: a plausible piece of Japanese coast, as a function of ground position.

Geography comes first, on a grid: a fractal relief that falls to the sea, valleys and rivers where water would run,
reservoirs behind dams, smooth fields that say where towns, paddies or forests prefer to be. Detail is laid over it
point by point: parcels, streets, houses, stands and panels are cells of rotated lattices, and what a cell holds is a
hash of its number. Nothing depends on the order or the size of the pieces in which the ground is asked for.

Sizes, shares and chances are in ``surfaces.yaml``, marked with their sources. The rest of the recipe (how fields and
lattices combine) is this project's own and an assumption throughout.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, spatial

from ..core.artifacts import read_yaml

Floats: TypeAlias = NDArray[np.float32]
Ids: TypeAlias = NDArray[np.uint32]
Mask: TypeAlias = NDArray[np.bool_]

#: streams of random numbers; those of the radar begin above
_RELIEF, _RIDGES, _BENDS, _SAMPLE, _FIELDS = 1, 2, 3, 4, 16
_MARGIN_M = 600.0
_TERRAIN_M, _ROUTING_CELLS, _FIELDS_M = 25.0, 4, 50.0
_ROUTING_M = _ROUTING_CELLS * _TERRAIN_M
#: what a flood climbs on flat ground from cell to cell
_RESISTANCE_M = 0.003
#: widths of the filters that take the grid's corners off the coast and off dams, in nodes of the terrain
_COAST_NODES, _DAM_NODES = 1.5, 2.0
#: points that are worked on at once: what they need stays in a core's cache
_CHUNK = 1 << 16
#: rivers, reservoirs and the coast are looked for no further away than this
_REACH_M = 500.0
#: level of reservoirs where there is none
_DRY_M = np.float32(-1e4)
#: how far knobs are turned, round by round: some answer so strongly that they would swing for ever
_CALIBRATION_POINTS, _CALIBRATION_STEPS = 60_000, (*[0.7] * 5, *[0.35] * 7)


@cache
def load_table() -> dict[str, Any]:
    """The content of ``surfaces.yaml``: the simulator's priors with their sources."""
    content: dict[str, Any] = read_yaml(files("alos2tut").joinpath("simulation/surfaces.yaml"))
    return content


@cache
def prior(group: str, name: str) -> Any:
    """A number of the table, or several in a tuple: ``prior("sizes_m", "paddy")`` is (100.0, 30.0)."""
    value = load_table()[group][name]["value"]
    return tuple(map(float, value)) if isinstance(value, list) else value


@cache
def surface_names() -> tuple[str, ...]:
    """Names of the surfaces; their place is the surface's number."""
    return tuple(row["name"] for row in load_table()["surfaces"])


@cache
def surface_codes() -> NDArray[np.uint8]:
    """The label code of each surface."""
    return np.array([row["code"] for row in load_table()["surfaces"]], dtype=np.uint8)


@cache
def asked_shares() -> dict[int, float]:
    """Share of the scene that each label code should take; together 1."""
    shares = {code: share for code, share in load_table()["shares"].items() if code != "source"}
    return {code: share / sum(shares.values()) for code, share in shares.items()}


def in_swath(down: NDArray[Any], across: NDArray[Any]) -> Mask:
    """Where the scene has data: the swath is slanted against the map grid, and two thin corners lie outside.

    Args:
        down: share of the scene's height above a place, 0…1.
        across: share of its width west of it; broadcast against ``down``.
    """
    slant = np.float32(prior("scene", "swath_slant")) * (1 - 2 * np.asarray(down))
    return np.asarray((across > slant) & (across < 1 + slant))


def generator(seed: int, stream: int, tile: tuple[int, int] = (0, 0)) -> np.random.Generator:
    """Random numbers of one stream on one tile: Philox, whose counter starts at the tile's place.

    Args:
        seed: the scene's.
        stream: what the numbers are for.
        tile: row and column, from −2³¹.

    Returns:
        A generator; equal arguments give equal numbers, whoever asks and whenever (Salmon et al. 2011).
    """
    key = np.array([seed % 2**64, stream], dtype=np.uint64)
    row, col = (n + 2**31 for n in tile)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, col, row], dtype=np.uint64)))


@dataclass(frozen=True)
class Ground:
    """What lies at some positions.

    Attributes:
        surface: its number, see :func:`surface_names`.
        level: how its parcel, stand or house differs from others of its kind: mean 0, spread 1.
        direction_rad: of rows, or the outward normal of walls, counted from east towards north; 0 where there is none.
        rise_east, rise_north: slope of the terrain, metres per metre.
    """

    surface: NDArray[np.uint8]
    level: Floats
    direction_rad: Floats
    rise_east: Floats
    rise_north: Floats

    @classmethod
    def empty(cls, size: int) -> Ground:
        """Room for so many points."""
        return cls(np.zeros(size, np.uint8), *(np.zeros(size, np.float32) for _ in range(4)))

    def put(self, where: Any, other: Ground) -> None:
        """Set surface, level and direction of some points; the terrain stays."""
        self.surface[where] = other.surface
        self.level[where] = other.level
        self.direction_rad[where] = other.direction_rad

    def reshaped(self, shape: tuple[int, ...]) -> Ground:
        """The same points in another shape."""
        return Ground(*(getattr(self, field.name).reshape(shape) for field in fields(self)))


class LandCover:
    """Surfaces as a function of ground position, from a seed and the size of the scene.

    Args:
        seed: equal seeds and sizes give equal ground.
        height_m: from south to north.
        width_m: from west to east.
    """

    def __init__(self, seed: int, height_m: float, width_m: float):
        self._seed = seed
        self._size_m = (height_m, width_m)
        self._salt = np.uint32(seed % 2**32 ^ 0x5EED)
        self._terrain = build_terrain(seed, height_m, width_m)
        self._fields = _smooth_fields(seed, height_m, width_m)
        self._calibrate()

    def surfaces(self, x_m: NDArray[Any], y_m: NDArray[Any]) -> Ground:
        """What lies at ground positions.

        Args:
            x_m: metres east of the scene's south-west corner, any shape.
            y_m: metres north of it.

        Returns:
            The ground there, in the shape of ``x_m``.
        """
        x, y = (np.asarray(part, dtype=np.float32).ravel() for part in (x_m, y_m))
        ground = Ground.empty(x.size)
        for first in range(0, x.size, _CHUNK):
            part = slice(first, first + _CHUNK)
            here = self._chunk(x[part], y[part])
            for field in fields(Ground):
                getattr(ground, field.name)[part] = getattr(here, field.name)
        return ground.reshaped(np.shape(x_m))

    # --- shares

    def _calibrate(self) -> None:
        """Turn the knobs until a sample of the ground with data shows the shares that are asked for."""
        draw = generator(self._seed, _SAMPLE).random((2, _CALIBRATION_POINTS), dtype=np.float32)
        x, y = draw[:, in_swath(1 - draw[1], draw[0])] * np.array(self._size_m[::-1], np.float32)[:, None]
        terrain, fields_here = self._terrain.at(x, y), self._fields.at(x, y)
        land = (terrain["shore_m"] > 0) & (terrain["river_m"] > 0)
        rank = terrain["rank"]
        hilly = land & (rank > prior("relief", "plain_share"))
        sample = fields_here | {"upland": terrain["upland"][land], "rank": rank[hilly]}
        sample["wetland"] = _wetness(terrain, fields_here)[land]
        self._sorted = {name: np.sort(values) for name, values in sample.items()}
        asked, knobs = asked_shares(), _rows("knobs")
        self._knobs = {name: knob["start"] for name, knob in knobs.items()}
        for step in _CALIBRATION_STEPS:
            found = np.bincount(surface_codes()[self.surfaces(x, y).surface], minlength=15) / x.size
            for name, knob in knobs.items():
                ratio = sum(asked[code] for code in knob["codes"]) / max(found[knob["codes"]].sum(), 1e-4)
                self._knobs[name] = min(self._knobs[name] * min(max(ratio, 0.5), 2.0) ** step, 0.95)

    def _cut(self, name: str, field: str | None = None, *, below: bool = False) -> np.float32:
        """The value that a field exceeds on the share of the ground that the knob of this name says, or stays below."""
        values = self._sorted[field or name]
        share = self._knobs[name] if below else 1 - self._knobs[name]
        return np.float32(values[int(share * (values.size - 1))]) if values.size else np.float32(0)

    # --- point by point

    def _chunk(self, x: Floats, y: Floats) -> Ground:
        terrain = self._terrain.at(x, y)
        ground = Ground.empty(x.size)
        sea = terrain["shore_m"] < 0
        inland = ~sea & ((terrain["river_m"] < 0) | (terrain["reservoir_m"] > 0))
        upland = terrain["upland"] - self._cut("upland")
        for zone, fill in (((upland < 0), self._lowland), ((upland >= 0), self._hills)):
            here = np.flatnonzero(zone & ~sea & ~inland)
            if here.size:
                nearby = {name: values[here] for name, values in terrain.items()} | {"above_foot": upland[here]}
                ground.put(here, fill(x[here], y[here], nearby))
        for water, name in ((sea, "sea"), (inland, "inland water")):
            ground.surface[water] = _number(name)
        # water lies flat, whatever is below it
        ground.rise_east[:] = np.where(sea | inland, 0, terrain["rise_east"])
        ground.rise_north[:] = np.where(sea | inland, 0, terrain["rise_north"])
        return ground

    def _lowland(self, x: Floats, y: Floats, terrain: Mapping[str, Floats]) -> Ground:
        """Fields, towns, wetlands, groves, and the banks of rivers and the sea."""
        smooth = self._fields.at(x, y, _LOWLAND_FIELDS)
        district = self._district(x, y, smooth)
        ground = self._fields_and_tunnels(district, smooth)
        self._scatter_blocks(ground, district, smooth)
        self._solar_farms(ground, district)
        mottle = smooth["mottle"]
        wet = _wetness(terrain, smooth) > self._cut("wetland")
        _cover(ground, wet, "wetland", mottle)
        _cover(ground, terrain["river_m"] < _metres("levee"), "grassland", mottle)
        _cover(ground, terrain["river_m"] < _metres("gravel") * (1 + mottle), "bare", mottle)
        _cover(ground, terrain["shore_m"] < _metres("beach") * (1 + mottle), "bare", mottle)
        return ground

    def _district(self, x: Floats, y: Floats, smooth: Mapping[str, Floats]) -> _Frame:
        """The district of each point; districts meet in winding lines and have a direction each."""
        size = _metres("district")
        wander = np.float32(prior("preferences", "district_wander") * size)
        wander_x, wander_y = (wander * smooth[name] for name in ("wander_x", "wander_y"))
        number = _cell_id(np.floor((x + wander_x) / size), np.floor((y + wander_y) / size), self._salt)
        angle = np.float32(math.pi) * _draw(number, 1)
        cos, sin = np.cos(angle), np.sin(angle)
        return _Frame(number, angle, x, y, x * cos + y * sin, y * cos - x * sin)

    def _fields_and_tunnels(self, district: _Frame, smooth: Mapping[str, Floats]) -> Ground:
        """Paddies and other fields; some lie fallow, some are under plastic."""
        ground = Ground.empty(district.x.size)
        gathers = np.float32(prior("preferences", "paddy_gathers"))
        wet_district = _draw(district.number, 2) - gathers * smooth["paddy"] < self._knobs["paddy"]
        smallest, largest = prior("chances", "parcel_scale")
        scale = smallest + (largest - smallest) * _draw(district.number, 3)
        sides = [np.where(wet_district, *pair) * scale for pair in zip(_metres("paddy"), _metres("field"), strict=True)]
        parcel = _Lattice(district, sides[0], sides[1], salt=4)
        draw = parcel.draw(1)
        is_paddy = np.where(wet_district, draw < _chance("paddy_among_paddies"), draw < _chance("paddy_among_fields"))
        ground.surface[:] = np.where(is_paddy, _number("paddy"), _number("cropland"))
        ground.level[:] = _spread(parcel.draw(2))
        # rows run along the parcel in paddies
        ground.direction_rad[:] = district.angle
        ridge = parcel.border(_metres("ridge"))
        ground.surface[ridge & is_paddy] = _number("paddy ridge")
        track = (np.mod(parcel.j, 4) == 0) & (parcel.v < _metres("track"))
        ground.surface[track] = np.where(wet_district[track], _number("paddy ridge"), _number("field track"))
        ground.surface[parcel.draw(3) < _chance("fallow")] = _number("grassland")
        ground.surface[parcel.draw(4) < _chance("barren")] = _number("bare")
        tunnels = (smooth["greenhouse"] > self._cut("greenhouse")) & (parcel.draw(5) < _chance("tunnel")) & ~track
        frame = np.mod(parcel.v, _metres("tunnel")) < _metres("frame")
        ground.surface[tunnels] = np.where(frame, _number("greenhouse frame"), _number("greenhouse"))[tunnels]
        ground.level[ridge & ~tunnels] = 0
        return ground

    def _scatter_blocks(self, ground: Ground, district: _Frame, smooth: Mapping[str, Floats]) -> None:
        """Towns, block by block, and farm houses and groves among the fields."""
        block = _Lattice(district, *_metres("block"), salt=5)
        density = smooth["town"] - self._cut("town") + prior("preferences", "town_edge") * (block.draw(1) - 0.5)
        chance = block.draw(2)
        # single blocks among fields hold a farm or the grove of a shrine
        town = (density > 0) | (chance < _chance("farm_block"))
        here = np.flatnonzero(town)
        ground.put(here, _town(district.cut(here), block.cut(here), np.maximum(density[here], 0)))
        _cover(ground, ~town & (chance > 1 - _chance("grove")), "evergreen broad-leaf", _spread(block.draw(3)))

    def _solar_farms(self, ground: Ground, district: _Frame) -> None:
        """Panels on some large plots: rows from east to west in arrays between service lanes."""
        plot = _Lattice(district, *_metres("farm"), salt=6)
        here = np.flatnonzero((plot.draw(1) < self._knobs["solar"]) & ~plot.border(_metres("farm_margin"), both=True))
        if not here.size:
            return
        x, y = district.x[here], district.y[here]
        across, along = (np.mod(position, side) for position, side in zip((x, y), _metres("panel_array"), strict=True))
        row, (edge, end), lane = np.mod(along, _metres("panel_pitch")), _metres("panel_row"), _metres("service_lane")
        surface = np.where(row < edge, _number("panel edge"), _number("panel"))
        surface = np.where((row > end) | (across < lane) | (along < lane), _number("service lane"), surface)
        ground.surface[here] = surface
        ground.level[here] = _spread(plot.draw(2)[here])
        ground.direction_rad[here] = 0

    def _hills(self, x: Floats, y: Floats, terrain: Mapping[str, Floats]) -> Ground:
        """Planted and natural forest, bamboo along the foot, pastures and golf courses, slides, solar farms."""
        smooth = self._fields.at(x, y, _HILL_FIELDS)
        district = self._district(x, y, smooth)
        stand = _Lattice(district, *_metres("stand"), salt=7)
        mottle = smooth["mottle"]
        ground = Ground.empty(x.size)
        planted = smooth["needle"] + _preference("stand_over_field") * _spread(stand.draw(1)) > self._cut("needle")
        high = terrain["rank"] + _preference("zone_mottle") * mottle
        low, larch = high < self._cut("evergreen", "rank", below=True), high > self._cut("larch", "rank")
        natural = np.where(low, _number("evergreen broad-leaf"), _number("deciduous broad-leaf"))
        crop = np.where(larch, _number("deciduous needle-leaf"), _number("evergreen needle-leaf"))
        ground.surface[:] = np.where(planted, crop, natural)
        ground.level[:] = np.where(planted, _spread(stand.draw(2)), mottle)
        felled, grown_over = planted & (stand.draw(3) < _chance("felled")), stand.draw(4) < _chance("felled_grown_over")
        _cover(ground, felled & grown_over, "grassland", mottle)
        _cover(ground, felled & ~grown_over, "bare", mottle)
        foot = smooth["bamboo"] - _preference("bamboo_climbs") * terrain["above_foot"]
        _cover(ground, foot > self._cut("bamboo"), "bamboo", mottle)
        self._clear(ground, district, smooth)
        _cover(ground, self._slides(terrain, smooth), "bare", mottle)
        self._solar_farms(ground, district)
        return ground

    def _clear(self, ground: Ground, district: _Frame, smooth: Mapping[str, Floats]) -> None:
        """Pastures, and golf courses: fairways that bend through the forest."""
        clearing = smooth["clearing"] > self._cut("clearing")
        (distance, width), (length, trees), (reach, radian) = map(_metres, ("fairway", "hole", "fairway_bend"))
        bend = district.u + reach * np.sin(district.v / radian)
        fairway = (np.mod(bend, distance) < width) & (np.mod(district.v, length) > trees)
        golf = smooth["golf"] >= _preference("golf")
        _cover(ground, clearing & (fairway | ~golf), "grassland", smooth["mottle"])

    def _slides(self, terrain: Mapping[str, Floats], smooth: Mapping[str, Floats]) -> Mask:
        """Where slopes came down: steep ones rather than others."""
        gain, steepest = _preference("slide_steep")
        steep = np.minimum(np.hypot(terrain["rise_east"], terrain["rise_north"]), steepest)
        return np.asarray(smooth["slide"] + gain * steep > self._cut("slide") + _preference("slide_rare"))


def _number(name: str) -> np.uint8:
    return np.uint8(surface_names().index(name))


def _metres(name: str) -> Any:
    """Size of a thing in the table, or its sizes."""
    return prior("sizes_m", name)


def _chance(name: str) -> Any:
    return prior("chances", name)


def _preference(name: str) -> Any:
    return prior("preferences", name)


def _rows(group: str) -> dict[str, dict[str, Any]]:
    """Rows of a group that names one source for all."""
    return {name: row for name, row in load_table()[group].items() if name != "source"}


def _cover(ground: Ground, where: Mask, name: str, level: Floats) -> None:
    """Put one surface on some points, whatever was there."""
    ground.surface[where] = _number(name)
    ground.level[where] = level[where]
    ground.direction_rad[where] = 0


# --- lattices and hashes


@dataclass(frozen=True)
class _Frame:
    """Points in the coordinates of their districts: ``u`` along the district's direction, ``v`` across."""

    number: Ids
    angle: Floats
    x: Floats
    y: Floats
    u: Floats
    v: Floats

    def cut(self, where: Any) -> _Frame:
        return _Frame(*(getattr(self, field.name)[where] for field in fields(self)))


class _Lattice:
    """Cells of a district's rectangular lattice: their numbers, and where in their cell the points lie."""

    def __init__(self, frame: _Frame, side_u: Any, side_v: Any, *, salt: int):
        self.side_u, self.side_v = np.float32(side_u), np.float32(side_v)
        i, self.j = np.floor(frame.u / self.side_u), np.floor(frame.v / self.side_v)
        self.u, self.v = frame.u - i * self.side_u, frame.v - self.j * self.side_v
        self.number = _cell_id(i, self.j, frame.number + np.uint32(salt))

    def draw(self, stream: int) -> Floats:
        """A number in [0, 1) for each point's cell."""
        return _draw(self.number, stream)

    def border(self, width_m: float, *, both: bool = False) -> Mask:
        """Points within so many metres of the cell's first sides, or of all four."""
        edge = (self.u < width_m) | (self.v < width_m)
        far = (self.u > self.side_u - width_m) | (self.v > self.side_v - width_m)
        return np.asarray(edge | far if both else edge)

    def cut(self, where: Any) -> _Lattice:
        """The lattice seen from some of the points."""
        part: _Lattice = object.__new__(_Lattice)
        for name, value in vars(self).items():
            setattr(part, name, value[where] if np.ndim(value) else value)
        return part


def _mixed(bits: Ids) -> Ids:
    """Well mixed bits of 32 (the finaliser "lowbias32" of C. Wellons, 2018)."""
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
    return bits ^ (bits >> np.uint32(16))


def _cell_id(i: Floats, j: Floats, salt: Any) -> Ids:
    """A number for each cell of a lattice, the same on every machine."""
    first = _mixed(i.astype(np.int32).view(np.uint32) * np.uint32(0x9E3779B1) + salt)
    return _mixed(first ^ (j.astype(np.int32).view(np.uint32) * np.uint32(0x85EBCA77)))


def _draw(number: Ids, stream: int) -> Floats:
    """A number in [0, 1) for each cell and stream, of 24 bits."""
    bits = _mixed(number + np.uint32(stream * 0x9E3779B9 % 2**32))
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _spread(draw: Floats) -> Floats:
    """Numbers in [0, 1) as deviates of mean 0 and spread 1."""
    return np.float32(math.sqrt(12)) * (draw - np.float32(0.5))


# --- towns


def _town(frame: _Frame, block: _Lattice, density: Floats) -> Ground:
    """Streets, and what stands between them: houses on their lots, halls, car parks, parks."""
    ground = Ground.empty(frame.x.size)
    ground.level[:] = _spread(block.draw(4))
    kind = block.draw(5)
    street = block.border(_metres("street"))
    parks = _chance("park")
    paved = parks + _chance("car_park")
    park, lot = kind < parks, (kind >= parks) & (kind < paved)
    hall = (kind >= paved) & (kind < paved + _chance("hall"))
    _houses(ground, frame, block, density)
    left, front, right, back = _metres("hall_margin")
    place = (block.u - left, block.v - front, block.side_u - (left + right), block.side_v - (front + back))
    _building(ground, frame.angle, hall, *place, "hall")
    outside = hall & ~_within(*place)
    for where, name in ((outside | lot, "car park"), (park, "grassland"), (street, "street")):
        ground.surface[where] = _number(name)
        ground.direction_rad[where] = 0
    return ground


def _houses(ground: Ground, frame: _Frame, block: _Lattice, density: Floats) -> None:
    """Houses on lots in two rows per block; the denser the town, the fewer lots are empty."""
    street = _metres("street")
    side_u, side_v = _metres("lot")
    i, j = np.floor((block.u - street) / side_u), np.floor((block.v - street) / side_v)
    u, v = block.u - street - i * side_u, block.v - street - j * side_v
    number = _cell_id(i, j, block.number)
    sparsely, by_density = _chance("built")
    built = _draw(number, 1) < sparsely + by_density * density
    ground.surface[:] = _number("yard")
    margin = _metres("lot_margin") * (1 + _draw(number, 2))
    ground.level[:] = _spread(_draw(number, 3))
    _building(ground, frame.angle, built, u - margin, v - margin, side_u - 2 * margin, side_v - 2 * margin, "roof")
    # roofs, fences and machines that happen to form corner reflectors
    low, high = _metres("corner")
    corner = built & (_draw(number, 4) < _chance("corner")) & _within(u - low, v - low, high - low, high - low)
    ground.surface[corner] = _number("corner")


def _within(u: Any, v: Any, side_u: Any, side_v: Any) -> Mask:
    return np.asarray((u >= 0) & (v >= 0) & (u < side_u) & (v < side_v))


def _building(
    ground: Ground, angle: Floats, where: Mask, u: Floats, v: Floats, side_u: Any, side_v: Any, roof: str
) -> None:
    """A building from (0, 0) to its sides, with walls all around; a wall's direction is its outward normal."""
    width = _metres("wall")
    inside = where & _within(u, v, side_u, side_v)
    ground.surface[inside] = _number(roof)
    distances = (side_u - u, side_v - v, u, v)
    nearest = np.minimum.reduce(distances)
    for quarter, distance in enumerate(distances):
        wall = inside & (distance == nearest) & (distance < width)
        ground.surface[wall] = _number("wall")
        ground.direction_rad[wall] = angle[wall] + np.float32(quarter * math.pi / 2)


# --- fields on a grid


class _Grid:
    """Named fields on a grid whose first node lies at the scene's south-west margin."""

    def __init__(self, step_m: float, arrays: Mapping[str, NDArray[Any]]):
        self._step = np.float32(step_m)
        self._names = list(arrays)
        self._shape = next(iter(arrays.values())).shape
        self._stack = np.empty((len(arrays), math.prod(self._shape)), np.float32)
        for row, name in zip(self._stack, self._names, strict=True):
            row[:] = arrays[name].ravel()

    def at(self, x: Floats, y: Floats, names: Sequence[str] = ()) -> dict[str, Floats]:
        """These fields (all, if none is named) at ground positions, bilinearly."""
        rows, cols = self._shape
        down = np.clip((y + np.float32(_MARGIN_M)) / self._step, 0, np.float32(rows - 1.001))
        right = np.clip((x + np.float32(_MARGIN_M)) / self._step, 0, np.float32(cols - 1.001))
        i, j = down.astype(np.int32), right.astype(np.int32)
        down -= i
        right -= j
        corner = i * np.int32(cols) + j
        weights = ((1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right)
        corners = (corner, corner + 1, corner + cols, corner + cols + 1)
        values = {}
        for name in names or self._names:
            field = self._stack[self._names.index(name)]
            total = field.take(corners[0]) * weights[0]
            for place, weight in zip(corners[1:], weights[1:], strict=True):
                total += field.take(place) * weight
            values[name] = total
        return values


def _grid_shape(height_m: float, width_m: float, step_m: float) -> tuple[int, int]:
    rows, cols = (math.ceil((side + 2 * _MARGIN_M) / step_m) + 1 for side in (height_m, width_m))
    return rows, cols


def _filtered_noise(rng: np.random.Generator, shape: tuple[int, int], gain: Any) -> Floats:
    """White noise through an isotropic filter, with mean 0 and spread 1; ``gain`` takes cycles per node, squared."""
    padded = [fft.next_fast_len(n, real=True) for n in shape]
    spectrum = fft.rfft2(rng.standard_normal(padded, dtype=np.float32))
    squared = fft.fftfreq(padded[0])[:, None] ** 2 + fft.rfftfreq(padded[1])[None, :] ** 2
    spectrum *= gain(squared.astype(np.float32))
    field = fft.irfft2(spectrum, s=padded)[: shape[0], : shape[1]]
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-12), dtype=np.float32)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], length: float) -> Floats:
    """Gaussian-filtered noise; ``length`` is the filter's width in nodes."""
    return _filtered_noise(rng, shape, lambda squared: np.exp(-2 * (math.pi * length) ** 2 * squared))


def _fractal_noise(rng: np.random.Generator, shape: tuple[int, int], longest: float, roughness: float) -> Floats:
    """Self-affine noise up to a longest wave in nodes; ``roughness``: the slope of its amplitude spectrum."""
    return _filtered_noise(rng, shape, lambda squared: (squared + longest**-2) ** (-roughness / 2))


_EVERYWHERE = ("wander_x", "wander_y", "mottle")
_LOWLAND_FIELDS = (*_EVERYWHERE, "wetland", "town", "paddy", "greenhouse")
_HILL_FIELDS = (*_EVERYWHERE, "needle", "bamboo", "clearing", "golf", "slide")


def _smooth_fields(seed: int, height_m: float, width_m: float) -> _Grid:
    """Where things prefer to be: fields of mean 0 and spread 1. A small scene has shorter waves, so that it varies."""
    shape = _grid_shape(height_m, width_m, _FIELDS_M)
    longest = max(min(height_m, width_m) / 2, 400.0)
    arrays = {}
    for stream, (name, field) in enumerate(_rows("fields").items()):
        wave = min(field["wave_m"], longest) / _FIELDS_M
        arrays[name] = _fractal_noise(generator(seed, _FIELDS + stream), shape, wave, field["roughness"])
    return _Grid(_FIELDS_M, arrays)


# --- terrain and water


def build_terrain(seed: int, height_m: float, width_m: float) -> _Grid:
    """Relief, rivers and reservoirs of a scene, on a grid of 25 m.

    Water is drawn twice: what rivers and reservoirs took the first time tells how far the coast has to move to give all
    water its share.

    Returns:
        Fields ``height_m`` (negative: sea), ``rank`` (share of the scene that lies lower), ``upland`` (the rank, less
        near rivers, whose valley floors are tilled), ``river_m`` (from the bank, negative: water), ``reservoir_m``
        (depth), ``shore_m`` (from the coast, negative: sea), ``rise_east`` and ``rise_north``.
    """
    rank, height, shore_m = _relief(seed, _grid_shape(height_m, width_m, _TERRAIN_M), min(height_m, width_m))
    lakes = asked_shares()[1] - prior("water", "river_share") - float(np.mean(_inner(shore_m) < 0))
    # the sea comes in by whole basins; reservoirs make up for what it leaves or takes
    lowest, highest = prior("water", "reservoir_share_range")
    lakes = min(max(lakes, lowest), highest)
    first = _with_water(seed, height, shore_m, lakes)
    fresh = (first["river_m"] < 0) | (first["reservoir_m"] > 0)
    arrays = _with_water(seed, height, _moved_coast(shore_m, fresh, height_m, width_m), lakes)
    valley = np.exp(-np.maximum(arrays["river_m"], 0) / prior("relief", "valley_m"))
    return _Grid(_TERRAIN_M, {**arrays, "rank": rank, "upland": rank - prior("relief", "valley_share") * valley})


def _with_water(seed: int, height: Floats, shore_m: Floats, lakes: float) -> dict[str, Floats]:
    """Fields of a relief with this coast, after water has run over it; reservoirs take about a share of the scene."""
    shape = height.shape
    height = _beside_coast(height, shore_m)
    coarse = _blocks(height)
    bends = _fractal_noise(
        generator(seed, _BENDS), coarse.shape, prior("water", "bend_m") / _ROUTING_M, prior("water", "bend_roughness")
    )
    receiver, order = route_water(coarse, _RESISTANCE_M * np.exp(prior("water", "bend_strength") * bends))
    catchment = _catchments(receiver, order)
    height = _beside_coast(height - _spread_out(_valleys(coarse, catchment), shape), shore_m)
    coarse = _blocks(height)
    rise_north, rise_east = (np.asarray(rise) for rise in np.gradient(height, _TERRAIN_M))
    return {
        "height_m": height,
        "river_m": _river_distance(seed, coarse, receiver, catchment, shape),
        "reservoir_m": _depth(_reservoir_levels(seed, coarse, receiver, order, catchment, lakes), height),
        "shore_m": shore_m,
        "rise_east": rise_east,
        "rise_north": rise_north,
    }


def _beside_coast(height: Floats, shore_m: Floats) -> Floats:
    """A relief that is below zero in the sea, and nowhere else."""
    return np.where(shore_m < 0, np.minimum(height, -0.5), np.maximum(height, 0.5)).astype(np.float32)


def _relief(seed: int, shape: tuple[int, int], side_m: float) -> tuple[Floats, Floats, Floats]:
    """Rank, height and metres from the coast: a fractal that rises from the south-east, from the sea to the hills."""
    longest = min(side_m, prior("relief", "longest_m")) / _TERRAIN_M
    fractal = _fractal_noise(generator(seed, _RELIEF), shape, longest, prior("relief", "roughness"))
    north = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    west = np.linspace(1, -1, shape[1], dtype=np.float32)[None, :]
    rising = sum(prior("relief", name) * part for name, part in
                 (("rise_north", north), ("rise_west", west), ("fractal", fractal)))  # fmt: skip
    level, sea = _flood_from_outside(rising, _sea_share())
    # basins on land that lie lower than the sea are filled to just above it
    rising = np.where(sea, np.minimum(rising, level), np.maximum(rising, level + 0.02))
    rank = _ranks(rising)
    shore = float(rank[~sea].min()) if not sea.all() else 0.0
    return rank, _height(seed, rank, shore, side_m), _from_coast(sea)


def _height(seed: int, rank: Floats, shore: float, side_m: float) -> Floats:
    """Metres above the sea by rank: plain, then hills with ridges."""
    foot = prior("relief", "plain_share")
    hilly = np.clip((rank - foot) / (1 - foot), 0, 1.2)
    plain = prior("relief", "plain_m") * np.clip((rank - shore) / (foot - shore), 0, 1)
    height = np.where(rank < shore, prior("relief", "sea_m") * (rank - shore), plain + 1)
    size = math.sqrt(max(side_m, prior("relief", "smallest_m")) / 10_000)
    height += prior("relief", "hills_m") * size * hilly ** prior("relief", "hills_power")
    bumps = _smooth_noise(generator(seed, _RIDGES), rank.shape, prior("relief", "ridge_distance_m") / _TERRAIN_M)
    # no valley between ridges is cut below the land it lies in: what is below zero is the sea's
    height += prior("relief", "ridge_m") * np.minimum(4 * hilly, 1) * np.maximum(1.5 - np.abs(bumps), 0)
    return np.asarray(height, dtype=np.float32)


def _from_coast(sea: Mask) -> Floats:
    """Metres from the coast, negative in the sea, so smooth that no line of the grid is seen; at most the reach."""
    if sea.all() or not sea.any():
        return np.full(sea.shape, -_REACH_M if sea.any() else _REACH_M, np.float32)
    away = np.zeros(sea.shape, np.float32)
    for part, sign in ((~sea, 1), (sea, -1)):
        away += sign * np.minimum(ndimage.distance_transform_edt(part, sampling=_TERRAIN_M), _REACH_M)
    return _open_sea(ndimage.gaussian_filter(away, _COAST_NODES))


def _open_sea(shore_m: Floats) -> Floats:
    """The same coast without water that no way leads to from the south or the east."""
    pieces, _ = ndimage.label(shore_m < 0)
    cut_off = ~np.isin(pieces, np.r_[pieces[0], pieces[:, -1]])
    return np.where(cut_off, np.abs(shore_m), shore_m)


def _moved_coast(shore_m: Floats, fresh: Mask, height_m: float, width_m: float) -> Floats:
    """The coast moved inland or out to sea, until all water together takes its share of the ground with data."""
    rows, cols = (np.arange(-_MARGIN_M, -_MARGIN_M + n * _TERRAIN_M, _TERRAIN_M)[:n] for n in shore_m.shape)
    up, across = rows[:, None] / height_m, cols[None, :] / width_m
    seen = (up >= 0) & (up <= 1) & (across >= 0) & (across <= 1) & in_swath(1 - up, across)
    wanted, taken = asked_shares()[1] * seen.sum(), np.count_nonzero(seen & fresh)
    dry = np.sort(shore_m[seen & ~fresh])
    if not dry.size:
        return shore_m
    most = prior("water", "coast_moves_m")
    moved = float(dry[min(max(round(wanted - taken), 0), dry.size - 1)])
    # on its way out to sea the coast may close a bay, whose water is lost: then it goes less far
    coasts = [_open_sea(shore_m - np.float32(part * min(max(moved, -most), most))) for part in (1, 0.75, 0.5, 0.25, 0)]
    return min(coasts, key=lambda coast: abs(np.count_nonzero(seen & (fresh | (coast < 0))) - wanted))


def _inner(field: NDArray[Any]) -> NDArray[Any]:
    """A field on the terrain's grid without the scene's margin."""
    margin = int(_MARGIN_M / _TERRAIN_M)
    return field[margin:-margin, margin:-margin]


def _ranks(values: Floats) -> Floats:
    """Share of the scene, without its margin, that lies lower."""
    knots = np.linspace(0, 1, 1025)
    steps = np.quantile(_inner(values), knots)
    # beyond the scene's own range, ranks go on with its mean slope
    ends = steps[[0, -1]] + (steps[-1] - steps[0]) * np.array([-1, 1])
    return np.interp(values, np.r_[ends[0], steps, ends[1]], np.r_[-1.0, knots, 2.0]).astype(np.float32)


def _flood_from_outside(rising: Floats, share: float) -> tuple[float, Mask]:
    """The level at which the sea, coming in from the south and the east, covers a share of the scene, and the sea."""
    low, high = float(rising.min()), float(rising.max())
    best, level, sea = np.inf, low, np.zeros(rising.shape, dtype=bool)
    for _ in range(12):
        trial = (low + high) / 2
        pieces, _ = ndimage.label(rising < trial)
        from_outside = np.unique(np.r_[pieces[0], pieces[:, -1]])
        flooded = np.isin(pieces, from_outside[from_outside > 0])
        found = float(_inner(flooded).mean())
        # the sea's share leaps where it breaks into a basin
        if abs(found - share) < best:
            best, level, sea = abs(found - share), trial, flooded
        low, high = (low, trial) if found > share else (trial, high)
    return level, sea


def _sea_share() -> float:
    """What rivers and reservoirs leave of the water."""
    return asked_shares()[1] - float(prior("water", "river_share") + prior("water", "reservoir_share"))


def _blocks(field: Floats) -> Floats:
    """Means over blocks of the grid on which water is routed; an incomplete block takes what is there."""
    n = _ROUTING_CELLS
    padded = np.pad(field, [(0, -side % n) for side in field.shape], mode="edge")
    means: Floats = padded.reshape(padded.shape[0] // n, n, padded.shape[1] // n, n).mean(axis=(1, 3))
    return means


def _spread_out(blocks: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    """Blocks brought back to the finer grid, bilinearly between their centres."""
    n = _ROUTING_CELLS
    axes = [(np.arange(side) - (n - 1) / 2) / n for side in shape]
    fine: Floats = ndimage.map_coordinates(blocks, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")
    return fine


def route_water(height: NDArray[Any], resistance: NDArray[Any]) -> tuple[NDArray[np.int64], list[int]]:
    """Where the water of each cell goes: to the neighbour from which a flood that rises out of the sea reaches it.

    The flood passes the lowest cells first, so hollows fill and spill, and every cell drains to the sea (Barnes,
    Lehman and Mulla 2014, priority-flood).

    Args:
        height: (H, W) in metres; cells below zero are sea. Without any, the lowest cell takes its place.
        resistance: (H, W), what the flood climbs at least when it enters a cell, in metres. Where it varies, water
            that crosses flat ground winds.

    Returns:
        The receiver of each cell as a flat index (−1 for the sea), and cells from the sea upwards.
    """
    cols = height.shape[1]
    framed = np.pad(height.astype(np.float64), 1, constant_values=np.inf)
    wide = cols + 2
    level = framed.ravel().tolist()
    climb = np.pad(resistance.astype(np.float64), 1).ravel().tolist()
    unseen, outlet = -2, -1
    receiver = np.where(np.isinf(framed), outlet, unseen).ravel().tolist()
    places = range(len(level))
    heap = [(level[place], place) for place in places if level[place] < 0] or [min((level[i], i) for i in places)]
    for _, place in heap:
        receiver[place] = outlet
    heapq.heapify(heap)
    order = []
    around = (-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1)
    while heap:
        surface, place = heapq.heappop(heap)
        order.append(place)
        for step in around:
            neighbour = place + step
            if receiver[neighbour] == unseen:
                receiver[neighbour] = place
                heapq.heappush(heap, (max(level[neighbour], surface + climb[neighbour]), neighbour))

    def unframed(place: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray((place // wide - 1) * cols + place % wide - 1)

    kept = np.array(receiver).reshape(framed.shape)[1:-1, 1:-1].ravel()
    return np.where(kept < 0, outlet, unframed(kept)), unframed(np.array(order)).tolist()


def _catchments(receiver: NDArray[np.int64], order: Sequence[int]) -> NDArray[np.float64]:
    """Square kilometres that drain through each cell, flat."""
    cell_km2 = (_ROUTING_M / 1000) ** 2
    area, downstream = [cell_km2] * len(order), receiver.tolist()
    for place in reversed(order):
        if downstream[place] >= 0:
            area[downstream[place]] += area[place]
    return np.array(area)


def _valleys(height: Floats, catchment: NDArray[np.float64]) -> Floats:
    """How deep running water has cut in, in metres: with the logarithm of what drains through."""
    depth = np.log2(1 + 100 * catchment.reshape(height.shape)) * np.clip(height / 100, 0, 1)
    smooth: Floats = prior("relief", "carve_m") * ndimage.gaussian_filter(depth, 1.0)
    return smooth.astype(np.float32)


def _river_distance(
    seed: int, height: Floats, receiver: NDArray[np.int64], catchment: NDArray[np.float64], shape: tuple[int, int]
) -> Floats:
    """Metres from the nearest river's bank at the nodes of the fine grid, negative in it; at most the reach."""
    nodes, half_width_m = _river_points(seed, height, receiver, catchment)
    if not len(nodes):
        return np.full(shape, _REACH_M, np.float32)
    tree = spatial.cKDTree(nodes)
    distance = np.empty(shape, np.float32)
    for row in range(shape[0]):
        places = np.column_stack([np.arange(shape[1]), np.full(shape[1], row)]) * _TERRAIN_M
        away, nearest = tree.query(places, distance_upper_bound=_REACH_M)
        distance[row] = np.minimum(away - np.append(half_width_m, 0)[nearest], _REACH_M)
    return distance


def _river_points(
    seed: int, height: Floats, receiver: NDArray[np.int64], catchment: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points every few metres along all rivers, in metres on the grid, and half the river's width there."""
    pace = _ROUTING_M
    width = _river_widths(height, receiver, catchment)
    rivers = np.flatnonzero((width >= prior("water", "narrowest_m")) & (receiver >= 0))
    # within its cell a river may run anywhere; a mean with the nodes before and after it takes the corners off
    place = np.column_stack(np.divmod(np.arange(receiver.size), height.shape[1])[::-1]).astype(np.float64)
    place = pace * (place + 0.5 + 0.6 * (generator(seed, _RELIEF, (1, 0)).random(place.shape) - 0.5))
    upstream = np.arange(receiver.size)
    by_size = rivers[np.argsort(catchment[rivers], kind="stable")]
    upstream[receiver[by_size]] = by_size
    for _ in range(3):
        place[rivers] = 0.5 * place[rivers] + 0.25 * (place[receiver[rivers]] + place[upstream[rivers]])
    steps = np.linspace(0, 1, 12, endpoint=False)[:, None]
    ends = receiver[rivers]
    points = place[rivers] + steps[..., None] * (place[ends] - place[rivers])
    half_widths = (width[rivers] + steps * (np.maximum(width[ends], width[rivers]) - width[rivers])) / 2
    return points.reshape(-1, 2), half_widths.ravel()


def _river_widths(height: Floats, receiver: NDArray[np.int64], catchment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres; width grows with the root of the catchment, by the factor that gives rivers their share of the scene."""
    land = height.ravel() > 0
    root = np.sqrt(catchment)
    narrowest, share = prior("water", "narrowest_m"), prior("water", "river_share")
    low, high = prior("water", "river_m_per_km")
    for factor in np.linspace(low, high, 19):
        width = factor * root
        if np.sum(width[land & (width >= narrowest)]) * 1.2 > share * height.size * _ROUTING_M:
            break
    # at the mouth it keeps the width it came with
    width[~land] = 0
    return np.asarray(width)


def _reservoir_levels(
    seed: int,
    height: Floats,
    receiver: NDArray[np.int64],
    order: Sequence[int],
    catchment: NDArray[np.float64],
    share: float,
) -> Floats:
    """Water level of the reservoirs on the routing grid, far below the ground elsewhere; they take about a share."""
    level = np.full(height.size, _DRY_M, np.float32)
    flat = height.ravel()
    (smallest, largest), (lowest, highest) = prior("water", "dam_catchment_km2"), prior("water", "dam_m")
    valley = np.flatnonzero(
        (catchment > smallest) & (catchment < largest) & (flat > prior("water", "reservoir_above_m"))
    )
    donors: dict[int, list[int]] = {}
    for place in order:
        donors.setdefault(int(receiver[place]), []).append(place)
    fewest, most = (cells * 1e6 / _ROUTING_M**2 for cells in prior("water", "reservoir_km2"))
    longest = prior("water", "dam_length_m") / _ROUTING_M
    wanted = share * height.size
    rng = generator(seed, _RELIEF, (2, 0))
    taken = 0
    for dam in rng.permutation(valley)[:4000]:
        top = float(flat[dam]) + lowest + (highest - lowest) * float(rng.random())
        lake = _flooded(int(dam), top, flat, donors)
        shore = [place for cell in lake for place in donors.get(cell, [])]
        fits = fewest <= len(lake) <= min(most, 1.2 * (wanted - taken)) and (level[lake] == _DRY_M).all()
        if fits and _dam_cells({*lake, *shore}, top, height) <= longest:
            # shores lie within the cells around, where the finer relief decides
            level[lake + shore] = top
            taken += len(lake)
        if taken > 0.9 * wanted:
            break
    return level.reshape(height.shape)


def _depth(levels: Floats, height: Floats) -> Floats:
    """Depth of reservoirs on the terrain's grid: water ends at the relief, or at a dam around its cells."""
    wet = ndimage.gaussian_filter(_spread_out((levels > _DRY_M).astype(np.float32), height.shape), _DAM_NODES)
    # levels are wanted a little beyond their cells
    beyond = ndimage.grey_dilation(levels, (3, 3))
    n = _ROUTING_CELLS
    level = np.repeat(np.repeat(beyond, n, axis=0), n, axis=1)[: height.shape[0], : height.shape[1]]
    return np.asarray(np.minimum(level - height, (wet - 0.5) * _ROUTING_M), dtype=np.float32)


def _flooded(dam: int, top: float, height: Floats, donors: Mapping[int, list[int]]) -> list[int]:
    """Cells above a dam that lie below its top."""
    lake, reach = [dam], 0
    while reach < len(lake):
        lake += [place for place in donors.get(lake[reach], []) if height[place] < top]
        reach += 1
    return lake


def _dam_cells(lake: set[int], top: float, height: Floats) -> int:
    """How many cells beside a lake and its shores lie below its top: there a dam has to stand."""
    flat = height.ravel()
    around = {neighbour for cell in lake for neighbour in _neighbourhood(cell, height.shape)}
    return sum(bool(flat[cell] < top) for cell in around - lake)


def _neighbourhood(cell: int, shape: tuple[int, ...]) -> list[int]:
    """A cell and those that touch it, none beyond the grid's sides."""
    row, col = divmod(cell, shape[1])
    rows, cols = (range(max(i - 1, 0), min(i + 2, side)) for i, side in zip((row, col), shape, strict=True))
    return [i * shape[1] + j for i in rows for j in cols]


def _wetness(terrain: Mapping[str, Floats], smooth: Mapping[str, Floats]) -> Floats:
    """Where reeds grow: low ground by river mouths and shores."""
    low = np.exp(-np.maximum(terrain["height_m"], 0) / _preference("wet_below_m"))
    score = np.float32(_preference("wet_anyway"))
    for name, water in (("wet_river", "river_m"), ("wet_shore", "shore_m")):
        gain, reach_m = _preference(name)
        score = score + gain * np.exp(-np.maximum(terrain[water], 0) / reach_m)
    return np.asarray(low * score + _preference("wet_field") * smooth["wetland"], dtype=np.float32)
