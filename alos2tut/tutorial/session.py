"""What the notebooks stand on: their parameters, checked, and each stage's result, made or found again.

A notebook begins with a cell of parameters; the next cell calls :func:`start`, which refuses names that the notebook
does not know (papermill only warns about them) and returns a :class:`Tutorial`. Asking it for a result makes whatever
is missing upstream, so every notebook runs on its own.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ..configs import STAGES, load_config, split_overrides
from ..core.artifacts import atomic_path, make_folder, named_path, stage_dir
from ..core.cache import content_hash
from ..core.config import settings_for_key
from ..core.errors import Alos2TutError, Alos2TutWarning, closest
from ..core.parallel import cores
from ..core.public import check_type
from ..dataset import splits
from ..dataset.archive import Archive, open_archive, product_paths
from ..dataset.builder import build_dataset
from ..dataset.config import DatasetConfig
from ..dataset.labels import Placement, label_files
from ..dataset.store import PatchDataset, open_dataset
from ..dataset.survey import placement_of
from ..mapping.config import MapConfig
from ..networks.bundle import BUNDLED, Published, is_installed, published_results, read_bundle
from ..products.given import Given
from ..products.opening import open_given, open_product
from ..products.product import Product
from ..products.verify.report import Report, verify_product
from ..simulation.config import SimulateConfig
from ..simulation.scene import RECIPE, simulate_product

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: how the parameters cell begins, and the cell that papermill puts after it
_OURS, _INJECTED = "# Parameters:", "# Parameters\n"
_BY_TEXT = "Put texts in quotes; papermill takes them as they are by -r NAME VALUE."
#: sides of the simulated archive's frames, and a corner west of the border between UTM zones 53 and 54
_ARCHIVE_PX, _ZONE_BORDER = 1024, (137.985, 34.75)


@dataclasses.dataclass(frozen=True)
class Tutorial:
    """One walk through the tutorial: its parameters, and its results on request.

    Args:
        profile: ``quick``, ``laptop`` or ``paper``.
        product: a product to work on, or several: a pattern or a CSV table of paths, of which the first is shown; None:
            a simulated one.
        labels: a label raster that covers it, or a folder of them; None: the simulated scene's.
        legend: a legend's name or file; None: the profile's.
        work_dir: where results live; None: ``work`` beside the notebooks' folder, or here.
        seed: for everything random.
        devices: processes or GPUs to train on; None: the profile's. With several, training runs under ``torchrun``.
        overrides: settings of any stage, separated by semicolons: ``"pretrain.steps=20; dataset.patch_px=64"``.

    Raises:
        Alos2TutError: an unknown profile, stage or key, or a product without labels.
    """

    profile: str = "quick"
    product: str | None = None
    labels: str | None = None
    legend: str | None = None
    work_dir: str | None = None
    seed: int = 0
    devices: int | None = None
    overrides: str = ""

    def __post_init__(self) -> None:
        hints = get_type_hints(Tutorial)
        for field in dataclasses.fields(self):
            value = _as_meant(getattr(self, field.name), str(field.type))
            object.__setattr__(self, field.name, value)
            check_type(field.name, value, hints[field.name], _BY_TEXT)
        for name in ("product", "labels", "legend", "work_dir"):
            if getattr(self, name) is not None:
                named_path(getattr(self, name), name)
        if self.product is not None and self.labels is None:
            raise Alos2TutError(
                "a product of your own needs labels of its ground", where="labels", remedy="Set the parameter 'labels'."
            )
        if self.product is None and self.labels is not None:
            raise Alos2TutError("labels without a product", where="product", remedy="Set the parameter 'product'.")
        for stage in STAGES:
            self.config(stage)  # whatever is wrong in any stage is said before the first one starts

    @cached_property
    def folder(self) -> Path:
        """The folder of all results."""
        if self.work_dir is not None:
            return Path(self.work_dir)
        root = Path(__file__).resolve().parents[2]
        return (root if (root / "notebooks").is_dir() else Path.cwd()) / "work"

    def config(self, stage: str, **values: Any) -> Any:
        """A stage's settings: profile, parameters, then overrides."""
        return load_config(stage, self.profile, **self._shared(stage) | values)

    def given(self, stage: str) -> dict[str, Any]:
        """What the notebook's parameters say of a stage, as :func:`alos2tut.load_config` takes it.

        With it what the data call for: their pixels may have no known size, and labels of an image on no map a place.
        """
        given = self._shared(stage)
        if stage in ("finetune", "evaluate", "map"):
            given |= self.allowed
        if stage == "map":
            given |= {f"label_{name}": value for name, value in vars(self.placement).items() if value is not None}
        return given

    def _shared(self, stage: str) -> dict[str, Any]:
        overrides = split_overrides(self.overrides)[stage]
        shared = {"seed": self.seed, "devices": self.devices, "legend": self.legend}
        # an override names its stage, so it says more than a parameter that all stages share
        named = {entry.partition("=")[0].strip() for entry in overrides}
        known = {field.name for field in dataclasses.fields(STAGES[stage])}
        given = {key: value for key, value in shared.items() if key in known and key not in named and value is not None}
        return {"work_dir": str(self.folder), "overrides": overrides} | given

    @cached_property
    def product_path(self) -> Path:
        """The product: the (first) one given, or the simulated one, which is made if it is not there."""
        return Path(self.archive_paths[0]) if self.product is not None else _simulated(self.config("simulate"))

    @cached_property
    def archive_paths(self) -> tuple[str, ...]:
        """An archive to look at: all products given, or, simulated, one small ground in two seasons and another place.

        The other place lies across the border of two UTM zones.
        """
        if self.product is not None:
            return tuple(path for path, _ in product_paths(self.product))
        small = functools.partial(self.config, "simulate", size_px=_ARCHIVE_PX)
        frames = ({"season": "autumn"}, {"season": "winter"}, {"season": "autumn", "corner": _ZONE_BORDER})
        return tuple(str(_simulated(small(**frame))) for frame in frames)

    @cached_property
    def label_paths(self) -> tuple[str, ...]:
        """The label rasters of the product."""
        return label_files((self.product_path / "labels" if self.labels is None else self.labels,))

    @property
    def placement(self) -> Placement:
        """Where the label rasters lie on a product that lies on no map."""
        return placement_of(self.config("dataset"))

    @cached_property
    def archive_labels(self) -> tuple[str, ...]:
        """The label rasters of :attr:`archive_paths`."""
        if self.product is not None:
            return self.label_paths
        return label_files([Path(path) / "labels" for path in self.archive_paths])

    @cached_property
    def opened(self) -> Product:
        """The product, opened."""
        return open_product(self.product_path, **vars(Given.of(self.config("dataset"))))

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """What the dataset was built of, opened."""
        if self.product is None:
            return (self.opened,)
        archive = open_archive(self.config("dataset", products=self.product), progress=False)
        return tuple(open_given(entry.path, entry.given) for entry in archive.entries)

    @cached_property
    def verified(self) -> Report:
        """What the product's files say of each other."""
        return verify_product(self.product_path, **vars(Given.of(self.config("dataset"))))

    @cached_property
    def dataset_path(self) -> Path:
        """The dataset's folder."""
        products = str(self.product_path) if self.product is None else self.product
        return build_dataset(self.config("dataset", products=products, labels=self.label_paths))

    @cached_property
    def dataset(self) -> PatchDataset:
        """The dataset, opened."""
        return open_dataset(self.dataset_path)

    @cached_property
    def allowed(self) -> dict[str, bool]:
        """What lets weights meet data whose pixels have an unknown size: here both come of this dataset."""
        return {"allow_other_signal": True} if self.dataset.signal["spacing_m"] is None else {}

    @property
    def compares_pretrainings(self) -> bool:
        """Whether notebook 3 pretrains by the sibling methods, too, unless told: where each takes a minute."""
        return self.profile in ("smoke", "quick")

    @property
    def published_weights(self) -> Path | None:
        """The authors' encoder, fetched (``sar_w_simmim_weights``) to ``data`` beside the results; None: not there."""
        fetched = self.folder.parent / "data" / "sar_w_simmim_weights" / "sar_w_simim_encoder.pth"
        return fetched if fetched.is_file() else None

    def longer_run(self, kind: str = "encoder") -> str | None:
        """The word for the weights that come with the package, if they read such data; a line says what, or why not.

        Args:
            kind: ``encoder`` or ``segmenter``.

        Raises:
            Alos2TutError: weights that are damaged or of another version.
        """
        from ..networks.weights import check_signal, load_encoder, load_segmenter

        if not is_installed():
            print("This installation has no weights of the longer run: what follows of it is left out.")
            return None
        of_segmenter = load_segmenter(BUNDLED) if kind == "segmenter" else None
        weights = of_segmenter or load_encoder(BUNDLED)
        wanted = (self.dataset.patch_px, self.dataset.patch_px)
        try:
            check_signal(weights.signal or {}, self.dataset.signal, BUNDLED)
            if of_segmenter is not None:
                of_segmenter.legend.check_same(self.dataset.legend, BUNDLED)
            if weights.image_px != wanted:
                problem = f"reads patches of {weights.image_px} px, these have {wanted}"
                raise Alos2TutError(problem, where=BUNDLED)
        except Alos2TutError as error:
            print(f"The longer run does not fit these data and is left out: it {error.problem}.")
            return None
        print(f"longer run, on simulated scenes only: {read_bundle()[kind]}")
        return BUNDLED

    def published(self) -> list[Published]:
        """What the benchmark of the longer run found, or nothing: see :func:`.published_results`."""
        if is_installed():
            return published_results()
        print("This installation has no results of the longer run.")
        return []

    def map_target(self, segmenter: str | Path, settings: MapConfig) -> Path:
        """The file to map the product to, in a folder named after product, segmenter and settings."""
        from ..networks.weights import weights_path

        of = {"product": self.opened.fingerprint, "segmenter": content_hash(weights_path(segmenter, "segmenter"))}
        stage = "longer_map" if str(segmenter) == BUNDLED else "map"
        target = stage_dir(self.folder, stage, settings_for_key(settings), of) / "landcover.tif"
        make_folder(target.parent)
        return target

    def keep(self, figure: Figure, name: str) -> None:
        """Save a figure in the folder ``figures``, and show it; one of simulated data says so in its corner."""
        from .. import plotting

        figure.draw_without_rendering()
        # all has its place now, and stays there: to lay it out again takes as long as to draw it
        figure.set_layout_engine("none")
        for legend in figure.legends:  # else it moves with the edge where the picture is cut, onto the note
            legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
        if self.opened.simulated:
            box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
            style: dict[str, Any] = {"fontsize": plotting.SMALL, "color": "0.45", "style": "italic"}
            figure.text(box.x1 / width, box.y0 / height, "simulated data", ha="right", va="top", **style)
        make_folder(self.folder / "figures")
        with atomic_path(self.folder / "figures" / f"{name}.png") as temporary:
            figure.savefig(temporary)
        plotting.show_file(figure, self.folder / "figures" / f"{name}.png")


