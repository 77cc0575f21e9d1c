"""Rank statistics as pure functions.

Everywhere: scores are oriented so that larger is better (see ``oriented``), the last axis is pairs, and a
pair without a score (NaN: its training diverged) shares the last place with the others of its kind. The
method's scores are one vector ``[n]``; the truth may carry leading axes ``[..., n]`` (bootstrap resamples),
and the result then has those axes.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

Scores: TypeAlias = Float[np.ndarray, " n"]
TruthRows: TypeAlias = Float[np.ndarray, "*batch n"]
Values: TypeAlias = Float[np.ndarray, "*batch"]
RankStatistic: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""``(scores [n], truth [..., n]) -> [...]``."""


def oriented(scores: Float[np.ndarray, "*shape"], *, higher_is_better: bool) -> Float[np.ndarray, "*shape"]:
    """Turn scores so that larger is better; NaN stays NaN."""
    return np.asarray(scores if higher_is_better else -scores, dtype=float)


def _placed(scores: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """No score means the last place."""
    return np.where(np.isnan(scores), -np.inf, scores)


def ranks(values: TruthRows) -> TruthRows:
    """Mid-ranks, 1 for the smallest; pairs without a score share the first of them."""
    return rankdata(_placed(values), axis=-1)


def spearman(scores: Float[np.ndarray, "*#batch n"], truth: Float[np.ndarray, "*#batch n"]) -> Values:
    """Spearman's rank correlation with mid-ranks for ties; NaN when the truth is constant.

    Constant scores rank nothing: 0, the expected value of a random order. Scores may carry leading axes too, which
    then go with those of the truth.
    """
    x, y = ranks(scores), ranks(truth)
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    across, own, other = (x * y).sum(axis=-1), (x**2).sum(axis=-1), (y**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(own > 0, np.clip(across / np.sqrt(own * other), -1.0, 1.0), 0.0)
    return np.asarray(np.where(other > 0, found, np.nan))


def kendall(scores: Scores, truth: TruthRows) -> Values:
    """Kendall's tau-b, ties on either side accounted for; NaN when the truth is constant, 0 for constant scores."""
    # Ranks first: differences of two infinities would be NaN.
    x = ranks(scores).astype(np.float32)
    y = np.ascontiguousarray(ranks(truth).reshape(-1, truth.shape[-1]).T, dtype=np.float32)
    agree, untied_x, untied_y = np.zeros(y.shape[1]), 0, np.zeros(y.shape[1])
    for one in range(len(x) - 1):
        sign_x, sign_y = np.sign(x[one] - x[one + 1 :]), np.sign(y[one] - y[one + 1 :])
        agree += sign_x @ sign_y
        untied_x += np.count_nonzero(sign_x)
        untied_y += np.count_nonzero(sign_y, axis=0)
    if len(x) > 1 and not untied_x:
        return np.where(untied_y > 0, 0.0, np.nan).reshape(truth.shape[:-1])
    return _ratio(agree, np.sqrt(untied_x * untied_y)).reshape(truth.shape[:-1])


def gains(truth: TruthRows, *, higher_is_better: bool) -> TruthRows:
    """Gains for NDCG: the score itself, or for lower-is-better its reflection in the middle of its range.

    Args:
        truth: Oriented scores (larger is better), i.e. ``-score`` for a lower-is-better metric.
        higher_is_better: Of the metric itself.

    Returns:
        Score, or ``min + max - score`` over the pairs. A pair without a score gains 0.
    """
    if higher_is_better:
        return np.nan_to_num(truth, nan=0.0)
    known = np.isfinite(truth)
    low = np.where(known, truth, np.inf).min(axis=-1, keepdims=True)
    high = np.where(known, truth, -np.inf).max(axis=-1, keepdims=True)
    # truth is -score: min(score) = -high, max(score) = -low.
    return np.where(known, truth - low - high, 0.0)


def discounts(n: int, k: int) -> Float[np.ndarray, " n"]:
    """``1 / log2(place + 1)`` for the first k places, 0 after them."""
    places = np.arange(1, n + 1)
    return np.where(places <= k, 1.0 / np.log2(places + 1), 0.0)


def ndcg(scores: Scores, gain: TruthRows, k: int) -> Values:
    """NDCG@k with the gain itself (not ``2^gain - 1``); tied scores share their places' discounts evenly.

    Args:
        scores: What orders the pairs.
        gain: Non-negative gains.
        k: Places that count.

    Returns:
        Values in 0..1; NaN when no pair has a gain.
    """
    placed = _placed(scores)
    table = discounts(len(scores), k)
    first = rankdata(-placed, method="min").astype(int) - 1
    last = rankdata(-placed, method="max").astype(int)
    running = np.concatenate([[0.0], np.cumsum(table)])
    weight = (running[last] - running[first]) / (last - first)
    return _ratio(np.asarray(gain @ weight), _ideal(gain, table))


def ndcg_chance(gain: TruthRows, k: int) -> Values:
    """Expected NDCG@k of a uniformly random order: mean gain x sum of discounts / ideal DCG."""
    table = discounts(gain.shape[-1], k)
    return _ratio(np.asarray(gain.mean(axis=-1) * table.sum()), _ideal(gain, table))


def _ideal(gain: TruthRows, table: Float[np.ndarray, " n"]) -> Values:
    return np.asarray(-np.sort(-gain, axis=-1) @ table)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(bottom > 0, top / bottom, np.nan))


def _in_top(values: TruthRows, k: int) -> TruthRows:
    """Share of each pair's membership in the first k; a tied group that straddles place k shares what is left."""
    placed = -_placed(values)
    first = rankdata(placed, method="min", axis=-1)
    last = rankdata(placed, method="max", axis=-1)
    return np.clip((k - first + 1) / (last - first + 1), 0.0, 1.0)


def topk_overlap(scores: Scores, truth: TruthRows, k: int) -> Values:
    """Share of the truth's first k pairs that are among the method's first k (expected value under ties).

    Its chance level is ``k / n``.
    """
    return np.asarray(_in_top(truth, k) @ _in_top(scores, k) / k)


def pick(scores: Scores, among: Bool[np.ndarray, " n"] | None = None) -> int | None:
    """Number of the pair a method picks: the best score, the first in plan order on ties.

    None without scores, and where all pairs tie: then nothing is picked, and the statistics are those of a random pick.

    Args:
        scores: Larger is better; NaN for none.
        among: Pairs that may be picked; all by default.
    """
    open_ = np.arange(len(scores)) if among is None else np.flatnonzero(among)
    inner = scores[open_]
    if np.isnan(inner).all() or (len(inner) > 1 and np.ptp(inner) == 0):
        return None
    return int(open_[np.nanargmax(inner)])


def tied_first(scores: Scores, among: Bool[np.ndarray, " n"] | None = None) -> int:
    """Number of pairs that share the best score; 0 without scores, 1 where the pick is clear.

    Args:
        scores: Larger is better; NaN for none.
        among: Pairs that may be picked; all by default.
    """
    inner = scores if among is None else scores[among]
    known = inner[np.isfinite(inner)]
    return int((known == known.max()).sum()) if len(known) else 0


def _tied_first(scores: Scores) -> Float[np.ndarray, " n"]:
    """Chance of each pair to be picked: equal among those with the best score."""
    first = scores == np.nanmax(scores)
    return first / first.sum()


def places(scores: Scores) -> Scores:
    """Place of each pair, 1 for the best, ties at the better place; NaN for a pair without a score."""
    return np.where(np.isnan(scores), np.nan, rankdata(-_placed(scores), method="min"))


def regret(scores: Scores, truth: TruthRows) -> Values:
    """Best truth minus the truth of the picked pair: 0 is perfect, positive is a loss, in the metric's own unit.

    With oriented scores this is ``oracle - picked`` for higher-is-better and ``picked - oracle`` for
    lower-is-better. The expected value where several pairs tie for the pick: constant scores give
    ``regret_chance``. NaN when there are no scores or a picked pair has no truth.
    """
    if np.isnan(scores).all():
        return np.full(truth.shape[:-1], np.nan)
    best = np.where(np.isnan(truth), -np.inf, truth).max(axis=-1)
    chance = _tied_first(scores)
    picked = np.flatnonzero(chance)
    # Sums of shares that are not exact may come out above the best by the last digit.
    return np.asarray(np.maximum(best - truth[..., picked] @ chance[picked], 0.0))


def regret_chance(truth: TruthRows) -> Values:
    """Expected regret of a pair picked uniformly at random among those with a truth."""
    known = np.isfinite(truth)
    mean = _ratio(np.asarray(np.where(known, truth, 0.0).sum(axis=-1)), np.asarray(known.sum(axis=-1)))
    return np.asarray(np.where(known, truth, -np.inf).max(axis=-1) - mean)


def best_pair_hit(scores: Scores, truth: TruthRows) -> Values:
    """1 where the picked pair is the truth's best (or ties with it), else 0; chance is ``1 / n``.

    The expected value where several pairs tie for the pick.
    """
    if np.isnan(scores).all():
        return np.full(truth.shape[:-1], np.nan)
    best = np.where(np.isnan(truth), -np.inf, truth).max(axis=-1, keepdims=True)
    chance = _tied_first(scores)
    picked = np.flatnonzero(chance)
    hits = (truth[..., picked] == best).astype(float) @ chance[picked]
    return np.asarray(np.where(np.isnan(truth[..., picked]).any(axis=-1), np.nan, hits))
