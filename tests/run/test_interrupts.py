"""Signals that end a command: the first one tidies up, a second one does not wait; what was ignored stays so."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from harness.run.interrupts import hear_again, interrupted, may_be_asked, stoppable

METHODS = 'methods={stops: {method: "./stops.py:Stops", epochs: 1, batch_size: 64}}'
SERIAL = ("sweep", "world.yaml", "--backend", "serial", "--seeds", "0", "--set", "reference=stops")
LINE = "interrupted: what had finished is kept; the same command finishes the rest"

STOPS = """
    import signal
    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    from baselines.ape import Ape

    WANTED = Path(__file__).parent / "signal"


    @dataclass(frozen=True, kw_only=True)
    class Stops(Ape):
        version: ClassVar[int] = 1

        def fit(self, problem, budget, *, seed, progress):
            if WANTED.exists() and problem.pairs[0] == ("image01", "text00"):
                try:
                    signal.raise_signal(int(WANTED.read_text()))
                except Exception:
                    pass
            return super().fit(problem, budget, seed=seed, progress=progress)
"""


@pytest.fixture
def ours():
    """Handlers as in a terminal, also where these tests run in the background; ours to change."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield usual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_raises_and_is_remembered_and_handlers_are_put_back(ours, number: int) -> None:
    with stoppable():
        assert not interrupted()
        with pytest.raises(KeyboardInterrupt), stoppable():
            signal.raise_signal(number)
        assert interrupted(), "also where the exception was swallowed"
        assert may_be_asked()
        signal.raise_signal(number)  # within half a second: the same wish, and nothing is raised into the tidying up
    assert {other: signal.getsignal(other) for other in ours} == ours
    with stoppable():
        assert not interrupted()
        assert not may_be_asked()


def test_what_was_ignored_stays_ignored_as_under_nohup(ours) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stoppable():
        hear_again()
        signal.raise_signal(signal.SIGHUP)
        assert not interrupted()


def test_a_library_that_takes_a_signal_loses_it_again(ours) -> None:
    with stoppable():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        hear_again()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_in_another_thread_nothing_is_taken(ours) -> None:
    found: list[bool] = []

    def enter() -> None:
        with stoppable():
            hear_again()
            found.append({number: signal.getsignal(number) for number in ours} == ours)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_a_process_whose_tidying_up_hangs(number: int) -> None:
    code = (
        "import signal, time\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom harness.run.interrupts import stoppable\n"
        "with stoppable():\n    try:\n        print('ready', flush=True)\n        time.sleep(600)\n"
        "    finally:\n        print('tidying', flush=True)\n        time.sleep(600)\n"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], **pipes)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "tidying\n"
        time.sleep(0.7)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err.strip()) == (
        130,
        "stopped at once: what had finished is kept; the same command finishes the rest",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_serial_sweep_with_one_line_and_130(world, ours, without_plots, number: int) -> None:
    world.write("stops.py", STOPS)
    world.write("signal", str(int(number)))
    command = (*SERIAL, "--set", METHODS)
    code, out, err = world.invoke(*command)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1] == LINE
    before = {path: path.stat().st_mtime_ns for path in world.folder.glob("runs/world/cells/*.json")}
    assert len(before) == 2, "those before it"
    (world.folder / "signal").unlink()
    code, _, err = world.invoke(*command)
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_closed_terminal_ends_a_sweep_as_ctrl_c_does(world) -> None:
    """Its last lines go nowhere, which is no error."""
    waits = STOPS.replace("signal.raise_signal(int(WANTED.read_text()))", "__import__('time').sleep(600)")
    world.write("stops.py", waits)
    world.write("signal", "")
    master, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *SERIAL, "--set", METHODS],
        cwd=world.folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: _take(terminal),
    )
    os.close(terminal)
    try:
        deadline = time.monotonic() + 120
        os.set_blocking(master, False)
        while len(list(world.folder.glob("runs/world/cells/*.json"))) < 2:
            with suppress(OSError):
                os.read(master, 65536)
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        os.close(master)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()


def _take(terminal: int) -> None:
    """Make the terminal this process's own, in a session of its own."""
    import fcntl
    import termios

    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
