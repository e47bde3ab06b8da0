"""What a product is and writes: COGs, files of the delivery that stay, pictures, names, fingerprints."""

import base64
import dataclasses
import io
import re
import warnings

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from support.packagings import image_of
from support.products import ARCHIVES, SCENE_ID, TIFF_NAME, UTM54, amplitudes, archived, write_ceos, write_geotiff

from alos2tut import Alos2TutError, Alos2TutWarning, Product, open_product
from alos2tut.mapping.config import MapConfig
from alos2tut.mapping.scene import _opened
from alos2tut.products.ceos import ImageFile
from alos2tut.products.metadata import MapGrid
from alos2tut.products.quicklook import quicklook_png

# --- Cloud-Optimized GeoTIFFs


@pytest.mark.parametrize("scale", ["db", "power", "dn"])
def test_a_cog_has_the_pixels_and_their_place(plain, tmp_path, scale):
    path = plain.to_cog(tmp_path / "x.tif", scale=scale)
    with rasterio.open(path) as cog:
        assert cog.read(1).tobytes() == getattr(plain, f"read_{scale}")().tobytes()
        assert (cog.crs, cog.dtypes, cog.count) == (plain.crs, ("float32",), 1) and np.isnan(cog.nodata)
        assert tuple(cog.transform) == pytest.approx(tuple(UTM54), abs=1e-3)


def test_a_cog_of_a_window_by_looks_lies_in_its_place(plain, tmp_path):
    window, looks = (5, 7, 30, 20), (3, 2)
    path = plain.to_cog(tmp_path / "x.tif", window=window, looks=looks)
    with rasterio.open(path) as cog:
        assert cog.read(1).tobytes() == plain.read_db(window, looks=looks).tobytes()
        # the window grown to whole blocks begins in row 3, column 6
        assert cog.transform * (0, 0) == pytest.approx((350_000 + 6 * 2.5, 3_900_000 - 3 * 2.5), abs=1e-3)
        assert cog.res == pytest.approx((5.0, 7.5), abs=1e-4) and cog.shape == (11, 11)


def test_a_cog_of_a_rotated_product_is_rotated(tmp_path):
    transform = UTM54 * rasterio.Affine.rotation(10)
    product = open_product(write_ceos(tmp_path / "p", {"HH": amplitudes()}, "UBSR1.5RUD", transform=transform))
    with rasterio.open(product.to_cog(tmp_path / "x.tif")) as cog:
        assert tuple(cog.transform) == pytest.approx(tuple(transform), abs=1e-3)


def test_the_tags_of_a_cog_say_what_its_numbers_are(coarse, tmp_path):
    with rasterio.open(coarse.to_cog(tmp_path / "x.tif", scale="power", looks=(2, 1), quantity="gamma0")) as cog:
        tags = cog.tags()
    expected = {
        "PRODUCT": f"IMG-HH-{SCENE_ID}-WBDR1.5GUD",
        "POLARIZATION": "HH",
        "SCALE": "linear power",
        "QUANTITY": "gamma0",
        "CALIBRATION": "-83 dB (leader file)",
        "CONVERSION": "from sigma0 by incidence: slant range of the lines (smooth Earth)",
        "LOOKS": "2 x 1",
        "ACQUIRED": "2018-10-18T03:04:05.000Z",
        "SOURCE": "ALOS-2 PALSAR-2, (c) JAXA",
    }
    assert {key: tags.get(key) for key in expected} == expected


def test_a_cog_says_how_far_a_conversion_by_one_angle_is_off(centered, tmp_path):
    with pytest.warns(Alos2TutWarning, match="scene centre") as warned:
        path = centered.to_cog(tmp_path / "x.tif", quantity="gamma0")
    with rasterio.open(path) as cog:
        told = cog.tags()["CONVERSION"]
    assert told == centered.describe_conversion() and "off by about ±0.01 dB" in told
    assert f"gamma0 {told}" in [str(warning.message) for warning in warned]


@pytest.mark.parametrize(
    ("options", "there", "absent"),
    [
        pytest.param({}, {"SCALE": "dB", "QUANTITY": "sigma0"}, {"CONVERSION"}, id="own quantity"),
        pytest.param({"quantity": "sigma0"}, {"QUANTITY": "sigma0"}, {"CONVERSION"}, id="own quantity by name"),
        pytest.param(
            {"scale": "dn"}, {"SCALE": "amplitude, not calibrated"}, {"QUANTITY", "CALIBRATION"}, id="digital numbers"
        ),
    ],
)
def test_tags_of_a_cog_say_no_more_than_is_so(plain, tmp_path, options, there, absent):
    with rasterio.open(plain.to_cog(tmp_path / "x.tif", **options)) as cog:
        tags = cog.tags()
    assert {key: tags[key] for key in there} == there and not absent & set(tags)


