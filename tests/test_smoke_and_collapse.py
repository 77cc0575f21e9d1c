"""`--smoke` and plans without data; collapse is recorded, weakness is not taken for it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.flops import Ledger
from harness.losses import info_nce

from harness.method import Problem

REPOSITORY = Path(__file__).parents[1]


def record_of(plan, label: str):
    return plan.store.record(next(cell.key for cell in plan.cells if cell.label == label))


def test_a_run_at_chance_is_recorded_as_diverged_with_its_step(world) -> None:
    """A rate so large that the connectors are noise, though finite."""
    plan = world.run(
        "world.yaml",
        "seeds=[0]",
        "reference=null",
        "methods={hyma: {updates_per_pair: 40, batch_size: 64, pairs_per_step: 3, lr: 300}}",
    )
    record = record_of(plan, "hyma")
    assert record.status == "diverged"
    assert record.diverged_step == 80  # 40 updates per pair, 3 of 6 pairs a step
    assert "at chance" in (record.error or "")


def test_a_weak_encoder_is_not_a_collapse(world) -> None:
    """An image encoder that sees little: low on validation data, but its connector learns."""
    plan = world.run(
        "world.yaml",
        "seeds=[0]",
        "data.image_qualities=[0.15]",
        "methods={ape: {updates_per_pair: 60, batch_size: 64, lr: 1.0e-2}}",
        "reference=ape",
    )
    assert {plan.store.record(cell.key).status for cell in plan.cells} == {"done"}


def test_smoke_runs_every_cell_for_one_step_without_data_or_a_changed_file(temp_project) -> None:
    text = """
        name: far
        data: {kind: precomputed, rows: 1000, image: {a: {file: a.pt, dim: 24}, b: {file: b.pt, dim: 16}},
               text: {t: {file: t.pt, dim: 8}}}
        methods:
          ape: {epochs: 100, batch_size: 512}
          add: {method: add_encoder, held_out: b, epochs: 100, batch_size: 512, pairs_per_step: 1}
        reference: ape
        seeds: [0, 1]
        storage: runs
    """
    file = temp_project.write("far.yaml", text)
    before = file.read_bytes()
    code, out, err = temp_project.invoke("sweep", "far.yaml", "--smoke", "--backend", "serial")
    assert code == 0, out + err
    assert file.read_bytes() == before
    cells = [json.loads(path.read_text()) for path in (temp_project.folder / "runs/far-smoke/cells").glob("*.json")]
    assert {(cell["label"], cell["ledger"]["updates"]) for cell in cells} == {("ape", 1), ("add", 2)}
    assert {tuple(pair) for cell in cells for pair in cell["pairs"]} == {("a", "t"), ("b", "t")}
    assert {cell["status"] for cell in cells} == {"done"}


def test_a_plan_on_paper_counts_the_training_share_of_the_stated_rows(temp_project) -> None:
    data = "{kind: precomputed, rows: 1000, image: {a: {file: a.pt, dim: 24}}, text: {t: {file: t.pt, dim: 8}}}"
    temp_project.write("far.yaml", f"name: far\ndata: {data}\nmethods: {{ape: {{epochs: 2, batch_size: 100}}}}\n")
    code, out, err = temp_project.invoke("plan", "far.yaml", "--json")
    assert code == 0 and "a.pt: no such file" in err
    found = json.loads(out)["methods"]["ape"]
    assert found["updates_per_pair"] == 14  # 700 of 1000 rows train: 7 steps an epoch
    assert found["flops"]["connector"] == 14 * 4 * 100 * 8 * 24


def test_without_stated_rows_the_absent_file_is_named(temp_project) -> None:
    data = "{kind: precomputed, image: {a: a.pt}, text: {t: t.pt}}"
    temp_project.write("far.yaml", f"name: far\ndata: {data}\nmethods: {{ape: {{epochs: 2}}}}\n")
    code, _, err = temp_project.invoke("plan", "far.yaml")
    assert code == 2 and "a.pt: no such file" in err


@pytest.mark.parametrize("sweep", sorted(path.name for path in (REPOSITORY / "sweeps").glob("hy*.yaml")))
def test_every_sweep_of_the_papers_can_be_planned_without_its_data(temp_project, sweep: str) -> None:
    code, out, err = temp_project.invoke("plan", str(REPOSITORY / "sweeps" / sweep), "--json")
    assert code == 0, err
    assert all(method["flops"]["total"] > 0 for method in json.loads(out)["methods"].values())


def test_connectors_of_features_do_not_depend_on_the_last_batch(world) -> None:
    """What is exported is the network's prediction at the bank's mean: scored again it gives the recorded score."""
    from hyma.joint import bank_means

    plan = world.run(
        "world.yaml", "seeds=[0]", "reference=null",
        "methods={hyper_align: {epochs: 2, batch_size: 64, pairs_per_step: 3, hidden: [8, 16]}}",
    )  # fmt: skip
    train = plan.workspace.open(plan.workspace.pairs, "train")

    problem = Problem(
        sizes=plan.workspace.sizes(plan.workspace.pairs),
        train=train,
        validation=train,
        loss=info_nce,
        device=torch.device("cpu"),
        ledger=Ledger(),
        scorer=lambda pair, layers: 0.0,
        higher_is_better=True,
    )
    means = bank_means(problem)
    for image, _ in plan.workspace.pairs:
        rows = train.image_banks[image].take(train.image_rows)
        np.testing.assert_allclose(means[image].numpy(), rows.mean(0), rtol=1e-5, atol=1e-7)
    assert record_of(plan, "hyper_align").status == "done"


def test_an_untrained_cell_is_not_judged_but_warned_of(world) -> None:
    plan = world.run(
        "world.yaml",
        "seeds=[0]",
        "reference=null",
        "methods={hyma: {updates_per_pair: 4, batch_size: 64, pairs_per_step: 3, lr: 300}}",
    )
    record = record_of(plan, "hyma")
    assert record.status == "done"
    assert any("after 4 updates per pair: collapsed, or too little training to tell" in w for w in record.warnings)
