"""Which ground is for training, for validation and for the test, and the proof that none of it meets. NumPy and SciPy.

The ground of a patch is its footprint: longitude and latitude in degrees of its four corners, in order around it,
(4, 2). Distances between footprints are taken on a plane around the patch that gives way
(:func:`alos2tut.geometry.seen_from`): off by less than 1 mm up to 10 km, by 10 cm up to 100 km. Sides are straight
lines between corners; a parallel of latitude φ bulges from that by L² tan φ / 8 R, 3 cm at 45° for a patch of 1.3 km.

Images on no map have a frame of their own. There the ground of a patch is (5,): the number of its image, then the left,
upper, right and lower edge in pixels after looks. Distances are in these pixels, without rounding; between two images
there is none. Blocks and buffers are in the unit of the ground: metres, or pixels.

Lists that know no corners give boxes, (west, south, east, north) in degrees, as :func:`enclosing_boxes` makes them:
east may lie beyond 180, so a box says that it crosses the antimeridian. Of these the larger gap, in longitude or in
latitude, is taken for the distance, with one length for all degrees of latitude and its cosine for those of longitude.
Boxes of patches askew overlap with their neighbours', so that more is dropped than meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import geometry
from ..core.errors import Alos2TutError

#: from places of patches that might be :data:`VAL`, or :data:`TEST`, and which of the two, to which of them may stay
Apart: TypeAlias = Callable[[NDArray[np.int64], int], NDArray[np.bool_]]

#: what :func:`assign_splits` makes of a patch
PRETRAIN, VAL, TEST, BUFFER = 0, 1, 2, -1
#: lists hold so many decimals of corners' longitudes and latitudes, 0.1 mm
CORNER_DECIMALS = 9
_METRES_PER_DEGREE = 111_320.0
_DRAWS = 400
#: what footprints that touch may overlap by, when ground is assigned and when that is proved: corners are rounded, and
#: of patches that touch halfway along a side of one another sides are not quite straight
_ROUNDING_M, _PROOF_ROUNDING_M = 0.005, 0.01
#: of boxes a billionth of a degree is rounding; older lists hold seven decimals
_ROUNDING_DEG, _PROOF_ROUNDING_DEG = 1e-9, 1e-6
#: nearer to a pole degrees say little; no product of ALOS-2 reaches there
_LARGEST_LATITUDE_DEG = 89.0
#: where the corners of a patch lie in its ground on no map, in order around it; between the planes of two images
_AROUND = np.array([(1, 2), (3, 2), (3, 4), (1, 4)])
_APART_PX = 2.0**33
#: pairs that are compared at once
_TOGETHER = 2**16

#: middles of patches, (N, 3), and radii of the circles around them, (N,)
_Circles: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]


def enclosing_boxes(corners_deg: ArrayLike) -> NDArray[np.float64]:
    """The boxes that enclose patches, also across the antimeridian.

    Args:
        corners_deg: (N, K, 2) longitude and latitude of the K corners of each patch, in any order.

    Returns:
        (N, 4) west, south, east, north; west from −180 to 180, east not smaller.
    """
    corners = np.array(corners_deg, dtype=np.float64)
    # no patch spans half the Earth: the nearest of a corner's longitudes is the one that is meant
    corners[..., 0] = geometry.beside(corners[..., 0], corners[:, :1, 0])
    box_deg = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    turns = geometry.wrapped(box_deg[:, :1]) - box_deg[:, :1]
    turned: NDArray[np.float64] = box_deg + np.round(turns / 360) * [360, 0, 360, 0]
    return turned


def _boxes(ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """The boxes around footprints, or those that are given instead."""
    return ground if ground.ndim == 2 else enclosing_boxes(ground)


def _is_image(ground: NDArray[np.float64]) -> bool:
    """Whether ground is told in pixels of images."""
    return ground.shape[1:] == (5,)


def ground_blocks(ground: NDArray[np.float64], block: float) -> NDArray[np.int64]:
    """The block of ground in which the centre of each patch lies: the middle of the box around it.

    The lattice is one of degrees and the same for all products and UTM zones; each row of blocks has its own width in
    degrees, so that blocks are about squares. On no map it is one of pixels, from the first one of each image on.

    Args:
        ground: (N, 4, 2) footprints, (N, 4) boxes, or (N, 5) on no map.
        block: side of a block.

    Returns:
        (N, 2) row and column on the lattice; on no map (N, 3), number of the image before them.

    Raises:
        Alos2TutError: a footprint that cannot be, or that lies within a degree of a pole.
    """
    box_deg = _checked_boxes(ground, where="ground of patches")
    if _is_image(ground):
        image, left, upper, right, lower = ground.T
        return np.stack([image, (upper + lower) / 2 // block, (left + right) / 2 // block], axis=1).astype(np.int64)
    block_deg = block / _METRES_PER_DEGREE
    row = np.floor((box_deg[:, 1] + box_deg[:, 3]) / 2 / block_deg)
    width_deg = block_deg / np.maximum(np.cos(np.radians((row + 0.5) * block_deg)), 0.01)
    longitude = geometry.wrapped((box_deg[:, 0] + box_deg[:, 2]) / 2)
    return np.stack([row, np.floor(longitude / width_deg)], axis=1).astype(np.int64)


def _checked_boxes(ground_deg: NDArray[np.float64], *, where: str) -> NDArray[np.float64]:
    """The boxes of ground that can be: numbers, in order, narrower than half the Earth, and away from the poles."""
    if _is_image(ground_deg):
        _, left, upper, right, lower = ground_deg.T
        is_box = (np.abs(ground_deg) < 2**31).all(axis=1) & (left < right) & (upper < lower)
        if not is_box.all():
            row = int(np.argmin(is_box))
            told = f"left, upper, right, lower = {ground_deg[row, 1:].tolist()} are no edges of a patch"
            raise Alos2TutError(f"row {row + 1}: {told}", where=where)
        return ground_deg
    given = ground_deg
    # NaN is not
    is_patch = np.asarray((np.abs(ground_deg) <= 1e6).all(axis=tuple(range(1, ground_deg.ndim))))
    told = "west, south, east, north = {} is no box"
    if ground_deg.ndim == 3:
        told = "corners {} are not those of a patch, in order around it"
        x, y = np.moveaxis(np.where(is_patch[:, None, None], ground_deg, 0), -1, 0)
        x = geometry.beside(x, x[:, :1])
        dx, dy = np.roll(x, -1, axis=1) - x, np.roll(y, -1, axis=1) - y
        # all corners bend one way
        bends = np.sign(dx * np.roll(dy, -1, axis=1) - dy * np.roll(dx, -1, axis=1))
        is_patch &= np.abs(bends.sum(axis=1)) == 4
        ground_deg = np.where(is_patch[:, None, None], ground_deg, 0)
    box_deg = _boxes(ground_deg)
    west, south, east, north = box_deg.T
    is_patch &= (south <= north) & (west <= east) & (east - west < 180)
    if not is_patch.all():
        row = int(np.argmin(is_patch))
        raise Alos2TutError(f"row {row + 1}: {told.format(given[row].tolist())}", where=where)
    is_near_pole = np.maximum(-south, north) > _LARGEST_LATITUDE_DEG
    if is_near_pole.any():
        row = int(np.argmax(is_near_pole))
        raise Alos2TutError(
            f"row {row + 1} lies beyond {_LARGEST_LATITUDE_DEG:g}° of latitude, where degrees do not measure ground",
            where=where,
            remedy="Leave that product out.",
        )
    return box_deg


def assign_splits(
    ground: NDArray[np.float64],
    counts: NDArray[np.integer[Any]],
    *,
    block: float,
    buffer: float,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    folds: int | None = None,
    fold: int = 0,
    apart: Apart | None = None,
) -> NDArray[np.int8]:
    """Whole ground blocks to validation, test and training ground; then the buffer between them.

    Blocks are drawn at random many times and the draw is kept whose splits come nearest to the wanted sizes and to the
    class shares of the whole. Then validation ground that lies too near to test ground is dropped, and training ground
    that lies too near to either.

    Args:
        ground: (N, 4, 2) footprint of each patch, (N, 4) boxes, or (N, 5) on no map.
        counts: (N, C) pixels per class.
        block: side of the blocks.
        buffer: ground within this distance of validation or test ground is used for nothing else.
        val_fraction: wanted share of the patches.
        test_fraction: wanted share of the patches.
        seed: equal seeds give equal results.
        folds: for cross-validation: the blocks are drawn into so many alike parts, the same whatever ``fold`` is;
            validation is then ``val_fraction`` of the other parts.
        fold: the part that is test ground, from 0.
        apart: where patches overlap, which of those that might be held out may stay; the others are dropped.

    Returns:
        (N,) ``PRETRAIN``, ``VAL``, ``TEST`` or, for what is dropped, ``BUFFER``.

    Raises:
        Alos2TutError: no patch, too few blocks, nothing left to train on.
    """
    if not len(ground):
        raise Alos2TutError("no patch to assign to the splits", where="dataset settings")
    blocks = ground_blocks(ground, block)
    # numbers in the order of rows, then columns, of which there are less than 2³¹; quicker to sort than pairs
    number = blocks[:, -2] * 2**32 + blocks[:, -1]
    if _is_image(ground):
        number = np.unique(blocks, axis=0, return_inverse=True)[1]
    _, block_of, sizes = np.unique(number, return_inverse=True, return_counts=True)
    least = 3 if folds is None else folds + 1
    if len(sizes) < least:
        setting, wants = "block_px" if _is_image(ground) else "block_m", "three splits need"
        raise Alos2TutError(
            f"{len(ground)} patches lie in {len(sizes)} ground block(s); "
            f"{wants if folds is None else f'{folds} folds and validation need'} at least {least}",
            where=setting,
            remedy=f"Choose a smaller {setting} than {block:g}.",
        )
    of_blocks = np.empty((len(sizes), counts.shape[1]))
    for index, of_class in enumerate(counts.T):
        of_blocks[:, index] = np.bincount(block_of, weights=of_class)
    if folds is None:
        wanted = np.array([1 - val_fraction - test_fraction, val_fraction, test_fraction])
        if wanted[0] <= 0:
            raise Alos2TutError("val_fraction + test_fraction leave nothing to train on", where="dataset settings")
        of_block = _best_draw(sizes, of_blocks, wanted, (seed, 11))
    else:
        of_block = np.full(len(sizes), TEST, np.int8)
        rest = np.flatnonzero(_best_draw(sizes, of_blocks, np.full(folds, 1 / folds), (seed, 13)) != fold)
        wanted = np.array([1 - val_fraction, val_fraction])
        of_block[rest] = _best_draw(sizes[rest], of_blocks[rest], wanted, (seed, 13, fold))
    role = of_block[block_of]
    for name, others in ((TEST, ()), (VAL, (TEST,)), (PRETRAIN, (VAL, TEST))):
        mine = np.flatnonzero(role == name)
        role[mine[~away_from(ground[mine], ground[np.isin(role, others)], buffer)]] = BUFFER
        if apart is not None and name != PRETRAIN:
            mine = np.flatnonzero(role == name)
            role[mine[~apart(mine, name)]] = BUFFER
    return role


def _best_draw(
    sizes: NDArray[np.int64], counts: NDArray[np.float64], wanted: NDArray[np.float64], seed: tuple[int, ...]
) -> NDArray[np.int8]:
    """Parts of blocks from the best of many seeded draws.

    Args:
        sizes: (B,) patches per block.
        counts: (B, C) pixels per block and class.
        wanted: (K,) shares of the patches for each part, of which the first one gets what is left.
        seed: of the draws.

    Returns:
        (B,) number of the part.
    """
    rng = np.random.default_rng(seed)
    class_totals = counts.sum(axis=0)
    counts, class_totals = counts[:, class_totals > 0], class_totals[class_totals > 0]
    parts, ends = np.arange(len(wanted), dtype=np.int8), np.cumsum(wanted[1:])
    best, best_cost = np.zeros(len(sizes), dtype=np.int8), math.inf
    for _ in range(_DRAWS):
        order = rng.permutation(len(sizes))
        share = np.cumsum(sizes[order]) / sizes.sum()
        part, first = np.zeros(len(sizes), dtype=np.int8), 0
        for number, end in enumerate(ends, 1):
            last = max(first + 1, int((share <= end).sum()))
            part[order[first:last]], first = number, last
        # sums of whole numbers: exact in any order
        members = (part == parts[:, None]).astype(np.float64)
        got, by_class = members @ sizes / sizes.sum(), members @ counts / class_totals
        # logarithms, so that a class nearly missing from a split weighs as much as one that fills it
        ratios = np.log((by_class + 0.01) / (wanted[:, None] + 0.01))
        uneven = np.abs(ratios).mean() if ratios.size else 0.0
        cost = np.abs(got - wanted).sum() + uneven
        if cost < best_cost:
            best, best_cost = part, cost
    return best


def away_from(ground: NDArray[np.float64], others: NDArray[np.float64], buffer: float) -> NDArray[np.bool_]:
    """Which patches stay further than the buffer from all others.

    Args:
        ground: (N, 4, 2) footprints, (N, 4) boxes, or (N, 5) on no map.
        others: (M, 4, 2) or (M, 4), where both are taken for boxes if one is; or (M, 5).
        buffer: 0: patches may touch and not overlap.

    Returns:
        (N,) True for those that do.
    """
    if ground.ndim != others.ndim:
        ground, others = _boxes(ground), _boxes(others)
    return _one_too_near(ground, others, buffer, is_proof=False) < 0


def check_ground(ground: Mapping[str, NDArray[np.float64]], buffer: float, *, where: str) -> None:
    """Prove that validation and test ground is in no other list, nor within the buffer of it.

    Training lists, which are all but ``val`` and ``test``, may share ground.

    Args:
        ground: by list, (N, 4, 2) footprints of its patches, as lists round them, or (N, 4) boxes; if one list gives
            boxes, those of all are compared. Or (N, 5) on no map.
        buffer: in the unit of the ground.
        where: what the lists belong to, for the message.

    Raises:
        Alos2TutError: two lists meet; the message names a row of each. A footprint that cannot be.
    """
    boxes = {name: _checked_boxes(places, where=f"{where}, list '{name}'") for name, places in ground.items()}
    is_image = any(map(_is_image, ground.values()))
    by_boxes = not is_image and any(places.ndim == 2 for places in ground.values())
    ground = boxes if by_boxes else ground
    held_out = [name for name in ("val", "test") if name in ground]
    for name, places in ground.items():
        # one pass for both; as when ground was assigned, distances are seen from the list which gave way
        others = [other for other in held_out if other != name and name != "test"]
        if not others:
            continue
        found = _one_too_near(places, np.concatenate([ground[other] for other in others]), buffer, is_proof=True)
        if (found >= 0).any():
            row = int(np.argmax(found >= 0))
            other, place = [(other, place) for other in others for place in range(len(ground[other]))][found[row]]
            relation = f"is less than {buffer:g} {'px' if is_image else 'm'} from" if buffer else "overlaps"
            by = ", by boxes in degrees, as the lists hold no corners" if by_boxes else ""
            raise Alos2TutError(
                f"the ground of row {row + 1} of the list '{name}' {relation} that of row {place + 1} of '{other}'{by}",
                where=where,
                remedy="Build the dataset anew: scores on such lists would be too good.",
            )


def _one_too_near(
    ground: NDArray[np.float64], others: NDArray[np.float64], buffer: float, *, is_proof: bool
) -> NDArray[np.int64]:
    """For each patch one of the others that lies within the buffer; −1 where there is none."""
    found = np.full(len(ground), -1, dtype=np.int64)
    if not len(ground) or not len(others):
        return found
    if _is_image(ground):
        polygons, their_polygons = ground[:, _AROUND], others[:, _AROUND]
        for mine, theirs in _near_pairs(_pixel_circles(ground), _pixel_circles(others), buffer, found):
            near = geometry.come_within(polygons[mine], their_polygons[theirs], buffer)
            near &= ground[mine, 0] == others[theirs, 0]
            found[mine[near]] = theirs[near]
        return found
    boxes, other_boxes = _boxes(ground), _boxes(others)
    if ground.ndim == 2:
        rounding_deg = _PROOF_ROUNDING_DEG if is_proof else _ROUNDING_DEG
        cos = np.maximum(np.cos(np.radians((boxes[:, 1] + boxes[:, 3]) / 2)), 0.01)
        margins = buffer / _METRES_PER_DEGREE / np.stack([cos, np.ones(len(cos))], axis=1) - rounding_deg
        wide = np.concatenate([boxes[:, :2] - margins, boxes[:, 2:] + margins], axis=1)
        widths, their_widths = wide[:, 2] - wide[:, 0], other_boxes[:, 2] - other_boxes[:, 0]
        for mine, theirs in _near_pairs(_spheres(wide), _spheres(other_boxes), 0, found):
            # how far around the Earth the western edge of the one lies east of that of the other
            east_of = other_boxes[theirs, 0] - wide[mine, 0]
            near = (east_of % 360 < widths[mine]) | (-east_of % 360 < their_widths[theirs])
            near &= (other_boxes[theirs, 3] > wide[mine, 1]) & (other_boxes[theirs, 1] < wide[mine, 3])
            found[mine[near]] = theirs[near]
        return found
    reach_m = buffer - (_PROOF_ROUNDING_M if is_proof else _ROUNDING_M)
    points, _ = geometry.on_ellipsoid(others)
    centers, axes = geometry.on_ellipsoid((boxes[:, :2] + boxes[:, 2:]) / 2)
    footprints = geometry.seen_from(centers, axes, geometry.on_ellipsoid(ground)[0])
    for mine, theirs in _near_pairs(_spheres(boxes), _spheres(other_boxes), buffer, found):
        seen = geometry.seen_from(centers[mine], axes[mine], points[theirs])
        near = geometry.come_within(footprints[mine], seen, reach_m)
        found[mine[near]] = theirs[near]
    return found


def _pixel_circles(ground: NDArray[np.float64]) -> _Circles:
    """Circles around patches, those of each image on a plane of its own."""
    image, left, upper, right, lower = ground.T
    middle = np.stack([(left + right) / 2, (upper + lower) / 2, image * _APART_PX], axis=1)
    return middle, np.hypot(right - left, lower - upper) / 2


def _spheres(boxes: NDArray[np.float64]) -> _Circles:
    """The middles of boxes, (N, 3) in geocentric metres, and how far their corners, and so all of them, reach, (N,)."""
    middle, _ = geometry.on_ellipsoid((boxes[:, :2] + boxes[:, 2:]) / 2)
    corners, _ = geometry.on_ellipsoid(boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    radii = np.linalg.norm(corners - middle[:, None], axis=-1).max(axis=1)
    # of what spans half the Earth or a pole, as a wide buffer around a box may, other places are further
    spans = (boxes[:, 2] - boxes[:, 0] > 180) | (np.abs(boxes[:, 1::2]) > 90).any(axis=1)
    return middle, np.where(spans, 2 * geometry.EARTH_RADIUS_M, radii)


def _near_pairs(
    patches: _Circles, others: _Circles, buffer: float, found: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of patches, by their places, with all that lie within the buffer; a part at a time, nearest middles first.

    A patch is not asked for any more when its place in ``found`` is not negative.
    """
    from scipy.spatial import cKDTree  # opening a dataset need not wait for it

    (middles, radii), (other_middles, other_radii) = patches, others
    tree, reach = cKDTree(other_middles), 1.01 * (radii + other_radii.max() + buffer) + 1
    distance, nearest = tree.query(middles, distance_upper_bound=reach.max())
    left = np.flatnonzero(distance < reach)
    yield left, nearest[left]
    left = left[found[left] < 0]
    count = tree.query_ball_point(middles[left], reach[left], return_length=True)
    cuts = np.searchsorted(np.cumsum(count), range(_TOGETHER, int(count.sum()), _TOGETHER))
    for part in np.split(np.arange(len(left)), cuts):
        lists = tree.query_ball_point(middles[left[part]], reach[left[part]])
        yield np.repeat(left[part], count[part]), np.fromiter(chain.from_iterable(lists), np.int64)
