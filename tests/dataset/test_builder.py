"""From products and labels to patches: pixels, labels, splits on separate ground, lists, statistics."""

import csv
import dataclasses
import functools
import itertools
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.warp import transform as reproject_points
from support.datasets import (
    SETTINGS,
    SMALL,
    boxes_m,
    build,
    codes_over,
    labels_of,
    rows_of,
    shifted_copy,
    smallest_gap_m,
)
from support.packed import restate_files
from support.products import TIFF_NAME, write_geotiff

from alos2tut import (
    Alos2TutError,
    Alos2TutWarning,
    build_dataset,
    load_config,
    load_legend,
    open_dataset,
    open_product,
    verify_dataset,
)
from alos2tut.dataset import archive, splits
from alos2tut.dataset.encoding import NO_DATA, decode_db, encode_db
from alos2tut.dataset.selection import report_absent
from alos2tut.dataset.store import BOX_COLUMNS, CORNER_COLUMNS, SPLITS
from alos2tut.dataset.survey import PatchGrid
from alos2tut.products.reading import Layer


@pytest.mark.parametrize("split", SPLITS)
def test_patches_are_the_products_decibels_after_looks_in_power(dataset, scene, split):
    part = dataset.split(split)
    dn = open_product(scene).read_dn().astype(float)
    for index in range(0, len(part), 7):
        record = part.table[index]
        row, col = 2 * int(record["PatchRow"]), 2 * int(record["PatchCol"])
        blocks = dn[row : row + 64, col : col + 64].reshape(32, 2, 32, 2) ** 2
        have = np.isfinite(blocks).sum(axis=(1, 3))
        with np.errstate(invalid="ignore", divide="ignore"):
            db = 10 * np.log10(np.nansum(blocks, axis=(1, 3)) / have) - 83
        np.testing.assert_allclose(part.db(index)[0], np.where(have >= 2, db, np.nan), atol=0.0051)


@functools.cache
def nearest_classes(scene: Path) -> np.ndarray:
    """Classes of the whole 5 m grid: the label pixel in which each pixel's centre lies."""
    product = open_product(scene)
    height, width = product.shape[0] // 2, product.shape[1] // 2
    cols, rows = np.meshgrid(2 * np.arange(width) + 1, 2 * np.arange(height) + 1)
    x_m, y_m = product.transform * (cols.ravel(), rows.ravel())
    longitude, latitude = reproject_points(product.crs, "EPSG:4326", x_m, y_m)
    with rasterio.open(labels_of(scene)) as tile:
        tile_cols, tile_rows = ~tile.transform * (np.array(longitude), np.array(latitude))
        codes = tile.read(1)[np.floor(tile_rows).astype(int), np.floor(tile_cols).astype(int)]
    return load_legend("japan_9").to_classes(codes).reshape(height, width)


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_the_nearest_at_every_pixel(dataset, scene, split):
    expected, part = nearest_classes(scene), dataset.split(split)
    for index, record in enumerate(part.table):
        row, col = int(record["PatchRow"]), int(record["PatchCol"])
        patches, labels = part.gather([index])
        classes = np.where(patches[0, 0] == NO_DATA, 255, expected[row : row + 32, col : col + 32])
        np.testing.assert_array_equal(labels[0], classes)


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_that_say_no_data_are_no_label_and_told_once_for_each_file(small_scene, tmp_path, workers):
    product = open_product(small_scene)
    # of every eight columns two are water, which the tag says is none, and one is below 0
    codes = np.broadcast_to(np.resize([1, 1, -4, 4, 4, 4, 2, 2], product.shape[1]), product.shape)
    labels = write_geotiff(tmp_path / "l.tif", codes, product.transform, product.crs, dtype="int16", nodata=1)
    settings = SETTINGS | SMALL | {"looks": 1, "min_labelled_fraction": 0, "workers": workers, "work_dir": tmp_path}
    with pytest.warns(Alos2TutWarning) as told:
        built = build_dataset(load_config("dataset", products=small_scene, labels=labels, **settings))
    texts = [str(warning.message) for warning in told]
    for problem in (r"its no-data tag \(1\) and codes .* contradict each other: .* pixels \(25 %\), water 1",
                    r"it holds negative codes.* pixels \(12 %\), -4\."):  # fmt: skip
        assert len([text for text in texts if re.search(problem, text)]) == 1
    # a class that is nowhere is named
    assert any(re.search("'train' has no pixel of: water, ", text) for text in texts)
    for split in SPLITS:
        part = open_dataset(built).split(split)
        patches, classes = part.gather(range(len(part)))
        hidden = np.zeros(16, bool)
        hidden[[0, 1, 2, 8, 9, 10]] = True
        np.testing.assert_array_equal(classes == 255, hidden | (patches[:, 0] == NO_DATA))
        assert {row["Category"] for row in part.table} <= {"-1", "-4", "4", "2"}


