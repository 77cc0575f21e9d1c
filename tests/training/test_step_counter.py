"""FLOPs of a step are counted seldom in a large grid, and are right all the same."""

import itertools

import pytest
import torch

from harness.contract.pairs import Pair
from harness.training import counting
from harness.training.counting import MIXTURES, StepCounter
from tests.problems import numbered_sizes

DIMS = (3, 4, 5, 6)
SIZES = numbered_sizes(DIMS, DIMS)
BATCH = 7


def product(rows: int, inner: int, columns: int) -> None:
    torch.ones(rows, inner) @ torch.ones(inner, columns)


def step_of(pairs: tuple[Pair, ...], made: int) -> None:
    """Matrix products of a step: connector and logits forward and backward, and ``made`` x 2 FLOPs for the making."""
    for pair in pairs:
        dims = SIZES.dims(pair)
        for _ in range(2):
            product(BATCH, dims.in_dim, dims.out_dim)
            product(BATCH, dims.out_dim, BATCH)
    product(1, made, 1)


@pytest.fixture
def times_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a step is counted and not just run."""
    counted, times = counting.counted, []

    def spy(step):
        times.append(1)
        return counted(step)

    monkeypatch.setattr(counting, "counted", spy)
    return times


def test_a_cost_that_no_mixture_changes_is_counted_a_few_times(times_counted) -> None:
    counter = StepCounter(SIZES, BATCH)
    for pairs in itertools.combinations(SIZES.pairs, 2):
        booked = counter.run(pairs, lambda p=pairs: step_of(p, made=50))
        assert booked["hypernet"] == 100
        assert booked["connector"] == sum(4 * BATCH * d.in_dim * d.out_dim for d in map(SIZES.dims, pairs))
        assert booked["logits"] == sum(4 * BATCH * BATCH * d.out_dim for d in map(SIZES.dims, pairs))
    assert len(times_counted) == MIXTURES
    counter.run(SIZES.pairs[:3], lambda: step_of(SIZES.pairs[:3], made=70))
    assert len(times_counted) == MIXTURES + 1, "another number of pairs is another cost"


def test_a_cost_that_depends_on_the_shapes_is_counted_for_each(times_counted) -> None:
    counter = StepCounter(SIZES, BATCH)
    combinations = [(pair,) for pair in SIZES.pairs]
    for pairs in combinations:
        made = 10 * SIZES.dims(pairs[0]).out_dim
        assert counter.run(pairs, lambda p=pairs, m=made: step_of(p, m))["hypernet"] == 2 * made
    assert len(times_counted) == len(combinations)


def test_steps_without_a_hypernetwork_have_none(times_counted) -> None:
    counter = StepCounter(SIZES, BATCH)
    for pairs in itertools.combinations(SIZES.pairs, 2):
        assert "hypernet" not in counter.run(pairs, lambda p=pairs: step_of(p, made=0))
    assert len(times_counted) == MIXTURES
