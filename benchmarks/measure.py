"""Measure what the package promises about speed, as ratios of interleaved runs on this machine.

``make bench`` calls this; names on the command line pick measurements: ``measure.py filters``. Every line gives the
median of the rounds after a warm-up, and the smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window
from scipy import ndimage

from alos2tut import (
    Product,
    build_dataset,
    load_config,
    load_legend,
    load_segmenter,
    map_scene,
    open_dataset,
    open_product,
    simulate_product,
)
from alos2tut.core.cache import clear_cache
from alos2tut.core.validation import FloatArray
from alos2tut.dataset.encoding import Statistics, decode_db
from alos2tut.dataset.store import PatchDataset, batch_indices
from alos2tut.mapping import MapConfig
from alos2tut.networks.config import EncoderConfig
from alos2tut.networks.encoders import SwinEncoder
from alos2tut.networks.segmenter import Segmenter
from alos2tut.simulation.ceos_description import ProductDescription
from alos2tut.simulation.ceos_writer import write_ceos_product
from alos2tut.speckle.despeckling import Filter, gamma_map, refined_lee
from alos2tut.speckle.laws import draw_speckle

ROUNDS = 7
SIZE_PX = 4096
FULL_SIZE_PX = (27_000, 32_000)
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
    print_ratio(name, ratios)


def rates(megapixels: float, reads: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> None:
    """Print how many million pixels a second each gives, run in turn."""
    found: dict[str, list[float]] = {name: [] for name in reads}
    for _ in range(rounds + 1):
        for name, read in reads.items():
            begun = time.perf_counter()
            read()
            found[name].append(megapixels / (time.perf_counter() - begun))
    for name, (_, *mpx) in found.items():
        print(f"{name:<82} {statistics.median(mpx):.0f} Mpx/s  ({min(mpx):.0f}–{max(mpx):.0f})", flush=True)


def print_ratio(name: str, ratios: list[float]) -> None:
    """A line of the report."""
    print(f"{name:<82} {statistics.median(ratios):6.2f}  ({min(ratios):.2f}–{max(ratios):.2f})", flush=True)


def read_with_rasterio(image: Path, rows: int | None = None) -> None:
    """Merely read an image's pixels with GDAL's SAR_CEOS driver: at once, or in windows of so many rows."""
    with rasterio.Env(GDAL_CACHEMAX=256), rasterio.open(image) as source:
        if rows is None:
            source.read(1)
            return
        for first in range(0, source.height, rows):
            source.read(1, window=Window(0, first, source.width, min(rows, source.height - first)))


def stream_to_geotiff(product: Product, out: Path) -> None:
    """σ0 in dB at 2 × 2 looks to an uncompressed tiled GeoTIFF, without waiting for the disk."""
    shape = tuple(-(-side // 2) for side in product.shape)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": shape[0], "width": shape[1]}
    profile |= {"crs": product.crs, "transform": product.transform * Affine.scale(2), "nodata": float("nan")}
    profile |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer"}
    with rasterio.Env(GDAL_CACHEMAX=64), rasterio.open(out, "w", **profile) as raster:
        for window, sigma0_db in product.blocks(looks=2, rows=256):
            raster.write(sigma0_db, 1, window=window)


def write_noise_product(
    folder: Path,
    shape: tuple[int, int] = FULL_SIZE_PX,
    number: int = 0,
    corner_m: tuple[int, int] = (350_000, 3_950_000),
) -> Path:
    """A Level 2.1 product whose pixels repeat one strip of noise; of the largest usual size it takes 1.7 GB."""
    height, width = shape
    description = ProductDescription(
        scene_id=f"ALOS29{number:04d}2890-221119",
        product_id="UBSR2.1GUD",
        shape=shape,
        spacing_m=(2.5, 2.5),
        center_time=datetime(2022, 11, 19, 2, 43),
        incidence_deg=36.3,
        heading_deg=190.0,
        off_nadir_deg=32.4,
        transform=Affine(2.5, 0, corner_m[0], 0, -2.5, corner_m[1]),
        utm_zone=54,
        simulated=True,
    )
    noise = np.random.default_rng(0).rayleigh(2000, (500, width)).clip(1, 65535).astype(np.uint16)
    folder.mkdir()
    write_ceos_product(folder, description, {"HH": (noise[: height - row] for row in range(0, height, 500))})
    return folder


def in_new_process(code: str, *arguments: object) -> dict[str, float]:
    """Run code that prints a JSON object, by itself: its time and memory are nobody else's."""
    command = [sys.executable, "-c", PEAK + code, *map(str, arguments)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


#: the highest memory of this process alone; getrusage would count the parent's, which forked it
PEAK = """
import re
def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
"""
OPEN = """
import json, sys, time
import alos2tut.products.opening
begun, before = time.perf_counter(), peak_mb()
product = alos2tut.products.opening.open_product(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - begun, "before_mb": before, "peak_mb": peak_mb()}))
"""
STREAM = """
import json, sys
from alos2tut import open_product
open_product(sys.argv[1]).to_cog(sys.argv[2], looks=2, compress=False, overviews=False, progress=False)
print(json.dumps({"peak_mb": peak_mb()}))
"""


def measure_reading(folder: Path) -> None:
    """Opening and streaming a product of full size."""
    scene = write_noise_product(folder / "full")
    image, out = next(scene.glob("IMG-*")), folder / "out.tif"
    runs = [in_new_process(OPEN, scene) for _ in range(ROUNDS)]
    seconds, peak = (statistics.median(run[name] for run in runs) for name in ("seconds", "peak_mb"))
    print(f"{'opening a product of {} × {} pixels'.format(*FULL_SIZE_PX):<82} {seconds:.3f} s (at most 0.2)")
    print(
        f"{'memory of the process that opened it':<82} {peak:.0f} MB (at most 200; imports {runs[0]['before_mb']:.0f})"
    )
    peak = in_new_process(STREAM, scene, out)["peak_mb"]
    print(f"{'memory of a process that streams it by to_cog, 2 × 2 looks':<82} {peak:.0f} MB (at most 500)")
    product = open_product(scene)
    ratio("blocks, 2 × 2 looks, in dB / SAR_CEOS, read at once",
          lambda: deque(product.blocks(looks=2), maxlen=0), lambda: read_with_rasterio(image), rounds=5)  # fmt: skip
    ratio("blocks, 2 × 2 looks, into a 5 m dB GeoTIFF / SAR_CEOS, read at once (at most 1)",
          lambda: stream_to_geotiff(product, out), lambda: read_with_rasterio(image), rounds=5)  # fmt: skip
    ratio("the same / SAR_CEOS, read in windows of 512 rows",
          lambda: stream_to_geotiff(product, out), lambda: read_with_rasterio(image, 512), rounds=5)  # fmt: skip
    ratio("to_cog of it, flushed and read back / SAR_CEOS, read at once",
          lambda: product.to_cog(out, looks=2, compress=False, overviews=False, progress=False),
          lambda: read_with_rasterio(image), rounds=3)  # fmt: skip
    small = write_noise_product(folder / "small", (8192, 8192))
    small_image, in_memory = next(small.glob("IMG-*")), open_product(small)
    rates(8192**2 / 1e6, {
        "8192² px in memory, of which np.fromfile reads": lambda: np.fromfile(small_image, np.uint8),
        "SAR_CEOS, at once": lambda: read_with_rasterio(small_image),
        "blocks, 2 × 2 looks, in dB (at least 600)": lambda: deque(in_memory.blocks(looks=2), maxlen=0),
    })  # fmt: skip
    part, pixels = (0, 0, 8192, 8192), folder / "pixels.tif"
    product.to_cog(pixels, window=part, compress="none", overviews=False, progress=False)
    ratio("to_cog of 8192² px / GDAL's COG of the pixels, read once (at most 1.3)",
          lambda: product.to_cog(out, window=part, progress=False),
          lambda: copy_to_cog(pixels, out), rounds=3)  # fmt: skip
    ratio("read_db of 1024² px at 2 × 2 looks / SAR_CEOS, the same window",
          lambda: product.read_db((9000, 9000, 1024, 1024), looks=2),
          lambda: read_window_with_rasterio(image))  # fmt: skip


def measure_archives(folder: Path) -> None:
    """A product in an archive: one unpacking, if it is compressed, then as its folder."""
    scene = write_noise_product(folder / "delivered", (8192, 8192))
    os.environ["ALOS2TUT_CACHE"] = str(folder / "cache")
    plain, part = open_product(scene), (5000, 5000, 512, 512)

    for kind in ("zip", "tar", "gztar"):
        archive = shutil.make_archive(str(folder / f"as {kind}"), kind, scene)

        def unpacked_by_us(archive: str = archive) -> None:
            clear_cache()
            open_product(archive).read_dn((0, 0, 1, 1))

        def unpacked(archive: str = archive) -> None:
            shutil.rmtree(folder / "unpacked", ignore_errors=True)
            shutil.unpack_archive(archive, folder / "unpacked")

        if kind != "tar":
            ratio(f"{kind}: the first pixel / unpacking by shutil", unpacked_by_us, unpacked, rounds=3)
        product = open_product(archive)
        ratio(
            f"{kind}: opening again / its folder", lambda path=archive: open_product(path), lambda: open_product(scene)
        )
        ratio(f"{kind}: blocks, 2 × 2 looks, in dB / of its folder",
              lambda product=product: deque(product.blocks(looks=2), maxlen=0),
              lambda: deque(plain.blocks(looks=2), maxlen=0))  # fmt: skip
        ratio(f"{kind}: read_db of 512² px / of its folder",
              lambda product=product: product.read_db(part), lambda: plain.read_db(part))  # fmt: skip


def copy_to_cog(pixels: Path, out: Path) -> None:
    """What ``gdal_translate -of COG`` does of pixels, packed as ours are, by all cores; and a full read of it."""
    packing = {"compress": "DEFLATE", "predictor": "YES", "num_threads": "ALL_CPUS"}
    copy_raster(pixels, out, driver="COG", blocksize=512, overview_resampling="AVERAGE", **packing)
    with rasterio.open(out, num_threads="ALL_CPUS") as raster:
        raster.read(1)


def read_window_with_rasterio(image: Path) -> None:
    """A window out of the middle, with GDAL."""
    with rasterio.open(image) as source:
        source.read(1, window=Window(9000, 9000, 1024, 1024))


def random_segmenter(config: EncoderConfig, image_px: int, width: int) -> Segmenter:
    """A segmenter with random weights."""
    encoder = SwinEncoder(config, (image_px, image_px), 1)
    return Segmenter(encoder, load_legend("japan_9"), Statistics((-11.0,), (5.5,)), SIGNAL, width=width).eval()


QUICK = EncoderConfig(embed_dim=32, depths=(2, 2, 2, 2), num_heads=(2, 4, 8, 16), window_size=4)
SWIN_T = EncoderConfig(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=8)
#: a map by a function that takes no time or memory to speak of
MAP = """
import json, sys
import torch
from alos2tut import load_legend, map_scene
from alos2tut.dataset.encoding import Statistics
from alos2tut.mapping import MapConfig
class Trivial:
    legend, statistics, image_px = load_legend("japan_9"), Statistics((-11.0,), (5.5,)), (256, 256)
    signal = {"quantity": "sigma0", "polarizations": ["HH"], "spacing_m": [2.5, 2.5]}
    def __call__(self, x):
        return torch.cat([x * i for i in range(9)], dim=1)
torch.set_num_threads(2)
before = peak_mb()
map_scene(sys.argv[1], Trivial(), sys.argv[2], MapConfig(probability=True, entropy=True, overwrite=True))
print(json.dumps({"before_mb": before, "peak_mb": peak_mb()}))
"""


def measure_mapping(folder: Path) -> None:
    """Mapping a scene against the bare network."""
    # random weights make noise of a map, which takes longer to pack
    networks = {
        "network of quick (at most 1.05)": (load_segmenter("bundled"), load_config("map", "quick").batch_size, SIZE_PX),
        "Swin-T, random weights (at most 1.05)": (random_segmenter(SWIN_T, 256, 256), MapConfig.batch_size, 1600),
    }
    for number, (name, (segmenter, batch_size, size_px)) in enumerate(networks.items()):
        product, seen = open_product(simulate_product(folder / f"scene {number}", 0, size_px)), list[torch.Tensor]()
        settings = MapConfig(batch_size=batch_size, preview=False, overwrite=True)

        def mapped(
            product: Product = product, segmenter: Segmenter = segmenter, settings: MapConfig = settings
        ) -> None:
            map_scene(product, segmenter, folder / "map.tif", settings)
            (folder / "map.tif").unlink()

        def bare(segmenter: Segmenter = segmenter, seen: list[torch.Tensor] = seen) -> None:
            with torch.inference_mode():
                for batch in seen:
                    segmenter(batch)

        hook = segmenter.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0].clone()))
        mapped()
        hook.remove()
        ratio(f"map_scene, {name} / the bare forward passes of the same batches", mapped, bare)


