"""Warnings name the line of the user."""

import pytest

from alos2tut.core.errors import Alos2TutWarning, warn


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
