"""One connector for all target encoders of a dimension: the authors' "Multi-APE", with rows aligned properly."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from baselines.ape import pair_generator
from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.training.counting import estimate_training
from harness.training.loop import train
from harness.training.recipe import Recipe
from harness.training.trainee import PairByPair

Group = tuple[str, int]
"""(mapped encoder, dimension it is mapped into)."""


def group_of(sizes: Sizes, pair: Pair) -> Group:
    """Pairs of one group share a connector."""
    return sizes.sides(pair)[0], sizes.dims(pair).out_dim


@dataclass(frozen=True, kw_only=True)
class SharedConnector(Recipe):
    """One connector per mapped encoder and target dimension, trained on the mean loss of its pairs.

    Every pair keeps its own logit scale. Encoders of the same dimension do not share their axes, so a shared linear
    map has to serve all of them at once: what that costs is what specialising to the pair is worth.
    """

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 2

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all groups together."""
        return train(problem, budget, self, lambda: self.trainee(problem, seed), seed=seed, progress=progress)

    def trainee(self, problem: Problem, seed: int) -> PairByPair:
        """The groups' fresh connectors, as ``train`` wants them."""
        sizes = problem.sizes
        shared: dict[Group, Connector] = {}
        for pair in problem.pairs:
            group = group_of(sizes, pair)
            if group not in shared:
                stream = pair_generator(seed, (group[0], f"dimension {group[1]}"))
                tensors = sizes.connector.init(sizes.dims(pair), stream, device=problem.device, dtype=self.dtype)
                shared[group] = Connector(sizes.connector, tensors)

        def connectors(pairs: Sequence[Pair]) -> Mapping[Pair, Connector]:
            return {pair: shared[group_of(sizes, pair)] for pair in pairs}

        return PairByPair(
            parameters=[tensor for connector in shared.values() for tensor in connector.tensors.values()],
            objective=problem.objective(logit_scale=self.logit_scale, dtype=self.dtype),
            connectors=connectors,
            pair_sampler=itertools.repeat(problem.pairs),
            pairs_per_step=len(problem.pairs),
        )

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending."""
        groups = {group_of(sizes, pair): sizes.connector.params(sizes.dims(pair)) for pair in sizes.pairs}
        return estimate_training(sizes, budget, self, pairs_per_step=len(sizes.pairs), parameters=sum(groups.values()))
