"""Files are written whole or not at all, and folders are named by what decides their content."""

import os
import tempfile
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from support.rights import no_rights

from alos2tut import (
    Alos2TutError,
    export_patches,
    load_config,
    load_encoder,
    load_legend,
    load_segmenter,
    open_dataset,
    open_product,
    simulate_product,
    verify_product,
)
from alos2tut.core import artifacts
from alos2tut.core.artifacts import (
    atomic_path,
    make_folder,
    matches,
    named_path,
    read_json,
    read_yaml,
    stage_dir,
    write_json,
)
from alos2tut.core.tables import read_table
from alos2tut.dataset.labels import label_files
from alos2tut.dataset.store import mapped_array
from alos2tut.dataset.verify import verify_dataset
from alos2tut.downloads.manifest import load_manifest
from alos2tut.networks.weights import read_header, save_weights


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with atomic_path(tmp_path / "f") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "b").write_text("x")
        assert not (tmp_path / "f").exists()
    assert (tmp_path / "f" / "deep" / "b").read_text() == "x" and names(tmp_path) == ["f"]


def test_a_file_appears_when_it_is_whole_and_replaces_an_older_one(tmp_path):
    for text in ("old", "new"):
        before = names(tmp_path)
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text(text)
            assert [name for name in names(tmp_path) if not name.startswith(".")] == before
        assert (tmp_path / "a").read_text() == text and names(tmp_path) == ["a"]


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


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), None),
        (ValueError("no"), None),
        (OSError(28, "No space left on device"), r"No space left.*disk space"),
        (None, "could not be written"),
    ],
    ids=["interrupted", "failed", "full disk", "nothing written"],
)
def test_a_failure_keeps_the_old_and_leaves_nothing(tmp_path, error, message):
    (tmp_path / "a").write_text("old")
    with pytest.raises(Alos2TutError if message else type(error), match=message), atomic_path(tmp_path / "a") as half:
        if error is not None:
            half.write_text("half")
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


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_what_is_written_may_be_read_by_whom_the_umask_lets(tmp_path, umask):
    """Libraries make temporary files for their owner alone, and so does mkdtemp with folders."""
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "folder") as folder:
            make_folder(folder / "deep")
            os.close(os.open(folder / "deep" / "a", os.O_CREAT, 0o600))
            (folder / "closed").mkdir(0o700)
        torch.manual_seed(0)
        save_weights(tmp_path / "w.safetensors", torch.nn.Linear(1, 1), "test", {})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    files, folders = dict.fromkeys(("a", "w.safetensors"), 0o666), dict.fromkeys(("folder", "deep", "closed"), 0o777)
    assert modes == {name: mode & ~umask for name, mode in (files | folders).items()}


def test_a_folder_that_is_missing_or_not_to_be_written_to_is_named(tmp_path, monkeypatch):
    with pytest.raises(Alos2TutError, match=r"nowhere.*does not exist.*Create it"), atomic_path(tmp_path / "nowhere/a"):
        pass
    monkeypatch.setattr(artifacts.tempfile, "mkdtemp", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(Alos2TutError, match=r"cannot write here \(Permission denied"), atomic_path(tmp_path / "a"):
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
    content = read_json(tmp_path / "a.json")
    assert content == {"a": [0.1, None, "ö"], "b": 1} and list(content) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": 1, "b": {"c": 1, "d": 2, "c": 1}}', "not valid JSON.*'c' is given twice"),
        (b"1" * 5000, "not valid JSON"),
        (b"[" + b" " * 2**25, "32 MB"),
    ],
    ids=["missing", "cut", "binary", "deep", "twice", "long number", "large"],
)
def test_json_that_cannot_be_read_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Alos2TutError, match=rf"a\.json.*{message}"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool x",
        "a: !!int ''",
        "a: !!timestamp x",
        "a: 2026-99-99",
        "[" * 1000,
        "a: \ud800",
        "a: !!python/none x",
        "{[a]: 1}",
        "- {a: 1, 'a': 2}",
        "<<: 5",
        "a: *b",
        "a: \0",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_hostile_yaml_is_refused_in_a_few_words(tmp_path, text):
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(Alos2TutError, match=r"m\.yaml: .*not valid YAML") as refused:
        read_yaml(path)
    assert len(str(refused.value)) < 400 + len(str(path))


@pytest.mark.parametrize("read", [load_manifest, lambda path: load_config("pretrain", file=path), load_legend])
def test_all_files_of_users_are_read_alike(tmp_path, read):
    (tmp_path / "m.yaml").write_text("a: 1\nb: 2\na: 3")
    with pytest.raises(Alos2TutError, match=r"m\.yaml: .*not valid YAML.*'a' is given twice"):
        read(tmp_path / "m.yaml")


@pytest.mark.parametrize("kind", ["{<<: [*{0}, *{0}]}", "[*{0}, *{0}]"])
def test_what_aliases_multiply_is_bounded(tmp_path, kind):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {kind.replace('{0}', f'a{n - 1}')}" for n in range(1, 29)]
    (tmp_path / "m.yaml").write_text("\n".join(lines))
    with pytest.raises(Alos2TutError, match=r"m\.yaml: is not valid YAML .*aliases.*more than 10,000 values"):
        read_yaml(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("&a [*a]", "more than 10,000 values"),  # itself, within itself
        ("n: 1" + ":30" * 100_000, "a number of 300,001 digits"),  # in base 60: seconds to hours
        ("n: " + "7" * 5000, "a number of 5,000 digits"),  # which Python would not write again
        ("a:\n\tb: 1", "not valid YAML"),
        ("a: 1\0", "no UTF-8 text"),
        ("a: " + "x" * 2**20, "of 1 MB is not valid YAML"),
    ],
)
def test_yaml_that_no_settings_are_is_refused(tmp_path, text, message):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(Alos2TutError, match=rf"m\.yaml: .*{message}"):
        read_yaml(tmp_path / "m.yaml")


