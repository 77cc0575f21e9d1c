"""Ratios that would mislead are taken out of the views, with the reason in their place."""

import math
from collections.abc import Mapping

from reports import formatting
from reports.cuts import cuts_of
from reports.rows import MethodResult
from reports.rundata import RunData
from reports.schema import ViewEntry, Views
from reports.views import CutReference

TOLERANCE = 0.8
"""FLOPs of the cheaper side, as a share of the other's, from which both count as matched."""

CHANCE = 0.05
"""A ranking whose permutation p-value is above this is no better than a random order."""


def fair_views(
    run: RunData,
    views: Views,
    cuts: Mapping[str, Mapping[str, CutReference]],
    results: Mapping[str, MethodResult],
) -> tuple[Views, dict[str, dict[str, CutReference]]]:
    """The views without ratios that mislead.

    Args:
        run: The run.
        views: All views.
        cuts: View -> label -> how the reference ranks there.
        results: Label -> result.

    Returns:
        The views, and the cuts of what is left.
    """
    images, texts = (len(set(side)) for side in zip(*run.manifest.pairs, strict=True))
    # With fewer orders of the encoders than this even a perfect ranking would not be told from chance.
    testable = math.factorial(images) * math.factorial(texts) >= 1 / CHANCE
    paper = {label: _worth_counting(entry, results[label], testable) for label, entry in views.paper.items()}
    flops = {
        label: _matched(run, entry, results[label], results[run.manifest.reference or ""])
        for label, entry in views.matched_flops.items()
    }
    kept = {name: dict(table) for name, table in cuts.items()}
    for label, entry in flops.items():
        if entry.spearman is None and views.matched_flops[label].spearman is not None:
            kept["matched_flops"][label] = CutReference()
    return views.model_copy(update={"paper": paper, "matched_flops": flops}), kept


def _worth_counting(entry: ViewEntry, result: MethodResult, testable: bool) -> ViewEntry:
    """What a cheap method would save at the published scale, only where its ranking says something."""
    if entry.cost_ratio.flops is None:
        return entry
    found, p = result.summary.spearman.value, result.comparison.p_value
    if found is None or found <= 0 or (testable and not p <= CHANCE):
        return ViewEntry(note="counted, not run: no ratio, because its ranking here is no better than a random order")
    note = f"counted, not run; here it ranks with Spearman {formatting.number(found)}"
    return entry.model_copy(update={"note": note})


def _matched(run: RunData, entry: ViewEntry, result: MethodResult, reference: MethodResult) -> ViewEntry:
    """Both sides spend alike, or the cheaper one could have spent more and was better before."""
    ours, theirs = entry.budget.flops, entry.reference_budget.flops
    if not ours or not theirs or min(ours, theirs) >= TOLERANCE * max(ours, theirs):
        return entry
    less, more = (result, theirs) if ours < theirs else (reference, ours)
    near = (TOLERANCE * more <= cut.mean.flops <= more / TOLERANCE for cut in cuts_of(less.data, run))
    if any(near):
        best = f"{less.label} was best at {formatting.flops(min(ours, theirs))}, before it had spent as much"
        return entry.model_copy(update={"note": f"{entry.note}; {best}" if entry.note else best})
    return ViewEntry(
        note=f"not matched: {less.label} has no checkpoint near {formatting.flops(more)} (the nearest below is at "
        f"{formatting.flops(min(ours, theirs))})"
    )
