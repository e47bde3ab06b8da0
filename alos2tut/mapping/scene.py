"""Maps of whole products: land cover, and how sure of it a segmenter is, at any size."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..core.artifacts import atomic_path, write_json
from ..core.errors import Alos2TutError, warn
from ..core.public import public
from ..core.version import __version__
from ..dataset.labels import LabelMap, Placement, label_files
from ..dataset.legend import IGNORE
from ..headlines import in_words, of_map
from ..networks.inference import device_of, load_on_best_device
from ..networks.passes import pass_size
from ..networks.segmenter import Segmenter
from ..networks.tiling import TileGrid
from ..networks.weights import weights_path
from ..products.given import Given
from ..products.metadata import ImageGrid
from ..products.opening import open_product
from ..products.product import Product
from ..products.rasters import check_tif_name, write_cog
from .agreement import map_agreement
from .config import MapConfig
from .files import HEADLINE, MapFile, label_frame, map_file, place_of
from .matching import MatchedProduct, match
from .rows import STEPS, KeptRows, MapPlan, kept_rows, map_missing, weights_hash
from .sidecars import write_sidecars

#: bytes of a file's name that file systems take, less what a temporary one beside it has more
_LONGEST_NAME = 255 - 24
#: rasters that are written, and what the band of each is; then what is made of them
_BANDS = {
    "classes": "land-cover class",
    "probability": "probability of the mapped class",
    "entropy": "entropy of the class probabilities over its largest value, ln(classes)",
}
_BESIDE = ("difference", "agreement", "preview")
#: what :mod:`.sidecars` writes
_SIDECARS = ("categories", "style", "stac")


@public
def map_scene(
    product: Product | str | Path,
    segmenter: Any,
    out_path: str | Path,
    config: MapConfig = MapConfig(),  # noqa: B008 (it is frozen)
    *,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> Path:
    """Map a whole product to a Cloud-Optimized GeoTIFF of class indices.

    Tiles of the segmenter's own size lie on a fixed grid and overlap; their class probabilities are blended with
    weights that sum to one, so no seam shows. Memory holds one row of tiles, however large the product is.

    A run that is stopped leaves ``<out_path>.partial``; the same call goes on from there, and the map is the same as in
    one go, bit for bit on a device of the same kind with as many threads. A map that is there already and was made of
    the same product, segmenter and settings is left as it is.

    Args:
        product: a product, or the path of one, which is opened as ``config`` says. Where it lies on no map (slant
            range, a bare array) neither does what is made: a TIFF in the same frame, without a coordinate system, whose
            tags say so.
        segmenter: a loaded segmenter, which stays on its device, or its file or folder, which goes to a GPU if there is
            one. Anything will do that maps standardised dB (B, C, H, W) to logits (B, classes, H, W) and has
            ``image_px``, ``statistics``, ``legend`` and ``signal``; but only what :func:`alos2tut.load_segmenter` gives
            is known again. Of a module in training mode a copy is used, in evaluation mode.
        out_path: the GeoTIFF to write (whole or not at all), with colour table, 255 for no data, overviews, and tags of
            class names and of what it was made from. Other files are named like it, by
            :func:`alos2tut.mapping.files.map_file`; so are class names for GIS programs and a STAC item
            (:mod:`alos2tut.mapping.sidecars`).
        config: all else; the agreement with its labels is :func:`alos2tut.mapping.agreement.map_agreement`'s.
        executor: who does the work, on machines that see the same files: processes of
            :func:`alos2tut.core.parallel.process_pool`, devices of :class:`alos2tut.mapping.rows.DeviceExecutor`, or
            any other, as Dask's or MPI's. Other processes load the segmenter for themselves, if it is given by its
            file. None: this thread.
        progress: show a bar; None: only where someone watches.

    Returns:
        ``out_path``.

    Raises:
        Alos2TutError: another quantity, polarisation or pixel size than the segmenter was trained on, an overlap of
            more than seven eighths of the tile, an ``out_path`` that is not named ``.tif``, is a folder, a file of the
            product or another input, holds something else, or whose folder is missing, labels that do not lie there,
            files of different scenes, damaged pixels, a full disk, or a segmenter that gives no numbers.
    """
    out_path = _checked_out_path(out_path)
    product = _opened(product, config, out_path)
    product.check_one_scene()
    draw = _preview() if config.preview else None
    model = _ready(segmenter)
    plan = _planned(product, model, config)
    labels, placement = _touching_labels(config, plan, model, out_path)
    made_from = _made_from(plan, model)
    is_new = not all(_is_made_from(out_path, name, made_from) for name in plan.names)
    if not is_new:
        print(f"reusing {out_path}")
    else:
        files = (*plan.names, *("difference", "agreement") * bool(labels), *("preview",) * config.preview, *_SIDECARS)
        _check_nothing_is_lost(out_path, files, made_from, segmenter, overwrite=config.overwrite)
        with kept_rows(out_path, plan, made_from) as kept:
            map_missing(kept, segmenter, model, executor, progress)
            _assemble(kept, out_path, model, made_from)
        for name in (*_BANDS, *_BESIDE) if config.overwrite else ():
            if name not in files:
                map_file(out_path, name).unlink(missing_ok=True)
    if draw is not None:
        with atomic_path(map_file(out_path, "preview")) as temporary:
            draw(out_path).savefig(temporary, format="png", dpi="figure")
    write_sidecars(out_path, replace=is_new)
    headlines = [MapFile.open(out_path).tags.get(HEADLINE, "")]
    if labels:
        report = map_agreement(
            out_path, labels, model.legend, map_file(out_path, "difference"), placement, progress=progress
        )
        write_json(map_file(out_path, "agreement"), report)
        headlines.append(in_words(report["headlines"]))
    if told := "; against the labels, ".join(filter(None, headlines)):
        warn(f"{out_path}: {told}.")
    return out_path


def _checked_out_path(out_path: str | Path) -> Path:
    """The path of a map, unless the map cannot or must not go there, which is refused before any work."""
    if not isinstance(out_path, (str, Path)):
        raise Alos2TutError(f"{out_path!r} is no path", where="out_path", remedy="Name the file to write.")
    path = Path(out_path)
    if path == Path(path.anchor):
        raise Alos2TutError("is a folder", where=path, remedy="Name the file to write, as in map.tif.")
    longest = map_file(path, "probability").name.encode(errors="replace")
    is_utf8 = str(path).encode(errors="replace").decode() == str(path)
    if "\0" in str(path) or not is_utf8 or len(longest) > _LONGEST_NAME:
        remedy = f"Take a name in UTF-8 that makes at most {_LONGEST_NAME} bytes with what is added to it."
        raise Alos2TutError("no file and those beside it can be named so", where=ascii(str(path)), remedy=remedy)
    if path.is_dir():
        raise Alos2TutError("is a folder", where=path, remedy="Name the file to write, as in map.tif.")
    if not path.parent.is_dir():
        raise Alos2TutError("the folder does not exist", where=path.parent, remedy="Create it first.")
    check_tif_name(path, f"; the picture is {map_file(path, 'preview').name}")
    return path


def _opened(product: Product | str | Path, config: MapConfig, out_path: Path) -> Product:
    """The product, none of whose files a map at this path would replace."""
    product = product if isinstance(product, Product) else open_product(product, **vars(Given.of(config)))
    for name in (*_BANDS, *_BESIDE, *_SIDECARS):
        product.check_target(map_file(out_path, name))
    return product


def _preview() -> Callable[[Path], Any]:
    """What draws a map's picture; what stands against it is told before the map is made."""
    if find_spec("matplotlib") is None:
        remedy = 'Install it (pip install "alos2tut[notebooks]"), or do without (preview).'
        raise Alos2TutError("a preview needs matplotlib, which is not installed", where="preview", remedy=remedy)
    try:
        from .preview import preview
    except ValueError as error:
        remedy = "Unset it, or do without (preview)."
        raise Alos2TutError(f"matplotlib cannot begin ({error})", where="MPLBACKEND", remedy=remedy) from None
    return preview


