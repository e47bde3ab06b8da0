"""NISAR's GCOV, as the tests write it by the specification: that says nothing of NASA's own files."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.memory import peak_below
from support.products import real_data

from alos2tut import Alos2TutError, open_product

fcntl = pytest.importorskip("fcntl") if sys.platform != "win32" else None
h5py = pytest.importorskip("h5py")

SHAPE, LEFT, TOP, STEP = (50, 40), 350_000.0, 3_900_000.0, 20.0
GRIDS = "science/LSAR/GCOV/grids/frequencyA"
IDENTITY = "science/LSAR/identification"
RTC = "science/LSAR/GCOV/metadata/processingInformation/parameters/rtc"
GRANULE = "NISAR_L2_PR_GCOV_010_155_D_093_2005_DHDH_A_20260119T231630_20260119T231704_X05010_N_F_J_001"


def powers(seed: int = 0) -> np.ndarray:
    power = np.random.default_rng(seed).gamma(3, 0.03, SHAPE).astype(np.float32)
    power[:3, :5] = np.nan
    return power


def mask() -> np.ndarray:
    codes = np.ones(SHAPE, np.uint8)
    codes[:, -4:], codes[:3, :5], codes[20:22, 10:20], codes[30:, :8] = 255, 255, 0, 2
    return codes


def factors() -> np.ndarray:
    factor = np.linspace(0.6, 0.9, np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    factor[40, 30] = np.nan
    return factor


def grid(terms=None, shape=SHAPE, step=STEP, up=-1.0, epsg=32654):
    """The members of a frequency's group, as isce3 names and types them."""
    return {
        **({"HHHH": powers(), "HVHV": powers(1) / 5} if terms is None else terms),
        "mask": mask(),
        "numberOfLooks": np.full(SHAPE, 9.3, np.float32),
        "rtcGammaToSigmaFactor": factors(),
        "xCoordinates": LEFT + step * (0.5 + np.arange(shape[1])),
        "yCoordinates": TOP + up * step * (0.5 + np.arange(shape[0])),
        "xCoordinateSpacing": step,
        "yCoordinateSpacing": up * step,
        "projection": np.uint32(epsg),
    }


def write(path: Path, members=None, radar="LSAR", frequency="frequencyA", mode="w", **options) -> Path:
    """A GCOV product; ``options`` are those of the rasters, as chunks and compression."""
    with h5py.File(path, mode) as file:
        group = file.create_group(f"science/{radar}/GCOV/grids/{frequency}")
        for name, values in (grid() if members is None else members).items():
            is_raster = np.ndim(values) == 2
            group.create_dataset(name, data=values, **(options if is_raster else {}))
        if "projection" in group:
            group["projection"].attrs["epsg_code"] = group["projection"][()]
        if f"science/{radar}/identification" not in file:
            said = {
                "granuleId": GRANULE,
                "missionId": "NISAR",
                "productType": "GCOV",
                "lookDirection": "Left",
                "orbitPassDirection": "Descending",
                "zeroDopplerStartTime": "2026-01-19T23:16:30.000000000",
                "zeroDopplerEndTime": "2026-01-19T23:17:04.000000000",
                "processingDateTime": "2026-01-21T01:02:03",
            }
            identity = file.create_group(f"science/{radar}/identification")
            for name, text in said.items():
                identity[name] = np.bytes_(text)
            identity["absoluteOrbitNumber"], identity["frameNumber"] = np.uint32(2345), np.uint16(93)
            rtc = file.create_group(RTC.replace("LSAR", radar))
            rtc["outputBackscatterNormalizationConvention"] = np.bytes_("gamma0")
            rtc["outputBackscatterExpressionConvention"] = np.bytes_("Linear power")
    return path


@pytest.fixture(scope="module")
def gcov(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("gcov") / "product.h5", chunks=(16, 16), compression="gzip", shuffle=True)


def refused(path, problem: str, **said) -> Alos2TutError:
    with pytest.raises(Alos2TutError, match=problem) as caught:
        open_product(path, **said)
    return caught.value


# --- what is read


