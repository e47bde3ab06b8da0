"""Scores on ground that training never saw, and maps of whole products."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import nn

from . import __version__
from .artifacts import make_folder, sha256_file, stage_dir, write_json
from .calibration import BINS, fit_temperature, labelled_logits, reliability, reliability_counts
from .checkpoints import check_signal, load_segmenter, weights_path
from .config import EvaluateConfig, settings_for_key
from .dataset import PatchDataset, Split, encode_db, open_dataset, same_spacing
from .encoders import standardize
from .errors import Alos2TutError, Alos2TutWarning, warn
from .legend import IGNORE, Legend
from .opening import open_product
from .products import Product
from .progress import progress_bar
from .rasters import write_cog
from .scores import (
    BOUNDARY_PX,
    LEVEL,
    bootstrap_intervals,
    boundary_counts,
    boundary_scores,
    scores_from_confusion,
    water_classes,
    water_scores,
)
from .segmentation import Segmenter, confusion_counts, scored_batches, summed
from .training import rank_and_world, wait_for_all

#: of ``report.json``; ``report_schema.json`` beside this module is what it must look like (JSON Schema 2020-12)
REPORT_SCHEMA = "alos2tut-report-2"


def evaluate(config: EvaluateConfig) -> Path:
    """Score a segmenter, and a baseline beside it, on one split of a dataset.

    All scores come from counts of pixels: one confusion matrix for each block of ground, boundary pixels by class,
    pixels by confidence. Processes that ``torchrun`` started share the patches and sum their counts, so the report is
    the same for any number of them (on a CPU, with the same number of threads). It holds, for each model:

    - mIoU, mAcc, pixel accuracy and the scores of every class, from the sum of the confusion matrices, which is in
      there, too. Classes without a reference pixel are named under ``absent`` and count for nothing; without any
      labelled pixel every score is null (:func:`alos2tut.scores.scores_from_confusion`);
    - 95 % intervals over blocks of ground, null where fewer than two blocks are labelled
      (:func:`alos2tut.scores.bootstrap_intervals`);
    - how well boundaries lie, at a tolerance of 2 pixels (:func:`alos2tut.scores.boundary_scores`);
    - water against the rest, where the legend has water (:func:`alos2tut.scores.water_classes`);
    - the reliability curve and its error, as it is and with a temperature that is fitted on the list ``val``
      (:mod:`alos2tut.calibration`). Where ``val`` itself is scored, the latter flatters.

    Args:
        config: dataset, segmenter, baseline, split; see :class:`alos2tut.config.EvaluateConfig`.

    Returns:
        The folder ``<work_dir>/evaluate-<hash>`` with ``report.json``.

    Raises:
        Alos2TutError: before anything is scored, a missing file, or a segmenter of another legend, signal or patch size
            than the dataset's; a label that is no class.
    """
    dataset = open_dataset(config.dataset)
    named = {"segmenter": config.segmenter} | ({"baseline": config.baseline} if config.baseline else {})
    files = {role: weights_path(path, "segmenter") for role, path in named.items()}
    with _one_group():
        models = {role: fitting_segmenter(path, dataset, config.allow_other_signal) for role, path in files.items()}
        made_from = {"dataset": dataset.fingerprint} | {role: sha256_file(path) for role, path in files.items()}
        target = stage_dir(config.work_dir, "evaluate", settings_for_key(config), made_from)
        is_first = rank_and_world()[0] == 0
        if (target / "report.json").is_file():
            if is_first:
                print(f"reusing {target}")
            return target
        report = _described(config, dataset) | {"made_from": made_from}
        report["models"] = {role: _scored(segmenter, dataset, config) for role, segmenter in models.items()}
        if is_first:
            make_folder(target)
            write_json(target / "report.json", report)
        wait_for_all()
    return target


@contextmanager
def _one_group() -> Iterator[None]:
    """The processes that ``torchrun`` started as one group, of which the first one warns; alone, nothing changes."""
    rank, world = rank_and_world()
    with warnings.catch_warnings():
        if rank > 0:
            warnings.simplefilter("ignore", Alos2TutWarning)
        if world == 1 or dist.is_initialized():
            yield
            return
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
        # counts are few: this way of summing them needs no GPU, nor one for each process
        dist.init_process_group("gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()


def _described(config: EvaluateConfig, dataset: PatchDataset) -> dict[str, Any]:
    """What a report says beside the scores; warns of classes that training never saw."""
    names, split = dataset.legend.names, dataset.split(config.split)
    trained, scored = (dataset.content["splits"][name]["class_pixels"] for name in ("train", split.name))
    unseen = [name for name in names if scored[name] and not trained[name]]
    if unseen:
        warn(f"{dataset.path}: the list 'train' has no pixel of {', '.join(unseen)}, which '{split.name}' has.")
    return {
        "schema": REPORT_SCHEMA,
        "version": __version__,
        "settings": settings_for_key(config),
        "split": split.name,
        "patches": len(split),
        "classes": names,
        "unseen": unseen,
        "water_classes": [names[index] for index in water_classes(names)],
        "simulated": dataset.simulated,
        "boundary_tolerance_px": BOUNDARY_PX,
        "bootstrap": {"unit": "block of ground", "level": LEVEL, "draws": config.draws, "seed": config.seed},
    }


def ground_blocks(split: Split) -> NDArray[np.int64]:
    """The block of ground that each patch of a list lies in, (n,) from 0; a list that names none is one block."""
    names = [record.get("Block", "") for record in split.table]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _scored(segmenter: Segmenter, dataset: PatchDataset, config: EvaluateConfig) -> dict[str, Any]:
    """Everything a report says of one model."""
    val = dataset.split("val")
    temperature = fit_temperature(*labelled_logits(segmenter, val, config.batch_size, seed=config.seed))
    tried = [1.0] if temperature is None else [1.0, temperature.value]
    matrices, boundaries, confidences = _counted(segmenter, dataset.split(config.split), config.batch_size, tried)
    names, matrix = dataset.legend.names, matrices.sum(axis=0)
    water = water_classes(names)
    scores, edges = scores_from_confusion(matrix), boundary_scores(boundaries)
    intervals = bootstrap_intervals(matrices, draws=config.draws, seed=config.seed)
    curves = [reliability(counts) for counts in confidences]
    per_class = [a | {"boundary": b} for a, b in zip(scores["per_class"], edges["per_class"], strict=True)]
    return {
        **scores,
        "initialisation": "pretrained" if "init" in segmenter.header["provenance"]["made_from"] else "random",
        "absent": [names[index] for index in scores["absent"]],
        "per_class": dict(zip(names, per_class, strict=True)),
        "boundary_f1": edges["f1"],
        "water": water_scores(matrix, water) if water else None,
        "intervals": intervals | {"per_class": dict(zip(names, intervals["per_class"], strict=True))},
        "calibration": {
            "temperature": None if temperature is None else {**asdict(temperature), "fitted_on": val.name},
            "as_it_is": curves[0],
            "with_temperature": None if temperature is None else curves[1],
        },
        "confusion_matrix": matrix.tolist(),
    }


def _counted(
    segmenter: Segmenter, split: Split, batch_size: int, temperatures: Sequence[float]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """One pass over a list, counts of all processes together.

    Returns:
        Confusion matrices (blocks, classes, classes), boundary pixels (classes, 4), and for each temperature pixels by
        confidence (temperatures, 3, bins).
    """
    blocks, device = ground_blocks(split), _device_of(segmenter)
    size = int(blocks.max(initial=0)) + 1, len(segmenter.legend)
    matrices = torch.zeros((size[0], size[1], size[1]), dtype=torch.int64, device=device)
    confidences = torch.zeros((len(temperatures), 3, BINS), dtype=torch.int64, device=device)
    boundaries = np.zeros((size[1], 4), dtype=np.int64)
    for positions, labels, logits in scored_batches(segmenter, split, batch_size):
        predicted = logits.argmax(dim=1)
        matrices += confusion_counts(labels, predicted, blocks[positions], size)
        confidences += torch.stack([reliability_counts(logits, labels, t) for t in temperatures])
        reference, guess = (classes.to(torch.uint8).cpu().numpy() for classes in (labels, predicted))
        boundaries += boundary_counts(reference, guess, size[1])
    return summed(matrices), summed(torch.from_numpy(boundaries).to(device)), summed(confidences)


def best_device() -> torch.device:
    """A CUDA GPU if there is one, else the CPU.

    Apple's GPUs are passed over: torch pools on them only what the parts divide, and the decoder asks for thirds.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load_on_best_device(path: str | Path) -> Segmenter:
    return load_segmenter(path).to(best_device())


