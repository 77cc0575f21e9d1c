"""The gradient-descent loop that ape, hyma and their variants share: one recipe, counted and recorded the same way."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.collapse import collapsed
from harness.connectors import ConnectorShape, Layers, connect, finite, frozen
from harness.errors import Diverged, HarnessError
from harness.flops import adamw_step, connector_step, counted, logits_step
from harness.method import Batch, Budget, Checkpoint, Estimate, Fit, Pair, Problem, Progress, Sizes

PAIRS_AT_ONCE = 16
"""Pairs whose connectors are generated at once for scoring: the weights of a large grid do not fit in memory twice."""

ROUNDING = 1e-6
"""Slack in counting whole passes, whose length in steps is a fraction."""

MIXTURES = 8
"""Steps over different shapes after which what makes their connectors counts as known, if it cost the same in each."""

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
ConnectorFlops: TypeAlias = Callable[[ConnectorShape, int], float]


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
        precision: ``fp32``, autocast to ``bf16`` or ``fp16`` (which has no loss scaling), or ``fp64`` (slow; to tell
            rounding from a difference).
    """

    batch_size: Annotated[int, Field(gt=1)] = 128
    lr: Positive = 1e-3
    warmup: Fraction = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Positive | None = 1.0
    logit_scale: Literal["learned"] | Positive = "learned"
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"

    @property
    def dtype(self) -> torch.dtype:
        """What parameters, normalisation and softmax are computed in; autocast only touches matrix products."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context of a step's matrix products."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(device.type, dtype=dtype, enabled=self.precision in ("bf16", "fp16"))

    def rate(self, progress: float, peak: float) -> float:
        """Learning rate at this share of the training, 0 to 1, of parameters with this peak rate (``lr``, mostly)."""
        if progress < self.warmup:
            return peak * progress / self.warmup
        if self.schedule == "constant":
            return peak
        return peak * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))) / 2


class LogitScales(nn.Module):
    """Logit scale of each pair: learned in log space from 1/0.07, or fixed.

    Args:
        pairs: The pairs.
        value: ``learned`` or the fixed value.
        device: Where the parameter lies.
        dtype: Of the parameter.
    """

    def __init__(
        self, pairs: Sequence[Pair], value: float | str, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self._row = {pair: row for row, pair in enumerate(pairs)}
        learned = value == "learned"
        start = math.log(1 / 0.07) if learned else math.log(float(value))
        self.log_scale = nn.Parameter(
            torch.full((len(pairs),), start, device=device, dtype=dtype), requires_grad=learned
        )

    @property
    def values(self) -> Tensor:
        """``[pairs]`` scales; learned ones are capped at 100 (CLIP)."""
        return (self.log_scale.clamp(max=math.log(100)) if self.log_scale.requires_grad else self.log_scale).exp()

    def forward(self, pair: Pair) -> Tensor:
        """The pair's scale."""
        return self.values[self._row[pair]]


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """What a method lets ``train`` train. A subclass may compute the same step in another way.

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
        apply: (what is generated for a step, mapped side's rows) -> mapped rows.
        connector_flops: Closed form of ``apply``, forward and backward, for a shape and a number of rows.
        independent: The pairs in the order of the norms that ``clip`` returns, when each is trained on its own: one
            that diverges is lost then, and the others go on. ``clip`` must leave it no gradient that is not finite.
    """

    parameters: Sequence[Tensor]
    generate: Callable[[Sequence[Pair]], Mapping[Pair, Layers]]
    scales: nn.Module
    pair_sampler: Iterable[Sequence[Pair]]
    pairs_per_step: int
    hypernet_step: float = 0.0
    generate_from_batch: Callable[[Sequence[Pair], Batch], Mapping[Pair, Layers]] | None = None
    shuffle: bool = True
    apply: Callable[[Layers, Tensor], Tensor] = connect
    connector_flops: ConnectorFlops = connector_step
    independent: Sequence[Pair] = ()

    @property
    def trained(self) -> list[Tensor]:
        """Parameters that receive gradients, logit scales included."""
        return [p for p in (*self.parameters, *self.scales.parameters()) if p.requires_grad]

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """The optimiser's parameter groups, each with the ``lr`` at its peak."""
        return [{"params": self.trained, "lr": recipe.lr}]

    def backward(self, problem: Problem, recipe: Recipe, pairs: Sequence[Pair], batch: Batch) -> None:
        """Forward and backward of the mean loss over the step's pairs."""
        with recipe.autocast(problem.device):
            by_batch = self.generate_from_batch
            made = self.generate(pairs) if by_batch is None else by_batch(pairs, batch)
            losses = []
            for pair in pairs:
                source, target = (side.to(recipe.dtype) for side in problem.sides(pair, batch))
                # Back from bf16, so that normalisation and softmax keep their precision under autocast.
                mapped = self.apply(made[pair], source).to(recipe.dtype)
                losses.append(problem.loss(mapped, target, self.scales(pair)))
            torch.stack(losses).mean().backward()

    def clip(self, limit: float) -> Tensor:
        """Scale gradients down to at most this norm; returns the norm (or norms) that they had."""
        return nn.utils.clip_grad_norm_(self.trained, limit)


