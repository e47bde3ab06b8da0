"""Warnings name the line of the user."""

import pytest

from alos2tut.core.errors import Alos2TutWarning, warn


def test_a_warning_names_the_caller_of_the_package_however_deep_it_arises():
    names = {"__name__": "alos2tut.deeper", "warn": warn}
    exec(compile("def call():\n    warn('be careful')", "deeper.py", "exec"), names)
    exec(compile("def call_on():\n    call()", "deeper.py", "exec"), names)
    with pytest.warns(Alos2TutWarning, match="^be careful$") as warned:
        names["call_on"]()
    assert [warning.filename for warning in warned] == [__file__]


def test_a_package_that_is_called_alike_is_another():
    names = {"__name__": "alos2tutor", "warn": warn}
    exec(compile("def call():\n    warn('be careful')", "alike.py", "exec"), names)
    with pytest.warns(Alos2TutWarning) as warned:
        names["call"]()
    assert [warning.filename for warning in warned] == ["alike.py"]
