"""Finding and opening products: every packaging, what is known of each, and what is missing, damaged or refused."""

import json
import math
import pickle
import random
import re
import shutil
import struct
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.products import (
    ARCHIVES,
    SCENE_ID,
    TIFF_NAME,
    UTM54,
    amplitudes,
    archived,
    complex_numbers,
    write_ceos,
    write_geotiff,
)

from alos2tut import Alos2TutError, Alos2TutWarning, Product, open_product, verify_product
from alos2tut.products import ceos, ceos_layout

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


def write_field(path: Path, kind: str, name: str, text: str) -> None:
    """Put a text into a field of a record, right-justified, wherever the record lies in the file."""
    codes, layout, _ = ceos_layout.RECORDS[kind]
    data = bytearray(path.read_bytes())
    position = 0
    while tuple(data[position + 4 : position + 8]) != codes:
        position += struct.unpack_from(">I", data, position + 8)[0]
    start, form = layout[name]
    width = ceos_layout.parse_form(form).width
    at = position + start - 1
    data[at : at + width] = text.rjust(width).encode("ascii")
    path.write_bytes(data)


def read_leader(path: Path) -> dict:
    from alos2tut.products.sources import FileSource

    return ceos.read_leader(FileSource(path.name, path, path.stat().st_size))


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
        ("HV_SLP", amplitudes(seed=1), "uint16"),
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
        ("sl_HV", counting[::-1], "uint16"),
        ("linci", np.where(counting < 2, counting, 30 + counting % 20), "uint8"),
        ("mask", np.where(counting < 2, 0, 255), "uint8"),
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


@pytest.fixture(scope="session")
def packaged(tmp_path_factory) -> Callable[[str], Path]:
    """Folders of the packagings, each written once."""
    written: dict[str, Path] = {}

    def folder(packaging: str) -> Path:
        if packaging not in written:
            written[packaging] = PACKAGINGS[packaging](tmp_path_factory.mktemp("packaging") / "product")
        return written[packaging]

    return folder


@pytest.fixture
def copied(packaged, tmp_path) -> Callable[[str], Path]:
    """Copies of the packagings, to be changed."""
    return lambda packaging: Path(shutil.copytree(packaged(packaging), tmp_path / "product"))


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


def told(product: Product) -> dict:
    """What is known of a product, but for where it lies."""
    return {key: value for key, value in product.to_dict().items() if key not in ("path", "files")}


# --- packagings


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_product_in_an_archive_is_the_one_of_its_folder(packaged, packaging, archive, tmp_path):
    folder = packaged(packaging)
    inside = opened(archived(folder, tmp_path / archive, inner="delivery/product"))
    outside = opened(folder)
    assert told(inside) == told(outside)
    for name, pixels in contents(outside).items():
        np.testing.assert_array_equal(contents(inside)[name], pixels, err_msg=name)


@pytest.mark.parametrize("inner", ["", "delivery/product"], ids=["at the top", "in a folder"])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_a_path_into_an_archive_opens_its_file(packaged, archive, inner, tmp_path):
    folder = packaged("CEOS 1.5 G")
    place = archived(folder, tmp_path / archive, inner) / inner
    named = open_product(place / image_of(folder, "HV").name)
    assert (named.choose_polarization(), open_product(place).choose_polarization()) == ("HV", "HH")
    np.testing.assert_array_equal(named.read_dn(), np.where(amplitudes(seed=1), amplitudes(seed=1), np.nan))


@pytest.mark.parametrize("archive", ARCHIVES)
def test_an_archive_is_the_file_of_its_product(packaged, archive, tmp_path):
    path = archived(packaged("CEOS 2.1"), tmp_path / archive)
    product = open_product(path / image_of(packaged("CEOS 2.1")).name)
    assert product.files == (path,)
    assert re.fullmatch("[0-9a-f]{64}", product.fingerprint)
    assert product.fingerprint != open_product(packaged("CEOS 2.1")).fingerprint


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_everything_known_is_ready_for_json_and_shows(packaged, packaging):
    product = opened(packaged(packaging))
    content = json.loads(json.dumps(product.to_dict(), allow_nan=False))
    assert content["shape"] == list(product.shape) and content["level"] == product.level
    assert product.name in repr(product) and product.name in product._repr_html_()


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_product_travels_between_processes(packaged, packaging):
    product = opened(packaged(packaging))
    copy = pickle.loads(pickle.dumps(product))
    assert copy.to_dict() == product.to_dict()
    for name, pixels in contents(product).items():
        np.testing.assert_array_equal(contents(copy)[name], pixels)


@pytest.mark.parametrize(
    ("packaging", "crs", "transform", "spacing"),
    [
        pytest.param("CEOS 1.5 G", 32654, UTM54, (2.5, 2.5), id="geocoded"),
        pytest.param("CEOS 1.5 R", 32654, UTM54 * rasterio.Affine.rotation(10), (2.5, 2.5), id="rotated"),
        pytest.param("CEOS 2.1 south west", 32720, UTM20S, (2.5, 2.5), id="southern hemisphere"),
        pytest.param("GeoTIFF 2.1", 32654, UTM54, (2.5, 2.5), id="GeoTIFF"),
        pytest.param("2.2", 32654, UTM54, (2.5, 2.5), id="Level 2.2"),
        # 0.72" at 22.1° north, by the ellipsoid's radii there
        pytest.param("mosaic", 4326, DEGREES, (22.1465, 20.6393), id="mosaic"),
    ],
)
def test_products_lie_where_they_say(packaged, packaging, crs, transform, spacing):
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        product = open_product(packaged(packaging))
    assert product.crs.to_epsg() == crs
    assert tuple(product.transform)[:6] == pytest.approx(tuple(transform)[:6], abs=1e-3)
    assert product.spacing_m == pytest.approx(spacing, abs=1e-3)
    corners = [transform * (x, y) for x in (0, product.shape[1]) for y in (0, product.shape[0])]
    xs, ys = zip(*corners, strict=True)
    assert product.bounds == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=1e-3)


@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 1.1 ScanSAR", "GeoTIFF 1.1"])
@pytest.mark.parametrize("place", ["crs", "transform", "bounds"])
def test_slant_range_has_no_place_on_a_map(packaged, packaging, place):
    with pytest.raises(Alos2TutError, match=r"slant range.*no place on a map.*2\.1"):
        getattr(opened(packaged(packaging)), place)


def test_spacing_in_slant_range_is_along_track_by_slant_range(packaged):
    assert open_product(packaged("CEOS 1.1")).spacing_m == (2.1, 1.43)


def test_the_slant_range_of_a_geotiff_has_no_known_spacing(packaged):
    product = opened(packaged("GeoTIFF 1.1"))
    assert all(map(math.isnan, product.spacing_m)) and product.footprint == ()


