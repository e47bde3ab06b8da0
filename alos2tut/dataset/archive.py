"""Which products a dataset is made of: paths, patterns and tables; filters; and what was left out, and why.

Products are opened one by one and only plain facts of them are kept, so that an archive may hold thousands.
"""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from .. import geometry
from ..core.artifacts import matches
from ..core.errors import Alos2TutError, warn
from ..core.progress import progress_bar
from ..core.tables import read_table, table
from ..products.georeference import parsed_crs
from ..products.given import Given
from ..products.metadata import named_polarizations
from ..products.opening import open_given, warn_of_masks
from ..products.product import Product
from ..products.satellites import ALOS2
from .config import DatasetConfig, Frame
from .encoding import same_spacing

_SEASONS = ("winter", "spring", "summer", "autumn")
#: a table of paths that is larger is none
_LARGEST_TABLE = 50 * 2**20
#: products that :meth:`Archive.to_text` lists, and columns that it fills
_LISTED, _TEXT_WIDTH = 20, 100


@dataclass(frozen=True)
class Entry:
    """A product that is used: plain facts, which go to any process.

    Attributes:
        path: absolute.
        given: what was said of it that its files do not say.
        info: what :meth:`.Metadata.to_dict` says, but for the path.
        name: of the image that is read, of several the first.
        fingerprint: changes when its files do, or what is given for their place on the map or for their pixels.
    """

    path: str
    given: Given
    info: dict[str, Any]
    name: str
    fingerprint: str

    @property
    def grid(self) -> tuple[CRS | None, Affine, tuple[int, int]]:
        """Coordinate system, transform and shape of its pixels, without opening it; see :func:`.frame_of`."""
        rows, cols = self.info["shape"]
        if self.info["crs"] is None:
            return None, Affine.identity(), (rows, cols)
        return _parsed(self.info["crs"]), Affine(*self.info["transform"]), (rows, cols)

    def open(self) -> Product:
        """Open the product; errors as of :func:`alos2tut.open_product`."""
        # without the warnings that it gave when it was first opened
        return open_given(self.path, self.given)


_parsed = cache(CRS.from_string)


@dataclass(frozen=True)
class Excluded:
    """A product that is not used.

    Attributes:
        path: as it was given.
        why: a filter left it out, or it cannot be read.
        reason: in words without folders, as "descending orbit, ascending asked".
        setting: the filter, by the name of its setting; None for what cannot be read.
    """

    path: str
    why: Literal["filter", "unreadable"]
    reason: str
    setting: str | None = None

    @classmethod
    def of(cls, path: str, error: Alos2TutError) -> Excluded:
        """A product that an error keeps from being used; a file of it, or of its labels, goes by its name."""
        reason, where = error.problem, Path(error.where or path)
        for folder in (where.parent, Path(path).parent):
            reason = reason.replace(f"{folder}{os.sep}", "")
        return cls(path, "unreadable", reason if where.name == Path(path).name else f"{where.name}: {reason}")


@dataclass(frozen=True)
class Archive:
    """The products of a dataset.

    Attributes:
        entries: those that are used, in the order in which they were given.
        excluded: the others, and why.
        polarizations: what is read of each, channel by channel.
    """

    entries: tuple[Entry, ...]
    excluded: tuple[Excluded, ...]
    polarizations: tuple[str, ...]

    @property
    def frame(self) -> Frame:
        """Whether they lie on a map, or all have a frame of their own."""
        return "map" if self.entries[0].info["crs"] is not None else "image"

    def to_text(self) -> str:
        """Two tables of at most 100 columns: what is used, what is left out and why; of long ones the beginning."""
        verb = "is" if len(self.polarizations) == 1 else "are"
        lines = [f"{_products(len(self.entries))}, {', '.join(self.polarizations)} {verb} read"]
        lines += [table(map(_row, self.entries[:_LISTED]), _HEADER)]
        lines += _rest(len(self.entries))
        if self.excluded:
            lines += ["", f"{_products(len(self.excluded))} left out: {count_reasons(self.excluded)}"]
            # what a filter left out was asked for; what failed was not
            for product in sorted(self.excluded, key=lambda product: product.why == "filter")[:_LISTED]:
                lines += [product.path, *textwrap.wrap(product.reason, _TEXT_WIDTH, **_INDENTED)]
            lines += _rest(len(self.excluded))
        return "\n".join(lines)


# --- as text

_HEADER = ("product", "date", "orbit", "beam", "off-nadir", "pixels")
_INDENTED: dict[str, Any] = {"initial_indent": "    ", "subsequent_indent": "    ", "max_lines": 2, "placeholder": " …"}


def _products(count: int) -> str:
    return f"{count:,} product{'s' if count != 1 else ''}"


