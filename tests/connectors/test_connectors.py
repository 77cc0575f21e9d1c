"""Connector kinds against torch's own modules, FLOP counters, and themselves in stacks and in files."""

import json
import math

import pytest
import torch
from safetensors.torch import load
from torch import Tensor, nn

from harness.connectors.linear import Linear
from harness.connectors.low_rank import LowRank
from harness.connectors.mlp import Mlp
from harness.connectors.prefix import Prefix
from harness.connectors.stored import described, from_bytes, kind_of, metadata_of, to_bytes
from harness.contract.connector import (
    CONNECTORS,
    Connector,
    ConnectorKind,
    Dims,
    Factors,
    StartsAffine,
    as_connector,
    layer_of,
)
from harness.encoders.counting import forward_flops
from harness.errors import HarnessError
from harness.training.counting import counted

KINDS: list[ConnectorKind] = [
    Linear(),
    Mlp(hidden_layers=1, width=11),
    Mlp(hidden_layers=2, width=11),
    Mlp(hidden_layers=3, width=7),
    LowRank(rank=3),
    Prefix(length=2),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
DIMS = Dims(6, 9)


def fresh(kind: ConnectorKind, dims: Dims = DIMS, seed: int = 0) -> Connector:
    return Connector(kind, kind.init(dims, torch.Generator().manual_seed(seed)))


class SideBySide(nn.Module):
    """Outputs of several layers end to end."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.layers], dim=-1)


def as_module(connector: Connector) -> nn.Module:
    """The connector made of torch's own layers, in the order in which its tensors are listed."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in connector.tensors.items():
        layers.setdefault(layer_of(name), {})[name.rpartition(".")[2]] = tensor
    modules: list[nn.Module] = []
    for number, tensors in enumerate(layers.values()):
        outer, inner = tensors["weight"].shape
        linear = nn.Linear(inner, outer, bias="bias" in tensors)
        linear.load_state_dict(tensors)
        modules += ([nn.ReLU()] if number and isinstance(connector.kind, Mlp) else []) + [linear]
    return SideBySide(modules) if isinstance(connector.kind, Prefix) else nn.Sequential(*modules)


def test_every_registered_kind_is_tested_here() -> None:
    assert {kind.name for kind in KINDS} == set(CONNECTORS.names())


@every_kind
def test_a_connector_equals_torchs_layers(kind: ConnectorKind) -> None:
    connector, x = fresh(kind), torch.randn(5, 6)
    module = as_module(connector)
    torch.testing.assert_close(connector(x), module(x))
    assert kind.params(DIMS) == sum(p.numel() for p in module.parameters())
    assert {name: tensor.shape for name, tensor in connector.tensors.items()} == {
        name: torch.Size(shape.size) for name, shape in kind.shapes(DIMS).items()
    }


@every_kind
@pytest.mark.parametrize("dims", [Dims(6, 9), Dims(24, 5)], ids=["wider", "narrower"])
def test_flops_equal_both_counters(kind: ConnectorKind, dims: Dims) -> None:
    """torch's FlopCounterMode, and fvcore's multiply-accumulates doubled."""
    connector, x = fresh(kind, dims), torch.randn(16, dims.in_dim)
    with torch.no_grad():
        assert kind.forward_flops(dims, 16) == counted(lambda: connector(x))
    assert kind.forward_flops(dims, 16) == forward_flops(as_module(connector), x)
    assert kind.step_flops(dims, 16) == counted(lambda: connector(x).sum().backward())
    assert kind.step_flops(dims, 0) == 0


@every_kind
def test_closed_forms_equal_what_a_kind_without_them_counts(kind: ConnectorKind) -> None:
    counted_by_base = ConnectorKind.forward_flops, ConnectorKind.step_flops
    for rows in (1, 7):
        assert [count(kind, DIMS, rows) for count in counted_by_base] == [
            kind.forward_flops(DIMS, rows),
            kind.step_flops(DIMS, rows),
        ]


def test_a_step_of_frozen_features_is_less_than_three_forwards() -> None:
    assert Linear().step_flops(DIMS, 8) == 2 * Linear().forward_flops(DIMS, 8)
    deep = KINDS[1]
    assert 2 < deep.step_flops(DIMS, 8) / deep.forward_flops(DIMS, 8) < 3


def test_a_low_rank_connector_is_cheaper_than_a_linear_one() -> None:
    wide = Dims(384, 512)
    assert LowRank(rank=64).params(wide) < Linear().params(wide) / 3
    assert LowRank(rank=64).step_flops(wide, 8) < Linear().step_flops(wide, 8) / 2


@every_kind
def test_a_stack_equals_one_by_one(kind: ConnectorKind) -> None:
    alone = [fresh(kind, seed=seed) for seed in range(4)]
    x = torch.randn(4, 5, 6)
    stacked = Connector(kind, {n: torch.stack([c.tensors[n] for c in alone]) for n in alone[0].tensors})
    one_by_one = torch.stack([connector(rows) for connector, rows in zip(alone, x, strict=True)])
    torch.testing.assert_close(stacked(x), one_by_one)
    gradients = torch.autograd.grad(stacked(x).square().sum(), list(stacked.tensors.values()))
    for row, connector in enumerate(alone):
        own = torch.autograd.grad(connector(x[row]).square().sum(), list(connector.tensors.values()))
        for of_stack, of_one in zip(gradients, own, strict=True):
            torch.testing.assert_close(of_stack[row], of_one)


@every_kind
def test_a_connector_comes_back_from_its_file(kind: ConnectorKind) -> None:
    pairs = {0: ("image a", "text a"), 3: ("image b", "text\u00e9")}
    connectors = {0: fresh(kind).frozen(), 3: fresh(kind, Dims(4, 2), seed=1).frozen()}
    data = to_bytes(connectors, pairs)
    for number, connector in connectors.items():
        again = from_bytes(data, number)
        assert again.kind == connector.kind
        assert again.tensors.keys() == connector.tensors.keys()
        assert all(torch.equal(again.tensors[name], tensor) for name, tensor in connector.tensors.items())
        x = torch.randn(3, connector.tensors[next(iter(connector.tensors))].shape[-1])
        assert torch.equal(again(x), connector(x))
    assert kind_of(json.loads(metadata_of(data)["connector.0"])) == kind
    assert metadata_of(data)["pair.3"] == "image b\ttext\u00e9"
    assert all(name.partition(".")[0] in "03" for name in load(data)), "any safetensors reader opens it"


def test_several_kinds_in_one_file_keep_apart() -> None:
    connectors = {number: fresh(kind).frozen() for number, kind in enumerate(KINDS)}
    data = to_bytes(connectors, {number: ("i", "t") for number in connectors})
    assert [from_bytes(data, number).kind for number in connectors] == KINDS


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: b"", "w: holds no readable connector: "),
        (lambda data: data[: len(data) // 2], "w: holds no readable connector: "),
        (lambda data: b"\x08\0\0\0\0\0\0\0garbage!", "w: holds no readable connector: "),
        (
            lambda data: data.replace(b"low_rank", b"low_rang"),
            "unknown connector kind 'low_rang' (did you mean",
        ),
    ],
    ids=["empty", "torn", "garbage", "unknown kind"],
)
def test_a_damaged_file_is_one_line(damage, told: str) -> None:
    data = to_bytes({0: fresh(LowRank(rank=3)).frozen()}, {0: ("i", "t")})
    with pytest.raises(HarnessError) as caught:
        from_bytes(damage(data), 0, where="w")
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    with pytest.raises(HarnessError, match="w: holds no readable connector"):
        from_bytes(data, 1, where="w")


