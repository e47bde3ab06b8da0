"""Filters on a product in blocks: the same as on all of it at once."""

from dataclasses import replace

import numpy as np
import pytest

from alos2tut import Alos2TutError, open_product
from alos2tut.products.filtering import filtered_blocks, nominal_looks
from alos2tut.products.reading import finisher
from alos2tut.speckle.despeckling import FILTERS


@pytest.mark.parametrize("name", ["Lee", "refined Lee"])
@pytest.mark.parametrize("rows", [3, 100, 253])
def test_how_a_product_is_cut_changes_no_bit(small_scene, name, rows):
    product = open_product(small_scene)
    power = replace(
        product._reader("db", (0, 0, 512, 160), None, (2, 2), None),
        finish=finisher("power", product.calibration_factor_db),
    )
    blocks = list(filtered_blocks(power, name, 4.0, 7, "power", rows))
    whole = FILTERS[name](product.read_power((0, 0, 512, 160), looks=2), 4.0, 7)
    assert len(blocks) == -(-256 // rows)
    for window, values in blocks:
        assert np.array_equal(values, whole[window.toslices()], equal_nan=True)


def test_looks_are_those_of_the_product_times_those_that_are_averaged(small_scene):
    product = open_product(small_scene)
    assert nominal_looks(product, (2, 3)) == 6
    product = replace(product, looks=None)
    with pytest.raises(Alos2TutError, match=r"states no looks\. Say how many"):
        nominal_looks(product, (2, 3))
