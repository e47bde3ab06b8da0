"""Maps of whole products: no seams, no holes, the right place, whole or absent."""

import json
import math
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.maps import (
    FRAME,
    LEGEND,
    OPTIONS,
    SIDECARS,
    Model,
    by_level,
    by_place,
    classes_of_all,
    constant,
    expected_db,
    layers,
    map_scene,
    read,
    write_product,
    write_segmenter,
)
from support.products import TIFF_NAME, write_ceos, write_geotiff
from support.properties import examples
from support.rights import files_of_at_most

import alos2tut
from alos2tut import Alos2TutError, Alos2TutWarning, load_config, open_product
from alos2tut.dataset.legend import Legend, load_legend
from alos2tut.mapping import rows as map_rows
from alos2tut.mapping.files import map_file
from alos2tut.mapping.matching import match
from alos2tut.mapping.preview import preview
from alos2tut.networks.tiling import tile_starts, tile_weights
from alos2tut.networks.weights import load_segmenter, save_segmenter

pytestmark = pytest.mark.filterwarnings("ignore:.*(of the map is|holds no data, and so):alos2tut.Alos2TutWarning")

SIDES = st.integers(1, 110)


def water_everywhere() -> Model:
    """A model of nine classes that knows the first one only."""
    model = Model(lambda x: torch.zeros(len(x), 9, *x.shape[2:]), (64, 64))
    model.legend = load_legend("japan_9")
    return model


@examples(40)
@given(height=SIDES, width=SIDES, overlap=st.integers(0, 14), batch=st.integers(1, 5), seed=st.integers(0, 999))
def test_a_constant_model_gives_a_constant_map(tmp_path, height, width, overlap, batch, seed):
    product = write_product(tmp_path / "product", (height, width), seed, holes=seed % 2 == 1)
    options = {"overlap_px": overlap, "batch_size": batch, "overwrite": True}
    found = read(map_scene(product, Model(constant), tmp_path / "map.tif", **options))
    assert found.shape == (math.ceil(height / 2), math.ceil(width / 2))
    np.testing.assert_array_equal(found, np.where(np.isnan(expected_db(product)), 255, 2))


@pytest.mark.parametrize(
    ("shape", "tile", "overlap"),
    [
        ((32, 48), (16, 24), 4),
        ((34, 50), (16, 24), 14),
        ((131, 97), (32, 8), 3),
        ((131, 97), (64, 64), None),
    ],
)
def test_tiles_leave_no_trace_in_a_map_by_pixels(tmp_path, shape, tile, overlap):
    product = write_product(tmp_path, shape, seed=3, holes=True)
    out = map_scene(product, Model(by_level, tile), tmp_path / "map.tif", overlap_px=overlap, batch_size=3)
    np.testing.assert_array_equal(read(out), classes_of_all(product, by_level))


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


def test_a_decoder_that_receives_statistics_maps_what_it_names(tmp_path):
    product = write_product(tmp_path / "product", (128, 128), seed=2, holes=True)
    file = write_segmenter(tmp_path / "s.safetensors", decoder="pixel")
    found = read(map_scene(product, file, tmp_path / "map.tif"))
    db = expected_db(product)
    with torch.no_grad():
        x = torch.from_numpy(np.nan_to_num((db + 12) / 5)).to(torch.float32)
        named = load_segmenter(file)(x[None, None])[0].argmax(dim=0).numpy()
    assert len(np.unique(named)) > 1
    known = ~np.isnan(db)
    assert (found[known] == named[known]).mean() > 0.999 and (found[~known] == 255).all()


def test_every_batch_has_one_shape_and_empty_tiles_are_left_out(tmp_path):
    product = write_geotiff(tmp_path / TIFF_NAME, np.zeros((128, 192)), FRAME)
    model = Model(constant)
    with pytest.warns(Alos2TutWarning, match="holds no data"):
        out = map_scene(product, model, tmp_path / "map.tif", probability=True)
    assert (read(out) == 255).all() and (read(map_file(out, "probability")) == 255).all() and model.batches == []
    product = write_product(tmp_path / "other", (131, 147))
    map_scene(product, model, tmp_path / "other.tif", batch_size=10)
    # a quarter of it is a pass on a CPU, three at most: four tiles in a row are two and two, not three and one
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
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([TIFF_NAME, "map.tif", *SIDECARS])


def test_a_simulated_product_makes_a_simulated_map(tmp_path, small_scene):
    out = map_scene(small_scene, Model(by_level, (64, 64)), tmp_path / "map.tif")
    with rasterio.open(out) as raster:
        assert raster.tags()["SIMULATED"] == "yes" and raster.shape == (256, 320)
    np.testing.assert_array_equal(read(out), classes_of_all(small_scene, by_level))


