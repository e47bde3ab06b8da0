"""Reading a packed patch dataset: rows, labels, statistics and the order of batches. Neither torch nor rasterio.

A dataset is a folder with ``dataset.json``, four lists (``pretrain.csv``, ``train.csv``, ``val.csv``, ``test.csv``) and
three stores of patches: ``pretrain`` (which holds the training ground, so the ``train`` list points into it), ``val``
and ``test``. A store is a pair of memory-mapped arrays, ``<store>_db.npy`` (int16 hundredths of dB, N × C × H × W) and
``<store>_labels.npy`` (uint8 class indices, N × H × W). :func:`alos2tut.build_dataset` writes it.

Whoever opens it gets what was built: ``dataset.json``, the lists' hashes and the stores' sizes are checked then, and
that no ground of validation or test is in another list; ``alos2tut verify`` checks every byte. A store that is missing
is named when it is asked for: training needs none of the test.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from .. import geometry
from ..core.artifacts import named_path, read_json, sha256_file
from ..core.cache import content_hash
from ..core.config import from_dict
from ..core.environment import process_number
from ..core.errors import Alos2TutError, closest, quoted, system_errors_named
from ..core.public import public
from ..core.tables import bytes_text, table
from ..products.satellites import ALOS2
from . import splits
from .balance import class_weights
from .config import Frame
from .encoding import NO_DATA, STEPS_PER_DB, Statistics, decode_db
from .legend import Legend

#: of one channel of σ0 or γ0 on a map, and of all else; see :func:`framed`
SCHEMA, WIDER_SCHEMA = "alos2tut-dataset-2", "alos2tut-dataset-3"
_OF_SCHEMA = ("sigma0", "gamma0")
#: satellite and radar of products for which ``dataset.json`` names none
USUAL_SENSOR = ALOS2.sensor
SPLITS = ("pretrain", "train", "val", "test")
#: Pairs of arrays of patches; the place of each is the number that :mod:`.splits` gives to its ground.
STORES = ("pretrain", "val", "test")

#: The store each list points into.
STORE_OF = {"pretrain": "pretrain", "train": "pretrain", "val": "val", "test": "test"}

#: The files that ``dataset.json`` tells of.
_LISTS = tuple(f"{split}.csv" for split in SPLITS)
_ARRAYS = tuple(f"{store}_{kind}.npy" for store in STORES for kind in ("db", "labels"))

#: The authors' twelve columns, in their order (arXiv 2603.15119), then ours, of which the last are the patch's
#: box and corners; lists of earlier versions hold no corners.
AUTHORS_COLUMNS = ["Year", "Month", "Day", "FolderPath", "FileName", "MinLon", "MinLat", "MaxLon", "MaxLat"]
AUTHORS_COLUMNS += ["Latitude", "Longitude", "Category"]
BOX_COLUMNS = ["West", "South", "East", "North"]
CORNER_COLUMNS = [f"{corner}{axis}" for corner in ("UpperLeft", "UpperRight", "LowerRight", "LowerLeft")
                  for axis in ("Lon", "Lat")]  # fmt: skip
OUR_COLUMNS = ["Row", "Product", "PatchRow", "PatchCol", "Block", "ValidFraction", "LabelledFraction"]
OUR_COLUMNS += BOX_COLUMNS + CORNER_COLUMNS


class ListTable(Sequence[dict[str, str]]):
    """A list as it stands in its file, a dict of texts per patch; the file is read when the first one is asked for."""

    def __init__(self, length: int, read: Callable[[], list[dict[str, str]]]) -> None:
        self._length, self._read = length, read

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self._records[index]

    @cached_property
    def _records(self) -> list[dict[str, str]]:
        return self._read()


@dataclass(frozen=True, repr=False)
class Split:
    """One list of patches and the arrays its rows lie in; a map-style dataset to PyTorch's DataLoader.

    ``split[i]`` is what a network is trained on: the image, (C, H, W) float32 standardised dB, 0 (the mean) where there
    is no data; and the labels, (H, W) int64, 255 where nothing counts (``ignore_index=255``). In batches a DataLoader
    makes tensors of them.
    """

    name: str
    #: (N, C, H, W) int16 hundredths of dB, memory-mapped
    patches: NDArray[np.int16]
    #: (N, H, W) uint8 class indices, memory-mapped
    labels: NDArray[np.uint8]
    #: (n,) int64: the rows of the arrays that this list names
    rows: NDArray[np.int64]
    #: the list itself, one dict of texts per patch
    table: Sequence[dict[str, str]]
    #: what images are standardised by
    statistics: Statistics | None = None
    #: whose list it is
    dataset: PatchDataset | None = dataclasses.field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)} patches")  # by which a loop over the list ends
        if self.statistics is None:
            raise Alos2TutError("no statistics are known to standardise patches by", where=f"the list '{self.name}'")
        row = self.rows[index]
        steps = self.patches[row]
        mean, std = (
            np.array(of, np.float32)[:, None, None] for of in (self.statistics.mean_db, self.statistics.std_db)
        )
        image = (steps.astype(np.float32) / np.float32(STEPS_PER_DB) - mean) / std
        return np.where(steps == NO_DATA, np.float32(0), image), self.labels[row].astype(np.int64)

    def __repr__(self) -> str:
        channels, height, width = self.patches.shape[1:]
        return f"<Split {self.name}: {len(self)} patches of {channels} × {height} × {width}>"

    def __reduce__(self) -> Any:
        # mapped arrays would be pickled whole: a worker of another process opens them for itself
        return (_reopened, (self.dataset.path, self.name, self.statistics)) if self.dataset else super().__reduce__()

    def bounds(self, index: int) -> tuple[tuple[float, float, float, float], str] | None:
        """Where a patch lies: (left, bottom, right, top) in its product's coordinate system, and that as text.

        None where patches lie on no map, or nobody wrote down on which product.
        """
        content = self.dataset.content if self.dataset else {}
        record = self.table[index]
        products = {product["name"]: product for product in content.get("products", [])}
        product = products.get(record.get("Product"))
        if product is None or product["crs"] is None:
            return None
        looks, (height, width) = content["settings"].get("looks", 1), self.patches.shape[-2:]
        a, b, c, d, e, f = product["transform"]
        rows = looks * (int(record["PatchRow"]) + np.array([0, 0, height, height]))
        cols = looks * (int(record["PatchCol"]) + np.array([0, width, width, 0]))
        x, y = a * cols + b * rows + c, d * cols + e * rows + f
        return (float(x.min()), float(y.min()), float(x.max()), float(y.max())), str(product["crs"])

    def gather(self, indices: NDArray[np.integer[Any]] | list[int]) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Patches and labels by their position in the list: (B, C, H, W) int16 and (B, H, W) uint8."""
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return self.patches[rows], self.labels[rows]

    def gather_rows(self, indices: NDArray[np.integer[Any]] | list[int]) -> NDArray[np.int16]:
        """Patches alone, as :meth:`gather` gives them, for who does without labels."""
        return self.patches[self.rows[np.asarray(indices, dtype=np.int64)]]

    def check_labels(self, classes: int, indices: NDArray[np.integer[Any]] | None = None) -> bool:
        """Whether any pixel of these patches (None: of all) has a label, each of which is checked.

        Raises:
            Alos2TutError: a label that is none of so many classes, with the list and the patch.
        """
        is_any = False
        for index in np.arange(len(self)) if indices is None else indices:
            # 255, which is no label, becomes 0
            highest = int((self.labels[self.rows[index]] + np.uint8(1)).max())
            if highest > classes:
                name = self.table[int(index)].get("FileName") or f"in row {index}"
                problem = f"the patch {name} has the label {highest - 1}, which is no class: the legend has {classes}"
                remedy = "Numbers of classes begin at 0. See what alos2tut verify says of it, or build it anew."
                raise Alos2TutError(problem, where=f"the list '{self.name}'", remedy=remedy)
            is_any |= highest > 0
        return is_any

    def db(self, index: int) -> NDArray[np.float32]:
        """One patch in dB, (C, H, W) float32, NaN without data."""
        return decode_db(self.patches[self.rows[index]])

    def evenly(self, most: int) -> NDArray[np.int64]:
        """Positions in the list, (n,), of at most so many patches, spread evenly over it."""
        return np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))

    def windows(self, product: str) -> list[tuple[int, int, int, int]]:
        """Where patches lie on a product, by its image's name: row, column, height, width in pixels after looks."""
        height, width = self.patches.shape[-2:]
        of_product = [record for record in self.table if record.get("Product") == product]
        return [(int(record["PatchRow"]), int(record["PatchCol"]), height, width) for record in of_product]


