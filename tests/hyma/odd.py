"""A kind of connector that no method has been written for: a matrix, a cube, and a vector that is as long as inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from harness.method import ConnectorKind, Dims, Tensors, TensorShape


@dataclass(frozen=True)
class Odd(ConnectorKind):
    """``W (x * (1 + strength g)) + C x[:6] + s``: one layer, all of whose tensors follow from both dimensions."""

    strength: float = 0.5

    name: ClassVar[str] = "tests.hyma.odd:Odd"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        return {
            "odd.matrix": TensorShape((dims.out_dim, dims.in_dim), dims.in_dim),
            "odd.cube": TensorShape((dims.out_dim, 3, 2), 6),
            "odd.gate": TensorShape((dims.in_dim + 1,), dims.in_dim),
        }

    def apply(self, tensors: Tensors, x: Tensor) -> Tensor:
        gate = tensors["odd.gate"][..., None, :]
        gated = x * (1 + self.strength * gate[..., :-1])
        corner = x[..., :6] @ tensors["odd.cube"].flatten(-2).mT
        return gated @ tensors["odd.matrix"].mT + corner + gate[..., -1:]
