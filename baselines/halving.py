"""Successive halving over pairs: train all a little, drop the trailing ones, train the rest further."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from baselines.ape import Ape
from harness.contract.budget import Budget
from harness.contract.fit import Estimate
from harness.contract.pairs import Pair
from harness.contract.problem import Sizes
from harness.errors import HarnessError
from harness.training.recipe import Positive

WARMUPS = 2.0
"""Times the learning rate's warm-up that the first rung lasts at least, unless ``min_budget`` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class ApeInRungs(Ape):
    """What the synchronous and the asynchronous form of successive halving share: the rungs and their cost.

    The budget is the largest rung's, per pair; a rung before has 1/eta of the next one's. A pair's rungs are one
    training that is cut and resumed: the learning rate follows the whole budget's schedule, so the survivors end
    exactly as ``ape`` with this budget would have trained them, and all pairs of a rung are judged at the same rate.

    Attributes:
        eta: Share of the pairs that go on, inverted; and ratio of the rungs' budgets.
        min_budget: Least budget of the first rung, in the budget's unit. None: ``WARMUPS`` times the warm-up's share of
            the whole budget, because scores from inside the warm-up rank badly. Whatever it is, there are no more rungs
            than it takes to end with one pair.
    """

    eta: Annotated[float, Field(ge=1.5)] = 3
    min_budget: Positive | None = None

    def rungs(self, pairs: int, budget: Budget) -> list[Budget]:
        """Budgets at the end of each rung, counted from the start."""
        limit = budget.limit
        if budget.seconds is not None:
            raise HarnessError("halving cannot be budgeted in seconds", fix="give epochs, updates_per_pair or flops")
        if self.min_budget is not None and self.min_budget > limit:
            raise HarnessError(f"min_budget {self.min_budget:g} is larger than the budget {limit:g}")
        share = min(1.0, WARMUPS * self.warmup) if self.min_budget is None else self.min_budget / limit
        downs = len(self._kept(pairs)) - 1
        if share:
            # A hair of slack: 9 / 3^2 must count as 1.
            downs = min(downs, math.floor(math.log(1 / share, self.eta) + 1e-9))
        return [budget.scaled(self.eta**-down) for down in range(downs, -1, -1)]

    def estimate_rungs(self, sizes: Sequence[Sizes], budget: Budget) -> Estimate:
        """Expected spending of one seed if every pair is as likely to go on as any other.

        Args:
            sizes: Each pair's own problem.
            budget: The last rung's.
        """
        shares = [kept / len(sizes) for kept in self._kept(len(sizes))]
        rungs = self.rungs(len(sizes), budget)
        flops: dict[str, float] = {}
        updates, params = 0.0, 0
        for own in sizes:
            before: Mapping[str, float] = {}
            before_updates = 0.0
            # A rung is scored at its end only.
            once = len(self.rates) * sum(own.score_flops(pair) for pair in own.pairs)
            for number, end in enumerate(rungs):
                share = shares[min(number, len(shares) - 1)]
                spent = self.estimate(own, end)
                for phase, value in spent.flops.items():
                    flops[phase] = flops.get(phase, 0.0) + share * (
                        once if phase == "eval" else value - before.get(phase, 0.0)
                    )
                updates += share * (spent.updates_per_pair - before_updates)
                before, before_updates = spent.flops, spent.updates_per_pair
            params += self.estimate(own, budget).trained_params
        return Estimate(flops, updates / len(sizes), params)

    def _next(self, pairs: int) -> int:
        return max(1, math.floor(pairs / self.eta + 1e-9))

    def _kept(self, pairs: int) -> list[int]:
        """Pairs of each rung, down to one."""
        counts = [pairs]
        while counts[-1] > 1:
            counts.append(self._next(counts[-1]))
        return counts


@dataclass(frozen=True, kw_only=True)
class ApeHalving(ApeInRungs):
    """Synchronous successive halving (Jamieson and Talwalkar 2016), deterministic.

    After each rung the best 1/eta of its pairs (rounded down, at least one) go on, by validation score.
    """

    version: ClassVar[int] = 3

    def keep(self, rung: int, scores: Mapping[Pair, float], *, higher_is_better: bool) -> list[Pair]:
        """The best 1/eta of a rung's pairs, ties in the order of their names."""
        del rung
        sign = 1.0 if higher_is_better else -1.0
        known = sorted((pair for pair, score in scores.items() if math.isfinite(score)))
        known.sort(key=lambda pair: -sign * scores[pair])
        return known[: self._next(len(scores))]
