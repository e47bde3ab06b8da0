"""How backscatter is stored and standardised: int16 hundredths of dB, and the statistics that travel with weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..core.config import from_dict
from ..core.errors import Alos2TutError, quoted

#: Value of a pixel without data in a store.
NO_DATA = -32768

#: Steps of a store per dB.
STEPS_PER_DB = 100.0

#: Pixel sizes that differ by at most this share count as equal: degrees change their length with latitude.
SPACING_TOLERANCE = 0.05


def encode_db(backscatter_db: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Backscatter in dB as int16 hundredths of dB; NaN becomes :data:`NO_DATA`.

    The step of 0.01 dB is a thousandth of the spread of one-look speckle.
    """
    steps = np.multiply(backscatter_db, STEPS_PER_DB, dtype=np.float32)
    np.rint(steps, out=steps)
    np.clip(steps, NO_DATA + 1, -(NO_DATA + 1), out=steps)
    np.copyto(steps, np.float32(NO_DATA), where=np.isnan(steps))
    return np.asarray(steps.astype(np.int16))


def decode_db(rows: NDArray[np.int16]) -> NDArray[np.float32]:
    """The inverse of :func:`encode_db`: float32 dB, NaN where there is no data."""
    decoded = np.empty(rows.shape, np.float32)
    # patch by patch, so that both passes find the numbers in the processor's cache
    for steps, db in zip(rows, decoded, strict=True) if rows.ndim > 1 else [(rows, decoded)]:
        np.divide(steps, np.float32(STEPS_PER_DB), out=db, dtype=np.float32)
        np.copyto(db, np.float32(np.nan), where=steps == NO_DATA)
    return decoded


def step_sums(steps: NDArray[np.int16]) -> tuple[int, int, int]:
    """Count, sum and sum of squares of a store's steps, without those of no data: whole numbers, exact in any order."""
    values = steps[steps != NO_DATA].astype(np.int64)
    return values.size, int(values.sum()), int(np.dot(values, values))


def same_spacing(one: ArrayLike | None, other: ArrayLike | None) -> bool:
    """Whether two pixel sizes are known, and equal to within :data:`SPACING_TOLERANCE`.

    Args:
        one: metres, one number or (rows, columns); None: unknown.
        other: the same; the order of the two makes no difference.
    """
    if one is None or other is None:
        return False
    a, b = (np.broadcast_to(np.asarray(spacing, dtype=np.float64), (2,)) for spacing in (one, other))
    return bool((np.abs(a - b) <= SPACING_TOLERANCE * np.minimum(a, b)).all())


_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True)
class Statistics:
    """Mean and spread of backscatter in dB by channel: what network input is standardised by.

    The one place where dB are averaged: this describes network input, not the ground.
    """

    mean_db: Annotated[tuple[_Number, ...], Field(min_length=1)]
    std_db: Annotated[tuple[Annotated[_Number, Field(gt=0)], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean_db) != len(self.std_db):
            raise ValueError(f"mean_db has {len(self.mean_db)} channels, std_db {len(self.std_db)}")
        return self

    def to_dict(self) -> dict[str, list[float]]:
        """Plain content for JSON."""
        return {"mean_db": list(self.mean_db), "std_db": list(self.std_db)}

    @classmethod
    def from_sums(cls, sums: Sequence[Sequence[int]], *, where: str | Path) -> Statistics:
        """From count, sum and sum of squares of each channel's steps, as :func:`step_sums` gives them.

        Raises:
            Alos2TutError: a channel without data.
        """
        mean, std = [], []
        for count, total, squares in sums:
            if not count:
                raise Alos2TutError("no pixel has data, so there are no statistics", where=where)
            # whole numbers up to the last division: nothing cancels
            variance = (int(count) * int(squares) - int(total) ** 2) / int(count) ** 2
            mean.append(round(int(total) / int(count) / STEPS_PER_DB, 4))
            std.append(round(max(math.sqrt(variance) / STEPS_PER_DB, 1e-4), 4))
        return cls(tuple(mean), tuple(std))

    @classmethod
    def from_dict(cls, content: Any, *, where: str | Path) -> Statistics:
        """From plain content; numbers that cannot standardise anything are refused."""
        if not isinstance(content, dict):
            raise Alos2TutError(f"statistics hold 'mean_db' and 'std_db', not {quoted(content)}", where=where)
        return from_dict(cls, content, where=f"{where}, statistics")
