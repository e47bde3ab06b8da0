"""What a user says of an image that its files do not: the scale of its numbers, the quantity, the polarisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from ..core.errors import Alos2TutError, closest, quoted
from ..core.validation import check_positive, is_number
from .metadata import QUANTITIES, named_polarizations

#: what the numbers of a calibrated image may be: linear power, its square root, or 10·log10 of it
IMAGE_SCALES = ("power", "amplitude", "db")
#: what is said of images whose files JAXA's own do not leave open
_OF_IMAGES = ("scale", "quantity", "sensor", "spacing_m", "no_data")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What :func:`alos2tut.open_product` is told, checked; None: the files say it, or nobody does.

    Attributes:
        crs: coordinate system in place of one that the files lack or state wrongly.
        scan: which scan of a ScanSAR product of Level 1.1.
        scale: of a calibrated image's numbers, one of :data:`IMAGE_SCALES`.
        quantity: one of :data:`.QUANTITIES`.
        polarization: "HV"; or those of several bands, in their order: "HH,HV".
        sensor: who took the image, in words.
        spacing_m: of pixels on no map, metres, (rows, columns).
        no_data: the number that stands for no data.

    Raises:
        Alos2TutError: a value that is none of these.
    """

    crs: str | int | CRS | None = None
    scan: int | None = None
    scale: str | None = None
    quantity: str | None = None
    polarization: str | None = None
    sensor: str | None = None
    spacing_m: tuple[float, float] | None = None
    no_data: float | None = None

    def __post_init__(self) -> None:
        _check_known("scale", self.scale, IMAGE_SCALES)
        _check_known("quantity", self.quantity, QUANTITIES)
        _ = self.polarizations
        if self.sensor is not None and not (isinstance(self.sensor, str) and self.sensor.strip()):
            raise Alos2TutError(f"sensor={quoted(self.sensor)} says nothing", where="sensor")
        if self.spacing_m is not None:
            if not isinstance(self.spacing_m, (tuple, list)) or len(self.spacing_m) != 2:
                raise Alos2TutError(f"{quoted(self.spacing_m)} is not (rows, columns) in metres", where="spacing_m")
            rows, cols = (check_positive(side, "spacing_m") for side in self.spacing_m)
            object.__setattr__(self, "spacing_m", (rows, cols))
        if self.no_data is not None and not is_number(self.no_data):
            raise Alos2TutError(f"no_data={quoted(self.no_data)} is no number", where="no_data")

    @classmethod
    def of(cls, settings: Any, **others: Any) -> Given:
        """What a config, or the options of a command, say by these names; ``others`` go before."""
        said = {field.name: getattr(settings, field.name, None) for field in dataclasses.fields(cls)}
        return cls(**said | others)

    @property
    def polarizations(self) -> tuple[str, ...]:
        """The names in ``polarization``, in order."""
        return () if self.polarization is None else named_polarizations(self.polarization)

    @property
    def of_pixels(self) -> dict[str, Any]:
        """What decides what the pixels mean, by name, as JSON can hold it; for :attr:`.Metadata.given`."""
        names = ("scale", "quantity", "polarization", "sensor", "spacing_m", "no_data")
        said = {name: getattr(self, name) for name in names}
        # JSON knows no NaN
        return {n: str(v) if n == "no_data" else v for n, v in said.items() if v is not None}

    def to_text(self) -> str:
        """All that was said, for notes: ``scale=db, quantity=gamma0``; an empty text for nothing."""
        place = {} if self.crs is None else {"crs": self.crs}
        return ", ".join(f"{name}={value}" for name, value in (self.of_pixels | place).items())

    def refuse(self, where: str | Path, whose: str, names: Collection[str] = _OF_IMAGES) -> None:
        """Raise an error that names what was said of files that say it themselves.

        Args:
            where: the files.
            whose: what they are, in words: "a product as JAXA delivers it".
            names: what they say.
        """
        if said := [name for name in names if getattr(self, name) is not None]:
            problem = f"is {whose}, which says itself what {', '.join(f'{n}={getattr(self, n)!r}' for n in said)} would"
            remedy = f"Leave out {', '.join(said)}; rename a file that only looks like one."
            raise Alos2TutError(problem, where=where, remedy=remedy)


def _check_known(name: str, value: Any, known: Collection[str]) -> None:
    if value is not None and value not in known:
        raise Alos2TutError(f"unknown {name} {quoted(value)}", where=name, remedy=closest(str(value), known))
