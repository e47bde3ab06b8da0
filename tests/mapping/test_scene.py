"""Maps of whole products: no seams, no holes, the right place, whole or absent; stopped and shared work alike."""

import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.products import TIFF_NAME, write_geotiff
from support.properties import examples

import alos2tut
from alos2tut import Alos2TutError, Alos2TutWarning, load_config, open_product
from alos2tut.core.parallel import cores, folder_lock, process_pool
from alos2tut.dataset.encoding import NO_DATA, Statistics, encode_db
from alos2tut.dataset.legend import LandClass, Legend, load_legend
from alos2tut.mapping import rows as map_rows
from alos2tut.mapping.files import map_file
from alos2tut.mapping.matching import match, sliding
from alos2tut.mapping.rows import DeviceExecutor
from alos2tut.mapping.tiling import TileGrid, blended_rows, tile_starts, tile_weights
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import save_segmenter

FRAME = rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)
pytestmark = pytest.mark.filterwarnings("ignore:.*holds no data, and so does the map:alos2tut.Alos2TutWarning")

LEGEND = Legend(
    "toy",
    "made up",
    tuple(LandClass(name, (10 * i, 20 + i, 200), (i,)) for i, name in enumerate(("water", "field", "town"))),
    (9,),
)


def map_scene(product, segmenter, out, executor=None, progress=None, **settings):
    """As the package has it, without a picture of each map."""
    config = load_config("map", "paper", **{"preview": False} | settings)
    return alos2tut.map_scene(product, segmenter, out, config, executor=executor, progress=progress)


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


@examples(40)
@given(height=SIDES, width=SIDES, overlap=st.integers(0, 15), batch=st.integers(1, 5), seed=st.integers(0, 999))
def test_a_constant_model_gives_a_constant_map(tmp_path, height, width, overlap, batch, seed):
    product = write_product(tmp_path / "product", (height, width), seed, holes=seed % 2 == 1)
    out = map_scene(
        product, Model(constant), tmp_path / "map.tif", overlap_px=overlap, batch_size=batch, overwrite=True
    )
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


@examples(40)
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
    with pytest.warns(Alos2TutWarning, match="holds no data"):
        out = map_scene(product, model, tmp_path / "map.tif", probability=True)
    assert (read(out) == 255).all() and (read(map_file(out, "probability")) == 255).all() and model.batches == []
    product = write_product(tmp_path / "other", (131, 147))
    map_scene(product, model, tmp_path / "other.tif", batch_size=3)
    # four tiles in a row are two and two, not three and one
    assert set(model.batches) == {(2, 1, 16, 24)} and len(tile_starts(74, 24, 4)) == 4


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
        pytest.param({"spacing_m": [5.0, 11.0]}, r"no number of looks", id="oblong pixels"),
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
@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt()], ids=["failed", "interrupted"])
def test_a_map_that_fails_half_way_leaves_what_was_there_and_what_was_done(tmp_path, older, error):
    product, out = write_product(tmp_path / "product", (131, 147)), tmp_path / "map.tif"

    def fails(x):
        if len(model.batches) > 3:
            raise error
        return constant(x)

    model = Model(fails)
    if older:
        out.write_bytes(older)
    with pytest.raises((Alos2TutError, KeyboardInterrupt), match=r"cannot work on tiles.*no memory.*batch_size|^$"):
        map_scene(product, model, out, overwrite=True)
    assert (out.read_bytes() if out.exists() else None) == older
    assert {p.name for p in tmp_path.iterdir()} - {"map.tif"} == {"product", "map.tif.partial"}
    assert not [p for p in (tmp_path / "map.tif.partial").iterdir() if p.name.startswith(".")]
    # a function has nothing to be told by: it begins anew
    map_scene(product, Model(constant), out, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"product", "map.tif"} and (read(out)[:8, :8] == 2).all()


def test_an_older_file_is_replaced_only_when_asked(tmp_path):
    product, out = write_product(tmp_path / "product", (64, 64)), tmp_path / "map.tif"
    out.write_bytes(b"an older file")
    model = Model(constant)
    with pytest.raises(Alos2TutError, match=r"map.tif: exists.*overwrite"):
        map_scene(product, model, out)
    assert out.read_bytes() == b"an older file" and model.batches == []
    assert (read(map_scene(product, model, out, overwrite=True)) == 2).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "product"]
    # so is a file beside it
    map_file(tmp_path / "other.tif", "entropy").write_bytes(b"something else")
    with pytest.raises(Alos2TutError, match=r"other_entropy.tif: exists"):
        map_scene(product, model, tmp_path / "other.tif", entropy=True)
    assert not (tmp_path / "other.tif").exists()


