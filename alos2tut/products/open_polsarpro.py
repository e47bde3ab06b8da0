"""Folders of PolSARpro as products: T3, C3, C2, T4 and S2, whose elements (:mod:`.polsarpro`) give powers."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError, quoted
from .archives import errors_named
from .georeference import parsed_crs
from .given import Given
from .metadata import POLARIZATIONS, MapGrid
from .open_rasters import map_grid
from .polsarpro import (
    CROSS,
    HEADERS,
    LEAST,
    MOST,
    POLAR_TYPES,
    POWERS,
    Element,
    Formula,
    PowerBand,
    SlcBand,
    element_of,
    power_of,
    read_config,
    read_elements,
    read_header,
)
from .product import Product
from .rasters import RasterBand
from .sources import Delivery, FileSource, find_files

#: what has to be said of names that files do not settle
_NAMING = {
    "S2": "HV is s21 (transmitted in H), VH is s12, as PolSARpro imports ALOS-2",
    "T4": "HV and VH are told apart by Im T34 as SNAP writes it, k4 = i(HV − VH)/√2; in a T4 that PolSARpro made of an "
    "ALOS-2 scene they are the other way round, and no file says whose it is",
}
#: what "sensor type" of a header says where it says nothing
_NO_SENSOR = ("", "none", "unknown")
_READ_AS = ("float32", "float64", "complex64", "complex128")
#: pixels of a file that are looked at when it is opened, and those of a strip
_LOOKED_AT, _STRIP_PX = 2**25, 2**20
#: share of pixels whose power may be zero or negative
_MOST_BAD = 0.05
#: how far |Tij|² may exceed Tii · Tjj by the rounding of float32, relative
_ROUNDING = 1e-5
#: powers that cannot be, of which one is no data
_BAD: dict[str, Callable[[NDArray[np.float64]], NDArray[np.bool_]]] = {
    "zero": lambda power: (power >= 0) & (power < LEAST),
    "negative": lambda power: power < 0,
    "infinite": lambda power: power > MOST,
}
#: of an element off the diagonal: its real and imaginary part, and the two on the diagonal
_Pair: TypeAlias = tuple[str, str, str, str]


def is_polsarpro(path: Path) -> bool:
    """Whether a path is a folder with elements of a matrix, or with ``config.txt``; or such a file in one."""
    if path.is_dir():
        return any(_is_one_of_it(entry) for entry in path.iterdir() if entry.is_file())
    return element_of(path.name) is not None or (path.name == "config.txt" and is_polsarpro(path.parent))


def _is_one_of_it(path: Path) -> bool:
    if path.name != "config.txt":
        return path.suffix == ".bin" and element_of(path.name) is not None
    # others call their settings so, too
    with errors_named(path), path.open("rb") as file:
        return file.read(4) == b"Nrow"


def open_polsarpro(path: Path, given: Given) -> Product:
    """Open a PolSARpro folder: T3, C3, C2, T4 or S2.

    Args:
        path: the folder, or a file in it.
        given: what the user says of it. The quantity must be said; the polarisation where ``config.txt`` does not name
            the channels of C2. ``polarization`` otherwise says which powers must be there.

    Raises:
        Alos2TutError: an element missing of which a power is made that was asked for; sizes or types that contradict
            each other or the files; more than 5 % of the pixels of zero or negative power; something that was said and
            cannot be.
    """
    delivery = find_files(path)
    files = next(iter(delivery.folders.values()))
    folder = path.absolute() if path.is_dir() else path.absolute().parent
    config = read_config(files.get("config.txt"))
    polar_type, asked = config.get("PolarType", "").lower(), given.polarizations
    packaging = _packaging(delivery, files, polar_type, folder.name)
    _check_given(given, packaging, path)
    names = [name for name in _names(files) if name[0].upper() == packaging[0]]
    powers = _powers(packaging, polar_type, asked, path)
    notes = [f"given by the user: {given.to_text()}", *([_NAMING[packaging]] if packaging in _NAMING else [])]
    if packaging == "T4" and "T34_imag" not in names:
        powers = powers | dict.fromkeys(("HV", "VH"), CROSS)
        notes.append("T34_imag.bin is missing: HV and VH are both their mean")
    offered = _offered(powers, asked, names, path, notes)
    headers = {name: read_header(name, files) for name in names}
    elements = read_elements(files, headers, config, given.no_data, packaging == "S2")
    bare = sorted(name for name in names if not headers[name])
    if bare:
        notes.append(f"without a header, and read as little-endian numbers of 32 bits: {', '.join(bare)}")
    census = _survey(offered, _pairs(packaging, elements, notes), elements)
    fit = _fit(census, offered, asked, path, notes)
    grid = _grid(files, headers, given, path, notes)
    texts = [files[name] for name in ("config.txt", *(f"{n}{e}" for n in names for e in HEADERS)) if name in files]
    sensor = next((s for h in headers.values() if (s := h.get("sensor type", "")).lower() not in _NO_SENSOR), None)
    missing = {"spacing": grid or given.spacing_m, "sensor": given.sensor or sensor}
    return Product(
        path=path,
        kind=f"PolSARpro {packaging}",
        level="image",
        shape=next(iter(elements.values())).shape,
        grid=grid,
        polarizations=tuple(sorted(fit, key=POLARIZATIONS.index)),
        quantity=given.quantity or "",
        calibration_factor_db=0.0,
        calibration_source="the matrix, whose elements are powers",
        files=tuple(source.path for source in (*(element.source for element in elements.values()), *texts)),
        bands={
            pol: SlcBand(elements[offered[pol][0][1]]) if packaging == "S2" else PowerBand(offered[pol], elements)
            for pol in fit
        },
        scene_id=f"{folder.parent.name}_{folder.name}" if folder.name.upper() in (*POWERS, "C2") else folder.name,
        stated_spacing_m=given.spacing_m,
        sensor=given.sensor or sensor,
        given=given.of_pixels,
        gaps=("acquisition time", "scene incidence", "looks", *(name for name, value in missing.items() if not value)),
        notes=tuple(notes),
    )


def _names(files: Mapping[str, FileSource]) -> list[str]:
    """The elements that are there."""
    return [name for file in files if file.endswith(".bin") and (name := element_of(file))]


def _check_given(given: Given, packaging: str, path: Path) -> None:
    """Refuse what cannot be said of a matrix, and ask for its quantity."""
    given.refuse(path, f"a folder of {packaging}", ["scan"])
    if given.scale not in (None, "power"):
        raise Alos2TutError(
            f"scale={given.scale} is said of {packaging}, a matrix whose elements are linear in power",
            where=path,
            remedy="Leave scale out.",
        )
    if given.quantity is None:
        raise Alos2TutError(
            f"no file says whether the powers of {packaging} are sigma0, gamma0 or beta0",
            where=path,
            remedy="Say quantity='sigma0', 'gamma0' or 'beta0' if you know it, else quantity='relative'.",
        )


def _packaging(delivery: Delivery, files: Mapping[str, FileSource], polar_type: str, folder: str) -> str:
    """T3, T4, C3, C2 or S2, by the elements that are there."""
    named = element_of(delivery.named)
    kinds = {name[0] for name in ([named] if named else _names(files))}
    kind = folder[0] if folder[:1] in kinds else min(kinds, default="")
    if not kinds or (len(kinds) > 1 and kind != folder[:1]):
        found = "elements of several matrices" if kinds else "no element of a matrix, as T11.bin or s11.bin"
        raise Alos2TutError(
            f"holds {found}", where=delivery.path, remedy="Name a file of one, or the folder that holds it."
        )
    if kind == "s":
        return "S2"
    largest = max(int(digit) for name in _names(files) if name[0] == kind for digit in name[1:3])
    if folder in (f"{kind}2", f"{kind}3"):
        largest = max(largest, int(folder[1]))
    elif largest < 3:
        # C2 and T2 hold no more, and of C3 and T3 the rest may be missing
        largest = 2 if polar_type.startswith("pp") or (kind == "C" and polar_type != "full") else 3
    packaging = f"{kind}{6 if largest > 4 else largest}"
    if packaging not in (*POWERS, "C2"):
        raise Alos2TutError(
            f"is a folder of {packaging}", where=delivery.path, remedy=f"Read are {', '.join((*POWERS, 'C2'))}."
        )
    return packaging


def _powers(packaging: str, polar_type: str, asked: Sequence[str], path: Path) -> dict[str, Formula]:
    """The formulas of a packaging by polarisation, of which those that are asked for must be some."""
    powers = POWERS.get(packaging, {})
    if packaging == "C2":
        channels = POLAR_TYPES.get(polar_type, asked)
        if len(channels) != 2:
            raise Alos2TutError(
                f"PolarType {quoted(polar_type)} of config.txt does not say which two channels C11 and C22 are",
                where=path,
                remedy="Say polarization='HH,HV', in the order of C11 and C22.",
            )
        powers = {channels[0]: ((1, "C11"),), channels[1]: ((1, "C22"),)}
    if unknown := [pol for pol in asked if pol not in powers]:
        by = f" by PolarType {polar_type} of config.txt" if packaging == "C2" else ""
        problem = f"{packaging} has no polarisation {', '.join(unknown)}"
        raise Alos2TutError(problem, where=path, remedy=f"It has {', '.join(powers)}{by}.")
    return powers


def _offered(
    powers: Mapping[str, Formula], asked: Sequence[str], names: Sequence[str], path: Path, notes: list[str]
) -> dict[str, Formula]:
    """The powers all of whose elements are there; an error names those of one that was asked for, or of all."""
    lacks = {pol: [name for _, name in formula if name not in names] for pol, formula in powers.items()}
    offered = {pol: formula for pol, formula in powers.items() if not lacks[pol]}
    for pol in [pol for pol in asked if lacks[pol]] or ([] if offered else list(powers)):
        files = ", ".join(f"{name}.bin" for name in lacks[pol])
        raise Alos2TutError(f"lacks {files}, of which {pol} is made", where=path, remedy="Copy the whole folder.")
    for pol in [pol for pol in powers if pol not in offered]:
        notes.append(f"{pol} is not offered: {', '.join(f'{name}.bin' for name in lacks[pol])} not there")
    return offered


def _pairs(packaging: str, elements: Mapping[str, Element], notes: list[str]) -> dict[str, _Pair]:
    """What of the matrix can be checked for being positive: |Tij|² ≤ Tii · Tjj."""
    kind, size = packaging[0], 0 if packaging == "S2" else int(packaging[1])
    pairs = {
        f"{kind}{i}{j}": (f"{kind}{i}{j}_real", f"{kind}{i}{j}_imag", f"{kind}{i}{i}", f"{kind}{j}{j}")
        for i, j in combinations(range(1, size + 1), 2)
    }
    checked = {name: pair for name, pair in pairs.items() if elements.keys() >= {*pair}}
    if absent := [name for name in pairs if name not in checked]:
        notes.append(f"whether the matrix is positive is not checked by {', '.join(absent)}: elements are not there")
    return checked


@dataclass
class _Census:
    """How many pixels there are, how many were looked at, and those of them that cannot be."""

    pixels: int
    looked_at: int = 0
    #: by polarisation those with a number, and those of a kind of :data:`_BAD`
    numbers: Counter[str] = field(default_factory=Counter)
    bad: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    #: by element off the diagonal
    not_positive: Counter[str] = field(default_factory=Counter)


def _survey(offered: Mapping[str, Formula], pairs: Mapping[str, _Pair], elements: Mapping[str, Element]) -> _Census:
    """Count all pixels; of more than 32 million those of strips that are spread evenly."""
    rows, cols = next(iter(elements.values())).shape
    step = max(_STRIP_PX // cols, 1)
    starts = np.arange(0, rows, step)
    if rows * cols > _LOOKED_AT:
        starts = starts[np.unique(np.linspace(0, len(starts) - 1, _LOOKED_AT // (step * cols)).astype(int))]
    census = _Census(rows * cols)
    for first in starts.tolist():
        area = slice(first, min(first + step, rows)), slice(0, cols)
        parts = {name: next(iter(element.strips(*area, step))) for name, element in elements.items()}
        census.looked_at += (area[0].stop - first) * cols
        for pol, formula in offered.items():
            power = power_of(formula, parts)
            census.numbers[pol] += int(np.count_nonzero(~np.isnan(power)))
            census.bad[pol] += Counter({kind: int(np.count_nonzero(is_bad(power))) for kind, is_bad in _BAD.items()})
        for name, pair in pairs.items():
            real, imag, *diagonal = (power_of(((1, part),), parts) for part in pair)
            most = math.prod(diagonal) * (1 + _ROUNDING)
            census.not_positive[name] += int(np.count_nonzero(real**2 + imag**2 > most))
    return census


def _fit(
    census: _Census, offered: Mapping[str, Formula], asked: Sequence[str], path: Path, notes: list[str]
) -> list[str]:
    """The polarisations that are fit for use; what was counted goes into the notes."""
    if census.looked_at < census.pixels:
        notes.append(f"powers were counted in {census.looked_at:,} of {census.pixels:,} pixels, spread evenly")
    fit = []
    for pol in offered:
        numbers, bad = census.numbers[pol], census.bad[pol]
        share = bad.total() / numbers if numbers else 1.0
        kinds = ", ".join(f"{count:,} are {kind}" for kind, count in bad.items()) or "none is there"
        told = f"of {numbers:,} powers of {pol} {kinds} ({100 * share:.2g} %)"
        if share <= _MOST_BAD:
            fit.append(pol)
            notes += [f"{told}: they count as no data"] if bad else []
        elif asked and pol not in asked:
            notes.append(f"{pol} is not offered: {told}")
        else:
            remedy = (
                "If a number stands for no data, say which, as no_data=0; if the byte order is another, state it in "
                "headers; or name another polarization."
            )
            raise Alos2TutError(told, where=path, remedy=remedy)
    shares = {name: count / census.looked_at for name, count in census.not_positive.items() if count}
    if shares:
        broken = ", ".join(f"|{n}|² > {n[0]}{n[1] * 2}·{n[0]}{n[2] * 2} in {100 * s:.2g} %" for n, s in shares.items())
        notes.append(f"the matrix is not positive everywhere: {broken} of the pixels")
    return fit


def _grid(
    files: Mapping[str, FileSource],
    headers: Mapping[str, Mapping[str, str]],
    given: Given,
    path: Path,
    notes: list[str],
) -> MapGrid | None:
    """Where the pixels lie on a map; None where the headers state none, or PolSARpro's placeholder of one."""
    stated = {name: header["map info"] for name, header in headers.items() if "map info" in header}
    real = {name: text for name, text in stated.items() if not _is_placeholder(text)}
    if stated and not real:
        notes.append(f"map info = {next(iter(stated.values()))[:100]} is a placeholder and was not used")
    if len({re.sub(r"\s", "", text) for text in real.values()}) > 1:
        raise Alos2TutError("its headers state different maps", where=path, remedy="Correct the wrong ones.")
    system = None if given.crs is None else parsed_crs(given.crs, path)
    if real:
        given.refuse(path, "a folder whose headers state a map", ["spacing_m"])
        return map_grid(RasterBand.open(files[f"{next(iter(real))}.bin"], _READ_AS), system)
    if system is not None:
        raise Alos2TutError(f"states no map: {system.to_string()} cannot place it", where=path, remedy="Leave crs out.")
    return None


def _is_placeholder(map_info: str) -> bool:
    """Whether it is what programs write where they know none: no projection, or origin 0, 0 and spacing 1."""
    fields = [text.strip() for text in map_info.strip("{} ").split(",")]
    try:
        return fields[0].lower() in ("", "arbitrary") or [float(text) for text in fields[3:7]] == [0, 0, 1, 1]
    except ValueError:
        return False
