"""Ground dealt to the splits: against the rule written plainly, patch by patch, and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points
from support.properties import examples

from alos2tut import Alos2TutError, geometry
from alos2tut.dataset import splits
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
DEALT = {"block": 5000.0, "buffer": 700.0, "val_fraction": 0.2, "test_fraction": 0.15, "seed": 0}


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


def plain_deal(boxes, counts, *, block, buffer, val_fraction, test_fraction, seed):
    block_of = [plain_block(box, block) for box in boxes]
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
    ground[1] = [i for i in ground[1] if plain_is_away(boxes[i], boxes[ground[2]], buffer)]
    ground[0] = [i for i in ground[0] if plain_is_away(boxes[i], boxes[ground[1] + ground[2]], buffer)]
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
    asked = DEALT | {"seed": seed, "buffer": buffer_m}
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
    role = assign_splits(boxes, random.integers(0, 100, (243, 3)), **DEALT | {"buffer": buffer_m, "seed": seed})
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
        pytest.param({"block": 1e6}, ["100 patches lie in", "at least 3", "block_m"], id="one block"),
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


# --- footprints: against geodesics by PROJ and plain geometry, pair by pair


def footprints_of(crs: str, corner: tuple[float, float], turn_deg: float, side: float, n: int = 4) -> np.ndarray:
    """The (n², 4, 2) corners in degrees, as lists hold them, of a grid of patches from a corner in degrees on."""
    start = reproject_points("EPSG:4326", crs, *([value] for value in corner))
    grid = Affine.translation(start[0][0], start[1][0]) * Affine.rotation(turn_deg) * Affine.scale(side, -side)
    places = [(col + x, row + y) for row in range(n) for col in range(n) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    lonlat = reproject_points(crs, "EPSG:4326", *zip(*(grid * place for place in places), strict=True))
    return np.round(np.transpose(lonlat).reshape(-1, 4, 2), 9)


def plain_distance_m(one: np.ndarray, other: np.ndarray) -> float:
    """Between two footprints, on PROJ's plane of true distances from the second; 0 where they share ground."""
    lon, lat = other[0]
    plane = CRS.from_proj4(f"+proj=aeqd +lat_0={lat:.12f} +lon_0={lon:.12f} +datum=WGS84 +units=m")
    polygons = []
    for corners in (one, other):
        polygons.append(np.transpose(reproject_points("EPSG:4326", plane, *corners.T)).tolist())
    sides = [list(zip(polygon, polygon[1:] + polygon[:1], strict=True)) for polygon in polygons]

    def cross(o, a, b):
        return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])

    for polygon, around in zip(polygons, sides[::-1], strict=True):
        for point in polygon:
            turns = [cross(a, b, point) for a, b in around]
            if max(turns) < 0 or min(turns) > 0:
                return 0.0
    for a, b in sides[0]:
        for c, d in sides[1]:
            if cross(a, b, c) * cross(a, b, d) < 0 and cross(c, d, a) * cross(c, d, b) < 0:
                return 0.0

    def to_side(p, a, b):
        along = ((p[0] - a[0]) * (b[0] - a[0]) + (p[1] - a[1]) * (b[1] - a[1])) / math.dist(a, b) ** 2
        along = min(1, max(0, along))
        return math.dist(p, (a[0] + along * (b[0] - a[0]), a[1] + along * (b[1] - a[1])))

    return min(to_side(p, *side) for k in (0, 1) for p in polygons[k] for side in sides[1 - k])


#: two grids each: coordinate system, corner in degrees, turned by, side of a patch
GRIDS = {
    "one zone, askew": (("EPSG:32654", (139.3, 35.2), 0, 640.0), ("EPSG:32654", (139.305, 35.19), 31, 700.0)),
    "two zones": (("EPSG:32653", (137.985, 35.5), 0, 640.0), ("EPSG:32654", (137.99, 35.49), 0, 640.0)),
    "across 180°": (("EPSG:32660", (179.985, 12.0), 0, 640.0), ("EPSG:32601", (179.99, 11.99), 0, 640.0)),
    "south, across 180°": (("EPSG:32760", (179.985, -16.5), 10, 640.0), ("EPSG:32701", (-179.995, -16.51), 0, 640.0)),
    "south": (("EPSG:32719", (-70.01, -33.4), 0, 640.0), ("EPSG:32718", (-70.0, -33.41), 45, 500.0)),
    "geographic and UTM": (("EPSG:4326", (139.0, 45.0), 0, 0.008), ("EPSG:32654", (139.01, 44.99), 0, 640.0)),
    "70° north": (("EPSG:32633", (12.02, 70.0), 0, 640.0), ("EPSG:32632", (12.0, 70.0), 0, 640.0)),
    "geographic, 70° south": (("EPSG:4326", (179.99, -70.0), 0, 0.01), ("EPSG:3031", (179.993, -70.003), 20, 900.0)),
}


