"""Calibrated images of others: rasters of backscatter (GeoTIFF, COG, plain VRT, ENVI)."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import Alos2TutError
from .given import Given
from .product import Product


def has_rasters(path: Path) -> bool:
    """Whether a path is a raster, or a folder with some."""
    return False


def open_images(path: Path, given: Given) -> Product:
    """Open one image, or a folder with one per polarisation.

    Args:
        path: the file or folder.
        given: what the user says of it.

    Raises:
        Alos2TutError: it cannot be read.
    """
    raise Alos2TutError("is a raster, which is not read yet", where=path)
