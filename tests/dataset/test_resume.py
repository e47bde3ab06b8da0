"""Building of several products: workers, interruptions, full disks, products that cannot be used."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.warp import transform as reproject_points
from support.datasets import SETTINGS, SMALL, boxes_m, build, codes_over, content_of, labels_of, smallest_gap_m
from support.processes import build_killed_at, build_on_full_disk, exit_code
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
)
from alos2tut.core.parallel import folder_lock
from alos2tut.dataset import builder as dataset_builder
from alos2tut.dataset import plan
from alos2tut.dataset.store import SPLITS


@pytest.fixture(scope="module")
def built_trio(trio, tmp_path_factory) -> Path:
    return build(**trio, work_dir=tmp_path_factory.mktemp("whole"))


def built_by(executor: Executor, trio: dict[str, object], work: Path) -> Path:
    """Built by an executor that is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        return build_dataset(load_config("dataset", **{**SETTINGS, **trio}, work_dir=work), executor=executor)


def test_two_processes_change_no_byte(trio, built_trio, tmp_path):
    other = build(**trio | {"workers": 2}, work_dir=tmp_path)
    assert other.name == built_trio.name and content_of(other) == content_of(built_trio)


def test_a_script_without_a_guard_builds(trio, built_trio, tmp_path):
    settings = {**SETTINGS, **trio} | {
        "products": [str(path) for path in trio["products"]],
        "labels": str(trio["labels"]),
        "workers": 2,
    }
    script = tmp_path / "script.py"
    script.write_text(
        "from alos2tut import build_dataset, load_config\n"
        f"print(build_dataset(load_config('dataset', work_dir={str(tmp_path)!r}, **{settings!r})))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True)
    assert content_of(Path(done.stdout.strip())) == content_of(built_trio), done.stderr


def test_an_executor_that_is_given_does_the_work_and_changes_no_byte(trio, built_trio, tmp_path):
    jobs = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *arguments):
            jobs.append(arguments)
            return super().submit(*arguments)

    with Counting(3) as executor:
        other = built_by(executor, trio, tmp_path)
    assert len(jobs) == 6 and other.name == built_trio.name and content_of(other) == content_of(built_trio)


@pytest.mark.soak
def test_dasks_workers_change_no_byte(trio, built_trio, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True) as cluster,
        distributed.Client(cluster) as client,
    ):
        folder = built_by(client.get_executor(), trio, tmp_path)
    assert folder.name == built_trio.name and content_of(folder) == content_of(built_trio)


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
    assert exit_code(build_killed_at, call, name, settings) == -signal.SIGKILL
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
    settings = {**trio, "work_dir": work}
    assert exit_code(build_killed_at, 1, "_write_lists", settings) == -signal.SIGKILL
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
    folder = Path(shutil.copytree(built_trio.parent, tmp_path / "work")) / built_trio.name
    monkeypatch.setattr(dataset_builder, "_cut_product", lambda _: pytest.fail("cut"))
    description, store = (folder / "dataset.json").read_text(), (folder / "test_db.npy").read_bytes()

    def change_a_number(_: bytes) -> None:
        (folder / "test_db.npy").write_bytes(store)
        (folder / "dataset.json").write_text(description.replace("sigma0", "gamma0"))

    spoilt = {
        r"no whole dataset: was changed since": lambda _: (folder / "test_db.npy").write_bytes(store[:-1] + b"~"),
        r"no whole dataset: its dataset\.json was changed": change_a_number,
        "is in the way, and no whole dataset: .*Remove it": (folder / "test_db.npy").write_bytes,
        r"it lacks test_db\.npy": lambda _: (folder / "test_db.npy").unlink(),
        "is in the way": lambda _: (folder / "dataset.json").unlink(),
    }
    for message, spoil in spoilt.items():
        spoil(b"")
        with pytest.raises(Alos2TutError, match=message):
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
    world = write_geotiff(tmp_path / "world.tif", np.full((360, 720), 7, np.uint8), degrees, crs="EPSG:4326")
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


def test_other_processes_find_what_is_named_from_here(trio, built_trio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = {"products": [os.path.relpath(path) for path in trio["products"]]}
    relative |= {"labels": os.path.relpath(trio["labels"]), "work_dir": "work", "workers": 2}
    assert content_of(build(**trio | relative)) == content_of(built_trio)


def test_too_small_a_disk_is_told_before_anything_is_cut(trio, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1e6, 1e6, 1000))
    with pytest.raises(Alos2TutError, match=r"need \d+ kB and the disk has 1 kB left.*points"):
        build(**trio, work_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["surveys"]


def test_a_disk_that_fills_up_leaves_a_clear_error_and_room_helps(trio, built_trio, tmp_path):
    size, told = (built_trio / "pretrain_db.npy").stat().st_size // 2, tmp_path / "told.txt"
    assert exit_code(build_on_full_disk, size, {**trio, "work_dir": tmp_path}, told) == 0
    assert "could not be written" in told.read_text() and "goes on" in told.read_text()
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
    settings = {**SETTINGS, **trio} | {"products": (bad, *trio["products"][1:]), "work_dir": tmp_path / "work"}
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
    settings = {**SETTINGS, **trio} | {
        "products": (small_scene, far),
        "work_dir": tmp_path / "work",
        "min_labelled_fraction": 0.3,
    }
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
    tables = {split: open_dataset(built_trio).tables[split] for split in ("pretrain", "val", "test")}
    places = [(split, record) for split, table in tables.items() for record in table]
    for _, record in places:
        assert record["FolderPath"] == f"{record['Year']}/{record['Month']}/{record['Day']}"
    assert {"2022/11/19", "2022/02/12"} <= {record["FolderPath"] for record in tables["pretrain"]}
    assert len({record["FileName"] for _, record in places}) == len(places)
    same = {(split, r["PatchRow"], r["PatchCol"]) for split, r in places if "ALOS29000" in r["Product"]}
    assert len({(row, col) for _, row, col in same}) == len(same)


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
    labels = write_geotiff(tmp_path / "labels.tif", codes, degrees, crs="EPSG:4326")
    settings = {"patch_px": 16, "block_m": 400, "buffer_m": 50, "min_labelled_fraction": 0.5}
    dataset = open_dataset(build(products=tuple(products), labels=labels, work_dir=tmp_path / "w", **settings))
    ground = {split: boxes_m(dataset, split, *products, crs="EPSG:32653") for split in ("pretrain", "val", "test")}
    names = {open_product(path).name for path in products}
    assert all({record["Product"] for record in dataset.tables[split]} == names for split in ground)
    for one, other in itertools.combinations(ground.values(), 2):
        assert smallest_gap_m(one, other) >= 45
