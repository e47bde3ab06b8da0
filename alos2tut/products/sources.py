"""Where the bytes of delivered files lie: in a folder, a zip or a tar; read where they are, never extracted to disk.

What an archive states is checked before it is believed: names that lead elsewhere, links, encrypted members, two
members of one name and claims far beyond the archive's size are refused; no table of contents or header fills memory.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError

#: members of an archive; a delivery has about twenty files
_MOST_MEMBERS = 10_000
#: bytes that an archive's members may claim together: so many in any case, so many times its size, never more than
_ALWAYS_ALLOWED, _LARGEST_RATIO, _NEVER_ALLOWED = 2**30, 100, 200 * 2**30
#: bytes that deflate makes of one byte at most
_DEFLATE_RATIO = 1032
#: bytes of a zip's table of contents: 400 per member
_LARGEST_TABLE = 4 * 2**20
#: extended headers (long names, exact times) before one member of a tar, and bytes of each
_MOST_EXTENSIONS, _LARGEST_EXTENSION = 4, 2**16
#: bytes that are read or unpacked at once, and how many such pieces may follow the end of a tar
_PIECE, _MOST_PADDING = 2**20, 64
#: bytes that are kept of the members of a packed tar: small ones whole, of others the beginning; and of all together
_SMALL_MEMBER, _BEGINNING, _MOST_KEPT = 4 * 2**20, 2**16, 64 * 2**20
#: what the parsers of zip, gzip and tar raise where the bytes are not as they should be
_DAMAGE: tuple[type[Exception], ...] = (zipfile.BadZipFile, gzip.BadGzipFile, tarfile.TarError, zlib.error, EOFError)
_DAMAGE += (struct.error, KeyError, OverflowError, RuntimeError, ValueError)
_DOWNLOAD_AGAIN = "Download it again."

_GZIP, _ZIP_MEMBER, _EMPTY_ZIP = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
_ZIP_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ZIP_ENCRYPTED = 0x1 | 0x40
_TAR_PAX, _TAR_LONG_NAME = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE), tarfile.GNUTYPE_LONGNAME
_TAR_EXTENSIONS = (*_TAR_PAX, tarfile.XGLTYPE, _TAR_LONG_NAME, tarfile.GNUTYPE_LONGLINK)
_TAR_ODDITIES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    **dict.fromkeys((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE), "a device"),
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_PAX_RECORD = re.compile(rb"(?:^|\n)\d{1,5} (path|size|GNU\.sparse)(?:\.[^=\n]*)?=([^\n]*)(?=\n)")
#: absolute, with a drive, a backslash, a way upwards or a zero byte, or no name at all
_LEADS_OUT = re.compile(r"/|[A-Za-z]:|.*\\|(.*/)?\.\.(/|$)|.*\0|$", re.DOTALL)


@contextmanager
def _errors_named(where: str | Path) -> Iterator[None]:
    """Say of which file a parser or the system complains."""
    try:
        yield
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise Alos2TutError(f"is damaged or truncated ({reason})", where=where, remedy=_DOWNLOAD_AGAIN) from None
    except OSError as error:
        raise Alos2TutError(f"cannot be read ({error.strerror or error})", where=where) from None


class ByteStream:
    """The bytes of one file in their order; see :meth:`FileSource.stream`. ``position`` counts those passed."""

    def __init__(self, handle: io.RawIOBase | io.BufferedIOBase, where: str | Path, size: int):
        self._handle, self._where, self._size = handle, where, size
        self.position = 0

    def readinto(self, buffer: memoryview | bytearray | NDArray[Any]) -> None:
        """Fill the whole of a writable, C-contiguous buffer of any type with the bytes that come next.

        Raises:
            Alos2TutError: a file that ends before or is damaged.
        """
        target = np.frombuffer(buffer, np.uint8).data
        self._advance(len(target))
        with _errors_named(self._where):
            self._fill(target)

    def read_rows(self, rows: NDArray[np.uint8], places: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        """Fill each row of an array with the bytes from a place on, and leave out those between.

        Args:
            rows: (n, length), writable, each row C-contiguous.
            places: n of them, counted from the file's first byte; they ascend, so that no byte is wanted twice.

        Raises:
            Alos2TutError: a file that ends before or is damaged.
            ValueError: places that go backwards.
        """
        starts, length = np.asarray(places, dtype=np.int64), rows.shape[1]
        gaps = np.diff(starts, prepend=self.position - length) - length
        if gaps.min(initial=0) < 0:
            raise ValueError("a stream goes forwards only")
        self._advance(int(gaps.sum()) + rows.size)
        # a row takes about a microsecond: little else can be done for each
        seek, readinto = self._handle.seek, self._handle.readinto
        with _errors_named(self._where):
            for row, gap in zip(rows, gaps.tolist(), strict=True):
                seek(gap, os.SEEK_CUR)
                filled = readinto(row)
                if filled != length:
                    self._fill(row[filled:].data)

    def _fill(self, target: memoryview) -> None:
        filled = 0
        while filled < len(target):
            count = self._handle.readinto(target[filled : filled + _PIECE])
            if not count:
                raise self._truncated(len(target) - filled)
            filled += count

    def read(self, length: int) -> bytes:
        """The next ``length`` bytes, no fewer; raises as :meth:`readinto` does."""
        buffer = bytearray(length)
        self.readinto(buffer)
        return bytes(buffer)

    def skip(self, length: int) -> None:
        """Leave out the next ``length`` bytes; those of a packed file are unpacked all the same.

        Raises:
            Alos2TutError: a file that ends before or is damaged.
        """
        self._advance(length)
        with _errors_named(self._where):
            self._handle.seek(length, os.SEEK_CUR)

    def _advance(self, length: int) -> None:
        if length < 0:
            raise ValueError(f"a stream goes forwards only, not by {length} bytes")
        self.position += length
        if self.position > self._size:
            raise self._truncated(self.position - self._size)

    def _truncated(self, missing: int) -> Alos2TutError:
        problem = f"is truncated: {missing:,} bytes are missing at its end"
        return Alos2TutError(problem, where=self._where, remedy=_DOWNLOAD_AGAIN)


@dataclass(frozen=True)
class FileSource:
    """One delivered file, in a folder or inside an archive; it holds no handle and travels between processes.

    Attributes:
        name: the base name.
        path: the file on disk that holds the bytes: the file itself, or the archive.
        size: bytes of the (unpacked) file; of a packed one those that the archive claims.
        offset: where the bytes begin in ``path``, packed or not; in a packed tar: where in the tar once unpacked.
        member: the full name inside the archive; None for a plain file.
        packed: whether the bytes are compressed, so that they can be read from the start onwards only.
        container: "zip" or "tar" for a member of an archive.
        head: the first bytes of a packed tar's member, or all of a small one, kept since it was listed: each look at
            them would unpack the tar from its beginning anew. It does not travel between processes.
    """

    name: str
    path: Path
    size: int
    offset: int = 0
    member: str | None = None
    packed: bool = False
    container: str | None = None
    head: bytes = field(default=b"", repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "head": b""}

    @property
    def where(self) -> str:
        """The file for messages: its path, or the archive's and the name inside it."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def gdal_path(self) -> str:
        """What GDAL opens: the path, or one of its virtual paths into archives.

        Set CPL_VSIL_GZIP_WRITE_PROPERTIES to NO meanwhile: GDAL writes a file beside a packed tar otherwise.
        """
        if self.member is None:
            return str(self.path)
        # GDAL goes by the archive's name to see whether a tar is packed, unless it is told
        unpacking = "/vsigzip/" if self.packed and self.container == "tar" else ""
        return f"/vsi{self.container}/{{{unpacking}{self.path}}}/{self.member}"

    def read(self, start: int, length: int) -> bytes:
        """Bytes from ``start`` on: ``length`` of them, or fewer where the file ends.

        Raises:
            Alos2TutError: a file that cannot be read, is damaged, or is shorter than its ``size``.
        """
        length = min(length, self.size - start)
        if length <= 0:
            return b""
        if start + length <= len(self.head):
            return self.head[start : start + length]
        with self.stream(start) as stream:
            return stream.read(length)

    def read_all(self, limit: int = 64 * 2**20) -> bytes:
        """The whole file.

        Raises:
            Alos2TutError: a file of more than ``limit`` bytes, or one that :meth:`read` refuses.
        """
        if self.size > limit:
            raise Alos2TutError(f"has {self.size:,} bytes, at most {limit:,} are expected", where=self.where)
        return self.read(0, self.size)

    @contextmanager
    def stream(self, start: int = 0) -> Iterator[ByteStream]:
        """The bytes from ``start`` on, read step by step through one handle.

        A packed file is unpacked from its beginning as it is read. Its checksum is compared when its end is reached in
        a zip, when it is listed in a tar; members that are not packed are read like plain files, without.

        Raises:
            Alos2TutError: a file that cannot be opened, or ends before ``start``.
        """
        with ExitStack() as handles:
            with _errors_named(self.where):
                handle = self._open(handles)
            stream = ByteStream(handle, self.where, self.size)
            stream.skip(start)
            yield stream

    def _open(self, handles: ExitStack) -> io.RawIOBase | io.BufferedIOBase:
        """A handle at the file's first byte."""
        if self.head and len(self.head) == self.size:
            return io.BytesIO(self.head)
        if self.packed and self.container == "zip":
            archive = handles.enter_context(_open_zip(self.path))
            members = {_plain_name(info.filename): info for info in archive.infolist()}
            opened = handles.enter_context(archive.open(members[str(self.member)]))
            return cast(io.BufferedIOBase, opened)
        handle: io.RawIOBase | io.BufferedIOBase = gzip.GzipFile(self.path) if self.packed else io.FileIO(self.path)
        handles.enter_context(handle)
        handle.seek(self.offset)
        return handle


