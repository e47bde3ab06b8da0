"""Images that are made of downloaded files: a manifest names one of these recipes, and brings no code of its own."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..core.artifacts import atomic_path, make_folder
from ..core.errors import Alos2TutError
from ..products.rasters import open_raster
from .manifest import MadeFile

#: T33 in dB at the codes 0 and 255 of the green channel of PolSF's SF-AIRSAR-Pauli.bmp: fitted on the T33 of the
#: same scene in zjxi/PolSAR-Freeman-Algorithm, which is Lee-filtered; means of 9 x 9 pixels agree to 0.6 dB rms
_T33_DB = (-34.55, -9.52)
#: HV is half of T33: the third component of the Pauli vector is the square root of 2 times S_HV
_HALF_DB = 10 * np.log10(0.5)


class Image(NamedTuple):
    """What a recipe makes."""

    pixels: NDArray[np.float32]  #: (rows, columns)
    polarization: str  #: the description of its band
    unit: str  #: of its band
    says: str  #: how it was made, and what to know of it


def _sanfrancisco_hv(path: Path) -> Image:
    green = _read(path, bands=3)[1]
    low, high = _T33_DB
    table = low + np.arange(256) * (high - low) / 255 + _HALF_DB
    dark, bright = (np.count_nonzero(green == code) / green.size for code in (0, 255))
    says = (
        f"HV power in dB, relative (no sigma0): the green channel of {path.name}, codes 0 to 255 = T33 of {low} to "
        f"{high} dB, minus {-_HALF_DB:.2f} dB (HV = T33/2). Codes 0 ({dark:.1%} of the pixels) and 255 ({bright:.1%}) "
        "are censored: they stand for all that is darker or brighter, and are kept"
    )
    return Image(table.astype(np.float32)[green], "HV", "dB", says)


#: by the name in a manifest's ``makes``: what makes an image of a file
RECIPES: dict[str, Callable[[Path], Image]] = {"sanfrancisco_hv": _sanfrancisco_hv}


def make_image(made: MadeFile, place: Path) -> None:
    """Make an image in a data set's folder, or look that the one which lies there is as the manifest says.

    It is a float32 GeoTIFF of one band without a map; how it was made stands in its ImageDescription.

    Args:
        made: what the manifest says of it.
        place: the folder, with the file that it is made of.

    Raises:
        Alos2TutError: what it is made of is no such picture, the result is not what the manifest says, or an image of
            its name is there and is another.
    """
    path = place / made.name
    if path.exists():
        if pixels_sha256(_read(path, bands=1)[0]) != made.pixels_sha256:
            remedy = f"Move it elsewhere and fetch again: it is then made anew of {made.of}."
            raise Alos2TutError("holds other pixels than the manifest says", where=path, remedy=remedy)
        return
    image = RECIPES[made.recipe](place / made.of)
    if (sha256 := pixels_sha256(image.pixels)) != made.pixels_sha256:
        problem = f"the recipe '{made.recipe}' gives pixels of SHA-256 {sha256}, the manifest says {made.pixels_sha256}"
        raise Alos2TutError(problem, where=place / made.of)
    rows, columns = image.pixels.shape
    form: dict[str, Any] = {"driver": "GTiff", "height": rows, "width": columns, "count": 1, "dtype": "float32"}
    make_folder(path.parent)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(temporary, "w", compress="deflate", **form) as file:
            file.write(image.pixels, 1)
            file.set_band_description(1, image.polarization)
            file.set_band_unit(1, image.unit)
            file.update_tags(TIFFTAG_IMAGEDESCRIPTION=image.says)


def pixels_sha256(pixels: NDArray[Any]) -> str:
    """SHA-256 of an image's pixels, row by row as little-endian float32: a TIFF's own bytes depend on its writer."""
    return hashlib.sha256(pixels.astype("<f4").tobytes()).hexdigest()


def _read(path: Path, bands: int) -> NDArray[Any]:
    """All bands of a picture, (bands, rows, columns); rows from above, however the file stores them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with open_raster(path.absolute()) as picture:
                if picture.count != bands:
                    raise Alos2TutError(f"has {picture.count} bands, not {bands}", where=path)
                pixels: NDArray[Any] = picture.read()
                return pixels
    except RasterioError as error:
        raise Alos2TutError(f"is no picture that can be read ({error})", where=path) from None
