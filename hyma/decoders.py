"""From a condition to the maximal tensors of a connector layer: one class for each way, found by name."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.contract.registry import Registry
from hyma.initialise import Init
from hyma.layers import Head, Trunk
from hyma.scaling import LayerScaling, TensorScaling


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """What every decoder is made for.

    Attributes:
        condition_dim: Size of a condition.
        layers: What is to be predicted, layer by layer.
        hidden: Sizes of the decoder's hidden layers.
        init: Initialisation.
    """

    condition_dim: int
    layers: tuple[LayerScaling, ...]
    hidden: tuple[int, ...]
    init: Init


class Decoder(nn.Module, ABC):
    """Base: conditions -> maximal tensors of one connector layer. A subclass makes its modules in ``build``.

    Args:
        spec: What it is made for.
        generator: Seeds the weights.
    """

    def __init__(self, spec: DecoderSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        self.build(generator)

    @abstractmethod
    def build(self, generator: torch.Generator) -> None:
        """Make the modules and parameters."""

    @abstractmethod
    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> list[Tensor]:
        """``[pairs, *size]`` of each tensor of this layer, not yet scaled."""

    @abstractmethod
    def step_flops(self, pairs: int) -> float:
        """Closed form: matrix products of all layers for this many pairs, forward and backward."""

    def forward_flops(self, pairs: int) -> float:
        """The same without the gradients: every product is made once forward and twice for its gradients."""
        return self.step_flops(pairs) / 3

    def condition_step_flops(self, pairs: int) -> float:
        """The same where only the conditions are trained: no gradient of the weights, one product of three less."""
        return self.step_flops(pairs) * 2 / 3

    def head(self, layer: LayerScaling, generator: torch.Generator) -> Head:
        """A head from a code to all entries of a layer."""
        parts = [(tensor.count, tensor.spread) for tensor in layer.tensors]
        return Head(self.spec.hidden[-1], parts, self.spec.init, generator)


DECODERS: Registry[type[Decoder]] = Registry(
    "decoder",
    {
        "mlp": "hyma.decoders:MlpDecoder",
        "chunked": "hyma.decoders:Chunked",
        "chunked_published": "hyma.decoders:ChunkedPublished",
        "feather_map": "hyma.feather_map:FeatherMap",
    },
    group="hyma.decoders",
)


class MlpDecoder(Decoder):
    """A trunk and one head for each connector layer, as large as its tensors."""

    def build(self, generator: torch.Generator) -> None:
        """The trunk, then the heads."""
        spec = self.spec
        self.trunk = Trunk([spec.condition_dim, *spec.hidden], spec.init, generator)
        self.heads = nn.ModuleList(self.head(layer, generator) for layer in spec.layers)

    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> list[Tensor]:
        """One product of the code with the layer's basis."""
        return self.spec.layers[layer].shaped(self.heads[layer](self.trunk(conditions)))

    def step_flops(self, pairs: int) -> float:
        """Trunk and head of every layer."""
        heads = sum(head.step_flops(pairs) for head in self.heads if isinstance(head, Head))
        return len(self.spec.layers) * self.trunk.step_flops(pairs) + heads


class Chunked(Decoder):
    """One small network makes a layer's entries in chunks, told by a learned embedding which chunk.

    Attributes:
        chunk: Entries of a chunk.
        chunk_dim: Size of a chunk's embedding.
    """

    chunk: ClassVar[int] = 256
    chunk_dim: ClassVar[int] = 32

    @property
    def hidden(self) -> Sequence[int]:
        """Sizes of the network's hidden layers."""
        return self.spec.hidden

    def build(self, generator: torch.Generator) -> None:
        """The chunks' embeddings, the trunk, the head."""
        spec = self.spec
        self._chunks = [math.ceil(sum(layer.sizes) / self.chunk) for layer in spec.layers]
        self.embeddings = nn.ParameterList(
            nn.Parameter(torch.randn(chunks, self.chunk_dim, generator=generator)) for chunks in self._chunks
        )
        self.trunk = Trunk([spec.condition_dim + self.chunk_dim, *self.hidden], spec.init, generator)
        # The network is shared by all layers: it starts at the size of the first and a constant does the rest.
        first = spec.layers[0].tensors[0].spread
        self.output = Head(self.hidden[-1], [(self.chunk, first)], spec.init, generator)
        self._factors = [[self._factor(tensor, first) for tensor in layer.tensors] for layer in spec.layers]

    def forward(self, conditions: Float[Tensor, "pairs condition"], layer: int) -> list[Tensor]:
        """All chunks of all pairs in one pass."""
        scaling, chunks, pairs = self.spec.layers[layer], self._chunks[layer], len(conditions)
        chunk_of = self.embeddings[layer][None].expand(pairs, -1, -1)
        inputs = torch.cat([conditions[:, None].expand(-1, chunks, -1), chunk_of], dim=-1)
        flat = self.output(self.trunk(inputs.flatten(0, 1))).view(pairs, -1)
        made = scaling.shaped(flat[:, : sum(scaling.sizes)])
        return [tensor * factor for tensor, factor in zip(made, self._factors[layer], strict=True)]

    def step_flops(self, pairs: int) -> float:
        """The network over all chunks of all layers."""
        rows = pairs * sum(self._chunks)
        return self.trunk.step_flops(rows) + self.output.step_flops(rows)

    def _factor(self, tensor: TensorScaling, first: float) -> float:
        return tensor.spread / first if self.spec.init == "hyperfan_in" else 1.0


class ChunkedPublished(Chunked):
    """``chunked`` as coded by the authors: hidden sizes 4 and 16, whatever ``hidden`` says."""

    @property
    def hidden(self) -> Sequence[int]:
        """As the authors wrote them."""
        return (4, 16)
