"""The figures of maps show what they are given, at the right scale and the right way up."""

import itertools
import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject
from rasterio.windows import Window
from support.products import TIFF_NAME, write_geotiff

from alos2tut import Alos2TutError, load_legend, open_product
from alos2tut.dataset.labels import label_classes, label_files
from alos2tut.dataset.legend import LandClass, Legend
from alos2tut.geometry import metres_per_degree
from alos2tut.mapping.agreement import map_agreement
from alos2tut.mapping.files import orientation
from alos2tut.mapping.preview import preview, round_length_m
from alos2tut.products.metadata import MapGrid
from alos2tut.products.rasters import write_cog
from alos2tut.tutorial import map_view as map_views
from alos2tut.tutorial import widgets
from alos2tut.tutorial.figures import map as map_figures
from alos2tut.tutorial.map_view import MapView, agreement_by_confidence, places

matplotlib.use("Agg")

Affine = rasterio.Affine
UTM54, LONLAT = rasterio.CRS.from_epsg(32654), rasterio.CRS.from_epsg(4326)
#: on the central meridian of zone 54, where true north is grid north
MIDDLE = Affine(5, 0, 500_000, 0, -5, 3_900_000)
LEGEND = Legend(
    "toy",
    "made up",
    tuple(LandClass(name, (40 * i, 20 + i, 200), (i + 1,)) for i, name in enumerate(("water", "field", "town"))),
    (0,),
)


@pytest.fixture(autouse=True)
def drawn_without_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # affine 3 would like @ for *
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
    plt.close("all")


def write_raster(path: Path, values, *, transform=MIDDLE, crs="EPSG:32654", legend=LEGEND, tags=None, **own) -> Path:
    """A raster as ``map_scene`` leaves it."""
    values = np.asarray(values, dtype=np.uint8)
    told = {f"CLASS_{i}": name for i, name in enumerate(legend.names)}
    told |= {"PRODUCT": "IMG-HH-made-up", "ACQUIRED": "2020-01-02T03:04:05Z", "SIMULATED": "no"}
    told |= {"SOURCE": "ALOS-2 PALSAR-2, (c) JAXA"} | (tags or {})
    own = {"colormap": legend.colormap(), "resampling": "mode", "description": "land-cover class"} | own
    place = {"crs": crs, "transform": transform, "no_data": 255}
    window = Window(0, 0, values.shape[1], values.shape[0])
    return write_cog(path, [(window, values)], shape=values.shape, dtype="uint8", tags=told, **place, **own)


def write_share(path: Path, values, **own) -> Path:
    """A raster of probability or entropy."""
    told = {"colormap": None, "scale": 1 / 250, "resampling": "average", "description": "probability"}
    return write_raster(path, values, **told | own)


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def legend_texts(figure):
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def bar_px(ax):
    """Length of the scale bar, and what it says."""
    halves = [patch for patch in ax.findobj(matplotlib.patches.Rectangle) if patch.get_gid() == "scale bar"]
    text = next(text.get_text() for text in ax.texts if text.get_text().endswith("m"))
    assert len(halves) == 2 and halves[0].get_x() + halves[0].get_width() == halves[1].get_x()
    return sum(half.get_width() for half in halves), text


def arrow_deg(ax):
    """Where the arrow on the screen points to, clockwise from up."""
    (arrow,) = [patch for patch in ax.findobj(matplotlib.patches.Polygon) if patch.get_gid() == "north"]
    tip, _, notch, *_ = arrow.get_transform().transform(arrow.get_xy())
    return math.degrees(math.atan2(*(tip - notch)))


# --- scale and north


def turned(degrees):
    """Pixels of 6.25 m whose columns run that much clockwise from the east."""
    angle = math.radians(degrees)
    along, down = 6.25 * math.cos(angle), 6.25 * math.sin(angle)
    return Affine(along, -down, 500_000, -down, -along, 3_900_000)


