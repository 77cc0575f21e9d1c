"""An encoder added after a joint run: its pairs under every method, and what they alone cost."""

from dataclasses import dataclass

import numpy as np

from harness.run.records import CellRecord
from reports import formatting
from reports.analysis import Analysis
from reports.rundata import MethodData

FIELD = "held_out"
"""Config field by which a method says which encoder its joint run does not see."""


@dataclass(frozen=True)
class Added:
    """One method on the pairs of one encoder.

    Attributes:
        encoder: The encoder that some method of the run adds.
        label: The method.
        adds: Whether it is a method that adds the encoder.
        scores: Mean test score of the encoder's pairs, of each seed with a result.
        flops: FLOPs spent on these pairs alone, mean over those seeds; NaN where they cannot be told from the others'.
    """

    encoder: str
    label: str
    adds: bool
    scores: tuple[float, ...]
    flops: float


def added_entries(analysis: Analysis) -> list[Added]:
    """Every method on the pairs of every encoder that a method of the run adds; empty where none does."""
    planned = {label: result.data.planned.config.get(FIELD) for label, result in analysis.methods.items()}
    entries = []
    for encoder in dict.fromkeys(str(held) for held in planned.values() if held):
        inside = np.array([encoder in pair for pair in analysis.manifest.pairs])
        for label, result in analysis.methods.items():
            data, adds = result.data, planned[label] == encoder
            if planned[label] and not adds:
                continue
            rows = [row for row in range(len(data.test)) if np.isfinite(data.test[row, inside]).all()]
            if not inside.any() or not rows:
                continue
            scores = tuple(float(data.test[row, inside].mean()) for row in rows)
            spent = [_spent(data, analysis.manifest.seeds[row], encoder, adds=adds) for row in rows]
            entries.append(Added(encoder, label, adds, scores, float(np.mean(spent))))
    return entries


def _spent(data: MethodData, seed: int, encoder: str, *, adds: bool) -> float:
    """FLOPs of one seed for the encoder's pairs alone.

    The cells that hold no other pair; for a method that adds the encoder what lies between the last two points of its
    curve (the end of the joint run, the end of the fit).
    """
    records = data.of_seed(seed)
    if adds:
        return sum(_last_leg(record) for record in records)
    own = [record for record in records if all(encoder in pair for pair in record.pairs)]
    return sum(record.ledger.total for record in own) if own else float("nan")


def _last_leg(record: CellRecord) -> float:
    return record.curve[-1].flops - record.curve[-2].flops if len(record.curve) > 1 else float("nan")


def added_rows(analysis: Analysis) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table of a report; no rows where no encoder is added."""
    reference = analysis.summary.reference
    columns = ["encoder", "method", f"test {analysis.summary.selection.metric} of its pairs", "seeds"]
    columns += ["FLOPs of its pairs alone", f"{reference or 'reference'} / method FLOPs"]
    entries = added_entries(analysis)
    full = {entry.encoder: entry.flops for entry in entries if entry.label == reference}
    rows = [
        [
            entry.encoder,
            entry.label + (" (adds it)" if entry.adds else ""),
            formatting.number(float(np.mean(entry.scores))),
            ", ".join(formatting.number(score) for score in entry.scores),
            formatting.flops(entry.flops),
            formatting.times(full.get(entry.encoder, float("nan")) / entry.flops if entry.flops else None),
        ]
        for entry in entries
    ]
    return columns, rows
