"""Speckle filters against plain loops, known answers and symmetries; their judge against filters of known fault."""

from itertools import product

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from alos2tut import Alos2TutError, open_product
from alos2tut.speckle import despeckling
from alos2tut.speckle.despeckling import (
    FILTERS,
    assess,
    boxcar,
    edge_preservation,
    ratio_image,
    refined_lee,
    structure,
)
from alos2tut.speckle.laws import draw_speckle
from alos2tut.speckle.statistics import enl_moments
from alos2tut.tutorial.figures.speckle import target_chart

pytestmark = [
    pytest.mark.filterwarnings("error"),
    # affine 3 would like @ for *
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]
ALL = [pytest.param(despeckle, id=name) for name, despeckle in FILTERS.items()]
LOOKS = 4.0


def ground(shape: tuple[int, int] = (24, 20), seed: int = 0, holes: float = 0.0) -> np.ndarray:
    """Speckled power with an oblique edge, a bright point, a corner of zeros, and holes."""
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    power = np.where(y > 0.6 * x + 4, 0.3, 0.03) * random.gamma(LOOKS, 1 / LOOKS, shape)
    power[shape[0] // 3, shape[1] // 2] = 20
    power[-4:, :5] = 0
    power[random.random(shape) < holes] = np.nan
    return power


# Plain loops ------------------------------------------------------------------------------------------------------


def neighbours(image, row, col, reach):
    """(down, right, power) of what has data in a window; zero is none."""
    for down, right in product(range(-reach, reach + 1), repeat=2):
        y, x = row + down, col + right
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1] and image[y, x] > 0:
            yield down, right, image[y, x]


def moments(values):
    """Mean and squared coefficient of variation."""
    return np.mean(values), np.var(values) / np.mean(values) ** 2