@every_kind
def test_init_has_the_variance_of_nn_linear_and_follows_the_generator(kind: ConnectorKind) -> None:
    dims = Dims(300, 400)
    connector = fresh(kind, dims)
    for name, shape in kind.shapes(dims).items():
        tensor = connector.tensors[name]
        assert tensor.abs().max() <= 1 / math.sqrt(shape.fan_in)
        assert tensor.requires_grad
        if tensor.numel() > 1000:
            theirs = nn.Linear(shape.fan_in, 10_000).weight.var().item()
            assert tensor.var().item() == pytest.approx(theirs, rel=0.1)
    again, other = fresh(kind, dims), fresh(kind, dims, seed=1)
    for name, tensor in connector.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
        assert not torch.equal(tensor, other.tensors[name])
    doubles = kind.init(dims, torch.Generator().manual_seed(0), dtype=torch.float64)
    assert all(torch.equal(doubles[name].float(), tensor) for name, tensor in connector.tensors.items())


def test_layers_written_by_hand_are_connectors() -> None:
    one = [(torch.randn(9, 6), torch.randn(9))]
    two = [(torch.randn(4, 6), torch.randn(4)), (torch.randn(9, 4), torch.randn(9))]
    x = torch.randn(5, 6)
    linear, deep = as_connector(one), as_connector(two)
    assert (linear.kind, deep.kind) == (Linear(), Mlp(hidden_layers=1, width=4))
    torch.testing.assert_close(linear(x), nn.functional.linear(x, *one[0]))
    torch.testing.assert_close(deep(x), nn.functional.linear(nn.functional.linear(x, *two[0]).relu(), *two[1]))
    assert as_connector(deep) is deep


