"""Metrics of ranks: recall at k and the median rank."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Num

from harness.contract.metric import Metric

Ranks = Int[np.ndarray, " _"]
"""Rank of the right answer of each query, 1 for the best."""


def recalls(query: str, ks: tuple[int, ...]) -> dict[str, Metric]:
    """``<query>_r<k>``: the share of queries whose right answer is among the first k."""
    return {f"{query}_r{k}": Metric(query=query, saturates=1.0) for k in ks}


def hits(ranks: Ranks, k: int) -> Num[np.ndarray, " _"]:
    """1 where the right answer is among the first k, else 0."""
    return (ranks <= k).astype(np.uint8)


def per_query(name: str, ranks: Mapping[str, Ranks]) -> Num[np.ndarray, " _"]:
    """What each query gave for ``<query>_r<k>``; for any other name the ranks of text_to_image themselves."""
    query, mark, k = name.rpartition("_r")
    return hits(ranks[query], int(k)) if mark and k.isdigit() else ranks["text_to_image"]
