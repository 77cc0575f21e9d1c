"""``synthetic:DIM``: weight-free encoders of real pictures and strings, for smoke runs and tests."""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.encoders.base import Encoder, EncoderInfo, EncoderSpec, Modality
from harness.encoders.common import options_of, small_pixels
from harness.errors import HarnessError

SIDE = 8
BUCKETS = 512
GRAMS = (2, 3, 4)


class SyntheticScheme:
    """The name is the dimension, or any word with the option ``dim`` (default 64). Option: seed, of the projection."""

    def names(self, modality: Modality) -> list[str]:
        """Any name works; these are examples."""
        return ["64", "256"]

    def describe(self, spec: EncoderSpec, modality: Modality) -> EncoderInfo:
        """Closed forms."""
        dim, seed = _settings(spec)
        features = 1 + (3 * SIDE * SIDE if modality == "image" else BUCKETS)
        image = f"RGB, resized to {SIDE}x{SIDE} (box), scaled to [-1, 1]"
        text = f"lower-cased, n-grams of {GRAMS} characters hashed into {BUCKETS} buckets"
        return EncoderInfo(
            id=spec.id,
            modality=modality,
            dim=dim,
            params=features * dim,
            input_size=(3, SIDE, SIDE) if modality == "image" else None,
            revision=f"random projection 1, seed={seed}",
            transform=image if modality == "image" else text,
            flops_per_sample=2.0 * features * dim,
        )

    def check(self, spec: EncoderSpec, modality: Modality) -> None:
        """Nothing is needed."""
        _settings(spec)

    def load(self, spec: EncoderSpec, modality: Modality, *, device: str = "cpu") -> Encoder:
        """Draw the projection."""
        return SyntheticEncoder(self.describe(spec, modality), spec.name, seed=_settings(spec)[1])


class SyntheticEncoder:
    """A seeded Gaussian projection of low-resolution pixels or hashed character n-grams (with a constant feature).

    Args:
        info: What is known of it.
        name: Encoders of different names project differently.
        seed: As do those of different seeds.
    """

    def __init__(self, info: EncoderInfo, name: str, *, seed: int) -> None:
        self.info = info
        features = (info.params or 0) // info.dim
        entropy = hashlib.sha256(f"{info.modality} {name} {seed}".encode()).digest()
        random = np.random.default_rng(int.from_bytes(entropy[:8], "little"))
        self.projection = random.standard_normal((features, info.dim), dtype=np.float32) / np.float32(np.sqrt(features))

    def encode(self, samples: Sequence[Any]) -> Float[np.ndarray, "n dim"]:
        """Embed PIL images or strings: float32 ``[n, dim]``, not normalised."""
        features = np.ones((len(samples), len(self.projection)), np.float32)
        for row, sample in enumerate(samples):
            features[row, 1:] = self._features(sample)
        return features @ self.projection

    def forward_flops(self) -> float | None:
        """One matrix product."""
        return self.info.flops_per_sample

    def _features(self, sample: Any) -> Float[np.ndarray, " features"]:
        if self.info.modality == "text":
            return hashed_grams(sample)
        return small_pixels(sample, SIDE)


def hashed_grams(text: str) -> Float[np.ndarray, " buckets"]:
    """``[BUCKETS]`` signed counts of a text's character n-grams, with a space at both ends."""
    counts, padded = np.zeros(BUCKETS, np.float32), f" {text.lower()} "
    for length in GRAMS:
        for start in range(len(padded) - length + 1):
            code = zlib.crc32(padded[start : start + length].encode())
            counts[code % BUCKETS] += 1 if code & 0x80000000 else -1
    return counts


def _settings(spec: EncoderSpec) -> tuple[int, int]:
    """(dim, seed).

    Raises:
        HarnessError: An unknown option, or no positive dimension.
    """
    stated = spec.dim or 64
    options = options_of(spec, dim=int(spec.name) if spec.name.isdecimal() else stated, seed=0)
    if options["dim"] < 1:
        raise HarnessError(f"dimension {options['dim']} is not positive", where=spec.id)
    return options["dim"], options["seed"]
