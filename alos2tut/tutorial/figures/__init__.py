"""Figures of the notebooks, one module each."""
