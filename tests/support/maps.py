"""What tests of maps share: products of speckle, functions and networks that map them, and how maps are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from support.products import TIFF_NAME, write_geotiff

import alos2tut
from alos2tut import load_config, open_product
from alos2tut.dataset.encoding import Statistics
from alos2tut.dataset.legend import LandClass, Legend, load_legend
from alos2tut.mapping.files import map_file
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.weights import save_segmenter

FRAME = rasterio.Affine(2.5, 0, 350_000, 0, -2.5, 3_900_000)
LEGEND = Legend(
    "toy",
    "made up",
    tuple(LandClass(name, (10 * i, 20 + i, 200), (i,)) for i, name in enumerate(("water", "field", "town"))),
    (9,),
)
#: three passes for each of seven rows of tiles, of the product and network that :func:`write_segmenter` makes
OPTIONS = {"probability": True, "entropy": True, "batch_size": 2}
#: what lies beside a map that has a place and a time
SIDECARS = {"map.tif.aux.xml", "map.qml", "map_stac.json"}


def map_scene(product, segmenter, out, executor=None, progress=None, **settings):
    """As the package has it, without a picture of each map."""
    config = load_config("map", "paper", **{"preview": False} | settings)
    return alos2tut.map_scene(product, segmenter, out, config, executor=executor, progress=progress)


class Model:
    """What a map needs of a segmenter, around any function of standardised dB."""

    legend = LEGEND
    statistics = Statistics((-12.0,), (5.0,))

    def __init__(self, logits, image_px=(16, 24), spacing_m=5.0):
        self.logits, self.image_px, self.batches = logits, image_px, []
        self.signal = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [spacing_m, spacing_m]}

    def __call__(self, x):
        self.batches.append(tuple(x.shape))
        return self.logits(x)


def constant(x):
    """The third class, hardly above the others."""
    batch, _, height, width = x.shape
    logits = torch.zeros(batch, 3, height, width)
    logits[:, 2] = 0.01
    return logits


def by_level(x):
    """Each pixel by its own level alone; the thresholds lie on no value that occurs."""
    levels = torch.tensor([-1.0371, 0.01937, 1.0913])
    return -((x - levels[None, :, None, None]) ** 2)


def by_place(x):
    """Depends on the place in the tile, so that blending decides."""
    height, width = x.shape[2:]
    rows, cols = torch.meshgrid(torch.linspace(-2, 2, height), torch.linspace(-2, 2, width), indexing="ij")
    return by_level(x) + torch.stack([rows.sin() * 2, cols.cos() * 3, rows - cols])[None]


def write_product(folder: Path, shape: tuple[int, int], seed: int = 0, holes: bool = False) -> Path:
    """A GeoTIFF product of speckle in coarse fields, with rectangles that have no data."""
    random = np.random.default_rng(seed)
    level = random.uniform(500, 4000, (shape[0] // 9 + 1, shape[1] // 9 + 1)).repeat(9, axis=0).repeat(9, axis=1)
    dn = np.clip(level[: shape[0], : shape[1]] * random.rayleigh(0.8, shape), 1, 65535)
    for _ in range(4 if holes else 0):
        row, col = random.integers(0, shape[0]), random.integers(0, shape[1])
        dn[row : row + random.integers(1, 40), col : col + random.integers(1, 60)] = 0
    return write_geotiff(folder / TIFF_NAME, dn, FRAME)


def write_segmenter(path: Path, seed: int = 0, **options: Any) -> Path:
    """A small network with random weights, in a file."""
    torch.manual_seed(seed)
    config = EncoderConfig(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=2)
    signal_ = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [5.0, 5.0]}
    legend, statistics = load_legend("japan_9"), Statistics((-12.0,), (5.0,))
    segmenter = Segmenter(SwinEncoder(config, (64, 64), 1), legend, statistics, signal_, width=8, **options)
    save_segmenter(path, segmenter, provenance={"made_from": {}}, simulated=True)
    return path


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read(1)


def layers(out: Path) -> dict[str, bytes]:
    return {name: map_file(out, name).read_bytes() for name in ("classes", "probability", "entropy")}


def expected_db(product: Path) -> np.ndarray:
    """What the network is given: dB of two looks in steps of 0.01."""
    return np.round(open_product(product).read_db(looks=2), 2)


def classes_of_all(product: Path, logits) -> np.ndarray:
    """The map without tiles: the function applied to the whole image at once."""
    db = expected_db(product)
    x = torch.from_numpy(np.nan_to_num((db + 12) / 5))[None, None]
    return np.where(np.isnan(db), 255, logits(x)[0].argmax(dim=0).numpy())
