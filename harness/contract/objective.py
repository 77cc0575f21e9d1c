"""What training minimises. An objective owns what it needs beside the connector: its temperature, its data access."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.connector import Connector, Dims
from harness.contract.language import Language
from harness.contract.pairs import Direction, Pair
from harness.contract.registry import Registry
from harness.contract.split import Batch

LogitScale: TypeAlias = float | Literal["learned"]
"""Inverse temperature of a contrastive objective: fixed, or learned for each pair."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveSetting:
    """What an objective is made for.

    Attributes:
        pairs: The pairs that are trained together.
        direction: Which side the connectors map.
        device: Where to compute.
        dtype: What the loss is computed in.
        logit_scale: What the method's settings say of the temperature.
    """

    pairs: tuple[Pair, ...]
    direction: Direction
    device: torch.device
    dtype: torch.dtype = torch.float32
    logit_scale: LogitScale = "learned"


@runtime_checkable
class Objective(Protocol):
    """What training minimises: one class per file of ``harness/objectives``, made once for each training."""

    def __init__(self, setting: ObjectiveSetting) -> None:
        """Make what is trained beside the connectors."""
        ...

    def parameters(self) -> Sequence[Tensor]:
        """Leaf tensors that are trained beside the connectors; may be empty."""
        ...

    def loss(self, connector: Connector, pair: Pair, batch: Batch) -> Float[Tensor, ""]:
        """The mean loss of a pair's connector over a batch, differentiable."""
        ...

    @classmethod
    def step_flops(cls, dims: Dims, pair: Pair, batch_size: int) -> Mapping[str, float]:
        """Phase -> FLOPs of one ``loss`` and its gradient, without those of the connector itself."""
        ...

    @classmethod
    def trained_params(cls, pairs: int, logit_scale: LogitScale) -> int:
        """Number of parameters that are trained beside so many connectors."""
        ...


@runtime_checkable
class ObjectiveKind(Protocol):
    """What planning knows of an objective, and what makes one for each training. An ``Objective`` class is one."""

    def __call__(self, setting: ObjectiveSetting) -> Objective:
        """The objective of one training."""
        ...

    def step_flops(self, dims: Dims, pair: Pair, batch_size: int) -> Mapping[str, float]:
        """See ``Objective``."""
        ...

    def trained_params(self, pairs: int, logit_scale: LogitScale) -> int:
        """See ``Objective``."""
        ...


@runtime_checkable
class CostsByBatch(Protocol):
    """A kind of objective whose step costs what its batch asks for; ``step_flops`` is then the most that it may."""

    def batch_flops(self, dims: Dims, pair: Pair, batch: Batch) -> Mapping[str, float]:
        """Phase -> FLOPs of one ``loss`` over this batch and its gradient, without those of the connector itself."""
        ...


@runtime_checkable
class OfLanguage(Protocol):
    """An objective that needs the language models of the sweep: its kind is made for them."""

    def of_language(self, language: Language) -> ObjectiveKind:
        """The objective with these models; a class method."""
        ...


@runtime_checkable
class ScalesTargets(Protocol):
    """A kind of objective to which the length of a mapped row matters. Stored targets have length 1."""

    def target_norm(self, pair: Pair, device: torch.device) -> float:
        """Length that a mapped row of this pair should have."""
        ...


@runtime_checkable
class StackedObjective(Protocol):
    """An objective that computes the losses of several pairs of equal shape at once."""

    def stacked_loss(self, connector: Connector, pairs: Sequence[Pair], batch: Batch) -> Float[Tensor, " pairs"]:
        """``[pairs]`` losses. The connector's tensors carry the pairs on a leading axis."""
        ...


OBJECTIVES: Registry[type[Objective]] = Registry(
    "objective",
    {"causal_lm": "harness.objectives.causal_lm:CausalLm", "info_nce": "harness.objectives.info_nce:InfoNce"},
    group="harness.objectives",
)
