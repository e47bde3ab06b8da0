"""How many examples a property is tried on."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> settings:
    """So many examples in the suite, and as many times more in ``make soak`` as its profile says."""
    return settings(max_examples=count * settings.default.max_examples // 100)
