"""A map alone is drawn to scale and the right way up, and says what its file says."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject
from support import figures
from support.figures import legend_texts, texts
from support.map_files import LEGEND, MIDDLE, arrow_deg, bar_px, write_raster, write_share
from support.products import write_geotiff

from alos2tut import Alos2TutError, load_legend
from alos2tut.dataset.legend import LandClass, Legend
from alos2tut.geometry import metres_per_degree
from alos2tut.mapping.agreement import map_agreement
from alos2tut.mapping.files import orientation
from alos2tut.mapping.preview import preview, round_length_m
from alos2tut.products.metadata import MapGrid
from alos2tut.products.rasters import LONLAT

Affine = rasterio.Affine
UTM54 = rasterio.CRS.from_epsg(32654)

drawn_without_warning = pytest.fixture(autouse=True)(figures.drawn_without_warning)


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


def test_orientation_in_other_systems_and_in_none():
    lat_m, lon_m = metres_per_degree(60)
    lies = orientation(MapGrid(LONLAT, Affine(0.001, 0, 10, 0, -0.002, 60)), 0, 0)
    assert lies.north_deg == pytest.approx(0, abs=1e-6)
    assert lies.spacing_m == pytest.approx((0.002 * lat_m, 0.001 * lon_m), rel=1e-4)
    # Web Mercator's metres are shorter on the ground
    mercator = rasterio.CRS.from_epsg(3857)
    x, y = reproject(LONLAT, mercator, [10.0], [60.0])
    lies = orientation(MapGrid(mercator, Affine(10, 0, x[0], 0, -10, y[0])), 0, 0)
    assert lies.spacing_m == pytest.approx((5.0, 5.0), rel=0.01)
    # across the antimeridian
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


@pytest.mark.parametrize(
    ("crs", "transform", "north_deg"),
    [("EPSG:32654", turned(30), -30), ("EPSG:4326", Affine(1e-3, 0, 139, 0, -1e-3, 50), 0)],
)
def test_a_preview_is_to_scale_and_shows_north(tmp_path, crs, transform, north_deg):
    shape = (200, 300)
    path = write_raster(tmp_path / "map.tif", np.ones(shape), crs=crs, transform=transform)
    figure = preview(path)
    figure.draw_without_rendering()
    ax = figure.axes[0]
    assert arrow_deg(ax) == pytest.approx(north_deg, abs=0.05)
    xs, ys = transform * (np.array([0, 300, 150, 150]), np.array([100, 100, 0, 200]))
    lon, lat = (np.array(c) for c in reproject(crs, LONLAT, xs, ys))
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
    parts = ("© JAXA", "network trained on simulated data", "EPSG:32654", "pixels of 5 m")
    assert all(text in " ".join(texts(figure)) for text in ("Land-cover class\nIMG-HH-made-up, 2020-01-02", *parts))
    drawn = figure.axes[0].images[0].get_array()
    assert drawn[0, 0].tolist() == [80, 22, 200, 255] and drawn[25, 0, 3] == 0
    assert drawn[40, 0].tolist()[:3] == [0, 20, 200]
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
