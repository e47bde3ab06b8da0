"""The files of a PolSARpro folder: what its texts state, what its elements hold, and the powers made of them.

What the elements mean is PolSARpro's own, as its sources have it (github.com/EO-College/polsarpro @ 9b613a97, a mirror
of ESA's PolSARpro). ``Soft/src/lib/util_convert.c`` makes the matrices of a scattering matrix S:

- T3 = ⟨k k†⟩ of k = (S11 + S22, S11 − S22, S12 + S21)/√2; T4 has a fourth component, i(S12 − S21)/√2;
- C3 = ⟨k k†⟩ of k = (S11, (S12 + S21)/√2, S22), so that C22 is twice the power; C2 of two channels without factors.

The first index is that of the receiving antenna, the second that of the transmitting one: the importer of ALOS-2
(``GUI/data_import/ALOS2_Input_File.tcl``) warns that "s12 = VH and s21 = HV", where JAXA's HV is transmitted in H, and
``pp1`` is HH, HV (s11, s21), ``pp2`` VV, VH (s22, s12), ``pp3`` HH, VV (s11, s22) there and in ``S2_to_C2``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError, quoted
from .rasters import LARGEST_SIDE
from .reading import FloatArray
from .sources import FileSource

#: what a power is made of: factors of elements, added; of a complex element its squared modulus
Formula: TypeAlias = tuple[tuple[float, str], ...]

_CO = ((0.5, "T11"), (0.5, "T22"))
#: what both cross-polarised powers of T4 have in common
CROSS = ((0.5, "T33"), (0.5, "T44"))
#: powers by matrix; those of C2 are named by :data:`POLAR_TYPES`. HV and VH of T4 are told apart as SNAP writes them,
#: whose fourth component is i(HV − VH)/√2 of the channels that the product calls so (PolOpUtils.java of its package
#: org.csa.rstb.gpf, computeCoherencyMatrixT4), so that Im T34 = (|VH|² − |HV|²)/2
POWERS: dict[str, dict[str, Formula]] = {
    "T3": {"HH": (*_CO, (1, "T12_real")), "HV": ((0.5, "T33"),), "VV": (*_CO, (-1, "T12_real"))},
    "T4": {
        "HH": (*_CO, (1, "T12_real")),
        "HV": (*CROSS, (-1, "T34_imag")),
        "VH": (*CROSS, (1, "T34_imag")),
        "VV": (*_CO, (-1, "T12_real")),
    },
    "C3": {"HH": ((1, "C11"),), "HV": ((0.5, "C22"),), "VV": ((1, "C33"),)},
    "S2": {"HH": ((1, "s11"),), "HV": ((1, "s21"),), "VH": ((1, "s12"),), "VV": ((1, "s22"),)},
}
#: channels of C2, C11 and C22, by ``PolarType`` of ``config.txt``
POLAR_TYPES = {"pp1": ("HH", "HV"), "pp2": ("VV", "VH"), "pp3": ("HH", "VV")}
#: what a header's name adds to that of its element
HEADERS = (".bin.hdr", ".hdr")
#: powers that float32 holds, and that have a logarithm
LEAST, MOST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

_ELEMENT = re.compile(r"(?:[TC][1-6][1-6](?:_real|_imag)?|s[12][12])")
#: types of numbers by the "data type" of ENVI's header
_TYPES = {4: "f4", 5: "f8", 6: "c8", 9: "c16"}
_LARGEST_TEXT = 2**16


@dataclass(frozen=True)
class Element:
    """The file of one element of a matrix.

    Attributes:
        source: the file.
        shape: rows and columns.
        stored: type of the numbers in the file, byte order included.
        offset: bytes before the first number.
        missing: the number that stands for no data.
    """

    source: FileSource
    shape: tuple[int, int]
    stored: np.dtype[Any]
    offset: int = 0
    missing: float | None = None

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """A window in strips of at most ``step`` rows, in native byte order; NaN for ``missing``."""
        size = self.stored.itemsize
        with self.source.opened() as file:
            for first in range(rows.start, rows.stop, step):
                lines = np.arange(first, min(first + step, rows.stop))
                values = np.empty((len(lines), cols.stop - cols.start), self.stored)
                file.read_rows(values.view(np.uint8), self.offset + (lines * self.shape[1] + cols.start) * size)
                values = values.astype(self.stored.newbyteorder("="), copy=False)
                if self.missing is not None:
                    values[values == values.dtype.type(self.missing)] = math.nan
                yield values


@dataclass(frozen=True)
class PowerBand:
    """Amplitudes √P, float32, of a power that is a sum of elements; NaN where there is none above zero."""

    formula: Formula
    elements: Mapping[str, Element]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the amplitudes."""
        return np.dtype(np.float32)

    @property
    def source(self) -> FileSource:
        """The file of the first element."""
        return self.elements[self.formula[0][1]].source

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[FloatArray]:
        """A window in strips of at most ``step`` rows."""
        files = [self.elements[name].strips(rows, cols, step) for _, name in self.formula]
        for parts in zip(*files, strict=True):
            power = power_of(self.formula, {name: part for (_, name), part in zip(self.formula, parts, strict=True)})
            power[~((power >= LEAST) & (power <= MOST))] = math.nan
            yield np.sqrt(power).astype(np.float32)


