"""Which pairs these test units and seeds do not separate from the best one."""

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, t

from reports.noise import mean_noise
from reports.scores import ReferenceScores


def not_separated(truth: ReferenceScores, *, level: float = 0.95, seed: int = 0) -> list[int] | None:
    """Pairs whose difference from the best lies within a simultaneous interval, best first, the best among them.

    Multiple comparisons with the best (Hsu 1981, 1984), with critical values from a bootstrap of the greatest
    studentised difference (max-t; Westfall & Young 1993): the best pair is whichever came out best, so every joint draw
    of the noise is compared with the draw's own best. Pairs that are separated leave, and the others are compared
    again among themselves until none leaves (Hansen, Lunde & Nason 2011): of pairs that are equally good and better
    than the others, all are kept together with probability ``level``.

    Args:
        truth: The reference's test scores.
        level: Of the simultaneous interval.
        seed: Of the draws of seed noise, of which there is some with two seeds or more.

    Returns:
        Numbers of the pairs; None where there is nothing to resample.
    """
    noise, mean = mean_noise(truth, seed=seed), truth.mean
    left = np.flatnonzero(np.isfinite(mean))
    if noise is None or not len(left):
        return None
    freedom = 1 / (1 / (truth.units or len(noise.draws)) + 1 / len(noise.draws))
    while True:
        close = _close(mean[left], noise.draws[:, left], noise.covariance[np.ix_(left, left)], level, freedom)
        if close.all():
            return [int(pair) for pair in left[np.argsort(-mean[left], kind="stable")]]
        left = left[close]


def _close(
    mean: Float[np.ndarray, " pairs"],
    draws: Float[np.ndarray, "draws pairs"],
    covariance: Float[np.ndarray, "pairs pairs"],
    level: float,
    freedom: float,
) -> np.ndarray:
    """Whether each pair is within the simultaneous interval below the best.

    The greatest of many differences tends to be one whose standard error came out too small, which the draws, all of
    one set of standard errors, do not show. The critical value is therefore taken from the normal to the t-distribution
    of as many degrees of freedom as the standard errors have.
    """
    variance = np.diag(covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 1e-30))
    first = draws.argmax(axis=1)
    gaps = (draws[np.arange(len(draws)), first][:, None] - draws) / error[first]
    limit = -t.ppf(norm.cdf(-np.quantile(gaps.max(axis=1), level)), freedom)
    best = int(mean.argmax())
    return np.asarray(mean[best] - mean <= limit * error[best])