# --- blending, to the bit


def seen(grid: TileGrid, stored: np.ndarray, rows: tuple[int, int], predict) -> np.ndarray:
    """Probabilities (classes, image rows, columns) of some rows of tiles of a stored image."""
    height = grid.tile_px[0]
    padded = np.full((max(height, stored.shape[0]), grid.padded_width), NO_DATA, np.int16)
    padded[: stored.shape[0], : stored.shape[1]] = stored
    given = (padded[top : top + height] for top in grid.tops[grid.reaching(rows[0]) :])
    found = blended_rows(predict, given, grid, rows, classes=3, batch_size=3, device=torch.device("cpu"))
    return np.concatenate([probability.numpy().copy() for _, probability, _ in found], axis=1)


def of_tiles(logits):
    return lambda tiles: logits((tiles.float() / 100 + 12) / 5).softmax(dim=1)


@examples(40)
@given(height=st.integers(1, 70), width=st.integers(1, 60), overlap=st.integers(0, 11), seed=st.integers(0, 99))
def test_any_run_of_rows_is_the_same_as_in_one_go_to_the_bit(height, width, overlap, seed):
    random = np.random.default_rng(seed)
    stored = encode_db(random.normal(-12, 5, (height, width)).astype(np.float32))
    grid, predict = TileGrid((height, width), (12, 16), overlap), of_tiles(by_place)
    count = len(grid.tops)
    at_once = seen(grid, stored, (0, count), predict)
    assert at_once.shape == (3, height, width)
    assert at_once.sum(axis=0) == pytest.approx(1, abs=1e-6)
    cuts = sorted({0, count, *random.integers(0, count + 1, 3).tolist()})
    parts = [seen(grid, stored, run, predict) for run in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), at_once)


@pytest.mark.parametrize("overlap", [0, 1, 5, 11])
def test_a_ramp_of_logits_shows_no_seam(overlap):
    """What a network says that sees each pixel for itself: blending it must change nothing."""
    rows, cols = np.mgrid[:67, :91]
    stored = encode_db((-20 + 0.11 * rows + 0.07 * cols).astype(np.float32))

    def ramp(tiles):
        level = tiles.float() / 100 + 12
        return torch.cat([level, -0.5 * level, 0.2 * level + 1], dim=1).softmax(dim=1)

    grid = TileGrid((67, 91), (12, 16), overlap)
    blended = seen(grid, stored, (0, len(grid.tops)), ramp)
    direct = ramp(torch.from_numpy(stored)[None, None])[0].numpy()
    assert np.abs(blended - direct).max() < 1e-6


@examples(60)
@given(data=st.data(), size=st.integers(1, 60), block=st.integers(1, 25))
def test_windows_slide_over_blocks(data, size, block):
    image = np.arange(size * 2).reshape(size, 2)
    starts = sorted(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8)))
    length = data.draw(st.integers(1, 30))
    spans = [(start, start + length) for start in starts]
    found = list(sliding((image[i : i + block] for i in range(0, size, block)), spans))
    for (first, last), window in zip(spans, found, strict=True):
        np.testing.assert_array_equal(window, image[first:last])


# --- confidence


def test_probability_and_entropy_are_written_in_steps_of_a_250th(tmp_path):
    product = write_product(tmp_path, (131, 97), holes=True)
    out = map_scene(product, Model(by_level), tmp_path / "map.tif", probability=True, entropy=True)
    db = expected_db(product)
    p = by_level(torch.from_numpy(np.nan_to_num((db + 12) / 5))[None, None])[0].softmax(dim=0).numpy().astype(float)
    entropy = -(p * np.log(p)).sum(axis=0) / np.log(3)
    for name, expected in {"probability": p.max(axis=0), "entropy": entropy}.items():
        with rasterio.open(map_file(out, name)) as raster:
            found, scale = raster.read(1), raster.scales[0]
            assert (raster.nodata, scale, raster.dtypes) == (255, 0.004, ("uint8",))
            assert raster.crs.to_epsg() == 32654 and raster.shape == db.shape
            assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and name in raster.descriptions[0]
        np.testing.assert_array_equal(found == 255, np.isnan(db))
        valid = np.isfinite(db)
        assert np.abs(found[valid] * scale - expected[valid]).max() <= 0.002 + 1e-5


