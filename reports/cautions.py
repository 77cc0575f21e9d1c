"""What to be careful of: where the numbers of a run are easily taken for more than they say."""

import math
from collections.abc import Iterator
from itertools import permutations

import numpy as np

from harness.contract.exposure import Exposure, few_updates, unlike_updates, updates_text
from reports import formatting
from reports.analysis import Analysis
from reports.checkpoints import curves_of, mean_point
from reports.protagonists import others
from reports.rows import MethodResult
from reports.scores import seed_mean
from reports.wording import counted, pair_name

FAR_BEHIND = 0.5
"""A reference that is less than this share of another method's way above chance is called undertrained."""

STILL_RISING = 0.25
"""Share of its way above chance that a reference may gain in the second half of its training."""

SATURATED = 0.99
"""Share of the way from chance to the best possible value from which a score has no room left."""

AT_ODDS = 0.5
"""A reference whose seeds rank the pairs less alike than this is no yardstick for rankings."""

FEW_PAIRS = 8
"""Fewer pairs than this make a rank correlation that says little."""


def cautions(analysis: Analysis) -> list[str]:
    """One sentence each; none for a smoke run, whose verdict already says that its numbers mean nothing."""
    if analysis.manifest.smoke:
        return []
    return [
        *_undertrained(analysis),
        *_at_odds(analysis),
        *_unlike(analysis),
        *_few_pairs(analysis),
        *_saturated(analysis),
        *_repeated(analysis),
    ]


def _undertrained(analysis: Analysis) -> Iterator[str]:
    reference = analysis.reference
    if reference is None or not np.isfinite(reference.data.test).any():
        return
    found = _beaten(analysis, reference) or _rising(analysis, reference)
    if found is None:
        exposure = Exposure(reference.data.planned.budget, reference.cost.updates_per_pair)
        found = few_updates(reference.label, exposure)
    if found is not None:
        yield found


def _beaten(analysis: Analysis, reference: MethodResult) -> str | None:
    """Another method's connectors are so much better that the reference cannot have been trained to its end."""
    if _above_chance(analysis, reference.delivered.mean.value) is None:
        return None
    ours, worst = seed_mean(reference.data.test), None
    for result in others(analysis):
        theirs = seed_mean(result.data.test)
        both = np.isfinite(ours) & np.isfinite(theirs)
        if not both.any():
            continue
        mine, other = (_above_chance(analysis, float(scores[both].mean())) or 0.0 for scores in (ours, theirs))
        if other > 0 and mine < FAR_BEHIND * other and (worst is None or mine / other < worst[0]):
            gaps = np.where(both, np.abs(theirs - ours), -np.inf)
            worst = mine / other, result.label, int(gaps.argmax()), theirs
    if worst is None:
        return None
    _, label, pair, theirs = worst
    updates = updates_text(reference.cost.updates_per_pair)
    return (
        f"The reference looks undertrained: {reference.label} reaches {formatting.number(ours[pair])} after {updates} "
        f"updates per pair where {label} has {formatting.number(theirs[pair])} on the same pair "
        f"({pair_name(analysis.manifest.pairs[pair])}). Rankings are compared with it, so do not trust them yet."
    )


def _rising(analysis: Analysis, reference: MethodResult) -> str | None:
    """The reference gained much in the second half of its training."""
    curves = curves_of(reference.data, analysis.run)
    if not curves or any(curve.stops_pairs for curve in curves.values()):
        return None
    end = min(curve.reach for curve in curves.values())
    halves = [u for u in next(iter(curves.values())).checkpoints() if 0.25 * end <= u <= 0.55 * end]
    if not halves:
        return None
    early, late = (
        mean_point({seed: curve.at(updates) for seed, curve in curves.items()}) for updates in (halves[-1], end)
    )
    sign = 1.0 if reference.data.score_higher else -1.0
    then, now = (sign * float(np.nanmean(point.scores)) for point in (early, late))
    before, after = _above_chance(analysis, then), _above_chance(analysis, now)
    if before is None or after is None or after <= 0 or after - before < STILL_RISING * after:
        return None
    return (
        f"The reference may be undertrained: {reference.label}'s mean validation score still rose from "
        f"{formatting.number(then)} at {updates_text(early.updates)} updates per pair to {formatting.number(now)} at "
        f"{updates_text(late.updates)}."
    )


