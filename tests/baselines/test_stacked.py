"""ape_stacked is ape: parameters, scores, FLOPs; and what it adds: learning rates of its own for each pair."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from harness.flops import Ledger, connector_step, counted, logits_step
from harness.losses import info_nce
from torch.nn.utils import clip_grad_norm_

from baselines.ape import Ape
from baselines.stacked import ApeStacked
from harness.connectors import ConnectorShape, Layers, init_layers
from harness.data.bank import Bank
from harness.errors import HarnessError
from harness.method import Batch, Budget, Pair, Problem, Sizes, Split
from harness.training import train

IMAGES, TEXTS = {"i0": 12, "i1": 12, "i2": 20}, {"t0": 8, "t1": 8}
PAIRS = tuple((image, text) for image in IMAGES for text in TEXTS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps this small only lose by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class CountingBank(Bank):
    """A bank in memory that counts the rows read."""

    def __init__(self, table: np.ndarray) -> None:
        self.table, self.rows_read = table, 0

    def take(self, rows: Any) -> np.ndarray:
        self.rows_read += len(rows)
        return self.table[rows]


@dataclass
class World:
    split: Split

    def problem(self, pairs: tuple[Pair, ...], *, depth: int = 0, direction: str = "text_to_image") -> Problem:
        sizes = Sizes(pairs, IMAGES, TEXTS, 96, depth, 16, direction, lambda pair: 7.0)  # type: ignore[arg-type]

        def scorer(pair: Pair, layers: Layers) -> float:
            return float(sum(w.sum() + b.sum() for w, b in layers))

        return Problem(
            sizes=sizes,
            train=self.split,
            validation=self.split,
            loss=info_nce,
            device=torch.device("cpu"),
            ledger=Ledger(),
            scorer=scorer,
            higher_is_better=True,
        )

    @property
    def rows_read(self) -> int:
        banks = (*self.split.image_banks.values(), *self.split.text_banks.values())
        return sum(bank.rows_read for bank in banks if isinstance(bank, CountingBank))


@pytest.fixture
def world() -> World:
    rng = np.random.default_rng(0)

    def bank(rows: int, dim: int) -> CountingBank:
        table = rng.standard_normal((rows, dim)).astype(np.float32)
        return CountingBank(table / np.linalg.norm(table, axis=1, keepdims=True))

    owner = np.repeat(np.arange(96), 2)
    images = {name: bank(96, dim) for name, dim in IMAGES.items()}
    texts = {name: bank(192, dim) for name, dim in TEXTS.items()}
    return World(Split(images, texts, np.arange(96), np.arange(192), owner))


def trained(world: World, recipe: Any, pairs: tuple[Pair, ...], *, steps: int, **problem: Any) -> dict[Pair, Layers]:
    """Parameters after training, in the precision of the training."""
    given = world.problem(pairs, **problem)
    trainee = recipe.trainee(given, 3)
    train(given, Budget(updates_per_pair=steps), recipe, trainee, seed=3, progress=lambda step, steps: None)
    return trainee.generate(pairs)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp64", 1e-8), ("fp32", 1e-4)])
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_fifty_steps_equal_ape(world: World, precision: str, tolerance: float, depth: int, direction: str) -> None:
    # A small clip, so that every pair is clipped by a factor of its own.
    settings: dict[str, Any] = {"batch_size": 32, "lr": 1e-2, "clip": 0.05, "precision": precision, "weight_decay": 0.1}
    shape: dict[str, Any] = {"depth": depth, "direction": direction}
    together = trained(world, ApeStacked(**settings), PAIRS, steps=50, **shape)
    for pair in PAIRS:
        alone = trained(world, Ape(**settings), (pair,), steps=50, **shape)[pair]
        for ours, theirs in zip(together[pair], alone, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_scores_flops_and_updates_are_the_sum_of_apes(world: World) -> None:
    budget, settings = Budget(epochs=4), {"batch_size": 32, "lr": 1e-2}
    fit = ApeStacked(**settings).fit(world.problem(PAIRS), budget, seed=1, progress=lambda step, steps: None)
    total: dict[str, float] = {}
    for pair in PAIRS:
        alone = Ape(**settings).fit(world.problem((pair,)), budget, seed=1, progress=lambda step, steps: None)
        assert fit.scores[pair] == pytest.approx(alone.scores[pair], abs=1e-4)
        assert fit.updates_per_pair == alone.updates_per_pair == 12
        assert [point.step for point in fit.curve] == [point.step for point in alone.curve]
        for phase, flops in alone.ledger.flops.items():
            total[phase] = total.get(phase, 0.0) + flops
    assert dict(fit.ledger.flops) == total
    assert dict(ApeStacked(**settings).estimate(world.problem(PAIRS).sizes, budget).flops) == total


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_one_step_costs_what_the_closed_forms_say(world: World, depth: int) -> None:
    problem = world.problem(PAIRS, depth=depth)
    method = ApeStacked(batch_size=16)
    trainee = method.trainee(problem, 0)
    batch = next(problem.train.batches(16, 0))
    shapes = [problem.sizes.shape(pair) for pair in PAIRS]
    expected = sum(connector_step(shape, 16) + logits_step(16, shape.out_dim) for shape in shapes)
    assert counted(lambda: trainee.backward(problem, method, PAIRS, batch)) == expected


def test_each_batch_is_read_once_for_all_pairs(world: World) -> None:
    trained(world, ApeStacked(batch_size=32), PAIRS, steps=5)
    assert world.rows_read == 5 * 32 * (len(IMAGES) + len(TEXTS))


def test_each_pair_is_clipped_on_its_own(world: World) -> None:
    problem, method = world.problem(PAIRS), ApeStacked(batch_size=16)
    trainee = method.trainee(problem, 0)
    images = np.arange(16)
    trainee.backward(problem, method, PAIRS, Batch(images, 2 * images))
    stack = trainee.stacks[0]
    copies = [[torch.zeros_like(p[row]) for p in stack.parameters()] for row in range(len(stack.pairs))]
    for row, tensors in enumerate(copies):
        for tensor, parameter in zip(tensors, stack.parameters(), strict=True):
            assert parameter.grad is not None
            tensor.grad = parameter.grad[row].clone()
    # Between the pairs' norms, so that some are clipped and some are not.
    norms = [torch.cat([t.grad.flatten() for t in ts if t.grad is not None]).norm().item() for ts in copies]
    limit = (min(norms) + max(norms)) / 2
    before = [clip_grad_norm_(tensors, limit) for tensors in copies]
    torch.testing.assert_close(stack.clip(limit), torch.stack(before))
    for row, tensors in enumerate(copies):
        for tensor, parameter in zip(tensors, stack.parameters(), strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad[row], tensor.grad)


def test_learning_rates_of_a_pair_before_its_text_encoder_before_its_image_encoder(world: World) -> None:
    method = ApeStacked(batch_size=32, lr=1e-2, lrs={"i0": 3e-3, "t1": 2e-3, "i1 + t1": 1e-3})
    together = trained(world, method, PAIRS, steps=10)
    expected = dict.fromkeys(PAIRS, 1e-2) | {("i0", "t0"): 3e-3} | dict.fromkeys([(i, "t1") for i in IMAGES], 2e-3)
    expected |= {("i1", "t1"): 1e-3}
    for pair, lr in expected.items():
        alone = trained(world, Ape(batch_size=32, lr=lr), (pair,), steps=10)[pair]
        torch.testing.assert_close(together[pair][0][0], alone[0][0], rtol=0, atol=1e-5)


def test_a_learning_rate_for_nothing_is_refused(world: World) -> None:
    method = ApeStacked(batch_size=32, lrs={"i9": 1e-3})
    with pytest.raises(HarnessError, match="lrs names 'i9', which is no pair or encoder here.*did you mean"):
        method.estimate(world.problem(PAIRS).sizes, Budget(epochs=1))


def test_initial_weights_in_double_precision_are_the_single_ones() -> None:
    """Else the precision would be another start."""
    shape = ConnectorShape(6, 5)
    single = init_layers(shape, torch.Generator().manual_seed(0))
    double = init_layers(shape, torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(single[0][0].double(), double[0][0])


def test_a_diverging_pair_is_lost_alone(world: World) -> None:
    """One row of text t1 is NaN: its pairs end where ape's do; the others, in the same stacks, are not touched."""
    settings: dict[str, Any] = {"batch_size": 16, "lr": 1e-2}
    run: dict[str, Any] = {"budget": Budget(epochs=4), "seed": 1, "progress": lambda step, steps: None}
    clean = ApeStacked(**settings).fit(world.problem(PAIRS), **run)
    bank: Any = world.split.text_banks["t1"]
    bank.table[7] = np.nan  # one caption of 192: drawn in some step of some epoch
    fit = ApeStacked(**settings).fit(world.problem(PAIRS), **run)
    lost = {(image, "t1") for image in IMAGES}
    assert fit.diverged is None
    assert set(fit.lost) == lost
    assert clean.connectors is not None
    assert fit.connectors is not None
    for pair in PAIRS:
        if pair in lost:
            alone = Ape(**settings).fit(world.problem((pair,)), **run)
            assert alone.diverged is not None
            assert alone.diverged.step == fit.lost[pair].step > 1
            assert alone.diverged.reason == fit.lost[pair].reason
            assert pair not in fit.scores
            assert pair not in fit.connectors
        else:
            assert fit.scores[pair] == clean.scores[pair]
            for ours, theirs in zip(fit.connectors[pair], clean.connectors[pair], strict=True):
                assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    step = next(iter(fit.lost.values())).step
    assert fit.ledger.updates == 6 * 24 - 3 * (24 - step), "a lost pair receives no more updates"
    assert fit.ledger.flops["connector"] == clean.ledger.flops["connector"], "and costs to the end"


def test_when_no_pair_is_left_the_training_has_diverged(world: World) -> None:
    fit = ApeStacked(batch_size=32, lr=1e38, clip=None, warmup=0.0).fit(
        world.problem(PAIRS), Budget(updates_per_pair=20), seed=0, progress=lambda step, steps: None
    )
    assert fit.diverged is not None
    assert fit.diverged.step < 20
    assert not fit.connectors
