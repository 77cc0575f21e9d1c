"""Could an unrelated score rank the pairs as well? A permutation test that keeps what pairs of one encoder share.

Pairs are not exchangeable: all pairs of a good encoder are good. Permuting them one by one therefore makes nearly every
score that depends on encoders look related. What may be exchanged under the hypothesis that a score knows nothing of
the encoders is the encoders: rows and columns of the grid, each as a whole (Mantel 1967; Good 2005, chapter 8).
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Integer

_AT_ONCE = 2_000_000
_ENTRIES = 4_000_000
"""Permutations x pairs x seeds that are tried by default."""
_LEAST = 3
"""Pairs that a correlation takes at least."""


def permutation_p(
    scores: Float[np.ndarray, "seeds pairs"],
    truth: Float[np.ndarray, "seeds pairs"],
    encoders: Integer[np.ndarray, "pairs 2"],
    *,
    permutations: int | None = None,
    seed: int = 0,
) -> float:
    """One-sided p-value of the mean Spearman correlation over seeds, by permuting image and text encoders of the truth.

    One permutation serves all seeds, so that what they share is kept. All permutations are tried where there are no
    more than asked for, else random ones. Where the grid has holes, a permuted grid is compared on the pairs that both
    then have, whose ranks stay as they were: fewer pairs scatter more, so the test errs on the careful side.

    Args:
        scores: Ranks of the method's scores per seed; NaN where it has none that counts.
        truth: Ranks of the truth per seed, NaN in the same way.
        encoders: Number of each pair's image and text encoder. One encoder on a side leaves the other to be permuted.
        permutations: Random permutations, 9999 by default (fewer on a large grid); the observed order counts as one
            more, so p is never 0.
        seed: Of the permutations.

    Returns:
        Share of orders with a correlation at least as large; NaN when the observed one is undefined.
    """
    observed = _correlation(scores, truth[:, None])[0]
    if not np.isfinite(observed):
        return float("nan")
    sides = [np.unique(side, return_inverse=True)[1] for side in encoders.T]
    permutations = permutations or max(999, min(9999, _ENTRIES // truth.size))
    counts = [int(side.max()) + 1 for side in sides]
    place = np.full(counts, -1)
    place[sides[0], sides[1]] = np.arange(len(encoders))
    holed = np.concatenate([truth, np.full((len(truth), 1), np.nan)], axis=1)  # -1, a hole, is its last column
    exact = math.factorial(counts[0]) * math.factorial(counts[1]) <= permutations + 1
    as_large = 0 if exact else 1
    tried = as_large
    for images, texts in _orders(counts, exact, permutations, seed, max(1, _AT_ONCE // truth.size)):
        drawn = _correlation(scores, holed[:, place[images[:, sides[0]], texts[:, sides[1]]]])
        tried += int(np.isfinite(drawn).sum())
        as_large += int((drawn >= observed - 1e-12).sum())
    return as_large / tried


def _orders(
    counts: list[int], exact: bool, permutations: int, seed: int, at_once: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Orders of the image and of the text encoders, ``[orders, encoders]`` each, some at a time."""
    if exact:
        images, texts = (np.array(list(itertools.permutations(range(count)))) for count in counts)
        both = np.repeat(images, len(texts), axis=0), np.tile(texts, (len(images), 1))
        for start in range(0, len(both[0]), at_once):
            yield both[0][start : start + at_once], both[1][start : start + at_once]
        return
    rng = np.random.default_rng(seed)
    for start in range(0, permutations, at_once):
        rows = min(at_once, permutations - start)
        drawn = [rng.permuted(np.tile(np.arange(count), (rows, 1)), axis=1) for count in counts]
        yield drawn[0], drawn[1]


def _correlation(
    scores: Float[np.ndarray, "seeds pairs"], truth: Float[np.ndarray, "seeds orders pairs"]
) -> Float[np.ndarray, " orders"]:
    """Mean over seeds of the correlation over the pairs that both have; NaN where a seed has too few."""
    found = np.empty(truth.shape[:2])
    for row, (own, other) in enumerate(zip(scores, truth, strict=True)):
        both = np.isfinite(own) & np.isfinite(other)
        count = np.maximum(both.sum(axis=1, keepdims=True), 1)
        x, y = np.where(both, own, 0.0), np.where(both, other, 0.0)
        x = np.where(both, x - x.sum(axis=1, keepdims=True) / count, 0.0)
        y = np.where(both, y - y.sum(axis=1, keepdims=True) / count, 0.0)
        norm = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        enough = (count[:, 0] >= _LEAST) & (norm > 1e-12)
        found[row] = np.where(enough, (x * y).sum(axis=1) / np.where(enough, norm, 1.0), np.nan)
    return found.mean(axis=0)