@pytest.mark.parametrize("degrees", [0, 30, -75, 179])
def test_north_on_a_turned_grid(degrees):
    # a picture that is turned clockwise on the ground shows north turned counterclockwise
    lies = orientation(MapGrid(UTM54, turned(degrees)), 0, 0)
    assert lies.north_deg == pytest.approx(-degrees, abs=0.01)
    # the scale of UTM on its central meridian
    assert lies.spacing_m == pytest.approx((6.25 / 0.9996,) * 2, rel=1e-4)


def test_north_is_true_north_not_that_of_the_grid():
    """Meridian convergence, by its formula on the sphere: tan γ = tan Δλ · sin φ."""
    x, y = reproject(LONLAT, UTM54, [138.2], [35.0])
    lies = orientation(MapGrid(UTM54, Affine(5, 0, x[0], 0, -5, y[0])), 0, 0)
    expected = math.atan(math.tan(math.radians(141 - 138.2)) * math.sin(math.radians(35)))
    assert lies.north_deg == pytest.approx(math.degrees(expected), abs=0.01) and lies.north_deg > 1


def test_orientation_in_other_systems():
    lat_m, lon_m = metres_per_degree(60)
    lies = orientation(MapGrid(LONLAT, Affine(0.001, 0, 10, 0, -0.002, 60)), 0, 0)
    assert lies.north_deg == pytest.approx(0, abs=1e-6)
    assert lies.spacing_m == pytest.approx((0.002 * lat_m, 0.001 * lon_m), rel=1e-4)
    # Web Mercator's metres are shorter on the ground
    mercator = rasterio.CRS.from_epsg(3857)
    x, y = reproject(LONLAT, mercator, [10.0], [60.0])
    lies = orientation(MapGrid(mercator, Affine(10, 0, x[0], 0, -10, y[0])), 0, 0)
    assert lies.spacing_m == pytest.approx((5.0, 5.0), rel=0.01)


def test_orientation_across_the_antimeridian_and_nowhere():
    zone = rasterio.CRS.from_epsg(32660)
    x, y = reproject(LONLAT, zone, [180.0], [35.0])
    lies = orientation(MapGrid(zone, Affine(5, 0, x[0], 0, -5, y[0])), 0, 0)
    assert lies.north_deg == pytest.approx(-3 * math.sin(math.radians(35)), abs=0.01)
    assert lies.spacing_m == pytest.approx((5, 5), rel=1e-3)
    lies = orientation(MapGrid(UTM54, Affine(5, 0, 1e30, 0, -5, 1e30)), 0, 0)
    assert lies.north_deg is None and lies.spacing_m == (5, 5)


@pytest.mark.parametrize(
    ("width_m", "length_m"), [(3333, 500), (6666, 1000), (6667, 2000), (70_000, 20_000), (100, 20), (3, 0.5)]
)
def test_scale_bars_have_round_lengths(width_m, length_m):
    assert round_length_m(width_m) == length_m


# --- a map alone


@pytest.mark.parametrize(
    ("crs", "transform", "north_deg"),
    [
        pytest.param("EPSG:32654", MIDDLE, 0, id="UTM"),
        pytest.param("EPSG:32654", turned(30), -30, id="turned"),
        pytest.param("EPSG:4326", Affine(1e-3, 0, 139, 0, -1e-3, 50), 0, id="degrees"),
    ],
)
def test_a_preview_is_to_scale_and_shows_north(tmp_path, crs, transform, north_deg):
    shape = (200, 300)
    path = write_raster(tmp_path / "map.tif", np.ones(shape), crs=crs, transform=transform)
    figure = preview(path)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert arrow_deg(ax) == pytest.approx(north_deg, abs=0.05)
    lon, lat = (np.array(c) for c in reproject(
        crs, LONLAT, *zip(transform * (0, 100), transform * (300, 100), transform * (150, 0), transform * (150, 200),
                          strict=True)))  # fmt: skip
    per_lat, per_lon = metres_per_degree(lat.mean())
    across_m = math.hypot((lon[1] - lon[0]) * per_lon, (lat[1] - lat[0]) * per_lat) / 300
    down_m = math.hypot((lon[3] - lon[2]) * per_lon, (lat[3] - lat[2]) * per_lat) / 200
    length_px, text = bar_px(ax)
    value, unit = text.split()
    assert length_px * across_m == pytest.approx(float(value) * {"m": 1, "km": 1000}[unit], rel=0.002)
    assert 0.1 < length_px / 300 <= 0.3
    # a metre is as long across as down
    box = ax.get_window_extent()
    assert box.width / (300 * across_m) == pytest.approx(box.height / (200 * down_m), rel=0.002)


