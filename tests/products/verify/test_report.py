"""Verifying products: what agrees, what every kind of damage shows, and that nothing private is told."""

import json
import random
import re
import shutil
import struct
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from support.products import (
    ARCHIVES,
    TIFF_NAME,
    UTM54,
    amplitudes,
    archived,
    complex_numbers,
    real_data,
    write_ceos,
    write_geotiff,
)
from support.properties import examples

from alos2tut import Alos2TutError
from alos2tut.cli import main
from alos2tut.geometry import incidence_by_slant_range_deg
from alos2tut.products import ceos_layout
from alos2tut.products.verify import ceos as checks_ceos
from alos2tut.products.verify import report as verification
from alos2tut.products.verify.report import Report, verify_product

OPENING = "reading: open_product"
#: what names of the small simulated product share
SMALL = "ALOS2900018830-221119-UBSR2.1GUD"


def file_of(folder: Path, kind: str) -> Path:
    return next(folder.glob(f"{kind}*"))


def wrong(report: Report) -> set[str]:
    """Subject and name of all that differs or cannot be read."""
    return {f"{c.subject}: {c.name}" for c in report.checks if c.verdict in ("differs", "unreadable")}


def check_of(report: Report, name: str):
    """The one check of that name."""
    (found,) = [check for check in report.checks if check.name == name]
    return found


def field_place(data: bytes, kind: str, name: str) -> tuple[int, int]:
    """Where a field of a record lies in a file: first byte and number of bytes."""
    codes, layout, _ = ceos_layout.RECORDS[kind]
    position = 0
    while tuple(data[position + 4 : position + 8]) != codes:
        position += struct.unpack_from(">I", data, position + 8)[0]
    start, form = layout[name]
    return position + start - 1, ceos_layout.parse_form(form).total_bytes


def field_writer(file: str, kind: str, name: str, text: str) -> Callable[[Path], None]:
    """What writes a text into a field of a record, right-justified."""

    def write(folder: Path) -> None:
        path = file_of(folder, file)
        data = bytearray(path.read_bytes())
        at, size = field_place(data, kind, name)
        assert len(text) <= size
        data[at : at + size] = text.rjust(size).encode("ascii")
        path.write_bytes(data)

    return write


def line_writer(name: str, value: object, rows: slice = slice(None)) -> Callable[[Path], None]:
    """What writes a field of some lines' prefixes; a function is given what was there."""

    def write(folder: Path) -> None:
        path = file_of(folder, "IMG")
        data = bytearray(path.read_bytes())
        fields = ceos_layout.unpack(bytes(data[:720]), ceos_layout.IMAGE_DESCRIPTOR)
        code, lines = fields["sample_code"], (len(data) - 720) // fields["record_bytes"]
        prefixes = np.ndarray((lines,), ceos_layout.prefix_dtype(code), data, 720, (fields["record_bytes"],))
        before = prefixes[name][rows].copy()
        prefixes[name][rows] = value(before) if callable(value) else value
        path.write_bytes(data)

    return write


