"""The closed form of a training step against torch's FlopCounterMode, published counts and a hand count."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from harness.connectors.linear import Linear
from harness.connectors.low_rank import LowRank
from harness.connectors.mlp import Mlp
from harness.contract.connector import Connector, ConnectorKind
from harness.contract.flops import ADAMW_FLOPS_PER_PARAM, adamw_step, linear_forward, linear_step
from harness.contract.objective import ObjectiveSetting
from harness.contract.problem import ScoringCost, Sizes
from harness.contract.split import Batch, Split
from harness.objectives.info_nce import InfoNce
from harness.training.counting import counted, step_flops

KINDS = [Linear(), Mlp(hidden_layers=1, width=32), Mlp(hidden_layers=2, width=32), LowRank(rank=5)]
PAIRS = (("i", "t"), ("j", "t"))


class Rows:
    """Unit vectors in memory."""

    def __init__(self, dim: int) -> None:
        self.array = functional.normalize(torch.randn(40, dim), dim=-1).numpy()

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.array[rows]


def sizes_of(kind: ConnectorKind) -> Sizes:
    return Sizes(
        pairs=PAIRS,
        image_dims={"i": 40, "j": 12},
        text_dims={"t": 24},
        train_images=40,
        connector=kind,
        direction="text_to_image",
        objective=InfoNce,
        scoring=ScoringCost(images=1, texts=1, comparisons=1.0),
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_training_step_equals_flop_counter(kind: ConnectorKind) -> None:
    sizes = sizes_of(kind)
    split = Split({"i": Rows(40), "j": Rows(12)}, {"t": Rows(24)}, np.arange(40), np.arange(40), np.arange(40))
    batch = Batch(np.arange(16), np.arange(16), split, torch.device("cpu"))
    objective = InfoNce(ObjectiveSetting(pairs=PAIRS, direction="text_to_image", device=torch.device("cpu")))
    made = {pair: Connector(kind, kind.init(sizes.dims(pair), torch.Generator().manual_seed(0))) for pair in PAIRS}

    def step() -> None:
        sum(objective.loss(made[pair], pair, batch) for pair in PAIRS).backward()  # type: ignore[union-attr]

    closed = step_flops(sizes, PAIRS, 16)
    assert counted(step) == sum(closed.values())
    assert closed["connector"] == sum(kind.step_flops(sizes.dims(pair), 16) for pair in PAIRS)


def test_linear_layers_equal_flop_counter() -> None:
    layer = nn.Linear(5, 7)
    frozen, x = torch.randn(3, 5), torch.randn(3, 5, requires_grad=True)
    assert counted(lambda: layer(x).sum().backward()) == linear_step(3, 5, 7)
    assert counted(lambda: layer(frozen).sum().backward()) == linear_step(3, 5, 7, input_gradient=False)
    with torch.no_grad():
        assert counted(lambda: layer(frozen)) == linear_forward(3, 5, 7)


def test_published_count_of_one_epoch() -> None:
    """878 GFLOP: one linear connector 768 -> 384, 558,128 rows, batch 256 (the authors' notes)."""
    sizes = Sizes(
        pairs=(("i", "t"),),
        image_dims={"i": 384},
        text_dims={"t": 768},
        train_images=558_128,
        connector=Linear(),
        direction="text_to_image",
        objective=InfoNce,
        scoring=ScoringCost(images=1, texts=1, comparisons=1.0),
    )
    step = sum(step_flops(sizes, sizes.pairs, 256).values())
    assert sizes.steps_per_epoch(256) * step == pytest.approx(877.8e9, rel=5e-4)


def test_adamw_operations_by_hand() -> None:
    """p *= 1 - lr wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g g; d = sqrt(v)/c + eps; p -= (lr/c') m / d."""
    decay, first, second, denominator, step = 1, 3, 4, 3, 3
    assert decay + first + second + denominator + step == ADAMW_FLOPS_PER_PARAM
    assert adamw_step(1000) == 14_000
