"""What is made of downloaded files: of the real ones, where they are at hand, and what is refused."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import rasterio

from alos2tut import Alos2TutError, fetch, open_product
from alos2tut.downloads.manifest import MadeFile, load_manifest
from alos2tut.downloads.recipes import RECIPES, make_image, pixels_sha256

MADE = load_manifest()["airsar_sanfrancisco"].makes[0]


def green_of(bmp: Path) -> np.ndarray:
    """The green channel of a 24-bit BMP, read by hand: rows from below, pixels blue, green, red."""
    content = bmp.read_bytes()
    offset, columns, rows = (int.from_bytes(content[at : at + 4], "little") for at in (10, 18, 22))
    assert content[28:30] == (24).to_bytes(2, "little") and columns * 3 % 4 == 0
    return np.frombuffer(content, np.uint8, offset=offset).reshape(rows, columns, 3)[::-1, :, 1]


@pytest.fixture(scope="module")
def scene(airsar: Path) -> Path:
    return airsar / "airsar_sanfrancisco"


@pytest.fixture(scope="module")
def hv_db(scene: Path) -> np.ndarray:
    with rasterio.open(scene / "HV.tif") as image:
        return image.read(1)


def test_every_recipe_that_a_manifest_may_name_is_known():
    assert set(get_args(get_type_hints(MadeFile)["recipe"])) == RECIPES.keys()


def test_hv_of_san_francisco_is_half_of_the_greens_t33(scene, hv_db):
    green = green_of(scene / "SF-AIRSAR-Pauli.bmp").astype(float)
    t33_db = -34.55 + green / 255 * (34.55 - 9.52)
    assert hv_db.dtype == np.float32
    np.testing.assert_allclose(hv_db, t33_db - 3.0103, atol=1e-4)


def test_it_shows_the_ground_of_its_t3_and_of_its_labels(scene, hv_db):
    t33 = np.fromfile(scene / "T3_leefiltered" / "T33.bin", "<f4").reshape(900, 1024)
    assert np.corrcoef(hv_db.ravel(), 10 * np.log10(t33).ravel())[0, 1] > 0.9
    assert np.corrcoef(hv_db[::-1].ravel(), 10 * np.log10(t33).ravel())[0, 1] < 0.3
    # where nothing is censored the level is that of T33/2 within what was fitted
    small = np.s_[:900, :1017]
    blocks = [part[small].reshape(100, 9, 113, 9) for part in (10 ** (hv_db / 10), t33 / 2)]
    inside = ((blocks[0] > 10 ** (hv_db.min() / 10)) & (blocks[0] < 10 ** (hv_db.max() / 10))).all(axis=(1, 3))
    made, filtered = (10 * np.log10(part.mean(axis=(1, 3))[inside]) for part in blocks)
    assert inside.sum() > 1000 and np.sqrt(np.mean((made - filtered) ** 2)) < 0.7
    with rasterio.open(scene / "SF-AIRSAR-label2d.png") as labels:
        codes = labels.read(1)
    assert np.bincount(codes.ravel()).tolist() == [119298, 13701, 62731, 329566, 342795, 53509]
    assert (hv_db[codes == 3] == hv_db.min()).mean() == pytest.approx(0.176, abs=5e-4)
    power = [np.mean(10 ** (hv_db[codes == code] / 10)) for code in range(1, 6)]
    assert np.argmin(power) + 1 == 3  # water


def test_it_says_how_it_was_made_and_what_is_censored(scene):
    with rasterio.open(scene / "HV.tif") as image:
        assert (image.count, image.crs, image.nodata) == (1, None, None)
        assert image.descriptions == ("HV",) and image.units == ("dB",)
        says = image.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    for part in ("-34.55 to -9.52 dB", "minus 3.01 dB", "Codes 0 (6.5% of the pixels) and 255 (6.2%)", "relative"):
        assert part in says
    assert open_product(scene / "HV.tif", scale="db", quantity="relative").notes[-1] == f"the file says: {says}"


def test_it_is_made_once_and_another_is_not_taken_for_it(scene, hv_db, tmp_path):
    place = tmp_path / "airsar_sanfrancisco"
    shutil.copytree(scene, place, symlinks=True)
    before = (place / "HV.tif").stat().st_mtime_ns
    assert fetch("airsar_sanfrancisco", tmp_path) == place and (place / "HV.tif").stat().st_mtime_ns == before
    shutil.copy(scene / "SF-AIRSAR-label2d.png", place / "HV.tif")
    with pytest.raises(Alos2TutError, match=r"HV\.tif: holds other pixels than the manifest says.*made anew"):
        fetch("airsar_sanfrancisco", tmp_path)
    (place / "HV.tif").unlink()
    fetch("airsar_sanfrancisco", tmp_path)
    with rasterio.open(place / "HV.tif") as image:
        np.testing.assert_array_equal(image.read(1), hv_db)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        (b"no picture", {}, r"is no picture that can be read"),
        (None, {"of": "SF-AIRSAR-label2d.png"}, r"has 1 bands, not 3"),
        (None, {"pixels_sha256": "0" * 64}, rf"gives pixels of SHA-256 {MADE.pixels_sha256}, the manifest says 0000"),
    ],
)
def test_what_gives_no_such_image_is_named_and_nothing_written(scene, tmp_path, content, changes, message):
    made = replace(MADE, **changes)
    shutil.copy(scene / made.of, tmp_path) if content is None else (tmp_path / made.of).write_bytes(content)
    with pytest.raises(Alos2TutError, match=re.escape(made.of) + ".*" + message):
        make_image(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [made.of]


def test_pixels_are_hashed_row_by_row_as_little_endian_float32():
    values = np.arange(6, dtype=">f8").reshape(2, 3)
    assert pixels_sha256(values) == pixels_sha256(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert pixels_sha256(values) != pixels_sha256(values[::-1])