# --- what dataset.json must say

_Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
_Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
_Metres = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


Quantity = Literal["sigma0", "gamma0", "beta0", "relative"]
Polarization = Literal["HH", "HV", "VH", "VV"]


class _File(BaseModel):
    bytes: _Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Counts(BaseModel):
    patches: _Count
    class_pixels: dict[str, _Count]


class _Settings(BaseModel):
    # no place is further than half around the Earth
    buffer_m: Annotated[_Number, Field(lt=20e6)]
    buffer_px: Annotated[_Count, Field(lt=2**31)] | None = None
    looks: Annotated[_Count, Field(gt=0, le=64)] = 1


class _Product(BaseModel):
    """What export places patches by; any more is for reading only."""

    name: str
    sensor: str | None = None
    #: None on no map
    crs: str | None
    transform: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=6, max_length=6)] | None


class _Description(BaseModel):
    """Types and ranges; what else is there is for reading only."""

    frame: Frame = "map"
    quantity: Quantity
    polarizations: Annotated[list[Polarization], Field(min_length=1)]
    statistics: Statistics
    #: None: unknown
    spacing_m: Annotated[list[_Metres], Field(min_length=2, max_length=2)] | None
    patch_px: Annotated[_Count, Field(gt=0)]
    class_weights: list[Annotated[_Number, Field(le=1)]]
    settings: _Settings
    splits: dict[str, _Counts]
    files: dict[str, _File]
    simulated: Annotated[bool, Field(strict=True)] = False
    products: list[_Product] = []
    left_out: list[dict[str, Any]] = []


