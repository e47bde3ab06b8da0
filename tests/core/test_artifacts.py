"""Files are written whole or not at all, and folders are named by what decides their content."""

import json
import os
import time
from pathlib import Path

import pytest

from alos2tut import Alos2TutError, load_config, load_legend
from alos2tut.core import artifacts
from alos2tut.core.artifacts import (
    atomic_path,
    fingerprint,
    make_folder,
    matches,
    read_json,
    read_yaml,
    stage_dir,
    write_json,
)
from alos2tut.downloads.manifest import load_manifest


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new" and names(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with atomic_path(tmp_path / "f") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "b").write_text("x")
        assert not (tmp_path / "f").exists()
    assert (tmp_path / "f" / "deep" / "b").read_text() == "x" and names(tmp_path) == ["f"]


def test_a_file_replaces_an_older_one(tmp_path):
    (tmp_path / "a").write_text("old")
    with atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


def test_an_empty_folder_is_replaced_and_a_full_one_is_not(tmp_path):
    def make(name: str) -> None:
        with atomic_path(tmp_path / "f") as temporary:
            temporary.mkdir()
            (temporary / name).write_text("x")

    (tmp_path / "f").mkdir()
    make("first")
    with pytest.raises(Alos2TutError, match="f: could not be written"):
        make("second")
    assert names(tmp_path / "f") == ["first"] and names(tmp_path) == ["f"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError], ids=["interrupted", "failed"])
