"""The table that ``make bench`` ends with: what it calls a step is the training's own."""

import pytest
import torch

from harness.training.counting import step_flops
from tests.benchmarks.engine import MatrixRate, Row, World, lines_of, measured, problem_in, steppers

SMALL = World([240, 240, 160], [120, 80], 32)


@pytest.mark.usefixtures("one_thread")
def test_a_step_is_the_trainings_own_and_all_are_compared_with_the_loop() -> None:
    cpu, rounds = torch.device("cpu"), 2
    problem, rate = problem_in(SMALL, cpu), MatrixRate(SMALL.batch, 240, cpu)
    made = {name: make() for name, make in steppers(problem, SMALL.batch).items()}
    rows = measured(made, SMALL.batch, rate, cpu, rounds)
    closed = sum(step_flops(problem.sizes, problem.pairs, SMALL.batch).values())
    assert rows["ape"].flops == rows["ape_stacked"].flops == pytest.approx(closed), "the stack computes what ape does"
    assert rows["hyma"].flops > closed * 4 / 6, "what makes the connectors counts too"
    pairs = {name: round(row.pair_samples * row.seconds / SMALL.batch) for name, row in rows.items()}
    assert pairs == {"ape": 6, "ape_stacked": 6, "hyma": 4, "encoder_layers": 4}
    assert len(lines_of(rows)) == 1 + len(rows)


def test_the_table_gives_ratios_to_its_first_row() -> None:
    lines = lines_of({"ape": Row(0.5, 2e9, 0.25, 1000.0), "other": Row(0.125, 1e9, 0.5, 2500.0)})
    assert lines[1].split() == ["ape", "500.0", "ms", "2.00", "G", "25%", "1,000", "1.00"]
    assert lines[2].split() == ["other", "125.0", "ms", "1.00", "G", "50%", "2,500", "2.50"]
