"""Deliveries of a few files in folders and archives of all kinds."""

import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from alos2tut.core.errors import Alos2TutError
from alos2tut.products.sources import Delivery, FileSource, find_files

#: one file of more than a megabyte, so that it is read in several pieces
IMAGE = np.random.default_rng(0).integers(0, 40, 1_300_007, dtype=np.uint8).tobytes()


FILES = {"IMG-HH": IMAGE, "LED": b"leader", "summary.txt": b'Scs_SceneID="ALOS2"'}


SMALL = {"IMG-HH": IMAGE[:700], "LED": b"leader"}


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def with_wrong_byte(archive: Path, place: int = 1000) -> Path:
    """The archive, damaged at one byte."""
    data = bytearray(archive.read_bytes())
    data[place] ^= 1
    archive.write_bytes(data)
    return archive


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


#: how a delivery is written, by kind
WRITERS: dict[str, Callable[[Path, Mapping[str, bytes]], Path]] = {
    "folder": lambda folder, files: write_folder(folder / "product", files),
    "stored zip": lambda folder, files: write_zip(folder / "a.zip", files),
    "deflated zip": lambda folder, files: write_zip(folder / "a.zip", files, zipfile.ZIP_DEFLATED),
    "tar": lambda folder, files: write_tar(folder / "a.tar", files),
    "tar.gz": lambda folder, files: write_tar(folder / "a.tar.gz", files, "w:gz"),
    "tgz named .zip": lambda folder, files: write_tar(folder / "a.zip", files, "w:gz"),
    "zip without a suffix": lambda folder, files: write_zip(folder / "delivery", files),
}


KINDS = list(WRITERS)


ARCHIVES = KINDS[1:]


UNPACKED, PACKED = ["folder", "stored zip", "tar"], ["deflated zip", "tar.gz"]


def only_folder(delivery: Delivery) -> Mapping[str, FileSource]:
    (files,) = delivery.folders.values()
    return files


def contents(path: Path) -> dict[str, bytes]:
    """All files of a delivery by full name, read."""
    folders = find_files(path).folders
    return {f"{folder}/{name}": file.read_all() for folder, files in folders.items() for name, file in files.items()}


def travelled(file: FileSource) -> FileSource:
    """The file as another process has it, which must read it from the disk."""
    copy: FileSource = pickle.loads(pickle.dumps(file))
    return copy


def refusal(path: Path) -> str:
    """What is said of a delivery that is refused; it names the file."""
    with pytest.raises(Alos2TutError) as caught:
        contents(path)
    assert path.name in str(caught.value)
    return str(caught.value)
