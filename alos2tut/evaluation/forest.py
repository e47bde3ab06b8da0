"""The floor that a network has to beat: a random forest on means and variations of power at several scales.

A few numbers a pixel that anybody can compute, and the classifier that needs no tuning: where a network is no better,
it has learned nothing that was not plain to see. It gets the patches that the network gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product as product_of
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier

from ..core.errors import Alos2TutError
from ..core.parallel import cores
from ..core.progress import progress_bar
from ..core.public import public
from ..core.tables import Interval
from ..dataset.legend import IGNORE
from ..dataset.store import PatchDataset, Split, open_dataset
from ..metrics import COVERS, confusion_of_pixels, scores_from_confusion
from ..radiometry import to_power
from .report import MEANS, block_unit, ground_blocks, interval_notes, named_scores

#: sides of the windows in pixels
WINDOWS_PX = (3, 5, 9, 17, 33)
TREES = 300
#: what is chosen on validation: pixels of a leaf at least, and whether rare classes weigh as much as frequent ones
LEAVES, WEIGHTINGS = (3, 10, 30, 100), (None, "balanced")
#: pixels that the forest grows on, and of those validated on, at most
_PIXELS = 30_000
#: pixels that these are drawn from, at most: those of patches that are spread evenly over the list
_DRAWN_FROM = 5 * 10**8
#: trees while settings are chosen
_TREES_TO_CHOOSE = 100
#: a coefficient of variation below this is that of one pixel, or of rounding
_LEAST_CV = 1e-3

_Power = NDArray[np.float64]


@dataclass(frozen=True)
class Floor:
    """What :func:`baseline` found."""

    dataset: str
    simulated: bool
    split: str
    classes: list[str]
    #: labelled patches it grew on, and those it is scored on
    patches: tuple[int, int]
    #: whether windows reach beyond the patch, into the products; else they end where it does
    on_products: bool
    #: what was chosen on validation
    min_leaf: int
    weighting: str | None
    seed: int
    #: (blocks, classes, classes) pixels: rows are the reference, columns the prediction
    matrices: NDArray[np.int64]
    #: what a block is, in words
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, with scores as a report has them."""
        plain = {key: value for key, value in vars(self).items() if key != "matrices"}
        plain |= {"patches": list(self.patches), "windows_px": list(WINDOWS_PX), "trees": TREES}
        return plain | named_scores(self.matrices, self.classes)

    def to_text(self) -> str:
        """The means, and what their intervals cover."""
        found = self.to_dict()
        means = zip(("mIoU", "mAcc", "pixel accuracy"), MEANS, strict=True)
        told = [
            f"{word} {Interval.of(found[name], found['intervals'][name], COVERS).to_text()}" for word, name in means
        ]
        reach = "computed on the products" if self.on_products else "cut at the patch"
        made = f"random forest of {TREES} trees on power in windows of {WINDOWS_PX[0]} to {WINDOWS_PX[-1]} px, {reach}"
        grown = f"grown on {self.patches[0]} patches, scored on {self.patches[1]} of the list '{self.split}'"
        leaf = f"leaves of at least {self.min_leaf} pixels, classes weighted {self.weighting or 'as they are'}"
        return "\n".join(
            [", ".join(told), *interval_notes(found["intervals"], unit=self.unit), f"{made}; {grown}; {leaf}"]
        )


