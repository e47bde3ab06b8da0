"""Backscatter of the simulated scene: levels, angles, texture and speckle are those of its table."""

import numpy as np
import pytest
import simulator_validation
from scipy import ndimage
from support.simulated import surfaces_of

from alos2tut import open_product, radiometry
from alos2tut.simulation import backscatter, landcover, priors
from alos2tut.speckle import statistics as speckle


@pytest.fixture(scope="module")
def sea_power(scene) -> np.ndarray:
    """Power of the sea, three pixels and more from its shore; NaN elsewhere."""
    sea = surfaces_of(scene) == priors.load_priors().names.index("sea")
    power = open_product(scene).read_power().astype(float)
    inner = ndimage.binary_erosion(sea, iterations=3) & np.isfinite(power)
    assert inner.sum() > 30_000
    return np.where(inner, power, np.nan)


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
    step, b = 0.25, simulator_validation.bandwidth(3.0, 0.54)
    frequency = np.fft.fftfreq(1 << 16, step)
    weight = np.where(np.abs(frequency) < b / 2, 0.54 + 0.46 * np.cos(2 * np.pi * frequency / b), 0)
    response = np.abs(np.fft.ifft(weight)) ** 2
    assert np.interp(1.5, np.arange(40) * step, response[:40]) == pytest.approx(response[0] / 2, rel=0.01)
    correlation = np.fft.ifft(weight**2).real
    expected = correlation[[0, 10, 20, 30]] / correlation[0]
    found = simulator_validation.speckle_correlation(np.arange(4) * 2.5, 3.0, 0.54)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("pedestal", [1.0, 0.75, 0.54])
def test_taps_give_the_correlation_that_is_asked(pedestal):
    taps = simulator_validation.speckle_taps(3.0, 2.5, pedestal).astype(float)
    found = np.correlate(taps, taps, "full")[taps.size - 1 :][:6]
    asked = simulator_validation.speckle_correlation(np.arange(6) * 2.5, 3.0, pedestal)
    np.testing.assert_allclose(found, asked, atol=0.01)


def test_the_simulators_filter_is_that_of_its_table():
    radar = priors.load_priors().radar
    expected = simulator_validation.speckle_taps(radar["resolution_m"], 2.5, radar["window_pedestal"])
    np.testing.assert_allclose(backscatter._TAPS, expected, rtol=0, atol=1.5e-6)


def test_looks_of_multilooked_sea_follow_from_its_correlation(sea_power):
    found = speckle.enl_moments(radiometry.multilook(sea_power, 2))
    # N² / Σ ρ over all pairs of a block's N pixels; along either axis two pixels and the pair of neighbours, twice
    neighbours = simulator_validation.speckle_correlation(2.5, 3.0, 1.0) ** 2
    assert found == pytest.approx((4 / (2 + 2 * neighbours)) ** 2, rel=0.06)


# --- angles


def ground(name: str, **values: float) -> landcover.Ground:
    fields = {"level": 0.0, "direction_rad": 0.0, "rise_east": 0.0, "rise_north": 0.0} | values
    number = np.array([priors.load_priors().number(name)], dtype=np.uint8)
    return landcover.Ground(number, *(np.array([value], dtype=np.float32) for value in fields.values()))


def mean_db(name: str, incidence_deg: float = 36.3, season: str = "autumn", **values: float) -> float:
    incidence = np.array([np.radians(incidence_deg)], dtype=np.float32)
    return float(backscatter.mean_db(ground(name, **values), incidence, priors.load_priors(season))[0])


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


@pytest.mark.parametrize("name", priors.load_priors().names)
def test_parcels_on_level_ground_have_together_the_level_that_the_table_asks(name):
    [asked] = [row["sigma0_db"] for row in priors.load_table()["surfaces"] if row["name"] == name]
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


# --- the scene against its table


@pytest.fixture(scope="module")
def check(scene) -> simulator_validation.SimulationCheck:
    return simulator_validation.check_simulation(scene)


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
    corner = surfaces_of(scene) == priors.load_priors().number("corner")
    dn = open_product(scene).read_dn()[corner]
    assert dn.size > 500 and (dn == 65535).mean() < 0.01


def test_speckle_correlates_as_asked_along_both_axes(check):
    assert len(check.found_speckle) == 2
    for found in check.found_speckle:
        np.testing.assert_allclose(found, check.asked_speckle, atol=0.02)
