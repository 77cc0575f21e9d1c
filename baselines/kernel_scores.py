"""Scores of how alike two encoders' similarities between the same rows are: mutual k-NN, CKA, CKNNA."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from baselines.linalg import matmul_flops
from baselines.scores import SampleScore

Neighbours = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class KernelView:
    """One encoder's similarities.

    Attributes:
        kernel: ``[rows, rows]``, centred as the score needs it.
        near: ``[rows, rows]`` whether the column is among the row's nearest neighbours.
    """

    kernel: Float[Tensor, "rows rows"] | None = None
    near: Bool[Tensor, "rows rows"] | None = None


@dataclass(frozen=True, kw_only=True)
class KernelScore(SampleScore[KernelView]):
    """A score of two ``[rows, rows]`` matrices: their inner products are what a pair costs."""

    def reorder(self, view: KernelView, order: Int64[Tensor, " rows"]) -> KernelView:
        """Both axes in the new order."""
        moved = [None if matrix is None else matrix[order][:, order] for matrix in (view.kernel, view.near)]
        return KernelView(*moved)

    def view_flops(self, rows: int, dim: int, *, is_target: bool) -> float:
        """One Gram matrix."""
        del is_target
        return matmul_flops(rows, dim, rows)

    def value_flops(self, rows: int, source_dim: int, target_dim: int) -> float:
        """One inner product of two matrices."""
        del source_dim, target_dim
        return 2.0 * rows * rows


def neighbours(kernel: Float[Tensor, "rows rows"], k: int) -> Bool[Tensor, "rows rows"]:
    """Whether the column is among the k largest similarities of the row, the row itself left out."""
    rows = len(kernel)
    others = kernel.masked_fill(torch.eye(rows, dtype=torch.bool, device=kernel.device), -torch.inf)
    best = others.topk(min(k, rows - 1), dim=1).indices
    return torch.zeros_like(kernel, dtype=torch.bool).scatter_(1, best, True)


@dataclass(frozen=True, kw_only=True)
class MutualKnn(KernelScore):
    """Mean share of the k nearest neighbours (by cosine) that both encoders agree on (Huh et al. 2024).

    Attributes:
        k: Neighbours.
    """

    k: Neighbours = 10

    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> KernelView:
        """Who is near to whom."""
        unit = functional.normalize(x, dim=-1)
        return KernelView(near=neighbours(unit @ unit.T, self.k))

    def value(self, source: KernelView, target: KernelView) -> float:
        """Overlap, 0 to 1; k / (rows - 1) by chance."""
        assert source.near is not None and target.near is not None
        return float((source.near & target.near).sum() / target.near.sum())


@dataclass(frozen=True, kw_only=True)
class Cka(KernelScore):
    """Linear centred kernel alignment (Kornblith et al. 2019): normalised HSIC of the two Gram matrices.

    Attributes:
        debiased: Use the unbiased estimator of HSIC (Song et al. 2012, eq. 5), whose mean is 0 for independent rows;
            the biased one is not comparable between dimensions when rows are few.
    """

    debiased: bool = True

    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> KernelView:
        """The centred Gram matrix; for the unbiased estimator, U-centred (Székely & Rizzo 2014): zero diagonal."""
        return KernelView(kernel=(u_centred if self.debiased else centred)(x @ x.T))

    def value(self, source: KernelView, target: KernelView) -> float:
        """1 for equal geometry; 0 without any (for the debiased estimator, in the mean)."""
        assert source.kernel is not None and target.kernel is not None
        norm = source.kernel.norm() * target.kernel.norm()
        return float((source.kernel * target.kernel).sum() / norm) if norm > 0 else 0.0


def centred(kernel: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows rows"]:
    """``H K H``: rows and columns have mean 0."""
    rows = kernel.mean(1)
    return kernel - rows[:, None] - rows[None, :] + rows.mean()


def u_centred(kernel: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows rows"]:
    """U-centring: inner products of such matrices are the unbiased estimator of HSIC, up to ``rows (rows - 3)``."""
    n = len(kernel)
    kernel = kernel - torch.diag(kernel.diagonal())
    rows = kernel.sum(1)
    out = kernel - (rows[:, None] + rows[None, :]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return out.fill_diagonal_(0.0)


@dataclass(frozen=True, kw_only=True)
class Cknna(KernelScore):
    """CKA between mutual nearest neighbours only (Huh et al. 2024, appendix A).

    ``Align(K, L) / sqrt(Align(K, K) Align(L, L))``, where Align sums the products of row-centred similarities over the
    (row, column) that are neighbours on both sides.

    Attributes:
        k: Neighbours.
    """

    k: Neighbours = 10

    def view(self, x: Float[Tensor, "rows dim"], *, is_target: bool) -> KernelView:
        """Row-centred similarities and who is near to whom."""
        unit = functional.normalize(x, dim=-1)
        kernel = unit @ unit.T
        return KernelView(kernel - kernel.mean(1, keepdim=True), neighbours(kernel, self.k))

    def value(self, source: KernelView, target: KernelView) -> float:
        """1 for equal geometry, towards 0 without shared neighbours."""
        assert source.kernel is not None and target.kernel is not None
        assert source.near is not None and target.near is not None
        left, right = source.kernel * source.near, target.kernel * target.near
        norm = left.norm() * right.norm()
        return float((left * right).sum() / norm) if norm > 0 else 0.0
