"""The training loop: schedule, checkpoints, budgets, and what it books."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR

from harness.run.records import CellRecord
from harness.run.store import RunStore
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan
from harness.training.recipe import Recipe
from harness.training.schedule import checkpoint_steps
from hyma.method import Hyma


def records(plan: Plan, store: RunStore) -> list[CellRecord]:
    return [store.record(cell.key) for cell in plan.cells]


def test_warm_up_rises_linearly_and_cosine_falls_to_zero() -> None:
    recipe = Recipe(lr=2.0, warmup=0.2)
    assert [recipe.rate(p, 2.0) for p in (0, 0.05, 0.1, 0.2)] == pytest.approx([0, 0.5, 1.0, 2.0])
    assert [recipe.rate(p, 2.0) for p in (0.4, 0.6, 1.0)] == pytest.approx([1 + math.cos(math.pi / 4), 1.0, 0.0])
    constant = Recipe(lr=2.0, warmup=0.2, schedule="constant")
    assert [constant.rate(p, 2.0) for p in (0.1, 0.2, 0.7, 1.0)] == pytest.approx([1.0, 2.0, 2.0, 2.0])


def test_cosine_equals_torch_without_warm_up() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = CosineAnnealingLR(optimizer, T_max=10)
    recipe = Recipe(lr=0.3, warmup=0.0)
    for step in range(10):
        assert recipe.rate(step / 10, 0.3) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_checkpoints_are_the_ends_of_epochs_1_2_4_and_of_the_training() -> None:
    assert checkpoint_steps(10, 1) == [1, 2, 4, 8, 10]
    assert checkpoint_steps(8, 1) == [1, 2, 4, 8]
    assert checkpoint_steps(50, 12) == [12, 24, 48, 50]
    assert checkpoint_steps(5, 12) == [5]
    assert checkpoint_steps(9, 1.25) == [2, 3, 5, 9], "passes end within a step"


@given(steps=st.integers(1, 10_000), per_epoch=st.integers(1, 200))
def test_checkpoints_are_few_and_end_with_the_training(steps: int, per_epoch: int) -> None:
    found = checkpoint_steps(steps, per_epoch)
    assert found[-1] == steps
    assert found == sorted(set(found))
    assert len(found) <= 2 + math.log2(max(1, steps / per_epoch))


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("direction", ["text_to_image", "image_to_text"])
def test_the_plans_closed_form_equals_what_the_cells_book(world, depth: int, direction: str) -> None:
    """The ledger holds torch's FlopCounterMode of the steps that ran; the plan never ran anything."""
    plan, store = world.run(
        "world.yaml", f"connector={{hidden_layers: {depth}, width: 24, direction: {direction}}}", "seeds=[3]"
    )
    for label, estimate in estimates(plan).items():
        cells = [record for record in records(plan, store) if record.label == label]
        assert {record.status for record in cells} == {"done"}
        booked: dict[str, float] = {}
        for record in cells:
            for phase, flops in record.ledger.flops.items():
                booked[phase] = booked.get(phase, 0) + flops
        del booked["runner_eval"]
        assert estimate.flops is not None
        assert estimate.flops == pytest.approx(booked | {"total": sum(booked.values())})
        assert estimate.trained_params == sum(record.trained_params for record in cells)
        assert {record.updates_per_pair for record in cells} == {estimate.updates_per_pair}


@pytest.mark.parametrize(
    ("budget", "ape", "hyma"),
    [
        ("epochs: 2", 8, 4),  # 280 images, batch 64: four steps an epoch; hyma takes three of six pairs a step
        ("epochs: 0.5", 2, 1),
        ("updates_per_pair: 7", 7, 7),
    ],
)
def test_training_stops_where_the_budget_says(world, budget: str, ape: int, hyma: int) -> None:
    text = (world.folder / "world.yaml").read_text().replace("epochs: 3", budget).replace("epochs: 6", budget)
    world.write("world.yaml", text)
    plan, store = world.run("world.yaml", "seeds=[0]")
    for record in records(plan, store):
        expected = ape if record.label == "ape" else hyma
        assert record.updates_per_pair == expected
        assert record.samples_per_pair == expected * 64
        assert record.curve[-1].updates_per_pair == expected
        assert record.ledger.updates == expected * len(record.pairs)


def test_a_flops_budget_is_used_up_and_not_exceeded(world) -> None:
    text = (
        (world.folder / "world.yaml").read_text().replace("epochs: 3", "flops: 5e6").replace("epochs: 6", "flops: 2e7")
    )
    world.write("world.yaml", text)
    plan, store = world.run("world.yaml", "seeds=[0]")
    hyma = plan.methods["hyma"].method
    assert isinstance(hyma, Hyma)
    network = hyma.network(plan.resolved.sizes(plan.resolved.pairs), seed=0)
    generation = {"ape": 0.0, "hyma": network.forward_flops(len(plan.resolved.pairs))}
    for record in records(plan, store):
        limit = 5e6 if record.label == "ape" else 2e7
        spent = sum(flops for phase, flops in record.ledger.flops.items() if phase not in ("eval", "runner_eval"))
        # The limit is one of training: neither scoring nor making the connectors that are scored counts.
        trained = spent - len(record.curve) * generation[record.label]
        step = trained / record.curve[-1].step
        assert limit - step < trained <= limit


def test_the_curve_rises_in_cost_and_ends_with_the_result(finished) -> None:
    plan = finished.plan()
    for record in records(plan, finished.store(plan)):
        epochs = [point.epoch for point in record.curve]
        # Three of six pairs a step: a pair's first pass of the data ends with the second epoch.
        assert epochs == ([1, 2, 3] if record.label == "ape" else [2, 4, 6])
        flops = [point.flops for point in record.curve]
        assert flops == sorted(flops)
        assert flops[-1] == record.ledger.total
        assert record.curve[-1].scores == [metrics.score for metrics in record.metrics]
        chosen = [metrics.validation["retrieval"]["text_to_image_r5"] for metrics in record.metrics]
        assert record.curve[-1].scores == chosen, "the score is the selection metric on validation data"


def test_bf16_and_fp32_reach_similar_connectors(world) -> None:
    full = {r.key: r for r in records(*world.run("world.yaml", "seeds=[0]", "storage=full"))}
    half = records(*world.run("world.yaml", "seeds=[0]", "storage=half", "methods.ape.precision=bf16"))
    for record in half:
        if record.label == "ape":
            twin = next(r for r in full.values() if r.label == "ape" and r.pairs == record.pairs)
            assert record.ledger.flops == twin.ledger.flops
            assert record.metrics[0].test["retrieval"]["median_rank"] == pytest.approx(
                twin.metrics[0].test["retrieval"]["median_rank"], abs=3
            )
