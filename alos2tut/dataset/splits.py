"""Which ground is for training, for validation and for the test, and the proof that none of it meets. NumPy only.

A patch is a box (west, south, east, north) in degrees that encloses its square, as :func:`enclosing_boxes` makes it.
East may lie beyond 180: so a box says that it crosses the antimeridian. Metres become degrees by one length for all
degrees of latitude, and by its cosine for those of longitude.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.errors import Alos2TutError

#: what :func:`assign_splits` makes of a patch
PRETRAIN, VAL, TEST, BUFFER = 0, 1, 2, -1
_METRES_PER_DEGREE = 111_320.0
_DRAWS = 400
#: a billionth of a degree is rounding: boxes that touch share no ground
_ROUNDING_DEG = 1e-9
#: lists hold seven decimals
_LIST_ROUNDING_DEG = 1e-6
#: nearer to a pole a box in degrees says little; no product of ALOS-2 reaches there
_LARGEST_LATITUDE_DEG = 89.0
#: boxes that are compared with others at once
_TOGETHER = 128


def enclosing_boxes(corners_deg: ArrayLike) -> NDArray[np.float64]:
    """The boxes that enclose patches, also across the antimeridian.

    Args:
        corners_deg: (N, K, 2) longitude and latitude of the K corners of each patch, in any order.

    Returns:
        (N, 4) west, south, east, north; west from −180 to 180, east not smaller.
    """
    corners = np.array(corners_deg, dtype=np.float64)
    # no patch spans half the Earth: the nearest of a corner's longitudes is the one that is meant
    corners[..., 0] -= 360 * np.round((corners[..., 0] - corners[:, :1, 0]) / 360)
    box_deg = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    # longitudes that lie there already keep their last bit
    turned: NDArray[np.float64] = box_deg - 360 * np.floor((box_deg[:, :1] + 180) / 360) * [1, 0, 1, 0]
    return turned


def ground_blocks(box_deg: NDArray[np.float64], block_m: float) -> NDArray[np.int64]:
    """The block of ground in which the centre of each patch lies.

    The lattice is one of degrees and the same for all products and UTM zones; each row of blocks has its own width in
    degrees, so that blocks are about squares.

    Args:
        box_deg: (N, 4) west, south, east, north.
        block_m: side of a block in metres.

    Returns:
        (N, 2) row and column on the lattice.

    Raises:
        Alos2TutError: a box that cannot be, or that lies within a degree of a pole.
    """
    _check_boxes(box_deg, where="ground of patches")
    block_deg = block_m / _METRES_PER_DEGREE
    row = np.floor((box_deg[:, 1] + box_deg[:, 3]) / 2 / block_deg)
    width_deg = block_deg / np.maximum(np.cos(np.radians((row + 0.5) * block_deg)), 0.01)
    longitude = (box_deg[:, 0] + box_deg[:, 2]) / 2
    longitude = longitude - 360 * np.floor((longitude + 180) / 360)
    return np.stack([row, np.floor(longitude / width_deg)], axis=1).astype(np.int64)


def _check_boxes(box_deg: NDArray[np.float64], *, where: str) -> None:
    """Boxes are numbers, in order, narrower than half the Earth, and away from the poles."""
    west, south, east, north = box_deg.T
    is_box = np.isfinite(box_deg).all(axis=1) & (south <= north) & (west <= east) & (east - west < 180)
    if not is_box.all():
        row = int(np.argmin(is_box))
        raise Alos2TutError(f"row {row + 1}: west, south, east, north = {box_deg[row].tolist()} is no box", where=where)
    is_near_pole = np.maximum(-south, north) > _LARGEST_LATITUDE_DEG
    if is_near_pole.any():
        row = int(np.argmax(is_near_pole))
        raise Alos2TutError(
            f"row {row + 1} lies beyond {_LARGEST_LATITUDE_DEG:g}° of latitude, where degrees do not measure ground",
            where=where,
            remedy="Leave that product out.",
        )


def assign_splits(
    box_deg: NDArray[np.float64],
    counts: NDArray[np.integer[Any]],
    *,
    block_m: float,
    buffer_m: float,
    val_fraction: float,
    test_fraction: float,
    seed: int,
) -> NDArray[np.int8]:
    """Whole ground blocks to validation, test and training ground; then the buffer between them.

    Blocks are drawn at random many times and the draw is kept whose splits come nearest to the wanted sizes and to the
    class shares of the whole. Then validation ground that lies too near to test ground is dropped, and training ground
    that lies too near to either.

    Args:
        box_deg: (N, 4) west, south, east, north of each patch.
        counts: (N, C) pixels per class.
        block_m: side of the blocks in metres.
        buffer_m: ground within this distance of validation or test ground is used for nothing else.
        val_fraction: wanted share of the patches.
        test_fraction: wanted share of the patches.
        seed: equal seeds give equal results.

    Returns:
        (N,) :data:`PRETRAIN`, :data:`VAL`, :data:`TEST` or, for what the buffer takes, :data:`BUFFER`.

    Raises:
        Alos2TutError: no patch, fewer than three blocks, nothing left to train on.
    """
    if not len(box_deg):
        raise Alos2TutError("no patch to assign to the splits", where="dataset settings")
    row, col = ground_blocks(box_deg, block_m).T
    # numbers in the order of rows, then columns, of which there are less than 2³¹; quicker to sort than pairs
    _, block_of, sizes = np.unique(row * 2**32 + col, return_inverse=True, return_counts=True)
    if len(sizes) < 3:
        raise Alos2TutError(
            f"{len(box_deg)} patches lie in {len(sizes)} ground block(s); three splits need at least 3",
            where="block_m",
            remedy=f"Choose a smaller block_m than {block_m:g}.",
        )
    wanted = np.array([1 - val_fraction - test_fraction, val_fraction, test_fraction])
    if wanted[0] <= 0:
        raise Alos2TutError("val_fraction + test_fraction leave nothing to train on", where="dataset settings")
    of_blocks = np.empty((len(sizes), counts.shape[1]))
    for index, of_class in enumerate(counts.T):
        of_blocks[:, index] = np.bincount(block_of, weights=of_class)
    role = _best_draw(sizes, of_blocks, wanted, seed)[block_of]
    for name, others in ((VAL, (TEST,)), (PRETRAIN, (VAL, TEST))):
        mine = np.flatnonzero(role == name)
        role[mine[~away_from(box_deg[mine], box_deg[np.isin(role, others)], buffer_m)]] = BUFFER
    return role


def _best_draw(
    sizes: NDArray[np.int64], counts: NDArray[np.float64], wanted: NDArray[np.float64], seed: int
) -> NDArray[np.int8]:
    """Roles of blocks from the best of many seeded draws.

    Args:
        sizes: (B,) patches per block.
        counts: (B, C) pixels per block and class.
        wanted: shares of the patches for training, validation and test.
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, 11])
    class_totals = counts.sum(axis=0)
    counts, class_totals = counts[:, class_totals > 0], class_totals[class_totals > 0]
    best, best_cost = np.zeros(len(sizes), dtype=np.int8), math.inf
    for _ in range(_DRAWS):
        order = rng.permutation(len(sizes))
        share = np.cumsum(sizes[order]) / sizes.sum()
        n_val = max(1, int((share <= wanted[1]).sum()))
        n_test = max(1, int((share <= wanted[1] + wanted[2]).sum()) - n_val)
        role = np.zeros(len(sizes), dtype=np.int8)
        role[order[:n_val]], role[order[n_val : n_val + n_test]] = VAL, TEST
        # sums of whole numbers: exact in any order
        members = (role == np.array([[PRETRAIN], [VAL], [TEST]])).astype(np.float64)
        got, by_class = members @ sizes / sizes.sum(), members @ counts / class_totals
        # logarithms, so that a class nearly missing from a split weighs as much as one that fills it
        ratios = np.log((by_class + 0.01) / (wanted[:, None] + 0.01))
        uneven = np.abs(ratios).mean() if ratios.size else 0.0
        cost = np.abs(got - wanted).sum() + uneven
        if cost < best_cost:
            best, best_cost = role, cost
    return best


