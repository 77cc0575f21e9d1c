"""One hypernetwork that predicts the connectors of all pairs: a conditioning, a decoder and the slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from harness.connectors import Layers
from harness.method import Pair, Sizes
from hyma.conditioning import CONDITIONINGS, Conditioning, Means
from hyma.decoders import DECODERS, Decoder
from hyma.initialise import Init
from hyma.scaling import LayerScaling, ScalingName


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
        scaling: From the maximal weight to a pair's.
        max_out: Rows of the maximal weight of the last connector layer; None: the largest that occurs.
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
    """``condition(pair)`` and the layer's embedding -> decoder -> the layer's maximal weight -> the pair's slice.

    Args:
        sizes: Pairs and their connector shapes.
        architecture: Its parts.
        seed: Seeds all parameters (drawn on the CPU).
    """

    def __init__(self, sizes: Sizes, architecture: Architecture, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self._layers = {pair: sizes.shape(pair).layers for pair in sizes.pairs}
        depth = sizes.hidden_layers + 1
        conditioning, decoder = architecture.conditioning, architecture.decoder
        conditioning = CONDITIONINGS.get(conditioning) if isinstance(conditioning, str) else conditioning
        decoder = DECODERS.get(decoder) if isinstance(decoder, str) else decoder
        self.condition = conditioning(sizes, architecture.condition_dim, generator)
        self.layer = nn.Parameter(torch.randn(depth, architecture.layer_dim, generator=generator))
        self.scalings = [self._scaling(architecture, number, depth) for number in range(depth)]
        self.decoder = decoder(
            architecture.condition_dim + architecture.layer_dim,
            self.scalings,
            architecture.hidden,
            architecture.init,
            generator,
        )
        profiles = [scaling.profile() for scaling in self.scalings]
        for number, profile in enumerate(profiles):
            self.register_buffer(f"profile{number}", profile, persistent=False)

    def _scaling(self, architecture: Architecture, number: int, depth: int) -> LayerScaling:
        ins, outs = zip(*(layers[number] for layers in self._layers.values()), strict=True)
        largest = max(outs)
        if number == depth - 1 and architecture.max_out is not None:
            largest = max(largest, architecture.max_out)
        return LayerScaling(architecture.scaling, architecture.init, max(ins), largest, tuple(sorted(set(outs))))

    @property
    def needs_means(self) -> bool:
        """Whether ``forward`` reads mean embeddings."""
        return self.condition.needs_means

    def forward(self, pairs: Sequence[Pair], means: Means | None = None) -> Mapping[Pair, Layers]:
        """The connector of each pair, differentiable with respect to everything here.

        Args:
            pairs: The pairs.
            means: The encoders' mean embeddings, where the conditioning needs them.
        """
        made = self.generate(self.condition(pairs, means or {}), [self._layers[pair] for pair in pairs])
        return dict(zip(pairs, made, strict=True))

    def generate(
        self, conditions: Float[Tensor, "pairs condition"], shapes: Sequence[Sequence[tuple[int, int]]]
    ) -> list[Layers]:
        """Connectors for any conditions.

        Args:
            conditions: One for each connector.
            shapes: (in, out) of every layer of each connector, at most as large as the network was made for.
        """
        by_layer = []
        for number, scaling in enumerate(self.scalings):
            told = torch.cat([conditions, self.layer[number].expand(len(shapes), -1)], dim=-1)
            weights, biases = self.decoder(told, number)
            profile: Tensor | None = getattr(self, f"profile{number}")
            if profile is not None:
                weights = weights * profile[:, None]
            by_layer.append(scaling.cut(weights, biases, [shape[number] for shape in shapes]))
        return [[made[place] for made in by_layer] for place in range(len(shapes))]

    def step_flops(self, pairs: int) -> float:
        """Closed form: matrix products of generating this many pairs' connectors, forward and backward."""
        return self.condition.step_flops(pairs) + self.decoder.step_flops(pairs)
