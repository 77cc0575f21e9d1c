"""What ended a worker process, as far as the process itself could write it down, and what to say of it.

Ray says of a process that is gone only that it is gone. So each worker keeps a file open while a cell runs, which the
interpreter writes to when the process crashes (a segmentation fault, ``abort``) or has to end a cell that hangs.
"""

import faulthandler
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

CRASH = "Fatal Python error: "
CURRENT = "Current thread"
HUNG = "Timeout ("
FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>\S+)')


@contextmanager
def last_words(folder: Path, key: str) -> Iterator[TextIO]:
    """The file of a cell that runs in this process; it goes when the cell has ended and the process has not.

    Args:
        folder: Where it lies, seen by the driver.
        key: The cell's key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / key
    with path.open("w") as words:
        faulthandler.enable(words)
        try:
            yield words
        finally:
            faulthandler.enable(sys.__stderr__ or 2)
    path.unlink(missing_ok=True)


def hung(folder: Path, key: str) -> bool:
    """Whether the worker of this cell had to be ended because the cell did not end."""
    return _read(folder, key).startswith(HUNG)


def crash(folder: Path, key: str) -> str | None:
    """How the worker of this cell crashed, on one line; None when that is not known."""
    text = _read(folder, key)
    if not text.startswith(CRASH):
        return None
    kind = text[len(CRASH) :].partition("\n")[0].strip()
    frame = FRAME.search(text, max(text.find(CURRENT), 0))  # other threads may be listed before
    where = f", in {frame['name']} ({Path(frame['file']).name}, line {frame['line']})" if frame else ""
    return f"the method crashed its worker process: {kind}{where}"


def how_it_died(trace: str) -> str:
    """What Ray says of a trial that failed outside of its cell, on one line.

    Args:
        trace: Its text of the last failure: a traceback, or a description of how the process ended.
    """
    end = (trace.splitlines() or [""])[-1].strip()
    if 'File "' in trace:  # an exception, with its traceback, and not a process that died
        return end
    if "low on memory" in trace:
        return f"the worker process was ended because its node was short of memory: {end}"
    return f"the worker process died (out of memory?): {end}"


def _read(folder: Path, key: str) -> str:
    with suppress(OSError):
        return (folder / key).read_text(errors="replace")
    return ""