def test_a_preview_says_what_the_file_says(tmp_path):
    classes = np.zeros((60, 80))
    classes[:20], classes[20:30] = 2, 255
    figure = preview(write_raster(tmp_path / "map.tif", classes, tags={"TRAINED_ON_SIMULATED": "yes"}))
    assert legend_texts(figure) == ["water", "town", "no data"]
    told = " ".join(texts(figure))
    for text in ("Land-cover class\nIMG-HH-made-up, 2020-01-02", "© JAXA", "network trained on simulated data",
                 "EPSG:32654", "pixels of 5 m"):  # fmt: skip
        assert text in told
    drawn = figure.axes[0].images[0].get_array()
    assert (
        drawn[0, 0].tolist() == [80, 22, 200, 255]
        and drawn[25, 0, 3] == 0
        and drawn[40, 0].tolist()[:3] == [0, 20, 200]
    )
    assert figure.axes[0].get_xticks().size == figure.axes[0].get_yticks().size == 0
    figure = preview(write_raster(tmp_path / "map.tif", np.ones((60, 80)), tags={"SIMULATED": "yes"}))
    assert legend_texts(figure) == ["field"] and any("simulated data" in text for text in texts(figure))


def test_names_of_classes_are_no_formulas(tmp_path):
    odd = Legend("odd", "made up", tuple(LandClass(n, (9, 9, i), (i + 1,)) for i, n in enumerate(("a $x", "b$"))), (0,))
    figure = preview(write_raster(tmp_path / "map.tif", [[0, 1], [1, 0]], legend=odd))
    figure.canvas.draw()
    assert {r"a \$x", r"b\$"} <= set(legend_texts(figure))


def test_a_preview_reads_overviews(tmp_path):
    # a lattice that a map of every second pixel would not show
    rows, cols = np.indices((1400, 1100))
    classes = np.where((rows % 2 == 0) & (cols % 2 == 0), 2, 0)
    path = write_raster(tmp_path / "map.tif", classes)
    drawn = preview(path, max_px=700).axes[0].images[0].get_array()
    assert drawn.shape[:2] == (700, 550) and (drawn[..., 0] == 0).all()
    assert preview(path, max_px=100).axes[0].images[0].get_array().shape[:2] == (100, 79)


def test_previews_leave_pyplot_alone_and_may_be_drawn_by_threads(tmp_path):
    paths = [write_raster(tmp_path / f"{i}.tif", np.full((30, 40 + i), i % 3)) for i in range(6)]

    def draw(path):
        preview(path).savefig(path.with_suffix(".png"))
        return path.with_suffix(".png").read_bytes()

    alone = [draw(path) for path in paths]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(draw, paths)) == alone
    assert plt.get_fignums() == []


def test_shares_and_differences_have_previews(tmp_path):
    share = np.full((40, 50), 125)
    share[:5] = 255
    figure = preview(write_share(tmp_path / "probability.tif", share))
    values = figure.axes[0].images[0].get_array()
    assert values[10, 0] == pytest.approx(0.5) and np.ma.getmaskarray(values)[:5].all()
    assert figure.axes[1].get_ylabel() == "probability" and legend_texts(figure) == []
    assert any("hatched: no data" in text for text in texts(figure))
    write_raster(tmp_path / "map.tif", np.where(np.indices((40, 50))[1] < 20, 0, 255))
    write_geotiff(tmp_path / "labels.tif", np.where(np.indices((40, 50))[1] < 10, 1, 3), MIDDLE)
    map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    figure = preview(tmp_path / "difference.tif")
    assert legend_texts(figure) == ["town", "map and labels agree", "nothing to compare"]
    assert any("Class of the label where map and labels differ" in text for text in texts(figure))


