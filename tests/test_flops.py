"""Closed forms against torch's FlopCounterMode, fvcore, published counts and a hand count."""

import pytest
import torch
from harness.flops import (
    ADAMW_FLOPS_PER_PARAM,
    Ledger,
    adamw_step,
    connector_forward,
    connector_step,
    counted,
    forward_flops,
    linear_step,
    logits_step,
)
from harness.losses import info_nce
from torch import nn

from harness.connectors import ConnectorShape, connect, init_layers
from harness.errors import HarnessError

SHAPES = [ConnectorShape(24, 40, depth, 32) for depth in (0, 1, 2)]


def _step(shape: ConnectorShape, rows: int) -> None:
    layers = init_layers(shape, torch.Generator().manual_seed(0))
    x, y = torch.randn(rows, shape.in_dim), torch.randn(rows, shape.out_dim)
    info_nce(connect(layers, x), nn.functional.normalize(y, dim=-1), 10.0).backward()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"mlp{s.hidden_layers}")
def test_training_step_equals_flop_counter(shape: ConnectorShape) -> None:
    measured = counted(lambda: _step(shape, 16))
    assert measured == connector_step(shape, 16) + logits_step(16, shape.out_dim)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"mlp{s.hidden_layers}")
def test_forward_equals_fvcore_doubled(shape: ConnectorShape) -> None:
    modules: list[nn.Module] = []
    for number, (i, o) in enumerate(shape.layers):
        modules += ([nn.ReLU()] if number else []) + [nn.Linear(i, o)]
    assert forward_flops(nn.Sequential(*modules), torch.randn(16, 24)) == connector_forward(shape, 16)


def test_backward_of_a_frozen_input_is_not_twice_the_forward() -> None:
    linear, one_hidden = SHAPES[0], SHAPES[1]
    assert connector_step(linear, 8) == 2 * connector_forward(linear, 8)
    assert 2 < connector_step(one_hidden, 8) / connector_forward(one_hidden, 8) < 3


def test_linear_step_equals_flop_counter() -> None:
    layer = nn.Linear(5, 7)
    x = torch.randn(3, 5, requires_grad=True)
    assert counted(lambda: layer(x).sum().backward()) == linear_step(3, 5, 7)
    frozen = torch.randn(3, 5)
    assert counted(lambda: layer(frozen).sum().backward()) == linear_step(3, 5, 7, input_gradient=False)


def test_published_count_of_one_epoch() -> None:
    """878 GFLOP: one linear connector 768 -> 384, 558,128 rows, batch 256 (the authors' notes)."""
    step = connector_step(ConnectorShape(768, 384), 256) + logits_step(256, 384)
    assert 558128 // 256 * step == pytest.approx(877.8e9, rel=5e-4)


def test_fvcore_counts_resnet18_as_published() -> None:
    """1.82 GMACs at 224 x 224 (He et al. 2016 give 1.8e9)."""
    import timm

    flops = forward_flops(timm.create_model("resnet18", pretrained=False).eval(), torch.zeros(1, 3, 224, 224))
    assert flops == pytest.approx(2 * 1.82e9, rel=0.01)


def test_forward_that_fvcore_cannot_count_is_refused() -> None:
    class Stacked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.baddbmm(torch.zeros(2, 3, 3), x, x)

    with pytest.raises(HarnessError, match="baddbmm"):
        forward_flops(Stacked(), torch.zeros(2, 3, 3))


def test_adamw_operations_by_hand() -> None:
    """p *= 1 - lr wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g g; d = sqrt(v)/c + eps; p -= (lr/c') m / d."""
    decay, first, second, denominator, step = 1, 3, 4, 3, 3
    assert decay + first + second + denominator + step == ADAMW_FLOPS_PER_PARAM
    assert adamw_step(1000) == 14_000


def test_ledger_total_leaves_out_what_every_method_shares() -> None:
    ledger = Ledger()
    for phase, flops in (("connector", 5.0), ("eval", 2.0), ("runner_eval", 100.0), ("connector", 1.0)):
        ledger.add(phase, flops)
    assert ledger.total == 8.0
    assert ledger.record().flops == {"connector": 6.0, "eval": 2.0, "runner_eval": 100.0}
    with pytest.raises(ValueError, match="unknown phase 'training'"):
        ledger.add("training", 1.0)