@public
def baseline(
    dataset: PatchDataset | str | Path,
    products: Sequence[Any] = (),
    *,
    split: str = "test",
    chosen: Sequence[int] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Floor:
    """Score a random forest on a dataset: the floor for networks that are trained on the same patches.

    A pixel is described by the mean power in dB and the logarithm of the coefficient of variation of power, of each
    channel, in windows of 3, 5, 9, 17 and 33 pixels around it: all that is known of a homogeneous area with texture.
    Pixels without data count in no window. Of the labelled pixels of the list ``train`` at most 30,000 are drawn
    evenly; the least size of a leaf and the weighting of classes are chosen by mIoU on as many of ``val``.

    Args:
        dataset: an open dataset, or its folder.
        products: those it was built of, open (:func:`alos2tut.open_product`). Windows then reach beyond the patch, as
            they would on a map; without them they end at its edge.
        split: the list to score on.
        chosen: positions in the list ``train`` to grow on; None: all.
        seed: of the draws of pixels and of the forest.
        progress: show a bar; None: only where someone watches.

    Returns:
        Confusion matrices by block of ground, and what the forest is; nothing is written.

    Raises:
        Alos2TutError: a patch of a product that is not among those given, or of another quantity; no labelled pixel.
    """
    dataset = dataset if isinstance(dataset, PatchDataset) else open_dataset(dataset)
    source = _Source(dataset, _by_image(dataset, products))
    train, scored = dataset.split("train"), dataset.split(split)
    positions = np.arange(len(train)) if chosen is None else np.asarray(chosen, dtype=np.int64)
    rng, val = np.random.default_rng([seed, 31]), dataset.split("val")
    grown, held_out = source.sample(train, positions, rng), source.sample(val, np.arange(len(val)), rng)
    leaf, weighting = _best(grown, held_out, len(dataset.legend), seed)
    forest = _forest(grown, leaf, weighting, TREES, seed)
    blocks, size = ground_blocks(scored), len(dataset.legend)
    matrices = np.zeros((int(blocks.max(initial=0)) + 1, size, size), dtype=np.int64)
    bar = progress_bar(
        zip(range(len(scored)), blocks, strict=True), "scoring", "patch", total=len(scored), show=progress
    )
    for position, block in bar:
        labels = scored.labels[scored.rows[position]]
        counted = labels != IGNORE
        if counted.any():
            guess = forest.predict(source.features(scored, position)[counted])
            matrices[block] += confusion_of_pixels(labels[counted], guess, (size, size))
    facts = dataset.path.name, dataset.simulated, split, list(dataset.legend.names), (len(positions), len(scored))
    return Floor(*facts, bool(products), leaf, weighting, seed, matrices, block_unit(dataset))


def multiscale_statistics(power: _Power) -> NDArray[np.float32]:
    """Mean power in dB and log coefficient of variation in windows of :data:`WINDOWS_PX` around each pixel.

    Args:
        power: (C, H, W) linear; NaN without data. Nothing lies beyond the image's edge.

    Returns:
        (H, W, C · windows · 2) float32: of each channel, window by window, mean and variation; 0 where a window has no
        data.
    """
    known = np.isfinite(power)
    filled = np.where(known, power, 0.0)
    columns = []
    for channel, valid in zip(filled, known.astype(np.float64), strict=True):
        for side in WINDOWS_PX:
            share, mean, square = (
                uniform_filter(of, side, mode="constant") for of in (valid, channel, channel * channel)
            )
            # a share below that of half a pixel is rounding
            has_any = share > 0.5 / side**2
            mean, square = (np.divide(of, share, out=np.zeros_like(of), where=has_any) for of in (mean, square))
            cv = np.sqrt(np.maximum(square - mean**2, 0)) / np.maximum(mean, np.finfo(np.float32).tiny)
            mean_db = 10 * np.log10(np.maximum(mean, np.finfo(np.float32).tiny))
            columns += [np.where(has_any, of, 0) for of in (mean_db, np.log(np.maximum(cv, _LEAST_CV)))]
    return np.stack(columns, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class _Source:
    """Where the power of patches and of what surrounds them comes from."""

    dataset: PatchDataset
    #: by the name of the image that lists know; empty: the patches themselves
    products: Mapping[str, Any]

    def features(self, split: Split, position: int) -> NDArray[np.float32]:
        """Statistics (H, W, n) of a patch."""
        if not self.products:
            return multiscale_statistics(np.asarray(to_power(split.db(position)), dtype=np.float64))
        record, side = split.table[position], self.dataset.patch_px
        image = record.get("Product") or "an image without a name"
        product = self.products.get(image)
        if product is None:
            held = ", ".join(self.products)
            problem = f"holds patches of {image}, which is not among the products given: {held}"
            raise Alos2TutError(problem, where=self.dataset.path, remedy="Give all products that it was built of.")
        looks, reach = self.dataset.content["settings"].get("looks", 1), WINDOWS_PX[-1] // 2
        size = [pixels // looks for pixels in product.shape]
        first = [int(record["PatchRow"]), int(record["PatchCol"])]
        low = [max(start - reach, 0) for start in first]
        high = [min(start + side + reach, end) for start, end in zip(first, size, strict=True)]
        window = (low[0] * looks, low[1] * looks, (high[0] - low[0]) * looks, (high[1] - low[1]) * looks)
        channels = self.dataset.content["polarizations"]
        power = np.stack([product.read_power(window, polarization=name, looks=looks) for name in channels])
        top, left = (start - begin for start, begin in zip(first, low, strict=True))
        return multiscale_statistics(power.astype(np.float64))[top : top + side, left : left + side]

    def sample(
        self, split: Split, positions: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Statistics (n, features) and classes (n,) of labelled pixels, drawn evenly from all of some patches."""
        # NumPy draws from less than 10⁹; nor need labels of more than that be read for a few thousand pixels
        most = max(_DRAWN_FROM // self.dataset.patch_px**2, 1)
        positions = positions[
            np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
        ]
        labelled = [int(np.count_nonzero(split.labels[split.rows[position]] != IGNORE)) for position in positions]
        if not sum(labelled):
            raise Alos2TutError("no pixel has a label", where=self.dataset.path / f"{split.name}.csv")
        take = rng.multivariate_hypergeometric(labelled, min(_PIXELS, sum(labelled)), method="marginals")
        found, classes = [], []
        for position, count in zip(positions.tolist(), take.tolist(), strict=True):
            if count:
                labels = split.labels[split.rows[position]].ravel()
                pixels = rng.choice(np.flatnonzero(labels != IGNORE), count, replace=False)
                statistics = self.features(split, position)
                found.append(statistics.reshape(-1, statistics.shape[-1])[pixels])
                classes.append(labels[pixels])
        return np.concatenate(found), np.concatenate(classes)


def _by_image(dataset: PatchDataset, products: Sequence[Any]) -> dict[str, Any]:
    """Products by the names that lists give their images."""
    found: dict[str, Any] = {}
    for product in products:
        if product.quantity != dataset.content["quantity"]:
            raise Alos2TutError(f"is {product.quantity}, the dataset {dataset.content['quantity']}", where=product.path)
        found |= {product.image_name(name): product for name in product.polarizations}
    return found


_Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]


def _forest(sample: _Sample, leaf: int, weighting: str | None, trees: int, seed: int) -> Any:
    forest = RandomForestClassifier(
        trees, min_samples_leaf=leaf, class_weight=weighting, random_state=seed, n_jobs=cores()
    ).fit(*sample)
    # several threads would add up votes in an order of their own, which may turn a tie
    return forest.set_params(n_jobs=1)


def _best(grown: _Sample, held_out: _Sample, classes: int, seed: int) -> tuple[int, str | None]:
    """The least leaf and the weighting with the highest mIoU on validation, the first of equals."""

    def miou(setting: tuple[int, str | None]) -> float:
        guess = _forest(grown, *setting, _TREES_TO_CHOOSE, seed).predict(held_out[0])
        matrix = confusion_of_pixels(held_out[1], guess, (classes, classes))
        return float(scores_from_confusion(matrix)["miou"])

    return max(product_of(LEAVES, WEIGHTINGS), key=miou)