def test_powers_are_those_stored_and_nan_where_the_mask_says_so(gcov):
    product = open_product(gcov)
    expected = np.where(np.isin(mask(), (0, 255)), np.nan, powers())
    assert product.polarizations == ("HH", "HV") and product.quantity == "gamma0"
    np.testing.assert_allclose(product.read_power(), expected, rtol=3e-7)
    np.testing.assert_allclose(product.read_db(), 10 * np.log10(expected), atol=2e-6)
    window = product.read_power((14, 9, 20, 13), polarization="HV")
    hv = np.where(np.isin(mask(), (0, 255)), np.nan, powers(1) / 5)
    np.testing.assert_allclose(window, hv[14:34, 9:22], rtol=3e-7)


def test_looks_average_power_and_half_a_block_must_be_valid(gcov):
    read = open_product(gcov).read_power(looks=(5, 4))
    power = np.where(np.isin(mask(), (0, 255)), np.nan, powers()).reshape(10, 5, 10, 4).swapaxes(1, 2)
    enough = np.isfinite(power).mean((2, 3)) >= 0.5
    with np.errstate(invalid="ignore"):
        expected = np.where(enough, np.nansum(power, (2, 3)) / np.isfinite(power).sum((2, 3)), np.nan)
    np.testing.assert_allclose(read, expected, rtol=1e-5)
    assert np.isnan(read[:, -1]).all() and np.isfinite(read[1:, :-1]).any()


@pytest.mark.parametrize("up", [-1.0, 1.0], ids=["north up", "south up"])
def test_placed_as_a_geotiff_of_the_same(tmp_path, up):
    product = open_product(write(tmp_path / "product.h5", grid(up=up)))
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": SHAPE[0], "width": SHAPE[1]}
    corner = rasterio.Affine(STEP, 0, LEFT, 0, up * STEP, TOP)
    with rasterio.open(tmp_path / "same.tif", "w", **profile, crs="EPSG:32654", transform=corner) as raster:
        raster.write(powers(), 1)
    with rasterio.open(tmp_path / "same.tif") as raster:
        assert product.crs == raster.crs
        assert product.transform.almost_equals(raster.transform)
        assert product.bounds == pytest.approx((LEFT, min(TOP, TOP + up * 1000), LEFT + 800, max(TOP, TOP + up * 1000)))
        assert product.spacing_m == pytest.approx((STEP, STEP))
        row, col = 33, 21
        assert raster.xy(row, col) == pytest.approx(product.transform * (col + 0.5, row + 0.5))
        np.testing.assert_allclose(product.read_power((row, col, 1, 1)), raster.read(1)[row, col], rtol=3e-7)


def test_degrees_are_longitude_and_latitude(tmp_path):
    members = grid(epsg=4326)
    members |= {"xCoordinates": 140 + 2e-4 * (0.5 + np.arange(40)), "xCoordinateSpacing": 2e-4}
    members |= {"yCoordinates": 35 - 2e-4 * (0.5 + np.arange(50)), "yCoordinateSpacing": -2e-4}
    product = open_product(write(tmp_path / "product.h5", members))
    assert product.footprint[0] == pytest.approx((140, 35))
    assert product.spacing_m == pytest.approx((22.2, 18.3), rel=0.01)


def test_sigma0_by_the_factor_of_each_pixel(gcov):
    product = open_product(gcov)
    expected = product.read_power() * factors()
    assert np.isfinite(product.read_power()[40, 30]) and np.isnan(expected[40, 30])
    np.testing.assert_allclose(product.read_power(quantity="sigma0"), expected, rtol=1e-6)
    window = (14, 9, 20, 13)
    np.testing.assert_allclose(product.read_power(window, quantity="sigma0"), expected[14:34, 9:22], rtol=1e-6)
    assert "factor" in product.describe_conversion()
    np.testing.assert_array_equal(product.read_layer("gamma0_to_sigma0"), factors())


def test_without_factors_sigma0_is_refused(tmp_path):
    members = grid()
    del members["rtcGammaToSigmaFactor"]
    product = open_product(write(tmp_path / "product.h5", members))
    assert "rtcGammaToSigmaFactor" in product.gaps
    with pytest.raises(Alos2TutError, match="cannot turn gamma0 into sigma0"):
        product.read_db(quantity="sigma0")


def test_layers(gcov):
    product = open_product(gcov)
    codes = product.read_layer("mask")
    assert codes.dtype == np.uint8 and product.layers["mask"].meaning[0].startswith("invalid")
    np.testing.assert_array_equal(codes, mask())
    np.testing.assert_array_equal(product.read_layer("looks", (3, 4, 5, 6)), np.full((5, 6), 9.3, np.float32))


