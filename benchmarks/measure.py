"""Measure what the package promises about speed, as ratios of interleaved runs on this machine.

``make bench`` calls this. Every line gives the median of the rounds after a warm-up, and the smallest and largest.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning

from alos2tut import load_legend, map_scene, open_product, simulate_product
from alos2tut.config import EncoderConfig
from alos2tut.dataset import Statistics
from alos2tut.encoders import SwinEncoder
from alos2tut.evaluation import tile_starts
from alos2tut.segmentation import Segmenter

ROUNDS = 7
SIZE_PX = 4096
SIGNAL = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}


def ratio(name: str, ours: Callable[[], object], other: Callable[[], object], rounds: int = ROUNDS) -> None:
    """Print time of ``ours`` over time of ``other``, run in turn."""
    ours(), other()
    ratios = []
    for _ in range(rounds):
        begun = time.perf_counter()
        ours()
        middle = time.perf_counter()
        other()
        ratios.append((middle - begun) / (time.perf_counter() - middle))
    print(f"{name:<70} {statistics.median(ratios):6.2f}  ({min(ratios):.2f}–{max(ratios):.2f})", flush=True)


def read_all_dn(path: Path) -> np.ndarray:
    """The product's pixels by GDAL."""
    with rasterio.open(path) as source:
        pixels: np.ndarray = source.read(1)
    return pixels


def small_segmenter() -> Segmenter:
    """A segmenter of the quick profile's size with random weights."""
    config = EncoderConfig(embed_dim=32, depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16), window_size=4)
    encoder = SwinEncoder(config, (128, 128), 1)
    return Segmenter(encoder, load_legend("japan_9"), Statistics((-11.0,), (5.5,)), SIGNAL, width=32).eval()


def main() -> None:
    """Run every measurement."""
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # SAR_CEOS gives control points only
    torch.set_num_threads(2)
    print(f"simulating {SIZE_PX} × {SIZE_PX} px …")
    with tempfile.TemporaryDirectory() as folder:
        scene = simulate_product(Path(folder) / "scene", 0, SIZE_PX)
        product = open_product(scene)
        image = next(scene.glob("IMG-*"))
        print(f"\n{'ratio of times (median of rounds, smallest–largest)':<70}")
        ratio("opening a product / opening its image with rasterio",
              lambda: open_product(scene), lambda: rasterio.open(image).close())  # fmt: skip
        ratio("read_dn of all pixels / rasterio SAR_CEOS", product.read_dn, lambda: read_all_dn(image))
        ratio("read_db at 2 × 2 looks / rasterio SAR_CEOS, bare pixels",
              lambda: product.read_db(looks=2), lambda: read_all_dn(image))  # fmt: skip

        segmenter, batch_size = small_segmenter(), 8
        tiles_per_row = len(tile_starts(SIZE_PX // 2, 128, 32))
        passes = tiles_per_row * -(-tiles_per_row // batch_size)
        batch = torch.zeros(batch_size, 1, 128, 128)

        def bare() -> None:
            with torch.inference_mode():
                for _ in range(passes):
                    segmenter(batch)

        out = Path(folder) / "map.tif"
        ratio("map_scene, quick profile / as many bare forward passes",
              lambda: map_scene(product, segmenter, out, batch_size=batch_size), bare, rounds=3)  # fmt: skip


if __name__ == "__main__":
    main()
