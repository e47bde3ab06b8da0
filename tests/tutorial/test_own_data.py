"""The five notebooks on data of one's own, called as README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import rasterio
from support.notebooks import ROOT, main_report, one, run_all


def readme_call() -> list[str]:
    """The arguments of the call that README shows for one's own data."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- own-data-call -->\s*```sh\n(.+?)```\s*<!-- /own-data-call -->", text, flags=re.DOTALL)[1]
    words = shlex.split(block.replace("\\\n", " "))
    return words[words.index("notebooks/run_all.py") + 1 :]


def test_the_readme_call_runs_on_a_real_mosaic_window(mosaic: Path, tmp_path: Path) -> None:
    """Plumbing only: land is 0.7 % of this window."""
    arguments = readme_call()
    place = {"product": str(mosaic), "labels": str(mosaic / "crop_N23W161_20_mask_F02DAR.tif")}
    for name, value in place.items():
        arguments[arguments.index(name) + 1] = value
    at = arguments.index("overrides") + 1
    arguments[at] += "; pretrain.steps=12; finetune.steps=12; finetune.validate_every=6"
    run_all(tmp_path / "work", tmp_path, *[a for a in arguments if a not in ("--work-dir", "work")])
    report = main_report(tmp_path / "work")
    assert report["classes"] == ["water", "land"] and not report["simulated"]
    with (
        rasterio.open(one(tmp_path / "work", "map-*/landcover.tif")) as raster,
        rasterio.open(mosaic / "crop_N23W161_20_sl_HH_F02DAR.tif") as source,
    ):
        assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
        assert ((raster.read(1) == 255) == (source.read(1) <= 1)).all()
