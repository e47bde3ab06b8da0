"""Folders of PolSARpro: what their elements mean, what their texts say, and what is odd in them."""

import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from support.products import real_data

from alos2tut import Alos2TutError, open_product
from alos2tut.products import open_polsarpro
from alos2tut.products.rasters import open_raster
from alos2tut.speckle import enl

SHAPE = (40, 60)
HEADER = """ENVI
description = {
PolSARpro File Imported to ENVI}
samples = 60
lines   = 40
bands   = 1
header offset = 0
file type = ENVI Standard
data type = 4
interleave = bsq
byte order = 0
"""
CONFIG = "Nrow\n40\n---------\nNcol\n60\n---------\nPolarCase\nmonostatic\n---------\nPolarType\nfull\n"
#: PolSARpro's, as in the real header of Flevoland
PLACEHOLDER = "map info = {UTM,1,1,0.0,0.0,1.0,1.0,30,North}\n"
UTM31 = "map info = {UTM, 1, 1, 600000, 5800000, 10, 10, 31, North, WGS-84}\n"


def scattering(seed=1, looks=4, reciprocal=False):
    """A random field of scattering matrices: HH, HV, VH, VV, each (looks, rows, columns)."""
    random = np.random.default_rng(seed)
    field = random.normal(size=(4, looks, *SHAPE)) + 1j * random.normal(size=(4, looks, *SHAPE))
    hh, hv, vh, vv = field * np.reshape([1, 0.4, 0.3, 0.8], (4, 1, 1, 1))
    return {"HH": hh, "HV": hv, "VH": hv if reciprocal else vh, "VV": vv + 0.5 * hh}


def powers_of(field):
    """What is to come out, by definition."""
    return {pol: (np.abs(numbers) ** 2).mean(axis=0) for pol, numbers in field.items()}


def matrix(kind, *vector):
    """The averaged outer product of a vector, as elements by name."""
    elements = {}
    for i, first in enumerate(vector, 1):
        elements[f"{kind}{i}{i}"] = (first * first.conj()).real.mean(axis=0)
        for j, second in enumerate(vector[i:], i + 1):
            product = (first * second.conj()).mean(axis=0)
            elements |= {f"{kind}{i}{j}_real": product.real, f"{kind}{i}{j}_imag": product.imag}
    return elements


def elements_of(packaging, field):
    hh, hv, vh, vv = field.values()
    half = np.sqrt(0.5)
    return {
        "T3": lambda: matrix("T", half * (hh + vv), half * (hh - vv), half * (hv + vh)),
        "T4": lambda: matrix("T", half * (hh + vv), half * (hh - vv), half * (hv + vh), 1j * half * (hv - vh)),
        "C3": lambda: matrix("C", hh, half * (hv + vh), vv),
        "C2": lambda: matrix("C", hh, hv),
        "S2": lambda: {"s11": hh[0], "s12": vh[0], "s21": hv[0], "s22": vv[0]},
    }[packaging]()


