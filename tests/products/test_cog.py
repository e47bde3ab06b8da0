"""Cloud-Optimized GeoTIFFs: what is written is read back, whole or not at all."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window
from support.properties import examples
from support.rasters import BASICS, FRAME, SHAPE, in_blocks, numbered, source, whole

from alos2tut.core.errors import Alos2TutError
from alos2tut.products.rasters import RasterBand, write_cog


def read(path: Path) -> np.ndarray:
    return whole(RasterBand.open(source(path), ["uint8", "uint16", "float32", "complex64"]), 512)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "complex64"])
@pytest.mark.parametrize("compress", ["deflate", "zstd", False])
@pytest.mark.parametrize("overviews", [True, False])
def test_what_is_written_is_read_back(tmp_path, dtype, compress, overviews):
    pixels = numbered((700, 1100), dtype)
    tags = {"SIMULATED": "no", "NAME": "é"}
    options = BASICS | {"tags": tags, "compress": compress, "overviews": overviews}
    path = write_cog(tmp_path / "a.tif", in_blocks(pixels, 300, 500), shape=pixels.shape, dtype=dtype, **options)
    np.testing.assert_array_equal(read(path), pixels)
    with rasterio.open(path) as raster:
        assert (raster.dtypes, raster.nodata, raster.crs.to_epsg()) == ((dtype,), 0, 32654)
        assert raster.transform == FRAME and raster.block_shapes == [(512, 512)]
        assert {name: raster.tags()[name] for name in tags} == tags
        assert raster.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == (compress.upper() if compress else None)
        has_predictor = compress and dtype == "float32"
        assert raster.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == ("3" if has_predictor else None)
        assert raster.overviews(1) == ([2, 4] if overviews else [])
        assert raster.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == ("COG" if overviews else None)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("overviews", [True, False])
def test_threads_change_no_byte(tmp_path, monkeypatch, overviews):
    pixels, found = numbered((1500, 1100), "float32") ** 1.5, set()
    for threads in ("1", "3"):
        monkeypatch.setenv("GDAL_NUM_THREADS", threads)
        blocks, options = in_blocks(pixels, 512), BASICS | {"overviews": overviews}
        path = write_cog(tmp_path / f"{threads}.tif", blocks, shape=pixels.shape, dtype="float32", **options)
        found.add(path.read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize(("resampling", "values"), [("mode", {6}), ("average", {4, 5}), ("nearest", {0})])
def test_overviews_are_made_as_asked(tmp_path, resampling, values):
    pixels = np.full((1024, 1024), 6, np.uint8)
    pixels[::2, ::2] = 0
    options = BASICS | {"no_data": 255, "resampling": resampling}
    path = write_cog(tmp_path / "a.tif", in_blocks(pixels, 64), shape=pixels.shape, dtype="uint8", **options)
    with rasterio.open(path, overview_level=0) as raster:
        found = raster.read(1)
    assert found.shape == (512, 512) and set(found.ravel().tolist()) <= values


@pytest.mark.parametrize("overviews", [True, False])
def test_colours_scale_and_description_are_kept(tmp_path, overviews):
    colors = {0: (1, 2, 3, 255), 6: (9, 8, 7, 255), 255: (0, 0, 0, 0)}
    told = {"colormap": colors, "scale": 0.004, "description": "probability"}
    options = BASICS | {"no_data": 255, "overviews": overviews} | told
    with rasterio.open(write_cog(tmp_path / "a.tif", [], shape=(60, 70), dtype="uint8", **options)) as raster:
        assert {index: raster.colormap(1)[index] for index in colors} == colors and raster.nodata == 255
        assert (raster.scales, raster.descriptions) == ((0.004,), ("probability",))


@examples(30)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    overviews=st.booleans(),
)
def test_tiny_rasters_are_written(tmp_path, shape, rows, cols, overviews):
    pixels = numbered(shape, "float32")
    options = {"crs": None, "transform": None, "no_data": np.nan, "tags": {}, "overviews": overviews}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = write_cog(tmp_path / "a.tif", in_blocks(pixels, rows, cols), shape=shape, dtype="float32", **options)
        band = RasterBand.open(source(path), ["float32"])
        assert (band.shape, band.transform, band.crs) == (shape, None, None) and np.isnan(band.no_data)
        np.testing.assert_array_equal(whole(band), pixels)


@pytest.mark.parametrize(("no_data", "expected"), [(7, 7), (None, 0)])
def test_what_no_block_covers_has_no_data(tmp_path, no_data, expected):
    path = write_cog(tmp_path / "a.tif", [], shape=(600, 90), dtype="uint16", **BASICS | {"no_data": no_data})
    assert (read(path) == expected).all()


def test_blocks_are_turned_into_the_type_only_without_loss(tmp_path):
    pixels = numbered((20, 30), "uint16")
    path = write_cog(tmp_path / "a.tif", in_blocks(pixels.astype(">u2"), 7), shape=(20, 30), dtype="uint16", **BASICS)
    np.testing.assert_array_equal(read(path), pixels)
    for wrong in (pixels.astype("int32"), pixels[:5]):
        with pytest.raises(ValueError, match="does not go into"):
            write_cog(path, [(Window(0, 0, 30, 20), wrong)], shape=(20, 30), dtype="uint16", **BASICS)
    np.testing.assert_array_equal(read(path), pixels)


@pytest.mark.parametrize("overviews", [True, False])
@pytest.mark.parametrize("older", [None, b"an older file"], ids=["nothing there", "an older file"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt], ids=["failed", "interrupted"])
def test_what_fails_half_way_leaves_what_was_there(tmp_path, older, error, overviews):
    def fails():
        yield from in_blocks(numbered(), 30)
        raise error

    path = tmp_path / "a.tif"
    if older:
        path.write_bytes(older)
    with pytest.raises(error):
        write_cog(path, fails(), shape=SHAPE, dtype="uint16", overviews=overviews, **BASICS)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ({"a.tif": older} if older else {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/a.tif", "nowhere: the folder to write into does not exist"),
        (".", "is a folder"),
        ("a.png", "Name it a.tif."),
        ("a.tif", "compress: unknown compression 'zst'. Did you mean 'zstd'?"),
    ],
)
def test_what_cannot_be_written_is_named_before_any_block_is_asked_for(tmp_path, name, message):
    blocks, compress = in_blocks(numbered(), 30), "zst" if "compress" in message else "zstd"
    with pytest.raises(Alos2TutError, match=re.escape(message)):
        write_cog(tmp_path / name, blocks, shape=SHAPE, dtype="uint16", compress=compress, **BASICS)
    assert len(list(blocks)) == 3 and not list(tmp_path.iterdir())


def run_apart(script: str, folder: Path) -> str:
    """What a script prints that runs in its own process, in a folder."""
    prelude = "import resource, signal, numpy as np\nfrom rasterio.windows import Window\n"
    prelude += "from alos2tut.core.errors import Alos2TutError\nfrom alos2tut.products.rasters import write_cog\n"
    environment = {name: value for name, value in os.environ.items() if name != "GDAL_CACHEMAX"}
    command = [sys.executable, "-c", prelude + script]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment)
    assert "ERROR" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("options", "room"),
    [
        pytest.param("", 300, id="only the header"),
        pytest.param("", 1_900_000, id="not the last tile"),
        pytest.param("", 2_097_000, id="not the copy"),
        pytest.param("", 2_300_000, id="not all of the copy"),
        pytest.param("overviews=False", 1_900_000, id="not the last tile of a plain file"),
        pytest.param("compress=False", 2_300_000, id="not all of an uncompressed copy"),
        pytest.param("overviews=False, compress=False", 300, id="only the header of an uncompressed file"),
        pytest.param("overviews=False, compress=False", 1_900_000, id="not the last tile of an uncompressed file"),
    ],
)
def test_a_full_disk_is_an_error_and_the_older_file_stays(tmp_path, options, room):
    """No file may grow beyond a limit, which GDAL meets when it closes the file: it is silent then."""
    (tmp_path / "a.tif").write_text("an older file")
    printed = run_apart(
        f"""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
