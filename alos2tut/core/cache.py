"""The folder for what can be made again at any time, such as unpacked archives: where it is, how large, cleared."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from .errors import Alos2TutError
from .parallel import folder_lock

_VARIABLE = "ALOS2TUT_CACHE"


def cache_folder() -> Path:
    """The folder of this package's cache, which is made if need be.

    ``$ALOS2TUT_CACHE`` if that is set; else ``alos2tut`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; where nothing can be
    written there, a folder of this user's in that for temporary files.

    Raises:
        Alos2TutError: none of these can be written to.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    own, base = os.environ.get(_VARIABLE), Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path(os.path.expanduser("~"), ".cache")  # noqa: PTH111 (Path.home raises where there is none)
    usual = [base / "alos2tut"] if base.is_absolute() else []
    shared = Path(tempfile.gettempdir(), f"alos2tut-{'cache' if user is None else user}")
    places = [Path(own).absolute()] if own else [*usual, shared]
    for place in places:
        with suppress(OSError):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            # in a folder for all users another one may have taken the name
            if os.access(place, os.W_OK) and (own or user in (None, place.stat().st_uid)):
                return place
    remedy = f"Set {_VARIABLE} to a folder that can."
    raise Alos2TutError("the cache cannot be written to", where=places[-1], remedy=remedy)


def describe_cache() -> str:
    """Where the cache is, and what each of its entries takes, as lines of text."""
    sizes = {entry.name: size for entry in _entries() if (size := _size(entry))}
    lines = [f"{size / 2**20:10,.1f} MiB  {name}" for name, size in sizes.items()]
    total = f"{sum(sizes.values()) / 2**20:,.1f} MiB in {len(sizes)} unpacked archive{'s' if len(sizes) != 1 else ''}"
    return "\n".join([f"{cache_folder()}: {total}", *lines])


def clear_cache() -> int:
    """Remove all entries of the cache but those that another process is making just now; returns the bytes freed.

    The locks stay: somebody may wait for one.
    """
    freed = 0
    for entry in _entries():
        # if somebody is at it, that is no error
        with suppress(Alos2TutError), folder_lock(entry):
            freed += _size(entry)
            for folder in entry.iterdir():
                shutil.rmtree(folder, ignore_errors=True)
    return freed


def _entries() -> list[Path]:
    return sorted(path for path in cache_folder().iterdir() if (path / "lock").is_file())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "lock")
