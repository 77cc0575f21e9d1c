"""Which cells share a trial: short ones, by what the plan knows of them, so that a trial's own cost does not matter.

A trial of Ray Tune costs about a tenth of a second whatever it does. Cells that ask for the same resources are put
together, in order, until they are expected to take ``TRIAL_S`` seconds. Nothing else changes: each of them is run,
recorded, stopped and reported by itself.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from harness.sweep.estimates import cell_estimate
from harness.sweep.plan import Plan
from harness.sweep.planned import PlannedCell

TRIAL_S = 5.0
"""Expected seconds of a trial, from which on it takes no further cell."""

SHARES = 4
"""Trials that each place of the cluster gets at least, where there are so many cells: the last ones end together."""

CELL_S, UPDATE_S, CPU_RATE, GPU_RATE = 0.02, 1e-3, 2e9, 1e12
"""A rough machine: seconds of a cell and of an update whatever they compute, and FLOPs per second of a CPU and a GPU.

It is slower than most, so that trials are rather too short than too long.
"""


def grouped(plan: Plan, cells: Sequence[PlannedCell], places: int) -> list[list[PlannedCell]]:
    """Cells of each trial, in their order.

    Args:
        plan: The plan.
        cells: Cells that need not wait for each other.
        places: Cells that the cluster can run at once.
    """
    return [
        group
        for _, alike in groupby(cells, key=lambda cell: (cell.cpus, cell.gpus))
        for group in _groups(plan, list(alike), places)
    ]


def expected_seconds(plan: Plan, cell: PlannedCell) -> float | None:
    """About what a cell will take on a slow machine; None where its method cannot tell before it runs."""
    estimate = cell_estimate(plan, cell)
    if estimate is None:
        return None
    rate = CPU_RATE * max(cell.cpus, 1.0) + GPU_RATE * cell.gpus
    updates = estimate.updates_per_pair * len(cell.pairs)
    return CELL_S + UPDATE_S * updates + sum(estimate.flops.values()) / rate


def _groups(plan: Plan, cells: Sequence[PlannedCell], places: int) -> Iterator[list[PlannedCell]]:
    most = max(1, len(cells) // (SHARES * max(places, 1)))
    group: list[PlannedCell] = []
    seconds = 0.0
    for cell in cells:
        expected = expected_seconds(plan, cell) if most > 1 else None
        more = TRIAL_S if expected is None else expected  # one that nobody can tell stays alone
        if group and (len(group) >= most or seconds + more > TRIAL_S):
            yield group
            group, seconds = [], 0.0
        group.append(cell)
        seconds += more
    if group:
        yield group
