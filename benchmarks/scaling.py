"""Measure how time and memory grow with products, patches and processes; write the tables of ``docs/scaling.md``.

``python benchmarks/scaling.py --work FOLDER`` measures what ``docs/scaling.json`` lacks, each point in a new process,
and writes it there as each ends, so that a stopped run goes on; then it writes the page's tables from that file.
``--tables`` only writes those. It takes about ten minutes of a core, 2 GB of disk and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# where this is started by torchrun
sys.path.append(str(Path(__file__).resolve().parent))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from alos2tut.core.errors import Alos2TutError
from alos2tut.core.tables import duration_text

DOCS = Path(__file__).resolve().parents[1] / "docs"
PRODUCTS, PATCHES, PROCESSES = (1, 4, 16, 64), (10**3, 10**4, 10**5, 10**6), (1, 2, 4)
#: side of a small product and of a patch of the series of products; pixels of 2.5 m, and of 5 m
PRODUCT_PX, PATCH_PX = 2048, 256
#: what is shared by processes: products to build from, steps to train, pixels to map
SHARED_PRODUCTS, SHARED_STEPS, SHARED_BATCH = 8, 40, 16
#: of the profile ``quick``
SMALL_SWIN = {"embed_dim": 32, "depths": (2, 2, 2, 2), "num_heads": (2, 4, 8, 16), "window_size": 4}
#: batches that are drawn, and patches in each
BATCHES, BATCH = 200, 64

Result = dict[str, Any]

SMALL_PATCHES, LARGE_PATCHES = "patches of 64 px", "patches of 256 px"


# --- what is read of processes: imports of the package are inside functions, so that each knows only its own memory


def _family() -> list[Any]:
    """This process and all that it started."""
    import psutil

    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def peak_mb() -> float:
    """The highest memory of this process and of each that it started, added up."""
    found = 0
    for process in _family():
        status = Path(f"/proc/{process.pid}/status").read_text()
        found += int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return found / 1024


def cpu_s() -> float:
    """CPU seconds of this process and of those that it started, which still run."""
    return sum(sum(process.cpu_times()[:2]) for process in _family())


@contextmanager
def timed(result: Result, name: str = "") -> Iterator[None]:
    """Seconds of a block, by the processors' clocks and by that on the wall, under these names."""
    begun, cpu, own = time.perf_counter(), cpu_s(), time.process_time()
    yield
    result |= {f"{name}cpu_s": cpu_s() - cpu, f"{name}own_cpu_s": time.process_time() - own}
    result[f"{name}wall_s"] = time.perf_counter() - begun


# --- products


def product_paths(work: Path) -> list[Path]:
    """Where the small products of noise lie, side by side, 8 in a row."""
    return [work / "products" / f"{number:02d}" for number in range(max(PRODUCTS))]


def build(work: Path, products: list[Path], name: str, executor: Any = None) -> Result:
    """Build a dataset of these products from nothing."""
    from measure import dataset_settings

    from alos2tut import build_dataset, load_config, open_dataset

    shutil.rmtree(work / name, ignore_errors=True)
    settings = dataset_settings(products, work / "labels", work / name) | {"block_m": 1280.0, "patch_px": PATCH_PX}
    result: Result = {"before_mb": peak_mb()}
    with timed(result):
        folder = build_dataset(load_config("dataset", "paper", **settings), executor=executor, progress=False)
    result |= {"peak_mb": peak_mb(), "patches": sum(len(table) for table in open_dataset(folder).tables.values())}
    shutil.rmtree(work / name)
    return result


def of_products(work: Path, n: int) -> Result:
    """Building from n products, in one process."""
    return build(work, product_paths(work)[:n], f"built {n}")


# --- patches


