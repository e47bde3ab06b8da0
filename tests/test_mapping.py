"""Maps of whole products: no seams, no holes, the right place, whole or absent."""

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from conftest import TIFF_NAME, write_geotiff
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alos2tut import Alos2TutError, Alos2TutWarning, map_scene, open_product
from alos2tut.dataset import Statistics
from alos2tut.evaluation import tile_starts, tile_weights
from alos2tut.legend import LandClass, Legend

FRAME = rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)
LEGEND = Legend(
    "toy",
    "made up",
    tuple(LandClass(name, (10 * i, 20 + i, 200), (i,)) for i, name in enumerate(("water", "field", "town"))),
    (9,),
)


class Model:
    """What a map needs of a segmenter, around any function of standardised dB."""

    legend = LEGEND
    statistics = Statistics((-12.0,), (5.0,))

    def __init__(self, logits, image_px=(16, 24), spacing_m=5.0):
        self.logits, self.image_px, self.batches = logits, image_px, []
        self.signal = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [spacing_m, spacing_m]}

    def __call__(self, x):
        self.batches.append(tuple(x.shape))
        return self.logits(x)


def constant(x):
    """The third class, hardly above the others."""
    batch, _, height, width = x.shape
    logits = torch.zeros(batch, 3, height, width)
    logits[:, 2] = 0.01
    return logits


def by_level(x):
    """Each pixel by its own level alone; the thresholds lie on no value that occurs."""
    levels = torch.tensor([-1.0371, 0.01937, 1.0913])
    return -((x - levels[None, :, None, None]) ** 2)


def by_place(x):
    """Depends on the place in the tile, so that blending decides."""
    height, width = x.shape[2:]
    rows, cols = torch.meshgrid(torch.linspace(-2, 2, height), torch.linspace(-2, 2, width), indexing="ij")
    return by_level(x) + torch.stack([rows.sin() * 2, cols.cos() * 3, rows - cols])[None]


