"""From a condition to the maximal weight and bias of a connector layer: one module for each way, found by name."""

import abc
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from harness.flops import linear_step
from harness.registry import Registry
from hyma.initialise import Init, uniform, uniform_linear
from hyma.scaling import LayerScaling

Maximal = tuple[Float[Tensor, "pairs max_out max_in"], Float[Tensor, "pairs max_out"]]


class Trunk(nn.Module):
    """GELU network from a condition to a code.

    ``hyperfan_in`` scales the code to unit norm, so that the variance of what follows is known; ``published`` ends in
    a GELU, as the authors' decoder does.

    Args:
        dims: Sizes from the condition to the code.
        init: Initialisation.
        generator: Seeds the weights.
    """

    def __init__(self, dims: Sequence[int], init: Init, generator: torch.Generator) -> None:
        super().__init__()
        self._dims, self._init = tuple(dims), init
        self.layers = nn.ModuleList(uniform_linear(i, o, generator) for i, o in zip(dims[:-1], dims[1:], strict=True))

    def forward(self, x: Float[Tensor, "rows condition"]) -> Float[Tensor, "rows code"]:
        """The code."""
        for number, linear in enumerate(self.layers):
            x = linear(functional.gelu(x) if number else x)
        return functional.normalize(x, dim=-1) if self._init == "hyperfan_in" else functional.gelu(x)

    def step_flops(self, rows: int) -> float:
        """Matrix products, forward and backward."""
        return sum(linear_step(rows, i, o) for i, o in zip(self._dims[:-1], self._dims[1:], strict=True))


