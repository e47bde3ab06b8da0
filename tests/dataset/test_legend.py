"""Legends: raw codes to classes, and what makes no legend."""

import tracemalloc
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

from alos2tut import Alos2TutError, load_legend
from alos2tut.dataset.legend import IGNORE, UNKNOWN, Legend, legend_names
from alos2tut.products.open_rasters import _FOREST, _FOREST_SINCE_2017

BUILT_IN = {"japan_9": 9, "japan_14": 14, "japan_water": 2, "water_land": 2, "worldcover": 11, "fnf_3": 3, "fnf_4": 4}
BUILT_IN |= {"airsar_sanfrancisco": 5, "airsar_flevoland": 15, "airsar_flevoland_13": 13, "alos2_sanfrancisco": 6}


def plain(**changes: object) -> dict[str, object]:
    classes = [{"name": "a", "color": [1, 2, 3], "codes": [1, 2]}, {"name": "b", "color": [4, 5, 6], "codes": [255]}]
    return {"name": "toy", "classes": classes, "ignored": [0], **changes}


@pytest.mark.parametrize("name", BUILT_IN)
def test_legends_that_come_with_the_package(name):
    legend = load_legend(name)
    assert len(legend) == BUILT_IN[name] == len(legend.colors) and legend.source
    assert Legend.from_dict(legend.to_dict(), where=name) == legend
    assert set(legend.colormap()) == {*range(len(legend)), IGNORE}
    assert legend_names() == sorted(BUILT_IN)


def test_japans_fourteen_codes_merge_to_nine_classes():
    nine = load_legend("japan_9").to_dict()
    merged = {
        "water": ([0, 0, 100], [1]),
        "built-up": ([255, 0, 0], [2]),
        "cropland": ([0, 128, 255], [3, 4]),
        "grassland": ([255, 255, 0], [5]),
        "forest": ([0, 172, 86], [6, 7, 8, 9, 11]),
        "bare": ([128, 100, 0], [10]),
        "solar panel": ([161, 41, 119], [12]),
        "wetland": ([0, 150, 160], [13]),
        "greenhouse": ([255, 255, 255], [14]),
    }
    assert nine["classes"] == [{"name": n, "color": color, "codes": codes} for n, (color, codes) in merged.items()]
    assert (nine["name"], nine["ignored"]) == ("japan_9", [0, 255])


def test_codes_of_other_legends():
    assert load_legend("japan_water").to_classes(np.arange(15)).tolist() == [IGNORE, 0, *13 * [1]]
    codes = np.array([0, *range(10, 100, 10), 95, 100])
    assert load_legend("worldcover").to_classes(codes).tolist() == [IGNORE, *range(11)]


def test_names_of_airsars_label_codes():
    """San Francisco's are in another order than in PolSF's README; Flevoland has 15 classes, or 13 of them."""
    names = {1: "bare soil", 2: "mountain", 3: "water", 4: "urban", 5: "vegetation"}
    assert {c.codes: c.name for c in load_legend("airsar_sanfrancisco").classes} == {(k,): n for k, n in names.items()}
    whole, most = load_legend("airsar_flevoland"), load_legend("airsar_flevoland_13")
    assert [c.codes for c in whole.classes] == [(code,) for code in range(1, 16)]
    assert most.classes == whole.classes[:13] and most.ignored == (0, 14, 15)
    assert whole.names[13:] == ["barley", "buildings"]


@pytest.mark.parametrize(("name", "meaning"), [("fnf_3", _FOREST), ("fnf_4", _FOREST_SINCE_2017)])
def test_forest_maps_are_what_their_products_say(name, meaning):
    legend = load_legend(name)
    assert {0: "no data"} | {code: c.name for c in legend.classes for code in c.codes} == meaning
    assert legend.ignored == (0,)


def test_codes_become_classes_and_no_label_is_ignored():
    legend = Legend.from_dict(plain(), where="here")
    for dtype in (np.int32, np.int64):
        classes = legend.to_classes(np.array([[1, 2, 255], [0, -1, 1]], dtype=dtype))
        # a raw 255 is a code like any other here
        assert classes.dtype == np.uint8 and classes.tolist() == [[0, 0, 1], [IGNORE, IGNORE, 0]]


@pytest.mark.parametrize("code", [3, 254, 256, 257, 300, 65535])
def test_an_unknown_code_is_named(code):
    with pytest.raises(Alos2TutError, match=rf"file: holds codes \[{code}\].*'toy'"):
        Legend.from_dict(plain(), where="here").to_classes(np.array([1, code]), where="file")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16"])
