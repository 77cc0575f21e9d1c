"""Which pretrained image and text encoders should I stitch together, and what is the cheapest trustworthy way to tell?

``import harness`` is light: torch is imported by what needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

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


__all__ = ["__version__", "load"]