@pytest.mark.parametrize("read", [read_json, read_yaml, lambda path: read_table(path, ["a"])])
def test_what_may_have_no_end_is_not_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(Alos2TutError, match=f"{path.name}: cannot be read.*no such file"):
            read(path)


def test_keys_that_a_merge_replaces_are_not_double(tmp_path):
    (tmp_path / "m.yaml").write_text("c: &a {b: 8}\nd: {<<: *a, b: 16}\ne: {<<: {b: 8, c: 2}, b: 16}\n")
    assert read_yaml(tmp_path / "m.yaml") == {"c": {"b": 8}, "d": {"b": 16}, "e": {"b": 16, "c": 2}}


def test_a_stage_folder_depends_on_settings_inputs_and_version_only(tmp_path, monkeypatch):
    first = stage_dir(tmp_path, "pretrain", {"a": 1, "b": (2, 3)}, {"dataset": "x"})
    assert first.parent == tmp_path and first.name.startswith("pretrain-") and not first.exists()
    # neither the order of keys nor the folder above counts
    assert stage_dir("elsewhere", "pretrain", {"b": [2, 3], "a": 1}, {"dataset": "x"}).name == first.name
    others = [
        stage_dir(tmp_path, "pretrain", {"a": 2, "b": (2, 3)}, {"dataset": "x"}),
        stage_dir(tmp_path, "pretrain", {"a": 1, "b": (2, 3)}, {"dataset": "y"}),
        stage_dir(tmp_path, "finetune", {"a": 1, "b": (2, 3)}, {"dataset": "x"}),
    ]
    monkeypatch.setattr(artifacts, "__version__", "99.0")
    others.append(stage_dir(tmp_path, "pretrain", {"a": 1, "b": (2, 3)}, {"dataset": "x"}))
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    "number", ["010", "-010", "009", "0o10", "0x0A", "0b11", "1_0", "1_0.5", "1:30", '!!int "010"']
)
@pytest.mark.parametrize("text", ["{}", "[1, {}]", "a: {}", "{{{}: 1}}"])
def test_a_number_is_decimal_or_refused(tmp_path, number, text):
    """YAML 1.1 reads 010 as eight and 1:30 as ninety."""
    path = tmp_path / "n.yaml"
    path.write_text(text.format(number))
    with pytest.raises(Alos2TutError, match=r"n\.yaml: .*no plain decimal number: write 10, not 010"):
        read_yaml(path)


def test_plain_numbers_and_texts_with_digits_are_read(tmp_path):
    path = tmp_path / "n.yaml"
    path.write_text(
        "[0, 10, -3, +4, 42_700_000, 0.5, -0.5, 1e-4, .inf, '010', \"1:30\", a_1, 00:01:30, 0x, 2014-08-30_x]"
    )
    assert read_yaml(path) == (
        [0, 10, -3, 4, 42_700_000, 0.5, -0.5, "1e-4", np.inf, "010", "1:30", "a_1", "00:01:30", "0x", "2014-08-30_x"]
    )  # fmt: skip


@pytest.mark.parametrize("empty", ["", " \t"])
def test_an_empty_path_is_not_the_folder_we_are_in(packed_dataset, tmp_path, monkeypatch, empty):
    monkeypatch.chdir(packed_dataset)
    readers = (open_dataset, open_product, verify_product, verify_dataset, load_encoder, load_segmenter, read_json)
    writers = (make_folder, simulate_product, lambda path: export_patches(packed_dataset, path))
    for function in (*readers, *writers, lambda path: stage_dir(path, "pretrain", {}, {})):
        with pytest.raises(Alos2TutError, match="is empty"):
            function(empty)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has other permissions")
def test_what_may_not_be_read_is_told_as_that_and_not_as_missing():
    # pytest's own folders are closed to others
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        check_what_may_not_be_read(Path(place, "closed"))


def check_what_may_not_be_read(folder):
    folder.mkdir()
    weights = folder / "encoder.safetensors"
    save_weights(weights, torch.nn.Linear(1, 1), "some", {})
    (folder / "a.yaml").write_text("a: 1")
    folder.chmod(0o000)
    calls = [
        lambda: matches(folder / "*.tif"),
        lambda: read_yaml(folder / "a.yaml"),
        lambda: read_header(weights),
        lambda: open_dataset(folder),
        lambda: open_product(folder / "IMG"),
        lambda: label_files([str(folder / "l.tif")]),
        lambda: make_folder(folder / "new"),
        lambda: load_config("pretrain", file=folder / "a.yaml"),
    ]
    try:
        with no_rights():
            for call in calls:
                with pytest.raises(Alos2TutError, match=r"closed.*Permission denied.*Check the permissions"):
                    call()
    finally:
        folder.chmod(0o755)
    for path in (weights, folder / "a.yaml"):
        path.chmod(0o000)
    try:
        with no_rights():
            for call in (lambda: read_header(weights), lambda: mapped_array(folder / "a.yaml")):
                with pytest.raises(Alos2TutError, match=r"Permission denied.*Check the permissions"):
                    call()
    finally:
        weights.chmod(0o600)


@pytest.mark.parametrize("path", ["a\0b", "", " ", 3, None])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(Alos2TutError, match=r"it: .*(no path|empty)"):
        named_path(path, "it")
