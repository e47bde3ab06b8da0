"""Maps against label rasters: what is counted, what the map of differences says, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject
from support.map_files import LEGEND, MIDDLE, write_raster
from support.maps import read
from support.products import write_geotiff

from alos2tut import Alos2TutError, Alos2TutWarning
from alos2tut.dataset.labels import label_files
from alos2tut.mapping import agreement
from alos2tut.mapping import files as map_files
from alos2tut.mapping.agreement import AGREES, map_agreement
from alos2tut.metrics import scores_from_confusion

#: no map in two places, no label in two others
MAPPED = [[0, 0, 1, 255], [0, 1, 1, 1], [255, 1, 0, 0]]
LABELLED = [[0, 1, 1, 1], [0, 1, 255, 0], [255, 255, 0, 1]]


def write_labels(path, classes, transform=MIDDLE, crs="EPSG:32654"):
    """Labels by their raw codes, of which 0 is ignored."""
    classes = np.asarray(classes)
    return write_geotiff(path, np.where(classes == 255, 0, classes + 1), transform, crs, dtype="uint8")


def compared(folder):
    return map_agreement(folder / "map.tif", folder / "labels.tif", LEGEND, folder / "difference.tif")


def differences(mapped, labelled):
    """The map of differences by hand."""
    mapped, labelled = np.asarray(mapped), np.asarray(labelled)
    both = (mapped != 255) & (labelled != 255)
    return np.where(both, np.where(mapped == labelled, AGREES, labelled), 255)


def test_counts_and_differences_by_hand(tmp_path):
    write_raster(tmp_path / "map.tif", MAPPED, tags={"SIMULATED": "yes"})
    write_labels(tmp_path / "labels.tif", LABELLED)
    found = compared(tmp_path)
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
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), differences(MAPPED, LABELLED))


@pytest.mark.parametrize("statement", ["tag", "mask"])
def test_labels_that_say_no_data_are_not_compared(tmp_path, statement):
    write_raster(tmp_path / "map.tif", MAPPED)
    labels = write_labels(tmp_path / "labels.tif", LABELLED)
    with rasterio.open(labels, "r+") as raster:
        if statement == "tag":
            raster.nodata = 1  # water
        else:
            raster.write_mask(raster.read(1) != 1)
    with pytest.warns(Alos2TutWarning, match=r"labels\.tif: its .* contradict each other: 4 pixels.*water 1") as told:
        found = compared(tmp_path)
    assert len([w for w in told if "contradict" in str(w.message)]) == 1
    assert found["confusion_matrix"] == [[0, 0, 0], [2, 2, 0], [0, 0, 0]]
    expected = differences(MAPPED, np.where(np.array(LABELLED) == 0, 255, LABELLED))
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), expected)


def test_the_map_of_differences_says_what_it_is(tmp_path):
    # three of four pixels differ, and one agrees
    rows, cols = np.indices((600, 700))
    mapped = np.where((rows % 2 == 0) & (cols % 2 == 0), 1, 2)
    write_raster(tmp_path / "map.tif", mapped, tags={"SIMULATED": "yes", "TRAINED_ON_SIMULATED": "yes"})
    labels = write_labels(tmp_path / "labels.tif", np.ones((600, 700), dtype=int))
    map_agreement(tmp_path / "map.tif", [labels], LEGEND, tmp_path / "difference.tif")
    with rasterio.open(tmp_path / "difference.tif") as raster:
        tags, colors = raster.tags(), raster.colormap(1)
        assert (raster.dtypes, raster.nodata, raster.transform) == (("uint8",), 255, MIDDLE)
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
    mapped, labelled = (rng.choice([0, 1, 2, 255], size=(90, 40)) for _ in range(2))
    for module in (map_files, agreement):
        monkeypatch.setattr(module, "STRIP_ROWS", rows)
    write_raster(tmp_path / "map.tif", mapped)
    write_labels(tmp_path / "labels.tif", labelled)
    found = compared(tmp_path)
    both = (mapped != 255) & (labelled != 255)
    matrix = np.zeros((3, 3), dtype=int)
    np.add.at(matrix, (labelled[both], mapped[both]), 1)
    assert found["confusion_matrix"] == matrix.tolist() and found["pixels"]["mapped"] == (mapped != 255).sum()
    assert found["miou"] == scores_from_confusion(matrix)["miou"]
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), differences(mapped, labelled))


def test_labels_of_other_pixels_that_cover_a_part(tmp_path):
    """Labels of 10 m, whose corner lies two rows and three columns inside the map."""
    mapped = np.random.default_rng(1).integers(0, 3, (12, 14))
    coarse = np.array([[0, 1, 2], [2, 0, 1]])
    write_raster(tmp_path / "map.tif", mapped)
    place = MIDDLE * rasterio.Affine.translation(3, 2) * rasterio.Affine.scale(2)
    write_labels(tmp_path / "labels.tif", coarse, place)
    found = compared(tmp_path)
    labelled = np.full((12, 14), 255)
    labelled[2:6, 3:9] = coarse.repeat(2, axis=0).repeat(2, axis=1)
    assert found["pixels"]["compared"] == 24 and found["pixels"]["agreeing"] == (labelled == mapped).sum()
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), differences(mapped, labelled))


def test_labels_in_degrees(tmp_path):
    """Water west of a meridian and fields east of it, on a map in metres that says it is all water."""
    shape = (300, 320)
    grid = rasterio.Affine(5, 0, 350_000, 0, -5, 3_900_000)
    write_raster(tmp_path / "map.tif", np.zeros(shape), transform=grid)
    rows, cols = np.indices(shape) + 0.5
    lon, lat = (
        np.array(part).reshape(shape)
        for part in reproject("EPSG:32654", "EPSG:4326", *(part.ravel() for part in grid * (cols, rows)))
    )
    west, north, side = lon.min() - 0.01, lat.max() + 0.01, 1e-4
    labels = np.where(np.arange(500) < 200, 0, 1) * np.ones((500, 1), dtype=int)
    write_labels(tmp_path / "labels.tif", labels, rasterio.Affine(side, 0, west, 0, -side, north), "EPSG:4326")
    found = compared(tmp_path)
    is_field = lon >= west + 200 * side
    assert 0.1 < is_field.mean() < 0.9 and len(set(is_field.sum(axis=1))) > 5
    np.testing.assert_array_equal(read(tmp_path / "difference.tif"), np.where(is_field, 1, AGREES))
    assert found["pixels"]["agreeing"] == (~is_field).sum()


@pytest.mark.parametrize(("tag", "simulated"), [("no", False), ("unknown", None)])
def test_several_labels_of_which_one_lies_there(tmp_path, tag, simulated):
    folder = tmp_path / "labels"
    write_raster(tmp_path / "map.tif", MAPPED, tags={"SIMULATED": tag})
    write_labels(folder / "a.tif", LABELLED, MIDDLE * rasterio.Affine.translation(5000, 0))
    write_labels(folder / "b.tif", LABELLED)
    found = map_agreement(tmp_path / "map.tif", folder, LEGEND, tmp_path / "difference.tif")
    assert found["labels"] == ["b.tif"] and len(label_files(folder)) == 2 and found["simulated"] is simulated


# --- what is refused

WATER, FIELD, TOWN = LEGEND.classes


@pytest.mark.parametrize(
    ("classes", "names", "labelled", "message"),
    [
        (MAPPED, LEGEND.classes, [[255] * 4] * 3, "10 mapped pixels none has a label"),
        (MAPPED, LEGEND.classes, np.where(np.array(MAPPED) == 255, 1, 255), "none has a label"),
        (MAPPED, (WATER, TOWN, FIELD), LABELLED, "water, town, field.*'toy' are water, field, town"),
        (MAPPED, (WATER, FIELD), LABELLED, "its classes are water, field;"),
        (MAPPED, (), LABELLED, "its classes are not told"),
        ([[0, 7]], LEGEND.classes, LABELLED, "holds the value 7, which is none of its 3 classes"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, classes, names, labelled, message):
    write_raster(tmp_path / "map.tif", classes, legend=replace(LEGEND, classes=names), colormap=LEGEND.colormap())
    write_labels(tmp_path / "labels.tif", labelled)
    with pytest.raises(Alos2TutError, match=message):
        compared(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.tif", "map.tif"]


def test_labels_that_lie_elsewhere_are_refused(tmp_path):
    write_raster(tmp_path / "map.tif", MAPPED)
    write_labels(tmp_path / "labels.tif", LABELLED, MIDDLE * rasterio.Affine.translation(5000, 0))
    with pytest.raises(Alos2TutError, match="no label raster lies where the map is"):
        compared(tmp_path)


def test_what_is_no_map_is_refused(tmp_path):
    labels = write_labels(tmp_path / "labels.tif", LABELLED)
    (tmp_path / "text.tif").write_text("no raster")
    write_labels(tmp_path / "placeless.tif", LABELLED, None, None)
    write_geotiff(tmp_path / "wide.tif", np.ones((3, 4)), MIDDLE, dtype="uint16")
    whole = write_raster(tmp_path / "map.tif", MAPPED).read_bytes()
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


def test_neither_inputs_nor_an_older_file_are_lost(tmp_path):
    mapped, labels = write_raster(tmp_path / "map.tif", MAPPED), write_labels(tmp_path / "labels.tif", LABELLED)
    (tmp_path / "link.tif").symlink_to(mapped)
    for target in (mapped, labels, tmp_path / "link.tif"):
        before = target.read_bytes()
        with pytest.raises(Alos2TutError, match="is what is to be compared"):
            map_agreement(mapped, labels, LEGEND, target)
        assert target.read_bytes() == before
    write_labels(labels, np.full((3, 4), 76))
    (tmp_path / "difference.tif").write_bytes(b"an older one")
    with pytest.raises(Alos2TutError, match=r"labels\.tif: holds codes \[77\]"):
        compared(tmp_path)
    assert (tmp_path / "difference.tif").read_bytes() == b"an older one"
