"""The training loop: steps of AdamW, scored on validation data at geometric checkpoints, at one rate or several."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch

from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Checkpoint, Fit, Progress, Tuning
from harness.contract.flops import adamw_step
from harness.contract.pairs import Pair
from harness.contract.problem import Problem
from harness.contract.split import Batch
from harness.errors import Diverged
from harness.training.collapse import collapsed
from harness.training.course import Course
from harness.training.divergence import Health, Norms
from harness.training.recipe import Recipe
from harness.training.resumption import of_rate, restore, saved
from harness.training.schedule import UNREPRODUCIBLE, check_rung
from harness.training.trainee import Trainee
from harness.training.tuning import best_of

PAIRS_AT_ONCE = 16
"""Pairs whose connectors are generated at once for scoring: the weights of a large grid do not fit in memory twice."""


def train(
    problem: Problem, budget: Budget, recipe: Recipe, fresh: Callable[[], Trainee], *, seed: int, progress: Progress
) -> Fit:
    """AdamW on the loss of each step's pairs, scored on validation data at geometric checkpoints.

    With several learning rates every rate trains something fresh over the same batches, each of which is read once,
    and ``harness.training.tuning`` says which rate a pair keeps.

    A gradient or weight that is not finite ends the training at its rate, and connectors that are at chance after it
    have collapsed: the Fit then carries ``diverged``, unless another rate is left. Where pairs are trained
    independently it ends that of its pair only, which is ``lost``, until none is left. Under ``problem.rung`` training
    goes on where the rung before left off and stops at this rung's budget, with the batches and the learning rates that
    an uninterrupted training of the whole budget has at the same steps.

    Args:
        problem: What is trained on.
        budget: When to stop.
        recipe: Settings.
        fresh: Makes what is trained, the same at every call.
        seed: Of the batches.
        progress: Told of every step.

    Returns:
        The Fit, with the connectors and scores of the last checkpoint.
    """
    trainees = [fresh() for _ in recipe.rates]
    course = Course(problem, budget, recipe, trainees[0])
    trainings = [
        Training(replace(problem, ledger=problem.ledger.part()), course, recipe, trainee, lr)
        for trainee, lr in zip(trainees, recipe.rates, strict=True)
    ]
    running = [training for training in trainings if not training.health.diverged]
    first = max(training.done_before for training in trainings)
    check_rung(first, course.last)
    batches = problem.batches(recipe.batch_size, seed, shuffle=trainees[0].shuffle)
    samples = zip(trainees[0].pair_sampler, batches, strict=False)
    for step, (pairs, batch) in enumerate(itertools.islice(samples, first, None), start=first + 1):
        spent = course.horizon.share(step)
        running = [training for training in running if training.step(step, spent, pairs, batch)]
        if not running:
            break
        progress(step, course.last or course.horizon.expected(step))
        ended = course.ends_with(step)
        own = ended or course.scores_after(step)
        if own or step in course.asked_for:
            running = [training for training in running if training.score(step, beside=not own)]
        if ended:
            for training in running:
                training.look_for_collapse(step)
            break
    fits = {training.lr: training.fit() for training in trainings}
    return best_of(fits, problem, shared=recipe.tune == "shared")


@dataclass
class Training:
    """One training as it goes on, at one learning rate.

    Attributes:
        problem: What is trained on, with a ledger of this training's own.
        course: Its steps.
        recipe: Its settings.
        trainee: What is trained.
        lr: Its peak learning rate.
        curve: Checkpoints so far.
        made: Connectors of the last checkpoint.
        warnings: What a reader should know.
    """

    problem: Problem
    course: Course
    recipe: Recipe
    trainee: Trainee
    lr: float
    curve: list[Checkpoint] = field(default_factory=list)
    made: Mapping[Pair, Connector] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        recipe, rung = self.recipe, self.problem.rung
        self.trained = self.trainee.trained
        self.params = sum(p.numel() for p in self.trained)
        self.optimizer = torch.optim.AdamW(
            self.trainee.groups(self.lr), betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.health, self._norms = Health(self.problem.pairs, self.trainee.independent), Norms()
        self.done_before = 0
        if rung and rung.state:
            state = of_rate(rung.state, self.lr, recipe.rates)
            if state is None:
                self.health.diverged = Diverged(0, "at an earlier rung")
            else:
                self.done_before = restore(state, self.trained, self.optimizer)
        if self.course.last is None:
            self.warnings.append(UNREPRODUCIBLE)

    def step(self, step: int, spent: float, pairs: Sequence[Pair], batch: Batch) -> bool:
        """One update, when this share of the training is over. Whether the training may go on."""
        ledger, recipe = self.problem.ledger, self.recipe
        with ledger.section("train"):
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = recipe.rate(spent, peak)
            self.optimizer.zero_grad(set_to_none=True)
            booked = self.course.counter.run(
                pairs, lambda: self.trainee.backward(recipe, self.problem.device, pairs, batch), batch
            )
            for phase, flops in (booked | {"optimizer": adamw_step(self.params)}).items():
                ledger.add(phase, flops)
            norms = self.trainee.clip(recipe.clip if recipe.clip else math.inf)
            if self._norms.keep(step, len(pairs), norms) and not self._fine_so_far():
                return False
            self.optimizer.step()
        return True

    def _fine_so_far(self) -> bool:
        """Whether the training may go on, by the gradients since the last reading.

        Updates are booked here, so that those after a breakdown do not count, however late it was read. Their FLOPs
        do: they were spent.
        """
        for step, pairs, norms in self._norms.read():
            self.problem.ledger.add_updates(pairs - len(self.health.lost), self.recipe.batch_size)
            if not self.health.fine_gradients(step, norms):
                return False
        return True

    def score(self, step: int, *, beside: bool = False) -> bool:
        """Score every pair's connector as it is now. Whether the training may go on.

        Args:
            step: The step that is done.
            beside: The harness asks for it (``Problem.ends``): it stands beside the method's total.
        """
        if not self._fine_so_far():
            return False
        with self.problem.ledger.beside() if beside else nullcontext():
            scores = self._scores(step)
        if scores is None:
            return False
        updates = step * self.course.share
        self.curve.append(
            Checkpoint(
                step=step,
                epoch=step / self.course.per_epoch,
                updates_per_pair=updates,
                samples_per_pair=updates * self.recipe.batch_size,
                flops=self.problem.ledger.total,
                seconds=self.course.horizon.elapsed(),
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
        if self.problem.rung and step != self.course.horizon.steps:
            return
        # Checkpoints that other methods asked for do not decide: a cell ends alike whatever else is in the sweep.
        own = [point for point in self.curve[:-1] if self.course.scores_after(point.step)]
        before = [sum(point.scores.values()) / len(point.scores) for point in own]
        updates = step * self.course.share
        reason, notes = collapsed(self.problem, self.curve[-1].scores, self.made, updates, before)
        if reason:
            self.health.diverged = Diverged(step, reason)
        self.warnings += notes

    def fit(self) -> Fit:
        """What the training has come to."""
        ledger, health, course = self.problem.ledger, self.health, self.course
        done = self.done_before * course.share + ledger.updates / len(self.problem.pairs)
        goes_on = self.problem.rung and course.last != course.horizon.steps and not health.diverged
        made = {pair: self.trainee.own_rates.get(pair, self.lr) for pair in self.made}
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
            tuning=Tuning(tried=(self.lr,), picked=made),
            state=saved(course.last or 0, self.trained, self.optimizer) if goes_on else None,
        )
