"""Datasets of images that lie on no map: labels, blocks, lists and their proof, all in pixels."""

import csv
import io
import json
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine
from scipy.io import savemat
from support.datasets import labels_of, rows_of
from support.packed import restate_files
from support.products import complex_numbers, real_data, write_ceos, write_geotiff

from alos2tut import (
    Alos2TutError,
    Alos2TutWarning,
    build_dataset,
    export_patches,
    load_config,
    load_legend,
    open_dataset,
    verify_dataset,
)
from alos2tut.dataset import splits
from alos2tut.dataset.config import DatasetConfig
from alos2tut.dataset.estimate import estimate_dataset
from alos2tut.dataset.labels import LabelMap, Placement
from alos2tut.dataset.plan import survey_dataset
from alos2tut.dataset.selection import choose
from alos2tut.dataset.store import BOX_COLUMNS, SPLITS, PatchDataset

PATCH, SHAPE = 16, (160, 144)
LEGEND = load_legend("airsar_sanfrancisco")


def codes_of(shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Fields of 8 × 8 pixels of the codes 0 (none) to 5."""
    coarse = np.random.default_rng(seed).integers(0, 6, (-(-shape[0] // 8), -(-shape[1] // 8)))
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[: shape[0], : shape[1]].astype(np.uint8)


def write_labels(path: Path, codes: np.ndarray) -> Path:
    """A label raster without a place on Earth, of the kind that its name says."""
    if path.suffix == ".npy":
        np.save(path, codes)
    elif path.suffix == ".mat":
        savemat(path, {"gt": codes}, do_compression=True)
    else:
        driver = {".tif": "GTiff", ".png": "PNG", ".bmp": "BMP", ".img": "ENVI"}[path.suffix]
        write_geotiff(path, codes, None, None, dtype="uint8", driver=driver)
    return path


@pytest.fixture(scope="module")
def slant(tmp_path_factory) -> Path:
    """A Level 1.1 product, which lies in slant range."""
    return write_ceos(tmp_path_factory.mktemp("slant") / "one", {"HH": complex_numbers(SHAPE)}, "HBQR1.1__A")


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    return write_labels(tmp_path_factory.mktemp("labels") / "gt.npy", codes_of())


def config(products: Any, labels: Any, work: Path, **settings: Any) -> DatasetConfig:
    given = {"legend": "airsar_sanfrancisco", "looks": 1, "patch_px": PATCH, "buffer_px": 0, "workers": 1}
    given |= {"min_labelled_fraction": 0.1, "min_valid_fraction": 0.5, "work_dir": work}
    return load_config("dataset", products=products, labels=labels, **given | settings)


@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
def build(*args: Any, **settings: Any) -> Path:
    return build_dataset(config(*args, **settings))


@pytest.fixture(scope="module")
def built(slant, labels, tmp_path_factory) -> PatchDataset:
    with pytest.warns(Alos2TutWarning):
        return open_dataset(build(slant, labels, tmp_path_factory.mktemp("work"), buffer_px=4))


# --- labels


@pytest.mark.parametrize("suffix", [".npy", ".mat", ".tif", ".png", ".bmp", ".img"])
def test_labels_of_equal_size_are_read_from_every_kind_of_file(tmp_path, suffix):
    codes = codes_of((40, 56))
    with LabelMap([write_labels(tmp_path / f"gt{suffix}", codes)], LEGEND) as found:
        assert found.touching(None, Affine.identity(), (40, 56)) == (str(tmp_path / f"gt{suffix}"),)
        np.testing.assert_array_equal(found.classes_on(None, Affine.identity(), (40, 56)), LEGEND.to_classes(codes))
        y, x = np.indices(codes.shape).reshape(2, -1) + 0.5
        np.testing.assert_array_equal(found.codes_at(None, x, y), codes.ravel())


@pytest.mark.parametrize("dtype", ["<f8", ">i2", "?", "<u4", ">f4"])
def test_numbers_of_any_type_and_byte_order_are_codes(tmp_path, dtype):
    codes = (codes_of((24, 24)) % 2).astype(dtype)
    np.save(tmp_path / "gt.npy", codes)
    with LabelMap([tmp_path / "gt.npy"], LEGEND) as found:
        classes = found.classes_on(None, Affine.identity(), (24, 24))
    np.testing.assert_array_equal(classes, LEGEND.to_classes((codes_of((24, 24)) % 2).astype(np.uint8)))


def plain_labels(codes: np.ndarray, offset: tuple[int, int], flip: str | None, shape: tuple[int, int]) -> np.ndarray:
    """Codes on an image by NumPy's indexing, −1 where the raster does not reach."""
    turned = {None: codes, "rows": codes[::-1], "cols": codes[:, ::-1], "both": codes[::-1, ::-1]}[flip]
    image = np.full(shape, -1)
    for row in range(turned.shape[0]):
        for col in range(turned.shape[1]):
            if 0 <= row + offset[0] < shape[0] and 0 <= col + offset[1] < shape[1]:
                image[row + offset[0], col + offset[1]] = turned[row, col]
    return image


@pytest.mark.parametrize("looks", [1, 2, 3])
@pytest.mark.parametrize("flip", [None, "rows", "cols", "both"])
@pytest.mark.parametrize("offset", [(0, 0), (7, 12), (-5, 3)])
def test_an_offset_and_a_flip_are_numpys_indexing_of_the_middle_pixel(tmp_path, offset, flip, looks):
    codes = np.random.default_rng(1).integers(0, 6, (29, 34)).astype(np.uint8)
    np.save(tmp_path / "gt.npy", codes)
    expected = plain_labels(codes, offset, flip, (48, 60))
    # of an even number of looks the one below and to the right of the middle
    expected = expected[looks // 2 :: looks, looks // 2 :: looks]
    rows, cols = 48 // looks, 60 // looks
    with LabelMap([tmp_path / "gt.npy"], LEGEND, Placement(offset, flip)) as found:
        grid = Affine.scale(looks)
        found.touching(None, Affine.identity(), (48, 60))
        whole = found.classes_on(None, grid, (rows, cols))
        part = found.classes_on(None, grid, (rows - 5, cols - 2), offset=(4, 1))
    wanted = LEGEND.to_classes(np.where(expected < 0, 0, expected))[:rows, :cols]
    np.testing.assert_array_equal(whole, np.where(expected[:rows, :cols] < 0, 255, wanted))
    np.testing.assert_array_equal(part, whole[4 : rows - 1, 1 : cols - 1])


def damaged_mat(content: bytes) -> bytes:
    """A MATLAB 5 file of one compressed element with this content."""
    packed = zlib.compress(content)
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + struct.pack("<II", 15, len(packed)) + packed


def mat(**variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("two.mat", mat(gt=np.ones((4, 5)), more=np.ones((4, 5))), r"holds 2 variables.*gt \(4 × 5 double\), more"),
        ("none.mat", mat(text="abc", cell=np.array([{"a": 1}], dtype=object)), "holds 0 variables"),
        ("new.mat", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF", "HDF5, as MATLAB 7.3 writes it.*-v7"),
        ("bad.mat", mat(gt=np.ones((40, 50)))[:900], "is damaged"),
        ("odd.mat", damaged_mat(b"\0" * 1000), "is damaged"),
        ("text.mat", b"nothing of MATLAB's", "is damaged"),
        ("large.mat", damaged_mat(b"\0" * (2**30 + 2**21)), "more than 1 GiB"),
        ("objects.npy", npy(np.array([{}, {}], dtype=object), allow_pickle=True), "is damaged, or no array"),
        ("cube.npy", npy(np.ones((3, 4, 5), np.uint8)), r"holds an array of \(3, 4, 5\)"),
        ("cut.npy", npy(np.ones((30, 40), np.uint8))[:-9], "is damaged"),
        ("complex.npy", npy(np.ones((3, 4), np.complex64)), "holds complex64, not codes"),
        ("halves.npy", npy(np.full((3, 4), 0.5)), "holds 0.5, which is no code"),
        ("six.npy", npy(np.full((3, 4), 6)), "6"),
        ("several.npy", b"PK\x05\x06" + b"\0" * 18, "several arrays|damaged"),
    ],
)
def test_files_that_hold_no_labels_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Alos2TutError, match=f"{name}.*{message}"), LabelMap([tmp_path / name], LEGEND) as found:
        found.classes_on(None, Affine.identity(), (3, 4))


def test_labels_of_another_size_frame_or_number_are_refused(slant, labels, small_scene, tmp_path):
    def told(**settings: Any) -> str:
        given = {"products": slant, "labels": labels, "work": tmp_path / "work"}
        with pytest.raises(Alos2TutError) as error:
            build(**given | settings)
        assert not [path for path in tmp_path.glob("work/*") if path.name != "surveys"]
        return str(error.value)

    small = write_labels(tmp_path / "small.png", codes_of((96, 100)))
    message = told(labels=small)
    assert "has 96 × 100 pixels, the image 160 × 144" in message and "label_offset=(row, col)" in message
    assert "lies beside it" in told(labels=small, label_offset=(500, 0))
    on_map = labels_of(small_scene)
    assert "states a coordinate system, and the image lies on no map" in told(labels=on_map)
    japan = {"products": small_scene, "legend": "japan_9"}
    small_npy = write_labels(tmp_path / "gt.npy", codes_of((512, 640)))
    message = told(**japan, labels=small_npy, buffer_px=None)
    assert "states no coordinate system, and the image lies on a map" in message
    for name, value in {"block_px": 64, "label_offset": (0, 0), "label_flip": "rows"}.items():
        assert f"{name}: is for products on no map" in told(**japan, labels=on_map, buffer_px=None, **{name: value})
    assert "2 label rasters for 1 products on no map" in told(labels=[labels, small])


# --- a dataset in slant range


def test_lists_are_in_pixels_and_name_no_place_on_earth(built):
    codes = codes_of()
    names = ["MinLon", "MinLat", "MaxLon", "MaxLat", "Latitude", "Longitude"]
    for split in SPLITS:
        part = built.split(split)
        for index, record in enumerate(part.table):
            assert not any(record[name] for name in names)
            row, col = int(record["PatchRow"]), int(record["PatchCol"])
            assert [record[side] for side in BOX_COLUMNS] == [
                str(edge) for edge in (col, row + PATCH, col + PATCH, row)
            ]
            assert record["UpperRightLon"] == str(col + PATCH) and record["LowerLeftLat"] == str(row + PATCH)
            assert record["Block"] == f"0_{(row + 8) // 32}_{(col + 8) // 32}"
            window = codes[row : row + PATCH, col : col + PATCH]
            assert int(record["Category"]) == window[8, 8]
            patches, classes = part.gather([index])
            wanted = LEGEND.to_classes(window)
            np.testing.assert_array_equal(classes[0], np.where(patches[0, 0] == -32768, 255, wanted))


@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
def test_the_description_says_on_no_map_and_all_agrees(built, slant, labels, tmp_path):
    content = built.content
    assert (content["schema"], content["frame"], built.frame) == ("alos2tut-dataset-3", "image", "image")
    assert content["settings"]["block_px"] == 32 and content["settings"]["buffer_px"] == built.buffer == 4
    assert content["products"][0]["crs"] is None and content["spacing_m"] == [2.1, 1.43]
    assert "in pixels of each product, on no map; buffer 4 px" in built.describe()
    assert {check.verdict for check in verify_dataset(built.path).checks} == {"agrees"}
    with pytest.raises(Alos2TutError, match="lie on no map"):
        export_patches(built, tmp_path / "patches")
    estimate = estimate_dataset(config(slant, labels, tmp_path, buffer_px=4))
    # of a patch of 16 px one pixel is looked at
    assert 0 < sum(estimate.patches[name] for name in ("pretrain", "val", "test")) <= 10 * 9


def edit(source: Path, target: Path, split: str, changes: dict[str, str]) -> Path:
    """A copy of a dataset in which the first line of a list says something else, and ``dataset.json`` of its files."""
    shutil.copytree(source, target)
    rows = list(csv.DictReader(io.StringIO((target / f"{split}.csv").read_text())))
    rows[0] |= changes
    with open(target / f"{split}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    restate_files(target)
    return target


def test_a_patch_that_is_moved_next_to_another_list_is_refused_on_opening(built, tmp_path):
    [first, *_] = rows_of(built, "test")
    place = {name: first[name] for name in first if name in BOX_COLUMNS or name[-3:] in ("Lon", "Lat")}
    moved = edit(built.path, tmp_path / "moved", "val", place)
    with pytest.raises(Alos2TutError, match="row 1 of the list 'val' is less than 4 px from that of row 1 of 'test'"):
        open_dataset(moved)
    half = edit(built.path, tmp_path / "half", "val", {"West": first["West"], "East": first["East"]})
    with pytest.raises(Alos2TutError, match="the corners are not those of West"):
        open_dataset(half)
    unknown = edit(built.path, tmp_path / "unknown", "val", {"Product": "another"})
    with pytest.raises(Alos2TutError, match="Product is missing or broken"):
        open_dataset(unknown)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"frame": "map"}, "settings.buffer_px"),
        ({"frame": "plane"}, "frame"),
        ({"schema": "alos2tut-dataset-2"}, "frame"),
        ({"settings": {"buffer_m": 0, "looks": 1}}, "buffer_px"),
    ],
)
def test_a_description_whose_frame_does_not_fit_is_refused(built, tmp_path, changes, field):
    shutil.copytree(built.path, tmp_path / "copy")
    content = json.loads((built.path / "dataset.json").read_text())
    (tmp_path / "copy" / "dataset.json").write_text(json.dumps(content | changes))
    with pytest.raises(Alos2TutError, match=field):
        open_dataset(tmp_path / "copy")


