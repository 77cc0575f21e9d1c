"""The MLP connector: affine layers with a ReLU in between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from harness.connectors.affine import affine, affine_shapes
from harness.contract.connector import ConnectorKind, Dims, Factors, Tensors, TensorShape, drawn
from harness.contract.flops import linear_forward, linear_step


@dataclass(frozen=True)
class Mlp(ConnectorKind):
    """``hidden_layers`` layers of ``width`` units with ReLU, and an affine output layer.

    Attributes:
        hidden_layers: Number of hidden layers.
        width: Units of each.
    """

    hidden_layers: Annotated[int, Field(ge=1, le=8)] = 1
    width: Annotated[int, Field(gt=0)] = 1024

    name: ClassVar[str] = "mlp"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``layers.<n>.weight [out, in]`` and ``layers.<n>.bias [out]`` from the input side to the output side."""
        found: dict[str, TensorShape] = {}
        for number, (inner, outer) in enumerate(self._layers(dims)):
            found |= affine_shapes(f"layers.{number}", inner, outer)
        return found

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """The layers in turn; no ReLU after the last."""
        for number in range(self.hidden_layers + 1):
            x = functional.relu(x) if number else x
            x = affine(x, tensors[f"layers.{number}.weight"], tensors[f"layers.{number}.bias"])
        return x

    def forward_flops(self, dims: Dims, rows: int) -> float:
        """2 rows in out of every layer."""
        return sum(linear_forward(rows, i, o) for i, o in self._layers(dims))

    def step_flops(self, dims: Dims, rows: int) -> float:
        """Every layer's forward and weight gradient, and the input gradient of every layer but the first."""
        layers = enumerate(self._layers(dims))
        return sum(linear_step(rows, i, o, input_gradient=number > 0) for number, (i, o) in layers)

    @property
    def largest_rank(self) -> int:
        """Half of the width: every direction takes two units."""
        return self.width // 2

    def from_affine(
        self,
        weight: Float[Tensor, "out_dim in_dim"] | Factors,
        bias: Float[Tensor, " out_dim"],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Pairs of units that see a direction with both signs: ``relu(z) - relu(-z) = z`` passes through every layer.

        The directions are those of the factors, or the coordinates of the smaller side, so that nothing has to be
        computed. Units that are left over start afresh, and are not heard yet.
        """
        factors = weight if isinstance(weight, Factors) else _coordinates(weight)
        seen, heard = factors.seen, factors.heard
        (rank, in_dim), out_dim = seen.shape, len(heard)
        tensors = {name: drawn(shape, generator).to(seen) for name, shape in self.shapes(Dims(in_dim, out_dim)).items()}
        unheard = seen.new_zeros(max(rank, out_dim), self.width - 2 * rank)
        one = torch.eye(rank).to(seen)
        for number in range(self.hidden_layers):
            tensors[f"layers.{number}.weight"][: 2 * rank] = torch.cat([seen, -seen])
            tensors[f"layers.{number}.bias"][: 2 * rank] = 0.0
            seen = torch.cat([one, -one, unheard[:rank]], 1)
        last = f"layers.{self.hidden_layers}"
        return tensors | {f"{last}.weight": torch.cat([heard, -heard, unheard[:out_dim]], 1), f"{last}.bias": bias}

    def _layers(self, dims: Dims) -> list[tuple[int, int]]:
        units = (dims.in_dim, *[self.width] * self.hidden_layers, dims.out_dim)
        return list(zip(units[:-1], units[1:], strict=True))


def _coordinates(weight: Float[Tensor, "out_dim in_dim"]) -> Factors:
    """The map through the coordinates of its smaller side."""
    out_dim, in_dim = weight.shape
    one = torch.eye(min(out_dim, in_dim)).to(weight)
    return Factors(heard=weight, seen=one) if in_dim <= out_dim else Factors(heard=one, seen=weight)