@dataclass(frozen=True)
class SlcBand:
    """Complex numbers, complex64, of an element of S2; 0 where there is no data."""

    element: Element

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers as they are read."""
        return np.dtype(np.complex64)

    @property
    def source(self) -> FileSource:
        """The file."""
        return self.element.source

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[np.complex64]]:
        """A window in strips of at most ``step`` rows."""
        for strip in self.element.strips(rows, cols, step):
            with np.errstate(over="ignore"):
                numbers = strip.astype(np.complex64, copy=False)
            numbers[~np.isfinite(numbers)] = 0
            yield numbers


def element_of(name: str | None) -> str | None:
    """The element whose file or header has this name, as "T12_real"; None for another file."""
    stem = (name or "").removesuffix(".hdr").removesuffix(".bin")
    return stem if stem != name and _ELEMENT.fullmatch(stem) else None


def power_of(formula: Formula, parts: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The sum that a formula states, float64, of its elements by name; which power it is, if any, is not looked at."""
    total: NDArray[np.float64] = np.zeros(next(iter(parts.values())).shape)
    with np.errstate(all="ignore"):
        for factor, name in formula:
            part = parts[name]
            if part.dtype.kind == "c":
                part = part.real.astype(np.float64) ** 2 + part.imag.astype(np.float64) ** 2
            total += factor * part.astype(np.float64, copy=False)
    return total


def _text(source: FileSource) -> str:
    text = source.read_all(_LARGEST_TEXT).decode("latin-1")
    if "\0" in text:
        raise Alos2TutError("is no text", where=source.where, remedy="Copy it again.")
    return text


def read_config(source: FileSource | None) -> dict[str, str]:
    """``config.txt`` as PolSARpro's ``write_config`` makes it: a name, its value, a line of hyphens; empty without it.

    Raises:
        Alos2TutError: no text, or one that does not state rows and columns.
    """
    if source is None:
        return {}
    lines = [line.strip() for line in _text(source).splitlines() if line.strip() and not line.startswith("--")]
    config = dict(zip(lines[::2], lines[1::2], strict=False))
    for name in ("Nrow", "Ncol"):
        if name not in config:
            raise Alos2TutError(f"does not state {name}", where=source.where, remedy="Copy it again.")
        _whole(config[name], name, source)
    return config


def _whole(text: str, name: str, source: FileSource) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise Alos2TutError(f"{name} is {quoted(text)}, no whole number", where=source.where, remedy="Correct it.")
    return int(text)


def read_header(name: str, files: Mapping[str, FileSource]) -> dict[str, str]:
    """The fields of an element's ENVI header, names in lower case; empty without one.

    Raises:
        Alos2TutError: no header of ENVI; no whole number of rows or columns; two headers that disagree.
    """
    sources = [files[f"{name}{end}"] for end in HEADERS if f"{name}{end}" in files]
    headers = [_fields(source) for source in sources]
    for key in ("samples", "lines", "data type", "byte order", "header offset") if len(headers) == 2 else ():
        first, second = (quoted(header.get(key)) for header in headers)
        if first != second:
            problem = f"states {key} {second}, {sources[0].name} {first}"
            raise Alos2TutError(problem, where=sources[1].where, remedy="Remove the wrong one.")
    return headers[0] if headers else {}


