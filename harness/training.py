"""The gradient-descent loop that ape, hyma and their variants share: one recipe, counted and recorded the same way."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.collapse import collapsed
from harness.connectors import Layers, connect, finite, frozen
from harness.errors import Diverged
from harness.flops import adamw_step, connector_step, counted, logits_step
from harness.method import Batch, Budget, Checkpoint, Estimate, Fit, Pair, Problem, Progress, Sizes

PAIRS_AT_ONCE = 16
"""Pairs whose connectors are generated at once for scoring: the weights of a large grid do not fit in memory twice."""

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training settings of a method; its own settings are further fields of a subclass.

    Attributes:
        batch_size: Samples per update.
        lr: Peak learning rate of AdamW.
        warmup: Share of the steps with a linearly rising rate.
        schedule: What follows the warm-up: ``cosine`` to zero, or ``constant``.
        betas: AdamW's.
        weight_decay: AdamW's.
        clip: Largest global gradient norm; None: no clipping.
        logit_scale: ``learned`` (from 1/0.07, at most 100; CLIP), or a fixed value.
        precision: ``fp32``, or autocast to ``bf16`` or ``fp16`` (which has no loss scaling).
    """

    batch_size: Annotated[int, Field(gt=1)] = 128
    lr: Positive = 1e-3
    warmup: Fraction = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Positive | None = 1.0
    logit_scale: Literal["learned"] | Positive = "learned"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"

    def rate(self, progress: float) -> float:
        """Learning rate at this share of the training, 0 to 1."""
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2


class LogitScales(nn.Module):
    """Logit scale of each pair: learned in log space from 1/0.07, or fixed.

    Args:
        pairs: The pairs.
        value: ``learned`` or the fixed value.
        device: Where the parameter lies.
    """

    def __init__(self, pairs: Sequence[Pair], value: float | str, device: torch.device) -> None:
        super().__init__()
        self._row = {pair: row for row, pair in enumerate(pairs)}
        learned = value == "learned"
        start = math.log(1 / 0.07) if learned else math.log(float(value))
        self.log_scale = nn.Parameter(torch.full((len(pairs),), start, device=device), requires_grad=learned)

    def forward(self, pair: Pair) -> Tensor:
        """The pair's scale; a learned one is capped at 100 (CLIP)."""
        log_scale = self.log_scale[self._row[pair]]
        return (log_scale.clamp(max=math.log(100)) if self.log_scale.requires_grad else log_scale).exp()


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """What a method lets ``train`` train.

    Attributes:
        parameters: Everything the optimiser updates.
        generate: Pairs -> the connector of each, differentiable; called once a step with the step's pairs.
        scales: The pairs' logit scales.
        pair_sampler: Endless pairs of each step; at every moment the pairs' counts should differ by at most one.
        pairs_per_step: Pairs in one step.
        hypernet_step: Closed-form FLOPs of generating one step's connectors, forward and backward.
        generate_from_batch: What generates the step's connectors where they depend on its batch; ``generate`` is then
            for scoring only.
        shuffle: Whether every epoch's images come in a new order.
    """

    parameters: Sequence[Tensor]
    generate: Callable[[Sequence[Pair]], Mapping[Pair, Layers]]
    scales: LogitScales
    pair_sampler: Iterable[Sequence[Pair]]
    pairs_per_step: int
    hypernet_step: float = 0.0
    generate_from_batch: Callable[[Sequence[Pair], Batch], Mapping[Pair, Layers]] | None = None
    shuffle: bool = True

    @property
    def trained(self) -> list[Tensor]:
        """Parameters that receive gradients, logit scales included."""
        return [p for p in (*self.parameters, *self.scales.parameters()) if p.requires_grad]


def batched(pairs: Sequence[Pair], size: int) -> list[Sequence[Pair]]:
    """The pairs in parts of this size."""
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def checkpoint_steps(steps: int, steps_per_epoch: int) -> list[int]:
    """Steps after which the pairs are scored: the ends of epochs 1, 2, 4, 8, ... and of the training."""
    ends = {steps}
    epoch = 1
    while epoch * steps_per_epoch < steps:
        ends.add(epoch * steps_per_epoch)
        epoch *= 2
    return sorted(ends)


def step_flops(sizes: Sizes, pairs: Sequence[Pair], batch_size: int) -> dict[str, float]:
    """Closed form of the connectors' and logits' share of one step over these pairs."""
    shapes = [sizes.shape(pair) for pair in pairs]
    return {
        "connector": sum(connector_step(shape, batch_size) for shape in shapes),
        "logits": sum(logits_step(batch_size, shape.out_dim) for shape in shapes),
    }


def estimate_training(
    sizes: Sizes,
    budget: Budget,
    recipe: Recipe,
    *,
    pairs_per_step: int,
    trained_params: int,
    hypernet_step: float = 0.0,
) -> Estimate:
    """Closed form of what ``train`` books, the mean over the pairs standing for the pairs of a step.

    Args:
        sizes: The cell's shapes.
        budget: When training stops.
        recipe: Training settings.
        pairs_per_step: Pairs in one step.
        trained_params: Parameters that the optimiser updates.
        hypernet_step: FLOPs of generating one step's connectors, forward and backward.
    """
    share = pairs_per_step / len(sizes.pairs)
    step = {phase: flops * share for phase, flops in step_flops(sizes, sizes.pairs, recipe.batch_size).items()}
    step |= {"hypernet": hypernet_step, "optimizer": adamw_step(trained_params)}
    per_epoch = sizes.steps_per_epoch(recipe.batch_size)
    steps = budget.steps(steps_per_epoch=per_epoch, updates_per_step=share, flops_per_step=sum(step.values()))
    scored = len(checkpoint_steps(steps, per_epoch)) * sum(sizes.score_flops(pair) for pair in sizes.pairs)
    return Estimate(
        flops={phase: flops * steps for phase, flops in step.items() if flops} | {"eval": scored},
        updates_per_pair=steps * share,
        trained_params=trained_params,
    )


