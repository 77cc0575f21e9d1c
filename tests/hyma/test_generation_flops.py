"""Connectors are generated for scoring too: what that costs is counted, booked under hypernet, and foreseen."""

import pytest
import torch

from harness.sweep.estimates import estimates
from harness.training.counting import counted
from hyma.conditioning import CONDITIONINGS
from hyma.decoders import DECODERS
from hyma.encoder_layers import EncoderLayers
from hyma.joint import Joint
from tests.hyma.networks import means_of, network_of

JOINT = "epochs: 8, batch_size: 64, pairs_per_step: 3"
METHODS = {
    "hyma": f"{JOINT}, hidden: [16, 8]",
    "hyper_align": f"{JOINT}, hidden: [16, 8]",
    "encoder_layers": f"{JOINT}, space_dim: 4",
}


@pytest.mark.parametrize("conditioning", CONDITIONINGS.names())
@pytest.mark.parametrize("decoder", DECODERS.names())
@pytest.mark.parametrize("depth", [0, 2])
def test_the_closed_form_of_generating_equals_flop_counter(
    sizes_of, conditioning: str, decoder: str, depth: int
) -> None:
    sizes = sizes_of([10, 30], [7, 20], depth)
    network = network_of(sizes, conditioning=conditioning, decoder=decoder)
    means = means_of(sizes)
    with torch.no_grad():
        assert counted(lambda: network(sizes.pairs, means)) == network.forward_flops(len(sizes.pairs))


@pytest.mark.parametrize(("connector", "kinds"), [("linear", 1), ("{kind: low_rank, rank: 4}", 0), ("mlp", 0)])
def test_only_linear_connectors_of_encoder_layers_are_merged(world, connector: str, kinds: int) -> None:
    """Two thin factors are multiplied for each pair: 2 x out x space x in. Other kinds are composed, which is free."""
    chosen = {"linear": "{kind: linear}", "mlp": "{hidden_layers: 1, width: 9}"}.get(connector, connector)
    resolved = world.plan("world.yaml", f"connector={chosen}").resolved
    sizes = resolved.sizes(resolved.pairs)
    products = sum(2 * sizes.dims(pair).out_dim * 4 * sizes.dims(pair).in_dim for pair in sizes.pairs)
    assert EncoderLayers(space_dim=4).merging(sizes) == kinds * products


@pytest.mark.parametrize("method", METHODS)
def test_the_ledger_has_every_generation_and_the_plan_foresees_it(world, method: str) -> None:
    chosen = f"methods={{m: {{method: {method}, {METHODS[method]}}}}}"
    plan, store = world.run("world.yaml", chosen, "reference=null", "seeds=[0]")
    (record,) = (store.record(cell.key) for cell in plan.cells)
    assert record.status == "done", record.error
    made, sizes = plan.methods["m"].method, plan.resolved.sizes(plan.resolved.pairs)
    if isinstance(made, EncoderLayers):
        step, generation = 0.0, made.merging(sizes)
    else:
        assert isinstance(made, Joint)
        network = made.network(sizes, 0)
        step, generation = network.step_flops(made.pairs_per_step), network.forward_flops(len(sizes.pairs))
    assert generation > 0
    steps, checkpoints = record.curve[-1].step, len(record.curve)
    assert checkpoints > 1
    assert record.ledger.flops["hypernet"] == steps * step + checkpoints * generation
    booked = {phase: flops for phase, flops in record.ledger.flops.items() if phase != "runner_eval"}
    assert estimates(plan)["m"].flops == pytest.approx(booked | {"total": sum(booked.values())})


@pytest.mark.parametrize("conditioning", ["pair", "factored", "features"])
def test_adding_an_encoder_books_both_parts_and_the_start_of_the_condition(world, conditioning: str) -> None:
    """Four known pairs at the joint run's checkpoints; two new ones once untouched, and at those of the condition."""
    settings = f"method: add_encoder, held_out: image00, condition_updates: 9, conditioning: {conditioning}"
    chosen = f"methods={{m: {{{settings}, {METHODS['hyma']}}}}}"
    plan, store = world.run("world.yaml", chosen, "reference=null", "seeds=[0]")
    (record,) = (store.record(cell.key) for cell in plan.cells)
    assert record.status == "done", record.error
    booked = {phase: flops for phase, flops in record.ledger.flops.items() if phase != "runner_eval"}
    planned = estimates(plan)["m"]
    assert planned.flops == pytest.approx(booked | {"total": sum(booked.values())})
    assert planned.trained_params == record.trained_params
