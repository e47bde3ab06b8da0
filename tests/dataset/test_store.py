"""Opening a packed dataset: what was cut, edited or leaks is noticed; and the verification of every byte."""

import csv
import json
import os
import pickle
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.packed import file_facts, write_packed_dataset

from alos2tut import Alos2TutError, open_dataset
from alos2tut.cli import main
from alos2tut.dataset.encoding import Statistics, decode_db, step_sums
from alos2tut.dataset.store import SPLITS, Split, _shuffled, batch_indices
from alos2tut.dataset.verify import verify_dataset


@pytest.fixture
def packed(tmp_path) -> Path:
    """A dataset to damage, whose counts are stated."""
    folder = write_packed_dataset(tmp_path / "dataset")
    change(folder, **stated_counts(folder))
    return folder


def stated_counts(folder: Path) -> dict[str, object]:
    """Counts, statistics and weights as they are in the stores."""
    dataset, facts = open_dataset(folder), {}
    for name in SPLITS:
        counts = np.bincount(dataset.split(name).gather(range(len(dataset.tables[name])))[1].ravel(), minlength=256)[:3]
        facts[name] = {"patches": len(dataset.tables[name])}
        facts[name]["class_pixels"] = dict(zip(dataset.legend.names, counts.tolist(), strict=True))
    train = np.array(list(facts["train"]["class_pixels"].values()))
    db = decode_db(np.load(folder / "pretrain_db.npy"))
    statistics = {"mean_db": [round(float(np.nanmean(db, dtype=float)), 4)]}
    statistics |= {"std_db": [round(float(np.nanstd(db, dtype=float)), 4)]}
    return {"splits": facts, "statistics": statistics, "class_weights": ((1 - train / train.sum()) / 2).tolist()}


def change(folder: Path, **changes: object) -> None:
    """Other content of ``dataset.json``, with the files' present hashes unless others are given."""
    content = json.loads((folder / "dataset.json").read_text()) | {"files": file_facts(folder)} | changes
    (folder / "dataset.json").write_text(json.dumps(content))


def change_at(folder: Path, place: str, value: object) -> None:
    """One field of ``dataset.json``, as in ``splits/val/patches``; Ellipsis takes it away."""
    content = json.loads((folder / "dataset.json").read_text())
    inner = content
    *parents, last = (int(key) if key.isdigit() else key for key in place.split("/"))
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    (folder / "dataset.json").write_text(json.dumps(content))


def restore(folder: Path, name: str, array: np.ndarray) -> None:
    """Another array as a store, whose size and hash ``dataset.json`` then states."""
    np.save(folder / name, array)
    change(folder)


def rewrite(folder: Path, name: str, **columns: object) -> None:
    """Set columns in the first row of a list."""
    with open(folder / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0] |= columns
    with open(folder / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("split", SPLITS)
def test_a_list_that_was_edited_or_lost_is_refused_by_name(packed, split):
    rewrite(packed, split, Year=2021)
    with pytest.raises(Alos2TutError, match=rf"{split}\.csv: was cut or edited"):
        open_dataset(packed)
    (packed / f"{split}.csv").unlink()
    with pytest.raises(Alos2TutError, match=rf"{split}\.csv: the list cannot be read"):
        open_dataset(packed)


def test_a_cut_or_longer_store_is_refused_by_name(packed):
    for name in ("val_db.npy", "val_labels.npy"):
        content = (packed / name).read_bytes()
        for other in (content[:-1], content + b"\0", b""):
            (packed / name).write_bytes(other)
            with pytest.raises(Alos2TutError, match=rf"{name}: has {len(other)} bytes"):
                open_dataset(packed)
        (packed / name).write_bytes(content)


def test_a_missing_store_is_told_when_it_is_asked_for(packed):
    (packed / "test_labels.npy").unlink()
    dataset = open_dataset(packed)
    assert len(dataset.split("val")) == 4
    with pytest.raises(Alos2TutError, match=r"test_labels\.npy: cannot be mapped"):
        dataset.split("test")


@pytest.mark.parametrize("damage", [(b"}", b"("), (b"NUMPY", b"NUMPI"), (b"<i2", b"|O8"), (b"(4,", b"(9,")], ids=str)
def test_a_store_whose_head_is_damaged_is_refused(packed, damage):
    (packed / "val_db.npy").write_bytes((packed / "val_db.npy").read_bytes().replace(*damage, 1))
    with pytest.raises(Alos2TutError, match=r"val_db\.npy: cannot be mapped"):
        open_dataset(packed).split("val")
    report = verify_dataset(packed)
    assert report.differ == report.unreadable == 1


def other_array(name: str, change_of: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda folder: restore(folder, name, change_of(np.load(folder / name)))


TWO_CHANNELS = {"polarizations": ["HH", "HV"], "statistics": {"mean_db": [-9, -15], "std_db": [5, 5]}}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: change(folder, patch_px=64), r"not int16 patches of \(1, 64, 64\)"),
        (lambda folder: change(folder, **TWO_CHANNELS), r"not int16 patches of \(2, 32, 32\)"),
        (other_array("val_labels.npy", lambda a: a[:, :, :16]), r"not uint8 patches of \(32, 32\)"),
        (other_array("val_labels.npy", lambda a: a.astype(np.int16)), "holds int16"),
        (other_array("val_db.npy", lambda a: a.astype(np.float32)), "holds float32"),
        (other_array("val_labels.npy", lambda a: a[:3]), "holds 3 patches, and val_db.npy 4"),
        (other_array("val_db.npy", lambda a: a[:3]), "holds 4 patches, and val_db.npy 3"),
    ],
)
def test_stores_that_are_not_as_stated_or_do_not_fit_each_other_are_refused(packed, spoil, message):
    spoil(packed)
    with pytest.raises(Alos2TutError, match=message):
        open_dataset(packed).split("val")
    assert verify_dataset(packed).unreadable == 1


