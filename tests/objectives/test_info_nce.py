"""InfoNCE against torch's cross-entropy and a hand-worked case, as a function and as an objective of a batch."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.connectors.linear import Linear
from harness.contract.connector import Connector, Dims
from harness.contract.objective import Objective, ObjectiveSetting, StackedObjective
from harness.contract.pairs import Direction
from harness.contract.split import Batch, Split
from harness.objectives.contrastive import as_objective
from harness.objectives.info_nce import InfoNce, info_nce

PAIRS = (("i0", "t0"), ("i1", "t0"), ("i1", "t1"))


class Rows:
    """Embeddings in memory."""

    def __init__(self, rows: int, dim: int, seed: int) -> None:
        array = np.random.default_rng(seed).standard_normal((rows, dim))
        self.array = (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.array[rows]


@pytest.fixture
def batch() -> Batch:
    images, texts = {f"i{n}": Rows(9, 6, n) for n in range(2)}, {f"t{n}": Rows(9, 4, 10 + n) for n in range(2)}
    split = Split(images, texts, np.arange(9), np.arange(9), np.arange(9))
    return Batch(np.array([3, 1, 8, 0, 5]), np.array([3, 1, 8, 0, 5]), split, torch.device("cpu"))


def setting(direction: Direction = "text_to_image", **changes: object) -> ObjectiveSetting:
    return ObjectiveSetting(**({"pairs": PAIRS, "direction": direction, "device": torch.device("cpu")} | changes))  # type: ignore[arg-type]


def connector(dims: Dims, seed: int = 0) -> Connector:
    return Connector(Linear(), Linear().init(dims, torch.Generator().manual_seed(seed)))


def two_cross_entropies(x: torch.Tensor, y: torch.Tensor, scale: float) -> torch.Tensor:
    logits, target = scale * functional.normalize(x, dim=-1) @ y.T, torch.arange(len(x))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def test_info_nce_by_hand() -> None:
    """Two orthogonal unit pairs, scale 1: each softmax row is (e, 1) / (e + 1)."""
    expected = math.log(math.e + 1) - 1
    assert info_nce(torch.eye(2), torch.eye(2), 1.0).item() == pytest.approx(expected, abs=1e-6)


def test_info_nce_equals_two_cross_entropies() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(7, 5), functional.normalize(torch.randn(7, 5), dim=-1)
    torch.testing.assert_close(info_nce(x, y, 20.0), two_cross_entropies(x, y, 20.0))


def test_info_nce_of_stacked_pairs_equals_one_by_one() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(3, 7, 5), functional.normalize(torch.randn(3, 7, 5), dim=-1)
    scales = torch.tensor([1.0, 10.0, 100.0])
    one_by_one = torch.stack([info_nce(x[i], y[i], scales[i]) for i in range(3)])
    torch.testing.assert_close(info_nce(x, y, scales), one_by_one)


@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_the_loss_of_a_batch_maps_the_side_that_the_direction_says(batch: Batch, direction: Direction) -> None:
    objective = InfoNce(setting(direction, logit_scale=20.0))
    assert isinstance(objective, Objective)
    image, text = batch.image("i1"), batch.text("t0")
    source, target = (text, image) if direction == "text_to_image" else (image, text)
    own = connector(Dims(source.shape[1], target.shape[1]))
    loss = objective.loss(own, ("i1", "t0"), batch)
    torch.testing.assert_close(loss, two_cross_entropies(own(source), target, 20.0))


def test_losses_of_a_stack_equal_one_by_one_with_each_pairs_own_scale(batch: Batch) -> None:
    objective = InfoNce(setting())
    assert isinstance(objective, StackedObjective)
    with torch.no_grad():
        objective.log_scale.copy_(torch.tensor([0.5, 1.5, 2.5]))
    alone = [connector(Dims(4, 6), seed) for seed in range(3)]
    for pairs in (PAIRS, PAIRS[::-1], PAIRS[1:]):
        own = [alone[PAIRS.index(pair)] for pair in pairs]
        stacked = Connector(Linear(), {n: torch.stack([c.tensors[n] for c in own]) for n in own[0].tensors})
        one_by_one = [objective.loss(c, pair, batch) for c, pair in zip(own, pairs, strict=True)]
        torch.testing.assert_close(objective.stacked_loss(stacked, pairs, batch), torch.stack(one_by_one))


def test_a_loss_in_double_precision_is_computed_in_it(batch: Batch) -> None:
    wide = Connector(Linear(), Linear().init(Dims(4, 6), torch.Generator().manual_seed(0), dtype=torch.float64))
    loss = InfoNce(setting(dtype=torch.float64, logit_scale=20.0)).loss(wide, PAIRS[0], batch)
    image, text = batch.image("i0").double(), batch.text("t0").double()
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(two_cross_entropies(wide(text), image, 20.0).item(), rel=1e-13)


def test_what_is_trained_beside_the_connectors() -> None:
    learned, fixed = InfoNce(setting()), InfoNce(setting(logit_scale=10.0))
    assert [tensor.shape for tensor in learned.parameters()] == [torch.Size([3])]
    assert list(fixed.parameters()) == []
    for scale, objective in (("learned", learned), (10.0, fixed)):
        numbers = sum(tensor.numel() for tensor in objective.parameters())
        assert InfoNce.trained_params(3, scale) == numbers  # type: ignore[arg-type]


def test_a_plain_function_becomes_an_objective_of_its_own_module(batch: Batch) -> None:
    made = as_objective(info_nce)
    assert (made.__name__, made.__module__) == ("info_nce", info_nce.__module__)
    own = connector(Dims(4, 6))
    found = made(setting(logit_scale=7.0)).loss(own, PAIRS[0], batch)
    assert torch.equal(found, InfoNce(setting(logit_scale=7.0)).loss(own, PAIRS[0], batch))
    assert as_objective(InfoNce) is InfoNce
