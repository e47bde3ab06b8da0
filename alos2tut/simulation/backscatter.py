"""Backscatter of the simulated scene: the mean σ0 of a surface at its angles, gamma texture, and one-look speckle."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from .landcover import Ground
from .priors import Floats, Priors, prior
from .terrain import generator

SPACING_M = 2.5
INCIDENCE_DEG, OFF_NADIR_DEG, HEADING_DEG = (
    float(prior("scene", name)) for name in ("incidence_deg", "off_nadir_deg", "heading_deg")
)
#: direction of the right-looking radar's view, 90° right of the heading, counted from east towards north
_LOOK_RAD = math.radians(90 - (HEADING_DEG + 90))
#: streams of random numbers: two parts of the speckle field, and the texture's
_SPECKLE, _TEXTURE = (101, 102), 103
#: pixels around a block that its filters reach; side of a tile of random numbers
_HALO, _TILE = 8, 128
#: half of the filter that gives white noise the correlation of speckle of 3 m resolution without a window, sampled
#: at 2.5 m, from its end to its middle: benchmarks/simulator_validation.py derives it
_HALF_TAPS = (-0.031049, 0.054099, -0.041188, -0.009263, 0.090918, -0.182294, 0.254252, 0.881119)
_TAPS = np.array([*_HALF_TAPS, *_HALF_TAPS[-2::-1]], dtype=np.float32)

FloatArray: TypeAlias = NDArray[np.floating[Any]]


def mean_db(ground: Ground, incidence_rad: Floats, priors: Priors) -> Floats:
    """Mean σ0 in dB of a surface at its place: level of its parcel, incidence, slope, rows and walls.

    Incidence is that on level ground; all arrays have the shape of the ground's fields.
    """
    surface = ground.surface
    db = priors.sigma0_db[surface] + priors.parcel_db[surface] * ground.level - _parcel_bias_db(priors)[surface]
    cosine = np.cos(incidence_rad) / math.cos(math.radians(INCIDENCE_DEG))
    db += priors.incidence_power[surface] * (10 * np.log10(cosine))
    db += _slope_gain_db(ground, incidence_rad, priors)
    paddies, walls = (np.nonzero(surface == priors.number(name)) for name in ("paddy", "wall"))
    db[paddies] += _row_gain_db(ground.direction_rad[paddies], incidence_rad[paddies], priors)
    db[walls] += _wall_gain_db(ground.direction_rad[walls], priors)
    return np.asarray(db, dtype=np.float32)


def _parcel_bias_db(priors: Priors) -> Floats:
    """What parcels that spread evenly in dB add to the mean power: sinh(a)/a with a = √3 · s · ln 10 / 10.

    Derived here from the uniform law of the levels; of levels with a normal law it is so up to the second order.
    """
    a = np.maximum(math.sqrt(3) * math.log(10) / 10 * priors.parcel_db, 1e-3)
    return np.asarray(10 * np.log10(np.sinh(a) / a), dtype=np.float32)


def _slope_gain_db(ground: Ground, incidence_rad: Floats, priors: Priors) -> Floats:
    """Slopes towards the radar are brighter: more ground falls into the same stretch of range.

    The table's levels hold for hills as a whole, so the power mean over all aspects is taken off the gain.
    """
    rise = ground.rise_east * np.float32(math.cos(_LOOK_RAD)) + ground.rise_north * np.float32(math.sin(_LOOK_RAD))
    most_db = priors.radar["slope_gain_db"]
    usual = np.interp(np.hypot(ground.rise_east, ground.rise_north), _STEEPNESS, _aspect_mean_db(most_db))
    return np.asarray(_gain_of_rise_db(rise, incidence_rad, most_db) - usual, dtype=np.float32)


def _gain_of_rise_db(rise: FloatArray, incidence_rad: Any, most_db: float) -> FloatArray:
    """What a rise along the view adds to level ground's σ0.

    With γ0 constant, σ0 per area of the level Earth is γ0 · sin θ / tan θ_local; over level ground that is
    tan θ / tan θ_local (after Ulander 1996, for slopes along the view). Level 2.1 is put in its place with an elevation
    model, as here, but keeps this brightness. Layover and shadow are not modelled; the gain is limited instead.
    """
    local = np.clip(incidence_rad - np.arctan(rise), np.float32(0.05), np.float32(1.45))
    return np.asarray(np.clip(10 * np.log10(np.tan(incidence_rad) / np.tan(local)), -most_db, most_db))


#: metres per metre at which the mean over aspects is tabled
_STEEPNESS = np.linspace(0, 2, 201)


@cache
def _aspect_mean_db(most_db: float) -> FloatArray:
    """Power mean of the gain of slopes that fall in all directions alike, at the scene's centre (derived here)."""
    aspect_rad = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    rise = _STEEPNESS[:, None] * np.cos(aspect_rad)
    gain_db = _gain_of_rise_db(rise, math.radians(INCIDENCE_DEG), most_db)
    return np.asarray(10 * np.log10(np.mean(10 ** (gain_db / 10), axis=1)))


