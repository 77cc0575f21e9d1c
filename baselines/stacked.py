"""APE with stacked parameters: the grid search of all pairs in one training loop, equal shapes computed together."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.ape import pair_generator
from harness.contract.budget import Budget
from harness.contract.connector import Connector, ConnectorKind
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.objective import Objective, StackedObjective
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.registry import near
from harness.contract.split import Batch
from harness.errors import HarnessError
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Positive, Recipe
from harness.training.trainee import Trainee

ENTRIES_IN_CACHE = 2_500_000
"""Numbers that the mapped rows of one stack may hold on the CPU (10 MB): what is larger falls out of the cache between
one element-wise operation and the next."""


class Stack:
    """Connectors of equal shape and learning rate, one pair along the first axis.

    Args:
        pairs: The pairs.
        kind: Their kind.
        tensors: Each pair's fresh tensors.
        objectives: What they minimise: one for all pairs together if it can compute them so, else one for each.
        lr: Their own peak learning rate; None: the recipe's.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        kind: ConnectorKind,
        tensors: Sequence[Mapping[str, Tensor]],
        objectives: Sequence[Objective],
        lr: float | None,
    ) -> None:
        self.pairs, self.objectives, self.lr = tuple(pairs), tuple(objectives), lr
        self._together = isinstance(self.objectives[0], StackedObjective)
        stacked = {name: torch.stack([own[name].detach() for own in tensors]) for name in tensors[0]}
        self.connector = Connector(kind, {name: tensor.requires_grad_() for name, tensor in stacked.items()})

    @property
    def trained(self) -> list[Tensor]:
        """The objectives' parameters and all tensors."""
        of_objectives = [tensor for objective in self.objectives for tensor in objective.parameters()]
        return [*of_objectives, *self.connector.tensors.values()]

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The sum of the pairs' losses, so that each pair's gradient is its own loss's."""
        first = self.objectives[0]
        if isinstance(first, StackedObjective):
            return first.stacked_loss(self.connector, self.pairs, batch).sum()
        each = zip(self.objectives, self.pairs, strict=True)
        return torch.stack([own.loss(self.of(row), pair, batch) for row, (own, pair) in enumerate(each)]).sum()

    def of(self, row: int) -> Connector:
        """One pair's connector, as views."""
        return Connector(self.connector.kind, {name: t[row] for name, t in self.connector.tensors.items()})

    def clip(self, limit: float) -> Float[Tensor, " pairs"]:
        """Clip each pair's gradients on their own, as ``torch.nn.utils.clip_grad_norm_`` would; returns the norms.

        Gradients of a pair whose norm is not finite become zero: it has diverged, and must not touch what is shared.
        """
        grads = self._grads_of_pairs()
        norms = torch.stack([grad.flatten(1).norm(dim=1) if grad.dim() > 1 else grad.abs() for grad in grads])
        total = norms.norm(dim=0)
        factor = (limit / (total + 1e-6)).clamp(max=1.0) if math.isfinite(limit) else torch.ones_like(total)
        gone = ~torch.isfinite(total)
        # Asking a GPU whether there is such a pair would wait for it; on the CPU the answer saves a pass over all.
        any_gone = gone.device.type != "cpu" or bool(gone.any())
        for grad in grads:
            one_each = (-1, *[1] * (grad.dim() - 1))
            if math.isfinite(limit):
                grad.mul_(factor.view(one_each))
            if any_gone:
                grad.masked_fill_(gone.view(one_each), 0.0)
        self._write_back(grads)
        return total

    def _grads_of_pairs(self) -> list[Tensor]:
        """Gradients with the pairs on the first axis; those of each pair's own objective are copies."""
        tensors = [tensor.grad for tensor in self.connector.tensors.values() if tensor.grad is not None]
        if self._together:
            own = [p.grad for p in self.objectives[0].parameters() if p.grad is not None]
        else:
            own = [torch.stack(grads) for grads in self._grads_of_objectives()]
        return [*own, *tensors]

    def _grads_of_objectives(self) -> list[tuple[Tensor, ...]]:
        """Parameter of the pairs' own objectives -> its gradient for each pair."""
        of_pairs = [[p.grad for p in own.parameters() if p.grad is not None] for own in self.objectives]
        return list(zip(*of_pairs, strict=True))

    def _write_back(self, grads: Sequence[Tensor]) -> None:
        """Put the clipped gradients of the pairs' own objectives where they came from."""
        for own, clipped in zip([] if self._together else self._grads_of_objectives(), grads, strict=False):
            for grad, row in zip(own, clipped, strict=True):
                grad.copy_(row)


@dataclass(frozen=True, kw_only=True)
class StackedTrainee(Trainee):
    """All pairs in every step, computed stack by stack.

    Attributes:
        stacks: The pairs' stacks.
    """

    stacks: Sequence[Stack]

    @property
    def trained(self) -> list[Tensor]:
        """The tensors of all stacks."""
        return [tensor for stack in self.stacks for tensor in stack.trained]

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """One group per stack, with its own learning rate if it has one."""
        return [{"params": stack.trained, "lr": stack.lr or lr} for stack in self.stacks]

    def backward(self, recipe: Recipe, device: torch.device, pairs: Sequence[Pair], batch: Batch) -> None:
        """Forward and backward of every pair's own loss."""
        del pairs
        # One stack after another: its activations are freed before the next stack's are made.
        for stack in self.stacks:
            with recipe.autocast(device):
                stack.loss(batch).backward()

    def clip(self, limit: float) -> Tensor:
        """Each pair's gradient norm; see ``Stack.clip``."""
        return torch.cat([stack.clip(limit) for stack in self.stacks])


