"""A method's ranking against the reference's test scores, with intervals.

The reference's test scores are the truth, its mean over seeds; for the reference itself, each seed meets the mean
of the others. Only the truth is resampled (test images): a method's own scores come from validation data.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float

from reports import ranking
from reports.bootstrap import (
    RESAMPLES,
    RESAMPLES_SLOW,
    PairQueries,
    Weights,
    draw_weights,
    hull_interval,
    is_slow,
    pair_queries,
    percentile_interval,
    resampled_scores,
)
from reports.ranking import RankStatistic
from reports.rundata import MethodData, RunData

Matrix: TypeAlias = Float[np.ndarray, "seeds pairs"]
Cube: TypeAlias = Float[np.ndarray, "draws seeds pairs"]

NDCG_K, TOP_K = 7, 3
KENDALL_BUDGET = 15_000_000
"""Pair differences x resamples that the bootstrap of tau-b may spend; fewer resamples beyond (never below 100)."""


@dataclass(frozen=True)
class SeedStatistic:
    """A statistic per seed, its mean over the seeds that have it, interval and chance level (all may be NaN)."""

    per_seed: tuple[float, ...] = ()
    value: float = float("nan")
    ci95: tuple[float, float] = (float("nan"), float("nan"))
    chance: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Rank statistics of one method.

    Attributes:
        spearman: Chance 0.
        kendall: Chance 0.
        ndcg: At ``ndcg_k``.
        topk: Overlap at ``top_k``.
        regret: In the metric's unit; chance is that of a random pick.
        hit: Best-pair hit.
        ndcg_k: min(7, pairs).
        top_k: min(3, pairs).
        pairs: Pairs compared (the most over the seeds).
        p_value: One-sided permutation p-value of the mean Spearman correlation.
        picks: Picked pair's number per seed, among the pairs that both sides have.
    """

    spearman: SeedStatistic = SeedStatistic()
    kendall: SeedStatistic = SeedStatistic()
    ndcg: SeedStatistic = SeedStatistic()
    topk: SeedStatistic = SeedStatistic()
    regret: SeedStatistic = SeedStatistic()
    hit: SeedStatistic = SeedStatistic()
    ndcg_k: int = NDCG_K
    top_k: int = TOP_K
    pairs: int = 0
    p_value: float = float("nan")
    picks: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class ReferenceScores:
    """The reference's test scores, larger is better; NaN where there is no number.

    Attributes:
        scores: ``[seeds, pairs]`` on the test images as they are.
        ran: ``[seeds, pairs]`` the reference has a verdict (a number, or diverged: ranked last).
        higher_is_better: Of the metric as written.
        draws: ``[resamples, seeds, pairs]`` under the bootstrap; None without stored ranks.
        left_out: ``[groups, seeds, pairs]`` jackknife; None without stored ranks.
    """

    scores: Matrix
    ran: Bool[np.ndarray, "seeds pairs"]
    higher_is_better: bool
    draws: Cube | None = None
    left_out: Float[np.ndarray, "groups seeds pairs"] | None = None

    @property
    def mean(self) -> Float[np.ndarray, " pairs"]:
        """Mean over the seeds that have a number."""
        return seed_mean(self.scores)

    def within(self, allowed: Bool[np.ndarray, " pairs"]) -> "ReferenceScores":
        """Without a verdict on any other pair."""
        return replace(self, scores=np.where(allowed, self.scores, np.nan), ran=self.ran & allowed)

    @property
    def known(self) -> Bool[np.ndarray, " pairs"]:
        """Pairs with a verdict in any seed."""
        return np.asarray(self.ran.any(axis=0))


