"""Every pair under every method: what it ranks the pair by, its connector's test score, and both places."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports import formatting
from reports.analysis import Analysis
from reports.compare import seed_mean
from reports.ranking import places
from reports.schema import Pair

HEADINGS = (
    "image encoder",
    "text encoder",
    "method",
    "ranks by",
    "test score",
    "95 % interval",
    "behind the reference",
    "place",
    "reference's place",
    "note",
)


@dataclass(frozen=True)
class PairRow:
    """One pair under one method.

    Attributes:
        number: The pair's number in the plan.
        pair: Its encoders.
        method: The method.
        score: What the method ranks it by (validation score, or its own), mean over seeds.
        test: Test score of its connector, mean over seeds; NaN without one.
        ends: Interval of that, of this pair by itself.
        behind: How far it lies behind the reference's own test score (positive: worse).
        place: By the method, 1 is best.
        reference_place: By the reference's test scores.
        note: What else is to be said.
    """

    number: int
    pair: Pair
    method: str
    score: float
    test: float
    ends: tuple[float, float]
    behind: float
    place: float
    reference_place: float
    note: str

    @property
    def cells(self) -> list[str]:
        """What stands in the table after the pair and the method."""
        out = [formatting.number(value) for value in (self.score, self.test)]
        out += [formatting.interval(self.ends) or "–", formatting.number(self.behind)]
        return [*out, formatting.count(self.place), formatting.count(self.reference_place), self.note or "–"]


def pair_rows(analysis: Analysis) -> list[PairRow]:
    """A row for every pair under every method that has run, the best pairs first.

    The best are so by the reference's test scores, or where it has none by their mean place over the methods.
    """
    pairs, truth, sign = analysis.manifest.pairs, analysis.truth, 1.0 if _higher(analysis) else -1.0
    nothing = np.full(len(pairs), np.nan)
    theirs = nothing if truth is None else sign * truth.mean
    order = nothing if truth is None or not np.isfinite(truth.mean).any() else places(truth.mean)
    close, rows, places_of = set(analysis.ties or []), [], []
    for label, result in analysis.methods.items():
        if not result.data.records:
            continue  # nothing of it has run yet: it is among the missing
        score, test = seed_mean(result.data.scores), seed_mean(result.data.test)
        own = places(seed_mean(result.data.ranking)) if np.isfinite(score).any() else nothing
        places_of.append(own)
        ends = np.full((len(pairs), 2), np.nan) if result.delivered.each is None else result.delivered.each
        for n, pair in enumerate(pairs):
            notes = ["pick"] if pair == result.summary.best_pair else []
            if label == analysis.summary.reference:
                oracle = pair == result.summary.oracle_pair
                notes += ["oracle"] if oracle else ["not separated"] if pair in close else []
            if not result.data.ran[:, n].any():
                notes.append("no result")
            elif not np.isfinite(score[n]):
                notes.append("diverged")
            behind = np.nan if label == analysis.summary.reference else sign * (theirs[n] - test[n])
            ci = (float(ends[n, 0]), float(ends[n, 1]))
            values = (float(score[n]), float(test[n]), ci, float(behind), float(own[n]), float(order[n]))
            rows.append(PairRow(n, pair, label, *values, ", ".join(notes)))
    best = order if np.isfinite(order).any() else seed_mean(np.stack([nothing, *places_of]))
    return sorted(rows, key=lambda row: (np.nan_to_num(best[row.number], nan=np.inf), row.number))


def pair_scores_frame(rows: list[PairRow]) -> pd.DataFrame:
    """The same as numbers, for ``tables/pair_scores.csv``."""
    columns = ["image", "text", "method", "score", "test", "test_low", "test_high", "behind_reference", "place"]
    values = [(*r.pair, r.method, r.score, r.test, *r.ends, r.behind, r.place, r.reference_place, r.note) for r in rows]
    return pd.DataFrame(values, columns=pd.Index([*columns, "reference_place", "note"]))


def _higher(analysis: Analysis) -> bool:
    return analysis.summary.selection.higher_is_better