def test_a_legend_of_one_class_has_no_entropy(tmp_path):
    model = Model(lambda x: torch.zeros(len(x), 1, *x.shape[2:]))
    model.legend = Legend("one", "made up", LEGEND.classes[:1], (9,))
    out = map_scene(write_product(tmp_path, (64, 64)), model, tmp_path / "map.tif", entropy=True, probability=True)
    assert (read(map_file(out, "entropy")) == 0).all() and (read(map_file(out, "probability")) == 250).all()


def test_mirror_images_are_averaged(tmp_path):
    """A network that knows nothing but left and right, and above and below, ends undecided."""

    def lopsided(x):
        height, width = x.shape[2:]
        left, up = torch.linspace(-3, 3, width).sign(), torch.linspace(-3, 3, height).sign()
        return (
            torch.stack([left.expand(height, -1), -left.expand(height, -1), up[:, None].expand(-1, width)])[None]
            + 0 * x
        )

    product, model = write_product(tmp_path, (64, 96)), Model(lopsided)
    out = map_scene(product, model, tmp_path / "map.tif", flips=True, probability=True, overlap_px=0)
    count, found = len(model.batches), read(map_file(out, "probability"))
    values = lopsided(torch.zeros(1, 1, 16, 24)).softmax(dim=1)[0]
    expected = sum(values.flip(axes) for axes in ((), (1,), (2,), (1, 2))) / 4
    assert found[0, 0] == round(250 * float(expected[:, 0, 0].max())) and (found == found[0, 0]).all()
    map_scene(product, model, tmp_path / "plain.tif", overlap_px=0)
    assert count == 4 * (len(model.batches) - count)


# --- stopped, shared, found again


def write_segmenter(path: Path, seed: int = 0) -> Path:
    """A small network with random weights, in a file."""
    torch.manual_seed(seed)
    config = EncoderConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=2)
    signal_ = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}
    legend, statistics = load_legend("japan_9"), Statistics((-12.0,), (5.0,))
    segmenter = Segmenter(SwinEncoder(config, (64, 64), 1), legend, statistics, signal_, width=8)
    save_segmenter(path, segmenter, provenance={"made_from": {}}, simulated=True)
    return path


#: three passes for each of seven rows of tiles
OPTIONS = {"probability": True, "entropy": True, "batch_size": 2}


@pytest.fixture(scope="module")
def to_map(tmp_path_factory):
    """A product with holes, a segmenter's file, and the map of one by the other in one go, as bytes by layer."""
    folder = tmp_path_factory.mktemp("to map")
    product, segmenter = (
        write_product(folder, (701, 503), seed=4, holes=True),
        write_segmenter(folder / "s.safetensors"),
    )
    return product, segmenter, layers(map_scene(product, segmenter, folder / "map.tif", **OPTIONS))


def layers(out: Path) -> dict[str, bytes]:
    return {name: map_file(out, name).read_bytes() for name in ("classes", "probability", "entropy")}


def stopping(monkeypatch, after: int, rows: list[int]):
    """Let the network fail after so many forward passes, and note which rows of tiles are mapped."""
    passes, mapped = [0], map_rows._mapped_rows

    def probabilities(*arguments):
        passes[0] += 1
        if passes[0] > after:
            raise KeyboardInterrupt
        return original(*arguments)

    def noted(plan, model, run):
        for row, found in mapped(plan, model, run):
            rows.append(row)
            yield row, found

    original = map_rows._probabilities
    monkeypatch.setattr(map_rows, "_probabilities", probabilities)
    monkeypatch.setattr(map_rows, "_mapped_rows", noted)


@pytest.mark.parametrize("after", [0, 1, 3, 8, 20])
def test_a_stopped_map_goes_on_and_is_the_same_to_the_bit(to_map, tmp_path, monkeypatch, capsys, after):
    product, segmenter, expected = to_map
    out, rows = tmp_path / "map.tif", []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, after, rows)
        map_scene(product, segmenter, out, **OPTIONS)
    assert not out.exists() and len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) == len(rows)
    with monkeypatch.context() as patch:
        stopping(patch, 10_000, rows)
        map_scene(product, segmenter, out, **OPTIONS)
    assert rows == list(range(len(tile_starts(351, 64, 16)))) and layers(out) == expected
    assert ("going on" in capsys.readouterr().out) == (after >= 3)
    assert not (tmp_path / "map.tif.partial").exists()


