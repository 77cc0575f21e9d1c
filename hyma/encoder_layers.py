"""One trained layer per encoder in the place of one connector per pair: N + M parts for N x M pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from harness.connectors.affine import affine, affine_shapes
from harness.connectors.linear import Linear
from harness.contract.budget import Budget
from harness.contract.connector import (
    Connector,
    ConnectorKind,
    Dims,
    MakesPrefix,
    Tensors,
    TensorShape,
    drawn,
    layer_of,
)
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.flops import linear_forward, linear_step
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import generator
from harness.errors import HarnessError
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Rates, Recipe
from harness.training.trainee import PairByPair
from hyma.exposure import SAMPLERS
from hyma.joint import Size

ALL = "all pairs"
"""Owner of what no encoder owns: the layers of a deep connector between the first and the last."""


@dataclass(frozen=True)
class TwoFactors(ConnectorKind):
    """``U (V x + c) + u``: a linear connector that is applied as two thin products.

    Attributes:
        space_dim: Dimension between the two.
    """

    space_dim: int

    name: ClassVar[str] = "two_factors"

    def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
        """``into.weight``, ``into.bias``, ``out_of.weight``, ``out_of.bias``."""
        into, out_of = (dims.in_dim, self.space_dim), (self.space_dim, dims.out_dim)
        return affine_shapes("into", *into) | affine_shapes("out_of", *out_of)

    def apply(self, tensors: Tensors, x: Float[Tensor, "... rows in_dim"]) -> Float[Tensor, "... rows out_dim"]:
        """One layer after the other, with nothing in between."""
        inside = affine(x, tensors["into.weight"], tensors["into.bias"])
        return affine(inside, tensors["out_of.weight"], tensors["out_of.bias"])

    def step_flops(self, dims: Dims, rows: int) -> float:
        """V and U, forward and backward; V's inputs are frozen."""
        into = linear_step(rows, dims.in_dim, self.space_dim, input_gradient=False)
        return into + linear_step(rows, self.space_dim, dims.out_dim)


@dataclass(frozen=True, kw_only=True)
class EncoderLayers(Recipe):
    """Every pair's connector is composed of the layers of its two encoders, so that a step teaches rows of the grid.

    The extreme of a factored hypernetwork: its condition names the two encoders, and each picks its own layer. A
    connector of one layer is ``U_target V_mapped``, through a space that all pairs share; of a deeper one the mapped
    encoder owns the first layer and the target the last (layers in between belong to all). Training generates no
    weights, and an encoder's layer is updated with every pair that it is part of: the larger the grid, the fewer
    updates a pair needs.

    Attributes:
        space_dim: Dimension of the shared space of one-layer connectors (and so their largest rank).
        pairs_per_step: Pairs in one step.
        sampling: As in ``hyma.joint.Joint``.
    """

    lr: Rates = 1e-2
    space_dim: Size = 128
    pairs_per_step: Size = 4
    sampling: str = "balanced"

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 2

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all encoders' layers together."""
        return train(problem, budget, self, lambda: self.trainee(problem, seed), seed=seed, progress=progress)

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
        """The kind of connector that a step applies: the sweep's, or two factors in the place of a linear one.

        Raises:
            HarnessError: A connector of one layer that is not linear: two encoders cannot share it out.
        """
        kind = sizes.connector
        if isinstance(kind, MakesPrefix):
            what = f"the layers of a {kind.name!r} connector lie side by side, and two encoders cannot share them out"
            raise HarnessError(what, where="connector", fix="a linear connector, or one of two layers or more")
        if isinstance(kind, Linear):
            return TwoFactors(self.space_dim)
        if len(_layers(kind, sizes.dims(sizes.pairs[0]))) < 2:
            what = f"a {kind.name!r} connector has one layer, which an image and a text encoder cannot share out"
            raise HarnessError(what, where="connector", fix="a linear connector, or one of two layers or more")
        return kind

    def owned(self, sizes: Sizes, seed: int, device: torch.device | str = "cpu") -> dict[str, dict[str, Tensor]]:
        """Fresh tensors of every owner; a pair's connector starts with the variance of fresh ``nn.Linear`` layers."""
        kind = self.applied(sizes)
        found: dict[str, dict[str, Tensor]] = {}
        for pair in sizes.pairs:
            shapes = kind.shapes(sizes.dims(pair))
            for owner, layers in owners(sizes, kind, pair).items():
                if owner in found:
                    continue
                stream = generator(seed, "encoder layer", owner)
                if isinstance(kind, TwoFactors):
                    own = {name: shape for name, shape in shapes.items() if layer_of(name) in layers}
                    found[owner] = {name: drawn(shape, stream) for name, shape in own.items()}
                else:
                    fresh = {name: drawn(shape, stream) for name, shape in shapes.items()}
                    found[owner] = {name: tensor for name, tensor in fresh.items() if layer_of(name) in layers}
                found[owner] = {name: tensor.to(device, self.dtype) for name, tensor in found[owner].items()}
                if "out_of.weight" in found[owner]:
                    # Entries of U have variance 1 / space_dim, so that those of U V have V's, 1 / (3 in).
                    found[owner]["out_of.weight"] *= math.sqrt(3)
                for tensor in found[owner].values():
                    tensor.requires_grad_()
        return found

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        SAMPLERS.get(self.sampling)(sizes, self.pairs_per_step, 0)
        kind = self.applied(sizes)
        counted: dict[str, int] = {}
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
            generation=self.merging(sizes),
        )

    def merging(self, sizes: Sizes) -> float:
        """FLOPs of merging the factors of all pairs for scoring."""
        if not isinstance(self.applied(sizes), TwoFactors):
            return 0.0
        dims = [sizes.dims(pair) for pair in sizes.pairs]
        return sum(linear_forward(d.out_dim, self.space_dim, d.in_dim) for d in dims)


def _layers(kind: ConnectorKind, dims: Dims) -> list[str]:
    return list(dict.fromkeys(layer_of(name) for name in kind.shapes(dims)))


def owners(sizes: Sizes, kind: ConnectorKind, pair: Pair) -> dict[str, list[str]]:
    """Owner -> which layers of the pair's connector it owns: the mapped encoder the first, the target the last."""
    mapped, target = sizes.sides(pair)
    first, *between, last = _layers(kind, sizes.dims(pair))
    return {mapped: [first], **({ALL: between} if between else {}), target: [last]}


def _tensors(owned: Mapping[str, Tensors], kind: ConnectorKind, sizes: Sizes, pair: Pair) -> dict[str, Tensor]:
    own = owners(sizes, kind, pair)
    return {name: tensor for owner in own for name, tensor in owned[owner].items()}


def merged(factors: Tensors) -> dict[str, Tensor]:
    """Two factors as one affine layer."""
    v, c, u, b = (factors[name] for name in ("into.weight", "into.bias", "out_of.weight", "out_of.bias"))
    return {"layers.0.weight": u @ v, "layers.0.bias": u @ c + b}
