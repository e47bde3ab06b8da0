"""Numbers as people read them: intervals in one form, tables in even columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: what stands where there is no number
NOTHING = "–"


@dataclass(frozen=True)
class Interval:
    """A number with its confidence interval, as ``0.495 [0.482, 0.512]``.

    Attributes:
        value: the number; None: there is none.
        low: lower end; None: no interval.
        high: upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float | None, ends: Sequence[float] | None) -> Interval:
        """From a number and the pair of ends that reports hold, either of which may be None."""
        return cls(value, *(ends or (None, None)))

    def to_text(self, digits: int = 3, *, signed: bool = False) -> str:
        """As people read it; a :data:`NOTHING` where there is no number, no brackets where there is no interval.

        Args:
            digits: behind the decimal point.
            signed: show the sign of positive numbers, too: for differences.
        """
        form = f"{{:{'+' if signed else ''}.{digits}f}}"
        if self.value is None:
            return NOTHING
        text = form.format(self.value)
        return text if self.low is None else f"{text} [{form.format(self.low)}, {form.format(self.high)}]"


def table(rows: Iterable[Sequence[object]], header: Sequence[object] | None = None, align: str = "<") -> str:
    """Rows in even columns, two spaces apart.

    Args:
        rows: of equal length; what is None shows as :data:`NOTHING`.
        header: the columns' names.
        align: how each column stands, ``<`` or ``>``; the last one stands for all that follow.

    Returns:
        Lines without trailing blanks; no newline at the end.
    """
    cells = [
        [NOTHING if cell is None else str(cell) for cell in row]
        for row in [*([] if header is None else [header]), *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = align.ljust(len(widths), align[-1])
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=False))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
