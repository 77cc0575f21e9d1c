"""The evidence behind the verdict: what the reference says, and what each protagonist delivers, ranks and costs.

No ratio stands without both budgets, no ranking without its chance level and interval. The technical terms that are
used here are those of ``reports.definitions``, so that the page can link them.
"""

from dataclasses import dataclass

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.overview import first_of
from reports.protagonists import Protagonist, others, protagonists
from reports.ranking import tied_first
from reports.rows import MethodResult
from reports.search import search_needed
from reports.secondary import task_sentences
from reports.tuning import RATE, is_untuned
from reports.unreferenced import evidence_without_reference
from reports.wording import budget_text, counted, estimated, every_seed, pair_name, several


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of the evidence.

    Attributes:
        title: What or whom it is about.
        sentences: What it says.
    """

    title: str
    sentences: list[str]


def evidence(analysis: Analysis) -> list[Paragraph]:
    """The paragraphs, the reference first."""
    if analysis.manifest.smoke:
        return []
    reference = analysis.reference
    if reference is None:
        return [Paragraph(title, text) for title, text in evidence_without_reference(analysis)]
    if reference.summary.oracle_pair is None:
        return []
    found = [Paragraph(f"The reference: {reference.label}", _reference(analysis, reference))]
    spoken = protagonists(analysis)
    found += [Paragraph(f"{p.result.label}: {', '.join(p.roles)}", _method(analysis, p, reference)) for p in spoken]
    if not any("cheapest" in role for p in spoken for role in p.roles) and others(analysis):
        found.append(Paragraph("Cheaper rankings", [_none_passes(analysis, reference)]))
    left = len(others(analysis)) - len(spoken)
    if left > 0:
        found.append(Paragraph("Others", [f"The table has {counted(left, 'more method')}."]))
    if tasks := task_sentences(analysis):
        found.append(Paragraph("Other tasks", tasks))
    return [*found, Paragraph("Is a search over pairs needed?", [search_needed(analysis)])]


def _reference(analysis: Analysis, reference: MethodResult) -> list[str]:
    row, selection, data = reference.summary, analysis.summary.selection, reference.data
    assert row.oracle_pair is not None, "the caller has looked"
    better = "higher" if selection.higher_is_better else "lower"
    scored, whole = data.ran.any(axis=0), data.ran.all(axis=0)
    planned, seeds = analysis.summary.n_pairs, len(analysis.summary.seeds)
    which = (
        f"all {planned} pairs"
        if scored.sum() == planned
        else f"the {int(scored.sum())} of {planned} pairs that it has scored"
    )
    place = analysis.manifest.pairs.index(row.oracle_pair)
    own_seeds = int(data.ran[:, place].sum())
    out = [
        f"By its test scores the best of {which} is {pair_name(row.oracle_pair)} with {selection.metric} "
        f"{formatting.number(row.oracle_score)} ({better} is better; mean over {counted(own_seeds, 'seed')}"
        f"{_level_with(analysis)})."
    ]
    if whole.sum() < scored.sum():
        few = int(whole.sum())
        first = f"Only {counted(few, 'pair')} {'has' if few == 1 else 'have'}" if few else "No pair has"
        out.append(f"{first} {every_seed(seeds)}.")
    out.append(_separated(analysis))
    if row.best_pair is not None:
        out.append(
            f"Its delivered score is {estimated(reference.delivered.best)}, for {pair_name(row.best_pair)}, which it "
            f"picks on validation data{first_of(reference)}; its mean score over the pairs is "
            f"{estimated(reference.delivered.mean)}."
        )
    ceiling = analysis.summary.noise_ceiling.spearman
    if ceiling is not None:
        out.append(
            f"Its seeds rank the pairs like each other with Spearman {formatting.number(ceiling)}: the noise ceiling."
        )
    else:
        out.append("It cannot be held against itself with fewer than two seeds: there is no noise ceiling.")
    return [sentence for sentence in (*out, rates_text(reference)) if sentence]


def rates_text(result: MethodResult) -> str:
    """Whether a method's learning rate was tuned, and what that took; empty for a method without one."""
    tuning, rate = result.summary.tuning, result.data.planned.config.get(RATE)
    if tuning is not None and len(tuning.rates) > 1:
        part = (tuning.flops or 0.0) / (result.summary.flops.total or 1.0)
        kept = ", ".join(f"{one} for {formatting.count(number)}" for one, number in tuning.picked.items())
        of = "all pairs together" if tuning.shared else "each pair"
        return (
            f"It is tuned: its learning rate was picked for {of} on validation data among "
            f"{several([f'{one:g}' for one in tuning.rates], 8)} (kept: {kept} connectors), and {100 * part:.0f} % of "
            "its FLOPs went to rates that were not kept."
        )
    if is_untuned(result.data, tuning):
        return f"It is untuned: its learning rate of {rate:g} was set by hand, and another may give better connectors."
    return ""


