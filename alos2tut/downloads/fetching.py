"""Downloading the data sets of the manifest that need no account.

A file takes its name only when it has arrived whole and its checksum is right. Where none is known, the checksum of
the first download is kept beside the data and later ones are held against it. Nothing that was downloaded is unpacked
or run: the reader opens archives where they lie, and what is made of a file is made by :mod:`.recipes`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import textwrap
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pooch
import requests
from pydantic import Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from tqdm.auto import tqdm

from ..core.artifacts import (
    atomic_path,
    make_folder,
    named_path,
    read_json,
    remove_stale_holders,
    sha256_file,
    write_json,
)
from ..core.errors import Alos2TutError, quoted, system_error, warn
from ..core.progress import is_interactive
from ..core.public import public
from ..core.tables import bytes_text
from ..core.version import __version__
from .manifest import (
    CHECKSUMS,
    ORIGINS,
    DataFile,
    Entry,
    Sha256,
    describe_facts,
    describe_steps,
    find_entry,
    is_safe_url,
)

#: waits before another try at a transfer that broke off; after the last there is none
_WAITS_S: tuple[float | None, ...] = (1.0, 5.0, None)
#: to connect, and between two pieces of the answer
_TIMEOUT_S = (15.0, 60.0)
_PIECE_BYTES = 2**16
#: disk space that a download leaves to others
_SPARE_BYTES = 2**28
#: of a file's name beside its bar, which needs the rest of the line
_LABEL_CHARACTERS = 24
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+)?html", re.IGNORECASE)


class ManualDownload(Alos2TutError):
    """A data set that a program cannot fetch; its text lists what a person can do, line by line."""

    def __init__(self, problem: str, entry: Entry):
        facts = describe_facts(entry, "page", "terms", "attribution", "notes", "next")
        head = "By hand" if entry.steps else "What is known of it"
        super().__init__(problem, where=entry.name, remedy="\n".join([f"{head}:", *describe_steps(entry), *facts]))


@public
def fetch(
    name: str, folder: str | Path = "data", *, manifest: str | Path | None = None, progress: bool | None = None
) -> Path:
    """Download the files of a data set into ``<folder>/<name>``, check them, and make what is made of them.

    A file that lies there with the right checksum, also one put there by hand, is not downloaded again; nothing is
    resumed in the middle of a file. Checksums that the manifest does not state are recorded in ``checksums.json`` on
    first use. Two calls at the same time both download: every file is whole, and ``checksums.json`` may lack what only
    one of them recorded, until the next call.

    Args:
        name: the data set's word, as ``alos2tut fetch --list`` shows it.
        folder: where data sets lie; made if missing.
        manifest: a manifest file of your own, in place of the package's.
        progress: show a bar per file; None: only where somebody watches.

    Returns:
        The folder ``<folder>/<name>``.

    Raises:
        ManualDownload: the data set needs an account or other steps by hand, which the text lists.
        Alos2TutError: an unknown name; no connection; another size or checksum than expected; no space; no permission.
            No file is left under its name that is not whole, and those that were there stay as they were.
    """
    return fetch_entry(find_entry(name, manifest), folder, progress=progress)


@public
def fetch_entry(entry: Entry, folder: str | Path = "data", *, progress: bool | None = None) -> Path:
    """As :func:`fetch`, of an entry that was found already."""
    if not entry.files:
        raise ManualDownload("is not fetched by a program", entry)
    if not isinstance(folder, (str, Path)) or "\0" in str(folder):
        raise Alos2TutError(f"is no path: {quoted(folder)}", where="folder")
    place = named_path(folder, "folder") / entry.name
    make_folder(place)
    for name in (CHECKSUMS, *(file.name for file in entry.files)):
        make_folder((place / name).parent)
        remove_stale_holders(place / name)
    records = _Records(place)
    missing = [file for file in entry.files if not _is_there(file, place, records)]
    _require_space(place, sum(records.expect(file).size_bytes or 0 for file in missing))
    show = is_interactive() if progress is None else progress
    for file in missing:
        _download(file, place, entry, records, show)
    if entry.makes:
        from .recipes import make_image  # loads GDAL, which no download needs

        for made in entry.makes:
            make_image(made, place)
    return place


def describe_receipt(entry: Entry, place: Path) -> str:
    """Where a data set that was fetched lies, whose it is, and the next command, in lines."""
    path = str(place / entry.files[0].name if len(entry.files) == 1 else place)
    keys = ("page", "licence", "terms", "attribution", "notes", "next", "all notebooks")
    return "\n".join([str(place), *describe_facts(entry, *keys, path=path)])


class _Source(NamedTuple):
    """Who says what a file must be, and what to do if the file is right all the same."""

    name: str
    remedy: str


class _Expected(NamedTuple):
    """A file's size and checksum, None where not known, and who says so."""

    size_bytes: int | None
    size_source: _Source
    sha256: str | None
    sha256_source: _Source


