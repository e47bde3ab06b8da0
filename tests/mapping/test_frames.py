"""Maps of images that lie on no map, and of several polarisations."""

import json
import warnings

import numpy as np
import pytest
import rasterio
import torch
from support.maps import Model, by_level, by_place, constant, map_scene, read
from support.products import complex_numbers, real_data, write_ceos, write_geotiff

from alos2tut import Alos2TutError, Alos2TutWarning, load_config, open_product
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.labels import Placement
from alos2tut.dataset.legend import Legend
from alos2tut.mapping.agreement import AGREES
from alos2tut.mapping.files import MapFile, map_file
from alos2tut.mapping.matching import match
from alos2tut.mapping.preview import preview
from alos2tut.products.metadata import ImageGrid
from alos2tut.results import describe
from alos2tut.tutorial.figures.map import layers, map_and_labels
from alos2tut.tutorial.map_view import MapView

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(of the map is|holds no data, and so):alos2tut.Alos2TutWarning"),
    # what tests read by rasterio has no georeference: that is what is wanted
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

#: along track and slant range, of :func:`slant`
SPACING = (2.1, 1.43)


@pytest.fixture(scope="module")
def slant(tmp_path_factory):
    """A product of Level 1.1 with holes: coarse fields under single-look speckle."""
    level = np.random.default_rng(0).uniform(0.2, 3, (11, 14)).repeat(12, axis=0).repeat(12, axis=1)
    numbers = complex_numbers((131, 160)) * level[:131, :160].astype(np.float32)
    numbers[20:50, 30:70] = 0
    return write_ceos(tmp_path_factory.mktemp("slant") / "product", {"HH": numbers}, "UBSR1.1__A")


def model_for(product, looks=(2, 2), logits=by_level, **signal):
    """One that knows pixels of so many looks of the product."""
    model, product = Model(logits), open_product(product)
    model.signal |= {"spacing_m": [n * side for n, side in zip(looks, SPACING, strict=True)]} | signal
    model.statistics = Statistics((float(np.nanmean(product.read_db(looks=looks))),), (5.0,))
    return model


def direct(product, model, looks):
    """The map without tiles."""
    db = np.round(open_product(product).read_db(looks=looks), 2)
    x = torch.from_numpy(np.nan_to_num((db - model.statistics.mean_db[0]) / 5))[None, None]
    return np.where(np.isnan(db), 255, model.logits(x)[0].argmax(dim=0).numpy())


