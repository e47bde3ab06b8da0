"""The figures of maps show what they are given, at the right scale and the right way up."""

import itertools
import math
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import rasterio
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from support.figures import legend_texts
from support.map_files import LEGEND, MIDDLE, bar_px, write_raster, write_share
from support.products import write_geotiff

from alos2tut import Alos2TutError, load_legend, open_product
from alos2tut.dataset.labels import label_classes, label_files
from alos2tut.products.metadata import MapGrid
from alos2tut.tutorial import map_view as map_views
from alos2tut.tutorial import widgets
from alos2tut.tutorial.figures import map as map_figures
from alos2tut.tutorial.map_view import MapView, agreement_by_confidence, places

Affine = rasterio.Affine


@pytest.fixture(scope="module")
def mapped_scene(small_scene, tmp_path_factory):
    """A simulated product, labels, and a map of it that is wrong in its upper third, with confidence."""
    folder = tmp_path_factory.mktemp("mapped")
    product, legend = open_product(small_scene), load_legend("japan_14")
    labels = label_files(small_scene / "labels")
    told = label_classes(product, labels, legend, 2)
    classes = np.where(np.arange(len(told))[:, None] < 85, (told + 1) % len(legend), told)
    classes[100:110, 200:230] = 255
    share = np.where(classes == 255, 255, np.indices(told.shape)[1] % 250)
    grid = {"transform": product.transform * Affine.scale(2), "legend": legend}
    grid["tags"] = {"PRODUCT": product.image_name(), "MADE_FROM": '{"overlap_px": 4}', "SIMULATED": "yes"}
    write_raster(folder / "map.tif", classes, **grid)
    write_share(folder / "map_probability.tif", share, **grid)
    return folder / "map.tif", product, labels, legend


@pytest.fixture(scope="module")
def view(mapped_scene):
    return MapView.open(*mapped_scene)


def test_a_view_holds_what_the_files_hold(view, mapped_scene):
    path, product, labels, legend = mapped_scene
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(view.classes, raster.read(1))
        assert view.grid.transform == raster.transform
    np.testing.assert_array_equal(view.labels, label_classes(product, labels, legend, 2))
    expected = np.where(view.classes == 255, np.nan, np.arange(view.shape[1]) % 250 / 250).astype(np.float32)
    np.testing.assert_allclose(view.confidence, expected, atol=1e-6)
    assert view.confidence.dtype == np.float32 and view.polarizations == ("HH",) and view.pixels == (2, 2)
    assert map_figures.layers(view) == ("σ⁰", "labels", "map", "confidence")
    hidden = view.mapped_labels
    assert (hidden[100:110, 200:230] == 255).all() and (hidden[:100] == view.labels[:100]).all()


def test_a_view_may_lack_confidence_and_labels(tmp_path, mapped_scene):
    path, product, _, legend = mapped_scene
    (tmp_path / "map.tif").write_bytes(path.read_bytes())
    elsewhere = write_geotiff(tmp_path / "elsewhere.tif", np.ones((9, 9)), MIDDLE * Affine.translation(1e5, 0))
    for labels in ((), elsewhere):
        view = MapView.open(tmp_path / "map.tif", product, labels, legend)
        assert view.confidence is None and view.labels is None and map_figures.layers(view) == ("σ⁰", "map")
    zooms = map_figures.zooms(view, {"here": (0, 0, 9, 9)}, [])
    assert len(map_figures.map_and_labels(view, []).axes) == len(zooms.axes) == 2
    with pytest.raises(Alos2TutError, match="the view has no confidence"):
        map_figures.confidence(view, [])
    assert view.mapped_labels is view.classes


def test_backscatter_lies_where_the_map_says(view, mapped_scene):
    product = mapped_scene[1]
    (db,), extent = view.backscatter_db((40, 60, 30, 50), 900)
    np.testing.assert_array_equal(db, product.read_db((80, 120, 60, 100), looks=2))
    assert extent == (60, 110, 70, 40)
    # 3 × 3 pixels of the map make one of the picture, counted from the product's corner
    (db,), extent = view.backscatter_db((40, 60, 30, 50), 17)
    np.testing.assert_array_equal(db, product.read_db((78, 120, 66, 102), looks=6))
    assert extent == (60, 111, 72, 39)
    # the last blocks are cut by the edge
    (db,), extent = view.backscatter_db(view.window(None), 46)
    assert db.shape == (37, 46) and extent == (0, 46 * 7, 37 * 7, 0)