def test_what_is_known_of_it(gcov):
    product = open_product(gcov)
    assert (product.kind, product.level, product.sensor) == ("NISAR GCOV", "image", "NISAR L-SAR")
    assert (product.look_side, product.orbit_direction, product.orbit, product.frame) == (
        "left",
        "descending",
        2345,
        93,
    )
    assert product.started == "2026-01-19T23:16:30.000000Z" and product.acquired == "2026-01-19T23:16:47.000Z"
    assert product.name == f"{GRANULE}_HH" and product.processed == "2026-01-21T01:02:03Z"
    assert not product.gaps and any("no file of NASA's" in note for note in product.notes)
    assert product.fingerprint == open_product(gcov).fingerprint
    assert product.owns(gcov)


def test_frequencies_and_radars_are_chosen_by_a_path_into_the_file(tmp_path):
    path = write(tmp_path / "two.h5")
    write(path, grid({"VVVV": powers(2)}, epsg=32653), frequency="frequencyB", mode="a")
    write(path, grid({"HHHH": powers(3)}), radar="SSAR", mode="a")
    first = open_product(path)
    assert first.crs.to_epsg() == 32654 and first.sensor == "NISAR L-SAR"
    assert any("two.h5/LSAR/frequencyB" in note for note in first.notes)
    second = open_product(path / "LSAR" / "frequencyB")
    assert second.polarizations == ("VV",) and second.crs.to_epsg() == 32653
    assert second.scene_id != first.scene_id
    assert open_product(path / "frequencyB" / "VVVV").choose_polarization() == "VV"
    assert open_product(path / "SSAR").sensor == "NISAR S-SAR"
    assert open_product(path / "LSAR" / "HV").choose_polarization() == "HV"
    refused(path / "SSAR" / "frequencyB", "holds no SSAR/frequencyB")
    refused(path / "frequencyC", "holds no frequencyC")
    refused(path / "frequencyB" / "HV", "no polarisation 'HV'")


def test_only_frequency_b(tmp_path):
    product = open_product(write(tmp_path / "b.h5", frequency="frequencyB"))
    assert product.name == f"{GRANULE}-frequencyB_HH"


def test_covariances_and_compact_polarimetry_are_left_out_and_said(tmp_path):
    crossed = {"HHHH": powers(), "HHHV": powers().astype(np.complex64), "RHRH": powers()}
    product = open_product(write(tmp_path / "full.h5", grid(crossed)))
    assert product.polarizations == ("HH",)
    assert any("HHHV" in note for note in product.notes) and any("RHRH" in note for note in product.notes)
    refused(write(tmp_path / "compact.h5", grid({"RHRH": powers(), "RVRV": powers()})), "no backscatter.*RHRH, RVRV")


@pytest.mark.parametrize(("stated", "quantity"), [("sigma0", "sigma0"), ("beta0", "beta0")])
def test_the_quantity_is_what_the_file_states(tmp_path, stated, quantity):
    path = write(tmp_path / "product.h5")
    with h5py.File(path, "a") as file:
        del file[f"{RTC}/outputBackscatterNormalizationConvention"]
        file[f"{RTC}/outputBackscatterNormalizationConvention"] = np.bytes_(stated)
    product = open_product(path)
    assert product.quantity == quantity and "gamma0_to_sigma0" not in product.layers
    with pytest.raises(Alos2TutError, match="cannot turn"):
        product.read_db(quantity="gamma0")


def test_without_terrain_correction_it_is_beta0(tmp_path):
    path = write(tmp_path / "product.h5")
    with h5py.File(path, "a") as file:
        del file[RTC]
        file[str(Path(RTC).parent / "radiometricTerrainCorrectionApplied")] = np.bytes_("False")
    assert open_product(path).quantity == "beta0"


def test_the_smallest_product(tmp_path):
    path = write(tmp_path / "product.h5")
    with h5py.File(path, "a") as file:
        del file[IDENTITY], file[RTC]
        for name in ("mask", "numberOfLooks", "rtcGammaToSigmaFactor", "HVHV"):
            del file[f"{GRIDS}/{name}"]
    product = open_product(path)
    np.testing.assert_allclose(product.read_power(), powers(), rtol=3e-7)
    assert {"mask", "numberOfLooks", "acquired"} <= set(product.gaps)
    assert product.name == "product_HH"


