"""What a notebook shows of a product: a small picture, and a table of what is known."""

from __future__ import annotations

import base64
import html
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from .. import radiometry
from ..core.artifacts import atomic_path
from ..core.errors import Alos2TutError

if TYPE_CHECKING:
    from .product import Product
    from .reading import Band, FloatArray


def product_html(product: Product) -> str:
    """A picture of the product, or why there is none, and a table of what is known."""
    lines = (
        f"<tr><td style='text-align:left'>{html.escape(key)}</td>"
        f"<td style='text-align:left'>{html.escape(_shown(value))}</td></tr>"
        for key, value in product.to_dict().items()
        if key not in ("path", "files") and value not in (None, [], {})
    )
    table = f"<table><caption>{html.escape(product.name)}</caption>{''.join(lines)}</table>"
    picture = ""
    try:
        if product.polarizations:
            content = base64.b64encode(quicklook_png(product)).decode()
            title = html.escape(f"Quick-look of {product.name}")
            picture = f"<img alt='{title}' width='320' src='data:image/png;base64,{content}'>"
    except Alos2TutError as error:  # what is known of a damaged product still shows
        picture = f"<p>{html.escape(str(error))}</p>"
    return f"<div style='display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start'>{picture}{table}</div>"


def write_quicklook(product: Product, path: str | Path, max_px: int = 1024, *, polarization: str | None = None) -> Path:
    """Write :func:`quicklook_png`, of at most so many pixels a side, as a file, whole or not at all.

    Raises:
        Alos2TutError: another suffix than ``.png``, a path that cannot be written or that the product owns, a number of
            pixels below 1, an unknown polarisation.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        remedy = f"Name it {path.with_suffix('.png').name}."
        raise Alos2TutError("is no name of a PNG, which is what is written", where=path, remedy=remedy)
    if max_px < 1:
        raise Alos2TutError(f"max_px={max_px} is no number of pixels", where="max_px")
    product.check_target(path)
    picture = quicklook_png(product, max_px, polarization)
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)
    return path


def quicklook_png(product: Product, max_px: int = 320, polarization: str | None = None) -> bytes:
    """A small grey picture of a product as PNG, from some of its pixels: dB, black where there is no data."""
    band: Any = product.bands[product.choose_polarization(polarization)]
    if hasattr(band, "thumbnail"):
        mean_square = radiometry.mean_square(band.thumbnail(max_px), (1, 1), no_data=product.no_data_of(band))
    else:
        mean_square = _sampled(band, product, -(-max(product.shape) // max_px))
    db = radiometry.to_db(mean_square)
    known = db[np.isfinite(db)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
    grey = np.where(np.isfinite(db), 1 + 254 * np.clip((db - low) / max(high - low, 1e-6), 0, 1), 0).astype(np.uint8)
    profile: dict[str, Any] = {"driver": "PNG", "dtype": "uint8", "count": 1}
    with rasterio.MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile, height=grey.shape[0], width=grey.shape[1]) as picture:
            picture.write(grey, 1)
        return bytes(memory.read())


def _sampled(band: Band, product: Product, looks: int) -> FloatArray:
    """⟨DN²⟩ of the first lines of every block of so many looks; all of them would take as long as reading it all."""
    (height, width), means = product.shape, []
    for first in range(0, height, looks):
        lines = min(looks, 4, height - first)
        strip = next(iter(band.strips(slice(first, first + lines), slice(0, width), lines)))
        means.append(radiometry.mean_square(strip, (lines, looks), no_data=product.no_data_of(band))[0])
    return np.stack(means)


def _shown(value: Any) -> str:
    """A value of :meth:`Product.to_dict` as a reader likes it."""
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    return ", ".join(_shown(v) for v in value) if isinstance(value, list) else str(value)
