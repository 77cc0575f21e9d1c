"""Tables: data frames for ``tables/*.csv``, and small text tables for the pages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.contract.ledger import PHASES
from harness.run.blobs import Blobs
from reports import formatting
from reports.added import added_entries, added_rows
from reports.analysis import Analysis
from reports.compare import compare, seed_mean
from reports.constraints import levels, pareto
from reports.costs import held
from reports.frontier import COSTS, QUALITIES, frontier_entries, undominated
from reports.ranking import pick, places
from reports.schema import Spent, Views
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


def summary_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per method: everything in ``summary.json``'s rows and the chance levels, flat."""
    rows = []
    for label, result in analysis.methods.items():
        row, compared = result.summary, result.comparison
        flat: dict[str, object] = {"method": label, "reference": label == analysis.summary.reference, "kind": row.kind}
        flat |= {f"cells_{name}": value for name, value in row.status}
        flat["pairs_compared"] = compared.pairs
        for name, estimate in (
            ("spearman", compared.spearman),
            ("kendall", compared.kendall),
            (f"ndcg_at_{compared.ndcg_k}", compared.ndcg),
            (f"top{compared.top_k}_overlap", compared.topk),
            ("regret", compared.regret),
            ("best_pair_hit", compared.hit),
        ):
            flat |= {name: estimate.value, f"{name}_low": estimate.ci95[0], f"{name}_high": estimate.ci95[1]}
            flat[f"{name}_chance"] = estimate.chance
        flat["spearman_p"] = compared.p_value
        for seed, value in zip(analysis.summary.seeds, compared.spearman.per_seed, strict=False):
            flat[f"spearman_seed_{seed}"] = value
        flat["best_image"], flat["best_text"] = row.best_pair or (None, None)
        flat |= {"best_pair_score": row.best_pair_score, "mean_score": row.mean_score, "mean_gap": row.mean_gap}
        flat |= {"cost_ratio_flops_as_run": row.cost_ratio.flops, "cost_ratio_wall_as_run": row.cost_ratio.wall}
        for name in ("batch_size", "pairs_per_step", "updates_per_pair", "samples_per_pair", "trained_params"):
            flat[name] = getattr(row, name)
        rows.append(flat)
    return pd.DataFrame(rows)


def pairs_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per method, seed and pair with a result: its ranking score and every test metric."""
    rows = []
    for label, result in analysis.methods.items():
        for record in result.data.records.values():
            by_pair = {(entry.image, entry.text): entry for entry in record.metrics}
            for image, text in record.pairs:
                flat: dict[str, object] = {"method": label, "seed": record.seed, "image": image, "text": text}
                flat["status"] = record.status
                entry = by_pair.get((image, text))
                if entry is not None:
                    flat["score"] = entry.score
                    for task, metrics in entry.test.items():
                        flat |= {f"test/{task}/{name}": value for name, value in metrics.items()}
                rows.append(flat)
    return pd.DataFrame(rows)


def cost_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per method and seed: FLOPs and seconds by phase."""
    rows = []
    for label, result in analysis.methods.items():
        for seed in analysis.summary.seeds:
            records = result.data.of_seed(seed)
            if not records:
                continue
            flat: dict[str, object] = {"method": label, "seed": seed, "cells": len(records)}
            flat["flops_total"] = sum(r.ledger.total for r in records)
            for phase in (*PHASES, "runner_eval"):
                flat[f"flops_{phase}"] = sum(r.ledger.flops.get(phase, 0.0) for r in records)
            for name in sorted({name for r in records for name in r.ledger.seconds}):
                flat[f"seconds_{name}"] = sum(r.ledger.seconds.get(name, 0.0) for r in records)
            flat["wall_s"] = sum(r.wall_s * held(r) for r in records)
            flat["device_s"] = sum(r.device_s for r in records)
            rows.append(flat)
    return pd.DataFrame(rows)


def views_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per view and method, both budgets beside every ratio."""
    rows = []
    for view in Views.model_fields:
        for label, entry in getattr(analysis.summary.views, view).items():
            cut = analysis.cut_reference.get(view, {}).get(label)
            flat = {"view": view, "method": label, "cost_ratio_flops": entry.cost_ratio.flops}
            flat |= {"cost_ratio_wall": entry.cost_ratio.wall, "spearman": entry.spearman, "regret": entry.regret}
            flat |= {"reference_spearman": cut and cut.spearman, "reference_regret": cut and cut.regret}
            flat |= dict(entry.budget) | {f"reference_{name}": value for name, value in entry.reference_budget}
            flat["note"] = entry.note
            rows.append(flat)
    return pd.DataFrame(rows)


def problems_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per cell without a usable result."""
    columns = ["method", "seed", "status", "pairs", "reason"]
    rows = [
        (p.label, p.seed, p.status, "; ".join(" + ".join(pair) for pair in p.pairs), p.reason)
        for p in analysis.problems
    ]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def frontier_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per entry of the frontier, and in which panels nothing dominates it."""
    entries = frontier_entries(analysis)
    kept = {(cost, quality): undominated(entries, cost, quality) for cost in COSTS for quality in QUALITIES}
    columns = ["method", "flops", "seconds", "spearman", "regret", "reference"]
    rows = [[e.label, e.flops, e.seconds, e.spearman, e.regret, e.reference] for e in entries]
    frame = pd.DataFrame(rows, columns=pd.Index(columns))
    for (cost, quality), labels in kept.items():
        frame[f"best_{quality}_for_{cost}"] = [e.label in labels for e in entries]
    return frame


def added_frame(analysis: Analysis) -> pd.DataFrame:
    """One row per method and encoder that was added after a joint run."""
    columns = ["encoder", "method", "adds", "score", "flops_of_its_pairs"]
    rows = [[e.encoder, e.label, e.adds, float(np.mean(e.scores)), e.flops] for e in added_entries(analysis)]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def write_tables(analysis: Analysis, into: Blobs) -> list[str]:
    """Write every table as CSV; returns their paths."""
    frames = {
        "summary": summary_frame(analysis),
        "pairs": pairs_frame(analysis),
        "cost": cost_frame(analysis),
        "views": views_frame(analysis),
        "missing": problems_frame(analysis),
    } | ({"frontier": frontier_frame(analysis)} if frontier_entries(analysis) else {})
    frames |= {"added": added_frame(analysis)} if added_entries(analysis) else {}
    for name, frame in frames.items():
        into.put(f"tables/{name}.csv", frame.to_csv(index=False).encode())
    return [f"tables/{name}.csv" for name in frames]


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
