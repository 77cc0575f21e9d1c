"""Bootstrap over test images, resampled jointly for all pairs and seeds.

Queries follow the test image they belong to (their ``unit``); the gallery they were ranked against stays as it
was. A resample is a vector of whole-number weights over test images. For recall metrics the hits per image are
sufficient: a resample's scores are then one matrix product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32
from scipy.stats import norm

from harness.metrics import METRICS

RESAMPLES = 1000
RESAMPLES_SLOW = 300
"""Resamples for metrics without sufficient statistics (median rank), each computed from its queries."""
JACKKNIFE_GROUPS = 200
_CHUNK = 4_000_000


def _recalls() -> dict[tuple[str, str], tuple[tuple[str, int], ...]]:
    table: dict[tuple[str, str], tuple[tuple[str, int], ...]] = {
        ("retrieval", f"{query}_r{k}"): ((query, k),)
        for query in ("text_to_image", "image_to_text")
        for k in (1, 5, 10)
    }
    table["retrieval", "mean_r1"] = (("text_to_image", 1), ("image_to_text", 1))
    table["zero_shot", "top1"] = (("zero_shot", 1),)
    table["zero_shot", "top5"] = (("zero_shot", 5),)
    return table


RECALLS = _recalls()
"""(task kind, metric) -> the recalls ``(query kind, k)`` whose mean it is: what has sufficient statistics."""


@dataclass(frozen=True)
class PairRanks:
    """Test ranks of one pair's connector on one task.

    Attributes:
        ranks: Query kind -> ``[queries]`` ranks of the right answer.
        unit: Query kind -> ``[queries]`` test image that each query belongs to.
    """

    ranks: dict[str, Int32[np.ndarray, " queries"]]
    unit: dict[str, Int32[np.ndarray, " queries"]]


def pair_ranks(arrays: Mapping[str, np.ndarray], number: int, task: str) -> PairRanks | None:
    """Take one pair's ranks on one task out of a cell's arrays (see ``RunStore.ranks``); None when it has none."""
    prefix = f"{number}/{task}/"
    ranks = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    units = {query: arrays.get(f"{task}/{query}/unit") for query in ranks}
    if not ranks or any(values is None for values in units.values()):
        return None
    return PairRanks(
        {query: np.asarray(values, dtype=np.int32) for query, values in ranks.items()},
        {query: np.asarray(values, dtype=np.int32) for query, values in units.items()},
    )


@dataclass(frozen=True)
class Weights:
    """Whole-number weights over test images: bootstrap resamples, and the jackknife (a group left out in each row)."""

    bootstrap: Float[np.ndarray, "resamples images"]
    jackknife: Float[np.ndarray, "groups images"]


def draw_weights(
    images: int, *, present: np.ndarray | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Weights:
    """Draw resamples of test images, with as many images as there are.

    Args:
        images: Size of the weight vectors.
        present: The test images to draw from, all by default.
        resamples: Bootstrap resamples.
        seed: Of the draw.
    """
    pool = np.arange(images) if present is None else present
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, images))
    for row in weights:
        row += np.bincount(pool[rng.integers(len(pool), size=len(pool))], minlength=images)
    everything = np.zeros(images)
    everything[pool] = 1.0
    groups = np.array_split(rng.permutation(pool), min(len(pool), JACKKNIFE_GROUPS))
    jackknife = np.tile(everything, (len(groups), 1))
    for row, group in zip(jackknife, groups, strict=True):
        row[group] = 0.0
    return Weights(weights, jackknife)


def resampled_scores(
    columns: Sequence[PairRanks | None], kind: str, metric: str, weights: Float[np.ndarray, "resamples images"]
) -> Float[np.ndarray, "resamples columns"]:
    """A metric of many connectors under many resamples of the test images.

    Args:
        columns: One entry per connector (a pair and a seed); None gives a column of NaN.
        kind: Task kind.
        metric: A name of ``METRICS[kind]``.
        weights: Resamples.

    Returns:
        The metric per resample and column, in its own orientation.
    """
    if (kind, metric) in RECALLS:
        return _recall_scores(columns, RECALLS[kind, metric], weights)
    function = METRICS[kind][metric]
    out = np.full((len(weights), len(columns)), np.nan)
    for place, column in enumerate(columns):
        if column is None:
            continue
        for row, weight in enumerate(weights.astype(int)):
            drawn = {query: np.repeat(ranks, weight[column.unit[query]]) for query, ranks in column.ranks.items()}
            out[row, place] = function(drawn)
    return out


def _recall_scores(
    columns: Sequence[PairRanks | None],
    parts: tuple[tuple[str, int], ...],
    weights: Float[np.ndarray, "resamples images"],
) -> Float[np.ndarray, "resamples columns"]:
    images = weights.shape[1]
    total = np.zeros((len(weights), len(columns)))
    for query, k in parts:
        hits = np.full((images, len(columns)), np.nan)
        asked = np.ones((images, len(columns)))
        for place, column in enumerate(columns):
            if column is not None and query in column.ranks:
                unit = column.unit[query]
                hits[:, place] = np.bincount(unit, weights=column.ranks[query] <= k, minlength=images)
                asked[:, place] = np.bincount(unit, minlength=images)
        block = max(1, _CHUNK // images)
        for start in range(0, len(weights), block):
            rows = slice(start, start + block)
            total[rows] += (weights[rows] @ hits) / np.maximum(weights[rows] @ asked, 1.0)
    return total / len(parts)


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
        value: The statistic on the test images as they are.
        values: Under the bootstrap resamples.
        level: Coverage.
        upper: Largest possible value.
    """
    low, high = percentile_interval(values, level)
    if not np.isfinite(low) or not np.isfinite(value):
        return float("nan"), float("nan")
    return min(low, value, 2 * value - high), min(upper, max(high, value, 2 * value - low))


def bca_interval(
    value: float,
    values: Float[np.ndarray, " resamples"],
    jackknife: Float[np.ndarray, " groups"],
    level: float = 0.95,
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987), for statistics that resampling biases.

    Args:
        value: The statistic on the test images as they are.
        values: Under the bootstrap resamples; ties with ``value`` count half.
        jackknife: With each group of test images left out.
        level: Coverage.
    """
    known = values[np.isfinite(values)]
    if not len(known) or not np.isfinite(value):
        return float("nan"), float("nan")
    below = ((known < value).sum() + 0.5 * (known == value).sum()) / len(known)
    edge = 0.5 / len(known)
    bias = norm.ppf(np.clip(below, edge, 1 - edge))
    left = jackknife[np.isfinite(jackknife)]
    spread = left.mean() - left if len(left) else np.zeros(1)
    scale = (spread**2).sum() ** 1.5
    acceleration = (spread**3).sum() / (6 * scale) if scale > 0 else 0.0
    ends = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(known, norm.cdf(bias + ends / (1 - acceleration * ends)))
    return float(min(low, value)), float(max(high, value))
