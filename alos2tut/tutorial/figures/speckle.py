"""The figures of notebook 1: what a pixel means, how speckle behaves, what filters and losses make of it.

Power is linear, (H, W), NaN where there is no data. Colours are those of :mod:`alos2tut.plotting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray
from scipy import special

from ... import plotting, radiometry
from ...plotting import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, Window
from ...products.product import Product
from ...speckle import despeckling, laws
from ...speckle import statistics as speckle
from ...speckle.areas import Area, areas_by_variation, homogeneous_areas

FloatArray = NDArray[np.floating[Any]]

#: side of the windows in which texture is measured
_TEXTURE_PX = 16
#: sides of averaged pixels; well below the blocks by whose means even ground is chosen
_AVERAGED_PX = (1, 2, 4)
#: levels in dB of the fields above left in the chart; neighbours differ by 2 to 16 dB
_FIELDS_DB = np.array(
    [[-20.0, -4.0, -14.0, -8.0], [-10.0, -16.0, -6.0, -18.0], [-5.0, -12.0, -20.0, -7.0], [-15.0, -9.0, -11.0, -4.0]]
)


def most_varied_window(product: Product) -> Window:
    """The window, a sixth of the product's height and width, in which averaged backscatter varies most in dB.

    It counts how much it varies over the window, times how much it does from pixel to pixel of a small picture.
    Windows with missing pixels are passed over unless all have some.
    """

    def variety(part: FloatArray) -> tuple[int, float]:
        steps = np.abs(np.diff(part, axis=1))
        known, steps = part[np.isfinite(part)], steps[np.isfinite(steps)]
        return known.size, float(known.std() * steps.mean()) if steps.size else 0.0

    looks = max(1, math.ceil(max(product.shape) / 400))
    db = product.read_db(looks=looks)
    row, col, *_ = plotting.best_window(db, (max(db.shape[0] // 6, 1), max(db.shape[1] // 6, 1)), variety)
    # full-resolution pixels, on a lattice of eight, so that looks up to that start at the same pixel
    return row * looks // 8 * 8, col * looks // 8 * 8, product.shape[0] // 6, product.shape[1] // 6


def widened(window: Window, shape: tuple[int, int]) -> Window:
    """At most 3072 × 3072 pixels of an image of that shape, around a window, or as near as the edges allow."""
    sides = [min(3072, n) for n in shape]
    starts = [min(max(window[i] + window[i + 2] // 2 - sides[i] // 2, 0), shape[i] - sides[i]) // 8 * 8 for i in (0, 1)]
    return starts[0], starts[1], sides[0], sides[1]


def middle_of(window: Window) -> Window:
    """The square in the middle of a window, of at most 256 pixels a side."""
    side = min(256, *window[2:])
    return window[0] + (window[2] - side) // 2, window[1] + (window[3] - side) // 2, side, side


def kinds_of_ground(power: FloatArray, size: int) -> dict[str, Area]:
    """Three windows of ``size`` × ``size`` pixels: the most even one, and by their CV a typical and a mixed one."""
    ranked = areas_by_variation(power, size)
    even = homogeneous_areas(power, size)[0]
    return {"most even": even, "typical": ranked[len(ranked) // 2], "mixed": ranked[len(ranked) * 19 // 20]}


def as_numbers(product: Product, window: Window) -> str:
    """The pixels of a small window as they are stored and in dB, with what leads from one to the other."""
    dn, db = product.read_dn(window), product.read_db(window).round(2)
    if product.calibration_factor_db:
        return f"digital numbers\n{dn}\nin dB: 20·log10(DN) {product.calibration_factor_db:+g} dB\n{db}"
    return f"amplitudes, whose square is {plotting.symbol(product.quantity)}\n{dn}\nin dB: 20·log10(amplitude)\n{db}"


def amplitude_power_db(product: Product, window: Window) -> Figure:
    """One window as amplitude, power and dB, each over its histogram: why SAR images are shown in dB."""
    power = product.read_power(window)
    quantity, amplitude = plotting.symbol(product.quantity), product.read_dn(window).astype(float)
    # calibrated images hold no digital numbers: their amplitude is the root of power itself
    as_dn = ("amplitude: digital numbers", amplitude / 1000, "DN / 1000", " ∝ DN²")
    title, amplitude, label, law = as_dn if product.calibration_factor_db else ("amplitude", amplitude, "√power", "")
    scales: dict[str, tuple[FloatArray, str]] = {
        title: (amplitude, label),
        f"power: {quantity}{law}": (power, f"{quantity} (linear)"),
        f"decibels: 10 log₁₀ {quantity}": (radiometry.to_db(power), plotting.db_label(product.quantity)),
    }
    fig, axes = plt.subplots(2, 3, figsize=(10.8, 5.0), height_ratios=(2, 1))
    for (top, bottom), (title, (values, label)) in zip(axes.T, scales.items(), strict=True):
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [0.5, 99.5]) if known.size else (0.0, 1.0)
        image = plotting.draw_grey(top, values, plotting.extent_of(product, window), {"vmin": low, "vmax": high})
        plotting.map_axes(top, product, label_y=top is axes[0, 0])
        top.tick_params(axis="x", rotation=30)
        top.tick_params(labelleft=top is axes[0, 0])
        top.set_title(title)
        plotting.color_bar(image, top, label)
        bottom.hist(known, bins=np.linspace(low, high, 70), color=SKY)
        bottom.set(xlabel=label, yticks=[])
        bottom.locator_params(axis="x", nbins=5)
    axes[1, 0].set_ylabel("pixels")
    return fig


def reference_areas(incidence_deg: float | None) -> Figure:
    """β⁰, σ⁰ and γ⁰: one echo over three areas, and what lies between them at every incidence angle.

    ``incidence_deg`` is marked; None, where the product knows none, marks nothing.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.9), width_ratios=(1.15, 1))
    _draw_areas(left, math.radians(37.0 if incidence_deg is None else incidence_deg))
    angles = np.linspace(15, 65, 200)
    ones = np.ones_like(angles)
    for name, color, power in (
        ("β⁰ / σ⁰ = 1 / sin θ", ORANGE, radiometry.sigma0_to_beta0(ones, angles)),
        ("γ⁰ / σ⁰ = 1 / cos θ", GREEN, radiometry.sigma0_to_gamma0(ones, angles)),
    ):
        right.plot(angles, radiometry.to_db(power), color=color, label=name)
    if incidence_deg is not None:
        right.axvline(incidence_deg, color="k", linewidth=0.8, linestyle="--")
        plotting.note(right, f"here {incidence_deg:.1f}°", (incidence_deg, 5.4), (4, 0))
    right.set(xlabel="incidence angle θ (°)", ylabel="above σ⁰ (dB)", ylim=(0, 6), xlim=(15, 65))
    right.legend(loc="upper right")
    return fig


