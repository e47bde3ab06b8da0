"""Simulated products of a Japan-like ground, written as JAXA's are."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
