"""Reading ALOS-2 products: opened at once, pixels by window, calibrated, with their place on Earth.

:func:`open_product` takes what JAXA delivers: a Level 2.1 (or 1.5) CEOS folder or any of its files, a Level 2.1 (or
1.5) GeoTIFF with or without company, or a tile of the 25 m mosaic.
"""

from __future__ import annotations

import html
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from . import radiometry
from .artifacts import fingerprint
from .ceos import ImageFile, read_leader, read_summary
from .errors import Alos2TutError, Alos2TutWarning

POLARIZATIONS = ("HH", "HV", "VH", "VV")
WindowLike: TypeAlias = Window | tuple[int, int, int, int]

# product id, 10 characters: mode, look side, level, option, projection, orbit direction (JAXA naming)
_PRODUCT_ID = re.compile(
    r"(?P<mode>[SUHFWV][BW][SDQ])(?P<look>[LR])(?P<level>\d\.\d)(?P<option>[GR_])(?P<projection>[UPML_])(?P<orbit>[AD])"
)
_SCENE_ID = r"(?P<scene>ALOS2(?P<orbit_number>\d{5})(?P<frame>\d{4})-(?P<date>\d{6}))"
_DELIVERED = re.compile(
    rf"^(?P<kind>VOL|LED|TRL|IMG)-(?:(?P<pol>HH|HV|VH|VV)-)?{_SCENE_ID}-(?P<product>[0-9A-Z._]{{10}})"
    r"(?P<suffix>\.tiff?)?$"
)
_MOSAIC = re.compile(
    r"^(?P<stem>.*(?P<tile>[NS]\d{2}[EW]\d{3})_(?P<year>\d{2})(?:_MOS)?)_"
    r"(?:sl_(?P<pol>HH|HV)|linci|mask|date)_F02DAR\.tif$"
)
#: files that come with a product and stand for its folder
_COMPANION = re.compile(r"summary\.txt|(BRS-|ALOS2\d{9}-).*\.(jpg|kml)|.*_F02DAR\.xml")
_LOOK_SIDES, _ORBITS = {"L": "left", "R": "right"}, {"A": "ascending", "D": "descending"}
#: the mosaic writes 1 for "no data" from 2017 on, 0 before
_MOSAIC_NO_DATA_ONE_SINCE = 2017
#: JAXA's factors lie between −115 and −79 dB; beyond this the field is damaged
_LARGEST_FACTOR_DB = 200.0
#: full-resolution pixels that are read and worked on at once
_STRIP_PX = 2**21


class Band(Protocol):
    """Pixels of one polarisation."""

    def read(self, rows: slice, cols: slice) -> NDArray[np.uint16]:
        """Digital numbers of a window."""


@dataclass(frozen=True)
class TiffBand:
    """Pixels of one GeoTIFF; opened for each read, so it travels between processes."""

    path: Path

    def read(self, rows: slice, cols: slice) -> NDArray[np.uint16]:
        """Digital numbers of a window, uint16."""
        window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
        try:
            with rasterio.open(self.path) as source:
                dn: NDArray[np.uint16] = source.read(1, window=window)
        except RasterioError as error:
            raise Alos2TutError(
                f"pixels cannot be read ({error})", where=self.path, remedy="Download the product again."
            ) from None
        return dn