@dataclass
class _Counter:
    """FLOPs of a step, counted once for each combination of shapes."""

    sizes: Sizes
    batch_size: int
    known: dict[tuple[object, ...], float] = field(default_factory=dict)

    def run(self, pairs: Sequence[Pair], step: Callable[[], None]) -> dict[str, float]:
        signature = tuple(sorted((s.in_dim, s.out_dim) for s in map(self.sizes.shape, pairs)))
        if signature in self.known:
            step()
        else:
            self.known[signature] = counted(step)
        closed = step_flops(self.sizes, pairs, self.batch_size)
        rest = self.known[signature] - sum(closed.values())
        # What is neither connector nor logits made the connectors; rounding leaves no such rest for APE.
        return closed | ({"hypernet": rest} if rest > 0 else {})


def train(problem: Problem, budget: Budget, recipe: Recipe, trainee: Trainee, *, seed: int, progress: Progress) -> Fit:
    """AdamW on the mean loss of each step's pairs, scored on validation data at geometric checkpoints.

    A gradient or weight that is not finite ends the training, and connectors that are at chance after it have
    collapsed: the Fit then carries ``diverged``.

    Returns:
        The Fit, with the connectors and scores of the last checkpoint.
    """
    sizes, ledger, trained = problem.sizes, problem.ledger, trainee.trained
    n_params = sum(p.numel() for p in trained)
    share = trainee.pairs_per_step / len(sizes.pairs)
    per_epoch = sizes.steps_per_epoch(recipe.batch_size)
    steps = round(
        estimate_training(
            sizes,
            budget,
            recipe,
            pairs_per_step=trainee.pairs_per_step,
            trained_params=n_params,
            hypernet_step=trainee.hypernet_step,
        ).updates_per_pair
        / share
    )
    checkpoints = set(checkpoint_steps(steps, per_epoch))
    optimizer = torch.optim.AdamW(
        trained, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    counter = _Counter(sizes, recipe.batch_size)
    curve: list[Checkpoint] = []
    connectors: dict[Pair, Layers] = {}
    diverged: Diverged | None = None
    warnings: tuple[str, ...] = ()
    start = time.perf_counter()

    for step, (pairs, batch) in enumerate(
        zip(
            trainee.pair_sampler,
            problem.train.batches(recipe.batch_size, seed, shuffle=trainee.shuffle),
            strict=False,
        ),
        start=1,
    ):
        with ledger.section("train"):
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate((step - 0.5) / steps)
            optimizer.zero_grad(set_to_none=True)
            booked = counter.run(pairs, lambda p=pairs, b=batch: _backward(problem, recipe, trainee, p, b))
            for phase, flops in (booked | {"optimizer": adamw_step(n_params)}).items():
                ledger.add(phase, flops)
            norm = nn.utils.clip_grad_norm_(trained, recipe.clip if recipe.clip else math.inf)
            ledger.updates += len(pairs)
            ledger.samples += len(pairs) * recipe.batch_size
            if not torch.isfinite(norm):
                diverged = Diverged(step, f"gradient norm is {norm.item()}")
                break
            optimizer.step()
        progress(step, steps)
        if step in checkpoints:
            with torch.no_grad():
                connectors = {
                    pair: frozen(layers)
                    for part in batched(sizes.pairs, max(PAIRS_AT_ONCE, trainee.pairs_per_step))
                    for pair, layers in trainee.generate(part).items()
                }
            if not all(map(finite, connectors.values())):
                diverged = Diverged(step, "a connector's weights are not finite")
                break
            scores = {pair: problem.score(pair, connectors[pair]) for pair in sizes.pairs}
            curve.append(
                Checkpoint(
                    step=step,
                    epoch=step / per_epoch,
                    updates_per_pair=step * share,
                    samples_per_pair=step * share * recipe.batch_size,
                    flops=ledger.total,
                    seconds=time.perf_counter() - start,
                    scores=scores,
                )
            )
        if step == steps:
            reason, warnings = collapsed(problem, curve[-1].scores, connectors, step * share)
            diverged = Diverged(step, reason) if reason else None
            break

    done = ledger.updates / len(sizes.pairs)
    return Fit(
        scores=curve[-1].scores if curve else {},
        connectors=connectors or None,
        curve=tuple(curve),
        ledger=ledger,
        batch_size=recipe.batch_size,
        pairs_per_step=trainee.pairs_per_step,
        updates_per_pair=done,
        samples_per_pair=done * recipe.batch_size,
        trained_params=n_params,
        diverged=diverged,
        warnings=warnings,
    )


def _backward(problem: Problem, recipe: Recipe, trainee: Trainee, pairs: Sequence[Pair], batch: Batch) -> None:
    """Forward and backward of the mean loss over the step's pairs."""
    dtype = torch.float16 if recipe.precision == "fp16" else torch.bfloat16
    with torch.autocast(problem.device.type, dtype=dtype, enabled=recipe.precision != "fp32"):
        by_batch = trainee.generate_from_batch
        made = trainee.generate(pairs) if by_batch is None else by_batch(pairs, batch)
        losses = []
        for pair in pairs:
            source, target = problem.sides(pair, batch)
            # float32 again, so that normalisation and softmax keep their precision under autocast.
            mapped = connect(made[pair], source).float()
            losses.append(problem.loss(mapped, target, trainee.scales(pair)))
        torch.stack(losses).mean().backward()
