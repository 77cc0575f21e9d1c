"""The two-way analysis against the textbook's sums of squares and a world with a known share."""

import numpy as np
import pytest

from reports.compare import ReferenceScores
from reports.two_way import two_way

IMAGES, TEXTS = 6, 5
image = np.repeat(np.arange(IMAGES), TEXTS)
text = np.tile(np.arange(TEXTS), IMAGES)


def truth_of(scores: np.ndarray) -> ReferenceScores:
    return ReferenceScores(scores, np.isfinite(scores), True)


def test_one_seed_equals_the_sums_of_squares() -> None:
    table = np.random.default_rng(0).random((IMAGES, TEXTS))
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    total = ((table - table.mean()) ** 2).sum()
    found = two_way(truth_of(table.reshape(1, -1)), image, text)
    assert found.image == pytest.approx(TEXTS * ((rows - table.mean()) ** 2).sum() / total)
    assert found.text == pytest.approx(IMAGES * ((columns - table.mean()) ** 2).sum() / total)
    assert found.interaction == pytest.approx(((table - rows - columns + table.mean()) ** 2).sum() / total)
    assert found.image + found.text + found.interaction == pytest.approx(1)
    assert np.isnan(found.noise)


def test_seed_noise_is_removed() -> None:
    rng = np.random.default_rng(1)
    pure = rng.normal(size=(IMAGES, 1)) + rng.normal(size=(1, TEXTS))
    noisy, clean = [], []
    for _ in range(40):
        scores = pure.reshape(1, -1) + 0.5 * rng.normal(size=(3, IMAGES * TEXTS)) + rng.normal(size=(3, 1))
        found = two_way(truth_of(scores), image, text)
        clean.append(found.interaction)
        noisy.append(two_way(truth_of(scores.mean(axis=0, keepdims=True)), image, text).interaction)
        assert found.noise == pytest.approx(0.25, rel=0.6)  # the seeds' common shift is not noise between pairs
    assert np.mean(noisy) > 0.02
    assert np.mean(clean) < np.mean(noisy) / 3


def test_a_grid_with_holes_and_a_gap_in_a_seed() -> None:
    rng = np.random.default_rng(2)
    additive = (rng.normal(size=(IMAGES, 1)) + rng.normal(size=(1, TEXTS))).reshape(-1)
    scores = np.tile(additive, (2, 1))
    scores[0, 3] = np.nan  # known from the other seed
    scores[:, 7] = np.nan  # a hole
    found = two_way(truth_of(scores), image, text)
    assert found.pairs == IMAGES * TEXTS - 1
    assert found.interaction == pytest.approx(0, abs=1e-9)
    assert found.noise == pytest.approx(0, abs=1e-9)


def test_where_main_effects_pick_another_pair() -> None:
    table = np.add.outer([0.3, 0.2, 0.0], [0.2, 0.1, 0.0])
    table[1, 1] += 0.25  # best, though neither its image nor its text encoder is
    ids = np.repeat(np.arange(3), 3), np.tile(np.arange(3), 3)
    found = two_way(truth_of(table.reshape(1, -1)), *ids)
    assert found.best == 4
    assert found.additive_best == 0


@pytest.mark.parametrize(("images", "texts"), [(5, 1), (1, 4), (2, 1)])
def test_one_encoder_on_a_side_has_no_interaction(images: int, texts: int) -> None:
    ids = np.repeat(np.arange(images), texts), np.tile(np.arange(texts), images)
    found = two_way(truth_of(np.random.default_rng(0).random((2, images * texts))), *ids)
    assert np.isnan(found.interaction)
