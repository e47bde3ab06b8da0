"""Checks of arguments that many functions take: counts, windows, looks, arrays of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import Alos2TutError

FloatArray = NDArray[np.floating[Any]]


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is a whole number of at least ``least``; True is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least


def look_pair(looks: int | Sequence[int], *, most: int | None = None) -> tuple[int, int]:
    """Looks as (rows, columns), of one number for both or a pair.

    Raises:
        Alos2TutError: anything but one or two whole numbers of at least 1, or one above ``most``.
    """
    pair: tuple[Any, ...] = tuple(looks) if isinstance(looks, (tuple, list)) else (looks, looks)
    if len(pair) != 2 or not all(map(is_count, pair)):
        raise Alos2TutError(f"looks={looks!r} is not a whole number of at least 1, or a pair of them", where="looks")
    if most is not None and max(pair) > most:
        raise Alos2TutError(
            f"looks={looks!r} is more than {most}, the most pixels along a side of a block",
            where="looks",
            remedy="Read with fewer, and average what comes by radiometry.multilook.",
        )
    return int(pair[0]), int(pair[1])


def as_numbers(values: ArrayLike, where: str) -> NDArray[Any]:
    """An array of real or complex numbers, NaN where they are masked; text and uneven rows raise an error."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise Alos2TutError("is no array: its rows are of unequal lengths", where=where) from error
    if array.dtype.kind not in "fiuc":
        raise Alos2TutError(f"holds {array.dtype}, not numbers", where=where)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        array = np.where(np.ma.getmaskarray(values), np.nan, array).astype(np.result_type(array.dtype, np.float32))
    return array


def as_real(values: ArrayLike, where: str) -> FloatArray:
    """What :func:`as_numbers` does, as floats of at least float32; complex numbers raise an error, too."""
    array = as_numbers(values, where)
    if np.iscomplexobj(array):
        raise Alos2TutError("is complex", where=where, remedy="Give its squared magnitude.")
    return array.astype(np.result_type(array.dtype, np.float32), copy=False)


def check_positive(value: float, where: str = "looks") -> float:
    """A number, such as of looks; raises an error that names ``where`` if it is not finite and above zero."""
    if not (is_number(value) and 0 < value < math.inf):
        raise Alos2TutError(f"{where}={value!r} is not a finite number above 0", where=where)
    return float(value)


def check_window(window: int, shape: tuple[int, ...]) -> None:
    """Raise an error unless a window is an odd whole number of at least 3 and fits into an image of this shape."""
    if not is_count(window) or window < 3 or window % 2 == 0:
        raise Alos2TutError(f"window={window!r} is not an odd whole number of at least 3", where="window")
    check_fits(window, shape, where="window")


def check_fits(size: int, shape: tuple[int, ...], where: str) -> None:
    """Raise an error that names ``where`` unless a window of ``size`` × ``size`` pixels fits into an image."""
    if size > min(shape):
        problem = f"a window of {size} pixels is larger than the image of {shape[0]} × {shape[1]}"
        raise Alos2TutError(problem, where=where, remedy="Take a smaller one.")


def is_number(value: Any) -> bool:
    """Whether a value is a real number; True and text are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
