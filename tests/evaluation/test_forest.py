"""The floor: its statistics against plain arithmetic, and that it finds what is there and nothing else."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from support.datasets import build, labels_of
from support.packed import write_packed_dataset
from support.products import TIFF_NAME, UTM54, write_geotiff

from alos2tut import Alos2TutError, open_product
from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation import forest as module
from alos2tut.evaluation.forest import WINDOWS_PX, Floor, baseline, multiscale_statistics
from alos2tut.metrics import scores_from_confusion


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_packed_dataset(tmp_path_factory.mktemp("packed") / "dataset", n_held_out=6))


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(module, "TREES", 30)
    monkeypatch.setattr(module, "TREES_TO_CHOOSE", 10)
    monkeypatch.setattr(module, "PIXELS", 3_000)
    monkeypatch.setattr(module, "PIXELS_OF_A_TREE", 1_000)


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


def test_trees_that_can_turn_nothing_are_not_asked(monkeypatch):
    monkeypatch.setattr(module, "_TREES_AT_ONCE", 4)
    random = np.random.default_rng(0)
    classes = random.choice([1, 4, 7], 900).astype(np.uint8)
    statistics = (classes[:, None] + random.normal(0, 2, (900, 3))).astype(np.float32)
    forest = RandomForestClassifier(30, random_state=0).fit(statistics[:600], classes[:600])
    asked, ask = [], type(forest.estimators_[0]).predict_proba
    monkeypatch.setattr(
        type(forest.estimators_[0]),
        "predict_proba",
        lambda self, x, check_input=True: asked.append(len(x)) or ask(self, x, check_input),
    )
    found = module._predicted(forest, statistics)
    assert asked[:16] == [900] * 16 and 0 < asked[-1] < asked[16] < 900
    assert (found == forest.predict(statistics)).all()
    # of one class alone
    forest.fit(statistics, np.full(900, 4, np.uint8))
    assert (module._predicted(forest, statistics) == 4).all()


def test_a_floor_is_kept_and_found_again_by_all_that_decides_it(dataset, tmp_path, monkeypatch):
    first = baseline(dataset, work_dir=tmp_path)
    (kept,) = tmp_path.glob("floor-*/floor.json")
    assert json.loads(kept.read_text())["miou"] == first.to_dict()["miou"]
    with monkeypatch.context() as patched:
        patched.setattr(module, "_forest", lambda *_: pytest.fail("grows anew"))
        again = baseline(dataset.path, work_dir=tmp_path, chosen=range(len(dataset.split("train"))))
    assert again.to_dict() == first.to_dict() and (again.matrices == first.matrices).all()
    for number, other in enumerate([{"seed": 1}, {"chosen": [0, 3]}, {"split": "val"}], 2):
        baseline(dataset, work_dir=tmp_path, **other)
        assert len(list(tmp_path.glob("floor-*"))) == number
    for broken in ("", "[]", json.dumps(json.loads(kept.read_text()) | {"schema": "alos2tut-floor-0"})):
        kept.write_text(broken)
        assert baseline(dataset, work_dir=tmp_path).to_dict() == first.to_dict()
        assert Floor.from_dict(json.loads(kept.read_text())).to_dict() == first.to_dict()


def test_a_floor_is_scored_on_other_ground_of_the_same_classes_and_signal(dataset, tmp_path):
    other = write_packed_dataset(tmp_path / "other", seed=5, n_held_out=5)
    found = baseline(dataset, on=other)
    assert (found.grown_on, found.dataset, found.patches) == (dataset.path.name, "other", (10, 5))
    assert found.matrices.sum() == sum(open_dataset(other).content["splits"]["test"]["class_pixels"].values())
    assert scores_from_confusion(found.matrices.sum(axis=0))["miou"] > 0.75
    assert f"grown on 10 patches of {dataset.path.name}, scored on 5" in found.to_text()
    with pytest.raises(Alos2TutError, match="quantity is sigma0, that of the dataset to score on gamma0"):
        baseline(dataset, on=write_packed_dataset(tmp_path / "gamma0", quantity="gamma0"))
    with pytest.raises(Alos2TutError, match="knows class 2 as the codes 3, the dataset as nothing"):
        baseline(dataset, on=write_packed_dataset(tmp_path / "two", classes=2))


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


def test_of_products_of_one_name_those_are_taken_that_a_dataset_was_built_of(built):
    dataset, product = built
    namesake = dataclasses.replace(product, given={"sensor": "another"})
    assert namesake.image_name("HH") == product.image_name("HH") and namesake.fingerprint != product.fingerprint
    assert set(module._by_image(dataset, [product, namesake]).values()) == {product}


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
