"""From what JAXA delivers to a :class:`~alos2tut.Product`: levels, packagings, metadata.

What files are called says which of them make a product (:mod:`.names`); everything else is taken from the
leader, the image files, ``summary.txt`` or the XML, and what they do not say is named, not guessed. Levels: JAXA's
"ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product format description" (rev. F); the rules of the mosaic and of
Level 2.2 were checked on real files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rasterio.crs import CRS

from .. import geometry, radiometry
from ..core.errors import Alos2TutError, warn
from .ceos import ImageFile, read_leader, read_summary, read_volume
from .georeference import ceos_grid, lies_on_earth, line_places, parsed_crs, slant_range_incidence
from .names import (
    LOOK_SIDES,
    ORBITS,
    PRODUCT_ID,
    Found,
    day_of,
    factor_of_equation,
    find_product,
    iso_time,
    middle_of,
    noise_floor,
    number,
    read_xml,
    wkt_polygon,
    xml_texts,
)
from .product import Layer, MapGrid, Product
from .rasters import RasterBand
from .sources import FileSource

LEVELS = ("1.1", "1.5", "2.1", "3.1")
_ALTERED_RANGE = "Level 3.1 has noise reduced and its dynamic range compressed: σ0 is not what Level 1.5 would give"
_ASSUMED_FACTOR = "assumed: JAXA's published constant"
_ASSUMED_NOTE = "calibrated by −83 dB, which no file states: JAXA's published constant is assumed"
#: JAXA has published −83 and −79 dB; a factor far from them is no factor
_FACTORS_DB = (-100.0, -60.0)
#: from this year on the mosaic writes 1 for "no data", 0 before
MOSAIC_NO_DATA_ONE_SINCE = 2017
_MASK_MOSAIC = {0: "no data", 50: "ocean and water", 100: "layover", 150: "shadow", 255: "land"}
_MASK_CARD4L = {0: "no data", 1: "valid", 2: "layover", 3: "shadow", 4: "ocean and water", 5: "invalid"}
_FOREST = {0: "no data", 1: "forest", 2: "non-forest", 3: "water"}
_FOREST_FOUR_CLASSES_SINCE = 2017
#: the four classes; JAXA's codes as Google Earth Engine's catalogue lists them
_FOREST_SINCE_2017 = {0: "no data", 1: "dense forest", 2: "non-dense forest", 3: "non-forest", 4: "water"}


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
    return open_found(find_product(path), crs=crs, scan=scan)


def open_found(found: Found, *, crs: str | CRS | None = None, scan: int | None = None) -> Product:
    """Open a product whose files were found; arguments and errors as for :func:`open_product`."""
    system = None if crs is None else parsed_crs(crs, found.delivery.path)
    if scan is not None and (isinstance(scan, bool) or not isinstance(scan, int)):
        raise Alos2TutError(f"scan={scan!r} is no whole number", where=found.delivery.path)
    if found.kind == "delivered":
        product = _open_delivered(found, system, scan)
    elif scan is not None:
        raise Alos2TutError(f"scan={scan} is asked for, but only Level 1.1 has scans", where=found.delivery.path)
    else:
        product = (_open_card4l if found.kind == "card4l" else _open_mosaic)(found, system)
    if product.grid is not None and not lies_on_earth(product.grid, product.shape):
        raise Alos2TutError(
            f"with the coordinate system {product.crs.to_string()} the product lies nowhere on Earth",
            where=found.delivery.path,
            remedy="Give the right one: open_product(path, crs='EPSG:32654'), or --crs on the command line.",
        )
    return product


# --- Levels 1.1, 1.5, 2.1 and 3.1


def _open_delivered(found: Found, crs: CRS | None, scan: int | None) -> Product:
    product_id = PRODUCT_ID.fullmatch(found.any_match["product"])
    if product_id is None:
        raise Alos2TutError(f"the product id '{found.any_match['product']}' cannot be read", where=found.delivery.path)
    if product_id["level"] not in LEVELS:
        raise Alos2TutError(
            f"is of level {product_id['level']}",
            where=found.delivery.path,
            remedy=f"Levels {', '.join(LEVELS)}, 2.2 and the mosaic are read.",
        )
    if crs is not None and product_id["level"] == "1.1":
        raise Alos2TutError(
            f"lies in slant range: {crs.to_string()} cannot place it on a map",
            where=found.delivery.path,
            remedy="Leave crs out, or order the scene as Level 2.1.",
        )
    found, is_tiff = _of_one_format(found)
    found, label, scans = _of_one_scan(found, scan)
    images = found.images()
    if not images:
        raise Alos2TutError(
            f"has no image file IMG-HH-{found.identity}", where=found.delivery.path, remedy="Download it again."
        )
    summary, gaps, notes = _summary(found)
    gaps += _missing_images(found, images, summary, label)
    if product_id["level"] == "3.1":
        warn(f"{found.delivery.path}: {_ALTERED_RANGE}")
        notes.append(_ALTERED_RANGE)
    common = {
        "path": found.delivery.path,
        "level": product_id["level"],
        "polarizations": tuple(images),
        "default_polarization": found.named_polarization,
        "quantity": "sigma0",
        "scene_id": found.any_match["scene"],
        "product_id": found.any_match["product"] + (f"-{label}" if label else ""),
        "mode": product_id["mode"],
        "look_side": LOOK_SIDES[product_id["look"]],
        "orbit_direction": ORBITS[product_id["orbit"]],
        "orbit": int(found.any_match["orbit_number"]),
        "frame": int(found.any_match["frame"]),
        "scan": int(label[1]) if label else None,
        "scans": scans,
        "browse_jpeg": _browse(found, next(iter(images))),
        "gaps": gaps,
        "notes": notes,
        **_told_by_summary(summary),
    }
    parts = (_tiff_parts if is_tiff else _ceos_parts)(found, images, common, summary, crs)
    fields = common | parts
    fields["acquired"] = fields["acquired"] or day_of(found.any_match["date"])
    return Product(**fields | {name: tuple(fields[name]) for name in ("gaps", "notes")})


def _of_one_format(found: Found) -> tuple[Found, bool]:
    """Without the files of the other format, if CEOS and GeoTIFF lie side by side; and whether this is GeoTIFF."""
    images = {name: m for name, m in found.matches.items() if m["kind"] == "IMG" and m["pol"]}
    has_ceos = any(m["suffix"] is None for m in images.values())
    is_tiff = not has_ceos or (found.named is not None and found.named["suffix"] is not None)
    is_tiff &= any(m["suffix"] for m in images.values())
    kept = [name for name, m in found.matches.items() if m["kind"] != "IMG" or bool(m["suffix"]) == is_tiff]
    return found.of(*kept), is_tiff


def _of_one_scan(found: Found, scan: int | None) -> tuple[Found, str | None, tuple[int, ...]]:
    """With the images of one scan only, its label (``F1``), and the numbers that there are."""
    labels = sorted({m["scan"] for m in found.matches.values() if m["scan"] and m["kind"] == "IMG"})
    scans = tuple(sorted({int(label[1]) for label in labels}))
    named = found.named["scan"] if found.named is not None else None
    if scan is None and not labels:
        return found, None, ()
    wanted = [label for label in labels if int(label[1]) == (scan if scan is not None else scans[0])]
    if named and (scan is None or scan == int(named[1])):
        wanted = [named]
    if not wanted:
        told = f"Scans: {', '.join(map(str, scans))}." if scans else "It has no scans."
        raise Alos2TutError(f"has no scan {scan}", where=found.delivery.path, remedy=told)
    if len(wanted) > 1:
        raise Alos2TutError(
            f"holds one scan twice: {' and '.join(wanted)}", where=found.delivery.path, remedy="Name the file you mean."
        )
    if scan is None and named is None and len(scans) > 1:
        warn(f"{found.delivery.path}: scan {scans[0]} of {', '.join(map(str, scans))} is open; scan=… opens another")
    kept = [name for name, m in found.matches.items() if m["kind"] != "IMG" or m["scan"] == wanted[0]]
    return found.of(*kept), wanted[0], scans


def _summary(found: Found) -> tuple[dict[str, str], list[str], list[str]]:
    """``summary.txt``, unless it is that of another product; gaps and notes that it gives rise to."""
    source = found.folder.get("summary.txt")
    if source is None:
        return {}, ["summary.txt"], []
    try:
        summary = read_summary(source)
    except Alos2TutError as error:  # a product is read without it, too
        return {}, ["summary.txt"], [f"summary.txt {error.problem}"]
    match = found.any_match
    for key, own in (("Scs_SceneID", match["scene"]), ("Pds_ProductID", match["product"])):
        if summary.get(key) not in (None, own):
            return {}, ["summary.txt"], [f"summary.txt is that of another product, {summary[key]}, and was not used"]
    return summary, [], []


def _missing_images(
    found: Found, images: Mapping[str, FileSource], summary: Mapping[str, str], label: str | None
) -> list[str]:
    """Polarisations that the summary lists and that are not here."""
    pattern = re.compile(rf"IMG-(HH|HV|VH|VV)-{re.escape(found.identity)}{f'-{label}' if label else ''}(?i:\.tiff?)?")
    listed = [pattern.fullmatch(text) for key, text in summary.items() if "ProductFileName" in key]
    missing = sorted({match[1] for match in listed if match} - images.keys())
    if missing:
        warn(f"{found.delivery.path}: the images of {', '.join(missing)}, which summary.txt lists, are not here")
    return [f"image {pol}" for pol in missing]


def _told_by_summary(summary: Mapping[str, str]) -> dict[str, Any]:
    """Times, view, footprint, and who made it."""
    maker = summary.get("Odi_SiteDateTime", "") + summary.get("Lbi_ProcessFacility", "")
    return {
        "acquired": iso_time(summary.get("Img_SceneCenterDateTime")),
        "started": iso_time(summary.get("Img_SceneStartDateTime")),
        "ended": iso_time(summary.get("Img_SceneEndDateTime")),
        # PROCESS:JAPAN-JAXA-ALOS2-EICS  20150320 080952
        "processed": iso_time(" ".join(summary.get("Odi_SiteDateTime", "").split()[-2:])),
        "off_nadir_deg": number(summary.get("Img_OffNadirAngle")) or None,
        "stated_footprint": _summary_footprint(summary),
        "simulated": _says_simulated(maker),
    }


def _created(found: Found) -> str | None:
    """When the volume directory was made, which is when the product was processed."""
    source = found.folder.get(f"VOL-{found.identity}")
    try:
        volume = read_volume(source).get("volume_descriptor", {}) if source else {}
    except Alos2TutError:  # nothing else is needed of it
        return None
    return iso_time(f"{volume.get('created_date')}{str(volume.get('created_time'))[:6]}")


def _summary_footprint(summary: Mapping[str, str]) -> tuple[tuple[float, float], ...]:
    corners = []
    for corner in ("LeftTop", "RightTop", "RightBottom", "LeftBottom"):
        pair = [number(summary.get(f"Img_ImageScene{corner}{axis}")) for axis in ("Longitude", "Latitude")]
        if pair[0] is None or pair[1] is None:
            return ()
        corners.append((pair[0], pair[1]))
    return geometry.on_earth(tuple(corners))


def _browse(found: Found, polarization: str) -> Any:
    """JAXA's own quick-look, if it came along."""
    source = found.folder.get(f"BRS-{polarization}-{found.identity}.jpg")
    return None if source is None else source.read_all


