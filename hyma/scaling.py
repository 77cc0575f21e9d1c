"""From a decoder's maximal tensors to a pair's: the slice and its scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.connector import TensorShape, layer_of
from hyma.initialise import Init

ScalingName = Literal["fan_in", "published"]
"""``fan_in``: a tensor times sqrt(largest fan-in / fan-in). ``published`` (Hyper-Align): a tensor over the square root
of the number of entries of its slice."""


@dataclass(frozen=True)
class TensorScaling:
    """Slices and scales of one tensor of the connectors.

    Attributes:
        name: Of the tensor.
        scaling: The scaling.
        init: The decoder's initialisation.
        size: Largest size on each axis over the pairs: what a decoder predicts.
        max_fan_in: Largest fan-in over the pairs.
        rows: Sizes of the first axis that occur.
    """

    name: str
    scaling: ScalingName
    init: Init
    size: tuple[int, ...]
    max_fan_in: int
    rows: tuple[int, ...]

    @property
    def count(self) -> int:
        """Entries that a decoder predicts."""
        return math.prod(self.size)

    @property
    def columns(self) -> int:
        """Entries of one row."""
        return math.prod(self.size[1:])

    @property
    def spread(self) -> float:
        """Size of a decoder's output at which a predicted tensor starts like a fresh one.

        U(-spread, spread), or anything of variance spread^2 / 3.
        """
        if self.scaling == "fan_in":
            return 1 / math.sqrt(self.max_fan_in)
        return math.sqrt(self.count / self.max_fan_in)

    def profile(self) -> Float[Tensor, " rows"] | None:
        """Constant factor of every row of the maximal tensor; None: 1.

        The published scale shrinks with the slice, so the rows that small slices use must start smaller. With rows
        between neighbouring sizes d' < d of variance (d + d') / 3, every slice of d rows has mean d / 3.
        """
        if self.scaling == "fan_in" or self.init == "published":
            return None
        factors = torch.empty(self.size[0])
        edges = [0, *sorted({*self.rows, self.size[0]})]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            factors[low:high] = math.sqrt((low + high) / self.size[0])
        return factors

    def cut(self, maximal: Float[Tensor, "_ ..."], shapes: Sequence[TensorShape]) -> list[Tensor]:
        """Each pair's tensor: the first rows and columns, scaled."""
        # Pairs are taken apart first: the gradient of a slice of them all would be as large as them all, for each pair.
        parts = zip(maximal.unbind(0), shapes, strict=True)
        return [own[tuple(slice(size) for size in shape.size)] * self._factor(shape) for own, shape in parts]

    def _factor(self, shape: TensorShape) -> float:
        if self.scaling == "fan_in":
            return math.sqrt(self.max_fan_in / shape.fan_in)
        return 1 / math.sqrt(shape.count)


@dataclass(frozen=True)
class LayerScaling:
    """The tensors of one connector layer, which are predicted together.

    Attributes:
        tensors: Their scalings, in the connector's order.
    """

    tensors: tuple[TensorScaling, ...]

    @property
    def sizes(self) -> list[int]:
        """Entries of each tensor."""
        return [tensor.count for tensor in self.tensors]

    def shaped(self, flat: Float[Tensor, "pairs entries"]) -> list[Tensor]:
        """All tensors' entries end to end -> ``[pairs, *size]`` of each tensor."""
        parts = flat.split(self.sizes, dim=1)
        return [part.view(-1, *tensor.size) for part, tensor in zip(parts, self.tensors, strict=True)]


def layer_scalings(
    shapes: Sequence[Mapping[str, TensorShape]], scaling: ScalingName, init: Init, *, max_out: int | None = None
) -> list[LayerScaling]:
    """The layers of these pairs' connectors.

    Args:
        shapes: Tensors of each pair's connector.
        scaling: How slices are scaled.
        init: The decoder's initialisation.
        max_out: Least number of rows of the last layer's maximal tensors; None: the largest that occurs.
    """
    layers: dict[str, list[TensorScaling]] = {}
    last = layer_of(list(shapes[0])[-1])
    for name in shapes[0]:
        layer, own = layer_of(name), [of_pair[name] for of_pair in shapes]
        rows = tuple(sorted({shape.size[0] for shape in own}))
        largest = max(rows[-1], max_out) if layer == last and max_out is not None else rows[-1]
        size = (largest, *(max(sizes) for sizes in zip(*(shape.size[1:] for shape in own), strict=True)))
        made = TensorScaling(name, scaling, init, size, max(shape.fan_in for shape in own), rows)
        layers.setdefault(layer, []).append(made)
    return [LayerScaling(tuple(tensors)) for tensors in layers.values()]
