"""What is to be said first of lists of patches, scores and maps that can mislead. Neither torch nor rasterio.

A headline is a dict, ready for JSON: ``code``, for programs, which stays; ``classes``, the names that it is about; and
``text``. The codes:

- ``absent``, ``few-patches``: classes that a list of patches lacks, or has in fewer than :data:`.FEW_PATCHES` of them;
- ``rare``, ``uncommon``: classes with less than ``RARE``, or ``UNCOMMON``, of the training pixels;
- ``never-predicted``: classes with reference pixels that no pixel was given;
- ``constant``: one class has :data:`CONSTANT` or more of a prediction, and not of its reference, if it has one;
- ``not-above-most-frequent``: scores are not above those of naming the most frequent class everywhere;
- ``not-above-floor``: mIoU is not above that of the random forest (:func:`alos2tut.evaluation.baseline`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .core.errors import warn
from .core.tables import Interval
from .dataset.balance import FEW_PATCHES
from .dataset.store import Split
from .metrics import COVERS, block_counts, block_scores

Headline = dict[str, Any]

#: shares of the training pixels
RARE, UNCOMMON = 0.001, 0.01
#: share of a map that makes it nearly constant
CONSTANT = 0.99
#: scores by which it is judged whether a prediction is better than another
_COMPARED = ("pixel_accuracy", "miou")
#: the codes in words
_WORDS = {
    "absent": "without a pixel",
    "few-patches": f"in fewer than {FEW_PATCHES} patches",
    "rare": f"below {100 * RARE:g} % of the training pixels",
    "uncommon": f"below {100 * UNCOMMON:g} % of the training pixels",
    "never-predicted": "never predicted",
    "constant": "nearly all of one class",
    "not-above-most-frequent": "not better than the most frequent class everywhere",
    "not-above-floor": "not better than the floor, a random forest",
}
#: codes of what is warned of before training, and what helps
_HARDLY = ("absent", "few-patches", "rare")
_REMEDY = (
    "Merge them with others in the legend (merges), or give more ground: a larger scene, more products, smaller blocks "
    "(block_m, block_px), which deal it more evenly, or a larger budget."
)


def warn_of_lists(headlines: Sequence[Headline], where: str = "") -> list[Headline]:
    """Warn of classes that lists hardly have, ``where`` it is; the other headlines are returned."""
    if hardly := [headline for headline in headlines if headline["code"] in _HARDLY]:
        warn(f"{where}classes that can hardly be learned or scored: {in_words(hardly)}. {_REMEDY}")
    return [headline for headline in headlines if headline not in hardly]


def in_words(headlines: Sequence[Headline]) -> str:
    """Headlines one after the other; empty where there are none."""
    return "; ".join(headline["text"] for headline in headlines)


def of_runs(runs: Sequence[Sequence[Headline]]) -> list[Headline]:
    """Headlines of several runs as one for each code, with all the classes and ``runs``, in how many it stands.

    A class that is in fewer of them than the headline stands with the number of its own.
    """
    found = dict[str, tuple[set[int], dict[str, set[int]]]]()
    for number, headlines in enumerate(runs):
        for headline in headlines:
            numbers, classes = found.setdefault(headline["code"], (set(), {}))
            numbers.add(number)
            for name in headline["classes"]:
                classes.setdefault(name, set()).add(number)
    merged = []
    for code, (numbers, classes) in found.items():
        counted = [name if own == numbers else f"{name} (in {len(own)})" for name, own in classes.items()]
        what = f"{_WORDS.get(code, code)}, in {len(numbers)} of {len(runs)} runs"
        text = ": ".join(filter(None, [what, ", ".join(counted)]))
        merged.append({"code": code, "classes": list(classes), "runs": len(numbers), "text": text})
    return merged


def of_lists(pixels: Mapping[str, Mapping[str, int]], patches: Mapping[str, Mapping[str, int]]) -> list[Headline]:
    """Headlines of classes that lists of patches hardly have.

    Args:
        pixels: by list and class, of the labels; those of the list ``train`` count by their shares, too.
        patches: by list and class, of those in fewer than :data:`.FEW_PATCHES` patches how many: :func:`few_patches`.
    """
    lacking, few = dict[str, list[str]](), dict[str, list[str]]()
    for split, of_class in pixels.items():
        for name in (name for name, n in of_class.items() if not n):
            lacking.setdefault(name, []).append(split)
    for split, of_class in patches.items():
        for name, n in of_class.items():
            few.setdefault(name, []).append(f"{n} of {split}")
    train = pixels.get("train", {})
    shares = {name: n / sum(train.values()) for name, n in train.items() if n}
    rare = {name: f"{100 * share:.2g} %" for name, share in shares.items() if share < RARE}
    uncommon = {name: f"{100 * share:.2g} %" for name, share in shares.items() if RARE <= share < UNCOMMON}
    return [
        *_listed("absent", {name: ", ".join(lists) for name, lists in lacking.items()}),
        *_listed("few-patches", {n: ", ".join(of) for n, of in few.items()}),
        *_listed("rare", rare),
        *_listed("uncommon", uncommon),
    ]


def few_patches(
    split: Split, names: Sequence[str], pixels: Mapping[str, int], positions: NDArray[np.int64]
) -> dict[str, int]:
    """Classes in fewer than :data:`.FEW_PATCHES` patches of a list, and in how many, leaving out those in none.

    Patches are looked at only if a class has too few pixels to be in enough of them, and only until it was found.

    Args:
        split: the list.
        names: of the classes.
        pixels: by class, in these patches.
        positions: in the list, of the patches that count.
    """
    most = (FEW_PATCHES - 1) * int(np.prod(split.labels.shape[1:]))
    doubtful = [index for index, name in enumerate(names) if 0 < pixels[name] <= most]
    found = np.zeros(256, dtype=np.int64)
    for row in split.rows[positions] if doubtful else ():
        found += np.bincount(split.labels[row].ravel(), minlength=256) > 0
        if (found[doubtful] >= FEW_PATCHES).all():
            break
    return {names[index]: int(found[index]) for index in doubtful if 0 < found[index] < FEW_PATCHES}


def of_scores(
    matrix: NDArray[np.int64],
    names: Sequence[str],
    counts: NDArray[np.int64] | None = None,
    floor: NDArray[np.int64] | None = None,
) -> list[Headline]:
    """Headlines of a prediction against a reference.

    Args:
        matrix: (classes, classes) counts of pixels; rows are the reference, columns the prediction.
        names: of the classes.
        counts: the same by block of ground, as :func:`alos2tut.metrics.block_counts` gives them; what is above another
            by less than the interval of that difference reaches down is not above it.
        floor: what the floor has on the same blocks, alike.
    """
    reference, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    never = {
        names[i]: f"{reference[i]:,} reference pixels"
        for i in np.flatnonzero((reference > 0) & (predicted == 0)).tolist()
    }
    found = _listed("never-predicted", never)
    if not reference.any():
        return found
    most, commonest, total = int(predicted.argmax()), int(reference.argmax()), int(matrix.sum())
    said, share = float(predicted[most] / total), float(reference[most] / total)
    if said >= CONSTANT > share:
        text = f"{_percent(said)} of the prediction is {names[most]}, which is {_percent(share)} of the reference"
        found.append({"code": "constant", "classes": [names[most]], "text": text})
    # of one class alone, naming it cannot be beaten
    if np.count_nonzero(reference) < 2:
        return found
    counts = block_counts(matrix[None]) if counts is None else counts
    scores = block_scores(counts)
    # of the same blocks: where one class is everywhere, it is right on all of its reference, and predicted on all
    one = np.arange(len(matrix)) == commonest
    everywhere = block_scores(np.stack([counts[:, 1] * one, counts[:, 1], counts[:, 1].sum(axis=1)[:, None] * one], 1))
    name = f"the most frequent class everywhere ({names[commonest]})"
    others: list[tuple[str, str, Any, tuple[str, ...]]]
    others = [("not-above-most-frequent", name, everywhere, _COMPARED)]
    if floor is not None:
        # by what its settings were chosen
        others.append(("not-above-floor", "the floor, a random forest", block_scores(floor), ("miou",)))
    for code, name, other, compared in others:
        gains = {key: scores[key].minus(other[key]) for key in compared}
        if all((gain["interval"] or [gain["value"]])[0] <= 0 for gain in gains.values()):
            better = (
                "not better by more than its interval" if any(g["value"] > 0 for g in gains.values()) else "not better"
            )
            scored = [_gain_in_words(key, scores[key].value, other[key].value, gain) for key, gain in gains.items()]
            found.append({"code": code, "classes": [], "text": f"{better} than {name}: {', '.join(scored)}"})
    return found


def _gain_in_words(key: str, score: float | None, floor: float | None, gain: Mapping[str, Any]) -> str:
    text = f"{key.replace('_', ' ').replace('miou', 'mIoU')} {score:.3f} against {floor:.3f}"
    own = Interval.of(gain["value"], gain["interval"], COVERS).to_text(signed=True)
    return text if gain["interval"] is None else f"{text} ({own})"


def of_map(pixels: NDArray[np.int64], names: Sequence[str]) -> list[Headline]:
    """Headlines of a map without a reference: that it is nearly constant.

    Args:
        pixels: (classes,) of each class.
        names: of the classes.
    """
    most, total = int(pixels.argmax()), int(pixels.sum())
    if not total or pixels[most] < CONSTANT * total:
        return []
    text = f"{_percent(float(pixels[most] / total))} of the map is {names[most]}"
    return [{"code": "constant", "classes": [names[most]], "text": text}]


def _listed(code: str, found: Mapping[str, str]) -> list[Headline]:
    """One headline of all these classes, each with what there is to say of it; none without any."""
    text = f"{_WORDS[code]}: {', '.join(f'{name} ({more})' for name, more in found.items())}"
    return [{"code": code, "classes": list(found), "text": text}] if found else []


def _percent(share: float) -> str:
    """A share in percent, of which only all is 100 %."""
    return f"{np.floor(1000 * share) / 10:.1f} %"