def _says_simulated(text: str | None) -> bool:
    return "simulat" in (text or "").lower()


def _ceos_parts(
    found: Found, images: dict[str, FileSource], common: Mapping[str, Any], summary: Mapping[str, str], crs: CRS | None
) -> dict[str, Any]:
    """What leader and image files say, as fields of a product."""
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
    scene, projection = leader.get("dataset_summary", {}), leader.get("map_projection", {})
    _warn_of_other_names(bands, scene, common)
    processed = common["processed"] or _created(found)
    factor, told, notes = _calibration(leader, common["mode"], scene.get("beam"), processed, leader_source)
    grid: MapGrid | None = None
    gaps: list[str] = []
    if common["level"] == "1.1":
        factor += radiometry.SLC_OFFSET_DB
    else:
        grid, gaps = ceos_grid(projection, first, leader_source, summary, crs)
    looks: Any = (scene.get("azimuth_looks"), scene.get("range_looks"))
    resolution: Any = (scene.get("azimuth_resolution_m"), scene.get("range_resolution_m"))
    spacing: Any = (scene.get("line_spacing_m"), scene.get("pixel_spacing_m"))
    gaps += _absent({"radiometric record": leader.get("radiometric", {}).get("calibration_factor_db"),
                     "scene incidence": scene.get("incidence_deg"), "looks": looks[0]}, "leader: ")  # fmt: skip
    if first.source.packed:
        notes.append("packed in its archive: no incidence per pixel is derived, and a window unpacks all before it")
    footprint, is_scan = tuple((line_places(first) or {}).values()), common["scan"] is not None
    extra = [found.folder["summary.txt"]] if summary else []
    return {
        "kind": "CEOS",
        "shape": first.shape,
        "grid": grid,
        "calibration_factor_db": factor,
        "calibration_source": told,
        "bands": bands,
        "files": found.files([leader_source, *images.values(), *extra]),
        "beam": _beam(common["mode"], scene.get("beam")),
        "acquired": common["acquired"] or iso_time(scene.get("center_time")),
        "processed": processed,
        "incidence_deg": scene.get("incidence_deg") or None,
        "off_nadir_deg": scene.get("off_nadir_deg") or common["off_nadir_deg"],
        "slant_range_incidence": slant_range_incidence(
            first, scene.get("incidence_deg"), spacing[1], is_one_of_scans=is_scan
        ),
        "looks": looks if looks[0] and looks[1] else None,
        "resolution_m": resolution if resolution[0] and resolution[1] else None,
        "stated_spacing_m": spacing if spacing[0] and spacing[1] else None,
        # summary.txt tells of the scene, not of a scan
        "stated_footprint": footprint if is_scan else common["stated_footprint"] or footprint,
        "started": None if is_scan else common["started"],
        "ended": None if is_scan else common["ended"],
        "software": first.software,
        # summary.txt may be missing
        "simulated": common["simulated"] or any(_says_simulated(band.software) for band in bands.values()),
        "gaps": [*common["gaps"], *gaps],
        "notes": [*common["notes"], *notes],
    }