def summary_writer(key: str, value: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "summary.txt"
        text, count = re.subn(rf'^{key}=".*"$', f'{key}="{value}"', path.read_text(), flags=re.M)
        assert count == 1
        path.write_text(text)

    return write


def cutter(file: str, count: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        path = file_of(folder, file)
        data = path.read_bytes()
        path.write_bytes(data[:-count] if count > 0 else data + bytes(-count))

    return cut


def remover(file: str) -> Callable[[Path], None]:
    return lambda folder: file_of(folder, file).unlink()


@pytest.fixture
def product(small_scene, tmp_path) -> Path:
    """A copy of the small simulated product, to be damaged."""
    return shutil.copytree(small_scene, tmp_path / "product", ignore=shutil.ignore_patterns("labels"))


# --- whole products


def test_all_of_a_simulated_product_agrees(small_scene):
    report = verify_product(small_scene)
    assert wrong(report) == set() and report.kind == "CEOS, Level 2.1"
    assert report.agree > 35 and report.agree + report.once == len(report.checks)
    # Level 2.1 states no frame but in names
    assert [check.name for check in report.checks if check.verdict == "stated once"] == ["frame"]


PRODUCTS = {
    "ascending, two polarisations": ("FBDR1.5GUA", "HH HV", {"heading_deg": 350.0, "software": "003.001"}),
    "four polarisations": ("HBQR2.1GUD", "HH HV VH VV", {}),
    "looking left": ("UBSL2.1GUD", "HH", {}),
    "south": ("UBSR2.1GUD", "HH", {"south": True, "transform": rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 8_900_000)}),
    "rotated": ("UBSR1.5RUD", "HH", {"transform": UTM54 * rasterio.Affine.rotation(10)}),
    "Level 1.1": ("FBDR1.1__A", "HH HV", {"heading_deg": 350.0}),
}


@pytest.mark.parametrize(("product_id", "polarizations", "changes"), PRODUCTS.values(), ids=PRODUCTS)
def test_all_of_a_written_product_agrees(tmp_path, product_id, polarizations, changes):
    pixels = complex_numbers() if "1.1" in product_id else amplitudes()
    write_ceos(tmp_path, dict.fromkeys(polarizations.split(), pixels), product_id, **changes)
    report = verify_product(tmp_path)
    assert wrong(report) == set()
    assert all(f"image {pol}" in {check.subject for check in report.checks} for pol in polarizations.split())


def test_all_scans_are_looked_at(tmp_path):
    for scan in (1, 2, 3):
        pixels = {"HH": complex_numbers((40 + scan, 30 + scan))}
        range_m = 740_000.0 + 40_000 * scan
        view = {"center_range_m": range_m, "incidence_deg": float(incidence_by_slant_range_deg(range_m, 6_998_000.0))}
        view["off_nadir_deg"] = view["incidence_deg"] - 4
        write_ceos(tmp_path, pixels, "WBSR1.1__D", scan=("B", scan), bursts=(2, 20, 4), **view)
    report = verify_product(tmp_path)
    assert wrong(report) == set()
    for scan in (1, 2, 3):
        checks = {check.name: check for check in report.checks if check.subject == f"image HH scan B{scan}"}
        assert set(checks["lines"].values.values()) == {str(40 + scan)} and len(checks["lines"].values) == 4
        assert checks["scan"].values == {"name": str(scan), "lines": str(scan)}


def test_two_images_of_one_scan_are_told_apart(tmp_path):
    for method in "BF":
        write_ceos(tmp_path, {"HH": complex_numbers()}, "WBSR1.1__D", scan=(method, 1))
    report = verify_product(tmp_path)
    assert {"image HH scan B1", "image HH scan F1"} <= {check.subject for check in report.checks}
    names = [check.name for check in report.checks if check.subject in ("time", "view")]
    assert len(set(names)) == len(names)
    assert "holds one scan twice" in check_of(report, "open_product").note


@pytest.mark.parametrize("archive", ARCHIVES)
@pytest.mark.parametrize("inner", ["", "0000/x"], ids=["at the top", "in a folder"])
def test_products_in_archives_agree(tmp_path, archive, inner):
    write_ceos(tmp_path / "product", {"HH": amplitudes(), "HV": amplitudes(seed=1)}, "UBDR2.1GUD")
    report = verify_product(archived(tmp_path / "product", tmp_path / archive, inner))
    assert wrong(report) == set() and str(tmp_path) not in report.to_text()
    looked_at = {check.note for check in report.checks if check.name == "line numbers"}
    assert looked_at == {"48 lines were looked at"}


# --- damage, one by one

LATITUDES = {"place: corners", "place: hemisphere"}
VIEW = {"view: incidence, off-nadir angle", "view: incidence, slant ranges of HH"}
DAMAGE: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "fewer lines": (
        field_writer("IMG", "image_descriptor", "lines", "511"),
        {"image HH: file size", "image HH: lines"},
    ),
    "fewer pixels": (
        field_writer("IMG", "image_descriptor", "pixels", "639"),
        {"image HH: pixels", "image HH: bytes of a line"},
    ),
    "lines of the map": (field_writer("LED", "map_projection", "lines", "513"), {"image HH: lines", "place: A11…A24"}),
    "pixels in summary.txt": (summary_writer("Pdi_NoOfPixels_0", "641"), {"image HH: pixels"}),
    "a line's length": (line_writer("length", 1473, slice(0, 1)), {"image HH: bytes of a line"}),
    "lines renumbered": (line_writer("line", lambda n: n + 1, slice(200, 300)), {"image HH: line numbers"}),
    "the last line's number": (
        line_writer("line", 999, slice(511, 512)),
        {"image HH: line numbers", "image HH: lines"},
    ),
    "records renumbered": (line_writer("sequence", lambda n: n + 1), {"image HH: record numbers"}),
    "pixels of lines": (line_writer("data_pixels", 600), {"image HH: pixels"}),
    "type of lines": (line_writer("type", (50, 10, 18, 20)), {"image HH: record type"}),
    "prefix": (
        field_writer("IMG", "image_descriptor", "prefix_bytes", "180"),
        {"image HH: bytes before pixels", "image HH: bytes of a line", OPENING},
    ),
    "polarisation": (line_writer("received", 1), {"image HH: polarisation"}),
    "polarisations of the mode": (line_writer("channel", 2), {"identity: mode's polarisations"}),
    "scene": (field_writer("LED", "dataset_summary", "scene_id", "ALOS2014555550-140830"), {"identity: scene"}),
    "product id": (summary_writer("Pds_ProductID", "UBSR1.5GUD"), {"identity: product id"}),
    "level": (field_writer("LED", "dataset_summary", "level", "1.5"), {"identity: level"}),
    "orbit": (field_writer("LED", "dataset_summary", "orbit", "1455"), {"identity: orbit number"}),
    "direction": (field_writer("LED", "dataset_summary", "orbit_direction", "ASCEND"), {"identity: orbit direction"}),
    "look side": (field_writer("LED", "dataset_summary", "clock_angle_deg", "-90.000"), {"identity: look side"}),
    "centre time": (
        field_writer("LED", "dataset_summary", "center_time", "20221119024300500"),
        {"time: centre"},
    ),
    "another day": (summary_writer("Lbi_ObservationDate", "20221120"), {"time: day"}),
    "end before the centre": (
        summary_writer("Img_SceneEndDateTime", "20221119 02:42:59.950"),
        {"time: start, centre, end"},
    ),
    "time of lines": (line_writer("millisecond", lambda n: n + 7000), {"time: lines of HH"}),
    "no such day": (line_writer("day_of_year", 400), {"time: lines of HH"}),
    "zone": (
        field_writer("LED", "map_projection", "utm_zone", "53"),
        {"place: UTM zone", "place: map corners", "place: centre"},
    ),
    "zone in summary.txt": (summary_writer("Pds_UTM_ZoneNo", "53"), {"place: UTM zone"}),
    "false northing": (
        field_writer("LED", "map_projection", "false_northing_m", "10000000.00000"),
        {"place: hemisphere", "place: map corners", "place: centre"},
    ),
    "signs of latitudes": (line_writer("latitudes", np.negative), LATITUDES),
    "latitudes beyond the pole": (line_writer("latitudes", 95_000_000), {"place: corners"}),
    "a corner in metres": (
        field_writer("LED", "map_projection", "top_right_easting_km", "351.6067500"),
        {"place: map corners", "place: parallelogram", "place: spacing of lines, pixels"},
    ),
    "a corner in degrees": (
        field_writer("LED", "map_projection", "top_right_longitude_deg", "139.3700364"),
        {"place: map corners", "place: A11…A24", "place: corners"},
    ),
    "a corner in summary.txt": (summary_writer("Img_FrameSceneLeftTopLatitude", "35.298"), {"place: corners"}),
    "polynomial": (field_writer("LED", "map_projection", "coefficients_a", 8 * f"{0.1:20.10E}"), {"place: A11…A24"}),
    "centre": (field_writer("LED", "dataset_summary", "center_longitude_deg", "139.4000000"), {"place: centre"}),
    "spacing": (summary_writer("Pds_PixelSpacing", "3.125000"), {"place: spacing of lines, pixels"}),
    "incidence": (field_writer("LED", "dataset_summary", "incidence_deg", "20.000"), VIEW),
    "off-nadir angle": (summary_writer("Img_OffNadirAngle", "33.4"), {"view: off-nadir angle"}),
    "polynomial of incidence": (
        field_writer("LED", "dataset_summary", "incidence_polynomial", f"{0.5:20.13E}" + 5 * f"{0.0:20.13E}"),
        {"view: θ(R), slant ranges of HH", "view: incidence, slant ranges of HH"},
    ),
    "slant ranges": (line_writer("slant_range_m", [760_000, 761_000, 759_000]), {"view: slant ranges of HH"}),
    "near slant ranges": (
        line_writer("slant_range_m", lambda n: n // 2),
        {"view: slant ranges of HH", "view: incidence, slant ranges of HH"},
    ),
    "factor": (
        field_writer("LED", "radiometric", "calibration_factor_db", "-79.0000000"),
        {"radiometry: calibration factor in dB"},
    ),
    "software": (field_writer("VOL", "volume_descriptor", "software", "002.013"), {"radiometry: software version"}),
    "wavelength": (field_writer("LED", "dataset_summary", "wavelength_m", "0.0555000"), {"radiometry: wavelength"}),
    "looks": (
        field_writer("LED", "dataset_summary", "range_looks", "0.0000000"),
        {"radiometry: looks in azimuth, range"},
    ),
    "count of records": (
        field_writer("LED", "leader_descriptor", "platform_count", "2"),
        {"records: records of the leader"},
    ),
    "pointer": (
        field_writer("VOL", "file_pointer", "records", "13"),
        {"records: number and longest of the leader"},
    ),
    "no trailer": (remover("TRL"), {"files: named by summary.txt", "files: LED, IMG, TRL"}),
    "no volume directory": (remover("VOL"), {"files: named by summary.txt"}),
    "no leader": (remover("LED"), {"files: named by summary.txt", "files: LED, IMG, TRL", OPENING}),
    "no summary": (remover("summary"), set()),
    "no image": (remover("IMG"), {"files: named by summary.txt", "files: LED, IMG, TRL", OPENING}),
    "image cut": (cutter("IMG", 1000), {"image HH: file size", OPENING}),
    "image cut to nothing": (cutter("IMG", 754_384), {f"files: IMG-HH-{SMALL}", OPENING}),
    "image too long": (cutter("IMG", -100), {"image HH: file size"}),
    "leader cut": (cutter("LED", 100), {f"files: LED-{SMALL}", OPENING}),
    "volume directory cut": (cutter("VOL", 100), {f"files: VOL-{SMALL}"}),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGE.values(), ids=DAMAGE)
def test_each_damage_shows_where_it_is(product, damage, expected):
    damage(product)
    report = verify_product(product)
    assert wrong(report) == expected
    assert not any("fault of alos2tut" in check.note for check in report.checks)


def test_missing_bytes_and_files_are_told(product):
    cutter("IMG", 1000)(product)
    file_of(product, "TRL").unlink()
    report = verify_product(product)
    assert check_of(report, "file size").note == "1,000 bytes are missing"
    assert check_of(report, "named by summary.txt").note == f"missing: TRL-{SMALL}"
    assert check_of(report, "line numbers").values["lines"] == "1 … 511"
    absent = {check.name for check in report.checks if check.verdict == "absent"}
    assert f"TRL-{SMALL}" in absent


def test_without_leader_what_is_left_is_still_compared(product):
    file_of(product, "LED").unlink()
    report = verify_product(product)
    assert check_of(report, "lines").values.keys() == {"descriptor", "lines", "summary.txt", "volume directory"}
    assert check_of(report, "corners").verdict == "agrees" and check_of(report, "map corners").verdict == "absent"
    assert check_of(report, "off-nadir angle").verdict == "stated once"


def test_a_value_of_one_line_is_shown(product):
    line_writer("line", 999, slice(511, 512))(product)
    assert "1 differ, the first of them says 999, not 512" in check_of(verify_product(product), "line numbers").note


@pytest.mark.parametrize(
    ("beam", "processed", "factor", "right", "is_good"),
    [
        (2, 2015, -79.0, -79, True),
        (2, 2015, -83.0, -79, True),
        (2, 2018, -83.0, -83, True),
        (2, 2018, -79.0, -83, False),
        (1, 2015, -83.0, -83, True),
        (1, 2015, -79.0, -83, False),
        (2, 2015, -80.0, -79, False),
    ],
)
def test_the_factor_is_judged_by_beam_and_date(tmp_path, beam, processed, factor, right, is_good):
    """JAXA: −79 dB for beam W2 before 2016-09-28, whatever the leader says."""
    changes = {"beam": beam, "calibration_factor_db": factor, "processed": datetime(processed, 1, 1)}
    report = verify_product(write_ceos(tmp_path, {"HH": amplitudes()}, "WBSR2.1GUD", **changes))
    assert wrong(report) == (set() if is_good else {"radiometry: calibration factor in dB"})
    values = check_of(report, "calibration factor in dB").values
    used = right if factor == -83 else factor
    assert values == {"leader": f"{factor:g}", "JAXA's publication": f"{right}", "open_product": f"{used:g}"}


@pytest.mark.parametrize(("factor", "is_good"), [(-79.0, True), (-83.0, True), (-81.0, False)])
def test_where_no_file_says_when_both_factors_of_beam_w2_agree(tmp_path, factor, is_good):
    write_ceos(tmp_path, {"HH": amplitudes()}, "WBSR2.1GUD", beam=2, calibration_factor_db=factor)
    for kind in ("summary", "VOL"):
        file_of(tmp_path, kind).unlink()
    verdict = "agrees" if is_good else "differs"
    assert check_of(verify_product(tmp_path), "calibration factor in dB").verdict == verdict
    cutter("IMG", 1000)(tmp_path)
    assert check_of(verify_product(tmp_path), "calibration factor in dB").verdict == verdict


def test_an_assumed_factor_confirms_none(product):
    field_writer("LED", "radiometric", "calibration_factor_db", "")(product)
    check = check_of(verify_product(product), "calibration factor in dB")
    assert (check.verdict, check.values) == ("stated once", {"JAXA's publication": "-83"})
    assert "assumed" in check.note


def test_times_are_in_order_as_far_as_they_are_stated(product):
    path = product / "summary.txt"
    text = path.read_text()
    path.write_text(re.sub(r"^Img_SceneStartDateTime=.*\n", "", text, flags=re.M))
    report = verify_product(product)
    assert check_of(report, "start, centre, end").verdict == "agrees"
    lines = check_of(report, "lines of HH")
    assert (lines.verdict, lines.values.keys()) == ("stated once", {"lines"})


def test_level_11_has_one_look(tmp_path):
    report = verify_product(
        write_ceos(tmp_path, {"HH": complex_numbers()}, "FBDR1.1__A", looks=(2.0, 1.0), heading_deg=350.0)
    )
    assert wrong(report) == {"radiometry: looks in azimuth, range"}


def test_a_system_may_be_named(product):
    assert wrong(verify_product(product, crs="EPSG:32653")) == {"place: map corners", "place: centre"}
    with pytest.raises(Alos2TutError, match="no coordinate system"):
        verify_product(product, crs="EPSG:1")


def test_what_is_no_product_is_refused(tmp_path):
    with pytest.raises(Alos2TutError, match="no ALOS-2 product"):
        verify_product(tmp_path)
    with pytest.raises(Alos2TutError, match="no such file"):
        verify_product(tmp_path / "nothing")


# --- real files


def test_real_headers_agree_but_for_the_missing_lines(level15):
    report = verify_product(level15)
    assert wrong(report) == {"image HH: file size", "image HV: file size", OPENING}
    sizes = [check for check in report.checks if check.name == "file size"]
    assert {check.note for check in sizes} == {f"{13161 * 25932:,} bytes are missing"}
    assert report.agree > 35 and check_of(report, "A11…A24").verdict == "agrees"
    assert check_of(report, "bytes of the trailer's image").verdict == "agrees"


def test_real_headers_around_empty_lines_show_no_other_difference(level15, tmp_path):
    """Sparse files of the stated size: opened, and only what lines do not say is missed."""
    folder = shutil.copytree(level15, tmp_path / "product", copy_function=shutil.copyfile)
    for image in folder.glob("IMG-*"):
        with open(image, "r+b") as handle:
            handle.truncate(720 + 13161 * 25932)
    names = ("lines", "line numbers", "record numbers", "record type")
    unnumbered = {f"image {pol}: {name}" for pol in ("HH", "HV") for name in names}
    # no polarisation stated reads as HH
    assert wrong(verify_product(folder)) == unnumbered | {"image HV: polarisation"}


def test_the_real_level_22_set_agrees_but_for_the_image_that_is_not_here():
    report = verify_product(real_data("palsar2_l22_scansar"))
    assert wrong(report) == {"files: named by the XML"} and report.once == 0
    assert [check.values for check in report.checks if check.verdict == "absent"] == [{"open_product": "image HV"}]
    assert check_of(report, "named by the XML").note == "missing: ALOS2437590500-220630_WWDR2.2GUA_HV_SLP.tif"
    assert check_of(report, "lines, pixels").note == "swapped, as JAXA writes them"
    assert check_of(report, "centre of the first pixel").values["XML"] == "374625, 3087000"


def test_all_of_the_real_mosaic_window_agrees(mosaic):
    report = verify_product(mosaic)
    assert wrong(report) == set() and report.once == report.absent == 0 and report.agree >= 10
    assert check_of(report, "days").values["date layer"] == "2020-09-09 … 2020-09-09"


# --- GeoTIFF


def write_tiff_product(folder: Path, crs: str = "EPSG:32654", columns: int = 40, **entries: object) -> Path:
    """A GeoTIFF of Level 2.1 with the ``summary.txt`` of an equal CEOS product."""
    write_ceos(folder / "ceos", {"HH": amplitudes()})
    text = (folder / "ceos" / "summary.txt").read_text()
    shutil.rmtree(folder / "ceos")
    text = re.sub(r"^Pdi_(L21|CntOf).*\n", "", text, flags=re.M)
    told = {"Pdi_CntOfL21ProductFileName": 1, "Pdi_L21ProductFileName01": TIFF_NAME, **entries}
    for key, value in told.items():
        text = re.sub(rf"^{key}=.*\n", "", text, flags=re.M) + f'{key}="{value}"\n'
    (folder / "summary.txt").write_text(text)
    write_geotiff(folder / TIFF_NAME, amplitudes()[:, :columns], UTM54, crs)
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"Pdi_NoOfLines_0": 47}, {"image HH: lines, pixels"}),
        ({"Pds_PixelSpacing": "5.0"}, {"place: spacing of lines, pixels"}),
        ({"Pds_UTM_ZoneNo": 53}, {"place: UTM zone"}),
        ({"crs": "EPSG:32653"}, {"place: UTM zone", "place: corners", "place: centre"}),
        ({"crs": "EPSG:32754"}, {"place: hemisphere", "place: corners", "place: centre"}),
        ({"Scs_SceneID": "ALOS2014555550-140830"}, {"identity: scene"}),
        ({"Pdi_L21ProductFileName01": "IMG-HV.tif"}, {"files: named by summary.txt"}),
        ({"columns": 39}, {"image HH: lines, pixels"}),
    ],
)
def test_a_geotiff_is_compared_with_its_summary(tmp_path, changes, expected):
    report = verify_product(write_tiff_product(tmp_path, **changes))
    assert wrong(report) == expected and report.kind == "GeoTIFF, Level 2.1"
    assert check_of(report, "orientation").values == {"TIFF tag 274": "1 (top left)"}


