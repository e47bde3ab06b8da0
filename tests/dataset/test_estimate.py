"""What a dataset would hold and cost."""

import re
import warnings
from pathlib import Path

import pytest
from support.datasets import SETTINGS, SMALL, labels_of

from alos2tut import Alos2TutWarning, load_config
from alos2tut.dataset.estimate import DatasetEstimate, estimate_dataset


def estimated(settings: dict[str, object], work: Path) -> DatasetEstimate:
    """With the quick profile, and no reminders of absent classes; nothing is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Alos2TutWarning)
        found = estimate_dataset(load_config("dataset", **{**SETTINGS, **settings}, work_dir=work))
    assert not work.exists()
    return found


@pytest.mark.parametrize("patch_px", [16, 31])
def test_patches_of_any_size_can_be_estimated(small_scene, tmp_path, patch_px):
    settings = {"products": small_scene, "labels": labels_of(small_scene), "patch_px": patch_px, "block_m": 320}
    assert estimated(settings, tmp_path / "work").size_bytes > 0


def test_expected_hours_follow_from_rows_and_workers(trio, tmp_path, monkeypatch):
    monkeypatch.setattr("alos2tut.dataset.estimate._seconds_per_row", lambda *_: (7200.0, 3600.0))
    # 16 rows of patches in two products, 15 in the shifted one; every row has one that is kept
    for workers in (1, 2):
        hours = estimated(trio | {"workers": workers}, tmp_path / "work").hours
        assert hours == pytest.approx(47 * 3 / workers)


def test_a_dry_run_tells_what_would_be_built_and_writes_nothing(scene, dataset, tmp_path):
    estimate = estimated({"products": scene, "labels": labels_of(scene)}, tmp_path / "work")
    for split, patches in estimate.patches.items():
        assert patches == pytest.approx(len(dataset.tables[split]), rel=0.05, abs=4)
    stored = sum(path.stat().st_size for path in dataset.path.glob("*.npy"))
    assert estimate.size_bytes == pytest.approx(stored, rel=0.05)
    total, of_all = sum(estimate.class_pixels.values()), ("pretrain", "val", "test")
    built = {n: sum(dataset.content["splits"][s]["class_pixels"][n] for s in of_all) for n in dataset.legend.names}
    for name, pixels in estimate.class_pixels.items():
        assert pixels / total == pytest.approx(built[name] / sum(built.values()), abs=0.02)
    text = estimate.to_text()
    assert (
        re.search(r"^disk +[\d.]+ [kM]B$", text, re.M)
        and "1 worker" in text
        and "nothing was written" in text
        and estimate.hours > 0
    )


def test_a_second_channel_takes_two_bytes_a_pixel_more(dual, small_scene, tmp_path):
    given = {"products": dual, "labels": labels_of(small_scene), **SMALL}
    sizes = [estimated({**given, "polarization": names}, tmp_path / "work").size_bytes for names in ("HH", "HH,HV")]
    assert sizes[1] * 3 == sizes[0] * 5
