"""The closed form, polished: a few gradient steps on the real objective, from where the spectral map stands."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from baselines.polishing import polish, polish_estimate
from baselines.spectral import Penalties, Rows, Spectral
from baselines.whitening import Captions
from harness.contract.budget import Budget
from harness.contract.connector import Connector, as_connector
from harness.contract.fit import Checkpoint, Estimate, Fit, Progress
from harness.contract.method import Promise
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.training.recipe import Rates, Recipe

LEAST_STEPS, SHARE_OF_EPOCH = 12, 0.4
"""Steps that are enough for any bank, and for a large one. Picked on the validation data of small and large worlds."""


@dataclass(frozen=True, kw_only=True)
class Polished(Recipe):
    """AdamW from the spectral map; what validation likes better is kept.

    All pairs are trained together, as by ``ape_stacked``, or only those that the closed form scores best. The learning
    rate is relative to the size of the starting weights, so that it need not be tuned. The budget is ``updates``; an
    MLP starts at the linear map. A pair that does not gain keeps the closed form.

    Attributes:
        lr: Peak change of a weight per step, relative to the root mean square of its layer's.
        updates: Steps; 0: the closed form. None: 12, or two fifths of an epoch where that is more: the more rows there
            are, the further the closed form is behind what a long training reaches.
        only: Pairs to polish, the best of the closed form; None: all.
        rows: As in ``spectral``, as are the following.
        captions: See there.
        penalties: See there.
    """

    lr: Rates = 2e-2
    updates: Annotated[int, Field(ge=0)] | None = None
    only: Annotated[int, Field(gt=0)] | None = None
    rows: Rows = 4096
    captions: Captions = "mean"
    penalties: Annotated[tuple[Penalties, ...], Field(min_length=1)] | None = None

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 2
    recommended_for: ClassVar[tuple[Promise, ...]] = ("all",)
    smoke: ClassVar[Mapping[str, int]] = {"updates": 2}
    without_budget: ClassVar[Literal[True]] = True

    @property
    def closed_form(self) -> Spectral:
        """Where it starts."""
        return Spectral(rows=self.rows, captions=self.captions, penalties=self.penalties)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """The closed form of all pairs, and the polish of all or the best."""
        began, sign = time.perf_counter(), 1.0 if problem.higher_is_better else -1.0
        start = self.closed_form.fit(problem, budget, seed=seed, progress=progress)
        if not (steps := self.steps(problem.sizes)):
            return start
        before = point_of(problem, start.scores, self.batch_size, began)
        best = sorted(problem.pairs, key=lambda pair: -sign * start.scores[pair])[: self.only]
        connectors = {pair: as_connector(made) for pair, made in (start.connectors or {}).items()}
        starts = {pair: connectors[pair] for pair in problem.pairs if pair in best}
        end = polish(problem, self, starts, steps, seed=seed, progress=progress)
        updates = steps * len(starts) / len(problem.pairs)
        return better_of(problem, start, end, before, began, steps=steps, updates=updates, tried=len(starts))

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending; exact unless ``only`` picks pairs, for which the mean over all stands."""
        start = self.closed_form.estimate(sizes, budget)
        if not (steps := self.steps(sizes)):
            return start
        share = min(1.0, (self.only or len(sizes.pairs)) / len(sizes.pairs))
        return added(start, polish_estimate(sizes, self, steps), share)

    def steps(self, sizes: Sizes) -> int:
        """Updates of each pair that is polished."""
        if self.updates is not None:
            return self.updates
        return max(LEAST_STEPS, round(SHARE_OF_EPOCH * sizes.train_images / self.batch_size))


def gains(before: Mapping[Pair, float], end: Fit, higher_is_better: bool) -> dict[Pair, Connector]:
    """Connectors of those pairs whose score has become better."""
    sign = 1.0 if higher_is_better else -1.0
    made = {pair: as_connector(connector) for pair, connector in (end.connectors or {}).items()}
    return {pair: made[pair] for pair, score in end.scores.items() if sign * score > sign * before[pair]}


def added(start: Estimate, more: Estimate, share: float = 1.0) -> Estimate:
    """What both spend together, the second with this share of the pairs."""
    flops = dict(start.flops)
    for phase, spent in more.flops.items():
        flops[phase] = flops.get(phase, 0.0) + share * spent
    return Estimate(flops, start.updates_per_pair + share * more.updates_per_pair, round(share * more.trained_params))


def better_of(
    problem: Problem, start: Fit, end: Fit, before: Checkpoint, began: float, *, steps: int, updates: float, tried: int
) -> Fit:
    """What comes of training on from the closed form: each pair keeps what validation likes better.

    Args:
        problem: Whose ledger both have booked to.
        start: The closed form.
        end: What the training came to, of all pairs or some.
        before: The point of the curve before it.
        began: When the fit began, by ``time.perf_counter``.
        steps: Of the training.
        updates: Updates per pair, the mean over all pairs of the problem.
        tried: Pairs that were trained.
    """
    gained = gains(start.scores, end, problem.higher_is_better)
    scores = {**start.scores, **{pair: end.scores[pair] for pair in gained}}
    after = point_of(problem, scores, end.batch_size or 1, began, steps, updates)
    return replace(
        end,
        scores=scores,
        connectors={**(start.connectors or {}), **gained},
        ledger=problem.ledger,
        curve=(before, after),
        updates_per_pair=after.updates_per_pair,
        samples_per_pair=after.samples_per_pair,
        diverged=None,
        lost={},
        warnings=(*end.warnings, *_notes(end, tried, len(gained))),
    )


def _notes(end: Fit, tried: int, gained: int) -> Sequence[str]:
    lost = [f"polishing broke down: {end.diverged}"] if end.diverged else []
    kept = [f"{tried - gained} of {tried} pairs did not gain and kept the closed form"] if gained < tried else []
    return lost + kept


def point_of(
    problem: Problem,
    scores: Mapping[Pair, float],
    batch_size: int,
    began: float,
    step: int = 0,
    updates: float = 0.0,
) -> Checkpoint:
    """A point of the curve as things stand now; see ``better_of`` for the arguments."""
    return Checkpoint(
        step=step,
        epoch=updates / problem.sizes.steps_per_epoch(batch_size),
        updates_per_pair=updates,
        samples_per_pair=updates * batch_size,
        flops=problem.ledger.total,
        seconds=time.perf_counter() - began,
        scores=scores,
    )
