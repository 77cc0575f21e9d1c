"""Which pretrained image and text encoders should I stitch together, and what is the cheapest trustworthy way to tell?

``import harness`` is light: torch is imported by what needs it.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from harness.api.runs import OpenRun
    from harness.export.stitched import StitchedModel

__version__ = "0.1.0"


def load(folder: str | Path, *, device: str = "cpu") -> StitchedModel:
    """Open a folder that ``harness export`` wrote.

    Args:
        folder: The exported folder.
        device: Where the encoders and the connector compute.

    Returns:
        A ``StitchedModel`` with ``encode_image``, ``encode_text`` and ``similarity``.

    Raises:
        harness.errors.HarnessError: The folder is not an export, or an encoder cannot be loaded.
    """
    from harness.export.stitched import StitchedModel

    return StitchedModel.load(folder, device=device)


def open_run(folder: str | Path) -> OpenRun:
    """Open a run, finished or not: its ``summary``, ``to_frame()``, ``connector(method, pair)`` and ``export``.

    Args:
        folder: The run's folder, e.g. ``runs/quickstart``.

    Raises:
        harness.errors.HarnessError: No run there.
    """
    from harness.api.runs import OpenRun

    return OpenRun(folder)


def __getattr__(name: str) -> Any:
    if name == "pick":  # torch is imported with it
        return importlib.import_module("harness.api.verbs").pick
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


class _CallableRoom(ModuleType):
    """The package ``harness.sweep``, which is also the function of that name: ``harness.sweep("quickstart.yaml")``."""

    def __call__(self, *args: Any, **options: Any) -> OpenRun:
        """See ``harness.api.verbs.sweep``."""
        return importlib.import_module("harness.api.verbs").sweep(*args, **options)


importlib.import_module("harness.sweep").__class__ = _CallableRoom

__all__ = ["__version__", "load", "open_run"]