# --- names


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        pytest.param(
            f"{SCENE_ID}-UBSR2.1GUD", ("2.1", "UBS", "right", "descending", 23775, 2900, "2018-10-18"), id="UBS"
        ),
        pytest.param(
            "ALOS2014555550-140830-FBDL1.5RUA",
            ("1.5", "FBD", "left", "ascending", 1455, 5550, "2014-08-30"),
            id="FBD to the left",
        ),
        pytest.param(
            "ALOS2000017190-240229-HBQR1.5GPD",
            ("1.5", "HBQ", "right", "descending", 1, 7190, "2024-02-29"),
            id="HBQ, polar map",
        ),
        pytest.param(
            "ALOS2437590500-220630-WWDR1.5GUA",
            ("1.5", "WWD", "right", "ascending", 43759, 500, "2022-06-30"),
            id="WWD",
        ),
        pytest.param(
            "ALOS2437590500-220630-SBSR2.1GUA",
            ("2.1", "SBS", "right", "ascending", 43759, 500, "2022-06-30"),
            id="spotlight",
        ),
    ],
)
def test_a_name_says_mode_side_orbit_frame_and_day(tmp_path, name, fields):
    product = open_product(write_geotiff(tmp_path / f"IMG-HV-{name}.tif", amplitudes(), UTM54))
    found = (product.level, product.mode, product.look_side, product.orbit_direction, product.orbit, product.frame)
    assert (*found, product.acquired) == fields
    assert (product.polarizations, product.name) == (("HV",), f"IMG-HV-{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param(f"IMG-HH-{SCENE_ID}-XBSR2.1GUD", r"'XBSR2\.1GUD' cannot be read", id="unknown mode"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSX2.1GUD", r"'UBSX2\.1GUD' cannot be read", id="neither left nor right"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSR2.1GUX", r"'UBSR2\.1GUX' cannot be read", id="unknown orbit"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSR1.0__D", r"is of level 1\.0.*are read", id="raw data"),
        pytest.param(f"IMG-HH-{SCENE_ID}-WWDR2.2GUA", r"is of level 2\.2.*are read", id="Level 2.2 under another name"),
        pytest.param(f"IMG-HH-{SCENE_ID}-UBSR2.1GU", "no ALOS-2 product", id="too short"),
        pytest.param("IMG-HH-ALPSRP237752900-UBSR2.1GUD", "no ALOS-2 product", id="another satellite"),
        pytest.param(f"IMG-HX-{SCENE_ID}-UBSR2.1GUD", "no ALOS-2 product", id="unknown polarisation"),
        pytest.param("N23W161_20_sl_VX_F02DAR.tif", "no ALOS-2 product", id="mosaic of no polarisation"),
    ],
)
def test_other_names_are_refused(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(Alos2TutError, match=message) as refused:
        open_product(tmp_path)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIF"])
@pytest.mark.parametrize("by_folder", [True, False], ids=["by folder", "by file"])
def test_a_lone_geotiff_is_a_product(tmp_path, suffix, by_folder):
    path = write_geotiff(tmp_path / TIFF_NAME.replace(".tif", suffix), amplitudes(), UTM54)
    product = open_product(tmp_path if by_folder else path)
    assert (product.kind, product.level, product.shape, product.transform) == ("GeoTIFF", "2.1", (48, 40), UTM54)
    np.testing.assert_array_equal(product.read_dn(), np.where(amplitudes(), amplitudes(), np.nan))


# --- which file opens what


@pytest.mark.parametrize("kind", ["IMG", "LED", "VOL", "TRL"])
def test_any_file_of_a_product_opens_it(packaged, kind):
    folder = packaged("CEOS 2.1")
    product = open_product(next(folder.glob(f"{kind}-*")))
    assert (product.shape, product.name) == ((48, 40), f"IMG-HH-{SCENE_ID}-UBSR2.1GUD")


@pytest.mark.parametrize(
    ("packaging", "file", "other"),
    [
        pytest.param("CEOS 1.5 G", f"IMG-HV-{SCENE_ID}-FBDR1.5GUA", "LED-*", id="CEOS"),
        pytest.param("2.2", f"{LEVEL22}_HV_SLP.tif", "*_MSK.tif", id="Level 2.2"),
        pytest.param("mosaic", "N23W161_20_sl_HV_F02DAR.tif", "*_mask_*", id="mosaic"),
    ],
)
def test_an_image_file_makes_its_polarisation_the_default(packaged, packaging, file, other):
    folder = packaged(packaging)
    by_file, by_other = open_product(folder / file), open_product(next(folder.glob(other)))
    assert by_file.polarizations == by_other.polarizations == ("HH", "HV")
    assert (by_file.choose_polarization(), by_other.choose_polarization()) == ("HV", "HH")
    assert by_file.choose_polarization("HH") == "HH" and "HV" in by_file.name and "HH" in by_other.name
    np.testing.assert_array_equal(by_file.read_dn(), by_other.read_dn(polarization="HV"))


def test_tiles_of_the_mosaic_are_called_by_place_and_year(packaged):
    assert open_product(packaged("mosaic")).image_name("HV") == "N23W161_20_HV"
    assert open_product(packaged("forest map")).name == "S16W150_15_forest"


@pytest.mark.parametrize("name", ["summary.txt", f"BRS-HH-{SCENE_ID}-UBSR2.1GUD.jpg", f"{SCENE_ID}_UBSR2.1GUD.kml"])
def test_what_comes_with_a_product_stands_for_its_folder(copied, tmp_path, name):
    companion = copied("CEOS 2.1") / name
    companion.touch()
    assert open_product(companion).name == f"IMG-HH-{SCENE_ID}-UBSR2.1GUD"
    alone = Path(shutil.copyfile(companion, tmp_path / companion.name))
    with pytest.raises(Alos2TutError, match="no ALOS-2 product"):
        open_product(alone)


def test_both_formats_of_a_product_in_one_folder_are_told_apart(copied):
    folder = copied("CEOS 2.1")
    both = write_geotiff(folder / TIFF_NAME, amplitudes(seed=7), UTM54)
    named = [folder / TIFF_NAME.removesuffix(".tif"), leader_of(folder), folder / "summary.txt", folder, both]
    assert [open_product(path).kind for path in named] == 4 * ["CEOS"] + ["GeoTIFF"]
    # summary.txt tells of both
    assert open_product(both).files == (both, folder / "summary.txt")
    assert open_product(both).acquired == open_product(folder).acquired
    assert open_product(both).read_dn()[0, 0] == amplitudes(seed=7)[0, 0]


def test_two_products_in_one_folder_are_named(copied):
    folder = copied("CEOS 2.1")
    other = write_geotiff(folder / "IMG-HH-ALOS2000017190-240229-HBQR1.5GUD.tif", amplitudes(), UTM54)
    with pytest.raises(Alos2TutError, match=r"holds 2 products.*ALOS2000017190.*ALOS2237752900.*Name a file"):
        open_product(folder)
    assert open_product(other).kind == "GeoTIFF"
    assert open_product(leader_of(folder)).kind == "CEOS"


@pytest.mark.parametrize("archive", ARCHIVES)
def test_two_products_in_an_archive_are_named_with_their_folders(tmp_path, archive):
    for n in (1, 2):
        write_geotiff(tmp_path / f"both/part{n}/IMG-HH-ALOS200001719{n}-240229-HBQR1.5GUD.tif", amplitudes(), UTM54)
    path = archived(tmp_path / "both", tmp_path / archive)
    with pytest.raises(Alos2TutError, match=r"holds 2 products: part1/ALOS2000017191\S*, part2/ALOS2000017192"):
        open_product(path)
    assert open_product(path / "part2").frame == 7192


def test_the_same_name_in_two_folders_of_an_archive_is_two_products(tmp_path):
    for n in (1, 2):
        write_geotiff(tmp_path / f"both/part{n}" / TIFF_NAME, amplitudes(), UTM54)
    with pytest.raises(Alos2TutError, match=r"holds 2 products: part1/.*, part2/"):
        open_product(archived(tmp_path / "both", tmp_path / "plain.tar"))


def test_a_folder_above_a_product_names_the_folders_in_it(copied, tmp_path):
    copied("CEOS 2.1")
    with pytest.raises(Alos2TutError, match=r"no ALOS-2 product.*Look into product"):
        open_product(tmp_path)


# --- scans


def test_a_folder_of_scans_opens_the_first_and_says_so(packaged):
    with pytest.warns(Alos2TutWarning, match="scan 1 of 1, 2") as caught:
        product = open_product(packaged("CEOS 1.1 ScanSAR"))
    assert caught[0].filename == __file__
    assert (product.scan, product.scans, product.shape) == (1, (1, 2), (48, 40))


@pytest.mark.parametrize("by", ["scan=", "file"])
def test_another_scan_is_opened_by_number_or_file(packaged, by):
    folder = packaged("CEOS 1.1 ScanSAR")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if by == "file":
            product = open_product(folder / f"IMG-HV-{SCENE_ID}-WBDR1.1__D-F2")
        else:
            product = open_product(folder, scan=2)
    assert (product.scan, product.shape, product.polarizations) == (2, (60, 24), ("HH", "HV"))
    np.testing.assert_array_equal(product.read_slc(polarization="HV"), complex_numbers((60, 24), seed=21))


def test_images_of_a_scan_are_called_as_their_files(packaged):
    folder = packaged("CEOS 1.1 ScanSAR")
    names = [opened(folder, scan=scan).image_name(pol) for pol in ("HH", "HV") for scan in (1, 2)]
    assert names == sorted(path.name for path in folder.glob("IMG-*"))


@pytest.mark.parametrize(
    ("packaging", "told"),
    [
        pytest.param("CEOS 1.1 ScanSAR", "Scans: 1, 2", id="another number"),
        pytest.param("CEOS 1.1", "no scans", id="stripmap"),
        pytest.param("CEOS 2.1", "no scans", id="Level 2.1"),
        pytest.param("mosaic", "only Level 1.1 has scans", id="mosaic"),
    ],
)
def test_a_scan_that_is_not_there_is_refused(packaged, packaging, told):
    with pytest.raises(Alos2TutError, match=rf"scan.*3.*{told}|scan=3.*{told}"):
        open_product(packaged(packaging), scan=3)


# --- metadata


def test_metadata_of_a_leader(packaged):
    product = open_product(packaged("CEOS 1.5 G"))
    assert (product.quantity, product.calibration_factor_db, product.calibration_source) == (
        "sigma0",
        -83.0,
        "leader file",
    )
    assert (product.incidence_deg, product.looks, product.resolution_m) == (36.3, (1.0, 1.0), (3.0, 3.0))
    assert (product.beam, product.software, product.simulated) == ("F7", "002.012", False)
    assert product.off_nadir_deg == product.to_dict()["off_nadir_deg"] == 32.4
    assert product.gaps == product.notes == () and product.no_data_dn == (0,)


def test_the_off_nadir_angle_is_the_leaders_else_that_of_the_summary(copied):
    folder = copied("CEOS 1.5 G")
    summary = (folder / "summary.txt").read_text(encoding="latin-1")
    other = summary.replace('Img_OffNadirAngle="32.4"', 'Img_OffNadirAngle="33.9"')
    assert other != summary
    (folder / "summary.txt").write_text(other, encoding="latin-1")
    assert open_product(folder).off_nadir_deg == 32.4
    write_field(leader_of(folder), "dataset_summary", "off_nadir_deg", "")
    assert open_product(folder).off_nadir_deg == 33.9
    (folder / "summary.txt").unlink()
    assert open_product(folder).off_nadir_deg is None


def test_level_31_is_opened_as_15_and_warned_of(packaged):
    folder = packaged("CEOS 3.1")
    with pytest.warns(Alos2TutWarning, match=r"3\.1.*dynamic range") as caught:
        product = open_product(folder)
    assert caught[0].filename == __file__
    assert product.level == "3.1" and "dynamic range" in product.notes[0]
    np.testing.assert_array_equal(product.read_db(), opened(packaged("CEOS 2.1")).read_db())


@pytest.mark.parametrize("packaging", ["CEOS 2.1", "GeoTIFF 2.1"])
def test_summary_tells_times(copied, packaged, packaging):
    folder = copied(packaging)
    shutil.copyfile(packaged("CEOS 2.1") / "summary.txt", folder / "summary.txt")
    change_summary(
        folder,
        Img_SceneCenterDateTime="20181018 03:04:05.123",
        Img_SceneStartDateTime="20181018 03:04:00.000",
        Img_SceneEndDateTime="20181018 03:04:10.250",
        Odi_SiteDateTime="PROCESS:JAPAN-JAXA-ALOS2-EICS  20181120 070809",
    )
    product = open_product(folder)
    assert (product.started, product.acquired, product.ended, product.processed) == (
        "2018-10-18T03:04:00.000Z",
        "2018-10-18T03:04:05.123Z",
        "2018-10-18T03:04:10.250Z",
        "2018-11-20T07:08:09Z",
    )


def change_summary(folder: Path, **values: str | None) -> None:
    """Set entries of ``summary.txt``; None takes one out."""
    path = folder / "summary.txt"
    pairs = dict(line.split("=", 1) for line in path.read_text().splitlines())
    pairs |= {key: f'"{value}"' for key, value in values.items()}
    path.write_text("".join(f"{key}={value}\n" for key, value in pairs.items() if value != '"None"'))


CORNERS = {
    "LeftTop": (139.1, 35.9),
    "RightTop": (139.9, 36.1),
    "RightBottom": (140.0, 35.2),
    "LeftBottom": (139.2, 35.0),
}


@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 2.1", "GeoTIFF 2.1"])
@pytest.mark.parametrize("sign", [1, -1], ids=["north east", "south west"])
def test_the_footprint_goes_around_the_corners_of_summary(copied, packaged, packaging, sign):
    folder = copied(packaging)
    if packaging != "CEOS 1.1":
        shutil.copyfile(packaged("CEOS 2.1") / "summary.txt", folder / "summary.txt")
    for corner, (longitude, latitude) in CORNERS.items():
        place = {"Longitude": f"{sign * longitude}", "Latitude": f"{sign * latitude}"}
        change_summary(folder, **{f"Img_ImageScene{corner}{axis}": value for axis, value in place.items()})
    assert open_product(folder).footprint == tuple((sign * x, sign * y) for x, y in CORNERS.values())


@pytest.mark.parametrize("value", [None, "", "north", "nan", "200.0"])
def test_a_footprint_that_lacks_a_number_is_none(copied, value):
    folder = copied("CEOS 2.1")
    change_summary(folder, Img_ImageSceneLeftTopLatitude=value)
    by_lines = open_product(folder).footprint
    assert by_lines[0] == pytest.approx((139.3515, 35.2323), abs=1e-3) and len(by_lines) == 4


@pytest.mark.parametrize(("level", "first_byte"), [("1.1", 193), ("2.1", 133)])
def test_without_summary_the_footprint_is_that_of_the_lines(tmp_path, level, first_byte):
    if level == "1.1":
        folder = write_ceos(tmp_path, {"HH": complex_numbers()}, "UBSR1.1__D", center=(-8.5, -62.1))
    else:
        folder = write_ceos(tmp_path, {"HH": amplitudes()}, transform=UTM20S, utm_zone=20, south=True)
    (folder / "summary.txt").unlink()
    data = image_of(folder).read_bytes()
    length = struct.unpack_from(">I", data, 720 + 8)[0]
    places = []
    # JAXA: latitudes of first, middle, last pixel, then longitudes, in millionths of a degree
    for line, pixel in ((0, 0), (0, 2), (47, 2), (47, 0)):
        six = struct.unpack_from(">6i", data, 720 + line * length + first_byte - 1)
        places.append((six[3 + pixel] / 1e6, six[pixel] / 1e6))
    footprint = open_product(folder).footprint
    np.testing.assert_allclose(footprint, places)
    assert all(-65 < x < -61 and -10 < y < -8 for x, y in footprint)


def test_a_footprint_that_nobody_states_is_that_of_the_raster(packaged):
    product = open_product(packaged("GeoTIFF 2.1"))
    xs, ys = rasterio.warp.transform("EPSG:4326", "EPSG:32654", *zip(*product.footprint, strict=True))
    expected = [(350_000, 3_900_000), (350_100, 3_900_000), (350_100, 3_899_880), (350_000, 3_899_880)]
    np.testing.assert_allclose(np.transpose([xs, ys]), expected, atol=0.01)


def test_the_summary_of_another_scene_is_left_alone(copied, packaged):
    folder = copied("GeoTIFF 2.1")
    shutil.copyfile(packaged("CEOS 2.1") / "summary.txt", folder / "summary.txt")
    change_summary(folder, Scs_SceneID="ALOS2000017190-240229")
    product = open_product(folder)
    assert (product.acquired, product.started, product.files) == ("2018-10-18", None, (folder / TIFF_NAME,))


def test_a_simulated_product_says_so_without_its_summary(small_scene, tmp_path):
    folder = Path(shutil.copytree(small_scene, tmp_path / "product", ignore=shutil.ignore_patterns("labels")))
    (folder / "summary.txt").unlink()
    assert open_product(folder).simulated
    write_field(image_of(folder), "image_descriptor", "software", "SIGMA SAR")
    assert not open_product(folder).simulated


def test_metadata_of_a_simulated_product(small_scene):
    product = open_product(small_scene)
    assert (product.crs.to_epsg(), product.spacing_m, product.quantity) == (32654, (2.5, 2.5), "sigma0")
    assert (product.level, product.mode, product.look_side, product.incidence_deg) == ("2.1", "UBS", "right", 36.3)
    assert product.simulated and product.gaps == ()
    left, bottom, right, top = product.bounds
    assert (right - left, top - bottom) == (1600, 1280)


def test_real_product_is_read_with_the_lines_it_should_have(level15, tmp_path):
    """The real headers around a sparse file of the stated size: what the reader makes of JAXA's own records."""
    folder = shutil.copytree(level15, tmp_path / "product", copy_function=shutil.copyfile)
    for image in folder.glob("IMG-*"):
        with open(image, "r+b") as handle:
            handle.truncate(720 + 13161 * 25932)
    product = open_product(folder)
    assert (product.shape, product.polarizations, product.crs.to_epsg()) == ((13161, 12870), ("HH", "HV"), 32720)
    # corners are the centres of the corner pixels
    assert product.transform * (0.5, 0.5) == pytest.approx((510_879.0839, 8_819_462.993))
    assert product.transform * (12869.5, 13160.5) == pytest.approx((591_310.3339, 8_737_212.993))
    assert (product.calibration_factor_db, product.calibration_source) == (-83.0, "leader file")
    assert (product.incidence_deg, product.looks, product.resolution_m) == (40.573, (2.0, 1.0), (9.4979547, 8.2004161))
    assert (product.orbit, product.frame, product.orbit_direction, product.beam) == (1597, 6960, "ascending", "F7")
    # the leader's digits; summary.txt has 36.6
    assert product.off_nadir_deg == 36.6481913
    assert (product.acquired, product.started) == ("2014-09-09T04:33:47.052Z", "2014-09-09T04:33:42.052Z")
    assert product.processed == "2015-03-20T08:09:52Z" and not product.simulated and product.gaps == ()
    assert product.footprint[0] == pytest.approx((-62.756, -10.679), abs=0.2) and product.footprint[2][1] < -11
    assert np.isnan(product.read_db((13000, 12000, 20, 30), polarization="HV")).all()


def test_real_image_without_its_lines_is_truncated(level15):
    with pytest.raises(Alos2TutError, match="truncated") as refused:
        open_product(level15)
    missing = 720 + 13161 * 25932 - image_of(level15).stat().st_size
    assert f"{missing} of {720 + 13161 * 25932} bytes" in str(refused.value)
    assert "IMG-HH-ALOS2015976960" in str(refused.value) and "again" in str(refused.value)


# --- calibration


W2 = {"images": {"HH": amplitudes((4, 5)), "HV": amplitudes((4, 5))}, "beam": 2, "processed": datetime(2015, 3, 4)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"processed": datetime(2016, 9, 28, 6, 59, 59)}, -79, id="the last second"),
        pytest.param({"processed": datetime(2016, 9, 28, 7)}, -83, id="ordered since then"),
        pytest.param({"beam": 3}, -83, id="another beam"),
        pytest.param({"product_id": "WWDR1.5GUD"}, -79, id="the other ScanSAR mode of the beam"),
        pytest.param({"product_id": "UBDR1.5GUD"}, -83, id="another mode"),
        pytest.param({"calibration_factor_db": -79.0}, -79, id="a leader that says so itself"),
        pytest.param({"calibration_factor_db": -81.5}, -81.5, id="a leader that says something else"),
        pytest.param({"product_id": "WBDR1.1__D", "images": {"HH": complex_numbers((4, 5))}}, -111, id="Level 1.1"),
    ],
)
def test_old_scansar_of_beam_w2_has_its_own_factor(tmp_path, changes, expected):
    described = {"product_id": "WBDR1.5GUD", **W2, **changes}
    product = open_product(write_ceos(tmp_path, **described))
    assert product.calibration_factor_db == expected
    is_exception = expected in (-79, -111) and "calibration_factor_db" not in changes
    assert ("W2" in product.calibration_source) == is_exception == any("W2" in note for note in product.notes)