@pytest.mark.parametrize(
    ("header", "tag"), [({"simulated": True}, "yes"), ({"simulated": False}, "no"), ({}, "unknown")]
)
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


@pytest.mark.parametrize(
    ("signal", "asked", "message"),
    [
        ({"quantity": "gamma0"}, {}, "sigma0.*trained on gamma0"),
        ({"polarizations": ["HV"]}, {}, "'HV'.*holds HH"),
        ({"polarizations": ["HH", "HV"]}, {}, "'HV'.*holds HH"),
        ({"spacing_m": [6.25, 6.25]}, {}, r"2\.5 × 2\.5 m.*6\.25"),
        ({"spacing_m": [1.0, 1.0]}, {}, "no number of looks"),
        ({"spacing_m": [5.0, 11.0]}, {}, "no number of looks"),
        ({"spacing_m": [6.25] * 2}, {"allow_other_signal": True}, "no number of looks"),
        ({"spacing_m": [1e-3] * 2}, {"convert": True}, "more than 131,072 along a side"),
        ({}, {"overlap_px": 16}, r"overlap_px=16.*0…14, seven eighths of a tile\. A quarter of the tile, 4,"),
        ({}, {"overlap_px": 15}, r"overlap_px=15.*: it would take 34 tiles"),
        ({}, {"overlap_px": -1}, "overlap_px=-1"),
        ({}, {"batch_size": 0}, "batch_size=0"),
        ({}, {"polarization": "HV"}, "'HV'.*holds HH"),
        ({}, {"polarization": "XX"}, "XX"),
        ({}, {"probability": "perhaps"}, "probability='perhaps'.*boolean"),
        ({}, {"labels": 5}, "labels=5"),
    ],
)
def test_what_cannot_be_mapped_is_refused_before_the_work(tmp_path, signal, asked, message):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    model.signal |= signal
    with pytest.raises(Alos2TutError, match=message):
        map_scene(product, model, tmp_path / "map.tif", **asked)
    assert model.batches == [] and list(tmp_path.iterdir()) == [product]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/map.tif", r"nowhere.*does not exist"),
        ("folder", "folder: is a folder"),
        ("/", "/: is a folder"),
        (TIFF_NAME, "a file of the product"),
        (f"link/{TIFF_NAME}", "a file of the product"),
        ("x" * 250 + ".tif", "can be named so"),
        ("a\0b.tif", "can be named so"),
        ("a\udcff.tif", "can be named so"),
        ("map.png", r"map.png: is no name of a GeoTIFF.*Name it map\.tif; the picture is map_preview\.png\."),
        *((name, r"Name it map\.tif;") for name in ("map", "map.JPG", "map.vrt", "map.tif ")),
    ],
)
def test_where_no_map_can_go_is_refused_before_the_segmenter_is_looked_for(tmp_path, name, message):
    product = write_product(tmp_path, (64, 64))
    before = product.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Alos2TutError, match=message):
        map_scene(product, tmp_path / "nothing.safetensors", tmp_path / name)
    assert product.read_bytes() == before


@pytest.mark.parametrize(
    ("signal", "message"),
    [({"quantity": "gamma0"}, "sigma0.*trained on gamma0"), ({"polarizations": ["HV"]}, "HH.*trained on HV")],
)
def test_another_signal_may_be_allowed(tmp_path, signal, message):
    product, model = write_product(tmp_path, (64, 64)), Model(constant)
    model.signal |= signal
    with pytest.warns(Alos2TutWarning, match=message):
        out = map_scene(product, model, tmp_path / "map.tif", allow_other_signal=True)
    assert (read(out) == 2).all()


@pytest.mark.parametrize("segmenter", [None, 5, lambda x: x], ids=["None", "a number", "a function"])
def test_what_is_no_segmenter_is_refused(to_map, tmp_path, segmenter):
    with pytest.raises(Alos2TutError, match="is no segmenter"):
        map_scene(to_map[0], segmenter, tmp_path / "map.tif")
    with pytest.raises(Alos2TutError, match=r"is not a MapConfig\. load_config makes"):
        alos2tut.map_scene(*to_map[:2], tmp_path / "map.tif", {"flips": True})


def test_a_segmenter_that_gives_no_numbers_or_others_is_refused(tmp_path):
    product = write_product(tmp_path, (64, 64))
    for logits, message in [
        (lambda x: constant(x) * torch.nan, "NaN or infinity"),
        (lambda x: constant(x)[:, :2], r"\(., 2, 16, 24\).*logits of 3 classes"),
        (lambda x: constant(x)[:, :, ::2], r"logits of 3 classes for every pixel"),
    ]:
        with pytest.raises(Alos2TutError, match=message):
            map_scene(product, Model(logits), tmp_path / "map.tif")


