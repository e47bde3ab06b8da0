"""Variables of the process: what ``torchrun`` says, and those that make libraries fail, put right before they load."""

from __future__ import annotations

import os
import re
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

from .errors import Alos2TutError, quoted, warn


def process_number(name: str, default: int = 0) -> int:
    """A number that ``torchrun`` sets for each process, as ``RANK``; the default where it is not set or empty.

    Raises:
        Alos2TutError: it is set to something else, by which processes could not tell who writes the results.
    """
    text = os.environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", text):
        remedy = f"Start with torchrun, which sets it, or without it: unset {name}."
        raise Alos2TutError(
            f"the environment variable is {quoted(text)}, no number of a process", where=name, remedy=remedy
        )
    return int(text)


def leave_out_foreign_data() -> None:
    """Drop what names GDAL's or PROJ's data of another installation, as activating conda or QGIS sets it.

    A wheel of rasterio brings data that fit it, and looks for them only where these variables are not set; other
    rasterios find those of their environment. PROJ reads a database of its own layout or of a later minor one, and
    nothing without: such a folder stays. Of GDAL's data a wheel needs its own, and plugins it has none.
    """
    package = find_spec("rasterio")
    if package is None or package.origin is None:
        return
    own = Path(package.origin).parent
    if (own / "gdal_data").is_dir():
        for name in ("GDAL_DATA", "GDAL_DRIVER_PATH"):
            os.environ.pop(name, None)
    folders = {name: folder for name in ("PROJ_DATA", "PROJ_LIB") if (folder := os.environ.get(name))}
    # of the two, the first that is set counts
    wanted, found = _layout(own / "proj_data"), _layout(Path(next(iter(folders.values()), "")))
    if folders and (found is None or (wanted is not None and (found[0] != wanted[0] or found[1] < wanted[1]))):
        for name in folders:
            del os.environ[name]
        named = ", ".join(f"{name}={folder}" for name, folder in folders.items())
        warn(f"{named}: no PROJ database that rasterio can read; that which came with it is used.")


def _layout(folder: Path) -> tuple[int, int] | None:
    """Major and minor version of the layout of a folder's ``proj.db``; None where there is none, or a broken one."""
    import sqlite3  # takes time, and is needed where a variable is set only

    place = (folder / "proj.db").absolute()
    query = "SELECT value FROM metadata WHERE key LIKE 'DATABASE.LAYOUT.VERSION.M%' ORDER BY key"
    try:
        with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            major, minor = (int(value) for (value,) in database.execute(query))
    except (sqlite3.Error, ValueError):
        return None
    return major, minor