def _draw_areas(ax: Axes, theta: float) -> None:
    """A cut through flat ground, the radar up on the left: one ground cell and its two projections."""
    towards_ground = np.array([math.sin(theta), -math.cos(theta)])
    along_front = np.array([math.cos(theta), math.sin(theta)])
    near, far = np.array([0.0, 0.0]), np.array([1.0, 0.0])
    ax.plot([-0.75, 1.75], [0, 0], color=GREY, linewidth=1)
    arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0}
    for end in (near, far):
        ax.annotate("", tuple(end), tuple(end - 1.25 * towards_ground), arrowprops=arrow)
    ax.plot(*zip(near, far, strict=True), color=BLUE, linewidth=4, solid_capstyle="butt")
    plotting.note(ax, "σ⁰: ground", (0.5, 0), (0, -16), ha="center", color=BLUE)
    # the wave front through the near edge meets the far ray where the slant range of the near edge is reached
    front_foot = near + math.cos(theta) * along_front
    ax.plot(*zip(near, front_foot, strict=True), color=GREEN, linewidth=3, solid_capstyle="butt")
    plotting.note(ax, "γ⁰: across the beam", tuple(front_foot), (6, 8), color=GREEN, ha="left", va="bottom")
    ax.plot(*zip(front_foot, far, strict=True), color=ORANGE, linewidth=3, solid_capstyle="butt")
    plotting.note(ax, "β⁰: slant range", tuple((front_foot + far) / 2), (8, 2), color=ORANGE)
    ax.plot([0, 0], [0, 0.95], color="k", linewidth=0.8, linestyle=":")
    arc = np.linspace(0, theta, 30)
    ax.plot(-0.55 * np.sin(arc), 0.55 * np.cos(arc), color="k", linewidth=0.8)
    ax.annotate("θ", (-0.62 * math.sin(theta / 2), 0.62 * math.cos(theta / 2)), ha="center", va="center")
    ax.set_aspect("equal")
    ax.set(xlim=(-1.0, 1.9), ylim=(-0.25, 1.2))
    ax.axis("off")
    ax.set_title("one echo, three areas to divide it by")