def test_an_older_file_is_replaced_only_when_asked(tmp_path):
    product, out = write_product(tmp_path / "product", (64, 64)), tmp_path / "map.tif"
    out.write_bytes(b"an older file")
    model = Model(constant)
    with pytest.raises(Alos2TutError, match=r"map.tif: exists.*overwrite"):
        map_scene(product, model, out)
    assert out.read_bytes() == b"an older file" and model.batches == []
    assert (read(map_scene(product, model, out, overwrite=True)) == 2).all()
    assert {p.name for p in tmp_path.iterdir()} == {"map.tif", "product", *SIDECARS}
    # so is a file beside it
    map_file(tmp_path / "other.tif", "entropy").write_bytes(b"something else")
    with pytest.raises(Alos2TutError, match=r"other_entropy.tif: exists"):
        map_scene(product, model, tmp_path / "other.tif", entropy=True)
    assert not (tmp_path / "other.tif").exists()


def test_files_beside_a_map_are_replaced_or_removed_with_it_and_only_then(to_map, tmp_path):
    product, segmenter, _ = to_map
    out, foreign = tmp_path / "map.tif", map_file(tmp_path / "map.tif", "preview")
    foreign.write_bytes(b"somebody's picture")
    with pytest.raises(Alos2TutError, match=r"map_preview.png: exists"):
        map_scene(product, segmenter, out, preview=True)
    map_scene(product, segmenter, out, **OPTIONS)
    assert foreign.read_bytes() == b"somebody's picture"
    map_scene(product, segmenter, out, overlap_px=20, overwrite=True)
    assert {p.name for p in tmp_path.iterdir()} == {"map.tif", *SIDECARS}
    map_scene(product, segmenter, out, overlap_px=20, preview=True)
    map_scene(product, segmenter, out, overlap_px=20, preview=True)
    assert foreign.read_bytes()[:4] == b"\x89PNG"


def test_inputs_are_never_written_over(to_map, tmp_path, small_scene):
    product = to_map[0]
    segmenter = write_segmenter(tmp_path / "s.safetensors")
    before = segmenter.read_bytes()
    with pytest.raises(Alos2TutError, match="is no name of a GeoTIFF"):
        map_scene(product, segmenter, segmenter, overwrite=True)
    label = tmp_path / "l.tif"
    label.write_bytes(next((small_scene / "labels").glob("*.tif")).read_bytes())
    with pytest.raises(Alos2TutError, match="is a label raster"):
        map_scene(product, segmenter, label, labels=label, overwrite=True)
    assert segmenter.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {"s.safetensors", "l.tif"}


@pytest.mark.filterwarnings("always::alos2tut.Alos2TutWarning")
def test_a_nearly_constant_map_says_so_first_whenever_it_is_asked_for(to_map, tmp_path):
    product, segmenter = write_product(tmp_path, (131, 97)), write_segmenter(tmp_path / "s.safetensors")
    network = load_segmenter(segmenter)
    *_, bias = (of for of in network.decoder.parameters() if of.shape == (9,))
    bias.data = torch.arange(9.0) * 100
    save_segmenter(segmenter, network, provenance={"made_from": {}}, simulated=True)
    codes = np.full((8, 8), 1, dtype=np.uint8)
    codes[:, 4:] = 10
    labels = write_geotiff(tmp_path / "labels.tif", codes, FRAME * rasterio.Affine.scale(97 / 8, 131 / 8))
    for _ in range(2):
        with pytest.warns(Alos2TutWarning) as told:
            out = map_scene(product, segmenter, tmp_path / "map.tif", labels=labels, preview=True)
        (text,) = [str(of.message) for of in told if of.category is Alos2TutWarning]
        assert text.startswith(f"{out}: 100.0 % of the map is greenhouse; against the labels, never predicted: water (")
    with rasterio.open(out) as raster:
        assert raster.tags()["HEADLINE"] == "100.0 % of the map is greenhouse"
    with rasterio.open(map_scene(product, Model(by_level), tmp_path / "healthy.tif")) as raster:
        assert "HEADLINE" not in raster.tags()
    title = preview(out).get_suptitle().splitlines()
    assert title[:2] == ["! 100.0 % of the map is greenhouse", "Land-cover class"]
    headlines = json.loads(map_file(out, "agreement").read_text())["headlines"]
    assert [headline["code"] for headline in headlines][:2] == ["never-predicted", "constant"]


