"""What lies beside a map: GDAL reads the names of its classes, QGIS its style, catalogues its place and time."""

import ctypes
import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rasterio
from rasterio.warp import transform_bounds
from support.maps import LEGEND, SIDECARS, Model, by_level, map_scene, read, write_product

from alos2tut.mapping.files import MapFile, map_file
from alos2tut.mapping.sidecars import _interval, stac_item, write_sidecars

NAMES = list(LEGEND.names)


@pytest.fixture(scope="module")
def land_cover(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sidecars")
    product = write_product(folder / "product", (80, 100), seed=1)
    return map_scene(product, Model(by_level), folder / "map.tif", probability=True)


def gdal() -> ctypes.CDLL:
    """The library that rasterio's wheel carries, by its interface in C."""
    found = list((Path(rasterio.__file__).parents[1] / "rasterio.libs").glob("libgdal*.so*"))
    if not found:
        pytest.skip("rasterio carries no GDAL of its own here")
    library = ctypes.CDLL(str(found[0]))
    for name in ("GDALOpen", "GDALGetRasterBand", "GDALGetDefaultRAT"):
        getattr(library, name).restype = ctypes.c_void_p
    library.GDALGetRasterCategoryNames.restype = ctypes.POINTER(ctypes.c_char_p)
    library.GDALRATGetValueAsString.restype = ctypes.c_char_p
    library.GDALAllRegister()
    return library


def test_gdal_reads_names_and_colours_of_classes(land_cover):
    library = gdal()
    raster = ctypes.c_void_p(library.GDALOpen(str(land_cover).encode(), 0))
    band = ctypes.c_void_p(library.GDALGetRasterBand(raster, 1))
    table = ctypes.c_void_p(library.GDALGetDefaultRAT(band))
    # a GeoTIFF is asked for its table or place first: then GDAL looks beside it
    names = library.GDALGetRasterCategoryNames(band)
    assert [names[index].decode() for index in range(3)] == NAMES and names[3] is None
    rows, columns = library.GDALRATGetRowCount(table), library.GDALRATGetColumnCount(table)
    cells = [[library.GDALRATGetValueAsString(table, r, c).decode() for c in range(columns)] for r in range(rows)]
    assert cells == [[str(i), c.name, *map(str, c.color), "255"] for i, c in enumerate(LEGEND.classes)]
    # 5 is the value, 2 its name, 6 to 9 are colours
    assert [library.GDALRATGetUsageOfCol(table, c) for c in range(columns)] == [5, 2, 6, 7, 8, 9]
    library.GDALClose(raster)


def test_a_style_names_every_class_in_its_colour(land_cover):
    entries = ElementTree.parse(map_file(land_cover, "style")).iter("paletteEntry")
    told = [(entry.get("value"), entry.get("label"), entry.get("color")) for entry in entries]
    assert told == [(str(i), c.name, "#{:02x}{:02x}{:02x}".format(*c.color)) for i, c in enumerate(LEGEND.classes)]


def test_a_stac_item_tells_where_when_and_what(land_cover):
    item = json.loads(map_file(land_cover, "stac").read_text())
    assert (item["type"], item["stac_version"], item["id"], item["links"]) == ("Feature", "1.0.0", "map", [])
    with rasterio.open(land_cover) as raster:
        assert item["properties"]["proj:code"] == raster.crs.to_string()
        assert item["properties"]["proj:shape"] == list(raster.shape)
        assert item["properties"]["proj:transform"] == list(raster.transform)
        bounds = transform_bounds(raster.crs, "EPSG:4326", *raster.bounds)
    assert item["bbox"] == pytest.approx(bounds, abs=1e-5)
    [ring] = item["geometry"]["coordinates"]
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))
    assert len(ring) == 5 and ring[0] == ring[-1] and area > 0  # counter-clockwise, as GeoJSON wants it
    assert set(item["assets"]) == {"classes", "probability"}
    assert all((land_cover.parent / asset["href"]).is_file() for asset in item["assets"].values())
    classes = item["assets"]["classes"]["classification:classes"]
    assert [(c["value"], c["description"]) for c in classes] == list(enumerate(NAMES))
    assert all(re.fullmatch("[0-9A-Za-z-_]+", c["name"]) and re.fullmatch("[0-9A-F]{6}", c["color_hint"])
               for c in classes)  # fmt: skip
    assert re.match(r"\d{4}-\d\d-\d\dT", item["properties"]["datetime"] or item["properties"]["start_datetime"])


@pytest.mark.parametrize(
    ("acquired", "told"),
    [
        ("2018-10-18T03:04:05.5", {"datetime": "2018-10-18T03:04:05.5Z"}),
        ("2018-10-18", ("2018-10-18T00:00:00Z", "2018-10-18T23:59:59Z")),
        ("2020", ("2020-01-01T00:00:00Z", "2020-12-31T23:59:59Z")),
        ("unknown", None),
        ("", None),
    ],
)
def test_a_day_or_a_year_is_an_interval(acquired, told):
    if isinstance(told, tuple):
        told = {"datetime": None, "start_datetime": told[0], "end_datetime": told[1]}
    assert _interval(acquired) == told


def test_a_style_that_was_changed_stays_until_the_map_is_another(tmp_path):
    product, model = write_product(tmp_path / "product", (60, 60)), Model(by_level)
    out = map_scene(product, model, tmp_path / "map.tif")
    assert {p.name for p in tmp_path.iterdir()} == {"product", "map.tif", *SIDECARS}
    pixels = read(out)
    map_file(out, "style").write_text("somebody's")
    map_file(out, "categories").unlink()
    write_sidecars(out, replace=False)
    assert map_file(out, "style").read_text() == "somebody's" and map_file(out, "categories").is_file()
    map_scene(product, model, out, overwrite=True)
    assert map_file(out, "style").read_text() != "somebody's" and (read(out) == pixels).all()


def test_a_map_without_a_place_or_a_time_is_no_stac_item(land_cover):
    found = MapFile.open(land_cover)
    assert stac_item(found) is not None
    tags = {key: value for key, value in found.tags.items() if key != "ACQUIRED"}
    fields = {name: getattr(found, name) for name in ("path", "band", "grid", "colors", "scale", "description")}
    assert stac_item(MapFile(tags=tags, **fields)) is None
