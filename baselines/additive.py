"""Train a part of the grid, predict the rest: main effects alone, or main effects and a low-rank rest.

The pairs to train are a balanced random design that connects all encoders. Each is trained with ape's recipe, as ape
would train it (same batches, same initial weights). The other pairs get a predicted score and no connector.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

import numpy as np
from jaxtyping import Float, Int64
from pydantic import Field

from baselines.ape import Ape
from harness.contract.budget import Budget
from harness.contract.fit import Estimate, Fit, Progress, Tuning
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import stream
from harness.errors import HarnessError
from harness.training.recipe import Recipe, refuse_shared

Grid = Int64[np.ndarray, "pairs 2"]
"""(image encoder's number, text encoder's number) of every pair."""


def grid_of(pairs: Sequence[Pair]) -> Grid:
    """Numbers of both encoders of every pair."""
    images = {name: n for n, name in enumerate(dict.fromkeys(i for i, _ in pairs))}
    texts = {name: n for n, name in enumerate(dict.fromkeys(t for _, t in pairs))}
    return np.array([(images[i], texts[t]) for i, t in pairs], dtype=np.int64)


def cover_size(pairs: Sequence[Pair]) -> int:
    """Fewest pairs that connect all encoders: N + M - 1."""
    return int(sum(grid_of(pairs).max(axis=0) + 1)) - 1


def design(pairs: Sequence[Pair], count: int, seed: int) -> list[int]:
    """A random design of ``count`` pairs that connects all encoders, their exposures as equal as that allows.

    First a spanning tree of the grid as a bipartite graph, then further pairs; at every step one of the pairs whose
    encoders have been chosen least, at random. Exposure counts relative to the number of encoders on the side.

    Args:
        pairs: The grid.
        count: Pairs to choose, at least ``cover_size`` and at most all.
        seed: Of the choice.

    Returns:
        Positions in ``pairs``, ascending.
    """
    grid = grid_of(pairs)
    rng = stream(seed, "design")
    sides = grid.max(axis=0) + 1
    exposure = [np.zeros(n) for n in sides]
    part = [np.arange(sides[0]), sides[0] + np.arange(sides[1])]  # connected component of every encoder
    chosen: list[int] = []
    free = rng.permutation(len(pairs))
    while len(chosen) < count:
        joins = np.array([part[0][grid[p, 0]] != part[1][grid[p, 1]] for p in free])
        open_ = free[joins] if joins.any() else free
        load = [sum(exposure[side][grid[p, side]] * sides[side] for side in (0, 1)) for p in open_]
        best = int(open_[int(np.argmin(load))])
        one, other = part[0][grid[best, 0]], part[1][grid[best, 1]]
        for side in (0, 1):
            exposure[side][grid[best, side]] += 1
            part[side][part[side] == other] = one
        chosen.append(best)
        free = free[free != best]
    return sorted(chosen)


def link(scores: Float[np.ndarray, " pairs"]) -> tuple[Float[np.ndarray, " pairs"], bool]:
    """Scores on a scale where effects add: logit of shares (0 and 1 moved in a little), else log of positive numbers.

    Returns:
        (transformed scores, whether it was the logit).
    """
    if scores.min() >= 0 and scores.max() <= 1:
        inside = np.clip(scores, 1e-4, 1 - 1e-4)
        return np.log(inside / (1 - inside)), True
    return np.log(np.maximum(scores, 1e-12)), False


def unlink(values: Float[np.ndarray, " pairs"], shares: bool) -> Float[np.ndarray, " pairs"]:
    """The inverse of ``link``."""
    return 1 / (1 + np.exp(-values)) if shares else np.exp(values)


def main_effects(
    grid: Grid, chosen: Int64[np.ndarray, " chosen"], y: Float[np.ndarray, " chosen"], penalty: float
) -> Float[np.ndarray, " pairs"]:
    """Image and text main effects of the chosen pairs by ridge regression, evaluated at every pair.

    Args:
        grid: Encoders of every pair.
        chosen: Positions with a value.
        y: Their values.
        penalty: Pulls effects to zero: like so many more observations of the mean for every encoder.
    """
    columns = np.concatenate(
        [np.eye(grid[:, 0].max() + 1)[grid[:, 0]], np.eye(grid[:, 1].max() + 1)[grid[:, 1]]], axis=1
    )
    mean = y.mean()
    x = columns[chosen]
    normal = x.T @ x + penalty * np.eye(x.shape[1])
    # The intercept is the mean; what the effects leave of it is fitted in a second column below.
    augmented = np.block([[normal, x.sum(0)[:, None]], [x.sum(0)[None, :], np.array([[float(len(y))]])]])
    solution = np.linalg.lstsq(augmented, np.concatenate([x.T @ (y - mean), [0.0]]), rcond=None)[0]
    return mean + solution[-1] + columns @ solution[:-1]


def low_rank_rest(
    grid: Grid,
    chosen: Int64[np.ndarray, " chosen"],
    rest: Float[np.ndarray, " chosen"],
    *,
    rank: int,
    penalty: float,
    seed: int,
    sweeps: int = 200,
) -> Float[np.ndarray, " pairs"]:
    """Complete a matrix of residuals by ``U V'`` of a rank: alternating ridge regressions from a random start.

    Minimises ``sum_chosen (rest - u_i . v_t)^2 + penalty (|U|^2 + |V|^2)``.

    Args:
        grid: Encoders of every pair.
        chosen: Positions with a residual.
        rest: Residuals.
        rank: Columns of U and V.
        penalty: Keeps unsupported entries at zero.
        seed: Of the start.
        sweeps: Alternations.
    """
    rng = stream(seed, "low rank")
    spread = np.sqrt(max(float(np.abs(rest).max(initial=0.0)), 1e-12))
    factors = [spread * rng.standard_normal((int(n) + 1, rank)) for n in grid.max(axis=0)]
    for _ in range(sweeps):
        for side in (0, 1):
            other = factors[1 - side][grid[chosen, 1 - side]]
            for row in range(len(factors[side])):
                mine = grid[chosen, side] == row
                gram = other[mine].T @ other[mine] + penalty * np.eye(rank)
                factors[side][row] = np.linalg.solve(gram, other[mine].T @ rest[mine])
    return np.einsum("pr,pr->p", factors[0][grid[:, 0]], factors[1][grid[:, 1]])


@dataclass(frozen=True, kw_only=True)
class Cover(Recipe):
    """What both completions share: the design, its training, and the scale of the prediction.

    Attributes:
        trained: Pairs to train; None: what the method needs at least.
        penalty: Ridge penalty on the main effects.
    """

    trained: Annotated[int, Field(gt=0)] | None = None
    penalty: Annotated[float, Field(ge=0)] = 0.05

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        refuse_shared(self.tune)

    @abstractmethod
    def predict(
        self, grid: Grid, chosen: Int64[np.ndarray, " chosen"], y: Float[np.ndarray, " chosen"], seed: int
    ) -> Float[np.ndarray, " pairs"]:
        """Values of all pairs from those of the chosen ones, on the scale where effects add."""

    @abstractmethod
    def default_count(self, sizes: Sizes) -> int:
        """Pairs to train when the sweep file does not say."""

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train the design, predict the rest."""
        pairs, chosen = problem.pairs, design(problem.pairs, self._count(problem.sizes), seed)
        ape = self._ape()
        fits: dict[Pair, Fit] = {}
        for number, position in enumerate(chosen):
            pair = pairs[position]
            alone = replace(problem, sizes=replace(problem.sizes, pairs=(pair,)))
            before = number

            def reported(step: int, steps: int, before: int = before) -> None:
                progress(before * steps + step, len(chosen) * steps)

            fits[pair] = ape.fit(alone, budget.shared_by(len(chosen)), seed=seed, progress=reported)
            if fits[pair].diverged:
                break
        done = list(fits.values())
        tunings = [fit.tuning for fit in done if fit.tuning]
        common = Fit(
            scores={},
            ledger=problem.ledger,
            batch_size=self.batch_size,
            pairs_per_step=1,
            updates_per_pair=sum(fit.updates_per_pair for fit in done) / len(pairs),
            samples_per_pair=sum(fit.samples_per_pair for fit in done) / len(pairs),
            trained_params=sum(fit.trained_params for fit in done),
            diverged=done[-1].diverged,
            warnings=tuple(dict.fromkeys(note for fit in done for note in fit.warnings)),
            tuning=Tuning(
                tried=self.rates,
                picked={pair: lr for own in tunings for pair, lr in own.picked.items()},
                flops=sum(own.flops for own in tunings),
            ),
        )
        if common.diverged:
            return common
        measured = np.array([fits[pairs[p]].scores[pairs[p]] for p in chosen])
        y, shares = link(measured)
        predicted = unlink(self.predict(grid_of(pairs), np.array(chosen, dtype=np.int64), y, seed), shares)
        scores = dict(zip(pairs, predicted.tolist(), strict=True))
        scores |= {pairs[p]: float(score) for p, score in zip(chosen, measured, strict=True)}
        return replace(
            common,
            scores=scores,
            connectors={pair: fit.connectors[pair] for pair, fit in fits.items() if fit.connectors},
            predicted=frozenset(pairs) - frozenset(fits),
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form: the mean over all pairs stands for the pairs of the design, which depends on the seed."""
        count = self._count(sizes)
        ape = self._ape()
        each = [ape.estimate(replace(sizes, pairs=(pair,)), budget.shared_by(count)) for pair in sizes.pairs]
        share = count / len(sizes.pairs)
        phases = dict.fromkeys(phase for estimate in each for phase in estimate.flops)
        return Estimate(
            flops={phase: share * sum(e.flops.get(phase, 0.0) for e in each) for phase in phases},
            updates_per_pair=share * sum(e.updates_per_pair for e in each) / len(each),
            trained_params=round(share * sum(e.trained_params for e in each)),
        )

    def _ape(self) -> Ape:
        """What trains each pair of the design."""
        return Ape(**{field.name: vars(self)[field.name] for field in fields(Recipe)})

    def _count(self, sizes: Sizes) -> int:
        least, most = cover_size(sizes.pairs), len(sizes.pairs)
        count = min(self.default_count(sizes), most) if self.trained is None else self.trained
        if not least <= count <= most:
            raise HarnessError(
                f"trained is {count}; this grid takes {least} pairs to connect all encoders and has {most}",
                fix=f"set trained to between {least} and {most}",
            )
        return count


@dataclass(frozen=True, kw_only=True)
class Additive(Cover):
    """Image and text main effects on the logit of the validation score; by default the smallest design, N + M - 1."""

    def default_count(self, sizes: Sizes) -> int:
        """N + M - 1."""
        return cover_size(sizes.pairs)

    def predict(
        self, grid: Grid, chosen: Int64[np.ndarray, " chosen"], y: Float[np.ndarray, " chosen"], seed: int
    ) -> Float[np.ndarray, " pairs"]:
        """Main effects."""
        del seed
        return main_effects(grid, chosen, y, self.penalty)


@dataclass(frozen=True, kw_only=True)
class LowRankCompletion(Cover):
    """Main effects and a completed low-rank matrix of what they leave; by default (rank + 1) (N + M - 1) pairs.

    Attributes:
        rank: Of the rest.
        rest_penalty: Ridge penalty of the alternating regressions.
    """

    rank: Annotated[int, Field(ge=1)] = 1
    rest_penalty: Annotated[float, Field(gt=0)] = 0.1

    def default_count(self, sizes: Sizes) -> int:
        """(rank + 1) (N + M - 1)."""
        return (self.rank + 1) * cover_size(sizes.pairs)

    def predict(
        self, grid: Grid, chosen: Int64[np.ndarray, " chosen"], y: Float[np.ndarray, " chosen"], seed: int
    ) -> Float[np.ndarray, " pairs"]:
        """Main effects and the rest."""
        effects = main_effects(grid, chosen, y, self.penalty)
        rest = low_rank_rest(grid, chosen, y - effects[chosen], rank=self.rank, penalty=self.rest_penalty, seed=seed)
        return effects + rest
