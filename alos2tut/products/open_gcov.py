"""NISAR's GCOV products (HDF5): γ0 on a map."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import Alos2TutError
from .given import Given
from .product import Product

_START = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5, by how it begins."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(_START)) == _START


def open_gcov(path: Path, given: Given) -> Product:
    """Open a GCOV product.

    Args:
        path: the file.
        given: what the user says of it.

    Raises:
        Alos2TutError: it cannot be read.
    """
    raise Alos2TutError("is HDF5, which is not read yet", where=path)