def _separated(analysis: Analysis) -> str:
    if analysis.ties is None:
        return ""
    rivals = [pair_name(pair) for pair in analysis.ties[1:]]
    if not rivals:
        return "All other scored pairs are separated from it."
    verb = "is" if len(rivals) == 1 else "are"
    return f"{counted(len(rivals), 'other pair')} {verb} not separated from it ({several(rivals)})."


def _level_with(analysis: Analysis) -> str:
    """How many other pairs have the very same test score as the best."""
    level = 0 if analysis.truth is None else tied_first(analysis.truth.mean) - 1
    return f"; {counted(level, 'other pair')} {'has' if level == 1 else 'have'} the same score" if level > 0 else ""


def _none_passes(analysis: Analysis, reference: MethodResult) -> str:
    if analysis.summary.noise_ceiling.spearman is None:
        return (
            f"Whether a method ranks as well as {reference.label} cannot be said with one seed: there is no noise "
            "ceiling to hold it against."
        )
    cheaper = (r.summary.flops.total for r in others(analysis) if r.summary.flops.total is not None)
    if min(cheaper, default=float("inf")) >= (reference.summary.flops.total or 0.0):
        return f"No method here costs less than {reference.label}."
    return f"No method that costs less is sure to rank the pairs as well as {reference.label}'s own seeds do."


def _method(analysis: Analysis, protagonist: Protagonist, reference: MethodResult) -> list[str]:
    result = protagonist.result
    parts = (
        _delivers(analysis, result, reference),
        _mean(analysis, result, reference),
        _ranks(analysis, result),
        _loses(analysis, result, reference),
        _costs(analysis, result, reference),
        _matched(analysis, result, reference),
    )
    return [sentence for sentence in parts if sentence]


def _delivers(analysis: Analysis, result: MethodResult, reference: MethodResult) -> str:
    """The pick and what its connector is worth."""
    pair, found = result.summary.best_pair, result.delivered
    if pair is None:
        tie = "It gives all pairs the same score, so it picks none; its numbers are those of a random pick."
        return tie if result.all_tie else "It has no finished pair yet."
    by = "its own score" if result.data.planned.kind == "score" else "its mean validation score"
    place = analysis.manifest.pairs.index(pair)
    text = f"It picks {pair_name(pair)} by {by}{first_of(result)}"
    if pair == result.summary.oracle_pair:
        text += ", the reference's best pair"
    elif not reference.data.ran[:, place].any():
        text += f", which {reference.label} has not scored yet: what that loses or gains is not known"
    elif analysis.ties is not None and pair in analysis.ties:
        text += ", which is not separated from the reference's best pair"
    elif analysis.ties is not None:
        text += ", which the reference separates from its best pair"
    if not np.isfinite(found.best.value):
        return f"{text}. It trains no connector."
    apart = _apart(found.gain.value, found.gain.ci95)
    far = "" if reference.data.ran.all() else " so far"
    return f"{text}. Its delivered score is {estimated(found.best)}, {apart} {reference.label}'s{far}."


def _apart(gain: float, ends: tuple[float, float]) -> str:
    """``0.033 [0.010, 0.050] better than``."""
    if not np.isfinite(gain):
        return "not comparable with"
    if gain == 0:
        return "the same as"
    low, high = ends if gain > 0 else (-ends[1], -ends[0])
    return f"{formatting.with_interval(abs(gain), (low, high))} {'better' if gain > 0 else 'worse'} than"