def write_product(folder: Path, shape: tuple[int, int], seed: int = 0, holes: bool = False) -> Path:
    """A GeoTIFF product of speckle in coarse fields, with rectangles that have no data."""
    random = np.random.default_rng(seed)
    level = random.uniform(500, 4000, (shape[0] // 9 + 1, shape[1] // 9 + 1)).repeat(9, axis=0).repeat(9, axis=1)
    dn = np.clip(level[: shape[0], : shape[1]] * random.rayleigh(0.8, shape), 1, 65535)
    for _ in range(4 if holes else 0):
        row, col = random.integers(0, shape[0]), random.integers(0, shape[1])
        dn[row : row + random.integers(1, 40), col : col + random.integers(1, 60)] = 0
    return write_geotiff(folder / TIFF_NAME, dn, FRAME)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


def expected_db(product: Path) -> np.ndarray:
    """What the network is given: dB of two looks in steps of 0.01."""
    return np.round(open_product(product).read_db(looks=2), 2)


def classes_of_all(product: Path, logits) -> np.ndarray:
    """The map without tiles: the function applied to the whole image at once."""
    db = expected_db(product)
    x = torch.from_numpy(np.nan_to_num((db + 12) / 5))[None, None]
    return np.where(np.isnan(db), 255, logits(x)[0].argmax(dim=0).numpy())


SIDES = st.integers(1, 110)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(height=SIDES, width=SIDES, overlap=st.integers(0, 15), batch=st.integers(1, 5), seed=st.integers(0, 999))
def test_a_constant_model_gives_a_constant_map(tmp_path, height, width, overlap, batch, seed):
    product = write_product(tmp_path / "product", (height, width), seed, holes=seed % 2 == 1)
    out = map_scene(product, Model(constant), tmp_path / "map.tif", overlap_px=overlap, batch_size=batch)
    found = read(out)
    assert found.shape == (math.ceil(height / 2), math.ceil(width / 2))
    np.testing.assert_array_equal(found, np.where(np.isnan(expected_db(product)), 255, 2))


@pytest.mark.parametrize(
    ("shape", "tile", "overlap"),
    [
        pytest.param((1, 1), (16, 24), 4, id="one pixel"),
        pytest.param((32, 48), (16, 24), 4, id="one tile exactly"),
        pytest.param((34, 50), (16, 24), 0, id="one pixel more, no overlap"),
        pytest.param((34, 50), (16, 24), 15, id="largest overlap"),
        pytest.param((131, 97), (16, 24), 5, id="many tiles, odd sides"),
        pytest.param((131, 97), (32, 8), 3, id="tall tiles"),
        pytest.param((131, 97), (64, 64), None, id="overlap by default"),
    ],
)
def test_tiles_leave_no_trace_in_a_map_by_pixels(tmp_path, shape, tile, overlap):
    product = write_product(tmp_path, shape, seed=3, holes=True)
    out = map_scene(product, Model(by_level, tile), tmp_path / "map.tif", overlap_px=overlap, batch_size=3)
    np.testing.assert_array_equal(read(out), classes_of_all(product, by_level))


@settings(deadline=None, max_examples=40)
@given(size=st.integers(1, 200), tile=st.integers(1, 40), data=st.data())
def test_tiles_cover_every_pixel_and_their_weights_sum_to_one(size, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts, weights = tile_starts(size, tile, overlap), tile_weights(size, tile, overlap)
    total = np.zeros(max(size, tile))
    for start, weight in zip(starts, weights, strict=True):
        assert 0 <= start <= max(size - tile, 0) and (weight > 0).all()
        total[start : start + tile] += weight
    assert total == pytest.approx(1, abs=1e-6)
    assert len(starts) == len(set(starts)) and all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


def test_overlapping_tiles_are_blended_by_their_weights(tmp_path):
    product, model = write_product(tmp_path, (131, 147), seed=5), Model(by_place)
    found = read(map_scene(product, model, tmp_path / "map.tif", overlap_px=6, batch_size=4))
    db = expected_db(product)
    blended = np.zeros((3, *db.shape))
    weights = [tile_weights(size, tile, 6) for size, tile in zip(db.shape, (16, 24), strict=True)]
    for i, row in enumerate(tile_starts(db.shape[0], 16, 6)):
        for j, col in enumerate(tile_starts(db.shape[1], 24, 6)):
            part = np.s_[row : row + 16, col : col + 24]
            x = torch.from_numpy((db[part] + 12) / 5)[None, None]
            blended[:, *part] += by_place(x)[0].softmax(dim=0).numpy() * np.outer(weights[0][i], weights[1][j])
    clear = np.diff(np.sort(blended, axis=0), axis=0)[1] > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], blended.argmax(axis=0)[clear])


def test_every_batch_has_one_shape_and_empty_tiles_are_left_out(tmp_path):
    product = write_geotiff(tmp_path / TIFF_NAME, np.zeros((128, 192)), FRAME)
    model = Model(constant)
    assert (read(map_scene(product, model, tmp_path / "map.tif")) == 255).all() and model.batches == []
    product = write_product(tmp_path / "other", (131, 147))
    map_scene(product, model, tmp_path / "map.tif", batch_size=5)
    assert set(model.batches) == {(5, 1, 16, 24)}


def test_the_map_says_where_it_lies_and_what_it_means(tmp_path):
    product = write_product(tmp_path, (1301, 1403))
    with warnings.catch_warnings():
        warnings.simplefilter("error", rasterio.errors.NotGeoreferencedWarning)
        out = map_scene(product, Model(by_level, (256, 256)), tmp_path / "map.tif")
    with rasterio.open(out) as raster:
        assert (raster.count, raster.dtypes, raster.nodata) == (1, ("uint8",), 255)
        assert raster.crs.to_epsg() == 32654 and raster.shape == (651, 702)
        assert raster.transform == FRAME * rasterio.Affine.scale(2)
        assert {i: raster.colormap(1)[i] for i in range(3)} == {i: (10 * i, 20 + i, 200, 255) for i in range(3)}
        tags = raster.tags()
        assert [tags[f"CLASS_{i}"] for i in range(3)] == LEGEND.names and tags["SIMULATED"] == "no"
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.overviews(1) == [2] and raster.block_shapes == [(512, 512)]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([TIFF_NAME, "map.tif"])


def test_a_simulated_product_makes_a_simulated_map(tmp_path, small_scene):
    out = map_scene(small_scene, Model(by_level, (64, 64)), tmp_path / "map.tif")
    with rasterio.open(out) as raster:
        assert raster.tags()["SIMULATED"] == "yes" and raster.shape == (256, 320)
    np.testing.assert_array_equal(read(out), classes_of_all(small_scene, by_level))


@pytest.mark.parametrize(("header", "tag"), [({"simulated": True}, "yes"), ({"simulated": False}, "no")])
def test_the_map_says_what_its_segmenter_was_trained_on(tmp_path, header, tag):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    model.header = header
    with rasterio.open(map_scene(product, model, tmp_path / "map.tif")) as raster:
        assert raster.tags()["TRAINED_ON_SIMULATED"] == tag and raster.tags()["SIMULATED"] == "no"


def test_a_module_is_in_evaluation_mode_while_it_maps(tmp_path):
    class Module(torch.nn.Module):
        legend, statistics, image_px, signal = LEGEND, Model.statistics, (16, 24), Model(constant).signal

        def forward(self, x):
            assert not self.training
            return constant(x)

    module = Module().train()
    map_scene(write_product(tmp_path, (64, 64)), module, tmp_path / "map.tif")
    assert module.training


# --- bad input


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        pytest.param({"quantity": "gamma0"}, "sigma0.*trained on gamma0", id="quantity"),
        pytest.param({"polarizations": ["HV"]}, "'HV'.*holds HH", id="polarisation of the product"),
        pytest.param({"spacing_m": [6.25, 6.25]}, r"2\.5 × 2\.5 m.*6\.25", id="pixel size"),
        pytest.param({"spacing_m": [1.0, 1.0]}, r"no number of looks", id="finer pixels"),
        pytest.param({"spacing_m": [5.0, 10.0]}, r"no number of looks", id="oblong pixels"),
    ],
)
def test_another_signal_than_the_one_trained_on_is_refused(tmp_path, signal, message):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    model.signal |= signal
    with pytest.raises(Alos2TutError, match=message):
        map_scene(product, model, tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        pytest.param({"quantity": "gamma0"}, "sigma0.*trained on gamma0", id="quantity"),
        pytest.param({"polarizations": ["HV"]}, "HH.*trained on HV", id="polarisation"),
    ],
)
def test_another_signal_may_be_allowed(tmp_path, signal, message):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    model.signal |= signal
    with pytest.warns(Alos2TutWarning, match=message):
        out = map_scene(product, model, tmp_path / "map.tif", allow_other_signal=True)
    assert (read(out) == 2).all()


