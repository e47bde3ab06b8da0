"""Labels on grids: every pixel the label pixel in which its centre lies, whatever the two coordinate systems."""

import math
import os
import tracemalloc
import warnings
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from rasterio.windows import Window
from support.archives import write_zip
from support.label_rasters import GRID, UTM54, random_codes, raster_around, stated
from support.packagings import DEGREES, write_forest, write_mosaic
from support.products import ARCHIVES, archived, write_geotiff
from support.properties import examples

from alos2tut import Alos2TutError, load_legend, open_product
from alos2tut.core.errors import Alos2TutWarning
from alos2tut.dataset import labels
from alos2tut.dataset.labels import (
    LabelMap,
    label_classes,
    label_files,
    label_fingerprint,
    label_pixels,
    warn_of_lost_labels,
)
from alos2tut.dataset.legend import IGNORE, LandClass, Legend

LONLAT = CRS.from_epsg(4326)
LAMBERT = CRS.from_proj4("+proj=lcc +lat_1=34 +lat_2=40 +lat_0=36 +lon_0=137.5 +ellps=GRS80 +units=m")
#: degrees of a label pixel of Japan's map
STEP_DEG = 1 / 12000
#: each code is the class of its number
ANY_CODE = Legend("all", "", tuple(LandClass(str(code), (0, 0, 0), (code,)) for code in range(200)), ())


