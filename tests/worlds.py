"""Simulated test scores with a known truth: what statistics are checked against."""

import numpy as np
from scipy.special import ndtri

from reports.bootstrap import draw_weights
from reports.scores import ReferenceScores


def scored(
    quality: np.ndarray,
    rng: np.random.Generator,
    *,
    seeds: int = 2,
    units: int = 200,
    seed_noise: float = 0.01,
    resamples: int = 300,
    moved: np.ndarray | None = None,
) -> ReferenceScores:
    """Recalls of pairs whose expected recall is ``quality``, on one sample of test units, with their resamples.

    A query is a hit with just that probability. What decides it is shared by all pairs (how hard the query is), by the
    seeds of a pair, or by nobody; seeds also move every pair's quality, and all pairs together, by ``seed_noise`` or as
    ``moved`` says.
    """
    pairs = quality.size
    if moved is None:
        moved = seed_noise * (rng.standard_normal((seeds, pairs)) + rng.standard_normal((seeds, 1)))
    seeds = len(moved)
    limit = ndtri(np.clip(quality.reshape(1, -1) + moved, 1e-6, 1 - 1e-6))
    shared, own, rest = (rng.standard_normal((units, a, b)) for a, b in ((1, 1), (1, pairs), (seeds, pairs)))
    hits = (0.6 * shared + 0.6 * own + np.sqrt(0.28) * rest < limit).reshape(units, -1).astype(float)
    weights = draw_weights(units, resamples=resamples, seed=int(rng.integers(2**31)))
    draws = (weights @ hits / units).reshape(-1, seeds, pairs)
    ran = np.ones((seeds, pairs), dtype=bool)
    return ReferenceScores(hits.mean(axis=0).reshape(seeds, pairs), ran, True, draws, units)


def grid(images: int, texts: int) -> np.ndarray:
    """``[pairs, 2]`` number of the image and the text encoder of every pair of a whole grid."""
    return np.stack([np.repeat(np.arange(images), texts), np.tile(np.arange(texts), images)], axis=1)
