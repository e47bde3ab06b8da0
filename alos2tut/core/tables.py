"""Numbers as people read them: intervals in one form, tables in even columns; and tables that they write, as CSV."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Alos2TutError, visible

#: what stands where there is no number
NOTHING = "–"


#: why a score would be another one: other ground of the same kind; another training, of other first weights and
#: batches; other patches to train on
SOURCES = ("ground", "seeds", "training draws")


def coverage(covers: Sequence[str]) -> str:
    """Which of the :data:`SOURCES` an interval covers, and which not: ``cover ground, not seeds or training draws``."""
    others = " or ".join(source for source in SOURCES if source not in covers)
    return f"cover {' and '.join(covers)}" + (f", not {others}" if others else "")


@dataclass(frozen=True)
class Interval:
    """A number, or None, with the ends of its 95 % confidence interval, or without: ``0.495 [0.482, 0.512]``."""

    value: float | None
    low: float | None = None
    high: float | None = None
    #: of the :data:`SOURCES`: what the interval covers
    covers: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: float | None, ends: Sequence[float] | None, covers: Sequence[str] = ()) -> Interval:
        """From a number and the pair of ends that reports hold, either of which may be None."""
        low, high = ends or (None, None)
        return cls(value, low, high, tuple(covers))

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
        [NOTHING if cell is None else visible(str(cell)) for cell in row]
        for row in [*([] if header is None else [header]), *rows]
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = align.ljust(len(widths), align[-1])
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=False))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def read_table(
    path: Path, columns: Sequence[str], others: Sequence[str] = (), largest_bytes: int = 2**29
) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file whose first row names its columns.

    Args:
        path: the file, in UTF-8.
        columns: those that it must have, once.
        others: those that it may have, once; any further ones are read as well.
        largest_bytes: a file that is larger is no such table.

    Returns:
        Of each row that is not blank its number, the header being the first, and its stripped texts by column.

    Raises:
        Alos2TutError: no such file, no text, no CSV; a column that is missing or there twice; a row of another length.
    """
    from .artifacts import read_text  # with YAML, which help and lists of facts need not wait for

    reader = csv.reader(io.StringIO(read_text(path, "CSV", largest_bytes), newline=""), strict=True)
    header: list[str] = []
    records: list[tuple[int, dict[str, str]]] = []
    number = 0
    try:
        for number, row in enumerate(reader, 1):
            fields = [field.strip() for field in row]
            if fields and not header:
                header = fields
                _check_header(header, columns, others, path)
            elif fields and len(fields) != len(header):
                problem = f"row {number} has {len(fields)} fields, the table has {len(header)} columns"
                raise Alos2TutError(problem, where=path, remedy="Write fields that contain commas in double quotes.")
            elif fields:
                records.append((number, dict(zip(header, fields, strict=True))))
    except csv.Error as error:
        raise Alos2TutError(f"row {number + 1} is no row of a CSV file ({error})", where=path) from None
    return records


def _check_header(header: Sequence[str], columns: Sequence[str], others: Sequence[str], path: Path) -> None:
    for name in (*columns, *others):
        if header.count(name) > 1:
            raise Alos2TutError(f"has two columns '{name}'", where=path)
        if name in columns and name not in header:
            problem = f"has no column '{name}', but {textwrap.shorten(', '.join(header), 200, placeholder=' …')}"
            remedy = "The first row names the columns; commas separate them."
            raise Alos2TutError(problem, where=path, remedy=remedy)


def facts(content: Mapping[str, Any]) -> str:
    """Names and values in two columns; what is None or empty is left out, what is no text shows as JSON."""
    known = {name: value for name, value in content.items() if value not in (None, [], {})}
    return table(
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in known.items()
    )


def bytes_text(size_bytes: float) -> str:
    """A size with three digits and its decimal unit: ``3.21 GB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.0f} PB"


def count_text(count: float) -> str:
    """A large number to three figures, in words: ``173 million``, ``122 billion``, ``9,760,000 trillion``."""
    for word, size in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):,.10g} {word}"
    return f"{count:,.0f}"


def duration_text(seconds: float) -> str:
    """A time in the unit that suits it: ``2.5 hours``, ``3.0 minutes``, or ``less than 0.1 seconds``."""
    for unit, length_s in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.05 * length_s:
            return f"{seconds / length_s:,.1f} {unit}"
    return f"{seconds:.1f} seconds" if seconds >= 0.1 else "less than 0.1 seconds"