def test_a_frozen_connector_is_a_copy_in_float32() -> None:
    live = Connector(Linear(), Linear().init(DIMS, torch.Generator().manual_seed(0), dtype=torch.float64))
    frozen = live.frozen()
    assert all(tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in frozen.tensors.values())
    with torch.no_grad():
        live.tensors["layers.0.bias"].fill_(torch.inf)
    assert (live.finite(), frozen.finite()) == (False, True)


@every_kind
def test_a_description_is_plain_json_of_all_settings(kind: ConnectorKind) -> None:
    written = json.loads(json.dumps(described(kind)))
    assert written.pop("kind") == kind.name
    assert kind_of({"kind": kind.name, **written}) == kind


@pytest.mark.parametrize("dims", [Dims(4, 9), Dims(9, 4), Dims(5, 5)], ids=str)
@pytest.mark.parametrize("kind", [Linear(), Mlp(1, 13), Mlp(2, 10), Mlp(3, 10)], ids=str)
def test_a_connector_starts_at_an_affine_map(kind: ConnectorKind, dims: Dims) -> None:
    assert isinstance(kind, StartsAffine)
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(dims.out_dim, dims.in_dim), torch.randn(dims.out_dim)
    made = Connector(kind, kind.from_affine(weight, bias, generator))
    assert {name: tensor.shape for name, tensor in made.tensors.items()} == {
        name: torch.Size(shape.size) for name, shape in kind.shapes(dims).items()
    }
    x = torch.randn(20, dims.in_dim)
    torch.testing.assert_close(made(x), x @ weight.T + bias, atol=1e-5, rtol=1e-5)
    assert kind.largest_rank is None or min(dims.in_dim, dims.out_dim) <= kind.largest_rank


@pytest.mark.parametrize("kind", [Linear(), Mlp(1, 13), Mlp(2, 10)], ids=str)
def test_a_connector_starts_at_factors(kind: ConnectorKind) -> None:
    assert isinstance(kind, StartsAffine)
    factors, bias = Factors(heard=torch.randn(9, 5), seen=torch.randn(5, 8)), torch.randn(9)
    made = Connector(kind, kind.from_affine(factors, bias, torch.Generator().manual_seed(0)))
    x = torch.randn(20, 8)
    torch.testing.assert_close(made(x), x @ (factors.heard @ factors.seen).T + bias, atol=1e-4, rtol=1e-4)