def read_description(path: str | Path) -> dict[str, Any]:
    """The content of a dataset's ``dataset.json``, checked: whatever the package reads from it is there and fits.

    Args:
        path: the dataset's folder.

    Raises:
        Alos2TutError: no dataset there, one of another schema, or a field that is missing or cannot be; it is named.
    """
    where = named_path(path, "dataset") / "dataset.json"
    if not where.is_file():
        raise Alos2TutError("is no dataset: it has no dataset.json", where=path, remedy="Make one: build-dataset.")
    content = read_json(where)
    if not isinstance(content, dict) or content.get("schema") not in (SCHEMA, WIDER_SCHEMA):
        raise Alos2TutError(f"is not of the schema {SCHEMA} or {WIDER_SCHEMA}", where=where, remedy="Build it anew.")
    described = from_dict(_Description, content, where=where)
    _check_frame(described, content["schema"], where)
    classes = Legend.from_dict(content.get("legend"), where=f"{where}, legend").names
    _check_names("files", described.files, (*_LISTS, *_ARRAYS), where)
    _check_names("splits", described.splits, SPLITS, where)
    for split, counts in described.splits.items():
        _check_names(f"splits.{split}.class_pixels", counts.class_pixels, classes, where)
    for field, found, wanted in [
        ("class_weights", len(described.class_weights), len(classes)),
        ("polarizations", len(described.polarizations), len(described.statistics.mean_db)),
        ("polarizations", len(described.polarizations), len(set(described.polarizations))),
    ]:
        if found != wanted:
            raise Alos2TutError(f"'{field}' has {found} values, where there should be {wanted}", where=where)
    return content


def framed(frame: Frame, quantity: str, polarizations: Sequence[str]) -> dict[str, str]:
    """What ``dataset.json`` says of its schema and frame: the older schema wherever that can tell all."""
    if frame == "map" and len(polarizations) == 1 and quantity in _OF_SCHEMA:
        return {"schema": SCHEMA}
    return {"schema": WIDER_SCHEMA, "frame": frame}


def _check_frame(described: _Description, schema: str, where: Path) -> None:
    """Whether a dataset has those fields that its frame needs, and no others."""
    is_map = described.frame == "map"
    odd = next(
        (one.name for one in described.products if (one.crs, one.transform).count(None) != (0 if is_map else 2)), ""
    )
    for field, is_wrong in {
        "frame": schema == SCHEMA and not is_map,
        "quantity": schema == SCHEMA and described.quantity not in _OF_SCHEMA,
        "spacing_m": schema == SCHEMA and described.spacing_m is None,
        "settings.buffer_px": is_map != (described.settings.buffer_px is None),
        f"products, {quoted(odd)}, crs or transform": bool(odd),
    }.items():
        if is_wrong:
            raise _broken(f"'{field}' is not what a dataset of the frame '{described.frame}' and {schema} has", where)


