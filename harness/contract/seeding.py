"""Random streams that belong to a name, so that no two purposes ever draw the same numbers.

numpy gives ``default_rng(0)`` and ``default_rng([0, 0])`` one and the same stream, so numbers alone do not keep streams
apart. Every stream here starts from a hash of the seed and of what it is for.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _state(seed: int, names: tuple[str | int, ...]) -> int:
    digest = hashlib.sha256("\0".join(map(str, (seed, *names))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch generator on the CPU for this seed and purpose."""
    import torch  # here, because a report draws numpy streams and needs no torch

    return torch.Generator().manual_seed(_state(seed, names))


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for this seed and purpose, e.g. ``stream(seed, "data order", epoch)``."""
    return np.random.default_rng(_state(seed, names))
