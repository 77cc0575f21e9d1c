"""Random streams that belong to a name: the same whatever else is drawn beside them."""

import hashlib

import torch


def generator(seed: int, *names: str) -> torch.Generator:
    """A generator on the CPU, seeded by the seed and the names."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