def test_blocks_in_metres_say_nothing_and_defaults_follow_the_patch(slant, labels, tmp_path):
    with pytest.warns(Alos2TutWarning, match="block_m says nothing of products on no map: block_px=32 is taken"):
        built = open_dataset(build_dataset(config(slant, labels, tmp_path, block_m=640, buffer_px=None)))
    assert built.content["settings"]["block_px"] == 32 and built.buffer == 4
    with pytest.warns(Alos2TutWarning, match="block_px=8 is below the patches' side of 16 px"):
        build_dataset(config(slant, labels, tmp_path, block_px=8))


@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
def test_images_of_one_ground_are_refused_and_others_keep_their_own(slant, labels, tmp_path):
    def other(name: str, **changes: Any) -> Path:
        return write_ceos(tmp_path / name, {"HH": complex_numbers(SHAPE, 5)}, "HBQR1.1__D", **changes)

    both = [labels, write_labels(tmp_path / "second.png", codes_of(seed=9))]
    with pytest.raises(Alos2TutError, match=r"touches that of IMG-HH-.*HBQR1\.1__A"):
        build([slant, other("near")], both, tmp_path)
    dataset = open_dataset(build([slant, other("far", center=(36.5, 139.3))], both, tmp_path))
    for split in SPLITS:
        part = dataset.split(split)
        for index, record in enumerate(part.table):
            number = int(record["Product"].endswith("D"))
            row, col = int(record["PatchRow"]), int(record["PatchCol"])
            assert record["Block"].startswith(f"{number}_")
            window = codes_of(seed=9 * number)[row : row + PATCH, col : col + PATCH]
            wanted = np.where(part.gather([index])[0][0, 0] == -32768, 255, LEGEND.to_classes(window))
            np.testing.assert_array_equal(part.gather([index])[1][0], wanted)


