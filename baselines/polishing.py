"""Training on from linear connectors: stacked like a grid, with rates that are relative to the starting weights."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from baselines.ape import pair_generator
from baselines.narrowed import narrowed, narrowing_flops
from baselines.stacked import Stack, StackedTrainee, stack_of, stacked_trainee
from harness.contract.budget import Budget
from harness.contract.connector import Connector, Dims, Factors, StartsAffine, layer_of
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.stopping import Rung
from harness.errors import HarnessError
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Recipe

Start: TypeAlias = tuple[torch.Tensor | Factors, torch.Tensor]
"""Map and bias that a connector starts at."""


@dataclass(frozen=True, kw_only=True)
class RelativeRates(StackedTrainee):
    """Stacks whose learning rate is relative: to the root mean square of each layer's weights at the start."""

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """One group per stack and layer, and one for what the objectives own."""
        found: list[dict[str, Any]] = []
        for stack in self.stacks:
            layers: dict[str, list[torch.Tensor]] = {}
            for name, tensor in stack.connector.tensors.items():
                layers.setdefault(layer_of(name), []).append(tensor)
            for tensors in layers.values():
                weight = max(tensors, key=torch.Tensor.numel)
                found.append({"params": tensors, "lr": lr * weight.detach().square().mean().sqrt().item()})
            if own := [tensor for objective in stack.objectives for tensor in objective.parameters()]:
                found.append({"params": own, "lr": lr})
        return found


def polish(
    problem: Problem, recipe: Recipe, starts: Mapping[Pair, Connector], updates: int, *, seed: int, progress: Progress
) -> Fit:
    """Train connectors on from linear ones, and score them once, at the end.

    Args:
        problem: Of these pairs, and perhaps others; its connector kind is what is trained.
        recipe: Settings; ``lr`` is relative to the size of the starting weights.
        starts: Linear connector of each pair that is to be trained.
        updates: Steps.
        seed: Of the batches, and of what a start leaves open.
        progress: Told of every step.

    Returns:
        Scores and connectors of these pairs after training, better than the starts or not.
    """
    limit, sizes = Budget(updates_per_pair=updates), replace(problem.sizes, pairs=tuple(starts))
    # A rung is scored at its end only.
    own = replace(problem, sizes=sizes, rung=Rung(limit))
    narrow = narrow_pairs(sizes)
    maps = {pair: _start(own, pair, linear, narrow.get(pair)) for pair, linear in starts.items()}
    return train(own, limit, recipe, lambda: _trainee(own, recipe, maps, seed), seed=seed, progress=progress)


def polish_estimate(sizes: Sizes, recipe: Recipe, updates: int) -> Estimate:
    """Closed form of what ``polish`` books for the pairs of these sizes."""
    starting(sizes)
    params = sum(sizes.connector.params(sizes.dims(pair)) for pair in sizes.pairs)
    limit, pairs, rates = Budget(updates_per_pair=updates), len(sizes.pairs), len(recipe.rates)
    spent = estimate_training(sizes, limit, recipe, pairs_per_step=pairs, parameters=params)
    scored = rates * sum(map(sizes.score_flops, sizes.pairs))
    flops = {**spent.flops, "eval": scored}
    if narrowing := sum(narrowing_flops(sizes, pair, rank) for pair, rank in narrow_pairs(sizes).items()):
        flops["solve"] = flops.get("solve", 0.0) + narrowing
    return replace(spent, flops=flops)


def narrow_pairs(sizes: Sizes) -> dict[Pair, int]:
    """Pairs whose map has more directions than the sweep's connectors can start at, and how many these are."""
    most = starting(sizes).largest_rank
    if most is None:
        return {}
    dims = {pair: sizes.dims(pair) for pair in sizes.pairs}
    return {pair: most for pair, shape in dims.items() if min(shape.in_dim, shape.out_dim) > most}


def starting(sizes: Sizes) -> StartsAffine:
    """The sweep's connector kind, which must be able to start at linear maps.

    Raises:
        HarnessError: It is not.
    """
    kind = sizes.connector
    if not isinstance(kind, StartsAffine):
        raise HarnessError(
            f"a {kind.name} connector cannot start at a linear map", fix="polish linear or mlp connectors"
        )
    if kind.largest_rank == 0:
        raise HarnessError(
            f"a {kind.name} connector of one unit cannot start at a linear map", fix="set connector.width to 2 or more"
        )
    return kind


def _start(problem: Problem, pair: Pair, linear: Connector, rank: int | None) -> Start:
    """The map that a pair's connector starts at: through fewer directions where it has room for no more."""
    given = linear.to(problem.device)
    if rank is None:
        return given.tensors["layers.0.weight"], given.tensors["layers.0.bias"]
    with problem.ledger.section("narrowing"):
        return narrowed(problem, pair, given, rank)


def _trainee(problem: Problem, recipe: Recipe, starts: Mapping[Pair, Start], seed: int) -> RelativeRates:
    kind, sizes = starting(problem.sizes), problem.sizes
    groups: dict[Dims, list[Pair]] = {}
    for pair in sizes.pairs:
        groups.setdefault(sizes.dims(pair), []).append(pair)
    stacks: list[Stack] = []
    for pairs in groups.values():
        tensors = []
        for pair in pairs:
            own = kind.from_affine(*starts[pair], pair_generator(seed, pair))
            tensors.append({name: tensor.to(recipe.dtype) for name, tensor in own.items()})
        stacks.append(stack_of(problem, recipe, pairs, tensors, None))
    return RelativeRates(**vars(stacked_trainee(problem, stacks)))
