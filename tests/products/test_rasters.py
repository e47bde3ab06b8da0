"""Rasters by GDAL: upright bands with their place, files that are not what they claim."""

import concurrent.futures
import itertools
import os
import pickle
import resource
import struct
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from support.memory import peak_below
from support.properties import examples
from support.rasters import BASICS, FRAME, NAME, SHAPE, in_blocks, numbered, source, whole, write_tiff

from alos2tut.core.errors import Alos2TutError
from alos2tut.products import rasters
from alos2tut.products.rasters import RasterBand, write_cog
from alos2tut.products.sources import FileSource, find_files

TILED = {"tiled": True, "blockxsize": 32, "blockysize": 16}


def with_tags(data: bytes, tags: dict[int, tuple[int, int]], *, loops: bool = False) -> bytes:
    """A TIFF with other tags, {number: (field type, value)}, in a new first directory at its end."""
    order, is_big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    place, number, entry = (
        struct.Struct(order + code) for code in (("Q", "Q", "HHQ8s") if is_big else ("I", "H", "HHI4s"))
    )
    (first,) = place.unpack_from(data, place.size)
    (count,) = number.unpack_from(data, first)
    body = data[first + number.size :][: count * entry.size]
    entries = {fields[0]: fields for fields in entry.iter_unpack(body)}
    for tag, (kind, value) in tags.items():
        packed = struct.pack(order + {3: "H", 4: "I", 16: "Q"}[kind], value).ljust(place.size, b"\0")
        entries[tag] = (tag, kind, 1, packed)
    data += b"\0" * (len(data) % 2)
    directory = number.pack(len(entries)) + b"".join(entry.pack(*entries[tag]) for tag in sorted(entries))
    start = place.pack(len(data))
    return data[: place.size] + start + data[2 * place.size :] + directory + (start if loops else place.pack(0))


def patched(file: FileSource, tags: dict[int, tuple[int, int]], **options) -> FileSource:
    file.path.write_bytes(with_tags(file.path.read_bytes(), tags, **options))
    return source(file.path)


# --- where there is no data


def write_masked(path, pixels, mask, statement: str, orientation: int = 1) -> FileSource | None:
    """A raster, and what says that it has data at the true pixels of a mask; returns the mask beside it."""
    has_alpha, is_inside = statement == "alpha", statement == "mask"
    profile = BASICS_OF_GDAL | {"height": pixels.shape[0], "width": pixels.shape[1], "dtype": pixels.dtype.name}
    profile |= {"count": 1 + has_alpha}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=is_inside), rasterio.open(path, "w", **profile) as raster:
        raster.write(pixels, 1)
        if has_alpha:
            raster.write(mask.astype(pixels.dtype), 2)
            raster.colorinterp = ColorInterp.gray, ColorInterp.alpha
        else:
            raster.write_mask(mask)
    beside = path.with_name(f"{path.name}.msk")
    files = [path] if statement == "alpha" or is_inside else [path, beside]
    if orientation != 1:
        for file in files:
            file.write_bytes(with_tags(file.read_bytes(), {274: (3, orientation)}))
    return source(beside) if len(files) > 1 else None


BASICS_OF_GDAL = {"driver": "GTiff", "crs": "EPSG:32654", "transform": FRAME}


# other tags are written as a last directory, behind which there is no mask
@pytest.mark.parametrize(
    ("statement", "orientation"), [("mask", 1), *itertools.product(("mask beside", "alpha"), (1, 3, 4))]
)
@pytest.mark.parametrize("dtype", ["uint16", "float32", "complex64"])
def test_masked_pixels_are_filled_in_strips_windows_and_thumbnails(tmp_path, statement, dtype, orientation):
    pixels, mask = numbered(dtype=dtype) + np.array(1, dtype), np.random.default_rng(0).random(SHAPE) < 0.7
    beside = write_masked(tmp_path / NAME, pixels, mask, statement, orientation)
    band = RasterBand.open(source(tmp_path / NAME), [dtype], beside)
    turned = {1: np.s_[:, :], 3: np.s_[::-1, ::-1], 4: np.s_[::-1]}[orientation]
    fill = np.nan if dtype == "float32" else 0
    expected = np.where(mask, pixels, np.array(fill, dtype))[turned]
    np.testing.assert_array_equal(whole(band), expected)
    part = np.concatenate(list(band.strips(slice(11, 60), slice(7, 81), 13)))
    np.testing.assert_array_equal(part, expected[11:60, 7:81])
    np.testing.assert_array_equal(band.thumbnail(max(SHAPE)), expected)
    np.testing.assert_array_equal(whole(band.bare), pixels[turned])
    assert band.contradicted((0,)) == pytest.approx((~mask).mean())
    filled = RasterBand.open(source(tmp_path / NAME), [dtype], beside, fill=7)
    np.testing.assert_array_equal(whole(filled), np.where(mask, pixels, np.array(7, dtype))[turned])