def batched(pairs: Sequence[Pair], size: int) -> list[Sequence[Pair]]:
    """The pairs in parts of this size."""
    return [pairs[start : start + size] for start in range(0, len(pairs), size)]


def checkpoint_steps(steps: int, steps_per_pass: float) -> list[int]:
    """Steps after which the pairs are scored: when each has seen 1, 2, 4, 8, ... passes of the data, and the end.

    So a joint method is scored at the updates per pair at which the grid is.

    Args:
        steps: Of the whole training.
        steps_per_pass: Steps in which each pair sees as many samples as one epoch has: epoch / share of the pairs.
    """
    ends = {steps}
    passes = 1
    while (end := _end_of_pass(passes, steps_per_pass)) < steps:
        ends.add(end)
        passes *= 2
    return sorted(ends)


def is_checkpoint(step: int, steps_per_pass: float) -> bool:
    """Whether the pairs' 1st, 2nd, 4th, 8th, ... pass of the data ends with this step."""
    passes = int(step / steps_per_pass + ROUNDING)
    return passes.bit_count() == 1 and step == _end_of_pass(passes, steps_per_pass)


def _end_of_pass(passes: int, steps_per_pass: float) -> int:
    return math.ceil(passes * steps_per_pass - ROUNDING)


def step_flops(
    sizes: Sizes, pairs: Sequence[Pair], batch_size: int, connector_flops: ConnectorFlops = connector_step
) -> dict[str, float]:
    """Closed form of the connectors' and logits' share of one step over these pairs."""
    shapes = [sizes.shape(pair) for pair in pairs]
    return {
        "connector": sum(connector_flops(shape, batch_size) for shape in shapes),
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
    connector_flops: ConnectorFlops = connector_step,
) -> Estimate:
    """Closed form of what ``train`` books, the mean over the pairs standing for the pairs of a step.

    Args:
        sizes: The cell's shapes.
        budget: When training stops.
        recipe: Training settings.
        pairs_per_step: Pairs in one step.
        trained_params: Parameters that the optimiser updates.
        hypernet_step: FLOPs of generating one step's connectors, forward and backward.
        connector_flops: As in ``Trainee``.
    """
    share = pairs_per_step / len(sizes.pairs)
    step = step_flops(sizes, sizes.pairs, recipe.batch_size, connector_flops)
    step = {phase: flops * share for phase, flops in step.items()}
    step |= {"hypernet": hypernet_step, "optimizer": adamw_step(trained_params)}
    per_epoch = sizes.steps_per_epoch(recipe.batch_size)
    steps = budget.steps(steps_per_epoch=per_epoch, updates_per_step=share, flops_per_step=sum(step.values()))
    scored = len(checkpoint_steps(steps, per_epoch / share)) * sum(sizes.score_flops(pair) for pair in sizes.pairs)
    return Estimate(
        flops={phase: flops * steps for phase, flops in step.items() if flops} | {"eval": scored},
        updates_per_pair=steps * share,
        trained_params=trained_params,
    )


UNREPRODUCIBLE = "stopped by the clock: another machine, or a busier one, would have made other numbers"
"""Warning of every Fit under a budget of seconds."""


