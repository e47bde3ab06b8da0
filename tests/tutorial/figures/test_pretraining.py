"""The figures of notebook 3 show what they are given."""

import math

import numpy as np
import pytest
from support.figures import texts
from support.networks import SIGNAL

from alos2tut import load_config, open_dataset
from alos2tut.pretraining.reconstruction import HiddenPixels
from alos2tut.pretraining.stage import pretrain
from alos2tut.tutorial import widgets
from alos2tut.tutorial.figures import pretraining as pretraining_figures

TINY = {"patch_size": 2, "embed_dim": 24, "depths": [1, 1, 1, 1], "num_heads": [2, 4, 8, 16], "window_size": 4}


@pytest.fixture(scope="module")
def patches():
    """Two patches of speckle with a dark half; the second has a strong scatterer, the first missing pixels."""
    power = np.random.default_rng(0).gamma(3, 1 / 3, (2, 64, 64)) * np.where(np.arange(64) < 20, 0.05, 0.4)
    power[1, 30, 40] = 300
    db = (10 * np.log10(power)).astype(np.float32)
    db[0, :3, :4] = np.nan
    return db


def test_calmest_and_brightest(packed_dataset):
    split = open_dataset(packed_dataset).split("train")
    peaks = [np.nanmax(split.db(i)) - np.nanmedian(split.db(i)) for i in range(len(split))]
    assert pretraining_figures.calmest_and_brightest(split) == [np.argmin(peaks), np.argmax(peaks)]


def test_copying_fills_from_what_is_visible(patches):
    flat = np.full((64, 64), -8.0, np.float32)
    mask = pretraining_figures.random_mask(64, 8, 0.6)
    assert mask.mean() == pytest.approx(0.6, abs=0.02)
    spoiled = np.where(mask, 40.0, flat)
    assert (pretraining_figures.copied_from_neighbours(spoiled, mask) == -8).all()
    assert np.isfinite(pretraining_figures.copied_from_neighbours(patches[0], mask)).all()


def test_mask_explorer_leaves_out_units_that_do_not_fit(patches):
    figure = pretraining_figures.mask_explorer(patches, "sigma0")
    assert [t for t in texts(figure) if t.startswith("unit")] == ["unit 8 px", "unit 16 px"] * 2
    curves = [line for line in figure.axes[-1].lines if len(line.get_xdata()) == 9]
    small, large = (line.get_ydata() for line in curves)
    assert np.mean(large) > np.mean(small) and small[-1] > small[0]


def test_weight_maps_and_growing_target(patches):
    maps = pretraining_figures.weight_maps(patches, "sigma0")
    shown = [ax.images[0].get_array() for ax in maps.axes[:8] if ax.images]
    assert np.median(shown[5].compressed()) > 0.99 * math.e  # the published weight beside a strong scatterer
    figure = pretraining_figures.growing_target(patches[0])
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert lines["extremes (published)"][-1] > 0.999 * math.e > lines["extremes (published)"][0]
    assert np.ptp(lines["percentiles 1–99"]) < 0.01 and np.ptp(lines["ranks"]) < 0.01


def test_weight_by_class_orders_classes_by_brightness(packed_dataset):
    figure = pretraining_figures.weight_by_class(open_dataset(packed_dataset))
    labels = [label.get_text().split("\n")[0] for label in figure.axes[0].get_xticklabels()]
    assert labels == ["class 2", "class 1", "class 0"]


def test_one_step_shows_the_error_where_it_is_hidden(patches):
    mask = pretraining_figures.random_mask(64, 16, 0.5)
    guess = np.full((64, 64), -9.0)
    figure = pretraining_figures.one_step(patches[1], mask, guess, np.full((64, 64), 2.0), "sigma0")
    error, weighted = (figure.axes[i].images[0].get_array() for i in (2, 3))
    assert (np.ma.getmaskarray(error) == ~mask).all()
    np.testing.assert_allclose(error[mask], np.abs(patches[1] + 9)[mask])
    np.testing.assert_allclose(weighted[mask], 2 * error[mask])


