"""The prefix connector: several input embeddings of a language model from one pooled vector."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from harness.connectors.affine import affine, affine_shapes
from harness.contract.connector import ConnectorKind, Dims, Tensors, TensorShape
from harness.contract.flops import linear_forward, linear_step


@dataclass(frozen=True)
class Prefix(ConnectorKind):
    """``length`` linear maps side by side; a mapped row holds their outputs end to end.

    Attributes:
        length: Input embeddings that are made of one row.
    """

    length: Annotated[int, Field(ge=1, le=64)] = 4

    name: ClassVar[str] = "prefix"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``prefix.<n>.weight [out, in]`` and ``prefix.<n>.bias [out]``, a layer for each position."""
        found: dict[str, TensorShape] = {}
        for place in range(self.length):
            found |= affine_shapes(f"prefix.{place}", dims.in_dim, dims.out_dim)
        return found

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows prefix_dim"]:
        """``[..., rows, length x out_dim]``."""
        names = [f"prefix.{place}" for place in range(self.length)]
        return torch.cat([affine(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"]) for name in names], dim=-1)

    def forward_flops(self, dims: Dims, rows: int) -> float:
        """2 rows in out for each position."""
        return self.length * linear_forward(rows, dims.in_dim, dims.out_dim)

    def step_flops(self, dims: Dims, rows: int) -> float:
        """4 rows in out for each position: the features are frozen."""
        return self.length * linear_step(rows, dims.in_dim, dims.out_dim, input_gradient=False)