class Horizon:
    """How much of a budget is spent, in steps where their number is known, else by the clock.

    Args:
        seconds: The budget, when it is one of seconds. The clock starts here.
        steps: Steps of the whole budget, when they are known.
    """

    def __init__(self, seconds: float | None, steps: int | None) -> None:
        self.seconds, self.steps = seconds, steps
        self.start = time.perf_counter()

    def share(self, step: int) -> float:
        """Share of the budget that is spent in the middle of this step (by the clock: now), 0 to 1."""
        if self.steps is not None:
            return (step - 0.5) / self.steps
        return min(1.0, (time.perf_counter() - self.start) / (self.seconds or 1.0))

    def over(self) -> bool:
        """Whether the seconds are spent."""
        return self.seconds is not None and time.perf_counter() - self.start >= self.seconds

    def expected(self, step: int) -> int:
        """Steps that the seconds will suffice for at the pace of the first ``step``."""
        return max(step, round(step / max(self.share(step), 1e-9)))


def saved(step: int, trained: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What a later rung needs to go on exactly: parameters, both moments and the steps done."""
    state = {"step": torch.tensor(step)}
    for number, parameter in enumerate(trained):
        state[f"parameter.{number}"] = parameter.detach().cpu().contiguous()
        for name, value in optimizer.state[parameter].items():
            state[f"{name}.{number}"] = value.detach().cpu().contiguous()
    return state


def restore(state: Mapping[str, Tensor], trained: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> int:
    """The inverse of ``saved``; returns the steps done."""
    for number, parameter in enumerate(trained):
        with torch.no_grad():
            parameter.copy_(state[f"parameter.{number}"])
        own = [name for name in state if name.endswith(f".{number}") and not name.startswith("parameter.")]
        # A fused AdamW keeps its count of steps beside the parameter, like the moments.
        optimizer.state[parameter] = {
            name.rpartition(".")[0]: state[name].to(parameter.device, copy=True) for name in own
        }
    return int(state["step"])


@dataclass
class _Counter:
    """FLOPs of a step, counted once for each combination of shapes.

    A step that is counted takes several times as long, and in a large grid nearly every step of a joint run combines
    other shapes. Connectors and logits have closed forms, so only the rest has to be counted, and no more than
    ``MIXTURES`` times where it does not depend on the shapes.

    Attributes:
        known: Combination of shapes -> FLOPs that are neither connector nor logits.
    """

    sizes: Sizes
    batch_size: int
    connector_flops: ConnectorFlops = connector_step
    known: dict[tuple[object, ...], float] = field(default_factory=dict)

    def run(self, pairs: Sequence[Pair], step: Callable[[], None]) -> dict[str, float]:
        signature = tuple(sorted((s.in_dim, s.out_dim) for s in map(self.sizes.shape, pairs)))
        closed = step_flops(self.sizes, pairs, self.batch_size, self.connector_flops)
        rest = self._rest(signature)
        if rest is None:
            rest = self.known[signature] = counted(step) - sum(closed.values())
        else:
            step()
        # What is neither connector nor logits made the connectors; rounding leaves no such rest for APE.
        return closed | ({"hypernet": rest} if rest > 0 else {})

    def _rest(self, signature: tuple[object, ...]) -> float | None:
        if signature in self.known:
            return self.known[signature]
        alike = [rest for other, rest in self.known.items() if len(other) == len(signature)]
        return alike[0] if len(alike) >= MIXTURES and len(set(alike)) == 1 else None


def train(problem: Problem, budget: Budget, recipe: Recipe, trainee: Trainee, *, seed: int, progress: Progress) -> Fit:
    """AdamW on the mean loss of each step's pairs, scored on validation data at geometric checkpoints.

    A gradient or weight that is not finite ends the training, and connectors that are at chance after it have
    collapsed: the Fit then carries ``diverged``. Where pairs are trained independently it ends that of its pair only,
    which is ``lost``, until none is left. Under ``problem.rung`` training goes on where the rung before left off
    and stops at this rung's budget, with the batches and the learning rates that an uninterrupted training of the whole
    budget has at the same steps.

    Returns:
        The Fit, with the connectors and scores of the last checkpoint.
    """
    sizes, ledger, trained, rung = problem.sizes, problem.ledger, trainee.trained, problem.rung
    n_params = sum(p.numel() for p in trained)
    share = trainee.pairs_per_step / len(sizes.pairs)
    per_epoch = sizes.steps_per_epoch(recipe.batch_size)

    def steps_of(limit: Budget) -> int:
        spent = estimate_training(
            sizes,
            limit,
            recipe,
            pairs_per_step=trainee.pairs_per_step,
            trained_params=n_params,
            hypernet_step=trainee.hypernet_step,
            connector_flops=trainee.connector_flops,
        )
        return round(spent.updates_per_pair / share)

    horizon = Horizon(budget.seconds, None if budget.seconds is not None else steps_of(budget))
    last = min(steps_of(rung.budget), horizon.steps or 1) if rung else horizon.steps
    optimizer = torch.optim.AdamW(
        trainee.groups(recipe), betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    done_before = restore(rung.state, trained, optimizer) if rung and rung.state else 0
    if last is not None and done_before >= last:
        raise HarnessError(f"a rung that ends at step {last} adds nothing to the one before", fix="raise the budget")
    counter = _Counter(sizes, recipe.batch_size, trainee.connector_flops)
    curve: list[Checkpoint] = []
    connectors: dict[Pair, Layers] = {}
    diverged: Diverged | None = None
    lost: dict[Pair, Diverged] = {}
    warnings: tuple[str, ...] = (UNREPRODUCIBLE,) if budget.seconds is not None else ()
    batches = problem.train.batches(recipe.batch_size, seed, shuffle=trainee.shuffle)
    samples = zip(trainee.pair_sampler, batches, strict=False)

    for step, (pairs, batch) in enumerate(itertools.islice(samples, done_before, None), start=done_before + 1):
        with ledger.section("train"):
            share_spent = horizon.share(step)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = recipe.rate(share_spent, peak)
            optimizer.zero_grad(set_to_none=True)
            booked = counter.run(pairs, lambda p=pairs, b=batch: trainee.backward(problem, recipe, p, b))
            for phase, flops in (booked | {"optimizer": adamw_step(n_params)}).items():
                ledger.add(phase, flops)
            norms = trainee.clip(recipe.clip if recipe.clip else math.inf)
            ledger.updates += len(pairs) - len(lost)
            ledger.samples += (len(pairs) - len(lost)) * recipe.batch_size
            if not torch.isfinite(norms).all():
                reasons = [f"gradient norm is {norm}" for norm in norms.flatten().tolist()]
                ended_now = [number for number, fine in enumerate(torch.isfinite(norms).flatten().tolist()) if not fine]
                for number in ended_now if trainee.independent else ():
                    lost.setdefault(trainee.independent[number], Diverged(step, reasons[number]))
                if len(lost) == len(sizes.pairs) or not trainee.independent:
                    diverged = Diverged(step, reasons[ended_now[0]])
                    break
            optimizer.step()
        progress(step, last or horizon.expected(step))
        ended = step == last or horizon.over()
        if ended or (not rung and is_checkpoint(step, per_epoch / share)):
            with torch.no_grad():
                connectors = {
                    pair: frozen(layers)
                    for part in batched(sizes.pairs, max(PAIRS_AT_ONCE, trainee.pairs_per_step))
                    for pair, layers in trainee.generate(part).items()
                }
            unsound = [pair for pair in connectors if pair not in lost and not finite(connectors[pair])]
            if unsound:
                why = Diverged(step, "a connector's weights are not finite")
                lost |= dict.fromkeys(unsound if trainee.independent else (), why)
                if len(lost) == len(sizes.pairs) or not trainee.independent:
                    diverged = why
                    break
            connectors = {pair: layers for pair, layers in connectors.items() if pair not in lost}
            scores = {pair: problem.score(pair, connectors[pair]) for pair in connectors}
            curve.append(
                Checkpoint(
                    step=step,
                    epoch=step / per_epoch,
                    updates_per_pair=step * share,
                    samples_per_pair=step * share * recipe.batch_size,
                    flops=ledger.total,
                    seconds=time.perf_counter() - horizon.start,
                    scores=scores,
                )
            )
        if ended:
            if not rung or step == horizon.steps:
                before = [sum(point.scores.values()) / len(point.scores) for point in curve[:-1]]
                reason, notes = collapsed(problem, curve[-1].scores, connectors, step * share, before)
                diverged, warnings = Diverged(step, reason) if reason else None, (*warnings, *notes)
            break

    done = done_before * share + ledger.updates / len(sizes.pairs)
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
        lost=lost,
        warnings=warnings,
        state=saved(last or 0, trained, optimizer) if rung and last != horizon.steps and not diverged else None,
    )
