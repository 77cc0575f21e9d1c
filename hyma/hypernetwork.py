"""One hypernetwork that predicts the connectors of all pairs, layer by layer.

``condition(pair)`` and the layer's embedding go through a small GELU trunk; a head for each connector layer turns the
trunk's output into that layer's maximal weight, of which a pair takes the rows and columns that its encoders need.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from harness.connectors import Layers
from harness.flops import linear_step
from harness.method import Pair, Sizes


class LayerHead(nn.Module):
    """Trunk output -> maximal weight and bias of one connector layer, sliced to each pair's sizes.

    The weights are a combination of ``features`` basis matrices. With unit-norm trunk outputs, a predicted weight
    starts with the variance of a fresh ``nn.Linear``, 1 / (3 in) (hyperfan-in; Chang et al. 2020).

    Args:
        features: Size of the trunk's output.
        max_in: Largest input dimension over the pairs.
        max_out: Largest output dimension over the pairs.
        generator: Seeds the basis.
    """

    def __init__(self, features: int, max_in: int, max_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.max_in, self.max_out = max_in, max_out
        bound = 1 / math.sqrt(max_in)
        self.basis = nn.Parameter(
            torch.empty(features, max_out * max_in + max_out).uniform_(-bound, bound, generator=generator)
        )

    def forward(
        self, code: Float[Tensor, "pairs features"], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """(weight [out, in], bias [out]) for each pair's (in, out)."""
        flat = code @ self.basis
        split = self.max_out * self.max_in
        weights, biases = flat[:, :split].view(-1, self.max_out, self.max_in), flat[:, split:]
        made = []
        for row, (fan_in, fan_out) in enumerate(sizes):
            gain = math.sqrt(self.max_in / fan_in)
            made.append((weights[row, :fan_out, :fan_in] * gain, biases[row, :fan_out] * gain))
        return made


class Hypernetwork(nn.Module):
    """Learned pair and layer embeddings -> GELU trunk -> one head per connector layer.

    Args:
        sizes: Pairs and their connector shapes.
        condition_dim: Size of a pair's embedding.
        layer_dim: Size of a layer's embedding.
        hidden: Sizes of the trunk's layers; the last is the number of basis matrices of a head.
        seed: Seeds all parameters (drawn on the CPU).
    """

    def __init__(self, sizes: Sizes, *, condition_dim: int, layer_dim: int, hidden: Sequence[int], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self._row = {pair: row for row, pair in enumerate(sizes.pairs)}
        self._layers = {pair: sizes.shape(pair).layers for pair in sizes.pairs}
        depth = sizes.hidden_layers + 1
        self.condition = nn.Parameter(torch.randn(len(sizes.pairs), condition_dim, generator=generator))
        self.layer = nn.Parameter(torch.randn(depth, layer_dim, generator=generator))
        dims = self._dims = [condition_dim + layer_dim, *hidden]
        self.trunk = nn.ModuleList(_linear(i, o, generator) for i, o in zip(dims[:-1], dims[1:], strict=True))
        at_depth = [[layers[number] for layers in self._layers.values()] for number in range(depth)]
        self._head_sizes = [(max(i for i, _ in sizes), max(o for _, o in sizes)) for sizes in at_depth]
        self.heads = nn.ModuleList(LayerHead(hidden[-1], i, o, generator) for i, o in self._head_sizes)

    def code(self, rows: Sequence[int], layer: int) -> Float[Tensor, "pairs features"]:
        """Unit-norm trunk output of these pairs for one connector layer."""
        x = torch.cat([self.condition[list(rows)], self.layer[layer].expand(len(rows), -1)], dim=-1)
        for linear in self.trunk:
            x = linear(functional.gelu(x) if linear is not self.trunk[0] else x)
        return functional.normalize(x, dim=-1)

    def forward(self, pairs: Sequence[Pair]) -> Mapping[Pair, Layers]:
        """The connector of each pair, differentiable with respect to everything here."""
        rows = [self._row[pair] for pair in pairs]
        by_layer = [
            head(self.code(rows, number), [self._layers[pair][number] for pair in pairs])
            for number, head in enumerate(self.heads)
        ]
        return {pair: [made[place] for made in by_layer] for place, pair in enumerate(pairs)}

    def step_flops(self, pairs: int) -> float:
        """Closed form: matrix products of generating this many pairs' connectors, forward and backward."""
        trunk = sum(linear_step(pairs, i, o) for i, o in zip(self._dims[:-1], self._dims[1:], strict=True))
        features = self._dims[-1]
        heads = sum(linear_step(pairs, features, o * i + o) for i, o in self._head_sizes)
        return len(self._head_sizes) * trunk + heads


def _linear(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Linear:
    linear = nn.Linear(fan_in, fan_out)
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return linear