def test_names_may_be_of_any_script(to_map, tmp_path):
    product, segmenter, expected = to_map
    out = map_scene(product, segmenter, tmp_path / "土地　被覆 $x.tif", **OPTIONS, preview=True)
    assert layers(out) == expected and map_file(out, "preview").is_file()


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
        up, left = torch.meshgrid(*(torch.linspace(-3, 3, n).sign() for n in x.shape[2:]), indexing="ij")
        return torch.stack([left, -left, up])[None] + 0 * x

    product, model = write_product(tmp_path, (64, 96)), Model(lopsided)
    out = map_scene(product, model, tmp_path / "map.tif", flips=True, probability=True, overlap_px=0)
    count, found = len(model.batches), read(map_file(out, "probability"))
    values = lopsided(torch.zeros(1, 1, 16, 24)).softmax(dim=1)[0]
    expected = sum(values.flip(axes) for axes in ((), (1,), (2,), (1, 2))) / 4
    assert found[0, 0] == round(250 * float(expected[:, 0, 0].max())) and (found == found[0, 0]).all()
    map_scene(product, model, tmp_path / "plain.tif", overlap_px=0)
    assert count == 4 * (len(model.batches) - count)


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


def by_hand(power: np.ndarray, pixels: float) -> np.ndarray:
    """Means over squares of so many pixels a side, from a grid ten times as fine."""
    fine, side = power.repeat(10, axis=0).repeat(10, axis=1), round(10 * pixels)
    starts = [range(0, n, side) for n in fine.shape]
    means = np.full([len(of) for of in starts], np.nan)
    for i, row in enumerate(starts[0]):
        for j, col in enumerate(starts[1]):
            block = fine[row : row + side, col : col + side]
            if np.isfinite(block).mean() >= 0.5 - 1e-9:
                means[i, j] = np.nanmean(block)
    return means


@pytest.mark.parametrize("spacing_m", [6.25, 3.0, 1.0], ids=["coarser", "a little coarser", "finer"])
def test_other_pixel_sizes_are_averaged_over_areas_when_asked(tmp_path, spacing_m):
    product = write_product(tmp_path, (131, 97), holes=True)
    model = Model(by_level, spacing_m=spacing_m)
    with pytest.warns(Alos2TutWarning, match="no more detail") if spacing_m < 2.5 else nullcontext():
        out = map_scene(product, model, tmp_path / "map.tif", convert=True)
    expected = by_hand(open_product(product).read_power().astype(float), spacing_m / 2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        found = match(open_product(product), model, load_config("map", convert=True))
    db = np.concatenate(list(found.db_from(0, 10)), axis=1)[0]
    np.testing.assert_allclose(10 ** (db / 10), expected, rtol=1e-5)
    # wherever reading begins, to the bit
    np.testing.assert_array_equal(np.concatenate(list(found.db_from(17, 10)), axis=1)[0], db[17:])
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


def test_a_map_is_compared_with_labels_and_drawn(tmp_path, small_scene):
    model = water_everywhere()
    out = map_scene(small_scene, model, tmp_path / "map.tif", labels=small_scene / "labels", preview=True)
    names = {"map.tif", "map_agreement.json", "map_difference.tif", "map_preview.png", *SIDECARS}
    assert {p.name for p in tmp_path.iterdir()} == names
    report = json.loads(map_file(out, "agreement").read_text())
    matrix = np.array(report["confusion_matrix"])
    assert matrix[:, 1:].sum() == 0 and report["pixel_accuracy"] == matrix[0, 0] / matrix.sum()
    assert map_file(out, "preview").read_bytes()[:4] == b"\x89PNG"


def test_labels_elsewhere_are_refused_before_the_work(tmp_path, small_scene):
    model = water_everywhere()
    far = write_geotiff(tmp_path / "labels.tif", np.ones((9, 9)), rasterio.Affine(1, 0, 0, 0, -1, 0), dtype="uint8")
    with pytest.raises(Alos2TutError, match=r"no label raster touches the product"):
        map_scene(small_scene, model, tmp_path / "map.tif", labels=far)
    assert model.batches == []


@pytest.mark.parametrize("older", [None, b"an older map"])
@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt()])
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
    assert {p.name for p in tmp_path.iterdir()} == {"product", "map.tif", *SIDECARS} and (read(out)[:8, :8] == 2).all()


@pytest.mark.parametrize("form", ["CEOS", "GeoTIFF"])
def test_a_product_that_is_cut_is_noticed_half_way(tmp_path, form):
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


@pytest.mark.parametrize("room", [300, 20_000], ids=["no row", "no map"])
def test_a_full_disk_is_an_error_and_the_work_is_kept(to_map, tmp_path, monkeypatch, room):
    product, segmenter, expected = to_map
    with files_of_at_most(room), pytest.raises(Alos2TutError, match=r"could not be written \(.*free disk space"):
        map_scene(product, segmenter, tmp_path / "map.tif", **OPTIONS)
    assert {p.name for p in tmp_path.iterdir()} == {"map.tif.partial"}
    begun, mapped = [], map_rows._mapped_rows
    monkeypatch.setattr(map_rows, "_mapped_rows", lambda *given: begun.append(given) or mapped(*given))
    out = map_scene(product, segmenter, tmp_path / "map.tif", **OPTIONS)
    assert layers(out) == expected and bool(begun) == (room == 300)
