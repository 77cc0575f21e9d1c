"""Which candidates the noise does not separate from the best one: multiple comparisons with the best."""

import numpy as np
from jaxtyping import Float, Int

LEVEL = 0.95
"""Of the simultaneous interval."""


def not_separated(
    mean: Float[np.ndarray, " candidates"],
    draws: Float[np.ndarray, "draws candidates"],
    covariance: Float[np.ndarray, "candidates candidates"],
    *,
    level: float = LEVEL,
    indifference: float = 0.0,
) -> Int[np.ndarray, " kept"]:
    """Candidates whose difference from the best lies within a simultaneous interval, best first.

    Multiple comparisons with the best (Hsu 1981, 1984), with critical values from joint draws of the noise: the
    greatest studentised difference from the draw's own best (max-t; Westfall & Young 1993). Candidates that are
    separated leave, and the others are compared again among themselves until none leaves (Hansen, Lunde & Nason 2011):
    of candidates that are equally good and better than the others, all are kept together with probability ``level``.

    Args:
        mean: Scores, larger is better, all finite.
        draws: Joint draws of their noise, around zero.
        covariance: Of the noise. That of few draws would be too well fitted by the very same draws.
        level: Of the simultaneous interval.
        indifference: A candidate that cannot be better than the best by more than this leaves too, ties excepted.

    Returns:
        Their positions.
    """
    left = np.arange(len(mean))
    while True:
        close = _close(mean[left], draws[:, left], covariance[np.ix_(left, left)], level, indifference)
        if close.all():
            return left[np.argsort(-mean[left], kind="stable")]
        left = left[close]


def _close(
    mean: Float[np.ndarray, " pairs"],
    draws: Float[np.ndarray, "draws pairs"],
    covariance: Float[np.ndarray, "pairs pairs"],
    level: float,
    indifference: float,
) -> np.ndarray:
    """Whether each candidate is within the simultaneous interval of the best."""
    variance = np.diag(covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 1e-30))
    first = draws.argmax(axis=1)
    gaps = (draws[np.arange(len(draws)), first][:, None] - draws) / error[first]
    limit = np.quantile(gaps.max(axis=1), level)
    best = int(mean.argmax())
    behind = mean[best] - mean
    return np.asarray(behind <= np.maximum(limit * error[best] - indifference, 0.0))