@pytest.mark.parametrize(
    ("split", "south", "other"),
    [("val", 2.05, "test"), ("pretrain", 1.1085, "val"), ("train", 1.995, "test"), ("test", -0.05, "pretrain|train")],
)
def test_lists_that_share_ground_are_refused_though_their_hashes_fit(packed, split, south, other):
    rewrite(packed, split, South=south, North=south + 0.1)
    change(packed)
    with pytest.raises(Alos2TutError, match="less than 1000 m") as error:
        open_dataset(packed)
    assert split in str(error.value) and any(name in str(error.value) for name in other.split("|"))


def test_ground_beyond_the_buffer_is_no_leak(packed):
    rewrite(packed, "pretrain", South=1.1095, North=1.2)
    change(packed)
    assert len(open_dataset(packed).split("pretrain")) == 12


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"West": "far"}, "missing or broken"),
        ({"West": "nan"}, "no box"),
        ({"Row": 99}, "names row 99 of 4"),
        ({"Row": -1}, "names row -1 of 4"),
        ({"Row": 1.5}, "missing or broken"),
        ({"Row": "nan"}, "missing or broken"),
        ({"Row": "1e300"}, "missing or broken"),
    ],
    ids=str,
)
def test_lists_that_say_nonsense_are_refused(packed, columns, message):
    rewrite(packed, "val", **columns)
    change(packed)
    with pytest.raises(Alos2TutError, match=message):
        open_dataset(packed).split("val")


#: where in dataset.json, what stands there then (Ellipsis: nothing), and what the message names
BROKEN = [
    ("schema", "alos2tut-dataset-1", "schema"),
    ("legend", {}, "legend"),
    ("legend/classes", [], "legend"),
    ("statistics", 5, "statistics=5"),
    ("statistics/mean_db", "-11", "mean_db"),
    ("statistics/mean_db", [10**400], "statistics"),
    ("statistics/mean_db", [-11, -5], "mean_db has 2 channels, std_db 1"),
    ("statistics/std_db", [0.0], "std_db"),
    ("quantity", "beta0", "quantity"),
    ("polarizations", "HH", "polarizations"),
    ("polarizations", ["HX"], "polarizations"),
    ("polarizations", ["HH", "HV"], "polarizations"),
    ("spacing_m", ["5", "5"], "spacing_m"),
    ("spacing_m", [5.0], "spacing_m"),
    ("spacing_m", [5, 0], "spacing_m"),
    ("patch_px", ..., "patch_px"),
    ("patch_px", 0, "patch_px"),
    ("patch_px", True, "patch_px"),
    ("class_weights", [0.5, 0.5], "class_weights"),
    ("class_weights/0", -0.1, "class_weights"),
    ("class_weights/0", 1e39, "class_weights"),
    ("settings", {}, "buffer_m"),
    ("settings/buffer_m", -1e9, "buffer_m"),
    ("settings/buffer_m", float("nan"), "buffer_m"),
    ("settings/buffer_m", 1e300, "buffer_m"),
    ("splits", 5, "splits"),
    ("splits/pretrain", ..., "pretrain"),
    ("splits/other", {"patches": 1, "class_pixels": {}}, "other"),
    ("splits/val/patches", ..., "patches"),
    ("splits/val/patches", -1, "patches"),
    ("splits/val/class_pixels/class 1", ..., "class 1"),
    ("splits/val/class_pixels/class 1", 1.5, "class 1"),
    ("splits/val/class_pixels/class 9", 1, "class 9"),
    ("files", {}, "files"),
    ("files/val.csv", ..., r"val\.csv"),
    ("files/test_db.npy", ..., r"test_db\.npy"),
    ("files/test_db.npy", 3, "test_db"),
    ("files/val.csv/bytes", 10**400, "bytes"),
    ("files/val.csv/sha256", "0" * 63, "sha256"),
    ("files/a\0b", {"bytes": 1, "sha256": "0" * 64}, "files"),
    ("simulated", "no", "simulated"),
    ("products", None, "products"),
    ("products", [5], "products"),
    ("products", [{"name": "a", "crs": "EPSG:32654"}], "transform"),
    ("settings/looks", "2", "looks"),
    ("left_out", 7, "left_out"),
]


