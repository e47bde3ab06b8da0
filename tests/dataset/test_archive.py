"""Which products a dataset is made of: paths, patterns, tables, filters, and what is left out and why."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.warp import transform as reproject_points
from scipy.optimize import linprog
from support.products import UTM54, amplitudes, archived, complex_numbers, write_ceos, write_geotiff

from alos2tut import Alos2TutError, load_config, open_product
from alos2tut.dataset.archive import Archive, Entry, Excluded, open_archive, product_paths, touches
from alos2tut.products.given import Given
from alos2tut.products.verify.report import verify_product

#: scene, product id, polarisations, acquired, off-nadir angle
PRODUCTS: dict[str, tuple[str, str, tuple[str, ...], str, float]] = {
    "autumn": ("ALOS2237752900-181018", "UBSR2.1GUD", ("HH",), "2018-10-18", 32.4),
    "winter": ("ALOS2250002900-190110", "UBSR2.1GUA", ("HH",), "2019-01-10", 32.4),
    "left": ("ALOS2240002900-181102", "UBSL2.1GUD", ("HH",), "2018-11-02", 38.7),
    "dual": ("ALOS2260002900-190320", "FBDR2.1GUA", ("HH", "HV"), "2019-03-20", 28.6),
}
NO_FILTER = {"patch_px": 8, "looks": 2}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small CEOS products, one folder each; ``dual`` lies 3° further west."""
    root = tmp_path_factory.mktemp("shelf")
    for number, (name, (scene, product_id, pols, day, off_nadir)) in enumerate(PRODUCTS.items()):
        transform = UTM54 if name != "dual" else Affine.translation(-270_000, 0) * UTM54
        write_ceos(
            root / name,
            {pol: amplitudes(seed=10 * number + i) for i, pol in enumerate(pols)},
            product_id,
            scene_id=scene,
            center_time=datetime.fromisoformat(f"{day}T03:04:05"),
            off_nadir_deg=off_nadir,
            transform=transform,
        )
    return root


def opened(shelf: Path, *names: str, **settings: Any) -> Archive:
    products = [shelf / name for name in names or PRODUCTS]
    return open_archive(load_config("dataset", **{"products": products, **NO_FILTER, **settings}))


def kept(archive: Archive) -> list[str]:
    return [Path(entry.path).name for entry in archive.entries]


def reasons(archive: Archive) -> dict[str, str]:
    return {Path(product.path).name: product.reason for product in archive.excluded}


def refusal(call: Any, *args: Any, **settings: Any) -> str:
    with pytest.raises(Alos2TutError) as error:
        call(*args, **settings)
    return str(error.value)


# --- paths and patterns


def test_paths_stand_for_themselves_and_patterns_for_what_they_match(shelf):
    names = sorted(PRODUCTS)
    assert product_paths(shelf / "winter") == [(str(shelf / "winter"), None)]
    assert product_paths(f"{shelf}/*") == [(str(shelf / name), None) for name in names]
    assert product_paths(f"{shelf}/*/") == product_paths([shelf / name for name in names])
    images = [path for path, _ in product_paths(f"{shelf.parent}/{shelf.name}/**/IMG-HH-*")]
    assert [Path(path).parent.name for path in images] == names
    several = product_paths([str(shelf / "winter"), f"{shelf}/[ad]u*"])
    assert [Path(path).name for path, _ in several] == ["winter", "autumn", "dual"]
    for pattern, problem in [(f"{shelf}/*/none*", "nothing matches"), ("scene\0", "is no path"), ("", "is no path")]:
        assert problem in refusal(product_paths, ["/", pattern])


def test_a_path_that_is_not_there_is_refused_when_it_is_opened(tmp_path):
    assert "no such file" in refusal(opened, tmp_path, "missing")
    assert "no products given" in refusal(lambda: open_archive(load_config("dataset")))