@pytest.mark.parametrize("buffer_m", [0, 100])
def test_held_out_ground_is_in_no_other_list(scene, tmp_path, buffer_m):
    built = build(products=scene, labels=labels_of(scene), work_dir=tmp_path, buffer_m=buffer_m)
    dataset = open_dataset(built)
    ground = {split: boxes_m(dataset, split, scene) for split in SPLITS}
    # metres of the map are up to 1.0006 of those on the ground
    for one, other in [("val", "test"), ("pretrain", "val"), ("pretrain", "test"), ("train", "val"), ("train", "test")]:
        assert smallest_gap_m(ground[one], ground[other]) >= 0.999 * buffer_m - 0.01
    assert {tuple(box) for box in ground["train"]} <= {tuple(box) for box in ground["pretrain"]}


def test_splits_have_about_the_wanted_sizes_and_every_kept_patch_once(dataset):
    sizes = {split: len(dataset.split(split)) for split in SPLITS}
    total = sizes["pretrain"] + sizes["val"] + sizes["test"]
    assert sizes["val"] / total == pytest.approx(0.15, abs=0.06)
    assert sizes["test"] / total == pytest.approx(0.15, abs=0.06)
    names = [record["FileName"] for split in ("pretrain", "val", "test") for record in rows_of(dataset, split)]
    assert len(names) == len(set(names)) == total


def test_two_products_of_the_same_ground_share_none_between_splits(scene, tmp_path):
    products = (scene, shifted_copy(scene, tmp_path / "second"))
    built = open_dataset(build(products=products, labels=labels_of(scene), work_dir=tmp_path))
    ground = {split: boxes_m(built, split, *products) for split in SPLITS}
    names = {open_product(product).name for product in products}
    assert {record["Product"] for record in rows_of(built, "val") + rows_of(built, "test")} == names
    for one, other in itertools.combinations(("pretrain", "val", "test"), 2):
        assert smallest_gap_m(ground[one], ground[other]) >= -1


def test_the_polarisation_read_is_in_names_and_description(dual, small_scene, tmp_path):
    image = next(dual.glob("IMG-HV-*"))
    settings = {"labels": labels_of(small_scene), "work_dir": tmp_path, **SMALL}
    folders = [build(products=dual, **settings), build(products=image, **settings)]
    folders.append(build(products=dual, polarization="HV", **settings))
    # asked for by its file or by its name: the same dataset, and another than HH
    assert folders[1] == folders[2] != folders[0]
    hh, hv = (open_dataset(folder) for folder in folders[:2])
    assert (hh.signal["polarizations"], hv.signal["polarizations"]) == (["HH"], ["HV"])
    assert hv.content["settings"]["polarization"] == "HV"
    assert hh.statistics.mean_db[0] - hv.statistics.mean_db[0] == pytest.approx(6.02, abs=0.05)
    for dataset in (hh, hv):
        [polarization] = dataset.signal["polarizations"]
        names = {record[column] for record in rows_of(dataset, "pretrain") for column in ("FileName", "Product")}
        assert all(name.startswith(f"IMG-{polarization}-ALOS2237752900") for name in names)


AUTHORS = "Year Month Day FolderPath FileName MinLon MinLat MaxLon MaxLat Latitude Longitude Category"