def test_the_factor_of_the_leader_is_used(copied, packaged):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", "-79.0000000")
    product = open_product(folder)
    assert (product.calibration_factor_db, product.calibration_source) == (-79.0, "leader file")
    np.testing.assert_allclose(product.read_db(), open_product(packaged("CEOS 2.1")).read_db() + 4, atol=1e-4)


@pytest.mark.parametrize(("packaging", "expected"), [("CEOS 2.1", -83.0), ("CEOS 1.1", -115.0)])
def test_a_missing_factor_is_assumed_and_said(copied, packaging, expected):
    folder = copied(packaging)
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", "")
    product = open_product(folder)
    assert product.calibration_factor_db == expected
    assert product.calibration_source.startswith("assumed") and "leader: radiometric record" in product.gaps


@pytest.mark.parametrize("factor", ["1e300", "830.0", "-8300.0"])
def test_a_calibration_factor_that_cannot_be_is_refused(copied, factor):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", factor)
    with pytest.raises(Alos2TutError, match=r"LED-.*calibration factor"):
        open_product(folder)


# --- records that are absent


@pytest.mark.parametrize(
    ("record", "gaps"),
    [
        pytest.param("dataset_summary", ("leader: scene incidence", "leader: looks"), id="dataset summary"),
        pytest.param("radiometric", ("leader: radiometric record",), id="radiometric"),
        pytest.param("platform", (), id="platform"),
        pytest.param("attitude", (), id="attitude"),
        pytest.param("quality", (), id="quality"),
        pytest.param("facility_5", (), id="facilities"),
    ],
)
@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 2.1"])
def test_a_record_that_is_absent_is_a_gap(copied, packaged, packaging, record, gaps):
    folder = copied(packaging)
    without_records(leader_of(folder), record)
    product, whole = open_product(folder), open_product(packaged(packaging))
    assert product.gaps == gaps and (product.grid, product.footprint) == (whole.grid, whole.footprint)
    np.testing.assert_array_equal(product.read_db(), whole.read_db())


