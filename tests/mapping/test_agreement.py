"""Maps against label rasters: what is counted, what the map of differences says, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject
from rasterio.windows import Window
from support.maps import read
from support.products import write_geotiff

from alos2tut import Alos2TutError
from alos2tut.dataset.labels import LabelMap, label_files
from alos2tut.dataset.legend import LandClass, Legend
from alos2tut.mapping import agreement
from alos2tut.mapping import files as map_files
from alos2tut.mapping.agreement import AGREES, map_agreement
from alos2tut.metrics import scores_from_confusion
from alos2tut.products.rasters import write_cog

GRID = rasterio.Affine(5, 0, 350_000, 0, -5, 3_900_000)
#: codes are ten times the class, and one more
LEGEND = Legend(
    "toy",
    "made up",
    tuple(LandClass(name, (10 * i, 20 + i, 200), (10 * i + 1,)) for i, name in enumerate(("water", "field", "town"))),
    (0,),
)
#: a raw code that the legend ignores
NONE = 0


def codes(classes):
    """Raw codes of class indices."""
    classes = np.asarray(classes)
    return np.where(classes == 255, NONE, 10 * classes.astype(int) + 1).astype(np.uint8)


def write_map(path: Path, classes, *, names=LEGEND.names, transform=GRID, **tags) -> Path:
    """A map as ``map_scene`` leaves it."""
    classes = np.asarray(classes, dtype=np.uint8)
    told = {f"CLASS_{i}": name for i, name in enumerate(names)}
    told |= {"LEGEND": LEGEND.name, "PRODUCT": "IMG-HH-made-up", "SIMULATED": "yes", "SOURCE": "simulated", **tags}
    return write_cog(
        path,
        [(Window(0, 0, classes.shape[1], classes.shape[0]), classes)],
        shape=classes.shape,
        dtype="uint8",
        crs="EPSG:32654",
        transform=transform,
        no_data=255,
        tags=told,
        colormap=LEGEND.colormap(),
        resampling="mode",
    )


#: no map in two places, no label in two others
MAPPED = [[0, 0, 1, 255], [0, 1, 1, 1], [255, 1, 0, 0]]
TOLD = [[0, 1, 1, 1], [0, 1, 255, 0], [255, 255, 0, 1]]


def test_counts_and_differences_by_hand(tmp_path):
    mapped, labels = write_map(tmp_path / "map.tif", MAPPED), write_geotiff(tmp_path / "labels.tif", codes(TOLD), GRID)
    found = map_agreement(mapped, labels, LEGEND, tmp_path / "difference.tif")
    assert found["confusion_matrix"] == [[3, 1, 0], [2, 2, 0], [0, 0, 0]]
    assert found["pixels"] == {"mapped": 10, "compared": 8, "agreeing": 5}
    assert found["pixel_accuracy"] == 5 / 8 and found["macc"] == (3 / 4 + 2 / 4) / 2
    assert found["miou"] == pytest.approx((3 / 6 + 2 / 5) / 2)
    assert found["absent"] == ["town"] and found["classes"] == ["water", "field", "town"]
    assert found["per_class"]["water"] == {"iou": 0.5, "precision": 0.6, "recall": 0.75, "f1": 6 / 9, "pixels": 4}
    assert found["per_class"]["town"]["iou"] is None and found["simulated"] is True
    assert (found["map"], found["labels"], found["difference"]) == ("map.tif", ["labels.tif"], "difference.tif")
    assert "training ground included" in found["reading"] and "no test score" in found["reading"]
    assert str(tmp_path) not in json.dumps(found)
    difference = [[AGREES, 1, AGREES, 255], [AGREES, AGREES, 255, 0], [255, 255, AGREES, 1]]
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), difference)


def test_the_map_of_differences_says_what_it_is(tmp_path):
    # three of four pixels differ, and one agrees
    rows, cols = np.indices((600, 700))
    told = np.ones((600, 700), dtype=int)
    mapped = np.where((rows % 2 == 0) & (cols % 2 == 0), 1, 2)
    write_map(tmp_path / "map.tif", mapped, TRAINED_ON_SIMULATED="yes")
    write_geotiff(tmp_path / "labels.tif", codes(told), GRID)
    map_agreement(tmp_path / "map.tif", [tmp_path / "labels.tif"], LEGEND, tmp_path / "difference.tif")
    with rasterio.open(tmp_path / "difference.tif") as raster:
        tags, colors = raster.tags(), raster.colormap(1)
        assert (raster.dtypes, raster.nodata, raster.transform) == (("uint8",), 255, GRID)
        assert raster.overviews(1) == [2] and raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(tmp_path / "difference.tif", overview_level=0) as overview:
        assert (overview.read(1) == 1).all()
    assert [colors[i] for i in range(3)] == [LEGEND.colormap()[i] for i in range(3)]
    red, green, blue, opacity = colors[AGREES]
    assert red == green == blue > 200 and opacity == 255
    assert [tags[f"CLASS_{i}"] for i in (0, 1, 2, AGREES)] == [*LEGEND.names, "map and labels agree"]
    assert tags["SIMULATED"] == "yes" and tags["TRAINED_ON_SIMULATED"] == "yes" and tags["LABELS"] == "labels.tif"
    assert "254: map and labels agree" in tags["MEANING"] and str(tmp_path) not in json.dumps(tags)


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_strips_leave_no_trace(tmp_path, monkeypatch, rows):
    rng = np.random.default_rng(rows)
    mapped, told = (rng.choice([0, 1, 2, 255], size=(90, 40)) for _ in range(2))
    monkeypatch.setattr(map_files, "STRIP_ROWS", rows)
    monkeypatch.setattr(agreement, "STRIP_ROWS", rows)
    write_map(tmp_path / "map.tif", mapped)
    write_geotiff(tmp_path / "labels.tif", codes(told), GRID)
    found = map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    both = (mapped != 255) & (told != 255)
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (told[both], mapped[both]), 1)
    assert found["confusion_matrix"] == matrix.tolist()
    assert found["miou"] == scores_from_confusion(matrix)["miou"]
    expected = np.where(both, np.where(mapped == told, AGREES, told), 255)
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), expected)


def test_labels_of_other_pixels_that_cover_a_part(tmp_path):
    """Labels of 10 m, whose corner lies two rows and three columns inside the map."""
    mapped = np.random.default_rng(1).integers(0, 3, (12, 14))
    coarse = np.array([[0, 1, 2], [2, 0, 1]])
    write_map(tmp_path / "map.tif", mapped)
    place = GRID * rasterio.Affine.translation(3, 2) * rasterio.Affine.scale(2)
    write_geotiff(tmp_path / "labels.tif", codes(coarse), place)
    found = map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    told = np.full((12, 14), 255)
    told[2:6, 3:9] = coarse.repeat(2, axis=0).repeat(2, axis=1)
    assert found["pixels"]["compared"] == 24 and found["pixels"]["agreeing"] == (told == mapped).sum()
    expected = np.where(told == 255, 255, np.where(told == mapped, AGREES, told))
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), expected)


def test_labels_in_degrees(tmp_path):
    """Water west of a meridian and fields east of it, on a map in metres that says it is all water."""
    shape = (300, 320)
    write_map(tmp_path / "map.tif", np.zeros(shape))
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = 350_000 + 5 * cols.ravel(), 3_900_000 - 5 * rows.ravel()
    lon, lat = (np.array(part).reshape(shape) for part in reproject("EPSG:32654", "EPSG:4326", x, y))
    west, north, side = lon.min() - 0.01, lat.max() + 0.01, 1e-4
    labels = np.where(np.arange(500) < 200, 0, 1) * np.ones((500, 1), dtype=int)
    place = rasterio.Affine(side, 0, west, 0, -side, north)
    write_geotiff(tmp_path / "labels.tif", codes(labels), place, "EPSG:4326")
    found = map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    is_field = lon >= west + 200 * side
    assert 0.1 < is_field.mean() < 0.9 and len(set(is_field.sum(axis=1))) > 5
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), np.where(is_field, 1, AGREES))
    assert found["pixels"]["agreeing"] == (~is_field).sum()
    with LabelMap([tmp_path / "labels.tif"], LEGEND) as label_map:
        np.testing.assert_array_equal(label_map.classes_on(rasterio.CRS.from_epsg(32654), GRID, shape) == 1, is_field)


def test_several_labels_of_which_one_lies_there(tmp_path):
    folder = tmp_path / "labels"
    write_map(tmp_path / "map.tif", MAPPED)
    write_geotiff(folder / "a.tif", codes(TOLD), GRID * rasterio.Affine.translation(5000, 0))
    write_geotiff(folder / "b.tif", codes(TOLD), GRID)
    found = map_agreement(tmp_path / "map.tif", folder, LEGEND, tmp_path / "difference.tif")
    assert found["labels"] == ["b.tif"] and len(label_files(folder)) == 2


@pytest.mark.parametrize(("tag", "told"), [("no", False), ("unknown", None)])
def test_real_data_are_not_simulated(tmp_path, tag, told):
    write_map(tmp_path / "map.tif", MAPPED, SIMULATED=tag)
    write_geotiff(tmp_path / "labels.tif", codes(TOLD), GRID)
    found = map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    assert found["simulated"] is told


# --- what is refused


@pytest.mark.parametrize(
    ("told", "shift", "message"),
    [
        pytest.param(TOLD, 5000, "no label raster lies where the map is", id="elsewhere"),
        pytest.param(np.full((3, 4), 255), 0, "10 mapped pixels none has a label", id="nothing labelled"),
        pytest.param(np.where(np.array(MAPPED) == 255, 1, 255), 0, "none has a label", id="labels where no map is"),
    ],
)
def test_nothing_to_compare(tmp_path, told, shift, message):
    write_map(tmp_path / "map.tif", MAPPED)
    write_geotiff(tmp_path / "labels.tif", codes(told), GRID * rasterio.Affine.translation(shift, 0))
    with pytest.raises(Alos2TutError, match=message):
        map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.tif", "map.tif"]


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        pytest.param(
            MAPPED, ["water", "town", "field"], "water, town, field.*'toy' are water, field, town", id="order"
        ),
        pytest.param(MAPPED, ["water", "field"], "its classes are water, field;", id="fewer classes"),
        pytest.param(MAPPED, [], "its classes are not told", id="no classes"),
        pytest.param([[0, 7]], LEGEND.names, "holds the value 7, which is none of its 3 classes", id="another index"),
    ],
)
def test_maps_of_other_classes_are_refused(tmp_path, classes, names, message):
    write_map(tmp_path / "map.tif", classes, names=names)
    write_geotiff(tmp_path / "labels.tif", codes(TOLD), GRID)
    with pytest.raises(Alos2TutError, match=message):
        map_agreement(tmp_path / "map.tif", tmp_path / "labels.tif", LEGEND, tmp_path / "difference.tif")
    assert not (tmp_path / "difference.tif").exists()


def test_what_is_no_map_is_refused(tmp_path):
    labels = write_geotiff(tmp_path / "labels.tif", codes(TOLD), GRID)
    (tmp_path / "text.tif").write_text("no raster")
    write_geotiff(tmp_path / "placeless.tif", codes(TOLD), None, None, dtype="uint8")
    write_geotiff(tmp_path / "wide.tif", codes(TOLD), GRID, dtype="uint16")
    whole = write_map(tmp_path / "map.tif", MAPPED).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) - 40])
    for name, message in {
        "nothing.tif": "there is no such map",
        "text.tif": "no TIFF",
        "placeless.tif": "no place on Earth",
        "wide.tif": "uint16, not one of uint8",
        "cut.tif": "truncated",
    }.items():
        with pytest.raises(Alos2TutError, match=message):
            map_agreement(tmp_path / name, labels, LEGEND, tmp_path / "difference.tif")
    assert not (tmp_path / "difference.tif").exists()


def test_neither_map_nor_labels_are_written_over(tmp_path):
    mapped, labels = write_map(tmp_path / "map.tif", MAPPED), write_geotiff(tmp_path / "labels.tif", codes(TOLD), GRID)
    (tmp_path / "link.tif").symlink_to(mapped)
    for target in (mapped, labels, tmp_path / "link.tif"):
        before = target.read_bytes()
        with pytest.raises(Alos2TutError, match="is what is to be compared"):
            map_agreement(mapped, labels, LEGEND, target)
        assert target.read_bytes() == before


def test_an_older_map_of_differences_stays_when_codes_are_unknown(tmp_path):
    mapped = write_map(tmp_path / "map.tif", MAPPED)
    labels = write_geotiff(tmp_path / "labels.tif", np.full((3, 4), 77), GRID, dtype="uint8")
    (tmp_path / "difference.tif").write_bytes(b"an older one")
    with pytest.raises(Alos2TutError, match=r"labels\.tif: holds codes \[77\]"):
        map_agreement(mapped, labels, LEGEND, tmp_path / "difference.tif")
    assert (tmp_path / "difference.tif").read_bytes() == b"an older one"
