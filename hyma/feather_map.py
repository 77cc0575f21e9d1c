"""FeatherMap: a layer's tensors as the product of two thin, predicted factors."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hyma.decoders import Decoder
from hyma.layers import Head, Trunk
from hyma.scaling import LayerScaling


@dataclass(frozen=True)
class Block:
    """Tensors of a layer that have the same rows, and so are one matrix side by side.

    Attributes:
        rows: Their common number of rows.
        tensors: Positions of the tensors in the layer.
        columns: Columns of each (1 for a vector).
        spreads: Spread of each.
    """

    rows: int
    tensors: tuple[int, ...]
    columns: tuple[int, ...]
    spreads: tuple[float, ...]


def blocks_of(layer: LayerScaling) -> list[Block]:
    """The layer's tensors by their number of rows: ``[weight | bias]`` of an affine layer is one block."""
    by_rows: dict[int, list[int]] = {}
    for place, tensor in enumerate(layer.tensors):
        by_rows.setdefault(tensor.size[0], []).append(place)
    return [
        Block(
            rows,
            tuple(places),
            tuple(layer.tensors[place].columns for place in places),
            tuple(layer.tensors[place].spread for place in places),
        )
        for rows, places in by_rows.items()
    ]


class FeatherMap(Decoder):
    """Low-rank factors: ``[weight | bias] = A B^T`` with A ``[rows, rank]`` and B ``[columns, rank]``.

    Attributes:
        rank: Columns of both factors.
    """

    rank: ClassVar[int] = 32

    def build(self, generator: torch.Generator) -> None:
        """The trunk, then a head for each layer's factors."""
        spec = self.spec
        self._blocks = [blocks_of(layer) for layer in spec.layers]
        self.trunk = Trunk([spec.condition_dim, *spec.hidden], spec.init, generator)
        self.heads = nn.ModuleList(
            Head(spec.hidden[-1], [part for block in blocks for part in self._parts(block)], spec.init, generator)
            for blocks in self._blocks
        )

    def _parts(self, block: Block) -> list[tuple[int, float]]:
        """Sizes and spreads of A and of the rows of B that belong to each tensor.

        An entry of A B^T has variance rank * (a^2 / 3) (b^2 / 3), which is to be spread^2 / 3.
        """
        products = [spread * math.sqrt(3 / self.rank) for spread in block.spreads]
        a = math.sqrt(products[0])
        b = [(columns * self.rank, product / a) for columns, product in zip(block.columns, products, strict=True)]
        return [(block.rows * self.rank, a), *b]

    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> list[Tensor]:
        """The product of both factors of every block, cut into its tensors."""
        flat, made = self.heads[layer](self.trunk(conditions)), {}
        scaling, blocks = self.spec.layers[layer], self._blocks[layer]
        for block, part in zip(blocks, flat.split([self._entries(block) for block in blocks], dim=1), strict=True):
            a, b = part.split([block.rows * self.rank, sum(block.columns) * self.rank], dim=1)
            product = a.view(-1, block.rows, self.rank) @ b.view(-1, sum(block.columns), self.rank).transpose(1, 2)
            for place, of_tensor in zip(block.tensors, product.split(list(block.columns), dim=2), strict=True):
                made[place] = of_tensor.reshape(len(of_tensor), *scaling.tensors[place].size)
        return [made[place] for place in range(len(made))]

    def _entries(self, block: Block) -> int:
        return (block.rows + sum(block.columns)) * self.rank

    def step_flops(self, pairs: int) -> float:
        """Trunk, heads and the products of the factors."""
        heads = sum(head.step_flops(pairs) for head in self.heads if isinstance(head, Head))
        return len(self._blocks) * self.trunk.step_flops(pairs) + heads + self._products(pairs)

    def condition_step_flops(self, pairs: int) -> float:
        """Both factors still need their gradients."""
        products = self._products(pairs)
        return (self.step_flops(pairs) - products) * 2 / 3 + products

    def _products(self, pairs: int) -> float:
        every = (block for blocks in self._blocks for block in blocks)
        return sum(6.0 * pairs * block.rows * self.rank * sum(block.columns) for block in every)
