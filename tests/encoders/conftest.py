import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.encoders.base import EncoderSpec, Modality, scheme_of
from harness.errors import HarnessError


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """Pictures of several shapes, one of them with a palette and one grey: what datasets hold."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 60), (64, 64), (300, 200), (30, 90))]
    images = [Image.fromarray(pixels).resize((pixels.shape[1] * 4, pixels.shape[0] * 4)) for pixels in noise]
    return [*images, images[0].convert("P"), images[1].convert("L")]


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache, and a hub that refuses connections; returns the cache's folder."""
    from huggingface_hub import constants

    from harness.encoders import hub

    cache = tmp_path / "hub cache"
    cache.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub._answers.cache_clear()
    return cache


@pytest.fixture
def calls_to_hub(no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """(host, port) of every server that anybody has tried to reach, each time; none answers."""
    tried: list[object] = []
    look_up = socket.getaddrinfo

    def noted(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        tried.append((host, port))
        return look_up(host, port, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    return tried


def fill_cache(cache: Path, repo: str, files: dict[str, bytes]) -> None:
    """Lay files out as the hub's client does."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)


@pytest.fixture
def cached(no_hub: Path) -> Callable[[str, dict[str, bytes]], None]:
    """Put a repository's files into the hub cache, with the hub unreachable."""
    return lambda repo, files: fill_cache(no_hub, repo, files)


@pytest.fixture
def fails() -> Callable[..., str]:
    """Describe, check and load an encoder that cannot be had; returns the one line."""

    def fails(name: str, modality: Modality, **options: object) -> str:
        spec = EncoderSpec(name, options=options)
        with pytest.raises(HarnessError) as caught:
            scheme = scheme_of(spec)
            scheme.describe(spec, modality)
            scheme.check(spec, modality)
        message = str(caught.value)
        assert "\n" not in message and re.match(re.escape(name), message)
        with pytest.raises(HarnessError):
            scheme_of(spec).load(spec, modality)
        return message

    return fails
