"""What the files of a delivered product say of each other, side by side: a report for users to read and to send.

Leader, lines, volume directory, trailer, ``summary.txt``, XML, names and sizes state many things twice. The reader was
made from a description and a real product of another level, so that agreement is worth a look, and so is damage: what
cannot be read is a line of the report. Tolerances stand at each comparison and in the report.
"""

from __future__ import annotations

import html
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from itertools import product as product_of
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points

from . import __version__, ceos, geometry, radiometry
from .errors import Alos2TutError, Alos2TutWarning
from .georeference import parsed_crs
from .opening import PRODUCT_ID, Found, find_product, open_product, read_xml
from .products import POLARIZATIONS, Product
from .rasters import RasterBand
from .sources import Delivery, FileSource

Verdict: TypeAlias = Literal["agrees", "differs", "absent", "unreadable"]
#: lines of an image that are looked at, spread evenly from the first to the last; of a packed image the first ones
_MOST_LINES = 64
#: blocks of a raster that are looked at, along each side, and pixels along a block's side
_BLOCKS, _BLOCK_PX = 3, 512
_MOST_RECORDS = 10_000
_LONGEST_VALUE, _LONGEST_NOTE = 160, 600
_LONLAT = CRS.from_epsg(4326)
#: the orbit's height where the leader does not state it
_ORBIT_HEIGHT_M = 628_000.0
_SLANT_RANGES_M = (500_000.0, 1_500_000.0)
#: the middle of the band: 1236.5, 1257.5 and 1278.5 MHz
_WAVELENGTH_M = 0.2385
#: classes of files in a volume directory, and how these files are named
_FILE_CLASSES = {"SARL": "LED", "IMOP": "IMG", "SART": "TRL"}
_CHANNELS = {"S": 1, "D": 2, "Q": 4}
_ORBITS, _SIDES = {"A": "ascending", "D": "descending"}, {"L": "left", "R": "right"}
_SUMMARY_CORNERS = ("LeftTop", "RightTop", "RightBottom", "LeftBottom")
_YEARS = (1900, 2200)
_MOSAIC_EPOCH = np.datetime64("2014-05-24")


@dataclass(frozen=True)
class Check:
    """One thing that was compared: ``values`` is what each source says of it, as text.

    The verdict is "absent" where fewer than two sources say something, "unreadable" for a source that is damaged.
    """

    subject: str
    name: str
    verdict: Verdict
    values: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All checks of one product; ``path`` is what its files' names share, no folder of the user's is named."""

    path: str
    kind: str
    checks: tuple[Check, ...]

    def count(self, verdict: Verdict) -> int:
        """How many checks have this verdict."""
        return sum(check.verdict == verdict for check in self.checks)

    @property
    def agree(self) -> int:
        """Checks whose sources agree."""
        return self.count("agrees")

    @property
    def differ(self) -> int:
        """Checks whose sources contradict each other."""
        return self.count("differs")

    @property
    def absent(self) -> int:
        """Checks with nothing to compare."""
        return self.count("absent")

    @property
    def unreadable(self) -> int:
        """Sources that could not be read."""
        return self.count("unreadable")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        counts = {name: getattr(self, name) for name in ("agree", "differ", "absent", "unreadable")}
        checks = [asdict(check) for check in self.checks]
        return {"path": self.path, "kind": self.kind, "versions": _versions(), **counts, "checks": checks}

    def to_text(self) -> str:
        """A line per check, grouped by subject: verdict, what was checked, the values and who states them, a note."""
        counts = f"{self.agree} agree, {self.differ} differ, {self.absent} absent, {self.unreadable} unreadable"
        lines = [f"{self.path} ({self.kind})", counts, ", ".join(f"{a} {b}" for a, b in _versions().items())]
        width = max((len(check.name) for check in self.checks), default=0)
        for subject in dict.fromkeys(check.subject for check in self.checks):
            lines += ["", subject]
            for check in (check for check in self.checks if check.subject == subject):
                sources: dict[str, list[str]] = {}
                for source, text in check.values.items():
                    sources.setdefault(text, []).append(source)
                told = [f"{text} ({', '.join(names)})" for text, names in sources.items()]
                told += [check.note] if check.note else []
                lines.append(f"  {check.verdict:<10}  {check.name:<{width}}  {'; '.join(told)}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table per subject, open where something does not agree."""
        parts = []
        for subject in dict.fromkeys(check.subject for check in self.checks):
            checks = [check for check in self.checks if check.subject == subject]
            rows = "".join(_html_row(check) for check in checks)
            counts = Counter(check.verdict for check in checks)
            told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
            is_open = " open" if counts["differs"] or counts["unreadable"] else ""
            parts.append(f"<details{is_open}><summary>{html.escape(subject)}: {told}</summary><table>{rows}</table>")
        return f"<b>{html.escape(self.path)} ({html.escape(self.kind)})</b>{'</details>'.join(parts)}</details>"


def _html_row(check: Check) -> str:
    told = "; ".join(f"{source}: {text}" for source, text in check.values.items())
    cells = (check.verdict, check.name, told, check.note)
    return "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _versions() -> dict[str, str]:
    return {"alos2tut": __version__, "rasterio": rasterio.__version__, "GDAL": rasterio.__gdal_version__}


def verify_product(path: str | Path, *, crs: str | CRS | None = None) -> Report:
    """Compare what the files of a product say of each other.

    Args:
        path: as for :func:`alos2tut.open_product`; the product may be damaged or incomplete. All scans of a ScanSAR
            are looked at. Of a product that lies there as both CEOS and GeoTIFF, the file named decides; else CEOS.
        crs: replaces a coordinate system that the files lack or state wrongly.

    Raises:
        Alos2TutError: nothing there that is a product, several products, an archive that is not safe to read, or a
            ``crs`` that is none.
    """
    place = Path(path).absolute()
    found, _ = find_product(place)
    system = None if crs is None else parsed_crs(crs, place)
    product, opening = _opened(place, system)
    kinds = found.any_match.re.groupindex
    prepare = _mosaic if "tile" in kinds else _card4l if "xml" in kinds else _delivered
    kind, case, groups = prepare(found, product, system)
    checks = [check for group in groups for check in _run(group, case)]
    shareable = (_shareable(check, found.delivery) for check in [*case.problems, *checks, *opening])
    return Report(found.identity, kind, tuple(shareable))


