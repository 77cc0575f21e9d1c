"""Locks between the processes of one machine: who makes a bank, and who reads one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from harness.contract.files import writing

MAKING, USE = ".lock", ".use"
"""Files of a bank's folder. They are never deleted: a lock on a file that is gone locks nobody out."""


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the bank's lock: a second process waits for the first and then finds its bank.

    Where the system has no such lock, two processes do the same work; every file is still replaced whole.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        file = (path / MAKING).open("w")
    with file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def used(path: Path) -> IO[str]:
    """Say that this process reads the bank, until the file that is returned is closed."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        file = (path / USE).open("w")  # whose time says when the bank was used last
        os.utime(path / USE)
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_SH)
    return file


@contextlib.contextmanager
def nobody_else(path: Path) -> Iterator[bool]:
    """Whether no process makes or reads the bank; none can begin to while inside."""
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            for name in (USE, MAKING):
                file = stack.enter_context((path / name).open("a"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (ImportError, OSError):
            yield False
            return
        yield True
