"""Zip and tar: what they hold, checked before it is believed, and how compressed ones are unpacked into the cache.

Names that lead elsewhere, links, encrypted members, two members of one name and claims far beyond the archive's size
are refused; no table of contents or header fills memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..core.artifacts import atomic_path
from ..core.cache import cache_folder
from ..core.errors import Alos2TutError, system_error
from ..core.parallel import folder_lock
from ..core.progress import progress_bar

#: members of an archive; a delivery has about twenty files
_MOST_MEMBERS = 10_000
#: bytes that an archive's members may claim together: so many in any case, so many times its size, never more than
_ALWAYS_ALLOWED, _LARGEST_RATIO, _NEVER_ALLOWED = 2**30, 100, 200 * 2**30
#: bytes that deflate makes of one byte at most
_DEFLATE_RATIO = 1032
#: bytes of a zip's table of contents: 400 per member
_LARGEST_TABLE = 4 * 2**20
#: bytes of one extended header of a tar (long names, exact times), and of all its headers together
_LARGEST_EXTENSION, _MOST_HEADER_BYTES = 2**16, 32 * 2**20
#: of files up to this size, as of all but images, the checksums are compared before they are read in place
_HEADER_BYTES = 8 * 2**20
#: bytes that are unpacked at once, and how many such pieces may follow the end of a tar
_PIECE, _MOST_PADDING = 2**20, 64
#: an archive from which on unpacking shows its progress
_LONG_WORK_BYTES = 2**26
#: what the parsers of zip, gzip and tar raise where the bytes are not as they should be
_DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, EOFError)
_DAMAGE += (struct.error, KeyError, OverflowError, RuntimeError, ValueError)
DOWNLOAD_AGAIN = "Download it again."

_GZIP, _ZIP_MEMBER, _EMPTY_ZIP = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
_ZIP_LOCAL_HEADER, _CRC_FOLLOWS = struct.Struct("<4s2xH6xI8xHH"), 8
_ZIP_ENCRYPTED = 0x1 | 0x40
_TAR_ODDITIES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    **dict.fromkeys((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE), "a device"),
}
#: absolute, with a drive, a backslash, a way upwards or a zero byte, or no name at all
_LEADS_OUT = re.compile(r"/|[A-Za-z]:|.*\\|(.*/)?\.\.(/|$)|.*\0|$", re.DOTALL)


class DamageError(Alos2TutError):
    """Bytes that are not as they should be, today and tomorrow."""


@contextmanager
def errors_named(where: str | Path) -> Iterator[None]:
    """Say of which file a parser or the system complains."""
    try:
        yield
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise DamageError(f"is damaged or truncated ({reason})", where=where, remedy=DOWNLOAD_AGAIN) from None
    except OSError as error:
        raise system_error(error, where, "cannot be read") from None


def truncated(where: str | Path, missing: int) -> Alos2TutError:
    """The error for a file that ends before it should."""
    return DamageError(f"is truncated: {missing:,} bytes are missing at its end", where=where, remedy=DOWNLOAD_AGAIN)


def container_of(path: Path) -> str | None:
    """Whether a file is a "zip", a "tar", or a packed one ("tar.gz"), by how it begins."""
    with open(path, "rb") as handle:
        start = handle.read(tarfile.BLOCKSIZE)
    if start.startswith((_ZIP_MEMBER, _EMPTY_ZIP)):
        return "zip"
    if start.startswith(_GZIP):
        return "tar.gz"
    try:
        return "tar" if tarfile.TarInfo.frombuf(start, "utf-8", "replace") else None
    except (tarfile.HeaderError, ValueError):
        return None


class Entry(NamedTuple):
    """What an archive states of one member; a folder's name ends in "/", ``oddity`` is what no product's file is.

    ``content`` opens it where its bytes come first; until the next member is asked for.
    """

    name: str
    size: int
    offset: int
    packed: bool
    oddity: str | None
    content: Callable[[], AbstractContextManager[IO[bytes]]]
    #: what is wrong with it, if that is known
    damage: str | None = None
    #: what contradicts itself, though its bytes are those that were packed
    doubt: str | None = None


def checked_entries(archive: Path, container: str) -> Iterator[tuple[str, Entry]]:
    """The files of an archive by their full name, each once what is stated of it was checked."""
    size = archive.stat().st_size
    allowed = min(max(_ALWAYS_ALLOWED, _LARGEST_RATIO * size), _NEVER_ALLOWED)
    claimed, seen, problem = 0, set(), None
    with errors_named(archive):
        for count, entry in enumerate(_zip_entries(archive) if container == "zip" else _tar_entries(archive), start=1):
            name = entry.name.removeprefix("./")  # which GDAL leaves out, too
            claimed += entry.size
            if count > _MOST_MEMBERS:
                problem = f"it has more than {_MOST_MEMBERS:,} members"
            elif _LEADS_OUT.match(entry.name):
                problem = f"its member {entry.name!r} is named so that it could lie outside the archive"
            elif entry.oddity:
                problem = f"its member {entry.name!r} is {entry.oddity}"
            elif claimed > allowed:
                problem = f"of {size:,} bytes, its members claim {claimed:,} (up to {entry.name!r})"
            elif name in seen:
                problem = f"it has two members {entry.name!r}"
            if problem:
                raise Alos2TutError(problem, where=archive, remedy="No product comes like this: it is not opened.")
            if not name.endswith("/") and name and not is_rubbish(name):
                seen.add(name)
                yield name, entry


def damaged_members(archive: Path) -> Iterator[tuple[str, str | None]]:
    """Each file of an archive, read to its end, and what is wrong with it if its checksum is not each one stated.

    Raises:
        Alos2TutError: an archive that is damaged as a whole, as one that is packed in one piece; or that is refused.
    """
    for name, file in checked_entries(archive, str(container_of(archive))):
        yield name, _damage_of(file, f"{archive}/{name}") or file.doubt


def _damage_of(file: Entry, where: str) -> str | None:
    """What is wrong with a member that is read to its end, where its checksum is compared."""
    try:
        for _ in _pieces(file, where):
            pass
    except DamageError as error:
        return error.problem
    return None


# --- unpacking


def unpacked_file(archive: Path, member: str) -> Path:
    """A file of an archive in the cache, into which the archive is unpacked if it is not there.

    Raises:
        Alos2TutError: a member that is damaged; or an archive as a whole.
    """
    folder = unpacked(archive)
    damage = folder / "damaged" / member
    if damage.is_file():
        raise DamageError(damage.read_text("utf-8"), where=f"{archive}/{member}", remedy=DOWNLOAD_AGAIN)
    return folder / "files" / member


def unpacked(archive: Path) -> Path:
    """The folder in the cache with an archive's files, and what is wrong with damaged ones, by their full names.

    It is known by the archive's name, size and times, wherever that lies. Processes that need it wait for the one
    that unpacks; what that leaves when it is stopped is no such folder.
    """
    facts = archive.stat()
    key = os.fsencode(f"{archive.name}:{facts.st_size}:{facts.st_ino}:{facts.st_mtime_ns}:{facts.st_ctime_ns}")
    name = re.sub(r"[^0-9A-Za-z._-]", "_", archive.name)[:80]
    folder = cache_folder() / f"{name}-{hashlib.sha256(key).hexdigest()[:16]}" / "unpacked"
    if not folder.is_dir():
        with folder_lock(folder.parent, wait=True):
            if not folder.is_dir():
                with atomic_path(folder) as temporary:
                    show = None if facts.st_size > _LONG_WORK_BYTES else False
                    for _ in progress_bar(_unpack(archive, temporary), f"unpacking {archive.name}", "MiB", show=show):
                        pass
    return folder


def _unpack(archive: Path, folder: Path) -> Iterator[None]:
    """Unpack all files of an archive into a new folder, about a MiB for each that is asked for."""
    (folder / "files").mkdir(parents=True)
    container = str(container_of(archive))
    if container == "zip":
        _check_room(archive, folder, sum(file.size for _, file in checked_entries(archive, container)))
    for name, file in checked_entries(archive, container):
        _check_room(archive, folder, file.size)
        target, damage = folder / "files" / name, folder / "damaged" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(target, "xb") as handle:
                for piece in _pieces(file, f"{archive}/{name}"):
                    handle.write(piece)
                    yield
        except DamageError as error:
            if container != "zip":  # what follows is lost, too
                raise
            target.unlink()
            damage.parent.mkdir(parents=True, exist_ok=True)
            damage.write_text(error.problem, "utf-8")


def _pieces(file: Entry, where: str) -> Iterator[bytes]:
    left = file.size
    with errors_named(where), file.content() as handle:
        while left:
            piece = handle.read(min(left, _PIECE))
            if not piece:
                raise truncated(where, left)
            left -= len(piece)
            yield piece


def _check_room(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Alos2TutError(
            f"takes {needed:,} bytes unpacked; {free:,} are free in the cache, {cache_folder()}",
            where=archive,
            remedy="Clear it (alos2tut cache --clear), set ALOS2TUT_CACHE to another folder, or unpack it yourself.",
        )


class _ZipReader(io.BufferedReader):
    """A file whose table of contents is refused, not loaded, where it claims gigabytes."""

    #: the table is read while the archive is opened; later reads are of members, which may be long
    is_opening = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_opening and size is not None and size > _LARGEST_TABLE:
            raise zipfile.BadZipFile(f"its table of contents claims {size:,} bytes")
        return super().read(size)


def _zip_entries(path: Path) -> Iterator[Entry]:
    with _ZipReader(io.FileIO(path)) as reader, zipfile.ZipFile(reader) as archive, open(path, "rb") as handle:
        reader.is_opening = False
        size = handle.seek(0, os.SEEK_END)
        for info in archive.infolist():
            handle.seek(info.header_offset)
            header = handle.read(_ZIP_LOCAL_HEADER.size)
            start, flags, crc, name_bytes, extra_bytes = _ZIP_LOCAL_HEADER.unpack(header)
            offset = info.header_offset + _ZIP_LOCAL_HEADER.size + name_bytes + extra_bytes
            if start != _ZIP_MEMBER or offset + info.compress_size > size:
                raise zipfile.BadZipFile(f"its member {info.filename!r} is not where the table of contents says")
            packed = info.compress_type != zipfile.ZIP_STORED
            # old tools of Windows wrote its separator; GDAL, too, takes it for a slash
            name, content = info.orig_filename.replace("\\", "/"), partial(archive.open, info)
            entry = Entry(name, info.file_size, offset, packed, _zip_oddity(info), content)
            if not flags & _CRC_FOLLOWS and crc != info.CRC:
                entry = entry._replace(doubt="its own header states another checksum than the table of contents")
            is_checked = packed or entry.oddity or info.file_size > _HEADER_BYTES  # later, or not at all
            yield entry if is_checked else entry._replace(damage=_damage_of(entry, f"{path}/{name}"))


def _zip_oddity(info: zipfile.ZipInfo) -> str | None:
    mode, stored = info.external_attr >> 16, info.compress_type == zipfile.ZIP_STORED
    if info.flag_bits & _ZIP_ENCRYPTED:
        return "encrypted"
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a device"
    if not stored and info.compress_type != zipfile.ZIP_DEFLATED:
        # GDAL reads no other methods, and some of them claim gigabytes of memory
        return f"packed by method {info.compress_type}, not by deflate (8)"
    if (stored and info.file_size != info.compress_size) or info.file_size > _DEFLATE_RATIO * info.compress_size:
        return f"said to have {info.file_size:,} bytes, packed into {info.compress_size:,}, which is impossible"
    return None


class _TarReader(io.BufferedReader):
    """A tar whose headers are refused, not loaded, where they claim gigabytes."""

    #: tarfile reads headers; members, which may be long, are read by us
    in_headers, bytes_left = True, _MOST_HEADER_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if self.in_headers and size is not None:
            if not 0 <= size <= _LARGEST_EXTENSION:
                raise tarfile.ReadError(f"an extended header of {size:,} bytes")
            self.bytes_left -= size
            if self.bytes_left < 0:
                raise tarfile.ReadError(f"headers of more than {_MOST_HEADER_BYTES:,} bytes")
        return super().read(size)


def _tar_entries(path: Path) -> Iterator[Entry]:
    packed = container_of(path) == "tar.gz"
    raw: Any = gzip.GzipFile(path) if packed else io.FileIO(path)
    with raw, _TarReader(raw) as reader:
        archive = tarfile.TarFile(fileobj=reader, encoding="utf-8", errors="replace")
        for info in archive:
            if info.size < 0 or archive.pax_headers.keys() & {"path", "size"}:
                raise tarfile.ReadError(f"its member {info.name!r} has {info.size:,} bytes")
            name, size = (f"{info.name}/", 0) if info.isdir() else (info.name, info.size)
            reader.in_headers = False
            reader.seek(info.offset_data)
            yield Entry(name, size, info.offset_data, packed, _tar_oddity(info), lambda: nullcontext(reader))
            # tarfile would look one byte back, for which all would be unpacked anew
            reader.seek(archive.offset)
            reader.in_headers = True
        # tarfile takes an archive that was cut for a short one
        reader.seek(archive.offset)
        end = reader.read(tarfile.BLOCKSIZE)
        if len(end) < tarfile.BLOCKSIZE or any(end):
            raise tarfile.ReadError("its end is missing")
        # the checksum of all that was packed comes last, and is compared there
        reader.in_headers = False
        for _ in range(_MOST_PADDING):
            if not packed or not reader.read(_PIECE):
                return
        raise tarfile.ReadError("it goes on after its end")


def _tar_oddity(info: tarfile.TarInfo) -> str | None:
    if info.issparse() or any(key.startswith("GNU.sparse") for key in info.pax_headers):
        return "a sparse file"
    if info.isfile() or info.isdir():
        return None
    return _TAR_ODDITIES.get(info.type, f"of a type ({info.type!r}) that is not known")


def is_rubbish(name: str) -> bool:
    """Whether it is what macOS leaves in folders and archives."""
    *folders, base = name.split("/")
    return "__MACOSX" in folders or base == ".DS_Store" or base.startswith("._")
