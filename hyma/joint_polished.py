"""The closed form, corrected jointly: low-rank corrections that each encoder's pairs share, trained from zero."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from baselines.linalg import sides_of
from baselines.polished import added, better_of, point_of
from baselines.spectral import Penalties, Rows, Spectral
from baselines.whitening import Captions
from harness.connectors.affine import affine, affine_shapes
from harness.connectors.linear import Linear
from harness.contract.budget import Budget
from harness.contract.connector import Connector, ConnectorKind, Dims, Tensors, TensorShape, as_connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.flops import linear_forward, linear_step
from harness.contract.method import Promise
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import generator
from harness.contract.stopping import Rung
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Rates, Recipe
from harness.training.trainee import PairByPair
from hyma.exposure import SAMPLERS
from hyma.joint import Size

FASTER_INTO = 4.0
"""How much faster the mapped encoders' factor learns than the target encoders', both relative to their size."""


@dataclass(frozen=True)
class Corrected(ConnectorKind):
    """``W x + b + U V x``: a fixed linear connector, and what is learned beside it.

    Attributes:
        space_dim: Rows of V.
    """

    space_dim: int

    name: ClassVar[str] = "corrected"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``fixed.weight``, ``fixed.bias``, ``into.weight``, ``out_of.weight``, ``out_of.bias``."""
        into = {"into.weight": TensorShape((self.space_dim, dims.in_dim), dims.in_dim)}
        return (
            affine_shapes("fixed", dims.in_dim, dims.out_dim)
            | into
            | affine_shapes("out_of", self.space_dim, dims.out_dim)
        )

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """Both, and their sum."""
        inside = x @ tensors["into.weight"].mT
        learned = affine(inside, tensors["out_of.weight"], tensors["out_of.bias"])
        return affine(x, tensors["fixed.weight"], tensors["fixed.bias"]) + learned

    def step_flops(self, dims: Dims, rows: int) -> float:
        """The fixed map forward only; V and U forward and backward, where V's inputs are frozen."""
        into = linear_step(rows, dims.in_dim, self.space_dim, input_gradient=False)
        return linear_forward(rows, dims.in_dim, dims.out_dim) + into + linear_step(rows, self.space_dim, dims.out_dim)


@dataclass(frozen=True, kw_only=True)
class Corrections(PairByPair):
    """All encoders' factors, with rates relative to the sizes that they are measured by.

    Attributes:
        sizes_of: Tensors, and what their peak rate is times.
    """

    sizes_of: Sequence[tuple[Sequence[Tensor], float]]

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """One group per encoder, and one for what the objective owns."""
        found: list[dict[str, Any]] = [{"params": list(tensors), "lr": lr * size} for tensors, size in self.sizes_of]
        own = [tensor for tensor in self.objective.parameters() if tensor.requires_grad]
        return [*found, *([{"params": own, "lr": lr}] if own else [])]