def seed_mean(scores: Float[np.ndarray, "*draws seeds pairs"]) -> Float[np.ndarray, "*draws pairs"]:
    """Mean over the seeds that have a number; NaN where none has."""
    known = np.isfinite(scores)
    count = known.sum(axis=-2)
    total = np.where(known, scores, 0.0).sum(axis=-2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def reference_scores(run: RunData, reference: MethodData, *, seed: int = 0) -> ReferenceScores:
    """The reference's test scores with their resamples (none when the ranks are not stored or not resampleable)."""
    columns, images = _columns(run, reference)
    metrics, metric = run.metrics, run.manifest.selection.metric
    if metric not in metrics or not images.size or all(column is None for column in columns):
        return ReferenceScores(reference.quality, reference.ran, reference.metric_higher)
    resamples = RESAMPLES_SLOW if is_slow(metrics, metric) else RESAMPLES
    weights: Weights = draw_weights(int(images.max()) + 1, present=images, resamples=resamples, seed=seed)

    def cube(rows: np.ndarray) -> np.ndarray:
        scores = resampled_scores(columns, metrics, metric, rows).reshape(len(rows), *reference.test.shape)
        return ranking.oriented(scores, higher_is_better=reference.metric_higher)

    return ReferenceScores(
        reference.quality, reference.ran, reference.metric_higher, cube(weights.bootstrap), cube(weights.jackknife)
    )


def _columns(run: RunData, reference: MethodData) -> tuple[list[PairQueries | None], np.ndarray]:
    """Stored ranks per (seed, pair), and the test images they cover."""
    manifest = run.manifest
    task = manifest.selection.task
    columns: list[PairQueries | None] = [None] * reference.test.size
    places = {pair: number for number, pair in enumerate(manifest.pairs)}
    for record in reference.records.values():
        if record.seed not in manifest.seeds or record.status not in ("done", "diverged"):
            continue
        arrays = run.store.queries(record.key)
        row = manifest.seeds.index(record.seed)
        for number, pair in enumerate(record.pairs):
            if pair in places and np.isfinite(reference.test[row, places[pair]]):
                columns[row * len(manifest.pairs) + places[pair]] = pair_queries(arrays, number, task, run.metrics)
    units = [values for column in columns if column for values in column.unit.values()]
    return columns, np.unique(np.concatenate(units)) if units else np.empty(0, dtype=int)


@dataclass(frozen=True)
class _Side:
    """One seed: the method's scores and the truth over the pairs that both have."""

    places: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    draws: np.ndarray | None


def _sides(truth: ReferenceScores, scores: Matrix, ran: np.ndarray, *, own: bool) -> list[_Side | None]:
    sides: list[_Side | None] = []
    for row in range(len(scores)):
        others = np.arange(len(scores)) != row if own else np.ones(len(truth.ran), dtype=bool)
        places = np.flatnonzero(ran[row] & truth.ran[others].any(axis=0))
        if len(places) < 2 or np.isnan(scores[row, places]).all():
            sides.append(None)
            continue

        mean = seed_mean(truth.scores[others][:, places])
        draws = None if truth.draws is None else seed_mean(truth.draws[..., others, :][..., places])
        sides.append(_Side(places, scores[row, places], mean, draws))
    return sides


def compare(
    truth: ReferenceScores, scores: Matrix, ran: np.ndarray, *, own: bool = False, intervals: bool = True
) -> Comparison:
    """Rank statistics of a method.

    Args:
        truth: The reference's test scores.
        scores: ``[seeds, pairs]`` the method's scores, larger is better, NaN for none.
        ran: ``[seeds, pairs]`` where it has a verdict.
        own: The method is the reference itself: leave one seed out.
        intervals: Compute the bootstrap intervals and the p-value too.
    """
    sides = _sides(truth, scores, ran, own=own)
    present = [side for side in sides if side is not None]
    if not present:
        nothing = SeedStatistic(per_seed=(float("nan"),) * len(sides))
        return Comparison(spearman=nothing, picks=(None,) * len(sides))
    n = max(len(side.places) for side in present)
    k, top, higher = min(NDCG_K, n), min(TOP_K, n), truth.higher_is_better

    def gain(values: np.ndarray) -> np.ndarray:
        return ranking.gains(values, higher_is_better=higher)

    def estimate(
        statistic: RankStatistic, chance: Callable[[np.ndarray], float], kind: str, cap: int = 10**9
    ) -> SeedStatistic:
        per_seed = tuple(
            float("nan") if side is None else _finite(float(statistic(side.scores, side.truth))) for side in sides
        )
        value = _mean(per_seed)
        interval = _interval(statistic, present, value, kind, cap) if intervals else SeedStatistic().ci95
        return SeedStatistic(per_seed, value, interval, _mean([chance(side.truth) for side in present]))

    cap = max(100, KENDALL_BUDGET // max(1, n * (n - 1) // 2))
    same = all(np.array_equal(side.places, present[0].places) for side in present)
    return Comparison(
        spearman=estimate(ranking.spearman, lambda _: 0.0, "hull"),
        kendall=estimate(ranking.kendall, lambda _: 0.0, "hull", cap) if intervals else SeedStatistic(),
        ndcg=estimate(
            lambda s, t: ranking.ndcg(s, gain(t), k), lambda t: float(ranking.ndcg_chance(gain(t), k)), "percentile"
        ),
        topk=estimate(lambda s, t: ranking.topk_overlap(s, t, top), lambda t: min(1.0, top / len(t)), "percentile"),
        regret=estimate(ranking.regret, lambda t: float(ranking.regret_chance(t)), "percentile"),
        hit=estimate(ranking.best_pair_hit, lambda t: 1 / len(t), "percentile"),
        ndcg_k=k,
        top_k=top,
        pairs=n,
        p_value=_p_value(present) if intervals and same else float("nan"),
        picks=tuple(_picked(side) for side in sides),
    )


def _picked(side: _Side | None) -> int | None:
    number = None if side is None else ranking.pick(side.scores)
    return None if side is None or number is None else int(side.places[number])


def _p_value(sides: list[_Side]) -> float:
    return ranking.permutation_p(np.stack([s.scores for s in sides]), np.stack([s.truth for s in sides]))


def _interval(statistic: RankStatistic, sides: list[_Side], value: float, kind: str, cap: int) -> tuple[float, float]:
    """Interval of the mean over seeds; it always covers the point estimate."""
    draws = [statistic(side.scores, side.draws[:cap]) for side in sides if side.draws is not None]
    if not draws or not np.isfinite(value):
        return float("nan"), float("nan")
    if kind == "hull":
        return hull_interval(value, np.mean(draws, axis=0))
    low, high = percentile_interval(np.mean(draws, axis=0))
    return min(low, value), max(high, value)


def _mean(values: tuple[float, ...] | list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _finite(value: float) -> float:
    return value if np.isfinite(value) else float("nan")


def near_ties(truth: ReferenceScores) -> list[int] | None:
    """Pairs that test noise cannot tell from the best one: the 95 % interval of (best - pair) reaches 0.

    The best itself is among them. Not corrected for looking at many pairs. None without resamples.
    """
    mean = truth.mean
    if truth.draws is None or np.isnan(mean).all():
        return None
    best = int(np.nanargmax(mean))
    draws = seed_mean(truth.draws)
    out = []
    for pair in np.flatnonzero(np.isfinite(mean)):
        low, _ = percentile_interval(draws[:, best] - draws[:, pair])
        if pair == best or mean[pair] == mean[best] or not low > 0:
            out.append(int(pair))
    return sorted(out, key=lambda pair: -mean[pair])
