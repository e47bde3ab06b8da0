"""How backscatter is stored: hundredths of decibels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alos2tut.dataset.encoding import NO_DATA, STEPS_PER_DB, decode_db, encode_db, same_spacing


@given(st.lists(st.floats(-300, 300, width=32) | st.just(float("nan")), min_size=1))
def test_decibels_survive_the_store_to_half_a_step(values):
    db = np.array(values, dtype=np.float32)
    rows = encode_db(db)
    assert rows.dtype == np.int16 and decode_db(rows).dtype == np.float32
    np.testing.assert_allclose(decode_db(rows), db, atol=0.0051)
    np.testing.assert_array_equal(rows == NO_DATA, np.isnan(db))


def test_a_step_of_the_store_is_a_hundredth_of_a_decibel():
    assert encode_db(np.array([-12.34])).tolist() == [round(-12.34 * STEPS_PER_DB)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(5, (5.0, 5.0), True, id="a number and a pair"),
        pytest.param((24.607, 22.938), (24.6, 23.9), True, id="degrees elsewhere"),
        pytest.param((5, 5), (5, 5.3), False, id="one axis apart"),
        pytest.param(2.5, 5.0, False, id="twice"),
        pytest.param(5, float("nan"), False, id="unknown"),
    ],
)
def test_pixel_sizes_are_compared_with_one_tolerance(one, other, same):
    assert same_spacing(one, other) == same_spacing(other, one) == same


def test_decibels_beyond_the_store_are_clipped_and_not_missing():
    assert encode_db(np.array([-np.inf, -400, 400, np.inf])).tolist() == [-32767, -32767, 32767, 32767]
