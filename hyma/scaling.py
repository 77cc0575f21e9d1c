"""From a decoder's maximal weight to a pair's weight: the slice and its scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hyma.initialise import Init

ScalingName = Literal["fan_in", "published"]
"""``fan_in``: the weight times sqrt(largest in / in). ``published`` (Hyper-Align): the weight over the square root of
the slice's number of entries, the bias over the square root of its length."""


@dataclass(frozen=True)
class LayerScaling:
    """Slices and scales of one connector layer.

    Attributes:
        name: The scaling.
        init: The decoder's initialisation.
        max_in: Largest input dimension over the pairs.
        max_out: Size of the maximal weight's other side.
        outs: Output dimensions that occur.
    """

    name: ScalingName
    init: Init
    max_in: int
    max_out: int
    outs: tuple[int, ...]

    @property
    def spread(self) -> tuple[float, float]:
        """Size of a decoder's outputs (weight, bias) at which a predicted layer starts like a fresh ``nn.Linear``.

        U(-spread, spread), or anything of variance spread^2 / 3.
        """
        if self.name == "fan_in":
            return 1 / math.sqrt(self.max_in), 1 / math.sqrt(self.max_in)
        return math.sqrt(self.max_out), math.sqrt(self.max_out / self.max_in)

    def profile(self) -> Float[Tensor, " max_out"] | None:
        """Constant factor of every row of the maximal weight; None: 1.

        The published scale shrinks with the slice, so the rows that small slices use must start smaller. With rows
        between neighbouring dimensions d' < d of variance (d + d') / 3, every slice of d rows has mean d / 3.
        """
        if self.name == "fan_in" or self.init == "published":
            return None
        factors = torch.empty(self.max_out)
        edges = [0, *sorted({*self.outs, self.max_out})]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            factors[low:high] = math.sqrt((low + high) / self.max_out)
        return factors

    def cut(
        self,
        weights: Float[Tensor, "pairs max_out max_in"],
        biases: Float[Tensor, "pairs max_out"],
        sizes: Sequence[tuple[int, int]],
    ) -> list[tuple[Tensor, Tensor]]:
        """(weight [out, in], bias [out]) for each pair's (in, out): the first rows and columns, scaled."""
        made = []
        for row, (fan_in, fan_out) in enumerate(sizes):
            if self.name == "fan_in":
                of_weight = of_bias = math.sqrt(self.max_in / fan_in)
            else:
                of_weight, of_bias = 1 / math.sqrt(fan_in * fan_out), 1 / math.sqrt(fan_out)
            made.append((weights[row, :fan_out, :fan_in] * of_weight, biases[row, :fan_out] * of_bias))
        return made
