"""CEOS-ARD products (Level 2.2), the 25 m mosaic and the forest map: rasters without a leader."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from rasterio.crs import CRS

from .. import geometry, radiometry
from ..core.errors import Alos2TutError
from .names import (
    LOOK_SIDES,
    ORBITS,
    PRODUCT_ID,
    Found,
    day_of,
    factor_of_equation,
    middle_of,
    noise_floor,
    number,
    read_xml,
    wkt_polygon,
    xml_texts,
)
from .open_ceos import (
    _ASSUMED_FACTOR,
    _absent,
    _checked_factor,
    _no_data_dn,
    _of_one_shape,
    _tiff_grid,
)
from .product import Product
from .rasters import RasterBand
from .reading import Layer
from .sources import FileSource

#: from this year on the mosaic writes 1 for "no data", 0 before
MOSAIC_NO_DATA_ONE_SINCE = 2017


_MASK_MOSAIC = {0: "no data", 50: "ocean and water", 100: "layover", 150: "shadow", 255: "land"}


_MASK_CARD4L = {0: "no data", 1: "valid", 2: "layover", 3: "shadow", 4: "ocean and water", 5: "invalid"}


_FOREST = {0: "no data", 1: "forest", 2: "non-forest", 3: "water"}


_FOREST_FOUR_CLASSES_SINCE = 2017


#: the four classes; JAXA's codes as Google Earth Engine's catalogue lists them
_FOREST_SINCE_2017 = {0: "no data", 1: "dense forest", 2: "non-dense forest", 3: "non-forest", 4: "water"}


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
