"""NISAR's GCOV: terrain-corrected backscatter on a map, in HDF5. The only module that imports h5py, when it is needed.

Names, types and meanings are those of JPL D-102274 ("NISAR NASA SDS Product Specification Level-2 Geocoded Polarimetric
Covariance", rev. E) as isce3, which writes the products, has them (github.com/isce-framework/isce3 at e065414,
``products/XML/L2/nisar_L2_GCOV.xml``, ``products/writers/GcovWriter.py``, ``cxx/isce3/geocode/GeocodeCov.cpp``).

HDF5 can lead to other files: by external links, external storage, virtual datasets, and by soft links to any of these.
NISAR's files use none of them, and none is followed. What a file claims of its sizes is checked before it is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from ..core.errors import Alos2TutError, closest, quoted, system_errors_named, warn
from .georeference import parsed_crs
from .given import Given
from .metadata import POLARIZATIONS, MapGrid
from .names import middle_of
from .open_ceos import absent
from .product import Product
from .rasters import check_sizes, spread_blocks
from .reading import Layer
from .sources import FileSource

#: how an HDF5 file begins, after a user block of 0, 512, 1024, … bytes (HDF5 file format specification, II.A); that of
#: MATLAB has 512
_SIGNATURE, _USER_BLOCKS = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048)
_RADARS = {"LSAR": "L-SAR", "SSAR": "S-SAR"}
_FREQUENCIES = ("frequencyA", "frequencyB")
#: NISAR's other products, by the names of their groups; SLC is what RSLC was called at first
_OTHERS = {
    "RRSD": "raw data",
    **dict.fromkeys(("RSLC", "SLC"), "complex images in slant range, not terrain-corrected"),
    "GSLC": "complex images on a map, not terrain-corrected in radiometry",
    **dict.fromkeys(("RIFG", "RUNW", "GUNW"), "interferograms"),
    **dict.fromkeys(("ROFF", "GOFF"), "offsets of pixels"),
    "SME2": "soil moisture",
    "QA": "a report on quality",
}
#: of the mask: sub-swaths, of which there are five at most, are numbered from 1
_MASK = {0: "invalid or partly focused", **{n: f"valid, sub-swath {n}" for n in range(1, 6)}, 255: "no data"}
_HIDDEN = (0, 255)
#: rasters beside the backscatter: our names, the file's
_FACTOR = "gamma0_to_sigma0"
_LAYERS = {"mask": "mask", "looks": "numberOfLooks", _FACTOR: "rtcGammaToSigmaFactor"}
#: quantities by what the file calls the normalisation of its backscatter
_QUANTITIES = ("gamma0", "sigma0", "beta0")
#: bytes of a text that is read
_LONGEST_TEXT = 4096
#: pixels by which a coordinate may be off its even place, and a stated spacing from that of the coordinates in all
_UNEVEN_PX = 0.01
#: slots of HDF5's cache of chunks, a prime, many more than there are chunks in a row of them
_CACHE_SLOTS = 10_007
_DOWNLOAD, _WHOLE = "Download it again.", "Use the file as NASA delivers it."
_UNTRIED = "the reader of NISAR's GCOV follows its specification; no file of NASA's was at hand to try it on"


def is_hdf5(path: Path) -> bool:
    """Whether a path is an HDF5 file, by how it begins, or leads into one as ``file.h5/frequencyB`` does."""
    return _file_of(path) is not None


def _file_of(path: Path) -> Path | None:
    with system_errors_named(path):
        file = next((place for place in (path, *path.parents) if place.is_file()), None)
        if file is None:
            return None
        with file.open("rb") as handle:
            begin = handle.read(_USER_BLOCKS[-1] + len(_SIGNATURE))
    return file if any(begin[place:].startswith(_SIGNATURE) for place in _USER_BLOCKS) else None


def open_gcov(path: Path, given: Given) -> Product:
    """Open a GCOV product of NISAR.

    Args:
        path: the HDF5 file, or a path into it that names a radar, a frequency or a polarisation
            (``file.h5/SSAR/frequencyB/HV``); without one frequency A is read, where there is one, and HH.
        given: ``crs`` replaces the file's; what else is said of images, the file says itself.

    Raises:
        Alos2TutError: h5py is not installed; no HDF5, no NISAR product, or another one of NISAR's; no backscatter;
            coordinates that are not even; links and storage that lead to other files; sizes that cannot be.
    """
    file = _file_of(path)
    if file is None:
        raise Alos2TutError("is no HDF5 file, and does not lead into one", where=path)
    given.refuse(path, "a product of NISAR", ("scan", "scale", "quantity", "sensor", "spacing_m", "no_data"))
    source = FileSource(file.name, file.absolute(), file.stat().st_size)
    with _opened(source) as root, _errors_named(source, "is no NISAR product that can be read"):
        radar, frequency, polarization = _chosen(root, source, path.relative_to(file).parts)
        group = _child(root, source, "science", radar, "GCOV", "grids", frequency)
        processing = _child(root, source, "science", radar, "GCOV", "metadata", "processingInformation", "parameters")
        grid, shape = _grid(group, source, given)
        quantity, gaps = _quantity(processing, source)
        bands = {pol: _layer(group, source, 2 * pol, shape) for pol in POLARIZATIONS if _exists(group, 2 * pol)}
        if not bands or (polarization is not None and polarization not in bands):
            problem = f"{group.name} has no {f'polarisation {polarization!r}' if bands else 'backscatter'}"
            remedy = f"It holds {', '.join([*bands, *_compact(group)]) or 'none'}."
            raise Alos2TutError(problem, where=file, remedy=remedy)
        mask = _layer(group, source, "mask", shape) if _exists(group, "mask") else None
        layers = _layers(group, source, shape, quantity)
        identity = _identity(_child(root, source, "science", radar, "identification"), source, radar, frequency)
        notes = [*_unread(root, source, group), _UNTRIED]
        notes += [f"given by the user: {said}"] if (said := given.to_text()) else []
        notes += [note for pol, band in bands.items() for note in _looked_at(pol, band, mask, root)]
    wanted = {name: layers.get(layer) for layer, name in _LAYERS.items() if layer != _FACTOR or quantity == "gamma0"}
    wanted |= {name: identity[name] for name in ("acquired", "look_side", "orbit_direction")}
    return Product(
        path=path,
        kind="NISAR GCOV",
        level="image",
        shape=shape,
        grid=grid,
        polarizations=tuple(bands),
        default_polarization=polarization,
        quantity=quantity,
        calibration_factor_db=0.0,
        calibration_source="the product holds calibrated power",
        files=(source.path,),
        bands={pol: replace(band, is_power=True, mask=mask) for pol, band in bands.items()},
        layers=layers,
        gaps=(*gaps, *absent(wanted, "")),
        notes=tuple(notes),
        **identity,
    )


@dataclass(frozen=True)
class GridBand:
    """A raster of a frequency's grid; it holds no handle and travels between processes.

    Attributes:
        source: the HDF5 file.
        dataset: where it lies in the file, as "/science/LSAR/GCOV/grids/frequencyA/HHHH".
        shape: rows and columns.
        dtype: of what is read: uint8 for codes, else float32.
        cache_bytes: those of a row of chunks, which is what HDF5 has to keep so that none is unpacked twice.
        is_power: whether amplitudes are read, the roots of what is stored.
        mask: of the same pixels; where it says that there is no data, NaN is read.
    """

    source: FileSource
    dataset: str
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    cache_bytes: int = 0
    is_power: bool = False
    mask: GridBand | None = None

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """The pixels of a window from top to bottom in pieces of at most ``step`` rows; the file is open meanwhile.

        Yields:
            Arrays (n, columns) of ``dtype``, each a new one. Floats are NaN without data, which is also where they are
            not finite and above zero.

        Raises:
            Alos2TutError: pixels that cannot be read; a file that has changed since it was opened.
        """
        with self._reader() as read:
            for first in range(rows.start, rows.stop, step):
                yield read(slice(first, min(first + step, rows.stop)), cols)

    def thumbnail(self, most_px: int) -> NDArray[Any]:
        """Some of the pixels of the whole band, no more than ``most_px`` a side; errors as of :meth:`strips`."""
        (height, width), step = self.shape, -(-max(self.shape) // most_px)
        result = np.empty((-(-height // step), -(-width // step)), self.dtype)
        with self._reader() as read:
            for place, row in enumerate(range(0, height, step)):
                result[place] = read(slice(row, row + 1), slice(0, width))[0, ::step]
        return result

    @contextmanager
    def _reader(self) -> Iterator[Callable[[slice, slice], NDArray[Any]]]:
        """What reads a window, while the file is open."""
        with _opened(self.source) as root:
            stored = self._stored(root)
            mask = None if self.mask is None else self.mask._stored(root)

            def read(rows: slice, cols: slice) -> NDArray[Any]:
                with _errors_named(self.source, "pixels cannot be read"), np.errstate(over="ignore"):
                    values: NDArray[Any] = stored[rows, cols].astype(self.dtype)
                    hidden = None if mask is None else np.isin(mask[rows, cols], _HIDDEN)
                if self.dtype.kind == "f":
                    values[~(np.isfinite(values) & (values > 0))] = np.nan
                if hidden is not None:
                    values[hidden] = np.nan
                return np.sqrt(values) if self.is_power else values

            yield read

    def _stored(self, root: Any) -> Any:
        with _errors_named(self.source, "pixels cannot be read"):
            *groups, name = self.dataset.strip("/").split("/")
            group = _child(root, self.source, *groups)
            found = None if group is None else _layer(group, self.source, name, self.shape)
            if found is None or found != replace(self, is_power=False, mask=None):
                raise Alos2TutError("has changed since it was opened", where=self.source.where)
            return _dataset(group, self.source, name, self.cache_bytes)


# --- HDF5


@contextmanager
def _opened(source: FileSource) -> Iterator[Any]:
    """The file's root group, for reading."""
    try:
        import h5py
    except ModuleNotFoundError as error:
        remedy = 'Install it: pip install "alos2tut[nisar]".'
        raise Alos2TutError(f"is HDF5, and {error.name} is not installed", where=source.where, remedy=remedy) from None
    with _errors_named(source, "cannot be opened as HDF5"):
        handle = h5py.File(source.path, "r")
    try:
        yield handle
    finally:
        handle.close()


