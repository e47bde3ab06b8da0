"""From products and labels to patches: pixels, labels, splits on separate ground, lists, statistics."""

import csv
import dataclasses
import functools
import itertools
import json
import math
import os
import re
import resource
import shutil
import signal
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rasterio.warp import transform as reproject_points
from support.products import TIFF_NAME, write_geotiff

from alos2tut import (
    Alos2TutError,
    Alos2TutWarning,
    build_dataset,
    load_config,
    load_legend,
    open_dataset,
    open_product,
    simulate_product,
    verify_dataset,
)
from alos2tut.core.parallel import folder_lock
from alos2tut.dataset import archive, plan, splits
from alos2tut.dataset import builder as dataset_builder
from alos2tut.dataset.encoding import NO_DATA, STEPS_PER_DB, decode_db, encode_db, same_spacing
from alos2tut.dataset.estimate import estimate_dataset
from alos2tut.dataset.labels import label_files
from alos2tut.dataset.store import BOX_COLUMNS, SPLITS, PatchDataset
from alos2tut.dataset.survey import PatchGrid
from alos2tut.products.product import Product
from alos2tut.products.reading import Layer

AUTHORS = ["Year", "Month", "Day", "FolderPath", "FileName", "MinLon", "MinLat", "MaxLon", "MaxLat"]
AUTHORS += ["Latitude", "Longitude", "Category"]
SETTINGS = {"patch_px": 32, "block_m": 640, "buffer_m": 0, "min_valid_fraction": 0.5, "min_labelled_fraction": 0.95}


