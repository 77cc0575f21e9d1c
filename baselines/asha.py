"""Asynchronous successive halving over pairs: whoever ends a rung is judged at once, by those that ended it before."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from baselines.halving import ApeInRungs
from harness.contract.budget import Budget
from harness.contract.fit import Fit, Progress
from harness.contract.problem import Problem

UNREPRODUCIBLE = (
    "pairs were stopped in the order in which results came in: not reproducible, another run may stop others"
)
"""Warning of every Fit."""


@dataclass(frozen=True, kw_only=True)
class ApeAsha(ApeInRungs):
    """Successive halving under Ray Tune's ASHA (Li et al. 2020), on the Ray backend only; not reproducible.

    No pair waits for the others: it stops after a rung where its validation score is below the best 1/eta of those that
    ended this rung earlier. The first pairs go on whatever they score, so more is spent than by ``ape_halving``, whose
    cost ``harness plan`` shows. A pair's numbers at a rung are reproducible; which pairs reach it is not.
    """

    version: ClassVar[int] = 2

    @property
    def reduction_factor(self) -> float:
        """See ``AsyncPolicy``."""
        return self.eta

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train the cell's one pair to the end of its rung."""
        fit = super().fit(problem, budget, seed=seed, progress=progress)
        return dataclasses.replace(fit, warnings=(UNREPRODUCIBLE, *fit.warnings))
