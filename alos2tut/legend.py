"""Legends: which raw codes of a label map make which class, in which order, name and colour.

Legends are data. Three come with the package (``japan_9``, ``japan_14``, ``water_land``); any other is a YAML file of
the same form, named by its path.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .artifacts import read_yaml
from .errors import Alos2TutError, closest

#: Label value of pixels that count for nothing: unlabelled, ignored, or without SAR data.
IGNORE = 255

#: marks codes that a legend does not know; as there are at most 254 classes, none has this index
_UNKNOWN = 254

_BUILT_IN = files("alos2tut").joinpath("legends")


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
        table = np.full(256, _UNKNOWN, dtype=np.uint8)
        table[list(self.ignored)] = IGNORE
        for index, land_class in enumerate(self.classes):
            table[list(land_class.codes)] = index
        # whole scenes pass here: one byte per pixel, and what does not fit into it is put right afterwards
        classes = np.asarray(table[codes.astype(np.uint8)])
        classes[codes < 0] = IGNORE
        classes[codes > 255] = _UNKNOWN
        unknown = classes == _UNKNOWN
        if unknown.any():
            raise Alos2TutError(
                f"holds codes {np.unique(codes[unknown]).tolist()} that the legend '{self.name}' does not know",
                where=where,
                remedy="Use the legend of this label map, or list them under 'ignored' in a legend file.",
            )
        return classes

    def to_dict(self) -> dict[str, Any]:
        """Plain content, as in a legend file."""
        classes = [{"name": c.name, "color": list(c.color), "codes": list(c.codes)} for c in self.classes]
        return {"name": self.name, "source": self.source, "classes": classes, "ignored": list(self.ignored)}

    @classmethod
    def from_dict(cls, content: Any, *, where: str | Path) -> Legend:
        """A legend from plain content.

        Raises:
            Alos2TutError: a missing key, no class, too many classes, a code outside 0–255 or named twice.
        """
        try:
            classes = tuple(
                LandClass(str(c["name"]), _color(c["color"]), tuple(int(code) for code in c["codes"]))
                for c in content["classes"]
            )
            ignored = tuple(int(code) for code in content.get("ignored", ()))
            legend = cls(str(content["name"]), str(content.get("source", "")), classes, ignored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Alos2TutError(
                f"is no legend ({type(error).__name__}: {error})",
                where=where,
                remedy="A legend has 'name', 'classes' (each with 'name', 'color', 'codes') and 'ignored'.",
            ) from None
        legend._check(where)
        return legend

    def _check(self, where: str | Path) -> None:
        codes = [code for c in self.classes for code in c.codes] + list(self.ignored)
        twice = sorted({code for code in codes if codes.count(code) > 1})
        outside = sorted(code for code in codes if not 0 <= code <= 255)
        names = [n for n in self.names if self.names.count(n) > 1]
        if not 1 <= len(self) < IGNORE:
            raise Alos2TutError(f"needs 1 to {IGNORE - 1} classes, has {len(self)}", where=where)
        for problem, values in [("codes named twice", twice), ("codes outside 0–255", outside)]:
            if values:
                raise Alos2TutError(f"{problem}: {values}", where=where)
        if names:
            raise Alos2TutError(f"class name used twice: '{names[0]}'", where=where)


def _color(value: Any) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"colour {value} outside 0–255")
    return red, green, blue


def load_legend(name: str | Path) -> Legend:
    """A legend by the name of one that comes with the package, or by the path of a YAML file.

    Raises:
        Alos2TutError: no such legend, or a file that is none.
    """
    built_in = {Path(str(f)).stem: f for f in _BUILT_IN.iterdir() if str(f).endswith(".yaml")}
    if str(name) in built_in:
        content = read_yaml(built_in[str(name)])
    elif Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        content = read_yaml(name)
    else:
        raise Alos2TutError(
            f"unknown legend '{name}'", where="legend", remedy=closest(str(name), built_in) + " Or a YAML file."
        )
    return Legend.from_dict(content, where=name)
