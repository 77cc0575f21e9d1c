"""Metrics, each declared once: how queries are averaged, the link, which way is better, and what chance gives.

A task measures one number for each query. Everything after that (the value, its bootstrap, its sign in a table) follows
from the declaration, which is stored with the run, so that a report needs neither the task nor torch.
"""

import math
from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num

from harness.contract.record import Record

PerQuery = Mapping[str, Num[np.ndarray, " _"]]
"""Metric name -> ``[queries]`` what each query gave."""


class Metric(Record):
    """One number of a task.

    Attributes:
        query: What its queries are, e.g. ``text_to_image``; queries of one name belong to the same units.
        average: How queries are averaged.
        link: What is done to the average: ``exp`` makes a perplexity of a mean log-likelihood loss.
        higher_is_better: Which way is better.
        of: Names of other metrics of the task whose values' mean it is; it then has no queries of its own.
        saturates: The best value that there is, if there is one.
    """

    query: str = ""
    average: Literal["mean", "median"] = "mean"
    link: Literal["identity", "exp"] = "identity"
    higher_is_better: bool = True
    of: tuple[str, ...] = ()
    saturates: float | None = None

    def linked(self, average: float) -> float:
        """The metric's value from the average of its queries."""
        return math.exp(average) if self.link == "exp" else average


def measured(metrics: Mapping[str, Metric], wanted: Collection[str] | None = None) -> list[str]:
    """The metrics with queries of their own that the wanted ones (all: None) are made of."""
    names = list(metrics) if wanted is None else list(wanted)
    return list(dict.fromkeys(part for name in names for part in (metrics[name].of or (name,))))


def values(metrics: Mapping[str, Metric], queries: PerQuery) -> dict[str, float]:
    """The value of every metric whose queries are there."""
    own = {name: _value(metrics[name], array) for name, array in queries.items()}
    found = {}
    for name, metric in metrics.items():
        parts = [own[part] for part in metric.of if part in own]
        if name in own:
            found[name] = own[name]
        elif metric.of and len(parts) == len(metric.of):
            found[name] = sum(parts) / len(parts)
    return found


def contributions(
    metrics: Mapping[str, Metric],
    name: str,
    queries: PerQuery,
    units: Mapping[str, Int[np.ndarray, " _"]],
) -> Float[np.ndarray, " _"] | None:
    """One number for each unit: their mean is the metric, and their spread says how far test noise moves it.

    With ``s_u`` the sum and ``n_u`` the number of the queries of unit u, the metric is ``m = sum s_u / sum n_u``. To
    first order in what one unit changes (the delta method), unit u contributes ``m + units (s_u - m n_u) / sum n_u``.

    Args:
        metrics: The task's metrics.
        name: One of them.
        queries: What each query gave.
        units: Query name -> unit of each query.

    Returns:
        ``[units]``, every unit that has a query, ascending. None where a metric is no mean of its queries.
    """
    parts = measured(metrics, [name])
    if any(metrics[part].average != "mean" or metrics[part].link != "identity" for part in parts):
        return None
    every = np.unique(np.concatenate([units[metrics[part].query] for part in parts]))
    total = np.zeros(len(every))
    for part in parts:
        at = np.searchsorted(every, units[metrics[part].query])
        gave = np.bincount(at, weights=np.asarray(queries[part], dtype=np.float64), minlength=len(every))
        asked = np.bincount(at, minlength=len(every))
        mean = gave.sum() / asked.sum()
        total += mean + len(every) * (gave - mean * asked) / asked.sum()
    return total / len(parts)


def _value(metric: Metric, queries: Num[np.ndarray, " _"]) -> float:
    average = np.median if metric.average == "median" else np.mean
    return metric.linked(float(average(np.asarray(queries, dtype=np.float64))))
