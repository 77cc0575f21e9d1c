"""One affine layer of a connector, and how its tensors are called."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from harness.contract.connector import TensorShape


def affine(
    x: Float[Tensor, "... rows inner"], weight: Float[Tensor, "... outer inner"], bias: Float[Tensor, "... outer"]
) -> Float[Tensor, "... rows outer"]:
    """``x weight' + bias``, for one layer or for a stack of them with the pairs on the leading axis."""
    if weight.dim() == 2:
        return functional.linear(x, weight, bias)
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def affine_shapes(layer: str, inner: int, outer: int) -> dict[str, TensorShape]:
    """The tensors of one affine layer."""
    return {f"{layer}.weight": TensorShape((outer, inner), inner), f"{layer}.bias": TensorShape((outer,), inner)}