def test_without_a_dataset_summary_nothing_is_guessed(copied):
    folder = copied("CEOS 1.1")
    without_records(leader_of(folder), "dataset_summary")
    product = open_product(folder)
    assert product.incidence_deg is product.incidence_source is product.looks is product.beam is None
    assert product.resolution_m is product.stated_spacing_m is None
    with pytest.raises(Alos2TutError, match="no incidence angle"):
        product.read_incidence()


@pytest.mark.parametrize("packaging", ["CEOS 1.5 G", "CEOS 1.5 R", "CEOS 2.1", "CEOS 2.1 south west"])
def test_without_a_map_projection_lines_and_summary_place_the_product(copied, packaged, packaging):
    folder = copied(packaging)
    without_records(leader_of(folder), "map_projection")
    product, whole = open_product(folder), open_product(packaged(packaging))
    assert product.crs == whole.crs
    assert any("map projection record" in gap and "lines" in gap for gap in product.gaps)
    for corner in ((0, 0), (40, 0), (40, 48), (0, 48)):
        # lines are in millionths of a degree, 0.1 m
        assert math.dist(product.transform * corner, whole.transform * corner) < 0.5


def test_a_product_whose_place_nobody_states_asks_for_its_crs(copied, packaged):
    folder = copied("CEOS 2.1")
    without_records(leader_of(folder), "map_projection")
    (folder / "summary.txt").unlink()
    with pytest.raises(Alos2TutError, match=r"LED-.*no map projection record.*crs='EPSG"):
        open_product(folder)
    given = open_product(folder, crs="EPSG:32654")
    assert math.dist(given.transform * (0, 0), (350_000, 3_900_000)) < 0.5


def test_a_product_that_nothing_places_is_refused(copied):
    folder = copied("CEOS 2.1")
    without_records(leader_of(folder), "map_projection")
    zero_in_lines(image_of(folder), first_byte=133, count=24)
    with pytest.raises(Alos2TutError, match=r"LED-.*neither .* nor the lines.*say where"):
        open_product(folder, crs="EPSG:32654")


def zero_in_lines(image: Path, first_byte: int, count: int) -> None:
    """Write zeros to these bytes of every line's prefix."""
    data = bytearray(image.read_bytes())
    length = struct.unpack_from(">I", data, 720 + 8)[0]
    for line in range(720, len(data), length):
        at = line + first_byte - 1
        data[at : at + count] = bytes(count)
    image.write_bytes(data)


def test_lines_that_state_no_place_leave_the_leader_alone(copied):
    folder = copied("CEOS 2.1")
    zero_in_lines(image_of(folder), first_byte=133, count=24)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        transform = open_product(folder).transform
    assert tuple(transform) == pytest.approx(tuple(UTM54), abs=1e-3)


def test_a_leader_and_lines_that_disagree_are_warned_of(copied):
    folder = copied("CEOS 2.1")
    projection = read_leader(leader_of(folder))["map_projection"]
    for corner in ("top_left", "top_right", "bottom_right", "bottom_left"):
        moved = projection[f"{corner}_easting_km"] + 3
        write_field(leader_of(folder), "map_projection", f"{corner}_easting_km", f"{moved:.7f}")
    with pytest.warns(Alos2TutWarning, match="3000 m apart.*the leader is believed"):
        product = open_product(folder)
    assert product.transform * (0, 0) == pytest.approx((353_000, 3_900_000))


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param((0, 0, 0), id="none"),
        pytest.param((1000, 1000, 1000), id="far below any orbit"),
        pytest.param((2**32 - 1,) * 3, id="beyond the Moon"),
        pytest.param((760_000, 760_000, 7_600_000), id="one beyond the horizon"),
        pytest.param((600_000, 760_000, 760_100), id="one nearer than the ground below"),
    ],
)
def test_slant_ranges_that_cannot_be_leave_the_scene_centre(copied, ranges):
    folder = copied("CEOS 2.1")
    data = bytearray(image_of(folder).read_bytes())
    for line in range(720, len(data), 192 + 2 * 40):
        struct.pack_into(">3I", data, line + 64, *ranges)
    image_of(folder).write_bytes(data)
    assert open_product(folder).incidence_source == "scene centre"


def test_a_missing_leader_is_named(copied):
    folder = copied("CEOS 2.1")
    name = leader_of(folder).name
    leader_of(folder).unlink()
    with pytest.raises(Alos2TutError, match=rf"{name}.*missing.*again"):
        open_product(folder)


# --- GeoTIFF


@pytest.mark.parametrize(
    ("product_id", "options"),
    [
        pytest.param("UBSR1.5GUD", {}, id="Level 1.5"),
        pytest.param("UBSR1.5RUD", {"transform": UTM54 * rasterio.Affine.rotation(10)}, id="rotated"),
        pytest.param("UBSR2.1GUD", TILES, id="BigTIFF, tiled, compressed"),
        pytest.param("UBSR2.1GUD", {"endianness": "big"}, id="big-endian"),
    ],
)
def test_geotiffs_of_all_kinds(tmp_path, product_id, options):
    path = tmp_path / f"IMG-HH-{SCENE_ID}-{product_id}.tif"
    transform = options.get("transform", UTM54)
    product = open_product(write_geotiff(path, amplitudes(), **{"transform": transform} | options))
    assert product.level == product_id[4:7] and product.crs.to_epsg() == 32654
    assert tuple(product.transform) == pytest.approx(tuple(transform))
    np.testing.assert_array_equal(product.read_dn(), np.where(amplitudes(), amplitudes(), np.nan))


def write_orientation(path: Path, orientation: int) -> None:
    """Give a small TIFF the tag that says in which corner its first pixel is stored."""
    data = path.read_bytes()
    data += bytes(len(data) % 2)
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    tags = [data[first + 2 + 12 * i : first + 14 + 12 * i] for i in range(count)]
    tags.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    tags.sort(key=lambda tag: struct.unpack_from("<H", tag))
    directory = struct.pack("<H", count + 1) + b"".join(tags) + bytes(4)
    path.write_bytes(data[:4] + struct.pack("<I", len(data)) + data[8:] + directory)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        pytest.param(1, np.s_[:, :], id="from the top left"),
        pytest.param(3, np.s_[::-1, ::-1], id="from the bottom right"),
        pytest.param(4, np.s_[::-1, :], id="from the bottom left"),
    ],
)
def test_stored_order_changes_no_pixels_place(tmp_path, orientation, upright):
    path = write_geotiff(tmp_path / TIFF_NAME, amplitudes() + 1, UTM54)
    write_orientation(path, orientation)
    product = open_product(path)
    dn = (amplitudes() + 1)[upright]
    np.testing.assert_array_equal(product.read_dn(), dn)
    np.testing.assert_array_equal(product.read_dn((3, 5, 20, 30)), dn[3:23, 5:35])
    # GeoTIFF places pixels as they are stored
    stored = np.array([UTM54 * (c + 0.5, r + 0.5) for r in range(48) for c in range(40)]).reshape(48, 40, 2)
    np.testing.assert_allclose(product.transform * (0.5, 0.5), stored[upright][0, 0])
    np.testing.assert_allclose(product.transform * (39.5, 47.5), stored[upright][-1, -1])


@pytest.mark.parametrize("orientation", [2, 5, 8, 0, 99])
def test_other_orientations_are_refused(tmp_path, orientation):
    path = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54)
    write_orientation(path, orientation)
    with pytest.raises(Alos2TutError, match=rf"{TIFF_NAME}.*Orientation.*{orientation}"):
        open_product(path)


@pytest.mark.parametrize(
    "crs",
    [
        pytest.param(None, id="none"),
        pytest.param('LOCAL_CS["maker\'s own",UNIT["metre",1]]', id="only its maker knows"),
    ],
)
def test_a_geotiff_without_a_system_asks_for_it(tmp_path, crs):
    path = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54, crs)
    with pytest.raises(Alos2TutError, match=rf"{TIFF_NAME}.*crs='EPSG:32654'"):
        open_product(path)
    given = open_product(path, crs="EPSG:32653")
    assert (given.crs.to_epsg(), given.transform) == (32653, UTM54)


@pytest.mark.parametrize("packaging", ["GeoTIFF 2.1", "CEOS 2.1", "2.2", "mosaic"])
def test_a_given_system_replaces_a_wrong_one(packaged, packaging):
    product = opened(packaged(packaging), crs="EPSG:32653")
    assert product.crs.to_epsg() == 32653
    assert tuple(product.transform) == pytest.approx(tuple(open_product(packaged(packaging)).transform), abs=1e-3)


@pytest.mark.parametrize("packaging", ["GeoTIFF 2.1", "CEOS 2.1"])
@pytest.mark.parametrize("crs", ["EPSG:1", "Tokyo", 10**9, "", "EPSG:5773", 'LOCAL_CS["mine",UNIT["metre",1]]'])
def test_a_system_that_is_none_of_a_map_is_refused(packaged, packaging, crs):
    with pytest.raises(Alos2TutError, match="no coordinate system"):
        open_product(packaged(packaging), crs=crs)


