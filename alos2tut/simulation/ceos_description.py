"""What a written CEOS product says about itself, and where its pixels lie.

Where things lie follows from a circular orbit over a spherical Earth: slant ranges, latitudes and longitudes of lines,
state vectors and polynomials agree with each other and with the incidence angle at the scene's centre, but not with any
real orbit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.warp import transform as reproject_points

from .. import geometry
from ..core.public import check_type
from ..products import ceos_layout
from ..products.georeference import utm_crs
from ..products.rasters import LONLAT

Floats: TypeAlias = NDArray[np.float64]

_GRAVITATION_M3_S2 = 3.986005e14


@dataclass(frozen=True)
class ProductDescription:
    """What a CEOS product of amplitudes on a map says about itself; its pixels come separately.

    Attributes:
        scene_id: ``ALOS2014555550-140830``.
        product_id: ``UBSR2.1GUD``; level, look side, option and orbit direction are read from it.
        shape: lines and pixels.
        spacing_m: between lines and between pixels.
        center_time: when the scene's centre was seen, UTC; a time of another zone is taken to it.
        incidence_deg: incidence angle at the scene's centre.
        heading_deg: direction of flight there, clockwise from north.
        off_nadir_deg: nominal off-nadir angle.
        transform: from (column, row), pixel corners, to UTM metres.
        utm_zone, south: of the map; southern maps have a false northing of 10,000 km.
        center_range_m: slant range of the scene's centre.
        software, facility: version and centre of processing, written where nothing is simulated.
        processed: when it was processed, UTC; None: when it was seen.
        simulated: whether the product must say that no satellite saw this.
        fields: by record (or ``summary``) and field, values that stand in the place of those that follow from the rest.
    """

    scene_id: str
    product_id: str
    shape: tuple[int, int]
    spacing_m: tuple[float, float]
    center_time: datetime
    incidence_deg: float
    heading_deg: float
    off_nadir_deg: float
    transform: Affine
    utm_zone: int
    south: bool = False
    center_range_m: float = 760_000.0
    software: str = "002.012"
    facility: str = "EICS"
    processed: datetime | None = None
    simulated: bool = False
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("center_time", "processed"):
            time = getattr(self, name)
            check_type(name, time, datetime if name == "center_time" else datetime | None, "Give a datetime in UTC.")
            if time is not None and time.utcoffset() is not None:
                object.__setattr__(self, name, time.astimezone(UTC).replace(tzinfo=None))

    @property
    def identity(self) -> str:
        """What the names of all its files share."""
        return f"{self.scene_id}-{self.product_id}"

    @property
    def level(self) -> str:
        """``1.5`` or ``2.1``."""
        return self.product_id[4:7]

    @property
    def sample_code(self) -> str:
        """How pixels are stored."""
        return "IU2"

    @property
    def prefix_bytes(self) -> int:
        """Bytes before the pixels of a line."""
        return ceos_layout.PREFIX_BYTES[self.sample_code]

    @property
    def leader_records(self) -> tuple[str, ...]:
        """The records of the leader after its descriptor."""
        return tuple(ceos_layout.COUNTED)

    @property
    def record_bytes(self) -> int:
        """Bytes of a line with its prefix."""
        sample_bytes = ceos_layout.SAMPLE_DTYPES[self.sample_code].itemsize
        return self.prefix_bytes + sample_bytes * self.shape[1]

    @property
    def maker(self) -> tuple[str, str]:
        """Software version and facility as they are written."""
        return ("SIMULATED", "SIMULATED") if self.simulated else (self.software, self.facility)

    def image_name(self, polarization: str) -> str:
        """Name of an image file."""
        return f"IMG-{polarization}-{self.identity}"

    # --- where pixels lie

    @cached_property
    def center(self) -> tuple[float, float]:
        """Latitude and longitude of the scene's centre in degrees."""
        latitude, longitude = self.places(*((n - 1) / 2 for n in self.shape))
        return float(latitude), float(longitude)

    @cached_property
    def radius_m(self) -> float:
        """Radius of the orbit."""
        return geometry.satellite_radius_m(self.center_range_m, self.incidence_deg)

    @cached_property
    def _center_angle(self) -> float:
        """From the satellite to the scene's centre, seen from the Earth's."""
        return math.asin(self.center_range_m * math.sin(math.radians(self.incidence_deg)) / self.radius_m)

    @cached_property
    def angular_speed(self) -> float:
        """Of the satellite, in radians per second."""
        return math.sqrt(_GRAVITATION_M3_S2 / self.radius_m**3)

    @property
    def ground_speed_m_s(self) -> float:
        """How fast the point of view moves over the ground."""
        return geometry.EARTH_RADIUS_M * math.cos(self._center_angle) * self.angular_speed

    @cached_property
    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Where the satellite is when it sees the scene's centre, flies to, and looks to: Earth-fixed unit vectors.

        It turns about the last one.
        """
        phi, lam, heading = map(math.radians, (*self.center, self.heading_deg))
        here = np.array([math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)])
        north = np.array([-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)])
        east = np.array([-math.sin(lam), math.cos(lam), 0.0])
        sideways = -math.sin(heading) * north + math.cos(heading) * east
        sideways = -sideways if self.product_id[3] == "L" else sideways
        cos, sin = math.cos(self._center_angle), math.sin(self._center_angle)
        ahead = math.cos(heading) * north + math.sin(heading) * east
        return cos * here - sin * sideways, ahead, sin * here + cos * sideways

    def map_points(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        """Easting and northing in metres of pixels' centres; rows and columns broadcast."""
        rows, cols = np.broadcast_arrays(np.asarray(rows, dtype=np.float64), np.asarray(cols, dtype=np.float64))
        x, y = self.transform * (cols + 0.5, rows + 0.5)
        return np.asarray(x), np.asarray(y)

    def places(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        """Latitude and longitude in degrees of pixels' centres; rows and columns broadcast."""
        x, y = self.map_points(rows, cols)
        longitude, latitude = reproject_points(utm_crs(self.utm_zone, self.south), LONLAT, x.ravel(), y.ravel())
        return np.reshape(latitude, x.shape), np.reshape(longitude, x.shape)

    def slant_ranges(self, rows: ArrayLike, cols: ArrayLike) -> Floats:
        """Metres from the satellite to pixels' centres when it passes them by; rows and columns broadcast."""
        phi, lam = map(np.radians, self.places(rows, cols))
        points = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)
        # at closest approach point, satellite and the axis it turns about lie in one plane
        cos = np.sqrt(1 - (points @ self.axes[2]) ** 2)
        earth = geometry.EARTH_RADIUS_M
        return np.asarray(np.sqrt(self.radius_m**2 + earth**2 - 2 * self.radius_m * earth * cos))

    def seconds(self, rows: ArrayLike) -> Floats:
        """When lines were seen, from the time of the scene's centre; the first line of a map counts as the earliest."""
        middle = (self.shape[0] - 1) / 2
        return (np.asarray(rows, dtype=np.float64) - middle) * self.spacing_m[0] / self.ground_speed_m_s

    def satellite(self, seconds: ArrayLike) -> tuple[Floats, Floats]:
        """Positions in m and velocities in m/s at times from the scene's centre, (…, 3)."""
        angle = self.angular_speed * np.asarray(seconds, dtype=np.float64)[..., None]
        nadir, ahead, _ = self.axes
        outward = np.cos(angle) * nadir + np.sin(angle) * ahead
        onward = -np.sin(angle) * nadir + np.cos(angle) * ahead
        return self.radius_m * outward, self.radius_m * self.angular_speed * onward

    def corners(self) -> dict[str, tuple[int, int]]:
        """Row and column of the corner pixels, in JAXA's order."""
        last_row, last_col = (n - 1 for n in self.shape)
        return dict(zip(geometry.CORNERS, ((0, 0), (0, last_col), (last_row, last_col), (last_row, 0)), strict=True))

    def line_values(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """What the lines say that lines of other pixels say otherwise or not at all."""
        last = self.shape[1] - 1
        eastings, northings = self.map_points(rows[:, None], [0, last])
        return {
            "slant_range_m": np.rint(self.slant_ranges(rows[:, None], [0, last / 2, last])),
            "look_angle": round(1e6 * self.off_nadir_deg),
            "northing_first_m": np.rint(northings[:, 0]),
            "northing_last_m": np.rint(northings[:, 1]),
            "easting_first_m": np.rint(eastings[:, 0]),
            "easting_last_m": np.rint(eastings[:, 1]),
            "heading": round(1e6 * self.heading_deg),
        }
