"""Small products of every packaging that JAXA delivers, and ways to change them."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from support.products import SCENE_ID, TIFF_NAME, UTM54, amplitudes, complex_numbers, write_ceos, write_geotiff

from alos2tut import Alos2TutWarning, Product, open_product
from alos2tut.products import ceos_layout

DEGREES = rasterio.Affine(0.0002, 0, -160.2, 0, -0.0002, 22.1)


UTM20S = rasterio.Affine(2.5, 0, 300_000, 0, -2.5, 9_000_000)


TILES = {"bigtiff": "yes", "tiled": True, "blockxsize": 16, "blockysize": 32, "compress": "deflate"}


LEVEL22 = f"{SCENE_ID}_WBDR2.2GUD"


CARD4L_XML = """<?xml version="1.0" encoding="utf-8"?>
<Product><SourceAttributes>
<StartTime>2018-10-18T03:04:00.078Z</StartTime><EndTime>2018-10-18T03:04:56.442Z</EndTime><BeamID>W3</BeamID>
<AzimuthNumberOfLooks>2</AzimuthNumberOfLooks><RangeNumberOfLooks>1</RangeNumberOfLooks>
<SourceDataGeometry>Polygon ((139.1 35.9, 139.2 34.3, 139.8 34.9, 139.7 36.1, 139.1 35.9))</SourceDataGeometry>
<PerformanceIndicators pol="HH"><Estimates>-30</Estimates></PerformanceIndicators></SourceAttributes>
<BackscatterConversionEq>10*log10(DN^2)-82.5</BackscatterConversionEq></Product>
"""


def image_of(folder: Path, polarization: str = "HH") -> Path:
    return next(folder.glob(f"IMG-{polarization}-*"))


def leader_of(folder: Path) -> Path:
    return next(folder.glob("LED-*"))


def records_of(data: bytes) -> list[bytes]:
    """A CEOS file cut into its records, each of which states its length."""
    records = []
    while data:
        length = struct.unpack_from(">I", data, 8)[0]
        records.append(data[:length])
        data = data[length:]
    return records


def without_records(path: Path, *kinds: str) -> None:
    """Take records out of a leader."""
    codes = {ceos_layout.RECORDS[kind].codes for kind in kinds}
    path.write_bytes(b"".join(r for r in records_of(path.read_bytes()) if tuple(r[4:8]) not in codes))


def field_place(data: bytes, kind: str, name: str) -> tuple[int, ceos_layout.Form]:
    """Where a field of a record lies in a file, wherever the record lies, and its format."""
    codes, layout, _ = ceos_layout.RECORDS[kind]
    position = 0
    while tuple(data[position + 4 : position + 8]) != codes:
        position += struct.unpack_from(">I", data, position + 8)[0]
    start, form = layout[name]
    return position + start - 1, ceos_layout.parse_form(form)


def write_field(path: Path, kind: str, name: str, text: str) -> None:
    """Put a text into a field of a record, right-justified in its first value, or in all of it."""
    data = bytearray(path.read_bytes())
    at, form = field_place(data, kind, name)
    width = form.width if len(text) <= form.width else form.total_bytes
    assert len(text) <= width
    data[at : at + width] = text.rjust(width).encode("ascii")
    path.write_bytes(data)


def write_scansar(folder: Path) -> Path:
    """Level 1.1 of ScanSAR: two scans of different sizes, two polarisations."""
    for scan, shape in [(1, (48, 40)), (2, (60, 24))]:
        images = {pol: complex_numbers(shape, seed=10 * scan + i) for i, pol in enumerate(("HH", "HV"))}
        write_ceos(folder, images, "WBDR1.1__D", scan=("F", scan))
    return folder


def write_card4l(folder: Path, *, xml: str | None = CARD4L_XML) -> Path:
    dn = amplitudes()
    for name, pixels, dtype in [
        ("HH_SLP", dn, "uint16"),
        ("HV_SLP", np.where(dn, amplitudes(seed=1), 0), "uint16"),
        ("LIN", np.where(dn, 3000 + dn // 50, 0), "uint16"),
        ("MSK", np.where(dn, 1, 0), "uint8"),
    ]:
        write_geotiff(folder / f"{LEVEL22}_{name}.tif", pixels, UTM54, dtype=dtype)
    if xml is not None:
        (folder / f"{LEVEL22}_summary.xml").write_text(xml)
    return folder


def write_mosaic(folder: Path, year: int = 20, *, envi: bool = False) -> Path:
    """A tile of few pixels: HH and HV from 0 on, incidence, mask, date."""
    counting = np.arange(30 * 20).reshape(30, 20)
    for name, pixels, dtype in [
        ("sl_HH", counting, "uint16"),
        ("sl_HV", np.where(counting < 2, counting, counting[::-1]), "uint16"),
        ("linci", np.where(counting < 2, counting, 30 + counting % 20), "uint8"),
        ("mask", np.where(counting <= (year > 16), 0, 255), "uint8"),
        ("date", np.where(counting < 2, counting, 2300), "uint16"),
    ]:
        path = folder / f"N23W161_{year}_{name}_F02DAR"
        options = {"driver": "ENVI"} if envi else {}
        path = path if envi else path.with_name(f"{path.name}.tif")
        write_geotiff(path, pixels, DEGREES, "EPSG:4326", dtype=dtype, **options)
    return folder


def write_forest(folder: Path, year: int = 15) -> Path:
    classes = np.arange(30 * 20).reshape(30, 20) % 5
    write_geotiff(folder / f"S16W150_{year}_C_F02DAR", classes, DEGREES, "EPSG:4326", dtype="uint8", driver="ENVI")
    return folder


def write_slc_geotiff(folder: Path) -> Path:
    write_geotiff(folder / TIFF_NAME.replace("2.1GUD", "1.1__D"), complex_numbers(), None, None, dtype="complex64")
    return folder


#: what JAXA delivers, small: each writes a folder
PACKAGINGS: dict[str, Callable[[Path], Path]] = {
    "CEOS 1.1": lambda folder: write_ceos(folder, {"HH": complex_numbers()}, "UBSR1.1__D"),
    "CEOS 1.1 ScanSAR": write_scansar,
    "CEOS 1.5 G": lambda folder: write_ceos(
        folder, {"HH": amplitudes(), "HV": amplitudes(seed=1)}, "FBDR1.5GUA", heading_deg=350.0
    ),
    "CEOS 1.5 R": lambda folder: write_ceos(
        folder, {"HH": amplitudes()}, "UBSR1.5RUD", transform=UTM54 * rasterio.Affine.rotation(10)
    ),
    "CEOS 2.1": lambda folder: write_ceos(folder, {"HH": amplitudes()}),
    "CEOS 2.1 south west": lambda folder: write_ceos(
        folder, {"HH": amplitudes()}, transform=UTM20S, utm_zone=20, south=True
    ),
    "CEOS 3.1": lambda folder: write_ceos(folder, {"HH": amplitudes()}, "UBSR3.1GUD"),
    "GeoTIFF 1.1": write_slc_geotiff,
    "GeoTIFF 2.1": lambda folder: write_geotiff(folder / TIFF_NAME, amplitudes(), UTM54).parent,
    "GeoTIFF 2.1 big": lambda folder: write_geotiff(folder / TIFF_NAME, amplitudes(), UTM54, **TILES).parent,
    "2.2": write_card4l,
    "mosaic": write_mosaic,
    "mosaic ENVI": lambda folder: write_mosaic(folder, 15, envi=True),
    "forest map": write_forest,
}


def opened(path: Path, **options) -> Product:
    """The product, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        return open_product(path, **options)


def contents(product: Product) -> dict[str, np.ndarray]:
    """All its pixels."""
    pixels = {pol: product.read_db(polarization=pol) for pol in product.polarizations}
    if product.level == "1.1":
        pixels |= {f"{pol} complex": product.read_slc(polarization=pol) for pol in product.polarizations}
    return pixels | {name: product.read_layer(name) for name in product.layers}


def change_summary(folder: Path, **values: str | None) -> None:
    """Set entries of ``summary.txt``; None takes one out."""
    path = folder / "summary.txt"
    pairs = dict(line.split("=", 1) for line in path.read_text().splitlines())
    pairs |= {key: f'"{value}"' for key, value in values.items()}
    path.write_text("".join(f"{key}={value}\n" for key, value in pairs.items() if value != '"None"'))


def zero_in_lines(image: Path, first_byte: int, count: int) -> None:
    """Write zeros to these bytes of every line's prefix."""
    data = bytearray(image.read_bytes())
    length = struct.unpack_from(">I", data, 720 + 8)[0]
    for line in range(720, len(data), length):
        at = line + first_byte - 1
        data[at : at + count] = bytes(count)
    image.write_bytes(data)
