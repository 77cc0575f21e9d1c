"""The table of growth: its problems are parts of one world, its exponents those of power laws."""

import numpy as np
import pytest

from tests.benchmarks.scaling import METHODS, VALIDATION, Cost, cost_of, exponent, lines_of, world


def test_exponents_of_power_laws() -> None:
    sizes = [4, 36, 900]
    assert exponent(sizes, [7.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [3.0] * 3) == pytest.approx(0.0)
    costs = [Cost(1e9 * size, 2.0) for size in sizes]
    assert lines_of(sizes, {"m": costs}, "pairs")[2].endswith("| 900.00 GFLOP, 2.00 s | pairs^1.00 | pairs^0.00 |")


@pytest.mark.usefixtures("one_thread")
def test_problems_are_the_first_rows_and_encoders_of_one_world() -> None:
    encoders = world(2, 300)
    small, large = encoders.problem(1, 100), encoders.problem(2, 300)
    assert (len(small.problem.pairs), len(large.problem.pairs)) == (1, 4)
    assert (small.problem.sizes.train_images, large.problem.sizes.train_images) == (100, 300)
    assert small.problem.sizes.validation_images == large.problem.sizes.validation_images == VALIDATION
    at = np.arange(100)
    assert (small.problem.train.images("image00", at) == large.problem.train.images("image00", at)).all()
    method, budget = METHODS["spectral, rows: all"]
    assert cost_of(method, budget, large).flops > cost_of(method, budget, small).flops > 0
