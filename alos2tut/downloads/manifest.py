"""Which real data there are, whose they are and how they are got: ``data_manifest.yaml``, read, checked and listed."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, LiteralString, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from ..core.artifacts import named_path, read_yaml
from ..core.config import from_dict
from ..core.errors import Alos2TutError, closest, quoted
from ..core.public import public
from ..core.tables import bytes_text, table

#: file in a data set's folder: name → SHA-256, bytes and address of what was downloaded first
CHECKSUMS = "checksums.json"
#: how an address is known
ORIGINS = {
    "published": "as its source publishes it",
    "reported": "as third parties report it",
    "derived": "derived from how such files are named",
}

_VERSION = 2
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
#: names that can be looked up, and IPv4 addresses
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
#: names that Windows keeps for devices, whatever follows a dot
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])(\..*)?", re.IGNORECASE)
#: what a table leaves to its last column at least
_TEXT_COLUMNS = 30


def is_safe_url(url: str) -> bool:
    """Whether an address is https, without a password in it; plain http serves for this machine only."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_there = host in _THIS_MACHINE if parts.scheme == "http" else parts.scheme == "https" and _HOST.fullmatch(host)
    return bool(is_there and "@" not in parts.netloc and re.fullmatch(r"[!-~]+", url))


def _is_state(text: str) -> bool:
    try:
        return text == "not verified" or text == f"verified {date.fromisoformat(text[-10:])}"
    except ValueError:
        return False


def _must(hold: Callable[[str], object], problem: LiteralString) -> AfterValidator:
    def check(text: str) -> str:
        if not hold(text):
            raise PydanticCustomError("form", problem)
        return text

    return AfterValidator(check)


def _match(pattern: str, problem: LiteralString) -> AfterValidator:
    return _must(re.compile(pattern).fullmatch, problem)


# names become paths: nothing in them may lead out of the folder, on any system, or be too long beside a suffix
_EntryName = Annotated[
    str,
    _match(r"[a-z0-9][a-z0-9_-]{0,199}", "must be of lower-case letters, digits, _ and -, at most 200"),
    _must(lambda name: not _DEVICE.fullmatch(name), "is a device's name on Windows"),
]
_PLAIN = r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,198}[A-Za-z0-9_])?"
_FileName = Annotated[
    str,
    _match(
        rf"({_PLAIN}/)?{_PLAIN}",
        "must be a plain file name of letters, digits, dots, _ and -, at most 200, or one in a folder named so",
    ),
    _must(lambda name: name.split("/")[0].lower() != CHECKSUMS, "is the name of the list of checksums"),
    _must(lambda name: not any(map(_DEVICE.fullmatch, name.split("/"))), "is a device's name on Windows"),
]
_Url = Annotated[str, _must(is_safe_url, "must be an https address without a password")]
#: a checksum as hexadecimal text
Sha256 = Annotated[str, _match(r"[0-9a-f]{64}", "must be 64 lower-case hexadecimal digits")]
_State = Annotated[str, _must(_is_state, "must be 'not verified' or 'verified YYYY-MM-DD'")]
_Text = Annotated[
    str, _must(str.strip, "must say something"), _must(str.isprintable, "must be one line without control characters")
]
_Bytes = Annotated[int, Field(ge=1, lt=10**18)]

# strict: true is no size, and "5" is none
_CHECKED = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DataFile:
    """One file of a data set, and where it is downloaded from; None stands for what is not known."""

    name: _FileName  #: its name in the data set's folder, or in a folder of that
    url: _Url  #: its address
    url_is: Literal["published", "reported", "derived"] = "published"  #: how the address is known, as in ``ORIGINS``
    size_bytes: _Bytes | None = None  #: its exact size
    sha256: Sha256 | None = None  #: its checksum


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class MadeFile:
    """An image that is made of a downloaded file, by a recipe of this package."""

    name: _FileName  #: its name in the data set's folder
    recipe: Literal["sanfrancisco_hv"]  #: which of :data:`alos2tut.downloads.recipes.RECIPES`
    of: _FileName  #: the file that it is made of, one of the data set's
    pixels_sha256: Sha256  #: what :func:`alos2tut.downloads.recipes.pixels_sha256` gives of it


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Entry:
    """One data set of the manifest: what it is, whose it is, and how it is got. None: not known."""

    name: _EntryName  #: the word to fetch it by, and its folder's name
    title: _Text  #: what it is, in one line
    used_for: _Text  #: what it serves for
    kind: Literal["simulated", "sar", "labels", "weights"] = "sar"  #: what it holds
    format: _Text | None = None  #: file format, grid and calibration
    page: _Url | None = None  #: where the source describes it
    files: tuple[DataFile, ...] = ()  #: what ``fetch`` downloads; none: it is got by hand
    makes: tuple[MadeFile, ...] = ()  #: what ``fetch`` makes of these
    size_bytes: _Bytes | None = None  #: about how large it is, or one unit of it
    as_published: _State | None = None  #: whether the addresses were tried: "not verified" or "verified 2026-01-31"
    licence: _Text | None = None  #: the licence's name, or who sets the terms
    terms: _Text | None = None  #: the terms, or where they are
    attribution: _Text | None = None  #: what to write beside results
    login: bool | None = None  #: whether an account is needed
    steps: tuple[_Text, ...] = ()  #: what is done by hand
    opens_with: _Text | None = None  #: the next command; ``{path}`` stands for the file, or the folder of several
    tutorial: _Text | None = None  #: the command that walks the five notebooks on it; ``{path}`` is its folder
    notes: _Text | None = None  #: what to know before using it


