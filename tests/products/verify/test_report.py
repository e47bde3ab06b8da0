"""Verifying products: what agrees, what every kind of damage shows, and that nothing private is shown."""

import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from support.archives import with_wrong_byte
from support.packagings import field_place, write_field
from support.products import (
    ARCHIVES,
    UTM54,
    amplitudes,
    archived,
    complex_numbers,
    with_gaps,
    write_ceos,
)
from support.properties import examples
from support.reports import OPENING, check_of, wrong

from alos2tut import Alos2TutError, Alos2TutWarning, open_product
from alos2tut.cli import main
from alos2tut.dataset.verify import verify_dataset
from alos2tut.geometry import incidence_by_slant_range_deg
from alos2tut.products import archives, ceos_layout
from alos2tut.products.verify import ceos as checks_ceos
from alos2tut.products.verify import report as verification
from alos2tut.products.verify.report import verify_product

#: what names of the small simulated product share
SMALL = "ALOS2900018830-221119-UBSR2.1GUD"


def file_of(folder: Path, kind: str) -> Path:
    return next(folder.glob(f"{kind}*"))


#: files of the records that are not the leader's
FILES = {"image_descriptor": "IMG", "volume_descriptor": "VOL", "file_pointer": "VOL"}


def field(kind: str, name: str, text: str) -> Callable[[Path], None]:
    """What writes a text into a field of a record, right-justified."""
    return lambda folder: write_field(file_of(folder, FILES.get(kind, "LED")), kind, name, text)


def lines(name: str, value: object, rows: slice = slice(None)) -> Callable[[Path], None]:
    """What writes a field of some lines' prefixes; a function is given what was there."""

    def write(folder: Path) -> None:
        path = file_of(folder, "IMG")
        data = bytearray(path.read_bytes())
        fields = ceos_layout.unpack(bytes(data[:720]), ceos_layout.IMAGE_DESCRIPTOR)
        code, count = fields["sample_code"], (len(data) - 720) // fields["record_bytes"]
        prefixes = np.ndarray((count,), ceos_layout.prefix_dtype(code), data, 720, (fields["record_bytes"],))
        before = prefixes[name][rows].copy()
        prefixes[name][rows] = value(before) if callable(value) else value
        path.write_bytes(data)

    return write


