"""The text tables of the pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.contract.ledger import PHASES
from reports import formatting
from reports.added import added_rows
from reports.analysis import Analysis
from reports.compare import compare, seed_mean
from reports.constraints import levels, pareto
from reports.frontier import COSTS, QUALITIES, frontier_entries, undominated
from reports.ranking import pick, places
from reports.schema import Spent
from reports.summary import SUMMARY_COLUMNS, summary_rows
from reports.text import budget_text, pair_name


@dataclass(frozen=True)
class TextTable:
    """A table as a reader sees it.

    Attributes:
        columns: Headings.
        rows: Cells, as text.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


VIEW_TEXT = {
    "as_run": "Each method with the budget it was given.",
    "matched_batch": "Only methods that used the reference's batch size: the similarity matrix costs B² FLOPs, so a "
    "ratio between different batch sizes is largely a batch-size effect.",
    "matched_updates": "Both sides cut to the same updates and samples per pair, read off the curves.",
    "matched_flops": "Each side's best point (by validation score) within the smaller of both FLOPs totals: is the "
    "method better than simply cutting the grid short?",
    "paper": "Counted, not run: the grid at batch 16,384 on 558,128 rows as published, against the method's own "
    "training FLOPs rescaled to that many rows at its own batch size. Forward and backward products only.",
}
"""What each view compares."""


def summary_table(analysis: Analysis) -> TextTable:
    """The table that the terminal shows too."""
    return TextTable(SUMMARY_COLUMNS, summary_rows(analysis.summary))


def rank_table(analysis: Analysis) -> TextTable:
    """Every rank statistic with its interval and chance level."""
    rows = []
    for label, result in analysis.methods.items():
        c = result.comparison
        ndcg_chance, topk_chance = formatting.number(c.ndcg.chance), formatting.number(c.topk.chance)
        seeds = ", ".join(formatting.number(value, 2) for value in c.spearman.per_seed)
        rows.append(
            [
                label + (" (leave one seed out)" if label == analysis.summary.reference else ""),
                formatting.with_interval(c.spearman.value, c.spearman.ci95),
                seeds or "–",
                formatting.number(c.p_value, 4),
                formatting.with_interval(c.kendall.value, c.kendall.ci95),
                f"{formatting.with_interval(c.ndcg.value, c.ndcg.ci95)} (chance {ndcg_chance}, k={c.ndcg_k})",
                f"{formatting.with_interval(c.topk.value, c.topk.ci95)} (chance {topk_chance}, k={c.top_k})",
                f"{formatting.with_interval(c.regret.value, c.regret.ci95)} "
                f"(chance {formatting.number(c.regret.chance)})",
                f"{formatting.number(c.hit.value, 2)} (chance {formatting.number(c.hit.chance, 2)})",
            ]
        )
    if analysis.truth is not None and np.isfinite(analysis.truth.mean).any():
        # No method can be this row: it ranks by the reference's own mean test scores.
        mean = np.tile(analysis.truth.mean, (len(analysis.truth.scores), 1))
        best = compare(analysis.truth, mean, np.isfinite(mean), intervals=False)
        found = [formatting.number(e.value) for e in (best.spearman, best.ndcg, best.topk, best.regret, best.hit)]
        rho, ndcg, top, lost, hit = found
        rows.append(["oracle (sees the test scores)", rho, "–", "–", "–", f"{ndcg} (k={best.ndcg_k})", top, lost, hit])
    columns = ["method", "Spearman (chance 0)", "per seed", "p (permutation)", "Kendall tau-b (chance 0)", "NDCG@k"]
    return TextTable([*columns, "top-k overlap", "regret", "best-pair hit"], rows)


