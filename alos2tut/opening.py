"""From what JAXA delivers to a :class:`~alos2tut.Product`: names, packagings, metadata.

A delivery is a folder, any of its files, or a zip or tar as it came. Its files' names say what they are; everything
else is taken from the leader, the image files, ``summary.txt`` or the XML, and what they do not say is named, not
guessed. Names and levels: JAXA's "ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product format description" (rev. F);
the rules of the mosaic and of Level 2.2 were checked on real files.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rasterio.crs import CRS

from . import geometry, radiometry
from .ceos import ImageFile, read_leader, read_summary, read_volume
from .errors import Alos2TutError, Alos2TutWarning
from .georeference import ceos_grid, line_footprint, parsed_crs, slant_range_incidence
from .products import POLARIZATIONS, Layer, MapGrid, Product
from .rasters import RasterBand
from .sources import Delivery, FileSource, find_files

LEVELS = ("1.1", "1.5", "2.1", "3.1")
# product id, 10 characters: mode, look side, level, option, projection, orbit direction (JAXA naming)
PRODUCT_ID = re.compile(
    r"(?P<mode>[SUHFWV][BW][SDQ])(?P<look>[LR])(?P<level>\d\.\d)(?P<option>[GR_])(?P<projection>[UPML_])(?P<orbit>[AD])"
)
_SCENE = r"(?P<scene>ALOS2(?P<orbit_number>\d{5})(?P<frame>\d{4})-(?P<date>\d{6}))"
#: Levels 1.1 to 3.1; F and B number the scans of a ScanSAR, processed with full aperture or burst by burst
DELIVERED = re.compile(
    rf"(?P<kind>VOL|LED|TRL|IMG)-(?:(?P<pol>HH|HV|VH|VV)-)?{_SCENE}-(?P<product>[0-9A-Z._]{{10}})"
    r"(?:-(?P<method>[BF])(?P<scan>\d))?(?P<suffix>\.tiff?)?",
    re.IGNORECASE,
)
#: Level 2.2
_CARD4L = re.compile(
    rf"{_SCENE}_(?P<product>[0-9A-Z._]{{10}})_"
    r"(?:(?P<pol>HH|HV|VH|VV)_SLP\.tif|(?P<layer>LIN|MSK)\.tif|(?P<xml>summary\.xml))"
)
#: 25 m mosaic and forest map: 1° tiles, named by their upper left corner
_MOSAIC = re.compile(
    r"(?P<stem>.*(?P<tile>[NS]\d{2}[EW]\d{3})_(?P<year>\d{2})(?:_MOS|_FNF)?)_"
    r"(?:sl_(?P<pol>HH|HV)|(?P<layer>linci|mask|date|C))_(?P<beam>[A-Z]\d{2}[SDQ][AD][LR])(?:\.tif)?"
)
#: files that come with a product and stand for its folder
_COMPANION = re.compile(r"summary\.txt|(BRS-|ALOS2\d{9}-).*\.(jpg|kml)|.*_[A-Z]\d{2}[SDQ][AD][LR]\.(xml|hdr)")
_ARCHIVE_ENDS = (".zip", ".tar", ".tgz", ".gz")
_LOOK_SIDES, _ORBITS = {"L": "left", "R": "right"}, {"A": "ascending", "D": "descending"}
_ALTERED_RANGE = "Level 3.1 has noise reduced and its dynamic range compressed: σ0 is not what Level 1.5 would give"
_ASSUMED_FACTOR = "assumed: JAXA's published constant"
#: JAXA's factors lie between −115 and −79 dB; beyond this the field is damaged
_LARGEST_FACTOR_DB = 200.0
#: the mosaic writes 1 for "no data" from 2017 on, 0 before
_MOSAIC_NO_DATA_ONE_SINCE = 2017
_MASK_MOSAIC = {0: "no data", 50: "ocean and water", 100: "layover", 150: "shadow", 255: "land"}
_MASK_CARD4L = {0: "no data", 1: "valid", 2: "layover", 3: "shadow", 4: "ocean and water", 5: "invalid"}
_FOREST = {0: "no data", 1: "forest", 2: "non-forest", 3: "water"}
#: four classes from 2017 on; JAXA's codes as Google Earth Engine's catalogue lists them
_FOREST_SINCE_2017 = {0: "no data", 1: "dense forest", 2: "non-dense forest", 3: "non-forest", 4: "water"}
_LARGEST_XML = 4 * 2**20


@dataclass(frozen=True)
class Found:
    """The files of one product."""

    delivery: Delivery
    identity: str
    #: of its folder, all files; of the product, the matches of their names
    folder: Mapping[str, FileSource]
    matches: Mapping[str, re.Match[str]]
    named: re.Match[str] | None

    @property
    def any_match(self) -> re.Match[str]:
        """The file the user named, else the first one."""
        return self.named or next(iter(self.matches.values()))

    def images(self) -> dict[str, FileSource]:
        """Image files by polarisation, in the usual order."""
        by_pol = {m["pol"].upper(): self.folder[name] for name, m in self.matches.items() if m["pol"]}
        return {pol: by_pol[pol] for pol in POLARIZATIONS if pol in by_pol}

    def files(self, sources: Sequence[FileSource]) -> tuple[Path, ...]:
        """Files on disk whose content makes the product: the archive, or these."""
        return (self.delivery.archive,) if self.delivery.archive else tuple(source.path for source in sources)


def open_product(path: str | Path, *, crs: str | CRS | None = None, scan: int | None = None) -> Product:
    """Open an ALOS-2 product; its pixels stay where they are until they are asked for.

    Args:
        path: a folder as JAXA delivers it, any of its files, or a zip, tar or tar.gz of it (or a path into one:
            ``delivery.zip/IMG-HV-…``). Read are: CEOS and GeoTIFF of Levels 1.1, 1.5, 2.1 and 3.1; Level 2.2; tiles of
            the 25 m mosaic and of the forest map. An image file makes its polarisation the one that is read unless
            another is named. Of a product that lies in one folder as both CEOS and GeoTIFF, the file named decides;
            a folder means CEOS.
        crs: replaces a coordinate system that the files lack or state wrongly, for example ``"EPSG:32654"``.
        scan: which scan of a ScanSAR Level 1.1 product, whose scans are files of different sizes; None: that of
            the file named, else the first, with a warning.

    Raises:
        Alos2TutError: nothing there that is a product, several products, a missing or damaged file, a level or
            projection that is not read, an archive that is not safe to read.
    """
    found, opener = find_product(path)
    if scan is not None and opener is not _open_delivered:
        raise Alos2TutError(f"scan={scan} is asked for, but only Level 1.1 has scans", where=path)
    product: Product = _open_delivered(found, crs, scan) if opener is _open_delivered else opener(found, crs)
    return product


def find_product(path: str | Path) -> tuple[Found, Any]:
    """The one product that a path means, and what opens its kind.

    Raises:
        Alos2TutError: none, or several.
    """
    delivery = find_files(path)
    candidates = {
        (folder, identity): (opener, matches)
        for folder, files in delivery.folders.items()
        for opener, identity, matches in _products_in(files)
    }
    named = delivery.named
    if delivery.archive is None and named is not None and named.lower().endswith(_ARCHIVE_ENDS):
        raise Alos2TutError(
            "is no archive, whatever its name says", where=path, remedy="Look into it: it may be a page of an error."
        )
    if named is not None and not _COMPANION.fullmatch(named):
        candidates = {key: value for key, value in candidates.items() if named in value[1]}
    if not candidates:
        raise Alos2TutError(
            "is no ALOS-2 product: no file here is named as JAXA names them",
            where=path,
            remedy="Expected IMG-HH-ALOS2…-… (CEOS, or GeoTIFF with .tif), ALOS2…_HH_SLP.tif of Level 2.2, or "
            "…_sl_HH_F02DAR.tif of the 25 m mosaic." + _elsewhere(delivery),
        )
    if len(candidates) > 1:
        names = ", ".join(sorted(f"{folder}/{identity}".lstrip("/") for folder, identity in candidates))
        raise Alos2TutError(f"holds {len(candidates)} products: {names}", where=path, remedy="Name a file of one.")
    ((folder, identity), (opener, matches)) = candidates.popitem()
    return Found(delivery, identity, delivery.folders[folder], matches, matches.get(named or "")), opener


def _products_in(files: Mapping[str, FileSource]) -> list[tuple[Any, str, dict[str, re.Match[str]]]]:
    """Products of one folder: what opens them, what their files' names share, and those names."""
    kinds: list[tuple[Any, re.Pattern[str], tuple[str, ...]]] = [
        (_open_delivered, DELIVERED, ("scene", "product")),
        (_open_card4l, _CARD4L, ("scene", "product")),
        (_open_mosaic, _MOSAIC, ("stem",)),
    ]
    products = []
    for opener, pattern, shared in kinds:
        by_identity: dict[str, dict[str, re.Match[str]]] = {}
        for name in files:
            match = pattern.fullmatch(name)
            if match and not name.endswith(".hdr"):
                by_identity.setdefault("-".join(match[part] for part in shared), {})[name] = match
        products += [(opener, identity, matches) for identity, matches in by_identity.items()]
    return products


