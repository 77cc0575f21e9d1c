"""What a method lets ``train`` train."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from harness.contract.connector import Connector, ConnectorKind
from harness.contract.objective import Objective
from harness.contract.pairs import Pair
from harness.contract.split import Batch
from harness.training.recipe import Recipe

Connectors: TypeAlias = Callable[[Sequence[Pair]], Mapping[Pair, Connector]]
StepConnectors: TypeAlias = Callable[[Sequence[Pair], Batch], Mapping[Pair, Connector]]


@dataclass(frozen=True, kw_only=True)
class Trainee(ABC):
    """Base: something with parameters, whose connectors can be scored at any time.

    What a step needs is ``backward``; what scoring and export need is ``connectors``.

    Attributes:
        connectors: Pairs -> the connector of each as it is now.
        pair_sampler: Endless pairs of each step; at every moment the pairs' counts should differ by at most one.
        pairs_per_step: Pairs in one step.
        kind: Kind of the connectors that a step applies, for their FLOPs; None: the sweep's.
        hypernet_step: Closed-form FLOPs of generating one step's connectors, forward and backward.
        generation: Closed-form FLOPs of making the connectors of all pairs once, for scoring.
        shuffle: Whether every epoch's images come in a new order.
        own_rates: Peak learning rates of pairs that have one of their own.
        independent: The pairs in the order of the norms that ``clip`` returns, when each is trained on its own: one
            that diverges is lost then, and the others go on. ``clip`` must leave it no gradient that is not finite.
    """

    connectors: Connectors
    pair_sampler: Iterable[Sequence[Pair]]
    pairs_per_step: int
    kind: ConnectorKind | None = None
    hypernet_step: float = 0.0
    generation: float = 0.0
    shuffle: bool = True
    own_rates: Mapping[Pair, float] = field(default_factory=dict)
    independent: Sequence[Pair] = ()

    @property
    @abstractmethod
    def trained(self) -> list[Tensor]:
        """Every tensor that the optimiser updates."""

    @abstractmethod
    def backward(self, recipe: Recipe, device: torch.device, pairs: Sequence[Pair], batch: Batch) -> None:
        """Forward and backward of one step over these pairs."""

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups, each with the ``lr`` at its peak: this one, mostly."""
        return [{"params": self.trained, "lr": lr}]

    def clip(self, limit: float) -> Tensor:
        """Scale gradients down to at most this norm; returns the norm (or norms) that they had."""
        return nn.utils.clip_grad_norm_(self.trained, limit)


@dataclass(frozen=True, kw_only=True)
class PairByPair(Trainee):
    """The usual case: a step's loss is the mean over its pairs, each computed on its own.

    Attributes:
        parameters: What the connectors are made from.
        objective: What is minimised; its own parameters are trained too.
        step_connectors: What makes a step's connectors where they depend on its batch, or are applied in another form
            than they are exported in. None: ``connectors``.
    """

    parameters: Sequence[Tensor]
    objective: Objective
    step_connectors: StepConnectors | None = None

    @property
    def trained(self) -> list[Tensor]:
        """The parameters and the objective's own."""
        return [p for p in (*self.parameters, *self.objective.parameters()) if p.requires_grad]

    def backward(self, recipe: Recipe, device: torch.device, pairs: Sequence[Pair], batch: Batch) -> None:
        """Forward and backward of the mean loss over the step's pairs."""
        with recipe.autocast(device):
            made = self.step_connectors(pairs, batch) if self.step_connectors else self.connectors(pairs)
            losses = [self.objective.loss(made[pair], pair, batch) for pair in pairs]
            torch.stack(losses).mean().backward()