def test_a_lone_geotiff_has_little_to_compare(tmp_path):
    write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54)
    report = verify_product(tmp_path / TIFF_NAME)
    assert wrong(report) == set() and report.once > 5 and check_of(report, "georeference").verdict == "agrees"
    product_id = check_of(report, "product id")
    assert (product_id.verdict, product_id.values) == ("stated once", {"name": "UBSR2.1GUD"})
    assert check_of(report, "start, centre, end").verdict == "absent"


def test_a_geotiff_without_system_or_cut_is_reported(tmp_path):
    path = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54, crs=None)
    report = verify_product(tmp_path)
    assert wrong(report) == {OPENING} and check_of(report, "georeference").verdict == "stated once"
    report = verify_product(tmp_path, crs="EPSG:32654")
    georeference = check_of(report, "georeference")
    assert wrong(report) == set() and georeference.verdict == "agrees"
    assert georeference.values.keys() == {"given", "transform"} and georeference.values["given"] == "EPSG:32654"
    path.write_bytes(path.read_bytes()[:2000])
    assert wrong(verify_product(tmp_path)) == {f"files: {TIFF_NAME}", OPENING}


def test_a_system_that_is_given_is_compared_with_the_geotiffs(tmp_path):
    write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54)
    assert wrong(verify_product(tmp_path, crs="EPSG:32654")) == set()
    report = verify_product(tmp_path, crs="EPSG:32653")
    assert wrong(report) == {"image HH: georeference"}
    assert check_of(report, "georeference").values.items() >= {"CRS": "EPSG:32654", "given": "EPSG:32653"}.items()


