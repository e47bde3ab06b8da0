"""Fixtures shared by the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.datasets import write_packed_dataset
from support.products import real_data

from alos2tut import simulate_product


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compressed archives are not unpacked into the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALOS2TUT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def packed_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small packed dataset: 32 px patches, three classes, one polarisation."""
    return write_packed_dataset(tmp_path_factory.mktemp("packed") / "dataset")


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
