"""Questions to drawn figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from alos2tut import plotting


def drawn_without_warning() -> Iterator[None]:
    """Around a test: whatever it leaves in pyplot is drawn, a warning is an error, and then all is closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # affine 3 would like @ for *
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
            check_style(plt.figure(number))
    plt.close("all")


def check_style(figure: Figure) -> None:
    """Letters are of 8 points at least as figures are shown; colour bars are named, and as long as their images."""
    shrunk = min(1, plotting.SHOWN_INCHES / figure.get_figwidth())
    small = {t.get_text(): t.get_size() * shrunk for t in figure.findobj(Text) if t.get_text() and t.get_visible()}
    assert {text: size for text, size in small.items() if size < 7.99} == {}
    for bar in (ax._colorbar for ax in figure.findobj(Axes) if hasattr(ax, "_colorbar")):
        assert bar.ax.get_ylabel() or bar.ax.get_xlabel()
        images = bar.ax._colorbar_info["parents"]
        place, beside = bar.ax.get_window_extent(), Bbox.union([ax.get_window_extent() for ax in images])
        if bar.orientation == "vertical":
            assert (place.y0, place.y1) == pytest.approx((beside.y0, beside.y1), abs=1)
        else:
            assert (place.x0, place.x1) == pytest.approx((beside.x0, beside.x1), abs=1)


def texts(figure: Figure) -> list[str]:
    """All texts of a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def legend_texts(figure: Figure) -> list[str]:
    """The entries of all its legends."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]