def test_a_tag_of_complex_numbers_hides_them_as_no_amplitude_does(tmp_path):
    pixels = numbered(dtype="complex64") + 1
    pixels[5:9] = -9999
    profile = BASICS_OF_GDAL | {"count": 1, "dtype": "complex64", "nodata": -9999}
    with rasterio.open(tmp_path / NAME, "w", **profile, height=SHAPE[0], width=SHAPE[1]) as raster:
        raster.write(pixels, 1)
    band = RasterBand.open(source(tmp_path / NAME), ["complex64"])
    np.testing.assert_array_equal(whole(band), np.where(pixels == -9999, 0, pixels))
    np.testing.assert_array_equal(whole(band.bare), pixels)
    assert band.contradicted((0,)) == pytest.approx(4 / SHAPE[0])


def test_a_mask_of_another_size_and_a_raster_of_opacity_alone_are_refused(tmp_path):
    write_masked(tmp_path / NAME, numbered(), np.ones(SHAPE, bool), "mask beside")
    other = write_masked(tmp_path / "b.tif", numbered((9, 9)), np.ones((9, 9), bool), "mask beside")
    with pytest.raises(Alos2TutError, match=r"b\.tif\.msk: is \(9, 9\), and masks"):
        RasterBand.open(source(tmp_path / NAME), ["uint16"], other)
    with rasterio.open(tmp_path / "c.tif", "w", **BASICS_OF_GDAL, count=2, dtype="uint16", height=9, width=9) as raster:
        raster.colorinterp = ColorInterp.alpha, ColorInterp.gray
    with pytest.raises(Alos2TutError, match=r"holds 2 band\(s\)"):
        RasterBand.open(source(tmp_path / "c.tif"), ["uint16"])


# --- what the pixels are and where they lie


@pytest.mark.parametrize("endianness", ["LITTLE", "BIG"])
@pytest.mark.parametrize("bigtiff", ["NO", "YES"])
@pytest.mark.parametrize(
    ("orientation", "turned"), [(None, np.s_[:, :]), (1, np.s_[:, :]), (3, np.s_[::-1, ::-1]), (4, np.s_[::-1])]
)
def test_pixels_are_upright_and_keep_their_place(tmp_path, orientation, turned, bigtiff, endianness):
    pixels = numbered()
    file = write_tiff(tmp_path / NAME, pixels, BIGTIFF=bigtiff, ENDIANNESS=endianness)
    assert (file.path.read_bytes()[:2], b"+" in file.read(0, 4)) == (
        b"II" if endianness == "LITTLE" else b"MM",
        bigtiff == "YES",
    )
    if orientation is not None:
        file = patched(file, {274: (3, orientation)})
    band = RasterBand.open(file, ["uint16"])
    found = whole(band)
    np.testing.assert_array_equal(found, pixels[turned])
    assert found.dtype == np.uint16 and found.dtype.isnative
    for row, col in [(0, 0), (0, 89), (69, 0), (31, 47)]:
        (stored,) = np.argwhere(pixels == found[row, col])
        place = FRAME * (stored[1] + 0.5, stored[0] + 0.5)
        assert band.transform * (col + 0.5, row + 0.5) == pytest.approx(place, rel=1e-12)
    assert band.crs.to_epsg() == 32654


@pytest.mark.parametrize("orientation", [0, 2, 5, 8, 65535])
def test_other_orientations_are_refused(tmp_path, orientation):
    file = patched(write_tiff(tmp_path / NAME, numbered()), {274: (3, orientation)})
    with pytest.raises(Alos2TutError, match=rf"{NAME}: its Orientation \(TIFF tag 274\) is {orientation}"):
        RasterBand.open(file, ["uint16"])


