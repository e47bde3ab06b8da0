"""How much of the simulated scene can be read from pixels, from local statistics, and from context.

Three classifiers are trained on the same ground and scored once on other ground, by mIoU:

(a) per pixel: Bayes' rule on the histogram of dB;
(b) local mean and local coefficient of variation: Bayes' rule on their joint histogram, the window chosen on
    validation ground;
(c) a small U-Net with all labels of the training ground.

Each classifier's weight of the class priors is chosen on validation ground, too. Ground is dealt in square blocks; the
pixels near a block's border lend context and count for nobody. ``python benchmarks/difficulty.py`` takes about seven
minutes on one core.

mIoU on the test ground of ``japansim-v1``, 8192 × 8192 pixels of 2.5 m, nine classes:

====  =====  =====  =====  ==========
seed    (a)    (b)    (c)  (c) − (b)
====  =====  =====  =====  ==========
   0  0.127  0.389  0.593       0.203
   1  0.106  0.412  0.542       0.131
====  =====  =====  =====  ==========

IoU by class:

====  ===  =====  =====  =====  =====  =====  =====  =====  =====  =====
seed       water  built  crop   grass  for.   bare   solar  wet    green
====  ===  =====  =====  =====  =====  =====  =====  =====  =====  =====
   0  (a)  0.241  0.029  0.192  0.102  0.580  0.000  0.000  0.000  0.000
   0  (b)  0.837  0.725  0.500  0.222  0.861  0.110  0.067  0.135  0.046
   0  (c)  0.902  0.869  0.735  0.354  0.934  0.268  0.889  0.030  0.353
   1  (a)  0.202  0.016  0.100  0.089  0.548  0.000  0.000  0.000  0.000
   1  (b)  0.915  0.702  0.525  0.232  0.856  0.087  0.046  0.270  0.070
   1  (c)  0.725  0.846  0.568  0.236  0.924  0.223  0.741  0.286  0.331
====  ===  =====  =====  =====  =====  =====  =====  =====  =====  =====

Each (c) was trained once, so differences of a few points between its classes say little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from alos2tut import load_legend, open_product, radiometry, simulate_product
from alos2tut.dataset.labels import label_classes
from alos2tut.metrics import confusion_of_pixels, scores_from_confusion

LOOKS, BLOCK_PX, BORDER_PX, IGNORE = 2, 384, 16, 255
#: none reaches beyond a block's border
WINDOWS_PX = (3, 5, 7, 9, 13, 17, 25, 33)
PRIOR_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
BINS, SMOOTHING = (256, 64), 1.5
CROP_PX, BATCH, WIDTH = 128, 8, 32

Scores = Callable[[tuple[slice, slice]], NDArray[Any]]


@dataclass(frozen=True)
class Scene:
    """A scene on the 5 m grid, and whose ground is whose.

    Attributes:
        power: (H, W) linear, NaN without data.
        classes: (H, W) class indices, 255 without label.
        names: of the classes.
        blocks: by split, the windows of its blocks.
    """

    power: NDArray[np.float32]
    classes: NDArray[np.uint8]
    names: list[str]
    blocks: dict[str, list[tuple[slice, slice]]]

    def inner(self, block: tuple[slice, slice]) -> tuple[slice, slice]:
        """A block without its border."""
        rows, cols = (slice(side.start + BORDER_PX, side.stop - BORDER_PX) for side in block)
        return rows, cols


def load_scene(folder: Path, legend_name: str) -> Scene:
    """Power and classes of a simulated product, its ground dealt 60 : 15 : 25 to train, val and test."""
    product, legend = open_product(folder), load_legend(legend_name)
    classes = label_classes(product, sorted((folder / "labels").glob("*.tif")), legend, LOOKS)
    power = product.read_power(looks=LOOKS)
    classes = np.where(np.isfinite(power), classes, IGNORE).astype(np.uint8)
    starts = [(r, c) for r in range(0, power.shape[0] - BLOCK_PX + 1, BLOCK_PX)
              for c in range(0, power.shape[1] - BLOCK_PX + 1, BLOCK_PX)]  # fmt: skip
    np.random.default_rng(0).shuffle(starts)
    first, second = round(0.6 * len(starts)), round(0.75 * len(starts))
    dealt = {"train": starts[:first], "val": starts[first:second], "test": starts[second:]}
    windows = {
        name: [(slice(r, r + BLOCK_PX), slice(c, c + BLOCK_PX)) for r, c in part] for name, part in dealt.items()
    }
    return Scene(power, classes, legend.names, windows)


def evaluate(scene: Scene, split: str, scores: Scores, prior_weight: float) -> dict[str, Any]:
    """Scores of a classifier on a split; ``scores`` gives (classes, h, w) log-likelihoods of a block."""
    count = len(scene.names)
    log_prior = prior_weight * np.log(class_shares(scene))[:, None, None]
    matrix = np.zeros((count, count), dtype=np.int64)
    for block in scene.blocks[split]:
        inner = scene.inner(block)
        truth = scene.classes[inner]
        guess = np.argmax(scores(inner) + log_prior, axis=0)
        known = truth != IGNORE
        matrix += confusion_of_pixels(truth[known], guess[known], (count, count))
    return scores_from_confusion(matrix)


def class_shares(scene: Scene) -> NDArray[np.float64]:
    """Shares of the classes on training ground."""
    labels = np.concatenate([scene.classes[scene.inner(block)].ravel() for block in scene.blocks["train"]])
    counts = np.bincount(labels[labels != IGNORE], minlength=len(scene.names)) + 1.0
    return np.asarray(counts / counts.sum())


def choose(scene: Scene, candidates: Iterable[tuple[str, Scores]]) -> tuple[str, Scores, float, float]:
    """The candidate and the weight of the priors with the best mIoU on validation ground."""
    tried = [
        (float(evaluate(scene, "val", scores, weight)["miou"]), name, scores, weight)
        for name, scores in candidates
        for weight in PRIOR_WEIGHTS
    ]
    best, name, scores, weight = max(tried, key=lambda entry: entry[0])
    return name, scores, weight, best


# --- (a) and (b)


def features(scene: Scene, window: int) -> list[NDArray[np.float32]]:
    """dB of the local mean and, for windows larger than a pixel, the local coefficient of variation."""
    power = np.where(np.isfinite(scene.power), scene.power, np.nanmean(scene.power)).astype(np.float64)
    if window == 1:
        return [radiometry.to_db(power).astype(np.float32)]
    mean, square = (ndimage.uniform_filter(values, window) for values in (power, power**2))
    spread = np.sqrt(np.maximum(square - mean**2, 0)) / mean
    return [radiometry.to_db(mean).astype(np.float32), spread.astype(np.float32)]


def histogram_scores(scene: Scene, window: int) -> Scores:
    """Log-likelihoods by the smoothed joint histogram of the features, in bins of equal counts."""
    images = features(scene, window)
    bins = BINS[len(images) - 1]
    where = np.zeros(scene.classes.shape, dtype=bool)
    for block in scene.blocks["train"]:
        where[scene.inner(block)] = True
    where &= scene.classes != IGNORE
    edges = [np.quantile(image[where], np.linspace(0, 1, bins + 1)[1:-1]) for image in images]
    cells = [np.searchsorted(edge, image).astype(np.int64) for edge, image in zip(edges, images, strict=True)]
    cell = np.ravel_multi_index(tuple(cells), (bins,) * len(cells))
    likelihood = []
    for index in range(len(scene.names)):
        counts = np.bincount(cell[where & (scene.classes == index)], minlength=bins ** len(cells)).astype(float)
        smooth = ndimage.gaussian_filter(counts.reshape((bins,) * len(cells)), SMOOTHING, mode="nearest") + 1e-3
        likelihood.append(np.log(smooth / smooth.sum()).ravel())
    table = np.stack(likelihood)
    return lambda block: table[:, cell[block]]


# --- (c)


def unit(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with normalisation."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.GELU()]
    return nn.Sequential(*layers)


class SmallUNet(nn.Module):
    """A U-Net that works at half resolution and sees some 600 m around each pixel."""

    def __init__(self, classes: int):
        super().__init__()
        widths = (WIDTH, WIDTH * 3 // 2, WIDTH * 2, WIDTH * 2)
        self.stem = nn.Conv2d(1, WIDTH, 4, stride=2, padding=1)
        self.down = nn.ModuleList(unit(a, b) for a, b in zip((WIDTH, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(unit(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) standardised dB → (B, classes, H, W) scores; sides are multiples of 16."""
        x, kept = self.stem(x), []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2.0), skip], dim=1))
        return nn.functional.interpolate(self.head(x), scale_factor=2.0, mode="bilinear")


