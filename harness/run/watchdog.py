"""Stopping a cell that takes too long although its method never says how far it is.

A method that reports progress stops by itself at ``resources.timeout_s`` (``harness.run.problems``). Two seconds later

* in the main thread of a process that others need (the serial backend), an alarm raises ``CellTimeout`` in the method.
  Code that never comes back to Python, a C library that waits for ever, say, does not notice;
* in a process of the cell's own (a Ray worker), another thread writes the record and ends the process, whatever the
  method does. Where the method's C code keeps that thread from running too, a timer of the interpreter's ends the
  process after two more seconds, and says so in ``words``.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

GRACE_S = 2.0
"""Seconds beyond its limit after which a cell is stopped without its help."""


class CellTimeout(BaseException):
    """A cell ran longer than its method's ``resources.timeout_s``.

    No ``Exception``, because a method may hold and retry those.
    """


def late(limit_s: float) -> str:
    """What the record of a cell says that gave no sign of life."""
    return f"stopped after {limit_s + GRACE_S:g} s: its limit is {limit_s:g} s, and it did not report progress since"


@contextmanager
def alarmed(limit_s: float | None) -> Iterator[None]:
    """Raise ``CellTimeout`` inside when the limit and the grace are over, and again every so often.

    In another thread than the main one, where there are no alarms, and without a limit, nothing is done. An alarm that
    was set before is set again afterwards.
    """
    if limit_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise CellTimeout(late(limit_s))

    start = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S, GRACE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        if delay:
            left = max(delay - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def doomed(limit_s: float | None, last_act: Callable[[str], object], words: TextIO | None = None) -> Iterator[None]:
    """End this process when the limit and the grace are over, after a last act.

    Args:
        limit_s: Seconds; None: never.
        last_act: Is called before, in another thread, with what is to be said.
        words: Where the interpreter writes that it ended the process because that thread could not run either; None:
            the standard error.
    """
    if limit_s is None:
        yield
        return
    ended, deciding = threading.Event(), threading.Lock()

    def watch() -> None:
        if ended.wait(limit_s + GRACE_S):
            return
        with deciding:
            if not ended.is_set():
                faulthandler.cancel_dump_traceback_later()
                try:
                    last_act(late(limit_s))
                finally:
                    os._exit(1)

    faulthandler.dump_traceback_later(limit_s + 2 * GRACE_S, exit=True, file=words or 2)
    threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        with deciding:
            ended.set()
        faulthandler.cancel_dump_traceback_later()
