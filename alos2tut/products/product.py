"""One product: what it is, where it lies, and its pixels on request, calibrated.

:func:`alos2tut.open_product` makes a :class:`Product` of whatever it reads. Nothing here knows the packaging:
pixels come from bands, each of which reads strips of lines.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window

from .. import radiometry
from ..core import validation
from ..core.cache import fingerprint
from ..core.errors import Alos2TutError, system_error, warn
from ..core.progress import progress_bar
from ..core.public import public
from .metadata import ImageGrid, Metadata
from .quicklook import product_html
from .rasters import write_cog
from .reading import Band, FloatArray, PixelReader, Weigh, WindowLike, finisher, read_strips, window_slices

if TYPE_CHECKING:
    import xarray

#: pixels along a side of a block at most: a row of blocks is held in memory
MOST_LOOKS = 1024
#: rows per block of a GeoTIFF that is written
_COG_ROWS = 512
#: what the tag SCALE says of numbers as delivered
NOT_CALIBRATED = "amplitude, not calibrated"


class Product(Metadata):
    """One product, as :func:`alos2tut.open_product` found it; equal to itself only, and hashable.

    Attributes:
        path: what was opened, as it was named: a folder, a file or an archive.
        kind: product and packaging in words.
        level: "1.1", "1.5", "2.1", "2.2", "3.1" or "mosaic"; "image" of what JAXA did not make.
        shape: pixels, (rows, columns).
        grid: where pixels lie on a map; None in slant range (Level 1.1) and of an image that states no map.
        polarizations: of the images, as "HH"; empty where the product holds none.
        quantity: "sigma0" or "gamma0", which the calibration gives; of others also "beta0" or "relative" (up
            to an unknown factor). An empty text where the product holds no images.
        calibration_factor_db: dB, added to 10·log10⟨DN²⟩ to give ``quantity``; without images it means nothing.
        calibration_source: where that factor is from, in words.
        files: the files that pixels and their meaning come from, as absolute paths, or the archive they lie in.
        bands: the images by polarisation, from which the ``read_…`` methods take pixels.
        layers: rasters that are delivered beside the images, by name, with unit and meaning.
        no_data_dn: digital numbers that stand for no data in all images.
        default_polarization: that of the image file by which the product was opened, if it was.
        scene_id: JAXA's name of the scene, or of the tile of a mosaic.
        product_id: JAXA's name of the processing, as "UBSR2.1GUD".
        mode: JAXA's code of the observation mode, as "UBS" or "WBD".
        beam: JAXA's name of the beam, as "W3" or "F2-6".
        look_side: "right" or "left".
        orbit_direction: "ascending" or "descending".
        orbit: number of the orbit.
        frame: number of the frame along the orbit.
        scan: number of the ScanSAR scan that is read (Level 1.1); None where an image is the whole swath.
        scans: numbers of all scans that are delivered.
        acquired: ISO 8601, UTC: the centre of the scene; of a mosaic a day or a year; of Level 2.2 the middle of the
            acquisition.
        started: ISO 8601, UTC: the acquisition's beginning.
        ended: ISO 8601, UTC: the acquisition's end.
        processed: ISO 8601: when the product was made.
        incidence_deg: degrees, at the centre of the scene, also of a scan that lies elsewhere in it.
        off_nadir_deg: degrees from straight down, at the radar, of the beam; None where no file states it.
        slant_range_incidence: degrees per pixel on a smooth Earth, where the lines state slant ranges.
        looks: of the processing, (azimuth, range). The argument ``looks`` of the readers is (rows, columns) instead,
            which on a map whose north is up are not azimuth and range.
        resolution_m: metres, (azimuth, range).
        noise_floor_db: noise-equivalent σ0 in dB by polarisation, also where ``quantity`` is "gamma0".
        stated_spacing_m: metres in slant range, (along track, slant range).
        stated_footprint: corners (longitude, latitude) in degrees that the product states, in order around it.
        software: what made the product, with its version.
        simulated: whether the pixels are made up.
        sensor: satellite and radar, as "ALOS-2 PALSAR-2"; None where nobody says.
        given: what the user said of the pixels, by name, where the files leave it open.
        gaps: what the files do not say, in words.
        notes: what was assumed or is out of the ordinary, in words.
        contradictions: what shows that its files belong to different scenes, in words.
    """

    # --- files

    @property
    def fingerprint(self) -> str:
        """A hash of ``files``: those that pixels and their meaning come from, or the archive they lie in.

        Of a folder of CEOS files that is without the volume directory and the trailer. See
        :func:`alos2tut.core.cache.fingerprint`. What the user said of the pixels counts, too.

        Raises:
            Alos2TutError: a file that is no longer there, or cannot be read.
        """
        try:
            of_files = fingerprint(*self.files)
        except OSError as error:
            then = "If the product was moved, open it where it lies now."
            raise system_error(error, error.filename or self.path, "cannot be read", then) from error
        said = json.dumps(dict(self.given), sort_keys=True)
        return hashlib.sha256(f"{of_files};{said}".encode()).hexdigest() if self.given else of_files

    @property
    def placed_fingerprint(self) -> str:
        """A hash that changes with :attr:`fingerprint` and with the place on the map: what datasets are known by."""
        info = self.to_dict()
        return hashlib.sha256(json.dumps([self.fingerprint, info["crs"], info["transform"]]).encode()).hexdigest()

    def owns(self, path: str | Path) -> bool:
        """Whether a path is, or looks like, a file of the delivery, so that nothing may be written there.

        That is one of ``files``, and in a folder that holds any of them whatever has the scene's identity in its
        name, and ``summary.txt``. The file need not exist. Beside an archive only the archive itself counts.
        """
        path = Path(path).absolute()
        places = {path.parent.resolve() / path.name, path.resolve()}
        files = {place for file in self.files for place in (file.parent.resolve() / file.name, file.resolve())}
        if not places.isdisjoint(files):
            return True
        bands: list[Any] = [*self.bands.values(), *(layer.band for layer in self.layers.values())]
        if any(band.source.member for band in bands):
            return False
        folders, scene = {file.parent for file in files}, (self.scene_id or "summary.txt").lower()
        # to some file systems names that differ in case are one
        names = {place.name.lower() for place in places if place.parent in folders}
        return any(name == "summary.txt" or scene in name for name in names)

    def check_target(self, path: str | Path) -> None:
        """Refuse to write where a file of the product lies, or one of its name could.

        Raises:
            Alos2TutError: a path that the product :meth:`owns`.
        """
        if self.owns(path):
            raise Alos2TutError(
                "is a file of the product itself, or is named like one beside it",
                where=path,
                remedy="Name another file, or one in another folder.",
            )

    def _repr_html_(self) -> str:
        return product_html(self)

    # --- pixels

    @public
    def read_dn(
        self, window: WindowLike | None = None, *, polarization: str | None = None, looks: int | tuple[int, int] = 1
    ) -> FloatArray:
        """Digital numbers, amplitudes of complex ones; with looks, the root of the mean of DN² (averaged in power).

        Args:
            window: a rasterio ``Window`` or ``(row, col, height, width)`` in full-resolution pixels; None: all.
            polarization: one of ``polarizations``; None: see :meth:`choose_polarization`.
            looks: pixels per block, one number or (rows, columns), at most 1024. Blocks are anchored at the product's
                corner, and every block that the window touches is averaged whole; a block that the product's edge
                cuts averages what it has.

        Returns:
            float32 (rows, columns), NaN where there is no data (where less than half of a block has data).

        Raises:
            Alos2TutError: an unknown polarisation, a window that is empty or reaches outside the product, more looks
                than 1024, damaged pixels.
        """
        return self._reader("dn", window, polarization, looks, None).whole()

    @public
    def read_power(
        self,
        window: WindowLike | None = None,
        *,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
    ) -> FloatArray:
        """Calibrated linear power; arguments as for :meth:`read_dn`.

        ``quantity`` "sigma0" or "gamma0" other than the product's own converts pixel by pixel (γ0 = σ0 / cos θ) by
        :meth:`read_incidence`. Where only the angle at the scene's centre is known, that is used; a warning says how
        far that is off at the edges of the swath (0.12 dB for one of 70 km at 40.6°).
        """
        self.warn_of_conversion(quantity)
        return self._reader("power", window, polarization, looks, quantity).whole()

    @public
    def read_db(
        self,
        window: WindowLike | None = None,
        *,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
    ) -> FloatArray:
        """Calibrated backscatter in dB; arguments as for :meth:`read_power`."""
        self.warn_of_conversion(quantity)
        return self._reader("db", window, polarization, looks, quantity).whole()

    @public
    def blocks(
        self,
        scale: str = "db",
        *,
        window: WindowLike | None = None,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
        rows: int | None = None,
    ) -> Iterator[tuple[Window, FloatArray]]:
        """The pixels from top to bottom in blocks of whole rows, for work on products larger than memory.

        Two threads make blocks: two while one is waited for, the next one while one is worked on. Arguments are
        checked, and warnings given, at the call; pixels are read when blocks are asked for.

        Args:
            scale: "db", "power" or "dn".
            window: as for :meth:`read_dn`, like ``polarization``, ``looks`` and ``quantity``.
            rows: rows of the result per block; None: as many as make about four million pixels.

        Yields:
            Where the block lies in the result (a rasterio ``Window``, ready for writing), and its values, float32.

        Raises:
            Alos2TutError: an unknown scale, rows that are no whole number of at least 1; otherwise as :meth:`read_dn`.
        """
        if rows is not None and not validation.is_count(rows):
            raise Alos2TutError(f"rows={rows!r} is not a whole number of at least 1", where="blocks")
        reader = self._reader(scale, window, polarization, looks, quantity)
        self.warn_of_conversion(quantity)
        return reader.blocks(rows)

    @public
    def read_slc(self, window: WindowLike | None = None, *, polarization: str | None = None) -> NDArray[np.complex64]:
        """Complex numbers of a Level 1.1 product, complex64 (rows, columns), as delivered (not calibrated); 0: no data.

        Raises:
            Alos2TutError: a product of amplitudes; otherwise as :meth:`read_dn`.
        """
        band = self.bands[self.choose_polarization(polarization)]
        if band.dtype.kind != "c":
            raise Alos2TutError(
                f"Level {self.level} holds amplitudes, not complex numbers", where=self.path, remedy="Use read_dn."
            )
        return read_strips(band, self._area(window), np.complex64)

    @public
    def read_layer(self, name: str, window: WindowLike | None = None) -> NDArray[Any]:
        """A raster that is delivered beside the images, one of ``layers``.

        Args:
            name: "local_incidence" (float32 degrees, NaN without data and from 90° on, where the radar does not
                see the ground), "mask" or "forest" (uint8 codes, explained by ``layers[name].meaning``), or "date"
                (datetime64[D] of acquisition, NaT without data).
            window: as for :meth:`read_dn`.

        Raises:
            Alos2TutError: a layer that the product does not hold; a window outside.
        """
        if not isinstance(name, str) or name not in self.layers:
            raise Alos2TutError(f"has no layer '{name}'", where=self.path, remedy=self._layer_advice(str(name)))
        layer = self.layers[name]
        return read_strips(layer.band, self._area(window), layer.dtype, layer.values)

    @public
    def read_incidence(self, window: WindowLike | None = None) -> FloatArray:
        """Incidence angle in degrees, float32 (rows, columns): the delivered local one, else that of a smooth Earth.

        The second kind comes from the slant ranges that the lines state, and knows no terrain. ``incidence_source``
        says which one it is.

        Raises:
            Alos2TutError: neither is there; a window outside.
        """
        if "local_incidence" in self.layers:
            return self.read_layer("local_incidence", window)
        if self.slant_range_incidence is None:
            only = "" if self.incidence_deg is None else f" (only {self.incidence_deg:.2f}° at the scene's centre)"
            raise Alos2TutError(f"no incidence angle per pixel is delivered or derivable{only}", where=self.path)
        return read_strips(self.slant_range_incidence, self._area(window), np.float32)

    def _reader(
        self,
        scale: str,
        window: WindowLike | None,
        polarization: str | None,
        looks: int | tuple[int, int],
        quantity: str | None,
    ) -> PixelReader:
        """What the public readers give; warnings of conversion are theirs."""
        if scale == "dn" and quantity not in (None, self.quantity):
            raise Alos2TutError("digital numbers are not converted", where="quantity", remedy="Use db or power.")
        pair = validation.look_pair(looks, most=MOST_LOOKS)
        rows, cols = self._area(window, pair)
        band = self.bands[self.choose_polarization(polarization)]
        return PixelReader(
            band=band,
            rows=rows,
            cols=cols,
            looks=pair,
            no_data=self.no_data_of(band),
            weigh=self._conversion(quantity),
            finish=finisher(scale, self.calibration_factor_db),
        )

    def no_data_of(self, band: Band) -> tuple[int, ...]:
        """Amplitudes that stand for no data in one of the images: those of all, and its own tag's."""
        tag: float | None = getattr(band, "no_data", None)
        if tag is None or not 0 <= tag <= 65535 or not tag.is_integer():
            return self.no_data_dn
        return tuple(sorted({*self.no_data_dn, int(tag)}))

    def _area(self, window: WindowLike | None, looks: tuple[int, int] = (1, 1)) -> tuple[slice, slice]:
        return window_slices(window, self.shape, looks, where=self.path)

    def _conversion(self, quantity: str | None) -> Weigh | None:
        """Factors by which power becomes another quantity, per pixel; None where it is the product's own."""
        if not self.is_converted(quantity):
            return None
        # neither kind of angle reaches 90°, where one quantity is no multiple of the other
        convert = radiometry.sigma0_to_gamma0 if quantity == "gamma0" else radiometry.gamma0_to_sigma0

        factor, angle = self.layers.get("gamma0_to_sigma0"), self.layers.get("local_incidence")

        def weigh(rows: slice, cols: slice, step: int) -> Iterator[FloatArray]:
            if factor is not None:
                return map(factor.values, factor.band.strips(rows, cols, step))
            angles: Iterable[Any] = repeat(self.incidence_deg)
            if angle is not None:
                angles = map(angle.values, angle.band.strips(rows, cols, step))
            elif self.slant_range_incidence is not None:
                angles = self.slant_range_incidence.strips(rows, cols, step)
            return (np.asarray(convert(1.0, degrees), dtype=np.float32) for degrees in angles)

        return weigh

    def warn_of_conversion(self, quantity: str | None) -> None:
        """Warn if reading this quantity converts by one angle for all pixels; errors as of :meth:`is_converted`."""
        if self.is_converted(quantity) and self.incidence_source == "scene centre":
            warn(f"{quantity} {self.describe_conversion()}")

    # --- other people's containers

    @public
    def to_cog(
        self,
        path: str | Path,
        *,
        scale: str = "db",
        window: WindowLike | None = None,
        polarization: str | None = None,
        looks: int | tuple[int, int] = 1,
        quantity: str | None = None,
        compress: bool | str = "deflate",
        overviews: bool = True,
        despeckle: str | None = None,
        filter_px: int = 7,
        enl: float | None = None,
        progress: bool | None = None,
    ) -> Path:
        """Write one polarisation as a Cloud-Optimized GeoTIFF, float32 with NaN for no data, block by block.

        An image on no map becomes a TIFF without a coordinate system, whose tags say so, and on which row and column
        of the image it begins.

        Args:
            path: the file to write, whole or not at all.
            scale: "db", "power" or "dn".
            window: as for :meth:`read_dn`, like ``polarization``, ``looks`` and ``quantity``.
            compress: "deflate", "zstd" (which older programs cannot read) or "none"; False is "none", too.
            overviews: False: a plain tiled GeoTIFF, which is written once instead of twice. Overviews are averaged
                in the scale that is written; for exact ones write power.
            despeckle: a filter of :data:`alos2tut.despeckling.FILTERS`, which works on the power that is read.
            filter_px: side of its window in pixels of the result, odd.
            enl: looks of the speckle; None: those that the product states, times ``looks``.
            progress: show a bar; None: only where someone watches.

        Returns:
            ``path``.

        Raises:
            Alos2TutError: an unknown argument, a path that cannot be written or that the product :meth:`owns`.
        """
        self.check_target(path)
        reader = self._reader(scale, window, polarization, looks, quantity)
        self.warn_of_conversion(quantity)
        blocks = reader.blocks(_COG_ROWS)
        crs, transform, tags = self._place(reader)
        if despeckle is not None:
            from .filtering import filtered_blocks, nominal_looks

            power = replace(reader, finish=finisher("power", self.calibration_factor_db))
            enl = nominal_looks(self, reader.looks) if enl is None else enl
            blocks = filtered_blocks(power, despeckle, enl, filter_px, scale, _COG_ROWS)
            tags |= {"SPECKLE_FILTER": f"{despeckle}, window {filter_px} pixels, {enl:g} looks"}
        return write_cog(
            path,
            progress_bar(blocks, "writing", "block", total=-(-reader.shape[0] // _COG_ROWS), show=progress),
            shape=reader.shape,
            dtype="float32",
            crs=crs,
            transform=transform,
            no_data=math.nan,
            tags=self._tags(scale, self.choose_polarization(polarization), quantity, reader.looks) | tags,
            compress=compress,
            overviews=overviews,
        )

    def _place(self, reader: PixelReader) -> tuple[CRS | None, Affine | None, dict[str, str]]:
        """Coordinate system, transform and, of an image on no map, tags that say where the pixels lie that are read."""
        (top, left), looks = (reader.rows.start, reader.cols.start), reader.looks
        if self.grid is not None:
            corner = Affine.translation(left, top)
            return self.crs, self.transform * corner * Affine.scale(looks[1], looks[0]), {}
        rows_m, cols_m = self.spacing_m
        pixel_m = None if math.isnan(rows_m) else (rows_m * looks[0], cols_m * looks[1])
        return None, None, ImageGrid(self.shape, looks, pixel_m).tags | {"IMAGE_CORNER": f"{top}, {left}"}

    def _tags(self, scale: str, polarization: str, quantity: str | None, looks: tuple[int, int]) -> dict[str, str]:
        """What a user of exported pixels has to know."""
        tags = {
            "PRODUCT": self.image_name(polarization),
            "POLARIZATION": polarization,
            "SCALE": {"db": "dB", "power": "linear power", "dn": NOT_CALIBRATED}[scale],
            "LOOKS": f"{looks[0]} x {looks[1]}",
            "ACQUIRED": self.acquired or "unknown",
            "SOURCE": self.source,
        }
        if scale != "dn":
            tags["QUANTITY"] = quantity or self.quantity
            tags["CALIBRATION"] = f"{self.calibration_factor_db:g} dB ({self.calibration_source})"
        if quantity not in (None, self.quantity) and scale != "dn":
            tags["CONVERSION"] = self.describe_conversion()
        return tags

    @public
    def to_xarray(
        self, *, scale: str = "power", looks: int | tuple[int, int] = 1, quantity: str | None = None
    ) -> xarray.Dataset:
        """The product as an xarray Dataset, one variable per polarisation; pixels are read when they are used.

        ``xarray.open_dataset(path, engine="alos2")`` gives the same.

        Args:
            scale: "power" (linear: what may be averaged, coarsened and resampled), "db" or "dn"; "slc" for the complex
                numbers of Level 1.1.
            looks: as for :meth:`read_dn`.
            quantity: as for :meth:`read_power`.

        Returns:
            Variables named HH, HV, … with their ``scale`` and ``units`` over (y, x), coordinates of pixel centres,
            ``spatial_ref`` with the CRS (CF conventions, as rioxarray reads it); over (row, col) in slant range. Layers
            are variables of their own name, read as by :meth:`read_layer`, unless pixels are averaged, which codes
            cannot be. Attributes are what :meth:`.Metadata.to_dict` says but for ``transform``, which ``spatial_ref``
            has: texts and numbers as they are, yes and no as 1 and 0, lists and mappings as JSON, ``mode`` as
            ``observation_mode``, and nothing of what is not known. A converted variable says so in ``conversion``. So
            every engine of netCDF can write it, but for the complex numbers of "slc", which few can.

        Raises:
            Alos2TutError: xarray is not installed; an unknown argument; a quantity to which no angle leads.
        """
        from .xarrays import to_dataset

        return to_dataset(self, scale, validation.look_pair(looks, most=MOST_LOOKS), quantity)