def test_maps_of_pixels_that_cut_those_of_the_product(tmp_path, mapped_scene):
    _, product, labels, legend = mapped_scene
    shape = (math.ceil(512 / 2.5), math.ceil(640 / 2.5))
    grid = {"transform": product.transform * Affine.scale(2.5), "legend": legend}
    view = MapView.open(write_raster(tmp_path / "map.tif", np.ones(shape), **grid), product, labels, legend)
    assert view.pixels == pytest.approx((2.5, 2.5))
    (db,), (left, right, bottom, top) = view.backscatter_db((10, 20, 40, 40), 900)
    assert left <= 20 and right >= 60 and top <= 10 and bottom >= 50
    np.testing.assert_array_equal(db, product.read_db((24, 50, 102, 100), looks=2))
    assert (left, right, bottom, top) == pytest.approx((20, 60, 126 / 2.5, 24 / 2.5))


def test_what_does_not_belong_together_is_refused(tmp_path, mapped_scene):
    path, product, labels, legend = mapped_scene
    with pytest.raises(Alos2TutError, match="its classes are"):
        MapView.open(path, product, labels, load_legend("japan_9"))
    fitting = product.transform * Affine.scale(2)
    for change, height in ((Affine.translation(1, 0), 256), (Affine.identity(), 255), (Affine.rotation(1), 256)):
        other = write_raster(tmp_path / "other.tif", np.ones((height, 320)), transform=fitting * change, legend=legend)
        with pytest.raises(Alos2TutError, match="does not lie on the grid of the product"):
            MapView.open(other, product, labels, legend)
    (tmp_path / "map.tif").write_bytes(path.read_bytes())
    own = {"transform": fitting, "legend": legend}
    for width, overlap_px in ((320, 5), (319, 4)):
        tags = {"MADE_FROM": f'{{"overlap_px": {overlap_px}}}'}
        write_share(tmp_path / "map_probability.tif", np.ones((256, width)), tags=tags, **own)
        with pytest.raises(Alos2TutError, match=r"map_probability\.tif: belongs to another map"):
            MapView.open(tmp_path / "map.tif", product, labels, legend)


@pytest.mark.parametrize("window", [(0, 0, 257, 10), (0, -1, 10, 10), (5, 5, 0, 10), (250, 0, 7, 1)])
def test_windows_outside_are_refused(view, window):
    with pytest.raises(Alos2TutError, match="does not lie in the map"):
        map_figures.zooms(view, {"here": window}, [])
    with pytest.raises(Alos2TutError, match="does not lie in the map"):
        map_figures.swipe(view, "map", "labels", 0.5, window)


def drawn_classes(ax, shape=(256, 320)):
    """The classes of a panel that is so large, without the stripes of some of them."""
    drawn = np.asarray(ax.images[0].get_array()) % 256
    finer = drawn.shape[0] // shape[0]
    return drawn[::finer, ::finer]


def test_map_and_labels(view):
    figure = map_figures.map_and_labels(view, [(90, 50, 16, 16), (90, 66, 16, 16)])
    figure.canvas.draw()
    round_both = {((50, 90), (66, 90)), ((66, 90), (82, 90)), ((50, 106), (66, 106)), ((66, 106), (82, 106))}
    round_both |= {((50, 90), (50, 106)), ((82, 90), (82, 106))}
    assert [ax.get_title().split(",")[0] for ax in figure.axes] == ["σ⁰", "labels", "map"]
    assert "dB" in figure.axes[0].get_title()
    for ax, layer in zip(figure.axes[1:], (view.labels, view.classes), strict=True):
        np.testing.assert_array_equal(drawn_classes(ax), layer)
        assert (ax.get_xlim(), ax.get_ylim()) == ((0, 320), (256, 0))
        assert {tuple(map(tuple, side)) for side in ax.collections[-1].get_segments()} == round_both
    there = np.unique([view.labels, view.classes])
    names = [view.legend.names[i] for i in there if i != 255]
    assert legend_texts(figure) == [*names, *(["no data or label"] if 255 in there else []), "test patches"]
    assert bar_px(figure.axes[0])[1] == "200 m"