def measure_mapping_memory(folder: Path) -> None:
    """Memory of mapping a large scene, and of halves of it."""
    for number, (name, shape) in enumerate([("20,000 × 20,000 pixels (at most 2000)", (20_000, 20_000)),
                                            ("the upper half", (10_000, 20_000)),
                                            ("the left half", (20_000, 10_000))]):  # fmt: skip
        scene = write_noise_product(folder / f"noise {number}", shape, number)
        result = in_new_process(MAP, scene, folder / "map.tif")
        told = f"memory of a process that maps {name}, preview included"
        print(f"{told:<82} {result['peak_mb']:.0f} MB (imports {result['before_mb']:.0f})", flush=True)
        shutil.rmtree(scene)


def measure_filters(folder: Path) -> None:
    """Speckle filters of 2048² pixels against one moving average of the same window."""
    power = draw_speckle((2048, 2048), 3, seed=0).astype(np.float32)
    with_holes = np.where(np.random.default_rng(0).random(power.shape) < 0.1, np.float32(np.nan), power)

    def compare(name: str, despeckle: Filter, image: FloatArray) -> None:
        ratio(f"{name} / one uniform_filter (at most 60)",
              lambda: despeckle(image, 3, 7), lambda: ndimage.uniform_filter(power, 7))  # fmt: skip

    compare("refined Lee 7 × 7", refined_lee, power)
    compare("refined Lee 7 × 7, a tenth missing", refined_lee, with_holes)
    compare("Gamma-MAP 7 × 7", gamma_map, power)
    compare("Gamma-MAP 7 × 7, a tenth missing", gamma_map, with_holes)