def test_a_hole_of_damaged_and_lost_rows_is_mapped_again(to_map, tmp_path, monkeypatch):
    product, segmenter, expected = to_map
    out, rows = tmp_path / "map.tif", []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, 15, rows)
        map_scene(product, segmenter, out, **OPTIONS)
    kept = sorted((tmp_path / "map.tif.partial").glob("row-*.npz"))
    assert len(kept) >= 4
    kept[1].unlink()
    content = bytearray(kept[3].read_bytes())
    content[len(content) // 2] ^= 255
    kept[3].write_bytes(content)
    before = list(rows)
    rows.clear()
    with monkeypatch.context() as patch:
        stopping(patch, 10_000, rows)
        map_scene(product, segmenter, out, **OPTIONS)
    assert rows == [1, 3, *range(len(before), len(tile_starts(351, 64, 16)))] and layers(out) == expected


@pytest.mark.parametrize("change", ["overlap_px", "segmenter", "names"])
def test_what_another_map_left_is_not_used(to_map, tmp_path, monkeypatch, change):
    product, segmenter, _ = to_map
    rows, out = [], tmp_path / "map.tif"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, 8, rows)
        map_scene(product, segmenter, out, **OPTIONS)
    other = write_segmenter(tmp_path / "other.safetensors", seed=1) if change == "segmenter" else segmenter
    second = {"overlap_px": {"overlap_px": 20}, "names": {"probability": True}}.get(change, {})
    map_scene(product, other, out, **second)
    map_scene(product, other, tmp_path / "fresh.tif", **second)
    assert out.read_bytes() == (tmp_path / "fresh.tif").read_bytes()


KILLED = """
import sys, time
import torch
torch.set_num_threads(int(sys.argv[4]))
from alos2tut import map_scene
from alos2tut.mapping import MapConfig
from alos2tut.mapping import rows as map_rows
original = map_rows._probabilities
def slowly(*arguments):
    time.sleep(0.2)
    return original(*arguments)
map_rows._probabilities = slowly
map_scene(*sys.argv[1:4], MapConfig(probability=True, entropy=True, batch_size=2, preview=False))
"""


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_map_that_is_killed_again_and_again_is_the_same_to_the_bit(to_map, tmp_path, kills):
    product, segmenter, expected = to_map
    out = tmp_path / "map.tif"
    command = [sys.executable, "-c", KILLED, str(product), str(segmenter), str(out), str(torch.get_num_threads())]
    random = np.random.default_rng(0)
    for kill in range(kills):
        with subprocess.Popen(command, cwd=tmp_path) as process:
            # later ones anywhere: while it starts, maps, or writes the rasters
            rows = len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) + 1 + (kill == 0)
            until = time.monotonic() + (60 if kill == 0 else random.uniform(1, 6))
            while process.poll() is None and time.monotonic() < until:
                if len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) >= rows and random.random() < 0.5:
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL or kill > 0
    assert not out.exists() or kills > 1
    map_scene(product, segmenter, out, **OPTIONS)
    assert layers(out) == expected and not (tmp_path / "map.tif.partial").exists()


def test_two_at_one_map_do_not_get_into_each_others_way(to_map, tmp_path):
    product, segmenter, _ = to_map
    with folder_lock(tmp_path / "map.tif.partial"), pytest.raises(Alos2TutError, match="another process"):
        map_scene(product, segmenter, tmp_path / "map.tif")


@pytest.mark.parametrize("shared", ["devices", "threads", "processes"])
def test_work_that_is_shared_gives_the_same_to_the_bit(to_map, tmp_path, shared):
    product, segmenter, expected = to_map
    threads = torch.get_num_threads()
    pools = {"devices": lambda: DeviceExecutor(["cpu"] * 3), "threads": lambda: ThreadPoolExecutor(2)}
    try:
        if shared == "processes":
            # the only kind that is told how many threads to use
            torch.set_num_threads(max(1, cores() // 2))
            expected = layers(map_scene(product, segmenter, tmp_path / "alone.tif", **OPTIONS))
        with pools.get(shared, lambda: process_pool(2))() as executor:
            out = map_scene(product, segmenter, tmp_path / "map.tif", executor=executor, **OPTIONS)
    finally:
        torch.set_num_threads(threads)
    assert layers(out) == expected


def test_each_thread_of_devices_has_a_network_of_its_own(to_map, tmp_path, monkeypatch):
    """And of the next map another one."""
    used, rows = [], map_rows._mapped_rows
    monkeypatch.setattr(map_rows, "_mapped_rows", lambda plan, model, run: used.append(model) or rows(plan, model, run))
    monkeypatch.setattr(map_rows, "_MOST_ROWS", 1)
    segmenters = [alos2tut.load_segmenter(write_segmenter(tmp_path / f"{seed}.safetensors", seed)) for seed in (0, 1)]
    with DeviceExecutor(["cpu", "cpu"]) as executor:
        maps = [map_scene(to_map[0], of, tmp_path / f"{i}.tif", executor=executor) for i, of in enumerate(segmenters)]
    assert 2 <= len({id(model) for model in used}) <= 4 and not {id(model) for model in used} & set(map(id, segmenters))
    assert (read(maps[0]) != read(maps[1])).any() and all(model.training is False for model in used)
    with pytest.raises(Alos2TutError, match="no torch module"):
        map_scene(to_map[0], Model(constant), tmp_path / "m.tif", executor=DeviceExecutor("cpu"))


def test_shared_work_is_kept_row_by_row(to_map, tmp_path, monkeypatch):
    product, segmenter, expected = to_map
    rows, out = [], tmp_path / "map.tif"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, 14, rows)
        map_scene(product, segmenter, out, executor=DeviceExecutor("cpu"), **OPTIONS)
    assert len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) == len(rows) == 4
    assert layers(map_scene(product, segmenter, out, **OPTIONS)) == expected


