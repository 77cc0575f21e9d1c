"""Hyma: exposure, the hypernetwork's start, its FLOPs and its training."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.method import Budget
from hyma.exposure import balanced
from hyma.method import Hyma
from tests.hyma.networks import counted_generation, network_of


@settings(max_examples=50)
@given(n=st.integers(1, 12), per_step=st.integers(1, 12), steps=st.integers(1, 40), seed=st.integers(0, 5))
def test_exposure_is_equal_at_every_moment(sizes_of, n: int, per_step: int, steps: int, seed: int) -> None:
    per_step = min(per_step, n)
    sizes = sizes_of([8] * n, [8])
    seen: Counter[tuple[str, str]] = Counter(dict.fromkeys(sizes.pairs, 0))
    for step in itertools.islice(balanced(sizes, per_step, seed), steps):
        assert len(set(step)) == per_step
        seen.update(step)
        assert max(seen.values()) - min(seen.values()) <= 1


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_connectors_have_the_pairs_shapes(sizes_of, depth: int) -> None:
    sizes = sizes_of([10, 30], [7, 20], depth)
    for pair, connector in network_of(sizes)(sizes.pairs).items():
        made = {name: tuple(tensor.shape) for name, tensor in connector.tensors.items()}
        wanted = sizes.connector.shapes(sizes.dims(pair))
        assert made == {name: shape.size for name, shape in wanted.items()}


@pytest.mark.parametrize("dim", [20, 200])
def test_predicted_weights_start_with_the_variance_of_a_fresh_linear(sizes_of, dim: int) -> None:
    sizes = sizes_of([64], [20, 200])
    pair = next(pair for pair in sizes.pairs if sizes.dims(pair).in_dim == dim)
    made = [network_of(sizes, seed)([pair])[pair] for seed in range(20)]
    variances = [connector.tensors["layers.0.weight"].var().item() for connector in made]
    assert sum(variances) / 20 == pytest.approx(torch.nn.Linear(dim, 2000).weight.var().item(), rel=0.1)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_generation_flops_equal_flop_counter(sizes_of, depth: int) -> None:
    sizes = sizes_of([10, 30], [7, 20], depth)
    network = network_of(sizes)
    assert counted_generation(lambda: network(sizes.pairs[:3]).values()) == network.step_flops(3)


def test_more_pairs_a_step_than_pairs_is_refused(sizes_of) -> None:
    with pytest.raises(HarnessError, match="pairs_per_step 9 is larger than the 4 pairs"):
        Hyma(pairs_per_step=9).estimate(sizes_of([4, 5], [6, 7]), Budget(epochs=1))


def test_updates_per_pair_of_an_epoch(sizes_of) -> None:
    """256 images, batch 64: 4 steps an epoch, 2 of 4 pairs each: 2 updates per pair and epoch."""
    estimate = Hyma(pairs_per_step=2, batch_size=64).estimate(sizes_of([4, 5], [6, 7]), Budget(epochs=5))
    assert estimate.updates_per_pair == 10