def test_the_orientation_may_be_a_wider_number(tmp_path):
    file = patched(write_tiff(tmp_path / NAME, numbered(), BIGTIFF="YES"), {274: (16, 4)})
    assert RasterBand.open(file, ["uint16"]).flip == (True, False)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "complex64", "complex_int16"])
@pytest.mark.parametrize("options", [{}, TILED | {"compress": "deflate"}], ids=["strips", "tiles"])
def test_all_types_of_pixels_are_read(tmp_path, dtype, options):
    pixels = numbered(dtype="complex64" if dtype == "complex_int16" else dtype)
    band = RasterBand.open(write_tiff(tmp_path / NAME, pixels, dtype=dtype, **options), [pixels.dtype.name])
    assert band.dtype == pixels.dtype
    found = whole(band)
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> dict[int, RasterBand]:
    """One raster in tiles, by the orientation that it states."""
    folder = tmp_path_factory.mktemp("stored")
    files = {n: write_tiff(folder / f"{n}.tif", numbered(), compress="lzw", **TILED) for n in (1, 3, 4)}
    return {n: RasterBand.open(patched(file, {274: (3, n)}), ["uint16"]) for n, file in files.items()}


@examples(60)
@given(data=st.data(), orientation=st.sampled_from([1, 3, 4]), step=st.integers(1, 100))
def test_windows_are_those_of_the_whole(stored, data, orientation, step):
    rows, cols = (sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in SHAPE)
    band = stored[orientation]
    pieces = list(band.strips(slice(*rows), slice(*cols), step))
    with rasterio.open(band.source.path) as raster:
        expected = raster.read(1)[:: -1 if band.flip[0] else 1, :: -1 if band.flip[1] else 1]
    assert [len(piece) for piece in pieces[:-1]] == [step] * (len(pieces) - 1)
    np.testing.assert_array_equal(np.concatenate(pieces), expected[slice(*rows), slice(*cols)])


@pytest.mark.parametrize("orientation", [1, 3, 4])
@pytest.mark.parametrize("most_px", [7, 10_000], ids=["smaller", "no larger than it is"])
def test_a_thumbnail_shows_the_whole_band_upright(stored, orientation, most_px):
    thumbnail, pixels = stored[orientation].thumbnail(most_px), whole(stored[orientation])
    assert max(thumbnail.shape) == min(most_px, max(SHAPE))
    # numbers grow to the right and downwards where nothing is turned: corners tell which way up it is
    near = [[thumbnail[r, c] for c in (0, -1)] for r in (0, -1)]
    assert np.array_equal(np.argsort(near, axis=None), np.argsort(pixels[[0, 0, -1, -1], [0, -1, 0, -1]]))
    assert np.isin(thumbnail, pixels).all()


def test_bands_are_read_side_by_side_and_travel(stored):
    """Each has its own handle, left in any order, also inside a GDAL environment of the user's."""
    copy = pickle.loads(pickle.dumps(stored[3]))
    assert copy == stored[3]
    with rasterio.Env():
        rows, cols = (slice(0, size) for size in SHAPE)
        long, short = stored[1].strips(rows, cols, 10), copy.strips(slice(0, 15), cols, 10)
        for one, other in itertools.zip_longest(long, short):
            assert len(one) == 10 and (other is None or len(other) in (10, 5))
        assert rasterio.env.hasenv()


def no_place(path: Path) -> RasterBand:
    return RasterBand.open(write_tiff(path, numbered(), crs=None, transform=None), ["uint16"])


def test_threads_leave_the_filters_of_warnings_alone(tmp_path):
    """They belong to the whole process; threads that put them back in another order than they changed them do not."""
    band, before = no_place(tmp_path / NAME), list(warnings.filters)
    out = {"shape": SHAPE, "dtype": "uint16", "crs": None, "transform": None, "no_data": 0, "tags": {}}

    def work(number: int) -> None:
        for _ in range(20):
            whole(band)
            RasterBand.open(band.source, ["uint16"]).thumbnail(9)
        write_cog(tmp_path / f"{number}.tif", in_blocks(numbered(), 30), **out)

    changing = patch.object(warnings, "catch_warnings", side_effect=AssertionError("the filters are changed"))
    with changing, concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(16)))
    assert list(warnings.filters) == before


