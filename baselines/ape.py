"""APE: every pair's connector trained on its own. The grid search that Hyma is compared with."""

import itertools
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.seeding import generator
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Rates, Recipe, refuse_shared
from harness.training.trainee import PairByPair


def pair_generator(seed: int, pair: Pair) -> torch.Generator:
    """The pair's own random stream: the same whatever other pairs are trained beside it."""
    return generator(seed, "connector", *pair)


@dataclass(frozen=True, kw_only=True)
class Ape(Recipe):
    """One connector per pair: symmetric InfoNCE, AdamW, warm-up and cosine.

    The batches depend on the seed alone, the initial weights on seed and pair.
    """

    lr: Rates = 2e-3

    kind: ClassVar[Kind] = "per_pair"
    version: ClassVar[int] = 2
    pairs_alone: ClassVar[Literal[True]] = True

    def __post_init__(self) -> None:
        refuse_shared(self.tune)

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train the cell's one pair."""
        return train(problem, budget, self, lambda: self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> PairByPair:
        """The pair's fresh connector, as ``train`` wants it."""
        (pair,) = problem.pairs
        kind, dims = problem.sizes.connector, problem.sizes.dims(pair)
        tensors = kind.init(dims, pair_generator(seed, pair), device=problem.device, dtype=self.dtype)
        connector = Connector(kind, tensors)
        return PairByPair(
            parameters=list(tensors.values()),
            objective=problem.objective(logit_scale=self.logit_scale, dtype=self.dtype),
            connectors=lambda pairs: dict.fromkeys(pairs, connector),
            pair_sampler=itertools.repeat((pair,)),
            pairs_per_step=1,
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of one cell's spending."""
        (pair,) = sizes.pairs
        params = sizes.connector.params(sizes.dims(pair))
        return estimate_training(sizes, budget, self, pairs_per_step=1, parameters=params)
