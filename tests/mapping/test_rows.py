"""Rows of tiles of a map: stopped, killed, shared and found again, the map is the same to the bit."""

import itertools
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.maps import OPTIONS, Model, constant, layers, map_scene, read, write_segmenter

import alos2tut
from alos2tut import Alos2TutError, Alos2TutWarning, open_product
from alos2tut.core.parallel import cores, folder_lock, process_pool
from alos2tut.mapping import rows as map_rows
from alos2tut.mapping.rows import DeviceExecutor
from alos2tut.networks import tiling
from alos2tut.networks.segmenter import Segmenter
from alos2tut.networks.tiling import tile_starts

#: how many rows of tiles the map has
ROWS = len(tile_starts(351, 64, 16))


def mapped_rows(monkeypatch, *arguments, stop_after=None, **options) -> list[int]:
    """Map, until the network fails after so many forward passes; which rows of tiles are mapped."""
    passes, rows = itertools.count(), []
    probabilities, mapped = tiling._probabilities, map_rows._mapped_rows

    def failing(*given):
        if next(passes) == stop_after:
            raise KeyboardInterrupt
        return probabilities(*given)

    def noted(*given):
        for row, found in mapped(*given):
            rows.append(row)
            yield row, found

    with monkeypatch.context() as patch:
        patch.setattr(tiling, "_probabilities", failing)
        patch.setattr(map_rows, "_mapped_rows", noted)
        with nullcontext() if stop_after is None else pytest.raises(KeyboardInterrupt):
            map_scene(*arguments, **OPTIONS | options)
    return rows


@pytest.mark.parametrize("after", [0, 1, 12, 20, 32])
def test_a_stopped_map_goes_on_and_is_the_same_to_the_bit(to_map, tmp_path, monkeypatch, capsys, after):
    product, segmenter, expected = to_map
    out = tmp_path / "map.tif"
    rows = mapped_rows(monkeypatch, product, segmenter, out, stop_after=after)
    assert not out.exists() and len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) == len(rows)
    rows += mapped_rows(monkeypatch, product, segmenter, out)
    assert rows == list(range(ROWS)) and layers(out) == expected
    assert ("going on" in capsys.readouterr().out) == (after >= 12)
    assert not (tmp_path / "map.tif.partial").exists()


def test_a_hole_of_damaged_and_lost_rows_is_mapped_again(to_map, tmp_path, monkeypatch):
    product, segmenter, expected = to_map
    out = tmp_path / "map.tif"
    done = mapped_rows(monkeypatch, product, segmenter, out, stop_after=30)
    kept = sorted((tmp_path / "map.tif.partial").glob("row-*.npz"))
    assert len(kept) >= 4
    kept[1].unlink()
    content = bytearray(kept[3].read_bytes())
    content[len(content) // 2] ^= 255
    kept[3].write_bytes(content)
    assert mapped_rows(monkeypatch, product, segmenter, out) == [1, 3, *range(len(done), ROWS)]
    assert layers(out) == expected


def test_a_map_that_fails_leaves_threads_as_they_were(to_map, tmp_path):
    product, segmenter, _ = to_map
    before, alive = torch.get_num_threads(), set(threading.enumerate())
    broken = alos2tut.load_segmenter(segmenter)
    for parameter in broken.parameters():
        parameter.data.fill_(torch.nan)
    try:
        torch.set_num_threads(2)
        with pytest.raises(Alos2TutError, match="NaN") as caught:
            map_scene(product, broken, tmp_path / "map.tif")
        # while its traceback is kept, as a notebook does
        assert torch.get_num_threads() == 2 and set(threading.enumerate()) <= alive and caught.tb
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("change", ["overlap_px", "segmenter", "names"])
def test_what_another_map_left_is_not_used(to_map, tmp_path, monkeypatch, change):
    product, segmenter, _ = to_map
    out = tmp_path / "map.tif"
    mapped_rows(monkeypatch, product, segmenter, out, stop_after=8)
    other = write_segmenter(tmp_path / "other.safetensors", seed=1) if change == "segmenter" else segmenter
    second = {"overlap_px": {"overlap_px": 20}, "names": {"probability": True}}.get(change, {})
    map_scene(product, other, out, **second)
    map_scene(product, other, tmp_path / "fresh.tif", **second)
    assert out.read_bytes() == (tmp_path / "fresh.tif").read_bytes()


KILLED = """
import sys, time
import torch
torch.set_num_threads(int(sys.argv[4]))
from alos2tut import map_scene
from alos2tut.mapping import MapConfig
from alos2tut.networks import tiling
original = tiling._probabilities
def slowly(*arguments):
    time.sleep(0.2)
    return original(*arguments)
tiling._probabilities = slowly
map_scene(*sys.argv[1:4], MapConfig(probability=True, entropy=True, batch_size=2, preview=False))
"""


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_map_that_is_killed_again_and_again_is_the_same_to_the_bit(to_map, tmp_path, kills):
    product, segmenter, expected = to_map
    out = tmp_path / "map.tif"
    command = [sys.executable, "-c", KILLED, str(product), str(segmenter), str(out), str(torch.get_num_threads())]
    random = np.random.default_rng(0)
    for kill in range(kills):
        with subprocess.Popen(command, cwd=tmp_path) as process:
            # later ones anywhere: while it starts, maps, or writes the rasters
            rows = len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) + 1 + (kill == 0)
            until = time.monotonic() + (60 if kill == 0 else random.uniform(1, 6))
            while process.poll() is None and time.monotonic() < until:
                if len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) >= rows and random.random() < 0.5:
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL or kill > 0
    assert not out.exists() or kills > 1
    map_scene(product, segmenter, out, **OPTIONS)
    assert layers(out) == expected and not (tmp_path / "map.tif.partial").exists()


