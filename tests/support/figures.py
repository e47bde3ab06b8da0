"""Questions to drawn figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_without_warning() -> Iterator[None]:
    """Around a test: whatever it leaves in pyplot is drawn, a warning is an error, and then all is closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # affine 3 would like @ for *
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
    plt.close("all")


def texts(figure: Figure) -> list[str]:
    """All texts of a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def legend_texts(figure: Figure) -> list[str]:
    """The entries of all its legends."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]
