"""The figures of notebook 2 show what they are given."""

from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from affine import Affine
from rasterio.warp import transform as reproject_points
from support.figures import texts
from support.map_files import LEGEND
from support.packed import write_packed_dataset
from support.products import write_geotiff

from alos2tut import geometry, open_dataset, open_product
from alos2tut.dataset import splits
from alos2tut.dataset.archive import Archive, Entry
from alos2tut.dataset.legend import IGNORE
from alos2tut.dataset.selection import STATUSES, Choice
from alos2tut.dataset.survey import PatchTable
from alos2tut.products.given import Given
from alos2tut.tutorial import widgets
from alos2tut.tutorial.figures import dataset as dataset_figures
from alos2tut.tutorial.leakage import Leakage

CODES = np.random.default_rng(0).integers(1, 3, (250, 250))


def entry(west: float, south: float, **known: object) -> Entry:
    corners = [[west, south], [west + 0.5, south], [west + 0.5, south + 0.5], [west, south + 0.5]]
    info = {"footprint_lonlat": corners, "acquired": "2022-11-19T03:00:00"}
    name = f"scene {west:g} {south:g}"
    return Entry(name, Given(), info | {"scene_id": name} | known, f"{name}_HH", name)


def archive_of(*entries: Entry) -> Archive:
    return Archive(entries, (), ("HH",))


def outlines(ax: plt.Axes) -> list[matplotlib.patches.Polygon]:
    return [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Polygon)]


def test_footprints_lie_where_products_say(tmp_path):
    place = Affine(0.01, 0, 139, 0, -0.01, 36)
    path = write_geotiff(tmp_path / "LC_N35E139.tif", CODES[:100, :100], place, "EPSG:4326")
    products = [entry(139, 35), entry(140, 36, acquired=None, scene_id=None), entry(139.5, 34)]
    nowhere = entry(0, 0, footprint_lonlat=[])
    figure = dataset_figures.footprints(archive_of(*products, nowhere), archive_of(*products[:2]), [path])
    [ax] = figure.axes
    polygons = outlines(ax)
    assert [p.get_xy()[0].tolist() for p in polygons[:3]] == [[139, 35], [140, 36], [139.5, 34]]
    assert [p.get_linestyle() in ("-", "solid") for p in polygons[:3]] == [True, True, False]
    assert polygons[0].get_edgecolor() != polygons[1].get_edgecolor()
    [tile] = [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Rectangle)]
    assert tile.get_corners() == pytest.approx(np.array([[139, 36], [140, 36], [140, 35], [139, 35]]))
    said = {"scene 139 35", "scene 140 36_HH", "LC_N35E139", "label raster", "longitude (°)", "left out by the filter"}
    assert said <= set(texts(figure)) and "scene 0 0" not in texts(figure)


def test_footprints_on_both_sides_of_the_antimeridian_lie_beside_one_another(tmp_path):
    place = Affine(0.01, 0, 179, 0, -0.01, -16)
    path = write_geotiff(tmp_path / "LC.tif", CODES[:200, :200], place, "EPSG:4326")
    across = [[179.9, -17], [-179.9, -17], [-179.9, -16.8], [179.9, -16.8]]
    products = [entry(0, 0, footprint_lonlat=across), entry(-179.4, -17), entry(178.8, -17)]
    figure = dataset_figures.footprints(archive_of(*products), archive_of(*products), [path])
    figure.canvas.draw()
    ax = figure.axes[0]
    assert [np.ptp(p.get_xy()[:, 0]) for p in outlines(ax)[:3]] == pytest.approx([0.2, 0.5, 0.5])
    assert ax.get_xlim()[1] - ax.get_xlim()[0] < 3
    [tile] = [patch for patch in ax.patches if isinstance(patch, matplotlib.patches.Rectangle)]
    west = outlines(ax)[0].get_xy()[:, 0].min()
    assert tile.get_x() == pytest.approx(west - 0.9) and tile.get_width() == pytest.approx(2)
    assert "UTM zone 60 | 1" in [text.get_text() for text in ax.texts]
    ticks = [float(tick.get_text().replace("−", "-")) for tick in ax.get_xticklabels()]
    assert min(ticks) < -179 and max(ticks) > 178 and max(map(abs, ticks)) <= 180


def test_small_footprints_are_shown_again_and_those_of_one_ground_are_one_group():
    products = [entry(139.2, 35, acquired="2022-02-12"), entry(143.9, 34.5), entry(139.2, 35)]
    figure = dataset_figures.footprints(archive_of(*products))
    overview, first, second = (ax for ax in figure.axes if ax.get_xlabel())
    assert len(outlines(overview)) == 3 and len(outlines(second)) == 1
    wide, narrow = (p.get_linewidth() for p in outlines(first))
    assert wide > narrow  # the one below can be seen
    assert "scene 139.2 35\nscene 139.2 35" in [text.get_text() for text in first.texts]
    assert ["UTM zone 54 | 55" in [text.get_text() for text in ax.texts] for ax in (first, second)] == [False, True]


