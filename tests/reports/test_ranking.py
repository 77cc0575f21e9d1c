"""Rank statistics against scipy and cases worked by hand."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reports import ranking

rng = np.random.default_rng(3)


def rho(a: Any, b: Any) -> float:
    return float(stats.spearmanr(a, b)[0])  # type: ignore[arg-type]


def tau(a: Any, b: Any) -> float:
    return float(stats.kendalltau(a, b)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("levels", [1000, 4])  # 4 levels: many ties
def test_correlations_equal_scipy(levels: int) -> None:
    scores = rng.integers(levels, size=15).astype(float)
    truth = rng.integers(levels, size=(6, 15)).astype(float)
    spearman, kendall = ranking.spearman(scores, truth), ranking.kendall(scores, truth)
    for row in range(6):
        assert spearman[row] == pytest.approx(rho(scores, truth[row]))
        assert kendall[row] == pytest.approx(tau(scores, truth[row]), abs=1e-6)


def test_constant_scores_are_a_random_order_and_a_constant_truth_has_no_correlation() -> None:
    truth = np.array([0.1, 0.5, 0.3, 0.9])
    constant = np.ones(4)
    orders = [np.array(order, dtype=float) for order in itertools.permutations(range(4))]
    for statistic in (ranking.spearman, ranking.kendall, ranking.regret, ranking.best_pair_hit):
        expected = np.mean([statistic(order, truth) for order in orders])
        assert statistic(constant, truth) == pytest.approx(expected, abs=1e-12)
    assert ranking.regret(constant, truth) == pytest.approx(ranking.regret_chance(truth))
    assert ranking.pick(constant) is None
    assert math.isnan(ranking.spearman(np.arange(4.0), np.ones(4)))
    assert math.isnan(ranking.kendall(np.arange(4.0), np.ones(4)))
    assert math.isnan(ranking.kendall(np.ones(4), np.ones(4)))


def test_regret_and_hit_of_pairs_tied_for_the_pick_are_their_mean() -> None:
    truth = np.array([0.1, 0.5, 0.3])
    tied = np.array([0.0, 1.0, 1.0])
    assert ranking.regret(tied, truth) == pytest.approx((0.0 + 0.2) / 2)
    assert ranking.best_pair_hit(tied, truth) == pytest.approx(0.5)
    draws = np.stack([truth, truth[::-1]])
    np.testing.assert_allclose(ranking.regret(tied, draws), [(0.0 + 0.2) / 2, (0.0 + 0.4) / 2])


def test_a_pair_without_a_score_is_ranked_last() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])
    broken = np.array([np.nan, 0.2, 0.3, 0.4])  # the worst pair diverged: nothing lost
    assert ranking.spearman(broken, truth) == pytest.approx(1.0)
    broken = np.array([0.1, 0.2, 0.3, np.nan])  # the best pair diverged: places 2, 3, 4, 1 of the truth
    assert ranking.spearman(broken, truth) == pytest.approx(rho([2, 3, 4, 1], [1, 2, 3, 4]))
    assert ranking.pick(broken) == 2
    assert ranking.regret(broken, truth) == pytest.approx(0.1)
    assert ranking.pick(np.full(3, np.nan)) is None


def test_ndcg_by_hand() -> None:
    gain = np.array([0.3, 0.2, 0.1])
    order = np.array([1.0, 3.0, 2.0])  # places: pair 1, pair 2, pair 0
    ideal = 0.3 + 0.2 / math.log2(3)
    assert ranking.ndcg(order, gain, 2) == pytest.approx((0.2 + 0.1 / math.log2(3)) / ideal)
    assert ranking.ndcg(gain, gain, 2) == pytest.approx(1.0)
    assert math.isnan(ranking.ndcg(order, np.zeros(3), 2))


def test_ndcg_of_tied_scores_is_the_mean_over_their_orders() -> None:
    gain = np.array([0.5, 0.1, 0.4, 0.2])
    tied = np.array([1.0, 2.0, 1.0, 1.0])
    orders = [p for p in itertools.permutations(range(4)) if p[0] == 1]
    ideal = float(np.sort(gain)[::-1] @ ranking.discounts(4, 3))
    mean = np.mean([gain[list(p)] @ ranking.discounts(4, 3) for p in orders]) / ideal
    assert ranking.ndcg(tied, gain, 3) == pytest.approx(mean)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_ndcg_chance_is_the_mean_over_all_orders(k: int) -> None:
    gain = np.array([0.9, 0.1, 0.4, 0.4, 0.2])
    values = [ranking.ndcg(np.array(order, dtype=float), gain, k) for order in itertools.permutations(range(5))]
    assert ranking.ndcg_chance(gain, k) == pytest.approx(np.mean(values))


def test_gains_of_lower_is_better_are_reflected() -> None:
    median_rank = np.array([2.0, 5.0, 10.0])
    gain = ranking.gains(ranking.oriented(median_rank, higher_is_better=False), higher_is_better=False)
    np.testing.assert_allclose(gain, [10.0, 7.0, 2.0])
    np.testing.assert_allclose(ranking.gains(np.array([0.4, np.nan]), higher_is_better=True), [0.4, 0.0])


def test_topk_overlap_by_hand_and_under_ties() -> None:
    truth = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert ranking.topk_overlap(np.array([5.0, 1.0, 4.0, 3.0, 2.0]), truth, 3) == pytest.approx(2 / 3)
    assert ranking.topk_overlap(np.ones(5), truth, 3) == pytest.approx(3 / 5)  # constant: chance


def test_regret_sign_for_both_orientations() -> None:
    # Recall: the pick (pair 0) has 0.4 where the best has 0.5.
    assert ranking.regret(np.array([9.0, 1.0]), np.array([0.4, 0.5])) == pytest.approx(0.1)
    # Median rank: the pick has 7 where the best has 4: three places lost, positive.
    truth = ranking.oriented(np.array([7.0, 4.0]), higher_is_better=False)
    assert ranking.regret(np.array([9.0, 1.0]), truth) == pytest.approx(3.0)
    assert ranking.regret_chance(truth) == pytest.approx(1.5)
    np.testing.assert_array_equal(
        ranking.best_pair_hit(np.array([9.0, 1.0]), np.array([[0.4, 0.5], [0.5, 0.5]])), [0, 1]
    )