def test_a_product_given_twice_is_refused(shelf, tmp_path):
    (tmp_path / "link").symlink_to(shelf / "winter")
    again = str(shelf / "winter")
    for other in (again, f"{shelf}/w*", tmp_path / "link", f"{shelf}/left/../winter"):
        message = refusal(product_paths, [again, other])
        assert "given twice" in message and "winter" in message
    assert "link" in refusal(product_paths, [again, tmp_path / "link"])


def test_the_same_files_under_two_paths_are_refused(shelf, tmp_path):
    shutil.copytree(shelf / "winter", tmp_path / "copy")
    image = next((shelf / "winter").glob("IMG-*"))
    for other in (tmp_path / "copy", image):
        for on_error in ("raise", "skip"):
            message = refusal(opened, shelf, products=[shelf / "winter", other], on_error=on_error)
            assert message.startswith(str(other)) and "given twice" in message and str(shelf / "winter") in message
    for name in "ab":
        write_geotiff(tmp_path / name / "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif", amplitudes(), UTM54, None)
    table = write_table(tmp_path / "list.csv", "path,crs\na,EPSG:32653\nb,EPSG:32654\n")
    assert "given twice" in refusal(opened, tmp_path, products=table)


# --- tables


def write_table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_lists_products_from_its_own_folder(shelf, tmp_path, encoding, end):
    lines = ["path ,note,crs", 'sub/日本,"a, ""b""",', "", f"{shelf / 'left'},x,EPSG:32654", " plain ,y,"]
    table = write_table(tmp_path / "list.CSV", end.join(lines), encoding)
    expected = [
        (str(tmp_path / "sub/日本"), None),
        (str(shelf / "left"), "EPSG:32654"),
        (str(tmp_path / "plain"), None),
    ]
    assert product_paths(table) == expected
    assert product_paths([shelf / "dual", f"{tmp_path}/*.CSV"]) == [(str(shelf / "dual"), None), *expected]


def test_a_field_may_hold_a_line_end(tmp_path):
    table = write_table(tmp_path / "list.csv", 'path,note\na,"two\nlines"\n,\n')
    # as a spreadsheet counts: the header, the one with two lines, the faulty one
    assert "row 3 names no path" in refusal(product_paths, table)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("name,file\na,b\n", ["no column 'path'", "name, file"], id="no path column"),
        pytest.param("path;crs\na;b\n", ["no column 'path'", "path;crs", "commas"], id="semicolons"),
        pytest.param("path,path\na,b\n", ["two columns 'path'"], id="double column"),
        pytest.param("path,x\na,b\n ,c\n", ["row 3 names no path"], id="empty path"),
        pytest.param("path,x\na,b\n\nc\n", ["row 4 has 1 field", "2 columns"], id="too few fields"),
        pytest.param("path,x\na,b,c\n", ["row 2 has 3 fields", "quotes"], id="too many fields"),
        pytest.param('path,x\na,b\n"c"d,e\n', ["row 3", "CSV"], id="text after quotes"),
        pytest.param('path,x\na,"b\n', ["row 2", "CSV"], id="open quote"),
        pytest.param("path\na\n" + "b" * 200_000 + "\n", ["row 3", "field limit"], id="huge field"),
        pytest.param("path,x\n", ["lists no product"], id="header only"),
        pytest.param("", ["lists no product"], id="empty"),
        pytest.param("\n\n", ["lists no product"], id="blank"),
        pytest.param("path,crs\na,EPSG:32654\nb,UTM 54\n", ["row 3", "UTM 54", "coordinate system"], id="crs"),
        pytest.param("path\na\nb\n./a\n", ["given twice"], id="twice"),
        pytest.param("path\na\nb\0c\n", ["row 3", "NUL"], id="NUL"),
        pytest.param("path,crs\na,EPSG:326\0\n", ["row 2", "NUL"], id="NUL in crs"),
    ],
)
def test_tables_that_cannot_be_used_are_refused_by_name_and_row(tmp_path, text, parts):
    message = refusal(product_paths, write_table(tmp_path / "list.csv", text))
    assert str(tmp_path) in message and all(part in message for part in parts) and len(message) < 1000