def _warn_of_other_names(bands: Mapping[str, ImageFile], scene: Mapping[str, Any], common: Mapping[str, Any]) -> None:
    """Files may have been renamed or mixed up: what is in them should be what their names say."""
    stated = {
        "scene": (scene.get("scene_id"), common["scene_id"]),
        "level": (scene.get("level"), common["level"]),
        "orbit direction": ((scene.get("orbit_direction") or "")[:1] or None, common["orbit_direction"][0].upper()),
    }
    differ = [
        f"{name} {inside} in the leader, {named} by name"
        for name, (inside, named) in stated.items()
        if inside not in (None, named)
    ]
    for pol, band in bands.items():
        if band.source.packed:  # all that lies before it would have to be unpacked
            continue
        line = band.prefixes([0])[0]
        inside = "".join("HV"[int(line[way])] for way in ("transmitted", "received") if int(line[way]) < 2)
        # lines that state no number of channels state no polarisation either
        if line["channel"] and len(inside) == 2 and inside != pol:
            differ.append(f"polarisation {inside} in the first line, {pol} by name")
    if differ:
        warn(f"{common['path']}: files and names disagree ({'; '.join(differ)}). `alos2tut verify` shows more.")


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
    leader: Mapping[str, Mapping[str, Any]],
    mode: str,
    beam: int | None,
    processed: str | None,
    source: FileSource,
) -> tuple[float, str, list[str]]:
    """The factor of amplitudes, where it is from, and what to know of it."""
    factor = leader.get("radiometric", {}).get("calibration_factor_db")
    told, notes = "leader file", []
    if factor is None:
        factor, told = radiometry.CALIBRATION_FACTOR_DB, _ASSUMED_FACTOR
        notes.append(_ASSUMED_NOTE)
    factor = _checked_factor(factor, source)
    if factor == radiometry.CALIBRATION_FACTOR_DB and _beam(mode, beam) == "W2":
        if processed is None:
            notes.append("if it was ordered before 2016-09-28, this ScanSAR beam has −79 dB; no file says when")
        elif is_w2_before_correction(mode, beam, processed):
            factor, told = radiometry.OLD_W2_FACTOR_DB, "JAXA's exception for ScanSAR beam W2 before 2016-09-28T07:00Z"
            notes.append(
                f"calibrated by {factor:g} dB, not −83 dB: {told}; the time of processing stands for that of order"
            )
    elif factor not in (radiometry.CALIBRATION_FACTOR_DB, radiometry.OLD_W2_FACTOR_DB):
        notes.append(f"the calibration factor of {factor:g} dB is none that JAXA has published (−83; −79 dB once)")
    return float(factor), told, notes