@pytest.mark.parametrize("grids", GRIDS.values(), ids=GRIDS)
def test_footprints_away_from_all_others_are_those_of_brute_force(grids):
    mine, theirs = (footprints_of(*grid) for grid in grids)
    # so that some have others on all sides and some on none
    theirs = theirs[[0, 3, 5, 14]]
    distance = np.array([[plain_distance_m(one, other) for other in theirs] for one in mine])
    for buffer_m in (0.0, 1.0, 300.0, 640.0, 1000.0):
        near = (distance < buffer_m) if buffer_m else (distance == 0)
        np.testing.assert_array_equal(away_from(mine, theirs, buffer_m), ~near.any(axis=1))
    assert (distance == 0).any() and (distance > 300).any()
    # the very distances, to a centimetre
    for one, of_pairs in zip(mine, distance, strict=True):
        for other, metres in zip(theirs, of_pairs, strict=True):
            if metres > 0.1:
                assert away_from(one[None], other[None], metres - 0.02).all()
                assert not away_from(one[None], other[None], metres + 0.02).any()


@given(st.integers(0, 10**6), st.sampled_from([0.0, 5.0, 700.0, 3000.0]), st.sampled_from([179.97, 12.0, -0.02]))
@examples(12)
def test_what_was_assigned_by_footprints_is_proven_apart(seed, buffer_m, west):
    random = np.random.default_rng(seed)
    places = [(west + random.uniform(0, 0.05), 50 + random.uniform(0, 0.05)) for _ in range(3)]
    ground = np.concatenate([footprints_of("EPSG:3857", place, random.uniform(0, 90), 1280, 8) for place in places])
    role = assign_splits(ground, random.integers(0, 100, (192, 3)), **DEALT | {"buffer": buffer_m, "block": 3000})
    lists = {"pretrain": ground[role == PRETRAIN], "val": ground[role == VAL], "test": ground[role == TEST]}
    check_ground(lists | {"train": lists["pretrain"][::2]}, buffer_m, where="here")
    # what was given up does meet what it gave way to
    given_up, kept = ground[role == BUFFER], np.concatenate([lists["val"], lists["test"]])
    dropped_val = away_from(given_up, kept, buffer_m + 0.1)
    assert not dropped_val.any()


def roles(ground: np.ndarray, buffer_m: float) -> np.ndarray:
    return assign_splits(ground, np.ones((len(ground), 1), dtype=np.int64), **DEALT | {"buffer": buffer_m})


@pytest.mark.parametrize(
    ("crs", "corner", "turn", "side"),
    [("EPSG:32654", (139.3, 35.2), 0, 640.0), ("EPSG:32660", (179.97, -40.0), 8, 640.0),
     ("EPSG:4326", (12.0, 70.05), 0, 0.01), ("EPSG:32633", (17.9, 70.0), 0, 1280.0)],
)  # fmt: skip
def test_patches_of_one_grid_touch_and_share_no_ground(crs, corner, turn, side):
    ground = footprints_of(crs, corner, turn, side, 20)
    role = roles(ground, 0.0)
    assert (role != BUFFER).all()
    # from a metre on it is the neighbours that fall, with those at the corners, and nobody else
    lattice = role.reshape(20, 20)
    for buffer_m in (1.0, 100.0, 250.0):
        expected = lattice.copy()
        for name, others in ((VAL, (TEST,)), (PRETRAIN, (VAL, TEST))):
            held = np.pad(np.isin(expected, others), 1)
            beside = np.any([held[r : r + 20, c : c + 20] for r in range(3) for c in range(3)], axis=0)
            expected[(expected == name) & beside] = BUFFER
        np.testing.assert_array_equal(roles(ground, buffer_m).reshape(20, 20), expected)


def test_buffers_near_a_multiple_of_the_side_are_right():
    # by the zone's middle a metre of the map is 1 / 0.9996 m of ground
    row = footprints_of("EPSG:32654", (141.0, 36.0), 0, 640.0, 9)[:9]
    for between in range(1, 5):
        gap_m = between * 640 / 0.9996
        assert away_from(row[between + 1 : between + 2], row[:1], gap_m - 0.02).all()
        assert not away_from(row[between + 1 : between + 2], row[:1], gap_m + 0.02).any()