def _at_odds(analysis: Analysis) -> Iterator[str]:
    """The reference's own seeds do not agree on the order of the pairs."""
    ceiling, reference = analysis.summary.noise_ceiling.spearman, analysis.reference
    if reference is not None and ceiling is not None and ceiling < AT_ODDS and reference.comparison.pairs >= FEW_PAIRS:
        yield (
            f"{reference.label}'s own seeds do not agree on the order of the pairs (rank correlation "
            f"{formatting.number(ceiling, 2)}), so it hardly matters how well another method agrees with it."
        )


def _above_chance(analysis: Analysis, score: float) -> float | None:
    """How far a score is on the better side of chance; None where chance is not known."""
    selection = analysis.manifest.selection
    task = next((task for task in analysis.manifest.tasks if task.label == selection.task), None)
    chance = None if task is None else task.chance.get(selection.metric)
    if chance is None:
        return score if selection.higher_is_better else None
    return score - chance if selection.higher_is_better else chance - score


def _unlike(analysis: Analysis) -> Iterator[str]:
    planned = {
        label: Exposure(result.data.planned.budget, result.cost.updates_per_pair)
        for label, result in analysis.methods.items()
        if result.data.rungs is None
    }
    yield from unlike_updates(planned)


def _few_pairs(analysis: Analysis) -> Iterator[str]:
    compared = max((result.comparison.pairs for result in analysis.methods.values()), default=0)
    if not 2 <= compared < FEW_PAIRS:
        return
    best = _exceeded_by_one_in_twenty(compared)
    beside = "" if best is None else f", and one in twenty has a rank correlation of {formatting.number(best, 2)}"
    yield (
        f"Rankings of {counted(compared, 'pair')} say little: of random orders one in "
        f"{formatting.count(math.factorial(compared))} agrees perfectly{beside}."
    )


def _exceeded_by_one_in_twenty(n: int) -> float | None:
    """The Spearman correlation that at most 5 % of random orders of n pairs reach; None where even 1 is more likely."""
    places = np.arange(n) - (n - 1) / 2
    drawn = np.array([places @ places[list(order)] for order in permutations(range(n))]) / (places @ places)
    values = [value for value in np.unique(drawn.round(9)) if (drawn >= value - 1e-9).mean() <= 0.05]
    return float(values[0]) if values else None


def _saturated(analysis: Analysis) -> Iterator[str]:
    selection = analysis.manifest.selection
    task = next((task for task in analysis.manifest.tasks if task.label == selection.task), None)
    metric = analysis.run.metrics.get(selection.metric)
    source = analysis.reference or next(iter(analysis.methods.values()), None)
    if metric is None or metric.saturates is None or task is None or source is None:
        return
    chance = task.chance.get(selection.metric, 0.0 if selection.higher_is_better else math.nan)
    scores = seed_mean(source.data.test)
    way = (scores - chance) / (metric.saturates - chance)
    full = int((way >= SATURATED).sum())
    if full >= 2:
        yield (
            f"{selection.metric} has no room left: {source.label} has {full} of {int(np.isfinite(scores).sum())} pairs "
            f"at its best value, {metric.saturates:g}, so it cannot tell these apart. Select by a harder metric."
        )


def _repeated(analysis: Analysis) -> Iterator[str]:
    repeated = analysis.manifest.repeated_captions
    if repeated:
        verb = "belongs" if repeated == 1 else "belong"
        yield (
            f"{counted(repeated, 'test caption')} {verb} word for word to more than one test image: only one of the "
            "images counts as right, so no model can be perfect here."
        )
