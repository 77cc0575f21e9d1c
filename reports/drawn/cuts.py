"""Where a view cuts each side, as rings in the panels of costs: hidden until the view is chosen."""

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.drawn.canvas import Scale, hint, label, tag
from reports.drawn.marks import Look, mark
from reports.entries import Quality
from reports.schema import Spent, ViewEntry
from reports.views import CutReference
from reports.wording import budget_text

RING = 8.0
"""Radius of a ring: around a point that is not cut, it stands outside of its mark."""


def cut_rings(analysis: Analysis, quality: Quality, x: Scale, y: Scale, look: dict[str, Look]) -> list[str]:
    """Rings of the matched views: where each method is cut, and where the reference is cut for it.

    A ring at the lower end says that the quality is not known there; an arrow, that it lies beyond the panel.

    Args:
        analysis: The run.
        quality: What the panel shows.
        x: FLOPs.
        y: The quality.
        look: Label -> look.
    """
    if analysis.reference is None:
        return []
    found = []
    for view, cuts in analysis.cut_reference.items():
        for name, entry in getattr(analysis.summary.views, view).items():
            for who, side, budget in (
                (name, entry, entry.budget),
                (analysis.reference.label, cuts[name], entry.reference_budget),
            ):
                if budget.flops:
                    value = _value(analysis, who, side, quality)
                    says = f"{who} in the view {view.replace('_', ' ')}" + ("" if who == name else f", against {name}")
                    found.append(_ring(look[who], x, y, value, budget, says, view, name))
    return found


def has_cuts(analysis: Analysis) -> bool:
    """Whether a view cuts any method, so that there are rings."""
    return any(
        entry.budget.flops
        for view in analysis.cut_reference
        for entry in getattr(analysis.summary.views, view).values()
    )


def _value(analysis: Analysis, label: str, side: ViewEntry | CutReference, quality: Quality) -> float:
    """The quality at the cut, as the view has it; NaN where it has none."""
    found: float | None = float("nan")
    if quality == "mean_score":
        whole = analysis.methods[label].connectors == analysis.summary.n_pairs
        own = analysis.reference.delivered.mean.value if analysis.reference is not None else float("nan")
        if whole and side.mean_gap is not None:  # the gap is over the same pairs only then
            found = own - side.mean_gap if analysis.summary.selection.higher_is_better else own + side.mean_gap
    else:
        found = {"delivered": side.delivered, "spearman": side.spearman, "regret": side.regret}[quality]
    return float("nan") if found is None else found


def _ring(look: Look, x: Scale, y: Scale, value: float, budget: Spent, says: str, view: str, name: str) -> str:
    flops = budget.flops or 0.0
    known = np.isfinite(value)
    at = x(flops), y(value) if known else y.start
    arrow = ("" if x.low <= flops <= x.high else "←" if flops < x.low else "→") + (
        "" if not known or y.low <= value <= y.high else "↓" if value < y.low else "↑"
    )
    lines = [says, formatting.number(value) if known else "not known there", budget_text(budget)]
    drawn = mark(look, *at, RING, hollow=True) + (label(arrow, at[0], at[1] - RING - 2) if arrow else "")
    return tag("g", hint("\n".join(lines)) + drawn, class_="kept cut", data_cut=view, data_method=name, hidden="hidden")
