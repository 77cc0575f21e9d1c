"""The interaction share in worlds where it is known: neither test noise nor seed noise is taken for it."""

import numpy as np
import pytest

from reports.scores import ReferenceScores
from reports.two_way import TwoWay, two_way
from tests.worlds import grid, scored

IMAGES, TEXTS = 6, 5
ENCODERS = grid(IMAGES, TEXTS)


def quality(share: float) -> np.ndarray:
    """Expected recalls with main effects and an interaction of this share of their variance."""
    main = np.add.outer(np.linspace(-0.15, 0.15, IMAGES), np.linspace(-0.06, 0.06, TEXTS))
    rest = np.random.default_rng(99).standard_normal((IMAGES, TEXTS))
    rest -= rest.mean(axis=0)
    rest -= rest.mean(axis=1, keepdims=True)
    return 0.45 + main + rest * np.sqrt(share / (1 - share) * (main**2).sum() / (rest**2).sum())


def simulated(share: float, seeds: int, worlds: int) -> list[TwoWay]:
    rng = np.random.default_rng(seeds)
    return [two_way(scored(quality(share), rng, seeds=seeds), *ENCODERS.T) for _ in range(worlds)]


@pytest.mark.parametrize(("share", "seeds"), [(0.0, 3), (0.0, 1), (0.05, 3), (0.2, 2)])
def test_the_interval_covers_the_true_share(share: float, seeds: int) -> None:
    """100 worlds: 95 % less three standard deviations of the simulation is 88 %."""
    # One seed's own noise is interaction to it, so that there a truth without seed noise is asked for.
    found = simulated(share, seeds, 100) if seeds > 1 else one_seed(100)
    covered = np.mean([low <= share <= high for low, high in (world.ci95 for world in found)])
    assert covered >= 0.88
    assert np.mean([world.interaction for world in found]) == pytest.approx(share, abs=0.01)
    # An interval that is wide enough for anything would cover too.
    assert np.mean([high - low for low, high in (world.ci95 for world in found)]) < 0.06 + share


def one_seed(worlds: int) -> list[TwoWay]:
    rng = np.random.default_rng(0)
    return [two_way(scored(quality(0.0), rng, seeds=1, seed_noise=0.0), *ENCODERS.T) for _ in range(worlds)]


def test_an_interaction_that_is_there_is_found() -> None:
    assert np.mean([world.ci95[0] > 0 for world in simulated(0.1, 3, 40)]) >= 0.9


def test_a_share_at_its_floor_claims_no_certainty() -> None:
    floored = [world for world in simulated(0.0, 3, 60) if world.interaction == 0]
    assert len(floored) > 15
    assert all(world.ci95[0] == 0 and world.ci95[1] > 0.005 for world in floored)


def test_without_resamples_only_seed_noise_is_removed() -> None:
    truth = scored(quality(0.05), np.random.default_rng(4), seeds=3)
    bare = two_way(ReferenceScores(truth.scores, truth.ran, True), *ENCODERS.T)
    assert np.isnan(bare.ci95).all()
    assert bare.interaction > two_way(truth, *ENCODERS.T).interaction


def seed_noise_only(truth: ReferenceScores) -> tuple[float, tuple[float, float]]:
    """The share and its bootstrap interval where seed noise alone is removed, and test noise is left in."""
    seeds, shape = len(truth.scores), (IMAGES, TEXTS)
    residual = truth.scores - truth.scores.mean(axis=0) - truth.scores.mean(axis=1, keepdims=True) + truth.scores.mean()
    per_mean = (residual**2).sum() / ((seeds - 1) * (IMAGES * TEXTS - 1)) / seeds

    def share(scores: np.ndarray) -> float:
        table = scores.reshape(shape) - scores.mean()
        rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
        squares = (TEXTS * (rows**2).sum(), IMAGES * (columns**2).sum(), ((table - rows - columns) ** 2).sum())
        freedom = (IMAGES - 1, TEXTS - 1, (IMAGES - 1) * (TEXTS - 1))
        clean = [max(square - df * per_mean, 0.0) for square, df in zip(squares, freedom, strict=True)]
        return clean[2] / sum(clean)

    assert truth.draws is not None
    low, high = np.quantile([share(draw) for draw in truth.draws.mean(axis=1)], [0.025, 0.975])
    return share(truth.mean), (float(low), float(high))


def test_test_noise_left_in_is_taken_for_interaction() -> None:
    """Why the test noise that all seeds share is removed too: of an additive truth the interval never holds 0."""
    rng = np.random.default_rng(7)
    naive, found = [], []
    for _ in range(40):
        truth = scored(quality(0.0), rng, seeds=3)
        naive.append(seed_noise_only(truth))
        found.append(two_way(truth, *ENCODERS.T))
    assert sum(low <= 0 for _, (low, _) in naive) == 0
    assert np.mean([share for share, _ in naive]) > 3 * np.mean([world.interaction for world in found])
    assert np.mean([world.ci95[0] == 0 for world in found]) >= 0.85