@pytest.mark.parametrize("shape", [(40, 600), (900, 60), (3, 4), (500, 480)])
def test_no_text_of_a_preview_is_cut_off(tmp_path, shape):
    legend = load_legend("worldcover")
    classes = np.arange(math.prod(shape)).reshape(shape) % (len(legend) + 1)
    classes[classes == len(legend)] = 255
    tags = {"PRODUCT": "a_rather_long_name_that_somebody_gave_to_a_product_when_there_was_no_other_" + "x" * 40}
    tags["TRAINED_ON_SIMULATED"] = "yes"
    own = {"legend": legend, "tags": tags, "crs": "EPSG:4326", "transform": Affine(1e-4, 0, 139, 0, -7e-5, 50)}
    for path in (
        write_raster(tmp_path / "map.tif", classes, **own),
        write_share(tmp_path / "share.tif", classes, **own, description="entropy, " * 9),
    ):
        figure = preview(path)
        figure.draw_without_rendering()
        placed = {t: t.get_window_extent() for t in figure.findobj(matplotlib.text.Text) if t.get_text()}
        # labels that are not drawn, as of ticks on the other side, have a box of one pixel
        placed = {text: box for text, box in placed.items() if box.width > 1}
        for text, box in placed.items():
            edges = box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1
            assert min(edges) >= -1, (text, edges)
        for (one, first), (other, second) in itertools.combinations(placed.items(), 2):
            assert not first.overlaps(second), (one, other)


def test_what_cannot_be_drawn_is_refused(tmp_path):
    bare = write_raster(tmp_path / "bare.tif", np.ones((5, 5)), colormap=None)
    with pytest.raises(Alos2TutError, match="neither a colour table nor a scale"):
        preview(bare)
    with pytest.raises(Alos2TutError, match="there is no such map"):
        preview(tmp_path / "nothing.tif")
    for wrong in (0, 1.5, True):
        with pytest.raises(Alos2TutError, match="max_px"):
            preview(bare, max_px=wrong)


# --- a map beside what it was made from


@pytest.fixture(scope="module")
def mapped_scene(small_scene, tmp_path_factory):
    """A simulated product, labels, and a map of it that is wrong in its upper third, with confidence."""
    folder = tmp_path_factory.mktemp("mapped")
    product, legend = open_product(small_scene), load_legend("japan_14")
    labels = label_files(small_scene / "labels")
    told = label_classes(product, labels, legend, 2)
    classes = np.where(np.indices(told.shape)[0] < 85, (told + 1) % len(legend), told)
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
    assert view.confidence.dtype == np.float32 and view.polarization == "HH" and view.pixels == (2, 2)
    assert map_figures.layers(view) == ("σ⁰", "labels", "map", "confidence")
    hidden = view.mapped_labels
    assert (hidden[100:110, 200:230] == 255).all() and (hidden[:100] == view.labels[:100]).all()


def test_a_view_may_lack_confidence_and_labels(tmp_path, mapped_scene):
    path, product, _, legend = mapped_scene
    (tmp_path / "map.tif").write_bytes(path.read_bytes())
    elsewhere = write_geotiff(tmp_path / "elsewhere.tif", np.ones((9, 9)), MIDDLE * Affine.translation(1e5, 0))
    for labels in ((), elsewhere):
        view = MapView.open(tmp_path / "map.tif", product.path, labels, legend)
        assert view.confidence is None and view.labels is None and map_figures.layers(view) == ("σ⁰", "map")
    assert len(map_figures.map_and_labels(view).axes) == len(map_figures.zooms(view, {"here": (0, 0, 9, 9)}).axes) == 2
    with pytest.raises(Alos2TutError, match="the view has no confidence"):
        map_figures.confidence(view, [])
    assert view.mapped_labels is view.classes


