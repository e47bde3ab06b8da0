"""No raster of a stranger makes GDAL ask a network address, run code, or open a format that is not needed."""

import re
import socket
import zipfile
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from alos2tut import Alos2TutError, open_product
from alos2tut.dataset.labels import LabelMap, label_files, label_fingerprint, warn_of_lost_labels
from alos2tut.dataset.legend import load_legend
from alos2tut.mapping.files import MapFile

SIDE = 64
GRID = Affine(0.1, 0, 130, 0, -0.1, 40)
EPSG = CRS.from_epsg(4326)
CODES = (1 + np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 4).astype(np.uint8)
LEGEND = load_legend("japan_9")
#: what GDAL takes for a service of tiles
WMS = (
    "<GDAL_WMS><Service name='TMS'><ServerUrl>{url}</ServerUrl></Service><DataWindow><UpperLeftX>130</UpperLeftX>"
    "<UpperLeftY>40</UpperLeftY><LowerRightX>137</LowerRightX><LowerRightY>33</LowerRightY><TileLevel>0</TileLevel>"
    "<TileCountX>1</TileCountX><TileCountY>1</TileCountY></DataWindow><Projection>EPSG:4326</Projection>"
    "<BandsCount>1</BandsCount><BlockSizeX>64</BlockSizeX><BlockSizeY>64</BlockSizeY></GDAL_WMS>"
)
OVERVIEWS = "<Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/vsicurl/{url}</MDI></Metadata>"


class Listener:
    """A server on this machine that counts who asks it; each address is a new one, since GDAL remembers answers."""

    def __init__(self):
        self.asked, self._number = 0, 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.asked += 1
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    @property
    def url(self):
        self._number += 1
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/{self._number}.tif"


@pytest.fixture(scope="module")
def listener():
    listening = Listener()
    with pytest.MonkeyPatch.context() as patch:
        # the listener cannot answer while rasterio holds Python's lock
        patch.setenv("GDAL_HTTP_TIMEOUT", "1")
        yield listening
    listening.socket.close()


def write(path: Path, driver: str = "GTiff", **options) -> Path:
    profile = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint8", "crs": EPSG, "transform": GRID}
    with rasterio.open(path, "w", driver=driver, **profile | options) as raster:
        raster.write(CODES, 1)
    return path


def mosaic(source: str, relative: int = 0, band: str = "", more: str = "", rect: int = SIDE) -> str:
    part = f"<SimpleSource><SourceFilename relativeToVRT='{relative}'>{source}</SourceFilename>"
    part += f"<SourceBand>1</SourceBand><SrcRect xOff='0' yOff='0' xSize='{rect}' ySize='{rect}'/>"
    part += f"<DstRect xOff='0' yOff='0' xSize='{SIDE}' ySize='{SIDE}'/></SimpleSource>"
    return (
        f"<VRTDataset rasterXSize='{SIDE}' rasterYSize='{SIDE}'><SRS>EPSG:4326</SRS>"
        f"<GeoTransform>130, 0.1, 0, 40, 0, -0.1</GeoTransform>{more}"
        f"<VRTRasterBand dataType='Byte' band='1'{band}>{part}</VRTRasterBand></VRTDataset>"
    )


def classes(path: Path) -> np.ndarray:
    """What building a dataset reads of a label raster."""
    files = label_files(path)
    label_fingerprint(files[0])
    warn_of_lost_labels(files, LEGEND)
    with LabelMap(files, LEGEND) as labels:
        return labels.classes_on(EPSG, GRID, (SIDE, SIDE))


def _sparse_envi(folder: Path, url: str) -> Path:
    path = write(folder / "tile.img", "ENVI")
    text = WMS.format(url=url).encode()
    path.write_bytes(text + path.read_bytes()[len(text) :])
    return path


def _beside(end: str, text: str):
    def make(folder: Path, url: str) -> Path:
        path = write(folder / "labels.tif")
        path.with_name(f"labels.tif{end}").write_text(text.format(url=url))
        return path

    return make


def _as_tif(text: str):
    def make(folder: Path, url: str) -> Path:
        write(folder / "tile.tif")
        (folder / "labels.tif").write_text(text.format(url=url))
        return folder / "labels.tif"

    return make


def _with_internal_overviews(folder: Path, url: str) -> Path:
    path = write(folder / "tile.tif")
    with rasterio.open(path, "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{url}")
    return path


def _in_mosaic(make, **options):
    def nested(folder: Path, url: str) -> Path:
        path = folder / "mosaic.vrt"
        path.write_text(mosaic(make(folder, url).name, relative=1, **options))
        return path

    return nested


def _in_zip(folder: Path, url: str) -> Path:
    tile = write(folder / "tile.img", "ENVI")
    with zipfile.ZipFile(folder / "labels.zip", "w") as archive:
        archive.write(tile, tile.name)
        archive.write(folder / "tile.hdr", "tile.hdr")
        archive.writestr("tile.img.msk", FLAGGED.format(url=url))
    return folder / "labels.zip"


