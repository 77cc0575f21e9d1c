"""A run that an older version wrote: one line says so, and nothing of it is misread or changed."""

import json
import shutil

import pytest

from tests.stored import rewrite


@pytest.fixture
def old_run(copy_of_world):
    """The finished world as schema 1 wrote it: other fields of the manifest, and cells under other keys."""
    run = copy_of_world.folder / "runs/world"
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["banks"], manifest["checksum"]
    manifest |= {
        "schema_version": 1,
        "connector": {"hidden_layers": 0, "width": 1024, "direction": "text_to_image", "loss": "info_nce"},
        "methods": {
            label: {key: value for key, value in method.items() if key != "sources"} | {"source": "0" * 64}
            for label, method in manifest["methods"].items()
        },
        "tasks": [{"label": "retrieval", "kind": "retrieval", "config": {}, "chance": {}}],
    }
    (run / "manifest.json").write_text(json.dumps(manifest))
    for path in (run / "cells").glob("*.json"):
        record = json.loads(path.read_text())
        del record["banks"], record["files"], record["checksum"]
        path.write_text(json.dumps(record | {"schema_version": 1}))
    shutil.copytree(run, run.with_name("other"))
    return copy_of_world, run


@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "world.yaml", "--backend", "serial"),
        ("sweep", "world.yaml", "--set", "methods.cka={}"),
        ("report", "world"),
        ("status", "world"),
        ("export", "world", "--method", "ape", "--out", "exported"),
        ("compare", "world", "runs/other"),
    ],
    ids=lambda command: command[0] if isinstance(command, tuple) else None,
)
def test_it_is_refused_in_one_line_and_left_as_it_is(old_run, command: tuple[str, ...]) -> None:
    project, run = old_run
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, out, err = project.invoke(*command)
    assert (code, out) == (2, "")
    lines = err.strip().splitlines()
    assert lines == [
        f"error: {run}/manifest.json: is of schema 1, from an older version; this one reads 2 "
        "(make a new run under another name)"
    ]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_it_is_listed_with_the_reason(old_run) -> None:
    project, _ = old_run
    code, out, _ = project.invoke("ls", "runs", "--json")
    assert code == 0
    (row,) = [row for row in json.loads(out) if row["name"] == "world"]
    assert "is of schema 1, from an older version" in row["finished"]


def test_an_old_cell_in_a_new_run_is_not_taken_for_a_result(copy_of_world) -> None:
    run = copy_of_world.folder / "runs/world"
    path = sorted((run / "cells").glob("*.json"))[0]
    rewrite(path, {"schema_version": 1}, sealed=False)
    for command in (("report", "world"), ("sweep", "world.yaml", "--backend", "serial")):
        code, _, err = copy_of_world.invoke(*command)
        assert code == 2
        assert f"{path}: is of schema 1, from an older version; this one reads 2" in err.splitlines()[-1]