def _ready(segmenter: Any) -> Any:
    """A segmenter in evaluation mode; what is given stays as it is, since others may be using it."""
    model = load_on_best_device(segmenter) if isinstance(segmenter, (str, Path)) else segmenter
    wanted = ("image_px", "statistics", "legend", "signal", "__call__")
    if lacking := ", ".join(name for name in wanted if not hasattr(model, name)):
        problem, remedy = f"is no segmenter: it has no {lacking}", "Give its file, or what load_segmenter gives."
        raise Alos2TutError(f"a {type(model).__name__} {problem}", where="segmenter", remedy=remedy)
    if isinstance(model, nn.Module) and any(part.training for part in model.modules()):
        model = copy.deepcopy(model).eval()
    return model


def _planned(product: Product, model: Any, config: MapConfig) -> MapPlan:
    source = match(product, model, config)
    grid = TileGrid.of(source.shape, model.image_px, config.overlap_px)
    names = ("classes",) + ("probability",) * config.probability + ("entropy",) * config.entropy
    return MapPlan(source, grid, config.batch_size, config.flips, names, len(model.legend))


def _touching_labels(config: MapConfig, plan: MapPlan, model: Any, out_path: Path) -> tuple[tuple[str, ...], Placement]:
    """Label rasters that may lie on the map, and how; refused at once if none does, since mapping takes long."""
    given, placement = config.labels, Placement(config.label_offset, config.label_flip)
    if plan.source.grid.crs is not None and placement != Placement():
        problem = "is for images on no map, and the product lies on one"
        raise Alos2TutError(problem, where="label_offset, label_flip", remedy="Leave it out.")
    if not given:
        return (), placement
    own = {map_file(out_path, name).resolve() for name in (*_BANDS, *_BESIDE)}
    if clash := next((path for path in given if Path(path).resolve() in own), None):
        raise Alos2TutError("is a label raster; the map would replace it", where=clash, remedy="Name another map.")
    # an earlier map may lie in the folder of the labels
    paths = [path for path in label_files(given) if Path(path).resolve() not in own]
    with LabelMap(paths, model.legend, placement) as label_map:
        touching = label_map.touching(*label_frame(plan.source.grid, plan.source.shape))
    if not touching:
        raise Alos2TutError("no label raster touches the product", where=", ".join(paths))
    return touching, placement


