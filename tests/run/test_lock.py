"""One sweep of a run at a time: who holds the lock is said, a stale one is taken over, a live one never."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.contract.sealed import sealed
from harness.run.lock import LOCK, LockHeld, LockOwner, RunLock
from harness.storage.blobs import FolderBlobs

HOLD = """
import sys, time
from harness.storage.blobs import FolderBlobs
from harness.run.lock import RunLock

with RunLock(FolderBlobs(sys.argv[1]), beat_s=0.05) as lock:
    lock.acquire()
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def quick(run: Path) -> RunLock:
    """A lock that beats and watches faster than people wait."""
    return RunLock(FolderBlobs(run), beat_s=0.05, stale_s=5.0, watch_s=0.5)


def stored(run: Path) -> LockOwner:
    values = json.loads((run / LOCK).read_text())
    return LockOwner.model_validate({name: value for name, value in values.items() if name != "checksum"})


def rewritten(run: Path, **changes: object) -> None:
    (run / LOCK).write_bytes(sealed(stored(run).model_copy(update=changes)))


def left_by_another_machine(run: Path, beat: datetime) -> None:
    """A lock whose owner's process number means nothing here."""
    with quick(run) as lock:
        lock.acquire()
        rewritten(run, owner="another", host="node7", machine="node7 boot", pid=1, beat=beat)


def test_a_lock_is_there_while_it_is_held_and_leaves_nothing(run: Path) -> None:
    with quick(run) as lock:
        assert not run.exists(), "looking takes nothing"
        lock.acquire()
        assert stored(run).pid == os.getpid()
        with pytest.raises(LockHeld, match=rf"another sweep of this run is going on: process {os.getpid()} on "):
            quick(run).__enter__()
        with pytest.raises(LockHeld):
            quick(run).acquire()
    assert list(run.iterdir()) == []


def test_it_beats(run: Path) -> None:
    with quick(run) as lock:
        lock.acquire()
        seen = stored(run)
        deadline = time.monotonic() + 30
        while stored(run).beats < seen.beats + 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert stored(run).beat > seen.beat
        assert stored(run).owner == seen.owner


def test_a_killed_owner_on_this_machine_is_noticed_at_once(run: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(LockHeld, match=f"process {holder.pid} on "):
        quick(run).__enter__()
    os.kill(holder.pid, signal.SIGKILL)  # its parent, this test, has not noticed: it is still listed
    deadline = time.monotonic() + 30
    while True:
        try:
            with RunLock(FolderBlobs(run)) as lock:  # which would watch for half a minute
                lock.acquire()
                assert lock.taken_over is not None
                assert lock.taken_over.pid == holder.pid
            break
        except LockHeld:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert list(run.iterdir()) == []


@pytest.mark.parametrize("jump", [-timedelta(days=400), timedelta(days=400)])
def test_a_clock_that_jumps_takes_no_lock_from_a_live_owner(
    run: Path, holder: subprocess.Popen[str], jump: timedelta
) -> None:
    os.kill(holder.pid, signal.SIGSTOP)  # not even a heartbeat
    time.sleep(0.2)
    rewritten(run, beat=datetime.now(UTC) + jump)
    with pytest.raises(LockHeld):
        quick(run).__enter__()
    with pytest.raises(LockHeld):
        quick(run).acquire()
    os.kill(holder.pid, signal.SIGCONT)


def test_a_later_process_with_the_owners_number_is_not_the_owner(run: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    time.sleep(0.2)
    rewritten(run, pid=os.getpid())
    with quick(run) as lock:
        lock.acquire()
        assert lock.taken_over is not None
    holder.kill()


def test_elsewhere_a_fresh_heartbeat_is_believed_and_an_old_one_is_watched(run: Path) -> None:
    left_by_another_machine(run, datetime.now(UTC))
    with pytest.raises(LockHeld, match="process 1 on node7, since "):
        quick(run).__enter__()
    rewritten(run, beat=datetime.now(UTC) - timedelta(minutes=5))
    with quick(run) as lock:
        lock.acquire()
        assert str(lock.taken_over).startswith("process 1 on node7")


@pytest.mark.parametrize("clock", [-timedelta(days=1), timedelta(days=1)])
def test_elsewhere_an_owner_whose_clock_is_wrong_keeps_its_lock_while_it_beats(run: Path, clock: timedelta) -> None:
    left_by_another_machine(run, datetime.now(UTC) + clock)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            rewritten(run, beats=stored(run).beats + 1, beat=datetime.now(UTC) + clock)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with quick(run) as lock, pytest.raises(LockHeld, match="node7"):
            lock.acquire()
    finally:
        done.set()
        beating.join()
    assert stored(run).owner == "another"
    with quick(run) as lock:  # now it is silent
        lock.acquire()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 5}'])
def test_a_lock_that_cannot_be_read_is_watched_and_taken_over(run: Path, content: bytes) -> None:
    run.mkdir()
    (run / LOCK).write_bytes(content)
    with quick(run) as lock:
        lock.acquire()
        assert str(lock.taken_over) == "somebody whose lock cannot be read"
    assert list(run.iterdir()) == []


def test_of_many_that_want_a_stale_lock_one_gets_it(run: Path) -> None:
    left_by_another_machine(run, datetime.now(UTC) - timedelta(hours=1))
    start, got, refused = threading.Barrier(6), [], []
    locks = [quick(run) for _ in range(6)]

    def claim(lock: RunLock) -> None:
        start.wait()
        try:
            lock.acquire()
            got.append(lock)
        except LockHeld:
            refused.append(lock)

    threads = [threading.Thread(target=claim, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 5)
    got[0].check()
    got[0].__exit__(None, None, None)
    assert list(run.iterdir()) == [], "no lock over a lock is left"


def test_one_that_was_taken_for_dead_notices(run: Path) -> None:
    with quick(run) as lock:
        lock.acquire()
        rewritten(run, owner="another", host="node7", machine="node7 boot")
        deadline = time.monotonic() + 30
        while True:
            assert time.monotonic() < deadline
            try:
                lock.check()
            except LockHeld as held:
                assert "node7" in str(held)
                break
            time.sleep(0.02)
    assert stored(run).owner == "another", "it leaves the other's lock alone"


def test_a_run_that_vanished_is_not_made_anew_by_a_heartbeat(run: Path) -> None:
    with quick(run) as lock:
        lock.acquire()
        (run / LOCK).unlink()
        run.rmdir()
        time.sleep(0.5)
    assert not run.exists()


def test_a_second_sweep_says_who_is_at_work_and_a_killed_ones_lock_is_taken_over(copy_of_world, without_plots) -> None:
    run = copy_of_world.folder / "runs/world"
    command = ("sweep", "world.yaml", "--backend", "serial")
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        before = (run / "manifest.json").read_bytes()
        for more in ((), ("--seeds", "0,1,2"), ("--set", "methods.ape.resources.cpu=2")):
            code, out, err = copy_of_world.invoke(*command, *more)
            assert (code, out) == (2, "")
            (line,) = err.splitlines()
            assert f"another sweep of this run is going on: process {process.pid} on " in line
            assert "wait for it or stop it" in line
        assert (run / "manifest.json").read_bytes() == before
        assert "14 of 14" in copy_of_world.invoke("status", "world")[1], "reading needs no lock"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    code, _, err = copy_of_world.invoke(*command)
    assert code == 0
    assert err.splitlines()[0].startswith(f"took over the lock of process {process.pid} on ")
    assert "nothing to run" in err
    assert not (run / LOCK).exists()