def _elsewhere(delivery: Delivery) -> str:
    """Where else to look: users often name the folder above the one they mean."""
    nearby = [name for files in delivery.folders.values() for name in files if name.lower().endswith(_ARCHIVE_ENDS)]
    nearby += delivery.subfolders
    return f" Look into {', '.join(nearby[:5])}." if nearby else ""


# --- Levels 1.1, 1.5, 2.1 and 3.1


def _open_delivered(found: Found, crs: str | CRS | None, scan: int | None) -> Product:
    product_id = PRODUCT_ID.fullmatch(found.any_match["product"])
    if product_id is None:
        raise Alos2TutError(f"the product id '{found.any_match['product']}' cannot be read", where=found.delivery.path)
    if product_id["level"] not in LEVELS:
        raise Alos2TutError(
            f"is of level {product_id['level']}",
            where=found.delivery.path,
            remedy=f"Levels {', '.join(LEVELS)}, 2.2 and the mosaic are read.",
        )
    found, is_tiff = _of_one_format(found)
    found, scan, scans = _of_one_scan(found, scan)
    images = found.images()
    if not images:
        raise Alos2TutError(
            f"has no image file IMG-HH-{found.identity}", where=found.delivery.path, remedy="Download it again."
        )
    summary = _summary(found)
    named = found.named
    common = {
        "path": found.delivery.path,
        "level": product_id["level"],
        "polarizations": tuple(images),
        "default_polarization": named["pol"].upper() if named is not None and named["pol"] else None,
        "quantity": "sigma0",
        "scene_id": found.any_match["scene"],
        "product_id": found.any_match["product"] + _scan_suffix(found),
        "mode": product_id["mode"],
        "look_side": _LOOK_SIDES[product_id["look"]],
        "orbit_direction": _ORBITS[product_id["orbit"]],
        "orbit": int(found.any_match["orbit_number"]),
        "frame": int(found.any_match["frame"]),
        "scan": scan,
        "scans": scans,
        "browse_jpeg": _browse(found, next(iter(images))),
        **_told_by_summary(summary, found.any_match["date"]),
    }
    if product_id["level"] == "3.1":
        warnings.warn(f"{found.delivery.path}: {_ALTERED_RANGE}", Alos2TutWarning, stacklevel=3)
        common["notes"] = (_ALTERED_RANGE,)
    return (_open_tiffs if is_tiff else _open_ceos)(found, images, common, summary, crs)


