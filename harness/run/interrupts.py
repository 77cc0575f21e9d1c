"""Ending on a signal: Ctrl-C, SIGTERM (Slurm, Kubernetes, ``timeout``) and SIGHUP (a closed terminal) are one thing.

The first of them raises ``KeyboardInterrupt`` where the main thread is, so that everything tidies up. A second one, at
least half a second later, ends the process at once: what had finished is in the store by then. Signals that were
ignored before, as under ``nohup``, stay ignored.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that was told to stop, by whichever signal."""

SAME_S = 0.5
"""Seconds within which several signals are one wish: a closed terminal sends two, systemd SIGTERM and SIGHUP."""

AT_ONCE = b"\nstopped at once: what had finished is kept; the same command finishes the rest\n"
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_noted: list[float] = []
"""When the wish to stop was heard first, by the monotonic clock."""

_watched: list[int] = []
"""Signals that are ours at the moment."""


def interrupted() -> bool:
    """Whether a signal to stop came since the outermost ``stoppable`` was entered."""
    return bool(_noted)


def may_be_asked() -> bool:
    """Whether a ``KeyboardInterrupt`` may stand for somebody's wish to stop: nobody else can tell who raised it."""
    return interrupted() or not _watched


@contextmanager
def stoppable() -> Iterator[None]:
    """Hear signals to stop while inside. May be nested; in another thread than the main one it does nothing.

    The wish is remembered, because a ``KeyboardInterrupt`` is lost where it happens to be raised inside a library's
    clean-up: whoever loops asks ``interrupted`` now and then.
    """
    if _watched or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _noted.clear()
    _watched.extend(number for number, handler in before.items() if handler is not signal.SIG_IGN)
    hear_again()
    try:
        yield
    finally:
        for number in _watched:
            signal.signal(number, before[number] or signal.SIG_DFL)
        _watched.clear()


def hear_again() -> None:
    """Take back the signals of ``stoppable`` from a library that has installed handlers of its own."""
    if threading.current_thread() is threading.main_thread():
        for number in _watched:
            signal.signal(number, _heard)


def _heard(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _noted:
        _noted.append(now)
        raise KeyboardInterrupt
    if now - _noted[0] >= SAME_S:
        with suppress(OSError):
            os.write(2, AT_ONCE)
        os._exit(INTERRUPTED)
