"""From files to a :class:`~alos2tut.Product`: which reader opens a path, and JAXA's levels, packagings, metadata.

Names that JAXA gives go first; other calibrated images open by what they are (:mod:`.open_polsarpro`,
:mod:`.open_gcov`, :mod:`.open_images`).

What JAXA's files are called says which of them make a product (:mod:`.names`); everything else is taken from the
leader, the image files, ``summary.txt`` or the XML, and what they do not say is named, not guessed. Levels: JAXA's
"ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS SAR product format description" (rev. F); the rules of the mosaic and of
Level 2.2 were checked on real files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from .. import geometry
from ..core.artifacts import named_path
from ..core.errors import Alos2TutError, warn
from ..core.public import public
from .ceos import ImageFile, read_summary
from .georeference import parsed_crs
from .given import Given
from .names import LOOK_SIDES, ORBITS, Found, day_of, iso_time, no_product, number, products_in
from .open_ceos import ceos_fields, other_days, says_simulated
from .open_gcov import is_hdf5, open_gcov
from .open_images import candidates, open_images
from .open_polsarpro import is_polsarpro, open_polsarpro
from .open_rasters import geotiff_fields, open_card4l, open_mosaic
from .product import Product
from .rasters import LONLAT, RasterBand, reprojected
from .satellites import ALOS2
from .sources import FileSource, find_files

#: lines of an image whose statements are looked at when it is opened
_LOOKED_AT = 64
_ALTERED_RANGE = "Level 3.1 has noise reduced and its dynamic range compressed: σ0 is not what Level 1.5 would give"


@public
def open_product(
    path: str | Path,
    *,
    crs: str | int | CRS | None = None,
    scan: int | None = None,
    scale: str | None = None,
    quantity: str | None = None,
    polarization: str | None = None,
    sensor: str | None = None,
    spacing_m: tuple[float, float] | None = None,
    no_data: float | None = None,
) -> Product:
    """Open an ALOS-2 product or another calibrated image; its pixels stay where they are until they are asked for.

    Args:
        path: a folder as JAXA delivers it, any of its files, or a zip, tar or tar.gz of it (or a path into one:
            ``delivery.zip/IMG-HV-…``). Read are: CEOS and GeoTIFF of Levels 1.1, 1.5, 2.1 and 3.1; Level 2.2; tiles of
            the 25 m mosaic and of the forest map; CEOS of ALOS-4 and ALOS. An image file makes its polarisation the one
            that is read unless another is named. Of a product that lies in one folder as both CEOS and GeoTIFF, the
            file named decides; a folder means CEOS. Of others: a raster of calibrated backscatter (GeoTIFF, COG, ENVI
            or a plain VRT), a folder with one per polarisation; a folder of PolSARpro's; a NISAR GCOV.
        crs: replaces a coordinate system that the files lack or state wrongly, for example ``"EPSG:32654"``.
        scan: which scan of a ScanSAR Level 1.1 product, whose scans are files of different sizes; None: that of
            the file named, else the first, with a warning.
        scale: of the numbers of a calibrated image: "power", "amplitude" or "db". This and the following are asked for
            where files do not say them; JAXA's products say all but ``polarization`` themselves, and refuse them.
        quantity: "sigma0", "gamma0", "beta0", or "relative" where the calibration is not known.
        polarization: "HV": which one the image is, or which one is read; of several bands in their order: "HH,HV".
        sensor: who took it, in words.
        spacing_m: of pixels on no map, (rows, columns).
        no_data: the number that stands for no data, where no tag says it.

    Raises:
        Alos2TutError: nothing there that is a product, several products, a missing or damaged file, a level or
            projection that is not read, an archive that is not safe to read.
    """
    product = open_given(
        path,
        Given(crs=crs, scan=scan, scale=scale, quantity=quantity, polarization=polarization, sensor=sensor,
              spacing_m=spacing_m, no_data=no_data),
    )  # fmt: skip
    warn_of_masks(product)
    if polarization is None:
        return product
    wanted = product.choose_polarizations(polarization)[0]
    return replace(product, default_polarization=wanted)


def open_given(path: str | Path, given: Given) -> Product:
    """Open what lies at a path as :func:`open_product` does, without warnings of masks; no polarisation is chosen."""
    place = named_path(path, "product")
    if is_hdf5(place) and not place.is_file():  # a path into the file
        return placed(open_gcov(place, given))
    delivery = find_files(place)
    if found := products_in(delivery):
        return open_found(found, given)
    if delivery.archive is not None:
        raise no_product(delivery)
    if is_polsarpro(place):
        return placed(open_polsarpro(place, given))
    if is_hdf5(place):
        return placed(open_gcov(place, given))
    if not candidates(place):
        raise no_product(delivery)
    try:
        return placed(open_images(place, given))
    except Alos2TutError as error:
        if given.of_pixels:
            raise
        raise no_product(delivery, error) from None


def warn_of_masks(product: Product) -> None:
    """Warn of each image whose tag or masks call amplitudes no data, and of lines that say odd things of theirs."""
    band: Any
    known = (0, 1) if product.level == "mosaic" else (0,)
    for band in product.bands.values():
        told = []
        if isinstance(band, RasterBand) and (share := band.contradicted(known)):
            told = [
                f"{' and '.join(band.statements)} and the amplitudes contradict each other: {100 * share:.2g} % of the "
                "pixels looked at have an amplitude and are called no data. They count as no data"
            ]
        elif isinstance(band, ImageFile):
            rows = np.unique(np.linspace(0, band.lines - 1, min(band.lines, _LOOKED_AT)).astype(int))
            told = list(band.oddities(rows).values())
        for text in told:
            warn(f"{band.source.where}: {text}. `alos2tut verify` shows more.")


def open_found(found: Found, given: Given) -> Product:
    """Open a product of JAXA's whose files were found; errors as for :func:`open_product`."""
    given.refuse(found.delivery.path, "a product as JAXA delivers it")
    system = None if given.crs is None else parsed_crs(given.crs, found.delivery.path)
    if found.kind == "delivered":
        product = _open_delivered(found, system, given.scan)
    elif given.scan is not None:
        raise Alos2TutError(f"scan={given.scan} is asked for, but only Level 1.1 has scans", where=found.delivery.path)
    else:
        product = (open_card4l if found.kind == "card4l" else open_mosaic)(found, system)
    return placed(product)


