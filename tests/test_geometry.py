"""Known answers of geometry: affines by corners, incidence by slant range, values along a line."""

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from alos2tut import geometry

RECTANGLE = Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)


def corners_by(transform: Affine, shape: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """Centres of the corner pixels, counted by hand."""
    height, width = shape
    return {
        "top_left": transform * (0.5, 0.5),
        "top_right": transform * (width - 0.5, 0.5),
        "bottom_right": transform * (width - 0.5, height - 0.5),
        "bottom_left": transform * (0.5, height - 0.5),
    }


@pytest.mark.parametrize(
    "turn",
    [Affine.identity(), Affine.rotation(13), Affine.rotation(190) * Affine.scale(1, 3), Affine.shear(10, 3)],
    ids=["north up", "rotated", "upside down, uneven pixels", "sheared"],
)
@pytest.mark.parametrize("shape", [(2, 2), (48, 40), (30_001, 25_000)])
def test_an_affine_is_found_again_by_its_corners(turn, shape):
    transform = RECTANGLE * turn
    found, residual = geometry.affine_from_corners(corners_by(transform, shape), shape)
    # metres, of numbers of seven digits
    np.testing.assert_allclose(tuple(found)[:6], tuple(transform)[:6], rtol=1e-12, atol=1e-8)
    assert residual < 1e-6


def test_a_corner_that_misses_is_shared_out_and_told():
    corners = corners_by(RECTANGLE, (101, 101))
    x, y = corners["top_left"]
    found, residual = geometry.affine_from_corners(corners | {"top_left": (x + 8, y)}, (101, 101))
    # of four corners and three unknowns a quarter of the error is left everywhere
    assert residual == pytest.approx(2)
    assert found * (50.5, 50.5) == pytest.approx(tuple(np.add(RECTANGLE * (50.5, 50.5), (2, 0))))


def test_corner_places_are_pixel_centres_around_the_image():
    assert geometry.corner_places((48, 40)) == corners_by(Affine.identity(), (48, 40))


@pytest.mark.parametrize(
    ("latitude", "expected"),
    # by the ellipsoid's radii of curvature, as in tables of WGS 84
    [(0, (110_574.28, 111_319.49)), (-45, (111_131.78, 78_846.84)), (90, (111_693.98, 0.0))],
)
def test_metres_per_degree(latitude, expected):
    assert geometry.metres_per_degree(latitude) == pytest.approx(expected, abs=0.02)


@given(incidence=st.floats(5, 75), slant_range=st.floats(6e5, 1.5e6))
def test_incidence_comes_back_from_the_satellites_radius(incidence, slant_range):
    radius = geometry.satellite_radius_m(slant_range, incidence)
    assert float(geometry.incidence_by_slant_range_deg(slant_range, radius)) == pytest.approx(incidence, abs=1e-9)


def test_the_triangle_of_earth_radar_and_ground_closes():
    # by hand, by the law of cosines, then of sines
    earth, height, slant_range = 6_371_000.0, 628_000.0, 760_000.0
    at_center = math.acos((earth**2 + (earth + height) ** 2 - slant_range**2) / (2 * earth * (earth + height)))
    expected = math.degrees(math.asin((earth + height) * math.sin(at_center) / slant_range))
    assert expected == pytest.approx(36.16, abs=0.01)
    found = geometry.incidence_by_slant_range_deg([[slant_range]], earth + height)
    assert found.shape == (1, 1) and found[0, 0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_no_point_of_the_earth_is_so_near_or_far():
    assert np.isnan(geometry.incidence_by_slant_range_deg([0.0, 1000.0, 1e9, np.nan, np.inf], 7e6)).all()


def test_values_along_a_line_are_the_parabola_through_three():
    cols = np.arange(101)
    lines = np.stack([3 + 0.5 * cols - 0.01 * cols**2, 800_000 + 7.0 * cols])
    found = geometry.along_line(lines[:, [0, 50, 100]], cols, 101)
    np.testing.assert_allclose(found, lines, rtol=1e-12)
    # the middle of an even number of pixels lies between two of them
    np.testing.assert_allclose(geometry.along_line(np.array([[0.0, 4.5, 9.0]]), [0, 4, 5, 9], 10), [[0, 4, 5, 9]])


def test_whole_numbers_of_a_prefix_do_not_overflow_and_a_line_may_be_one_pixel():
    ends = np.array([[4_000_000_000, 4_000_000_001, 4_000_000_004]], dtype=np.uint32)
    np.testing.assert_allclose(geometry.along_line(ends, [0, 1, 2], 3), [[4e9, 4e9 + 1, 4e9 + 4]], rtol=1e-15)
    assert geometry.along_line(ends, [0], 1) == 4e9


# --- longitudes around the Earth


@given(st.lists(st.floats(-40, 40), min_size=1, max_size=9), st.floats(-180, 180), st.data())
def test_longitudes_of_one_neighbourhood_lie_together_wherever_it_is(offsets, middle, data):
    turns = data.draw(st.lists(st.sampled_from([-360, 0, 360]), min_size=len(offsets), max_size=len(offsets)))
    told = middle + np.array(offsets) + turns
    found = geometry.together(told)
    assert np.ptp(found) == pytest.approx(np.ptp(offsets), abs=1e-9) and -180 <= found.min() < 180 + 1e-9
    np.testing.assert_allclose((found - told + 180) % 360, 180, atol=1e-9)
    mean, latitude = geometry.middle([(longitude, 7.0) for longitude in told])
    assert abs((mean - middle - np.mean(offsets) + 180) % 360 - 180) < 1e-9 and -180 <= mean < 180 and latitude == 7


def test_longitudes_keep_their_last_bit_where_they_need_not_move():
    told = np.array([139.1234567890123, -0.1, 12.3])
    assert (geometry.together(told) == told).all() and (geometry.wrapped(told) == told).all()
    assert geometry.wrapped([180.0, 190.0, -190.0]).tolist() == [-180, -170, 170]
    assert geometry.beside([180.0, -179.0], 179).tolist() == [180, 181]


def test_maps_may_count_longitudes_from_0_to_360():
    assert geometry.on_earth([(190.0, 10.0), (180.0, -90.0)]) == ((-170.0, 10.0), (180.0, -90.0))
    assert geometry.on_earth([(361.0, 10.0)]) == geometry.on_earth([(10.0, 91.0)]) == ()
    assert geometry.on_earth([(np.nan, 1.0)]) == ()