@pytest.mark.parametrize(
    ("place", "value", "named"), BROKEN, ids=[f"{p}={str(v)[:20]}".replace("\0", "0") for p, v, _ in BROKEN]
)
def test_a_description_that_cannot_be_is_refused_by_field(packed, capsys, place, value, named):
    change_at(packed, place, value)
    with pytest.raises(Alos2TutError, match=rf"dataset\.json.*{named}"):
        open_dataset(packed)
    for command in ("info", "verify"):
        assert main([command, str(packed)]) == 2
        assert "dataset.json" in capsys.readouterr().err


def test_a_file_that_is_no_json_object_is_refused(packed):
    for text in ("[]", "{"):
        (packed / "dataset.json").write_text(text)
        with pytest.raises(Alos2TutError, match=r"dataset\.json"):
            open_dataset(packed)


def test_numbers_of_lists_are_exact_whatever_stands_in_other_columns(packed):
    rows = [{"Year": 'a,"b"\n\nc', "Row": 3, "West": "0.1234567", "South": 1, "East": "0.2", "North": "1.1"}]
    rows += [{**rows[0], "Year": "", "Row": "1", "West": "1e-1"}]
    with open(packed / "val.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["Year", *list(rows[0])[1:]], quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
    change(packed)
    val = open_dataset(packed).split("val")
    assert val.rows.tolist() == [3, 1] and val.rows.dtype == np.int64 and len(val) == len(val.table) == 2
    assert val.table[0] == {key: str(value) for key, value in rows[0].items()} and val.table[-1]["West"] == "1e-1"
    assert val.gather([1])[0].tolist() == np.load(packed / "val_db.npy")[1:2].tolist()


def test_a_list_may_be_empty(packed, recwarn):
    lines = (packed / "val.csv").read_text().splitlines()
    (packed / "val.csv").write_text(lines[0] + "\n")
    change(packed)
    val = open_dataset(packed).split("val")
    assert len(val) == len(val.table) == 0 and not list(val.table) and not recwarn.list


def test_the_table_is_read_once_and_only_if_it_is_the_one_that_was_built(packed):
    dataset = open_dataset(packed)
    assert dataset.tables["val"][0] is dataset.split("val").table[0]
    rewrite(packed, "test", Year=2021)
    assert len(dataset.tables["test"]) == 4
    with pytest.raises(Alos2TutError, match=r"test\.csv: was cut or edited"):
        dataset.split("test").table[0]


def test_little_is_kept_of_long_lists(tmp_path):
    n = 20_000
    folder = write_packed_dataset(tmp_path / "dataset", patch_px=8, n=n)
    open_dataset(folder)
    tracemalloc.start()
    dataset = open_dataset(folder)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(dataset.tables["pretrain"]) == n and kept / (2 * n) < 30


def test_patches_are_taken_evenly(packed):
    split = open_dataset(packed).split("train")
    assert split.evenly(3).tolist() == [0, 4, 9] and split.evenly(100).tolist() == list(range(10))


def test_statistics_from_whole_numbers_are_those_of_the_pixels():
    steps = np.random.default_rng(0).integers(-3000, 500, (7, 1, 16, 16)).astype(np.int16)
    steps[0, 0, :4] = -32768
    parts = [step_sums(part) for part in steps]
    found = Statistics.from_sums([tuple(map(sum, zip(*parts, strict=True)))], where="here")
    db = decode_db(steps).astype(float)
    assert found.mean_db[0] == pytest.approx(np.nanmean(db), abs=6e-5)
    assert found.std_db[0] == pytest.approx(np.nanstd(db), abs=6e-5)
    with pytest.raises(Alos2TutError, match="here"):
        Statistics.from_sums([(0, 0, 0)], where="here")


# --- verification


def test_a_whole_dataset_agrees_with_itself(packed):
    report = verify_dataset(packed)
    assert report.agree > 25 and report.differ == report.unreadable == 0
    assert report.identity == "dataset" and report.kind == "packed dataset"


@pytest.mark.parametrize("name", ["pretrain_db.npy", "test_labels.npy", "train.csv"])
def test_one_changed_byte_or_a_lost_file_is_found_and_named(packed, name):
    content = bytearray((packed / name).read_bytes())
    content[-7] ^= 1
    (packed / name).write_bytes(content)
    checks = [c for c in verify_dataset(packed).checks if c.verdict in ("differs", "unreadable")]
    [check] = [check for check in checks if check.subject == "files"]
    assert check.name == name and len(set(check.values.values())) == 2
    (packed / name).unlink()
    report = verify_dataset(packed)
    assert report.unreadable == 2 and any(c.name == name and c.verdict == "unreadable" for c in report.checks)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("splits/val/class_pixels/class 1", 1379),
        ("splits/test/patches", 5),
        ("statistics/mean_db", [-11.0]),
        ("class_weights/0", 0.3596),
    ],
)
def test_counts_that_are_not_those_of_the_stores_differ(packed, place, value):
    """Also by a pixel, or a weight by a ten-thousandth."""
    change_at(packed, place, value)
    assert verify_dataset(packed).differ == 1


