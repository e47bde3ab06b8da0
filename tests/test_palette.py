"""Classes are drawn in colours that readers tell apart, whatever their sight; what is stored keeps its own."""

from __future__ import annotations

import colorsys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from support.color_vision import SIGHTS, ciede2000, lab

from alos2tut import load_legend, plotting
from alos2tut.dataset.legend import IGNORE, LandClass, Legend, legend_names

#: what Sharma, Wu and Dalal give to try implementations of CIEDE2000 with ("The CIEDE2000 color-difference formula",
#: Color Research and Application 30, 2005, table 1): two colours in L*a*b*, and how different they are
PAIRS = """
    50.0000 2.6772 -79.7751 50.0000 0.0000 -82.7485 2.0425
    50.0000 3.1571 -77.2803 50.0000 0.0000 -82.7485 2.8615
    50.0000 2.8361 -74.0200 50.0000 0.0000 -82.7485 3.4412
    50.0000 -1.3802 -84.2814 50.0000 0.0000 -82.7485 1.0000
    50.0000 -1.1848 -84.8006 50.0000 0.0000 -82.7485 1.0000
    50.0000 -0.9009 -85.5211 50.0000 0.0000 -82.7485 1.0000
    50.0000 0.0000 0.0000 50.0000 -1.0000 2.0000 2.3669
    50.0000 -1.0000 2.0000 50.0000 0.0000 0.0000 2.3669
    50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0009 7.1792
    50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0010 7.1792
    50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0011 7.2195
    50.0000 2.4900 -0.0010 50.0000 -2.4900 0.0012 7.2195
    50.0000 -0.0010 2.4900 50.0000 0.0009 -2.4900 4.8045
    50.0000 -0.0010 2.4900 50.0000 0.0010 -2.4900 4.8045
    50.0000 -0.0010 2.4900 50.0000 0.0011 -2.4900 4.7461
    50.0000 2.5000 0.0000 50.0000 0.0000 -2.5000 4.3065
    50.0000 2.5000 0.0000 73.0000 25.0000 -18.0000 27.1492
    50.0000 2.5000 0.0000 61.0000 -5.0000 29.0000 22.8977
    50.0000 2.5000 0.0000 56.0000 -27.0000 -3.0000 31.9030
    50.0000 2.5000 0.0000 58.0000 24.0000 15.0000 19.4535
    50.0000 2.5000 0.0000 50.0000 3.1736 0.5854 1.0000
    50.0000 2.5000 0.0000 50.0000 3.2972 0.0000 1.0000
    50.0000 2.5000 0.0000 50.0000 1.8634 0.5757 1.0000
    50.0000 2.5000 0.0000 50.0000 3.2592 0.3350 1.0000
    60.2574 -34.0099 36.2677 60.4626 -34.1751 39.4387 1.2644
    63.0109 -31.0961 -5.8663 62.8187 -29.7946 -4.0864 1.2630
    61.2901 3.7196 -5.3901 61.4292 2.2480 -4.9620 1.8731
    35.0831 -44.1164 3.7933 35.0232 -40.0716 1.5901 1.8645
    22.7233 20.0904 -46.6940 23.0331 14.9730 -42.5619 2.0373
    36.4612 47.8580 18.3852 36.2715 50.5065 21.2231 1.4146
    90.8027 -2.0831 1.4410 91.1528 -1.6435 0.0447 1.4441
    90.9257 -0.5406 -0.9208 88.6381 -0.8985 -0.7239 1.5381
    6.7747 -0.2908 -2.4247 5.8714 -0.0985 -2.2286 0.6377
    2.0776 0.0795 -1.1350 0.9033 -0.0636 -0.5514 0.9082
"""
#: of nine classes, and of those that are told apart by their colour alone in longer legends
LEAST = 10


def test_the_measure_is_that_of_the_paper():
    pairs = np.array([line.split() for line in PAIRS.split("\n") if line], dtype=float)
    assert len(pairs) == 34
    np.testing.assert_allclose(ciede2000(pairs[:, :3], pairs[:, 3:6]), pairs[:, 6], atol=5.1e-5)
    np.testing.assert_allclose(ciede2000(pairs[:, 3:6], pairs[:, :3]), pairs[:, 6], atol=5.1e-5)


