"""What GeoTIFFs, Level 2.2, the mosaic and the forest map are made of, and what is odd in them."""

import json
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.packagings import (
    CARD4L_XML,
    DEGREES,
    LEVEL22,
    TILES,
    contents,
    opened,
    write_card4l,
    write_forest,
    write_mosaic,
)
from support.products import SCENE_ID, TIFF_NAME, UTM54, amplitudes, write_geotiff

from alos2tut import Alos2TutError, Alos2TutWarning, open_product, verify_product
from alos2tut.products.given import Given
from alos2tut.products.opening import open_given

# --- GeoTIFF


@pytest.mark.parametrize(
    ("product_id", "options"),
    [
        pytest.param("UBSR1.5GUD", {}, id="Level 1.5"),
        pytest.param("UBSR1.5RUD", {"transform": UTM54 * rasterio.Affine.rotation(10)}, id="rotated"),
        pytest.param("UBSR2.1GUD", TILES, id="BigTIFF, tiled, compressed"),
    ],
)
def test_geotiffs_of_all_kinds(tmp_path, product_id, options):
    path = tmp_path / f"IMG-HH-{SCENE_ID}-{product_id}.tif"
    transform = options.get("transform", UTM54)
    product = open_product(write_geotiff(path, amplitudes(), **{"transform": transform} | options))
    assert product.level == product_id[4:7] and product.crs.to_epsg() == 32654
    assert tuple(product.transform) == pytest.approx(tuple(transform))
    np.testing.assert_array_equal(product.read_dn(), np.where(amplitudes(), amplitudes(), np.nan))


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
@pytest.mark.parametrize(
    "crs",
    [
        "EPSG:1",
        "Tokyo",
        10**9,
        "",
        "EPSG:5773",
        'LOCAL_CS["mine",UNIT["metre",1]]',
        "[1, 2]",
        "+proj=x",
        "http://127.0.0.1:1/x",
        "HTTPS://127.0.0.1:1",
        "/etc/passwd",
    ],
)
def test_a_system_that_is_none_of_a_map_is_refused(packaged, packaging, crs, capfd):
    with pytest.raises(Alos2TutError, match="no coordinate system"):
        open_product(packaged(packaging), crs=crs)
    assert "127.0.0.1" not in capfd.readouterr().err  # where GDAL tells whom it asked


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
    assert any("assumed" in note for note in product.notes)
    assert {"calibration factor", "scene incidence", "summary.txt"} <= set(
        product.gaps
    ) and not product.incidence_source


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
    assert (product.calibration_factor_db, product.calibration_source) == (-83.0, "the tile's XML")
    assert product.noise_floor_db == {"HH": -41.1, "HV": -49.2}
    assert product.gaps == () and product.acquired == "2020-09-09"
    # 0.8 seconds of arc at 22° north, by the ellipsoid's radii there
    assert product.spacing_m == pytest.approx((24.607, 22.938), abs=0.002)
    # tiles are named by their upper left corner
    left, bottom, right, top = product.bounds
    assert -161 <= left < right <= -160 and 22 <= bottom < top <= 23


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


