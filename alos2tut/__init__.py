"""alos2tut: from ALOS-2 PALSAR-2 products to land-cover maps, by SAR-weighted masked pretraining.

The public names are listed in ``__init__.pyi`` and imported on first use, so that reading a product loads no torch, and
training no rasterio.
"""

import os

import lazy_loader

from .core.environment import leave_out_foreign_data
from .core.version import __version__ as __version__

# Threads that wait for work spin by default. On a busy machine they take time from those that have some: small networks
# were seen to train five times slower. OpenMP reads this when torch is first imported, so it is set before any module
# of ours can do that; whoever sets it keeps their value.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

if any(name in os.environ for name in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH")):
    leave_out_foreign_data()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
