"""Whatever a connector kind lists is predicted and trained: shapes, start, FLOPs, and what is learnt."""

import numpy as np
import pytest
import torch

from baselines.ape import Ape
from baselines.stacked import ApeStacked
from harness.connectors.low_rank import LowRank
from harness.connectors.mlp import Mlp
from harness.connectors.stored import from_bytes, to_bytes
from harness.contract.method import Estimates, Method
from harness.errors import HarnessError
from harness.method import Budget, ConnectorKind, Dims, Fit, TensorShape
from hyma.decoders import DECODERS
from hyma.encoder_layers import EncoderLayers
from hyma.hyper_align import HyperAlign
from hyma.method import Hyma
from hyma.through import Through, splits
from tests.hyma.networks import counted_generation, network_of
from tests.hyma.odd import Odd
from tests.problems import Made, connectors_of, matched, numbered_sizes, views

pytestmark = pytest.mark.usefixtures("one_thread")

ODD = numbered_sizes([10, 24], [12, 30], connector=Odd())
SMALL = {"batch_size": 32, "lr": 1e-2}
JOINT = {**SMALL, "pairs_per_step": 3, "hidden": (16, 16)}
METHODS: dict[str, Method] = {
    "hyma": Hyma(**JOINT),
    "hyper_align": HyperAlign(**JOINT),
    "encoder_layers": EncoderLayers(**SMALL, pairs_per_step=3, space_dim=10),
    "ape_stacked": ApeStacked(**SMALL),
}


@pytest.mark.parametrize("decoder", DECODERS.names())
def test_every_decoder_predicts_what_the_kind_lists(decoder: str) -> None:
    network = network_of(ODD, decoder=decoder)
    for pair, connector in network(ODD.pairs).items():
        assert connector.kind == Odd()
        wanted = ODD.connector.shapes(ODD.dims(pair))
        assert {name: tuple(t.shape) for name, t in connector.tensors.items()} == {n: s.size for n, s in wanted.items()}
    assert counted_generation(lambda: network(ODD.pairs[:3]).values()) == network.step_flops(3)


@pytest.mark.parametrize("scaling", ["fan_in", "published"])
@pytest.mark.parametrize("decoder", DECODERS.names())
def test_every_tensor_of_a_kind_starts_with_the_variance_of_a_fresh_one(decoder: str, scaling: str) -> None:
    """Of the smallest and of the largest pair: 1 / (3 fan-in).

    The published scale knows rows and columns and no fan-in, so it can only hold where all mapped encoders are of one
    dimension, as in the published grids.
    """
    sizes = ODD if scaling == "fan_in" else numbered_sizes([10, 24], [12], connector=Odd())
    made = [
        network_of(sizes, seed, decoder=decoder, scaling=scaling, hidden=(32, 64))(sizes.pairs) for seed in range(60)
    ]
    for pair in (sizes.pairs[0], sizes.pairs[-1]):
        for name, shape in sizes.connector.shapes(sizes.dims(pair)).items():
            found = torch.stack([connectors[pair].tensors[name].detach().square().mean() for connectors in made])
            assert found.mean().item() == pytest.approx(1 / (3 * shape.fan_in), rel=0.3), name


@pytest.fixture(scope="module")
def world() -> Made:
    """Pairs of four shapes, whose captions can be matched; 24 images are asked for, five is what is found by chance."""
    images, texts = views(128, {"i0": 9, "i1": 12}), views(128, {"t0": 8, "t1": 10}, seed=1)
    made = matched(images, texts, metric="text_to_image_r5")
    return made.with_kind(Odd())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_trains_many_pairs_trains_it(world: Made, name: str) -> None:
    method, made = METHODS[name], world.fresh()
    budget = Budget(updates_per_pair=60)
    fit = made.fit(method, budget=budget)
    assert fit.diverged is None
    assert min(fit.scores.values()) > 3 * 5 / 32, "three times what is found by chance"
    assert isinstance(method, Estimates)
    planned = method.estimate(made.problem.sizes, budget)
    assert dict(fit.ledger.flops) == pytest.approx(dict(planned.flops))
    assert fit.trained_params == planned.trained_params


