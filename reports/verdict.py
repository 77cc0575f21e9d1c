"""The verdict: at most three short sentences in plain words. Which pair, how sure, what it cost and would have cost."""

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.recommendation import Recommendation
from reports.rows import MethodResult
from reports.tuning import is_untuned
from reports.unreferenced import verdict_without_reference
from reports.wording import counted, estimated, every_seed, pair_name, several

SMOKE = (
    "This was a smoke run: one step per cell, to see that everything runs from end to end. Its numbers mean nothing, "
    "so there is no verdict."
)


def verdict(analysis: Analysis) -> list[str]:
    """The sentences, the most important first. What is not finished is said before anything is concluded."""
    if analysis.manifest.smoke:
        return [SMOKE]
    if analysis.manifest.rows.get("test") == 0:
        return _untested(analysis)
    reference, chosen = analysis.reference, analysis.recommendation
    if reference is None:
        return verdict_without_reference(analysis)
    if chosen is None and reference.all_tie:
        return _all_tie(analysis, reference)
    if chosen is None:
        return [
            f"Nothing can be said yet: the reference ({reference.label}) has no finished pair "
            f"({reference.summary.status.done} of {len(reference.data.cells)} cells are done).",
            *_meanwhile(analysis),
        ]
    result = analysis.methods[chosen.label]
    first, sure, spent = _which(analysis, result, chosen), _how_sure(analysis, chosen), _cost(analysis, result)
    gap = _gap(analysis, reference)
    return [gap, first, sure] if gap else [first, sure, spent]


def _untested(analysis: Analysis) -> list[str]:
    """What can be said of a run whose sample leaves all test data out."""
    methods = analysis.summary.methods.items()
    picks = [f"{label} picks {pair_name(found.best_pair)}" for label, found in methods if found.best_pair]
    first = "No test data take part in this run, so nothing is known of how good a connector is on new data."
    return [first, f"On validation data {', '.join(picks)}."] if picks else [first]


def _meanwhile(analysis: Analysis) -> list[str]:
    """What other methods hand over while the reference has nothing yet; empty where none does."""
    found = [
        f"{label} picks {pair_name(row.best_pair)} ({formatting.number(row.delivered.value)})"
        for label, row in ((label, result.summary) for label, result in analysis.methods.items())
        if row.best_pair is not None and row.delivered.value is not None
    ]
    metric = analysis.summary.selection.metric
    return [f"Meanwhile, with the {metric} of their own connectors on test data: {several(found)}."] if found else []


def _all_tie(analysis: Analysis, reference: MethodResult) -> list[str]:
    """What can be said where the metric does not tell the reference's pairs apart."""
    score, metric = float(np.nanmean(reference.data.scores)), analysis.summary.selection.metric
    gap = _gap(analysis, reference)
    scored = counted(int(reference.data.ran.any(axis=0).sum()), "pair")
    return [
        *([gap] if gap else []),
        f"No pair can be recommended: {reference.label} has the same {metric}, {formatting.number(score)}, for all "
        f"{scored} on validation data.",
        "Select by another metric that tells them apart.",
    ]


def _gap(analysis: Analysis, reference: MethodResult) -> str:
    """A sentence if the reference has not scored every pair with every seed; empty if it has."""
    planned, seeds = analysis.summary.n_pairs, len(analysis.summary.seeds)
    ran = reference.data.ran
    scored, whole = int(ran.any(axis=0).sum()), int(ran.all(axis=0).sum())
    if whole == planned:
        return ""
    if scored < planned:
        more = "" if seeds == 1 else f", {whole or 'none'} of them with {every_seed(seeds)}"
        return f"Not finished: {reference.label} has scored {scored} of {planned} pairs so far{more}."
    return f"Not finished: {reference.label} has scored {whole} of {planned} pairs with {every_seed(seeds)}."


def grid_name(reference: MethodResult) -> str:
    """What the reference is, in plain words."""
    return f"the grid {reference.label}" if reference.data.planned.is_grid else f"the reference {reference.label}"


def _which(analysis: Analysis, result: MethodResult, chosen: Recommendation) -> str:
    pair, found, selection = pair_name(chosen.pair), result.delivered.best, analysis.summary.selection
    if not np.isfinite(found.value):
        return f"Stitch {pair}, which {result.label} picks; it trains no connector."
    lower = "" if selection.higher_is_better else " (lower is better)"
    return f"Stitch {pair} with {result.label}'s connector: {selection.metric} {estimated(found)}{lower} on test data."


def _how_sure(analysis: Analysis, chosen: Recommendation) -> str:
    close, reference = _close(chosen), analysis.reference
    assert reference is not None, "there is a recommendation"
    if analysis.summary.n_pairs == 1:
        return "It is the only pair of this run."
    if not close:
        return "How sure that is cannot be said: there are no test queries to resample."
    found, (best, mean) = analysis.methods[chosen.label].delivered, chosen.better
    if mean:
        gain = f"by {estimated(found.gap.turned)} on average{_over(analysis, chosen.label)}"
    elif best:
        gain = f"by {estimated(found.gain)} for this pair"
    else:
        return f"{close[0].upper()}{close[1:]}."
    name = grid_name(reference).replace(
        "the ", "the untuned " if is_untuned(reference.data, reference.summary.tuning) else "the ", 1
    )
    return f"Its connectors are better than {name}'s {gain}; {close}."


def _over(analysis: Analysis, label: str) -> str:
    """Over which pairs a mean difference is, where it is not over all."""
    shared = analysis.shared(label)
    return "" if shared == analysis.summary.n_pairs else f" over the {counted(shared, 'pair')} that both have"


def _close(chosen: Recommendation) -> str:
    """A sentence on which other pairs may be as good; empty where that is not known."""
    if chosen.close is None:
        return ""
    rivals = [pair for pair in chosen.close if pair != chosen.pair]
    if not rivals:
        return "all other pairs are worse on these test data"
    many = counted(len(rivals), "other pair")
    if chosen.pair not in chosen.close:
        return f"{many} did better on these test data, but not on validation"
    return f"{many} may be as good"


def _cost(analysis: Analysis, result: MethodResult) -> str:
    reference, cheap = analysis.reference, analysis.passing
    assert reference is not None, "there is a recommendation"
    full = _spent(reference)
    if result is not reference:
        return f"That cost {_spent(result)}; {grid_name(reference)} cost {full}."
    if len(analysis.methods) < 2:
        return f"That cost {full}."
    if cheap is None:
        return f"That cost {full}, and no cheaper method here is sure to order the pairs as well."
    other = analysis.methods[cheap]
    return f"That cost {full}; {cheap} orders the pairs as well for {_spent(other)}."


def _spent(result: MethodResult) -> str:
    return f"{formatting.flops(result.summary.flops.total)} and {formatting.seconds(result.summary.wall_s)}"
