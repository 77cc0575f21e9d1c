"""Metrics follow from their declarations: average, link, what they are made of."""

import math

import numpy as np
import pytest

from harness.contract.metric import Metric, measured, values
from harness.tasks.base import TASKS
from harness.tasks.recall import per_query
from harness.tasks.retrieval import Retrieval
from harness.tasks.zero_shot import ZeroShot

ALL = {kind: TASKS.get(kind).metrics for kind in TASKS.names()}


def test_retrieval_metrics_by_hand() -> None:
    ranks = {"text_to_image": np.array([1, 3, 7, 20]), "image_to_text": np.array([1, 11])}
    queries = {name: per_query(name, ranks) for name in measured(Retrieval.metrics)}
    assert values(Retrieval.metrics, queries) == {
        "text_to_image_r1": 0.25,
        "text_to_image_r5": 0.5,
        "text_to_image_r10": 0.75,
        "image_to_text_r1": 0.5,
        "image_to_text_r5": 0.5,
        "image_to_text_r10": 0.5,
        "mean_r1": 0.375,
        "median_rank": 5.0,
    }
    assert values(Retrieval.metrics, {"text_to_image_r5": per_query("text_to_image_r5", ranks)}) == {
        "text_to_image_r5": 0.5
    }, "what has no queries has no value"
    hits = {"top1": np.array([1, 0, 0]), "top5": np.array([1, 1, 0])}
    assert values(ZeroShot.metrics, hits) == {"top1": 1 / 3, "top5": 2 / 3}


def test_averages_and_links_by_hand() -> None:
    declared = {
        "perplexity": Metric(link="exp", higher_is_better=False),
        "median": Metric(average="median"),
        "mean": Metric(),
        "both": Metric(of=("median", "mean")),
    }
    losses = np.array([0.0, math.log(4), math.log(16)], dtype=np.float32)
    found = values(declared, dict.fromkeys(("perplexity", "median", "mean"), losses))
    # The mean of 0, 2 log 2 and 4 log 2 is 2 log 2, and so is the middle one: a perplexity of 4.
    assert found == pytest.approx({"perplexity": 4.0, "median": math.log(4), "mean": math.log(4), "both": math.log(4)})


def test_averages_are_taken_in_double_precision() -> None:
    """A mean of many float16 or uint8 numbers must not overflow or round."""
    many = np.full(100_000, 1, dtype=np.uint8)
    assert values({"m": Metric()}, {"m": many}) == {"m": 1.0}
    assert values({"m": Metric()}, {"m": np.full(5000, 100, dtype=np.float16)}) == {"m": 100.0}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, metrics in ALL.items() for name in metrics])
def test_a_metric_needs_only_the_queries_that_it_is_made_of(kind: str, name: str) -> None:
    rng = np.random.default_rng(0)
    queries = {own: rng.integers(1, 30, 40) for own in measured(ALL[kind])}
    needed = {own: queries[own] for own in measured(ALL[kind], [name])}
    assert values(ALL[kind], needed)[name] == values(ALL[kind], queries)[name]
    assert len(needed) == len(ALL[kind][name].of or (name,))


def test_only_ranks_and_perplexities_are_better_when_lower() -> None:
    lower = [name for metrics in ALL.values() for name, metric in metrics.items() if not metric.higher_is_better]
    assert sorted(lower) == ["alone", "median_rank", "no_image", "perplexity", "shuffled"]


@pytest.mark.parametrize("kind", ALL)
def test_no_metric_beats_the_best_value_that_there_is(kind: str) -> None:
    for name, metric in ALL[kind].items():
        best = None if name == "explained" else 1.0  # a difference of losses has no best value
        assert metric.saturates == best, "all hits, every rank the first, or no doubt of any token"