@pytest.mark.parametrize(
    ("options", "compression", "levels"),
    [({}, "DEFLATE", [2]), ({"compress": False}, None, [2]), ({"overviews": False}, "DEFLATE", [])],
)
def test_compression_and_overviews_of_a_simulated_cog(small, tmp_path, options, compression, levels):
    with rasterio.open(small.to_cog(tmp_path / "x.tif", **options)) as cog:
        assert cog.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == compression
        assert cog.overviews(1) == levels and cog.tags()["SOURCE"] == "simulated"


def test_a_file_of_the_product_is_not_overwritten(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    product = open_product(folder)
    for file in product.files:
        with pytest.raises(Alos2TutError, match=rf"{re.escape(file.name)}.*of the product itself"):
            product.to_cog(folder / ".." / "product" / file.name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "name", [f"VOL-{SCENE_ID}-UBSR2.1GUD", "summary.txt", f"IMG-HV-{SCENE_ID}-UBSR2.1GUD", f"{SCENE_ID}.tif".lower()]
)
def test_nothing_is_written_that_looks_like_a_file_of_the_delivery(tmp_path, name):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    product = open_product(image_of(folder))
    assert product.owns(folder / name) and not product.owns(tmp_path / name)
    for write in (product.to_cog, lambda path: _opened(product, MapConfig(), path)):
        with pytest.raises(Alos2TutError, match=rf"{re.escape(name)}.*of the product itself.*another folder"):
            write(folder / name)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_relative_paths_are_owned_from_wherever_they_are_named(tmp_path, monkeypatch):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    monkeypatch.chdir(tmp_path)
    product = open_product("product")
    names = (image_of(folder).name, f"VOL-{SCENE_ID}-UBSR2.1GUD")
    assert all(product.owns(f"product/{name}") and not product.owns(name) for name in names)
    monkeypatch.chdir(folder)
    assert all(product.owns(name) and product.owns(f"../product/{name}") for name in names)
    assert not product.owns("map.tif") and not product.owns(".") and not product.owns("..")


def test_files_behind_links_are_not_overwritten(tmp_path):
    folder = write_ceos(tmp_path / "store", {"HH": amplitudes()})
    links = tmp_path / "links"
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    product = open_product(links)
    for place in (folder, links):
        assert product.owns(place / f"VOL-{SCENE_ID}-UBSR2.1GUD") and product.owns(place / f"{SCENE_ID}.tif")
    (tmp_path / "map.tif").symlink_to(folder / f"IMG-HV-{SCENE_ID}-UBSR2.1GUD")
    assert product.owns(tmp_path / "map.tif") and not product.owns(links / "map.tif")


@pytest.mark.parametrize("archive", ARCHIVES)
def test_beside_an_archive_names_are_free(plain, tmp_path, archive):
    path = archived(plain.path, tmp_path / archive)
    product = open_product(path)
    assert product.owns(path) and not product.owns(tmp_path / f"{SCENE_ID}.tif")
    with pytest.raises(Alos2TutError, match="of the product itself"):
        product.to_cog(path)


def test_slant_range_is_written_in_its_own_frame(slc, tmp_path):
    window, (rows_m, cols_m) = (2, 3, 11, 8), slc.spacing_m
    path = slc.to_cog(tmp_path / "x.tif", window=window, looks=(2, 1))
    with rasterio.open(path) as cog:
        assert cog.crs is None and cog.transform.is_identity
        np.testing.assert_array_equal(cog.read(1), slc.read_db(window, looks=(2, 1)))
        told = cog.tags()
    assert (told["FRAME"], told["IMAGE_PIXELS"], told["IMAGE_CORNER"]) == ("image", "2 x 1", "2, 3")
    again = open_product(path)
    assert (again.grid, again.quantity, again.polarizations) == (None, slc.quantity, ("HH",))
    assert again.spacing_m == (2 * rows_m, cols_m)
    np.testing.assert_allclose(again.read_db(), slc.read_db(window, looks=(2, 1)), atol=1e-3)


def test_what_cannot_be_written_is_refused_at_once(plain, tmp_path):
    with pytest.raises(Alos2TutError, match="does not exist"):
        plain.to_cog(tmp_path / "nowhere" / "x.tif")
    with pytest.raises(Alos2TutError, match="compress: unknown compression 'lzw'"):
        plain.to_cog(tmp_path / "x.tif", compress="lzw")
    assert not list(tmp_path.iterdir())


# --- pictures


def picture_in(text: str) -> tuple[str, bytes]:
    """Kind and content of the one picture in a piece of HTML."""
    ((kind, content),) = re.findall(r"<img [^>]*src='data:([^;]+);base64,([^']+)'", text)
    return kind, base64.b64decode(content)


def no_pixels(*_: object) -> None:
    raise AssertionError("pixels are read")


@pytest.mark.parametrize("shape", [(48, 40), (40, 700), (700, 40), (1, 5)])
def test_a_picture_has_the_products_proportions(tmp_path, shape):
    dn = np.tile(np.linspace(100, 60_000, shape[1]).astype(np.uint16), (shape[0], 1))
    product = open_product(write_geotiff(tmp_path / TIFF_NAME, dn, UTM54))
    kind, content = picture_in(product._repr_html_())
    assert kind == "image/png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(io.BytesIO(content)) as picture:
            grey = picture.read(1).astype(int)
    scale = max(1, -(-max(shape) // 320))
    assert grey.shape == (-(-shape[0] // scale), -(-shape[1] // scale))
    # brighter to the right, nothing missing
    assert (np.diff(grey, axis=1) >= 0).all() and grey.min() == 1 and grey.max() == 255


def test_what_is_missing_is_darkest_in_a_picture(plain, slc):
    for product, missing in ((plain, amplitudes() == 0), (slc, ~np.isfinite(slc.read_db()))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(io.BytesIO(quicklook_png(product))) as picture:
                np.testing.assert_array_equal(picture.read(1) == 0, missing)


def test_texts_of_files_are_escaped(tmp_path):
    folder = write_ceos(tmp_path, {"HH": amplitudes()}, software="<b>&'\"x</b>")
    text = open_product(folder)._repr_html_()
    assert "<b>" not in text and "&lt;b&gt;&amp;&#x27;&quot;x&lt;/b&gt;" in text


@pytest.mark.parametrize("kind", ["CEOS", "GeoTIFF"])
def test_a_product_whose_pixels_are_damaged_still_shows(tmp_path, kind):
    if kind == "CEOS":
        path = image_of(write_ceos(tmp_path, {"HH": amplitudes()}))
    else:
        path = write_geotiff(tmp_path / TIFF_NAME, amplitudes(), UTM54, compress="deflate")
    product = open_product(tmp_path)
    path.write_bytes(path.read_bytes()[:900])
    text = product._repr_html_()
    assert "<img" not in text and path.name in text and SCENE_ID in text and "<table>" in text


def test_opening_and_describing_read_no_pixels(plain, monkeypatch):
    monkeypatch.setattr(ImageFile, "strips", no_pixels)
    product = open_product(plain.path)
    assert product.to_dict() and repr(product) and product.footprint and product.fingerprint


# --- what it is


@pytest.mark.parametrize(
    ("held", "named", "chosen"),
    [
        pytest.param(("HH", "HV", "VH", "VV"), None, "HH", id="HH"),
        pytest.param(("VH", "VV"), None, "VV", id="VV before VH"),
        pytest.param(("HV", "VH"), None, "HV", id="the first"),
        pytest.param(("HV",), None, "HV", id="the only one"),
        pytest.param(("HH", "HV"), "HV", "HV", id="the image that was opened"),
    ],
)
def test_a_polarisation_is_chosen_where_none_is_named(plain, held, named, chosen):
    product = dataclasses.replace(plain, polarizations=held, default_polarization=named)
    assert product.choose_polarization() == chosen and f"IMG-{chosen}-" in product.name


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:2263", 1200 / 3937), ("EPSG:32654", 1.0)])
def test_spacing_is_in_metres_whatever_the_unit_of_the_map(plain, crs, metres):
    grid = MapGrid(rasterio.crs.CRS.from_user_input(crs), rasterio.Affine(10, 0, 9e5, 0, -20, 2e5))
    assert dataclasses.replace(plain, grid=grid).spacing_m == pytest.approx((20 * metres, 10 * metres))


def test_a_fingerprint_is_of_the_files_that_are_named(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    product = open_product(folder)
    before = product.fingerprint
    for name in ("VOL", "TRL"):
        (path,) = folder.glob(f"{name}-*")
        path.write_bytes(path.read_bytes() + b"x")
    assert product.fingerprint == before and not {"VOL", "TRL"} & {file.name[:3] for file in product.files}
    image_of(folder).write_bytes(image_of(folder).read_bytes() + b"x")
    assert product.fingerprint != before


def test_a_fingerprint_of_moved_files_says_what_is_missing(tmp_path):
    folder = write_ceos(tmp_path / "product", {"HH": amplitudes()})
    product = open_product(folder)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(Alos2TutError, match=r"-UBSR2\.1GUD: cannot be read \(No such file.*moved"):
        _ = product.fingerprint


def test_a_footprint_in_slant_range_is_what_is_stated(slc):
    assert len(slc.footprint) == 4 and dataclasses.replace(slc, stated_footprint=()).footprint == ()


def test_a_product_without_images_has_no_quantity(plain):
    calibration = {"quantity", "calibration_factor_db", "calibration_source"}
    assert None not in [plain.to_dict()[name] for name in calibration]
    product = dataclasses.replace(plain, polarizations=(), quantity="")
    assert {product.to_dict()[name] for name in calibration} == {None}
    assert "quantity" not in product._repr_html_() and isinstance(product.calibration_factor_db, float)
    with pytest.raises(Alos2TutError, match="holds no backscatter images"):
        product.is_converted("gamma0")


def test_help_explains_every_field():
    told = Product.__doc__ or ""
    explained = re.findall(r"^        (\w+): ", told.partition("Attributes:")[2], re.MULTILINE)
    assert sorted(explained) == sorted(field.name for field in dataclasses.fields(Product))


def test_products_go_into_sets(plain):
    again = open_product(plain.path)
    assert {plain, plain, again} == {plain, again} and len({plain, again}) == 2 and plain != again
