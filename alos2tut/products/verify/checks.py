"""One thing that several sources state, and whether they agree: what all checks of a product are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ... import geometry
from ...core.errors import Alos2TutError
from ..metadata import POLARIZATIONS
from ..names import number
from ..rasters import RasterBand

Verdict: TypeAlias = Literal["agrees", "differs", "stated once", "absent", "unreadable"]


@dataclass(frozen=True)
class Check:
    """One thing that was compared: ``values`` is what each source says of it, as text.

    The verdict is "stated once" where one source alone says something, "absent" where none does, "unreadable" for a
    source that is damaged.
    """

    subject: str
    name: str
    verdict: Verdict
    values: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def unreadable(subject: str, name: str, error: Exception) -> Check:
    """A source that could not be read, and why."""
    is_ours = isinstance(error, Alos2TutError)
    fault = "" if is_ours else f"a fault of alos2tut, please report it: {type(error).__name__}: "
    return Check(subject, name, "unreadable", note=f"{fault}{error}")


# --- verdicts


def compared(
    subject: str, name: str, values: Mapping[str, Any], *, within: float = 0.0, unit: str = "", note: str = ""
) -> Check:
    """Whether all sources that say something say the same; numbers, or arrays of one shape, to within a tolerance."""
    known = {source: value for source, value in values.items() if value is not None}
    is_good, notes = None, [note] if note else []
    if len(known) > 1 and any(isinstance(value, (str, date)) for value in known.values()):
        is_good = len({_text(value) for value in known.values()}) == 1
        notes[:0] = [f"to within {within:g}{unit}"] if within else []
    elif len(known) > 1:
        apart = float(np.ptp(np.array([np.ravel(value) for value in known.values()], dtype=np.float64), axis=0).max())
        # so that a difference of just the tolerance is within it
        is_good = apart <= within * (1 + 1e-6)
        notes[:0] = [f"{apart:.3g}{unit} apart, {within:g}{unit} allowed"] if within else []
    return judged(subject, name, is_good, known, "; ".join(notes))


def table(subject: str, sources: Iterable[str], rows: Mapping[str, tuple[Any, ...]]) -> Iterator[Check]:
    """A comparison per row: what it is about, and what each source says of it, in the order of the sources."""
    for name, values in rows.items():
        yield compared(subject, name, dict(zip(sources, values, strict=False)))


def judged(subject: str, name: str, is_good: bool | None, values: Mapping[str, Any], note: str = "") -> Check:
    """A check by a rule of its own; None: too little is stated to judge."""
    texts = {source: _text(value) for source, value in values.items() if value is not None}
    verdict: Verdict = "agrees" if is_good else "differs"
    if is_good is None:
        verdict = "stated once" if texts else "absent"
    return Check(subject, name, verdict, texts, note)


def all_there(source: str, named: list[str], missing: list[str]) -> Check:
    """Whether all files that a source names lie there."""
    values = {source: f"{len(named)} files", "present": f"{len(named) - len(missing)} of them"} if named else {}
    note = f"missing: {', '.join(missing)}" if missing else ""
    return judged("files", f"named by {source}", not missing if named else None, values, note)


def alike(bands: Mapping[str, RasterBand]) -> Iterator[Check]:
    """Whether rasters have one shape and lie at one place, and call no amplitudes no data."""
    for label, band in bands.items():
        if label in POLARIZATIONS and band.statements:
            # 1 is that of the mosaic
            share = band.contradicted((0, 1))
            values = {"says": " and ".join(band.statements), "amplitudes there": f"{100 * share:.2g} % of all pixels"}
            yield judged("rasters", f"amplitudes that {label} calls no data", not share, values, "a sample of blocks")
    yield compared("rasters", "rows, columns", {label: band.shape for label, band in bands.items()})
    yield compared("rasters", "transform", {label: six_numbers(band) for label, band in bands.items()})


def _text(value: Any) -> str:
    if isinstance(value, (tuple, np.ndarray)):
        return ", ".join(_text(part) for part in value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


# --- values


def numbers(*texts: str | None) -> tuple[float, ...] | None:
    """These texts as finite numbers; None if one of them is none."""
    values = tuple(number(text) for text in texts)
    return None if None in values else tuple(value for value in values if value is not None)


def time_of(text: str | None) -> datetime | None:
    """``20140909 04:33:47.052``, ``2014-09-09T04:33:47.052Z``, ``20140909043347052`` or the day alone."""
    digits = re.sub(r"[^0-9]", "", text or "")
    try:
        time = datetime.strptime(f"{digits[:20]:0<20}", "%Y%m%d%H%M%S%f")
    except ValueError:
        return None
    # so that a second may be added to it
    return time if len(digits) >= 8 and 1900 <= time.year <= 2200 else None


def six_numbers(band: RasterBand) -> tuple[float, ...] | None:
    """A raster's transform."""
    return None if band.transform is None else tuple(band.transform)[:6]


def corner_centres(band: RasterBand) -> NDArray[np.float64] | None:
    """Map coordinates (4, 2) of the centres of a raster's corner pixels, in the order of ``geometry.CORNERS``."""
    places = geometry.corner_places(band.shape).values()
    return None if band.transform is None else np.array([band.transform * place for place in places])
