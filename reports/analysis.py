"""From a run's folder to typed results: everything the report says, before it is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from harness.run.records import Manifest
from harness.run.store import RunStore
from reports.agreement import Agreement, agreement
from reports.compare import Comparison, compare
from reports.constraints import allowed_pairs
from reports.delivered import delivered, surely_better
from reports.fairness import fair_views
from reports.inferiority import NonInferiority, cheapest_passing, non_inferior
from reports.ranking import pick
from reports.recommendation import Recommendation, recommended
from reports.rows import MethodResult, Yardstick, method_result
from reports.rundata import MethodData, RunData, load
from reports.schema import NoiseCeiling, Pair, Selection, Summary, Value, Views
from reports.scores import ReferenceScores, seed_mean, test_scores
from reports.separated import not_separated
from reports.spending import cost_of
from reports.two_way import TwoWay, two_way
from reports.unfinished import Gap, Unfinished, gaps, unfinished_cells
from reports.views import CutReference, Side, views_of


@dataclass(frozen=True)
class Analysis:
    """A whole run, analysed.

    Attributes:
        run: The run as arrays.
        summary: What ``summary.json`` holds.
        methods: Label -> result, in plan order.
        truth: The reference's test scores; None without a reference.
        decomposition: Image, text and interaction shares.
        ties: Pairs that the reference's test scores do not separate from its best, best first; None when unknown.
        better: Label -> are its connectors surely better than the reference's (the one handed over, the mean).
        passing: The cheapest method that ranks as well as the reference on validation data; None where none does.
        inferiority: Label -> whether the method ranks as well as the reference on test data, where that can be said.
        recommendation: Which pair to stitch, and whose connector to take; None without a finished reference.
        agreement: How alike the methods rank the pairs; None with a reference.
        own_close: Without a reference: label -> pairs that the method's own test scores do not separate from its best.
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
    better: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    passing: str | None = None
    inferiority: Mapping[str, NonInferiority] = field(default_factory=dict)
    recommendation: Recommendation | None = None
    agreement: Agreement | None = None
    own_close: Mapping[str, list[Pair]] = field(default_factory=dict)
    cut_reference: dict[str, dict[str, CutReference]] = field(default_factory=dict)
    problems: list[Unfinished] = field(default_factory=list)
    warnings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        """The plan."""
        return self.run.manifest

    @property
    def allowed(self) -> Bool[np.ndarray, " pairs"]:
        """Pairs that may be picked."""
        return allowed_pairs(self.manifest)

    @property
    def gaps(self) -> list[Gap]:
        """``problems``, those of one kind together."""
        return gaps(self.problems, {label: len(result.data.cells) for label, result in self.methods.items()})

    def shared(self, label: str) -> int:
        """Pairs for which both a method and the reference have a connector with a test score."""
        sides = [self.methods[label].data, *([self.reference.data] if self.reference else [])]
        return int(np.logical_and.reduce([np.isfinite(side.test).any(axis=0) for side in sides]).sum())

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
    problems, warnings = unfinished_cells(run), _warnings(run)
    reference = run.reference
    if reference is None:
        return _unreferenced(run, seed, problems, warnings)
    grid = test_scores(run, reference, seed=seed)
    truth = grid.within(allowed_pairs(run.manifest))
    results, scores = _results(run, Yardstick(grid, truth, reference, cost_of(reference, run.manifest)), seed)
    better = surely_better({label: r.delivered for label, r in results.items() if label != reference.label})
    sides = {label: Side(result.data, result.cost, result.comparison) for label, result in results.items()}
    own = sides.pop(reference.label)
    views, cuts = fair_views(run, *views_of(run, truth, own, sides), results)
    decomposition = two_way(grid, *run.encoders.T)
    return Analysis(
        run,
        _summary(run, results, decomposition, views),
        results,
        truth,
        decomposition,
        _close(run, truth, seed),
        better,
        _passing(run, results, reference),
        _inferiority(run, results, truth, reference, seed),
        _recommendation(run, results, better, scores | {reference.label: truth}, seed),
        cut_reference=cuts,
        problems=problems,
        warnings=warnings,
    )


