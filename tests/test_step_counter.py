"""FLOPs of a step are counted seldom in a large grid, and are right all the same."""

import itertools

import pytest
import torch

from harness import training
from harness.method import Pair, Sizes
from harness.training import MIXTURES, _Counter

DIMS = (3, 4, 5, 6)
SIZES = Sizes(
    pairs=tuple(itertools.product([f"i{d}" for d in DIMS], [f"t{d}" for d in DIMS])),
    image_dims={f"i{d}": d for d in DIMS},
    text_dims={f"t{d}": d for d in DIMS},
    train_images=64,
    hidden_layers=0,
    width=1,
    direction="text_to_image",
    score_flops=lambda pair: 0.0,
)
BATCH = 7


def product(rows: int, inner: int, columns: int) -> None:
    torch.ones(rows, inner) @ torch.ones(inner, columns)


def step_of(pairs: tuple[Pair, ...], made: int) -> None:
    """Matrix products of a step: connector and logits forward and backward, and ``made`` x 2 FLOPs for the making."""
    for pair in pairs:
        shape = SIZES.shape(pair)
        for _ in range(2):
            product(BATCH, shape.in_dim, shape.out_dim)
            product(BATCH, shape.out_dim, BATCH)
    product(1, made, 1)


@pytest.fixture
def times_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a step is counted and not just run."""
    counted, times = training.counted, []

    def spy(step):
        times.append(1)
        return counted(step)

    monkeypatch.setattr(training, "counted", spy)
    return times


def test_a_cost_that_no_mixture_changes_is_counted_a_few_times(times_counted) -> None:
    counter = _Counter(SIZES, BATCH)
    for pairs in itertools.combinations(SIZES.pairs, 2):
        booked = counter.run(pairs, lambda p=pairs: step_of(p, made=50))
        assert booked["hypernet"] == 100
        assert booked["connector"] == sum(4 * BATCH * s.in_dim * s.out_dim for s in map(SIZES.shape, pairs))
    assert len(times_counted) == MIXTURES
    counter.run(SIZES.pairs[:3], lambda: step_of(SIZES.pairs[:3], made=70))
    assert len(times_counted) == MIXTURES + 1, "another number of pairs is another cost"


def test_a_cost_that_depends_on_the_shapes_is_counted_for_each(times_counted) -> None:
    counter = _Counter(SIZES, BATCH)
    combinations = [(pair,) for pair in SIZES.pairs]
    for pairs in combinations:
        made = 10 * SIZES.shape(pairs[0]).out_dim
        assert counter.run(pairs, lambda p=pairs, m=made: step_of(p, m))["hypernet"] == 2 * made
    assert len(times_counted) == len(combinations)


def test_steps_without_a_hypernetwork_have_none(times_counted) -> None:
    counter = _Counter(SIZES, BATCH)
    for pairs in itertools.combinations(SIZES.pairs, 2):
        assert "hypernet" not in counter.run(pairs, lambda p=pairs: step_of(p, made=0))
    assert len(times_counted) == MIXTURES
