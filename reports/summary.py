"""Writing and reading ``summary.json``, and its rows for a terminal."""

import json
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from harness.errors import HarnessError
from harness.run.blobs import Blobs
from reports import formatting
from reports.schema import Summary


class SummaryRow(NamedTuple):
    """One method's row of the summary table, as text."""

    method: str
    kind: str
    cells: str
    spearman: str
    regret: str
    best_pair: str
    score: str
    flops: str
    cost_ratio: str
    batch_size: str
    updates_per_pair: str
    wall: str


SUMMARY_COLUMNS = SummaryRow(
    "method",
    "kind",
    "cells done",
    "Spearman [95% CI]",
    "regret [95% CI]",
    "best pair (picked on validation)",
    "its test score",
    "FLOPs",
    "cost ratio, as run (FLOPs / wall)",
    "batch",
    "updates per pair",
    "wall",
)
"""Headings of ``summary_rows``."""


SUMMARY = "summary.json"


def write_summary(summary: Summary, into: Blobs) -> None:
    """Write ``summary.json`` whole or not at all; numbers that are not finite are null."""
    data = summary.model_dump(mode="json", by_alias=True)
    into.put(SUMMARY, (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_summary(path: Path) -> Summary:
    """Read a ``summary.json``.

    Raises:
        HarnessError: Missing or not of this schema.
    """
    try:
        return Summary.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise HarnessError("no readable summary", where=str(path), fix="harness report RUN makes one") from error


def summary_rows(summary: Summary) -> list[SummaryRow]:
    """Rows of the summary table, one per method in plan order; the cost ratio is the ``as_run`` view's."""
    image = formatting.short_names([row.best_pair[0] for row in summary.methods.values() if row.best_pair])
    text = formatting.short_names([row.best_pair[1] for row in summary.methods.values() if row.best_pair])
    rows = []
    for label, row in summary.methods.items():
        planned = row.status.done + row.status.failed + row.status.diverged + row.status.missing
        ours = label == summary.reference
        rows.append(
            SummaryRow(
                f"{label} (reference)" if ours else label,
                row.kind,
                f"{row.status.done}/{planned}",
                formatting.with_interval(row.spearman.value, row.spearman.ci95),
                formatting.with_interval(row.regret.value, row.regret.ci95),
                f"{image[row.best_pair[0]]} + {text[row.best_pair[1]]}" if row.best_pair else "–",
                formatting.number(row.best_pair_score),
                formatting.flops(row.flops.total),
                f"{formatting.times(row.cost_ratio.flops)} / {formatting.times(row.cost_ratio.wall)}",
                formatting.count(row.batch_size),
                formatting.count(row.updates_per_pair),
                formatting.seconds(row.wall_s),
            )
        )
    return rows
