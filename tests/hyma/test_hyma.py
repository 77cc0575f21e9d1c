"""Hyma: exposure, the hypernetwork's start, its FLOPs and its training."""

import itertools
from collections import Counter

import pytest
import torch
from harness.flops import counted
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.method import Budget, Sizes
from hyma.exposure import balanced
from hyma.hypernetwork import Architecture, Hypernetwork
from hyma.method import Hyma


def network_of(sizes: Sizes, seed: int = 0) -> Hypernetwork:
    return Hypernetwork(sizes, Architecture(condition_dim=8, layer_dim=4, hidden=(16, 6)), seed=seed)


@settings(max_examples=50, deadline=None)
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
    for pair, layers in network_of(sizes)(sizes.pairs).items():
        made = [(weight.shape[1], weight.shape[0]) for weight, _ in layers]
        assert tuple(made) == sizes.shape(pair).layers


@pytest.mark.parametrize("dim", [20, 200])
def test_predicted_weights_start_with_the_variance_of_a_fresh_linear(sizes_of, dim: int) -> None:
    sizes = sizes_of([64], [20, 200])
    pair = next(pair for pair in sizes.pairs if sizes.shape(pair).in_dim == dim)
    variances = [network_of(sizes, seed)([pair])[pair][0][0].var().item() for seed in range(20)]
    assert sum(variances) / 20 == pytest.approx(torch.nn.Linear(dim, 2000).weight.var().item(), rel=0.1)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_generation_flops_equal_flop_counter(sizes_of, depth: int) -> None:
    sizes = sizes_of([10, 30], [7, 20], depth)
    network = network_of(sizes)
    pairs = sizes.pairs[:3]

    def step() -> None:
        made = network(pairs)
        torch.stack([t.sum() for layers in made.values() for layer in layers for t in layer]).sum().backward()

    assert counted(step) == network.step_flops(3)


def test_more_pairs_a_step_than_pairs_is_refused(sizes_of) -> None:
    with pytest.raises(HarnessError, match="pairs_per_step 9 is larger than the 4 pairs"):
        Hyma(pairs_per_step=9).estimate(sizes_of([4, 5], [6, 7]), Budget(epochs=1))


def test_updates_per_pair_of_an_epoch(sizes_of) -> None:
    """256 images, batch 64: 4 steps an epoch, 2 of 4 pairs each: 2 updates per pair and epoch."""
    estimate = Hyma(pairs_per_step=2, batch_size=64).estimate(sizes_of([4, 5], [6, 7]), Budget(epochs=5))
    assert estimate.updates_per_pair == 10
