"""How far methods agree where no grid was trained: their common order of the pairs, and what to train next."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reports.ranking import pick, places, spearman
from reports.rundata import MethodData
from reports.scores import seed_mean

MOST = 10
"""Pairs at most that are named for training."""


@dataclass(frozen=True)
class Agreement:
    """How alike several methods rank the pairs.

    Attributes:
        labels: Methods that rank at least two pairs, and do not give all the same score.
        spearman: ``[methods, methods]`` rank correlation over the pairs that both have; NaN where it is undefined.
        picks: Label -> number of its pick, of the methods that pick one.
        places: ``[pairs]`` mean place over the methods, 1 for the best; NaN for a pair that none has.
        candidates: Pairs to train next, the most promising first: every method's pick, and what it does not separate
            from its best.
    """

    labels: list[str]
    spearman: Float[np.ndarray, "methods methods"]
    picks: dict[str, int]
    places: Float[np.ndarray, " pairs"]
    candidates: list[int]

    @property
    def mean(self) -> float:
        """Mean rank correlation between two different methods; NaN with fewer than two."""
        values = [self.spearman[one, other] for one, other in itertools.combinations(range(len(self.labels)), 2)]
        known = [value for value in values if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    @property
    def favourite(self) -> tuple[int, list[str]] | None:
        """The pair that most methods pick (of several the one with the better mean place), and who picks it."""
        if not self.picks:
            return None
        votes = {n: [label for label, own in self.picks.items() if own == n] for n in self.picks.values()}
        best = max(votes, key=lambda n: (len(votes[n]), -self.places[n]))
        return best, votes[best]


def agreement(
    methods: Mapping[str, MethodData], allowed: Float[np.ndarray, " pairs"] | np.ndarray, close: Mapping[str, list[int]]
) -> Agreement:
    """Compare the methods' rankings with each other.

    Args:
        methods: Label -> method.
        allowed: Pairs that may be picked.
        close: Label -> pairs that the method's own test scores do not separate from its best, where that is known.
    """
    rankings = {label: seed_mean(data.ranking) for label, data in methods.items()}
    rankings = {
        label: ranking
        for label, ranking in rankings.items()
        if np.isfinite(ranking).sum() >= min(2, len(ranking)) and not _all_tie(ranking)
    }
    labels = list(rankings)
    table = np.full((len(labels), len(labels)), np.nan)
    for one, other in itertools.product(range(len(labels)), repeat=2):
        first, second = rankings[labels[one]], rankings[labels[other]]
        both = np.isfinite(first) & np.isfinite(second)
        if both.sum() >= 2:
            table[one, other] = float(spearman(first[both], second[both]))
    picked = {label: pick(ranking, allowed) for label, ranking in rankings.items()}
    picks = {label: number for label, number in picked.items() if number is not None}
    every = np.array([places(ranking) for ranking in rankings.values()]).reshape(len(labels), len(allowed))
    known = np.isfinite(every)
    mean = np.where(known.any(axis=0), np.where(known, every, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
    wanted = {*picks.values(), *(number for label in labels for number in close.get(label, ()))}
    ordered = sorted(wanted, key=lambda number: (mean[number], number))
    return Agreement(labels, table, picks, mean, ordered[:MOST])


def _all_tie(ranking: Float[np.ndarray, " pairs"]) -> bool:
    """It orders nothing, so there is nothing to agree with."""
    return len(ranking) > 1 and bool(np.nanmin(ranking) == np.nanmax(ranking))
