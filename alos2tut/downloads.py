"""Real data: what there is and on which terms (``data_manifest.yaml``), and fetching what needs no account.

A file takes its name only when it has arrived whole and its checksum is right. Where none is published, the checksum
of the first download is kept beside the data and later ones are held against it. Nothing that was fetched is
unpacked or run: the reader opens archives where they lie.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, LiteralString
from urllib.parse import urljoin, urlsplit

import pooch
import requests
import yaml
from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError
from tqdm.auto import tqdm

from . import __version__
from .artifacts import atomic_path, make_folder, read_json, sha256_file, write_json
from .config import from_dict
from .errors import Alos2TutError, closest, warn
from .progress import is_interactive

#: file in a data set's folder: name → SHA-256, bytes and address of what was fetched first
CHECKSUMS = "checksums.json"

_VERSION = 2
#: waits before another try at a transfer that broke off: short enough to sit through, three tries in all
_WAITS_S: tuple[float, ...] = (1.0, 5.0)
#: to connect, and between two pieces of the answer
_TIMEOUT_S = (15.0, 60.0)
_PIECE_BYTES = 2**16
#: disk space that a download leaves to others
_SPARE_BYTES = 2**28
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
#: names that can be looked up, and IPv4 addresses
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


# --- the manifest


def _is_safe_url(url: str) -> bool:
    """Whether an address is https, without a password in it; plain http never leaves this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme == "http":
        known_place = host in _THIS_MACHINE
    else:
        known_place = parts.scheme == "https" and _HOST.fullmatch(host) is not None
    return known_place and "@" not in parts.netloc and re.fullmatch(r"[!-~]+", url) is not None


def _must(hold: Callable[[str], object], problem: LiteralString) -> AfterValidator:
    def check(text: str) -> str:
        if not hold(text):
            raise PydanticCustomError("form", problem)
        return text

    return AfterValidator(check)


# names become paths: nothing in them may lead out of the folder, on any system
_EntryName = Annotated[
    str, _must(re.compile(r"[a-z0-9][a-z0-9_-]*").fullmatch, "must be of lower-case letters, digits, _ and -")
]
_FileName = Annotated[
    str,
    _must(
        re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?").fullmatch,
        "must be a plain file name of letters, digits, dots, _ and -",
    ),
    _must(lambda name: name.lower() != CHECKSUMS, "is the name of the list of checksums"),
]
_Url = Annotated[str, _must(_is_safe_url, "must be an https address without a password")]
_Sha256 = Annotated[str, _must(re.compile(r"[0-9a-f]{64}").fullmatch, "must be 64 lower-case hexadecimal digits")]
_State = Annotated[
    str,
    _must(
        re.compile(r"not verified|verified \d{4}-\d\d-\d\d").fullmatch,
        "must be 'not verified' or 'verified YYYY-MM-DD'",
    ),
]
_Text = Annotated[str, _must(str.strip, "must say something")]

# the defaults are checked too: what is left out and must not be is named
_CHECKED = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True)


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class DataFile:
    """One file of a data set, and where it is loaded from."""

    name: _FileName = ""
    """Its name in the data set's folder."""
    url: _Url = ""
    """Its address."""
    url_is: Literal["published", "derived"] = "published"
    """Whether the source publishes the address, or it follows from how files of its kind are named."""
    size_bytes: int | None = Field(default=None, ge=1)
    """Its exact size; None: not known."""
    sha256: _Sha256 | None = None
    """Its checksum; None: not known."""


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Entry:
    """One data set of the manifest: what it is, whose it is, and how it is got."""

    name: _EntryName = ""
    """The word to fetch it by, and its folder's name."""
    title: _Text = ""
    """What it is, in one line."""
    used_for: _Text = ""
    """What it serves for."""
    kind: Literal["simulated", "sar", "labels", "weights"] = "sar"
    """What it holds."""
    format: _Text | None = None
    """File format, grid and calibration."""
    page: _Url | None = None
    """Where the source describes it."""
    files: tuple[DataFile, ...] = ()
    """What ``fetch`` loads; none: it is got by hand."""
    size_bytes: int | None = Field(default=None, ge=1)
    """About how large it is, or one unit of it; None: not known."""
    as_published: _State | None = None
    """Whether somebody tried the addresses: ``not verified`` or ``verified 2026-01-31``; None: there are none."""
    licence: _Text | None = None
    """The licence's name, or who sets the terms."""
    terms: _Text | None = None
    """The terms, or where they are; None: not known."""
    attribution: _Text | None = None
    """What to write beside results."""
    login: bool | None = None
    """Whether an account is needed; None: not known."""
    steps: tuple[_Text, ...] = ()
    """What is done by hand."""
    opens_with: _Text | None = None
    """The next command; ``{path}`` stands for the file, or the folder of several."""
    notes: _Text | None = None
    """What to know before using it."""


