"""What the documents show works as shown."""

import re
from pathlib import Path

import pytest
from harness.cells import run_cell
from harness.plan import estimates
from harness.rungs import settle

DOCS = Path(__file__).parents[1]


def block(document: str, language: str, number: int = 0) -> str:
    text = (DOCS / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)[number]


def test_the_method_of_the_guide_runs(world) -> None:
    world.write("nearest.py", block("docs/adding_a_method.md", "python"))
    plan = world.run(
        "world.yaml", "seeds=[0]", 'methods.ridge={method: "./nearest.py:FixedRidge", penalty: 0.3, epochs: 1}'
    )
    records = [plan.store.record(cell.key) for cell in plan.cells if cell.label == "ridge"]
    assert [record.status for record in records] == ["done"] * 6
    scores = {(m.image, m.text): m.score for record in records for m in record.metrics}
    assert max(scores.values()) > 0.2  # five of 40 validation images would be found by chance in 0.125


@pytest.mark.parametrize("depth", [0, 1])
def test_the_hypernetwork_of_the_guide_learns_and_counts_its_flops(world, depth: int) -> None:
    world.write("rank_one.py", block("docs/adding_a_method.md", "python", 1))
    plan = world.run(
        "world.yaml",
        "seeds=[0]",
        "reference=null",
        f"connector={{hidden_layers: {depth}, width: 24}}",
        "methods={one: {method: './rank_one.py:HymaRankOne', epochs: 40, batch_size: 64, pairs_per_step: 3, lr: 1e-2}}",
    )
    (record,) = (plan.store.record(cell.key) for cell in plan.cells)
    assert record.status == "done", record.error
    assert max(score for score in record.curve[-1].scores if score is not None) > 0.2  # chance: 0.125
    planned = estimates(plan)["one"].flops
    assert planned is not None
    assert planned["hypernet"] == pytest.approx(record.ledger.flops["hypernet"])


def test_the_policy_of_the_guide_stops_pairs_that_are_far_behind(world) -> None:
    world.write("one_look.py", block("docs/adding_a_method.md", "python", 2))
    recipe = "epochs: 8, batch_size: 64, lr: 1.0e-2, warmup: 0.1"
    plan = world.run(
        "world.yaml",
        "seeds=[0]",
        f"methods.ape={{{recipe}}}",
        f"methods.look={{method: './one_look.py:OneLook', margin: 0.03, {recipe}}}",
    )
    first = {cell.pairs[0]: plan.store.record(cell.key).metrics[0].score for cell in plan.cells if cell.rung == 0}
    near = {pair for pair, score in first.items() if score >= max(first.values()) - 0.03}
    assert 0 < len(near) < len(first)
    settle(plan)
    for cell in plan.missing():
        run_cell(plan, cell)
    ended = {cell.pairs[0]: plan.store.record(cell.key) for cell in plan.cells if cell.rung == 1}
    assert {pair for pair, record in ended.items() if record.status == "done"} == near
    assert {pair for pair, record in ended.items() if record.status == "skipped"} == first.keys() - near
    for cell in plan.cells:
        if cell.label == "ape" and cell.pairs[0] in near:
            assert plan.store.record(cell.key).metrics == ended[cell.pairs[0]].metrics


def test_every_file_that_a_document_names_is_there() -> None:
    for document in [DOCS / "README.md", DOCS / "CONTRIBUTING.md", *(DOCS / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} names {target}"
        for sweep in re.findall(r"sweeps/[\w]+\.yaml", document.read_text(encoding="utf-8")):
            assert (DOCS / sweep).is_file(), f"{document.name} names {sweep}"