@dataclass(frozen=True)
class _Record:
    """What is kept of a file that was downloaded first."""

    sha256: Sha256
    bytes: Annotated[int, Strict()]
    url: str = ""


class _Records:
    """The list of checksums in a data set's folder, read once."""

    def __init__(self, place: Path):
        self._path = place / CHECKSUMS
        try:
            content = read_json(self._path) if os.path.lexists(self._path) else {}
            self._records = TypeAdapter(dict[str, _Record]).validate_python(content)
        except (Alos2TutError, ValidationError) as error:
            problem = error.problem if isinstance(error, Alos2TutError) else "is no list of checksums"
            raise Alos2TutError(
                problem, where=self._path, remedy="Delete it: the checksums are then recorded anew."
            ) from None

    def expect(self, file: DataFile) -> _Expected:
        """What the manifest says of a file, else what was recorded."""
        manifest = _Source("the manifest", "state its own in a manifest of yours (--manifest)")
        here = _Source(str(self._path), f"delete the entry '{file.name}' in {self._path}")
        recorded = None if file.sha256 else self._records.get(file.name)
        size_bytes, sha256 = (recorded.bytes, recorded.sha256) if recorded else (None, file.sha256)
        size_source, sha256_source = (manifest if fact else here for fact in (file.size_bytes, file.sha256))
        return _Expected(file.size_bytes or size_bytes, size_source, sha256, sha256_source)

    def add(self, file: DataFile, sha256: str, size_bytes: int) -> None:
        self._records[file.name] = _Record(sha256, size_bytes, file.url)
        write_json(self._path, {name: asdict(record) for name, record in self._records.items()})


def _is_there(file: DataFile, place: Path, records: _Records) -> bool:
    """Whether a file has been downloaded already; one that is not as expected is refused."""
    path, expected = place / file.name, records.expect(file)
    try:
        if not path.exists():
            return False
        if not path.is_file():
            raise Alos2TutError("is in the way of a file of this name", where=path, remedy="Move it elsewhere.")
        size_bytes = path.stat().st_size
        if expected.size_bytes not in (None, size_bytes):
            source = expected.size_source
            raise _unexpected(f"has {size_bytes} bytes, {source.name} says {expected.size_bytes}", path, source)
        sha256 = sha256_file(path)
    except OSError as error:
        raise system_error(error, path, "cannot be read") from None
    if expected.sha256 not in (None, sha256):
        source = expected.sha256_source
        problem = f"has the SHA-256 {sha256}, but {source.name} says {expected.sha256}: it was changed or damaged"
        raise _unexpected(problem, path, source)
    if expected.sha256 is None:
        try:
            records.add(file, sha256, size_bytes)
        except Alos2TutError as error:
            warn(f"{path} is taken as it is: its checksum cannot be recorded ({error.problem}).")
    return True


def _unexpected(problem: str, path: Path, source: _Source) -> Alos2TutError:
    remedy = f"Move it elsewhere and fetch again, or, if you trust the file, {source.remedy}."
    return Alos2TutError(problem, where=path, remedy=remedy)