def test_backscatter_lies_where_the_map_says(view, mapped_scene):
    product = mapped_scene[1]
    db, extent = view.backscatter_db((40, 60, 30, 50), 900)
    np.testing.assert_array_equal(db, product.read_db((80, 120, 60, 100), looks=2))
    assert extent == (60, 110, 70, 40)
    # 3 × 3 pixels of the map make one of the picture, counted from the product's corner
    db, extent = view.backscatter_db((40, 60, 30, 50), 17)
    np.testing.assert_array_equal(db, product.read_db((78, 120, 66, 102), looks=6))
    assert extent == (60, 111, 72, 39)
    # the last blocks are cut by the edge
    db, extent = view.backscatter_db(view.whole, 46)
    assert db.shape == (37, 46) and extent == (0, 46 * 7, 37 * 7, 0)


def test_maps_of_pixels_that_cut_those_of_the_product(tmp_path, mapped_scene):
    _, product, labels, legend = mapped_scene
    shape = (math.ceil(512 / 2.5), math.ceil(640 / 2.5))
    path = write_raster(
        tmp_path / "map.tif", np.ones(shape), transform=product.transform * Affine.scale(2.5), legend=legend
    )
    view = MapView.open(path, product, labels, legend)
    assert view.pixels == pytest.approx((2.5, 2.5))
    db, (left, right, bottom, top) = view.backscatter_db((10, 20, 40, 40), 900)
    assert left <= 20 and right >= 60 and top <= 10 and bottom >= 50
    np.testing.assert_array_equal(db, product.read_db((24, 50, 102, 100), looks=2))
    assert (left, right, bottom, top) == pytest.approx((20, 60, 126 / 2.5, 24 / 2.5))


def test_what_does_not_belong_together_is_refused(tmp_path, mapped_scene):
    path, product, labels, legend = mapped_scene
    shape = (256, 320)
    with pytest.raises(Alos2TutError, match="its classes are"):
        MapView.open(path, product, labels, load_legend("japan_9"))
    fitting = product.transform * Affine.scale(2)
    for transform, size in (
        (fitting * Affine.translation(1, 0), shape),
        (fitting, (255, 320)),
        (fitting * Affine.rotation(1), shape),
    ):
        other = write_raster(tmp_path / "other.tif", np.ones(size), transform=transform, legend=legend)
        with pytest.raises(Alos2TutError, match="does not lie on the grid of the product"):
            MapView.open(other, product, labels, legend)
    (tmp_path / "map.tif").write_bytes(path.read_bytes())
    own = {"transform": fitting, "legend": legend}
    for size, made_from in ((shape, '{"overlap_px": 5}'), ((256, 319), '{"overlap_px": 4}')):
        write_share(tmp_path / "map_probability.tif", np.ones(size), tags={"MADE_FROM": made_from}, **own)
        with pytest.raises(Alos2TutError, match=r"map_probability\.tif: belongs to another map"):
            MapView.open(tmp_path / "map.tif", product, labels, legend)


@pytest.mark.parametrize("window", [(0, 0, 257, 10), (0, -1, 10, 10), (5, 5, 0, 10), (250, 0, 7, 1)])
def test_windows_outside_are_refused(view, window):
    for draw in (
        lambda: map_figures.map_and_labels(view, window),
        lambda: map_figures.zooms(view, {"here": window}),
        lambda: map_figures.swipe(view, "map", "labels", 0.5, window),
    ):
        with pytest.raises(Alos2TutError, match="does not lie in the map"):
            draw()


def test_map_and_labels_of_a_window(view):
    window = (80, 40, 60, 90)
    figure = map_figures.map_and_labels(view, window, outlined=[(90, 50, 16, 16)])
    figure.canvas.draw()
    assert [ax.get_title().split(",")[0] for ax in figure.axes] == ["σ⁰", "labels", "map"]
    assert "dB" in figure.axes[0].get_title()
    for ax, layer in zip(figure.axes[1:], (view.labels, view.classes), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), np.minimum(layer[80:140, 40:130], 14))
        assert (ax.get_xlim(), ax.get_ylim()) == ((40, 130), (140, 80))
        assert (50, 90, 16, 16) in {(*p.get_xy(), p.get_width(), p.get_height()) for p in ax.patches}
    there = np.unique([view.labels[80:140, 40:130], view.classes[80:140, 40:130]])
    names = [view.legend.names[i] for i in there if i != 255]
    assert legend_texts(figure) == [*names, *(["no data or label"] if 255 in there else []), "test patch"]
    assert bar_px(figure.axes[0])[1] == "100 m"


