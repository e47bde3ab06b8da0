"""The floor that a network has to beat: a random forest on means and variations of power at several scales.

A few numbers a pixel that anybody can compute, and the classifier that needs no tuning: where a network is no better,
it has learned nothing that was not plain to see. It gets the patches that the network gets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from itertools import product as product_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.artifacts import make_folder, read_json, stage_dir, write_json
from ..core.errors import Alos2TutError
from ..core.parallel import cores, map_in_order
from ..core.progress import progress_bar
from ..core.public import public
from ..core.tables import Interval
from ..core.version import __version__
from ..dataset.legend import IGNORE
from ..dataset.store import PatchDataset, Split, open_dataset
from ..metrics import COVERS, confusion_of_pixels, scores_from_confusion
from ..networks.multiscale import WINDOWS_PX, window_statistics
from ..radiometry import to_power
from .ground import MEANS, block_unit, ground_blocks, interval_notes, named_scores

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

#: of ``floor.json``
FLOOR_SCHEMA = "alos2tut-floor-1"
TREES = 300
#: what is chosen on validation: pixels of a leaf at least, and whether rare classes weigh as much as frequent ones
LEAVES, WEIGHTINGS = (3, 10, 30, 100), (None, "balanced")
#: pixels that the forest grows on, and of those validated on, at most; and those that each tree draws of them with
#: replacement. On the quick profile's scene, seed 0, 300 such trees reached an mIoU of 0.418 on test pixels, and
#: 100 trees that each drew 30,000 one of 0.420, at 2.5 times the time for each tree
PIXELS, PIXELS_OF_A_TREE = 30_000, 10_000
#: pixels that these are drawn from, at most: those of patches that are spread evenly over the list
_DRAWN_FROM = 5 * 10**8
#: trees while settings are chosen
TREES_TO_CHOOSE = 20
#: trees after which it is seen which pixels are decided
_TREES_AT_ONCE = 50

_Power = NDArray[np.float64]


@dataclass(frozen=True)
class Floor:
    """What :func:`baseline` found."""

    #: those that it grew on and that it is scored on, by the names of their folders
    grown_on: str
    dataset: str
    #: some or all pixels of either are simulated
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
        plain = vars(self) | {"patches": list(self.patches), "matrices": self.matrices.tolist()}
        plain |= {"windows_px": list(WINDOWS_PX), "trees": TREES, "schema": FLOOR_SCHEMA, "version": __version__}
        return plain | named_scores(self.matrices, self.classes)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Floor:
        """What :meth:`to_dict` gave."""
        plain = {field.name: content[field.name] for field in fields(cls)}
        matrices = np.array(plain["matrices"], dtype=np.int64)
        return cls(**plain | {"patches": tuple(plain["patches"]), "matrices": matrices})

    def to_text(self) -> str:
        """The means, and what their intervals cover."""
        found = self.to_dict()
        means = zip(("mIoU", "mAcc", "pixel accuracy"), MEANS, strict=True)
        told = [
            f"{word} {Interval.of(found[name], found['intervals'][name], COVERS).to_text()}" for word, name in means
        ]
        reach = "computed on the products" if self.on_products else "cut at the patch"
        made = f"random forest of {TREES} trees on power in windows of {WINDOWS_PX[0]} to {WINDOWS_PX[-1]} px, {reach}"
        whose = "" if self.grown_on == self.dataset else f" of {self.grown_on}"
        grown = f"grown on {self.patches[0]} patches{whose}, scored on {self.patches[1]} of the list '{self.split}'"
        leaf = f"leaves of at least {self.min_leaf} pixels, classes weighted {self.weighting or 'as they are'}"
        return "\n".join(
            [", ".join(told), *interval_notes(found["intervals"], unit=self.unit), f"{made}; {grown}; {leaf}"]
        )


@public
def baseline(
    dataset: PatchDataset | str | Path,
    products: Sequence[Any] = (),
    *,
    on: PatchDataset | str | Path | None = None,
    split: str = "test",
    chosen: Sequence[int] | NDArray[np.int64] | None = None,
    seed: int = 0,
    work_dir: str | Path | None = None,
    progress: bool | None = None,
) -> Floor:
    """Score a random forest on a dataset: the floor for networks that are trained on the same patches.

    A pixel is described by the mean power in dB and the logarithm of the coefficient of variation of power, of each
    channel, in windows of 3, 5, 9, 17 and 33 pixels around it: all that is known of a homogeneous area with texture.
    Pixels without data count in no window. Of the labelled pixels of the list ``train`` at most 30,000 are drawn
    evenly, of which each of 300 trees draws 10,000; the least size of a leaf and the weighting of classes are chosen by
    the mIoU of 20 trees on as many of ``val``.

    Args:
        dataset: an open dataset, or its folder: what the forest grows and is chosen on.
        products: those that the datasets were built of, open (:func:`alos2tut.open_product`). Windows then reach beyond
            the patch, as they would on a map; without them they end at its edge.
        on: another dataset to score on, with the same classes and signal; None: the same one.
        split: the list to score on.
        chosen: positions in the list ``train`` to grow on; None: all.
        seed: of the draws of pixels and of the forest.
        work_dir: holds the results of all stages: the floor is kept there as ``floor-<hash>/floor.json``, and found
            again; None: nothing is written.
        progress: show a bar; None: only where someone watches.

    Returns:
        Confusion matrices by block of ground, and what the forest is.

    Raises:
        Alos2TutError: datasets of other classes or signals; a patch of a product that is not among those given, or of
            another quantity; no labelled pixel.
    """
    dataset = dataset if isinstance(dataset, PatchDataset) else open_dataset(dataset)
    scored_on = dataset if on is None else on if isinstance(on, PatchDataset) else open_dataset(on)
    _check_alike(dataset, scored_on)
    source, its = (_Source(one, _by_image(one, products)) for one in (dataset, scored_on))
    positions = np.arange(len(dataset.split("train"))) if chosen is None else np.asarray(chosen, dtype=np.int64)
    if work_dir is None:
        return _floor(source, its, split, positions, seed, progress)
    settings = {"split": split, "seed": seed, "windows_px": WINDOWS_PX, "trees": TREES}
    settings |= {"positions": hashlib.sha256(positions.tobytes()).hexdigest()}
    made_from = {"dataset": dataset.fingerprint, "on": scored_on.fingerprint}
    read = {product.placed_fingerprint for product in (*source.products.values(), *its.products.values())}
    made_from |= {f"product {number}": product for number, product in enumerate(sorted(read))}
    target = stage_dir(work_dir, "floor", settings, made_from) / "floor.json"
    if (kept := _kept(target)) is None:
        kept = _floor(source, its, split, positions, seed, progress)
        make_folder(target.parent)
        write_json(target, kept.to_dict() | {"made_from": made_from})
    return kept


def _kept(path: Path) -> Floor | None:
    """The floor in a file of this schema; None where there is none, and it is made anew."""
    try:
        content = read_json(path) if path.is_file() else None
        return Floor.from_dict(content) if content and content["schema"] == FLOOR_SCHEMA else None
    except (Alos2TutError, TypeError, LookupError, ValueError):
        return None


def _check_alike(dataset: PatchDataset, scored_on: PatchDataset) -> None:
    """Refuse to score on patches of other classes, or whose power means something else."""
    dataset.legend.check_same(scored_on.legend, dataset.path)
    for name, value in dataset.signal.items():
        if scored_on.signal.get(name) != value:
            problem = f"its {name} is {value}, that of the dataset to score on {scored_on.signal.get(name)}"
            raise Alos2TutError(problem, where=dataset.path, remedy="Build both of the same signal.")


def _floor(
    source: _Source, scored_on: _Source, split: str, positions: NDArray[np.int64], seed: int, progress: bool | None
) -> Floor:
    """Grow a forest on patches of the list ``train`` and count what it says of the list ``split``, maybe elsewhere."""
    dataset = source.dataset
    train, val, scored = dataset.split("train"), dataset.split("val"), scored_on.dataset.split(split)
    rng, size = np.random.default_rng([seed, 31]), len(dataset.legend)
    grown, held_out = source.sample(train, positions, rng), source.sample(val, np.arange(len(val)), rng)
    leaf, weighting = _best(grown, held_out, size, seed)
    forest = _forest(grown, leaf, weighting, TREES, seed)
    blocks = ground_blocks(scored)
    matrices = np.zeros((int(blocks.max(initial=0)) + 1, size, size), dtype=np.int64)

    def labelled() -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
        for position, block in enumerate(blocks.tolist()):
            labels = scored.labels[scored.rows[position]]
            if (counted := labels != IGNORE).any():
                yield block, labels[counted], scored_on.features(scored, position)[counted]

    with ThreadPoolExecutor(cores()) as pool:
        found = map_in_order(pool, partial(_counted, forest, size), labelled(), ahead=2 * cores())
        for block, matrix in progress_bar(found, "scoring", "patch", total=len(scored), show=progress):
            matrices[block] += matrix
    simulated = dataset.simulated or scored_on.dataset.simulated
    facts = dataset.path.name, scored_on.dataset.path.name, simulated, split, list(dataset.legend.names)
    patches, on_products = (len(positions), len(scored)), bool(source.products and scored_on.products)
    return Floor(*facts, patches, on_products, leaf, weighting, seed, matrices, block_unit(scored_on.dataset))


def multiscale_statistics(power: _Power) -> NDArray[np.float32]:
    """Mean power in dB and log coefficient of variation in windows of :data:`.multiscale.WINDOWS_PX` around each pixel.

    Args:
        power: (C, H, W) linear; NaN without data. Nothing lies beyond the image's edge.

    Returns:
        (H, W, C · windows · 2) float32: of each channel, window by window, mean and variation; 0 where a window has no
        data.
    """
    valid = np.isfinite(power)
    mean_db, log_cv, _ = window_statistics(torch.from_numpy(power)[None], torch.from_numpy(valid)[None], WINDOWS_PX)
    columns = torch.stack([mean_db[0], log_cv[0]], dim=-1)
    return columns.movedim((0, 1, 4), (2, 3, 4)).flatten(2).numpy()


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
        take = rng.multivariate_hypergeometric(labelled, min(PIXELS, sum(labelled)), method="marginals")
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
    """Products by the names that lists give their images: those that a dataset was built of, where it says of which."""
    made_from = set(map(str, dataset.content.get("made_from", {}).values()))
    mine = [product for product in products if product.placed_fingerprint in made_from] or products
    found: dict[str, Any] = {}
    for product in mine:
        if product.quantity != dataset.content["quantity"]:
            raise Alos2TutError(f"is {product.quantity}, the dataset {dataset.content['quantity']}", where=product.path)
        found |= {product.image_name(name): product for name in product.polarizations}
    return found


_Sample = tuple[NDArray[np.float32], NDArray[np.uint8]]


def _forest(sample: _Sample, leaf: int, weighting: str | None, trees: int, seed: int) -> RandomForestClassifier:
    # here, since scoring a network without the floor needs none of it
    from sklearn.ensemble import RandomForestClassifier

    of_a_tree = min(PIXELS_OF_A_TREE, len(sample[1]))
    settings = {"min_samples_leaf": leaf, "class_weight": weighting, "max_samples": of_a_tree}
    return RandomForestClassifier(trees, **settings, random_state=seed, n_jobs=cores()).fit(*sample)


def _predicted(forest: RandomForestClassifier, statistics: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The classes (n,) of largest mean probability over the trees.

    A pixel whose first class leads by more than the trees to come could turn is asked of no more of them.
    """
    trees, classes = forest.estimators_, forest.classes_
    votes, undecided = np.zeros((len(statistics), len(classes))), np.arange(len(statistics))
    for start in range(0, len(trees), _TREES_AT_ONCE):
        asked = trees[start : start + _TREES_AT_ONCE]
        votes[undecided] += sum(tree.predict_proba(statistics, check_input=False) for tree in asked)
        ahead = np.sort(votes[undecided], axis=1)[:, -2:]
        left = ahead[:, -1] - ahead[:, 0] <= len(trees) - start - len(asked)
        undecided, statistics = undecided[left], statistics[left]
        if not undecided.size:
            break
    found: NDArray[np.uint8] = classes[votes.argmax(axis=1)]
    return found


def _counted(
    forest: RandomForestClassifier, size: int, patch: tuple[int, NDArray[np.uint8], NDArray[np.float32]]
) -> tuple[int, NDArray[np.int64]]:
    """Of the labelled pixels of a patch its block of ground and their confusion matrix."""
    block, labels, statistics = patch
    return block, confusion_of_pixels(labels, _predicted(forest, statistics), (size, size))


def _best(grown: _Sample, held_out: _Sample, classes: int, seed: int) -> tuple[int, str | None]:
    """The least leaf and the weighting with the highest mIoU on validation, the first of equals."""

    def miou(setting: tuple[int, str | None]) -> float:
        forest = _forest(grown, *setting, TREES_TO_CHOOSE, seed)
        matrix = confusion_of_pixels(held_out[1], _predicted(forest, held_out[0]), (classes, classes))
        return float(scores_from_confusion(matrix)["miou"])

    return max(product_of(LEAVES, WEIGHTINGS), key=miou)