def statistics_around(image, row, col, window):
    return moments([p for _, _, p in neighbours(image, row, col, window // 2)])


def share_of_ground(ci2, looks):
    return max(1 - 1 / looks / ci2, 0) if ci2 > 0 else 0


def plain_boxcar(image, row, col, looks, window):
    return statistics_around(image, row, col, window)[0]


def plain_lee(image, row, col, looks, window):
    m, ci2 = statistics_around(image, row, col, window)
    return m + share_of_ground(ci2, looks) * (image[row, col] - m)


def plain_kuan(image, row, col, looks, window):
    m, ci2 = statistics_around(image, row, col, window)
    return m + share_of_ground(ci2, looks) / (1 + 1 / looks) * (image[row, col] - m)


def plain_frost(image, row, col, looks, window):
    near = list(neighbours(image, row, col, window // 2))
    ci2 = moments([p for _, _, p in near])[1]
    weights = [np.exp(-1.0 * ci2 * (down**2 + right**2) ** 0.5) for down, right, _ in near]
    return sum(w * p for w, (_, _, p) in zip(weights, near, strict=True)) / sum(weights)


def plain_gamma_map(image, row, col, looks, window):
    m, ci2 = statistics_around(image, row, col, window)
    cu2, i = 1 / looks, image[row, col]
    if ci2 <= cu2:
        return m
    if ci2 >= 2 * cu2:
        return i
    # the positive root of α·x² − (α − L − 1)·m·x − L·I·m, which the most probable ground x makes zero
    alpha = (1 + cu2) / (ci2 - cu2)
    return max(np.roots([alpha, -(alpha - looks - 1) * m, -looks * i * m]).real)


#: as printed: the change of power that each finds, and the sub-windows on its two sides
TEMPLATES = {
    "rising": ([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]], (0, 0), (2, 2)),
    "falling": ([[0, -1, -1], [1, 0, -1], [1, 1, 0]], (0, 2), (2, 0)),
    "vertical": ([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], (1, 0), (1, 2)),
    "horizontal": ([[-1, -1, -1], [0, 0, 0], [1, 1, 1]], (0, 1), (2, 1)),
}


def means_of_sub_windows(image, row, col, window):
    """3 × 3 means around a pixel, NaN without data."""
    apart = {5: 1, 7: 2, 9: 2, 11: 3}[window]
    means = np.full((3, 3), np.nan)
    for place in product(range(3), repeat=2):
        at = row + apart * (place[0] - 1), col + apart * (place[1] - 1)
        inside = [p for _, _, p in neighbours(image, *at, window // 2 - apart)]
        means[place] = np.mean(inside) if inside else np.nan
    return means


def side_of_edge(means):
    """The sub-window on the side of a pixel's own kind, None if there is no telling."""
    pairs = means.copy()
    for place in product(range(3), repeat=2):
        if np.isnan(means[2 - place[0], 2 - place[1]]) or np.isnan(means[place]):
            pairs[place] = 0
    sides = {
        (one, other): abs((np.array(template) * pairs).sum())
        for template, one, other in TEMPLATES.values()
        if np.isfinite(means[one] + means[other])
    }
    if not sides or max(sides.values()) == 0:
        return None
    one, other = (abs(means[place] - means[1, 1]) for place in max(sides, key=sides.get))
    return None if one == other else max(sides, key=sides.get)[int(other < one)]


def plain_refined_lee(image, row, col, looks, window):
    # the whole window, or all that lies not behind the line through the middle
    down, right = np.subtract(side_of_edge(means_of_sub_windows(image, row, col, window)) or (1, 1), 1)
    m, ci2 = moments([p for y, x, p in neighbours(image, row, col, window // 2) if down * y + right * x >= 0])
    return m + share_of_ground(ci2, looks) / (1 + 1 / looks) * (image[row, col] - m)


PLAIN = {
    "boxcar": plain_boxcar,
    "Lee": plain_lee,
    "Kuan": plain_kuan,
    "Frost": plain_frost,
    "Gamma-MAP": plain_gamma_map,
    "refined Lee": plain_refined_lee,
}


@pytest.mark.parametrize(
    ("name", "window"),
    # nine sub-windows need room
    [(name, window) for name in FILTERS for window in (3, 5, 7, 9, 11) if (name, window) != ("refined Lee", 3)],
)
@pytest.mark.parametrize("holes", [pytest.param(0.0, id="complete"), pytest.param(0.3, id="holes")])
def test_a_filter_does_what_its_definition_says(name, window, holes):
    power = ground(holes=holes, seed=window)
    expected = np.full(power.shape, np.nan)
    for row, col in product(*map(range, power.shape)):
        if power[row, col] > 0:
            expected[row, col] = PLAIN[name](power, row, col, LOOKS, window)
    np.testing.assert_allclose(FILTERS[name](power, LOOKS, window), expected, rtol=1e-9, atol=1e-14)


# What must not matter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("despeckle", ALL)
# these two make all eight
@pytest.mark.parametrize("turn", [np.rot90, np.fliplr])
def test_no_direction_is_preferred(despeckle, turn):
    power = ground((31, 26), holes=0.1)
    np.testing.assert_allclose(despeckle(turn(power), LOOKS), turn(despeckle(power, LOOKS)), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("despeckle", ALL)
@examples(15)
@given(scale_db=st.floats(-120, 120), seed=st.integers(0, 99))
def test_brightness_does_not_matter(despeckle, scale_db, seed):
    power, scale = ground((12, 11), seed, holes=0.1), 10 ** (scale_db / 10)
    np.testing.assert_allclose(despeckle(scale * power, LOOKS), scale * despeckle(power, LOOKS), rtol=1e-9)


@pytest.mark.parametrize("despeckle", ALL)
@pytest.mark.parametrize("tile_px", [3, 7, 10, 23])
def test_the_cut_into_tiles_does_not_matter_to_the_last_bit(despeckle, tile_px, monkeypatch):
    power = ground((61, 44), holes=0.05)
    whole = despeckle(power, LOOKS)
    monkeypatch.setattr(despeckling, "TILE_PX", tile_px)
    np.testing.assert_array_equal(despeckle(power, LOOKS), whole)


@pytest.mark.parametrize("despeckle", ALL)
def test_the_float_type_is_kept_and_matters_by_rounding_only(despeckle):
    single = ground((40, 30), holes=0.1).astype(np.float32)
    filtered = despeckle(single, LOOKS)
    assert filtered.dtype == np.float32
    double = despeckle(single.astype(np.float64), LOOKS)
    assert double.dtype == np.float64
    np.testing.assert_allclose(filtered, double, rtol=1e-6)
    squares = np.arange(90, dtype=np.uint16).reshape(9, 10) ** 2
    np.testing.assert_allclose(despeckle(squares, LOOKS), despeckle(squares.astype(np.float64), LOOKS), rtol=1e-6)


@pytest.mark.parametrize("despeckle", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bright_target_does_no_harm_outside_its_window(despeckle, dtype):
    dark = (1e-5 * draw_speckle((40, 40), LOOKS, seed=1)).astype(dtype)
    bright = dark.copy()
    bright[20, 20] = 1e8
    reached = np.zeros(dark.shape, dtype=bool)
    reached[17:24, 17:24] = True
    expected, found = despeckle(dark, LOOKS), despeckle(bright, LOOKS)
    np.testing.assert_array_equal(found[~reached], expected[~reached])


# Missing pixels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("despeckle", ALL)
def test_a_missing_pixel_stays_missing_and_does_not_spread(despeckle):
    power = ground((40, 30), holes=0.2)
    power[10:25, 3:18] = np.nan
    power[17, 9] = 0.1
    missing = ~(power > 0)
    filtered = despeckle(power, LOOKS)
    np.testing.assert_array_equal(np.isnan(filtered), missing)
    assert filtered[17, 9] == pytest.approx(0.1)
    for no_data in (0, np.inf, np.nan):
        np.testing.assert_array_equal(despeckle(np.where(missing, no_data, power), LOOKS), filtered)
        assert np.isnan(despeckle(np.full((9, 12), no_data), LOOKS)).all()
    np.testing.assert_array_equal(despeckle(np.ma.masked_array(np.ones_like(power), missing) * power, LOOKS), filtered)


@pytest.mark.parametrize("despeckle", ALL)
def test_beyond_the_edge_is_as_missing_data(despeckle):
    power = ground((30, 26), holes=0.1)
    within_a_frame = np.pad(power, 9, constant_values=np.nan)
    np.testing.assert_array_equal(despeckle(within_a_frame, LOOKS)[9:-9, 9:-9], despeckle(power, LOOKS))


@pytest.fixture(scope="module", params=[1, LOOKS], ids=lambda looks: f"{looks:g} looks")
def islands(request):
    """Even ground in squares of 25 pixels with missing data between; their looks, and where each pixel lies."""
    power = draw_speckle((900, 900), request.param, seed=14)
    inside = np.arange(900) % 30
    inland = np.minimum(inside, 24 - inside)
    power[inland < 0] = power[:, inland < 0] = np.nan
    down, right = np.broadcast_arrays(inland[:, None], inland)
    places = {
        "interior": np.minimum(down, right) >= 6,
        "edge": (np.minimum(down, right) == 0) & (np.maximum(down, right) >= 6),
        "corner": (down == 0) & (right == 0),
        "beside an edge": (np.minimum(down, right) == 1) & (np.maximum(down, right) >= 6),
    }
    return power, request.param, places


@pytest.mark.parametrize("despeckle", ALL)
def test_speckle_is_smoothed_at_edges_and_corners_and_beside_missing_data_too(despeckle, islands):
    power, looks, places = islands
    filtered = despeckle(power, looks)
    enl, mean = ({place: of(filtered[where]) for place, where in places.items()} for of in (enl_moments, np.mean))
    # of a window of 49 pixels an edge leaves 28, a corner 16
    for place, least in {"beside an edge": 0.5, "edge": 0.5, "corner": 0.28}.items():
        assert enl[place] > least * enl["interior"], place
        assert mean[place] == pytest.approx(mean["interior"], rel=0.03), place


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("beyond", [pytest.param(0, id="edge of the image"), pytest.param(5, id="missing data")])
def test_refined_lee_keeps_an_edge_that_runs_into_the_border(turn, beyond):
    truth = np.where(np.indices((30, 40))[1] < 20, 0.04, 0.4)
    framed = np.rot90(np.pad(truth, beyond, constant_values=np.nan), turn)
    np.testing.assert_allclose(refined_lee(framed, LOOKS), framed, rtol=1e-12)


# Known answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("despeckle", ALL)
@pytest.mark.parametrize("level", [0.1, 3e-5, 1e-17, 1e17])
def test_a_constant_stays_so(despeckle, level):
    power = np.full((20, 30), level)
    power[3, 4:9] = np.nan
    np.testing.assert_allclose(despeckle(power, LOOKS), power, rtol=1e-14)


@pytest.mark.parametrize("name", ["Lee", "Kuan", "Gamma-MAP"])
def test_all_is_speckle_at_no_looks_and_nothing_at_endless_looks(name):
    power = ground()
    power[-4:, :5] = 0.03
    np.testing.assert_allclose(FILTERS[name](power, 1e-310), boxcar(power, LOOKS), rtol=1e-12)
    some = np.s_[:-7]
    np.testing.assert_allclose(FILTERS[name](power, 1e300)[some], power[some], rtol=1e-12)


@pytest.mark.parametrize("quarter", range(8))
def test_refined_lee_keeps_both_sides_of_a_straight_edge(quarter):
    y, x = np.indices((120, 120)) - 60.0
    angle = np.deg2rad(45 * quarter)
    # the edge lies between pixels, so that every pixel is wholly on one side
    away = x * np.cos(angle) + y * np.sin(angle) + 0.25
    truth = np.where(away > 0, 0.4, 0.04)
    inner = np.s_[8:-8, 8:-8]
    np.testing.assert_allclose(refined_lee(truth, LOOKS)[inner], truth[inner], rtol=1e-12)
    power = truth * draw_speckle(truth.shape, LOOKS, seed=5)
    for beside in (away > 0) & (away < 2), (away < 0) & (away > -2):
        level = truth[inner][beside[inner]].mean()
        refined, plain = (f(power, LOOKS)[inner][beside[inner]].mean() / level - 1 for f in (refined_lee, boxcar))
        assert abs(refined) < 0.25
        assert abs(plain) > max(3 * abs(refined), 0.2)


def test_real_ocean_gains_looks_and_keeps_its_level(mosaic):
    power = open_product(mosaic).read_power(polarization="HH")
    with rasterio.open(mosaic / "crop_N23W161_20_mask_F02DAR.tif") as layer:
        ocean = (layer.read(1) == 50) & np.isfinite(power)
    before = enl_moments(power[:60, :60][ocean[:60, :60]])
    for despeckle in FILTERS.values():
        filtered = despeckle(power, 6.5)
        np.testing.assert_array_equal(np.isfinite(filtered), np.isfinite(power))
        assert enl_moments(filtered[:60, :60][ocean[:60, :60]]) > 2 * before
        assert filtered[ocean].mean() == pytest.approx(power[ocean].mean(), rel=0.05)


# Bad input --------------------------------------------------------------------------------------------------------

EVEN = np.ones((12, 10))


@pytest.mark.parametrize("despeckle", ALL)
@pytest.mark.parametrize(
    ("power", "looks", "window", "message"),
    [
        pytest.param(-EVEN, 1, 7, "power: is negative", id="negative"),
        pytest.param(EVEN > 0, 1, 7, "power: holds bool", id="mask"),
        pytest.param(EVEN[0], 1, 7, "power", id="1-D"),
        pytest.param(EVEN, 0, 7, "looks", id="zero looks"),
        pytest.param(EVEN, np.nan, 7, "looks", id="unknown looks"),
        pytest.param(EVEN, np.inf, 7, "looks", id="infinite looks"),
        pytest.param(EVEN, 1, 6, "window", id="even window"),
        pytest.param(EVEN, 1, 1, "window", id="window of one pixel"),
        pytest.param(EVEN, 1, 11, "window", id="window wider than the image"),
    ],
)
def test_bad_input_is_refused(despeckle, power, looks, window, message):
    with pytest.raises(Alos2TutError, match=message):
        despeckle(power, looks, window)


def test_refined_lee_needs_room_for_sub_windows():
    with pytest.raises(Alos2TutError, match="window of 3 pixels"):
        refined_lee(EVEN, LOOKS, 3)


# Judging ----------------------------------------------------------------------------------------------------------


def test_ratio_image_is_missing_where_it_means_nothing():
    power = np.array([[1.0, np.nan, 3.0, 4.0, 0.0]])
    filtered = np.array([[2.0, 1.0, np.nan, 0.0, 5.0]])
    np.testing.assert_array_equal(ratio_image(power, filtered), [[0.5, np.nan, np.nan, np.nan, np.nan]])


@pytest.mark.parametrize("correlation", [0.0, 0.44])
@pytest.mark.parametrize("looks", [1, LOOKS])
def test_a_perfect_filter_gets_the_best_figures(looks, correlation):
    truth = target_chart()
    power = truth * draw_speckle(truth.shape, looks, seed=6, correlation=correlation)
    power[40:70, 150:250] = np.nan
    quality = assess(power, truth, looks, reference=truth, area=(180, 140, 60, 100))
    assert quality.ratio_mean == pytest.approx(1, abs=0.02)
    assert quality.ratio_variance == pytest.approx(1 / looks, rel=0.05)
    assert quality.ideal_variance == 1 / looks
    assert quality.structure == pytest.approx(1, abs=0.06)
    assert quality.enl == np.inf
    assert quality.edge_preservation == pytest.approx(1)
    assert quality.mean_kept == pytest.approx(1, abs=0.03)


def test_an_image_not_filtered_is_seen_to_be_so():
    truth = target_chart()
    power = truth * draw_speckle(truth.shape, LOOKS, seed=7)
    quality = assess(power, power, LOOKS, area=(180, 140, 60, 100))
    assert (quality.ratio_mean, quality.ratio_variance, quality.mean_kept) == (1, 0, 1)
    assert quality.enl == pytest.approx(LOOKS, rel=0.1)
    assert np.isnan([quality.structure, quality.edge_preservation]).all()


def test_figures_that_cannot_be_told_are_nan():
    nothing = np.full((40, 40), np.nan)
    quality = assess(nothing, nothing, LOOKS, reference=nothing, area=(0, 0, 9, 9))
    assert str(quality).count("nan") == 6
    assert np.isnan(assess(0 * EVEN, 0 * EVEN, LOOKS).mean_kept)


def test_means_are_compared_over_pixels_that_both_have():
    power, filtered = np.ones((40, 40)), np.full((40, 40), 0.5)
    power[:10], filtered[:10] = 100, np.nan
    power[10:20], filtered[10:20] = np.nan, 100
    quality = assess(power, filtered, LOOKS)
    assert (quality.mean_kept, quality.ratio_mean) == (0.5, 2)


def test_quality_is_said_in_one_line():
    quality = despeckling.Quality(0.98, 0.24, 1.2, 85.0, 0.5, 0.999, 0.25)
    ratio, others = "ratio mean 0.980, variance 0.240 (best 0.250), structure  1.20", "edges  0.50; mean kept 0.999"
    assert str(quality) == f"{ratio}; looks   85.0; {others}"


def plain_structure(ratio, block):
    means = {}
    for row, col in product(*(range(side // block) for side in ratio.shape)):
        values = ratio[row * block : (row + 1) * block, col * block : (col + 1) * block]
        if np.isfinite(values).sum() >= block**2 / 2:
            means[row, col] = np.log(np.nanmean(values))
    differences = [
        abs(mean - means[row + down, col + right])
        for (row, col), mean in means.items()
        for down, right in ((2, 0), (0, 2))
        if (row + down, col + right) in means
    ]
    return np.var(list(means.values())) / (np.median(differences) / 2**0.5 / 0.67449) ** 2


@pytest.mark.parametrize(("window", "block"), [(3, 2), (5, 2), (7, 3), (9, 4), (11, 5)])
def test_structure_is_what_its_definition_says(window, block):
    ratio = draw_speckle((100, 83), LOOKS, seed=9)
    ratio[20:50, 30:60] = np.nan
    ratio[np.random.default_rng(9).random(ratio.shape) < 0.3] = np.nan
    assert structure(ratio, window) == pytest.approx(plain_structure(ratio, block), rel=1e-4)


def test_blocks_of_zero_count_as_missing_and_few_blocks_say_nothing():
    ratio = draw_speckle((90, 90), LOOKS, seed=13)
    ratio[30:42, 30:42] = 0
    assert structure(ratio) == structure(np.where(ratio == 0, np.nan, ratio))
    assert np.isfinite(structure(ratio[:40, :40])) and np.isnan(structure(ratio[:20, :20]))


@pytest.mark.parametrize("correlation", [0.0, 0.44])
@pytest.mark.parametrize("window", [3, 7, 15])
def test_speckle_alone_has_no_structure_however_correlated(window, correlation):
    found = [structure(draw_speckle((256, 256), 1, seed, correlation=correlation), window) for seed in range(4)]
    assert np.mean(found) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("field_px", "least"), [pytest.param(128, 0.05, id="one edge"), pytest.param(32, 0.5, id="many edges")]
)
def test_smeared_edges_leave_structure(field_px, least):
    truth = np.where(np.indices((256, 256))[1] // field_px % 2, 0.4, 0.04)
    speckle = draw_speckle(truth.shape, LOOKS, seed=10)

    def left_by(despeckle, power):
        return structure(ratio_image(power, despeckle(power, LOOKS)))

    assert left_by(boxcar, speckle) == pytest.approx(1, abs=0.08)
    assert left_by(boxcar, truth * speckle) > left_by(boxcar, speckle) + least
    assert left_by(refined_lee, truth * speckle) == pytest.approx(left_by(refined_lee, speckle), abs=0.05)


def test_edges_are_compared_by_contrast():
    truth = target_chart()
    assert edge_preservation(truth, truth) == pytest.approx(1)
    assert edge_preservation(7 * truth, truth) == pytest.approx(1)
    assert edge_preservation(truth**0.5, truth) == pytest.approx(1)
    assert edge_preservation(1 / truth, truth) == pytest.approx(-1)
    assert np.isnan(edge_preservation(np.ones_like(truth), truth))


def test_edge_preservation_is_the_correlation_of_laplacians_where_both_have_data():
    power, truth = ground((20, 24), holes=0.05), ground((20, 24), seed=1)

    def laplacian(image, row, col):
        cross = [image[row, col], image[row - 1, col], image[row + 1, col], image[row, col - 1], image[row, col + 1]]
        if not min(cross) > 0 or np.isnan(cross).any():
            return np.nan
        db = 10 * np.log10(cross)
        return db[1:].sum() - 4 * db[0]

    def repeated(image):
        return np.pad(image, 1, mode="edge")

    places = [(row, col) for row in range(1, 21) for col in range(1, 25)]
    edges = np.array([[laplacian(repeated(image), *place) for place in places] for image in (power, truth)])
    edges = edges[:, np.isfinite(edges).all(axis=0)]
    assert 100 < edges.shape[1] < 450
    assert edge_preservation(power, truth) == pytest.approx(np.corrcoef(edges)[0, 1], rel=1e-9)


def test_the_chart_tells_filters_apart():
    truth = target_chart()
    power = truth * draw_speckle(truth.shape, LOOKS, seed=12)
    quality = {
        name: assess(power, despeckle(power, LOOKS), LOOKS, reference=truth, area=(180, 140, 60, 100))
        for name, despeckle in FILTERS.items()
    }
    plain, refined = quality["boxcar"], quality["refined Lee"]
    assert refined.edge_preservation > max(plain.edge_preservation, quality["Frost"].edge_preservation) + 0.2
    assert plain.structure > 1.6 > 1.2 > refined.structure
    assert plain.enl > max(q.enl for name, q in quality.items() if name not in ("boxcar", "Frost"))
    assert all(abs(q.mean_kept - 1) < 0.05 for q in quality.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filtered": np.ones((9, 9))}, "power and filtered: unequal shapes"),
        ({"filtered": -EVEN}, "is negative"),
        ({"reference": np.ones((9, 9))}, "filtered and reference: unequal"),
        ({"area": (0, 0, 13, 2)}, "area.*12 × 10"),
        ({"area": (-1, 0, 2, 2)}, "area"),
        ({"area": (0, 0, 0, 2)}, "area"),
        ({"area": (0, 5, 2, 6)}, "area"),
        ({"area": (0, 0, 2)}, "area"),
        ({"area": (0, 0, 2.5, 2)}, "area"),
        ({"area": 5}, "area=5 does not lie"),
        ({"area": "0123"}, "area"),
        ({"looks": 0}, "looks"),
        ({"window": 4}, "window"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes, message):
    arguments = {"power": EVEN, "filtered": EVEN, "looks": LOOKS, **changes}
    with pytest.raises(Alos2TutError, match=message):
        assess(**arguments)