def test_a_table_holds_the_class_of_every_code_of_a_type(dtype):
    legend, info = Legend.from_dict(plain(), where="here"), np.iinfo(dtype)
    codes = np.arange(info.min, info.max + 1)
    expected = np.select([codes < 0, codes == 0, codes <= 2, codes == 255], [IGNORE, IGNORE, 0, 1], UNKNOWN)
    found = legend.table(dtype)[codes.astype(dtype).view(f"u{np.dtype(dtype).itemsize}")]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


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


def one(**changes: object) -> dict[str, object]:
    """Classes of which the second one is changed."""
    first, second = plain()["classes"]
    return {"classes": [first, {key: value for key, value in {**second, **changes}.items() if value is not ...}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"classes": []}, "classes=.*at least 1 item", id="no class"),
        pytest.param({"classes": 255 * [{}]}, "classes=.*at most 254", id="too many classes"),
        pytest.param({"classes": ["a"]}, "classes.0='a': Input should be a valid dictionary", id="a name for a class"),
        pytest.param({"name": 9}, "name=9: Input should be a valid string", id="a number for a name"),
        pytest.param({"name": ""}, "name='': String should have at least 1", id="no name"),
        pytest.param({"source": ["x"]}, "source=.*: Input should be a valid string", id="a list for a source"),
        pytest.param({"legend": 1}, "unknown key 'legend'.*Known: .*merges", id="a field too many"),
        pytest.param(one(colour=[1, 2, 3]), "class 'b': unknown key 'colour'. Did you mean 'color'", id="colour"),
        pytest.param(one(codes=...), "class 'b' needs 'codes'", id="no codes"),
        pytest.param(one(codes=[]), "class 'b': codes=.*at least 1 item", id="a class without codes"),
        pytest.param(one(codes=[True]), "class 'b': codes.0=True: Input should be a valid integer", id="yes"),
        pytest.param(one(codes=[256]), "class 'b': codes.0=256: .*less than or equal to 255", id="a code too large"),
        pytest.param(one(codes=[-1]), "class 'b': codes.0=-1: .*greater than or equal to 0", id="a code too small"),
        pytest.param(one(codes=[3, 3]), r"codes named twice: \[3\]", id="twice in a class"),
        pytest.param(one(codes=[2, 3]), r"codes named twice: \[2\]", id="twice in classes"),
        pytest.param({"ignored": [1]}, r"codes named twice: \[1\]", id="ignored and not"),
        pytest.param({"ignored": [256]}, "'ignored' must be whole numbers in 0–255, not 256", id="ignored too large"),
        pytest.param({"ignored": ["a"]}, "'ignored' must be whole numbers", id="ignored by name"),
        pytest.param(one(color=[1, 2]), r"class 'b': color=\[1, 2\]: .*red, green and blue", id="two colours"),
        pytest.param(one(name="a"), "class name used twice: 'a'", id="a name twice"),
        pytest.param(one(name=["b"]), r"class \['b'\]: name=.*: .* valid string", id="a list for a class's name"),
        pytest.param(one(of=["a"]), "class 'b' needs 'codes' and no 'of'", id="of nothing"),
    ],
)
def test_what_is_no_legend_is_refused(tmp_path, changes, message):
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(plain(**changes)))
    with pytest.raises(Alos2TutError, match=message) as refused:
        load_legend(tmp_path / "my.yaml")
    assert "my.yaml" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"- 1", "name"), (b"a: [", ""), (b"", ""), (b"7", ""), ("name: Wälder".encode("latin-1"), "UTF-8")],
    ids=["a list", "broken", "empty", "a number", "Latin"],
)
def test_a_file_without_a_legend_is_refused(tmp_path, content, message):
    (tmp_path / "my.yaml").write_bytes(content)
    with pytest.raises(Alos2TutError, match=rf"my\.yaml.*{message}"):
        load_legend(tmp_path / "my.yaml")


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    (tmp_path / "my.yaml").touch()
    monkeypatch.setattr("builtins.open", Mock(side_effect=PermissionError(13, "denied")))
    with pytest.raises(Alos2TutError, match=r"my\.yaml.*denied"):
        load_legend(tmp_path / "my.yaml")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(Alos2TutError, match=r"unknown legend 'japan9'.*'japan_9'.*YAML"):
        load_legend("japan9")


# --- legends that merge


def merge(**changes: object) -> dict[str, object]:
    """A merge of the legend in ``toy.yaml``, which has the classes a (1, 2), b (255) and ignores 0."""
    classes = [{"name": "all", "color": [9, 9, 9], "of": ["b", "a"]}]
    return {"name": "merged", "merges": "toy.yaml", "classes": classes, **changes}