def test_others_are_warned_of_a_missing_place_as_before(tmp_path):
    band = no_place(tmp_path / NAME)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole(band)
        assert not caught
        with rasterio.open(band.source.path):
            pass
    assert [warning.category for warning in caught] == [rasterio.errors.NotGeoreferencedWarning]


@pytest.mark.parametrize("name", ["a b#c?d&e!.tif", "file:x.tif", "https:__x.tif", "zip+y.tif", "é%20{}.tif"])
def test_odd_names_are_names_of_files(tmp_path, monkeypatch, name):
    write_tiff(tmp_path / NAME, numbered()).path.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        np.testing.assert_array_equal(whole(RasterBand.open(source(path), ["uint16"])), numbered())


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
def test_a_path_that_is_not_utf_8_is_named_as_the_reason(tmp_path):
    pixels = write_tiff(tmp_path / NAME, numbered()).path.read_bytes()
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / NAME).write_bytes(pixels)
    asked = []

    def blocks():
        asked.append(1)
        yield from in_blocks(numbered(), 30)

    for use in (
        lambda: RasterBand.open(find_files(folder).folders[""][NAME], ["uint16"]),
        lambda: write_cog(folder / "a.tif", blocks(), shape=SHAPE, dtype="uint16", **BASICS),
    ):
        with pytest.raises(Alos2TutError, match=r"is not UTF-8.*Rename the file or the folder") as caught:
            use()
        assert "disk" not in str(caught.value)
    assert not asked and [file.name for file in folder.iterdir()] == [NAME]


def test_a_raster_without_a_place_says_so_and_nothing_is_printed(tmp_path, capfd):
    file = write_tiff(tmp_path / NAME, numbered(), crs=None, transform=None)
    # a tag that libtiff does not know, which it would complain of
    file = patched(file, {274: (3, 4), 60_000: (3, 1)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        band = RasterBand.open(file, ["uint16"])
        assert (band.transform, band.crs, band.no_data) == (None, None, None)
        np.testing.assert_array_equal(whole(band), numbered()[::-1])
    assert capfd.readouterr() == ("", "")


def test_a_local_coordinate_system_is_none(tmp_path):
    file = write_tiff(tmp_path / NAME, numbered(), crs='LOCAL_CS["mine",UNIT["metre",1]]', nodata=7)
    with rasterio.open(file.path) as raster:
        assert raster.crs is not None
    band = RasterBand.open(file, ["uint16"])
    assert (band.crs, band.transform, band.no_data) == (None, FRAME, 7)


# --- ENVI, as JAXA delivered the older mosaics

HEADER = """ENVI
samples = {width}
lines = {height}
bands = 1
header offset = {offset}
file type = ENVI Standard
data type = {type}
interleave = bsq
byte order = {order}
map info = {{Geographic Lat/Lon, 1, 1, 100.0, 2.0, 0.0002222, 0.0002222, WGS-84, units=Degrees}}
"""


RAW_NAME = "N02E100_15_sl_HH_F02DAR"


def write_envi(folder: Path, pixels: np.ndarray, *, offset: int = 0, **claims: object) -> FileSource:
    (folder / RAW_NAME).write_bytes(b"x" * offset + pixels.tobytes())
    fields = {"height": pixels.shape[0], "width": pixels.shape[1], "offset": offset, "type": 12, "order": 0} | claims
    (folder / f"{RAW_NAME}.hdr").write_text(HEADER.format(**fields))
    return source(folder / RAW_NAME)


@pytest.mark.parametrize(("order", "dtype"), [(0, "<u2"), (1, ">u2")])
@pytest.mark.parametrize("offset", [0, 13])
def test_an_envi_raster_is_opened_by_its_pixels(tmp_path, order, dtype, offset):
    file = write_envi(tmp_path, numbered().astype(dtype), offset=offset, order=order)
    band = RasterBand.open(file, ["uint16"])
    assert band.transform == rasterio.Affine(0.0002222, 0, 100, 0, -0.0002222, 2) and band.crs.to_epsg() == 4326
    np.testing.assert_array_equal(whole(band), numbered())


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        pytest.param({"height": 71}, "truncated: 180 of 12,784 bytes", id="one line more"),
        pytest.param({"width": 10**9}, "too small|claims 70 × 1,000,000,000 pixels", id="width"),
        pytest.param({"height": 131072}, "which are 23,592,960 bytes", id="height"),
        pytest.param({"type": 4}, r"1 band\(s\) of float32, not one of uint16", id="type"),
        pytest.param({"width": "abc"}, "no TIFF, and no ENVI raster", id="no number"),
    ],
)
def test_an_envi_raster_that_lies_is_refused(tmp_path, claims, message):
    with pytest.raises(Alos2TutError, match=f"{RAW_NAME}: .*({message})"):
        RasterBand.open(write_envi(tmp_path, numbered(), offset=4, **claims), ["uint16"])


