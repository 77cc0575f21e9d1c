"""What a method returns, and what it says of its costs beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from harness.contract.connector import Connector, Layers
from harness.contract.ledger import Ledger
from harness.contract.pairs import Pair
from harness.errors import Diverged


@dataclass(frozen=True)
class Checkpoint:
    """One point of a curve; see ``harness.run.records.CheckpointRecord`` for the fields."""

    step: int
    epoch: float
    updates_per_pair: float
    samples_per_pair: float
    flops: float
    seconds: float
    scores: Mapping[Pair, float]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The learning rates of a training, and what it cost to choose between them.

    Attributes:
        tried: Peak rates that were tried, rising. One: nothing was tuned.
        picked: Pair -> peak rate of its connector.
        shared: Whether one rate was picked for all pairs together.
        flops: FLOPs spent at rates that were not picked, a part of the ledger's total.
    """

    tried: tuple[float, ...]
    picked: Mapping[Pair, float]
    shared: bool = False
    flops: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a method returns.

    Attributes:
        scores: What it ranks each pair by, in the sign of the selection metric (a ``score`` method: larger is better).
        connectors: Trained connector of each pair, float32 on the CPU; None for ``score`` methods.
        predicted: Pairs whose score was predicted from other pairs' scores: they have no connector, and so no test
            score of their own.
        curve: Checkpoints in order; the last is the end of training.
        ledger: ``problem.ledger``.
        batch_size: Samples per update; None without batches.
        pairs_per_step: Pairs that take part in a step; None without steps.
        updates_per_pair: Mean over the pairs, at the learning rate that was kept.
        samples_per_pair: Mean over the pairs, at the learning rate that was kept.
        trained_params: Parameters trained at one learning rate.
        diverged: Set when training broke down; what was reached before stands in the other fields.
        lost: Pairs whose own training broke down while the others' went on. They have no score and no connector.
        racing: Pairs that the method holds to be in the race for the best one, best first; empty if it does not race.
        warnings: Things a reader should know.
        tuning: Learning rates that were tried and kept; None for a method without one.
        state: What the pair's next rung needs to go on, for a method with rungs.
    """

    scores: Mapping[Pair, float]
    ledger: Ledger
    connectors: Mapping[Pair, Connector | Layers] | None = None
    predicted: frozenset[Pair] = frozenset()
    curve: tuple[Checkpoint, ...] = ()
    batch_size: int | None = None
    pairs_per_step: int | None = None
    updates_per_pair: float = 0.0
    samples_per_pair: float = 0.0
    trained_params: int = 0
    diverged: Diverged | None = None
    lost: Mapping[Pair, Diverged] = field(default_factory=dict)
    racing: tuple[Pair, ...] = ()
    warnings: tuple[str, ...] = ()
    tuning: Tuning | None = None
    state: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Estimate:
    """What a cell will spend, counted before it runs.

    Attributes:
        flops: Phase -> FLOPs.
        updates_per_pair: Mean over the pairs, at one learning rate.
        trained_params: Parameters that will be trained, at one learning rate.
        generation: FLOPs of the ``hypernet`` phase that make connectors for scoring, and not for a step of training.
    """

    flops: Mapping[str, float]
    updates_per_pair: float = 0.0
    trained_params: int = 0
    generation: float = 0.0


@runtime_checkable
class Progress(Protocol):
    """Called by a method to say how far it is; raising from it stops the method."""

    def __call__(self, step: int, steps: int) -> None:
        """Step ``step`` of ``steps`` is done."""
        ...
