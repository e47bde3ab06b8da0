"""ALOS and ALOS-4 through the same door: their names, lines, calibration; what is another satellite's is refused.

No real file of them was at hand: what is read here was written for it, by what readers of real ones report.
"""

import math
import struct
from datetime import datetime

import numpy as np
import pytest
from support.packagings import change_summary, leader_of, opened, without_records, write_field, write_scansar
from support.products import UTM54, amplitudes, complex_numbers, read_by_gdal, with_gaps, write_ceos
from support.satellites import ALOS4_11, ALOS4_15, ALOS4_21, ALOS_11, ALOS_15, pixels_of, turned_into

from alos2tut import Alos2TutError, Alos2TutWarning, open_product, verify_product
from alos2tut.products.satellites import owner_of

ON_A_MAP = [
    pytest.param(ALOS_15, "UBSR1.5GUD", 0, id="ALOS 1.5"),
    pytest.param(ALOS_15, "UBSR1.5RUD", 10, id="ALOS 1.5, along the orbit"),
    pytest.param(ALOS4_15, "UBSR1.5GUD", 0, id="ALOS-4 1.5"),
    pytest.param(ALOS4_21, "UBSR2.1GUD", 0, id="ALOS-4 2.1"),
]

#: slant range under the usual incidence from 705 km: so high ALOS may fly, and no other
ALOS_RANGE_M = 852_411


def write(folder, identity, product_id="UBSR1.5GUD", pixels=None, **changes):
    pixels = {"HH": amplitudes()} if pixels is None else pixels
    return turned_into(write_ceos(folder, pixels, product_id, **changes), identity)


@pytest.mark.parametrize(("identity", "product_id", "turned_deg"), ON_A_MAP)
def test_amplitudes_are_calibrated_by_the_leader_and_placed_by_its_corners(tmp_path, identity, product_id, turned_deg):
    transform = UTM54 * UTM54.rotation(turned_deg)
    images = {"HH": amplitudes(), "HV": amplitudes(seed=1)}
    folder = write(tmp_path, identity, product_id, images, transform=transform, calibration_factor_db=-82.5)
    product = open_product(folder)
    is_alos = identity.startswith("ALPSR")
    assert (product.sensor, product.level, product.quantity, product.crs.to_epsg()) == (
        "ALOS PALSAR" if is_alos else "ALOS-4 PALSAR-3", product_id[4:7], "sigma0", 32654)  # fmt: skip
    assert (product.mode, product.look_side, product.orbit_direction, product.orbit, product.frame) == (
        "H" if is_alos else identity[18:21], "right", "descending", 23775, 2900)  # fmt: skip
    assert product.acquired.startswith("2018-10-18") and product.incidence_deg == pytest.approx(36.3)
    np.testing.assert_allclose(product.transform[:6], transform[:6], atol=1e-3)
    for pol, dn in images.items():
        np.testing.assert_array_equal(product.read_dn(polarization=pol), with_gaps(dn))
        np.testing.assert_array_equal(pixels_of(folder, pol, ">u2"), dn)
        expected = [20 * math.log10(n) - 82.5 if n else math.nan for n in dn[7].tolist()]
        np.testing.assert_allclose(product.read_db(polarization=pol)[7], expected, atol=1e-4)
    np.testing.assert_array_equal(read_by_gdal(folder / product.name)[0], amplitudes())
    assert any("no real file" in note for note in product.notes)
    assert any("none that JAXA has published" in note for note in product.notes)


@pytest.mark.parametrize(("identity", "prefix_bytes"), [(ALOS_11, 412), (ALOS4_11, 800)])
def test_complex_numbers_follow_a_satellites_own_prefix(tmp_path, identity, prefix_bytes):
    pixels = {"HH": complex_numbers(), "HV": complex_numbers(seed=1)}
    seen = {"center_range_m": ALOS_RANGE_M} if identity == ALOS_11 else {}
    product = open_product(write(tmp_path, identity, "UBSR1.1__D", pixels, **seen))
    assert product.bands["HH"].prefix_bytes == prefix_bytes and product.grid is None
    for pol, numbers in pixels.items():
        np.testing.assert_array_equal(product.read_slc(polarization=pol), numbers)
        power_db = 10 * np.log10(np.abs(numbers.astype(np.complex128)) ** 2) - 83 - 32
        np.testing.assert_allclose(product.read_db(polarization=pol), power_db, atol=1e-3)
    # ALOS-4 states centimetres, and no spacing of pixels: that follows from the sampling of echoes
    assert product.incidence_source == "slant range of the lines (smooth Earth)"
    nadir_m, earth_m = product.slant_range_incidence.radius_m, 6_371_000
    ranges_m = (seen or {"center_range_m": 760_000})["center_range_m"] + 1.43 * (np.arange(40) - 19.5)
    sides = np.degrees(np.arccos((nadir_m**2 - earth_m**2 - ranges_m**2) / (2 * earth_m * ranges_m)))
    np.testing.assert_allclose(product.read_incidence()[7], sides, atol=1e-3)
    assert nadir_m - earth_m == pytest.approx(705_000 if seen else 628_000, abs=1500)
    assert product.spacing_m == pytest.approx((2.1, 1.43) if "ALPSR" in identity else (math.nan, math.nan), nan_ok=True)


