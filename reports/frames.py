"""Data frames for ``tables/*.csv``: every number of the report, one table for each kind of row."""

import numpy as np
import pandas as pd

from harness.contract.ledger import PHASES
from harness.storage.blobs import Blobs
from reports.added import added_entries
from reports.analysis import Analysis
from reports.costs import held
from reports.frontier import COSTS, QUALITIES, frontier_entries, undominated
from reports.pair_table import pair_rows, pair_scores_frame
from reports.schema import Views


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
        got = result.delivered
        for name, estimate in (("delivered", got.best), ("mean_score", got.mean), ("mean_gap", got.gap)):
            flat |= {name: estimate.value, f"{name}_low": estimate.ci95[0], f"{name}_high": estimate.ci95[1]}
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
            flat |= {"delivered": entry.delivered, "mean_gap": entry.mean_gap}
            flat |= {"reference_spearman": cut and cut.spearman, "reference_regret": cut and cut.regret}
            flat |= {"reference_delivered": cut and cut.delivered, "reference_mean_gap": cut and cut.mean_gap}
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
    columns = ["method", "flops", "seconds", *QUALITIES, "reference"]
    rows = [[e.label, e.flops, e.seconds, *(getattr(e, q) for q in QUALITIES), e.reference] for e in entries]
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
    frames["pair_scores"] = pair_scores_frame(pair_rows(analysis))
    frames |= {"added": added_frame(analysis)} if added_entries(analysis) else {}
    for name, frame in frames.items():
        into.put(f"tables/{name}.csv", frame.to_csv(index=False).encode())
    return [f"tables/{name}.csv" for name in frames]
