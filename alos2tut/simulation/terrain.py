"""Terrain of the simulated scene: a fractal relief that falls to the sea, and the water that runs over it.

Valleys and rivers lie where water would run, reservoirs behind dams. All of it are fields on a grid of nodes.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, spatial

from .priors import Floats, Mask, asked_shares, prior

#: streams of random numbers; those of land cover and radar begin above
_RELIEF, _RIDGES, _BENDS = 1, 2, 3
_MARGIN_M = 600.0
_TERRAIN_M, _ROUTING_CELLS = 25.0, 4
_ROUTING_M = _ROUTING_CELLS * _TERRAIN_M
#: what a flood climbs on flat ground from cell to cell
_RESISTANCE_M = 0.003
#: widths of the filters that take the grid's corners off the coast and off dams, in nodes of the terrain
_COAST_NODES, _DAM_NODES = 1.5, 2.0
#: rivers, reservoirs and the coast are looked for no further away than this
_REACH_M = 500.0
#: level of reservoirs where there is none
_DRY_M = np.float32(-1e4)


def generator(seed: int, stream: int, tile: tuple[int, int] = (0, 0)) -> np.random.Generator:
    """Random numbers of one stream on one tile (row and column from −2³¹): Philox, whose counter starts at its place.

    Equal arguments give equal numbers, whoever asks and whenever (Salmon et al. 2011).
    """
    key = np.array([seed % 2**64, stream], dtype=np.uint64)
    row, col = (n + 2**31 for n in tile)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, col, row], dtype=np.uint64)))


def in_swath(down: NDArray[Any], across: NDArray[Any]) -> Mask:
    """Where the scene has data: the swath is slanted against the map grid, and two thin corners lie outside.

    Places are shares of the scene's height from the north and of its width from the west; they broadcast.
    """
    slant = np.float32(prior("scene", "swath_slant")) * (1 - 2 * np.asarray(down))
    return np.asarray((across > slant) & (across < 1 + slant))


# --- fields on a grid


class Grid:
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


def grid_shape(height_m: float, width_m: float, step_m: float) -> tuple[int, int]:
    """Nodes of a grid with the scene's margin."""
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


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], longest: float, roughness: float) -> Floats:
    """Self-affine noise up to a longest wave in nodes; ``roughness``: the slope of its amplitude spectrum."""
    return _filtered_noise(rng, shape, lambda squared: (squared + longest**-2) ** (-roughness / 2))


# --- terrain and water


def build_terrain(seed: int, height_m: float, width_m: float) -> Grid:
    """Relief, rivers and reservoirs of a scene, on a grid of 25 m.

    Water is drawn twice: what rivers and reservoirs took the first time tells how far the coast has to move to give all
    water its share.

    Returns:
        Fields ``height_m`` (negative: sea), ``rank`` (share of the scene that lies lower), ``upland`` (the rank, less
        near rivers, whose valley floors are tilled), ``river_m`` (from the bank, negative: water), ``reservoir_m``
        (depth), ``shore_m`` (from the coast, negative: sea), ``rise_east`` and ``rise_north``.
    """
    rank, height, shore_m = _relief(seed, grid_shape(height_m, width_m, _TERRAIN_M), min(height_m, width_m))
    lakes = asked_shares()[1] - prior("water", "river_share") - float(np.mean(_inner(shore_m) < 0))
    # the sea comes in by whole basins; reservoirs make up for what it leaves or takes
    lowest, highest = prior("water", "reservoir_share_range")
    lakes = min(max(lakes, lowest), highest)
    first = _with_water(seed, height, shore_m, lakes)
    fresh = (first["river_m"] < 0) | (first["reservoir_m"] > 0)
    arrays = _with_water(seed, height, _moved_coast(shore_m, fresh, height_m, width_m), lakes)
    valley = np.exp(-np.maximum(arrays["river_m"], 0) / prior("relief", "valley_m"))
    return Grid(_TERRAIN_M, {**arrays, "rank": rank, "upland": rank - prior("relief", "valley_share") * valley})


def _with_water(seed: int, height: Floats, shore_m: Floats, lakes: float) -> dict[str, Floats]:
    """Fields of a relief with this coast, after water has run over it; reservoirs take about a share of the scene."""
    shape = height.shape
    height = _beside_coast(height, shore_m)
    coarse = _blocks(height)
    wave, roughness = prior("water", "bend_m") / _ROUTING_M, prior("water", "bend_roughness")
    bends = fractal_noise(generator(seed, _BENDS), coarse.shape, wave, roughness)
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
    fractal = fractal_noise(generator(seed, _RELIEF), shape, longest, prior("relief", "roughness"))
    north = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    west = np.linspace(1, -1, shape[1], dtype=np.float32)[None, :]
    rising = sum(prior("relief", name) * part for name, part in
                 (("rise_north", north), ("rise_west", west), ("fractal", fractal)))  # fmt: skip
    # what rivers and reservoirs leave of the water
    fresh = float(prior("water", "river_share") + prior("water", "reservoir_share"))
    level, sea = _flood_from_outside(rising, asked_shares()[1] - fresh)
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
    width = prior("relief", "ridge_distance_m") / _TERRAIN_M
    bumps = _filtered_noise(generator(seed, _RIDGES), rank.shape, lambda f: np.exp(-2 * (math.pi * width) ** 2 * f))
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
    width = _river_widths(height, receiver, catchment)
    rivers = np.flatnonzero((width >= prior("water", "narrowest_m")) & (receiver >= 0))
    # within its cell a river may run anywhere; a mean with the nodes before and after it takes the corners off
    place = np.column_stack(np.divmod(np.arange(receiver.size), height.shape[1])[::-1]).astype(np.float64)
    place = _ROUTING_M * (place + 0.5 + 0.6 * (generator(seed, _RELIEF, (1, 0)).random(place.shape) - 0.5))
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
    high = flat > prior("water", "reservoir_above_m")
    valley = np.flatnonzero((catchment > smallest) & (catchment < largest) & high)
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
    (rows, cols), steps = height.shape, (-1, 0, 1)
    touching = {(place // cols + i, place % cols + j) for place in lake for i in steps for j in steps}
    inside = ((row, col) for row, col in touching if 0 <= row < rows and 0 <= col < cols)
    return sum(bool(height[place] < top) for place in inside if place[0] * cols + place[1] not in lake)
