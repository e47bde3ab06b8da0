"""Even ground is found without choosing its speckle; kinds of ground are ranked."""

import numpy as np
import pytest
import rasterio
from scipy import ndimage, stats
from support.memory import peak_below
from support.products import real_data

from alos2tut import Alos2TutError, open_product, radiometry, speckle
from alos2tut.speckle.areas import areas_by_variation, homogeneous_areas

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
IMAGE = np.random.default_rng(0).gamma(3, 1 / 3, (64, 64))


@pytest.mark.parametrize(
    ("find", "arguments", "where"),
    [
        (homogeneous_areas, (IMAGE, 20), "size"),
        (homogeneous_areas, (IMAGE, 8), "size"),
        (homogeneous_areas, (IMAGE, 72), "size"),
        (homogeneous_areas, (IMAGE * np.nan, 16), "size"),
        (homogeneous_areas, (IMAGE * 0 + 2, 16), "size"),
        (homogeneous_areas, (1 + 1e-8 * IMAGE, 16), "size"),
        (homogeneous_areas, (IMAGE, 16, 0), "count"),
        (areas_by_variation, (np.ones((700, 700)), 2), "size"),
        (areas_by_variation, (IMAGE * np.nan, 16), "size"),
        *((areas_by_variation, (IMAGE, size), "size") for size in (0, 1, 65, -4, 2.5, True)),
    ],
)
def test_what_cannot_be_is_refused_by_name(find, arguments, where):
    with pytest.raises(Alos2TutError) as refusal:
        find(*arguments)
    assert refusal.value.where == where


# --- even ground


def patchwork(looks, correlation, seed):
    """Water, forest, town and a field of steep slope, 256 × 256 pixels each; water is the upper left quarter."""
    draw = np.random.default_rng(seed)
    ground = np.empty((512, 512))
    ground[:256, :256] = 10**-2.4
    texture = np.stack([ndimage.gaussian_filter(draw.standard_normal((256, 256)), 0.7) for _ in range(2)])
    probability = stats.norm.cdf(texture / texture.std())
    ground[:256, 256:] = 10**-0.75 * stats.gamma.ppf(probability[0], 5, scale=1 / 5)
    ground[256:, :256] = 10**-0.4 * stats.gamma.ppf(probability[1], 0.7, scale=1 / 0.7)
    ground[256:, 256:] = 10**-1.3 * (0.3 + np.arange(256) % 64 / 32)
    return ground * speckle.draw_speckle((512, 512), looks, seed, correlation=correlation)


@pytest.mark.parametrize("correlation", [0, 0.3])
@pytest.mark.parametrize("looks", [1, 3, 20])
def test_water_is_found_beside_forest_town_and_slopes(looks, correlation):
    for seed in range(3):
        power = patchwork(looks, correlation, seed)
        areas = homogeneous_areas(power, 64, 4)
        assert len(areas) == 4
        for area in areas:
            assert area.row + 64 <= 256 and area.col + 64 <= 256
            assert area.mean_power == pytest.approx(10**-2.4, rel=0.15)


def test_areas_are_views_that_do_not_overlap():
    power = speckle.draw_speckle((200, 300), 3, 1)
    areas = homogeneous_areas(power, 32, 1000)
    # as many as lie at least 32 apart, if not all of a chessboard's
    assert 25 < len(areas) <= 54
    covered = np.zeros(power.shape, dtype=int)
    for area in areas:
        row, col, height, width = area.window
        assert (height, width) == (32, 32) == area.of(power).shape
        assert np.shares_memory(area.of(power), power)
        covered[row : row + height, col : col + width] += 1
    assert covered.max() == 1
    assert homogeneous_areas(power, 32, 3) == areas[:3]


@pytest.mark.parametrize("fill", [np.nan, 0.0, 1e-5, 40.0], ids=["missing", "zero", "padding", "saturation"])
def test_ground_that_was_filled_is_not_chosen(fill):
    power = speckle.draw_speckle((256, 256), 1, 5)
    power[:, 100:] = fill
    power[200:] = fill
    areas = homogeneous_areas(power, 32, 50)
    assert areas and all(area.col + 32 <= 104 and area.row + 32 <= 204 for area in areas)
    assert all(area.cv > 0.7 for area in areas)


@pytest.mark.parametrize("ends", [(0, 1.6), (0, 2.0), (0.3, 9), (0.4, 9)])
def test_ground_that_is_cut_off_is_not_chosen(ends):
    power = speckle.draw_speckle((512, 512), 3, 1)
    power[:256] = power[:256].clip(*ends)
    assert all(area.row + 32 > 240 for area in homogeneous_areas(power, 32, 20))
    with pytest.raises(Alos2TutError, match="saturated"):
        homogeneous_areas(power[:200], 32)


