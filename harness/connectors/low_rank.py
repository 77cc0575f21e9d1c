"""The low-rank connector: a linear map through a narrow space."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from harness.contract.connector import ConnectorKind, Dims, Tensors, TensorShape


@dataclass(frozen=True)
class LowRank(ConnectorKind):
    """``f(x) = U V x + b`` with ``rank`` rows of V: fewer parameters than a linear connector, and fewer FLOPs.

    Attributes:
        rank: Dimension of the space in between.
    """

    rank: Annotated[int, Field(gt=0)] = 64

    name: ClassVar[str] = "low_rank"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``down.weight [rank, in]``, ``up.weight [out, rank]`` and ``up.bias [out]``."""
        return {
            "down.weight": TensorShape((self.rank, dims.in_dim), dims.in_dim),
            "up.weight": TensorShape((dims.out_dim, self.rank), self.rank),
            "up.bias": TensorShape((dims.out_dim,), self.rank),
        }

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """Down, then up. Works for stacks of pairs too, because both products broadcast over leading axes."""
        up, bias = tensors["up.weight"], tensors["up.bias"]
        return x @ tensors["down.weight"].mT @ up.mT + bias[..., None, :]