pixels = np.random.default_rng(0).integers(0, 65536, (1000, 1000)).astype(np.uint16)
blocks = ((Window(0, row, 1000, 50), pixels[row : row + 50]) for row in range(0, 1000, 50))
try:
    write_cog("a.tif", blocks, shape=(1000, 1000), dtype="uint16", crs=None, transform=None, no_data=0, tags={{}},
              {options})
except Alos2TutError as error:
    print(error)
""",
        tmp_path,
    )
    assert printed.startswith("a.tif: could not be written (") and "Check the free disk space" in printed
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.tif", "an older file")]


@pytest.mark.parametrize("name", ["scratch.tif", "scratch"])
def test_no_name_is_taken_by_what_is_written_on_the_way(tmp_path, name):
    block = [(Window(0, 0, 3, 2), np.ones((2, 3), np.uint8))]
    path = write_cog(tmp_path / name, block, shape=(2, 3), dtype="uint8", crs=None, transform=None, no_data=0, tags={})
    assert [file.name for file in tmp_path.iterdir()] == [name] and path.stat().st_size > 0


def test_large_rasters_are_written_in_bounded_memory(tmp_path):
    """512 MiB of pixels, of which GDAL keeps 256 at most."""
    printed = run_apart(
        """
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
blocks = ((Window(0, row, 16384, 128), np.full((128, 16384), row, np.uint16)) for row in range(0, 16384, 128))
write_cog("a.tif", blocks, shape=(16384, 16384), dtype="uint16", crs=None, transform=None, no_data=0, tags={},
          compress=False, overviews=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
""",
        tmp_path,
    )
    assert (tmp_path / "a.tif").stat().st_size > 2**29
    assert int(printed) * 1024 < 2**28 + 2**26
