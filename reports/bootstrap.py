"""Bootstrap over test units, resampled jointly for all pairs and seeds.

A unit is a test image, or a group of near-duplicates where the data has groups. Queries follow the unit they belong to;
the gallery they were ranked against stays as it was. A resample is a vector of whole-number weights over units. For
metrics that are means of queries the sums per unit are sufficient: a resample's scores are then matrix products.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, Num

from harness.contract.metric import Metric, measured
from harness.contract.seeding import stream

RESAMPLES = 1000
RESAMPLES_SLOW = 300
"""Resamples for metrics without sufficient statistics (median rank), each computed from its queries."""
_CHUNK = 4_000_000


@dataclass(frozen=True)
class PairQueries:
    """What each test query gave for one pair's connector on one task.

    Attributes:
        values: Metric -> ``[queries]`` numbers.
        unit: Query name -> ``[queries]`` unit that each query belongs to.
    """

    values: dict[str, Num[np.ndarray, " _"]]
    unit: dict[str, Int32[np.ndarray, " _"]]


def pair_queries(
    arrays: Mapping[str, np.ndarray], number: int, task: str, metrics: Mapping[str, Metric]
) -> PairQueries | None:
    """Take one pair's queries on one task out of a cell's arrays (see ``RunStore.queries``); None when it has none."""
    prefix = f"{number}/{task}/"
    values = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    queries = {metrics[name].query for name in values if name in metrics}
    unit = {query: arrays[name] for query in queries if (name := f"{task}/{query}/unit") in arrays}
    if not values or len(unit) < len(queries):
        return None
    return PairQueries(values, {query: np.asarray(array, dtype=np.int32) for query, array in unit.items()})


def draw_weights(
    units: int, *, present: np.ndarray | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "resamples units"]:
    """Whole-number weights over test units: resamples of as many units as there are.

    Args:
        units: Size of the weight vectors.
        present: The test units to draw from, all by default.
        resamples: Bootstrap resamples.
        seed: Of the draw.
    """
    pool = np.arange(units) if present is None else present
    rng = stream(seed, "bootstrap")
    weights = np.zeros((resamples, units))
    for row in weights:
        row += np.bincount(pool[rng.integers(len(pool), size=len(pool))], minlength=units)
    return weights


def is_slow(metrics: Mapping[str, Metric], metric: str) -> bool:
    """Whether a metric has no sums per unit that suffice, so that every resample is computed from its queries."""
    return any(metrics[part].average != "mean" for part in measured(metrics, [metric]))


def resampled_scores(
    columns: Sequence[PairQueries | None],
    metrics: Mapping[str, Metric],
    metric: str,
    weights: Float[np.ndarray, "resamples units"],
) -> Float[np.ndarray, "resamples columns"]:
    """A metric of many connectors under many resamples of the units.

    Args:
        columns: One entry per connector (a pair and a seed); None gives a column of NaN.
        metrics: The task's metrics as declared.
        metric: One of them.
        weights: Resamples.

    Returns:
        The metric per resample and column, in its own orientation.
    """
    parts = measured(metrics, [metric])
    total = np.zeros((len(weights), len(columns)))
    for part in parts:
        resampled = _means if metrics[part].average == "mean" else _medians
        averages = resampled(columns, part, metrics[part].query, weights)
        total += np.exp(averages) if metrics[part].link == "exp" else averages
    return total / len(parts)


def _means(
    columns: Sequence[PairQueries | None], metric: str, query: str, weights: Float[np.ndarray, "resamples units"]
) -> Float[np.ndarray, "resamples columns"]:
    """Sums per unit suffice: a resample's means are two matrix products."""
    units = weights.shape[1]
    sums = np.full((units, len(columns)), np.nan)
    known = [(n, column) for n, column in enumerate(columns) if column is not None and metric in column.values]
    for place, column in known:
        sums[:, place] = np.bincount(column.unit[query], weights=column.values[metric], minlength=units)
    owners = [column.unit[query] for _, column in known]
    if all(np.array_equal(owner, owners[0]) for owner in owners):  # as ever, but in a run with gaps
        asked = np.bincount(owners[0], minlength=units)[:, None] if owners else np.ones((units, 1))
    else:
        asked = np.ones((units, len(columns)))
        for (place, _), owner in zip(known, owners, strict=True):
            asked[:, place] = np.bincount(owner, minlength=units)
    out = np.empty((len(weights), len(columns)))
    block = max(1, _CHUNK // units)
    for start in range(0, len(weights), block):
        rows = slice(start, start + block)
        out[rows] = (weights[rows] @ sums) / np.maximum(weights[rows] @ asked, 1.0)
    return out


def _medians(
    columns: Sequence[PairQueries | None], metric: str, query: str, weights: Float[np.ndarray, "resamples units"]
) -> Float[np.ndarray, "resamples columns"]:
    """Each resample from its queries."""
    out = np.full((len(weights), len(columns)), np.nan)
    for place, column in enumerate(columns):
        if column is None or metric not in column.values:
            continue
        for row, weight in enumerate(weights.astype(int)):
            out[row, place] = np.median(np.repeat(column.values[metric], weight[column.unit[query]]))
    return out


def percentile_interval(values: Float[np.ndarray, " resamples"], level: float = 0.95) -> tuple[float, float]:
    """The middle ``level`` of the resampled values; NaN values are left out."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def hull_interval(
    value: float, values: Float[np.ndarray, " resamples"], level: float = 0.95, upper: float = 1.0
) -> tuple[float, float]:
    """Hull of the percentile and the basic bootstrap interval (Davison & Hinkley 1997, section 5.2), for correlations.

    A resample adds test noise once more, so it lowers a rank correlation on average, and what test noise took from the
    measured value itself no correction of the resamples' bias brings back: BCa covers the correlation with noise-free
    test scores far less often than it says. The basic interval reaches up as far as the percentile interval reaches
    down, so their hull is wide on both sides; ``test_coverage_of_the_intervals`` simulates what it covers.

    Args:
        value: The statistic on the test units as they are.
        values: Under the bootstrap resamples.
        level: Coverage.
        upper: Largest possible value.
    """
    low, high = percentile_interval(values, level)
    if not np.isfinite(low) or not np.isfinite(value):
        return float("nan"), float("nan")
    return min(low, value, 2 * value - high), min(upper, max(high, value, 2 * value - low))