class NeedsHands(Alos2TutError):
    """A data set that a program cannot fetch. Its text lists the steps for a person, on lines of their own."""

    def __init__(self, problem: str, entry: Entry):
        steps = [f"  {number}. {step}" for number, step in enumerate(entry.steps, 1)]
        facts = {
            "page": entry.page,
            "terms": entry.terms or "not known: ask the source",
            "attribution": entry.attribution,
        }
        lines = [*steps, *(f"  {key}: {value}" for key, value in facts.items() if value)]
        super().__init__(problem, where=entry.name, remedy="By hand:\n" + "\n".join(lines))


def load_manifest(file: str | Path | None = None) -> dict[str, Entry]:
    """The data sets of a manifest, by name, in its order.

    Args:
        file: a YAML file in the form of ``data_manifest.yaml``; None: the one that comes with the package.

    Raises:
        Alos2TutError: the file cannot be read or is of another form; the entry and the field are named.
    """
    path = _own_manifest() if file is None else Path(file)
    if "://" in str(file):
        raise Alos2TutError(
            "is an address",
            where="manifest",
            remedy="Download it, read it, and give the file: it names what is loaded.",
        )
    content = _read_yaml(path)
    if not isinstance(content, dict) or content.keys() != {"version", "datasets"} or content["version"] != _VERSION:
        raise Alos2TutError(f"is no data manifest: it holds 'version: {_VERSION}' and 'datasets'", where=path)
    if not isinstance(content["datasets"], list):
        raise Alos2TutError("'datasets' is no list", where=path)
    entries = [_entry(part, f"{path}: entry {number}") for number, part in enumerate(content["datasets"], 1)]
    _require_once((entry.name for entry in entries), path)
    return {entry.name: entry for entry in entries}


def _own_manifest() -> Path:
    # a checkout holds it above the package, where the package's own is a link; an installation has a copy
    above = Path(__file__).resolve().parents[1] / "data_manifest.yaml"
    return above if above.is_file() else Path(__file__).with_name("data_manifest.yaml")


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Alos2TutError(f"cannot be read ({error.strerror})", where=path) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Alos2TutError(f"is not valid YAML ({error})", where=path) from None


def _entry(content: Any, where: str) -> Entry:
    if not isinstance(content, dict):
        raise Alos2TutError("holds no 'key: value' lines", where=where)
    where = f"{where} '{content.get('name')}'"
    listed = content.get("files") or []
    if not isinstance(listed, list) or not all(isinstance(file, dict) for file in listed):
        raise Alos2TutError("'files' is no list of files, each with 'name' and 'url'", where=where)
    files = [from_dict(DataFile, file, where=f"{where}, file {number}") for number, file in enumerate(listed, 1)]
    _require_once((file.name for file in files), where)
    entry = from_dict(Entry, {**content, "files": tuple(files)}, where=where)
    if not entry.files and not entry.steps:
        raise Alos2TutError("has neither 'files' nor 'steps': how is it got?", where=where)
    return entry


def _require_once(names: Iterable[str], where: str | Path) -> None:
    # two names that differ in case only are one file on some systems
    (name, times), *_ = Counter(name.lower() for name in names).most_common(1) or [("", 0)]
    if times > 1:
        raise Alos2TutError(f"the name '{name}' is given {times} times", where=where)


