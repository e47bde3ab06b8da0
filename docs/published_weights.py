"""The published encoder on a product of one's own: conversion, features, fine-tuning.

``published_weights.md`` explains it. Without a product a small one is simulated, which is good for trying the way, and
for nothing else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alos2tut import (
    Alos2TutError,
    Product,
    build_dataset,
    convert_checkpoint,
    finetune,
    load_config,
    load_encoder,
    open_dataset,
    open_product,
    simulate_product,
)
from alos2tut.configs import split_overrides
from alos2tut.core.artifacts import make_folder
from alos2tut.core.errors import Stopped
from alos2tut.dataset.encoding import encode_db
from alos2tut.networks.encoders import Encoder, standardize
from alos2tut.networks.weights import check_signal, read_header

#: 4 × 4 patches; of 1536 px every list gets some, too, but only one is left to train on
SIMULATED_PX = 2048
#: so little ground takes smaller blocks than the published 10 km
SIMULATED_SETTINGS = "dataset.block_m=2560"
#: the published learning rate is for 512 patches per step and would shrink with them to nothing; untried on real data
SETTINGS = "finetune.lr=1.25e-4"


@dataclass(frozen=True)
class Result:
    """Where everything lies."""

    encoder: Path
    features: Path
    dataset: Path
    segmenter: Path


def convert(weights: Path, folder: Path) -> Path:
    """The encoder's file in our form, from the published file."""
    make_folder(folder)
    target = folder / "encoder.safetensors"
    print(convert_checkpoint(weights, target).to_text())
    return target


def simulated_product(folder: Path, seed: int) -> Path:
    """A small simulated product, made or found again."""
    path = folder / f"simulated-{SIMULATED_PX}-{seed}"
    if not path.is_dir():
        simulate_product(path, seed, SIMULATED_PX)
    print(f"NO PRODUCT GIVEN: a simulated one, {path}")
    return path


def read_patch(product: Product, encoder: Encoder, corner: tuple[int, int] | None, where: Path) -> NDArray[np.float32]:
    """One patch of the encoder's size and pixels, in dB: (H, W), NaN without data.

    Args:
        product: calibrated, of the encoder's quantity and polarisation, with pixels that looks make as large as its.
        encoder: tells what it was trained on.
        corner: row and column of the upper left pixel, as delivered; None: the patch is in the middle.
        where: the encoder's file, for messages.
    """
    assert encoder.signal is not None
    (polarization,) = encoder.signal["polarizations"]
    pairs = zip(encoder.signal["spacing_m"], product.spacing_m, strict=True)
    looks = [max(1, round(wanted / own)) for wanted, own in pairs]
    spacing_m = [own * n for own, n in zip(product.spacing_m, looks, strict=True)]
    found = {"quantity": product.quantity, "polarizations": [polarization], "spacing_m": spacing_m}
    check_signal(encoder.signal, found, where)
    height, width = (side * n for side, n in zip(encoder.image_px, looks, strict=True))
    row, col = corner or ((product.shape[0] - height) // 2, (product.shape[1] - width) // 2)
    return product.read_db((row, col, height, width), polarization=polarization, looks=tuple(looks))


@torch.inference_mode()
def features_of(encoder: Encoder, patch_db: NDArray[np.float32]) -> NDArray[np.float32]:
    """The deepest features of a patch, (1024, 8, 8) for the published encoder; no data counts as the mean."""
    assert encoder.statistics is not None
    rows = torch.from_numpy(encode_db(patch_db))[None, None]
    x, _ = standardize(rows, encoder.statistics)
    features: NDArray[np.float32] = encoder(x)[0].numpy()
    return features


def work_through(options: argparse.Namespace) -> Result:
    """Everything, one step after the other."""
    encoder_path = convert(options.weights, options.work_dir / "published")
    product, labels, settings = options.product, options.labels, f"{SETTINGS}; {options.overrides}"
    if product is None:
        product = simulated_product(options.work_dir, options.seed)
        labels, settings = [product / "labels"], f"{SIMULATED_SETTINGS}; {settings}"

    encoder = load_encoder(encoder_path)
    corner = None if options.corner is None else tuple(options.corner)
    patch_db = read_patch(open_product(product), encoder, corner, encoder_path)
    features_path = encoder_path.with_name("features.npy")
    np.save(features_path, features_of(encoder, patch_db))

    shared: dict[str, Any] = {"work_dir": options.work_dir, "seed": options.seed}
    by_stage = split_overrides(settings)
    dataset = build_dataset(
        load_config("dataset", "paper", overrides=by_stage["dataset"], products=product, labels=labels, **shared)
    )
    how = {"steps": options.steps, "batch_size": options.batch_size, "init": encoder_path}
    stage = finetune(load_config("finetune", "paper", overrides=by_stage["finetune"], dataset=dataset, **how, **shared))
    return Result(encoder_path, features_path, dataset, stage / "segmenter.safetensors")


def describe(result: Result) -> str:
    """What was made, and where it lies."""
    dataset, header = open_dataset(result.dataset), read_header(result.segmenter)
    lists = ", ".join(f"{name} {len(dataset.split(name))}" for name in ("train", "val", "test"))
    mean, std = header["statistics"]["mean_db"][0], header["statistics"]["std_db"][0]
    lines = [
        f"encoder    {result.encoder}",
        f"features   {result.features}  {np.load(result.features, mmap_mode='r').shape}",
        f"dataset    {result.dataset}  (patches: {lists})",
        f"segmenter  {result.segmenter}  (input: mean {mean} dB, spread {std} dB)",
        f"to name    {header['attribution']}",
    ]
    if header["simulated"]:
        lines.append("SIMULATED data. This shows the way, not how well it does.")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """What the script takes."""
    own = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    own.add_argument("product", nargs="?", type=Path, metavar="PRODUCT", help="σ0, HH; left out: a simulated one")
    own.add_argument("--labels", nargs="+", metavar="RASTER", help="label rasters of its ground, or folders of them")
    own.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        required=True,
        help="sar_w_simim_encoder.pth, as 'alos2tut fetch sar_w_simmim_weights' gets it",
    )
    own.add_argument("--work-dir", type=Path, default=Path("work"), help="where everything goes (default work)")
    own.add_argument("--corner", type=int, nargs=2, metavar=("ROW", "COL"), help="of the patch for features")
    own.add_argument("--steps", type=int, default=20, help="optimiser steps of fine-tuning (default 20)")
    own.add_argument("--batch-size", type=int, default=2, help="patches per step (default 2)")
    own.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    own.add_argument("--overrides", default="", help='settings: "dataset.block_m=5000; finetune.mode=frozen"')
    return own


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all; 2: refused, with a line that says why; 75: told to stop, the same call goes on."""
    options = parser().parse_args(arguments)
    if (options.product is None) != (options.labels is None):
        parser().error("PRODUCT and --labels need each other")
    try:
        print(describe(work_through(options)))
    except Alos2TutError as error:
        print(f"published_weights.py: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"published_weights.py: {stopped}", file=sys.stderr)
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main())
