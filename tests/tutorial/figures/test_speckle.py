"""What the figures of notebook 1 work out, and its sliders where somebody watches."""

import gc
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from affine import Affine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.layout_engine import ConstrainedLayoutEngine
from support.products import write_ceos, write_geotiff

from alos2tut import Product, open_product, radiometry, speckle
from alos2tut.core.errors import Alos2TutError
from alos2tut.tutorial import widgets
from alos2tut.tutorial.figures import speckle as speckle_figures
from alos2tut.tutorial.session import Tutorial


def write_product(folder: Path, dn: np.ndarray) -> Path:
    grid = Affine(2.5, 0, 350_000, 0, -2.5, 3_950_000)
    path = folder / "IMG-HH-ALOS2237752900-181018-UBSR2.1GUD.tif"
    return write_geotiff(path, dn.round().clip(0, 65535), grid)


def patchy(shape: tuple[int, int], rough: tuple[slice, slice]) -> np.ndarray:
    """Amplitudes of even ground with a rough patch."""
    dn = 1000 * np.sqrt(speckle.draw_speckle(shape, 4, seed=1))
    dn[rough] *= np.where(np.indices(dn[rough].shape).sum(axis=0) // 10 % 2, 8, 1)
    return dn


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return open_product(write_product(tmp_path, patchy((300, 240), np.s_[200:240, 40:80])))


def test_the_most_varied_window_holds_what_varies(product):
    row, col, height, width = speckle_figures.most_varied_window(product)
    assert (height, width) == (50, 40)
    assert row <= 200 + 20 <= row + height and col <= 40 + 20 <= col + width


def test_the_most_varied_window_passes_over_missing_pixels(tmp_path):
    dn = patchy((300, 240), np.s_[:150, :120])
    dn[40:140, :] = 0
    product = open_product(write_product(tmp_path, dn))
    assert np.isfinite(product.read_db(speckle_figures.most_varied_window(product))).all()
    # without any data there is still one
    product = open_product(write_product(tmp_path, np.zeros((60, 48))))
    assert speckle_figures.most_varied_window(product)[2:] == (10, 8)


def test_the_middle_of_a_window_is_a_square_in_it():
    assert speckle_figures.middle_of((8, 16, 600, 800)) == (180, 288, 256, 256)
    assert speckle_figures.middle_of((8, 16, 50, 41)) == (12, 16, 41, 41)


def test_what_was_cut_off_stands_at_the_ends():
    dn = np.arange(100.0).reshape(10, 10).clip(5, 89)
    dn[0, 0] = np.nan
    assert speckle_figures.shares_at_ends(dn) == pytest.approx((5 / 99, 11 / 99))
    assert np.isnan(speckle_figures.shares_at_ends(dn * np.nan)).all()


def test_bright_targets_carry_a_loss_in_power_and_not_in_db():
    power = speckle.draw_speckle((128, 128), 2, seed=0)
    power.ravel()[:: 128 * 4] *= 1000
    assert speckle_figures._shares_of_brightest(power.reshape(4, 64, 64))["power²"] > 0.99
    db = radiometry.to_db(power)
    plain, brightest = np.abs(db - np.median(db)), power >= np.percentile(power, 99)
    share = speckle_figures._shares_of_brightest(power[None])["|dB|"]
    assert share == pytest.approx(plain[brightest].sum() / plain.sum()) and share < 0.06


@pytest.mark.parametrize(("looks", "error_db"), [(1, 4.20), (2.5, 2.37)])
def test_the_least_error_is_that_of_drawn_speckle(looks, error_db):
    db = radiometry.to_db(speckle.draw_speckle((1024, 1024), looks, seed=3))
    assert speckle_figures._least_l1_db(looks) == pytest.approx(np.abs(db - np.median(db)).mean(), rel=0.005)
    assert speckle_figures._least_l1_db(looks) == pytest.approx(error_db, abs=0.01)


def test_patches_with_holes_are_left_out_as_long_as_there_are_others():
    power = np.ones((8, 12))
    power[0, 0] = np.nan
    assert speckle_figures._patches(power, 4).shape == (5, 4, 4)
    power[::4, ::4] = np.nan
    assert speckle_figures._patches(power, 4).shape == (6, 4, 4)


NOTEBOOK = Path(__file__).resolve().parents[3] / "notebooks" / "01_read_and_inspect.ipynb"


def run_notebook(product: Path, work_dir: Path, overrides: str = "") -> dict[str, Any]:
    """What the notebook's cells, then the solutions of its exercises, leave behind; silence is demanded."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    code = [c.source for c in cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
    solutions = re.findall(r"```python\n(.+?)```", "".join(c.source for c in cells), flags=re.DOTALL)
    assert len(solutions) >= 4
    tutorial = Tutorial(product=str(product), labels="none needed.tif", work_dir=str(work_dir), overrides=overrides)
    names: dict[str, Any] = {"given": tutorial}
    for source in [*code, *solutions]:
        exec(source.replace("session.start()", "given"), names)  # our own notebook
        plt.close("all")
    return names


def scene(shape: tuple[int, int], looks: float = 1) -> np.ndarray:
    """Amplitudes: water above, textured land below, with a few targets."""
    power = speckle.draw_speckle(shape, looks, seed=4)
    land = np.s_[shape[0] // 3 :, :]
    power[land] *= 8 * np.random.default_rng(1).gamma(3, 1 / 3, power[land].shape)
    power[-20:-10, -20:-10] *= 300
    return 1500 * np.sqrt(power)


def test_the_notebook_runs_where_the_upper_left_is_empty(tmp_path):
    dn = scene((1100, 900))
    dn[:700, :600] = 0
    names = run_notebook(write_product(tmp_path, dn), tmp_path / "work")
    assert names["enl"].low < 1 < names["enl"].high
    assert names["looks"] == pytest.approx(4, abs=0.4)


def test_the_notebook_runs_on_complex_numbers_smaller_than_a_patch(tmp_path):
    phase = np.random.default_rng(2).uniform(0, 2 * np.pi, (200, 200))
    image = (scene((200, 200)) * np.exp(1j * phase)).astype(np.complex64)
    names = run_notebook(write_ceos(tmp_path / "slc", {"HH": image}, "UBSR1.1__D"), tmp_path / "work")
    assert names["product"].grid is None and names["side"] == 64
    # no line marks a saturation that complex numbers do not have
    with plt.rc_context():
        figure = speckle_figures.value_range(names["product"], names["window"], names["darkest_db"])
    assert not [text for text in figure.axes[0].texts if "saturation" in text.get_text()]


def test_nobody_watching_gets_a_line_of_text(product, capsys):
    assert widgets.explore_filters(product, (0, 0, 128, 96), 1.0) is None
    assert "live notebook" in capsys.readouterr().out


def test_a_picture_is_replaced_and_never_taken_away(watched, product):
    box = widgets.explore_looks(product, (0, 0, 128, 96))
    (slider, _, picture), seen = box.children, []
    picture.observe(lambda change: seen.append(change["new"]), "value")
    slider.value = 8
    assert slider.description == "looks" and bytes(picture.value[:4]) == b"\x89PNG"
    assert seen == [picture.value] and not plt.get_fignums()


def test_looks_are_explored(watched, product):
    figure = widgets.explore_looks(product, (0, 0, 128, 96)).f(looks=16)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["as delivered", "16 × 16 looks"]


def test_axes_keep_their_place_while_only_a_slider_moves(watched, product, monkeypatch):
    box, rounds = widgets.explore_filters(product, (0, 0, 128, 96), 1.0), []
    lay_out = ConstrainedLayoutEngine.execute
    monkeypatch.setattr(ConstrainedLayoutEngine, "execute", lambda *of: (rounds.append(1), lay_out(*of)))
    settings = {"filter_name": "Lee", "filter_px": 7, "down": 0.5, "right": 0.5, "size_px": 64}
    figures = [box.f(**settings | more) for more in ({}, {"down": 0.0}, {"filter_name": "Frost"}, {"down": 1.0})]
    first, moved, other, _ = ([ax.get_position().bounds for ax in figure.axes] for figure in figures)
    assert first == moved and len(rounds) == 4  # two for each filter
    laid_out = speckle_figures.despeckled(product.read_power((0, 0, 64, 64)), 1.0, ["Frost"], 7, "sigma0")
    laid_out.set_dpi(144)
    FigureCanvasAgg(laid_out).draw()
    np.testing.assert_allclose(other, [ax.get_position().bounds for ax in laid_out.axes], atol=0.02)


def test_no_garbage_is_collected_while_a_picture_is_drawn(watched, product, monkeypatch):
    states = []
    ladder = speckle_figures.looks_ladder
    monkeypatch.setattr(speckle_figures, "looks_ladder", lambda *of: (states.append(gc.isenabled()), ladder(*of))[1])
    draw = widgets.explore_looks(product, (0, 0, 128, 96)).f
    draw(looks=4)
    assert states == [False, False] and gc.isenabled()
    with pytest.raises(Alos2TutError):
        draw(looks=-1)
    assert gc.isenabled()
    gc.disable()
    try:
        draw(looks=4)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("window", "place", "shown"),
    [
        ((10, 20, 150, 130), 0.0, (10, 20, 128, 128)),
        ((10, 20, 150, 130), 1.0, (32, 22, 128, 128)),
        ((10, 20, 40, 30), 0.5, (15, 20, 30, 30)),
    ],
)
def test_filters_are_explored(watched, product, window, place, shown):
    slider = widgets.explore_filters(product, window, 4.0)
    size = slider.children[4].value
    figure = slider.f(filter_name="Frost", filter_px=5, down=place, right=place, size_px=size)
    given, filtered = figure.axes[:2]
    assert filtered.get_title() == "Frost, 5 × 5"
    np.testing.assert_allclose(given.images[0].get_array(), product.read_db(shown), atol=1e-4)


def test_the_chart_holds_what_it_says():
    chart_db = np.round(radiometry.to_db(speckle_figures.target_chart()), 6)
    fields, star, lines, even = chart_db[:128, :128], chart_db[:128, 128:], chart_db[128:, :128], chart_db[128:, 128:]
    assert (fields.min(), fields.max()) == (-20, -4)
    assert fields[16, 16::32].tolist() == [-20, -4, -14, -8]
    assert set(star.ravel()) == {-14.0, -7.0}
    assert set(lines.ravel()) == {-20.0, -18.0, -12.0, -4.0}
    assert sorted(even[even != -10]) == [0, 5, 10, 15]
    assert (even[128 // 3 :] == -10).all()