def test_slant_range_is_mapped_in_its_own_frame(slant, tmp_path):
    """Equal pixels to the function applied at once; a plain TIFF, which any reader opens, without a place on Earth."""
    model = model_for(slant, (3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", rasterio.errors.NotGeoreferencedWarning)
        out = map_scene(slant, model, tmp_path / "map.tif", probability=True, preview=True)
    np.testing.assert_array_equal(read(out), direct(slant, model, (3, 2)))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(out) as raster:
        assert raster.crs is None and raster.transform.is_identity and raster.shape == (44, 80)
        tags = raster.tags()
    assert (tags["FRAME"], tags["IMAGE_SHAPE"], tags["IMAGE_PIXELS"]) == ("image", "131 x 160", "3 x 2")
    assert [float(side) for side in tags["SPACING_M"].split(" x ")] == pytest.approx([6.3, 2.86])
    content, text = describe(out)
    assert content["is"] == "a map" and content["crs"] is None and "131 x 160" in text
    found = MapFile.open(out)
    assert found.grid == ImageGrid((131, 160), (3, 2), found.grid.pixel_m)
    footnote = preview(out).get_supxlabel()
    assert "on no map" in footnote and "6.3 m × 2.86 m" in footnote


def test_a_constant_model_gives_a_constant_map_in_slant_range(slant, tmp_path):
    found = read(map_scene(slant, model_for(slant, logits=constant), tmp_path / "map.tif", overlap_px=5))
    np.testing.assert_array_equal(found, np.where(np.isnan(open_product(slant).read_db(looks=2)), 255, 2))


def test_pixels_of_slant_range_are_averaged_over_areas(slant):
    model = model_for(slant, spacing_m=[2.5 * SPACING[0], 1.5 * SPACING[1]])
    found = match(open_product(slant), model, load_config("map", convert=True))
    assert found.pixels == pytest.approx((2.5, 1.5)) and found.shape == (53, 107)
    assert found.grid.pixel_m == pytest.approx((2.5 * SPACING[0], 1.5 * SPACING[1])) and found.grid.crs is None
    db = np.concatenate(list(found.db_from(0, 10)), axis=1)[0]
    np.testing.assert_array_equal(np.concatenate(list(found.db_from(17, 10)), axis=1)[0], db[17:])


@pytest.mark.parametrize("flip", [None, "rows", "cols", "both"])
def test_labels_of_the_same_frame_are_compared(slant, tmp_path, flip):
    """Placed and turned as the settings say; by NumPy the label of a pixel is that of its middle."""
    model, random = model_for(slant, (3, 1)), np.random.default_rng(1)
    codes = random.choice([0, 1, 2, 9], (70, 90)).astype(np.uint8)
    turned = {None: codes, "rows": codes[::-1], "cols": codes[:, ::-1], "both": codes[::-1, ::-1]}[flip]
    labels = write_geotiff(tmp_path / "labels.tif", turned, None, None, dtype="uint8")
    placed = {"label_offset": [37, 21], **({"label_flip": flip} if flip else {})}
    out = map_scene(slant, model, tmp_path / "map.tif", labels=labels, preview=True, **placed)
    whole = np.full((132, 160), 9, dtype=np.uint8)
    whole[37 : 37 + 70, 21 : 21 + 90] = codes
    expected, mapped = whole[1::3], read(out)
    both = (expected != 9) & (mapped != 255)
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (expected[both], mapped[both]), 1)
    report = json.loads(map_file(out, "agreement").read_text())
    assert report["confusion_matrix"] == matrix.tolist()
    differing = np.where(both, np.where(mapped == expected, AGREES, expected), 255)
    np.testing.assert_array_equal(read(map_file(out, "difference")), differing)
    preview(map_file(out, "difference"))
    view = MapView.open(out, open_product(slant), labels, model.legend, Placement((37, 21), flip))
    np.testing.assert_array_equal(view.labels, np.where(expected == 9, 255, expected))
    assert view.pixels == (3, 1)
    (db,), extent = view.backscatter_db((0, 0, *view.shape), 50)
    assert db.shape[0] <= 50 and extent[0] == 0


def test_labels_of_another_size_or_frame_are_refused_before_the_work(slant, tmp_path):
    model = model_for(slant)
    small = write_geotiff(tmp_path / "small.tif", np.ones((70, 90)), None, None, dtype="uint8")
    with pytest.raises(Alos2TutError, match=r"70 × 90 pixels, the image 131 × 160.*label_offset"):
        map_scene(slant, model, tmp_path / "map.tif", labels=small)
    mapped = write_geotiff(tmp_path / "mapped.tif", np.ones((9, 9)), rasterio.Affine(1, 0, 0, 0, -1, 0), dtype="uint8")
    with pytest.raises(Alos2TutError, match="states a coordinate system, and the image lies on no map"):
        map_scene(slant, model, tmp_path / "map.tif", labels=mapped)
    assert model.batches == []


def test_a_map_in_slant_range_goes_on_where_it_stopped(slant, tmp_path):
    at_once = map_scene(slant, model_for(slant, logits=by_place), tmp_path / "whole.tif").read_bytes()
    model = model_for(slant, logits=by_place)
    calls = []

    def stops(x):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return by_place(x)

    stopping = model_for(slant, logits=stops)
    with pytest.raises(KeyboardInterrupt):
        map_scene(slant, stopping, tmp_path / "whole2.tif")
    again = map_scene(slant, model, tmp_path / "whole2.tif").read_bytes()
    assert again == at_once


def test_unknown_pixel_sizes_are_taken_only_when_allowed(slant, tmp_path):
    """Looks are then those of training; and nothing is averaged to a size that nobody knows."""
    model = model_for(slant, spacing_m=None)
    with pytest.raises(Alos2TutError, match=r"segmenter was trained on pixels of unknown size.*allow_other_signal"):
        map_scene(slant, model, tmp_path / "map.tif")
    with pytest.raises(Alos2TutError, match="nothing can be averaged to"):
        map_scene(slant, model, tmp_path / "map.tif", convert=True, allow_other_signal=True)
    model.signal["looks"] = 3
    with pytest.warns(Alos2TutWarning, match="unknown size: blocks of 3 × 3"):
        out = map_scene(slant, model, tmp_path / "map.tif", allow_other_signal=True)
    np.testing.assert_array_equal(read(out), direct(slant, model, 3))


# --- two polarisations


def by_ratio(x):
    """By the first channel, and by how far the second is from it."""
    both = torch.stack([x[:, 0], x[:, 1] - x[:, 0], -x[:, 0]], dim=1)
    return both + 0.003


@pytest.fixture
def dual(tmp_path):
    """HH and HV of Level 2.1, each with holes of its own."""
    random, images = np.random.default_rng(3), {}
    for name, top in (("HH", 30), ("HV", 70)):
        images[name] = np.clip(3000 * random.rayleigh(0.8, (131, 97)), 1, 65535).astype(np.uint16)
        images[name][top : top + 20, 10:50] = 0
    return write_ceos(tmp_path / "dual", images)


def of_two(order=("HH", "HV")):
    model = Model(by_ratio)
    model.signal["polarizations"] = list(order)
    model.statistics = Statistics((-12.0, -10.0), (5.0, 4.0))
    return model


@pytest.mark.parametrize("order", [("HH", "HV"), ("HV", "HH")])
def test_channels_are_read_in_the_order_of_training(dual, tmp_path, order):
    out = map_scene(dual, of_two(order), tmp_path / "map.tif", batch_size=3)
    db = np.stack([np.round(open_product(dual).read_db(looks=2, polarization=name), 2) for name in order])
    x = torch.from_numpy(np.nan_to_num((db - [[[-12]], [[-10]]]) / [[[5]], [[4]]]).astype(np.float32))[None]
    expected = by_ratio(x)[0].argmax(dim=0).numpy()
    missing = np.isnan(db).any(axis=0)
    assert missing.sum() > np.isnan(db[0]).sum() and set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(read(out), np.where(missing, 255, expected))
    with rasterio.open(out) as raster:
        tags = raster.tags()
    assert tags["POLARIZATIONS"] == ", ".join(order) and f"IMG-{order[0]}" in tags["PRODUCT"]
    view = MapView.open(out, open_product(dual), (), of_two().legend)
    assert view.polarizations == order
    shown, colors = map_and_labels(view, []).axes[0], direct_colors(open_product(dual), order)
    np.testing.assert_allclose(shown.images[0].get_array(), colors, atol=1e-6)
    title = " ".join(shown.get_title().split())
    assert (
        title.startswith(f"σ⁰: red {order[0]} −") and f", blue {order[0]}/{order[1]}" in title and title.endswith("dB")
    )


def direct_colors(product, order):
    """Channels and their difference at the map's looks, each from its 1st to its 99th percentile in whole dB."""
    first, second = (product.read_db(looks=2, polarization=name) for name in order)
    bands = []
    for band in (first, second, first - second):
        low, high = np.percentile(band[np.isfinite(band)], [1, 99])
        low, high = np.floor(low), np.ceil(high)
        bands.append(np.clip((band - low) / (high - low), 0, 1))
    colors = np.stack([*bands, np.ones_like(first)], axis=-1)
    colors[np.isnan(first) | np.isnan(second)] = 0
    return colors


def test_channels_are_as_many_as_the_segmenter_reads(dual, tmp_path):
    with pytest.raises(Alos2TutError, match=r"HH would be read, and the segmenter reads HH, HV at once"):
        map_scene(dual, of_two(), tmp_path / "map.tif", polarization="HH", allow_other_signal=True)
    with pytest.raises(Alos2TutError, match=r"polarisation HV, HH is asked for.*trained on HH, HV"):
        map_scene(dual, of_two(), tmp_path / "map.tif", polarization="HV,HH")
    with pytest.warns(Alos2TutWarning, match="polarisation HV, HH"):
        map_scene(dual, of_two(), tmp_path / "map.tif", polarization="HV,HH", allow_other_signal=True)


# --- real images


def test_the_real_san_francisco_is_mapped_by_two_channels(tmp_path):
    """Power of a Lee-filtered T3, without a stated pixel size; labels are a picture of the same frame."""
    folder = real_data("airsar_sanfrancisco")
    product = open_product(folder / "T3_leefiltered", quantity="relative")
    model = of_two()
    model.image_px = (256, 256)
    model.statistics = Statistics((-20.0, -30.0), (6.0, 6.0))
    model.signal |= {"quantity": "relative", "spacing_m": None, "looks": 2}
    legend = {"name": "SF", "source": "PolSF", "ignored": [0, 4, 5]}
    classes = [{"name": name, "color": [c, c, 0], "codes": [c]} for c, name in enumerate("abc", 1)]
    model.legend = Legend.from_dict(legend | {"classes": classes}, where="legend")
    labels = folder / "SF-AIRSAR-label2d.png"
    with pytest.warns(Alos2TutWarning, match="unknown size: blocks of 2 × 2"):
        # a path is opened as the settings say
        settings = {"quantity": "relative", "allow_other_signal": True, "labels": labels, "preview": True}
        out = map_scene(folder / "T3_leefiltered", model, tmp_path / "map.tif", **settings)
    db = np.stack([np.round(product.read_db(looks=2, polarization=name), 2) for name in ("HH", "HV")])
    x = torch.from_numpy(np.nan_to_num((db - [[[-20]], [[-30]]]) / 6).astype(np.float32))[None]
    expected = np.where(np.isnan(db).any(axis=0), 255, by_ratio(x)[0].argmax(dim=0).numpy())
    mapped = read(out)
    assert mapped.shape == (450, 512) and len(set(np.unique(mapped)) - {255}) == 3
    np.testing.assert_array_equal(mapped, expected)
    found = MapFile.open(out)
    assert found.grid == ImageGrid((900, 1024), (2, 2), None) and found.tags["SPACING_M"] == "unknown"
    # of two looks the middle lies on a border: the label is that of the pixel below and to the right
    codes = read(labels)[1::2, 1::2]
    matrix = np.zeros((3, 3), dtype=int)
    there = (codes >= 1) & (codes <= 3) & (mapped != 255)
    np.add.at(matrix, (codes[there] - 1, mapped[there]), 1)
    assert json.loads(map_file(out, "agreement").read_text())["confusion_matrix"] == matrix.tolist()
    figure = preview(out)
    assert "pixels of unknown size" in figure.get_supxlabel() and bar_of(figure.axes[0]).endswith(" px")
    view = MapView.open(out, product, labels, model.legend)
    assert layers(view)[0] == "relative power" and view.polarizations == ("HH", "HV")


def bar_of(ax):
    """What the scale bar says."""
    return next(text.get_text() for text in ax.texts if text.get_text()[:1].isdigit())


def test_a_pixel_size_that_is_told_is_one(tmp_path):
    """With it no looks need to be guessed, and another size is refused."""
    folder = real_data("airsar_sanfrancisco") / "T3_leefiltered"
    product = open_product(folder, quantity="relative", spacing_m=(10.0, 12.0))
    model = of_two()
    model.image_px = (256, 256)
    model.signal |= {"quantity": "relative", "spacing_m": [20.0, 36.0]}
    found = match(product, model, load_config("map"))
    assert found.pixels == (2, 3) and found.grid.pixel_m == (20.0, 36.0)
    model.signal["spacing_m"] = [15.0, 15.0]
    with pytest.raises(Alos2TutError, match="no number of looks leads there"):
        match(product, model, load_config("map"))
