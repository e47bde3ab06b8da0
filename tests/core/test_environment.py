"""What torchrun says of a process; data of other installations of PROJ and GDAL, as conda or QGIS names them."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio

from alos2tut import Alos2TutError
from alos2tut.core.environment import process_number

OWN = Path(rasterio.__file__).parent / "proj_data"
PROGRAM = """
import os, alos2tut
from alos2tut.products import rasters
print(rasters.CRS.from_epsg(32654).to_epsg(), *(name for name in ("PROJ_DATA", "GDAL_DATA") if name in os.environ))
"""


def run_with(**variables: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr


def database_of(folder: Path, minor: int) -> Path:
    """A copy of rasterio's own PROJ data that says it is of another layout."""
    shutil.copy(OWN / "proj.db", folder)
    with sqlite3.connect(folder / "proj.db") as database:
        database.execute("UPDATE metadata SET value = ? WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'", (minor,))
    return folder


@pytest.mark.skipif(not OWN.is_dir(), reason="a rasterio that shares its environment's data")
@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB"])
@pytest.mark.parametrize("fault", ["nothing there", "older", "damaged"])
def test_a_projection_database_that_does_not_fit_is_left_out_with_one_note(tmp_path, name, fault):
    if fault == "older":
        database_of(tmp_path, 1)
    elif fault == "damaged":
        (tmp_path / "proj.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    out, err = run_with(**{name: str(tmp_path), "GDAL_DATA": str(tmp_path), "GDAL_DRIVER_PATH": str(tmp_path)})
    assert out == "32654" and err.count("Alos2TutWarning") == 1 and f"{name}={tmp_path}" in err


@pytest.mark.skipif(not OWN.is_dir(), reason="a rasterio that shares its environment's data")
def test_a_projection_database_that_fits_stays(tmp_path):
    assert run_with(PROJ_DATA=str(OWN)) == ("32654 PROJ_DATA", "")
    assert run_with(PROJ_DATA=str(database_of(tmp_path, 99))) == ("32654 PROJ_DATA", "")


def test_the_numbers_of_processes_are_numbers(monkeypatch):
    for text, number in [("3", 3), ("", 7)]:
        monkeypatch.setenv("WORLD_SIZE", text)
        assert process_number("WORLD_SIZE", 7) == number
    for text in ("x", "-1", "1.5", " ", "²", "9" * 5000):
        monkeypatch.setenv("RANK", text)
        with pytest.raises(Alos2TutError, match=r"^RANK: the environment variable .* no number of a process"):
            process_number("RANK")
