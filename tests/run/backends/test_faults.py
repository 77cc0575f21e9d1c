"""Kills and interrupts in the middle of a Ray sweep: what had finished stays, the rest is finished, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

MARK = "HARNESS_TESTS_STARTED_BY"
"""An environment variable that every process of a command inherits."""

LINE = "interrupted: what had finished is kept; the same command finishes the rest"

SLOW = """
    import os
    import signal
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.ape import Ape

    HERE = Path(__file__).parent


    @dataclass(frozen=True, kw_only=True)
    class Slow(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            (pair,) = problem.pairs
            note = HERE / "running" / f"{'-'.join(pair)}-{seed}"
            note.parent.mkdir(exist_ok=True)
            note.write_text(str(os.getpid()))
            if (HERE / "poison").exists() and pair == ("image01", "text01"):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.6)
            fit = super().fit(problem, budget, seed=seed, progress=progress)
            note.unlink()
            return fit
"""


@pytest.fixture
def slow(world):
    """The synthetic world with one method whose twelve cells take a while."""
    world.write("slow.py", SLOW)
    text = (world.folder / "world.yaml").read_text()
    start = text.index("methods:")
    methods = "methods:\n  slow: {method: ./slow.py:Slow, epochs: 3, batch_size: 64, lr: 1.0e-2}\n"
    world.write("world.yaml", text[:start] + methods + "reference: slow\nseeds: [0, 1]\nstorage: runs\n")
    return world


def cells(folder: Path) -> dict[str, tuple[int, str]]:
    """Key -> (when it was written, its metrics) of the cells that are done."""
    found = {}
    for path in folder.glob("world/cells/*.json"):
        record = json.loads(path.read_text())
        if record["status"] == "done":
            found[path.stem] = path.stat().st_mtime_ns, json.dumps(record["metrics"])
    return found


@pytest.fixture
def undisturbed(slow) -> dict[str, str]:
    """Key -> metrics, by the serial backend, elsewhere."""
    slow.run("world.yaml", "storage=undisturbed")
    return {key: metrics for key, (_, metrics) in cells(slow.folder / "undisturbed").items()}


def begin(project, *args: str) -> subprocess.Popen[str]:
    """The sweep in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "harness", *(args or ("sweep", "world.yaml"))]
    return subprocess.Popen(
        command,
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {MARK: str(project.folder)},
        preexec_fn=heeding_signals,
    )


def heeding_signals() -> None:
    """As in a terminal, also where these tests themselves run in the background or under nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def left_behind(project) -> list[str]:
    """Command lines of processes that a command of ``begin`` started, in whatever session, and that still run."""
    mark, found = f"{MARK}={project.folder}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def nothing_is_left_behind(project) -> None:
    deadline = time.monotonic() + 60
    while left := left_behind(project):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def wait_until(condition: Callable[[], bool], sweep: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def finish(slow, before: dict[str, tuple[int, str]], undisturbed: dict[str, str]) -> None:
    """The same command again: nothing redone, everything there, equal to an undisturbed run."""
    done = slow.harness("sweep", "world.yaml")
    assert "cells 12/12 done · 0 failed" in done.stderr
    after = cells(slow.folder / "runs")
    assert {key: after[key] for key in before} == before, "a finished cell was touched"
    assert {key: metrics for key, (_, metrics) in after.items()} == undisturbed
    left = [path.name for path in (slow.folder / "runs" / "world").rglob("*") if path.name.endswith(".tmp")]
    assert left == []


@pytest.mark.parametrize(
    ("number", "send"),
    [
        (signal.SIGINT, os.killpg),
        (signal.SIGTERM, os.kill),  # as Kubernetes sends it: to one process
        (signal.SIGTERM, os.killpg),  # as Slurm sends it: to all, Ray's own among them
        (signal.SIGHUP, os.killpg),
    ],
    ids=["ctrl-c", "sigterm", "sigterm to all", "sighup to all"],
)
def test_a_signal_stops_cleanly_and_the_same_command_finishes(slow, undisturbed, number: int, send: Callable) -> None:
    sweep = begin(slow)
    wait_until(lambda: len(cells(slow.folder / "runs")) >= 3, sweep)
    send(sweep.pid, number)
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 130, out + err
    assert err.splitlines()[-1] == LINE
    assert "Traceback" not in out + err
    assert "***" not in out + err, "a stack dump of Ray's"
    before = cells(slow.folder / "runs")
    assert 3 <= len(before) < 12
    nothing_is_left_behind(slow)
    assert cells(slow.folder / "runs") == before, "a worker went on after the interrupt"
    finish(slow, before, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_workers_start_stops_cleanly(slow, number: int) -> None:
    sweep = begin(slow)
    wait_until(lambda: any("raylet" in line for line in left_behind(slow)), sweep)
    time.sleep(1)
    os.kill(sweep.pid, number)
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 130, out + err
    assert err.splitlines()[-1] == LINE
    assert "Traceback" not in out + err
    nothing_is_left_behind(slow)


def test_a_second_signal_stops_at_once(slow, undisturbed) -> None:
    sweep = begin(slow)
    wait_until(lambda: len(cells(slow.folder / "runs")) >= 3, sweep)
    os.kill(sweep.pid, signal.SIGINT)
    time.sleep(0.7)
    os.kill(sweep.pid, signal.SIGINT)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, out + err
    assert "the same command finishes the rest" in err.splitlines()[-1]
    nothing_is_left_behind(slow)
    finish(slow, cells(slow.folder / "runs"), undisturbed)


def test_a_killed_worker_costs_its_cell_one_more_try(slow, undisturbed) -> None:
    sweep = begin(slow)
    running = slow.folder / "running"
    wait_until(lambda: len(cells(slow.folder / "runs")) >= 2 and any(running.glob("*")), sweep)
    victim = next(iter(running.glob("*")))
    os.kill(int(victim.read_text()), signal.SIGKILL)
    out, err = sweep.communicate(timeout=180)
    assert sweep.returncode == 0, out + err
    assert "cells 12/12 done · 0 failed" in err
    assert {key: metrics for key, (_, metrics) in cells(slow.folder / "runs").items()} == undisturbed


def test_a_cell_that_kills_its_worker_every_time_is_recorded_and_the_others_finish(slow, undisturbed) -> None:
    (slow.folder / "poison").touch()
    done = slow.harness("sweep", "world.yaml", code=1)
    assert "cells 10/12 done · 2 failed" in done.stderr
    for seed in (0, 1):
        assert f"failed: slow seed {seed} image01 x text01: the worker process died (out of memory?)" in done.stdout
    before = cells(slow.folder / "runs")
    assert len(before) == 10
    (slow.folder / "poison").unlink()
    finish(slow, before, undisturbed)


def test_a_killed_sweep_is_finished_by_the_same_command(slow, undisturbed) -> None:
    sweep = begin(slow)
    wait_until(lambda: len(cells(slow.folder / "runs")) >= 3, sweep)
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait(timeout=30)
    time.sleep(3)  # its workers end when they see that it is gone
    before = cells(slow.folder / "runs")
    assert 3 <= len(before) < 12
    finish(slow, before, undisturbed)
