"""Warnings name the line of the user; messages hold nothing that steers a terminal."""

import pytest

from alos2tut.core.errors import Alos2TutError, Alos2TutWarning, quoted, visible, warn
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