@dataclass(frozen=True)
class Delivery:
    """The files that a path names.

    Attributes:
        path: as the user named it.
        named: the base name of the file that the user named, if it is one of the files.
        folders: files by folder and base name, both sorted; their paths are absolute. "" is the folder itself, or the
            top of the archive; other folders are inside the archive, by their full name in it. An archive's folder
            holds at least one file.
        archive: the archive, if it is one.
        subfolders: of a folder on disk: the names of the folders in it, which are not searched.
    """

    path: Path
    named: str | None
    folders: Mapping[str, Mapping[str, FileSource]]
    archive: Path | None
    subfolders: tuple[str, ...] = ()


def find_files(path: str | Path) -> Delivery:
    """List what a path names: a folder, a file, an archive, or a file or folder inside an archive.

    Archives (.zip, .tar, .tar.gz) are known by their content. A file brings the files of its folder along, a folder
    inside an archive those of the folders in it. What macOS adds to folders and archives is left out.

    Raises:
        Alos2TutError: nothing of that name; an archive that is damaged, or that holds what no product does: names that
            lead out of it, links, devices, encrypted or sparse members, two members of one name, more than 10,000
            members, or members that claim more than 200 GiB, or more than 1 GiB and 100 times the archive's size.
    """
    path = Path(path)
    with _errors_named(path):
        # a relative path would name another file once the process has gone to another folder
        place = path.absolute()
        if place.is_dir():
            return _folder(path, place, None)
        on_disk = next((parent for parent in (place, *place.parents) if parent.exists()), place.parent)
        container = _container(on_disk) if on_disk.is_file() else None
        if container is None and place.is_file():
            return _folder(path, place.parent, place.name)
    if container is None:
        problem = "is neither a file nor a folder" if on_disk == place else "there is no such file or folder"
        raise Alos2TutError(problem, where=path)
    with _errors_named(on_disk):
        files = _archived_files(on_disk, container)
    return _inside(path, place.relative_to(on_disk), on_disk, files)


