"""Products as xarray sees them: labelled and lazy. The only module that imports xarray, an optional dependency.

An entry point in ``pyproject.toml`` names :class:`Alos2Backend`, by which ``xarray.open_dataset(path, engine="alos2")``
opens whatever :func:`alos2tut.open_product` does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from ..core.errors import Alos2TutError, closest

try:
    import xarray
    from xarray.backends import BackendArray, BackendEntrypoint
    from xarray.core import indexing
except ModuleNotFoundError as error:
    raise Alos2TutError(
        f"{error.name} is not installed", where="to_xarray", remedy='Install it: pip install "alos2tut[xarray]".'
    ) from None

from .opening import open_product

if TYPE_CHECKING:
    from .product import Product

#: of the conventions that attributes follow, and what these call linear sigma0
_CONVENTIONS, _SIGMA0 = "CF-1.11", "surface_backwards_scattering_coefficient_of_radar_wave"
#: files of JAXA's that lie in a product
_FILE_NAME = re.compile(r"(IMG-[HV]{2}|VOL|LED|TRL)-ALOS2\d")
_SCALES = ("db", "power", "dn", "slc")
_Attributes: TypeAlias = dict[str, str | int | float]


def to_dataset(product: Product, scale: str, looks: tuple[int, int], quantity: str | None) -> xarray.Dataset:
    """What :meth:`alos2tut.Product.to_xarray` returns."""
    if not isinstance(scale, str) or scale not in _SCALES:
        raise Alos2TutError(f"unknown scale '{scale}'", where="scale", remedy=closest(str(scale), _SCALES))
    if scale in ("dn", "slc") and quantity not in (None, product.quantity):
        raise Alos2TutError("digital numbers are not converted", where="quantity", remedy="Use db or power.")
    if scale == "slc" and looks != (1, 1):
        raise Alos2TutError("complex numbers are not averaged", where="looks", remedy="Leave looks at 1.")
    if scale == "slc" and product.polarizations:
        product.read_slc((0, 0, 1, 1))  # tells a product of amplitudes apart at once
    coordinates, dims = _coordinates(product, looks)
    place: _Attributes = {} if product.grid is None else {"grid_mapping": "spatial_ref"}
    attributes: _Attributes = {"scale": scale, "units": "dB" if scale == "db" else "1"}
    if scale in ("db", "power"):
        attributes["quantity"] = quantity or product.quantity
        if (scale, attributes["quantity"]) == ("power", "sigma0"):
            attributes["standard_name"] = _SIGMA0
        if product.is_converted(quantity):
            attributes["conversion"] = product.describe_conversion()
            product.warn_of_conversion(quantity)
    variables: dict[str, Any] = {}
    for name in product.polarizations:
        read = partial(_read_pixels, product, name, scale, looks, quantity)
        dtype = np.dtype(np.complex64 if scale == "slc" else np.float32)
        long_name = " ".join([name, *filter(None, [str(attributes.get("quantity", ""))])])
        variables[name] = (dims, _lazy(read, product, looks, dtype), attributes | place | {"long_name": long_name})
    if looks == (1, 1):
        variables |= {name: (dims, *_layer(product, name, place)) for name in product.layers}
    attributes = {"Conventions": _CONVENTIONS, **_attributes(product.to_dict())}
    return xarray.Dataset(variables, coords=coordinates | _time(product), attrs=attributes)


class Alos2Backend(BackendEntrypoint):  # type: ignore[misc]
    """What ``xarray.open_dataset(path, engine="alos2")`` is answered by."""

    description = "ALOS-2 PALSAR-2 products, and other calibrated SAR images"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "scale", "looks", "quantity", "given")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        scale: str = "power",
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> xarray.Dataset:
        """A product as an xarray Dataset, whose pixels are read when they are used.

        Args:
            filename_or_obj: what :func:`alos2tut.open_product` opens.
            drop_variables: names of variables that are left out.
            scale, looks, quantity: as for :meth:`alos2tut.Product.to_xarray`.
            given: what the files leave open, by the names of :func:`alos2tut.open_product`, as ``{"scan": 2}``.

        Raises:
            Alos2TutError: as these two.
        """
        dataset = open_product(filename_or_obj, **(given or {})).to_xarray(scale=scale, looks=looks, quantity=quantity)
        return dataset.drop_vars(drop_variables or [], errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a path has the name of one of JAXA's files, so that no engine need be named."""
        is_path = isinstance(filename_or_obj, (str, os.PathLike))
        return is_path and _FILE_NAME.match(Path(filename_or_obj).name) is not None


def _attributes(known: Mapping[str, Any]) -> _Attributes:
    """What every kind of netCDF can hold: texts and numbers; lists and mappings as JSON; nothing for None."""
    attributes: _Attributes = {}
    for name, value in known.items():
        if isinstance(value, bool):
            attributes[name] = int(value)
        elif isinstance(value, (str, int, float)):
            attributes[name] = value
        elif value is not None:
            attributes[name] = json.dumps(value, ensure_ascii=False)
    # that of whole pixels; spatial_ref has that of averaged ones, and readers look for either
    attributes.pop("transform", None)
    # an attribute "mode" is taken by some writers of netCDF
    if "mode" in attributes:
        attributes["observation_mode"] = attributes.pop("mode")
    return attributes