def centres(transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x and y of all pixels' centres, in the grid's system."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    return transform * (cols.ravel(), rows.ravel())


def places(path: Path, crs: CRS, transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns in a raster of all pixels' centres."""
    with rasterio.open(path) as raster:
        x, y = centres(transform, shape)
        if raster.crs != crs:
            x, y = (np.array(values) for values in reproject_points(crs, raster.crs, x, y))
        if raster.crs.is_geographic:
            # by the turn that puts it in the raster, if one does
            inside = [(x + turn >= raster.bounds.left) & (x + turn < raster.bounds.right) for turn in (-360, 0, 360)]
            x = np.select(inside, [x - 360, x, x + 360], x)
        cols, rows = ~raster.transform * (x, y)
    return rows.reshape(shape), cols.reshape(shape)


def nearest_codes(paths: list[Path], crs: CRS, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """What is right: each pixel by its own coordinates, raster by raster."""
    found, missing = np.full(shape, -1), np.ones(shape, dtype=bool)
    for path in paths:
        rows, cols = (np.floor(values) for values in places(path, crs, transform, shape))
        with rasterio.open(path) as raster:
            codes = raster.read(1)
        use = missing & (rows >= 0) & (rows < codes.shape[0]) & (cols >= 0) & (cols < codes.shape[1])
        found[use] = codes[rows[use].astype(int), cols[use].astype(int)]
        missing &= ~use
    return found


def warped(paths: list[Path], crs: CRS, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """What is found: codes, which are classes of their numbers, and −1 without any."""
    with LabelMap(paths, ANY_CODE) as label_map:
        classes = label_map.classes_on(crs, transform, shape)
    assert classes.dtype == np.uint8
    return np.where(classes == IGNORE, -1, classes.astype(int))


def check_exact(paths: list[Path], crs: CRS, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """What is found must be what is right, which is returned."""
    expected = nearest_codes(paths, crs, transform, shape)
    np.testing.assert_array_equal(warped(paths, crs, transform, shape), expected)
    return expected


# --- the nearest label, exactly


def test_labels_of_japans_tiles_are_exact_across_a_seam_and_a_zone_border(tmp_path):
    shape = (300, 1100)
    # the zone begins at 138° E, where two columns of tiles meet; two rows of them meet at 36° N
    [x], [y] = reproject_points(LONLAT, UTM54, [138], [36])
    transform = Affine(5, 0, x - 2501.7, 0, -5, y + 711.3)
    corners = [(138, 36), (137.9, 36), (137.9, 36.05), (138, 36.05)]
    tiles = [
        write_geotiff(
            tmp_path / f"{i}.tif",
            random_codes((600, 1200), i),
            Affine(STEP_DEG, 0, west, 0, -STEP_DEG, north),
            "EPSG:4326",
            dtype="uint8",
        )
        for i, (west, north) in enumerate(corners)
    ]
    expected = check_exact(tiles, UTM54, transform, shape)
    assert (expected >= 0).all()


@examples(40)
@given(
    zone=st.sampled_from([1, 31, 53, 54, 60]),
    off_deg=st.sampled_from([0.0, 3.0, -3.0]) | st.floats(-12, 12),
    latitude=st.sampled_from([0.0, 36.0, 83.9]) | st.floats(-70, 84),
    spacing=st.sampled_from([2.5, 5.0, 25.0, 100.0]),
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    grid_turn_deg=st.sampled_from([0.0, 12.0]),
    target=st.sampled_from([LONLAT, CRS.from_epsg(3857), CRS.from_epsg(32654), CRS.from_epsg(6668), LAMBERT]),
    coarser=st.sampled_from([0.4, 1.0, 1.7, 12.0]),
    turn_deg=st.sampled_from([0.0, 180.0]) | st.floats(0, 360),
    shear_deg=st.sampled_from([0.0, 5.0]),
    flip=st.sampled_from([-1, 1]),
    offsets=st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), min_size=1, max_size=3),
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int16"]),
)
def test_labels_are_those_of_every_pixels_own_coordinates(
    tmp_path,
    zone,
    off_deg,
    latitude,
    spacing,
    shape,
    grid_turn_deg,
    target,
    coarser,
    turn_deg,
    shear_deg,
    flip,
    offsets,
    dtype,
):
    crs = CRS.from_epsg(32600 + zone)
    [x], [y] = reproject_points(LONLAT, crs, [6 * zone - 183 + off_deg], [latitude])
    turned = Affine.translation(x, y) * Affine.rotation(grid_turn_deg) * Affine.scale(spacing, -spacing)
    transform = turned * Affine.translation(-shape[1] / 2, -shape[0] / 2)
    pixel = spacing * coarser / (111_320 if target.is_geographic else 1)
    shared = {"pixel": pixel, "turn_deg": turn_deg, "shear_deg": shear_deg, "flip": flip, "dtype": dtype}
    paths = [
        raster_around(tmp_path / f"{i}.tif", crs, transform, shape, target, offset=offset, **shared)
        for i, offset in enumerate(offsets)
    ]
    check_exact(paths, crs, transform, shape)


@pytest.mark.parametrize("spacing_m", [500, 1000, 2000, 4000])
def test_labels_on_grids_so_wide_that_the_earth_curves_are_exact(tmp_path, spacing_m):
    shape, transform = (250, 300), Affine(spacing_m, 0, 100_000, 0, -spacing_m, 7_000_000)
    options = {"pixel": spacing_m / 80_000, "turn_deg": 20, "size": (700, 700)}
    path = raster_around(tmp_path / "l.tif", UTM54, transform, shape, LONLAT, **options)
    check_exact([path], UTM54, transform, shape)


@pytest.mark.parametrize("shift_px", [0.0, 1e-12, -1e-12, 1e-7, -1e-7, 1e-5])
def test_centres_on_the_edges_of_label_pixels_belong_to_the_one_that_begins_there(tmp_path, shift_px):
    # label pixels of 10 m begin at every second centre
    placed = GRID * Affine.translation(0.5, 0.5) * Affine.scale(2) * Affine.translation(shift_px, shift_px)
    path = write_geotiff(tmp_path / "l.tif", random_codes((200, 200)), placed, dtype="uint8")
    shape = (300, 300)
    check_exact([path], UTM54, GRID, shape)


#: the grid of a mosaic in degrees after two looks, and one in metres that no binary number tells exactly
BORDERED = {
    "degrees": (LONLAT, Affine(2 / 4500, 0, 138 + 1 / 9000, 0, -2 / 4500, 36 - 1 / 9000)),
    "metres": (UTM54, Affine(5.1, 0, 352_000.3, 0, -5.1, 3_990_000.7)),
    "turned": (UTM54, Affine.translation(352_000.3, 3_990_000.7) * Affine.rotation(11) * Affine.scale(5.1, -5.1)),
}


@examples(40)
@given(
    system=st.sampled_from([*BORDERED]),
    other_datum=st.booleans(),
    grid_px_per_label_px=st.sampled_from([1, 2, 3]),
    start=st.tuples(st.integers(0, 299), st.integers(0, 419)),
    size=st.tuples(st.integers(1, 300), st.integers(1, 420)),
)
def test_labels_on_windows_are_those_of_the_whole_where_centres_lie_on_borders(
    tmp_path, system, other_datum, grid_px_per_label_px, start, size
):
    (crs, transform), shape = BORDERED[system], (300, 420)
    placed = transform * Affine.translation(0.5, 0.5) * Affine.scale(grid_px_per_label_px)
    # JGD2011 lies where WGS 84 does, but is another system: it goes through PROJ
    target = {LONLAT: CRS.from_epsg(6668), UTM54: CRS.from_epsg(6690)}[crs] if other_datum else crs
    path = write_geotiff(tmp_path / "l.tif", random_codes((310, 430)), placed, target, dtype="uint8")
    rows, cols = (slice(first, min(first + n, most)) for first, n, most in zip(start, size, shape, strict=True))
    part = (rows.stop - rows.start, cols.stop - cols.start)
    expected = nearest_codes([path], crs, transform, shape)
    with LabelMap([path], ANY_CODE) as label_map:
        whole = label_map.classes_on(crs, transform, shape)
        np.testing.assert_array_equal(whole, np.where(expected < 0, IGNORE, expected))
        classes = label_map.classes_on(crs, transform, part, offset=(rows.start, cols.start))
        np.testing.assert_array_equal(classes, whole[rows, cols])
        points = transform * (np.arange(cols.start, cols.stop) + 0.5, np.full(part[1], rows.start + 0.5))
        np.testing.assert_array_equal(label_map.codes_at(crs, *points), expected[rows.start, cols])


def test_labels_across_the_antimeridian_are_exact(tmp_path):
    crs, shape = CRS.from_epsg(32660), (300, 300)
    [x], [y] = reproject_points(LONLAT, crs, [180], [-17])
    transform = Affine(5, 0, x - 700, 0, -5, y + 700)
    west = Affine(STEP_DEG, 0, 180 - 300 * STEP_DEG, 0, -STEP_DEG, -16.98)
    east = Affine(STEP_DEG, 0, -180, 0, -STEP_DEG, -16.98)
    paths = [
        write_geotiff(tmp_path / f"{i}.tif", random_codes((500, 300), i), placed, "EPSG:4326", dtype="uint8")
        for i, placed in enumerate([west, east])
    ]
    expected = check_exact(paths, crs, transform, shape)
    assert (expected >= 0).all()


@pytest.mark.parametrize("west", [179.975, -180.025, 0, -180], ids=str)
@pytest.mark.parametrize("product_crs", [CRS.from_epsg(32660), LONLAT])
@pytest.mark.parametrize("turn", [0, -360])
def test_longitudes_may_be_counted_from_anywhere(tmp_path, west, product_crs, turn):
    shape, middle = (300, 300), 180.0025 if product_crs == LONLAT else 180
    x, y = (values[0] for values in reproject_points(LONLAT, product_crs, [middle], [-17]))
    pixel = STEP_DEG * 0.7 if product_crs == LONLAT else 6
    x += turn if product_crs == LONLAT else 0
    transform = Affine.translation(x, y) * Affine.scale(pixel, -pixel) * Affine.translation(-150, -150)
    width, step = (600, STEP_DEG) if west % 180 else (3600, 0.1)
    placed = Affine(step, 0, west, 0, -step, -17 + step * 250)
    path = write_geotiff(tmp_path / "l.tif", random_codes((500, width)), placed, "EPSG:4326", dtype="uint8")
    expected = check_exact([path], product_crs, transform, shape)
    assert (expected >= 0).all()
    with LabelMap([path], ANY_CODE) as label_map:
        assert label_map.touching(product_crs, transform, shape) == (str(path),)
        np.testing.assert_array_equal(label_map.codes_at(product_crs, *centres(transform, shape)), expected.ravel())


@pytest.mark.parametrize("beyond_m", [-1e-4, 0, 1e-9, 1e-4])
def test_centres_on_the_antimeridian_lie_where_proj_says(tmp_path, beyond_m):
    crs, shape = CRS.from_epsg(32660), (493, 227)
    [x], [y] = reproject_points(LONLAT, crs, [180], [0])
    transform = Affine.translation(x + beyond_m, y) * Affine.scale(5, -5) * Affine.translation(-113.5, -246.5)
    # a raster that reaches further than longitudes do
    placed = Affine(STEP_DEG, 0, 180 - 150 * STEP_DEG, 0, -STEP_DEG, 150 * STEP_DEG)
    path = write_geotiff(tmp_path / "l.tif", random_codes((300, 300)), placed, "EPSG:4326", dtype="uint8")
    check_exact([path], crs, transform, shape)


@pytest.mark.parametrize("most_px", [1, 50, 5000])
def test_labels_much_finer_than_the_grid_are_read_in_parts(tmp_path, monkeypatch, most_px):
    transform, shape = Affine(200, 0, 352_000, 0, -200, 3_990_000), (40, 50)
    path = raster_around(
        tmp_path / "l.tif", UTM54, transform, shape, LONLAT, pixel=STEP_DEG, turn_deg=20, size=(900, 1000)
    )
    monkeypatch.setattr(labels, "_WINDOW_PX", most_px)
    expected = check_exact([path], UTM54, transform, shape)
    with LabelMap([path], ANY_CODE) as label_map:
        np.testing.assert_array_equal(label_map.codes_at(UTM54, *centres(transform, shape)), expected.ravel())


def test_where_the_polynomials_are_no_good_pixels_are_looked_up_one_by_one(tmp_path, monkeypatch):
    shape = (120, 130)
    path = raster_around(tmp_path / "l.tif", UTM54, GRID, shape, LONLAT, pixel=STEP_DEG)
    monkeypatch.setattr(labels, "_TIGHT", 0.0)
    check_exact([path], UTM54, GRID, shape)


def test_ground_without_a_place_has_no_label(tmp_path):
    # this projection of the far side of the earth knows no place for three quarters of the grid
    globe = CRS.from_proj4("+proj=ortho +lat_0=36 +lon_0=139 +ellps=WGS84")
    shape, transform = (60, 80), Affine(4.5, 0, -180, 0, -3, 90)
    path = write_geotiff(
        tmp_path / "l.tif", 1 + random_codes((130, 130)), Affine(1e5, 0, -6.5e6, 0, -1e5, 6.5e6), globe, dtype="uint8"
    )
    found = warped([path], LONLAT, transform, shape)
    longitude, latitude = (np.radians(values.reshape(shape)) for values in centres(transform, shape))
    height = np.sin(latitude) * math.sin(math.radians(36))
    height += np.cos(latitude) * math.cos(math.radians(36)) * np.cos(longitude - math.radians(139))
    # at the limb, and where the earth is no sphere, it may be either
    assert (found[height > 0.05] > 0).all() and (found[height < -0.05] == -1).all()


def test_a_point_without_a_place_leaves_the_others_theirs(tmp_path):
    path = raster_around(tmp_path / "l.tif", UTM54, GRID, (50, 50), LONLAT, pixel=STEP_DEG)
    expected = nearest_codes([path], UTM54, GRID, (1, 2)).ravel().tolist()
    (left, right), (top, _) = centres(GRID, (1, 2))
    x, y = [1e12, left, np.inf, right, 1e12, np.nan], [top, top, top, top, 1e12, top]
    with LabelMap([path], ANY_CODE) as label_map:
        assert label_map.codes_at(UTM54, x, y).tolist() == [-1, expected[0], -1, expected[1], -1, -1]
        assert label_map.codes_at(UTM54, [], []).shape == (0,)


# --- how it is done


def test_few_pixels_are_reprojected(tmp_path, monkeypatch):
    shape, asked = (512, 2048), []
    path = raster_around(tmp_path / "l.tif", UTM54, GRID, shape, LONLAT, pixel=STEP_DEG, size=(600, 2000))
    once = labels.reprojected
    monkeypatch.setattr(labels, "reprojected", lambda points, *given: asked.append(len(points)) or once(points, *given))
    assert (warped([path], UTM54, GRID, shape) >= 0).all()
    assert 0 < sum(asked) < 2e-3 * math.prod(shape)


def test_files_are_opened_once_for_their_header_and_once_for_their_pixels(tmp_path, monkeypatch):
    around = {"pixel": STEP_DEG, "size": (90, 90)}
    paths = [raster_around(tmp_path / n, UTM54, GRID, (90, 80), LONLAT, **around) for n in ("0.tif", "1.tif")]
    opened, once = [], labels.open_raster
    monkeypatch.setattr(labels, "open_raster", lambda path, *given: opened.append(str(path)) or once(path, *given))
    with LabelMap(paths, ANY_CODE) as label_map:
        for first in (0, 30, 60):
            label_map.classes_on(UTM54, GRID, (30, 80), offset=(first, 0))
        assert len(opened) <= 4 and len(set(opened)) == 2


def test_the_classes_of_a_large_grid_take_little_more_than_their_own_memory(tmp_path):
    shape = (2048, 3000)
    path = raster_around(tmp_path / "l.tif", UTM54, GRID, shape, LONLAT, pixel=STEP_DEG, size=(1500, 2000))
    legend = Legend("all", "", (LandClass("any", (0, 0, 0), tuple(range(120))),), ())
    with LabelMap([path], legend) as label_map:
        label_map.classes_on(UTM54, GRID, (10, 10))
        tracemalloc.start()
        try:
            label_map.classes_on(UTM54, GRID, shape)
            assert tracemalloc.get_traced_memory()[1] < math.prod(shape) + 12e6
        finally:
            tracemalloc.stop()


def test_codes_that_a_legend_ignores_leave_the_next_raster_to_tell(tmp_path):
    rows = ([255, 0, 4, 255, 0], [255, 5, 5, 255, 255], [0, 6, 6, 6, 0])
    files = [
        write_geotiff(tmp_path / f"{i}.tif", np.array([row]), GRID, dtype="uint8", nodata=255)
        for i, row in enumerate(rows)
    ]
    with LabelMap(files, load_legend("japan_14")) as label_map:
        assert label_map.classes_on(UTM54, GRID, (1, 6)).tolist() == [[IGNORE, 4, 3, 5, IGNORE, IGNORE]]
        # of codes that tell nothing the first one is named
        x, y = GRID * (np.arange(6) + 0.5, np.full(6, 0.5))
        assert label_map.codes_at(UTM54, x, y).tolist() == [255, 5, 4, 6, 0, -1]


def test_negative_codes_are_no_label(tmp_path):
    first = write_geotiff(tmp_path / "a.tif", np.array([[-1, -9, 1]]), GRID, dtype="int16")
    second = write_geotiff(tmp_path / "b.tif", np.array([[2, 2, 2, 2]]), GRID, dtype="int8")
    assert row_of([first], 4)[0] == [IGNORE, IGNORE, 0, IGNORE]
    assert row_of([first, second])[0] == [1, 1, 0, 1, IGNORE]


#: what says no data in a row of five codes, and where it does
STATEMENTS = {
    "a tag": ({"nodata": 3}, [2]),
    "an internal mask": ({"mask": [1, 0, 1, 1, 0]}, [1, 4]),
    "a mask beside": ({"mask": [1, 0, 1, 1, 0], "beside": True}, [1, 4]),
    "a mask of the first band": ({"mask": [1, 0, 1, 1, 0], "beside": True, "flags": "0"}, [1, 4]),
    "a mask and a tag": ({"mask": [1, 0, 1, 1, 0], "nodata": 3}, [1, 2, 4]),
    "an alpha band": ({"alpha": [255, 0, 1, 255, 0]}, [1, 4]),
    "an alpha band and a tag": ({"alpha": [255, 0, 1, 255, 0], "nodata": 3}, [1, 2, 4]),
}


def row_of(paths: list[Path], count: int = 5) -> tuple[list[int], list[int]]:
    """Classes and codes of the first pixels of the grid."""
    with LabelMap(paths, load_legend("japan_9")) as label_map:
        x, y = GRID * (np.arange(count) + 0.5, np.full(count, 0.5))
        return label_map.classes_on(UTM54, GRID, (1, count))[0].tolist(), label_map.codes_at(UTM54, x, y).tolist()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_what_any_statement_calls_no_data_is_no_label(tmp_path, statement, dtype):
    options, hidden = STATEMENTS[statement]
    path = stated(tmp_path / "l.tif", [1, 2, 3, 4, 5], dtype=dtype, **options)
    expected = np.array([[0, 1, 2, 2, 3], [1, 2, 3, 4, 5]])
    expected[:, hidden] = [[IGNORE], [-1]]
    assert list(row_of([path])) == expected.tolist()
    own = label_pixels(str(path), Window(1, 0, 4, 1), load_legend("japan_9"))
    assert own.tolist() == [expected[0, 1:].tolist()]
    # the next raster may know more; what is hidden need not be a code of the legend
    below = stated(tmp_path / "m.tif", [6, 6, 6, 6, 6])
    assert row_of([path, below])[0] == np.where(expected[0] == IGNORE, 4, expected[0]).tolist()
    odd = stated(tmp_path / "odd.tif", np.where(expected[0] == IGNORE, 77, 1), dtype=dtype, **options | {"nodata": 77})
    assert row_of([odd])[0] == np.where(expected[0] == IGNORE, IGNORE, 0).tolist()
    message = rf"l\.tif: its .*legend 'japan_9'.*: {len(hidden)} pixels \({20 * len(hidden)} %\)"
    with pytest.warns(Alos2TutWarning, match=message):
        warn_of_lost_labels([str(path)], load_legend("japan_9"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_lost_labels([str(odd), str(below)], load_legend("japan_9"))


@pytest.mark.parametrize(
    ("dtype", "hole", "no_data"),
    # the last tag lies outside of the codes' type
    [("uint8", 2, 2), ("float32", np.nan, None), ("float64", np.nan, np.nan), ("float32", -9999.0, -9999.0),
     ("int32", -(2**31), -(2**31))],
)  # fmt: skip
def test_whole_numbers_of_any_type_are_codes_and_nan_is_none(tmp_path, monkeypatch, dtype, hole, no_data):
    path = stated(tmp_path / "l.tif", [1, hole, 3, 4, 5], dtype=dtype, nodata=no_data)
    for most_px in (2**22, 1):
        monkeypatch.setattr(labels, "_WINDOW_PX", most_px)
        classes, codes = row_of([path])
        assert classes == [0, IGNORE, 2, 2, 3] and codes[1] < 0 and codes[:1] + codes[2:] == [1, 3, 4, 5]


@pytest.mark.parametrize("band_tag", [None, 1])
def test_tiles_keep_their_own_tags_in_a_folder_and_in_a_mosaic(tmp_path, band_tag):
    """GDAL reads a mosaic without the tags and masks of its tiles."""
    tiles = [
        stated(tmp_path / "0.tif", [1, 2], nodata=2),
        stated(tmp_path / "1.tif", [2, 3], nodata=3, col=2),
        stated(tmp_path / "2.tif", [3, 4], mask=[1, 0], col=4),
    ]
    assert row_of(tiles, 7)[0] == [0, IGNORE, 1, IGNORE, 2, IGNORE, IGNORE]
    place = '<{} xOff="{}" yOff="0" xSize="2" ySize="1"/>'
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{i}.tif</SourceFilename><SourceBand>1</SourceBand>'
        f"{place.format('SrcRect', 0)}{place.format('DstRect', 2 * i)}</SimpleSource>"
        for i in range(3)
    )
    tag = "" if band_tag is None else f"<NoDataValue>{band_tag}</NoDataValue>"
    (tmp_path / "all.vrt").write_text(
        f'<VRTDataset rasterXSize="7" rasterYSize="1"><SRS>EPSG:32654</SRS><GeoTransform>352000,5,0,3990000,0,-5'
        f'</GeoTransform><VRTRasterBand dataType="Byte" band="1">{tag}{sources}</VRTRasterBand></VRTDataset>'
    )
    first = 0 if band_tag is None else IGNORE
    assert row_of([tmp_path / "all.vrt"], 7)[0] == [first, IGNORE, 1, IGNORE, 2, IGNORE, IGNORE]
    with pytest.warns(Alos2TutWarning, match=r"all\.vrt: its .*mask band"):
        warn_of_lost_labels([str(tmp_path / "all.vrt")], load_legend("japan_9"))
    # a mosaic within a mosaic hides the same, and is another one when a tile's mask is
    text = (tmp_path / "all.vrt").read_text()
    whole = f"{place.format('SrcRect', 0)}{place.format('DstRect', 0)}".replace('xSize="2"', 'xSize="7"')
    outer = f'<SimpleSource><SourceFilename relativeToVRT="1">all.vrt</SourceFilename>{whole}</SimpleSource>'
    (tmp_path / "outer.vrt").write_text(text.replace(f"{tag}{sources}", outer))
    assert row_of([tmp_path / "outer.vrt"], 7)[0] == row_of([tmp_path / "all.vrt"], 7)[0]
    before = label_fingerprint(tmp_path / "outer.vrt")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / "0.tif", "r+") as raster:
        raster.write_mask(np.array([[0, 1]], bool))
    assert label_fingerprint(tmp_path / "outer.vrt") != before


def test_negative_codes_are_named_unless_a_tag_says_them(tmp_path, monkeypatch):
    path = stated(tmp_path / "n.tif", [1, -2, -3, 4, -3], dtype="int8", nodata=-2)
    with pytest.warns(Alos2TutWarning, match=r"n\.tif: it holds negative codes.*: 2 pixels \(40 %\), -3\."):
        warn_of_lost_labels([str(path)], load_legend("japan_9"))
    # of a large raster some rows are counted
    high = write_geotiff(tmp_path / "high.tif", np.full((64, 10), -7), GRID, dtype="int16")
    monkeypatch.setattr(labels, "_WINDOW_PX", 20)
    monkeypatch.setattr(labels, "_COUNTED_PX", 160)
    with pytest.warns(Alos2TutWarning, match=r"160 pixels \(1e\+02 %\), -7"):
        warn_of_lost_labels([str(high)], load_legend("japan_9"))


# --- which rasters


def test_a_folder_and_a_pattern_stand_for_their_rasters(tmp_path):
    names = ["LC_N35E139.tif", "LC_N35E138.tif", "other.tif", "notes.txt"]
    for name in [*names, "more/LC_N36E139.tif", "[1].tif"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inside = [str(tmp_path / name) for name in sorted(["[1].tif", *names[:3]])]
    assert label_files(tmp_path) == label_files([str(tmp_path)]) == tuple(inside)
    assert label_files(tmp_path / "LC_*.tif") == (str(tmp_path / names[1]), str(tmp_path / names[0]))
    assert label_files(tmp_path / "LC_N35E13[8].tif") == (str(tmp_path / names[1]),)
    for pattern in ("mor?", "**/*N36*"):
        assert label_files(tmp_path / pattern) == (str(tmp_path / "more/LC_N36E139.tif"),)
    # a file is what it is, not what its name would match
    assert label_files(tmp_path / "[1].tif") == (str(tmp_path / "[1].tif"),)


def test_rasters_by_relative_names_hold_in_another_working_directory(tmp_path, monkeypatch):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "l.tif").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("maps", "maps/l.tif", "ma*", "*/*.tif", Path("maps")):
        assert label_files(["b", name]) == (str(tmp_path / "b"), str(tmp_path / "maps" / "l.tif"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("empty", "folder holds no.*GeoTIFF"),
        ("x*.tif", "pattern"),
        ("a\0", "no path"),
        ("", "no path"),
        ("none.zip", "archive holds no label"),
        ("unsafe.zip", "outside"),
        ("a.*", "no label raster"),
        ("emp*", "no label"),
    ],
)
def test_what_stands_for_no_raster_is_refused(tmp_path, monkeypatch, path, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    write_zip(tmp_path / "none.zip", {"notes.txt": b"", "tile.xml": b""})
    write_zip(tmp_path / "unsafe.zip", {"..\\l.tif": b""})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Alos2TutError, match=message):
        label_files(path)


def test_jaxas_maps_are_labels_as_they_are_delivered(tmp_path):
    """The forest map is ENVI without ending, packed as tar.gz; the land-cover map a GeoTIFF in a zip."""
    tiles = tmp_path / "tiles"
    for folder in ("forest", "tiles/S16W150_15_FNF_F02DAR", "lc", "mixed"):
        (tmp_path / folder).mkdir(parents=True)
    plain = write_forest(tmp_path / "forest") / "S16W150_15_C_F02DAR"
    write_forest(tiles / "S16W150_15_FNF_F02DAR")
    write_forest(write_mosaic(tmp_path / "mixed", 15, envi=True))
    for name in ("S16W150_15_C_F02DAR.aux.xml", "S16W150_15_F02DAR.xml", "readme.txt", "BRS.jpg"):
        (tmp_path / "forest" / name).write_text("<PAMDataset/>")
    codes = np.arange(600).reshape(30, 20) % 5
    write_geotiff(tmp_path / "lc" / "LC_S16W150.TIF", codes, DEGREES, "EPSG:4326", dtype="uint8")
    windows = {f"lc\\{path.name}": path.read_bytes() for path in (tmp_path / "lc").iterdir()}
    packed = [archived(tmp_path / "forest", tmp_path / name, "FNF") for name in ARCHIVES]
    (tmp_path / "zips").mkdir()
    packed.append(write_zip(tmp_path / "zips" / "LC.zip", windows))
    packed.append(write_zip(tmp_path / "LC_deflated.zip", windows, zipfile.ZIP_DEFLATED))
    inside = tmp_path / "packed.tar.gz" / "FNF" / plain.name
    ways = [plain, plain.parent, f"{plain.parent}/*", tmp_path / "mixed", f"{tmp_path}/mixed/*", f"{tiles}/*"]
    ways += [f"{tiles}/**", *packed, inside, tmp_path / "zips", f"{tmp_path}/zips/*", tmp_path / "lc", f"{tmp_path}/l?"]
    legend = Legend("all", "", tuple(LandClass(str(code), (0, 0, 0), (code,)) for code in range(5)), ())
    for way in ways:
        files = label_files(way)
        assert len(files) == len({label_fingerprint(file) for file in files}) == 1, way
        with LabelMap(files, legend) as label_map:
            np.testing.assert_array_equal(label_map.classes_on(LONLAT, DEGREES, (30, 20)), codes)
    # the product that it is, too
    assert open_product(inside).read_layer("forest").shape == (30, 20)


def test_only_the_tiles_that_a_product_touches_are_used_and_each_is_opened_once(small_scene, tmp_path, monkeypatch):
    product = open_product(small_scene)
    x, y = product.transform * (product.shape[1] / 2, product.shape[0] / 2)
    [longitude], [latitude] = reproject_points(product.crs, LONLAT, [x], [y])
    # the product's middle is the corner of four of many tiles of 0.05°
    for row in range(-6, 6):
        for col in range(-6, 6):
            placed = Affine(0.005, 0, longitude + 0.05 * col, 0, -0.005, latitude + 0.05 * (row + 1))
            write_geotiff(tmp_path / f"{row}_{col}.tif", np.ones((10, 10)), placed, "EPSG:4326", dtype="uint8")
    opened, once = [], labels.open_raster
    monkeypatch.setattr(labels, "open_raster", lambda path, *given: opened.append(str(path)) or once(path, *given))
    files = label_files(tmp_path)
    touched = LabelMap(files, ANY_CODE).touching(product.crs, product.transform, product.shape)
    assert [Path(path).stem for path in touched] == ["-1_-1", "-1_0", "0_-1", "0_0"]
    assert sorted(opened) == sorted(files)  # once each
    legend = load_legend("japan_9")
    np.testing.assert_array_equal(label_classes(product, touched, legend), label_classes(product, files, legend))


def test_a_map_covers_what_it_may_lie_on(tmp_path):
    path = raster_around(tmp_path / "l.tif", UTM54, GRID, (100, 100), LONLAT, pixel=STEP_DEG, size=(100, 100))
    with LabelMap([path], ANY_CODE) as label_map:
        assert label_map.touching(UTM54, GRID, (100, 100))
        # around the raster, or within it
        assert label_map.touching(UTM54, GRID * Affine.translation(-1000, -1000), (2100, 2100))
        assert label_map.touching(UTM54, GRID * Affine.translation(50, 50), (1, 1))
        assert not label_map.touching(UTM54, GRID * Affine.translation(300, 0), (100, 100))
        assert not label_map.touching(UTM54, GRID * Affine.translation(0, -2000), (100, 100))
        # beyond what the system knows
        assert label_map.touching(UTM54, Affine(1e9, 0, 0, 0, -1e9, 0), (100, 100))


def test_classes_of_a_product_have_its_grid_at_any_looks(small_scene):
    product, [tile] = open_product(small_scene), label_files(small_scene / "labels")
    legend = load_legend("japan_9")
    for looks, shape in [(1, (512, 640)), (3, (171, 214))]:
        transform = product.transform * Affine.scale(looks)
        codes = nearest_codes([Path(tile)], product.crs, transform, shape)
        found = label_classes(product, [tile], legend, looks)
        np.testing.assert_array_equal(found, legend.to_classes(codes))


def test_the_fingerprint_follows_the_file(tmp_path):
    one, other = (
        write_geotiff(tmp_path / n / "l.tif", np.full((9, 9), c), GRID, dtype="uint8") for n, c in ["a1", "b2"]
    )
    assert label_fingerprint(one) != label_fingerprint(other)
    before = label_fingerprint(one)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(one, "r+") as raster:
        raster.write_mask(np.eye(9, dtype=bool))
    assert one.with_name("l.tif.msk").is_file() and label_fingerprint(one) != before
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(Alos2TutError, match=r"text\.tif.*cannot be opened"):
        label_fingerprint(tmp_path / "text.tif")


# --- bad input


def refusal(path: Path, shape: tuple[int, int] = (40, 40)) -> str:
    with pytest.raises(Alos2TutError) as refused, LabelMap([path], load_legend("japan_9")) as label_map:
        label_map.classes_on(UTM54, GRID, shape)
    assert str(refused.value).startswith(str(path))
    return str(refused.value)


ONES = np.ones((40, 40))


def test_rasters_that_are_no_labels_are_refused(tmp_path):
    path = tmp_path / "l.tif"
    assert "no such file" in refusal(path)
    os.mkfifo(path)
    assert "neither a file nor a folder" in refusal(path)
    path.unlink()
    assert "no coordinate system" in refusal(write_geotiff(path, ONES, GRID, None, dtype="uint8"))
    assert "holds complex64" in refusal(write_geotiff(path, ONES, GRID, dtype="complex64"))
    for code, dtype in ((1.5, "float32"), (1e9, "float64"), (-40_000, "int32"), (2**40, "int64"), (np.inf, "float32")):
        assert f"holds {code:.10g}, which is no code" in refusal(write_geotiff(path, ONES * code, GRID, dtype=dtype))
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=3, height=9, width=9, crs=UTM54, transform=GRID):
        pass
    assert "3 bands" in refusal(path)
    flat = Affine(5, 5, 352_000, 5, 5, 3_990_000)
    assert "no extent" in refusal(write_geotiff(path, ONES, flat, dtype="uint8"))


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(77, "uint8"), (77, "int8"), (256, "uint16"), (257, "int16"), (300, "int16"), (60_000, "uint16")],
)
def test_a_code_outside_the_legend_names_the_raster(tmp_path, code, dtype):
    codes = np.ones((40, 40))
    codes[30, 20] = code
    path = write_geotiff(tmp_path / "odd.tif", codes, GRID, dtype=dtype)
    message = refusal(path)
    assert f"codes [{code}]" in message and "japan_9" in message
    with LabelMap([path], load_legend("japan_9")) as label_map:
        with pytest.raises(Alos2TutError, match=rf"\[{code}\]"):
            label_map.codes_at(UTM54, *np.reshape(GRID * (20.5, 30.5), (2, 1)))
        # what is not asked for is not judged
        assert (label_map.classes_on(UTM54, GRID, (30, 40)) == 0).all()
        x, y = GRID * (20.5, 31.5)
        assert label_map.codes_at(UTM54, [x], [y]).tolist() == [1]
    # nor is a label pixel in which no centre lies
    fine = write_geotiff(tmp_path / "fine.tif", np.where(np.eye(50), code, 1), GRID * Affine.scale(0.2), dtype=dtype)
    with LabelMap([fine], load_legend("japan_9")) as label_map:
        assert (label_map.classes_on(UTM54, GRID * Affine.translation(0, 0.2), (9, 10)) == 0).all()
    # nor is what another raster hides
    above = write_geotiff(tmp_path / "above.tif", ONES[:35], GRID, dtype="uint8")
    with LabelMap([above, path], load_legend("japan_9")) as label_map:
        assert (label_map.classes_on(UTM54, GRID, (40, 40)) == 0).all()


