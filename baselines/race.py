"""A race on validation data: which pairs may still be the best one."""

from collections.abc import Mapping, Sequence

import numpy as np

from harness.contract.pairs import Pair
from harness.contract.problem import UnitScores
from harness.contract.seeding import stream
from harness.contract.separation import not_separated

DRAWS = 1000
"""Joint draws of the validation noise."""


def still_racing(
    contributions: Mapping[Pair, UnitScores], *, higher_is_better: bool, indifference: float, seed: int
) -> Sequence[Pair]:
    """Pairs whose score is not separated from the best one's, best first.

    The noise of the scores is drawn by the multiplier bootstrap: contributions around their mean, times independent
    standard normal numbers for each unit, which are the same for all pairs. So differences between pairs are paired.

    Args:
        contributions: What each unit of the validation data contributes to each pair's score.
        higher_is_better: Sign of the scores.
        indifference: A pair that cannot be better than the best by more than this leaves the race.
        seed: Of the draws.
    """
    pairs = list(contributions)
    table = np.stack([contributions[pair] for pair in pairs]) * (1.0 if higher_is_better else -1.0)
    mean = table.mean(axis=1)
    units = table.shape[1]
    multipliers = stream(seed, "race").standard_normal((DRAWS, units))
    centred = table - mean[:, None]
    draws = multipliers @ centred.T / units
    covariance = centred @ centred.T / (units * max(1, units - 1))
    return [pairs[place] for place in not_separated(mean, draws, covariance, indifference=indifference)]
