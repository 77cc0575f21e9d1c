"""A kind of connector that is one file: every method trains it, and it is counted, stored and exported."""

import json

import pytest
import torch

import harness
from harness.connectors.low_rank import LowRank
from harness.connectors.stored import from_bytes
from harness.contract.connector import Connector
from harness.contract.pairs import Pair
from harness.run.store import RunStore
from harness.sweep.estimates import estimates
from harness.sweep.plan import Plan
from tests.conftest import SYNTHETIC, Project

METHODS = """methods={
  ape: {epochs: 40, batch_size: 64, lr: 1e-2},
  ape_stacked: {epochs: 40, batch_size: 64, lr: 1e-2},
  hyma: {epochs: 40, batch_size: 64, pairs_per_step: 3, lr: 1e-2},
  encoder_layers: {epochs: 80, batch_size: 64, pairs_per_step: 3, lr: 1e-2}}"""
LABELS = ("ape", "ape_stacked", "hyma", "encoder_layers")
CHANCE = 5 / 40  # five of forty validation images


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Plan, RunStore]:
    project = Project(tmp_path_factory.mktemp("low rank"))
    project.write("world.yaml", SYNTHETIC)
    return project, *project.run("world.yaml", "seeds=[0]", "connector={kind: low_rank, rank: 5}", METHODS)


def connectors(plan: Plan, store: RunStore, label: str) -> dict[Pair, Connector]:
    found = {}
    for cell in (cell for cell in plan.cells if cell.label == label):
        data = store.connectors(cell.key)
        assert data is not None, store.record(cell.key).error
        found |= {pair: from_bytes(data, number) for number, pair in enumerate(cell.pairs)}
    return found


@pytest.mark.parametrize("label", LABELS)
def test_every_kind_of_method_trains_it(run, label: str) -> None:
    _, plan, store = run
    scores = [m.score for cell in plan.cells if cell.label == label for m in store.record(cell.key).metrics]
    assert len(scores) == 6
    assert sum(scores) / 6 > 1.5 * CHANCE
    for pair, connector in connectors(plan, store, label).items():
        dims = plan.resolved.sizes((pair,)).dims(pair)
        assert connector.kind == LowRank(rank=5)
        matrix = connector(torch.eye(dims.in_dim)) - connector(torch.zeros(1, dims.in_dim))
        assert torch.linalg.matrix_rank(matrix, rtol=1e-4) == 5, "of 8 to 20 dimensions"


@pytest.mark.parametrize("label", LABELS)
def test_the_plan_knows_what_it_costs(run, label: str) -> None:
    _, plan, store = run
    planned = estimates(plan)[label]
    records = [store.record(cell.key) for cell in plan.cells if cell.label == label]
    assert planned.flops is not None
    for phase in set(planned.flops) - {"total"}:
        assert planned.flops[phase] == pytest.approx(sum(r.ledger.flops[phase] for r in records)), phase
    assert planned.trained_params == sum(record.trained_params for record in records)


def test_stacked_training_ends_where_training_alone_does(run) -> None:
    _, plan, store = run
    alone, stacked = (connectors(plan, store, label) for label in ("ape", "ape_stacked"))
    for pair, connector in alone.items():
        for name, tensor in connector.tensors.items():
            torch.testing.assert_close(stacked[pair].tensors[name], tensor, atol=2e-3, rtol=0)


def test_encoders_own_one_factor_each(run) -> None:
    _, plan, store = run
    made = connectors(plan, store, "encoder_layers")
    owners = {"down.weight": 1, "up.weight": 0, "up.bias": 0}  # texts are mapped into image spaces
    for (one, first), (other, second) in zip(list(made.items())[:-1], list(made.items())[1:], strict=True):
        for name, side in owners.items():
            shared = one[side] == other[side]
            same = first.tensors[name].shape == second.tensors[name].shape
            assert (same and torch.equal(first.tensors[name], second.tensors[name])) == shared


def test_it_is_exported_with_its_settings(run, tmp_path) -> None:
    project, plan, store = run
    pair, folder = ("image01", "text00"), tmp_path / "exported"
    code, _, err = project.invoke("export", "world", "--method", "hyma", "--pair", *pair, "--out", str(folder))
    assert (code, err) == (0, "")
    assert json.loads((folder / "config.json").read_text())["connector"] == {"kind": "low_rank", "rank": 5}
    assert "A low_rank (rank 5) connector" in (folder / "README.md").read_text()
    model = harness.load(folder)
    x = torch.randn(3, plan.resolved.sizes((pair,)).dims(pair).in_dim)
    assert torch.equal(model._connector(x), connectors(plan, store, "hyma")[pair](x))
