"""The frontier: which method, at which budget, is worth its cost.

A point is one entry of the sweep as it was run (a method at one budget), with the learning-rate schedule that fits its
budget; points read off a longer run's curve are in the views.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reports.analysis import Analysis
from reports.schema import finite

Cost: TypeAlias = Literal["flops", "seconds"]
Quality: TypeAlias = Literal["mean_score", "delivered", "spearman", "regret"]
COSTS: tuple[Cost, ...] = ("flops", "seconds")
QUALITIES: tuple[Quality, ...] = ("mean_score", "delivered", "spearman", "regret")

FEWEST = 3
"""Entries that make a frontier."""


@dataclass(frozen=True)
class FrontierRow:
    """One method at one budget, per seed.

    Attributes:
        label: Its label in the sweep file.
        flops: Its total.
        seconds: Device-seconds inside its cells.
        spearman: Larger is better; None when unknown.
        regret: Smaller is better; None when unknown.
        mean_score: Test score of its connectors, mean over pairs, as the metric is written; None unless every pair has
            one, because a mean over some pairs cannot be compared with one over all.
        delivered: Test score of the connector that it hands over.
        reference: It is the reference: its rank statistics are leave-one-seed-out.
        higher_is_better: Of the metric.
    """

    label: str
    flops: float
    seconds: float
    spearman: float | None
    regret: float | None
    mean_score: float | None = None
    delivered: float | None = None
    reference: bool = False
    higher_is_better: bool = True

    @property
    def family(self) -> str:
        """What its ladder's labels have in common: ``ape`` of ``ape@4``."""
        return self.label.partition("@")[0]

    def cost(self, kind: Cost) -> float:
        """What it spent."""
        return self.flops if kind == "flops" else self.seconds

    def goodness(self, kind: Quality) -> float | None:
        """Its quality, larger is better."""
        value: float | None = getattr(self, kind)
        larger = kind == "spearman" or (kind != "regret" and self.higher_is_better)
        return value if value is None or larger else -value


def frontier_entries(analysis: Analysis) -> list[FrontierRow]:
    """Entries that make a frontier: those that can be placed, if they are enough. In plan order."""
    found = placed_entries(analysis)
    return found if len(found) >= FEWEST else []


def placed_entries(analysis: Analysis) -> list[FrontierRow]:
    """Entries with a seed with all its cells, and something to judge by."""
    found = []
    for label, result in analysis.methods.items():
        flops, seconds = result.cost.flops.total, result.cost.wall_s
        if not result.cost.complete or flops is None or seconds is None:
            continue
        row = result.summary
        entry = FrontierRow(
            label,
            flops,
            seconds,
            spearman=finite(row.spearman.value),
            regret=finite(row.regret.value),
            mean_score=finite(row.mean_score) if result.connectors == analysis.summary.n_pairs else None,
            delivered=finite(row.delivered.value),
            reference=label == analysis.summary.reference,
            higher_is_better=analysis.summary.selection.higher_is_better,
        )
        if any(entry.goodness(quality) is not None for quality in QUALITIES):
            found.append(entry)
    return found


def undominated(entries: Sequence[FrontierRow], cost: Cost, quality: Quality) -> set[str]:
    """Labels that no other entry beats: none is at least as cheap and as good, and better in one of both."""
    known = [(e.label, e.cost(cost), good) for e in entries if (good := e.goodness(quality)) is not None]
    return {
        label
        for label, spent, good in known
        if not any(theirs <= spent and other >= good and (theirs < spent or other > good) for _, theirs, other in known)
    }


def staircase(entries: Sequence[FrontierRow], cost: Cost, quality: Quality) -> list[FrontierRow]:
    """The undominated entries, cheapest first."""
    kept = undominated(entries, cost, quality)
    return sorted((e for e in entries if e.label in kept), key=lambda e: (e.cost(cost), e.label))