def test_a_table_that_is_no_text_is_refused(tmp_path):
    assert "row 2 is no UTF-8" in refusal(product_paths, write_table(tmp_path / "a.csv", "path\né\n", "latin-1"))
    assert "row 1 is no UTF-8" in refusal(product_paths, write_table(tmp_path / "b.csv", "path\na\n", "utf-16"))
    assert "no such file" in refusal(product_paths, tmp_path / "missing.csv")
    with open(tmp_path / "c.csv", "wb") as sparse:
        sparse.truncate(60 * 2**20)
    assert "60 MB" in refusal(product_paths, tmp_path / "c.csv")


def test_tables_that_never_end_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "device.csv"):
        assert "no such file" in refusal(product_paths, tmp_path / name)


def test_a_coordinate_system_in_the_table_counts_before_that_of_all(tmp_path):
    for name in "ab":
        write_geotiff(
            tmp_path / name / "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif", amplitudes(seed=ord(name)), UTM54, None
        )
    table = write_table(tmp_path / "list.csv", "path,crs\na,EPSG:32653\nb,\n")
    config = load_config("dataset", products=table, crs="EPSG:32654", **NO_FILTER)
    entries = open_archive(config).entries
    assert [entry.info["crs"] for entry in entries] == ["EPSG:32653", "EPSG:32654"]
    assert [entry.open().crs.to_epsg() for entry in entries] == [32653, 32654]


# --- what is known of a product


def test_an_entry_says_what_its_product_is(shelf):
    archive = opened(shelf)
    assert kept(archive) == list(PRODUCTS) and archive.excluded == () and archive.polarizations == ("HH",)
    for entry, path in zip(archive.entries, (shelf / name for name in PRODUCTS), strict=True):
        product = open_product(path)
        # dataset.json does not name the sensor where it is the usual one
        info = {"path": str(path), "sensor": "ALOS-2 PALSAR-2", **entry.info}
        assert info == product.to_dict() and not {"path", "sensor"} & entry.info.keys()
        assert entry.name == product.image_name("HH")
        again = pickle.loads(pickle.dumps(entry))
        assert again == entry and again.open().fingerprint == product.fingerprint
        assert len(pickle.dumps(entry)) < 20_000
    assert len({entry.fingerprint for entry in archive.entries}) == len(PRODUCTS)


def test_a_fingerprint_follows_the_files_and_the_place_they_are_given(tmp_path):
    def found(crs: str, *, seed: int = 0, transform: Affine = UTM54, folder: str = "a") -> str:
        file = tmp_path / folder / "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif"
        write_geotiff(file, amplitudes(seed=seed), transform, None)
        table = write_table(tmp_path / "list.csv", f"path,crs\n{folder},{crs}\n")
        [entry] = open_archive(load_config("dataset", products=table, **NO_FILTER)).entries
        return entry.fingerprint

    first = found("EPSG:32654")
    assert first == found("EPSG:32654", folder="b")
    changed = [found("EPSG:32653"), found("EPSG:32654", seed=1),
               found("EPSG:32654", transform=UTM54 * Affine.translation(1, 0))]  # fmt: skip
    assert len({first, *changed}) == 4