def _device_of(segmenter: Segmenter) -> torch.device:
    parameters: Any = getattr(segmenter, "parameters", tuple)()  # whatever is called like a segmenter will do
    return next((p.device for p in parameters), torch.device("cpu"))


@contextmanager
def _evaluating(segmenter: Segmenter) -> Iterator[None]:
    """Evaluation mode for a while, in which dropout does nothing; then every part is as it was."""
    modes = {part: part.training for part in segmenter.modules()} if isinstance(segmenter, nn.Module) else {}
    for part in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def fitting_segmenter(path: Path, dataset: PatchDataset, allow_other_signal: bool) -> Segmenter:
    """A segmenter from its file, on a GPU if there is one, if it reads this dataset's patches and knows its classes.

    Raises:
        Alos2TutError: as :func:`alos2tut.load_segmenter`; or another signal, legend or size of patches.
    """
    segmenter = _load_on_best_device(path)
    check_fit(segmenter, dataset, path, allow_other_signal)
    return segmenter


def check_fit(segmenter: Segmenter, dataset: PatchDataset, where: str | Path, allow_other_signal: bool) -> None:
    """Refuse a segmenter that does not read this dataset's patches, or does not know its classes.

    Raises:
        Alos2TutError: naming ``where`` the segmenter comes from.
    """
    check_signal(segmenter.signal, dataset.signal, where, allow_other=allow_other_signal)
    _check_legend(segmenter.legend, dataset.legend, where)
    if segmenter.image_px != (dataset.patch_px, dataset.patch_px):
        raise Alos2TutError(f"reads {segmenter.image_px} px, the patches have {dataset.patch_px} px", where=where)


