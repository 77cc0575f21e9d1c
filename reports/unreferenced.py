"""What a report says without a reference: what methods find by themselves, where they agree, and what to train next."""

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.scores import seed_mean
from reports.wording import counted, estimated, pair_name, several


def verdict_without_reference(analysis: Analysis) -> list[str]:
    """At most three short sentences: the pair that most methods pick, how much they agree, what to train next."""
    found = analysis.agreement
    favourite = None if found is None else found.favourite
    if found is None or favourite is None:
        return ["Nothing can be said yet: no method has picked a pair."]
    pair, voters = favourite
    name = pair_name(analysis.manifest.pairs[pair])
    many = len(found.picks)
    of = "methods" if many == len(analysis.methods) else "methods that prefer a pair"
    who = voters[0] if many == 1 else f"All {many} {of}" if len(voters) == many else f"{len(voters)} of {many} {of}"
    first = f"{who} {'picks' if many == 1 else 'pick'} {name}{_best_connector(analysis, pair)}."
    sure = "No grid was trained, so nothing here is checked against one"
    if found.mean == found.mean:
        sure += f"; the methods' orders agree with {formatting.number(found.mean, 2)} (1 is the same, 0 unrelated)"
    names = several([pair_name(analysis.manifest.pairs[n]) for n in found.candidates], 4)
    return [first, f"{sure}.", f"Train {'this pair' if len(found.candidates) == 1 else 'these'} next: {names}."]


def _best_connector(analysis: Analysis, pair: int) -> str:
    """The best connector that there is for a pair, by validation score, and its test score; empty without one."""
    metric, found = analysis.summary.selection.metric, []
    for label, result in analysis.methods.items():
        data, place = result.data, analysis.manifest.pairs[pair]
        validation, test = (float(seed_mean(scores)[pair]) for scores in (data.scores, data.test))
        if np.isfinite(validation) and np.isfinite(test):
            got = estimated(result.delivered.best) if result.summary.best_pair == place else formatting.number(test)
            found.append((validation if data.score_higher else -validation, label, got))
    if not found:
        return ""
    _, label, got = max(found, key=lambda one: one[0])
    return f"; the best connector for it is {label}'s: {metric} {got} on test data"


def evidence_without_reference(analysis: Analysis) -> list[tuple[str, list[str]]]:
    """Title and sentences of each paragraph."""
    found = analysis.agreement
    if found is None:
        return []
    own = []
    for label, result in analysis.methods.items():
        pair = result.summary.best_pair
        if pair is None:
            own.append(
                f"{label} gives all pairs the same score and picks none."
                if result.all_tie
                else f"{label} has no finished pair."
            )
            continue
        got = result.delivered.best
        worth = f"its delivered score is {estimated(got)}" if got.value == got.value else "it trains no connector"
        close = analysis.own_close.get(label)
        beside = (
            ""
            if close is None
            else f"; {counted(len(close), 'pair')} {'is' if len(close) == 1 else 'are'} not separated from its best"
        )
        own.append(f"{label} picks {pair_name(pair)}: {worth}{beside}.")
    rule = (
        "To train next, by mean place over the methods: "
        f"{several([pair_name(analysis.manifest.pairs[n]) for n in found.candidates], 10)}. These are every method's "
        "pick and, where it has connectors, the pairs that are not separated from its best."
    )
    parts = [("What each method finds", own), ("Which pairs to train next", [rule])]
    if len(found.labels) > 1:
        least, pair_of = _least(analysis)
        parts.insert(
            1,
            (
                "Where they agree",
                [
                    f"Two methods' rankings have a Spearman of {formatting.number(found.mean, 2)} on average; the "
                    f"least is {formatting.number(least, 2)}, between {pair_of}.",
                    "Agreement is no proof: methods that look at the same thing agree when they are wrong.",
                ],
            ),
        )
    return parts


def _least(analysis: Analysis) -> tuple[float, str]:
    """The two methods that agree least."""
    found = analysis.agreement
    assert found is not None, "the caller has looked"
    pairs = [
        (found.spearman[one, other], f"{found.labels[one]} and {found.labels[other]}")
        for one in range(len(found.labels))
        for other in range(one)
        if found.spearman[one, other] == found.spearman[one, other]
    ]
    return min(pairs, default=(float("nan"), "none"))
