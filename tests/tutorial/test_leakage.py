"""What careless splits pretend to gain: nothing where there is nothing to remember, much where there is."""

from types import SimpleNamespace

import numpy as np
import pytest
from support.products import complex_numbers, write_ceos

from alos2tut import build_dataset, load_config, open_dataset
from alos2tut.dataset.encoding import encode_db
from alos2tut.dataset.store import BOX_COLUMNS, Split
from alos2tut.tutorial import leakage
from alos2tut.tutorial.leakage import _HELD_OUT, SCALES_PX, SCHEMES, Leakage, _Ground, measure_leakage, pixel_features

SIDE, GRID = 16, 12


def dataset_of(db: np.ndarray, labels: np.ndarray, *, block: int = 3, buffer_m: float = 100.0) -> SimpleNamespace:
    """Patches of one square of ground, of which each lies 0.01 degrees from the next; a third in each list."""
    table = []
    for row, col in zip(*np.divmod(np.arange(len(db)), GRID), strict=True):
        west, south = 139 + 0.01 * col, 35 - 0.01 * (row + 1)
        sides = {"West": west, "South": south, "East": west + 0.01, "North": south + 0.01}
        table.append({k: f"{v:.7f}" for k, v in sides.items()} | {"Block": f"{row // block}_{col // block}"})
    parts = {
        name: Split(name, encode_db(db)[:, None], labels.astype(np.uint8), members, [table[i] for i in members])
        for name, members in zip(("train", "val", "test"), np.array_split(np.arange(len(db)), 3), strict=True)
    }

    def ground(name: str) -> np.ndarray:
        return np.array([[float(record[side]) for side in BOX_COLUMNS] for record in parts[name].table])

    return SimpleNamespace(split=parts.__getitem__, ground=ground, buffer=buffer_m, legend=range(3), path="somewhere")


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (GRID * GRID, SIDE, SIDE))