def test_an_executor_that_lives_on_uses_the_weights_of_now(to_map, tmp_path):
    product = to_map[0]
    file, found = tmp_path / "s.safetensors", []
    with ThreadPoolExecutor(1) as pool:
        for seed in (0, 1):
            write_segmenter(file, seed)
            found.append(read(map_scene(product, file, tmp_path / f"{seed}.tif", executor=pool)))
    np.testing.assert_array_equal(found[1], read(map_scene(product, file, tmp_path / "alone.tif")))
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("shared", ["devices", "executor"])
def test_a_run_that_fails_gives_up_what_has_not_begun(to_map, tmp_path, monkeypatch, shared):
    product, segmenter, _ = to_map
    rows: list[int] = []
    stopping(monkeypatch, 10_000, rows)
    monkeypatch.setattr(map_rows, "_FEW_ROWS", 1)
    monkeypatch.setattr(map_rows, "_MOST_ROWS", 1)
    monkeypatch.setattr(map_rows.KeptRows, "write", lambda *_: (_ for _ in ()).throw(Alos2TutError("full")))
    with DeviceExecutor("cpu") if shared == "devices" else ThreadPoolExecutor(1) as executor:
        with pytest.raises(Alos2TutError, match="full") as caught:
            map_scene(product, segmenter, tmp_path / "map.tif", executor=executor, progress=True, **OPTIONS)
        # the error is held, and all that it came through with it
        assert caught.value
    assert len(rows) <= 3


def test_weights_that_change_meanwhile_are_noticed(to_map):
    with pytest.raises(Alos2TutError, match="has changed since mapping began"):
        map_rows._loaded(str(to_map[1]), "another hash")


def test_runs_of_rows_for_workers():
    assert map_rows._runs([0, 1, 2, 5, 7, 8]) == [(0, 3), (5, 6), (7, 9)] and map_rows._runs([]) == []


def test_a_map_that_is_there_is_found_again(to_map, tmp_path, monkeypatch, capsys):
    product, segmenter, expected = to_map
    out, options = tmp_path / "map.tif", OPTIONS
    map_scene(product, segmenter, out, **options)
    capsys.readouterr()
    monkeypatch.setattr(map_rows, "_mapped_rows", None)
    map_scene(product, segmenter, out, **options)
    # as a loaded one it is the same
    map_scene(product, alos2tut.load_segmenter(segmenter), out, probability=True, batch_size=2)
    assert capsys.readouterr().out.count("reusing") == 2 and layers(out) == expected
    for other in ({"overlap_px": 20}, {"flips": True}, {"batch_size": 3}):
        with pytest.raises(Alos2TutError, match="exists, and was not made of this product and segmenter in this way"):
            map_scene(product, segmenter, out, **OPTIONS | other)
    with pytest.warns(Alos2TutWarning, match="EPSG:32653"):
        elsewhere = open_product(product, crs="EPSG:32653")
    with pytest.raises(Alos2TutError, match="exists"):
        map_scene(elsewhere, segmenter, out)


def test_only_what_weights_alone_decide_is_known_again(to_map, tmp_path):
    """A module of our class but for its forward pass, or for what it is wrapped in, may say anything else."""
    product, segmenter, _ = to_map
    out = map_scene(product, segmenter, tmp_path / "map.tif", batch_size=2)

    class Other(Segmenter):
        def forward(self, x):
            return -super().forward(x)

    other = alos2tut.load_segmenter(segmenter)
    other.__class__ = Other
    with pytest.raises(Alos2TutError, match="exists"):
        map_scene(product, other, out, batch_size=2)
    shifted = replace(open_product(product), calibration_factor_db=-90.0)
    with pytest.raises(Alos2TutError, match="exists"):
        map_scene(shifted, segmenter, out, batch_size=2)


