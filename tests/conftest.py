"""Fixtures shared by the tests."""

from __future__ import annotations

import csv
import hashlib
import io
import json
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

from alos2tut import simulate_product
from alos2tut.ceos_writer import ProductDescription, write_ceos_product

#: real files, which are not part of the repository
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def write_packed_dataset(
    path: Path,
    *,
    patch_px: int = 32,
    n: int = 12,
    n_held_out: int = 4,
    seed: int = 0,
    classes: int = 3,
    **changes: Any,
) -> Path:
    """A small dataset in the packed form: bright, medium and dark ground with speckle, some missing pixels.

    ``changes`` are other fields of ``dataset.json``; of ``splits`` also in part.
    """
    random = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for store, count in [("pretrain", n), ("val", n_held_out), ("test", n_held_out)]:
        coarse = random.integers(0, classes, (count, patch_px // 8, patch_px // 8))
        labels = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
        db = -4 - 6 * labels.astype(float) + 10 * np.log10(random.gamma(3, 1 / 3, labels.shape))
        rows = np.rint(db * 100).astype(np.int16)[:, None]
        rows[:, :, :3, :5] = -32768
        labels[:, :3, :5] = 255
        np.save(path / f"{store}_db.npy", rows)
        np.save(path / f"{store}_labels.npy", labels)
    lists = [("pretrain", n, 0.0), ("train", n - 2, 0.0), ("val", n_held_out, 1.0), ("test", n_held_out, 2.0)]
    for name, count, south in lists:
        with open(path / f"{name}.csv", "w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["Year", "Row", "West", "South", "East", "North"])
            writer.writerows([[2022, row, row / 10, south, row / 10 + 0.1, south + 0.1] for row in range(count)])
    legend = {
        "name": "toy",
        "source": "made up",
        "classes": [{"name": f"class {c}", "color": [c, 0, 0], "codes": [c + 1]} for c in range(classes)],
        "ignored": [0],
    }
    legend = changes.get("legend", legend)
    names = [land_class["name"] for land_class in legend["classes"]]
    counted = {}
    for name, count, _ in lists:
        labels = np.load(path / f"{'pretrain' if name == 'train' else name}_labels.npy")[:count]
        pixels = np.bincount(labels.ravel(), minlength=256)[: len(names)]
        counted[name] = {"patches": count, "class_pixels": dict(zip(names, map(int, pixels), strict=True))}
    given = changes.pop("splits", {})
    content = {
        "schema": "alos2tut-dataset-2",
        "legend": legend,
        "splits": {name: facts | given.get(name, {}) for name, facts in counted.items()},
        "statistics": {"mean_db": [-11.0], "std_db": [6.0]},
        "patch_px": patch_px,
        "polarizations": ["HH"],
        "quantity": "sigma0",
        "spacing_m": [5.0, 5.0],
        "class_weights": [1 / classes] * classes,
        "settings": {"buffer_m": 1000.0},
        "files": file_facts(path),
        **changes,
    }
    (path / "dataset.json").write_text(json.dumps(content, sort_keys=True))
    return path


def file_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """Bytes and hash of each file, as ``dataset.json`` states them."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "dataset.json"}
    return {name: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for name, b in contents.items()}


@pytest.fixture(scope="session")
def packed_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small packed dataset: 32 px patches, three classes, one polarisation."""
    return write_packed_dataset(tmp_path_factory.mktemp("packed") / "dataset")


def real_data(name: str) -> Path:
    """A folder of real files; the test is skipped where they are absent."""
    folder = REAL_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the real files of {name} are not here ({folder})")
    return folder


@pytest.fixture(scope="session")
def mosaic() -> Path:
    """The real window of the 25 m mosaic: HH, HV, incidence, mask and date."""
    return real_data("palsar2_mosaic_N23W161_2020")


@pytest.fixture(scope="session")
def level15() -> Path:
    """A real Level 1.5 product whose image files were cut after the descriptor."""
    return real_data("palsar2_l15_fbd_headers")


@pytest.fixture(scope="session")
def small_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated product: 512 × 640 pixels of 2.5 m."""
    return simulate_product(tmp_path_factory.mktemp("small") / "scene", seed=1, size_px=(512, 640))


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated product with sea, plain and hills: 1600² pixels of 2.5 m."""
    return simulate_product(tmp_path_factory.mktemp("large") / "scene", seed=2, size_px=1600)


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
    """A CEOS product of these pixels, by polarisation; see ``ProductDescription`` for what can be changed."""
    described: dict[str, Any] = {
        "scene_id": SCENE_ID,
        "product_id": product_id,
        "shape": next(iter(images.values())).shape,
        "center_time": datetime(2018, 10, 18, 3, 4, 5),
        "incidence_deg": 36.3,
        "heading_deg": 190.0,
        "off_nadir_deg": 32.4,
    }
    if "1.1" in product_id:
        described |= {"spacing_m": (2.1, 1.43), "center": (35.2, 139.3)}
    else:
        transform = changes.get("transform", UTM54)
        described |= {"spacing_m": (math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d))}
        described |= {"transform": transform, "utm_zone": 54}
    description = ProductDescription(**(described | changes))
    write_ceos_product(folder, description, {pol: [pixels] for pol, pixels in images.items()})
    return folder


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