def _unreferenced(run: RunData, seed: int, problems: list[Unfinished], warnings: dict[str, list[str]]) -> Analysis:
    """The analysis of a run without a reference, where methods are compared with each other."""
    (results, scores), allowed = _results(run, None, seed), allowed_pairs(run.manifest)
    found = {label: not_separated(own.within(allowed), seed=seed) for label, own in scores.items()}
    close = {label: numbers for label, numbers in found.items() if numbers}
    return Analysis(
        run,
        _summary(run, results),
        results,
        agreement=agreement(run.methods, allowed, close),
        own_close={label: [run.manifest.pairs[n] for n in numbers] for label, numbers in close.items()},
        problems=problems,
        warnings=warnings,
    )


def _results(
    run: RunData, yardstick: Yardstick | None, seed: int
) -> tuple[dict[str, MethodResult], dict[str, ReferenceScores]]:
    """Every method's result, and the resampled test scores (large) of those that may be recommended."""
    allowed = allowed_pairs(run.manifest)
    truth = yardstick.truth if yardstick else None
    first = pick(seed_mean(yardstick.data.ranking), allowed) if yardstick else None
    found: dict[str, MethodResult] = {}
    kept: dict[str, ReferenceScores] = {}
    for label, data in run.methods.items():
        own = yardstick is not None and data is yardstick.data
        scores = yardstick.scores if yardstick and own else test_scores(run, data, seed=seed)
        best = pick(seed_mean(data.ranking), allowed)
        comparison = compare(truth, data.ranking, data.ran, own=own) if truth else Comparison()
        got = delivered(scores, best, truth, first)
        found[label] = method_result(run, data, cost_of(data, run.manifest), comparison, got, yardstick, allowed)
        if yardstick is None or got.gain.value >= 0:
            kept[label] = scores
    return found, kept


def _summary(
    run: RunData, results: Mapping[str, MethodResult], parts: TwoWay | None = None, views: Views | None = None
) -> Summary:
    manifest, parts = run.manifest, parts or TwoWay()
    selection = manifest.selection
    reference = results.get(manifest.reference or "")
    return Summary(
        run=manifest.name,
        reference=manifest.reference,
        selection=Selection(task=selection.task, metric=selection.metric, higher_is_better=selection.higher_is_better),
        n_pairs=len(manifest.pairs),
        seeds=manifest.seeds,
        noise_ceiling=NoiseCeiling(spearman=reference.comparison.spearman.value if reference else None),
        interaction_share=Value(value=parts.interaction, ci95=parts.ci95),
        methods={label: result.summary for label, result in results.items()},
        views=views or Views(),
    )


def _close(run: RunData, scores: ReferenceScores, seed: int) -> list[Pair] | None:
    """Pairs that these test scores do not separate from their best, best first; None where that is not known."""
    numbers = not_separated(scores, seed=seed)
    return None if numbers is None else [run.manifest.pairs[number] for number in numbers]


def _passing(run: RunData, results: Mapping[str, MethodResult], reference: MethodData) -> str | None:
    costs = {label: r.summary.flops.total for label, r in results.items() if r.cost.complete}
    known = {label: spent for label, spent in costs.items() if spent is not None}
    return cheapest_passing(reference, run.methods, known)


def _inferiority(
    run: RunData, results: Mapping[str, MethodResult], truth: ReferenceScores, reference: MethodData, seed: int
) -> dict[str, NonInferiority]:
    found = {label: non_inferior(truth, reference, run.methods[label], seed=seed) for label in results}
    return {label: one for label, one in found.items() if one is not None and label != reference.label}


def _recommendation(
    run: RunData,
    results: Mapping[str, MethodResult],
    better: Mapping[str, tuple[bool, bool]],
    scores: Mapping[str, ReferenceScores],
    seed: int,
) -> Recommendation | None:
    reference = run.manifest.reference or ""
    label = recommended(results, better, reference)
    pair = results[label].summary.best_pair if label else None
    if label is None or pair is None:
        return None
    close = _close(run, scores[label].within(allowed_pairs(run.manifest)), seed)
    return Recommendation(label, pair, better.get(label, (False, False)), close)


def _warnings(run: RunData) -> dict[str, list[str]]:
    found = {
        label: list(dict.fromkeys(warning for record in data.records.values() for warning in record.warnings))
        for label, data in run.methods.items()
    }
    return {label: warnings for label, warnings in found.items() if warnings}