def _opened(path: Path, crs: CRS | None) -> tuple[Product | None, list[Check]]:
    """The product as it opens, and what is told then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", Alos2TutWarning)
        try:
            product = open_product(path, crs=crs)
        except Exception as error:
            return None, [_unreadable("reading", "open_product", error)]
    told = "; ".join(dict.fromkeys([*(str(warning.message) for warning in caught), *product.notes]))
    gaps = [Check("reading", "not stated", "absent", {"open_product": gap}) for gap in product.gaps]
    return product, [Check("reading", "open_product", "agrees", {"opened": repr(product).strip("<>")}, told), *gaps]


def _run(group: Callable[[_Case], Iterator[Check]], case: _Case) -> list[Check]:
    """A group of checks; whatever a damaged product does to it, the others are still worth having."""
    checks: list[Check] = []
    try:
        with np.errstate(all="ignore"):
            checks.extend(group(case))
    except Exception as error:
        checks.append(_unreadable("files", f"checks of {group.__name__.strip('_')}", error))
    return checks


def _unreadable(subject: str, name: str, error: Exception) -> Check:
    is_ours = isinstance(error, Alos2TutError)
    fault = "" if is_ours else f"a fault of alos2tut, please report it: {type(error).__name__}: "
    return Check(subject, name, "unreadable", note=f"{fault}{error}")


def _shareable(check: Check, delivery: Delivery) -> Check:
    """A check for others to see: no folders of the user's, no control characters, no endless text."""
    base = delivery.archive or (delivery.path if delivery.named is None else delivery.path.parent)

    def clean(text: str, longest: int) -> str:
        for folder in (base, base.resolve()):
            if folder != Path(folder.anchor):
                text = text.replace(f"{folder}/", "").replace(str(folder), "the delivery")
        text = re.sub(r"(?<![\w.)])/(?:[^/\s:;,'\"]+/)+", "", text)
        text = "".join(character if character.isprintable() else "?" for character in text)
        return text if len(text) <= longest else f"{text[:longest]}…"

    values = {source: clean(text, _LONGEST_VALUE) for source, text in check.values.items()}
    return Check(check.subject, check.name, check.verdict, values, clean(check.note, _LONGEST_NOTE))


# --- comparing