def merging(*of: object, **changes: object) -> dict[str, object]:
    return merge(classes=[{"name": "all", "color": [9, 9, 9], "of": list(of)}], **changes)


@pytest.fixture
def written(tmp_path):
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(plain()))

    def write(content: object, name: str = "my.yaml") -> Path:
        (tmp_path / name).write_text(yaml.safe_dump(content))
        return tmp_path / name

    return write


def test_a_legend_merges_that_of_a_file_beside_it(written):
    legend = load_legend(written(merge()))
    assert legend.to_dict() == {
        "name": "merged",
        "source": "",
        "classes": [{"name": "all", "color": [9, 9, 9], "codes": [255, 1, 2]}],
        "ignored": [0],
    }
    # what a dataset keeps of it needs no other file
    assert Legend.from_dict(legend.to_dict(), where="elsewhere") == legend


def test_a_merge_can_be_merged(written):
    written(merge(), "middle.yaml")
    assert load_legend(written(merging("all", merges="middle.yaml"))).classes[0].codes == (255, 1, 2)


@pytest.mark.parametrize(
    ("ignored", "expected"), [(["b"], [0, 255]), ([255], [0, 255]), ([0, "b", 7], [0, 255, 7])], ids=str
)
def test_classes_of_a_merged_legend_can_be_ignored(written, ignored, expected):
    legend = load_legend(written(merging("a", ignored=ignored)))
    assert list(legend.ignored) == expected and legend.classes[0].codes == (1, 2)


def test_a_legend_merges_one_of_the_package(written):
    names = [name for name in load_legend("water_land").names if name != "water"]
    assert load_legend(written(merging(*names, ignored=["water"], merges="water_land"))).ignored == (0, 100, 150, 50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(merging("a"), "of 'toy' neither merged nor ignored: 'b'.*'of'.*'ignored'", id="a class left over"),
        pytest.param(merging("a", ignored=[255, 1]), "merged or ignored twice: 'a'", id="a part ignored, too"),
        pytest.param(merging("b", ignored=[1]), "neither merged nor ignored: 'a'", id="a part left over"),
        pytest.param(merging("a", "b", "a"), "merged or ignored twice: 'a'", id="a class twice"),
        pytest.param(merging("a", "b", ignored=["b"]), "merged or ignored twice: 'b'", id="merged and ignored"),
        pytest.param(merging("a", "c"), "'of' of class 'all' names 'c', no class of 'toy'.*Known: a, b", id="unknown"),
        pytest.param(merging("a", "b", ignored=["aa"]), "'ignored' names 'aa'.*Did you mean 'a'", id="unknown ignored"),
        pytest.param(
            merging("a", 255), "class 'all': of.1=255: Input should be a valid string", id="a code for a name"
        ),
        pytest.param(merging("a", ["b"]), r"class 'all': of.1=\['b'\]: .* valid string", id="a list for a name"),
        pytest.param(merging(), "class 'all': of=.*at least 1 item", id="of nothing"),
        pytest.param(merge(classes=plain()["classes"]), "class 'a' needs 'of' and no 'codes'", id="codes in a merge"),
        pytest.param(merge(merges="japan_15"), "'merges' names 'japan_15'.*Did you mean 'japan_14'", id="no legend"),
        pytest.param(merge(merges="toys.yaml"), "'merges' names 'toys.yaml'.*beside this one", id="no file"),
        pytest.param(merge(merges=["toy.yaml"]), "merges=.*: Input should be a valid string", id="a list of legends"),
        pytest.param(merge(merges="my.yaml"), "leads back.*my.yaml → .*my.yaml", id="merges itself"),
        pytest.param(merge(merges="./my.yaml"), "leads back", id="merges itself by another path"),
    ],
)
def test_what_is_no_merge_is_refused(written, content, message):
    with pytest.raises(Alos2TutError, match=message) as refused:
        load_legend(written(content))
    assert "my.yaml" in str(refused.value)


def test_legends_that_merge_each_other_are_refused(written):
    written(merge(merges="my.yaml"), "other.yaml")
    with pytest.raises(Alos2TutError, match=r"leads back.*my\.yaml → .*other\.yaml → .*my\.yaml"):
        load_legend(written(merge(merges="other.yaml")))


def test_what_is_wrong_with_a_merged_legend_names_its_file(written):
    written(plain(ignored=[1]), "toy.yaml")
    with pytest.raises(Alos2TutError, match=r"toy\.yaml: is no legend: codes named twice"):
        load_legend(written(merge()))
