"""The simulated scene: the same bytes for the same seed, right levels and speckle, labels in their place."""

import functools
import json
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject_points
from scipy import ndimage

from alos2tut import (
    Alos2TutError,
    landcover,
    load_legend,
    open_product,
    radiometry,
    simulate_product,
    simulation,
    speckle,
)

SMALL = (128, 192)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@functools.cache
def surfaces_of(scene: Path) -> np.ndarray:
    """The surface at every pixel's centre, from the ground's own description."""
    facts = json.loads((scene / "simulation.json").read_text())
    height, width = facts["size_px"]
    x_m = np.broadcast_to((np.arange(width) + 0.5) * 2.5, (height, width))
    y_m = np.broadcast_to(((height - np.arange(height)) - 0.5)[:, None] * 2.5, (height, width))
    return landcover.LandCover(facts["seed"], height * 2.5, width * 2.5).surfaces(x_m, y_m).surface


@pytest.fixture(scope="module")
def sea_power(scene) -> np.ndarray:
    """Power of the sea, three pixels and more from its shore; NaN elsewhere."""
    sea = surfaces_of(scene) == simulation.load_priors().names.index("sea")
    power = open_product(scene).read_power().astype(float)
    inner = ndimage.binary_erosion(sea, iterations=3) & np.isfinite(power)
    assert inner.sum() > 30_000
    return np.where(inner, power, np.nan)


# --- the same again


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path):
    one, same = (simulate_product(tmp_path / name, seed=5, size_px=SMALL) for name in ("one", "same"))
    other = simulate_product(tmp_path / "other", seed=6, size_px=SMALL)
    assert content(one) == content(same)
    images = [open_product(folder).read_dn() for folder in (one, other)]
    both = np.isfinite(images[0]) & np.isfinite(images[1])
    assert (images[0][both] != images[1][both]).mean() > 0.95


def detrended(power: np.ndarray) -> np.ndarray:
    """Speckle alone: log power less its local mean."""
    log = np.log(np.nan_to_num(power, nan=1e-3))
    return log - ndimage.uniform_filter(log, 5)


def test_strips_do_not_repeat_each_other(scene, small_scene):
    power = open_product(scene).read_power()
    other = open_product(small_scene).read_power()
    strips = [detrended(power[first : first + 512, :640]) for first in (0, 512, 1024)] + [detrended(other)]
    correlation = np.corrcoef([strip[:, 40:600].ravel() for strip in strips])
    assert np.abs(correlation - np.eye(4)).max() < 0.05


def test_no_pixel_depends_on_how_the_work_was_cut():
    scene = simulation.Scene(3, 333, 517)
    whole = scene.digital_numbers(slice(0, 333), slice(0, 517))[0]
    rng = np.random.default_rng(0)
    for _ in range(8):
        (top, bottom), (left, right) = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (333, 517))
        block = scene.digital_numbers(slice(int(top), int(bottom)), slice(int(left), int(right)))[0]
        np.testing.assert_array_equal(block, whole[top:bottom, left:right])


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("strip", [64, 200])
def test_workers_and_strips_change_no_byte(tmp_path, monkeypatch, workers, strip):
    expected = simulate_product(tmp_path / "expected", seed=5, size_px=(300, 192))
    monkeypatch.setattr(simulation, "_STRIP", strip)
    with ThreadPoolExecutor(workers) as executor:
        found = simulate_product(tmp_path / "found", seed=5, size_px=(300, 192), executor=executor)
    assert content(found) == content(expected)


def test_threads_do_not_each_build_the_ground(tmp_path, monkeypatch):
    simulation._land_cover.cache_clear()
    built = []
    make = landcover.LandCover
    monkeypatch.setattr(simulation, "LandCover", lambda *given: built.append(given) or make(*given))
    with ThreadPoolExecutor(4) as executor:
        simulate_product(tmp_path / "scene", seed=77, size_px=(1100, 64), executor=executor)
    assert len(built) == 1


