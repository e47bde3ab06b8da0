"""Products and rasters that tests write, and the real files they read."""

from __future__ import annotations

import io
import math
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from support.descriptions import described

from alos2tut.simulation.ceos_writer import write_ceos_product

#: real files, which are not part of the repository
REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real_data(name: str) -> Path:
    """A folder of real files; the test is skipped where they are absent."""
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real files of {name} are not here ({folder})")
    return folder


SCENE_ID = "ALOS2237752900-181018"

TIFF_NAME = f"IMG-HH-{SCENE_ID}-UBSR2.1GUD.tif"

UTM54 = rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)


def write_geotiff(
    path: Path,
    dn: np.ndarray,
    transform: rasterio.Affine | None,
    crs: str | None = "EPSG:32654",
    *,
    dtype: str = "uint16",
    **options: Any,
) -> Path:
    """A Level 2.1 GeoTIFF as JAXA delivers it: one band of uint16 amplitudes, no tags; or another raster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": dtype, "count": 1, "height": dn.shape[0], "width": dn.shape[1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile | {"crs": crs, "transform": transform} | options) as raster:
            raster.write(dn.astype(dtype), 1)
    return path


def amplitudes(shape: tuple[int, int] = (48, 40), seed: int = 0) -> np.ndarray:
    """Digital numbers of which a tenth are no data."""
    draw = np.random.default_rng(seed)
    return np.where(draw.random(shape) < 0.1, 0, draw.integers(1, 65536, shape)).astype(np.uint16)


def complex_numbers(shape: tuple[int, int] = (48, 40), seed: int = 0) -> np.ndarray:
    """Single-look complex numbers of all phases."""
    parts = np.random.default_rng(seed).normal(scale=3000, size=(*shape, 2)).astype(np.float32)
    return parts.view(np.complex64)[..., 0]


def write_ceos(folder: Path, images: Mapping[str, np.ndarray], product_id: str = "UBSR2.1GUD", **changes: Any) -> Path:
    """A CEOS product of these pixels, by polarisation; see ``described`` for what can be changed."""
    values: dict[str, Any] = {
        "scene_id": f"{SCENE_ID[:-6]}{changes.get('center_time', datetime(2018, 10, 18)):%y%m%d}",
        "shape": next(iter(images.values())).shape,
        "center_time": datetime(2018, 10, 18, 3, 4, 5),
        "incidence_deg": 36.3,
        "heading_deg": 190.0,
        "off_nadir_deg": 32.4,
    }
    if "1.1" in product_id:
        values |= {"spacing_m": (2.1, 1.43), "center": (35.2, 139.3)}
    else:
        transform = changes.get("transform", UTM54)
        values |= {"spacing_m": (math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d))}
        values |= {"transform": transform, "utm_zone": 54}
    write_ceos_product(
        folder, described(product_id, **values | changes), {pol: [pixels] for pol, pixels in images.items()}
    )
    return folder


def read_by_gdal(path: Path) -> tuple[np.ndarray, list]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            assert source.driver == "SAR_CEOS"
            return source.read(1), source.gcps[0]


def with_gaps(dn: np.ndarray) -> np.ndarray:
    """Amplitudes as they are read: NaN where there is no data."""
    return np.where(dn == 0, np.float32(np.nan), dn.astype(np.float32))


#: archives that products are delivered in, and whether their members are compressed
ARCHIVES = {"stored.zip": False, "deflated.zip": True, "plain.tar": False, "packed.tar.gz": True}


def archived(folder: Path, archive: Path, inner: str = "") -> Path:
    """All files below a folder in an archive named as one of ``ARCHIVES``; with ``inner``, in that folder of it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = {f"{inner}/{path.relative_to(folder)}".lstrip("/"): path.read_bytes() for path in files}
    if archive.suffix == ".zip":
        method = zipfile.ZIP_DEFLATED if ARCHIVES[archive.name] else zipfile.ZIP_STORED
        with zipfile.ZipFile(archive, "w", method, compresslevel=1) as opened:
            for name, content in members.items():
                opened.writestr(name, content)
        return archive
    options = {"mode": "w:gz", "compresslevel": 1} if ARCHIVES[archive.name] else {"mode": "w"}
    with tarfile.open(archive, **options) as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return archive
