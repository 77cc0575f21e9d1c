"""Hyma: one hypernetwork predicts the connectors of all pairs and is trained on mini-batches of pairs."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from harness.errors import HarnessError
from harness.method import Budget, Estimate, Fit, Kind, Problem, Progress, Sizes
from harness.training import LogitScales, Positive, Recipe, Trainee, estimate_training, train
from hyma.exposure import balanced
from hyma.hypernetwork import Hypernetwork

Size = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Hyma(Recipe):
    """Learned pair and layer embeddings, layer-wise prediction, model mini-batches with equal exposure.

    Attributes:
        pairs_per_step: Pairs in one step (the paper's B_m).
        condition_dim: Size of a pair's embedding.
        layer_dim: Size of a layer's embedding.
        hidden: Sizes of the hypernetwork's layers before its heads.
    """

    lr: Positive = 4e-3
    pairs_per_step: Size = 4
    condition_dim: Size = 32
    layer_dim: Size = 8
    hidden: tuple[Size, ...] = (64, 16)

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.hidden:
            raise ValueError("hidden must name at least one layer size")

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all pairs' connectors together."""
        network = self._network(problem.sizes, seed).to(problem.device)
        trainee = Trainee(
            parameters=list(network.parameters()),
            generate=network,
            scales=LogitScales(problem.pairs, self.logit_scale, problem.device),
            pair_sampler=balanced(problem.pairs, self.pairs_per_step, seed),
            pairs_per_step=self.pairs_per_step,
            hypernet_step=network.step_flops(self.pairs_per_step),
        )
        return train(problem, budget, self, trainee, seed=seed, progress=progress)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        with torch.device("meta"):
            network = self._network(sizes, 0)
        params = sum(p.numel() for p in network.parameters())
        return estimate_training(
            sizes,
            budget,
            self,
            pairs_per_step=self.pairs_per_step,
            trained_params=params + len(sizes.pairs) * (self.logit_scale == "learned"),
            hypernet_step=network.step_flops(self.pairs_per_step),
        )

    def _network(self, sizes: Sizes, seed: int) -> Hypernetwork:
        if self.pairs_per_step > len(sizes.pairs):
            raise HarnessError(
                f"pairs_per_step {self.pairs_per_step} is larger than the {len(sizes.pairs)} pairs",
                fix=f"set pairs_per_step to {len(sizes.pairs)} or less",
            )
        return Hypernetwork(
            sizes, condition_dim=self.condition_dim, layer_dim=self.layer_dim, hidden=self.hidden, seed=seed
        )
