"""Fixtures of products, each written once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.packagings import PACKAGINGS, image_of, zero_in_lines
from support.products import TIFF_NAME, UTM54, amplitudes, complex_numbers, write_ceos, write_geotiff

from alos2tut import Product, open_product

#: pixels of 100 m, so that incidence varies by more than a degree
COARSE = rasterio.Affine(100, 0, 350_000, 0, -100, 3_900_000)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory) -> Callable[[str], Path]:
    """Folders of the packagings, each written once."""
    written: dict[str, Path] = {}

    def folder(packaging: str) -> Path:
        if packaging not in written:
            written[packaging] = PACKAGINGS[packaging](tmp_path_factory.mktemp("packaging") / "product")
        return written[packaging]

    return folder


@pytest.fixture
def copied(packaged, tmp_path) -> Callable[[str], Path]:
    """Copies of the packagings, to be changed."""
    return lambda packaging: Path(shutil.copytree(packaged(packaging), tmp_path / "product"))


@pytest.fixture(scope="session")
def small(small_scene) -> Product:
    """The simulated product of 512 × 640 pixels."""
    return open_product(small_scene)


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Product:
    """A CEOS product of Level 2.1, 48 × 40 pixels of known numbers."""
    return open_product(write_ceos(tmp_path_factory.mktemp("plain") / "product", {"HH": amplitudes()}))


@pytest.fixture(scope="session")
def slc(tmp_path_factory) -> Product:
    """A CEOS product of Level 1.1 with zeros and numbers that are not finite, two polarisations."""
    first = complex_numbers()
    first[3, 4], first[5, 6], first[7, 8], first[9, 10] = 0, np.nan, complex(np.inf, 1), complex(1, -np.inf)
    images = {"HH": first, "HV": complex_numbers(seed=1)}
    return open_product(write_ceos(tmp_path_factory.mktemp("slc") / "product", images, "UBDR1.1__D"))


@pytest.fixture(scope="session")
def uneven(tmp_path_factory) -> Product:
    """A GeoTIFF of 9 million pixels whose sides no looks divide, with gaps and the largest numbers."""
    draw = np.random.default_rng(3)
    dn = draw.integers(0, 65536, (3001, 3011), dtype=np.uint16)
    dn[draw.random(dn.shape) < 0.4] = 0
    dn[:, :300] = 0
    folder = tmp_path_factory.mktemp("uneven")
    return open_product(write_geotiff(folder / TIFF_NAME, dn, UTM54))


@pytest.fixture(scope="session")
def coarse(tmp_path_factory) -> Product:
    """40 × 150 pixels of 100 m, dark and bright in turns of 37 or 38 columns."""
    dn = np.where(np.arange(150) % 75 < 37, 100, 3000) * np.ones((40, 1), dtype=int)
    dn[:8, :20] = 0
    folder = tmp_path_factory.mktemp("coarse") / "product"
    return open_product(write_ceos(folder, {"HH": dn.astype(np.uint16)}, "WBDR1.5GUD", transform=COARSE))


@pytest.fixture(scope="session")
def centered(tmp_path_factory) -> Product:
    """The product of known numbers, whose lines state no slant range."""
    folder = write_ceos(tmp_path_factory.mktemp("centered") / "product", {"HH": amplitudes()})
    zero_in_lines(image_of(folder), first_byte=65, count=12)
    return open_product(folder)
