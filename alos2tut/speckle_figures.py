"""The figures of notebook 1: what a pixel means, how speckle behaves, what filters and losses make of it.

Power is linear, (H, W), NaN where there is no data. Colours are those of :mod:`alos2tut.figures`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from scipy import special

from . import despeckling, radiometry, speckle
from .figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    extent_of,
    grey_limits,
    grey_with_holes,
    map_axes,
    symbol,
)
from .products import Product

FloatArray = NDArray[np.floating[Any]]
Window = tuple[int, int, int, int]

#: part of the chart that holds one field without lines or points, for any size: (row, col, height, width) of 256
_EVEN_FIELD = (176, 136, 72, 112)


def telling_window(product: Product, parts: int = 6) -> Window:
    """The window, a ``parts``-th of the product's height and width, in which averaged backscatter varies most in dB.

    Windows with missing pixels are passed over unless all have some.
    """
    looks = max(1, math.ceil(max(product.shape) / 400))
    db = radiometry.to_db(product.read_power(looks=looks))
    height, width = (max(n // parts, 1) for n in db.shape)
    best, place = (-1.0, -1.0), (0, 0)
    for row in range(0, db.shape[0] - height + 1, max(height // 2, 1)):
        for col in range(0, db.shape[1] - width + 1, max(width // 2, 1)):
            part = db[row : row + height, col : col + width]
            known = part[np.isfinite(part)]
            score = (known.size / part.size, float(known.std()) if known.size else 0.0)
            if score > best:
                best, place = score, (row, col)
    # full-resolution pixels, on a lattice of eight, so that looks up to that start at the same pixel
    start = [n * looks // 8 * 8 for n in place]
    return start[0], start[1], product.shape[0] // parts, product.shape[1] // parts


# --- what a pixel means -----------------------------------------------------------------------------------------------


def amplitude_power_db(product: Product, window: Window) -> Figure:
    """One window as amplitude, power and dB, each over its histogram: why SAR images are shown in dB."""
    power = product.read_power(window)
    quantity = symbol(product.quantity)
    scales = {
        "amplitude: digital numbers": (product.read_dn(window).astype(float), "DN"),
        f"power: {quantity} ∝ DN²": (power, f"{quantity} (linear)"),
        f"decibels: 10 log₁₀ {quantity}": (radiometry.to_db(power), f"{quantity} (dB)"),
    }
    fig, axes = plt.subplots(2, 3, figsize=(12.0, 5.6), height_ratios=(2.2, 1))
    for (top, bottom), (title, (values, label)) in zip(axes.T, scales.items(), strict=True):
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, [0.5, 99.5]) if known.size else (0.0, 1.0)
        image = top.imshow(values, cmap=grey_with_holes(), vmin=low, vmax=high, extent=extent_of(product, window))
        map_axes(top, product, label_y=top is axes[0, 0])
        top.tick_params(axis="x", rotation=30)
        top.set_title(title)
        fig.colorbar(image, ax=top, shrink=0.9)
        bottom.hist(known, bins=np.linspace(low, high, 70), color=SKY)
        bottom.set(xlabel=label, yticks=[])
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
        right.annotate(f"here {incidence_deg:.1f}°", (incidence_deg, 5.4), (4, 0), textcoords="offset points")
    right.set(xlabel="incidence angle θ (°)", ylabel="above σ⁰ (dB)", ylim=(0, 6), xlim=(15, 65))
    right.legend(loc="upper right")
    return fig


def _draw_areas(ax: Axes, theta: float) -> None:
    """A cut through flat ground, the radar up on the left: one ground cell and its two projections."""
    towards_ground = np.array([math.sin(theta), -math.cos(theta)])
    along_front = np.array([math.cos(theta), math.sin(theta)])
    near, far = np.array([0.0, 0.0]), np.array([1.0, 0.0])
    ax.plot([-0.75, 1.75], [0, 0], color=GREY, linewidth=1)
    for end in (near, far):
        start = end - 1.25 * towards_ground
        ax.annotate(
            "", tuple(end), tuple(start), arrowprops={"arrowstyle": "->", "color": GREY, "shrinkA": 0, "shrinkB": 0}
        )
    ax.plot(*zip(near, far, strict=True), color=BLUE, linewidth=4, solid_capstyle="butt")
    ax.annotate("σ⁰: ground", (0.5, 0), (0, -16), ha="center", color=BLUE, textcoords="offset points")
    # the wave front through the near edge meets the far ray where the slant range of the near edge is reached
    front_foot = near + math.cos(theta) * along_front
    ax.plot(*zip(near, front_foot, strict=True), color=GREEN, linewidth=3, solid_capstyle="butt")
    ax.annotate(
        "γ⁰: across the beam",
        tuple(front_foot),
        (6, 8),
        color=GREEN,
        textcoords="offset points",
        ha="left",
        va="bottom",
    )
    ax.plot(*zip(front_foot, far, strict=True), color=ORANGE, linewidth=3, solid_capstyle="butt")
    ax.annotate("β⁰: slant range", tuple((front_foot + far) / 2), (8, 2), color=ORANGE, textcoords="offset points")
    normal_top = np.array([0.0, 0.95])
    ax.plot([0, 0], [0, normal_top[1]], color="k", linewidth=0.8, linestyle=":")
    arc = np.linspace(0, theta, 30)
    ax.plot(-0.55 * np.sin(arc), 0.55 * np.cos(arc), color="k", linewidth=0.8)
    ax.annotate("θ", (-0.62 * math.sin(theta / 2), 0.62 * math.cos(theta / 2)), ha="center", va="center")
    ax.set_aspect("equal")
    ax.set(xlim=(-1.0, 1.9), ylim=(-0.25, 1.2))
    ax.axis("off")
    ax.set_title("one echo, three areas to divide it by")


def value_range(product: Product, window: Window, darkest_db: float) -> Figure:
    """Where the pixels of a window lie between the noise floor and saturation, and what noise adds to dark ground.

    ``darkest_db`` bounds the noise floor from above where the product does not state it.
    """
    polarization = product.choose_polarization(None)
    stated = product.noise_floor_db.get(polarization)
    floor = darkest_db if stated is None else stated
    told = f"darkest ground\n{_signed(floor)} dB" if stated is None else f"noise floor\n{_signed(floor)} dB, as stated"
    top = radiometry.dn_range_db(product.calibration_factor_db)[1]
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.4, 3.3), width_ratios=(1.4, 1))
    db = product.read_db(window)
    left.hist(db[np.isfinite(db)], bins=np.linspace(-45, 20, 131), color=SKY, density=True)
    for x, text, color in ((floor, told, VERMILION), (top, f"saturation\n{_signed(top)} dB", ORANGE)):
        left.axvline(x, color=color)
        side = "right" if -32 < x < 0 else "left"
        left.annotate(
            text, (x, left.get_ylim()[1]), (-4 if side == "right" else 4, -2), ha=side, va="top", color=color,
            textcoords="offset points",
        )  # fmt: skip
    left.set(xlabel=f"{symbol(product.quantity)} (dB)", ylabel="density (1/dB)", title="pixels of the window")
    true_db = np.linspace(floor - 8, floor + 16, 200)
    right.plot(true_db, radiometry.noise_bias_db(true_db, floor), color=VERMILION)
    right.axvline(floor, color=VERMILION, linewidth=0.8, linestyle="--")
    right.set(xlabel="true backscatter (dB)", ylabel="reads too bright by (dB)", ylim=(0, 9))
    right.set_title(f"what a noise floor of {_signed(floor)} dB adds")
    return fig


def _signed(db: float) -> str:
    return f"{db:+.1f}".replace("-", "−")


# --- speckle ----------------------------------------------------------------------------------------------------------


def looks_ladder(product: Product, window: Window, looks: Sequence[int] = (1, 2, 4, 8)) -> Figure:
    """The same ground at several numbers of looks: speckle falls, detail is lost."""
    fig, axes = plt.subplots(1, len(looks), figsize=(3.1 * len(looks), 3.5), sharex=True, sharey=True)
    extent = extent_of(product, window)
    limits = grey_limits(product.read_db(window, looks=2))
    for ax, n in zip(axes, looks, strict=True):
        image = ax.imshow(product.read_db(window, looks=n), cmap=grey_with_holes(), extent=extent, **limits)
        map_axes(ax, product, label_y=ax is axes[0])
        ax.tick_params(axis="x", rotation=30)
        ax.set_title(f"{n} × {n} looks" if n > 1 else "as delivered")
    fig.colorbar(image, ax=axes, label=f"{symbol(product.quantity)} (dB)", shrink=0.85)
    return fig


def speckle_law(power: FloatArray, looks: float) -> Figure:
    """Histograms of power and of dB on even ground, beside the law of speckle with that many looks."""
    values = power[np.isfinite(power)]
    relative = values / values.mean()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4))
    x = np.linspace(0.01, 5, 400)
    left.hist(relative, bins=np.linspace(0, 5, 80), density=True, color=SKY, label="pixels")
    left.plot(x, speckle.gamma_density(x, looks), color=VERMILION, label=f"gamma law, L = {looks:.2f}")
    left.set(xlabel="power / mean power", ylabel="density", title="Power: skewed, never negative")
    db = radiometry.to_db(relative[relative > 0])
    grid = np.linspace(-25, 10, 400)
    right.hist(db, bins=np.linspace(-25, 10, 80), density=True, color=SKY, label="pixels")
    right.plot(grid, _per_db(speckle.gamma_density, grid, looks), color=VERMILION, label="the same law in dB")
    right.axvline(0, color="k", linewidth=1)
    right.axvline(db.mean(), color="k", linestyle="--", linewidth=1)
    right.annotate(
        f"mean of dB\n{_signed(db.mean())} dB", (db.mean(), right.get_ylim()[1]), (-8, -4), ha="right", va="top",
        textcoords="offset points",
    )  # fmt: skip
    right.set(xlabel="power / mean power (dB)", ylabel="density (1/dB)", title="Decibels: a long tail on the dark side")
    left.legend()
    right.legend(loc="upper left")
    return fig


def _per_db(density: Any, db: FloatArray, *arguments: float) -> FloatArray:
    """A density of power as a density of dB."""
    power = radiometry.to_power(db)
    return np.asarray(density(power, *arguments) * power * np.log(10) / 10)


def enl_estimates(power: FloatArray) -> Figure:
    """Three estimates of the number of looks on even ground, with honest intervals and with those of an optimist."""
    fig, ax = plt.subplots(figsize=(8.6, 2.9))
    for row, method in enumerate(get_args(speckle.EnlMethod)):
        honest = speckle.enl(power, method)
        optimist = speckle.enl(power, method, effective_samples=honest.samples)
        for estimate, shift, color, mark in ((honest, 0.12, BLUE, "o"), (optimist, -0.12, ORANGE, "s")):
            arms = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
            label = None
            if row == 0:
                told = f"{estimate.effective_samples:,.0f} independent pixels of {estimate.samples:,}"
                label = f"counting {told}" if color == BLUE else "as if all pixels were independent"
            ax.errorbar(estimate.value, row + shift, xerr=arms, fmt=mark, color=color, capsize=3, label=label)
    ax.set_yticks(range(3), get_args(speckle.EnlMethod))
    ax.set(xlabel="equivalent number of looks, with 95 % intervals", ylim=(-0.5, 2.5))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


def averaging_bias(power: FloatArray, sizes: Sequence[int] = (1, 2, 4, 8)) -> Figure:
    """What averaging in dB loses against averaging in power, and how looks narrow the spread of dB."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.2))
    truth = float(radiometry.to_db(np.nanmean(power)))
    means, spreads, enl = [], [], []
    for size in sizes:
        averaged = radiometry.multilook(power, size)
        db = radiometry.to_db(averaged[np.isfinite(averaged) & (averaged > 0)])
        means.append(db.mean() - truth)
        spreads.append(db.std())
        enl.append(speckle.enl_moments(averaged))
    grid = np.geomspace(0.9, max(enl) * 1.3, 100)
    for ax, measured, law, label in (
        (left, means, speckle.db_bias, "mean of dB − dB of mean (dB)"),
        (right, spreads, speckle.db_spread, "spread of dB (dB)"),
    ):
        ax.plot(grid, [law(n) for n in grid], color=VERMILION, label="law of speckle")
        ax.plot(enl, measured, "o", color=BLUE, label="measured here")
        for n, x, y in zip(sizes, enl, measured, strict=True):
            ax.annotate(f"{n}×{n}", (x, y), (5, 5), textcoords="offset points")
        ax.set(xscale="log", xlabel="equivalent number of looks", ylabel=label)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.margins(x=0.08, y=0.15)
    left.legend(loc="lower right")
    return fig