# --- Level 2.2 and the mosaic, made up

CARD4L = "ALOS2437590500-220630_WWDR2.2GUA"


def write_card4l(folder: Path, **changes: object) -> Path:
    """HH, incidence and mask of 60 × 80 pixels and the XML as JAXA writes it, counts swapped."""
    told = {
        "lines": 80,
        "pixels": 60,
        "east": 374_625,
        "epsg": 32651,
        "equation": "10*log10(DN^2)-83.0",
        "spacing": 25,
        "pass": "Ascending",
    }
    told |= {"name": "HH_SLP", **changes}
    hh = np.full((60, 80), 500)
    mask = np.ones((60, 80))
    hh[:9], mask[:9] = 0, 0
    hh[30, 30], mask[40, 40] = told.get("hole", 500), told.get("masked", 1)
    transform = rasterio.Affine(25, 0, 374_612.5, 0, -25, 3_087_012.5)
    for name, pixels, dtype in (("HH_SLP", hh, "uint16"), ("LIN", hh, "uint16"), ("MSK", mask, "uint8")):
        write_geotiff(folder / f"{CARD4L}_{name}.tif", pixels, transform, "EPSG:32651", dtype=dtype)
    (folder / f"{CARD4L}_summary.xml").write_text(
        f"""<Product><FileName>{CARD4L}_{told["name"]}.tif</FileName><ObservationMode>WWD</ObservationMode>
        <StartTime>2022-06-30T15:58:00.078Z</StartTime><PassDirection>{told["pass"]}</PassDirection>
        <ProductRowSpacing>{told["spacing"]}</ProductRowSpacing><ProductColumnSpacing>25.0</ProductColumnSpacing>
        <ProductBoundingBox Corner="UL">
          <Northing>3087000</Northing><Easting>{told["east"]}</Easting></ProductBoundingBox>
        <NumberLines>{told["lines"]}</NumberLines><NumPixelsPerLine>{told["pixels"]}</NumPixelsPerLine>
        <CoordinateReferenceSystem type="EPSG">{told["epsg"]}</CoordinateReferenceSystem>
        <BackscatterConversionEq>{told["equation"]}</BackscatterConversionEq></Product>"""
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"lines": 60, "pixels": 80}, set()),
        ({"lines": 81}, {"place: lines, pixels"}),
        ({"east": 374_612.5}, {"place: centre of the first pixel"}),
        ({"epsg": 32652}, {"place: EPSG code"}),
        ({"spacing": 12.5}, {"place: spacing of lines, pixels"}),
        ({"equation": "10 * log10(DN^2) - 83.0"}, set()),
        ({"equation": "10*log10(DN^2)-79.0"}, {"radiometry: calibration factor in dB"}),
        ({"equation": "10*log10(DN)-83.0"}, {"radiometry: calibration factor in dB"}),
        ({"equation": "DN-83.0"}, {"radiometry: calibration factor in dB"}),
        ({"pass": "Descending"}, {"identity: orbit direction"}),
        ({"name": "HV_SLP"}, {"files: named by the XML"}),
        ({"hole": 0}, {"rasters: no data of HH and the mask"}),
        ({"masked": 0}, {"rasters: no data of HH and the mask"}),
    ],
)
def test_level_22_is_compared_with_its_xml(tmp_path, changes, expected):
    report = verify_product(write_card4l(tmp_path, **changes))
    assert wrong(report) == expected
    assert check_of(report, "lines, pixels").note == ("" if "lines" in changes else "swapped, as JAXA writes them")


