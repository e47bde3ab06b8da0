"""What CEOS products that tests write say about themselves, those of Level 1.1 and ScanSAR included."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from alos2tut import geometry
from alos2tut.products.satellites import ALOS2
from alos2tut.simulation.ceos_description import Floats, ProductDescription

_LIGHT_M_S = 299_792_458
#: settings of descriptions, and the fields that they stand for
_FIELDS = {
    "beam": ("dataset_summary", "beam"),
    "calibration_factor_db": ("radiometric", "calibration_factor_db"),
    "noise_db": ("quality", "noise_db"),
}


@dataclass(frozen=True)
class SlantRangeDescription(ProductDescription):
    """What a product of Level 1.1 says, complex numbers in slant range.

    Attributes:
        place: latitude and longitude of the scene's centre in degrees.
        scan: ("F" full aperture or "B" SPECAN, number of the scan) of a ScanSAR.
        bursts: bursts, lines per burst and lines of overlap (SPECAN).
    """

    transform: Affine = Affine(1, 0, 0, 0, 1, 0)  # noqa: RUF009
    utm_zone: int = 0
    place: tuple[float, float] = (0.0, 0.0)
    scan: tuple[str, int] | None = None
    bursts: tuple[int, int, int] | None = None

    sample_code = "C*8"
    prefix_bytes = ALOS2.slc_prefix_bytes

    @property
    def center(self) -> tuple[float, float]:
        return self.place

    @property
    def leader_records(self) -> tuple[str, ...]:
        return tuple(name for name in super().leader_records if name != "map_projection")

    def image_name(self, polarization: str) -> str:
        return super().image_name(polarization) + (f"-{self.scan[0]}{self.scan[1]}" if self.scan else "")

    def slant_ranges(self, rows: ArrayLike, cols: ArrayLike) -> Floats:
        ranges = self.center_range_m + self.spacing_m[1] * (np.asarray(cols) - (self.shape[1] - 1) / 2)
        return np.broadcast_to(ranges, np.broadcast_shapes(np.shape(rows), np.shape(cols))).astype(np.float64)

    def places(self, rows: ArrayLike, cols: ArrayLike) -> tuple[Floats, Floats]:
        ranges, seconds = np.broadcast_arrays(self.slant_ranges(rows, cols), self.seconds(rows))
        earth = geometry.EARTH_RADIUS_M
        cos = (self.radius_m**2 + earth**2 - ranges**2) / (2 * self.radius_m * earth)
        below = self.satellite(seconds)[0] / self.radius_m
        points = cos[..., None] * below + np.sqrt(1 - cos**2)[..., None] * self.axes[2]
        return np.degrees(np.arcsin(points[..., 2])), np.degrees(np.arctan2(points[..., 1], points[..., 0]))

    def line_values(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        positions, velocities = self.satellite(self.seconds(rows))
        below = positions / self.radius_m
        ranges = self.slant_ranges(rows, 0)
        midnight = self.center_time.replace(hour=0, minute=0, second=0, microsecond=0)
        lines_per_burst = self.bursts[1] if self.bursts else 0
        return {
            "scan": self.scan[1] if self.scan else 0,
            "microsecond": np.rint(1e6 * ((self.center_time - midnight).total_seconds() + self.seconds(rows))),
            "slant_range_m": np.rint(ranges),
            "window_ns": np.rint(2e9 * ranges / _LIGHT_M_S),
            "platform_latitude": np.rint(1e6 * np.degrees(np.arcsin(below[:, 2]))),
            "platform_longitude": np.rint(1e6 * np.degrees(np.arctan2(below[:, 1], below[:, 0]))),
            "platform_altitude_m": round(self.radius_m - geometry.EARTH_RADIUS_M),
            "ground_speed_cm_s": round(100 * self.ground_speed_m_s),
            "velocity_cm_s": np.rint(100 * velocities),
            "true_track_angle": round(1e6 * self.heading_deg),
            "burst": rows // lines_per_burst + 1 if lines_per_burst else 0,
            "line_in_burst": rows % lines_per_burst + 1 if lines_per_burst else 0,
            "frame": int(self.scene_id[10:14]),
        }


def described(product_id: str, *, looks: tuple[float, float] = (1.0, 1.0), **values: Any) -> ProductDescription:
    """A description by the level in a product's id; ``center`` is that of a product in slant range."""
    fields: dict[str, dict[str, Any]] = {"dataset_summary": {"azimuth_looks": looks[0], "range_looks": looks[1]}}
    for name in _FIELDS.keys() & values.keys():
        record, key = _FIELDS[name]
        fields.setdefault(record, {})[key] = values.pop(name)
    if product_id[4:7] != "1.1":
        return ProductDescription(product_id=product_id, fields=fields, **values)
    slant = SlantRangeDescription(product_id=product_id, place=values.pop("center"), **values)
    cols = np.linspace(-1000, slant.shape[1] + 1000, 50)
    ranges_m = slant.slant_ranges(0, cols)
    angles = np.radians(geometry.incidence_by_slant_range_deg(ranges_m, slant.radius_m))
    polynomial = np.polynomial.Polynomial.fit(ranges_m / 1000, angles, 3).convert().coef
    bandwidth_hz = _LIGHT_M_S / 2 / 3.0
    fields["dataset_summary"] |= {
        # a pixel is a sample
        "sampling_mhz": _LIGHT_M_S / 2e6 / slant.spacing_m[1],
        "product_type": f"{'SIMULATED' if slant.simulated else 'STANDARD'} COMPLEX IMAGE",
        "range_look_bandwidth_khz": bandwidth_hz / 1e3,
        "range_bandwidth_khz": bandwidth_hz / 1e3,
        "incidence_polynomial": (*polynomial.tolist(), 0.0, 0.0),
    }
    fields |= {"quality": fields.get("quality", {}) | {"slant_range_resolution_m": 3.0}}
    bursts = dict(zip(("bursts", "lines_per_burst", "burst_overlap_lines"), slant.bursts or (), strict=False))
    image = {"bits_per_sample": 32, "samples_per_group": 2, "sample_format": "COMPLEX*8", "maximum": None}
    maps = ("Pds_ResamplingMethod", "Pds_UTM_ZoneNo", "Pds_MapDirection", "Pds_PixelSpacing")
    fields |= {"image_descriptor": image | bursts, "summary": dict.fromkeys(maps) | {"Pdi_BitPixel": 32}}
    return replace(slant, fields=fields)