def test_zero_and_negative_powers_are_no_data(tmp_path):
    power = powers()
    power[5, 5:8] = 0, -1e-3, np.inf
    read = open_product(write(tmp_path / "product.h5", grid({"HHHH": power}))).read_db()
    assert np.isnan(read[5, 5:8]).all() and np.isfinite(read[5, 8])


def test_big_endian_and_double(tmp_path):
    for number, dtype in enumerate((">f4", "<f8", "<f2")):
        product = open_product(write(tmp_path / f"{number}.h5", grid({"HHHH": powers().astype(dtype)})))
        np.testing.assert_allclose(product.read_power()[5], powers()[5] + 0 * product.read_power()[5], rtol=1e-3)


def test_what_is_not_above_zero_is_counted(tmp_path):
    power = powers()
    power[10:12] = -0.001
    notes = open_product(write(tmp_path / "product.h5", grid({"HHHH": power, "HVHV": powers()}))).notes
    (note,) = (note for note in notes if "not above 0" in note)
    known = np.isfinite(powers()) & ~np.isin(mask(), (0, 255))
    assert note.startswith("HH: ") and f"{known[10:12].sum() / known.sum():.2%} of {known.sum():,}" in note
    hidden = grid() | {"mask": np.zeros(SHAPE, np.uint8)}
    assert any("none of the pixels" in note for note in open_product(write(tmp_path / "hidden.h5", hidden)).notes)


# --- how it is read


def test_travels_between_processes_and_threads(gcov):
    product = open_product(gcov)
    whole = product.read_power()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(product)).read_power(), whole)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda row: product.read_power((row, 0, 5, 40)), range(0, 50, 5)))
    np.testing.assert_array_equal(np.concatenate(rows), whole)
    blocks = [values for _, values in product.blocks("power", rows=7, quantity="sigma0")]
    np.testing.assert_array_equal(np.concatenate(blocks), product.read_power(quantity="sigma0"))


def test_no_handle_is_left_open(gcov):
    product = open_product(gcov)
    strips = product.bands["HH"].strips(slice(0, 50), slice(0, 40), 10)
    next(strips)
    with h5py.File(gcov) as other:  # another program's handle, and ours, do not disturb each other
        assert other[GRIDS]["HHHH"].shape == SHAPE
    next(strips)
    strips.close()
    with h5py.File(gcov, "r+"):
        pass


def test_memory_is_bounded_by_the_window(tmp_path):
    shape = (2048, 1024)
    terms = {"HHHH": np.ones(shape, np.float32)}
    members = grid(terms, shape)
    for name in ("mask", "numberOfLooks", "rtcGammaToSigmaFactor"):
        members[name] = np.ones(shape, np.uint8 if name == "mask" else np.float32)
    product = open_product(write(tmp_path / "large.h5", members, chunks=(512, 512), compression="gzip"))
    # HDF5's own memory: a row of chunks, of which the oldest goes first; other rules keep all that are read in part
    with h5py.File(product.path) as root:
        stored = product.bands["HH"]._stored(root)
        assert stored.id.get_access_plist().get_chunk_cache()[1:] == (512 * 1024 * 4, 0.0)
    with peak_below(8e6):
        assert product.read_power(looks=64, quantity="sigma0").shape == (32, 16)