def write_mosaic(
    folder: Path, year: int = 20, west: float = -160.2, no_data: int = 1, day: int = 2300, dn: str = "DN^2"
) -> Path:
    degrees = rasterio.Affine(1 / 4500, 0, west, 0, -1 / 4500, 22.5)
    for name, value, dtype in (("sl_HH", 500, "uint16"), ("linci", 35, "uint8"), ("date", day, "uint16")):
        pixels = np.full((40, 50), value)
        pixels[:5] = no_data
        path = folder / f"N23W161_{year}_{name}_F02DAR.tif"
        write_geotiff(path, pixels, degrees, "EPSG:4326", dtype=dtype, nodata=no_data)
    (folder / f"N23W161_{year}_F02DAR.xml").write_text(
        "<M><FirstAcquistionDate>2020-09-09</FirstAcquistionDate>"
        "<LastAcquistitionDate>2020-09-10</LastAcquistitionDate>"
        f"<FileName>N23W161_{year}_sl_HH_F02DAR.tif</FileName>"
        f'<BackscatterConversionEq Units ="dB">10 * log10({dn}) - 83.0</BackscatterConversionEq></M>'
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"west": -159.9}, {"place: inside its tile"}),
        ({"day": 2290}, {"time: days"}),
        ({"dn": "DN"}, {"radiometry: calibration factor in dB"}),
        ({"no_data": 0}, {f"rasters: no data of {name}" for name in ("HH", "linci", "date")}),
        ({"year": 15}, {f"rasters: no data of {name}" for name in ("HH", "linci", "date")}),
    ],
)
def test_a_tile_of_the_mosaic_is_compared_with_its_name_and_xml(tmp_path, changes, expected):
    report = verify_product(write_mosaic(tmp_path, **changes))
    assert wrong(report) == expected and report.kind == "25 m mosaic"


