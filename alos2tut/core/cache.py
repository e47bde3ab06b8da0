"""The folder for what can be made again at any time, such as unpacked archives: where it is, how large, cleared."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .artifacts import make_folder, read_json, sha256_file, write_json
from .errors import Alos2TutError
from .parallel import folder_lock
from .tables import bytes_text

_VARIABLE = "ALOS2TUT_CACHE"
#: the folder in it of hashes of files, and how long a change may be dated like one before it
_HASHES, _UNSURE_NS = "hashes", 2 * 10**9


def cache_folder() -> Path:
    """The folder of this package's cache, which is made if need be.

    ``$ALOS2TUT_CACHE`` if that is set; else ``alos2tut`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; where nothing can be
    written there, a folder of this user's in that for temporary files.

    Raises:
        Alos2TutError: none of these can be written to.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    own, base = os.environ.get(_VARIABLE, "").strip(), Path(os.environ.get("XDG_CACHE_HOME", ""))
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


def content_hash(path: str | Path) -> str:
    """SHA-256 of a whole file, in hex, from the cache if the file is the one that was hashed before.

    That is so if path, size, inode and both times are the same; nobody sets back the time of an inode's last change.
    Where these do not tell (a change within the last two seconds, whole seconds only, no inodes, Windows) nothing is
    kept, and the file is hashed each time. What may go unnoticed is what the file system does not date: a disk that
    fails (``verify`` always reads every byte), pages written through an older memory map until they reach the disk, a
    file server whose clock is more than two seconds late and that dates two changes alike.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path).resolve()
    before, kept = _facts(path), None
    with suppress(Alos2TutError, OSError, LookupError, TypeError):
        if before is not None:
            kept = cache_folder() / _HASHES / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
            found = read_json(kept)
            if found["file"] == before:
                return str(found["sha256"])
    sha256 = sha256_file(path)
    if kept is not None and _facts(path) == before:
        with suppress(Alos2TutError):  # a full disk: it is hashed again
            make_folder(kept.parent)
            write_json(kept, {"file": before, "sha256": sha256})
    return sha256


def _facts(path: Path) -> list[int] | None:
    """What changes when a file does; None where that is not sure."""
    file = path.stat()
    is_dated = file.st_ctime_ns % 10**9 and time.time_ns() - file.st_ctime_ns > _UNSURE_NS
    if os.name != "posix" or not file.st_ino or not is_dated:
        return None
    return [file.st_size, file.st_ino, file.st_mtime_ns, file.st_ctime_ns]


def fingerprint(*paths: str | Path) -> str:
    """A hash of names and content that changes when any byte of these files does; see :func:`content_hash`."""
    files = sorted(Path(path) for path in paths)
    return hashlib.sha256("".join(f"{path.name}:{content_hash(path)};" for path in files).encode()).hexdigest()


def cached_sizes() -> dict[str, int]:
    """The bytes that each entry of the cache takes, by its name."""
    return {entry.name: size for entry in _entries() if (size := _size(entry))}


def describe_cache() -> str:
    """Where the cache is, and what each of its entries takes, as lines of text."""
    sizes = cached_sizes()
    lines = [f"{bytes_text(size):>10}  {name}" for name, size in sizes.items()]
    total = f"{bytes_text(sum(sizes.values()))} in {len(sizes)} unpacked archive{'s' if len(sizes) != 1 else ''}"
    return "\n".join([f"{cache_folder()}: {total}", *lines])


def clear_cache() -> int:
    """Remove all entries of the cache but those that another process is making just now; returns the bytes freed.

    The locks stay: somebody may wait for one.
    """
    freed = _size(cache_folder() / _HASHES)
    shutil.rmtree(cache_folder() / _HASHES, ignore_errors=True)
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