def test_list_entries_say_where_the_patch_lies(dataset, scene):
    product = open_product(scene)
    assert all((dataset.path / f"{s}.csv").read_text().startswith(AUTHORS.replace(" ", ",") + ",Row") for s in SPLITS)
    for record, (left, _, _, top) in zip(rows_of(dataset, "val"), boxes_m(dataset, "val", scene), strict=True):
        # lower left corner, upper right corner, and without sampling the pixel nearest the centre
        points = [(left, top - 160), (left + 160, top), (left + 82.5, top - 82.5)]
        longitude, latitude = reproject_points(product.crs, "EPSG:4326", *zip(*points, strict=True))
        numbers = [longitude[0], latitude[0], longitude[1], latitude[1], latitude[2], longitude[2]]
        assert [record[column] for column in AUTHORS.split()[5:11]] == [f"{number:.4f}" for number in numbers]
        assert [record[column] for column in AUTHORS.split()[:4]] == ["2022", "11", "19", "2022/11/19"]
        assert record["FileName"] == f"{product.name}_{record['PatchRow']}_{record['PatchCol']}.tif"


def test_category_is_the_raw_code_at_that_point(dataset, scene):
    product = open_product(scene)
    with rasterio.open(labels_of(scene)) as tile:
        codes = tile.read(1)
        for record in rows_of(dataset, "test"):
            col, row = 2 * (int(record["PatchCol"]) + 16.5), 2 * (int(record["PatchRow"]) + 16.5)
            x_m, y_m = product.transform * (col, row)
            [longitude], [latitude] = reproject_points(product.crs, tile.crs, [x_m], [y_m])
            tile_col, tile_row = ~tile.transform * (longitude, latitude)
            assert int(record["Category"]) == codes[int(tile_row), int(tile_col)]


def test_statistics_come_from_the_pretraining_list_alone(dataset):
    stores = {s: decode_db(np.asarray(dataset.split(s).patches)).astype(float) for s in ("pretrain", "val", "test")}
    assert dataset.statistics.mean_db == pytest.approx([np.nanmean(stores["pretrain"])], abs=2e-4)
    assert dataset.statistics.std_db == pytest.approx([np.nanstd(stores["pretrain"])], abs=2e-4)
    assert abs(dataset.statistics.mean_db[0] - np.nanmean(np.concatenate([*stores.values()]))) > 1e-3


def test_the_description_agrees_with_the_files(dataset):
    content, shares = dataset.content, {}
    assert content["quantity"] == "sigma0" and content["polarizations"] == ["HH"] and content["spacing_m"] == [5, 5]
    assert dataset.simulated and content["simulated"] and "simulated" not in dataset.signal
    for split in SPLITS:
        part = dataset.split(split)
        assert content["splits"][split]["patches"] == len(part)
        labels = np.asarray(part.labels)[part.rows]
        counts = np.bincount(labels[labels != 255], minlength=9)
        assert content["splits"][split]["class_pixels"] == dict(zip(dataset.legend.names, counts.tolist(), strict=True))
        shares[split] = counts / counts.sum()
    # patches that the swath's edge cuts are for pretraining only
    assert len(dataset.split("train")) < len(dataset.split("pretrain"))
    assert dataset.class_weights == pytest.approx((1 - shares["train"]) / 8, abs=1e-6)


def test_equal_inputs_give_equal_bytes_and_no_places_or_times(scene, tmp_path, capsys):
    legend = tmp_path / "mine.yaml"
    legend.write_text(yaml.safe_dump(load_legend("japan_9").to_dict()))
    folders = [build(products=scene, labels=labels_of(scene), legend=legend, work_dir=tmp_path / w) for w in "ab"]
    files = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders]
    assert files[0] == files[1] and folders[0].name == folders[1].name
    text = files[0]["dataset.json"].decode()
    assert str(tmp_path) not in text and str(scene) not in text and "mine.yaml" not in text
    # of a product the times when it was seen and made are facts; when it was used is not
    own = json.dumps({key: value for key, value in json.loads(text).items() if key != "products"})
    assert not re.search(r'"/', text) and not re.search(r"\d\d:\d\d:\d\d", own)
    assert capsys.readouterr().out == ""
    before = {p: p.stat().st_mtime_ns for p in folders[0].iterdir()}
    again = build(products=scene, labels=labels_of(scene), legend=legend, work_dir=tmp_path / "a")
    assert again == folders[0] and capsys.readouterr().out == f"reusing {again}\n"
    assert before == {p: p.stat().st_mtime_ns for p in folders[0].iterdir()}