def _text(value: Any) -> str:
    if isinstance(value, (tuple, np.ndarray)):
        return ", ".join(_text(part) for part in value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _compared(
    subject: str, name: str, values: Mapping[str, Any], *, within: float = 0.0, unit: str = "", note: str = ""
) -> Check:
    """Whether all sources that say something say the same; numbers, or arrays of one shape, to within a tolerance."""
    known = {source: value for source, value in values.items() if value is not None}
    texts = {source: _text(value) for source, value in known.items()}
    notes = [f"to within {within:g}{unit}"] if within else []
    verdict: Verdict
    if len(known) < 2:
        verdict, notes = "absent", []
    elif any(isinstance(value, str) for value in known.values()):
        verdict = "agrees" if len(set(texts.values())) == 1 else "differs"
    else:
        apart = float(np.ptp(np.array([np.ravel(value) for value in known.values()], dtype=np.float64), axis=0).max())
        # so that a difference of just the tolerance is within it
        verdict = "agrees" if apart <= within * (1 + 1e-6) else "differs"
        notes = [f"{apart:.3g}{unit} apart, {within:g}{unit} allowed"] if within else []
    return Check(subject, name, verdict, texts, "; ".join([*notes, note] if note else notes))


def _judged(subject: str, name: str, is_good: bool | None, values: Mapping[str, Any], note: str = "") -> Check:
    """A check by a rule of its own; None: there is nothing to judge."""
    verdict: Verdict = "absent" if is_good is None else "agrees" if is_good else "differs"
    texts = {source: _text(value) for source, value in values.items() if value is not None}
    return Check(subject, name, verdict, texts, note)


def _number(text: str | None) -> float | None:
    """A number of ``summary.txt`` or XML."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(*texts: str | None) -> tuple[float, ...] | None:
    numbers = [_number(text) for text in texts]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def _time(text: str | None) -> datetime | None:
    """``20140909 04:33:47.052``, ``2014-09-09T04:33:47.052Z``, ``20140909043347052`` or the day alone."""
    digits = re.sub(r"[^0-9]", "", text or "")
    # so that a second may be added to it
    if len(digits) < 8 or not _YEARS[0] <= int(digits[:4]) <= _YEARS[1]:
        return None
    try:
        return datetime.strptime(f"{digits[:20]:0<20}", "%Y%m%d%H%M%S%f")
    except ValueError:
        return None


def _day(time: datetime | None) -> str | None:
    return f"{time:%Y-%m-%d}" if time else None


def _lonlat(crs: CRS, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitude and latitude of points (n, 2); NaN where the projection has no such points."""
    try:
        return np.round(np.array(reproject_points(crs, _LONLAT, *points.T), dtype=np.float64).T, 7)
    except CPLE_BaseError:
        return np.full(points.shape, np.nan)


# --- Levels 1.1, 1.5, 2.1 and 3.1: what there is


@dataclass(frozen=True)
class _Image:
    """An image file: descriptor and prefixes of some lines (``rows``, from 0 on) of a CEOS one, else the raster."""

    label: str
    match: re.Match[str]
    source: FileSource
    fields: Mapping[str, Any] = field(default_factory=dict)
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    lines: NDArray[Any] | None = None
    raster: RasterBand | None = None

    def stated(self, name: str) -> NDArray[Any] | None:
        """A field of the lines; None where no line was read, or all of them leave it 0."""
        values = None if self.lines is None else np.asarray(self.lines[name])
        return values if values is not None and values.any() else None

    def common(self, name: str) -> Any:
        """What all lines state, else the range of it as text."""
        values = self.stated(name)
        return None if values is None else _common(values)


def _common(values: NDArray[Any]) -> Any:
    low, high = values.min().item(), values.max().item()
    return low if low == high else f"{low}…{high}"


@dataclass(frozen=True)
class _Case:
    """All that could be read of a product; what could not is in ``problems``."""

    found: Found
    product: Product | None
    crs: CRS | None
    problems: list[Check]
    images: list[_Image] = field(default_factory=list)
    leader: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    volume: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trailer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    summary: Mapping[str, str] = field(default_factory=dict)
    bands: Mapping[str, RasterBand] = field(default_factory=dict)
    xml: Any = None

    @property
    def scene(self) -> Mapping[str, Any]:
        """The leader's dataset summary."""
        return self.leader.get("dataset_summary", {})

    @property
    def projection(self) -> Mapping[str, Any]:
        """The leader's map projection record."""
        return self.leader.get("map_projection", {})

    @property
    def product_id(self) -> Mapping[str, str]:
        """The parts of the product id in the names."""
        match = PRODUCT_ID.fullmatch(self.found.any_match["product"])
        return match.groupdict() if match else {}

    def pointers(self, file_class: str) -> list[Mapping[str, Any]]:
        """The volume directory's records of a class of files."""
        every = (fields for name, fields in self.volume.items() if name.startswith("file_pointer_"))
        return [fields for fields in every if fields["class_code"] == file_class]


_Prepared: TypeAlias = tuple[str, _Case, tuple[Callable[[_Case], Iterator[Check]], ...]]


def _delivered(found: Found, product: Product | None, crs: CRS | None) -> _Prepared:
    problems: list[Check] = []
    images = {name: m for name, m in found.matches.items() if m["kind"] == "IMG" and m["pol"]}
    is_tiff = bool(images) and all(m["suffix"] for m in images.values())
    is_tiff |= found.named is not None and found.named["suffix"] is not None
    readers: dict[str, tuple[str, Callable[[FileSource], Any]]] = {"summary": ("summary.txt", ceos.read_summary)}
    if not is_tiff:
        readers["leader"] = (f"LED-{found.identity}", ceos.read_leader)
        readers["volume"] = (f"VOL-{found.identity}", ceos.read_volume)
        readers["trailer"] = (f"TRL-{found.identity}", ceos.read_trailer)
    read = {key: _tried(found.folder, name, reader, problems) or {} for key, (name, reader) in readers.items()}
    kept = {name: m for name, m in images.items() if bool(m["suffix"]) == is_tiff}
    look = _tiff_image if is_tiff else _ceos_image
    seen = [look(match, found.folder[name], problems) for name, match in kept.items()]
    case = _Case(found, product, crs, problems, seen, **read)
    special = (_tiff_files,) if is_tiff else (_image_files, _view, _radiometry, _records)
    kind = f"{'GeoTIFF' if is_tiff else 'CEOS'}, Level {case.product_id.get('level', 'unknown')}"
    return kind, case, (_files, _identity, _times, _place, *special)


def _tried(
    folder: Mapping[str, FileSource], name: str, reader: Callable[[FileSource], Any], problems: list[Check]
) -> Any:
    """What a reader makes of a file; None where it is not there or damaged."""
    if name not in folder:
        problems.append(Check("files", name, "absent", note="there is no such file"))
        return None
    try:
        return reader(folder[name])
    except Alos2TutError as error:
        problems.append(_unreadable("files", name, error))
        return None


def _ceos_image(match: re.Match[str], source: FileSource, problems: list[Check]) -> _Image:
    label = match["pol"].upper() + (f" scan {match['scan']}" if match["scan"] else "")
    fields = _tried({source.name: source}, source.name, ceos.read_image_descriptor, problems) or {}
    code, record_bytes = str(fields.get("sample_code")), fields.get("record_bytes") or 0
    if record_bytes < ceos.PREFIX_BYTES.get(code, math.inf):
        return _Image(label, match, source, fields)
    # of a truncated image those lines that are there
    present = max((source.size - ceos.DESCRIPTOR_BYTES) // record_bytes, 0)
    present = max(min(present, present if fields["lines"] is None else fields["lines"]), 0)
    rows = np.arange(min(present, _MOST_LINES))
    if not source.packed and present:
        rows = np.unique(np.linspace(0, present - 1, len(rows)).round().astype(np.int64))
    if not present:
        return _Image(label, match, source, fields)
    image = ceos.ImageFile(source, present, 0, record_bytes, ceos.PREFIX_BYTES[code], 0, code, None)
    lines = _tried({source.name: source}, source.name, lambda _: image.prefixes(rows), problems)
    return _Image(label, match, source, fields, rows, lines)


def _tiff_image(match: re.Match[str], source: FileSource, problems: list[Check]) -> _Image:
    types = ("uint16", "complex64", "complex_int16", "complex128")
    raster = _tried({source.name: source}, source.name, lambda file: RasterBand.open(file, types), problems)
    return _Image(match["pol"].upper(), match, source, raster=raster)


# --- Levels 1.1, 1.5, 2.1 and 3.1: what it says


def _files(case: _Case) -> Iterator[Check]:
    listed = [name for key, name in case.summary.items() if re.fullmatch(r"Pdi_L\d\dProductFileName\d+", key)]
    # users rename .tif to .tiff
    present = {re.sub(r"(?i)\.tiff?$", "", name) for name in case.found.folder}
    missing = [name for name in listed if re.sub(r"(?i)\.tiff?$", "", name) not in present]
    yield _listed("summary.txt", listed, missing)
    if case.volume:
        kinds = Counter(match["kind"] for match in case.found.matches.values() if not match["suffix"])
        pointers = tuple(len(case.pointers(file_class)) for file_class in _FILE_CLASSES)
        both = {"volume directory": pointers, "present": tuple(kinds[kind] for kind in _FILE_CLASSES.values())}
        yield _compared("files", "LED, IMG, TRL", both)


def _identity(case: _Case) -> Iterator[Check]:
    name, told, scene, summary = case.found.any_match, case.product_id, case.scene, case.summary
    text = {key: str(value or "").rpartition(":")[2] or None for key, value in case.volume.get("text", {}).items()}
    seen = next((image for image in case.images if image.lines is not None), None)
    channels = seen.common("channel") if seen else None
    frame = seen.common("frame") if seen and seen.fields["sample_code"] == "C*8" else None
    direction, clock = scene.get("orbit_direction"), scene.get("clock_angle_deg")
    direction = direction and _ORBITS.get(direction[0], direction)
    side = ("right" if 0 < clock % 360 < 180 else "left") if clock else None
    # what the name says, the leader, summary.txt, the volume directory, the lines
    rows: dict[str, tuple[Any, ...]] = {
        "scene": (name["scene"], scene.get("scene_id"), summary.get("Scs_SceneID"), text.get("scene")),
        "product id": (name["product"], None, summary.get("Pds_ProductID"), text.get("product")),
        "level": (told.get("level"), scene.get("level"), summary.get("Lbi_ProcessLevel")),
        "orbit number": (int(name["orbit_number"]), scene.get("orbit")),
        "orbit direction": (_ORBITS.get(told.get("orbit", "")), direction),
        "look side": (_SIDES.get(told.get("look", "")), side),
        "mode's polarisations": (_CHANNELS.get(told.get("mode", "")[-1:]), None, None, None, channels),
        "frame": (int(name["frame"]), None, None, None, frame),
    }
    sources = ("name", "leader", "summary.txt", "volume directory", "lines")
    for what, values in rows.items():
        yield _compared("identity", what, dict(zip(sources, values, strict=False)))


def _times(case: _Case) -> Iterator[Check]:
    start, center, end = (_time(case.summary.get(f"Img_Scene{name}DateTime")) for name in ("Start", "Center", "End"))
    leader, observed = _time(case.scene.get("center_time")), _time(case.summary.get("Lbi_ObservationDate"))
    days = {"name": _time(f"20{case.found.any_match['date']}"), "leader": leader, "summary.txt": center}
    days["summary.txt, observation"] = observed
    yield _compared("time", "day", {source: _day(time) for source, time in days.items()})
    apart = abs((leader - center).total_seconds()) if leader and center else None
    note = "" if apart is None else f"{apart:.3f} s apart, 0.002 s allowed"
    both = {"leader": leader, "summary.txt": center}
    yield _judged("time", "centre", None if apart is None else apart <= 0.002, both, note)
    in_order = start <= center <= end if start and center and end else None
    yield _judged("time", "start, centre, end", in_order, {"start": start, "centre": center, "end": end})
    for image in case.images:
        if image.lines is not None and image.stated("year") is not None:
            times = [_line_time(line) for line in image.lines]
            is_good = None
            if start and end:
                first, last = start - timedelta(seconds=1), end + timedelta(seconds=1)
                is_good = all(time is not None and first <= time <= last for time in times)
            values = {"lines": f"{times[0]} … {times[-1]}", "summary.txt": f"{start} … {end}"}
            yield _judged("time", f"lines of {image.label}", is_good, values, "1 s allowed")


def _line_time(line: Any) -> datetime | None:
    year, day, millisecond = (int(line[name]) for name in ("year", "day_of_year", "millisecond"))
    if not (_YEARS[0] <= year <= _YEARS[1] and 1 <= day <= 366 and millisecond < 2 * 86_400_000):
        return None
    return datetime(year, 1, 1) + timedelta(days=day - 1, milliseconds=millisecond)


def _image_files(case: _Case) -> Iterator[Check]:
    pointers = case.pointers("IMOP")
    for index, image in enumerate(case.images):
        # the volume directory lists images in the order of their names, and does not name them
        pointer = pointers[index] if len(pointers) == len(case.images) else {}
        yield from _sizes(case, image, pointer)
        if image.lines is not None:
            yield from _line_headers(image, image.lines)


def _sizes(case: _Case, image: _Image, pointer: Mapping[str, Any]) -> Iterator[Check]:
    subject, fields, level = f"image {image.label}", image.fields, case.product_id.get("level")
    lines, pixels, record_bytes, prefix = map(fields.get, ("lines", "pixels", "record_bytes", "prefix_bytes"))
    code, usual_code = fields.get("sample_code"), "C*8" if level == "1.1" else "IU2"
    expected, needed, note = None, None, ""
    if lines is not None and record_bytes is not None:
        expected = ceos.DESCRIPTOR_BYTES + lines * record_bytes
        missing = expected - image.source.size
        note = f"{abs(missing):,} bytes {'are missing' if missing > 0 else 'too many'}" if missing else ""
    yield _compared(subject, "file size", {"descriptor": expected, "file": image.source.size}, note=note)
    if code in ceos.SAMPLE_DTYPES and pixels is not None and prefix is not None:
        needed = prefix + ceos.SAMPLE_DTYPES[code].itemsize * pixels + (fields["suffix_bytes"] or 0)
    last = int(image.lines["line"][-1]) if image.lines is not None and image.rows[-1] + 1 == lines else None
    longest = pointer.get("longest_bytes")
    # short lines: the longest record is the descriptor itself
    longest = None if longest == ceos.DESCRIPTOR_BYTES else longest
    # scans have their own sizes in summary.txt, counted from 0
    shape = [_number(case.summary.get(f"Pdi_NoOf{n}_{int(image.match['scan'] or 1) - 1}")) for n in ("Lines", "Pixels")]
    # what the descriptor says, the lines, the map projection, summary.txt, the volume directory, the level
    rows: dict[str, tuple[Any, ...]] = {
        "lines": (lines, last, case.projection.get("lines"), shape[0], (pointer.get("records") or 1) - 1 or None),
        "pixels": (pixels, _pixels(image), case.projection.get("pixels"), shape[1]),
        "bytes of a line": (record_bytes, image.common("length"), None, None, longest, needed),
        "bytes before pixels": (prefix, None, None, None, None, ceos.PREFIX_BYTES[usual_code]),
        "sample type": (code, None, None, None, None, usual_code),
    }
    sources = ("descriptor", "lines", "map projection", "summary.txt", "volume directory", f"expected of Level {level}")
    for what, values in rows.items():
        yield _compared(subject, what, dict(zip(sources, values, strict=False)))


def _pixels(image: _Image) -> Any:
    """Pixels by the lines; it was not seen whether those that fill a line count as data."""
    data = image.stated("data_pixels")
    if data is None or image.lines is None:
        return None
    whole = sum(image.lines[name].astype(np.int64) for name in ("left_fill", "data_pixels", "right_fill"))
    return _common(np.where(data == image.fields["pixels"], data, whole))


def _line_headers(image: _Image, lines: NDArray[Any]) -> Iterator[Check]:
    subject = f"image {image.label}"
    # the descriptor is record 1
    for name, what, first in (("line", "line numbers", 1), ("sequence", "record numbers", 2)):
        stated, expected = lines[name].astype(np.int64), image.rows + first
        wrong = np.flatnonzero(stated != expected)
        values = {"lines": f"{stated[0]} … {stated[-1]}", "expected": f"{expected[0]} … {expected[-1]}"}
        note = f"{len(lines)} lines were looked at"
        if wrong.size:
            note += f", {wrong.size} differ, the first of them says {stated[wrong[0]]}, not {expected[wrong[0]]}"
        yield _judged(subject, what, not wrong.size, values, note)
    codes = [tuple(row) for row in np.unique(lines["type"], axis=0).tolist()]
    expected_codes = ceos.LINE_CODES[image.fields["sample_code"]]
    yield _judged(subject, "record type", codes == [expected_codes], {"lines": codes[0], "expected": expected_codes})
    pairs = np.unique(np.stack([lines["transmitted"], lines["received"]], axis=1), axis=0)
    letters = ["".join("HV"[n] if n < 2 else "?" for n in pair) for pair in pairs.tolist()]
    yield _compared(subject, "polarisation", {"name": image.match["pol"].upper(), "lines": ", ".join(letters)})
    if image.match["scan"]:
        yield _compared(subject, "scan", {"name": int(image.match["scan"]), "lines": image.common("scan")})


def _place(case: _Case) -> Iterator[Check]:
    """Where the product lies. Corners are the centres of the corner pixels TL, TR, BR, BL: longitude, latitude."""
    record, summary = case.projection, case.summary
    raster = next((image.raster for image in case.images if image.raster is not None), None)
    yield from _zones(case, raster)
    crs = _system(case, raster)
    corners, shape = _map_corners(record) if raster is None else _raster_corners(raster)
    by_map = None if crs is None or corners is None else _lonlat(crs, corners)
    middle = None if crs is None or corners is None else _lonlat(crs, corners.mean(axis=0, keepdims=True))
    degrees = [_all_of(record, f"{corner}_longitude_deg", f"{corner}_latitude_deg") for corner in geometry.CORNERS]
    frame = [_summary_place(summary, f"FrameScene{corner}") for corner in _SUMMARY_CORNERS]
    by_record, by_summary = (np.array(places) if all(places) else None for places in (degrees, frame))
    if raster is None:
        yield _compared("place", "map corners", {"metres": by_map, "degrees": by_record}, within=1e-5, unit="°")
        yield _coefficients(record, by_record)
    by_tiff = None if raster is None else by_map
    places = {"leader": by_record, "GeoTIFF": by_tiff, "summary.txt": by_summary, "lines": _lines_corners(case)}
    yield _compared("place", "corners", places, within=1e-3, unit="°")
    by_leader = _all_of(case.scene, "center_longitude_deg", "center_latitude_deg")
    centers = {"leader": by_leader, "corners": middle, "summary.txt": _summary_place(summary, "FrameSceneCenter")}
    yield _compared("place", "centre", centers, within=1e-3, unit="°")
    yield from _spacings(case, corners, shape)


def _all_of(fields: Mapping[str, Any], *names: str) -> tuple[Any, ...] | None:
    values = tuple(fields.get(name) for name in names)
    return None if None in values else values


def _summary_place(summary: Mapping[str, str], name: str) -> tuple[float, ...] | None:
    return _numbers(*(summary.get(f"Img_{name}{axis}itude") for axis in ("Long", "Lat")))


def _zones(case: _Case, raster: RasterBand | None) -> Iterator[Check]:
    epsg = (raster.crs.to_epsg() or 0) if raster is not None and raster.crs is not None else 0
    zones = {"leader": case.projection.get("utm_zone"), "summary.txt": case.summary.get("Pds_UTM_ZoneNo")}
    zones = {name: zone.lstrip("0") if zone else None for name, zone in zones.items()}
    yield _compared("place", "UTM zone", zones | {"GeoTIFF": f"{epsg % 100}" if epsg // 100 in (326, 327) else None})
    north, image = case.projection.get("false_northing_m"), next(iter(case.images), None)
    latitudes, center = image.stated("latitudes") if image else None, _summary_place(case.summary, "ImageSceneCenter")
    signs = {
        "false northing": None if north is None else -north,
        "leader": case.scene.get("center_latitude_deg"),
        "summary.txt": center[1] if center else None,
        "lines": None if latitudes is None else latitudes[len(latitudes) // 2, 1],
        "GeoTIFF": {326: 1, 327: -1}.get(epsg // 100),
    }
    told = {name: None if value is None else "south" if value < 0 else "north" for name, value in signs.items()}
    yield _compared("place", "hemisphere", told)


_Corners: TypeAlias = tuple[NDArray[np.float64] | None, tuple[int, int]]


def _map_corners(record: Mapping[str, Any]) -> _Corners:
    """Map coordinates in metres of the corner pixels' centres by the leader, and lines and pixels."""
    points = [_all_of(record, f"{c}_easting_km", f"{c}_northing_km") for c in geometry.CORNERS]
    return 1000 * np.array(points) if all(points) else None, (record.get("lines") or 0, record.get("pixels") or 0)


def _raster_corners(raster: RasterBand) -> _Corners:
    if raster.transform is None:
        return None, raster.shape
    height, width = raster.shape
    places = ((0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1))
    return np.array([raster.transform * (col + 0.5, row + 0.5) for col, row in places]), raster.shape


def _system(case: _Case, raster: RasterBand | None) -> CRS | None:
    """The coordinate system of the map corners: as given, else the GeoTIFF's, else the leader's UTM zone."""
    if case.crs is not None or raster is not None:
        return case.crs or (raster and raster.crs)
    zone, south = str(case.projection.get("utm_zone")), (case.projection.get("false_northing_m") or 0) > 0
    if case.projection.get("projection") != "UTM-PROJECTION" or not zone.isdecimal() or not 1 <= int(zone) <= 60:
        return None
    return CRS.from_epsg((32700 if south else 32600) + int(zone))


def _lines_corners(case: _Case) -> NDArray[np.float64] | None:
    """Of the first and last line of a map-projected image that is all there."""
    for image in case.images:
        latitudes, longitudes = image.stated("latitudes"), image.stated("longitudes")
        if latitudes is None or longitudes is None or image.fields["sample_code"] != "IU2":
            continue
        if image.rows[-1] + 1 == image.fields["lines"]:
            places = ((0, 0), (0, 2), (-1, 2), (-1, 0))
            return np.array([[1e-6 * longitudes[place], 1e-6 * latitudes[place]] for place in places])
    return None


def _coefficients(record: Mapping[str, Any], corners: NDArray[np.float64] | None) -> Check:
    """Whether the record's polynomial puts the corner pixels where the record says they are."""
    a, lines, pixels = record.get("coefficients_a"), record.get("lines"), record.get("pixels")
    by_polynomial = None
    if a is not None and any(a) and lines and pixels:
        r, c = np.array([(1, 1), (1, pixels), (lines, pixels), (lines, 1)], dtype=np.float64).T
        by_polynomial = np.round(np.stack([np.ones(4), r, c, r * c], axis=1) @ np.reshape(a, (2, 4)).T, 7)
    return _compared("place", "A11…A24", {"polynomial": by_polynomial, "degrees": corners}, within=1e-5, unit="°")


def _spacings(case: _Case, corners: NDArray[np.float64] | None, shape: tuple[int, int]) -> Iterator[Check]:
    names, stated = ("line_spacing_m", "pixel_spacing_m"), _number(case.summary.get("Pds_PixelSpacing"))
    values = {"leader": _all_of(case.scene, *names), "map projection": _all_of(case.projection, *names)}
    values |= {"summary.txt": (stated, stated) if stated else None}
    if corners is not None and min(shape) > 1:
        sides = np.linalg.norm(corners[[3, 1]] - corners[0], axis=1) / (np.array(shape) - 1)
        values |= {"corners": tuple(sides.tolist())}
        misfit, limit = float(np.linalg.norm(corners[0] - corners[1] + corners[2] - corners[3])), float(sides.max())
        told = {"corners": f"misfit {misfit:.3g} m", "a pixel": f"{limit:.3g} m"}
        yield _judged("place", "parallelogram", misfit <= limit, told, "to within a pixel")
    yield _compared("place", "spacing of lines, pixels", values, within=0.005, unit=" m")


def _view(case: _Case) -> Iterator[Check]:
    """Slant ranges and angles."""
    incidence, off_nadir = case.scene.get("incidence_deg") or None, case.scene.get("off_nadir_deg") or None
    by_off_nadir = None
    if off_nadir is not None:
        sine = math.sin(math.radians(off_nadir)) * (1 + _ORBIT_HEIGHT_M / geometry.EARTH_RADIUS_M)
        by_off_nadir = math.degrees(math.asin(sine)) if abs(sine) < 1 else math.nan
    stated = {"leader": off_nadir, "summary.txt": _number(case.summary.get("Img_OffNadirAngle"))}
    yield _compared("view", "off-nadir angle", stated, within=0.06, unit="°")
    angles = {"leader": incidence, "off-nadir angle": by_off_nadir}
    yield _compared("view", "incidence, off-nadir angle", angles, within=1.5, unit="°", note="on a sphere")
    stated_m = case.projection.get("platform_altitude_m") or 0.0
    height_m = stated_m if _ORBIT_HEIGHT_M / 2 < stated_m < 2 * _ORBIT_HEIGHT_M else _ORBIT_HEIGHT_M
    for image in case.images:
        ranges, name = _slant_ranges(case, image), f"slant ranges of {image.label}"
        if ranges is None:
            yield _judged("view", name, None, {})
            continue
        steps, middle, (near, far) = np.diff(ranges, axis=1), ranges[len(ranges) // 2], _SLANT_RANGES_M
        is_good = bool((steps > 0).all() or (steps < 0).all()) and near < ranges.min() and ranges.max() < far
        yield _judged("view", name, is_good, {"lines": middle}, "500…1500 km, all rising or all falling, in m")
        by_range = float(geometry.incidence_by_slant_range_deg(middle[1], geometry.EARTH_RADIUS_M + height_m))
        polynomial = case.scene.get("incidence_polynomial") or (0.0,)
        by_polynomial = math.degrees(np.polynomial.polynomial.polyval(middle[1] / 1000, polynomial))
        # the middle of a scan is not that of the scene
        angles = {"leader": None if image.match["scan"] else incidence, "slant range": by_range}
        angles |= {"θ(R)": by_polynomial if any(polynomial) else None}
        note = f"sphere, orbit {height_m / 1000:.0f} km high"
        yield _compared("view", f"incidence, {name}", angles, within=2.5, unit="°", note=note)
        if any(polynomial):
            yield _compared("view", f"θ(R), {name}", angles | {"slant range": None}, within=0.2, unit="°")


def _slant_ranges(case: _Case, image: _Image) -> NDArray[np.float64] | None:
    """Metres at the first, middle and last pixel of lines (lines, 3); Level 1.1 states that of the first one."""
    stated, spacing = image.stated("slant_range_m"), case.scene.get("pixel_spacing_m")
    if stated is None or stated.ndim == 2:
        return None if stated is None else stated.astype(np.float64)
    pixels = image.fields["pixels"]
    return stated[:, None] + spacing * np.array([0, 0.5, 1]) * (pixels - 1) if spacing and pixels else None


def _radiometry(case: _Case) -> Iterator[Check]:
    factor, scene, product = case.leader.get("radiometric", {}).get("calibration_factor_db"), case.scene, case.product
    published: tuple[float, ...] = (radiometry.CALIBRATION_FACTOR_DB,)
    if case.product_id.get("mode", "").startswith("W") and scene.get("beam") == 2:
        published += (radiometry.OLD_W2_FACTOR_DB,)
    used, note = factor, ""
    if product is not None:
        used = product.calibration_factor_db - (radiometry.SLC_OFFSET_DB if product.level == "1.1" else 0.0)
        note = f"open_product: {product.calibration_source}"
    is_good = None if factor is None else factor in published and used in published
    values = {"leader": factor, "JAXA's publication": published, "open_product": None if product is None else used}
    yield _judged("radiometry", "calibration factor in dB", is_good, values, note)
    descriptors = {"LED": case.leader.get("leader_descriptor"), "VOL": case.volume.get("volume_descriptor")}
    descriptors |= {"TRL": case.trailer.get("trailer_descriptor")}
    versions = {name: (fields or {}).get("software") for name, fields in descriptors.items()}
    versions |= {f"IMG {image.label}": image.fields.get("software") for image in case.images}
    yield _compared("radiometry", "software version", versions)
    wavelength = {"leader": scene.get("wavelength_m"), "PALSAR-2": _WAVELENGTH_M}
    yield _compared("radiometry", "wavelength", wavelength, within=0.005, unit=" m")
    looks, is_slc = _all_of(scene, "azimuth_looks", "range_looks"), case.product_id.get("level") == "1.1"
    is_good = None if looks is None else looks == (1, 1) if is_slc else min(looks) >= 1
    rule = "1, 1 at Level 1.1" if is_slc else "1 or more"
    yield _judged("radiometry", "looks in azimuth, range", is_good, {"leader": looks}, f"expected: {rule}")


def _records(case: _Case) -> Iterator[Check]:
    """How many records of which length leader and trailer state, and have."""
    source, descriptor = case.found.folder.get(f"LED-{case.found.identity}"), case.leader.get("leader_descriptor")
    if source is not None and descriptor:
        met = list(islice(_walk(source.read_all(ceos.LARGEST_LEADER_BYTES)), _MOST_RECORDS))
        wrong = []
        for kind in ceos.COUNTED:
            count, length = descriptor[f"{kind}_count"] or 0, descriptor[f"{kind}_bytes"]
            lengths = [n for name, n in met if name == kind]
            if lengths != [length] * count:
                wrong.append(f"{kind}: {count} of {length} bytes stated, {lengths or 'none'} met")
        total = sum(descriptor[f"{kind}_count"] or 0 for kind in ceos.COUNTED)
        both = {"descriptor": total, "met": len(met) - 1}
        yield _judged("records", "records of the leader", not wrong, both, "; ".join(wrong))
        stated = next((_all_of(pointer, "records", "longest_bytes") for pointer in case.pointers("SARL")), None)
        both = {"volume directory": stated, "met": (len(met), max(length for _, length in met))}
        yield _compared("records", "number and longest of the leader", both)
    source, fields = case.found.folder.get(f"TRL-{case.found.identity}"), case.trailer.get("trailer_descriptor", {})
    if source is not None and fields.get("images") == 1:
        parts = _all_of(fields, "image_columns", "image_rows", "image_sample_bytes")
        values = {"descriptor": fields["image_bytes"], "columns × rows × bytes": parts and math.prod(parts)}
        values["file"] = source.size - ceos.DESCRIPTOR_BYTES
        yield _compared("records", "bytes of the trailer's image", values)


def _walk(data: bytes) -> Iterator[tuple[str, int]]:
    """Kind and length of each record of a leader, up to the first that does not fit."""
    names = {record.codes: name for name, record in ceos.RECORDS.items() if not name.startswith("facility")}
    position = 0
    while position + ceos.HEADER.size <= len(data):
        _, *codes, length = ceos.HEADER.unpack_from(data, position)
        if not ceos.HEADER.size <= length <= len(data) - position:
            return
        number = ceos.unpack(data[position : position + 16], ceos.FACILITY)["sequence"]
        yield names.get((codes[0], codes[1], codes[2], codes[3]), f"facility_{number}"), length
        position += length


def _tiff_files(case: _Case) -> Iterator[Check]:
    turned = {(False, False): "1 (top left)", (True, True): "3 (bottom right)", (True, False): "4 (bottom left)"}
    stated = _numbers(*(case.summary.get(f"Pdi_NoOf{name}_0") for name in ("Lines", "Pixels")))
    for image in case.images:
        if image.raster is not None:
            subject, band = f"image {image.label}", image.raster
            yield _compared(subject, "lines, pixels", {"GeoTIFF": band.shape, "summary.txt": stated})
            system = None if band.crs is None else band.crs.to_string()
            is_placed = None if system is None or band.transform is None else True
            yield _judged(subject, "georeference", is_placed, {"CRS": system, "transform": _transform(band)})
            yield _judged(subject, "orientation", True, {"TIFF tag 274": turned[band.flip]})
    yield from _alike({image.label: image.raster for image in case.images if image.raster is not None})


# --- Level 2.2 and the mosaic: GeoTIFFs and an XML


def _transform(band: RasterBand) -> tuple[float, ...] | None:
    return None if band.transform is None else tuple(band.transform)[:6]


def _alike(bands: Mapping[str, RasterBand]) -> Iterator[Check]:
    yield _compared("rasters", "rows, columns", {label: band.shape for label, band in bands.items()})
    yield _compared("rasters", "transform", {label: _transform(band) for label, band in bands.items()})


def _layers(found: Found, product: Product | None, crs: CRS | None, xml: str) -> _Case:
    problems: list[Check] = []
    labels = {name: match["pol"] or match["layer"] for name, match in found.matches.items()}
    bands = {
        label: _tried(found.folder, name, lambda source: RasterBand.open(source, ("uint8", "uint16")), problems)
        for name, label in labels.items()
        if label
    }
    root = _tried(found.folder, xml, read_xml, problems)
    return _Case(found, product, crs, problems, bands={k: band for k, band in bands.items() if band}, xml=root)


def _card4l(found: Found, product: Product | None, crs: CRS | None) -> _Prepared:
    xml = next((name for name, match in found.matches.items() if match["xml"]), "summary.xml")
    return "CEOS-ARD, Level 2.2", _layers(found, product, crs, xml), (_xml_names, _card4l_xml, _card4l_place, _no_data)


def _mosaic(found: Found, product: Product | None, crs: CRS | None) -> _Prepared:
    match = found.any_match
    case = _layers(found, product, crs, f"{match['tile']}_{match['year']}_{match['beam']}.xml")
    return "forest map" if "C" in case.bands else "25 m mosaic", case, (_xml_names, _tile, _tile_layers)


def _xml_names(case: _Case) -> Iterator[Check]:
    named = [] if case.xml is None else [e.text.strip() for e in case.xml.iter("FileName") if e.text]
    # before the name of a window of a tile stands something else
    missing = [name for name in named if not any(present.endswith(name) for present in case.found.folder)]
    yield _listed("the XML", named, missing)
    yield from _alike(case.bands)


def _listed(source: str, named: list[str], missing: list[str]) -> Check:
    values = {source: f"{len(named)} files", "present": f"{len(named) - len(missing)} of them"} if named else {}
    note = f"missing: {', '.join(missing)}" if missing else ""
    return _judged("files", f"named by {source}", not missing if named else None, values, note)


def _card4l_xml(case: _Case) -> Iterator[Check]:
    name, told, say = case.found.any_match, case.product_id, partial(_xml_text, case)
    passes, side, started = say("PassDirection"), say("AntennaPointing"), _time(say("StartTime"))
    rows = {
        "mode": (told.get("mode"), say("ObservationMode")),
        "orbit direction": (_ORBITS.get(told.get("orbit", "")), passes and passes.lower()),
        "look side": (_SIDES.get(told.get("look", "")), side and side.lower()),
        "frame": (int(name["frame"]), _number(say("RSP_Frame_Number"))),
        "day": (_day(_time(f"20{name['date']}")), _day(started)),
    }
    for what, values in rows.items():
        yield _compared("identity", what, dict(zip(("name", "XML"), values, strict=True)))
    equation = re.search(r"([-+]\s*\d+(?:\.\d+)?)$", say("BackscatterConversionEq") or "")
    factor = _number(equation[1].replace(" ", "")) if equation else None
    both = {"XML": factor, "JAXA's publication": radiometry.CALIBRATION_FACTOR_DB}
    yield _compared("radiometry", "calibration factor in dB", both)


def _xml_text(case: _Case, name: str, **attributes: str) -> str | None:
    """The text of the first element of that name and with those attributes."""
    elements = [] if case.xml is None else case.xml.iter(name)
    texts = (e.text for e in elements if e.text and all(e.get(key) == value for key, value in attributes.items()))
    return next(texts, "").strip() or None


def _card4l_place(case: _Case) -> Iterator[Check]:
    band, say = next(iter(case.bands.values()), None), partial(_xml_text, case)
    if band is None or case.xml is None:
        return
    counts = _numbers(say("NumberLines"), say("NumPixelsPerLine"))
    is_swapped = counts == band.shape[::-1]
    note = "swapped, as JAXA writes them" if is_swapped else ""
    is_good = None if counts is None else is_swapped or counts == band.shape
    yield _judged("place", "lines, pixels", is_good, {"XML": counts, "GeoTIFF": band.shape}, note)
    epsg = {"XML": _number(say("CoordinateReferenceSystem", type="EPSG")), "GeoTIFF": band.crs and band.crs.to_epsg()}
    yield _compared("place", "EPSG code", epsg)
    corners, _ = _raster_corners(band)
    first = {e.tag: e.text for box in case.xml.iter("ProductBoundingBox") if box.get("Corner") == "UL" for e in box}
    stated = _numbers(first.get("Easting"), first.get("Northing"))
    both = {"XML": stated, "GeoTIFF": None if corners is None else corners[0]}
    yield _compared("place", "centre of the first pixel", both, within=0.01, unit=" m")
    spacing = _numbers(say("ProductRowSpacing"), say("ProductColumnSpacing"))
    t = band.transform
    steps = None if t is None else (math.hypot(t.b, t.e), math.hypot(t.a, t.d))
    yield _compared("place", "spacing of lines, pixels", {"XML": spacing, "GeoTIFF": steps}, within=1e-6, unit=" m")


def _no_data(case: _Case) -> Iterator[Check]:
    mask = case.bands.get("MSK")
    for label in POLARIZATIONS:
        band = case.bands.get(label)
        if band is None or mask is None or band.shape != mask.shape:
            continue
        counts = np.zeros(3, np.int64)
        for dn, codes in _blocks(band, mask):
            only_dn, only_mask = (dn == 0) & (codes != 0), (dn != 0) & (codes == 0)
            counts += np.array([dn.size, np.count_nonzero(only_dn), np.count_nonzero(only_mask)])
        values = {"pixels": counts[0], "DN 0 but mask not": counts[1], "mask 0 but DN not": counts[2]}
        yield _judged("rasters", f"no data of {label} and the mask", not counts[1:].any(), values, "a sample of blocks")


def _blocks(*bands: RasterBand) -> Iterator[list[NDArray[Any]]]:
    """The same blocks of several rasters of one shape, spread evenly; of packed ones the first only."""
    count, shape = 1 if any(band.source.packed for band in bands) else _BLOCKS, bands[0].shape
    starts = (np.unique(np.linspace(0, max(side - _BLOCK_PX, 0), count).astype(int)).tolist() for side in shape)
    for row, col in product_of(*starts):
        rows, cols = slice(row, min(row + _BLOCK_PX, shape[0])), slice(col, min(col + _BLOCK_PX, shape[1]))
        yield [np.concatenate(list(band.strips(rows, cols, _BLOCK_PX))) for band in bands]


def _tile(case: _Case) -> Iterator[Check]:
    """The name is that of the upper left corner of a tile of 1°."""
    tile, band = case.found.any_match["tile"], next(iter(case.bands.values()), None)
    north, west = int(tile[1:3]) * (1 if tile[0] == "N" else -1), int(tile[4:]) * (1 if tile[3] == "E" else -1)
    if band is not None and band.transform is not None:
        (left, top), (right, bottom) = band.transform * (0, 0), band.transform * band.shape[::-1]
        beyond = max(west - left, top - north, right - (west + 1), north - 1 - bottom)
        values = {"GeoTIFF": (left, bottom, right, top), "name": (west, north - 1, west + 1, north)}
        yield _judged("place", "inside its tile", beyond <= 1e-6, values, "west, south, east, north in degrees")


def _tile_layers(case: _Case) -> Iterator[Check]:
    year, say = 2000 + int(case.found.any_match["year"]), partial(_xml_text, case)
    for label, band in case.bands.items():
        if label not in ("mask", "C"):
            # 1 stands for no data from 2017 on
            yield _compared("rasters", f"no data of {label}", {"tag": band.no_data, "year": int(year >= 2017)})
    # as JAXA spells them, and as they are spelt
    first = _time(say("FirstAcquistionDate") or say("FirstAcquisitionDate"))
    last = _time(say("LastAcquistitionDate") or say("LastAcquisitionDate"))
    if "date" in case.bands:
        codes = np.unique(np.concatenate([np.unique(block) for (block,) in _blocks(case.bands["date"])]))
        days = [f"{_MOSAIC_EPOCH + np.timedelta64(int(code), 'D')}" for code in codes[codes > 1]]
        values = {"date layer": f"{days[0]} … {days[-1]}" if days else None}
        values["XML"] = f"{_day(first)} … {_day(last)}" if first and last else None
        is_good = bool(first and last and f"{_day(first)}" <= days[0] <= days[-1] <= f"{_day(last)}") if days else None
        yield _judged("time", "days", is_good if values["XML"] else None, values, "a sample of blocks")
