"""Least squares onto the targets themselves, with the length that the objective wants: no gradient descent.

For a language model the target is the mean input embedding of a caption's tokens, so a picture becomes the word that
its caption is on average.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from baselines.closed_form import ClosedForm, Penalties, ridge_flops, ridge_maps
from baselines.linalg import Moments, matmul_flops
from harness.connectors.linear import Linear
from harness.contract.connector import Connector
from harness.contract.objective import ScalesTargets
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, Sizes


@dataclass(frozen=True, kw_only=True)
class LeastSquares(ClosedForm):
    """Ridge regression from source to target with its intercept, then one factor for the length of mapped rows.

    Mapped training rows have the length that the objective wants (``ScalesTargets``) in the root mean square; where
    it wants none, length 1.

    Attributes:
        penalties: Penalties to choose from, relative to the mean eigenvalue of the source's covariance.
    """

    penalties: Penalties = (1e-2, 1e-1, 1.0, 10.0)

    version: ClassVar[int] = 1

    @property
    def choices(self) -> Sequence[float]:
        """The penalties."""
        return self.penalties

    def maps(self, moments: Moments, sizes: Sizes, penalty: float) -> Iterator[tuple[Pair, Tensor]]:
        """Ridge solutions."""
        return ridge_maps(moments, sizes, penalty)

    def connector(
        self, problem: Problem, moments: Moments, pair: Pair, weights: Float[Tensor, "source target"]
    ) -> Connector:
        """Slope and intercept, scaled together."""
        objective, (source, target) = problem.sizes.objective, problem.sizes.sides(pair)
        wanted = objective.target_norm(pair, problem.device) if isinstance(objective, ScalesTargets) else 1.0
        mean = moments.target_mean[target]
        square = (weights * (moments.source[source] @ weights)).sum() + mean @ mean
        factor = wanted / square.sqrt().clamp_min(1e-12)
        bias = factor * (mean - moments.source_mean[source] @ weights)
        tensors = {"layers.0.weight": factor * weights.T, "layers.0.bias": bias}
        return Connector(Linear(), tensors).frozen()

    def solve_flops(self, sizes: Sizes) -> float:
        """The regressions, and the mean square length of mapped rows."""
        shapes = [sizes.dims(pair) for pair in sizes.pairs]
        return ridge_flops(sizes) + sum(matmul_flops(s.in_dim, s.in_dim, s.out_dim) for s in shapes)
