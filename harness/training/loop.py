"""The training loop: steps of AdamW, scored on validation data at geometric checkpoints."""

import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch

from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Checkpoint, Fit, Progress
from harness.contract.flops import adamw_step
from harness.contract.pairs import Pair
from harness.contract.problem import Problem
from harness.contract.split import Batch
from harness.errors import Diverged
from harness.training.collapse import collapsed
from harness.training.counting import StepCounter, estimate_training
from harness.training.divergence import Health
from harness.training.recipe import Recipe
from harness.training.resumption import restore, saved
from harness.training.schedule import UNREPRODUCIBLE, Horizon, check_rung, is_checkpoint, steps_at
from harness.training.trainee import Trainee

PAIRS_AT_ONCE = 16
"""Pairs whose connectors are generated at once for scoring: the weights of a large grid do not fit in memory twice."""


def train(problem: Problem, budget: Budget, recipe: Recipe, trainee: Trainee, *, seed: int, progress: Progress) -> Fit:
    """AdamW on the loss of each step's pairs, scored on validation data at geometric checkpoints.

    A gradient or weight that is not finite ends the training, and connectors that are at chance after it have
    collapsed: the Fit then carries ``diverged``. Where pairs are trained independently it ends that of its pair only,
    which is ``lost``, until none is left. Under ``problem.rung`` training goes on where the rung before left off
    and stops at this rung's budget, with the batches and the learning rates that an uninterrupted training of the whole
    budget has at the same steps.

    Returns:
        The Fit, with the connectors and scores of the last checkpoint.
    """
    training = Training(problem, budget, recipe, trainee)
    batches = problem.batches(recipe.batch_size, seed, shuffle=trainee.shuffle)
    samples = zip(trainee.pair_sampler, batches, strict=False)
    first = training.done_before
    for step, (pairs, batch) in enumerate(itertools.islice(samples, first, None), start=first + 1):
        if not training.step(step, pairs, batch):
            break
        progress(step, training.last or training.horizon.expected(step))
        ended = step == training.last or training.horizon.over()
        own = ended or training.scores_after(step)
        if (own or step in training.asked_for) and not training.score(step, beside=not own):
            break
        if ended:
            training.look_for_collapse(step)
            break
    return training.fit()