def write(folder, elements, config=CONFIG, header=HEADER, end=".bin.hdr", dtype="f4"):
    """A folder as PolSARpro writes it; without ``config`` or ``header`` where they are None."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in elements.items():
        is_complex = np.iscomplexobj(values)
        (folder / f"{name}.bin").write_bytes(
            values.astype(dtype.replace("f4", "c8") if is_complex else dtype).tobytes()
        )
        if header is not None:
            text = header.replace("data type = 4", "data type = 6") if is_complex else header
            (folder / f"{name}{end}").write_text(text)
    if config is not None:
        (folder / "config.txt").write_text(config)
    return folder


def write_t3(folder, **options):
    return write(folder, elements_of("T3", scattering(reciprocal=True)), **options)


def opened(folder, **given):
    return open_product(folder, **{"quantity": "relative"} | given)


def noted(product):
    return "\n".join(product.notes)


# --- what the elements mean


@pytest.mark.parametrize("packaging", ["T3", "T4", "C3"])
def test_matrices_of_one_field_give_its_powers(tmp_path, packaging):
    field = scattering(reciprocal=packaging != "T4")
    product = opened(write(tmp_path / packaging, elements_of(packaging, field)))
    assert (product.kind, product.level, product.quantity) == (f"PolSARpro {packaging}", "image", "relative")
    assert product.polarizations == (("HH", "HV", "VH", "VV") if packaging == "T4" else ("HH", "HV", "VV"))
    expected = powers_of(field)
    for pol in product.polarizations:
        np.testing.assert_allclose(product.read_power(polarization=pol), expected[pol], rtol=2e-5)
    assert product.grid is None and "positive" not in noted(product)


@pytest.mark.parametrize(
    ("polar_type", "channels"), [("pp1", ("HH", "HV")), ("pp2", ("VV", "VH")), ("pp3", ("HH", "VV"))]
)
def test_c2_is_named_by_its_polar_type(tmp_path, polar_type, channels):
    field = scattering()
    folder = write(tmp_path / "C2", matrix("C", *(field[pol] for pol in channels)), CONFIG.replace("full", polar_type))
    product = opened(folder)
    assert set(product.polarizations) == {*channels}
    for pol in channels:
        np.testing.assert_allclose(product.read_power(polarization=pol), powers_of(field)[pol], rtol=1e-5)
    with pytest.raises(Alos2TutError, match=rf"no polarisation.*{polar_type} of config.txt"):
        opened(folder, polarization=next(pol for pol in ("HV", "VH") if pol not in channels))


@pytest.mark.parametrize("config", [None, CONFIG])
def test_c2_without_a_polar_type_asks_for_channels(tmp_path, config):
    field = scattering()
    folder = write(tmp_path / "C2", elements_of("C2", field), config)
    with pytest.raises(Alos2TutError, match="polarization='HH,HV'"):
        opened(folder)
    product = opened(folder, polarization="HH,HV")
    np.testing.assert_allclose(product.read_power(polarization="HV"), powers_of(field)["HV"], rtol=1e-5)


def test_s2_is_read_as_numbers_and_as_powers(tmp_path):
    field = scattering(looks=1)
    product = opened(write(tmp_path / "S2", elements_of("S2", field)))
    assert product.polarizations == ("HH", "HV", "VH", "VV") and "HV is s21" in noted(product)
    for pol, numbers in field.items():
        slc = product.read_slc(polarization=pol)
        assert slc.dtype == np.complex64
        np.testing.assert_array_equal(slc, numbers[0].astype("c8"))
        np.testing.assert_allclose(product.read_power(polarization=pol), np.abs(numbers[0]) ** 2, rtol=1e-5)


def test_a_part_of_s2_opens(tmp_path):
    elements = elements_of("S2", scattering(looks=1))
    product = opened(write(tmp_path / "S2", {name: elements[name] for name in ("s11", "s21")}))
    assert product.polarizations == ("HH", "HV") and "s22.bin not there" in noted(product)
    with pytest.raises(Alos2TutError, match=r"lacks s22\.bin, of which VV is made"):
        opened(tmp_path / "S2", polarization="VV")


def test_t4_without_im_t34_gives_the_mean(tmp_path):
    field = scattering()
    elements = elements_of("T4", field)
    del elements["T34_imag"]
    product = opened(write(tmp_path / "T4", elements))
    mean = (powers_of(field)["HV"] + powers_of(field)["VH"]) / 2
    for pol in ("HV", "VH"):
        np.testing.assert_allclose(product.read_power(polarization=pol), mean, rtol=1e-5)
    assert "both their mean" in noted(product)


def test_a_t4_of_polsarpro_has_hv_and_vh_the_other_way_round(tmp_path):
    field = scattering()
    swapped = {
        "HH": field["HH"],
        "HV": field["VH"],
        "VH": field["HV"],
        "VV": field["VV"],
    }  # k4 = i(S12 − S21), S12 = VH
    product = opened(write(tmp_path / "T4", elements_of("T4", swapped)))
    np.testing.assert_allclose(product.read_power(polarization="HV"), powers_of(field)["VH"], rtol=2e-5)
    assert "the other way round" in noted(product)


def test_only_what_a_power_needs_must_be_there(tmp_path):
    elements = elements_of("T3", scattering(reciprocal=True))
    product = opened(write(tmp_path / "a", {"T33": elements["T33"]}))
    assert product.polarizations == ("HV",)
    assert "HH is not offered: T11.bin, T22.bin, T12_real.bin not there" in noted(product)
    assert "not checked by T12, T13, T23" in noted(product)
    with pytest.raises(Alos2TutError, match=r"lacks T11\.bin, T22\.bin, T12_real\.bin, of which HH is made"):
        opened(tmp_path / "a", polarization="HH")
    with pytest.raises(Alos2TutError, match="T3 has no polarisation VH"):
        opened(tmp_path / "a", polarization="VH")
    with pytest.raises(Alos2TutError, match=r"T11\.bin"):
        opened(write(tmp_path / "b", {"T22": elements["T22"]}))


# --- what the texts say


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="config and header"),
        pytest.param({"end": ".hdr"}, id="headers named T11.hdr"),
        pytest.param({"config": None}, id="headers only"),
        pytest.param({"header": None}, id="config only"),
        pytest.param({"header": HEADER.replace("\n", "\r\n"), "config": CONFIG.replace("\n", "\r\n")}, id="CR LF"),
        pytest.param({"header": HEADER.replace("order = 0", "order = 1"), "dtype": ">f4"}, id="big-endian"),
        pytest.param({"header": HEADER.replace("type = 4", "type = 5"), "dtype": "f8"}, id="double"),
        pytest.param({"header": HEADER.replace("bsq", "bip")}, id="another interleave"),
    ],
)
def test_packagings_give_the_same_pixels(tmp_path, options):
    product = opened(write_t3(tmp_path / "T3", **options))
    expected = powers_of(scattering(reciprocal=True))
    for pol in ("HH", "HV", "VV"):
        np.testing.assert_allclose(product.read_power(polarization=pol), expected[pol], rtol=1e-4)
    assert ("little-endian" in noted(product)) == (options.get("header", "") is None)


def test_an_offset_is_obeyed(tmp_path):
    folder = write_t3(tmp_path / "T3", header=HEADER.replace("offset = 0", "offset = 12"))
    for path in folder.glob("*.bin"):
        path.write_bytes(b"0123456789ab" + path.read_bytes())
    np.testing.assert_allclose(opened(folder).read_power(), powers_of(scattering(reciprocal=True))["HH"], rtol=1e-4)


@pytest.mark.parametrize("name", ["T12_real.bin", "T11.bin.hdr", "config.txt"])
def test_any_file_of_the_folder_opens_it(tmp_path, name):
    product = opened(write_t3(tmp_path / "scene" / "T3") / name)
    assert product.polarizations == ("HH", "HV", "VV") and product.scene_id == "scene_T3"
    assert product.owns(tmp_path / "scene" / "T3" / "T33.bin") and product.owns(
        tmp_path / "scene" / "T3" / "config.txt"
    )


def test_the_file_says_which_matrix_of_a_folder_is_meant(tmp_path):
    folder = write_t3(tmp_path / "both")
    write(folder, elements_of("C3", scattering(reciprocal=True)))
    with pytest.raises(Alos2TutError, match="several matrices"):
        opened(folder)
    assert opened(folder / "C11.bin").kind == "PolSARpro C3"


@pytest.mark.parametrize(("packaging", "names"), [("C4", ["C11", "C44"]), ("T6", ["T11", "T56_imag"])])
def test_other_matrices_are_refused_by_name(tmp_path, packaging, names):
    with pytest.raises(Alos2TutError, match=f"folder of {packaging}"):
        opened(write(tmp_path / packaging, {name: np.ones(SHAPE) for name in names}))


def test_t2_is_not_taken_for_t3(tmp_path):
    elements = elements_of("T3", scattering())
    part = {name: elements[name] for name in ("T11", "T12_real", "T12_imag", "T22")}
    with pytest.raises(Alos2TutError, match="folder of T2"):
        opened(write(tmp_path / "x", part, CONFIG.replace("full", "pp1")))


def test_the_quantity_is_asked_for_and_the_scale_is_known(tmp_path):
    folder = write_t3(tmp_path / "T3")
    with pytest.raises(Alos2TutError, match="quantity='relative'"):
        open_product(folder)
    with pytest.raises(Alos2TutError, match="scale=db"):
        opened(folder, scale="db")
    product = opened(folder, scale="power", sensor="AIRSAR", spacing_m=(6.6, 12.1))
    assert (product.sensor, product.spacing_m) == ("AIRSAR", (6.6, 12.1))
    assert "sensor=AIRSAR" in noted(product)


def test_a_placeholder_is_no_map(tmp_path):
    folder = write_t3(tmp_path / "T3", header=HEADER + PLACEHOLDER)
    product = opened(folder)
    assert product.grid is None and "placeholder" in noted(product)
    with pytest.raises(Alos2TutError, match="states no map"):
        opened(folder, crs="EPSG:32630")


def test_a_map_is_a_map(tmp_path):
    product = opened(write_t3(tmp_path / "T3", header=HEADER + UTM31), quantity="sigma0")
    assert product.crs.to_epsg() == 32631 and product.spacing_m == (10, 10)
    assert tuple(product.transform)[:6] == (10, 0, 600_000, 0, -10, 5_800_000)
    with pytest.raises(Alos2TutError, match="spacing_m"):
        opened(tmp_path / "T3", spacing_m=(1, 1))
    with pytest.raises(Alos2TutError, match="nowhere on Earth"):
        opened(write_t3(tmp_path / "a", header=HEADER + UTM31.replace("600000", "6e12")))
    (tmp_path / "T3" / "T33.bin.hdr").write_text(HEADER + UTM31.replace("600000", "700000"))
    with pytest.raises(Alos2TutError, match="different maps"):
        opened(tmp_path / "T3")


# --- what is odd


def test_powers_that_are_none_are_counted_and_no_data(tmp_path):
    elements = elements_of("T3", scattering(reciprocal=True))
    elements["T33"][:2] = 0
    elements["T33"][2, :7] = -1e-3
    elements["T33"][3, :5] = np.inf
    elements["T33"][4, :9] = np.nan
    elements["T33"][5, :3] = 1e-42
    product = opened(write(tmp_path / "T3", elements), polarization="HH")
    assert "HV is not offered" in noted(product) and product.polarizations == ("HH", "VV")
    elements["T33"][:2] = 1
    product = opened(write(tmp_path / "T3", elements))
    told = "of 2,391 powers of HV 3 are zero, 7 are negative, 5 are infinite (0.63 %): they count as no data"
    assert told in noted(product)
    power = product.read_db(polarization="HV")
    assert np.isfinite(power).sum() == 2400 - 3 - 7 - 5 - 9 and np.isnan(power[2, :7]).all()


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_too_many_of_them_are_an_error(tmp_path, value):
    elements = elements_of("T3", scattering(reciprocal=True))
    elements["T33"][:3] = value  # 7.5 %
    elements["T12_real"][9] = value  # off the diagonal any number may stand
    folder = write(tmp_path / "T3", elements)
    with pytest.raises(Alos2TutError, match=r"of 2,400 powers of HV 180 are .* \(7.5 %\).*no_data=0"):
        opened(folder)
    product = opened(folder, no_data=value)
    assert np.isnan(product.read_power(polarization="HV")[:3]).all()
    assert np.isfinite(product.read_power(polarization="VV")[9]).all()


def test_what_a_header_says_of_no_data_counts(tmp_path):
    elements = elements_of("C3", scattering(reciprocal=True))
    for values in elements.values():
        values[:20] = -9999
    with pytest.raises(Alos2TutError, match="are negative"):
        opened(write(tmp_path / "C3", elements))
    product = opened(write(tmp_path / "C3", elements, header=f"{HEADER}data ignore value = -9999\n"))
    assert np.isnan(product.read_power()[:20]).all() and np.isfinite(product.read_power()[20:]).all()


def test_a_matrix_that_is_not_positive_is_told(tmp_path):
    elements = elements_of("T3", scattering(reciprocal=True))
    elements["T12_imag"][0, :24] = 100
    assert "|T12|² > T11·T22 in 1 %" in noted(opened(write(tmp_path / "T3", elements)))


def test_single_looks_are_positive_up_to_rounding(tmp_path):
    folder = write(tmp_path / "C3", elements_of("C3", scattering(looks=1, reciprocal=True)))
    assert "positive" not in noted(opened(folder))


def test_numbers_of_s2_that_are_none_become_zero(tmp_path):
    elements = elements_of("S2", scattering(looks=1))
    elements["s11"][0, :5] = [np.nan, np.inf, 0, 1j * np.inf, 1 + 1j]
    product = opened(write(tmp_path / "S2", elements))
    np.testing.assert_array_equal(product.read_slc()[0, :5], [0, 0, 0, 0, 1 + 1j])
    assert np.isnan(product.read_power()[0, :4]).all() and product.read_power()[0, 4] == pytest.approx(2)


def _resize(folder, change):
    path = folder / "T22.bin"
    path.write_bytes(path.read_bytes()[:change] if change < 0 else path.read_bytes() + bytes(change))


BROKEN = [
    (
        "config and header disagree",
        lambda f: (f / "config.txt").write_text(CONFIG.replace("40", "41")),
        r"41 × 60.*40 ×",
    ),
    ("headers disagree", lambda f: (f / "T33.bin.hdr").write_text(HEADER.replace("60", "30")), "60.*40 × 30"),
    (
        "two headers of one file",
        lambda f: (f / "T33.hdr").write_text(HEADER.replace("60", "30")),
        "states samples '30', T33.bin.hdr '60'",
    ),
    ("truncated", lambda f: _resize(f, -4), r"T22\.bin.*9,596 bytes.*9,600"),
    ("too long", lambda f: _resize(f, 4), r"T22\.bin.*9,604 bytes.*9,600"),
    ("empty config", lambda f: (f / "config.txt").write_text(""), "config.txt.*does not state Nrow"),
    ("binary config", lambda f: (f / "config.txt").write_bytes(os.urandom(999) + b"\0"), "config.txt.*no text"),
    ("huge config", lambda f: os.truncate(f / "config.txt", 2**30), "config.txt.*1,073,741,824 bytes"),
    ("rows of no number", lambda f: (f / "config.txt").write_text(CONFIG.replace("40", "4e1")), "Nrow is '4e1'"),
    ("negative", lambda f: (f / "config.txt").write_text(CONFIG.replace("40", "-40")), "Nrow is '-40'"),
    ("many digits", lambda f: (f / "config.txt").write_text(CONFIG.replace("40", "4" * 5000)), "no whole number"),
    ("no header of ENVI", lambda f: (f / "T11.bin.hdr").write_text("GIF89a"), r"T11\.bin\.hdr.*no header of ENVI"),
    ("another type", lambda f: (f / "T11.bin.hdr").write_text(HEADER.replace("= 4\n", "= 2\n")), "data type 2"),
    ("complex", lambda f: (f / "T11.bin.hdr").write_text(HEADER.replace("= 4\n", "= 6\n")), "data type 6"),
    (
        "middle-endian",
        lambda f: (f / "T11.bin.hdr").write_text(HEADER.replace("order = 0", "order = 2")),
        "byte order '2'",
    ),
    ("two bands", lambda f: (f / "T11.bin.hdr").write_text(HEADER.replace("bands   = 1", "bands = 2")), "bands '2'"),
    ("compressed", lambda f: (f / "T11.bin.hdr").write_text(f"{HEADER}file compression = 1"), "compression '1'"),
    (
        "a link in a circle",
        lambda f: [(f / "T11.bin").unlink(), (f / "T11.bin").symlink_to("T11.bin")],
        r"lacks T11\.bin",
    ),
    ("a link to a device", lambda f: [(f / "T11.bin").unlink(), (f / "T11.bin").symlink_to("/dev/zero")], r"T11\.bin"),
    ("a gain", lambda f: (f / "T11.bin.hdr").write_text(f"{HEADER}data gain values = {{2.0}}"), "not applied"),
    ("no number", lambda f: (f / "T11.bin.hdr").write_text(f"{HEADER}data ignore value = none"), "'none'"),
    ("a folder", lambda f: [(f / "T11.bin").unlink(), (f / "T11.bin").mkdir()], r"lacks T11\.bin"),
]


@pytest.mark.parametrize(("change", "told"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_broken_folders_are_named(tmp_path, change, told):
    folder = write_t3(tmp_path / "T3")
    change(folder)
    with pytest.raises(Alos2TutError, match=told):
        opened(folder, polarization="HH")


def test_absurd_sizes_are_refused_before_anything_is_read(tmp_path):
    folder = write(
        tmp_path / "C2",
        dict.fromkeys(("C11", "C22"), np.ones(4)),
        CONFIG.replace("40", "1").replace("60", str(2**31)),
        None,
    )
    for path in folder.glob("*.bin"):
        os.truncate(path, 2**33)
    tracemalloc.start()
    with pytest.raises(Alos2TutError, match="claims 1 × 2,147,483,648"):
        opened(folder, polarization="HH,HV")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_no_size_at_all_is_an_error(tmp_path):
    with pytest.raises(Alos2TutError, match="no file states rows and columns"):
        opened(write_t3(tmp_path / "T3", config=None, header=None))


def test_links_to_files_are_followed(tmp_path):
    folder = write_t3(tmp_path / "T3")
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    np.testing.assert_array_equal(opened(linked).read_power(), opened(folder).read_power())


# --- how they are read


def test_bands_hold_no_handle_and_read_windows(tmp_path):
    product = opened(write_t3(tmp_path / "T3"))
    whole = product.read_power(polarization="VV")
    again = pickle.loads(pickle.dumps(product))
    np.testing.assert_array_equal(again.read_power((3, 5, 7, 11), polarization="VV"), whole[3:10, 5:16])
    band = product.bands["VV"]
    strips = list(band.strips(slice(2, 19), slice(1, 50), 5))
    assert [len(strip) for strip in strips] == [5, 5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(strips) ** 2, whole[2:19, 1:50])


def test_large_files_are_counted_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(open_polsarpro, "_LOOKED_AT", 1200)
    monkeypatch.setattr(open_polsarpro, "_STRIP_PX", 120)
    product = opened(write_t3(tmp_path / "T3"))
    assert "powers were counted in 1,200 of 2,400 pixels" in noted(product)


# --- real files


def stored(folder, name, rows):
    return np.fromfile(folder / f"{name}.bin", "<f4").reshape(rows, 1024).astype(np.float64)


@pytest.fixture(scope="module")
def flevoland() -> Path:
    return real_data("airsar_flevoland_1989")


@pytest.fixture(scope="module")
def san_francisco() -> Path:
    return real_data("airsar_sanfrancisco")


def check_formulas(product, folder, rows):
    t11, t22, t33, t12 = (stored(folder, name, rows) for name in ("T11", "T22", "T33", "T12_real"))
    for pol, power in {"HH": (t11 + t22) / 2 + t12, "HV": t33 / 2, "VV": (t11 + t22) / 2 - t12}.items():
        np.testing.assert_allclose(product.read_power(polarization=pol), np.where(power > 0, power, np.nan), rtol=1e-6)


def test_flevoland(flevoland):
    product = opened(flevoland / "T3", sensor="AIRSAR", spacing_m=(6.6, 12.1))
    assert (product.shape, product.polarizations, product.grid) == ((750, 1024), ("HH", "HV", "VV"), None)
    assert "UTM,1,1,0.0,0.0,1.0,1.0,30,North} is a placeholder" in noted(product)
    assert "of HV 2,882 are zero, 33 are negative (0.38 %)" in noted(product)
    assert "|T12|² > T11·T22 in 0.17 %" in noted(product)
    check_formulas(product, flevoland / "T3", 750)
    percentiles = np.nanpercentile(product.read_db(), [1, 5, 50, 95, 99])
    np.testing.assert_allclose(percentiles, [-39.1, -33.3, -24.5, -17.2, -14.7], atol=0.05)


def test_crops_of_flevoland(flevoland):
    labels = loadmat(flevoland / "Flevoland_gt.mat")["gt"]
    pixels = [29249, 15855, 11200, 10201, 21855, 14707, 21344, 10396, 8471, 6317, 17639, 10629, 22022, 7369, 578]
    assert np.bincount(labels.ravel())[1:].tolist() == pixels
    power = opened(flevoland / "T3").read_power(polarization="HH")
    cut = np.s_[:750, :1020]
    blocks, codes = (a[cut].reshape(50, 15, 68, 15).swapaxes(1, 2).reshape(-1, 15, 15) for a in (power, labels))
    pure = [block for block, code in zip(blocks, codes, strict=True) if code[0, 0] and (code == code[0, 0]).all()]
    assert len(pure) == 446
    assert np.median([enl(block, "moments").value for block in pure]) == pytest.approx(2.7, abs=0.2)
    means = {code: power[labels == code].mean() for code in range(1, 16)}
    assert set(sorted(means, key=means.__getitem__)[:2]) == {10, 14}  # bare soil and barley


def test_san_francisco_which_is_lee_filtered(san_francisco):
    folder = san_francisco / "T3_leefiltered"
    product = opened(folder)
    assert product.shape == (900, 1024) and "not checked by T13, T23" in noted(product)
    check_formulas(product, folder, 900)
    with open_raster(san_francisco / "SF-AIRSAR-label2d.png", ["PNG"]) as raster:
        labels = raster.read(1)
    assert np.bincount(labels.ravel()).tolist() == [119298, 13701, 62731, 329566, 342795, 53509]
    darkest = {}
    for pol in product.polarizations:
        power = product.read_power(polarization=pol)
        darkest[pol] = min(range(1, 6), key=lambda code, power=power: power[labels == code].mean())
    water, bare_soil = 3, 1
    assert darkest == {"HH": bare_soil, "HV": water, "VV": bare_soil}
