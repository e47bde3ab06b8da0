"""Fixtures of the tests of maps."""

import pytest
from support.maps import OPTIONS, layers, map_scene, write_product, write_segmenter


@pytest.fixture(scope="package")
def to_map(tmp_path_factory):
    """A product with holes, a segmenter's file, and the map of one by the other in one go, as bytes by layer."""
    folder = tmp_path_factory.mktemp("to map")
    product = write_product(folder, (701, 503), seed=4, holes=True)
    segmenter = write_segmenter(folder / "s.safetensors")
    return product, segmenter, layers(map_scene(product, segmenter, folder / "map.tif", **OPTIONS))