def correlation(power: FloatArray, max_lag: int = 6, sizes: Sequence[int] = (1, 2, 3, 4, 6, 8)) -> Figure:
    """How much neighbouring pixels share, and how many looks averaging therefore gives."""
    along_x, along_y = speckle.autocorrelation(power, max_lag)
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.0, 3.2))
    lags = np.arange(max_lag + 1)
    left.plot(lags, along_x, "o-", color=BLUE, label="along columns (x)")
    left.plot(lags, along_y, "s--", color=ORANGE, label="along rows (y)")
    left.axhline(0, color="k", linewidth=0.8)
    left.set(xlabel="lag (pixels)", ylabel="correlation of power")
    left.legend()
    looks = [speckle.enl_moments(radiometry.multilook(power, n)) for n in sizes]
    right.plot(sizes, [looks[0] * n**2 for n in sizes], color=VERMILION, label="if pixels were independent")
    right.plot(sizes, looks, "o-", color=BLUE, label="measured")
    right.set(xlabel="pixels averaged, n × n", ylabel="equivalent number of looks", yscale="log")
    right.yaxis.set_major_formatter("{x:g}")
    right.set_xticks(sizes)
    right.legend()
    return fig


# --- texture ----------------------------------------------------------------------------------------------------------


def variation(product: Product, window: Window, looks: float, areas: Mapping[str, Window], side: int = 15) -> Figure:
    """A window in dB beside the coefficient of variation in its blocks; ``areas`` (pixel windows) are outlined."""
    power = product.read_power(window)
    mean, mean_square = (radiometry.multilook(part, side).astype(float) for part in (power, power.astype(float) ** 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        cv = np.sqrt(np.maximum(mean_square / mean**2 - 1, 0))
    fig, axes = plt.subplots(1, 2, figsize=(11.6, 5.4), sharex=True, sharey=True)
    place = {"extent": extent_of(product, window)}
    db = radiometry.to_db(radiometry.multilook(power, 3))
    shown = axes[0].imshow(db, cmap=grey_with_holes(), **place, **grey_limits(db))
    fig.colorbar(shown, ax=axes[0], label=f"{symbol(product.quantity)} (dB)", shrink=0.75)
    speckle_alone = looks**-0.5
    image = axes[1].imshow(cv, cmap="cividis", vmin=0.6 * speckle_alone, vmax=2.2 * speckle_alone, **place)
    bar = fig.colorbar(image, ax=axes[1], label=f"coefficient of variation in {side} × {side} pixels", shrink=0.75)
    bar.ax.axhline(speckle_alone, color="white", linewidth=2)
    bar.ax.annotate("speckle\nalone ", (0, speckle_alone), ha="right", va="center", fontsize=8)
    for ax in axes:
        map_axes(ax, product, label_y=ax is axes[0])
        for (name, (row, col, height, width)), color in zip(areas.items(), (ORANGE, SKY, VERMILION), strict=False):
            x0, x1, y1, y0 = extent_of(product, (row, col, height, width))
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=2, label=name))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(areas))
    return fig


