"""What can go wrong, said so that the reader knows where and what to do."""

from __future__ import annotations

import difflib
import reprlib
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]
#: Unicode's categories of control and format characters, halves of characters, unassigned ones, ends of lines
_STEERING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class Alos2TutError(Exception):
    """Bad input or an impossible request.

    Args:
        problem: what was found, and what was expected.
        where: the file, field or row concerned.
        remedy: what the user can do about it.
    """

    def __init__(self, problem: str, *, where: str | Path | None = None, remedy: str | None = None):
        self.problem, self.where, self.remedy = problem, where, remedy
        sentence = problem if where is None else f"{where}: {problem}"
        super().__init__(visible(sentence if remedy is None else f"{sentence.rstrip('.')}. {remedy}"))


class Stopped(Exception):
    """Training was told to stop before its end; all is saved, and running it again goes on."""


class Alos2TutWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def warn(message: str) -> None:
    """Give an :class:`Alos2TutWarning` that names the line by which the package was called, however deep it arose."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith(f"{_PACKAGE}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(visible(message), Alos2TutWarning, stacklevel=level)


def closest(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not known: the nearest one and the whole choice."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Known: {', '.join(known)}."


def quoted(value: object) -> str:
    """A value as messages show it: printable, and short whatever somebody wrote into a file."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 120, 120
    try:
        return short.repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"{type(value).__name__} of very many digits"


def visible(text: str) -> str:
    """A text for people, who may have it from a stranger's file: what would steer a terminal stands there as escapes.

    These are the control and format characters of Unicode, among them those that turn the direction of writing; the end
    of a line is none.
    """
    if text.isprintable():
        return text
    steers = {sign for sign in set(text) - {"\n"} if unicodedata.category(sign) in _STEERING}
    return "".join(repr(sign)[1:-1] if sign in steers else sign for sign in text)
