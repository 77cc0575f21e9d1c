"""Sweeps on several Ray nodes, joined with a token: code that is shipped, and a node that is killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.raylets import Raylets

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[3]

UNHURRIED = """
    import time
    from dataclasses import dataclass
    from typing import ClassVar

    from baselines.ape import Ape


    @dataclass(frozen=True, kw_only=True)
    class Unhurried(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            time.sleep(0.7)
            return super().fit(problem, budget, seed=seed, progress=progress)
"""


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    """A head and two more nodes, one CPU each."""
    started = Raylets()
    try:
        started.start(3)
        yield started
    finally:
        started.stop()


@pytest.fixture
def unhurried(world):
    """The synthetic world with one method, a plug-in file, whose twelve cells take a while."""
    world.write("unhurried.py", UNHURRIED)
    text = (world.folder / "world.yaml").read_text()
    start = text.index("methods:")
    methods = "methods:\n  slow: {method: ./unhurried.py:Unhurried, epochs: 3, batch_size: 64, lr: 1.0e-2}\n"
    world.write("world.yaml", text[:start] + methods + "reference: slow\nseeds: [0, 1]\nstorage: runs\n")
    return world


def records(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("world/cells/*.json")}


def undisturbed(project) -> dict[str, list]:
    """Key -> metrics, by the serial backend, elsewhere."""
    project.run("world.yaml", "storage=undisturbed")
    return {key: record["metrics"] for key, record in records(project.folder / "undisturbed").items()}


def begin(project, raylets: Raylets, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "sweep", "world.yaml", "--address", raylets.address, *options]
    environment = os.environ | {"RAY_AUTH_TOKEN_PATH": raylets.environment["RAY_AUTH_TOKEN_PATH"]}
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(sweep: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = sweep.communicate(timeout=400)
    assert sweep.returncode == code, out + err
    assert "Traceback" not in out + err, out + err
    return out, err


def wait_until(condition: Callable[[], bool], sweep: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def test_cells_run_on_every_node_with_the_code_that_was_shipped(unhurried, raylets: Raylets) -> None:
    """Packages and the plug-in file: the nodes' own environment knows neither this folder nor the plug-in's."""
    finished(begin(unhurried, raylets))
    found = records(unhurried.folder / "runs")
    assert {key: record["metrics"] for key, record in found.items()} == undisturbed(unhurried)
    assert len({record["provenance"]["node"] for record in found.values()}) == 3
    code = {record["provenance"]["code"] for record in found.values()}
    assert all(str(raylets.folder) in folder and "working_dir" in folder for folder in code), code
    manifest = json.loads((unhurried.folder / "runs" / "world" / "manifest.json").read_text())
    assert {record["provenance"]["commit"] for record in found.values()} == {manifest["provenance"]["commit"]}


def test_a_killed_node_loses_nothing_that_had_finished(unhurried, raylets: Raylets) -> None:
    sweep = begin(unhurried, raylets)
    runs = unhurried.folder / "runs"
    wait_until(lambda: len(records(runs)) >= 4, sweep)
    raylets.kill(2)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("world/cells/*.json")}
    _, err = finished(sweep)
    assert "cells 12/12 done · 0 failed" in err
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished cell was touched"
    assert {key: record["metrics"] for key, record in records(runs).items()} == undisturbed(unhurried)
