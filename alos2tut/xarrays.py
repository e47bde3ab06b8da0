"""Products as xarray sees them: labelled and lazy. The only module that imports xarray, an optional dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from .errors import Alos2TutError, closest

try:
    import xarray
    from xarray.backends import BackendArray
    from xarray.core import indexing
except ModuleNotFoundError as error:
    raise Alos2TutError(
        f"{error.name} is not installed", where="to_xarray", remedy='Install it: pip install "alos2tut[xarray]".'
    ) from None

if TYPE_CHECKING:
    from .products import Product

_SCALES = ("db", "power", "dn", "slc")


def to_dataset(product: Product, scale: str, looks: tuple[int, int], quantity: str | None) -> xarray.Dataset:
    """What :meth:`alos2tut.Product.to_xarray` returns."""
    if scale not in _SCALES:
        raise Alos2TutError(f"unknown scale '{scale}'", where="scale", remedy=closest(str(scale), _SCALES))
    if scale in ("dn", "slc") and quantity not in (None, product.quantity):
        raise Alos2TutError("digital numbers are not converted", where="quantity", remedy="Use db or power.")
    if scale == "slc" and looks != (1, 1):
        raise Alos2TutError("complex numbers are not averaged", where="looks", remedy="Leave looks at 1.")
    if scale == "slc" and product.polarizations:
        product.read_slc((0, 0, 1, 1))  # tells a product of amplitudes apart at once
    coordinates, dims = _coordinates(product, looks)
    attributes = {"units": {"db": "dB", "power": "1", "dn": "1", "slc": "1"}[scale]}
    if scale in ("db", "power"):
        attributes["quantity"] = quantity or product.quantity
    if product.grid is not None:
        attributes["grid_mapping"] = "spatial_ref"
    variables = {
        name: (dims, indexing.LazilyIndexedArray(_Pixels(product, name, scale, looks, quantity)), attributes)
        for name in product.polarizations
    }
    told = {key: value for key, value in product.to_dict().items() if isinstance(value, (str, int, float))}
    # an attribute "mode" is taken by some writers of netCDF
    told["observation_mode"] = told.pop("mode", "unknown")
    return xarray.Dataset(variables, coords=coordinates, attrs=told)


def _coordinates(product: Product, looks: tuple[int, int]) -> tuple[dict[str, Any], tuple[str, str]]:
    """Centres of the (averaged) pixels, and the CRS as CF conventions have it."""
    height, width = (-(-size // n) for size, n in zip(product.shape, looks, strict=True))
    if product.grid is None:
        return {}, ("row", "col")
    transform = product.transform * Affine.scale(looks[1], looks[0])
    spatial_ref = {"crs_wkt": product.crs.to_wkt(), "GeoTransform": " ".join(map(str, transform.to_gdal()))}
    coordinates: dict[str, Any] = {"spatial_ref": ((), 0, spatial_ref)}
    if transform.b == 0 and transform.d == 0:
        coordinates["x"] = ("x", transform.c + (np.arange(width) + 0.5) * transform.a)
        coordinates["y"] = ("y", transform.f + (np.arange(height) + 0.5) * transform.e)
    return coordinates, ("y", "x")


class _Pixels(BackendArray):  # type: ignore[misc]
    """One polarisation of a product; a slice of it is a window that is read."""

    def __init__(self, product: Product, polarization: str, scale: str, looks: tuple[int, int], quantity: str | None):
        self._product, self._polarization, self._scale = product, polarization, scale
        self._looks, self._quantity = looks, quantity
        self.shape = tuple(-(-size // n) for size, n in zip(product.shape, looks, strict=True))
        self.dtype = np.dtype(np.complex64 if scale == "slc" else np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[Any]:
        values: NDArray[Any] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._window
        )
        return values

    def _window(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Values of one row and column index or slice each: the window around them is read, then picked from."""
        picks: list[int | slice] = []
        starts, sizes = [], []
        for part, size, n, full in zip(key, self.shape, self._looks, self._product.shape, strict=True):
            wanted = range(size)[part] if isinstance(part, slice) else range(int(part), int(part) + 1)
            if not len(wanted):
                kept = [len(range(s)[k]) for k, s in zip(key, self.shape, strict=True) if isinstance(k, slice)]
                return np.empty(kept, dtype=self.dtype)
            # xarray turns steps backwards around before it asks
            starts.append(wanted[0] * n)
            sizes.append(min((wanted[-1] + 1) * n, full) - starts[-1])
            picks.append(slice(None, None, wanted.step) if isinstance(part, slice) else 0)
        return np.asarray(self._read((starts[0], starts[1], sizes[0], sizes[1]))[tuple(picks)])

    def _read(self, area: tuple[int, int, int, int]) -> NDArray[Any]:
        options: dict[str, Any] = {"polarization": self._polarization}
        if self._scale == "slc":
            return self._product.read_slc(area, **options)
        options["looks"] = self._looks
        if self._scale == "dn":
            return self._product.read_dn(area, **options)
        read = self._product.read_db if self._scale == "db" else self._product.read_power
        return read(area, **options, quantity=self._quantity)
