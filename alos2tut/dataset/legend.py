"""Legends: which raw codes of a label map make which class, in which order, name and colour.

Legends are data. Some come with the package (:func:`legend_names`); any other is a YAML file of the same form, named by
its path::

    name: fields
    source: whose codes and colours these are
    classes:
      - {name: paddy field, color: [0, 128, 255], codes: [3]}
      - {name: dry field, color: [255, 193, 191], codes: [4, 5]}
    ignored: [0, 255]

A legend may merge the classes of another: of one of the package's, or of a file beside it. Each of them is named once,
in the ``of`` of a class or among the ``ignored`` (by name or by its codes); what the other ignores is ignored, too::

    name: cropland
    merges: fields.yaml
    classes:
      - {name: field, color: [0, 128, 255], of: [paddy field, dry field]}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import AfterValidator, BaseModel, Field

from ..core.artifacts import read_yaml
from ..core.config import from_dict
from ..core.errors import Alos2TutError, closest, quoted
from ..core.public import public

#: Label value of pixels that count for nothing: unlabelled, ignored, or without SAR data.
IGNORE = 255

#: Label value of codes that a legend does not know; as there are at most 254 classes, none has this index.
UNKNOWN = 254

_T = TypeVar("_T", int, str)


@dataclass(frozen=True)
class LandClass:
    """One class: its name, its colour (red, green, blue 0–255) and the raw codes merged into it."""

    name: str
    color: tuple[int, int, int]
    codes: tuple[int, ...]


@dataclass(frozen=True)
class Legend:
    """Classes in index order, and the raw codes that are ignored."""

    name: str
    source: str
    classes: tuple[LandClass, ...]
    ignored: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        """Class names in index order."""
        return [c.name for c in self.classes]

    @property
    def colors(self) -> NDArray[np.uint8]:
        """Class colours, (classes, 3) uint8."""
        return np.array([c.color for c in self.classes], dtype=np.uint8)

    def check_same(self, other: Legend, where: str | Path) -> None:
        """Refuse another legend whose classes are of other codes; names and colours are only what they are called.

        Args:
            other: that of a dataset.
            where: what knows the classes of this one; named in the error message.

        Raises:
            Alos2TutError: a class, by its index, of other codes.
        """
        for index in range(max(len(self), len(other))):
            own, asked = (
                " + ".join(map(str, sorted(legend.classes[index].codes))) if index < len(legend) else ""
                for legend in (self, other)
            )
            if own != asked:
                raise Alos2TutError(
                    f"knows class {index} as the codes {own or 'of nothing'}, the dataset as {asked or 'nothing'}",
                    where=where,
                    remedy="Build the dataset with the legend that it was trained on.",
                )

    def colormap(self) -> dict[int, tuple[int, int, int, int]]:
        """Colour table of a class raster, for GDAL: index → RGBA; :data:`IGNORE` is transparent."""
        return {i: (*c.color, 255) for i, c in enumerate(self.classes)} | {IGNORE: (0, 0, 0, 0)}

    def to_classes(self, codes: NDArray[np.integer[Any]], *, where: str | Path = "labels") -> NDArray[np.uint8]:
        """Class indices for raw codes; negative codes mean "no label here".

        Args:
            codes: raw codes of any shape, integers.
            where: named in the error message.

        Returns:
            uint8 of the same shape: 0…classes−1, or :data:`IGNORE`.

        Raises:
            Alos2TutError: a code that the legend does not know.
        """
        classes = self._classes_of(codes)
        unknown = classes == UNKNOWN
        if unknown.any():
            raise Alos2TutError(
                f"holds codes {np.unique(codes[unknown]).tolist()} that the legend '{self.name}' does not know",
                where=where,
                remedy="Use the legend of this label map, or list them under 'ignored' in a legend file.",
            )
        return classes

    def table(self, dtype: DTypeLike) -> NDArray[np.uint8]:
        """Class indices of all codes of an integer type of one or two bytes, to look many up at once.

        Returns:
            uint8 (256,) or (65536,): what :meth:`to_classes` gives, and :data:`UNKNOWN` where it would refuse; the
            place of a negative code is that of its bits taken as a positive number.
        """
        bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
        return self._classes_of(np.arange(np.iinfo(bits).max + 1).astype(bits).view(dtype))

    def _classes_of(self, codes: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        table = np.full(256, UNKNOWN, dtype=np.uint8)
        table[list(self.ignored)] = IGNORE
        for index, land_class in enumerate(self.classes):
            table[list(land_class.codes)] = index
        # whole scenes pass here: one byte per pixel, and what does not fit into it is put right afterwards
        classes = np.asarray(table[codes.astype(np.uint8)])
        classes[codes < 0] = IGNORE
        classes[codes > 255] = UNKNOWN
        return classes

    def to_dict(self) -> dict[str, Any]:
        """Plain content, as in a legend file."""
        classes = [{"name": c.name, "color": list(c.color), "codes": list(c.codes)} for c in self.classes]
        return {"name": self.name, "source": self.source, "classes": classes, "ignored": list(self.ignored)}

    @classmethod
    def from_dict(cls, content: Any, *, where: str | Path) -> Legend:
        """A legend from plain content, as in a legend file.

        Args:
            content: what the file holds; see the module.
            where: the file, which errors name and beside which a legend lies that it merges.

        Raises:
            Alos2TutError: a field that is missing, unknown, empty or of the wrong type; too many classes; a code that
                is no whole number from 0 to 255 or is given twice; a name given twice; a legend to merge that does not
                exist or leads back to this one, or a class of it that is unknown, given twice or left over.
        """
        return _legend(content, str(where))


def legend_names() -> list[str]:
    """Names of the legends that come with the package, sorted."""
    return sorted(_built_in())


@public
def load_legend(name: str | Path) -> Legend:
    """A legend by the name of one that comes with the package, or by the path of a YAML file.

    Raises:
        Alos2TutError: no such legend, or a file that is none: see :meth:`Legend.from_dict`.
    """
    if str(name) not in _built_in() and not _is_yaml_file(Path(name)):
        remedy = closest(str(name), legend_names()) + " Or a YAML file."
        raise Alos2TutError(f"unknown legend '{name}'", where="legend", remedy=remedy)
    return _load(str(name))


def _built_in() -> dict[str, Traversable]:
    folder = files("alos2tut").joinpath("dataset/legends")
    return {Path(str(file)).stem: file for file in folder.iterdir() if str(file).endswith(".yaml")}


def _is_yaml_file(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()


# --- what a file says


def _three(values: list[int]) -> list[int]:
    if len(values) != 3:
        raise ValueError("a colour is three numbers: red, green and blue, each 0 to 255")
    return values


# strict: True is no code, and '3' is none
_Byte = Annotated[int, Field(strict=True, ge=0, le=255)]
_Text = Annotated[str, Field(strict=True, min_length=1)]


class _Class(BaseModel, extra="forbid"):
    name: _Text
    color: Annotated[list[_Byte], Field(strict=True), AfterValidator(_three)]
    codes: Annotated[list[_Byte], Field(strict=True, min_length=1)] | None = None
    of: Annotated[list[_Text], Field(strict=True, min_length=1)] | None = None


class _File(BaseModel, extra="forbid"):
    name: _Text
    classes: Annotated[list[dict[Any, Any]], Field(strict=True, min_length=1, max_length=UNKNOWN)]
    source: Annotated[str, Field(strict=True)] = ""
    merges: _Text | None = None
    ignored: Annotated[list[Any], Field(strict=True)] = []


def _load(where: str, merged_by: tuple[str, ...] = ()) -> Legend:
    """The legend of a name or file; ``merged_by`` are the files that led to it."""
    return _legend(read_yaml(_built_in().get(where, where)), where, merged_by)


def _legend(content: Any, where: str, merged_by: tuple[str, ...] = ()) -> Legend:
    if not isinstance(content, dict):
        raise _error(f"the file must hold 'name' and 'classes', not {quoted(content)}", where)
    file = from_dict(_File, content, where=where)
    base = None if file.merges is None else _load(_base(file.merges, where, merged_by), (*merged_by, where))
    kind, other = ("codes", "of") if base is None else ("of", "codes")

    def codes_of(given: Any, field: str) -> tuple[int, ...]:
        """The codes of a class of the legend that is merged; a code is its own."""
        if type(given) is int and 0 <= given <= 255:
            return (given,)
        if base is None or not isinstance(given, str):
            raise _error(f"{field} must be whole numbers in 0–255, not {quoted(given)}", where)
        if given not in base.names:
            raise _error(f"{field} names {quoted(given)}, no class of '{base.name}'", where, closest(given, base.names))
        return base.classes[base.names.index(given)].codes

    classes = []
    for number, given in enumerate(file.classes):
        entry = from_dict(_Class, given, where=f"{where}, class {quoted(given.get('name', number))}")
        members: list[Any] | None = getattr(entry, kind)
        if members is None or getattr(entry, other) is not None:
            why = "merges no other" if base is None else f"merges '{base.name}'"
            raise _error(f"class '{entry.name}' needs '{kind}' and no '{other}', as the file {why}", where)
        codes = [code for one in members for code in codes_of(one, f"'{kind}' of class '{entry.name}'")]
        classes.append(LandClass(entry.name, (entry.color[0], entry.color[1], entry.color[2]), tuple(codes)))
    ignored = [code for one in file.ignored for code in codes_of(one, "'ignored'")]
    if base is not None:
        ignored = [*base.ignored, *(code for code in ignored if code not in base.ignored)]
    legend = Legend(file.name, file.source, tuple(classes), tuple(ignored))
    if names := _repeated(legend.names):
        raise _error(f"class name used twice: {_listed(names)}", where)
    named = [code for c in legend.classes for code in c.codes] + list(legend.ignored)
    if base is not None and (twice := _classes_with(base, _repeated(named))):
        raise _error(f"classes of '{base.name}' merged or ignored twice: {_listed(twice)}", where)
    if repeated := _repeated(named):
        raise _error(f"codes named twice: {repeated}", where)
    if base is not None and (left := _classes_with(base, {c for b in base.classes for c in b.codes} - set(named))):
        problem = f"classes of '{base.name}' neither merged nor ignored: {_listed(left)}"
        raise _error(problem, where, "Name them in the 'of' of a class, or under 'ignored'.")
    return legend


def _error(problem: str, where: str, remedy: str | None = None) -> Alos2TutError:
    return Alos2TutError(f"is no legend: {problem}", where=where, remedy=remedy)


def _base(name: str, where: str, merged_by: tuple[str, ...]) -> str:
    """The name or file of the legend that a file merges."""
    beside = Path(where).parent / name
    if name not in _built_in() and not _is_yaml_file(beside):
        remedy = closest(name, legend_names()) + " Or a YAML file beside this one."
        raise _error(f"'merges' names '{name}', which is no legend", where, remedy)
    base, way = name if name in _built_in() else str(beside), (*merged_by, where)
    if Path(base).resolve() in [Path(file).resolve() for file in way]:
        raise _error(f"'merges' leads back to where it began: {' → '.join((*way, base))}", where)
    return base


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _repeated(values: list[_T]) -> list[_T]:
    return sorted(value for value, count in Counter(values).items() if count > 1)


def _classes_with(legend: Legend, codes: Collection[int]) -> list[str]:
    return [c.name for c in legend.classes if not set(codes).isdisjoint(c.codes)]