@contextmanager
def _errors_named(source: FileSource, problem: str) -> Iterator[None]:
    """What h5py raises where a file is not as it should be becomes an error of ours."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        # the last sentence says what went wrong in HDF5; a lock fails on disks that know none
        text = str(error).strip("'\"")
        remedy = (
            "On a disk that knows no locks set HDF5_USE_FILE_LOCKING=FALSE."
            if re.search(r"\block", text)
            else _DOWNLOAD
        )
        raise Alos2TutError(f"{problem} ({text})", where=source.where, remedy=remedy) from None


def _exists(group: Any, name: str) -> bool:
    return bool(group.id.links.exists(name.encode()))


def _child(group: Any, source: FileSource, *names: str) -> Any:
    """The group or dataset at a path, by hard links alone; None if there is none."""
    import h5py

    for name in names:
        if not isinstance(group, h5py.Group) or not _exists(group, name):
            return None
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            problem = f"{group.name.rstrip('/')}/{name} is a link to another place, which is not followed"
            raise Alos2TutError(problem, where=source.where, remedy=_WHOLE)
        group = group[name]
    return group


def _dataset(group: Any, source: FileSource, name: str, cache_bytes: int = 0) -> Any:
    """A dataset whose numbers lie in this file; None if there is none."""
    import h5py

    found = _child(group, source, name)
    if not isinstance(found, h5py.Dataset):
        return None
    if found.is_virtual or found.external:
        raise Alos2TutError(f"{found.name} lies in other files, which are not read", where=source.where, remedy=_WHOLE)
    if not cache_bytes:
        return found
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(_CACHE_SLOTS, cache_bytes, 0.0)  # the oldest goes first; of other rules some keep them all
    del found  # an open dataset keeps the cache that it has
    return h5py.Dataset(h5py.h5d.open(group.id, name.encode(), access))


def _layer(group: Any, source: FileSource, name: str, shape: tuple[int, int]) -> GridBand:
    """A raster of the grid, checked; its pixels are not read."""
    found, codes = _dataset(group, source, name), name == "mask"
    kind = None if found is None else found.dtype
    if kind is None or found.shape != shape or not (kind == np.uint8 if codes else kind.kind == "f"):
        is_what = "no raster" if kind is None else f"of {kind} and shape {found.shape}"
        wanted = f"{'uint8' if codes else 'real numbers'} of {shape}, the lengths of its coordinates"
        raise Alos2TutError(f"{group.name}/{name} is {is_what}, not {wanted}", where=source.where, remedy=_DOWNLOAD)
    tall, wide = found.chunks or (1, 1)
    block = (tall, -(-shape[1] // wide) * wide) if found.chunks else (1, 1)
    check_sizes(source, shape, block, kind.itemsize, f"{found.name} ")
    dtype = np.dtype(np.uint8 if codes else np.float32)
    return GridBand(source, found.name, shape, dtype, math.prod(block) * kind.itemsize)


def _scalar(group: Any, source: FileSource, name: str) -> Any:
    """A single value; None if there is none, or it is long."""
    found = None if group is None else _dataset(group, source, name)
    if found is None or found.shape not in ((), (1,)) or found.dtype.itemsize > _LONGEST_TEXT:
        return None
    return found[()] if found.shape == () else found[0]


def _text(group: Any, source: FileSource, name: str) -> str | None:
    value = _scalar(group, source, name)
    if isinstance(value, bytes):
        value = value[:_LONGEST_TEXT].decode("utf-8", "replace")
    text = str(value).strip("\0 ") if isinstance(value, (str, np.bool_)) else ""
    return text[:_LONGEST_TEXT] or None


def _count(group: Any, source: FileSource, name: str) -> int | None:
    value = _scalar(group, source, name)
    return int(value) if isinstance(value, np.integer) else None


def _known(text: str | None, choice: Sequence[str]) -> str | None:
    """The text in lower case if it is one of these."""
    return text.lower() if text and text.lower() in choice else None


def _iso_utc(text: str | None) -> str | None:
    """``2026-01-19T23:16:30.000000000``, which is UTC, as ISO 8601 to the microsecond; None for anything else."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*Z?", text or "")
    try:
        return f"{datetime.fromisoformat(match[1]).isoformat()}{match[2] or ''}Z" if match else None
    except ValueError:
        return None