def test_a_layer_does_not_pass_for_the_map(to_map, tmp_path):
    product, segmenter, _ = to_map
    map_scene(product, segmenter, tmp_path / "map.tif", **OPTIONS)
    with pytest.raises(Alos2TutError, match=r"map_probability.tif: exists"):
        map_scene(product, segmenter, tmp_path / "map_probability.tif", batch_size=2)


def test_files_beside_a_map_are_replaced_or_removed_with_it_and_only_then(to_map, tmp_path):
    product, segmenter, _ = to_map
    out, foreign = tmp_path / "map.tif", map_file(tmp_path / "map.tif", "preview")
    foreign.write_bytes(b"somebody's picture")
    with pytest.raises(Alos2TutError, match=r"map_preview.png: exists"):
        map_scene(product, segmenter, out, preview=True)
    map_scene(product, segmenter, out, **OPTIONS)
    assert foreign.read_bytes() == b"somebody's picture"
    map_scene(product, segmenter, out, overlap_px=20, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]
    map_scene(product, segmenter, out, overlap_px=20, preview=True)
    map_scene(product, segmenter, out, overlap_px=20, preview=True)
    assert foreign.read_bytes()[:4] == b"\x89PNG"


def test_inputs_are_never_written_over(to_map, tmp_path, small_scene):
    product = to_map[0]
    segmenter = write_segmenter(tmp_path / "s.safetensors")
    before = segmenter.read_bytes()
    with pytest.raises(Alos2TutError, match="is the segmenter"):
        map_scene(product, segmenter, segmenter, overwrite=True)
    label = tmp_path / "l.tif"
    label.write_bytes(next((small_scene / "labels").glob("*.tif")).read_bytes())
    with pytest.raises(Alos2TutError, match="is a label raster"):
        map_scene(product, segmenter, label, labels=label, overwrite=True)
    assert segmenter.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {"s.safetensors", "l.tif"}


def test_a_module_in_training_mode_stays_so(to_map, tmp_path):
    product, segmenter, expected = to_map
    model = alos2tut.load_segmenter(segmenter).train()
    assert layers(map_scene(product, model, tmp_path / "map.tif", **OPTIONS)) == expected and model.training


def test_more_layers_are_added_to_a_map_that_is_there(to_map, tmp_path):
    product, segmenter, expected = to_map
    out = map_scene(product, segmenter, tmp_path / "map.tif", batch_size=2)
    map_scene(product, segmenter, out, **OPTIONS)
    assert layers(out) == expected


# --- other pixels and quantities


def test_geographic_grids_are_mapped_where_they_lie(tmp_path):
    frame = rasterio.Affine(2.5 / 90_000, 0, 139.5, 0, -2.5 / 111_000, 35.7)
    random = np.random.default_rng(0)
    product = write_geotiff(tmp_path / TIFF_NAME, 3000 * random.rayleigh(0.8, (91, 143)) + 1, frame, "EPSG:4326")
    spacing = open_product(product).spacing_m
    model = Model(by_level)
    model.signal["spacing_m"] = [2 * spacing[0], 3 * spacing[1]]
    out = map_scene(product, model, tmp_path / "map.tif")
    with rasterio.open(out) as raster:
        assert raster.crs.to_epsg() == 4326 and raster.shape == (46, 48)
        assert tuple(raster.transform) == pytest.approx(tuple(frame * rasterio.Affine.scale(3, 2)))
    db = np.round(open_product(product).read_db(looks=(2, 3)), 2)
    np.testing.assert_array_equal(read(out), by_level(torch.from_numpy((db + 12) / 5)[None, None])[0].argmax(dim=0))


def test_slant_range_has_no_map(tmp_path):
    from support.products import complex_numbers, write_ceos

    product = write_ceos(tmp_path / "product", {"HH": complex_numbers()}, "UBSR1.1__A")
    with pytest.raises(Alos2TutError, match=r"slant range.*no place on a map.*Level 2\.1"):
        map_scene(product, Model(constant), tmp_path / "map.tif")


def by_hand(power: np.ndarray, pixels: float) -> np.ndarray:
    """Means over squares of so many pixels a side, from a grid ten times as fine."""
    fine = np.repeat(np.repeat(power, 10, axis=0), 10, axis=1)
    side = round(10 * pixels)
    shape = [math.ceil(n / side) for n in fine.shape]
    blocks = [
        [fine[i * side : (i + 1) * side, j * side : (j + 1) * side] for j in range(shape[1])] for i in range(shape[0])
    ]
    whole = np.array([[np.isfinite(b).mean() >= 0.5 - 1e-9 for b in row] for row in blocks])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        means = np.array([[np.nanmean(b) for b in row] for row in blocks])
    return np.where(whole, means, np.nan)