def test_the_plane_is_as_true_as_it_says():
    random = np.random.default_rng(0)
    for lat, most_m, error_m in ((0.0, 1e4, 1e-3), (35.0, 1e4, 1e-3), (-70.0, 1e4, 1e-3), (45.0, 1e5, 0.1)):
        center = np.array([[179.9, lat]])
        mine, theirs = (random.uniform(-half, half, (200, 2)) for half in (640, most_m / 2**0.5))
        plane = CRS.from_proj4(f"+proj=aeqd +lat_0={lat} +lon_0=179.9 +datum=WGS84 +units=m")
        places = [np.transpose(reproject_points(plane, "EPSG:4326", *xy.T)) for xy in (mine, theirs)]
        m, axes = geometry.on_ellipsoid(center)
        seen = [geometry.seen_from(m, axes, geometry.on_ellipsoid(p)[0][None])[0] for p in places]
        found = np.hypot(*(seen[0] - seen[1]).T)
        for one, other, metres in list(zip(places[0], places[1], found, strict=True))[:20]:
            exact = CRS.from_proj4(f"+proj=aeqd +lat_0={one[1]:.12f} +lon_0={one[0]:.12f} +datum=WGS84 +units=m")
            x, y = reproject_points("EPSG:4326", exact, [other[0]], [other[1]])
            assert metres == pytest.approx(math.hypot(x[0], y[0]), abs=error_m)


def test_wide_buffers_and_many_pairs_are_those_of_brute_force(monkeypatch):
    ground = footprints_of("EPSG:32654", (139.3, 35.2), 12, 300.0, 28)
    random = np.random.default_rng(0)
    theirs = ground[random.permutation(200)[:100]]
    expected = {b: away_from(ground, theirs, b) for b in (50.0, 900.0, 4000.0)}
    m, axes = geometry.on_ellipsoid(ground.mean(axis=1))
    mine, others = (geometry.on_ellipsoid(places)[0] for places in (ground, theirs))
    here = geometry.seen_from(m, axes, mine)
    nearest = np.array([[geometry.seen_from(m[i : i + 1], axes[i : i + 1], other[None])[0] for other in others]
                        for i in range(0, len(ground), 16)])  # fmt: skip
    for buffer_m, away in expected.items():
        plain = [not geometry.come_within(np.repeat(h[None], len(n), 0), n, buffer_m - 0.005).any()
                 for h, n in zip(here[::16], nearest, strict=True)]  # fmt: skip
        np.testing.assert_array_equal(away[::16], plain)
        assert 0 < sum(plain) < len(plain)
    # who is named is near
    for mine, others in ((ground, theirs), (enclosing_boxes(ground), enclosing_boxes(theirs))):
        found = splits._one_too_near(mine, others, 4000.0, is_proof=False)
        named = np.flatnonzero(found >= 0)[::9]
        assert len(named) > 20
        assert not any(away_from(mine[[i]], others[[found[i]]], 4000.0) for i in named)
    # however few are compared at once
    monkeypatch.setattr(splits, "_TOGETHER", 7)
    np.testing.assert_array_equal(away_from(ground[::16], theirs, 900.0), expected[900.0][::16])


@pytest.mark.parametrize(("shift_deg", "meets"), [(0.0, False), (2e-9, False), (1e-6, True), (1e-4, True)])
def test_what_rounding_to_nine_decimals_does_is_no_overlap(shift_deg, meets):
    one, other = footprints_of("EPSG:32654", (139.3, 35.2), 0, 640.0, 2)[:2]
    other = other - [shift_deg, 0]
    for lists in ({"train": one[None], "val": other[None]}, {"val": one[None], "test": other[None]}):
        if not meets:
            check_ground(lists, 0, where="here")
            continue
        with pytest.raises(Alos2TutError, match=r"row 1 of the list '\w+' overlaps that of row 1 of '\w+'\. "):
            check_ground(lists, 0, where="here")


def test_a_list_without_corners_is_proved_by_boxes_and_says_so():
    ground = footprints_of("EPSG:32653", (137.9, 35.2), 0, 640.0, 2)
    lists = {"train": ground[:1], "test": ground[1:2]}
    check_ground(lists, 0, where="here")
    with pytest.raises(Alos2TutError, match="by boxes in degrees, as the lists hold no corners"):
        check_ground(lists | {"test": enclosing_boxes(lists["test"])}, 0, where="here")
    assert not away_from(ground[:1], enclosing_boxes(ground[1:2]), 0).any()


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [0, 0, 1, 2], [0, 1, 0, 1]], ids=["crossed", "triangle", "line"])
def test_corners_that_are_no_patch_are_refused(order):
    ground = footprints_of("EPSG:32653", (137.9, 35.2), 0, 640.0, 2)
    with pytest.raises(Alos2TutError, match=r"'val': row 2: corners .* in order around it"):
        check_ground({"val": np.stack([ground[0], ground[1][order]])}, 0, where="here")
    spoiled = ground.copy()
    for value in (math.nan, math.inf, 1e300):
        spoiled[3, 2, 0] = value
        with pytest.raises(Alos2TutError, match="row 4: corners"):
            ground_blocks(spoiled, 1000)
