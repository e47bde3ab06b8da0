"""Calibrated images of others: GeoTIFF, COG, ENVI or plain VRT of backscatter, as SNAP, HyP3 or GAMMA write them.

What such files say of themselves is little, and each program has its own way: SNAP names bands ``Sigma0_VV_db``, HyP3
files ``…_VV.tif``, most write no unit. Names and descriptions tell polarisation and quantity, and a suffix ``_db`` the
scale, each with a note; what nothing tells is asked for, and some of the pixels are looked at to see whether it can be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from ..core.errors import Alos2TutError, system_errors_named
from .georeference import parsed_crs
from .given import IMAGE_SCALES, Given
from .metadata import IMAGE_TAGS, POLARIZATIONS, QUANTITIES, ImageGrid, MapGrid
from .mosaics import checked_mosaic, is_mosaic
from .names import beside, label_rasters
from .open_ceos import of_one_shape
from .open_rasters import map_grid
from .product import NOT_CALIBRATED, Product
from .rasters import RasterBand, is_tiff, open_raster
from .sources import FileSource, find_files

_DTYPES = ("float32", "float64", "uint16", "int16")
#: dB beyond which a number is no backscatter, but a mistake or somebody's no data
_FARTHEST_DB = 300
#: what the median of backscatter may be, dB; beyond, the numbers are those of a product that is not calibrated
_LIKELY_DB = (-60.0, 20.0)
#: share of pixels above which zeros and negative numbers are no matter of noise
_MOST_ODD = 0.05
#: what is read of whole numbers where masks hide something: no backscatter in any scale
_FILLS = {"int16": -(2.0**15), "uint16": 2.0**16 - 1}
#: pixels up to which all of an image is looked at when it is opened
_COUNTED_PX = 2**22
#: files of a folder that an error names; characters of a file's own description
_LISTED, _DESCRIBED = 5, 400
_POLARIZATION = re.compile(r"(?<![A-Za-z0-9])(HH|HV|VH|VV)(?![A-Za-z0-9])", re.IGNORECASE)
_QUANTITY = re.compile(r"(?<![A-Za-z])(sigma|gamma|beta)[ _-]?(?:0|nought|naught)(?![0-9])", re.IGNORECASE)
_DB = re.compile(r"(?<![A-Za-z0-9])dB(?![A-Za-z0-9])", re.IGNORECASE)
#: how the files of :meth:`alos2tut.Product.to_cog` say it
_OUR_SCALES = {"dB": "db", "linear power": "power"}


@dataclass(frozen=True)
class BackscatterBand:
    """Amplitude, the square root of linear power, of a raster of power, amplitude or dB; NaN where there is no data.

    That is where the raster says so, and where a number is not finite, not above zero, or beyond ±300 dB.

    Attributes:
        raster: the stored numbers.
        scale: what they are, one of :data:`.IMAGE_SCALES`.
        missing: numbers that stand for no data.
    """

    raster: RasterBand = field(repr=False)
    scale: str
    missing: tuple[float, ...] = ()

    @property
    def source(self) -> FileSource:
        """The file."""
        return self.raster.source

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def strips(self, rows: slice, cols: slice, step: int) -> Iterator[NDArray[Any]]:
        """A window in strips of at most ``step`` rows, float32."""
        for stored in self.raster.strips(rows, cols, step):
            yield self.amplitude(self.numbers(stored))

    def thumbnail(self, most_px: int) -> NDArray[np.float32]:
        """The whole band at no more than ``most_px`` pixels a side, as the raster gives it."""
        return self.amplitude(self.numbers(self.raster.thumbnail(most_px)))

    def numbers(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Stored numbers as floats in the band's scale, NaN where the raster says that there is no data."""
        factor, offset = self.raster.scaling
        values = stored.astype(np.result_type(stored.dtype, np.float32), copy=False)
        with np.errstate(over="ignore"):
            # a tag of -9999.9 is a float32 as the pixels are
            missing = np.array(self.missing, stored.dtype if stored.dtype.kind == "f" else np.float64)
        said = ~np.isfinite(values) | np.isin(stored, missing)
        return np.where(said, np.nan, values if (factor, offset) == (1, 0) else values * factor + offset)

    def amplitude(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """The square root of power of :meth:`numbers`, NaN where it is none."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self.scale == "db":
                amplitude = np.power(10, numbers / 20)
            else:
                amplitude = np.sqrt(numbers) if self.scale == "power" else numbers
            farthest = 10 ** (_FARTHEST_DB / 20)
            known = (amplitude >= 1 / farthest) & (amplitude <= farthest)
        return np.where(known, amplitude, np.nan).astype(np.float32)


def candidates(path: Path) -> list[Path]:
    """The rasters that a path may mean, in the order of their names: itself, or those in the folder.

    Of an ENVI raster also its header will do, of SNAP's BEAM-DIMAP the ``.dim`` beside the folder with the images.
    """
    if path.suffix.lower() == ".dim" and path.with_suffix(".data").is_dir():
        path = path.with_suffix(".data")
    if path.is_dir():
        names = [entry.name for entry in path.iterdir() if entry.is_file()]
        found = {*label_rasters(names), *(name for name in names if name.lower().endswith(".vrt"))}
        return [path / name for name in sorted(found) if _is_raster(path / name)]
    if path.suffix.lower() == ".hdr":
        bare = path.with_suffix("")
        known = (bare, *(bare.with_suffix(end) for end in (".img", ".bin", ".dat", ".raw")))
        path = next((file for file in known if file.is_file()), path)
    return [path] if _is_raster(path) else []


def _is_raster(path: Path) -> bool:
    with system_errors_named(path):
        if not path.is_file():
            return False
        headers = (Path(f"{path}.hdr"), path.with_suffix(".hdr"))
        return any(file.is_file() and file != path for file in headers) or is_tiff(path) or is_mosaic(path)


def open_images(path: Path, given: Given) -> Product:
    """Open one image, or a folder with one per polarisation.

    Args:
        path: the file or folder.
        given: what the user says of it.

    Raises:
        Alos2TutError: something that is needed and that neither files nor user say; numbers that cannot be what is
            said of them; rasters of several sizes or places; files that are damaged, or of another kind.
    """
    given.refuse(path, "no ScanSAR product", ["scan"])
    files = candidates(path)
    files = _one_of_each(path, files) if len(files) > 1 else files
    rasters = [band for file in files for band in _bands_of(file, is_one=len(files) > 1)]
    (tags, points), notes = _stated(rasters[0]), list[str]()
    if tags.get("SCALE") == NOT_CALIBRATED and given.scale is None:
        problem, remedy = "holds a product's numbers as delivered, which are not calibrated", "Write it as db or power."
        raise Alos2TutError(problem, where=path, remedy=remedy)
    bands = _by_polarization(path, rasters, tags.get("POLARIZATION"), given, notes)
    texts = [_text(band) for band in bands.values()]
    scale = _said("scale", given.scale, _OUR_SCALES.get(tags.get("SCALE", "")), texts, notes)
    quantity = _said("quantity", given.quantity, tags.get("QUANTITY"), texts, notes)
    first: RasterBand = of_one_shape(list(bands.values()))
    _check_said(path, first, {"scale": scale, "quantity": quantity, "polarization": None if "" in bands else bands})
    read = {pol: BackscatterBand(band, str(scale), _missing(band, given)) for pol, band in bands.items()}
    for pol, image in read.items():
        notes += _looked_at(pol, image, str(quantity))
    grid = _grid(list(bands.values()), given, notes)
    if grid is None and points:
        notes.append(f"its {points:,} ground control points are not used: it lies in its own frame, on no map")
    spacing_m = given.spacing_m or (_spacing_m(tags, path) if grid is None else None)
    notes += [f"given by the user: {said}"] if (said := given.to_text()) else []
    notes += [f"the file says: {said}"] if (said := _described(tags)) else []
    owner = tags.get("SOURCE", "").partition(", (c)")[0]
    sensor = given.sensor or (owner if owner not in ("", "simulated", "unknown sensor") else None)
    known: dict[str, Any] = {"sensor": sensor, "date": tags.get("ACQUIRED"), "incidence angle": None, "looks": None}
    known |= {"map": None, "pixel spacing": spacing_m} if grid is None else {}
    return Product(
        path=path,
        kind="calibrated image",
        level="image",
        shape=first.shape,
        grid=grid,
        polarizations=tuple(read),
        quantity=str(quantity),
        calibration_factor_db=0.0,
        calibration_source=f"none: the numbers are {quantity} as {scale}",
        files=tuple(sorted({part for file in files for part in _parts(file)})),
        bands=read,
        no_data_dn=(),
        sensor=sensor,
        acquired=tags.get("ACQUIRED"),
        simulated=owner == "simulated",
        stated_spacing_m=spacing_m,
        given=given.of_pixels,
        gaps=tuple(name for name, value in known.items() if value is None),
        notes=tuple(notes),
    )


# --- files and bands


def _one_of_each(folder: Path, files: Sequence[Path]) -> list[Path]:
    """Of the rasters in a folder those whose names tell a polarisation, which must be one of each."""
    named: dict[str, list[Path]] = {}
    for file in files:
        if pol := _only(_POLARIZATION, file.name):
            named.setdefault(pol.upper(), []).append(file)
    if not named:
        problem = f"holds {len(files)} rasters, of which no name tells one polarisation: {_listed(files)}"
        raise Alos2TutError(problem, where=folder, remedy="Name the file that is meant.")
    for pol, several in named.items():
        if len(several) > 1:
            problem = f"holds {len(several)} rasters whose names say {pol}: {_listed(several)}"
            remedy = "Name the one that is meant, or put the files of one image into a folder of their own."
            raise Alos2TutError(problem, where=folder, remedy=remedy)
    return [file for (file,) in named.values()]


def _listed(files: Sequence[Path]) -> str:
    more = f" and {len(files) - _LISTED:,} more" if len(files) > _LISTED else ""
    return ", ".join(file.name for file in files[:_LISTED]) + more


def _bands_of(file: Path, is_one: bool) -> tuple[RasterBand, ...]:
    """All bands of a raster, which may have to be one."""
    file = file.absolute()
    folder = find_files(file).folders[""]
    source, options = folder[file.name], beside(folder, file.name)[1]
    if is_mosaic(file):
        parts = _parts(file)
        for part in parts:
            if not is_mosaic(part):  # whole, and no larger than it can be
                RasterBand.open_all(FileSource(part.name, part, part.stat().st_size), _DTYPES)
        options["mosaic"] = ElementTree.tostring(checked_mosaic(file), encoding="unicode")
        source = replace(source, size=sum(part.stat().st_size for part in parts))
    bands = RasterBand.open_all(source, _DTYPES, is_one=is_one, **options)
    # what masks hide must not look like a number of the image
    return tuple(replace(band, fill=_FILLS.get(band.dtype.name, band.fill)) for band in bands)


def _parts(file: Path) -> list[Path]:
    """The files that an image's pixels and their meaning come from."""
    file = file.absolute()
    folder = find_files(file).folders[""]
    headers = (Path(f"{file}.hdr"), file.with_suffix(".hdr"))
    parts = [file, *(source.path for source in beside(folder, file.name)[0]), *(h for h in headers if h.is_file())]
    if is_mosaic(file):
        sources = {Path(part.text or "") for part in checked_mosaic(file).iter("SourceFilename")}
        parts += [part for source in sorted(sources) for part in _parts(source)]
    return parts


def _stated(band: RasterBand) -> tuple[Mapping[str, str], int]:
    """Tags of a raster, as files of :meth:`alos2tut.Product.to_cog` have them, and how many ground control points."""
    try:
        with open_raster(band.mosaic or band.source.gdal_path, [band.driver], beside=band.driver != "GTiff") as raster:
            return dict(raster.tags()), len(raster.gcps[0])
    except (RasterioError, CPLE_BaseError):
        return {}, 0


def _spacing_m(tags: Mapping[str, str], path: Path) -> tuple[float, float] | None:
    """The pixel size that our own tags state of an image on no map."""
    return ImageGrid.from_tags(tags, path).pixel_m if {*IMAGE_TAGS} <= {*tags} else None


def _described(tags: Mapping[str, str]) -> str:
    """A TIFF's ImageDescription in one line, of at most :data:`_DESCRIBED` characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in tags.get("TIFFTAG_IMAGEDESCRIPTION", "")).split())
    return text if len(text) <= _DESCRIBED else f"{text[:_DESCRIBED]}…"


def _text(band: RasterBand) -> str:
    """Where a band's name is to be found: in its description and its file's name."""
    return f"{band.source.name.rpartition('.')[0]} {band.description}".strip()


def _only(pattern: re.Pattern[str], text: str) -> str | None:
    """The one word of a kind that a text holds, in small letters; None for none, or several."""
    found = {match[match.re.groups].lower() for match in pattern.finditer(text)}
    return found.pop() if len(found) == 1 else None


# --- what is said of them


def _by_polarization(
    path: Path, rasters: Sequence[RasterBand], tag: str | None, given: Given, notes: list[str]
) -> dict[str, RasterBand]:
    """The bands by polarisation, in the usual order; by an empty text where there is one that nobody names."""
    in_files = Counter(band.source for band in rasters)
    own = [_only(_POLARIZATION, band.description if in_files[band.source] > 1 else _text(band)) for band in rasters]
    named = [pol and pol.upper() for pol in own]
    if len(rasters) == 1 and tag in POLARIZATIONS:
        named = [tag]
    wanted = given.polarizations
    if wanted and (len(wanted) == len(rasters) or not any(named)) and not set(wanted) <= set(named):
        if len(wanted) != len(rasters):
            problem = f"holds {len(rasters)} bands, and polarization='{given.polarization}' names {len(wanted)}"
            raise Alos2TutError(problem, where=path, remedy="Name that of each band, in their order: 'HH,HV'.")
        if any(named):
            notes.append(f"polarization={given.polarization} was given; by their names they are {_joined(named)}")
        named = list(wanted)
    elif {*named} - {None, tag, *wanted}:
        notes.append(f"polarisations are taken from the names: {_joined(named)}")
    if not any(named) and len(rasters) > 1:
        problem = f"holds {len(rasters)} bands, whose descriptions tell no polarisation"
        raise Alos2TutError(problem, where=path, remedy="Name that of each band, in their order: polarization='HH,HV'.")
    twice = [f"{_text(band)} (band {band.number})" for band, pol in zip(rasters, named, strict=True)
             if pol and named.count(pol) > 1]  # fmt: skip
    if twice:
        problem = f"holds several bands of one polarisation: {', '.join(twice[:_LISTED])}"
        raise Alos2TutError(problem, where=path, remedy="Write the ones that are meant into a file of their own.")
    if not any(named):
        return {"": rasters[0]}
    if aside := [_text(band) for band, pol in zip(rasters, named, strict=True) if not pol]:
        notes.append(f"bands whose names tell no polarisation are left aside: {', '.join(aside[:_LISTED])}")
    by_name = dict(zip(named, rasters, strict=True))
    return {pol: by_name[pol] for pol in POLARIZATIONS if pol in by_name}


def _joined(named: Sequence[str | None]) -> str:
    return ", ".join(name or "?" for name in named)


def _said(name: str, given: str | None, tag: str | None, texts: Sequence[str], notes: list[str]) -> str | None:
    """A scale or quantity as the user gives it, else as our own tags or names have it; None where nobody says it."""
    found = {_named_in(name, text) for text in texts}
    named = found.pop() if len(found) == 1 else None
    if given is not None:
        if named not in (None, given):
            notes.append(f"{name}={given} was given; by its name it is {named}: {texts[0]}")
        return given
    if tag in (*IMAGE_SCALES, *QUANTITIES):
        return tag
    if named is not None:
        notes.append(f"{name}={named} is taken from the name: {texts[0]}")
    return named


def _named_in(name: str, text: str) -> str | None:
    if name == "scale":
        return _only(_DB, text)
    return f"{word}0" if (word := _only(_QUANTITY, text)) else None


def _check_said(path: Path, band: RasterBand, said: Mapping[str, Any]) -> None:
    """Ask for what neither files nor user say, by name, and propose what the numbers support."""
    missing = [name for name, value in said.items() if value is None]
    if not missing:
        return
    known = {"quantity": QUANTITIES, "polarization": POLARIZATIONS}
    asked = [f"{name}={' or '.join(known[name])}" for name in missing if name in known]
    if "scale" in missing:
        asked.insert(0, _proposal(band))
    problem = f"nothing tells {' and '.join(missing)}"
    raise Alos2TutError(problem, where=path, remedy=f"Say {'; '.join(asked)}.")


def _proposal(band: RasterBand) -> str:
    """What the numbers support of the scale."""
    numbers = _data(BackscatterBand(band, "power", _missing(band, Given())))[0]
    if not numbers.size:
        return f"scale={' or '.join(IMAGE_SCALES)}"
    negative, median = float((numbers < 0).mean()), float(np.median(numbers))
    if negative > _MOST_ODD:
        return f"scale='db', which the numbers support ({negative:.0%} are below 0)"
    text = f"scale='power' or scale='amplitude', which the numbers cannot tell apart (median {median:.3g}"
    return text + (", not that of calibrated numbers)" if median >= 100 else ")")


def _missing(band: RasterBand, given: Given) -> tuple[float, ...]:
    """Numbers that stand for no data: by the tag, by the user, and what is read where masks hide something."""
    masked = band.fill if band.alphas or band.has_mask or band.masks else None
    return tuple(float(value) for value in (band.no_data, given.no_data, masked) if value is not None)


def _grid(bands: Sequence[RasterBand], given: Given, notes: list[str]) -> MapGrid | None:
    """Where the image lies; None for an image on no map."""
    first = bands[0]
    for band in bands[1:]:
        if (band.transform, band.crs) != (first.transform, first.crs):
            remedy = "Put files of one image, on one grid, into a folder of their own."
            raise Alos2TutError(f"lies elsewhere than {first.source.name}", where=band.source.where, remedy=remedy)
    crs = None if given.crs is None else parsed_crs(given.crs, first.source.where)
    if crs is None and (first.transform is None or (first.crs is None and given.spacing_m is not None)):
        if first.transform is not None:
            notes.append("its transform, of no stated coordinate system, is not used: spacing_m was given instead")
        return None
    grid = map_grid(first, crs)
    given.refuse(first.source.where, "an image on a map", ["spacing_m"])
    return grid


# --- whether the numbers can be what is said of them


def _data(image: BackscatterBand) -> tuple[NDArray[Any], str]:
    """Numbers that no statement calls no data, (n,), of all pixels or of some blocks; and how these are called."""
    (height, width), band = image.raster.shape, image.raster
    if height * width <= _COUNTED_PX:
        parts, which = band.strips(slice(0, height), slice(0, width), height), "all pixels"
    else:
        parts, which = (block for (block,) in band.blocks()), "the pixels looked at"
    numbers = np.concatenate([image.numbers(part).ravel() for part in parts])
    return numbers[~np.isnan(numbers)], which


def _looked_at(pol: str, image: BackscatterBand, quantity: str) -> list[str]:
    """Notes on the numbers of an image.

    Raises:
        Alos2TutError: they cannot be of the scale, or of a calibrated quantity.
    """
    numbers, which = _data(image)
    where = f"{image.source.where} ({pol})"
    if not numbers.size:
        return [f"{pol}: none of {which} has data"]
    negative, zero = int(np.count_nonzero(numbers < 0)), int(np.count_nonzero(numbers == 0))
    if image.scale == "db":
        if not negative:
            problem = f"no number is below 0 of {which}, so that scale='db' is not what they are"
            raise Alos2TutError(problem, where=where, remedy=f"Say {_proposal(image.raster)}.")
        negative = zero = 0
    if negative + zero > _MOST_ODD * numbers.size:
        found = f"{negative / numbers.size:.2%} are below 0 and {zero / numbers.size:.2%} are 0"
        remedy = "If 0 stands for no data, say no_data=0."
        if negative > _MOST_ODD * numbers.size:
            remedy = "Numbers below 0 are what dB look like: say scale='db'."
        raise Alos2TutError(f"of {which} {found}, which no {image.scale} is", where=where, remedy=remedy)
    amplitude = image.amplitude(numbers)
    lost = int(np.count_nonzero(np.isnan(amplitude))) - negative - zero
    if lost == numbers.size - negative - zero:
        problem = f"all numbers of {which} lie beyond ±{_FARTHEST_DB} dB, which no {image.scale} of backscatter does"
        remedy = (
            "If they are hundredths of dB, or the like, write their scale into the file (gdal_edit.py -scale 0.01)."
        )
        raise Alos2TutError(problem, where=where, remedy=remedy)
    median_db = 20 * float(np.log10(np.nanmedian(amplitude)))
    if quantity != "relative" and not _LIKELY_DB[0] <= median_db <= _LIKELY_DB[1]:
        problem = f"the median is {median_db:.0f} dB as {image.scale}, which {quantity} of no scene is"
        remedy = "Check scale; of numbers that are not calibrated say quantity='relative'."
        raise Alos2TutError(problem, where=where, remedy=remedy)
    counts = {"are 0": zero, "are below 0": negative, f"lie beyond ±{_FARTHEST_DB} dB": lost}
    texts = [f"{count:,} {what}" for what, count in counts.items() if count]
    return [f"{pol}: of {which}, {', '.join(texts)}: they count as no data"] if texts else []