@pytest.mark.parametrize("packaging", ["GeoTIFF 2.1", "CEOS 2.1"])
@pytest.mark.parametrize(
    "crs",
    [
        pytest.param("+proj=longlat +R=1737400 +no_defs", id="of the Moon"),
        pytest.param("EPSG:4326", id="metres taken for degrees"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*leader and the lines place corners", "ignore:.*is placed by")
def test_a_system_that_leads_nowhere_is_refused(copied, packaging, crs):
    with pytest.raises(Alos2TutError, match=r"nowhere on Earth.*crs='EPSG:32654'"):
        open_product(copied(packaging), crs=crs)


def test_a_geotiff_without_georeference_is_refused(tmp_path):
    path = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), None)
    with pytest.raises(Alos2TutError, match=rf"{TIFF_NAME}.*no georeference"):
        open_product(path)


@pytest.mark.parametrize(
    ("packaging", "name", "dtype"),
    [
        pytest.param("GeoTIFF 2.1", TIFF_NAME, "float32", id="amplitudes as floats"),
        pytest.param("GeoTIFF 2.1", TIFF_NAME, "complex64", id="complex numbers at Level 2.1"),
        pytest.param("GeoTIFF 1.1", TIFF_NAME.replace("2.1GUD", "1.1__D"), "uint16", id="amplitudes at Level 1.1"),
        pytest.param("2.2", f"{LEVEL22}_LIN.tif", "uint8", id="angles in a byte"),
        pytest.param("mosaic", "N23W161_20_mask_F02DAR.tif", "uint16", id="a mask of words"),
    ],
)
def test_rasters_of_another_type_are_refused(copied, packaging, name, dtype):
    path = copied(packaging) / name
    path.unlink()
    write_geotiff(path, np.ones((48, 40)), UTM54, dtype=dtype)
    with pytest.raises(Alos2TutError, match=rf"{path.name}.*{dtype}"):
        opened(path.parent)


@pytest.mark.parametrize(("packaging", "factor"), [("GeoTIFF 1.1", -115.0), ("GeoTIFF 2.1", -83.0)])
def test_the_factor_of_a_geotiff_is_assumed_and_said(packaged, packaging, factor):
    product = opened(packaged(packaging))
    assert product.calibration_factor_db == factor and product.calibration_source.startswith("assumed")
    assert {"calibration factor", "scene incidence", "summary.txt"} <= set(
        product.gaps
    ) and not product.incidence_source


@pytest.mark.parametrize("kept", [0, 100, 2000], ids=["empty", "header only", "half"])
def test_a_cut_geotiff_is_refused(copied, kept):
    path = copied("GeoTIFF 2.1") / TIFF_NAME
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match=TIFF_NAME):
        open_product(path).read_dn()


# --- Level 2.2


@pytest.fixture(scope="session")
def level22() -> Path:
    from support.products import real_data

    return real_data("palsar2_l22_scansar")


def test_real_level_22_is_what_its_files_say(level22):
    product = open_product(level22)
    assert (product.level, product.quantity, product.polarizations) == ("2.2", "gamma0", ("HH",))
    # its XML swaps the numbers of lines and pixels, and its corner is a pixel's centre
    assert product.shape == (15916, 16234)
    assert product.transform == rasterio.Affine(25, 0, 374_612.5, 0, -25, 3_087_012.5)
    assert product.crs.to_epsg() == 32651 and product.no_data_dn == (0,)
    assert (product.calibration_factor_db, product.calibration_source) == (-83.0, "summary XML")
    assert (product.started, product.ended) == ("2022-06-30T15:58:00.078Z", "2022-06-30T15:58:56.442Z")
    assert product.acquired == "2022-06-30T15:58:28.260Z" and product.processed == "2022-08-12T17:21:22.312338Z"
    assert (product.looks, product.resolution_m, product.beam) == ((1.0, 1.0), (25.3, 13.3), "W3")
    assert product.noise_floor_db == {"HH": -30.0, "HV": -32.5}
    assert product.footprint == ((121.732262, 27.339137), (122.31674, 24.313445), (125.775968, 24.879538),
                                 (125.285874, 27.889129))  # fmt: skip
    assert (product.orbit, product.frame, product.mode, product.orbit_direction) == (43759, 500, "WWD", "ascending")
    assert product.gaps == ("image HV",) and len(product.files) == 4


def test_layers_of_level_22(packaged):
    product, dn = open_product(packaged("2.2")), amplitudes()
    angles = product.read_layer("local_incidence")
    np.testing.assert_allclose(angles, np.where(dn, 0.01 * (3000 + dn // 50), np.nan), rtol=1e-6)
    np.testing.assert_array_equal(product.read_incidence(), angles)
    assert product.layers["mask"].meaning[1] == "valid"
    np.testing.assert_array_equal(product.read_layer("mask"), dn > 0)


def test_level_22_without_its_xml_knows_less_and_says_so(tmp_path):
    product = open_product(write_card4l(tmp_path, xml=None))
    assert product.gaps == ("summary XML", "calibration equation")
    assert product.calibration_source.startswith("assumed")
    assert (product.acquired, product.started, product.looks, product.noise_floor_db) == ("2018-10-18", None, None, {})
    assert product.shape == (48, 40) and np.isfinite(product.read_db()).any()


@pytest.mark.parametrize(("layer", "gap"), [("LIN", "local incidence"), ("MSK", "mask")])
def test_a_layer_of_level_22_that_is_absent_is_a_gap(copied, layer, gap):
    folder = copied("2.2")
    (folder / f"{LEVEL22}_{layer}.tif").unlink()
    assert open_product(folder).gaps == (gap,)


def test_level_22_needs_an_image(copied):
    folder = copied("2.2")
    for image in folder.glob("*_SLP.tif"):
        image.unlink()
    with pytest.raises(Alos2TutError, match=rf"no backscatter file.*{LEVEL22}_HH_SLP"):
        open_product(folder)


def test_the_xml_of_level_22_is_read(packaged):
    product = open_product(packaged("2.2"))
    assert (product.calibration_factor_db, product.calibration_source) == (-82.5, "summary XML")
    assert (product.beam, product.looks, product.noise_floor_db) == ("W3", (2.0, 1.0), {"HH": -30.0})
    assert product.footprint == ((139.1, 35.9), (139.2, 34.3), (139.8, 34.9), (139.7, 36.1))
    assert product.acquired == "2018-10-18T03:04:28.260Z" and product.gaps == ()


ENTITIES = '<!DOCTYPE p [<!ENTITY a "boo"><!ENTITY b "&a;&a;&a;&a;">]><Product>&b;</Product>'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        pytest.param(b"<Product><Start>", "is no XML", id="cut"),
        pytest.param(b"", "is no XML", id="empty"),
        pytest.param(b"\xff\xfe\x00 rubbish", "is no XML", id="no text"),
        pytest.param(ENTITIES.encode(), "entities", id="entities"),
        pytest.param(b"<!DOCTYPE p SYSTEM 'file:///etc/passwd'><Product/>", "entities", id="a document type"),
        pytest.param(
            f'<?xml version="1.0" encoding="utf-16"?>{ENTITIES}'.encode("utf-16"),
            "entities|is no XML",
            id="entities in UTF-16",
        ),
        pytest.param(b"<Product>" + b" " * 2**22 + b"</Product>", "bytes", id="too large"),
    ],
)
def test_an_xml_that_is_none_of_jaxas_is_refused(copied, xml, message):
    folder = copied("2.2")
    path = folder / f"{LEVEL22}_summary.xml"
    path.write_bytes(xml)
    with pytest.raises(Alos2TutError, match=rf"{path.name}.*({message})"):
        open_product(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("DN^2)-82.5", f"DN^2)-{'9' * 400}", id="calibration beyond numbers"),
        pytest.param("DN^2)-82.5", "DN^2)-8250", id="calibration that cannot be"),
        pytest.param("(139.1 35.9, 139.2", f"(139.1 {'9' * 400}, 139.2", id="a corner beyond numbers"),
        pytest.param("(139.1 35.9, 139.2", "(139.1 359.0, 139.2", id="a corner off the Earth"),
        pytest.param("<Estimates>-30", "<Estimates>-1e999", id="infinite noise"),
        pytest.param("NumberOfLooks>2<", "NumberOfLooks>nan<", id="looks that are no number"),
    ],
)
def test_numbers_of_the_xml_that_cannot_be_are_refused_or_left_out(tmp_path, before, after):
    assert before in CARD4L_XML
    folder = write_card4l(tmp_path, xml=CARD4L_XML.replace(before, after))
    try:
        product = open_product(folder)
    except Alos2TutError:
        return
    json.dumps(product.to_dict(), allow_nan=False)
    assert abs(product.calibration_factor_db) < 200 and all(abs(y) <= 90 for _, y in product.footprint)


# --- mosaic and forest map


def test_real_mosaic_is_what_jaxa_says(mosaic):
    product = open_product(mosaic)
    assert (product.shape, product.quantity, product.polarizations) == ((520, 660), "gamma0", ("HH", "HV"))
    assert product.no_data_dn == (0, 1) and product.crs.to_epsg() == 4326
    assert product.calibration_factor_db == -83.0 and product.acquired == "2020-09-09"
    # 0.8 seconds of arc at 22° north, by the ellipsoid's radii there
    assert product.spacing_m == pytest.approx((24.607, 22.938), abs=0.002)
    # tiles are named by their upper left corner
    left, bottom, right, top = product.bounds
    assert -161 <= left < right <= -160 and 22 <= bottom < top <= 23


def test_a_file_of_the_real_mosaic_opens_all_of_it(mosaic):
    assert open_product(mosaic / "crop_N23W161_20_mask_F02DAR.tif").polarizations == ("HH", "HV")


