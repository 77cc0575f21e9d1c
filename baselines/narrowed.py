"""A linear map through fewer directions: those along which what it makes of the data spreads most."""

import torch
from jaxtyping import Float
from torch import Tensor

from baselines.linalg import eigh_flops, matmul_flops
from baselines.whitening import PairedRows, row_count
from harness.contract.connector import Connector, Factors
from harness.contract.pairs import Pair
from harness.contract.problem import Problem, Sizes

ROWS_PER_DIM = 2
"""Training images for each output dimension that the spread is measured on: enough to tell large from small."""


def narrowed(problem: Problem, pair: Pair, linear: Connector, rank: int) -> tuple[Factors, Float[Tensor, " out_dim"]]:
    """The map of this rank that is nearest to a linear connector on a sample of training rows, in mean square.

    With outputs ``y = W x + b`` of mean m, and U their leading principal directions, it is ``U U' (y - m) + m``
    (reduced-rank approximation; Eckart and Young 1936). Booked under ``solve``.

    Args:
        problem: Whose training rows.
        pair: Whose connector.
        linear: The connector.
        rank: Directions that are kept; at most the output dimension.

    Returns:
        The map, and its bias.
    """
    sizes = problem.sizes
    weight, bias = linear.tensors["layers.0.weight"], linear.tensors["layers.0.bias"]
    rows = PairedRows(problem, ROWS_PER_DIM * len(weight))
    source = sizes.sides(pair)[0]
    x = rows.read(source, text=sizes.direction == "text_to_image", part=slice(0, len(rows)))
    middle = x.mean(dim=0)
    spread = (x - middle) @ weight.T
    leading = torch.linalg.eigh((spread.T @ spread).double()).eigenvectors[:, -rank:].to(weight)
    problem.ledger.add("solve", narrowing_flops(sizes, pair, rank))
    seen, mean = leading.T @ weight, weight @ middle
    return Factors(heard=leading, seen=seen), bias + mean - leading @ (leading.T @ mean)


def narrowing_flops(sizes: Sizes, pair: Pair, rank: int) -> float:
    """FLOPs of ``narrowed``: a mapped sample, its covariance and principal directions, the product with the map."""
    dims = sizes.dims(pair)
    rows = row_count(sizes, ROWS_PER_DIM * dims.out_dim)
    products = matmul_flops(rows, dims.in_dim, dims.out_dim) + matmul_flops(dims.out_dim, rows, dims.out_dim)
    return products + eigh_flops(dims.out_dim) + matmul_flops(rank, dims.out_dim, dims.in_dim)
