"""What a written CEOS product says about itself, and where its pixels lie.

Where things lie follows from a circular orbit over a spherical Earth: slant ranges, latitudes and longitudes of lines,
state vectors and polynomials agree with each other and with the incidence angle at the scene's centre, but not with any
real orbit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as reproject_points

from .. import geometry
from ..products import ceos_layout
from ..products.rasters import LONLAT
from ..radiometry import CALIBRATION_FACTOR_DB

Floats: TypeAlias = NDArray[np.float64]

_GRAVITATION_M3_S2 = 3.986005e14


@dataclass(frozen=True)
class ProductDescription:
    """What a CEOS product says about itself; its pixels come separately.

    Attributes:
        scene_id: ``ALOS2014555550-140830``.
        product_id: ``UBSR2.1GUD``; level, look side, option and orbit direction are read from it.
        shape: lines and pixels.
        spacing_m: between lines and between pixels; of Level 1.1 along the flight on the ground, and in slant range.
        center_time: when the scene's centre was seen, UTC.
        incidence_deg: incidence angle at the scene's centre.
        heading_deg: direction of flight there, clockwise from north.
        off_nadir_deg: nominal off-nadir angle.
        looks, resolution_m: in azimuth and in range; range is slant range for Level 1.1, ground range otherwise.
        transform: from (column, row), pixel corners, to UTM metres; None: Level 1.1.
        utm_zone, south: of the map; southern maps have a false northing of 10,000 km.
        center: latitude and longitude of the scene's centre in degrees; Level 1.1 only, otherwise that of the map.
        center_range_m: slant range of the scene's centre.
        calibration_factor_db: as in the radiometric record, also of Level 1.1 (whose σ0 has another −32 dB).
        software, facility: version and centre of processing; "SIMULATED" if simulated.
        processed: when it was processed, UTC; None: when it was seen.
        simulated: whether the product must say that no satellite saw this.
        beam: antenna beam number.
        noise_db: noise-equivalent σ0.
        scan: ("F" full aperture or "B" SPECAN, number of the scan) of a ScanSAR of Level 1.1.
        bursts: bursts, lines per burst and lines of overlap (SPECAN).
        incidence_polynomial: six coefficients of incidence in radians by slant range in km; None: fitted for Level 1.1,
            zeros otherwise, as in the real product.
    """

    scene_id: str
    product_id: str
    shape: tuple[int, int]
    spacing_m: tuple[float, float]
    center_time: datetime
    incidence_deg: float
    heading_deg: float
    off_nadir_deg: float
    looks: tuple[float, float] = (1.0, 1.0)
    resolution_m: tuple[float, float] = (3.0, 3.0)
    transform: Affine | None = None
    utm_zone: int | None = None
    south: bool = False
    center: tuple[float, float] | None = None
    center_range_m: float = 760_000.0
    calibration_factor_db: float = CALIBRATION_FACTOR_DB
    software: str = "002.012"
    facility: str = "EICS"
    processed: datetime | None = None
    simulated: bool = False
    beam: int = 7
    noise_db: float = -30.0
    scan: tuple[str, int] | None = None
    bursts: tuple[int, int, int] | None = None
    incidence_polynomial: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        is_map = self.transform is not None and self.utm_zone is not None
        if self.is_slc == is_map or self.is_slc == (self.center is None):
            raise ValueError(f"level {self.level}: a product of Level 1.1 has a centre, others a transform and a zone")

    @property
    def identity(self) -> str:
        """What the names of all its files share."""
        return f"{self.scene_id}-{self.product_id}"

    @property
    def level(self) -> str:
        """``1.1``, ``1.5`` or ``2.1``."""
        return self.product_id[4:7]

    @property
    def is_slc(self) -> bool:
        """Whether pixels are complex numbers in slant range."""
        return self.level == "1.1"

    @property
    def sample_code(self) -> str:
        """How pixels are stored: ``IU2`` or ``C*8``."""
        return "C*8" if self.is_slc else "IU2"

    @property
    def record_bytes(self) -> int:
        """Bytes of a line with its prefix."""
        return (
            ceos_layout.PREFIX_BYTES[self.sample_code]
            + ceos_layout.SAMPLE_DTYPES[self.sample_code].itemsize * self.shape[1]
        )

    @property
    def maker(self) -> tuple[str, str]:
        """Software version and facility as they are written."""
        return ("SIMULATED", "SIMULATED") if self.simulated else (self.software, self.facility)

    @cached_property
    def scene(self) -> Geometry:
        """Where the pixels lie."""
        return Geometry(self)


class Geometry:
    """Where the pixels of a product lie, seen from a circular orbit over a spherical Earth.

    At the time when the scene's centre is seen, the satellite is above ``nadir``, flies to ``ahead`` and looks to
    ``aside`` (unit vectors, Earth-fixed); it turns about ``aside``.
    """

    def __init__(self, description: ProductDescription):
        self._description = description
        self.radius_m = geometry.satellite_radius_m(description.center_range_m, description.incidence_deg)
        lines, pixels = description.shape
        self._middle = ((lines - 1) / 2, (pixels - 1) / 2)
        if description.center is None:
            latitude, longitude = (float(angle) for angle in self._by_map(*self._middle))
        else:
            latitude, longitude = description.center
        self.center = latitude, longitude
        here, north, east = _local_axes(latitude, longitude)
        heading = math.radians(description.heading_deg)
        self.ahead = math.cos(heading) * north + math.sin(heading) * east
        sideways = -math.sin(heading) * north + math.cos(heading) * east
        if description.product_id[3] == "L":
            sideways = -sideways
        incidence = math.radians(description.incidence_deg)
        self._center_angle = math.asin(description.center_range_m * math.sin(incidence) / self.radius_m)
        cos, sin = math.cos(self._center_angle), math.sin(self._center_angle)
        self.nadir, self.aside = cos * here - sin * sideways, sin * here + cos * sideways
        self.angular_speed = math.sqrt(_GRAVITATION_M3_S2 / self.radius_m**3)
        self.ground_speed_m_s = geometry.EARTH_RADIUS_M * cos * self.angular_speed

    def places(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        """Latitude and longitude in degrees of pixels' centres; rows and columns broadcast."""
        return (self._by_range if self._description.is_slc else self._by_map)(rows, cols)

    def slant_ranges(self, rows: ArrayLike, cols: ArrayLike) -> Floats:
        """Metres from the satellite to pixels' centres when it passes them by; rows and columns broadcast."""
        if self._description.is_slc:
            ranges = self._description.center_range_m + self._description.spacing_m[1] * (
                np.asarray(cols) - self._middle[1]
            )
            return np.broadcast_to(ranges, np.broadcast_shapes(np.shape(rows), np.shape(cols))).astype(np.float64)
        points = _unit_vectors(*self.places(rows, cols))
        # at closest approach point, satellite and the axis it turns about lie in one plane
        cos = np.sqrt(1 - (points @ self.aside) ** 2)
        earth = geometry.EARTH_RADIUS_M
        ranges_m: Floats = np.sqrt(self.radius_m**2 + earth**2 - 2 * self.radius_m * earth * cos)
        return ranges_m

    def seconds(self, rows: ArrayLike) -> Floats:
        """When lines were seen, from the time of the scene's centre; the first line of a map counts as the earliest."""
        spacing = self._description.spacing_m[0]
        return (np.asarray(rows, dtype=np.float64) - self._middle[0]) * spacing / self.ground_speed_m_s

    def satellite(self, seconds: ArrayLike) -> tuple[Floats, Floats]:
        """Positions in m and velocities in m/s at times from the scene's centre, (…, 3)."""
        angle = self.angular_speed * np.asarray(seconds, dtype=np.float64)[..., None]
        outward = np.cos(angle) * self.nadir + np.sin(angle) * self.ahead
        onward = -np.sin(angle) * self.nadir + np.cos(angle) * self.ahead
        return self.radius_m * outward, self.radius_m * self.angular_speed * onward

    def corners(self) -> dict[str, tuple[int, int]]:
        """Row and column of the corner pixels, in JAXA's order."""
        last_row, last_col = (n - 1 for n in self._description.shape)
        return dict(zip(geometry.CORNERS, ((0, 0), (0, last_col), (last_row, last_col), (last_row, 0)), strict=True))

    def map_points(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        """Easting and northing in metres of pixels' centres; not of Level 1.1."""
        assert self._description.transform is not None
        rows, cols = np.broadcast_arrays(np.asarray(rows, dtype=np.float64), np.asarray(cols, dtype=np.float64))
        x, y = self._description.transform * (cols + 0.5, rows + 0.5)
        return np.asarray(x), np.asarray(y)

    def _by_map(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        x, y = self.map_points(rows, cols)
        assert self._description.utm_zone is not None
        utm = CRS.from_epsg((32700 if self._description.south else 32600) + self._description.utm_zone)
        longitude, latitude = reproject_points(utm, LONLAT, x.ravel(), y.ravel())
        return np.reshape(latitude, x.shape), np.reshape(longitude, x.shape)

    def _by_range(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        ranges, seconds = np.broadcast_arrays(self.slant_ranges(rows, cols), self.seconds(rows))
        earth = geometry.EARTH_RADIUS_M
        cos = (self.radius_m**2 + earth**2 - ranges**2) / (2 * self.radius_m * earth)
        below = self.satellite(seconds)[0] / self.radius_m
        points = cos[..., None] * below + np.sqrt(1 - cos**2)[..., None] * self.aside
        return np.degrees(np.arcsin(points[..., 2])), np.degrees(np.arctan2(points[..., 1], points[..., 0]))


def _local_axes(latitude_deg: float, longitude_deg: float) -> tuple[Floats, Floats, Floats]:
    """Unit vectors up, north and east, Earth-fixed."""
    phi, lam = math.radians(latitude_deg), math.radians(longitude_deg)
    up = np.array([math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)])
    north = np.array([-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)])
    return up, north, np.array([-math.sin(lam), math.cos(lam), 0.0])


def _unit_vectors(latitude_deg: Floats, longitude_deg: Floats) -> Floats:
    phi, lam = np.radians(latitude_deg), np.radians(longitude_deg)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
