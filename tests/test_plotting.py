"""Class names in any script are drawn by a font that has it, or boxes are, and one warning says so."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
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
