"""What a cell's method says: standard output, standard error and warnings, kept as ``logs/<key>.txt`` of the run.

In a process of the cell's own (a Ray worker) everything is caught that is written to the file descriptors 1 and 2, also
by C code, in a file that the driver can read when the process is gone. In a process that others need (the serial
backend) what the cell's thread, and threads that began within the cell, write through Python is caught.
"""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from harness.run.texts import cut

LOG_CHARS = 64 * 2**10
"""Characters of what a method says that are kept: two thirds from the beginning, the rest from the end."""

CAUGHT = ".log"
"""Ending of the file that a worker catches into, beside the cell's last words."""


class Log(Protocol):
    """What was said inside of ``caught``, there and afterwards."""

    @property
    def text(self) -> str:
        """All of it, or head and tail."""
        ...


class Said:
    """Text in memory, of bounded size: a stream that can be written to."""

    def __init__(self) -> None:
        self._head, self._tail, self._left_out = "", "", 0

    def write(self, text: str) -> int:
        """Keep the text, or of a long one what there is room for."""
        room = max(LOG_CHARS - len(self._head), 0)
        self._head += text[:room]
        self._tail += text[room:]
        if len(self._tail) > 2 * LOG_CHARS:
            self._left_out += len(self._tail) - LOG_CHARS
            self._tail = self._tail[-LOG_CHARS:]
        return len(text)

    @property
    def text(self) -> str:
        """See ``Log``."""
        if not self._left_out:
            return cut(self._head + self._tail, LOG_CHARS)
        tail = LOG_CHARS // 3
        left_out = len(self._head) + self._left_out + len(self._tail) - LOG_CHARS
        return f"{self._head[: LOG_CHARS - tail]}\n... ({left_out:,} characters left out) ...\n{self._tail[-tail:]}"


class SaidToFile:
    """Text in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text: str | None = None

    def close(self) -> None:
        """Read the file for the last time, and remove it."""
        self._text = self.text
        self._path.unlink(missing_ok=True)

    @property
    def text(self) -> str:
        """See ``Log``."""
        if self._text is not None:
            return self._text
        said = Said()
        with suppress(OSError), self._path.open(encoding="utf-8", errors="replace") as file:
            while block := file.read(2**20):
                said.write(block)
        return said.text


class _Routed:
    """A stream that takes what the cell's threads write away from the screen.

    Args:
        screen: The stream in whose place it stands.
        said: Where the cell's text goes.
        others: Idents of threads whose text goes to the screen as ever.
    """

    def __init__(self, screen: TextIO, said: Said, others: frozenset[int | None]) -> None:
        self._screen, self._said, self._others = screen, said, others

    def write(self, text: str) -> int:
        """Write where this thread's text belongs."""
        return (self._screen if threading.get_ident() in self._others else self._said).write(text)

    def isatty(self) -> bool:
        """Never: it is no place for progress bars."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)


@contextmanager
def caught(path: Path | None = None) -> Iterator[Log]:
    """Catch what is said inside.

    Args:
        path: A file to catch into, in a process that belongs to the cell; None: in memory, by threads. The file is
            gone afterwards, unless the process is.
    """
    with warnings.catch_warnings():  # so that each cell hears each warning once, and not only the first cell
        if not sys.warnoptions:
            warnings.simplefilter("ignore", category=FutureWarning)
        warnings.showwarning = _show
        if path is None:
            own = threading.current_thread()
            others = frozenset(thread.ident for thread in threading.enumerate() if thread is not own)
            said = Said()
            routed: list[Any] = [_Routed(stream, said, others) for stream in (sys.stdout, sys.stderr)]
            with redirect_stdout(routed[0]), redirect_stderr(routed[1]):
                yield said
        else:
            with _descriptors_to(path):
                found = SaidToFile(path)
                yield found
            found.close()


@contextmanager
def _descriptors_to(path: Path) -> Iterator[None]:
    _flush()
    before = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        _flush()
        for number, old in enumerate(before, start=1):
            os.dup2(old, number)
            os.close(old)
        os.close(file)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()


def log_text(said: str, traceback: str | None) -> str:
    """What is kept of a cell: what its method said, and the traceback of what it raised; empty without both."""
    return "\n".join(part.rstrip() + "\n" for part in (said, traceback or "") if part.strip())