def test_other_settings_make_another_folder(dataset, scene):
    other = build(products=scene, labels=labels_of(scene), work_dir=dataset.path.parent, seed=1)
    assert other != dataset.path
    assert rows_of(open_dataset(other), "val") != rows_of(dataset, "val")


def test_patches_without_enough_ground_or_labels_are_dropped(scene, tmp_path):
    settings = {"min_valid_fraction": 1.0, "min_labelled_fraction": 1.0}
    built = open_dataset(build(products=scene, labels=labels_of(scene), work_dir=tmp_path, **settings))
    assert all((np.asarray(built.split(s).patches) != NO_DATA).all() for s in ("pretrain", "val", "test"))
    train = built.split("train")
    assert (np.asarray(train.labels)[train.rows] != 255).all()


class Mask:
    """A layer of a product, from an array."""

    dtype = np.dtype(np.uint8)

    def __init__(self, values: np.ndarray):
        self._values = values

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[np.ndarray]:
        for first in range(rows.start, rows.stop, step):
            yield self._values[first : min(first + step, rows.stop), cols]


def test_layover_and_shadow_count_as_missing_and_bear_no_label(small_scene, tmp_path, monkeypatch):
    product = open_product(small_scene)
    codes = np.full(product.shape, 255, np.uint8)
    codes[64:128, 64:320], codes[128:144, 64:80] = 100, 150
    layer = Layer(Mask(codes), "code", meaning={100: "layover", 150: "shadow", 255: "land"})
    masked = dataclasses.replace(product, layers={"mask": layer})
    monkeypatch.setattr(archive.Entry, "open", lambda _: masked)
    settings = {"products": small_scene, "labels": labels_of(small_scene), "patch_px": 16, "block_m": 320}
    dataset = open_dataset(build(**settings, work_dir=tmp_path, min_valid_fraction=0.8))
    places = {(int(r["PatchRow"]), int(r["PatchCol"])): r for s in SPLITS for r in dataset.tables[s]}
    assert (32, 32) not in places and (48, 48) not in places
    # a quarter of this patch lies in shadow: too much at 0.8, and named at 0.7
    assert (64, 32) not in places
    more = {"min_valid_fraction": 0.7, "min_labelled_fraction": 0.5, "work_dir": tmp_path / "more"}
    dataset = open_dataset(build(**settings, **more))
    found = [(s, i, r) for s in SPLITS for i, r in enumerate(dataset.tables[s])
             if (r["PatchRow"], r["PatchCol"]) == ("64", "32")]  # fmt: skip
    assert found
    for split, index, record in found:
        assert float(record["ValidFraction"]) == 0.75
        patches, labels = dataset.split(split).gather([index])
        assert (labels[0, :8, :8] == 255).all() and (labels[0, 8:] != 255).all() and (patches != NO_DATA).all()
    assert dataset.content["balance"]["dropped"]["too little data"] > 0


def test_a_pixel_is_displaced_if_half_of_it_is(small_scene):
    product = open_product(small_scene)
    codes = np.full(product.shape, 255, np.uint8)
    codes[0, 0], codes[2:4, 0], codes[4:6, :2] = 100, 150, 100
    layer = Layer(Mask(codes), "code", meaning={100: "layover", 150: "shadow", 255: "land"})
    grid = PatchGrid(dataclasses.replace(product, layers={"mask": layer}), 16, 2, ("HH",))
    assert np.argwhere(grid.displaced((0, 0, 32, 32))).tolist() == [[1, 0], [2, 0]]


