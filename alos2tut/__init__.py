"""alos2tut: from ALOS-2 PALSAR-2 products to land-cover maps, by SAR-weighted masked pretraining.

Names are imported on first use (PEP 562), so reading a product loads no torch, and training no rasterio.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

# Threads that wait for work spin by default. On a busy machine they take time from those that have some: small networks
# were seen to train five times slower. OpenMP reads this when torch is first imported, so it is set before any module
# of ours can do that; whoever sets it keeps their value.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

_HOME = {
    "Alos2TutError": "errors",
    "Alos2TutWarning": "errors",
    "load_config": "config",
    "load_legend": "legend",
    "open_product": "opening",
    "Product": "products",
    "verify_product": "verification",
    "fetch": "downloads",
    "simulate_product": "simulation",
    "build_dataset": "dataset_builder",
    "open_dataset": "dataset",
    "verify_dataset": "checks_dataset",
    "export_patches": "patch_files",
    "import_patches": "patch_files",
    "pretrain": "pretraining",
    "load_encoder": "checkpoints",
    "probe": "probing",
    "finetune": "segmentation",
    "load_segmenter": "checkpoints",
    "evaluate": "evaluation",
    "map_scene": "mapping",
    "convert_checkpoint": "conversion",
    "export_checkpoint": "conversion",
}

__all__ = list(_HOME)

try:
    __version__ = version("alos2tut")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from .checkpoints import load_encoder, load_segmenter
    from .checks_dataset import verify_dataset
    from .config import load_config
    from .conversion import convert_checkpoint, export_checkpoint
    from .dataset import open_dataset
    from .dataset_builder import build_dataset
    from .downloads import fetch
    from .errors import Alos2TutError, Alos2TutWarning
    from .evaluation import evaluate
    from .legend import load_legend
    from .mapping import map_scene
    from .opening import open_product
    from .patch_files import export_patches, import_patches
    from .pretraining import pretrain
    from .probing import probe
    from .products import Product
    from .segmentation import finetune
    from .simulation import simulate_product
    from .verification import verify_product


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