def test_a_file_that_is_no_raster_is_refused(tmp_path):
    file = write_envi(tmp_path, numbered())
    file.path.with_name(f"{RAW_NAME}.hdr").unlink()
    with pytest.raises(Alos2TutError, match=f"{RAW_NAME}: is no TIFF, and no ENVI raster with its .hdr"):
        RasterBand.open(file, ["uint16"])
    with pytest.raises(Alos2TutError, match=r"nothing\.tif"):
        RasterBand.open(FileSource("nothing.tif", tmp_path / "nothing.tif", 5), ["uint16"])


def test_other_formats_are_not_read(tmp_path):
    vrt = f"<VRTDataset rasterXSize='9' rasterYSize='9'><VRTRasterBand><SimpleSource><SourceFilename>{NAME}"
    (tmp_path / NAME).write_text(vrt)
    file = write_tiff(tmp_path / "image.png", numbered(), driver="PNG", crs=None, transform=None)
    for wrong in (source(tmp_path / NAME), file):
        with pytest.raises(Alos2TutError, match="is no TIFF"):
            RasterBand.open(wrong, ["uint16"])


# --- files that are not what they claim


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        pytest.param({256: (4, 10**9)}, "claims 70 × 1,000,000,000 pixels, more than 131,072", id="width"),
        pytest.param({257: (4, 2**17)}, "131,072 × 90 pixels, which are 23,592,960 bytes", id="height"),
        pytest.param({256: (4, 10**5), 257: (4, 10**5)}, "100,000 × 100,000.*20,000,000,000 bytes", id="both"),
        pytest.param({322: (4, 100_000), 323: (4, 100_000)}, "cannot be opened|in blocks of", id="tile"),
        pytest.param({322: (4, 2**15), 323: (4, 2**13)}, "in blocks of 536,870,912 bytes", id="large tile"),
        pytest.param({323: (4, 1)}, "where 15 of its 210 strips or tiles lie", id="low tiles"),
        pytest.param({277: (3, 3)}, r"3 band\(s\) of uint16", id="bands"),
        pytest.param({339: (3, 3), 258: (3, 16)}, "not one of uint16", id="half floats"),
        pytest.param({339: (3, 2)}, "of int16, not one of uint16", id="signed"),
        pytest.param({339: (3, 5), 258: (3, 64)}, "of complex.*, not one of uint16", id="complex int32"),
        pytest.param({258: (3, 7)}, "of uint8, not one of uint16", id="bits"),
        pytest.param({259: (3, 50_001)}, "pixels cannot be read", id="compression"),
    ],
)
def test_tags_that_lie_are_refused(tmp_path, tags, message):
    file = patched(write_tiff(tmp_path / NAME, numbered(), **TILED), tags)
    with peak_below(2**20), pytest.raises(Alos2TutError, match=f"{NAME}.*({message})"):
        whole(RasterBand.open(file, ["uint16"]))


