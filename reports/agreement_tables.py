"""The text tables of what agrees with what: tasks and metrics, and methods where there is no reference."""

import numpy as np

from reports import formatting
from reports.analysis import Analysis
from reports.overview import TIE
from reports.ranking import places
from reports.scores import seed_mean
from reports.secondary import MetricView, metric_views, source_of
from reports.tables import TextTable
from reports.wording import pair_name


def metric_table(analysis: Analysis) -> TextTable | None:
    """Every task and metric: the pick under it, and how alike it orders the pairs; None where there is only one."""
    views, source = metric_views(analysis), source_of(analysis)
    if not views or source is None:
        return None
    rows = [
        [
            view.task,
            view.metric + (" (selection)" if number == 0 else ""),
            _pick(view),
            formatting.number(view.value),
            formatting.number(view.selected),
            "–" if number == 0 else formatting.number(view.spearman),
            formatting.number(view.chance),
        ]
        for number, view in enumerate(views)
    ]
    columns = ["task", "metric", f"pick of {source.label} under it", "its test value"]
    columns += ["test value of the selected pair", "Spearman with the selection metric's order", "chance"]
    return TextTable(columns, rows)


def _pick(view: MetricView) -> str:
    if view.pick is None:
        return TIE if view.tied > 1 else "–"
    return pair_name(view.pick) + (f" (first of {view.tied} that tie)" if view.tied > 1 else "")


def agreement_table(analysis: Analysis) -> TextTable | None:
    """Rank correlation between every two methods; None with a reference, or fewer than two methods."""
    found = analysis.agreement
    if found is None or len(found.labels) < 2:
        return None
    rows = [
        [label, *("–" if one == other else formatting.number(value, 2) for other, value in enumerate(row))]
        for one, (label, row) in enumerate(zip(found.labels, found.spearman, strict=True))
    ]
    return TextTable(["Spearman with", *found.labels], rows)


def candidate_table(analysis: Analysis) -> TextTable | None:
    """Without a reference: the pairs to train next, their place and test score under every method."""
    found = analysis.agreement
    if found is None or not found.candidates:
        return None
    ranks = {label: places(seed_mean(analysis.methods[label].data.ranking)) for label in found.labels}
    rows = []
    for number in found.candidates:
        row = [pair_name(analysis.manifest.pairs[number]), formatting.number(found.places[number], 1)]
        for label in found.labels:
            score = seed_mean(analysis.methods[label].data.test)[number]
            shown = f" ({formatting.number(score)})" if np.isfinite(score) else ""
            row.append(formatting.count(ranks[label][number]) + shown)
        rows.append(row)
    return TextTable(["pair", "mean place", *(f"place by {label} (test score)" for label in found.labels)], rows)
