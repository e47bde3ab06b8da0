"""The simulated scene: the same bytes for the same seed, right levels and speckle, labels in their place."""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject_points
from scipy import ndimage

from alos2tut import Alos2TutError, load_legend, open_product, radiometry, simulate_product, simulation, speckle

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
    return simulation.LandCover(facts["seed"], height * 2.5, width * 2.5).surfaces(x_m, y_m)[0]


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


# --- levels and speckle


def test_power_of_the_flat_sea_is_signal_plus_noise_floor(sea_power):
    along_x, along_y = (lag[1] for lag in speckle.autocorrelation(sea_power, 1))
    pixels = np.isfinite(sea_power).sum()
    # neighbours that correlate make fewer effective samples
    effective = pixels / ((1 + 2 * along_x) * (1 + 2 * along_y))
    tolerance_db = max(0.1, 3 * 10 / np.log(10) / np.sqrt(effective))
    expected = 10 * np.log10(10**-1.7 + 10**-2.6)
    assert radiometry.to_db(np.nanmean(sea_power)) == pytest.approx(expected, abs=tolerance_db)


def test_the_sea_shows_one_look_and_little_correlation(sea_power):
    assert speckle.enl_moments(sea_power) == pytest.approx(1, abs=0.05)
    assert speckle.enl_log_moments(sea_power) == pytest.approx(1, abs=0.05)
    for lags in speckle.autocorrelation(sea_power, 3):
        assert lags[1] == pytest.approx(0.07, abs=0.02)
        assert lags[3] == pytest.approx(0, abs=0.02)


def test_forest_has_more_variation_than_speckle(scene):
    forest = surfaces_of(scene) == simulation.load_priors().names.index("evergreen needle-leaf")
    power = open_product(scene).read_power()[forest]
    cv = speckle.coefficient_of_variation(power[np.isfinite(power)])
    assert cv == pytest.approx(speckle.expected_cv(1, 5.0), rel=0.05)


def test_facts_are_kept_beside_the_product(scene):
    facts = json.loads((scene / "simulation.json").read_text())
    assert facts["simulated"] is True and facts["seed"] == 2 and facts["size_px"] == [1600, 1600]
    assert sum(facts["surface_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert facts["clipped_pixels"]["low"] < 100 and facts["clipped_pixels"]["high"] < 1000
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
    ],
)
def test_bad_sizes_and_seeds_are_refused(tmp_path, arguments, field):
    with pytest.raises(Alos2TutError, match=field):
        simulate_product(tmp_path / "out", **{"size_px": SMALL, **arguments})
    assert not list(tmp_path.iterdir())


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
