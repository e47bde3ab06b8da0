"""What a CEOS product says of itself, by its leader, its lines and its volume directory."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from rasterio.crs import CRS

from .. import radiometry
from ..core.errors import Alos2TutError, warn
from .ceos import ImageFile, read_leader, read_volume
from .georeference import ceos_grid, line_places, placed_elsewhere, slant_range_incidence
from .metadata import MapGrid
from .names import LOOK_SIDES, Found, iso_time
from .satellites import ALOS, ALOS2, SATELLITES, Satellite
from .sources import FileSource

ASSUMED_FACTOR = "assumed: JAXA's published constant"
_ASSUMED_NOTE = "calibrated by −83 dB, which no file states: JAXA's published constant is assumed"
_RELATIVE_NOTE = "no file states a calibration factor, and none is assumed for {}: power is relative, it is no σ0"
#: JAXA, "PALSAR calibration factor updated": since this day one factor holds for all of ALOS
_ONE_FACTOR_SINCE = "2009-01-09"
#: JAXA has published −83 and −79 dB; a factor far from them is no factor
_FACTORS_DB = (-100.0, -60.0)
_LIGHT_M_S = 299_792_458
#: bandwidths of L-band radar are between 14 and 84 MHz
_SAMPLINGS_MHZ = (1.0, 1000.0)


class Calibration(NamedTuple):
    """The factor of amplitudes in dB, None where none is known; where it is from, and what to know of it."""

    factor_db: float | None
    source: str
    notes: Sequence[str] = ()

    def fields(self, level: str) -> dict[str, Any]:
        """As fields of a product: where no factor is known, its quantity is ``relative``."""
        if self.factor_db is None:
            return {"quantity": "relative", "calibration_factor_db": 0.0, "calibration_source": self.source}
        offset_db = radiometry.SLC_OFFSET_DB if level == "1.1" else 0.0
        return {"calibration_factor_db": self.factor_db + offset_db, "calibration_source": self.source}


def assumed_calibration(satellite: Satellite) -> Calibration:
    """Where no file states a factor: JAXA's published constant for ALOS-2, none for others."""
    if satellite is ALOS2:
        return Calibration(radiometry.CALIBRATION_FACTOR_DB, ASSUMED_FACTOR, (_ASSUMED_NOTE,))
    return Calibration(None, "none: no file states a factor", (_RELATIVE_NOTE.format(satellite.sensor),))


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
    satellite = found.satellite
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
    _check_satellite(satellite, scene, leader_source)
    contradictions = _other_names(bands, scene, common, found)
    processed = common["processed"] or _created(found)
    calibration = _calibration(leader, found, scene.get("beam"), processed, leader_source)
    grid: MapGrid | None = None
    gaps: list[str] = []
    if common["level"] != "1.1":
        grid, gaps = ceos_grid(projection, first, leader_source, summary, crs)
        contradictions += [text for band in bands.values() for text in placed_elsewhere(grid, band)]
    looks: Any = (scene.get("azimuth_looks"), scene.get("range_looks"))
    resolution: Any = (scene.get("azimuth_resolution_m"), scene.get("range_resolution_m"))
    spacing: Any = stated_spacing_m(scene, common["level"])
    gaps += absent({"radiometric record": leader.get("radiometric", {}).get("calibration_factor_db"),
                     "scene incidence": scene.get("incidence_deg"), "looks": looks[0]}, "leader: ")  # fmt: skip
    footprint, is_scan = tuple((line_places(first) or {}).values()), common["scan"] is not None
    extra = [found.summary] if summary and found.summary else []
    clock = scene.get("clock_angle_deg")
    return {
        "kind": "CEOS",
        "shape": first.shape,
        "grid": grid,
        **calibration.fields(common["level"]),
        "bands": bands,
        "files": found.files([leader_source, *images.values(), *extra]),
        "beam": _beam(common["mode"], scene.get("beam")),
        # where the names do not say
        "look_side": common["look_side"] or (LOOK_SIDES["R" if clock > 0 else "L"] if clock else None),
        "orbit": scene.get("orbit") if common["orbit"] is None else common["orbit"],
        "acquired": common["acquired"] or iso_time(scene.get("center_time")),
        "processed": processed,
        "incidence_deg": scene.get("incidence_deg") or None,
        "off_nadir_deg": scene.get("off_nadir_deg") or common["off_nadir_deg"],
        "slant_range_incidence": slant_range_incidence(
            first, scene.get("incidence_deg"), spacing[1], satellite.orbit_height_m, is_one_of_scans=is_scan
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
        "notes": [*common["notes"], *calibration.notes],
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


def _check_satellite(satellite: Satellite, scene: Mapping[str, Any], leader: FileSource) -> None:
    """Refuse a leader of another satellite than the names'."""
    other = next((other for other in SATELLITES if scene.get("mission") in other.platforms), satellite)
    if other is not satellite:
        raise Alos2TutError(
            f"is an {other.sensor} leader, and its name is that of an {satellite.sensor} product",
            where=leader.where,
            remedy="Use the names that the files were delivered with; download the product again if they are.",
        )


def stated_spacing_m(scene: Mapping[str, Any], level: str) -> tuple[float | None, float | None]:
    """Between lines and between pixels, in metres.

    At Level 1.1 that of pixels is half of light's way between two samples of an echo. Leaders of ALOS-2 state it first
    there, that of lines second, the other way round than on maps; those of ALOS-4 state neither.
    """
    line_m, pixel_m = (scene.get(f"{name}_spacing_m") or None for name in ("line", "pixel"))
    sampling_mhz = scene.get("sampling_mhz") or 0.0
    if level != "1.1" or not _SAMPLINGS_MHZ[0] < sampling_mhz < _SAMPLINGS_MHZ[1]:
        return line_m, pixel_m
    sampled_m = _LIGHT_M_S / 2e6 / sampling_mhz
    if line_m and math.isclose(line_m, sampled_m, rel_tol=0.01):
        line_m, pixel_m = pixel_m, line_m
    return line_m, pixel_m or sampled_m


def other_days(time: str | None, named: str | None, where: str) -> list[str]:
    """Whether a time is more than a day from the day in names, ``140909``: midnight may lie in a scene."""
    stated = (iso_time(time) or "")[:10]
    with suppress(ValueError):
        if named and abs(date.fromisoformat(stated) - datetime.strptime(named, "%y%m%d").date()) > timedelta(days=1):
            return [f"acquired {stated} by {where}, {named} by name"]
    return []


def _other_names(
    bands: Mapping[str, ImageFile], scene: Mapping[str, Any], common: Mapping[str, Any], found: Found
) -> list[str]:
    """Files may have been renamed or mixed up: what is in them should be what their names say; a user should know."""
    named_alike = re.fullmatch(found.satellite.scene, scene.get("scene_id") or "")
    stated = {
        # what is no scene's name in the form that is known says nothing, unless that form was checked
        "scene": (scene.get("scene_id") if named_alike or found.satellite.is_checked else None, common["scene_id"]),
        "level": (scene.get("level"), common["level"]),
        "orbit direction": ((scene.get("orbit_direction") or "")[:1] or None, common["orbit_direction"][0].upper()),
    }
    differ = [
        f"{name} {inside} in the leader, {named} by name"
        for name, (inside, named) in stated.items()
        if inside not in (None, named)
    ]
    differ += other_days(scene.get("center_time"), found.parts.get("date"), "the leader")
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
    leader: Mapping[str, Mapping[str, Any]], found: Found, beam: int | None, processed: str | None, source: FileSource
) -> Calibration:
    """By the leader; with what is known to be wrong there."""
    satellite, mode = found.satellite, found.parts["mode"]
    factor = leader.get("radiometric", {}).get("calibration_factor_db")
    calibration = assumed_calibration(satellite) if factor is None else Calibration(factor, "leader file")
    if calibration.factor_db is None:
        return calibration
    factor, origin, notes = checked_factor(calibration.factor_db, source), calibration.source, [*calibration.notes]
    if factor not in satellite.factors_db:
        published = ", ".join(f"{value:g}" for value in satellite.factors_db)
        notes.append(f"the calibration factor of {factor:g} dB is none that JAXA has published ({published})")
    elif satellite is ALOS and (processed or "") < _ONE_FACTOR_SINCE:
        when = f"processed {processed[:10]}" if processed else f"if it was processed before {_ONE_FACTOR_SINCE}"
        notes.append(
            f"{when}: JAXA gives such products factors by mode and polarisation, −83.16…−83.65 dB for HH, −80.2 dB for "
            f"HV; the leader's {factor:g} dB is used for all"
        )
        warn(f"{source.where}: {notes[-1]}")
    elif satellite is ALOS2 and factor == radiometry.CALIBRATION_FACTOR_DB and _beam(mode, beam) == "W2":
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
    return Calibration(float(factor), origin, notes)


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
