"""Verifying GeoTIFFs, Level 2.2 and the mosaic: what agrees, and what every contradiction shows."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.products import TIFF_NAME, UTM54, amplitudes, real_data, write_ceos, write_geotiff
from support.reports import OPENING, check_of, wrong

from alos2tut.products.verify.report import verify_product


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
    stated = {"Pdi_CntOfL21ProductFileName": 1, "Pdi_L21ProductFileName01": TIFF_NAME, **entries}
    for key, value in stated.items():
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

DEGREES = rasterio.Affine(1 / 4500, 0, -160.2, 0, -1 / 4500, 22.5)
CARD4L = "ALOS2437590500-220630_WWDR2.2GUA"


def write_card4l(folder: Path, **changes: object) -> Path:
    """HH, incidence and mask of 60 × 80 pixels and the XML as JAXA writes it, counts swapped."""
    stated = {
        "lines": 80,
        "pixels": 60,
        "east": 374_625,
        "epsg": 32651,
        "equation": "10*log10(DN^2)-83.0",
        "spacing": 25,
        "pass": "Ascending",
    }
    stated |= {"name": "HH_SLP", **changes}
    hh = np.full((60, 80), 500)
    mask = np.ones((60, 80))
    hh[:9], mask[:9] = 0, 0
    hh[30, 30], mask[40, 40] = stated.get("hole", 500), stated.get("masked", 1)
    transform = rasterio.Affine(25, 0, 374_612.5, 0, -25, 3_087_012.5)
    for name, pixels, dtype in (("HH_SLP", hh, "uint16"), ("LIN", hh, "uint16"), ("MSK", mask, "uint8")):
        write_geotiff(folder / f"{CARD4L}_{name}.tif", pixels, transform, "EPSG:32651", dtype=dtype)
    (folder / f"{CARD4L}_summary.xml").write_text(
        f"""<Product><FileName>{CARD4L}_{stated["name"]}.tif</FileName><ObservationMode>WWD</ObservationMode>
        <StartTime>2022-06-30T15:58:00.078Z</StartTime><PassDirection>{stated["pass"]}</PassDirection>
        <ProductRowSpacing>{stated["spacing"]}</ProductRowSpacing><ProductColumnSpacing>25.0</ProductColumnSpacing>
        <ProductBoundingBox Corner="UL">
          <Northing>3087000</Northing><Easting>{stated["east"]}</Easting></ProductBoundingBox>
        <NumberLines>{stated["lines"]}</NumberLines><NumPixelsPerLine>{stated["pixels"]}</NumPixelsPerLine>
        <CoordinateReferenceSystem type="EPSG">{stated["epsg"]}</CoordinateReferenceSystem>
        <BackscatterConversionEq>{stated["equation"]}</BackscatterConversionEq></Product>"""
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
    folder: Path, year: int = 20, east: float = 0, no_data: int = 1, day: int = 2300, dn: str = "DN^2"
) -> Path:
    """HH, incidence and date of a part of a tile, so many degrees east of its place, and its XML."""
    transform = rasterio.Affine.translation(east, 0) * DEGREES
    for name, value, dtype in (("sl_HH", 500, "uint16"), ("linci", 35, "uint8"), ("date", day, "uint16")):
        pixels = np.full((40, 50), value)
        pixels[:5] = no_data
        path = folder / f"N23W161_{year}_{name}_F02DAR.tif"
        write_geotiff(path, pixels, transform, "EPSG:4326", dtype=dtype, nodata=no_data)
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
        ({"east": 0.3}, {"place: inside its tile"}),
        ({"day": 2290}, {"time: days"}),
        ({"dn": "DN"}, {"radiometry: calibration factor in dB"}),
        ({"no_data": 0}, {f"rasters: no data of {name}" for name in ("HH", "linci", "date")}),
        ({"year": 15}, {f"rasters: no data of {name}" for name in ("HH", "linci", "date")}),
    ],
)
def test_a_tile_of_the_mosaic_is_compared_with_its_name_and_xml(tmp_path, changes, expected):
    report = verify_product(write_mosaic(tmp_path, **changes))
    assert wrong(report) == expected and report.kind == "25 m mosaic"
    no_data = {"tag": str(changes.get("no_data", 1)), "rule of its year": "0" if "year" in changes else "1"}
    assert check_of(report, "no data of HH").values == no_data


@pytest.mark.parametrize(("layer", "kind"), [("mask", "25 m mosaic"), ("C", "forest map")])
def test_the_forest_map_is_told_by_its_layer(tmp_path, layer, kind):
    path = tmp_path / f"N23W161_20_{layer}_F02DAR.tif"
    write_geotiff(path, np.full((40, 50), 1), DEGREES, "EPSG:4326", dtype="uint8")
    report = verify_product(tmp_path)
    assert report.kind == kind
    assert any(check.subject == "radiometry" for check in report.checks) == (layer == "mask")


def test_layers_of_different_shape_differ(tmp_path):
    write_mosaic(tmp_path)
    path = tmp_path / "N23W161_20_mask_F02DAR.tif"
    write_geotiff(path, np.full((41, 50), 255), DEGREES, "EPSG:4326", dtype="uint8")
    assert wrong(verify_product(tmp_path)) == {"rasters: rows, columns", OPENING}