def _folder(path: Path, folder: Path, named: str | None) -> Delivery:
    files, subfolders = {}, []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            subfolders.append(entry.name)
        elif entry.is_file() and (entry.name == named or not _is_rubbish(entry.name)):
            files[entry.name] = FileSource(entry.name, entry, entry.stat().st_size)
    return Delivery(path, named, {"": files}, None, tuple(subfolders))


def _inside(path: Path, into: Path, archive: Path, files: Mapping[str, FileSource]) -> Delivery:
    """The files of an archive, or those that the part of the path that leads into it names."""
    inner = "/".join(into.parts)
    named = files[inner].name if inner in files else None
    root = inner if named is None else inner.rpartition("/")[0]
    folders: dict[str, dict[str, FileSource]] = {}
    for member, file in sorted(files.items(), key=lambda item: item[0].rpartition("/")):
        folder = member.rpartition("/")[0]
        if folder == root or (named is None and (not root or folder.startswith(f"{root}/"))):
            folders.setdefault(folder, {})[file.name] = file
    if inner and not folders:
        raise Alos2TutError(f"there is no such file or folder inside {archive.name}", where=path)
    return Delivery(path, named, folders, archive)


def _is_rubbish(name: str) -> bool:
    """Whether it is what macOS leaves in folders and archives."""
    *folders, base = name.split("/")
    return "__MACOSX" in folders or base == ".DS_Store" or base.startswith("._")


