"""What an evaluation is: it turns a connector into ranks of right answers, and ranks into numbers."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from harness.connectors import Layers, connect
from harness.method import Direction, Pair, Sizes

CHUNK = 2048
"""Rows of a similarity matrix held at once."""


@runtime_checkable
class Task(Protocol):
    """One evaluation over one split, bound to its banks."""

    kind: ClassVar[str]
    label: str

    def ranks(self, pair: Pair, layers: Layers, queries: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Query kind -> ``[queries]`` int32 rank of the right answer, for these query kinds."""
        ...

    def units(self) -> Mapping[str, np.ndarray]:
        """Query kind -> ``[queries]`` int32 image that each query belongs to: what a bootstrap resamples."""
        ...

    def random_ranks(self, rng: np.random.Generator, queries: Sequence[str]) -> Mapping[str, np.ndarray]:
        """What ``ranks`` would give for random similarities."""
        ...

    def flops(self, sizes: Sizes, pair: Pair, queries: Sequence[str]) -> float:
        """FLOPs of ``ranks`` for this pair and these query kinds."""
        ...


def both_sides(
    layers: Layers,
    images: Float[Tensor, "images image_dim"],
    texts: Float[Tensor, "texts text_dim"],
    direction: Direction,
) -> tuple[Float[Tensor, "images dim"], Float[Tensor, "texts dim"]]:
    """Both sides in the common space, L2-normalised: the connector maps one of them."""
    if direction == "text_to_image":
        texts = torch.cat([connect(layers, part) for part in texts.split(4 * CHUNK)])
    else:
        images = torch.cat([connect(layers, part) for part in images.split(4 * CHUNK)])
    return functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)


def ranks_of_right(
    queries: Float[Tensor, "queries dim"],
    answers: Float[Tensor, "answers dim"],
    right: Int[Tensor, " queries"],
) -> Int[np.ndarray, " queries"]:
    """Rank of the right answer of every query by inner product, ties at their middle place, rounded up.

    The same as ``harness.metrics.rank_of_right`` without holding the whole similarity matrix.
    """
    ranks = []
    for part, own_column in zip(queries.split(CHUNK), right.split(CHUNK), strict=True):
        scores = part @ answers.T
        own = scores.gather(1, own_column[:, None])
        above = (~(scores <= own)).sum(1)  # so that NaN is never a hit
        tied = (scores == own).sum(1) - 1
        ranks.append((1 + above + (tied + 1) // 2).to(torch.int32))
    return torch.cat(ranks).cpu().numpy()