def _of_one_format(found: Found) -> tuple[Found, bool]:
    """Without the files of the other format, if CEOS and GeoTIFF lie side by side; and whether this is GeoTIFF."""
    images = {name: m for name, m in found.matches.items() if m["kind"] == "IMG" and m["pol"]}
    has_ceos = any(m["suffix"] is None for m in images.values())
    is_tiff = not has_ceos or (found.named is not None and found.named["suffix"] is not None)
    is_tiff &= any(m["suffix"] for m in images.values())
    kept = {name: m for name, m in found.matches.items() if m["kind"] != "IMG" or bool(m["suffix"]) == is_tiff}
    return Found(found.delivery, found.identity, found.folder, kept, found.named), is_tiff


def _of_one_scan(found: Found, scan: int | None) -> tuple[Found, int | None, tuple[int, ...]]:
    """With the images of one scan only, its number, and the numbers that there are."""
    scans = tuple(sorted({int(m["scan"]) for m in found.matches.values() if m["scan"] and m["kind"] == "IMG"}))
    named = found.named
    if scan is None and named is not None and named["scan"]:
        scan = int(named["scan"])
    if not scans or (scan is not None and scan not in scans):
        if scan is not None:
            told = f"Scans: {', '.join(map(str, scans))}." if scans else "It has no scans."
            raise Alos2TutError(f"has no scan {scan}", where=found.delivery.path, remedy=told)
        return found, None, scans
    if scan is None:
        scan = scans[0]
        if len(scans) > 1:
            message = (
                f"{found.delivery.path}: scan {scan} of {', '.join(map(str, scans))} is open; scan=… opens another"
            )
            warnings.warn(message, Alos2TutWarning, stacklevel=4)
    kept = {n: m for n, m in found.matches.items() if m["kind"] != "IMG" or m["scan"] == str(scan)}
    return Found(found.delivery, found.identity, found.folder, kept, found.named), scan, scans