def test_large_maps_are_drawn_by_some_of_their_pixels(view, monkeypatch):
    monkeypatch.setattr(map_figures, "_PANEL_PX", 100)
    figure = map_figures.map_and_labels(view, [])
    image = figure.axes[2].images[0]
    np.testing.assert_array_equal(drawn_classes(figure.axes[2], (64, 80)), view.classes[2::4, 2::4])
    assert image.get_extent() == [0, 320, 256, 0] and figure.axes[0].images[0].get_array().shape == (64, 80)


def test_zooms_have_a_row_for_each_place(view):
    windows = {"coast": (0, 0, 60, 60), "town": (100, 180, 80, 60)}
    figure = map_figures.zooms(view, windows, [(110, 190, 32, 32)])
    panels = figure.axes[:8]
    assert [ax.get_ylabel() for ax in panels[::4]] == ["coast", "town"]
    assert [ax.get_title().split(",")[0] for ax in panels[:4]] == ["σ⁰", "labels", "map", "confidence"]
    assert panels[0].images[0].get_clim() == panels[4].images[0].get_clim()
    np.testing.assert_array_equal(panels[7].images[0].get_array().filled(np.nan), view.confidence[100:180, 180:240])
    assert figure.axes[8].get_ylabel() == "confidence: probability of the mapped class"
    assert [bar_px(ax)[1] for ax in panels[::4]] == ["50 m", "50 m"]
    assert {"no data or label", "test patches"} <= set(legend_texts(figure))
    with pytest.raises(Alos2TutError, match="no place"):
        map_figures.zooms(view, {}, [])


def test_a_swipe_shows_one_layer_on_either_side(view):
    figure = map_figures.swipe(view, "labels", "map", 0.25, (100, 200, 40, 80))
    ax = figure.axes[0]
    figure.canvas.draw()
    edges = [ax.transData.inverted().transform(image.clipbox.get_points())[:, 0] for image in ax.images]
    assert edges == [pytest.approx((200, 220)), pytest.approx((220, 280))]
    assert all(line.get_xdata() == [220, 220] for line in ax.lines)
    assert (ax.get_title("left"), ax.get_title("right")) == ("◂ labels", "map ▸")
    shown = {*view.labels[100:140, 200:220].flat, *view.classes[100:140, 220:280].flat} - {255}
    assert legend_texts(figure)[: len(shown)] == [view.legend.names[i] for i in sorted(shown)]


def test_the_key_of_a_swipe_names_what_is_seen(mapped_scene):
    labels = np.where(np.arange(40) < 20, 1, 2) * np.ones((30, 1))
    view = tiny_view(mapped_scene, np.zeros((30, 40)), labels, np.ones((30, 40)))
    for position, classes in {0.5: (0, 1), 0.55: (0, 1, 2), 1: (1, 2), 0: (0,)}.items():
        figure = map_figures.swipe(view, "labels", "map", position)
        assert legend_texts(figure) == [view.legend.names[i] for i in classes]


def test_a_swipe_has_the_keys_of_its_layers(view):
    figure = map_figures.swipe(view, "σ⁰", "confidence", 0.5)
    assert figure.axes[1].get_ylabel().startswith("confidence") and "dB" in figure.axes[0].get_title("left")
    assert legend_texts(figure) == ["no data or label"]
    for wrong in (-0.1, 1.01, math.nan):
        with pytest.raises(Alos2TutError, match="position"):
            map_figures.swipe(view, "map", "labels", wrong)
    with pytest.raises(Alos2TutError, match=r"no layer 'lables'.*Did you mean 'labels'"):
        map_figures.swipe(view, "lables", "map", 0.5)


def test_the_swipe_of_a_live_notebook(view, watched, monkeypatch):
    shown = []
    monkeypatch.setattr(map_figures, "swipe", lambda *told: (shown.append(told[1:]), Figure())[1])
    controls = widgets.swipe(view, {"coast": (0, 0, 20, 20)})
    left, right, position, place = controls.children[:4]
    assert left.options == right.options == ("σ⁰", "labels", "map", "confidence") and position.value == 0.5
    for name in place.options:
        controls.f(left="labels", right="map", position=0.3, place=name)
    assert shown[-2:] == [("labels", "map", 0.3, None), ("labels", "map", 0.3, (0, 0, 20, 20))]


