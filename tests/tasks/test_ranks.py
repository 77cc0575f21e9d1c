"""Ranks of the right answer, against a brute-force sort."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.tasks.base import ranks_of_right
from harness.tasks.recall import hits


def ranks_in(scores: np.ndarray, right: np.ndarray) -> list[int]:
    """Ranks in a matrix of scores: inner products of its rows with unit vectors."""
    queries = torch.from_numpy(np.asarray(scores, dtype=np.float64))
    return ranks_of_right(queries, torch.eye(scores.shape[1], dtype=torch.float64), torch.from_numpy(right)).tolist()


def expected_place(scores: list[int], right: int) -> int:
    """Middle place (rounded up) of the right answer over all orders of equal scores."""
    best = 1 + sum(s > scores[right] for s in scores)
    worst = len(scores) - sum(s < scores[right] for s in scores)
    return -(-(best + worst) // 2)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.data())
def test_rank_is_the_middle_of_the_tied_places(scores: list[int], data: st.DataObject) -> None:
    right = data.draw(st.integers(0, len(scores) - 1))
    assert ranks_in(np.array([scores]), np.array([right])) == [expected_place(scores, right)]


def test_without_ties_the_rank_is_the_place_in_the_sorted_row() -> None:
    rng = np.random.default_rng(0)
    scores, right = rng.standard_normal((50, 20)), rng.integers(0, 20, 50)
    order = np.argsort(-scores, axis=1)
    places = [int(np.flatnonzero(row == r)[0]) + 1 for row, r in zip(order, right, strict=True)]
    assert ranks_in(scores, right) == places


def test_a_constant_score_never_looks_like_a_hit() -> None:
    assert ranks_in(np.zeros((4, 100)), np.arange(4)) == [51] * 4


@pytest.mark.parametrize(("answers", "at_least"), [([np.nan, 1.0, 2.0], 4), ([1.0, np.nan, 0.0], 2)])
def test_nan_is_the_worst_place(answers: list[float], at_least: int) -> None:
    """The first answer is right: when it is NaN it stands behind all, and a NaN distractor counts as above it."""
    found = ranks_of_right(torch.ones(1, 1), torch.tensor(answers)[:, None], torch.tensor([0]))
    assert found.tolist() == [at_least]


def test_a_hit_is_a_rank_among_the_first_k() -> None:
    assert hits(np.array([1, 5, 6]), 5).tolist() == [1, 1, 0]