def test_another_pixel_size_is_never_allowed(tmp_path):
    product, model = write_product(tmp_path, (64, 64)), Model(constant, spacing_m=6.25)
    with pytest.raises(Alos2TutError, match="no number of looks"):
        map_scene(product, model, tmp_path / "map.tif", allow_other_signal=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"overlap_px": 16}, r"overlap_px=16.*0…15", id="overlap as large as the tile"),
        pytest.param({"overlap_px": -1}, "overlap_px=-1", id="negative overlap"),
        pytest.param({"batch_size": 0}, "batch_size=0", id="no batch"),
        pytest.param({"polarization": "HV"}, "HV.*trained on", id="another polarisation"),
        pytest.param({"polarization": "XX"}, "XX", id="no polarisation"),
    ],
)
def test_arguments_that_cannot_be_are_refused(tmp_path, arguments, message):
    product = write_product(tmp_path, (64, 64))
    with pytest.raises(Alos2TutError, match=message):
        map_scene(product, Model(constant), tmp_path / "map.tif", **arguments)


def test_a_missing_folder_is_refused_before_the_work(tmp_path):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    with pytest.raises(Alos2TutError, match=r"nowhere.*does not exist"):
        map_scene(product, model, tmp_path / "nowhere" / "map.tif")
    assert model.batches == []


def test_the_product_and_folders_are_not_written_over(tmp_path):
    product = write_product(tmp_path, (64, 64))
    before = product.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    # refused before the segmenter is even looked for
    for out, message in [
        (tmp_path / "folder", "folder: is a folder"),
        (product, "a file of the product"),
        (tmp_path / "link" / product.name, "a file of the product"),
    ]:
        with pytest.raises(Alos2TutError, match=message):
            map_scene(product, tmp_path / "nothing.safetensors", out)
    assert product.read_bytes() == before


@pytest.mark.parametrize("older", [None, b"an older map"], ids=["nothing there", "an older map"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["failed", "interrupted"])
def test_a_map_that_fails_half_way_leaves_what_was_there(tmp_path, older, error):
    product, out = write_product(tmp_path / "product", (131, 147)), tmp_path / "map.tif"

    def fails(x):
        if len(model.batches) > 3:
            raise error
        return constant(x)

    model = Model(fails)
    if older:
        out.write_bytes(older)
    with pytest.raises(error):
        map_scene(product, model, out)
    assert (out.read_bytes() if out.exists() else None) == older
    assert {p.name for p in tmp_path.iterdir()} <= {"product", "map.tif"}


def test_an_older_map_is_replaced(tmp_path):
    product = write_product(tmp_path / "product", (64, 64))
    (tmp_path / "map.tif").write_bytes(b"an older map")
    assert (read(map_scene(product, Model(constant), tmp_path / "map.tif")) == 2).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "product"]
