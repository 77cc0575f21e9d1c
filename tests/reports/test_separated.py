"""Pairs not separated from the best: simultaneous coverage, by simulation, and power."""

import numpy as np
import pytest

from reports.scores import ReferenceScores
from reports.separated import not_separated
from tests.worlds import scored


def kept(quality: np.ndarray, worlds: int, **options: float) -> list[set[int]]:
    rng = np.random.default_rng(len(quality))
    return [set(not_separated(scored(quality, rng, **options)) or []) for _ in range(worlds)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pairs", "seeds", "worlds", "least"), [(5, 2, 200, 0.91), (20, 3, 200, 0.91), (20, 1, 200, 0.9), (300, 2, 30, 0.8)]
)
def test_of_equal_pairs_all_are_kept(pairs: int, seeds: int, worlds: int, least: float) -> None:
    """95 % of the worlds, less about three standard deviations of the simulation."""
    noise = 0.015 if seeds > 1 else 0.0
    found = kept(np.full(pairs, 0.5), worlds, seeds=seeds, seed_noise=noise)
    assert np.mean([len(pairs_kept) == pairs for pairs_kept in found]) >= least


def test_the_equal_best_are_kept_beside_slightly_worse_ones() -> None:
    found = kept(np.r_[np.full(5, 0.5), np.full(15, 0.47)], 150)
    assert np.mean([set(range(5)) <= pairs for pairs in found]) >= 0.9


@pytest.mark.parametrize("pairs", [5, 20, 300])
def test_a_clearly_worse_pair_is_separated(pairs: int) -> None:
    """Twenty points of recall, on 200 units: some six standard errors of the difference."""
    found = kept(np.r_[np.full(pairs - 1, 0.5), 0.3], 20)
    assert np.mean([pairs - 1 in pairs_kept for pairs_kept in found]) <= 0.1


def test_seed_noise_counts() -> None:
    """Eight points of seed noise are more than 1000 test units show: without it two equal pairs part often."""
    rng = np.random.default_rng(0)
    whole = bare = 0
    for _ in range(60):
        truth = scored(np.full(8, 0.5), rng, seed_noise=0.08, units=1000)
        whole += len(not_separated(truth) or []) == 8
        mean = ReferenceScores(
            truth.scores.mean(axis=0, keepdims=True),
            truth.ran[:1],
            True,
            truth.draws.mean(axis=1, keepdims=True),  # type: ignore[union-attr]
        )
        bare += len(not_separated(mean) or []) == 8
    assert whole >= 52
    assert bare <= 20


def test_the_best_comes_first_and_a_pair_without_scores_never() -> None:
    truth = scored(np.array([0.2, 0.6, 0.62, 0.59]), np.random.default_rng(3), units=100)
    for array in (truth.scores, truth.draws):
        assert array is not None
        array[..., 3] = np.nan
    found = not_separated(truth)
    assert found is not None
    assert found[0] == int(np.nanargmax(truth.mean))
    assert found == sorted(found, key=lambda pair: -truth.mean[pair])
    assert set(found) == {1, 2}


def test_twins_are_never_separated() -> None:
    truth = scored(np.array([0.6, 0.6, 0.3]), np.random.default_rng(5), seed_noise=0.0)
    for array in (truth.scores, truth.draws):
        assert array is not None
        array[..., 1] = array[..., 0]
    assert not_separated(truth) == [0, 1]


def one_by_one(truth: ReferenceScores) -> int:
    """How many pairs are kept where each is compared with the measured best by itself, over test units alone."""
    assert truth.draws is not None
    draws = truth.draws.mean(axis=1)
    low = np.quantile(draws[:, [int(truth.mean.argmax())]] - draws, 0.025, axis=0)
    return int((low <= 0).sum())


@pytest.mark.parametrize(("pairs", "most"), [(5, 0.75), (20, 0.2)])
def test_compared_one_by_one_equal_pairs_are_told_apart(pairs: int, most: float) -> None:
    """Why the intervals are simultaneous and count the seeds: the measured best is the luckiest of equals."""
    rng = np.random.default_rng(1)
    worlds = [scored(np.full(pairs, 0.5), rng, seeds=3, seed_noise=0.015) for _ in range(60)]
    assert np.mean([one_by_one(truth) == pairs for truth in worlds]) <= most
    assert np.mean([len(not_separated(truth) or []) == pairs for truth in worlds]) >= 0.86
