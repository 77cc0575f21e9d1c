"""ape_stacked is ape: parameters, scores, FLOPs; and what it adds: learning rates of its own for each pair."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_

from baselines.ape import Ape
from baselines.stacked import ApeStacked
from harness.connectors.linear import Linear
from harness.errors import HarnessError
from harness.method import Batch, Budget, Connector, Dims, Direction, Pair, Problem, ScoringCost, Split
from harness.training.counting import counted
from harness.training.loop import train
from tests.problems import Table, connector_of, connectors_of, problem_of, silent, sizes_of, tables

IMAGES, TEXTS = {"i0": 12, "i1": 12, "i2": 20}, {"t0": 8, "t1": 8}
PAIRS = tuple((image, text) for image in IMAGES for text in TEXTS)


pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class World:
    split: Split

    def problem(self, pairs: tuple[Pair, ...], *, depth: int = 0, direction: Direction = "text_to_image") -> Problem:
        sizes = sizes_of(
            IMAGES,
            TEXTS,
            pairs=pairs,
            train_images=96,
            connector=connector_of(depth, 16),
            direction=direction,
            scoring=ScoringCost(96, 192, 96.0 * 192),
        )

        def scorer(pair: Pair, connector: Connector) -> float:
            return float(sum(tensor.sum() for tensor in connector.tensors.values()))

        return problem_of(sizes, self.split, scorer=scorer)

    @property
    def rows_read(self) -> int:
        banks = (*self.split.image_banks.values(), *self.split.text_banks.values())
        return sum(bank.rows_read for bank in banks if isinstance(bank, Table))


@pytest.fixture
def world() -> World:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(96), 2)
    images = tables({name: rng.standard_normal((96, dim)) for name, dim in IMAGES.items()})
    texts = tables({name: rng.standard_normal((192, dim)) for name, dim in TEXTS.items()})
    return World(Split(images, texts, np.arange(96), np.arange(192), owner))


def trained(
    world: World, recipe: Ape | ApeStacked, pairs: tuple[Pair, ...], *, steps: int, **problem: Any
) -> Mapping[Pair, Connector]:
    """Connectors after training, in the precision of the training."""
    given = world.problem(pairs, **problem)
    trainee = recipe.trainee(given, 3)
    train(given, Budget(updates_per_pair=steps), recipe, lambda: trainee, seed=3, progress=silent)
    return trainee.connectors(pairs)


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
        assert together[pair].tensors.keys() == alone.tensors.keys()
        for name, theirs in alone.tensors.items():
            torch.testing.assert_close(together[pair].tensors[name], theirs, rtol=0, atol=tolerance)


def test_scores_flops_and_updates_are_the_sum_of_apes(world: World) -> None:
    budget, settings = Budget(epochs=4), {"batch_size": 32, "lr": 1e-2}
    fit = ApeStacked(**settings).fit(world.problem(PAIRS), budget, seed=1, progress=silent)
    total: dict[str, float] = {}
    for pair in PAIRS:
        alone = Ape(**settings).fit(world.problem((pair,)), budget, seed=1, progress=silent)
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
    batch = next(problem.batches(16, 0))
    kind, every = problem.sizes.connector, [problem.sizes.dims(pair) for pair in PAIRS]
    expected = sum(kind.step_flops(dims, 16) + 4 * 16 * 16 * dims.out_dim for dims in every)
    assert counted(lambda: trainee.backward(method, problem.device, PAIRS, batch)) == expected


def test_each_batch_is_read_once_for_all_pairs(world: World) -> None:
    trained(world, ApeStacked(batch_size=32), PAIRS, steps=5)
    assert world.rows_read == 5 * 32 * (len(IMAGES) + len(TEXTS))


def test_each_pair_is_clipped_on_its_own(world: World) -> None:
    problem, method = world.problem(PAIRS), ApeStacked(batch_size=16)
    trainee = method.trainee(problem, 0)
    images = np.arange(16)
    batch = Batch(images, 2 * images, split=problem.train, device=problem.device)
    trainee.backward(method, problem.device, PAIRS, batch)
    stack = trainee.stacks[0]
    copies = [[torch.zeros_like(p[row]) for p in stack.trained] for row in range(len(stack.pairs))]
    for row, tensors in enumerate(copies):
        for tensor, parameter in zip(tensors, stack.trained, strict=True):
            assert parameter.grad is not None
            tensor.grad = parameter.grad[row].clone()
    # Between the pairs' norms, so that some are clipped and some are not.
    norms = [torch.cat([t.grad.flatten() for t in ts if t.grad is not None]).norm().item() for ts in copies]
    limit = (min(norms) + max(norms)) / 2
    before = [clip_grad_norm_(tensors, limit) for tensors in copies]
    torch.testing.assert_close(stack.clip(limit), torch.stack(before))
    for row, tensors in enumerate(copies):
        for tensor, parameter in zip(tensors, stack.trained, strict=True):
            assert parameter.grad is not None
            torch.testing.assert_close(parameter.grad[row], tensor.grad)


def test_learning_rates_of_a_pair_before_its_text_encoder_before_its_image_encoder(world: World) -> None:
    method = ApeStacked(batch_size=32, lr=1e-2, lrs={"i0": 3e-3, "t1": 2e-3, "i1 + t1": 1e-3})
    together = trained(world, method, PAIRS, steps=10)
    expected = dict.fromkeys(PAIRS, 1e-2) | {("i0", "t0"): 3e-3} | dict.fromkeys([(i, "t1") for i in IMAGES], 2e-3)
    expected |= {("i1", "t1"): 1e-3}
    for pair, lr in expected.items():
        alone = trained(world, Ape(batch_size=32, lr=lr), (pair,), steps=10)[pair]
        weights = (made.tensors["layers.0.weight"] for made in (together[pair], alone))
        torch.testing.assert_close(*weights, rtol=0, atol=1e-5)


def test_a_learning_rate_for_nothing_is_refused(world: World) -> None:
    method = ApeStacked(batch_size=32, lrs={"i9": 1e-3})
    with pytest.raises(HarnessError, match="lrs names 'i9', which is no pair or encoder here.*did you mean"):
        method.estimate(world.problem(PAIRS).sizes, Budget(epochs=1))


def test_initial_weights_in_double_precision_are_the_single_ones() -> None:
    """Else the precision would be another start."""
    single = Linear().init(Dims(6, 5), torch.Generator().manual_seed(0))
    double = Linear().init(Dims(6, 5), torch.Generator().manual_seed(0), dtype=torch.float64)
    assert single.keys() == double.keys()
    assert all(torch.equal(single[name].double(), double[name]) for name in single)


@pytest.mark.parametrize("read_every", [1, 5])
def test_a_diverging_pair_is_lost_alone(world: World, monkeypatch: pytest.MonkeyPatch, read_every: int) -> None:
    """One row of text t1 is NaN: its pairs end where ape's do; the others, in the same stacks, are not touched.

    Also where norms are read once per some steps, as on a GPU.
    """
    monkeypatch.setattr("harness.training.divergence.steps_per_reading", lambda device: read_every)
    settings: dict[str, Any] = {"batch_size": 16, "lr": 1e-2}
    run: dict[str, Any] = {"budget": Budget(epochs=4), "seed": 1, "progress": silent}
    clean = ApeStacked(**settings).fit(world.problem(PAIRS), **run)
    bank = world.split.text_banks["t1"]
    assert isinstance(bank, Table)
    bank.rows[7] = np.nan  # one caption of 192: drawn in some step of some epoch
    fit = ApeStacked(**settings).fit(world.problem(PAIRS), **run)
    lost = {(image, "t1") for image in IMAGES}
    assert fit.diverged is None
    assert set(fit.lost) == lost
    untouched, kept = connectors_of(clean), connectors_of(fit)
    for pair in PAIRS:
        if pair in lost:
            alone = Ape(**settings).fit(world.problem((pair,)), **run)
            assert alone.diverged is not None
            assert alone.diverged.step == fit.lost[pair].step > 1
            assert alone.diverged.reason == fit.lost[pair].reason
            assert pair not in fit.scores
            assert pair not in kept
        else:
            assert fit.scores[pair] == clean.scores[pair]
            for name, tensor in untouched[pair].tensors.items():
                assert torch.equal(kept[pair].tensors[name], tensor)
    step = next(iter(fit.lost.values())).step
    assert fit.ledger.updates == 6 * 24 - 3 * (24 - step), "a lost pair receives no more updates"
    assert fit.ledger.flops["connector"] == clean.ledger.flops["connector"], "and costs to the end"


def test_when_no_pair_is_left_the_training_has_diverged(world: World) -> None:
    fit = ApeStacked(batch_size=32, lr=1e38, clip=None, warmup=0.0).fit(
        world.problem(PAIRS), Budget(updates_per_pair=20), seed=0, progress=silent
    )
    assert fit.diverged is not None
    assert fit.diverged.step < 20
    assert not fit.connectors


@pytest.mark.parametrize("entries", [1, 16 * 12 * 2, 10**9])
def test_stacks_that_fit_the_cache_compute_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    """Four pairs land in 12 dimensions, two in 20: one pair in a stack, two, or all of a shape."""
    method = ApeStacked(batch_size=16, lr=1e-2)
    run: dict[str, Any] = {"budget": Budget(epochs=2), "seed": 1, "progress": silent}
    whole = method.fit(world.problem(PAIRS), **run)
    monkeypatch.setattr("baselines.stacked.ENTRIES_IN_CACHE", entries)
    stacks = method.trainee(world.problem(PAIRS), 1).stacks
    assert [len(stack.pairs) for stack in stacks] == {1: [1] * 6, 384: [2, 2, 1, 1], 10**9: [4, 2]}[entries]
    fit = method.fit(world.problem(PAIRS), **run)
    assert fit.ledger.flops == whole.ledger.flops
    for pair, made in connectors_of(whole).items():
        for name, tensor in made.tensors.items():
            assert torch.allclose(connectors_of(fit)[pair].tensors[name], tensor, atol=1e-6)