def test_a_raster_whose_pixels_cannot_be_read_is_refused(tmp_path):
    path = write_geotiff(tmp_path / "cut.tif", random_codes((400, 400)) % 14, GRID, dtype="uint8", compress="deflate")
    path.write_bytes(path.read_bytes()[:20_000])
    assert "cannot be read" in refusal(path, (400, 400))


@pytest.mark.parametrize(("pixel", "is_refused"), [(1e-3, True), (0.2, False)])
def test_a_raster_of_tiny_pixels_is_refused_before_it_is_read(tmp_path, pixel, is_refused):
    """A million pixels along each side, of which none is written: a small file."""
    path, side = tmp_path / "labels.tif", 10**6
    placed = Affine(pixel, 0, GRID.c, 0, -pixel, GRID.f)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "crs": UTM54}
    tiles = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "compress": "deflate", "SPARSE_OK": "TRUE"}
    with rasterio.open(path, "w", transform=placed, bigtiff="YES", **profile, **tiles):
        pass
    message = r"labels\.tif: .*so small that one.*covers .* of them\. .*gdalwarp"
    with pytest.raises(Alos2TutError, match=message) if is_refused else nullcontext():
        assert not LabelMap([path], ANY_CODE).classes_on(UTM54, GRID, (90, 80)).any()


def test_the_fingerprint_of_an_array_is_that_of_its_file(tmp_path):
    np.save(tmp_path / "labels.npy", np.ones((4, 5), np.uint8))
    before = label_fingerprint(tmp_path / "labels.npy")
    np.save(tmp_path / "labels.npy", np.full((4, 5), 2, np.uint8))
    assert label_fingerprint(tmp_path / "labels.npy") != before
