"""Where the bytes of delivered files lie: in a folder, a zip or a tar.

Archives whose members are stored as they are are read in place, compressed ones in the cache (:mod:`.archives`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError
from .archives import (
    DOWNLOAD_AGAIN,
    DamageError,
    checked_entries,
    container_of,
    errors_named,
    is_rubbish,
    truncated,
    unpacked,
    unpacked_file,
)


class OpenFile:
    """The bytes of one file, from any place; see :meth:`FileSource.opened`."""

    def __init__(self, handle: io.FileIO, source: FileSource):
        self._handle, self._source = handle, source

    def readinto(self, buffer: memoryview | bytearray | NDArray[Any], start: int) -> None:
        """Fill the whole of a writable, C-contiguous buffer of any type with the bytes from ``start`` on.

        Raises:
            Alos2TutError: a file that ends before, or cannot be read.
        """
        target = np.frombuffer(buffer, np.uint8).data
        self._check_end(start + len(target))
        with errors_named(self._source.where):
            self._handle.seek(self._source.offset + start)
            while len(target):
                count = self._handle.readinto(target)
                if not count:
                    raise truncated(self._source.where, len(target))
                target = target[count:]

    def read_rows(self, rows: NDArray[np.uint8], starts: NDArray[np.integer[Any]]) -> None:
        """Fill each row of an array with the bytes from a place on.

        Args:
            rows: (n, length), writable, each row C-contiguous.
            starts: n places, counted from the file's first byte.

        Raises:
            Alos2TutError: as :meth:`readinto`.
        """
        length = rows.shape[1]
        self._check_end(int(starts.max(initial=-length)) + length)
        # a row takes about a microsecond: little else can be done for each
        seek, readinto = self._handle.seek, self._handle.readinto
        with errors_named(self._source.where):
            for row, start in zip(rows, (starts + self._source.offset).tolist(), strict=True):
                seek(start)
                filled = readinto(row)
                if filled != length:
                    raise truncated(self._source.where, length - filled)

    def _check_end(self, end: int) -> None:
        if end > self._source.size:
            raise truncated(self._source.where, end - self._source.size)


@dataclass(frozen=True)
class FileSource:
    """One delivered file, in a folder or inside an archive; it holds no handle and travels between processes.

    Attributes:
        name: the base name.
        path: the file as it was delivered: itself, or the archive.
        size: bytes of the (unpacked) file.
        offset: where the bytes begin in :meth:`on_disk`.
        member: the full name inside the archive; None for a plain file.
        container: "zip" or "tar", if its archive is read in place; None where its files are in the cache.
        damage: what is wrong with it, if that is known: it is not read.
    """

    name: str
    path: Path
    size: int
    offset: int = 0
    member: str | None = None
    container: str | None = None
    damage: str | None = None

    @property
    def where(self) -> str:
        """The file for messages: its path, or the archive's and the name inside it."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def on_disk(self) -> Path:
        """The file that holds the bytes; a compressed archive is unpacked for that, if it is not in the cache.

        Raises:
            Alos2TutError: a damaged file or archive, or one that does not fit onto the disk.
        """
        if self.damage:
            raise DamageError(self.damage, where=self.where, remedy=DOWNLOAD_AGAIN)
        if self.member is None or self.container:
            return self.path
        with errors_named(self.where):
            return unpacked_file(self.path, self.member)

    @property
    def gdal_path(self) -> str:
        """What GDAL opens: the path, or one of its virtual paths into archives; it raises as :meth:`on_disk`."""
        if self.container:
            return f"/vsi{self.container}/{{{self.on_disk()}}}/{self.member}"
        # a relative path may look like an address, as in "file:x.tif"
        return str(self.on_disk().absolute())

    def read(self, start: int, length: int) -> bytes:
        """Bytes from ``start`` on: ``length`` of them, or fewer where the file ends.

        Raises:
            Alos2TutError: a file that cannot be read, is damaged, or is shorter than its ``size``.
        """
        buffer = bytearray(max(min(length, self.size - start), 0))
        if buffer:
            with self.opened() as file:
                file.readinto(buffer, start)
        return bytes(buffer)

    def read_all(self, limit: int = 64 * 2**20) -> bytes:
        """The whole file.

        Raises:
            Alos2TutError: a file of more than ``limit`` bytes, or one that :meth:`read` refuses.
        """
        if self.size > limit:
            raise Alos2TutError(f"has {self.size:,} bytes, at most {limit:,} are expected", where=self.where)
        return self.read(0, self.size)

    @contextmanager
    def opened(self) -> Iterator[OpenFile]:
        """The file for reading at several places through one handle.

        Raises:
            Alos2TutError: a file that cannot be opened; or as :meth:`on_disk`.
        """
        path = self.on_disk()
        with errors_named(self.where):
            handle = io.FileIO(path)
        with handle:
            yield OpenFile(handle, self)


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
    with errors_named(path):
        # a relative path would name another file once the process has gone to another folder
        place = path.absolute()
        if place.is_dir():
            return _folder(path, place, None)
        on_disk = next((parent for parent in (place, *place.parents) if parent.exists()), place.parent)
        container = container_of(on_disk) if on_disk.is_file() else None
        if container is None and place.is_file():
            return _folder(path, place.parent, place.name)
    if container is None:
        problem = "is neither a file nor a folder" if on_disk == place else "there is no such file or folder"
        raise Alos2TutError(problem, where=path)
    with errors_named(on_disk):
        files = _archived_files(on_disk, container)
    return _inside(path, place.relative_to(on_disk), on_disk, files)


def find_file(path: str | Path) -> FileSource:
    """One file, in a folder or inside an archive; errors as of :func:`find_files`."""
    delivery = find_files(path)
    if delivery.named is None:
        raise Alos2TutError("is a folder or an archive, not a file", where=path)
    return next(files[delivery.named] for files in delivery.folders.values() if delivery.named in files)


def _folder(path: Path, folder: Path, named: str | None) -> Delivery:
    files, subfolders = {}, []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            subfolders.append(entry.name)
        elif entry.is_file() and (entry.name == named or not is_rubbish(entry.name)):
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


def _archived_files(archive: Path, container: str) -> dict[str, FileSource]:
    """The files of an archive by their full name, once all that it states was checked."""
    if container == "tar.gz":  # to list it means to unpack it
        folder = unpacked(archive) / "files"
        paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        return {name: FileSource(path.name, archive, path.stat().st_size, 0, name) for name, path in paths.items()}
    files = dict(checked_entries(archive, container))
    # if one member is compressed, all are unpacked
    read_in = None if any(file.packed for file in files.values()) else container
    return {
        name: FileSource(
            name.rpartition("/")[2], archive, file.size, file.offset if read_in else 0, name, read_in, file.damage
        )
        for name, file in files.items()
    }