def _plain_name(name: str) -> str:
    """A member's name without the ``./`` that some archives, but not GDAL, put before it."""
    return name.removeprefix("./")


class _Entry(NamedTuple):
    """What an archive states of one member; a folder's name ends in "/", ``oddity`` is what no product's file is.

    ``stream`` is where a packed tar is being unpacked: at the member's first byte, until the next one is asked for.
    """

    name: str
    size: int
    offset: int
    packed: bool
    oddity: str | None
    stream: ByteStream | None = None


def _container(path: Path) -> str | None:
    """Whether a file is a "zip" or a "tar", packed or not, by how it begins."""
    with open(path, "rb") as handle:
        start = handle.read(tarfile.BLOCKSIZE)
    if start.startswith((_ZIP_MEMBER, _EMPTY_ZIP)):
        return "zip"
    try:
        return "tar" if start.startswith(_GZIP) or tarfile.TarInfo.frombuf(start, "utf-8", "replace") else None
    except (tarfile.HeaderError, ValueError):
        return None


def _archived_files(archive: Path, container: str) -> dict[str, FileSource]:
    """The files of an archive by their full name, once all that it states was checked."""
    size = archive.stat().st_size
    allowed = min(max(_ALWAYS_ALLOWED, _LARGEST_RATIO * size), _NEVER_ALLOWED)
    files: dict[str, FileSource] = {}
    claimed, room, problem = 0, _MOST_KEPT, None
    for count, entry in enumerate(_zip_entries(archive) if container == "zip" else _tar_entries(archive), start=1):
        name = _plain_name(entry.name)
        claimed += entry.size
        if count > _MOST_MEMBERS:
            problem = f"it has more than {_MOST_MEMBERS:,} members"
        elif _LEADS_OUT.match(entry.name):
            problem = f"its member {entry.name!r} is named so that it could lie outside the archive"
        elif entry.oddity:
            problem = f"its member {entry.name!r} is {entry.oddity}"
        elif claimed > allowed:
            problem = f"of {size:,} bytes, its members claim {claimed:,} (up to {entry.name!r})"
        elif name in files:
            problem = f"it has two members {entry.name!r}"
        if problem:
            raise Alos2TutError(problem, where=archive, remedy="No product comes like this: it is not opened.")
        base = name.rpartition("/")[2]
        if base and not _is_rubbish(name):
            length = entry.size if entry.size <= _SMALL_MEMBER else _BEGINNING
            head = entry.stream.read(length) if entry.stream and length <= room else b""
            room -= len(head)
            files[name] = FileSource(base, archive, entry.size, entry.offset, name, entry.packed, container, head)
    return files