WARPED = (
    "<VRTDataset rasterXSize='64' rasterYSize='64' subClass='VRTWarpedDataset'><VRTRasterBand dataType='Byte' band='1' "
    "subClass='VRTWarpedRasterBand'/><GDALWarpOptions><SourceDataset>/vsicurl/{url}</SourceDataset></GDALWarpOptions>"
    "</VRTDataset>"
)
MASK = (
    "<MaskBand><VRTRasterBand dataType='Byte'><SimpleSource><SourceFilename>/vsicurl/{url}</SourceFilename>"
    "</SimpleSource></VRTRasterBand></MaskBand>"
)
#: with what makes GDAL take it for the mask of all bands
FLAGGED = mosaic("/vsicurl/{url}", more="<Metadata><MDI key='INTERNAL_MASK_FLAGS_1'>2</MDI></Metadata>")
HOSTILE = {
    "service of tiles": _as_tif(WMS),
    "source": _as_tif(mosaic("/vsicurl/{url}")),
    "source in a zip": _as_tif(mosaic("/vsizip//vsicurl/{url}/a.tif")),
    "relative source": _as_tif(mosaic("/vsicurl/{url}", relative=1)),
    "address as source": _as_tif(mosaic("{url}")),
    "text as source": _as_tif(mosaic(WMS.replace("<", "&lt;"))),
    "vrt address": _as_tif(mosaic("vrt:///vsicurl/{url}")),
    "warped": _as_tif(WARPED),
    "mask": _as_tif(mosaic("tile.tif", relative=1, more=MASK)),
    "overviews": _as_tif(mosaic("tile.tif", relative=1, more=OVERVIEWS)),
    "tile that is a service": _in_mosaic(_as_tif(WMS)),
    "tile that is a mosaic": _in_mosaic(_as_tif(mosaic("/vsicurl/{url}"))),
    "pixels that are a service": _in_mosaic(_sparse_envi),
    "tile with overviews": _in_mosaic(_with_internal_overviews, rect=8 * SIDE),
    "tile with texts": _in_mosaic(_beside(".aux.xml", f"<PAMDataset>{OVERVIEWS}</PAMDataset>"), rect=8 * SIDE),
    "overviews inside": _with_internal_overviews,
    "texts beside": _beside(".aux.xml", f"<PAMDataset>{OVERVIEWS}</PAMDataset>"),
    "overviews beside": _beside(".ovr", WMS),
    "mask beside": _beside(".msk", FLAGGED),
    "mask in a zip": _in_zip,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_label_raster_asks_an_address(tmp_path, listener, name):
    path = HOSTILE[name](tmp_path, listener.url)
    before = listener.asked
    with pytest.raises(Alos2TutError, match=re.escape(str(tmp_path))):
        classes(path)
    for read in (open_product, MapFile.open):
        with suppress(Alos2TutError):
            read(path)
    assert listener.asked == before


@pytest.mark.parametrize("name", ["service of tiles", "source", "overviews inside", "texts beside", "mask beside"])
def test_gdal_alone_would_ask(tmp_path, listener, name):
    path = HOSTILE[name](tmp_path, listener.url)
    before = listener.asked
    with suppress(rasterio.RasterioIOError), rasterio.open(path) as raster:
        raster.read(1, out_shape=(8, 8))
        raster.read_masks(1)
    assert listener.asked > before


def test_python_in_a_mosaic_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    code = "<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionType>f</PixelFunctionType>"
    code += f"<PixelFunctionCode>import pathlib; pathlib.Path('{tmp_path}/run').touch()</PixelFunctionCode>"
    text = mosaic("tile.tif", 1, band=" subClass='VRTDerivedRasterBand'").replace(
        "<SimpleSource>", code + "<SimpleSource>"
    )
    path = _as_tif(text)(tmp_path, "")
    with pytest.raises(Alos2TutError, match=r"no plain mosaic.*'VRTDerivedRasterBand'.*gdal_translate"):
        classes(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("driver", ["GTiff", "ENVI", "HFA", "PNG", "BMP"])
@pytest.mark.parametrize("relative", [True, False])
def test_mosaics_of_the_formats_that_are_read_are_as_their_tiles(tmp_path, driver, relative):
    (tmp_path / "tiles").mkdir()
    end = {"GTiff": "tif", "ENVI": "img", "HFA": "img", "PNG": "png", "BMP": "bmp"}[driver]
    tile = write(tmp_path / "tiles" / f"t.{end}", driver)
    inner, outer = tmp_path / "inner.vrt", tmp_path / "tiles" / "outer.vrt"
    inner.write_text(mosaic(f"tiles/t.{end}" if relative else str(tile), int(relative)))
    outer.write_text(
        mosaic("../inner.vrt", relative=1, more="<Metadata><MDI key='LINK'>https://example.org</MDI></Metadata>")
    )
    for path in (tile, inner, outer):
        assert (classes(path) == LEGEND.to_classes(CODES)).all()


def test_a_mosaic_of_parts_within_each_other_is_refused(tmp_path):
    (tmp_path / "a.vrt").write_text(f"<VRTDataset>{'<Metadata>' * 10**5}{'</Metadata>' * 10**5}</VRTDataset>")
    with pytest.raises(Alos2TutError, match="no plain mosaic"):
        classes(tmp_path / "a.vrt")


def test_mosaics_within_each_other_end(tmp_path):
    (tmp_path / "a.vrt").write_text(mosaic("a.vrt", relative=1))
    with pytest.raises(Alos2TutError, match="within 4 others"):
        classes(tmp_path / "a.vrt")


def test_all_rasters_are_opened_in_one_place():
    package = Path(__file__).parents[2] / "alos2tut"
    opening = re.compile(r"rasterio\.open\((?![^)]*\"w\")|[^\w]DatasetReader\(|WarpedVRT\(|gdal\.Open")
    found = [path.name for path in sorted(package.rglob("*.py")) if opening.search(path.read_text("utf-8"))]
    assert found == []