# --- blocks, buffers and folds


def plain_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two boxes (image, left, upper, right, lower); below 0 where they overlap, none between images."""
    if one[0] != other[0]:
        return np.inf
    x, y = (max(one[i], other[i]) - min(one[i + 2], other[i + 2]) for i in (1, 2))
    return max(x, y) if max(x, y) < 0 else float(np.hypot(max(x, 0), max(y, 0)))


@given(st.integers(0, 2**16), st.integers(3, 24), st.integers(0, 20), st.integers(6, 30), st.sampled_from([None, 3]))
def test_ground_in_pixels_is_dealt_and_proven_as_by_brute_force(seed, side, buffer, block, folds):
    random = np.random.default_rng(seed)
    places = np.indices((2, 9, 8)).reshape(3, -1).T
    places = places[random.random(len(places)) < 0.9]
    corner = places[:, :0:-1] * side
    ground = np.column_stack([places[:, 0], corner, corner + side]).astype(float)
    asked = {"block": block * side / 6, "buffer": buffer, "val_fraction": 0.2, "test_fraction": 0.2, "seed": seed % 3}
    fold = {"folds": folds, "fold": seed % 3} if folds else {}
    counts = random.integers(0, 50, (len(ground), 2))
    blocks = splits.ground_blocks(ground, asked["block"])
    middle = corner + side / 2
    np.testing.assert_array_equal(blocks[:, 1:], middle[:, ::-1] // asked["block"])
    np.testing.assert_array_equal(blocks[:, 0], places[:, 0])
    role = splits.assign_splits(ground, counts, **asked, **fold)
    near = np.array([[plain_gap(one, other) < buffer for other in ground] for one in ground])
    held, test = np.isin(role, (splits.VAL, splits.TEST)), role == splits.TEST
    assert not near[role == splits.PRETRAIN][:, held].any() and not near[role == splits.VAL][:, test].any()
    # what the buffer took was too near to something, and no block of the test is cut
    for patch in np.flatnonzero(role == splits.BUFFER):
        assert near[patch, held].any()
    for one in np.unique(blocks[test], axis=0):
        assert test[(blocks == one).all(axis=1)].all()
    lists = {"pretrain": ground[role == splits.PRETRAIN], "val": ground[role == splits.VAL], "test": ground[test]}
    splits.check_ground(lists, buffer, where="here")
    if len(lists["pretrain"]):
        beside = lists["test"][:1] + np.array([0, 0, side - 1, 0, side - 1])
        moved = lists | {"pretrain": np.concatenate([lists["pretrain"], beside])}
        with pytest.raises(Alos2TutError, match=r"px from|overlaps"):
            splits.check_ground(moved, buffer, where="here")


def test_edges_that_cannot_be_are_refused():
    for box in ([0, 5, 0, 5, 8], [0, 0, 9, 8, 8], [0, np.nan, 0, 8, 8], [0, 0, 0, 2.0**31, 8]):
        with pytest.raises(Alos2TutError, match="row 1: left, upper, right, lower"):
            splits.check_ground({"val": np.array([box], dtype=float)}, 0, where="here")


@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
@pytest.mark.parametrize("frame", ["map", "image"])
def test_folds_test_all_ground_once_and_their_parts_stay(slant, labels, scene, tmp_path, frame):
    if frame == "image":
        given = config(slant, labels, tmp_path, folds=4, fold=0, buffer_px=4)
    else:
        given = load_config("dataset", products=scene, labels=labels_of(scene), patch_px=32, block_m=640, buffer_m=50,
                            min_valid_fraction=0.5, min_labelled_fraction=0.95, work_dir=tmp_path, workers=1,
                            folds=4, fold=0)  # fmt: skip
    table = survey_dataset(given)[1]
    choices = [choose(table, replace(given, fold=fold), load_legend(given.legend)) for fold in range(4)]
    tested = np.concatenate([choice.lists["test"] for choice in choices])
    usable = (table.valid >= given.min_valid_fraction) & (table.labelled >= given.min_labelled_fraction)
    # every patch that may be scored, once
    np.testing.assert_array_equal(np.sort(tested), np.flatnonzero(usable))
    for choice in choices:
        assert 0.1 < len(choice.lists["test"]) / usable.sum() < 0.4
        rest = usable.sum() - len(choice.lists["test"])
        assert 0 < len(choice.lists["val"]) <= 0.3 * rest
    assert len({tuple(choice.lists["val"]) for choice in choices}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 4}, "folds and fold are set together"),
        ({"fold": 0}, "folds and fold are set together"),
        ({"folds": 4, "fold": 4}, "fold=4 is none of folds=4"),
        ({"folds": 4, "fold": 0, "test_fraction": 0.2}, "test_fraction says nothing beside folds=4"),
    ],
)
def test_folds_that_cannot_be_are_refused(settings, message):
    with pytest.raises(Alos2TutError, match=message):
        load_config("dataset", **settings)


# --- real ground

#: pixels by code, of the label files' own readme
REAL = {
    "airsar_sanfrancisco": ("T3_leefiltered", "SF-AIRSAR-label2d.png", [13701, 62731, 329566, 342795, 53509]),
    "airsar_flevoland": (
        "T3", "Flevoland_gt.mat",
        [29249, 15855, 11200, 10201, 21855, 14707, 21344, 10396, 8471, 6317, 17639, 10629, 22022, 7369, 578],
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::alos2tut.Alos2TutWarning")
@pytest.mark.parametrize("legend", REAL)
def test_real_scenes_become_datasets_whose_pixels_are_those_of_their_labels(tmp_path, legend):
    images, labels, pixels = REAL[legend]
    folder = real_data("airsar_flevoland_1989" if legend == "airsar_flevoland" else legend)
    given = {
        "legend": legend,
        "patch_px": 64,
        "block_px": 128,
        "buffer_px": 16,
        "polarization": "HV",
        "quantity": "relative",
    }
    asked = config(folder / images, folder / labels, tmp_path, **given)
    assert survey_dataset(asked)[1].counts.shape[1] == len(load_legend(legend))
    with LabelMap([folder / labels], load_legend(legend)) as found:
        shape = found._headers(None)[0].shape
        classes = found.classes_on(None, Affine.identity(), shape)
    assert np.bincount(classes[classes != 255], minlength=len(pixels)).tolist() == pixels
    dataset = open_dataset(build_dataset(asked))
    assert dataset.frame == "image" and dataset.signal["quantity"] == "relative"
    assert {check.verdict for check in verify_dataset(dataset.path).checks} == {"agrees"}
    for split in SPLITS:
        part, counted = dataset.split(split), np.zeros(len(pixels), np.int64)
        for index, record in enumerate(part.table):
            row, col = int(record["PatchRow"]), int(record["PatchCol"])
            window = np.where(part.gather([index])[0][0, 0] == -32768, 255, classes[row : row + 64, col : col + 64])
            counted += np.bincount(window[window != 255], minlength=len(pixels))
        stated = dataset.content["splits"][split]["class_pixels"]
        assert [stated[name] for name in dataset.legend.names] == counted.tolist()