def texture_laws(areas: Mapping[str, FloatArray], looks: float, window: int = 16) -> Figure:
    """Histograms of several areas in dB beside the gamma law of speckle and the K law with the order measured there.

    Like the order, histograms are about the mean of each window of ``window`` × ``window`` pixels.
    """
    fig, axes = plt.subplots(1, len(areas), figsize=(3.9 * len(areas), 3.5), sharey=True, squeeze=False)
    grid = np.linspace(-22, 13, 300)
    for ax, (name, power) in zip(axes[0], areas.items(), strict=True):
        order = speckle.texture_order(power, looks, window=window).value
        windows = _patches(power, window)
        relative = windows / np.nanmean(windows, axis=(1, 2), keepdims=True)
        relative = relative[relative > 0]
        ax.hist(radiometry.to_db(relative), bins=np.linspace(-22, 13, 90), density=True, color=SKY, label="pixels")
        ax.plot(grid, _per_db(speckle.gamma_density, grid, looks), color=VERMILION, label="speckle alone")
        if np.isfinite(order):
            ax.plot(grid, _per_db(speckle.k_density, grid, looks, order), "--", color="k", label="K law")
        told = f"ν = {order:.3g}" if np.isfinite(order) else "no texture found"
        ax.set(xlabel="power / mean power (dB)", title=f"{name}: {told}", xlim=(-22, 13))
    axes[0, 0].set_ylabel("density (1/dB)")
    axes[0, -1].legend(loc="upper left", fontsize=9)
    return fig


