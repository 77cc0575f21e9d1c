"""The closed form, polished: a few gradient steps on the real objective, from where the spectral map stands."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from baselines.ape import pair_generator
from baselines.spectral import Penalties, Rows, Spectral
from baselines.stacked import Stack, StackedTrainee
from baselines.thin import (
    projection_flops,
    thin_problem,
    thin_sizes,
    thinning_flops,
    widening_flops,
)
from baselines.whitening import Captions
from harness.connectors.linear import Linear
from harness.contract.budget import Budget
from harness.contract.connector import Connector, ConnectorKind, Dims, StartsAffine, layer_of
from harness.contract.fit import Checkpoint, Estimate, Fit, Progress
from harness.contract.method import Promise
from harness.contract.objective import FitsScale, Objective, StackedObjective
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.stopping import Rung
from harness.errors import HarnessError
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Rates, Recipe

Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class PolishTrainee(StackedTrainee):
    """Stacks whose learning rate is relative: to the root mean square of each layer's weights at the start."""

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """One group per stack and layer, and one for what the objectives own."""
        found: list[dict[str, Any]] = []
        for stack in self.stacks:
            layers: dict[str, list[torch.Tensor]] = {}
            for name, tensor in stack.connector.tensors.items():
                layers.setdefault(layer_of(name), []).append(tensor)
            for tensors in layers.values():
                largest = max(tensors, key=torch.Tensor.numel)
                found.append({"params": tensors, "lr": lr * largest.detach().square().mean().sqrt().item()})
            if own := [tensor for objective in stack.objectives for tensor in objective.parameters()]:
                found.append({"params": own, "lr": lr})
        return found