def _scan_suffix(found: Found) -> str:
    """``-F1``, as the names of a scan's images end."""
    return next((f"-{m['method']}{m['scan']}" for m in found.matches.values() if m["scan"] and m["pol"]), "")


def _summary(found: Found) -> dict[str, str]:
    """``summary.txt``, unless it is that of another scene."""
    source = found.folder.get("summary.txt")
    summary = read_summary(source) if source else {}
    return summary if summary.get("Scs_SceneID") in (None, found.any_match["scene"]) else {}


def _told_by_summary(summary: Mapping[str, str], yymmdd: str) -> dict[str, Any]:
    """Times, footprint, and who made it; the day at least is in the scene id."""
    maker = summary.get("Odi_SiteDateTime", "") + summary.get("Lbi_ProcessFacility", "")
    return {
        "acquired": _iso_time(summary.get("Img_SceneCenterDateTime")) or _day(yymmdd),
        "started": _iso_time(summary.get("Img_SceneStartDateTime")),
        "ended": _iso_time(summary.get("Img_SceneEndDateTime")),
        "processed": _processed(summary.get("Odi_SiteDateTime")),
        "stated_footprint": _summary_footprint(summary),
        "simulated": _says_simulated(maker),
        "notes": (),
    }


def _day(yymmdd: str) -> str:
    return f"20{yymmdd[:2]}-{yymmdd[2:4]}-{yymmdd[4:]}"


def _iso_time(text: str | None) -> str | None:
    match = re.fullmatch(r"(\d{4})(\d\d)(\d\d) ?(\d\d:\d\d:\d\d(?:\.\d+)?)", (text or "").strip())
    return f"{match[1]}-{match[2]}-{match[3]}T{match[4]}Z" if match else None


def _processed(text: str | None) -> str | None:
    """When it was processed: ``PROCESS:JAPAN-JAXA-ALOS2-EICS  20150320 080952``."""
    match = re.search(r"(\d{4})(\d\d)(\d\d) (\d\d)(\d\d)(\d\d)$", (text or "").strip())
    return "{}-{}-{}T{}:{}:{}Z".format(*match.groups()) if match else None


def _created(found: Found) -> str | None:
    """When the volume directory was made, which is when the product was processed."""
    source = found.folder.get(f"VOL-{found.identity}")
    try:
        volume = read_volume(source).get("volume_descriptor", {}) if source else {}
    except Alos2TutError:  # nothing else is needed of it
        return None
    match = re.fullmatch(r"(\d{8})(\d{6})\d*", f"{volume.get('created_date')}{volume.get('created_time')}")
    return _processed(f"{match[1]} {match[2]}") if match else None


def _summary_footprint(summary: Mapping[str, str]) -> tuple[tuple[float, float], ...]:
    corners = []
    for corner in ("LeftTop", "RightTop", "RightBottom", "LeftBottom"):
        pair = [_number(summary.get(f"Img_ImageScene{corner}{axis}")) for axis in ("Longitude", "Latitude")]
        if pair[0] is None or pair[1] is None:
            return ()
        corners.append((pair[0], pair[1]))
    return geometry.on_earth(tuple(corners))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _browse(found: Found, polarization: str) -> Any:
    """JAXA's own quick-look, if it came along."""
    source = found.folder.get(f"BRS-{polarization}-{found.identity}.jpg")
    return None if source is None else source.read_all


def _says_simulated(text: str | None) -> bool:
    return "simulat" in (text or "").lower()