def away_from(box_deg: NDArray[np.float64], others_deg: NDArray[np.float64], buffer_m: float) -> NDArray[np.bool_]:
    """Which boxes stay further than the buffer from all others, in longitude or in latitude.

    Args:
        box_deg: (N, 4) west, south, east, north; the latitude of their middle turns the buffer into longitude.
        others_deg: (M, 4).
        buffer_m: in metres; 0: boxes may touch and not overlap.

    Returns:
        (N,) True for those that do.
    """
    return _one_too_near(box_deg, others_deg, buffer_m, _ROUNDING_DEG) < 0


def check_ground(boxes: Mapping[str, NDArray[np.float64]], buffer_m: float, *, where: str) -> None:
    """Prove that validation and test ground is in no other list, nor within the buffer of it.

    Training lists, which are all but ``val`` and ``test``, may share ground.

    Args:
        boxes: by list, (N, 4) west, south, east, north of its patches; they may be rounded to seven decimals.
        buffer_m: in metres.
        where: what the lists belong to, for the message.

    Raises:
        Alos2TutError: two lists meet; the message names a row of each. A box that cannot be.
    """
    for name, box_deg in boxes.items():
        _check_boxes(box_deg, where=f"{where}, list '{name}'")
    held_out = [name for name in ("val", "test") if name in boxes]
    for name, box_deg in boxes.items():
        # one pass for both; as when ground was assigned, the latitude that counts is that of the list which gave way
        others = [other for other in held_out if other != name and name != "test"]
        if not others:
            continue
        found = _one_too_near(box_deg, np.concatenate([boxes[other] for other in others]), buffer_m, _LIST_ROUNDING_DEG)
        if (found >= 0).any():
            row = int(np.argmax(found >= 0))
            other, place = [(other, place) for other in others for place in range(len(boxes[other]))][found[row]]
            relation = f"is less than {buffer_m:g} m from" if buffer_m else "overlaps"
            raise Alos2TutError(
                f"the ground of row {row + 1} of the list '{name}' {relation} that of row {place + 1} of '{other}'",
                where=where,
                remedy="Build the dataset anew: scores on such lists would be too good.",
            )