@public
def load_manifest(file: str | Path | None = None) -> dict[str, Entry]:
    """The data sets of a manifest, by name, in its order.

    Args:
        file: a YAML file in the form of ``data_manifest.yaml``; None: the one that comes with the package.

    Raises:
        Alos2TutError: the file cannot be read or is of another form; the entry and the field are named.
    """
    if file is not None and not isinstance(file, (str, Path)):
        raise Alos2TutError(f"is no path: {quoted(file)}", where="manifest")
    if "://" in str(file):
        remedy = "Download it, read it, and give the file: it names what is downloaded."
        raise Alos2TutError("is an address", where="manifest", remedy=remedy)
    path = _own_manifest() if file is None else named_path(file, "manifest")
    content = read_yaml(path)
    if not isinstance(content, dict) or content.keys() != {"version", "datasets"} or content["version"] != _VERSION:
        raise Alos2TutError(f"is no data manifest: it holds 'version: {_VERSION}' and 'datasets'", where=path)
    if not isinstance(content["datasets"], list):
        raise Alos2TutError("'datasets' is no list", where=path)
    entries = [_read_entry(part, f"{path}: entry {number}") for number, part in enumerate(content["datasets"], 1)]
    _require_once((entry.name for entry in entries), path)
    return {entry.name: entry for entry in entries}


def find_entry(name: str, manifest: str | Path | None = None) -> Entry:
    """The data set of that name.

    Raises:
        Alos2TutError: there is none (the nearest name is given), or the manifest cannot be read.
    """
    entries = load_manifest(manifest)
    if not isinstance(name, str) or name not in entries:
        raise Alos2TutError(f"unknown data set {quoted(name)}", remedy=closest(str(name), entries))
    return entries[name]


def _own_manifest() -> Path:
    # a checkout holds it beside the package; a wheel carries a copy
    root = Path(__file__).resolve().parents[2]
    is_checkout = (root / "pyproject.toml").is_file() and (root / "data_manifest.yaml").is_file()
    return root / "data_manifest.yaml" if is_checkout else Path(__file__).with_name("data_manifest.yaml")


def _read_entry(content: Any, where: str) -> Entry:
    if not isinstance(content, dict):
        raise Alos2TutError("holds no 'key: value' lines", where=where)
    if "name" in content:
        where = f"{where} {quoted(content['name'])}"
    files = _read_files(content, "files", DataFile, where)
    makes = _read_files(content, "makes", MadeFile, where)
    _require_once([file.name for file in files] + [made.name for made in makes], where)
    if missing := [made.of for made in makes if made.of not in [file.name for file in files]]:
        raise Alos2TutError(f"makes an image of {quoted(missing[0])}, which is none of its files", where=where)
    parts = {"files": files, "makes": makes, "steps": tuple(_as_list(content, "steps", where))}
    entry = from_dict(Entry, {**content, **parts}, where=where)
    if not entry.files and not entry.steps:
        raise Alos2TutError("has neither 'files' nor 'steps': how is it got?", where=where)
    return entry


_File = TypeVar("_File", DataFile, MadeFile)


def _read_files(content: dict[Any, Any], key: str, kind: type[_File], where: str) -> tuple[_File, ...]:
    listed = _as_list(content, key, where)
    if not all(isinstance(file, dict) for file in listed):
        raise Alos2TutError(f"'{key}' is no list of files, each with its 'name'", where=where)
    return tuple(from_dict(kind, file, where=f"{where}, file {number}") for number, file in enumerate(listed, 1))