def _checked_factor(factor_db: float, source: FileSource) -> float:
    low, high = _FACTORS_DB
    if not low <= factor_db <= high:
        raise Alos2TutError(
            f"the calibration factor of {factor_db:g} dB cannot be", where=source.where, remedy="Download it again."
        )
    return factor_db


def is_w2_before_correction(mode: str, beam: int | None, processed: str | None) -> bool:
    """JAXA (calibration results of PALSAR-2): ScanSAR beam W2, ordered before 2016-09-28 07:00 UT, has −79 dB.

    The files do not state the time of order: that of processing stands for it, which is a little later.

    Args:
        mode: as in the product id, ``WBD``.
        beam: the leader's beam number.
        processed: ISO time.
    """
    return _beam(mode, beam) == "W2" and bool(processed) and str(processed) < "2016-09-28T07:00"


# --- GeoTIFF


def _tiff_parts(
    found: Found, images: dict[str, FileSource], common: Mapping[str, Any], summary: Mapping[str, str], crs: CRS | None
) -> dict[str, Any]:
    """What GeoTIFFs say, as fields of a product: nothing of calibration and view."""
    is_slc = common["level"] == "1.1"
    types = ("complex64", "complex_int16", "complex128") if is_slc else ("uint16",)
    bands = {pol: RasterBand.open(source, types) for pol, source in images.items()}
    first = _of_one_shape(list(bands.values()))
    extra = [found.folder["summary.txt"]] if summary else []
    notes = [_ASSUMED_NOTE]
    if common["mode"][0] == "W" and day_of(found.any_match["date"]) < "2016-09-28":
        notes.append("if this is beam W2 and was ordered before 2016-09-28, its factor is −79 dB; GeoTIFF does not say")
    return {
        "kind": "GeoTIFF",
        "shape": first.shape,
        "grid": None if is_slc else _tiff_grid(first, crs),
        "calibration_factor_db": radiometry.CALIBRATION_FACTOR_DB + (radiometry.SLC_OFFSET_DB if is_slc else 0.0),
        "calibration_source": f"{_ASSUMED_FACTOR} (GeoTIFF carries none)",
        "bands": bands,
        "files": found.files([*images.values(), *extra]),
        "no_data_dn": _no_data_dn((0,), bands),
        "gaps": [*common["gaps"], "calibration factor", "scene incidence", "looks", *(["spacing"] if is_slc else [])],
        "notes": [*common["notes"], *notes],
    }


