"""``harness compare``: runs side by side."""

import json
import shutil

import pandas as pd
import pytest

from reports.summary import read_summary
from tests.stored import rewrite


@pytest.fixture
def two_runs(copy_of_world):
    """The finished world and a copy of its run under another name."""
    runs = copy_of_world.folder / "runs"
    (run,) = (path.parent for path in runs.glob("*/manifest.json"))
    other = runs / "other"
    shutil.copytree(run, other)
    rewrite(other / "manifest.json", {"name": "other"})
    return copy_of_world, run, other


def test_runs_stand_in_one_table_with_the_summarys_numbers(two_runs) -> None:
    project, run, other = two_runs
    code, out, err = project.invoke("compare", str(run), str(other), "--json")
    assert code == 0, err
    found = json.loads(out)
    summary = read_summary(run / "report" / "summary.json")
    assert [(row["run"], row["method"]) for row in found["methods"]] == [
        (name, label) for name in (run.name, "other") for label in summary.methods
    ]
    for row in found["methods"]:
        expected = summary.methods[row["method"]]
        assert row["pairs"] == summary.n_pairs
        assert row["flops_total"] == expected.flops.total
        assert row["spearman"] == pytest.approx(expected.spearman.value)


def test_shared_cells_are_compared_number_by_number(two_runs) -> None:
    project, run, other = two_runs
    cells = sorted((other / "cells").glob("*.json"))
    _, out, _ = project.invoke("compare", str(run), str(other), "--json")
    assert json.loads(out)["shared_cells"] == [{"runs": [run.name, "other"], "equal": len(cells), "different": []}]
    metrics = json.loads(cells[0].read_text())["metrics"]
    metrics[0]["score"] += 1e-6
    rewrite(cells[0], {"metrics": metrics})
    _, out, _ = project.invoke("compare", str(run), str(other), "--json")
    (shared,) = json.loads(out)["shared_cells"]
    assert shared["equal"] == len(cells) - 1
    assert shared["different"] == [cells[0].stem]
    _, out, _ = project.invoke("compare", str(run), str(other))
    assert f"share {len(cells)} finished cells: 1 differ, e.g. {cells[0].stem}" in " ".join(out.split())


def test_the_table_and_the_figure_are_written(two_runs) -> None:
    project, run, other = two_runs
    code, out, err = project.invoke("compare", str(run), str(other), "--out", "both")
    assert code == 0, err
    table = pd.read_csv(project.folder / "both" / "across.csv")
    assert set(table["run"]) == {run.name, "other"}
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (project.folder / "both" / f"across.{kind}").read_bytes().startswith(start)
        assert f"across.{kind}" in "".join(out.split())


def test_one_run_and_no_such_run_are_bad_input(finished) -> None:
    (run,) = (path.parent for path in (finished.folder / "runs").glob("*/manifest.json"))
    assert finished.harness("compare", str(run), code=2).stderr.count("\n") == 1
    assert "no run 'nowhere'" in finished.harness("compare", str(run), "nowhere", code=2).stderr