@dataclass(frozen=True, repr=False)
class Product:
    """One ALOS-2 product: what it is, where it lies, and its pixels on request.

    ``calibration_factor_db`` is what is added to 10·log10⟨DN²⟩ to give ``quantity`` in dB. ``spacing_m`` is (rows,
    columns) in metres, at the centre for geographic coordinates. ``default_polarization`` is that of the image file by
    which the product was opened, if it was. ``gaps`` names what the files did not say.
    """

    path: Path
    kind: str
    level: str
    shape: tuple[int, int]
    crs: CRS
    transform: Affine
    polarizations: tuple[str, ...]
    quantity: str
    calibration_factor_db: float
    calibration_source: str
    files: tuple[Path, ...]
    bands: Mapping[str, Band] = field(repr=False)
    no_data_dn: tuple[int, ...] = (0,)
    default_polarization: str | None = None
    scene_id: str | None = None
    product_id: str | None = None
    mode: str | None = None
    look_side: str | None = None
    orbit_direction: str | None = None
    acquired: str | None = None
    incidence_deg: float | None = None
    looks: tuple[float, float] | None = None
    software: str | None = None
    simulated: bool = False
    gaps: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the image that is read when no polarisation is named."""
        return self.image_name()

    @property
    def spacing_m(self) -> tuple[float, float]:
        """Pixel spacing in metres, (rows, columns); for geographic coordinates at the centre of the product."""
        t = self.transform
        dx, dy = math.hypot(t.a, t.d), math.hypot(t.b, t.e)
        if not self.crs.is_geographic:
            return dy, dx
        latitude = (t * (self.shape[1] / 2, self.shape[0] / 2))[1]
        metres_per_degree = _metres_per_degree(latitude)
        return dy * metres_per_degree[0], dx * metres_per_degree[1]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of all four corners, in the product's CRS."""
        height, width = self.shape
        corners = [self.transform * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def fingerprint(self) -> str:
        """A hash of the product's files; see :func:`alos2tut.artifacts.fingerprint`."""
        return fingerprint(*self.files)

    def to_dict(self) -> dict[str, Any]:
        """Everything known about the product as plain values, ready for JSON."""
        plain: tuple[str, ...]
        plain = ("kind", "level", "quantity", "calibration_factor_db", "calibration_source", "scene_id", "product_id")
        plain += ("mode", "look_side", "orbit_direction", "acquired", "incidence_deg", "software", "simulated")
        return {
            "path": str(self.path),
            **{name: getattr(self, name) for name in plain},
            "shape": list(self.shape),
            "crs": self.crs.to_string(),
            "transform": list(self.transform)[:6],
            "spacing_m": list(self.spacing_m),
            "bounds": list(self.bounds),
            "polarizations": list(self.polarizations),
            "looks": None if self.looks is None else list(self.looks),
            "no_data_dn": list(self.no_data_dn),
            "files": [file.name for file in self.files],
            "gaps": list(self.gaps),
        }

    def __repr__(self) -> str:
        rows, cols = self.shape
        return (
            f"<Product {self.name}: {self.kind}, level {self.level}, {'+'.join(self.polarizations)}, "
            f"{rows} × {cols} px of {self.spacing_m[0]:.4g} × {self.spacing_m[1]:.4g} m, {self.crs.to_string()}>"
        )

    def _repr_html_(self) -> str:
        lines = (
            f"<tr><td style='text-align:left'>{html.escape(key)}</td>"
            f"<td style='text-align:left'>{html.escape(_shown(value))}</td></tr>"
            for key, value in self.to_dict().items()
            if key not in ("path", "files")
        )
        return f"<table><caption>{html.escape(self.name)}</caption>{''.join(lines)}</table>"

    def image_name(self, polarization: str | None = None) -> str:
        """What the image of a polarisation is called, and patches of it begin with.

        ``IMG-HV-<scene>-<product>`` as JAXA has it, ``N23W161_20_HV`` for a tile of the mosaic.
        """
        polarization = self.choose_polarization(polarization)
        if self.product_id:
            return f"IMG-{polarization}-{self.scene_id}-{self.product_id}"
        return f"{self.scene_id or self.path.name}_{polarization}"

    def choose_polarization(self, wanted: str | None = None) -> str:
        """The polarisation that is read: the one named, else that of the image file opened, else the only one, else HH.

        Raises:
            Alos2TutError: one that the product does not hold.
        """
        if wanted is None and self.default_polarization is not None:
            return self.default_polarization
        if wanted is None:
            return self.polarizations[0] if len(self.polarizations) == 1 or "HH" not in self.polarizations else "HH"
        if wanted not in self.polarizations:
            raise Alos2TutError(
                f"has no polarisation '{wanted}'",
                where=self.path,
                remedy=f"It holds {', '.join(self.polarizations)}.",
            )
        return wanted

    def read_dn(
        self, window: WindowLike | None = None, *, polarization: str | None = None, looks: int | tuple[int, int] = 1
    ) -> NDArray[np.float32]:
        """Digital numbers; with looks, the root of the mean of DN² (averaging is in power).

        Args:
            window: a rasterio ``Window`` or ``(row, col, height, width)`` in full-resolution pixels; None: all.
            polarization: one of ``polarizations``; None: see :meth:`choose_polarization`.
            looks: pixels per block, one number or (rows, columns). Blocks are anchored at the product's corner, and
                every block that the window touches is averaged whole; a block that the product's edge cuts
                averages what it has.

        Returns:
            float32 (rows, columns), NaN where there is no data (where less than half of a block has data).

        Raises:
            Alos2TutError: an unknown polarisation, or a window that is empty or reaches outside the product.
        """
        return self._read(window, polarization, looks, lambda dn: dn)

    def read_power(
        self,
        window: WindowLike | None = None,
        *,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
    ) -> NDArray[np.float32]:
        """Calibrated linear power; arguments as for :meth:`read_dn`.

        ``quantity`` "sigma0" or "gamma0" other than the product's own converts by the incidence angle of the scene's
        centre (γ0 = σ0 / cos θ), which is off by up to about 0.12 dB over a 55 km swath, and says so in a warning.
        """
        return self._read(window, polarization, looks, self._calibration(quantity))

    def read_db(
        self,
        window: WindowLike | None = None,
        *,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
    ) -> NDArray[np.float32]:
        """Calibrated backscatter in dB; arguments as for :meth:`read_power`."""
        to_power = self._calibration(quantity)
        return self._read(window, polarization, looks, lambda dn: radiometry.to_db(to_power(dn)))

    def _read(
        self,
        window: WindowLike | None,
        polarization: str | None,
        looks: int | tuple[int, int],
        convert: Callable[[NDArray[np.float32]], NDArray[Any]],
    ) -> NDArray[np.float32]:
        """Digital numbers after looks, converted; in strips of whole rows of blocks, so that memory holds one strip."""
        rows, cols, pair = self._blocks(window, looks)
        band = self.bands[self.choose_polarization(polarization)]
        height, width = rows.stop - rows.start, cols.stop - cols.start
        result = np.empty((-(-height // pair[0]), -(-width // pair[1])), dtype=np.float32)
        step = max(_STRIP_PX // (pair[0] * width), 1)
        for first in range(0, len(result), step):
            top = rows.start + first * pair[0]
            strip = slice(top, min(top + step * pair[0], rows.stop))
            result[first : first + step] = convert(self._amplitudes(band.read(strip, cols), pair))
        return result

    def _amplitudes(self, dn: NDArray[np.uint16], looks: tuple[int, int]) -> NDArray[np.float32]:
        """Digital numbers as float32, NaN without data; with looks the root of the mean square."""
        valid = np.ones(dn.shape, dtype=bool)
        for value in self.no_data_dn:
            valid &= dn != value
        if looks == (1, 1):
            return np.where(valid, dn, np.float32(np.nan))
        # whole numbers: half the size of float64, and their sums are exact in any order
        squares = np.square(dn, dtype=np.uint32)
        squares[~valid] = 0
        return np.sqrt(radiometry.block_means(squares, valid, looks))

    def _blocks(self, window: WindowLike | None, looks: int | tuple[int, int]) -> tuple[slice, slice, tuple[int, int]]:
        """The window grown to whole look blocks, as row and column slices, and the looks."""
        pair = radiometry.look_pair(looks)
        slices = [
            slice(start // n * n, min(-(-stop // n) * n, size))
            for (start, stop), n, size in zip(self._extent(window), pair, self.shape, strict=True)
        ]
        return slices[0], slices[1], pair

    def _extent(self, window: WindowLike | None) -> tuple[tuple[int, int], tuple[int, int]]:
        if window is None:
            return (0, self.shape[0]), (0, self.shape[1])
        given: Any = window
        if isinstance(window, Window):
            given = (window.row_off, window.col_off, window.height, window.width)
        try:
            row, col, height, width = (int(n) for n in given)
            whole = (row, col, height, width) == tuple(given)
        except (TypeError, ValueError, OverflowError):
            whole = False
        if not whole:
            raise Alos2TutError(f"window {given} is not (row, col, height, width) in whole pixels", where=self.path)
        inside = row >= 0 and col >= 0 and row + height <= self.shape[0] and col + width <= self.shape[1]
        if not inside or height < 1 or width < 1:
            raise Alos2TutError(
                f"window (row {row}, col {col}, height {height}, width {width}) is empty or reaches outside the "
                f"product of {self.shape[0]} × {self.shape[1]} pixels",
                where=self.path,
            )
        return (row, row + height), (col, col + width)

    def _calibration(self, quantity: str | None) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """What turns digital numbers into power of a quantity; warns where that is approximate."""
        convert = None if quantity in (None, self.quantity) else self._conversion(str(quantity))

        def calibrated(dn: NDArray[np.float32]) -> NDArray[np.float32]:
            power = radiometry.dn_to_power(dn, self.calibration_factor_db)
            return (power if convert is None else convert(power, self.incidence_deg)).astype(np.float32)

        return calibrated

    def _conversion(self, quantity: str) -> Callable[..., NDArray[Any]]:
        if quantity not in ("sigma0", "gamma0"):
            raise Alos2TutError(f"unknown quantity '{quantity}'", where="quantity", remedy="Known: gamma0, sigma0.")
        if self.incidence_deg is None:
            raise Alos2TutError(
                f"cannot turn {self.quantity} into {quantity}: no incidence angle of the scene is known",
                where=self.path,
                remedy=f"Read {self.quantity}.",
            )
        warnings.warn(
            f"{quantity} by the scene-centre incidence {self.incidence_deg:.2f}°: about ±0.12 dB over a 55 km swath",
            Alos2TutWarning,
            stacklevel=4,
        )
        return radiometry.sigma0_to_gamma0 if quantity == "gamma0" else radiometry.gamma0_to_sigma0


def open_product(path: str | Path, *, crs: str | CRS | None = None) -> Product:
    """Open an ALOS-2 product; its pixels stay on disk until they are asked for.

    Args:
        path: a CEOS folder or any of its files (VOL, LED, IMG, TRL, ``summary.txt``), a GeoTIFF named as JAXA names it
            (``IMG-HH-ALOS2…-UBSR2.1GUD.tif``) or its folder, or a folder or file of the 25 m mosaic. An image file
            makes its polarisation the one that is read unless another is named. Of a product that lies in one
            folder as both CEOS and GeoTIFF, the file named decides; a folder means CEOS.
        crs: replaces a coordinate system that the file lacks or states wrongly, for example ``"EPSG:32654"``.

    Raises:
        Alos2TutError: nothing there that is a product, several products, a missing or damaged file, a level or
            projection that is not read.
    """
    path = Path(path)
    if not path.exists():
        raise Alos2TutError("there is no such file or folder", where=path)
    folder = path if path.is_dir() else path.parent
    whole = path.is_dir() or _COMPANION.fullmatch(path.name)
    names = sorted(p.name for p in folder.iterdir()) if whole else [path.name]
    delivered = [m for m in map(_DELIVERED.match, names) if m]
    mosaic = [m for m in map(_MOSAIC.match, names) if m]
    if delivered:
        return _open_delivered(path, folder, _only_one(path, {f"{m['scene']}-{m['product']}" for m in delivered}), crs)
    if mosaic:
        return _open_mosaic(path, folder, _only_one(path, {m["stem"] for m in mosaic}), crs)
    raise Alos2TutError(
        "is no ALOS-2 product: no file here is named as JAXA names them",
        where=path,
        remedy="Expected IMG-HH-ALOS2…-… (CEOS, or GeoTIFF with .tif), or …_sl_HH_F02DAR.tif of the 25 m mosaic.",
    )


def _only_one(path: Path, found: set[str]) -> str:
    if len(found) > 1:
        raise Alos2TutError(
            f"holds {len(found)} products: {', '.join(sorted(found))}", where=path, remedy="Name a file of one of them."
        )
    return found.pop()


def _open_delivered(path: Path, folder: Path, identity: str, crs: str | CRS | None) -> Product:
    """A Level 1.5 or 2.1 product, CEOS or GeoTIFF, by the scene and product id that its files share."""
    files = {m.string: m for m in map(_DELIVERED.match, sorted(p.name for p in folder.iterdir())) if m}
    files = {name: m for name, m in files.items() if f"{m['scene']}-{m['product']}" == identity}
    any_match = next(iter(files.values()))
    product_id = _PRODUCT_ID.match(any_match["product"])
    if product_id is None:
        raise Alos2TutError(f"the product id '{any_match['product']}' cannot be read", where=path)
    if product_id["level"] not in ("1.5", "2.1"):
        raise Alos2TutError(
            f"is of level {product_id['level']}", where=path, remedy="Levels 1.5 and 2.1, and the mosaic, are read."
        )
    named = files.get(path.name) if path.is_file() else None
    by_format: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for name, m in files.items():
        if m["kind"] == "IMG" and m["pol"]:
            by_format[m["suffix"] is not None][m["pol"]] = folder / name
    is_tiff = not by_format[False] or (named is not None and named["suffix"] is not None)
    images = by_format[is_tiff]
    if not images:
        raise Alos2TutError(f"has no image file IMG-HH-{identity}", where=folder, remedy="Download it again.")
    summary_path = folder / "summary.txt"
    summary = read_summary(summary_path) if summary_path.is_file() else {}
    if summary.get("Scs_SceneID") not in (None, any_match["scene"]):
        summary = {}
    common: dict[str, Any] = {
        "path": path,
        "level": product_id["level"],
        "polarizations": tuple(pol for pol in POLARIZATIONS if pol in images),
        "default_polarization": named["pol"] if named is not None else None,
        "quantity": "sigma0",
        "scene_id": any_match["scene"],
        "product_id": any_match["product"],
        "mode": product_id["mode"],
        "look_side": _LOOK_SIDES[product_id["look"]],
        "orbit_direction": _ORBITS[product_id["orbit"]],
        "acquired": _acquired(summary, any_match["date"]),
        "simulated": _says_simulated(summary.get("Lbi_ProcessFacility")),
    }
    if is_tiff:
        return _open_tiffs(images, common, crs)
    return _open_ceos(folder, identity, images, common, crs, [p for p in [summary_path] if summary])


def _open_ceos(
    folder: Path,
    identity: str,
    images: dict[str, Path],
    common: dict[str, Any],
    crs: str | CRS | None,
    extra: list[Path],
) -> Product:
    leader_path = folder / f"LED-{identity}"
    if not leader_path.is_file():
        raise Alos2TutError(
            "the leader file is missing; it holds calibration and map projection",
            where=leader_path,
            remedy="Download the product again, whole.",
        )
    bands = {pol: ImageFile.open(path) for pol, path in images.items()}
    first = next(iter(bands.values()))
    for band in bands.values():
        if (band.lines, band.pixels) != (first.lines, first.pixels):
            raise Alos2TutError(
                f"is {band.lines} × {band.pixels} pixels, {first.path.name} is {first.lines} × {first.pixels}",
                where=band.path,
            )
    leader = read_leader(leader_path)
    factor = leader.get("radiometric", {}).get("calibration_factor_db")
    if factor is not None and not -_LARGEST_FACTOR_DB <= factor <= _LARGEST_FACTOR_DB:
        raise Alos2TutError(
            f"the calibration factor of {factor:g} dB cannot be", where=leader_path, remedy="Download it again."
        )
    scene = leader.get("dataset_summary", {})
    looks: Any = (scene.get("azimuth_looks"), scene.get("range_looks"))
    wanted = {"radiometric record": factor, "scene incidence": scene.get("incidence_deg"), "looks": looks[0]}
    # summary.txt may be missing
    common["simulated"] |= any(_says_simulated(band.software) for band in bands.values())
    return Product(
        **common,
        kind="CEOS",
        shape=(first.lines, first.pixels),
        crs=_parsed_crs(crs, leader_path) if crs else _ceos_crs(leader.get("map_projection", {}), leader_path),
        transform=_ceos_transform(leader.get("map_projection", {}), first, leader_path),
        calibration_factor_db=radiometry.CALIBRATION_FACTOR_DB if factor is None else factor,
        calibration_source="assumed: JAXA's published constant" if factor is None else "leader file",
        bands=bands,
        files=(leader_path, *images.values(), *extra),
        incidence_deg=scene.get("incidence_deg") or None,
        looks=looks if looks[0] and looks[1] else None,
        software=first.software,
        gaps=tuple(f"leader: {name}" for name, value in wanted.items() if value is None),
    )


def _ceos_crs(projection: dict[str, Any], leader_path: Path) -> CRS:
    """UTM, north or south by the false northing; WGS 84 stands for JAXA's GRS 80 frame."""
    zone = str(projection.get("utm_zone"))
    if projection.get("projection") != "UTM-PROJECTION" or not zone.isdigit() or not 1 <= int(zone) <= 60:
        raise Alos2TutError(
            f"map projection '{projection.get('projection')}' (zone {zone}) is absent or not UTM",
            where=leader_path,
            remedy="Give the coordinate system: open_product(path, crs='EPSG:…').",
        )
    south = (projection.get("false_northing_m") or 0) > 0
    return CRS.from_epsg((32700 if south else 32600) + int(zone))


def _ceos_transform(projection: dict[str, Any], image: ImageFile, leader_path: Path) -> Affine:
    """From the corner pixels' centres, so that rotated products come out right, too."""
    corners: Any = [
        (projection.get(f"{corner}_easting_km"), projection.get(f"{corner}_northing_km"))
        for corner in ("top_left", "top_right", "bottom_left")
    ]
    spacing: Any = (projection.get("line_spacing_m"), projection.get("pixel_spacing_m"))
    if any(value is None for corner in corners for value in corner) or not all(spacing):
        raise Alos2TutError("the map projection record lacks corners or spacing", where=leader_path)
    (x0, y0), (x1, y1), (x2, y2) = [(1000 * x, 1000 * y) for x, y in corners]
    across, down = max(image.pixels - 1, 1), max(image.lines - 1, 1)
    a, d = ((x1 - x0) / across, (y1 - y0) / across) if image.pixels > 1 else (spacing[1], 0.0)
    b, e = ((x2 - x0) / down, (y2 - y0) / down) if image.lines > 1 else (0.0, -spacing[0])
    for name, found, stated in (("pixel", math.hypot(a, d), spacing[1]), ("line", math.hypot(b, e), spacing[0])):
        if not abs(found - stated) <= 0.01 * stated:  # so that NaN is refused, too
            raise Alos2TutError(
                f"corners give a {name} spacing of {found:.4g} m, the record states {stated:.4g} m", where=leader_path
            )
    return Affine(a, b, x0 - (a + b) / 2, d, e, y0 - (d + e) / 2)


def _open_tiffs(images: dict[str, Path], common: dict[str, Any], crs: str | CRS | None) -> Product:
    first = next(iter(images.values()))
    shape, transform, found_crs, _ = _raster_frame(first, "uint16")
    return Product(
        **common,
        kind="GeoTIFF",
        shape=shape,
        crs=_required_crs(found_crs, crs, first),
        transform=transform,
        calibration_factor_db=radiometry.CALIBRATION_FACTOR_DB,
        calibration_source="assumed: JAXA's published constant (GeoTIFF carries none)",
        bands={pol: TiffBand(path) for pol, path in images.items()},
        files=tuple(images.values()),
        gaps=("calibration factor", "scene incidence"),
    )


def _open_mosaic(path: Path, folder: Path, stem: str, crs: str | CRS | None) -> Product:
    """A 1° tile (or a window of one) of JAXA's global 25 m mosaic: γ0, terrain-corrected."""
    matches = [m for m in map(_MOSAIC.match, sorted(p.name for p in folder.iterdir())) if m and m["stem"] == stem]
    images = {m["pol"]: folder / m.string for m in matches if m["pol"]}
    if not images:
        raise Alos2TutError(f"has no backscatter file {stem}_sl_HH_F02DAR.tif", where=folder)
    first = next(iter(images.values()))
    shape, transform, found_crs, tag = _raster_frame(first, "uint16")
    named = _MOSAIC.match(path.name) if path.is_file() else None
    year = 2000 + int(matches[0]["year"])
    by_year = 1 if year >= _MOSAIC_NO_DATA_ONE_SINCE else 0
    return Product(
        path=path,
        kind="25 m mosaic",
        level="mosaic",
        shape=shape,
        crs=_required_crs(found_crs, crs, first),
        transform=transform,
        polarizations=tuple(pol for pol in POLARIZATIONS if pol in images),
        default_polarization=named["pol"] if named else None,
        quantity="gamma0",
        calibration_factor_db=radiometry.CALIBRATION_FACTOR_DB,
        calibration_source="JAXA's published constant for the mosaic",
        bands={pol: TiffBand(file) for pol, file in images.items()},
        files=tuple(images.values()),
        no_data_dn=tuple(sorted({0, by_year, *([int(tag)] if tag is not None else [])})),
        scene_id=f"{matches[0]['tile']}_{matches[0]['year']}",
        acquired=str(year),
        mode="FBD",
        look_side="right",
        orbit_direction="ascending",
    )


def _raster_frame(path: Path, dtype: str) -> tuple[tuple[int, int], Affine, CRS | None, float | None]:
    """Shape, transform, CRS and no-data tag of a single-band GeoTIFF of the expected type."""
    try:
        with warnings.catch_warnings():
            # a file without georeference is answered by our own error, with the remedy
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                found, count = source.dtypes[0], source.count
                frame = (source.shape, source.transform, source.crs, source.nodata)
    except RasterioError as error:
        raise Alos2TutError(f"cannot be opened as a raster ({error})", where=path) from None
    if found != dtype or count != 1:
        raise Alos2TutError(f"holds {count} band(s) of {found}, not one of {dtype} amplitudes", where=path)
    if frame[1].is_identity:
        raise Alos2TutError("has no georeference", where=path, remedy="Use the file as JAXA delivered it.")
    return frame


def _required_crs(found: CRS | None, given: str | CRS | None, path: Path) -> CRS:
    if given:
        return _parsed_crs(given, path)
    if found is None:
        raise Alos2TutError(
            "states no coordinate system", where=path, remedy="Give it: open_product(path, crs='EPSG:32654')."
        )
    return found


def _parsed_crs(crs: str | CRS, where: Path) -> CRS:
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        raise Alos2TutError(f"crs={crs!r} is no coordinate system ({error})", where=where) from None


def _says_simulated(text: str | None) -> bool:
    return "simulat" in (text or "").lower()


def _acquired(summary: dict[str, str], yymmdd: str) -> str:
    """ISO time of the scene's centre, or at least the day from the scene id."""
    day = f"20{yymmdd[:2]}-{yymmdd[2:4]}-{yymmdd[4:]}"
    match = re.match(r"\d{8} (\d\d:\d\d:\d\d\.?\d*)", summary.get("Img_SceneCenterDateTime", ""))
    return f"{day}T{match[1]}Z" if match else day


def _metres_per_degree(latitude_deg: float) -> tuple[float, float]:
    """Length of a degree of latitude and of longitude on the WGS 84 ellipsoid."""
    a, e2 = 6378137.0, 0.00669437999014
    phi = math.radians(latitude_deg)
    w = math.sqrt(1 - e2 * math.sin(phi) ** 2)
    return math.radians(a * (1 - e2) / w**3), math.radians(a * math.cos(phi) / w)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(_shown(v) for v in value) if isinstance(value, list) else str(value)