def _no_data_dn(known: Sequence[int], bands: Mapping[str, RasterBand]) -> tuple[int, ...]:
    """Amplitudes that stand for no data: those that are known, and what the files' own tags say."""
    tags = {band.no_data for band in bands.values() if band.no_data is not None}
    return tuple(sorted({*known, *(int(tag) for tag in tags if tag.is_integer() and 0 <= tag <= 65535)}))


def _tiff_grid(band: RasterBand, crs: CRS | None) -> MapGrid:
    if band.transform is None:
        raise Alos2TutError("has no georeference", where=band.source.where, remedy="Use the file as JAXA delivered it.")
    if crs is not None:
        if band.crs is not None and band.crs != crs:
            warn(
                f"{band.source.where}: states {band.crs.to_string()}, is placed by {crs.to_string()}, as was asked for"
            )
        return MapGrid(crs, band.transform)
    if band.crs is None:
        raise Alos2TutError(
            "states no coordinate system, or one that only its maker knows",
            where=band.source.where,
            remedy="Give it: open_product(path, crs='EPSG:32654'), or --crs on the command line.",
        )
    return MapGrid(band.crs, band.transform)


# --- Level 2.2


def _open_card4l(found: Found, crs: CRS | None) -> Product:
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
    delivered["calibration equation"] = "factor" in told
    delivered |= dict.fromkeys(
        (f"image {pol}" for pol in sorted(_listed_images(told.pop("root", None)) - images.keys())), False
    )
    return Product(
        path=found.delivery.path,
        kind="CEOS-ARD NRB",
        level="2.2",
        shape=first.shape,
        # no file states a no-data value; DN 0 it is, exactly where the mask is 0
        grid=_tiff_grid(first, crs),
        polarizations=tuple(images),
        default_polarization=found.named_polarization,
        quantity="gamma0",
        bands=bands,
        layers=layers,
        no_data_dn=_no_data_dn((0,), bands),
        files=found.files([*images.values(), *layer_sources, *([xml] if xml else [])]),
        scene_id=match["scene"],
        product_id=match["product"],
        mode=product_id["mode"] if product_id else None,
        look_side=LOOK_SIDES[product_id["look"]] if product_id else None,
        orbit_direction=ORBITS[product_id["orbit"]] if product_id else None,
        orbit=int(match["orbit_number"]),
        frame=int(match["frame"]),
        acquired=told.pop("acquired", day_of(match["date"])),
        calibration_factor_db=told.pop("factor", radiometry.CALIBRATION_FACTOR_DB),
        calibration_source=told.pop("factor_source", _ASSUMED_FACTOR),
        gaps=tuple(name for name, is_there in delivered.items() if not is_there),
        **told,
    )


