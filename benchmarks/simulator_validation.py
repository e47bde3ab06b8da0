"""Whether a simulated scene is what was asked for: level, texture, correlation, looks and shares.

Every pixel is divided by its expected power, which leaves texture, speckle and noise; their moments give texture order,
looks and correlation. ``python benchmarks/simulator_validation.py`` draws ``docs/simulator_validation.png`` and prints
the table of ``docs/simulator.md``, of the scene of the ``quick`` profile, in a minute.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import ndimage, optimize, stats

from alos2tut import load_config, load_legend, open_product, radiometry, simulate_product
from alos2tut.core.artifacts import read_json
from alos2tut.plotting import BLUE, ORANGE, VERMILION, use_style
from alos2tut.simulation.backscatter import SPACING_M
from alos2tut.simulation.priors import Priors, asked_shares
from alos2tut.simulation.scene import RECIPE, Place, Scene
from alos2tut.speckle import statistics as speckle

LAG, FEWEST, MOST_PX = 2, 2000, 6000
#: normal numbers beyond which the texture's table goes on level
LARGEST = 5.5

ASKED: dict[str, Any] = {
    "marker": "o",
    "markersize": 8.5,
    "markerfacecolor": "none",
    "markeredgecolor": "#222222",
    "linestyle": "none",
}
FOUND: dict[str, Any] = {
    "marker": "o",
    "markersize": 4.5,
    "markerfacecolor": BLUE,
    "markeredgecolor": BLUE,
    "linestyle": "none",
}
OF_CLASS: dict[str, Any] = {
    "markerfacecolor": VERMILION,
    "markeredgecolor": VERMILION,
    "marker": "D",
    "markersize": 4.0,
}


@dataclass(frozen=True)
class SurfaceCheck:
    """One surface of a simulated scene: asked and found.

    Attributes:
        name, code: of the surface.
        pixels: with data.
        table_db: σ0 that the table asks of level ground at the scene's centre.
        asked_db, found_db: mean σ0 without the noise floor, over its pixels as they lie: with their incidence, slopes,
            rows and walls. Where these matter, they differ from the table.
        asked_order, found_order: ν of the texture of a pixel; infinite: none.
        asked_correlation, found_correlation: of the intensity at lag 2 (5 m) along columns, by texture and speckle;
            NaN where there are too few pairs.
        enl: equivalent number of looks, where there is no texture; else None. One is asked.
    """

    name: str
    code: int
    pixels: int
    table_db: float
    asked_db: float
    found_db: float
    asked_order: float
    found_order: float
    asked_correlation: float
    found_correlation: float
    enl: float | None


@dataclass(frozen=True)
class SimulationCheck:
    """A simulated scene against what was asked of it; the numbers behind the validation figure.

    Attributes:
        surfaces: those with enough pixels.
        code_shares: label code → (asked, obtained).
        code_levels_db: label code → (asked, found) mean σ0 over all pixels of its surfaces, without the noise floor.
        asked_speckle, found_speckle: correlation of the intensity at lags 0…4 pixels; found: along columns, along rows,
            on the sea and on inland water. Empty, if there is none.
    """

    surfaces: tuple[SurfaceCheck, ...]
    code_shares: dict[int, tuple[float, float]]
    code_levels_db: dict[int, tuple[float, float]]
    asked_speckle: tuple[float, ...]
    found_speckle: tuple[tuple[float, ...], ...]


def check_simulation(folder: str | Path) -> SimulationCheck:
    """Measure a simulated product against the table it was made from; of a large one the middle.

    Args:
        folder: what :func:`alos2tut.simulate_product` left.
    """
    facts = read_json(Path(folder) / "simulation.json")
    if facts["recipe"] != RECIPE:
        raise SystemExit(f"{folder} was made by {facts['recipe']}, not {RECIPE}: simulate it anew")
    place = Place(*(facts["place"][name] for name in ("utm_zone", "south", "west_m", "south_m")))
    scene = Scene(facts["seed"], *facts["size_px"], facts["season"], place)
    sums, product, half = Sums(scene), open_product(folder), MOST_PX // 2
    rows, cols = (slice(max(n // 2 - half, 0), min(n // 2 + half, n)) for n in (scene.height, scene.width))
    for top in range(rows.start, rows.stop, 1000):
        part = slice(top, min(top + 1000, rows.stop))
        power = product.read_power((top, cols.start, part.stop - top, cols.stop - cols.start))
        sums.add(power, part, cols)
    return SimulationCheck(
        surfaces=tuple(check for number in range(len(scene.priors.names)) if (check := sums.check(number))),
        code_shares={int(code): (share["asked"], share["obtained"]) for code, share in facts["code_shares"].items()},
        code_levels_db=sums.code_levels_db(),
        asked_speckle=tuple(intensity_correlation(np.arange(5), scene.priors).tolist()),
        found_speckle=sums.water_correlation(),
    )


def intensity_correlation(lags: NDArray[Any], priors: Priors) -> NDArray[np.float64]:
    """Correlation of intensities of pure speckle at lags in pixels along an axis."""
    radar = priors.radar
    return speckle_correlation(lags * SPACING_M, radar["resolution_m"], radar["window_pedestal"]) ** 2


class Sums:
    """Moments per surface, added up strip by strip.

    The names: ``pixels`` and, summed over them, ``power`` and ``expected`` power, their ``ratio`` and its ``square``,
    and ``signal``, the squared share of the expected power that is not noise; ``pairs`` of pixels of one surface at
    the lag, and over them the ``product`` of their ratios and of their signals' shares (``shared``).
    """

    _PER_PIXEL = ("pixels", "power", "expected", "ratio", "square", "signal")
    _PER_PAIR = ("pairs", "product", "shared")

    def __init__(self, scene: Scene):
        self._scene = scene
        self._totals = {name: np.zeros(len(scene.priors.names)) for name in self._PER_PIXEL + self._PER_PAIR}
        self._water: list[tuple[int, NDArray[np.float64]]] = []

    def add(self, power: NDArray[Any], rows: slice, cols: slice) -> None:
        """Count the pixels of a strip."""
        priors = self._scene.priors
        ground = self._scene.ground(rows, cols)
        surface = ground.surface
        expected = self._scene.mean_power(ground, rows, cols).astype(np.float64)
        ratio = power / expected
        known = np.isfinite(ratio)
        share = 1 - radiometry.to_power(priors.noise_floor_db) / expected
        self._count(self._PER_PIXEL, surface, known, (1.0, power, expected, ratio, ratio**2, share**2))
        left, right = np.s_[:, :-LAG], np.s_[:, LAG:]
        pairs = known[left] & known[right] & (surface[left] == surface[right])
        values = (1.0, ratio[left] * ratio[right], share[left] * share[right])
        self._count(self._PER_PAIR, surface[left], pairs, values)
        self._add_water(np.where(priors.codes[surface] == 1, ratio, np.nan))

    def _count(
        self, names: tuple[str, ...], surface: NDArray[np.uint8], where: NDArray[np.bool_], values: tuple[Any, ...]
    ) -> None:
        for name, value in zip(names, values, strict=True):
            weights = np.broadcast_to(value, where.shape)[where]
            self._totals[name] += np.bincount(surface[where], weights=weights, minlength=self._totals[name].size)

    def _add_water(self, ratio: NDArray[Any]) -> None:
        still = np.where(ndimage.binary_erosion(np.isfinite(ratio), iterations=2), ratio, np.nan)
        pixels = int(np.isfinite(still).sum())
        if pixels > FEWEST:
            self._water.append((pixels, np.array(speckle.autocorrelation(still, 4))))

    def check(self, number: int) -> SurfaceCheck | None:
        """What was found of a surface; None where there are too few of its pixels."""
        priors, total = self._scene.priors, {name: float(values[number]) for name, values in self._totals.items()}
        if total["pixels"] < FEWEST:
            return None
        mean = {name: total[name] / total["pixels"] for name in self._PER_PIXEL}
        order = float(priors.texture_order[number])
        variance = mean["square"] / mean["ratio"] ** 2 - 1
        # of one look with noise: ⟨r²⟩ = 2 · (1 + (1 − noise)²/ν)
        excess = ((variance + 1) / 2 - 1) / mean["signal"]
        asked, found = self._correlations(number, total, mean, variance)
        return SurfaceCheck(
            name=priors.names[number],
            code=int(priors.codes[number]),
            pixels=int(total["pixels"]),
            table_db=float(priors.sigma0_db[number]),
            asked_db=self._signal_db(mean["expected"]),
            found_db=self._signal_db(mean["power"]),
            asked_order=order,
            found_order=1 / excess if excess > 0 else math.inf,
            asked_correlation=asked,
            found_correlation=found,
            enl=None if math.isfinite(order) else 1 / variance,
        )

    def _signal_db(self, power: float) -> float:
        """dB of a mean power without the noise floor."""
        floor = float(radiometry.to_power(self._scene.priors.noise_floor_db))
        return float(radiometry.to_db(max(power - floor, 0.0)))

    def code_levels_db(self) -> dict[int, tuple[float, float]]:
        """Mean σ0, asked and found, of the label codes with enough pixels."""
        levels = {}
        for code in asked_shares():
            pixels, expected, power = (
                float(self._totals[name][self._scene.priors.codes == code].sum())
                for name in ("pixels", "expected", "power")
            )
            if pixels >= FEWEST:
                levels[code] = self._signal_db(expected / pixels), self._signal_db(power / pixels)
        return levels

    def _correlations(
        self, number: int, total: dict[str, float], mean: dict[str, float], variance: float
    ) -> tuple[float, float]:
        """Correlation at the lag, asked and found: 1 + Cov = (1 + Cov of texture) · (1 + correlation of speckle)."""
        if total["pairs"] < FEWEST:
            return math.nan, math.nan
        priors, distance_m = self._scene.priors, LAG * SPACING_M
        order = float(priors.texture_order[number])
        texture = texture_covariance(order, float(priors.texture_length_m[number]), distance_m)
        grain = float(intensity_correlation(np.array([LAG]), priors)[0])
        covariance = (1 + texture * total["shared"] / total["pairs"]) * (1 + grain) - 1
        found = (total["product"] / total["pairs"] / mean["ratio"] ** 2 - 1) / variance
        return covariance / (1 + 2 * mean["signal"] / order), found

    def water_correlation(self) -> tuple[tuple[float, ...], ...]:
        """Correlation on water at lags 0…4, along columns and along rows, weighted by pixels."""
        if not self._water:
            return ()
        weights, lags = zip(*self._water, strict=True)
        return tuple(tuple(axis.tolist()) for axis in np.average(lags, axis=0, weights=weights))


def texture_covariance(order: float, length_m: float, distance_m: float) -> float:
    """Covariance of gamma texture so far apart: from the normal field's correlation.

    Mapped from a normal field, gamma deviates correlate less than it; summing over both normal numbers gives by how
    much (derived here).
    """
    if not np.isfinite(order):
        return 0.0
    rho = math.exp(-((distance_m / length_m) ** 2))
    nodes = np.linspace(-5.5, 5.5, 111)
    weights = stats.norm.pdf(nodes) / stats.norm.pdf(nodes).sum()

    def texture(normal: NDArray[Any]) -> NDArray[np.float64]:
        inside = np.clip(normal, -LARGEST, LARGEST)
        return np.asarray(stats.gamma.ppf(stats.norm.cdf(inside), order, scale=1 / order))

    other = rho * nodes[:, None] + math.sqrt(1 - rho**2) * nodes[None, :]
    return float(np.sum(weights[:, None] * weights[None, :] * texture(nodes)[:, None] * texture(other)) - 1)


# --- speckle from resolution, spacing and window: its correlation, and the filter that the simulator uses


def bandwidth(resolution_m: float, pedestal: float) -> float:
    """Cycles per metre of a spectrum whose impulse response is so wide at half its power.

    Args:
        resolution_m: that width.
        pedestal: p of the spectral weight p + (1 − p)·cos(2πf/B), |f| < B/2; 1 is none, 0.54 Hamming's.

    Returns:
        B. Without a window it is 0.886 / resolution (derived here by root finding on the transform of the weight).
    """

    def above_half(product: float) -> float:
        amplitude = transform_of(np.array([product / 2, 0.0]), (pedestal, (1 - pedestal) / 2))
        return float((amplitude[0] / amplitude[1]) ** 2 - 0.5)

    return float(optimize.brentq(above_half, 0.5, 2.5)) / resolution_m


def transform_of(product: NDArray[Any], cosines: tuple[float, ...]) -> NDArray[np.float64]:
    """Transform of c₀ + 2·Σ cₖ·cos(2πkf/B) over its band, where ``product`` is B times the distance."""
    shifts = range(1 - len(cosines), len(cosines))
    return np.asarray(sum(cosines[abs(k)] * np.sinc(product - k) for k in shifts))


def speckle_correlation(distance_m: NDArray[Any], resolution_m: float, pedestal: float) -> NDArray[np.float64]:
    """Correlation of the complex speckle field between points so far apart along one axis.

    Of fully developed speckle it is the transform of the squared spectral weight (Wiener and Khinchin); intensities
    correlate by its square (Goodman 1975).

    Args:
        distance_m: any shape.
        resolution_m, pedestal: see :func:`bandwidth`.
    """
    p, q = pedestal, 1 - pedestal
    squared = (p * p + q * q / 2, p * q, q * q / 4)
    product = bandwidth(resolution_m, pedestal) * np.append(np.ravel(distance_m), 0.0)
    values = transform_of(product, squared)
    return np.reshape(values[:-1] / values[-1], np.shape(distance_m))


def speckle_taps(resolution_m: float, spacing_m: float, pedestal: float, reach: int = 7) -> NDArray[np.float32]:
    """A filter that gives white noise the correlation of the speckle field sampled at a spacing.

    The root of the squared weight's spectrum, folded at the sampling rate, gives the endless filter; it is cut at
    ``reach``, and the taps that are left are fitted to the first lags by least squares (derived here).

    Returns:
        (2 · reach + 1,), symmetric, of power 1; rounded to six decimals.
    """
    lags = np.arange(-128, 128)
    correlation = speckle_correlation(lags * spacing_m, resolution_m, pedestal)
    spectrum = np.fft.fft(np.fft.ifftshift(correlation)).real
    start = np.fft.ifft(np.sqrt(np.maximum(spectrum, 0))).real[: reach + 1]
    wanted = correlation[128 : 128 + reach]

    def whole(half: NDArray[Any]) -> NDArray[np.float64]:
        return np.concatenate([half[:0:-1], half])

    def error(half: NDArray[Any]) -> NDArray[np.float64]:
        taps = whole(half)
        return np.asarray(np.correlate(taps, taps, "full")[2 * reach : 3 * reach] - wanted)

    taps = whole(optimize.least_squares(error, start).x)
    return np.asarray(np.round(taps / np.sqrt(np.sum(taps**2)), 6), dtype=np.float32)


# --- the figure


@dataclass(frozen=True)
class Row:
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
        check: from :func:`check_simulation`. Surfaces with too few pixels are not in it; a class
            of which nothing is left has no row.

    Returns:
        One figure of four panels that share their rows, and the speckle's correlation as an inset.
    """
    rows = rows_of(check)
    fig, axes = plt.subplots(
        1, 4, figsize=(12.5, 0.235 * len(rows) + 1.5), sharey=True, width_ratios=(2.1, 1.3, 1.3, 1.7)
    )
    draw_levels(axes[0], check, rows)
    draw_texture(axes[1], rows)
    draw_correlation(axes[2], rows)
    draw_looks(axes[3], rows)
    draw_speckle(axes[3].inset_axes((0.24, 0.10, 0.74, 0.40)), check)
    for ax in axes:
        draw_stripes(ax, rows)
    axes[0].set(ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    axes[0].set_yticklabels([row.name for row in rows])
    for row, text in zip(rows, axes[0].get_yticklabels(), strict=True):
        text.set_weight("bold" if row.is_class else "normal")
        text.set_fontsize(8.8 if row.is_class else 8.2)
    kinds = [
        Line2D([], [], **ASKED, label="asked"),
        Line2D([], [], **FOUND, label="found, surface"),
        Line2D([], [], **{**FOUND, **OF_CLASS}, label="found, label class"),
    ]
    fig.legend(handles=kinds, loc="outside upper center", ncols=3)
    return fig


def rows_of(check: SimulationCheck) -> list[Row]:
    """Classes by code; a class of several surfaces is followed by them."""
    rows = []
    names = class_names()
    for code in sorted({surface.code for surface in check.surfaces} | set(check.code_levels_db)):
        surfaces = [surface for surface in check.surfaces if surface.code == code]
        alone = surfaces[0] if len(surfaces) == 1 else None
        rows.append(Row(f"{names.get(code, '')} {code}", code, True, alone))
        rows += [Row(surface.name, code, False, surface) for surface in surfaces if alone is None]
    return rows


def with_surface(rows: Sequence[Row]) -> Iterable[tuple[int, SurfaceCheck]]:
    """The rows that are surfaces, with their places."""
    return ((place, row.surface) for place, row in enumerate(rows) if row.surface is not None)


def draw_stripes(ax: Axes, rows: Sequence[Row]) -> None:
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


def draw_levels(ax: Axes, check: SimulationCheck, rows: Sequence[Row]) -> None:
    """Mean σ⁰ of surfaces and label classes."""
    for place, row in enumerate(rows):
        if row.surface is not None:
            draw_pair(ax, place, row.surface.asked_db, row.surface.found_db)
        elif row.code in check.code_levels_db:
            draw_pair(ax, place, *check.code_levels_db[row.code], of_class=True)
    ax.set(xlabel="dB", title="mean σ⁰")


def draw_texture(ax: Axes, rows: Sequence[Row]) -> None:
    """Inverse texture order: 0 is none."""
    for place, surface in with_surface(rows):
        draw_pair(ax, place, 1 / surface.asked_order, 1 / surface.found_order)
    ax.set(xlabel="1/ν; 0: none", title="texture order ν")


def draw_correlation(ax: Axes, rows: Sequence[Row]) -> None:
    """Correlation of the intensity at the lag."""
    for place, surface in with_surface(rows):
        if math.isfinite(surface.asked_correlation) and math.isfinite(surface.found_correlation):
            draw_pair(ax, place, surface.asked_correlation, surface.found_correlation)
    ax.set(xlabel="of intensity", title="correlation at 5 m")
    ax.set_xlim(min(0.0, ax.get_xlim()[0]), None)


def draw_looks(ax: Axes, rows: Sequence[Row]) -> None:
    """Equivalent number of looks."""
    for place, surface in with_surface(rows):
        if surface.enl is not None:
            draw_pair(ax, place, 1.0, surface.enl)
    low, high = ax.get_xlim()
    ax.set(
        xlim=(min(low, 0.9), max(high, 1.1)),
        xlabel="only where there is no texture",
        title="equivalent number of looks",
    )


def draw_speckle(ax: Axes, check: SimulationCheck) -> None:
    """Correlation of intensity on water by distance, along both axes."""
    distance_m = SPACING_M * np.arange(len(check.asked_speckle))
    ax.plot(distance_m, check.asked_speckle, **ASKED)
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


def draw_pair(ax: Axes, place: int, asked: float, found: float, *, of_class: bool = False) -> None:
    """A ring for what was asked, a dot in it for what was found."""
    ax.plot(asked, place, **ASKED)
    ax.plot(found, place, **({**FOUND, **OF_CLASS} if of_class else FOUND))


def shares_table(check: SimulationCheck) -> str:
    """Shares asked and obtained in %, as the table of the page."""
    names = class_names()
    lines = ["| class | asked % | obtained % |", "|---|---|---|"]
    for code, (asked, obtained) in sorted(check.code_shares.items()):
        lines.append(f"| {names[code]} | {100 * asked:.2f} | {100 * obtained:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, measure, draw and print."""
    quick = load_config("simulate", "quick")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scene", type=Path, help="a simulated product; left out: that of the quick profile")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "simulator_validation.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = options.scene or simulate_product(Path(folder) / "scene", quick.seed, quick.size_px)
        check = check_simulation(scene)
    use_style()
    figure = validation(check)
    figure.text(0.999, -0.004, "simulated data", ha="right", va="top", fontsize=7, color="0.45", style="italic")
    figure.savefig(options.out, dpi=90)
    print(shares_table(check))


if __name__ == "__main__":
    main()
