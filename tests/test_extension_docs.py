"""The connector kind, the objectives and the task of the guides work as shown."""

import re
from pathlib import Path

import pytest

from harness.sweep.estimates import estimates

DOCS = Path(__file__).parents[1] / "docs"
METHODS = """methods={
  ape: {epochs: 20, batch_size: 64, lr: 1e-2},
  ape_stacked: {epochs: 20, batch_size: 64, lr: 1e-2},
  hyma: {epochs: 40, batch_size: 64, pairs_per_step: 3, lr: 1e-2}}"""
CHANCE = 5 / 40  # five of forty validation images


def block(document: str, number: int = 0) -> str:
    text = (DOCS / document).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[number]


def best_scores(plan, store) -> dict[str, float]:
    records = [store.record(cell.key) for cell in plan.cells]
    assert [record.error for record in records if record.status != "done"] == []
    found: dict[str, float] = {}
    for record in records:
        for metrics in record.metrics:
            found[record.label] = max(found.get(record.label, -1.0), metrics.score)
    return found


def test_every_kind_of_method_trains_the_connector_of_the_guide(world) -> None:
    world.write("gated.py", block("adding_a_connector_kind.md"))
    plan, store = world.run("world.yaml", "seeds=[0]", "connector={kind: './gated.py:Gated', sharpness: 3.0}", METHODS)
    assert min(best_scores(plan, store).values()) > 1.5 * CHANCE
    planned = estimates(plan)["ape"].flops
    spent = [store.record(cell.key).ledger.flops for cell in plan.cells if cell.label == "ape"]
    assert planned is not None
    assert planned["connector"] == pytest.approx(sum(flops["connector"] for flops in spent))


@pytest.mark.parametrize(("number", "name"), [(0, "siglip.py:siglip"), (1, "cosine.py:Cosine")])
def test_the_objectives_of_the_guide_teach_connectors_that_retrieve(world, number: int, name: str) -> None:
    world.write(name.partition(":")[0], block("adding_an_objective.md", number))
    plan, store = world.run("world.yaml", "seeds=[0]", f"connector={{loss: './{name}'}}", METHODS)
    found = best_scores(plan, store)
    assert min(found.values()) > 1.5 * CHANCE, found
    planned = estimates(plan)["ape"].flops
    spent = [store.record(cell.key).ledger.flops for cell in plan.cells if cell.label == "ape"]
    assert planned is not None
    assert planned["logits"] == pytest.approx(sum(flops["logits"] for flops in spent))


def test_the_task_of_the_guide_selects_and_reports(world) -> None:
    world.write("margin.py", block("adding_a_task.md"))
    plan, store = world.run(
        "world.yaml",
        "seeds=[0]",
        "tasks=[retrieval, {kind: './margin.py:Margin', label: margin, floor: -0.5}]",
        "selection={task: margin, metric: mean_margin}",
    )
    (record,) = [store.record(cell.key) for cell in plan.cells if cell.label == "hyma"]
    assert record.status == "done", record.error
    for pair in record.metrics:
        assert pair.score == pair.validation["margin"]["mean_margin"]
        assert -0.5 <= pair.test["margin"]["mean_margin"] <= 2
    from reports.analysis import analyse

    summary = analyse(store).summary
    assert summary.selection.metric == "mean_margin"
    assert summary.methods["hyma"].spearman.value is not None
    assert summary.methods["hyma"].regret.ci95 is not None, "the bootstrap reads what each query gave"