@pytest.mark.parametrize(
    ("year", "missing"),
    [
        pytest.param(15, (0,), id="2015"),
        pytest.param(16, (0,), id="2016"),
        pytest.param(17, (0, 1), id="2017"),
        pytest.param(20, (0, 1), id="2020"),
    ],
)
def test_the_mosaics_number_for_no_data_depends_on_its_year(tmp_path, year, missing):
    product = open_product(write_mosaic(tmp_path, year))
    assert product.no_data_dn == missing and product.acquired == f"20{year}"
    assert np.flatnonzero(np.isnan(product.read_dn())).tolist() == list(missing)
    assert np.flatnonzero(np.isnan(product.read_layer("local_incidence"))).tolist() == list(missing)
    dates = product.read_layer("date")
    assert np.flatnonzero(np.isnat(dates)).tolist() == list(missing)
    assert dates[0, 2] == np.datetime64("2020-09-09") and (1 in missing or dates[0, 1] == np.datetime64("2014-05-25"))


def test_no_data_that_the_files_tag_says_counts_too(tmp_path):
    write_geotiff(
        tmp_path / "N23W161_20_sl_HH_F02DAR.tif", np.arange(600).reshape(30, 20), DEGREES, "EPSG:4326", nodata=7
    )
    assert open_product(tmp_path).no_data_dn == (0, 1, 7)


def test_an_old_mosaic_as_raw_files_equals_that_of_tiffs(packaged, tmp_path):
    raw, tiffs = open_product(packaged("mosaic ENVI")), open_product(write_mosaic(tmp_path, 15))
    assert (raw.kind, raw.transform) == ("25 m mosaic", tiffs.transform)
    for name, pixels in contents(tiffs).items():
        np.testing.assert_array_equal(contents(raw)[name], pixels)


def test_a_raw_file_without_its_header_is_named(copied):
    folder = copied("mosaic ENVI")
    (folder / "N23W161_15_sl_HH_F02DAR.hdr").unlink()
    with pytest.raises(Alos2TutError, match=r"N23W161_15_sl_HH_F02DAR.*\.hdr"):
        open_product(folder)


@pytest.mark.parametrize(
    ("year", "classes"),
    [
        (15, {0: "no data", 1: "forest", 2: "non-forest", 3: "water"}),
        (17, {0: "no data", 1: "dense forest", 2: "non-dense forest", 3: "non-forest", 4: "water"}),
    ],
)
def test_a_forest_map_has_the_classes_of_its_year(tmp_path, year, classes):
    product = open_product(write_forest(tmp_path, year))
    assert (product.kind, product.polarizations) == ("forest map", ())
    assert product.layers["forest"].meaning == classes and product.acquired == f"20{year}"
    np.testing.assert_array_equal(product.read_layer("forest").ravel(), np.arange(600) % 5)


@pytest.mark.parametrize("read", ["read_db", "read_dn", "read_slc", "blocks", "to_cog"])
def test_a_forest_map_has_no_backscatter(packaged, tmp_path, read):
    product = open_product(packaged("forest map"))
    with pytest.raises(Alos2TutError, match=r"no backscatter.*forest"):
        if read == "to_cog":
            product.to_cog(tmp_path / "x.tif")
        elif read == "blocks":
            next(product.blocks())
        else:
            getattr(product, read)()


# --- bad input


@pytest.mark.parametrize("name", ["", "notes.txt", "IMG-HH-wrong.tif"], ids=["empty", "text", "another name"])
def test_a_folder_without_a_product_is_refused(tmp_path, name):
    if name:
        (tmp_path / name).write_text("hello")
    with pytest.raises(Alos2TutError, match=r"no ALOS-2 product.*Expected IMG-HH"):
        open_product(tmp_path)


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(Alos2TutError, match="no such file or folder"):
        open_product(tmp_path / "nothing")


def test_a_product_without_an_image_is_refused(copied):
    folder = copied("CEOS 2.1")
    image_of(folder).unlink()
    with pytest.raises(Alos2TutError, match="no image"):
        open_product(folder)


@pytest.mark.parametrize("packaging", ["CEOS 1.1", "CEOS 2.1"])
@pytest.mark.parametrize("cut", [1, 5000], ids=["one byte", "many lines"])
def test_a_short_image_states_the_missing_bytes(copied, packaging, cut):
    image = image_of(copied(packaging))
    data = image.read_bytes()
    image.write_bytes(data[:-cut])
    with pytest.raises(Alos2TutError, match=f"{cut} of {len(data)} bytes are missing"):
        open_product(image)


@pytest.mark.parametrize("kept", [0, 8, 700, 3000, 10_000], ids=["empty", "8", "700", "3000", "10000"])
def test_a_short_leader_is_refused(copied, kept):
    leader = leader_of(copied("CEOS 2.1"))
    leader.write_bytes(leader.read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match="LED-"):
        open_product(leader)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        pytest.param("projection", "MERCATOR", "not UTM", id="another projection"),
        pytest.param("utm_zone", "99", "zone", id="a zone beyond 60"),
        pytest.param("utm_zone", "0", "zone", id="zone zero"),
        pytest.param("top_left_easting_km", "", "corners", id="no corner"),
        pytest.param("top_left_easting_km", "0.0", "spacing", id="a corner elsewhere"),
        pytest.param("top_left_easting_km", "1e307", "spacing", id="a corner beyond numbers"),
        pytest.param("line_spacing_m", "-2.5", "spacing", id="negative spacing"),
    ],
)
def test_a_map_projection_that_cannot_be_is_refused(copied, field, text, message):
    leader = leader_of(copied("CEOS 2.1"))
    write_field(leader, "map_projection", field, text)
    with pytest.raises(Alos2TutError, match=rf"LED-.*{message}"):
        open_product(leader)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        pytest.param("lines", "99999999", "truncated", id="too many lines"),
        pytest.param("lines", "-5", "lines", id="negative lines"),
        pytest.param("pixels", "99999999", "pixels", id="too many pixels"),
        pytest.param("pixels", "", "pixels", id="no pixels"),
        pytest.param("record_bytes", "0", "record_bytes", id="no bytes"),
        pytest.param("record_bytes", "200", "cannot hold", id="lines too short"),
        pytest.param("prefix_bytes", "12", "prefix", id="a prefix too short"),
        pytest.param("sample_code", "XYZ ", "sample_code is XYZ", id="unknown samples"),
    ],
)
def test_an_image_descriptor_that_cannot_be_is_refused(copied, field, text, message):
    image = image_of(copied("CEOS 2.1"))
    write_field(image, "image_descriptor", field, text)
    with pytest.raises(Alos2TutError, match=rf"IMG-HH.*{message}"):
        open_product(image)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        pytest.param("UBSR1.1__D", "UBSR2.1GUD", id="complex numbers called 2.1"),
        pytest.param("UBSR2.1GUD", "UBSR1.1__D", id="amplitudes called 1.1"),
    ],
)
def test_samples_of_another_level_are_refused(tmp_path, written, named):
    pixels = complex_numbers() if "1.1" in written else amplitudes()
    folder = write_ceos(tmp_path, {"HH": pixels}, written)
    for path in folder.iterdir():
        path.rename(path.with_name(path.name.replace(written, named)))
    with pytest.raises(Alos2TutError, match=r"IMG-HH.*samples of type .*file's name"):
        open_product(folder)


def test_images_of_two_sizes_are_refused(copied):
    folder = copied("CEOS 1.5 G")
    write_field(image_of(folder, "HV"), "image_descriptor", "lines", "40")
    with pytest.raises(Alos2TutError, match=r"IMG-HV.*40 × 40"):
        open_product(folder)


def test_a_layer_of_another_size_is_refused(copied):
    folder = copied("2.2")
    write_geotiff(folder / f"{LEVEL22}_MSK.tif", np.ones((40, 40)), UTM54, dtype="uint8")
    with pytest.raises(Alos2TutError, match=r"MSK.*40 × 40"):
        open_product(folder)


# --- damage of any kind: a product that can be read, or our own error

