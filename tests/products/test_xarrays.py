"""Products as xarray sees them: labelled, lazy, and equal to what is read."""

import dataclasses
import importlib
import json
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.products import SCENE_ID, UTM54, amplitudes, complex_numbers, write_ceos

from alos2tut import Alos2TutError, Alos2TutWarning, Product, open_product

xarray = pytest.importorskip("xarray")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Product:
    images = {"HH": amplitudes(), "HV": amplitudes(seed=1)}
    return open_product(write_ceos(tmp_path_factory.mktemp("xarray") / "product", images))


@pytest.fixture(scope="module")
def slc(tmp_path_factory) -> Product:
    folder = tmp_path_factory.mktemp("xarray") / "slc"
    return open_product(write_ceos(folder, {"HH": complex_numbers()}, "UBSR1.1__D"))


def test_variables_are_polarisations_with_what_is_known(plain):
    dataset = plain.to_xarray()
    assert list(dataset.data_vars) == ["HH", "HV"] and dataset["HV"].dims == ("y", "x")
    assert dataset["HH"].attrs == {
        "scale": "power", "units": "1", "quantity": "sigma0", "grid_mapping": "spatial_ref", "long_name": "HH sigma0",
        "standard_name": "surface_backwards_scattering_coefficient_of_radar_wave",
    }  # fmt: skip
    assert "standard_name" not in plain.to_xarray(scale="db")["HH"].attrs  # whose unit is 1
    assert (dataset.attrs["scene_id"], dataset.attrs["calibration_factor_db"]) == (SCENE_ID, -83.0)
    np.testing.assert_array_equal(dataset["HV"].values, plain.read_power(polarization="HV"))


@pytest.mark.parametrize("scale", ["db", "power", "dn"])
@pytest.mark.parametrize("looks", [1, 3, (2, 5)])
def test_values_equal_what_is_read(plain, scale, looks):
    dataset = plain.to_xarray(scale=scale, looks=looks)
    expected = getattr(plain, f"read_{scale}")(looks=looks)
    assert dataset["HH"].dtype == np.float32 and dataset["HH"].values.tobytes() == expected.tobytes()
    assert dataset["HH"].attrs["units"] == ("dB" if scale == "db" else "1") and dataset["HH"].attrs["scale"] == scale


def test_a_mean_is_one_of_power_unless_decibels_are_asked_for(plain):
    mean_power = np.nanmean(10 ** (plain.read_db(looks=8) / 10))
    np.testing.assert_allclose(plain.to_xarray()["HH"].coarsen(y=8, x=8).mean().mean(), mean_power, rtol=1e-3)


def test_another_quantity_is_converted(plain):
    dataset = plain.to_xarray(quantity="gamma0")
    assert dataset["HH"].attrs["quantity"] == "gamma0"
    assert dataset["HH"].attrs["conversion"] == "from sigma0 by incidence: slant range of the lines (smooth Earth)"
    np.testing.assert_array_equal(dataset["HH"].values, plain.read_power(quantity="gamma0"))


def test_a_conversion_by_one_angle_says_how_far_it_is_off(plain):
    product = dataclasses.replace(plain, slant_range_incidence=None, incidence_deg=36.3)
    with pytest.warns(Alos2TutWarning, match="scene centre"):
        told = product.to_xarray(quantity="gamma0")["HH"].attrs["conversion"]
    assert told == product.describe_conversion() and "36.30°, off by about ±0.01 dB" in told


def test_attributes_are_all_that_is_known(plain):
    told, attributes = plain.to_dict(), plain.to_xarray().attrs
    own = {"observation_mode", "Conventions"}
    assert set(attributes) - own == {key for key, value in told.items() if value is not None} - {
        "mode", "transform",
    }  # fmt: skip
    for name in ("gaps", "notes", "looks", "shape", "footprint_lonlat", "files", "noise_floor_db"):
        assert json.loads(attributes[name]) == told[name]
    assert attributes["simulated"] == 0 and attributes["observation_mode"] == told["mode"]