def _listed_images(root: ElementTree.Element | None) -> set[str]:
    """Polarisations whose images an XML lists."""
    names = [element.text or "" for element in (() if root is None else root.iter("FileName"))]
    return {match[1] for name in names if (match := re.search(r"_(HH|HV|VH|VV)_", name))}


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
    text, made = xml_texts(root), xml_texts(root.find("CARD4LProductAttributes"))
    looks = [number(text.get(f"{axis}NumberOfLooks")) for axis in ("Azimuth", "Range")]
    resolution = [number(text.get(f"{axis}Resolution")) for axis in ("Azimuth", "Range")]
    told: dict[str, Any] = {
        "root": root,
        "beam": text.get("BeamID"),
        "started": text.get("StartTime"),
        "ended": text.get("EndTime"),
        "processed": made.get("ProcessingTime"),
        "software": made.get("SoftwareVersion"),
        "looks": tuple(looks) if all(looks) else None,
        "resolution_m": tuple(resolution) if all(resolution) else None,
        "stated_footprint": geometry.on_earth(wkt_polygon(text.get("SourceDataGeometry"))),
        "noise_floor_db": noise_floor(root, "PerformanceIndicators"),
    }
    middle = middle_of(text.get("StartTime"), text.get("EndTime"))
    if middle:
        told["acquired"] = middle
    factor = factor_of_equation(text.get("BackscatterConversionEq"))
    if factor is not None:
        told["factor"], told["factor_source"] = _checked_factor(factor, source), "summary XML"
    return told


