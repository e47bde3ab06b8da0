"""Products of Level 1.1 to 3.1, as CEOS files or GeoTIFFs with a leader or summary beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rasterio.crs import CRS

from .. import geometry, radiometry
from ..core.errors import Alos2TutError, warn
from .ceos import ImageFile, read_leader, read_summary, read_volume
from .georeference import ceos_grid, line_places, slant_range_incidence
from .metadata import MapGrid
from .names import (
    Found,
    day_of,
    iso_time,
    number,
)
from .rasters import RasterBand
from .sources import FileSource

_ALTERED_RANGE = "Level 3.1 has noise reduced and its dynamic range compressed: σ0 is not what Level 1.5 would give"


_ASSUMED_FACTOR = "assumed: JAXA's published constant"


_ASSUMED_NOTE = "calibrated by −83 dB, which no file states: JAXA's published constant is assumed"


#: JAXA has published −83 and −79 dB; a factor far from them is no factor
_FACTORS_DB = (-100.0, -60.0)


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