def test_entries_open_from_any_folder(shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(shelf)
    [entry] = open_archive(load_config("dataset", products="winter", **NO_FILTER)).entries
    monkeypatch.chdir(tmp_path)
    assert entry.open().scene_id == "ALOS2250002900-190110"


def test_products_in_archives_are_products(shelf, tmp_path):
    packed = archived(shelf / "winter", tmp_path / "stored.zip", "delivery")
    archive = opened(shelf, products=[shelf / "autumn", packed])
    assert [entry.info["scene_id"] for entry in archive.entries] == [PRODUCTS[name][0] for name in ("autumn", "winter")]


# --- filters


@pytest.mark.parametrize(
    ("settings", "passing", "reason"),
    [
        ({"orbit_direction": "ascending"}, "winter dual", {"autumn": "descending orbit, ascending asked"}),
        ({"look_side": "right"}, "autumn winter dual", {"left": "looks left, right asked"}),
        ({"mode": "ubs"}, "autumn winter left", {"dual": "mode FBD, ubs asked"}),
        ({"off_nadir_deg": [30, 32.4]}, "autumn winter", {"left": "off-nadir angle 38.7°, 30 to 32.4° asked"}),
        ({"season": "autumn"}, "autumn left", {"winter": "acquired 2019-01-10 in winter, autumn asked"}),
        ({"season": "spring"}, "dual", {"left": "acquired 2018-11-02 in autumn, spring asked"}),
        (
            {"dates": ["2018-10-18", "2019-01-10"]},
            "autumn winter left",
            {"dual": "acquired 2019-03-20, 2018-10-18 to 2019-01-10 asked"},
        ),
        ({"polarization": "HV"}, "dual", {"autumn": "holds HH, HV asked"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_filters_leave_out_the_others_and_say_why(shelf, settings, passing, reason):
    archive = opened(shelf, **settings)
    assert kept(archive) == passing.split() and set(reasons(archive)) == PRODUCTS.keys() - {*passing.split()}
    assert reason.items() <= reasons(archive).items()
    assert {(product.why, product.setting) for product in archive.excluded} == {("filter", *settings)}


def test_the_beam_is_asked_by_its_name(shelf):
    beam = open_product(shelf / "autumn").beam
    assert kept(opened(shelf, beam=beam.lower()))[0] == "autumn"
    assert reasons(opened(shelf, "autumn", "dual", mode="FBD"))["autumn"].startswith("mode UBS")
    message = refusal(opened, shelf, beam="U2-8")
    assert "no product is left of 4: 4 by beam" in message and f"beam {beam}, U2-8 asked" in message


@pytest.mark.parametrize("month", range(1, 13))
def test_seasons_are_those_of_the_weather(tmp_path, month):
    write_ceos(tmp_path / "one", {"HH": amplitudes()}, center_time=datetime(2020, month, 1, 3, 4, 5))
    season = ("winter", "winter", *("spring",) * 3, *("summer",) * 3, *("autumn",) * 3, "winter")[month - 1]
    for asked in ("winter", "spring", "summer", "autumn"):
        if asked == season:
            assert kept(opened(tmp_path, "one", season=asked)) == ["one"]
        else:
            assert f"2020-{month:02}-01 in {season}, {asked} asked" in refusal(opened, tmp_path, "one", season=asked)


def test_what_a_product_does_not_state_it_does_not_pass(tmp_path):
    dn = amplitudes()
    tile = write_geotiff(
        tmp_path / "N35E139_20_sl_HH_F02DAR.tif", dn, Affine(0.001, 0, 139, 0, -0.001, 36), "EPSG:4326"
    )
    config = {"products": tile, "patch_px": 8, "looks": 1}

    def message(**settings: Any) -> str:
        return refusal(open_archive, load_config("dataset", **config, **settings))

    assert "states no observation mode" in message(mode="FBD") and "states no beam" in message(beam="F2-6")
    assert "states no off-nadir angle" in message(off_nadir_deg=[0, 90])
    assert "states only the year 2020, summer asked" in message(season="summer")
    assert "only the year 2020, 2020-01-02 to 2021-01-01 asked" in message(dates=["2020-01-02", "2021-01-01"])
    whole = open_archive(load_config("dataset", **config, dates=["2020-01-01", "2020-12-31"]))
    assert len(whole.entries) == 1 and whole.entries[0].info["acquired"] == "2020"


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"polarization": "HX"}, ["HX", "HH, HV, VH, VV"]),
        ({"off_nadir_deg": [35, 28]}, ["off_nadir_deg", "smaller one first"]),
        ({"off_nadir_deg": [float("nan"), 28]}, ["off_nadir_deg"]),
        ({"dates": [date(2020, 5, 1), date(2020, 4, 1)]}, ["dates", "2020-05-01 to 2020-04-01"]),
        ({"area": [139, 36, 140, 35]}, ["area", "west, south, east, north"]),
        ({"area": [139, 35, float("nan"), 36]}, ["area"]),
    ],
    ids=["polarization", "angles", "no number", "dates", "upside down", "area of nan"],
)
def test_filters_that_are_none_are_refused(shelf, settings, parts):
    message = refusal(opened, shelf, **settings)
    assert all(part in message for part in parts)


# --- area


def test_products_that_do_not_touch_the_area_are_left_out(shelf):
    west, south, east, north = 139.3, 35.2, 139.4, 35.3
    archive = opened(shelf, area=[west, south, east, north])
    assert kept(archive) == ["autumn", "winter", "left"]
    assert "outside the area asked" in reasons(archive)["dual"] and "136.3" in reasons(archive)["dual"]


def test_a_product_across_the_antimeridian_lies_there(tmp_path):
    (x,), (y,) = reproject_points("EPSG:4326", "EPSG:32760", [179.9995], [-16.5])
    grid = {"transform": Affine(100, 0, round(x) - 2000, 0, -100, round(y) + 2400), "utm_zone": 60, "south": True}
    write_ceos(tmp_path / "across", {"HH": amplitudes(seed=0)}, "UBSR2.1GUD", **grid)
    corners = np.array(open_product(tmp_path / "across").footprint)
    assert corners[:, 0].min() < -179.98 and corners[:, 0].max() > 179.98
    why = refusal(opened, tmp_path, "across", area=[10, 30, 11, 40])
    assert re.search(r"lies around -?(180\.00|179\.99), -16\.50, outside", why)
    assert kept(opened(tmp_path, "across", area=[179, -17, -179, -16])) == ["across"]
    checks = verify_product(tmp_path / "across").checks
    places = {check.name: check.verdict for check in checks if check.subject == "place"}
    assert set(places.values()) <= {"agrees", "stated once"} and places["A11…A24"] == places["corners"] == "agrees"


def test_a_map_may_count_longitudes_beyond_180(tmp_path):
    name = "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif"
    path = write_geotiff(tmp_path / name, amplitudes(), Affine(1e-3, 0, 179.98, 0, -1e-3, -16), "EPSG:4326")
    corners = np.array(open_product(path).footprint)
    assert corners[:, 0] == pytest.approx([179.98, -179.98, -179.98, 179.98])
    assert "lies around -180.00, -16.02" in refusal(opened, path.parent, name, area=[10, 30, 11, 40])


def share_a_point(footprint: np.ndarray, box: tuple[float, float, float, float]) -> bool:
    """Whether some mean of the corners, with weights of at least 0, lies in the box: asked of a solver."""
    west, south, east, north = box
    x, y = footprint.T
    found = linprog(
        np.zeros(len(x)), A_ub=[x, -x, y, -y], b_ub=[east, -west, north, -south], A_eq=[np.ones(len(x))], b_eq=[1]
    )
    return bool(found.status == 0)


@given(
    st.floats(-179, 179), st.floats(-60, 60), st.floats(0.1, 3), st.floats(0.1, 3), st.floats(0, 6.28),
    st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 4), st.floats(0.01, 4),
)  # fmt: skip
def test_a_footprint_touches_a_box_if_they_share_a_point(x, y, a, b, angle, dx, dy, width, height):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([(-a, -b), (a, -b), (a, b), (-a, b)]) @ turn.T + (x, y)
    box = (x + dx, y + dy, x + dx + width, y + dy + height)
    is_found = touches([tuple(corner) for corner in corners], box)
    # a solver's answer is good to a tolerance
    slack = 1e-6 if is_found else -1e-6
    assert share_a_point(corners, (box[0] - slack, box[1] - slack, box[2] + slack, box[3] + slack)) == is_found