# --- 25 m mosaic and forest map


def _open_mosaic(found: Found, crs: CRS | None) -> Product:
    """A 1° tile (or a window of one) of JAXA's global 25 m mosaic: γ0, terrain-corrected; or of its forest map."""
    match, beam = found.any_match, found.any_match["beam"]
    images, year = found.images(), 2000 + int(match["year"])
    bands = {pol: RasterBand.open(source, ("uint16",)) for pol, source in images.items()}
    by_year = (0, 1) if year >= MOSAIC_NO_DATA_ONE_SINCE else (0,)
    layers, layer_sources = _mosaic_layers(found, year, by_year)
    first = _of_one_shape([*bands.values(), *(layer.band for layer in layers.values())])
    xml = found.folder.get(f"{match['tile']}_{match['year']}_{beam}.xml")
    root = read_xml(xml) if xml else None
    told = xml_texts(root)
    factor = factor_of_equation(told.get("BackscatterConversionEq"))
    gaps: dict[str, Any] = {"tile's XML": xml, "observation mode": told.get("ObservationMode")}
    if images:
        gaps |= {"calibration equation": factor, "local incidence": layers.get("local_incidence")}
        gaps |= dict.fromkeys(f"image {pol}" for pol in sorted(_listed_images(root) - images.keys()))
    return Product(
        path=found.delivery.path,
        kind="forest map" if "forest" in layers and not images else "25 m mosaic",
        level="mosaic",
        shape=first.shape,
        grid=_tiff_grid(first, crs),
        polarizations=tuple(images),
        default_polarization=found.named_polarization,
        quantity="gamma0" if images else "",
        calibration_factor_db=(
            radiometry.CALIBRATION_FACTOR_DB if factor is None or xml is None else _checked_factor(factor, xml)
        ),
        calibration_source="JAXA's published constant for the mosaic" if factor is None else "the tile's XML",
        bands=bands,
        layers=layers,
        files=found.files([*images.values(), *layer_sources, *([xml] if xml else [])]),
        no_data_dn=_no_data_dn(by_year, bands),
        scene_id=f"{match['tile']}_{match['year']}",
        acquired=told.get("FirstAcquistionDate") or told.get("FirstAcquisitionDate") or str(year),
        processed=told.get("ProcessingTime"),
        mode=told.get("ObservationMode"),
        beam=told.get("BeamID"),
        look_side=LOOK_SIDES[beam[5]] if beam else None,
        orbit_direction=ORBITS[beam[4]] if beam else None,
        software=told.get("SoftwareVersion"),
        noise_floor_db=noise_floor(root, "NoiseEquivalentSigma0"),
        gaps=tuple(_absent(gaps, "")),
        notes=("classes of the forest map are those of its year's edition",) if "forest" in layers else (),
    )


def _mosaic_layers(found: Found, year: int, missing: tuple[int, ...]) -> tuple[dict[str, Layer], list[FileSource]]:
    """Local incidence (whole degrees), mask, date (days since 2014-05-24), forest classes."""
    forest = _FOREST_SINCE_2017 if year >= _FOREST_FOUR_CLASSES_SINCE else _FOREST
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
