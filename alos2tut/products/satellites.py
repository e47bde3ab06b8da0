"""JAXA's L-band satellites in one table: how their deliveries are named, laid out and calibrated.

What is read of ALOS-2 stands in :mod:`.ceos_layout`; ALOS and ALOS-4 have the same records and fields. Sources of what
differs:

- JAXA, "ALOS/PALSAR Level 1.1/1.5 product format description" (NEB-070062), "ALOS-2/PALSAR-2 Level 1.1/1.5/2.1/3.1 CEOS
  SAR product format description" (rev. F), "ALOS-4/PALSAR-3 standard product format (CEOS)" (FTR-240031A). Of the first
  and the last only what public readers took from them was at hand:
- names of ALOS, by pyroSAR (``patterns.py``); of ALOS-4, by the products that GDAL (``autotest/gdrivers/sar_ceos.py``),
  GMTSAR (``ALOS4_Pinon``) and SNAP (``TestAlos4*ProductReader``) are tested on;
- bytes before the pixels of a line of Level 1.1: 412, 544 and 800 by GMTSAR (``ALOS_pre_process_SLC``: 412 + 0, 132 or
  388), 412 also by GDAL (``jaxapalsardataset.cpp``); of other levels 192, by GDAL;
- calibration, of all three: σ0 = 10·log10⟨DN²⟩ + CF, at Level 1.1 10·log10⟨I² + Q²⟩ + CF − 32: JAXA, "PALSAR
  calibration factor updated" (2009-01-09, eorc.jaxa.jp/en/about/distribution/info/alos/20090109en_3.html), "Calibration
  result of PALSAR-2" and "of PALSAR-3 JAXA standard products" (eorc.jaxa.jp/ALOS/en/alos-4/a4_calval_e.htm).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .. import geometry, radiometry
from .ceos_layout import PREFIX_BYTES

_UNCHECKED = "{} is read as its format is described; no real file of it was at hand to check that on"


@dataclass(frozen=True)
class Satellite:
    """What is particular to one of them.

    Attributes:
        sensor: its name and that of its radar.
        platforms: how leaders call it (dataset summary, bytes 397–412).
        scene, product: what names of files hold of a scene and of a product, loosely: by these they are recognised.
        parts: both, joined by a hyphen and taken apart; of the groups ``orbit_number``, ``frame``, ``date``, ``mode``,
            ``look``, ``level``, ``option``, ``projection`` and ``orbit`` those that the names state.
        levels: that are read.
        slc_prefix_bytes: before the pixels of a line of Level 1.1.
        orbit_height_m: nominal.
        factors_db: calibration factors that JAXA has published, today's first.
        is_checked: whether what files say of themselves was compared with a real product. Where it was not, the form
            of ids inside the files is not known, and no factor is taken for granted where a file states none.
    """

    sensor: str
    platforms: tuple[str, ...]
    scene: str
    product: str
    parts: re.Pattern[str]
    levels: tuple[str, ...]
    slc_prefix_bytes: int
    orbit_height_m: float
    factors_db: tuple[float, ...]
    is_checked: bool = False

    def prefix_bytes(self, sample_code: str) -> int:
        """Bytes before the pixels of a line, which are ``IU2`` or ``C*8``."""
        return self.slc_prefix_bytes if sample_code == "C*8" else PREFIX_BYTES[sample_code]

    @property
    def notes(self) -> list[str]:
        """What a user of its products should know."""
        return [] if self.is_checked else [_UNCHECKED.format(self.sensor)]


ALOS = Satellite(
    "ALOS PALSAR",
    ("ALOS", "ALOS1", "ALOS-1"),
    scene=r"ALPSR[PS]\d{9}",
    product=r"[A-Z]\d\.\d[0-9A-Z_]{3}",
    # P or S (ScanSAR), orbit, frame; H fine, W ScanSAR, P polarimetric, D direct downlink, C calibration. They state no
    # day. An option of "_" is a scene along the orbit or, of old, one that was not asked to be geocoded
    parts=re.compile(
        r"ALPSR[PS](?P<orbit_number>\d{5})(?P<frame>\d{4})-"
        r"(?P<mode>[HWPDC])(?P<level>\d\.\d)(?P<option>[GR_])(?P<projection>[UPML_])(?P<orbit>[AD])"
    ),
    levels=("1.1", "1.5"),
    slc_prefix_bytes=412,
    orbit_height_m=691_650.0,
    # before 2009-01-09 by mode and polarisation
    factors_db=(-83.0, -83.16, -83.55, -83.4, -83.2, -80.2, -83.65, -83.19, -80.19, -83.3),
)

ALOS2 = Satellite(
    "ALOS-2 PALSAR-2",
    ("ALOS2", "ALOS-2"),
    scene=r"ALOS2\d{9}-\d{6}",
    product=r"[0-9A-Z._]{10}",
    parts=re.compile(
        r"ALOS2(?P<orbit_number>\d{5})(?P<frame>\d{4})-(?P<date>\d{6})-(?P<mode>[SUHFWV][BW][SDQ])(?P<look>[LR])"
        r"(?P<level>\d\.\d)(?P<option>[GR_])(?P<projection>[UPML_])(?P<orbit>[AD])"
    ),
    levels=("1.1", "1.5", "2.1", "3.1"),
    slc_prefix_bytes=544,
    orbit_height_m=geometry.ORBIT_HEIGHT_M,
    factors_db=(radiometry.CALIBRATION_FACTOR_DB, radiometry.OLD_W2_FACTOR_DB),
    is_checked=True,
)

ALOS4 = Satellite(
    "ALOS-4 PALSAR-3",
    ("ALOS4", "ALOS-4"),
    scene=r"ALOS4\d{13}[A-Z]{3}[-A-Z0-9][A-Z]{2}\d{4}",
    product=r"\d\.\d[-A-Z_]{3}",
    # path, frame, day, mode, "-" or "P", look side, orbit direction, beam; a last letter or hyphen of unknown meaning
    parts=re.compile(
        r"ALOS4\d{3}(?P<frame>\d{4})(?P<date>\d{6})(?P<mode>[A-Z]{2}[SDQ])[-A-Z0-9](?P<look>[LR])(?P<orbit>[AD])\d{4}-"
        r"(?P<level>\d\.\d)(?P<option>[GR_])(?P<projection>[UPML_])[-A-Z]"
    ),
    levels=("1.1", "1.5", "2.1", "3.1"),
    slc_prefix_bytes=800,
    orbit_height_m=geometry.ORBIT_HEIGHT_M,
    factors_db=(-83.0,),
)

SATELLITES = (ALOS2, ALOS4, ALOS)


def owner_of(sensor: str | None) -> str:
    """Who is to be named for data of a sensor, which is named in words; an empty text where that is not known.

    Those of ALOS are JAXA's and METI's, as NASA's archive credits them (earthdata.nasa.gov, "An unrestricted view:
    PALSAR data at NASA's ASF DAAC"); those of the satellites after it are JAXA's.
    """
    named = re.findall(r"(?:ALOS|PALSAR)[ -]?(\d?)", (sensor or "").upper())
    if not named:
        return ""
    return "(c) JAXA" if {*named} & {"2", "3", "4"} else "(c) JAXA/METI"
