"""`--smoke` and plans without data."""

import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


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