def _made_from(plan: MapPlan, model: Any) -> dict[str, Any] | None:
    """What decides a map: product, segmenter, settings; None where weights alone do not tell what a segmenter does."""
    if type(model) is not Segmenter:
        return None
    source, product = plan.source, plan.source.product
    return {
        "product": product.fingerprint,
        "calibration_factor_db": product.calibration_factor_db,
        "no_data_dn": list(product.no_data_dn),
        "incidence": product.incidence_source,
        "segmenter": weights_hash(model),
        "polarization": ",".join(source.polarizations),
        "quantity": source.quantity,
        "crs": source.grid.crs and source.grid.crs.to_string(),
        "transform": list(source.grid.transform)[:6],
        "overlap_px": plan.grid.overlap_px,
        "batch": plan.grid.batch(pass_size(plan.batch_size, device_of(model))),
        "flips": plan.flips,
    }


def _is_made_from(out_path: Path, name: str, made_from: dict[str, Any] | None) -> bool:
    """Whether a raster is there, and says that it is this one and was made from the same."""
    if made_from is None:
        return False
    try:
        found = MapFile.open(map_file(out_path, name))
        return found.description == _BANDS[name] and bool(json.loads(found.tags["MADE_FROM"]) == made_from)
    except (Alos2TutError, KeyError, json.JSONDecodeError):
        return False


def _check_nothing_is_lost(
    out_path: Path, names: Sequence[str], made_from: dict[str, Any] | None, segmenter: Any, *, overwrite: bool
) -> None:
    """Refuse to replace the segmenter, or, unless told to, what does not belong to a map made from the same."""
    own = [weights_path(segmenter, "segmenter").resolve()] if isinstance(segmenter, (str, Path)) else []
    for name in names:
        path = map_file(out_path, name)
        if path.resolve() in own:
            raise Alos2TutError("is the segmenter; the map would replace it", where=path, remedy="Name another map.")
        # what lies beside a map is of that map
        band = name if name in _BANDS else "classes"
        if not overwrite and path.exists() and not _is_made_from(out_path, band, made_from):
            problem = "exists, and was not made of this product and segmenter in this way"
            raise Alos2TutError(problem, where=path, remedy="Name another file, or replace it (overwrite).")


def _assemble(kept: KeptRows, out_path: Path, model: Any, made_from: dict[str, Any] | None) -> None:
    """Write the rasters; the map itself last, so that where it is new, so are the others."""
    source = kept.plan.source
    pixels = np.zeros(256, dtype=np.int64)
    for _, layer in kept.layer("classes"):
        pixels += np.bincount(layer.ravel(), minlength=256)
    pixels = pixels[: len(model.legend)]
    if not pixels.any():
        warn(f"{source.product.path}: holds no data, and so does the map.")
    # only of a map that says hardly anything; the bytes of others are as they were
    headline = in_words(of_map(pixels, model.legend.names))
    tags = _tags(source, model, made_from) | ({HEADLINE: headline} if headline else {})
    of_shares: dict[str, Any] = {"scale": 1 / STEPS, "resampling": "average"}
    of_classes: dict[str, Any] = {"colormap": model.legend.colormap(), "resampling": "mode"}
    for name in reversed(kept.plan.names):
        write_cog(
            map_file(out_path, name),
            kept.layer(name),
            shape=source.shape,
            dtype="uint8",
            **place_of(source.grid),
            no_data=IGNORE,
            tags=tags if name == "classes" else _tags(source, model, made_from),
            description=_BANDS[name],
            **of_classes if name == "classes" else of_shares,
        )


def _tags(source: MatchedProduct, model: Any, made_from: dict[str, Any] | None) -> dict[str, str]:
    """What the rasters say of themselves."""
    names = {f"CLASS_{index}": name for index, name in enumerate(model.legend.names)}
    product, header, grid = source.product, getattr(model, "header", {}), source.grid
    names |= grid.tags if isinstance(grid, ImageGrid) else {}
    names |= {"POLARIZATIONS": ", ".join(source.polarizations)} if len(source.polarizations) > 1 else {}
    return names | {
        "PRODUCT": product.image_name(source.polarizations[0]),
        "ACQUIRED": product.acquired or "unknown",
        "LEGEND": model.legend.name,
        "SIGNAL": json.dumps(model.signal),
        "MADE_FROM": json.dumps(made_from),
        "SOFTWARE": f"alos2tut {__version__}",
        "SIMULATED": "yes" if product.simulated else "no",
        "TRAINED_ON_SIMULATED": "yes" if header.get("simulated") else "no" if "simulated" in header else "unknown",
        "SOURCE": product.source,
    }