# --- what the product says


def _chosen(root: Any, source: FileSource, inner: Sequence[str]) -> tuple[str, str, str | None]:
    """Radar, frequency and, if that is named, polarisation; by the names of a path into the file, or what there is."""
    radars = {name: _child(root, source, "science", name) for name in _RADARS}
    radars = {name: group for name, group in radars.items() if group is not None}
    if not radars:
        held = ", ".join(quoted(name) for name, _ in zip(root, range(6), strict=False)) or "nothing"
        raise Alos2TutError(
            f"is HDF5, but no product of NISAR: it holds no science/LSAR or science/SSAR, but {held}",
            where=source.where,
            remedy="Of HDF5 NISAR's GCOV is read; write another image as GeoTIFF.",
        )
    grids = {
        (radar, frequency): grid
        for radar, group in radars.items()
        for frequency in _FREQUENCIES
        if (grid := _child(group, source, "GCOV", "grids", frequency)) is not None
    }
    for group in radars.values():
        stated = (_text(_child(group, source, "identification"), source, "productType") or "").upper()
        other = next((name for name in _OTHERS if name == stated or _exists(group, name)), None)
        if stated not in ("", "GCOV") or (not grids and other):
            name = {"SLC": "RSLC"}.get(other or stated, other or stated)
            what = f" ({_OTHERS[other]})" if other else ""
            remedy = "Download the scene's GCOV, which is what can be read."
            raise Alos2TutError(f"is NISAR's {name}{what}, not GCOV", where=source.where, remedy=remedy)
    if not grids:
        raise Alos2TutError(
            "is of NISAR, but holds no GCOV/grids/frequencyA or frequencyB", where=source.where, remedy=_DOWNLOAD
        )
    left = [name for name in inner if name not in ("science", "GCOV", "grids")]
    for known in (_RADARS, _FREQUENCIES):
        if left and left[0] in known:
            grids = {key: grid for key, grid in grids.items() if left[0] in key}
            left = left[1:]
    polarization = left[0][: len(left[0]) // 2] if left and left[0] in [pol * 2 for pol in POLARIZATIONS] else None
    polarization = left[0] if left and left[0] in POLARIZATIONS else polarization
    if not grids or len(left) > (polarization is not None):
        raise Alos2TutError(f"holds no {'/'.join(inner)}", where=source.where, remedy="As in …h5/LSAR/frequencyB/HV.")
    return (*min(grids), polarization)


def _looked_at(pol: str, band: GridBand, mask: GridBand | None, root: Any) -> list[str]:
    """Notes on the numbers of some blocks: where all is hidden, and what is not above zero."""
    counts = np.zeros(2, np.int64)
    stored, codes = band._stored(root), None if mask is None else mask._stored(root)
    for part in spread_blocks(band.shape):
        power = stored[part]
        shown = np.isfinite(power) if codes is None else np.isfinite(power) & ~np.isin(codes[part], _HIDDEN)
        counts += [np.count_nonzero(shown), np.count_nonzero(shown & (power <= 0))]
    known, low = counts.tolist()
    if not known:
        return [f"{pol}: none of the pixels looked at has data"]
    share = f"{pol}: {low / known:.2%} of {known:,} pixels looked at are not above 0: they count as no data"
    return [share] if low else []


def _unread(root: Any, source: FileSource, group: Any) -> list[str]:
    """What is in the file, too, and not read, as notes."""
    grids = [(radar, frequency) for radar in _RADARS for frequency in _FREQUENCIES]
    found = {key: _child(root, source, "science", key[0], "GCOV", "grids", key[1]) for key in grids}
    notes = [
        f"{radar}/{frequency} is in the file, too: open {source.name}/{radar}/{frequency}"
        for (radar, frequency), grid in found.items()
        if grid is not None and grid.name != group.name
    ]
    terms = [first + second for first in POLARIZATIONS for second in POLARIZATIONS if first != second]
    if crossed := [term for term in terms if _exists(group, term)]:
        notes.append(f"covariances of two channels are not read: {', '.join(crossed)}")
    if compact := _compact(group):
        notes.append(f"compact polarimetry is not read: {', '.join(compact)}")
    return notes


def _compact(group: Any) -> list[str]:
    return [name for name in ("RHRH", "RVRV", "LHLH", "LVLV") if _exists(group, name)]


def _grid(group: Any, source: FileSource, given: Given) -> tuple[MapGrid, tuple[int, int]]:
    """Where the pixels lie, by the coordinates of their centres, and how many there are."""
    system = _count(group, source, "projection")
    code = None if _dataset(group, source, "projection") is None else group["projection"].attrs.get("epsg_code")
    if system and isinstance(code, np.integer) and int(code) != system:
        problem = f"{group.name}/projection is EPSG:{system}, and its epsg_code {int(code)}"
        raise Alos2TutError(problem, where=source.where, remedy="Give the right one: crs='EPSG:32654'.")
    system = system or (int(code) if isinstance(code, np.integer) else None)
    if given.crs is None and not system:
        remedy = "Give it: open_product(path, crs='EPSG:32654'), or --crs on the command line."
        raise Alos2TutError(f"{group.name}/projection states no EPSG code", where=source.where, remedy=remedy)
    crs = parsed_crs(given.crs if given.crs is not None else f"EPSG:{system}", source.where)
    if given.crs is not None and system and crs.to_epsg() != system:
        warn(f"{source.where}: states EPSG:{system}, is placed by {crs.to_string()}, as was asked for")
    (left, dx, width), (top, dy, height) = (_axis(group, source, axis) for axis in "xy")
    transform = Affine(dx, 0.0, left - dx / 2, 0.0, dy, top - dy / 2)
    return MapGrid(crs, transform), (height, width)


def _axis(group: Any, source: FileSource, axis: str) -> tuple[float, float, int]:
    """The first pixel's centre along an axis, the spacing, which may be negative, and how many pixels there are."""
    name = f"{group.name}/{axis}Coordinates"
    found = _dataset(group, source, f"{axis}Coordinates")
    if found is None or found.ndim != 1 or found.dtype.kind != "f" or not found.shape[0]:
        raise Alos2TutError(f"{name} is no list of coordinates", where=source.where, remedy=_DOWNLOAD)
    check_sizes(source, (found.shape[0], 1), (*(found.chunks or (1,)), 1), found.dtype.itemsize, f"{name} ")
    places = found[()].astype(np.float64)
    stated, count = _scalar(group, source, f"{axis}CoordinateSpacing"), len(places)
    stated = float(stated) if isinstance(stated, np.floating) and math.isfinite(stated) else None
    spacing = (places[-1] - places[0]) / (count - 1) if count > 1 else stated
    if not spacing or not np.isfinite(places).all() or not math.isfinite(spacing):
        raise Alos2TutError(f"{name} gives pixels no width", where=source.where, remedy=_DOWNLOAD)
    off = float(np.abs((places - places[0]) / spacing - np.arange(count)).max())
    if off > _UNEVEN_PX:
        problem = f"{name} is not even: a pixel lies {off:.3g} pixels from its place"
        raise Alos2TutError(problem, where=source.where, remedy="Warp it onto an even grid, as GeoTIFF.")
    if stated is not None and abs(stated / spacing - 1) * max(count - 1, 1) > 0.5:
        problem = f"{name} has a spacing of {spacing:.6g}, {axis}CoordinateSpacing states {stated:.6g}"
        raise Alos2TutError(problem, where=source.where, remedy=_DOWNLOAD)
    return float(places[0]), float(spacing), count


def _quantity(parameters: Any, source: FileSource) -> tuple[str, list[str]]:
    """What the terms are, as the file says, and what it leaves out of that. Without terrain correction it is β⁰."""
    rtc = _child(parameters, source, "rtc")
    expressed = (_text(rtc, source, "outputBackscatterExpressionConvention") or "").lower()
    if any(word in expressed for word in ("amplitude", "decibel", "db")):
        remedy = "Order it in power, or write it as GeoTIFF and say scale."
        raise Alos2TutError(f"states its backscatter as '{expressed}', not as power", where=source.where, remedy=remedy)
    stated = _text(rtc, source, "outputBackscatterNormalizationConvention")
    if stated is not None:
        if stated.lower() not in _QUANTITIES:
            problem = f"states its backscatter as {quoted(stated)}, which is not known"
            raise Alos2TutError(problem, where=source.where, remedy=closest(stated, _QUANTITIES))
        return stated.lower(), []
    is_corrected = (_text(parameters, source, "radiometricTerrainCorrectionApplied") or "true").lower() == "true"
    return ("gamma0" if is_corrected else "beta0"), ["normalisation of the backscatter (γ⁰ by the specification)"]


def _layers(group: Any, source: FileSource, shape: tuple[int, int], quantity: str) -> dict[str, Layer]:
    """The rasters beside the backscatter. The factor leads from γ⁰, and from nothing else."""
    found = {name: _layer(group, source, member, shape) for name, member in _LAYERS.items() if _exists(group, member)}
    if quantity != "gamma0":
        found.pop(_FACTOR, None)
    codes = {"unit": "code", "meaning": _MASK}
    return {name: Layer(band, **(codes if name == "mask" else {"unit": "1"})) for name, band in found.items()}


def _identity(group: Any, source: FileSource, radar: str, frequency: str) -> dict[str, Any]:
    """Whose pixels they are, of when and from where, as fields of a product."""
    granule = (_text(group, source, "granuleId") or "").removesuffix(".h5")
    # what it states is to be part of files' names
    scene = granule if re.fullmatch(r"[A-Za-z0-9][\w.-]{1,200}", granule, re.ASCII) else Path(source.name).stem
    mission = _text(group, source, "missionId") or ""
    started, ended = (_iso_utc(_text(group, source, f"zeroDoppler{end}Time")) for end in ("Start", "End"))
    return {
        "scene_id": scene if frequency == _FREQUENCIES[0] else f"{scene}-{frequency}",
        "sensor": f"{mission if re.fullmatch(r'[A-Za-z0-9 _-]{1,40}', mission) else 'NISAR'} {_RADARS[radar]}",
        "look_side": _known(_text(group, source, "lookDirection"), ("left", "right")),
        "orbit_direction": _known(_text(group, source, "orbitPassDirection"), ("ascending", "descending")),
        "orbit": _count(group, source, "absoluteOrbitNumber"),
        "frame": _count(group, source, "frameNumber"),
        "started": started,
        "ended": ended,
        "acquired": middle_of(started, ended),
        "processed": _iso_utc(_text(group, source, "processingDateTime")),
    }
