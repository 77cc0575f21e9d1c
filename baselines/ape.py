"""APE: every pair's connector trained on its own. The grid search that Hyma is compared with."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch

from harness.connectors import Layers, init_layers, parameters
from harness.method import Budget, Estimate, Fit, Kind, Pair, Problem, Progress, Sizes
from harness.seeding import generator
from harness.training import LogitScales, Positive, Recipe, Trainee, estimate_training, train


def pair_generator(seed: int, pair: Pair) -> torch.Generator:
    """The pair's own random stream: the same whatever other pairs are trained beside it."""
    return generator(seed, *pair)


@dataclass(frozen=True, kw_only=True)
class Ape(Recipe):
    """One connector per pair: symmetric InfoNCE, AdamW, warm-up and cosine.

    The batches depend on the seed alone, the initial weights on seed and pair.
    """

    lr: Positive = 2e-3

    kind: ClassVar[Kind] = "per_pair"
    version: ClassVar[int] = 1

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train the cell's one pair."""
        return train(problem, budget, self, self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> Trainee:
        """The pair's fresh connector, as ``train`` wants it."""
        (pair,) = problem.pairs
        stream = pair_generator(seed, pair)
        layers: Layers = init_layers(problem.sizes.shape(pair), stream, device=problem.device, dtype=self.dtype)
        return Trainee(
            parameters=parameters(layers),
            generate=lambda pairs: dict.fromkeys(pairs, layers),
            scales=LogitScales(problem.pairs, self.logit_scale, problem.device, self.dtype),
            pair_sampler=itertools.repeat((pair,)),
            pairs_per_step=1,
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        (pair,) = sizes.pairs
        params = sizes.shape(pair).params + (self.logit_scale == "learned")
        return estimate_training(sizes, budget, self, pairs_per_step=1, trained_params=params)