@dataclass(frozen=True, kw_only=True)
class Polished(Recipe):
    """AdamW from the spectral map, in the directions that it uses; what validation likes better is kept.

    All pairs are trained together, as by ``ape_stacked``, or only those that the closed form scores best. The learning
    rate is relative to the size of the starting weights. Temperatures start where they suit the closed form. The
    budget is ``updates``; an MLP starts at the linear map. A pair that does not gain keeps the closed form.

    Attributes:
        lr: Peak change of a weight per step, relative to the root mean square of its layer's.
        updates: Steps.
        only: Pairs to polish, the best of the closed form; None: all.
        components: Directions of each target space that are trained (see ``baselines.thin``).
        rows: As in ``spectral``, as are the following.
        captions: See there.
        penalties: See there.
    """

    lr: Rates = 2e-2
    updates: Count = 20
    only: Count | None = None
    components: Count = 256
    rows: Rows = 4096
    captions: Captions = "mean"
    penalties: Annotated[tuple[Penalties, ...], Field(min_length=1)] | None = None

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1
    without_budget: ClassVar[Literal[True]] = True
    recommended_for: ClassVar[tuple[Promise, ...]] = ("all",)
    smoke: ClassVar[Mapping[str, int]] = {"updates": 2}

    @property
    def closed_form(self) -> Spectral:
        """Where it starts."""
        return Spectral(rows=self.rows, captions=self.captions, penalties=self.penalties)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """The closed form of all pairs, and the polish of all or the best."""
        began, sign = time.perf_counter(), 1.0 if problem.higher_is_better else -1.0
        start = self.closed_form.fit(problem, budget, seed=seed, progress=progress)
        before = self._point(problem, start.scores, 0.0, time.perf_counter() - began)
        best = sorted(problem.pairs, key=lambda pair: -sign * start.scores[pair])[: self.only]
        made = {pair: _linear(start, pair) for pair in problem.pairs if pair in best}
        end = self.polish(problem, made, seed=seed, progress=progress)
        gained = {pair for pair, score in end.scores.items() if sign * score > sign * start.scores[pair]}
        scores = {**start.scores, **{pair: end.scores[pair] for pair in gained}}
        share = len(made) / len(problem.pairs)
        after = self._point(problem, scores, share * end.updates_per_pair, time.perf_counter() - began)
        kept = len(end.scores) - len(gained)
        note = [f"{kept} of {len(made)} pairs did not gain and kept the closed form"] if kept else []
        lost = [f"polishing broke down: {end.diverged}"] if end.diverged else []
        return replace(
            end,
            scores=scores,
            connectors={**(start.connectors or {}), **{p: c for p, c in (end.connectors or {}).items() if p in gained}},
            ledger=problem.ledger,
            curve=(before, after),
            pairs_per_step=len(made),
            updates_per_pair=after.updates_per_pair,
            samples_per_pair=after.samples_per_pair,
            diverged=None,
            lost={},
            warnings=(*lost, *end.warnings, *note),
        )

    def polish(self, problem: Problem, starts: Mapping[Pair, Connector], *, seed: int, progress: Progress) -> Fit:
        """Train connectors on from linear ones.

        Args:
            problem: Of these pairs, and perhaps others.
            starts: Linear connector of each pair to train.
            seed: Of the batches.
            progress: Told of every step.

        Returns:
            Scores and connectors of these pairs after training, better than the starts or not.
        """
        sizes = replace(problem.sizes, pairs=tuple(starts))
        whole = replace(problem, sizes=sizes)
        on_device = {pair: start.to(problem.device) for pair, start in starts.items()}
        thin = thin_problem(whole, on_device, self._rank(sizes))
        narrow = {pair: thin.narrowed(pair, start) for pair, start in on_device.items()}
        limit = Budget(updates_per_pair=self.updates)
        fitted = train(
            replace(thin, rung=Rung(limit)),  # which is scored at its end only
            limit,
            self,
            lambda: self.trainee(thin, narrow, seed),
            seed=seed,
            progress=progress,
        )
        problem.ledger.add("solve", self._batches(sizes) * projection_flops(sizes, self._rank(sizes), self.batch_size))
        made = {pair: as_made for pair, as_made in (fitted.connectors or {}).items() if isinstance(as_made, Connector)}
        return replace(fitted, connectors={pair: thin.widened(pair, connector) for pair, connector in made.items()})

    def trainee(self, problem: Problem, starts: Mapping[Pair, Connector], seed: int) -> PolishTrainee:
        """Connectors of the sweep's kind that start as linear ones, stacked, their temperatures fitted to a batch.

        Args:
            problem: Of these pairs.
            starts: Linear connectors.
            seed: Of the batch, and of what an MLP's start leaves open.
        """
        kind, sizes = _starting(problem.sizes), problem.sizes
        groups: dict[Dims, list[Pair]] = {}
        for pair in sizes.pairs:
            groups.setdefault(sizes.dims(pair), []).append(pair)
        batch = next(problem.batches(self.batch_size, seed))
        stacks = []
        for pairs in groups.values():
            tensors = []
            for pair in pairs:
                given = starts[pair].tensors
                own = kind.from_affine(given["layers.0.weight"], given["layers.0.bias"], pair_generator(seed, pair))
                tensors.append({name: tensor.to(self.dtype) for name, tensor in own.items()})
            together = self._objective(problem, pairs)
            objectives = [together]
            if not isinstance(together, StackedObjective):
                objectives = [self._objective(problem, [pair]) for pair in pairs]
            stack = Stack(pairs, sizes.connector, tensors, objectives, None)
            if isinstance(together, FitsScale):
                together.fit_scale(stack.connector, pairs, batch)
                for phase, flops in self._scale_flops(replace(sizes, pairs=tuple(pairs))).items():
                    problem.ledger.add(phase, flops)
            stacks.append(stack)
        rows = {pair: (stack, row) for stack in stacks for row, pair in enumerate(stack.pairs)}
        return PolishTrainee(
            connectors=lambda pairs: {pair: rows[pair][0].of(rows[pair][1]) for pair in pairs},
            pair_sampler=itertools.repeat(problem.pairs),
            pairs_per_step=len(problem.pairs),
            stacks=stacks,
            independent=[pair for stack in stacks for pair in stack.pairs],
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending; exact unless ``only`` picks pairs, for which the mean over all stands."""
        start = self.closed_form.estimate(sizes, budget)
        _starting(sizes)
        share = min(1.0, (self.only or len(sizes.pairs)) / len(sizes.pairs))
        rank, rates = self._rank(sizes), len(self.rates)
        thin = thin_sizes(sizes, rank)
        params = sum(sizes.connector.params(thin.dims(pair)) for pair in sizes.pairs)
        limit = Budget(updates_per_pair=self.updates)
        training = estimate_training(thin, limit, self, pairs_per_step=len(sizes.pairs), parameters=params)
        scored = rates * sum(map(sizes.score_flops, sizes.pairs))
        widened = (rates + 1) * sum(widening_flops(sizes, thin, pair) for pair in sizes.pairs)
        read = self._batches(sizes) * projection_flops(sizes, rank, self.batch_size)
        parts = [
            {phase: flops for phase, flops in training.flops.items() if phase != "eval"},
            {phase: rates * flops for phase, flops in self._scale_flops(thin).items()},
            {"eval": scored, "solve": thinning_flops(sizes, rank) + widened + read},
        ]
        total = dict(start.flops)
        for phase, flops in ((phase, flops) for part in parts for phase, flops in part.items()):
            total[phase] = total.get(phase, 0.0) + share * flops
        return Estimate(total, share * self.updates, round(share * training.trained_params))

    def _objective(self, problem: Problem, pairs: Sequence[Pair]) -> Objective:
        return problem.objective(logit_scale=self.logit_scale, dtype=self.dtype, pairs=tuple(pairs))

    def _rank(self, sizes: Sizes) -> int:
        return min(self.components, _starting(sizes).largest_rank or self.components)

    def _batches(self, sizes: Sizes) -> int:
        """Batches that are read: one for each step, and one for the temperatures at each rate."""
        return self.updates + len(self.rates)

    def _scale_flops(self, sizes: Sizes) -> dict[str, float]:
        """Fitting the temperatures of these pairs."""
        objective = sizes.objective
        if not issubclass(objective, FitsScale) or self.logit_scale != "learned":
            return {}
        logits = [
            objective.fit_scale_flops(sizes.dims(pair), pair, self.batch_size, self.logit_scale) for pair in sizes.pairs
        ]
        forward = sum(sizes.connector.forward_flops(sizes.dims(pair), self.batch_size) for pair in sizes.pairs)
        return {"connector": forward, "logits": sum(logits)}

    def _point(self, problem: Problem, scores: Mapping[Pair, float], updates: float, seconds: float) -> Checkpoint:
        return Checkpoint(
            step=self.updates if updates else 0,
            epoch=updates / problem.sizes.steps_per_epoch(self.batch_size),
            updates_per_pair=updates,
            samples_per_pair=updates * self.batch_size,
            flops=problem.ledger.total,
            seconds=seconds,
            scores=scores,
        )


def _starting(sizes: Sizes) -> StartsAffine:
    kind: ConnectorKind = sizes.connector
    if not isinstance(kind, StartsAffine):
        raise HarnessError(
            f"a {kind.name} connector cannot start at a linear map", fix="polish linear or mlp connectors"
        )
    return kind


def _linear(start: Fit, pair: Pair) -> Connector:
    """A pair's closed form."""
    connector = (start.connectors or {})[pair]
    assert isinstance(connector, Connector)
    assert isinstance(connector.kind, Linear)
    return connector
