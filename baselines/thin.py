"""Training in the few directions of the target space that connectors use: the same losses, for a fraction of the cost.

A step's cost grows with the target's dimension twice, in the connector and in the logits. What starting connectors make
of the rows lies mostly in a subspace: with an orthonormal basis Q of it and ``f(x) = Q g(x)``, the inner products
``f(x) . y = g(x) . Q'y`` and the norms ``|f(x)| = |g(x)|`` are exactly those of the narrow connector g and the narrow
targets ``Q'y``. So g is trained as any connector is, and then widened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from baselines.linalg import matmul_flops, qr_flops, sides_of
from baselines.whitening import PairedRows
from harness.contract.connector import Connector, Dims, Layers, as_connector, layer_of
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, Sizes
from harness.contract.split import Embeddings

SAMPLE = 1024
"""Outputs that the directions of a target encoder are found from, of all its pairs together."""


@dataclass(frozen=True)
class Thin:
    """A bank of another's rows in a subspace.

    Attributes:
        bank: The other.
        basis: ``[dim, rank]`` orthonormal columns.
    """

    bank: Embeddings
    basis: Float[np.ndarray, "dim rank"]

    def take(self, rows: Int64[np.ndarray, " rows"]) -> Float[np.ndarray, "rows rank"]:
        """Rows in the subspace; their norm is at most 1."""
        return self.bank.take(rows) @ self.basis


@dataclass(frozen=True, kw_only=True)
class ThinProblem(Problem):
    """A problem whose targets are narrow; its connectors are scored widened, at what that costs.

    Attributes:
        whole: The problem that it is a part of.
        bases: Target encoder -> ``[dim, rank]`` orthonormal basis, of those that are narrowed.
    """

    whole: Problem
    bases: Mapping[str, Float[Tensor, "dim rank"]]

    def score(self, pair: Pair, connector: Connector | Layers) -> float:
        """The whole problem's score of the widened connector."""
        return replace(self.whole, ledger=self.ledger).score(pair, self.widened(pair, as_connector(connector)))

    def narrowed(self, pair: Pair, start: Connector) -> Connector:
        """The connector whose widened form is nearest to a pair's start."""
        basis = self._basis(pair)
        return start if basis is None else _through(start, basis.T, self.whole.sizes.dims(pair))

    def widened(self, pair: Pair, connector: Connector) -> Connector:
        """A narrow connector as one into the whole target space; booked under ``solve``."""
        basis = self._basis(pair)
        if basis is None:
            return connector
        self.ledger.add("solve", widening_flops(self.whole.sizes, self.sizes, pair))
        return _through(connector, basis.to(next(iter(connector.tensors.values())).device), self.sizes.dims(pair))

    def _basis(self, pair: Pair) -> Tensor | None:
        return self.bases.get(self.sizes.sides(pair)[1])


def thin_problem(problem: Problem, starts: Mapping[Pair, Connector], rank: int) -> ThinProblem:
    """The problem in the leading directions of what its pairs' starts make of the training rows.

    Args:
        problem: The whole.
        starts: A connector of each of its pairs, linear, on its device.
        rank: Directions of every target encoder that has more dimensions; found and booked under ``solve``.
    """
    sizes, bases = problem.sizes, {}
    thin = thin_sizes(sizes, rank)
    for encoder, dim in sides_of(sizes)[1].items():
        if sides_of(thin)[1][encoder] < dim:
            bases[encoder] = _basis_of(problem, starts, encoder, sides_of(thin)[1][encoder])
            problem.ledger.add("solve", _basis_flops(sizes, encoder, sides_of(thin)[1][encoder]))
    narrow = sum(narrowing_flops(sizes, thin, pair) for pair in sizes.pairs)
    problem.ledger.add("solve", narrow)
    banks = problem.train.image_banks if sizes.direction == "text_to_image" else problem.train.text_banks
    thin_banks = {e: Thin(bank, bases[e].cpu().numpy()) if e in bases else bank for e, bank in banks.items()}
    side = "image_banks" if sizes.direction == "text_to_image" else "text_banks"
    return ThinProblem(
        sizes=thin,
        train=replace(problem.train, **{side: thin_banks}),
        validation=problem.validation,
        device=problem.device,
        ledger=problem.ledger,
        scorer=problem.scorer,
        higher_is_better=problem.higher_is_better,
        chance=problem.chance,
        rung=problem.rung,
        whole=problem,
        bases=bases,
    )


