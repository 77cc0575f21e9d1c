"""Keeping a training while it goes on, so that a later attempt at its cell goes on from there with the same numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Protocol, runtime_checkable

from pydantic import ConfigDict
from torch import Tensor

from harness.contract.ledger_record import NOTHING_SPENT, LedgerRecord
from harness.contract.record import Record


class KeptRecord(Record):
    """Base of what is kept: a score may be no number, which JSON has no word for."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), ser_json_inf_nan="strings")


class KeptPoint(KeptRecord):
    """A point of a curve, as ``harness.contract.fit.Checkpoint`` has it; ``scores`` by the pair's number."""

    step: int
    epoch: float
    updates_per_pair: float
    samples_per_pair: float
    flops: float
    seconds: float
    scores: dict[int, float]


class KeptBreak(KeptRecord):
    """A divergence: the step, and what was seen."""

    step: int
    reason: str


class KeptRate(KeptRecord):
    """The training at one learning rate.

    Attributes:
        curve: Its points so far.
        scored: Numbers of the pairs whose connectors were made last.
        warnings: What a reader should know.
        lost: Pair's number -> how its own training broke down.
        diverged: How the training of all broke down; None: it goes on.
        ledger: What it has spent.
    """

    curve: list[KeptPoint]
    scored: list[int]
    warnings: list[str]
    lost: dict[int, KeptBreak]
    diverged: KeptBreak | None
    ledger: LedgerRecord


class KeptCount(KeptRecord):
    """What ``harness.training.counting.StepCounter`` knows of one combination of shapes."""

    shapes: list[tuple[int, int]]
    flops: float


class KeptTraining(KeptRecord):
    """A training after a step, but for its tensors.

    Attributes:
        step: Steps done.
        elapsed_s: Seconds that it has taken.
        counted: What its steps' FLOPs are known to be.
        rates: The training at each rate, in the order of the recipe.
    """

    step: int
    elapsed_s: float
    counted: list[KeptCount]
    rates: list[KeptRate]

    @property
    def spent(self) -> LedgerRecord:
        """What all rates have spent together."""
        return reduce(LedgerRecord.plus, (rate.ledger for rate in self.rates), NOTHING_SPENT)


@dataclass(frozen=True)
class Kept:
    """A training after a step.

    Attributes:
        facts: All that is no tensor.
        tensors: Parameters, the optimiser's state, random streams.
    """

    facts: KeptTraining
    tensors: Mapping[str, Tensor]


@runtime_checkable
class Place(Protocol):
    """Where one training is kept."""

    def found(self) -> Kept | None:
        """What an earlier attempt kept, which the training must go on from: it counts as done. None: begin anew."""
        ...

    def due(self) -> bool:
        """Whether it is time to keep the training again. Asked after every step."""
        ...

    def keep(self, kept: Kept) -> None:
        """Replace what was kept. Failing to do so is no failure of the training."""
        ...


@runtime_checkable
class Keeper(Protocol):
    """Keeps the trainings of a cell."""

    def place(self, signature: str) -> Place:
        """The place of the next training of the cell.

        Args:
            signature: What the training is: one that was kept under another is not gone on with.
        """
        ...