def build(**settings: object) -> Path:
    """Build with the quick profile, these settings, and no reminders of absent classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        return build_dataset(load_config("dataset", **{**SETTINGS, **settings}))


def labels_of(scene: Path) -> Path:
    return scene / "labels" / "LC_N35E139.tif"


@pytest.fixture(scope="module")
def dataset(scene, tmp_path_factory) -> PatchDataset:
    work = tmp_path_factory.mktemp("work")
    return open_dataset(build(products=scene, labels=labels_of(scene), work_dir=work))


def rows_of(dataset: PatchDataset, split: str) -> list[dict[str, str]]:
    return list(csv.DictReader((dataset.path / f"{split}.csv").read_text().splitlines()))


def boxes(dataset: PatchDataset, split: str, scene: Path) -> np.ndarray:
    """Left, bottom, right, top of every patch in metres, from its place in the product."""
    product, n = open_product(scene), dataset.patch_px
    corners = []
    for record in rows_of(dataset, split):
        row, col = int(record["PatchRow"]), int(record["PatchCol"])
        left, top = product.transform * (2 * col, 2 * row)
        corners.append((left, top - 5 * n, left + 5 * n, top))
    return np.array(corners)


def smallest_gap_m(one: np.ndarray, other: np.ndarray) -> float:
    """Smallest distance along an axis between boxes of two lists; negative where they overlap."""
    gaps = [
        np.maximum(a[:, None] - b[None, :], c[None, :] - d[:, None])
        for a, b, c, d in (
            (one[:, 0], other[:, 2], other[:, 0], one[:, 2]),
            (one[:, 1], other[:, 3], other[:, 1], one[:, 3]),
        )
    ]
    return float(np.maximum(*gaps).min())


# --- pixels and labels


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


@given(st.lists(st.floats(-300, 300, width=32) | st.just(float("nan")), min_size=1))
def test_decibels_survive_the_store_to_half_a_step(values):
    db = np.array(values, dtype=np.float32)
    rows = encode_db(db)
    assert rows.dtype == np.int16 and decode_db(rows).dtype == np.float32
    np.testing.assert_allclose(decode_db(rows), db, atol=0.0051)
    np.testing.assert_array_equal(rows == NO_DATA, np.isnan(db))


def test_a_step_of_the_store_is_a_hundredth_of_a_decibel():
    assert encode_db(np.array([-12.34])).tolist() == [round(-12.34 * STEPS_PER_DB)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(5, (5.0, 5.0), True, id="a number and a pair"),
        pytest.param((24.607, 22.938), (24.6, 23.9), True, id="degrees elsewhere"),
        pytest.param((5, 5), (5, 5.3), False, id="one axis apart"),
        pytest.param(2.5, 5.0, False, id="twice"),
        pytest.param(5, float("nan"), False, id="unknown"),
    ],
)
def test_pixel_sizes_are_compared_with_one_tolerance(one, other, same):
    assert same_spacing(one, other) == same_spacing(other, one) == same


def test_decibels_beyond_the_store_are_clipped_and_not_missing():
    assert encode_db(np.array([-np.inf, -400, 400, np.inf])).tolist() == [-32767, -32767, 32767, 32767]


# --- splits


@pytest.mark.parametrize("buffer_m", [0, 100])
def test_held_out_ground_is_in_no_other_list(scene, tmp_path, buffer_m):
    built = build(products=scene, labels=labels_of(scene), work_dir=tmp_path, buffer_m=buffer_m)
    dataset = open_dataset(built)
    ground = {split: boxes(dataset, split, scene) for split in SPLITS}
    # the patches' boxes in degrees lie askew on the metres' grid by less than a metre
    for one, other in [("val", "test"), ("pretrain", "val"), ("pretrain", "test"), ("train", "val"), ("train", "test")]:
        assert smallest_gap_m(ground[one], ground[other]) >= buffer_m - 1
    assert {tuple(box) for box in ground["train"]} <= {tuple(box) for box in ground["pretrain"]}


def test_splits_have_about_the_wanted_sizes_and_every_kept_patch_once(dataset):
    sizes = {split: len(dataset.split(split)) for split in SPLITS}
    total = sizes["pretrain"] + sizes["val"] + sizes["test"]
    assert sizes["val"] / total == pytest.approx(0.15, abs=0.06)
    assert sizes["test"] / total == pytest.approx(0.15, abs=0.06)
    names = [record["FileName"] for split in ("pretrain", "val", "test") for record in rows_of(dataset, split)]
    assert len(names) == len(set(names)) == total


def shifted_copy(scene: Path, folder: Path) -> Path:
    """The same ground a second time, as a GeoTIFF whose grid starts 21 rows and 37 columns further in."""
    product = open_product(scene)
    dn = np.nan_to_num(product.read_dn())[21:, 37:]
    return write_geotiff(folder / TIFF_NAME, dn, product.transform * rasterio.Affine.translation(37, 21))


def test_two_products_of_the_same_ground_share_none_between_splits(scene, tmp_path):
    second = shifted_copy(scene, tmp_path / "second")
    built = open_dataset(build(products=(scene, second), labels=labels_of(scene), work_dir=tmp_path))
    origins = {open_product(p).name: open_product(p).transform for p in (scene, second)}
    ground = {split: boxes_of_both(built, split, origins) for split in SPLITS}
    assert {record["Product"] for record in rows_of(built, "val") + rows_of(built, "test")} == set(origins)
    for one, other in itertools.combinations(("pretrain", "val", "test"), 2):
        assert smallest_gap_m(ground[one], ground[other]) >= -1


def boxes_of_both(dataset: PatchDataset, split: str, origins: dict[str, rasterio.Affine]) -> np.ndarray:
    corners = []
    for record in rows_of(dataset, split):
        left, top = origins[record["Product"]] * (2 * int(record["PatchCol"]), 2 * int(record["PatchRow"]))
        corners.append((left, top - 160, left + 160, top))
    return np.array(corners)


# --- polarisation and coordinate system


@pytest.fixture(scope="module")
def dual(small_scene, tmp_path_factory) -> Path:
    """The folder of a GeoTIFF product with HH, and HV at half the amplitude."""
    product = open_product(small_scene)
    dn = np.nan_to_num(product.read_dn())
    folder = tmp_path_factory.mktemp("dual")
    for polarization, factor in [("HH", 1.0), ("HV", 0.5)]:
        name = TIFF_NAME.replace("-HH-", f"-{polarization}-")
        write_geotiff(folder / name, np.rint(dn * factor), product.transform, crs=None)
    return folder


SMALL = {"block_m": 320, "patch_px": 16, "crs": "EPSG:32654"}


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


def test_a_product_without_the_first_ones_polarisation_is_refused(refused, dual, small_scene):
    image = next(dual.glob("IMG-HV-*"))
    message = refused(products=(image, small_scene), crs="EPSG:32654")
    assert message.startswith(str(small_scene)) and "HV" in message and "polarization=" in message


def test_a_product_without_coordinate_system_needs_it(refused, dual, small_scene, tmp_path):
    assert "coordinate system" in refused(products=dual)
    built = build(products=dual, labels=labels_of(small_scene), work_dir=tmp_path / "given", **SMALL)
    assert open_dataset(built).content["products"][0]["crs"] == "EPSG:32654"


# --- lists


def test_lists_begin_with_the_authors_columns(dataset):
    for split in SPLITS:
        header = (dataset.path / f"{split}.csv").read_text().splitlines()[0].split(",")
        assert header[:12] == AUTHORS and "Row" in header[12:]


def test_list_entries_say_where_the_patch_lies(dataset, scene):
    product, [left, _, _, top] = open_product(scene), boxes(dataset, "val", scene)[0]
    record = rows_of(dataset, "val")[0]
    # lower left corner, upper right corner, the pixel nearest the centre
    points = [(left, top - 160), (left + 160, top), (left + 82.5, top - 82.5)]
    longitude, latitude = reproject_points(product.crs, "EPSG:4326", *zip(*points, strict=True))
    numbers = [longitude[0], latitude[0], longitude[1], latitude[1], latitude[2], longitude[2]]
    assert [float(record[column]) for column in AUTHORS[5:11]] == pytest.approx(numbers, abs=0.6e-4)
    assert [record[column] for column in AUTHORS[:4]] == ["2022", "11", "19", "2022/11/19"]
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


# --- what dataset.json says


def test_statistics_come_from_the_pretraining_list_alone(dataset):
    part = dataset.split("pretrain")
    db = decode_db(np.asarray(part.patches)).astype(np.float64)
    assert dataset.statistics.mean_db == pytest.approx([np.nanmean(db)], abs=2e-4)
    assert dataset.statistics.std_db == pytest.approx([np.nanstd(db)], abs=2e-4)
    everything = np.concatenate([decode_db(np.asarray(dataset.split(s).patches)) for s in ("pretrain", "val", "test")])
    assert abs(dataset.statistics.mean_db[0] - np.nanmean(everything)) > 1e-3


def test_class_weights_follow_the_training_lists_shares(dataset):
    part = dataset.split("train")
    # patches that the swath's edge cuts are for pretraining only
    assert len(part) < len(dataset.split("pretrain"))
    labels = np.asarray(part.labels)[part.rows]
    share = np.bincount(labels[labels != 255], minlength=9) / (labels != 255).sum()
    assert dataset.class_weights == pytest.approx((1 - share) / 8, abs=1e-6)
    assert dataset.class_weights.sum() == pytest.approx(1, abs=1e-6)


def test_the_description_agrees_with_the_files(dataset):
    content = dataset.content
    assert content["quantity"] == "sigma0" and content["polarizations"] == ["HH"] and content["spacing_m"] == [5, 5]
    assert dataset.simulated and content["simulated"] and "simulated" not in dataset.signal
    for split in SPLITS:
        part = dataset.split(split)
        assert content["splits"][split]["patches"] == len(part)
        labels = np.asarray(part.labels)[part.rows]
        counts = np.bincount(labels[labels != 255], minlength=9).tolist()
        assert content["splits"][split]["class_pixels"] == dict(zip(dataset.legend.names, counts, strict=True))


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


# --- filters


def test_patches_with_too_much_of_a_class_are_dropped(scene, dataset, tmp_path):
    built = build(products=scene, labels=labels_of(scene), work_dir=tmp_path, max_class_share={"forest": 0.3})
    forest = dataset.legend.names.index("forest")
    part = open_dataset(built).split("pretrain")
    share = (np.asarray(part.labels) == forest).mean(axis=(1, 2))
    assert share.max() <= 0.3 and len(part) < len(dataset.split("pretrain"))


def test_patches_without_enough_ground_or_labels_are_dropped(scene, tmp_path):
    settings = {"min_valid_fraction": 1.0, "min_labelled_fraction": 1.0}
    built = open_dataset(build(products=scene, labels=labels_of(scene), work_dir=tmp_path, **settings))
    assert all((np.asarray(built.split(s).patches) != NO_DATA).all() for s in ("pretrain", "val", "test"))
    train = built.split("train")
    assert (np.asarray(train.labels)[train.rows] != 255).all()


# --- several products, workers, interruptions


@pytest.fixture(scope="module")
def trio(small_scene, tmp_path_factory) -> dict[str, object]:
    """Settings of an archive of three products: one ground in autumn, in winter, and a shifted copy of it."""
    folder = tmp_path_factory.mktemp("trio")
    winter = simulate_product(folder / "winter", seed=1, size_px=(512, 640), season="winter")
    products = (small_scene, winter, shifted_copy(small_scene, folder / "copy"))
    return {"products": products, "labels": labels_of(small_scene), "patch_px": 16, "block_m": 320, "workers": 1}


@pytest.fixture(scope="module")
def built_trio(trio, tmp_path_factory) -> Path:
    return build(**trio, work_dir=tmp_path_factory.mktemp("whole"))


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("pool", [2, ThreadPoolExecutor], ids=["two processes", "threads"])
def test_workers_change_no_byte(trio, built_trio, tmp_path, pool):
    if pool == 2:
        other = build(**trio | {"workers": 2}, work_dir=tmp_path)
    else:
        with pool(3) as executor, warnings.catch_warnings():
            warnings.simplefilter("ignore", Alos2TutWarning)
            config = load_config("dataset", **{**SETTINGS, **trio}, work_dir=tmp_path)
            other = build_dataset(config, executor=executor)
    assert other.name == built_trio.name and content_of(other) == content_of(built_trio)


@pytest.mark.soak
def test_dasks_workers_change_no_byte(trio, built_trio, tmp_path):
    distributed = pytest.importorskip("distributed")
    config = load_config("dataset", **{**SETTINGS, **trio}, work_dir=tmp_path)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster,
        distributed.Client(cluster) as client,
    ):
        folder = build_dataset(config, executor=client.get_executor())
    assert folder.name == built_trio.name and content_of(folder) == content_of(built_trio)


def killed_at(call: int, name: str, settings: dict[str, object]) -> int:
    """Build in another process that is killed when a function of ours is called so often; how it ended."""
    child = os.fork()
    if not child:
        module = plan if name == "survey_product" else dataset_builder
        calls, real = itertools.count(1), getattr(module, name)

        def counted(*arguments: object, **options: object) -> object:
            if next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(module, name, counted)
        build(**settings)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("survey_product", 2),
        ("_lay_out_array", 3),
        ("_cut_row", 5),
        ("_cut_row", 25),
        ("_write_lists", 1),
        ("_describe", 1),
    ],
)
def test_a_killed_run_goes_on_and_ends_the_same(trio, built_trio, tmp_path, monkeypatch, name, call):
    settings = {**trio, "work_dir": tmp_path}
    assert killed_at(call, name, settings) == -signal.SIGKILL
    assert not list(tmp_path.glob("dataset-*/dataset.json"))
    seen, cut = len(list(tmp_path.glob("surveys/*.npz"))), len(list(tmp_path.glob("*.partial/cut/*.json")))
    again = {"survey_product": [], "_cut_product": []}
    for module, (function, calls) in zip((plan, dataset_builder), again.items(), strict=True):
        real = getattr(module, function)
        monkeypatch.setattr(module, function, lambda job, f=real, c=calls: c.append(job) or f(job))
    folder = build(**settings)
    assert folder.name == built_trio.name and content_of(folder) == content_of(built_trio)
    # nothing that was finished is done again
    assert (len(again["survey_product"]), len(again["_cut_product"])) == (3 - seen, 3 - cut)
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name, "surveys"]


def partial_run(trio: dict[str, object], work: Path) -> Path:
    """What a run leaves that was killed when all pixels were cut but those of one product."""
    assert killed_at(1, "_write_lists", {**trio, "work_dir": work}) == -signal.SIGKILL
    [partial] = work.glob("*.partial")
    (partial / "cut" / "000002.json").unlink()
    return partial


@pytest.mark.parametrize(
    "damage", ["store cut", "store lost", "store empty", "mark empty", "mark of another choice", "stray file"]
)
def test_a_damaged_partial_folder_is_made_anew(trio, built_trio, tmp_path, damage):
    partial = partial_run(trio, tmp_path)
    store = partial / "dataset" / "val_db.npy"
    if damage.startswith("mark"):
        (partial / "made_from.json").write_text("" if damage == "mark empty" else '"another"')
        store.write_bytes(bytes(store.stat().st_size))
    elif damage == "stray file":
        (partial / "dataset" / "junk.txt").write_text("hello")
    elif damage == "store lost":
        store.unlink()
    else:
        store.write_bytes(store.read_bytes()[: 0 if damage == "store empty" else -1])
    folder = build(**trio, work_dir=tmp_path)
    (folder / "junk.txt").unlink(missing_ok=True)
    assert content_of(folder) == content_of(built_trio) and not partial.exists()


@pytest.mark.parametrize("text", ["{}", "", '{"sums": [1, 2, 3], "lists": {}}'])
def test_a_damaged_record_of_what_was_cut_is_told_and_cut_again(trio, built_trio, tmp_path, text):
    (partial_run(trio, tmp_path) / "cut" / "000001.json").write_text(text)
    with pytest.raises(Alos2TutError, match=r"000001\.json: was damaged and is removed"):
        build(**trio, work_dir=tmp_path)
    assert content_of(build(**trio, work_dir=tmp_path)) == content_of(built_trio)


def test_two_runs_of_one_dataset_do_not_meet(trio, tmp_path):
    partial = partial_run(trio, tmp_path)
    with folder_lock(partial), pytest.raises(Alos2TutError, match="another process is working here"):
        build(**trio, work_dir=tmp_path)


def test_what_is_in_the_way_is_told_before_any_work(trio, built_trio, tmp_path, monkeypatch):
    shutil.copytree(built_trio.parent, tmp_path / "work")
    folder = tmp_path / "work" / built_trio.name
    monkeypatch.setattr(dataset_builder, "_cut_product", lambda _: pytest.fail("cut"))
    whole = (folder / "test_db.npy").read_bytes()
    (folder / "test_db.npy").write_bytes(b"")
    with pytest.raises(Alos2TutError, match=r"is in the way, and no whole dataset: .*Remove it"):
        build(**trio, work_dir=tmp_path / "work")
    (folder / "test_db.npy").unlink()
    with pytest.raises(Alos2TutError, match=r"it lacks test_db\.npy"):
        build(**trio, work_dir=tmp_path / "work")
    (folder / "test_db.npy").write_bytes(whole)
    (folder / "dataset.json").unlink()
    with pytest.raises(Alos2TutError, match="is in the way"):
        build(**trio, work_dir=tmp_path / "work")


def test_the_shell_of_a_run_killed_at_its_very_end_goes(trio, built_trio, tmp_path, capsys):
    folder = Path(shutil.copytree(built_trio.parent, tmp_path / "work")) / built_trio.name
    shell = folder.with_name(f"{folder.name}.partial")
    shell.mkdir()
    assert build(**trio, work_dir=tmp_path / "work") == folder and not shell.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", None], ids=["empty", "cut", "another", "flipped"])
def test_a_damaged_survey_is_made_anew(trio, built_trio, tmp_path, content):
    shutil.copytree(built_trio.parent / "surveys", tmp_path / "surveys")
    for path in (tmp_path / "surveys").iterdir():
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 255
        path.write_bytes(bytes(whole) if content is None else content)
    assert content_of(build(**trio, work_dir=tmp_path)) == content_of(built_trio)


def test_surveys_serve_only_what_they_were_made_for(small_scene, dual, tmp_path):
    settings = {"products": small_scene, "labels": labels_of(small_scene), "work_dir": tmp_path, **SMALL}

    def surveys() -> int:
        return len(list((tmp_path / "surveys").iterdir()))

    nine = build(**settings)
    build(**settings, seed=7, max_class_share={"forest": 0.9})
    assert surveys() == 1
    fourteen = open_dataset(build(**settings, legend="japan_14"))
    assert surveys() == 2 and len(fourteen.legend) == 14
    water = codes_over(small_scene, np.ones((64, 80), np.uint8), tmp_path / "water.tif")
    watery = open_dataset(build(**settings | {"labels": water}))
    assert surveys() == 3 and watery.content["splits"]["train"]["class_pixels"]["forest"] == 0
    assert open_dataset(nine).content["splits"]["train"]["class_pixels"]["forest"] > 0
    build(**settings | {"products": dual}, polarization="HH")
    build(**settings | {"products": dual}, polarization="HV")
    assert surveys() == 5


def test_a_legend_of_the_same_name_and_other_content_makes_another_dataset(small_scene, tmp_path):
    content = load_legend("japan_9").to_dict()
    folders = []
    for color in (1, 2):
        content["classes"][0]["color"] = [color, 0, 0]
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        settings = {"products": small_scene, "labels": labels_of(small_scene), "work_dir": tmp_path, **SMALL}
        folders.append(build(**settings, legend=tmp_path / "mine.yaml"))
    assert folders[0] != folders[1] and [open_dataset(f).legend.classes[0].color[0] for f in folders] == [1, 2]


def test_the_place_that_was_given_for_a_product_counts(dual, tmp_path):
    degrees = rasterio.Affine(0.5, 0, -180, 0, -0.5, 90)
    world = write_labels(tmp_path / "world.tif", np.full((360, 720), 7, np.uint8), degrees, crs="EPSG:4326")
    west = []
    for zone in (54, 53):
        (tmp_path / "table.csv").write_text(f"path,crs\n{dual},EPSG:326{zone}\n")
        settings = {"products": tmp_path / "table.csv", "labels": world, "work_dir": tmp_path, "patch_px": 16}
        west.append(float(open_dataset(build(**settings, block_m=320)).tables["val"][0]["West"]))
    assert west[0] - west[1] == pytest.approx(6, abs=0.1)


def test_labels_that_change_meanwhile_are_noticed(small_scene, tmp_path, monkeypatch):
    labels = codes_over(small_scene, np.ones((64, 80), np.uint8), tmp_path / "labels.tif")
    real = dataset_builder._lay_out

    def lay_out(*arguments):
        codes_over(small_scene, np.full((64, 80), 2, np.uint8), labels)
        real(*arguments)

    monkeypatch.setattr(dataset_builder, "_lay_out", lay_out)
    with pytest.raises(Alos2TutError, match="was changed after it was looked at"):
        build(products=small_scene, labels=labels, work_dir=tmp_path, **SMALL)


def test_an_executor_that_is_given_does_the_work(trio, built_trio, tmp_path):
    class Counting(ThreadPoolExecutor):
        jobs = 0

        def submit(self, *arguments):
            Counting.jobs += 1
            return super().submit(*arguments)

    with Counting(1) as executor, warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        build_dataset(load_config("dataset", **{**SETTINGS, **trio}, work_dir=tmp_path), executor=executor)
    assert Counting.jobs == 6


def test_other_processes_find_what_is_named_from_here(trio, built_trio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = {"products": [os.path.relpath(path) for path in trio["products"]]}
    relative |= {"labels": os.path.relpath(trio["labels"]), "work_dir": "work", "workers": 2}
    assert content_of(build(**trio | relative)) == content_of(built_trio)


def test_too_small_a_disk_is_told_before_anything_is_cut(trio, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1e6, 1e6, 1000))
    with pytest.raises(Alos2TutError, match=r"need 0\.0 GB and the disk has 0\.0 GB left.*points"):
        build(**trio, work_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["surveys"]


def test_a_disk_that_fills_up_leaves_a_clear_error_and_room_helps(trio, built_trio, tmp_path):
    child = os.fork()
    if not child:
        # no file may grow beyond this: what a full disk is to a writer
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        largest = (built_trio / "pretrain_db.npy").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, largest // 2))
        try:
            build(**trio, work_dir=tmp_path)
        except Alos2TutError as error:
            os._exit(3 if "could not be written" in str(error) and "goes on" in str(error) else 4)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert not list(tmp_path.glob("dataset-*/dataset.json"))
    assert content_of(build(**trio, work_dir=tmp_path)) == content_of(built_trio)


def truncated(scene: Path, folder: Path) -> Path:
    """A copy of a product whose image ends halfway."""
    shutil.copytree(scene, folder)
    image = next(folder.glob("IMG-*"))
    os.truncate(image, image.stat().st_size // 2)
    return folder


def test_a_bad_product_stops_the_work_or_is_left_out_and_named(trio, tmp_path):
    bad = truncated(trio["products"][0], tmp_path / "bad")
    settings = trio | {"products": (bad, *trio["products"][1:]), "work_dir": tmp_path / "work"}
    with pytest.raises(Alos2TutError, match="bad"):
        build(**settings)
    with pytest.warns(Alos2TutWarning, match="1 of 3 products are left out: 1 unreadable"):
        dataset = open_dataset(build_dataset(load_config("dataset", **{**SETTINGS, **settings}, on_error="skip")))
    with pytest.raises(Alos2TutError, match="bad"):
        build(**settings)
    [left_out] = dataset.content["left_out"]
    assert left_out["product"] == "bad" and left_out["why"] == "unreadable" and str(tmp_path) not in left_out["reason"]
    assert {record["Product"] for record in dataset.tables["pretrain"]} == {
        open_product(path).name for path in trio["products"][1:]
    }
    assert len(dataset.content["products"]) == 2


def test_a_product_whose_pixels_turn_out_to_be_damaged_is_left_out(trio, built_trio, tmp_path, monkeypatch):
    real = plan.survey_product

    def survey(job):
        if job.number == 1:
            raise Alos2TutError("line 7 is cut short", where=job.entry.path)
        return real(job)

    monkeypatch.setattr(plan, "survey_product", survey)
    with pytest.raises(Alos2TutError, match="line 7"):
        build(**trio, work_dir=tmp_path)
    dataset = open_dataset(build(**trio, on_error="skip", work_dir=tmp_path))
    assert "line 7" in dataset.content["left_out"][0]["reason"] and len(dataset.content["products"]) == 2
    assert str(tmp_path) not in (dataset.path / "dataset.json").read_text()
    # what could not be read once may be read later
    monkeypatch.undo()
    whole = build(**trio, on_error="skip", work_dir=tmp_path)
    assert whole.name == built_trio.name and content_of(whole) == content_of(built_trio)
    assert len(dataset.tables["pretrain"]) < len(open_dataset(built_trio).tables["pretrain"])


def test_a_product_without_labels_or_patches_is_named(trio, small_scene, tmp_path):
    folder = tmp_path / "far"
    far = simulate_product(folder, seed=1, size_px=(512, 640), corner=(139.6, 35.3))
    settings = trio | {"products": (small_scene, far), "work_dir": tmp_path / "work", "min_labelled_fraction": 0.3}
    with pytest.warns(Alos2TutWarning) as warned:
        dataset = open_dataset(build_dataset(load_config("dataset", **{**SETTINGS, **settings})))
    name = open_product(far).name
    assert any(f"no pixel of {name} has a label" in str(w.message) for w in warned)
    assert {r["Product"] for r in dataset.tables["train"]} == {open_product(small_scene).name}
    # with the labels of both, each product has its own, whichever tile comes first
    tiles = [small_scene / "labels", far / "labels"]
    both = [open_dataset(build(**settings | {"labels": files})) for files in (tiles, tiles[::-1])]
    for found in both:
        shares = {r["LabelledFraction"] for r in found.tables["train"] if r["Product"] == name}
        assert shares and min(map(float, shares)) >= 0.3
    with pytest.warns(Alos2TutWarning, match="no patch is kept of far"):
        config = load_config("dataset", **{**SETTINGS, **settings}, points=20)
        [told] = open_dataset(build_dataset(config)).content["left_out"]
    assert told == {"product": "far", "why": "no patch", "reason": "no patch is kept; most: no sampled point"}


def test_labels_that_do_not_fit_are_no_fault_of_the_product(trio, small_scene, tmp_path):
    odd = codes_over(small_scene, np.full((64, 80), 77, np.uint8), tmp_path / "odd.tif")
    with pytest.raises(Alos2TutError, match=r"odd\.tif: holds codes \[77\]"):
        build(**trio | {"labels": odd}, on_error="skip", work_dir=tmp_path / "work")


def test_what_a_filter_leaves_out_is_told_and_counts(trio, built_trio, tmp_path):
    dataset = open_dataset(build(**trio, season="autumn", work_dir=tmp_path))
    [left_out] = dataset.content["left_out"]
    assert left_out["why"] == "filter" and left_out["product"] == "winter" and "autumn" in left_out["reason"]
    fewer = trio | {"products": (trio["products"][0], trio["products"][2])}
    other = open_dataset(build(**fewer, season="autumn", work_dir=tmp_path))
    assert other.path != dataset.path and other.content["left_out"] == []
    assert [list(other.tables[split]) for split in SPLITS] == [list(dataset.tables[split]) for split in SPLITS]


def test_one_ground_on_two_dates_stays_apart_by_date_and_together_by_split(built_trio):
    dataset = open_dataset(built_trio)
    split_of: dict[str, set[str]] = {}
    for split in ("pretrain", "val", "test"):
        for record in dataset.tables[split]:
            assert record["FolderPath"] == f"{record['Year']}/{record['Month']}/{record['Day']}"
            if "ALOS29000" in record["Product"]:
                split_of.setdefault(record["PatchRow"] + "_" + record["PatchCol"], set()).add(split)
    assert {(r["Year"], r["Month"], r["Day"]) for r in dataset.tables["pretrain"]} >= {
        ("2022", "11", "19"),
        ("2022", "02", "12"),
    }
    names = [record["FileName"] for split in ("pretrain", "val", "test") for record in dataset.tables[split]]
    assert len(names) == len(set(names)) and all(len(splits) == 1 for splits in split_of.values())


def test_products_on_both_sides_of_a_zone_border_share_no_ground_between_splits(tmp_path):
    # 3.2 km across 138° E, once in zone 53 and once in 54
    dn = np.random.default_rng(0).integers(1, 9999, (1280, 1280)).astype(np.uint16)
    products = []
    for zone in (53, 54):
        x, y = reproject_points("EPSG:4326", f"EPSG:326{zone}", [137.985], [35.5])
        name = TIFF_NAME.replace("181018", f"1810{zone - 40}")
        transform = rasterio.Affine(2.5, 0, x[0] // 5 * 5, 0, -2.5, y[0] // 5 * 5)
        products.append(write_geotiff(tmp_path / str(zone) / name, dn, transform, crs=f"EPSG:326{zone}"))
    codes = np.random.default_rng(1).integers(1, 15, (900, 1200)).astype(np.uint8)
    degrees = rasterio.Affine(1 / 12000, 0, 137.96, 0, -1 / 12000, 35.52)
    labels = write_labels(tmp_path / "labels.tif", codes, degrees, crs="EPSG:4326")
    settings = {"patch_px": 16, "block_m": 400, "buffer_m": 50, "min_labelled_fraction": 0.5}
    dataset = open_dataset(build(products=tuple(products), labels=labels, work_dir=tmp_path / "w", **settings))
    opened = {open_product(path).name: open_product(path) for path in products}
    corners = {split: patch_corners(dataset, split, opened) for split in ("pretrain", "val", "test")}
    assert all({name for name, _ in found} == set(opened) for found in corners.values())
    for one, other in itertools.combinations(corners, 2):
        (a, b) = (np.array([points for _, points in corners[split]]) for split in (one, other))
        gaps = np.maximum(a.min(axis=1)[:, None] - b.max(axis=1), b.min(axis=1) - a.max(axis=1)[:, None])
        assert gaps.max(axis=-1).min() >= 45
    # labels on either side are those of the ground, whatever the zone
    for split in corners:
        part = dataset.split(split)
        for index in range(0, len(part), 9):
            record, (patches, found) = part.table[index], part.gather([index])
            product = opened[record["Product"]]
            col, row = np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5)
            place = product.transform * (
                2 * (int(record["PatchCol"]) + col.ravel()),
                2 * (int(record["PatchRow"]) + row.ravel()),
            )
            cols, rows = ~degrees * tuple(np.array(v) for v in reproject_points(product.crs, "EPSG:4326", *place))
            expected = dataset.legend.to_classes(codes[np.floor(rows).astype(int), np.floor(cols).astype(int)])
            np.testing.assert_array_equal(found[0].ravel(), np.where(patches[0].ravel() == NO_DATA, 255, expected))


def patch_corners(dataset: PatchDataset, split: str, opened: dict[str, Product]) -> list[tuple[str, np.ndarray]]:
    """Corners of each patch in metres on one grid for all products (zone 53)."""
    found = []
    for record in dataset.tables[split]:
        product, n = opened[record["Product"]], 2 * dataset.patch_px
        row, col = 2 * int(record["PatchRow"]), 2 * int(record["PatchCol"])
        xs, ys = zip(*(product.transform * p for p in ((col, row), (col + n, row), (col, row + n), (col + n, row + n))),
                     strict=True)  # fmt: skip
        found.append((product.name, np.transpose(reproject_points(product.crs, "EPSG:32653", xs, ys))))
    return found


class Mask:
    """A layer of a product, from an array."""

    dtype = np.dtype(np.uint8)

    def __init__(self, values: np.ndarray):
        self._values = values

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[np.ndarray]:
        for first in range(rows.start, rows.stop, step):
            yield self._values[first : min(first + step, rows.stop), cols]


def test_two_products_of_one_name_are_refused(refused, small_scene, tmp_path):
    product = open_product(small_scene)
    dn = np.nan_to_num(product.read_dn())
    copies = [write_geotiff(tmp_path / f / TIFF_NAME, dn[i:], product.transform) for i, f in enumerate("ab")]
    message = refused(products=copies)
    assert str(copies[0]) in message and str(copies[1]) in message and "same names" in message


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
    grid = PatchGrid(dataclasses.replace(product, layers={"mask": layer}), 16, 2)
    assert np.argwhere(grid.displaced((0, 0, 32, 32))).tolist() == [[1, 0], [2, 0]]


# --- balance


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


def test_caps_and_sampling_show_in_the_balance(scene, tmp_path):
    settings = {"products": scene, "labels": labels_of(scene), "work_dir": tmp_path}
    capped = open_dataset(build(**settings, max_class_share={"forest": 0.5}, points=300)).content["balance"]
    shares = [capped[when]["pixels"]["forest"] / sum(capped[when]["pixels"].values()) for when in ("before", "after")]
    assert shares[1] < 0.7 * shares[0] and capped["dropped"]["too much of a class"] > 50
    plain = open_dataset(build(**settings)).content["balance"]
    assert plain["before"] == plain["after"] == capped["before"]


def test_a_higher_temperature_evens_the_classes_out(scene, tmp_path):
    evenness = []
    for temperature in (1, 4, float("inf")):
        settings = {"points": 150, "temperature": temperature, "products": scene, "labels": labels_of(scene)}
        pixels = open_dataset(build(**settings, work_dir=tmp_path)).content["balance"]["after"]["pixels"]
        shares = np.array(list(pixels.values())) / sum(pixels.values())
        evenness.append(float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))
    assert evenness[0] < evenness[1] < evenness[2]


def test_without_points_the_pixel_nearest_the_centre_is_named(dataset, scene):
    product = open_product(scene)
    for record in dataset.tables["val"]:
        x, y = product.transform * (2 * (int(record["PatchCol"]) + 16.5), 2 * (int(record["PatchRow"]) + 16.5))
        longitude, latitude = reproject_points(product.crs, "EPSG:4326", [x], [y])
        assert (record["Longitude"], record["Latitude"]) == (f"{longitude[0]:.4f}", f"{latitude[0]:.4f}")


def test_what_lists_say_of_a_patch_is_so(dataset):
    for split in SPLITS:
        part = dataset.split(split)
        boxes = np.array([[float(record[side]) for side in BOX_COLUMNS] for record in part.table])
        blocks = splits.ground_blocks(boxes, 640)
        for index, record in enumerate(part.table):
            patches, labels = part.gather([index])
            assert float(record["LabelledFraction"]) == pytest.approx((labels != 255).mean(), abs=5e-5)
            assert float(record["ValidFraction"]) == pytest.approx((patches != NO_DATA).mean(), abs=5e-5)
            assert record["Block"] == "{}_{}".format(*blocks[index])


def test_a_point_without_label_has_no_code(small_scene, tmp_path):
    half = codes_over(small_scene, np.full((64, 40), 7, np.uint8), tmp_path / "half.tif", half=True)
    table = open_dataset(build(products=small_scene, labels=half, work_dir=tmp_path, **SMALL)).tables["pretrain"]
    assert {record["Category"] for record in table} == {"7", "-1"}


# --- what it would be


@pytest.mark.parametrize("patch_px", [16, 31])
def test_no_dry_run_leaves_anything(small_scene, tmp_path, patch_px):
    settings = {**SETTINGS, "products": small_scene, "labels": labels_of(small_scene), "work_dir": tmp_path / "work"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        estimate_dataset(load_config("dataset", **settings | {"patch_px": patch_px, "block_m": 320}))
    assert not (tmp_path / "work").exists()


def test_expected_hours_follow_from_rows_and_workers(trio, tmp_path, monkeypatch):
    monkeypatch.setattr("alos2tut.dataset.estimate._seconds_per_row", lambda *_: (7200.0, 3600.0))
    config = load_config("dataset", **{**SETTINGS, **trio}, work_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        estimate = estimate_dataset(config)
        two = estimate_dataset(dataclasses.replace(config, workers=2))
    # 16 rows of patches in two products, 15 in the shifted one; every row has one that is kept
    assert estimate.hours == pytest.approx(47 * 3) and two.hours == pytest.approx(47 * 3 / 2)


def test_a_dry_run_tells_what_would_be_built_and_writes_nothing(scene, dataset, tmp_path):
    config = load_config("dataset", **SETTINGS, products=scene, labels=labels_of(scene), work_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        estimate = estimate_dataset(config)
    assert not list(tmp_path.iterdir())
    for split, patches in estimate.patches.items():
        assert patches == pytest.approx(len(dataset.tables[split]), rel=0.05, abs=4)
    stored = sum(path.stat().st_size for path in dataset.path.glob("*.npy"))
    assert estimate.size_bytes == pytest.approx(stored, rel=0.05)
    total, of_all = sum(estimate.class_pixels.values()), ("pretrain", "val", "test")
    built = {n: sum(dataset.content["splits"][s]["class_pixels"][n] for s in of_all) for n in dataset.legend.names}
    for name, pixels in estimate.class_pixels.items():
        assert pixels / total == pytest.approx(built[name] / sum(built.values()), abs=0.02)
    text = estimate.to_text()
    assert "GB" in text and "1 worker" in text and "nothing was written" in text and estimate.hours > 0


# --- bad input


def write_labels(path: Path, codes: np.ndarray, transform: rasterio.Affine, crs: str | None = "EPSG:32654") -> Path:
    profile = {"driver": "GTiff", "dtype": codes.dtype, "count": 1, "height": codes.shape[0], "width": codes.shape[1]}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform) as raster:
        raster.write(codes, 1)
    return path


@pytest.fixture
def refused(small_scene, tmp_path):
    """Build from the small scene with these settings: refused, and nothing is left."""

    def refuse(**settings: object) -> str:
        given = {"products": small_scene, "labels": labels_of(small_scene), "block_m": 320, "patch_px": 16, **settings}
        with pytest.raises(Alos2TutError) as error:
            build(work_dir=tmp_path / "work", **given)
        # what was seen of the products is all that may stay
        assert not [path for path in tmp_path.glob("work/*") if path.name != "surveys"]
        return str(error.value)

    return refuse


def codes_over(scene: Path, codes: np.ndarray, path: Path, *, half: bool = False, **options: object) -> Path:
    """A label raster over the whole product, or its left half."""
    product = open_product(scene)
    width = product.shape[1] / (2 if half else 1)
    scale = rasterio.Affine.scale(width / codes.shape[1], product.shape[0] / codes.shape[0])
    return write_labels(path, codes, product.transform * scale, **options)


def test_labels_elsewhere_are_refused(refused, tmp_path):
    elsewhere = write_labels(tmp_path / "far.tif", np.ones((50, 50), np.uint8), rasterio.Affine(10, 0, 0, 0, -10, 1e6))
    message = refused(labels=elsewhere)
    assert "far.tif" in message and "does not overlap" in message and "info" in message


def test_labels_elsewhere_are_refused_before_a_pixel_is_read(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(Product, "read_db", lambda *_, **__: pytest.fail("pixels were read"))
    elsewhere = write_labels(tmp_path / "far.tif", np.ones((50, 50), np.uint8), rasterio.Affine(10, 0, 0, 0, -10, 1e6))
    assert "does not overlap" in refused(labels=elsewhere)
    degrees = rasterio.Affine(0.1, 0, 0, 0, -0.1, 10)
    africa = write_labels(tmp_path / "africa.tif", np.ones((50, 50), np.uint8), degrees, crs="EPSG:4326")
    assert "does not overlap" in refused(labels=africa)


def test_labels_of_the_whole_world_overlap_every_product(small_scene, tmp_path):
    degrees = rasterio.Affine(0.5, 0, -180, 0, -0.5, 90)
    world = write_labels(tmp_path / "world.tif", np.full((360, 720), 7, np.uint8), degrees, crs="EPSG:4326")
    built = open_dataset(build(products=small_scene, labels=world, work_dir=tmp_path, block_m=320, patch_px=16))
    assert built.content["splits"]["train"]["class_pixels"][load_legend("japan_9").names[6]] == 0
    assert sum(built.content["splits"]["train"]["class_pixels"].values()) > 0


def test_a_folder_of_labels_stands_for_its_rasters(small_scene, dataset, tmp_path):
    folder, file = labels_of(small_scene).parent, labels_of(small_scene)
    assert label_files(folder) == label_files([folder]) == (str(file),) == label_files(file)
    assert label_files([file, str(folder)]) == (str(file), str(file))
    settings = {"products": small_scene, "work_dir": tmp_path, "block_m": 320, "patch_px": 16}
    assert build(labels=folder, **settings) == build(labels=file, **settings)


def test_a_folder_without_labels_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    message = refused(labels=tmp_path / "empty")
    assert "empty" in message and "*.tif" in message


def test_label_rasters_of_several_bands_are_refused(refused, small_scene, tmp_path):
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": 64, "width": 80, "crs": "EPSG:32654"}
    transform = open_product(small_scene).transform * rasterio.Affine.scale(8)
    with rasterio.open(tmp_path / "picture.tif", "w", **profile, transform=transform) as raster:
        raster.write(np.ones((3, 64, 80), np.uint8))
    message = refused(labels=tmp_path / "picture.tif")
    assert "picture.tif" in message and "3 bands" in message


def test_an_unknown_code_names_the_raster_it_came_from(refused, small_scene, tmp_path):
    good = codes_over(small_scene, np.ones((64, 40), np.uint8), tmp_path / "good.tif", half=True)
    odd = codes_over(small_scene, np.full((64, 80), 77, np.uint8), tmp_path / "odd.tif")
    message = refused(labels=(good, odd))
    assert "odd.tif" in message and "good.tif" not in message and "[77]" in message


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(77, "uint8"), (256, "uint16"), (300, "uint16"), (60_000, "uint16")],
    ids=["77", "256", "300", "beyond int16"],
)
def test_codes_outside_the_legend_are_refused(refused, small_scene, tmp_path, code, dtype):
    codes = np.ones((64, 80), dtype)
    codes[30, 40] = code
    message = refused(labels=codes_over(small_scene, codes, tmp_path / "odd.tif"))
    assert f"[{code}]" in message and "odd.tif" in message and "japan_9" in message and "ignored" in message


def test_label_rasters_that_are_none_are_refused(refused, small_scene, tmp_path):
    (tmp_path / "text.tif").write_text("hello")
    assert "text.tif" in refused(labels=tmp_path / "text.tif")
    assert "missing.tif" in refused(labels=tmp_path / "missing.tif")
    ones = np.ones((64, 80), np.uint8)
    bare = codes_over(small_scene, ones, tmp_path / "bare.tif", crs=None)
    assert "bare.tif" in (message := refused(labels=bare)) and "coordinate system" in message
    floats = codes_over(small_scene, ones.astype(np.float32), tmp_path / "float.tif")
    assert "float.tif" in (message := refused(labels=floats)) and "float32" in message


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        pytest.param({"polarization": "HV"}, ["HV", "holds HH"], id="polarisation"),
        pytest.param({"products": ()}, ["no products", "products="], id="no products"),
        pytest.param({"labels": ()}, ["no labels", "labels="], id="no labels"),
        pytest.param({"legend": "japan_10"}, ["'japan_10'", "'japan_14'"], id="legend"),
        pytest.param({"max_class_share": {"woods": 0.5}}, ["'woods'", "legend"], id="class of a filter"),
        pytest.param({"min_valid_fraction": 1.0, "patch_px": 256}, ["no patch", "min_valid_fraction"], id="no ground"),
        pytest.param({"patch_px": 512}, ["no patch of 512 px", "smaller patch_px"], id="patch too large"),
        pytest.param({"block_m": 1e6}, ["block_m", "at least 3"], id="one block"),
        pytest.param({"buffer_m": 5000}, ["empty", "buffer_m"], id="buffer too wide"),
        pytest.param({"val_fraction": 0.6, "test_fraction": 0.6}, ["val_fraction"], id="nothing to train on"),
        pytest.param({"require_all_classes": True}, ["no pixel of", "another seed"], id="absent classes"),
    ],
)
def test_impossible_datasets_are_refused_with_a_remedy(refused, settings, parts):
    message = refused(**settings)
    assert all(part in message for part in parts)


def test_labels_of_nothing_leave_the_lists_empty(refused, small_scene, tmp_path):
    nothing = codes_over(small_scene, np.full((64, 80), 255, np.uint8), tmp_path / "none.tif")
    message = refused(labels=nothing)
    assert "is empty" in message and "min_labelled_fraction" in message


def test_products_of_two_pixel_sizes_are_refused(refused, small_scene, tmp_path):
    product = open_product(small_scene)
    coarse = write_geotiff(
        tmp_path / "x" / TIFF_NAME, np.ones((256, 320)), product.transform * rasterio.Affine.scale(2)
    )
    message = refused(products=(small_scene, coarse))
    assert TIFF_NAME in message and "pixels of (5.0, 5.0) m" in message


def test_products_of_two_quantities_are_refused(refused, small_scene, mosaic):
    assert "gamma0" in refused(products=(small_scene, mosaic))


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


# --- a dataset that was damaged


def test_a_dataset_that_does_not_say_so_is_not_simulated(packed_dataset):
    assert open_dataset(packed_dataset).simulated is False


@pytest.mark.parametrize("damage", ["schema", "no json", "array", "list", "statistics", "row"])
def test_a_damaged_dataset_is_refused(dataset, tmp_path, damage):
    for file in dataset.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((tmp_path / "dataset.json").read_text())
    if damage == "schema":
        content["schema"] = "another"
    elif damage == "statistics":
        content["statistics"]["std_db"] = [0.0]
    (tmp_path / "dataset.json").write_text("{" if damage == "no json" else json.dumps(content))
    if damage == "array":
        (tmp_path / "val_db.npy").write_bytes((tmp_path / "val_db.npy").read_bytes()[:-100])
    elif damage == "list":
        (tmp_path / "val.csv").unlink()
    elif damage == "row":
        (tmp_path / "val.csv").write_text("Row\n99999\n")
    with pytest.raises(Alos2TutError, match=str(tmp_path)):
        open_dataset(tmp_path).split("val")
