"""Tiles: they cover all, their weights sum to one, and any run of rows is the same as in one go."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.maps import by_place
from support.properties import examples

from alos2tut.dataset.encoding import NO_DATA, encode_db
from alos2tut.mapping.matching import sliding
from alos2tut.networks.tiling import TileGrid, blended_rows, tile_starts, tile_weights


@examples(40)
@given(size=st.integers(1, 200), tile=st.integers(1, 40), data=st.data())
def test_tiles_cover_every_pixel_and_their_weights_sum_to_one(size, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts, weights = tile_starts(size, tile, overlap), tile_weights(size, tile, overlap)
    total = np.zeros(max(size, tile))
    for start, weight in zip(starts, weights, strict=True):
        assert 0 <= start <= max(size - tile, 0) and (weight > 0).all()
        total[start : start + tile] += weight
    assert total == pytest.approx(1, abs=1e-6)
    assert len(starts) == len(set(starts)) and all(b - a <= tile - overlap for a, b in itertools.pairwise(starts))


def seen(grid: TileGrid, stored: np.ndarray, rows: tuple[int, int], predict) -> np.ndarray:
    """Probabilities (classes, image rows, columns) of some rows of tiles of a stored image."""
    height = grid.tile_px[0]
    padded = np.full((max(height, stored.shape[0]), grid.padded_width), NO_DATA, np.int16)
    padded[: stored.shape[0], : stored.shape[1]] = stored
    given = (padded[None, top : top + height] for top in grid.tops[grid.reaching(rows[0]) :])
    found = blended_rows(predict, given, grid, rows, classes=3, batch_size=3, device=torch.device("cpu"))
    return np.concatenate([probability.numpy().copy() for _, probability, _ in found], axis=1)


@examples(40)
@given(height=st.integers(1, 70), width=st.integers(1, 60), overlap=st.integers(0, 11), seed=st.integers(0, 99))
def test_any_run_of_rows_is_the_same_as_in_one_go_to_the_bit(height, width, overlap, seed):
    random = np.random.default_rng(seed)
    stored = encode_db(random.normal(-12, 5, (height, width)).astype(np.float32))
    grid = TileGrid((height, width), (12, 16), overlap)
    count = len(grid.tops)

    def predict(tiles):
        return by_place((tiles.float() / 100 + 12) / 5).softmax(dim=1)

    at_once = seen(grid, stored, (0, count), predict)
    assert at_once.shape == (3, height, width)
    assert at_once.sum(axis=0) == pytest.approx(1, abs=1e-6)
    cuts = sorted({0, count, *random.integers(0, count + 1, 3).tolist()})
    parts = [seen(grid, stored, run, predict) for run in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), at_once)


def test_threads_change_no_bit():
    stored = encode_db(np.random.default_rng(0).normal(-12, 5, (80, 90)).astype(np.float32))
    grid, network = TileGrid(stored.shape, (12, 16), 4), torch.nn.Conv2d(1, 3, 5, padding="same")
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(seen(grid, stored, (0, len(grid.tops)), lambda tiles: network(tiles / 1000).softmax(dim=1)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("overlap", [0, 1, 5, 11])
def test_a_ramp_of_logits_shows_no_seam(overlap):
    """What a network says that sees each pixel for itself: blending it must change nothing."""
    rows, cols = np.mgrid[:67, :91]
    stored = encode_db((-20 + 0.11 * rows + 0.07 * cols).astype(np.float32))

    def ramp(tiles):
        level = tiles.float() / 100 + 12
        return torch.cat([level, -0.5 * level, 0.2 * level + 1], dim=1).softmax(dim=1)

    grid = TileGrid((67, 91), (12, 16), overlap)
    blended = seen(grid, stored, (0, len(grid.tops)), ramp)
    direct = ramp(torch.from_numpy(stored)[None, None])[0].numpy()
    assert np.abs(blended - direct).max() < 1e-6


@examples(60)
@given(data=st.data(), size=st.integers(1, 60), block=st.integers(1, 25))
def test_windows_slide_over_blocks(data, size, block):
    image = np.arange(size * 2).reshape(size, 2)
    starts = sorted(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8)))
    length = data.draw(st.integers(1, 30))
    spans = [(start, start + length) for start in starts]
    found = list(sliding((image[i : i + block] for i in range(0, size, block)), spans))
    for (first, last), window in zip(spans, found, strict=True):
        np.testing.assert_array_equal(window, image[first:last])
