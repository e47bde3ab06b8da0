"""Calibrated images of others: the real mosaic rewritten as others write backscatter reads as the mosaic does."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from support.products import UTM54, real_data, write_geotiff

from alos2tut import Alos2TutError, open_product
from alos2tut.dataset.archive import open_archive
from alos2tut.dataset.config import DatasetConfig
from alos2tut.products.verify.report import verify_product

#: what is said of images that the tests write
GAMMA = {"quantity": "gamma0", "sensor": "ALOS-2"}
#: from γ0 as linear power to the numbers of a file
SCALES = {"power": lambda power: power, "amplitude": np.sqrt, "db": lambda power: 10 * np.log10(power)}


def write(path: Path, bands: dict[str, np.ndarray], dtype: str = "float32", **profile) -> Path:
    """A raster of several bands with descriptions, on UTM 54 unless the profile says otherwise."""
    first = next(iter(bands.values()))
    profile = {"driver": "GTiff", "crs": "EPSG:32654", "transform": UTM54} | profile
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        size = {"height": first.shape[0], "width": first.shape[1], "count": len(bands), "dtype": dtype}
        with rasterio.open(path, "w", **size, **profile) as raster:
            for number, (name, pixels) in enumerate(bands.items(), 1):
                raster.write(pixels.astype(dtype), number)
                raster.set_band_description(number, name)
    return path


def power(shape: tuple[int, int] = (60, 50), seed: int = 0) -> np.ndarray:
    """Speckled linear power around −10 dB."""
    return np.random.default_rng(seed).gamma(4, 0.025, shape).astype(np.float32)


# --- the real files


def test_a_real_image_in_db_opens():
    (file,) = real_data("sentinel1_vv_db").glob("*.tif")
    said = {"scale": "db", "quantity": "sigma0", "polarization": "VV", "sensor": "Sentinel-1"}
    product = open_product(file, **said)
    with rasterio.open(file) as raster:
        stored = raster.read(1)
    np.testing.assert_allclose(product.read_db(), np.where(stored == -99, np.nan, stored), atol=1e-3)
    assert (product.quantity, product.polarizations, product.crs.to_epsg()) == ("sigma0", ("VV",), 32631)
    assert product.coordinate_frame == "map" and product.source == "Sentinel-1" and product.spacing_m == (20, 20)
    assert product.notes == ("given by the user: scale=db, quantity=sigma0, polarization=VV, sensor=Sentinel-1",)
    # a polarisation that the name tells is taken with a note; the sensor is not guessed
    named = open_product(file, scale="db", quantity="sigma0")
    assert "polarisations are taken from the names: VV" in named.notes and "sensor" in named.gaps
    with pytest.raises(Alos2TutError, match=r"nothing tells quantity. Say quantity=sigma0 or gamma0 or"):
        open_product(file, scale="db")
    with pytest.raises(Alos2TutError, match=r"100.00% are below 0.*say scale='db'"):
        open_product(file, scale="power", quantity="sigma0")


@pytest.fixture(scope="module")
def gamma0(mosaic):
    """The mosaic, its power by polarisation (NaN without data), and its place."""
    product = open_product(mosaic)
    return product, {pol: product.read_power(polarization=pol) for pol in ("HH", "HV")}


def check_same(product, gamma0, polarizations=("HH", "HV")) -> None:
    """That a product reads as the mosaic does."""
    original, _ = gamma0
    assert product.polarizations == polarizations and product.quantity == "gamma0"
    assert product.crs == original.crs and product.transform.almost_equals(original.transform, 1e-9)
    for pol in polarizations:
        read, own = (one.read_db(polarization=pol) for one in (product, original))
        np.testing.assert_array_equal(np.isnan(read), np.isnan(own))
        np.testing.assert_allclose(read, own, atol=1e-3)
        part = {"window": (100, 200, 40, 30), "polarization": pol, "looks": 4}
        np.testing.assert_allclose(product.read_db(**part), original.read_db(**part), atol=1e-3)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("packaging", ["tif", "envi", "bands", "folder", "vrt"])
def test_the_mosaic_as_others_write_it_reads_as_the_mosaic(gamma0, tmp_path, packaging, scale):
    original, powers = gamma0
    place = {"crs": original.crs, "transform": original.transform, "nodata": -99}
    with np.errstate(invalid="ignore"):
        numbers = {pol: np.nan_to_num(SCALES[scale](values), nan=-99) for pol, values in powers.items()}
    said = GAMMA | {"scale": scale}
    match packaging:
        case "tif":
            file = write(tmp_path / "a.tif", {"": numbers["HV"]}, **place)
            return check_same(open_product(file, polarization="HV", **said), gamma0, ("HV",))
        case "envi":  # as GAMMA and SNAP: big-endian, a file each
            for pol, pixels in numbers.items():
                file = write(tmp_path / f"scene_{pol}.img", {pol: pixels}, driver="ENVI", **place)
                header = file.with_suffix(".hdr")
                file.write_bytes(np.fromfile(file, "<f4").astype(">f4").tobytes())
                header.write_text(header.read_text().replace("byte order = 0", "byte order = 1"))
            path = tmp_path
        case "bands":
            path = write(tmp_path / "b.tif", {f"Gamma0_{pol}": numbers[pol] for pol in ("HV", "HH")}, **place)
        case "folder":
            for pol, pixels in numbers.items():
                write(tmp_path / f"s1_{pol.lower()}.tif", {"": pixels}, compress="deflate", tiled=True, **place)
            write(tmp_path / "s1_inc_map.tif", {"": numbers["HH"]}, **place)
            path = tmp_path
        case "vrt":
            path = write_stack(tmp_path, numbers, place)
    product = open_product(path, **said)
    check_same(product, gamma0)
    assert pickle.loads(pickle.dumps(product)).read_db((0, 0, 9, 9)).shape == (9, 9)


def write_stack(folder: Path, numbers: dict[str, np.ndarray], place: dict) -> Path:
    """A mosaic (VRT) of one band per polarisation, each of two halves side by side."""
    bands, left = "", 300
    for number, (pol, pixels) in enumerate(numbers.items(), 1):
        parts = ""
        for at, part in ((0, pixels[:, :left]), (left, pixels[:, left:])):
            shift = place | {"transform": place["transform"] * rasterio.Affine.translation(at, 0)}
            name = write(folder / f"{pol}_{at}.tif", {"": part}, **shift).name
            size = f'xSize="{part.shape[1]}" ySize="{part.shape[0]}"'
            parts += f"""<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>
                <SourceBand>1</SourceBand><SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{at}" yOff="0" {size}/>
                </SimpleSource>"""
        bands += f"""<VRTRasterBand dataType="Float32" band="{number}"><Description>{pol}</Description>
            <NoDataValue>{place["nodata"]}</NoDataValue>{parts}</VRTRasterBand>"""
    height, width = pixels.shape
    transform = ", ".join(map(str, place["transform"].to_gdal()))
    path = folder / "all.vrt"
    path.write_text(f"""<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{place["crs"].to_string()}</SRS>
        <GeoTransform>{transform}</GeoTransform>{bands}</VRTDataset>""")
    return path


def test_a_mosaic_counts_its_sources(gamma0, tmp_path):
    original, powers = gamma0
    place = {"crs": original.crs, "transform": original.transform, "nodata": -99}
    path = write_stack(tmp_path, {pol: np.nan_to_num(values, nan=-99) for pol, values in powers.items()}, place)
    said = GAMMA | {"scale": "power"}
    product = open_product(path, **said)
    assert {file.name for file in product.files} == {"all.vrt", "HH_0.tif", "HH_300.tif", "HV_0.tif", "HV_300.tif"}
    before = product.fingerprint
    with rasterio.open(tmp_path / "HV_0.tif", "r+") as raster:
        raster.write(raster.read(1) * 2, 1)
    assert open_product(path, **said).fingerprint != before
    part = tmp_path / "HV_300.tif"
    part.write_bytes(part.read_bytes()[:-1000])
    with pytest.raises(Alos2TutError, match=r"HV_300.tif: is truncated"):
        open_product(path, **said)
    path.write_text(path.read_text().replace("HV_0.tif", "/vsicurl/http://x/a.tif").replace('"1">/', '"0">/'))
    with pytest.raises(Alos2TutError, match="no file on this machine"):
        open_product(path, **said)


# --- what is said, and by whom


def test_what_to_cog_writes_opens_by_itself(tmp_path):
    db = 10 * np.log10(power())
    first = open_product(write(tmp_path / "a.tif", {"": db}), scale="db", quantity="beta0", polarization="VH")
    for scale in ("db", "power"):
        cog = first.to_cog(tmp_path / f"{scale}.tif", scale=scale)
        again = open_product(cog)
        assert (again.quantity, again.polarizations, again.sensor, again.notes) == ("beta0", ("VH",), None, ())
        np.testing.assert_allclose(again.read_db(), db, atol=1e-3)
    told = rasterio.open(cog).tags()
    assert told["SOURCE"] == "unknown sensor" and told["PRODUCT"] == first.name == "a_VH"
    with pytest.raises(Alos2TutError, match="cannot turn beta0 into sigma0"):
        first.read_db(quantity="sigma0")


def test_descriptions_tell_what_they_can_with_a_note(tmp_path):
    db = 10 * np.log10(power())
    file = write(tmp_path / "s.tif", {"Sigma0_VH_db": db - 8, "Sigma0_VV_db": db, "localIncidenceAngle": db * 0 + 40})
    product = open_product(file)
    assert (
        product.polarizations == ("VH", "VV") and product.quantity == "sigma0" and product.choose_polarization() == "VV"
    )
    np.testing.assert_allclose(product.read_db(polarization="VH"), db - 8, atol=1e-3)
    told = " ".join(product.notes)
    for part in (
        "scale=db is taken",
        "quantity=sigma0 is taken",
        "taken from the names: VH, VV",
        "left aside: s local",
    ):
        assert part in told
    lied = open_product(file, quantity="gamma0")
    assert lied.quantity == "gamma0" and any("by its name it is sigma0" in note for note in lied.notes)


def test_a_file_called_by_its_polarisation_has_the_name_of_its_folder(tmp_path):
    (tmp_path / "bay").mkdir()
    path = write(tmp_path / "bay" / "HV.tif", {"HV": power()})
    assert open_product(path, scale="power", quantity="relative").name == "bay_HV"


def test_what_a_tiff_says_of_itself_is_a_note_of_one_line(tmp_path):
    said = {"scale": "power", "quantity": "sigma0"}
    path = write(tmp_path / "image_HH.tif", {"HH": power()})
    for words, note in (("dark ones\n are\x1b cut", "dark ones are cut"), ("w" * 999, f"{'w' * 400}…"), (" ", None)):
        with rasterio.open(path, "r+") as raster:
            raster.update_tags(TIFFTAG_IMAGEDESCRIPTION=words)
        notes = [text for text in open_product(path, **said).notes if text.startswith("the file says")]
        assert notes == ([] if note is None else [f"the file says: {note}"])


def test_bands_are_named_in_their_order(tmp_path):
    two = {"Band 1": power(), "Band 2": power(seed=1) / 4}
    file = write(tmp_path / "a.tif", two)
    said = GAMMA | {"scale": "power"}
    with pytest.raises(Alos2TutError, match="2 bands, whose descriptions tell no polarisation"):
        open_product(file, **said)
    with pytest.raises(Alos2TutError, match="2 bands, and polarization='HH' names 1"):
        open_product(file, polarization="HH", **said)
    product = open_product(file, polarization="HV,HH", **said)
    assert product.polarizations == ("HH", "HV") and product.default_polarization == "HV"
    np.testing.assert_allclose(product.read_power(polarization="HV"), two["Band 1"], rtol=1e-5)
    # the same files under other names are another product
    assert product.fingerprint != open_product(file, polarization="HH,HV", **said).fingerprint


def test_the_archive_of_a_dataset_carries_what_was_given(tmp_path):
    for place in ("a", "b"):
        transform = UTM54 * rasterio.Affine.translation(200 * (place == "b"), 0)
        write(tmp_path / place / f"{place}_HH.tif", {"": power(seed=ord(place))}, transform=transform)
    products = sorted(str(file) for file in tmp_path.glob("*/*.tif"))
    config = {"products": products, "patch_px": 16, "looks": 1, "quantity": "sigma0"}
    archive = open_archive(DatasetConfig(**config, scale="power"), progress=False)
    entries = pickle.loads(pickle.dumps(archive.entries))
    for entry, path in zip(entries, products, strict=True):
        opened = open_product(path, scale="power", quantity="sigma0")
        np.testing.assert_array_equal(entry.open().read_db(), opened.read_db())
        assert entry.info["sensor"] is None
    others = open_archive(DatasetConfig(**config, scale="amplitude"), progress=False).entries
    assert {entry.fingerprint for entry in entries}.isdisjoint(entry.fingerprint for entry in others)
    assert [entry.name for entry in entries] == ["a_HH", "b_HH"]


def test_verify_says_that_there_is_nothing_to_compare_with(tmp_path):
    pixels = power()
    pixels[:2] = np.nan
    file = write(tmp_path / "a_HH.tif", {"": pixels})
    report = verify_product(file, scale="power", quantity="sigma0")
    (check,) = [check for check in report.checks if check.subject == "images"]
    assert check.verdict == "stated once" and check.values == {"pixels": "2,900 of 3,000 hold data"}
    assert report.kind == "calibrated image" and report.differ == report.unreadable == 0


# --- no data


def test_all_that_says_no_data_is_heeded(tmp_path):
    pixels = power()
    pixels[0, :6] = [np.nan, np.inf, -np.inf, -7, 0, -99]
    file = write(tmp_path / "a_HH.tif", {"": pixels}, nodata=-99)
    product = open_product(file, scale="power", quantity="sigma0")
    read = product.read_db()
    assert np.isnan(read[0, :6]).all() and np.isfinite(read).sum() == read.size - 6
    assert "HH: of all pixels, 1 are 0, 1 are below 0: they count as no data" in product.notes
    (check,) = [check for check in verify_product(file, scale="power", quantity="sigma0").checks if check.name == "HH"]
    assert check.values == {"pixels": "2,994 of 3,000 hold data"}
    more = open_product(file, scale="power", quantity="sigma0", no_data=float(pixels[5, 5])).read_db()
    assert np.isnan(more[5, 5]) and np.isfinite(more).sum() == read.size - 7
    db = open_product(write(tmp_path / "b_HH.tif", {"": 10 * np.log10(power())}), scale="db", quantity="sigma0")
    # beyond ±300 dB lies nothing, and −∞ comes from no number
    with rasterio.open(tmp_path / "b_HH.tif", "r+") as raster:
        values = raster.read(1)
        values[0, :3] = [-9999, 3e38, -400]
        raster.write(values, 1)
    db = open_product(tmp_path / "b_HH.tif", scale="db", quantity="sigma0")
    assert np.isnan(db.read_db()[0, :3]).all() and np.isfinite(db.read_db()).sum() == 2997
    assert "HH: of all pixels, 3 lie beyond ±300 dB: they count as no data" in db.notes


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_what_a_mask_hides_is_no_number(tmp_path, dtype):
    # hundredths of dB, as stores of this package have them, and a mask band
    db = np.clip(10 * np.log10(power()), -40, 10)
    hidden = np.zeros(db.shape, bool)
    hidden[10:20, 5:9] = True
    numbers = (db * 100).round() if dtype == "int16" else db
    file = write(tmp_path / "a_HV.tif", {"": numbers}, dtype=dtype)
    with rasterio.open(file, "r+") as raster:
        raster.write_mask(~hidden)
        raster.scales = (0.01,) if dtype == "int16" else (1.0,)
    read = open_product(file, scale="db", quantity="sigma0").read_db()
    np.testing.assert_array_equal(np.isnan(read), hidden)
    np.testing.assert_allclose(read[~hidden], db[~hidden], atol=0.006)


def test_many_zeros_are_to_be_said(tmp_path):
    pixels = power()
    pixels[:6] = 0
    file = write(tmp_path / "a_HH.tif", {"": pixels})
    with pytest.raises(Alos2TutError, match=r"10.00% are 0, which no power is. If 0 stands for no data, say no_data=0"):
        open_product(file, scale="power", quantity="sigma0")
    assert np.isnan(open_product(file, scale="power", quantity="sigma0", no_data=0).read_db()[:6]).all()


# --- on no map


def test_an_image_on_no_map_has_its_own_frame(tmp_path):
    said = {"scale": "amplitude", "quantity": "relative", "polarization": "HV"}
    file = write(tmp_path / "a.tif", {"": np.sqrt(power())}, crs=None, transform=None)
    product = open_product(file, **said)
    assert product.coordinate_frame == "image" and product.grid is None and np.isnan(product.spacing_m).all()
    assert {"map", "pixel spacing"} <= {*product.gaps} and product.to_dict()["spacing_m"] is None
    assert open_product(file, **said, spacing_m=(6.6, 12.1)).spacing_m == (6.6, 12.1)
    assert "<img" in product._repr_html_() and "relative" in product._repr_html_()
    with pytest.raises(Alos2TutError, match="states no map"):
        _ = product.crs
    with pytest.raises(Alos2TutError, match="georeference"):
        open_product(file, **said, crs="EPSG:32654")
    placed = write(tmp_path / "b.tif", {"": np.sqrt(power())}, crs=None)
    with pytest.raises(Alos2TutError, match=r"states no coordinate system.*crs="):
        open_product(placed, **said)
    product = open_product(placed, **said, crs="EPSG:32654")
    assert product.crs.to_epsg() == 32654 and product.notes[-1].endswith("polarization=HV, crs=EPSG:32654")
    assert open_product(placed, **said, spacing_m=(5, 5)).grid is None
    with pytest.raises(Alos2TutError, match=r"an image on a map.*spacing_m"):
        open_product(write(tmp_path / "c.tif", {"": np.sqrt(power())}), **said, spacing_m=(5, 5))


def test_ground_control_points_are_told_and_not_used(tmp_path):
    file = write(tmp_path / "a.tif", {"HV": power()}, crs=None, transform=None)
    with rasterio.open(file, "r+") as raster:
        raster.gcps = [GroundControlPoint(r, c, 139 + c, 35 - r) for r, c in ((0, 0), (0, 9), (9, 0))], "EPSG:4326"
    product = open_product(file, scale="power", quantity="relative")
    assert product.grid is None and "its 3 ground control points are not used" in "\n".join(product.notes)


# --- what cannot be


@pytest.mark.parametrize(
    ("numbers", "said", "message"),
    [
        (lambda p: 10 * np.log10(p), {"scale": "power"}, "say scale='db'"),
        (lambda p: 10 * np.log10(p), {"scale": "amplitude"}, "say scale='db'"),
        (lambda p: p, {"scale": "db"}, "no number is below 0 .*Say scale='power' or scale='amplitude'"),
        (lambda p: 10 * np.log10(p), {}, r"nothing tells scale. Say scale='db', which the numbers support \(\d+% are"),
        (lambda p: p, {}, "scale='power' or scale='amplitude', which the numbers cannot tell apart"),
        (lambda p: p * 1e6, {"scale": "amplitude"}, "the median is .* dB as amplitude, which sigma0 of no scene is"),
    ],
)
def test_a_scale_that_cannot_be_is_refused_with_a_proposal(tmp_path, numbers, said, message):
    file = write(tmp_path / "a_HH.tif", {"": numbers(power())})
    with pytest.raises(Alos2TutError, match=message):
        open_product(file, quantity="sigma0", **said)


def test_numbers_that_are_not_calibrated_are_relative(tmp_path):
    file = write(tmp_path / "a_HH.tif", {"": np.sqrt(power()) * 20000}, dtype="uint16")
    with pytest.raises(Alos2TutError, match="say quantity='relative'"):
        open_product(file, scale="amplitude", quantity="sigma0")
    read = open_product(file, scale="amplitude", quantity="relative").read_db()
    np.testing.assert_allclose(np.nanmedian(read), np.median(10 * np.log10(power())) + 20 * np.log10(20000), atol=0.05)


def test_a_folder_that_is_no_image_is_told_so(tmp_path):
    said = {"scale": "power", "quantity": "sigma0"}
    for number in range(8):
        write(tmp_path / "odd" / f"photo{number}.tif", {"": power()})
    with pytest.raises(Alos2TutError, match=r"holds 8 rasters.*photo0.tif, .*photo4.tif and 3 more"):
        open_product(tmp_path / "odd", **said)
    for name in ("x_HH.tif", "y_HH.tif"):
        write(tmp_path / "twice" / name, {"": power()})
    with pytest.raises(Alos2TutError, match=r"2 rasters whose names say HH: x_HH.tif, y_HH.tif"):
        open_product(tmp_path / "twice", **said)
    for name, shape in (("x_HH.tif", (60, 50)), ("x_HV.tif", (60, 51))):
        write(tmp_path / "sizes" / name, {"": power(shape)})
    with pytest.raises(Alos2TutError, match=r"x_HV.tif: is 60 × 51 pixels"):
        open_product(tmp_path / "sizes", **said)
    for name, transform in (("x_HH.tif", UTM54), ("x_HV.tif", UTM54 * rasterio.Affine.translation(1, 0))):
        write(tmp_path / "places" / name, {"": power()}, transform=transform)
    with pytest.raises(Alos2TutError, match=r"x_HV.tif: lies elsewhere than x_HH.tif"):
        open_product(tmp_path / "places", **said)


def test_rasters_of_other_kinds_are_refused(tmp_path):
    said = {"scale": "power", "quantity": "sigma0", "polarization": "HH"}
    for dtype in ("uint8", "complex64", "int32"):
        with pytest.raises(Alos2TutError, match=f"holds 1 band.* of {dtype}"):
            open_product(write(tmp_path / f"{dtype}.tif", {"": power() * 9}, dtype=dtype), **said)
    many = write(tmp_path / "many.tif", {f"B{n}": power((8, 8)) for n in range(17)})
    with pytest.raises(Alos2TutError, match="17 bands"):
        open_product(many, **said)
    whole = write(tmp_path / "cut.tif", {"": power()})
    whole.write_bytes(whole.read_bytes()[:-4000])
    with pytest.raises(Alos2TutError, match="is truncated"):
        open_product(whole, **said)
    several = write(tmp_path / "planes.tif", {"HH": power(), "HV": power()}, interleave="band")
    several.write_bytes(several.read_bytes()[:-4000])
    with pytest.raises(Alos2TutError, match="is no whole TIFF"):
        open_product(several, **said)
    raw = write(tmp_path / "claims.img", {"": power()}, driver="ENVI")
    header = raw.with_suffix(".hdr")
    header.write_text(
        header.read_text().replace("samples = 50", "samples = 500000").replace("lines   = 60", "lines   = 1")
    )
    with pytest.raises(Alos2TutError, match="too small"):
        open_product(raw, **said)
    header.write_text(header.read_text().replace("samples = 500000", "samples = 0"))
    with pytest.raises(Alos2TutError):
        open_product(raw, **said)
    with pytest.raises(Alos2TutError, match="is a product as JAXA delivers it"):
        lying = write_geotiff(tmp_path / "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif", power() * 9, UTM54)
        open_product(lying, scale="power")
    nothing = write(tmp_path / "empty.tif", {"": power() * np.nan})
    product = open_product(nothing, **said)
    assert np.isnan(product.read_db()).all() and "HH: none of all pixels has data" in product.notes


def test_snaps_folders_and_headers_open(tmp_path):
    # BEAM-DIMAP: x.dim beside x.data, which holds a big-endian ENVI raster per band, and others
    numbers = {"Gamma0_HH": power(), "Gamma0_HV": power(seed=1), "localIncidenceAngle": power() + 40}
    for name, pixels in numbers.items():
        write(tmp_path / "x.data" / f"{name}.img", {name: pixels}, driver="ENVI")
    (tmp_path / "x.dim").write_text("<Dimap_Document/>")
    for path in (tmp_path / "x.dim", tmp_path / "x.data"):
        product = open_product(path, scale="power")
        assert product.polarizations == ("HH", "HV") and product.quantity == "gamma0" and product.name == "x_HH"
        np.testing.assert_allclose(product.read_power(polarization="HV"), numbers["Gamma0_HV"], rtol=1e-5)
    one = open_product(tmp_path / "x.data" / "Gamma0_HV.hdr", scale="power")
    assert one.polarizations == ("HV",) and {file.suffix for file in one.files} == {".img", ".hdr"}
