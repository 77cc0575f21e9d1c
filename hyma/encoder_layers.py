"""One trained layer per encoder in the place of one connector per pair: N + M parts for N x M pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.connectors.linear import Linear
from harness.contract.budget import Budget
from harness.contract.connector import Connector, ConnectorKind, Tensors, layer_of
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.flops import linear_forward
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import generator
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Positive, Recipe
from harness.training.trainee import PairByPair
from hyma.exposure import SAMPLERS
from hyma.joint import Size
from hyma.through import Through, TwoFactors, layers_of, splits

Owner = tuple[str, str]
"""(side, encoder): an encoder may stand on both sides, with a layer for each."""

ALL: Owner = ("between", "all pairs")
"""Owner of what no encoder owns: the layers of a deep connector between the first and the last."""


@dataclass(frozen=True, kw_only=True)
class EncoderLayers(Recipe):
    """Every pair's connector is composed of the layers of its two encoders, so that a step teaches rows of the grid.

    The extreme of a factored hypernetwork: its condition names the two encoders, and each picks its own layer. A
    linear connector is ``U_target V_mapped``, through a space that all pairs share. Of a connector whose layers belong
    to one side each, as an MLP's do, the mapped encoder owns the first layer and the target the last (layers in between
    belong to all). Of any other kind the target owns the whole connector, and the mapped encoder a linear layer into
    the shared space before it. Training generates no weights, and an encoder's layer is updated with every pair that
    it is part of: the larger the grid, the fewer updates a pair needs.

    Attributes:
        space_dim: Dimension of the shared space (and so the largest rank of linear connectors).
        pairs_per_step: Pairs in one step.
        sampling: As in ``hyma.joint.Joint``.
    """

    lr: Positive = 1e-2
    space_dim: Size = 128
    pairs_per_step: Size = 4
    sampling: str = "balanced"

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 3

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all encoders' layers together."""
        return train(problem, budget, self, self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> PairByPair:
        """Every encoder's fresh layers, as ``train`` wants them."""
        sizes = problem.sizes
        kind = self.applied(sizes)
        owned = self.owned(sizes, seed, problem.device)

        def composed(pairs: Sequence[Pair]) -> Mapping[Pair, Connector]:
            return {pair: Connector(kind, _tensors(owned, kind, sizes, pair)) for pair in pairs}

        def as_linear(pairs: Sequence[Pair]) -> Mapping[Pair, Connector]:
            return {pair: Connector(Linear(), merged(made.tensors)) for pair, made in composed(pairs).items()}

        factored = isinstance(kind, TwoFactors)
        return PairByPair(
            parameters=[tensor for tensors in owned.values() for tensor in tensors.values()],
            objective=problem.objective(logit_scale=self.logit_scale, dtype=self.dtype),
            # Two thin products cost less than one product of merged weights; connectors are merged to be scored.
            connectors=as_linear if factored else composed,
            step_connectors=(lambda pairs, batch: composed(pairs)) if factored else None,
            kind=kind,
            generation=self.merging(sizes),
            pair_sampler=SAMPLERS.get(self.sampling)(sizes, self.pairs_per_step, seed),
            pairs_per_step=self.pairs_per_step,
        )

    def applied(self, sizes: Sizes) -> ConnectorKind:
        """The kind of connector that a step applies: the sweep's if it can be split, else one through the space."""
        kind = sizes.connector
        if isinstance(kind, Linear):
            return TwoFactors(self.space_dim)
        return kind if splits(kind, sizes.dims(sizes.pairs[0])) else Through(self.space_dim, kind)

    def owned(self, sizes: Sizes, seed: int, device: torch.device | str = "cpu") -> dict[Owner, dict[str, Tensor]]:
        """Fresh tensors of every owner, each from a random stream of its own."""
        kind = self.applied(sizes)
        found: dict[Owner, dict[str, Tensor]] = {}
        for pair in sizes.pairs:
            for owner, layers in owners(sizes, kind, pair).items():
                if owner not in found:
                    stream = generator(seed, "encoder layer", *owner)
                    fresh = kind.init(sizes.dims(pair), stream, device=device, dtype=self.dtype)
                    found[owner] = {name: tensor for name, tensor in fresh.items() if layer_of(name) in layers}
        return found

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        SAMPLERS.get(self.sampling)(sizes, self.pairs_per_step, 0)
        kind = self.applied(sizes)
        counted: dict[Owner, int] = {}
        for pair in sizes.pairs:
            shapes = kind.shapes(sizes.dims(pair))
            for owner, layers in owners(sizes, kind, pair).items():
                counted[owner] = sum(shape.count for name, shape in shapes.items() if layer_of(name) in layers)
        return estimate_training(
            sizes,
            budget,
            self,
            pairs_per_step=self.pairs_per_step,
            parameters=sum(counted.values()),
            kind=kind,
            scored=None if isinstance(kind, TwoFactors) else kind,
            generation=self.merging(sizes),
        )

    def merging(self, sizes: Sizes) -> float:
        """FLOPs of merging the factors of all pairs for scoring."""
        if not isinstance(self.applied(sizes), TwoFactors):
            return 0.0
        dims = [sizes.dims(pair) for pair in sizes.pairs]
        return sum(linear_forward(d.out_dim, self.space_dim, d.in_dim) for d in dims)


def owners(sizes: Sizes, kind: ConnectorKind, pair: Pair) -> dict[Owner, list[str]]:
    """Owner -> which layers of the pair's connector it owns: the mapped encoder the first, the target the last."""
    mapped, target = sizes.sides(pair)
    first, *between, last = layers_of(kind, sizes.dims(pair))
    return {("mapped", mapped): [first], **({ALL: between} if between else {}), ("target", target): [last]}


def _tensors(owned: Mapping[Owner, Tensors], kind: ConnectorKind, sizes: Sizes, pair: Pair) -> dict[str, Tensor]:
    own = owners(sizes, kind, pair)
    return {name: tensor for owner in own for name, tensor in owned[owner].items()}


def merged(factors: Tensors) -> dict[str, Tensor]:
    """Two factors as one affine layer."""
    v, c, u, b = (factors[name] for name in ("into.weight", "into.bias", "out_of.weight", "out_of.bias"))
    return {"layers.0.weight": u @ v, "layers.0.bias": u @ c + b}