def test_level_11_states_the_spacing_in_range_first(tmp_path):
    """JAXA's sample ALOS2403684200-200620 does: 1.4304222 where maps have that of lines, 2.1960598 where of pixels."""
    folder = write_ceos(tmp_path, {"HH": complex_numbers()}, "UBSR1.1__D", spacing_m=(2.1960598, 1.4304222))
    assert open_product(folder).spacing_m == (2.1960598, 1.4304222)
    ranges = open_product(folder).read_incidence()
    for name, text in (("line_spacing_m", "1.4304222"), ("pixel_spacing_m", "2.1960598")):
        write_field(leader_of(folder), "dataset_summary", name, text)
    assert open_product(folder).spacing_m == (2.1960598, 1.4304222)
    np.testing.assert_array_equal(open_product(folder).read_incidence(), ranges)
    # without a sampling rate there is nothing to tell them by
    write_field(leader_of(folder), "dataset_summary", "sampling_mhz", "")
    assert open_product(folder).spacing_m == (1.4304222, 2.1960598)


def test_a_scan_of_alos4_is_one_of_scans(tmp_path):
    write_scansar(tmp_path)
    scans = turned_into(tmp_path, ALOS4_11.replace("UWD", "XWD"))
    product = open_product(scans, scan=2)
    assert (product.scan, product.scans, product.mode, product.shape) == (2, (1, 2), "XWD", (60, 24))
    assert product.product_id == "1.1__--F2"


@pytest.mark.parametrize(("identity", "level"), [(ALOS_15, "1.5"), (ALOS4_21, "2.1")])
def test_no_factor_is_assumed_for_another_satellite(tmp_path, identity, level):
    folder = write(tmp_path, identity, f"UBSR{level}GUD")
    without_records(leader_of(folder), "radiometric")
    product = open_product(folder)
    assert (product.quantity, product.calibration_factor_db) == ("relative", 0.0)
    assert any("it is no σ0" in note for note in product.notes) and "leader: radiometric record" in product.gaps
    dn = amplitudes()[7].astype(float)
    expected = 20 * np.log10(dn, where=dn > 0, out=np.full(dn.shape, math.nan))
    np.testing.assert_allclose(product.read_db()[7], expected, atol=1e-4)
    with pytest.raises(Alos2TutError, match="relative"):
        product.read_db(quantity="gamma0")
    alos2 = write_ceos(tmp_path / "alos2", {"HH": amplitudes()})
    without_records(leader_of(alos2), "radiometric")
    assert open_product(alos2).calibration_factor_db == -83


@pytest.mark.parametrize(("processed", "warns"), [(datetime(2008, 12, 31), True), (datetime(2009, 1, 10), False)])
def test_alos_had_factors_by_mode_and_polarization_until_2009(tmp_path, processed, warns):
    """JAXA, "PALSAR calibration factor updated": before 2009-01-09 −80.2 dB for HV of FBD34.3, −83.0 since."""
    folder = write(tmp_path, ALOS_15, center_time=datetime(2007, 5, 1, 13), processed=processed)
    if warns:
        with pytest.warns(Alos2TutWarning, match=r"processed 2008-12-31: .*80\.2 dB for HV; the leader's -83 dB"):
            product = open_product(folder)
    else:
        product = open_product(folder)
    assert any("by mode and polarisation" in note for note in product.notes) == warns
    assert product.calibration_factor_db == -83


@pytest.mark.parametrize(("identity", "name"), [(ALOS4_21, f"summary-{ALOS4_21}.txt"), (ALOS_15, "workreport")])
def test_summaries_have_other_names(tmp_path, identity, name):
    folder = write(tmp_path, identity, f"UBSR{'2.1' if 'ALOS4' in identity else '1.5'}GUD")
    if name == "workreport":
        (folder / "summary.txt").rename(folder / name)
    product = open_product(folder / name)
    assert product.processed == "2018-10-18T03:04:05Z" and "summary.txt" not in product.gaps
    assert folder / name in product.files and len(product.footprint) == 4
    (folder / name).rename(folder / "other")
    assert "summary.txt" in open_product(folder).gaps


