"""The report's plain sentences. No ratio without its budget, no ranking without its chance level and interval."""

import math

from reports import formatting
from reports.analysis import Analysis
from reports.rows import MethodResult
from reports.schema import Pair, Spent


def pair_name(pair: Pair) -> str:
    """A pair in running text, its ids without their schemes."""
    return " + ".join(encoder.partition(":")[2] or encoder for encoder in pair)


def budget_text(budget: Spent) -> str:
    """A budget in few words: ``batch 128, 210 updates and 26,880 samples per pair, 1.2 TFLOP``."""
    parts = []
    if budget.batch_size is not None:
        parts.append(f"batch {formatting.count(budget.batch_size)}")
    if budget.updates_per_pair:
        samples = formatting.count(budget.samples_per_pair)
        parts.append(f"{formatting.count(budget.updates_per_pair)} updates and {samples} samples per pair")
    if budget.flops is not None:
        parts.append(formatting.flops(budget.flops))
    return ", ".join(parts) or "–"


def headline_methods(analysis: Analysis, most: int = 2) -> list[MethodResult]:
    """The methods that the answer speaks of at length: the joint ones, else all; never the reference.

    Of more than ``most`` the cheapest that is good enough comes first, then those that rank best.
    """
    others = [result for label, result in analysis.methods.items() if label != analysis.summary.reference]
    found = [result for result in others if result.data.planned.kind == "joint"] or others
    if len(found) > most:
        first = cheapest(analysis)
        found = sorted(found, key=lambda result: -(result.summary.spearman.value or -1.0))
        found = [*([first] if first else []), *(result for result in found if result is not first)]
    return found[:most]


def good_enough(analysis: Analysis) -> float | None:
    """The least Spearman with which one of the reference's own seeds ranks the others, rounded down to hundredths.

    The third decimal of a rank correlation says nothing. None without two seeds.
    """
    reference = analysis.reference
    known = [value for value in reference.summary.spearman.per_seed if value is not None] if reference else []
    return math.floor(100 * min(known)) / 100 if len(known) > 1 else None


def cheapest(analysis: Analysis) -> MethodResult | None:
    """The method of the fewest FLOPs that ranks as well as the reference's own seeds rank each other."""
    least = good_enough(analysis)
    if least is None:
        return None
    good = [
        result
        for result in analysis.methods.values()
        if (result.summary.spearman.value or -1.0) >= least and result.summary.flops.total is not None
    ]
    return min(good, key=lambda result: result.summary.flops.total or 0.0, default=None)


def answer(analysis: Analysis) -> list[str]:
    """The answer, sentence by sentence."""
    sentences = [*_best_pair(analysis), *_cheapest(analysis)]
    for result in headline_methods(analysis):
        sentences.extend(_method(analysis, result))
    left = len(analysis.methods) - 1 - len(headline_methods(analysis))
    if left > 0 and analysis.reference is not None:
        sentences.append(f"The table below has {left} more method{'s' if left > 1 else ''}.")
    alone = sum(problem.alone for problem in analysis.problems)
    if alone:
        what = "1 pair diverged" if alone == 1 else f"{alone} pairs diverged"
        sentences.append(f"{what} alone, in cells whose other pairs are done (listed at the end).")
    if cells := len(analysis.problems) - alone:
        planned = sum(len(result.data.cells) for result in analysis.methods.values())
        sentences.append(
            f"This report is of a run with gaps: {cells} of {planned} cells are missing, failed or "
            "diverged (listed at the end)."
        )
    return sentences


def _best_pair(analysis: Analysis) -> list[str]:
    reference, selection = analysis.reference, analysis.summary.selection
    if reference is None:
        return ["This run has no reference method, so no ranking can be judged; scores and costs stand below."]
    row = reference.summary
    if row.oracle_pair is None:
        return [f"The reference ({reference.data.label}) has no finished pair yet, so nothing can be ranked."]
    better = "higher" if selection.higher_is_better else "lower"
    seeds = len(analysis.summary.seeds)
    out = [
        f"By the reference ({reference.data.label}), the best of {analysis.summary.n_pairs} pairs is "
        f"{pair_name(row.oracle_pair)}: {selection.metric} {formatting.number(row.oracle_score)} on test images "
        f"({better} is better; mean over {seeds} seed{'s' if seeds > 1 else ''})."
    ]
    if analysis.ties is not None and len(analysis.ties) > 1:
        shown = ", ".join(pair_name(pair) for pair in analysis.ties[1:4])
        more = f" and {len(analysis.ties) - 4} more" if len(analysis.ties) > 4 else ""
        out.append(
            f"Do not over-read the first place: {len(analysis.ties) - 1} other pair"
            f"{'s are' if len(analysis.ties) > 2 else ' is'} statistically indistinguishable from it on these test "
            f"images ({shown}{more})."
        )
    elif analysis.ties is not None:
        out.append("No other pair is statistically indistinguishable from it on these test images.")
    return out


