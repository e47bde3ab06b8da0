"""Fixtures shared by the tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from alos2tut import simulate_product

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
    **changes: object,
) -> Path:
    """A small dataset in the packed form: bright, medium and dark ground with speckle, some missing pixels."""
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
    for name, count in [("pretrain", n), ("train", n - 2), ("val", n_held_out), ("test", n_held_out)]:
        with open(path / f"{name}.csv", "w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["Year", "Row"])
            writer.writerows([[2022, row] for row in range(count)])
    legend = {
        "name": "toy",
        "source": "made up",
        "classes": [{"name": f"class {c}", "color": [c, 0, 0], "codes": [c + 1]} for c in range(classes)],
        "ignored": [0],
    }
    content = {
        "schema": "alos2tut-dataset-1",
        "legend": legend,
        "statistics": {"mean_db": [-11.0], "std_db": [6.0]},
        "patch_px": patch_px,
        "polarizations": ["HH"],
        "quantity": "sigma0",
        "spacing_m": [5.0, 5.0],
        "class_weights": [1 / classes] * classes,
        **changes,
    }
    (path / "dataset.json").write_text(json.dumps(content, sort_keys=True))
    return path


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


TIFF_NAME = "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif"


def write_geotiff(path: Path, dn: np.ndarray, transform: rasterio.Affine, crs: str | None = "EPSG:32654") -> Path:
    """A Level 2.1 GeoTIFF as JAXA delivers it: one band of uint16 amplitudes, no tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": dn.shape[0], "width": dn.shape[1]}
    with rasterio.open(path, "w", **profile, crs=crs, transform=transform) as raster:
        raster.write(dn.astype(np.uint16), 1)
    return path