def _mean(analysis: Analysis, result: MethodResult, reference: MethodResult) -> str:
    found = result.delivered
    if not np.isfinite(found.gap.value):
        return ""
    turned, planned, own = found.gap.turned, analysis.summary.n_pairs, result.connectors
    shared = analysis.shared(result.label)
    over = "" if own == planned else f" over {own} of {planned} pairs"
    same = "the same pairs" if shared == planned else f"the {counted(shared, 'pair')} that both have"
    better = analysis.better.get(result.label, (False, False))
    sure = " This is surely better, counting that every method was looked at." if any(better) else ""
    return (
        f"Its mean score{over} is {estimated(found.mean)}, a mean gap of {estimated(found.gap)} to {reference.label} "
        f"over {same} ({_sign(turned.value, turned.ci95)}).{sure}"
    )


def _sign(gain: float, ends: tuple[float, float]) -> str:
    """Whether a difference is better or worse, where its interval says so."""
    if gain == 0:
        return "the same"
    if ends[0] <= 0 <= ends[1]:
        return "neither clearly better nor worse"
    return "better" if gain > 0 else "worse"


def _ranks(analysis: Analysis, result: MethodResult) -> str:
    row = result.summary
    if row.spearman.value is None:
        return ""
    ceiling = analysis.summary.noise_ceiling.spearman
    beside = f"noise ceiling {formatting.number(ceiling)}" if ceiling is not None else "one seed, so no noise ceiling"
    text = (
        f"It ranks the {counted(result.comparison.pairs, 'pair')} that both have with Spearman "
        f"{formatting.with_interval(row.spearman.value, row.spearman.ci95)} (chance 0; {beside})"
    )
    found = analysis.inferiority.get(result.label)
    if found is None or found.passed is None:
        return f"{text}."
    away = formatting.with_interval(found.difference, found.ci95)
    if found.passed:
        verdict = "as good as the reference's own ranking"
    elif found.ci95[1] < -found.margin:
        verdict = "worse than the reference's own ranking"
    else:
        verdict = "not shown to be as good as the reference's own ranking"
    return f"{text}: {verdict} (difference {away}, margin {formatting.number(found.margin)})."


def _loses(analysis: Analysis, result: MethodResult, reference: MethodResult) -> str:
    row = result.summary
    if row.regret.value is None:
        return ""
    own = reference.summary.regret.value
    itself = "" if own is None else f"; {reference.label}'s own single seeds lose {formatting.number(own)}"
    return (
        f"Seed by seed, its picks have a regret of {formatting.with_interval(row.regret.value, row.regret.ci95)} (a "
        f"random pick loses {formatting.number(result.comparison.regret.chance)}{itself})."
    )


def _costs(analysis: Analysis, result: MethodResult, reference: MethodResult) -> str:
    view = analysis.summary.views.as_run.get(result.label)
    if view is None or view.cost_ratio.flops is None:
        return ""
    wall = "" if view.cost_ratio.wall is None else f" and {formatting.times(view.cost_ratio.wall)} the device time"
    return (
        f"As run, {reference.label} costs {formatting.times(view.cost_ratio.flops)} the FLOPs{wall}: "
        f"{budget_text(view.reference_budget)}, against {budget_text(view.budget)} for {result.label}."
    )


def _matched(analysis: Analysis, result: MethodResult, reference: MethodResult) -> str:
    """The reference stopped where its FLOPs reach the method's."""
    cut = analysis.cut_reference.get("matched_flops", {}).get(result.label)
    view = analysis.summary.views.matched_flops.get(result.label)
    if cut is None or view is None or view.cost_ratio.flops is None:
        return ""
    name, how = reference.label, ""
    if cut.label != reference.label:
        name, how = cut.label, f"a shorter run of {reference.label}; "
    elif not cut.ended:
        name = f"{reference.label} stopped early"
        how = "its learning rate not yet decayed; " if cut.decays else ""
    return (
        f"At matched FLOPs, {name} ({how}{budget_text(view.reference_budget)}) ranks with Spearman "
        f"{formatting.number(cut.spearman)}, {result.label} with {formatting.number(view.spearman)}."
    )