def _cheapest(analysis: Analysis) -> list[str]:
    """What the right ranking costs at least, among the methods of the run."""
    least, found, reference = good_enough(analysis), cheapest(analysis), analysis.reference
    if least is None or reference is None or len(analysis.methods) < 2:
        return []
    standard = f"as well as the reference's own seeds rank each other (Spearman {formatting.number(least)} or more)"
    if found is None or found is reference:
        return [f"No cheaper method of this run ranks the pairs {standard}."]
    view = analysis.summary.views.as_run.get(found.data.label)
    if view is None or view.cost_ratio.flops is None:
        return []
    return [
        f"The cheapest method here that ranks the pairs {standard} is {found.data.label} with "
        f"{formatting.number(found.summary.spearman.value)}: {budget_text(view.budget)}, "
        f"{formatting.times(view.cost_ratio.flops)} fewer FLOPs as run than {reference.data.label} "
        f"({budget_text(view.reference_budget)}).{_cut_too(analysis, found, least)}"
    ]


def _cut_too(analysis: Analysis, found: MethodResult, least: float) -> str:
    """That the reference, stopped where its FLOPs reach the method's, ranks well enough too; empty if it does not."""
    cut = analysis.cut_reference.get("matched_flops", {}).get(found.data.label)
    view = analysis.summary.views.matched_flops.get(found.data.label)
    if cut is None or view is None or not cut.spearman >= least:  # NaN: not known
        return ""
    return (
        f" So does the reference itself, simply stopped early: {formatting.number(cut.spearman)} at "
        f"{budget_text(view.reference_budget)}."
    )


def _method(analysis: Analysis, result: MethodResult) -> list[str]:
    row, label = result.summary, result.data.label
    if analysis.reference is None or analysis.reference.summary.oracle_pair is None or row.best_pair is None:
        return []
    by = "its own score" if result.data.planned.kind == "score" else "its mean validation score"
    out = [f"{_verdict(analysis, result)} picks {pair_name(row.best_pair)} by {by}."]
    if row.regret.value is not None:
        chance = formatting.number(result.comparison.regret.chance)
        own = analysis.reference.summary.regret.value
        itself = "" if own is None else f", the reference's own single seeds lose {formatting.number(own)}"
        lost = formatting.with_interval(row.regret.value, row.regret.ci95)
        out.append(
            f"Seed by seed its picks lose {lost} {analysis.summary.selection.metric} to the reference's best pair "
            f"(95 % interval in brackets; a random pick would lose {chance}{itself})."
        )
    if row.spearman.value is not None:
        ceiling = analysis.summary.noise_ceiling.spearman
        beside = (
            f"the reference against itself: {formatting.number(ceiling)}"
            if ceiling is not None
            else "one seed, so no noise ceiling"
        )
        spearman = formatting.with_interval(row.spearman.value, row.spearman.ci95)
        out.append(f"It ranks the pairs with Spearman {spearman} against the reference (chance 0; {beside}).")
    view = analysis.summary.views.as_run.get(label)
    if view is not None and view.cost_ratio.flops is not None:
        out.append(
            f"As run, the reference costs {formatting.times(view.cost_ratio.flops)} the FLOPs and "
            f"{formatting.times(view.cost_ratio.wall)} the device time of {label}: "
            f"{budget_text(view.budget)} for {label} against "
            f"{budget_text(view.reference_budget)} for {analysis.reference.data.label}."
        )
    updates = analysis.summary.views.matched_updates.get(label)
    if updates is not None and updates.cost_ratio.flops is not None:
        out.append(
            f"At matched updates ({budget_text(updates.budget)}) the ratio is "
            f"{formatting.times(updates.cost_ratio.flops)}."
        )
    cut = analysis.cut_reference.get("matched_flops", {}).get(label)
    flops = analysis.summary.views.matched_flops.get(label)
    if cut is not None and flops is not None and flops.cost_ratio.flops is not None:
        out.append(
            f"At matched FLOPs ({budget_text(flops.reference_budget)} for {analysis.reference.data.label}), simply "
            f"stopping the reference early ranks with Spearman {formatting.number(cut.spearman)}, {label} with "
            f"{formatting.number(flops.spearman)}."
        )
    return out


def _verdict(analysis: Analysis, result: MethodResult) -> str:
    """Whether the method found the best pair, as the start of a sentence on its pick."""
    label, row = result.data.label, result.summary
    if row.best_pair == row.oracle_pair:
        return f"{label} found the same pair: it"
    if analysis.ties is None:
        return f"{label} did not find the same pair: it"
    if row.best_pair in analysis.ties:
        return f"{label} found a pair that these test images cannot tell from the best: it"
    return f"{label} did not find it: it"


def search_needed(analysis: Analysis) -> str:
    """How much of the grid is specific to pairs, in one plain sentence."""
    parts, share = analysis.decomposition, analysis.summary.interaction_share
    if share.value is None:
        return (
            "How much of the scores is specific to pairs cannot be said: that takes at least two image and two text "
            "encoders, and more finished pairs of the reference than main effects."
        )
    seeds = "seed noise removed" if parts.noise == parts.noise else "without a second seed, so seed noise is inside it"
    ends = f", 95 % interval {_percent(share.ci95[0])} to {_percent(share.ci95[1])}" if share.ci95 else ""
    if parts.additive_best is not None and parts.additive_best == parts.best:
        verdict = "choosing the best image encoder and the best text encoder separately finds the best pair here"
    else:
        verdict = "choosing the best image encoder and the best text encoder separately misses the best pair here"
    return (
        f"The image encoder explains {_percent(parts.image)} of the variance of pair scores, the text encoder "
        f"{_percent(parts.text)}, and what is specific to pairs {_percent(share.value)} ({seeds}{ends}): {verdict}."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
