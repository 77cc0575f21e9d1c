"""A pick that is killed in the middle of a stage: the same command ends as an undisturbed one, and redoes nothing."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_pick_verb import WORLD
from tests.conftest import Project

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

WAITING = """
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.winner import Winner

    HERE = Path(__file__).parent


    @dataclass(frozen=True, kw_only=True)
    class Waiting(Winner):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            with (HERE / "begun").open("a") as begun:
                begun.write("x")
            if (HERE / "wait").exists() and (HERE / "begun").stat().st_size == 2:
                time.sleep(600)
            return super().fit(problem, budget, seed=seed, progress=progress)
"""
PICK = ("pick", "world.yaml", "--out", "model", "--set", "pick.method=./waiting.py:Waiting")


def written(project: Project) -> dict[Path, int]:
    """Finished cells and banks -> when they were written."""
    found = [*project.folder.glob("runs/*/cells/*.json"), *project.folder.rglob("*.npy")]
    return {path: path.stat().st_mtime_ns for path in found}


def outcome(project: Project) -> list[object]:
    """What the pick decided and measured, without times."""
    (pick,) = project.folder.glob("runs/world-pick/**/pick.json")
    record = json.loads(pick.read_text())
    cells = [json.loads(path.read_text()) for path in sorted(project.folder.glob("runs/*/cells/*.json"))]
    return [record["pair"], record["validation"], record["not_separated"], [cell["metrics"] for cell in cells]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)])
def test_a_pick_that_is_stopped_in_a_stage_goes_on(tmp_path: Path, number: int, code: int) -> None:
    undisturbed, stopped = (Project(tmp_path / name) for name in ("undisturbed", "stopped"))
    for project in (undisturbed, stopped):
        project.write("world.yaml", WORLD)
        project.write("waiting.py", WAITING)
    undisturbed.harness(*PICK)
    stopped.write("wait", "")
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *PICK],
        cwd=stopped.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    begun, deadline = stopped.folder / "begun", time.monotonic() + 200
    while not (begun.exists() and begun.stat().st_size == 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = written(stopped)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, ""), err
    if code == 130:
        assert err.splitlines()[-1] == "interrupted: what had finished is kept; the same command finishes the rest"
    assert "Traceback" not in err
    assert len(list(stopped.folder.glob("runs/*/cells/*.json"))) == 1
    (stopped.folder / "wait").unlink()
    stopped.harness(*PICK)
    assert before.items() <= written(stopped).items(), "something was made again"
    assert outcome(stopped) == outcome(undisturbed)
    assert len(begun.read_text()) == 1 + len((undisturbed.folder / "begun").read_text()), "one stage was begun twice"
    assert [path for path in stopped.folder.rglob("*.tmp")] == []
