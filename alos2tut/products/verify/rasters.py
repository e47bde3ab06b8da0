"""What the GeoTIFFs and the XML of Level 2.2, of the 25 m mosaic and of the forest map say of each other."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np

from ... import radiometry
from ..metadata import POLARIZATIONS
from ..names import LOOK_SIDES, ORBITS, Found, factor_of_equation, number, read_xml
from ..open_rasters import MOSAIC_NO_DATA_ONE_SINCE
from .case import Case, read_bands, run, tried
from .checks import Check, alike, all_there, compared, corner_centres, judged, numbers, table, time_of

_MOSAIC_EPOCH = date(2014, 5, 24)


def checks_of(found: Found) -> tuple[str, list[Check]]:
    """What kind of product it is, and all checks of it."""
    problems: list[Check] = []
    labels = {name: match["pol"] or match["layer"] for name, match in found.matches.items()}
    files = {label: name for name, label in labels.items() if label}
    bands = read_bands(found, files, ("uint8", "uint16"), problems)
    groups: tuple[Callable[[Case], Iterator[Check]], ...]
    if found.kind == "card4l":
        kind, xml = "CEOS-ARD, Level 2.2", next((name for name, label in labels.items() if not label), "summary.xml")
        groups = (_files, _conversion, _identity, _place, _no_data)
    elif "C" in files and not any(match["pol"] for match in found.matches.values()):
        kind, xml = "forest map", _xml_of_tile(found.any_match)
        groups = (_files, _tile, _layers)
    else:
        kind, xml = "25 m mosaic", _xml_of_tile(found.any_match)
        groups = (_files, _conversion, _tile, _layers)
    root = tried(found.folder, xml, read_xml, problems)
    return kind, [*problems, *run(groups, Case(found, bands, xml=root))]


def _xml_of_tile(match: re.Match[str]) -> str:
    return "_".join(match[part] for part in ("tile", "year", "beam") if match[part]) + ".xml"


def _files(case: Case) -> Iterator[Check]:
    named = [] if case.xml is None else [element.text.strip() for element in case.xml.iter("FileName") if element.text]
    # before the name of a window of a tile stands something else
    yield all_there("the XML", named, [n for n in named if not any(p.endswith(n) for p in case.found.folder)])
    yield from alike(case.bands)


def _conversion(case: Case) -> Iterator[Check]:
    equation, published = case.texts.get("BackscatterConversionEq"), radiometry.CALIBRATION_FACTOR_DB
    is_good = None if equation is None else factor_of_equation(equation) == published
    values = {"XML": equation, "JAXA's publication": f"10*log10(DN^2){published:+.1f}"}
    yield judged("radiometry", "calibration factor in dB", is_good, values)


def _identity(case: Case) -> Iterator[Check]:
    name, say, parts = case.found.any_match, case.texts.get, case.product_id
    rows = {
        "mode": (parts.get("mode"), say("ObservationMode")),
        "orbit direction": (ORBITS.get(parts.get("orbit", "")), say("PassDirection", "").lower() or None),
        "look side": (LOOK_SIDES.get(parts.get("look", "")), say("AntennaPointing", "").lower() or None),
        "frame": (int(name["frame"]), number(say("RSP_Frame_Number"))),
        "day": (_day(f"20{name['date']}"), _day(say("StartTime"))),
    }
    yield from table("identity", ("name", "XML"), rows)


def _day(text: str | None) -> date | None:
    time = time_of(text)
    return time and time.date()


def _place(case: Case) -> Iterator[Check]:
    band, say = case.raster, case.texts.get
    if band is None or case.xml is None:
        return
    counts = numbers(say("NumberLines"), say("NumPixelsPerLine"))
    note = "swapped, as JAXA writes them" if counts == band.shape[::-1] else ""
    is_good = None if counts is None else bool(note) or counts == band.shape
    yield judged("place", "lines, pixels", is_good, {"XML": counts, "GeoTIFF": band.shape}, note)
    epsg = number(case.xml.findtext(".//CoordinateReferenceSystem[@type='EPSG']"))
    yield compared("place", "EPSG code", {"XML": epsg, "GeoTIFF": band.crs and band.crs.to_epsg()})
    corners, corner = corner_centres(band), ".//ProductBoundingBox[@Corner='UL']"
    stated = numbers(case.xml.findtext(f"{corner}/Easting"), case.xml.findtext(f"{corner}/Northing"))
    both = {"XML": stated, "GeoTIFF": None if corners is None else corners[0]}
    yield compared("place", "centre of the first pixel", both, within=0.01, unit=" m")
    t = band.transform
    steps = None if t is None else (math.hypot(t.b, t.e), math.hypot(t.a, t.d))
    both = {"XML": numbers(say("ProductRowSpacing"), say("ProductColumnSpacing")), "GeoTIFF": steps}
    yield compared("place", "spacing of lines, pixels", both, within=1e-6, unit=" m")


def _no_data(case: Case) -> Iterator[Check]:
    mask = case.bands.get("MSK")
    for label in POLARIZATIONS:
        band = case.bands.get(label)
        if band is None or mask is None or band.shape != mask.shape:
            continue
        counts = np.zeros(3, np.int64)
        for dn, codes in band.bare.blocks(mask):
            only_dn, only_mask = (dn == 0) & (codes != 0), (dn != 0) & (codes == 0)
            counts += np.array([dn.size, np.count_nonzero(only_dn), np.count_nonzero(only_mask)])
        values = {"pixels": counts[0], "DN 0 but mask not": counts[1], "mask 0 but DN not": counts[2]}
        yield judged("rasters", f"no data of {label} and the mask", not counts[1:].any(), values, "a sample of blocks")


def _tile(case: Case) -> Iterator[Check]:
    """The name is that of the upper left corner of a tile of 1°."""
    tile, band = case.found.any_match["tile"], case.raster
    north, west = int(tile[1:3]) * (1 if tile[0] == "N" else -1), int(tile[4:]) * (1 if tile[3] == "E" else -1)
    if band is not None and band.transform is not None:
        (left, top), (right, bottom) = band.transform * (0, 0), band.transform * band.shape[::-1]
        beyond = max(west - left, top - north, right - (west + 1), north - 1 - bottom)
        values = {"GeoTIFF": (left, bottom, right, top), "name": (west, north - 1, west + 1, north)}
        yield judged("place", "inside its tile", beyond <= 1e-6, values, "west, south, east, north in degrees")


def _layers(case: Case) -> Iterator[Check]:
    year, say = 2000 + int(case.found.any_match["year"]), case.texts.get
    rule = int(year >= MOSAIC_NO_DATA_ONE_SINCE)
    for label, band in case.bands.items():
        if label not in ("mask", "C"):
            yield compared("rasters", f"no data of {label}", {"tag": band.no_data, "rule of its year": rule})
    if "date" in case.bands:
        # as JAXA spells them, and as they are spelt
        first = _day(say("FirstAcquistionDate") or say("FirstAcquisitionDate"))
        last = _day(say("LastAcquistitionDate") or say("LastAcquisitionDate"))
        codes = np.unique(np.concatenate([np.unique(block) for (block,) in case.bands["date"].blocks()]))
        days = [_MOSAIC_EPOCH + timedelta(days=int(code)) for code in codes[codes > 1]]
        values = {"date layer": f"{days[0]} … {days[-1]}" if days else None}
        values["XML"] = f"{first} … {last}" if first and last else None
        is_good = first <= days[0] <= days[-1] <= last if days and first and last else None
        yield judged("time", "days", is_good, values, "a sample of blocks")
