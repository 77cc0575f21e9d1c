"""Noticing Ctrl-C although a library that is at work swallows it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_interrupted = threading.Event()


def interrupted() -> bool:
    """Whether Ctrl-C was pressed since ``noted_interrupts`` was entered."""
    return _interrupted.is_set()


@contextmanager
def noted_interrupts() -> Iterator[None]:
    """Remember a Ctrl-C: its KeyboardInterrupt is lost where it happens to be raised inside a library's clean-up."""

    def note(number: int, frame: FrameType | None) -> None:
        _interrupted.set()
        signal.default_int_handler(number, frame)

    _interrupted.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
