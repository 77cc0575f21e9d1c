"""Small pictures for the report."""

import base64
import io
from collections.abc import Sequence

from PIL.Image import Image

from harness.sweep.resolve import ResolvedSweep

SIDE, QUALITY = 72, 60
"""Of the small JPEGs: longest side in pixels, and quality."""


def thumbnails(resolved: ResolvedSweep, rows: Sequence[int]) -> dict[int, str]:
    """Image row -> a small JPEG in base64.

    Raises:
        HarnessError: A picture cannot be read.
    """
    return {
        row: _small(picture)
        for row, picture in zip(rows, resolved.dataset.samples("image", rows), strict=True)
        if isinstance(picture, Image)
    }


def _small(picture: Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    written = io.BytesIO()
    small.save(written, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(written.getvalue()).decode()
