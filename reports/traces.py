"""What a method's curve shows: its checkpoints over all complete seeds, its mean score and its rank quality there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.analysis import Analysis
from reports.checkpoints import Point, curves_of, mean_point, ranked
from reports.ranking import oriented
from reports.rows import MethodResult


@dataclass(frozen=True)
class Trace:
    """A method's curve, mean over the seeds whose cells are complete.

    Attributes:
        label: The method.
        points: Its checkpoints in order; their scores are larger-is-better.
        scores: Mean over the pairs at each, as the metric is written; None for a method without connectors.
        ranks: Spearman with the reference's test scores at each; None without a reference.
    """

    label: str
    points: list[Point]
    scores: list[float] | None
    ranks: list[float] | None


def trace(analysis: Analysis, result: MethodResult) -> list[dict[int, Point]]:
    """The method's checkpoints that all complete seeds have: seed -> point, in order."""
    per_seed = {seed: curve.points() or [curve.end()] for seed, curve in curves_of(result.data, analysis.run).items()}
    length = min((len(points) for points in per_seed.values()), default=0)
    found = [{seed: points[number] for seed, points in per_seed.items()} for number in range(length)]
    return [at for at in found if any(np.isfinite(point.scores).any() for point in at.values())]


def traces(analysis: Analysis) -> list[Trace]:
    """Every method's curve that has something to show, in plan order."""
    found = {label: trace(analysis, result) for label, result in analysis.methods.items()}
    found = {label: at for label, at in found.items() if at and mean_point(at[-1]).flops > 0}
    if analysis.truth is None:
        found = {n: at for n, at in found.items() if analysis.methods[n].data.planned.kind != "score"}
    out = []
    for label, checkpoints in found.items():
        points = [mean_point(at) for at in checkpoints]
        out.append(Trace(label, points, *_heights(analysis, label, checkpoints, points)))
    return out


def _heights(
    analysis: Analysis, label: str, checkpoints: Sequence[dict[int, Point]], points: Sequence[Point]
) -> tuple[list[float] | None, list[float] | None]:
    """Mean score (none without connectors), and rank correlation (none without a reference)."""
    result, scores, ranks = analysis.methods[label], None, None
    if result.data.planned.kind != "score":
        means = np.array([np.nanmean(point.scores) for point in points])
        scores = list(oriented(means, higher_is_better=analysis.manifest.selection.higher_is_better))
    if analysis.truth is not None:
        own = result is analysis.reference
        found = [ranked(analysis.truth, result.data, analysis.run, at, own=own) for at in checkpoints]
        ranks = [comparison.spearman.value for comparison in found]
    return scores, ranks
