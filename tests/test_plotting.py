"""Class names in any script are drawn by a font that has it, or boxes are, and one warning says so."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.font_manager import fontManager
from support.figures import legend_texts
from support.map_files import write_raster

from alos2tut import Alos2TutWarning, plotting
from alos2tut.dataset.legend import LandClass, Legend
from alos2tut.mapping.preview import preview

WATER, LAND = "น้ำ", "地 $x"
LEGEND = Legend("ไทย", "made up", (LandClass(WATER, (0, 0, 99), (1,)), LandClass(LAND, (0, 99, 0), (2,))), ())


@pytest.fixture
def bare(monkeypatch):
    """A system without any font but those of matplotlib."""
    listed = [font for font in fontManager.ttflist if font.name.startswith(("DejaVu", "Last Resort"))]
    monkeypatch.setattr(fontManager, "ttflist", listed)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    with plt.rc_context({"font.family": ["sans-serif"]}):
        yield
    plt.close("all")


def write_font(path, name, characters):
    """A font with one and the same sign for these characters."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((500, 0), (500, 700), (0, 700)):
        pen.lineTo(point)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "box"])
    font.setupCharacterMap({ord(character): "box" for character in characters})
    font.setupGlyf({".notdef": pen.glyph(), "box": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (600, 0), "box": (600, 0)})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


def drawn(tmp_path, name="map.tif"):
    """The legend of a map's preview; matplotlib's warnings are errors, ours are returned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # affine 3 would like @ for *
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        figure = preview(write_raster(tmp_path / name, np.eye(20), legend=LEGEND))
        figure.savefig(tmp_path / "map.png")
    assert all(warning.category is Alos2TutWarning for warning in caught), [str(w.message) for w in caught]
    return legend_texts(figure), [str(warning.message) for warning in caught]


def test_fonts_of_the_system_stand_in_also_those_newer_than_matplotlibs_list(bare, tmp_path, monkeypatch):
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    fontManager.addfont(write_font(tmp_path / "thai.ttf", "Some Thai", f"{WATER}ํา"))  # it is drawn by its parts
    newer = [str(write_font(tmp_path / "kanji.ttf", "Some Kanji", LAND)), str(tmp_path / "damaged.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: newer)
    assert drawn(tmp_path) == ([WATER, r"地 \$x"], [])
    assert plt.rcParams["font.family"] == ["sans-serif", "Some Thai", "Some Kanji"]
    # nothing is added twice, nor for what the fonts in use have
    assert plotting.drawable([WATER, "wasser – ääα"])[0] == WATER and len(plt.rcParams["font.family"]) == 3


def test_boxes_and_one_warning_where_no_font_has_the_script(bare, tmp_path):
    names, (told,) = drawn(tmp_path)
    assert names == ["□□□", r"□ \$x"] and plt.rcParams["font.family"] == ["sans-serif"]
    assert told.startswith(f"no font here has the characters (Cjk, Thai) of {WATER}, {LAND}: boxes are drawn")
    assert "Install one that has" in told and "other names in the legend" in told


# --- several polarisations


def _channels(count):
    """Patches (2, count, 16, 16) whose channels are 8 dB apart, with a hole."""
    db = np.random.default_rng(0).normal(-10, 3, (2, count, 16, 16)) - 8 * np.arange(count)[:, None, None]
    db[0, :, :2, :3] = np.nan
    return db.astype(np.float32)


@pytest.mark.parametrize(
    ("names", "blue", "blue_name"),
    [(["HH", "HV"], lambda db: db[0] - db[1], "HH/HV"), (["HH", "HV", "VV"], lambda db: db[2], "VV")],
)
def test_several_channels_are_red_green_and_blue_between_their_own_percentiles(names, blue, blue_name):
    patches = _channels(len(names))
    limits = plotting.patch_limits(patches)
    image = plotting.draw_patch(plt.figure().subplots(), patches[0], limits).get_array()
    for place, band in enumerate((lambda db: db[0], lambda db: db[1], blue)):
        both = np.stack([band(db) for db in patches])
        low, high = np.nanpercentile(both, [1, 99])
        low, high = np.floor(low), np.ceil(high)
        assert (limits[place]["vmin"], limits[place]["vmax"]) == (low, high)
        there = np.isfinite(both[0])
        np.testing.assert_allclose(
            image[..., place][there], ((both[0] - low) / (high - low)).clip(0, 1)[there], atol=1e-6
        )
    np.testing.assert_allclose(image[0, 0], (*to_rgb(plotting.NO_DATA_COLOR), 1), atol=1e-6)
    said = plotting.patch_range({"quantity": "gamma0", "polarizations": names}, limits)
    assert said.startswith(f"γ⁰: red HH −{-limits[0]['vmin']} to ") and f"blue {blue_name} " in said


def test_one_channel_is_grey_as_ever():
    patches = _channels(1)
    limits = plotting.patch_limits(patches)
    assert limits == [plotting.grey_limits(patches)]
    drawn = plotting.draw_patch(plt.figure().subplots(), patches[1], limits)
    assert drawn.get_cmap().name == "gray" and np.array_equal(drawn.get_array(), patches[1, 0])
    signal = {"quantity": "sigma0", "polarizations": ["HH"]}
    assert plotting.patch_range(signal, limits) == plotting.grey_range("sigma0", limits[0])


def test_a_flat_image_has_limits_that_differ():
    assert plotting.grey_limits(np.full((4, 4), -7.0)) == {"vmin": -7, "vmax": -6}
