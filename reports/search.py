"""How much of the grid is specific to pairs: whether encoders can be chosen one side at a time."""

from reports.analysis import Analysis


def search_needed(analysis: Analysis) -> str:
    """The shares, and what choosing separately would have found, in plain sentences."""
    parts, share = analysis.decomposition, analysis.summary.interaction_share
    if share.value is None:
        return f"How much of the scores is specific to pairs cannot be said: {_why_not(analysis)}."
    removed = ["test noise"] if analysis.truth is not None and analysis.truth.draws is not None else []
    removed += ["seed noise"] if parts.noise == parts.noise else []
    seeds = f"{' and '.join(removed)} removed" if removed else "no noise removed"
    seeds += "" if parts.noise == parts.noise else "; without a second seed, seed noise is inside it"
    ends = f", 95 % interval {_percent(share.ci95[0])} to {_percent(share.ci95[1])}" if share.ci95 else ""
    return (
        f"The image encoder explains {_percent(parts.image)} of the variance of pair scores and the text encoder "
        f"{_percent(parts.text)}; the interaction share, what is specific to pairs, is {_percent(share.value)} "
        f"({seeds}{ends}). Choosing the best image encoder and the best text encoder separately "
        f"{_separately(analysis)}."
    )


def _why_not(analysis: Analysis) -> str:
    """Why there are no shares."""
    sides = [len(set(side)) for side in zip(*analysis.manifest.pairs, strict=True)]
    if min(sides) < 2:
        return "that takes at least two image and two text encoders"
    if analysis.decomposition.pairs < sum(sides):
        return "that takes more finished pairs of the reference than it has encoders"
    return "the reference's scores differ between pairs by no more than noise"


def _separately(analysis: Analysis) -> str:
    """What the main effects alone would pick; a miss only where the pairs are separated."""
    parts = analysis.decomposition
    if parts.additive_best is None or parts.additive_best == parts.best:
        return "finds the best pair here"
    pair = analysis.manifest.pairs[parts.additive_best]
    if analysis.ties is None:
        return "picks another pair here; whether a worse one cannot be said without stored queries"
    if pair in analysis.ties:
        return "finds another pair than the best here, but one that is not separated from it"
    return "misses the best pair here"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