#: attributes that netCDF, its libraries or xarray keep for themselves
RESERVED = {"_FillValue", "_NCProperties", "_Netcdf4Dimid", "_nc3_strict", "CLASS", "NAME", "DIMENSION_LIST"}
RESERVED |= {"REFERENCE_LIST", "coordinates", "mode", "dimensions", "variables", "filename", "fp", "transform"}


@pytest.fixture(scope="module")
def mosaic_dataset(mosaic):
    return open_product(mosaic).to_xarray()


def test_attributes_go_into_netcdf(plain, slc, mosaic_dataset):
    for dataset in (plain.to_xarray(quantity="gamma0"), slc.to_xarray(), mosaic_dataset):
        for part in (dataset, *dataset.variables.values()):
            assert {type(value) for value in part.attrs.values()} <= {str, int, float}
            assert not RESERVED & set(part.attrs)


def test_a_dataset_with_layers_survives_a_file(mosaic_dataset, tmp_path):
    pytest.importorskip("scipy")
    mosaic_dataset.to_netcdf(tmp_path / "x.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "x.nc", engine="scipy") as read:
        assert set(read.variables) == set(mosaic_dataset.variables)
        for name in read.data_vars:
            np.testing.assert_array_equal(read[name].values, mosaic_dataset[name].values)
        assert set(read.attrs) == set(mosaic_dataset.attrs)


def test_a_product_without_images_has_layers_only(mosaic):
    product = dataclasses.replace(open_product(mosaic), polarizations=(), default_polarization=None, quantity="")
    dataset = product.to_xarray()
    assert set(dataset.data_vars) == set(product.layers)
    assert not {"quantity", "calibration_factor_db", "calibration_source"} & set(dataset.attrs)


def test_layers_are_variables_that_are_read_when_they_are_used(mosaic, monkeypatch):
    product, read = open_product(mosaic), []
    original = Product.read_layer
    monkeypatch.setattr(
        Product,
        "read_layer",
        lambda self, name, window=None: read.append((name, window)) or original(self, name, window),
    )
    dataset = product.to_xarray()
    assert set(dataset.data_vars) == {"HH", "HV", "local_incidence", "mask", "date"} and repr(dataset)
    assert read == []
    mask = dataset["mask"][13:90, 470:660]
    np.testing.assert_array_equal(mask.values, original(product, "mask", (13, 470, 77, 190)))
    assert read == [("mask", (13, 470, 77, 190))] and mask.dtype == np.uint8
    np.testing.assert_array_equal(dataset["local_incidence"], original(product, "local_incidence"))
    np.testing.assert_array_equal(dataset["date"][5:9:2, ::-3], original(product, "date")[5:9:2, ::-3])
    assert dataset["local_incidence"].attrs == {"units": "degree", "grid_mapping": "spatial_ref"}
    assert json.loads(mask.attrs["meaning"])["255"] == "land"
    assert set(product.to_xarray(looks=2).data_vars) == {"HH", "HV"}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param((slice(5, 9), slice(3, 30)), id="window"),
        pytest.param((slice(40, None), slice(None, 2)), id="open ends"),
        pytest.param((slice(1, 48, 7), slice(0, 40, 3)), id="steps"),
        pytest.param((slice(None, None, -1), slice(None, None, -3)), id="backwards"),
        pytest.param((slice(30, 3, -4), slice(None)), id="backwards within"),
        pytest.param((7, 11), id="a pixel"),
        pytest.param((-1, slice(None)), id="last row"),
        pytest.param((slice(None), -40), id="first column from the right"),
        pytest.param((slice(5, 5), slice(None)), id="nothing"),
        pytest.param((slice(9, 3), 4), id="nothing of a column"),
        pytest.param(([3, 1, 44], slice(2, 9)), id="rows by number"),
        pytest.param(([3, 1, 1], [5, 0, 39]), id="rows and columns by number"),
        pytest.param((slice(30, 99), slice(-5, None)), id="beyond the edge"),
    ],
)
def test_indexing_equals_that_of_an_array(plain, key):
    rows, cols = key
    whole = plain.read_power()
    expected = whole[np.ix_(rows, cols)] if isinstance(cols, list) else whole[rows, cols]
    found = plain.to_xarray()["HH"].isel(y=rows, x=cols)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.values, expected)


