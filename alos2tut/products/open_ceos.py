"""What a CEOS product says of itself, by its leader, its lines and its volume directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any

from rasterio.crs import CRS

from .. import radiometry
from ..core.errors import Alos2TutError, warn
from .ceos import ImageFile, read_leader, read_volume
from .georeference import ceos_grid, line_places, placed_elsewhere, slant_range_incidence
from .metadata import MapGrid
from .names import Found, check_platform, iso_time
from .sources import FileSource

ASSUMED_FACTOR = "assumed: JAXA's published constant"
ASSUMED_NOTE = "calibrated by −83 dB, which no file states: JAXA's published constant is assumed"
#: JAXA has published −83 and −79 dB; a factor far from them is no factor
_FACTORS_DB = (-100.0, -60.0)


def ceos_fields(
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
    check_platform(leader_source)
    bands = {pol: ImageFile.open(source) for pol, source in images.items()}
    first = of_one_shape(list(bands.values()))
    wanted = "C*8" if common["level"] == "1.1" else "IU2"
    if first.sample_code != wanted:
        raise Alos2TutError(
            f"holds samples of type {first.sample_code}; Level {common['level']} has {wanted}",
            where=first.source.where,
            remedy="Check that the file's name is the one it was delivered with.",
        )
    leader = read_leader(leader_source)
    scene, projection = leader.get("dataset_summary", {}), leader.get("map_projection", {})
    contradictions = _other_names(bands, scene, common, found.any_match["date"])
    processed = common["processed"] or _created(found)
    factor, origin, notes = _calibration(leader, common["mode"], scene.get("beam"), processed, leader_source)
    grid: MapGrid | None = None
    gaps: list[str] = []
    if common["level"] == "1.1":
        factor += radiometry.SLC_OFFSET_DB
    else:
        grid, gaps = ceos_grid(projection, first, leader_source, summary, crs)
        contradictions += [text for band in bands.values() for text in placed_elsewhere(grid, band)]
    looks: Any = (scene.get("azimuth_looks"), scene.get("range_looks"))
    resolution: Any = (scene.get("azimuth_resolution_m"), scene.get("range_resolution_m"))
    spacing: Any = (scene.get("line_spacing_m"), scene.get("pixel_spacing_m"))
    gaps += absent({"radiometric record": leader.get("radiometric", {}).get("calibration_factor_db"),
                     "scene incidence": scene.get("incidence_deg"), "looks": looks[0]}, "leader: ")  # fmt: skip
    footprint, is_scan = tuple((line_places(first) or {}).values()), common["scan"] is not None
    extra = [found.folder["summary.txt"]] if summary else []
    return {
        "kind": "CEOS",
        "shape": first.shape,
        "grid": grid,
        "calibration_factor_db": factor,
        "calibration_source": origin,
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
        "simulated": common["simulated"] or any(says_simulated(band.software) for band in bands.values()),
        "gaps": [*common["gaps"], *gaps],
        "notes": [*common["notes"], *notes],
        "contradictions": contradictions,
    }


def _created(found: Found) -> str | None:
    """When the volume directory was made, which is when the product was processed."""
    source = found.folder.get(f"VOL-{found.identity}")
    try:
        volume = read_volume(source).get("volume_descriptor", {}) if source else {}
    except Alos2TutError:  # nothing else is needed of it
        return None
    return iso_time(f"{volume.get('created_date')}{str(volume.get('created_time'))[:6]}")


def other_days(time: str | None, named: str, where: str) -> list[str]:
    """Whether a time is more than a day from the day in names, ``140909``: midnight may lie in a scene."""
    stated = (iso_time(time) or "")[:10]
    with suppress(ValueError):
        if abs(date.fromisoformat(stated) - datetime.strptime(named, "%y%m%d").date()) > timedelta(days=1):
            return [f"acquired {stated} by {where}, {named} by name"]
    return []


def _other_names(
    bands: Mapping[str, ImageFile], scene: Mapping[str, Any], common: Mapping[str, Any], day: str
) -> list[str]:
    """Files may have been renamed or mixed up: what is in them should be what their names say; a user should know."""
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
    differ += other_days(scene.get("center_time"), day, "the leader")
    for pol, band in bands.items():
        line = band.prefixes([0])[0]
        inside = "".join("HV"[int(line[way])] for way in ("transmitted", "received") if int(line[way]) < 2)
        # lines that state no number of channels state no polarisation either
        if line["channel"] and len(inside) == 2 and inside != pol:
            differ.append(f"polarisation {inside} in the first line, {pol} by name")
    differ += common["contradictions"]
    if differ:
        warn(f"{common['path']}: files and names disagree ({'; '.join(differ)}). `alos2tut verify` shows more.")
    return differ


def of_one_shape(images: Sequence[Any]) -> Any:
    """The first of several images, whose shapes must be the same."""
    first = images[0]
    for image in images:
        if image.shape != first.shape:
            raise Alos2TutError(
                f"is {image.shape[0]} × {image.shape[1]} pixels, {first.source.name} is {first.shape[0]} × "
                f"{first.shape[1]}",
                where=image.source.where,
            )
    return first


def absent(wanted: Mapping[str, Any], where: str) -> list[str]:
    """Names of what is None, as gaps."""
    return [where + name for name, value in wanted.items() if value is None]


def says_simulated(text: str | None) -> bool:
    """Whether the text that names a maker says that it simulated."""
    return "simulat" in (text or "").lower()


def _beam(mode: str, number: int | None) -> str | None:
    """``W2``: the leader numbers beams within a mode."""
    return f"{mode[0]}{number}" if number else None


def _calibration(
    leader: Mapping[str, Mapping[str, Any]], mode: str, beam: int | None, processed: str | None, source: FileSource
) -> tuple[float, str, list[str]]:
    """The factor of amplitudes, where it is from, and what to know of it."""
    factor = leader.get("radiometric", {}).get("calibration_factor_db")
    origin, notes = "leader file", []
    if factor is None:
        factor, origin = radiometry.CALIBRATION_FACTOR_DB, ASSUMED_FACTOR
        notes.append(ASSUMED_NOTE)
    factor = checked_factor(factor, source)
    if factor == radiometry.CALIBRATION_FACTOR_DB and _beam(mode, beam) == "W2":
        if processed is None:
            notes.append("if it was ordered before 2016-09-28, this ScanSAR beam has −79 dB; no file says when")
        elif is_w2_before_correction(mode, beam, processed):
            factor, origin = (
                radiometry.OLD_W2_FACTOR_DB,
                "JAXA's exception for ScanSAR beam W2 before 2016-09-28T07:00Z",
            )
            notes.append(
                f"calibrated by {factor:g} dB, not −83 dB: {origin}; the time of processing stands for that of order"
            )
    elif factor not in (radiometry.CALIBRATION_FACTOR_DB, radiometry.OLD_W2_FACTOR_DB):
        notes.append(f"the calibration factor of {factor:g} dB is none that JAXA has published (−83; −79 dB once)")
    return float(factor), origin, notes


def checked_factor(factor_db: float, source: FileSource) -> float:
    """A calibration factor, unless it is far from those that JAXA has published."""
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
