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
    frame = FRAME.search(text)
    where = f", in {frame['name']} ({Path(frame['file']).name}, line {frame['line']})" if frame else ""
    return f"the method crashed its worker process: {kind}{where}"


def _read(folder: Path, key: str) -> str:
    with suppress(OSError):
        return (folder / key).read_text(errors="replace")
    return ""