@pytest.mark.parametrize("key", [np.s_[3:9, 5:14], np.s_[::-2, 13], np.s_[23, ::5], np.s_[23:, 12:]])
def test_indexing_of_averaged_pixels_equals_that_of_an_array(plain, key):
    # 3 does not divide 40: blocks at the right edge are cut
    whole = plain.read_power(looks=(2, 3))
    np.testing.assert_array_equal(plain.to_xarray(looks=(2, 3))["HH"][key].values, whole[key])


def test_slices_of_slices_equal_those_of_an_array(plain):
    part = plain.to_xarray()["HH"].isel(y=slice(4, 40, 2)).isel(y=slice(None, None, -3), x=slice(30, 2, -1)).isel(x=5)
    np.testing.assert_array_equal(part.values, plain.read_power()[4:40:2][::-3, 30:2:-1][:, 5])


def test_points_are_picked_one_by_one(plain):
    rows, cols = xarray.DataArray([3, 47, 0], dims="point"), xarray.DataArray([39, 0, 5], dims="point")
    found = plain.to_xarray()["HH"].isel(y=rows, x=cols)
    np.testing.assert_array_equal(found.values, plain.read_power()[[3, 47, 0], [39, 0, 5]])


def test_no_pixel_is_read_before_it_is_used(plain, monkeypatch):
    read = []
    monkeypatch.setattr(type(plain.bands["HH"]), "strips", _counted(type(plain.bands["HH"]).strips, read))
    dataset = plain.to_xarray()
    part = dataset["HV"].isel(y=slice(5, 9), x=slice(3, 30))
    assert repr(dataset) and part.shape == (4, 27) and read == []
    assert part.values.shape == (4, 27)
    assert read == [(slice(5, 9), slice(3, 30))]


def _counted(strips, read):
    def counted(self, rows, cols, step):
        read.append((rows, cols))
        return strips(self, rows, cols, step)

    return counted


