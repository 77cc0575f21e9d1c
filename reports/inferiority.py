"""Does a method rank pairs as well as the reference's own seeds do? A paired statement with a margin and an interval.

The difference is the method's mean Spearman correlation minus the reference's own, both against the same yardstick:
seed by seed the mean test scores of the reference's other seeds. A method that is not worse than the margin, with its
whole interval, is non-inferior (Piaggio et al. 2012, CONSORT; Walker & Nowacki 2011).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from harness.contract.seeding import stream
from reports.bootstrap import percentile_interval
from reports.noise import residual_variance, residuals, seed_noise
from reports.ranking import oriented, spearman
from reports.rundata import MethodData
from reports.scores import Cube, Matrix, ReferenceScores, met_seeds, seed_mean

MARGIN = 0.05
"""The smallest loss of Spearman's correlation that matters.

Of two rankings Voorhees (SIGIR 2001) calls those of Kendall's tau above 0.9 equivalent and those below 0.8 noticeably
different; under a normal distribution these are Spearman correlations of 0.985 and 0.945. A method passes when its
whole interval lies above a noticeable loss. In places: ``1 - rho`` is 6 / n^2 times their mean squared difference, so
0.05 moves pairs by ``n sqrt(0.05 / 6)``, about n / 11 places (root mean square).
"""

DRAWS, RANKED = 1000, 2_000_000
"""Joint draws of the noise, fewer (never below 200) where they times pairs would be more than ``RANKED``."""


@dataclass(frozen=True)
class NonInferiority:
    """A method's Spearman correlation against the reference's own.

    Attributes:
        difference: Method minus reference, mean over the seeds that both have; negative is worse.
        ci95: Interval over test units and seed noise; NaN where units cannot be resampled.
        margin: What still counts as no loss.
        passed: The interval lies above ``-margin``; None without an interval.
    """

    difference: float
    ci95: tuple[float, float]
    margin: float
    passed: bool | None


def non_inferior(
    truth: ReferenceScores, reference: MethodData, data: MethodData, *, margin: float = MARGIN, seed: int = 0
) -> NonInferiority | None:
    """Whether a method ranks as well as the reference, on test scores.

    Test units are resampled. Few seeds cannot be, so their noise is drawn: normal, with each side's variance around its
    pairs' means, and correlated as the two sides' residuals are (a method that hands over the reference's own
    connectors has the reference's own noise). What is covered is the difference to be expected at this number of units
    and seeds; the interval is wider than it need be where the two sides are equal, because the noise that is drawn is
    in the measured scores already.

    Args:
        truth: The reference's test scores, with resamples.
        reference: The reference.
        data: The method.
        margin: See ``MARGIN``.
        seed: Of the draws.

    Returns:
        None where no seed of the reference can be compared with another.
    """
    return _statement(truth, reference, data, margin, seed, resampled=True)


def on_validation(
    reference: MethodData, data: MethodData, *, margin: float = MARGIN, seed: int = 0
) -> NonInferiority | None:
    """The same with the reference's validation scores as the yardstick, to pick a method by before it is tested.

    Nothing is stored of single validation queries: the interval holds seed noise only.
    """
    scores = oriented(reference.scores, higher_is_better=reference.score_higher)
    truth = ReferenceScores(scores, reference.ran, reference.metric_higher)
    return _statement(truth, reference, data, margin, seed, resampled=False)


def cheapest_passing(
    reference: MethodData, methods: Mapping[str, MethodData], costs: Mapping[str, float], *, margin: float = MARGIN
) -> str | None:
    """The cheapest method that passes on validation, of those that cost less than the reference; None if none does.

    So that it is not the luckiest of many on the test split: only the one that is named here is then shown on test.

    Args:
        reference: The reference.
        methods: Label -> method.
        costs: Label -> FLOPs per seed; methods that are not here are left out.
        margin: See ``MARGIN``.
    """
    limit = costs.get(reference.label, float("inf"))
    for label in sorted(costs, key=lambda label: costs[label]):
        if label == reference.label or label not in methods or costs[label] >= limit:
            continue
        found = on_validation(reference, methods[label], margin=margin)
        if found is not None and found.passed:
            return label
    return None


def _statement(
    truth: ReferenceScores, reference: MethodData, data: MethodData, margin: float, seed: int, *, resampled: bool
) -> NonInferiority | None:
    rows = [row for row in range(len(truth.ran)) if _comparable(truth, reference, data, row)]
    if not rows:
        return None
    sides = (data, reference)
    measured = [_correlation(truth.scores[None], side.ranking[None], side, truth, rows)[0] for side in sides]
    difference = float(measured[0] - measured[1])
    if not np.isfinite(difference) or (resampled and truth.draws is None):
        return NonInferiority(difference, (float("nan"), float("nan")), margin, None)
    count = max(200, min(DRAWS, RANKED // truth.ran.shape[1]))
    count = count if truth.draws is None else min(count, len(truth.draws))
    yardstick, ours, theirs = _noisy(truth, data, reference, count, seed)
    drawn = _correlation(yardstick, ours, data, truth, rows) - _correlation(yardstick, theirs, reference, truth, rows)
    low, high = percentile_interval(drawn - np.nanmean(drawn))
    ci95 = (difference + low, difference + high)
    return NonInferiority(difference, ci95, margin, bool(ci95[0] > -margin))


def _places(truth: ReferenceScores, data: MethodData, row: int) -> np.ndarray:
    """Pairs on which a seed of the method meets other seeds of the reference."""
    return np.flatnonzero(data.ran[row] & truth.ran[met_seeds(truth, row, own=True)].any(axis=0))


def _comparable(truth: ReferenceScores, reference: MethodData, data: MethodData, row: int) -> bool:
    places = _places(truth, data, row), _places(truth, reference, row)
    return all(
        len(at) > 1 and np.isfinite(side.scores[row, at]).any()
        for at, side in zip(places, (data, reference), strict=True)
    )


def _correlation(
    yardstick: Cube, ranked: Cube, data: MethodData, truth: ReferenceScores, rows: list[int]
) -> Float[np.ndarray, " draws"]:
    """Mean Spearman correlation over the seeds, in every draw."""
    found = []
    for row in rows:
        places = _places(truth, data, row)
        met = seed_mean(yardstick[:, met_seeds(truth, row, own=True)][..., places])
        found.append(spearman(ranked[:, row, places], met))
    return np.mean(found, axis=0)


def _noisy(
    truth: ReferenceScores, data: MethodData, reference: MethodData, count: int, seed: int
) -> tuple[Cube, Cube, Cube]:
    """The yardstick, the method's and the reference's scores under draws of other units and other seeds."""
    rng = stream(seed, "non-inferiority")
    shape = (count, *truth.ran.shape)
    of_reference = rng.standard_normal(shape)
    like = _likeness(data, reference)
    of_method = like * of_reference + np.sqrt(1 - like**2) * rng.standard_normal(shape)
    units = truth.scores[None] if truth.draws is None else truth.draws[:count]
    # The connectors that are ranked on validation are those whose test scores are met: one seed's noise is in both.
    yardstick = units + np.sqrt(seed_noise(truth).pure) * of_reference
    ours, theirs = (
        np.where(np.isnan(side.ranking), np.nan, seed_mean(side.ranking)) + np.sqrt(_own_noise(side)) * noise
        for side, noise in ((data, of_method), (reference, of_reference))
    )
    return yardstick, ours, theirs


def _own_noise(data: MethodData) -> float:
    """Variance of a seed around the pairs' means in what a method ranks by; 0 where no seed can be compared."""
    variance, freedom = residual_variance(data.scores)
    return float(variance) if freedom else 0.0


def _likeness(data: MethodData, reference: MethodData) -> float:
    """Correlation of the two sides' seed residuals: 1 for the same connectors, 0 for unrelated ones."""
    sides = ((side.scores, side.score_higher) for side in (data, reference))
    both: list[Matrix] = [residuals(oriented(scores, higher_is_better=higher)) for scores, higher in sides]
    norm = np.sqrt((both[0] ** 2).sum() * (both[1] ** 2).sum())
    return float(np.clip((both[0] * both[1]).sum() / norm, -1.0, 1.0)) if norm > 0 else 0.0
