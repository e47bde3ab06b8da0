"""Products that are rasters: GeoTIFFs of Levels 1.1 to 3.1, CEOS-ARD (Level 2.2), the 25 m mosaic, the forest map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from xml.etree import ElementTree

from rasterio.crs import CRS

from .. import geometry, radiometry
from ..core.errors import Alos2TutError, warn
from .metadata import MapGrid
from .names import (
    LOOK_SIDES,
    ORBITS,
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
from .open_ceos import ASSUMED_FACTOR, absent, assumed_calibration, checked_factor, of_one_shape
from .product import Product
from .rasters import RasterBand
from .reading import DAYS, DEGREE, Layer
from .satellites import ALOS2
from .sources import FileSource

#: from this year on the mosaic writes 1 for "no data", 0 before
MOSAIC_NO_DATA_ONE_SINCE = 2017
_FOREST_FOUR_CLASSES_SINCE = 2017
_MASK_MOSAIC = {0: "no data", 50: "ocean and water", 100: "layover", 150: "shadow", 255: "land"}
_MASK_CARD4L = {0: "no data", 1: "valid", 2: "layover", 3: "shadow", 4: "ocean and water", 5: "invalid"}
_FOREST = {0: "no data", 1: "forest", 2: "non-forest", 3: "water"}
#: the four classes; JAXA's codes as Google Earth Engine's catalogue lists them
_FOREST_SINCE_2017 = {0: "no data", 1: "dense forest", 2: "non-dense forest", 3: "non-forest", 4: "water"}
#: layers by the part of the name that says so: our name, the type of the pixels, and how they are read
_Kinds: TypeAlias = Mapping[str, tuple[str, str, dict[str, Any]]]


def geotiff_fields(
    found: Found, images: dict[str, FileSource], common: Mapping[str, Any], summary: Mapping[str, str], crs: CRS | None
) -> dict[str, Any]:
    """What GeoTIFFs say, as fields of a product: nothing of calibration and view."""
    is_slc = common["level"] == "1.1"
    types = ("complex64", "complex_int16", "complex128") if is_slc else ("uint16",)
    bands = {pol: _opened(found, source, types) for pol, source in images.items()}
    first = of_one_shape(list(bands.values()))
    extra = [found.summary] if summary and found.summary else []
    calibration = assumed_calibration(found.satellite)
    notes = list(calibration.notes)
    if found.satellite is ALOS2 and common["mode"][0] == "W" and day_of(found.parts["date"]) < "2016-09-28":
        notes.append("if this is beam W2 and was ordered before 2016-09-28, its factor is −79 dB; GeoTIFF does not say")
    return {
        "kind": "GeoTIFF",
        "shape": first.shape,
        "grid": None if is_slc else map_grid(first, crs),
        **calibration.fields(common["level"]),
        "calibration_source": f"{calibration.source} (GeoTIFF carries none)",
        "bands": bands,
        "files": found.files([*images.values(), *extra, *_beside(found, images.values())]),
        "no_data_dn": _no_data_dn((0,), bands),
        "gaps": [*common["gaps"], "calibration factor", "scene incidence", "looks", *(["spacing"] if is_slc else [])],
        "notes": [*common["notes"], *notes],
    }


def _opened(found: Found, source: FileSource, types: Sequence[str]) -> RasterBand:
    """A raster, with what lies beside it and says where there is no data."""
    return RasterBand.open(source, types, **found.beside(source.name)[1])


def _beside(found: Found, rasters: Iterable[FileSource]) -> list[FileSource]:
    return [file for source in rasters for file in found.beside(source.name)[0]]


def _no_data_dn(known: Sequence[int], bands: Mapping[str, RasterBand]) -> tuple[int, ...]:
    """Amplitudes that stand for no data: those that are known, and what the files' own tags all say."""
    of_bands = [{band.no_data} - {None} for band in bands.values()]
    tags = set.intersection(*of_bands) if of_bands else set()
    return tuple(sorted({*known, *(int(tag) for tag in tags if tag and tag.is_integer() and 0 < tag <= 65535)}))


def map_grid(band: RasterBand, crs: CRS | None) -> MapGrid:
    """Where the pixels of a raster lie, by its own statements; ``crs`` goes before its coordinate system.

    Raises:
        Alos2TutError: no georeference, or no coordinate system.
    """
    if band.transform is None:
        raise Alos2TutError("has no georeference", where=band.source.where, remedy="Use the file as it was delivered.")
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