def _check_names(field: str, found: Iterable[str], wanted: Iterable[str], where: Path) -> None:
    """Whether a field holds these keys and no others."""
    found, wanted = set(found), set(wanted)
    if found != wanted:
        fault, name = ("lacks", min(wanted - found)) if wanted - found else ("should not have", min(found - wanted))
        raise _broken(f"'{field}' {fault} {quoted(name)}", where)


def _broken(problem: str, where: Path) -> Alos2TutError:
    return Alos2TutError(problem, where=where, remedy="Restore it, or build the dataset anew.")


# --- reading


class PatchDataset:
    """A packed dataset that was opened with :func:`open_dataset`; arrays are mapped, not loaded."""

    def __init__(self, path: Path, content: dict[str, Any]):
        """Lists are read; ``content`` is what :func:`read_description` gives."""
        self.path, self.content = path, content
        self.legend = Legend.from_dict(content["legend"], where=path / "dataset.json")
        self.statistics = Statistics.from_dict(content["statistics"], where=path / "dataset.json")
        self.patch_px: int = content["patch_px"]
        #: whether patches lie on a map, or have no place but their rows and columns in images
        self.frame: Frame = content.get("frame", "map")
        self.channels = len(content["polarizations"])
        #: what training needs to agree on: quantity, polarisations and pixel size
        self.signal: dict[str, Any] = {k: content[k] for k in ("quantity", "polarizations", "spacing_m")}
        if self.signal["spacing_m"] is None:
            # all that is known of the size of pixels
            self.signal["looks"] = content["settings"].get("looks", 1)
        #: some or all of the pixels are simulated
        self.simulated: bool = content.get("simulated", False)
        #: satellite and radar of the pixels; None for one that nobody named
        products: list[dict[str, Any]] = content.get("products") or [{}]
        self.sensors: tuple[str | None, ...] = tuple({p.get("sensor", USUAL_SENSOR): 0 for p in products})
        self.class_weights = np.array(content["class_weights"], dtype=np.float32)
        #: bytes and SHA-256 of each file, by name
        self.files: dict[str, tuple[int, str]] = {
            name: (file["bytes"], file["sha256"]) for name, file in content["files"].items()
        }
        lists = {name: self._read_numbers(name) for name in SPLITS}
        self._rows = {name: rows for name, (rows, _) in lists.items()}
        #: the lists themselves, by name
        self.tables = {name: ListTable(len(self._rows[name]), partial(self._read_table, name)) for name in SPLITS}
        self._check_sizes()
        ground = {name: places for name, (_, places) in lists.items()}
        splits.check_ground(ground, self.buffer, where=str(path))
        #: whether patches were compared by their corners; else by boxes in degrees, as older lists hold no corners
        self.has_corners = self.frame == "image" or all(places.ndim == 3 for places in ground.values())

    @property
    def buffer(self) -> float:
        """Width of the buffer around validation and test ground: in metres, on no map in pixels after looks."""
        buffer: float = self.content["settings"]["buffer_m" if self.frame == "map" else "buffer_px"]
        return buffer

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of ``dataset.json``, which holds the hashes of all other files: the dataset's identity.

        It is given only if the stores that are there have these hashes; of the processes that ``torchrun`` starts on a
        machine one looks.

        Raises:
            Alos2TutError: a store that is not what was built.
        """
        is_first_here = process_number("LOCAL_RANK") == 0
        for path in (self.path / name for name in _ARRAYS if is_first_here and (self.path / name).exists()):
            with system_errors_named(path, "cannot be read"):
                if content_hash(path) != self.files[path.name][1]:
                    raise _broken("was changed since the dataset was built", path)
        return sha256_file(self.path / "dataset.json")

    def ground(self, name: str) -> NDArray[np.float64]:
        """Where the patches of a list lie, as :mod:`.splits` compares it, (n, …)."""
        ground = self._read_numbers(name)[1]
        return ground if self.has_corners or ground.ndim == 2 else splits.enclosing_boxes(ground)

    @public
    def split(self, name: str, statistics: Statistics | None = None) -> Split:
        """One of :data:`SPLITS`.

        Args:
            name: of the list.
            statistics: what its images are standardised by: those of the encoder or segmenter that is to read them;
                None: the dataset's own.

        Raises:
            Alos2TutError: an unknown split, a store that is missing or does not hold what ``dataset.json`` says, a list
                that names rows that are not there.
        """
        if name not in SPLITS:
            raise Alos2TutError(f"unknown split '{name}'", where=self.path, remedy=closest(name, SPLITS))
        store, side = STORE_OF[name], self.patch_px
        patches = self._array(f"{store}_db.npy", np.dtype(np.int16), (self.channels, side, side))
        labels = self._array(f"{store}_labels.npy", np.dtype(np.uint8), (side, side))
        if len(patches) != len(labels):
            raise _broken(
                f"holds {len(labels)} patches, and {store}_db.npy {len(patches)}", self.path / f"{store}_labels.npy"
            )
        rows = self._rows[name]
        outside = rows[(rows < 0) | (rows >= len(patches))]
        if len(outside):
            raise _broken(f"names row {outside[0]} of {len(patches)}", self.path / f"{name}.csv")
        standard = statistics or self.statistics
        if len(standard.mean_db) != self.channels:
            problem = f"of {len(standard.mean_db)} channels do not fit patches of {self.channels}"
            raise Alos2TutError(problem, where="statistics", remedy="Take those of a network for such patches.")
        return Split(name, patches, labels, rows, self.tables[name], standard, self)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {len(self.tables[name])}" for name in SPLITS)
        signal = f"{self.content['quantity']} {'+'.join(self.content['polarizations'])}"
        of = f"{self.patch_px} × {self.patch_px} px, {signal}, {len(self.legend)} classes"
        return f"<PatchDataset {self.path.name}{' (simulated)' if self.simulated else ''}: {of}; patches: {counts}>"

    def describe(self) -> str:
        """What the dataset holds, in a few lines."""
        content = self.content
        counts = ", ".join(f"{name} {len(self.tables[name])}" for name in SPLITS)
        sides_m = content["spacing_m"]
        spacing = " of unknown size" if sides_m is None else f" of {' × '.join(f'{side:g}' for side in sides_m)} m"
        means, spreads = (", ".join(f"{x:g}" for x in of) for of in (self.statistics.mean_db, self.statistics.std_db))
        size = sum(size for size, _ in self.files.values())
        lines = {
            "dataset": f"{self.path.name}{' (simulated data)' if self.simulated else ''}",
            "patches": f"{counts}; {self.patch_px} × {self.patch_px} pixels{spacing}",
            "signal": f"{content['quantity']} {'+'.join(content['polarizations'])}, mean {means}, spread {spreads} dB",
            "products": f"{len(content.get('products', []))} used, {len(content.get('left_out', []))} left out",
            "size": f"{bytes_text(size)} in {len(self.files)} files, version {content.get('version', '?')}",
        }
        if self.frame == "image":
            lines["place"] = f"in pixels of each product, on no map; buffer {self.buffer} px"
        if not self.has_corners:
            lines["lists"] = "without corners: ground is proved apart by boxes in degrees"
        return f"{table(lines.items())}\n\n{self._class_table()}"

    def _class_table(self) -> str:
        """Shares of the classes in each labelled list."""
        counts = {name: self.content["splits"][name]["class_pixels"] for name in ("train", "val", "test")}
        shares = (
            (name, *(f"{100 * of[name] / max(sum(of.values()), 1):.2f}" for of in counts.values()))
            for name in self.legend.names
        )
        return table(shares, ("% of labelled pixels", *counts), "<>")

    def _check_sizes(self) -> None:
        """Stores that are there have the bytes that were built; one that is missing is named by :meth:`split`."""
        for path in (self.path / name for name in _ARRAYS if (self.path / name).exists()):
            size, built = path.stat().st_size, self.files[path.name][0]
            if size != built:
                raise _broken(f"has {size} bytes, not the {built} that were built", path)

    def _list_text(self, name: str) -> io.TextIOWrapper:
        """A list's file as text, if it is the one that was built."""
        path = self.path / f"{name}.csv"
        if path.exists() and not path.is_file():  # which may have no end
            raise _broken("is no regular file", path)
        with system_errors_named(path, "the list cannot be read"), open(path, "rb") as file:
            content = file.read(self.files[path.name][0] + 1)
        if (len(content), hashlib.sha256(content).hexdigest()) != self.files[path.name]:
            raise _broken("was cut or edited since the dataset was built", path)
        return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")

    def _read_table(self, name: str) -> list[dict[str, str]]:
        try:
            return list(csv.DictReader(self._list_text(name)))
        except (UnicodeDecodeError, csv.Error) as error:
            raise Alos2TutError(f"the list cannot be read ({error})", where=self.path / f"{name}.csv") from None

    def _read_numbers(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Of a list: the rows of the store, (n,), and the patches' corners, (n, 4, 2), or boxes, (n, 4).

        On no map the numbers of their products and boxes, (n, 5), as :mod:`.splits` compares them.
        """
        is_image, columns = self.frame == "image", ["Row", *BOX_COLUMNS]
        numbers = {product["name"]: number for number, product in enumerate(self.content.get("products", []))}
        text = self._list_text(name)
        try:
            header = next(csv.reader(text), [])
            if has_corners := not set(CORNER_COLUMNS).isdisjoint(header):
                columns += CORNER_COLUMNS
            columns += ["Product"] * is_image
            places = [header.index(column) for column in columns]
            with warnings.catch_warnings():
                # a list may be empty
                warnings.simplefilter("ignore", UserWarning)
                style: dict[str, Any] = {"delimiter": ",", "quotechar": '"', "comments": None, "ndmin": 2}
                style |= {"converters": {places[-1]: numbers.__getitem__}} if is_image else {}
                values = np.loadtxt(text, usecols=places, **style)
            values = values.reshape(-1, len(columns))
            if not (np.abs(values[:, 0]) < 2**53).all() or (values[:, 0] % 1).any():
                raise ValueError("rows are whole numbers")
        except (ValueError, LookupError, csv.Error):
            raise Alos2TutError(
                f"a column of {', '.join(columns)} is missing or broken", where=self.path / f"{name}.csv"
            ) from None
        boxes = ground = values[:, 1:5]
        if is_image:
            ground = values[:, [-1, 1, 4, 3, 2]]
        if has_corners:
            corners = values[:, 5:13].reshape(-1, 4, 2)
            with np.errstate(invalid="ignore"):
                off = _boxes_of(corners, self.frame) - boxes
                if not is_image:
                    ground, off[:, ::2] = corners, geometry.beside(off[:, ::2], 0)
            # rounded in the lists; what is no number is told by what reads the ground
            if (wrong := (np.abs(off) > 1e-6).any(axis=1)).any():
                problem = f"row {np.argmax(wrong) + 1}: the corners are not those of {', '.join(BOX_COLUMNS)}"
                raise Alos2TutError(problem, where=self.path / f"{name}.csv", remedy="Build the dataset anew.")
        return values[:, 0].astype(np.int64), ground

    def _array(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """A store's array, mapped, of patches of this shape."""
        path = self.path / name
        array = mapped_array(path)
        if array.dtype != dtype or array.shape[1:] != shape:
            raise _broken(f"holds {array.dtype} {array.shape}, not {dtype} patches of {shape}", path)
        return array


def mapped_array(path: Path) -> np.memmap[Any, Any]:
    """Map an array of a file in NumPy's format for reading.

    Raises:
        Alos2TutError: a file that is missing, cut or damaged.
    """
    try:
        with system_errors_named(path, "cannot be mapped"):
            array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, TokenError) as error:
        raise _broken(f"cannot be mapped ({error})", path) from None
    return array


