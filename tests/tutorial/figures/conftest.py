"""Figures are drawn without a window, and without a warning."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
from support import figures

from alos2tut.tutorial import widgets

matplotlib.use("Agg")

drawn_without_warning = pytest.fixture(autouse=True)(figures.drawn_without_warning)


@pytest.fixture
def watched(monkeypatch):
    """Somebody watches the notebook: sliders are made."""
    monkeypatch.setattr(widgets, "is_interactive", lambda: True)
    monkeypatch.setattr(plt, "show", lambda: None)
