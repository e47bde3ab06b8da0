"""Changed patches: what becomes of power, and of the score."""

import json

import numpy as np
import pytest
import torch
from support.networks import tiny_segmenter
from support.packed import write_blocks, write_packed_dataset

from alos2tut.core.errors import Alos2TutError
from alos2tut.dataset.encoding import NO_DATA
from alos2tut.dataset.store import open_dataset
from alos2tut.evaluation.robustness import _change, _changed, add_speckle, coarsen, robustness
from alos2tut.metrics import scores_from_confusion
from alos2tut.networks.inference import confusion_matrix
from alos2tut.networks.weights import save_segmenter


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_packed_dataset(tmp_path_factory.mktemp("packed") / "dataset", n_held_out=5))


@pytest.fixture(scope="module")
def segmenter(dataset):
    """One that looks at brightness alone, and is right where speckle lets it be."""
    made = tiny_segmenter(dataset)
    levels = (torch.tensor([-4.0, -10.0, -16.0]) + 11) / 6
    made.forward = lambda x: -((x - levels.view(1, 3, 1, 1)) ** 2)
    return made.eval()


@pytest.mark.parametrize(("own", "added"), [(4, 2), (1, 1), (3, 8)])
def test_looks_after_added_speckle(own, added):
    random = np.random.default_rng(0)
    power = add_speckle(random.gamma(own, 1 / own, 2_000_000), added, random)
    assert power.mean() == pytest.approx(1, abs=0.01)
    assert power.mean() ** 2 / power.var() == pytest.approx(1 / (1 / own + 1 / added + 1 / (own * added)), rel=0.02)


def test_coarser_pixels_hold_the_mean_power_of_what_is_known():
    power = np.arange(30.0).reshape(1, 5, 6) + 1
    power[0, 0, 1] = np.nan
    coarse = coarsen(power, 4)
    assert np.isnan(coarse[0, 0, 1]) and np.isfinite(coarse).sum() == 29
    for rows, cols in [((0, 4), (0, 4)), ((0, 4), (4, 6)), ((4, 5), (0, 4)), ((4, 5), (4, 6))]:
        block = coarse[0, slice(*rows), slice(*cols)]
        assert np.nanmax(block) == np.nanmin(block) == pytest.approx(np.nanmean(power[0, slice(*rows), slice(*cols)]))
    assert np.array_equal(coarsen(power, 1), power, equal_nan=True)


@pytest.mark.parametrize(("kind", "value"), [("added_looks", 1), ("multilook", 4), ("gain_db", 3)])
def test_missing_pixels_stay_missing_and_no_others_go(dataset, kind, value):
    split = dataset.split("val")
    rows, _ = split.gather([0, 3])
    changed = _changed(split, _change(kind, value), 0, rows, np.array([0, 3]))
    assert ((changed == NO_DATA) == (rows == NO_DATA)).all() and (changed != rows).any() and changed.dtype == np.int16
    if kind == "gain_db":
        assert (changed[rows != NO_DATA] - rows[rows != NO_DATA] == 300).all()
    # a patch's noise is its own, whatever company it is in
    assert (_changed(split, _change(kind, value), 0, rows[1:], np.array([3])) == changed[1:]).all()
    elsewhere = _changed(split, _change(kind, value), 0, rows[1:], np.array([0]))
    assert (elsewhere != changed[1:]).any() == (kind == "added_looks")


def test_the_score_falls_as_the_input_gets_worse(dataset, segmenter):
    found = robustness(segmenter, dataset, added_looks=(None, 8, 1), gains_db=(-6, 0, 6), batch_size=2)
    unchanged = scores_from_confusion(confusion_matrix(segmenter, dataset.split("val"), 2))["miou"]
    looks, gains = ([trial.miou for trial in found.curve(kind)] for kind in ("added_looks", "gain_db"))
    assert looks[0] == gains[1] == found.curve("multilook")[0].miou == unchanged
    assert looks[0] > looks[1] > looks[2] + 0.05 and max(gains[0], gains[2]) < unchanged - 0.1
    # averaging takes speckle away, and the fields are larger than the blocks
    assert found.curve("multilook")[2].miou > unchanged
    content = found.to_dict()
    assert json.loads(json.dumps(content)) == {**content, "trials": list(content["trials"])}
    assert found.split == "val" and found.patches == 5 and content["trials"][0]["value"] is None
    again = robustness(segmenter, dataset, added_looks=(1, None), gains_db=(), multilook=(), batch_size=3)
    assert [trial.miou for trial in again.trials] == [looks[2], looks[0]]
    other = robustness(segmenter, dataset, added_looks=(1,), gains_db=(), multilook=(), seed=1)
    assert other.trials[0].miou != looks[2]


def test_a_file_is_scored_too_and_few_patches(dataset, tmp_path):
    save_segmenter(
        tmp_path / "segmenter.safetensors", tiny_segmenter(dataset), provenance={"made_from": {}}, simulated=True
    )
    found = robustness(tmp_path, dataset.path, added_looks=(), multilook=(), gains_db=(0,), patches=2, split="test")
    assert found.patches == 2 and len(found.trials) == 1 and found.trials[0].interval is None


def test_a_change_has_an_interval_of_its_own(segmenter, tmp_path):
    """Trials are scored on the same blocks: the change of the unchanged patches is none, that of others is sure."""
    dataset = open_dataset(write_blocks(tmp_path / "dataset", blocks=3))
    found = robustness(segmenter, dataset, added_looks=(), multilook=(), gains_db=(6, 0))
    changed, unchanged = found.trials
    assert unchanged.change == {"value": 0, "interval": [0, 0]} and found.blocks == 3 and found.covers == ("ground",)
    assert changed.change["value"] == pytest.approx(changed.miou - unchanged.miou)
    assert changed.change == changed.score.minus(unchanged.score)
    low, high = changed.change["interval"]
    assert low < changed.miou - unchanged.miou < high


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"added_looks": (0,)}, "added_looks: must be finite numbers above 0"),
        ({"multilook": (2, 1.5)}, r"multilook=\(2, 1\.5\) is not a sequence \(a whole number\)"),
        ({"multilook": (2, 0)}, "multilook: must be whole numbers from 1"),
        ({"gains_db": (np.nan,)}, "gain_db: must be finite"),
        ({"patches": 0}, "patches=0 is not at least 1"),
        ({"split": "tset"}, "unknown split 'tset'.*'test'"),
    ],
)
def test_trials_that_cannot_be_are_refused(dataset, segmenter, values, message):
    with pytest.raises(Alos2TutError, match=message):
        robustness(segmenter, dataset, **values)


def test_patches_of_another_size_are_refused(segmenter, tmp_path):
    larger = write_packed_dataset(tmp_path / "dataset", patch_px=64)
    with pytest.raises(Alos2TutError, match=r"the segmenter: reads \(32, 32\) px"):
        robustness(segmenter, larger)