@public
def open_dataset(path: str | Path) -> PatchDataset:
    """Open a dataset folder.

    Args:
        path: the folder.

    Raises:
        Alos2TutError: no dataset there, one of another schema, a description with a field that cannot be, a list or
            store that was cut or edited, or ground of validation or test in another list. A store that is missing is
            named by :meth:`PatchDataset.split`, when it is asked for.
    """
    return PatchDataset(Path(path), read_description(path))


def _reopened(path: Path, name: str, statistics: Statistics) -> Split:
    return open_dataset(path).split(name, statistics)


# --- what builders of datasets write


def our_columns(
    row: int,
    block: NDArray[np.int64],
    valid: float,
    labelled: float,
    corners: NDArray[np.float64],
    frame: Frame = "map",
) -> dict[str, object]:
    """Those of :data:`OUR_COLUMNS` that say what is in a patch and on which ground it lies.

    Args:
        row: of the store.
        block: (2,) or (3,) of ground, see :func:`.splits.ground_blocks`.
        valid, labelled: shares of the pixels with data, and with a label.
        corners: (4, 2) longitude and latitude, or column and row on no map, in the order of :data:`CORNER_COLUMNS`.
        frame: of the dataset.
    """
    [box] = _boxes_of(corners[None], frame)
    # pixels are whole numbers
    decimals = (7, splits.CORNER_DECIMALS) if frame == "map" else (0, 0)
    sides = {side: f"{value:.{decimals[0]}f}" for side, value in zip(BOX_COLUMNS, box, strict=True)}
    sides |= {name: f"{value:.{decimals[1]}f}" for name, value in zip(CORNER_COLUMNS, corners.ravel(), strict=True)}
    columns = {"Row": int(row), "Block": "_".join(map(str, block))}
    return {**columns, "ValidFraction": f"{valid:.4f}", "LabelledFraction": f"{labelled:.4f}", **sides}


