"""The floor: its statistics against plain arithmetic, and that it finds what is there and nothing else."""

import dataclasses

import numpy as np
import pytest
from support.datasets import build, labels_of, write_packed_dataset
from support.products import TIFF_NAME, UTM54, write_geotiff

from alos2tut import Alos2TutError, open_product
from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation import forest as module
from alos2tut.evaluation.forest import WINDOWS_PX, baseline, multiscale_statistics
from alos2tut.metrics import scores_from_confusion


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_packed_dataset(tmp_path_factory.mktemp("packed") / "dataset", n_held_out=6))


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(module, "TREES", 30)
    monkeypatch.setattr(module, "_TREES_TO_CHOOSE", 10)
    monkeypatch.setattr(module, "_PIXELS", 3_000)


def test_statistics_are_those_of_the_known_pixels_of_a_window():
    random = np.random.default_rng(0)
    power = random.gamma(2, 0.05, (2, 41, 37))
    power[:, random.random((41, 37)) < 0.2] = np.nan
    power[1, :9, :9] = np.nan
    found = multiscale_statistics(power)
    assert found.shape == (41, 37, 2 * len(WINDOWS_PX) * 2) and found.dtype == np.float32
    for channel, row, col in [(0, 20, 18), (1, 0, 0), (1, 40, 36), (0, 3, 33), (1, 12, 2)]:
        for number, side in enumerate(WINDOWS_PX):
            half = side // 2
            part = (slice(max(row - half, 0), row + half + 1), slice(max(col - half, 0), col + half + 1))
            window = power[channel][part]
            window = window[np.isfinite(window)]
            at = 2 * (channel * len(WINDOWS_PX) + number)
            if not window.size:
                assert (found[row, col, at : at + 2] == 0).all()
                continue
            wanted = 10 * np.log10(window.mean()), np.log(max(window.std() / window.mean(), 1e-3))
            assert found[row, col, at : at + 2] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_what_is_plain_to_see_is_found_again_and_alike(dataset):
    floor = baseline(dataset)
    assert scores_from_confusion(floor.matrices.sum(axis=0))["miou"] > 0.75
    labelled = sum(dataset.content["splits"]["test"]["class_pixels"].values())
    assert floor.matrices.sum() == labelled
    again = baseline(dataset, split="test")
    assert (floor.matrices == again.matrices).all()
    assert (baseline(dataset, seed=1).matrices != floor.matrices).any()
    told = floor.to_dict()
    assert told["miou"] == scores_from_confusion(floor.matrices.sum(axis=0))["miou"]
    assert f"mIoU {told['miou']:.3f}" in floor.to_text() and "cut at the patch" in floor.to_text()


def test_nothing_is_found_where_nothing_is(dataset, monkeypatch):
    monkeypatch.setattr(module, "multiscale_statistics", lambda power: np.random.default_rng(
        int(abs(power[np.isfinite(power)].sum()) * 1e6)).random((*power.shape[1:], 4)).astype(np.float32))  # fmt: skip
    assert scores_from_confusion(baseline(dataset).matrices.sum(axis=0))["miou"] < 0.3


@pytest.fixture(scope="module")
def built(small_scene, tmp_path_factory):
    """A dataset of a simulated scene, and the product that it was built of."""
    folder = build(products=[small_scene], labels=[labels_of(small_scene)], work_dir=tmp_path_factory.mktemp("built"))
    return open_dataset(folder), open_product(small_scene)


def test_windows_reach_beyond_the_patch_into_its_product(built):
    dataset, product = built
    whole = multiscale_statistics(product.read_power(looks=2)[None].astype(np.float64))
    split, side = dataset.split("val"), dataset.patch_px
    source = module._Source(dataset, {product.name: product})
    for position, record in enumerate(split.table):
        row, col = int(record["PatchRow"]), int(record["PatchCol"])
        part = whole[row : row + side, col : col + side]
        assert source.features(split, position) == pytest.approx(part, abs=2e-3)
    floor = baseline(dataset, [product])
    assert floor.on_products and "computed on the products" in floor.to_text()
    assert (floor.matrices != baseline(dataset).matrices).any()


def test_other_products_are_refused(built, tmp_path):
    dataset, product = built
    other = write_geotiff(tmp_path / TIFF_NAME, np.ones((64, 64)), UTM54)
    with pytest.raises(Alos2TutError, match="not among the products given"):
        baseline(dataset, [open_product(other)])
    with pytest.raises(Alos2TutError, match="is gamma0, the dataset sigma0"):
        baseline(dataset, [dataclasses.replace(product, quantity="gamma0")])


def test_of_a_long_list_evenly_spread_patches_are_drawn_from(dataset, monkeypatch):
    monkeypatch.setattr(module, "_DRAWN_FROM", 3 * dataset.patch_px**2)
    split, looked_at = dataset.split("train"), []
    source = module._Source(dataset, {})
    whole = module._Source.features
    monkeypatch.setattr(
        module._Source,
        "features",
        lambda self, split, position: looked_at.append(position) or whole(self, split, position),
    )
    source.sample(split, np.arange(len(split)), np.random.default_rng(0))
    assert looked_at == np.linspace(0, len(split) - 1, 3).round().tolist()