def _as_list(content: dict[Any, Any], key: str, where: str) -> list[Any]:
    part = content.get(key)
    if not isinstance(part, list | None):
        raise Alos2TutError(f"'{key}' is no list", where=where)
    return part or []


def _require_once(names: Iterable[str], where: str | Path) -> None:
    # two names that differ in case only are one file on some systems
    (name, times), *_ = Counter(name.lower() for name in names).most_common(1) or [("", 0)]
    if times > 1:
        raise Alos2TutError(f"the name '{name}' is given {times} times", where=where)


def list_entries(entries: Iterable[Entry], width: int = 116) -> str:
    """Data sets with name, size, way, account, licence and use, in lines of at most ``width`` characters.

    One table where the last column has room, else a few lines for each data set.
    """
    entries = list(entries)
    facts = [
        (e.name, _format_size(e), "fetch" if e.files else "hand", _format_login(e), e.licence or "?") for e in entries
    ]
    texts = [f"{entry.title}: {entry.used_for}" for entry in entries]
    columns = table(facts, ("name", "size", "got by", "account", "licence")).splitlines()
    start = max(map(len, columns)) + 2
    lines = []
    if start + _TEXT_COLUMNS <= width:
        for column, text in zip(columns, ["what it is, and what for", *texts], strict=True):
            lines.append(_wrap(text, width, column.ljust(start)))
    else:
        for (name, size, way, login, licence), text in zip(facts, texts, strict=True):
            below = f"size: {size}, got by {way}, account: {login}, licence: {licence}"
            lines += [name, _wrap(below, width, "  "), _wrap(text, width, "  ")]
    notes = ["A size after ~ is about right: of one scene or tile, before compression."]
    if any(entry.as_published == "not verified" for entry in entries):
        notes.append(
            "Addresses: as published, not verified. Some are reported by third parties or derived from how such files "
            "are named: alos2tut fetch --list NAME says which."
        )
    return "\n".join([*lines, "", *(textwrap.fill(note, width) for note in notes)])


def _wrap(text: str, width: int, start: str) -> str:
    """A text in lines, the first behind ``start`` and the others below it."""
    return textwrap.fill(text, width, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False)


def describe_entry(entry: Entry) -> str:
    """All that a manifest says of a data set, in lines."""
    lines = [f"{entry.name}: {entry.title}", *describe_facts(entry), *describe_steps(entry)]
    for file in entry.files:
        size = "size not known" if file.size_bytes is None else bytes_text(file.size_bytes)
        lines += [f"  file {file.name} ({size})", f"    {file.url} ({ORIGINS[file.url_is]})"]
        lines += [f"    SHA-256 {file.sha256}"] if file.sha256 else []
    lines += [f"  makes {made.name} of {made.of} (recipe {made.recipe})" for made in entry.makes]
    return "\n".join(lines)


def describe_steps(entry: Entry) -> list[str]:
    """What is done by hand, in numbered lines."""
    return [f"  {number}. {step}" for number, step in enumerate(entry.steps, 1)]


def describe_facts(entry: Entry, *keys: str, path: str = "PATH") -> list[str]:
    """Lines ``key: value`` of a data set in ``path``, of these keys or of all; what is not known is left out."""
    path = f'"{path}"' if " " in path else path
    facts = {
        "used for": entry.used_for,
        "kind": entry.kind,
        "format": entry.format,
        "size": _format_size(entry),
        "account": _format_login(entry),
        "page": entry.page,
        "licence": entry.licence,
        "terms": entry.terms or "not known: ask the source",
        "attribution": entry.attribution,
        "addresses": entry.as_published,
        "notes": entry.notes,
        "next": entry.opens_with and entry.opens_with.replace("{path}", path),
        "all notebooks": entry.tutorial and entry.tutorial.replace("{path}", path),
    }
    return [f"  {key}: {facts[key]}" for key in keys or facts if facts[key]]


def _format_login(entry: Entry) -> str:
    return {True: "yes", False: "no", None: "?"}[entry.login]


def _format_size(entry: Entry) -> str:
    exact = [file.size_bytes for file in entry.files]
    if exact and all(exact):
        return bytes_text(sum(size for size in exact if size))
    return "?" if entry.size_bytes is None else f"~{bytes_text(entry.size_bytes)}"
