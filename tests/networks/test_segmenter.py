"""A segmenter on arrays: of any size, with holes, and the same as a map of the product that they were read from."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.maps import map_scene, read, write_product, write_segmenter
from support.properties import examples

from alos2tut import Alos2TutError, Alos2TutWarning, load_segmenter, open_product
from alos2tut.networks.segmenter import Segmenter

pytestmark = pytest.mark.filterwarnings("ignore:.*of the map is:alos2tut.Alos2TutWarning")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory) -> Segmenter:
    return load_segmenter(write_segmenter(tmp_path_factory.mktemp("segmenter") / "segmenter.safetensors"))


def speckle(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return (-12 + 5 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"flips": True}, {"overlap_px": 5, "batch_size": 3}])
def test_an_array_gets_the_classes_of_its_products_map(tmp_path, segmenter, options):
    product = write_product(tmp_path / "product", (290, 210), seed=4, holes=True)
    path = write_segmenter(tmp_path / "segmenter.safetensors")
    expected = read(map_scene(product, path, tmp_path / "map.tif", **options))
    assert len(np.unique(expected)) > 3 and 255 in expected
    np.testing.assert_array_equal(segmenter.predict(open_product(product).read_db(looks=2), **options), expected)


@examples(15)
@given(height=st.integers(1, 140), width=st.integers(1, 140), seed=st.integers(0, 99))
def test_any_size_gives_probabilities_that_sum_to_one_where_there_are_data(segmenter, height, width, seed):
    db = speckle((height, width), seed)
    holes = np.random.default_rng(seed).random((height, width)) < 0.1
    db[holes] = np.random.default_rng(seed).choice([np.nan, np.inf, -np.inf], holes.sum())
    classes, shares = segmenter.predict(db, probabilities=True)
    assert (classes.shape, classes.dtype, shares.shape) == (db.shape, np.uint8, (9, *db.shape))
    np.testing.assert_array_equal(classes == 255, holes)
    assert np.isnan(shares[:, holes]).all()
    np.testing.assert_allclose(shares[:, ~holes].sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(shares[:, ~holes].argmax(axis=0), classes[~holes])


def test_one_tile_is_one_pass_of_the_network_whatever_its_mode(segmenter):
    db = np.round(speckle((64, 64)), 2)
    with torch.no_grad():
        logits = segmenter(torch.from_numpy((db + 12) / 5)[None, None])[0]
    segmenter.train()
    _, shares = segmenter.predict(db[None].astype(np.float64), probabilities=True)
    assert segmenter.training
    segmenter.eval()
    np.testing.assert_allclose(shares, logits.softmax(dim=0).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("db", "options", "message"),
    [
        (np.zeros((2, 64, 64)), {}, r"an array \(2, 64, 64\) is no image \(H, W\) or \(1, H, W\) of HH"),
        (np.zeros(64), {}, "is no image"),
        (np.zeros((0, 64)), {}, "holds no backscatter"),
        (np.zeros((8, 8), complex), {}, "complex128 holds no backscatter"),
        (np.full((8, 8), -1200), {}, "holds 1200, which is no backscatter in dB"),
        (-np.ones((8, 8)), {"overlap_px": 60}, "seven eighths"),
        (-np.ones((8, 8)), {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_what_is_no_image_is_refused(segmenter, db, options, message):
    with pytest.raises(Alos2TutError, match=message):
        segmenter.predict(db, **options)


def test_linear_power_is_noticed(segmenter):
    with pytest.warns(Alos2TutWarning, match="linear power"):
        segmenter.predict(10 ** (speckle((30, 30)) / 10))
    assert (segmenter.predict(np.full((30, 30), np.nan)) == 255).all()


def test_networks_say_what_they_are(segmenter):
    assert repr(segmenter) == (
        "<Segmenter japan_9 (9 classes): paper decoder, 0.1 M weights, on <SwinEncoder 8 × [1, 1, 1, 1], patches of "
        "4 px: 1 × 64 × 64 px, sigma0 HH to 64 features>>"
    )
