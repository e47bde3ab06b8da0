"""Scores on ground that training never saw, and maps of whole products."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import nn

from . import __version__
from .artifacts import make_folder, sha256_file, stage_dir, write_json
from .checkpoints import check_signal, load_segmenter, weights_path
from .config import EvaluateConfig, settings_for_key
from .dataset import PatchDataset, Split, encode_db, open_dataset, same_spacing
from .encoders import standardize
from .errors import Alos2TutError, Alos2TutWarning
from .legend import IGNORE, Legend
from .opening import open_product
from .products import Product
from .progress import progress_bar
from .rasters import write_cog
from .scores import scores_from_confusion
from .segmentation import Segmenter, confusion_matrix

REPORT_SCHEMA = "alos2tut-report-1"


def evaluate(config: EvaluateConfig) -> Path:
    """Score a segmenter, and a baseline beside it, on one split of a dataset.

    Args:
        config: dataset, segmenter, baseline, split; see :class:`alos2tut.config.EvaluateConfig`.

    Returns:
        The folder ``<work_dir>/evaluate-<hash>`` with ``report.json``: for each model mIoU, mAcc, pixel accuracy and
        the scores of every class, all from one confusion matrix, which is in there, too. Classes without a reference
        pixel are named under ``absent`` and count for nothing; without any labelled pixel every score is null.

    Raises:
        Alos2TutError: a missing file, or a segmenter of another legend, signal or patch size than the dataset's.
    """
    dataset = open_dataset(config.dataset)
    named = {"segmenter": config.segmenter} | ({"baseline": config.baseline} if config.baseline else {})
    files = {role: weights_path(path, "segmenter") for role, path in named.items()}
    models = {role: _fitting_segmenter(path, dataset, config.allow_other_signal) for role, path in files.items()}
    made_from = {"dataset": dataset.fingerprint} | {role: sha256_file(path) for role, path in files.items()}
    target = stage_dir(config.work_dir, "evaluate", settings_for_key(config), made_from)
    if (target / "report.json").is_file():
        print(f"reusing {target}")
        return target
    split = dataset.split(config.split)
    report: dict[str, Any] = {
        "schema": REPORT_SCHEMA,
        "version": __version__,
        "settings": settings_for_key(config),
        "made_from": made_from,
        "patches": len(split),
        "classes": dataset.legend.names,
        "simulated": dataset.simulated,
        "models": {},
    }
    for role, segmenter in models.items():
        matrix = confusion_matrix(segmenter, split, config.batch_size)
        report["models"][role] = _named_scores(matrix, dataset.legend.names) | {
            "initialisation": "pretrained" if "init" in segmenter.header["provenance"]["made_from"] else "random"
        }
    make_folder(target)
    write_json(target / "report.json", report)
    return target


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


def _fitting_segmenter(path: Path, dataset: PatchDataset, allow_other_signal: bool) -> Segmenter:
    segmenter = _load_on_best_device(path)
    check_signal(segmenter.signal, dataset.signal, path, allow_other=allow_other_signal)
    _check_legend(segmenter.legend, dataset.legend, path)
    if segmenter.image_px != (dataset.patch_px, dataset.patch_px):
        raise Alos2TutError(f"reads {segmenter.image_px} px, the patches have {dataset.patch_px} px", where=path)
    return segmenter


def _check_legend(known: Legend, legend: Legend, where: Path) -> None:
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


def _named_scores(matrix: NDArray[np.int64], names: list[str]) -> dict[str, Any]:
    scores = scores_from_confusion(matrix)
    scores["absent"] = [names[index] for index in scores["absent"]]
    scores["per_class"] = dict(zip(names, scores["per_class"], strict=True))
    return scores | {"confusion_matrix": matrix.tolist()}


@torch.inference_mode()
def predict_patches(segmenter: Segmenter, split: Split, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Class indices (n, H, W) that a segmenter, on whatever device it is, gives a few patches of a list."""
    rows, _ = split.gather(list(indices))
    x, _ = standardize(torch.from_numpy(rows).to(_device_of(segmenter)), segmenter.statistics)
    with _evaluating(segmenter):
        classes: NDArray[np.uint8] = segmenter(x).argmax(dim=1).cpu().numpy().astype(np.uint8)
    return classes


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
