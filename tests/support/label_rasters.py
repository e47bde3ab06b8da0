"""Label rasters that tests write: random codes on any grid, and rows that state in any way where there are none."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.warp import transform as reproject_points
from support.products import write_geotiff

UTM54 = CRS.from_epsg(32654)
GRID = Affine(5, 0, 352_000, 0, -5, 3_990_000)


def random_codes(shape: tuple[int, int], seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """Codes of which neighbours nearly always differ."""
    return np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)


def raster_around(
    path: Path,
    crs: CRS,
    transform: Affine,
    shape: tuple[int, int],
    target: CRS,
    *,
    pixel: float,
    turn_deg: float = 0,
    shear_deg: float = 0,
    flip: int = -1,
    offset: tuple[float, float] = (0, 0),
    size: tuple[int, int] = (300, 350),
    dtype: str = "uint8",
) -> Path:
    """A label raster in another system, whose middle lies on that of a grid, but for an offset in label pixels."""
    x, y = transform * (shape[1] / 2, shape[0] / 2)
    [x], [y] = reproject_points(crs, target, [x], [y])
    turned = Affine.translation(x, y) * Affine.rotation(turn_deg) * Affine.shear(shear_deg)
    scaled = turned * Affine.scale(pixel, flip * pixel) * Affine.translation(offset[0], offset[1])
    placed = scaled * Affine.translation(-size[1] / 2, -size[0] / 2)
    return write_geotiff(path, random_codes(size, 1, dtype), placed, target, dtype=dtype)


def stated(path: Path, codes, *, mask=None, alpha=None, beside=False, flags="2", dtype="uint8", col=0, **options):
    """A row of codes whose file states, in one way or several, where there are none."""
    codes = np.array([codes], dtype)
    profile = {"driver": "GTiff", "dtype": dtype, "count": 1 if alpha is None else 2, "height": 1, "crs": UTM54}
    profile |= {"width": codes.shape[1], "transform": GRID * Affine.translation(col, 0)} | options
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not beside), rasterio.open(path, "w", **profile) as raster:
        raster.write(codes, 1)
        if alpha is not None:
            raster.write(np.array([alpha], dtype), 2)
            raster.colorinterp = ColorInterp.gray, ColorInterp.alpha
        if mask is not None:
            raster.write_mask(np.array([mask], bool))
    other = path.with_name(f"{path.name}.msk")
    assert other.exists() == (beside and mask is not None)
    if other.exists():
        with rasterio.open(other, "r+") as raster:
            raster.update_tags(INTERNAL_MASK_FLAGS_1=flags)
    return path
