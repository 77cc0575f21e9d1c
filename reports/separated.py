"""Which pairs these test units and seeds do not separate from the best one."""

import numpy as np

from harness.contract import separation
from harness.contract.separation import Factored
from reports.noise import mean_noise
from reports.scores import ReferenceScores


def not_separated(truth: ReferenceScores, *, level: float = separation.LEVEL, seed: int = 0) -> list[int] | None:
    """Pairs whose difference from the best lies within a simultaneous interval, best first, the best among them.

    See ``harness.contract.separation``. The noise is that of test units and of seeds, drawn jointly for all pairs.

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
    covariance = Factored(noise.covariance.factor[:, left], noise.covariance.own[left])
    kept = separation.not_separated(mean[left], noise.draws[:, left], covariance, freedom=freedom, level=level)
    return [int(pair) for pair in left[kept]]
