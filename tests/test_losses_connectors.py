"""Connectors and the loss against torch's own modules and a hand-worked case."""

import math

import pytest
import torch
from harness.losses import info_nce
from torch import nn
from torch.nn import functional

from harness.connectors import ConnectorShape, connect, from_state, init_layers, to_state


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_connect_equals_sequential(depth: int) -> None:
    shape = ConnectorShape(6, 9, depth, 11)
    layers = init_layers(shape, torch.Generator().manual_seed(1))
    modules: list[nn.Module] = []
    for number, (weight, bias) in enumerate(layers):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": weight, "bias": bias})
        modules += ([nn.ReLU()] if number else []) + [linear]
    x = torch.randn(5, 6)
    torch.testing.assert_close(connect(layers, x), nn.Sequential(*modules)(x))
    assert shape.params == sum(p.numel() for p in nn.Sequential(*modules).parameters())


def test_init_has_the_variance_of_nn_linear() -> None:
    (weight, bias), *_ = init_layers(ConnectorShape(300, 400), torch.Generator().manual_seed(0))
    ours, theirs = weight.var().item(), nn.Linear(300, 400).weight.var().item()
    assert ours == pytest.approx(theirs, rel=0.02)
    assert bias.abs().max() <= 1 / math.sqrt(300)


def test_state_round_trip() -> None:
    layers = init_layers(ConnectorShape(3, 4, 2, 5), torch.Generator().manual_seed(0))
    again = from_state(to_state(layers))
    assert all(torch.equal(a, b) for x, y in zip(layers, again, strict=True) for a, b in zip(x, y, strict=True))


def test_info_nce_by_hand() -> None:
    """Two orthogonal unit pairs, scale 1: each softmax row is (e, 1) / (e + 1)."""
    expected = math.log(math.e + 1) - 1
    assert info_nce(torch.eye(2), torch.eye(2), 1.0).item() == pytest.approx(expected, abs=1e-6)


def test_info_nce_equals_two_cross_entropies() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(7, 5), functional.normalize(torch.randn(7, 5), dim=-1)
    logits = 20 * functional.normalize(x, dim=-1) @ y.T
    target = torch.arange(7)
    expected = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(info_nce(x, y, 20.0), expected)


def test_info_nce_of_stacked_pairs_equals_one_by_one() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(3, 7, 5), functional.normalize(torch.randn(3, 7, 5), dim=-1)
    scales = torch.tensor([1.0, 10.0, 100.0])
    one_by_one = torch.stack([info_nce(x[i], y[i], scales[i]) for i in range(3)])
    torch.testing.assert_close(info_nce(x, y, scales), one_by_one)