def _open_ceos(
    found: Found, images: dict[str, FileSource], common: dict[str, Any], summary: dict[str, str], crs: str | CRS | None
) -> Product:
    leader_source = found.folder.get(f"LED-{found.identity}")
    if leader_source is None:
        raise Alos2TutError(
            "the leader file is missing; it holds calibration and map projection",
            where=f"{found.delivery.path}: LED-{found.identity}",
            remedy="Download the product again, whole.",
        )
    bands = {pol: ImageFile.open(source) for pol, source in images.items()}
    first = _of_one_shape(list(bands.values()))
    _check_sample_type(first, common["level"])
    leader = read_leader(leader_source)
    common["processed"] = common["processed"] or _created(found)
    scene, projection = leader.get("dataset_summary", {}), leader.get("map_projection", {})
    factor, factor_source, notes = _calibration(leader, common, scene, leader_source)
    grid: MapGrid | None = None
    gaps: list[str] = []
    if common["level"] == "1.1":
        _refuse_crs(crs, found)
    else:
        grid, gaps = ceos_grid(projection, first, leader_source, summary, crs)
    looks: Any = (scene.get("azimuth_looks"), scene.get("range_looks"))
    resolution: Any = (scene.get("azimuth_resolution_m"), scene.get("range_resolution_m"))
    spacing: Any = (scene.get("line_spacing_m"), scene.get("pixel_spacing_m"))
    gaps += _absent({"radiometric record": leader.get("radiometric", {}).get("calibration_factor_db"),
                     "scene incidence": scene.get("incidence_deg"), "looks": looks[0]}, "leader: ")  # fmt: skip
    incidence = slant_range_incidence(first, scene.get("incidence_deg"), spacing[1])
    # summary.txt may be missing
    common["simulated"] |= any(_says_simulated(band.software) for band in bands.values())
    common["notes"] = (*common["notes"], *notes)
    common["stated_footprint"] = common["stated_footprint"] or line_footprint(first)
    extra = [found.folder["summary.txt"]] if summary else []
    return Product(
        **common,
        kind="CEOS",
        shape=first.shape,
        grid=grid,
        calibration_factor_db=factor,
        calibration_source=factor_source,
        bands=bands,
        files=found.files([leader_source, *images.values(), *extra]),
        beam=_beam(common["mode"], scene.get("beam")),
        incidence_deg=scene.get("incidence_deg") or None,
        slant_range_incidence=incidence,
        looks=looks if looks[0] and looks[1] else None,
        resolution_m=resolution if resolution[0] and resolution[1] else None,
        stated_spacing_m=spacing if spacing[0] and spacing[1] else None,
        software=first.software,
        gaps=tuple(gaps),
    )


def _refuse_crs(crs: str | CRS | None, found: Found) -> None:
    if crs is not None:
        raise Alos2TutError(
            f"lies in slant range: crs={str(crs)!r} cannot place it on a map",
            where=found.delivery.path,
            remedy="Leave it out, or order the scene as Level 2.1.",
        )


def _of_one_shape(images: Sequence[Any]) -> Any:
    first = images[0]
    for image in images:
        if image.shape != first.shape:
            raise Alos2TutError(
                f"is {image.shape[0]} × {image.shape[1]} pixels, {first.source.name} is {first.shape[0]} × "
                f"{first.shape[1]}",
                where=image.source.where,
            )
    return first


def _check_sample_type(image: ImageFile, level: str) -> None:
    wanted = "C*8" if level == "1.1" else "IU2"
    if image.sample_code != wanted:
        raise Alos2TutError(
            f"holds samples of type {image.sample_code}; Level {level} has {wanted}",
            where=image.source.where,
            remedy="Check that the file's name is the one it was delivered with.",
        )


def _absent(wanted: Mapping[str, Any], where: str) -> list[str]:
    return [where + name for name, value in wanted.items() if value is None]


def _beam(mode: str, number: int | None) -> str | None:
    """``W2``: the leader numbers beams within a mode."""
    return f"{mode[0]}{number}" if number else None