def open_card4l(found: Found, crs: CRS | None) -> Product:
    """CEOS-ARD Normalised Radar Backscatter: γ0, terrain-corrected, with local incidence and mask."""
    images, match = found.images(), found.any_match
    if not images:
        raise Alos2TutError(
            f"has no backscatter file {match['scene']}_{match['product']}_HH_SLP.tif",
            where=found.delivery.path,
            remedy="Download it.",
        )
    kinds: _Kinds = {
        "LIN": ("local_incidence", "uint16", {"unit": DEGREE, "scale": 0.01, "no_data": (0,)}),
        "MSK": ("mask", "uint8", {"unit": "code", "meaning": _MASK_CARD4L}),
    }
    xml = next((found.folder[name] for name, m in found.matches.items() if m["xml"]), None)
    # no file states a no-data value; DN 0 it is, exactly where the mask is 0
    fields = _raster_fields(found, images, kinds, xml, crs, no_data=(0,))
    root = read_xml(xml) if xml else None
    stated = _card4l_xml(root, xml) if root is not None and xml else {}
    gaps = {"local incidence": fields["layers"].get("local_incidence"), "mask": fields["layers"].get("mask")}
    gaps |= {"summary XML": xml, "calibration equation": stated.get("calibration_factor_db")}
    parts = found.parts
    fields |= {
        "kind": "CEOS-ARD NRB",
        "level": "2.2",
        "sensor": ALOS2.sensor,
        "quantity": "gamma0",
        "scene_id": match["scene"],
        "product_id": match["product"],
        "mode": parts.get("mode"),
        "look_side": LOOK_SIDES.get(parts.get("look", "")),
        "orbit_direction": ORBITS.get(parts.get("orbit", "")),
        "orbit": int(match["orbit_number"]),
        "frame": int(match["frame"]),
        "acquired": day_of(match["date"]),
        "calibration_factor_db": radiometry.CALIBRATION_FACTOR_DB,
        "calibration_source": ASSUMED_FACTOR,
        "gaps": tuple(absent(gaps | _missing_images(root, images), "")),
    }
    return Product(**fields | stated)


def _card4l_xml(root: ElementTree.Element, source: FileSource) -> dict[str, Any]:
    """What the summary XML says beyond the GeoTIFFs; its counts of lines and pixels are swapped and not used."""
    text, made = xml_texts(root), xml_texts(root.find("CARD4LProductAttributes"))
    looks = tuple(number(text.get(f"{axis}NumberOfLooks")) for axis in ("Azimuth", "Range"))
    resolution = tuple(number(text.get(f"{axis}Resolution")) for axis in ("Azimuth", "Range"))
    stated: dict[str, Any] = {
        "beam": text.get("BeamID"),
        "started": text.get("StartTime"),
        "ended": text.get("EndTime"),
        "processed": made.get("ProcessingTime"),
        "software": made.get("SoftwareVersion"),
        "looks": looks if all(looks) else None,
        "resolution_m": resolution if all(resolution) else None,
        "stated_footprint": geometry.on_earth(wkt_polygon(text.get("SourceDataGeometry"))),
        "noise_floor_db": noise_floor(root, "PerformanceIndicators"),
    }
    middle = middle_of(text.get("StartTime"), text.get("EndTime"))
    if middle:
        stated["acquired"] = middle
    factor = factor_of_equation(text.get("BackscatterConversionEq"))
    if factor is not None:
        stated |= {"calibration_factor_db": checked_factor(factor, source), "calibration_source": "summary XML"}
    return stated