@pytest.fixture
def axes_of_swipes(view, watched, monkeypatch):
    """Where the axes of a live swipe lie at two positions of its line, of figures that grow with it."""

    def lie(grow, *positions):
        def swiped(_view, _left, _right, position, _place):
            figure = Figure(layout="constrained")
            grow(figure, figure.subplots(), position)
            return figure

        monkeypatch.setattr(map_figures, "swipe", swiped)
        draw = widgets.swipe(view, {}).f
        drawn = [draw(left="labels", right="map", position=position, place="whole map") for position in positions]
        return [figure.axes[0].get_position() for figure in drawn]

    return lie


def test_a_longer_key_is_laid_out_anew(axes_of_swipes):
    def grow(figure, _ax, position):
        keys = [Patch(label=str(entry)) for entry in range(round(10 * position))]
        figure.legend(handles=keys, loc="outside lower center")

    few, many = axes_of_swipes(grow, 0.2, 0.8)
    assert many.y0 > few.y0 + 0.2


def test_axes_whose_numbers_get_wider_are_laid_out_anew(axes_of_swipes):
    narrow, wide = axes_of_swipes(lambda _figure, ax, position: ax.set_ylim(0, 10 ** (10 * position) - 0.5), 0.1, 0.5)
    assert wide.x0 > narrow.x0 + 0.01


def tiny_view(mapped_scene, classes, labels, confidence):
    _, product, _, legend = mapped_scene
    labels = None if labels is None else np.asarray(labels, np.uint8)
    grid = MapGrid(product.crs, product.transform * Affine.scale(2))
    return MapView(
        product, legend, np.asarray(classes, np.uint8), np.asarray(confidence, np.float32), labels, grid, "HH"
    )


@pytest.mark.parametrize("rows", [1, 2, 1024])
def test_agreement_by_confidence_by_hand(mapped_scene, monkeypatch, rows):
    monkeypatch.setattr(map_views, "_ROWS", rows)
    classes = [[0, 0, 1, 1], [1, 1, 255, 1], [2, 2, 2, 2]]
    labels = [[0, 1, 1, 1], [1, 0, 0, 255], [2, 2, 2, 1]]
    sure = [[0.3, 0.3, 0.3, 0.304], [0.9, 0.904, np.nan, 0.5], [0.296, 1, 0.996, 0.7]]
    view = tiny_view(mapped_scene, classes, labels, sure)
    # of two windows that overlap, one reaching outside, the pixels count once
    inside, outside = agreement_by_confidence(view, [(0, 0, 1, 2), (0, -3, 2, 5)])
    assert inside.pixels.tolist() == [0, 0, 0, 2, 0, 0, 0, 0, 0, 2] and inside.agreeing.tolist()[3::6] == [1, 1]
    assert inside.confidence[[3, 9]] == pytest.approx([0.3, 0.902]) and np.isnan(inside.confidence[0])
    # 0.3 and 0.7 belong to the bins that they begin, 1 to the last
    assert outside.pixels.tolist() == [0, 0, 1, 2, 0, 0, 0, 1, 0, 2]
    assert outside.agreeing.tolist() == [0, 0, 1, 2, 0, 0, 0, 0, 0, 2]
    assert outside.confidence[[2, 3, 7, 9]] == pytest.approx([0.296, 0.302, 0.7, 0.998])


def test_borders_of_bins_belong_to_the_next_one(mapped_scene):
    sure = np.arange(0, 251, dtype=np.float32)[None] * np.float32(1 / 250)  # as they come from their file
    view = tiny_view(mapped_scene, np.zeros((1, 251)), np.zeros((1, 251)), sure)
    assert agreement_by_confidence(view, [])[1].pixels.tolist() == [25] * 9 + [26]