@dataclass(frozen=True, kw_only=True)
class JointPolished(Recipe):
    """The closed form plus a low-rank correction that pairs of an encoder share, trained jointly.

    A pair's connector is its spectral map plus ``U_target V_mapped``. U starts at zero, so that training starts at the
    closed form. A step of few pairs teaches every pair of their encoders, so a large grid needs a few updates of each
    pair; and the spectral map is only applied, which costs half of training it. A pair that does not gain keeps the
    closed form. The connector is linear whatever the sweep asks for.

    Attributes:
        lr: Peak change of U per step, relative to the root mean square of its encoder's spectral maps.
        updates: Updates per pair. 0: the closed form.
        pairs_per_step: Pairs in one step; all, if there are fewer.
        space_dim: Rank of a correction.
        sampling: As in ``hyma.joint.Joint``.
        rows: As in ``spectral``, as are the following.
        captions: See there.
        penalties: See there.
    """

    lr: Rates = 2e-2
    updates: Annotated[float, Field(ge=0)] = 4
    pairs_per_step: Size = 8
    space_dim: Size = 64
    sampling: str = "balanced"
    rows: Rows = 4096
    captions: Captions = "mean"
    penalties: Annotated[tuple[Penalties, ...], Field(min_length=1)] | None = None

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1
    recommended_for: ClassVar[tuple[Promise, ...]] = ("all",)
    smoke: ClassVar[Mapping[str, float]] = {"updates": 1}
    without_budget: ClassVar[Literal[True]] = True

    @property
    def closed_form(self) -> Spectral:
        """Where it starts."""
        return Spectral(rows=self.rows, captions=self.captions, penalties=self.penalties)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """The closed form of all pairs, and what the correction makes of it."""
        began = time.perf_counter()
        start = self.closed_form.fit(problem, budget, seed=seed, progress=progress)
        if not self.updates:
            return start
        before = point_of(problem, start.scores, self.batch_size, began)
        fixed = {pair: as_connector(made).to(problem.device) for pair, made in (start.connectors or {}).items()}
        limit = Budget(updates_per_pair=self.updates)
        # A rung is scored at its end only.
        own = replace(problem, sizes=replace(problem.sizes, connector=Linear()), rung=Rung(limit))
        end = train(own, limit, self, lambda: self.trainee(own, fixed, seed), seed=seed, progress=progress)
        steps = round(end.updates_per_pair * len(fixed) / self._per_step(problem.sizes))
        updates = end.updates_per_pair
        return better_of(problem, start, end, before, began, steps=steps, updates=updates, tried=len(fixed))

    def trainee(self, problem: Problem, fixed: Mapping[Pair, Connector], seed: int) -> Corrections:
        """Fresh factors of every encoder around these maps, as ``train`` wants them."""
        kind, sizes = Corrected(self.space_dim), problem.sizes
        maps = {
            pair: {name: tensor.to(self.dtype) for name, tensor in connector.tensors.items()}
            for pair, connector in fixed.items()
        }
        spreads: dict[str, list[float]] = {}
        mapped: dict[str, dict[str, Tensor]] = {}
        targets: dict[str, dict[str, Tensor]] = {}
        for pair in sizes.pairs:
            (source, target), weight = sizes.sides(pair), maps[pair]["layers.0.weight"]
            spreads.setdefault(target, []).append(weight.square().mean().item())
            if source not in mapped:
                drawn = torch.randn(self.space_dim, weight.shape[1], generator=generator(seed, "correction", source))
                into = drawn.to(weight) / self.space_dim**0.5
                mapped[source] = {"into.weight": into.requires_grad_()}
            if target not in targets:
                zeros = {"out_of.weight": weight.new_zeros(len(weight), self.space_dim)}
                zeros["out_of.bias"] = weight.new_zeros(len(weight))
                targets[target] = {name: tensor.requires_grad_() for name, tensor in zeros.items()}

        def tensors(pair: Pair) -> dict[str, Tensor]:
            own, (source, target) = maps[pair], sizes.sides(pair)
            fixed = {"fixed.weight": own["layers.0.weight"], "fixed.bias": own["layers.0.bias"]}
            return fixed | mapped[source] | targets[target]

        into_size = FASTER_INTO / self.space_dim**0.5
        relative = [([*own.values()], into_size) for own in mapped.values()]
        relative += [([*own.values()], (sum(spreads[e]) / len(spreads[e])) ** 0.5) for e, own in targets.items()]
        per_step = self._per_step(sizes)
        return Corrections(
            parameters=[tensor for group, _ in relative for tensor in group],
            sizes_of=relative,
            objective=problem.objective(logit_scale=self.logit_scale, dtype=self.dtype),
            connectors=lambda pairs: {pair: Connector(Linear(), merged(tensors(pair))) for pair in pairs},
            step_connectors=lambda pairs, batch: {pair: Connector(kind, tensors(pair)) for pair in pairs},
            kind=kind,
            generation=self._merging(sizes),
            pair_sampler=SAMPLERS.get(self.sampling)(sizes, per_step, seed),
            pairs_per_step=per_step,
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending; the pairs of a step stand for the mean over all."""
        start, sizes = self.closed_form.estimate(sizes, budget), replace(sizes, connector=Linear())
        if not self.updates:
            return start
        per_step = self._per_step(sizes)
        SAMPLERS.get(self.sampling)(sizes, per_step, 0)
        sources, targets = sides_of(sizes)
        spent = estimate_training(
            sizes,
            Budget(updates_per_pair=self.updates),
            self,
            pairs_per_step=per_step,
            parameters=self.space_dim * sum((*sources.values(), *targets.values())) + sum(targets.values()),
            kind=Corrected(self.space_dim),
        )
        rates, made = len(self.rates), len(self.rates) * self._merging(sizes)
        scored = rates * sum(map(sizes.score_flops, sizes.pairs))
        return replace(
            added(start, replace(spent, flops={**spent.flops, "eval": scored, "hypernet": made})),
            trained_params=spent.trained_params,
            generation=made,
        )

    def _per_step(self, sizes: Sizes) -> int:
        return min(self.pairs_per_step, len(sizes.pairs))

    def _merging(self, sizes: Sizes) -> float:
        """FLOPs of adding the corrections to all pairs' maps."""
        dims = [sizes.dims(pair) for pair in sizes.pairs]
        return sum(linear_forward(d.out_dim, self.space_dim, d.in_dim) for d in dims)


def merged(tensors: Tensors) -> dict[str, Tensor]:
    """A corrected map as one affine layer."""
    learned = tensors["out_of.weight"] @ tensors["into.weight"]
    bias = tensors["fixed.bias"] + tensors["out_of.bias"]
    return {"layers.0.weight": tensors["fixed.weight"] + learned, "layers.0.bias": bias}
