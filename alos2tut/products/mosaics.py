"""Mosaics of GDAL (VRT), checked before GDAL opens what they name.

At the word of such a text, whatever the file is called, GDAL asks network addresses, runs Python, and opens files of
all its formats, some of which do the same. Only plain mosaics of local files are read, as ``gdalbuildvrt`` and
``gdal_translate`` write them, with relative or absolute paths.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from ..core.artifacts import read_text
from ..core.errors import Alos2TutError, quoted
from .rasters import READ_DRIVERS, open_raster

_REMEDY = "Make a GeoTIFF of it: gdal_translate IN.vrt OUT.tif."
#: bytes of a mosaic's text; parts within parts; mosaics within mosaics
_LARGEST_TEXT, _MOST_LEVELS, _DEEPEST = 32 * 2**20, 50, 4
#: what a plain mosaic is made of. None of it names a file but SourceFilename; Metadata holds texts of any kind
_PARTS = re.compile(
    "VRTDataset|SRS|GeoTransform|GCPList|GCP|Metadata|MDI|VRTRasterBand|NoDataValue|HideNoDataValue|ColorInterp|"
    "ColorTable|Entry|Description|UnitType|Offset|Scale|CategoryNames|Category|Histograms|HistItem|HistMin|HistMax|"
    "BucketCount|IncludeOutOfRange|Approximate|HistCounts|OverviewList|Overview|MaskBand|SimpleSource|ComplexSource|"
    "SourceFilename|SourceBand|SourceProperties|SrcRect|DstRect|NODATA|ScaleOffset|ScaleRatio|LUT|ColorTableComponent|"
    "UseMaskBand|Exponent|SrcMin|SrcMax|DstMin|DstMax|Clamp|BlockXSize|BlockYSize"
)
#: how TIFF, PNG, BMP and HFA begin; each has a zero byte before a text could
_STARTS = re.compile(rb"II[*+]\0|MM\0[*+]|\x89PNG\r\n\x1a\n\0|BM.{4}\0\0\0\0|EHFA_HEADER_TAG\0", re.DOTALL)
#: in what begins otherwise, as raw pixels (ENVI) do, GDAL looks for these and takes it for another format
_OTHER_STARTS = re.compile(rb"<(VRT|GDAL|WMS|WMT|WCS|MRF|OGC|Cap|[?!])|_Capabilities|stac_|\"type\"|MRF_META")


def is_mosaic(path: str | Path) -> bool:
    """Whether GDAL would take a file for a mosaic, whatever its name is."""
    with open(path, "rb") as file:
        return b"<VRTDataset" in file.read(4096)


def checked_mosaic(path: str | Path, depth: int = 1) -> ElementTree.Element:
    """The content of a mosaic, in which the paths of its sources are absolute.

    Args:
        path: the file, which :func:`is_mosaic`.
        depth: 1, and one more for each mosaic in which it is a source.

    Raises:
        Alos2TutError: another kind of VRT (warped, derived, with pixel functions); a source that is no file on this
            machine, or not in a format that is read; mosaics within four others.
    """
    path = Path(path).absolute()
    text = read_text(path, "VRT", _LARGEST_TEXT)
    try:
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise Alos2TutError("defines XML entities, which mosaics do not need", where=path)
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Alos2TutError(f"is no mosaic (VRT): no XML ({error})", where=path) from None
    if root.tag != "VRTDataset" or depth > _DEEPEST:
        problem = f"is no plain mosaic (VRT), or within {_DEEPEST} others"
        raise Alos2TutError(problem, where=path, remedy=_REMEDY)
    ahead = [(root, 0, False)]
    while ahead:
        part, level, is_text = ahead.pop()
        is_text |= part.tag == "Metadata"
        if level > _MOST_LEVELS or (not is_text and (not _PARTS.fullmatch(part.tag) or part.get("subClass"))):
            problem = f"is no plain mosaic (VRT): it has the part {quoted(part.get('subClass') or part.tag)}"
            raise Alos2TutError(problem, where=path, remedy=_REMEDY)
        ahead += [(inner, level + 1, is_text) for inner in part]
    for part in root.iter("SourceFilename"):
        source = _local(part.text or "", part.get("relativeToVRT") == "1", path)
        part.text, part.attrib["relativeToVRT"] = str(source), "0"
        state = source.stat()
        _check_source(source, depth, state.st_mtime_ns, state.st_size)
    return root


def _local(name: str, is_relative: bool, mosaic: Path) -> Path:
    """The file that a mosaic names; GDAL takes other names for addresses, or for parts of files."""
    source = mosaic.parent / name if is_relative else Path(name)
    is_odd = not source.is_absolute() or re.match(r"[/\\]vsi|[/\\]{2}", name) or (is_relative and ":" in name)
    if is_odd or not source.is_file():
        problem = f"its source {quoted(name)} is no file on this machine"
        raise Alos2TutError(problem, where=mosaic, remedy="Name files by relative or absolute paths.")
    return source


@lru_cache(maxsize=2**16)
def _check_source(source: Path, depth: int, *state: int) -> None:
    """Refuse a file that GDAL would open as something other than a raster in one of the formats that are read."""
    with open(source, "rb") as file:
        start = file.read(4096)
    is_nested = b"<VRTDataset" in start
    if is_nested:
        checked_mosaic(source, depth + 1)
    elif not _STARTS.match(start) and _OTHER_STARTS.search(start):
        raise Alos2TutError("is a source of a mosaic, and no raster", where=source)
    try:
        open_raster(source, ["VRT"] if is_nested else READ_DRIVERS).close()
    except (RasterioError, CPLE_BaseError) as error:
        raise Alos2TutError(f"is a source of a mosaic, and cannot be opened ({error})", where=source) from None