def test_two_at_one_map_do_not_get_into_each_others_way(to_map, tmp_path):
    product, segmenter, _ = to_map
    with folder_lock(tmp_path / "map.tif.partial"), pytest.raises(Alos2TutError, match="another process"):
        map_scene(product, segmenter, tmp_path / "map.tif")


@pytest.mark.parametrize("shared", ["devices", "threads", "processes"])
def test_work_that_is_shared_gives_the_same_to_the_bit(to_map, tmp_path, shared):
    product, segmenter, expected = to_map
    threads = torch.get_num_threads()
    pools = {"devices": lambda: DeviceExecutor(["cpu"] * 3), "threads": lambda: ThreadPoolExecutor(2)}
    try:
        if shared == "processes":
            # the only kind that is told how many threads to use
            torch.set_num_threads(max(1, cores() // 2))
            expected = layers(map_scene(product, segmenter, tmp_path / "alone.tif", **OPTIONS))
        with pools.get(shared, lambda: process_pool(2))() as executor:
            out = map_scene(product, segmenter, tmp_path / "map.tif", executor=executor, **OPTIONS)
    finally:
        torch.set_num_threads(threads)
    assert layers(out) == expected


def test_each_thread_of_devices_has_a_network_of_its_own(to_map, tmp_path, monkeypatch):
    """And of the next map another one."""
    used, rows = [], map_rows._mapped_rows
    monkeypatch.setattr(map_rows, "_mapped_rows", lambda *given: used.append(given[1]) or rows(*given))
    monkeypatch.setattr(map_rows, "_MOST_ROWS", 1)
    segmenters = [alos2tut.load_segmenter(write_segmenter(tmp_path / f"{seed}.safetensors", seed)) for seed in (0, 1)]
    with DeviceExecutor(["cpu", "cpu"]) as executor:
        maps = [map_scene(to_map[0], of, tmp_path / f"{i}.tif", executor=executor) for i, of in enumerate(segmenters)]
    assert 2 <= len({id(model) for model in used}) <= 4 and not {id(model) for model in used} & set(map(id, segmenters))
    assert (read(maps[0]) != read(maps[1])).any() and all(model.training is False for model in used)
    with pytest.raises(Alos2TutError, match="no torch module"):
        map_scene(to_map[0], Model(constant), tmp_path / "m.tif", executor=DeviceExecutor("cpu"))


def test_shared_work_is_kept_row_by_row(to_map, tmp_path, monkeypatch):
    product, segmenter, expected = to_map
    out = tmp_path / "map.tif"
    rows = mapped_rows(monkeypatch, product, segmenter, out, stop_after=22, executor=DeviceExecutor("cpu"))
    assert len(list(tmp_path.glob("map.tif.partial/row-*.npz"))) == len(rows) == 4
    assert layers(map_scene(product, segmenter, out, **OPTIONS)) == expected


def test_an_executor_that_lives_on_uses_the_weights_of_now(to_map, tmp_path):
    product = to_map[0]
    file, found = tmp_path / "s.safetensors", []
    with ThreadPoolExecutor(1) as pool:
        for seed in (0, 1):
            write_segmenter(file, seed)
            found.append(read(map_scene(product, file, tmp_path / f"{seed}.tif", executor=pool)))
    np.testing.assert_array_equal(found[1], read(map_scene(product, file, tmp_path / "alone.tif")))
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("shared", [DeviceExecutor, ThreadPoolExecutor])
def test_a_run_that_fails_gives_up_what_has_not_begun(to_map, tmp_path, monkeypatch, shared):
    product, segmenter, _ = to_map
    begun, mapped = [], map_rows._mapped_rows
    monkeypatch.setattr(map_rows, "_mapped_rows", lambda *given: begun.append(given) or mapped(*given))
    monkeypatch.setattr(map_rows, "_FEW_ROWS", 1)
    monkeypatch.setattr(map_rows, "_MOST_ROWS", 1)
    monkeypatch.setattr(map_rows.KeptRows, "write", lambda *_: (_ for _ in ()).throw(Alos2TutError("full")))
    with shared("cpu" if shared is DeviceExecutor else 1) as executor:
        with pytest.raises(Alos2TutError, match="full") as caught:
            map_scene(product, segmenter, tmp_path / "map.tif", executor=executor, progress=True, **OPTIONS)
        # the error is held, and all that it came through with it
        assert caught.value
    assert len(begun) <= 3


def test_weights_that_change_meanwhile_are_noticed(to_map):
    with pytest.raises(Alos2TutError, match="has changed since mapping began"):
        map_rows._loaded(to_map[1], "another hash")


@pytest.mark.parametrize("name", ["cuda:99", "abacus"])
def test_devices_that_cannot_be_used_are_refused(name):
    with pytest.raises(Alos2TutError, match=f"devices: '{name}' cannot be used"):
        DeviceExecutor([name])


def test_an_executor_that_does_not_work_is_refused(to_map, tmp_path):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(Alos2TutError, match="cannot be handed over"):
        map_scene(*to_map[:2], tmp_path / "map.tif", executor=pool)
    assert not list(tmp_path.iterdir())


def test_a_map_that_is_there_is_found_again(to_map, tmp_path, monkeypatch, capsys):
    product, segmenter, expected = to_map
    out, options = tmp_path / "map.tif", OPTIONS
    map_scene(product, segmenter, out, **options)
    capsys.readouterr()
    monkeypatch.setattr(map_rows, "_mapped_rows", None)
    map_scene(product, segmenter, out, **options)
    # as a loaded one it is the same
    map_scene(product, alos2tut.load_segmenter(segmenter), out, probability=True, batch_size=2)
    assert capsys.readouterr().out.count("reusing") == 2 and layers(out) == expected
    for other in ({"overlap_px": 20}, {"flips": True}, {"batch_size": 8}):
        with pytest.raises(Alos2TutError, match="exists, and was not made of this product and segmenter in this way"):
            map_scene(product, segmenter, out, **OPTIONS | other)
    with pytest.warns(Alos2TutWarning, match="EPSG:32653"):
        elsewhere = open_product(product, crs="EPSG:32653")
    with pytest.raises(Alos2TutError, match="exists"):
        map_scene(elsewhere, segmenter, out)


def test_only_what_weights_alone_decide_is_known_again(to_map, tmp_path):
    """A module of our class but for its forward pass, or for what it is wrapped in, may say anything else."""
    product, segmenter, _ = to_map
    out = map_scene(product, segmenter, tmp_path / "map.tif", batch_size=2)

    class Other(Segmenter):
        def forward(self, x):
            return -super().forward(x)

    other = alos2tut.load_segmenter(segmenter)
    other.__class__ = Other
    with pytest.raises(Alos2TutError, match="exists"):
        map_scene(product, other, out, batch_size=2)
    shifted = replace(open_product(product), calibration_factor_db=-90.0)
    with pytest.raises(Alos2TutError, match="exists"):
        map_scene(shifted, segmenter, out, batch_size=2)


def test_layers_are_added_to_a_map_that_is_there_and_pass_for_none(to_map, tmp_path):
    product, segmenter, expected = to_map
    out = map_scene(product, segmenter, tmp_path / "map.tif", batch_size=2)
    map_scene(product, segmenter, out, **OPTIONS)
    assert layers(out) == expected
    with pytest.raises(Alos2TutError, match=r"map_probability.tif: exists"):
        map_scene(product, segmenter, tmp_path / "map_probability.tif", batch_size=2)