def test_training_curves_and_reconstructions(packed_dataset, tmp_path):
    settings = {"dataset": packed_dataset, "work_dir": tmp_path, "encoder": TINY, "mask_unit_px": 8, "steps": 8}
    weightings = {"SAR weight": "sar", "no weight": "none"}
    runs = {n: pretrain(load_config("pretrain", batch_size=2, weighting=w, **settings)) for n, w in weightings.items()}
    figure = pretraining_figures.training_curves(runs, 5.0)
    assert {"SAR weight", "no weight"} <= set(texts(figure))
    pictures = pretraining_figures.reconstructions(runs["SAR weight"], SIGNAL)
    assert {"after step 1", "after step 4", "after step 8"} <= set(texts(pictures))
    assert sum(text.startswith("error ") for text in texts(pictures)) == 3 * 4
    pretraining_figures.training_curves({"one": runs["no weight"]}, 5.0)


def test_errors_are_compared_pixel_by_pixel():
    random = np.random.default_rng(0)
    n = 6000
    patch, label = random.integers(0, 20, n).astype(np.int32), random.integers(0, 2, n).astype(np.uint8)
    label[:100] = 255
    truth = random.normal(-10, 4, n).astype(np.float32)
    around = np.full(n, -10, np.float32)
    guesses = {"dark": np.full(n, -10.2, np.float32), "bright": np.full(n, -9.8, np.float32)}
    runs = {name: HiddenPixels(patch, label, truth, around, guess) for name, guess in guesses.items()}
    figure = pretraining_figures.errors_compared(runs, ["water", "land"])
    low = figure.axes[3].containers[0].lines[0]
    contrast, difference = low.get_xdata(), low.get_ydata()
    assert difference[contrast < -4] == pytest.approx(-0.4, abs=0.01)
    assert difference[contrast > 4] == pytest.approx(0.4, abs=0.01)
    lines = pretraining_figures.errors_table(runs).splitlines()
    assert "intervals over patches cover ground, not seeds or training draws" in lines[0]
    assert [line.split("  ")[0] for line in lines[1:]] == ["dark", "bright", "dark minus bright"]
    expected = (np.abs(-10.2 - truth) - np.abs(-9.8 - truth)).mean()
    assert float(lines[3].split()[3]) == pytest.approx(expected, abs=1e-3)


def test_settings_table_holds_what_is_published_and_used():
    paper, quick = load_config("pretrain", "paper"), load_config("pretrain", "quick", lr=2e-3)
    table = pretraining_figures.settings_table(paper, quick)
    cells = [[cell.strip("` ") for cell in row.split("|")] for row in table.splitlines()[2:]]
    rows = {row[1]: row for row in cells}
    assert all(hasattr(paper, name) for name in rows)
    assert rows["clip_norm"][2:5] == ["5", "5", "5"] and rows["base_lr"][3:5] == ["0.0001", "lr 0.002"]
    assert rows["encoder"][3] == "swin, width 128, depths 2-2-18-2, window 8"
    assert rows["batch_size"][3] == "2048" and rows["epochs"][4] == f"{quick.steps} steps"


def test_sliders_show_masks_and_weights(patches, watched):
    masks = widgets.explore_masks(patches, "sigma0")
    assert {"seen: 25% hidden"} <= set(texts(masks.f(unit_px=8, ratio=0.25, seed=1)))
    assert masks.children[0].options == (4, 8, 16) and masks.children[1].max == 0.9
    assert any(of == "seen: 94% hidden" for of in texts(masks.f(unit_px=16, ratio=0.9, seed=1)))
    figure = widgets.explore_weights(patches, "gamma0").f(weighting="sar_ecdf", scale=2.0, patch=2)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), patches[1])
    assert {"ranks", "γ⁰ (dB)"} <= set(texts(figure))


def test_two_objectives_show_what_each_asks(patches):
    hidden, mixed = (pretraining_figures.random_mask(64, unit, 0.5) for unit in (8, 16))
    figure = pretraining_figures.two_objectives(patches, hidden, mixed, 16, "sigma0")
    shown = {ax.get_title(): ax.images[0].get_array() for ax in figure.axes if ax.images}
    given, asked = shown["SimMIM: what the network gets"], shown["SimMIM: what it has to predict"]
    assert (np.ma.getmaskarray(given) | np.ma.getmaskarray(asked)).all()
    mixture = shown["MixMAE: what the network gets"]
    assert (mixture[mixed] == patches[1][mixed]).all()
    units = np.asarray(shown["MixMAE: what it has to predict"]).reshape(4, 16, 4, 16)
    assert units.mean(axis=(1, 3)) == pytest.approx(0, abs=1e-4)
    assert units.std(axis=(1, 3), ddof=1) == pytest.approx(1, abs=1e-3)