def shares_at_ends(dn: FloatArray) -> tuple[float, float]:
    """Which shares of an image's pixels equal its lowest and its highest number; large where numbers were cut off."""
    known = dn[np.isfinite(dn)]
    if not known.size:
        return math.nan, math.nan
    return float((known == known.min()).mean()), float((known == known.max()).mean())


def darkest_db(product: Product) -> float:
    """The backscatter that a thousandth of the ground stays below, averaged over 16 × 16 pixels; NaN without data.

    Noise adds to every echo, so this is about an upper bound of the noise floor.
    """
    db = radiometry.to_db(product.read_power(looks=16))
    return float(np.percentile(db[np.isfinite(db)], 0.1)) if np.isfinite(db).any() else math.nan


def value_range(product: Product, window: Window, darkest_db: float) -> Figure:
    """Where the pixels of a window lie between the noise floor and saturation, and what noise adds to dark ground.

    Where the product does not state its noise floor, :func:`darkest_db` bounds it. Only whole numbers saturate.
    """
    polarization = product.choose_polarization(None)
    stated = product.noise_floor_db.get(polarization)
    floor = darkest_db if stated is None else stated
    name = f"{'darkest ground' if stated is None else 'noise floor'}\n{'' if stated is None else '(σ⁰) '}"
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.3), width_ratios=(1.4, 1))
    db = product.read_db(window)
    left.hist(db[np.isfinite(db)], bins=np.linspace(-60, 20, 161), color=SKY, density=True)
    marks = {name: (floor, VERMILION)}
    if product.bands[polarization].dtype.kind in "ui":
        marks["saturation\n"] = (radiometry.dn_range_db(product.calibration_factor_db)[1], ORANGE)
    left.margins(y=0.25)
    for text, (x, color) in marks.items():
        left.axvline(x, color=color)
        place = {"xycoords": ("data", "axes fraction"), "ha": "right", "va": "top"}
        plotting.note(left, f"{text}{_signed(x)} dB", (x, 0.99), (-4, 0), color=color, **place)
    left.set(xlabel=plotting.db_label(product.quantity), ylabel="density (1/dB)", title="pixels of the window")
    true_db = np.linspace(floor - 8, floor + 16, 200)
    right.plot(true_db, radiometry.noise_bias_db(true_db, floor), color=VERMILION)
    right.axvline(floor, color=VERMILION, linewidth=0.8, linestyle="--")
    right.set(xlabel="true backscatter (dB)", ylabel="reads too bright by (dB)", ylim=(0, 9))
    right.set_title(f"what a noise floor of {_signed(floor)} dB {'would add' if stated is None else 'adds'}")
    return fig


def _signed(db: float, digits: int = 1) -> str:
    return f"{db:+.{digits}f}".replace("-", "−")


