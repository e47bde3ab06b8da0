"""All that could be read of a product, whole or damaged: what its checks look into."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from ...core.errors import Alos2TutError
from .. import ceos, ceos_layout
from ..names import Found, xml_texts
from ..product import Product
from ..rasters import RasterBand
from ..sources import FileSource
from .checks import Check, unreadable

#: lines of an image that are looked at, spread evenly from the first to the last
_MOST_LINES = 64


def tried(
    folder: Mapping[str, FileSource], name: str, reader: Callable[[FileSource], Any], problems: list[Check]
) -> Any:
    """What a reader makes of a file; None, and a check among the problems, where it is not there or damaged."""
    if name not in folder:
        problems.append(Check("files", name, "absent", note="there is no such file"))
        return None
    try:
        return reader(folder[name])
    except Alos2TutError as error:
        problems.append(unreadable("files", name, error))
        return None


class Lines(NamedTuple):
    """Some lines of a CEOS image: the file as far as it is there, their numbers, what stands before their pixels."""

    file: ceos.ImageFile
    rows: NDArray[np.int64]
    headers: NDArray[Any]


@dataclass(frozen=True)
class Image:
    """A CEOS image file: descriptor and some lines, as far as they can be read."""

    label: str
    match: re.Match[str]
    source: FileSource
    fields: Mapping[str, Any]
    lines: Lines | None = None

    @classmethod
    def read(cls, folder: Mapping[str, FileSource], match: re.Match[str], problems: list[Check]) -> Image:
        """Read what can be read of one; what cannot is added to the problems."""
        # B1 and F1 are two images of one scan
        label = match["pol"] + (f" scan {match['scan']}" if match["scan"] else "")
        source, fields = folder[match[0]], tried(folder, match[0], ceos.read_image_descriptor, problems) or {}
        code, record_bytes = str(fields.get("sample_code")), fields.get("record_bytes") or 0
        if record_bytes < ceos_layout.PREFIX_BYTES.get(code, math.inf):
            return cls(label, match, source, fields)
        # of a truncated image those lines that are there
        present = (source.size - ceos_layout.DESCRIPTOR_BYTES) // record_bytes
        present = max(min(present, present if fields["lines"] is None else fields["lines"]), 0)
        rows = np.unique(np.linspace(0, max(present - 1, 0), min(present, _MOST_LINES)).round().astype(np.int64))
        # so that a line has two ends, whatever the descriptor says
        pixels = max(fields["pixels"] or 0, 2)
        file = ceos.ImageFile(source, present, pixels, record_bytes, ceos_layout.PREFIX_BYTES[code], 0, code, None)
        headers = tried(folder, match[0], lambda _: file.prefixes(rows), problems) if present else None
        return cls(label, match, source, fields, None if headers is None else Lines(file, rows, headers))

    def stated(self, name: str) -> NDArray[Any] | None:
        """A field of the lines; None where no line was read, or all of them leave it 0."""
        values = None if self.lines is None else np.asarray(self.lines.headers[name])
        return values if values is not None and values.any() else None

    def common(self, name: str) -> Any:
        """What all lines state, else the range of it as text."""
        values = self.stated(name)
        return None if values is None else common(values)


def common(values: NDArray[Any]) -> Any:
    """The one number of these, else their range as text."""
    low, high = values.min().item(), values.max().item()
    return low if low == high else f"{low}…{high}"


@dataclass(frozen=True)
class Case:
    """All that could be read of a product: rasters by polarisation or layer, CEOS images and records, the texts beside.

    ``product`` is how it opens, if it does, and ``crs`` the coordinate system that the user named.
    """

    found: Found
    bands: Mapping[str, RasterBand]
    summary: Mapping[str, str] = field(default_factory=dict)
    xml: ElementTree.Element | None = None
    product: Product | None = None
    crs: CRS | None = None
    images: Sequence[Image] = ()
    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def record(self, name: str) -> Mapping[str, Any]:
        """The fields of a record, none where it was not read."""
        return self.records.get(name, {})

    @property
    def scene(self) -> Mapping[str, Any]:
        """The leader's dataset summary."""
        return self.record("dataset_summary")

    @property
    def projection(self) -> Mapping[str, Any]:
        """The leader's map projection record."""
        return self.record("map_projection")

    @property
    def product_id(self) -> Mapping[str, str]:
        """What the names say of scene and product."""
        return self.found.parts

    @property
    def raster(self) -> RasterBand | None:
        """The first of the rasters."""
        return next(iter(self.bands.values()), None)

    def file(self, kind: str) -> FileSource | None:
        """Leader or trailer: LED or TRL."""
        return self.found.folder.get(f"{kind}-{self.found.identity}")

    def pointers(self, file_class: str) -> list[Mapping[str, Any]]:
        """The volume directory's records of a class of files."""
        every = (fields for name, fields in self.records.items() if name.startswith("file_pointer_"))
        return [fields for fields in every if fields["class_code"] == file_class]

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """Texts of the XML by the names of its elements."""
        return xml_texts(self.xml)


def read_bands(
    found: Found, files: Mapping[str, str], types: tuple[str, ...], problems: list[Check]
) -> dict[str, RasterBand]:
    """The rasters in these files, by label; one that cannot be read is added to the problems."""
    bands = {}
    for label, name in files.items():
        reader = partial(RasterBand.open, dtypes=types, **found.beside(name)[1])
        bands[label] = tried(found.folder, name, reader, problems)
    return {label: band for label, band in bands.items() if band is not None}


def run(groups: Iterable[Callable[[Case], Iterator[Check]]], case: Case) -> list[Check]:
    """All checks of these groups; whatever a damaged product does to one group, the others are still worth having."""
    checks: list[Check] = []
    for group in groups:
        try:
            with np.errstate(all="ignore"):
                checks.extend(group(case))
        except Exception as error:
            checks.append(unreadable("files", f"checks of {group.__name__.strip('_')}", error))
    return checks
