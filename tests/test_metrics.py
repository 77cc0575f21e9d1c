"""Metrics as functions of ranks, against hand-worked cases and a brute-force sort."""

import numpy as np
import pytest
from harness.metrics import METRICS, QUERIES, from_ranks, higher_is_better, queries_of, rank_of_right, recall
from hypothesis import given, settings
from hypothesis import strategies as st


def expected_place(scores: list[int], right: int) -> int:
    """Middle place (rounded up) of the right answer over all orders of equal scores."""
    best = 1 + sum(s > scores[right] for s in scores)
    worst = len(scores) - sum(s < scores[right] for s in scores)
    return -(-(best + worst) // 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.data())
def test_rank_is_the_middle_of_the_tied_places(scores: list[int], data: st.DataObject) -> None:
    right = data.draw(st.integers(0, len(scores) - 1))
    found = rank_of_right(np.array([scores], dtype=float), np.array([right]))
    assert found.tolist() == [expected_place(scores, right)]


def test_without_ties_the_rank_is_the_place_in_the_sorted_row() -> None:
    rng = np.random.default_rng(0)
    scores, right = rng.standard_normal((50, 20)), rng.integers(0, 20, 50)
    order = np.argsort(-scores, axis=1)
    places = [int(np.flatnonzero(row == r)[0]) + 1 for row, r in zip(order, right, strict=True)]
    assert rank_of_right(scores, right).tolist() == places


def test_a_constant_score_never_looks_like_a_hit() -> None:
    assert rank_of_right(np.zeros((4, 100)), np.arange(4)).tolist() == [51] * 4


def test_nan_is_the_worst_place() -> None:
    scores = np.array([[np.nan, 1.0, 2.0], [1.0, np.nan, 0.0]])
    ranks = rank_of_right(scores, np.array([0, 0]))
    assert ranks[0] > 3
    assert ranks[1] == 2  # a NaN distractor counts as above


def test_retrieval_metrics_by_hand() -> None:
    ranks = {"text_to_image": np.array([1, 3, 7, 20]), "image_to_text": np.array([1, 11])}
    assert from_ranks("retrieval", ranks) == {
        "text_to_image_r1": 0.25,
        "text_to_image_r5": 0.5,
        "text_to_image_r10": 0.75,
        "image_to_text_r1": 0.5,
        "image_to_text_r5": 0.5,
        "image_to_text_r10": 0.5,
        "mean_r1": 0.375,
        "median_rank": 5.0,
    }
    assert from_ranks("zero_shot", {"zero_shot": np.array([1, 2, 6])}) == {"top1": 1 / 3, "top5": 2 / 3}
    assert recall(np.array([5, 6]), 5) == 0.5


@pytest.mark.parametrize("kind", METRICS)
def test_a_metric_needs_only_the_queries_that_it_names(kind: str) -> None:
    rng = np.random.default_rng(0)
    ranks = {query: rng.integers(1, 30, 40) for query in QUERIES[kind]}
    for name, metric in METRICS[kind].items():
        needed = {query: ranks[query] for query in queries_of(kind, name)}
        assert metric(needed) == from_ranks(kind, ranks)[name]


def test_only_the_median_rank_is_better_when_lower() -> None:
    assert [m for metrics in METRICS.values() for m in metrics if not higher_is_better(m)] == ["median_rank"]
