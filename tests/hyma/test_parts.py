"""Conditionings, decoders, scalings and samplings: what each variant promises."""

import itertools
from collections import Counter

import pytest
import torch

from harness.errors import HarnessError
from harness.method import Sizes
from hyma.conditioning import CONDITIONINGS
from hyma.decoders import DECODERS
from hyma.exposure import published
from hyma.hypernetwork import Architecture, Hypernetwork
from tests.hyma.networks import counted_generation, means_of, network_of

CONDITIONING_NAMES, DECODER_NAMES = CONDITIONINGS.names(), DECODERS.names()


def first_weight(sizes: Sizes, architecture: Architecture, pair: tuple[str, str], seed: int) -> torch.Tensor:
    return Hypernetwork(sizes, architecture, seed=seed)([pair], means_of(sizes))[pair].tensors["layers.0.weight"]


@pytest.mark.parametrize("scaling", ["fan_in", "published"])
@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_every_decoder_starts_with_the_variance_of_a_fresh_linear(sizes_of, decoder: str, scaling: str) -> None:
    """For the smallest and the largest slice; 1 / (3 in) is the variance of U(-1/sqrt(in), 1/sqrt(in))."""
    sizes = sizes_of([24, 64], [40])
    built = Architecture(decoder=decoder, scaling=scaling, layer_dim=0, hidden=(32, 64))  # type: ignore[arg-type]
    made = [Hypernetwork(sizes, built, seed=seed)(sizes.pairs) for seed in range(60)]
    for pair in sizes.pairs:
        variances = [connectors[pair].tensors["layers.0.weight"].var().item() for connectors in made]
        assert sum(variances) / 60 == pytest.approx(1 / (3 * 40), rel=0.25)


def test_the_published_start_is_smaller_than_a_fresh_linear(sizes_of) -> None:
    sizes = sizes_of([24, 64], [40])
    built = Architecture(conditioning="features", init="published", scaling="published", layer_dim=0, hidden=(32, 64))
    assert first_weight(sizes, built, ("i1", "t0"), 0).var() < 0.1 / (3 * 40)


@pytest.mark.parametrize("conditioning", CONDITIONING_NAMES)
@pytest.mark.parametrize("decoder", DECODER_NAMES)
@pytest.mark.parametrize("depth", [0, 2])
def test_generation_flops_of_every_variant_equal_flop_counter(
    sizes_of, conditioning: str, decoder: str, depth: int
) -> None:
    sizes = sizes_of([10, 30], [7, 20], depth)
    network = network_of(sizes, conditioning=conditioning, decoder=decoder)
    means, pairs = means_of(sizes), sizes.pairs[:3]
    assert counted_generation(lambda: network(pairs, means).values()) == network.step_flops(3)


@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_flops_of_fitting_a_condition_alone_equal_flop_counter(sizes_of, decoder: str) -> None:
    sizes = sizes_of([10, 30], [7, 20])
    network = network_of(sizes, decoder=decoder).requires_grad_(False)
    conditions = torch.zeros(2, 8, requires_grad=True)
    shapes = [sizes.connector.shapes(sizes.dims(pair)) for pair in sizes.pairs[:2]]
    spent = counted_generation(lambda: network.generate(conditions, shapes))
    assert spent == pytest.approx(network.decoder.condition_step_flops(2))


def test_a_published_slice_is_the_first_rows_over_the_root_of_their_number(sizes_of) -> None:
    """W of a smaller encoder: the same rows of the same maximal weight, rescaled by sqrt(numel), b by sqrt(d)."""
    sizes = sizes_of([24, 64], [40])
    built = Architecture(conditioning="features", init="published", scaling="published", layer_dim=0, hidden=(32, 64))
    network = Hypernetwork(sizes, built, seed=0)
    same = means_of(sizes) | {
        ("image", "i0"): torch.zeros(24),
        ("image", "i1"): torch.zeros(64),
    }  # one condition for both
    made = network(sizes.pairs, same)
    small, large = (made[image, "t0"].tensors for image in ("i0", "i1"))
    weight, bias = "layers.0.weight", "layers.0.bias"
    torch.testing.assert_close(small[weight] * (24 * 40) ** 0.5, large[weight][:24] * (64 * 40) ** 0.5)
    torch.testing.assert_close(small[bias] * 24**0.5, large[bias][:24] * 64**0.5)


def test_feather_map_predicts_weights_of_its_rank(sizes_of) -> None:
    sizes = sizes_of([64], [48])
    weight = first_weight(sizes, Architecture(decoder="feather_map", layer_dim=0), ("i0", "t0"), 0)
    assert torch.linalg.matrix_rank(weight) == 32


def test_chunked_published_has_the_hidden_sizes_as_coded(sizes_of) -> None:
    sizes = sizes_of([64], [48])
    network = Hypernetwork(sizes, Architecture(decoder="chunked_published", hidden=(128, 512)), seed=0)
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if "trunk" in name and "weight" in name]
    assert [rows for rows, _ in shapes] == [4, 16]


def test_features_see_only_means_and_pad_with_zeros(sizes_of) -> None:
    sizes = sizes_of([10, 30], [8])
    network = Hypernetwork(sizes, Architecture(conditioning="features", layer_dim=0), seed=0)
    mean = torch.randn(10)
    linear = network.condition.linear
    assert isinstance(linear, torch.nn.Linear)
    padded = linear.weight[:, :10] @ mean + linear.bias
    told = network.condition([("i0", "t0")], {("image", "i0"): mean, ("text", "t0"): torch.zeros(8)})
    torch.testing.assert_close(told[0], padded)


def test_features_tell_text_encoders_apart(sizes_of) -> None:
    sizes = sizes_of([10], [8, 8])
    network = Hypernetwork(sizes, Architecture(conditioning="features"), seed=0)
    first, second = (made.tensors["layers.0.weight"] for made in network(sizes.pairs, means_of(sizes)).values())
    assert not torch.allclose(first, second)


def test_published_sampling_is_cyclic_and_of_one_dimension(sizes_of) -> None:
    """12 encoders, four of each of three dimensions, four per step: each meets one step in three, in turn."""
    sizes = sizes_of([8, 16, 24] * 4, [8])
    steps = list(itertools.islice(published(sizes, 4, seed=0), 7))
    dims = [{sizes.image_dims[image] for image, _ in step} for step in steps]
    assert dims == [{8}, {16}, {24}, {8}, {16}, {24}, {8}]
    assert steps[0] == steps[3] == steps[6]
    seen = Counter(pair for step in steps[:6] for pair in step)
    assert set(seen.values()) == {2}


def test_published_sampling_exposes_small_groups_more(sizes_of) -> None:
    """Equal exposure does not hold here: two encoders of one dimension get twice the updates of four of another."""
    sizes = sizes_of([8] * 4 + [16] * 2, [8])
    seen = Counter(pair for step in itertools.islice(published(sizes, 2, 0), 40) for pair in step)
    assert sorted(seen.values()) == [10, 10, 10, 10, 20, 20]


def test_published_sampling_refuses_steps_larger_than_a_dimension(sizes_of) -> None:
    with pytest.raises(HarnessError, match="pairs_per_step 3 pairs of one image dimension, and 16 has 2"):
        published(sizes_of([8] * 4 + [16] * 2, [8]), 3, 0)