def _boxes_of(corners: NDArray[np.float64], frame: Frame) -> NDArray[np.float64]:
    """What :data:`BOX_COLUMNS` hold of patches with these corners, (N, 4, 2): west, south, east, north.

    On no map south is the lower edge, and so the larger row.
    """
    if frame == "map":
        return splits.enclosing_boxes(corners)
    (left, upper), (right, lower) = corners.min(axis=1).T, corners.max(axis=1).T
    return np.stack([left, lower, right, upper], axis=1)


def describe_content(
    folder: Path,
    legend: Legend,
    patches: Mapping[str, int],
    class_pixels: Mapping[str, NDArray[np.int64]],
    sums: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """What ``dataset.json`` says of classes, statistics and files.

    Args:
        folder: holds the stores and the lists, and nothing else that ends so.
        legend: of the labels.
        patches: in each list.
        class_pixels: (C,) of each list.
        sums: by channel, of the store of the list ``pretrain``; see :func:`step_sums`.

    Raises:
        Alos2TutError: no pixel of ``pretrain`` has data, or none of ``train`` a label.
    """
    files = sorted(file for file in folder.iterdir() if file.suffix in (".npy", ".csv"))
    counts = {name: [int(n) for n in pixels] for name, pixels in class_pixels.items()}
    return {
        "legend": legend.to_dict(),
        "statistics": Statistics.from_sums(sums, where="the list 'pretrain'").to_dict(),
        "splits": {
            name: {"patches": patches[name], "class_pixels": dict(zip(legend.names, counts[name], strict=True))}
            for name in SPLITS
        },
        "class_weights": [round(float(weight), 8) for weight in class_weights(class_pixels["train"])],
        "files": {file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)} for file in files},
    }


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``dataset.json`` with a hash of it all, by which a change can be told."""
    # as it is read again: keys of meanings are numbers here, and texts there, which sort otherwise
    plain: dict[str, Any] = json.loads(json.dumps({key: value for key, value in content.items() if key != "seal"}))
    return plain | {"seal": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}


def batch_indices(n: int, batch_size: int, seed: int, micro_batch: int) -> NDArray[np.int64]:
    """The samples of one micro-batch of an endless, shuffled stream: a permutation of all, then another, and so on.

    The answer depends on nothing but the arguments, so a run can start again at any micro-batch.

    Args:
        n: number of samples.
        batch_size: samples per micro-batch, over all processes.
        seed: the run's seed.
        micro_batch: which one, from 0.

    Returns:
        (batch_size,) int64 positions in the list.
    """
    positions = np.arange(micro_batch * batch_size, (micro_batch + 1) * batch_size)
    epochs, places = np.divmod(positions, n)
    indices = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        indices[here] = _shuffled(n, seed, int(epoch))[places[here]]
    return indices


@lru_cache(maxsize=2)
def _shuffled(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of an epoch, kept for its other batches: a micro-batch may reach over the end of one."""
    order = np.random.default_rng([seed, epoch]).permutation(n)
    order.setflags(write=False)
    return order
