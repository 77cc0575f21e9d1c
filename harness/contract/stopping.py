"""Policies that stop trailing pairs: what a method says, and backends carry out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from harness.contract.budget import Budget
from harness.contract.pairs import Pair


@dataclass(frozen=True)
class Rung:
    """One rung of a method that stops trailing pairs (see ``Policy``).

    Attributes:
        budget: Where this rung ends, counted from the start of the training; the budget given to ``fit`` is that of
            the last rung.
        state: The ``Fit.state`` of the pair's rung before; None on the first rung, or when it is lost (start again).
    """

    budget: Budget
    state: Mapping[str, Tensor] | None = None


@runtime_checkable
class Policy(Protocol):
    """What a ``per_pair`` method adds to stop trailing pairs.

    Backends carry it out: one cell per pair, rung and seed. When every cell of a seed's rung has run, ``keep`` says
    which pairs go on; the others keep the score of the rung they reached and rank below those that went further.
    """

    def rungs(self, pairs: int, budget: Budget) -> Sequence[Budget]:
        """Budgets at the end of each rung, counted from the start, rising; the last is the whole budget."""
        ...

    def keep(self, rung: int, scores: Mapping[Pair, float], *, higher_is_better: bool) -> Sequence[Pair]:
        """Pairs that go on after this rung (numbered from 0).

        Args:
            rung: The rung that has run.
            scores: Validation scores of its pairs; NaN for one that diverged or failed.
            higher_is_better: Sign of the scores.
        """
        ...


@runtime_checkable
class AsyncPolicy(Protocol):
    """What a ``per_pair`` method adds to have trailing pairs stopped one by one, as results come in (ASHA).

    The rungs are cells as a ``Policy``'s, but a backend's scheduler decides after each of them, so such a method is not
    reproducible: which pairs reach a rung depends on the order in which cells end. A backend without one refuses.
    """

    reduction_factor: float
    """A pair goes on from a rung when it is among the best 1/reduction_factor of those that have ended it; also the
    ratio of the rungs' budgets."""

    def rungs(self, pairs: int, budget: Budget) -> Sequence[Budget]:
        """See ``Policy.rungs``."""
        ...
