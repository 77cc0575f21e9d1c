"""A method's ranking against the reference's test scores, with intervals.

One footing for every row: seed s of a method meets the mean of the reference's other seeds (``scores.met_seeds``), and
the reference's own row, so computed, is the noise ceiling. Only the truth is resampled (test units): a method's own
scores come from validation data.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reports import ranking
from reports.bootstrap import hull_interval, percentile_interval
from reports.permutation import permutation_p
from reports.ranking import RankStatistic
from reports.scores import Matrix, ReferenceScores, met_seeds, reference_scores, seed_mean, test_scores

__all__ = ["Comparison", "ReferenceScores", "compare", "reference_scores", "seed_mean", "test_scores"]

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
        p_value: One-sided p-value of the mean Spearman correlation, by permuting encoders.
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
class _SeedScores:
    """One seed: the method's scores and the truth over the pairs that both have."""

    places: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    draws: np.ndarray | None


def _sides(truth: ReferenceScores, scores: Matrix, ran: np.ndarray, *, own: bool) -> list[_SeedScores | None]:
    sides: list[_SeedScores | None] = []
    for row in range(len(scores)):
        others = met_seeds(truth, row, own=own)
        places = np.flatnonzero(ran[row] & truth.ran[others].any(axis=0))
        if len(places) < 2 or np.isnan(scores[row, places]).all():
            sides.append(None)
            continue

        mean = seed_mean(truth.scores[others][:, places])
        draws = None if truth.draws is None else seed_mean(truth.draws[..., others, :][..., places])
        sides.append(_SeedScores(places, scores[row, places], mean, draws))
    return sides


def compare(
    truth: ReferenceScores, scores: Matrix, ran: np.ndarray, *, own: bool = False, intervals: bool = True
) -> Comparison:
    """Rank statistics of a method.

    Args:
        truth: The reference's test scores.
        scores: ``[seeds, pairs]`` the method's scores, larger is better, NaN for none.
        ran: ``[seeds, pairs]`` where it has a verdict.
        own: The method is the reference itself, which has no row where it has one seed.
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
        p_value=_p_value(truth, present) if intervals else float("nan"),
        picks=tuple(_picked(side) for side in sides),
    )


def _picked(side: _SeedScores | None) -> int | None:
    number = None if side is None else ranking.pick(side.scores)
    return None if side is None or number is None else int(side.places[number])


def _p_value(truth: ReferenceScores, sides: list[_SeedScores]) -> float:
    """Of the mean Spearman correlation; NaN where it is not known which encoders the pairs are of."""
    if truth.encoders is None:
        return float("nan")
    ranked = np.full((2, len(sides), len(truth.encoders)), np.nan)
    for row, side in enumerate(sides):
        ranked[:, row, side.places] = ranking.ranks(np.stack([side.scores, side.truth]))
    return permutation_p(ranked[0], ranked[1], truth.encoders)


def _interval(
    statistic: RankStatistic, sides: list[_SeedScores], value: float, kind: str, cap: int
) -> tuple[float, float]:
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