def _fields(source: FileSource) -> dict[str, str]:
    text = _text(source)
    if text.split("\n", 1)[0].strip() != "ENVI":
        raise Alos2TutError("is no header of ENVI", where=source.where, remedy="Copy it again, or remove it.")
    fields: dict[str, str] = {}
    key = None
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if key is not None:
            fields[key] += line
        elif sign:
            key = name.strip().lower()
            fields[key] = value.strip()
        # a value in braces may go on for several lines
        if key is not None and (not fields[key].startswith("{") or "}" in line):
            key = None
    for key, standard in (("samples", ""), ("lines", ""), ("header offset", "0")):
        _whole(fields.setdefault(key, standard), key, source)
    return fields


def read_elements(
    files: Mapping[str, FileSource],
    headers: Mapping[str, Mapping[str, str]],
    config: Mapping[str, str],
    missing: float | None,
    is_complex: bool,
) -> dict[str, Element]:
    """The files as what they hold, once all that states their size agrees.

    Args:
        files: of the folder, by name.
        headers: of the elements that are wanted, by name; little-endian numbers of 32 bits where one is empty.
        config: of :func:`read_config`.
        missing: the number that stands for no data; None: that of the headers.
        is_complex: whether numbers are complex, as those of S2.

    Raises:
        Alos2TutError: no size, two, or one that cannot be; a file that is shorter or longer; another type of numbers.
    """
    sizes = {f"the header of {name}": (int(h["lines"]), int(h["samples"])) for name, h in headers.items() if h}
    if config:
        sizes = {"config.txt": (int(config["Nrow"]), int(config["Ncol"]))} | sizes
    folder = next(iter(files.values())).path.parent
    if not sizes:
        raise Alos2TutError(
            "no file states rows and columns: there is no config.txt and no header",
            where=folder,
            remedy="Add config.txt.",
        )
    says, shape = next(iter(sizes.items()))
    for other, size in sizes.items():
        if size != shape:
            problem = f"{says} states {shape[0]} × {shape[1]} (rows × columns), {other} {size[0]} × {size[1]}"
            raise Alos2TutError(problem, where=folder, remedy="Correct the wrong one.")
    if not 1 <= min(shape) <= max(shape) <= LARGEST_SIDE:
        raise Alos2TutError(f"{says} claims {shape[0]:,} × {shape[1]:,} pixels", where=folder, remedy="Correct it.")
    elements = {}
    for name, header in headers.items():
        source = files[f"{name}.bin"]
        stored, offset = _numbers(header, source, is_complex), int(header.get("header offset", 0))
        expected = offset + math.prod(shape) * stored.itemsize
        if source.size != expected:
            problem = f"has {source.size:,} bytes; {shape[0]} × {shape[1]} numbers of {stored.itemsize} bytes"
            problem += f" after {offset:,}" if offset else ""
            raise Alos2TutError(f"{problem} are {expected:,}", where=source.where, remedy="Copy it again.")
        stated = header.get("data ignore value")
        ignored = missing if missing is not None or stated is None else _number(stated, "data ignore value", source)
        # what lies off the diagonal may have any value where there is data
        elements[name] = Element(source, shape, stored, offset, None if "_" in name else ignored)
    return elements


def _numbers(header: Mapping[str, str], source: FileSource, is_complex: bool) -> np.dtype[Any]:
    """The type of an element's numbers, byte order included: what the header says, else PolSARpro's own."""
    code = _whole(header.get("data type", "6" if is_complex else "4"), "data type", source)
    order = header.get("byte order", "0")
    if code not in _TYPES or (_TYPES[code][0] == "c") != is_complex:
        remedy = f"Expected {'6 or 9, complex' if is_complex else '4 or 5, real'} numbers."
        raise Alos2TutError(f"its header states data type {code}", where=source.where, remedy=remedy)
    for key, known in (("byte order", "01"), ("bands", "1"), ("file compression", "0")):
        if (value := header.get(key, known[0])) not in tuple(known):
            problem = f"its header states {key} {quoted(value)}"
            raise Alos2TutError(problem, where=source.where, remedy=f"Read is {' or '.join(known)}.")
    for key, neutral in (("data gain values", 1.0), ("data offset values", 0.0)):
        if (stated := header.get(key)) is not None and _number(stated.strip("{} "), key, source) != neutral:
            remedy = "Apply them, and take them out of the header."
            problem = f"its header states {key} {quoted(stated)}, which are not applied"
            raise Alos2TutError(problem, where=source.where, remedy=remedy)
    return np.dtype((">" if order == "1" else "<") + _TYPES[code])


def _number(text: str, key: str, source: FileSource) -> float:
    try:
        return float(text)
    except ValueError:
        raise Alos2TutError(f"its header's {key} {quoted(text)} is no number", where=source.where) from None
