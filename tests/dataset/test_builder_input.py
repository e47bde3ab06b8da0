"""Inputs and settings of which no dataset can be made: refused, and nothing is left."""

import numpy as np
import pytest
import rasterio
from support.datasets import SMALL, build, codes_over, labels_of
from support.products import TIFF_NAME, write_geotiff

from alos2tut import open_dataset, open_product
from alos2tut.products.product import Product


def test_labels_elsewhere_are_refused_before_a_pixel_is_read(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(Product, "read_db", lambda *_, **__: pytest.fail("pixels were read"))
    elsewhere = write_geotiff(tmp_path / "far.tif", np.ones((50, 50), np.uint8), rasterio.Affine(10, 0, 0, 0, -10, 1e6))
    message = refused(labels=elsewhere)
    assert "far.tif" in message and "does not overlap" in message and "info" in message
    degrees = rasterio.Affine(0.1, 0, 0, 0, -0.1, 10)
    africa = write_geotiff(tmp_path / "africa.tif", np.ones((50, 50), np.uint8), degrees, crs="EPSG:4326")
    assert "does not overlap" in refused(labels=africa)


def test_a_folder_of_labels_stands_for_its_rasters(small_scene, tmp_path):
    folder, file = labels_of(small_scene).parent, labels_of(small_scene)
    settings = {"products": small_scene, "work_dir": tmp_path, "block_m": 320, "patch_px": 16}
    assert build(labels=folder, **settings) == build(labels=file, **settings)


def test_labels_that_are_none_are_refused_by_their_raster(refused, small_scene, tmp_path):
    good = codes_over(small_scene, np.ones((64, 40), np.uint8), tmp_path / "good.tif", half=True)
    odd = codes_over(small_scene, np.full((64, 80), 77, np.uint8), tmp_path / "odd.tif")
    message = refused(labels=(good, odd))
    assert "odd.tif" in message and "good.tif" not in message and "[77]" in message
    nothing = codes_over(small_scene, np.full((64, 80), 255, np.uint8), tmp_path / "none.tif")
    message = refused(labels=nothing)
    assert "is empty" in message and "min_labelled_fraction" in message
    (tmp_path / "text.tif").write_text("hello")
    assert "text.tif" in refused(labels=tmp_path / "text.tif")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        pytest.param({"polarization": "HV"}, ["HV", "holds HH"], id="polarisation"),
        pytest.param({"products": ()}, ["no products", "products="], id="no products"),
        pytest.param({"labels": ()}, ["no labels", "labels="], id="no labels"),
        pytest.param({"legend": "japan_10"}, ["'japan_10'", "'japan_14'"], id="legend"),
        pytest.param({"max_class_share": {"woods": 0.5}}, ["'woods'", "legend"], id="class of a filter"),
        pytest.param({"min_valid_fraction": 1.0, "patch_px": 256}, ["no patch", "min_valid_fraction"], id="no ground"),
        pytest.param({"patch_px": 512}, ["no patch of 512 px", "smaller patch_px"], id="patch too large"),
        pytest.param({"block_m": 1e6}, ["block_m", "at least 3"], id="one block"),
        pytest.param({"buffer_m": 5000}, ["empty", "buffer_m"], id="buffer too wide"),
        pytest.param({"val_fraction": 0.6, "test_fraction": 0.6}, ["val_fraction"], id="nothing to train on"),
        pytest.param({"require_all_classes": True}, ["no pixel of", "another seed"], id="absent classes"),
    ],
)
def test_impossible_datasets_are_refused_with_a_remedy(refused, settings, parts):
    message = refused(**settings)
    assert all(part in message for part in parts)


def test_two_products_of_one_name_are_refused(refused, small_scene, tmp_path):
    product = open_product(small_scene)
    dn = np.nan_to_num(product.read_dn())
    copies = [write_geotiff(tmp_path / f / TIFF_NAME, dn[i:], product.transform) for i, f in enumerate("ab")]
    message = refused(products=copies)
    assert str(copies[0]) in message and str(copies[1]) in message and "same names" in message


def test_a_product_without_coordinate_system_needs_it(refused, dual, small_scene, tmp_path):
    assert "coordinate system" in refused(products=dual)
    built = build(products=dual, labels=labels_of(small_scene), work_dir=tmp_path / "given", **SMALL)
    assert open_dataset(built).content["products"][0]["crs"] == "EPSG:32654"