@pytest.mark.parametrize("looks", [1, (2, 5)])
def test_coordinates_are_centres_of_pixels(plain, looks):
    dataset = plain.to_xarray(looks=looks)
    rows, cols = (1, 1) if looks == 1 else looks
    np.testing.assert_allclose(dataset["x"], 350_000 + 2.5 * cols * (np.arange(40 // cols) + 0.5), atol=1e-3)
    np.testing.assert_allclose(dataset["y"], 3_900_000 - 2.5 * rows * (np.arange(48 // rows) + 0.5), atol=1e-3)


def test_a_place_is_found_by_its_coordinates(plain):
    found = plain.to_xarray()["HH"].sel(x=350_052, y=3_899_951, method="nearest")
    np.testing.assert_array_equal(found.values, plain.read_power()[19, 20])


def test_coordinates_say_what_they_are(plain, mosaic_dataset):
    x, time = plain.to_xarray()["x"].attrs, plain.to_xarray()["time"]
    assert (x["standard_name"], x["units"], x["axis"]) == ("projection_x_coordinate", "metre", "X")
    y = mosaic_dataset["y"].attrs
    assert (y["standard_name"], y["units"], y["axis"]) == ("latitude", "degrees_north", "Y")
    assert str(time.values).startswith(plain.acquired.removesuffix("Z")) and time.attrs["standard_name"] == "time"
    assert str(mosaic_dataset["time"].values).startswith(mosaic_dataset.attrs["acquired"])
    assert "time" not in dataclasses.replace(plain, acquired=None).to_xarray().coords


def test_xarray_opens_products_by_the_engine_of_the_entry_point(plain, tmp_path):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["xarray.backends"]["alos2"].split(":")
    engine = getattr(importlib.import_module(module), name)
    found = xarray.open_dataset(plain.path, engine=engine, scale="db", looks=2, drop_variables="HV")
    xarray.testing.assert_identical(found, plain.to_xarray(scale="db", looks=2).drop_vars("HV"))
    with pytest.raises(Alos2TutError, match="nothing"):
        xarray.open_dataset(tmp_path / "nothing", engine=engine)
    with pytest.raises(Alos2TutError, match="EPSG:0"):
        xarray.open_dataset(plain.path, engine=engine, given={"crs": "EPSG:0"})
    guess = engine().guess_can_open
    names = [path.name for path in plain.path.iterdir() if "ALOS2" in path.name]
    assert names and all(guess(plain.path / name) for name in names)
    assert not any(map(guess, (tmp_path / "ALOS2.nc", "data.zarr", b"IMG-HH-ALOS2", plain.path)))


@pytest.mark.parametrize("looks", [1, (2, 4)])
def test_the_crs_is_there_as_cf_conventions_have_it(plain, looks):
    reference = plain.to_xarray(looks=looks)["spatial_ref"]
    assert rasterio.crs.CRS.from_wkt(reference.attrs["crs_wkt"]) == plain.crs
    rows, cols = (1, 1) if looks == 1 else looks
    numbers = [float(number) for number in reference.attrs["GeoTransform"].split()]
    assert numbers == pytest.approx([350_000, 2.5 * cols, 0, 3_900_000, 0, -2.5 * rows], abs=1e-3)


def test_a_rotated_product_has_no_coordinates_but_its_transform(tmp_path):
    transform = UTM54 * rasterio.Affine.rotation(10)
    dataset = open_product(write_ceos(tmp_path, {"HH": amplitudes()}, "UBSR1.5RUD", transform=transform)).to_xarray()
    assert set(dataset.coords) == {"spatial_ref", "time"} and dataset["HH"].dims == ("y", "x")
    numbers = [float(number) for number in dataset["spatial_ref"].attrs["GeoTransform"].split()]
    assert numbers == pytest.approx(transform.to_gdal(), abs=1e-3)


def test_slant_range_has_rows_and_columns_only(slc):
    dataset = slc.to_xarray()
    assert dataset["HH"].dims == ("row", "col") and set(dataset.coords) == {"time"}
    np.testing.assert_array_equal(dataset["HH"].values, slc.read_power())


def test_complex_numbers_are_as_delivered(slc):
    variable = slc.to_xarray(scale="slc")["HH"]
    assert variable.dtype == np.complex64
    assert variable[3:9, ::-2].values.tobytes() == np.ascontiguousarray(complex_numbers()[3:9, ::-2]).tobytes()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        pytest.param("plain", {"scale": "decibel"}, "unknown scale 'decibel'", id="scale"),
        pytest.param("plain", {"scale": ["db"]}, "is not a text", id="a list of scales"),
        pytest.param("plain", {"scale": "slc"}, "holds amplitudes", id="complex numbers of amplitudes"),
        pytest.param("plain", {"looks": 0}, "looks=0", id="looks"),
        pytest.param("plain", {"scale": "dn", "quantity": "gamma0"}, "not converted", id="digital numbers converted"),
        pytest.param("plain", {"quantity": "beta"}, "unknown quantity", id="quantity"),
        pytest.param("no angle", {"quantity": "gamma0"}, "no incidence angle", id="no incidence angle"),
        pytest.param("slc", {"scale": "slc", "looks": 2}, "not averaged", id="complex numbers averaged"),
        pytest.param("slc", {"scale": "slc", "quantity": "gamma0"}, "not converted", id="complex numbers converted"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(plain, slc, kind, options, message):
    no_angle = dataclasses.replace(plain, slant_range_incidence=None, incidence_deg=None)
    with pytest.raises(Alos2TutError, match=message):
        {"plain": plain, "slc": slc, "no angle": no_angle}[kind].to_xarray(**options)


def test_without_xarray_an_error_says_what_to_install(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    monkeypatch.delitem(sys.modules, "alos2tut.products.xarrays", raising=False)
    with pytest.raises(Alos2TutError, match=r"xarray is not installed.*pip install"):
        plain.to_xarray()
