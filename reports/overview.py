"""The first table: one row per method, what it delivers before how it ranks."""

from typing import NamedTuple

from reports import formatting
from reports.analysis import Analysis
from reports.rows import MethodResult
from reports.wording import estimated


class OverviewRow(NamedTuple):
    """One method's row, as text."""

    method: str
    kind: str
    cells: str
    best_pair: str
    delivered: str
    mean_score: str
    mean_gap: str
    spearman: str
    regret: str
    flops: str
    cost_ratio: str
    batch_size: str
    updates_per_pair: str
    wall: str


OVERVIEW_COLUMNS = OverviewRow(
    "method",
    "kind",
    "cells done",
    "best pair (picked on validation)",
    "delivered score [95% CI]",
    "mean score",
    "mean gap [95% CI]",
    "Spearman [95% CI]",
    "regret [95% CI]",
    "FLOPs",
    "cost ratio, as run (FLOPs / wall)",
    "batch",
    "updates per pair",
    "wall",
)
"""Headings of ``overview_rows``."""

COMPARED = ("mean_gap", "spearman", "regret", "cost_ratio")
"""Columns that take a reference to compare with."""

TIE = "none: all pairs tie"
"""The pick of a method that gives all pairs the same score."""


def columns_of(reference: str | None) -> list[str]:
    """Fields of ``OverviewRow`` that have something to say in a run."""
    return [name for name in OverviewRow._fields if reference is not None or name not in COMPARED]


def overview_rows(analysis: Analysis) -> list[OverviewRow]:
    """One row per method, in plan order; the cost ratio is the ``as_run`` view's."""
    picked = [r.summary.best_pair for r in analysis.methods.values() if r.summary.best_pair]
    image = formatting.short_names([pair[0] for pair in picked])
    text = formatting.short_names([pair[1] for pair in picked])

    def row(result: MethodResult) -> OverviewRow:
        summary, got = result.summary, result.delivered
        status, pair = summary.status, summary.best_pair
        planned = status.done + status.failed + status.diverged + status.missing
        ours = result.label == analysis.summary.reference
        ratio = summary.cost_ratio
        return OverviewRow(
            f"{result.label} (reference)" if ours else result.label,
            summary.kind,
            f"{status.done}/{planned}",
            f"{image[pair[0]]} + {text[pair[1]]}{first_of(result)}" if pair else TIE if result.all_tie else "–",
            estimated(got.best),
            f"{formatting.number(got.mean.value)}{_of_pairs(result, analysis)}",
            "–" if ours else estimated(got.gap),
            formatting.with_interval(summary.spearman.value, summary.spearman.ci95),
            formatting.with_interval(summary.regret.value, summary.regret.ci95),
            formatting.flops(summary.flops.total),
            f"{formatting.times(ratio.flops)} / {formatting.times(ratio.wall)}",
            formatting.count(summary.batch_size),
            formatting.count(summary.updates_per_pair),
            formatting.seconds(summary.wall_s),
        )

    return [row(result) for result in analysis.methods.values()]


def first_of(result: MethodResult) -> str:
    """What stands behind a pick that other pairs tie with; nothing behind a clear one."""
    return f" (first of {result.tied} that tie)" if result.tied > 1 else ""


def _of_pairs(result: MethodResult, analysis: Analysis) -> str:
    """What stands behind a mean over fewer pairs than the run has."""
    own, planned = result.connectors, analysis.summary.n_pairs
    return f" ({own} of {planned} pairs)" if 0 < own < planned else ""
