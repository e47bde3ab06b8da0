"""Legends: raw codes to classes, and what makes no legend."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import yaml

from alos2tut import Alos2TutError, load_legend
from alos2tut.legend import IGNORE, Legend

BUILT_IN = {"japan_9": 9, "japan_14": 14, "water_land": 2}


def plain(**changes: object) -> dict[str, object]:
    classes = [{"name": "a", "color": [1, 2, 3], "codes": [1, 2]}, {"name": "b", "color": [4, 5, 6], "codes": [255]}]
    return {"name": "toy", "classes": classes, "ignored": [0], **changes}


@pytest.mark.parametrize("name", BUILT_IN)
def test_legends_that_come_with_the_package(name):
    legend = load_legend(name)
    assert len(legend) == BUILT_IN[name] == len(legend.colors) and legend.source
    assert Legend.from_dict(legend.to_dict(), where=name) == legend
    assert set(legend.colormap()) == {*range(len(legend)), IGNORE}


def test_japans_fourteen_codes_merge_to_nine_classes():
    nine, fourteen = load_legend("japan_9"), load_legend("japan_14")
    codes = [code for c in nine.classes for code in c.codes]
    assert sorted(codes) == sorted(code for c in fourteen.classes for code in c.codes) == list(range(1, 15))


def test_codes_become_classes_and_no_label_is_ignored():
    legend = Legend.from_dict(plain(), where="here")
    classes = legend.to_classes(np.array([[1, 2, 255], [0, -1, 1]], dtype=np.int32))
    # a raw 255 is a code like any other here
    assert classes.dtype == np.uint8 and classes.tolist() == [[0, 0, 1], [IGNORE, IGNORE, 0]]


@pytest.mark.parametrize("code", [3, 254, 256, 257, 300, 65535])
def test_an_unknown_code_is_named(code):
    with pytest.raises(Alos2TutError, match=rf"file: holds codes \[{code}\].*'toy'"):
        Legend.from_dict(plain(), where="here").to_classes(np.array([1, code]), where="file")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "int64"])
def test_codes_of_any_integer_type_become_classes(dtype):
    codes = np.array([0, 1, 2], dtype=dtype)
    assert Legend.from_dict(plain(), where="here").to_classes(codes).tolist() == [IGNORE, 0, 0]


def test_classes_take_little_more_memory_than_their_codes():
    codes = np.ones((1000, 2000), dtype=np.int32)
    tracemalloc.start()
    try:
        load_legend("japan_9").to_classes(codes)
        assert tracemalloc.get_traced_memory()[1] <= 4.1 * codes.size
    finally:
        tracemalloc.stop()


def test_the_largest_legend_keeps_its_classes_and_knows_what_it_does_not():
    classes = [{"name": f"{i}", "color": [0, 0, 0], "codes": [i]} for i in range(254)]
    legend = Legend.from_dict(plain(classes=classes, ignored=[]), where="here")
    assert legend.to_classes(np.arange(254)).tolist() == list(range(254))
    with pytest.raises(Alos2TutError, match=r"\[254\]"):
        legend.to_classes(np.array([254]))


def test_a_legend_of_ones_own_is_read_from_its_file(tmp_path):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(plain()))
    assert load_legend(tmp_path / "my.yaml").names == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"classes": []}, "needs 1 to 254", id="no class"),
        pytest.param({"classes": [{"name": "a", "color": [1, 2, 3]}]}, "no legend.*codes", id="no codes"),
        pytest.param({"classes": [{"name": "a", "color": [1, 2], "codes": [1]}]}, "no legend", id="two colours"),
        pytest.param({"classes": [{"name": "a", "color": [1, 2, 256], "codes": [1]}]}, "0–255", id="no colour"),
        pytest.param({"classes": [{"name": "a", "color": [1, 2, 3], "codes": ["x"]}]}, "no legend", id="text as code"),
        pytest.param({"classes": None}, "no legend", id="nothing"),
        pytest.param({"ignored": [1]}, r"twice: \[1\]", id="a code twice"),
        pytest.param({"ignored": [256]}, r"outside 0–255: \[256\]", id="a code too large"),
        pytest.param(
            {"classes": 2 * [{"name": "a", "color": [1, 2, 3], "codes": []}]}, "used twice", id="a name twice"
        ),
    ],
)
def test_what_is_no_legend_is_refused(tmp_path, changes, message):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(plain(**changes)))
    with pytest.raises(Alos2TutError, match=message) as refused:
        load_legend(tmp_path / "my.yaml")
    assert "my.yaml" in str(refused.value)


@pytest.mark.parametrize("text", ["- 1", "a: [", "", "7"], ids=["a list", "broken", "empty", "a number"])
def test_a_file_without_a_legend_is_refused(tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(Alos2TutError, match=r"my\.yaml"):
        load_legend(tmp_path / "my.yaml")


def test_a_file_that_is_no_utf_8_is_refused(tmp_path):
    (tmp_path / "my.yaml").write_bytes("name: Wälder".encode("latin-1"))
    with pytest.raises(Alos2TutError, match=r"my\.yaml.*UTF-8"):
        load_legend(tmp_path / "my.yaml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "my.yaml").touch()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
    with pytest.raises(Alos2TutError, match=r"my\.yaml.*denied"):
        load_legend(tmp_path / "my.yaml")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(Alos2TutError, match=r"unknown legend 'japan9'.*'japan_9'.*YAML"):
        load_legend("japan9")