def _calibration(
    leader: Mapping[str, Mapping[str, Any]], common: Mapping[str, Any], scene: Mapping[str, Any], source: FileSource
) -> tuple[float, str, list[str]]:
    """What is added to 10·log10⟨DN²⟩, where it is from, and what to know of it."""
    factor = leader.get("radiometric", {}).get("calibration_factor_db")
    if factor is not None:
        factor = _checked_factor(factor, source)
    told = "leader file" if factor is not None else _ASSUMED_FACTOR
    notes = []
    if factor is None:
        factor = radiometry.CALIBRATION_FACTOR_DB
    if _is_old_w2(common, scene) and factor == radiometry.CALIBRATION_FACTOR_DB:
        factor, told = radiometry.OLD_W2_FACTOR_DB, "JAXA's exception for ScanSAR beam W2 before 2016-09-28T07:00Z"
        notes.append(
            f"calibrated by {factor:g} dB, not −83 dB: {told}; the time of processing stands for that of order"
        )
    if common["level"] == "1.1":
        factor += radiometry.SLC_OFFSET_DB
    return float(factor), told, notes


def _checked_factor(factor_db: float, source: FileSource) -> float:
    if not -_LARGEST_FACTOR_DB <= factor_db <= _LARGEST_FACTOR_DB:
        raise Alos2TutError(
            f"the calibration factor of {factor_db:g} dB cannot be", where=source.where, remedy="Download it again."
        )
    return factor_db


def _is_old_w2(common: Mapping[str, Any], scene: Mapping[str, Any]) -> bool:
    """JAXA (calibration results of PALSAR-2): ScanSAR beam W2, ordered before 2016-09-28 07:00 UT, has −79 dB.

    The files do not state the time of order: that of processing stands for it, which is a little later.
    """
    processed = common["processed"]
    return _beam(common["mode"], scene.get("beam")) == "W2" and bool(processed) and processed < "2016-09-28T07:00"


# --- GeoTIFF


def _open_tiffs(
    found: Found, images: dict[str, FileSource], common: dict[str, Any], summary: dict[str, str], crs: str | CRS | None
) -> Product:
    is_slc = common["level"] == "1.1"
    if is_slc:
        _refuse_crs(crs, found)
    types = ("complex64", "complex_int16", "complex128") if is_slc else ("uint16",)
    bands = {pol: RasterBand.open(source, types) for pol, source in images.items()}
    first = _of_one_shape(list(bands.values()))
    factor = radiometry.CALIBRATION_FACTOR_DB + (radiometry.SLC_OFFSET_DB if is_slc else 0.0)
    spacing = _number(summary.get("Pds_PixelSpacing"))
    extra = [found.folder["summary.txt"]] if summary else []
    return Product(
        **common,
        kind="GeoTIFF",
        shape=first.shape,
        grid=None if is_slc else _tiff_grid(first, crs),
        calibration_factor_db=factor,
        calibration_source=f"{_ASSUMED_FACTOR} (GeoTIFF carries none)",
        bands=bands,
        files=found.files([*images.values(), *extra]),
        stated_spacing_m=(spacing, spacing) if spacing and not is_slc else None,
        gaps=("calibration factor", "scene incidence"),
    )


def _tiff_grid(band: RasterBand, crs: str | CRS | None) -> MapGrid:
    if band.transform is None:
        raise Alos2TutError("has no georeference", where=band.source.where, remedy="Use the file as JAXA delivered it.")
    if crs is not None:
        return MapGrid(parsed_crs(crs, band.source.where), band.transform)
    if band.crs is None:
        raise Alos2TutError(
            "states no coordinate system, or one that only its maker knows",
            where=band.source.where,
            remedy="Give it: open_product(path, crs='EPSG:32654').",
        )
    return MapGrid(band.crs, band.transform)


# --- Level 2.2