def with_overviews(path: Path, tags: dict[int, tuple[int, int]]) -> FileSource:
    """A tiled TIFF of 1s with an overview inside whose directory, the second one, has other values of these tags."""
    file = write_tiff(path, np.ones((256, 256), np.uint16), compress="deflate", **TILED)
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2], rasterio.enums.Resampling.nearest)
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    (second,) = struct.unpack_from("<I", data, start + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, second)
    for at in range(second + 2, second + 2 + 12 * count, 12):
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in tags:
            kind, value = tags[tag]
            struct.pack_into({3: "<HIHH", 4: "<HII"}[kind], data, at + 2, kind, 1, value, *([0] if kind == 3 else []))
    path.write_bytes(data)
    assert file.path == path
    return source(path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        pytest.param(
            {322: (4, 24_576), 323: (4, 24_576)}, "its overview claims .*in blocks of 1,207,959,552", id="tile"
        ),
        pytest.param({256: (4, 2**17 + 1)}, "its overview claims .*more than 131,072", id="width"),
    ],
)
def test_overviews_that_lie_are_refused_before_they_are_used(tmp_path, tags, message):
    fine = RasterBand.open(with_overviews(tmp_path / "fine.tif", {}), ["uint16"])
    assert (fine.thumbnail(100) == 1).all()
    with patch.object(rasters, "_MOST_OVERVIEWS", 0), pytest.raises(Alos2TutError, match="claims 1 overviews"):
        fine.thumbnail(100)
    band = RasterBand.open(with_overviews(tmp_path / NAME, tags), ["uint16"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Alos2TutError, match=rf"{NAME}: {message}"):
        band.thumbnail(100)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < 50e6


def test_complex_whole_numbers_have_overviews(tmp_path):
    file = write_tiff(tmp_path / NAME, np.full((256, 256), 3 - 4j, np.complex64), dtype="complex_int16")
    with rasterio.open(file.path, "r+") as raster:
        raster.build_overviews([2], rasterio.enums.Resampling.nearest)
    thumbnail = RasterBand.open(source(file.path), ["complex64"]).thumbnail(100)
    assert thumbnail.dtype == np.complex64 and (thumbnail == 3 - 4j).all()


@pytest.mark.parametrize("is_envi", [False, True], ids=["TIFF", "ENVI"])
def test_overviews_beside_a_raster_are_not_used(tmp_path, is_envi):
    """Nobody delivers them, and they may be of any format and size."""
    pixels = np.ones((256, 256), np.uint16)
    file = write_envi(tmp_path, pixels) if is_envi else write_tiff(tmp_path / NAME, pixels)
    tile = {"tiled": True, "blockxsize": 24_576, "blockysize": 24_576, "compress": "deflate", "sparse_ok": True}
    beside = {"driver": "GTiff", "count": 1, "height": 128, "width": 128, "dtype": "uint16", "nodata": 7, **tile}
    with rasterio.open(f"{file.path}.ovr", "w", **beside, crs="EPSG:32654", transform=FRAME):
        pass
    with rasterio.open(file.path) as raster:
        assert raster.overviews(1) == [2]
    band = RasterBand.open(file, ["uint16"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    thumbnail = band.thumbnail(100)
    assert thumbnail.shape == (86, 86) and (thumbnail == 1).all()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < 50e6


def test_a_place_beside_a_tiff_does_not_count(tmp_path):
    """The product is what its file says; nothing beside it changes its fingerprint."""
    file = write_tiff(tmp_path / NAME, numbered(), crs=None, transform=None)
    file.path.with_suffix(".tfw").write_text("5\n0\n0\n-5\n100\n200\n")
    with rasterio.open(file.path) as raster:
        assert raster.transform.a == 5
    assert RasterBand.open(file, ["uint16"]).transform is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"dtype": "float32"}, r"holds 1 band\(s\) of float32, not one of uint16 or uint8", id="type"),
        pytest.param({"count": 2}, r"holds 2 band\(s\) of uint16", id="bands"),
        pytest.param({"transform": rasterio.Affine(2, 1, 0, 4, 2, 0)}, "gives pixels no area", id="no area"),
    ],
)
def test_other_rasters_are_refused(tmp_path, options, message):
    with pytest.raises(Alos2TutError, match=message):
        RasterBand.open(write_tiff(tmp_path / NAME, numbered(), **options), ["uint8", "uint16"])


@pytest.mark.parametrize("options", [{}, {"BIGTIFF": "YES"}, TILED], ids=["strips", "BigTIFF", "tiles"])
@pytest.mark.parametrize("compress", ["none", "deflate"])
@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_a_cut_file_says_how_much_is_missing(tmp_path, options, compress, cut):
    random = np.random.default_rng(0).integers(0, 65536, SHAPE).astype(np.uint16)
    file = write_tiff(tmp_path / NAME, random, compress=compress, **options)
    file.path.write_bytes(file.path.read_bytes()[:-cut])
    with pytest.raises(Alos2TutError, match=f"{NAME}: is truncated: {cut:,} of {file.size:,} bytes are missing"):
        RasterBand.open(source(file.path), ["uint16"])