def write_label_tiles(folder: Path) -> Path:
    """Tiles as JAXA's HRLULC on the noise products' ground: all codes, in pieces of about 150 m."""
    folder.mkdir()
    side = 12_000
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": side, "width": side, "crs": "EPSG:4326"}
    profile |= {"compress": "deflate", "tiled": True, "blockxsize": 512, "blockysize": 512}
    for west in (139, 140):
        pieces = np.random.default_rng(west).integers(1, 15, (side // 16, side // 16)).astype(np.uint8)
        transform = Affine(1 / side, 0, west, 0, -1 / side, 36)
        with rasterio.open(folder / f"LC_N35E{west}.tif", "w", **profile, transform=transform) as tile:
            tile.write(pieces.repeat(16, axis=0).repeat(16, axis=1), 1)
    return folder


def dataset_settings(products: list[Path], labels: Path, work_dir: Path, workers: int = 1) -> dict[str, object]:
    """The paper's grid: 256 px of 5 m, every patch kept that the splits leave."""
    paths = {"products": [str(path) for path in products], "labels": [str(labels)], "work_dir": str(work_dir)}
    return {**paths, "workers": workers, "block_m": 6400.0, "patch_px": 256, "buffer_m": 0.0}


BUILD = """
import json, sys, time
from alos2tut import build_dataset, load_config
begun = time.perf_counter()
if __name__ == "__main__":
    build_dataset(load_config("dataset", "paper", **json.loads(sys.argv[1])), progress=False)
    print(json.dumps({"seconds": time.perf_counter() - begun, "peak_mb": peak_mb()}))
"""


def build_in_new_process(products: list[Path], labels: Path, work_dir: Path, workers: int = 1) -> dict[str, float]:
    """Build from nothing; time and memory of it alone, one thread each."""
    shutil.rmtree(work_dir, ignore_errors=True)
    return in_new_process(BUILD, json.dumps(dataset_settings(products, labels, work_dir, workers)))


def measure_building(folder: Path) -> None:
    """Building datasets: one product of full size, two workers, ten times the products."""
    labels, work = write_label_tiles(folder / "labels"), folder / "work"
    scene = write_noise_product(folder / "full")
    image = next(scene.glob("IMG-*"))
    found: dict[str, list[float]] = {"at once": [], "windows": [], "mb": []}
    for _ in range(4):
        run = build_in_new_process([scene], labels, work)
        found["mb"].append(run["peak_mb"])
        for name, rows in (("at once", None), ("windows", 512)):
            begun = time.perf_counter()
            read_with_rasterio(image, rows)
            found[name].append(run["seconds"] / (time.perf_counter() - begun))
    print_ratio("building from 27,000 × 32,000 px / SAR_CEOS, read at once (at most 6)", found["at once"][1:])
    print_ratio("the same / SAR_CEOS, read in windows of 512 rows", found["windows"][1:])
    print(f"{'memory of the process that builds it':<82} {max(found['mb']):.0f} MB (at most 1500)")
    both, two = [scene, write_noise_product(folder / "second", number=1)], []
    for _ in range(3):
        alone, shared = (build_in_new_process(both, labels, work, workers)["seconds"] for workers in (1, 2))
        two.append(alone / shared)
    print_ratio("two such products: one worker / two workers (at least 1.4)", two[1:])
    for path in both:
        shutil.rmtree(path)
    products = [write_noise_product(folder / f"part {i}", (8192, 8192), i) for i in range(10)]
    ten, peaks = [], []
    for _ in range(4):
        one, all_ten = (build_in_new_process(products[:n], labels, work) for n in (1, 10))
        ten.append(all_ten["seconds"] / one["seconds"])
        peaks.append(all_ten["peak_mb"] / one["peak_mb"])
    print_ratio("ten products of 8192² / one: time (about 10)", ten[1:])
    print_ratio("ten products of 8192² / one: memory (about 1)", peaks[1:])


def measure_batches(folder: Path) -> None:
    """Shuffled batches of 256 patches from the packed store, and from a GeoTIFF per patch."""
    labels = write_label_tiles(folder / "batch labels")
    scene = write_noise_product(folder / "batch scene", (13_500, 16_000))
    settings = dataset_settings([scene], labels, folder / "batch work")
    dataset = open_dataset(build_dataset(load_config("dataset", "paper", **settings), progress=False))
    split = dataset.split("pretrain")
    files = write_patch_files(dataset, folder / "patches")
    batches = [batch_indices(len(split), 256, 0, i) for i in range(8)]

    def raw() -> None:
        for batch in batches:
            split.gather(batch)

    def decoded() -> None:
        for batch in batches:
            rows, classes = split.gather(batch)
            decode_db(rows), classes.astype(np.float32)

    def from_files() -> None:
        for batch in batches:
            np.stack([read_file(files[i][0]) for i in batch]), np.stack([read_file(files[i][1]) for i in batch])

    ratio("one GeoTIFF per patch / packed store, raw rows (at least 20)", from_files, raw, rounds=5)
    ratio("one GeoTIFF per patch / packed store, decoded to float32 (at least 10)", from_files, decoded, rounds=5)


def write_patch_files(dataset: PatchDataset, folder: Path) -> list[tuple[Path, Path]]:
    """σ0 in dB and labels of each patch as plain GeoTIFFs, which GDAL reads faster than compressed ones."""
    folder.mkdir()
    split, side = dataset.split("pretrain"), dataset.patch_px
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "crs": "EPSG:32654"}
    profile |= {"transform": Affine(5, 0, 350_000, 0, -5, 3_950_000)}
    files = []
    for i in range(len(split)):
        contents = {folder / f"{i}.tif": split.db(i)[0], folder / f"{i}_label.tif": split.gather([i])[1][0]}
        for path, values in contents.items():
            with rasterio.open(path, "w", dtype=values.dtype, **profile) as file:
                file.write(values, 1)
        files.append(tuple(contents))
    return files


def read_file(path: Path) -> NDArray[np.float32]:
    """The pixels of a GeoTIFF."""
    with rasterio.open(path) as file:
        return file.read(1, out_dtype=np.float32)


MEASUREMENTS = {
    "reading": measure_reading,
    "archives": measure_archives,
    "building": measure_building,
    "batches": measure_batches,
    "mapping": measure_mapping,
    "mapping_memory": measure_mapping_memory,
    "filters": measure_filters,
}


def main() -> None:
    """Run the measurements named, or every one."""
    from training import MEASUREMENTS as OF_TRAINING  # which imports this file

    measurements = MEASUREMENTS | OF_TRAINING
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(measurements)}; default: all")
    names = parser.parse_args().names or list(measurements)
    if unknown := set(names) - set(measurements):
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # SAR_CEOS gives control points only
    torch.set_num_threads(2)
    print("times are ratios: median of the rounds (smallest–largest)")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            measurements[name](Path(folder))


if __name__ == "__main__":
    main()