def test_eyes_without_red_or_green_cones_see_greys_as_they_are():
    greys = np.linspace(0, 1, 5)[:, None] * np.ones(3)
    for sight in SIGHTS:
        np.testing.assert_allclose(lab(greys, sight), lab(greys), atol=0.02)
    red, green = lab([0.8, 0.1, 0.1], "deutan"), lab([0.2, 0.5, 0.1], "deutan")
    assert ciede2000(red, green) < 0.4 * ciede2000(lab([0.8, 0.1, 0.1]), lab([0.2, 0.5, 0.1]))


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("name", legend_names())
def test_classes_are_told_apart_by_colour_and_hatch(name, sight):
    colors = plotting.class_colors(load_legend(name))
    for group in (colors[:9], colors[9:]):
        shown = lab([*group, to_rgb(plotting.NO_LABEL_COLOR)], sight)
        apart = ciede2000(shown[:, None], shown[None])[np.triu_indices(len(shown), 1)]
        assert apart.min(initial=99) >= LEAST


@pytest.mark.parametrize("name", ["japan_9", "japan_14"])
def test_water_is_blue_and_forest_green_and_stored_colours_are_jaxas(name):
    legend = load_legend(name)
    drawn = {
        n: colorsys.rgb_to_hsv(*c)[0] * 360 for n, c in zip(legend.names, plotting.class_colors(legend), strict=True)
    }
    assert 220 < drawn["water"] < 250
    forests = [n for n in legend.names if n == "forest" or "leaved" in n]
    assert forests and all(90 < drawn[n] < 160 for n in forests)
    stored = dict(zip(legend.names, legend.colors.tolist(), strict=True))
    assert stored["water"] == [0, 0, 100] and stored["built-up"] == [255, 0, 0] and stored["bare"] == [128, 100, 0]
    assert set(plotting.PALETTES[name]) == set(legend.names)
    # also when a map has only some of them, in another order
    part = Legend("of a map", "", legend.classes[3:0:-1], ())
    np.testing.assert_array_equal(plotting.class_colors(part), plotting.class_colors(legend)[3:0:-1])


def test_own_colours_are_drawn_as_they_are():
    japan = load_legend("japan_9")
    own = Legend("own", "", (LandClass("water", (1, 2, 3), (1,)), *japan.classes[1:]), ())
    np.testing.assert_array_equal(plotting.class_colors(own), own.colors / 255)


def test_classes_beyond_nine_have_stripes_in_picture_and_key():
    legend = load_legend("japan_14")
    classes = np.tile(np.array([0, 8, 9, 13, IGNORE], dtype=np.uint8).repeat(20), (60, 1))
    figure, ax = plt.subplots()
    plotting.draw_land_cover(ax, classes, legend, (0, 100, 60, 0))
    image, colors = ax.images[0], plotting.class_colors(legend)
    shown = np.asarray(image.get_array())
    assert min(shown.shape) >= 60 and max(shown.shape) >= 400
    finer = shown.shape[0] // 60
    np.testing.assert_array_equal(shown[::finer, ::finer] % 256, classes)
    for place, index in enumerate((0, 8, 9, 13)):
        part = shown[:, 20 * finer * place :][:, : 20 * finer]
        assert (part >= 256).mean() == (pytest.approx(0.25, abs=0.1) if index >= 9 else 0)
        np.testing.assert_allclose(image.cmap(image.norm(index))[:3], colors[index])
    np.testing.assert_allclose(image.cmap(image.norm(IGNORE))[:3], to_rgb(plotting.NO_LABEL_COLOR))
    # brown has white stripes, white black ones
    assert image.cmap(image.norm(256 + 9))[:3] == (1, 1, 1) and image.cmap(image.norm(256 + 13))[:3] == (0, 0, 0)
    plotting.class_key(figure, legend)
    hatches = [bool(patch.get_hatch()) for patch in figure.legends[0].get_patches()]
    assert hatches == [False] * 9 + [True] * 5 + [False]
    plt.close(figure)


def test_nine_classes_have_no_stripes_and_pixels_of_their_own():
    legend = load_legend("japan_9")
    classes = np.array([[0, 8], [3, IGNORE]], dtype=np.uint8)
    ax = plt.figure().subplots()
    plotting.draw_land_cover(ax, classes, legend, None)
    np.testing.assert_array_equal(ax.images[0].get_array(), classes)
    plt.close("all")
