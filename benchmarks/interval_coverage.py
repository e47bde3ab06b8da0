"""How often 95 % intervals from few blocks of ground hold the score of all ground.

Simulated confusion matrices of two models on the same blocks, which differ in size, in their classes and in how hard
they are, in four kinds of world:

- *balanced*: five classes of equal shares;
- *rare*: the last lies in three of ten blocks, and takes 2 % of the ground;
- *uneven*: blocks differ in size by powers of ten;
- *clumped*: one class covers most of a block, and a block is nearly all right or nearly all wrong.

The truth is that of 40,000 other blocks, means over the classes that a list has. *(old)* is what our intervals
(:func:`alos2tut.metrics.block_scores`) took the place of: percentiles of the mIoU of resampled blocks, where a class
leaves the mean of a resample that lacks it. *(plain)* is the linearised ratio alone, with Student's t of blocks − 1.
``python benchmarks/interval_coverage.py`` takes some seconds; of 1000 lists each, without those that
have no interval::

    world     blocks   mIoU  accuracy    IoU  last IoU  mIoU diff.  last diff.  (old)  (plain)
    balanced       3  0.963     0.958  0.976     0.970       0.966       0.973  0.747    0.937
    balanced       6  0.944     0.947  0.962     0.962       0.952       0.964  0.850    0.923
    balanced      10  0.953     0.955  0.956     0.959       0.956       0.947  0.892    0.943
    balanced      20  0.945     0.944  0.949     0.951       0.946       0.948  0.907    0.934
    rare           3  0.959     0.964  0.970     0.993       0.956       0.973  0.745    0.932
    rare           6  0.949     0.947  0.962     0.996       0.951       0.987  0.864    0.921
    rare          10  0.955     0.957  0.961     0.997       0.944       0.988  0.915    0.930
    rare          20  0.950     0.947  0.954     0.989       0.937       0.958  0.922    0.939
    uneven         3  0.975     0.972  0.968     0.975       0.973       0.966  0.753    0.821
    uneven         6  0.976     0.967  0.970     0.972       0.968       0.977  0.831    0.761
    uneven        10  0.963     0.955  0.963     0.971       0.961       0.948  0.869    0.806
    uneven        20  0.939     0.936  0.953     0.958       0.940       0.947  0.889    0.829
    clumped        3  0.961     0.958  0.976     0.974       0.948       0.979  0.718    0.896
    clumped        6  0.941     0.945  0.982     0.987       0.933       0.981  0.843    0.913
    clumped       10  0.940     0.947  0.976     0.973       0.938       0.962  0.869    0.915
    clumped       20  0.944     0.950  0.963     0.961       0.936       0.969  0.913    0.934
"""

from __future__ import annotations

import argparse
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from alos2tut.core.tables import table
from alos2tut.metrics import block_counts, block_scores

CLASSES = 5
BLOCKS = (3, 6, 10, 20)
#: shares of classes (Dirichlet's parameters), spread of ln size, and Beta's parameters of the share that is right
WORLDS: dict[str, tuple[list[float], float, tuple[float, float]]] = {
    "balanced": ([2.0] * 5, 0.5, (6.0, 3.0)),
    "rare": ([2.0] * 4 + [0.53], 0.5, (6.0, 3.0)),
    "uneven": ([2.0] * 5, 1.5, (6.0, 3.0)),
    "clumped": ([0.3] * 5, 0.5, (1.0, 0.5)),
}


def draw_blocks(world: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.int64]:
    """Confusion matrices (2 models, *shape, classes, classes) of blocks of a world."""
    concentration, spread, (alpha, beta) = WORLDS[world]
    shares = random.dirichlet(concentration, shape)
    if world == "rare":
        shares[..., -1] *= random.random(shape) < 0.3
    pixels = (shares * 2000 * np.exp(spread * random.normal(size=shape))[..., None]).astype(np.int64)
    hard = random.beta(alpha, beta, shape)[..., None]
    return np.stack([_confused(pixels, np.clip(hard * skill, 0.01, 0.99), random) for skill in (1.0, 0.9)])


