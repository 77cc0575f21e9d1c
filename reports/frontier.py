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
Quality: TypeAlias = Literal["spearman", "regret"]
COSTS: tuple[Cost, ...] = ("flops", "seconds")
QUALITIES: tuple[Quality, ...] = ("spearman", "regret")

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
        reference: It is the reference: its numbers are leave-one-seed-out.
    """

    label: str
    flops: float
    seconds: float
    spearman: float | None
    regret: float | None
    reference: bool = False

    @property
    def family(self) -> str:
        """What its ladder's labels have in common: ``ape`` of ``ape@4``."""
        return self.label.partition("@")[0]

    def cost(self, kind: Cost) -> float:
        """What it spent."""
        return self.flops if kind == "flops" else self.seconds

    def goodness(self, kind: Quality) -> float | None:
        """Its quality, larger is better."""
        if kind == "spearman":
            return self.spearman
        return None if self.regret is None else -self.regret


def frontier_entries(analysis: Analysis) -> list[FrontierRow]:
    """Entries that can be placed: a seed with all its cells, and a rank statistic. In plan order."""
    if analysis.reference is None:
        return []
    found = []
    for label, result in analysis.methods.items():
        flops, seconds = result.cost.flops.total, result.cost.wall_s
        row = result.summary
        spearman, regret = finite(row.spearman.value), finite(row.regret.value)
        if result.cost.complete and flops is not None and seconds is not None and not spearman is regret is None:
            found.append(FrontierRow(label, flops, seconds, spearman, regret, label == analysis.summary.reference))
    return found if len(found) >= FEWEST else []


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
