"""FLOPs of dense factorisations, and moments of paired embeddings gathered in one pass.

Textbook counts (Golub & Van Loan, Matrix Computations, 4th ed.): what no counter can see because LAPACK does it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from harness.contract.pairs import Pair
from harness.contract.problem import Problem, Sizes

CHUNK = 8192
"""Caption rows read at once."""


def matmul_flops(rows: int, inner: int, columns: int) -> float:
    """``[rows, inner] @ [inner, columns]``."""
    return 2.0 * rows * inner * columns


def cholesky_flops(n: int) -> float:
    """Cholesky factorisation of ``[n, n]`` (algorithm 4.2.1): n^3 / 3."""
    return n**3 / 3


def cholesky_solve_flops(n: int, columns: int) -> float:
    """Two triangular solves (section 3.1): n^2 each and column."""
    return 2.0 * n * n * columns


def svd_flops(rows: int, columns: int) -> float:
    """Thin SVD with both sides' vectors (figure 8.6.1, Golub-Reinsch): 14 m n^2 + 8 n^3 with m >= n."""
    m, n = max(rows, columns), min(rows, columns)
    return 14.0 * m * n * n + 8.0 * n**3


def eigh_flops(n: int) -> float:
    """Symmetric eigenproblem with vectors (section 8.3): 9 n^3."""
    return 9.0 * n**3


def qr_flops(rows: int, columns: int) -> float:
    """Orthonormal basis of ``[rows, columns]`` by Householder reflections (5.2.2): 4 n^2 (m - n / 3)."""
    return 4.0 * columns * columns * (rows - columns / 3)


@dataclass(frozen=True)
class Moments:
    """Means and covariances of paired rows, float64; every caption is a row, beside its image.

    Attributes:
        rows: Captions.
        source_mean: Mapped encoder -> ``[dim]``.
        target_mean: Target encoder -> ``[dim]``.
        source: Mapped encoder -> ``[dim, dim]`` covariance.
        target: Target encoder -> ``[dim, dim]`` covariance; empty when nobody asked.
        cross: (mapped encoder, target encoder) -> ``[source dim, target dim]`` covariance.
    """

    rows: int
    source_mean: Mapping[str, Float[Tensor, " _"]]
    target_mean: Mapping[str, Float[Tensor, " _"]]
    source: Mapping[str, Float[Tensor, "_ _"]]
    target: Mapping[str, Float[Tensor, "_ _"]]
    cross: Mapping[tuple[str, str], Float[Tensor, "_ _"]]


def sides_of(sizes: Sizes) -> tuple[dict[str, int], dict[str, int]]:
    """(mapped encoders, target encoders) of the problem's pairs with their dimensions, in plan order."""
    sources, targets = {}, {}
    for pair in sizes.pairs:
        shape, (source, target) = sizes.dims(pair), sizes.sides(pair)
        sources[source], targets[target] = shape.in_dim, shape.out_dim
    return sources, targets


def captions_of(sizes: Sizes) -> int:
    """Training rows: captions."""
    return sizes.train_images if sizes.train_captions is None else sizes.train_captions


def moments_flops(sizes: Sizes, *, targets: bool) -> float:
    """Closed form of what ``gather_moments`` books."""
    rows, (source_dims, target_dims) = captions_of(sizes), sides_of(sizes)
    squares = [*source_dims.values(), *(target_dims.values() if targets else ())]
    pairs = [(sizes.dims(pair).in_dim, sizes.dims(pair).out_dim) for pair in sizes.pairs]
    return sum(matmul_flops(a, rows, b) for a, b in [*((d, d) for d in squares), *pairs])


def gather_moments(problem: Problem, *, targets: bool, chunk: int = CHUNK) -> Moments:
    """One pass over the training captions, each bank's chunk read once for all pairs; nothing else is held.

    Args:
        problem: The problem; the products are booked under ``solve``.
        targets: Gather the target encoders' covariances too.
        chunk: Caption rows at once.
    """
    sizes, train, device = problem.sizes, problem.train, problem.device
    backwards = sizes.direction == "image_to_text"
    source_dims, target_dims = sides_of(sizes)
    crossed = [sizes.sides(pair) for pair in sizes.pairs]

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=device)

    sums = {(side, e): zeros(d) for side, dims in enumerate((source_dims, target_dims)) for e, d in dims.items()}
    source = {encoder: zeros(dim, dim) for encoder, dim in source_dims.items()}
    target = {encoder: zeros(dim, dim) for encoder, dim in target_dims.items()} if targets else {}
    cross = {(s, t): zeros(source_dims[s], target_dims[t]) for s, t in crossed}
    n = len(train.caption_image)
    for start in range(0, n, chunk):
        captions = np.arange(start, min(start + chunk, n), dtype=np.int64)
        owners = train.caption_image[captions]

        def read(encoder: str, is_text: bool, at: np.ndarray = captions, of: np.ndarray = owners) -> Tensor:
            rows = train.texts(encoder, at) if is_text else train.images(encoder, of)
            return rows.to(device, torch.float64)

        xs = {encoder: read(encoder, not backwards) for encoder in source_dims}
        for encoder, x in xs.items():
            sums[0, encoder] += x.sum(0)
            source[encoder] += x.T @ x
        for encoder in target_dims:
            y = read(encoder, backwards)
            sums[1, encoder] += y.sum(0)
            if targets:
                target[encoder] += y.T @ y
            for s, t in crossed:
                if t == encoder:
                    cross[s, t] += xs[s].T @ y
    problem.ledger.add("solve", moments_flops(sizes, targets=targets))
    means = {key: total / n for key, total in sums.items()}
    return Moments(
        rows=n,
        source_mean={encoder: means[0, encoder] for encoder in source_dims},
        target_mean={encoder: means[1, encoder] for encoder in target_dims},
        source={e: c / n - torch.outer(means[0, e], means[0, e]) for e, c in source.items()},
        target={e: c / n - torch.outer(means[1, e], means[1, e]) for e, c in target.items()},
        cross={(s, t): c / n - torch.outer(means[0, s], means[1, t]) for (s, t), c in cross.items()},
    )


def regularised(covariance: Float[Tensor, "dim dim"], penalty: float) -> Float[Tensor, "dim dim"]:
    """Covariance plus ``penalty`` times its mean eigenvalue on the diagonal, so that a penalty is scale-free."""
    scale = covariance.diagonal().mean().clamp_min(1e-12)
    return covariance + penalty * scale * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)


def pairs_by_source(sizes: Sizes, pairs: Iterable[Pair]) -> dict[str, Sequence[Pair]]:
    """Mapped encoder -> its pairs: those that share its factorisation."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(sizes.sides(pair)[0], []).append(pair)
    return dict(groups)