def listing(entries: Iterable[Entry], width: int = 116) -> str:
    """A table of data sets: name, size, way, account, licence and use, in lines of at most ``width`` characters."""
    entries = list(entries)
    rows = [("name", "size", "got by", "account", "licence", "what it is, and what for"), *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for row in rows:
        start = "".join(f"{text:<{space}}  " for text, space in zip(row, widths, strict=False))
        # a long name in a manifest of one's own may leave too little room
        line_width = max(width, len(start) + 30)
        lines.append(
            textwrap.fill(
                row[5], line_width, initial_indent=start, subsequent_indent=" " * len(start), break_on_hyphens=False
            )
        )
    notes = ["A size after ~ is about right: of one scene or tile, before compression."]
    if any(entry.as_published == "not verified" for entry in entries):
        notes.append("Addresses are as published, not verified.")
    return "\n".join([*lines, "", *notes])


def _row(entry: Entry) -> tuple[str, ...]:
    account = {True: "yes", False: "no", None: "?"}[entry.login]
    way = "fetch" if entry.files else "hand"
    return entry.name, _size(entry), way, account, entry.licence or "?", f"{entry.title}: {entry.used_for}"


def _size(entry: Entry) -> str:
    exact = [file.size_bytes for file in entry.files]
    if exact and all(exact):
        return _readable(sum(size for size in exact if size))
    return "?" if entry.size_bytes is None else f"~{_readable(entry.size_bytes)}"


def _readable(size_bytes: float) -> str:
    """A size with three digits and its decimal unit."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} GB"


# --- fetching


def find_entry(name: str, manifest: str | Path | None = None) -> Entry:
    """The data set of that name.

    Raises:
        Alos2TutError: there is none (the nearest name is given), or the manifest cannot be read.
    """
    entries = load_manifest(manifest)
    if name not in entries:
        raise Alos2TutError(f"unknown data set '{name}'", remedy=closest(name, entries))
    return entries[name]


def fetch(
    name: str, folder: str | Path = "data", *, manifest: str | Path | None = None, progress: bool | None = None
) -> Path:
    """Load the files of a data set into ``<folder>/<name>``, and check them.

    What lies there already and has the right checksum is not loaded again, so a second call takes up what the first
    left. A file put there by hand counts as loaded. Checksums that nobody published are recorded in ``checksums.json``
    on first use. A product that comes as one archive opens by the archive's path.

    Args:
        name: the data set's word, as ``alos2tut fetch --list`` shows it.
        folder: where data sets lie; made if missing.
        manifest: a manifest file of your own, in place of the package's.
        progress: show a bar per file; None: only where somebody watches.

    Returns:
        The folder ``<folder>/<name>``.

    Raises:
        NeedsHands: the data set needs an account or other steps by hand, which the text lists.
        Alos2TutError: an unknown name; no connection; another size or checksum than expected; no space; no permission.
            No file is left under its name that is not whole, and those that were there stay as they were.
    """
    entry = find_entry(name, manifest)
    if not entry.files:
        raise NeedsHands("is not fetched by a program", entry)
    place = Path(folder) / entry.name
    make_folder(place)
    missing = [file for file in entry.files if not _is_there(file, place)]
    _require_space(place, sum(file.size_bytes or 0 for file in missing))
    show = is_interactive() if progress is None else progress
    for file in missing:
        _download(file, place, entry, show)
    return place


def receipt(entry: Entry, place: Path) -> str:
    """What to know of a data set that was fetched: where it lies, whose it is, and the next command, in lines."""
    path = str(place / entry.files[0].name if len(entry.files) == 1 else place)
    then = (entry.opens_with or "").replace("{path}", f'"{path}"' if " " in path else path)
    facts = {"page": entry.page, "licence": entry.licence, "terms": entry.terms, "attribution": entry.attribution}
    facts |= {"notes": entry.notes, "next": then}
    return "\n".join([str(place), *(f"  {key}: {value}" for key, value in facts.items() if value)])


def _is_there(file: DataFile, place: Path) -> bool:
    path = place / file.name
    if not path.exists():
        return False
    if not path.is_file():
        raise Alos2TutError("is in the way of a file of this name", where=path, remedy="Move it elsewhere.")
    size_bytes = path.stat().st_size
    if file.size_bytes not in (None, size_bytes):
        raise Alos2TutError(
            f"has {size_bytes} bytes, the manifest says {file.size_bytes}",
            where=path,
            remedy="Move it elsewhere, then fetch again.",
        )
    sha256 = _sha256_of(path)
    expected, source = _expected_sha256(file, place)
    if expected is None:
        _record(file, place, sha256, size_bytes)
    elif sha256 != expected:
        raise Alos2TutError(
            f"has the SHA-256 {sha256}, but {source} says {expected}: it was changed or damaged",
            where=path,
            remedy=f"Move it elsewhere and fetch again{_to_accept(file, source)}.",
        )
    return True


def _sha256_of(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise Alos2TutError(f"cannot be read ({error.strerror})", where=path) from None


def _download(file: DataFile, place: Path, entry: Entry, show: bool) -> None:
    path = place / file.name
    with atomic_path(path) as temporary:
        transfer = _received(file, temporary, entry, show)
        expected, source = _expected_sha256(file, place)
        if expected not in (None, transfer.sha256):
            raise Alos2TutError(
                f"what the server sent has the SHA-256 {transfer.sha256}, but {source} says {expected}: "
                "the file was changed there, or damaged on its way. Nothing was written",
                where=f"{entry.name}: {file.url}",
                remedy=f"Fetch again{_to_accept(file, source)}.",
            )
    if expected is None:
        _record(file, place, transfer.sha256, transfer.received_bytes)


def _expected_sha256(file: DataFile, place: Path) -> tuple[str | None, str]:
    """The checksum that a file must have, if one is known, and who says so."""
    if file.sha256 is not None:
        return file.sha256, "the manifest"
    recorded = _recorded(place).get(file.name)
    return (None if recorded is None else recorded["sha256"]), str(place / CHECKSUMS)


def _to_accept(file: DataFile, source: str) -> str:
    if file.sha256 is not None:
        return ", or, if you trust the file, state its checksum in a manifest of your own (--manifest)"
    return f", or, if you trust the file, delete the entry '{file.name}' in {source}"


def _recorded(place: Path) -> Mapping[str, Any]:
    path = place / CHECKSUMS
    content = read_json(path) if path.exists() else {}
    parts = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(part, dict) and isinstance(part.get("sha256"), str) for part in parts):
        raise Alos2TutError("is no list of checksums", where=path, remedy="Delete it to record them anew.")
    recorded: Mapping[str, Any] = content
    return recorded


def _record(file: DataFile, place: Path, sha256: str, size_bytes: int) -> None:
    record = {"sha256": sha256, "bytes": size_bytes, "url": file.url}
    write_json(place / CHECKSUMS, {**_recorded(place), file.name: record})


def _require_space(place: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(place).free
    if needed_bytes and needed_bytes + _SPARE_BYTES > free_bytes:
        raise Alos2TutError(
            f"{_readable(needed_bytes)} are needed, and {_readable(free_bytes)} are free on this disk "
            f"({_readable(_SPARE_BYTES)} of them stay free)",
            where=place,
            remedy="Make space, or name a folder on another disk.",
        )


# --- one file over the network


class _Transfer:
    """One try at a file: what arrives is written, counted and hashed, and refused as soon as it cannot be right.

    It stands for the output file that pooch writes into, so that gigabytes are read once only. (``pooch.retrieve``
    hashes them afterwards, leaves files that only their owner can read, and a part of one where it was killed.)
    """

    def __init__(self, file: DataFile, path: Path, entry: Entry, show: bool):
        self._file, self._path, self._show = file, path, show
        self._where = f"{entry.name}: {file.url}"
        self._digest = hashlib.sha256()
        self.size_bytes = file.size_bytes
        self.received_bytes = 0
        self.answered = False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def run(self) -> None:
        """Load the file.

        Raises:
            requests.RequestException: the server could not be reached or refused, or the transfer broke off.
            Alos2TutError: what the server sends is not the file.
        """
        download = pooch.HTTPDownloader(
            chunk_size=_PIECE_BYTES,
            timeout=_TIMEOUT_S,
            # compressed on its way, a file would have another length than stated
            headers={"User-Agent": f"alos2tut/{__version__}", "Accept-Encoding": "identity"},
            hooks={"response": self._check},
        )
        label = self._file.name
        with (
            ExitStack() as self._answers,
            open(self._path, "wb") as self._output,
            tqdm(desc=label, unit="B", unit_scale=True, disable=not self._show, dynamic_ncols=True) as self._bar,
        ):
            download(self._file.url, self, None)
        if self.received_bytes < (self.size_bytes or 0):
            raise requests.ConnectionError("the transfer ended early")

    def write(self, piece: bytes) -> None:
        """Take the next piece of the file."""
        self.received_bytes += len(piece)
        if self.size_bytes is not None and self.received_bytes > self.size_bytes:
            raise Alos2TutError(f"the server sends more than the {self.size_bytes} bytes expected", where=self._where)
        if self.size_bytes is None:
            _require_space(self._path.parent, len(piece))
        self._output.write(piece)
        self._digest.update(piece)
        self._bar.update(len(piece))

    def flush(self) -> None:
        """Asked for after each piece; the file is flushed once, when it is whole."""

    def _check(self, response: requests.Response, **_: Any) -> None:
        """Look at the server's answer before its content is loaded."""
        # pooch leaves open what it does not read to the end
        self._answers.callback(response.close)
        if response.is_redirect:
            self._check_redirect(response.url, response.headers["location"])
        elif response.ok:
            self._check_content(response)

    def _check_redirect(self, origin: str, location: str) -> None:
        try:
            target = urljoin(origin, location)
        except ValueError:  # brackets that hold no address
            target = location
        leaves_https = origin.startswith("https:") and not target.lower().startswith("https:")
        if leaves_https or not _is_safe_url(target):
            raise Alos2TutError(f"the server leads on to {target!r}, which is no https address", where=self._where)

    def _check_content(self, response: requests.Response) -> None:
        if response.status_code != requests.codes.ok:
            raise Alos2TutError(f"the server answered {response.status_code}, without the file", where=self._where)
        if "html" in response.headers.get("content-type", "") and not self._file.name.endswith((".html", ".htm")):
            raise Alos2TutError(
                "the server sent a web page in place of the file",
                where=self._where,
                remedy="Open the address in a browser: an account, or the consent to its terms, may be needed.",
            )
        self._check_size(response.headers)
        self.answered = True

    def _check_size(self, headers: Mapping[str, str]) -> None:
        stated = headers.get("content-length")
        if stated is None or headers.get("content-encoding", "identity") != "identity":
            if self.size_bytes is None and self._file.sha256 is None and "transfer-encoding" not in headers:
                warn(f"{self._where}: the server does not say how long the file is: whether it is whole is not known.")
        elif not stated.isdecimal() or self.size_bytes not in (None, int(stated)):
            raise Alos2TutError(
                f"the server's file has {stated} bytes, the manifest says {self.size_bytes}",
                where=self._where,
                remedy="It was changed there: look at the page, and state its new size in a manifest of your own.",
            )
        else:
            self.size_bytes = int(stated)
        self._bar.reset(self.size_bytes)
        _require_space(self._path.parent, self.size_bytes or 0)


def _received(file: DataFile, path: Path, entry: Entry, show: bool) -> _Transfer:
    """A file loaded to ``path``, if need be by several tries."""
    for wait_s in (*_WAITS_S, None):
        transfer = _Transfer(file, path, entry, show)
        try:
            transfer.run()
            return transfer
        except requests.RequestException as error:
            if wait_s is None or not _may_pass(error):
                raise _explained(error, transfer, file, entry) from None
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _status(error: requests.RequestException) -> int | None:
    return None if error.response is None else error.response.status_code


def _may_pass(error: requests.RequestException) -> bool:
    """Whether another try may succeed: the line or the server failed, rather than that it refused."""
    status = _status(error)
    if status is not None:
        return status >= 500
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broken) and not isinstance(error, requests.exceptions.SSLError)


