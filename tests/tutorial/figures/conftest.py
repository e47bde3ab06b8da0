"""Figures are drawn without a window, and without a warning."""

import matplotlib
import pytest
from support import figures

matplotlib.use("Agg")

drawn_without_warning = pytest.fixture(autouse=True)(figures.drawn_without_warning)
