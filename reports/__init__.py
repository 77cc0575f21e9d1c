"""Figures of runs, each a function of a data frame and, if given, of the ``ax`` to draw into.

``import reports`` is light; matplotlib is imported by the first figure. Types: ``__init__.pyi``.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "connectors": "worth",
    "costs": "costs",
    "curves": "curves",
    "frontier": "worth",
    "heatmap": "heatmap",
    "ranks": "ranks",
    "scaling": "scaling",
}
"""Figure -> its module in ``reports.figures``."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    return getattr(importlib.import_module(f"reports.figures.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = ["connectors", "costs", "curves", "frontier", "heatmap", "ranks", "scaling"]
