"""Conditionings, decoders, scalings and samplings: what each variant promises."""

import itertools
from collections import Counter

import pytest
import torch
from harness.flops import counted

from harness.errors import HarnessError
from harness.method import Sizes
from hyma.conditioning import CONDITIONINGS
from hyma.decoders import DECODERS
from hyma.exposure import published
from hyma.hypernetwork import Architecture, Hypernetwork

CONDITIONING_NAMES, DECODER_NAMES = CONDITIONINGS.names(), DECODERS.names()


def means_of(sizes: Sizes) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    dims = {**sizes.image_dims, **sizes.text_dims}
    return {name: torch.randn(dim, generator=generator) / dim**0.5 for name, dim in dims.items()}


def first_weight(sizes: Sizes, architecture: Architecture, pair: tuple[str, str], seed: int) -> torch.Tensor:
    return Hypernetwork(sizes, architecture, seed=seed)([pair], means_of(sizes))[pair][0][0]


@pytest.mark.parametrize("scaling", ["fan_in", "published"])
@pytest.mark.parametrize("decoder", DECODER_NAMES)
@pytest.mark.parametrize("image", ["i0", "i1"])
def test_every_decoder_starts_with_the_variance_of_a_fresh_linear(
    sizes_of, decoder: str, scaling: str, image: str
) -> None:
    """For the smallest and the largest slice; 1 / (3 in) is the variance of U(-1/sqrt(in), 1/sqrt(in))."""
    sizes = sizes_of([24, 64], [40])
    built = Architecture(decoder=decoder, scaling=scaling, layer_dim=0, hidden=(32, 64))  # type: ignore[arg-type]
    variances = [first_weight(sizes, built, (image, "t0"), seed).var().item() for seed in range(60)]
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
    built = Architecture(conditioning=conditioning, decoder=decoder, condition_dim=8, layer_dim=4, hidden=(16, 6))
    network, means, pairs = Hypernetwork(sizes, built, seed=0), means_of(sizes), sizes.pairs[:3]

    def step() -> None:
        made = network(pairs, means)
        torch.stack([t.sum() for layers in made.values() for layer in layers for t in layer]).sum().backward()

    assert counted(step) == network.step_flops(3)


@pytest.mark.parametrize("decoder", DECODER_NAMES)
def test_flops_of_fitting_a_condition_alone_equal_flop_counter(sizes_of, decoder: str) -> None:
    sizes = sizes_of([10, 30], [7, 20])
    built = Architecture(decoder=decoder, condition_dim=8, layer_dim=4, hidden=(16, 6))
    network = Hypernetwork(sizes, built, seed=0).requires_grad_(False)
    conditions = torch.zeros(2, 8, requires_grad=True)
    shapes = [sizes.shape(pair).layers for pair in sizes.pairs[:2]]

    def step() -> None:
        made = network.generate(conditions, shapes)
        torch.stack([t.sum() for layers in made for layer in layers for t in layer]).sum().backward()

    assert counted(step) == pytest.approx(network.decoder.condition_step_flops(2))


def test_a_published_slice_is_the_first_rows_over_the_root_of_their_number(sizes_of) -> None:
    """W of a smaller encoder: the same rows of the same maximal weight, rescaled by sqrt(numel), b by sqrt(d)."""
    sizes = sizes_of([24, 64], [40])
    built = Architecture(conditioning="features", init="published", scaling="published", layer_dim=0, hidden=(32, 64))
    network = Hypernetwork(sizes, built, seed=0)
    same = means_of(sizes) | {"i0": torch.zeros(24), "i1": torch.zeros(64)}  # one condition for both
    made = network(sizes.pairs, same)
    (small, small_bias), (large, large_bias) = made["i0", "t0"][0], made["i1", "t0"][0]
    torch.testing.assert_close(small * (24 * 40) ** 0.5, large[:24] * (64 * 40) ** 0.5)
    torch.testing.assert_close(small_bias * 24**0.5, large_bias[:24] * 64**0.5)


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
    told = network.condition([("i0", "t0")], {"i0": mean, "t0": torch.zeros(8)})
    torch.testing.assert_close(told[0], padded)


def test_features_tell_text_encoders_apart(sizes_of) -> None:
    sizes = sizes_of([10], [8, 8])
    network = Hypernetwork(sizes, Architecture(conditioning="features"), seed=0)
    first, second = network(sizes.pairs, means_of(sizes)).values()
    assert not torch.allclose(first[0][0], second[0][0])


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