@dataclass(frozen=True, kw_only=True)
class ApeStacked(Recipe):
    """What ``ape`` computes, all pairs at once: the same initial weights, batches, losses, clipping and updates.

    FLOPs are ape's; what it saves is wall-clock: one read of each batch for all pairs, and few large kernels in the
    place of many small ones. All pairs lie in memory together, with their gradients and moments. A pair that
    diverges is lost alone; it costs its FLOPs to the end.

    Attributes:
        lrs: Peak learning rates that differ from ``lr``: of a pair (``"image id + text id"``), or of all pairs of an
            encoder (its id). A pair's own goes before its text encoder's, that before its image encoder's.
    """

    lrs: Mapping[str, Positive] = field(default_factory=dict)

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 2
    pairs_alone: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        if self.lrs and len(self.rates) > 1:
            raise ValueError("lrs gives pairs rates of their own, and lr several to pick from; give one of them")

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all pairs."""
        return train(problem, budget, self, lambda: self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> StackedTrainee:
        """All pairs' fresh connectors, stacked."""
        stacks = [
            self._stack(problem, part, lr, seed)
            for pairs, lr in self._grouped(problem.sizes)
            for part in self._in_cache(problem, pairs)
        ]
        return stacked_trainee(problem, stacks)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending: the sum of ape's cells."""
        self._grouped(sizes)
        params = sum(sizes.connector.params(sizes.dims(pair)) for pair in sizes.pairs)
        return estimate_training(sizes, budget, self, pairs_per_step=len(sizes.pairs), parameters=params)

    def _in_cache(self, problem: Problem, pairs: Sequence[Pair]) -> list[Sequence[Pair]]:
        """Pairs of equal shape in stacks that the CPU's cache holds; all in one on a GPU."""
        if problem.device.type != "cpu":
            return [pairs]
        of_pair = self.batch_size * problem.sizes.dims(pairs[0]).out_dim
        at_once = max(1, ENTRIES_IN_CACHE // of_pair)
        return [pairs[start : start + at_once] for start in range(0, len(pairs), at_once)]

    def _stack(self, problem: Problem, pairs: Sequence[Pair], lr: float | None, seed: int) -> Stack:
        kind, sizes = problem.sizes.connector, problem.sizes
        tensors = [
            kind.init(sizes.dims(pair), pair_generator(seed, pair), device=problem.device, dtype=self.dtype)
            for pair in pairs
        ]
        return stack_of(problem, self, pairs, tensors, lr)

    def _grouped(self, sizes: Sizes) -> list[tuple[list[Pair], float | None]]:
        """Pairs of equal shape and learning rate, and that rate where it is their own."""
        names = {name for pair in sizes.pairs for name in _names(pair)}
        for name in self.lrs:
            if name not in names:
                raise HarnessError(f"lrs names {name!r}, which is no pair or encoder here", fix=near(name, names))
        groups: dict[Any, list[Pair]] = {}
        for pair in sizes.pairs:
            lr = next((self.lrs[name] for name in _names(pair) if name in self.lrs), None)
            groups.setdefault((sizes.dims(pair), lr), []).append(pair)
        return [(pairs, lr) for (_, lr), pairs in groups.items()]


def stack_of(
    problem: Problem, recipe: Recipe, pairs: Sequence[Pair], tensors: Sequence[Mapping[str, Tensor]], lr: float | None
) -> Stack:
    """A stack of these pairs, whose connectors start with these tensors, with fresh objectives.

    Args:
        problem: Theirs.
        recipe: How they are trained.
        pairs: Pairs of one shape.
        tensors: Of each.
        lr: Their own peak learning rate; None: the recipe's.
    """

    def objective(of: Sequence[Pair]) -> Objective:
        return problem.objective(logit_scale=recipe.logit_scale, dtype=recipe.dtype, pairs=tuple(of))

    together = objective(pairs)
    alone = [] if isinstance(together, StackedObjective) else [objective([pair]) for pair in pairs]
    return Stack(pairs, problem.sizes.connector, tensors, alone or [together], lr)


def stacked_trainee(problem: Problem, stacks: Sequence[Stack]) -> StackedTrainee:
    """What ``train`` trains: these stacks, which hold every pair of the problem once."""
    rows = {pair: (stack, row) for stack in stacks for row, pair in enumerate(stack.pairs)}
    return StackedTrainee(
        connectors=lambda pairs: {pair: rows[pair][0].of(rows[pair][1]) for pair in pairs},
        pair_sampler=itertools.repeat(problem.pairs),
        pairs_per_step=len(problem.pairs),
        stacks=stacks,
        own_rates={pair: stack.lr for stack in stacks if stack.lr for pair in stack.pairs},
        independent=[pair for stack in stacks for pair in stack.pairs],
    )


def _names(pair: Pair) -> Iterator[str]:
    """What ``lrs`` may call a pair, the closest name first."""
    yield f"{pair[0]} + {pair[1]}"
    yield pair[1]
    yield pair[0]
