"""What can go wrong, said so that the reader knows where and what to do."""

from __future__ import annotations

import difflib
import errno
import reprlib
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]
#: Unicode's categories of control and format characters, halves of characters, unassigned ones, ends of lines
_STEERING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_SPACE = "Check the free disk space, or name a folder on another disk."
_RIGHTS = "Check the permissions of it and of the folders above."
#: what can be done about the system's errors, by the names of their numbers (some systems lack some)
_REMEDIES = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), _SPACE),
    **dict.fromkeys(("EACCES", "EPERM"), _RIGHTS),
    "EFBIG": "Check the free disk space, and the limit for the size of files (ulimit -f).",
    "EROFS": "That disk can only be read: name another folder.",
    "ENAMETOOLONG": "Take a shorter name.",
    "ELOOP": "Its symbolic links lead in a circle: mend them.",
    "EEXIST": "A file, or a symbolic link that leads nowhere, stands there: name another folder.",
    "ENOENT": "Check the path, and where symbolic links in it lead.",
    "ENOTDIR": "A file stands where the path needs a folder: name another.",
    "EISDIR": "Name a file.",
    **dict.fromkeys(("EIO", "ESTALE", "ENODEV", "ENXIO"), "The disk or network drive fails: check it, then try again."),
    **dict.fromkeys(("EMFILE", "ENFILE"), "Too many files are open: raise the limit (ulimit -n)."),
}
_LESS_MEMORY = (
    "Lower what is worked on at once: batch_size (accumulate makes up for it) or the patches' size; in training also "
    "set gradient_checkpointing; or take fewer workers."
)
#: words in errors of libraries that tell of memory, or of a disk, and are of no type that says so
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "calculation overflowed")
_NO_DISK = ("I/O error", "os error", "file write failed", "PytorchStreamWriter failed", "unexpected pos")


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


def system_error(error: OSError, where: str | Path | None = None, problem: str = "", then: str = "") -> Alos2TutError:
    """What the system refused, as an error of ours with a remedy.

    Args:
        error: the system's.
        where: the file concerned; None: that which the error names.
        problem: what could not be done.
        then: a sentence that follows the remedy.
    """
    reason = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(errno.errorcode.get(error.errno or 0, ""), "Check the path, the permissions and the disk.")
    problem = f"{problem} ({reason})" if problem else reason
    return Alos2TutError(problem, where=where or error.filename, remedy=f"{remedy} {then}".rstrip())


@contextmanager
def system_errors_named(where: str | Path | None = None, problem: str = "", then: str = "") -> Iterator[None]:
    """Raise what the system refuses, of files or of memory, as an :class:`Alos2TutError`; also as a decorator.

    Args:
        where, problem, then: as for :func:`system_error`.
    """
    try:
        yield
    except (Alos2TutError, BrokenPipeError):
        raise  # the latter: whoever reads our output has left
    except OSError as error:
        raise system_error(error, where, problem, then) from error
    except Exception as error:
        text = str(error)
        if "null byte" in text or "Symlink loop" in text:  # in the words of Python, which knows no type for them
            raise Alos2TutError(f"is no path ({text})", where=where, remedy="Name another.") from error
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(x in text for x in _NO_MEMORY)):
            raise Alos2TutError("the memory does not suffice", where=where, remedy=_LESS_MEMORY) from error
        if not any(words in text for words in _NO_DISK):
            raise
        problem = f"{problem or 'the disk fails'} ({text.splitlines()[0]})"
        raise Alos2TutError(problem, where=where, remedy=f"{_SPACE} {then}".rstrip()) from error


class Stopped(Exception):
    """Training was told to stop before its end; all is saved, and running it again goes on."""


class Alos2TutWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def warn(message: str) -> None:
    """Give an :class:`Alos2TutWarning` that names the line by which the package was called, however deep it arose."""
    level, depth, frame = 0, 1, sys._getframe()
    # calls of other libraries may lie between ours, and those of the standard library around them
    while frame.f_back is not None:
        room = str(frame.f_globals.get("__name__")).partition(".")[0]
        if room == _PACKAGE or (room in ("contextlib", "functools") and level == depth):
            level = depth + 1
        depth, frame = depth + 1, frame.f_back
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
