"""Little pictures of noise with captions, where a test needs files that an encoder can read."""

from pathlib import Path

import numpy as np
from PIL import Image


def noise_pictures(folder: Path, count: int, side: int = 16) -> list[str]:
    """Write ``0.png``, ``1.png``, ... of the same noise every time; returns their names."""
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / name)
    return names


def captioned_pictures(folder: Path, count: int, side: int = 16, *, caption: str = "number") -> None:
    """The same with a table ``rows.csv`` of one caption each: ``number 0``, ``number 1``, ..."""
    rows = [f"{name},{caption} {number}" for number, name in enumerate(noise_pictures(folder, count, side))]
    (folder / "rows.csv").write_text("\n".join(["image,caption", *rows]) + "\n", encoding="utf-8")
