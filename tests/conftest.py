"""Settings and fixtures shared by the tests."""

from __future__ import annotations

import os

# Whatever is set around them, the tests and the processes that they start compute on one thread each: `make test` runs
# several of them side by side. OpenMP reads this when torch is first imported, OpenBLAS when NumPy is.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.airsar import fetch_airsar
from support.packed import write_packed_dataset
from support.products import real_data

from alos2tut import simulate_product
from alos2tut.core.parallel import cores

# neither are they one process of several, nor is a kernel told where to draw
for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GOMP_SPINCOUNT", "MPLBACKEND"):
    os.environ.pop(name, None)

# the suite tries the same examples every time; `make soak` others, and fifty times as many
settings.register_profile(
    "suite", derandomize=True, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
settings.register_profile("soak", settings.get_profile("suite"), derandomize=False, max_examples=5000)
settings.load_profile("suite")

#: files that take longest: `make test` gives each file to one worker, which makes its fixtures once, and these first
LONGEST = ("test_notebooks.py", "test_own_data.py", "test_published_weights.py", "test_processes.py", "test_kills.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core: two at least, since many tests wait for others, and four at most, for the memory."""
    return min(max(2, cores()), 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let no worker begin with what takes long when the others are nearly done."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compressed archives are not unpacked into the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALOS2TUT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


#: of a floor
FEW = {"TREES": 4, "TREES_TO_CHOOSE": 1, "PIXELS": 500}
#: what kernels run before any cell
KERNEL_START = f"""
import sys as _sys

def _few_trees(*_):
    if forest := _sys.modules.get("alos2tut.evaluation.forest"):
        vars(forest).update({FEW})

get_ipython().events.register("pre_run_cell", _few_trees)
"""


@pytest.fixture(scope="session", autouse=True)
def _few_trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A floor of few trees stands beside scores, in notebooks, too; as it is, it takes longer than the networks."""
    startup = tmp_path_factory.mktemp("ipython") / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "few_trees.py").write_text(KERNEL_START, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(startup.parents[1]))
        for name, number in FEW.items():
            patch.setattr(f"alos2tut.evaluation.forest.{name}", number)
        yield


@pytest.fixture(scope="session")
def packed_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small packed dataset: 32 px patches, three classes, one polarisation."""
    return write_packed_dataset(tmp_path_factory.mktemp("packed") / "dataset")


@pytest.fixture(scope="session")
def airsar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``data`` with ``airsar_sanfrancisco`` and ``airsar_flevoland`` as ``alos2tut fetch`` leaves them."""
    return fetch_airsar(tmp_path_factory.mktemp("fetched") / "data")


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
