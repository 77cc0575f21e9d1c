"""One hypernetwork that predicts the connectors of all pairs: a conditioning, a decoder and the slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.contract import seeding
from harness.contract.connector import Connector, TensorShape
from harness.contract.pairs import Pair
from harness.contract.problem import Sizes
from hyma.conditioning import CONDITIONINGS, Conditioning, Means
from hyma.decoders import DECODERS, Decoder, DecoderSpec
from hyma.initialise import Init
from hyma.scaling import ScalingName, layer_scalings

Shapes = Mapping[str, TensorShape]
"""Tensors of one connector."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a hypernetwork is made of, by name; a variant may give a class of its own.

    Attributes:
        conditioning: ``pair``, ``factored`` or ``features`` (``hyma.conditioning``).
        decoder: ``mlp``, ``chunked``, ``chunked_published`` or ``feather_map`` (``hyma.decoders``).
        condition_dim: Size of a condition.
        layer_dim: Size of a connector layer's embedding; 0: none (one layer only).
        hidden: Sizes of the decoder's hidden layers.
        init: Initialisation of the decoder.
        scaling: From the maximal tensors to a pair's.
        max_out: Least rows of the maximal tensors of the last connector layer; None: the largest that occurs.
    """

    conditioning: str | type[Conditioning] = "pair"
    decoder: str | type[Decoder] = "mlp"
    condition_dim: int = 32
    layer_dim: int = 8
    hidden: tuple[int, ...] = (64, 16)
    init: Init = "hyperfan_in"
    scaling: ScalingName = "fan_in"
    max_out: int | None = None


class Hypernetwork(nn.Module):
    """``condition(pair)`` and the layer's embedding -> decoder -> the layer's maximal tensors -> the pair's slices.

    It predicts whatever tensors the sweep's connector kind lists.

    Args:
        sizes: Pairs and their connectors.
        architecture: Its parts.
        seed: Seeds all parameters (drawn on the CPU).
    """

    def __init__(self, sizes: Sizes, architecture: Architecture, *, seed: int) -> None:
        super().__init__()
        generator = seeding.generator(seed, "hypernetwork")
        self._kind = sizes.connector
        self._shapes = {pair: sizes.connector.shapes(sizes.dims(pair)) for pair in sizes.pairs}
        self.layers = layer_scalings(
            list(self._shapes.values()), architecture.scaling, architecture.init, max_out=architecture.max_out
        )
        conditioning, decoder = architecture.conditioning, architecture.decoder
        conditioning = CONDITIONINGS.get(conditioning) if isinstance(conditioning, str) else conditioning
        decoder = DECODERS.get(decoder) if isinstance(decoder, str) else decoder
        self.condition = conditioning(sizes, architecture.condition_dim, generator)
        self.layer = nn.Parameter(torch.randn(len(self.layers), architecture.layer_dim, generator=generator))
        spec = DecoderSpec(
            condition_dim=architecture.condition_dim + architecture.layer_dim,
            layers=tuple(self.layers),
            hidden=architecture.hidden,
            init=architecture.init,
        )
        self.decoder = decoder(spec, generator)
        for number, layer in enumerate(self.layers):
            for place, tensor in enumerate(layer.tensors):
                self.register_buffer(f"profile{number}_{place}", tensor.profile(), persistent=False)

    @property
    def needs_means(self) -> bool:
        """Whether ``forward`` reads mean embeddings."""
        return self.condition.needs_means

    def forward(self, pairs: Sequence[Pair], means: Means | None = None) -> Mapping[Pair, Connector]:
        """The connector of each pair, differentiable with respect to everything here.

        Args:
            pairs: The pairs.
            means: The encoders' mean embeddings, where the conditioning needs them.
        """
        made = self.generate(self.condition(pairs, means or {}), [self._shapes[pair] for pair in pairs])
        return dict(zip(pairs, made, strict=True))

    def generate(self, conditions: Float[Tensor, "pairs condition"], shapes: Sequence[Shapes]) -> list[Connector]:
        """Connectors for any conditions.

        Args:
            conditions: One for each connector.
            shapes: Tensors of each connector, at most as large as the network was made for.
        """
        tensors: list[dict[str, Tensor]] = [{} for _ in shapes]
        for number, layer in enumerate(self.layers):
            told = torch.cat([conditions, self.layer[number].expand(len(shapes), -1)], dim=-1)
            for place, (scaling, maximal) in enumerate(zip(layer.tensors, self.decoder(told, number), strict=True)):
                profile: Tensor | None = self.get_buffer(f"profile{number}_{place}")
                if profile is not None:
                    maximal = maximal * profile.view(-1, *[1] * (maximal.dim() - 2))
                cut = scaling.cut(maximal, [shape[scaling.name] for shape in shapes])
                for of_pair, tensor in zip(tensors, cut, strict=True):
                    of_pair[scaling.name] = tensor
        return [Connector(self._kind, of_pair) for of_pair in tensors]

    def forward_flops(self, pairs: int) -> float:
        """Closed form: matrix products of generating this many pairs' connectors."""
        return self.condition.forward_flops(pairs) + self.decoder.forward_flops(pairs)

    def step_flops(self, pairs: int) -> float:
        """The same with the gradients."""
        return self.condition.step_flops(pairs) + self.decoder.step_flops(pairs)