def test_large_maps_are_drawn_by_some_of_their_pixels(view, monkeypatch):
    monkeypatch.setattr(map_figures, "_PANEL_PX", 100)
    figure = map_figures.map_and_labels(view)
    step, image = 4, figure.axes[2].images[0]
    np.testing.assert_array_equal(image.get_array(), np.minimum(view.classes[2::step, 2::step], 14))
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
    assert {"no data or label", "test patch"} <= set(legend_texts(figure))
    with pytest.raises(Alos2TutError, match="no place"):
        map_figures.zooms(view, {})


def test_a_swipe_shows_one_layer_on_either_side(view):
    figure = map_figures.swipe(view, "labels", "map", 0.25, (100, 200, 40, 80))
    ax = figure.axes[0]
    figure.canvas.draw()
    to_map = ax.transData.inverted()
    edges = [to_map.transform(image.clipbox.get_points())[:, 0] for image in ax.images]
    assert edges == [pytest.approx((200, 220)), pytest.approx((220, 280))]
    assert all(line.get_xdata() == [220, 220] for line in ax.lines)
    assert (ax.get_title("left"), ax.get_title("right")) == ("◂ labels", "map ▸")
    shown = np.unique(np.concatenate([view.labels[100:140, 200:220].ravel(), view.classes[100:140, 220:280].ravel()]))
    names = [view.legend.names[i] for i in shown if i != 255]
    assert [text for text in legend_texts(figure) if "no data" not in text] == names


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


def test_the_swipe_of_a_live_notebook(view, monkeypatch):
    assert widgets.swipe(view, {"coast": (0, 0, 20, 20)}) is None
    shown = []
    monkeypatch.setattr(widgets, "is_interactive", lambda: True)
    monkeypatch.setattr(map_figures, "swipe", lambda *told: shown.append(told[1:]))
    controls = widgets.swipe(view, {"coast": (0, 0, 20, 20)})
    for place in ("whole map", "coast"):
        controls.f(left="labels", right="map", position=0.3, place=place)
    assert shown[-2:] == [("labels", "map", 0.3, None), ("labels", "map", 0.3, (0, 0, 20, 20))]
    left, right, position, place = controls.children[:4]
    assert left.options == right.options == ("σ⁰", "labels", "map", "confidence") and position.value == 0.5
    assert place.options == ("whole map", "coast")


# --- how sure


def tiny_view(mapped_scene, classes, labels, confidence):
    _, product, _, legend = mapped_scene
    arrays = [np.asarray(part, dtype) for part, dtype in ((classes, np.uint8), (confidence, np.float32))]
    labels = None if labels is None else np.asarray(labels, np.uint8)
    grid = MapGrid(product.crs, product.transform * Affine.scale(2))
    return MapView(product, legend, arrays[0], arrays[1], labels, grid, "HH")


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
    # as probabilities come from their file
    sure = np.arange(0, 251, dtype=np.float32)[None] * np.float32(1 / 250)
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
    labels = [line.get_label() for line in (tested, other, diagonal)]
    assert labels == ["test patches", "other ground, mostly training", "as sure as right"]
    differs = figure.axes[1].images[0].get_array()
    vermilion = matplotlib.colors.to_rgba("#D55E00")
    assert (differs[:, 20:] == vermilion).all() and differs[0, 0, 3] == 0 and (differs[1:, :20] == differs[5, 5]).all()
    assert {"agree", "differ", "no data or label", "test patch"} <= set(legend_texts(figure))
    assert figure.axes[2].get_xlabel() and figure.axes[2].get_ylabel()


