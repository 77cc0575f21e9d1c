from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of large files are remembered in a folder of the test, not in the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small picture of one colour (and a gradient, so that JPEG has something to do)."""

    def write(name: str, colour: tuple[int, int, int] = (200, 30, 30), folder: Path | None = None) -> Path:
        path = (folder or tmp_path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((24, 32, 3), colour, dtype=np.uint8)
        pixels[:, :, 2] = np.arange(32) * 4
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def matrices(tmp_path: Path) -> Callable[..., Path]:
    """Writes a random ``[rows, dim]`` .npy file."""

    def write(name: str, rows: int, dim: int, seed: int = 0) -> Path:
        path = tmp_path / name
        np.save(path, np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32))
        return path

    return write