@pytest.mark.parametrize("name", METHODS)
def test_what_is_handed_over_is_stored_and_maps_as_before(world: Made, name: str) -> None:
    fit = world.fresh().fit(METHODS[name], budget=Budget(updates_per_pair=3))
    kind = Through(10, Odd()) if name == "encoder_layers" else Odd()
    for number, (pair, made) in enumerate(connectors_of(fit).items()):
        assert made.kind == kind
        again = from_bytes(to_bytes({number: made}, {number: pair}), number)
        assert again.kind == kind
        x = torch.randn(4, world.problem.sizes.dims(pair).in_dim, generator=torch.Generator().manual_seed(0))
        assert torch.equal(again(x), made(x))


def test_stacked_connectors_of_the_kind_are_apes(world: Made) -> None:
    budget = Budget(updates_per_pair=20)
    together = connectors_of(world.fresh().fit(ApeStacked(**SMALL), budget=budget))
    for pair in world.problem.pairs:
        alone = connectors_of(world.of([pair]).fit(Ape(**SMALL), budget=budget))[pair]
        torch.testing.assert_close(together[pair].tensors, alone.tensors, rtol=0, atol=1e-4)


def test_hyper_align_refuses_a_kind_of_several_layers() -> None:
    with pytest.raises(HarnessError, match="connectors of one layer in one shot, not 2 layers"):
        HyperAlign(**JOINT).estimate(numbered_sizes([8], [8, 8, 8], connector=Mlp(1, 8)), Budget(epochs=1))


class Coupled(ConnectorKind):
    """Two layers, the first of which is as wide as the target."""

    name = "coupled"

    def shapes(self, dims: Dims) -> dict[str, TensorShape]:
        return {
            "first.weight": TensorShape((dims.out_dim, dims.in_dim), dims.in_dim),
            "last.weight": TensorShape((dims.out_dim, dims.out_dim), dims.out_dim),
        }

    def apply(self, tensors, x):
        return (x @ tensors["first.weight"].mT).relu() @ tensors["last.weight"].mT


@pytest.mark.parametrize(
    ("kind", "apart"), [(Mlp(1, 8), True), (Mlp(2, 8), True), (LowRank(4), True), (Odd(), False), (Coupled(), False)]
)
def test_which_kinds_are_split_between_two_encoders(kind: ConnectorKind, apart: bool) -> None:
    assert splits(kind, Dims(6, 9)) is apart


def test_encoders_own_one_part_for_all_their_pairs() -> None:
    """Six dimensions of a kind that cannot be split: the target owns all of it, behind a layer of the mapped side's."""
    sizes = numbered_sizes([10, 24], [12, 30], connector=Coupled())
    owned = EncoderLayers(space_dim=7).owned(sizes, seed=0)
    shapes = {owner: {name: tuple(t.shape) for name, t in tensors.items()} for owner, tensors in owned.items()}
    assert shapes == {
        ("mapped", "t0"): {"into.weight": (7, 12), "into.bias": (7,)},
        ("mapped", "t1"): {"into.weight": (7, 30), "into.bias": (7,)},
        ("target", "i0"): {"out_of.first/weight": (10, 7), "out_of.last/weight": (10, 10)},
        ("target", "i1"): {"out_of.first/weight": (24, 7), "out_of.last/weight": (24, 24)},
    }


@pytest.mark.parametrize("name", METHODS)
def test_an_encoder_may_stand_on_both_sides(name: str) -> None:
    """CLIP models embed images and captions, under one name: they have a layer, a mean and a condition on each side."""

    def trained(images: tuple[str, str], texts: tuple[str, str]) -> Fit:
        rows = views(128, dict.fromkeys(images, 9)), views(128, dict.fromkeys(texts, 8), seed=1)
        return matched(*rows, metric="text_to_image_r5").fit(METHODS[name], budget=Budget(updates_per_pair=60))

    fit, apart = trained(("clip", "other"), ("clip", "words")), trained(("i0", "i1"), ("t0", "t1"))
    assert fit.trained_params == apart.trained_params
    assert dict(fit.ledger.flops) == dict(apart.ledger.flops)
    assert np.mean(list(fit.scores.values())) > 2 * 5 / 32, "twice what is found by chance"
    if name in ("hyma", "hyper_align"):  # whose numbers know no names
        assert list(fit.scores.values()) == list(apart.scores.values())