def test_confidence_leaves_out_bins_of_few_pixels(mapped_scene):
    sure = np.full((20, 30), 0.55)
    sure[:10, :5], sure[10:, :4] = 0.85, 0.25  # 50 and 40 pixels
    labels = np.zeros((20, 30))
    labels[:, 20:], labels[0, 0] = 1, 255
    view = tiny_view(mapped_scene, np.zeros((20, 30)), labels, sure)
    figure = map_figures.confidence(view, [(0, 0, 20, 20)])
    tested, other, diagonal = figure.axes[2].lines
    # 49 pixels of 0.85 have a label
    np.testing.assert_allclose(tested.get_xydata(), [[0.55, 1.0]])
    np.testing.assert_allclose(other.get_xydata(), [[0.55, 0.0]])
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    names = [line.get_label() for line in (tested, other, diagonal)]
    assert names == ["test patches", "other ground, mostly training", "calibrated"]
    differs = figure.axes[1].images[0].get_array()
    vermilion = matplotlib.colors.to_rgba("#D55E00")
    assert (differs[:, 20:] == vermilion).all() and differs[0, 0, 3] == 0 and (differs[1:, :20] == differs[5, 5]).all()
    assert {"agree", "differ", "no data or label", "test patches"} <= set(legend_texts(figure))
    assert map_figures.confidence(view, []).axes[2].lines[0].get_label() == "all ground"
    with pytest.raises(Alos2TutError, match="the view has no labels"):
        map_figures.confidence(replace(view, labels=None), [])


def countryside():
    """Of japan_14: sea in the west, forest, a town, paddies beside dry fields, a margin without labels in the east."""
    labels = np.full((400, 600), 8)
    labels[:, :150] = 0
    labels[40:150, 250:360] = 1
    labels[240:320, 380:490], labels[320:380, 380:490] = 2, 3
    labels[:, 560:] = 255
    return labels.astype(np.uint8)


def test_places_are_where_their_classes_are():
    labels, legend = countryside(), load_legend("japan_14")
    found = places(labels, legend, 80)
    assert list(found) == ["coast", "town", "plain"]
    cut = {name: labels[r : r + h, c : c + w] for name, (r, c, h, w) in found.items()}
    assert all(part.shape == (80, 80) for part in cut.values())
    assert np.mean(cut["coast"] == 0) == pytest.approx(0.5, abs=0.07)
    assert np.mean(cut["town"] == 1) == 1 and np.isin(cut["plain"], (2, 3)).all()
    # half of a window is town at most, whether its other half has labels or not
    labels[:, :80], labels[:, 80:120], labels[:, 120:] = 255, 1, 8
    assert places(labels, legend, 80)["town"][1] >= 72


def test_places_on_other_ground():
    legend, labels = load_legend("japan_14"), countryside()
    labels[labels == 1] = 8
    found = places(labels, legend, 80)
    # without a town there is room for forest or sea: forest has more ground
    assert list(found) == ["coast", "plain", legend.names[8]]
    assert places(np.full((400, 600), 255, np.uint8), legend, 80) == {}
    assert places(np.zeros((50, 60), np.uint8), legend, 400) == {"open water": (0, 0, 50, 50)}
    labels[np.isin(labels, (0, 255), invert=True)] = 1
    assert list(places(labels, load_legend("water_land"), 80)) == ["coast", "land", "open water"]
    negated = places(np.ones((50, 60), np.uint8), load_legend("japan_water"), 20)
    assert next(iter(negated)) == "not water" and "open water" not in negated


@pytest.mark.parametrize("side", [1, 7, 20, 61, 100, 129, 150, 399, 5000])
def test_places_lie_inside_and_apart_and_have_data(side):
    labels = countryside()
    labels[np.random.default_rng(0).random(labels.shape) < 0.03] = 255
    found = places(labels, load_legend("japan_14"), side)
    size = min(side, 400)
    for row, col, *sides in found.values():
        assert sides == [size, size] and 0 <= row <= 400 - size and 0 <= col <= 600 - size
        # windows are judged by some thousand of their pixels
        assert np.mean(labels[row : row + size, col : col + size] != 255) >= 0.85 or size < 10
    for one, other in itertools.combinations(found.values(), 2):
        sides = size - np.abs(np.subtract(one, other)[:2])
        assert (sides <= 0).any() or sides.prod() <= 0.25 * size**2
    assert found


@pytest.mark.parametrize("side", [0, 2.5])
def test_places_need_a_side(side):
    with pytest.raises(Alos2TutError, match="places"):
        places(countryside(), LEGEND, side)