def _open_card4l(found: Found, crs: str | CRS | None) -> Product:
    """CEOS-ARD Normalised Radar Backscatter: γ0, terrain-corrected, with local incidence and mask."""
    images, match = found.images(), found.any_match
    if not images:
        raise Alos2TutError(
            f"has no backscatter file {match['scene']}_{match['product']}_HH_SLP.tif",
            where=found.delivery.path,
            remedy="Download it.",
        )
    product_id = PRODUCT_ID.fullmatch(match["product"])
    bands = {pol: RasterBand.open(source, ("uint16",)) for pol, source in images.items()}
    first = _of_one_shape(list(bands.values()))
    layers, layer_sources = _card4l_layers(found, first)
    xml = next((found.folder[name] for name, m in found.matches.items() if m["xml"]), None)
    told = _card4l_xml(xml) if xml else {}
    delivered = {"local incidence": "local_incidence" in layers, "mask": "mask" in layers, "summary XML": bool(told)}
    return Product(
        path=found.delivery.path,
        kind="CEOS-ARD NRB",
        level="2.2",
        shape=first.shape,
        # no file states a no-data value; DN 0 it is, exactly where the mask is 0
        grid=_tiff_grid(first, crs),
        polarizations=tuple(images),
        default_polarization=match["pol"] if found.named is not None else None,
        quantity="gamma0",
        bands=bands,
        layers=layers,
        files=found.files([*images.values(), *layer_sources, *([xml] if xml else [])]),
        scene_id=match["scene"],
        product_id=match["product"],
        mode=product_id["mode"] if product_id else None,
        look_side=_LOOK_SIDES[product_id["look"]] if product_id else None,
        orbit_direction=_ORBITS[product_id["orbit"]] if product_id else None,
        orbit=int(match["orbit_number"]),
        frame=int(match["frame"]),
        acquired=told.pop("acquired", _day(match["date"])),
        calibration_factor_db=told.pop("factor", radiometry.CALIBRATION_FACTOR_DB),
        calibration_source=told.pop("factor_source", _ASSUMED_FACTOR),
        gaps=tuple(name for name, is_there in delivered.items() if not is_there),
        **told,
    )


def _card4l_layers(found: Found, like: RasterBand) -> tuple[dict[str, Layer], list[FileSource]]:
    layers, sources = {}, []
    for name, match in found.matches.items():
        if match["layer"]:
            source = found.folder[name]
            band = RasterBand.open(source, ("uint16",) if match["layer"] == "LIN" else ("uint8",))
            _of_one_shape([like, band])
            sources.append(source)
            if match["layer"] == "LIN":
                layers["local_incidence"] = Layer(band, "degree", scale=0.01, no_data=(0,))
            else:
                layers["mask"] = Layer(band, "code", meaning=_MASK_CARD4L)
    return layers, sources


def _card4l_xml(source: FileSource) -> dict[str, Any]:
    """What the summary XML says beyond the GeoTIFFs; its counts of lines and pixels are swapped and not used."""
    root = read_xml(source)
    text, made = _texts(root), _texts(root.find("CARD4LProductAttributes"))
    looks = [_number(text.get(f"{axis}NumberOfLooks")) for axis in ("Azimuth", "Range")]
    resolution = [_number(text.get(f"{axis}Resolution")) for axis in ("Azimuth", "Range")]
    equation = re.fullmatch(r"10\*log10\(DN\^2\)\s*([-+]\s*\d+(?:\.\d+)?)", text.get("BackscatterConversionEq", ""))
    told: dict[str, Any] = {
        "beam": text.get("BeamID"),
        "started": text.get("StartTime"),
        "ended": text.get("EndTime"),
        "processed": made.get("ProcessingTime"),
        "software": made.get("SoftwareVersion"),
        "looks": tuple(looks) if all(looks) else None,
        "resolution_m": tuple(resolution) if all(resolution) else None,
        "stated_footprint": _wkt_polygon(text.get("SourceDataGeometry")),
        "noise_floor_db": _noise_floor(root, "PerformanceIndicators"),
    }
    if text.get("StartTime"):
        told["acquired"] = text["StartTime"]
    if equation:
        told["factor"] = _checked_factor(float("".join(equation[1].split())), source)
        told["factor_source"] = "summary XML"
    return told


def _noise_floor(root: ElementTree.Element | None, name: str) -> dict[str, float]:
    """Noise-equivalent backscatter in dB by polarisation, from elements that bear it as an attribute."""
    elements = () if root is None else root.iter(name)
    texts = {element.get("pol", "?"): "".join(element.itertext()).strip() for element in elements}
    return {pol: value for pol, text in texts.items() if (value := _number(text)) is not None}


def _wkt_polygon(text: str | None) -> tuple[tuple[float, float], ...]:
    """Corners of ``Polygon ((lon lat, lon lat, …))`` without the repeated last one."""
    pairs = re.findall(r"(-?\d+(?:\.\d+)?) (-?\d+(?:\.\d+)?)", text or "")
    corners = geometry.on_earth(tuple((float(x), float(y)) for x, y in pairs))
    return corners[:-1] if len(corners) > 3 and corners[0] == corners[-1] else corners


