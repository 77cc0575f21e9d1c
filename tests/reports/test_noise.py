"""Seed noise against least squares, degrees of freedom by rank, and the draws against the distribution they are of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.noise import SeedNoise, mean_noise, residual_variance, residuals, seed_noise
from reports.scores import ReferenceScores
from tests.worlds import scored


def by_least_squares(scores: np.ndarray) -> tuple[np.ndarray, int]:
    """Residuals of a fit of one mean per pair and one shift per seed, and the degrees of freedom that are left."""
    known = np.isfinite(scores)
    seed, pair = np.nonzero(known)
    design = np.hstack([np.eye(scores.shape[1])[pair], np.eye(scores.shape[0])[seed]])
    fitted = design @ np.linalg.lstsq(design, scores[known], rcond=None)[0]
    left = np.zeros_like(scores)
    left[known] = scores[known] - fitted
    return left, len(pair) - int(np.linalg.matrix_rank(design))


@st.composite
def grids(draw: st.DrawFn) -> np.ndarray:
    """Scores of some seeds and pairs with a few gaps, of which none leaves a seed or a pair empty."""
    seeds, pairs = draw(st.integers(2, 4)), draw(st.integers(3, 6))
    scores = np.random.default_rng(draw(st.integers(0, 999))).normal(size=(seeds, pairs))
    for pair in draw(st.lists(st.integers(1, pairs - 1), max_size=2, unique=True)):
        scores[draw(st.integers(0, seeds - 1)), pair] = np.nan  # the first pair links all seeds
    return scores


@given(grids())
def test_residuals_and_freedom_are_those_of_least_squares_gaps_or_not(scores: np.ndarray) -> None:
    left, freedom = by_least_squares(scores)
    np.testing.assert_allclose(residuals(scores), left, atol=1e-6)
    variance, found = residual_variance(scores)
    assert found == freedom
    assert variance == pytest.approx((left**2).sum() / freedom if freedom else np.nan, rel=1e-5, nan_ok=True)


@given(grids(), st.floats(-5, 5), st.floats(0.1, 3))
def test_what_moves_a_whole_pair_or_a_whole_seed_is_no_noise(scores: np.ndarray, shift: float, scale: float) -> None:
    before, _ = residual_variance(scores)
    moved = scores + shift
    moved[0] += 2.0
    moved[:, 1] -= 7.0
    np.testing.assert_allclose(residual_variance(moved)[0], before, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(residual_variance(scale * scores)[0], scale**2 * before, rtol=1e-4, atol=1e-12)


def test_where_no_seed_can_be_compared_there_is_no_noise_to_speak_of() -> None:
    for scores in (np.ones((1, 5)), np.ones((2, 1)), np.array([[1.0, np.nan], [np.nan, 2.0]])):
        variance, freedom = residual_variance(scores)
        assert np.isnan(variance)
        assert freedom == 0
        truth = ReferenceScores(scores, np.isfinite(scores), True)
        noise = seed_noise(truth)
        assert (noise.pure, noise.freedom) == (0.0, 0)
        assert noise.drawn(np.random.default_rng(0), 4).tolist() == [0, 0, 0, 0]
        assert mean_noise(truth) is None, "without resamples"


def test_drawn_sizes_are_scaled_inverse_chi_squared() -> None:
    """The variance that a sample of ``freedom`` degrees leaves open: against scipy's distribution."""
    noise = SeedNoise(measured=0.04, of_units=0.0, freedom=6)
    drawn = noise.drawn(np.random.default_rng(0), 4000)
    assert stats.kstest(drawn, stats.invgamma(3, scale=0.04 * 6 / 2).cdf).pvalue > 0.01  # type: ignore[attr-defined]
    less = SeedNoise(measured=0.04, of_units=0.03, freedom=6)
    assert less.pure == pytest.approx(0.01)
    assert (less.drawn(np.random.default_rng(0), 4000) >= 0).all(), "never below nothing"
    assert SeedNoise(measured=0.01, of_units=0.03, freedom=6).pure == 0


@pytest.mark.parametrize("seeds", [2, 4])
def test_the_noise_of_a_mean_is_what_worlds_of_one_truth_differ_by(seeds: int) -> None:
    """Forty worlds of eight equal pairs: the spread of their means between worlds is what each says of itself."""
    rng = np.random.default_rng(seeds)
    worlds = [scored(np.full(8, 0.5), rng, seeds=seeds, seed_noise=0.03) for _ in range(40)]
    means = np.stack([world.mean for world in worlds])
    between = (means - means.mean(axis=1, keepdims=True)).var(axis=0).mean()
    said = []
    for world in worlds:
        noise = mean_noise(world)
        assert noise is not None
        assert noise.draws.shape == (300, 8)
        said.append((noise.draws - noise.draws.mean(axis=1, keepdims=True)).var(axis=0).mean())
        centred = np.eye(8) - 1 / 8
        assert np.trace(centred @ noise.covariance.matrix(np.arange(8))) / 8 == pytest.approx(said[-1], rel=0.6)
    assert np.median(said) == pytest.approx(between, rel=0.35)


def test_the_same_seed_draws_the_same_noise_and_another_seed_another() -> None:
    world = scored(np.full(4, 0.4), np.random.default_rng(0), seeds=3)
    one, same, other = (mean_noise(world, seed=seed) for seed in (1, 1, 2))
    assert one is not None
    assert same is not None
    assert other is not None
    np.testing.assert_array_equal(one.draws, same.draws)
    assert not np.array_equal(one.draws, other.draws)
    every = np.arange(4)
    np.testing.assert_array_equal(one.covariance.matrix(every), other.covariance.matrix(every))
