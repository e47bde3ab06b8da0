"""The authors' layout: one GeoTIFF per patch, out of a packed dataset and into one."""

import csv
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform as reproject_points
from support.datasets import build, content_of
from support.packed import restate_files, write_packed_dataset
from support.products import write_geotiff

from alos2tut import Alos2TutError, Alos2TutWarning, open_dataset
from alos2tut.dataset.patch_files import export_patches, import_patches
from alos2tut.dataset.store import AUTHORS_COLUMNS, OUR_COLUMNS, SPLITS

SIDE = 32
NAMES = {day: f"IMG-HH-ALOS24585{day:02d}210-2211{day:02d}-UBSR2.1GUD" for day in (9, 19)}
#: pixels of 2.5 m, of which two looks a side make one of a patch; the second product's ground is another
ORIGINS = {
    NAMES[9]: rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000),
    NAMES[19]: rasterio.Affine(2.5, 0, 352_000, 0, -2.5, 3_900_000),
}
LEGEND = {
    "name": "toy",
    "source": "made up",
    "classes": [
        {"name": "water", "color": [0, 0, 100], "codes": [1]},
        {"name": "land", "color": [0, 172, 86], "codes": [2, 10]},
    ],
    "ignored": [0],
}
#: product and place (row, column of the grid of patches) of the members of each store
STORES = {
    "pretrain": [(9, 0, 0), (9, 0, 1), (9, 1, 0), (19, 0, 0)],
    "val": [(9, 0, 4), (19, 0, 4)],
    "test": [(9, 4, 0), (19, 4, 4)],
}


def degrees(transform: rasterio.Affine, *points: tuple[float, float]) -> list[tuple[float, float]]:
    xs, ys = zip(*(transform * point for point in points), strict=True)
    return list(zip(*reproject_points("EPSG:32654", "EPSG:4326", xs, ys), strict=True))


def record_of(day: int, row: int, col: int, number: int) -> dict[str, str]:
    name, (top, left) = NAMES[day], (row * SIDE, col * SIDE)
    grid = ORIGINS[name] * rasterio.Affine.scale(2) * rasterio.Affine.translation(left, top)
    corners = degrees(grid, (0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE))
    longitudes, latitudes = np.round(corners, 9).T.tolist()
    values = ["2022", "11", f"{day:02d}", f"2022/11/{day:02d}", f"{name}_{top}_{left}.tif"]
    values += [f"{value:.4f}" for corner in (corners[3], corners[1]) for value in corner]
    values += [f"{latitudes[0] - 0.0003:.4f}", f"{longitudes[0] + 0.0003:.4f}", "10"]
    ours = [str(number), name, str(top), str(left), "0_0", "1.0000", "1.0000"]
    ours += [f"{v:.7f}" for v in (min(longitudes), min(latitudes), max(longitudes), max(latitudes))]
    ours += [f"{v:.9f}" for corner in corners for v in corner]
    return dict(zip(AUTHORS_COLUMNS + OUR_COLUMNS, values + ours, strict=True))


def write_table(path: Path, records: list[dict[str, str]], columns: list[str] = AUTHORS_COLUMNS) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def read_table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """A dataset of two products on separate ground, with some missing pixels, of two classes."""
    path = write_packed_dataset(
        tmp_path_factory.mktemp("packed") / "dataset",
        n=4,
        n_held_out=2,
        classes=2,
        legend=LEGEND,
        quantity="gamma0",
        simulated=True,
        settings={"looks": 2, "buffer_m": 100.0, "block_m": 640.0},
        products=[{"name": n, "crs": "EPSG:32654", "transform": list(t)[:6]} for n, t in ORIGINS.items()],
    )
    for store, places in STORES.items():
        records = [record_of(*place, number) for number, place in enumerate(places)]
        for name in [store] + ["train"] * (store == "pretrain"):
            write_table(path / f"{name}.csv", records[: 3 if name == "train" else 4], AUTHORS_COLUMNS + OUR_COLUMNS)
    restate_files(path)
    return path


@pytest.fixture(scope="module")
def exported(packed, tmp_path_factory) -> Path:
    return export_patches(packed, tmp_path_factory.mktemp("out") / "patches")


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    """A copy of the exported folder, to be spoiled."""
    return shutil.copytree(exported, tmp_path / "patches")


