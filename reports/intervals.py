"""Intervals of one connector's test numbers, for its model card."""

import numpy as np

from harness.contract.pairs import Pair
from harness.run.records import CellRecord
from harness.run.store import RunStore
from reports.bootstrap import (
    RESAMPLES,
    RESAMPLES_SLOW,
    draw_weights,
    is_slow,
    pair_queries,
    percentile_interval,
    resampled_scores,
)


def connector_intervals(
    store: RunStore, record: CellRecord, pair: Pair, *, seed: int = 0
) -> dict[str, dict[str, tuple[float, float]]]:
    """95 % intervals of every test number of a pair's connector, by bootstrap over test units.

    Args:
        store: The run.
        record: The cell that trained the connector.
        pair: One of its pairs.
        seed: Of the resampling.

    Returns:
        Task label -> metric -> (low, high); without the metrics of which no queries are stored.
    """
    arrays, number = store.queries(record.key), record.pairs.index(pair)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for task in store.manifest().tasks:
        queries = pair_queries(arrays, number, task.label, task.metrics)
        if queries is None:
            continue
        units = np.unique(np.concatenate(list(queries.unit.values())))
        for metric in task.metrics:
            resamples = RESAMPLES_SLOW if is_slow(task.metrics, metric) else RESAMPLES
            weights = draw_weights(int(units.max()) + 1, present=units, resamples=resamples, seed=seed)
            low, high = percentile_interval(resampled_scores([queries], task.metrics, metric, weights)[:, 0])
            if np.isfinite([low, high]).all():
                found.setdefault(task.label, {})[metric] = (low, high)
    return found