def network_scores(scene: Scene, steps: int) -> Scores:
    """Log-likelihoods of a network trained on every label of the training ground."""
    torch.manual_seed(0)
    db = radiometry.to_db(np.where(np.isfinite(scene.power), scene.power, np.nanmean(scene.power)))
    db = ((db - db.mean()) / db.std()).astype(np.float32)
    log_prior = np.log(class_shares(scene))
    network = SmallUNet(len(scene.names))
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        images, labels = draw_batch(scene, db, rng)
        # the priors are added to the scores while training, so that without them they are likelihoods
        logits = network(images) + torch.from_numpy(log_prior).float()[:, None, None]
        loss = nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()
    whole = np.zeros((len(scene.names), *db.shape), dtype=np.float32)
    with torch.inference_mode():
        for block in (*scene.blocks["val"], *scene.blocks["test"]):
            whole[(slice(None), *block)] = network(torch.from_numpy(db[block])[None, None])[0].numpy()
    return lambda block: whole[(slice(None), *block)]


def draw_batch(scene: Scene, db: NDArray[np.float32], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Crops of the training blocks without their borders, flipped at random."""
    blocks = [scene.inner(block) for block in scene.blocks["train"]]
    images, labels = [], []
    for _ in range(BATCH):
        rows, cols = blocks[rng.integers(len(blocks))]
        row, col = (rng.integers(side.start, side.stop - CROP_PX + 1) for side in (rows, cols))
        steps = [int(step) for step in rng.choice([-1, 1], 2)]
        part = np.s_[row : row + CROP_PX, col : col + CROP_PX]
        images.append(db[part][:: steps[0], :: steps[1]])
        labels.append(scene.classes[part][:: steps[0], :: steps[1]])
    return torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(np.stack(labels)).long()


def main() -> None:
    """Simulate, train, and print the three mIoU."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scene", type=Path, help="a simulated product; left out: a new one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size-px", type=int, default=8192)
    parser.add_argument("--legend", default="japan_9")
    parser.add_argument("--steps", type=int, default=1200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = options.scene or simulate_product(Path(folder) / "scene", options.seed, options.size_px)
        scene = load_scene(path, options.legend)
    begun = time.perf_counter()
    print(f"{scene.power.shape[0]} × {scene.power.shape[1]} pixels of 5 m, {options.legend}; blocks:",
          {name: len(blocks) for name, blocks in scene.blocks.items()})  # fmt: skip
    rows = {
        "(a) pixel": choose(scene, [("1 px", histogram_scores(scene, 1))]),
        "(b) local mean, CV": choose(scene, ((f"{w} px", histogram_scores(scene, w)) for w in WINDOWS_PX)),
        "(c) U-Net": choose(scene, [(f"{options.steps} steps", network_scores(scene, options.steps))]),
    }
    print(f"{'':20}{'chosen':>12}{'prior':>7}{'val':>8}{'test':>8}  " + " ".join(f"{n[:8]:>8}" for n in scene.names))
    for label, (name, scores, weight, on_val) in rows.items():
        found = evaluate(scene, "test", scores, weight)
        ious = " ".join("       –" if c["iou"] is None else f"{c['iou']:8.3f}" for c in found["per_class"])
        print(f"{label:20}{name:>12}{weight:7.2f}{on_val:8.4f}{found['miou']:8.4f}  {ious}")
    print(f"{(time.perf_counter() - begun) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