@pytest.mark.parametrize(
    ("identity", "product_id"),
    [(ALOS_15, "UBDR1.5GUD"), (ALOS_11, "UBDR1.1__D"), (ALOS4_21, "UBDR2.1GUD"), (ALOS4_11, "UBDR1.1__D")],
)
def test_checks_find_no_fault_that_is_a_satellites_form(tmp_path, identity, product_id):
    pixels = {"HH": complex_numbers() if "1.1" in product_id else amplitudes()}
    ranges = {"center_range_m": ALOS_RANGE_M} if identity == ALOS_11 else {}
    report = verify_product(write(tmp_path, identity, product_id, pixels, **ranges))
    assert [check for check in report.checks if check.verdict in ("differs", "unreadable")] == []
    # and still finds one
    image = next(tmp_path.glob("IMG-*"))
    data = bytearray(image.read_bytes())
    struct.pack_into(">I", data, 720 + 12, 99)
    image.write_bytes(data)
    assert [check.name for check in verify_product(tmp_path).checks if check.verdict == "differs"] == ["line numbers"]


# --- mixed up


@pytest.mark.parametrize(
    ("identity", "mission", "problem"),
    [
        (None, "ALOS4", "an ALOS-4 PALSAR-3 leader, and its name is that of an ALOS-2 PALSAR-2"),
        (None, "ALOS", "an ALOS PALSAR leader, and its name is that of an ALOS-2 PALSAR-2"),
        (ALOS4_21, "ALOS2", "an ALOS-2 PALSAR-2 leader, and its name is that of an ALOS-4 PALSAR-3"),
        (ALOS_15, "ALOS-4", "an ALOS-4 PALSAR-3 leader, and its name is that of an ALOS PALSAR"),
    ],
)
def test_a_leader_of_another_satellite_is_refused(tmp_path, identity, mission, problem):
    level = "1.5" if identity == ALOS_15 else "2.1"
    folder = write_ceos(tmp_path, {"HH": amplitudes()}, f"UBSR{level}GUD")
    if identity:
        turned_into(folder, identity)
    write_field(leader_of(folder), "dataset_summary", "mission", mission.ljust(16))
    with pytest.raises(Alos2TutError, match=problem):
        open_product(folder)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("IMG-HH-ALPSRP237752900-UBSR2.1GUD", "product id 'UBSR2.1GUD' cannot be read"),
        ("IMG-HH-ALOS2237752900-181018-H1.5_UD", "product id 'H1.5_UD' cannot be read"),
        ("IMG-HH-ALOS40182900181018UWDPRD0107-H1.5_UD", "product id 'H1.5_UD' cannot be read"),
        ("IMG-HH-ALOS40182900181018UWDPXD0107-2.1GU-", "product id '2.1GU-' cannot be read"),
        ("IMG-HH-ALPSRP237752900-X1.5_UD", "product id 'X1.5_UD' cannot be read"),
        ("IMG-HH-ALPSRP237752900-H1.0__D", r"is of level 1\.0.*1\.1, 1\.5 of ALOS PALSAR are read"),
        ("IMG-HH-ALOS4018290-181018-UWDR2.1GUD", "no ALOS-2 product"),
    ],
)
def test_names_that_mix_satellites_are_refused(tmp_path, name, problem):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(Alos2TutError, match=problem):
        open_product(tmp_path)


@pytest.mark.parametrize("identity", [ALOS_15, ALOS4_15])
def test_what_is_missing_or_anothers_is_told(tmp_path, identity):
    folder = write(tmp_path, identity)
    scene = "ALPSRP000010680" if identity == ALOS_15 else "ALOS40010010181018UWDPRD0107"
    write_field(leader_of(folder), "dataset_summary", "scene_id", scene.ljust(32))
    assert opened(folder).contradictions == (f"scene {scene} in the leader, {identity.rsplit('-', 1)[0][:28]} by name",)
    write_field(leader_of(folder), "dataset_summary", "scene_id", "a form that is not known".ljust(32))
    assert open_product(folder).contradictions == ()
    summary = next(folder.glob("summary*"))
    summary.rename(folder / "summary.txt")
    change_summary(folder, Scs_SceneID="ALPSRP999999999")
    assert any("is that of another product" in note for note in open_product(folder).notes)
    leader_of(folder).unlink()
    with pytest.raises(Alos2TutError, match="the leader file is missing"):
        open_product(folder)


@pytest.mark.parametrize(
    ("sensor", "owner"),
    [
        ("ALOS PALSAR", "(c) JAXA/METI"),
        ("ALOS-1", "(c) JAXA/METI"),
        ("ALOS-2 PALSAR-2", "(c) JAXA"),
        ("palsar2", "(c) JAXA"),
        ("ALOS-4 PALSAR-3", "(c) JAXA"),
        ("NISAR L-SAR", ""),
        (None, ""),
    ],
)
def test_who_is_named_for_the_data(sensor, owner):
    assert owner_of(sensor) == owner
