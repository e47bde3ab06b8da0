"""The cache: where it lies, what the command shows, what clearing leaves."""

import os
from pathlib import Path

import pytest

from alos2tut.cli import main
from alos2tut.core.cache import cache_folder, clear_cache
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
    assert f"{cache_folder()}: 6.0 MiB in 2 unpacked archives" in shown and "3.0 MiB  b.zip-2" in shown
    with folder_lock(cache_folder() / "b.zip-2"):
        assert main(["cache", "--clear"]) == 0
    assert "3.0 MiB freed" in capsys.readouterr().out
    assert [path.parent.name for path in cache_folder().glob("*/files")] == ["b.zip-2"]
    assert main(["cache"]) == 0 and "3.0 MiB in 1 unpacked archive\n" in capsys.readouterr().out
    assert clear_cache() == 3 * 2**20 and (cache_folder() / "of others").is_dir()
