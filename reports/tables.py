"""The text tables of the pages: methods, their ranks, and the pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports import formatting
from reports.added import added_rows
from reports.analysis import Analysis
from reports.compare import compare
from reports.constraints import levels, pareto
from reports.overview import OVERVIEW_COLUMNS, columns_of, overview_rows
from reports.ranking import pick, places, tied_first
from reports.scores import seed_mean
from reports.wording import pair_name


@dataclass(frozen=True)
class TextTable:
    """A table as a reader sees it.

    Attributes:
        columns: Headings.
        rows: Cells, as text.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def overview_table(analysis: Analysis) -> TextTable:
    """The table that the terminal shows too."""
    names = columns_of(analysis.summary.reference)
    lines = [OVERVIEW_COLUMNS, *overview_rows(analysis)]
    headings, *rows = ([getattr(line, name) for name in names] for line in lines)
    return TextTable(headings, rows)


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
                _as_well(analysis, label),
                formatting.with_interval(c.kendall.value, c.kendall.ci95),
                f"{formatting.with_interval(c.ndcg.value, c.ndcg.ci95)} (chance {ndcg_chance}, k={c.ndcg_k})",
                f"{formatting.with_interval(c.topk.value, c.topk.ci95)} (chance {topk_chance}, k={c.top_k})",
                f"{formatting.with_interval(c.regret.value, c.regret.ci95)} (chance "
                f"{formatting.number(c.regret.chance)})",
                f"{formatting.number(c.hit.value, 2)} (chance {formatting.number(c.hit.chance, 2)})",
            ]
        )
    if analysis.truth is not None and np.isfinite(analysis.truth.mean).any():
        # No method can be this row: it ranks by the reference's own mean test scores.
        mean = np.tile(analysis.truth.mean, (len(analysis.truth.scores), 1))
        best = compare(analysis.truth, mean, np.isfinite(mean), intervals=False)
        found = [formatting.number(e.value) for e in (best.spearman, best.ndcg, best.topk, best.regret, best.hit)]
        rho, ndcg, top, lost, hit = found
        rows.append(
            ["oracle (sees the test scores)", rho, "–", "–", "–", "–", f"{ndcg} (k={best.ndcg_k})", top, lost, hit]
        )
    columns = ["method", "Spearman (chance 0)", "per seed", "p (permutation)", "as well as the reference (difference)"]
    return TextTable([*columns, "Kendall tau-b (chance 0)", "NDCG@k", "top-k overlap", "regret", "best-pair hit"], rows)


def _as_well(analysis: Analysis, label: str) -> str:
    """Whether a method ranks as well as the reference: a paired statement, with its difference and interval."""
    found = analysis.inferiority.get(label)
    if found is None or found.passed is None:
        return "–"
    word = "yes" if found.passed else "no" if found.ci95[1] < -found.margin else "not shown"
    return (
        f"{word} ({formatting.with_interval(found.difference, found.ci95)}; margin {formatting.number(found.margin)})"
    )


def top_table(analysis: Analysis, most: int = 10) -> TextTable | None:
    """The reference's best pairs, marked where they are not separated from the first; None without a reference."""
    truth = analysis.truth
    if truth is None or analysis.reference is None:
        return None
    mean, sign = truth.mean, 1.0 if truth.higher_is_better else -1.0
    order = [int(n) for n in (-mean).argsort(kind="stable") if mean[n] == mean[n]][:most]
    tied = set(analysis.ties or [])
    others = [(label, r) for label, r in analysis.methods.items() if label != analysis.summary.reference]
    theirs = [None if r.all_tie else places(seed_mean(r.data.ranking)) for _, r in others]
    rows = []
    for place, n in enumerate(order, start=1):
        pair = analysis.manifest.pairs[n]
        mark = "–" if analysis.ties is None else "yes" if pair in tied else "no"
        ranks = ["all tie" if place_of is None else formatting.count(place_of[n]) for place_of in theirs]
        rows.append([str(place), pair_name(pair), formatting.number(sign * mean[n]), mark, *ranks])
    metric = f"test {analysis.summary.selection.metric}"
    return TextTable(
        ["place", "pair", metric, "not separated from the best", *(f"place by {label}" for label, _ in others)],
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
            tie = tied_first(seed_mean(result.data.ranking), np.isfinite(truth)) > 1
            nothing = "all tie" if tie else "–"
            row.append(nothing if chosen is None else formatting.number(sign * mean[chosen]))
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
