"""What a connector is: a kind, which says how features are mapped, and the named tensors that it maps them with."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.registry import Registry

Tensors: TypeAlias = Mapping[str, Tensor]
"""Tensor name -> tensor. Stacked connectors of several pairs carry the pairs on a leading axis of every tensor."""

Layers: TypeAlias = Sequence[tuple[Tensor, Tensor]]
"""``[(weight [out, in], bias [out]), ...]``: how an author may write a linear or an MLP connector."""


@dataclass(frozen=True)
class Dims:
    """What a connector maps between.

    Attributes:
        in_dim: Dimension of the mapped side.
        out_dim: Dimension of the side that is mapped into.
    """

    in_dim: int
    out_dim: int


@dataclass(frozen=True)
class TensorShape:
    """One tensor of a connector.

    Attributes:
        size: Its shape. The first axis runs over outputs; a second one, if there is one, over inputs.
        fan_in: Inputs that add up in one of its outputs: what fresh values and predicted ones are scaled by.
    """

    size: tuple[int, ...]
    fan_in: int

    @property
    def count(self) -> int:
        """Number of entries."""
        return math.prod(self.size)


class ConnectorKind(ABC):
    """Base of the connector kinds: frozen dataclasses whose fields are their settings in the sweep file.

    A kind writes ``shapes`` and ``apply``; everything else has a default that is derived from these two. Hypernetworks
    predict whatever ``shapes`` lists. Tensors whose names agree up to the last dot make one layer: ``down.weight`` and
    ``down.bias`` are predicted together.
    """

    name: ClassVar[str]
    """The registered name: what a stored connector says it is."""

    @abstractmethod
    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """The tensors of a connector between these dimensions, in the order in which they are applied."""

    @abstractmethod
    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """Map features. The output is not normalised.

        Args:
            tensors: As ``shapes`` lists them, or with one more axis in front, over pairs.
            x: Features; ``[pairs, rows, in_dim]`` where the tensors have that axis.
        """

    def init(
        self,
        dims: Dims,
        generator: torch.Generator,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """Freshly initialised leaf parameters: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as ``nn.Linear`` has them.

        They are drawn on the CPU in float32 from the generator, so that a seed gives the same connector on every
        device and in every precision.
        """
        return {
            name: drawn(shape, generator).to(device, dtype).requires_grad_()
            for name, shape in self.shapes(dims).items()
        }

    def params(self, dims: Dims) -> int:
        """Number of parameters."""
        return sum(shape.count for shape in self.shapes(dims).values())

    def forward_flops(self, dims: Dims, rows: int) -> float:
        """FLOPs of mapping so many rows: the matrix products of ``apply``, counted unless a kind knows better."""
        return self._counted(dims, rows, backward=False)

    def step_flops(self, dims: Dims, rows: int) -> float:
        """FLOPs of mapping so many rows and of the gradients of all tensors. The features themselves are frozen."""
        return self._counted(dims, rows, backward=True)

    def _counted(self, dims: Dims, rows: int, *, backward: bool) -> float:
        from torch.utils.flop_counter import FlopCounterMode

        tensors = {
            name: torch.empty(shape.size, device="meta", requires_grad=backward)
            for name, shape in self.shapes(dims).items()
        }
        # Numbers of rows enter linearly, and counting few rows is as good as counting many.
        with FlopCounterMode(display=False) as counter:
            mapped = self.apply(tensors, torch.empty(2, dims.in_dim, device="meta"))
            if backward:
                mapped.sum().backward()
        return float(counter.get_total_flops()) * rows / 2


@dataclass(frozen=True)
class Factors:
    """A linear map through few directions: ``heard (seen x)``.

    Attributes:
        heard: ``[out_dim, rank]``.
        seen: ``[rank, in_dim]``.
    """

    heard: Float[Tensor, "out_dim rank"]
    seen: Float[Tensor, "rank in_dim"]


@runtime_checkable
class StartsAffine(Protocol):
    """A connector kind whose training can start at a given affine map, such as one in closed form."""

    @property
    def largest_rank(self) -> int | None:
        """Directions that a map may have at which it can start; None: any number."""
        ...

    def from_affine(
        self,
        weight: Float[Tensor, "out_dim in_dim"] | Factors,
        bias: Float[Tensor, " out_dim"],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Tensors with which the connector computes ``weight x + bias``, up to rounding.

        Args:
            weight: The map, whose smaller dimension is at most ``largest_rank``, or factors of at most this rank.
            bias: What is added.
            generator: Draws what the map leaves open; on the CPU.
        """
        ...


@runtime_checkable
class MakesPrefix(Protocol):
    """A connector kind that makes several input embeddings of a language model of one row, end to end."""

    @property
    def length(self) -> int:
        """How many."""
        ...


def prefix_length(kind: ConnectorKind) -> int:
    """Input embeddings of a language model that one mapped row holds; one, unless the kind says otherwise."""
    return kind.length if isinstance(kind, MakesPrefix) else 1


@dataclass(frozen=True)
class Connector:
    """A connector: what a method hands over for a pair.

    Attributes:
        kind: How it maps.
        tensors: What it maps with.
    """

    kind: ConnectorKind
    tensors: Tensors

    def __call__(self, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """Map features; the output is not normalised."""
        return self.kind.apply(self.tensors, x)

    def finite(self) -> bool:
        """Whether no entry is NaN or infinite."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.tensors.values())

    def frozen(self) -> "Connector":
        """A detached copy on the CPU, in float32."""
        copies = {name: t.detach().to("cpu", torch.float32, copy=True) for name, t in self.tensors.items()}
        return Connector(self.kind, copies)

    def to(self, device: torch.device | str) -> "Connector":
        """The same on another device."""
        return Connector(self.kind, {name: tensor.to(device) for name, tensor in self.tensors.items()})


CONNECTORS: Registry[type[ConnectorKind]] = Registry(
    "connector kind",
    {
        "linear": "harness.connectors.linear:Linear",
        "mlp": "harness.connectors.mlp:Mlp",
        "low_rank": "harness.connectors.low_rank:LowRank",
        "prefix": "harness.connectors.prefix:Prefix",
    },
    group="harness.connectors",
)


def as_connector(given: Connector | Layers) -> Connector:
    """A connector, also from a list of layers: one layer is linear, several have a ReLU in between."""
    if isinstance(given, Connector):
        return given
    named: dict[str, Tensor] = {}
    for number, (weight, bias) in enumerate(given):
        named[f"layers.{number}.weight"], named[f"layers.{number}.bias"] = weight, bias
    if len(given) == 1:
        return Connector(CONNECTORS.get("linear")(), named)
    width = given[0][0].shape[0]
    return Connector(CONNECTORS.get("mlp")(hidden_layers=len(given) - 1, width=width), named)  # type: ignore[call-arg]


def drawn(shape: TensorShape, generator: torch.Generator) -> Tensor:
    """A fresh tensor of this shape, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / math.sqrt(shape.fan_in)
    return torch.empty(shape.size).uniform_(-bound, bound, generator=generator)


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to: its name up to the last dot."""
    return name.rpartition(".")[0]