def _check_legend(known: Legend, legend: Legend, where: str | Path) -> None:
    """Refuse classes that merge other codes; names and colours are only what classes are called and shown in."""
    for index in range(max(len(known), len(legend))):
        own, asked = (" + ".join(map(str, codes)) for codes in (_codes(known, index), _codes(legend, index)))
        if own != asked:
            raise Alos2TutError(
                f"knows class {index} as the codes {own or 'of nothing'}, the dataset as {asked or 'nothing'}",
                where=where,
                remedy="Build the dataset with the legend that it was trained on.",
            )
    if known.names != legend.names:
        warnings.warn(
            f"{where}: calls the classes {known.names}, the dataset {legend.names}; their codes are the same.",
            Alos2TutWarning,
            stacklevel=2,
        )


def _codes(legend: Legend, index: int) -> list[int]:
    """The raw codes of a class; none if there is no such class."""
    return sorted(legend.classes[index].codes) if index < len(legend) else []


@torch.inference_mode()
def predict_patches(segmenter: Segmenter, split: Split, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Class indices (n, H, W) that a segmenter, on whatever device it is, gives a few patches of a list."""
    rows, _ = split.gather(list(indices))
    x, _ = standardize(torch.from_numpy(rows).to(_device_of(segmenter)), segmenter.statistics)
    with _evaluating(segmenter):
        classes: NDArray[np.uint8] = segmenter(x).argmax(dim=1).cpu().numpy().astype(np.uint8)
    return classes


@torch.inference_mode()
def class_probabilities(segmenter: Segmenter, split: Split, indices: Sequence[int]) -> NDArray[np.float32]:
    """Class probabilities (n, classes, H, W) that a segmenter gives a few patches of a list."""
    x, _ = standardize(
        torch.from_numpy(split.gather_rows(list(indices))).to(_device_of(segmenter)), segmenter.statistics
    )
    with _evaluating(segmenter):
        probabilities: NDArray[np.float32] = segmenter(x).float().softmax(dim=1).cpu().numpy()
    return probabilities


@torch.inference_mode()
def map_scene(
    product: Product | str | Path,
    segmenter: Segmenter | str | Path,
    out_path: str | Path,
    *,
    overlap_px: int | None = None,
    batch_size: int = 8,
    polarization: str | None = None,
    allow_other_signal: bool = False,
    progress: bool | None = None,
) -> Path:
    """Map a whole product to a Cloud-Optimized GeoTIFF of class indices.

    Tiles of the segmenter's own size lie on a fixed grid and overlap; their class probabilities are blended with
    weights that sum to one, so no seam shows. Only one row of tiles is in memory. Batches have one fixed shape.

    Args:
        product: a product, or the path of one.
        segmenter: a loaded segmenter, which stays on its device, or its file or folder, which goes to a GPU if there
            is one. Anything will do that maps standardised dB (B, C, H, W) to logits (B, classes, H, W) and has
            ``image_px``, ``statistics``, ``legend`` and ``signal``; a module is in evaluation mode meanwhile.
        out_path: the GeoTIFF to write (whole or not at all); it has the legend's colour table, 255 for no data, the
            class names as tags, and overviews.
        overlap_px: pixels that neighbouring tiles share; None: a quarter of the tile.
        batch_size: tiles per forward pass.
        polarization: the channel to read; None: the one the segmenter was trained on.
        allow_other_signal: warn, instead of refusing, when the segmenter was trained on another quantity or
            polarisation. Another pixel size that no looks make up for is refused all the same.
        progress: show a bar; None: only where someone watches.

    Returns:
        ``out_path``.

    Raises:
        Alos2TutError: another quantity, polarisation or pixel size than the segmenter was trained on, an overlap as
            large as the tile, an ``out_path`` that is a folder or a file of the product or whose folder is missing.
    """
    out_path = Path(out_path)
    product = product if isinstance(product, Product) else open_product(product)
    _check_out_path(out_path, product)
    segmenter = segmenter if not isinstance(segmenter, (str, Path)) else _load_on_best_device(segmenter)
    polarization = _matching_polarization(product, segmenter, polarization, allow_other_signal)
    looks = _matching_looks(product, segmenter)
    tile = segmenter.image_px
    overlap_px = min(tile) // 4 if overlap_px is None else overlap_px
    if not 0 <= overlap_px < min(tile):
        raise Alos2TutError(f"overlap_px={overlap_px} is not in 0…{min(tile) - 1}", where="overlap_px")
    if batch_size < 1:
        raise Alos2TutError(f"batch_size={batch_size} is not at least 1", where="batch_size")
    shape = (math.ceil(product.shape[0] / looks), math.ceil(product.shape[1] / looks))
    bands = _class_bands(product, segmenter, polarization, looks, shape, overlap_px, batch_size)
    tile_rows = len(tile_starts(shape[0], tile[0], overlap_px))
    finished = progress_bar(bands, "mapping", "row of tiles", total=tile_rows, show=progress)
    with _evaluating(segmenter):
        return write_cog(
            out_path,
            ((Window(0, first, shape[1], len(classes)), classes) for first, classes in finished),
            shape=shape,
            dtype="uint8",
            crs=product.crs,
            transform=product.transform * Affine.scale(looks),
            no_data=IGNORE,
            tags=_map_tags(product, segmenter, polarization),
            colormap=segmenter.legend.colormap(),
            resampling="mode",
        )


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """First pixels of tiles that cover ``size`` pixels; the last tile ends at the edge."""
    if size <= tile:
        return [0]
    return [*range(0, size - tile, tile - overlap), size - tile]


def tile_weights(size: int, tile: int, overlap: int) -> NDArray[np.float32]:
    """Weights of tiles along one axis: ramps over the overlap, normalised to sum to one at every pixel.

    Returns:
        float32 (tiles, tile), in the order of :func:`tile_starts`.
    """
    starts = tile_starts(size, tile, overlap)
    position = np.arange(tile)
    ramp = np.minimum(np.minimum(position, position[::-1]) + 1, overlap + 1).astype(np.float64)
    total = np.zeros(max(size, tile))
    for start in starts:
        total[start : start + tile] += ramp
    return np.stack([ramp / total[start : start + tile] for start in starts]).astype(np.float32)


def _check_out_path(out_path: Path, product: Product) -> None:
    """Refuse, before any work, a place where the map cannot or must not go."""
    if out_path.is_dir():
        raise Alos2TutError("is a folder", where=out_path, remedy="Name the file to write, as in map.tif.")
    if not out_path.parent.is_dir():
        raise Alos2TutError("the folder does not exist", where=out_path.parent, remedy="Create it first.")
    product.check_target(out_path)


def _matching_polarization(product: Product, segmenter: Segmenter, wanted: str | None, allow_other: bool) -> str:
    """The channel to read; refuses, or warns of, a quantity or polarisation that the segmenter does not know."""
    signal, where = segmenter.signal, product.path
    trained = signal["polarizations"]
    if wanted is None and not (allow_other and trained[0] not in product.polarizations):
        wanted = trained[0]
    chosen = wanted or product.choose_polarization()
    problems = []
    if product.quantity != signal["quantity"]:
        problems.append(f"is {product.quantity}, the segmenter was trained on {signal['quantity']}")
    if chosen not in trained:
        problems.append(f"polarisation {chosen} is asked for, the segmenter was trained on {', '.join(trained)}")
    if problems and not allow_other:
        remedy = "Train on data like these, or allow another signal (allow_other_signal)."
        raise Alos2TutError("; ".join(problems), where=where, remedy=remedy)
    for problem in problems:
        warnings.warn(f"{where}: {problem}.", Alos2TutWarning, stacklevel=3)
    return product.choose_polarization(chosen)


def _matching_looks(product: Product, segmenter: Segmenter) -> int:
    """Looks that turn the product's pixels into the segmenter's; refused if there are none."""
    wanted = np.broadcast_to(np.asarray(segmenter.signal["spacing_m"], dtype=float), (2,))
    spacing = np.asarray(product.spacing_m)
    looks = max(1, round(float((wanted / spacing).mean())))
    if not same_spacing(spacing * looks, wanted):
        raise Alos2TutError(
            f"has pixels of {product.spacing_m[0]:.4g} × {product.spacing_m[1]:.4g} m, which no number of looks turns "
            f"into the segmenter's {wanted[0]:.4g} × {wanted[1]:.4g} m",
            where=product.path,
        )
    return looks


def _class_bands(
    product: Product,
    segmenter: Segmenter,
    polarization: str,
    looks: int,
    shape: tuple[int, int],
    overlap: int,
    batch_size: int,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Finished rows of the map from top to bottom: (first row, class indices)."""
    (tile_h, tile_w), (height, width) = segmenter.image_px, shape
    rows, row_weights = tile_starts(height, tile_h, overlap), tile_weights(height, tile_h, overlap)
    cols, col_weights = tile_starts(width, tile_w, overlap), tile_weights(width, tile_w, overlap)
    blended = np.zeros((len(segmenter.legend), tile_h, max(width, tile_w)), dtype=np.float32)
    for index, top in enumerate(rows):
        db = _read_tile_row(product, polarization, looks, (top, tile_h), blended.shape[2])
        for col, probability in _tile_probabilities(segmenter, db, cols, batch_size):
            weight = row_weights[index][:, None] * col_weights[col][None, :]
            blended[:, :, cols[col] : cols[col] + tile_w] += probability * weight
        done = (rows[index + 1] if index + 1 < len(rows) else min(top + tile_h, height)) - top
        classes = blended[:, :done, :width].argmax(axis=0).astype(np.uint8)
        yield top, np.where(np.isfinite(db[:done, :width]), classes, IGNORE)
        # the rows below stay and are added to by the next row of tiles
        blended = np.concatenate([blended[:, done:], np.zeros_like(blended[:, :done])], axis=1)


def _read_tile_row(
    product: Product, polarization: str, looks: int, rows: tuple[int, int], width: int
) -> NDArray[np.float32]:
    """dB of one row of tiles, padded with NaN below and to the right where the product ends."""
    first, height = rows
    last = min((first + height) * looks, product.shape[0])
    window = (first * looks, 0, last - first * looks, product.shape[1])
    db = product.read_db(window, polarization=polarization, looks=looks)
    padded = np.full((height, width), np.nan, dtype=np.float32)
    padded[: db.shape[0], : db.shape[1]] = db
    return padded


def _tile_probabilities(
    segmenter: Segmenter, db: NDArray[np.float32], cols: list[int], batch_size: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Class probabilities (classes, H, W) of every tile of a row that has any data, with its number."""
    height, width = segmenter.image_px
    tiles = {i: db[:, col : col + width] for i, col in enumerate(cols)}
    numbers = [i for i, tile in tiles.items() if np.isfinite(tile).any()]
    device = _device_of(segmenter)
    for start in range(0, len(numbers), batch_size):
        batch = numbers[start : start + batch_size]
        # one fixed batch shape: another one may change the last bits of the result
        pixels = np.full((batch_size, 1, height, width), np.nan, dtype=np.float32)
        pixels[: len(batch), 0] = [tiles[i] for i in batch]
        x, _ = standardize(torch.from_numpy(encode_db(pixels)).to(device), segmenter.statistics)
        probabilities = segmenter(x).float().softmax(dim=1).cpu().numpy()
        yield from zip(batch, probabilities[: len(batch)], strict=True)


def _map_tags(product: Product, segmenter: Segmenter, polarization: str) -> dict[str, str]:
    names = {f"CLASS_{index}": name for index, name in enumerate(segmenter.legend.names)}
    header: dict[str, Any] = getattr(segmenter, "header", {})
    return names | {
        "PRODUCT": product.image_name(polarization),
        "LEGEND": segmenter.legend.name,
        "SIGNAL": json.dumps(segmenter.signal),
        "SOFTWARE": f"alos2tut {__version__}",
        "SIMULATED": "yes" if product.simulated else "no",
        "TRAINED_ON_SIMULATED": "yes" if header.get("simulated") else "no" if "simulated" in header else "unknown",
        "SOURCE": "simulated" if product.simulated else "ALOS-2 PALSAR-2, (c) JAXA",
    }
