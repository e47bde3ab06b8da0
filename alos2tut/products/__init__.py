"""ALOS-2 products as JAXA delivers them: opened, read by window, verified."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