class _ZipReader(io.BufferedReader):
    """A file whose table of contents is refused, not loaded, where it claims gigabytes."""

    #: the table is read while the archive is opened; later reads are of members, which may be long
    is_opening = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_opening and size is not None and size > _LARGEST_TABLE:
            raise zipfile.BadZipFile(f"its table of contents claims {size:,} bytes")
        return super().read(size)


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with _ZipReader(io.FileIO(path)) as handle, zipfile.ZipFile(handle) as archive:
        handle.is_opening = False
        yield archive


def _zip_entries(path: Path) -> Iterator[_Entry]:
    with _open_zip(path) as archive, open(path, "rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        for info in archive.infolist():
            handle.seek(info.header_offset)
            start, name_bytes, extra_bytes = _ZIP_LOCAL_HEADER.unpack(handle.read(_ZIP_LOCAL_HEADER.size))
            offset = info.header_offset + _ZIP_LOCAL_HEADER.size + name_bytes + extra_bytes
            if start != _ZIP_MEMBER or offset + info.compress_size > size:
                raise zipfile.BadZipFile(f"its member {info.filename!r} is not where the table of contents says")
            packed = info.compress_type != zipfile.ZIP_STORED
            yield _Entry(info.orig_filename, info.file_size, offset, packed, _zip_oddity(info))


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


def _tar_entries(path: Path) -> Iterator[_Entry]:
    """Walk the headers of a tar; a packed one is unpacked on the way, piece by piece.

    tarfile's own walk loads extended headers of any size, and takes an archive that was cut for a short one.
    """
    with open(path, "rb") as handle:
        packed = handle.read(len(_GZIP)) == _GZIP
    with gzip.GzipFile(path) if packed else io.FileIO(path) as tar:
        stream = ByteStream(tar, path, sys.maxsize)
        while any(block := stream.read(tarfile.BLOCKSIZE)):
            header, stated = tarfile.TarInfo.frombuf(block, "utf-8", "replace"), dict[bytes, bytes]()
            for _ in range(_MOST_EXTENSIONS):
                if header.type in _TAR_EXTENSIONS:
                    stated |= _tar_extension(header, stream)
                    header = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "replace")
            entry, start = _tar_entry(header, stated, stream.position, packed), stream.position
            yield entry._replace(stream=stream if packed else None)
            stream.skip(start + _whole_blocks(entry.size) - stream.position)
        # the checksum of all that was packed comes last, and is compared there
        for _ in range(_MOST_PADDING):
            if not packed or not tar.read(_PIECE):
                return
        raise tarfile.ReadError("it goes on after its end")


def _whole_blocks(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _tar_extension(header: tarfile.TarInfo, stream: ByteStream) -> dict[bytes, bytes]:
    """What an extended header states of the member that follows: its path, its size, or that it is sparse."""
    if not 0 <= header.size <= _LARGEST_EXTENSION:
        raise tarfile.ReadError(f"an extended header of {header.size:,} bytes")
    text = stream.read(_whole_blocks(header.size))
    if header.type == _TAR_LONG_NAME:
        return {b"path": text.partition(b"\0")[0]}
    return dict(_PAX_RECORD.findall(text)) if header.type in _TAR_PAX else {}


def _tar_entry(header: tarfile.TarInfo, stated: Mapping[bytes, bytes], offset: int, packed: bool) -> _Entry:
    name = stated[b"path"].decode("utf-8", "replace") if b"path" in stated else header.name
    size = int(stated.get(b"size", header.size))
    if header.isdir():
        name, size = f"{name.rstrip('/')}/", 0
    if size < 0:
        raise tarfile.ReadError(f"its member {name!r} has {size:,} bytes")
    oddity = _TAR_ODDITIES[tarfile.GNUTYPE_SPARSE] if b"GNU.sparse" in stated else _TAR_ODDITIES.get(header.type)
    if oddity is None and header.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE):
        oddity = f"of a type ({header.type!r}) that is not known"
    return _Entry(name, size, offset, packed, oddity)
