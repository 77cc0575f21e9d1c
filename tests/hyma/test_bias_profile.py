"""The published scaling divides a slice by its size: under ``hyperfan_in`` that must not change where it starts."""

import pytest

from harness.connectors.mlp import Mlp
from hyma.decoders import DECODERS
from tests.hyma.networks import network_of
from tests.problems import numbered_sizes

SEEDS = 24


@pytest.mark.parametrize("decoder", DECODERS.names())
def test_biases_of_every_slice_start_with_the_variance_of_a_fresh_linear(decoder: str) -> None:
    """384, 768 and 1024 rows of one maximal bias: 1 / (3 in) for each, as ``nn.Linear`` draws them."""
    sizes = numbered_sizes([384, 768, 1024], [12])
    parts = {"decoder": decoder, "scaling": "published", "layer_dim": 0, "hidden": (16, 32)}
    networks = [network_of(sizes, seed, **parts) for seed in range(SEEDS)]
    for pair in sizes.pairs:
        squares = [made([pair])[pair].tensors["layers.0.bias"].square().mean().item() for made in networks]
        assert sum(squares) / SEEDS == pytest.approx(1 / (3 * 12), rel=0.2), pair


def test_biases_of_a_deeper_layer_start_so_too() -> None:
    """The last layer of an MLP is cut to the target's dimension; its inputs are the hidden width."""
    sizes = numbered_sizes([384, 1024], [12], connector=Mlp(1, 20))
    networks = [network_of(sizes, seed, scaling="published", hidden=(16, 32)) for seed in range(SEEDS)]
    for pair in sizes.pairs:
        squares = [made([pair])[pair].tensors["layers.1.bias"].square().mean().item() for made in networks]
        assert sum(squares) / SEEDS == pytest.approx(1 / (3 * 20), rel=0.2), pair
