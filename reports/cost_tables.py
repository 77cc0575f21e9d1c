"""The text tables of the pages about cost: the views, FLOPs by phase, the frontier."""

from harness.contract.ledger import PHASES
from reports import formatting
from reports.analysis import Analysis
from reports.entries import COSTS, QUALITIES, frontier_entries, undominated
from reports.schema import Spent, ViewEntry
from reports.tables import TextTable
from reports.wording import budget_text

NAMES = {"mean_score": "mean score", "delivered": "delivered score", "spearman": "Spearman", "regret": "regret"}
"""The frontier's qualities in words."""

COST_NAMES = {"flops": "FLOPs", "seconds": "seconds"}

VIEW_TEXT = {
    "as_run": "Each method with the budget it was given.",
    "matched_batch": "Only methods that used the reference's batch size: the similarity matrix costs B² FLOPs, so a "
    "ratio between different batch sizes is largely a batch-size effect.",
    "matched_updates": "Both sides at the largest number of updates per pair at which both have scores. Test scores "
    "are known at the end of a training only.",
    "matched_flops": "Each side's best point (by validation score) within the smaller of both FLOPs totals: is the "
    "method better than simply cutting the grid short?",
    "paper": "Counted, not run: the grid at batch 16,384 on 558,128 rows as published, against the method's own "
    "training FLOPs rescaled to that many rows at its own batch size. Forward and backward products only. Where the "
    "batch sizes differ, most of such a ratio is their effect: the similarity matrix costs B² FLOPs.",
}
"""What each view compares."""


def view_notes(analysis: Analysis, view: str) -> list[str]:
    """What to know of a view's entries, and why some have no numbers; methods with one note together."""
    labels: dict[str, list[str]] = {}
    for label, entry in getattr(analysis.summary.views, view).items():
        if entry.note:
            labels.setdefault(entry.note, []).append(label)
    return [f"{', '.join(own)}: {note}." for note, own in labels.items()]


def view_table(analysis: Analysis, view: str) -> TextTable:
    """One view, both budgets beside every ratio; without the methods that it says nothing of."""
    rows = []
    reference = analysis.summary.reference or "reference"
    matched = view in analysis.cut_reference
    for label, entry in getattr(analysis.summary.views, view).items():
        if entry == ViewEntry(note=entry.note):
            continue
        row = [label, formatting.times(entry.cost_ratio.flops), formatting.times(entry.cost_ratio.wall)]
        row += [formatting.number(entry.delivered), formatting.number(entry.mean_gap)]
        row += [formatting.number(entry.spearman), formatting.number(entry.regret)]
        if matched:
            cut = analysis.cut_reference[view][label]
            shown = (cut.delivered, cut.mean_gap, cut.spearman, cut.regret)
            row += [formatting.number(value) for value in shown]
        empty = Spent()
        row += [budget_text(entry.budget) if entry.budget != empty else "–"]
        row += [budget_text(entry.reference_budget) if entry.reference_budget != empty else "–"]
        rows.append(row)
    columns = ["method", "cost ratio, FLOPs", "cost ratio, wall", "delivered score", "mean gap", "Spearman", "regret"]
    if matched:
        columns += [f"{name} of {reference} there" for name in ("delivered score", "mean gap", "Spearman", "regret")]
    return TextTable([*columns, "budget", f"budget of {reference}"], rows)


def view_cells(analysis: Analysis, view: str) -> dict[str, dict[str, str]]:
    """What a view says of each method but the reference, by the columns of the first table that depend on it.

    Returns:
        Label -> field of ``OverviewRow`` -> text; a dash where the view says nothing.
    """
    found = {}
    reference = analysis.summary.reference or "reference"
    for label, entry in getattr(analysis.summary.views, view).items():
        ratios = f"{formatting.times(entry.cost_ratio.flops)} / {formatting.times(entry.cost_ratio.wall)}"
        against = "" if entry.reference_budget == Spent() else f", {reference} at {budget_text(entry.reference_budget)}"
        found[label] = {
            "delivered": formatting.number(entry.delivered),
            "mean_gap": formatting.number(entry.mean_gap),
            "spearman": formatting.number(entry.spearman),
            "regret": formatting.number(entry.regret),
            "flops": formatting.flops(entry.budget.flops),
            "cost_ratio": ratios + against,
            "batch_size": formatting.count(entry.budget.batch_size),
            "updates_per_pair": formatting.count(entry.budget.updates_per_pair),
        }
    return found


def cost_table(analysis: Analysis) -> TextTable:
    """FLOPs by phase per seed; what every method shares stands beside the total."""
    phases = [p for p in PHASES if any(getattr(r.summary.flops, p) for r in analysis.methods.values())]
    shared = ["encode", "runner_eval"]
    rows = [
        [label, *(formatting.flops(getattr(r.summary.flops, p)) for p in ("total", *phases, *shared))]
        + [
            formatting.seconds(r.summary.wall_s),
            formatting.seconds(r.summary.device_s),
            formatting.count(r.summary.trained_params),
        ]
        for label, r in analysis.methods.items()
    ]
    headings = ["method", "total", *phases, "encode (shared)", "runner's evaluation (shared)", "wall", "device"]
    return TextTable([*headings, "trained parameters"], rows)


def frontier_table(analysis: Analysis) -> TextTable | None:
    """What each entry costs and is worth, and where nothing dominates it, cheapest first; None with too few entries."""
    entries = frontier_entries(analysis)
    if not entries:
        return None
    kept = {(cost, quality): undominated(entries, cost, quality) for cost in COSTS for quality in QUALITIES}
    rows = [
        [
            e.label + (" (reference)" if e.reference else ""),
            formatting.flops(e.flops),
            formatting.seconds(e.seconds),
            *(formatting.number(getattr(e, quality)) for quality in QUALITIES),
            *(
                "–"
                if e.goodness(quality) is None
                else " and ".join(COST_NAMES[cost] for cost in COSTS if e.label in kept[cost, quality]) or "dominated"
                for quality in QUALITIES
            ),
        ]
        for e in sorted(entries, key=lambda e: e.flops)
    ]
    panels = [f"on the frontier: {NAMES[quality]} for" for quality in QUALITIES]
    return TextTable(["method", "FLOPs", "device time", *(NAMES[quality] for quality in QUALITIES), *panels], rows)
