"""From a run's folder to typed results: everything the report says, before it is drawn."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from harness.run.records import Manifest
from harness.run.store import RunStore
from reports.compare import Comparison, ReferenceScores, compare, reference_scores, seed_mean
from reports.constraints import allowed_pairs
from reports.costs import MethodCost, cost_of
from reports.ranking import pick
from reports.rundata import MethodData, RunData, load
from reports.schema import (
    MethodSummary,
    Ndcg,
    NoiseCeiling,
    Pair,
    Selection,
    SpearmanValue,
    Status,
    Summary,
    TopK,
    Value,
    Views,
)
from reports.separated import not_separated
from reports.two_way import TwoWay, two_way
from reports.views import CutReference, Side, cost_ratio, views_of


@dataclass(frozen=True)
class Unfinished:
    """A planned cell without a usable result. ``status`` is failed, timeout, diverged or missing.

    ``alone``: a pair that diverged alone, in a cell whose other pairs are done.
    """

    label: str
    seed: int
    pairs: list[Pair]
    status: str
    reason: str
    alone: bool = False


@dataclass(frozen=True)
class MethodResult:
    """One method, analysed.

    Attributes:
        data: Its scores as arrays.
        cost: What it spent.
        comparison: Its ranking against the reference; empty without a reference.
        summary: Its row of ``summary.json``.
        picks: The pair it picked on validation, per seed.
        pairs_done: Pairs with a result in every seed.
    """

    data: MethodData
    cost: MethodCost
    comparison: Comparison
    summary: MethodSummary
    picks: list[Pair | None]
    pairs_done: int


@dataclass(frozen=True)
class Analysis:
    """A whole run, analysed.

    Attributes:
        run: The run as arrays.
        summary: What ``summary.json`` holds.
        methods: Label -> result, in plan order.
        truth: The reference's test scores; None without a reference.
        decomposition: Image, text and interaction shares.
        ties: Pairs that test units and seeds do not separate from the best, best first; None when that is unknown.
        cut_reference: View -> label -> how the reference ranks at that view's point.
        problems: Cells that failed, diverged or are missing.
        warnings: Label -> distinct warnings of its cells.
    """

    run: RunData
    summary: Summary
    methods: dict[str, MethodResult]
    truth: ReferenceScores | None = None
    decomposition: TwoWay = field(default_factory=TwoWay)
    ties: list[Pair] | None = None
    cut_reference: dict[str, dict[str, CutReference]] = field(default_factory=dict)
    problems: list[Unfinished] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """The plan."""
        return self.run.manifest

    @property
    def reference(self) -> MethodResult | None:
        """The reference's result."""
        return self.methods.get(self.manifest.reference) if self.manifest.reference else None


def analyse(store: RunStore, *, seed: int = 0) -> Analysis:
    """Analyse a run, finished or not; the same run gives the same numbers.

    Args:
        store: The run.
        seed: Of the bootstrap and the permutations.

    Raises:
        HarnessError: No run here, or a file of it is damaged.
    """
    run = load(store)
    reference = run.reference
    allowed = allowed_pairs(run.manifest)
    grid = reference_scores(run, reference, seed=seed) if reference else None
    truth = None if grid is None else grid.within(allowed)
    costs = {label: cost_of(data, run.manifest) for label, data in run.methods.items()}
    comparisons = {
        label: compare(truth, data.ranking, data.ran, own=data is reference) if truth else Comparison()
        for label, data in run.methods.items()
    }
    own_cost = costs.get(run.manifest.reference or "")
    results = {
        label: _result(run, data, costs[label], comparisons[label], truth, own_cost, allowed)
        for label, data in run.methods.items()
    }
    views, cuts = Views(), {}
    decomposition, ties = TwoWay(), None
    if truth is not None and grid is not None and reference is not None:
        sides = {label: Side(data, costs[label], comparisons[label]) for label, data in run.methods.items()}
        own = sides.pop(reference.label)
        views, cuts = views_of(run, truth, own, sides)
        decomposition = two_way(grid, *run.encoders.T)
        tied = not_separated(truth, seed=seed)
        ties = None if tied is None else [run.manifest.pairs[number] for number in tied]
    selection = run.manifest.selection
    summary = Summary(
        run=run.manifest.name,
        reference=run.manifest.reference,
        selection=Selection(task=selection.task, metric=selection.metric, higher_is_better=selection.higher_is_better),
        n_pairs=len(run.manifest.pairs),
        seeds=run.manifest.seeds,
        noise_ceiling=NoiseCeiling(spearman=comparisons[reference.label].spearman.value if reference else None),
        interaction_share=Value(value=decomposition.interaction, ci95=decomposition.ci95),
        methods={label: result.summary for label, result in results.items()},
        views=views,
    )
    return Analysis(run, summary, results, truth, decomposition, ties, cuts, _problems(run), _warnings(run))


