"""APE with stacked parameters: the grid search of all pairs in one training loop, equal shapes computed together."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from baselines.ape import pair_generator
from harness.connectors import Layers, init_layers
from harness.errors import HarnessError
from harness.method import Batch, Budget, Estimate, Fit, Pair, Problem, Progress, Sizes
from harness.registry import near
from harness.training import LogitScales, Positive, Recipe, Trainee, estimate_training, train


class Stack(nn.Module):
    """Connectors of equal shape and learning rate, one pair along the first axis.

    Args:
        pairs: The pairs.
        layers: Each pair's fresh connector.
        scales: Their logit scales.
        lr: Their peak learning rate.
    """

    def __init__(self, pairs: Sequence[Pair], layers: Sequence[Layers], scales: LogitScales, lr: float) -> None:
        super().__init__()
        self.pairs, self.scales, self.lr = tuple(pairs), scales, lr
        by_layer = list(zip(*layers, strict=True))
        self.weights = nn.ParameterList(torch.stack([w.detach() for w, _ in layer]) for layer in by_layer)
        self.biases = nn.ParameterList(torch.stack([b.detach() for _, b in layer]) for layer in by_layer)

    def forward(self, x: Float[Tensor, "pairs batch in_dim"]) -> Float[Tensor, "pairs batch out_dim"]:
        """Map every pair's rows by its connector; the output is not normalised."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias[:, None], functional.relu(x) if number else x, weight.transpose(1, 2))
        return x

    def layers(self, row: int) -> Layers:
        """One pair's connector, as views."""
        return [(weight[row], bias[row]) for weight, bias in zip(self.weights, self.biases, strict=True)]

    def clip(self, limit: float) -> Float[Tensor, " pairs"]:
        """Clip each pair's gradients on their own, as ``torch.nn.utils.clip_grad_norm_`` would; returns the norms.

        Gradients of a pair whose norm is not finite become zero: it has diverged, and must not touch what is shared.
        """
        grads = [p.grad for p in self.parameters() if p.grad is not None]
        norms = torch.stack([grad.flatten(1).norm(dim=1) if grad.dim() > 1 else grad.abs() for grad in grads])
        total = norms.norm(dim=0)
        if math.isfinite(limit):
            factor = (limit / (total + 1e-6)).clamp(max=1.0)
            for grad in grads:
                grad.mul_(factor.view(-1, *[1] * (grad.dim() - 1)))
        gone = ~torch.isfinite(total)
        if gone.any():
            for grad in grads:
                grad[gone] = 0.0
        return total


@dataclass(frozen=True, kw_only=True)
class StackedTrainee(Trainee):
    """All pairs in every step, computed stack by stack.

    Attributes:
        stacks: The pairs' stacks.
    """

    stacks: Sequence[Stack]

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """One group per stack, with its own learning rate."""
        del recipe
        return [{"params": [p for p in s.parameters() if p.requires_grad], "lr": s.lr} for s in self.stacks]

    def backward(self, problem: Problem, recipe: Recipe, pairs: Sequence[Pair], batch: Batch) -> None:
        """Forward and backward of the sum of the pairs' losses, so that each pair's gradient is its own loss's."""
        del pairs
        images, texts = _gathered(problem, batch, recipe.dtype)
        mapped_is_text = problem.sizes.direction == "text_to_image"
        # One stack after another: its activations are freed before the next stack's are made.
        for stack in self.stacks:
            image = torch.stack([images[pair[0]] for pair in stack.pairs])
            text = torch.stack([texts[pair[1]] for pair in stack.pairs])
            source, target = (text, image) if mapped_is_text else (image, text)
            with recipe.autocast(problem.device):
                mapped = stack(source).to(recipe.dtype)
                problem.loss(mapped, target, stack.scales.values).sum().backward()

    def clip(self, limit: float) -> Tensor:
        """Each pair's gradient norm; see ``Stack.clip``."""
        return torch.cat([stack.clip(limit) for stack in self.stacks])


def _gathered(
    problem: Problem, batch: Batch, dtype: torch.dtype
) -> tuple[Mapping[str, Float[Tensor, "batch image_dim"]], Mapping[str, Float[Tensor, "batch text_dim"]]]:
    """Every encoder's rows of one batch, read once for all its pairs, on the device."""
    images = {
        name: problem.train.images(name, batch.images).to(problem.device, dtype, non_blocking=True)
        for name in dict.fromkeys(image for image, _ in problem.pairs)
    }
    texts = {
        name: problem.train.texts(name, batch.captions).to(problem.device, dtype, non_blocking=True)
        for name in dict.fromkeys(text for _, text in problem.pairs)
    }
    return images, texts


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

    kind: ClassVar[Literal["joint"]] = "joint"
    version: ClassVar[int] = 1

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all pairs."""
        return train(problem, budget, self, self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> StackedTrainee:
        """All pairs' fresh connectors, stacked."""
        stacks = [self._stack(problem, pairs, lr, seed) for pairs, lr in self._grouped(problem.sizes)]
        rows = {pair: (stack, row) for stack in stacks for row, pair in enumerate(stack.pairs)}

        def generate(pairs: Sequence[Pair]) -> dict[Pair, Layers]:
            return {pair: rows[pair][0].layers(rows[pair][1]) for pair in pairs}

        return StackedTrainee(
            parameters=[],
            generate=generate,
            scales=nn.ModuleList(stacks),
            pair_sampler=itertools.repeat(problem.pairs),
            pairs_per_step=len(problem.pairs),
            stacks=stacks,
            independent=[pair for stack in stacks for pair in stack.pairs],
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending: the sum of ape's cells."""
        self._grouped(sizes)
        params = sum(sizes.shape(pair).params for pair in sizes.pairs)
        learned = len(sizes.pairs) * (self.logit_scale == "learned")
        return estimate_training(sizes, budget, self, pairs_per_step=len(sizes.pairs), trained_params=params + learned)

    def _stack(self, problem: Problem, pairs: Sequence[Pair], lr: float, seed: int) -> Stack:
        layers = [
            init_layers(problem.sizes.shape(pair), pair_generator(seed, pair), device=problem.device, dtype=self.dtype)
            for pair in pairs
        ]
        return Stack(pairs, layers, LogitScales(pairs, self.logit_scale, problem.device, self.dtype), lr)

    def _grouped(self, sizes: Sizes) -> list[tuple[list[Pair], float]]:
        """Pairs of equal shape and learning rate, and that rate."""
        names = {name for pair in sizes.pairs for name in _names(pair)}
        for name in self.lrs:
            if name not in names:
                raise HarnessError(f"lrs names {name!r}, which is no pair or encoder here", fix=near(name, names))
        groups: dict[Any, list[Pair]] = {}
        for pair in sizes.pairs:
            lr = next((self.lrs[name] for name in _names(pair) if name in self.lrs), self.lr)
            groups.setdefault((sizes.shape(pair), lr), []).append(pair)
        return [(pairs, lr) for (_, lr), pairs in groups.items()]


def _names(pair: Pair) -> Iterator[str]:
    """What ``lrs`` may call a pair, the closest name first."""
    yield f"{pair[0]} + {pair[1]}"
    yield pair[1]
    yield pair[0]