def test_longitudes_count_modulo_a_turn():
    across = [(179.5, 10), (-179.5, 10), (-179.5, 11), (179.5, 11)]
    for west, east in ((179.8, 180), (-180, -179.8), (179, -179), (179, 181), (-180, 180)):
        assert touches(across, (west, 10, east, 11))
    for box in ((-179, 10, 179, 11), (0, 10, 1, 11), (178, 10, 179, 11), (179, 12, -179, 13)):
        assert not touches(across, box)
    assert touches([(139, 35), (140, 35), (140, 36), (139, 36)], (-180, -90, 180, 90))


# --- what cannot be used


@pytest.fixture
def odd(shelf, tmp_path) -> Path:
    """Products that cannot be used, and one that can."""
    shutil.copytree(shelf / "winter", tmp_path / "good")
    write_ceos(tmp_path / "slant", {"HH": complex_numbers()}, "UBSR1.1__D")
    write_geotiff(tmp_path / "nowhere" / "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif", amplitudes(), UTM54, None)
    write_ceos(tmp_path / "small", {"HH": amplitudes((48, 15))})
    shutil.copytree(shelf / "autumn", tmp_path / "damaged")
    next((tmp_path / "damaged").glob("LED-*")).unlink()
    (tmp_path / "text").mkdir()
    write_geotiff(tmp_path / "N35E139_20_C_F02DAR.tif", amplitudes() % 4, UTM54, dtype="uint8").rename(
        tmp_path / "text" / "N35E139_20_C_F02DAR.tif"
    )
    return tmp_path