def test_confidence_without_test_patches_or_labels(mapped_scene):
    view = tiny_view(mapped_scene, np.zeros((20, 30)), np.zeros((20, 30)), np.full((20, 30), 0.5))
    assert map_figures.confidence(view, []).axes[2].lines[0].get_label() == "all ground"
    with pytest.raises(Alos2TutError, match="the view has no labels"):
        map_figures.confidence(tiny_view(mapped_scene, np.zeros((9, 9)), None, np.ones((9, 9))), [])


# --- where to look


def overlap(one, other):
    (r, c, h, w), (r2, c2, h2, w2) = one, other
    return max(0, min(r + h, r2 + h2) - max(r, r2)) * max(0, min(c + w, c2 + w2) - max(c, c2))


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
    # of a map that is held in another order, or mirrored, the same is found
    mirrored = places(np.asfortranarray(labels[:, ::-1]), legend, 80)
    assert list(mirrored) == list(found)


def test_places_have_data():
    # half of a window is town at most, whether its other half has labels or not
    labels = np.full((200, 300), 8, np.uint8)
    labels[:, 80:120], labels[:, :80] = 1, 255
    assert places(labels, load_legend("japan_14"), 80)["town"][1] >= 72


def test_places_on_other_ground():
    legend, labels = load_legend("japan_14"), countryside()
    labels[labels == 1] = 8
    found = places(labels, legend, 80)
    # without a town there is room for forest or sea: forest has more ground
    assert list(found) == ["coast", "plain", legend.names[8]]
    assert places(np.full((400, 600), 255, np.uint8), legend, 80) == {}
    assert places(np.zeros((50, 60), np.uint8), legend, 400) == {"open water": (0, 0, 50, 50)}
    water = places(np.where(countryside() == 0, 0, np.where(countryside() == 255, 255, 1)).astype(np.uint8),
                   load_legend("water_land"), 80)  # fmt: skip
    assert list(water) == ["coast", "land", "open water"]
    negated = places(np.ones((50, 60), np.uint8), load_legend("japan_water"), 20)
    assert next(iter(negated)) == "not water" and "open water" not in negated


@pytest.mark.parametrize("side", [1, 7, 20, 61, 100, 129, 150, 399, 5000])
def test_places_lie_inside_and_apart_and_have_data(side):
    labels = countryside()
    labels[np.random.default_rng(0).random(labels.shape) < 0.03] = 255
    found = places(labels, load_legend("japan_14"), side)
    size = min(side, 400)
    for row, col, height, width in found.values():
        assert (height, width) == (size, size) and 0 <= row <= 400 - size and 0 <= col <= 600 - size
        # windows are judged by some thousand of their pixels
        assert np.mean(labels[row : row + size, col : col + size] != 255) >= 0.85 or size < 10
    for one, other in itertools.combinations(found.values(), 2):
        assert overlap(one, other) <= 0.25 * size**2
    assert found


def test_places_need_an_image_and_a_side():
    for labels, side in (
        (countryside(), 0),
        (countryside(), 2.5),
        (countryside()[0], 8),
        (np.zeros((0, 5), np.uint8), 8),
    ):
        with pytest.raises(Alos2TutError, match="places"):
            places(labels, LEGEND, side)


def test_a_product_in_degrees_is_drawn_to_scale(tmp_path):
    place = Affine(1e-4, 0, 139, 0, -1e-4, 60)
    product = write_geotiff(tmp_path / TIFF_NAME, np.full((80, 120), 4000), place, "EPSG:4326")
    path = write_raster(tmp_path / "map.tif", np.ones((40, 60)), crs="EPSG:4326", transform=place * Affine.scale(2))
    labels = write_geotiff(tmp_path / "labels.tif", np.full((80, 120), 2), place, "EPSG:4326")
    figure = map_figures.map_and_labels(MapView.open(path, product, labels, LEGEND))
    figure.canvas.draw()
    lat_m, lon_m = metres_per_degree(60)
    for ax in figure.axes:
        box = ax.get_window_extent()
        assert box.width / box.height == pytest.approx(60 * lon_m / (40 * lat_m), rel=0.01)
