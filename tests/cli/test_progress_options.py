"""``--quiet`` and ``--json-lines``: what they print, and that every line fits the documented schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.cli.events import CellEnded, Done, Eta, StageBegun, Started, emit, events_schema, only_events
from tests.run.test_logs import METHODS, TALKING


def events(out: str) -> list[dict[str, Any]]:
    """Every line of the output, checked."""
    found = [json.loads(line) for line in out.splitlines()]
    for event in found:
        jsonschema.validate(event, events_schema())
    return found


def test_json_lines_tell_of_every_cell_and_of_nothing_else(world) -> None:
    world.write("talking.py", TALKING)
    command = ("sweep", "world.yaml", "--backend", "serial", "--seeds", "0", "--json-lines")
    command += ("--set", METHODS % "", "--set", "reference=talk")
    code, out, err = world.invoke(*command)
    assert (code, err) == (1, ""), "two cells failed"
    first, *middle, last = events(out)
    assert first == {"event": "started", "run": "world", "cells": 6, "done": 0, "to_run": 6}
    cells = [event for event in middle if event["event"] == "cell"]
    manifest = json.loads((world.folder / "runs/world/manifest.json").read_text())
    assert [cell["key"] for cell in cells] == [cell["key"] for cell in manifest["cells"]]
    for event in cells:
        record = json.loads((world.folder / f"runs/world/cells/{event['key']}.json").read_text())
        assert (event["method"], event["seed"], event["status"]) == ("talk", 0, record["status"])
        assert [[event["image"], event["text"]]] == record["pairs"]
        assert event["pairs"] == 1
        assert event["score"] == (record["metrics"][0]["score"] if record["metrics"] else None)
        assert event["seconds"] == record["wall_s"]
        assert event["error"] == record["error"]
        assert Path(event["log"]).is_file()
    assert {cell["status"] for cell in cells} == {"done", "failed"}
    assert middle[-1]["event"] == "eta"
    assert (middle[-1]["done"], middle[-1]["failed"], middle[-1]["running"], middle[-1]["seconds"]) == (4, 2, 0, 0.0)
    assert (last["event"], last["ended"], last["done"], last["failed"], last["cells"]) == ("done", "finished", 4, 2, 6)
    assert Path(last["report"]).is_file()


def test_a_finished_sweep_has_a_beginning_and_an_end(copy_of_world) -> None:
    code, out, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial", "--json-lines")
    assert (code, err) == (0, "")
    first, last = events(out)
    assert (first["event"], first["to_run"], first["done"]) == ("started", 0, 14)
    assert (last["event"], last["ended"], last["done"], last["cells"]) == ("done", "finished", 14, 14)


def test_an_interrupted_sweep_says_so(world, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.run.backends import serial

    ran = []

    def run_cell(*args: Any) -> Any:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(args)
        return original(*args)

    original = serial.run_cell
    monkeypatch.setattr(serial, "run_cell", run_cell)
    code, out, err = world.invoke("sweep", "world.yaml", "--backend", "serial", "--json-lines")
    assert code == 130
    assert "the same command finishes the rest" in err
    assert [event["event"] for event in events(out) if event["event"] != "eta"] == ["started", "cell", "cell", "done"]
    assert events(out)[-1]["ended"] == "interrupted"


def test_what_anything_else_prints_is_not_between_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    with only_events():
        print("(raylet) A worker died")
        emit(Started(run="r", cells=1, done=0, to_run=1))
    print("after")
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()[:-1]] == ["started"]
    assert (out.splitlines()[-1], err) == ("after", "(raylet) A worker died\n")


def test_bad_input_is_no_event(world) -> None:
    code, out, err = world.invoke("sweep", "world.yaml", "--json-lines", "--set", "methods.ape.lr=fast")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")


def test_quiet_leaves_the_last_line_and_what_failed(world) -> None:
    world.write("talking.py", TALKING)
    command = ("sweep", "world.yaml", "--backend", "serial", "--seeds", "0", "--quiet")
    command += ("--set", METHODS % "", "--set", "reference=talk")
    code, out, err = world.invoke(*command)
    assert code == 1
    assert [line.partition(" · best")[0] for line in err.splitlines()] == ["cells 4/6 done · 2 failed · 0 running"]
    assert [line.split(":")[0] for line in out.splitlines()] == ["failed", "failed"]
    assert all("ValueError: no luck (log: runs/world/logs/" in line for line in out.splitlines())
    assert (world.folder / "runs/world/report/index.html").is_file()


def test_quiet_of_a_finished_sweep_is_one_line(copy_of_world) -> None:
    code, out, err = copy_of_world.invoke("sweep", "world.yaml", "--backend", "serial", "-q")
    assert (code, out, err) == (0, "", "nothing to run: 14 of 14 cells are done\n")


def test_pick_tells_its_stages_and_what_it_chose(world) -> None:
    code, out, err = world.invoke("pick", "world.yaml", "--json-lines")
    assert (code, err) == (0, ""), out
    told = events(out)
    stages = [event for event in told if event["event"] == "stage"]
    assert [stage["number"] for stage in stages] == list(range(1, len(stages) + 1))
    assert [stage["last"] for stage in stages] == [False] * (len(stages) - 1) + [True]
    assert sum(event["event"] == "cell" for event in told) == len(stages)
    last = told[-1]
    assert (last["event"], last["ended"], last["failed"]) == ("done", "finished", 0)
    assert last["image"].startswith("image") and last["text"].startswith("text")
    assert Path(last["model"]).is_dir() and Path(last["report"]).is_file()

    code, out, err = world.invoke("pick", "world.yaml", "--quiet")
    assert (code, out) == (0, "")
    assert len(err.splitlines()) == 1
    assert "model: " in err


def test_every_event_and_field_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "progress.md").read_text()
    for kind in (Started, CellEnded, Eta, StageBegun, Done):
        rows = [line for line in page.splitlines() if line.startswith(f"| `{kind.model_fields['event'].default}` |")]
        assert len(rows) == 1
        for field in kind.model_fields:
            assert f"`{field}`" in rows[0] or field == "event", f"{kind.__name__}.{field}"