def test_a_failure_keeps_the_old_and_leaves_nothing(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    def left_by_a_killed_process(name: str, hours: float) -> str:
        """A holder as it stays behind, last written to some hours ago."""
        block = atomic_path(tmp_path / name)
        temporary = block.__enter__()
        killed.append(block)
        temporary.write_text("half")
        for path in (temporary, temporary.parent):
            os.utime(path, (time.time() - hours * 3600,) * 2)
        return temporary.parent.name

    killed: list = []
    old = left_by_a_killed_process("a[1]", 25)
    young, of_another = left_by_a_killed_process("a[1]", 23), left_by_a_killed_process("b", 25)
    (tmp_path / ".a[1].settings").mkdir()
    os.utime(tmp_path / ".a[1].settings", (0, 0))
    assert old not in names(tmp_path) and {young, of_another} <= set(names(tmp_path))
    at_work = left_by_a_killed_process("c", 25)
    (tmp_path / at_work / "scratch").write_text("written a moment ago")
    os.utime(tmp_path / at_work, (0, 0))
    for name in ("a[1]", "c"):
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("new")
    assert names(tmp_path) == sorted([".a[1].settings", young, of_another, at_work, "a[1]", "c"])


def test_a_full_disk_is_said(tmp_path):
    with pytest.raises(Alos2TutError, match=r"No space left.*disk space"), atomic_path(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(Alos2TutError, match="could not be written"), atomic_path(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(Alos2TutError, match=r"nowhere.*does not exist.*Create it"), atomic_path(tmp_path / "nowhere/a"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(Alos2TutError, match="cannot write here"), atomic_path(tmp_path / "a"):
        pass


def test_folders_are_made_and_a_file_in_the_way_is_named(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("x")
    with pytest.raises(Alos2TutError, match=r"file.*cannot be made"):
        make_folder(tmp_path / "file" / "b")


def test_a_pattern_stands_for_what_it_matches(tmp_path, monkeypatch):
    for name in ["b/x.tif", "a/x.tif", "a/deep/x.tif", "[1]/y.tif"]:
        make_folder((tmp_path / name).parent)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert matches("?/x.tif") == ["a/x.tif", "b/x.tif"] and matches("a/") == ["a"] == matches("[a]/")
    assert matches(tmp_path / "**" / "x.tif") == [str(tmp_path / n) for n in ("a/deep/x.tif", "a/x.tif", "b/x.tif")]
    # what has such a name is meant, and what is no pattern need not be there
    assert matches("[1]") == ["[1]"] and matches("missing") == ["missing"]
    for pattern, message in [("*.png", "nothing matches"), ("", "'' is no path"), ("a\0*", r"no path")]:
        with pytest.raises(Alos2TutError, match=message):
            matches(pattern)


def test_json_is_written_sorted_and_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.1, None, "ö"]})
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["a", "b"]
    assert read_json(tmp_path / "a.json") == {"a": [0.1, None, "ö"], "b": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param(b"", "not valid JSON", id="empty"),
        pytest.param(b'{"a": 1', "not valid JSON", id="cut"),
        pytest.param(b"\xff\xfe\x00", "not valid JSON", id="binary"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Alos2TutError, match=rf"a\.json.*{message}"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: !!bool x", id="no truth"),
        pytest.param("a: !!int ''", id="no number"),
        pytest.param("a: !!timestamp x", id="no time"),
        pytest.param("a: 2026-99-99", id="no date"),
        pytest.param("[" * 1000, id="deep"),
        pytest.param("a: \ud800", id="half a character"),
        pytest.param("a: !!python/none x", id="code"),
        pytest.param("{[a]: 1}", id="list as key"),
        pytest.param("a: 1\nb: 2\na: 3", id="key twice"),
        pytest.param("- {a: 1, 'a': 2}", id="key twice within"),
        pytest.param("<<: 5", id="no merge"),
        pytest.param("a: *b", id="no anchor"),
        pytest.param("a: \0", id="zero"),
    ],
)
def test_hostile_yaml_is_refused_in_a_few_words(tmp_path, text):
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(Alos2TutError, match=r"m\.yaml: .*not valid YAML") as refused:
        read_yaml(path)
    assert len(str(refused.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(load_manifest, id="manifest"),
        pytest.param(lambda path: load_config("pretrain", file=path), id="settings"),
        pytest.param(load_legend, id="legend"),
    ],
)
def test_all_files_of_users_are_read_alike(tmp_path, read):
    (tmp_path / "m.yaml").write_text("a: 1\nb: 2\na: 3")
    with pytest.raises(Alos2TutError, match=r"m\.yaml: .*not valid YAML.*'a' is given twice"):
        read(tmp_path / "m.yaml")


def test_keys_that_a_merge_replaces_are_not_double(tmp_path):
    (tmp_path / "m.yaml").write_text("c: &a {b: 8}\nd: {<<: *a, b: 16}\ne: {<<: {b: 8, c: 2}, b: 16}\n")
    assert read_yaml(tmp_path / "m.yaml") == {"c": {"b": 8}, "d": {"b": 16}, "e": {"b": 16, "c": 2}}


def test_a_fingerprint_knows_content_name_and_size(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"12345")
    b.write_bytes(b"12345")
    first = fingerprint(a)
    assert fingerprint(a) == first != fingerprint(b)
    assert fingerprint(a, b) == fingerprint(b, a) != first
    for content in (b"12346", b"1234", b""):
        a.write_bytes(content)
        assert fingerprint(a) != first


def test_a_fingerprint_does_not_know_the_folder(tmp_path):
    prints = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"12345")
        prints.append(fingerprint(tmp_path / name / "a"))
    assert prints[0] == prints[1]


@pytest.mark.parametrize("place", [0, 1000, 31 * 2**10, 2**17 - 1], ids=["first", "near", "sampled", "last"])
def test_samples_of_a_large_file_notice_changes(tmp_path, monkeypatch, place):
    monkeypatch.setattr(artifacts, "_WHOLE_HASH_BYTES", 2**16)
    monkeypatch.setattr(artifacts, "_SAMPLE_BYTES", 2**10)
    path, content = tmp_path / "large", bytearray(2**17)
    path.write_bytes(content)
    before = fingerprint(path)
    content[place] = 1
    path.write_bytes(content)
    assert (fingerprint(path) != before) == sampled(place, 2**17)


def sampled(place: int, size: int) -> bool:
    starts = [(size - 2**10) * k // 63 for k in range(64)]
    return any(start <= place < start + 2**10 for start in starts)


def test_a_stage_folder_depends_on_settings_and_inputs_only(tmp_path):
    first = stage_dir(tmp_path, "pretrain", {"a": 1, "b": (2, 3)}, {"dataset": "x"})
    assert first.parent == tmp_path and first.name.startswith("pretrain-") and not first.exists()
    # neither the order of keys nor the folder above counts
    assert stage_dir("elsewhere", "pretrain", {"b": [2, 3], "a": 1}, {"dataset": "x"}).name == first.name
    others = [
        stage_dir(tmp_path, "pretrain", {"a": 2, "b": (2, 3)}, {"dataset": "x"}),
        stage_dir(tmp_path, "pretrain", {"a": 1, "b": (2, 3)}, {"dataset": "y"}),
        stage_dir(tmp_path, "finetune", {"a": 1, "b": (2, 3)}, {"dataset": "x"}),
    ]
    assert len({first, *others}) == 4


def test_another_version_of_the_package_makes_its_own(tmp_path, monkeypatch):
    before = stage_dir(tmp_path, "pretrain", {}, {})
    monkeypatch.setattr(artifacts, "__version__", "99.0")
    assert stage_dir(tmp_path, "pretrain", {}, {}) != before