def test_without_h5py_the_extra_is_named(gcov, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "alos2tut[nisar]" in str(refused(gcov, "h5py is not installed"))


def test_a_picture_and_a_table_show_it(gcov):
    product = open_product(gcov)
    assert "data:image/png" in product._repr_html_()
    np.testing.assert_array_equal(product.bands["HH"].thumbnail(25), product.read_dn()[::2, ::2])
    assert product.to_dict()["sensor"] == "NISAR L-SAR"


# --- what is refused


def test_real_rslc_is_named(tmp_path):
    text = str(refused(real_data("uavsar_lband_slc") / "winnipeg.h5", "is NISAR's RSLC"))
    assert "slant range" in text and "GCOV" in text


@pytest.mark.parametrize("name", ["GSLC", "GUNW", "RIFG", "GOFF", "SME2"])
def test_other_products_of_nisar_are_named(tmp_path, name):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group(f"science/LSAR/{name}")
        file[f"{IDENTITY}/productType"] = name
    refused(tmp_path / "other.h5", f"is NISAR's {name}")


def test_what_would_open_is_said_of_what_does_not(tmp_path):
    np.save(tmp_path / "power.npy", powers())
    assert "a NISAR GCOV" in str(refused(tmp_path / "power.npy", "no ALOS-2 product"))


def test_a_truncated_file_is_to_be_downloaded_again(gcov, tmp_path):
    (tmp_path / "cut.h5").write_bytes(gcov.read_bytes()[:3000])
    text = str(refused(tmp_path / "cut.h5", "cannot be opened as HDF5"))
    assert "Download it again" in text and "LOCKING" not in text


def test_hdf5_of_others_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["elevation"] = np.zeros((3, 3))
    refused(tmp_path / "other.h5", "no product of NISAR.*'elevation'")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_group("science/LSAR")
    refused(tmp_path / "empty.h5", "GCOV/grids")


def test_a_polarisation_that_is_absent_names_those_present(gcov):
    for asked in ("VV", "HH,VV"):
        assert "HH, HV" in str(refused(gcov, "no polarisation 'VV'", polarization=asked))


def test_what_the_file_says_is_not_said_again(gcov):
    for said in ({"scale": "db"}, {"quantity": "sigma0"}, {"spacing_m": (1, 1)}, {"no_data": 0}, {"scan": 1}):
        refused(gcov, next(iter(said)), **said)


def test_another_coordinate_system_may_be_given(tmp_path):
    path = write(tmp_path / "product.h5", grid(epsg=1))
    refused(path, "EPSG:1 is no coordinate system|no coordinate system")
    with pytest.warns(UserWarning, match="EPSG:1"):
        product = open_product(path, crs="EPSG:32654")
    assert product.crs.to_epsg() == 32654 and "given by the user: crs=EPSG:32654" in product.notes
    with h5py.File(path, "a") as file:
        del file[f"{GRIDS}/projection"]
    refused(path, "no EPSG code")
    with h5py.File(path, "a") as file:
        file[f"{GRIDS}/projection"] = np.uint32(32654)
        file[f"{GRIDS}/projection"].attrs["epsg_code"] = 32655
    refused(path, "EPSG:32654, and its epsg_code 32655")


def uneven(axis: np.ndarray) -> np.ndarray:
    return axis + 3 * (np.arange(len(axis)) == 7)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"xCoordinates": uneven(grid()["xCoordinates"])}, "xCoordinates is not even"),
        ({"yCoordinates": np.sort(grid()["yCoordinates"])[[*range(25), *range(24, -1, -1)]]}, "yCoordinates"),
        ({"yCoordinates": np.full(50, np.nan)}, "no width"),
        ({"yCoordinates": np.full(50, 7.0)}, "no width"),
        ({"xCoordinates": grid()["xCoordinates"][:-1]}, "(HHHH|mask) is of"),
        ({"xCoordinates": np.zeros((40, 2))}, "no list of coordinates"),
        ({"xCoordinates": np.zeros(0)}, "no list of coordinates"),
        ({"xCoordinateSpacing": 10.0}, "states 10"),
        ({"yCoordinateSpacing": STEP}, "states 20"),
        ({"HHHH": powers().astype(np.complex64)}, "HHHH is of complex64"),
        ({"HVHV": powers()[:-1]}, "HVHV is of float32 and shape"),
        ({"mask": mask().astype(np.int16)}, "mask is of int16"),
        ({"mask": mask()[1:]}, "mask is of uint8 and shape"),
        ({"xCoordinates": 1e9 + grid()["xCoordinates"]}, "nowhere on Earth"),
    ],
)
def test_contents_that_cannot_be(tmp_path, change, problem):
    refused(write(tmp_path / "product.h5", grid() | change), problem)


def test_amplitudes_and_unknown_normalisation(tmp_path):
    for name, text in (("Expression", "Linear amplitude"), ("Normalization", "delta0")):
        path = write(tmp_path / f"{name}.h5")
        with h5py.File(path, "a") as file:
            del file[f"{RTC}/outputBackscatter{name}Convention"]
            file[f"{RTC}/outputBackscatter{name}Convention"] = np.bytes_(text)
        refused(path, text if name == "Normalization" else "amplitude")


# --- hostile files