def thin_sizes(sizes: Sizes, rank: int) -> Sizes:
    """The sizes of ``thin_problem``."""
    dims = {e: min(dim, rank, _outputs(sizes, e)) for e, dim in sides_of(sizes)[1].items()}
    if sizes.direction == "text_to_image":
        return replace(sizes, image_dims={**sizes.image_dims, **dims})
    return replace(sizes, text_dims={**sizes.text_dims, **dims})


def thinning_flops(sizes: Sizes, rank: int) -> float:
    """FLOPs of ``thin_problem``."""
    thin = thin_sizes(sizes, rank)
    narrow = sides_of(thin)[1]
    found = sum(_basis_flops(sizes, e, narrow[e]) for e, dim in sides_of(sizes)[1].items() if narrow[e] < dim)
    return found + sum(narrowing_flops(sizes, thin, pair) for pair in sizes.pairs)


def projection_flops(sizes: Sizes, rank: int, rows: int) -> float:
    """FLOPs of reading so many rows of every narrowed target."""
    narrow = sides_of(thin_sizes(sizes, rank))[1]
    return sum(matmul_flops(rows, d, narrow[e]) for e, d in sides_of(sizes)[1].items() if narrow[e] < d)


def narrowing_flops(sizes: Sizes, thin: Sizes, pair: Pair) -> float:
    """FLOPs of ``ThinProblem.narrowed`` for a pair: its linear start through the basis."""
    wide, narrow = sizes.dims(pair), thin.dims(pair)
    return 0.0 if wide == narrow else matmul_flops(narrow.out_dim, wide.out_dim, wide.in_dim + 1)


def widening_flops(sizes: Sizes, thin: Sizes, pair: Pair) -> float:
    """FLOPs of ``ThinProblem.widened`` for a pair: the tensors of its connector's last layer through the basis."""
    wide, narrow = sizes.dims(pair), thin.dims(pair)
    shapes = sizes.connector.shapes(narrow)
    last = layer_of(list(shapes)[-1])
    entries = sum(shape.count for name, shape in shapes.items() if layer_of(name) == last)
    return 0.0 if wide == narrow else 2.0 * wide.out_dim * entries


def _through(connector: Connector, matrix: Float[Tensor, "new old"], dims: Dims) -> Connector:
    """A connector whose output is multiplied by a matrix: that of its last layer."""
    last = layer_of(list(connector.kind.shapes(dims))[-1])
    tensors = {n: matrix.to(t.dtype) @ t if layer_of(n) == last else t for n, t in connector.tensors.items()}
    return Connector(connector.kind, tensors)


def _sources(sizes: Sizes, target: str) -> list[Pair]:
    return [pair for pair in sizes.pairs if sizes.sides(pair)[1] == target]


def _each(sizes: Sizes, target: str) -> int:
    """Training rows that each pair of a target contributes outputs of."""
    return min(sizes.train_images, -(-SAMPLE // len(_sources(sizes, target))))


def _outputs(sizes: Sizes, target: str) -> int:
    return len(_sources(sizes, target)) * _each(sizes, target)


def _basis_of(problem: Problem, starts: Mapping[Pair, Connector], target: str, rank: int) -> Float[Tensor, "dim rank"]:
    """One step of subspace iteration over normalised outputs, from outputs spread evenly over them."""
    sizes = problem.sizes
    rows = PairedRows(problem, _each(sizes, target), "mean")
    parts = []
    for pair in _sources(sizes, target):
        source = rows.read(sizes.sides(pair)[0], text=sizes.direction == "text_to_image", part=slice(0, len(rows)))
        parts.append(functional.normalize(starts[pair](source), dim=-1))
    outputs = torch.cat(parts)
    spread = torch.linspace(0, len(outputs) - 1, rank, device=outputs.device).round().long()
    first = torch.linalg.qr(outputs[spread].T)[0]
    return torch.linalg.qr(outputs.T @ (outputs @ first))[0]


def _basis_flops(sizes: Sizes, target: str, rank: int) -> float:
    each, dim = _each(sizes, target), sides_of(sizes)[1][target]
    outputs = sum(matmul_flops(each, sizes.dims(pair).in_dim, dim) for pair in _sources(sizes, target))
    return outputs + 2 * matmul_flops(_outputs(sizes, target), dim, rank) + 2 * qr_flops(dim, rank)
