"""Where a method can be compared at a smaller budget: checkpoints on its curve, and shorter runs of the same method.

A checkpoint inside a run comes from a learning rate that has not decayed yet. A shorter run with a schedule of its own
(a ladder's entry: the same method and settings, another budget) is what that budget really gives, so it is preferred
where the run has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Integer

from reports.checkpoints import Curve, Point, curves_of, mean_point
from reports.ranking import oriented, pick
from reports.rundata import MethodData, RunData
from reports.scores import ReferenceScores, seed_mean

NEAR, NEAR_UPDATES = 0.05, 0.5
"""Two sides are at the same updates per pair within 5 % and within half an update: steps are whole numbers."""

SLACK = 1.01
"""The FLOPs that limit a side are a mean over seeds, and a seed's may lie a little above."""


LIKE = 0.8
"""A shorter run that spends at least this share of what a point on the curve does stands in its place."""


@dataclass(frozen=True)
class Cut:
    """A method at one budget.

    Attributes:
        data: Whose cells: the method's own, or a shorter run's.
        points: Seed -> where it is.
        ended: It is the end of these cells, where the learning rate has decayed and test scores are known.
        even: Every pair has had the same number of updates.
        curve: Of a shorter run that stands in the place of a point on the curve: the mean validation score there.
    """

    data: MethodData
    points: dict[int, Point]
    ended: bool
    even: bool
    curve: float = float("nan")

    @cached_property
    def mean(self) -> Point:
        """Mean over the seeds."""
        return mean_point(self.points)

    @property
    def score(self) -> float:
        """Mean validation score over pairs, larger is better; NaN without scores."""
        scores = self.mean.scores
        return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


@dataclass(frozen=True)
class Runs:
    """A method and the shorter runs of the same method.

    Attributes:
        data: The method.
        cuts: Its own points, in order; the last is its end. Empty without a seed whose cells have all a record.
        shorter: Ends of the shorter runs.
    """

    data: MethodData
    cuts: list[Cut]
    shorter: list[Cut]

    @classmethod
    def of(cls, data: MethodData, run: RunData) -> "Runs":
        """A method's own points, and the ends of shorter runs of the same method."""
        own = cuts_of(data, run)
        ends = [cut for other in run.methods.values() if _same_method(data, other) for cut in cuts_of(other, run)[-1:]]
        return cls(data, own, [cut for cut in ends if own and cut.mean.updates < own[-1].mean.updates])

    @property
    def scored_at(self) -> str:
        """Where it has scores, in few words."""
        return f"{self.data.label} has scores at {', '.join(f'{cut.mean.updates:.4g}' for cut in self.cuts)}"


def _same_method(data: MethodData, other: MethodData) -> bool:
    """Whether two labels are one method with one set of settings, at two budgets."""
    one, two = data.planned, other.planned
    return other is not data and (one.method, one.config) == (two.method, two.config) and one.budget != two.budget


def cuts_of(data: MethodData, run: RunData) -> list[Cut]:
    """A method's own points: checkpoints that all pairs and complete seeds share, and its end."""
    curves = curves_of(data, run)
    if not curves:
        return []
    found = [
        Cut(data, {seed: curve.at(updates) for seed, curve in curves.items()}, ended=False, even=True)
        for updates in _shared(list(curves.values()))
    ]
    even = len({round(end, 6) for curve in curves.values() for end in curve.ends}) == 1
    return [*found, Cut(data, {seed: curve.end() for seed, curve in curves.items()}, ended=True, even=even)]


def _shared(curves: Sequence[Curve]) -> list[float]:
    """Checkpoints before the end that every curve has."""
    first, *rest = curves
    last = min((end for curve in curves for end in curve.ends), default=0.0)
    return [
        updates
        for updates in first.shared()
        if updates < last * (1 - 1e-6) and all(any(_equal(updates, own) for own in curve.shared()) for curve in rest)
    ]


def _equal(one: float, other: float) -> bool:
    return bool(np.isclose(one, other, rtol=1e-6))


def same_updates(one: float, other: float) -> bool:
    """Whether two numbers of updates per pair count as the same; see ``NEAR``."""
    return abs(one - other) <= min(NEAR_UPDATES, NEAR * max(one, other)) + 1e-9


def largest_common(ours: Runs, theirs: Runs) -> tuple[Cut, Cut] | None:
    """The largest number of updates per pair at which both sides have scores; ends before checkpoints."""
    sides = [
        [cut for cut in (*runs.cuts, *runs.shorter) if cut.even and cut.mean.updates > 0] for runs in (ours, theirs)
    ]
    common = [
        (own, other) for own in sides[0] for other in sides[1] if same_updates(own.mean.updates, other.mean.updates)
    ]
    if not common:
        return None
    most = max(min(own.mean.updates, other.mean.updates) for own, other in common)
    near = [both for both in common if same_updates(min(cut.mean.updates for cut in both), most)]
    return max(near, key=_preference)


def _preference(both: tuple[Cut, Cut]) -> tuple[int, float]:
    own, other = (cut.mean.updates for cut in both)
    return sum(cut.ended for cut in both), -abs(own - other)


def best_within(runs: Runs, limit: float) -> Cut | None:
    """The point with the best mean validation score among those within a limit of FLOPs, the cheaper on ties.

    Shorter runs of the method take part where its own does not fit within the limit as a whole. One that spends about
    as much as the best point on the curve stands in its place, because that is what such a budget really gives.
    """
    own, other = ([cut for cut in cuts if cut.mean.flops <= limit * SLACK] for cuts in (runs.cuts, runs.shorter))
    if any(cut.ended for cut in own):
        return _best(own)
    found = _best([*own, *other])
    if found is None or found.ended:
        return found
    like = [cut for cut in other if cut.mean.flops >= LIKE * found.mean.flops]
    end = _best(like)
    return found if end is None else replace(end, curve=found.score)


def _best(cuts: Sequence[Cut]) -> Cut | None:
    known = [cut for cut in cuts if np.isfinite(cut.score)]
    return max(known, key=lambda cut: (cut.score, -cut.mean.flops), default=None)


def delivered(
    data: MethodData,
    order: Float[np.ndarray, " pairs"],
    rows: Integer[np.ndarray, " seeds"],
    allowed: Bool[np.ndarray, " pairs"],
) -> float:
    """Test score, as written, of a method's own connector for the pair that it picks; NaN where it has none.

    Args:
        data: The method.
        order: What it picks by, larger is better.
        rows: Numbers of the seeds whose mean it is.
        allowed: Pairs that may be picked.
    """
    best = pick(order, allowed)
    return float("nan") if best is None else float(seed_mean(data.test[rows])[best])


def mean_gap(truth: ReferenceScores, data: MethodData, rows: Integer[np.ndarray, " seeds"]) -> float:
    """Mean over the pairs that both have of how far a method's test scores lie behind the reference's."""
    gaps = truth.mean - oriented(seed_mean(data.test[rows]), higher_is_better=data.metric_higher)
    return float(np.nanmean(gaps)) if np.isfinite(gaps).any() else float("nan")
