"""What people get from a method: the test scores of its own connectors, beside those of the reference.

All of it is resampled over the same test units for every method, so differences are paired. Seeds are averaged and not
resampled; what each seed gives stands beside the mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reports.bootstrap import percentile_interval
from reports.scores import ReferenceScores, seed_mean

NOTHING = (float("nan"), float("nan"))
LEVEL = 0.95


@dataclass(frozen=True)
class Resampled:
    """A number of the test data with its bootstrap.

    Attributes:
        value: On the test data as they are; NaN where there is none.
        ci95: Percentile interval over test units; NaN without stored queries.
        draws: ``[resamples]`` the number under each resample; None without stored queries.
        per_seed: The number for each seed that has one.
    """

    value: float = float("nan")
    ci95: tuple[float, float] = NOTHING
    draws: Float[np.ndarray, " resamples"] | None = None
    per_seed: tuple[float, ...] = ()

    @property
    def turned(self) -> "Resampled":
        """The same number with the other sign."""
        draws = None if self.draws is None else -self.draws
        return Resampled(-self.value, (-self.ci95[1], -self.ci95[0]), draws, tuple(-value for value in self.per_seed))


@dataclass(frozen=True)
class Delivered:
    """A method's connectors on test data.

    Attributes:
        best: Score of the connector of the pair that the method hands over, as the metric is written.
        mean: The same, mean over all pairs that have a connector.
        gain: ``best`` minus the reference's own ``best``; positive is better, whatever the metric's sign.
        gap: Mean over the pairs that both have of reference minus method; positive is worse.
        pairs: Pairs with a connector in every seed.
        each: ``[pairs, 2]`` interval of every pair's score by itself, as the metric is written; None without stored
            queries.
    """

    best: Resampled = Resampled()
    mean: Resampled = Resampled()
    gain: Resampled = Resampled()
    gap: Resampled = Resampled()
    pairs: int = 0
    each: Float[np.ndarray, "pairs 2"] | None = None


def delivered(
    own: ReferenceScores, pick: int | None, reference: ReferenceScores | None, reference_pick: int | None
) -> Delivered:
    """What a method delivers.

    Args:
        own: Its test scores.
        pick: Number of the pair that it hands over.
        reference: The reference's test scores, limited to the pairs that may be picked.
        reference_pick: Number of the pair that the reference hands over.
    """
    everything = np.asarray(np.isfinite(own.scores).any(axis=0))
    gain = gap = Resampled()
    best = Resampled() if pick is None else _estimate(own, _only(own, pick))
    if reference is not None:
        if pick is not None and reference_pick is not None:
            theirs = _estimate(reference, _only(reference, reference_pick))
            gain = _difference(best, theirs)
        both = np.asarray(everything & np.isfinite(reference.mean))
        gap = _difference(_estimate(reference, both), _estimate(own, both))
    return Delivered(
        best=_as_written(best, own),
        mean=_as_written(_estimate(own, everything), own),
        gain=gain,
        gap=gap,
        pairs=int(np.isfinite(own.scores).all(axis=0).sum()),
        each=_each(own),
    )


def surely_better(found: Mapping[str, Delivered]) -> dict[str, tuple[bool, bool]]:
    """Whose connectors are better than the reference's: (the one handed over, the mean over pairs).

    One-sided, at 95 % for all methods and both questions together: the largest standardised excess of a resample over
    the measured difference, of all of them, bounds each (max-T, Westfall & Young 1993). Every seed must agree, because
    seeds are not resampled. Without stored queries nothing is sure.

    Args:
        found: Label -> what the method delivers; without the reference's own.
    """
    wins = {(label, 0): d.gain for label, d in found.items()}
    wins |= {(label, 1): d.gap.turned for label, d in found.items()}
    moving = {key: e for key, e in wins.items() if e.draws is not None and np.std(e.draws) > 0}
    sure = dict.fromkeys(wins, False)
    if moving:
        values = np.array([e.value for e in moving.values()])
        draws = np.stack([e.draws for e in moving.values() if e.draws is not None])
        spread = draws.std(axis=1)
        excess = (draws - values[:, None]) / spread[:, None]
        bound = float(np.quantile(excess.max(axis=0), LEVEL))
        for (key, estimate), scale in zip(moving.items(), spread, strict=True):
            sure[key] = bool(estimate.value > bound * scale and min(estimate.per_seed, default=0.0) > 0)
    return {label: (sure[label, 0], sure[label, 1]) for label in found}


def _each(scores: ReferenceScores) -> Float[np.ndarray, "pairs 2"] | None:
    """The interval of every pair's score, NaN where there is none."""
    if scores.draws is None:
        return None
    draws, mean = seed_mean(scores.draws), scores.mean
    found = np.full((len(mean), 2), np.nan)
    known = np.isfinite(mean) & np.isfinite(draws).all(axis=0)
    ends = np.quantile(draws[:, known], [0.025, 0.975], axis=0)
    found[known] = np.stack([np.minimum(ends[0], mean[known]), np.maximum(ends[1], mean[known])], axis=1)
    return found if scores.higher_is_better else -found[:, ::-1]


def _only(scores: ReferenceScores, pair: int) -> np.ndarray:
    return np.arange(scores.scores.shape[1]) == pair


def _estimate(scores: ReferenceScores, among: np.ndarray) -> Resampled:
    """Mean over these pairs of the mean over seeds, larger is better."""
    value = _mean(seed_mean(scores.scores)[among])
    per_seed = tuple(_mean(row[among]) for row in scores.scores)
    if scores.draws is None or not np.isfinite(value):
        return Resampled(value, per_seed=per_seed)
    draws = seed_mean(scores.draws)[:, among]
    known = np.isfinite(draws).all(axis=0)
    return _with_interval(value, draws[:, known].mean(axis=1) if known.any() else None, per_seed)


def _difference(one: Resampled, other: Resampled) -> Resampled:
    """One minus the other; for the seeds, each of the one against the other's mean and the other way round."""
    draws = None if one.draws is None or other.draws is None else one.draws - other.draws
    seeds = [value - other.value for value in one.per_seed] + [one.value - value for value in other.per_seed]
    return _with_interval(one.value - other.value, draws, tuple(value for value in seeds if np.isfinite(value)))


def _as_written(estimate: Resampled, scores: ReferenceScores) -> Resampled:
    return estimate if scores.higher_is_better else estimate.turned


def _with_interval(value: float, draws: np.ndarray | None, per_seed: tuple[float, ...]) -> Resampled:
    if draws is None or not np.isfinite(value):
        return Resampled(value, per_seed=per_seed)
    low, high = percentile_interval(draws)
    return Resampled(value, (min(low, value), max(high, value)), draws, per_seed)


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