def test_footprints_of_many_days_have_a_bar_of_days():
    products = [entry(139 + i, 35, acquired=f"2022-12-0{i + 1}") for i in range(6)]
    figure = dataset_figures.footprints(archive_of(*products))
    edges = [patch.get_edgecolor() for patch in outlines(figure.axes[0])]
    assert len(set(edges)) == 6 and {"day of acquisition", "2022-12-01", "2022-12-06"} <= set(texts(figure))


def test_footprints_of_few_days_have_keys():
    products = [entry(139, 35), entry(140, 35, acquired="2022-12-01"), entry(141, 35, acquired="2020")]
    figure = dataset_figures.footprints(archive_of(*products))
    edges = [patch.get_edgecolor() for patch in outlines(figure.axes[0])]
    assert len(set(edges)) == 3 and {"acquired 2022-11-19", "acquired 2022-12-01"} <= set(texts(figure))
    assert edges[2][:3] == matplotlib.colors.to_rgb(dataset_figures.GREY)
    undated = archive_of(entry(0, 0, acquired=None))
    assert len(dataset_figures.footprints(undated).axes) == 1


def test_image_and_labels_show_the_same_ground(small_scene):
    product = open_product(small_scene)
    classes = np.zeros((product.shape[0] // 2, product.shape[1] // 2), np.uint8)
    classes[:40, :30] = IGNORE
    figure = dataset_figures.image_and_labels(product, classes, LEGEND)
    image, labels = (ax.images[0] for ax in figure.axes[:2])
    assert image.get_extent() == labels.get_extent()
    assert image.get_array().shape == labels.get_array().shape
    shown = np.asarray(labels.get_array())
    assert (shown[:40, :30] == IGNORE).all() and (shown[40:] == 0).all()
    assert {"water", "field", "no data or label", "labels: legend 'toy'"} <= set(texts(figure))


@pytest.fixture(scope="module")
def choice() -> Choice:
    """Two products side by side, each a grid of 4 × 5 patches of 32 px, a hundredth of a degree apart."""
    product, number = np.divmod(np.arange(40), 20)
    rows, cols = np.divmod(number, 5)
    west, south = 139 + product + cols / 100, 35 - rows / 100
    x, y = np.stack([west, west + 0.01]), np.stack([south + 0.01, south])
    corners_deg = np.stack([x[[0, 1, 1, 0]], y[[0, 0, 1, 1]]]).transpose(2, 1, 0)
    where = (product.astype(np.int32), (32 * rows).astype(np.int32), (32 * cols).astype(np.int32))
    table = PatchTable(*where, corners_deg, np.ones(40, np.float32), np.full((40, 2), 512), 32)
    status = np.tile(np.array([0] * 8 + [1, 4] + [0] * 8 + [4, 4], np.uint8), 2)
    ground = np.tile(np.array([0] * 9 + [-1] + [1] * 4 + [2] * 4 + [-1, -1], np.int8), 2)
    return Choice(table, status, ground, np.full(40, -1, np.int16), np.ones(40, bool), ("water", "land"))


def test_the_grid_of_patches_lies_on_the_product(small_scene, choice):
    product = open_product(small_scene)
    figure = dataset_figures.patch_grid(product, choice, 2)
    collections = dict(zip(STATUSES, figure.axes[0].collections, strict=True))
    assert [len(collections[status].get_paths()) for status in STATUSES] == [16, 1, 0, 0, 3, 0]
    # the second patch in the first row, the fourth in the second
    x, y = product.transform * (64, 0)
    assert collections["kept"].get_paths()[1].vertices[3] == pytest.approx((x / 1000, y / 1000))
    x, y = product.transform * (4 * 64, 2 * 64)
    assert collections["too little data"].get_paths()[0].vertices[1] == pytest.approx((x / 1000, y / 1000))
    assert {"kept: 16", "too little data: 1", "in the buffer: 3"} <= set(texts(figure))
    assert not any(text.startswith("no sampled point") for text in texts(figure))


def test_the_split_map_colours_ground_and_outlines_blocks(choice):
    block_m = 2227.0  # about two patches
    figure = dataset_figures.split_map(choice, block_m, ["spring", "autumn"])
    assert [ax.get_title() for ax in figure.axes] == ["spring", "autumn"]
    for ax, corners in zip(figure.axes, np.split(choice.table.corners, 2), strict=True):
        pretrain, val, test, buffer, dropped, borders = ax.collections
        assert [len(c.get_paths()) for c in (pretrain, val, test, buffer, dropped)] == [8, 4, 4, 3, 1]
        assert val.get_paths()[0].vertices[:4] == pytest.approx(corners[10])
        blocks = splits.ground_blocks(corners, block_m).reshape(4, 5, 2)
        differ = (blocks[:, 1:] != blocks[:, :-1]).any(axis=2).sum() + (blocks[1:] != blocks[:-1]).any(axis=2).sum()
        assert len(borders.get_segments()) == differ > 5
        # a border lies between the patches that it parts
        col = np.flatnonzero((blocks[0, 1:] != blocks[0, :-1]).any(axis=1))[0]
        assert any(np.allclose(segment, corners[col, 1:3], rtol=0, atol=1e-9) for segment in borders.get_segments())
    keys = {"pretraining and training: 16", "validation: 8", "test: 8", "in the buffer: 6", "dropped: 2"}
    assert keys <= set(texts(figure))


def test_a_split_across_the_antimeridian_is_drawn_in_one_piece(choice):
    corners = choice.table.corners.copy()
    corners[..., 0] = geometry.beside(corners[..., 0] + 40.97, 0)
    turned = replace(choice, table=replace(choice.table, corners=corners)).take(slice(20))
    ax = dataset_figures.split_map(turned, 2227.0, ["across"]).axes[0]
    x = np.concatenate([path.vertices[:, 0] for kind in ax.collections[:5] for path in kind.get_paths()])
    assert np.ptp(x) == pytest.approx(0.05) and len(ax.collections[5].get_segments()) > 5


def test_a_close_up_shows_that_labels_are_those_of_the_pixels_under_the_centres(small_scene, tmp_path):
    product = open_product(small_scene)
    # pixels of about 8 m, over the product, twice and elsewhere
    x, y = product.transform * (product.shape[1] / 2, product.shape[0] / 2)
    [west], [north] = reproject_points(product.crs, "EPSG:4326", [x - 900], [y + 800])
    corners = {"elsewhere": (0, 0), "codes": (west, north), "again": (west, north)}
    labels = [
        write_geotiff(tmp_path / f"{name}.tif", CODES, Affine(1 / 12000, 0, x, 0, -1 / 12000, y), "EPSG:4326")
        for name, (x, y) in corners.items()
    ]
    figure = dataset_figures.warp_close_up(product, labels, LEGEND, (100, 120, 20, 25), 2)
    left, right = figure.axes[:2]
    fill, outline = left.collections
    shown = np.asarray(right.images[0].get_array())
    assert shown.shape == (20, 25)
    colors = fill.get_facecolor()
    # each centre lies in one outline, whose colour is the class that is drawn on the right
    paths = outline.get_paths()
    for row, col in [(0, 0), (7, 3), (12, 20), (19, 24)]:
        [hit] = [i for i, path in enumerate(paths) if path.contains_point((col + 0.5, row + 0.5))]
        assert colors[hit][:3] == pytest.approx(LEGEND.colors[shown[row, col]] / 255)
    width, height = np.ptp(paths[0].vertices, axis=0) * 5
    assert 7 < width < 8.5 and 9 < height < 10  # metres: 1/12000 degree at 35° of latitude


def test_the_most_mixed_square_is_found():
    classes = np.zeros((90, 120), np.uint8)
    classes[45:75, 60:75] = 1
    classes[60:70, 60:90] = 2
    assert dataset_figures.mixed_window(classes) == (45, 60, 30, 30)
    assert dataset_figures.mixed_window(classes[:12, :20]) == (0, 0, 12, 12)


HISTOGRAMS = {
    "all": {"pixels": {"water": 900, "land": 100}, "majority": {"water": 9, "land": 1}},
    "capped": {"pixels": {"water": 100, "land": 300}, "majority": {"water": 0, "land": 4}},
    "none": {"pixels": {"water": 0, "land": 0}, "majority": {"water": 0, "land": 0}},
}


def dots(ax: plt.Axes) -> list[np.ndarray]:
    return [c.get_offsets() for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]


def test_class_balance_is_in_percent_and_what_is_absent_lies_at_zero():
    figure = dataset_figures.class_balance(HISTOGRAMS)
    left, right = figure.axes
    # rows from the rarest up: land, water
    assert [d[:, 0].tolist() for d in dots(left)] == [[10, 90], [75, 25], [left.get_xlim()[0]] * 2]
    assert [t.get_text() for t in left.get_yticklabels()] == ["land", "water"]
    (_, before), (after, absent), _ = (d[:, 0] for d in dots(right))
    assert (before, after) == (90, 100) and absent == right.get_xlim()[0]
    assert right.get_xticklabels()[0].get_text() == "0" and left.get_xscale() == "log"
    faces = [c.get_facecolors() for c in right.collections if isinstance(c, matplotlib.collections.PathCollection)]
    assert (faces[1][1][:3] == 1).all() and not (faces[1][0][:3] == 1).all()
    assert {"all (10 patches)", "capped (4 patches)", "none (0 patches)", "if all were alike"} <= set(texts(figure))


@pytest.fixture(scope="module")
def dataset(packed_dataset):
    return open_dataset(packed_dataset)


def test_class_shares_are_those_of_the_lists(tmp_path):
    pixels = {"train": [10, 90, 0], "val": [50, 25, 25], "test": [1, 1, 98]}
    splits = {
        name: {"class_pixels": {f"class {c}": n for c, n in enumerate(counts)}} for name, counts in pixels.items()
    }
    figure = dataset_figures.class_shares(open_dataset(write_packed_dataset(tmp_path / "dataset", splits=splits)))
    [ax] = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["class 2", "class 0", "class 1"]
    train, val, test = (d[:, 0].tolist() for d in dots(ax))
    assert train == [ax.get_xlim()[0], 10, 90] and val == [25, 50, 25] and test == [98, 1, 1]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["train", "val", "test"]


def test_statistics_mark_this_dataset_and_the_papers(dataset):
    figure = dataset_figures.statistics(dataset)
    left, right = figure.axes
    places = [line.get_xdata()[0] for line in left.lines]
    assert places == pytest.approx([-11.0, -10.4327 - 5.8041, -10.4327, -10.4327 + 5.8041])
    assert sum(p.get_height() for p in left.patches if p.get_width() == 0.5) * 0.5 == pytest.approx(100, abs=0.5)
    split = dataset.split("pretrain")
    for index, line in enumerate(right.lines):
        median = np.median(split.patches[:, 0][split.labels == index]) / 100
        assert abs(line.get_xdata()[line.get_ydata().argmax()] - median) < 2.5


def test_the_gallery_shows_of_each_class_the_patch_that_has_most_of_it(dataset):
    figure = dataset_figures.class_gallery(dataset, "val")
    part, n = dataset.split("val"), len(dataset.legend)
    assert [ax.get_title() for ax in figure.axes[:n]] == dataset.legend.names
    for index, (top, bottom) in enumerate(zip(figure.axes[:n], figure.axes[n:], strict=True)):
        amounts = [(part.gather([i])[1] == index).sum() for i in range(len(part))]
        best = int(np.argmax(amounts))
        np.testing.assert_array_equal(np.ma.filled(top.images[0].get_array(), np.nan), part.db(best)[0])
        assert bottom.get_xlabel() == f"{max(amounts) / 32**2:.0%}"


def test_a_patch_lies_beside_its_labels_in_metres(dataset):
    figure = dataset_figures.patch_and_labels(dataset, "val", 2)
    left, right = figure.axes[:2]
    part = dataset.split("val")
    np.testing.assert_array_equal(np.ma.filled(left.images[0].get_array(), np.nan), part.db(2)[0])
    assert left.images[0].get_extent() == right.images[0].get_extent() == [0, 160, 160, 0]
    labels = part.gather([2])[1]
    commonest = np.bincount(labels[labels != IGNORE]).argmax()
    assert right.get_title().startswith(f"class {commonest} {(labels == commonest).mean():.0%}")


def test_patches_are_browsed_by_class_most_first(dataset, watched):
    controls, part = widgets.browse_patches(dataset), dataset.split("test")
    amounts = dataset_figures.class_amounts(part, 3)[1]
    order = np.argsort(-amounts, kind="stable")
    for place, index in {1: order[0], 2: order[1], 100: order[np.count_nonzero(amounts) - 1]}.items():
        figure = controls.f(split="test", land_class="class 1", place=place)
        shown = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
        np.testing.assert_array_equal(shown, part.db(index)[0])
        assert "that hold class 1" in figure.get_suptitle()


def test_leakage_is_drawn_per_repeat_with_its_interval():
    scores = {"ground": (0.4, 0.5), "patches": (0.45, 0.5), "pixels": (0.6, 0.8)}
    result = Leakage(scores, scores)
    figure = dataset_figures.leakage(result)
    left, right = figure.axes
    assert "2 draws of held-out blocks cover training draws, not ground or seeds" in figure.get_supxlabel()
    dots = [line.get_ydata().tolist() for line in left.lines if line.get_marker() == "o"]
    assert dots == [[0.4, 0.5], [0.45, 0.5], [0.6, 0.8]]
    means = [container.lines[0].get_xdata()[0] for container in right.containers]
    assert means == pytest.approx([25, 25, 2.5, 2.5])
    assert [t.get_text() for t in right.get_yticklabels()] == ["pixels at random", "patches at random"]