def placed(product: Product) -> Product:
    """The product, if its map lies on Earth, or if it has none.

    Raises:
        Alos2TutError: with its coordinate system it lies nowhere.
    """
    if product.grid is None:
        return product
    corners = [product.transform * place for place in geometry.corner_places(product.shape).values()]
    if not geometry.on_earth(reprojected(corners, product.crs, LONLAT)):
        raise Alos2TutError(
            f"with the coordinate system {product.crs.to_string()} the product lies nowhere on Earth",
            where=product.path,
            remedy="Give the right one: open_product(path, crs='EPSG:32654'), or --crs on the command line.",
        )
    return product


def _open_delivered(found: Found, crs: CRS | None, scan: int | None) -> Product:
    satellite, parts = found.satellite, found.parts
    if not parts:
        raise Alos2TutError(f"the product id '{found.any_match['product']}' cannot be read", where=found.delivery.path)
    if parts["level"] not in satellite.levels:
        others = ", 2.2 and the mosaic" if satellite is ALOS2 else f" of {satellite.sensor}"
        raise Alos2TutError(
            f"is of level {parts['level']}",
            where=found.delivery.path,
            remedy=f"Levels {', '.join(satellite.levels)}{others} are read.",
        )
    if crs is not None and parts["level"] == "1.1":
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
    notes += satellite.notes
    gaps += _missing_images(found, images, summary, label)
    if parts["level"] == "3.1":
        warn(f"{found.delivery.path}: {_ALTERED_RANGE}")
        notes.append(_ALTERED_RANGE)
    common = {
        "path": found.delivery.path,
        "level": parts["level"],
        "sensor": satellite.sensor,
        "polarizations": tuple(images),
        "default_polarization": found.named_polarization,
        "quantity": "sigma0",
        "scene_id": found.any_match["scene"],
        "product_id": found.any_match["product"] + (f"-{label}" if label else ""),
        "mode": parts["mode"],
        "look_side": LOOK_SIDES.get(parts.get("look", "")),
        "orbit_direction": ORBITS[parts["orbit"]],
        "orbit": int(parts["orbit_number"]) if "orbit_number" in parts else None,
        "frame": int(parts["frame"]),
        "scan": int(label[1]) if label else None,
        "scans": scans,
        "gaps": gaps,
        "notes": notes,
        "contradictions": other_days(summary.get("Img_SceneCenterDateTime"), parts.get("date"), "summary.txt"),
        **_fields_of_summary(summary),
    }
    fields = common | (geotiff_fields if is_tiff else ceos_fields)(found, images, common, summary, crs)
    if "date" in parts:
        fields["acquired"] = fields["acquired"] or day_of(parts["date"])
    return Product(**fields | {name: tuple(fields[name]) for name in ("gaps", "notes", "contradictions")})


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
        remedy = f"Scans: {', '.join(map(str, scans))}." if scans else "It has no scans."
        raise Alos2TutError(f"has no scan {scan}", where=found.delivery.path, remedy=remedy)
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
    source = found.summary
    if source is None:
        return {}, ["summary.txt"], []
    try:
        summary = read_summary(source)
    except Alos2TutError as error:  # a product is read without it, too
        return {}, ["summary.txt"], [f"summary.txt {error.problem}"]
    # of ALOS and ALOS-4 it is not known how much of the names is called scene, how much product
    for key in ("Scs_SceneID", "Pds_ProductID"):
        if summary.get(key, "") not in found.identity:
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


def _fields_of_summary(summary: Mapping[str, str]) -> dict[str, Any]:
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
        "simulated": says_simulated(maker),
    }


def _summary_footprint(summary: Mapping[str, str]) -> tuple[tuple[float, float], ...]:
    names = [f"Img_ImageScene{corner}" for corner in ("LeftTop", "RightTop", "RightBottom", "LeftBottom")]
    try:
        corners = [(float(summary[f"{name}Longitude"]), float(summary[f"{name}Latitude"])) for name in names]
    except (KeyError, ValueError):
        return ()
    return geometry.on_earth(tuple(corners))