UNUSABLE = {
    "slant": "lies on no map, and IMG-HH-",
    "nowhere": "coordinate system",
    "small": "48 × 15 pixels at 2 looks hold no patch of 8 px",
    "damaged": "leader file is missing",
    "text": "no backscatter images",
    "missing": "no such file",
}


def test_products_that_cannot_be_used_stop_the_work_or_are_left_out(odd):
    for name, part in UNUSABLE.items():
        message = refusal(opened, odd, name, "good")
        assert part in message and name in message
    archive = opened(odd, *UNUSABLE, "good", on_error="skip")
    assert kept(archive) == ["good"]
    assert {product.why for product in archive.excluded} == {"unreadable"}
    for name, part in UNUSABLE.items():
        assert part in reasons(archive)[name] and str(odd.parent) not in reasons(archive)[name]


def test_a_reason_names_files_without_their_folders():
    for problem, where, reason in [
        ("is damaged", "/my data/scene", "is damaged"),
        ("is damaged", None, "is damaged"),
        ("is damaged", "/my data/scene/IMG-HH", "IMG-HH: is damaged"),
        ("cannot be read ('/maps/l.tif': no TIFF)", "/maps/l.tif", "l.tif: cannot be read ('l.tif': no TIFF)"),
        ("is another than /my data/scene/IMG-HV", "/my data/scene/IMG-HH", "IMG-HH: is another than IMG-HV"),
        ("row is no row", "/my data/list.csv, row 3", "list.csv, row 3: row is no row"),
    ]:
        error = Alos2TutError(problem, where=where, remedy="See /my data.")
        assert Excluded.of("/my data/scene", error).reason == reason
    assert Excluded.of("/a/b", Alos2TutError("no")) == Excluded("/a/b", "unreadable", "no")


def test_a_filter_comes_before_what_cannot_be_used(odd):
    archive = opened(odd, "slant", "small", "good", orbit_direction="ascending")
    assert kept(archive) == ["good"] and {product.why for product in archive.excluded} == {"filter"}


def test_nothing_left_says_how_many_for_what(odd, shelf):
    paths = [odd / "slant", odd / "missing", *(shelf / name for name in PRODUCTS)]
    message = refusal(opened, odd, products=paths, on_error="skip", orbit_direction="ascending", season="summer")
    assert "no product is left of 6: 3 by orbit_direction, 2 by season, 1 unreadable" in message
    assert f"{odd / 'slant'}: descending orbit" in message


