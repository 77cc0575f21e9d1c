"""The bootstrap: the fast path against the metric itself, and coverage in simulated cases."""

import numpy as np
import pytest
from harness.metrics import METRICS
from scipy import stats
from scipy.special import ndtr

from reports import ranking
from reports.bootstrap import (
    RECALLS,
    PairRanks,
    bca_interval,
    draw_weights,
    pair_ranks,
    percentile_interval,
    resampled_scores,
)
from reports.compare import Truth, compare, near_ties


def make_ranks(kind: str, images: int, rng: np.random.Generator) -> PairRanks:
    """Two captions per image where texts ask, one query per image otherwise."""
    units = {
        "text_to_image": np.repeat(np.arange(images), 2),
        "image_to_text": np.arange(images),
        "zero_shot": np.arange(images),
    }
    queries = ["zero_shot"] if kind == "zero_shot" else ["text_to_image", "image_to_text"]
    return PairRanks(
        {q: rng.integers(1, 15, size=len(units[q])).astype(np.int32) for q in queries},
        {q: units[q].astype(np.int32) for q in queries},
    )


@pytest.mark.parametrize(("kind", "metric"), [(kind, name) for kind, table in METRICS.items() for name in table])
def test_resampled_scores_are_the_metric_of_the_resampled_queries(kind: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    columns = [make_ranks(kind, 30, rng), None, make_ranks(kind, 30, rng)]
    weights = draw_weights(30, resamples=5, seed=1)
    found = resampled_scores(columns, kind, metric, weights.bootstrap)
    for row, weight in enumerate(weights.bootstrap.astype(int)):
        for place in (0, 2):
            column = columns[place]
            assert column is not None
            drawn = {
                q: np.concatenate(
                    [np.repeat(r, weight[u]) for r, u in zip(column.ranks[q], column.unit[q], strict=True)]
                )
                for q in column.ranks
            }
            assert found[row, place] == pytest.approx(METRICS[kind][metric](drawn))
    assert np.isnan(found[:, 1]).all()
    ones = resampled_scores(columns, kind, metric, np.ones((1, 30)))
    assert ones[0, 0] == pytest.approx(METRICS[kind][metric](columns[0].ranks))  # type: ignore[union-attr]


def test_every_recall_has_a_fast_path() -> None:
    slow = {(kind, name) for kind, table in METRICS.items() for name in table} - set(RECALLS)
    assert slow == {("retrieval", "median_rank")}


def test_weights_draw_as_many_images_and_leave_each_group_out_once() -> None:
    weights = draw_weights(10, present=np.array([1, 3, 4, 9]), resamples=50, seed=0)
    assert (weights.bootstrap.sum(axis=1) == 4).all()
    assert weights.bootstrap[:, [0, 2, 5]].sum() == 0
    assert sorted(map(tuple, weights.jackknife[:, [1, 3, 4, 9]])) == [
        (0, 1, 1, 1),
        (1, 0, 1, 1),
        (1, 1, 0, 1),
        (1, 1, 1, 0),
    ]


def test_pair_ranks_reads_the_stores_names() -> None:
    arrays = {
        "0/flickr/text_to_image": np.array([1, 2]),
        "10/flickr/text_to_image": np.array([3, 4]),
        "flickr/text_to_image/unit": np.array([0, 0]),
    }
    found = pair_ranks(arrays, 10, "flickr")
    assert found is not None
    assert found.ranks["text_to_image"].tolist() == [3, 4]
    assert pair_ranks(arrays, 1, "flickr") is None


def test_bca_equals_scipy() -> None:
    sample = np.random.default_rng(5).exponential(size=60)
    theirs = stats.bootstrap((sample,), np.var, n_resamples=4000, method="BCa", rng=np.random.default_rng(1))
    draws = np.random.default_rng(2).choice(sample, size=(4000, 60)).var(axis=1)
    left_out = np.array([np.delete(sample, k).var() for k in range(60)])
    low, high = bca_interval(float(sample.var()), draws, left_out)
    assert low == pytest.approx(theirs.confidence_interval.low, rel=0.06)
    assert high == pytest.approx(theirs.confidence_interval.high, rel=0.06)


def test_intervals_without_numbers() -> None:
    nothing = np.full(5, np.nan)
    assert np.isnan(percentile_interval(nothing)).all()
    assert np.isnan(bca_interval(0.5, nothing, nothing)).all()
    assert bca_interval(1.0, np.ones(9), np.ones(9)) == (1.0, 1.0)


def simulate(seed: int, pairs: int = 12, images: int = 300) -> tuple[Truth, np.ndarray, np.ndarray]:
    """Truth from a sample of images, the method's scores, and the pairs' true recall over all images."""
    rng = np.random.default_rng(seed)
    quality = -0.2 + 0.25 * rng.standard_normal(pairs)
    scores = quality + 0.3 * rng.standard_normal(pairs)
    hit = quality + 0.8 * rng.standard_normal((images, 1)) + 0.6 * rng.standard_normal((images, pairs)) > 0
    unit = np.arange(images, dtype=np.int32)
    columns = [
        PairRanks({"text_to_image": np.where(hit[:, p], 1, 9).astype(np.int32)}, {"text_to_image": unit})
        for p in range(pairs)
    ]
    weights = draw_weights(images, seed=seed, resamples=300)
    draws, left = (
        resampled_scores(columns, "retrieval", "text_to_image_r5", w)[:, None]
        for w in (weights.bootstrap, weights.jackknife)
    )
    truth = Truth(hit.mean(axis=0)[None], np.ones((1, pairs), dtype=bool), True, draws, left)
    return truth, scores, ndtr(quality)


def test_coverage_of_the_intervals() -> None:
    """Against the statistic over endless test images, which the sample's own value misses by test noise."""
    covered = {"spearman": 0, "regret": 0}
    low_misses = high_misses = 0
    runs = 120
    for seed in range(runs):
        truth, scores, population = simulate(seed)
        found = compare(truth, scores[None], truth.ran)
        spearman = float(ranking.spearman(scores, population))
        low, high = found.spearman.ci95
        covered["spearman"] += low <= spearman <= high
        low_misses += spearman < low
        high_misses += spearman > high
        low, high = found.regret.ci95
        covered["regret"] += low <= float(ranking.regret(scores, population)) <= high
    assert covered["spearman"] / runs >= 0.9
    assert covered["regret"] / runs >= 0.88
    assert max(low_misses, high_misses) / runs <= 0.08  # neither side is wide open


def test_near_ties_hold_the_pairs_that_are_close_and_no_others() -> None:
    truth, _, _ = simulate(4, pairs=6, images=400)
    best = int(np.nanargmax(truth.mean))
    twin = (best + 1) % 6
    for values in (truth.scores, truth.draws):
        assert values is not None
        values[..., twin] = values[..., best]
        values[..., (best + 2) % 6] = values[..., best] - 0.2
    tied = near_ties(truth)
    assert tied is not None
    assert {best, twin} <= set(tied)
    assert (best + 2) % 6 not in tied
    assert near_ties(Truth(truth.scores, truth.ran, True)) is None
