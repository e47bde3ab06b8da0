"""The page that tells whether a simulated scene is what was asked for: level, texture, looks and shares.

Everything is drawn from a :class:`.SimulationCheck`. Asked is an open ring, found is a filled dot;
where they agree, the dot fills the ring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ..dataset.legend import load_legend
from ..plotting import BLUE, GREY, ORANGE, VERMILION
from .scene import SPACING_M, SimulationCheck, SurfaceCheck

_ASKED: dict[str, Any] = {
    "marker": "o",
    "markersize": 8.5,
    "markerfacecolor": "none",
    "markeredgecolor": "#222222",
    "linestyle": "none",
}
_FOUND: dict[str, Any] = {
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": BLUE,
    "markeredgecolor": BLUE,
    "linestyle": "none",
}
_OF_CLASS: dict[str, Any] = {
    "markerfacecolor": VERMILION,
    "markeredgecolor": VERMILION,
    "marker": "D",
    "markersize": 4.0,
}


@dataclass(frozen=True)
class _Row:
    """One line of the page: a label class, or one of several surfaces of a class."""

    name: str
    code: int
    is_class: bool
    surface: SurfaceCheck | None


def class_names() -> dict[int, str]:
    """What the 14 label codes are called."""
    return {code: land_class.name for land_class in load_legend("japan_14").classes for code in land_class.codes}


def validation(check: SimulationCheck) -> Figure:
    """Asked and found, by label class and surface: mean σ0, texture, correlation, looks, and speckle by lag.

    Args:
        check: from :func:`.check_simulation`. Surfaces with too few pixels are not in it; a class
            of which nothing is left has no row.

    Returns:
        One figure of four panels that share their rows, and the speckle's correlation as an inset.
    """
    rows = _rows(check)
    fig, axes = plt.subplots(
        1, 4, figsize=(12.5, 0.235 * len(rows) + 1.5), sharey=True, width_ratios=(2.1, 1.3, 1.3, 1.7)
    )
    _levels(axes[0], check, rows)
    _texture(axes[1], rows)
    _correlation(axes[2], rows)
    _looks(axes[3], rows)
    _speckle_by_lag(axes[3].inset_axes((0.24, 0.10, 0.74, 0.40)), check)
    for ax in axes:
        _stripes(ax, rows)
    axes[0].set(ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    axes[0].set_yticklabels([row.name for row in rows])
    for row, text in zip(rows, axes[0].get_yticklabels(), strict=True):
        text.set_weight("bold" if row.is_class else "normal")
        text.set_fontsize(8.8 if row.is_class else 8.2)
    kinds = [
        Line2D([], [], **_ASKED, label="asked"),
        Line2D([], [], **_FOUND, label="found, surface"),
        Line2D([], [], **{**_FOUND, **_OF_CLASS}, label="found, label class"),
    ]
    fig.legend(handles=kinds, loc="outside upper center", ncols=3)
    return fig


def shares(check: SimulationCheck) -> Figure:
    """Share of the scene by label class, asked and obtained, in % on a logarithmic scale that ends at 0.05."""
    names = class_names()
    codes = sorted(check.code_shares)
    fig, ax = plt.subplots(figsize=(7.2, 0.27 * len(codes) + 1.3))
    for place, code in enumerate(codes):
        asked, obtained = (100 * share for share in check.code_shares[code])
        ax.plot([asked, max(obtained, 0.05)], [place, place], color=GREY, linewidth=1, zorder=1)
        ax.plot(asked, place, **_ASKED)
        ax.plot(max(obtained, 0.05), place, **_FOUND)
        ax.annotate(
            f"{obtained:.1f}",
            (1.0, place),
            (4, 0),
            ("axes fraction", "data"),
            "offset points",
            va="center",
            fontsize=8.5,
        )
    ticks = [0.5, 1, 2, 5, 10, 20]
    ax.set(xscale="log", xlabel="share of the scene (%)", xticks=ticks, xticklabels=map(str, ticks))
    ax.minorticks_off()
    ax.set(yticks=range(len(codes)), yticklabels=[f"{names.get(code, '')} {code}" for code in codes])
    ax.set_ylim(len(codes) - 0.4, -0.6)
    ax.grid(axis="x", color="#e4e4e4", linewidth=0.7)
    ax.set_axisbelow(True)
    kinds = [Line2D([], [], **_ASKED, label="asked"), Line2D([], [], **_FOUND, label="obtained (number)")]
    fig.legend(handles=kinds, loc="outside upper center", ncols=2)
    return fig


def shares_table(check: SimulationCheck) -> str:
    """The same as text: one line per label code with its share asked and obtained, in %."""
    names = class_names()
    width = max(len(name) for name in names.values())
    lines = [f"{'code':>4}  {'class':<{width}}  {'asked %':>8}  {'obtained %':>10}"]
    for code, (asked, obtained) in sorted(check.code_shares.items()):
        lines.append(f"{code:>4}  {names.get(code, ''):<{width}}  {100 * asked:8.2f}  {100 * obtained:10.2f}")
    return "\n".join(lines)


# --- rows


def _rows(check: SimulationCheck) -> list[_Row]:
    """Classes by code; a class of several surfaces is followed by them."""
    rows = []
    names = class_names()
    for code in sorted({surface.code for surface in check.surfaces} | set(check.code_levels_db)):
        surfaces = [surface for surface in check.surfaces if surface.code == code]
        alone = surfaces[0] if len(surfaces) == 1 else None
        rows.append(_Row(f"{names.get(code, '')} {code}", code, True, alone))
        rows += [_Row(surface.name, code, False, surface) for surface in surfaces if alone is None]
    return rows


def _of_surfaces(rows: Sequence[_Row]) -> Iterable[tuple[int, SurfaceCheck]]:
    return ((place, row.surface) for place, row in enumerate(rows) if row.surface is not None)


def _stripes(ax: Axes, rows: Sequence[_Row]) -> None:
    """Every other class on grey, so that the eye stays in its row."""
    codes = sorted({row.code for row in rows})
    for place, row in enumerate(rows):
        if codes.index(row.code) % 2 == 0:
            ax.add_patch(
                Rectangle((0, place - 0.5), 1, 1, transform=ax.get_yaxis_transform(), color="#f1f3f5", zorder=0)
            )
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)


# --- panels


def _levels(ax: Axes, check: SimulationCheck, rows: Sequence[_Row]) -> None:
    for place, row in enumerate(rows):
        if row.surface is not None:
            _pair(ax, place, row.surface.asked_db, row.surface.found_db)
        elif row.code in check.code_levels_db:
            _pair(ax, place, *check.code_levels_db[row.code], of_class=True)
    ax.set(xlabel="dB", title="mean σ⁰")


def _texture(ax: Axes, rows: Sequence[_Row]) -> None:
    for place, surface in _of_surfaces(rows):
        _pair(ax, place, 1 / surface.asked_order, 1 / surface.found_order)
    ax.set(xlabel="1/ν; 0: none", title="texture order ν")


def _correlation(ax: Axes, rows: Sequence[_Row]) -> None:
    for place, surface in _of_surfaces(rows):
        if math.isfinite(surface.asked_correlation) and math.isfinite(surface.found_correlation):
            _pair(ax, place, surface.asked_correlation, surface.found_correlation)
    ax.set(xlabel="of intensity", title="correlation at 5 m")
    ax.set_xlim(min(0.0, ax.get_xlim()[0]), None)


def _looks(ax: Axes, rows: Sequence[_Row]) -> None:
    for place, surface in _of_surfaces(rows):
        if surface.enl is not None:
            _pair(ax, place, 1.0, surface.enl)
    low, high = ax.get_xlim()
    ax.set(
        xlim=(min(low, 0.9), max(high, 1.1)),
        xlabel="only where there is no texture",
        title="equivalent number of looks",
    )


def _speckle_by_lag(ax: Axes, check: SimulationCheck) -> None:
    """Correlation of intensity on water by distance, along both axes."""
    distance_m = SPACING_M * np.arange(len(check.asked_speckle))
    ax.plot(distance_m, check.asked_speckle, **_ASKED)
    for found, color, marker in zip(check.found_speckle, (BLUE, ORANGE), ("o", "x"), strict=False):
        ax.plot(distance_m, found, marker=marker, color=color, markersize=4.5, linestyle="none")
    ax.set_title("speckle on water", fontsize=9)
    ax.set_xlabel("distance (m)", fontsize=8.5)
    ax.set_ylabel("correlation", fontsize=8.5)
    ax.tick_params(labelsize=8)
    kinds = [
        Line2D([], [], marker="o", color=BLUE, markersize=4.5, linestyle="none", label="along columns"),
        Line2D([], [], marker="x", color=ORANGE, markersize=4.5, linestyle="none", label="along rows"),
    ]
    ax.legend(handles=kinds if check.found_speckle else [], fontsize=8, loc="upper right")


def _pair(ax: Axes, place: int, asked: float, found: float, *, of_class: bool = False) -> None:
    ax.plot(asked, place, **_ASKED)
    ax.plot(found, place, **({**_FOUND, **_OF_CLASS} if of_class else _FOUND))