def _require_space(place: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(place).free
    if needed_bytes and needed_bytes + _SPARE_BYTES > free_bytes:
        needed, free, spare = map(bytes_text, (needed_bytes, free_bytes, _SPARE_BYTES))
        problem = f"{needed} are needed, and {free} are free on this disk ({spare} of them stay free)"
        raise Alos2TutError(problem, where=place, remedy="Make space, or name a folder on another disk.")


def _download(file: DataFile, place: Path, entry: Entry, records: _Records, show: bool) -> None:
    """Download a file, if need be by several tries, and give it its name if it is as expected."""
    path, expected = place / file.name, records.expect(file)
    with atomic_path(path) as temporary:
        for wait_s in _WAITS_S:
            transfer = _Transfer(file, temporary, entry, expected, show)
            try:
                transfer.run()
                break
            except requests.RequestException as error:
                if wait_s is None or not _may_pass(error):
                    raise _explain(error, transfer, entry) from None
                if show:
                    tqdm.write(f"{_describe_failure(error, transfer)}; next try in {wait_s:g} s", file=sys.stderr)
                time.sleep(wait_s)
        sha256 = transfer.digest.hexdigest()
        if expected.sha256 not in (None, sha256):
            source = expected.sha256_source
            raise transfer.refused(
                f"what the server sent has the SHA-256 {sha256}, but {source.name} says {expected.sha256}: "
                "the file was changed there, or damaged on its way. Nothing was written",
                f"Fetch again, or, if you trust the file, {source.remedy}.",
            )
    if expected.sha256 is None:
        records.add(file, sha256, transfer.received_bytes)


class _Transfer:
    """One try at a file: what arrives is written, counted and hashed, and refused as soon as it cannot be right.

    It stands for the output file that pooch writes into, so that gigabytes are read once only.
    """

    def __init__(self, file: DataFile, path: Path, entry: Entry, expected: _Expected, show: bool):
        self.file, self._path, self._expected, self._show = file, path, expected, show
        self._where = f"{entry.name}: {file.url}"
        self.digest = hashlib.sha256()
        self.size_bytes = expected.size_bytes
        self.received_bytes = 0
        self.answered = False

    def refused(self, problem: str, remedy: str | None = None) -> Alos2TutError:
        return Alos2TutError(problem, where=self._where, remedy=remedy)

    def run(self) -> None:
        """Download the file.

        Raises:
            requests.RequestException: the server could not be reached or refused, or the transfer broke off.
            Alos2TutError: what the server sends is not the file.
        """
        download = pooch.HTTPDownloader(
            chunk_size=_PIECE_BYTES,
            timeout=_TIMEOUT_S,
            # compressed on its way, a file would have another length than stated
            headers={"User-Agent": f"alos2tut/{__version__}", "Accept-Encoding": "identity"},
            # plain http is this machine's only: no proxy sees it
            proxies={"http": ""},
            hooks={"response": self._check},
        )
        name = self.file.name
        label = name if len(name) <= _LABEL_CHARACTERS else f"...{name[3 - _LABEL_CHARACTERS :]}"
        with (
            ExitStack() as self._answers,
            open(self._path, "wb") as self._output,
            tqdm(desc=label, unit="B", unit_scale=True, disable=not self._show, dynamic_ncols=True) as self._bar,
        ):
            download(self.file.url, self, None)
        if self.received_bytes < (self.size_bytes or 0):
            raise requests.ConnectionError("the transfer ended early")
        self._check_begin()

    def write(self, piece: bytes) -> None:
        self.received_bytes += len(piece)
        if self.size_bytes is not None and self.received_bytes > self.size_bytes:
            raise self.refused(f"the server sends more than the {self.size_bytes} bytes expected")
        if self.size_bytes is None:
            _require_space(self._path.parent, len(piece))
        self._output.write(piece)
        self.digest.update(piece)
        self._bar.update(len(piece))

    def flush(self) -> None:
        """Do nothing after each piece: the file is flushed once, when it is whole."""

    def _check(self, response: requests.Response, **_: Any) -> None:
        """Look at the server's answer before its content is read."""
        # pooch leaves open what it does not read to the end
        self._answers.callback(response.close)
        if response.is_redirect:
            self._check_redirect(response.url, response.headers["location"])
            # else requests would read all of it, whatever its size
            response.close()
        elif response.ok:
            self._check_head(response)

    def _check_redirect(self, origin: str, location: str) -> None:
        try:
            target = requests.utils.requote_uri(urljoin(origin, location))
        except (ValueError, requests.RequestException):  # brackets that hold no address
            target = location
        leaves_https = origin.startswith("https:") and not target.lower().startswith("https:")
        if not location or leaves_https or not is_safe_url(target):
            raise self.refused(f"the server leads on to {quoted(location)}, which is no https address")

    def _check_head(self, response: requests.Response) -> None:
        headers = response.headers
        if response.status_code != requests.codes.ok:
            raise self.refused(f"the server answered {response.status_code}, without the file")
        if "html" in headers.get("content-type", "").lower():
            self._refuse_page()
        encoding = headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            problem = f"the server sends the file encoded ({quoted(encoding)}), though it was asked not to"
            raise self.refused(problem, "Download it by hand, and put it into the data set's folder.")
        self._take_size(headers.get("content-length"), headers.get("transfer-encoding", "").lower() == "chunked")
        self.answered = True
        self._bar.reset(self.size_bytes)
        _require_space(self._path.parent, self.size_bytes or 0)

    def _take_size(self, stated: str | None, is_chunked: bool) -> None:
        """Expect as many bytes as the server states; chunks say themselves where they end."""
        if stated is None:
            if not (is_chunked or self.size_bytes or self._expected.sha256):
                raise self.refused(
                    "the server does not say how long the file is, so that a part of it would pass for the whole",
                    "State its size or SHA-256 in a manifest of your own (--manifest), or download it by hand into the "
                    "data set's folder.",
                )
            return
        if not re.fullmatch(r"[0-9]{1,18}", stated):
            raise self.refused(f"the server states no proper length of the file: {quoted(stated)}")
        if self.size_bytes not in (None, int(stated)):
            source = self._expected.size_source
            raise self.refused(
                f"the server's file has {stated} bytes, {source.name} says {self.size_bytes}",
                f"It was changed there: look at its page, and, if you trust it, {source.remedy}.",
            )
        self.size_bytes = int(stated)

    def _check_begin(self) -> None:
        if self.received_bytes == 0:
            raise self.refused("the server sent an empty file", "Try again later.")
        with open(self._path, "rb") as file:
            if _WEB_PAGE.match(file.read(1024)):
                self._refuse_page()

    def _refuse_page(self) -> None:
        if not self.file.name.lower().endswith((".html", ".htm")):
            remedy = "Open the address in a browser: an account, or the consent to its terms, may be needed."
            raise self.refused("the server sent a web page in place of the file", remedy)


def _may_pass(error: requests.RequestException) -> bool:
    """Whether another try may succeed: the line or the server failed, rather than that it refused."""
    if error.response is not None:
        return error.response.status_code >= 500
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, broken) and not isinstance(error, requests.exceptions.SSLError)