#: what is damaged, and as what it is delivered; archives are damaged as a whole
FAMILIES = {
    "CEOS 1.1": ["CEOS 1.1", "CEOS 1.1 ScanSAR"],
    "CEOS 1.5": ["CEOS 1.5 G", "CEOS 1.5 R"],
    "CEOS 2.1": ["CEOS 2.1", "CEOS 2.1 south west"],
    "GeoTIFF": ["GeoTIFF 1.1", "GeoTIFF 2.1", "GeoTIFF 2.1 big"],
    "Level 2.2": ["2.2"],
    "mosaic": ["mosaic", "mosaic ENVI", "forest map"],
    "zip": ["CEOS 2.1", "GeoTIFF 2.1", "mosaic ENVI"],
    "tar": ["CEOS 2.1", "GeoTIFF 2.1", "mosaic ENVI"],
}
_ODD_TEXTS = [
    "",
    "0",
    "-1",
    "1",
    "61",
    "nan",
    "inf",
    "1e308",
    "-1e308",
    "1e-300",
    "1_0",
    "9" * 16,
    "*" * 9,
    "\0",
    "\xff",
]
_ODD_NUMBERS = [0, 1, 2, 3, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """One place of a file is changed, or its length."""
    data = bytearray(content)
    # what matters lies near the beginning or the end
    near = draw.choice([100, 1000, len(data) + 1])
    place = min(draw.randrange(near) if draw.random() < 0.8 else len(data) - draw.randrange(near), len(data) - 1)
    place, length = max(place, 0), draw.choice([1, 4, 100, 3000])
    kind = draw.choice(
        ["flip", "digit", "number", "number", "field", "field", "field", "cut", "grow", "zero", "repeat"]
    )
    if kind == "field":
        return _with_odd_field(data, draw) or _with_odd_text(data, draw)
    if kind == "cut":
        return bytes(draw.choice([data[:place], data[:place] + data[place + length :], data[: len(data) - length]]))
    if kind == "grow":
        return bytes(data[:place] + bytes(length) + data[place:])
    if kind == "repeat":
        return bytes(data[: place + length] + data[place:])
    if kind == "zero":
        data[place : place + length] = bytes(len(data[place : place + length]))
    elif kind == "number" and len(data) > 16:
        form = draw.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
        size = struct.calcsize(form)
        at = min(place, len(data) - size) & ~1
        struct.pack_into(form, data, at, draw.choice(_ODD_NUMBERS) % 256**size)
    elif data:
        data[place] = draw.randrange(256) if kind == "flip" else ord(draw.choice("0123456789 -.eE+<>&"))
    return bytes(data)


def _with_odd_field(data: bytearray, draw: random.Random) -> bytes | None:
    """With an odd text in a field of a CEOS record, if there is one."""
    known = (record for record in ceos_layout.RECORDS.values() if record.layout)
    there = [record for record in known if data.find(bytes(record.codes)) > 3]
    if not there or bytes(data[:4]) == b"<?xm":
        return None
    record = draw.choice(there)
    start, form = draw.choice(list(record.layout.values()))
    width = ceos_layout.parse_form(form).width
    at = data.find(bytes(record.codes)) - 4 + start - 1
    text = draw.choice([*_ODD_TEXTS, "9" * width])[:width].rjust(width).encode("latin-1")
    return bytes(data[:at] + text + data[at + width :])


def _with_odd_text(data: bytearray, draw: random.Random) -> bytes:
    """With another number somewhere in a text."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data)))
    if not numbers:
        return bytes(data)
    found = draw.choice(numbers)
    return bytes(data[: found.start()] + draw.choice(_ODD_TEXTS).encode("latin-1") + data[found.end() :])


def with_damaged_files(files: dict[str, bytes], draw: random.Random) -> dict[str, bytes]:
    """One to four of a product's files are damaged; now and then one is missing, renamed or another's."""
    files = dict(files)
    for _ in range(draw.randint(1, 4)):
        name, other = draw.choice(list(files)), draw.choice(list(files))
        kind = draw.random()
        if kind > 0.06:
            files[name] = damaged(files[name], draw)
        elif kind > 0.04:
            files[name] = files[other]
        elif kind > 0.02:
            at = draw.randrange(len(name))
            files[name[:at] + draw.choice("HV0189.-_AD") + name[at + 1 :]] = files.pop(name)
        elif len(files) > 1:
            del files[name]
    return files


def write_damaged(family: str, intact: list[dict[str, bytes]], folder: Path, draw: random.Random) -> Path:
    """A damaged product of a family in a new folder; what to open."""
    files, inside = draw.choice(intact), folder / "product"
    if family not in ("zip", "tar"):
        files = with_damaged_files(files, draw)
    inside.mkdir(parents=True)
    for name, content in files.items():
        (inside / name).write_bytes(content)
    if family not in ("zip", "tar"):
        return inside
    archive = archived(inside, folder / draw.choice([name for name in ARCHIVES if family in name]), inner="inner")
    content = archive.read_bytes()
    for _ in range(draw.randint(1, 3)):
        content = damaged(content, draw)
    archive.write_bytes(content)
    return archive


def outcome(path: Path) -> str:
    """Whether a product is "read", all of it, or "refused"."""
    try:
        product = open_product(path)
        json.dumps(product.to_dict(), allow_nan=False)
        assert product._repr_html_() and repr(product)
        for polarization in product.polarizations:
            assert product.read_db(looks=2, polarization=polarization).size == math.prod(
                -(-side // 2) for side in product.shape
            )
        for layer in product.layers:
            assert product.read_layer(layer).shape == product.shape
        if product.polarizations and product.incidence_source:
            product.read_power(quantity="gamma0" if product.quantity == "sigma0" else "sigma0")
    except Alos2TutError:
        return "refused"
    return "read"


def open_damaged(family: str, cases: int, seed: int) -> tuple[Counter[str], float, float]:
    """Open damaged products of a family, in a process of its own.

    Returns the outcomes, the seconds that the slowest took, and the process's largest memory in MB.
    """
    outcomes, slowest = Counter[str](), 0.0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as holder:
        intact = []
        for n, packaging in enumerate(FAMILIES[family]):
            folder = PACKAGINGS[packaging](Path(holder) / f"intact{n}")
            for leader in folder.glob("LED-*"):
                # a megabyte that nobody reads
                without_records(leader, "facility_1")
            intact.append({path.name: path.read_bytes() for path in folder.iterdir()})
        for case in range(cases):
            folder, started = Path(holder) / "damaged", time.monotonic()
            try:
                outcomes[outcome(write_damaged(family, intact, folder, random.Random(f"{seed}-{case}")))] += 1
            except Exception as error:
                raise AssertionError(f"{family}, seed {seed}, case {case}: {error!r}") from error
            shutil.rmtree(folder)
            slowest = max(slowest, time.monotonic() - started)
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return outcomes, slowest, int(peak[1]) / 1000 if peak else 0.0


@pytest.fixture(scope="module")
def process() -> Iterator[Pool]:
    """Another process: one that hangs or fills memory is noticed, and ended."""
    with get_context("spawn").Pool(1) as pool:
        yield pool


def check_damaged(process: Pool, family: str, cases: int, seed: int) -> None:
    outcomes, slowest, peak_mb = process.apply_async(open_damaged, (family, cases, seed)).get(timeout=60 + cases)
    # damage that matters and damage that does not both occur
    assert min(outcomes["read"], outcomes["refused"]) > cases / 20
    assert slowest < 20 and peak_mb < 500


@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_products_are_read_or_refused(process, family):
    check_damaged(process, family, cases=38, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("family", FAMILIES)
def test_many_damaged_products_are_read_or_refused(process, family):
    check_damaged(process, family, cases=1250, seed=2)


# --- what names claim and what files say


def test_angles_of_a_scan_do_not_hang_on_the_centre_of_the_scene(tmp_path):
    """The leader's angle is that of the scene's centre, which lies in another scan: the height of the orbit counts."""
    write_ceos(tmp_path, {"HH": complex_numbers()}, "WBDR1.1__D", scan=("F", 1), incidence_deg=28.5)
    near = open_product(tmp_path).read_incidence((24, 20, 1, 1))[0, 0]
    write_field(leader_of(tmp_path), "dataset_summary", "incidence_deg", "40.000")
    product = open_product(tmp_path)
    assert product.read_incidence((24, 20, 1, 1))[0, 0] == near == pytest.approx(28.5, abs=0.05)


def test_an_orbit_that_cannot_be_gives_no_angles(copied):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "dataset_summary", "incidence_deg", "20.000")
    assert open_product(folder).incidence_source == "scene centre"


def test_scans_of_both_methods_are_told_apart(tmp_path):
    for method, rows in [("F", 48), ("B", 20)]:
        write_ceos(tmp_path, {"HH": complex_numbers((rows, 40))}, "WBDR1.1__D", scan=(method, 1))
    for method, rows in [("F", 48), ("B", 20)]:
        product = open_product(next(tmp_path.glob(f"IMG-*-{method}1")))
        assert (product.shape[0], product.image_name()[-2:]) == (rows, f"{method}1")
    with pytest.raises(Alos2TutError, match=r"one scan twice: B1 and F1.*Name the file"):
        open_product(tmp_path, scan=1)


def test_two_files_of_one_polarisation_are_not_chosen_from(tmp_path):
    first = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54)
    second = write_geotiff(tmp_path / f"{TIFF_NAME}f", amplitudes(seed=1), UTM54)
    with pytest.raises(Alos2TutError, match=r"\.tif and .*\.tiff both claim to be HH"):
        open_product(tmp_path)
    for path, seed in [(first, 0), (second, 1)]:
        np.testing.assert_array_equal(np.nan_to_num(open_product(path).read_dn()), amplitudes(seed=seed))


def test_tiles_of_two_beams_are_two_products(tmp_path):
    for beam, value in [("F02DAR", 9), ("F02DDL", 7)]:
        write_geotiff(tmp_path / f"N23W161_20_sl_HH_{beam}.tif", np.full((4, 5), value), DEGREES, "EPSG:4326")
    with pytest.raises(Alos2TutError, match="2 products"):
        open_product(tmp_path)
    product = open_product(tmp_path / "N23W161_20_sl_HH_F02DDL.tif")
    assert product.read_dn()[0, 0] == 7
    assert (product.orbit_direction, product.look_side) == ("descending", "left")


def test_tiles_of_any_mode_and_polarisation_open(tmp_path):
    for pol in ("HH", "HV", "VH", "VV"):
        write_geotiff(tmp_path / f"N20E144_17_sl_{pol}_FP6QAR.tif", np.full((4, 5), 9), DEGREES, "EPSG:4326")
    product = open_product(tmp_path)
    assert product.polarizations == ("HH", "HV", "VH", "VV") and product.orbit_direction == "ascending"
    assert product.mode is None and {"observation mode", "tile's XML", "calibration equation"} <= set(product.gaps)


def test_a_forest_map_may_name_no_beam(tmp_path):
    write_geotiff(tmp_path / "N00E006_20_C.tif", np.full((4, 5), 2), DEGREES, "EPSG:4326", dtype="uint8")
    product = open_product(tmp_path)
    assert product.layers["forest"].meaning[2] == "non-dense forest" and product.look_side is None


def test_the_equation_of_a_tile_is_used(tmp_path):
    write_mosaic(tmp_path)
    xml = "<M><BackscatterConversionEq>10 * log10(DN^2) - 82.5</BackscatterConversionEq></M>"
    (tmp_path / "N23W161_20_F02DAR.xml").write_text(xml)
    product = open_product(tmp_path)
    assert (product.calibration_factor_db, product.calibration_source) == (-82.5, "the tile's XML")


@pytest.mark.parametrize("equation", ["10*log10(DN)-83.0", "20*log10(DN)-83.0", "10*log10(DN^2)-83.0+x", ""])
def test_an_equation_that_is_not_known_is_a_gap(tmp_path, equation):
    product = open_product(write_card4l(tmp_path, xml=CARD4L_XML.replace("10*log10(DN^2)-82.5", equation)))
    assert "calibration equation" in product.gaps and product.calibration_factor_db == -83


def test_the_real_tile_states_its_equation(mosaic):
    product = open_product(mosaic)
    assert (product.calibration_source, product.gaps) == ("the tile's XML", ())
    assert product.noise_floor_db == {"HH": -41.1, "HV": -49.2}


def test_long_texts_take_no_time(tmp_path):
    polygon = CARD4L_XML.replace("139.1 35.9, 139.2", "1" * 200_000)
    begun = time.process_time()
    assert open_product(write_card4l(tmp_path, xml=polygon)).footprint
    assert time.process_time() - begun < 5


def test_an_image_that_is_listed_and_not_here_is_told(tmp_path):
    folder = write_ceos(tmp_path, {"HH": amplitudes(), "HV": amplitudes(seed=1)}, "FBDR2.1GUD")
    image_of(folder).unlink()
    with pytest.warns(Alos2TutWarning, match="images of HH, which summary.txt lists, are not here"):
        product = open_product(folder)
    assert "image HH" in product.gaps and product.polarizations == ("HV",)


def test_a_renamed_image_is_told(copied):
    folder = copied("CEOS 2.1")
    (folder / "summary.txt").unlink()
    image_of(folder).rename(folder / image_of(folder).name.replace("-HH-", "-HV-"))
    with pytest.warns(Alos2TutWarning, match=r"polarisation HH in the first line, HV by name"):
        open_product(folder)


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        pytest.param("scene_id", "ALOS2999992900-181018", "scene ALOS2999992900-181018", id="scene"),
        pytest.param("level", "1.5", "level 1.5 in the leader, 2.1 by name", id="level"),
        pytest.param("orbit_direction", "ASCEND", "orbit direction A", id="orbit direction"),
    ],
)
def test_a_leader_of_another_product_is_told(copied, field, text, told):
    folder = copied("CEOS 2.1")
    _, form = ceos_layout.DATASET_SUMMARY[field]
    write_field(leader_of(folder), "dataset_summary", field, text.ljust(ceos_layout.parse_form(form).width))
    with pytest.warns(Alos2TutWarning, match=told):
        open_product(folder)


@pytest.mark.parametrize("key", ["Scs_SceneID", "Pds_ProductID"])
def test_a_summary_of_another_product_is_not_used_and_told(copied, key):
    folder = copied("CEOS 2.1")
    change_summary(folder, **{key: "ALOS2999992900-181018" if key == "Scs_SceneID" else "FBDR1.5GUA"})
    product = open_product(folder)
    assert "summary.txt" in product.gaps and "another product" in product.notes[0] and product.started is None


def test_a_summary_that_cannot_be_read_is_a_gap(copied):
    folder = copied("CEOS 2.1")
    (folder / "summary.txt").write_bytes(b"x" * (2 * 2**20))
    product = open_product(folder)
    assert "summary.txt" in product.gaps and product.shape == (48, 40)


def test_without_summary_leader_and_volume_tell_the_times(copied, packaged):
    folder = copied("CEOS 2.1")
    (folder / "summary.txt").unlink()
    product, whole = open_product(folder), open_product(packaged("CEOS 2.1"))
    assert product.acquired == whole.acquired and product.acquired.startswith("2018-10-18T03:04:05")
    assert product.processed[:19] == whole.processed[:19]


def test_a_scansar_geotiff_may_be_of_beam_w2(tmp_path):
    for date, is_old in [("150101", True), ("181018", False)]:
        folder = tmp_path / date
        write_geotiff(folder / f"IMG-HH-ALOS2037752900-{date}-WBDR2.1GUD.tif", amplitudes(), UTM54)
        assert any("W2" in note for note in open_product(folder).notes) == is_old


def test_beam_w2_of_unknown_time_is_told(tmp_path):
    folder = write_ceos(tmp_path, {"HH": amplitudes()}, "WBDR2.1GUD", beam=2)
    for name in ("summary.txt", next(folder.glob("VOL-*")).name):
        (folder / name).unlink()
    product = open_product(folder)
    assert product.calibration_factor_db == -83 and "−79 dB" in product.notes[0]


@pytest.mark.parametrize(("factor", "is_odd"), [("-83.0", False), ("-79.0", False), ("-81.5", True)])
def test_a_factor_that_was_never_published_is_told(copied, factor, is_odd):
    folder = copied("CEOS 2.1")
    write_field(leader_of(folder), "radiometric", "calibration_factor_db", factor)
    product = open_product(folder)
    assert product.calibration_factor_db == float(factor) and bool(product.notes) == is_odd


def test_a_no_data_tag_counts(tmp_path):
    dn = np.where(amplitudes() > 60_000, 65535, amplitudes())
    write_geotiff(tmp_path / TIFF_NAME, dn, UTM54, nodata=65535)
    product = open_product(tmp_path)
    assert product.no_data_dn == (0, 65535)
    np.testing.assert_array_equal(np.isnan(product.read_dn()), (dn == 0) | (dn == 65535))


@pytest.mark.parametrize("shape", [(1, 40), (48, 1), (1, 1)])
def test_a_single_line_or_column_has_its_place(tmp_path, shape):
    product = open_product(write_ceos(tmp_path, {"HH": np.full(shape, 9, dtype=np.uint16)}))
    assert tuple(product.transform)[:6] == pytest.approx(tuple(UTM54)[:6], abs=1e-6)
    assert product.read_dn().shape == shape


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        pytest.param("", {}, "empty path", id="empty"),
        pytest.param("delivery.tar.xz", {}, r"no zip, tar or tar\.gz.*Unpack it", id="another archive"),
        pytest.param(TIFF_NAME, {"scan": True}, "no whole number", id="a scan that is no number"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, monkeypatch, path, options, told):
    monkeypatch.chdir(tmp_path)
    write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54)
    (tmp_path / "delivery.tar.xz").write_bytes(b"x" * 100)
    with pytest.raises(Alos2TutError, match=told):
        open_product(path, **options)


def test_footprint_and_times_of_a_scan_are_its_own(packaged):
    one, two = (open_product(packaged("CEOS 1.1 ScanSAR"), scan=scan) for scan in (1, 2))
    assert one.footprint != two.footprint and one.started is None and one.ended is None


@pytest.mark.filterwarnings("ignore:.*leader and the lines place corners")
@pytest.mark.parametrize("packaging", ["GeoTIFF 2.1", "CEOS 2.1"])
def test_another_system_than_the_stated_one_is_told(packaged, packaging):
    with pytest.warns(Alos2TutWarning, match="states EPSG:32654, is placed by EPSG:32653"):
        open_product(packaged(packaging), crs="EPSG:32653")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        open_product(packaged(packaging), crs="EPSG:32654")


def test_warnings_name_the_line_of_the_caller(packaged):
    with pytest.warns(Alos2TutWarning) as told:
        open_product(packaged("GeoTIFF 2.1"), crs="EPSG:32653")
    assert [w.filename for w in told if w.category is Alos2TutWarning] == [__file__]


def test_a_tile_with_layers_only_is_one_of_the_mosaic(tmp_path):
    folder = write_mosaic(tmp_path)
    for path in folder.glob("*_sl_*"):
        path.unlink()
    product = open_product(folder)
    assert product.kind == "25 m mosaic" and product.to_dict()["quantity"] is None


def test_an_assumed_factor_is_noted(packaged, copied):
    assert any("assumed" in note for note in open_product(packaged("GeoTIFF 2.1")).notes)
    folder = copied("CEOS 2.1")
    without_records(leader_of(folder), "radiometric")
    assert any("assumed" in note for note in open_product(folder).notes)


def test_a_wide_mode_other_than_w_has_no_beam_w2(tmp_path):
    write_geotiff(tmp_path / "IMG-HH-ALOS2037752900-150101-VBDR2.1GUD.tif", amplitudes(), UTM54)
    assert not any("W2" in note for note in open_product(tmp_path).notes)


def test_images_that_an_xml_lists_and_that_are_not_here_are_gaps(tmp_path):
    names = "".join(f"<FileName>{LEVEL22}_{pol}_SLP.tif</FileName>" for pol in ("HH", "HV"))
    folder = write_card4l(tmp_path, xml=CARD4L_XML.replace("</Product>", f"{names}</Product>"))
    assert open_product(folder).gaps == ()
    (folder / f"{LEVEL22}_HV_SLP.tif").unlink()
    assert open_product(folder).gaps == ("image HV",)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param(TIFF_NAME.replace(".tif", " (1).tif"), rf"Rename it to {TIFF_NAME}\.", id="by a browser"),
        pytest.param(TIFF_NAME.replace(".tif", "_db.tif"), rf"Rename it to {TIFF_NAME}\.", id="by a user"),
    ],
)
def test_a_renamed_file_is_told_how_it_should_be_called(tmp_path, name, told):
    write_geotiff(tmp_path / name, amplitudes(), UTM54)
    with pytest.raises(Alos2TutError, match=told):
        open_product(tmp_path / name)


def test_an_archive_in_an_archive_is_to_be_unpacked(packaged, tmp_path):
    inner = archived(packaged("CEOS 2.1"), tmp_path / "stored.zip")
    outer = archived(inner.parent, tmp_path / "plain.tar")
    with pytest.raises(Alos2TutError, match=r"Unpack plain\.tar: archives in archives are not read"):
        open_product(outer / "stored.zip")


def test_damage_in_a_compressed_archive_shows_when_it_is_opened(tmp_path):
    """Also that of an image which would not be looked at."""
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes(), "HV": amplitudes(seed=1)}, "UBDR2.1GUD")
    name = image_of(folder, "HV").name
    path = archived(folder, tmp_path / "deflated.zip")
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo(name).header_offset
    data = bytearray(path.read_bytes())
    data[place + 2000] ^= 1
    path.write_bytes(data)
    for use in (open_product, verify_product):
        with pytest.raises(Alos2TutError, match=rf"deflated\.zip/{re.escape(name)}: is damaged"):
            use(path)