def write_listed(path: Path, n: int) -> None:
    """A dataset of n patches of 32 px whose pixels are a sparse file's zeros, with whole lists and true places.

    Blocks of 10 × 10 patches of 160 m lie 1,280 m apart; of seven blocks one is for validation and one for the test.
    """
    from alos2tut.dataset.store import AUTHORS_COLUMNS, BOX_COLUMNS, CORNER_COLUMNS, OUR_COLUMNS, SCHEMA

    path.mkdir(parents=True)
    roles = np.array([0, 1, 2, 0, 0, 0, 0])[np.arange(n) // 100 % 7]
    wide = math.ceil(math.sqrt(n / 100))
    block, place = np.divmod(np.arange(n), 100)
    lat = 45 - (block // wide * 18 + place // 10) * 160 / 111_320
    lon = 130 + (block % wide * 18 + place % 10) * 160 / 90_000
    south, east = lat - 160 / 111_320, lon + 160 / 90_000
    given = {"Year": 2022, "Month": 11, "Day": 19, "FolderPath": "2022/11/19", "FileName": "IMG_0_0.tif"}
    given |= {"Product": "IMG", "PatchRow": 0, "PatchCol": 0, "Block": "0_0", "ValidFraction": 1, "Category": 1}
    columns = AUTHORS_COLUMNS + OUR_COLUMNS
    head, count = columns.index(BOX_COLUMNS[0]), {}
    start = ",".join(str(given.get(name, "135.0000")) if name != "Row" else "{}" for name in columns[:head]) + ","
    assert columns[head:] == BOX_COLUMNS + CORNER_COLUMNS
    for role, names in enumerate((("pretrain", "train"), ("val",), ("test",))):
        mine = np.flatnonzero(roles == role)
        sides = zip(lon[mine], south[mine], east[mine], lat[mine], strict=True)
        lines = [",".join(columns) + "\n"]
        for row, (w, s, e, t) in enumerate(sides):
            around = f"{w:.7f},{s:.7f},{e:.7f},{t:.7f},{w:.9f},{t:.9f},{e:.9f},{t:.9f},{e:.9f},{s:.9f},{w:.9f},{s:.9f}"
            lines.append(f"{start.format(row)}{around}\n")
        for name in names:
            (path / f"{name}.csv").write_text("".join(lines))
            count[name] = len(mine)
        np.lib.format.open_memmap(path / f"{names[0]}_db.npy", "w+", "<i2", (len(mine), 1, 32, 32))
        np.lib.format.open_memmap(path / f"{names[0]}_labels.npy", "w+", "|u1", (len(mine), 32, 32))
    files = {}
    for file in sorted(path.iterdir()):
        # nobody reads all the zeros for their hash
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest() if file.suffix == ".csv" else "0" * 64
        files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256}
    content = {
        "schema": SCHEMA,
        "legend": {"name": "one", "source": "", "classes": [{"name": "a", "color": [0, 0, 0], "codes": [1]}],
                   "ignored": [0]},
        "splits": {name: {"patches": count[name], "class_pixels": {"a": count[name] * 1024}} for name in count},
        "statistics": {"mean_db": [-11.0], "std_db": [6.0]},
        "patch_px": 32, "polarizations": ["HH"], "quantity": "sigma0", "spacing_m": [5.0, 5.0],
        "class_weights": [1.0], "settings": {"buffer_m": 1000.0}, "files": files,
    }  # fmt: skip
    (path / "dataset.json").write_text(json.dumps(content))


def of_patches(work: Path, n: int) -> Result:
    """Opening n patches; drawing an epoch's first batch and more; their statistics."""
    from alos2tut import open_dataset
    from alos2tut.dataset.encoding import Statistics, step_sums
    from alos2tut.dataset.store import batch_indices

    result: Result = {"before_mb": peak_mb()}
    with timed(result):
        dataset = open_dataset(work / f"patches {n}")
    result["peak_mb"] = peak_mb()
    split = dataset.split("pretrain")
    with timed(result, "first_batch_"):
        batch_indices(len(split), BATCH, 0, 0)
    with timed(result, "batches_"):
        for number in range(BATCHES):
            split.gather(batch_indices(len(split), BATCH, 0, number))
    with timed(result, "statistics_"):
        sums = np.zeros(3, object)
        for row in range(0, len(split), 1024):
            sums += np.array(step_sums(np.asarray(split.patches[row : row + 1024])), object)
        Statistics.from_sums([sums.tolist()], where="zeros")
    return result


# --- processes


def training(work: Path, n: int) -> Result:
    """Steps of a training by n processes of ``torchrun``, without their start."""
    for old in work.glob("rank-*.json"):
        old.unlink()
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", __file__]
    subprocess.run([*run, "--point", "rank", str(n), "--work", str(work)], check=True, stdout=2)
    ranks = [json.loads(path.read_text()) for path in work.glob("rank-*.json")]
    added = {name: sum(rank[name] for rank in ranks) for name in ("cpu_s", "peak_mb")}
    return {**added, "wall_s": max(rank["wall_s"] for rank in ranks)}


def rank(work: Path, n: int) -> Result:
    """One process of :func:`training`."""
    from steps import Pairs, settings, train

    # of each step the CPU time of its process
    spent: list[float] = []
    config = settings(work / SMALL_PATCHES, SMALL_SWIN, SHARED_BATCH, 2 + SHARED_STEPS, accelerator="cpu", devices=n)
    pairs: Pairs = train(config, lambda: spent.append(time.process_time()), warm_up=2)
    result = {"cpu_s": spent[-1] - spent[1], "wall_s": float(pairs.times()[0].sum()), "peak_mb": peak_mb()}
    (work / f"rank-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(result))
    return {}


def building(work: Path, n: int) -> Result:
    """Building by n processes of our own, which have started."""
    from alos2tut.core.parallel import process_pool

    with process_pool(n) as pool:
        for future in [pool.submit(_ready, 1.0) for _ in range(n)] if pool else []:
            future.result()
        return build(work, product_paths(work)[:SHARED_PRODUCTS], f"shared {n}", pool)


def _ready(seconds: float) -> None:
    """Load what work needs, and keep a worker for a while, so that each gets one."""
    import alos2tut.dataset.builder
    import alos2tut.mapping.scene  # noqa: F401

    time.sleep(seconds)


def mapping(work: Path, n: int) -> Result:
    """A map by n processes of a Dask cluster on this machine, which have started."""
    from distributed import Client, LocalCluster

    from alos2tut import map_scene
    from alos2tut.mapping import MapConfig

    product, model = product_paths(work)[0], work / "segmenter.safetensors"
    result: Result = {}
    options = {"n_workers": n, "threads_per_worker": 1, "dashboard_address": None, "processes": True}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        for future in [client.submit(_ready, 1.0, key=f"ready {number}") for number in range(n)]:
            future.result()
        with timed(result):
            map_scene(product, model, work / "map.tif", MapConfig(preview=False, overwrite=True),
                      executor=client.get_executor(), progress=False)  # fmt: skip
        result["peak_mb"] = peak_mb()
    (work / "map.tif").unlink()
    return result


# --- what one core does


def one_core(work: Path, n: int) -> Result:
    """CPU seconds and operations of a patch that Swin-B is trained on, and of a pixel that it maps, in one thread."""
    import torch
    from measure import SIGNAL
    from steps import bare_step, operations_per_patch, settings
    from torch.utils.flop_counter import FlopCounterMode

    from alos2tut import load_legend, open_dataset
    from alos2tut.dataset.encoding import Statistics
    from alos2tut.networks.encoders import build_encoder
    from alos2tut.networks.segmenter import Segmenter

    path = work / LARGE_PATCHES
    config = settings(path, "paper", 2, 3, accelerator="cpu")
    step, result = bare_step(config, open_dataset(path)), {}
    step()
    with timed(result, "training_"):
        step(), step()
    with torch.device("meta"):
        shadow = Segmenter(build_encoder(config.encoder, (PATCH_PX, PATCH_PX)), load_legend("japan_9"),
                           Statistics((-11.0,), (6.0,)), SIGNAL)  # fmt: skip
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            shadow.eval()(torch.zeros(1, 1, PATCH_PX, PATCH_PX))
    encoder = build_encoder(config.encoder, (PATCH_PX, PATCH_PX))
    segmenter = Segmenter(encoder, shadow.legend, shadow.statistics, SIGNAL).eval()
    # 2 × 2 tiles, which a large map has of every 1.92² million pixels alike
    side = PATCH_PX + PATCH_PX * 3 // 4
    image = np.full((side, side), -11.0, np.float32)
    segmenter.predict(image[:PATCH_PX, :PATCH_PX])
    with timed(result, "mapping_"):
        segmenter.predict(image)
    tile_px = (PATCH_PX * 3 // 4) ** 2
    return {
        "training_s": result["training_cpu_s"] / 4,
        "training_operations": operations_per_patch(config, PATCH_PX),
        "mapping_s_per_px": result["mapping_cpu_s"] / 4 / tile_px,
        "mapping_operations_per_px": counter.get_total_flops() / tile_px,
    }


def prepare(work: Path, n: int) -> Result:
    """Write what is measured with; once, and in a process whose memory nobody looks at."""
    from measure import QUICK, random_segmenter, write_label_tiles, write_noise_product
    from support.packed import write_packed_dataset

    from alos2tut.networks.weights import save_segmenter

    side_m = int(2.5 * PRODUCT_PX)
    (work / "products").mkdir(parents=True)
    for number, path in enumerate(product_paths(work)):
        corner = (350_000 + number % 8 * side_m, 3_950_000 - number // 8 * side_m)
        write_noise_product(path, (PRODUCT_PX, PRODUCT_PX), number, corner)
    write_label_tiles(work / "labels")
    for count in PATCHES:
        write_listed(work / f"patches {count}", count)
    write_packed_dataset(work / SMALL_PATCHES, patch_px=64, n=256)
    write_packed_dataset(work / LARGE_PATCHES, patch_px=PATCH_PX, n=4)
    save_segmenter(work / "segmenter.safetensors", random_segmenter(QUICK, 64, 32), provenance={}, simulated=True)
    (work / "prepared").touch()
    return {}


SERIES: dict[str, tuple[Callable[[Path, int], Result], tuple[int, ...]]] = {
    "products": (of_products, PRODUCTS),
    "patches": (of_patches, PATCHES),
    "one core": (one_core, (1,)),
    "training": (training, PROCESSES),
    "mapping": (mapping, PROCESSES),
    "building": (building, PROCESSES),
}
HIDDEN: dict[str, Callable[[Path, int], Result]] = {"rank": rank, "prepare": prepare}


def measure(work: Path, results: Path) -> None:
    """Measure what is not in the file of results."""
    from evidence_runs import machine

    from alos2tut.core.artifacts import read_json, write_json
    from alos2tut.core.parallel import cores

    found: dict[str, Any] = read_json(results) if results.exists() else {}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    if not (work / "prepared").exists():
        if work.exists() and any(work.iterdir()):
            raise Alos2TutError("holds something else", where=work, remedy="Name a new folder, or empty it.")
        subprocess.run([sys.executable, __file__, "--point", "prepare", "0", "--work", str(work)], check=True)
    for name, (_, sizes) in SERIES.items():
        for n in sizes:
            runs = found.setdefault(name, {}).setdefault(str(n), [])
            if runs:
                continue
            load = os.getloadavg()[0]
            command = [sys.executable, __file__, "--point", name, str(n), "--work", str(work)]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
            runs.append({"load": round(load, 1), **json.loads(told.splitlines()[-1])})
            found["machine"] = {"cpu": machine()["cpu"], "cores": cores()}
            write_json(results, found)
            print(name, n, runs[-1], flush=True)


# --- the page

#: Japan, as the tables take it: scenes, the pixels of 2.5 m of each; the published pretraining
SCENES, SCENE_PX = 2000, 27_000 * 32_000
PRETRAIN_PATCHES, EPOCHS = 100_000, 800
CORES, GPUS, GPU_RATE = (1, 16, 256), 8, 160e12


def slope(sizes: Any, values: Any) -> float:
    """The power of the size by which values grow: the slope of a straight line through both logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def medians(found: dict[str, Any], series: str, key: str) -> dict[int, float]:
    """The median of what was measured, by size: a point may have several runs."""
    return {int(n): float(np.median([run[key] for run in runs])) for n, runs in found.get(series, {}).items() if runs}


def growth(found: dict[str, Any], series: str, unit: str, rows: dict[str, str]) -> str:
    """A table of what grows with the size of a series: values, the slope over all sizes, and that of the last step."""
    lines, sizes = [], SERIES[series][1]
    for name, key in rows.items():
        values = medians(found, series, key)
        # a clock that shows nothing yet has no logarithm
        known = [(n, values[n]) for n in sizes if values.get(n, 0) > 0]
        slopes = [f"{slope(*zip(*part, strict=True)):.2f}" if len(part) > 1 else "–" for part in (known, known[-2:])]
        lines.append([name, *(in_digits(values.get(n)) for n in sizes), *slopes])
    return markdown([unit, *(f"{n:,}" for n in sizes), "slope", "last step"], lines)


def in_digits(value: float | None) -> str:
    """A number with three digits; what was not measured is a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 1 else f"{value:.3g}"


def japan(found: dict[str, Any]) -> str:
    """What 2,000 scenes would take: by arithmetic, with what one core was measured to do."""
    first, last = PRODUCTS[0], PRODUCTS[-1]
    grown = medians(found, "products", "own_cpu_s")
    each = (grown[last] - grown[first]) / (last - first)
    alone = max(medians(found, "building", "own_cpu_s")[2] - (grown[first] - first * each), 0) / SHARED_PRODUCTS
    per_px, alone_per_px = each / PRODUCT_PX**2, alone / PRODUCT_PX**2
    [core] = found["one core"]["1"]
    map_px, pixels = SCENES * SCENE_PX / 4, SCENES * SCENE_PX
    trained = PRETRAIN_PATCHES * EPOCHS
    quick = medians(found, "mapping", "cpu_s").get(1)
    # seconds of one core, those of them that one process does alone, operations
    work = {
        "build the dataset": (per_px * pixels, alone_per_px * pixels, None),
        "pretrain Swin-B, as published": (core["training_s"] * trained, 0, core["training_operations"] * trained),
        "map by Swin-B": (core["mapping_s_per_px"] * map_px, 0, core["mapping_operations_per_px"] * map_px),
    }
    if quick is not None:
        work["map by the network of `quick`"] = (quick / (PRODUCT_PX / 2) ** 2 * map_px, 0, None)
    lines = []
    for name, (seconds, undivided, operations) in work.items():
        by_cores = [duration_text(undivided + (seconds - undivided) / cores) for cores in CORES]
        by_gpus = "–" if operations is None else duration_text(operations / GPUS / GPU_RATE)
        lines.append([name, *by_cores, by_gpus, "–" if operations is None else f"{operations:.2g}"])
    return markdown(["", *(f"{n} core{'s' * (n > 1)}" for n in CORES), f"{GPUS} GPUs, assumed", "operations"], lines)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table of a page."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---", *["---:"] * (len(header) - 1)], *rows])


def tables(found: dict[str, Any]) -> dict[str, str]:
    """All tables of the page, by name."""
    opening = {"opening, s": "own_cpu_s", "memory, MB": "peak_mb", "first batch, s": "first_batch_own_cpu_s",
               f"{BATCHES} batches, s": "batches_own_cpu_s", "statistics, s": "statistics_own_cpu_s"}  # fmt: skip
    by_processes = []
    for series in ("training", "building", "mapping"):
        rows = {f"{series}, CPU s": "cpu_s", f"{series}, s on the clock": "wall_s", f"{series}, MB": "peak_mb"}
        by_processes.append(growth(found, series, "processes", rows))
    head, rule, *_ = by_processes[0].splitlines()
    lines = [line for table in by_processes for line in table.splitlines()[2:]]
    loads = [run["load"] for name in SERIES for runs in found.get(name, {}).values() for run in runs]
    machine = f"{found['machine']['cores']} cores of {found['machine']['cpu']}, with other work at the same time"
    return {
        "machine": f"Measured on {machine}: load averages of {min(loads):.0f} to {max(loads):.0f}.",
        "products": growth(found, "products", "products", {"CPU s": "own_cpu_s", "memory, MB": "peak_mb"}),
        "patches": growth(found, "patches", "patches", opening),
        "processes": "\n".join([head.replace("4 |", "4 \\* |"), rule, *lines]),
        "japan": japan(found),
    }


def write_tables(page: Path, results: Path) -> None:
    """Write the tables into the page."""
    from evidence_tables import write_parts

    write_parts(page, "scaling", tables(json.loads(results.read_text("utf-8"))))


def main() -> None:
    """Measure what is missing, then write the page's tables; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("work/scaling"), help="folder for what is measured with")
    parser.add_argument("--point", nargs=2, metavar=("SERIES", "N"), help="measure one point in this process")
    parser.add_argument("--tables", action="store_true", help="only write the page's tables")
    args = parser.parse_args()
    if args.point:
        run = HIDDEN.get(args.point[0]) or SERIES[args.point[0]][0]
        print(json.dumps(run(args.work, int(args.point[1]))))
        return
    if not args.tables:
        measure(args.work, DOCS / "scaling.json")
    write_tables(DOCS / "scaling.md", DOCS / "scaling.json")


if __name__ == "__main__":
    main()
