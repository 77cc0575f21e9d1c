"""One trained layer per encoder in the place of one connector per pair: N + M parts for N x M pairs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from harness.connectors import ConnectorShape, Layers, init_layers, parameters
from harness.flops import connector_step, linear_step
from harness.method import Budget, Estimate, Fit, Kind, Pair, Problem, Progress, Sizes
from harness.seeding import generator
from harness.training import LogitScales, Positive, Recipe, Trainee, estimate_training, train
from hyma.exposure import SAMPLERS
from hyma.joint import Size

ALL = "all pairs"
"""Owner of what no encoder owns: the second hidden layer of an MLP."""


@dataclass(frozen=True, kw_only=True)
class EncoderLayers(Recipe):
    """Every pair's connector is composed of the layers of its two encoders, so that a step teaches rows of the grid.

    The extreme of a factored hypernetwork: its condition names the two encoders, and each picks its own layer. A
    linear connector is ``U_target V_mapped``, through a space that all pairs share; of an MLP the mapped encoder owns
    the first layer and the target the last (a second hidden layer belongs to all). Training generates no weights, and
    an encoder's layer is updated with every pair that it is part of: the larger the grid, the fewer updates a pair
    needs.

    Attributes:
        space_dim: Dimension of the shared space of linear connectors (and so their largest rank).
        pairs_per_step: Pairs in one step.
        sampling: As in ``hyma.joint.Joint``.
    """

    lr: Positive = 1e-2
    space_dim: Size = 128
    pairs_per_step: Size = 4
    sampling: str = "balanced"

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all encoders' layers together."""
        return train(problem, budget, self, self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> Trainee:
        """Every encoder's fresh layers, as ``train`` wants them."""
        sizes = problem.sizes
        owned = self.owned(sizes, seed, problem.device)

        def composed(pairs: Sequence[Pair]) -> Mapping[Pair, Layers]:
            return {pair: [layer for owner in owners(sizes, pair) for layer in owned[owner]] for pair in pairs}

        trainee = Trainee(
            parameters=[tensor for layers in owned.values() for tensor in parameters(layers)],
            generate=composed,
            scales=LogitScales(problem.pairs, self.logit_scale, problem.device, self.dtype),
            pair_sampler=SAMPLERS.get(self.sampling)(sizes, self.pairs_per_step, seed),
            pairs_per_step=self.pairs_per_step,
        )
        if sizes.hidden_layers:
            return trainee
        # Two thin products cost less than one product of merged weights; the connector is merged where it is scored.
        return dataclasses.replace(
            trainee,
            generate=lambda pairs: {pair: [merged(*layers)] for pair, layers in composed(pairs).items()},
            generate_from_batch=lambda pairs, batch: composed(pairs),
            apply=in_turn,
            connector_flops=self.connector_flops,
        )

    def owned(self, sizes: Sizes, seed: int, device: torch.device | str = "cpu") -> dict[str, Layers]:
        """Fresh layers of every owner. Each pair's connector starts with the variance of fresh ``nn.Linear`` layers."""
        found: dict[str, Layers] = {}
        for pair in sizes.pairs:
            shape = sizes.shape(pair)
            for owner, (start, stop) in owners(sizes, pair).items():
                if owner in found:
                    continue
                stream = generator(seed, owner)
                if sizes.hidden_layers:
                    found[owner] = init_layers(shape, stream, device=device, dtype=self.dtype)[start:stop]
                    continue
                into = ConnectorShape(shape.in_dim, self.space_dim), ConnectorShape(self.space_dim, shape.out_dim)
                ((weight, bias),) = init_layers(into[start], stream, device=device, dtype=self.dtype)
                with torch.no_grad():
                    # Entries of U have variance 1 / space_dim, so that those of U V have V's, 1 / (3 in).
                    weight *= math.sqrt(3) if start else 1.0
                found[owner] = [(weight, bias)]
        return found

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        SAMPLERS.get(self.sampling)(sizes, self.pairs_per_step, 0)
        owned = self.owned(sizes, 0, "meta")
        params = sum(tensor.numel() for layers in owned.values() for tensor in parameters(layers))
        return estimate_training(
            sizes,
            budget,
            self,
            pairs_per_step=self.pairs_per_step,
            trained_params=params + len(sizes.pairs) * (self.logit_scale == "learned"),
            connector_flops=connector_step if sizes.hidden_layers else self.connector_flops,
        )

    def connector_flops(self, shape: ConnectorShape, rows: int) -> float:
        """FLOPs of one step of a linear pair: V and U, forward and backward (V's inputs are frozen)."""
        into = linear_step(rows, shape.in_dim, self.space_dim, input_gradient=False)
        return into + linear_step(rows, self.space_dim, shape.out_dim)


def owners(sizes: Sizes, pair: Pair) -> dict[str, tuple[int, int]]:
    """Owner -> which layers of the pair's connector it owns, from the mapped side on (start and stop)."""
    mapped, target = sizes.sides(pair)
    depth = max(2, sizes.hidden_layers + 1)
    between = {ALL: (1, depth - 1)} if depth > 2 else {}
    return {mapped: (0, 1), **between, target: (depth - 1, depth)}


def merged(
    into: tuple[Float[Tensor, "space in_dim"], Float[Tensor, " space"]],
    out_of: tuple[Float[Tensor, "out_dim space"], Float[Tensor, " out_dim"]],
) -> tuple[Float[Tensor, "out_dim in_dim"], Float[Tensor, " out_dim"]]:
    """Two linear layers as one."""
    (v, c), (u, b) = into, out_of
    return u @ v, u @ c + b


def in_turn(layers: Layers, x: Float[Tensor, "rows in_dim"]) -> Float[Tensor, "rows out_dim"]:
    """Linear layers one after the other, with nothing in between."""
    for weight, bias in layers:
        x = functional.linear(x, weight, bias)
    return x
