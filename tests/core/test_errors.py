"""Warnings name the line of the user; messages steer no terminal; what the system refuses comes as an error of ours."""

import errno
import os

import pytest

from alos2tut.core.errors import Alos2TutError, Alos2TutWarning, quoted, system_errors_named, visible, warn
from alos2tut.core.parallel import map_in_order
from alos2tut.core.progress import progress_bar
from alos2tut.core.tables import facts


def call_through(package: str) -> list[str]:
    """Files that a warning names which arose two calls deep in a package."""
    names = {"__name__": f"{package}.deeper", "warn": warn}
    exec(compile("def call():\n    warn('be careful')\ndef call_on():\n    call()", "deeper.py", "exec"), names)
    with pytest.warns(Alos2TutWarning, match="^be careful$") as warned:
        names["call_on"]()
    return [warning.filename for warning in warned]


def test_a_warning_names_the_caller_of_the_package_however_deep_it_arises():
    assert call_through("alos2tut") == [__file__]
    # a package that is called alike is another
    assert call_through("alos2tutor") == ["deeper.py"]


def test_what_steers_a_terminal_is_shown_as_escapes():
    # colours, a title, a bell, a line that is written over, another direction, a C1 control sequence
    hostile = "\x1b[31mred\x1b]0;title\x07 safe\rhidden \u202etfil\u2066 \x9b2J"
    shown = r"\x1b[31mred\x1b]0;title\x07 safe\rhidden \u202etfil\u2066 \x9b2J"
    assert visible(hostile) == shown and shown in str(Alos2TutError("bad", where=hostile))
    assert facts({"name": hostile, "more": [hostile]}).splitlines()[0] == f"name  {shown}"
    assert not set("\x1b\x07\r\u202e\u2066\x9b") & set(facts({"more": [hostile]}))
    with pytest.warns(Alos2TutWarning) as warned:
        warn(hostile)
    assert str(warned[0].message) == shown
    # other scripts, wide blanks and lines of our own stay
    assert visible("水田\u3000é\nnext") == "水田\u3000é\nnext"


def test_a_number_that_python_does_not_write_is_quoted():
    assert "digits" in quoted(10**5000)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free disk space"),
        (errno.EDQUOT, "free disk space"),
        (errno.EFBIG, "ulimit"),
        (errno.EACCES, "permissions"),
        (errno.EROFS, "another folder"),
        (errno.ENAMETOOLONG, "shorter"),
        (errno.ELOOP, "circle"),
        (errno.EIO, "check it"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EBADF, "Check"),
    ],
)
def test_what_the_system_refuses_names_the_file_and_a_remedy(number, remedy):
    def refused():
        raise OSError(number, os.strerror(number), "some/file")

    with pytest.raises(Alos2TutError, match=remedy) as told:
        system_errors_named()(refused)()
    assert told.value.where == "some/file" and os.strerror(number) in told.value.problem
    with (
        pytest.raises(Alos2TutError, match=r"^here: not written \(.*Again\.$"),
        system_errors_named("here", "not written", "Again."),
    ):
        refused()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(MemoryError(), "suffice.*batch_size.*gradient_checkpointing", id="Python, NumPy"),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory: …"), "memory", id="torch, CPU"),
        pytest.param(RuntimeError("CUDA out of memory. Tried to allocate 20 GiB."), "memory does", id="torch, GPU"),
        pytest.param(RuntimeError("[enforce fail at …] . unexpected pos 64 vs 0"), "free disk space", id="torch.save"),
        pytest.param(Exception("I/O error: full (os error 28)"), "free disk space", id="safetensors"),
        pytest.param(RuntimeError("Symlink loop from '/a'"), "it: is no path", id="links in a circle"),
        pytest.param(ValueError("embedded null byte"), "it: is no path", id="NUL"),
        pytest.param(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), None, id="a bug"),
        pytest.param(BrokenPipeError(errno.EPIPE, "Broken pipe"), None, id="the reader has left"),
        pytest.param(Alos2TutError("I/O error"), None, id="ours"),
    ],
)
def test_memory_and_disks_are_known_by_what_libraries_say(error, message):
    with pytest.raises(Alos2TutError if message else type(error), match=message) as told, system_errors_named("it"):
        raise error
    assert (told.value is error) == (message is None)


def test_calls_of_other_libraries_between_and_around_ours_are_passed_over():
    names = {"__name__": "alos2tut.deeper", "named": system_errors_named, "warn": warn}
    names |= {"map_in_order": map_in_order, "bar": progress_bar}
    exec("@named()\ndef call():\n    list(bar(map_in_order(None, warn, ['x']), '', '', show=False))", names)
    with pytest.warns(Alos2TutWarning, match="^x$") as warned:
        names["call"]()
    assert [warning.filename for warning in warned] == [__file__]
