"""Ground dealt to the splits: against the rule written plainly, patch by patch, and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.properties import examples

from alos2tut import Alos2TutError
from alos2tut.dataset.splits import (
    BUFFER,
    PRETRAIN,
    TEST,
    VAL,
    assign_splits,
    away_from,
    check_ground,
    enclosing_boxes,
    ground_blocks,
)

DEGREE_M = 111_320.0
DEALT = {"block_m": 5000.0, "buffer_m": 700.0, "val_fraction": 0.2, "test_fraction": 0.15, "seed": 0}


def grid_of_patches(south: float, west: float, rows: int = 12, cols: int = 12, side_m: float = 1280) -> np.ndarray:
    """Boxes of a grid of patches, a little larger than their distance, as those of squares askew are."""
    height = side_m / DEGREE_M
    width = height / math.cos(math.radians(south))
    row, col = (index.ravel() for index in np.mgrid[:rows, :cols])
    left, bottom = west + width * col, south + height * row
    return np.stack([left, bottom, left + 1.01 * width, bottom + 1.01 * height], axis=1)


# --- the rule, one patch at a time


def plain_block(box: np.ndarray, block_m: float) -> tuple[int, int]:
    block_deg = block_m / DEGREE_M
    row = math.floor((box[1] + box[3]) / 2 / block_deg)
    width_deg = block_deg / max(math.cos(math.radians((row + 0.5) * block_deg)), 0.01)
    return row, math.floor((box[0] + box[2]) / 2 / width_deg)


def plain_is_away(box: np.ndarray, others: np.ndarray, buffer_m: float, rounding: float = 1e-9) -> bool:
    west, south, east, north = box
    margin_lat = buffer_m / DEGREE_M
    margin_lon = margin_lat / max(math.cos(math.radians((south + north) / 2)), 0.01)
    apart = np.zeros(len(others), dtype=bool)
    apart |= (others[:, 3] <= south - margin_lat + rounding) | (others[:, 1] >= north + margin_lat - rounding)
    beside = np.ones(len(others), dtype=bool)
    for turn in (-360, 0, 360):
        left, right = others[:, 0] + turn, others[:, 2] + turn
        beside &= (right <= west - margin_lon + rounding) | (left >= east + margin_lon - rounding)
    return bool((apart | beside).all())


def plain_deal(boxes, counts, *, block_m, buffer_m, val_fraction, test_fraction, seed):
    block_of = [plain_block(box, block_m) for box in boxes]
    blocks = sorted(set(block_of))
    members = {block: [i for i, other in enumerate(block_of) if other == block] for block in blocks}
    sizes = np.array([len(members[block]) for block in blocks])
    per_block = np.array([sum(counts[i] for i in members[block]) for block in blocks], dtype=float)
    rng = np.random.default_rng([seed, 11])
    wanted = np.array([1 - val_fraction - test_fraction, val_fraction, test_fraction])
    totals = np.maximum(per_block.sum(axis=0), 1)
    best, best_cost = None, math.inf
    for _ in range(400):
        order = rng.permutation(len(sizes))
        share = np.cumsum(sizes[order]) / sizes.sum()
        n_val = max(1, int((share <= wanted[1]).sum()))
        n_test = max(1, int((share <= wanted[1] + wanted[2]).sum()) - n_val)
        role = np.zeros(len(sizes), dtype=int)
        role[order[:n_val]], role[order[n_val : n_val + n_test]] = 1, 2
        got = np.array([sizes[role == r].sum() for r in range(3)]) / sizes.sum()
        by_class = np.array([per_block[role == r].sum(axis=0) for r in range(3)]) / totals
        ratios = np.log((by_class[:, per_block.sum(axis=0) > 0] + 0.01) / (wanted[:, None] + 0.01))
        cost = np.abs(got - wanted).sum() + (np.abs(ratios).mean() if ratios.size else 0.0)
        if cost < best_cost:
            best, best_cost = role, cost
    ground = [
        [i for block, r in zip(blocks, best, strict=True) if r == code for i in members[block]] for code in (0, 1, 2)
    ]
    ground[1] = [i for i in ground[1] if plain_is_away(boxes[i], boxes[ground[2]], buffer_m)]
    ground[0] = [i for i in ground[0] if plain_is_away(boxes[i], boxes[ground[1] + ground[2]], buffer_m)]
    roles = np.full(len(boxes), -1)
    for code in (0, 1, 2):
        roles[ground[code]] = code
    return roles


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("buffer_m", [0.0, 700.0, 3000.0])
def test_ground_is_dealt_by_the_plain_rule(seed, buffer_m):
    random = np.random.default_rng(seed)
    boxes = np.concatenate([grid_of_patches(35.1, 139.2), grid_of_patches(35.12, 139.25), grid_of_patches(43, 141)])
    boxes = boxes[random.permutation(len(boxes))[:350]]
    counts = random.integers(0, 1000, (len(boxes), 4)) * random.integers(0, 2, (len(boxes), 4)) * [1, 1, 1, 0]
    asked = DEALT | {"seed": seed, "buffer_m": buffer_m}
    dealt = assign_splits(boxes, counts, **asked)
    assert dealt.dtype == np.int8
    np.testing.assert_array_equal(dealt, plain_deal(boxes, counts, **asked))


def test_patches_without_labels_are_dealt_by_their_number():
    boxes = grid_of_patches(35.1, 139.2)
    nothing = np.zeros((len(boxes), 3), dtype=np.int64)
    np.testing.assert_array_equal(assign_splits(boxes, nothing, **DEALT), plain_deal(boxes, nothing, **DEALT))


# --- the lattice


@given(st.lists(st.tuples(st.floats(-179.9, 179.9), st.floats(-88, 88)), min_size=1), st.sampled_from([640.0, 1e4]))
def test_blocks_are_those_of_the_plain_rule_for_any_company(places, block_m):
    boxes = np.array([(x - 0.001, y - 0.001, x + 0.001, y + 0.001) for x, y in places])
    blocks = ground_blocks(boxes, block_m)
    assert blocks.dtype == np.int64
    np.testing.assert_array_equal(blocks, [plain_block(box, block_m) for box in boxes])
    np.testing.assert_array_equal(blocks[:1], ground_blocks(boxes[:1], block_m))


# --- the buffer


boxes_anywhere = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    st.integers(-40, 40).map(lambda step: step / 100) | st.sampled_from([179.9, -179.99, -180.0]),
    st.integers(-60, 60).map(lambda step: 35 + step / 100),
    st.integers(0, 30).map(lambda step: step / 100),
    st.integers(0, 30).map(lambda step: step / 100),
)  # fmt: skip


@given(
    st.lists(boxes_anywhere, min_size=1, max_size=30),
    st.lists(boxes_anywhere, max_size=30),
    st.sampled_from([0.0, 500.0, 5_000.0, 50_000.0, 1e7]),
)
@examples(300)
def test_boxes_away_from_all_others_are_those_of_brute_force(boxes, others, buffer_m):
    mine, theirs = np.array(boxes), np.array(others).reshape(-1, 4)
    expected = [plain_is_away(box, theirs, buffer_m) for box in mine]
    np.testing.assert_array_equal(away_from(mine, theirs, buffer_m), expected)


def moved(box: np.ndarray, east: float, north: float) -> np.ndarray:
    return box + np.array([east, north, east, north])


def test_the_buffer_is_metres_on_the_ground():
    box = np.array([[139.0, 60.0, 139.01, 60.01]])
    for gap_m, is_away in ((990, False), (1010, True)):
        north, east = gap_m / DEGREE_M, gap_m / DEGREE_M / math.cos(math.radians(60.005))
        assert away_from(box, moved(box, 0, 0.01 + north), 1000).all() == is_away
        assert away_from(box, moved(box, 0.01 + east, 0), 1000).all() == is_away


def test_the_middle_latitude_of_a_box_turns_the_buffer_into_longitude():
    box = np.array([[139.0, 60.0, 139.01, 61.0]])
    east = 10_000 / DEGREE_M / math.cos(math.radians(60.5))
    assert not away_from(box, moved(box, 0.01 + 0.998 * east, 0), 10_000).any()
    assert away_from(box, moved(box, 0.01 + 1.002 * east, 0), 10_000).all()


@given(st.integers(0, 10**6), st.sampled_from([0.0, 300.0, 2000.0]), st.sampled_from([-179.95, 12.0, 139.0, 179.95]))
@examples(40)
def test_what_was_assigned_is_proven_apart_though_lists_round(seed, buffer_m, west):
    random = np.random.default_rng(seed)
    grids = [grid_of_patches(35 + random.uniform(0, 0.1), west + random.uniform(0, 0.1), 9, 9) for _ in range(3)]
    boxes = np.concatenate(grids)
    role = assign_splits(boxes, random.integers(0, 100, (243, 3)), **DEALT | {"buffer_m": buffer_m, "seed": seed})
    assert set(np.unique(role)) <= {PRETRAIN, VAL, TEST, BUFFER} and (role == TEST).any()
    lists = {"pretrain": PRETRAIN, "val": VAL, "test": TEST}
    rounded = {name: np.round(boxes[role == code], 7) for name, code in lists.items()}
    check_ground(rounded | {"train": rounded["pretrain"][::2]}, buffer_m, where="here")


# --- the proof on opening


@pytest.fixture
def lists() -> dict[str, np.ndarray]:
    boxes = grid_of_patches(35.1, 139.2, 10, 10)
    role = assign_splits(boxes, np.ones((100, 2), dtype=np.int64), **DEALT)
    pretrain = boxes[role == PRETRAIN]
    return {"pretrain": pretrain, "train": pretrain[1:], "val": boxes[role == VAL], "test": boxes[role == TEST]}


def test_lists_apart_pass_also_without_some_and_a_larger_buffer_than_was_kept_is_noticed(lists):
    check_ground(lists, 700, where="here")
    check_ground({"train": lists["train"], "test": lists["test"]}, 700, where="here")
    check_ground({"train": lists["train"], "val": lists["val"][:0]}, 700, where="here")
    check_ground({}, 700, where="here")
    with pytest.raises(Alos2TutError, match="less than 5000 m from"):
        check_ground(lists, 5000, where="here")


@pytest.mark.parametrize(("name", "other"), [("pretrain", "val"), ("train", "test"), ("val", "test"), ("mine", "val")])
def test_lists_that_meet_are_refused_with_a_row_of_each(lists, name, other):
    strayed = lists[other][2] + 0.001
    lists[name] = np.concatenate([lists.get(name, lists["train"])[:4], [strayed]])
    with pytest.raises(Alos2TutError) as error:
        check_ground(lists, 0, where="dataset-1")
    message = str(error.value)
    assert message.startswith("dataset-1: ") and f"row 5 of the list '{name}'" in message and f"of '{other}'" in message
    row = int(message.partition(f" of '{other}'")[0].rpartition(" ")[2]) - 1
    assert not plain_is_away(strayed, lists[other][[row]], 0, rounding=1e-6)


def test_what_rounding_to_seven_decimals_does_is_no_overlap():
    box = np.array([[139.0, 35.0, 139.01, 35.01]])
    check_ground({"train": box, "val": moved(box, 0.01 - 1e-7, 0)}, 0, where="here")
    with pytest.raises(Alos2TutError, match="overlaps that of row 1 of 'val'"):
        check_ground({"train": box, "val": moved(box, 0.01 - 1e-5, 0)}, 0, where="here")


@pytest.mark.parametrize(
    ("box", "told"),
    [
        pytest.param([139, 35, math.nan, 36], "no box", id="not a number"),
        pytest.param([139, 36, 140, 35], "no box", id="upside down"),
        pytest.param([-179.99, 35, 179.99, 36], "no box", id="around the Earth"),
        pytest.param([10, 89.2, 10.1, 89.3], "89° of latitude", id="pole"),
        pytest.param([10, -89.3, 10.1, -89.2], "89° of latitude", id="other pole"),
    ],
)
def test_boxes_that_cannot_be_are_refused(lists, box, told):
    lists["val"] = np.concatenate([lists["val"], [box]])
    with pytest.raises(Alos2TutError, match=f"'val': row {len(lists['val'])}.*{told}"):
        check_ground(lists, 0, where="here")
    with pytest.raises(Alos2TutError, match=told):
        ground_blocks(np.array([box]), 1000)


# --- around the Earth


def test_boxes_enclose_patches_on_both_sides_of_the_antimeridian():
    longitude = np.array([[179.98, -179.99, 179.97, -179.98], [-179.99, 179.98, -179.98, 179.97], [10, 11, 10.5, 10.2]])
    latitude = np.array([[10, 10.1, 9.9, 10], [10, 10.1, 9.9, 10], [1, 2, 0, 1]])
    boxes = enclosing_boxes(np.stack([longitude, latitude], axis=2))
    np.testing.assert_allclose(boxes, [[179.97, 9.9, 180.02, 10.1]] * 2 + [[10, 0, 11, 2]], atol=1e-9)


def test_ground_across_the_antimeridian_is_near():
    east, west = np.array([[179.99, 35, 179.999, 35.01]]), np.array([[-180.0, 35, -179.99, 35.01]])
    across = np.array([[179.995, 35, 180.005, 35.01]])
    assert not away_from(east, west, 1000).any() and not away_from(west, east, 1000).any()
    assert away_from(east, west, 50).all()
    assert not away_from(west, across, 0).any() and not away_from(across, east, 0).any()
    with pytest.raises(Alos2TutError, match="less than 1000 m"):
        check_ground({"train": east, "test": west}, 1000, where="here")


def test_a_patch_across_the_antimeridian_is_in_the_block_of_its_centre():
    boxes = np.array([[179.99, 35, 180.02, 35.01], [-179.999, 35, -179.99, 35.01]])
    blocks = ground_blocks(boxes, 10_000)
    np.testing.assert_array_equal(blocks[0], blocks[1])


# --- what cannot be dealt


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        pytest.param({"block_m": 1e6}, ["100 patches lie in", "at least 3", "block_m"], id="one block"),
        pytest.param({"val_fraction": 0.6, "test_fraction": 0.5}, ["nothing to train on"], id="no training"),
    ],
)
def test_ground_that_cannot_be_dealt_is_refused(changes, parts):
    boxes = grid_of_patches(35.1, 139.2, 10, 10)
    with pytest.raises(Alos2TutError) as error:
        assign_splits(boxes, np.ones((100, 2), dtype=np.int64), **DEALT | changes)
    assert all(part in str(error.value) for part in parts)
    with pytest.raises(Alos2TutError, match="no patch"):
        assign_splits(boxes[:0], np.ones((0, 2), dtype=np.int64), **DEALT)
