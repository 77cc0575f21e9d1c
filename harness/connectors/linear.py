"""The linear connector: one weight and one bias."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from harness.connectors.affine import affine, affine_shapes
from harness.contract.connector import ConnectorKind, Dims, Factors, Tensors, TensorShape
from harness.contract.flops import linear_forward, linear_step


@dataclass(frozen=True)
class Linear(ConnectorKind):
    """``f(x) = W x + b``."""

    name: ClassVar[str] = "linear"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``layers.0.weight [out, in]`` and ``layers.0.bias [out]``."""
        return affine_shapes("layers.0", dims.in_dim, dims.out_dim)

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """One affine layer."""
        return affine(x, tensors["layers.0.weight"], tensors["layers.0.bias"])

    def forward_flops(self, dims: Dims, rows: int) -> float:
        """2 rows in out."""
        return linear_forward(rows, dims.in_dim, dims.out_dim)

    def step_flops(self, dims: Dims, rows: int) -> float:
        """4 rows in out: the features are frozen, so only the weight needs a gradient."""
        return linear_step(rows, dims.in_dim, dims.out_dim, input_gradient=False)

    @property
    def largest_rank(self) -> None:
        """Any rank."""

    def from_affine(
        self,
        weight: Float[Tensor, "out_dim in_dim"] | Factors,
        bias: Float[Tensor, " out_dim"],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The map itself."""
        del generator
        weight = weight.heard @ weight.seen if isinstance(weight, Factors) else weight
        return {"layers.0.weight": weight, "layers.0.bias": bias}
