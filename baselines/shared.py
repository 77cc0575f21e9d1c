"""One connector for all target encoders of a dimension: the authors' "Multi-APE", with rows aligned properly."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from baselines.ape import pair_generator
from harness.connectors import Layers, init_layers, parameters
from harness.method import Budget, Estimate, Fit, Kind, Pair, Problem, Progress, Sizes
from harness.training import LogitScales, Recipe, Trainee, estimate_training, train

Group = tuple[str, int]
"""(mapped encoder, dimension it is mapped into)."""


def group_of(sizes: Sizes, pair: Pair) -> Group:
    """Pairs of one group share a connector."""
    return sizes.sides(pair)[0], sizes.shape(pair).out_dim


@dataclass(frozen=True, kw_only=True)
class SharedConnector(Recipe):
    """One connector per mapped encoder and target dimension, trained on the mean loss of its pairs.

    Every pair keeps its own logit scale. Encoders of the same dimension do not share their axes, so a shared linear
    map has to serve all of them at once: what that costs is what specialising to the pair is worth.
    """

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 1

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Train all groups together."""
        sizes = problem.sizes
        shared: dict[Group, Layers] = {}
        for pair in problem.pairs:
            group = group_of(sizes, pair)
            if group not in shared:
                generator = pair_generator(seed, (group[0], f"dimension {group[1]}"))
                shared[group] = init_layers(sizes.shape(pair), generator, device=problem.device)

        def generate(pairs: Sequence[Pair]) -> Mapping[Pair, Layers]:
            return {pair: shared[group_of(sizes, pair)] for pair in pairs}

        trainee = Trainee(
            parameters=[tensor for layers in shared.values() for tensor in parameters(layers)],
            generate=generate,
            scales=LogitScales(problem.pairs, self.logit_scale, problem.device),
            pair_sampler=itertools.repeat(problem.pairs),
            pairs_per_step=len(problem.pairs),
        )
        return train(problem, budget, self, trainee, seed=seed, progress=progress)

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending."""
        shapes = {group_of(sizes, pair): sizes.shape(pair) for pair in sizes.pairs}
        params = sum(shape.params for shape in shapes.values()) + len(sizes.pairs) * (self.logit_scale == "learned")
        return estimate_training(sizes, budget, self, pairs_per_step=len(sizes.pairs), trained_params=params)