def touching_first(archive: Archive, config: DatasetConfig) -> Archive:
    """Of an archive what touches the ground of its first product; all of it where nobody states where that lies."""
    footprint = archive.entries[0].info["footprint_lonlat"]
    if not footprint:
        return archive
    [area] = splits.enclosing_boxes([footprint])
    return open_archive(dataclasses.replace(config, area=tuple(area)))


def in_small_patches(config: DatasetConfig, product: Product) -> DatasetConfig:
    """The settings for small products: patches half as wide, side by side, in blocks of ground three patches wide."""
    half_px = config.patch_px // 2
    config = dataclasses.replace(config, patch_px=half_px, stride_px=None)
    if product.coordinate_frame == "image":
        return dataclasses.replace(config, block_px=3 * half_px, buffer_px=half_px // 4)
    return dataclasses.replace(config, block_m=3 * half_px * config.looks * product.spacing_m[0])


def _as_meant(value: Any, kind: str) -> Any:
    """A parameter as its type has it: papermill makes numbers of texts such as 2023, and texts of what ``-r`` gives."""
    if "str" in kind and (type(value) is int or isinstance(value, os.PathLike)):
        return str(value)
    return int(value) if "int" in kind and isinstance(value, str) and re.fullmatch("[0-9]+", value) else value


def _simulated(config: SimulateConfig) -> Path:
    """A simulated product, made or found."""
    target = stage_dir(config.work_dir, "simulate", settings_for_key(config), {"recipe": RECIPE})
    if (target / "simulation.json").is_file():
        print(f"reusing {target}")
        return target
    with ThreadPoolExecutor(cores()) as pool:
        return simulate_product(
            target, config.seed, config.size_px, season=config.season, corner=config.corner, executor=pool
        )


def on_devices(train: Callable[[Any], Path]) -> Callable[[Any], Path]:
    """``pretrain`` or ``finetune``, which with several devices trains under ``torchrun``, and then finds the result."""

    def trained(config: Any) -> Path:
        if config.devices > 1:
            _launch(train.__name__, config)
        return train(config)

    return trained


def _launch(command: str, config: Any) -> None:
    """Run one training command in as many processes as there are devices, in a process group of its own.

    Output comes line by line; whoever interrupts the cell ends all processes.

    Raises:
        Alos2TutError: the processes failed; what they said stands above.
    """
    settings = {key: value for key, value in dataclasses.asdict(config).items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.yaml"
        # through JSON, which YAML contains: tuples become lists
        file.write_text(json.dumps(settings), encoding="utf-8")
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.devices}"]
        # the defaults, which fill in what is None, are the profile paper's
        words += ["-m", "alos2tut", command, config.dataset, "--profile", "paper", "--config", str(file)]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        env = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(words, **streams, start_new_session=True, env=env)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", flush=True)
            status = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if status != 0:
        raise Alos2TutError(f"{command} on {config.devices} devices failed with status {status}", where="devices")


def start() -> Tutorial:
    """Check this notebook's parameters and begin.

    Reads the parameters cell and, under papermill, the cell injected after it. From here on the notebook prints the
    package's warnings as notes.

    Raises:
        Alos2TutError: no parameters cell was run before, a name that this notebook does not know, or a parameter that
            means nothing.
    """
    from IPython import get_ipython

    warnings.showwarning = _show_warning
    names: dict[str, Any] = getattr(get_ipython(), "user_ns", {})
    history: list[str] = names.get("In", [])
    own = max((i for i, cell in enumerate(history) if cell.startswith(_OURS)), default=None)
    if own is None:
        # a runner that keeps no history (nbval) injects nothing either: what the parameters cell left is all there is
        if "profile" not in names:
            raise Alos2TutError("no parameters cell was run", where="notebook", remedy="Run the cells in order.")
        return tutorial_from(names)
    known = _assigned(history[own])
    for cell in history[own + 1 :]:
        for name in _assigned(cell) if cell.startswith(_INJECTED) else []:
            if name not in known:
                raise Alos2TutError(f"unknown parameter '{name}'", where="notebook", remedy=closest(name, known))
    for name, hint in names.get("__annotations__", {}).items():
        if name in known and name not in Tutorial.__dataclass_fields__:
            check_type(name, names[name], hint, _BY_TEXT)
    return tutorial_from({name: names[name] for name in known})


def tutorial_from(parameters: Mapping[str, Any]) -> Tutorial:
    """A :class:`Tutorial` from the parameters that it knows; a notebook may have more of its own."""
    fields = {field.name for field in dataclasses.fields(Tutorial)}
    return Tutorial(**{name: value for name, value in parameters.items() if name in fields})


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
    """Print our own warnings among a cell's results: which line of ours gave them tells a reader nothing."""
    if issubclass(category, Alos2TutWarning):
        print(textwrap.fill(f"Note: {message}", 110))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def _assigned(source: str) -> list[str]:
    """Names that a cell's statements assign."""
    nodes = ast.walk(ast.parse(source))
    return [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
