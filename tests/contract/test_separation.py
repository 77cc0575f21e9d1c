"""Comparisons with the best hold their level in simulations."""

import numpy as np
import pytest

from harness.contract.separation import not_separated

UNITS, TRIALS = 120, 200


def kept_of(truth: np.ndarray, seed: int, indifference: float = 0.0) -> set[int]:
    """Candidates that one made-up data set keeps: hits that share what is hard about each unit."""
    rng = np.random.default_rng(seed)
    table = truth[:, None] + 0.3 * rng.standard_normal(UNITS) + 0.2 * rng.standard_normal((len(truth), UNITS))
    mean = table.mean(axis=1)
    centred = table - mean[:, None]
    draws = rng.standard_normal((1000, UNITS)) @ centred.T / UNITS
    return set(not_separated(mean, draws, np.cov(table) / UNITS, indifference=indifference).tolist())


@pytest.mark.parametrize("candidates", [5, 20, 60])
def test_of_equal_candidates_all_are_kept_as_often_as_promised(candidates: int) -> None:
    whole = sum(len(kept_of(np.zeros(candidates), seed)) == candidates for seed in range(TRIALS)) / TRIALS
    assert whole >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    assert whole < 1.0, "an interval that is never too short says nothing"


def test_the_best_is_kept_and_clearly_worse_ones_leave() -> None:
    truth = np.array([0.5, 0.5, 0.2, 0.1, 0.0])
    found = [kept_of(truth, seed) for seed in range(TRIALS)]
    assert sum({0, 1} <= kept for kept in found) / TRIALS >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    assert all(kept <= {0, 1} for kept in found)


def test_indifference_ends_a_race_that_cannot_matter() -> None:
    truth = np.zeros(20)
    assert {len(kept_of(truth, seed, indifference=1.0)) for seed in range(20)} == {1}
    assert all(kept_of(truth, seed, 0.01) <= kept_of(truth, seed) for seed in range(20))


def test_equal_scores_stay_together_whatever_the_indifference() -> None:
    draws = np.random.default_rng(0).standard_normal((100, 1)) * np.ones((1, 3))
    assert len(not_separated(np.ones(3), draws, draws.T @ draws / 100, indifference=0.5)) == 3