@pytest.mark.parametrize(("layer", "kind"), [("mask", "25 m mosaic"), ("C", "forest map")])
def test_the_forest_map_is_told_by_its_layer(tmp_path, layer, kind):
    degrees = rasterio.Affine(1 / 4500, 0, -160.2, 0, -1 / 4500, 22.5)
    path = tmp_path / f"N23W161_20_{layer}_F02DAR.tif"
    write_geotiff(path, np.full((40, 50), 1), degrees, "EPSG:4326", dtype="uint8")
    report = verify_product(tmp_path)
    assert report.kind == kind
    assert any(check.subject == "radiometry" for check in report.checks) == (layer == "mask")


def test_the_rule_of_the_year_is_a_source(tmp_path):
    check = check_of(verify_product(write_mosaic(tmp_path)), "no data of HH")
    assert check.values == {"tag": "1", "rule of its year": "1"}


def test_layers_of_different_shape_differ(tmp_path):
    write_mosaic(tmp_path)
    degrees = rasterio.Affine(1 / 4500, 0, -160.2, 0, -1 / 4500, 22.5)
    path = tmp_path / "N23W161_20_mask_F02DAR.tif"
    write_geotiff(path, np.full((41, 50), 255), degrees, "EPSG:4326", dtype="uint8")
    assert wrong(verify_product(tmp_path)) == {"rasters: rows, columns", OPENING}