# --- out


def test_every_patch_is_a_geotiff_in_decibels_at_its_place(packed, exported):
    for store, places in STORES.items():
        steps, labels = np.load(packed / f"{store}_db.npy"), np.load(packed / f"{store}_labels.npy")
        for number, (day, row, col) in enumerate(places):
            name = f"{NAMES[day]}_{row * SIDE}_{col * SIDE}"
            with rasterio.open(exported / "2022" / "11" / f"{day:02d}" / f"{name}.tif") as raster:
                values = raster.read(1)
                assert values.dtype == np.float32 and np.isnan(raster.nodata)
                x0, y0 = ORIGINS[NAMES[day]].c, ORIGINS[NAMES[day]].f
                assert raster.bounds == (x0 + 160 * col, y0 - 160 * (row + 1), x0 + 160 * (col + 1), y0 - 160 * row)
                assert raster.crs.to_epsg() == 32654 and raster.compression.name == "deflate"
            missing = steps[number, 0] == -32768
            np.testing.assert_array_equal(np.isnan(values), missing)
            np.testing.assert_allclose(values[~missing], steps[number, 0][~missing] / 100, atol=1e-5)
            with rasterio.open(exported / "2022" / "11" / f"{day:02d}" / f"{name}_label.tif") as raster:
                np.testing.assert_array_equal(raster.read(1), labels[number])
                assert raster.dtypes == ("uint8",) and raster.nodata == 255
                assert raster.colormap(1)[1] == (0, 172, 86, 255) and raster.colormap(1)[255][3] == 0
    assert len(list(exported.rglob("*.tif"))) == 16  # eight patches, the shared ones once


def test_exported_lists_are_the_authors_twelve_columns(packed, exported):
    expected = "Year,Month,Day,FolderPath,FileName,MinLon,MinLat,MaxLon,MaxLat,Latitude,Longitude,Category"
    for split in SPLITS:
        lines = (exported / f"{split}.csv").read_text().splitlines()
        assert lines[0] == expected
        assert lines[1:] == [line.rsplit(",", 19)[0] for line in (packed / f"{split}.csv").read_text().splitlines()[1:]]