def looks_ladder(product: Product, window: Window, looks: Sequence[int] = (1, 2, 4, 8)) -> Figure:
    """The same ground at several numbers of looks: speckle falls, detail is lost. At most 512 pixels a side."""
    side = max(min(512, *window[2:]) // max(looks) * max(looks), 1)
    window = (*window[:2], side, side)
    fig, axes = plt.subplots(1, len(looks), figsize=(2.6 * len(looks) + 0.4, 3.1), sharex=True, sharey=True)
    extent = plotting.extent_of(product, window)
    limits = plotting.grey_limits(product.read_db(window, looks=2))
    for ax, n in zip(axes, looks, strict=True):
        image = plotting.draw_grey(ax, product.read_db(window, looks=n), extent, limits)
        plotting.map_axes(ax, product, label_y=ax is axes[0])
        ax.tick_params(axis="x", rotation=30)
        ax.set_title(f"{n} × {n} looks" if n > 1 else "as delivered")
    plotting.color_bar(image, axes, plotting.db_label(product.quantity))
    return fig


def speckle_law(power: FloatArray, looks: float) -> Figure:
    """Histograms of power and of dB on even ground, beside the law of speckle with that many looks."""
    values = power[np.isfinite(power)]
    relative = values / values.mean()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4))
    most = 1 + 4 / math.sqrt(looks)
    x = np.linspace(0.01, most, 400)
    left.hist(relative, bins=np.linspace(0, most, 80), density=True, color=SKY, label="pixels")
    left.plot(x, laws.gamma_density(x, looks), color=VERMILION, label=f"gamma law, L = {looks:.2f}")
    left.set(xlabel="power / mean power", ylabel="density", title="Power: skewed, never negative")
    db = radiometry.to_db(relative[relative > 0])
    spread = laws.db_spread(looks)
    grid = np.linspace(-4.5 * spread, 2.2 * spread, 400)
    right.hist(db, bins=np.linspace(grid[0], grid[-1], 80), density=True, color=SKY, label="pixels")
    right.plot(grid, _per_db(laws.gamma_density, grid, looks), color=VERMILION, label="the same law in dB")
    right.axvline(0, color="k", linewidth=1, label="dB of the mean")
    right.axvline(db.mean(), color="k", linestyle="--", linewidth=1, label=f"mean of dB: {_signed(db.mean(), 2)} dB")
    right.set(xlabel="power / mean power (dB)", ylabel="density (1/dB)", title="Decibels: a tail on the dark side")
    left.legend(loc="upper right")
    right.legend(loc="upper left", fontsize=9)
    return fig


def _per_db(density: Callable[..., FloatArray], db: FloatArray, *arguments: float) -> FloatArray:
    """A density of power as a density of dB."""
    power = radiometry.to_power(db)
    return np.asarray(density(power, *arguments) * power * np.log(10) / 10)


def enl_estimates(power: FloatArray) -> Figure:
    """Three estimates of the number of looks on even ground, with honest intervals and with those of an optimist."""
    fig, ax = plt.subplots(figsize=(9.0, 3.0))
    methods = get_args(speckle.EnlMethod)
    rows = []
    for row, method in enumerate(methods):
        honest = speckle.enl(power, method)
        optimist = speckle.enl(power, method, effective_samples=honest.samples)
        for found, y, color, mark, label in (
            (honest, row + 0.12, BLUE, "o", "counting independent pixels"),
            (optimist, row - 0.12, ORANGE, "s", "counting all pixels"),
        ):
            arms = [[found.value - found.low], [found.high - found.value]]
            ax.errorbar(found.value, y, xerr=arms, fmt=mark, color=color, capsize=3, label=None if row else label)
        rows.append(f"{method}\n{honest.effective_samples:,.0f} of {honest.samples:,} px")
    ax.set_yticks(range(len(methods)), rows)
    ax.set(xlabel="equivalent number of looks, with 95 % intervals", ylim=(-0.5, len(methods) - 0.5))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


