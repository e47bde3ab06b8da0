"""What a dataset would hold and cost."""

import dataclasses
import warnings

import pytest
from support.datasets import (
    SETTINGS,
    labels_of,
)

from alos2tut import (
    Alos2TutWarning,
    load_config,
)
from alos2tut.dataset.estimate import estimate_dataset


@pytest.mark.parametrize("patch_px", [16, 31])
def test_no_dry_run_leaves_anything(small_scene, tmp_path, patch_px):
    settings = {**SETTINGS, "products": small_scene, "labels": labels_of(small_scene), "work_dir": tmp_path / "work"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        estimate_dataset(load_config("dataset", **settings | {"patch_px": patch_px, "block_m": 320}))
    assert not (tmp_path / "work").exists()


def test_expected_hours_follow_from_rows_and_workers(trio, tmp_path, monkeypatch):
    monkeypatch.setattr("alos2tut.dataset.estimate._seconds_per_row", lambda *_: (7200.0, 3600.0))
    config = load_config("dataset", **{**SETTINGS, **trio}, work_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        estimate = estimate_dataset(config)
        two = estimate_dataset(dataclasses.replace(config, workers=2))
    # 16 rows of patches in two products, 15 in the shifted one; every row has one that is kept
    assert estimate.hours == pytest.approx(47 * 3) and two.hours == pytest.approx(47 * 3 / 2)


def test_a_dry_run_tells_what_would_be_built_and_writes_nothing(scene, dataset, tmp_path):
    config = load_config("dataset", **SETTINGS, products=scene, labels=labels_of(scene), work_dir=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        estimate = estimate_dataset(config)
    assert not list(tmp_path.iterdir())
    for split, patches in estimate.patches.items():
        assert patches == pytest.approx(len(dataset.tables[split]), rel=0.05, abs=4)
    stored = sum(path.stat().st_size for path in dataset.path.glob("*.npy"))
    assert estimate.size_bytes == pytest.approx(stored, rel=0.05)
    total, of_all = sum(estimate.class_pixels.values()), ("pretrain", "val", "test")
    built = {n: sum(dataset.content["splits"][s]["class_pixels"][n] for s in of_all) for n in dataset.legend.names}
    for name, pixels in estimate.class_pixels.items():
        assert pixels / total == pytest.approx(built[name] / sum(built.values()), abs=0.02)
    text = estimate.to_text()
    assert "GB" in text and "1 worker" in text and "nothing was written" in text and estimate.hours > 0