def test_another_process_makes_the_same_bytes(tmp_path):
    expected = simulate_product(tmp_path / "expected", seed=5, size_px=SMALL)
    with ProcessPoolExecutor(1) as executor:
        found = simulate_product(tmp_path / "found", seed=5, size_px=SMALL, executor=executor)
    assert content(found) == content(expected)


def test_ground_is_the_same_for_any_order_of_points():
    land = landcover.LandCover(4, 900.0, 1100.0)
    x, y = np.random.default_rng(0).random((2, 5000)) * [[1100], [900]]
    whole, backwards = land.surfaces(x, y), land.surfaces(x[::-1], y[::-1])
    np.testing.assert_array_equal(whole.surface, backwards.surface[::-1])
    np.testing.assert_array_equal(whole.level, backwards.level[::-1])


# --- water runs to the sea


def test_water_runs_downhill_to_the_sea_and_rivers_only_grow():
    rng = np.random.default_rng(1)
    height = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 2) + np.linspace(-0.2, 3, 40)[:, None]
    receiver, order = landcover.route_water(height, np.full(height.shape, 1e-3))
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
    receiver, _ = landcover.route_water(height, resistance)
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
    terrain = {name: values.reshape(1024, 1280) for name, values in coast._terrain.at(x, y).items()}
    sea, river = terrain["height_m"] < 0, terrain["river_m"] < 0
    pieces, _ = ndimage.label(sea | river, structure=np.ones((3, 3)))
    # what leaves the scene's frame may meet the sea outside
    framed = np.unique(np.r_[pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    ends = np.isin(pieces[river & ~sea], np.union1d(np.unique(pieces[sea]), framed))
    assert river.mean() > 0.005 and ends.mean() > 0.95
    half_width = -terrain["river_m"]
    low, high = (half_width[river & ~sea & (terrain["height_m"] < limit)].max() for limit in (5, 1e4))
    hills = half_width[river & (terrain["height_m"] > 60)].max()
    assert low == high > 1.5 * hills


@pytest.mark.parametrize("size_m", [2560.0, 10_240.0])
@pytest.mark.parametrize("seed", range(6))
def test_every_piece_of_sea_comes_in_from_the_south_or_the_east(seed, size_m):
    shape = landcover._grid_shape(size_m, size_m, landcover._TERRAIN_M)
    _, height = landcover._relief(seed, shape, size_m)
    pieces, count = ndimage.label(height < 0)
    assert count and set(range(1, count + 1)) <= set(np.r_[pieces[0], pieces[:, -1]].tolist())


def test_rivers_do_not_break_into_beads(coast, monkeypatch):
    drawn = []
    points = landcover._river_points
    monkeypatch.setattr(landcover, "_river_points", lambda *given: drawn.append(points(*given)) or drawn[0])
    landcover.build_terrain(0, 10_240.0, 12_800.0)
    x, y = (drawn[0][0] - landcover._MARGIN_M).T
    inside = (x > 0) & (y > 0) & (x < 12_800) & (y < 10_240)
    middle = coast._terrain.at(x[inside].astype(np.float32), y[inside].astype(np.float32))
    assert inside.sum() > 2000 and (middle["river_m"] < 0).all()


def test_a_dam_stands_nowhere_beyond_the_sides_of_the_scene():
    height = np.full((6, 8), 100, np.float32)
    height[2, 7] = height[4, 1] = 10
    assert landcover._dam_cells({3 * 8}, 50.0, height) == 1
    assert landcover._dam_cells({3 * 8 + 7}, 50.0, height) == 1


# --- shares


def test_all_codes_are_there_with_shares_near_those_asked(coast):
    x, y = np.random.default_rng(3).random((2, 200_000)) * [[12_800], [10_240]]
    codes = landcover.surface_codes()[coast.surfaces(x, y).surface]
    found = np.bincount(codes, minlength=15) / codes.size
    asked = landcover.asked_shares()
    assert set(asked) == set(range(1, 15)) and sum(asked.values()) == pytest.approx(1)
    for code, share in asked.items():
        assert found[code] == pytest.approx(share, rel=0.35, abs=0.002), code


def test_every_number_of_the_table_has_a_source():
    table = landcover.load_table()
    assert all(entry["source"] for part in ("columns", "radar", "sizes_m") for entry in table[part].values())
    assert table["seasons"]["source"] and table["shares"]["source"]
    assert all(set(row) - {"name", "source"} == set(table["columns"]) for row in table["surfaces"])


# --- levels and speckle


def test_power_of_the_flat_sea_is_signal_plus_noise_floor(sea_power):
    along_x, along_y = (lag[1] for lag in speckle.autocorrelation(sea_power, 1))
    pixels = np.isfinite(sea_power).sum()
    # neighbours that correlate make fewer effective samples
    effective = pixels / ((1 + 2 * along_x) * (1 + 2 * along_y))
    tolerance_db = max(0.1, 3 * 10 / np.log(10) / np.sqrt(effective))
    expected = 10 * np.log10(10**-1.7 + 10**-2.6)
    assert radiometry.to_db(np.nanmean(sea_power)) == pytest.approx(expected, abs=tolerance_db)


def test_the_sea_shows_one_look_and_the_correlation_that_follows_from_resolution(sea_power):
    assert speckle.enl_moments(sea_power) == pytest.approx(1, abs=0.05)
    assert speckle.enl_log_moments(sea_power) == pytest.approx(1, abs=0.05)
    # without a window the impulse response is sinc, whose 3 dB width is 0.886 / B
    expected = np.sinc(0.8859 / 3 * 2.5 * np.arange(4)) ** 2
    for lags in speckle.autocorrelation(sea_power, 3):
        np.testing.assert_allclose(lags, expected, atol=0.02)


def test_correlation_is_that_of_a_field_made_in_the_slow_way():
    # white noise through the impulse response of a Hamming-weighted spectrum, on a grid ten times as fine
    step, b = 0.25, simulation.bandwidth(3.0, 0.54)
    frequency = np.fft.fftfreq(1 << 16, step)
    weight = np.where(np.abs(frequency) < b / 2, 0.54 + 0.46 * np.cos(2 * np.pi * frequency / b), 0)
    response = np.abs(np.fft.ifft(weight)) ** 2
    assert np.interp(1.5, np.arange(40) * step, response[:40]) == pytest.approx(response[0] / 2, rel=0.01)
    correlation = np.fft.ifft(weight**2).real
    expected = correlation[[0, 10, 20, 30]] / correlation[0]
    found = simulation.speckle_correlation(np.arange(4) * 2.5, 3.0, 0.54)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("pedestal", [1.0, 0.75, 0.54])
def test_taps_give_the_correlation_that_is_asked(pedestal):
    taps = simulation.speckle_taps(3.0, 2.5, pedestal).astype(float)
    found = np.correlate(taps, taps, "full")[taps.size - 1 :][:6]
    np.testing.assert_allclose(found, simulation.speckle_correlation(np.arange(6) * 2.5, 3.0, pedestal), atol=0.01)


def test_looks_of_multilooked_sea_follow_from_its_correlation(sea_power):
    found = speckle.enl_moments(radiometry.multilook(sea_power, 2))
    assert found == pytest.approx(simulation.multilook_enl((2, 2), 3.0, 2.5, 1.0), rel=0.06)


# --- angles


def ground(name: str, **values: float) -> landcover.Ground:
    fields = {"level": 0.0, "direction_rad": 0.0, "rise_east": 0.0, "rise_north": 0.0} | values
    number = np.array([simulation.load_priors().number(name)], dtype=np.uint8)
    return landcover.Ground(number, *(np.array([value], dtype=np.float32) for value in fields.values()))


def mean_db(name: str, incidence_deg: float = 36.3, season: str = "autumn", **values: float) -> float:
    incidence = np.array([np.radians(incidence_deg)], dtype=np.float32)
    return float(simulation.mean_db(ground(name, **values), incidence, simulation.load_priors(season))[0])


#: the radar flies towards 190° and looks towards 280°, both from north: it stands in the direction of −10° from east
TO_RADAR_RAD = np.radians(-10)


def test_walls_that_face_the_radar_are_bright_and_others_lie_in_shadow():
    facing, oblique, away = (mean_db("wall", direction_rad=TO_RADAR_RAD + turn) for turn in (0, np.pi / 4, np.pi))
    assert facing - mean_db("wall", direction_rad=TO_RADAR_RAD + 2 * np.pi) == pytest.approx(0, abs=1e-3)
    assert facing - oblique == pytest.approx(11, abs=0.1) and oblique - away == pytest.approx(5, abs=0.1)


def test_paddies_resonate_where_the_rows_distance_along_the_view_is_half_a_wavelength():
    turns = np.linspace(0, np.pi / 2, 91)
    # rows at an angle to the direction that points to the radar
    levels = [mean_db("paddy", season="summer", direction_rad=TO_RADAR_RAD + turn) for turn in turns]
    # 2 d sin θ |cos ψ| = λ, ψ between the view and the normal of the rows
    resonant = np.degrees(np.arcsin(0.2424525 / (2 * 0.30 * np.sin(np.radians(36.3)))))
    assert np.argmax(levels) == pytest.approx(resonant, abs=2)
    assert max(levels) - min(levels) > 9 > mean_db("paddy") - mean_db("paddy", season="spring")


@pytest.mark.parametrize("name", simulation.load_priors().names)
def test_parcels_on_level_ground_have_together_the_level_that_the_table_asks(name):
    [asked] = [row["sigma0_db"] for row in landcover.load_table()["surfaces"] if row["name"] == name]
    # across the flight, neither rows resonate nor walls shine
    levels = np.sqrt(12) * ((np.arange(60) + 0.5) / 60 - 0.5)
    db = [mean_db(name, level=level, direction_rad=TO_RADAR_RAD + np.radians(80)) for level in levels]
    assert 10 * np.log10(np.mean(10 ** (np.array(db) / 10))) == pytest.approx(asked, abs=0.005)


def test_paddies_in_resonance_stay_below_the_brightest_that_summer_allows():
    levels = [mean_db("paddy", season="summer", direction_rad=turn) for turn in np.linspace(0, np.pi, 181)]
    assert -3 < max(levels) <= -2


@pytest.mark.parametrize(("name", "power"), [("sea", 4), ("evergreen needle-leaf", 1), ("wall", 0)])
def test_brightness_falls_with_incidence(name, power):
    fall = mean_db(name, 33.0, direction_rad=TO_RADAR_RAD) - mean_db(name, 39.0, direction_rad=TO_RADAR_RAD)
    assert fall == pytest.approx(10 * power * np.log10(np.cos(np.radians(33)) / np.cos(np.radians(39))), abs=1e-3)


def test_slopes_towards_the_radar_are_brighter():
    east = {"rise_east": np.cos(TO_RADAR_RAD) * 0.3, "rise_north": np.sin(TO_RADAR_RAD) * 0.3}
    away = mean_db("bamboo", **east) - mean_db("bamboo")
    towards = mean_db("bamboo", **{name: -rise for name, rise in east.items()}) - mean_db("bamboo")
    theta, slope = np.radians(36.3), np.arctan(0.3)
    assert towards > 2 and away < -2
    assert towards - away == pytest.approx(10 * np.log10(np.tan(theta + slope) / np.tan(theta - slope)), abs=1e-3)


@pytest.mark.parametrize("steepness", [0.0, 0.1, 0.333, 0.8, 3.0])
def test_slopes_of_all_aspects_are_together_as_bright_as_level_ground(steepness):
    aspects = np.linspace(0, 2 * np.pi, 73)[:-1]
    rises = [{"rise_east": steepness * np.cos(a), "rise_north": steepness * np.sin(a)} for a in aspects]
    db = np.array([mean_db("bamboo", **rise) for rise in rises])
    assert 10 * np.log10(np.mean(10 ** (db / 10))) == pytest.approx(mean_db("bamboo"), abs=0.02 if steepness < 2 else 2)


def test_incidence_grows_away_from_the_radar():
    scene = simulation.Scene(0, 27_000, 32_000)
    west, east = (
        np.degrees(simulation._incidence_rad(scene, slice(13_500, 13_501), slice(c, c + 1))) for c in (0, 31_999)
    )
    assert 3 < west - east < 8 and (west + east) / 2 == pytest.approx(36.3, abs=0.1)


def test_water_lies_flat(coast):
    x, y = np.random.default_rng(4).random((2, 100_000)) * [[12_800], [10_240]]
    found = coast.surfaces(x, y)
    water = landcover.surface_codes()[found.surface] == 1
    assert water.sum() > 5000 and not found.rise_east[water].any() and not found.rise_north[water].any()
    assert np.abs(found.rise_east[~water]).max() > 0.3


def test_a_season_changes_backscatter_and_date_but_not_the_ground(tmp_path, small_scene):
    spring = simulate_product(tmp_path / "spring", seed=1, size_px=(512, 640), season="spring")
    product, autumn = open_product(spring), open_product(small_scene)
    assert "220604" in product.scene_id and "221119" in autumn.scene_id
    labels = [next((folder / "labels").iterdir()).read_bytes() for folder in (spring, small_scene)]
    assert labels[0] == labels[1]
    surface = surfaces_of(small_scene)
    change = radiometry.to_db(product.read_power() / autumn.read_power())
    names = simulation.load_priors().names
    # the same random numbers: what differs is the mean
    assert np.nanmedian(change[surface == names.index("paddy")]) == pytest.approx(-5, abs=1)
    assert np.nanmedian(change[surface == names.index("street")]) == pytest.approx(0, abs=0.01)


# --- the scene against its table


@pytest.fixture(scope="module")
def check(scene) -> simulation.SimulationCheck:
    return simulation.check_simulation(scene)


def test_surfaces_have_the_level_and_texture_that_were_asked(check):
    measured = [surface for surface in check.surfaces if surface.pixels > 30_000]
    assert len(measured) > 10
    for surface in measured:
        assert surface.found_db == pytest.approx(surface.asked_db, abs=0.2), surface.name
        if surface.enl is not None:
            assert surface.enl == pytest.approx(1, abs=0.05), surface.name
        else:
            # CV² of what is left of texture and speckle
            found, asked = 1 / surface.found_order, 1 / surface.asked_order
            assert found == pytest.approx(asked, rel=0.15, abs=0.03), surface.name
            assert surface.found_correlation == pytest.approx(surface.asked_correlation, abs=0.03), surface.name


def test_levels_are_the_tables_where_neither_walls_nor_rows_matter(check):
    measured = [s for s in check.surfaces if s.name not in ("wall", "paddy") and s.pixels > 20_000]
    assert len(measured) > 10
    for surface in measured:
        # slides and stands of a small scene lie on a few slopes
        assert surface.found_db == pytest.approx(surface.table_db, abs=0.8), surface.name


def test_hardly_any_corner_is_too_bright_for_16_bits(scene):
    corner = surfaces_of(scene) == simulation.load_priors().number("corner")
    dn = open_product(scene).read_dn()[corner]
    assert dn.size > 500 and (dn == 65535).mean() < 0.01


def test_speckle_correlates_as_asked_along_both_axes(check):
    assert len(check.found_speckle) == 2
    for found in check.found_speckle:
        np.testing.assert_allclose(found, check.asked_speckle, atol=0.02)


def test_a_scene_of_another_recipe_is_not_checked(tmp_path):
    (tmp_path / "simulation.json").write_text('{"recipe": "older"}')
    with pytest.raises(Alos2TutError, match="older"):
        simulation.check_simulation(tmp_path)


@pytest.mark.parametrize(
    "strange",
    [
        {"seed": None},
        {"size_px": 7},
        {"size_px": [1e9, 3]},
        {"season": ["autumn"]},
        {"code_shares": [1]},
        {"code_shares": {"water": {"asked": 1, "obtained": 1}}},
        {"clipped_pixels": {"low": float("inf"), "high": 0}},
        {"clipped_pixels": {}},
    ],
    ids=str,
)
def test_facts_that_describe_no_scene_are_refused(scene, tmp_path, strange):
    facts = json.loads((scene / "simulation.json").read_text())
    (tmp_path / "simulation.json").write_text(json.dumps({**facts, **strange}))
    with pytest.raises(Alos2TutError, match="does not describe"):
        simulation.check_simulation(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"japansim"'])
def test_facts_in_another_form_are_refused(tmp_path, text):
    (tmp_path / "simulation.json").write_text(text)
    with pytest.raises(Alos2TutError, match="was made by None"):
        simulation.check_simulation(tmp_path)


def test_facts_are_kept_beside_the_product(scene):
    facts = json.loads((scene / "simulation.json").read_text())
    assert facts["simulated"] is True and facts["seed"] == 2 and facts["size_px"] == [1600, 1600]
    assert facts["recipe"] == "japansim-draft-1" and facts["season"] == "autumn"
    assert sum(facts["surface_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert sum(share["obtained"] for share in facts["code_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert facts["clipped_pixels"]["low"] < 100 and facts["clipped_pixels"]["high"] < 1e-4 * 1600**2
    assert open_product(scene).simulated


# --- labels


def test_the_label_tile_has_jaxas_form(scene):
    [path] = (scene / "labels").iterdir()
    assert path.name == "LC_N35E139.tif"
    with rasterio.open(path) as tile:
        assert (tile.dtypes, tile.shape, tile.crs.to_epsg()) == (("uint8",), (12000, 12000), 4326)
        assert tile.transform.almost_equals(rasterio.Affine(1 / 12000, 0, 139, 0, -1 / 12000, 36), 1e-12)
        colors = tile.colormap(1)
        codes = set(np.unique(tile.read(1, window=label_window(scene, tile))).tolist())
    legend = load_legend("japan_14")
    assert {code: colors[code] for c in legend.classes for code in c.codes} == {
        code: (*c.color, 255) for c in legend.classes for code in c.codes
    }
    assert codes <= {*range(1, 15), 255} and len(codes) > 8


def label_window(scene: Path, tile) -> rasterio.windows.Window:
    product = open_product(scene)
    left, bottom, right, top = rasterio.warp.transform_bounds(product.crs, tile.crs, *product.bounds)
    return rasterio.windows.from_bounds(left, bottom, right, top, tile.transform).round_offsets().round_lengths()


class Alignment:
    """How well the label tile, moved by so many of its pixels, explains the image (share of the variance of dB)."""

    def __init__(self, scene: Path, label_path: Path):
        product = open_product(scene)
        self.db = product.read_db(looks=2)
        self.valid = np.isfinite(self.db)
        cols, rows = np.meshgrid(2 * np.arange(self.db.shape[1]) + 1, 2 * np.arange(self.db.shape[0]) + 1)
        x_m, y_m = product.transform * (cols[self.valid], rows[self.valid])
        longitude, latitude = reproject_points(product.crs, "EPSG:4326", x_m, y_m)
        with rasterio.open(label_path) as tile:
            self.codes = tile.read(1)
            self.cols, self.rows = ~tile.transform * (np.array(longitude), np.array(latitude))

    def explained(self, dx: float, dy: float) -> float:
        codes = self.codes[np.floor(self.rows + dy).astype(int), np.floor(self.cols + dx).astype(int)]
        db = self.db[self.valid].astype(float)
        inside = codes != 255
        codes, db = codes[inside], db[inside]
        count, total = np.bincount(codes, minlength=15), np.bincount(codes, weights=db, minlength=15)
        between = (total**2 / np.maximum(count, 1)).sum() / db.size - db.mean() ** 2
        return between / db.var()

    def offset(self, axis: int) -> float:
        """Where the fit is best along x (0) or y (1), in label pixels: the top of a parabola through the best."""
        shifts = np.arange(-3, 3.01, 0.5)
        fits = np.array([self.explained(*((s, 0) if axis == 0 else (0, s))) for s in shifts])
        best = int(np.clip(fits.argmax(), 2, len(shifts) - 3))
        near = slice(best - 2, best + 3)
        curve = np.polyfit(shifts[near], fits[near], 2)
        return float(-curve[1] / (2 * curve[0]))


AXES = [pytest.param(0, id="x"), pytest.param(1, id="y")]


@pytest.fixture(scope="module")
def alignment(scene) -> Alignment:
    return Alignment(scene, next((scene / "labels").iterdir()))


@pytest.mark.parametrize("axis", AXES)
def test_labels_lie_on_the_image(alignment, axis):
    assert abs(alignment.offset(axis)) < 0.25


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("moved", [-1, 1])
def test_a_label_moved_by_one_pixel_would_be_noticed(alignment, monkeypatch, axis, moved):
    monkeypatch.setattr(alignment, "codes", np.roll(alignment.codes, moved, axis=1 - axis))
    assert alignment.offset(axis) == pytest.approx(moved, abs=0.25)


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param({"size_px": 63}, "size_px", id="too small"),
        pytest.param({"size_px": 40_001}, "size_px", id="too large"),
        pytest.param({"size_px": (64, 0)}, "size_px", id="no columns"),
        pytest.param({"size_px": (64, 64, 64)}, "size_px", id="three numbers"),
        pytest.param({"size_px": 128.5}, "size_px", id="a fraction"),
        pytest.param({"size_px": "128"}, "size_px", id="text"),
        pytest.param({"seed": -1}, "seed", id="negative seed"),
        pytest.param({"seed": 1.5}, "seed", id="a fraction as seed"),
        pytest.param({"seed": 2**32}, "seed", id="a seed beyond 32 bits"),
        pytest.param({"seed": True}, "seed", id="a truth value as seed"),
        pytest.param({"size_px": (True, 128)}, "size_px", id="a truth value as size"),
        pytest.param({"season": "rainy"}, "season", id="an unknown season"),
        pytest.param({"season": ["autumn"]}, "season", id="a list of seasons"),
        pytest.param({"executor": 3}, "executor", id="no executor"),
    ],
)
def test_bad_sizes_and_seeds_are_refused(tmp_path, arguments, field):
    with pytest.raises(Alos2TutError, match=field):
        simulate_product(tmp_path / "out", **{"size_px": SMALL, **arguments})
    assert not list(tmp_path.iterdir())


def test_whole_numbers_may_be_numpys(tmp_path):
    plain = simulate_product(tmp_path / "plain", seed=5, size_px=SMALL)
    numpys = simulate_product(tmp_path / "numpys", seed=np.uint32(5), size_px=tuple(np.array(SMALL)))
    assert content(numpys) == content(plain)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(Alos2TutError, match=r"not empty.*another folder"):
        simulate_product(tmp_path, size_px=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("precious")
    for target in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(Alos2TutError, match="file"):
            simulate_product(target, size_px=SMALL)
    assert (tmp_path / "file").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path, small_scene):
    assert simulate_product(tmp_path, seed=5, size_px=SMALL) == tmp_path
    assert open_product(tmp_path).shape == SMALL


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError], ids=["interrupted", "disk full"])
def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch, error):
    def stop(*_):
        raise error

    monkeypatch.setattr(simulation, "_write_labels", stop)
    with pytest.raises((KeyboardInterrupt, Alos2TutError)):
        simulate_product(tmp_path / "out", size_px=SMALL)
    assert not list(tmp_path.iterdir())


def test_the_product_can_be_moved(tmp_path, small_scene):
    moved = shutil.copytree(small_scene, tmp_path / "elsewhere")
    assert open_product(moved).fingerprint == open_product(small_scene).fingerprint