def averaging_bias(power: FloatArray) -> Figure:
    """What averaging in dB loses against averaging in power, and how looks narrow the spread of dB."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.2))
    truth = float(radiometry.to_db(np.nanmean(power)))
    means, spreads, enl = [], [], []
    for size in _AVERAGED_PX:
        averaged = radiometry.multilook(power, size)
        db = radiometry.to_db(averaged[np.isfinite(averaged) & (averaged > 0)])
        means.append(db.mean() - truth)
        spreads.append(db.std())
        enl.append(speckle.enl_moments(averaged))
    grid = np.geomspace(0.9, max(enl) * 1.3, 100)
    for ax, measured, law, label, down in (
        (left, means, laws.db_bias, "mean of dB − dB of mean (dB)", -11),
        (right, spreads, laws.db_spread, "spread of dB (dB)", 5),
    ):
        ax.plot(grid, [law(n) for n in grid], color=VERMILION, label="law of speckle")
        ax.plot(enl, measured, "o", color=BLUE, label="measured here")
        for n, x, y in zip(_AVERAGED_PX, enl, measured, strict=True):
            plotting.note(ax, f"{n}×{n}", (x, y), (6, down))
        ax.set(xscale="log", xlabel="equivalent number of looks", ylabel=label)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.margins(x=0.08, y=0.15)
    left.legend(loc="lower right")
    return fig


def correlation(power: FloatArray) -> Figure:
    """How much neighbouring pixels share, and how many looks averaging therefore gives."""
    along_x, along_y = speckle.autocorrelation(power, 6)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.2))
    left.plot(along_x, "o-", color=BLUE, label="along columns (x)")
    left.plot(along_y, "s--", color=ORANGE, label="along rows (y)")
    left.axhline(0, color="k", linewidth=0.8)
    left.set(xlabel="lag (pixels)", ylabel="correlation of power")
    left.legend()
    found = [speckle.enl(radiometry.multilook(power, n), "moments") for n in _AVERAGED_PX]
    independent = found[0].value * np.array(_AVERAGED_PX) ** 2
    right.plot(_AVERAGED_PX, independent, color=VERMILION, label="if pixels were independent")
    looks, intervals = [e.value for e in found], [(e.low, e.high) for e in found]
    plotting.error_bars(right, _AVERAGED_PX, looks, intervals, "o-", color=BLUE, capsize=3, label="measured, 95 %")
    right.set(xlabel="pixels averaged, n × n", ylabel="equivalent number of looks", yscale="log")
    right.yaxis.set_major_formatter("{x:g}")
    # between two powers of ten that are not both shown, other numbers, and of these few
    right.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    right.set_xticks(_AVERAGED_PX)
    right.legend()
    return fig


def variation(product: Product, window: Window, looks: float, areas: Mapping[str, Window]) -> Figure:
    """A window in dB beside the coefficient of variation in its blocks; ``areas`` (pixel windows) are outlined."""
    power, side = product.read_power(window), 15
    mean, mean_square = (radiometry.multilook(part, side).astype(float) for part in (power, power.astype(float) ** 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        cv = np.sqrt(np.maximum(mean_square / mean**2 - 1, 0))
    fig, axes = plt.subplots(1, 2, figsize=(10.8, 4.9), sharex=True, sharey=True)
    extent = plotting.extent_of(product, window)
    db = radiometry.to_db(radiometry.multilook(power, 3))
    shown = plotting.draw_grey(axes[0], db, extent)
    plotting.color_bar(shown, axes[0], plotting.db_label(product.quantity))
    speckle_alone = looks**-0.5
    image = axes[1].imshow(cv, cmap="cividis", vmin=0.6 * speckle_alone, vmax=2.2 * speckle_alone, extent=extent)
    label = f"coefficient of variation in {side} × {side} pixels\n(white line: speckle alone, {speckle_alone:.2f})"
    plotting.color_bar(image, axes[1], label).ax.axhline(speckle_alone, color="white", linewidth=2)
    for ax in axes:
        plotting.map_axes(ax, product, label_y=ax is axes[0])
        for (name, area), color in zip(areas.items(), (ORANGE, SKY, VERMILION), strict=False):
            plotting.outline(ax, plotting.extent_of(product, area), edgecolor=color, linewidth=2, label=name)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(areas))
    return fig


def texture_laws(areas: Mapping[str, FloatArray], looks: float) -> Figure:
    """Histograms of several areas in dB beside the gamma law of speckle and the K law with the order measured there.

    Like the order, histograms are about the mean of each window of 16 × 16 pixels.
    """
    fig, axes = plt.subplots(1, len(areas), figsize=(3.5 * len(areas), 3.3), sharey=True, squeeze=False)
    grid = np.linspace(-22, 13, 300)
    for ax, (name, power) in zip(axes[0], areas.items(), strict=True):
        order = speckle.texture_order(power, looks, window=_TEXTURE_PX)
        windows = _patches(power, _TEXTURE_PX)
        relative = windows / np.nanmean(windows, axis=(1, 2), keepdims=True)
        relative = relative[relative > 0]
        ax.hist(radiometry.to_db(relative), bins=np.linspace(-22, 13, 90), density=True, color=SKY, label="pixels")
        ax.plot(grid, _per_db(laws.gamma_density, grid, looks), color=VERMILION, label="speckle alone")
        has_texture = math.isfinite(order.high)
        if has_texture:
            ax.plot(grid, _per_db(laws.k_density, grid, looks, order.value), "--", color="k", label="K law")
        found = f"ν = {order.value:.2g}" if has_texture else f"no texture found (ν > {order.low:.2g})"
        ax.set(xlabel="power / mean power (dB)", title=f"{name}: {found}", xlim=(-22, 13))
    axes[0, 0].set_ylabel("density (1/dB)")
    axes[0, -1].legend(loc="upper left", fontsize=9)
    return fig


def texture_by_scale(areas: Mapping[str, FloatArray], even: FloatArray, spacing_m: float) -> Figure:
    """The strength of texture, 1/ν, after averaging over more and more pixels; ``even`` says how many looks that gives.

    The window shrinks with the averaging, so its size on the ground stays the same. Sizes are in metres, or in pixels
    where the spacing is not known (NaN).
    """
    unit = "m"
    if math.isnan(spacing_m):
        spacing_m, unit = 1.0, "pixels"
    fig, axes = plt.subplots(1, len(areas), figsize=(3.5 * len(areas), 3.0), squeeze=False)
    looks = [speckle.enl_moments(radiometry.multilook(even, n)) for n in _AVERAGED_PX]
    for ax, (name, power) in zip(axes[0], areas.items(), strict=True):
        found = [
            speckle.texture_order(radiometry.multilook(power, n), at, window=_TEXTURE_PX // n)
            for n, at in zip(_AVERAGED_PX, looks, strict=True)
        ]
        x, bounds = np.array(_AVERAGED_PX) * spacing_m, [(1 / e.high, 1 / e.low) for e in found]
        plotting.error_bars(ax, x, [1 / e.value for e in found], bounds, "o-", color=BLUE, capsize=3)
        ax.set(xscale="log", xlabel=f"size of the averaged pixel ({unit})", title=name)
        # the smallest scale still shows what counts as no texture
        ax.set_ylim(0, max(1.15 * np.max(bounds), 0.05))
        ax.set_xticks(x, [f"{at:.3g}" for at in x])
        ax.minorticks_off()
    axes[0, 0].set_ylabel(f"texture strength 1/ν\nwithin {_TEXTURE_PX * spacing_m:.3g} {unit}, with 95 %")
    return fig


def despeckled(
    power: FloatArray,
    looks: float,
    names: Sequence[str] = ("boxcar", "Lee", "refined Lee", "Gamma-MAP"),
    window: int = 7,
    quantity: str = "sigma0",
    limits: Mapping[str, float] | None = None,
) -> Figure:
    """A window and what filters make of it, above the ratio images: what each of them took away.

    ``limits`` are those of the grey scale, as of :func:`.grey_limits`; None: the window's own.
    """
    fig, axes = plt.subplots(2, len(names) + 1, figsize=(2.0 * (len(names) + 1) + 0.8, 4.9))
    limits = limits or plotting.grey_limits(radiometry.to_db(despeckling.boxcar(power, looks, 3)))
    # a ratio of 1, where nothing was taken away, is the middle of the grey scale
    most = 2 * laws.db_spread(looks)
    plotting.draw_grey(axes[0, 0], radiometry.to_db(power), limits=limits)
    axes[0, 0].set_title("as given")
    axes[1, 0].axis("off")
    for (top, bottom), name in zip(axes.T[1:], names, strict=True):
        filtered = despeckling.FILTERS[name](power, looks, window)
        ratio = despeckling.ratio_image(power, filtered)
        shown = plotting.draw_grey(top, radiometry.to_db(filtered), limits=limits)
        top.set_title(f"{name}, {window} × {window}")
        removed = plotting.draw_grey(bottom, radiometry.to_db(ratio), limits={"vmin": -most, "vmax": most})
        bottom.set_xlabel(f"ratio: mean {np.nanmean(ratio):.2f},\nvariance {np.nanvar(ratio):.2f}")
    plotting.bare(*axes.flat)
    plotting.color_bar(shown, axes[0], plotting.db_label(quantity))
    plotting.color_bar(removed, axes[1, 1:], "given / filtered (dB)")
    ideal = f"ideal ratio:\nmean 1\nvariance 1/L = {1 / looks:.2f}\nno structure"
    axes[1, 0].annotate(ideal, (0.5, 0.5), ha="center", va="center", xycoords="axes fraction")
    return fig


def target_chart() -> FloatArray:
    """A chart of linear power without speckle, to try filters where the truth is known. Drawn, not measured.

    Four quarters: above left 16 square fields of −20 to −4 dB; above right a star of sectors at −14 and −7 dB, whose
    edges lie 22.5° apart and meet in the middle; below left ground of −12 dB with a river of 3 pixels (−20 dB), a
    bright line of 1 pixel (−4 dB) and a dark one (−18 dB); below right even ground of −10 dB with four single-pixel
    targets (0 to 15 dB) in its upper third. Levels are usual ones of σ0 at L band (assumption).

    Returns:
        (256, 256) float64.
    """
    chart = np.full((256, 256), -12.0)
    y, x = np.mgrid[:256, :256]
    chart[:128, :128] = _FIELDS_DB.repeat(32, axis=0).repeat(32, axis=1)
    sector = np.floor(np.arctan2(y - 63.5, x - 191.5) / np.deg2rad(22.5) + 0.5) % 2
    chart[:128, 128:] = np.where(sector == 0, -14.0, -7.0)[:128, 128:]
    # level, width in pixels, row at the left edge, slope
    for level_db, width, row, slope in ((-20, 3, 153.6, 0.35), (-4, 1, 192, -0.2), (-18, 1, 243.2, 0)):
        away = np.abs(y - row - slope * x) / math.hypot(1, slope)
        chart[128:, :128][(away <= width / 2)[128:, :128]] = level_db
    chart[128:, 128:] = -10.0
    chart[149, 144::32] = (0.0, 5.0, 10.0, 15.0)
    return radiometry.to_power(chart)


def judged_on_chart(looks: float) -> Figure:
    """Filters on a drawn chart, whose truth is known: the pictures, then structure left, edges kept and looks won."""
    truth = target_chart()
    power = truth * laws.draw_speckle(truth.shape, looks, 0)
    results = {"unfiltered": power} | {name: f(power, looks, 7) for name, f in despeckling.FILTERS.items()}
    even = (176, 136, 72, 112)  # one field without lines or points
    judged = {name: despeckling.assess(power, im, looks, reference=truth, area=even) for name, im in results.items()}
    fig = plt.figure(figsize=(10.8, 8.2))
    parts: Any = fig.subfigures(2, 1, height_ratios=(2.2, 1))
    pictures, measures = parts
    shown = {"truth (drawn)": truth} | results
    limits = plotting.grey_limits(radiometry.to_db(truth))
    panels = pictures.subplots(2, 4)
    for ax, (name, image) in zip(panels.flat, shown.items(), strict=True):
        drawn = plotting.draw_grey(ax, radiometry.to_db(image), limits=limits)
        ax.set(xticks=[], yticks=[], title=name)
    plotting.color_bar(drawn, panels, plotting.db_label("sigma0"))
    columns = {
        "edges kept (best: 1)": "edge_preservation",
        "structure in the ratio (best: 1)": "structure",
        "looks on even ground": "enl",
    }
    for ax, (title, key) in zip(measures.subplots(1, 3, sharey=True), columns.items(), strict=True):
        _dots(ax, {name: getattr(quality, key) for name, quality in judged.items()})
        ax.set_title(title)
        if key != "enl":
            ax.axvline(1, color=VERMILION, linestyle="--", linewidth=1)
    return fig


def _dots(ax: Axes, values: Mapping[str, float]) -> None:
    """One row and one dot for each name, with its number; a dash where there is none."""
    ax.hlines(range(len(values)), 0, 1, transform=ax.get_yaxis_transform(), color="0.9", linewidth=1)
    for place, value in enumerate(values.values()):
        known = bool(np.isfinite(value))
        ax.plot(value if known else np.nan, place, "o", color=BLUE)
        at, frame = (value, ax.transData) if known else (0.5, ax.get_yaxis_transform())
        text = f"{value:.0f}" if value >= 9.95 else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")
        plotting.note(ax, text if known else "–", (at, place), (0, 4), xycoords=frame, ha="center", fontsize=9)
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.8)
    ax.margins(x=0.2)


def loss_in_db(power: FloatArray, patch_px: int, looks: Collection[float]) -> Figure:
    """What a reconstruction loss meets: speckle that nobody can predict, bright targets, and the dark tail of dB.

    Left: the absolute error in dB that the best constant guess is left with on even ground. Middle: how much of the
    total error the brightest hundredth of the pixels carries in patches of ``power``, guessed by the best constant of
    each, for losses in dB and in power. Right: the share that falls on the darker half of the pixels in drawn patches
    of 256 × 256 pixels of pure speckle, as it is and with the weight of SAR-W.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(10.8, 3.6), width_ratios=(1, 1, 1.15))
    grid = np.geomspace(0.8, 40, 80)
    left.plot(grid, [_least_l1_db(n) for n in grid], color=VERMILION)
    looks = sorted(looks)
    for n in looks:
        left.plot(n, _least_l1_db(n), "o", color=BLUE)
        plotting.note(left, f"L = {n:.3g}: {_least_l1_db(n):.1f} dB", (n, _least_l1_db(n)), (7, 4))
    left.set(xscale="log", ylim=(0, None), xlabel="equivalent number of looks", ylabel="least mean error (dB)")
    left.xaxis.set_major_formatter("{x:g}")
    left.set_title("best constant guess\non even ground")
    shares = _shares_of_brightest(_patches(power, patch_px))
    middle.bar(range(len(shares)), [100 * share for share in shares.values()], color=[BLUE, BLUE, ORANGE, ORANGE])
    for place, share in enumerate(shares.values()):
        plotting.note(middle, f"{share:.0%}", (place, 100 * share), ha="center")
    middle.set_xticks(range(len(shares)), list(shares))
    middle.set(ylabel="share of the total error (%)", ylim=(0, 108))
    middle.set_title("carried by the brightest\n1 % of pixels")
    _draw_dark_shares(right, looks)
    return fig