@pytest.mark.parametrize("spacing_m", [6.25, 3.0, 1.0], ids=["coarser", "a little coarser", "finer"])
def test_other_pixel_sizes_are_averaged_over_areas_when_asked(tmp_path, spacing_m):
    product = write_product(tmp_path, (131, 97), holes=True)
    model = Model(by_level, spacing_m=spacing_m)
    with pytest.warns(Alos2TutWarning, match="no more detail") if spacing_m < 2.5 else nullcontext():
        out = map_scene(product, model, tmp_path / "map.tif", convert=True)
    expected = by_hand(open_product(product).read_power().astype(float), spacing_m / 2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        found = match(open_product(product), model, polarization=None, convert=True, allow_other_signal=False)
    db = np.concatenate(list(found.db_from(0, 10)))
    np.testing.assert_allclose(10 ** (db / 10), expected, rtol=1e-5)
    # wherever reading begins, to the bit
    np.testing.assert_array_equal(np.concatenate(list(found.db_from(17, 10))), db[17:])
    with rasterio.open(out) as raster:
        assert raster.shape == expected.shape and raster.res == pytest.approx((spacing_m, spacing_m))
        assert (raster.transform.c, raster.transform.f) == (FRAME.c, FRAME.f)
        np.testing.assert_array_equal(raster.read(1) == 255, np.isnan(expected))


def test_a_map_of_resampled_pixels_is_the_same_in_runs(tmp_path):
    product, model = write_product(tmp_path, (1201, 97)), Model(by_place, spacing_m=6.25)
    at_once = map_scene(product, model, tmp_path / "map.tif", convert=True, probability=True)
    with ThreadPoolExecutor(3) as pool:
        shared = map_scene(product, model, tmp_path / "other.tif", convert=True, probability=True, executor=pool)
    for name in ("classes", "probability"):
        np.testing.assert_array_equal(read(map_file(at_once, name)), read(map_file(shared, name)))


def test_another_quantity_is_converted_when_asked(tmp_path, small_scene):
    model = Model(by_level, (64, 64))
    model.signal["quantity"] = "gamma0"
    with pytest.raises(Alos2TutError, match=r"sigma0.*trained on gamma0.*convert"):
        map_scene(small_scene, model, tmp_path / "map.tif")
    out = map_scene(small_scene, model, tmp_path / "map.tif", convert=True)
    db = np.round(open_product(small_scene).read_db(looks=2, quantity="gamma0"), 2)
    x = torch.from_numpy(np.nan_to_num((db + 12) / 5))[None, None]
    np.testing.assert_array_equal(read(out), np.where(np.isnan(db), 255, by_level(x)[0].argmax(dim=0).numpy()))


def test_a_segmenter_of_two_channels_and_absurd_sizes_are_refused(tmp_path):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    model.signal["polarizations"] = ["HH", "HV"]
    with pytest.raises(Alos2TutError, match="HH, HV at once"):
        map_scene(product, model, tmp_path / "map.tif")
    with pytest.raises(Alos2TutError, match="more than 131,072 along a side"):
        map_scene(product, Model(constant, spacing_m=1e-3), tmp_path / "map.tif", convert=True)


# --- labels and picture


def test_a_map_is_compared_with_labels_and_drawn(tmp_path, small_scene):
    model = Model(lambda x: torch.zeros(len(x), 9, *x.shape[2:]), (64, 64))
    model.legend = load_legend("japan_9")
    out = map_scene(small_scene, model, tmp_path / "map.tif", labels=small_scene / "labels", preview=True)
    names = {"map.tif", "map_agreement.json", "map_difference.tif", "map_preview.png"}
    assert {p.name for p in tmp_path.iterdir()} == names
    report = json.loads(map_file(out, "agreement").read_text())
    matrix = np.array(report["confusion_matrix"])
    assert matrix[:, 1:].sum() == 0 and report["pixel_accuracy"] == matrix[0, 0] / matrix.sum()
    assert map_file(out, "preview").read_bytes()[:4] == b"\x89PNG"


def test_labels_elsewhere_are_refused_before_the_work(tmp_path, small_scene):
    model = Model(lambda x: torch.zeros(len(x), 9, *x.shape[2:]), (64, 64))
    model.legend = load_legend("japan_9")
    far = write_geotiff(tmp_path / "labels.tif", np.ones((9, 9)), rasterio.Affine(1, 0, 0, 0, -1, 0), dtype="uint8")
    with pytest.raises(Alos2TutError, match=r"no label raster touches the product"):
        map_scene(small_scene, model, tmp_path / "map.tif", labels=far)
    assert model.batches == []


# --- what goes wrong half-way


@pytest.mark.parametrize("form", ["CEOS", "GeoTIFF"])
def test_a_product_that_is_cut_is_noticed_half_way(tmp_path, form):
    from support.products import write_ceos

    if form == "GeoTIFF":
        path = file = write_product(tmp_path / "product", (1301, 503))
    else:
        path = write_ceos(tmp_path / "product", {"HH": np.full((1301, 503), 3000, np.uint16)})
        file = next(path.glob("IMG-*"))
    product, out = open_product(path), tmp_path / "map.tif"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(Alos2TutError, match=file.name):
        map_scene(product, Model(constant, (64, 64)), out)
    assert not out.exists()


@contextmanager
def files_of_at_most(size: int):
    """No file may grow beyond so many bytes, as on a disk that is full; Python has no signal for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [300, 20_000], ids=["no row", "no map"])
def test_a_full_disk_is_an_error_and_the_work_is_kept(to_map, tmp_path, monkeypatch, room):
    product, segmenter, expected = to_map
    with files_of_at_most(room), pytest.raises(Alos2TutError, match=r"could not be written \(.*free disk space"):
        map_scene(product, segmenter, tmp_path / "map.tif", **OPTIONS)
    assert {p.name for p in tmp_path.iterdir()} == {"map.tif.partial"}
    rows: list[int] = []
    stopping(monkeypatch, 10_000, rows)
    out = map_scene(product, segmenter, tmp_path / "map.tif", **OPTIONS)
    assert layers(out) == expected and bool(rows) == (room == 300)


def test_a_segmenter_that_gives_no_numbers_or_others_is_refused(tmp_path):
    product = write_product(tmp_path, (64, 64))
    for logits, message in [
        (lambda x: constant(x) * torch.nan, "NaN or infinity"),
        (lambda x: constant(x)[:, :2], r"\(., 2, 16, 24\).*logits of 3 classes"),
        (lambda x: constant(x)[:, :, ::2], r"logits of 3 classes for every pixel"),
    ]:
        with pytest.raises(Alos2TutError, match=message):
            map_scene(product, Model(logits), tmp_path / "map.tif")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"probability": "perhaps"}, "probability='perhaps'.*boolean", id="a switch that is none"),
        pytest.param({"labels": 5}, "labels=5", id="no labels"),
        pytest.param({"overlap_px": 1.5}, "overlap_px=1.5", id="half a pixel"),
        pytest.param({"batch_size": "many"}, "batch_size='many'", id="no number"),
    ],
)
def test_settings_that_cannot_be_are_refused(to_map, tmp_path, options, message):
    product, segmenter, _ = to_map
    with pytest.raises(Alos2TutError, match=message):
        map_scene(product, segmenter, tmp_path / "map.tif", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [None, "cuda:99", "abacus"])
def test_devices_that_cannot_be_used_are_refused(name):
    with pytest.raises(Alos2TutError, match=f"devices: '{name}' cannot be used"):
        DeviceExecutor([name])


@pytest.mark.parametrize("name", ["x" * 250 + ".tif", "a\0b.tif", "a\udcff.tif"], ids=["long", "NUL", "not UTF-8"])
def test_names_that_no_file_can_have_are_refused(to_map, tmp_path, name):
    product, segmenter, _ = to_map
    with pytest.raises(Alos2TutError, match="can be named so"):
        map_scene(product, segmenter, tmp_path / name)


def test_names_may_be_of_any_script(to_map, tmp_path):
    product, segmenter, expected = to_map
    out = map_scene(product, segmenter, tmp_path / "土地　被覆 $x.tif", **OPTIONS, preview=True)
    assert layers(out) == expected and map_file(out, "preview").is_file()


@pytest.mark.parametrize("segmenter", [None, 5, lambda x: x], ids=["None", "a number", "a function"])
def test_what_is_no_segmenter_is_refused(to_map, tmp_path, segmenter):
    with pytest.raises(Alos2TutError, match="is no segmenter"):
        map_scene(to_map[0], segmenter, tmp_path / "map.tif")


def test_an_executor_that_does_not_work_is_refused(to_map, tmp_path):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(Alos2TutError, match="cannot be handed over"):
        map_scene(*to_map[:2], tmp_path / "map.tif", executor=pool)
    assert not list(tmp_path.iterdir())