def _rest(count: int) -> list[str]:
    return [f"… and {count - _LISTED:,} more"] if count > _LISTED else []


def _row(entry: Entry) -> tuple[str, ...]:
    info = entry.info
    off_nadir_deg = info.get("off_nadir_deg")
    return (
        entry.name,
        (info.get("acquired") or "")[:10],
        # as long words the table would be too wide
        {"ascending": "asc.", "descending": "desc."}.get(info.get("orbit_direction") or "", ""),
        " ".join(filter(None, (info.get("mode"), info.get("beam")))),
        "" if off_nadir_deg is None else f"{off_nadir_deg:.1f}°",
        " × ".join(map(str, info["shape"])),
    )


def count_reasons(excluded: Iterable[Excluded]) -> str:
    """How many were left out for what, the most frequent first."""
    counts = Counter(f"by {product.setting}" if product.setting else product.why for product in excluded)
    return ", ".join(f"{count:,} {what}" for what, count in counts.most_common())


# --- paths, patterns and tables


def product_paths(products: str | Path | Sequence[str | Path]) -> list[tuple[str, str | None]]:
    """The products that are meant, in order, each with the coordinate system that a table states for it.

    Args:
        products: paths of products; patterns, as :func:`.matches` takes them; tables: CSV files, UTF-8, with a column
            ``path`` and, if need be, ``crs``; other columns are ignored, relative paths start at the table's folder.

    Raises:
        Alos2TutError: a pattern that matches nothing, an empty path, a table that cannot be used (the message names the
            row), a product that is given twice.
    """
    given = [products] if isinstance(products, (str, Path)) else products
    found = [place for text in given for path in matches(text) for place in _listed(path)]
    seen: dict[str, str] = {}
    for path, _ in found:
        place = os.path.realpath(path)
        if place in seen:
            raise _given_twice(seen[place], path)
        seen[place] = path
    return found


def _given_twice(first: str, second: str) -> Alos2TutError:
    also = "" if first == second else f", also as {first}"
    return Alos2TutError(f"the product is given twice{also}", where=second, remedy="Name it once.")


def _listed(path: str) -> list[tuple[str, str | None]]:
    """The products of a table, or the path itself if it is none."""
    file = Path(path)
    if file.suffix.lower() != ".csv" or file.is_dir():
        return [(path, None)]
    places: list[tuple[str, str | None]] = []
    for number, record in read_table(file, ["path"], ["crs"], _LARGEST_TABLE):
        name, crs = record["path"], record.get("crs") or None
        if not name:
            raise Alos2TutError(f"row {number} names no path", where=file)
        if "\0" in name + (crs or ""):
            raise Alos2TutError(f"row {number} holds a NUL character", where=file)
        if crs is not None:
            parsed_crs(crs, f"{file}, row {number}")
        places.append((str(file.parent / name), crs))
    if not places:
        raise Alos2TutError("the table lists no product", where=file, remedy="Write one row per product.")
    return places


# --- filters


def _by_text(attribute: str, name: str, form: str) -> Callable[[Product, str], str | None]:
    """A filter that compares a text, whatever its case."""

    def reason(product: Product, asked: str) -> str | None:
        value: str | None = getattr(product, attribute)
        if value is None:
            return f"states no {name}"
        return None if value.casefold() == asked.casefold() else f"{form.format(value)}, {asked} asked"

    return reason


def _by_polarization(product: Product, asked: str) -> str | None:
    held = ", ".join(product.polarizations) or "no image"
    return None if set(named_polarizations(asked)) <= set(product.polarizations) else f"holds {held}, {asked} asked"


def _by_off_nadir(product: Product, asked: tuple[float, float]) -> str | None:
    angle_deg = product.off_nadir_deg
    if angle_deg is None:
        return "states no off-nadir angle"
    if asked[0] <= angle_deg <= asked[1]:
        return None
    return f"off-nadir angle {angle_deg:.4g}°, {asked[0]:g} to {asked[1]:g}° asked"


