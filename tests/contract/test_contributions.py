"""What units contribute to a metric: the metric is their mean, and a bootstrap over them is one over the units."""

import numpy as np
import pytest

from harness.contract.metric import Metric, contributions, values

METRICS = {
    "a": Metric(query="one"),
    "b": Metric(query="two"),
    "both": Metric(of=("a", "b")),
    "median": Metric(query="one", average="median"),
    "perplexity": Metric(query="one", link="exp", higher_is_better=False),
}


@pytest.fixture
def world() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    units = {"one": np.sort(rng.integers(0, 400, 1500)), "two": np.arange(400)}
    means = rng.random(400)
    hits = {"a": (rng.random(1500) < means[units["one"]]).astype(np.uint8)}
    hits["b"] = (rng.random(400) < means).astype(np.uint8)
    return hits, units


@pytest.mark.parametrize("name", ["a", "both"])
def test_their_mean_is_the_metric_and_their_spread_that_of_a_bootstrap(world, name: str) -> None:
    queries, units = world
    found = contributions(METRICS, name, queries, units)
    assert found is not None
    assert found.mean() == pytest.approx(values(METRICS, queries)[name])
    rng, drawn = np.random.default_rng(1), []
    members = {key: [np.flatnonzero(unit == u) for u in range(400)] for key, unit in units.items()}
    for _ in range(600):
        chosen = rng.integers(0, 400, 400)
        rows = {key: np.concatenate([of[u] for u in chosen]) for key, of in members.items()}
        resampled = {"a": queries["a"][rows["one"]], "b": queries["b"][rows["two"]]}
        drawn.append(values(METRICS, resampled)[name])
    assert found.std() / np.sqrt(len(found)) == pytest.approx(np.std(drawn), rel=0.12)


@pytest.mark.parametrize("name", ["median", "perplexity"])
def test_a_metric_that_is_no_mean_has_none(world, name: str) -> None:
    queries, units = world
    assert contributions(METRICS, name, {name: queries["a"]}, units) is None