def texture_by_scale(areas: Mapping[str, FloatArray], even: FloatArray, spacing_m: float, window: int = 16) -> Figure:
    """The strength of texture, 1/ν, after averaging over more and more pixels; ``even`` says how many looks that gives.

    The window shrinks with the averaging, so its size on the ground stays the same.
    """
    fig, ax = plt.subplots(figsize=(6.6, 3.5))
    factors = [n for n in (1, 2, 4) if window // n >= 4]
    looks = [speckle.enl_moments(radiometry.multilook(even, n)) for n in factors]
    for (name, power), color, mark in zip(areas.items(), (ORANGE, SKY, VERMILION), "os^", strict=False):
        found = [
            speckle.texture_order(radiometry.multilook(power, n), at, window=window // n)
            for n, at in zip(factors, looks, strict=True)
        ]
        strength, weakest, strongest = (1 / np.array([getattr(e, k) for e in found]) for k in ("value", "high", "low"))
        x = np.array(factors) * spacing_m
        ax.errorbar(x, strength, [strength - weakest, strongest - strength], fmt=f"{mark}-", color=color, capsize=3,
                    label=name)  # fmt: skip
    ax.axhline(0, color="k", linewidth=0.8)
    ax.set(xscale="log", xlabel="size of the averaged pixel (m)", ylabel="texture strength 1/ν")
    ax.set_xticks([n * spacing_m for n in factors], [f"{n * spacing_m:.3g}" for n in factors])
    ax.minorticks_off()
    ax.set_title(f"within {window * spacing_m:.3g} m; bars: 95 %")
    ax.legend()
    return fig


# --- filters ----------------------------------------------------------------------------------------------------------


def despeckled(
    power: FloatArray,
    looks: float,
    names: Sequence[str] = ("boxcar", "Lee", "refined Lee", "Gamma-MAP"),
    window: int = 7,
) -> Figure:
    """A window and what filters make of it, above the ratio images: what each of them took away."""
    fig, axes = plt.subplots(2, len(names) + 1, figsize=(2.75 * (len(names) + 1), 5.9))
    limits = grey_limits(radiometry.to_db(despeckling.boxcar(power, looks, 3)))
    ratio_limits = {"vmin": max(1 - 2 / math.sqrt(looks), 0), "vmax": 1 + 2 / math.sqrt(looks)}
    axes[0, 0].imshow(radiometry.to_db(power), cmap=grey_with_holes(), **limits)
    axes[0, 0].set_title("as given")
    axes[1, 0].axis("off")
    for (top, bottom), name in zip(axes.T[1:], names, strict=True):
        filtered = despeckling.FILTERS[name](power, looks, window)
        ratio = despeckling.ratio_image(power, filtered)
        shown = top.imshow(radiometry.to_db(filtered), cmap=grey_with_holes(), **limits)
        top.set_title(f"{name}, {window} × {window}")
        removed = bottom.imshow(ratio, cmap=grey_with_holes(), **ratio_limits)
        bottom.set_xlabel(f"ratio: mean {np.nanmean(ratio):.2f}, variance {np.nanvar(ratio):.2f}")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    axes[1, 1].set_ylabel("given / filtered")
    fig.colorbar(shown, ax=axes[0], label="backscatter (dB)", shrink=0.9)
    fig.colorbar(removed, ax=axes[1], label="ratio", shrink=0.9)
    axes[1, 0].annotate(
        f"ideal ratio:\nmean 1\nvariance 1/L = {1 / looks:.2f}\nno structure", (0.5, 0.5), ha="center", va="center",
        xycoords="axes fraction",
    )  # fmt: skip
    return fig


def judged_on_chart(looks: float, window: int = 7, seed: int = 0) -> Figure:
    """Filters on a drawn chart, whose truth is known: the pictures, then structure left, edges kept and looks won."""
    truth = despeckling.target_chart(256)
    power = truth * speckle.draw_speckle(truth.shape, looks, seed)
    results = {"unfiltered": power} | {name: f(power, looks, window) for name, f in despeckling.FILTERS.items()}
    judged = {
        name: despeckling.assess(power, im, looks, reference=truth, area=_EVEN_FIELD) for name, im in results.items()
    }
    fig = plt.figure(figsize=(12.4, 9.0))
    parts: Any = fig.subfigures(2, 1, height_ratios=(2.2, 1))
    pictures, measures = parts
    shown = {"truth (drawn)": truth} | results
    limits = grey_limits(radiometry.to_db(truth))
    for ax, (name, image) in zip(pictures.subplots(2, 4).flat, shown.items(), strict=True):
        ax.imshow(radiometry.to_db(image), cmap="gray", **limits)
        ax.set(xticks=[], yticks=[])
        ax.set_title(name)
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
        ax.annotate(f"{value:.2f}" if known else "–", (at, place), (0, 4), xycoords=frame, ha="center",
                    textcoords="offset points", fontsize=9)  # fmt: skip
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.8)
    ax.margins(x=0.15)


# --- towards a loss ---------------------------------------------------------------------------------------------------


def loss_in_db(power: FloatArray, patch_px: int, looks: Collection[float] = (1.0, 2.5)) -> Figure:
    """What a reconstruction loss meets: speckle that nobody can predict, bright targets, and the dark tail of dB.

    Left: the absolute error in dB that the best constant guess is left with on even ground. Middle: how much of the
    total error the brightest hundredth of the pixels carries in patches of ``power``, guessed by the best constant of
    each, for losses in dB and in power. Right: the share that falls on the darker half of the pixels in drawn patches
    of 256 × 256 pixels of pure speckle, as it is and with the weight of SAR-W.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12.8, 3.7), width_ratios=(1, 1, 1.15))
    grid = np.geomspace(0.8, 40, 80)
    left.plot(grid, [_least_l1_db(n) for n in grid], color=VERMILION)
    looks = sorted(looks)
    for n in looks:
        left.plot(n, _least_l1_db(n), "o", color=BLUE)
        left.annotate(
            f"L = {n:.3g}: {_least_l1_db(n):.1f} dB", (n, _least_l1_db(n)), (7, 4), textcoords="offset points"
        )
    left.set(xscale="log", ylim=(0, None), xlabel="equivalent number of looks", ylabel="least mean error (dB)")
    left.xaxis.set_major_formatter("{x:g}")
    left.set_title("even ground: no network gets below")
    shares = _shares_of_brightest(_patches(power, patch_px))
    middle.bar(range(len(shares)), [100 * share for share in shares.values()], color=[BLUE, BLUE, ORANGE, ORANGE])
    for place, share in enumerate(shares.values()):
        middle.annotate(f"{share:.0%}", (place, 100 * share), (0, 2), ha="center", textcoords="offset points")
    middle.set_xticks(range(len(shares)), list(shares))
    middle.set(ylabel="share of the total error (%)", ylim=(0, 108))
    middle.set_title("carried by the brightest 1 % of pixels")
    _draw_dark_shares(right, looks)
    return fig


def _shares_of_brightest(patches: FloatArray) -> dict[str, float]:
    """The share of several losses that falls on the brightest hundredth of all pixels."""
    flat = patches.reshape(len(patches), -1)
    db = radiometry.to_db(np.where(flat > 0, flat, np.nan))
    brightest = flat >= np.nanpercentile(flat, 99)

    def share(errors: FloatArray) -> float:
        return float(np.nansum(errors[brightest]) / np.nansum(errors))

    def about(values: FloatArray, centre: Any) -> FloatArray:
        return np.asarray(np.abs(values - centre(values, axis=1, keepdims=True)))

    return {
        "|dB|": share(about(db, np.nanmedian)),
        "dB²": share(about(db, np.nanmean) ** 2),
        "|power|": share(about(flat, np.nanmedian)),
        "power²": share(about(flat, np.nanmean) ** 2),
    }


def _draw_dark_shares(ax: Axes, looks: Sequence[float]) -> None:
    """The share of the error on the darker half of pure speckle, without and with the weight."""
    from .pretraining import sar_weights_db

    width = 0.36
    for place, n in enumerate(looks):
        drawn = [speckle.draw_speckle((256, 256), n, seed) for seed in range(8)]
        weights = [sar_weights_db(radiometry.to_db(power)) for power in drawn]
        for shift, given, color, label in (
            (-0.5, [None] * len(drawn), SKY, "unweighted"), (0.5, weights, ORANGE, "SAR weight"),
        ):  # fmt: skip
            shares = [speckle.error_share_below_median(p, w) for p, w in zip(drawn, given, strict=True)]
            at, share = place + shift * width, float(np.mean(shares))
            ax.bar(at, 100 * share, width * 0.94, color=color, label=label if place == 0 else None)
            ax.annotate(f"{share:.0%}", (at, 100 * share), (0, 2), ha="center", textcoords="offset points")
    ax.axhline(50, color="k", linewidth=1, linestyle="--", label="share of the pixels")
    ax.set_xticks(range(len(looks)), [f"L = {n:.3g}" for n in looks])
    ax.set(ylabel="share of the total error (%)", ylim=(0, 108), xlim=(-0.5, len(looks) - 0.5))
    ax.set_title("carried by the darker half of pure speckle")
    ax.legend(loc="upper right", ncols=2, fontsize=9)


def _least_l1_db(looks: float) -> float:
    """Mean absolute deviation of speckle from its median, in dB: what the best constant guess is left with."""
    quantiles = special.gammaincinv(looks, (np.arange(20_000) + 0.5) / 20_000)
    return float(np.abs(radiometry.to_db(quantiles / np.median(quantiles))).mean())


def weight_emphasis(power: FloatArray, patch_px: int) -> Figure:
    """The SAR weight exp(1 − x̃) in the patches of an image: what one bright target does to all other pixels.

    Left: weight against brightness in the patches whose brightest pixel stands out least and most. Middle: how the
    weight of the median pixel climbs to e as a target is put into pure speckle. Right: that weight in every patch.
    """
    from .pretraining import sar_weights_db

    patches = _patches(power, patch_px)
    weights = sar_weights_db(radiometry.to_db(patches))
    weights = np.where(np.isfinite(patches), weights, np.nan)
    peaks = np.nanmax(patches, axis=(1, 2)) / np.nanmedian(patches, axis=(1, 2))
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(12.4, 3.6))
    for index, color, name in ((peaks.argmin(), BLUE, "calmest patch"), (peaks.argmax(), ORANGE, "one with a target")):
        db = radiometry.to_db(patches[index].ravel())
        left.plot(db, weights[index].ravel(), ",", color=color, rasterized=True)
        left.plot([], [], "o", color=color, label=name)
    left.set(xlabel="backscatter (dB)", ylabel="weight", ylim=(0.95, np.e + 0.35))
    left.legend(loc="upper center", ncols=2, fontsize=9, handletextpad=0.1)
    targets_db = np.arange(0, 41, 2.5)
    scene = speckle.draw_speckle((patch_px, patch_px), 2.5, 0)
    medians, spreads = [], []
    for target in targets_db:
        scene[0, 0] = radiometry.to_power(target)
        drawn = sar_weights_db(radiometry.to_db(scene)[None])
        medians.append(np.median(drawn))
        spreads.append(np.percentile(drawn, [5, 95]))
    middle.fill_between(targets_db, *np.transpose(spreads), color=SKY, alpha=0.5, label="5 to 95 % of pixels")
    middle.plot(targets_db, medians, color=BLUE, label="median pixel")
    middle.axhline(np.e, color="k", linewidth=0.8, linestyle="--")
    middle.set(xlabel="one pixel this far above the mean (dB)", ylabel="weight", ylim=(0.95, np.e + 0.35))
    middle.legend(loc="lower right")
    of_median = np.nanmedian(weights, axis=(1, 2))
    flat = float((of_median > 0.95 * np.e).mean())
    right.hist(of_median, bins=np.linspace(1, np.e, 40), color=SKY)
    right.axvline(0.95 * np.e, color=VERMILION)
    right.set(xlabel="weight of the patch's median pixel", ylabel="patches")
    right.set_title(f"above 0.95 e in {flat:.0%} of {len(patches)} patches")
    left.set_title(f"two patches of {patch_px} × {patch_px} pixels")
    middle.set_title("a target put into speckle (drawn, L = 2.5)")
    return fig


def _patches(power: FloatArray, size: int) -> FloatArray:
    """The image cut into squares, those with data everywhere that any is missing left out: (n, size, size)."""
    rows, cols = (n // size for n in power.shape)
    cut = power[: rows * size, : cols * size].reshape(rows, size, cols, size).swapaxes(1, 2).reshape(-1, size, size)
    whole = cut[np.isfinite(cut).all(axis=(1, 2))]
    return np.asarray(whole if len(whole) else cut[np.isfinite(cut).any(axis=(1, 2))])
