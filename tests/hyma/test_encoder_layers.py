"""One layer per encoder: what pairs share, how they start, what a step costs and what sharing gains."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load

from harness.connectors.affine import affine, affine_shapes
from harness.contract.budget import Budget
from harness.errors import HarnessError
from harness.method import ConnectorKind, Dims, Tensors, TensorShape
from harness.sweep.estimates import estimates
from hyma.encoder_layers import EncoderLayers, TwoFactors, merged

GRID = """
    name: grid
    data:
      kind: synthetic
      rows: 600
      image_encoders: 6
      text_encoders: 6
      image_dims: [16, 24]
      text_dims: [16]
      seed: 0
      split: {train: 0.7, validation: 0.15, test: 0.15, seed: 0}
    connector: {hidden_layers: 0, width: 24}
    tasks: [{kind: retrieval}]
    selection: {task: retrieval, metric: text_to_image_r5}
    methods:
      ape: {method: ape_stacked, updates_per_pair: 6, batch_size: 64, lr: 1.0e-2}
      encoder_layers: {updates_per_pair: 6, batch_size: 64, space_dim: 16}
    reference: ape
    seeds: [0]
"""


def test_one_layer_that_is_not_linear_cannot_be_shared_out(sizes_of) -> None:
    class OneLayer(ConnectorKind):
        name = "one_layer"

        def shapes(self, dims: Dims) -> Mapping[str, TensorShape]:
            return affine_shapes("only", dims.in_dim, dims.out_dim)

        def apply(self, tensors: Tensors, x: torch.Tensor) -> torch.Tensor:
            return affine(x, tensors["only.weight"], tensors["only.bias"]).relu()

    sizes = replace(sizes_of([8], [8]), connector=OneLayer())
    with pytest.raises(HarnessError, match="'one_layer' connector has one layer"):
        EncoderLayers(space_dim=4, pairs_per_step=1).estimate(sizes, Budget(updates_per_pair=1))


def test_merged_layers_map_as_both_in_turn() -> None:
    kind, generator = TwoFactors(5), torch.Generator().manual_seed(0)
    factors = kind.init(Dims(7, 9), generator)
    x = torch.randn(11, 7, generator=generator)
    inside = x @ factors["into.weight"].T + factors["into.bias"]
    in_turn = inside @ factors["out_of.weight"].T + factors["out_of.bias"]
    one = merged(factors)
    torch.testing.assert_close(x @ one["layers.0.weight"].T + one["layers.0.bias"], in_turn)
    torch.testing.assert_close(kind.apply(factors, x), in_turn)


@pytest.mark.parametrize("dims", [(300, 200), (40, 500)])
def test_linear_connectors_start_with_the_variance_of_a_fresh_linear(sizes_of, dims: tuple[int, int]) -> None:
    owned = EncoderLayers(space_dim=64).owned(sizes_of([dims[0]], [dims[1]]), seed=0)
    weight = merged(owned["t0"] | owned["i0"])["layers.0.weight"]
    assert weight.shape == dims
    assert weight.var().item() == pytest.approx(torch.nn.Linear(dims[1], 2000).weight.var().item(), rel=0.15)


@pytest.mark.parametrize("depth", [1, 2])
def test_an_mlps_layers_are_owned_by_its_encoders(world, depth: int) -> None:
    world.write("grid.yaml", GRID)
    plan, store = world.run("grid.yaml", f"connector.hidden_layers={depth}", "seeds=[0]")
    cell = next(cell for cell in plan.cells if cell.label == "encoder_layers")
    stored = load(store.connectors(cell.key))

    def same(layer: int, one: tuple[str, str], other: tuple[str, str]) -> bool:
        names = (f"{cell.pairs.index(pair)}.layers.{layer}.weight" for pair in (one, other))
        return torch.equal(*(stored[name] for name in names))

    corner, along_text, along_image = ("image00", "text00"), ("image02", "text00"), ("image00", "text02")
    assert same(0, corner, along_text)
    assert not same(0, corner, along_image)
    assert same(depth, corner, along_image)
    assert not same(depth, corner, along_text)
    assert depth == 1 or same(1, corner, ("image02", "text02"))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_plan_equals_the_ledger(world, depth: int) -> None:
    """The ledger's training FLOPs are torch's own count where they exceed the closed form, so both must agree."""
    world.write("grid.yaml", GRID)
    plan, store = world.run("grid.yaml", f"connector.hidden_layers={depth}")
    (record,) = (store.record(cell.key) for cell in plan.cells if cell.label == "encoder_layers")
    planned = estimates(plan)["encoder_layers"]
    booked = {phase: flops for phase, flops in record.ledger.flops.items() if phase != "runner_eval"}
    assert planned.flops == pytest.approx(booked | {"total": sum(booked.values())})
    assert planned.trained_params == record.trained_params


def test_few_updates_teach_more_than_the_grids(world) -> None:
    """Twelve updates per pair are ninety-six of each encoder's layer."""
    world.write("grid.yaml", GRID)
    larger = ("data.rows=1500", "data.image_dims=[48]", "data.text_dims=[48]")
    grid = ("data.image_encoders=8", "data.text_encoders=8")
    longer = ("methods.ape.updates_per_pair=12", "methods.encoder_layers.updates_per_pair=12")
    plan, store = world.run("grid.yaml", *larger, *grid, *longer, "methods.encoder_layers.space_dim=48")
    records = [store.record(cell.key) for cell in plan.cells]
    means = {record.label: sum(record.curve[-1].scores) / len(record.pairs) for record in records}
    assert means["encoder_layers"] > 1.5 * means["ape"]