# --- all are alike


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_products_that_differ_are_refused(shelf, tmp_path, on_error):
    def told(name: str, *products: Path, **settings: Any) -> str:
        message = refusal(opened, shelf, products=products, on_error=on_error, **settings)
        assert message.startswith(str(products[-1])) and name in message
        return message

    coarse = write_ceos(tmp_path / "coarse", {"HH": amplitudes()}, transform=UTM54 * Affine.scale(2))
    told("pixels of (5.0, 5.0) m, the first product of (2.5, 2.5) m", shelf / "winter", coarse)
    tile = write_geotiff(tmp_path / "N35E139_20_sl_HH_F02DAR.tif", amplitudes(), UTM54)
    told("is gamma0, the first product is sigma0", shelf / "winter", tile)
    image = next((shelf / "dual").glob("IMG-HV-*"))
    message = told("holds HH, but HV is read from the first product", image, shelf / "winter")
    assert PRODUCTS["dual"][0] in message and "polarization=" in message


def test_the_first_product_that_is_kept_decides_what_is_read(shelf):
    image = next((shelf / "dual").glob("IMG-HV-*"))
    assert opened(shelf, products=[image]).polarizations == ("HV",)
    archive = opened(shelf, products=[image, shelf / "winter"], mode="UBS")
    assert archive.polarizations == ("HH",) and kept(archive) == ["winter"]
    archive = opened(shelf, products=[shelf / "winter", image])
    assert archive.polarizations == ("HH",) and archive.entries[1].name.startswith("IMG-HH-ALOS2260002900")


# --- as text


def test_the_text_lists_what_is_used_and_what_is_not(shelf):
    lines = opened(shelf, orbit_direction="descending").to_text().splitlines()
    assert lines[0] == "2 products, HH is read"
    assert lines[1].split() == ["product", "date", "orbit", "beam", "off-nadir", "pixels"]
    assert lines[2].split()[:4] == ["IMG-HH-ALOS2237752900-181018-UBSR2.1GUD", "2018-10-18", "desc.", "UBS"]
    assert "32.4°" in lines[2] and lines[2].endswith("48 × 40") and "38.7°" in lines[3]
    assert lines[5] == "2 products left out: 2 by orbit_direction"
    assert lines[6:] == [str(shelf / "winter"), "    ascending orbit, descending asked",
                         str(shelf / "dual"), "    ascending orbit, descending asked"]  # fmt: skip


def test_the_text_of_thousands_is_short():
    info = {"acquired": "2020-07-01T01:02:03Z", "orbit_direction": "ascending", "mode": "WBD", "beam": "W2",
            "off_nadir_deg": None, "shape": [29_000, 27_000]}  # fmt: skip
    entries = tuple(
        Entry(f"/a/{i}", Given(), info, f"IMG-HH-ALOS2{i:09}-200701-WBDR2.1GUA", str(i)) for i in range(5000)
    )
    left_out = [Excluded(f"/b/{i}", "filter", "states no date", "season") for i in range(2000)]
    left_out += [Excluded(f"/c/{i}", "unreadable", "is damaged " * 40) for i in range(1500)]
    lines = Archive(entries, tuple(left_out), ("HH",)).to_text().splitlines()
    assert len(lines) < 90 and max(map(len, lines)) <= 100
    assert "… and 4,980 more" in lines and "… and 3,480 more" in lines
    assert "3,500 products left out: 2,000 by season, 1,500 unreadable" in lines
    assert "left out" not in Archive(entries[:1], (), ("HH",)).to_text()
    # what failed comes first, wherever in the work it did
    failed = Excluded.of("/c/1", Alos2TutError("is damaged"))
    lines = Archive(entries[:1], (*left_out[:49], failed), ("HH",)).to_text().splitlines()
    assert lines[4:7] == ["50 products left out: 49 by season, 1 unreadable", "/c/1", "    is damaged"]
    assert lines[-3:] == ["/b/18", "    states no date", "… and 30 more"]
    lines = Archive(entries[:1], (failed,), ("HH",)).to_text().splitlines()
    assert lines[4:] == ["1 product left out: 1 unreadable", "/c/1", "    is damaged"]
