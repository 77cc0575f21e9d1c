"""The permutation test: its rate under unrelated scores, and enumeration on grids small enough for it."""

import itertools

import numpy as np
import pytest
from scipy import stats

from reports.permutation import permutation_p
from reports.ranking import ranks
from tests.worlds import grid


def additive(rng: np.random.Generator, images: int, texts: int, specific: float) -> np.ndarray:
    """Scores that depend on encoders, as all scores of pairs do."""
    main = rng.standard_normal((images, 1)) + 0.5 * rng.standard_normal((1, texts))
    return (main + specific * rng.standard_normal((images, texts))).ravel()


@pytest.mark.parametrize("holes", [0, 5])
def test_an_unrelated_encoder_score_is_rejected_as_often_as_it_says(holes: int) -> None:
    """300 worlds on 9 x 3: 5 % +- 1.3 %. Permuting pairs instead rejects 15 %."""
    rng, encoders, rejected = np.random.default_rng(holes), grid(9, 3), 0
    for world in range(300):
        known = rng.permutation(27) >= holes
        sides = np.full((2, 1, 27), np.nan)
        for side, specific in zip(sides, (0.0, 0.3), strict=True):
            side[0, known] = ranks(additive(rng, 9, 3, specific)[known])
        rejected += permutation_p(sides[0], sides[1], encoders, permutations=399, seed=world) <= 0.05
    assert rejected / 300 <= 0.05 + 3 * 0.0126
    assert holes or rejected / 300 >= 0.05 - 3 * 0.0126


def test_a_related_score_is_found() -> None:
    rng = np.random.default_rng(1)
    truth = additive(rng, 9, 3, 0.3)
    close = truth + 0.3 * rng.standard_normal(27)
    assert permutation_p(ranks(close)[None], ranks(truth)[None], grid(9, 3)) < 0.002


@pytest.mark.parametrize(("images", "texts"), [(3, 3), (5, 1), (1, 4)])
def test_small_grids_are_enumerated(images: int, texts: int) -> None:
    """Against scipy over every order of both sides; one encoder on a side leaves the other's orders."""
    rng = np.random.default_rng(images)
    scores, truth = (rng.standard_normal((2, images * texts)) for _ in range(2))
    encoders = grid(images, texts)

    def rho(other: np.ndarray) -> float:
        return float(np.mean([stats.spearmanr(a, b)[0] for a, b in zip(scores, other, strict=True)]))  # type: ignore[arg-type]

    every = [
        rho(truth.reshape(2, images, texts)[:, list(rows)][:, :, list(columns)].reshape(2, -1))
        for rows in itertools.permutations(range(images))
        for columns in itertools.permutations(range(texts))
    ]
    expected = np.mean(np.array(every) >= rho(truth) - 1e-9)
    assert permutation_p(ranks(scores), ranks(truth), encoders) == pytest.approx(expected)
    shuffled = rng.permutation(images * texts)  # the order in which pairs are listed does not matter
    again = permutation_p(ranks(scores)[:, shuffled], ranks(truth)[:, shuffled], encoders[shuffled])
    assert again == pytest.approx(expected)


def test_constant_scores_have_no_p_value() -> None:
    assert np.isnan(permutation_p(ranks(np.ones((1, 6))), ranks(np.arange(6.0)[None]), grid(3, 2)))


def test_pairs_permuted_one_by_one_find_what_is_not_there() -> None:
    """Why encoders are permuted: at 5 % an unrelated encoder score is found related three times as often."""
    rng, rejected, found = np.random.default_rng(2), 0, 0
    for world in range(200):
        scores, truth = (ranks(additive(rng, 9, 3, specific)) for specific in (0.0, 0.3))
        shuffled = rng.permuted(np.tile(truth, (199, 1)), axis=1)
        centred = scores - scores.mean()
        as_large = (shuffled @ centred >= truth @ centred - 1e-9).sum()
        rejected += (1 + as_large) / 200 <= 0.05
        found += permutation_p(scores[None], truth[None], grid(9, 3), permutations=199, seed=world) <= 0.05
    assert rejected / 200 >= 0.1, "5 % and more than three standard deviations of the simulation"
    assert found / 200 <= 0.05 + 3 * 0.0154
