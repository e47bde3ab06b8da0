"""The simulator's assumptions: the table in ``surfaces.yaml``, where each number states its source."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.artifacts import read_yaml

Floats: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
SEASONS = ("autumn", "winter", "spring", "summer")


@cache
def load_table() -> dict[str, Any]:
    """The content of ``surfaces.yaml``: the simulator's priors with their sources."""
    content: dict[str, Any] = read_yaml(files("alos2tut").joinpath("simulation/surfaces.yaml"))
    return content


@cache
def prior(group: str, name: str) -> Any:
    """A number of the table, or several in a tuple: ``prior("sizes_m", "paddy")`` is (100.0, 30.0)."""
    value = load_table()[group][name]["value"]
    return tuple(map(float, value)) if isinstance(value, list) else value


@cache
def surface_names() -> tuple[str, ...]:
    """Names of the surfaces; their place is the surface's number."""
    return tuple(row["name"] for row in load_table()["surfaces"])


@cache
def surface_codes() -> NDArray[np.uint8]:
    """The label code of each surface."""
    return np.array([row["code"] for row in load_table()["surfaces"]], dtype=np.uint8)


@cache
def asked_shares() -> dict[int, float]:
    """Share of the scene that each label code should take; together 1."""
    shares = {code: share for code, share in load_table()["shares"].items() if code != "source"}
    return {code: share / sum(shares.values()) for code, share in shares.items()}


def table_rows(group: str) -> dict[str, dict[str, Any]]:
    """Rows of a group that names one source for all."""
    return {name: row for name, row in load_table()[group].items() if name != "source"}


@dataclass(frozen=True)
class Priors:
    """The table in ``surfaces.yaml`` for one season; arrays are indexed by surface.

    Attributes:
        names, codes: of the surfaces; label codes.
        sigma0_db: mean σ0 (HH) at the scene's centre.
        texture_order: ν of the gamma texture; infinite: none.
        texture_length_m: where the correlation of the texture's Gaussian field has fallen to 1/e; 0: no texture.
        parcel_db: spread between parcels, stands, houses.
        incidence_power: n of σ0 ∝ cosⁿθ.
        row_resonance_db: what paddies gain whose rows resonate.
        date: when such a scene is seen.
        radar: the scalars of the table's section of this name.
    """

    names: tuple[str, ...]
    codes: NDArray[np.uint8]
    sigma0_db: Floats
    texture_order: Floats
    texture_length_m: Floats
    parcel_db: Floats
    incidence_power: Floats
    row_resonance_db: float
    date: datetime
    radar: dict[str, float]

    @property
    def noise_floor_db(self) -> float:
        """Noise-equivalent σ0."""
        return self.radar["noise_floor_db"]

    def number(self, name: str) -> int:
        """The surface of this name."""
        return self.names.index(name)


@cache
def load_priors(season: str = "autumn") -> Priors:
    """The simulator's assumptions for one of the seasons, from ``surfaces.yaml``."""
    table = load_table()
    rows, at_season = table["surfaces"], table["seasons"][season]

    def column(name: str, missing: float) -> Floats:
        return np.array([missing if row[name] is None else row[name] for row in rows], dtype=np.float32)

    offset = [at_season["offset_db"].get(row["name"], 0.0) for row in rows]
    return Priors(
        names=surface_names(),
        codes=surface_codes(),
        sigma0_db=column("sigma0_db", np.nan) + np.array(offset, dtype=np.float32),
        texture_order=column("texture_order", np.inf),
        texture_length_m=column("texture_length_m", 0.0),
        parcel_db=column("parcel_db", 0.0),
        incidence_power=column("incidence_power", 0.0),
        row_resonance_db=float(at_season["row_resonance_db"]),
        date=datetime.combine(at_season["date"], time.fromisoformat(prior("scene", "seen_utc"))),
        radar={name: float(entry["value"]) for name, entry in table["radar"].items()},
    )