def _shares_of_brightest(patches: FloatArray) -> dict[str, float]:
    """The share of several losses that falls on the brightest hundredth of all pixels."""
    flat = patches.reshape(len(patches), -1)
    db = radiometry.to_db(np.where(flat > 0, flat, np.nan))
    errors = {}
    for unit, values in (("dB", db), ("power", flat)):
        errors[f"|{unit}|"] = np.abs(values - np.nanmedian(values, axis=1, keepdims=True))
        errors[f"{unit}²"] = (values - np.nanmean(values, axis=1, keepdims=True)) ** 2
    brightest = flat >= np.nanpercentile(flat, 99)
    return {name: float(np.nansum(error[brightest]) / np.nansum(error)) for name, error in errors.items()}


def _draw_dark_shares(ax: Axes, looks: Sequence[float]) -> None:
    """The share of the error on the darker half of pure speckle, without and with the weight."""
    from ...pretraining.weighting import sar_weights_db

    width = 0.36
    for place, n in enumerate(looks):
        drawn = [laws.draw_speckle((256, 256), n, seed) for seed in range(8)]
        weights = [sar_weights_db(radiometry.to_db(power)) for power in drawn]
        for shift, given, color, label in (
            (-0.5, [None] * len(drawn), SKY, "unweighted"), (0.5, weights, ORANGE, "SAR weight"),
        ):  # fmt: skip
            shares = [speckle.error_share_below_median(p, w) for p, w in zip(drawn, given, strict=True)]
            at, share = place + shift * width, float(np.mean(shares))
            ax.bar(at, 100 * share, width * 0.94, color=color, label=label if place == 0 else None)
            plotting.note(ax, f"{share:.0%}", (at, 100 * share), ha="center")
    ax.axhline(50, color="k", linewidth=1, linestyle="--", label="share of the pixels")
    ax.set_xticks(range(len(looks)), [f"L = {n:.3g}" for n in looks])
    ax.set(
        ylabel="share of the total error (%)", ylim=(0, 125), yticks=range(0, 101, 20), xlim=(-0.5, len(looks) - 0.5)
    )
    ax.set_title("carried by the darker half\nof pure speckle")
    ax.legend(loc="upper right", fontsize=9)


def _least_l1_db(looks: float) -> float:
    """Mean absolute deviation of speckle from its median, in dB: what the best constant guess is left with."""
    quantiles = special.gammaincinv(looks, (np.arange(20_000) + 0.5) / 20_000)
    return float(np.abs(radiometry.to_db(quantiles / np.median(quantiles))).mean())


def _patches(power: FloatArray, size: int) -> FloatArray:
    """The image cut into squares (n, size, size): those with data everywhere, else those that have any.

    An image smaller than a square is one square of its own, as large as fits.
    """
    size = min(size, *power.shape)
    rows, cols = (n // size for n in power.shape)
    cut = power[: rows * size, : cols * size].reshape(rows, size, cols, size).swapaxes(1, 2).reshape(-1, size, size)
    whole = cut[np.isfinite(cut).all(axis=(1, 2))]
    return np.asarray(whole if len(whole) else cut[np.isfinite(cut).any(axis=(1, 2))])
