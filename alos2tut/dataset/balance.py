"""How common classes are, and how patches are chosen so that common ones do not drown the rest. NumPy only.

``counts`` are pixels per patch and class, (N, C); unlabelled pixels count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import Alos2TutError, closest

#: patches of a list that hold a class, below which it is learned from, or scored on, one place or two
FEW_PATCHES = 3


def class_chances(class_pixels: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Chance (C,) of each class for a sampled point: its share of the pixels (C,) to the power 1/temperature.

    The temperature is at least 1, which leaves the shares as they are; infinite: all classes that are there alike.
    """
    share = _shares(class_pixels)
    chances = np.where(share > 0, share ** (1 / temperature), 0.0)
    return np.asarray(chances / chances.sum())


def _shares(class_pixels: ArrayLike) -> NDArray[np.float64]:
    pixels = np.asarray(class_pixels, dtype=np.float64)
    if not pixels.sum() > 0:
        raise Alos2TutError(
            "no patch has a labelled pixel: there are no classes to go by",
            where="labels",
            remedy="Check that the legend does not ignore all codes, and that the labels lie on the products' ground.",
        )
    return np.asarray(pixels / pixels.sum())


def points_per_class(class_pixels: ArrayLike, points: int, temperature: float) -> NDArray[np.int64]:
    """So many points dealt to the classes, (C,), by :func:`class_chances`; rounded so that their sum is kept.

    Each class gets the whole part of its due; what is left goes to the largest remainders, one each.
    """
    due = points * class_chances(class_pixels, temperature)
    dealt = np.floor(due).astype(np.int64)
    largest_first = np.argsort(dealt - due, kind="stable")
    dealt[largest_first[: points - dealt.sum()]] += 1
    return dealt


def sample_patches(counts: NDArray[np.integer[Any]], points: int, temperature: float, seed: int) -> NDArray[np.int16]:
    """Draw points class by class; the patches that contain one are those worth keeping.

    The points of a class fall evenly on its pixels: a patch is drawn in proportion to its pixels of that class, and
    may be drawn again, so that there may be more points than pixels.

    Args:
        counts: (N, C) pixels per patch and class.
        points: how many in all; see :func:`points_per_class`.
        temperature: as for :func:`class_chances`.
        seed: equal seeds give equal results.

    Returns:
        (N,) the class of the point in each patch, −1 without one; of several the class that is rarest
        over all patches, of equally rare ones the last.

    Raises:
        Alos2TutError: no labelled pixel.
    """
    class_pixels = counts.sum(axis=0, dtype=np.int64)
    dealt = points_per_class(class_pixels, points, temperature)
    chosen = np.full(len(counts), -1, dtype=np.int16)
    # from the commonest to the rarest, which is written last and stays
    for index in np.argsort(-class_pixels, kind="stable"):
        if dealt[index]:
            holders = np.flatnonzero(counts[:, index])
            # each class has its own draws, whatever the others are given
            draws = np.random.default_rng([seed, 12, int(index)])
            hits = draws.multinomial(dealt[index], counts[holders, index] / class_pixels[index])
            chosen[holders[hits > 0]] = index
    return chosen


def exceeds_share(
    counts: NDArray[np.integer[Any]], max_class_share: Mapping[str, float], names: Sequence[str], patch_px: int
) -> NDArray[np.bool_]:
    """Patches, (N,), in which a class has more than its allowed share of all pixels, 0 to 1.

    Raises:
        Alos2TutError: a name that is no class.
    """
    exceeds = np.zeros(len(counts), dtype=np.bool_)
    for name, share in max_class_share.items():
        if name not in names:
            raise Alos2TutError(
                f"'{name}' is no class of the legend", where="max_class_share", remedy=closest(name, names)
            )
        exceeds |= counts[:, names.index(name)] > share * patch_px * patch_px
    return exceeds


def histogram(counts: NDArray[np.integer[Any]], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """How common each class is.

    Returns:
        By class the ``pixels``, the ``patches`` that hold any, and those of which it is the commonest class, the
        ``majority`` (of equals the first); patches without labels count nowhere.
    """
    commonest = counts.argmax(axis=1)[counts.any(axis=1)]
    columns: dict[str, NDArray[Any]] = {
        "pixels": counts.sum(axis=0, dtype=np.int64),
        # one by one: for all at once NumPy copies the counts
        "patches": np.array([np.count_nonzero(of_class) for of_class in counts.T]),
        "majority": np.bincount(commonest, minlength=len(names)),
    }
    return {key: dict(zip(names, column.tolist(), strict=True)) for key, column in columns.items()}


def class_weights(class_pixels: ArrayLike) -> NDArray[np.float64]:
    """(1 − f) / (C − 1), which sum to one, for pixel shares f (C,): the rule that the published weights fit.

    Raises:
        Alos2TutError: no labelled pixel.
    """
    share = _shares(class_pixels)
    return np.asarray((1 - share) / max(len(share) - 1, 1))


def tempered_weights(class_pixels: ArrayLike, temper: float) -> NDArray[np.float64]:
    """Weights that fall with a power of the pixel shares: f^(−temper), scaled to sum to one.

    Args:
        class_pixels: (C,) pixels per class.
        temper: 0 weighs all alike; 1 gives every class the same total weight.

    Returns:
        (C,); a class without pixels gets the weight of the rarest that has some.

    Raises:
        Alos2TutError: no labelled pixel.
    """
    share = _shares(class_pixels)
    weights = np.maximum(share, share[share > 0].min()) ** -temper
    return np.asarray(weights / weights.sum())