def read_xml(source: FileSource) -> ElementTree.Element:
    """A small XML file of JAXA's. It needs no entities, so that one which defines any is refused.

    Raises:
        Alos2TutError: one that is too large, no XML, or not of that kind.
    """
    content = source.read_all(_LARGEST_XML)
    try:
        # whatever encoding it claims: in another one entities would not be seen
        text = content.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise Alos2TutError("defines XML entities, which JAXA's files do not", where=source.where)
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Alos2TutError(f"is no XML ({error})", where=source.where, remedy="Download it again.") from None


def _texts(root: ElementTree.Element | None) -> dict[str, str]:
    """The text of the first element of each name; names in these files are unique where it matters."""
    texts: dict[str, str] = {}
    for element in () if root is None else root.iter():
        if element.text and element.text.strip():
            texts.setdefault(str(element.tag), element.text.strip())
    return texts


# --- 25 m mosaic and forest map


def _open_mosaic(found: Found, crs: str | CRS | None) -> Product:
    """A 1° tile (or a window of one) of JAXA's global 25 m mosaic: γ0, terrain-corrected; or of its forest map."""
    match = found.any_match
    images, year = found.images(), 2000 + int(match["year"])
    bands = {pol: RasterBand.open(source, ("uint16",)) for pol, source in images.items()}
    by_year = (0, 1) if year >= _MOSAIC_NO_DATA_ONE_SINCE else (0,)
    layers, layer_sources = _mosaic_layers(found, year, by_year)
    rasters = [*bands.values(), *(layer.band for layer in layers.values())]
    first = _of_one_shape(rasters)
    if bands and first.no_data is not None:
        by_year = tuple(sorted({*by_year, int(first.no_data)}))
    xml = found.folder.get(f"{match['tile']}_{match['year']}_{match['beam']}.xml")
    root = read_xml(xml) if xml else None
    told = _texts(root)
    return Product(
        path=found.delivery.path,
        kind="25 m mosaic" if images else "forest map",
        level="mosaic",
        shape=first.shape,
        grid=_tiff_grid(first, crs),
        polarizations=tuple(images),
        default_polarization=match["pol"] if found.named is not None else None,
        quantity="gamma0",
        calibration_factor_db=radiometry.CALIBRATION_FACTOR_DB,
        calibration_source="JAXA's published constant for the mosaic",
        bands=bands,
        layers=layers,
        files=found.files([*images.values(), *layer_sources, *([xml] if xml else [])]),
        no_data_dn=by_year,
        scene_id=f"{match['tile']}_{match['year']}",
        acquired=told.get("FirstAcquistionDate") or told.get("FirstAcquisitionDate") or str(year),
        processed=told.get("ProcessingTime"),
        mode=told.get("ObservationMode") or "FBD",
        beam=told.get("BeamID"),
        look_side=_LOOK_SIDES[match["beam"][5]],
        orbit_direction=_ORBITS[match["beam"][4]],
        software=told.get("SoftwareVersion"),
        noise_floor_db=_noise_floor(root, "NoiseEquivalentSigma0"),
        notes=("classes of the forest map are those of its year's edition",) if "forest" in layers else (),
    )


def _mosaic_layers(found: Found, year: int, missing: tuple[int, ...]) -> tuple[dict[str, Layer], list[FileSource]]:
    """Local incidence (whole degrees), mask, date (days since 2014-05-24), forest classes."""
    forest = _FOREST_SINCE_2017 if year >= 2017 else _FOREST
    kinds: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
        "linci": ("local_incidence", ("uint8",), {"unit": "degree", "no_data": missing}),
        "mask": ("mask", ("uint8",), {"unit": "code", "meaning": _MASK_MOSAIC}),
        "date": ("date", ("uint16",), {"unit": "days since 2014-05-24", "no_data": missing}),
        "C": ("forest", ("uint8",), {"unit": "code", "meaning": forest}),
    }
    layers, sources = {}, []
    for file_name, match in found.matches.items():
        if match["layer"]:
            name, types, options = kinds[match["layer"]]
            layers[name] = Layer(RasterBand.open(found.folder[file_name], types), **options)
            sources.append(found.folder[file_name])
    return layers, sources