def _one_too_near(
    box_deg: NDArray[np.float64], others_deg: NDArray[np.float64], buffer_m: float, rounding_deg: float
) -> NDArray[np.int64]:
    """For each box one of the others that lies within the buffer; −1 where there is none."""
    found = np.full(len(box_deg), -1, dtype=np.int64)
    if not len(others_deg):
        return found
    west, south, east, north = box_deg.T
    margin_deg = buffer_m / _METRES_PER_DEGREE - rounding_deg
    margin_lon = buffer_m / _METRES_PER_DEGREE / np.maximum(np.cos(np.radians((south + north) / 2)), 0.01)
    low, high, left = south - margin_deg, north + margin_deg, west - (margin_lon - rounding_deg)
    width = east - west + 2 * (margin_lon - rounding_deg)
    # from south to north those that can be near to a few boxes lie side by side
    order = np.argsort(others_deg[:, 1], kind="stable")
    others = others_deg[order]
    tallest = (others[:, 3] - others[:, 1]).max()
    for some in np.array_split(np.argsort(south, kind="stable"), len(box_deg) // _TOGETHER + 1):
        first, last = np.searchsorted(others[:, 1], (low[some].min(initial=90) - tallest, high[some].max(initial=-90)))
        if first >= last:
            continue
        near = others[first:last]
        # how far around the Earth the western edge of the one lies east of that of the other
        east_of = near[:, 0] - left[some, None]
        meets = (east_of % 360 < width[some, None]) | (-east_of % 360 < near[:, 2] - near[:, 0])
        meets &= (near[:, 3] > low[some, None]) & (near[:, 1] < high[some, None])
        found[some] = np.where(meets.any(axis=1), order[first + meets.argmax(axis=1)], -1)
    return found