# --- the report


def test_the_report_names_no_folder_of_the_users(capsys, monkeypatch, product):
    cutter("IMG", 5)(product)
    cutter("LED", 5)(product)
    monkeypatch.chdir(product.parent)
    for path in (product, file_of(product, "LED"), Path("product"), product / "summary.txt"):
        for options in ([], ["--json"]):
            assert main(["verify", str(path), *options]) == 1
            text = capsys.readouterr().out
            assert f"LED-{SMALL}: is truncated" in text
            assert not re.search(r"/tmp|pytest|/product", text) and not re.search(r"(?<![\w.×])/\w+/", text)


def test_no_part_of_an_odd_path_is_told(tmp_path, small_scene):
    folder = shutil.copytree(
        small_scene, tmp_path / "Jo O'Neill: data (2)" / "a b", ignore=shutil.ignore_patterns("l*")
    )
    cutter("LED", 5)(folder)
    line_writer("latitudes", np.negative)(folder)
    archive = archived(folder, folder.parent / "stored.zip", "inner")
    for path in (folder, file_of(folder, "LED"), archive, archive / "inner"):
        text = verify_product(path).to_text()
        assert "is truncated" in text and not re.search(r"Neill|data \(2\)|a b|pytest|stored\.zip", text)


def test_json_and_text_tell_the_same(capsys, small_scene):
    assert main(["verify", str(small_scene), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    report = verify_product(small_scene)
    assert told == json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (
        told["agree"] == report.agree
        and told["differ"] == 0
        and (told["once"], told["absent"]) == (1, 0)
        and told["identity"] == report.identity == SMALL
        and {"alos2tut", "GDAL", "rasterio"} <= told["versions"].keys()
    )
    text = report.to_text()
    assert f"{report.agree} agree, 0 differ, 1 stated once, 0 absent, 0 unreadable" in text and "GDAL" in text
    assert all(check.name in text and check.subject in text for check in report.checks)
    assert re.search(r"^  stated once  frame +\d+ \(name\)$", text, re.M)
    assert re.search(r"^  agrees {7}lines +512 \(descriptor, lines, map projection, ", text, re.M)


def test_the_exit_status_says_whether_all_is_well(capsys, product, tmp_path):
    assert main(["verify", str(product)]) == 0
    line_writer("received", 1)(product)
    assert main(["verify", str(product)]) == 1
    assert main(["verify", str(product), "--crs", "nonsense"]) == 2
    assert main(["verify", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_info_takes_a_scan(capsys, tmp_path):
    for scan in (1, 2):
        write_ceos(tmp_path, {"HH": complex_numbers((40 + scan, 30))}, "WBSR1.1__D", scan=("F", scan))
    assert main(["info", str(tmp_path), "--scan", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [42, 30]
    assert main(["info", str(tmp_path), "--scan", "3"]) == 2


def test_a_fault_in_one_group_leaves_the_others(monkeypatch, small_scene):
    monkeypatch.setattr(checks_ceos, "_slant_ranges", lambda *_: 1 / 0)
    monkeypatch.setattr(verification, "open_found", lambda *_, **options: [][0])
    report = verify_product(small_scene)
    assert wrong(report) == {"files: checks of view", OPENING}
    assert "please report it: ZeroDivisionError" in check_of(report, "checks of view").note
    assert check_of(report, "off-nadir angle").verdict == check_of(report, "wavelength").verdict == "agrees"


def test_text_that_was_delivered_is_made_harmless(product):
    summary_writer("Pds_ProductID", "\x1b[31m" + "x" * 5000)(product)
    value = check_of(verify_product(product), "product id").values["summary.txt"]
    assert "\x1b" not in value and len(value) < 200


def test_in_a_notebook_what_differs_stands_open(product):
    summary_writer("Pds_ProductID", "<script>")(product)
    shown = verify_product(product)._repr_html_()
    assert "1 stated once" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert shown.count("<details") == shown.count("</details>") > 3
    assert shown.count("<details open>") == 1 and "1 differs" in shown


# --- fuzz


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, bytes]:
    """The files of a small product of two polarisations."""
    folder = write_ceos(tmp_path_factory.mktemp("tiny"), dict.fromkeys(("HH", "HV"), amplitudes()), "FBDR1.5GUD")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mutated(name: str, content: bytes, draw: random.Random) -> bytes:
    """Bytes with a change that matters: a cut, a random byte, or a field with an unlikely value."""
    data = bytearray(content)
    kind = draw.choice(["cut", "grow", "byte", "field", "field", "field"])
    if kind == "cut":
        return bytes(data[: draw.choice([0, 12, 719, 720, draw.randrange(len(data))])])
    if kind == "grow":
        return bytes(data) + bytes(draw.randint(1, 3000))
    records = {"IMG": ["image_descriptor"], "VOL": ["volume_descriptor", "file_pointer", "text"]}
    leader = ["leader_descriptor", "dataset_summary", "map_projection", "radiometric", "facility_5"]
    records |= {"LED": leader, "TRL": ["trailer_descriptor"]}
    if kind == "byte" or name[:3] not in records:
        # of images also what stands before pixels
        data[draw.randrange(min(len(data), 5000))] = draw.randrange(256)
        return bytes(data)
    record = draw.choice(records[name[:3]])
    at, size = field_place(data, record, draw.choice(list(ceos_layout.RECORDS[record].layout)))
    values = ["", "0", "-1", "1", "9" * size, "nan", "inf", "1e308", "-1e308", "1e-300", "12", "61", "*" * 9]
    data[at : at + size] = draw.choice(values)[:size].rjust(size).encode("ascii")
    return bytes(data)


@examples(150)
@given(draw=st.randoms(use_true_random=False))
def test_damaged_products_get_a_report(tiny, tmp_path, draw):
    for name, content in tiny.items():
        path = tmp_path / name
        damaged = draw.random() < 0.4
        if not damaged and path.exists() and path.stat().st_size == len(content) and path.read_bytes() == content:
            continue
        path.write_bytes(mutated(name, content, draw) if damaged else content)
    try:
        report = verify_product(tmp_path)
    except Alos2TutError:
        return
    text = json.dumps(report.to_dict(), allow_nan=False) + report.to_text()
    assert "fault of alos2tut" not in text and str(tmp_path) not in text
