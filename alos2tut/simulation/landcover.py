"""The ground of the simulated scene: a plausible piece of Japanese coast, as a function of ground position.

Over the terrain, smooth fields say where towns, paddies or forests prefer to be. Parcels, streets, houses, stands and
panels are cells of rotated lattices, and what a cell holds is a hash of its number: nothing depends on the order or the
size of the pieces in which the ground is asked for. Sizes, shares and chances are in ``surfaces.yaml`` with their
sources; how fields and lattices combine is this project's own and an assumption throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .priors import Floats, Mask, asked_shares, prior, surface_codes, surface_names, table_rows
from .terrain import Grid, build_terrain, fractal_noise, generator, grid_shape, in_swath

Ids: TypeAlias = NDArray[np.uint32]

#: numbers of the table: sizes of things, shares among their kind, where they prefer to be
_metres, _chance, _preference = (partial(prior, group) for group in ("sizes_m", "chances", "preferences"))

#: streams of random numbers
_SAMPLE, _FIELDS = 4, 16
_FIELDS_M = 50.0
#: points that are worked on at once: what they need stays in a core's cache
_CHUNK = 1 << 16
#: how far knobs are turned, round by round: some answer so strongly that they would swing for ever
_CALIBRATION_POINTS, _CALIBRATION_STEPS = 60_000, (*[0.7] * 5, *[0.35] * 7)
_EVERYWHERE = ("wander_x", "wander_y", "mottle")
_LOWLAND_FIELDS = (*_EVERYWHERE, "wetland", "town", "paddy", "greenhouse")
_HILL_FIELDS = (*_EVERYWHERE, "needle", "bamboo", "clearing", "golf", "slide")


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


class LandCover:
    """Surfaces as a function of ground position, from a seed and the scene's height and width in metres."""

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
        return Ground(*(getattr(ground, field.name).reshape(np.shape(x_m)) for field in fields(Ground)))

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
        asked, knobs = asked_shares(), table_rows("knobs")
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
        for zone, fill in ((upland < 0, self._lowland), (upland >= 0, self._hills)):
            here = np.flatnonzero(zone & ~sea & ~inland)
            if here.size:
                nearby = {name: values[here] for name, values in terrain.items()} | {"above_foot": upland[here]}
                ground.put(here, fill(x[here], y[here], nearby))
        ground.surface[sea], ground.surface[inland] = _number("sea"), _number("inland water")
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
        wander = np.float32(_preference("district_wander") * size)
        wander_x, wander_y = (wander * smooth[name] for name in ("wander_x", "wander_y"))
        number = _cell_id(np.floor((x + wander_x) / size), np.floor((y + wander_y) / size), self._salt)
        angle = np.float32(math.pi) * _draw(number, 1)
        cos, sin = np.cos(angle), np.sin(angle)
        return _Frame(number, angle, x, y, x * cos + y * sin, y * cos - x * sin)

    def _fields_and_tunnels(self, district: _Frame, smooth: Mapping[str, Floats]) -> Ground:
        """Paddies and other fields; some lie fallow, some are under plastic."""
        ground = Ground.empty(district.x.size)
        gathers = np.float32(_preference("paddy_gathers"))
        wet_district = _draw(district.number, 2) - gathers * smooth["paddy"] < self._knobs["paddy"]
        smallest, largest = _chance("parcel_scale")
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
        density = smooth["town"] - self._cut("town") + _preference("town_edge") * (block.draw(1) - 0.5)
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
        # slopes come down where they are steep rather than elsewhere
        gain, steepest = _preference("slide_steep")
        steep = np.minimum(np.hypot(terrain["rise_east"], terrain["rise_north"]), steepest)
        slides = smooth["slide"] + gain * steep > self._cut("slide") + _preference("slide_rare")
        _cover(ground, slides, "bare", mottle)
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


def _number(name: str) -> np.uint8:
    return np.uint8(surface_names().index(name))


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


# --- preferences


def _smooth_fields(seed: int, height_m: float, width_m: float) -> Grid:
    """Where things prefer to be: fields of mean 0 and spread 1. A small scene has shorter waves, so that it varies."""
    shape = grid_shape(height_m, width_m, _FIELDS_M)
    longest = max(min(height_m, width_m) / 2, 400.0)
    arrays = {}
    for stream, (name, field) in enumerate(table_rows("fields").items()):
        wave = min(field["wave_m"], longest) / _FIELDS_M
        arrays[name] = fractal_noise(generator(seed, _FIELDS + stream), shape, wave, field["roughness"])
    return Grid(_FIELDS_M, arrays)


def _wetness(terrain: Mapping[str, Floats], smooth: Mapping[str, Floats]) -> Floats:
    """Where reeds grow: low ground by river mouths and shores."""
    low = np.exp(-np.maximum(terrain["height_m"], 0) / _preference("wet_below_m"))
    score = np.float32(_preference("wet_anyway"))
    for name, water in (("wet_river", "river_m"), ("wet_shore", "shore_m")):
        gain, reach_m = _preference(name)
        score = score + gain * np.exp(-np.maximum(terrain[water], 0) / reach_m)
    return np.asarray(low * score + _preference("wet_field") * smooth["wetland"], dtype=np.float32)
