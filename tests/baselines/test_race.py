"""The race of pairs on validation data: it keeps what the data cannot tell apart, in either direction of the metric."""

import numpy as np
import pytest

from baselines.race import still_racing
from harness.method import Pair

UNITS = 300


def contributions(truth: dict[Pair, float], seed: int) -> dict[Pair, np.ndarray]:
    """Hits and misses of each unit; what is hard about a unit is hard for all pairs."""
    luck = np.random.default_rng(seed).random(UNITS)
    own = np.random.default_rng(seed + 1000).random((len(truth), UNITS))
    return {pair: (0.7 * luck + 0.3 * own[n] < right).astype(float) for n, (pair, right) in enumerate(truth.items())}


def test_pairs_that_cannot_be_told_apart_stay_and_bad_ones_leave() -> None:
    truth = {("a", "x"): 0.6, ("a", "y"): 0.6, ("b", "x"): 0.3, ("b", "y"): 0.1}
    raced = [
        still_racing(contributions(truth, seed), higher_is_better=True, indifference=0.0, seed=seed)
        for seed in range(60)
    ]
    equal = {("a", "x"), ("a", "y")}
    assert np.mean([equal <= set(kept) for kept in raced]) >= 0.88, "0.95 less about three deviations"
    assert all(set(kept) <= equal for kept in raced)


def test_the_best_comes_first_and_the_sign_is_the_metrics() -> None:
    truth = {("a", "x"): 0.3, ("b", "x"): 0.8}
    gave = contributions(truth, 0)
    assert list(still_racing(gave, higher_is_better=True, indifference=0.0, seed=0)) == [("b", "x")]
    assert list(still_racing(gave, higher_is_better=False, indifference=0.0, seed=0)) == [("a", "x")]


@pytest.mark.parametrize(("indifference", "left"), [(0.0, 2), (0.5, 1)])
def test_what_cannot_matter_ends_the_race(indifference: float, left: int) -> None:
    truth = {("a", "x"): 0.52, ("b", "x"): 0.5}
    kept = still_racing(contributions(truth, 3), higher_is_better=True, indifference=indifference, seed=0)
    assert len(kept) == left
