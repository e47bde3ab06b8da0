"""Folders of PolSARpro: polarimetric matrices as raw rasters with ``config.txt``."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import Alos2TutError
from .given import Given
from .product import Product


def is_polsarpro(path: Path) -> bool:
    """Whether a path is such a folder, or a file in one."""
    folder = path if path.is_dir() else path.parent
    return any((folder / name).is_file() for name in ("config.txt", "T11.bin", "C11.bin", "s11.bin"))


def open_polsarpro(path: Path, given: Given) -> Product:
    """Open a PolSARpro folder.

    Args:
        path: the folder, or a file in it.
        given: what the user says of it.

    Raises:
        Alos2TutError: it cannot be read.
    """
    raise Alos2TutError("is a folder of PolSARpro, which is not read yet", where=path)