@dataclass
class Training:
    """One training as it goes on.

    Attributes:
        problem: What is trained on.
        budget: Of the whole training.
        recipe: Its settings.
        trainee: What is trained.
        curve: Checkpoints so far.
        made: Connectors of the last checkpoint.
        warnings: What a reader should know.
    """

    problem: Problem
    budget: Budget
    recipe: Recipe
    trainee: Trainee
    curve: list[Checkpoint] = field(default_factory=list)
    made: Mapping[Pair, Connector] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        sizes, rung, recipe = self.problem.sizes, self.problem.rung, self.recipe
        self.trained = self.trainee.trained
        self.params = sum(p.numel() for p in self.trained)
        self.share = self.trainee.pairs_per_step / len(sizes.pairs)
        self.per_epoch = sizes.steps_per_epoch(recipe.batch_size)
        by_clock = self.budget.seconds is not None
        self.horizon = Horizon(self.budget.seconds, None if by_clock else self._steps_of(self.budget))
        self.last = min(self._steps_of(rung.budget), self.horizon.steps or 1) if rung else self.horizon.steps
        self.optimizer = torch.optim.AdamW(
            self.trainee.groups(recipe), betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.done_before = restore(rung.state, self.trained, self.optimizer) if rung and rung.state else 0
        check_rung(self.done_before, self.last)
        self.counter = StepCounter(sizes, recipe.batch_size, self.trainee.kind)
        self.health = Health(sizes.pairs, self.trainee.independent)
        self.asked_for = frozenset() if rung else steps_at(self.problem.ends, self.share)
        if by_clock:
            self.warnings.append(UNREPRODUCIBLE)

    def _steps_of(self, budget: Budget) -> int:
        spent = estimate_training(
            self.problem.sizes,
            budget,
            self.recipe,
            pairs_per_step=self.trainee.pairs_per_step,
            parameters=self.params - self._objective_params(),
            hypernet_step=self.trainee.hypernet_step,
            kind=self.trainee.kind,
        )
        return round(spent.updates_per_pair / self.share)

    def _objective_params(self) -> int:
        sizes = self.problem.sizes
        return sizes.objective.trained_params(len(sizes.pairs), self.recipe.logit_scale)

    def step(self, step: int, pairs: Sequence[Pair], batch: Batch) -> bool:
        """One update. Whether the training may go on."""
        ledger, recipe = self.problem.ledger, self.recipe
        with ledger.section("train"):
            share_spent = self.horizon.share(step)
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = recipe.rate(share_spent, peak)
            self.optimizer.zero_grad(set_to_none=True)
            booked = self.counter.run(pairs, lambda: self.trainee.backward(recipe, self.problem.device, pairs, batch))
            for phase, flops in (booked | {"optimizer": adamw_step(self.params)}).items():
                ledger.add(phase, flops)
            norms = self.trainee.clip(recipe.clip if recipe.clip else math.inf)
            training_on = len(pairs) - len(self.health.lost)
            ledger.updates += training_on
            ledger.samples += training_on * recipe.batch_size
            if not self.health.fine_gradients(step, norms):
                return False
            self.optimizer.step()
        return True

    def scores_after(self, step: int) -> bool:
        """Whether a checkpoint inside the training falls on this step. A rung is scored at its end only."""
        return not self.problem.rung and is_checkpoint(step, self.per_epoch / self.share)

    def score(self, step: int, *, beside: bool = False) -> bool:
        """Score every pair's connector as it is now. Whether the training may go on.

        Args:
            step: The step that is done.
            beside: The harness asks for it (``Problem.ends``): it stands beside the method's total.
        """
        with self.problem.ledger.beside() if beside else nullcontext():
            scores = self._scores(step)
        if scores is None:
            return False
        updates = step * self.share
        self.curve.append(
            Checkpoint(
                step=step,
                epoch=step / self.per_epoch,
                updates_per_pair=updates,
                samples_per_pair=updates * self.recipe.batch_size,
                flops=self.problem.ledger.total,
                seconds=self.horizon.elapsed(),
                scores=scores,
            )
        )
        return True

    def _scores(self, step: int) -> Mapping[Pair, float] | None:
        """Every pair's score, or None where the training ends because a connector is broken."""
        pairs = self.problem.pairs
        at_once = max(PAIRS_AT_ONCE, self.trainee.pairs_per_step)
        if self.trainee.generation:
            self.problem.ledger.add("hypernet", self.trainee.generation)
        made: dict[Pair, Connector] = {}
        with torch.no_grad():
            for start in range(0, len(pairs), at_once):
                part = self.trainee.connectors(pairs[start : start + at_once])
                made |= {pair: connector.frozen() for pair, connector in part.items()}
        if not self.health.fine_connectors(step, made):
            self.made = made
            return None
        self.made = {pair: connector for pair, connector in made.items() if pair not in self.health.lost}
        return {pair: self.problem.score(pair, connector) for pair, connector in self.made.items()}

    def look_for_collapse(self, step: int) -> None:
        """At the end of the whole training: are the connectors at chance?"""
        if self.problem.rung and step != self.horizon.steps:
            return
        # Checkpoints that other methods asked for do not decide: a cell ends alike whatever else is in the sweep.
        own = [point for point in self.curve[:-1] if self.scores_after(point.step)]
        before = [sum(point.scores.values()) / len(point.scores) for point in own]
        reason, notes = collapsed(self.problem, self.curve[-1].scores, self.made, step * self.share, before)
        if reason:
            self.health.diverged = Diverged(step, reason)
        self.warnings += notes

    def fit(self) -> Fit:
        """What the training has come to."""
        ledger, health = self.problem.ledger, self.health
        done = self.done_before * self.share + ledger.updates / len(self.problem.pairs)
        goes_on = self.problem.rung and self.last != self.horizon.steps and not health.diverged
        return Fit(
            scores=self.curve[-1].scores if self.curve else {},
            connectors=dict(self.made) or None,
            curve=tuple(self.curve),
            ledger=ledger,
            batch_size=self.recipe.batch_size,
            pairs_per_step=self.trainee.pairs_per_step,
            updates_per_pair=done,
            samples_per_pair=done * self.recipe.batch_size,
            trained_params=self.params,
            diverged=health.diverged,
            lost=health.lost,
            warnings=tuple(self.warnings),
            state=saved(self.last or 0, self.trained, self.optimizer) if goes_on else None,
        )
