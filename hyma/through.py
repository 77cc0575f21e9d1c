"""Connectors of any kind, made of one part for each of the pair's two encoders."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from harness.connectors.affine import affine, affine_shapes
from harness.contract.connector import ConnectorKind, Dims, Tensors, TensorShape, drawn, layer_of
from harness.contract.flops import linear_step

OUT_OF = "out_of."


@dataclass(frozen=True)
class TwoFactors(ConnectorKind):
    """``U (V x + c) + u``: a linear connector that is applied as two thin products.

    Attributes:
        space_dim: Dimension between the two.
    """

    space_dim: int

    name: ClassVar[str] = "two_factors"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``into.weight``, ``into.bias``, ``out_of.weight``, ``out_of.bias``."""
        into, out_of = (dims.in_dim, self.space_dim), (self.space_dim, dims.out_dim)
        return affine_shapes("into", *into) | affine_shapes("out_of", *out_of)

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """One layer after the other, with nothing in between."""
        inside = affine(x, tensors["into.weight"], tensors["into.bias"])
        return affine(inside, tensors["out_of.weight"], tensors["out_of.bias"])

    def init(
        self,
        dims: Dims,
        generator: torch.Generator,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """Fresh factors, whose product ``U V`` has the variance of a fresh linear connector, 1 / (3 in)."""
        fresh = {name: drawn(shape, generator) for name, shape in self.shapes(dims).items()}
        # Entries of U get variance 1 / space_dim, so that those of U V have V's.
        fresh["out_of.weight"] *= math.sqrt(3)
        return {name: tensor.to(device, dtype).requires_grad_() for name, tensor in fresh.items()}

    def step_flops(self, dims: Dims, rows: int) -> float:
        """V and U, forward and backward; V's inputs are frozen."""
        into = linear_step(rows, dims.in_dim, self.space_dim, input_gradient=False)
        return into + linear_step(rows, self.space_dim, dims.out_dim)


@dataclass(frozen=True)
class Through(ConnectorKind):
    """``g(V x + c)``: a connector g of another kind, behind a linear layer into a space that all pairs share.

    Attributes:
        space_dim: Dimension of the space.
        inner: The kind of g.
    """

    space_dim: int
    inner: ConnectorKind

    name: ClassVar[str] = "hyma.through:Through"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``into.weight``, ``into.bias``, and g's tensors as ``out_of.<name>``.

        A slash stands for the dots of g's names, so that all of g is one layer: what one encoder owns.
        """
        inner = self.inner.shapes(Dims(self.space_dim, dims.out_dim))
        into = affine_shapes("into", dims.in_dim, self.space_dim)
        return into | {OUT_OF + name.replace(".", "/"): shape for name, shape in inner.items()}

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """Into the space, then g."""
        own = {n.removeprefix(OUT_OF).replace("/", "."): t for n, t in tensors.items() if n.startswith(OUT_OF)}
        return self.inner.apply(own, affine(x, tensors["into.weight"], tensors["into.bias"]))

    def init(
        self,
        dims: Dims,
        generator: torch.Generator,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """A linear layer that keeps the norm of features in the mean, then g's own fresh tensors."""
        into = affine_shapes("into", dims.in_dim, self.space_dim)
        # Entries of V get variance 1 / space_dim.
        weight = drawn(into["into.weight"], generator) * math.sqrt(3 * dims.in_dim / self.space_dim)
        fresh = {"into.weight": weight, "into.bias": torch.zeros(self.space_dim)}
        fresh = {name: tensor.to(device, dtype).requires_grad_() for name, tensor in fresh.items()}
        inner = self.inner.init(Dims(self.space_dim, dims.out_dim), generator, device=device, dtype=dtype)
        return fresh | {OUT_OF + name.replace(".", "/"): tensor for name, tensor in inner.items()}


def layers_of(kind: ConnectorKind, dims: Dims) -> list[str]:
    """The layers of a kind, in the order in which they are applied."""
    return list(dict.fromkeys(layer_of(name) for name in kind.shapes(dims)))


def splits(kind: ConnectorKind, dims: Dims) -> bool:
    """Whether the first layer depends on the mapped side's dimension alone, the last on the target's, others on none.

    Then the mapped encoder can own the first layer of all its connectors, and the target encoder the last.
    """
    layers, shapes = layers_of(kind, dims), kind.shapes(dims)
    if len(layers) < 2:
        return False
    wider_in = kind.shapes(Dims(dims.in_dim + 1, dims.out_dim))
    wider_out = kind.shapes(Dims(dims.in_dim, dims.out_dim + 1))
    return all(
        (layer_of(name) == layers[0] or wider_in[name] == shape)
        and (layer_of(name) == layers[-1] or wider_out[name] == shape)
        for name, shape in shapes.items()
    )