def leads_elsewhere(path: Path, kind: str) -> Path:
    """A product whose backscatter is another file's."""
    other = write(path.parent / "secret.h5", chunks=(16, 16))
    members = grid()
    del members["HHHH"]
    write(path, members)
    with h5py.File(path, "a") as file:
        group = file[GRIDS]
        if kind == "external link":
            group["HHHH"] = h5py.ExternalLink(str(other), f"/{GRIDS}/HHHH")
        elif kind == "external group":
            del file["science/LSAR/GCOV/grids"]
            file["science/LSAR/GCOV/grids"] = h5py.ExternalLink(str(other), "/science/LSAR/GCOV/grids")
        elif kind == "soft link":
            file["away"] = h5py.ExternalLink(str(other), f"/{GRIDS}/HHHH")
            group["HHHH"] = h5py.SoftLink("/away")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(SHAPE, np.float32)
            layout[:] = h5py.VirtualSource(str(other), f"{GRIDS}/HHHH", SHAPE)
            group.create_virtual_dataset("HHHH", layout)
        else:
            raw = path.parent / "passwords"
            raw.write_bytes(powers().tobytes())
            group.create_dataset("HHHH", SHAPE, "<f4", external=[(str(raw), 0, powers().nbytes)])
    return path


@pytest.mark.parametrize("kind", ["external link", "external group", "soft link", "virtual", "external storage"])
def test_other_files_are_never_read(tmp_path, kind):
    refused(leads_elsewhere(tmp_path / "product.h5", kind), "link to another place|lies in other files")


def test_identification_elsewhere_is_refused(tmp_path):
    path = write(tmp_path / "product.h5")
    with h5py.File(path, "a") as file:
        del file[f"{IDENTITY}/granuleId"]
        file[f"{IDENTITY}/granuleId"] = h5py.ExternalLink("/etc/passwd", "/x")
    refused(path, "link to another place")


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [((100_000, 100_000), (512, 512)), ((2**18, 40), (512, 40)), ((30_000, 30_000), (30_000, 30_000))],
)
def test_claims_of_size_are_refused(tmp_path, shape, chunks):
    members = grid({}, shape)
    for name in ("mask", "numberOfLooks", "rtcGammaToSigmaFactor"):
        del members[name]
    path = write(tmp_path / "product.h5", members)
    with h5py.File(path, "a") as file:
        file[GRIDS].create_dataset("HHHH", shape, np.float32, chunks=chunks, compression="gzip", fillvalue=1)
    refused(path, "claims")


def test_truncated_and_damaged_files(gcov, tmp_path):
    content = gcov.read_bytes()
    for length in (4, 100, 3000, len(content) // 2, len(content) - 1):
        path = tmp_path / f"{length}.h5"
        path.write_bytes(content[:length])
        with pytest.raises(Alos2TutError):
            open_product(path).read_db()


def test_any_changed_byte_gives_pixels_or_an_error(gcov, tmp_path):
    content, random = gcov.read_bytes(), np.random.default_rng(7)
    path = tmp_path / "changed.h5"
    for place in random.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        with suppress(Alos2TutError):
            open_product(path).read_db()


def test_a_file_that_changes_after_it_was_opened(gcov, tmp_path):
    path = tmp_path / "product.h5"
    path.write_bytes(gcov.read_bytes())
    product = open_product(path)
    path.unlink()
    write(path, grid({"HHHH": powers()[:, :30]}, (50, 30)) | {"mask": mask()[:, :30]})
    with pytest.raises(Alos2TutError, match=r"HHHH|changed"):
        product.read_db()
    path.unlink()
    with pytest.raises(Alos2TutError, match=r"product\.h5"):
        product.read_db()


def test_names_that_the_file_states_are_no_paths(tmp_path):
    path = write(tmp_path / "product.h5")
    with h5py.File(path, "a") as file:
        del file[f"{IDENTITY}/granuleId"]
        file[f"{IDENTITY}/granuleId"] = "../../etc/x"
        del file[f"{IDENTITY}/missionId"]
        file[f"{IDENTITY}/missionId"] = "N\x1b[31m" * 9
    assert open_product(path).name == "product_HH" and open_product(path).sensor == "NISAR L-SAR"


@pytest.mark.skipif(fcntl is None, reason="no such locks here")
def test_a_locked_file_says_what_to_do(gcov, tmp_path):
    path = tmp_path / "product.h5"
    path.write_bytes(gcov.read_bytes())
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)  # as a program that writes it has it
        assert "HDF5_USE_FILE_LOCKING" in str(refused(path, "cannot be opened as HDF5"))
