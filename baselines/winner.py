"""One pair and its connector, for less than one training: a race on the closed form, and a polish of what is left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from baselines.polished import added, gains
from baselines.polishing import polish, polish_estimate
from baselines.race import still_racing
from baselines.spectral import Rows, Spectral
from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.method import Promise
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes, UnitScores
from harness.training.recipe import Rates, Recipe

Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Standing:
    """Where a pair stands.

    Attributes:
        score: Validation score of its connector.
        connector: Its best connector so far.
        units: What each validation unit contributes to the score; None where the metric is no mean.
    """

    score: float
    connector: Connector
    units: UnitScores | None


@dataclass(frozen=True, kw_only=True)
class Winner(Recipe):
    """The best pair, and a good connector for it.

    The spectral map of every pair is made from few rows. Pairs that simultaneous intervals separate from the best one
    leave; of the others the best ``finalists`` get the map of all rows and race again. What remains is polished, with
    twice as many updates each time, until that gains less than ``at_most_gap``. A pair keeps its best connector of
    all that it had; those that left keep that of few rows.

    Attributes:
        lr: Of polishing, as in ``polished``.
        sample: Training rows of the first maps.
        rows: Training rows of the finalists' maps.
        finalists: Pairs that are looked at again at most.
        at_most_gap: What is not worth more work, in units of the selection metric.
        polish: Whether gradient steps follow.
        updates: Steps of the first polish.
        rounds: Polishes at most.
    """

    lr: Rates = 2e-2
    sample: Annotated[int, Field(ge=8)] = 500
    rows: Rows = "all"
    finalists: Count = 3
    at_most_gap: Annotated[float, Field(ge=0)] = 0.005
    polish: bool = True
    updates: Count = 12
    rounds: Count = 4

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1
    without_budget: ClassVar[Literal[True]] = True
    recommended_for: ClassVar[tuple[Promise, ...]] = ("winner",)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Race all pairs, and polish those that are left."""
        field: dict[Pair, Standing] = {}
        _look(problem, Spectral(rows=self.sample), problem.pairs, field, progress)
        racing = self._racing(problem, field, seed)
        finalists = racing[: self.finalists]
        _look(problem, Spectral(rows=self.rows), finalists, field, progress)
        left = self._racing(problem, {pair: field[pair] for pair in finalists}, seed)
        warnings: tuple[str, ...] = ()
        if self.polish:
            warnings = self._polished(problem, left, field, seed, progress)
        racing = [pair for pair in racing if pair in left or pair not in finalists]
        updates = problem.ledger.updates / len(problem.pairs)
        return Fit(
            scores={pair: standing.score for pair, standing in field.items()},
            connectors={pair: standing.connector.frozen() for pair, standing in field.items()},
            ledger=problem.ledger,
            batch_size=self.batch_size,
            pairs_per_step=len(left),
            updates_per_pair=updates,
            samples_per_pair=updates * self.batch_size,
            trained_params=sum(problem.sizes.connector.params(problem.sizes.dims(pair)) for pair in left),
            racing=tuple(_best_first(problem, field, racing)),
            warnings=warnings,
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending with as many finalists as may be, pairs as the mean of all, and one polish."""
        first = Spectral(rows=self.sample).estimate(sizes, budget)
        share = min(1.0, self.finalists / len(sizes.pairs))
        for pair in sizes.pairs:
            alone = replace(sizes, pairs=(pair,))
            first = added(first, Spectral(rows=self.rows).estimate(alone, budget), share)
        polished = polish_estimate(sizes, self, self.updates)
        whole = added(first, polished, share) if self.polish else first
        return replace(whole, trained_params=round(share * polished.trained_params))

    def _racing(self, problem: Problem, field: dict[Pair, Standing], seed: int) -> Sequence[Pair]:
        """Pairs that are not separated from the best of these, best first."""
        units = {pair: standing.units for pair, standing in field.items() if standing.units is not None}
        if len(units) < len(field):
            return _best_first(problem, field, list(field))
        better = problem.higher_is_better
        return still_racing(units, higher_is_better=better, indifference=self.at_most_gap, seed=seed)

    def _polished(
        self, problem: Problem, left: Sequence[Pair], field: dict[Pair, Standing], seed: int, progress: Progress
    ) -> tuple[str, ...]:
        """Polish these pairs until it does not pay; what a reader should know of it."""
        starts = {pair: field[pair].connector for pair in left}
        sign, warnings = 1.0 if problem.higher_is_better else -1.0, ()
        for number in range(self.rounds):
            before = {pair: field[pair].score for pair in left}
            end = polish(problem, self, starts, self.updates * 2**number, seed=seed, progress=progress)
            for pair, connector in gains(before, end, problem.higher_is_better).items():
                field[pair] = Standing(end.scores[pair], connector, None)
            warnings = (*warnings, *end.warnings)
            gain = max(sign * field[pair].score for pair in left) - max(sign * score for score in before.values())
            if gain < self.at_most_gap:
                return warnings
        return (*warnings, f"the last of {self.rounds} polishes still gained; more rounds may gain more")


def _look(
    problem: Problem, closed_form: Spectral, pairs: Sequence[Pair], field: dict[Pair, Standing], progress: Progress
) -> None:
    """Make the maps of these pairs and keep those that are better than what there was."""
    sign = 1.0 if problem.higher_is_better else -1.0
    made = closed_form.solve(replace(problem, sizes=replace(problem.sizes, pairs=tuple(pairs))))
    for number, (pair, connector) in enumerate(made.items(), start=1):
        score, units = problem.score_by_unit(pair, connector)
        if pair not in field or sign * score > sign * field[pair].score:
            field[pair] = Standing(score, connector, units)
        progress(number, len(made))


def _best_first(problem: Problem, field: dict[Pair, Standing], pairs: Sequence[Pair]) -> Sequence[Pair]:
    sign = 1.0 if problem.higher_is_better else -1.0
    return sorted(pairs, key=lambda pair: -sign * field[pair].score)