def _explain(error: requests.RequestException, transfer: _Transfer, entry: Entry) -> Alos2TutError:
    """What a failed transfer means for the user."""
    file = transfer.file
    status = None if error.response is None else error.response.status_code
    if status in (401, 403):
        reasons = "an account is needed, or the address is old"
        if status == 403 and entry.login is False:
            reasons = "the address is old or derived, or an account is needed"
        return ManualDownload(f"the server refuses {file.url} ({status}): {reasons}", entry)
    problem = _describe_failure(error, transfer)
    remedy = "Try again later: the same command starts this file anew, and keeps those that are whole."
    if status in (404, 410):
        problem = f"there is no such file on the server ({status})"
        look = f"Look at {entry.page}" if entry.page else "Look for the new one"
        remedy = (
            f"The address is {ORIGINS[file.url_is]}, {entry.as_published or 'not verified'}. {look}, and give a "
            "manifest of your own (--manifest)."
        )
    return transfer.refused(problem, remedy)


def _describe_failure(error: requests.RequestException, transfer: _Transfer) -> str:
    """Where between here and the server it failed."""
    host = urlsplit(transfer.file.url).hostname
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
    if isinstance(error, requests.ConnectionError):
        return (
            f"{host} cannot be reached, or gives no proper answer; this machine may be offline, "
            "or need a proxy (HTTPS_PROXY)"
        )
    return f"{host} gives an answer that makes no sense ({textwrap.shorten(str(error), 200)})"