def _by_season(product: Product, asked: str) -> str | None:
    days = _days(product)
    if days is None:
        return "states no date"
    if days[0] != days[1]:
        return f"states only the year {days[0].year}, {asked} asked"
    season = _SEASONS[days[0].month // 3 % 4]
    return None if season == asked else f"acquired {days[0]} in {season}, {asked} asked"


def _by_dates(product: Product, asked: tuple[date, date]) -> str | None:
    days = _days(product)
    if days is None:
        return "states no date"
    if asked[0] <= days[0] and days[1] <= asked[1]:
        return None
    stated = f"acquired {days[0]}" if days[0] == days[1] else f"states only the year {days[0].year}"
    return f"{stated}, {asked[0]} to {asked[1]} asked"


def _days(product: Product) -> tuple[date, date] | None:
    """The first and the last day on which it may have been acquired: of a mosaic maybe only the year is known."""
    match = re.match(r"(\d{4})(?:-(\d\d)-(\d\d)|$)", product.acquired or "")
    try:
        if match is None:
            return None
        if match[2] is None:
            return date(int(match[1]), 1, 1), date(int(match[1]), 12, 31)
        day = date(*map(int, match.groups()))
    except ValueError:
        return None
    return day, day


def _by_area(product: Product, asked: tuple[float, float, float, float]) -> str | None:
    if not product.footprint:
        return "states no place on Earth"
    if touches(product.footprint, asked):
        return None
    longitude, latitude = geometry.middle(product.footprint)
    return f"lies around {longitude:.2f}, {latitude:.2f}, outside the area asked"


def touches(footprint: Sequence[tuple[float, float]], area: tuple[float, float, float, float]) -> bool:
    """Whether a convex footprint and a box have a point in common; longitudes count modulo 360.

    Args:
        footprint: corners (longitude, latitude) in degrees, in order around it.
        area: west, south, east, north in degrees; west beyond east: across the antimeridian.
    """
    west, south, east, north = area
    east += 360 if east < west else 0
    box = np.array([(west, south), (east, south), (east, north), (west, north)], dtype=np.float64)
    corners = np.array(footprint, dtype=np.float64)
    corners[:, 0] = geometry.together(corners[:, 0])
    # whole turns by which a footprint may come to lie beside the box
    first, last = np.ceil((west - corners[:, 0].max()) / 360), np.floor((east - corners[:, 0].min()) / 360)
    return any(_meet(corners + np.array([360 * turn, 0]), box) for turn in np.arange(first, last + 1))


def _meet(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Two convex polygons meet unless they can be told apart along the normal of one of their sides."""
    sides = np.concatenate([np.roll(polygon, -1, axis=0) - polygon for polygon in (one, other)])
    normals = np.stack([-sides[:, 1], sides[:, 0]])
    a, b = one @ normals, other @ normals
    return bool(((a.max(axis=0) >= b.min(axis=0)) & (b.max(axis=0) >= a.min(axis=0))).all())


#: by setting: why it leaves a product out, or None
_FILTERS: dict[str, Callable[[Product, Any], str | None]] = {
    "orbit_direction": _by_text("orbit_direction", "orbit direction", "{} orbit"),
    "look_side": _by_text("look_side", "look side", "looks {}"),
    "mode": _by_text("mode", "observation mode", "mode {}"),
    "beam": _by_text("beam", "beam", "beam {}"),
    "off_nadir_deg": _by_off_nadir,
    "season": _by_season,
    "dates": _by_dates,
    "area": _by_area,
    "polarization": _by_polarization,
}


def _check_filters(config: DatasetConfig) -> None:
    """Filters that no product can pass are mistakes."""
    named_polarizations(config.polarization or "HH")
    for name in ("off_nadir_deg", "dates"):
        asked = getattr(config, name)
        if asked is not None and not asked[0] <= asked[1]:
            raise Alos2TutError(f"{asked[0]} to {asked[1]} is no range", where=name, remedy="The smaller one first.")
    if config.area is not None:
        west, south, east, north = config.area
        if not (-90 <= south <= north <= 90 and -180 <= west <= 360 and -180 <= east <= 360):
            raise Alos2TutError(
                f"{list(config.area)} is no box on Earth",
                where="area",
                remedy="Give west, south, east, north in degrees; west beyond east crosses the antimeridian.",
            )


# --- opening


def open_archive(config: DatasetConfig, *, progress: bool | None = None) -> Archive:
    """Open the products of a dataset one by one, and leave out those that the settings do.

    Args:
        config: products, filters, polarisation, and what a patch needs. With ``on_error="skip"`` products that cannot
            be opened or are too small for a patch are left out instead of stopping the work.
        progress: show a bar; None: only where someone watches.

    Returns:
        What is used and what is not. Without a polarisation in the settings the first product that is used decides.

    Raises:
        Alos2TutError: no products given, or none left; a filter that is none; a product that cannot be used, unless
            those are skipped; products that differ in polarisation, quantity or pixel size; one that is there twice.
    """
    if not config.products:
        raise Alos2TutError("no products given", where="dataset settings", remedy="Set products=[…].")
    _check_filters(config)
    entries: dict[str, Entry] = {}
    excluded: list[Excluded] = []
    first: Product | None = None
    polarizations: tuple[str, ...] = ()
    for path, crs in progress_bar(product_paths(config.products), "opening products", "product", show=progress):
        try:
            given = Given.of(config, crs=crs or config.crs)
            product = open_given(path, given)
            warn_of_masks(product)
            left_out = _filtered(path, product, config)
            if left_out is not None:
                excluded.append(left_out)
                continue
            _check_usable(product, config)
            if first is not None:
                # where those may be left out that do not fit, maps are what is meant
                if first.grid is None and product.grid is not None and config.on_error == "skip":
                    excluded += (Excluded.of(one.path, _other_frame(one.path, product)) for one in entries.values())
                    entries.clear()
                    first = None
                elif (first.grid is None) != (product.grid is None):
                    both = (product, first) if product.grid is None else (first, product)
                    raise _other_frame(both[0].path, both[1])
            made_of = product.fingerprint
        except Alos2TutError as error:
            if config.on_error == "raise":
                raise
            excluded.append(Excluded.of(path, error))
            continue
        if first is None:
            first, polarizations = product, product.choose_polarizations(config.polarization)
        _check_alike(product, first, polarizations)
        if made_of in entries:
            raise _given_twice(entries[made_of].path, path)
        info = {key: value for key, value in product.to_dict().items() if key != "path"}
        if info["sensor"] == ALOS2.sensor:  # dataset.json is older than this entry
            del info["sensor"]
        name = product.image_name(polarizations[0])
        entries[made_of] = Entry(str(Path(path).absolute()), given, info, name, product.placed_fingerprint)
    _check_separate(tuple(entries.values()))
    if not entries:
        raise Alos2TutError(
            f"no product is left of {len(excluded):,}: {count_reasons(excluded)}",
            where="dataset settings",
            remedy=f"The first, {excluded[0].path}: {excluded[0].reason}",
        )
    return Archive(tuple(entries.values()), tuple(excluded), polarizations)


def _filtered(path: str, product: Product, config: DatasetConfig) -> Excluded | None:
    for setting, reason_of in _FILTERS.items():
        asked = getattr(config, setting)
        reason = None if asked is None else reason_of(product, asked)
        if reason is not None:
            return Excluded(path, "filter", reason, setting)
    return None


def _check_usable(product: Product, config: DatasetConfig) -> None:
    """It has images of one scene, and a patch fits into it."""
    product.check_one_scene()
    product.choose_polarizations(config.polarization)
    if min(product.shape) // config.looks < config.patch_px:
        raise Alos2TutError(
            f"{product.shape[0]} × {product.shape[1]} pixels at {config.looks} looks hold no patch of "
            f"{config.patch_px} px",
            where=product.path,
            remedy="Choose a smaller patch_px or fewer looks.",
        )


def _other_frame(image: str | Path, placed: Product) -> Alos2TutError:
    return Alos2TutError(
        f"lies on no map, and {placed.name} on one",
        where=image,
        remedy="Build a dataset of each kind; crs=… places an image on a map that its files do not state.",
    )


def _check_separate(entries: Sequence[Entry]) -> None:
    """Of several images on no map none may show the ground of another, which nothing would keep out of other lists."""
    if len(entries) < 2 or entries[0].info["crs"] is not None:
        return
    placed = [(entry, np.array(entry.info["footprint_lonlat"])) for entry in entries if entry.info["footprint_lonlat"]]
    for number, (entry, corners) in enumerate(placed):
        for other, others in placed[:number]:
            others[:, 0] = geometry.beside(others[:, 0], corners[0, 0])
            corners[:, 0] = geometry.beside(corners[:, 0], corners[0, 0])
            if _meet(corners, others):
                raise Alos2TutError(
                    f"its ground touches that of {other.name}, and on no map it cannot be said which patches show it",
                    where=entry.path,
                    remedy="Leave one of the two out, or give them as products on a map (Level 1.5 or 2.1).",
                )
    if count := len(entries) - len(placed):
        warn(f"{count} of {len(entries)} products state no place on Earth: each is taken for ground of its own")


def _check_alike(product: Product, first: Product, polarizations: tuple[str, ...]) -> None:
    """All patches of a dataset have the same polarisations, one quantity and one pixel size."""
    if not set(polarizations) <= set(product.polarizations):
        raise Alos2TutError(
            f"holds {', '.join(product.polarizations)}, but {', '.join(polarizations)} is read from the first product, "
            f"{first.name}",
            where=product.path,
            remedy="Name a polarisation that all products hold (polarization=…), or leave this one out.",
        )
    if product.quantity != first.quantity:
        raise Alos2TutError(f"is {product.quantity}, the first product is {first.quantity}", where=product.path)
    is_unknown = all(map(math.isnan, product.spacing_m + first.spacing_m))
    if not is_unknown and not same_spacing(product.spacing_m, first.spacing_m):
        raise Alos2TutError(
            f"has pixels of {product.spacing_m} m, the first product of {first.spacing_m} m", where=product.path
        )