@pytest.mark.parametrize("temperature", [1.0, float("inf")])
def test_each_patch_contains_its_sampled_point(scene, tmp_path, temperature):
    settings = {"points": 120, "temperature": temperature, "products": scene, "labels": labels_of(scene)}
    dataset = open_dataset(build(**settings, work_dir=tmp_path))
    product, raw = open_product(scene), rasterio.open(labels_of(scene))
    for split in SPLITS:
        part = dataset.split(split)
        for index, record in enumerate(part.table):
            longitude, latitude = float(record["Longitude"]), float(record["Latitude"])
            x, y = reproject_points("EPSG:4326", product.crs, [longitude], [latitude])
            col, row = ~product.transform * (x[0], y[0])
            inside = (row / 2 - int(record["PatchRow"]), col / 2 - int(record["PatchCol"]))
            # four decimals are 11 m: two pixels
            assert all(-2.5 < place < 34.5 for place in inside)
            classes = part.gather([index])[1][0]
            rows, cols = (slice(max(int(p) - 3, 0), int(p) + 4) for p in inside)
            assert dataset.legend.to_classes(np.array([int(record["Category"])]))[0] in classes[rows, cols]
    raw.close()
    balance = dataset.content["balance"]
    assert balance["dropped"]["no sampled point"] > 0
    assert sum(balance["after"]["majority"].values()) < sum(balance["before"]["majority"].values())
    assert all(balance["after"]["pixels"][name] <= n for name, n in balance["before"]["pixels"].items())


def test_sampled_points_lie_anywhere_in_their_patches(scene, tmp_path):
    built = build(points=400, products=scene, labels=labels_of(scene), work_dir=tmp_path)
    table = open_dataset(built).tables["pretrain"]
    down = [(float(r["MaxLat"]) - float(r["Latitude"])) / (float(r["MaxLat"]) - float(r["MinLat"])) for r in table]
    assert np.std(down) == pytest.approx(1 / math.sqrt(12), abs=0.05)


def test_patches_with_too_much_of_a_class_are_dropped_as_the_balance_says(scene, dataset, tmp_path):
    settings = {"products": scene, "labels": labels_of(scene), "work_dir": tmp_path}
    capped = open_dataset(build(**settings, max_class_share={"forest": 0.3}, points=300))
    forest, part = dataset.legend.names.index("forest"), capped.split("pretrain")
    assert (np.asarray(part.labels) == forest).mean(axis=(1, 2)).max() <= 0.3
    balance = capped.content["balance"]
    shares = [balance[when]["pixels"]["forest"] / sum(balance[when]["pixels"].values()) for when in ("before", "after")]
    assert shares[1] < 0.7 * shares[0] and balance["dropped"]["too much of a class"] > 50
    plain = dataset.content["balance"]
    assert plain["before"] == plain["after"] == balance["before"]


def test_a_higher_temperature_evens_the_classes_out(scene, tmp_path):
    evenness = []
    for temperature in (1, float("inf")):
        settings = {"points": 150, "temperature": temperature, "products": scene, "labels": labels_of(scene)}
        pixels = open_dataset(build(**settings, work_dir=tmp_path)).content["balance"]["after"]["pixels"]
        shares = np.array(list(pixels.values())) / sum(pixels.values())
        evenness.append(float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))
    assert evenness[0] < evenness[1]


def test_what_lists_say_of_a_patch_is_so(dataset):
    for split in SPLITS:
        part = dataset.split(split)
        boxes = np.array([[float(record[side]) for side in BOX_COLUMNS] for record in part.table])
        blocks = splits.ground_blocks(boxes, 640)
        corners = np.array([[float(record[side]) for side in CORNER_COLUMNS] for record in part.table])
        np.testing.assert_allclose(splits.enclosing_boxes(corners.reshape(-1, 4, 2)), boxes, rtol=0, atol=6e-8)
        for index, record in enumerate(part.table):
            patches, labels = part.gather([index])
            assert float(record["LabelledFraction"]) == pytest.approx((labels != 255).mean(), abs=5e-5)
            assert float(record["ValidFraction"]) == pytest.approx((patches != NO_DATA).mean(), abs=5e-5)
            assert record["Block"] == "{}_{}".format(*blocks[index])


def test_a_dataset_of_lists_without_corners_is_proved_by_boxes_and_says_so(dataset, tmp_path):
    assert "without corners" not in dataset.describe()
    older = shutil.copytree(dataset.path, tmp_path / "older")
    for split in SPLITS:
        rows = list(csv.reader((older / f"{split}.csv").read_text().splitlines()))
        last = rows[0].index(CORNER_COLUMNS[0])
        (older / f"{split}.csv").write_text("".join(",".join(row[:last]) + "\n" for row in rows))
    restate_files(older)
    # patches that touch overlap as boxes
    with pytest.raises(Alos2TutError, match=r"overlaps that of row \d+ of '\w+', by boxes in degrees"):
        open_dataset(older)
    for split in ("val", "test"):
        lines = (older / f"{split}.csv").read_text().splitlines(keepends=True)
        (older / f"{split}.csv").write_text("".join(lines[:1]))
    restate_files(older)
    assert "without corners: ground is proved apart by boxes" in open_dataset(older).describe()


