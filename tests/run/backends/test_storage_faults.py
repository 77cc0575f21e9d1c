"""A storage that is full, turns read-only or vanishes under a sweep: one line, exit code 2, nothing torn, a rerun."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.run.backends.test_faults import cells

pytestmark = pytest.mark.faults


@pytest.fixture
def disk(world) -> Iterator[Callable[[str], None]]:
    """The storage folder as a file system of its own, whose mount options can be set."""
    folder = world.folder / "runs"
    folder.mkdir()

    def mount(options: str, *, anew: bool = False) -> None:
        how = ["-t", "tmpfs", "-o", options, "tmpfs"] if anew else ["-o", f"remount,{options}"]
        done = subprocess.run(["mount", *how, str(folder)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")

    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    mount("size=100m", anew=True)
    yield mount
    subprocess.run(["umount", "-l", str(folder)], check=False)


def undisturbed(world) -> dict[str, str]:
    world.run("world.yaml", "storage=undisturbed")
    return {key: metrics for key, (_, metrics) in cells(world.folder / "undisturbed").items()}


def disturbed(world, backend: str, after: int, disturb: Callable[[], object]) -> str:
    """What a sweep that is disturbed after some cells says in its last line."""
    command = [sys.executable, "-m", "harness", "sweep", "world.yaml", "--backend", backend]
    sweep = subprocess.Popen(command, cwd=world.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(list(world.folder.glob("runs/world/cells/*.json"))) < after:
        assert sweep.poll() is None, sweep.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    disturb()
    out, err = sweep.communicate(timeout=240)
    assert sweep.returncode == 2, out + err
    assert "Traceback" not in out + err
    lines = err.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return lines[-1]


def finished(world) -> None:
    """The same command again ends as if nothing had happened."""
    before = cells(world.folder / "runs")
    done = world.harness("sweep", "world.yaml", "--backend", "serial")
    assert "cells 14/14 done · 0 failed" in done.stderr
    after = cells(world.folder / "runs")
    assert {key: after[key] for key in before} == before, "a finished cell was touched"
    assert {key: metrics for key, (_, metrics) in after.items()} == undisturbed(world)
    assert "nothing damaged" in world.harness("verify", "world").stdout
    left = [path.name for path in (world.folder / "runs/world").rglob("*") if path.name.startswith(".")]
    assert left == []


@pytest.mark.parametrize("backend", ["serial", "ray"])
def test_a_full_disk(world, disk, backend: str) -> None:
    world.harness("embed", "world.yaml")
    disk("size=230k")
    told = disturbed(world, backend, 0, lambda: None)
    assert "the disk is full (no space left on device) (free some space; the same command goes on" in told
    disk("size=100m")
    finished(world)


@pytest.mark.parametrize("backend", ["serial", "ray"])
def test_a_storage_that_turns_read_only(world, disk, backend: str) -> None:
    told = disturbed(world, backend, 2, lambda: remounted(disk))
    assert "the storage cannot be written (read-only file system) (make it writable" in told
    disk("rw")
    finished(world)


def remounted(disk: Callable[[str], None]) -> None:
    """Read-only, between two writes: a file that is being written keeps it busy."""
    for _ in range(1000):
        try:
            disk("ro")
        except pytest.skip.Exception:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("always busy")


@pytest.mark.parametrize("backend", ["serial", "ray"])
def test_a_run_that_vanishes(world, backend: str) -> None:
    run = world.folder / "runs/world"
    told = disturbed(world, backend, 2, lambda: shutil.move(run, run.with_name("elsewhere")))
    assert str(run) in told
    assert "vanished" in told or "no run here" in told
    shutil.rmtree(run, ignore_errors=True)  # Ray's own files may be written once more
    shutil.move(run.with_name("elsewhere"), run)
    finished(world)


def test_a_storage_that_is_read_only_from_the_start(world, disk) -> None:
    world.harness("embed", "world.yaml")
    disk("ro")
    done = world.harness("sweep", "world.yaml", "--backend", "serial", code=2)
    assert done.stderr.startswith(
        f"error: {world.folder}/runs/world/lock.json: the storage cannot be written (read-only"
    )
    assert len(done.stderr.splitlines()) == 1
