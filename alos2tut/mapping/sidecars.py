"""What GIS programs and catalogues look for beside a map: names and colours of its classes, and a STAC item.

- ``<map>.tif.aux.xml``: category names and a raster attribute table, where GDAL keeps both for a GeoTIFF; QGIS and
  ArcGIS read them.
- ``<map>.qml``: a style that QGIS loads with the map.
- ``<map>_stac.json``: a STAC item (1.0.0, with the extensions projection 2.0.0 and classification 2.0.0), where both
  place and time are known.

All of it is taken from the map's own tags and colours: pixels stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import numpy as np

from .. import geometry
from ..core.artifacts import atomic_path, write_json
from ..products.metadata import MapGrid
from ..products.rasters import LONLAT, reprojected
from .files import MapFile, map_file

#: columns of the attribute table: name, GDAL's type (0 whole number, 2 text) and usage (GFU: 5 value, 2 name, 6 to 9
#: red, green, blue and opacity)
_COLUMNS = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8), ("Alpha", 0, 9))
_EXTENSIONS = ("projection/v2.0.0", "classification/v2.0.0")
_GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_sidecars(map_path: str | Path, *, replace: bool) -> None:
    """Write what stands in the module's description beside a map that :func:`alos2tut.map_scene` wrote.

    Args:
        map_path: the map of classes.
        replace: files that are there already; else they stay, as users change styles.
    """
    source = MapFile.open(map_path)
    for name, content in (("categories", _categories(source)), ("style", _style(source))):
        path = map_file(map_path, name)
        if replace or not path.exists():
            with atomic_path(path) as temporary:
                xml.indent(content)
                # GDAL takes a declaration of XML for the whole file
                temporary.write_text(xml.tostring(content, encoding="unicode") + "\n", encoding="utf-8")
    item, path = stac_item(source), map_file(map_path, "stac")
    if item is None and replace:
        path.unlink(missing_ok=True)
    elif item is not None and (replace or not path.exists()):
        write_json(path, item)


def _categories(source: MapFile) -> xml.Element:
    """GDAL's file of auxiliary metadata (PAM): category names by value from 0, and the attribute table."""
    root = xml.Element("PAMDataset")
    band = xml.SubElement(root, "PAMRasterBand", band="1")
    names = xml.SubElement(band, "CategoryNames")
    for value in range(max(source.names, default=-1) + 1):
        xml.SubElement(names, "Category").text = source.names.get(value, "")
    table = xml.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = xml.SubElement(table, "FieldDefn", index=str(index))
        for tag, content in (("Name", name), ("Type", kind), ("Usage", usage)):
            xml.SubElement(column, tag).text = str(content)
    for index, (value, name) in enumerate(source.names.items()):
        row = xml.SubElement(table, "Row", index=str(index))
        for cell in (value, name, *source.colors.get(value, (0, 0, 0, 255))):
            xml.SubElement(row, "F").text = str(cell)
    return root


def _style(source: MapFile) -> xml.Element:
    """QGIS's style of a raster by a palette."""
    root = xml.Element("qgis", styleCategories="Symbology")
    pipe = xml.SubElement(root, "pipe")
    renderer = xml.SubElement(pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1")
    palette = xml.SubElement(renderer, "colorPalette")
    for value, name in source.names.items():
        red, green, blue, alpha = source.colors.get(value, (0, 0, 0, 255))
        color = f"#{red:02x}{green:02x}{blue:02x}"
        xml.SubElement(palette, "paletteEntry", value=str(value), label=name, color=color, alpha=str(alpha))
    return root


def stac_item(source: MapFile) -> dict[str, Any] | None:
    """The STAC item of a map; None where nobody knows where or when. Its assets lie beside it."""
    when = _interval(source.tags.get("ACQUIRED", ""))
    if when is None or not isinstance(source.grid, MapGrid):
        return None
    height, width = source.shape
    places = [source.grid.transform * corner for corner in ((0, height), (width, height), (width, 0), (0, 0))]
    corners = geometry.on_earth(reprojected(places, source.grid.crs, LONLAT))
    if not corners:
        return None
    ring = [[round(float(lon), 7), round(float(lat), 7)] for lon, lat in corners]
    lons, lats = zip(*ring, strict=True)
    path, epsg = source.path, source.grid.crs.to_epsg()
    place = {"proj:code": f"EPSG:{epsg}"} if epsg else {"proj:code": None, "proj:wkt2": source.grid.crs.to_wkt()}
    transform = list(source.grid.transform)
    known = {"proj:shape": [height, width], "proj:transform": [*transform[:6], 0, 0, 1]}
    assets = {"classes": {"href": path.name, "type": _GEOTIFF, "roles": ["data"], "classification:classes": [
        {"value": value, "name": re.sub(r"[^0-9A-Za-z-]+", "-", name).strip("-") or f"class-{value}",
         "description": name, "color_hint": "{:02X}{:02X}{:02X}".format(*source.colors.get(value, (0, 0, 0)))}
        for value, name in source.names.items()]}}  # fmt: skip
    for name, kind, role in (("probability", _GEOTIFF, "data"), ("entropy", _GEOTIFF, "data"),
                             ("preview", "image/png", "overview")):  # fmt: skip
        if (beside := map_file(path, name)).is_file():
            assets[name] = {"href": beside.name, "type": kind, "roles": [role]}
    title = f"Land cover from {source.tags.get('PRODUCT', 'a product')} ({source.tags.get('SOURCE', 'unknown sensor')})"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        "id": path.stem,
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
        "properties": {**when, "title": title, **place, **known},
        "links": [],
        "assets": assets,
    }


def _interval(acquired: str) -> dict[str, Any] | None:
    """When a map's product was acquired, as STAC has it: a moment, or the first and last second of a day or a year."""
    text = acquired.removesuffix("Z")
    try:
        moment = np.datetime64(text)
    except ValueError:
        return None
    if np.isnat(moment):
        return None
    if np.datetime_data(moment.dtype)[0] in ("Y", "M", "D"):
        last = (moment + 1).astype("datetime64[s]") - 1
        ends = {"start_datetime": f"{moment.astype('datetime64[s]')}Z", "end_datetime": f"{last}Z"}
        return {"datetime": None, **ends}
    return {"datetime": f"{text}Z"}