def _explained(error: requests.RequestException, transfer: _Transfer, file: DataFile, entry: Entry) -> Alos2TutError:
    """What a failed transfer means for the user."""
    status = _status(error)
    if status in (401, 403):
        problem = f"the server refuses {file.url} ({status}): an account is needed, or the address is old"
        return NeedsHands(problem, entry)
    if status in (404, 410):
        origin = "as published" if file.url_is == "published" else "derived from how such files are named"
        look = f"Look at {entry.page}" if entry.page else "Look for the new one"
        problem = f"there is no such file on the server ({status})"
        remedy = f"The address is {origin}, and was not tried. {look}, and give a manifest of your own (--manifest)."
    else:
        problem = _broken(error, transfer, urlsplit(file.url).hostname or "")
        remedy = "Try again later: the same command goes on with what is missing."
    return Alos2TutError(problem, where=f"{entry.name}: {file.url}", remedy=remedy)


def _broken(error: requests.RequestException, transfer: _Transfer, host: str) -> str:
    """Where between here and the server it failed."""
    if isinstance(error, requests.TooManyRedirects):
        return f"{host} leads on from address to address without an end"
    if error.response is not None:
        return f"the server answered {error.response.status_code}"
    if transfer.answered:
        whole = transfer.size_bytes or "an unknown number of"
        return f"the transfer broke off after about {transfer.received_bytes} of {whole} bytes; nothing of it was kept"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host} is not accepted; a proxy in between may be the cause"
    if isinstance(error, requests.Timeout):
        return f"{host} did not answer in time"
    return f"{host} cannot be reached; this machine may be offline, or need a proxy (HTTPS_PROXY)"
