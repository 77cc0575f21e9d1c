"""``harness ls`` and ``status``."""

import json
from importlib import metadata

import pytest

from tests.stored import rewrite

WHAT = {
    "encoders": "packaged:minilm_l6",
    "datasets": "synthetic",
    "methods": "hyma",
    "tasks": "retrieval",
    "sweeps": "quickstart",
    "runs": "world",
}


@pytest.mark.parametrize("what", WHAT)
def test_every_list_is_json_objects_with_a_name_and_a_table(finished, what: str) -> None:
    code, out, err = finished.invoke("ls", what, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    assert WHAT[what] in [row["name"] for row in rows]
    assert len({(row["name"], row.get("modality")) for row in rows}) == len(rows)
    if what != "encoders":  # hundreds of lines
        code, out, _ = finished.invoke("ls", what)
        assert code == 0
        assert WHAT[what] in out


def test_a_run_is_listed_with_its_progress_and_a_damaged_one_with_its_error(copy_of_world) -> None:
    next(copy_of_world.folder.glob("runs/world/cells/*.json")).unlink()
    broken = copy_of_world.folder / "runs" / "broken" / "manifest.json"
    broken.parent.mkdir()
    broken.write_text("{")
    rows = {row["name"]: row for row in json.loads(copy_of_world.invoke("ls", "runs", "--json")[1])}
    assert (rows["world"]["cells"], rows["world"]["finished"]) == (14, 13)
    assert "cannot be read" in rows["broken"]["finished"]


def test_no_runs_is_said(temp_project) -> None:
    assert temp_project.invoke("ls", "runs") == (0, "no runs\n", "")
    assert temp_project.invoke("ls", "runs", "--json") == (0, "[]\n", "")


def test_status_counts_cells_by_state(copy_of_world) -> None:
    path = next(copy_of_world.folder.glob("runs/world/cells/*.json"))
    record = json.loads(path.read_text())
    rewrite(path, {"status": "failed", "error": "out of [memory]", "metrics": []})
    code, out, _ = copy_of_world.invoke("status", "runs/world")
    assert code == 0
    assert "14 of 14 cells" in out
    assert f"failed: {record['label']} seed {record['seed']}" in out
    assert "out of [memory]" in out
    row = next(line for line in out.splitlines() if line.startswith(f"│ {record['label']}"))
    assert row.split("│")[3].strip() == "1"


def test_watch_ends_when_nothing_is_missing(copy_of_world) -> None:
    code, out, _ = copy_of_world.invoke("status", "world", "--watch")
    assert (code, "14 of 14 cells" in out) == (0, True)


def test_the_version_is_the_installed_packages(temp_project) -> None:
    code, out, _ = temp_project.invoke("--version")
    assert (code, out.strip()) == (0, f"harness {metadata.version('stitch-harness')}")
