"""Task metrics as functions of ranks, shared by the tasks (which measure) and the report (which resamples).

A rank is 1 for the best place; ties count half of the tied distractors, rounded up, so that a constant
score never looks like a hit.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

Ranks: TypeAlias = Mapping[str, np.ndarray]
"""Query kind (``text_to_image``, ``image_to_text``, ``zero_shot``) -> ``[queries]`` ranks of the right answer."""


def recall(ranks: np.ndarray, k: int) -> float:
    """Share of queries whose right answer is among the first k."""
    return float(np.mean(ranks <= k))


def _recall_of(query: str, k: int) -> Callable[[Ranks], float]:
    return lambda ranks: recall(ranks[query], k)


def _mean_r1(ranks: Ranks) -> float:
    return (recall(ranks["text_to_image"], 1) + recall(ranks["image_to_text"], 1)) / 2


def _median_rank(ranks: Ranks) -> float:
    return float(np.median(ranks["text_to_image"]))


METRICS: dict[str, dict[str, Callable[[Ranks], float]]] = {
    "retrieval": {
        **{f"{q}_r{k}": _recall_of(q, k) for q in ("text_to_image", "image_to_text") for k in (1, 5, 10)},
        "mean_r1": _mean_r1,
        "median_rank": _median_rank,
    },
    "zero_shot": {"top1": _recall_of("zero_shot", 1), "top5": _recall_of("zero_shot", 5)},
}
"""Task kind -> metric name -> function of the ranks."""

QUERIES: dict[str, tuple[str, ...]] = {"retrieval": ("text_to_image", "image_to_text"), "zero_shot": ("zero_shot",)}
"""Task kind -> its query kinds."""

LOWER_IS_BETTER = frozenset({"median_rank"})


def higher_is_better(metric: str) -> bool:
    """Whether a larger value of this metric is better."""
    return metric not in LOWER_IS_BETTER


def from_ranks(kind: str, ranks: Ranks) -> dict[str, float]:
    """All metrics of a task kind.

    Args:
        kind: ``retrieval`` or ``zero_shot``.
        ranks: The ranks that the kind's queries need.
    """
    return {name: metric(ranks) for name, metric in METRICS[kind].items()}


def queries_of(kind: str, metric: str) -> tuple[str, ...]:
    """The query kinds that a metric reads, so that nothing else need be evaluated for it."""
    named = tuple(query for query in QUERIES[kind] if metric.startswith(query))
    return named or (("text_to_image",) if metric == "median_rank" else QUERIES[kind])


def rank_of_right(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank of the right answer in each row, ties at their middle place, rounded up.

    Args:
        scores: ``[queries, answers]``, larger is better.
        right: ``[queries]`` column of the right answer.

    Returns:
        ``[queries]`` int32 ranks from 1.
    """
    own = scores[np.arange(len(scores)), right][:, None]
    above = (~(scores <= own)).sum(axis=1)  # so that NaN is never a hit
    tied = np.maximum((scores == own).sum(axis=1) - 1, 0)
    return (1 + above + (tied + 1) // 2).astype(np.int32)
