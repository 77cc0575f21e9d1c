"""Scores of how well one encoder's features explain the other's linearly: SVCCA, LogME, an H-score."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from baselines.linalg import (
    cholesky_flops,
    eigh_flops,
    matmul_flops,
    regularised,
    svd_flops,
)
from baselines.scores import SampleScore

Components = Annotated[int, Field(ge=1)]


def directions(x: Float[Tensor, "rows dim"], most: int, share: float = 1.0) -> Float[Tensor, "rows kept"]:
    """Orthonormal principal components of the centred rows: at most ``most``, fewer once they hold ``share``.

    By the eigenvectors of the smaller of covariance and Gram matrix.
    """
    x = x - x.mean(0)
    rows, dim = x.shape
    values, vectors = torch.linalg.eigh(x.T @ x if dim <= rows else x @ x.T)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    real = int((values > 1e-10 * values[0].clamp_min(1e-300)).sum())
    enough = int((values.cumsum(0) < share * values.sum() * (1 - 1e-12)).sum()) + 1
    kept = max(1, min(most, real, enough, rows - 1))
    if dim > rows:
        return vectors[:, :kept]
    return x @ vectors[:, :kept] / values[:kept].clamp_min(1e-300).sqrt()


def directions_flops(rows: int, dim: int, most: int) -> float:
    """Closed form of ``directions`` that keeps as many as it may."""
    small = min(rows, dim)
    total = matmul_flops(small, max(rows, dim), small) + eigh_flops(small)
    return total + (matmul_flops(rows, dim, min(most, dim, rows - 1)) if dim <= rows else 0.0)


@dataclass(frozen=True, kw_only=True)
class Svcca(SampleScore[Float[Tensor, "rows kept"]]):
    """Mean canonical correlation of the leading principal components (Raghu et al. 2017).

    The mean is over the smaller number of components. FLOPs are booked as if ``components`` were kept.

    Attributes:
        components: Most components of each side; many beside the number of rows correlate by chance.
        variance: Keep no more than explain this share of the variance.
    """

    components: Components = 32
    variance: Annotated[float, Field(gt=0, le=1)] = 0.99

    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> Float[Tensor, "rows kept"]:
        """Orthonormal principal components."""
        return directions(x, self.components, self.variance)

    def reorder(self, view: Float[Tensor, "rows kept"], order: Int64[Tensor, " rows"]) -> Float[Tensor, "rows kept"]:
        """Rows in the new order."""
        return view[order]

    def value(self, source: Float[Tensor, "rows kept"], target: Float[Tensor, "rows kept2"]) -> float:
        """0 to 1."""
        return float(torch.linalg.svdvals(source.T @ target).mean())

    def view_flops(self, rows: int, dim: int, *, is_target: bool) -> float:
        """Principal components."""
        del is_target
        return directions_flops(rows, dim, self.components)

    def value_flops(self, rows: int, source_dim: int, target_dim: int) -> float:
        """One product and one small SVD."""
        a, b = min(source_dim, self.components, rows - 1), min(target_dim, self.components, rows - 1)
        return matmul_flops(a, rows, b) + svd_flops(a, b)


@dataclass(frozen=True)
class Explained:
    """One side of a regression.

    Attributes:
        basis: ``[rows, kept]`` orthonormal left singular vectors (source), or targets of variance 1 (target).
        squares: ``[kept]`` squared singular values of the source; None for a target.
        dim: Features of the source.
    """

    basis: Float[Tensor, "rows kept"]
    squares: Float[Tensor, " kept"] | None
    dim: int


@dataclass(frozen=True, kw_only=True)
class LogMe(SampleScore[Explained]):
    """Log marginal evidence, per row and output, of a Bayesian linear regression (LogME; You et al. 2021).

    Regression form: from the source encoder's centred features to the target's leading principal components, each
    scaled to variance 1, so that targets of other dimensions and spreads are comparable. Prior and noise precision
    maximise the evidence (MacKay's fixed point).

    Attributes:
        components: Outputs: principal components of the target.
        iterations: Most steps of the fixed point.
    """

    components: Components = 32
    iterations: Annotated[int, Field(ge=1)] = 50

    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> Explained:
        """The source's singular vectors, or the target's standardised components."""
        if is_target:
            return Explained(directions(x, self.components) * len(x) ** 0.5, None, x.shape[1])
        x = x - x.mean(0)
        u, s, _ = torch.linalg.svd(x, full_matrices=False)
        real = s > 1e-8 * s.max().clamp_min(1e-300)
        return Explained(u[:, real], s[real] ** 2, x.shape[1])

    def reorder(self, view: Explained, order: Int64[Tensor, " rows"]) -> Explained:
        """Rows in the new order."""
        return Explained(view.basis[order], view.squares, view.dim)

    def value(self, source: Explained, target: Explained) -> float:
        """Mean log evidence in nats."""
        assert source.squares is not None
        return log_evidence(source.basis, source.squares, target.basis, source.dim, self.iterations)

    def view_flops(self, rows: int, dim: int, *, is_target: bool) -> float:
        """Principal components of a target, an SVD of a source."""
        return directions_flops(rows, dim, self.components) if is_target else svd_flops(rows, dim)

    def value_flops(self, rows: int, source_dim: int, target_dim: int) -> float:
        """The outputs in the source's basis; the fixed point is element-wise."""
        outputs = min(target_dim, self.components, rows - 1)
        return matmul_flops(min(rows, source_dim), rows, outputs)


def log_evidence(
    basis: Float[Tensor, "rows rank"],
    squares: Float[Tensor, " rank"],
    y: Float[Tensor, "rows outputs"],
    dim: int,
    iterations: int = 50,
) -> float:
    """Mean over rows and outputs of ``log p(y | F)`` maximised over prior precision alpha and noise precision beta.

    ``log p = D/2 log a + n/2 log b - n/2 log 2 pi - b/2 |F m - y|^2 - a/2 m'm - 1/2 log det(a I + b F'F)``
    (You et al. 2021, eq. 2) with ``m`` the posterior mean; alpha and beta by MacKay's fixed point, per output.

    Args:
        basis: Left singular vectors of the features F.
        squares: Their squared singular values.
        y: Outputs.
        dim: Columns of F (D).
        iterations: Most steps.
    """
    rows = len(y)
    seen = (basis.T @ y) ** 2  # [rank, outputs]
    unseen = ((y**2).sum(0) - seen.sum(0)).clamp_min(0)
    s = squares[:, None]
    tiny = 1e-12
    # ratio = alpha / beta; from a prior of the features' scale and noise of the outputs' variance.
    alpha = torch.ones_like(unseen) * squares.mean().clamp_min(tiny) / rows
    beta = rows / (y**2).sum(0).clamp_min(tiny)
    for _ in range(iterations):
        ratio = alpha / beta
        m2 = (s * seen / (s + ratio) ** 2).sum(0)
        error = unseen + (ratio**2 * seen / (s + ratio) ** 2).sum(0)
        gamma = (s / (s + ratio)).sum(0)
        alpha_new = (gamma / m2.clamp_min(tiny)).clamp(max=1e12)
        beta_new = (rows - gamma).clamp_min(tiny) / error.clamp_min(tiny)
        moved = ((alpha_new / beta_new - ratio).abs() / ratio).max()
        alpha, beta = alpha_new, beta_new
        if moved < 1e-6:
            break
    ratio = alpha / beta
    m2 = (s * seen / (s + ratio) ** 2).sum(0)
    error = unseen + (ratio**2 * seen / (s + ratio) ** 2).sum(0)
    log_det = torch.log(alpha + beta * s).sum(0) + (dim - len(squares)) * torch.log(alpha)
    evidence = dim * torch.log(alpha) + rows * torch.log(beta / (2 * torch.pi)) - beta * error - alpha * m2 - log_det
    return float(evidence.mean() / (2 * rows))


@dataclass(frozen=True, kw_only=True)
class HScore(SampleScore[Float[Tensor, "rows dim"]]):
    """What one side's conditional mean explains of the other, in whitened features: an H-score for paired data.

    The H-score is ``tr(cov(f)^-1 cov(E[f | y]))`` (Bao et al. 2019). With a linear conditional mean and paired features
    instead of classes it is ``tr(C_ss^-1 C_st C_tt^-1 C_ts)``: the sum of the squared canonical correlations. The
    covariances are shrunk towards a multiple of the identity, as Ibrahim et al. (2022) found necessary.

    Attributes:
        shrinkage: Added to each covariance, relative to its mean eigenvalue.
    """

    shrinkage: Annotated[float, Field(gt=0)] = 1.0

    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> Float[Tensor, "rows dim"]:
        """Rows whitened with the shrunk covariance, so that products of two views are correlations."""
        x = x - x.mean(0)
        factor = torch.linalg.cholesky(regularised(x.T @ x / len(x), self.shrinkage))
        return torch.linalg.solve_triangular(factor, x.T, upper=False).T / len(x) ** 0.5

    def reorder(self, view: Float[Tensor, "rows dim"], order: Int64[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        """Rows in the new order."""
        return view[order]

    def value(self, source: Float[Tensor, "rows dim"], target: Float[Tensor, "rows dim2"]) -> float:
        """Squared Frobenius norm of the whitened cross-covariance."""
        return float((source.T @ target).square().sum())

    def view_flops(self, rows: int, dim: int, *, is_target: bool) -> float:
        """Covariance, factorisation, one triangular solve."""
        del is_target
        return matmul_flops(dim, rows, dim) + cholesky_flops(dim) + float(dim * dim * rows)

    def value_flops(self, rows: int, source_dim: int, target_dim: int) -> float:
        """One product."""
        return matmul_flops(source_dim, rows, target_dim)