def _confused(pixels: NDArray[np.int64], right: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """Matrices of so many pixels (…, classes), about a share (…, 1) of them right, more of one class than another."""
    right = np.clip(right + random.normal(0, 0.08, pixels.shape), 0.01, 0.99)[..., None]
    wrong = random.dirichlet([1.0] * CLASSES, pixels.shape) * (1 - np.eye(CLASSES))
    chances = wrong / wrong.sum(axis=-1, keepdims=True) * (1 - right) + np.eye(CLASSES) * right
    return random.multinomial(pixels, chances)


@functools.cache
def true_scores(world: str, blocks: int = 40_000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU (2 models, classes) and accuracy (2 models,) on many blocks."""
    random, total = np.random.default_rng(99), np.zeros((2, CLASSES, CLASSES))
    for _ in range(blocks // 10_000):
        total += draw_blocks(world, (10_000,), random).sum(axis=1)
    right = np.diagonal(total, axis1=1, axis2=2)
    return right / (total.sum(axis=1) + total.sum(axis=2) - right), right.sum(axis=1) / total.sum(axis=(1, 2))


def percentiles(counts: NDArray[np.int64], random: np.random.Generator) -> list[float]:
    """The old way: 95 % of the mIoU of 300 resamples."""
    times = random.multinomial(len(counts), [1 / len(counts)] * len(counts), size=300)
    right, reference, predicted = np.moveaxis(np.tensordot(times, counts, axes=1), 1, 0)
    with np.errstate(invalid="ignore"):
        iou = np.where(reference > 0, right / (reference + predicted - right), np.nan)
    return [float(end) for end in np.nanquantile(np.nanmean(iou, axis=1), [0.025, 0.975])]


def plain(counts: NDArray[np.int64]) -> list[float]:
    """The linearised ratio of mIoU, all blocks alike."""
    right, reference, predicted = np.moveaxis(counts[..., counts[:, 1].any(axis=0)].astype(float), 1, 0)
    union, blocks = reference + predicted - right, len(counts)
    iou = right.sum(axis=0) / union.sum(axis=0)
    pulls = ((right - iou * union) / union.sum(axis=0)).mean(axis=1)
    half, mean = stdtrit(blocks - 1, 0.975) * math.sqrt(blocks / (blocks - 1) * (pulls**2).sum()), iou.mean()
    return [float(expit(logit(mean) + side * half / (mean * (1 - mean)))) for side in (-1, 1)]


def coverage(world: str, blocks: int, lists: int, *, seed: int = 0, others: bool = False) -> dict[str, float]:
    """How often intervals hold the truth, by what they are of; with ``others`` also those of the other ways."""
    random, (iou, accuracy) = np.random.default_rng([seed, blocks]), true_scores(world)
    held: dict[str, list[bool]] = {}
    for pair in np.moveaxis(draw_blocks(world, (lists, blocks), random), 0, 1):
        counts = [block_counts(matrices) for matrices in pair]
        (one, other), there = [block_scores(each) for each in counts], counts[0][:, 1].any(axis=0)
        miou = iou[:, there].mean(axis=1)
        found: list[tuple[str, Any, float]] = [
            ("mIoU", one["miou"].interval, miou[0]),
            ("accuracy", one["pixel_accuracy"].interval, accuracy[0]),
            *(("IoU", score.interval, value) for score, value in zip(one["per_class"], iou[0], strict=True)),
            ("last IoU", one["per_class"][-1].interval, iou[0, -1]),
            ("mIoU diff.", one["miou"].minus(other["miou"])["interval"], miou[0] - miou[1]),
            ("last diff.", one["per_class"][-1].minus(other["per_class"][-1])["interval"], iou[0, -1] - iou[1, -1]),
        ]
        if others:
            found += [("(old)", percentiles(counts[0], random), miou[0]), ("(plain)", plain(counts[0]), miou[0])]
        for name, ends, value in found:
            if ends is not None:
                held.setdefault(name, []).append(bool(ends[0] <= value <= ends[1]))
    return {name: float(np.mean(each)) for name, each in held.items()}


def main() -> None:
    """Print the coverage in each kind of world from each number of blocks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=1000, help="simulated lists of each kind (default 1000)")
    options = parser.parse_args()
    found = [(world, n, coverage(world, n, options.lists, others=True)) for world in WORLDS for n in BLOCKS]
    names = list(found[0][2])
    rows = [[world, n, *(f"{held[name]:.3f}" for name in names)] for world, n, held in found]
    print(table(rows, ["world", "blocks", *names], "<>"))


if __name__ == "__main__":
    main()
