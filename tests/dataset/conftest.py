"""Datasets that several test files share."""

from pathlib import Path

import numpy as np
import pytest
from support.datasets import build, labels_of, shifted_copy
from support.products import TIFF_NAME, write_geotiff

from alos2tut import Alos2TutError, open_dataset, open_product, simulate_product
from alos2tut.dataset.store import PatchDataset


@pytest.fixture(scope="session")
def dataset(scene, tmp_path_factory) -> PatchDataset:
    """A dataset of one simulated product."""
    work = tmp_path_factory.mktemp("work")
    return open_dataset(build(products=scene, labels=labels_of(scene), work_dir=work))


@pytest.fixture(scope="session")
def dual(small_scene, tmp_path_factory) -> Path:
    """The folder of a GeoTIFF product with HH, and HV at half the amplitude."""
    product = open_product(small_scene)
    dn = np.nan_to_num(product.read_dn())
    folder = tmp_path_factory.mktemp("dual")
    for polarization, factor in [("HH", 1.0), ("HV", 0.5)]:
        name = TIFF_NAME.replace("-HH-", f"-{polarization}-")
        write_geotiff(folder / name, np.rint(dn * factor), product.transform, crs=None)
    return folder


@pytest.fixture
def refused(small_scene, tmp_path):
    """Build from the small scene with these settings: refused, and nothing is left."""

    def refuse(**settings: object) -> str:
        given = {"products": small_scene, "labels": labels_of(small_scene), "block_m": 320, "patch_px": 16, **settings}
        with pytest.raises(Alos2TutError) as error:
            build(work_dir=tmp_path / "work", **given)
        # what was seen of the products is all that may stay
        assert not [path for path in tmp_path.glob("work/*") if path.name != "surveys"]
        return str(error.value)

    return refuse


@pytest.fixture(scope="session")
def trio(small_scene, tmp_path_factory) -> dict[str, object]:
    """Settings of an archive of three products: one ground in autumn, in winter, and a shifted copy of it."""
    folder = tmp_path_factory.mktemp("trio")
    winter = simulate_product(folder / "winter", seed=1, size_px=(512, 640), season="winter")
    products = (small_scene, winter, shifted_copy(small_scene, folder / "copy"))
    return {"products": products, "labels": labels_of(small_scene), "patch_px": 16, "block_m": 320, "workers": 1}