def view_table(analysis: Analysis, view: str) -> TextTable:
    """One view, both budgets beside every ratio."""
    rows = []
    reference = analysis.summary.reference or "reference"
    matched = view in analysis.cut_reference
    for label, entry in getattr(analysis.summary.views, view).items():
        row = [label, formatting.times(entry.cost_ratio.flops), formatting.times(entry.cost_ratio.wall)]
        row += [formatting.number(entry.spearman), formatting.number(entry.regret)]
        if matched:
            cut = analysis.cut_reference[view][label]
            row += [formatting.number(cut.spearman), formatting.number(cut.regret)]
        empty = Spent()
        row += [budget_text(entry.budget) if entry.budget != empty else "–"]
        row += [budget_text(entry.reference_budget) if entry.reference_budget != empty else "–", entry.note or ""]
        rows.append(row)
    columns = ["method", "cost ratio, FLOPs", "cost ratio, wall", "Spearman", "regret"]
    if matched:
        columns += [f"Spearman of {reference} cut there", f"regret of {reference} cut there"]
    return TextTable([*columns, "budget", f"budget of {reference}", "note"], rows)


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
    """What nothing dominates, cheapest first; None when there are too few entries."""
    entries = frontier_entries(analysis)
    if not entries:
        return None
    kept = {(cost, quality): undominated(entries, cost, quality) for cost in COSTS for quality in QUALITIES}
    rows = [
        [
            e.label + (" (reference)" if e.reference else ""),
            formatting.flops(e.flops),
            formatting.seconds(e.seconds),
            formatting.number(e.spearman),
            formatting.number(e.regret),
            *("yes" if e.label in labels else "dominated" for labels in kept.values()),
        ]
        for e in sorted(entries, key=lambda e: e.flops)
    ]
    panels = [f"on the frontier: {quality} for {cost}" for cost, quality in kept]
    return TextTable(["method", "FLOPs", "device time", "Spearman", "regret", *panels], rows)


def top_table(analysis: Analysis, most: int = 10) -> TextTable | None:
    """The reference's best pairs, marked where they cannot be told from the first; None without a reference."""
    truth = analysis.truth
    if truth is None or analysis.reference is None:
        return None
    mean, sign = truth.mean, 1.0 if truth.higher_is_better else -1.0
    order = [int(n) for n in (-mean).argsort(kind="stable") if mean[n] == mean[n]][:most]
    tied = set(analysis.ties or [])
    others = [(label, r) for label, r in analysis.methods.items() if label != analysis.summary.reference]
    theirs = [places(seed_mean(r.data.ranking)) for _, r in others]
    rows = []
    for place, n in enumerate(order, start=1):
        pair = analysis.manifest.pairs[n]
        mark = "–" if analysis.ties is None else "yes" if pair in tied else "no"
        ranks = [formatting.count(place_of[n]) for place_of in theirs]
        rows.append([str(place), pair_name(pair), formatting.number(sign * mean[n]), mark, *ranks])
    metric = f"test {analysis.summary.selection.metric}"
    return TextTable(
        ["place", "pair", metric, "indistinguishable from the best", *(f"place by {label}" for label, _ in others)],
        rows,
    )


def level_table(analysis: Analysis) -> TextTable | None:
    """The best pair per constraint level: each method's pick, valued by the reference's test score."""
    if analysis.truth is None or analysis.reference is None:
        return None
    mean, sign = analysis.truth.mean, 1.0 if analysis.truth.higher_is_better else -1.0
    rows = []
    for name, inside in levels(analysis.manifest).items():
        truth = np.where(inside, mean, np.nan)
        best = pick(truth)
        if best is None:
            continue
        row = [name, f"{pair_name(analysis.manifest.pairs[best])}: {formatting.number(sign * mean[best])}"]
        for result in analysis.methods.values():
            chosen = pick(seed_mean(result.data.ranking), np.isfinite(truth))
            row.append("–" if chosen is None else formatting.number(sign * mean[chosen]))
        rows.append(row)
    if len(rows) < 2:
        return None
    return TextTable(["level", "oracle's pair", *(f"pick of {label}" for label in analysis.methods)], rows)


def added_table(analysis: Analysis) -> TextTable | None:
    """The pairs of an encoder that a method adds after its joint run, under every method; None without one."""
    columns, rows = added_rows(analysis)
    return TextTable(columns, rows) if rows else None


def pareto_table(analysis: Analysis) -> TextTable | None:
    """Pairs that no cheaper pair reaches, by the reference's test scores."""
    if analysis.truth is None:
        return None
    found = pareto(analysis.manifest, analysis.truth.mean)
    if found is None:
        return None
    kind, points = found
    sign = 1.0 if analysis.truth.higher_is_better else -1.0
    shown = {
        "encode FLOPs": formatting.flops,
        "parameters": lambda value: f"{value / 1e6:,.1f} M",
        "encode latency": lambda value: f"{value:.3g} ms",
    }[kind]
    rows = [
        [pair_name(analysis.manifest.pairs[n]), shown(cost), formatting.number(sign * analysis.truth.mean[n])]
        for n, cost in points
    ]
    metric = f"test {analysis.summary.selection.metric}"
    return TextTable(["pair", f"{kind} of both encoders", metric], rows)