def _row_gain_db(rows_rad: Floats, incidence_rad: Floats, priors: Priors) -> Floats:
    """Rows of rice echo in phase where their distance d, seen along the view, is half a wavelength: Bragg.

    The condition is 2 · d · sin θ · |cos ψ| = λ, with ψ between the view and the direction across the rows. A cell of
    the resolution r holds r/d rows, so the peak in sin θ · |cos ψ| is λ / (2r) wide (derived here).
    """
    radar = priors.radar
    across = np.abs(np.sin(rows_rad - np.float32(_LOOK_RAD)))
    resonant = radar["wavelength_m"] / (2 * radar["paddy_row_m"])
    width = radar["wavelength_m"] / (2 * radar["resolution_m"])
    away = (np.sin(incidence_rad) * across - resonant) / width
    return np.asarray(priors.row_resonance_db * np.exp(-(away**2)), dtype=np.float32)


def _wall_gain_db(normal_rad: Floats, priors: Priors) -> Floats:
    """Walls that face the radar form corners with the ground; those that face away stand in their house's shadow."""
    radar = priors.radar
    turned = np.remainder(normal_rad - np.float32(_LOOK_RAD), np.float32(2 * math.pi)) - np.float32(math.pi)
    gain = radar["double_bounce_db"] * np.exp(-((turned / math.radians(radar["double_bounce_width_deg"])) ** 2))
    return np.asarray(np.where(np.abs(turned) < math.pi / 2, gain, radar["shadow_db"]), dtype=np.float32)


def from_db(db: Any) -> Any:
    """10^(dB/10) in single precision."""
    return np.exp(db * np.float32(math.log(10) / 10))


# --- texture and speckle


class Noise:
    """Random fields of a block of pixels, cut from fields that cover the plane: no pixel depends on the block.

    They are drawn tile by tile of the pixel grid, from counters.
    """

    def __init__(self, seed: int, rows: slice, cols: slice):
        self._seed, self._rows, self._cols = seed, rows, cols

    def speckle(self) -> Floats:
        """|z|² of a complex normal field: one look, mean 1, neighbours correlate by resolution and window."""
        parts = []
        for stream in _SPECKLE:
            part = self._white(stream)
            for axis in (0, 1):
                part = ndimage.convolve1d(part, _TAPS, axis=axis)
            parts.append(self._core(part) ** 2)
        return np.asarray((parts[0] + parts[1]) / 2, dtype=np.float32)

    def texture(self, surface: NDArray[np.uint8], priors: Priors) -> Floats:
        """Gamma texture of mean 1: a correlated normal field, mapped to each surface's law.

        Surfaces of another correlation length have another field of the same white noise.
        """
        length_m = priors.texture_length_m[surface]
        white = self._white(_TEXTURE)
        level = np.zeros(surface.shape, dtype=np.uint16)
        for length in np.unique(length_m[length_m > 0]):
            # a filter of width s leaves a correlation of exp(−(d/2s)²)
            sigma = float(length) / 2 / SPACING_M
            normal = self._core(ndimage.gaussian_filter(white, sigma)) / _gaussian_gain(sigma)
            step = np.rint((np.clip(normal, -_LARGEST, _LARGEST) + np.float32(_LARGEST)) * _STEPS_PER_UNIT)
            level = np.where(length_m == length, step.astype(np.uint16), level)
        return _texture_table(priors.texture_order.tobytes())[surface, level]

    def _core(self, padded: Floats) -> Floats:
        return padded[_HALO:-_HALO, _HALO:-_HALO]

    def _white(self, stream: int) -> Floats:
        """White noise of the block with a halo, put together from tiles."""
        (top, bottom), (left, right) = ((part.start - _HALO, part.stop + _HALO) for part in (self._rows, self._cols))
        noise = np.empty((bottom - top, right - left), np.float32)
        for row in range(top // _TILE, -(-bottom // _TILE)):
            for col in range(left // _TILE, -(-right // _TILE)):
                y, x = row * _TILE, col * _TILE
                rows, cols = slice(max(y, top), min(y + _TILE, bottom)), slice(max(x, left), min(x + _TILE, right))
                tile = _white_tile(self._seed, stream, row, col)
                noise[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = tile[
                    rows.start - y : rows.stop - y, cols.start - x : cols.stop - x
                ]
        return noise


@lru_cache(maxsize=256)
def _white_tile(seed: int, stream: int, row: int, col: int) -> Floats:
    """Standard normal numbers of a tile of the pixel grid; neighbouring blocks ask for it again."""
    return generator(seed, stream, (row, col)).standard_normal((_TILE, _TILE), dtype=np.float32)


@cache
def _gaussian_gain(sigma: float) -> np.float32:
    """Spread that a Gaussian filter along both axes leaves of white noise."""
    impulse = np.zeros(2 * _HALO + 1)
    impulse[_HALO] = 1
    return np.float32(np.sum(ndimage.gaussian_filter1d(impulse, sigma) ** 2))


#: steps of standard normal numbers, and the largest of these
_LEVELS, _LARGEST = 4096, 5.5
_STEPS_PER_UNIT = np.float32((_LEVELS - 1) / (2 * _LARGEST))


@cache
def _texture_table(orders: bytes) -> Floats:
    """Gamma deviates of mean 1 for each surface and step of a standard normal number; 1 where there is no texture."""
    probability = stats.norm.cdf(np.linspace(-_LARGEST, _LARGEST, _LEVELS))
    order = np.frombuffer(orders, dtype=np.float32)
    table = np.ones((order.size, _LEVELS), dtype=np.float32)
    for row, nu in zip(table, order, strict=True):
        if np.isfinite(nu):
            row[:] = stats.gamma.ppf(probability, nu, scale=1 / nu)
    return table
