"""Connectors in closed form: ridge regression, canonical correlations, Procrustes. No gradient descent, no batches.

All three are linear maps of the centred source ``x - mean(x)`` whose bias carries the mean, fitted on every training
caption beside its image. The target side's features stay as they are. What is ranked by is their inner product with
the mapped source, which the target's mean would shift by something that says nothing about the match. So its
direction is projected out of the map (``centre``): the inner product with an untouched target is then that with
the centred one.

The connector is linear whatever ``connector.hidden_layers`` says, and is booked as such.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from baselines.linalg import (
    Moments,
    cholesky_flops,
    cholesky_solve_flops,
    gather_moments,
    matmul_flops,
    moments_flops,
    pairs_by_source,
    regularised,
    sides_of,
    svd_flops,
)
from harness.connectors.linear import Linear
from harness.contract.budget import Budget
from harness.contract.connector import Connector
from harness.contract.fit import Estimate, Fit, Progress
from harness.contract.objective import ScalesTargets
from harness.contract.pairs import Kind, Pair
from harness.contract.problem import Problem, Sizes
from harness.errors import HarnessError

Penalty = Annotated[float, Field(gt=0)]
Penalties = Annotated[tuple[Penalty, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class ClosedForm(ABC):
    """What the closed forms share: moments, one factorisation per encoder for all its pairs, the validation pick.

    The seed and the budget change nothing.
    """

    kind: ClassVar[Kind] = "joint"
    version: ClassVar[int] = 2
    without_budget: ClassVar[Literal[True]] = True
    needs_targets: ClassVar[bool] = False
    """Whether the target encoders' covariances are needed."""

    @property
    def choices(self) -> Sequence[float]:
        """Penalties to choose from on validation data, pair by pair."""
        return (0.0,)

    @abstractmethod
    def maps(self, moments: Moments, sizes: Sizes, penalty: float) -> Iterator[tuple[Pair, Tensor]]:
        """The map ``[source, target]`` of every pair, so that ``(x - mean) @ map`` lies in the target's space."""

    @abstractmethod
    def solve_flops(self, sizes: Sizes) -> float:
        """FLOPs of ``maps`` for one penalty."""

    def fit(self, problem: Problem, budget: Budget, *, seed: int, progress: Progress) -> Fit:
        """Solve for all pairs; keep each pair's best penalty on validation data."""
        sizes, sign = problem.sizes, 1.0 if problem.higher_is_better else -1.0
        with problem.ledger.section("moments"):
            moments = gather_moments(problem, targets=self.needs_targets)
        scores: dict[Pair, float] = {}
        connectors: dict[Pair, Connector] = {}
        done = 0
        for penalty in self.choices:
            problem.ledger.add("solve", self.solve_flops(sizes))
            for pair, weights in self.maps(moments, sizes, penalty):
                made = self.connector(problem, moments, pair, weights)
                score = problem.score(pair, made)
                if pair not in scores or sign * score > sign * scores[pair]:
                    scores[pair], connectors[pair] = score, made
                done += 1
                progress(done, len(self.choices) * len(sizes.pairs))
        return Fit(
            scores={pair: scores[pair] for pair in sizes.pairs},
            connectors=connectors,
            ledger=problem.ledger,
            samples_per_pair=float(moments.rows),
            trained_params=_params(sizes),
        )

    @abstractmethod
    def connector(
        self, problem: Problem, moments: Moments, pair: Pair, weights: Float[Tensor, "source target"]
    ) -> Connector:
        """The linear connector that a map makes."""

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending, exact."""
        choices = len(self.choices)
        solve = moments_flops(sizes, targets=self.needs_targets) + choices * self.solve_flops(sizes)
        scored = choices * sum(sizes.score_flops(pair, Linear()) for pair in sizes.pairs)
        return Estimate({"solve": solve, "eval": scored}, trained_params=_params(sizes))


def _params(sizes: Sizes) -> int:
    return sum(Linear().params(sizes.dims(pair)) for pair in sizes.pairs)


@dataclass(frozen=True, kw_only=True)
class Centred(ClosedForm):
    """Base of closed forms for similarities: only directions count.

    Attributes:
        centre: Project the target mean's direction out of the map.
    """

    centre: bool = True

    def connector(
        self, problem: Problem, moments: Moments, pair: Pair, weights: Float[Tensor, "source target"]
    ) -> Connector:
        """The map of the centred source."""
        source, target = problem.sizes.sides(pair)
        if self.centre:
            mean = moments.target_mean[target]
            unit = mean / mean.norm().clamp_min(1e-12)
            weights = weights - torch.outer(weights @ unit, unit)
        tensors = {"layers.0.weight": weights.T, "layers.0.bias": -(moments.source_mean[source] @ weights)}
        return Connector(Linear(), tensors).frozen()

    def estimate(self, sizes: Sizes, budget: Budget) -> Estimate:
        """Closed form of the spending, exact.

        Raises:
            HarnessError: The objective is no similarity.
        """
        check_similarity(sizes)
        return super().estimate(sizes, budget)


def check_similarity(sizes: Sizes) -> None:
    """Refuse an objective to which the length of a mapped row matters.

    Raises:
        HarnessError: It is such a one.
    """
    if isinstance(sizes.objective, ScalesTargets):
        raise HarnessError(
            "solves for similarities, where only directions count, and the objective is none",
            fix="use least_squares, or train",
        )


@dataclass(frozen=True, kw_only=True)
class Ridge(Centred):
    """Least squares from source to target, ``(C_ss + penalty mean(eig) I)^-1 C_st``.

    One Cholesky factorisation per source encoder and penalty serves all its pairs.

    Attributes:
        penalties: Penalties to choose from, relative to the mean eigenvalue of the source's covariance.
    """

    penalties: Penalties = (1e-2, 1e-1, 1.0, 10.0)

    @property
    def choices(self) -> Sequence[float]:
        """The penalties."""
        return self.penalties

    def maps(self, moments: Moments, sizes: Sizes, penalty: float) -> Iterator[tuple[Pair, Tensor]]:
        """Ridge solutions."""
        return ridge_maps(moments, sizes, penalty)

    def solve_flops(self, sizes: Sizes) -> float:
        """See ``ridge_flops``."""
        return ridge_flops(sizes)


def ridge_maps(moments: Moments, sizes: Sizes, penalty: float) -> Iterator[tuple[Pair, Tensor]]:
    """The ridge solution of every pair."""
    for source, pairs in pairs_by_source(sizes, sizes.pairs).items():
        factor = torch.linalg.cholesky(regularised(moments.source[source], penalty))
        for pair in pairs:
            yield pair, torch.cholesky_solve(moments.cross[sizes.sides(pair)], factor)


def ridge_flops(sizes: Sizes) -> float:
    """One factorisation per source encoder, two triangular solves per pair."""
    shapes = [sizes.dims(pair) for pair in sizes.pairs]
    solves = sum(cholesky_solve_flops(shape.in_dim, shape.out_dim) for shape in shapes)
    return sum(map(cholesky_flops, sides_of(sizes)[0].values())) + solves


@dataclass(frozen=True, kw_only=True)
class Cca(Centred):
    """Regularised canonical correlation analysis as a connector into the untouched target space.

    With Cholesky factors ``C_ss = L L'``, ``C_tt = M M'`` (regularised) and ``L^-1 C_st M^-T = U diag(rho) V'``, the
    canonical directions are ``A = L^-T U`` and ``B = M^-T V``. The map is ``A diag(w) B'``: then ``f(x) . y``, with y
    as it is, equals the inner product ``sum_k w_k u_k v_k`` of the canonical variates. So retrieval by cosine with
    untouched targets is retrieval in canonical space (short of normalising the target's variates).
    With ``w = rho`` no SVD is needed: the map is ``C_ss^-1 C_st C_tt^-1``. With ``w = rho / (1 - rho^2)`` the inner
    product is the bilinear part of the log ratio ``p(x, y) / (p(x) p(y))`` of jointly Gaussian sides.

    Attributes:
        penalties: Penalties to choose from, relative to the mean eigenvalue of each covariance; used for both sides.
        weights: ``information`` (rho / (1 - rho^2)) or ``correlation`` (rho), which is cheaper.
        components: Canonical directions to keep; None: all.
    """

    penalties: Penalties = (1e-2, 1e-1, 1.0)
    weights: Literal["correlation", "information"] = "information"
    components: Annotated[int, Field(gt=0)] | None = None

    needs_targets: ClassVar[bool] = True

    @property
    def choices(self) -> Sequence[float]:
        """The penalties."""
        return self.penalties

    @property
    def _needs_svd(self) -> bool:
        return self.weights != "correlation" or self.components is not None

    def maps(self, moments: Moments, sizes: Sizes, penalty: float) -> Iterator[tuple[Pair, Tensor]]:
        """CCA maps; every encoder is factorised once."""
        target_factors = {t: torch.linalg.cholesky(regularised(c, penalty)) for t, c in moments.target.items()}
        for source, pairs in pairs_by_source(sizes, sizes.pairs).items():
            factor = torch.linalg.cholesky(regularised(moments.source[source], penalty))
            for pair in pairs:
                yield pair, self._map(factor, target_factors[sizes.sides(pair)[1]], moments.cross[sizes.sides(pair)])

    def _map(
        self,
        source: Float[Tensor, "source source"],
        target: Float[Tensor, "target target"],
        cross: Float[Tensor, "source target"],
    ) -> Float[Tensor, "source target"]:
        if not self._needs_svd:
            return torch.cholesky_solve(torch.cholesky_solve(cross, source).T, target).T
        white = torch.linalg.solve_triangular(source, cross, upper=False)
        white = torch.linalg.solve_triangular(target, white.T, upper=False).T
        u, rho, vt = torch.linalg.svd(white, full_matrices=False)
        kept = slice(self.components)
        rho = rho[kept].clamp(max=1 - 1e-6)
        weight = rho if self.weights == "correlation" else rho / (1 - rho**2)
        a = torch.linalg.solve_triangular(source.T, u[:, kept], upper=True)
        b = torch.linalg.solve_triangular(target.T, vt[kept].T, upper=True)
        return (a * weight) @ b.T

    def solve_flops(self, sizes: Sizes) -> float:
        """Factorisations of both sides; per pair the solves, and the SVD where one is needed."""
        total = sum(cholesky_flops(dim) for dims in sides_of(sizes) for dim in dims.values())
        for shape in map(sizes.dims, sizes.pairs):
            s, t = shape.in_dim, shape.out_dim
            if not self._needs_svd:
                total += cholesky_solve_flops(s, t) + cholesky_solve_flops(t, s)
                continue
            kept = min(s, t, self.components or s)
            total += s * s * t + t * t * s + svd_flops(s, t)
            total += kept * (s * s + t * t) + matmul_flops(s, kept, t)
        return total


@dataclass(frozen=True, kw_only=True)
class Procrustes(Centred):
    """The orthogonal map (semi-orthogonal between different dimensions) that best superposes the centred sides.

    ``U V'`` of the SVD of the cross-covariance (Schönemann 1966). Nothing to choose.
    """

    def maps(self, moments: Moments, sizes: Sizes, penalty: float) -> Iterator[tuple[Pair, Tensor]]:
        """Orthogonal maps."""
        del penalty
        for pair in sizes.pairs:
            u, _, vt = torch.linalg.svd(moments.cross[sizes.sides(pair)], full_matrices=False)
            yield pair, u @ vt

    def solve_flops(self, sizes: Sizes) -> float:
        """One SVD and one product per pair."""
        shapes = [sizes.dims(pair) for pair in sizes.pairs]
        return sum(
            svd_flops(s.in_dim, s.out_dim) + matmul_flops(s.in_dim, min(s.in_dim, s.out_dim), s.out_dim) for s in shapes
        )