def test_where_values_tell_the_class_memory_gains_nothing(noise):
    labels = np.random.default_rng(1).integers(0, 3, (GRID * GRID, 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    result = measure_leakage(dataset_of(-20.0 + 8 * labels + 0.3 * noise, labels))
    assert min(result.miou["ground"]) > 0.6
    for scheme in ("patches", "pixels"):
        mean, low, high = result.gain(scheme)
        assert low - 0.02 <= 0 <= high + 0.02 and abs(mean) < 0.03


def test_where_only_the_place_tells_the_class_careless_splits_gain_much(noise):
    # pairs of neighbours have one brightness, one roughness and one class; other pairs tell nothing of it
    random = np.random.default_rng(2)
    pairs = np.arange(GRID * GRID) // 2
    brightness, roughness = (random.permutation(GRID * GRID // 2)[pairs][:, None, None] for _ in range(2))
    labels = random.integers(0, 3, GRID * GRID // 2)[pairs][:, None, None] * np.ones((1, SIDE, SIDE), int)
    db = 0.5 * brightness - 40 + 0.05 * 1.05**roughness * noise
    result = measure_leakage(dataset_of(db, labels))
    assert np.mean(result.accuracy["ground"]) < 1 / 3 + 0.1
    # random pixels meet their own patch, and random patches about every second time their twin
    assert np.mean(result.accuracy["pixels"]) > 0.9
    patches, pixels = result.gain("patches", "accuracy"), result.gain("pixels", "accuracy")
    assert 0.05 < patches[0] < pixels[0] and patches[1] > 0 and pixels[1] > 0.4


def test_gains_are_means_of_paired_differences_with_students_interval():
    scores = {"ground": (0.4, 0.5, 0.3), "patches": (0.5, 0.7, 0.6), "pixels": (0.4, 0.5, 0.3)}
    result = Leakage(scores, scores)
    # differences 0.1, 0.2, 0.3: spread 0.1, t of 2 degrees of freedom 4.303
    half = 4.3027 * 0.1 / 3**0.5
    assert result.gain("patches") == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-4)
    assert result.gain("pixels") == pytest.approx((0, 0, 0))
    assert "patches at random: +20.0 points of mIoU, 95 % interval -4.8 to +44.8\npixels at" in result.to_text()


def test_every_scheme_is_scored_in_every_repeat_and_seeds_repeat(noise, monkeypatch):
    monkeypatch.setattr(leakage, "REPEATS", 2)
    dataset = dataset_of(noise - 10, np.random.default_rng(3).integers(0, 3, noise.shape))
    one, again, other = (measure_leakage(dataset, seed=seed) for seed in (5, 5, 6))
    assert one == again != other
    assert set(one.miou) == set(one.accuracy) == set(SCHEMES) and {len(v) for v in one.miou.values()} == {2}


def test_training_ground_of_the_honest_scheme_keeps_the_buffer(noise):
    # a degree's hundredth is about 1.1 km: the buffer takes one more ring of patches
    patches = []
    for buffer_m in (1200.0, 0.0):
        ground = _Ground.of(dataset_of(noise, np.zeros(noise.shape, int), buffer_m=buffer_m))
        patches.append(len(set(ground.patch[ground.deal(np.random.default_rng(0))[0]["ground"]])))
    assert patches[0] < patches[1]


def test_schemes_differ_in_nothing_but_where_they_learn(noise):
    ground = _Ground.of(dataset_of(noise, np.zeros(noise.shape, int)))
    learned, test = ground.deal(np.random.default_rng(0))
    tested = set(ground.patch[test])
    assert ground.is_scored[test].all()
    assert len({len(pixels) for pixels in learned.values()}) == 1
    for pixels in learned.values():
        assert not ground.is_scored[pixels].any() and len(set(pixels)) == len(pixels)
    patches = {scheme: set(ground.patch[pixels]) for scheme, pixels in learned.items()}
    assert len(patches["ground"]) == len(patches["patches"]) > len(tested)
    assert not patches["ground"] & tested and not patches["patches"] & tested and tested < patches["pixels"]
    # of the held-out blocks half is tested; the other half is what only careless splits learn from
    held_out = np.isin(ground.block, np.unique(ground.block[list(tested)]))
    assert held_out.mean() == pytest.approx(_HELD_OUT, abs=0.05)
    assert not patches["ground"] & set(np.flatnonzero(held_out)) and patches["patches"] & set(np.flatnonzero(held_out))


def test_features_are_means_and_variation_over_growing_squares():
    db = np.random.default_rng(0).normal(-10, 3, (64, 64))
    db[20:30, 20:30] = np.nan
    found = pixel_features(db)
    assert found.shape == (64, 64, 2 * len(SCALES_PX) + 2)
    power = 10 ** (db / 10)
    for scale, size in enumerate(SCALES_PX[:3]):
        half = size // 2
        part = power[40 - half : 41 + half, 32 - half : 33 + half]
        assert found[40, 32, 2 * scale] == pytest.approx(10 * np.log10(np.nanmean(part)), abs=1e-6)
        assert found[40, 32, 2 * scale + 1] == pytest.approx(np.log(np.nanstd(part) / np.nanmean(part)), abs=1e-6)
    assert np.ptp(found[..., -2]) == 0 and found[0, 0, -2] == pytest.approx(10 * np.log10(np.nanmean(power)))
    assert np.isfinite(found[np.isfinite(db)]).all()


@pytest.mark.parametrize(
    ("block", "buffer_m", "why"), [(100, 100.0, "1 blocks of ground"), (3, 1e7, "too little ground")]
)
def test_where_too_little_ground_is_left_it_says_so(noise, block, buffer_m, why):
    result = measure_leakage(dataset_of(noise, np.zeros(noise.shape, int), block=block, buffer_m=buffer_m))
    assert not result.miou and why in result.to_text() and "smaller blocks" in result.to_text()


@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
def test_ground_of_an_image_on_no_map_is_held_out_in_its_pixels(tmp_path):
    codes = np.random.default_rng(0).integers(1, 6, (20, 20)).repeat(16, axis=0).repeat(16, axis=1)
    np.save(tmp_path / "gt.npy", codes)
    write_ceos(tmp_path / "one", {"HH": complex_numbers(codes.shape)}, "HBQR1.1__A")
    settings = {"looks": 1, "patch_px": 16, "block_px": 64, "buffer_px": 4, "workers": 1, "min_labelled_fraction": 0.1}
    settings |= {"products": tmp_path / "one", "labels": tmp_path / "gt.npy", "legend": "airsar_sanfrancisco"}
    dataset = open_dataset(build_dataset(load_config("dataset", **settings, work_dir=tmp_path)))
    ground = _Ground.of(dataset)
    assert ground.buffer == 4 and ground.places.shape[1] == 5
    training, test = ground.deal(np.random.default_rng(0))
    learned, tested = (ground.places[np.unique(ground.patch[pixels])] for pixels in (training["ground"], test))
    gaps = np.maximum(learned[:, None, 1:3] - tested[:, 3:], tested[:, 1:3] - learned[:, None, 3:]).clip(0)
    assert np.hypot(*np.moveaxis(gaps, -1, 0)).min() >= 4