def test_classes_beyond_the_legend_and_rows_that_are_named_twice_are_found(packed):
    labels = np.load(packed / "test_labels.npy")
    labels[:, 8:10, 8:10] = 7
    restore(packed, "test_labels.npy", labels)
    change(packed, **stated_counts(packed))
    [check] = [check for check in verify_dataset(packed).checks if check.verdict != "agrees"]
    assert check.subject == "list 'test'" and "no class" in check.name and check.values["store"] == "16"
    rewrite(packed, "val", Row=2)
    change(packed)
    change(packed, **stated_counts(packed))
    check, _ = [check for check in verify_dataset(packed).checks if check.verdict != "agrees"]
    assert check.name == "rows of the store, once each" and check.values == {"list": "4", "rows": "3"}


def test_channels_are_verified_one_by_one(packed):
    for store in ("pretrain", "val", "test"):
        steps = np.load(packed / f"{store}_db.npy")
        np.save(packed / f"{store}_db.npy", np.concatenate([steps, np.maximum(steps, -3000) // 2], axis=1))
    db = decode_db(np.load(packed / "pretrain_db.npy")).astype(float).swapaxes(0, 1).reshape(2, -1)
    statistics = {"mean_db": np.nanmean(db, axis=1).tolist(), "std_db": np.nanstd(db, axis=1).tolist()}
    change(packed, polarizations=["HH", "HV"], statistics=statistics)
    assert verify_dataset(packed).differ == verify_dataset(packed).unreadable == 0
    statistics["mean_db"][1] += 0.01
    change(packed, statistics=statistics)
    assert [check.name for check in verify_dataset(packed).checks if check.verdict != "agrees"] == ["mean_db"]


def test_the_command_opens_a_dataset_once_describes_and_verifies_it(packed, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("alos2tut.dataset.store.open_dataset", lambda path: opened.append(path) or open_dataset(path))
    assert main(["info", str(packed)]) == 0 and len(opened) == 1
    told = capsys.readouterr().out
    assert "pretrain 12, train 10, val 4, test 4" in told and "class 2" in told
    assert main(["info", str(packed), "--json"]) == 0 and len(opened) == 2
    assert json.loads(capsys.readouterr().out) == json.loads((packed / "dataset.json").read_text())
    assert main(["verify", str(packed)]) == 0 and "packed dataset" in capsys.readouterr().out
    (packed / "val.csv").write_text("")
    assert main(["verify", str(packed)]) == 1 and "differs" in capsys.readouterr().out
    assert main(["info", str(packed)]) == 2 and "val.csv" in capsys.readouterr().err


# --- the order of batches


@pytest.mark.parametrize(("n", "batch_size"), [(10, 4), (7, 7), (5, 23), (1, 3)])
def test_batches_are_those_of_the_plain_formula(n, batch_size):
    def plain(micro_batch: int) -> list[int]:
        stream = range(micro_batch * batch_size, (micro_batch + 1) * batch_size)
        return [int(np.random.default_rng([3, i // n]).permutation(n)[i % n]) for i in stream]

    for micro_batch in (0, 1, 2, 5, 1, 0):
        assert batch_indices(n, batch_size, 3, micro_batch).tolist() == plain(micro_batch)


def test_epochs_and_seeds_differ_and_an_order_is_drawn_once():
    _shuffled.cache_clear()
    first, second, other = (batch_indices(50, 50, *key).tolist() for key in [(0, 0), (0, 1), (1, 0)])
    assert sorted(first) == sorted(second) == list(range(50)) and first != second and first != other
    _shuffled.cache_clear()
    for micro_batch in range(20):
        batch_indices(100, 10, 0, micro_batch)[:] = 0
    assert _shuffled.cache_info().misses == 2
    assert batch_indices(100, 100, 0, 1).any() and not _shuffled(100, 0, 1).flags.writeable


def test_patches_of_a_list_say_where_they_lie_on_their_product():
    table = [{"Product": name, "PatchRow": str(row), "PatchCol": "16"} for name, row in (("a", 0), ("b", 8), ("a", 24))]
    patches, labels = np.zeros((3, 1, 8, 6), np.int16), np.zeros((3, 8, 6), np.uint8)
    split = Split("test", patches, labels, np.arange(3), [*table, {"FileName": "of another's list"}])
    assert split.windows("a") == [(0, 16, 8, 6), (24, 16, 8, 6)] and split.windows("c") == []


def test_a_split_is_a_map_style_dataset_of_standardised_images(packed_dataset):
    torch = pytest.importorskip("torch")
    from alos2tut.networks.encoders import standardize

    dataset = open_dataset(packed_dataset)
    other = Statistics((-3.0,), (2.0,))
    for split, statistics in ((dataset.split("val"), dataset.statistics), (dataset.split("val", other), other)):
        rows, labels = split.gather(range(len(split)))
        expected, _ = standardize(torch.from_numpy(rows), statistics)
        assert (np.array([image for image, _ in split]) == expected.numpy()).all()
        # spawned workers are given no arrays, but open them
        assert len(pickle.dumps(split)) < 1000
        loader = torch.utils.data.DataLoader(split, batch_size=3)
        for at, (images, masks) in zip(range(0, len(split), 3), loader, strict=True):
            assert torch.equal(images, expected[at : at + 3]) and masks.dtype == torch.int64
            assert (masks.numpy() == labels[at : at + 3]).all()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(split))[-1][0], split[len(split) - 1][0])
    with pytest.raises(Alos2TutError, match="of 2 channels do not fit"):
        dataset.split("val", Statistics((-3.0, -9.0), (2.0, 2.0)))


def test_datasets_and_splits_say_what_they_are(packed_dataset):
    dataset = open_dataset(packed_dataset)
    told = "32 × 32 px, sigma0 HH, 3 classes; patches: pretrain 12, train 10, val 4, test 4>"
    assert repr(dataset) == f"<PatchDataset {packed_dataset.name}: {told}"
    assert repr(dataset.split("val")) == "<Split val: 4 patches of 1 × 32 × 32>"


@pytest.mark.parametrize("name", ["pretrain_db.npy", "test_labels.npy"])
def test_a_store_that_was_changed_at_equal_size_has_no_identity(tmp_path, name):
    path = write_packed_dataset(tmp_path / "dataset")
    before = open_dataset(path).fingerprint
    with open(path / name, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    with pytest.raises(Alos2TutError, match=rf"{name}: was changed since the dataset was built"):
        _ = open_dataset(path).fingerprint
    # one that is missing is named when it is asked for
    (path / name).unlink()
    assert open_dataset(path).fingerprint == before


def test_a_list_without_an_end_is_not_read(packed_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(packed_dataset, copy)
    (copy / "train.csv").unlink()
    (copy / "train.csv").symlink_to("/dev/zero")
    with pytest.raises(Alos2TutError, match=r"train\.csv: is no regular file"):
        open_dataset(copy)