@pytest.mark.parametrize("looks", [1, 3])
def test_a_small_lake_in_a_textured_land_is_found(looks):
    power = speckle.draw_speckle((1024, 1024), looks, 6)
    land = np.random.default_rng(3).gamma(5, 1 / 5, power.shape)
    lake = np.s_[400:520, 600:720]
    land[lake] = 0.02
    # less than a hundredth of the windows lie wholly in it
    (area,) = homogeneous_areas(power * land, 64)
    assert 400 <= area.row <= 520 - 64 and 600 <= area.col <= 720 - 64
    assert speckle.enl_moments(area.of(power * land)) == pytest.approx(looks, rel=0.1)


@pytest.mark.parametrize("kind", ["ramp", "smoothed"])
def test_a_patch_that_was_filled_in_is_not_chosen(kind):
    power = speckle.draw_speckle((512, 512), 3, 2)
    patch = np.s_[96:176, 200:280]
    power[patch] = 1 + np.arange(80) / 800 if kind == "ramp" else ndimage.uniform_filter(power, 7)[patch]
    found = homogeneous_areas(power, 32, 20)
    assert len(found) == 20
    assert all(2 < area.cv**-2 < 4.7 for area in found)


def test_missing_pixels_of_any_kind_are_in_no_area():
    power = speckle.draw_speckle((256, 256), 3, 6)
    hole = np.zeros(power.shape, dtype=bool)
    hole[40:60, 50:200] = True
    expected = homogeneous_areas(np.where(hole, np.nan, power), 32, 20)
    assert not any(area.of(hole).any() for area in expected)
    for holed in (np.where(hole, 0, power), np.ma.array(power, mask=hole)):
        assert homogeneous_areas(holed, 32, 20) == expected
        assert areas_by_variation(holed, 32) == areas_by_variation(np.where(hole, np.nan, power), 32)


def test_memory_stays_a_few_times_that_of_the_image():
    power = speckle.draw_speckle((2000, 500), 1, 0)
    with peak_below(4 * power.nbytes):
        homogeneous_areas(power, 16, 10)


def test_an_edge_is_not_chosen():
    power = speckle.draw_speckle((256, 256), 4, 6)
    power[:, 128:] *= 2
    assert all(area.col <= 100 or area.col >= 124 for area in homogeneous_areas(power, 32, 8))


def test_choosing_even_ground_does_not_choose_its_speckle():
    found, calmest = [], []
    for seed in range(8):
        power = speckle.draw_speckle((1024, 1024), 1, 100 + seed)
        found += [speckle.enl_moments(area.of(power)) for area in homogeneous_areas(power, 64, 3)]
        windows = np.lib.stride_tricks.sliding_window_view(power, (64, 64))[::16, ::16]
        calmest.append((windows.mean(axis=(2, 3)) / windows.std(axis=(2, 3))).max() ** 2)
    assert np.mean(found) == pytest.approx(1, abs=0.02)
    assert np.mean(calmest) == pytest.approx(1.11, abs=0.02)


def test_real_ocean_is_found_by_itself(mosaic):
    power = open_product(mosaic).read_power(polarization="HH")
    with rasterio.open(mosaic / "crop_N23W161_20_mask_F02DAR.tif") as layer:
        ocean = layer.read(1) == 50
    areas = homogeneous_areas(power, 64, 6)
    assert len(areas) == 6 and all(area.of(ocean).all() for area in areas)
    assert [speckle.enl(area.of(power)).value for area in areas] == pytest.approx([6.85] * 6, abs=0.5)


def test_real_single_look_fields_have_one_look():
    h5py = pytest.importorskip("h5py")
    with h5py.File(real_data("uavsar_lband_slc") / "winnipeg.h5") as file:
        power = radiometry.dn_to_power(file["science/LSAR/SLC/swaths/frequencyA/HH"][:], 0)
    areas = homogeneous_areas(power, 32, 4)
    estimates = [speckle.enl(area.of(power)) for area in areas]
    assert [e.value for e in estimates] == pytest.approx([1] * 4, abs=0.06)
    assert sum(e.low <= 1 <= e.high for e in estimates) >= 3


# --- kinds of ground


def test_windows_are_ranked_from_speckle_to_towns():
    power = speckle.draw_speckle((192, 128), 3, seed=5)
    power[64:128, :64] *= np.random.default_rng(1).gamma(1, 1, (64, 64))
    power[:64, 64:] *= np.random.default_rng(2).gamma(8, 1 / 8, (64, 64))
    power[150, 100] = np.nan
    areas = areas_by_variation(power, 64)
    # the window with a hole is left out
    assert {(area.row, area.col) for area in areas} == {(0, 0), (0, 64), (64, 0), (64, 64), (128, 0)}
    assert [(area.row, area.col) for area in areas[-2:]] == [(0, 64), (64, 0)]
    for area in areas:
        assert area.cv == pytest.approx(area.of(power).std(ddof=1) / area.of(power).mean())
        assert area.mean_power == pytest.approx(area.of(power).mean())