def test_a_strip_that_no_tag_bounds_is_held_to_its_length(tmp_path):
    """One strip for all rows, as libtiff is told by leaving the tag out; GDAL cuts it into pieces of its own."""
    pixels = np.ones((1000, 1000), np.uint16)
    file = patched(write_tiff(tmp_path / NAME, pixels, blockysize=1000), {278: (4, 2**32 - 1)})
    np.testing.assert_array_equal(whole(RasterBand.open(file, ["uint16"])), pixels)
    # it begins too late, though it is said to be short
    file = patched(file, {273: (4, file.size - 1_999_000), 279: (4, 5)})
    with pytest.raises(Alos2TutError, match=r"truncated: 8\d\d of 2,\d\d\d,\d+ bytes"):
        RasterBand.open(file, ["uint16"])


def test_uncompressed_tiles_are_held_to_their_length_whatever_is_stated(tmp_path):
    file = write_tiff(tmp_path / NAME, numbered(), **TILED | {"blockxsize": 128, "blockysize": 128})
    file = patched(file, {324: (4, file.size - 20_000), 325: (4, 5)})
    with pytest.raises(Alos2TutError, match=r"truncated: 12,\d\d\d of 45,"):
        RasterBand.open(file, ["uint16"])
    # libtiff takes a list that is too short for empty tiles
    file = patched(write_tiff(tmp_path / NAME, numbered(), **TILED), {325: (4, 1024)})
    with pytest.raises(Alos2TutError, match="where 1 of its 15 strips or tiles lie"):
        RasterBand.open(file, ["uint16"])


@pytest.mark.parametrize("compress", ["none", "deflate"])
@pytest.mark.parametrize("tile", [32, 512])
@pytest.mark.parametrize("filled", [0, 1])
def test_tiles_that_are_left_out_are_no_damage(tmp_path, compress, tile, filled):
    profile = {"driver": "GTiff", "count": 1, "height": 70, "width": 90, "dtype": "uint16", "nodata": 9}
    profile |= {"tiled": True, "blockxsize": tile, "blockysize": tile, "compress": compress}
    expected = np.full(SHAPE, 9)
    with rasterio.open(tmp_path / NAME, "w", **profile, transform=FRAME, sparse_ok=True) as raster:
        if filled:
            raster.write(np.full((16, 32), 5, np.uint16), 1, window=Window(32, 32, 32, 16))
            expected[32:48, 32:64] = 5
    np.testing.assert_array_equal(whole(RasterBand.open(source(tmp_path / NAME), ["uint16"])), expected)


def test_damage_inside_compressed_pixels_is_an_error_when_they_are_read(tmp_path, capfd):
    file = write_tiff(tmp_path / NAME, numbered((400, 400)), compress="deflate", blockysize=100)
    data = bytearray(file.path.read_bytes())
    with rasterio.open(file.path) as raster:
        last_strip = int(raster.get_tag_item("BLOCK_OFFSET_0_3", "TIFF", bidx=1))
    data[last_strip : last_strip + 300] = bytes(300)
    file.path.write_bytes(data)
    band = RasterBand.open(file, ["uint16"])
    rows = slice(0, 300), slice(0, 400)
    np.testing.assert_array_equal(np.concatenate(list(band.strips(*rows, 50))), numbered((400, 400))[:300])
    with pytest.raises(Alos2TutError, match=rf"{NAME}: pixels cannot be read \(.*\)\. Download"):
        whole(band)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_changes_after_it_was_opened_is_noticed(tmp_path):
    band = RasterBand.open(write_tiff(tmp_path / NAME, numbered()), ["uint16"])
    write_tiff(tmp_path / NAME, numbered((60, 90)))
    with pytest.raises(Alos2TutError, match="has changed"):
        whole(band)
    (tmp_path / NAME).unlink()
    with pytest.raises(Alos2TutError, match=f"{NAME}: cannot be opened"):
        whole(band)


