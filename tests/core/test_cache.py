"""The cache: where it lies, what the command shows, what clearing leaves."""

import hashlib
import os
import time
import types
from pathlib import Path
from unittest.mock import Mock

import pytest

from alos2tut.cli import main
from alos2tut.core import cache
from alos2tut.core.artifacts import sha256_file
from alos2tut.core.cache import cache_folder, clear_cache, content_hash, fingerprint
from alos2tut.core.errors import Alos2TutError
from alos2tut.core.parallel import folder_lock


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home of the test's own, without the variables that name another cache."""
    for name in ("ALOS2TUT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, "home/.cache/alos2tut"),
        ({"XDG_CACHE_HOME": "{}/x"}, "x/alos2tut"),
        ({"XDG_CACHE_HOME": "relative"}, "home/.cache/alos2tut"),
        ({"ALOS2TUT_CACHE": "{}/mine", "XDG_CACHE_HOME": "{}/x"}, "mine"),
        ({"HOME": "/dev/null"}, f"alos2tut-{os.getuid()}"),
    ],
    ids=["home", "XDG", "relative XDG", "named", "no home"],
)
def test_the_folder_is_the_first_that_can_be_written_to(home, monkeypatch, variables, place):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home.parent))
    assert cache_folder() == home.parent / place
    assert cache_folder().is_dir()


def test_a_named_folder_that_cannot_be_made_is_an_error(home, monkeypatch):
    monkeypatch.setenv("ALOS2TUT_CACHE", "/dev/null/x")
    with pytest.raises(Alos2TutError, match=r"/dev/null/x: the cache cannot be written to.*ALOS2TUT_CACHE"):
        cache_folder()


def test_the_command_shows_and_clears_what_no_process_works_at(home, capsys):
    for name in ("a.zip-1", "b.zip-2"):
        with folder_lock(cache_folder() / name):
            (cache_folder() / name / "files").mkdir()
            (cache_folder() / name / "files" / "IMG").write_bytes(bytes(3 * 2**20))
    (cache_folder() / "of others").mkdir()
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert f"{cache_folder()}: 6.29 MB in 2 unpacked archives" in shown and "3.15 MB  b.zip-2" in shown
    with folder_lock(cache_folder() / "b.zip-2"):
        assert main(["cache", "--clear"]) == 0
    assert "3.15 MB freed" in capsys.readouterr().out
    assert [path.parent.name for path in cache_folder().glob("*/files")] == ["b.zip-2"]
    assert main(["cache"]) == 0 and "3.15 MB in 1 unpacked archive\n" in capsys.readouterr().out
    assert clear_cache() == 3 * 2**20 and (cache_folder() / "of others").is_dir()


def test_a_fingerprint_knows_content_name_and_size_and_not_the_folder(tmp_path):
    a, b, elsewhere = tmp_path / "a", tmp_path / "b", tmp_path / "c" / "a"
    elsewhere.parent.mkdir()
    for path in (a, b, elsewhere):
        path.write_bytes(b"12345")
    first = fingerprint(a)
    assert fingerprint(elsewhere) == first != fingerprint(b)
    assert fingerprint(a, b) == fingerprint(b, a) != first
    for content in (b"12346", b"1234", b""):
        a.write_bytes(content)
        assert fingerprint(a) != first


@pytest.fixture
def later(monkeypatch):
    """The clock goes on by a minute: whatever is written now was written long ago."""
    now = time.time_ns
    monkeypatch.setattr(cache.time, "time_ns", lambda: now() + 60 * 10**9)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that are read to be hashed."""
    seen: list[str] = []
    monkeypatch.setattr(cache, "sha256_file", lambda path: seen.append(path.name) or sha256_file(path))
    return seen


def test_a_file_is_hashed_once_and_again_when_any_of_it_changed(tmp_path, home, later, reads):
    path = tmp_path / "store.npy"
    path.write_bytes(b"12345")
    assert content_hash(path) == content_hash(path) == hashlib.sha256(b"12345").hexdigest() and reads == ["store.npy"]
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"12346")
    os.utime(path, ns=times)
    assert content_hash(path) == hashlib.sha256(b"12346").hexdigest() and len(reads) == 2
    # one that is put in its place, of the same size and time
    (tmp_path / "other").write_bytes(b"12347")
    os.utime(tmp_path / "other", ns=times)
    (tmp_path / "other").replace(path)
    assert content_hash(path) == hashlib.sha256(b"12347").hexdigest() and len(reads) == 3
    tmp_path.chmod(0o500)
    assert content_hash(path) and len(reads) == 3
    tmp_path.chmod(0o700)
    assert main(["cache", "--clear"]) == 0 and content_hash(path) and len(reads) == 4


@pytest.mark.parametrize("change", [{"st_ino": 0}, {"st_ctime_ns": 1_700_000_000 * 10**9}, {"st_ctime_ns": 2**63}])
def test_where_times_and_inodes_do_not_tell_each_byte_is_read_each_time(
    tmp_path, home, later, reads, monkeypatch, change
):
    path = tmp_path / "store.npy"
    path.write_bytes(b"12345")
    own = path.stat()
    facts = {name: getattr(own, name) for name in ("st_size", "st_ino", "st_mtime_ns", "st_ctime_ns", "st_mode")}
    stat = types.SimpleNamespace(**facts | change)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", lambda *_, **__: stat)
        assert cache._facts(path) is None
    monkeypatch.setattr(cache, "_facts", lambda _: None)
    assert content_hash(path) == content_hash(path) and len(reads) == 2


def test_a_file_that_was_just_written_is_hashed_each_time(tmp_path, home, reads):
    """Its next change may be dated like the last one."""
    path = tmp_path / "store.npy"
    for content in (b"12345", b"12346"):
        path.write_bytes(content)
        assert content_hash(path) == hashlib.sha256(content).hexdigest()
    assert len(reads) == 2 and not (cache_folder() / "hashes").exists()


def test_a_cache_that_cannot_be_used_costs_time_only(tmp_path, later, reads, monkeypatch):
    path = tmp_path / "store.npy"
    path.write_bytes(b"12345")
    monkeypatch.setattr(cache, "cache_folder", Mock(side_effect=Alos2TutError("cannot be written to")))
    assert content_hash(path) == content_hash(path) == hashlib.sha256(b"12345").hexdigest() and len(reads) == 2
