"""Which patches a label budget pays for, and what of the classes is on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.errors import Alos2TutError
from ..dataset.store import PatchDataset, Split
from ..training.batches import derived_seed
from .config import FinetuneConfig


def budgeted_patches(config: FinetuneConfig, dataset: PatchDataset) -> NDArray[np.int64]:
    """Positions in the ``train`` list that the budget pays for, in rising order; all without a budget.

    The first of one shuffled order are taken, so that with equal seeds a larger budget holds a smaller one. With
    ``budget_draw`` "covering" a patch of every class of the list comes first: :func:`covering_order`.

    Raises:
        Alos2TutError: an empty list, or a budget of more patches than there are.
    """
    split, where = dataset.split("train"), dataset.path / "train.csv"
    n = len(split)
    if n < 1:
        problem = "the list of patches to train on is empty"
        raise Alos2TutError(problem, where=where, remedy="Build the dataset of more ground.")
    if config.budget is None:
        return np.arange(n)
    if config.budget > n:
        raise Alos2TutError(f"a budget of {config.budget} patches, of which there are {n}", where=where)
    order = np.random.default_rng(derived_seed(config.seed, "budget")).permutation(n)
    if config.budget_draw == "covering":
        order = covering_order(order, pixels_by_patch(split, np.arange(n), len(dataset.legend)))
    return np.sort(order[: config.budget])


def covering_order(order: NDArray[np.int64], pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order of patches whose first ones have a pixel of every class that any has; the others follow as they were.

    From the rarest class to the commonest: where no patch so far has it, the first one in the order that does is taken.
    This is an oracle. It has seen the labels of all patches, those too that a budget does not pay for: what it brings
    is what a person may hope for who labels what he lacks, and no score of so many labels.

    Args:
        order: (n,) positions of all patches.
        pixels: (n, classes) of each class, by position.
    """
    first: list[int] = []
    for land_class in np.argsort(pixels.sum(axis=0), kind="stable"):
        having = order[pixels[order, land_class] > 0]
        if len(having) and not pixels[first, land_class].any():
            first.append(int(having[0]))
    return np.concatenate([np.array(first, dtype=np.int64), order[~np.isin(order, first)]])


def pixels_by_patch(split: Split, positions: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Labelled pixels of each class, (patches, classes), of the patches at these positions of a list."""
    counts = [np.bincount(split.labels[row].ravel(), minlength=256)[:classes] for row in split.rows[positions]]
    return np.array(counts, dtype=np.int64).reshape(-1, classes)


def training_pixels(config: FinetuneConfig, dataset: PatchDataset, chosen: NDArray[np.int64]) -> dict[str, int]:
    """Pixels of each class in the patches that training sees."""
    pixels: dict[str, int] = dataset.content["splits"]["train"]["class_pixels"]
    if config.budget is None:
        return pixels
    counted = pixels_by_patch(dataset.split("train"), chosen, len(pixels)).sum(axis=0)
    return dict(zip(pixels, counted.tolist(), strict=True))
