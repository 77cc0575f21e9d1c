"""The bootstrap: the fast path against the metric itself, and coverage in simulated cases."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.special import ndtr

from harness.contract.metric import Metric, measured, values
from harness.data.base import Index
from harness.tasks.retrieval import Retrieval
from harness.tasks.zero_shot import ZeroShot
from reports import ranking
from reports.bootstrap import (
    PairQueries,
    draw_weights,
    is_slow,
    pair_queries,
    percentile_interval,
    resampled_scores,
)
from reports.compare import ReferenceScores, compare
from reports.separated import not_separated

TASKS: dict[str, Mapping[str, Metric]] = {
    "retrieval": Retrieval.metrics,
    "zero_shot": ZeroShot.metrics,
    "language": {"perplexity": Metric(query="image_to_text", link="exp", higher_is_better=False)},
}


def make_queries(task: str, images: int, rng: np.random.Generator) -> PairQueries:
    """Two captions per image where texts ask, one query per image otherwise."""
    metrics = TASKS[task]
    units = {
        "text_to_image": np.repeat(np.arange(images), 2),
        "image_to_text": np.arange(images),
        "zero_shot": np.arange(images),
    }
    asked = measured(metrics)
    return PairQueries(
        {name: rng.integers(1, 15, size=len(units[metrics[name].query])) / 7 for name in asked},
        {metrics[name].query: units[metrics[name].query].astype(np.int32) for name in asked},
    )


@pytest.mark.parametrize(("task", "metric"), [(task, name) for task, metrics in TASKS.items() for name in metrics])
def test_resampled_scores_are_the_metric_of_the_resampled_queries(task: str, metric: str) -> None:
    rng, metrics = np.random.default_rng(0), TASKS[task]
    columns = [make_queries(task, 30, rng), None, make_queries(task, 30, rng)]
    weights = draw_weights(30, resamples=5, seed=1)
    found = resampled_scores(columns, metrics, metric, weights)
    for row, weight in enumerate(weights.astype(int)):
        for place in (0, 2):
            column = columns[place]
            assert column is not None
            drawn = {
                name: np.concatenate(
                    [np.repeat(q, weight[u]) for q, u in zip(asked, column.unit[metrics[name].query], strict=True)]
                )
                for name, asked in column.values.items()
            }
            assert found[row, place] == pytest.approx(values(metrics, drawn)[metric])
    assert np.isnan(found[:, 1]).all()
    ones = resampled_scores(columns, metrics, metric, np.ones((1, 30)))
    assert ones[0, 0] == pytest.approx(values(metrics, columns[0].values)[metric])  # type: ignore[union-attr]


def test_only_the_median_has_no_fast_path() -> None:
    slow = {(task, name) for task, metrics in TASKS.items() for name in metrics if is_slow(metrics, name)}
    assert slow == {("retrieval", "median_rank")}


def test_weights_draw_as_many_units_and_only_those_that_are_there() -> None:
    weights = draw_weights(10, present=np.array([1, 3, 4, 9]), resamples=50, seed=0)
    assert (weights.sum(axis=1) == 4).all()
    assert weights[:, [0, 2, 5]].sum() == 0
    assert weights[:, [1, 3, 4, 9]].sum(axis=0).min() > 25, "each about once in a resample"


def test_pair_queries_reads_the_stores_names() -> None:
    arrays = {
        "0/flickr/text_to_image_r1": np.array([1, 0]),
        "10/flickr/text_to_image_r1": np.array([0, 1]),
        "flickr/text_to_image/unit": np.array([0, 0]),
    }
    found = pair_queries(arrays, 10, "flickr", Retrieval.metrics)
    assert found is not None
    assert found.values["text_to_image_r1"].tolist() == [0, 1]
    assert found.unit["text_to_image"].tolist() == [0, 0]
    assert pair_queries(arrays, 1, "flickr", Retrieval.metrics) is None


def test_intervals_without_numbers() -> None:
    nothing = np.full(5, np.nan)
    assert np.isnan(percentile_interval(nothing)).all()


def simulate(seed: int, pairs: int = 12, images: int = 300) -> tuple[ReferenceScores, np.ndarray, np.ndarray]:
    """Truth from a sample of images, the method's scores, and the pairs' true recall over all images."""
    rng = np.random.default_rng(seed)
    quality = -0.2 + 0.25 * rng.standard_normal(pairs)
    scores = quality + 0.3 * rng.standard_normal(pairs)
    hit = quality + 0.8 * rng.standard_normal((images, 1)) + 0.6 * rng.standard_normal((images, pairs)) > 0
    unit = np.arange(images, dtype=np.int32)
    columns = [
        PairQueries({"text_to_image_r5": hit[:, p].astype(np.uint8)}, {"text_to_image": unit}) for p in range(pairs)
    ]
    weights = draw_weights(images, seed=seed, resamples=300)
    draws = resampled_scores(columns, Retrieval.metrics, "text_to_image_r5", weights)[:, None]
    truth = ReferenceScores(hit.mean(axis=0)[None], np.ones((1, pairs), dtype=bool), True, draws, images)
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


def test_pairs_not_separated_are_close_ones_and_no_others() -> None:
    truth, _, _ = simulate(4, pairs=6, images=400)
    best = int(np.nanargmax(truth.mean))
    twin = (best + 1) % 6
    for array in (truth.scores, truth.draws):
        assert array is not None
        array[..., twin] = array[..., best]
        array[..., (best + 2) % 6] = array[..., best] - 0.2
    tied = not_separated(truth)
    assert tied is not None
    assert {best, twin} <= set(tied)
    assert (best + 2) % 6 not in tied
    assert not_separated(ReferenceScores(truth.scores, truth.ran, True)) is None


def test_units_are_the_groups_of_near_duplicates() -> None:
    """Against the spread over worlds: images of one group hit or miss together, so images drawn alone move too little.

    60 groups of four images, three quarters of whose variance is the group's.
    """
    worlds, groups = 150, np.repeat(np.arange(60), 4)
    index = Index(240, np.arange(240), {"test": np.arange(240)}, groups=groups)
    alone = Index(240, np.arange(240), {"test": np.arange(240)})
    rng = np.random.default_rng(0)
    recalls, spread = [], {"groups": [], "images": []}
    for world in range(worlds):
        hit = np.sqrt(0.75) * rng.standard_normal(60)[groups] + 0.5 * rng.standard_normal(240) > 0
        recalls.append(hit.mean())
        for name, own in (("groups", index), ("images", alone)):
            unit = own.units("test").astype(np.int32)
            column = PairQueries({"text_to_image_r5": hit.astype(np.uint8)}, {"text_to_image": unit})
            weights = draw_weights(int(unit.max()) + 1, seed=world, resamples=200)
            draws = resampled_scores([column], Retrieval.metrics, "text_to_image_r5", weights)
            spread[name].append(draws.std())
    truth = np.std(recalls)
    assert np.mean(spread["groups"]) == pytest.approx(truth, rel=0.2), "150 worlds know it within 6 %"
    assert np.mean(spread["images"]) < 0.7 * truth, "as if each image said something of its own"
