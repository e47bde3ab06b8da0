"""Opening a packed dataset: what was cut, edited or leaks is noticed; and the verification of every byte."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import file_facts, write_packed_dataset

from alos2tut import Alos2TutError, open_dataset
from alos2tut.checks_dataset import verify_dataset
from alos2tut.cli import main
from alos2tut.dataset import SPLITS, Statistics, decode_db, step_sums


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
def test_an_edited_list_is_refused_by_name(packed, split):
    rewrite(packed, split, Year=2021)
    with pytest.raises(Alos2TutError, match=rf"{split}\.csv: was cut or edited"):
        open_dataset(packed)


@pytest.mark.parametrize("name", ["val_db.npy", "val_labels.npy"])
def test_a_cut_or_longer_store_is_refused_by_name(packed, name):
    content = (packed / name).read_bytes()
    for other in (content[:-1], content + b"\0", b""):
        (packed / name).write_bytes(other)
        with pytest.raises(Alos2TutError, match=rf"{name}: has {len(other)} bytes"):
            open_dataset(packed).split("val")


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
        ({"Row": -1}, "of 4"),
        ({"Row": "x"}, "missing or broken"),
    ],
    ids=str,
)
def test_lists_that_say_nonsense_are_refused(packed, columns, message):
    rewrite(packed, "val", **columns)
    change(packed)
    with pytest.raises(Alos2TutError, match=message):
        open_dataset(packed).split("val")


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {}},
        {"files": [1]},
        {"files": {"val.csv": 3}},
        {"settings": {}},
        {"class_weights": "x"},
        {"legend": {}},
    ],
    ids=str,
)
def test_a_description_that_lacks_a_field_is_refused(packed, changes):
    change(packed, **changes)
    with pytest.raises(Alos2TutError, match=r"dataset"):
        open_dataset(packed)


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
def test_one_changed_byte_is_found_and_named(packed, name):
    content = bytearray((packed / name).read_bytes())
    content[-7] ^= 1
    (packed / name).write_bytes(content)
    checks = [c for c in verify_dataset(packed).checks if c.verdict in ("differs", "unreadable")]
    [check] = [check for check in checks if check.subject == "files"]
    assert check.name == name and len(set(check.values.values())) == 2


def test_a_lost_file_is_named(packed):
    (packed / "test_db.npy").unlink()
    report = verify_dataset(packed)
    assert report.unreadable == 2 and any(check.name == "test_db.npy" for check in report.checks)


@pytest.mark.parametrize("what", ["class_pixels", "patches", "statistics", "class_weights"])
def test_counts_that_are_not_those_of_the_stores_differ(packed, what):
    content = json.loads((packed / "dataset.json").read_text())
    if what == "class_pixels":
        content["splits"]["val"]["class_pixels"]["class 1"] += 1
    elif what == "patches":
        content["splits"]["test"]["patches"] = 5
    elif what == "statistics":
        content["statistics"]["mean_db"][0] += 0.01
    else:
        content["class_weights"][0] += 1e-4
    change(packed, **content)
    assert verify_dataset(packed).differ == 1


def test_the_command_verifies_and_describes_datasets(packed, capsys):
    assert main(["verify", str(packed)]) == 0 and "packed dataset" in capsys.readouterr().out
    assert main(["info", str(packed)]) == 0
    told = capsys.readouterr().out
    assert "pretrain 12, train 10, val 4, test 4" in told and "class 2" in told
    (packed / "val.csv").write_text("")
    assert main(["verify", str(packed)]) == 1 and "differs" in capsys.readouterr().out
    assert main(["info", str(packed)]) == 2 and "val.csv" in capsys.readouterr().err
