"""Rank statistics hold for any scores: against scipy and scikit-learn, by enumeration, and by what a rank is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import ndcg_score

from reports import ranking
from reports.scores import ReferenceScores, met_seeds, seed_mean


@st.composite
def tables(draw: st.DrawFn, least: int = 2, most: int = 7, levels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A method's scores and a truth over the same pairs, with many ties."""
    n = draw(st.integers(least, most))
    column = st.lists(st.integers(0, levels), min_size=n, max_size=n)
    return np.array(draw(column), dtype=float), np.array(draw(column), dtype=float)


def tie_breaks(scores: np.ndarray) -> list[np.ndarray]:
    """Every strict order that agrees with the scores, as scores: larger is better, all different."""
    n = len(scores)
    orders = itertools.permutations(range(n))
    kept = [order for order in orders if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))]
    return [np.array([n - order.index(pair) for pair in range(n)], dtype=float) for order in kept]


@given(tables())
def test_correlations_are_scipys_whatever_the_ties(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    assume(np.ptp(scores) > 0 and np.ptp(truth) > 0)
    assert ranking.spearman(scores, truth) == pytest.approx(float(stats.spearmanr(scores, truth)[0]))  # type: ignore[arg-type]
    assert ranking.kendall(scores, truth) == pytest.approx(float(stats.kendalltau(scores, truth)[0]), abs=1e-6)  # type: ignore[arg-type]


@given(tables(), st.integers(0, 999))
def test_only_the_order_counts_and_the_names_of_the_pairs_do_not(
    case: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    scores, truth = case
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    for statistic in (ranking.spearman, ranking.kendall):
        value = statistic(scores, truth)
        np.testing.assert_allclose(statistic(np.exp(scores) - 5, 3 * truth + 1), value, atol=1e-12)
        np.testing.assert_allclose(statistic(scores[shuffled], truth[shuffled]), value, atol=1e-12)
        np.testing.assert_allclose(statistic(-scores, truth), -value, atol=1e-12)
    for statistic in (ranking.regret, ranking.best_pair_hit):
        np.testing.assert_allclose(statistic(2 * scores + 1, truth), statistic(scores, truth), atol=1e-12)
        np.testing.assert_allclose(statistic(scores[shuffled], truth[shuffled]), statistic(scores, truth), atol=1e-12)


@settings(max_examples=30)
@given(tables(most=4, levels=2), st.integers(1, 4))
def test_tied_pairs_are_worth_the_mean_over_all_ways_to_order_them(case: tuple[np.ndarray, np.ndarray], k: int) -> None:
    scores, truth = case
    k = min(k, len(scores))
    strict, strict_truth = tie_breaks(scores), tie_breaks(truth)
    for statistic in (ranking.regret, ranking.best_pair_hit):
        assert statistic(scores, truth) == pytest.approx(np.mean([statistic(order, truth) for order in strict]))
    overlaps = [ranking.topk_overlap(one, other, k) for one in strict for other in strict_truth]
    assert ranking.topk_overlap(scores, truth, k) == pytest.approx(np.mean(overlaps))
    if truth.any():
        assert ranking.ndcg(scores, truth, k) == pytest.approx(np.mean([ranking.ndcg(o, truth, k) for o in strict]))


@given(tables(), st.integers(1, 7))
def test_ndcg_is_scikit_learns(case: tuple[np.ndarray, np.ndarray], k: int) -> None:
    scores, truth = case
    assume(truth.any())
    assert ranking.ndcg(scores, truth, k) == pytest.approx(ndcg_score(truth[None], scores[None], k=k))


@given(tables())
def test_what_ranks_by_the_truth_is_perfect(case: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = case
    assume(np.ptp(truth) > 0)
    assert ranking.spearman(truth, truth) == pytest.approx(1)
    assert ranking.kendall(truth, truth) == pytest.approx(1)
    found = ranking.regret(truth, truth), ranking.best_pair_hit(truth, truth)
    np.testing.assert_allclose(found, (0, 1), atol=1e-12)  # a mean over ties rounds
    assert ranking.ndcg(truth, truth, 3) == pytest.approx(1)
    assert ranking.regret_chance(truth) == pytest.approx(truth.max() - truth.mean())


@given(tables(), st.data())
def test_a_pair_without_a_score_ranks_as_one_that_is_worse_than_all(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    scores, truth = case
    lost = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    assume(not lost.all())
    holed, last = np.where(lost, np.nan, scores), np.where(lost, -1.0, scores)
    for statistic in (ranking.spearman, ranking.kendall):
        np.testing.assert_allclose(statistic(holed, truth), statistic(last, truth))
    np.testing.assert_allclose(ranking.ndcg(holed, truth + 1, 3), ranking.ndcg(last, truth + 1, 3))
    picked = ranking.pick(holed)
    assert picked is None or not lost[picked]
    places = ranking.places(holed)
    assert np.isnan(places[lost]).all()
    np.testing.assert_array_equal(places[~lost], 1 + (last[None, ~lost] > last[~lost, None]).sum(axis=1))


@given(tables(), st.floats(0.001, 0.4), st.integers(0, 99))
def test_near_ties_are_no_ties_and_moves_smaller_than_the_gaps_change_nothing(
    case: tuple[np.ndarray, np.ndarray], size: float, seed: int
) -> None:
    """Whole-number scores stand at least 1 apart, so that no move of less than a half swaps two of them."""
    _, truth = case
    assume(len(set(truth)) == len(truth))
    moved = truth + size * np.random.default_rng(seed).uniform(-1, 1, len(truth))
    assert ranking.spearman(moved, truth) == pytest.approx(1)
    assert ranking.pick(moved) == ranking.pick(truth)
    barely = np.where(np.arange(len(truth)) == truth.argmin(), np.nextafter(truth.max(), math.inf), truth)
    assert ranking.pick(barely) == truth.argmin(), "one more in the last digit is better, not equal"


def test_two_pairs_that_are_equal_to_the_last_bit_share_their_place() -> None:
    scores = np.array([0.3, 0.1 + 0.2, 0.3, 0.2])
    assert scores[1] != scores[0], "0.1 + 0.2 is one step above 0.3"
    assert ranking.places(scores).tolist() == [2, 1, 2, 4]
    assert ranking.pick(scores) == 1
    assert ranking.pick(np.array([0.3, 0.3, 0.2])) == 0, "the first in plan order"
    assert ranking.pick(np.array([0.3, 0.3, 0.2]), np.array([False, True, True])) == 1
    assert ranking.pick(np.array([0.3, 0.3])) is None, "nothing tells them apart"
    assert ranking.pick(np.array([np.nan, 0.3])) == 1


@given(st.lists(st.floats(0, 100), min_size=2, max_size=6), st.booleans())
def test_gains_keep_the_range_and_the_order_of_what_is_better(written: list[float], higher: bool) -> None:
    scores = np.array(written)
    oriented = ranking.oriented(scores, higher_is_better=higher)
    gains = ranking.gains(oriented, higher_is_better=higher)
    assert gains.min() == pytest.approx(scores.min())
    assert gains.max() == pytest.approx(scores.max())
    better = scores[:, None] > scores[None] if higher else scores[:, None] < scores[None]
    assert (gains[:, None] >= gains[None])[better].all()


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_a_mean_over_seeds_is_over_those_with_a_number(seeds: int, pairs: int, data: st.DataObject) -> None:
    values = st.lists(st.floats(0, 1) | st.just(math.nan), min_size=seeds * pairs, max_size=seeds * pairs)
    scores = np.array(data.draw(values)).reshape(seeds, pairs)
    for pair, found in enumerate(seed_mean(scores)):
        known = scores[np.isfinite(scores[:, pair]), pair]
        assert math.isnan(found) if not len(known) else found == pytest.approx(known.mean())


@given(st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_no_seed_of_the_reference_meets_itself(rows: int, ran: int, own: bool) -> None:
    """Seeds are shared: seed 2 of a method and seed 2 of the reference drew the same batches."""
    ran = min(rows, ran)
    there = np.zeros((rows, 3), dtype=bool)
    there[:ran] = True
    truth = ReferenceScores(np.where(there, 0.5, np.nan), there, True)
    for row in range(rows):
        met = met_seeds(truth, row, own=own)
        assert not met[ran:].any(), "what has not run is not met"
        if ran > 1 or own:
            assert not met[row]
        if ran > 1:
            assert met.sum() == ran - (row < ran)