def open_mosaic(found: Found, crs: CRS | None) -> Product:
    """A 1° tile (or a window of one) of JAXA's global 25 m mosaic: γ0, terrain-corrected; or of its forest map."""
    match, beam, images = found.any_match, found.any_match["beam"], found.images()
    year = 2000 + int(match["year"])
    no_data = (0, 1) if year >= MOSAIC_NO_DATA_ONE_SINCE else (0,)
    forest = _FOREST_SINCE_2017 if year >= _FOREST_FOUR_CLASSES_SINCE else _FOREST
    kinds: _Kinds = {
        "linci": ("local_incidence", "uint8", {"unit": DEGREE, "no_data": no_data}),
        "mask": ("mask", "uint8", {"unit": "code", "meaning": _MASK_MOSAIC}),
        "date": ("date", "uint16", {"unit": DAYS, "no_data": no_data}),
        "C": ("forest", "uint8", {"unit": "code", "meaning": forest}),
    }
    xml = found.folder.get(f"{match['tile']}_{match['year']}_{beam}.xml")
    fields = _raster_fields(found, images, kinds, xml, crs, no_data)
    layers = fields["layers"]
    root = read_xml(xml) if xml else None
    text = xml_texts(root)
    factor = factor_of_equation(text.get("BackscatterConversionEq"))
    gaps: dict[str, Any] = {"tile's XML": xml, "observation mode": text.get("ObservationMode")}
    if images:
        gaps |= {"calibration equation": factor, "local incidence": layers.get("local_incidence")}
        gaps |= _missing_images(root, images)
    return Product(
        **fields,
        kind="forest map" if "forest" in layers and not images else "25 m mosaic",
        level="mosaic",
        sensor=ALOS2.sensor,
        quantity="gamma0" if images else "",
        calibration_factor_db=(
            radiometry.CALIBRATION_FACTOR_DB if factor is None or xml is None else checked_factor(factor, xml)
        ),
        calibration_source="JAXA's published constant for the mosaic" if factor is None else "the tile's XML",
        scene_id=f"{match['tile']}_{match['year']}",
        acquired=text.get("FirstAcquistionDate") or text.get("FirstAcquisitionDate") or str(year),
        processed=text.get("ProcessingTime"),
        mode=text.get("ObservationMode"),
        beam=text.get("BeamID"),
        look_side=LOOK_SIDES[beam[5]] if beam else None,
        orbit_direction=ORBITS[beam[4]] if beam else None,
        software=text.get("SoftwareVersion"),
        noise_floor_db=noise_floor(root, "NoiseEquivalentSigma0"),
        gaps=tuple(absent(gaps, "")),
        notes=("classes of the forest map are those of its year's edition",) if "forest" in layers else (),
    )


def _raster_fields(
    found: Found,
    images: Mapping[str, FileSource],
    kinds: _Kinds,
    xml: FileSource | None,
    crs: CRS | None,
    no_data: tuple[int, ...],
) -> dict[str, Any]:
    """Images, and layers (incidence, mask, date, forest classes) that lie upon them, as fields of a product."""
    bands = {pol: _opened(found, source, ("uint16",)) for pol, source in images.items()}
    layers, sources = {}, []
    for file_name, match in found.matches.items():
        if match["layer"]:
            name, dtype, options = kinds[match["layer"]]
            band = _opened(found, found.folder[file_name], (dtype,))
            if band.no_data is not None and "no_data" in options:
                options = options | {"no_data": (*options["no_data"], band.no_data)}
            layers[name] = Layer(band, **options)
            sources.append(found.folder[file_name])
    first = of_one_shape([*bands.values(), *(layer.band for layer in layers.values())])
    mask = layers.get("mask")
    if mask is not None and isinstance(mask.band, RasterBand):
        codes = tuple(code for code, meaning in mask.meaning.items() if meaning in ("no data", "invalid"))
        if (tag := mask.band.no_data) is not None and tag not in mask.meaning:
            codes = (*codes, int(tag))
        bands = {pol: band.hidden_by(mask.band, codes) for pol, band in bands.items()}
    beside = _beside(found, [*images.values(), *sources])
    return {
        "path": found.delivery.path,
        "shape": first.shape,
        "grid": map_grid(first, crs),
        "polarizations": tuple(images),
        "default_polarization": found.named_polarization,
        "bands": bands,
        "layers": layers,
        "files": found.files([*images.values(), *sources, *beside, *([xml] if xml else [])]),
        "no_data_dn": _no_data_dn(no_data, bands),
    }


def _missing_images(root: ElementTree.Element | None, images: Mapping[str, FileSource]) -> dict[str, None]:
    """Images that an XML lists and that are not there, as gaps."""
    names = [element.text or "" for element in (() if root is None else root.iter("FileName"))]
    listed = {match[1] for name in names if (match := re.search(r"_(HH|HV|VH|VV)_", name))}
    return dict.fromkeys(f"image {pol}" for pol in sorted(listed - images.keys()))