class Head(nn.Module):
    """Code -> outputs: a combination of basis vectors.

    Args:
        features: Size of the code.
        spreads: ``(size, spread)`` of the parts of the output: with a unit-norm code a part of ``hyperfan_in`` starts
            with the variance spread^2 / 3.
        init: ``published`` draws U(-1/sqrt(features), 1/sqrt(features)) whatever the spread, and has a bias.
        generator: Seeds the weights.
    """

    def __init__(
        self, features: int, spreads: Sequence[tuple[int, float]], init: Init, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._features, self._size = features, sum(size for size, _ in spreads)
        default = 1 / math.sqrt(features)
        bounds = [spread if init == "hyperfan_in" else default for _, spread in spreads]
        if len(set(bounds)) == 1:
            self.basis = uniform((features, self._size), bounds[0], generator)
        else:
            parts = [
                uniform((features, size), bound, generator).detach()
                for (size, _), bound in zip(spreads, bounds, strict=True)
            ]
            self.basis = nn.Parameter(torch.cat(parts, dim=1))
        self.bias = uniform((self._size,), default, generator) if init == "published" else None

    def forward(self, code: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        """The outputs."""
        made = code @ self.basis
        return made if self.bias is None else made + self.bias

    def step_flops(self, rows: int) -> float:
        """Matrix products, forward and backward."""
        return linear_step(rows, self._features, self._size)


class Decoder(nn.Module, abc.ABC):
    """Base: conditions -> maximal weight and bias of one connector layer.

    Args:
        condition_dim: Size of a condition.
        scalings: Of every connector layer.
        hidden: Sizes of the hidden layers.
        init: Initialisation.
        generator: Seeds the weights.
    """

    def __init__(
        self,
        condition_dim: int,
        scalings: Sequence[LayerScaling],
        hidden: Sequence[int],
        init: Init,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self._scalings = tuple(scalings)

    @abc.abstractmethod
    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> Maximal:
        """``[pairs, max_out, max_in]`` weights and ``[pairs, max_out]`` biases of this layer, not yet scaled."""

    @abc.abstractmethod
    def step_flops(self, pairs: int) -> float:
        """Closed form: matrix products of all layers for this many pairs, forward and backward."""

    def condition_step_flops(self, pairs: int) -> float:
        """The same where only the conditions are trained: no gradient of the weights, one product of three less."""
        return self.step_flops(pairs) * 2 / 3


DECODERS: Registry[type[Decoder]] = Registry(
    "decoder",
    {
        "mlp": "hyma.decoders:Mlp",
        "chunked": "hyma.decoders:Chunked",
        "chunked_published": "hyma.decoders:ChunkedPublished",
        "feather_map": "hyma.decoders:FeatherMap",
    },
    group="hyma.decoders",
)


class Mlp(Decoder):
    """A trunk and one head for each connector layer, as large as its weight and bias."""

    def __init__(
        self,
        condition_dim: int,
        scalings: Sequence[LayerScaling],
        hidden: Sequence[int],
        init: Init,
        generator: torch.Generator,
    ) -> None:
        super().__init__(condition_dim, scalings, hidden, init, generator)
        self.trunk = Trunk([condition_dim, *hidden], init, generator)
        self.heads = nn.ModuleList(
            Head(hidden[-1], [(s.max_out * s.max_in, s.spread[0]), (s.max_out, s.spread[1])], init, generator)
            for s in scalings
        )

    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> Maximal:
        """One product of the code with the layer's basis."""
        scaling = self._scalings[layer]
        flat, split = self.heads[layer](self.trunk(conditions)), scaling.max_out * scaling.max_in
        return flat[:, :split].view(-1, scaling.max_out, scaling.max_in), flat[:, split:]

    def step_flops(self, pairs: int) -> float:
        """Trunk and head of every layer."""
        heads = sum(head.step_flops(pairs) for head in self.heads if isinstance(head, Head))
        return len(self._scalings) * self.trunk.step_flops(pairs) + heads


class Chunked(Decoder):
    """One small network makes the flat weight and bias in chunks, told by a learned embedding which chunk.

    Attributes:
        chunk: Entries of a chunk.
        chunk_dim: Size of a chunk's embedding.
    """

    chunk: ClassVar[int] = 256
    chunk_dim: ClassVar[int] = 32

    def __init__(
        self,
        condition_dim: int,
        scalings: Sequence[LayerScaling],
        hidden: Sequence[int],
        init: Init,
        generator: torch.Generator,
    ) -> None:
        super().__init__(condition_dim, scalings, hidden, init, generator)
        self._chunks = [math.ceil((s.max_out * s.max_in + s.max_out) / self.chunk) for s in scalings]
        self.embeddings = nn.ParameterList(
            nn.Parameter(torch.randn(chunks, self.chunk_dim, generator=generator)) for chunks in self._chunks
        )
        self.trunk = Trunk([condition_dim + self.chunk_dim, *hidden], init, generator)
        # The network is shared by all layers: it starts at the size of the first and a constant does the rest.
        self.head = Head(hidden[-1], [(self.chunk, scalings[0].spread[0])], init, generator)
        self._factors = [
            tuple(of / scalings[0].spread[0] for of in s.spread) if init == "hyperfan_in" else (1.0, 1.0)
            for s in scalings
        ]

    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> Maximal:
        """All chunks of all pairs in one pass."""
        scaling, chunks, pairs = self._scalings[layer], self._chunks[layer], len(conditions)
        told = torch.cat(
            [
                conditions[:, None].expand(-1, chunks, -1),
                self.embeddings[layer][None].expand(pairs, -1, -1),
            ],
            dim=-1,
        )
        flat = self.head(self.trunk(told.flatten(0, 1))).view(pairs, -1)
        split = scaling.max_out * scaling.max_in
        of_weight, of_bias = self._factors[layer]
        weights = flat[:, :split].view(-1, scaling.max_out, scaling.max_in)
        return weights * of_weight, flat[:, split : split + scaling.max_out] * of_bias

    def step_flops(self, pairs: int) -> float:
        """The network over all chunks of all layers."""
        rows = pairs * sum(self._chunks)
        return self.trunk.step_flops(rows) + self.head.step_flops(rows)


class ChunkedPublished(Chunked):
    """``chunked`` as coded by the authors: hidden sizes 4 and 16, whatever ``hidden`` says."""

    def __init__(
        self,
        condition_dim: int,
        scalings: Sequence[LayerScaling],
        hidden: Sequence[int],
        init: Init,
        generator: torch.Generator,
    ) -> None:
        super().__init__(condition_dim, scalings, (4, 16), init, generator)


class FeatherMap(Decoder):
    """Low-rank factors: ``[weight | bias] = A B^T`` with A ``[max_out, rank]`` and B ``[max_in + 1, rank]``.

    Attributes:
        rank: Columns of both factors.
    """

    rank: ClassVar[int] = 32

    def __init__(
        self,
        condition_dim: int,
        scalings: Sequence[LayerScaling],
        hidden: Sequence[int],
        init: Init,
        generator: torch.Generator,
    ) -> None:
        super().__init__(condition_dim, scalings, hidden, init, generator)
        self.trunk = Trunk([condition_dim, *hidden], init, generator)
        self.heads = nn.ModuleList(Head(hidden[-1], self._spreads(s), init, generator) for s in scalings)

    def _spreads(self, scaling: LayerScaling) -> list[tuple[int, float]]:
        """Sizes and spreads of A, B's rows for the weight and B's row for the bias.

        An entry of A B^T has variance rank * (a^2 / 3) (b^2 / 3), which is to be spread^2 / 3.
        """
        products = [spread * math.sqrt(3 / self.rank) for spread in scaling.spread]
        a = math.sqrt(products[0])
        return [
            (scaling.max_out * self.rank, a),
            (scaling.max_in * self.rank, products[0] / a),
            (self.rank, products[1] / a),
        ]

    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> Maximal:
        """The product of both factors."""
        scaling = self._scalings[layer]
        flat, split = self.heads[layer](self.trunk(conditions)), scaling.max_out * self.rank
        a = flat[:, :split].view(-1, scaling.max_out, self.rank)
        b = flat[:, split:].view(-1, scaling.max_in + 1, self.rank)
        both = a @ b.transpose(1, 2)
        return both[:, :, :-1], both[:, :, -1]

    def step_flops(self, pairs: int) -> float:
        """Trunk, heads and the products of the factors."""
        heads = sum(head.step_flops(pairs) for head in self.heads if isinstance(head, Head))
        return len(self._scalings) * self.trunk.step_flops(pairs) + heads + self._products(pairs)

    def condition_step_flops(self, pairs: int) -> float:
        """Both factors still need their gradients."""
        products = self._products(pairs)
        return (self.step_flops(pairs) - products) * 2 / 3 + products

    def _products(self, pairs: int) -> float:
        return sum(6.0 * pairs * s.max_out * self.rank * (s.max_in + 1) for s in self._scalings)