def test_corners_that_are_not_those_of_the_boxes_are_refused(dataset, tmp_path):
    """Elsewhere, all ground would be proved apart."""
    moved = shutil.copytree(dataset.path, tmp_path / "moved")
    rows = list(csv.reader((moved / "val.csv").read_text().splitlines()))
    for column in map(rows[0].index, CORNER_COLUMNS[1::2]):
        rows[2][column] = str(float(rows[2][column]) + 1)
    (moved / "val.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    restate_files(moved)
    with pytest.raises(Alos2TutError, match=r"val\.csv: row 2: the corners are not those of West, South, East, North"):
        open_dataset(moved)


def test_a_point_without_label_has_no_code(small_scene, tmp_path):
    half = codes_over(small_scene, np.full((64, 40), 7, np.uint8), tmp_path / "half.tif", half=True)
    table = open_dataset(build(products=small_scene, labels=half, work_dir=tmp_path, **SMALL)).tables["pretrain"]
    assert {record["Category"] for record in table} == {"7", "-1"}


def test_labels_of_the_whole_world_overlap_every_product(small_scene, tmp_path):
    degrees = rasterio.Affine(0.5, 0, -180, 0, -0.5, 90)
    world = write_geotiff(tmp_path / "world.tif", np.full((360, 720), 7, np.uint8), degrees, crs="EPSG:4326")
    built = open_dataset(build(products=small_scene, labels=world, work_dir=tmp_path, block_m=320, patch_px=16))
    assert built.content["splits"]["train"]["class_pixels"][load_legend("japan_9").names[6]] == 0
    assert sum(built.content["splits"]["train"]["class_pixels"].values()) > 0


def test_classes_in_a_patch_or_two_of_a_list_are_named_in_a_warning(recwarn):
    counts = np.array([[5, 1, 0], [5, 0, 1], [5, 2, 9], [5, 3, 9]])
    lists = {"train": np.array([0, 1, 2, 3]), "val": np.array([0, 2, 3]), "test": np.array([1, 2, 3])}
    corners = np.array([[[139, 35], [139.01, 35], [139.01, 34.99], [139, 34.99]]])
    choice = SimpleNamespace(
        table=SimpleNamespace(counts=counts, corners=corners, frame="map"),
        lists=lists, names=("water", "land", "town"),
        class_pixels=lambda split: counts[lists[split]].sum(axis=0),
    )  # fmt: skip
    report_absent(choice, load_config("dataset"))
    assert [str(warning.message) for warning in recwarn] == [
        "the list 'val' has fewer than 3 patches with: town (2)",
        "the list 'test' has fewer than 3 patches with: land (2)",
    ]
    with pytest.warns(Alos2TutWarning, match=r"block_m=800 is below the patches' side of 91\d m: every patch"):
        report_absent(choice, load_config("dataset", block_m=800))


def test_an_absent_class_is_named_in_a_warning(scene, tmp_path):
    config = load_config("dataset", **SETTINGS, products=scene, labels=labels_of(scene), work_dir=tmp_path, seed=3)
    codes = np.where(nearest_classes(scene) == 255, 0, 1).astype(np.uint8)
    only_water = codes_over(scene, codes, tmp_path / "water.tif")
    with pytest.warns(Alos2TutWarning) as warned:
        build_dataset(load_config("dataset", **SETTINGS, products=scene, labels=only_water, work_dir=config.work_dir))
    ours = [w for w in warned if w.category is Alos2TutWarning]
    messages = {str(w.message).split("'")[1]: str(w.message) for w in ours}
    assert set(messages) == {"train", "val", "test"} and all("has no pixel of: " in m for m in messages.values())
    assert "never learned" in messages["train"] and "mIoU" not in messages["train"]
    assert "left out of its mIoU" in messages["val"] and "forest" in messages["val"]
    assert {w.filename for w in ours} == {__file__}


def test_survey_and_cut_agree_where_pixels_lie_on_the_borders_of_labels(mosaic, tmp_path):
    mask = mosaic / "crop_N23W161_20_mask_F02DAR.tif"
    report = verify_dataset(build(products=mosaic, labels=mask, work_dir=tmp_path, legend="water_land", block_m=6400))
    assert report.differ == report.unreadable == 0 and report.agree > 20


def test_the_real_mosaic_makes_a_dataset_from_its_own_mask(mosaic, tmp_path):
    mask = mosaic / "crop_N23W161_20_mask_F02DAR.tif"
    settings = {"legend": "water_land", "looks": 1, "block_m": 3200}
    built = open_dataset(build(products=mosaic, labels=mask, work_dir=tmp_path, **settings))
    assert built.signal["quantity"] == "gamma0" and built.legend.names == ["water", "land"]
    with rasterio.open(mask) as layer:
        codes = layer.read(1)
    part = built.split("pretrain")
    for index in range(0, len(part), 5):
        row, col = int(part.table[index]["PatchRow"]), int(part.table[index]["PatchCol"])
        patches, labels = part.gather([index])
        here = codes[row : row + 32, col : col + 32]
        expected = np.select([here == 50, here == 255], [0, 1], 255)
        np.testing.assert_array_equal(labels[0], np.where(patches[0, 0] == NO_DATA, 255, expected))


def test_a_dataset_that_does_not_say_so_is_not_simulated(packed_dataset):
    assert open_dataset(packed_dataset).simulated is False


def test_two_polarisations_are_two_channels_of_one_patch(dual, small_scene, tmp_path):
    given = {"products": dual, "labels": labels_of(small_scene), **SMALL, "work_dir": tmp_path}
    alone = {name: open_dataset(build(polarization=name, **given)) for name in ("HH", "HV")}
    built = open_dataset(build(polarization="HH, HV", **given))
    assert built.signal["polarizations"] == ["HH", "HV"] and built.channels == 2
    assert built.content["settings"]["polarization"] == "HH,HV"
    for name in ("pretrain", "train", "val", "test"):
        part = built.split(name)
        assert rows_of(built, name) == rows_of(alone["HH"], name)  # patches are named by the first channel
        for channel, one in enumerate(alone.values()):
            both = np.array_equal(part.patches[:, channel], one.split(name).patches[:, 0])
            assert both and np.array_equal(part.labels, one.split(name).labels)
    for field in ("mean_db", "std_db"):
        of_each = tuple(getattr(one.statistics, field)[0] for one in alone.values())
        assert getattr(built.statistics, field) == of_each
    assert "mean " + ", ".join(f"{mean:g}" for mean in built.statistics.mean_db) in built.describe()
    report = verify_dataset(built.path)
    assert not report.differ and not report.unreadable
    swapped = open_dataset(build(polarization="HV,HH", **given))
    assert swapped.path != built.path
    assert np.array_equal(swapped.split("val").patches, built.split("val").patches[:, ::-1])
    assert rows_of(swapped, "val")[0]["FileName"].startswith("IMG-HV-")


def test_a_pixel_that_one_channel_lacks_is_missing_in_all(dual, small_scene, tmp_path):
    holes = tmp_path / "holes"
    holes.mkdir()
    product = open_product(dual, crs=SMALL["crs"])
    for name in ("HH", "HV"):
        dn = np.nan_to_num(product.read_dn(polarization=name))
        if name == "HV":
            dn[40:44, 60:70] = 0
        write_geotiff(holes / TIFF_NAME.replace("-HH-", f"-{name}-"), dn, product.transform, crs=None)
    given = {"products": holes, "labels": labels_of(small_scene), **SMALL, "work_dir": tmp_path, "points": None}
    built = open_dataset(build(polarization="HH,HV", min_valid_fraction=0.1, **given))
    [part] = [s for s in map(built.split, ("pretrain", "val", "test")) for r in s.table
              if (r["PatchRow"], r["PatchCol"]) == ("16", "16")]  # fmt: skip
    index = next(i for i, r in enumerate(part.table) if (r["PatchRow"], r["PatchCol"]) == ("16", "16"))
    missing = part.patches[part.rows[index]] == NO_DATA
    # rows 40…43 and columns 60…69 of the product, at two looks, from 16, 16 on
    expected = np.zeros((16, 16), bool)
    expected[4:6, 14:16] = True
    assert np.array_equal(missing[0], expected) and np.array_equal(missing[1], expected)
    assert (part.labels[part.rows[index]][expected] == 255).all()
    assert float(part.table[index]["ValidFraction"]) == round(1 - 4 / 256, 4)


@pytest.mark.parametrize(
    ("asked", "said"), [("HH,HH", "names HH twice"), ("HH,XX", "unknown polarisation 'XX'"), ("HH,", "unknown")]
)
def test_polarisations_that_are_none_are_refused(refused, asked, said):
    assert said in refused(polarization=asked)


def test_a_product_without_the_second_polarisation_is_left_out(refused):
    assert "holds HH, HH,HV asked" in refused(polarization="HH,HV")


def test_bands_of_one_calibrated_image_are_channels(dual, small_scene, tmp_path):
    given = {"labels": labels_of(small_scene), **SMALL, "work_dir": tmp_path, "polarization": "HH,HV"}
    of_files = open_dataset(build(products=dual, **given))
    product = open_product(dual, crs=SMALL["crs"])
    power = np.stack([product.read_power(polarization=name) for name in ("HH", "HV")])
    image = {"driver": "GTiff", "dtype": "float32", "count": 2, "height": power.shape[1], "width": power.shape[2],
             "crs": product.crs, "transform": product.transform, "nodata": np.nan}  # fmt: skip
    with rasterio.open(tmp_path / "image.tif", "w", **image) as raster:
        raster.write(power)
        raster.descriptions = ("HH", "HV")
    calibrated = {"scale": "power", "quantity": "sigma0"}
    built = open_dataset(build(products=tmp_path / "image.tif", **calibrated, **given))
    assert built.signal == of_files.signal
    for name in ("pretrain", "val", "test"):
        one, other = (part.split(name) for part in (built, of_files))
        # the last bit of a power may round another way
        assert np.abs(one.patches.astype(int) - other.patches).max() <= 1
        assert np.array_equal(one.labels, other.labels)


def test_patches_to_train_on_may_overlap_those_held_out_never(scene, tmp_path):
    given = {"products": [scene], "labels": [labels_of(scene)], "patch_px": 32, "block_m": 640, "buffer_m": 40}
    side_by_side = open_dataset(build(**given, work_dir=tmp_path))
    assert (
        open_dataset(build(**given, stride_px=32, work_dir=tmp_path)).tables["test"][0]
        == side_by_side.tables["test"][0]
    )
    dataset = open_dataset(build(**given, stride_px=8, work_dir=tmp_path))
    place = {name: np.array([(int(r["PatchRow"]), int(r["PatchCol"])) for r in table])
             for name, table in dataset.tables.items()}  # fmt: skip
    # all windows of the lattice were looked at, and each is what the product has there
    assert len(place["pretrain"]) > 4 * len(side_by_side.tables["pretrain"])
    assert not (place["pretrain"] % 8).any() and (place["pretrain"] % 32).any()
    assert not (place["test"] % 32).any()
    for name in ("val", "test"):
        apart = np.abs(place[name][:, None] - place[name][None]).max(axis=-1)
        assert apart[~np.eye(len(apart), dtype=bool)].min() >= 32
    product, split = open_product(scene), dataset.split("pretrain")
    for index in (0, len(split) // 2, len(split) - 1):
        row, col = place["pretrain"][index]
        db = product.read_db((2 * row, 2 * col, 64, 64), looks=2)
        np.testing.assert_array_equal(split.patches[split.rows[index]][0], encode_db(db))
    boxes = {name: boxes_m(dataset, name, scene) for name in dataset.tables}
    for held_out in ("val", "test"):
        assert smallest_gap_m(boxes["pretrain"], boxes[held_out]) >= 39


def test_a_stride_that_does_not_divide_a_patch_is_refused():
    with pytest.raises(Alos2TutError, match="stride_px=24 does not divide patch_px=32"):
        load_config("dataset", patch_px=32, stride_px=24)
