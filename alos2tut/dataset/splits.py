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
#: degrees that keep the keys of two strips of latitude apart, and more than what keys are rounded by
_KEY_STEP, _KEY_ROUNDING = 4096.0, 1e-5


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
    return _in_range(np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1))


def _in_range(box_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """With west from −180 to 180; longitudes that lie there already keep their last bit."""
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
            places = [(other, place) for other in others for place in range(len(boxes[other]))]
            other, place = places[found[row]]
            relation = f"is less than {buffer_m:g} m from" if buffer_m else "overlaps"
            raise Alos2TutError(
                f"the ground of row {row + 1} of the list '{name}' {relation} that of row {place + 1} of '{other}'",
                where=where,
                remedy="Build the dataset anew: scores on such lists would be too good.",
            )


def _one_too_near(
    box_deg: NDArray[np.float64], others_deg: NDArray[np.float64], buffer_m: float, rounding_deg: float
) -> NDArray[np.int64]:
    """For each box one of the others that lies within the buffer; −1 where there is none.

    The others are sorted by strips of latitude, and by longitude within a strip: those that can be near to a box are
    then neighbours in each of a few strips, and are tried until one is.
    """
    found = np.full(len(box_deg), -1, dtype=np.int64)
    if not len(box_deg) or not len(others_deg):
        return found
    reach = _grown(_in_range(box_deg), buffer_m, rounding_deg)
    others, source = _around_the_antimeridian(_in_range(others_deg), reach)
    width_deg, height_deg = (others[:, 2:] - others[:, :2]).max(axis=0)
    strip_deg = max(height_deg, float((reach[:, 3] - reach[:, 1]).max()) / 16, 1e-4)
    strip = np.floor(others[:, 1] / strip_deg)
    order = np.argsort(strip * _KEY_STEP + others[:, 0], kind="stable")
    others, source = others[order], source[order]
    keys = (strip * _KEY_STEP)[order] + others[:, 0]
    first = np.floor((reach[:, 1] - height_deg) / strip_deg) - 1
    last = np.floor(reach[:, 3] / strip_deg)
    steps = int((last - first).max())
    # the middle first: whatever lies there is near, at the rim many are tried in vain
    for step in sorted(range(steps + 1), key=lambda step: abs(2 * step - steps)):
        open_ = np.flatnonzero((found < 0) & (first + step <= last))
        offset = (first[open_] + step) * _KEY_STEP
        start = np.searchsorted(keys, offset + reach[open_, 0] - width_deg - _KEY_ROUNDING)
        stop = np.searchsorted(keys, offset + reach[open_, 2] + _KEY_ROUNDING)
        _try_one_by_one(found, open_, start, stop, reach, others)
    found[found >= 0] = source[found[found >= 0]]
    return found


def _grown(box_deg: NDArray[np.float64], buffer_m: float, rounding_deg: float) -> NDArray[np.float64]:
    """The boxes, larger by the buffer on all sides and smaller by what is rounding."""
    west, south, east, north = box_deg.T
    margin_lat = buffer_m / _METRES_PER_DEGREE
    margin_lon = margin_lat / np.maximum(np.cos(np.radians((south + north) / 2)), 0.01)
    bounds = (west - margin_lon, south - margin_lat, east + margin_lon, north + margin_lat)
    return np.stack(bounds, axis=1) + rounding_deg * np.array([1, 1, -1, -1])


def _around_the_antimeridian(
    others: NDArray[np.float64], reach: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The others, a second time one turn further where something reaches there; and which of them each one is."""
    whole_turn = np.array([360.0, 0, 360.0, 0])
    before = np.flatnonzero(others[:, 2] - 360 >= reach[:, 0].min())
    behind = np.flatnonzero(others[:, 0] + 360 <= reach[:, 2].max())
    turned = np.concatenate([others, others[before] - whole_turn, others[behind] + whole_turn])
    return turned, np.concatenate([np.arange(len(others)), before, behind])


def _try_one_by_one(
    found: NDArray[np.int64],
    which: NDArray[np.int64],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    reach: NDArray[np.float64],
    others: NDArray[np.float64],
) -> None:
    """Note in ``found`` the first of others[start:stop] that meets each of reach[which]."""
    go_on = start < stop
    which, place, stop = which[go_on], start[go_on], stop[go_on]
    while len(which):
        mine, other = reach[which], others[place]
        meets = ((other[:, 2:] > mine[:, :2]) & (other[:, :2] < mine[:, 2:])).all(axis=1)
        found[which[meets]] = place[meets]
        place = place + 1
        go_on = ~meets & (place < stop)
        which, place, stop = which[go_on], place[go_on], stop[go_on]
