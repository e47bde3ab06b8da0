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

import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..core.artifacts import read_yaml
from ..core.errors import Alos2TutError, closest

#: Label value of pixels that count for nothing: unlabelled, ignored, or without SAR data.
IGNORE = 255

#: Label value of codes that a legend does not know; as there are at most 254 classes, none has this index.
UNKNOWN = 254

_T = TypeVar("_T", int, str)
_Fields = Mapping[str, type[str] | type[list[Any]]]


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

    def colormap(self) -> dict[int, tuple[int, int, int, int]]:
        """Colour table of a class raster, for GDAL: index → RGBA; :data:`IGNORE` is transparent."""
        table = {i: (*c.color, 255) for i, c in enumerate(self.classes)}
        return table | {IGNORE: (0, 0, 0, 0)}

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
        """Class indices of all codes that an integer type can hold, to look many up at once.

        Args:
            dtype: an integer type of one or two bytes.

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
        return _LegendFile(str(where)).legend(content)


def legend_names() -> list[str]:
    """Names of the legends that come with the package, sorted."""
    return sorted(_built_in())


def load_legend(name: str | Path) -> Legend:
    """A legend by the name of one that comes with the package, or by the path of a YAML file.

    Raises:
        Alos2TutError: no such legend, or a file that is none: see :meth:`Legend.from_dict`.
    """
    if str(name) not in _built_in() and not _is_yaml_file(Path(name)):
        remedy = closest(str(name), legend_names()) + " Or a YAML file."
        raise Alos2TutError(f"unknown legend '{name}'", where="legend", remedy=remedy)
    return _LegendFile(str(name)).load()


def _built_in() -> dict[str, Traversable]:
    folder = files("alos2tut").joinpath("dataset/legends")
    return {Path(str(file)).stem: file for file in folder.iterdir() if str(file).endswith(".yaml")}


def _is_yaml_file(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml") and path.is_file()


@dataclass(frozen=True)
class _LegendFile:
    """A legend file while it is read: its name or path, and the files that led to it by merging it."""

    where: str
    merged_by: tuple[str, ...] = ()

    def load(self) -> Legend:
        return self.legend(read_yaml(_built_in().get(self.where, self.where)))

    def legend(self, content: Any) -> Legend:
        fields = self._fields(
            content, "the file", {"name": str, "classes": list}, {"source": str, "ignored": list, "merges": str}
        )
        if not 1 <= len(fields["classes"]) <= UNKNOWN:
            raise self._error(f"'classes' needs 1 to {UNKNOWN} classes, has {len(fields['classes'])}")
        base = self._base(fields["merges"]).load() if "merges" in fields else None
        classes = tuple(self._class(entry, number, base) for number, entry in enumerate(fields["classes"], start=1))
        ignored = self._ignored(fields.get("ignored", []), base)
        legend = Legend(fields["name"], fields.get("source", ""), classes, ignored)
        self._check(legend, base)
        return legend

    def _error(self, problem: str, remedy: str | None = None) -> Alos2TutError:
        return Alos2TutError(f"is no legend: {problem}", where=self.where, remedy=remedy)

    def _fields(self, content: Any, what: str, wanted: _Fields, others: _Fields) -> dict[str, Any]:
        """The fields of a mapping; all of them known and of their type, none that is wanted absent or empty."""
        if not isinstance(content, dict):
            raise self._error(f"{what} must hold {_listed(wanted)}, not {_shown(content)}")
        known = {**wanted, **others}
        for key in content:
            if key not in known:
                raise self._error(f"{what} has an unknown field '{key}'", closest(str(key), known))
        for key, kind in known.items():
            if key in wanted and key not in content:
                raise self._error(f"{what} lacks '{key}'")
            value = content.get(key, kind())
            if not isinstance(value, kind):
                raise self._error(f"'{key}' of {what} must be a {_KINDS[kind]}, not {_shown(value)}")
            if key in wanted and key != "classes" and not value:
                raise self._error(f"'{key}' of {what} is empty")
        return content

    def _base(self, name: str) -> _LegendFile:
        """The file of the legend that this one merges."""
        beside = Path(self.where).parent / name
        if name not in _built_in() and not _is_yaml_file(beside):
            remedy = closest(name, legend_names()) + " Or a YAML file beside this one."
            raise self._error(f"'merges' names '{name}', which is no legend", remedy)
        base = _LegendFile(name if name in _built_in() else str(beside), (*self.merged_by, self.where))
        if Path(base.where).resolve() in [Path(where).resolve() for where in base.merged_by]:
            raise self._error(f"'merges' leads back to where it began: {' → '.join((*base.merged_by, base.where))}")
        return base

    def _class(self, entry: Any, number: int, base: Legend | None) -> LandClass:
        made_of = "codes" if base is None else "of"
        fields = self._fields(entry, f"class {number}", {"name": str, "color": list, made_of: list}, {})
        what = f"class '{fields['name']}'"
        color = [self._byte(value, f"'color' of {what}") for value in fields["color"]]
        if len(color) != 3:
            raise self._error(f"'color' of {what} needs red, green and blue, not {_shown(fields['color'])}")
        if base is None:
            codes = [self._byte(value, f"'codes' of {what}") for value in fields["codes"]]
        else:
            codes = [code for name in fields["of"] for code in self._codes_of(name, f"'of' of {what}", base)]
        return LandClass(fields["name"], (color[0], color[1], color[2]), tuple(codes))

    def _byte(self, value: Any, what: str) -> int:
        # True is an int, too
        if type(value) is not int or not 0 <= value <= 255:
            raise self._error(f"{what} must be whole numbers in 0–255, not {_shown(value)}")
        return value

    def _codes_of(self, name: Any, what: str, base: Legend) -> tuple[int, ...]:
        """The codes of a class of the legend that is merged."""
        if name not in base.names:
            raise self._error(f"{what} names {_shown(name)}, no class of '{base.name}'", closest(str(name), base.names))
        return base.classes[base.names.index(name)].codes

    def _ignored(self, values: list[Any], base: Legend | None) -> tuple[int, ...]:
        if base is None:
            return tuple(self._byte(value, "'ignored'") for value in values)
        named = [self._codes_of(v, "'ignored'", base) if isinstance(v, str) else (v,) for v in values]
        own = [self._byte(code, "'ignored'") for codes in named for code in codes]
        return base.ignored + tuple(code for code in own if code not in base.ignored)

    def _check(self, legend: Legend, base: Legend | None) -> None:
        codes = [code for c in legend.classes for code in c.codes] + list(legend.ignored)
        if names := _repeated(legend.names):
            raise self._error(f"class name used twice: {_listed(names)}")
        if base is not None and (twice := _classes_with(base, _repeated(codes))):
            raise self._error(f"classes of '{base.name}' merged or ignored twice: {_listed(twice)}")
        if repeated := _repeated(codes):
            raise self._error(f"codes named twice: {repeated}")
        if base is not None and (left := _classes_with(base, {c for b in base.classes for c in b.codes} - set(codes))):
            raise self._error(
                f"classes of '{base.name}' neither merged nor ignored: {_listed(left)}",
                "Name them in the 'of' of a class, or under 'ignored'.",
            )


#: how the types of fields are called
_KINDS: dict[type[str] | type[list[Any]], str] = {str: "text", list: "list"}


def _shown(value: Any) -> str:
    return reprlib.repr(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _repeated(values: list[_T]) -> list[_T]:
    return sorted(value for value, count in Counter(values).items() if count > 1)


def _classes_with(legend: Legend, codes: Collection[int]) -> list[str]:
    return [c.name for c in legend.classes if not set(codes).isdisjoint(c.codes)]