def summary(key: str, value: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "summary.txt"
        text, count = re.subn(rf'^{key}=".*"$', f'{key}="{value}"', path.read_text(), flags=re.M)
        assert count == 1
        path.write_text(text)

    return write


def moved_north(corner: str) -> Callable[[Path], None]:
    """A latitude of ``summary.txt``, one degree further north."""

    def move(folder: Path) -> None:
        key = f"Img_{corner}Latitude"
        [stated] = re.findall(rf'^{key}="(.*)"$', (folder / "summary.txt").read_text(), flags=re.M)
        summary(key, f"{float(stated) + 1:.3f}")(folder)

    return move


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


def test_a_damaged_member_is_unreadable_and_the_others_are_read(capsys, tmp_path):
    images = {"HH": amplitudes(), "HV": amplitudes(seed=1)}
    folder = write_ceos(tmp_path / "product", images, "UBDR2.1GUD")
    archive = archived(folder, tmp_path / "deflated.zip")
    name = file_of(folder, "IMG-HV").name
    with_wrong_byte(archive, archive.read_bytes().index(name.encode()) + 2000)
    assert main(["verify", str(archive)]) == 1
    assert re.search(f"unreadable +{name} +{name}: is damaged", capsys.readouterr().out)
    with pytest.warns(Alos2TutWarning, match=f"deflated.zip/{name}: is damaged"):
        product = open_product(archive)
    np.testing.assert_array_equal(product.read_dn(), with_gaps(images["HH"]))
    assert "image HV" in product.gaps
    with pytest.raises(Alos2TutError, match=f"deflated.zip/{name}: is damaged .*Download it again"):
        open_product(archive / name)


# --- damage, one by one

ZONE, NORTH, MAP, PLACE = "place: UTM zone", "place: hemisphere", "place: map corners", "place: centre"
CORNERS, POLYNOMIAL, STEPS = "place: corners", "place: A11…A24", "place: spacing of lines, pixels"
LEFT_OUT, KINDS = "files: named by summary.txt", "files: LED, IMG, TRL"
BEFORE, PARALLEL = "image HH: bytes before pixels", "place: parallelogram"
RANGES, BY_RANGES = "view: slant ranges of HH", "view: incidence, slant ranges of HH"
VIEW = {"view: incidence, off-nadir angle", BY_RANGES}
RECORDS, OF_IMAGE = (
    "image HH: records of lines",
    ("place: centre of the image", "place: middle of the image's diagonals"),
)
DAMAGE: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "fewer lines": (field("image_descriptor", "lines", "511"), {"image HH: file size", "image HH: lines", RECORDS}),
    "fewer pixels": (
        field("image_descriptor", "pixels", "639"),
        {"image HH: pixels", "image HH: bytes of a line", "image HH: bytes of pixels"},
    ),
    "records beyond count": (field("image_descriptor", "line_records", "999999"), {RECORDS}),
    "records below zero": (field("image_descriptor", "line_records", "-1"), {RECORDS}),
    "bytes of pixels": (field("image_descriptor", "data_bytes", "1282"), {"image HH: bytes of pixels"}),
    "the image's corner in summary.txt": (
        moved_north("ImageSceneLeftTop"),
        {*OF_IMAGE, "place: bounds of image and frame"},
    ),
    "the image's centre in summary.txt": (moved_north("ImageSceneCenter"), {OF_IMAGE[0]}),
    "lines of the map": (field("map_projection", "lines", "513"), {"image HH: lines", POLYNOMIAL}),
    "pixels in summary.txt": (summary("Pdi_NoOfPixels_0", "641"), {"image HH: pixels"}),
    "a line's length": (lines("length", 1473, slice(0, 1)), {"image HH: bytes of a line"}),
    "lines renumbered": (lines("line", lambda n: n + 1, slice(200, 300)), {"image HH: line numbers"}),
    "the last line's number": (lines("line", 999, slice(511, 512)), {"image HH: line numbers", "image HH: lines"}),
    "records renumbered": (lines("sequence", lambda n: n + 1), {"image HH: record numbers"}),
    "pixels of lines": (lines("data_pixels", 600), {"image HH: pixels"}),
    "type of lines": (lines("type", (50, 10, 18, 20)), {"image HH: record type"}),
    "prefix": (
        field("image_descriptor", "prefix_bytes", "180"),
        {"image HH: bytes before pixels", "image HH: bytes of a line", OPENING},
    ),
    "polarisation": (lines("received", 1), {"image HH: polarisation"}),
    "polarisations of the mode": (lines("channel", 2), {"identity: mode's polarisations"}),
    "scene": (field("dataset_summary", "scene_id", "ALOS2014555550-140830"), {"identity: scene"}),
    "product id": (summary("Pds_ProductID", "UBSR1.5GUD"), {"identity: product id"}),
    "level": (field("dataset_summary", "level", "1.5"), {"identity: level"}),
    "orbit": (field("dataset_summary", "orbit", "1455"), {"identity: orbit number"}),
    "direction": (field("dataset_summary", "orbit_direction", "ASCEND"), {"identity: orbit direction"}),
    "look side": (field("dataset_summary", "clock_angle_deg", "-90.000"), {"identity: look side"}),
    "centre time": (field("dataset_summary", "center_time", "20221119024300500"), {"time: centre"}),
    "another day": (summary("Lbi_ObservationDate", "20221120"), {"time: day"}),
    "end before the centre": (summary("Img_SceneEndDateTime", "20221119 02:42:59.950"), {"time: start, centre, end"}),
    "time of lines": (lines("millisecond", lambda n: n + 7000), {"time: lines of HH"}),
    "no such day": (lines("day_of_year", 400), {"time: lines of HH"}),
    "zone": (field("map_projection", "utm_zone", "53"), {ZONE, MAP, PLACE}),
    "zone in summary.txt": (summary("Pds_UTM_ZoneNo", "53"), {ZONE}),
    "false northing": (field("map_projection", "false_northing_m", "10000000.0"), {NORTH, MAP, PLACE}),
    "signs of latitudes": (lines("latitudes", np.negative), {CORNERS, NORTH}),
    "latitudes beyond the pole": (lines("latitudes", 95_000_000), {CORNERS}),
    "a corner in metres": (
        field("map_projection", "top_right_easting_km", "351.6067500"),
        {MAP, PARALLEL, STEPS},
    ),
    "a corner in degrees": (
        field("map_projection", "top_right_longitude_deg", "139.370"),
        {MAP, POLYNOMIAL, CORNERS},
    ),
    "a corner in summary.txt": (summary("Img_FrameSceneLeftTopLatitude", "35.298"), {CORNERS}),
    "polynomial": (field("map_projection", "coefficients_a", 8 * f"{0.1:20.10E}"), {POLYNOMIAL}),
    "centre": (field("dataset_summary", "center_longitude_deg", "139.4000000"), {PLACE, OF_IMAGE[0]}),
    "spacing": (summary("Pds_PixelSpacing", "3.125000"), {STEPS}),
    "incidence": (field("dataset_summary", "incidence_deg", "20.000"), VIEW),
    "off-nadir angle": (summary("Img_OffNadirAngle", "33.4"), {"view: off-nadir angle"}),
    "polynomial of incidence": (
        field("dataset_summary", "incidence_polynomial", f"{0.5:20.13E}" + 5 * f"{0.0:20.13E}"),
        {"view: θ(R), slant ranges of HH", BY_RANGES},
    ),
    "slant ranges": (lines("slant_range_m", [760_000, 761_000, 759_000]), {RANGES}),
    "near slant ranges": (lines("slant_range_m", lambda n: n // 2), {RANGES, BY_RANGES}),
    "factor": (field("radiometric", "calibration_factor_db", "-79.0000000"), {"radiometry: calibration factor in dB"}),
    "software": (field("volume_descriptor", "software", "002.013"), {"radiometry: software version"}),
    "wavelength": (field("dataset_summary", "wavelength_m", "0.0555000"), {"radiometry: wavelength"}),
    "looks": (field("dataset_summary", "range_looks", "0.0000000"), {"radiometry: looks in azimuth, range"}),
    "count of records": (field("leader_descriptor", "platform_count", "2"), {"records: records of the leader"}),
    "pointer": (field("file_pointer", "records", "13"), {"records: number and longest of the leader"}),
    "no trailer": (remover("TRL"), {LEFT_OUT, KINDS}),
    "no volume directory": (remover("VOL"), {LEFT_OUT}),
    "no leader": (remover("LED"), {LEFT_OUT, KINDS, OPENING}),
    "no summary": (remover("summary"), set()),
    "no image": (remover("IMG"), {LEFT_OUT, KINDS, OPENING}),
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
    lines("line", 999, slice(511, 512))(product)
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
    field("radiometric", "calibration_factor_db", "")(product)
    check = check_of(verify_product(product), "calibration factor in dB")
    assert (check.verdict, check.values) == ("stated once", {"JAXA's publication": "-83"})
    assert "assumed" in check.note


def test_times_are_in_order_as_far_as_they_are_stated(product):
    path = product / "summary.txt"
    text = path.read_text()
    path.write_text(re.sub(r"^Img_SceneStartDateTime=.*\n", "", text, flags=re.M))
    report = verify_product(product)
    assert check_of(report, "start, centre, end").verdict == "agrees"
    check = check_of(report, "lines of HH")
    assert (check.verdict, check.values.keys()) == ("stated once", {"lines"})


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


@pytest.mark.parametrize("name", ["none", "empty", "cut.zip", "cut.tar.gz", "dataset"])
@pytest.mark.parametrize("way", ["absolute", "relative"])
def test_no_folder_is_named_in_an_error(capsys, monkeypatch, tmp_path, name, way):
    folder = tmp_path / "of jane" / "Doe: 1"
    (folder / "empty").mkdir(parents=True)
    (folder / "dataset").mkdir()
    for file in ("cut.zip", "cut.tar.gz", "dataset/dataset.json"):
        (folder / file).write_bytes(b"PK\x03\x04")
    monkeypatch.chdir(tmp_path)
    path = folder / name if way == "absolute" else (folder / name).relative_to(tmp_path)
    for options in ([], ["--json"]):
        assert main(["verify", str(path), *options]) == 2
        told = capsys.readouterr().err
        assert name in told and not re.search(r"jane|Doe|pytest", told)


def test_no_part_of_an_odd_path_is_told(tmp_path, small_scene):
    folder = shutil.copytree(
        small_scene, tmp_path / "Jo O'Neill: data (2)" / "a b", ignore=shutil.ignore_patterns("l*")
    )
    cutter("LED", 5)(folder)
    lines("latitudes", np.negative)(folder)
    archive = archived(folder, folder.parent / "stored.zip", "inner")
    for path in (folder, file_of(folder, "LED"), archive, archive / "inner"):
        text = verify_product(path).to_text()
        assert "is truncated" in text and not re.search(r"Neill|data \(2\)|a b|pytest|stored\.zip", text)


def test_json_and_text_tell_the_same(capsys, small_scene):
    assert main(["verify", str(small_scene), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    report = verify_product(small_scene)
    assert shown == json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (
        shown["agree"] == report.agree
        and shown["differ"] == 0
        and (shown["once"], shown["absent"]) == (1, 0)
        and shown["identity"] == report.identity == SMALL
        and {"alos2tut", "GDAL", "rasterio"} <= shown["versions"].keys()
    )
    text = report.to_text()
    assert f"{report.agree} agree, 0 differ, 1 stated once, 0 absent, 0 unreadable" in text and "GDAL" in text
    assert all(check.name in text and check.subject in text for check in report.checks)
    assert re.search(r"^  stated once  frame +\d+ \(name\)$", text, re.M)
    assert re.search(r"^  agrees {7}lines +512 \(descriptor, lines, map projection, ", text, re.M)


def test_the_exit_status_says_whether_all_is_well(capsys, product, tmp_path):
    assert main(["verify", str(product)]) == 0
    lines("received", 1)(product)
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
    summary("Pds_ProductID", "\x1b[31m" + "x" * 5000)(product)
    value = check_of(verify_product(product), "product id").values["summary.txt"]
    assert "\x1b" not in value and len(value) < 200


def test_in_a_notebook_what_differs_stands_open(product):
    summary("Pds_ProductID", "<script>")(product)
    shown = verify_product(product)._repr_html_()
    assert "1 stated once" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert shown.count("<details") == shown.count("</details>") > 3
    assert shown.count("<details open>") == 1 and "1 differs" in shown
    assert re.search("[02-9] agree[,<]", shown) and not re.search("[02-9] agrees", shown)


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
    at, form = field_place(data, record, draw.choice(list(ceos_layout.RECORDS[record].layout)))
    size = form.total_bytes
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


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"GIF89a", b"Scs=\x00"])
def test_a_summary_that_is_no_text_is_unreadable(product, content):
    (product / "summary.txt").write_bytes(content)
    [check] = [check for check in verify_product(product).checks if check.name == "summary.txt"]
    assert check.verdict == "unreadable" and ("no UTF-8 text" in check.note or "holds no lines" in check.note)


@pytest.mark.parametrize("member", ["IMG", "LED"])
def test_a_wrong_byte_of_a_stored_member_is_found_by_its_checksum(product, tmp_path, monkeypatch, member):
    archive, [path] = tmp_path / "p.zip", product.glob(f"{member}*")
    with zipfile.ZipFile(archive, "w") as into:
        for file in product.iterdir():
            into.write(file, file.name)
    assert "files: checksums of the archive" not in wrong(verify_product(archive))
    content = bytearray(archive.read_bytes())
    at = content.index(path.read_bytes()) + (path.stat().st_size - 3)
    content[at] ^= 1
    archive.write_bytes(content)
    if member == "LED":
        with pytest.raises(Alos2TutError, match=r"LED-.*is damaged or truncated \(Bad CRC-32"):
            open_product(archive)
    # of images, which are large, not each time they are opened
    monkeypatch.setattr(archives, "_HEADER_BYTES", 2**16 if member == "IMG" else 2**23)
    report = verify_product(archive)
    [check] = [check for check in report.checks if check.name == "checksums of the archive"]
    assert check.verdict == "differs" and path.name in check.note and str(tmp_path) not in report.to_text()
    if member == "IMG":
        assert wrong(report) == {"files: checksums of the archive"}


def test_two_checksums_of_a_zip_that_differ_are_told(product, tmp_path):
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as into:
        for file in product.iterdir():
            into.write(file, file.name)
    content = bytearray(archive.read_bytes())
    content[14] ^= 1  # of the first member's own header
    archive.write_bytes(content)
    report = verify_product(archive)
    assert wrong(report) == {"files: checksums of the archive"}
    assert "its own header states another checksum" in report.to_text()


def test_the_report_on_a_dataset_names_no_folder(packed_dataset, tmp_path):
    folder = shutil.copytree(packed_dataset, tmp_path / "of jane doe" / "my secret")
    (folder / "val_db.npy").write_bytes(b"damaged")
    (folder / "test_labels.npy").unlink()
    text = verify_dataset(folder).to_text()
    assert "unreadable" in text and not any(name in text for name in ("jane", "secret", tmp_path.name))
