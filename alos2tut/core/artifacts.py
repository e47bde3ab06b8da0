"""Where results live, how they are written (whole or not at all), and how JSON and YAML are read.

Every stage leaves its results in ``<work_dir>/<stage>-<key>``, where the key is a hash of the stage's
settings and of what it was made from. Equal keys mean equal results, so a folder that is complete is reused.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import stat
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from .errors import Alos2TutError, quoted, system_error, system_errors_named
from .progress import progress_bar
from .version import __version__

#: what is hashed at once, and from how many such pieces on it takes seconds
_PIECE_BYTES, _LONG_PIECES = 2**20, 2**10
_HOLDER_SUFFIX = ".tmp"
#: bytes of a file that people write; of one of ours, of which that of a large archive's dataset has some thousand lines
_LARGEST_YAML, _LARGEST_JSON = 2**20, 32 * 2**20
#: values of a YAML file with aliases, each counted as often as it is named; characters of a number
_MOST_ALIASED, _LONGEST_NUMBER = 10_000, 300
#: Temporary folders that nobody wrote to for so long belong to no living process.
_STALE_SECONDS = 24 * 3600


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its name only if the block succeeds.

    A file replaces an older one; a folder only an empty one. What an interrupted block leaves is removed, and an older
    ``target`` stays as it was. What a killed process left for the same ``target`` goes when it is a day old.

    Raises:
        Alos2TutError: the folder that should hold ``target`` is missing, or nothing can be written to it.
    """
    target = named_path(target)
    if not target.parent.is_dir():
        raise Alos2TutError("the folder to write into does not exist", where=target.parent, remedy="Create it first.")
    remove_stale_holders(target)
    with system_errors_named(target.parent, "cannot write here"):
        holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=_HOLDER_SUFFIX, dir=target.parent))
    try:
        with system_errors_named(target, "could not be written", "Nothing was changed there."):
            temporary = holder / target.name
            temporary.mkdir()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            temporary.rmdir()
            yield temporary
            for path in (temporary, *temporary.rglob("*")):
                # libraries may write files for nobody else (safetensors does), whatever the user's umask says
                with suppress(OSError):
                    path.chmod(mode if path.is_dir() else mode & 0o666)
                # what is on the disk cannot be overtaken by the rename
                if path.is_file():
                    with open(path, "rb") as handle:
                        os.fsync(handle.fileno())
            os.replace(temporary, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def remove_stale_holders(target: Path, seconds: float = _STALE_SECONDS) -> None:
    """Remove temporary folders of a target that nobody has written to for a day: their processes were killed.

    Args:
        target: the file or folder that was to be written; of the name ``*``: any in its folder.
        seconds: how long nobody has; 0 where nobody else can be at work.
    """
    oldest, name = time.time() - seconds, target.name if target.name == "*" else glob.escape(target.name)
    for holder in target.parent.glob(f".{name}.????????{_HOLDER_SUFFIX}"):
        # one in which something vanishes meanwhile is being worked on
        with suppress(OSError):
            if not seconds or max(path.stat().st_mtime for path in (holder, *holder.rglob("*"))) < oldest:
                shutil.rmtree(holder, ignore_errors=True)


def named_path(path: str | Path, what: str = "path") -> Path:
    """A path, unless it is empty: that would mean the folder we are in, and a variable that was not set.

    Args:
        path: as the user gave it.
        what: names it in the error.

    Raises:
        Alos2TutError: nothing but blanks, or no path at all.
    """
    if not isinstance(path, (str, os.PathLike)) or "\0" in str(path):
        raise Alos2TutError(f"{quoted(path)} is no path", where=what)
    if not str(path).strip():
        raise Alos2TutError("is empty", where=what, remedy="Say which is meant, as '.' for this folder.")
    return Path(path)


def check_vacant(folder: Path) -> None:
    """Refuse a folder to be written that holds something, or is a file."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise Alos2TutError("exists and is not empty", where=folder, remedy="Name another folder, or remove it.")


def make_folder(path: str | Path) -> None:
    """Make a folder and those above it, where they are missing; one that cannot be made is named."""
    with system_errors_named(path, "the folder cannot be made"):
        named_path(path).mkdir(parents=True, exist_ok=True)


def matches(pattern: str | Path) -> list[str]:
    """What a pattern stands for, sorted.

    Args:
        pattern: a path with ``*``, ``?`` or ``[``; ``**`` stands for folders of any depth. A path without any of these
            stands for itself, and so does one that is there as it is: its name may hold brackets.

    Raises:
        Alos2TutError: a pattern that nothing matches, or whose folder may not be read; an empty path, or one that
            cannot be.
    """
    text = str(pattern)
    if not text.strip() or "\0" in text:
        raise Alos2TutError(f"{text!r} is no path")
    if not glob.has_magic(text) or os.path.lexists(text):
        return [str(Path(text))]
    # a pattern may start anywhere, which Path.glob cannot
    found = sorted({str(Path(match)) for match in glob.glob(text, recursive=True)})  # noqa: PTH207
    if not found:
        start = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(text).parts))
        # a folder that may not be listed is one of nothing to glob
        with system_errors_named(start), suppress(FileNotFoundError, NotADirectoryError):
            os.scandir(start).close()
        raise Alos2TutError("nothing matches the pattern", where=text, remedy="Check the folder it starts at.")
    return found


def write_json(path: str | Path, content: Any) -> None:
    """Write readable JSON with sorted keys, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_text(path: str | Path, form: str, largest_bytes: int) -> str:
    """The whole of a text file in UTF-8, with or without a byte-order mark; ``form`` is what it should be, in words.

    Raises:
        Alos2TutError: no such file; a folder; a device or a pipe, which may have no end; more than ``largest_bytes``;
            what is no text.
    """
    try:
        if not stat.S_ISREG(named_path(path).stat().st_mode):
            problem = "cannot be read: there is no such file, but a folder, a device or a pipe"
            raise Alos2TutError(problem, where=path)
        with open(path, "rb") as file:
            content = file.read(largest_bytes + 1)
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, ValueError):  # the latter: a NUL in its name
        raise Alos2TutError("cannot be read: there is no such file", where=path) from None
    except OSError as error:
        raise system_error(error, path, "cannot be read") from None
    if len(content) > largest_bytes:
        problem = (
            f"of {max(size, len(content)) / 2**20:.0f} MB is not valid {form}: more than {largest_bytes / 2**20:g} MB"
        )
        raise Alos2TutError(problem, where=path)
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            place = content.index(b"\0")
            raise UnicodeDecodeError("utf-8", content, place, place + 1, "NUL")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        problem = f"row {row} is no UTF-8 text ({error.reason}), so the file is not valid {form}"
        raise Alos2TutError(problem, where=path, remedy="Save it as UTF-8.") from None
    return text


def read_json(path: str | Path) -> Any:
    """Read a JSON file of at most 32 MiB; one that is missing, broken, or gives a name twice is named."""
    return parse_json(read_text(path, "JSON", _LARGEST_JSON), where=path)


def parse_json(text: str, *, where: str | Path) -> Any:
    """Read a text in JSON, which ``where`` names in an error, as :func:`read_json` does."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Alos2TutError(f"is not valid JSON ({_reason(error)})", where=where, remedy="Make it anew.") from None


def _reason(error: Exception) -> str:
    return textwrap.shorten(str(error), 300) or type(error).__name__


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which others take the last of two equal names silently."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {quoted(next(name for name in content if names.count(name) > 1))} is given twice")
    return content


def read_yaml(file: str | Path | Traversable) -> Any:
    """Read a YAML file of at most 1 MiB; one that cannot be read or is not valid, as by a double key, is named."""
    text = read_text(file, "YAML", _LARGEST_YAML) if isinstance(file, (str, Path)) else file.read_text("utf-8")
    return parse_yaml(text, where=str(file))


def parse_yaml(text: str, *, where: str) -> Any:
    """Read a text in YAML, which ``where`` names in an error, as :func:`read_yaml` does."""
    try:
        return yaml.load(text, _Loader)
    # what the safe loader lets through for values that are not of their tag, and for very deep nesting
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise Alos2TutError(f"is not valid YAML ({_reason(error)})", where=where) from None


#: numbers that YAML 1.1 reads by another base than ten (010 is 8, 1:30 is 90) or with underscores other than those of
#: thousands; and those that only look so (009 and 0o10 are texts there)
_ODD_NUMBER = re.compile(
    r"[-+]?(0o?[0-9_]+|0[bx][0-9a-fA-F_]+|(?![1-9][0-9]{0,2}(_[0-9]{3})+$)[0-9][0-9_]*[_:][0-9_:]*(\.[0-9_]*)?)"
)


class _Loader(yaml.SafeLoader):
    """YAML without code, without double keys, of which others keep the last silently, and with decimal numbers only.

    What aliases make of a few lines is bounded, too.
    """

    is_aliased = False

    def get_single_node(self) -> yaml.Node | None:
        """The document; one with aliases, which may stand for themselves or double each other, has a bounded size."""
        document = super().get_single_node()
        ahead, seen = [document], 0
        while self.is_aliased and ahead:
            node, seen = ahead.pop(), seen + 1
            if seen > _MOST_ALIASED:
                raise yaml.YAMLError(f"with its aliases (*name) it has more than {_MOST_ALIASED:,} values")
            if isinstance(node, yaml.CollectionNode):
                ahead += [part for entry in node.value for part in (entry if isinstance(entry, tuple) else [entry])]
        return document

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        self.is_aliased |= self.check_event(yaml.AliasEvent)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> str:
        value: str = super().construct_scalar(node)
        if len(value) > _LONGEST_NUMBER:  # which would take time beyond all measure to read
            if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
                problem = f"a number of {len(value):,} digits"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
            return value
        looks_so = node.style is None and value[:1] in ("+", "-", "0") and ":" not in value
        is_number = looks_so or node.tag != "tag:yaml.org,2002:str"
        if is_number and _ODD_NUMBER.fullmatch(value):
            problem = f"{value} is no plain decimal number: write 10, not 010 (octal in YAML, 8), or quotes for a text"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return value

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                problem = f"the key {quoted(key.value)} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a whole file, in hex; of a large one with a bar where someone watches."""
    digest, pieces = hashlib.sha256(), math.ceil(Path(path).stat().st_size / _PIECE_BYTES)
    with open(path, "rb", buffering=0) as handle:
        read = iter(lambda: handle.read(_PIECE_BYTES), b"")
        show = None if pieces > _LONG_PIECES else False
        for piece in progress_bar(read, f"hashing {Path(path).name}", "MiB", total=pieces, show=show):
            digest.update(piece)
    return digest.hexdigest()


def stage_dir(work_dir: str | Path, stage: str, settings: Mapping[str, Any], made_from: Mapping[str, str]) -> Path:
    """The folder ``<work_dir>/<stage>-<hash>`` that belongs to these settings and inputs (not created here).

    Args:
        work_dir: the user's folder for results.
        stage: the stage's word, for example ``pretrain``.
        settings: what decides the result; no paths, worker counts or times.
        made_from: fingerprints of the inputs, by role.
    """
    content = {"settings": settings, "made_from": made_from, "version": __version__}
    key = json.dumps(content, sort_keys=True, default=str)
    return named_path(work_dir, "work_dir") / f"{stage}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