@pytest.mark.parametrize("bigtiff", ["NO", "YES"])
@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        pytest.param("offset", 10**6, "reaches to byte 1,00", id="directory beyond the file"),
        pytest.param("offset", 0xFFFFFFFF, "reaches to byte 4,29", id="directory at the largest offset"),
        pytest.param("count", 65535, "claims 65,535 tags", id="most tags"),
        pytest.param("count", 4096, "reaches to byte", id="more tags than bytes"),
        pytest.param("count", 0, "claims 0 tags", id="no tag"),
    ],
)
def test_directories_that_cannot_be_are_refused(tmp_path, at, value, message, bigtiff):
    data = bytearray(write_tiff(tmp_path / NAME, numbered(), BIGTIFF=bigtiff).path.read_bytes())
    place = 8 if bigtiff == "YES" else 4
    number = {("offset", 8): "<Q", ("offset", 4): "<I", ("count", 8): "<Q", ("count", 4): "<H"}[at, place]
    first = int.from_bytes(data[place : 2 * place], "little")
    struct.pack_into(number, data, place if at == "offset" else first, value)
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(Alos2TutError, match=f"{NAME}: is no whole TIFF: .*{message}"):
        RasterBand.open(source(tmp_path / NAME), ["uint16"])


@pytest.mark.parametrize("kept", [0, 3, 4, 7, 8, 9, 60])
def test_a_file_that_ends_in_its_directory_is_refused(tmp_path, kept):
    file = write_tiff(tmp_path / NAME, numbered())
    file.path.write_bytes(file.path.read_bytes()[:kept])
    with pytest.raises(Alos2TutError, match=NAME):
        RasterBand.open(source(file.path), ["uint16"])


def test_a_tag_that_claims_too_many_values_is_refused(tmp_path):
    data = write_tiff(tmp_path / NAME, numbered(), **TILED).path.read_bytes()
    at = data.index(struct.pack("<HH", 324, 4)) + 4
    (tmp_path / NAME).write_bytes(data[:at] + struct.pack("<I", 2**31) + data[at + 4 :])
    with pytest.raises(Alos2TutError, match="TIFF tag 324 claims 2,147,483,648 values"):
        RasterBand.open(source(tmp_path / NAME), ["uint16"])


def test_of_a_tag_that_is_there_twice_the_first_counts(tmp_path):
    """As it does for libtiff."""
    data = patched(write_tiff(tmp_path / NAME, numbered()), {274: (3, 4)}).path.read_bytes()
    begin = data.index(struct.pack("<HHIH", 284, 3, 1, 1), len(data) - 250)
    (tmp_path / NAME).write_bytes(data[:begin] + struct.pack("<HHIH", 274, 3, 1, 1) + data[begin + 10 :])
    np.testing.assert_array_equal(whole(RasterBand.open(source(tmp_path / NAME), ["uint16"])), numbered()[::-1])


def test_directories_in_a_circle_end(tmp_path):
    file = patched(write_tiff(tmp_path / NAME, numbered()), {274: (3, 4)}, loops=True)
    np.testing.assert_array_equal(whole(RasterBand.open(file, ["uint16"])), numbered()[::-1])


# GDAL's messages quote names out of the file, and rasterio cannot decode those that are no text
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "options",
    [{}, TILED | {"compress": "lzw"}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"dtype": "complex_int16"}],
    ids=["strips", "tiles", "BigTIFF", "big-endian", "complex"],
)
def test_a_changed_byte_gives_a_band_or_our_error(tmp_path, options):
    random = np.random.default_rng(1)
    pixels = numbered((40, 50), "complex64" if "dtype" in options else "uint16")
    data = write_tiff(tmp_path / NAME, pixels, nodata=None, **options).path.read_bytes()
    outcomes = {"read": 0, "refused": 0}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with peak_below(100e6):
        for _ in range(100):
            changed = bytearray(data)
            for place in random.integers(0, 500 if random.random() < 0.8 else len(data), random.integers(1, 5)):
                changed[place] = random.choice([0, 1, 255, random.integers(0, 256)])
            (tmp_path / NAME).write_bytes(changed)
            try:
                band = RasterBand.open(source(tmp_path / NAME), ["uint16", "complex64"])
                for _ in band.strips(*(slice(0, size) for size in band.shape), 64):
                    pass
                outcomes["read"] += 1
            except Alos2TutError as error:
                assert NAME in str(error)
                outcomes["refused"] += 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 < 100e6
    assert min(outcomes.values()) > 10