def _result(
    run: RunData,
    data: MethodData,
    cost: MethodCost,
    comparison: Comparison,
    truth: ReferenceScores | None,
    reference: MethodCost | None,
    allowed: Bool[np.ndarray, " pairs"],
) -> MethodResult:
    pairs = run.manifest.pairs
    ranking = seed_mean(data.ranking)
    best = pick(ranking, allowed)
    oracle = pick(truth.mean) if truth else None
    own_test = seed_mean(data.test)
    sign = 1.0 if data.metric_higher else -1.0
    statuses = [data.records[cell.key].status if cell.key in data.records else "missing" for cell in data.cells]
    summary = MethodSummary(
        kind=data.planned.kind,
        status=Status(
            done=statuses.count("done"),
            failed=statuses.count("failed") + statuses.count("timeout"),
            diverged=statuses.count("diverged"),
            missing=statuses.count("missing"),
        ),
        spearman=SpearmanValue(
            value=comparison.spearman.value,
            ci95=comparison.spearman.ci95,
            per_seed=list(comparison.spearman.per_seed),
        ),
        kendall=Value(value=comparison.kendall.value, ci95=comparison.kendall.ci95),
        ndcg=Ndcg(k=comparison.ndcg_k, value=comparison.ndcg.value, chance=comparison.ndcg.chance),
        topk_overlap=TopK(k=comparison.top_k, value=comparison.topk.value),
        best_pair=None if best is None else pairs[best],
        best_pair_score=None if best is None else own_test[best],
        oracle_pair=None if oracle is None else pairs[oracle],
        oracle_score=None if truth is None or oracle is None else sign * truth.mean[oracle],
        regret=Value(value=comparison.regret.value, ci95=comparison.regret.ci95),
        best_pair_hit=comparison.hit.value,
        mean_score=_mean(own_test),
        mean_gap=_mean(truth.mean - seed_mean(data.quality)) if truth else None,
        flops=cost.flops,
        cost_ratio=cost_ratio(cost, reference) if reference else {},  # type: ignore[arg-type]
        wall_s=cost.wall_s,
        device_s=cost.device_s,
        batch_size=cost.batch_size,
        pairs_per_step=cost.pairs_per_step,
        updates_per_pair=cost.updates_per_pair,
        samples_per_pair=cost.samples_per_pair,
        trained_params=cost.trained_params,
    )
    picked = [pick(row, allowed) for row in data.ranking]
    done = int(np.isfinite(data.scores).all(axis=0).sum())
    return MethodResult(data, cost, comparison, summary, [None if p is None else pairs[p] for p in picked], done)


def _mean(values: Float[np.ndarray, " pairs"]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _problems(run: RunData) -> list[Unfinished]:
    found = []
    for data in run.methods.values():
        for cell in data.cells:
            record = data.records.get(cell.key)
            if record is None:
                found.append(Unfinished(data.label, cell.seed, cell.pairs, "missing", "not run yet"))
            elif record.status not in ("done", "skipped"):
                step = "" if record.diverged_step is None else f" (step {record.diverged_step})"
                reason = (record.error or "no reason recorded") + step
                found.append(Unfinished(data.label, cell.seed, cell.pairs, record.status, reason))
            for lost in record.lost if record and record.status == "done" else ():
                found.append(
                    Unfinished(data.label, cell.seed, [(lost.image, lost.text)], "diverged", lost.error, alone=True)
                )
    return found


def _warnings(run: RunData) -> dict[str, list[str]]:
    found = {
        label: list(dict.fromkeys(warning for record in data.records.values() for warning in record.warnings))
        for label, data in run.methods.items()
    }
    return {label: warnings for label, warnings in found.items() if warnings}
