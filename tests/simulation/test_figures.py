"""The page that validates a simulated scene draws what the check says."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from alos2tut.simulation import figures as simulation_figures
from alos2tut.simulation.scene import Clipped, SimulationCheck, SurfaceCheck


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def surface(name: str, code: int, number: float, **changes: float | None) -> SurfaceCheck:
    """A surface whose numbers all differ, and differ from those of another number."""
    told = {
        "pixels": 5000,
        "table_db": -30.0,
        "asked_db": -10 - number,
        "found_db": -10.3 - number,
        "asked_order": 2 + number,
        "found_order": 2.1 + number,
        "asked_correlation": 0.05 + number / 100,
        "found_correlation": 0.051 + number / 100,
        "enl": None,
    }
    return SurfaceCheck(name, code, **(told | changes))


@pytest.fixture
def check() -> SimulationCheck:
    return SimulationCheck(
        surfaces=(
            surface("sea", 1, 0, asked_order=math.inf, found_order=math.inf, enl=0.97),
            surface("street", 2, 1),
            surface("roof", 2, 2, asked_correlation=math.nan, found_correlation=math.nan),
            surface("grassland", 5, 3),
        ),
        code_shares={1: (0.1, 0.0912), 2: (0.5, 0.5088), 5: (0.4, 0.4), 12: (0.006, 0.0)},
        code_levels_db={1: (-10, -10.3), 2: (-8.25, -8.5), 5: (-13, -13.3)},
        asked_speckle=(1.0, 0.1, 0.05),
        found_speckle=((1.0, 0.11, 0.04), (1.0, 0.09, 0.06)),
        clipped=Clipped(),
    )


def drawn(ax: plt.Axes, filled: bool) -> dict[float, float]:
    """Value by row, of the rings or of the dots."""
    lines = [line for line in ax.lines if (line.get_markerfacecolor() != "none") == filled]
    return {float(line.get_ydata()[0]): float(line.get_xdata()[0]) for line in lines}


def test_every_surface_and_class_stands_in_its_row_asked_and_found(check):
    levels, texture, correlation, looks = simulation_figures.validation(check).axes
    names = [text.get_text() for text in levels.get_yticklabels()]
    assert names == ["water 1", "built-up 2", "street", "roof", "grassland 5"]
    sea, street, roof, grassland = check.surfaces
    by_row = {0: sea, 2: street, 3: roof, 4: grassland}
    for filled, part in ((False, "asked"), (True, "found")):
        level = {row: getattr(surface, f"{part}_db") for row, surface in by_row.items()}
        assert drawn(levels, filled) == {**level, 1: check.code_levels_db[2][filled]}
        order = {row: 1 / getattr(surface, f"{part}_order") for row, surface in by_row.items()}
        assert drawn(texture, filled) == order and order[0] == 0
        related = {row: getattr(by_row[row], f"{part}_correlation") for row in (0, 2, 4)}
        assert drawn(correlation, filled) == related
        assert drawn(looks, filled) == {0: 0.97 if filled else 1.0}


def test_speckle_is_drawn_by_distance_along_both_axes(check):
    [inset] = simulation_figures.validation(check).axes[3].child_axes
    drawn_lines = [(line.get_xdata().tolist(), list(line.get_ydata())) for line in inset.lines]
    assert drawn_lines == [([0, 2.5, 5], list(lags)) for lags in (check.asked_speckle, *check.found_speckle)]


def test_a_looks_panel_shows_what_is_far_from_one(check):
    far = SimulationCheck(**{**vars(check), "surfaces": (surface("sea", 1, 0, enl=1.7),)})
    looks = simulation_figures.validation(far).axes[3]
    assert looks.get_xlim()[1] > 1.7


def test_shares_are_drawn_and_told_in_percent(check):
    [ax] = simulation_figures.shares(check).axes
    rings, dots = (drawn(ax, filled) for filled in (False, True))
    np.testing.assert_allclose([rings[row] for row in range(4)], [10, 50, 40, 0.6])
    np.testing.assert_allclose([dots[row] for row in range(3)], [9.12, 50.88, 40])
    assert [text.get_text() for text in ax.texts] == ["9.1", "50.9", "40.0", "0.0"]
    lines = simulation_figures.shares_table(check).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["1", "water", "10.00", "9.12"],
        ["2", "built-up", "50.00", "50.88"],
    ]
    assert len({len(line) for line in lines}) == 1
