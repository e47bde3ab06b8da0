"""The ground of the simulated scene: water runs to the sea, and land cover has the shares that are asked."""

import numpy as np
import pytest
from scipy import ndimage

from alos2tut.simulation import landcover, priors, terrain

# --- water runs to the sea


def test_water_runs_downhill_to_the_sea_and_rivers_only_grow():
    rng = np.random.default_rng(1)
    height = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 2) + np.linspace(-0.2, 3, 40)[:, None]
    receiver, order = terrain.route_water(height, np.full(height.shape, 1e-3))
    assert sorted(order) == list(range(height.size))
    assert ((receiver < 0) == (height.ravel() < 0)).all()
    rank = np.empty(height.size, int)
    rank[order] = np.arange(height.size)
    inland = receiver >= 0
    assert (rank[receiver[inland]] < rank[inland]).all()
    rows, cols = np.divmod(np.arange(height.size), 50)
    assert np.abs(rows - rows[receiver])[inland].max() <= 1 and np.abs(cols - cols[receiver])[inland].max() <= 1


def test_water_that_crosses_flat_ground_goes_around_what_resists():
    height = np.ones((30, 41))
    height[0] = -1
    resistance = np.full(height.shape, 1e-4)
    resistance[10] = 1.0
    resistance[10, 7] = 1e-4
    receiver, _ = terrain.route_water(height, resistance)
    place = 29 * 41 + 35
    passed = []
    while receiver[place] >= 0:
        place = receiver[place]
        passed.append(divmod(place, 41))
    assert [col for row, col in passed if row == 10] == [7] and passed[-1][0] == 0


@pytest.fixture(scope="module")
def coast() -> landcover.LandCover:
    """The ground of a scene of 10 × 13 km."""
    return landcover.LandCover(0, 10_240.0, 12_800.0)


def test_rivers_reach_the_sea_and_widen_on_their_way(coast):
    x, y = (part.astype(np.float32).ravel() for part in np.meshgrid(np.arange(0, 12_800, 10), np.arange(0, 10_240, 10)))
    fields = {name: values.reshape(1024, 1280) for name, values in coast._terrain.at(x, y).items()}
    sea, river = fields["shore_m"] < 0, fields["river_m"] < 0
    pieces, _ = ndimage.label(sea | river, structure=np.ones((3, 3)))
    # what leaves the scene's frame may meet the sea outside
    framed = np.unique(np.r_[pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    ends = np.isin(pieces[river & ~sea], np.union1d(np.unique(pieces[sea]), framed))
    assert river.mean() > 0.005 and ends.mean() > 0.95
    half_width = -fields["river_m"]
    low, high = (half_width[river & ~sea & (fields["height_m"] < limit)].max() for limit in (5, 1e4))
    hills = half_width[river & (fields["height_m"] > 60)].max()
    assert low == high > 1.5 * hills


@pytest.mark.parametrize(("seed", "size_m"), [*((seed, 2560.0) for seed in range(6)), (1, 10_240.0), (2, 10_240.0)])
def test_every_piece_of_sea_comes_in_from_the_south_or_the_east(seed, size_m):
    grid = terrain.build_terrain(seed, size_m, size_m)
    sea = grid._stack[grid._names.index("shore_m")].reshape(grid._shape) < 0
    pieces, count = ndimage.label(sea)
    assert count and set(range(1, count + 1)) <= set(np.r_[pieces[0], pieces[:, -1]].tolist())


def test_rivers_do_not_break_into_beads(coast, monkeypatch):
    drawn = []
    points = terrain._river_points
    monkeypatch.setattr(terrain, "_river_points", lambda *given: drawn.append(points(*given)) or drawn[-1])
    terrain.build_terrain(0, 10_240.0, 12_800.0)
    x, y = (drawn[-1][0] - terrain._MARGIN_M).T
    inside = (x > 0) & (y > 0) & (x < 12_800) & (y < 10_240)
    middle = coast._terrain.at(x[inside].astype(np.float32), y[inside].astype(np.float32))
    assert inside.sum() > 2000 and (middle["river_m"] < 0).all()


def test_a_dam_stands_nowhere_beyond_the_sides_of_the_scene():
    height = np.full((6, 8), 100, np.float32)
    height[2, 7] = height[4, 1] = 10
    assert terrain._dam_cells({3 * 8}, 50.0, height) == 1
    assert terrain._dam_cells({3 * 8 + 7}, 50.0, height) == 1


# --- shares


def test_ground_is_the_same_for_any_order_of_points():
    land = landcover.LandCover(4, 900.0, 1100.0)
    x, y = np.random.default_rng(0).random((2, 5000)) * [[1100], [900]]
    whole, backwards = land.surfaces(x, y), land.surfaces(x[::-1], y[::-1])
    np.testing.assert_array_equal(whole.surface, backwards.surface[::-1])
    np.testing.assert_array_equal(whole.level, backwards.level[::-1])


@pytest.mark.parametrize(("seed", "size_px"), [(0, 1600), (1, 1600), (3, (1600, 2000))])
def test_small_scenes_have_about_the_water_that_is_asked(seed, size_px):
    height, width = np.broadcast_to(size_px, 2) * 2.5
    down, across = np.random.default_rng(1).random((2, 40_000))
    seen = terrain.in_swath(down, across)
    found = landcover.LandCover(seed, height, width).surfaces(across[seen] * width, (1 - down[seen]) * height)
    assert (priors.surface_codes()[found.surface] == 1).mean() == pytest.approx(0.092, abs=0.01)


def test_all_codes_are_there_with_shares_near_those_asked(coast):
    x, y = np.random.default_rng(3).random((2, 200_000)) * [[12_800], [10_240]]
    codes = priors.surface_codes()[coast.surfaces(x, y).surface]
    found = np.bincount(codes, minlength=15) / codes.size
    asked = priors.asked_shares()
    assert set(asked) == set(range(1, 15)) and sum(asked.values()) == pytest.approx(1)
    for code, share in asked.items():
        assert found[code] == pytest.approx(share, rel=0.35, abs=0.002), code


def test_every_number_of_the_table_has_a_source():
    table = priors.load_table()
    one_source = {"surfaces", "seasons", "shares", "fields", "knobs"}
    assert all(entry["source"] for part in set(table) - one_source for entry in table[part].values())
    assert all(table[part]["source"] for part in one_source - {"surfaces"})
    assert all(set(row) - {"name", "source"} == set(table["columns"]) for row in table["surfaces"])


def test_water_lies_flat(coast):
    x, y = np.random.default_rng(4).random((2, 100_000)) * [[12_800], [10_240]]
    found = coast.surfaces(x, y)
    water = priors.surface_codes()[found.surface] == 1
    assert water.sum() > 5000 and not found.rise_east[water].any() and not found.rise_north[water].any()
    assert np.abs(found.rise_east[~water]).max() > 0.3