def _layer(product: Product, name: str, place: _Attributes) -> tuple[Any, _Attributes, dict[str, str]]:
    """A layer as an array that is read when it is used, its attributes, and how it is saved."""
    layer = product.layers[name]
    read, attributes, saved = partial(product.read_layer, name), dict(place), {}
    dtype: np.dtype[Any] = np.dtype(np.float32)
    if layer.unit == "code":
        dtype = layer.band.dtype
        attributes["meaning"] = json.dumps(dict(layer.meaning), ensure_ascii=False)
        saved["dtype"] = "int16"  # netCDF 3 has no unsigned numbers
    elif layer.unit.startswith("days"):
        # all versions of xarray know nanoseconds, and each chooses units of its own when it saves dates
        read, dtype = partial(_read_dates, product, name), np.dtype("datetime64[ns]")
    else:
        attributes["units"] = layer.unit
    return _lazy(read, product, (1, 1), dtype), attributes, saved


def _coordinates(product: Product, looks: tuple[int, int]) -> tuple[dict[str, Any], tuple[str, str]]:
    """Centres of the (averaged) pixels, and the CRS as CF conventions have it."""
    height, width = (-(-size // n) for size, n in zip(product.shape, looks, strict=True))
    if product.grid is None:
        return {}, ("row", "col")
    transform = product.transform * Affine.scale(looks[1], looks[0])
    spatial_ref = {"crs_wkt": product.crs.to_wkt(), "GeoTransform": " ".join(map(str, transform.to_gdal()))}
    coordinates: dict[str, Any] = {"spatial_ref": ((), 0, spatial_ref)}
    if transform.b == 0 and transform.d == 0:
        is_lonlat = product.crs.is_geographic
        for axis, size, first, step in (
            ("x", width, transform.c, transform.a),
            ("y", height, transform.f, transform.e),
        ):
            name, direction = ("longitude", "east") if axis == "x" else ("latitude", "north")
            attributes = {"standard_name": f"projection_{axis}_coordinate", "units": product.crs.linear_units}
            if is_lonlat:
                attributes = {"standard_name": name, "units": f"degrees_{direction}"}
            centres = first + (np.arange(size) + 0.5) * step
            coordinates[axis] = (axis, centres, {**attributes, "axis": axis.upper(), "long_name": f"{axis} of centres"})
    return coordinates, ("y", "x")


def _time(product: Product) -> dict[str, Any]:
    """When the product was acquired, a coordinate without a dimension; nothing where nobody says.

    Of a year or a day that is its beginning; the attribute ``acquired`` of the Dataset has it as it is stated.
    """
    try:
        moment = np.datetime64((product.acquired or "").removesuffix("Z"), "ns")
    except ValueError:
        return {}
    attributes = {"standard_name": "time", "long_name": "time of acquisition, UTC"}
    return {} if np.isnat(moment) else {"time": ((), moment, attributes)}


_Read: TypeAlias = Callable[[tuple[int, int, int, int]], NDArray[Any]]


def _read_pixels(
    product: Product,
    polarization: str,
    scale: str,
    looks: tuple[int, int],
    quantity: str | None,
    area: tuple[int, int, int, int],
) -> NDArray[Any]:
    if scale == "slc":
        return product.read_slc(area, polarization=polarization)
    # the warning of a conversion was given with the Dataset
    return product._reader(scale, area, polarization, looks, quantity).whole()


def _read_dates(product: Product, name: str, area: tuple[int, int, int, int]) -> NDArray[Any]:
    """Days, NaT without data, as datetime64[ns]."""
    return product.read_layer(name, area).astype("datetime64[ns]")


def _lazy(read: _Read, product: Product, looks: tuple[int, int], dtype: np.dtype[Any]) -> Any:
    return indexing.LazilyIndexedArray(_Windows(read, product.shape, looks, dtype))


class _Windows(BackendArray):  # type: ignore[misc]
    """A raster of a product; a slice of it is a window that is read."""

    def __init__(self, read: _Read, full_shape: tuple[int, int], looks: tuple[int, int], dtype: np.dtype[Any]):
        self._read, self._full_shape, self._looks = read, full_shape, looks
        self.shape = tuple(-(-size // n) for size, n in zip(full_shape, looks, strict=True))
        self.dtype = dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        values: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._window
        )
        return values

    def _window(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Values of one row and column index or slice each: the window around them is read, then picked from."""
        picks: list[int | slice] = []
        starts, sizes = [], []
        for part, size, n, full in zip(key, self.shape, self._looks, self._full_shape, strict=True):
            wanted = range(size)[part] if isinstance(part, slice) else range(int(part), int(part) + 1)
            if not len(wanted):
                kept = [len(range(s)[k]) for k, s in zip(key, self.shape, strict=True) if isinstance(k, slice)]
                return np.empty(kept, dtype=self.dtype)
            # xarray turns steps backwards around before it asks
            starts.append(wanted[0] * n)
            sizes.append(min((wanted[-1] + 1) * n, full) - starts[-1])
            picks.append(slice(None, None, wanted.step) if isinstance(part, slice) else 0)
        return np.asarray(self._read((starts[0], starts[1], sizes[0], sizes[1]))[tuple(picks)])