def test_what_a_delivered_mask_calls_no_data_or_invalid_is_none(tmp_path):
    """Layover, shadow and water are measurements; half of a block must be there."""
    folder = write_card4l(tmp_path / "22")
    codes = np.tile(np.arange(6, dtype=np.uint8), (48, 7))[:, :40]
    for pol in ("HH", "HV"):
        write_geotiff(folder / f"{LEVEL22}_{pol}_SLP.tif", np.where(codes, 1000, 0), UTM54)
    write_geotiff(folder / f"{LEVEL22}_MSK.tif", codes, UTM54, dtype="uint8")
    mosaic = write_mosaic(tmp_path / "mosaic", 16)
    write_geotiff(mosaic / "N23W161_16_sl_HH_F02DAR.tif", np.full((30, 20), 1000), DEGREES, "EPSG:4326")
    land = np.resize([0, 50, 100, 150, 255], (30, 20)).astype(np.uint8)
    write_geotiff(mosaic / "N23W161_16_mask_F02DAR.tif", land, DEGREES, "EPSG:4326", dtype="uint8")
    with rasterio.open(folder / f"{LEVEL22}_LIN.tif", "r+") as raster:
        raster.nodata = raster.read(1)[0, 0]
    # the mask's own tag hides what its codes do not name
    with rasterio.open(folder / f"{LEVEL22}_MSK.tif", "r+") as raster:
        codes[0, :3] = raster.nodata = 255
        raster.write(codes, 1)
    product = open_product(folder)
    assert np.isnan(product.read_incidence()[0, 0])
    with pytest.warns(Alos2TutWarning, match=r"sl_HH_F02DAR\.tif: the mask N23W161_16_mask_F02DAR.*contradict.*: 20 %"):
        tile = open_product(mosaic)
    for one, hidden in ((product, np.isin(codes, (0, 5, 255))), (tile, land == 0)):
        for scale in ("dn", "power", "db"):
            assert (np.isnan(getattr(one, f"read_{scale}")()) == hidden).all()
        blocks = np.concatenate([values for _, values in one.blocks("dn", rows=7)])
        np.testing.assert_array_equal(np.isnan(blocks), hidden)
        looked = one.read_dn(looks=2)
        share = hidden.reshape(hidden.shape[0] // 2, 2, hidden.shape[1] // 2, 2).mean(axis=(1, 3))
        np.testing.assert_array_equal(np.isnan(looked), share > 0.5)
        exported = one.to_cog(tmp_path / "a.tif", scale="dn", progress=False)
        with rasterio.open(exported) as raster:
            np.testing.assert_array_equal(np.isnan(raster.read(1)), hidden)
        np.testing.assert_array_equal(np.isnan(one.to_xarray(scale="dn").HH.values), hidden)


PAM = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>{tag}</NoDataValue></PAMRasterBand></PAMDataset>'


@pytest.mark.parametrize("beside", [False, True])
def test_masks_and_tags_of_each_image_are_heeded(tmp_path, beside):
    dn, mask = np.arange(1, 48 * 40 + 1).reshape(48, 40), np.arange(48 * 40).reshape(48, 40) % 3 > 0
    files = [tmp_path / TIFF_NAME, tmp_path / TIFF_NAME.replace("HH", "HV")]
    for file, tag in zip(files, (7, None), strict=True):
        write_geotiff(file, dn, UTM54, nodata=tag)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not beside), rasterio.open(files[1], "r+") as raster:
        raster.write_mask(mask)
    before = open_given(tmp_path, Given()).fingerprint
    with pytest.warns(Alos2TutWarning, match=r"contradict") as told:
        product = open_product(tmp_path)
    texts = sorted(str(w.message) for w in told if "contradict" in str(w.message))
    assert len(texts) == 2 and "its no-data tag (7)" in texts[0] and "33 %" in texts[1]
    assert product.no_data_dn == (0,)
    checks = {c.name: c for c in verify_product(tmp_path).checks if "calls no data" in c.name}
    assert {c.verdict for c in checks.values()} == {"differs"} and len(checks) == 2
    np.testing.assert_array_equal(np.isnan(product.read_db(polarization="HH")), dn == 7)
    np.testing.assert_array_equal(np.isnan(product.read_db(polarization="HV")), ~mask)
    alone = tmp_path / "alone" / TIFF_NAME
    write_geotiff(alone, dn, UTM54, nodata=9)
    with pytest.warns(Alos2TutWarning, match=r"its no-data tag \(9\) and the amplitudes contradict"):
        assert open_product(alone).no_data_dn == (0, 9)
    # what GDAL writes beside a file that it may not change, and its other spelling of a mask's name
    text = alone.with_name(f"{alone.name}.aux.xml")
    text.write_text(PAM.format(tag=5))
    assert open_product(alone).no_data_dn == (0, 9)
    write_geotiff(alone, dn, UTM54)  # GDAL removes what lay beside the older one
    text.write_text(PAM.format(tag=5))
    with pytest.warns(Alos2TutWarning, match=r"its no-data tag \(5\)"):
        assert open_product(alone).no_data_dn == (0, 5)
        assert np.isnan(open_product(alone).read_dn()).sum() == 1
    if beside:
        mask_file = files[1].with_name(f"{files[1].name}.msk")
        mask_file.rename(mask_file.with_suffix(".MSK"))
        np.testing.assert_array_equal(np.isnan(open_product(tmp_path).read_db(polarization="HV")), ~mask)
        mask_file.with_suffix(".MSK").unlink()
        assert open_product(tmp_path).fingerprint != before


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