def test_a_folder_in_use_is_not_written_into(packed, exported, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for write in (lambda: export_patches(packed, tmp_path), lambda: import_patches(exported, tmp_path)):
        with pytest.raises(Alos2TutError, match="not empty"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing(packed, tmp_path):
    broken = shutil.copytree(packed, tmp_path / "broken")
    content = json.loads((broken / "dataset.json").read_text())
    content["products"] = content["products"][:1]
    (broken / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(Alos2TutError, match=NAMES[19]):
        export_patches(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists() and [path.name for path in tmp_path.iterdir()] == ["broken"]


# --- there and back


def test_what_was_exported_comes_back_bit_by_bit(packed, exported, tmp_path):
    back = open_dataset(import_patches(exported, tmp_path / "back"))
    there = open_dataset(packed)
    for store in STORES:
        for kind in ("db", "labels"):
            assert (back.path / f"{store}_{kind}.npy").read_bytes() == (packed / f"{store}_{kind}.npy").read_bytes()
    for split in SPLITS:
        kept = [*AUTHORS_COLUMNS, "Row", "Product", "PatchRow", "PatchCol", "West", "South", "East", "North"]
        for one, other in zip(back.split(split).table, there.split(split).table, strict=True):
            assert [one[column] for column in kept] == [other[column] for column in kept]
    assert back.signal == there.signal and back.simulated and back.legend == there.legend
    steps = np.load(packed / "pretrain_db.npy")
    values = steps[steps != -32768] / 100
    assert back.statistics.mean_db[0] == pytest.approx(values.mean(), abs=1e-4)
    assert back.statistics.std_db[0] == pytest.approx(values.std(), abs=1e-4)
    labels = np.load(packed / "pretrain_labels.npy")[:3]
    counts = np.array([(labels == c).sum() for c in range(2)])
    assert back.class_weights == pytest.approx(1 - counts / counts.sum(), abs=1e-6)
    assert back.content["splits"]["train"]["class_pixels"] == {"water": counts[0], "land": counts[1]}
    assert "imported" in back.content and str(exported) not in json.dumps(back.content)
    assert content_of(import_patches(exported, tmp_path / "equal")) == content_of(back.path)


def test_what_was_imported_is_exported_the_same(exported, tmp_path):
    back = import_patches(exported, tmp_path / "back")
    again = export_patches(back, tmp_path / "again")
    for path in exported.rglob("*.*"):
        if path.suffix in (".tif", ".csv", ".yaml"):
            assert (again / path.relative_to(exported)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["simulated", "real mosaic"])
def test_a_dataset_that_was_built_comes_back(small_scene, mosaic, tmp_path, kind):
    settings = {"products": small_scene, "labels": small_scene / "labels", "patch_px": 32, "block_m": 320}
    if kind == "real mosaic":
        settings = {"products": mosaic, "labels": mosaic / "crop_N23W161_20_mask_F02DAR.tif", "legend": "water_land"}
        settings |= {"looks": 1, "patch_px": 64, "block_m": 3200}
    built = build(work_dir=tmp_path, **settings)
    back = import_patches(export_patches(built, tmp_path / "patches"), tmp_path / "back")
    for path in built.glob("*.npy"):
        assert (back / path.name).read_bytes() == path.read_bytes(), path.name
    # a builder counts layover and shadow as missing; patch files do not know them
    kept = [column for column in AUTHORS_COLUMNS + OUR_COLUMNS if column != "ValidFraction"]
    for split in SPLITS:
        one, other = ([[r[c] for c in kept] for r in read_table(path / f"{split}.csv")] for path in (built, back))
        assert one == other
    told = [open_dataset(path).content for path in (built, back)]
    for key in ("legend", "quantity", "polarizations", "simulated", "spacing_m", "patch_px", "statistics", "splits"):
        assert told[0][key] == told[1][key], key


def test_a_date_of_which_only_the_year_is_known_makes_a_folder_of_the_year(folder, tmp_path):
    for path in folder.rglob("*.tif"):
        path.rename(folder / "2022" / path.name)
    for split in SPLITS:
        shorter = [
            record | {"Month": "", "Day": "", "FolderPath": "2022"} for record in read_table(folder / f"{split}.csv")
        ]
        write_table(folder / f"{split}.csv", shorter)
    packed = import_patches(folder, tmp_path / "packed")
    assert {product["acquired"] for product in open_dataset(packed).content["products"]} == {"2022"}
    again = export_patches(packed, tmp_path / "again")
    assert len(list((again / "2022").glob("*.tif"))) == len(list(again.rglob("*.tif"))) == 16


# --- the authors' own folders


@pytest.fixture
def authors(folder, tmp_path) -> Path:
    """Patches and lists as the authors name them, and nothing else; a label raster of all ground."""
    for path in (*folder.rglob("*_label.tif"), folder / "legend.yaml", folder / "patches.json"):
        path.unlink()
    for split in SPLITS:
        long = "pretraining" if split == "pretrain" else split
        (folder / f"{split}.csv").rename(folder / f"2022_fall_{long}_no_forest.csv")
    codes = np.random.default_rng(1).choice([1, 4, 7, 10], (200, 400))
    write_geotiff(tmp_path / "codes.tif", codes, rasterio.Affine(20, 0, 349_000, 0, -20, 3_901_000), dtype="uint8")
    return folder


AUTHORS_LISTS = {split: f"2022_fall_{split}_no_forest.csv" for split in ("train", "val", "test")}
AUTHORS_LISTS["pretrain"] = "2022_fall_pretraining_no_forest.csv"


def test_the_authors_folders_are_read_with_labels_from_rasters(authors, tmp_path, packed):
    labels = tmp_path / "codes.tif"
    found = import_patches(authors, tmp_path / "found", lists=AUTHORS_LISTS, labels=labels, legend="japan_9")
    dataset = open_dataset(found)
    assert dataset.signal == {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}
    assert not dataset.simulated and dataset.legend.name == "japan_9"
    np.testing.assert_array_equal(np.load(found / "val_db.npy"), np.load(packed / "val_db.npy"))
    with rasterio.open(labels) as raster:
        codes = raster.read(1)
    part = dataset.split("val")
    for index, (day, row, col) in enumerate(STORES["val"]):
        x, y = ORIGINS[NAMES[day]] * (2 * SIDE * col, 2 * SIDE * row)
        xs, ys = x + 5 * (np.arange(SIDE) + 0.5), y - 5 * (np.arange(SIDE) + 0.5)
        here = codes[np.ix_(((3_901_000 - ys) // 20).astype(int), ((xs - 349_000) // 20).astype(int))]
        steps, classes = part.gather([index])
        expected = np.select([here == 1, here == 4, here == 7, here == 10], [0, 2, 4, 5])
        np.testing.assert_array_equal(classes[0], np.where(steps[0, 0] == -32768, 255, expected))


def test_the_published_row_is_understood(tmp_path):
    """The row of an autumn list, whose patch has 256 pixels of 5 m; held-out patches lie east of it."""
    name = "IMG-HH-ALOS2458503210-221119-UBSR2.1GUD_12032_7680.tif"
    row = f"2022,11,19,2022/11/19,{name},136.0570,20.4170,136.0694,20.4285,20.4253,136.0683,10"
    [x0], [y0] = reproject_points("EPSG:4326", "EPSG:32653", [136.0570], [20.4170])
    draw = np.random.default_rng(0)
    for split, patches_east in (("pretrain", 0), ("train", 0), ("val", 20), ("test", 40)):
        x, values = x0 + 1280 * patches_east, row.split(",")
        if patches_east:
            values[4] = name.replace("7680", str(7680 + 256 * patches_east))
            (west, east), (south, north) = reproject_points("EPSG:32653", "EPSG:4326", [x, x + 1280], [y0, y0 + 1280])
            values[5:9] = [f"{value:.4f}" for value in (west, south, east, north)]
        (tmp_path / f"{split}.csv").write_text("\n".join([",".join(AUTHORS_COLUMNS), ",".join(values), ""]))
        path = tmp_path / "2022/11/19" / values[4]
        place = rasterio.Affine(5, 0, x, 0, -5, y0 + 1280), "EPSG:32653"
        write_geotiff(path, draw.normal(-10, 5, (256, 256)), *place, dtype="float32")
        write_geotiff(path.with_name(f"{path.stem}_label.tif"), draw.integers(0, 9, (256, 256)), *place, dtype="uint8")
    dataset = open_dataset(import_patches(tmp_path, tmp_path / "out"))
    [record] = dataset.split("train").table
    assert [record[column] for column in AUTHORS_COLUMNS] == row.split(",")
    assert record["Product"] == "IMG-HH-ALOS2458503210-221119-UBSR2.1GUD"
    assert (record["PatchRow"], record["PatchCol"]) == ("12032", "7680")
    assert dataset.patch_px == 256 and dataset.signal["polarizations"] == ["HH"]
    assert [product["name"] for product in dataset.content["products"]] == [record["Product"]]


def test_training_patches_that_are_not_pretrained_on_follow_in_the_store(folder, tmp_path, packed):
    records = read_table(folder / "pretrain.csv")
    write_table(folder / "pretrain.csv", records[1:])
    dataset = open_dataset(import_patches(folder, tmp_path / "out"))
    steps = np.load(packed / "pretrain_db.npy")
    assert dataset.split("pretrain").rows.tolist() == [0, 1, 2]
    assert dataset.split("train").rows.tolist() == [3, 0, 1]
    np.testing.assert_array_equal(dataset.split("pretrain").patches, steps[[1, 2, 3, 0]])
    # what is not pretrained on counts for no statistics
    values = steps[1:][steps[1:] != -32768] / 100
    assert dataset.statistics.mean_db[0] == pytest.approx(values.mean(), abs=1e-4)


# --- bad input


def patch_path(folder: Path, split: str = "train", row: int = 0) -> Path:
    record = read_table(folder / f"{split}.csv")[row]
    return folder / record["FolderPath"] / record["FileName"]


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray] = lambda values: values, **profile: object) -> None:
    with rasterio.open(path) as raster:
        values, old = raster.read(1), raster.profile
    values = change(values)
    size = {"height": values.shape[0], "width": values.shape[1], "dtype": values.dtype.name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **old | size | {"predictor": 1} | profile) as raster:
            raster.write(values, 1)


def set_pixel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[10, 10] = value
        return values

    return change


def smaller(folder: Path) -> None:
    path = patch_path(folder, row=1)
    path.with_name(f"{path.stem}_label.tif").unlink()
    rewrite(path, lambda v: v[::2, ::2], transform=rasterio.open(path).transform * rasterio.Affine.scale(2))


SPOILED = {
    "integers": (lambda f: rewrite(patch_path(f), lambda v: np.nan_to_num(v).astype("int16"), nodata=None), "int16"),
    "complex": (lambda f: rewrite(patch_path(f), lambda v: v.astype("complex64"), nodata=None), "complex64"),
    "infinite": (lambda f: rewrite(patch_path(f), set_pixel(-np.inf)), "cannot be decibels"),
    "no decibels": (lambda f: rewrite(patch_path(f), set_pixel(-9999)), "-9999"),
    "no data at all": (lambda f: rewrite(patch_path(f), lambda v: np.full_like(v, np.nan)), "holds no data"),
    "other size": (lambda f: rewrite(patch_path(f, row=1), lambda v: v[:16, :16]), "lies at"),
    "smaller": (smaller, "16 pixels a side, the first patch 32"),
    "not square": (lambda f: rewrite(patch_path(f), lambda v: v[:16]), "16 × 32"),
    "no place": (lambda f: rewrite(patch_path(f), crs=None), "no place on a map"),
    "another zone": (lambda f: rewrite(patch_path(f), crs="EPSG:32653"), "lies at"),
    "missing": (lambda f: patch_path(f, row=1).unlink(), "row 2: there is no file"),
    "cut": (lambda f: patch_path(f).write_bytes(patch_path(f).read_bytes()[:700]), "whole TIFF|truncated|cannot"),
    "class": (lambda f: rewrite(label_path(f), set_pixel(7)), "class 7.*'toy' is 1"),
    "label grid": (lambda f: rewrite(label_path(f), transform=rasterio.Affine(5, 0, 0, 0, -5, 0)), "do not lie on"),
    "no labels": (lambda f: label_path(f).unlink(), r"no label is known.*labels=…"),
}


def label_path(folder: Path) -> Path:
    return patch_path(folder).with_name(f"{patch_path(folder).stem}_label.tif")


@pytest.mark.parametrize("kind", SPOILED)
def test_patches_that_cannot_be_right_are_refused(folder, tmp_path, kind):
    spoil, message = SPOILED[kind]
    spoil(folder)
    with pytest.raises(Alos2TutError, match=message) as error:
        import_patches(folder, tmp_path / "out")
    assert patch_path(folder).stem.rsplit("_", 2)[0] in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["patches"]


def test_missing_pixels_may_be_told_by_a_value(folder, tmp_path, packed):
    rewrite(patch_path(folder), lambda v: np.nan_to_num(v, nan=-9999).astype(np.float64), nodata=-9999)
    found = import_patches(folder, tmp_path / "out")
    np.testing.assert_array_equal(np.load(found / "pretrain_db.npy"), np.load(packed / "pretrain_db.npy"))


@pytest.mark.parametrize("statement", ["tag", "mask", "mask beside"])
def test_what_patch_and_label_files_mask_is_no_data(folder, tmp_path, packed, statement):
    with rasterio.open(label_path(folder)) as raster:
        labels, mask = raster.read(1), np.ones((SIDE, SIDE), bool)
    mask[:, :5] = False
    code = int(np.bincount(labels[labels != 255]).argmax())
    hidden = labels == code if statement == "tag" else ~mask
    for path in [patch_path(folder), label_path(folder)][statement == "tag" :]:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=statement == "mask"), rasterio.open(path, "r+") as raster:
            if statement == "tag":
                raster.nodata = code
            else:
                raster.write_mask(mask)
    with pytest.warns(Alos2TutWarning, match=r"of 1 label files call [0-9,]+ pixels .*no data") as told:
        import_patches(folder, tmp_path / "again")
    assert len([w for w in told if "label files" in str(w.message)]) == 1
    old, new = (
        [np.load(place / f"pretrain_{kind}.npy") for kind in ("db", "labels")] for place in (packed, tmp_path / "again")
    )
    [changed] = np.flatnonzero((old[1] != new[1]).any(axis=(1, 2)))
    np.testing.assert_array_equal(new[1][changed], np.where(hidden, 255, old[1][changed]))
    lost = hidden & (statement != "tag")
    np.testing.assert_array_equal(new[0][changed, 0], np.where(lost, -32768, old[0][changed, 0]))


def edit(split: str, row: int, **changes: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        records = read_table(folder / f"{split}.csv")
        records[row].update(changes)
        write_table(folder / f"{split}.csv", records)

    return change


def without_column(folder: Path) -> None:
    write_table(folder / "val.csv", read_table(folder / "val.csv"), [c for c in AUTHORS_COLUMNS if c != "MaxLat"])


def twice(folder: Path) -> None:
    write_table(folder / "val.csv", read_table(folder / "val.csv")[:1] * 2)


def across(folder: Path) -> None:
    write_table(folder / "test.csv", read_table(folder / "train.csv")[1:2])


def cut_short(folder: Path) -> None:
    path = folder / "val.csv"
    path.write_text(path.read_text().rsplit(",", 4)[0] + "\n")


LISTS = {
    "no such list": (lambda f: (f / "test.csv").unlink(), r"test\.csv.*lists="),
    "column": (without_column, r"val\.csv: has no column 'MaxLat'"),
    "number": (edit("train", 2, MinLon="east"), r"train\.csv, row 3: MinLon is no number: 'east'"),
    "not finite": (edit("train", 0, Latitude="nan"), "row 1: Latitude is no number"),
    "too few values": (cut_short, r"val\.csv: row 3 has 8 fields, the table has 12"),
    "empty": (lambda f: write_table(f / "val.csv", []), "is empty"),
    "twice": (twice, r"val\.csv, row 2: two patches are named"),
    "leads elsewhere": (edit("val", 1, FolderPath="../../.."), r"row 2: the path .* leads elsewhere"),
    "other place": (edit("val", 0, MinLon="139.5"), r"val\.csv, row 1: .* lies at 13"),
    "other ground": (
        edit("train", 0, MinLon="139.5"),
        r"train\.csv, row 1: puts .* other ground than .*pretrain\.csv, row 1",
    ),
    "same ground": (across, "row 1 of the list 'pretrain' is less than 100 m .* row 1 of 'test'.*'drop'"),
    "no text": (lambda f: (f / "val.csv").write_bytes(b"\xff\xfe\x00"), r"val\.csv"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists_that_cannot_be_right_are_refused(folder, tmp_path, kind):
    spoil, message = LISTS[kind]
    spoil(folder)
    with pytest.raises(Alos2TutError, match=message):
        import_patches(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["patches"]


def test_overlapping_lists_can_give_way(folder, tmp_path):
    across(folder)
    shutil.copy(folder / "pretrain.csv", folder / "train.csv")
    with pytest.warns(Alos2TutWarning, match="3 of 4 patches of '(pre)?train' lie too near"):
        found = import_patches(folder, tmp_path / "out", on_overlap="drop")
    left = {name: [record["FileName"] for record in open_dataset(found).split(name).table] for name in SPLITS}
    # the patch that is now tested, and the two that touch it, are left out of training
    assert left["pretrain"] == left["train"] == [f"{NAMES[19]}_0_0.tif"]
    assert (len(left["val"]), left["test"]) == (2, [f"{NAMES[9]}_0_32.tif"])


def test_patches_that_touch_on_one_grid_share_no_ground(folder, tmp_path):
    # the second in the row, whose box in degrees overlaps that of the first
    for name in ("pretrain", "train"):
        records = read_table(folder / f"{name}.csv")
        write_table(folder / f"{name}.csv", records[:1] + records[2:])
        if name == "pretrain":
            write_table(folder / "test.csv", records[1:2])
    assert len(open_dataset(import_patches(folder, tmp_path / "out", buffer_m=0)).split("test")) == 1
    with pytest.raises(Alos2TutError, match=r"is less than 1 m from that of row 1 of 'test'\."):
        import_patches(folder, tmp_path / "other", buffer_m=1)


def test_validation_gives_way_to_the_test(folder, tmp_path):
    shared = read_table(folder / "test.csv")[:1]
    write_table(folder / "val.csv", read_table(folder / "val.csv") + shared)
    with pytest.raises(Alos2TutError, match="list 'val' is less than 100 m"):
        import_patches(folder, tmp_path / "out")
    with pytest.warns(Alos2TutWarning, match="1 of 3 patches of 'val'"):
        dataset = open_dataset(import_patches(folder, tmp_path / "out", on_overlap="drop"))
    assert (len(dataset.split("val")), len(dataset.split("test"))) == (2, 2)


def test_a_patch_that_does_not_lie_where_its_name_says_keeps_its_place(folder, tmp_path):
    record = read_table(folder / "val.csv")[0]
    renamed = record["FileName"].replace("_0_128.tif", "_0_96.tif")
    for suffix in (".tif", "_label.tif"):
        path = folder / record["FolderPath"] / record["FileName"].replace(".tif", suffix)
        path.rename(path.with_name(renamed.replace(".tif", suffix)))
    edit("val", 0, FileName=renamed)(folder)
    packed = import_patches(folder, tmp_path / "packed")
    [moved, _] = open_dataset(packed).split("val").table
    assert (moved["Product"], moved["PatchRow"], moved["PatchCol"]) == (renamed[:-4], "0", "0")
    again = export_patches(packed, tmp_path / "again") / record["FolderPath"] / renamed
    assert again.read_bytes() != b"" and rasterio.open(again).bounds.left == ORIGINS[NAMES[9]].c + 4 * SIDE * 5


def test_the_files_that_a_dataset_was_made_from_are_hashed(folder, exported, tmp_path):
    rewrite(label_path(folder), set_pixel(1))
    rewrite(label_path(folder), set_pixel(0))
    one, other = (import_patches(path, tmp_path / name) for path, name in ((exported, "a"), (folder, "b")))
    made = [open_dataset(path).content["made_from"] for path in (one, other)]
    assert {key for key in made[0] if made[0][key] != made[1][key]} == {"patches"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lists": {"training": "train.csv"}}, "lists.*'training'.*'pretrain', 'train'"),
        ({"quantity": "beta"}, "quantity='beta'.*'sigma0', 'gamma0'"),
        ({"on_overlap": "ignore"}, "on_overlap='ignore'.*'raise' or 'drop'"),
        ({"legend": "japan_10"}, "japan_10"),
        ({"buffer_m": 5000}, "less than 5000 m"),
        ({"buffer_m": -1e9}, "buffer_m"),
        ({"buffer_m": float("nan")}, "buffer_m"),
        ({"polarization": "XX"}, "polarization='XX'.*'HH'"),
    ],
)
def test_impossible_wishes_are_refused(folder, tmp_path, settings, message):
    with pytest.raises(Alos2TutError, match=message):
        import_patches(folder, tmp_path / "out", **settings)


def test_a_polarisation_that_names_do_not_tell_is_asked_for(authors, tmp_path):
    for split, file in AUTHORS_LISTS.items():
        text = (authors / file).read_text().replace("IMG-HH-", "X")
        (authors / f"{split}.csv").write_text(text)
    for path in authors.rglob("IMG-HH-*.tif"):
        path.rename(path.with_name(path.name.replace("IMG-HH-", "X")))
    settings = {"labels": tmp_path / "codes.tif"}
    with pytest.raises(Alos2TutError, match=r"no polarisation.*polarization='HH'"):
        import_patches(authors, tmp_path / "out", **settings)
    found = open_dataset(import_patches(authors, tmp_path / "out", **settings, polarization="HV"))
    assert found.signal["polarizations"] == ["HV"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"settings": None}, "settings"),
        ({"settings": {"buffer_m": "x"}}, "buffer_m"),
        ({"settings": {"block_m": -5}}, "block_m"),
        ({"spacing_m": "x"}, "spacing_m"),
        ({"spacing_m": [0, 5]}, "spacing_m"),
        ({"polarizations": "HH"}, "polarizations"),
        ({"polarizations": []}, "polarizations"),
        ({"spacing_m": [10.0, 10.0]}, r"says pixels of \[10.0, 10.0\] m"),
        ({"schema": "another"}, "not of the schema alos2tut-patches-1"),
    ],
    ids=str,
)
def test_descriptions_that_say_nonsense_are_refused_by_field(folder, tmp_path, changes, field):
    told = json.loads((folder / "patches.json").read_text()) | changes
    (folder / "patches.json").write_text(json.dumps(told))
    with pytest.raises(Alos2TutError, match=rf"patches\.json: .*{field}"):
        import_patches(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
