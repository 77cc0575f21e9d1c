"""Linear and MLP connectors: the trained map from one side's embedding space into the other's.

A connector's parameters are a tuple of layers ``(weight [out, in], bias [out])``, applied with ReLU in between,
wherever they come from: an ``nn.Module``, a hypernetwork, a closed-form solution or a file.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Layers: TypeAlias = Sequence[tuple[Tensor, Tensor]]
"""``[(weight [out, in], bias [out]), ...]`` from the input side to the output side."""


@dataclass(frozen=True)
class ConnectorShape:
    """Sizes of one connector.

    Args:
        in_dim: Dimension of the mapped side.
        out_dim: Dimension of the side that is mapped into.
        hidden_layers: 0 (linear), 1 or 2.
        width: Width of the hidden layers.
    """

    in_dim: int
    out_dim: int
    hidden_layers: int = 0
    width: int = 1024

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of each linear layer."""
        dims = (self.in_dim, *[self.width] * self.hidden_layers, self.out_dim)
        return tuple(zip(dims[:-1], dims[1:], strict=True))

    @property
    def params(self) -> int:
        """Weights and biases."""
        return sum(i * o + o for i, o in self.layers)


def connect(layers: Layers, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
    """Apply a connector: linear layers with ReLU in between; the output is not normalised."""
    for number, (weight, bias) in enumerate(layers):
        x = functional.linear(functional.relu(x) if number else x, weight, bias)
    return x


def init_layers(
    shape: ConnectorShape,
    generator: torch.Generator,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Layers:
    """Freshly initialised leaf parameters, distributed as ``nn.Linear`` initialises them: U(-1/sqrt(in), 1/sqrt(in)).

    Drawn on the CPU in float32 from the generator, so that a seed gives the same connector on every device and in
    every precision.
    """
    return [
        (
            _uniform((fan_out, fan_in), fan_in, generator).to(device, dtype).requires_grad_(),
            _uniform((fan_out,), fan_in, generator).to(device, dtype).requires_grad_(),
        )
        for fan_in, fan_out in shape.layers
    ]


def _uniform(size: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    bound = 1 / math.sqrt(fan_in)
    return torch.empty(size).uniform_(-bound, bound, generator=generator)


def parameters(layers: Layers) -> list[Tensor]:
    """All tensors of a connector, flat."""
    return [tensor for layer in layers for tensor in layer]


def finite(layers: Layers) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in parameters(layers))


def frozen(layers: Layers) -> Layers:
    """A detached CPU copy in float32."""
    return [
        (w.detach().to("cpu", torch.float32, copy=True), b.detach().to("cpu", torch.float32, copy=True))
        for w, b in layers
    ]


def to_state(layers: Layers) -> dict[str, Tensor]:
    """Named tensors, as stored: ``layers.0.weight``, ``layers.0.bias``, ..."""
    named = {}
    for number, (weight, bias) in enumerate(layers):
        named[f"layers.{number}.weight"], named[f"layers.{number}.bias"] = weight.contiguous(), bias.contiguous()
    return named


def from_state(state: Mapping[str, Tensor]) -> Layers:
    """The inverse of ``to_state``."""
    return [(state[f"layers.{n}.weight"], state[f"layers.{n}.bias"]) for n in range(len(state) // 2)]