def test_a_layer_of_another_size_is_refused(copied):
    folder = copied("2.2")
    write_geotiff(folder / f"{LEVEL22}_MSK.tif", np.ones((40, 40)), UTM54, dtype="uint8")
    with pytest.raises(Alos2TutError, match=r"MSK.*40 × 40"):
        open_product(folder)


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


def test_long_texts_take_no_time(tmp_path):
    polygon = CARD4L_XML.replace("139.1 35.9, 139.2", "1" * 200_000)
    begun = time.process_time()
    assert open_product(write_card4l(tmp_path, xml=polygon)).footprint
    assert time.process_time() - begun < 5


def test_a_scansar_geotiff_may_be_of_beam_w2(tmp_path):
    for mode, date, is_old in [("W", "150101", True), ("W", "181018", False), ("V", "150101", False)]:
        folder = tmp_path / mode / date
        write_geotiff(folder / f"IMG-HH-ALOS2037752900-{date}-{mode}BDR2.1GUD.tif", amplitudes(), UTM54)
        assert any("W2" in note for note in open_product(folder).notes) == is_old


def test_a_no_data_tag_counts(tmp_path):
    dn = np.where(amplitudes() > 60_000, 65535, amplitudes())
    write_geotiff(tmp_path / TIFF_NAME, dn, UTM54, nodata=65535)
    product = open_product(tmp_path)
    assert product.no_data_dn == (0, 65535)
    np.testing.assert_array_equal(np.isnan(product.read_dn()), (dn == 0) | (dn == 65535))
    tile = write_geotiff(tmp_path / "N23W161_20_sl_HH_F02DAR.tif", dn, DEGREES, "EPSG:4326", nodata=7)
    assert open_product(tile).no_data_dn == (0, 1, 7)


@pytest.mark.filterwarnings("ignore:.*leader and the lines place corners")
@pytest.mark.parametrize("packaging", ["GeoTIFF 2.1", "CEOS 2.1"])
def test_another_system_than_the_stated_one_is_told(packaged, packaging):
    folder = packaged(packaging)
    with pytest.warns(Alos2TutWarning, match="states EPSG:32654, is placed by EPSG:32653") as warned:
        open_product(folder, crs="EPSG:32653")
    assert {w.filename for w in warned if w.category is Alos2TutWarning} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error", Alos2TutWarning)
        open_product(packaged(packaging), crs="EPSG:32654")


def test_a_tile_with_layers_only_is_one_of_the_mosaic(tmp_path):
    folder = write_mosaic(tmp_path)
    for path in folder.glob("*_sl_*"):
        path.unlink()
    product = open_product(folder)
    assert product.kind == "25 m mosaic" and product.to_dict()["quantity"] is None


def test_images_that_an_xml_lists_and_that_are_not_here_are_gaps(tmp_path):
    names = "".join(f"<FileName>{LEVEL22}_{pol}_SLP.tif</FileName>" for pol in ("HH", "HV"))
    folder = write_card4l(tmp_path, xml=CARD4L_XML.replace("</Product>", f"{names}</Product>"))
    assert open_product(folder).gaps == ()
    (folder / f"{LEVEL22}_HV_SLP.tif").unlink()
    assert open_product(folder).gaps == ("image HV",)
