"""The run's other tasks and metrics: do they order the pairs alike, and which pair would each have picked?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reports import formatting
from reports.analysis import Analysis
from reports.ranking import oriented, pick, spearman, tied_first
from reports.rows import MethodResult
from reports.schema import Pair
from reports.scores import seed_mean
from reports.wording import pair_name


@dataclass(frozen=True)
class MetricView:
    """One metric of one task, by one method's connectors.

    Attributes:
        task: The task's label.
        metric: The metric.
        pick: The pair with its best mean validation value; None where validation has none.
        value: Its test value for that pair, mean over seeds.
        selected: Its test value for the pair that the selection metric picks.
        spearman: Rank correlation of its test values with those of the selection metric, over pairs.
        chance: Its expected value for random answers; NaN where that is not known.
        tied: Pairs that share its best mean validation value: of several the first in plan order is the pick.
    """

    task: str
    metric: str
    pick: Pair | None
    value: float
    selected: float
    spearman: float
    chance: float
    tied: int = 1


def source_of(analysis: Analysis) -> MethodResult | None:
    """Whose connectors are looked at: the recommended ones, else those of the first method that has some."""
    chosen = analysis.recommendation
    if chosen is not None and np.isfinite(analysis.methods[chosen.label].data.test).any():
        return analysis.methods[chosen.label]
    return next((r for r in analysis.methods.values() if np.isfinite(r.data.test).any()), None)


def metric_views(analysis: Analysis) -> list[MetricView]:
    """Every metric of every task, that of the selection first; empty where there is no other."""
    source, selection = source_of(analysis), analysis.manifest.selection
    if source is None:
        return []
    main = seed_mean(source.data.quality)
    found = []
    for task in analysis.manifest.tasks:
        for name, metric in task.metrics.items():
            test = _scores(analysis, source, task.label, name, "test")
            if not np.isfinite(test).any():
                continue
            higher = metric.higher_is_better
            validation = _scores(analysis, source, task.label, name, "validation")
            order = oriented(validation, higher_is_better=higher)
            own = pick(order, analysis.allowed)
            ours, both = oriented(test, higher_is_better=higher), np.isfinite(test) & np.isfinite(main)
            chosen = source.summary.best_pair
            found.append(
                MetricView(
                    task=task.label,
                    metric=name,
                    pick=None if own is None else analysis.manifest.pairs[own],
                    value=float("nan") if own is None else float(test[own]),
                    selected=float("nan") if chosen is None else float(test[analysis.manifest.pairs.index(chosen)]),
                    spearman=float(spearman(main[both], ours[both])) if both.sum() >= 2 else float("nan"),
                    chance=task.chance.get(name, float("nan")),
                    tied=tied_first(order, analysis.allowed),
                )
            )
    found.sort(key=lambda view: (view.task, view.metric) != (selection.task, selection.metric))
    return found if len(found) > 1 else []


def task_sentences(analysis: Analysis) -> list[str]:
    """What the other tasks say, each by its first metric: the pair it would pick, and how alike it orders them."""
    views, source, selection = metric_views(analysis), source_of(analysis), analysis.manifest.selection
    found = []
    for task in dict.fromkeys(view.task for view in views if view.task != selection.task):
        view = next(view for view in views if view.task == task)
        if source is None or view.pick is None:
            continue
        same = view.pick == source.summary.best_pair
        which = "the same pair" if same else pair_name(view.pick)
        worth = "" if same else f" ({formatting.number(view.value)}, where the picked pair has "
        worth += "" if same else f"{formatting.number(view.selected)})"
        found.append(
            f"By {task}'s {view.metric}, {source.label}'s connectors would have picked {which}{worth}; it orders the "
            f"pairs like {selection.metric} with Spearman {formatting.number(view.spearman)}."
        )
    return found


def _scores(
    analysis: Analysis, source: MethodResult, task: str, metric: str, split: str
) -> Float[np.ndarray, " pairs"]:
    """Mean over the seeds of one metric on one split; NaN where there is none."""
    manifest = analysis.manifest
    table = np.full((len(manifest.seeds), len(manifest.pairs)), np.nan)
    columns = {pair: number for number, pair in enumerate(manifest.pairs)}
    for record in source.data.records.values():
        if record.seed not in manifest.seeds:
            continue
        for entry in record.metrics:
            values = entry.test if split == "test" else entry.validation
            column = columns.get((entry.image, entry.text))
            value = values.get(task, {}).get(metric)
            if column is not None and value is not None:
                table[manifest.seeds.index(record.seed), column] = value
    return seed_mean(table)
